"""The one SQLite file in which devloop remembers builds, steps and cache records of all projects.

It is memory, not truth: whatever happens to the file, the loop goes on. A file that SQLite cannot read, or
that a newer devloop wrote, is moved aside under a name with the time in it and an empty one takes its place.
A full disk or a directory that cannot be written raises `StateUnavailable`, which callers catch to go on
without memory. The connection is opened at the first use, and again after it was lost.

Two devloops at once are ordinary: SQLite's write-ahead log lets them read while one writes. Moving the file
away under another process would be the one unsafe act, because the log is a second file, found by its name.
So each open database holds a shared lock on a file beside it, and only the holder of the exclusive lock moves
anything. The kernel drops these locks with the process, SIGKILL included.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from devloop.errors import DevloopError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")

FILE_NAME = "devloop.db"
BUSY_SECONDS = 5.0

_BUILDS_STEPS_RESTARTS = """
CREATE TABLE builds (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    dockerfile TEXT NOT NULL,
    target TEXT,
    engine TEXT NOT NULL,
    builder TEXT,
    started_at REAL NOT NULL,
    seconds REAL NOT NULL,
    outcome TEXT NOT NULL,
    context_bytes INTEGER,
    export_seconds REAL,
    metadata_seconds REAL,
    predicted_seconds REAL,
    prediction TEXT
);
CREATE INDEX builds_by_project ON builds (project, started_at);

CREATE TABLE steps (
    build INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    stage TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    line INTEGER NOT NULL,
    instruction TEXT NOT NULL,
    text TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT,
    status TEXT NOT NULL,
    seconds REAL,
    PRIMARY KEY (build, position)
) WITHOUT ROWID;

-- Kept apart from builds: an install that runs once in a thousand builds must not be forgotten with them.
CREATE TABLE durations (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT,
    measured_at REAL NOT NULL,
    seconds REAL NOT NULL
);
CREATE INDEX durations_by_key ON durations (project, key, measured_at);
CREATE INDEX durations_by_kind ON durations (kind, measured_at);

