"""What devloop decided about one target, as a value that can be shown, stored and compared."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["cached", "run", "unknown"]
Action = Literal["none", "sync", "sync+restart", "rebuild", "restart"]
ChangeKind = Literal["added", "modified", "removed", "metadata"]
SecondsFrom = Literal["measured", "estimate"]
Rule = Literal[
    "content",
    "instruction",
    "base",
    "argument",
    "environment",
    "stage",
    "ignore",
    "no-cache",
    "never-built",
    "dynamic",
    "directory-mode",
    "missing",
    "contradiction",
    "pruned",
    "meanwhile",
    "foreign",
]


@dataclass(frozen=True, slots=True)
class PathChange:
    """A context path whose content, kind or mode differs from what was built last."""

    path: str
    kind: ChangeKind


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a step runs: `text` is the sentence, the rest its parts where they apply."""

    text: str
    rule: Rule
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of the target with its prediction and its price.

    `ordinal` counts within the stage as BuildKit's progress does; `line` is the first line in the
    Dockerfile; `seconds` is what the step costs when it runs, whether or not it will.
    """

    stage: str
    ordinal: int
    line: int
    instruction: str
    text: str
    status: Status
    cause: Cause | None = None
    kind: str | None = None
    expensive: bool = False
    seconds: float | None = None
    seconds_from: SecondsFrom | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """An expensive step that is about to run again, in words that need no manual.

    `code` is stable and can be silenced in the configuration and by a comment in the Dockerfile. `manifest`
    says what changed in the manifests that the step installs from, where that is known. `repeats` tells that
    the warning before it in this session was the same: views say it in one line.
    """

    code: str
    line: int
    instruction: str
    text: str
    seconds: float | None
    seconds_from: SecondsFrom | None
    note: str
    why: str
    way_out: str
    manifest: str = ""
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer for one target: what runs again, what it costs, and what is done about it.

    `seconds` is the expected time of the whole action; None where nothing is known. `config_changed`
    says that the image's configuration differs although every step is cached. `ignored` holds a sentence for
    each path that was named and reaches no build. `expensive` are the places in `steps` of those that an edit
    makes run again at a price that is worth a warning.
    """

    name: str
    dockerfile: str
    context: str
    changes: tuple[PathChange, ...]
    steps: tuple[PlannedStep, ...]
    earliest: PlannedStep | None
    seconds: float | None
    action: Action
    reason: str
    warnings: tuple[Warned, ...] = ()
    config_changed: bool = False
    ignored: tuple[str, ...] = ()
    expensive: tuple[int, ...] = ()

    @property
    def countable(self) -> tuple[PlannedStep, ...]:
        """The steps that a build runs or finds in the cache; a FROM is none, they start from it."""
        return tuple(step for step in self.steps if step.instruction != "FROM")

    @property
    def runs(self) -> tuple[PlannedStep, ...]:
        """The steps that run again, or may."""
        return tuple(step for step in self.steps if step.status != "cached")


@dataclass(frozen=True, slots=True)
class SyncRule:
    """Sync what is at or below `path` (relative to the context) to `target` in the container.

    `restart` true or false decides; None looks at the command. `exec` is run in the container afterwards.
    `ignore` are patterns of what below `path` the rule does not speak of.
    """

    path: str
    target: str
    restart: bool | None = None
    exec: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NeverRule:
    """Never sync what is at or below `path`: a change there rebuilds the image."""

    path: str


@dataclass(frozen=True, slots=True)
class PriorRule:
    """What a RUN of this project's own costs until it was measured; it goes before the table of kinds.

    `run` spells a command as that table does: a program, the words behind it, `*` for anything. `kind` may be
    one of the table's, for its advice and its files. `expensive` decides about warnings where it is set, also
    against a measurement; what costs less than `warn_seconds` is never warned of.
    """

    run: str
    seconds: float
    kind: str = ""
    expensive: bool | None = None
    reason: str = ""
    manifests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.run.split():
            raise ValueError("run names no command")
        if not 0 <= self.seconds < float("inf"):
            raise ValueError("seconds is a number from 0")
