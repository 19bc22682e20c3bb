"""The plain view: what happened, a line each with the time before it; made for log files and pipes."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from devloop.loop.events import Event
from devloop.ui.stream import Output
from devloop.ui.text import paint, symbols
from devloop.ui.view import View, fold
from devloop.ui.words import describe

_TIME_WIDTH: Final = 9


def _local_now() -> datetime:
    return datetime.now().astimezone()


class PlainDisplay:
    """Writes every event as lines that start with HH:MM:SS, with no escape codes unless asked for colour."""

    def __init__(
        self,
        output: Output,
        *,
        width: int,
        ascii_only: bool,
        color: bool = False,
        once: bool = False,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._output: Final = output
        self._width: Final = width - _TIME_WIDTH
        self._marks: Final = symbols(ascii_only=ascii_only)
        self._color: Final = color
        self._now: Final = now
        self._lock: Final = threading.Lock()
        self._view = View(is_once=once, shows_step_logs=True)

    def show(self, event: Event) -> None:
        """Write `event`; safe to call from any thread."""
        with self._lock:
            lines = describe(event, self._view, self._width, self._marks)
            self._view = fold(self._view, event, 0.0)
            stamp = f"{self._now():%H:%M:%S} "
            self._output.write(
                "".join(f"{stamp}{paint(line, color=self._color)}".rstrip() + "\n" for line in lines)
            )

    def close(self) -> None:
        """Nothing is held back, so there is nothing to do."""
