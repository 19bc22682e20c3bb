"""Keeps cache records, image configurations, baselines and misses in the state file.

Records belong to a builder, because another builder has another cache. A baseline belongs to a project: it
is what the last successful build was made of, so that a later start can say what has changed since.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.cache.baseline import Baseline, baseline_from_json, baseline_to_json
from devloop.cache.records import Link, Records
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.state.database import forget_oldest

if TYPE_CHECKING:
    import sqlite3

    from devloop.state.database import Database

KEPT_LINKS = 200_000
KEPT_GROUP_MEMBERS = 50_000
KEPT_DEFINITIONS = 50_000
KEPT_IMAGES = 2_000
KEPT_BASELINES = 1_000
KEPT_MISSES = 200


@dataclass(frozen=True, slots=True)
class Miss:
    """A prediction that the engine contradicted, with what is needed to reproduce it."""

    at: float
    project: str
    line: int
    text: str
    predicted: str
    observed: str
    explanation: str
    detail: str


class RecordStore:
    """The stored side of `Records`: loads what a graph can ask for, saves what a build taught."""

    def __init__(self, database: "Database", *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def load(self, builder: str, operations: Iterable[str]) -> Records:
        """Load the records that steps with these operations can be found under.

        Raises `StateUnavailable` where the file cannot be read.
        """
        wanted = sorted(set(operations))
        links: list[Link] = []
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ",".join("?" * len(some))
            rows = self._database.read(
                f"SELECT operation, number, key, record, modes FROM links WHERE builder = ? AND operation IN ({marks})",  # noqa: E501, S608 - the marks are question marks
                (builder, *some),
            )
            links.extend(Link(*row) for row in rows)
        groups: dict[str, set[str]] = {}
        for name, member in self._database.read(
            "SELECT name, member FROM record_groups WHERE builder = ?", (builder,)
        ):
            groups.setdefault(name, set()).add(member)
        return Records.load(links, {name: frozenset(members) for name, members in groups.items()})

    def save(self, builder: str, records: Records) -> None:
        """Write what `records` learnt since it was loaded, and forget what it dropped."""
        now = self._clock()
        added, dropped, groups = records.added, records.dropped, records.groups

        def work(connection: "sqlite3.Connection") -> None:
            connection.executemany(
                "DELETE FROM links WHERE builder = ? AND record = ?",
                [(builder, one) for one in sorted(dropped)],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO links (builder, operation, number, key, record, modes, seen_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (builder, link.operation, link.number, link.key, link.record, link.modes, now)
                    for link in added
                    if link.record not in dropped
                ],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO record_groups (builder, name, member, seen_at) VALUES (?, ?, ?, ?)",
                [
                    (builder, name, member, now)
                    for name, members in groups.items()
                    for member in sorted(members)
                ],
            )
            forget_oldest(connection, "links", KEPT_LINKS)
            forget_oldest(connection, "record_groups", KEPT_GROUP_MEMBERS)

        self._database.write(work)
        records.added.clear()
        records.dropped.clear()

    def forget_builder(self, builder: str) -> None:
        """Forget every record of one builder: its cache is gone."""
        self._database.write(lambda c: c.execute("DELETE FROM links WHERE builder = ?", (builder,)))

    def engine_definitions(self, builder: str, operation: str) -> frozenset[str]:
        """Return how the engine itself has defined an operation so far, as digests."""
        rows = self._database.read(
            "SELECT definition FROM engine_operations WHERE builder = ? AND operation = ?",
            (builder, operation),
        )
        return frozenset(row[0] for row in rows)

    def save_engine_definitions(self, builder: str, found: Iterable[tuple[str, str]]) -> None:
        """Remember pairs of an operation and the engine's own definition of it."""
        now = self._clock()
        rows = [(builder, operation, definition, now) for operation, definition in found]

        def work(connection: "sqlite3.Connection") -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO engine_operations (builder, operation, definition, seen_at)"
                " VALUES (?, ?, ?, ?)",
                rows,
            )
            forget_oldest(connection, "engine_operations", KEPT_DEFINITIONS)

        self._database.write(work)

    # Base images

    def image(self, builder: str, reference: str, platform: Platform) -> ImageConfig | None:
        """Return what was last seen of a base image on this builder."""
        rows = self._database.read(
            "SELECT config FROM images WHERE builder = ? AND reference = ? AND platform = ?",
            (builder, reference, str(platform)),
        )
        if not rows:
            return None
        found = json.loads(rows[0][0])
        return ImageConfig(
            key=found["key"],
            env=tuple((k, v) for k, v in found["env"]),
            workdir=found["workdir"],
            user=found["user"],
            shell=tuple(found["shell"]),
            onbuild=tuple(found["onbuild"]),
        )

    def save_image(self, builder: str, reference: str, platform: Platform, config: ImageConfig) -> None:
        """Remember a base image, so that a plan can be made without an engine."""
        text = json.dumps(
            {
                "key": config.key,
                "env": config.env,
                "workdir": config.workdir,
                "user": config.user,
                "shell": config.shell,
                "onbuild": config.onbuild,
            }
        )

        def work(connection: "sqlite3.Connection") -> None:
            connection.execute(
                "INSERT OR REPLACE INTO images (builder, reference, platform, config, seen_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (builder, reference, str(platform), text, self._clock()),
            )
            forget_oldest(connection, "images", KEPT_IMAGES)

        self._database.write(work)

    # Baselines and misses

    def baseline(self, project: str) -> Baseline | None:
        """Return what the last successful build of the project was made of."""
        rows = self._database.read("SELECT content FROM baselines WHERE project = ?", (project,))
        return baseline_from_json(rows[0][0]) if rows else None

    def save_baseline(self, project: str, baseline: Baseline) -> None:
        text = baseline_to_json(baseline)

        def work(connection: "sqlite3.Connection") -> None:
            connection.execute(
                "INSERT OR REPLACE INTO baselines (project, content, saved_at) VALUES (?, ?, ?)",
                (project, text, self._clock()),
            )
            forget_oldest(connection, "baselines", KEPT_BASELINES, at="saved_at")

        self._database.write(work)

    def add_misses(self, misses: Iterable[Miss]) -> None:
        rows = [
            (m.at, m.project, m.line, m.text, m.predicted, m.observed, m.explanation, m.detail)
            for m in misses
        ]

        def work(connection: "sqlite3.Connection") -> None:
            connection.executemany(
                "INSERT INTO misses (at, project, line, text, predicted, observed, explanation, detail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            connection.execute(
                "DELETE FROM misses WHERE id <= (SELECT max(id) FROM misses) - ?", (KEPT_MISSES,)
            )

        if rows:
            self._database.write(work)

    def misses(self, project: str | None = None) -> tuple[Miss, ...]:
        """Return the stored contradictions, newest first."""
        rows = self._database.read(
            "SELECT at, project, line, text, predicted, observed, explanation, detail FROM misses"
            " WHERE ? IS NULL OR project = ? ORDER BY id DESC",
            (project, project),
        )
        return tuple(Miss(*row) for row in rows)


def image_source(
    store: RecordStore, builder: str, known: Mapping[tuple[str, Platform], ImageConfig] | None = None
) -> Callable[[str, Platform], ImageConfig | None]:
    """Return a look-up of base images: what was inspected now, else what was seen last."""
    fresh = known or {}

    def look_up(reference: str, platform: Platform) -> ImageConfig | None:
        return fresh.get((reference, platform)) or store.image(builder, reference, platform)

    return look_up
