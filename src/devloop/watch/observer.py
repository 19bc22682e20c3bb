"""The watcher: one thread that turns what the system says into events and hands them to a callback.

Three backends say it: inotify on Linux (see `inotify`), watchdog's observer on macOS and wherever inotify
cannot be had, and polling (see `poller`). Whatever goes wrong in the first two ends in the third.
"""

import errno
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

from devloop.watch import inotify
from devloop.watch.debounce import WatchSettings
from devloop.watch.events import (
    Dirty,
    Gap,
    Keep,
    LimitReached,
    OnEvent,
    Scope,
    State,
    WatchEvent,
    keep_all,
)
from devloop.watch.poller import PollingBackend, identity, read_mounts, silent_reason, state_of

Tick = Callable[[float], float | None]
"""Called with the time after each round; returns when to be called again, or None for the next event."""


class Backend(Protocol):
    """Something that knows about changes. Only `wake` may be called from other threads."""

    @property
    def watched(self) -> int: ...

    @property
    def polled(self) -> int: ...

    def start(self) -> list[WatchEvent]: ...

    def wait(self, timeout: float | None) -> list[WatchEvent]: ...

    def update(self, scope: Scope) -> list[WatchEvent]: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


class WatchdogBackend:
    """watchdog's observer for a whole tree, thinned out afterwards: FSEvents has one stream for a tree."""

    def __init__(self, scope: Scope, settings: WatchSettings) -> None:
        from watchdog.observers import Observer

        self.scope = scope
        self._settings = settings
        self._observer = Observer()
        self._queue: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self._root_identity = identity(scope.root)
        self._root_due = 0.0
        self._root = ""
        self._extra: dict[str, str] = {}

    @property
    def watched(self) -> int:
        return len(self._observer.emitters)

    @property
    def polled(self) -> int:
        return 0

    def start(self) -> list[WatchEvent]:
        self._schedule()
        self._observer.start()
        return []

    def wait(self, timeout: float | None) -> list[WatchEvent]:
        left = max(0.0, self._root_due - time.monotonic())
        touched: dict[tuple[str, bool], None] = {}
        try:
            touched[self._queue.get(timeout=left if timeout is None else min(left, timeout))] = None
            while True:
                touched[self._queue.get_nowait()] = None
        except queue.Empty:
            pass
        events: dict[WatchEvent, None] = {}
        for path, is_directory in touched:
            events.update(dict.fromkeys(self._relevant(path, is_directory=is_directory)))
        return [*events, *self._tend(time.monotonic())]

    def update(self, scope: Scope) -> list[WatchEvent]:
        self.scope = scope
        self._schedule()
        return []

    def wake(self) -> None:
        self._queue.put(("", False))

    def close(self) -> None:
        self._observer.stop()
        if self._observer.is_alive():
            self._observer.join()

    def _schedule(self) -> None:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler

        put = self._queue.put

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                # Reading is no change, and we read a lot ourselves.
                if event.event_type not in {"opened", "closed_no_write"}:
                    for path in (event.src_path, event.dest_path):
                        if path:
                            put((os.fsdecode(path), event.is_directory))

        self._observer.unschedule_all()
        # FSEvents reports resolved paths, so those are asked for and translated back.
        self._root = os.path.realpath(self.scope.root)
        self._extra = {resolved(file): file for file in self.scope.extra_files}
        handler = Handler()
        places = {(self._root, True)}
        places |= {(os.path.dirname(file), False) for file in self._extra}  # noqa: PTH120
        for place, recursive in sorted(places):
            try:
                self._observer.schedule(handler, place, recursive=recursive)
            except OSError as error:
                if place == self._root and error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                    raise

    def _relevant(self, path: str, *, is_directory: bool) -> list[WatchEvent]:
        scope = self.scope
        found: list[WatchEvent] = []
        if path in self._extra:
            found.append(Dirty(self._extra[path], state_of(path)))
        if path.startswith(f"{self._root}/"):
            inner = path[len(self._root) + 1 :]
            parts = inner.split("/")
            above = ("/".join(parts[:n]) for n in range(1, len(parts)))
            keep = scope.keep_directory if is_directory else scope.keep_file
            if all(scope.keep_directory(parent) for parent in above) and keep(inner):
                state: State = "settled" if is_directory else state_of(path)
                found.append(Dirty(inner, state))
        return found

    def _tend(self, now: float) -> list[WatchEvent]:
        if now < self._root_due:
            return []
        self._root_due = now + self._settings.root_gone_seconds
        before, self._root_identity = self._root_identity, identity(self.scope.root)
        if self._root_identity == before:
            return []
        if self._root_identity is None:
            return [Gap("the watched folder is gone")]
        self._schedule()
        return [Gap(f"the watched folder {'is back' if before is None else 'was replaced'}")]


def resolved(file: str) -> str:
    """Resolve the directory of a file and not the file: a link is reported as itself."""
    directory, name = os.path.split(file)
    return os.path.join(os.path.realpath(directory), name)  # noqa: PTH118


