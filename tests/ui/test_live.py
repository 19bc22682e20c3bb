"""The live view: history above, a few moving lines below, and nothing torn in between."""

import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from devloop.loop.events import (
    Asked,
    BuildFinished,
    BuildStarted,
    ContainerLog,
    Deployed,
    Event,
    Planned,
    Problem,
    SessionStarted,
    StepLog,
    StepStarted,
)
from devloop.ui.live import LiveDisplay
from devloop.ui.stream import DisplayClosed, Output
from support.made_up_session import list_plan, main_plan, session
from support.screen import Screen

SESSION = SessionStarted("1", "web", "Dockerfile", ".", None, "an engine", None)
STEP = StepStarted("4/5", 4, "RUN pip install --no-cache-dir -r requirements.txt")


class Terminal:
    """A live display on a made-up screen, with a clock that is moved by hand."""

    def __init__(
        self, width: int, *, color: Literal["standard"] | None = None, refresh_seconds: float = 3600.0
    ) -> None:
        self.seconds = 0.0
        self.stream = io.StringIO()
        self.console = Console(
            width=width, height=30, force_terminal=True, color_system=color, legacy_windows=False, _environ={}
        )
        self.display = LiveDisplay(
            self.console,
            Output(self.stream),
            ascii_only=False,
            refresh_seconds=refresh_seconds,
            clock=lambda: self.seconds,
            now=lambda: datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
        )
        self._screen = Screen(width)
        self._read = 0

    def show(self, *events: Event) -> None:
        for event in events:
            self.display.show(event)

    @property
    def screen(self) -> str:
        written = self.stream.getvalue()
        self._screen.feed(written[self._read :])
        self._read = len(written)
        return self._screen.text

    def resize(self, width: int) -> None:
        assert self.screen is not None
        self._screen.resize(width)
        self.console.width = width


@pytest.mark.parametrize("width", [80, 120])
def test_the_history_of_a_session(width: int, golden: Callable[[str, str], None]) -> None:
    terminal = Terminal(width)
    for pause, event in session():
        terminal.seconds += pause
        terminal.show(event)
    terminal.display.close()
    golden(f"live-{width}.txt", f"{terminal.screen}\n")


@pytest.mark.parametrize("width", [80, 120])
def test_the_history_of_a_session_in_colour(width: int, golden: Callable[[str, str], None]) -> None:
    terminal = Terminal(width, color="standard")
    for _, event in session():
        if not isinstance(event, BuildStarted | Planned | StepStarted):  # what moves has a test of its own
            terminal.show(event)
    terminal.display.close()
    golden(f"live-{width}-color.txt", terminal.stream.getvalue())


def test_what_is_in_flight_stands_below_the_history(golden: Callable[[str, str], None]) -> None:
    terminal = Terminal(80)
    terminal.show(SESSION, Planned(list_plan(), ("src/web_api/requirements.txt",)), BuildStarted(5), STEP)
    terminal.show(StepLog("4/5", "Collecting fastapi"))
    terminal.seconds = 3.5
    terminal.show(ContainerLog("stdout", "the old version still answers"))
    golden("live-80-in-flight.txt", f"{terminal.screen}\n")
    terminal.display.close()


def test_when_the_work_is_over_nothing_of_it_stays() -> None:
    terminal = Terminal(80)
    terminal.show(SESSION, Planned(main_plan(), ("a.py",)), BuildStarted(5), STEP)
    assert "building" in terminal.screen
    terminal.show(BuildFinished("failed", 1.0, 1, 0, "exit code 1", 4, "RUN x"))
    assert "building" not in terminal.screen
    assert terminal.screen.splitlines()[-1] == "last: build failed at line 4 after 1.0s"
    terminal.display.close()


