"""What the threads of a session tell its main thread, and the parts that it is put together from."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from devloop.engine import base as engine_events
from devloop.engine.base import BuildOutcome
from devloop.engine.buildx import Buildx
from devloop.engine.compose import ComposeRules
from devloop.engine.containers import Containers, Replacement
from devloop.engine.runspec import RunSpec
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.flight import Flight
from devloop.loop.keeper import Synced
from devloop.plan.sync import Blocked, SyncPlan
from devloop.project.planner import Answered
from devloop.project.reading import Model, Tree
from devloop.watch.debounce import Batch
from devloop.watch.feed import BatchFeed


class Display(Protocol):
    """Shows events; any thread may call it."""

    def show(self, event: events.Event) -> None: ...


@dataclass(frozen=True, slots=True)
class BatchCame:
    """Files were saved in one context."""

    context: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class BuildMoved:
    """Something that the builder reports while it runs."""

    flight: Flight
    event: engine_events.BuildEvent


@dataclass(frozen=True, slots=True)
class BuildDone:
    """The builder is through."""

    flight: Flight
    outcome: BuildOutcome


@dataclass(frozen=True, slots=True)
class DeployDone:
    """A container was put in the place of another, or could not be."""

    version: machine.Version
    replacement: Replacement | None
    error: DevloopError | None
    is_unbridged: bool = False


@dataclass(frozen=True, slots=True)
class SyncDone:
    """Files were brought into the container, or could not be."""

    version: machine.Version
    synced: Synced
    error: DevloopError | None = None


@dataclass(frozen=True, slots=True)
class RestartDone:
    version: machine.Version
    done: Synced
    error: DevloopError | None = None


@dataclass(frozen=True, slots=True)
class KeyPressed:
    key: str


@dataclass(frozen=True, slots=True)
class QuitAsked:
    """The user ends the session."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something about the watching, or a command, is worth saying."""

    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class ThreadCrashed:
    """A thread ended with an error that nobody expected."""

    error: Exception


Message = (
    BatchCame
    | BuildMoved
    | BuildDone
    | DeployDone
    | SyncDone
    | RestartDone
    | KeyPressed
    | QuitAsked
    | Noticed
    | ComposeRules
    | ThreadCrashed
)


def in_a_thread(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session works with: builder, containers and watcher, and how slow work is sent away."""

    builder: Callable[[Mapping[str, str]], Buildx] = Buildx
    containers: Callable[[Mapping[str, str]], Containers] = Containers.connect
    feed: Callable[..., BatchFeed] = BatchFeed
    spawn: Callable[[str, Callable[[], None]], None] = in_a_thread


class Haste:
    """A wait that ends with the session, or when the tree wants something else than what is waited for."""

    def __init__(self, leaving: threading.Event) -> None:
        self._leaving = leaving
        self._own = threading.Event()

    def set(self) -> None:
        """End this wait."""
        self._own.set()

    def is_set(self) -> bool:
        """Tell whether to wait no longer."""
        return self._own.is_set() or self._leaving.is_set()


@dataclass(frozen=True, slots=True)
class Reached:
    """A reading of the tree that can be built, with how to run its image."""

    model: Model
    tree: Tree
    answered: Answered
    version: machine.Version
    spec: RunSpec
    sync: SyncPlan | Blocked | None
    reloader: str | None
    behind: tuple[str, ...] = ()
    """The changed paths that this reading leaves as they were, because they cannot be synced."""
