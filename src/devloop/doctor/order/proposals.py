"""What is proposed: copies moved below the installs, and packages raised above the copies."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.model import Proposal
from devloop.doctor.needs.free import OS_KINDS, TOOL_KINDS
from devloop.doctor.order.passing import UnsureError, barrier, may_rise, refuse_overwrites
from devloop.doctor.order.shares import shares_of
from devloop.doctor.order.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.doctor.model import Intent, Subject
    from devloop.doctor.order.items import Item


class Proposals:
    """Proposals for one stage; each raises UnsureError where something stands in the way."""

    def __init__(self, subject: Subject, items: list[Item]) -> None:
        self.items = items
        self._writer = Writer(subject, items)

    def move_down(
        self, above: list[Item], installs: list[Item], hindrance: str = ""
    ) -> tuple[Proposal, list[Item], list[Item]]:
        """Move the copies below the installs: also return which ones, and the steps that gain."""
        first = installs[0]
        work = first.reading
        if work.stop or hindrance:
            raise UnsureError(work.stop or hindrance)
        until = first.at
        for item in above:
            self._must_pass(item, first)
        if work.is_free:
            until = self.reach(above, first.at)
        moved = [item for item in self.items if item.blamed and item.at < until]
        freed = [
            item
            for item in self.items[moved[0].at : until + 1]
            if item.work is not None
            and (item.work.installs or item.work.kinds & (OS_KINDS | TOOL_KINDS) or item.at == first.at)
        ]
        refuse_overwrites(moved, [item for item in self.items[moved[0].at : until + 1] if item.work])
        _must_keep_variables(moved, self.items[until])
        if work.split is not None and work.split.replaced:
            _must_replace(work.split.replaced, moved)
            _must_own(first, moved)
        mixed = None
        if work.source:
            mixed = self._writer.parts(first)
        gaining = [item for item in freed if item.reading.installs]
        edits, lines = self._writer.moved_down(moved, gaining, until, mixed)
        shares = shares_of(first) or ()
        intends: set[Intent] = {"order"} if work.split is None else {"order", "install cache"}
        proposal = Proposal(
            tuple(edits),
            intends=frozenset(intends),
            seconds_at=dict(zip(lines, shares, strict=False)),
        )
        return proposal, moved, freed

    def _must_pass(self, copy: Item, until: Item) -> None:
        for item in self.items[copy.at + 1 : until.at]:
            reason = barrier(copy, item)
            if reason:
                raise UnsureError(reason)

    def reach(self, copies: list[Item], start: int) -> int:
        """Return the last step that gains, from an install on, below which all copies may stand."""
        reached = start
        moving = list(copies)
        for item in self.items[start + 1 :]:
            if any(barrier(copy, item) for copy in moving):
                break
            if item.blamed:
                moving.append(item)
            work = item.work
            if work is not None and (work.installs or work.kinds & (OS_KINDS | TOOL_KINDS)):
                reached = item.at
        return reached

    def packages_up(self, copies: list[Item], packages: list[Item]) -> tuple[Proposal, list[Item]]:
        """Move the packages above the first copy, as they stand: also return which ones."""
        first = next(item for item in copies if item.at < packages[0].at)
        moved: list[Item] = []
        for item in packages:
            try:
                may_rise(item, first, [one for one in self.items[first.at + 1 : item.at] if one not in moved])
            except UnsureError:
                if not moved:
                    raise
                break
            moved.append(item)
        edits = self._writer.raised(moved, first)
        return Proposal(tuple(edits), intends=frozenset({"order"})), moved


def _must_replace(paths: Iterable[str], copies: Sequence[Item]) -> None:
    """Refuse where a stand-in would stay in the place of a file that no moved copy brings."""
    for path in paths:
        if not any(path in one.taken for one in copies):
            name = posixpath.basename(path)
            raise UnsureError(f"{name} is copied on its own, and the build needs a stand-in for it")


_ROOT: Final = frozenset({"", "root", "0"})


def _must_own(item: Item, copies: Sequence[Item]) -> None:
    """Refuse where a step may not write the stand-ins as the owner of what is copied.

    Another user could not touch the files, or would keep the folders that were made for them. That its own
    user may write here shows only where the step itself does.
    """
    user = (item.step.user if item.step is not None else "").partition(":")[0]
    here = f"{item.step.workdir.rstrip('/')}/" if item.step is not None else "/"
    owners = {
        (one.instruction.chown or "").partition(":")[0]
        for one in copies
        if isinstance(one.instruction, ins.Copy | ins.Add)
    }
    if user in _ROOT:
        if not owners <= _ROOT:
            raise UnsureError("root would own the folders of what stands in for the source")
    elif owners != {user} or not any(fill.startswith(here) for fill in item.reading.fills):
        raise UnsureError(f"{user or 'root'} may not write where the source is copied: stand-ins have to")


def _must_keep_variables(copies: Sequence[Item], last: Item) -> None:
    """Refuse where a copy goes to another stage, which does not know the arguments of this one."""
    for copy in copies:
        is_elsewhere = copy.step and last.step and copy.step.stage != last.step.stage
        if is_elsewhere and "$" in copy.instruction.text:
            raise UnsureError("the copy uses a variable, and would stand in another stage")
