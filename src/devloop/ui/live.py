"""The live view: history that scrolls, and below it, while something is in flight, a few lines that move.

The moving lines are redrawn in place with a single write and never erased first, so nothing flickers, and
the cursor is never hidden, so a killed process leaves a usable terminal. rich's own `Live` was weighed:
after a terminal got narrower it erases by the old line count and leaves torn lines behind.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from devloop.loop.events import (
    BuildStarted,
    ContainerLog,
    Event,
    Planned,
    SessionStarted,
    StepFinished,
    StepLog,
    StepStarted,
)
from devloop.ui.stream import DisplayClosed, Output
from devloop.ui.text import Line, Style, clean_log, line_width, symbols
from devloop.ui.view import View, describe, fold, in_flight

_GUTTER: Final = 9
_TALLEST: Final = 10

_RICH: Final[Mapping[Style, str]] = {
    "": "",
    "bold": "bold",
    "dim": "dim",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "accent": "cyan",
    "log": "dim",
    "source": "",
}


def _local_now() -> datetime:
    return datetime.now().astimezone()


class LiveDisplay:
    """Shows a session at a terminal. `console` renders; what it renders is written to `output`.

    `show` and `close` may be called from any thread. `rewraps` tells whether the terminal breaks long
    lines anew when it is resized, as nearly all do.
    """

    def __init__(
        self,
        console: Console,
        output: Output,
        *,
        ascii_only: bool,
        rewraps: bool = True,
        refresh_seconds: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._console: Final = console
        self._output: Final = output
        self._marks: Final = symbols(ascii_only=ascii_only)
        self._rewraps: Final = rewraps
        self._refresh_seconds: Final = refresh_seconds
        self._clock: Final = clock
        self._now: Final = now
        self._lock: Final = threading.RLock()
        self._view = View()
        self._drawn: list[int] = []  # the widths of the moving lines that stand on the screen
        self._drawn_width = 0
        self._stamp = ""
        self._busy: Final = threading.Event()
        self._closed: Final = threading.Event()
        self._ticker: threading.Thread | None = None

    def show(self, event: Event) -> None:
        """Print what `event` adds to the history and redraw what is in flight."""
        with self._lock:
            history = self._history(event)
            self._view = fold(self._view, event, self._clock())
            # A step can print thousands of lines a second; the next tick shows the last of them.
            if not isinstance(event, StepLog):
                self._draw(history)
            self._tick_if_needed()

    def close(self) -> None:
        """Take the moving lines off the screen and stop redrawing them."""
        with self._lock:
            self._closed.set()
            self._busy.set()
            with contextlib.suppress(DisplayClosed):
                self._draw("")
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()

    def _history(self, event: Event) -> str:
        match event:
            case BuildStarted() | StepStarted() | StepLog() | StepFinished(status="cached"):
                return ""  # these move below the history
            case ContainerLog():
                return self._container_line(event)
            case SessionStarted():
                lines = describe(event, self._view, self._width(), self._marks)
                return self._rendered(map(_rich_text, lines)) + "\n"
            case Planned(first=False):
                # A blank line sets every save apart.
                lines = describe(event, self._view, self._width() - _GUTTER, self._marks)
                return "\n" + self._stamped(lines)
            case _:
                return self._stamped(describe(event, self._view, self._width() - _GUTTER, self._marks))

    def _width(self) -> int:
        return max(self._console.width, 40)

    def _container_line(self, event: ContainerLog) -> str:
        # The app's own colours stay; everything else that could move the cursor is gone.
        text = Text(f"{self._marks.bar} ", style="dim")
        text.append_text(Text.from_ansi(clean_log(event.line, keep_color=True)))
        return self._rendered([text])

    def _stamped(self, lines: Iterable[Line]) -> str:
        stamp = f"{self._now():%H:%M:%S}"
        texts: list[Text] = []
        for index, line in enumerate(lines):
            gutter = "" if index or stamp == self._stamp else stamp
            texts.append(_rich_text(((gutter.ljust(_GUTTER), "dim"), *line)))
        self._stamp = stamp
        return self._rendered(texts)

    def _rendered(self, texts: Iterable[Text]) -> str:
        with self._console.capture() as capture:
            for text in texts:
                self._console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
        return capture.get()

    def _draw(self, history: str) -> None:
        """Write `history` where the moving lines stand, and the moving lines below it."""
        width, height = self._console.size
        room = 0 if self._closed.is_set() else min(_TALLEST, max(height - 2, 1))
        lines = in_flight(self._view, self._clock(), width - 1, room, self._marks)
        if not history and not lines and not self._drawn:
            return
        moving = "".join(self._rendered([_rich_text(line)]).rstrip("\n") + "\x1b[K\n" for line in lines)
        if self._drawn:
            # After a resize the old rows may be joined or torn, so they are wiped and not overwritten.
            wipes_first = bool(history) or not lines or width != self._drawn_width
            top = f"\r\x1b[{self._rows(width)}A" + ("\x1b[J" if wipes_first else "")
            self._output.write(f"{top}{history}{moving}\x1b[J")
        else:
            self._output.write(f"{history}{moving}")
        self._drawn = [line_width(line) for line in lines]
        self._drawn_width = width

    def _rows(self, width: int) -> int:
        """Count the rows that the drawn lines take now: more than they were, if the terminal shrank."""
        if not self._rewraps or width >= self._drawn_width:
            return len(self._drawn)
        return sum(max(-(-drawn // width), 1) for drawn in self._drawn)

    def _tick_if_needed(self) -> None:
        if self._closed.is_set():
            return
        if self._view.phase is None:
            self._busy.clear()
            return
        self._busy.set()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, name="devloop-display", daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while self._busy.wait() and not self._closed.wait(self._refresh_seconds):
            with self._lock:
                try:
                    self._draw("")
                except DisplayClosed:
                    return  # the next `show` says so to the session


def _rich_text(line: Line) -> Text:
    return Text.assemble(*((text, _RICH[style]) for text, style in line))