def open_backend(
    scope: Scope, settings: WatchSettings, *, poll: bool | None
) -> tuple[Backend, list[WatchEvent]]:
    """Start the best backend for a scope and return it with what there is to say about the choice.

    `poll` true or false decides; None looks at the file system under the root.
    """
    if poll:
        return _polling(scope, settings, "asked for")
    kind = read_mounts(scope.root).get("", "") if poll is None else ""
    why = silent_reason(kind)
    if why is not None:
        return _polling(scope, settings, f"{kind} gives no dependable events ({why})")
    try:
        if inotify.is_available():
            backend: Backend = inotify.InotifyBackend(scope, settings)
        else:
            backend = WatchdogBackend(scope, settings)
    except OSError as error:
        return _polling_after(scope, settings, error)
    try:
        return backend, backend.start()
    except OSError as error:
        backend.close()
        return _polling_after(scope, settings, error)


def _polling(scope: Scope, settings: WatchSettings, reason: str) -> tuple[Backend, list[WatchEvent]]:
    backend = PollingBackend(scope, settings, reason)
    return backend, backend.start()


def _polling_after(scope: Scope, settings: WatchSettings, error: OSError) -> tuple[Backend, list[WatchEvent]]:
    backend, events = _polling(scope, settings, f"watching failed: {error.strerror or error}")
    if error.errno in {errno.EMFILE, errno.ENOSPC} and sys.platform == "linux":
        limit = inotify.read_limit("max_user_instances")
        return backend, [LimitReached("instances", 0, backend.polled, limit, ())]
    return backend, events


class Watcher:
    """Watches a tree and some files, and calls `on_event` from its own thread for whatever is dirty.

    `start` returns when everything is watched, so what is read afterwards is either current or followed
    by an event. `on_event` and `tick` must be quick: events wait in the kernel meanwhile, and too many of
    them become a `Gap`. An error raised by either ends the thread.
    """

    def __init__(
        self,
        root: Path,
        on_event: OnEvent,
        *,
        keep_directory: Keep = keep_all,
        keep_file: Keep = keep_all,
        extra_files: Sequence[Path] = (),
        settings: WatchSettings | None = None,
        poll: bool | None = None,
        tick: Tick | None = None,
    ) -> None:
        # Made absolute without resolving links: a root that is a link may be pointed elsewhere.
        self._scope = Scope(
            root=os.path.abspath(root),  # noqa: PTH100
            keep_directory=keep_directory,
            keep_file=keep_file,
            extra_files=_absolute(extra_files),
        )
        self._on_event = on_event
        self._settings = settings or WatchSettings()
        self._poll = poll
        self._tick = tick
        self._backend: Backend | None = None
        self._thread = threading.Thread(target=self._run, name="devloop-watch", daemon=True)
        self._stopping = threading.Event()
        self._updates: queue.SimpleQueue[tuple[Scope, threading.Event]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether events are delivered: after `start`, until `stop` or an error in a callback."""
        return self._thread.is_alive()

    @property
    def watched(self) -> int:
        """How many directories have a watch of the system."""
        return 0 if self._backend is None else self._backend.watched

    @property
    def polled(self) -> int:
        """How many directories are polled."""
        return 0 if self._backend is None else self._backend.polled

    def start(self) -> None:
        """Watch everything, say what is to be said about it, and begin to deliver."""
        self._backend, events = open_backend(self._scope, self._settings, poll=self._poll)
        for event in events:
            self._on_event(event)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give the watches back; no call of `on_event` follows the return."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def wake(self) -> None:
        """Let the thread call `tick` now."""
        if self._backend is not None:
            self._backend.wake()

    def update(
        self,
        *,
        keep_directory: Keep | None = None,
        keep_file: Keep | None = None,
        extra_files: Sequence[Path] | None = None,
    ) -> None:
        """Follow new rules, and return when they hold. What is None stays as it is.

        Directories that were not kept until now are not reported: call this first and compare the tree
        under the new rules afterwards. From within `on_event` or `tick` it takes effect right after.
        """
        old = self._scope
        self._scope = Scope(
            root=old.root,
            keep_directory=keep_directory or old.keep_directory,
            keep_file=keep_file or old.keep_file,
            extra_files=old.extra_files if extra_files is None else _absolute(extra_files),
        )
        if self._backend is None:
            return
        done = threading.Event()
        self._updates.put((self._scope, done))
        self.wake()
        if threading.current_thread() is not self._thread:
            while self._thread.is_alive() and not done.wait(0.1):
                continue

    def _run(self) -> None:
        backend = self._backend
        if backend is None:
            return
        try:
            due: float | None = None if self._tick is None else self._tick(time.monotonic())
            while not self._stopping.is_set():
                timeout = None if due is None else max(0.0, due - time.monotonic())
                backend = self._backend = self._round(backend, timeout)
                if self._tick is not None and not self._stopping.is_set():
                    due = self._tick(time.monotonic())
        finally:
            backend.close()

    def _round(self, backend: Backend, timeout: float | None) -> Backend:
        try:
            events = backend.wait(timeout)
            while not self._updates.empty():
                scope, done = self._updates.get()
                events.extend(backend.update(scope))
                done.set()
        except OSError as error:
            # Nothing that the system refuses may end the watching.
            backend.close()
            backend, events = _polling_after(self._scope, self._settings, error)
            events.append(Gap(f"watching failed: {error.strerror or error}"))
        for event in events:
            if self._stopping.is_set():
                break
            self._on_event(event)
        return backend


def _absolute(files: Sequence[Path]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.abspath(file) for file in files))  # noqa: PTH100
