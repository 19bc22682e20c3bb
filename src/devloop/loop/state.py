"""The session as a pure state machine: what becomes of a save in every state.

The rules of this file. A *version* is the fingerprint of everything that an image and its container are
made of. Four versions matter: what the tree wants now, what is being built, what the last good image is,
and what serves. The machine moves them towards each other. The builder and the container are two lanes: a
build runs while files are synced, and each lane has one thing in flight at a time. docs/policy.md has the
table. These laws hold, which the tests check on random sequences of messages:

1. No edit is lost: when nothing is in flight, either the wanted version serves, or it failed and was said
   to have failed, or the tree cannot be built as it stands, or it waits for its time or a key, which was
   said, or the user skipped it, or the session is paused.
2. A stale image is never deployed: what a build made is deployed while the tree still wants it, or with
   those files on top that are proven to make it what the tree wants.
3. One build and one change of the container are in flight at a time; a container is replaced only while
   nothing is built. A failure leaves what serves alone.
4. A version that failed is not tried again by itself; the next save tries again, changed or not. So it is
   with an image that could not be built in the background.
5. While the session is paused nothing is started, except the restart that the user asks for; what is in
   flight comes to its end. Going on means to bring up the newest tree.
6. Expensive work is started when it is let go: by the clock, by a key, or because the user asked for the
   build. An edit that leaves the work as it is neither stops it nor makes it wait anew.

A sync that was proven goes before a build. Whether it is proven depends on what serves, so after anything
that changed what serves the tree is planned once more (`Replan`). What a sync brought is owed to the image:
when the tree is quiet it is built in the background, which nothing waits for.

While expensive work waits or runs, as much of the tree as can be proven is synced: the container then holds
a version of its own, that of the tree with the other paths as they were, and is behind by those paths.

A restart that the user asks for is a deploy of what serves: it may fail like one, and changes the same.

A build that became stale goes on where a proven sync leads from its image to the tree (`bridge`): the
image is deployed with those files on top. Else it goes on as long as a step runs, or an expensive one is
to come, whose result the new tree needs as well, because the cache keeps it, and is canceled after it. Else
it is canceled at once.
"""

from dataclasses import dataclass, replace
from typing import Literal, assert_never

Policy = Literal["build", "wait", "ask"]
Work = frozenset[str]
"""The expensive steps that an edit makes run, each by the digest of all that it is made from."""
NO_WORK: Work = frozenset()


@dataclass(frozen=True, slots=True)
class Version:
    """What an image is made of, and what its container is run with."""

    image: str
    run: str


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where the session stands.

    `wanted` is None while the tree cannot be read as a project, and `work` what of it is expensive to build.
    `syncable` is what a proven sync makes of what serves: the wanted version, or as much of it as can be
    proven. `bridge` is the image from which proven files lead to the wanted version. `background` is an image
    that is built while nothing waits for it, and `background_failed` one that could not be. `refused` is a
    synced version short of the wanted one that died.

    Of expensive work, `held` waits for the clock or a key, `released` may be built, `skipped` is left alone.
    `asked` tells that the user wants the next reading built whatever it costs: at the start, and by a key.
    """

    wanted: Version | None = None
    work: Work = NO_WORK
    syncable: Version | None = None
    # The builder
    building: str | None = None
    canceling: bool = False
    bridge: str | None = None
    built: str | None = None
    background: str | None = None
    background_failed: str | None = None
    # The container
    syncing: Version | None = None
    deploying: Version | None = None
    serving: Version | None = None
    failed: Version | None = None
    refused: Version | None = None
    # What expensive work may do
    policy: Policy = "build"
    asked: bool = True
    held: Work = NO_WORK
    released: Work = NO_WORK
    skipped: Work = NO_WORK
    # The session
    has_engine: bool = True
    runs_container: bool = True
    once: bool = False
    paused: bool = False
    end: Literal["", "stopping", "stopped"] = ""

    @property
    def is_changing(self) -> bool:
        """Whether the container is being synced, restarted or replaced."""
        return self.syncing is not None or self.deploying is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight, a background build apart."""
        return self.building is None and not self.is_changing


