"""What builds came to: the account of one build, and the figures over all that are remembered.

An account holds for each step what was predicted and why it ran. It is stored beside the build as JSON, so
that `devloop why` can answer later, when the tree has long changed, and `devloop stats` can add up.

Only what was measured is added up. A prediction that the engine overruled because its cache was pruned or a
base image moved counts as missed all the same, and is counted apart: nobody could have known it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.cost.history import BuildRecord, StepRecord, SyncRecord
    from devloop.cost.weight import ContextWeight

Predicted = Literal["cached", "run", "unknown"]
Verdict = Literal["right", "missed", "spared", "unknown"]

FORMAT: Final = 1
MANY_CHANGES: Final = 20
"""How many changed paths an account names; the rest is counted."""
ENOUGH_BUILDS: Final = 5
"""Builds that a statement about the quality of estimates rests on at least."""
TOP_STEPS: Final = 10
TOP_FILES: Final = 10
NOBODY_KNEW: Final = frozenset({"pruned", "base", "meanwhile"})
"""Rules of causes that came between a prediction and its build."""


@dataclass(frozen=True, slots=True)
class StepAccount:
    """What was expected of one step, and the cause of what it did.

    `seconds` is the estimate. `rule` is one of the plan's, or `pruned`, `meanwhile` or `foreign`; `path` is
    the first changed path behind it, also where other steps stand between.
    """

    predicted: Predicted | None
    seconds: float | None = None
    rule: str | None = None
    cause: str = ""
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class BuildAccount:
    """The account of one build: an entry for each of its recorded steps, and what had changed before it."""

    steps: tuple[StepAccount, ...]
    changes: tuple[str, ...] = ()
    change_count: int = 0
    is_background: bool = False


def account_to_json(account: BuildAccount) -> str:
    """Write an account as one compact JSON text; what is not known is left out."""
    return json.dumps(
        {
            "format": FORMAT,
            "changes": account.changes[:MANY_CHANGES],
            "change_count": account.change_count,
            "background": account.is_background,
            "steps": [_known(step) for step in account.steps],
        },
        separators=(",", ":"),
    )


def _known(step: StepAccount) -> dict[str, Any]:
    found = {
        "predicted": step.predicted,
        "seconds": None if step.seconds is None else round(step.seconds, 3),
        "rule": step.rule,
        "cause": step.cause or None,
        "path": step.path,
        "line": step.line,
    }
    return {name: value for name, value in found.items() if value is not None}


def account_from_json(text: str | None) -> BuildAccount | None:
    """Read an account back; None for a build without one, and for one of another format."""
    try:
        found = json.loads(text or "null")
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            return None
        return BuildAccount(
            steps=tuple(
                StepAccount(
                    predicted=step.get("predicted"),
                    seconds=step.get("seconds"),
                    rule=step.get("rule"),
                    cause=step.get("cause", ""),
                    path=step.get("path"),
                    line=step.get("line"),
                )
                for step in found["steps"]
            ),
            changes=tuple(found["changes"]),
            change_count=found["change_count"],
            is_background=found["background"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


NO_ACCOUNT: Final = StepAccount(None)


def accounted(build: BuildRecord) -> tuple[tuple[StepRecord, StepAccount], ...]:
    """Pair each step of a build with its account; an empty one where none was stored."""
    return _paired(build, account_from_json(build.prediction))


def _paired(build: BuildRecord, account: BuildAccount | None) -> tuple[tuple[StepRecord, StepAccount], ...]:
    if account is None or len(account.steps) != len(build.steps):
        return tuple((step, NO_ACCOUNT) for step in build.steps)
    return tuple(zip(build.steps, account.steps, strict=True))


def has_run(step: StepRecord) -> bool:
    """Tell whether a step ran, to its end or until it failed."""
    return step.status in {"run", "failed"}


def spent(step: StepRecord) -> float | None:
    """Return the seconds that a step took, also where it was canceled; None where it took none."""
    return None if step.status == "cached" else step.seconds


def verdict(step: StepRecord, account: StepAccount) -> Verdict | None:
    """Compare a prediction with what was observed; None where there is nothing to compare.

    `missed` ran against the prediction, `spared` was found in the cache against it. A canceled step may have
    been about to find its cache entry, so it says nothing.
    """
    if account.predicted is None or step.status == "canceled":
        return None
    match account.predicted, has_run(step):
        case "unknown", _:
            return "unknown"
        case ("cached", False) | ("run", True):
            return "right"
        case "cached", _:
            return "missed"
        case _:
            return "spared"


# Figures ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepTotal:
    """What one step has cost over all builds; its text and line are those of the newest build with it."""

    stage: str
    line: int
    instruction: str
    text: str
    seconds: float
    runs: int


@dataclass(frozen=True, slots=True)
class FileTotal:
    """What the edits of one path have cost: the seconds of `steps` steps that ran for it in `builds` builds.

    A step that ran for several changed paths is charged to the first of them.
    """

    path: str
    seconds: float
    steps: int
    builds: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How predictions did, counted in steps. Of the `missed`, `nobody_knew` lost their cache meanwhile."""

    steps: int
    cached: int
    ran: int
    missed: int
    nobody_knew: int
    spared: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far expected and real seconds of builds lie apart.

    `median_error` is the median of |expected - real| / real over successful builds in which something ran;
    None for less than `ENOUGH_BUILDS` of them. `median_ratio` of expected to real tells in which direction.
    """

    builds: int
    median_error: float | None
    median_ratio: float | None


@dataclass(frozen=True, slots=True)
class SyncTotals:
    """What syncs took, and what the rebuilds in their place were expected to take beyond that.

    `saved_seconds` covers the syncs whose rebuild had a price; the others are `unpriced`.
    """

    syncs: int
    seconds: float
    saved_seconds: float
    unpriced: int


WITHDRAWN: Final = "withdrawn"
"""The kind of a `SyncRecord` that stands for an expensive edit taken back before its build began."""


@dataclass(frozen=True, slots=True)
class HeededTotals:
    """Expensive edits that were taken back while their build waited, and what the builds would have taken."""

    edits: int
    saved_seconds: float


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a project over everything that is remembered of it, and what its context weighs now."""

    since: float | None
    ok: int
    failed: int
    canceled: int
    background: int
    seconds: float
    steps: tuple[StepTotal, ...]
    quality: Quality
    calibration: Calibration
    syncs: SyncTotals
    heeded: HeededTotals
    files: tuple[FileTotal, ...]
    misses: int
    last: tuple[BuildRecord, ...]
    context: ContextWeight | None = None
    ignore_file: str = ".dockerignore"

    @property
    def builds(self) -> int:
        """How many builds are remembered."""
        return self.ok + self.failed + self.canceled


