"""The watcher and the debouncer in one thread: batches come out.

What the pure debouncer cannot know is looked up here: whether git holds its index lock, and which names
are editors' passing companions. The lock is looked at when a batch is due and not watched: git takes it
before it writes the first file, so it is there at that moment, and `.git` needs no watch.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from devloop.watch.debounce import Batch, Debouncer, WatchSettings
from devloop.watch.ephemeral import is_ephemeral_path
from devloop.watch.events import Dirty, Gap, Keep, LimitReached, Polled, WatchEvent, keep_all
from devloop.watch.observer import Watcher

OnBatch = Callable[[Batch], None]
OnNotice = Callable[[Polled | LimitReached], None]


def find_git_lock(start: Path) -> Path | None:
    """Return where git would put the index lock of the work tree that holds `start`, if there is one.

    `.git` is a directory, or in a linked work tree or a submodule a file that names it.
    """
    for directory in (start, *start.parents):
        dot_git = directory / ".git"
        if dot_git.is_dir():
            return dot_git / "index.lock"
        if dot_git.is_file():
            try:
                key, _, value = dot_git.read_text(errors="surrogateescape").partition(":")
            except OSError:
                return None
            return directory / value.strip() / "index.lock" if key == "gitdir" else None
    return None


def _ignore_notice(_notice: Polled | LimitReached) -> None:
    return


class BatchFeed:
    """Watches a tree and calls `on_batch` from its own thread when it is time to act.

    `on_batch` must be quick, as putting the batch into a queue is.
    """

    def __init__(
        self,
        root: Path,
        on_batch: OnBatch,
        *,
        on_notice: OnNotice = _ignore_notice,
        keep_directory: Keep = keep_all,
        keep_file: Keep = keep_all,
        extra_files: Sequence[Path] = (),
        settings: WatchSettings | None = None,
        poll: bool | None = None,
        git_lock: Path | None = None,
    ) -> None:
        self._debouncer = Debouncer(settings or WatchSettings())
        self._on_batch = on_batch
        self._on_notice = on_notice
        lock = git_lock or find_git_lock(root.absolute())
        self._lock = None if lock is None else str(lock)
        self.watcher = Watcher(
            root,
            self._on_event,
            keep_directory=keep_directory,
            keep_file=keep_file,
            extra_files=extra_files,
            settings=settings,
            poll=poll,
            tick=self._tick,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_git_busy(self) -> bool:
        """Whether a batch is held back by git's lock right now."""
        return self._debouncer.is_pending and self._debouncer.is_held

    def start(self) -> None:
        """Return when everything is watched."""
        self.watcher.start()

    def stop(self) -> None:
        """End the thread. A batch that was still waiting is dropped: nobody is left to act on it."""
        self.watcher.stop()

    def update(
        self,
        *,
        keep_directory: Keep | None = None,
        keep_file: Keep | None = None,
        extra_files: Sequence[Path] | None = None,
    ) -> None:
        """Follow new rules; see `Watcher.update`."""
        self.watcher.update(keep_directory=keep_directory, keep_file=keep_file, extra_files=extra_files)

    def _on_event(self, event: WatchEvent) -> None:
        now = time.monotonic()
        match event:
            case Dirty(path, state):
                self._debouncer.add(path, now, state=state, temporary=is_ephemeral_path(path))
            case Gap(reason):
                self._debouncer.overflow(now, reason)
            case Polled() | LimitReached():
                self._on_notice(event)

    def _tick(self, now: float) -> float | None:
        debouncer = self._debouncer
        due = debouncer.due(now)
        if debouncer.is_held or (due is not None and due <= now):
            if self._lock is not None and os.path.lexists(self._lock):
                debouncer.hold(now)
            else:
                debouncer.release(now)
        batch = debouncer.take(now)
        if batch is not None:
            self._on_batch(batch)
        return debouncer.due(now)
