"""What a branch does to the loop: two graphs, two trees, and the edits that are usual in the repository."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from devloop.doctor.replay import Replay, fixed, is_manifest, replay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devloop.doctor.replay import Commit, Reach, ReplayGraph, StepName

NOTICED: Final = 0.5
"""Fewer seconds are no difference: one COPY more or less says nothing."""


@dataclass(frozen=True, slots=True)
class ChangedStep:
    """A step that is new in the branch, or stands on something that is; `price` is what one run takes.

    `is_new` tells that no step of this text stood in that stage before.
    """

    name: StepName
    line: int
    price: float | None
    is_measured: bool
    is_new: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """A save of one path, before and with the branch; `commits` is how many of the recent ones hold it.

    `more` and `fewer` are the RUN steps that it runs now and did not before, and the other way round.
    """

    path: str
    commits: int
    before: float
    after: float
    more: tuple[StepName, ...]
    fewer: tuple[StepName, ...]

    @property
    def growth(self) -> float:
        """How many seconds more it takes now."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Weight:
    """A tracked file that steps take, with its bytes before and with the branch."""

    path: str
    before: int
    after: int

    @property
    def growth(self) -> int:
        """How many bytes more of it are sent now."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch compared with where it began.

    `steps` are the changed ones that cost at least the threshold, or whose price only a build can tell;
    `once` is what the first build of the branch takes on top of one of the base. `before` and `after` are
    the recent commits, replayed with both Dockerfiles. Without a Dockerfile at the base `before` is None.
    """

    steps: tuple[ChangedStep, ...]
    once: float
    edits: tuple[Edit, ...]
    before: Replay | None
    after: Replay
    weights: tuple[Weight, ...]
    bytes_before: int
    bytes_after: int

    @property
    def dearer(self) -> tuple[Edit, ...]:
        """The edits that take longer with the branch, those first that are dearest in sum."""
        return tuple(one for one in self.edits if one.growth > NOTICED or (one.more and not one.fewer))

    @property
    def cheaper(self) -> tuple[Edit, ...]:
        """The edits that take less, those first that save most in sum."""
        found = [one for one in self.edits if one.growth < -NOTICED or (one.fewer and not one.more)]
        return tuple(reversed([one for one in found if one not in self.dearer]))

    @property
    def verdict(self) -> Literal["dearer", "cheaper", "alike", "new"]:
        """What the branch does to the recent commits as a whole."""
        if self.before is None:
            return "new"
        weekly = self.after.seconds_a_week - self.before.seconds_a_week
        if self.dearer and weekly > 0:
            return "dearer"
        if self.cheaper and weekly < 0:
            return "cheaper"
        return "dearer" if self.dearer and not self.cheaper else "alike"


def compare(
    before: ReplayGraph | None,
    after: ReplayGraph,
    commits: Sequence[Commit],
    sizes_before: Mapping[str, int],
    sizes_after: Mapping[str, int],
    *,
    warn_seconds: float = 5.0,
) -> Branch:
    """Compare a branch with its base. The sizes are those of all tracked files, by path of the repository."""
    changed = after.differing(before) if before is not None else after.everything
    weights = _weights(before, after, sizes_before, sizes_after)
    return Branch(
        steps=_changed_steps(before, after, changed, warn_seconds),
        once=after.wait(changed),
        edits=_edits(before, after, commits, sizes_after) if before is not None else (),
        before=None if before is None else replay(commits, fixed(before)),
        after=replay(commits, fixed(after)),
        weights=tuple(one for one in weights if one.growth),
        bytes_before=sum(one.before for one in weights),
        bytes_after=sum(one.after for one in weights),
    )


def _changed_steps(
    before: ReplayGraph | None, after: ReplayGraph, changed: int, warn_seconds: float
) -> tuple[ChangedStep, ...]:
    old = frozenset(before.names.values()) if before is not None else frozenset()
    found = []
    for number, name in after.names.items():
        price = after.seconds[number]
        if changed >> number & 1 and (price is None or price >= warn_seconds):
            line = after.graph.steps[after.graph.vertices[number].step].span.first
            found.append(ChangedStep(name, line, price, number in after.measured, name not in old))
    return tuple(found)


def _edits(
    before: ReplayGraph, after: ReplayGraph, commits: Sequence[Commit], sizes: Mapping[str, int]
) -> tuple[Edit, ...]:
    counted = Counter(
        change.path
        for commit in commits
        if commit.parent is not None
        for change in commit.changes
        if not change.is_submodule
    )
    found = []
    for path, number in counted.items():
        if path not in sizes:
            continue
        old, new = _reach(before, path), _reach(after, path)
        old_runs, new_runs = _runs(before, old), _runs(after, new)
        edit = Edit(
            after.readers(path)[0],
            number,
            before.wait(old.ran),
            after.wait(new.ran),
            tuple(name for name in new_runs if name not in old_runs),
            tuple(name for name in old_runs if name not in new_runs),
        )
        if abs(edit.growth) > NOTICED or edit.more or edit.fewer:
            found.append(edit)
    return tuple(sorted(found, key=lambda one: (-one.growth * one.commits, one.path)))


def _reach(graph: ReplayGraph, path: str) -> Reach:
    bits = graph.readers(path)[1]
    return graph.reach(bits) if is_manifest(path) else graph.reach(0, bits)


def _runs(graph: ReplayGraph, reach: Reach) -> tuple[StepName, ...]:
    numbers = graph.numbers(reach.ran)
    return tuple(name for number, name in graph.names.items() if number in numbers and name.keyword == "RUN")


def _weights(
    before: ReplayGraph | None,
    after: ReplayGraph,
    sizes_before: Mapping[str, int],
    sizes_after: Mapping[str, int],
) -> tuple[Weight, ...]:
    found = []
    for path in sizes_before.keys() | sizes_after.keys():
        old = sizes_before.get(path, 0) if before is not None and before.readers(path)[1] else 0
        shown, bits = after.readers(path)
        new = sizes_after.get(path, 0) if bits else 0
        if old or new:
            found.append(Weight(shown, old, new))
    return tuple(sorted(found, key=lambda one: (-one.growth, one.path)))
