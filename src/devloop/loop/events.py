"""What a session tells its display: one frozen value per thing that happened.

Every view (live, plain, JSON lines) receives the same events in the same order and holds no opinion.
Times are seconds; `at` style fields are absent because the display stamps what it writes.
"""

from dataclasses import dataclass
from typing import Literal

from devloop.plan.model import Action, Plan


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The first event: what is watched and with which engine (None: predictions only).

    `runs_container` is false where images are built and nothing is started (`--no-run`, `devloop build`).
    """

    version: str
    project: str
    dockerfile: str
    context: str
    target: str | None
    engine: str | None
    config: str | None
    runs_container: bool = True


@dataclass(frozen=True, slots=True)
class EngineMissing:
    """No engine answers: devloop goes on watching and predicting, and says what it cannot do."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Watching:
    """The tree is watched from now on; `seconds` is the time since the command started."""

    files: int
    directories: int
    polling: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A container that an earlier session of this project left goes on serving."""

    container: str
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """A batch became a plan. `saved` are the paths as the user knows them.

    `first` marks the initial build. `behind` are changed paths that the plan leaves out: what they make run
    is expensive, and waits or runs while the rest is synced.
    """

    plan: Plan
    saved: tuple[str, ...]
    first: bool = False
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """The builder was started; `steps` is how many steps it has: a FROM is none, they start from it."""

    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step began to run: `label` as BuildKit prints it (`web 5/6`)."""

    label: str
    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class StepLog:
    """One line that the running step printed."""

    label: str
    line: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended, with what it cost."""

    label: str
    line: int | None
    text: str
    status: Literal["cached", "run", "failed", "canceled"]
    seconds: float | None


@dataclass(frozen=True, slots=True)
class BuildFinished:
    """The build is over. `cached` and `ran` count steps; a failure names its step and its last log lines."""

    status: Literal["ok", "failed", "canceled"]
    seconds: float
    cached: int
    ran: int
    error: str | None = None
    failed_line: int | None = None
    failed_text: str | None = None
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictionMissed:
    """The engine did something else than was predicted: stored, shown once."""

    line: int
    text: str
    predicted: str
    observed: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Queued:
    """Paths saved while something was in flight; `decision` says what becomes of the build."""

    saved: tuple[str, ...]
    decision: Literal["build-canceled", "build-continues", "build-serves", "waits"]
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """An expensive build waits: `paths` are what makes it necessary, `steps` the lines of what would run.

    It starts when what these steps read has been quiet for `wait_seconds`; None: when a key says so.
    `seconds` is its price. `is_postponed` tells that the user put it off.
    """

    paths: tuple[str, ...]
    steps: tuple[int, ...]
    seconds: float | None
    wait_seconds: float | None
    is_postponed: bool = False


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """The build that waited does not wait any more, and why.

    "over": it was quiet for long enough; "asked": a key starts it; "skipped": the container stays as it is
    until one of `paths` is saved again; "gone": the tree does not need it now, or the session is paused.
    """

    how: Literal["over", "asked", "skipped", "gone"]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deployed:
    """The container runs the newest version.

    `since_save` counts from the first event of the batch, or where `from_key` says so from the key that asked
    for it. `serves` is false where the container runs and does not answer (yet). `behind` are the paths whose
    newest text the container does not have yet, because an expensive build of them waits or runs. `patched`
    are those that were put on the image of a rebuild, which has them older. `owed` are all paths that the
    container holds newer than the newest image does.
    """

    action: Action
    container: str
    urls: tuple[str, ...]
    how: str
    seconds: float
    since_save: float | None
    stop_seconds: float | None = None
    healthy_seconds: float | None = None
    serves: bool = True
    behind: tuple[str, ...] = ()
    patched: tuple[str, ...] = ()
    from_key: bool = False
    owed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployFailed:
    """The new container did not come up: its exit code, its last lines, and what serves now."""

    message: str
    exit_code: int | None
    log_tail: tuple[str, ...]
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class ContainerLog:
    """One line of the application."""

    stream: Literal["stdout", "stderr"]
    line: str


@dataclass(frozen=True, slots=True)
class ContainerExited:
    """The application ended by itself or was ended by somebody else."""

    container: str
    exit_code: int | None
    log_tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackgroundBuilt:
    """The image was built in the background and holds now what was only synced until then."""

    seconds: float
    ran: int


ProblemKind = Literal["dockerfile", "ignore-file", "config", "engine", "state", "watch", "file"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the user can mend; `rendered` holds the source line with its caret where there is one.

    `severity` "note" is information that needs no action.
    """

    kind: ProblemKind
    message: str
    rendered: str = ""
    hint: str = ""
    severity: Literal["error", "note"] = "error"


@dataclass(frozen=True, slots=True)
class Asked:
    """The user asked for something by a key; `refused` says why nothing comes of it, and is empty else."""

    what: Literal["rebuild", "restart", "logs", "help", "build", "skip", "later"]
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """The user asked why: the last plan in full; `is_built` where a build has shown what is true of it."""

    plan: Plan
    is_built: bool


@dataclass(frozen=True, slots=True)
class Paused:
    """From now on saves are priced and nothing is started for them; or the newest tree is brought up."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last event: what was removed and what was left."""

    message: str


Event = (
    SessionStarted
    | EngineMissing
    | Watching
    | TakenOver
    | Planned
    | BuildStarted
    | StepStarted
    | StepLog
    | StepFinished
    | BuildFinished
    | PredictionMissed
    | Queued
    | Held
    | HoldEnded
    | Deployed
    | DeployFailed
    | ContainerLog
    | ContainerExited
    | BackgroundBuilt
    | Problem
    | Asked
    | Explained
    | Paused
    | Stopped
)
