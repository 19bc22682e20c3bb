"""Installs that run again for an edit of a manifest that changes no dependency.

BuildKit goes by bytes, an installer by a few sections: a line of `scripts` in package.json runs `npm ci` like
a new dependency does. Whether that happens is a question to history, so this rule is asked with it, and says
nothing without. A stage in between writes the manifest without what no installer reads: its COPY --from has
equal content after such an edit, and the install stays cached. The copy that stood above the install moves
below it as it is, so that whatever follows sees the whole manifest. `pnpm fetch` and its like read the lock
alone, but leave an install to do that reads the manifest; the stage spares the whole step, and is the same
for every installer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.cost.manifests import compare, is_lock, read_manifest
from devloop.doctor import manifest_stages
from devloop.doctor.graphs import context_takings, steps_above
from devloop.doctor.manifest_installs import StoppedError
from devloop.doctor.manifest_steps import proposal_of
from devloop.doctor.mentions import copied_files
from devloop.doctor.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from devloop.dockerfile.stages import Step
    from devloop.doctor.model import PricedStep, Proposal, Subject
    from devloop.doctor.replay import Replay

MANIFEST: Final = "whole-manifest-above-install"

IdleEdits = frozenset[tuple[str, str]]
"""Commits by their id, with the context's name for a manifest that each edits without a dependency."""

_INSTALLS: Final = frozenset(
    {"npm-install", "yarn-install", "pnpm-install", "bun-install", "uv-sync", "poetry-install", "pdm-install"}
    | {"pipenv-install", "composer-install", "cargo-fetch", "bundle-install"}
)


@dataclass(frozen=True, slots=True)
class IdleRuns:
    """How many builds ran a step for nothing but idle edits, and the manifests behind them, most first."""

    builds: int
    paths: tuple[str, ...]


def is_idle_edit(path: str, before: bytes, after: bytes) -> bool:
    """Tell whether an edit changes nothing that an install goes by; what cannot be read is no such edit.

    Of a manifest that a stage can cut, only an edit that the stage stops counts. A lock is copied whole.
    """
    if is_lock(path):
        return False
    if manifest_stages.has_cut(path):
        short = manifest_stages.cut(path, before)
        return short is not None and before != after and short == manifest_stages.cut(path, after)
    old, new = read_manifest(path, before), read_manifest(path, after)
    return old is not None and new is not None and compare(old, new).only_other


def idle_runs(found: Replay, vertex: int, idle: IdleEdits) -> IdleRuns:
    """Count the builds in which a vertex of the replay's graph ran, and every cause was an idle edit."""
    paths: Counter[str] = Counter()
    builds = 0
    for build in found.builds:
        causes = [cause for cause in build.causes if vertex in cause.ran]
        if build.graph is not found.graph or not causes:
            continue
        if all(cause.kind == "path" and (build.commit.id, cause.path) in idle for cause in causes):
            builds += 1
            paths.update(cause.path for cause in causes)
    return IdleRuns(
        builds, tuple(path for path, _ in sorted(paths.items(), key=lambda one: (-one[1], one[0])))
    )


def manifest_findings(
    subject: Subject, found: Replay, idle: IdleEdits, spoken: AbstractSet[int] = frozenset()
) -> Iterator[Finding]:
    """Find expensive installs that idle edits ran; `spoken` are vertices that another finding speaks of.

    Where a manifest comes to an install by way of another stage only, that stage may well be the cut.
    """
    for one in subject.steps:
        vertex, kinds = one.step.vertex, one.classification.kinds if one.classification is not None else ()
        if vertex is None or vertex in spoken or not one.cost.expensive or _INSTALLS.isdisjoint(kinds):
            continue
        runs = idle_runs(found, vertex, idle)
        if runs.builds and not set(runs.paths).isdisjoint(_taken(subject, one.step)):
            yield _finding(subject, one, runs, found.commits)


def _taken(subject: Subject, step: Step) -> frozenset[str]:
    """Return the files of the context that an install and what it stands on take themselves."""
    graph = subject.model.graph
    takings = [taken for one in (*steps_above(graph, step), step) for taken in context_takings(graph, one)]
    return frozenset(one.path for one in copied_files(subject, takings))


def _finding(subject: Subject, one: PricedStep, runs: IdleRuns, commits: int) -> Finding:
    proposal, stops = _proposal(subject, one, runs.paths)
    named = " and ".join(runs.paths[:2])
    return Finding(
        code=MANIFEST,
        title=f"`{_shown(one.cost.command)}` runs again for edits of {named} that change no dependency",
        first_line=one.step.span.first,
        last_line=one.step.span.last,
        why=(
            f"{_counted(runs.builds, 'commit')} of the last {commits} ran it for"
            f" lines of {named} that no installer reads"
        ),
        way_out="install from the lock file alone, or from a manifest without those lines",
        category="speed",
        proposal=proposal,
        wasted=(one.step.vertex,) if one.step.vertex is not None else (),
        seconds=one.cost.seconds,
        stops=stops,
    )


def _proposal(subject: Subject, one: PricedStep, paths: tuple[str, ...]) -> tuple[Proposal | None, str]:
    """Return the change, or why there is none."""
    try:
        return proposal_of(subject, one, paths), ""
    except StoppedError as stopped:
        return None, stopped.reason


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
