"""Views of one stream of events: live, plain lines, JSON lines."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from devloop.ui.stream import DisplayClosed, Output

if TYPE_CHECKING:
    from devloop.loop.events import Event

__all__ = ["Display", "DisplayClosed", "make_display", "reading_keys"]

_LOG_WIDTH = 120


class Display(Protocol):
    """Something that shows a session; both methods may be called from any thread.

    `show` raises `DisplayClosed` once nobody reads the output any more.
    """

    def show(self, event: "Event") -> None: ...

    def close(self) -> None: ...


def make_display(
    output: Literal["auto", "live", "plain", "json"],
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    once: bool = False,
) -> Display:
    """Choose the view: `auto` is live at a terminal that can move its cursor and plain everywhere else.

    A session that ends with its first version (`once`) is not told what its next save would do.
    """
    target = Output(stream)
    is_terminal = stream.isatty()
    if output == "json":
        from devloop.ui.jsonlines import JsonLinesDisplay

        return JsonLinesDisplay(target)
    if output == "live" or (output == "auto" and is_terminal and environ.get("TERM", "dumb") != "dumb"):
        return _live(target, stream, environ, once=once)
    from devloop.ui.plain import PlainDisplay
    from devloop.ui.text import wants_ascii, wants_color

    return PlainDisplay(
        target,
        width=_terminal_width(stream) if is_terminal else _LOG_WIDTH,
        ascii_only=wants_ascii(encoding=target.encoding, environ=environ),
        # A log file gets colours only where somebody insists, as in CI systems that show them.
        color=wants_color(is_terminal=False, environ=environ),
        once=once,
    )


@contextlib.contextmanager
def reading_keys(display: Display, stream: TextIO | None, press: Callable[[str], None]) -> Iterator[bool]:
    """Tell `press` of each key of the terminal `stream`, where the view is live and shows what they are.

    The value says whether any are read. However the block ends, the terminal is left as it was found.
    """
    from devloop.ui.jsonlines import JsonLinesDisplay
    from devloop.ui.plain import PlainDisplay

    if isinstance(display, JsonLinesDisplay | PlainDisplay):
        yield False
        return
    from devloop.ui.keys import Keyboard, can_read_keys
    from devloop.ui.live import LiveDisplay

    if stream is None or not isinstance(display, LiveDisplay) or not can_read_keys(stream):
        yield False
        return
    keyboard = Keyboard(stream.fileno(), press, display)
    keyboard.open()
    try:
        yield True
    finally:
        keyboard.close()


def _live(target: Output, stream: TextIO, environ: Mapping[str, str], *, once: bool) -> Display:
    from rich.console import Console

    from devloop.ui.live import LiveDisplay
    from devloop.ui.text import wants_ascii, wants_color

    has_color = wants_color(is_terminal=True, environ=environ)
    # NO_COLOR and FORCE_COLOR are settled here, and a terminal knows its size better than a variable does.
    settled = {"NO_COLOR", "FORCE_COLOR"} | ({"COLUMNS", "LINES"} if stream.isatty() else set())
    console = Console(
        file=stream,
        force_terminal=True,
        no_color=not has_color,
        legacy_windows=False,
        highlight=False,
        _environ={name: value for name, value in environ.items() if name not in settled},
    )
    return LiveDisplay(
        console,
        target,
        ascii_only=wants_ascii(encoding=target.encoding, environ=environ),
        rewraps="XTERM_VERSION" not in environ and environ.get("TERM") != "linux",
        once=once,
    )


def _terminal_width(stream: TextIO) -> int:
    try:
        return max(os.get_terminal_size(stream.fileno()).columns, 40)
    except (OSError, ValueError):
        return 80
