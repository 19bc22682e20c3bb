"""The running session: one queue of messages, a state machine that decides, and threads that obey.

The main thread reads the tree, plans and decides. A build, a deploy and a sync each run in a thread of their
own and answer with a message, so that a save is noticed, compared and explained while they last. What is to
be done is never decided here: `state.advance` says it. Here a message finds the part of the session that
understands it, and an effect the part that carries it out.
"""

import queue
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import assert_never

from devloop import __version__
from devloop.cost.history import BuildRecord
from devloop.engine.compose import ComposeRules
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.asking import Keys
from devloop.loop.building import BuildLane
from devloop.loop.desk import Desk, Moment
from devloop.loop.link import EngineLink
from devloop.loop.lock import SessionLock
from devloop.loop.messages import (
    BatchCame,
    BuildDone,
    BuildMoved,
    DeployDone,
    Display,
    KeyPressed,
    Message,
    Noticed,
    Parts,
    QuitAsked,
    RestartDone,
    SyncDone,
    ThreadCrashed,
)
from devloop.loop.proving import Prover
from devloop.loop.reaching import Reacher
from devloop.loop.serving import ContainerLane
from devloop.loop.waiting import Waiting
from devloop.loop.watching import Watching, config_files
from devloop.project.discover import Location, shown
from devloop.project.memory import Memory
from devloop.project.reading import Model, ReadingProblem, changes_between
from devloop.project.settings import Settings
from devloop.project.workspace import Reload, Workspace
from devloop.watch.debounce import WatchSettings

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_CONTAINER_CHECK_SECONDS = 0.5
_IDLE_SECONDS = 0.25
"""How long the session sleeps at most before it looks around."""


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
        desk = self.desk = Desk(workspace, display, parts or Parts(), once=once, started=started)
        desk.obey = self._obey
        self._reload = reload
        self._config = config
        self._started = started
        numbers = watch or watch_settings(workspace.settings)
        self._watching = Watching(desk.parts.feed, numbers, desk.put)
        self._prover = Prover(workspace, lambda text, hint: desk.note(text, hint, kind="config"))
        self._link = EngineLink(desk)
        self._reacher = Reacher(desk, self._link, self._prover)
        self._waiting = Waiting(desk)
        self._builder = BuildLane(desk, self._link)
        self._container = ContainerLane(desk, self._link, self._prover)
        self._keys = Keys(desk, self._waiting, replan=self._replan, leave=self._quit)
        self._has_read = False
        self._is_quitting = False
        self._is_left = False
        self._finished: machine.Stop | None = None
        self._next_container_look = 0.0

    # The whole session

    @property
    def record(self) -> BuildRecord | None:
        """The last build of this session as it was recorded, with its account."""
        return self._builder.record

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.desk.settings

    @property
    def location(self) -> Location:
        """Where the project's files are."""
        return self.desk.location

    @property
    def memory(self) -> Memory:
        """What is remembered of the project."""
        return self.desk.memory

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
        self.desk.put(QuitAsked())

    def press(self, key: str) -> None:
        """Take a key of the terminal; any thread may call it, and a key without a meaning does nothing."""
        self.desk.put(KeyPressed(key))

    def _open(self) -> None:
        self._link.connect()
        self.desk.show(
            events.SessionStarted(
                version=__version__,
                project=self.location.name,
                dockerfile=self.location.shown_dockerfile,
                context=str(self.location.context),
                target=self.settings.target,
                engine=self._link.words,
                config=shown(self._config, self.location.folder) if self._config else None,
                runs_container=self.settings.run,
            )
        )
        if self.desk.keeper is None:
            self._link.tell_missing()
            if self.desk.once:
                self.desk.advance(machine.Quit())
                return
        self.desk.baseline = self.memory.baseline()
        model = self.desk.workspace.read()
        self._watch_files(None if isinstance(model, ReadingProblem) else model)
        # Also where nothing can be built: what an earlier session left would stand in the way later.
        self._container.recover()
        self._ask_compose()
        if isinstance(model, ReadingProblem):
            self._reacher.cannot_read(model)
        else:
            self._read_everything(model, saved=())
        self.desk.tell_of_memory()

    def _turn(self) -> None:
        now = time.monotonic()
        if self._waiting.is_over(now):
            self._end_wait()
            return
        try:
            message = self.desk.queue.get(timeout=self._waiting.holding.left(now, _IDLE_SECONDS))
        except queue.Empty:
            if not self._waiting.is_over(time.monotonic()):
                self._look_around()
            return
        self._take(message)

    def _end_wait(self) -> None:
        """Let what waited start, unless what came before its time says otherwise.

        What comes meanwhile is looked at later: a builder that never ceases to talk holds nothing up.
        """
        for _ in range(self.desk.queue.qsize()):
            self._take(self.desk.queue.get())
            if self._finished is not None:
                return
        if self._waiting.is_over(time.monotonic()):
            self._waiting.go_on()

    def _take(self, message: Message) -> None:
        """Hand a message to who understands it."""
        match message:
            case BatchCame():
                self._on_batch(message)
            case BuildMoved():
                self._builder.on_progress(message)
            case BuildDone():
                self._builder.on_built(message)
            case DeployDone():
                self._container.on_replaced(message)
            case SyncDone():
                self._container.on_synced(message)
            case RestartDone():
                self._container.on_restarted(message)
            case KeyPressed(key=key):
                self._keys.take(key)
            case QuitAsked():
                self._end()
            case Noticed(text=text, is_error=is_error):
                self.desk.show(events.Problem("watch", text, severity="error" if is_error else "note"))
            case ComposeRules():
                self._prover.follow_compose(message)
            case ThreadCrashed(error=error):
                raise error
            case _:
                assert_never(message)

    def _obey(self, effect: machine.Effect) -> None:
        """Hand an effect to who carries it out."""
        match effect:
            case machine.StartBuild(version=version):
                self._builder.start(version)
            case machine.CancelBuild():
                self._builder.cancel()
            case machine.StartBackground(version=version):
                self._builder.start_background(version)
            case machine.CancelBackground():
                self._builder.cancel_background()
            case machine.StartDeploy(version=version, image=image):
                self._container.start_deploy(version, image)
            case machine.StartRestart(version=version):
                self._container.start_restart(version)
            case machine.StartSync(version=version):
                self._container.start_sync(version)
            case machine.Hurry():
                self._container.hurry()
            case machine.Replan():
                self._replan()
            case machine.Hold():
                self._waiting.hold()
            case machine.EndHold():
                self._waiting.forget()
            case machine.ReportQueued(decision=decision):
                self.desk.show(events.Queued(self._newest_paths(), decision, _QUEUED_REASONS[decision]))
            case machine.Stop():
                self._finished = effect
            case _:
                assert_never(effect)

    def _quit(self) -> None:
        """End as the user wishes, by a key: that is no failure."""
        self._is_left = True
        self._end()

    def _end(self) -> None:
        # A container that is waited for until it serves must not hold up the end.
        self.desk.leaving.set()
        self.desk.advance(machine.Quit())

    # What nobody tells

    def _look_around(self) -> None:
        """Do between messages what nobody tells: look for the engine, after the container, at the clock."""
        now = time.monotonic()
        if not self.desk.state.has_engine:
            if self.desk.once:
                self.desk.advance(machine.Quit())
            elif now >= self._link.next_look and not self.desk.state.is_changing:
                # Who took over a container that another thread still replaces would lose the new one.
                self._link.wait()
                self._reconnect()
            return
        if self.desk.state.is_changing:
            return
        if now >= self._next_container_look:
            self._next_container_look = now + _CONTAINER_CHECK_SECONDS
            self._container.look_after()
        if (
            self.settings.background_build
            and now >= self.desk.clock.quiet_since + self.settings.background_seconds
        ):
            self.desk.advance(machine.TreeQuiet())

    def _reconnect(self) -> None:
        self._link.connect()
        if self.desk.keeper is None:
            return
        self.desk.note(f"the engine answers again: {self._link.words}")
        self._container.recover()
        model = self.desk.workspace.read()
        if isinstance(model, ReadingProblem):
            self._reacher.cannot_read(model)
            return
        self._read_everything(model, saved=())

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
                self.desk.put(found)

        self.desk.spawn("devloop-compose", work)

    def _on_batch(self, message: BatchCame) -> None:
        batch = message.batch
        if message.context not in self._watching.feeds:
            # It was reported before a change of the Dockerfile or the settings made its context needless.
            return
        self.desk.clock.batch, self.desk.clock.edited_at = Moment(batch.first_event), batch.last_event
        self._builder.doubt(message.context, batch)
        self.desk.clock.quiet_since = time.monotonic()
        saved = tuple(
            sorted(self._watching.shown(message.context, path, self.location.folder) for path in batch.paths)
        )
        absolute = {self._watching.absolute(message.context, path) for path in batch.paths}
        config = absolute & config_files(self.location)
        if config and self._load_settings():
            self._read_project(saved)
            self._waiting.follow_settings()
            return
        if config and not batch.rescan and not self._watching.holds_more_than(config, message):
            return
        special = {self.location.dockerfile, *self.location.ignore_candidates()}
        special |= {self.location.folder / one for one in self.settings.env_file}
        special |= {
            context.root / ".dockerignore"
            for context in (self.desk.model.contexts.values() if self.desk.model is not None else ())
        }
        model, tree = self.desk.model, self.desk.tree
        if (
            batch.rescan
            or model is None
            or tree is None
            or absolute & special
            or self._reacher.bases_moved(model)
        ):
            self._read_project(saved)
            return
        dirty = [path for path in (*batch.paths, *batch.temporary) if not path.startswith("/")]
        self._reacher.reach(
            model, self.desk.workspace.tree_again(model, tree, {message.context: dirty}), saved
        )

    def _load_settings(self) -> bool:
        """Read the configuration again; False where it did not change or cannot be used."""
        try:
            location, settings = self._reload()
        except DevloopError as error:
            self.desk.show(events.Problem("config", error.message, hint=error.hint or ""))
            return False
        if settings == self.settings and location == self.location:
            return False
        if location.identity != self.location.identity:
            self.desk.show(
                events.Problem(
                    "config",
                    "Dockerfile, context or target changed: that is another project to devloop",
                    hint="end this session and start it again",
                )
            )
            return False
        self.desk.workspace.settings = settings
        self.desk.workspace.location = location
        self.desk.state = replace(self.desk.state, runs_container=settings.run, policy=settings.on_expensive)
        return True

    def _read_project(self, saved: tuple[str, ...]) -> None:
        model = self.desk.workspace.read()
        if isinstance(model, ReadingProblem):
            self._reacher.cannot_read(model)
            return
        self._watch_files(model)
        self._read_everything(model, saved)

    def _read_everything(self, model: Model, saved: tuple[str, ...]) -> None:
        tree = self.desk.workspace.tree(model)
        for problem in self._reacher.tellings.unknown_codes(model.dockerfile, self.settings.silence):
            self.desk.show(problem)
        if self._reacher.tellings.wants_weight:
            self._reacher.tellings.heavy = self.desk.workspace.context_warning(model, tree)
        first, self._has_read = not self._has_read, True
        if first:
            files = sum(len(snapshot) for snapshot in tree.snapshots.values())
            directories, is_polling = self._watching.counts()
            self.desk.show(events.Watching(files, directories, is_polling, time.monotonic() - self._started))
        self._reacher.reach(model, tree, saved, first=first)

    def _replan(self) -> None:
        if self.desk.must_read_all:
            # Who asks for a rebuild wants what is there now, also where no event told of it.
            self.desk.must_read_all = False
            self._read_project(())
            return
        if self.desk.model is None or self.desk.tree is None:
            return
        if self.desk.must_reread:
            # A file changed while it was read: what the tree holds now is to be read first.
            self.desk.must_reread = False
            self._reacher.reach(self.desk.model, self.desk.workspace.tree(self.desk.model), (), is_save=False)
            return
        self._reacher.reach(self.desk.model, self.desk.tree, (), is_save=False)

    def _newest_paths(self) -> tuple[str, ...]:
        """Return what was saved since the thing in flight took off."""
        tree = self.desk.tree
        before = self.desk.flight.tree if self.desk.flight is not None else None
        if before is None and self.desk.syncing is not None:
            before = self.desk.syncing.tree
        if before is None or tree is None or before.snapshots.keys() != tree.snapshots.keys():
            return ()
        return tuple(change.path for found in changes_between(before, tree).values() for change in found)

    # The end

    def _leave(self) -> str:
        # A container that was started before `run` was turned off is this session's own all the same.
        if self.desk.keeper is None or not (self.settings.run or self.desk.keeper.container):
            return ""
        return self.desk.keeper.leave(stays=self.desk.once or not self.settings.remove)

    def _close(self, stop: machine.Stop) -> int:
        self._watching.stop()
        self.desk.show(events.Stopped(self._leave()))
        if self._is_quitting:
            return 130
        return 0 if stop.ok or self._is_left else 1

    def _stop_threads(self) -> None:
        self._builder.cancel()
        self._builder.cancel_background()
        self._watching.stop()
        if self.desk.keeper is not None:
            self.desk.keeper.close()


_QUEUED_REASONS: Mapping[str, str] = {
    "build-canceled": "the build in flight is canceled: its result would be stale",
    "build-continues": "the running step serves the new tree too: it goes on, and its image is not deployed",
    "build-serves": "the image stays good: the new files are put on it before it is started",
    "waits": "it is looked at as soon as the container is up to date",
}


def watch_settings(settings: Settings) -> WatchSettings:
    """Return the watcher's numbers with those that the user set."""
    own = {
        name: value
        for name in ("quiet_seconds", "maximum_wait_seconds")
        if (value := getattr(settings, name)) is not None
    }
    return WatchSettings(**own)
