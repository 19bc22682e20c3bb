"""The live view: history that scrolls, and below it the board, the few lines that say how things stand.

The moving lines are redrawn in place with a single write and never erased first, so nothing flickers, and
the cursor is never hidden, so a killed process leaves a usable terminal. rich's own `Live` was weighed:
after a terminal got narrower it erases by the old line count and leaves torn lines behind.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from devloop.loop.events import (
    Asked,
    BuildStarted,
    ContainerLog,
    Event,
    Planned,
    SessionStarted,
    StepFinished,
    StepLog,
    StepStarted,
)
from devloop.ui.board import board
from devloop.ui.stream import DisplayClosed, Output
from devloop.ui.text import Line, Style, clean_log, line_width, symbols
from devloop.ui.view import View, fold
from devloop.ui.words import describe

_GUTTER: Final = 9

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

    All methods may be called from any thread. `rewraps` tells whether the terminal breaks long
    lines anew when it is resized, as nearly all do.
    """

    def __init__(
        self,
        console: Console,
        output: Output,
        *,
        ascii_only: bool,
        rewraps: bool = True,
        once: bool = False,
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
        self._view = View(is_once=once)
        self._drawn: list[int] = []  # the widths of the moving lines that stand on the screen
        self._drawn_size = ConsoleDimensions(0, 0)
        self._drawn_text = ""
        self._stamp = ""
        self._has_keys = False
        self._is_suspended = False
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
            with contextlib.suppress(DisplayClosed):
                self._draw("")
        if self._ticker is not None and self._ticker is not threading.current_thread():
            self._ticker.join()

    def offer_keys(self, *, are_read: bool) -> None:
        """Say whether keys are read from now on, so that the board shows them."""
        with self._lock:
            self._has_keys = are_read
            self._draw("")

    def suspend(self) -> None:
        """Take the board off the screen until `resume`: the terminal is somebody else's for a while."""
        with self._lock:
            self._is_suspended = True
            self._draw("")

    def resume(self) -> None:
        """Draw the board below whatever stands on the screen now."""
        with self._lock:
            self._is_suspended = False
            self._draw("")

    def _history(self, event: Event) -> str:
        match event:
            case BuildStarted() | StepStarted() | StepLog() | StepFinished(status="cached"):
                return ""  # the board shows these
            case ContainerLog():
                return "" if self._view.hides_logs else self._container_line(event)
            case Planned(first=True) if self._view.has_engine and not self._closed.is_set():
                width = self._width() - _GUTTER
                return self._stamped(describe(event, self._view, width, self._marks, has_board=True))
            case SessionStarted():
                lines = describe(event, self._view, self._width(), self._marks)
                return self._rendered(map(_rich_text, lines)) + "\n"
            case Planned(first=False) if event.saved:
                # A blank line sets every save apart.
                lines = describe(event, self._view, self._width() - _GUTTER, self._marks)
                return "\n" + self._stamped(lines)
            case Asked(what="rebuild" | "restart", refused=""):
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
        return self._rendered(self._hung(text))

    def _hung(self, text: Text, gutter: int = 0) -> list[Text]:
        """Break what is wider than the screen, and let the rest hang below its beginning."""
        head = re.match(rf" *(?:{re.escape(self._marks.bar)} )?", text.plain[gutter:])
        indent = gutter + (head.end() if head is not None else 0)
        if text.cell_len <= self._console.width or indent * 2 > self._console.width:
            return [text]
        below = Text(" " * gutter).append_text(text[gutter:indent])
        rows = text[indent:].wrap(self._console, self._console.width - indent, overflow="fold")
        leads = [text[:indent], *(below.copy() for _ in rows[1:])]
        return [lead.append_text(row) for lead, row in zip(leads, rows, strict=True)]

    def _stamped(self, lines: Iterable[Line]) -> str:
        stamp = f"{self._now():%H:%M:%S}"
        texts: list[Text] = []
        for index, line in enumerate(lines):
            gutter = "" if index or stamp == self._stamp else stamp
            texts.append(_rich_text(((gutter.ljust(_GUTTER), "dim"), *line)))
        self._stamp = stamp
        return self._rendered(row for text in texts for row in self._hung(text, _GUTTER))

    def _rendered(self, texts: Iterable[Text]) -> str:
        with self._console.capture() as capture:
            for text in texts:
                self._console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
        return capture.get()

    def _draw(self, history: str) -> None:
        """Write `history` where the board stands, and the board below it; the same board is left alone."""
        width, height = self._console.size
        is_hidden = self._closed.is_set() or self._is_suspended
        room = 0 if is_hidden else min(max(height // 2 + 1, 3), max(height - 2, 1))
        lines = board(self._view, self._clock(), width - 1, room, marks=self._marks, has_keys=self._has_keys)
        if not history and not lines and not self._drawn:
            return
        moving = "".join(self._rendered([_rich_text(line)]).rstrip("\n") + "\x1b[K\n" for line in lines)
        if not history and moving == self._drawn_text and width == self._drawn_size.width:
            return
        if self._drawn:
            # After a resize the old rows may be joined or torn, so they are wiped and not overwritten.
            wipes_first = bool(history) or not lines or width != self._drawn_size.width
            top = f"\r\x1b[{self._rows(width)}A" + ("\x1b[J" if wipes_first else "")
            self._output.write(f"{top}{history}{moving}\x1b[J")
        else:
            self._output.write(f"{history}{moving}")
        self._drawn = [line_width(line) for line in lines]
        self._drawn_size = self._console.size
        self._drawn_text = moving

    def _rows(self, width: int) -> int:
        """Count the rows that the drawn lines take now: more than they were, if the terminal shrank."""
        if not self._rewraps or width >= self._drawn_size.width:
            return len(self._drawn)
        return sum(max(-(-drawn // width), 1) for drawn in self._drawn)

    def _tick_if_needed(self) -> None:
        if self._closed.is_set():
            return
        if self._view.project and self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, name="devloop-display", daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while not self._closed.wait(self._refresh_seconds):
            with self._lock:
                is_still = self._view.phase is None and self._view.held_until is None
                if is_still and self._console.size == self._drawn_size:
                    continue
                try:
                    self._draw("")
                except DisplayClosed:
                    return  # the next `show` says so to the session


def _rich_text(line: Line) -> Text:
    return Text.assemble(*((text, _RICH[style]) for text, style in line))
