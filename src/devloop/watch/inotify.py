"""Watching on Linux: one inotify watch for each kept directory, and nothing for the rest.

Why not watchdog's observers. Read in watchdog 6.0.0 and 7.1.0: a recursive watch covers every directory,
ignored ones too, with links to limits that belong to all programs of the user; a rename without a partner
is held for half a second together with everything behind it, which is every save of vim; opening and
closing for reading floods the queue, so that our own hashing wakes us; after an overflow nothing is told
to the handler (6 skips the event, 7 writes a log line); 6 leaves directories that were moved in unwatched.

What is used of it: the bindings to the C library and the constants of `watchdog.observers.inotify_c`,
which are module-level names and alike in both versions. Reading, the tree of watches, and what to do about
every gap are here.

The order that makes new directories safe: first the watch, then the listing, then the report. What is
written before the listing is found by whoever compares the reported directory, what is written after the
watch comes as an event, and the two overlap.
"""

import contextlib
import ctypes
import errno
import os
import select
import stat
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from devloop.watch.debounce import WatchSettings
from devloop.watch.events import (
    Dirty,
    Gap,
    LimitReached,
    Polled,
    Scope,
    State,
    WatchEvent,
    biggest_directories,
    is_within,
    join,
)
from devloop.watch.poller import Poller, identity, read_mounts, silent_reason, state_of

IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_DONT_FOLLOW: Final = 0x0200_0000
IN_EXCL_UNLINK: Final = 0x0400_0000
IN_ISDIR: Final = 0x4000_0000
"""Values of the kernel's ABI, which never change; a test compares them with watchdog's."""

DIRECTORY_MASK: Final = (
    # No IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE: reading is not a change, and we read a lot ourselves.
    IN_MODIFY
    | IN_ATTRIB
    | IN_CLOSE_WRITE
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_CREATE
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_ONLYDIR
    | IN_EXCL_UNLINK
)
_SELF_GONE: Final = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 256 * 1024
_STATED_PATHS: Final = 256
"""In one round with more paths than this the burst's own quiet time says more than an lstat of each."""
_OPEN_SECONDS: Final = 1.0
"""A write without a close counts as an open file so long; truncate(2) never closes anything."""


@dataclass(frozen=True, slots=True)
class RawEvent:
    watch: int
    mask: int
    name: str


def parse_events(buffer: bytes) -> Iterator[RawEvent]:
    """Take apart what read(2) returned: whole events, each name padded with zero bytes."""
    offset = 0
    while offset + _EVENT.size <= len(buffer):
        watch, mask, _cookie, length = _EVENT.unpack_from(buffer, offset)
        offset += _EVENT.size
        name = buffer[offset : offset + length].rstrip(b"\0") if length else b""
        offset += length
        yield RawEvent(watch, mask, os.fsdecode(name))


def read_limit(name: str) -> int | None:
    """Read one of the kernel's inotify limits, for instance `max_user_watches`."""
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read())
    except (OSError, ValueError):
        return None


