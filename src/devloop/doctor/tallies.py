"""How often the steps of a finding ran for nothing: in a replay of commits, or in builds that were seen.

A build that devloop recorded is taken like a commit, with the paths that had changed before it, and goes
through the same graph. Of what that graph would run only those steps count that did run: a build says what
happened, and a commit only what would have.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from devloop.cost.report import NO_ACCOUNT, account_from_json, has_run
from devloop.doctor.replay import (
    Build,
    Commit,
    FileChange,
    Replay,
    fixed,
    is_manifest,
    replay,
    week_of,
)
from devloop.doctor.report import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from devloop.cost.history import BuildRecord
    from devloop.doctor.replay import ReplayGraph
    from devloop.doctor.values import NewValues

SHOWN_PATHS: Final = 20
_BY_VARIABLE: Final = frozenset({"argument", "environment"})


@dataclass(frozen=True, slots=True)
class Past:
    """Commits or recorded builds, newest first, with what today's graph makes of them.

    `of` counts all that could have run something, on so many `days`. Of recorded builds `present` holds each
    with the vertices of today's graph that were in it, run or cached, and `by_variable` those that ran for a
    changed variable, by the name of the build; both are None for commits.
    """

    commits: tuple[Commit, ...]
    now: Replay
    of: int
    weeks: int
    days: int
    by_variable: Mapping[str, frozenset[int]] | None = None
    present: tuple[tuple[Commit, frozenset[int]], ...] | None = None

    def with_any_of(self, vertices: AbstractSet[int]) -> Past:
        """Leave out the recorded builds that had none of these steps: the Dockerfile was another one."""
        if self.present is None or not vertices:
            return self
        kept = {one.id: one for one, there in self.present if not there.isdisjoint(vertices)}
        weeks = len({week_of(one.at) for one in kept.values()})
        builds = tuple(one for one in self.now.builds if one.commit.id in kept)
        return replace(
            self,
            commits=tuple(one for one in self.commits if one.id in kept),
            now=replace(self.now, builds=builds, commits=len(kept), weeks=weeks),
            of=len(kept),
            weeks=weeks,
            days=_days(kept.values()),
            by_variable={name: ran for name, ran in (self.by_variable or {}).items() if name in kept},
        )

    def after(self, graph: ReplayGraph) -> Replay:
        """Send the same changes through another graph."""
        return replay(self.commits, fixed(graph))


def commits_past(commits: Sequence[Commit], graph: ReplayGraph) -> Past:
    """Return what git's commits would have run."""
    now = replay(commits, fixed(graph))
    return Past(tuple(commits), now, now.commits, now.weeks, _days(commits))


def builds_past(
    builds: Iterable[BuildRecord], graph: ReplayGraph, vertices: Mapping[str, frozenset[int]]
) -> Past:
    """Return what the recorded builds ran of today's graph; `vertices` are its steps by the key of each.

    Builds in the background cost nobody a wait, and are left out as those are that followed no edit. Where
    only some of the changed paths were recorded, nothing can be said to have run in vain.
    """
    commits: list[Commit] = []
    ran: dict[str, frozenset[int]] = {}
    present: list[tuple[Commit, frozenset[int]]] = []
    by_variable: dict[str, frozenset[int]] = {}
    for number, build in enumerate(builds):
        account = account_from_json(build.prediction)
        if account is None or account.is_background:
            continue
        steps = account.steps if len(account.steps) == len(build.steps) else (NO_ACCOUNT,) * len(build.steps)
        pairs = tuple(zip(build.steps, steps, strict=True))
        varied = _vertices(
            vertices,
            (step.key for step, one in pairs if has_run(step) and one.rule in _BY_VARIABLE),
        )
        if not account.change_count and not varied:
            continue
        name = f"build {number}"
        is_known = account.change_count <= len(account.changes)
        changes = tuple(FileChange(path, "modified") for path in account.changes) if is_known else ()
        commits.append(Commit(name, "", int(build.started_at), "", "", changes))
        present.append((commits[-1], _vertices(vertices, (step.key for step in build.steps))))
        ran[name] = _vertices(vertices, (step.key for step, one in pairs if has_run(step)))
        by_variable[name] = varied
    predicted = replay(commits, fixed(graph))
    kept: list[Build] = []
    for one in predicted.builds:
        observed = one.ran & ran[one.commit.id]
        if observed:
            kept.append(
                replace(
                    one,
                    ran=observed,
                    perhaps=frozenset(),
                    seconds=graph.wait(sum(1 << vertex for vertex in observed)),
                )
            )
    now = replace(predicted, builds=tuple(kept))
    told = tuple(one.commit for one in kept)
    return Past(told, now, len(commits), predicted.weeks, _days(commits), by_variable, tuple(present))


