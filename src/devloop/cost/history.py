"""Remembers what builds and restarts took, on the state database.

Measurements of steps are kept apart from the builds they came from. A project is rebuilt hundreds of times
between two runs of its dependency install, and it is exactly that rare duration which the next warning needs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from devloop.cost.estimate import BuildOverhead

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from devloop.state.database import Database

T = TypeVar("T")

StepStatus = Literal["cached", "run", "failed", "canceled"]
BuildOutcome = Literal["ok", "failed", "canceled"]

RECENT = 20
"""How many measurements an estimate looks at."""

KEPT_DURATIONS_PER_KEY = 50
KEPT_DURATIONS_PER_PROJECT = 5_000  # each edit of a Dockerfile makes new keys; the old ones age out here
KEPT_BUILDS_PER_PROJECT = 500
KEPT_RESTARTS_PER_PROJECT = 200
KEPT_SYNCS_PER_PROJECT = 1_000
KEPT_DURATIONS = 50_000
KEPT_BUILDS = 20_000
KEPT_RESTARTS = 20_000
KEPT_SYNCS = 50_000
"""Of all projects together: folders come and go, and nobody says farewell."""

_KEYS_PER_QUERY = 500  # SQLite allows 999 parameters in its older builds


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a build as it went. `text` is stored as given: the caller has taken the secrets out."""

    stage: str
    ordinal: int
    line: int
    instruction: str
    text: str
    key: str
    kind: str | None
    status: StepStatus
    seconds: float | None


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One build. `prediction` is an opaque text of the caller, kept beside what really happened.

    `chain_seconds` is what the longest chain of its steps took, as the builder runs stages side by side.
    """

    project: str
    dockerfile: str
    target: str | None
    engine: str
    started_at: float
    seconds: float
    outcome: BuildOutcome
    context_bytes: int | None
    export_seconds: float | None
    metadata_seconds: float | None
    steps: tuple[StepRecord, ...]
    builder: str | None = None
    predicted_seconds: float | None = None
    prediction: str | None = None
    chain_seconds: float | None = None
    context_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RestartTimes:
    """Medians of recent restarts; None where that part was never measured."""

    stop_seconds: float | None
    start_seconds: float | None
    healthy_seconds: float | None
    runs: int


@dataclass(frozen=True, slots=True)
class SyncRecord:
    """One sync in the place of a rebuild; `rebuild_seconds` is what that was expected to take, if known."""

    at: float
    kind: str
    seconds: float
    rebuild_seconds: float | None


class History:
    """Reads and writes the measurements. Every method may raise `StateUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_build(self, build: BuildRecord) -> int:
        """Store a build, its steps, and the durations of those steps that ran to their end."""

        def work(connection: sqlite3.Connection) -> int:
            number = _insert_build(connection, build)
            connection.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(number, position, *_step_row(step)) for position, step in enumerate(build.steps)],
            )
            measured = [step for step in build.steps if step.status == "run" and step.seconds is not None]
            connection.executemany(
                "INSERT INTO durations (project, key, kind, measured_at, seconds) VALUES (?, ?, ?, ?, ?)",
                [(build.project, step.key, step.kind, build.started_at, step.seconds) for step in measured],
            )
            _prune(connection, build.project, {step.key for step in measured})
            return number

        return self._database.write(work)

    def durations(
        self, project: str, keys: Iterable[str], *, recent: int = RECENT
    ) -> dict[str, tuple[float, ...]]:
        """Look up the last measured seconds of each key here, newest first; unknown keys are absent."""
        return self._recent("project = ? AND key", "key", [project], keys, recent)

    def durations_by_kind(
        self, kinds: Iterable[str], *, recent: int = RECENT
    ) -> dict[str, tuple[float, ...]]:
        """Look up the last measured seconds of each kind of step on this machine, whatever the project."""
        return self._recent("kind", "kind", [], kinds, recent)

    def _recent(
        self, condition: str, column: str, fixed: list[object], values: Iterable[str], recent: int
    ) -> dict[str, tuple[float, ...]]:
        found: dict[str, list[float]] = {}
        for chunk in _chunks(sorted(set(values))):
            rows = self._database.read(
                f"SELECT {column}, seconds FROM ("  # noqa: S608  the parts are constants of this module
                f" SELECT {column}, seconds, measured_at, id, row_number() OVER"
                f" (PARTITION BY {column} ORDER BY measured_at DESC, id DESC) AS place"
                f" FROM durations WHERE {condition} IN ({_marks(chunk)})"
                ") WHERE place <= ? ORDER BY measured_at DESC, id DESC",
                [*fixed, *chunk, recent],
            )
            for value, seconds in rows:
                found.setdefault(value, []).append(seconds)
        return {value: tuple(seconds) for value, seconds in found.items()}

    def last_builds(self, project: str, count: int) -> tuple[BuildRecord, ...]:
        """Load the last builds of a project with their steps, newest first."""
        rows = self._database.read(
            "SELECT id, project, dockerfile, target, engine, started_at, seconds, outcome, context_bytes,"
            " export_seconds, metadata_seconds, builder, predicted_seconds, prediction, chain_seconds,"
            " context_seconds"
            " FROM builds WHERE project = ? ORDER BY started_at DESC, id DESC LIMIT ?",
            (project, count),
        )
        steps: dict[int, list[StepRecord]] = {row[0]: [] for row in rows}
        for chunk in _chunks([row[0] for row in rows]):
            for number, *step in self._database.read(
                "SELECT build, stage, ordinal, line, instruction, text, key, kind, status, seconds"  # noqa: S608  only marks
                f" FROM steps WHERE build IN ({_marks(chunk)}) ORDER BY build, position",
                chunk,
            ):
                steps[number].append(StepRecord(*step))
        return tuple(
            BuildRecord(*row[1:11], tuple(steps[row[0]]), *row[11:])  # type: ignore[call-arg]  # sized by SELECT
            for row in rows
        )

    def overheads(self, project: str | None, *, recent: int = RECENT) -> tuple[BuildOverhead, ...]:
        """Take what the last successful builds took beyond their steps, newest first; None: of any project.

        Builds of which the longest chain was not recorded say nothing.
        """
        rows = self._database.read(
            "SELECT seconds - chain_seconds, (SELECT group_concat(key, char(10)) FROM steps"
            " WHERE build = builds.id AND status = 'run') FROM builds"
            " WHERE (? IS NULL OR project = ?) AND outcome = 'ok' AND chain_seconds IS NOT NULL"
            " ORDER BY started_at DESC, id DESC LIMIT ?",
            (project, project, recent),
        )
        # Steps that overlap by a rounding error must not make an overhead that helps.
        return tuple(
            BuildOverhead(frozenset((keys or "").split()), max(seconds, 0.0)) for seconds, keys in rows
        )

    def record_restart(
        self,
        project: str,
        kind: str,
        stop_seconds: float | None,
        start_seconds: float | None,
        healthy_seconds: float | None,
        *,
        measured_at: float | None = None,
    ) -> None:
        """Store what stop, start and getting healthy took; `kind` is the caller's name for the way."""
        moment = time.time() if measured_at is None else measured_at

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO restarts (project, kind, measured_at, stop_seconds, start_seconds,"
                " healthy_seconds) VALUES (?, ?, ?, ?, ?, ?)",
                (project, kind, moment, stop_seconds, start_seconds, healthy_seconds),
            )
            _keep_newest(connection, "restarts", project, KEPT_RESTARTS_PER_PROJECT, KEPT_RESTARTS)

        self._database.write(work)

    def restart_times(self, project: str, kind: str, *, recent: int = RECENT) -> RestartTimes:
        """Medians of the last restarts of this kind in this project; all None where there were none."""
        rows = self._database.read(
            "SELECT stop_seconds, start_seconds, healthy_seconds FROM restarts"
            " WHERE project = ? AND kind = ? ORDER BY measured_at DESC, id DESC LIMIT ?",
            (project, kind, recent),
        )
        stop, start, healthy = (_median(row[part] for row in rows) for part in range(3))
        return RestartTimes(stop, start, healthy, len(rows))

    def record_sync(self, project: str, sync: SyncRecord) -> None:
        """Store a sync that was done."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO syncs (project, measured_at, kind, seconds, rebuild_seconds)"
                " VALUES (?, ?, ?, ?, ?)",
                (project, sync.at, sync.kind, sync.seconds, sync.rebuild_seconds),
            )
            _keep_newest(connection, "syncs", project, KEPT_SYNCS_PER_PROJECT, KEPT_SYNCS)

        self._database.write(work)

    def syncs(self, project: str) -> tuple[SyncRecord, ...]:
        """Load the syncs of a project that are still kept, newest first."""
        rows = self._database.read(
            "SELECT measured_at, kind, seconds, rebuild_seconds FROM syncs"
            " WHERE project = ? ORDER BY measured_at DESC, id DESC",
            (project,),
        )
        return tuple(SyncRecord(*row) for row in rows)

    def forget(self, project: str) -> None:
        """Remove everything that was recorded for a project."""

        def work(connection: sqlite3.Connection) -> None:
            for table in ("builds", "durations", "restarts", "syncs"):
                connection.execute(f"DELETE FROM {table} WHERE project = ?", (project,))  # noqa: S608  constants

        self._database.write(work)


def _insert_build(connection: sqlite3.Connection, build: BuildRecord) -> int:
    cursor = connection.execute(
        "INSERT INTO builds (project, dockerfile, target, engine, builder, started_at, seconds, outcome,"
        " context_bytes, export_seconds, metadata_seconds, predicted_seconds, prediction, chain_seconds,"
        " context_seconds)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            build.project,
            build.dockerfile,
            build.target,
            build.engine,
            build.builder,
            build.started_at,
            build.seconds,
            build.outcome,
            build.context_bytes,
            build.export_seconds,
            build.metadata_seconds,
            build.predicted_seconds,
            build.prediction,
            build.chain_seconds,
            build.context_seconds,
        ),
    )
    return cast("int", cursor.lastrowid)


def _step_row(step: StepRecord) -> tuple[object, ...]:
    return (
        step.stage,
        step.ordinal,
        step.line,
        step.instruction,
        step.text,
        step.key,
        step.kind,
        step.status,
        step.seconds,
    )


def _prune(connection: sqlite3.Connection, project: str, keys: set[str]) -> None:
    """Drop the oldest rows over each bound. Only keys that grew are looked at, so this stays cheap."""
    for key in sorted(keys):
        connection.execute(
            "DELETE FROM durations WHERE project = ? AND key = ? AND id NOT IN (SELECT id FROM durations"
            " WHERE project = ? AND key = ? ORDER BY measured_at DESC, id DESC LIMIT ?)",
            (project, key, project, key, KEPT_DURATIONS_PER_KEY),
        )
    _keep_newest(connection, "durations", project, KEPT_DURATIONS_PER_PROJECT, KEPT_DURATIONS)
    _keep_newest(connection, "builds", project, KEPT_BUILDS_PER_PROJECT, KEPT_BUILDS, at="started_at")


def _keep_newest(
    connection: sqlite3.Connection,
    table: str,
    project: str,
    kept_of_project: int,
    kept: int,
    *,
    at: str = "measured_at",
) -> None:
    """Drop the oldest rows of a table over its bounds: those of one project, and those of all."""
    for order, condition, parameters, most in (
        (f"{at} DESC, id DESC", "project = ?", (project,), kept_of_project),
        ("id DESC", "1", (), kept),
    ):
        connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition}"  # noqa: S608  constants
            f" ORDER BY {order} LIMIT -1 OFFSET ?)",
            (*parameters, most),
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _chunks(values: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(values), _KEYS_PER_QUERY):
        yield values[start : start + _KEYS_PER_QUERY]


def _marks(values: list[str] | list[int]) -> str:
    return ", ".join("?" * len(values))
