"""The values that cross the border between devloop and an engine, and the protocols it is used through.

The words are BuildKit's: a *vertex* is a node of the graph it solves and shows in its progress stream; a
*step* is a vertex that an instruction of the Dockerfile made and that BuildKit numbers (`[web 5/6]`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from devloop.errors import DevloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devloop.context.selection import Listing
    from devloop.engine.containers import Replacement, Stopped
    from devloop.engine.health import Health
    from devloop.engine.logs import LogLine
    from devloop.engine.runspec import RunSpec
    from devloop.engine.state import ContainerFacts

VertexKind = Literal["step", "from", "internal", "export", "other"]
StepStatus = Literal["cached", "run", "failed", "canceled", "not reached"]
BuildStatus = Literal["ok", "failed", "canceled"]
ErrorKind = Literal[
    "engine",  # no engine answers, or it went away
    "buildx",  # the docker client has no buildx
    "dockerfile",  # BuildKit cannot read the Dockerfile, or has no such target
    "step",  # a command of the Dockerfile failed
    "source",  # a COPY, ADD or mount names what is not there
    "image",  # a base image cannot be had
    "space",  # the engine's disk is full
    "canceled",
    "other",
]
ImageStore = Literal["classic", "containerd"]


class EngineUnavailable(DevloopError):  # noqa: N818 - a state of the world, named as one
    """No engine answers where the docker client would look for one."""

    def __init__(self, endpoint: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"no Docker Engine answers at {endpoint}: {reason}", hint=hint)
        self.endpoint = endpoint
        self.reason = reason


class EngineRefused(DevloopError):  # noqa: N818 - as above
    """The engine answers, and says no: the request is at fault, or the engine's state is."""

    def __init__(self, status: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One `docker build`, option by option; `extra` holds further options as they are (`--shm-size=1g`)."""

    context: str
    dockerfile: str | None = None
    target: str | None = None
    build_args: tuple[tuple[str, str | None], ...] = ()
    build_contexts: tuple[tuple[str, str], ...] = ()
    platform: str | None = None
    no_cache: bool = False
    no_cache_filters: tuple[str, ...] = ()
    pull: bool = False
    network: str | None = None
    add_hosts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    builder: str | None = None
    output: str | None = None
    """A value for `--output` (`type=cacheonly`); None puts the image into the engine."""


@dataclass(frozen=True, slots=True)
class Execution:
    """A stretch of time in which the engine worked on a vertex; `completed` is None while it still does."""

    started: float
    completed: float | None
    cached: bool

    @property
    def seconds(self) -> float:
        return 0.0 if self.completed is None else max(0.0, self.completed - self.started)


@dataclass(frozen=True, slots=True)
class Vertex:
    """The last state of a vertex in the progress stream; times are seconds since the epoch."""

    digest: str
    name: str
    kind: VertexKind
    inputs: tuple[str, ...]
    executions: tuple[Execution, ...]
    cached: bool
    error: str | None
    log_tail: tuple[str, ...]

    @property
    def started(self) -> float | None:
        return self.executions[0].started if self.executions else None

    @property
    def completed(self) -> float | None:
        """When the last execution ended; None while one runs and when there was none."""
        return self.executions[-1].completed if self.executions else None

    @property
    def seconds(self) -> float:
        """The time of all executions, those that only loaded from cache left out."""
        return sum(execution.seconds for execution in self.executions if not execution.cached)


@dataclass(frozen=True, slots=True)
class StepName:
    """What BuildKit's display name of a step says: `[linux/arm64 web 5/6] COPY app/ .`."""

    platform: str | None
    stage: str | None
    index: int
    total: int
    keyword: str
    text: str
    link: bool
    onbuild: bool


@dataclass(frozen=True, slots=True)
class MountFacts:
    """A mount of an exec op as the provenance tells it; `options` are the remaining facts, sorted."""

    kind: str
    target: str
    input: str | None
    selector: str
    readonly: bool
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ActionFacts:
    """One action of a file op: copy, mkfile, mkdir, rm or symlink."""

    kind: str
    source: str
    target: str
    input: str | None
    secondary: str | None
    owner: str
    mode: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class OpFacts:
    """What BuildKit's frontend made of an instruction, as plain values, for comparison with our own model.

    `inputs` name the producing vertices by digest, with the number of the output; `mounts` and `actions`
    refer to them in the same way. Fields that the op's kind does not have are empty.
    """

    kind: Literal["exec", "file", "merge", "diff", "source", "build", "other"]
    inputs: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    network: str = ""
    security: str = ""
    hostname: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    mounts: tuple[MountFacts, ...] = ()
    actions: tuple[ActionFacts, ...] = ()
    identifier: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    platform: str = ""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What became of one step in one build.

    `lines` are ranges of the Dockerfile (first, last), several where equal steps were merged, and empty
    where the engine did not tell. `seconds` is None for a step that did not run.
    """

    digest: str
    name: str
    stage: str | None
    index: int | None
    total: int | None
    keyword: str
    text: str
    status: StepStatus
    seconds: float | None
    lines: tuple[tuple[int, int], ...] = ()
    platform: str | None = None
    link: bool = False
    onbuild: bool = False
    error: str | None = None
    log_tail: tuple[str, ...] = ()
    definition: OpFacts | None = None


@dataclass(frozen=True, slots=True)
class BuildWarning:
    """A finding of BuildKit's own linter, or another warning of the build."""

    text: str
    detail: tuple[str, ...]
    url: str
    line: int | None


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """The whole of one build; a failed one is an ordinary value, with what BuildKit said about it."""

    status: BuildStatus
    seconds: float
    image_id: str | None = None
    vertices: tuple[Vertex, ...] = ()
    steps: tuple[StepOutcome, ...] = ()
    error: str | None = None
    error_kind: ErrorKind | None = None
    error_line: int | None = None
    exit_code: int | None = None
    hint: str | None = None
    failed_step: StepOutcome | None = None
    log_tail: tuple[str, ...] = ()
    context_bytes: int | None = None
    context_seconds: float | None = None
    metadata_seconds: float | None = None
    export_seconds: float | None = None
    warnings: tuple[BuildWarning, ...] = ()
    has_provenance: bool = False
    image_config: str | None = None
    """The digest of the image's config: equal for equal images, also where `image_id` changes every time."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The engine began to work on a vertex."""

    digest: str
    name: str
    kind: VertexKind
    at: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """The engine is through with a vertex; `seconds` is 0 for one that came from cache."""

    digest: str
    name: str
    kind: VertexKind
    cached: bool
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class StepLog:
    """A line that a step printed (stream 1 or 2), without its line end."""

    digest: str
    line: str
    stream: int


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a transfer, an extraction or an export has come; `total` is 0 where nobody knows."""

    digest: str
    what: str
    current: int
    total: int
    done: bool


BuildEvent = StepStarted | StepDone | StepLog | StepProgress | BuildWarning


@dataclass(frozen=True, slots=True)
class BuilderFacts:
    """Who would build, and how it differs; `error` says why nobody would, with a `hint` what to do."""

    name: str
    driver: str
    endpoint: str
    reachable: bool
    engine_version: str | None = None
    api_version: str | None = None
    buildkit_version: str | None = None
    buildx_version: str | None = None
    image_store: ImageStore | None = None
    platform: str | None = None
    supports_merge: bool = False
    has_provenance: bool = False
    listing: Listing = "names"
    legacy_environment: bool = False
    """DOCKER_BUILDKIT=0 is set: the user's own `docker build` takes the legacy builder and its cache."""
    error: str | None = None
    hint: str | None = None


class Cancel(Protocol):
    """What `threading.Event` offers of itself here."""

    def is_set(self) -> bool: ...


class Builder(Protocol):
    """Builds one image, tells what happens while it happens, and never raises for a build that fails."""

    def build(
        self, request: BuildRequest, *, on_event: Callable[[BuildEvent], None], cancel: Cancel
    ) -> BuildOutcome: ...


class Runner(Protocol):
    """Keeps one container up to date; `devloop.engine.containers` describes each of these."""

    def inspect(self, ident: str) -> ContainerFacts | None: ...

    def replace(
        self,
        old: str | None,
        spec: RunSpec,
        *,
        rollback: bool = True,
        timeout_seconds: float = 30.0,
        settle_seconds: float = 0.3,
        cancel: Cancel | None = None,
        on_started: Callable[[str], None] | None = None,
    ) -> Replacement: ...

    def restart(self, ident: str, grace_seconds: float | None = None) -> float: ...

    def stop(self, ident: str, grace_seconds: float | None = None) -> Stopped: ...

    def remove(self, ident: str) -> None: ...

    def recover(self, project: str, name: str) -> ContainerFacts | None: ...

    def wait_healthy(
        self,
        ident: str,
        *,
        ports: Sequence[int] | None = None,
        timeout_seconds: float = 30.0,
        settle_seconds: float = 0.3,
        cancel: Cancel | None = None,
        heeds_check: bool = True,
    ) -> Health: ...

    def log_tail(self, ident: str, lines: int = 40) -> tuple[str, ...]: ...

    def follow(
        self, ident: str | None, on_line: Callable[[LogLine], None], *, since: str = ""
    ) -> LogFollower: ...


class LogFollower(Protocol):
    """Follows a log in the background."""

    def switch(self, ident: str | None) -> None: ...

    def close(self, timeout_seconds: float = 1.0) -> None: ...
