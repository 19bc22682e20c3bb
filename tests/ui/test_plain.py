"""The plain view reads well in a log file."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from devloop.loop.events import BuildFinished, BuildStarted, StepLog
from devloop.ui.plain import PlainDisplay
from devloop.ui.stream import Output
from support.made_up_session import session


def played(width: int, *, ascii_only: bool = False, color: bool = False) -> str:
    stream = io.StringIO()
    display = PlainDisplay(
        Output(stream),
        width=width,
        ascii_only=ascii_only,
        color=color,
        now=lambda: datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
    )
    for _, event in session():
        display.show(event)
    display.close()
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_a_session_as_plain_lines(width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"plain-{width}.txt", played(width))


def test_a_session_as_plain_lines_in_ascii(golden: Callable[[str, str], None]) -> None:
    text = played(80, ascii_only=True)
    assert text.isascii()
    golden("plain-80-ascii.txt", text)


def test_every_line_begins_with_the_time_and_carries_no_escape() -> None:
    for line in played(80).splitlines():
        assert re.match(r"09:26:53 +\S", line)
        assert line.isprintable()


def test_colour_is_there_where_it_is_asked_for_and_changes_no_word() -> None:
    colored = played(80, color=True)
    assert "\x1b[32m" in colored
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == played(80).splitlines()


def test_the_last_lines_of_a_failed_step_are_printed_once() -> None:
    stream = io.StringIO()
    display = PlainDisplay(Output(stream), width=80, ascii_only=True)
    display.show(BuildStarted(4))
    display.show(StepLog("4/5", "no such package"))
    display.show(BuildFinished("failed", 1.0, 0, 1, "exit code: 1", 4, "RUN x", ("no such package",)))
    assert stream.getvalue().count("no such package") == 1
    # Where something else was printed in between, a reader finds them at the end.
    display.show(BuildStarted(4))
    display.show(StepLog("4/5", "no such package"))
    display.show(StepLog("3/5", "another stage"))
    display.show(BuildFinished("failed", 1.0, 0, 1, "exit code: 1", 4, "RUN x", ("no such package",)))
    assert stream.getvalue().count("no such package") == 3