# Messages: what happened ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TreeRead:
    """The tree was read after a save.

    `sync` is what a proven sync makes of what serves, None where nothing is proven. `work` is what is
    expensive about building the version. Of the build in flight, or of its image that waits to be deployed,
    `is_bridged` tells that proven files lead from there to the version, and `is_needed` that a step runs, or
    an expensive one is to come, which the new tree needs as well. `is_save` tells that a user's save is
    behind it and not a second look.
    """

    version: Version
    sync: Version | None = None
    work: Work = NO_WORK
    is_bridged: bool = False
    is_needed: bool = False
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
    """The builder is through with an image version.

    "doubtful": a file changed while the builder read it and changed back, so that nobody knows what the
    image holds. It counts for nothing.
    """

    status: Literal["ok", "failed", "canceled", "doubtful"]


@dataclass(frozen=True, slots=True)
class DeployEnded:
    """The container was replaced, or the attempt failed. `serving` is what serves now.

    `is_unbridged` tells that the files could not be put on the image, so that nothing was replaced.
    """

    ok: bool
    serving: Version | None
    is_unbridged: bool = False


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
    """The background build is through.

    `is_doubtful` tells that a file changed while the builder read it: that is no failure, and is tried again.
    """

    image: str
    ok: bool
    is_doubtful: bool = False


@dataclass(frozen=True, slots=True)
class ContainerGone:
    """The container was removed or ended by somebody else."""


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """The engine went away, or came back."""

    has_engine: bool


@dataclass(frozen=True, slots=True)
class HoldOver:
    """What the expensive work reads has been quiet for long enough."""


@dataclass(frozen=True, slots=True)
class BuildAsked:
    """The user wants the work that waits, or was skipped, to be done now."""


@dataclass(frozen=True, slots=True)
class SkipAsked:
    """The user wants the work that waits left alone until what it reads is edited again."""


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
    | HoldOver
    | BuildAsked
    | SkipAsked
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
    """Replace the container by one of this version, made from this image, which is there.

    Where the image is another one than the version's, the proven files are put on it before it starts.
    """

    version: Version
    image: str


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
class Hold:
    """Say that this work waits, and from now on send HoldOver when its time has come; it replaces another."""

    work: Work


