"""The session as a pure state machine: what becomes of a save in every state.

The rules of this file. A *version* is the fingerprint of everything that an image and its container are
made of. Four versions matter: what the tree wants now, what is being built, what the last good image is,
and what serves. The machine moves them towards each other and keeps these laws, which the tests check on
random sequences of messages:

1. No edit is lost: when nothing is in flight, either the wanted version serves, or it failed and was said
   to have failed, or the tree cannot be built as it stands, or the session is paused.
2. A stale image is never deployed: what a build made is deployed only while the tree still wants it.
3. One thing is in flight at a time, and a failure leaves what serves alone.
4. A version that failed is not tried again by itself; the next save tries again, changed or not.
5. While the session is paused nothing is started, except the restart that the user asks for; what is in
   flight comes to its end. Going on means to bring up the newest tree.

A sync that was proven goes before a build. Whether it is proven depends on what serves, so after anything
that changed what serves the tree is planned once more (`Replan`). What a sync brought is owed to the image:
when the tree is quiet it is built in the background, which nothing waits for.

A restart that the user asks for is a deploy of what serves: it may fail like one, and changes the same.

A build that became stale is canceled, unless a step runs whose result the new tree needs as well: then it
goes on until that step is through, because the cache keeps it, and is canceled after it.
"""

from dataclasses import dataclass, replace
from typing import Literal, assert_never

Phase = Literal["idle", "building", "syncing", "deploying", "stopping", "stopped"]


@dataclass(frozen=True, slots=True)
class Version:
    """What an image is made of, and what its container is run with."""

    image: str
    run: str


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where the session stands.

    `wanted` is None while the tree cannot be read as a project. `syncable` is the wanted version while it
    can be synced into what serves. `background` is an image that is built while nothing waits for it.
    """

    phase: Phase = "idle"
    wanted: Version | None = None
    building: str | None = None
    deploying: Version | None = None
    built: str | None = None
    serving: Version | None = None
    failed: Version | None = None
    canceling: bool = False
    syncable: Version | None = None
    syncing: Version | None = None
    background: str | None = None
    background_failed: str | None = None
    has_engine: bool = True
    runs_container: bool = True
    once: bool = False
    paused: bool = False


# Messages: what happened ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TreeRead:
    """The tree was read after a save.

    `is_needed` tells that a running step serves the new tree too, `can_sync` that the version can be synced
    into what serves, `is_save` that a user's save is behind it and not a second look.
    """

    version: Version
    is_needed: bool = False
    can_sync: bool = False
    is_save: bool = True


@dataclass(frozen=True, slots=True)
class TreeBroken:
    """The tree cannot be built as it stands: the Dockerfile or an ignore file has an error."""


@dataclass(frozen=True, slots=True)
class StepsMoved:
    """The running steps changed while the build is stale; `is_needed` as above."""

    is_needed: bool


@dataclass(frozen=True, slots=True)
class BuildEnded:
    """The builder is through with an image version."""

    status: Literal["ok", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class DeployEnded:
    """The container was replaced, or the attempt failed. `serving` is what serves now."""

    ok: bool
    serving: Version | None


@dataclass(frozen=True, slots=True)
class SyncEnded:
    """The files were synced and what had to restart did. `serving` is what serves now, None if unknown.

    `crashed` tells that the version itself is at fault, so that it is not tried again by itself.
    """

    ok: bool
    serving: Version | None
    crashed: bool = False


@dataclass(frozen=True, slots=True)
class TreeQuiet:
    """Nothing was saved for a while: a good time to build what was only synced."""


@dataclass(frozen=True, slots=True)
class BackgroundEnded:
    """The background build is through."""

    image: str
    ok: bool


@dataclass(frozen=True, slots=True)
class ContainerGone:
    """The container was removed or ended by somebody else."""


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """The engine went away, or came back."""

    has_engine: bool


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """The user wants a rebuild now, whatever is there; it ends a pause, and work in flight is its answer."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """The user wants what serves to start anew; where nothing serves, the wanted version is tried again."""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """The user wants nothing to be started for a while, or everything again."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class Quit:
    """The user ends the session."""


Message = (
    TreeRead
    | TreeBroken
    | SyncEnded
    | TreeQuiet
    | BackgroundEnded
    | StepsMoved
    | BuildEnded
    | DeployEnded
    | ContainerGone
    | EngineChanged
    | RetryAsked
    | RestartAsked
    | PauseAsked
    | Quit
)


# Effects: what is to be done --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartBuild:
    """Build the version that the tree wants."""

    version: Version


@dataclass(frozen=True, slots=True)
class CancelBuild:
    """Tell the builder to stop; BuildEnded follows."""