class Kernel:
    """One inotify instance. Raises OSError with the kernel's errno; tests replace it by one with limits."""

    def __init__(self) -> None:
        from watchdog.observers import inotify_c

        # Version 6 leaves these untyped, and version 7 has types of its own for the numbers.
        self._add = cast("Callable[[int, bytes, int], int]", inotify_c.inotify_add_watch)
        self._remove = cast("Callable[[int, int], int]", inotify_c.inotify_rm_watch)
        self._fd: int = inotify_c.inotify_init()
        if self._fd == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._lock = threading.Lock()
        self._is_open = True

    def add(self, path: str, mask: int) -> int:
        watch = self._add(self._fd, os.fsencode(path), mask)
        if watch == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        return watch

    def remove(self, watch: int) -> None:
        # EINVAL: the kernel removed it first, as it does when a directory is deleted.
        self._remove(self._fd, watch)

    def read(self, timeout: float | None) -> list[RawEvent]:
        """Wait for events up to `timeout` seconds; a wake-up returns none."""
        # Rounding up: a poll that ends a fraction early would only be repeated.
        ready = self._poll.poll(None if timeout is None else max(0, -int(-timeout * 1000 // 1)))
        ready_fds = {fd for fd, _ in ready}
        if self._wake_read in ready_fds:
            os.read(self._wake_read, 4096)
        if self._fd not in ready_fds:
            return []
        chunks: list[bytes] = []
        # Emptying the queue comes before anything else: the kernel drops what does not fit.
        while len(chunks) < 64:
            try:
                chunks.append(os.read(self._fd, _READ_BYTES))
            except BlockingIOError:
                break
        return [event for chunk in chunks for event in parse_events(chunk)]

    def wake(self) -> None:
        # The lock: a number that was closed may belong to somebody else's file by now.
        with self._lock:
            if self._is_open:
                # A full pipe wakes as well as one more byte would.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_write, b"!")

    def close(self) -> None:
        with self._lock:
            if self._is_open:
                self._is_open = False
                for fd in (self._fd, self._wake_read, self._wake_write):
                    os.close(fd)


class ExtraFiles:
    """Files outside the rules: the directory of each is watched, and that of what a link leads to."""

    def __init__(self) -> None:
        self._by_watch: dict[int, dict[str, str]] = {}
        self._missing = False

    @property
    def is_incomplete(self) -> bool:
        """Whether some directory is missing, so that it is worth trying again."""
        return self._missing

    def __contains__(self, watch: int) -> bool:
        return watch in self._by_watch

    def watch(self, kernel: Kernel, files: tuple[str, ...], is_used: Callable[[int], bool]) -> list[str]:
        """Watch for `files` and return those whose directory was not watched for them before.

        A directory of the tree keeps its watch, which both then share.
        """
        before = self._by_watch
        self._by_watch = {}
        self._missing = False
        fresh: dict[str, None] = {}
        for file in files:
            real = os.path.realpath(file)
            for place in {file, real}:
                directory, name = os.path.split(place)
                try:
                    number = kernel.add(directory, DIRECTORY_MASK)
                except OSError:
                    self._missing = True
                else:
                    self._by_watch.setdefault(number, {})[name] = file
                    if before.get(number, {}).get(name) != file:
                        fresh[file] = None
        for number in before.keys() - self._by_watch.keys():
            if not is_used(number):
                kernel.remove(number)
        return list(fresh)

    def file_of(self, event: RawEvent) -> str | None:
        """Return the extra file that an event is about."""
        return self._by_watch.get(event.watch, {}).get(event.name) if event.name else None

    def lose(self, watch: int) -> bool:
        """Forget a watch whose directory is gone; the next `watch` looks for it again."""
        if self._by_watch.pop(watch, None) is None:
            return False
        self._missing = True
        return True


class InotifyBackend:
    """Keeps one watch per kept directory in step with the tree, and polls what cannot be watched."""

    def __init__(
        self, scope: Scope, settings: WatchSettings, *, kernel: Callable[[], Kernel] = Kernel
    ) -> None:
        self.scope = scope
        self._settings = settings
        self._kernel = kernel()
        self._path_of: dict[int, str] = {}
        self._watch_of: dict[str, int] = {}
        self._poller = Poller(scope, settings)
        self._extra = ExtraFiles()
        self._open: dict[str, float] = {}
        self._mounts: dict[str, str] = {}
        self._refused: list[str] = []
        self._told_limit = False
        self._rush = 0
        self._root_identity: tuple[int, int] | None = None
        self._root_due = 0.0

    @property
    def watched(self) -> int:
        """How many directories of the tree have a watch."""
        return len(self._path_of)

    @property
    def polled(self) -> int:
        return len(self._poller)

    def start(self) -> list[WatchEvent]:
        """Watch everything that is kept. Changes made after this returns are reported."""
        self._mounts = read_mounts(self.scope.root)
        events = self._load_root()
        self._watch_extra()
        return events

    def wait(self, timeout: float | None) -> list[WatchEvent]:
        """Return what happened, after `timeout` seconds at most."""
        events = self._process(self._read(self._time_left(timeout)))
        gather_end = time.monotonic() + self._settings.gather_seconds
        while is_half_a_save(events) and (left := gather_end - time.monotonic()) > 0:
            # The close of a small save is microseconds away; with it the save is one report, not two.
            events = merge(events, self._process(self._kernel.read(left)))
        return [*events, *self._tend(time.monotonic())]

    def _read(self, timeout: float | None) -> list[RawEvent]:
        if self._rush >= self._settings.rush_events:
            # Every event that finds us asleep in the kernel makes the writer wake us, which takes it longer
            # than the writing.
            rest = self._settings.rush_rest_seconds
            time.sleep(rest)
            timeout = None if timeout is None else max(0.0, timeout - rest)
        before = time.monotonic()
        found = self._kernel.read(timeout)
        if time.monotonic() - before >= self._settings.rush_end_seconds:
            self._rush = 0
        self._rush += len(found)
        return found

    def wake(self) -> None:
        self._kernel.wake()

    def update(self, scope: Scope) -> list[WatchEvent]:
        """Follow changed rules: watch what is kept now, drop what is not."""
        root_moved = scope.root != self.scope.root
        self.scope = scope
        self._poller.scope = scope
        self._told_limit = False
        if root_moved:
            self._mounts = read_mounts(scope.root)
        events = self._load_root()
        self._watch_extra()
        return events

    def close(self) -> None:
        self._kernel.close()

    # The tree of watches.

    def _load_root(self) -> list[WatchEvent]:
        """Walk the whole tree again; watches that nothing kept asks for any more are removed."""
        before = set(self._path_of)
        self._path_of = {}
        self._watch_of = {}
        self._poller.clear()
        self._root_identity = identity(self.scope.root)
        self._root_due = time.monotonic() + self._root_interval()
        events = self._adopt([""]) if self._root_identity is not None else []
        for watch in before - self._path_of.keys():
            if watch not in self._extra:
                self._kernel.remove(watch)
        return events

    def _adopt(self, directories: Iterable[str]) -> list[WatchEvent]:
        """Watch these directories and all that is kept below, breadth first; poll what is refused.

        Breadth first, so that a limit strikes the deep directories, which change least.
        """
        now = time.monotonic()
        polled: dict[str, list[str]] = {}
        refused: list[str] = []
        waiting = deque((path, self._silence_of(path)) for path in directories)
        while waiting:
            path, silence = waiting.popleft()
            silence = self._silence_at(path, silence)
            if silence is not None:
                polled.setdefault(silence, []).append(path)
            elif refused or not self._watch(path):
                refused.append(path)
            elif path not in self._watch_of:
                continue
            else:
                waiting.extend((child, silence) for child in self._sub_directories(path))
                continue
            waiting.extend((child, silence) for child in self._poller.add(path, now))
        events: list[WatchEvent] = [Polled(tops(paths), reason) for reason, paths in sorted(polled.items())]
        if refused and not self._told_limit:
            self._told_limit = True
            events.append(self._limit_reached())
        return events

    def _watch(self, path: str) -> bool:
        """Watch one directory; False if the kernel has no watch left. One that is gone is no failure."""
        mask = DIRECTORY_MASK | (IN_DONT_FOLLOW if path else 0)
        try:
            watch = self._kernel.add(self.scope.host_path(path), mask)
        except OSError as error:
            # ENOENT, ENOTDIR: gone again. EACCES: a build could not read it either.
            return error.errno not in {errno.ENOSPC, errno.ENOMEM, errno.EMFILE}
        moved_from = self._path_of.get(watch)
        if moved_from is not None and moved_from != path:
            self._watch_of.pop(moved_from, None)
        replaced = self._watch_of.get(path)
        if replaced is not None and replaced != watch:
            self._unwatch(path)
        self._path_of[watch] = path
        self._watch_of[path] = watch
        return True

    def _unwatch(self, path: str) -> None:
        watch = self._watch_of.pop(path)
        self._path_of.pop(watch, None)
        if watch not in self._extra:
            self._kernel.remove(watch)

    def _drop(self, directory: str) -> None:
        if directory in self._watch_of:
            for path in [path for path in self._watch_of if is_within(path, directory)]:
                self._unwatch(path)
        self._poller.discard_tree(directory)

    def _sub_directories(self, path: str) -> list[str]:
        try:
            with os.scandir(self.scope.host_path(path)) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        children = (join(path, name) for name in names)
        return [child for child in children if self.scope.keep_directory(child)]

    def _silence_of(self, path: str) -> str | None:
        """Why the directory that holds `path` gives no events, looked up through its mounts."""
        within = [mount for mount in self._mounts if is_within(path, mount)]
        return self._silence_at(max(within, key=len), None) if within else None

    def _silence_at(self, path: str, inherited: str | None) -> str | None:
        kind = self._mounts.get(path)
        if kind is None:
            return inherited
        why = silent_reason(kind)
        return None if why is None else f"{kind} gives no dependable events ({why})"

    def _limit_reached(self) -> LimitReached:
        directories = [*self._watch_of, *self._poller.directories]
        return LimitReached(
            kind="watches",
            held=len(self._path_of),
            wanted=len(directories),
            limit=read_limit("max_user_watches"),
            biggest=biggest_directories(directories),
        )

    # Events.

    def _process(self, raw: list[RawEvent]) -> list[WatchEvent]:
        now = time.monotonic()
        touched: dict[str, None] = {}
        extra: dict[str, None] = {}
        events: list[WatchEvent] = []
        has_overflowed = has_lost_root = False
        for event in raw:
            if event.mask & IN_Q_OVERFLOW:
                has_overflowed = True
                continue
            file = self._extra.file_of(event)
            if file is not None:
                self._note_open(file, event.mask, now)
                extra[file] = None
            if event.mask & _SELF_GONE:
                has_lost_root |= self._lose(event)
                continue
            directory = self._path_of.get(event.watch)
            if directory is None:
                continue
            path = join(directory, event.name) if event.name else directory
            if event.mask & IN_ISDIR:
                if event.name:
                    events.extend(self._directory_event(path, event.mask, touched))
                elif not path:
                    # Every other directory's own event comes a second time, from its parent.
                    touched[""] = None
            elif self.scope.keep_file(path):
                self._note_open(path, event.mask, now)
                touched[path] = None
        if has_overflowed:
            events.extend(self._load_root())
            self._watch_extra()
            events.append(Gap("more events came than the kernel keeps"))
        if has_lost_root:
            events.extend(self._find_root())
        if extra:
            # A link among them may lead elsewhere now.
            self._watch_extra()
        events.extend(self._dirty(touched, extra, now))
        return events

    def _directory_event(self, path: str, mask: int, touched: dict[str, None]) -> list[WatchEvent]:
        if not self.scope.keep_directory(path):
            return []
        touched[path] = None
        if mask & (IN_DELETE | IN_MOVED_FROM):
            self._drop(path)
            return []
        if mask & (IN_CREATE | IN_MOVED_TO):
            self._drop(path)
            return self._adopt([path])
        # A change of mode may have made it readable.
        return [] if path in self._watch_of else self._adopt([path])

    def _lose(self, event: RawEvent) -> bool:
        """Forget a watch whose directory went away; True if it was the root."""
        path = self._path_of.get(event.watch)
        if self._extra.lose(event.watch):
            self._root_due = min(self._root_due, time.monotonic() + self._settings.root_gone_seconds)
            if path is None:
                self._kernel.remove(event.watch)
        # A directory that moved is still watched under its number: its parent tells where it went.
        if path and not event.mask & IN_MOVE_SELF:
            del self._path_of[event.watch]
            self._watch_of.pop(path, None)
        return path == ""

    def _note_open(self, path: str, mask: int, now: float) -> None:
        if mask & (IN_MODIFY | IN_CREATE):
            self._open[path] = now
        elif mask & (IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO):
            self._open.pop(path, None)

    def _dirty(self, touched: dict[str, None], extra: dict[str, None], now: float) -> Iterator[WatchEvent]:
        is_burst = len(touched) > _STATED_PATHS
        for path in touched:
            host = self.scope.host_path(path)
            yield Dirty(path, self._state(path, host, now, look=not is_burst))
        for path in extra:
            yield Dirty(path, self._state(path, path, now, look=True))
        if len(self._open) > _STATED_PATHS:
            self._open = {path: at for path, at in self._open.items() if now - at < _OPEN_SECONDS}

    def _state(self, path: str, host: str, now: float, *, look: bool) -> State:
        opened = self._open.get(path)
        if opened is not None and (now - opened >= _OPEN_SECONDS or (look and not may_be_open(host))):
            del self._open[path]
            opened = None
        if opened is not None:
            return "open"
        return state_of(host) if look else "settled"

    # What time alone brings.

    def _time_left(self, timeout: float | None) -> float | None:
        dues = [self._root_due]
        polled = self._poller.due()
        if polled is not None:
            dues.append(polled)
        left = max(0.0, min(dues) - time.monotonic())
        return left if timeout is None else min(left, timeout)

    def _tend(self, now: float) -> list[WatchEvent]:
        events: list[WatchEvent] = []
        if now >= self._root_due:
            self._root_due = now + self._root_interval()
            if identity(self.scope.root) != self._root_identity:
                events.extend(self._find_root())
            if self._extra.is_incomplete:
                events.extend(Dirty(path, state_of(path)) for path in self._watch_extra())
        found = self._poller.look(now)
        for path in found.gone_directories:
            self._drop(path)
        events.extend(self._adopt(found.new_directories))
        events.extend(self._dirty(dict.fromkeys(found.dirty), {}, now))
        return events

    def _root_interval(self) -> float:
        is_whole = self._root_identity is not None and not self._extra.is_incomplete
        return self._settings.root_check_seconds if is_whole else self._settings.root_gone_seconds

    def _find_root(self) -> list[WatchEvent]:
        """Take what is at the root's path now, or wait for it, as the watched directory is not there."""
        was_there = self._root_identity is not None
        events = self._load_root()
        if self._root_identity is None:
            return [Gap("the watched folder is gone")] if was_there else []
        what = "was replaced" if was_there else "is back"
        return [*events, Gap(f"the watched folder {what}")]

    def _watch_extra(self) -> list[str]:
        fresh = self._extra.watch(self._kernel, self.scope.extra_files, self._path_of.__contains__)
        if self._extra.is_incomplete:
            self._root_due = min(self._root_due, time.monotonic() + self._settings.root_gone_seconds)
        return fresh


def is_half_a_save(events: list[WatchEvent]) -> bool:
    """Say whether these events tell of nothing but files that somebody is just writing."""
    return bool(events) and all(isinstance(event, Dirty) and event.state == "open" for event in events)


def merge(events: list[WatchEvent], more: list[WatchEvent]) -> list[WatchEvent]:
    """Join two rounds: of two reports of one path the later one, with the newer state, stays."""
    latest = {event.path: event for event in [*events, *more] if isinstance(event, Dirty)}
    others = [event for event in [*events, *more] if not isinstance(event, Dirty)]
    return [*others, *latest.values()]


def may_be_open(host: str) -> bool:
    """Say whether a new file may still have a writer: links come complete, hard ones as well."""
    try:
        found = os.lstat(host)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def tops(paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of the directories that do not lie below another of them."""
    kept: list[str] = []
    for path in sorted(paths):
        if not kept or not is_within(path, kept[-1]):
            kept.append(path)
    return tuple(kept)


def is_available() -> bool:
    """Say whether this system has inotify and watchdog's bindings to it."""
    if sys.platform != "linux":
        return False
    try:
        from watchdog.observers import inotify_c
    except (ImportError, OSError):
        return False
    return hasattr(inotify_c, "inotify_add_watch") and hasattr(inotify_c, "inotify_rm_watch")
