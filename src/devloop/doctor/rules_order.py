"""Installs that stand below a copy of what they do not read: dependencies, OS packages and tools.

A copy is moved down past the steps that read nothing of it, and only the manifests that an install reads are
copied in its place. It stops above the first step that reads the source, or of which that is not known. Lines
are moved as they stand; nothing that a step could tell apart (user, folder, variables, shell) changes for it.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.model import Finding
from devloop.doctor.needs.free import OS_KINDS, TOOL_KINDS
from devloop.doctor.order.bases import stages_below, why_shared
from devloop.doctor.order.items import Item, chained, items_of, takes_root
from devloop.doctor.order.passing import UnsureError, barrier, kinds_of
from devloop.doctor.order.proposals import Proposals
from devloop.doctor.order.shares import shares_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devloop.dockerfile.instructions import Instruction
    from devloop.doctor.model import Subject
    from devloop.doctor.needs.answers import Split

INSTALL: Final = "source-before-install"
PACKAGES: Final = "source-before-packages"

_LEAST_SECONDS: Final = 1.0


def order_rule(subject: Subject) -> Iterator[Finding]:
    """Find installs below copies of what they do not read, stage by stage."""
    spoken: set[int] = set()
    for stage in subject.model.graph.stages:
        found = list(_Stage(subject, items_of(subject, stage)).findings())
        spoken |= {vertex for one in found if one.code == INSTALL for vertex in one.wasted}
        yield from found
    yield from _across_stages(subject, spoken)


RULES = (order_rule,)


def _across_stages(subject: Subject, spoken: set[int]) -> Iterator[Finding]:
    """Find installs of a stage whose source was copied by the one that it starts from: one for a copy."""
    graph = subject.model.graph
    found: dict[int, Finding] = {}
    for stage in graph.stages:
        stages = stages_below(graph, stage)
        if len(stages) < 2:
            continue
        items = chained(subject, stages)
        own = {item.at for item in items[-len(stage.body) :] if stage.body}
        reason = next((why for one in stages[:-1] if (why := why_shared(subject, one))), "")
        for one in _Stage(subject, items, own, reason).findings():
            if one.code != INSTALL or spoken & set(one.wasted):
                continue
            spoken |= set(one.wasted)
            first = found.get(one.first_line)
            found[one.first_line] = one if first is None else _joined(first, one)
    yield from found.values()


def _joined(one: Finding, other: Finding) -> Finding:
    """Return one finding for two installs below the same copy."""
    seconds = None if one.seconds is None or other.seconds is None else one.seconds + other.seconds
    return replace(one, wasted=(*one.wasted, *other.wasted), seconds=seconds)


class _Stage:
    """The findings about one stage, or about the steps `own` of one and what it starts from.

    With a `hindrance` nothing is proposed.
    """

    def __init__(
        self, subject: Subject, items: list[Item], own: set[int] | None = None, hindrance: str = ""
    ) -> None:
        self.items = items
        self.own = own
        self.hindrance = hindrance
        self.proposals = Proposals(subject, items)

    def findings(self) -> Iterator[Finding]:
        copies = [item for item in self.items if item.blamed]
        if not copies:
            return
        installs = [item for item in self.items if self._is_install_below(item, copies)]
        if installs:
            yield self._install_finding(copies, installs)
        packages = [item for item in self.items if self._is_package_below(item, copies)]
        if packages and not installs:
            yield self._package_finding(copies, packages)
        elif packages:
            left = self._left_behind(copies, installs, packages)
            if left:
                yield self._package_finding(copies, left)

    def _is_install_below(self, item: Item, copies: list[Item]) -> bool:
        work = item.work
        if work is None or copies[0].at > item.at or self._seconds(item) < _LEAST_SECONDS:
            return False
        if self.own is not None and (
            item.at not in self.own or any(copy.at in self.own for copy in copies if copy.at < item.at)
        ):
            return False
        if work.split is not None and work.split.insert and self._keeps_downloads(item, work.split):
            return False
        if work.split is not None and work.split.flag and self._is_done_above(item, work.split):
            return False
        if work.stop:
            # What a narrow copy brings may well be what the install reads.
            takes_all = any(takes_root(copy) for copy in copies if copy.at < item.at)
            return takes_all and not self._has_its_downloads(item)
        if work.source:
            return any(one.is_install and one.family for one in work.needs)
        return work.installs or work.split is not None

    def _has_its_downloads(self, item: Item) -> bool:
        """Tell whether a build has its dependencies already: from a step above it, or from a cache mount."""
        priced = item.priced
        if priced is None or priced.classification is None or priced.cost.role != "build":
            return False
        family = priced.classification.family
        return priced.classification.has_cache_mount or any(
            other.priced is not None
            and other.priced.classification is not None
            and family in other.priced.classification.families
            for other in self.items[: item.at]
        )

    def _keeps_downloads(self, item: Item, split: Split) -> bool:
        """Tell whether a build needs no step of its own for its downloads: a cache mount keeps them."""
        instruction = item.instruction
        # A fetch of its own was put there to be a layer.
        is_build = item.priced is not None and item.priced.cost.role == "build"
        mounts = instruction.mounts if isinstance(instruction, ins.Run) and is_build else ()
        has_mount = any(one.type == "cache" for one in mounts)
        return has_mount or any(
            other.work is not None and other.priced is not None and split.kind in kinds_of(other.priced)
            for other in self.items[: item.at]
        )

    def _is_done_above(self, item: Item, split: Split) -> bool:
        """Tell whether the install is there already, as a step above it without the project."""
        wanted = {*split.behind.split(), *split.flag.split()}
        return any(
            wanted <= set(other.priced.cost.command.split())
            for other in self.items[: item.at]
            if other.priced is not None
        )

    def _is_package_below(self, item: Item, copies: list[Item]) -> bool:
        work = item.work
        return (
            work is not None
            and copies[0].at < item.at
            and work.is_free
            and not work.installs
            and bool(work.kinds & (OS_KINDS | TOOL_KINDS))
            and self._seconds(item) >= _LEAST_SECONDS
        )

    def _seconds(self, item: Item) -> float:
        return (item.priced.cost.seconds or 0.0) if item.priced is not None else 0.0

    # Installs

    def _install_finding(self, copies: list[Item], installs: list[Item]) -> Finding:
        first = installs[0]
        above = [item for item in copies if item.at < first.at]
        stops = ""
        proposal = None
        moved: list[Item] = above
        freed = [first]
        try:
            proposal, moved, freed = self.proposals.move_down(above, installs, self.hindrance)
        except UnsureError as unsure:
            stops = unsure.reason
        name = _command_name(first)
        copy = moved[0]
        files = sum(len(item.taken) for item in moved)
        return Finding(
            code=INSTALL,
            title=f"`{name}` runs again for every change of the source",
            first_line=copy.instruction.span.first,
            last_line=first.instruction.span.last,
            why=(
                f"{_shown(copy.instruction)} (line {copy.instruction.span.first}) puts {_count(files)} above"
                f" it, and it reads {self._reads(first)}"
            ),
            way_out=self._way_out(first, freed),
            category="speed",
            proposal=proposal,
            wasted=tuple(item.step.vertex for item in freed if item.step and item.step.vertex is not None),
            seconds=self._wasted_seconds(freed),
            stops=stops,
        )

    def _reads(self, item: Item) -> str:
        work = item.reading
        names = [posixpath.basename(path) for path in work.files]
        names += [f"{posixpath.basename(path)}/" for path in work.folders]
        if not names:
            return "only what describes the dependencies"
        shown = list(dict.fromkeys(names))
        if len(shown) > 4:
            shown = [*shown[:3], f"{len(shown) - 3} more"]
        if len(shown) == 1:
            return (
                f"only {shown[0]}"
                if work.split is None or not work.split.insert
                else f"its dependencies in {shown[0]}"
            )
        listed = f"{', '.join(shown[:-1])} and {shown[-1]}"
        return (
            f"only {listed}"
            if work.split is None or not work.split.insert
            else f"its dependencies in {listed}"
        )

    def _way_out(self, first: Item, freed: list[Item]) -> str:
        work = first.reading
        split = work.split
        if split is not None and split.insert:
            return f"copy the manifests and fetch first (`{split.insert[-1]}`), then copy the source"
        if split is not None:
            return f"copy the manifests, install with {split.flag}, copy the source, then finish the install"
        return "copy the manifests, install, then copy the source" + (
            "" if len(freed) < 2 else f" (frees {len(freed)} steps)"
        )

    def _wasted_seconds(self, freed: Iterable[Item]) -> float | None:
        total = 0.0
        for item in freed:
            shares = shares_of(item)
            if shares is None:
                return None
            total += shares[0]
        return total or None

    # OS packages and tools

    def _left_behind(self, copies: list[Item], installs: list[Item], packages: list[Item]) -> list[Item]:
        """Return the packages that stay below a copy when the installs are put right."""
        first = installs[0]
        above = [item for item in copies if item.at < first.at]
        if (
            first.work is not None
            and first.work.is_free
            and not any(barrier(copy, item) for copy in above for item in self.items[copy.at + 1 : first.at])
        ):
            until = self.proposals.reach(above, first.at)
        else:
            until = first.at if not (first.work and first.work.stop) else -1
        return [item for item in packages if item.at > until]

    def _package_finding(self, copies: list[Item], packages: list[Item]) -> Finding:
        stops = ""
        proposal = None
        freed = packages[:1]
        try:
            proposal, freed = self.proposals.packages_up(copies, packages)
        except UnsureError as unsure:
            stops = unsure.reason
            with suppress(UnsureError):
                above = [one for one in copies if one.at < packages[0].at]
                proposal, _, freed = self.proposals.move_down(above, packages)
                stops = ""
        first = freed[0]
        copy = next(item for item in copies if item.at < first.at)
        work = first.reading
        what = "OS packages are" if work.kinds & OS_KINDS else f"`{_command_name(first)}` is"
        verb = "installed" if work.kinds & OS_KINDS else "run"
        return Finding(
            code=PACKAGES,
            title=f"{what} {verb} again for every change of the source",
            first_line=copy.instruction.span.first,
            last_line=first.instruction.span.last,
            why=(
                f"{_shown(copy.instruction)} (line {copy.instruction.span.first}) stands above line"
                f" {first.instruction.span.first}, which reads nothing of it"
            ),
            way_out="put what reads no file of the project above the first copy",
            category="speed",
            proposal=proposal,
            wasted=tuple(item.step.vertex for item in freed if item.step and item.step.vertex is not None),
            seconds=self._wasted_seconds(freed),
            stops=stops,
        )


def _command_name(item: Item) -> str:
    classification = item.priced.classification if item.priced is not None else None
    families = classification.commands if classification is not None else ()
    if classification is not None and classification.reason.partition(":")[0] in families:
        return classification.reason.partition(":")[0]
    return families[0] if families else "the install"


def _shown(instruction: Instruction) -> str:
    text = " ".join(instruction.text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"
