"""Where a view writes: a stream that never fails on a character and says quietly that it was closed."""

import contextlib
import errno
import os
import threading
from typing import Final, TextIO


class DisplayClosed(Exception):  # noqa: N818  it is a condition like KeyboardInterrupt, and treated like that
    """Nobody reads the output any more; the session ends as if by Ctrl-C.

    `reason` is empty for a closed pipe and names anything else, such as a full disk.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the output was closed")
        self.reason = reason


class Output:
    """A text stream with one lock; whatever its encoding lacks is written as an escape.

    Once a write has failed, every later one raises `DisplayClosed`, in whichever thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream
        self._encoding: Final = stream.encoding or "utf-8"
        self._lock: Final = threading.Lock()
        self._closed: DisplayClosed | None = None

    @property
    def encoding(self) -> str:
        return self._encoding

    def write(self, text: str) -> None:
        """Write and flush `text` in one piece."""
        safe = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        with self._lock:
            if self._closed is not None:
                raise DisplayClosed(self._closed.reason)
            try:
                self._stream.write(safe)
                self._stream.flush()
            except (OSError, ValueError) as error:
                # ValueError: the stream was closed; EIO: the terminal went away.
                is_quiet = isinstance(error, BrokenPipeError | ValueError) or error.errno == errno.EIO
                self._closed = DisplayClosed("" if is_quiet else str(error))
                self._discard()
                raise DisplayClosed(self._closed.reason) from error

    def _discard(self) -> None:
        # The interpreter flushes sys.stdout at exit and would complain about the text that is still in
        # its buffer; pointing the descriptor at the null device is the way that Python's docs advise.
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(null, self._stream.fileno())
            finally:
                os.close(null)
