"""A container's log: taken apart into lines, and followed through restarts.

The docker SDK can follow a log or tell its two streams apart, and not both with time stamps; so this reads
the engine's frames itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.state import parse_container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devloop.engine.endpoint import Engine
    from devloop.engine.state import ContainerFacts


_LONGEST_PAUSE_SECONDS = 0.25
"""Between two looks at a container that has stopped, or at an engine that does not answer."""


class Source(Protocol):
    """Something that hands out bytes until there are none."""

    def read(self) -> bytes: ...


class Stream(Source, Protocol):
    """One that can be closed from another thread."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that the container printed; `at` is the engine's time stamp, `stream` stdout or stderr."""

    stream: str
    text: str
    at: str


def read_log(stream: Source, *, tty: bool) -> Iterator[LogLine]:
    """Take a log apart into lines until it ends; a last line without its end counts as one.

    Without a terminal the engine wraps every piece in a frame: a byte for the stream, three of nothing, four
    for the length.
    """
    splitter = LineSplitter()
    if tty:
        while chunk := stream.read():
            yield from splitter.feed("stdout", chunk)
    else:
        buffer = bytearray()
        while chunk := stream.read():
            buffer += chunk
            while len(buffer) >= 8:
                end = 8 + int.from_bytes(buffer[4:8], "big")
                if len(buffer) < end:
                    break
                yield from splitter.feed("stderr" if buffer[0] == 2 else "stdout", bytes(buffer[8:end]))
                del buffer[:end]
    yield from splitter.finish()


@dataclass(slots=True)
class LineSplitter:
    """Pieces of two streams to lines, each with the time stamp that the engine put before it."""

    _rest: dict[str, bytes] = field(default_factory=dict)

    def feed(self, stream: str, piece: bytes) -> Iterator[LogLine]:
        *lines, rest = (self._rest.pop(stream, b"") + piece).split(b"\n")
        if rest:
            self._rest[stream] = rest
        for line in lines:
            yield _log_line(stream, line)

    def finish(self) -> Iterator[LogLine]:
        for stream, rest in self._rest.items():
            yield _log_line(stream, rest)
        self._rest.clear()


def _log_line(stream: str, raw: bytes) -> LogLine:
    text = raw.rstrip(b"\r").decode("utf-8", "replace")
    stamp, _, rest = text.partition(" ")
    return (
        LogLine(stream, rest, stamp)
        if stamp.endswith("Z") and stamp[:4].isdigit()
        else LogLine(stream, text, "")
    )


class LogStream:
    """Follows one container's log, then another's, in a thread of its own.

    The engine ends the stream when the container stops; we wait until it runs again and go on after the last
    line seen. `switch` moves to another container, whose log is read from its beginning, or from where it was
    left when it has been followed before.
    """

    def __init__(
        self,
        engine: Engine,
        ident: str | None,
        on_line: Callable[[LogLine], None],
        *,
        since: str = "",
    ) -> None:
        self._engine = engine
        self._on_line = on_line
        self._changed = threading.Condition()
        self._ident = ident
        self._seen = {ident: since} if ident is not None and since else {}
        self._stream: Stream | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="devloop-logs", daemon=True)
        self._thread.start()

    def switch(self, ident: str | None) -> None:
        """Follow another container from now on; None follows nothing."""
        with self._changed:
            if ident == self._ident:
                return
            self._ident = ident
            self._interrupt()

    def close(self, timeout_seconds: float = 1.0) -> None:
        """Stop following; lines that are on their way may still arrive before this returns."""
        with self._changed:
            self._is_closed = True
            self._interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def _interrupt(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self._changed.notify_all()

    def _run(self) -> None:
        seen: tuple[str | None, str] | None = None
        pause = 0.05
        while True:
            with self._changed:
                while self._ident is None and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                ident = self._ident
            try:
                facts = _inspect(self._engine, ident) if ident is not None else None
                if facts is not None and facts.state != "created":
                    run = (ident, facts.started_at)
                    if facts.is_running or run != seen:
                        pause = 0.05
                        self._read(facts)
                    seen = run
            except (EngineUnavailable, EngineRefused):
                pause = _LONGEST_PAUSE_SECONDS
            with self._changed:
                if self._ident == ident and not self._is_closed:
                    self._changed.wait(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def _read(self, facts: ContainerFacts) -> None:
        since = self._seen.get(facts.id, "")
        query = {"follow": "1", "stdout": "1", "stderr": "1", "timestamps": "1"}
        if since:
            query["since"] = unix_time(since)
        stream = self._engine.stream(f"/containers/{facts.id}/logs", query)
        with self._changed:
            is_wanted = not self._is_closed and self._ident in {facts.id, facts.name}
            self._stream = stream if is_wanted else None
        try:
            for line in read_log(stream, tty=facts.tty) if is_wanted else ():
                if since and line.at and line.at <= since:
                    continue
                with self._changed:
                    if self._stream is not stream:
                        return
                    if line.at:
                        self._seen[facts.id] = line.at
                self._on_line(line)
        finally:
            with self._changed:
                self._stream = None
            stream.close()


def _inspect(engine: Engine, ident: str) -> ContainerFacts | None:
    record = engine.find(f"/containers/{ident}/json")
    return parse_container(record) if isinstance(record, dict) else None


def unix_time(stamp: str) -> str:
    """Turn a time stamp of the engine into seconds since the epoch, with all nine decimals."""
    whole, _, decimals = stamp.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return f"{seconds}.{decimals or '0'}"