@dataclass(frozen=True, slots=True)
class StartDeploy:
    """Replace the container by one of this version; its image is there."""

    version: Version


@dataclass(frozen=True, slots=True)
class StartRestart:
    """Start the process of the version that serves anew; DeployEnded follows."""

    version: Version


@dataclass(frozen=True, slots=True)
class StartSync:
    """Bring the files of this version into the container, as was proven."""

    version: Version


@dataclass(frozen=True, slots=True)
class StartBackground:
    """Build this version while nothing waits for it."""

    version: Version


@dataclass(frozen=True, slots=True)
class CancelBackground:
    """Stop the background build: the tree has moved on. BackgroundEnded may follow and does no harm."""


@dataclass(frozen=True, slots=True)
class Hurry:
    """Wait no longer until what is being deployed or synced serves: the tree wants something else."""


@dataclass(frozen=True, slots=True)
class Replan:
    """Plan the tree once more: what serves has changed, and TreeRead (no save) is to follow."""


@dataclass(frozen=True, slots=True)
class ReportQueued:
    """Tell the user what becomes of a save during a build or a deploy."""

    decision: Literal["build-canceled", "build-continues", "waits"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Clean up and end; `ok` is whether the last wanted version serves, or was built where none runs."""

    ok: bool


Effect = (
    StartBuild
    | CancelBuild
    | StartDeploy
    | StartRestart
    | StartSync
    | StartBackground
    | CancelBackground
    | Hurry
    | Replan
    | ReportQueued
    | Stop
)
Step = tuple[LoopState, tuple[Effect, ...]]


def advance(state: LoopState, message: Message) -> Step:
    """Move the session by one message."""
    if state.phase == "stopped":
        return state, ()
    match message:
        case TreeRead():
            return _tree_read(state, message)
        case TreeBroken():
            return _tree_broken(state)
        case StepsMoved(is_needed=is_needed):
            if state.phase == "building" and _is_stale(state) and not is_needed:
                return _cancel(state)
            return state, ()
        case BuildEnded(status=status):
            return _build_ended(state, status)
        case DeployEnded():
            return _deploy_ended(state, message)
        case SyncEnded():
            return _sync_ended(state, message)
        case TreeQuiet():
            return _tree_quiet(state)
        case BackgroundEnded(image=image, ok=ok):
            return _background_ended(state, image, ok=ok)
        case ContainerGone():
            return replace(state, serving=None, syncable=None), ()
        case EngineChanged(has_engine=has_engine):
            return _settle(replace(state, has_engine=has_engine))
        case RetryAsked():
            return _retry(state)
        case RestartAsked():
            return _restart(state)
        case PauseAsked(is_paused=is_paused):
            return _settle(replace(state, paused=is_paused))
        case Quit():
            return _quit(state)
        case _:
            assert_never(message)


def _tree_read(state: LoopState, message: TreeRead) -> Step:
    # A save is a wish to try again, also when it changed nothing.
    wanted = replace(
        state,
        wanted=message.version,
        failed=None if message.is_save else state.failed,
        syncable=message.version if message.can_sync else None,
    )
    wanted, dropped = _without_background(wanted)
    after, effects = _follow(wanted, message)
    return after, (*dropped, *effects)


def _without_background(state: LoopState) -> Step:
    """Drop a background build that the tree does not want any more."""
    if state.background is None or (state.wanted is not None and state.wanted.image == state.background):
        return state, ()
    return replace(state, background=None), (CancelBackground(),)


def _follow(wanted: LoopState, message: TreeRead) -> Step:
    match wanted.phase:
        case "idle":
            return _settle(wanted)
        case "building":
            if not _is_stale(wanted):
                return wanted, ()
            if message.is_needed:
                return wanted, (ReportQueued("build-continues"),)
            after, effects = _cancel(wanted)
            return after, (*effects, ReportQueued("build-canceled")) if effects else ()
        case "deploying" | "syncing":
            if wanted.wanted in {wanted.deploying, wanted.syncing}:
                return wanted, ()
            return wanted, (Hurry(), ReportQueued("waits"))
        case "stopping" | "stopped":
            return wanted, ()
        case _:
            assert_never(wanted.phase)


def _tree_broken(state: LoopState) -> Step:
    broken, dropped = _without_background(replace(state, wanted=None, failed=None, syncable=None))
    if state.phase == "building":
        after, effects = _cancel(broken)
        return after, (*dropped, *effects)
    after, effects = _settle(broken)
    return after, (*dropped, *effects)


def _sync_ended(state: LoopState, message: SyncEnded) -> Step:
    was_stopping = state.phase == "stopping"
    attempted = state.syncing
    idle = replace(state, phase="idle", syncing=None, syncable=None, serving=message.serving)
    if was_stopping:
        return _stopped(idle)
    if message.crashed and idle.wanted == attempted:
        return _settle(replace(idle, failed=attempted))
    return _replanned(idle)


def _retry(state: LoopState) -> Step:
    if state.phase != "idle":
        return state, ()
    if state.wanted is None:
        return replace(state, paused=False), ()
    forgotten = replace(state, failed=None, serving=None, built=None, syncable=None, paused=False)
    return forgotten, (Replan(),)


def _restart(state: LoopState) -> Step:
    if state.phase != "idle" or not state.has_engine or not state.runs_container:
        return state, ()
    if state.serving is None:
        return _settle(replace(state, failed=None))
    return replace(state, phase="deploying", deploying=state.serving), (StartRestart(state.serving),)


def _replanned(state: LoopState) -> Step:
    """Look at the tree again where it wants something else than what serves now."""
    if state.wanted is None or state.wanted == state.serving or state.serving is None:
        return _settle(state)
    return state, (Replan(),)


def _tree_quiet(state: LoopState) -> Step:
    wanted = state.wanted
    is_owed = wanted is not None and wanted == state.serving and state.built != wanted.image
    if state.phase != "idle" or not is_owed or wanted is None or not state.has_engine:
        return state, ()
    if state.background is not None or state.paused:
        return state, ()
    return replace(state, background=wanted.image), (StartBackground(wanted),)


def _background_ended(state: LoopState, image: str, *, ok: bool) -> Step:
    if state.background != image:
        return state, ()
    after = replace(state, background=None)
    return replace(after, built=image) if ok else replace(after, background_failed=image), ()


def _is_stale(state: LoopState) -> bool:
    return state.wanted is None or state.wanted.image != state.building


def _cancel(state: LoopState) -> Step:
    if state.canceling:
        return state, ()
    return replace(state, canceling=True), (CancelBuild(),)


def _build_ended(state: LoopState, status: Literal["ok", "failed", "canceled"]) -> Step:
    was_stopping = state.phase == "stopping"
    was_wanted = not _is_stale(state)
    finished = state.building
    idle = replace(state, phase="idle", building=None, canceling=False)
    if status == "ok" and finished is not None:
        idle = replace(idle, built=finished)
    if was_stopping:
        return _stopped(idle)
    if status == "failed" and was_wanted:
        idle = replace(idle, failed=idle.wanted)
    return _settle(idle)


def _deploy_ended(state: LoopState, message: DeployEnded) -> Step:
    was_stopping = state.phase == "stopping"
    attempted = state.deploying
    idle = replace(state, phase="idle", deploying=None, serving=message.serving)
    if was_stopping:
        return _stopped(idle)
    idle = replace(idle, syncable=None)
    if not message.ok and idle.wanted == attempted:
        return _settle(replace(idle, failed=attempted))
    return _replanned(idle)


def _settle(state: LoopState) -> Step:
    """Start what moves the session towards the wanted version; nothing when it is there or has failed."""
    if state.phase != "idle" or not state.has_engine:
        return state, ()
    wanted = state.wanted
    if wanted is None or wanted == state.failed or _is_reached(state):
        return _stopped(state) if state.once else (state, ())
    if state.paused:
        return state, ()
    if state.runs_container and state.syncable == wanted and state.serving is not None:
        return replace(state, phase="syncing", syncing=wanted), (StartSync(wanted),)
    state, dropped = _dropped(state)
    if state.built != wanted.image:
        return replace(state, phase="building", building=wanted.image), (*dropped, StartBuild(wanted))
    return replace(state, phase="deploying", deploying=wanted), (*dropped, StartDeploy(wanted))


def _is_reached(state: LoopState) -> bool:
    if state.wanted is None:
        return False
    return state.serving == state.wanted if state.runs_container else state.built == state.wanted.image


def _dropped(state: LoopState) -> Step:
    """Stop a background build before another one starts: one builder works at a time."""
    if state.background is None:
        return state, ()
    return replace(state, background=None), (CancelBackground(),)


def _stopped(state: LoopState) -> Step:
    return replace(state, phase="stopped"), (Stop(_is_reached(state)),)


def _quit(state: LoopState) -> Step:
    match state.phase:
        case "building":
            after, effects = _cancel(state)
            return replace(after, phase="stopping"), effects
        case "deploying" | "syncing":
            return replace(state, phase="stopping"), ()
        case "stopping":
            return state, ()
        case "idle" | "stopped":
            after, dropped = _dropped(state)
            ended, effects = _stopped(after)
            return ended, (*dropped, *effects)
        case _:
            assert_never(state.phase)