@dataclass(frozen=True, slots=True)
class EndHold:
    """Forget the time of the work that waited: it starts, it is skipped, or nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class ReportQueued:
    """Tell the user what becomes of a save during a build or a deploy."""

    decision: Literal["build-canceled", "build-continues", "build-serves", "waits"]


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
    | Hold
    | EndHold
    | ReportQueued
    | Stop
)
Step = tuple[LoopState, tuple[Effect, ...]]


def advance(state: LoopState, message: Message) -> Step:
    """Move the session by one message."""
    if state.end == "stopped":
        return state, ()
    match message:
        case TreeRead():
            return _tree_read(state, message)
        case TreeBroken():
            return _tree_broken(state)
        case StepsMoved(is_needed=is_needed):
            is_waste = state.building is not None and _is_stale(state) and not _is_bridged(state)
            return _cancel(state) if is_waste and not is_needed and not state.end else (state, ())
        case BuildEnded(status=status):
            return _build_ended(state, status)
        case DeployEnded():
            return _deploy_ended(state, message)
        case SyncEnded():
            return _sync_ended(state, message)
        case TreeQuiet():
            return _tree_quiet(state)
        case BackgroundEnded():
            return _background_ended(state, message)
        case ContainerGone():
            return replace(state, serving=None, syncable=None), ()
        case EngineChanged(has_engine=has_engine):
            return _settle(replace(state, has_engine=has_engine))
        case HoldOver():
            return _settle(replace(state, released=state.held)) if state.held else (state, ())
        case BuildAsked():
            asked = state.held or (state.work if state.work <= state.skipped else NO_WORK)
            return _settle(replace(state, released=asked, skipped=NO_WORK)) if asked else (state, ())
        case SkipAsked():
            return _settle(replace(state, skipped=state.held)) if state.held else (state, ())
        case RetryAsked():
            return _retry(state)
        case RestartAsked():
            return _restart(state)
        case PauseAsked(is_paused=is_paused):
            # Who goes on wants the newest tree, and has waited already.
            released = state.released if is_paused else state.work
            return _settle(replace(state, paused=is_paused, released=released))
        case Quit():
            return _quit(state)
        case _:
            assert_never(message)


# The tree ---------------------------------------------------------------------------------------------------


def _tree_read(state: LoopState, message: TreeRead) -> Step:
    base = state.building or state.built
    read = replace(
        state,
        wanted=message.version,
        work=message.work,
        syncable=message.sync,
        bridge=base if message.is_bridged else None,
        # A save is a wish to try again, also when it changed nothing.
        failed=None if message.is_save else state.failed,
        background_failed=None if message.is_save else state.background_failed,
        refused=None if message.is_save else state.refused,
    )
    wanted, dropped = _without_background(_with_leave(read))
    followed, told = _follow(wanted, message)
    after, effects = _settle(followed)
    return after, (*dropped, *told, *effects)


def _with_leave(state: LoopState) -> LoopState:
    """Keep what was decided about expensive work for as long as it is the same, or less is left of it."""
    released = state.work if state.asked else state.released
    return replace(
        state,
        asked=False,
        released=released if state.work and state.work <= released else NO_WORK,
        skipped=state.skipped if state.work and state.work <= state.skipped else NO_WORK,
    )


def _without_background(state: LoopState) -> Step:
    """Drop a background build that the tree does not want any more."""
    if state.background is None or (state.wanted is not None and state.wanted.image == state.background):
        return state, ()
    return replace(state, background=None), (CancelBackground(),)


def _follow(state: LoopState, message: TreeRead) -> Step:
    """Decide about what is in flight, now that the tree wants this, and say it of a save."""
    if state.end:
        return state, ()
    told: list[Effect] = []
    if state.building is not None and _is_stale(state):
        if _is_bridged(state):
            told.append(ReportQueued("build-serves"))
        elif message.is_needed:
            told.append(ReportQueued("build-continues"))
        else:
            state, effects = _cancel(state)
            told += [*effects, *([ReportQueued("build-canceled")] if effects else [])]
    if state.is_changing and _wants_next(state):
        told = [*told, Hurry(), *([] if state.building is not None else [ReportQueued("waits")])]
    if message.is_save:
        return state, tuple(told)
    return state, tuple(one for one in told if not isinstance(one, ReportQueued))


def _wants_next(state: LoopState) -> bool:
    """Tell whether something is to follow at once on what the container is being brought to."""
    in_flight = {state.deploying, state.syncing}
    if state.work and state.wanted not in in_flight:
        return state.syncable is not None and state.syncable not in in_flight
    return state.wanted not in in_flight


def _tree_broken(state: LoopState) -> Step:
    broken, dropped = _without_background(
        replace(state, wanted=None, work=NO_WORK, failed=None, refused=None, syncable=None, bridge=None)
    )
    canceled, effects = _cancel(broken) if state.building is not None and not state.end else (broken, ())
    after, more = _settle(canceled)
    return after, (*dropped, *effects, *more)


# The builder ------------------------------------------------------------------------------------------------


def _is_stale(state: LoopState) -> bool:
    return state.wanted is None or state.wanted.image != state.building


def _is_bridged(state: LoopState) -> bool:
    """Tell whether proven files lead from the image that is being built to the wanted version."""
    return state.runs_container and state.bridge is not None and state.bridge == state.building


def _cancel(state: LoopState) -> Step:
    if state.canceling:
        return state, ()
    return replace(state, canceling=True), (CancelBuild(),)


def _build_ended(state: LoopState, status: Literal["ok", "failed", "canceled", "doubtful"]) -> Step:
    finished = state.building
    serves_tree = not _is_stale(state) or _is_bridged(state)
    idle = replace(state, building=None, canceling=False)
    if status == "ok":
        idle = replace(idle, built=finished)
    if status in {"canceled", "doubtful"}:
        idle = replace(idle, bridge=None)
    if status == "failed" and serves_tree:
        # The next save tries again, and as a save of what is expensive it waits its time.
        idle = replace(idle, failed=idle.wanted, released=NO_WORK)
    if status == "ok" and not serves_tree and idle.wanted is not None and not idle.end:
        # What the tree wants costs less by what this build has left in the cache.
        return idle, (Replan(),)
    return _settle(idle)


def _tree_quiet(state: LoopState) -> Step:
    wanted = state.wanted
    is_owed = wanted is not None and wanted == state.serving and state.built != wanted.image
    if not state.is_idle or state.end or not is_owed or wanted is None or not state.has_engine:
        return state, ()
    if state.background is not None or state.paused or state.background_failed == wanted.image:
        return state, ()
    return replace(state, background=wanted.image), (StartBackground(wanted),)


def _background_ended(state: LoopState, message: BackgroundEnded) -> Step:
    if state.background != message.image:
        return state, ()
    after = replace(state, background=None)
    if message.ok:
        return replace(after, built=message.image), ()
    return (after if message.is_doubtful else replace(after, background_failed=message.image)), ()


# The container ----------------------------------------------------------------------------------------------


def _sync_ended(state: LoopState, message: SyncEnded) -> Step:
    attempted = state.syncing
    idle = replace(state, syncing=None, syncable=None, serving=message.serving)
    if message.crashed and idle.wanted == attempted:
        return _settle(replace(idle, failed=attempted))
    if message.crashed:
        idle = replace(idle, refused=attempted)
    return _replanned(idle)


def _deploy_ended(state: LoopState, message: DeployEnded) -> Step:
    attempted = state.deploying
    idle = replace(state, deploying=None, serving=message.serving, syncable=None)
    if message.ok:
        # What serves was made of this image: a sync into it is cheaper than another container.
        idle = replace(idle, bridge=None)
    if message.is_unbridged:
        return _settle(replace(idle, bridge=None))
    if not message.ok and idle.wanted == attempted:
        return _settle(replace(idle, failed=attempted))
    return _replanned(idle)


def _replanned(state: LoopState) -> Step:
    """Look at the tree again where it wants something else than what serves now."""
    if state.end or state.wanted is None or state.wanted == state.serving or state.serving is None:
        return _settle(state)
    if state.building is None and _deployable(state) is not None:
        return _settle(state)
    return state, (Replan(),)


# What the user asks for -------------------------------------------------------------------------------------


def _retry(state: LoopState) -> Step:
    if not state.is_idle or state.end:
        return state, ()
    if state.wanted is None:
        return replace(state, paused=False), ()
    forgotten = replace(
        state,
        failed=None,
        refused=None,
        serving=None,
        built=None,
        bridge=None,
        syncable=None,
        skipped=NO_WORK,
        asked=True,
        paused=False,
    )
    return forgotten, (Replan(),)


def _restart(state: LoopState) -> Step:
    if state.is_changing or state.end or not state.has_engine or not state.runs_container:
        return state, ()
    if state.serving is not None:
        return replace(state, deploying=state.serving), (StartRestart(state.serving),)
    return _settle(replace(state, failed=None)) if state.building is None else (state, ())


def _quit(state: LoopState) -> Step:
    if state.end:
        return state, ()
    leaving, dropped = _dropped(replace(state, end="stopping", held=NO_WORK))
    canceled, effects = _cancel(leaving) if leaving.building is not None else (leaving, ())
    if state.held:
        effects = (EndHold(), *effects)
    after, more = _settle(canceled)
    return after, (*dropped, *effects, *more)


# What comes next --------------------------------------------------------------------------------------------


def _settle(state: LoopState) -> Step:
    """Start what moves the session towards the wanted version; nothing when it is there or has failed."""
    if state.end == "stopping":
        return _stopped(state) if state.is_idle else (state, ())
    if state.once and state.is_idle and state.has_engine and _is_through(state):
        return _stopped(state)
    # What the container holds is not known while it changes, and so not what is to be built for it.
    was_changing = state.is_changing
    state, changes = _change_container(state)
    state, holds = _hold(state)
    if was_changing:
        return state, (*changes, *holds)
    state, builds = _build(state)
    return state, (*changes, *holds, *builds)


def _change_container(state: LoopState) -> Step:
    wanted, serving = state.wanted, state.serving
    if state.is_changing or not state.runs_container or not _may_start(state) or wanted is None:
        return state, ()
    if serving is not None and state.syncable == wanted:
        return replace(state, syncing=wanted), (StartSync(wanted),)
    image = _deployable(state)
    if image is not None and state.building is None:
        state, dropped = _dropped(state)
        return replace(state, deploying=wanted), (*dropped, StartDeploy(wanted, image))
    part = state.syncable
    if serving is not None and state.work and part is not None and part not in {serving, state.refused}:
        return replace(state, syncing=part), (StartSync(part),)
    return state, ()


def _build(state: LoopState) -> Step:
    wanted = state.wanted
    if state.building is not None or state.held or not _must_build(state) or wanted is None:
        return state, ()
    if state.work and state.work <= state.skipped:
        return state, ()
    state, dropped = _dropped(state)
    return replace(state, building=wanted.image, bridge=None), (*dropped, StartBuild(wanted))


def _hold(state: LoopState) -> Step:
    """Make expensive work wait until it is let go; what waited and need not any more is forgotten."""
    is_let_go = state.policy == "build" or state.once or state.work <= state.released
    waits = _must_build(state) and not is_let_go and not state.work <= state.skipped
    work = state.work if waits else NO_WORK
    if work == state.held:
        return state, ()
    return replace(state, held=work), (Hold(work) if work else EndHold(),)


def _must_build(state: LoopState) -> bool:
    """Tell whether the wanted version needs a build that is not in flight already."""
    wanted = state.wanted
    if not _may_start(state) or wanted is None or _deployable(state) is not None:
        return False
    if state.building is not None and not state.canceling and (not _is_stale(state) or _is_bridged(state)):
        return False
    if not state.runs_container:
        return True
    return wanted not in {state.syncing, state.deploying} and (
        state.serving is None or state.syncable != wanted
    )


def _may_start(state: LoopState) -> bool:
    return state.has_engine and not state.paused and not _is_through(state)


def _is_through(state: LoopState) -> bool:
    return state.wanted is None or state.wanted == state.failed or _is_reached(state)


def _is_reached(state: LoopState) -> bool:
    if state.wanted is None:
        return False
    return state.serving == state.wanted if state.runs_container else state.built == state.wanted.image


def _deployable(state: LoopState) -> str | None:
    """Return the image that is there and gives the wanted version, by itself or with proven files on top."""
    if state.built is None or state.wanted is None or not state.runs_container:
        return None
    return state.built if state.built in {state.wanted.image, state.bridge} else None


def _dropped(state: LoopState) -> Step:
    """Stop a background build before another one starts: one builder works at a time."""
    if state.background is None:
        return state, ()
    return replace(state, background=None), (CancelBackground(),)


def _stopped(state: LoopState) -> Step:
    after, dropped = _dropped(state)
    ended, effects = replace(after, end="stopped"), (Stop(_is_reached(after)),)
    return ended, (*dropped, *effects)
