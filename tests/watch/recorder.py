"""What the watch tests share: a callback that remembers, a barrier on real files, a clock moved by hand."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devloop.watch.debounce import Batch
from devloop.watch.events import Dirty, Gap, LimitReached, Polled, State, WatchEvent

PATIENCE = 20.0
"""Seconds until a test gives up. Only a failing test ever waits so long."""

_marks = itertools.count()


class Recorder:
    """Keeps every event and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[WatchEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: WatchEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[WatchEvent], bool]) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: any(map(wanted, self.events)), PATIENCE)
        assert found, f"not seen among {self.events[-20:]}"

    def wait_for_path(self, path: str) -> None:
        self.wait_for(lambda event: isinstance(event, Dirty) and event.path == path)

    def wait_for_gap(self, words: str) -> None:
        self.wait_for(lambda event: isinstance(event, Gap) and words in event.reason)

    def barrier(self, directory: Path) -> None:
        """Return when everything that happened before this call has been delivered.

        The kernel keeps the order of events over all directories, so a marker that is written now is
        reported last.
        """
        name = f"barrier-{next(_marks)}"
        marker = directory / name
        marker.touch()
        self.wait_for(lambda event: isinstance(event, Dirty) and event.path.endswith(name))
        marker.unlink()

    def clear(self) -> None:
        with self._changed:
            self.events.clear()

    @property
    def dirty(self) -> list[Dirty]:
        return [
            event for event in list(self.events) if isinstance(event, Dirty) and "barrier-" not in event.path
        ]

    @property
    def paths(self) -> set[str]:
        return {event.path for event in self.dirty}

    @property
    def gaps(self) -> list[Gap]:
        return [event for event in list(self.events) if isinstance(event, Gap)]

    @property
    def notices(self) -> list[Polled | LimitReached]:
        return [event for event in list(self.events) if isinstance(event, (Polled, LimitReached))]

    def state(self, path: str) -> State:
        """The state in which a path was reported last."""
        return [event.state for event in self.dirty if event.path == path][-1]


class Batches:
    """Keeps every batch and lets a test wait for a path to arrive in one."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self._changed = threading.Condition()

    def __call__(self, batch: Batch) -> None:
        with self._changed:
            self.batches.append(batch)
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[Batch], bool]) -> Batch:
        with self._changed:
            found = self._changed.wait_for(lambda: any(map(wanted, self.batches)), PATIENCE)
            assert found, f"not seen among {self.batches[-5:]}"
            return next(batch for batch in self.batches if wanted(batch))

    def wait_for_path(self, path: str) -> Batch:
        return self.wait_for(lambda batch: path in batch.paths)

    def with_path(self, path: str) -> list[Batch]:
        with self._changed:
            return [batch for batch in self.batches if path in batch.paths]


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until a test moves it."""

    now: float = 1000.0
    moves: list[float] = field(default_factory=list)

    def advance(self, seconds: float) -> float:
        self.now += seconds
        self.moves.append(seconds)
        return self.now

    def set(self, moment: float) -> float:
        return self.advance(moment - self.now)
