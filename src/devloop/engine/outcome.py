"""From a finished stream, its metadata and the client's exit code to a `BuildOutcome`.

What went wrong is told apart by BuildKit's own words, since neither the exit code nor the stream has a field
for it; a text that is not known here gives kind "other" and is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from devloop.engine.base import BuildOutcome
from devloop.engine.progress import step_outcome
from devloop.engine.provenance import steps_by_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.engine.base import BuildStatus, ErrorKind, Vertex
    from devloop.engine.progress import Progress
    from devloop.engine.provenance import Metadata

_PREFIXES = ("ERROR: ", "error: ", "failed to build: ", "failed to solve: ", "failed to compute cache key: ")
_EXIT_CODE = re.compile(r"did not complete successfully: exit code: (\d+)")
_KEY_FAILED = re.compile(r"failed to (?:calculate checksum|compute cache key)|: not found$")
_REFERENCE = re.compile(r"failed to calculate checksum of ref \S+: ")
_MISSING = re.compile(r'"(?P<path>[^"]+)": not found')
_PARSE_LINE = re.compile(r"parse error on line (\d+)")
_MARKED = re.compile(r"^\s*(\d+) \| >>> ")
_PLACE = re.compile(r"^\S.*:(\d+)$")

_KINDS: tuple[tuple[ErrorKind, re.Pattern[str]], ...] = (
    ("space", re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)),
    (
        "engine",
        re.compile(
            r"cannot connect to the docker daemon|error during connect|failed to connect to the docker API"
            r"|permission denied while trying to connect|code = Unavailable|error reading from server"
            r"|no builder \S+ found|failed to initialize builder|connection refused$",
            re.IGNORECASE,
        ),
    ),
    (
        "buildx",
        re.compile(
            r"'buildx' is not a docker command|unknown command: docker buildx|unknown flag: --progress"
        ),
    ),
    ("step", _EXIT_CODE),
    (
        "source",
        re.compile(
            r"failed to calculate checksum|failed to compute cache key|failed to walk |lstat .*no such file"
        ),
    ),
    (
        "image",
        re.compile(
            r"failed to resolve source metadata|pull access denied|manifest unknown"
            r"|no match for platform in manifest"
        ),
    ),
    (
        "dockerfile",
        re.compile(
            r"dockerfile parse error|failed to read dockerfile|target stage|unknown instruction"
            r"|circular dependency|failed to parse|failed to process|base name .* should not be blank"
            r"|no build stage in current context|dockerfile .*empty"
            r"|invalid (?:field|reference|mount|flag)|requires? (?:at least|exactly)"
        ),
    ),
)
_HINTS: dict[ErrorKind, str] = {
    "engine": "Start Docker, or point DOCKER_HOST or `docker context use` at an engine that runs.",
    "buildx": "Install the buildx plugin of docker (package docker-buildx or docker-buildx-plugin).",
    "space": "`docker system df` shows what fills the disk, `docker builder prune` empties the build cache.",
    "image": "Check the image's name and that the registry can be reached; a local image would do.",
}


def conclude(
    progress: Progress,
    metadata: Metadata,
    *,
    returncode: int,
    seconds: float,
    canceled: bool,
    ids_are_digests: bool = False,
) -> BuildOutcome:
    """Put one build together; `ids_are_digests` says that the engine names images by manifest digest.

    That is so with the containerd image store; the classic one names them by the digest of their config.
    """
    status: BuildStatus = "canceled" if canceled else "ok" if returncode == 0 else "failed"
    vertices = progress.vertices if status == "ok" else without_false_hits(progress.vertices)
    steps = steps_by_origin(vertices, metadata.origins)
    image = metadata.image_digest if ids_are_digests else metadata.config_digest
    outcome = BuildOutcome(
        status=status,
        seconds=seconds,
        image_id=(image or metadata.image_digest) if status == "ok" else None,
        image_config=metadata.config_digest if status == "ok" else None,
        vertices=vertices,
        steps=steps,
        context_bytes=progress.context_bytes,
        context_seconds=_wall(vertex for vertex in vertices if "load build context" in vertex.name),
        metadata_seconds=_wall(vertex for vertex in vertices if "load metadata" in vertex.name),
        export_seconds=_wall(vertex for vertex in vertices if vertex.kind == "export"),
        warnings=progress.warnings,
        has_provenance=bool(metadata.origins),
    )
    if status == "ok":
        return outcome
    if status == "canceled":
        return replace(outcome, error="canceled", error_kind="canceled")
    return _explain(outcome, progress.messages)


def without_false_hits(vertices: Sequence[Vertex]) -> tuple[Vertex, ...]:
    """Take back what a step that failed over its own key claims about its inputs.

    BuildKit computes the keys of all steps ahead. Where that fails (a COPY source is missing) the step starts
    and fails at once, and with its start all its unfinished inputs are marked cached, among them such as
    never ran. Whether one of them would have been a hit is not told, so they count as not reached.
    """
    known = {vertex.digest: vertex for vertex in vertices}
    doubtful: set[tuple[str, float]] = set()
    for vertex in vertices:
        if vertex.error is None or not _KEY_FAILED.search(vertex.error) or vertex.started is None:
            continue
        queue = list(vertex.inputs)
        while queue:
            claim = (queue.pop(), vertex.started)
            if claim not in doubtful and claim[0] in known:
                doubtful.add(claim)
                queue += known[claim[0]].inputs
    return tuple(_without(vertex, doubtful) for vertex in vertices) if doubtful else tuple(vertices)


def _without(vertex: Vertex, doubtful: set[tuple[str, float]]) -> Vertex:
    kept = tuple(
        execution
        for execution in vertex.executions
        if not (execution.cached and (vertex.digest, execution.started) in doubtful)
    )
    if len(kept) == len(vertex.executions):
        return vertex
    return replace(vertex, executions=kept, cached=any(execution.cached for execution in kept))


def _explain(outcome: BuildOutcome, messages: Sequence[str]) -> BuildOutcome:
    failed = _failed_vertex(outcome.vertices)
    text = _said(messages) or (failed.error if failed else None) or "the build failed without a word"
    kind = _kind(text, failed)
    marked = [int(match[1]) for line in messages if (match := _MARKED.match(line))]
    step = None
    if failed is not None and failed.kind == "step":
        step = next((one for one in outcome.steps if one.digest == failed.digest), None) or step_outcome(
            failed
        )
        if marked and not step.lines:
            step = replace(step, lines=((min(marked), max(marked)),))
    code = _EXIT_CODE.search(text)
    return replace(
        outcome,
        error=_REFERENCE.sub("", text),
        error_kind=kind,
        error_line=_line(text, messages, marked),
        exit_code=int(code[1]) if code else None,
        hint=_hint(kind, text),
        failed_step=step,
        log_tail=failed.log_tail if failed is not None else (),
        steps=tuple(step if step is not None and one.digest == step.digest else one for one in outcome.steps),
    )


def _failed_vertex(vertices: Iterable[Vertex]) -> Vertex | None:
    """Return the vertex that failed by itself, a step before others; the rest was canceled because of it."""
    failed = [
        vertex for vertex in vertices if vertex.error is not None and "context canceled" not in vertex.error
    ]
    steps = [vertex for vertex in failed if vertex.kind == "step"]
    return next(iter(steps or failed), None)


def _said(messages: Sequence[str]) -> str | None:
    """Return the client's error without the words that stand before every error."""
    errors = [line for line in messages if line.startswith(("ERROR: ", "error: "))]
    text = errors[-1] if errors else next((line for line in messages if line.strip()), None)
    if text is None:
        return None
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if text.startswith(prefix):
                text, stripped = text.removeprefix(prefix), True
    return text