def _days(commits: Iterable[Commit]) -> int:
    return len({one.at // (24 * 3600) for one in commits})


def _vertices(known: Mapping[str, frozenset[int]], keys: Iterable[str]) -> frozenset[int]:
    found: set[int] = set()
    for key in keys:
        found |= known.get(key, frozenset())
    return frozenset(found)


# Counting ---------------------------------------------------------------------------------------------------


def for_nothing(
    past: Past,
    wasted: Iterable[int],
    seconds: float | None,
    is_needed: Callable[[str], bool] = is_manifest,
) -> Tally:
    """Count the runs of the vertex that ran in vain most often: none of the paths behind them is needed."""
    found = [_runs_of(past.now, vertex, is_needed) for vertex in wasted]
    most = max(found, key=len, default=[])
    return _tally(past, most, None if seconds is None else seconds * len(most))


def _runs_of(now: Replay, vertex: int, is_needed: Callable[[str], bool]) -> list[tuple[str, ...]]:
    """Return the paths behind each needless run of a vertex."""
    found = []
    for build in now.builds:
        if build.graph is not now.graph or vertex not in build.ran:
            continue
        causes = [cause for cause in build.causes if vertex in cause.ran]
        if any(cause.kind == "instruction" or is_needed(cause.path) for cause in causes):
            continue
        found.append(tuple(cause.path for cause in causes))
    return found


def saved(past: Past, after: Replay, wasted: Iterable[int]) -> Tally:
    """Count needless runs as `for_nothing` does, and take the seconds that another order saves in all."""
    return replace(for_nothing(past, wasted, None), seconds=max(past.now.seconds - after.seconds, 0.0))


def spared(past: Past, after: Replay) -> Tally:
    """Count the builds in which something ran that does not run with other files in the context.

    Both graphs number their vertices alike: only the ignore file differs.
    """
    later = {build.commit.id: build for build in after.builds}
    runs: list[tuple[str, ...]] = []
    seconds = 0.0
    for build in past.now.builds:
        other = later.get(build.commit.id)
        gone = build.ran - (other.ran if other is not None else frozenset())
        if not gone:
            continue
        runs.append(tuple(cause.path for cause in build.causes if cause.ran & gone))
        seconds += max(build.seconds - (other.seconds if other is not None else 0.0), 0.0)
    return _tally(past, runs, seconds)


def at_every_build(past: Past, seconds: float) -> Tally:
    """Count all builds in which anything runs."""
    return _tally(past, [() for _ in past.now.builds], seconds * len(past.now.builds))


def for_variables(
    past: Past, wasted: AbstractSet[int], seconds: float | None, values: NewValues
) -> Tally | None:
    """Count the builds that ran a vertex for a new value of a variable; None where that is not known.

    Of recorded builds that was observed. A commit counts that changes the value in the Dockerfile; where none
    does and it is the commit's own name, each one does but those that run the vertex anyway.
    """
    if past.by_variable is not None:
        runs = sum(not found.isdisjoint(wasted) for found in past.by_variable.values())
    elif values.commits or values.is_constant:
        runs = sum(one.id in values.commits for one in past.commits)
    elif values.is_commit_name:
        runs = past.of - sum(not build.ran.isdisjoint(wasted) for build in past.now.builds)
    else:
        return None
    return _tally(past, [()] * runs, None if seconds is None else seconds * runs)


def _tally(past: Past, runs: Sequence[tuple[str, ...]], seconds: float | None) -> Tally:
    counted = Counter(path for paths in runs for path in dict.fromkeys(paths))
    paths = sorted(counted, key=lambda path: (-counted[path], path))
    return Tally(len(runs), past.of, past.weeks, seconds, tuple(paths[:SHOWN_PATHS]))
