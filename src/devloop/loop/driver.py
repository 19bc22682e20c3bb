"""The running session: one queue of messages, a state machine that decides, and threads that obey.

The main thread reads the tree, plans and decides. A build, a deploy and a sync each run in a thread of their
own and answer with a message, so that a save is noticed, compared and explained while they last. What is to
be done is never decided here: `state.advance` says it.
"""

import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Literal, assert_never

from devloop import __version__
from devloop.cache.baseline import Baseline, base_images, vertex_digests
from devloop.cost.history import BuildRecord, SyncRecord
from devloop.cost.report import WITHDRAWN
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.engine.base import BuilderFacts, BuildOutcome, EngineUnavailable
from devloop.engine.images import image_config, image_facts
from devloop.engine.runspec import RunSpec
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.assumption import Assumption
from devloop.loop.builds import build_request, match_outcome
from devloop.loop.flight import Flight
from devloop.loop.holding import Holding
from devloop.loop.keeper import (
    Keeper,
    NotPatchedError,
    Patch,
    Synced,
    container_urls,
    crash_words,
    run_version,
)
from devloop.loop.lessons import Teacher
from devloop.loop.lock import SessionLock
from devloop.loop.messages import (
    BatchCame,
    BuildDone,
    BuildMoved,
    ComposeRules,
    DeployDone,
    Display,
    Haste,
    KeyPressed,
    Message,
    Noticed,
    Parts,
    QuitAsked,
    Reached,
    RestartDone,
    SyncDone,
    ThreadCrashed,
)
from devloop.loop.proving import Prover
from devloop.loop.tellings import Tellings
from devloop.loop.watching import Watching, config_files
from devloop.plan.decide import quiet_seconds
from devloop.plan.model import Action, PathChange
from devloop.plan.sync import Surroundings, SyncPlan
from devloop.project.discover import Location, shown
from devloop.project.memory import Memory
from devloop.project.reading import Model, ReadingProblem, Tree, changes_between
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Reload, Switches, Workspace
from devloop.watch.debounce import WatchSettings

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ENGINE_RETRY_SECONDS = 2.0
_CONTAINER_CHECK_SECONDS = 0.5
_IDLE_SECONDS = 0.25
"""How long the session sleeps at most before it looks around."""
_MOST_DOUBTS = 2
"""So many times in a row an image is built again because files were written while the builder read them."""


