"""Which view is chosen, and what becomes of output that nobody reads."""

import io
import os
import subprocess
import sys
from typing import Literal

import pytest

from devloop.loop.events import ContainerLog, SessionStarted
from devloop.ui import DisplayClosed, make_display
from devloop.ui.jsonlines import JsonLinesDisplay
from devloop.ui.live import LiveDisplay
from devloop.ui.plain import PlainDisplay
from devloop.ui.stream import Output

SESSION = SessionStarted("1", "wéb→", "Dockerfile", "/tmp/\udcff", None, "an engine", None)


class Tty(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8") -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding=encoding, errors="strict")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("output", "environ", "expected"),
    [
        ("auto", {"TERM": "xterm"}, LiveDisplay),
        ("auto", {"TERM": "dumb"}, PlainDisplay),
        ("auto", {}, PlainDisplay),
        ("plain", {"TERM": "xterm"}, PlainDisplay),
        ("json", {"TERM": "xterm"}, JsonLinesDisplay),
        ("live", {}, LiveDisplay),
    ],
)
def test_the_view_for_a_terminal(
    output: Literal["auto", "live", "plain", "json"], environ: dict[str, str], expected: type
) -> None:
    assert type(make_display(output, Tty(), environ)) is expected


@pytest.mark.parametrize("environ", [{}, {"TERM": "xterm"}, {"TERM": "xterm", "FORCE_COLOR": "1"}])
def test_a_pipe_gets_plain_lines(environ: dict[str, str]) -> None:
    assert type(make_display("auto", io.StringIO(), environ)) is PlainDisplay


def shown(output: Literal["live", "plain"], environ: dict[str, str], encoding: str = "utf-8") -> str:
    stream = Tty(encoding)
    display = make_display(output, stream, {"TERM": "xterm-256color", **environ})
    display.show(SESSION)
    display.close()
    return stream.raw_bytes.getvalue().decode(encoding)


def test_no_color_takes_the_colours_from_the_live_view() -> None:
    assert "\x1b[36m" in shown("live", {})
    assert "\x1b[36m" not in shown("live", {"NO_COLOR": "1"})


def test_plain_lines_have_colours_only_where_somebody_insists() -> None:
    assert "\x1b" not in shown("plain", {})
    assert "\x1b[36m" in shown("plain", {"FORCE_COLOR": "1"})


@pytest.mark.parametrize("output", ["live", "plain"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_encoding_and_no_name_makes_a_view_fail(output: Literal["live", "plain"], encoding: str) -> None:
    text = shown(output, {}, encoding)
    assert "/tmp/\\xff" in text
    if encoding == "ascii":
        assert "w\\xe9b\\u2192" in text


def test_a_reader_that_went_away_ends_the_session_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        display = make_display("plain", stream, {})
        with pytest.raises(DisplayClosed) as closed:
            display.show(SESSION)
        assert closed.value.reason == ""
        with pytest.raises(DisplayClosed):
            display.show(ContainerLog("stdout", "x"))
        display.close()


def test_a_closed_stream_is_like_a_closed_pipe() -> None:
    stream = io.StringIO()
    output = Output(stream)
    stream.close()
    with pytest.raises(DisplayClosed):
        output.write("x")


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_named() -> None:
    with pytest.raises(DisplayClosed) as closed:
        Output(FullDisk()).write("x")
    assert "No space left on device" in closed.value.reason


def test_the_interpreter_ends_without_a_word_after_the_reader_went_away() -> None:
    program = (
        "import sys, time\n"
        "from devloop.ui import DisplayClosed, make_display\n"
        "from devloop.loop.events import ContainerLog\n"
        "display = make_display('plain', sys.stdout, {})\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    for n in range(5): display.show(ContainerLog('stdout', 'x'))\n"
        "except DisplayClosed:\n"
        "    display.close()\n"
        "    sys.exit(7)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        run.stdin.write(b"go\n")
        run.stdin.close()
        assert run.wait() == 7
        assert run.stderr.read() == b""


def test_choosing_a_view_loads_rich_only_for_the_live_one() -> None:
    program = (
        "import sys, io\n"
        "from devloop.ui import make_display\n"
        "make_display('plain', io.StringIO(), {}); make_display('json', io.StringIO(), {})\n"
        "sys.exit('rich' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