def summarize(
    builds: Sequence[BuildRecord], syncs: Sequence[SyncRecord], misses: int, *, last: int = 5
) -> Stats:
    """Add up builds and syncs, both newest first; `last` builds are kept as they are."""
    outcomes = [build.outcome for build in builds]
    accounts = [account_from_json(build.prediction) for build in builds]
    pairs = [_paired(build, account) for build, account in zip(builds, accounts, strict=True)]
    return Stats(
        since=min((build.started_at for build in builds), default=None),
        ok=outcomes.count("ok"),
        failed=outcomes.count("failed"),
        canceled=outcomes.count("canceled"),
        background=sum(account is not None and account.is_background for account in accounts),
        seconds=sum(build.seconds for build in builds),
        steps=step_totals(builds)[:TOP_STEPS],
        quality=quality(pair for found in pairs for pair in found),
        calibration=calibrate(builds),
        syncs=sync_totals([sync for sync in syncs if sync.kind != WITHDRAWN]),
        heeded=_heeded_totals([sync for sync in syncs if sync.kind == WITHDRAWN]),
        files=file_totals(pairs)[:TOP_FILES],
        misses=misses,
        last=tuple(builds[:last]),
    )


def step_totals(builds: Iterable[BuildRecord]) -> tuple[StepTotal, ...]:
    """Add up the seconds of each step that was not cached, the dearest first; builds are newest first."""
    found: dict[str, list[StepRecord]] = {}
    for build in builds:
        for step in build.steps:
            if spent(step) is not None:
                found.setdefault(step.key, []).append(step)
    totals = [
        StepTotal(
            steps[0].stage,
            steps[0].line,
            steps[0].instruction,
            steps[0].text,
            sum(step.seconds or 0.0 for step in steps),
            len(steps),
        )
        for steps in found.values()
    ]
    return tuple(sorted(totals, key=lambda one: (-one.seconds, one.stage, one.line, one.text)))


def file_totals(builds: Iterable[Sequence[tuple[StepRecord, StepAccount]]]) -> tuple[FileTotal, ...]:
    """Charge the seconds of what ran to the changed path behind it, the dearest first."""
    seconds: dict[str, list[float]] = {}
    counted: dict[str, int] = {}
    for build in builds:
        paths = set()
        for step, account in build:
            took = spent(step)
            if account.path is None or took is None:
                continue
            seconds.setdefault(account.path, []).append(took)
            paths.add(account.path)
        for path in paths:
            counted[path] = counted.get(path, 0) + 1
    totals = [FileTotal(path, sum(found), len(found), counted[path]) for path, found in seconds.items()]
    return tuple(sorted(totals, key=lambda one: (-one.seconds, one.path)))


def quality(pairs: Iterable[tuple[StepRecord, StepAccount]]) -> Quality:
    """Count what became of the predictions; steps without one are left out."""
    judged = [(step, account, found) for step, account in pairs if (found := verdict(step, account))]
    verdicts = [found for _, _, found in judged]
    right = [step for step, _, found in judged if found == "right"]
    return Quality(
        steps=len(judged),
        cached=sum(not has_run(step) for step in right),
        ran=sum(has_run(step) for step in right),
        missed=verdicts.count("missed"),
        nobody_knew=sum(found == "missed" and account.rule in NOBODY_KNEW for _, account, found in judged),
        spared=verdicts.count("spared"),
        unknown=verdicts.count("unknown"),
    )


def calibrate(builds: Iterable[BuildRecord]) -> Calibration:
    """Compare expected with real seconds of the builds in which something ran and nothing failed."""
    compared = [
        (build.predicted_seconds, build.seconds)
        for build in builds
        if build.predicted_seconds is not None
        and build.outcome == "ok"
        and build.seconds > 0
        and any(has_run(step) for step in build.steps)
    ]
    if len(compared) < ENOUGH_BUILDS:
        return Calibration(len(compared), None, None)
    return Calibration(
        len(compared),
        median(abs(expected - real) / real for expected, real in compared),
        median(expected / real for expected, real in compared),
    )


def _heeded_totals(withdrawn: Sequence[SyncRecord]) -> HeededTotals:
    return HeededTotals(len(withdrawn), sum(one.rebuild_seconds or 0.0 for one in withdrawn))


def sync_totals(syncs: Sequence[SyncRecord]) -> SyncTotals:
    """Add up what syncs took and saved. One that took longer than the rebuild counts against the others."""
    return SyncTotals(
        syncs=len(syncs),
        seconds=sum(sync.seconds for sync in syncs),
        saved_seconds=sum(
            sync.rebuild_seconds - sync.seconds for sync in syncs if sync.rebuild_seconds is not None
        ),
        unpriced=sum(sync.rebuild_seconds is None for sync in syncs),
    )
