"""Single keys of the terminal, while a session lasts, and the terminal as it was when it is over.

A thread of its own reads them. It is the only one that touches the terminal's settings while the session
lasts, with SIGTTIN and SIGTTOU blocked, so that nothing ever stops devloop for touching a terminal that
belongs to somebody else: in the background it takes its hands away and looks again now and then.

Ctrl-Z comes in two halves, since a signal handler may interrupt anything and must take no lock. The first
signal only wakes the thread, which takes the board off the screen, puts the terminal back and raises the
signal again; then the handler lets it have its usual effect, and wakes the thread again after `fg`.
"""

import contextlib
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Literal, Protocol, TextIO

_LOOK_SECONDS: Final = 0.3
"""How often it is looked whether the terminal is in front again, or still."""
_PASTED: Final = 4
"""So many characters at once are a paste and no keys."""

_SEQUENCE: Final = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class Board(Protocol):
    """What has to leave the screen while the terminal is somebody else's."""

    def suspend(self) -> None: ...

    def resume(self) -> None: ...

    def offer_keys(self, *, are_read: bool) -> None: ...


def keys_in(text: str) -> str:
    """Return the keys in what was read at once: no arrow and function keys, and nothing of a paste."""
    keys = "".join(char for char in _SEQUENCE.sub("", text) if char.isprintable()).lower()
    return "" if len(keys) >= _PASTED else keys


def can_read_keys(stream: TextIO | None) -> bool:
    """Tell whether `stream` is a terminal whose settings can be changed here."""
    if sys.platform == "win32" or stream is None:
        return False
    try:
        return stream.isatty() and os.isatty(stream.fileno())
    except (OSError, ValueError):
        return False


class Keyboard:
    """Reads keys from the terminal `fd` until `close`, and tells `press` of each.

    `press` is called from another thread. `open` and `close` belong to the main thread, for the signals.
    """

    def __init__(self, fd: int, press: Callable[[str], None], board: Board) -> None:
        self._fd: Final = fd
        self._press: Final = press
        self._board: Final = board
        self._saved: list[Any] | None = None  # the terminal's settings while they are ours
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._thread: Final = threading.Thread(target=self._run, name="devloop-keys", daemon=True)
        self._handlers: dict[signal.Signals, Any] = {}
        self._is_closing = False
        self._stop: Literal["", "asked", "ready"] = ""
        self._is_shown = True

    def open(self) -> None:
        """Begin to read."""
        for number, handler in (
            (signal.SIGTSTP, self._on_stop),
            (signal.SIGCONT, self._on_continue),
            (signal.SIGQUIT, self._on_end),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self._thread.start()

    def close(self) -> None:
        """Put the terminal back as it was; a second time does nothing."""
        if self._is_closing:
            return
        self._is_closing = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    # Signals: these interrupt the main thread anywhere

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"!")

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stop != "ready":
            self._stop = "asked"
            self._wake()
            return
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # nothing happens here where no shell could wake devloop again
        signal.signal(number, self._on_stop)
        self._stop = ""
        self._wake()

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        self._wake()

    def _on_end(self, number: int, _frame: FrameType | None) -> None:
        self._put_back()
        signal.signal(number, self._handlers[signal.Signals(number)])
        os.kill(os.getpid(), number)

    # The thread

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
        try:
            while not self._is_closing:
                if self._stop == "asked":
                    self._leave()
                    self._stop = "ready"
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTSTP)
                elif self._stop == "ready":
                    self._wait(_LOOK_SECONDS)
                elif not self._is_in_front():
                    self._leave()
                    self._wait(_LOOK_SECONDS)
                else:
                    self._enter()
                    if not self._read():
                        return
        finally:
            self._put_back()

    def _read(self) -> bool:
        """Wait for keys or a wake-up; False once the terminal has gone."""
        if not self._wait(_LOOK_SECONDS, self._fd) or not self._is_in_front():
            return True
        try:
            found = os.read(self._fd, 1024)
        except OSError:
            return False
        for key in keys_in(found.decode("ascii", "ignore")):
            self._press(key)
        return bool(found)

    def _wait(self, seconds: float | None, *fds: int) -> bool:
        """Wait until a descriptor of `fds` can be read; False after a wake-up or when the time is over."""
        try:
            ready, _, _ = select.select([*fds, self._wake_read], [], [], seconds)
        except (OSError, ValueError):
            return bool(fds)  # reading will tell what is wrong with it
        if self._wake_read in ready:
            os.read(self._wake_read, 1024)
            return False
        return bool(ready)

    def _is_in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # a terminal that nobody controls belongs to who has it open

    def _enter(self) -> None:
        if self._saved is None:
            self._saved = _no_echo(self._fd)
            self._board.offer_keys(are_read=self._saved is not None)
        if not self._is_shown:
            self._is_shown = True
            self._board.resume()

    def _leave(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._board.suspend()
        self._put_back()

    def _put_back(self) -> None:
        saved, self._saved = self._saved, None
        # In the background the settings are those of somebody else by now.
        if saved is not None and self._is_in_front():
            import termios

            with _unstoppable(), contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)


def _no_echo(fd: int) -> list[Any] | None:
    """Let keys come at once and unseen; Ctrl-C and Ctrl-Z stay what they are. Returns the former settings."""
    import termios

    try:
        saved = termios.tcgetattr(fd)
        mode = [*saved[:3], saved[3] & ~(termios.ICANON | termios.ECHO), *saved[4:6], list(saved[6])]
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
    except (OSError, termios.error):
        return None
    return saved


@contextlib.contextmanager
def _unstoppable() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
