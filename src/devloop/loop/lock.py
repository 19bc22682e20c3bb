"""One session a project: a lock that the kernel drops with the process, and the number of who holds it."""

import fcntl
import os
import tempfile
from pathlib import Path

from devloop.errors import DevloopError


class SessionRunning(DevloopError):  # noqa: N818 - it names what the user will read
    """Another devloop watches the project already."""


class SessionLock:
    """Holds the lock of one project until closed."""

    def __init__(self, folder: Path, identity: str, shown: str) -> None:
        """Take the lock. Raises SessionRunning when another session has it.

        Where the state directory cannot be written, the lock lies among the temporary files; where locks
        cannot be had at all the session goes on without one, as it does without memory.
        """
        self._descriptor = _open(folder, f"{identity}.lock")
        if self._descriptor is None:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.close()
            raise SessionRunning(
                f"devloop is already watching {shown} (process {holder})",
                hint="use that session, or end it first; another --target is a session of its own",
            ) from None
        except OSError:
            self.close()
            return
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open(folder: Path, name: str) -> int | None:
    for place in (folder, Path(tempfile.gettempdir(), f"devloop-{os.getuid()}")):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(place / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            continue
    return None