def test_an_idle_board_is_drawn_once_and_again_after_a_resize() -> None:
    terminal = Terminal(80, refresh_seconds=0.001)
    terminal.show(SESSION, Deployed("rebuild", "web", ("http://127.0.0.1:8000",), "", 1.0, None))
    assert terminal.screen.splitlines()[-2].startswith("── web · serving · http://127.0.0.1:8000 ──")
    written = len(terminal.stream.getvalue())
    terminal.show(StepLog("1/1", "nothing that the board shows"))
    terminal.display.offer_keys(are_read=False)
    assert len(terminal.stream.getvalue()) == written
    terminal.resize(60)
    terminal.display.offer_keys(are_read=True)
    assert terminal.screen.count("web · serving") == 1
    assert "r rebuild" in terminal.screen.splitlines()[-1]
    terminal.display.close()


def test_suspended_the_board_is_gone_and_resumed_it_stands_below_what_was_written_meanwhile() -> None:
    terminal = Terminal(80)
    terminal.show(SESSION)
    terminal.display.suspend()
    assert "nothing is running" not in terminal.screen
    terminal.stream.write("[1]+ Stopped\n$ fg\n")
    terminal.display.resume()
    assert terminal.screen.splitlines()[-2] == "$ fg"
    assert "nothing is running" in terminal.screen.splitlines()[-1]
    terminal.display.close()


def test_hidden_logs_are_counted_and_the_last_of_them_come_back_with_the_key() -> None:
    terminal = Terminal(80)
    terminal.show(SESSION, Asked("logs"), *(ContainerLog("stdout", f"line {n}") for n in range(12)))
    assert "line 11" not in terminal.screen
    terminal.show(Asked("logs"), ContainerLog("stdout", "seen"))
    assert "2 lines left out" in terminal.screen
    assert [line.strip() for line in terminal.screen.splitlines() if "line " in line] == [
        f"| line {n}" for n in range(2, 12)
    ]
    assert "| seen" in terminal.screen
    terminal.display.close()


def test_closing_takes_the_moving_lines_away() -> None:
    terminal = Terminal(80)
    terminal.show(SESSION, Planned(main_plan(), ("a.py",)), BuildStarted(5), STEP)
    terminal.display.close()
    assert "building" not in terminal.screen
    assert terminal.display._ticker is not None
    assert not terminal.display._ticker.is_alive()


def test_closing_twice_does_nothing_more() -> None:
    terminal = Terminal(80)
    terminal.display.close()
    terminal.display.close()
    assert not terminal.stream.getvalue()


def test_after_closing_events_are_history_only() -> None:
    terminal = Terminal(80)
    terminal.display.close()
    terminal.show(SESSION, Planned(main_plan(), ("a.py",)), BuildStarted(5), STEP)
    assert "saved a.py" in terminal.screen
    assert "building" not in terminal.screen


@pytest.mark.parametrize("widths", [(60,), (45, 120), (50, 60, 40, 100), (200,)])
def test_a_resize_tears_no_line_and_eats_no_history(widths: tuple[int, ...]) -> None:
    terminal = Terminal(100)
    terminal.show(SESSION, ContainerLog("stdout", "before " + "x" * 130), Planned(main_plan(), ("a.py",)))
    terminal.show(BuildStarted(5), STEP, StepLog("4/5", "y" * 300), ContainerLog("stdout", "history"))
    for width in widths:
        terminal.resize(width)
        terminal.show(ContainerLog("stdout", f"after {width}"))
        assert terminal.screen.count("building") == 1
        assert terminal.screen.count("░") in {5, 12}
    lines = terminal.screen.splitlines()
    moving = next(index for index, line in enumerate(lines) if "building" in line)
    assert lines[moving - len(widths) - 1 : moving] == [
        "| history",
        *(f"| after {width}" for width in widths),
    ]
    terminal.display.close()


@given(st.lists(st.sampled_from([event for _, event in session()]), max_size=40), st.booleans())
def test_what_moves_leaves_no_trace_in_the_history(events: list[Event], narrows: bool) -> None:
    moving, still = Terminal(80), Terminal(80)
    still.display.suspend()
    for terminal in (moving, still):
        terminal.show(*events)
    if narrows:
        moving.resize(61)
        still.resize(61)
    moving.display.close()
    assert moving.screen == still.screen