CREATE TABLE restarts (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    kind TEXT NOT NULL,
    measured_at REAL NOT NULL,
    stop_seconds REAL,
    start_seconds REAL,
    healthy_seconds REAL
);
CREATE INDEX restarts_by_project ON restarts (project, kind, measured_at);
"""

_CACHE_RECORDS = """
CREATE TABLE projects (
    project TEXT PRIMARY KEY,
    folder TEXT NOT NULL,
    builder TEXT NOT NULL,
    switches TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE links (
    builder TEXT NOT NULL,
    operation TEXT NOT NULL,
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    record TEXT NOT NULL,
    modes TEXT NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (builder, operation, number, key, record, modes)
) WITHOUT ROWID;
CREATE INDEX links_by_record ON links (builder, record);
CREATE INDEX links_by_age ON links (seen_at);

CREATE TABLE record_groups (
    builder TEXT NOT NULL,
    name TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (builder, name, member)
) WITHOUT ROWID;

-- What the engine itself said that an operation is: tells our own error from a pruned cache.
CREATE TABLE engine_operations (
    builder TEXT NOT NULL,
    operation TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (builder, operation, definition)
) WITHOUT ROWID;

CREATE TABLE images (
    builder TEXT NOT NULL,
    reference TEXT NOT NULL,
    platform TEXT NOT NULL,
    config TEXT NOT NULL,
    PRIMARY KEY (builder, reference, platform)
) WITHOUT ROWID;

CREATE TABLE baselines (
    project TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    saved_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE containers (
    project TEXT PRIMARY KEY,
    container TEXT NOT NULL,
    image_version TEXT NOT NULL,
    run_version TEXT NOT NULL,
    added TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE misses (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    project TEXT NOT NULL,
    line INTEGER NOT NULL,
    text TEXT NOT NULL,
    predicted TEXT NOT NULL,
    observed TEXT NOT NULL,
    explanation TEXT NOT NULL,
    detail TEXT NOT NULL
);
"""

_SYNCS = """
-- rebuild_seconds is what a rebuild in the place of the sync was expected to take.
CREATE TABLE syncs (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    measured_at REAL NOT NULL,
    kind TEXT NOT NULL,
    seconds REAL NOT NULL,
    rebuild_seconds REAL
);
CREATE INDEX syncs_by_project ON syncs (project, measured_at);
"""

_OVERHEADS = """
-- What the longest chain of steps took, and how long the context was on its way: the rest is overhead.
ALTER TABLE builds ADD COLUMN chain_seconds REAL;
ALTER TABLE builds ADD COLUMN context_seconds REAL;
"""

_AGES = """
-- So that what was not seen for longest can be forgotten.
ALTER TABLE projects ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
ALTER TABLE record_groups ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
ALTER TABLE engine_operations ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
ALTER TABLE images ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
"""

MIGRATIONS: tuple[str, ...] = (_BUILDS_STEPS_RESTARTS, _CACHE_RECORDS, _SYNCS, _OVERHEADS, _AGES)
"""Script n takes a file from version n to n + 1. A released script is never edited, only followed."""


class StateUnavailable(DevloopError):  # noqa: N818  it names a condition that callers live with
    """The state file cannot be used now: the work goes on, without memory."""

    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(
            f"the state file {path or 'in memory'} cannot be used: {reason}",
            hint="devloop goes on without memory of earlier builds; DEVLOOP_STATE_DIR names another place",
        )
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SetAside:
    """A state file that could not be used, where it lies now, and why."""

    path: Path
    reason: str


def state_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Name the directory of everything devloop remembers; `DEVLOOP_STATE_DIR` replaces the default."""
    chosen = environ.get("DEVLOOP_STATE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_state_dir("devloop", appauthor=False))


class Database:
    """One connection to the state file, opened when first needed; safe to share between threads."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        migrations: Sequence[str] = MIGRATIONS,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path: Path | None = path or state_directory() / FILE_NAME
        self.set_aside: SetAside | None = None
        self._clock = clock
        self._migrations = tuple(migrations)
        self._busy_seconds = busy_seconds
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._opened_identity: tuple[int, int] | None = None
        self._lock_descriptor: int | None = None

    @classmethod
    def in_memory(cls) -> Database:
        """Make a database that forgets everything at the end, for a session without a usable state file."""
        database = cls(Path(":memory:"))
        database.path = None
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Open the file now rather than at the first use, so that `set_aside` is known."""
        self._run(lambda _: None)

    def close(self) -> None:
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._unlock()

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one query."""
        return self._run(lambda connection: connection.execute(sql, parameters).fetchall())

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it is kept or nothing.

        `work` may run a second time, when the file turned out to be corrupt and an empty one replaced it.
        """

        def transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise
            return result

        return self._run(transaction)

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        with self._mutex:
            try:
                try:
                    return work(self._connected())
                except sqlite3.Error as error:
                    if not _is_corruption(error):
                        raise
                    self._replace(f"corrupt: {error}")
                    return work(self._connected())
            except sqlite3.Error as error:
                # A moved or vanished file keeps failing on this connection: the next use opens a new one.
                # The memory of this process has nothing to be opened again.
                if self.path is not None and not _is_busy(error):
                    self.close()
                raise StateUnavailable(self.path, str(error)) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._file_identity() != self._opened_identity:
            # Somebody removed or replaced the file: what is written to the old one is lost.
            self.close()
        if self._connection is None:
            try:
                self._connection = self._open()
                self._opened_identity = self._file_identity()
            except OSError as error:
                self._unlock()
                raise StateUnavailable(self.path, error.strerror or str(error)) from error
        return self._connection

    def _file_identity(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        if self.path is None:
            return self._connect(":memory:")
        _make_private(self.path)
        self._lock(exclusive=False)
        try:
            return self._connect(str(self.path))
        except _UnusableError as unusable:
            self._replace(unusable.reason)
        except sqlite3.Error as error:
            if not _is_corruption(error):
                raise
            self._replace(f"corrupt: {error}")
        try:
            return self._connect(str(self.path))
        except _UnusableError as unusable:
            raise StateUnavailable(self.path, unusable.reason) from unusable

    def _connect(self, path: str) -> sqlite3.Connection:
        import sqlite3

        # Autocommit: transactions are written out where they are meant.
        connection = sqlite3.connect(
            path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            version = self._known_version(connection)
            self._use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            if version < len(self._migrations):
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _known_version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(self._migrations):
            raise _UnusableError(f"written by a newer devloop (schema {version})")
        return version

    def _use_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        import sqlite3

        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        # SQLite does not wait here when another process makes the same change: ask again for a while.
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        import sqlite3

        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another devloop may have done it while this one waited for the lock.
            version = self._known_version(connection)
            for script in self._migrations[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            _roll_back(connection)
            if _primary_code(error) == sqlite3.SQLITE_ERROR:
                # Its tables are not those that its version promises: nothing here can be trusted.
                raise _UnusableError(f"cannot be migrated from schema {version}: {error}") from error
            raise
        except BaseException:
            _roll_back(connection)
            raise

    def _replace(self, reason: str) -> None:
        """Move the file aside, unless another devloop has it open or has already replaced it."""
        if self.path is None:
            raise StateUnavailable(self.path, reason)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._unlock()
        if not self._lock(exclusive=True):
            # Whoever has it open may have replaced it a moment ago.
            self._lock(exclusive=False)
            if self._is_usable():
                return
            self._unlock()
            raise StateUnavailable(self.path, f"{reason}; another devloop has it open")
        try:
            if not self._is_usable():
                self.set_aside = SetAside(_move_aside(self.path, self._clock()), reason)
            _make_private(self.path)
        except OSError as error:
            raise StateUnavailable(self.path, f"{reason}; {error.strerror}") from error
        finally:
            self._unlock()
        self._lock(exclusive=False)

    def _is_usable(self) -> bool:
        import sqlite3

        try:
            connection = self._connect(str(self.path))
        except (sqlite3.Error, _UnusableError):
            return False
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error:
            return False
        finally:
            connection.close()

    def _lock(self, *, exclusive: bool) -> bool:
        import fcntl

        if self.path is None:
            return True
        descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A shared lock waits for a replacement in progress, which takes milliseconds. The exclusive one is
        # given up after a moment: the other side may well live for hours.
        deadline = time.monotonic() + 0.25
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.01)
            except BaseException:
                os.close(descriptor)
                raise
            else:
                self._lock_descriptor = descriptor
                return True

    def _unlock(self) -> None:
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None


class _UnusableError(Exception):
    """The file opens, yet its schema is not one that this devloop can work with."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _make_private(path: Path) -> None:
    """Only the user may read the state. A directory that existed before keeps the mode its owner gave it."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
    # SQLite gives its log files the mode of the database file.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _move_aside(path: Path, now: float) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside = path.with_name(f"{path.name}.aside-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.aside-{stamp}-{count}")
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    path.rename(aside)
    return aside


def _statements(script: str) -> list[str]:
    """Split a script into statements, so that they share one transaction with the version number."""
    import sqlite3

    statements, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    if pending.strip():
        statements.append(pending)
    return statements


def _primary_code(error: sqlite3.Error) -> int:
    # Extended codes keep the primary one in their low byte. Errors of the Python module itself have none.
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def _is_corruption(error: sqlite3.Error) -> bool:
    import sqlite3

    return _primary_code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _is_busy(error: sqlite3.Error) -> bool:
    import sqlite3

    return _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _roll_back(connection: sqlite3.Connection) -> None:
    import sqlite3

    # After a full disk SQLite has often rolled back by itself.
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def forget_oldest(connection: sqlite3.Connection, table: str, kept: int, *, at: str = "seen_at") -> bool:
    """Drop the rows over a bound that were not seen for longest; tell whether there were any.

    What was seen at one moment stays or goes together, so a little more than the bound may be left.
    """
    [count] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  constants
    if count <= kept:
        return False
    found = connection.execute(
        f"DELETE FROM {table} WHERE {at} < (SELECT {at} FROM {table}"  # noqa: S608  constants
        f" ORDER BY {at} DESC LIMIT 1 OFFSET ?)",
        (kept - 1,),
    )
    return found.rowcount > 0
