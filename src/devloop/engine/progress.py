"""BuildKit's progress stream (`--progress=rawjson`), folded into vertices and step outcomes.

The stream repeats a vertex whenever something about it changes, and means less than it seems to say:

- A vertex without inputs (a source, or the first step on scratch) starts and completes once merely to
  compute its key. Only a second start means that it was executed.
- What a started consumer needs and nobody touched is marked cached, so "cached" also stands for "was
  not even looked at". A vertex that never started was not needed.
- Equal vertices in flight are merged: one is executed, its twin is cached, in the very first build.
- A join of a linked copy (`LINK COPY`) that was the last step of its build has a record and no files yet. The
  first build that puts a step on it finds it cached, and then starts it to put it together: still a hit.
- Names are for people: two builds at the same moment share vertices, and with them the names.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from devloop.engine.base import (
    BuildWarning,
    Execution,
    StepDone,
    StepLog,
    StepName,
    StepOutcome,
    StepProgress,
    StepStarted,
    Vertex,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.engine.base import BuildEvent, OpFacts, StepStatus, VertexKind

LOG_TAIL_LINES = 60
"""Lines kept of each vertex; a failing compiler says what matters at the end."""

_STEP_NAME = re.compile(
    r"""
    \[
    (?: (?P<platform> [a-z0-9]+ / [^\s\]]+ ) [ ]+ )?
    (?: (?P<stage> [^\s\]/]+ ) [ ]+ | [ ]* )
    (?P<index> \d+ ) / (?P<total> \d+ )
    \] [ ]
    (?P<link> LINK[ ] )?
    (?P<onbuild> ONBUILD[ ] )?
    (?P<text> .* )
    """,
    re.VERBOSE | re.DOTALL,
)
_CANCELED = ("context canceled", "CANCELED", "Canceled")
_LOCAL_SOURCES = (
    "[internal] load build context",
    "[internal] load build definition",
    "[internal] load .dockerignore",
    "[internal] preparing inline document",
)


def step_name(name: str) -> StepName | None:
    """Read the display name of a step; None for `[internal] ...`, `exporting ...` and other vertices.

    The stage is absent in a single-stage file without further sources; the platform stands in front when
    several are built. Number and total count the FROM line where it is an image.
    """
    match = _STEP_NAME.fullmatch(name)
    if match is None:
        return None
    keyword, _, text = match["text"].partition(" ")
    return StepName(
        platform=match["platform"],
        stage=match["stage"],
        index=int(match["index"]),
        total=int(match["total"]),
        keyword=keyword,
        text=text,
        link=match["link"] is not None,
        onbuild=match["onbuild"] is not None,
    )


def vertex_kind(name: str) -> VertexKind:
    """Tell what a vertex is by its display name."""
    parsed = step_name(name)
    if parsed is not None:
        return "from" if parsed.keyword == "FROM" else "step"
    if name.startswith(("[internal]", "[context ", "[auth]")):
        return "internal"
    if name.startswith("exporting "):
        return "export"
    return "other"


def is_canceling(error: str) -> bool:
    """Tell whether the error of a step only says that it was stopped; the command in it may say anything."""
    said = error.rpartition("did not complete successfully")[2]
    return any(word in said for word in _CANCELED)


def step_status(vertex: Vertex) -> StepStatus:
    """Decide what became of a step; see the rules at the top of this module."""
    if vertex.error is not None:
        return "canceled" if is_canceling(vertex.error) else "failed"
    real = [execution for execution in vertex.executions if not execution.cached]
    for_its_key = 0 if vertex.inputs else 1
    if len(real) > for_its_key:
        return "run" if real[-1].completed is not None else "canceled"
    if vertex.cached or (real and real[-1].completed is not None):
        return "cached"
    return "canceled" if real else "not reached"


def step_seconds(vertex: Vertex) -> float | None:
    """Return how long a step ran, the computation of its key left out; None when it did not run."""
    real = [execution for execution in vertex.executions if not execution.cached]
    if not vertex.inputs:
        real = real[1:]
    return sum(execution.seconds for execution in real) if real else None


def _begin(execution: Execution) -> float:
    return execution.started


def step_outcome(
    vertex: Vertex,
    *,
    lines: tuple[tuple[int, int], ...] = (),
    definition: OpFacts | None = None,
) -> StepOutcome:
    """Describe a vertex as a step, even when its name does not look like one (a name of another build)."""
    parsed = step_name(vertex.name)
    status = step_status(vertex)
    is_link = parsed is not None and parsed.link
    is_joined_late = is_link and status == "run" and min(vertex.executions, key=_begin).cached
    return StepOutcome(
        digest=vertex.digest,
        name=vertex.name,
        stage=parsed.stage if parsed else None,
        index=parsed.index if parsed else None,
        total=parsed.total if parsed else None,
        keyword=parsed.keyword if parsed else "",
        text=parsed.text if parsed else vertex.name,
        status="cached" if is_joined_late else status,
        seconds=None if is_joined_late else step_seconds(vertex),
        lines=lines,
        platform=parsed.platform if parsed else None,
        link=is_link,
        onbuild=parsed is not None and parsed.onbuild,
        error=vertex.error,
        log_tail=vertex.log_tail,
        definition=definition,
    )


class _Node:
    """A vertex while the stream is being read."""

    __slots__ = ("cached", "digest", "error", "executions", "inputs", "kind", "name", "partial", "tail")

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.name = ""
        self.kind: VertexKind = "other"
        self.inputs: tuple[str, ...] = ()
        self.cached = False
        self.error: str | None = None
        self.executions: dict[float, Execution] = {}
        self.tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self.partial: dict[int, bytes] = {}

    @property
    def is_key_first(self) -> bool:
        """Tell whether the first execution only computes the key."""
        return not self.inputs and (self.kind in {"step", "from"} or self.name.startswith(_LOCAL_SOURCES))

    def freeze(self) -> Vertex:
        ordered = sorted(self.executions.values(), key=lambda execution: execution.started)
        tail = (*self.tail, *(_text(rest) for rest in self.partial.values() if rest))
        return Vertex(
            digest=self.digest,
            name=self.name,
            kind=self.kind,
            inputs=self.inputs,
            executions=tuple(ordered),
            cached=self.cached,
            error=self.error,
            log_tail=tail,
        )


class Progress:
    """Reads the stream line by line: `feed` returns what a screen shows, the folded state stays here."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._warnings: list[BuildWarning] = []
        self._transferred: dict[str, int] = {}
        self._other: deque[str] = deque(maxlen=LOG_TAIL_LINES)
        self._open: list[bytes] = []

    def feed(self, line: bytes) -> list[BuildEvent]:
        """Take one line; whatever is not a JSON object is kept as text of the client (see `messages`).

        buildx 0.13 spreads an object over many lines, of which the first is `{` and the last `}`.
        """
        if self._open or line == b"{":
            self._open.append(line)
            if line != b"}":
                return []
            line = b"".join(self._open)
            self._open.clear()
        record = None
        if line.startswith(b"{"):
            with suppress(ValueError):
                record = json.loads(line)
        if not isinstance(record, dict):
            text = _text(line)
            if text:
                self._other.append(text)
            return []
        events: list[BuildEvent] = []
        for item in _dicts(record, "vertexes"):
            self._vertex(item, events)
        for item in _dicts(record, "statuses"):
            self._status(item, events)
        for item in _dicts(record, "logs"):
            self._log(item, events)
        for item in _dicts(record, "warnings"):
            self._warning(item, events)
        return events

    def finish(self) -> list[BuildEvent]:
        """Say what the end of the stream decides: unfinished log lines, and steps that only got a key."""
        events: list[BuildEvent] = []
        for node in self._nodes.values():
            for stream, rest in node.partial.items():
                if rest:
                    node.tail.append(_text(rest))
                    events.append(StepLog(node.digest, _text(rest), stream))
            node.partial.clear()
            done = [e for e in node.executions.values() if not e.cached and e.completed is not None]
            if node.is_key_first and len(done) == 1 and len(node.executions) == 1 and node.error is None:
                events.append(
                    StepDone(node.digest, node.name, node.kind, cached=True, seconds=0.0, error=None)
                )
        return events

    @property
    def vertices(self) -> tuple[Vertex, ...]:
        """All vertices, in the order in which the stream first named them."""
        return tuple(node.freeze() for node in self._nodes.values())

    @property
    def warnings(self) -> tuple[BuildWarning, ...]:
        return tuple(self._warnings)

    @property
    def messages(self) -> tuple[str, ...]:
        """The last lines that were no JSON: the client's own words, its error last."""
        return tuple(self._other)

    @property
    def context_bytes(self) -> int | None:
        """Bytes that the client sent of the build context, None when none was asked for."""
        sent = [
            count
            for digest, count in self._transferred.items()
            if "load build context" in self._nodes[digest].name
        ]
        return sum(sent) if sent else None

    def _vertex(self, item: Mapping[str, Any], events: list[BuildEvent]) -> None:
        digest = item.get("digest")
        if not isinstance(digest, str):
            return
        node = self._nodes.get(digest)
        if node is None:
            node = self._nodes[digest] = _Node(digest)
        name = item.get("name")
        if isinstance(name, str) and name and name != node.name:
            node.name = name
            node.kind = vertex_kind(name)
        inputs = item.get("inputs")
        if isinstance(inputs, list) and inputs:
            node.inputs = tuple(str(one) for one in inputs)
        cached = item.get("cached") is True
        node.cached = node.cached or cached
        error = item.get("error")
        if isinstance(error, str) and error:
            node.error = error
        started = _seconds(item.get("started"))
        if started is not None:
            self._execution(node, Execution(started, _seconds(item.get("completed")), cached), events)

    def _execution(self, node: _Node, now: Execution, events: list[BuildEvent]) -> None:
        before = node.executions.get(now.started)
        if before == now:
            return
        if before is not None and before.completed is not None and now.completed is None:
            return
        node.executions[now.started] = now
        only_key = node.is_key_first and len(node.executions) == 1 and not now.cached and node.error is None
        if only_key:
            return
        if before is None and not now.cached:
            events.append(StepStarted(node.digest, node.name, node.kind, now.started))
        if now.completed is not None and (before is None or before.completed is None):
            seconds = 0.0 if now.cached else now.seconds
            events.append(StepDone(node.digest, node.name, node.kind, now.cached, seconds, node.error))

    def _status(self, item: Mapping[str, Any], events: list[BuildEvent]) -> None:
        digest = item.get("vertex")
        if not isinstance(digest, str) or digest not in self._nodes:
            return
        name, ident = item.get("name") or "", item.get("id") or ""
        current, total = _number(item.get("current")), _number(item.get("total"))
        if not isinstance(name, str) or not isinstance(ident, str):
            return
        what = ident if ident.startswith(name) else f"{name} {ident}"
        if ident.startswith("transferring "):
            self._transferred[digest] = max(self._transferred.get(digest, 0), current)
        events.append(StepProgress(digest, what, current, total, done=bool(item.get("completed"))))

    def _log(self, item: Mapping[str, Any], events: list[BuildEvent]) -> None:
        digest, data = item.get("vertex"), item.get("data")
        if not isinstance(digest, str) or not isinstance(data, str):
            return
        node = self._nodes.get(digest)
        if node is None:
            node = self._nodes[digest] = _Node(digest)
        try:
            raw = b64decode(data)
        except ValueError:
            return
        stream = _number(item.get("stream"))
        *lines, rest = (node.partial.pop(stream, b"") + raw).split(b"\n")
        if rest:
            node.partial[stream] = rest
        for one in lines:
            text = _text(one)
            node.tail.append(text)
            events.append(StepLog(digest, text, stream))

    def _warning(self, item: Mapping[str, Any], events: list[BuildEvent]) -> None:
        ranges = _dicts(item, "range")
        start = ranges[0].get("start") if ranges else None
        line = _number(start.get("line")) if isinstance(start, dict) else 0
        detail = item.get("detail")
        warning = BuildWarning(
            text=_decoded(item.get("short")),
            detail=tuple(_decoded(one) for one in detail) if isinstance(detail, list) else (),
            url=str(item.get("url") or ""),
            line=line or None,
        )
        if warning not in self._warnings:
            self._warnings.append(warning)
            events.append(warning)


def _dicts(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = record.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value: object) -> float | None:
    """Read an RFC 3339 time with nanoseconds; Go's zero time counts as none."""
    if not isinstance(value, str) or value.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def _text(raw: bytes) -> str:
    """Decode a line that a program printed: of a line that was rewritten with CR, what was seen last."""
    shown = raw.rstrip(b"\r\n").rsplit(b"\r", 1)[-1]
    return shown.decode("utf-8", "replace")


def _decoded(value: object) -> str:
    if not isinstance(value, str):
        return ""
    try:
        return b64decode(value).decode("utf-8", "replace")
    except ValueError:
        return value
