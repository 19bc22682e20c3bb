"""A devloop command as a user runs it: started, read event by event, stopped by a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

Event = dict[str, Any]

MARK = "DEVLOOP_TEST_SESSION"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port(preferred: int = 0) -> int:
    """A port that nothing listens on, on the loopback interface: `preferred` if it is such a one."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            return free_port()
        return int(probe.getsockname()[1])


class Session:
    """`devloop watch` (or another command) with `--output json`.

    `wait_for` reads on from where it stopped the last time, so the order of the calls is the order in which
    the events must come. `events` keeps everything.
    """

    def __init__(
        self,
        project: Path,
        *options: str,
        environ: Mapping[str, str],
        command: str = "watch",
    ) -> None:
        self.project = project
        self.events: list[Event] = []
        self.url: str | None = None
        self._command = [
            sys.executable,
            "-m",
            "devloop",
            command,
            str(project),
            "--output",
            "json",
            *options,
        ]
        self._mark = f"{os.getpid()}-{id(self)}"
        self._environ = {**environ, MARK: self._mark, "PYTHONWARNINGS": "default"}
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the session
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._arrived = threading.Condition()
        self._ended = False
        self._next = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ the process

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the session was not started"
        return self._process

    def start(self) -> Self:
        # A session of its own stands for the terminal: Ctrl-C there reaches every process of the group.
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def stop(self, timeout: float = 30) -> int:
        """Ctrl-C; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL, to devloop alone: what it started is left behind."""
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = 60) -> int:
        """The exit code of a command that ends by itself."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"devloop did not end in {timeout:.0f} s\n{self.describe()}") from None
        self._finish_reading()
        return code

    def close(self) -> None:
        """Ends what is left of the session, however the test went."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGINT)
                try:
                    self._process.wait(10)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            self._finish_reading()
        self._stderr.close()

    def processes(self) -> list[int]:
        """The processes of this session that are alive, by the mark in their environment."""
        mark = f"{MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0"):
                found.append(int(entry.name))
        return sorted(found)

    @property
    def stderr(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    # ------------------------------------------------------------------------------------------- the events

    def wait_for(
        self, name: str, where: Callable[[Event], bool] = lambda _: True, *, timeout: float = 60
    ) -> Event:
        """The next event of that name for which `where` holds; those before it are passed over."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                while self._next < len(self.events):
                    event = self.events[self._next]
                    self._next += 1
                    if event["event"] == name and where(event):
                        return event
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._arrived.wait(left)
        ended = "devloop ended" if self._ended else f"{timeout:.0f} s passed"
        raise AssertionError(f"{ended} without the awaited event {name!r}\n{self.describe()}")

    def mark(self) -> int:
        """A place in `events`, for `since`."""
        with self._arrived:
            return len(self.events)

    def since(self, mark: int, *names: str) -> list[Event]:
        """The events after `mark`, of the names given (all of them where none is)."""
        with self._arrived:
            return [event for event in self.events[mark:] if not names or event["event"] in names]

    def describe(self) -> str:
        """The events and the standard error, for a failed assertion."""
        with self._arrived:
            lines = [json.dumps(event)[:300] for event in self.events[-40:]]
        return "\n".join(["events:", *lines, "standard error:", self.stderr[-3000:]])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "not json", "line": line.decode(errors="replace")}
            with self._arrived:
                self.events.append(event)
                if event["event"] == "deployed" and event["urls"]:
                    self.url = event["urls"][0]
                self._arrived.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def _finish_reading(self) -> None:
        assert self._reader is not None
        assert self.process.stdout is not None
        self._reader.join(10)
        assert not self._reader.is_alive(), "a process left by devloop still holds its standard output"
        self.process.stdout.close()

    # ------------------------------------------------------------------------------------- the user's hands

    def save(self, path: str, text: str) -> None:
        """Writes the file as an editor does that opens, writes and closes it."""
        (self.project / path).write_text(text)

    def wait_until_watching(self, text: str = "version 1\n") -> None:
        """Until the first version serves and a save will be noticed."""
        self.wait_for("deployed")
        if not any(event["event"] == "watching" for event in self.events):
            self.wait_for("watching")
        assert self.get() == text

    def get(self, path: str = "/", *, timeout: float = 10) -> str:
        """What the running service answers; tries again while nothing listens there."""
        assert self.url is not None, "nothing was deployed yet\n" + self.describe()
        address = self.url.rstrip("/") + path
        deadline = time.monotonic() + timeout
        while True:
            try:
                with _direct.open(address, timeout=5) as answer:
                    return str(answer.read().decode())
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if isinstance(error, urllib.error.HTTPError) or time.monotonic() > deadline:
                    raise AssertionError(f"{address}: {error}\n{self.describe()}") from error
                time.sleep(0.05)
