"""Keys of a terminal: what is one, and that the terminal is left as it was found, whatever happens."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import queue
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from devloop.ui import make_display, reading_keys
from devloop.ui.keys import Keyboard, can_read_keys, keys_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0


class Board:
    """Tells what it was asked for, in order."""

    def __init__(self) -> None:
        self.heard: queue.Queue[str] = queue.Queue()

    def suspend(self) -> None:
        self.heard.put("suspend")

    def resume(self) -> None:
        self.heard.put("resume")

    def offer_keys(self, *, are_read: bool) -> None:
        self.heard.put(f"keys {are_read}")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: where a user types, and where a program reads."""
    user, program = pty.openpty()
    yield user, program
    for fd in (user, program):
        os.close(fd)


def echoes(fd: int) -> bool:
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("r", "r"),
        ("R", "r"),
        ("?", "?"),
        ("rr", "rr"),
        ("\x1b[A\x1b[1;5C\x1bOP", ""),
        ("\x1b[Ar", "r"),
        ("\x1b", ""),
        ("\n\t\x04\x7f", ""),
        ("quit the session", ""),
    ],
)
def test_what_is_a_key(text: str, keys: str) -> None:
    assert keys_in(text) == keys


def test_a_key_is_told_at_once_and_unseen_and_the_terminal_is_put_back(terminal: tuple[int, int]) -> None:
    user, program = terminal
    before = termios.tcgetattr(program)
    pressed: queue.Queue[str] = queue.Queue()
    board = Board()
    keyboard = Keyboard(program, pressed.put, board)
    keyboard.open()
    assert board.heard.get(timeout=PATIENCE) == "keys True"
    assert not echoes(program)
    os.write(user, b"s")
    assert pressed.get(timeout=PATIENCE) == "s"
    keyboard.close()
    keyboard.close()
    assert termios.tcgetattr(program) == before
    assert signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL


def test_a_terminal_that_goes_away_ends_the_reading_and_nothing_else() -> None:
    user, program = pty.openpty()
    board = Board()
    keyboard = Keyboard(program, lambda _key: None, board)
    keyboard.open()
    assert board.heard.get(timeout=PATIENCE) == "keys True"
    os.close(user)
    keyboard._thread.join(PATIENCE)
    assert not keyboard._thread.is_alive()
    keyboard.close()
    os.close(program)


def test_a_stream_that_is_no_terminal_gives_no_keys(terminal: tuple[int, int]) -> None:
    closed = io.StringIO()
    closed.close()
    assert not can_read_keys(None)
    assert not can_read_keys(closed)
    assert not can_read_keys(io.StringIO())
    with os.fdopen(os.dup(terminal[1])) as stream:
        assert can_read_keys(stream)


@pytest.mark.parametrize("output", ["plain", "json"])
def test_only_the_live_view_takes_keys(output: str, terminal: tuple[int, int]) -> None:
    display = make_display(output, io.StringIO(), {})  # type: ignore[arg-type]  # one of its words
    with os.fdopen(os.dup(terminal[1])) as stream, reading_keys(display, stream, lambda _key: None):
        assert echoes(terminal[1])


def test_an_exception_leaves_the_terminal_as_it_was(terminal: tuple[int, int]) -> None:
    display = make_display("live", io.StringIO(), {})

    def session(stream: io.TextIOWrapper) -> None:
        with reading_keys(display, stream, lambda _key: None):
            until(lambda: not echoes(terminal[1]))
            raise RuntimeError("a bug")

    with os.fdopen(os.dup(terminal[1])) as stream, pytest.raises(RuntimeError, match="a bug"):
        session(stream)
    assert echoes(terminal[1])


PROGRAM = """
import os, signal, sys, time
from devloop.ui.keys import Keyboard
# Whoever runs the tests in the background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Board:
    def say(self, text): os.write(1, (text + "\\n").encode())
    def suspend(self): self.say("suspend")
    def resume(self): self.say("resume")
    def offer_keys(self, *, are_read): self.say(f"keys {are_read}")
board = Board()
keyboard = Keyboard(0, lambda key: board.say("key " + key), board)
keyboard.open()
try:
    while True:
        time.sleep(0.05)
except KeyboardInterrupt:
    pass
finally:
    keyboard.close()
"""


class Job:
    """A program that a shell runs at a terminal, as its job number 1."""

    def __init__(self) -> None:
        self.user, shell_end = pty.openpty()
        self.shell_end = shell_end
        self.output = b""
        self.seen = 0
        shell = "exec bash --norc --noprofile --noediting -i <>$0 >&0 2>&1"
        self.shell = subprocess.Popen(
            # The first terminal that the leader of a session opens is what the session has its jobs at.
            ["/bin/sh", "-c", shell, os.ttyname(shell_end)],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PS1": "$ ", "TERM": "dumb", "PROGRAM": PROGRAM},
            start_new_session=True,
        )
        os.set_blocking(self.user, False)

    def type(self, text: str) -> None:
        os.write(self.user, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait for `text` behind what was waited for before."""

        def is_there() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.output += os.read(self.user, 65536)
            return text.encode() in self.output[self.seen :]

        until(is_there)
        self.seen = self.output.index(text.encode(), self.seen) + len(text)

    def wait_for_prompt(self) -> None:
        """Wait for the shell; a signal key drops what the terminal has not handed on, a prompt as well."""
        for _ in range(round(PATIENCE)):
            end = time.monotonic() + 1
            while time.monotonic() < end:
                with contextlib.suppress(BlockingIOError):
                    self.output += os.read(self.user, 65536)
                if b"$ " in self.output[self.seen :]:
                    self.seen = self.output.index(b"$ ", self.seen) + 2
                    return
                time.sleep(0.005)
            self.type("\n")
        raise AssertionError("the shell does not come back")

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        os.close(self.user)
        os.close(self.shell_end)


@pytest.fixture
def job() -> Iterator[Job]:
    one = Job()
    one.type(f'{sys.executable} -c "$PROGRAM"\n')
    one.wait_for("keys True")
    yield one
    one.close()


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(job: Job) -> None:
    job.type("\x1a")
    job.wait_for("suspend")
    job.wait_for("$ ")
    assert echoes(job.shell_end)
    job.type("fg\n")
    job.wait_for("keys True")
    job.wait_for("resume")
    job.type("r")
    job.wait_for("key r")
    assert not echoes(job.shell_end)
    job.type("\x1a")
    job.wait_for("suspend")
    job.wait_for("$ ")
    job.type("kill %1; fg\n")
    job.wait_for("$ ")


def test_in_the_background_nothing_is_read_and_the_shell_has_its_terminal(job: Job) -> None:
    job.type("\x1a")
    job.wait_for_prompt()
    job.type("bg\n")
    job.wait_for("$ ")
    job.type("echo r''aw; jobs -r\n")
    job.wait_for("raw")
    job.wait_for("Running")
    job.type("fg\n")
    job.wait_for("resume")
    job.type("w")
    job.wait_for("key w")
    job.type("\x03")
    job.wait_for_prompt()
    until(lambda: echoes(job.shell_end))