class Session:
    """Watches one project and keeps its container at the newest version; `run` lasts until the end."""

    def __init__(
        self,
        workspace: Workspace,
        display: Display,
        *,
        reload: Reload,
        config: Path | None,
        once: bool,
        started: float,
        watch: WatchSettings | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.workspace = workspace
        self.display = display
        self._explained: events.Explained | None = None
        self._reload = reload
        self._config = config
        self._once = once
        self._started = started
        numbers = watch or watch_settings(workspace.settings)
        self._parts = parts or Parts()
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._watching = Watching(self._parts.feed, numbers, self._queue.put)
        self._state = machine.LoopState(
            runs_container=workspace.settings.run, once=once, policy=workspace.settings.on_expensive
        )
        self._buildx = self._parts.builder(workspace.environ)
        self._teacher = Teacher(workspace)
        self._tellings = Tellings()
        self._prover = Prover(workspace, lambda text, hint: self._note(text, hint, kind="config"))
        self._facts: BuilderFacts | None = None
        self._keeper: Keeper | None = None
        self._model: Model | None = None
        self._tree: Tree | None = None
        self._reached: Reached | None = None
        self._serving: Reached | None = None
        self._syncing: Reached | None = None
        self._built: dict[str, Reached] = {}
        self._images: dict[str, str] = {}
        self._deployed_image: str | None = None
        self._good_image: str | None = None
        self._built_tree: Tree | None = None
        self._baseline: Baseline | None = None
        self._assumed: Assumption | None = None
        self._part: Reached | None = None
        self._flight: Flight | None = None
        self._fresh: Flight | None = None
        self._doubts = 0
        self._holding = Holding()
        self._hold_paths: tuple[str, ...] = ()
        self._hold_price: float | None = None
        self._hold_ends: Literal["over", "asked", "skipped", "gone"] = "gone"
        self._edited_at = started
        self._work: machine.Work = machine.NO_WORK
        self._work_at: float | None = None
        self.has_keys = False
        self._background: Flight | None = None
        self._saved_at: float | None = None
        self._counted_from: float | None = None
        self._batch_at: float | None = None
        self._has_read = False
        self._quiet_since = time.monotonic()
        self._must_reread = False
        self._is_quitting = False
        self._is_left = False
        self._must_read_all = False
        self._leaving = threading.Event()
        self._hurry = Haste(self._leaving)
        self._finished: machine.Stop | None = None
        self._said_memory = False
        self._said_no_keys = False
        self._next_engine_look = 0.0
        self._next_container_look = 0.0

    # The whole session

    @property
    def record(self) -> BuildRecord | None:
        """The last build of this session as it was recorded, with its account."""
        return self._teacher.record

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.workspace.settings

    @property
    def location(self) -> Location:
        """Where the project's files are."""
        return self.workspace.location

    @property
    def memory(self) -> Memory:
        """What is remembered of the project."""
        return self.workspace.memory

    def run(self) -> int:
        """Run until the user ends it, or with `once` until one version is there; return the exit code."""
        folder = self.memory.folder
        lock = SessionLock(folder, self.location.identity, self.location.shown_dockerfile)
        previous = {number: signal.getsignal(number) for number in _ENDING}
        try:
            for number in previous:
                signal.signal(number, self._on_signal)
            self._open()
            while self._finished is None:
                self._turn()
            return self._close(self._finished)
        except Exception:
            # The terminal went away, or worse: what this session has started is not left behind.
            self._leave()
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._stop_threads()
            lock.close()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_quitting:
            raise KeyboardInterrupt
        self._is_quitting = True
        self._queue.put(QuitAsked())

    def press(self, key: str) -> None:
        """Take a key of the terminal; any thread may call it, and a key without a meaning does nothing."""
        self._queue.put(KeyPressed(key))

    def _open(self) -> None:
        self._connect()
        self._show(
            events.SessionStarted(
                version=__version__,
                project=self.location.name,
                dockerfile=self.location.shown_dockerfile,
                context=str(self.location.context),
                target=self.settings.target,
                engine=engine_words(self._facts),
                config=shown(self._config, self.location.folder) if self._config else None,
                runs_container=self.settings.run,
            )
        )
        if self._keeper is None:
            self._engine_missing()
        self._baseline = self.memory.baseline()
        model = self.workspace.read()
        self._watch_files(None if isinstance(model, ReadingProblem) else model)
        # Also where nothing can be built: what an earlier session left would stand in the way later.
        self._recover()
        self._ask_compose()
        if isinstance(model, ReadingProblem):
            self._broken(model)
        else:
            self._read_everything(model, saved=())
        self._show_memory_problem()

    def _turn(self) -> None:
        now = time.monotonic()
        if self._holding.is_over(now):
            self._end_hold("over", machine.HoldOver())
            return
        try:
            message = self._queue.get(timeout=self._holding.left(now, _IDLE_SECONDS))
        except queue.Empty:
            self._look_around()
            return
        match message:
            case BatchCame():
                self._on_batch(message)
            case BuildMoved():
                self._on_progress(message)
            case BuildDone():
                self._on_built(message)
            case DeployDone():
                self._on_replaced(message)
            case SyncDone():
                self._on_synced(message)
            case RestartDone():
                self._on_restarted(message)
            case KeyPressed(key=key):
                self._on_key(key)
            case QuitAsked():
                # A container that is waited for until it serves must not hold up the end.
                self._leaving.set()
                self._advance(machine.Quit())
            case Noticed(text=text, is_error=is_error):
                self._show(events.Problem("watch", text, severity="error" if is_error else "note"))
            case ComposeRules():
                self._prover.follow_compose(message)
            case ThreadCrashed(error=error):
                raise error
            case _:
                assert_never(message)

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - it is raised again in the main thread
                self._queue.put(ThreadCrashed(error))

        self._parts.spawn(name, guarded)

    def _show(self, event: events.Event) -> None:
        self.display.show(event)

    def _note(self, message: str, hint: str = "", *, kind: events.ProblemKind = "engine") -> None:
        self._show(events.Problem(kind, message, hint=hint, severity="note"))

    # The engine

    def _connect(self) -> None:
        """Find out who builds; without an engine everything but the prediction waits."""
        facts = self._facts = self._buildx.facts(refresh=True)
        containers = None
        if facts.reachable:
            try:
                containers = self._parts.containers(self.workspace.environ)
            except DevloopError as error:
                # An engine that is just starting answers some requests and refuses others.
                facts = self._facts = replace(facts, reachable=False, error=error.message, hint=error.hint)
        self._state = replace(self._state, has_engine=containers is not None)
        if containers is None:
            self._keeper = None
            return
        self._keeper = Keeper(containers, self.workspace, self._show)
        self.workspace.builder = f"{facts.endpoint} {facts.name} {facts.image_store or ''}"
        self.workspace.switches = Switches(facts.supports_merge, facts.listing, facts.platform)
        self.workspace.inspect = self._inspect_image
        self._teacher.engine_words = engine_words(facts) or ""
        if facts.legacy_environment:
            self._note(
                "DOCKER_BUILDKIT=0 is set: your own docker build uses the legacy builder, with another cache",
                "unset DOCKER_BUILDKIT to share the cache with devloop",
            )

    def _inspect_image(self, reference: str, platform: Platform) -> ImageConfig | None:
        # A driver with a BuildKit of its own never sees the engine's images.
        if self._keeper is None or self._facts is None or self._facts.driver != "docker":
            return None
        try:
            found = image_facts(self._keeper.containers.engine, reference, str(platform))
        except DevloopError:
            return None
        return image_config(found) if found is not None else None

    def _engine_missing(self) -> None:
        facts = self._facts
        message = (facts.error if facts is not None else None) or "no Docker Engine answers"
        hint = (facts.hint if facts is not None else None) or (
            "start Docker, or set DOCKER_HOST; devloop goes on by itself when it answers"
        )
        self._show(events.EngineMissing(message, hint))

    def _look_around(self) -> None:
        """Do between messages what nobody tells: look for the engine, after the container, at the clock."""
        now = time.monotonic()
        if not self._state.has_engine:
            if self._once:
                self._advance(machine.Quit())
            elif now >= self._next_engine_look and not self._state.is_changing:
                # Who took over a container that another thread still replaces would lose the new one.
                self._next_engine_look = now + _ENGINE_RETRY_SECONDS
                self._reconnect()
            return
        if self._state.is_changing:
            return
        if now >= self._next_container_look:
            self._next_container_look = now + _CONTAINER_CHECK_SECONDS
            self._look_after_container()
        if self.settings.background_build and now >= self._quiet_since + self.settings.background_seconds:
            self._advance(machine.TreeQuiet())

    def _reconnect(self) -> None:
        self._connect()
        if self._keeper is None:
            return
        self._note(f"the engine answers again: {engine_words(self._facts)}")
        self._recover()
        model = self.workspace.read()
        if isinstance(model, ReadingProblem):
            self._broken(model)
            return
        self._read_everything(model, saved=())

    def _lost_engine(self, error: DevloopError) -> None:
        self._show(events.EngineMissing(error.message, error.hint or "devloop goes on when it answers again"))
        if self._keeper is not None:
            self._keeper.close()
        self._keeper = None
        self._next_engine_look = time.monotonic() + _ENGINE_RETRY_SECONDS
        self._advance(machine.EngineChanged(has_engine=False))

    def _look_after_container(self) -> None:
        if self._keeper is None:
            return
        try:
            exited = self._keeper.check()
        except DevloopError as error:
            self._lost_engine(error)
            return
        if exited is not None:
            self._serving = None
            self._show(exited)
            self._advance(machine.ContainerGone())

    def _recover(self) -> None:
        """Take over what an earlier session of this project left, and remove its leftovers."""
        if self._keeper is None or not self.settings.run:
            return
        self._serving = None
        try:
            version = self._keeper.recover()
        except DevloopError as error:
            self._lost_engine(error)
            return
        self._state = replace(self._state, serving=version, built=None)
        self._good_image = None
        if version is not None:
            urls = container_urls(self._keeper.container)
            self._show(events.TakenOver(self._keeper.name, urls))

    # Watching and reading

    def _watch_files(self, model: Model | None) -> None:
        """Watch every context of the model, and the files beside it that decide what is built."""
        self._watching.follow(self.location, self.settings, model)

    def _ask_compose(self) -> None:
        read = self._prover.compose_reader()
        if read is None:
            return

        def work() -> None:
            found = read()
            if found is not None:
                self._queue.put(found)

        self._spawn("devloop-compose", work)

    def _on_batch(self, message: BatchCame) -> None:
        batch = message.batch
        if message.context not in self._watching.feeds:
            # It was reported before a change of the Dockerfile or the settings made its context needless.
            return
        self._batch_at, self._edited_at = batch.first_event, batch.last_event
        for flight in (self._flight, self._background):
            if flight is not None:
                flight.doubt(message.context, batch)
        self._quiet_since = time.monotonic()
        saved = tuple(
            sorted(self._watching.shown(message.context, path, self.location.folder) for path in batch.paths)
        )
        absolute = {self._watching.absolute(message.context, path) for path in batch.paths}
        config = absolute & config_files(self.location)
        if config and self._load_settings():
            self._read_project(saved)
            return
        if config and not batch.rescan and not self._watching.holds_more_than(config, message):
            return
        special = {self.location.dockerfile, *self.location.ignore_candidates()}
        special |= {self.location.folder / one for one in self.settings.env_file}
        special |= {
            context.root / ".dockerignore"
            for context in (self._model.contexts.values() if self._model is not None else ())
        }
        model, tree = self._model, self._tree
        if batch.rescan or model is None or tree is None or absolute & special or self._bases_moved(model):
            self._read_project(saved)
            return
        dirty = [path for path in (*batch.paths, *batch.temporary) if not path.startswith("/")]
        self._reach(model, self.workspace.tree_again(model, tree, {message.context: dirty}), saved)

    def _load_settings(self) -> bool:
        """Read the configuration again; False where it did not change or cannot be used."""
        try:
            location, settings = self._reload()
        except DevloopError as error:
            self._show(events.Problem("config", error.message, hint=error.hint or ""))
            return False
        if settings == self.settings and location == self.location:
            return False
        if location.identity != self.location.identity:
            self._show(
                events.Problem(
                    "config",
                    "Dockerfile, context or target changed: that is another project to devloop",
                    hint="end this session and start it again",
                )
            )
            return False
        self.workspace.settings = settings
        self.workspace.location = location
        self._state = replace(self._state, runs_container=settings.run, policy=settings.on_expensive)
        return True

    def _read_project(self, saved: tuple[str, ...]) -> None:
        model = self.workspace.read()
        if isinstance(model, ReadingProblem):
            self._broken(model)
            return
        self._watch_files(model)
        self._read_everything(model, saved)

    def _read_everything(self, model: Model, saved: tuple[str, ...]) -> None:
        tree = self.workspace.tree(model)
        for problem in self._tellings.unknown_codes(model.dockerfile, self.settings.silence):
            self._show(problem)
        if self._tellings.wants_weight:
            self._tellings.heavy = self.workspace.context_warning(model, tree)
        first, self._has_read = not self._has_read, True
        if first:
            files = sum(len(snapshot) for snapshot in tree.snapshots.values())
            directories, is_polling = self._watching.counts()
            self._show(events.Watching(files, directories, is_polling, time.monotonic() - self._started))
        self._reach(model, tree, saved, first=first)

    def _bases_moved(self, model: Model) -> bool:
        """Tell whether a base image is another one than when the Dockerfile was read."""
        if self._keeper is None:
            return False
        known = dict(base_images(model.graph))
        return any(
            (found := self._inspect_image(reference, platform)) is not None
            and found.key != known.get(reference)
            for reference, platform in model.graph.images
        )

    def _broken(self, problem: ReadingProblem) -> None:
        self._model = None
        self._reached = self._part = None
        self._show(events.Problem(problem.kind, problem.message, problem.rendered, problem.hint))
        self._advance(machine.TreeBroken())

    def _reach(
        self,
        model: Model,
        tree: Tree,
        saved: tuple[str, ...],
        *,
        first: bool = False,
        is_save: bool = True,
    ) -> None:
        """Plan what the tree wants now, say it, and let the state machine decide."""
        before = self._tree
        graph_changed = self._model is None or self._model.graph != model.graph
        self._model, self._tree = model, tree
        keeper = self._keeper
        try:
            spec = keeper.spec() if keeper is not None else RunSpec(image="", name="")
            sync, reloader = self._prover.prove(self._serving, self._keeper, model, tree)
        except EngineUnavailable as error:
            self._lost_engine(error)
            return
        except DevloopError as error:
            self._show(events.Problem("file", error.message, hint=error.hint or ""))
            self._advance(machine.TreeBroken())
            return
        run = run_version(spec, self.workspace.environ)
        serving = self._state.serving if self.settings.run else None
        deployed = serving.image if serving is not None else None
        if not self.settings.run or serving is None:
            deployed = self._state.built
        gone = ("the container does not run",) if self._state.built is not None and serving is None else ()
        if self._keeper is None and self._baseline is None and self._assumed is None:
            self._assumed = Assumption.of(model, tree)
            self.workspace.assume_manifests(model, tree)
        assumed = self._assumed if self._keeper is None else None
        answered = self.workspace.plan(
            Given(
                model=model,
                tree=tree,
                records=assumed.records.copy()
                if assumed is not None
                else self.workspace.records(model.graph),
                baseline=assumed.baseline if assumed is not None else self._baseline,
                changes=changes_between(assumed.tree, tree) if assumed is not None else self._changes(tree),
                deployed=assumed.baseline.fingerprint if assumed is not None else deployed,
                run_changes=("the options of the container changed",)
                if serving and serving.run != run
                else gone,
                dockerfile_changed=graph_changed and before is not None,
                sync=sync,
                reloader=reloader,
            )
        )
        version = machine.Version(answered.fingerprint, run)
        if self._state.is_idle or version != self._state.wanted:
            # A save that changes nothing must not make the wait for an earlier one look shorter.
            self._saved_at = self._batch_at
        reached = self._reached = Reached(model, tree, answered, version, spec, sync, reloader)
        work = self._work_of(reached)
        try:
            self._part = self._part_of(reached) if work else None
            is_bridged = self._is_bridged(reached)
        except EngineUnavailable as error:
            self._lost_engine(error)
            return
        part = self._part
        is_known = bool(work) and work <= self._work
        if not is_known and (work or is_save):
            self._work_at = self._batch_at if work else None
        self._work = work
        if is_save:
            self._explained = events.Explained(answered.plan, is_built=False)
            if is_known and part is not None:
                self._show(events.Planned(part.answered.plan, saved, behind=part.behind))
            else:
                self._show(events.Planned(self._tellings.marked(answered.plan), saved, first=first))
        flight = self._flight
        synced = version if answered.plan.action in {"sync", "sync+restart"} else None
        if synced is None and part is not None:
            synced = part.version
        self._advance(
            machine.TreeRead(
                version,
                sync=synced,
                work=work,
                is_bridged=is_bridged,
                is_needed=flight is not None and flight.serves(model, tree),
                is_save=is_save,
            )
        )

    def _work_of(self, reached: Reached) -> machine.Work:
        """Return what is expensive about building a reading, each step by all that it is made from."""
        expensive = reached.answered.plan.expensive
        if not expensive or self._keeper is None:
            return machine.NO_WORK
        graph = reached.model.graph
        digests = vertex_digests(graph, reached.tree)
        vertices = (graph.steps[number].vertex for number in expensive)
        return frozenset(digests[vertex] for vertex in vertices if vertex is not None)

    def _part_of(self, reached: Reached) -> Reached | None:
        """Return as much of a reading as can be synced into what serves, as a reading of its own."""
        before, serving = self._serving, self._state.serving
        if before is None or serving is None or not self._state.runs_container:
            return None
        part = self._prover.part(before, self._keeper, reached.model, reached.tree)
        if part is None:
            return None
        answered = self.workspace.plan(
            Given(
                model=before.model,
                tree=part.tree,
                records=self.workspace.records(before.model.graph),
                baseline=self._baseline,
                changes=changes_between(before.tree, part.tree),
                deployed=serving.image,
                sync=part.plan,
                reloader=part.reloader,
            )
        )
        version = machine.Version(answered.fingerprint, serving.run)
        if version == serving:
            return None
        return Reached(
            before.model,
            part.tree,
            answered,
            version,
            reached.spec,
            part.plan,
            part.reloader,
            self._left_out(reached, part.behind),
        )

    def _left_out(self, reached: Reached, paths: Sequence[str]) -> tuple[str, ...]:
        """Name what a part leaves out, as the user knows it."""
        before = self._serving
        if before is not None and before.model.graph != reached.model.graph:
            return (self.location.shown_dockerfile, *paths)
        return tuple(paths)

    def _is_bridged(self, reached: Reached) -> bool:
        """Tell whether files lead from the image that is built, or waits to be deployed, to a reading."""
        flight = self._flight or self._fresh
        if flight is None or not self._state.runs_container or flight.version.image == reached.version.image:
            return False
        if self._flight is None and self._state.built != flight.version.image:
            return False
        base, keeper = self._built.get(flight.version.image), self._keeper
        if base is None or keeper is None:
            return False
        around = keeper.surroundings()
        # What devloop brought into this container is not in the next one.
        guess = replace(around, is_ours=lambda _place: False, refusal=None)
        return self._prover.bridge(base, reached.model, reached.tree, lambda: guess) is not None

    def _changes(self, tree: Tree) -> Mapping[str, Sequence[PathChange]]:
        """Return what differs from what serves, else from the last build, here or as recorded."""
        if self._serving is not None and self._serving.tree.snapshots.keys() == tree.snapshots.keys():
            return changes_between(self._serving.tree, tree)
        if self._built_tree is not None:
            return changes_between(self._built_tree, tree)
        return self.workspace.changes_since_built(tree)

    # Deciding

    def _advance(self, message: machine.Message) -> None:
        self._state, effects = machine.advance(self._state, message)
        for effect in effects:
            match effect:
                case machine.StartBuild(version=version):
                    self._start_build(version)
                case machine.CancelBuild():
                    if self._flight is not None:
                        self._flight.cancel.set()
                case machine.StartBackground(version=version):
                    self._start_background(version)
                case machine.CancelBackground():
                    if self._background is not None:
                        self._background.cancel.set()
                case machine.StartDeploy(version=version, image=image):
                    self._start_deploy(version, image)
                case machine.StartRestart(version=version):
                    self._start_restart(version)
                case machine.StartSync(version=version):
                    self._start_sync(version)
                case machine.Hurry():
                    self._hurry.set()
                case machine.Replan():
                    self._replan()
                case machine.Hold():
                    self._hold()
                case machine.EndHold():
                    self._forget_hold()
                case machine.ReportQueued(decision=decision):
                    self._show(events.Queued(self._newest_paths(), decision, _QUEUED_REASONS[decision]))
                case machine.Stop():
                    self._finished = effect
                case _:
                    assert_never(effect)

    def _replan(self) -> None:
        if self._must_read_all:
            # Who asks for a rebuild wants what is there now, also where no event told of it.
            self._must_read_all = False
            self._read_project(())
            return
        if self._model is None or self._tree is None:
            return
        if self._must_reread:
            # A file changed while it was read: what the tree holds now is to be read first.
            self._must_reread = False
            self._reach(self._model, self.workspace.tree(self._model), (), is_save=False)
            return
        self._reach(self._model, self._tree, (), is_save=False)

    def _newest_paths(self) -> tuple[str, ...]:
        """Return what was saved since the thing in flight took off."""
        tree = self._tree
        before = self._flight.tree if self._flight is not None else None
        if before is None and self._syncing is not None:
            before = self._syncing.tree
        if before is None or tree is None or before.snapshots.keys() != tree.snapshots.keys():
            return ()
        return tuple(change.path for found in changes_between(before, tree).values() for change in found)

    # Expensive work that waits

    def _hold(self) -> None:
        """Let the expensive work of the wanted version wait, and say so."""
        reached, settings = self._reached, self.settings
        if reached is None:
            raise RuntimeError("something waits that was not read")
        seconds: float | None = quiet_seconds(
            reached.answered.plan, share=settings.wait_share, most=settings.wait_most_seconds
        )
        if settings.on_expensive == "ask":
            if self.has_keys:
                seconds = None
            elif not self._said_no_keys:
                self._said_no_keys = True
                self._note(
                    "nobody can be asked here, so an expensive build waits until it is quiet",
                    "on_expensive = wait says the same",
                    kind="config",
                )
        self._holding.begin(self._edited_at, seconds, settings.wait_most_seconds)
        self._hold_paths = self._waiting_paths(reached)
        self._show_hold(reached)

    def _waiting_paths(self, reached: Reached) -> tuple[str, ...]:
        if self._part is not None:
            return self._part.behind
        changes = tuple(change.path for change in reached.answered.plan.changes)
        return changes or self._left_out(reached, ())

    def _show_hold(self, reached: Reached, *, is_postponed: bool = False) -> None:
        plan, until = reached.answered.plan, self._holding.until
        self._hold_price = plan.seconds
        self._show(
            events.Held(
                self._hold_paths,
                tuple(plan.steps[number].line for number in plan.expensive),
                plan.seconds,
                None if until is None else round(max(until - time.monotonic(), 0.0), 2),
                is_postponed,
            )
        )

    def _end_hold(self, how: Literal["over", "asked", "skipped"], message: machine.Message) -> None:
        self._hold_ends = how
        self._advance(message)
        self._hold_ends = "gone"

    def _forget_hold(self) -> None:
        self._holding.end()
        self._show(events.HoldEnded(self._hold_ends, self._hold_paths))
        state = self._state
        is_undone = self._hold_ends == "gone" and state.wanted is not None and not state.work
        if is_undone and not state.paused and not state.end and self._hold_price is not None:
            self.memory.record_sync(SyncRecord(time.time(), WITHDRAWN, 0.0, self._hold_price))

    def _hold_key(self, what: Literal["build", "skip", "later"]) -> None:
        state = self._state
        is_skipped = bool(state.work) and state.work <= state.skipped
        refused = "" if state.held or (what == "build" and is_skipped) else "nothing waits"
        if not refused and what == "later" and self._holding.until is None:
            refused = "it waits for a key as it is"
        self._show(events.Asked(what, refused))
        if refused:
            return
        if what == "later" and self._reached is not None:
            self._holding.put_off(time.monotonic())
            self._show_hold(self._reached, is_postponed=True)
        elif what == "skip":
            self._end_hold("skipped", machine.SkipAsked())
        else:
            self._end_hold("asked", machine.BuildAsked())

    def _wanted(self, version: machine.Version) -> Reached:
        if self._reached is None or self._reached.version != version:
            raise RuntimeError("something was decided for a tree that was not read")
        return self._reached

    # Building

    def _start_build(self, version: machine.Version) -> None:
        reached = self._wanted(version)
        self._fresh = None
        flight = Flight(version, reached.model, reached.tree, reached.answered, time.time())
        self._flight = flight
        self._show(events.BuildStarted(len(reached.model.graph.steps)))
        self._send_build(flight, reached)

    def _start_background(self, version: machine.Version) -> None:
        reached = self._wanted(version)
        self._background = Flight(
            version, reached.model, reached.tree, reached.answered, time.time(), is_background=True
        )
        self._send_build(self._background, reached)

    def _send_build(self, flight: Flight, reached: Reached) -> None:
        request = build_request(self.location, self.settings)
        serving, current = self._state.serving, self._flight
        kept = {self._state.built, self._good_image, serving.image if serving is not None else None}
        kept.add(current.version.image if current is not None else None)
        # Builds that fail one after the other leave nothing behind.
        self._built = {image: found for image, found in self._built.items() if image in kept}
        self._built[flight.version.image] = reached

        def work() -> None:
            try:
                outcome = self._buildx.build(
                    request,
                    on_event=lambda event: self._queue.put(BuildMoved(flight, event)),
                    cancel=flight.cancel,
                )
            except DevloopError as error:
                outcome = BuildOutcome(
                    "failed", 0.0, error=error.message, error_kind="engine", hint=error.hint
                )
            self._queue.put(BuildDone(flight, outcome))

        self._spawn("devloop-build", work)

    def _on_progress(self, message: BuildMoved) -> None:
        flight = message.flight
        told = flight.tell(message.event)
        if flight is not self._flight:
            return
        if told is not None:
            self._show(told)
        if isinstance(told, events.StepStarted | events.StepFinished):
            self._recheck_stale(flight)

    def _recheck_stale(self, flight: Flight) -> None:
        wanted, reached = self._state.wanted, self._reached
        if wanted is None or wanted.image != flight.version.image:
            is_needed = reached is not None and flight.serves(reached.model, reached.tree)
            self._advance(machine.StepsMoved(is_needed=is_needed))

    def _on_built(self, message: BuildDone) -> None:
        flight, outcome = message.flight, message.outcome
        seen = match_outcome(flight.model.graph, outcome)
        if flight is self._background:
            self._background = None
            is_good = outcome.status == "ok" and not flight.doubts
            if is_good:
                self._remember_image(flight, outcome)
                self._good_image = flight.version.image
                self._show(
                    events.BackgroundBuilt(
                        outcome.seconds, sum(one.status == "run" for one in seen.steps.values())
                    )
                )
            self._advance(machine.BackgroundEnded(flight.version.image, ok=is_good))
            self._learn(flight, outcome)
            return
        if flight is not self._flight:
            return
        self._flight = None
        self._show(flight.finished(outcome, seen))
        if outcome.error_kind == "engine":
            self._lost_engine(DevloopError(outcome.error or "the engine went away", hint=outcome.hint))
            self._advance(machine.BuildEnded("failed"))
            return
        status = self._trusted(flight, outcome)
        if status == "ok":
            self._fresh = flight
            self._remember_image(flight, outcome)
        explained = events.Explained(flight.account(seen), is_built=True)
        is_current = self._reached is not None and self._reached.version == flight.version
        if is_current:
            self._explained = explained
        # Where this image is not deployed, the tree is planned by what the build has left in the cache.
        learns_first = not is_current and self._state.bridge != flight.version.image
        if learns_first:
            self._learn(flight, outcome)
        self._advance(machine.BuildEnded(status))
        if not learns_first:
            self._learn(flight, outcome)
        if self._explained is explained:
            # What came between the prediction and the build is known only now.
            self._explained = events.Explained(flight.account(seen), is_built=True)

    def _trusted(
        self, flight: Flight, outcome: BuildOutcome
    ) -> Literal["ok", "failed", "canceled", "doubtful"]:
        """Doubt a good image whose files were written while the builder read them, a few times in a row."""
        if outcome.status != "ok" or not flight.doubts:
            self._doubts = 0
            return outcome.status
        self._doubts += 1
        paths = sorted({path for found in flight.doubts.values() for path in found})
        words = f"{', '.join(paths[:3])} was written while the builder read it"
        if self._doubts > _MOST_DOUBTS:
            self._doubts = 0
            self._note(f"{words}, again and again: the image is taken as it is", kind="watch")
            return "ok"
        self._note(f"{words}: it is built again, since nobody knows which bytes it took", kind="watch")
        return "doubtful"

    def _remember_image(self, flight: Flight, outcome: BuildOutcome) -> None:
        """Keep what a good build is made of, and of the others only what may be needed to go back."""
        self._built_tree = flight.tree
        if outcome.image_id is not None:
            self._images[flight.version.image] = outcome.image_id
        serving = self._state.serving
        kept = {flight.version.image, self._state.built, serving.image if serving is not None else None}
        kept.add(self._good_image)
        if self._flight is not None:
            kept.add(self._flight.version.image)
        self._built = {image: reached for image, reached in self._built.items() if image in kept}
        self._images = {image: found for image, found in self._images.items() if image in kept}

    def _learn(self, flight: Flight, outcome: BuildOutcome) -> None:
        baseline, said = self._teacher.teach(flight, outcome)
        if baseline is not None:
            self._baseline = baseline
        for event in said:
            self._show(event)
        self._show_memory_problem()

    # Deploying and syncing

    def _start_deploy(self, version: machine.Version, image: str) -> None:
        reached, keeper = self._wanted(version), self._keeper
        if keeper is None:
            raise RuntimeError("a deploy was decided without an engine")
        self._syncing, self._deployed_image = reached, image
        self._counted_from = self._saved_at if self._work_at is None else self._work_at
        spec = self._with_image(image, reached.spec)
        self._hurry = Haste(self._leaving)
        hurry = self._hurry
        base = self._built.get(image) if image != version.image else None
        patch = self._patch(base, reached) if base is not None else None
        commands = self._prover.commands(base, reached.tree) if patch is not None else ()

        def work() -> None:
            try:
                replacement = keeper.replace(version, spec, hurry, patch)
            except NotPatchedError as error:
                self._queue.put(DeployDone(version, None, error, is_unbridged=True))
            except DevloopError as error:
                self._queue.put(DeployDone(version, None, error))
            else:
                self._queue.put(DeployDone(version, replacement, None))
                if replacement.ok:
                    self._run_commands(keeper, commands)

        self._spawn("devloop-deploy", work)

    def _patch(self, base: Reached, reached: Reached) -> Patch:
        """Return the files that make an older image what the tree wants."""
        roots = {name: context.root for name, context in reached.model.contexts.items()}

        def prove(around: Surroundings) -> SyncPlan | None:
            return self._prover.bridge(base, reached.model, reached.tree, lambda: around)

        return Patch(prove, roots)

    def _with_image(self, image: str, spec: RunSpec) -> RunSpec:
        """Name the very image of a version: the tag may have moved on, or belong to a folder of that name."""
        return replace(spec, image=self._images.get(image, spec.image))

    def _on_replaced(self, message: DeployDone) -> None:
        before, keeper = self._state.serving, self._keeper
        reached, self._syncing = self._syncing, None
        if message.is_unbridged and keeper is not None:
            self._fresh = None
            reason = message.error.message if message.error is not None else ""
            self._note(f"the newest files could not be put on the new image, which is built again: {reason}")
            self._advance(machine.DeployEnded(ok=False, serving=before, is_unbridged=True))
            return
        if message.replacement is None or keeper is None:
            error = message.error or DevloopError("the container could not be replaced")
            self._show(events.DeployFailed(error.message, None, (), rolled_back=False))
            if error.hint:
                self._note(error.hint)
            if isinstance(error, EngineUnavailable) or keeper is None:
                self._lost_engine(error)
                self._advance(machine.DeployEnded(ok=False, serving=before))
                return
            # Its image may be what is missing: the next try makes it again, from the cache where it can.
            self._state = replace(self._state, built=None)
            self._advance(machine.DeployEnded(ok=False, serving=self._found_again()))
            return
        done = message.replacement
        if done.health.crashed:
            words = crash_words(done.health, done.error)
            self._show(
                events.DeployFailed(words, done.health.exit_code, done.health.log_tail, done.rolled_back)
            )
            if not done.rolled_back:
                self._serving = None
            self._advance(machine.DeployEnded(ok=False, serving=before if done.rolled_back else None))
            return
        self._serving, self._good_image = reached, self._deployed_image
        self._fresh, self._work_at = None, None
        if done.health.how == "canceled":
            # Nobody waits for a container that is to be replaced at once, or that is left.
            self._advance(machine.DeployEnded(ok=True, serving=message.version))
            return
        is_first = done.stopped is None
        self._deployed(
            "rebuild" if reached is None or reached.answered.plan.action != "restart" else "restart",
            how=done.health.how,
            seconds=done.seconds,
            stop_seconds=None if is_first else done.stop_seconds,
            healthy_seconds=done.health.seconds,
            serves=done.ok,
        )
        if not done.ok:
            self._note(f"the container runs and does not serve: {done.health.note or done.health.how}")
        self._advance(machine.DeployEnded(ok=True, serving=message.version))

    def _found_again(self) -> machine.Version | None:
        """Look what serves after something went wrong halfway."""
        self._serving = None
        if self._keeper is None:
            return None
        try:
            return self._keeper.recover()
        except DevloopError:
            return None

    def _deployed(
        self,
        action: Action,
        *,
        how: str,
        seconds: float,
        stop_seconds: float | None = None,
        healthy_seconds: float | None = None,
        serves: bool = True,
        behind: tuple[str, ...] = (),
    ) -> None:
        keeper = self._keeper
        container = keeper.container if keeper is not None else None
        since = self._counted_from
        since_save = time.monotonic() - since if since is not None else None
        self._show(
            events.Deployed(
                action=action,
                container=container.name if container is not None else "",
                urls=container_urls(container),
                how=how,
                seconds=seconds,
                since_save=since_save,
                stop_seconds=stop_seconds,
                healthy_seconds=healthy_seconds,
                serves=serves,
                behind=behind,
            )
        )

    def _start_sync(self, version: machine.Version) -> None:
        keeper = self._keeper
        part = self._part
        reached = part if part is not None and part.version == version else self._wanted(version)
        plan = reached.sync
        if keeper is None or not isinstance(plan, SyncPlan):
            raise RuntimeError("a sync was decided that was not proven")
        self._syncing = reached
        self._counted_from = self._saved_at
        roots = {name: context.root for name, context in reached.model.contexts.items()}
        fallback = self._fallback(version)
        commands = self._prover.commands(self._serving, reached.tree)
        self._hurry = Haste(self._leaving)
        hurry = self._hurry

        def work() -> None:
            try:
                synced = keeper.sync(
                    plan,
                    roots,
                    version,
                    restart=reached.reloader is None,
                    fallback=fallback,
                    cancel=hurry,
                )
            except DevloopError as error:
                self._queue.put(SyncDone(version, Synced(ok=False, seconds=0.0, serving=None), error))
                return
            self._queue.put(SyncDone(version, synced))
            if synced.ok:
                self._run_commands(keeper, commands)

        self._spawn("devloop-sync", work)

    def _run_commands(self, keeper: Keeper, commands: Sequence[Sequence[str]]) -> None:
        """Run what the user's rules want after a sync, and say how it ended where it did not end well."""
        for command in commands:
            container = keeper.container
            if container is None:
                return
            try:
                code, output = keeper.containers.execute(container.id, command)
            except DevloopError as error:
                self._queue.put(
                    Noticed(f"{' '.join(command)} could not be run: {error.message}", is_error=True)
                )
                continue
            if code:
                last = output.strip().splitlines()[-1:] or [""]
                text = f"{' '.join(command)} ended with exit code {code}: {last[0]}"
                self._queue.put(Noticed(text, is_error=True))

    def _fallback(self, wanted: machine.Version) -> tuple[machine.Version, RunSpec] | None:
        """Return the image that served last, to go back to when a synced version dies at once.

        What was built since may be what the user has taken back.
        """
        image = self._good_image
        reached = self._built.get(image) if image is not None else None
        if image is None or reached is None or image == wanted.image:
            return None
        version = machine.Version(image, reached.version.run)
        return version, self._with_image(image, reached.spec)

    def _on_synced(self, message: SyncDone) -> None:
        reached, self._syncing = self._syncing, None
        synced = message.synced
        if message.error is not None:
            self._serving = None
            self._show(events.DeployFailed(message.error.message, None, (), rolled_back=False))
            if isinstance(message.error, EngineUnavailable):
                # Before anything else is decided: nothing can be started now.
                self._lost_engine(message.error)
            self._advance(machine.SyncEnded(ok=False, serving=None))
            return
        health = synced.health
        if health is not None and health.how == "canceled":
            self._serving = reached
            self._advance(machine.SyncEnded(ok=True, serving=synced.serving))
            return
        if synced.ok:
            self._serving = reached
            self._record_sync(reached, synced)
            self._deployed(
                "sync" if reached is None or reached.reloader is not None else "sync+restart",
                how=synced.how,
                seconds=synced.seconds,
                healthy_seconds=health.seconds if health is not None else None,
                serves=health is None or health.ok,
                behind=reached.behind if reached is not None else (),
            )
            if health is not None and not health.ok:
                self._note(f"the container runs and does not serve: {health.note or health.how}")
            self._advance(machine.SyncEnded(ok=True, serving=synced.serving))
            return
        if health is not None:
            words = crash_words(health)
            self._show(events.DeployFailed(words, health.exit_code, health.log_tail, synced.rolled_back))
            back = synced.serving
            self._serving = self._built.get(back.image) if back is not None else None
            self._advance(machine.SyncEnded(ok=False, serving=back, crashed=True))
            return
        if synced.retry:
            self._must_reread = True
        else:
            self._serving = None
            self._show(
                events.DeployFailed(
                    f"the files could not be synced: {synced.error}; the image is rebuilt instead",
                    None,
                    (),
                    rolled_back=False,
                )
            )
        self._advance(machine.SyncEnded(ok=False, serving=synced.serving))

    # What the user asks for by a key

    def _on_key(self, key: str) -> None:
        match key:
            case "r":
                self._rebuild_asked()
            case "s":
                self._restart_asked()
            case "p":
                self._pause(is_paused=not self._state.paused)
            case "b":
                self._hold_key("build")
            case "x":
                self._hold_key("skip")
            case "z":
                self._hold_key("later")
            case "w":
                self._show(
                    self._explained or events.Problem("watch", "nothing was planned yet", severity="note")
                )
            case "l":
                self._show(events.Asked("logs"))
            case "?" | "h":
                self._show(events.Asked("help"))
            case "q":
                self._is_left = True
                self._leaving.set()
                self._advance(machine.Quit())
            case _:
                pass

    def _rebuild_asked(self) -> None:
        refused = self._in_flight()
        self._show(events.Asked("rebuild", refused))
        if refused:
            return
        if self._state.paused:
            self._show(events.Paused(is_paused=False))
        self._saved_at = self._batch_at = time.monotonic()
        if self._state.wanted is not None:
            self._serving = None
        self._must_read_all = True
        self._advance(machine.RetryAsked())
        if self._must_read_all:
            # The tree could not be read as a project; perhaps it can be by now.
            self._replan()

    def _restart_asked(self) -> None:
        state = self._state
        refused = self._in_flight()
        if state.has_engine and not state.is_changing and state.serving is not None:
            refused = ""  # a build in flight minds no restart of what serves
        if not refused and not state.runs_container:
            refused = "no container is run here"
        if not refused and self._state.serving is None:
            if self._state.wanted is None:
                refused = "nothing is running, and the project cannot be built as it stands"
            elif self._state.paused:
                refused = "nothing is running; p goes on and starts it"
            elif state.work and state.work <= state.skipped:
                refused = "nothing is running; b builds what was skipped"
        self._show(events.Asked("restart", refused))
        if not refused:
            self._saved_at = self._batch_at = time.monotonic()
            self._advance(machine.RestartAsked())

    def _in_flight(self) -> str:
        """Say what stands in the way of a request; empty where nothing does."""
        if not self._state.has_engine:
            return "no engine answers"
        if self._state.deploying is not None:
            return "the container is being started"
        if self._state.syncing is not None:
            return "files are being synced"
        return "a build is in flight already" if self._state.building is not None else ""

    def _pause(self, *, is_paused: bool) -> None:
        self._show(events.Paused(is_paused))
        if not is_paused:
            # What waited was not slow: it counts from the key.
            self._saved_at = self._batch_at = time.monotonic()
        self._advance(machine.PauseAsked(is_paused))

    def _start_restart(self, version: machine.Version) -> None:
        keeper = self._keeper
        if keeper is None:
            raise RuntimeError("a restart was decided without an engine")
        self._syncing = self._serving
        self._counted_from = self._saved_at

        def work() -> None:
            try:
                done = keeper.restart(version, self._leaving)
            except DevloopError as error:
                self._queue.put(RestartDone(version, Synced(ok=False, seconds=0.0, serving=None), error))
            else:
                self._queue.put(RestartDone(version, done))

        self._spawn("devloop-restart", work)

    def _on_restarted(self, message: RestartDone) -> None:
        self._syncing = None
        done, health, error = message.done, message.done.health, message.error
        if health is not None and health.how == "canceled":
            self._serving = None
            self._advance(machine.DeployEnded(ok=False, serving=None))
            return
        if done.ok:
            self._deployed(
                "restart",
                how=done.how,
                seconds=done.seconds,
                healthy_seconds=health.seconds if health is not None else None,
                serves=health is None or health.ok,
            )
            self._advance(machine.DeployEnded(ok=True, serving=message.version))
            return
        self._serving = None
        words = error.message if error is not None else done.error
        if health is not None:
            words = crash_words(health)
        code = health.exit_code if health is not None else None
        tail = health.log_tail if health is not None else ()
        self._show(events.DeployFailed(words, code, tail, rolled_back=False))
        if isinstance(error, EngineUnavailable):
            self._lost_engine(error)
        self._advance(machine.DeployEnded(ok=False, serving=None))

    def _record_sync(self, reached: Reached | None, synced: Synced) -> None:
        if reached is None:
            return
        kind = "sync" if reached.reloader is not None else "sync+restart"
        saved = SyncRecord(time.time(), kind, synced.seconds, reached.answered.rebuild_seconds)
        self.memory.record_sync(saved)

    # The end

    def _show_memory_problem(self) -> None:
        if self.memory.problem is not None and not self._said_memory:
            self._said_memory = True
            self._note(self.memory.problem, "devloop goes on without memory of earlier builds", kind="state")

    def _leave(self) -> str:
        # A container that was started before `run` was turned off is this session's own all the same.
        if self._keeper is None or not (self.settings.run or self._keeper.container):
            return ""
        return self._keeper.leave(stays=self._once or not self.settings.remove)

    def _close(self, stop: machine.Stop) -> int:
        self._watching.stop()
        self._show(events.Stopped(self._leave()))
        if self._is_quitting:
            return 130
        return 0 if stop.ok or self._is_left else 1

    def _stop_threads(self) -> None:
        for flight in (self._flight, self._background):
            if flight is not None:
                flight.cancel.set()
        self._watching.stop()
        if self._keeper is not None:
            self._keeper.close()


_QUEUED_REASONS: Mapping[str, str] = {
    "build-canceled": "the build in flight is canceled: its result would be stale",
    "build-continues": "the running step serves the new tree too: it goes on, and its image is not deployed",
    "build-serves": "the image stays good: the new files are put on it before it is started",
    "waits": "it is looked at as soon as the container is up to date",
}


def engine_words(facts: BuilderFacts | None) -> str | None:
    """Name engine and builder; None where none answers."""
    if facts is None or not facts.reachable:
        return None
    parts = [f"Docker Engine {facts.engine_version}" if facts.engine_version else "a Docker Engine"]
    if facts.buildx_version:
        parts.append(f"buildx {facts.buildx_version}")
    if facts.driver != "docker":
        parts.append(f"builder {facts.name} ({facts.driver})")
    return ", ".join(parts)


def watch_settings(settings: Settings) -> WatchSettings:
    """Return the watcher's numbers with those that the user set."""
    own = {
        name: value
        for name in ("quiet_seconds", "maximum_wait_seconds")
        if (value := getattr(settings, name)) is not None
    }
    return WatchSettings(**own)
