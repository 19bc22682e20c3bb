"""One session a project: a lock that the kernel drops with the process, and the number of who holds it."""

import fcntl
import os
from pathlib import Path

from devloop.errors import DevloopError


class SessionRunning(DevloopError):  # noqa: N818 - it names what the user will read
    """Another devloop watches the project already."""


class SessionLock:
    """Holds the lock of one project until closed."""

    def __init__(self, folder: Path, identity: str, shown: str) -> None:
        """Take the lock. Raises SessionRunning when another session has it."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(folder / f"{identity}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise SessionRunning(
                f"devloop is already watching {shown} (process {holder})",
                hint="use that session, or end it first; another --target is a session of its own",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)
