"""The running session: one queue of messages, a state machine that decides, and threads that obey.

The main thread reads the tree, plans and decides. A build and a deploy each run in a thread of their own and
answer with a message, so that a save is noticed, compared and explained while they last. What is to be done
is never decided here: `state.advance` says it.
"""

import contextlib
import hashlib
import queue
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, assert_never

from devloop import __version__
from devloop.cache.baseline import Baseline, describe, vertex_digests
from devloop.cache.predict import Lesson, learn
from devloop.cache.store import Miss
from devloop.cost.history import BuildRecord, StepRecord
from devloop.dockerfile.stages import MAIN_CONTEXT, ImageConfig, Platform, Step, Taken
from devloop.engine import base as engine_events
from devloop.engine.base import BuilderFacts, BuildOutcome, EngineUnavailable
from devloop.engine.buildx import Buildx
from devloop.engine.containers import Containers, Replacement
from devloop.engine.images import ImageFacts, image_facts
from devloop.engine.logs import LogLine, LogStream
from devloop.engine.progress import step_name
from devloop.engine.runspec import RunSpec
from devloop.engine.state import ContainerFacts
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.builds import (
    Seen,
    build_request,
    engine_definitions,
    image_tag,
    match_outcome,
)
from devloop.loop.lock import SessionLock
from devloop.loop.scope import WatchScope
from devloop.plan.model import PathChange, Plan, PlannedStep
from devloop.project.discover import Location, shown
from devloop.project.memory import Memory
from devloop.project.planner import Answered, classify_steps, step_key
from devloop.project.reading import Model, ReadingProblem, Tree
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Reload, Switches, Workspace
from devloop.watch.debounce import Batch, WatchSettings
from devloop.watch.events import LimitReached, Polled
from devloop.watch.feed import BatchFeed

LABEL_IMAGE_VERSION = "io.devloop.image-version"
LABEL_RUN_VERSION = "io.devloop.run-version"

_ENGINE_RETRY_SECONDS = 2.0
_CONTAINER_CHECK_SECONDS = 0.5
_QUIT_SECONDS = 0.7
"""How long a build or the application may take to end after Ctrl-C before it is cut off."""


class Display(Protocol):
    """Shows events; any thread may call it."""

    def show(self, event: events.Event) -> None: ...


@dataclass(frozen=True, slots=True)
class _Batch:
    context: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class _Progress:
    """Something that the builder reports while it runs."""

    event: engine_events.BuildEvent


@dataclass(frozen=True, slots=True)
class _Built:
    outcome: BuildOutcome


@dataclass(frozen=True, slots=True)
class _Replaced:
    version: machine.Version
    replacement: Replacement | None
    error: DevloopError | None


@dataclass(frozen=True, slots=True)
class _Quit:
    pass


@dataclass(frozen=True, slots=True)
class _Notice:
    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class _Crashed:
    """A thread ended by a bug: the session must not wait for an answer that never comes."""

    error: Exception


_Message = _Batch | _Progress | _Built | _Replaced | _Quit | _Notice | _Crashed


