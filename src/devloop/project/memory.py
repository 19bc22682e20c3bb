"""Everything that devloop remembers of a project, behind one object that never stands in the way.

Records, baseline, history and contents of the last build live in the state directory. When it cannot be
used, the session goes on with what it has in memory and says so once.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from devloop.cache.baseline import Baseline
from devloop.cache.records import Records
from devloop.cache.store import Miss, RecordStore
from devloop.context.entered import Entered, enter, entered_from_plain, entered_to_plain
from devloop.context.index import Index, load_index, save_index
from devloop.context.snapshot import Snapshot
from devloop.cost.history import KEPT_BUILDS_PER_PROJECT, BuildRecord, History, SyncRecord
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.project.discover import Location
from devloop.project.manifest import load_manifest, save_manifest
from devloop.state.database import Database, StateUnavailable, forget_oldest, state_directory

if TYPE_CHECKING:
    import sqlite3

KEPT_PROJECTS = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RememberedContainer:
    """What a container holds: the version of its files and of its options, and what its image lacks."""

    image_version: str
    run_version: str
    added: tuple[str, ...]


class Memory:
    """The remembered side of one project. `problem` holds the first reason why it could not be kept."""

    def __init__(self, location: Location, database: Database | None = None) -> None:
        self.location = location
        self.project = location.identity
        self.database = database or Database()
        self.history = History(self.database)
        self.store = RecordStore(self.database)
        self.problem: str | None = None
        self._indexes: dict[str, Index] = {}
        self._mirrors: dict[str, Entered | None] = {}
        base = self.database.path.parent if self.database.path is not None else state_directory()
        self.folder = base / "projects"

    def _try(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            return work()
        except StateUnavailable as error:
            if self.problem is None:
                self.problem = error.message
            return otherwise

    # Which builder the project was built with last

    def builder(self) -> str | None:
        """Return the builder of the last build, for plans that are made without an engine."""
        row = self._project_row()
        return row[0] if row is not None else None

    def switches(self) -> Mapping[str, str]:
        """Return the engine switches that the last build went by."""
        row = self._project_row()
        if row is None:
            return {}
        pairs = (part.partition("=") for part in row[1].split())
        return {name: value for name, _, value in pairs}

    def _project_row(self) -> tuple[str, str] | None:
        sql = "SELECT builder, switches FROM projects WHERE project = ?"
        nothing: list[tuple[str, str]] = []
        rows = self._try(lambda: self.database.read(sql, (self.project,)), nothing)
        return (rows[0][0], rows[0][1]) if rows else None

    def save_builder(self, builder: str, switches: Mapping[str, str]) -> None:
        text = " ".join(f"{name}={value}" for name, value in sorted(switches.items()))
        row = (self.project, str(self.location.folder), builder, text, time.time())

        def work(connection: "sqlite3.Connection") -> None:
            connection.execute(
                "INSERT OR REPLACE INTO projects (project, folder, builder, switches, seen_at)"
                " VALUES (?, ?, ?, ?, ?)",
                row,
            )
            if forget_oldest(connection, "projects", KEPT_PROJECTS):
                known = "SELECT project FROM projects"
                connection.execute(f"DELETE FROM containers WHERE project NOT IN ({known})")  # noqa: S608  constants

        self._try(lambda: self.database.write(work), None)

    # Records, images, baseline

    def records(self, builder: str | None, operations: Iterable[str]) -> Records:
        """Load the records that a graph can ask for; empty where nothing is remembered."""
        if builder is None:
            return Records()
        return self._try(lambda: self.store.load(builder, operations), Records())

    def save_records(self, builder: str, records: Records) -> None:
        self._try(lambda: self.store.save(builder, records), None)

    def image(self, builder: str | None, reference: str, platform: Platform) -> ImageConfig | None:
        """Return what was last seen of a base image."""
        if builder is None:
            return None
        return self._try(lambda: self.store.image(builder, reference, platform), None)

    def save_image(self, builder: str, reference: str, platform: Platform, config: ImageConfig) -> None:
        self._try(lambda: self.store.save_image(builder, reference, platform, config), None)

    def engine_definitions(self, builder: str, operation: str) -> frozenset[str]:
        """Return how the engine itself has defined an operation so far."""
        nothing: frozenset[str] = frozenset()
        return self._try(lambda: self.store.engine_definitions(builder, operation), nothing)

    def save_engine_definitions(self, builder: str, found: Sequence[tuple[str, str]]) -> None:
        self._try(lambda: self.store.save_engine_definitions(builder, found), None)

    def baseline(self) -> Baseline | None:
        return self._try(lambda: self.store.baseline(self.project), None)

    def save_baseline(self, baseline: Baseline, snapshots: Mapping[str, Snapshot]) -> None:
        """Remember what was built: its description and its contents, path by path."""
        self._try(lambda: self.store.save_baseline(self.project, baseline), None)
        if not save_manifest(self.folder / f"{self.project}.built", snapshots):
            self.problem = self.problem or f"{self.folder} cannot be written"

    def manifest(self) -> Sequence[str] | None:
        """Return the contents of the last build, one line a path."""
        return load_manifest(self.folder / f"{self.project}.built")

    # What the container of the project holds

    def container(self, ident: str) -> "RememberedContainer | None":
        """Return what a container was last known to hold; None for any other container."""
        sql = "SELECT image_version, run_version, added FROM containers WHERE project = ? AND container = ?"
        nothing: list[tuple[str, str, str]] = []
        rows = self._try(lambda: self.database.read(sql, (self.project, ident)), nothing)
        if not rows:
            return None
        image, run, added = rows[0]
        return RememberedContainer(image, run, tuple(path for path in added.split("\0") if path))

    def save_container(self, ident: str, image: str, run: str, added: Sequence[str]) -> None:
        """Note what the project's container holds; `added` are paths that its image does not have."""
        row = (self.project, ident, image, run, "\0".join(added))
        sql = "INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?, ?)"
        self._try(lambda: self.database.write(lambda c: c.execute(sql, row)), None)

    def forget_container(self) -> None:
        """Note that nothing is known of what the project's container holds."""
        sql = "DELETE FROM containers WHERE project = ?"
        self._try(lambda: self.database.write(lambda c: c.execute(sql, (self.project,))), None)

    # History

    def record_build(self, build: BuildRecord) -> None:
        self._try(lambda: self.history.record_build(build), 0)

    def record_restart(
        self, kind: str, stop: float | None, start: float | None, healthy: float | None
    ) -> None:
        self._try(lambda: self.history.record_restart(self.project, kind, stop, start, healthy), None)

    def record_sync(self, sync: SyncRecord) -> None:
        self._try(lambda: self.history.record_sync(self.project, sync), None)

    def builds(self, count: int = KEPT_BUILDS_PER_PROJECT) -> tuple[BuildRecord, ...]:
        """Return the last builds of the project, newest first."""
        return self._try(lambda: self.history.last_builds(self.project, count), ())

    def syncs(self) -> tuple[SyncRecord, ...]:
        """Return all syncs of the project that are remembered, newest first."""
        return self._try(lambda: self.history.syncs(self.project), ())

    def misses(self) -> tuple[Miss, ...]:
        """Return the predictions that the engine contradicted, newest first."""
        return self._try(lambda: self.store.misses(self.project), ())

    def add_misses(self, misses: Sequence[Miss]) -> None:
        self._try(lambda: self.store.add_misses(misses), None)

    # Stat indexes

    def index(self, root: Path) -> Index:
        """Return the stat index of a context directory, loaded once."""
        key = hashlib.blake2b(str(root).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        if key not in self._indexes:
            self._indexes[key] = load_index(self.folder / f"{key}.index")
        return self._indexes[key]

    def save_indexes(self) -> None:
        """Write the indexes that changed; a disk that refuses them only makes the next start slower."""
        for key, index in self._indexes.items():
            if not save_index(index, self.folder / f"{key}.index"):
                self.problem = self.problem or f"{self.folder} cannot be written"

    # What the builder has of a context

    def mirror(self, builder: str | None, context: str, root: Path) -> Entered | None:
        """Return the directories that the builder has of a context, with the modes that it goes by."""
        key = _mirror_key(builder, context, root)
        if key not in self._mirrors:
            try:
                found = json.loads((self.folder / f"{key}.mirror").read_bytes())
            except (OSError, ValueError):
                found = None
            self._mirrors[key] = entered_from_plain(found)
        return self._mirrors[key]

    def save_mirror(self, builder: str | None, context: str, root: Path, sent: Snapshot) -> None:
        """Remember which directories a build sent to the builder."""
        key = _mirror_key(builder, context, root)
        mirror = self._mirrors[key] = enter(sent, self.mirror(builder, context, root))
        text = json.dumps(entered_to_plain(mirror), separators=(",", ":"))
        draft = self.folder / f".{key}.mirror.{os.getpid()}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(text)
            draft.replace(self.folder / f"{key}.mirror")
        except OSError:
            self.problem = self.problem or f"{self.folder} cannot be written"

    def close(self) -> None:
        with suppress(StateUnavailable):
            self.database.close()


def _mirror_key(builder: str | None, context: str, root: Path) -> str:
    text = "\0".join((builder or "", context, str(root)))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