def test_a_long_line_of_the_application_hangs_below_its_bar() -> None:
    terminal = Terminal(40)
    terminal.show(SESSION, ContainerLog("stdout", "a word and " * 9 + "x" * 50))
    rows = [row for row in terminal.screen.splitlines() if "word" in row or "xx" in row]
    assert len(rows) > 3
    assert all(row.startswith("| ") and len(row) <= 40 for row in rows)
    assert "".join(row[2:].replace(" ", "") for row in rows) == "awordand" * 9 + "x" * 50


def test_a_long_line_of_a_failed_step_hangs_below_its_bar() -> None:
    terminal = Terminal(40)
    failed = BuildFinished("failed", 1.0, 0, 1, "exit code: 1", 4, "RUN x", ("long " * 20 + "end",))
    terminal.show(SESSION, failed)
    rows = [row for row in terminal.screen.splitlines() if "long" in row]
    assert len(rows) > 2
    assert all(row.startswith(" " * 11 + "| long") and len(row) <= 40 for row in rows)


def test_a_long_line_keeps_the_colours_of_the_application() -> None:
    terminal = Terminal(40, color="standard")
    terminal.show(SESSION, ContainerLog("stdout", "\x1b[31m" + "red " * 30))
    assert terminal.stream.getvalue().count("31mred") > 2


def test_markup_in_a_log_line_is_text() -> None:
    terminal = Terminal(80)
    terminal.show(ContainerLog("stdout", "[bold red]x[/] :smile: [link=http://x]y[/link] 127.0.0.1"))
    assert terminal.stream.getvalue() == "| [bold red]x[/] :smile: [link=http://x]y[/link] 127.0.0.1\n"


def test_the_apps_own_colours_stay_and_its_other_escapes_go() -> None:
    terminal = Terminal(80, color="standard")
    terminal.show(ContainerLog("stdout", "\x1b[2J\x1b[31mred\x1b[0m \x1b]0;t\x07plain"))
    written = terminal.stream.getvalue()
    assert "\x1b[2J" not in written
    assert "]0;t" not in written
    assert "31mred" in written


def test_a_caret_block_is_shown_as_it_is() -> None:
    terminal = Terminal(200)
    block = " > 4 | RNU [bold]pip[/bold] install\n     | ^^^"
    terminal.show(Problem("dockerfile", "unknown instruction RNU", block))
    assert [line[9:] for line in terminal.screen.splitlines()[1:3]] == block.splitlines()


def test_a_flood_of_step_output_is_not_written_line_by_line() -> None:
    terminal = Terminal(80)
    terminal.show(SESSION, Planned(main_plan(), ("a.py",)), BuildStarted(5), STEP)
    before = terminal.stream.getvalue()
    terminal.show(*(StepLog("4/5", f"line {n}") for n in range(1000)))
    assert terminal.stream.getvalue() == before
    terminal.display.close()


def test_events_from_many_threads_stay_whole() -> None:
    terminal = Terminal(80, refresh_seconds=0.001)
    terminal.show(SESSION, Planned(main_plan(), ("a.py",)), BuildStarted(5), STEP)

    def talk(name: int) -> None:
        for n in range(50):
            terminal.show(ContainerLog("stdout", f"<{name}:{n}>"))

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    terminal.display.close()
    logs = [line for line in terminal.screen.splitlines() if line.startswith("| ")]
    assert sorted(logs) == sorted(f"| <{name}:{n}>" for name in range(4) for n in range(50))


class ClosedPipe(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_closed_pipe_ends_the_display_and_closing_stays_quiet() -> None:
    console = Console(width=80, height=30, force_terminal=True, color_system=None, _environ={})
    display = LiveDisplay(console, Output(ClosedPipe()), ascii_only=False)
    with pytest.raises(DisplayClosed):
        display.show(ContainerLog("stdout", "x"))
    display.close()