def _in_a_thread(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a session works with: builder, containers and watcher, and how slow work is sent away."""

    builder: Callable[[Mapping[str, str]], Buildx] = Buildx
    containers: Callable[[Mapping[str, str]], Containers] = Containers.connect
    feed: Callable[..., BatchFeed] = BatchFeed
    spawn: Callable[[str, Callable[[], None]], None] = _in_a_thread


@dataclass(slots=True)
class _InFlight:
    """The build that runs: what it was made from and what was predicted for it."""

    version: machine.Version
    model: Model
    tree: Tree
    answered: Answered
    cancel: threading.Event
    started_at: float
    digests: tuple[str, ...]
    running: dict[str, int | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Reached:
    """The newest reading of the tree that can be built."""

    model: Model
    tree: Tree
    answered: Answered
    version: machine.Version
    spec: RunSpec


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
        self.account: Plan | None = None
        self._reload = reload
        self._config = config
        self._once = once
        self._started = started
        self._watch = watch or watch_settings(workspace.settings)
        self._parts = parts or Parts()
        self._queue: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._state = machine.LoopState(runs_container=workspace.settings.run, once=once)
        self._buildx = self._parts.builder(workspace.environ)
        self._facts: BuilderFacts | None = None
        self._containers: Containers | None = None
        self._container: ContainerFacts | None = None
        self._logs: LogStream | None = None
        self._feeds: dict[str, BatchFeed] = {}
        self._scopes: dict[str, WatchScope] = {}
        self._model: Model | None = None
        self._tree: Tree | None = None
        self._reached: _Reached | None = None
        self._built_tree: Tree | None = None
        self._baseline: Baseline | None = None
        self._flight: _InFlight | None = None
        self._saved_at: float | None = None
        self._is_quitting = False
        self._leaving = threading.Event()
        self._finished: machine.Stop | None = None
        self._said_memory = False
        self._missed: set[tuple[str, str]] = set()
        self._next_engine_look = 0.0
        self._next_container_look = 0.0

    # The whole session

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
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in previous:
                signal.signal(number, self._on_signal)
            self._open()
            while self._finished is None:
                self._turn()
            return self._close(self._finished)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._stop_threads()
            lock.close()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_quitting:
            raise KeyboardInterrupt
        self._is_quitting = True
        self._queue.put(_Quit())

    def _open(self) -> None:
        self._connect()
        self._show(
            events.SessionStarted(
                version=__version__,
                project=self.location.name,
                dockerfile=self.location.shown_dockerfile,
                context=str(self.location.context),
                target=self.settings.target,
                engine=_engine_words(self._facts),
                config=shown(self._config, self.location.folder) if self._config else None,
                runs_container=self.settings.run,
            )
        )
        if self._facts is None or not self._facts.reachable:
            self._engine_missing()
        self._baseline = self.memory.baseline()
        model = self.workspace.read()
        if isinstance(model, ReadingProblem):
            self._watch_files(None)
            self._broken(model)
        else:
            self._watch_files(model)
            self._recover()
            self._read_everything(model, saved=(), first=True)
        self._show_memory_problem()

    def _turn(self) -> None:
        timeout = 0.25 if self._containers is not None else 0.5
        try:
            message = self._queue.get(timeout=timeout)
        except queue.Empty:
            self._look_around()
            return
        match message:
            case _Batch():
                self._on_batch(message)
            case _Progress(event=event):
                self._on_progress(event)
            case _Built(outcome=outcome):
                self._on_built(outcome)
            case _Replaced():
                self._on_replaced(message)
            case _Quit():
                # A container that is waited for until it serves must not hold up the end.
                self._leaving.set()
                self._advance(machine.Quit())
            case _Notice(text=text, is_error=is_error):
                severity = "error" if is_error else "note"
                self._show(events.Problem("watch", text, severity=severity))  # type: ignore[arg-type]  # one of two
            case _Crashed(error=error):
                raise error
            case _:
                assert_never(message)

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - it is raised again in the main thread
                self._queue.put(_Crashed(error))

        self._parts.spawn(name, guarded)

    def _show(self, event: events.Event) -> None:
        self.display.show(event)

    # The engine

    def _connect(self) -> None:
        """Find out who builds; without an engine everything but the prediction waits."""
        self._facts = self._buildx.facts(refresh=True)
        facts = self._facts
        if not facts.reachable:
            self._containers = None
            self._state = replace(self._state, has_engine=False)
            return
        try:
            self._containers = self._parts.containers(self.workspace.environ)
        except EngineUnavailable as error:
            self._facts = replace(facts, reachable=False, error=error.message, hint=error.hint)
            self._state = replace(self._state, has_engine=False)
            return
        self._state = replace(self._state, has_engine=True)
        self.workspace.builder = f"{facts.endpoint} {facts.name} {facts.image_store or ''}"
        self.workspace.switches = Switches(facts.supports_merge, facts.relative_names, facts.platform)
        self.workspace.inspect = self._inspect_image
        if facts.legacy_environment:
            self._show(
                events.Problem(
                    "engine",
                    "DOCKER_BUILDKIT=0 is set: your own docker build uses the legacy builder,"
                    " whose cache is another one",
                    hint="unset DOCKER_BUILDKIT to share the cache with devloop",
                    severity="note",
                )
            )

    def _inspect_image(self, reference: str, platform: Platform) -> ImageConfig | None:
        if self._containers is None:
            return None
        try:
            # A driver with a BuildKit of its own never sees the engine's images.
            if self._facts is not None and self._facts.driver != "docker":
                return None
            found = image_facts(self._containers.engine, reference, str(platform))
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
        """Do between messages what nobody tells: look for the engine, and after the container."""
        now = time.monotonic()
        if not self._state.has_engine:
            if self._once:
                self._advance(machine.Quit())
            elif now >= self._next_engine_look:
                self._next_engine_look = now + _ENGINE_RETRY_SECONDS
                self._reconnect()
            return
        if self._container is not None and self._state.phase == "idle" and now >= self._next_container_look:
            self._next_container_look = now + _CONTAINER_CHECK_SECONDS
            self._look_after_container()

    def _reconnect(self) -> None:
        self._connect()
        if not self._state.has_engine:
            return
        self._show(
            events.Problem(
                "engine", f"the engine answers again: {_engine_words(self._facts)}", severity="note"
            )
        )
        model = self.workspace.read()
        if isinstance(model, ReadingProblem):
            self._broken(model)
            return
        self._recover()
        self._read_everything(model, saved=())

    def _lost_engine(self, error: DevloopError) -> None:
        self._show(events.EngineMissing(error.message, error.hint or "devloop goes on when it answers again"))
        self._containers = None
        self._next_engine_look = time.monotonic() + _ENGINE_RETRY_SECONDS
        self._advance(machine.EngineChanged(has_engine=False))

    def _look_after_container(self) -> None:
        if self._containers is None or self._container is None:
            return
        try:
            found = self._containers.inspect(self._container.id)
        except DevloopError as error:
            self._lost_engine(error)
            return
        if found is not None and found.is_running:
            self._container = found
            return
        tail = self._containers.log_tail(found.id, 20) if found is not None else ()
        self._show(
            events.ContainerExited(
                self._container.name, found.exit_code if found is not None else None, tuple(tail)
            )
        )
        self._container = found
        self._advance(machine.ContainerGone())

    def _recover(self) -> None:
        """Take over what an earlier session of this project left, and remove its leftovers."""
        if self._containers is None or not self.settings.run:
            return
        try:
            found = self._containers.recover(self.location.identity, self._container_name())
        except DevloopError as error:
            self._lost_engine(error)
            return
        if found is None:
            return
        self._container = found
        labels = dict(found.labels)
        if found.is_running and LABEL_IMAGE_VERSION in labels:
            version = machine.Version(labels[LABEL_IMAGE_VERSION], labels.get(LABEL_RUN_VERSION, ""))
            self._state = replace(self._state, serving=version, built=version.image)
            self._follow_logs(found.id, since=found.started_at)
            self._show(
                events.Problem(
                    "engine",
                    f"the container {found.name} of an earlier session still runs and is taken over",
                    severity="note",
                )
            )

    def _container_name(self) -> str:
        return f"devloop-{self.location.name}"

    # Watching and reading

    def _watch_files(self, model: Model | None) -> None:
        """Watch every context of the model, and the files beside it that decide what is built."""
        location = self.location
        extra = [location.dockerfile, *location.ignore_candidates()]
        extra += [location.folder / "devloop.toml", location.folder / "pyproject.toml"]
        extra += [location.folder / one for one in self.settings.env_file]
        roots = {MAIN_CONTEXT: location.context}
        if model is not None:
            roots.update({name: context.root for name, context in model.contexts.items()})
        for name, root in roots.items():
            context = model.contexts.get(name) if model is not None else None
            scope = WatchScope.of(context)
            self._scopes[name] = scope
            own_extra = extra if name == MAIN_CONTEXT else []
            feed = self._feeds.get(name)
            if feed is not None:
                feed.update(
                    keep_directory=scope.keep_directory, keep_file=scope.keep_file, extra_files=own_extra
                )
                continue
            feed = self._parts.feed(
                root,
                self._batch_receiver(name),
                on_notice=self._on_watch_notice,
                keep_directory=scope.keep_directory,
                keep_file=scope.keep_file,
                extra_files=own_extra,
                settings=self._watch,
                poll=True if self.settings.poll else None,
            )
            feed.start()
            self._feeds[name] = feed
        for name in set(self._feeds) - set(roots):
            self._feeds.pop(name).stop()

    def _batch_receiver(self, name: str) -> Callable[[Batch], None]:
        return lambda batch: self._queue.put(_Batch(name, batch))

    def _on_watch_notice(self, notice: Polled | LimitReached) -> None:
        self._queue.put(_Notice(str(notice), is_error=isinstance(notice, LimitReached)))

    def _on_batch(self, message: _Batch) -> None:
        batch = message.batch
        self._saved_at = batch.first_event
        saved = tuple(sorted(self._shown_path(message.context, path) for path in batch.paths))
        absolute = {self._absolute(message.context, path) for path in batch.paths}
        config = absolute & self._config_files()
        if config and self._load_settings():
            self._read_project(saved, must_scan=True)
            return
        if config and not batch.rescan and not self._holds_more_than(config, message):
            return
        special = {self.location.dockerfile, *self.location.ignore_candidates()}
        special |= {
            context.root / ".dockerignore"
            for context in (self._model.contexts.values() if self._model is not None else ())
        }
        if batch.rescan or self._model is None or self._tree is None or absolute & special:
            self._read_project(saved, must_scan=True)
            return
        if self._bases_moved():
            self._read_project(saved, must_scan=False)
        dirty = [path for path in (*batch.paths, *batch.temporary) if not path.startswith("/")]
        tree = self.workspace.tree_again(self._model, self._tree, {message.context: dirty})
        self._reach(self._model, tree, saved)

    def _holds_more_than(self, config: set[Path], message: _Batch) -> bool:
        """Tell whether a batch has paths besides the configuration; a pyproject.toml may be both."""
        scope = self._scopes[message.context]
        return any(
            self._absolute(message.context, path) not in config
            or (not path.startswith("/") and scope.keep_file(path))
            for path in message.batch.paths
        )

    def _absolute(self, context: str, path: str) -> Path:
        if path.startswith("/"):
            return Path(path)
        root = self.location.context
        if self._model is not None and context in self._model.contexts:
            root = self._model.contexts[context].root
        return root / path

    def _shown_path(self, context: str, path: str) -> str:
        return shown(self._absolute(context, path), self.location.folder) if path else "."

    def _config_files(self) -> set[Path]:
        folder = self.location.folder
        return {folder / "devloop.toml", folder / "pyproject.toml"}

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
        self._state = replace(self._state, runs_container=settings.run)
        return True

    def _read_project(self, saved: tuple[str, ...], *, must_scan: bool) -> None:
        model = self.workspace.read()
        if isinstance(model, ReadingProblem):
            self._broken(model)
            return
        self._watch_files(model)
        if must_scan or self._tree is None:
            self._read_everything(model, saved)
        else:
            self._model = model

    def _read_everything(self, model: Model, saved: tuple[str, ...], *, first: bool = False) -> None:
        tree = self.workspace.tree(model)
        if first:
            files = sum(len(snapshot) for snapshot in tree.snapshots.values())
            directories = sum(feed.watcher.watched + feed.watcher.polled for feed in self._feeds.values())
            is_polling = any(feed.watcher.polled for feed in self._feeds.values())
            self._show(events.Watching(files, directories, is_polling, time.monotonic() - self._started))
        self._reach(model, tree, saved, first=first)

    def _bases_moved(self) -> bool:
        """Tell whether a base image is another one than when the Dockerfile was read."""
        if self._model is None or self._containers is None:
            return False
        known = dict(self._model_images(self._model))
        return any(
            (found := self._inspect_image(reference, platform)) is not None
            and found.key != known.get(reference)
            for reference, platform in self._model.graph.images
        )

    def _model_images(self, model: Model) -> tuple[tuple[str, str], ...]:
        return describe(model.graph, _Nothing()).images

    def _broken(self, problem: ReadingProblem) -> None:
        self._model = None
        self._reached = None
        self._show(events.Problem(problem.kind, problem.message, problem.rendered, problem.hint))
        self._advance(machine.TreeBroken())
        if self._once:
            self._finished = self._finished or machine.Stop(ok=False)

    def _reach(self, model: Model, tree: Tree, saved: tuple[str, ...], *, first: bool = False) -> None:
        """Plan what the tree wants now, say it, and let the state machine decide."""
        before = self._tree
        graph_changed = self._model is None or self._model.graph != model.graph
        self._model, self._tree = model, tree
        spec = self._run_spec()
        try:
            run_version = self._run_version(spec)
        except DevloopError as error:
            self._show(events.Problem("file", error.message, hint=error.hint or ""))
            self._advance(machine.TreeBroken())
            return
        records = self.workspace.records(model.graph)
        serving = self._state.serving if self.settings.run else None
        deployed = (
            serving.image if serving is not None else (None if self.settings.run else self._state.built)
        )
        run_changes = ("the options of the container",) if serving and serving.run != run_version else ()
        answered = self.workspace.plan(
            Given(
                model=model,
                tree=tree,
                records=records,
                baseline=self._baseline,
                changes=self._changes(tree),
                deployed=deployed,
                run_changes=run_changes,
                dockerfile_changed=graph_changed and before is not None,
            )
        )
        version = machine.Version(answered.fingerprint, run_version)
        labelled = replace(
            spec,
            labels=(
                *spec.labels,
                (LABEL_IMAGE_VERSION, version.image),
                (LABEL_RUN_VERSION, version.run),
            ),
        )
        self._reached = _Reached(model, tree, answered, version, labelled)
        self._show(events.Planned(answered.plan, saved, first=first))
        self._advance(machine.TreeRead(version, is_needed=self._is_running_needed()))

    def _changes(self, tree: Tree) -> Mapping[str, Sequence[PathChange]]:
        """Return what differs from the last build: in this session, else from the recorded one."""
        from devloop.project.reading import changes_between

        if self._built_tree is not None:
            return changes_between(self._built_tree, tree)
        return self.workspace.changes_since_built(tree)

    # Containers

    def _run_spec(self) -> RunSpec:
        settings = self.settings
        env: dict[str, str | None] = {}
        for name in settings.env_file:
            env.update(read_env_file(self.location.folder / name))
        env.update(settings.env)
        return RunSpec(
            image=image_tag(self.location, settings),
            name=self._container_name(),
            project=self.location.identity,
            publish=tuple(settings.publish),
            env=tuple(env.items()),
            volumes=tuple(settings.volume),
            network=settings.run_network,
            command=tuple(settings.command) if settings.command is not None else None,
            user=settings.user,
            init=settings.init or None,
            stop_grace_seconds=settings.stop_seconds,
            options=tuple(settings.run_option.items()),
            directory=str(self.location.folder),
        )

    def _run_version(self, spec: RunSpec) -> str:
        env = [
            (name, self.workspace.environ.get(name) if value is None else value) for name, value in spec.env
        ]
        text = repr((replace(spec, env=(), labels=()), env))
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

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
                case machine.StartDeploy(version=version):
                    self._start_deploy(version)
                case machine.ReportQueued(decision=decision):
                    saved = tuple(change.path for change in self._newest_changes())
                    self._show(events.Queued(saved, decision, _QUEUED_REASONS[decision]))
                case machine.Stop():
                    self._finished = effect
                case _:
                    assert_never(effect)

    def _newest_changes(self) -> Sequence[PathChange]:
        from devloop.project.reading import changes_between

        if self._flight is None or self._tree is None:
            return ()
        return [
            change for found in changes_between(self._flight.tree, self._tree).values() for change in found
        ]

    # Building

    def _start_build(self, version: machine.Version) -> None:
        reached = self._reached
        if reached is None or reached.version != version:
            raise RuntimeError("a build was decided for a tree that was not read")
        flight = _InFlight(
            version=version,
            model=reached.model,
            tree=reached.tree,
            answered=reached.answered,
            cancel=threading.Event(),
            started_at=time.time(),
            digests=vertex_digests(reached.model.graph, reached.tree),
        )
        self._flight = flight
        self._show(events.BuildStarted(len(reached.model.graph.steps)))
        request = build_request(self.location, self.settings)

        def work() -> None:
            try:
                outcome = self._buildx.build(
                    request, on_event=lambda event: self._queue.put(_Progress(event)), cancel=flight.cancel
                )
            except DevloopError as error:
                outcome = BuildOutcome(
                    "failed", 0.0, error=error.message, error_kind="engine", hint=error.hint
                )
            self._queue.put(_Built(outcome))

        self._spawn("devloop-build", work)

    def _on_progress(self, event: engine_events.BuildEvent) -> None:
        flight = self._flight
        if flight is None:
            return
        match event:
            case engine_events.StepStarted(digest=digest, name=name, kind="step"):
                step = self._step_named(flight.model, name)
                label, text = step_label(name)
                flight.running[digest] = step.vertex if step is not None else None
                flight.labels[digest] = label
                self._show(events.StepStarted(label, step.span.first if step is not None else None, text))
                self._recheck_stale()
            case engine_events.StepDone(digest=digest, name=name, kind="step"):
                flight.running.pop(digest, None)
                step = self._step_named(flight.model, name)
                label, text = step_label(name)
                status = "failed" if event.error else "cached" if event.cached else "run"
                line = step.span.first if step is not None else None
                self._show(
                    events.StepFinished(label, line, text, status, None if event.cached else event.seconds)  # type: ignore[arg-type]  # one of three
                )
                self._recheck_stale()
            case engine_events.StepLog(digest=digest, line=line):
                if digest in flight.labels:
                    self._show(events.StepLog(flight.labels[digest], line))
            case _:
                pass

    def _step_named(self, model: Model, name: str) -> Step | None:
        """Find the step of a display name by its stage and number; good enough to show a line."""
        parsed = step_name(name)
        if parsed is None:
            return None
        fitting = [
            step
            for step in model.graph.steps
            if step.ordinal == parsed.index
            and model.graph.stage(step.stage).total == parsed.total
            and (parsed.stage in {None, model.graph.stage(step.stage).label} or _is_numbered(parsed.stage))
        ]
        exact = [step for step in fitting if step.text.split() == parsed.text.split()]
        return next(iter(exact or fitting), None)

    def _is_running_needed(self) -> bool:
        """Tell whether a step that runs now gives what the newest tree needs as well."""
        flight, reached = self._flight, self._reached
        if flight is None or reached is None:
            return False
        wanted = set(vertex_digests(reached.model.graph, reached.tree))
        return any(
            vertex is not None and flight.digests[vertex] in wanted for vertex in flight.running.values()
        )

    def _recheck_stale(self) -> None:
        flight, wanted = self._flight, self._state.wanted
        if flight is not None and (wanted is None or wanted.image != flight.version.image):
            self._advance(machine.StepsMoved(is_needed=self._is_running_needed()))

    def _on_built(self, outcome: BuildOutcome) -> None:
        flight = self._flight
        if flight is None:
            return
        self._flight = None
        seen = match_outcome(flight.model.graph, outcome)
        self._show(_build_finished(flight, outcome, seen))
        if outcome.error_kind == "engine":
            self._advance(machine.BuildEnded("failed"))
            self._lost_engine(DevloopError(outcome.error or "the engine went away", hint=outcome.hint))
            return
        if outcome.status == "ok":
            self._built_tree = flight.tree
        self._advance(machine.BuildEnded(outcome.status))
        self._learn(flight, outcome, seen)

    def _learn(self, flight: _InFlight, outcome: BuildOutcome, seen: Seen) -> None:
        """Compare the build with its prediction, and remember what it taught and what it took."""
        builder = self.workspace.builder
        if builder is None:
            return
        model = flight.model
        if any(not found for found in self._known_images(model)):
            # A base that was pulled by this build is only known now.
            fresh = self.workspace.read()
            if isinstance(fresh, Model) and fresh.dockerfile.source == model.dockerfile.source:
                model = fresh
                if self._model is not None and self._model.dockerfile.source == fresh.dockerfile.source:
                    self._model = fresh
                seen = match_outcome(model.graph, outcome)
        after = self.workspace.tree(model)
        records = self.workspace.records(model.graph)
        lessons = learn(
            model.graph,
            flight.tree,
            records,
            seen.vertices,
            lambda: secrets.token_hex(8),
            forced=self.settings.no_cache,
            changed_meanwhile=lambda context, taken: _moved(flight.tree, after, context, taken),
        )
        self._report_misses(flight, model, seen, lessons)
        self.memory.save_records(builder, records)
        self.memory.save_engine_definitions(builder, engine_definitions(model.graph, seen))
        self.memory.save_builder(builder, self.workspace.switches.as_text())
        for reference, platform in model.graph.images:
            found = self._inspect_image(reference, platform)
            if found is not None:
                self.memory.save_image(builder, reference, platform, found)
        if outcome.status == "ok":
            self._baseline = describe(model.graph, flight.tree)
            self.memory.save_baseline(self._baseline, flight.tree.snapshots)
        self._record_history(flight, model, outcome, seen)
        self.account = account_of(flight.answered.plan, flight.model, seen)
        self.memory.save_indexes()
        self._show_memory_problem()

    def _known_images(self, model: Model) -> list[bool]:
        known = dict(self._model_images(model))
        return [not known.get(reference, "").startswith("reference:") for reference, _ in model.graph.images]

    def _report_misses(self, flight: _InFlight, model: Model, seen: Seen, lessons: Sequence[Lesson]) -> None:
        """Show what was predicted as cached and ran, with the likeliest reason, and store it."""
        builder = self.workspace.builder or ""
        stored: list[Miss] = []
        definitions = dict(engine_definitions(model.graph, seen))
        for lesson in lessons:
            if lesson.kind != "lost":
                continue
            step = model.graph.steps[model.graph.vertices[lesson.vertex].step]
            operation = flight.answered.prediction.answers[lesson.vertex].operation
            known = self.memory.engine_definitions(builder, operation)
            now = definitions.get(operation)
            is_pruned = now is None or not known or now in known
            explanation = (
                "the engine no longer had its cache entry: pruned, or collected"
                if is_pruned
                else "the engine defines this step otherwise than devloop thought"
            )
            text = step.instruction.text
            key = (operation, explanation)
            if key not in self._missed:
                self._missed.add(key)
                self._show(events.PredictionMissed(step.span.first, text, "cached", "run", explanation))
            outcome = seen.steps.get(step.number)
            detail = repr(
                {
                    "dockerfile": model.dockerfile.source.decode("utf-8", "replace"),
                    "operation": operation,
                    "engine": now,
                    "engine before": sorted(known),
                    "lines": outcome.lines if outcome is not None else (),
                    "builder": builder,
                }
            )
            stored.append(
                Miss(
                    flight.started_at,
                    self.location.identity,
                    step.span.first,
                    text,
                    "cached",
                    "run",
                    explanation,
                    detail,
                )
            )
        self.memory.add_misses(stored)

    def _record_history(self, flight: _InFlight, model: Model, outcome: BuildOutcome, seen: Seen) -> None:
        kinds = classify_steps(model.graph)
        steps = []
        for number, found in sorted(seen.steps.items()):
            if found.status == "not reached":
                continue
            step = model.graph.steps[number]
            steps.append(
                StepRecord(
                    stage=model.graph.stage(step.stage).label,
                    ordinal=step.ordinal,
                    line=step.span.first,
                    instruction=step.keyword,
                    text=step.instruction.text,
                    key=step_key(model.graph, step),
                    kind=kinds[number].kind if number in kinds else None,
                    status=found.status,
                    seconds=found.seconds,
                )
            )
        self.memory.record_build(
            BuildRecord(
                project=self.location.identity,
                dockerfile=str(self.location.dockerfile),
                target=self.settings.target,
                engine=_engine_words(self._facts) or "",
                builder=self.workspace.builder,
                started_at=flight.started_at,
                seconds=outcome.seconds,
                outcome=outcome.status,
                context_bytes=outcome.context_bytes,
                export_seconds=outcome.export_seconds,
                metadata_seconds=outcome.metadata_seconds,
                predicted_seconds=flight.answered.plan.seconds,
                steps=tuple(steps),
            )
        )

    # Deploying

    def _start_deploy(self, version: machine.Version) -> None:
        reached, containers = self._reached, self._containers
        if reached is None or containers is None or reached.version != version:
            raise RuntimeError("a deploy was decided for a tree that was not read")
        spec = reached.spec
        old = self._container.id if self._container is not None else None
        settings = self.settings

        def work() -> None:
            try:
                replacement = containers.replace(
                    old,
                    spec,
                    rollback=settings.rollback,
                    timeout_seconds=settings.health_seconds,
                    cancel=self._leaving,
                    on_started=lambda ident: self._follow_logs(ident, since=""),
                )
            except DevloopError as error:
                self._queue.put(_Replaced(version, None, error))
            else:
                self._queue.put(_Replaced(version, replacement, None))

        self._spawn("devloop-deploy", work)

    def _on_replaced(self, message: _Replaced) -> None:
        before = self._state.serving
        if message.replacement is None:
            error = message.error or DevloopError("the container could not be replaced")
            self._show(events.DeployFailed(error.message, None, (), rolled_back=False))
            if error.hint:
                self._show(events.Problem("engine", error.hint, severity="note"))
            if isinstance(error, EngineUnavailable):
                self._advance(machine.DeployEnded(ok=False, serving=before))
                self._lost_engine(error)
                return
            self._look_for_container()
            serving = before if self._container is not None and self._container.is_running else None
            self._advance(machine.DeployEnded(ok=False, serving=serving))
            return
        done = message.replacement
        self._container = done.container
        self._follow_logs(done.container.id if done.container is not None else None, since="")
        if done.health.crashed:
            self._show(
                events.DeployFailed(
                    _crash_words(done), done.health.exit_code, done.health.log_tail, done.rolled_back
                )
            )
            self._advance(machine.DeployEnded(ok=False, serving=before if done.rolled_back else None))
            return
        if done.health.how == "canceled":
            self._advance(machine.DeployEnded(ok=False, serving=None))
            return
        since_save = time.monotonic() - self._saved_at if self._saved_at is not None else None
        name = done.container.name if done.container is not None else ""
        reached = self._reached
        action = reached.answered.plan.action if reached is not None else "rebuild"
        self._show(
            events.Deployed(
                action=action,
                container=name,
                urls=container_urls(done.container),
                how=done.health.how,
                seconds=done.seconds,
                since_save=since_save,
                stop_seconds=done.stop_seconds,
                healthy_seconds=done.health.seconds,
            )
        )
        if not done.ok:
            self._show(
                events.Problem(
                    "engine",
                    f"the container runs and does not serve: {done.health.note or done.health.how}",
                    severity="note",
                )
            )
        self.memory.record_restart("replace", done.stop_seconds, done.start_seconds, done.health.seconds)
        self._advance(machine.DeployEnded(ok=True, serving=message.version))

    def _look_for_container(self) -> None:
        if self._containers is None:
            return
        with contextlib.suppress(DevloopError):
            self._container = self._containers.recover(self.location.identity, self._container_name())

    def _follow_logs(self, ident: str | None, *, since: str) -> None:
        if self._containers is None:
            return
        if self._logs is None:
            self._logs = self._containers.follow(ident, self._on_log, since=since)
        else:
            self._logs.switch(ident)

    def _on_log(self, line: LogLine) -> None:
        stream = "stderr" if line.stream == "stderr" else "stdout"
        self._show(events.ContainerLog(stream, line.text))  # type: ignore[arg-type]  # one of two

    # The end

    def _show_memory_problem(self) -> None:
        if self.memory.problem is not None and not self._said_memory:
            self._said_memory = True
            self._show(
                events.Problem(
                    "state",
                    self.memory.problem,
                    hint="devloop goes on without memory of earlier builds",
                    severity="note",
                )
            )

    def _close(self, stop: machine.Stop) -> int:
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()
        message = self._leave_container()
        self._show(events.Stopped(message))
        if self._is_quitting:
            return 130
        return 0 if stop.ok else 1

    def _leave_container(self) -> str:
        """Remove what this project's sessions started, or leave it, as configured."""
        if self._containers is None or not self.settings.run:
            return "stopped"
        if self._once or not self.settings.remove:
            return f"left the container {self._container.name} running" if self._container else "stopped"
        try:
            found = self._containers.find(self.location.identity)
            self._end_gently([one for one in found if one.is_running])
            for one in found:
                self._containers.remove(one.id)
        except DevloopError as error:
            return f"could not remove the container: {error.message}"
        names = ", ".join(one.name for one in found)
        return f"removed the container {names}" if found else "stopped"

    def _end_gently(self, running: Sequence[ContainerFacts]) -> None:
        """Ask the application to end, and give it a moment: Ctrl-C is to be over within a second."""
        containers = self._containers
        if containers is None or not running:
            return
        for one in running:
            with contextlib.suppress(Exception):
                containers.client.kill(one.id, signal=one.stop_signal or "SIGTERM")
        deadline = time.monotonic() + min(_QUIT_SECONDS, self.settings.stop_seconds)
        while time.monotonic() < deadline:
            states = [containers.inspect(one.id) for one in running]
            if not any(one is not None and one.is_running for one in states):
                return
            time.sleep(0.02)

    def _stop_threads(self) -> None:
        if self._flight is not None:
            self._flight.cancel.set()
        for feed in self._feeds.values():
            feed.stop()
        if self._logs is not None:
            self._logs.close()
        if self._containers is not None:
            self._containers.close()


_QUEUED_REASONS: Mapping[str, str] = {
    "build-canceled": "the build in flight is canceled: its result would be stale",
    "build-continues": "the running step serves the new tree too: it goes on, and its image is not deployed",
    "waits": "it is built when the container has been replaced",
}


class _Nothing:
    """Contents that nobody looks at: the images of a graph do not depend on them."""

    def key(self, _context: str, _taken: Taken) -> Any:  # noqa: ANN401 - any key will do
        from devloop.cache.predict import ContentKey

        return ContentKey("", "")


def image_config(facts: ImageFacts) -> ImageConfig:
    """Return what a step can see of an inspected image."""
    chain = hashlib.blake2b("\n".join(facts.chain).encode(), digest_size=16).hexdigest()
    return ImageConfig(
        key=f"layers:{chain}",
        env=facts.env,
        workdir=facts.workdir,
        user=facts.user,
        shell=facts.shell or (),
        onbuild=facts.onbuild,
    )


def _engine_words(facts: BuilderFacts | None) -> str | None:
    if facts is None or not facts.reachable:
        return None
    parts = [f"Docker Engine {facts.engine_version}" if facts.engine_version else "a Docker Engine"]
    if facts.buildx_version:
        parts.append(f"buildx {facts.buildx_version}")
    if facts.driver != "docker":
        parts.append(f"builder {facts.name} ({facts.driver})")
    return ", ".join(parts)


def _is_numbered(stage: str | None) -> bool:
    return stage is not None and stage.startswith("stage-")


def step_label(name: str) -> tuple[str, str]:
    """Split a display name into its label (`web 5/6`) and its text."""
    if name.startswith("["):
        label, found, text = name[1:].partition("] ")
        if found:
            return label.strip(), text
    return "", name


def watch_settings(settings: Settings) -> WatchSettings:
    """Return the watcher's numbers with those that the user set."""
    own = {
        name: value
        for name in ("quiet_seconds", "maximum_wait_seconds")
        if (value := getattr(settings, name)) is not None
    }
    return WatchSettings(**own)


def _moved(before: Tree, after: Tree, context: str, taken: Taken) -> bool:
    return before.key(context, taken) != after.key(context, taken)


def _build_finished(flight: _InFlight, outcome: BuildOutcome, seen: Seen) -> events.BuildFinished:
    statuses = [found.status for found in seen.steps.values()]
    failed = outcome.failed_step
    line = outcome.error_line
    if failed is not None and failed.lines:
        line = failed.lines[0][0]
    elif failed is not None:
        own = [
            flight.model.graph.steps[number].span.first
            for number, found in seen.steps.items()
            if found.digest == failed.digest
        ]
        line = own[0] if own else line
    error = outcome.error
    if error is not None and outcome.hint:
        error = f"{error} ({outcome.hint})"
    return events.BuildFinished(
        status=outcome.status,
        seconds=outcome.seconds,
        cached=statuses.count("cached"),
        ran=statuses.count("run"),
        error=error,
        failed_line=line,
        failed_text=failed.name if failed is not None else None,
        log_tail=outcome.log_tail[-12:],
    )


def account_of(plan: Plan, model: Model, seen: Seen) -> Plan:
    """Return the plan with what really happened to each step, and the cause of those that ran."""
    steps: list[PlannedStep] = []
    for step, planned in zip(model.graph.steps, plan.steps, strict=False):
        found = seen.steps.get(step.number)
        if found is None:
            steps.append(planned)
        elif found.status == "cached":
            steps.append(replace(planned, status="cached", cause=None))
        else:
            steps.append(
                replace(
                    planned, status="run", seconds=found.seconds, seconds_from="measured", note="measured now"
                )
            )
    return replace(plan, steps=tuple(steps))


def container_urls(container: ContainerFacts | None) -> tuple[str, ...]:
    """Return where the published TCP ports of a container can be reached from here."""
    if container is None:
        return ()
    hosts = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound
    found = [
        f"http://{hosts.get(one.host_ip, one.host_ip)}:{one.host_port}"
        for one in container.bindings
        if one.protocol == "tcp"
    ]
    return tuple(dict.fromkeys(found))


def _crash_words(done: Replacement) -> str:
    if done.error is not None:
        return f"the new container did not start: {done.error}"
    if done.health.oom_killed:
        return "the new container ran out of memory and was killed"
    if done.health.exit_code is not None:
        return f"the new container ended at once with exit code {done.health.exit_code}"
    return "the new container vanished"


def read_env_file(path: Path) -> dict[str, str | None]:
    """Read a file of `NAME=value` lines as docker does: no quotes, `#` comments, a bare name from outside.

    Raises DevloopError where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DevloopError(
            f"the environment file {path.name} cannot be read: {error}", hint="check the key env_file"
        ) from error
    found: dict[str, str | None] = {}
    for raw in text.splitlines():
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        found[name.strip()] = value if equals else None
    return found