def _kind(text: str, failed: Vertex | None) -> ErrorKind:
    for kind, pattern in _KINDS:
        if pattern.search(text):
            if kind == "step" and failed is not None and _KINDS[0][1].search("\n".join(failed.log_tail)):
                return "space"
            return kind
    return "step" if failed is not None and failed.kind == "step" else "other"


def _line(text: str, messages: Sequence[str], marked: Sequence[int]) -> int | None:
    match = _PARSE_LINE.search(text)
    if match:
        return int(match[1])
    for line, below in pairwise(messages):
        place = _PLACE.match(line)
        if place and below.startswith("----"):
            return int(place[1])
    return min(marked) if marked else None


def _hint(kind: ErrorKind, text: str) -> str | None:
    if kind == "source":
        missing = _MISSING.search(text)
        path = missing["path"].lstrip("/") if missing else None
        if path:
            return f"{path} is not in the build context: it does not exist, or .dockerignore leaves it out."
    return _HINTS.get(kind)


def _wall(vertices: Iterable[Vertex]) -> float | None:
    """Return for how long at least one of `vertices` was worked on; None where none ever was."""
    spans = sorted(
        (execution.started, execution.completed)
        for vertex in vertices
        for execution in vertex.executions
        if execution.completed is not None
    )
    if not spans:
        return None
    total, reached = 0.0, spans[0][0]
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
