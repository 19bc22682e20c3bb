"""A session with everything around it made up: builder, containers, watcher and threads, all recording.

Nothing runs by itself. A save puts a batch into the queue, `pump` lets the session take what is there, and
`finish` does the oldest piece of work that the session sent away, so that a test says what happens when.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devloop.config import find_config, load_config, merged
from devloop.engine.archive import SyncOutcome
from devloop.engine.base import BuilderFacts, BuildOutcome, EngineUnavailable, StepOutcome
from devloop.engine.containers import Replacement
from devloop.engine.health import Health
from devloop.engine.state import Binding, ContainerFacts
from devloop.loop import driver, events
from devloop.loop.messages import Parts
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.workspace import Workspace
from devloop.watch.debounce import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from devloop.engine.archive import SyncBatch
    from devloop.engine.base import BuildEvent, BuildRequest, Cancel
    from devloop.engine.runspec import RunSpec
    from devloop.errors import DevloopError
    from devloop.loop.events import Event
    from devloop.project.settings import Settings

REACHABLE = BuilderFacts("default", "docker", "unix:///nowhere", reachable=True, engine_version="29.0")
UNREACHABLE = BuilderFacts(
    "default", "docker", "unix:///nowhere", reachable=False, error="nobody answers", hint="start it"
)


@dataclass
class FakeBuilder:
    """Builds what the Dockerfile's folder holds at that moment: an image is the text of its files."""

    engine: FakeEngine
    facts_now: BuilderFacts = REACHABLE
    outcomes: list[BuildOutcome | Exception] = field(default_factory=list)
    calls: list[BuildRequest] = field(default_factory=list)
    on_build: list[Callable[[Callable[[BuildEvent], None]], None]] = field(default_factory=list)

    def facts(self, *, refresh: bool = False) -> BuilderFacts:
        return self.facts_now

    def build(
        self, request: BuildRequest, *, on_event: Callable[[BuildEvent], None], cancel: Cancel
    ) -> BuildOutcome:
        self.calls.append(request)
        for act in self.on_build:
            act(on_event)
        if cancel.is_set():
            return BuildOutcome("canceled", 0.1, error_kind="canceled")
        outcome = self.outcomes.pop(0) if self.outcomes else BuildOutcome("ok", 1.0)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.status == "ok":
            content = self.engine.read()
            image = f"sha256:{content}"
            self.engine.tags[request.tags[0]] = self.engine.tags[image] = content
            return replace(outcome, image_id=image)
        return outcome


@dataclass
class FakeEngine:
    """What the engine holds: an image by tag, containers by id."""

    read: Callable[[], str]
    tags: dict[str, str] = field(default_factory=dict)
    containers: dict[str, ContainerFacts] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    count: int = 0

    def stop_all(self, exit_code: int = 137) -> None:
        for ident, one in self.containers.items():
            self.containers[ident] = replace(one, state="exited", exit_code=exit_code)

    def find(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - it is JSON
        name = path.removeprefix("/images/").removesuffix("/json")
        return {"Id": self.tags[name]} if name in self.tags else None


@dataclass
class FakeClient:
    """The one call of the docker SDK that a session makes by itself."""

    engine: FakeEngine

    def kill(self, ident: str, signal: str) -> None:
        stopped = replace(self.engine.containers[ident], state="exited", exit_code=143)
        self.engine.containers[ident] = stopped


class FakeLogs:
    def switch(self, ident: str | None) -> None: ...

    def close(self) -> None: ...


@dataclass
class FakeFiles:
    """Takes whatever is brought into a container; `refusals` are the errors of the next batches."""

    engine: FakeEngine
    ident: str
    refusals: list[str | Exception]

    def stat(self, _place: str) -> None: ...

    def stat_all(self, places: Iterable[str]) -> dict[str, None]:
        return dict.fromkeys(places)

    def apply(self, batch: SyncBatch) -> SyncOutcome:
        if self.refusals:
            refusal = self.refusals.pop(0)
            if isinstance(refusal, Exception):
                raise refusal
            return SyncOutcome(ok=False, seconds=0.01, error=refusal)
        files = self.engine.files.setdefault(self.ident, {})
        for one in batch.writes:
            files[one.path] = Path(one.source).read_text() if one.source is not None else ""
        return SyncOutcome(ok=True, seconds=0.01)

    def close(self) -> None: ...


@dataclass
class FakeContainers:
    """Replaces containers at once; `crashes` and `restart_crashes` hold the exit codes of the next ones."""

    engine: FakeEngine
    crashes: list[int | None] = field(default_factory=list)
    restart_crashes: list[int | None] = field(default_factory=list)
    errors: list[DevloopError] = field(default_factory=list)
    refusals: list[str | Exception] = field(default_factory=list)
    is_gone: bool = False
    calls: list[tuple[str, str]] = field(default_factory=list)

    is_local = False

    @property
    def client(self) -> FakeClient:
        return FakeClient(self.engine)

    def _ask(self) -> None:
        if self.is_gone:
            raise EngineUnavailable("unix:///nowhere", "nothing listens there")

    def inspect(self, ident: str) -> ContainerFacts | None:
        self._ask()
        return self.engine.containers.get(ident)

    def find(self, project: str | None = None) -> tuple[ContainerFacts, ...]:
        self._ask()
        return tuple(self.engine.containers.values())

    def recover(self, project: str, name: str) -> ContainerFacts | None:
        return next((one for one in self.find(project) if one.name == name), None)

    def files(self, ident: str) -> FakeFiles:
        return FakeFiles(self.engine, ident, self.refusals)

    def has_shell(self, image: str) -> bool:
        return False

    def remove(self, ident: str) -> None:
        self.calls.append(("remove", ident))
        self.engine.containers.pop(ident, None)

    def log_tail(self, ident: str, lines: int = 40) -> tuple[str, ...]:
        return ("the last line",)

    def follow(self, ident: str | None, on_line: object, *, since: str = "") -> FakeLogs:
        return FakeLogs()

    def close(self) -> None: ...

    def restart(self, ident: str, grace_seconds: float) -> float:
        self._ask()
        self.calls.append(("restart", ident))
        code = self.restart_crashes.pop(0) if self.restart_crashes else None
        if code is not None:
            self.engine.stop_all(code)
        return 0.1

    def wait_healthy(self, ident: str, *, cancel: Cancel, **_: object) -> Health:
        one = self.engine.containers[ident]
        how = "exited" if not one.is_running else "canceled" if cancel.is_set() else "running"
        return Health(ok=how == "running", seconds=0.1, how=how, exit_code=one.exit_code)  # type: ignore[arg-type]  # one of its words

    def replace(
        self,
        old: str | None,
        spec: RunSpec,
        *,
        rollback: bool,
        cancel: Cancel,
        prepare: Callable[[str], None] | None = None,
        **_: object,
    ) -> Replacement:
        self._ask()
        self.calls.append(("replace", spec.image))
        if self.errors:
            raise self.errors.pop(0)
        code = self.crashes.pop(0) if self.crashes else None
        before = self.engine.containers.get(old) if old is not None else None
        self.engine.count += 1
        new = ContainerFacts(
            id=f"container-{self.engine.count}",
            name=spec.name,
            state="running" if code is None else "exited",
            exit_code=code,
            oom_killed=False,
            pid=1,
            image_id=self.engine.tags[spec.image],
            image=spec.image,
            bindings=(Binding(8000, "tcp", "127.0.0.1", 8000),),
            labels=spec.labels,
        )
        if prepare is not None:
            self.engine.containers[new.id] = replace(new, state="created")
            try:
                prepare(new.id)
            finally:
                del self.engine.containers[new.id]
        is_back = code is not None and rollback and before is not None
        if not is_back:
            if before is not None:
                del self.engine.containers[before.id]
            self.engine.containers[new.id] = new
        how = "exited" if code is not None else "canceled" if cancel.is_set() else "running"
        health = Health(ok=how == "running", seconds=0.1, how=how, exit_code=code, log_tail=("boom",))  # type: ignore[arg-type]  # one of its words
        return Replacement(
            ok=health.ok,
            container=before if is_back else new,
            health=health,
            rolled_back=is_back,
            seconds=0.3,
            create_seconds=0.1,
            stop_seconds=0.1,
            start_seconds=0.1,
            down_seconds=0.1,
        )


class FakeFeed:
    """Watches nothing; the test says what was saved."""

    def __init__(self, root: Path, on_batch: Callable[[Batch], None], **options: Any) -> None:  # noqa: ANN401
        self.root = root
        self.on_batch = on_batch
        self.options = options
        self.is_running = False
        self.watcher = self

    watched, polled = 1, 0

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def update(self, **options: Any) -> None:  # noqa: ANN401
        self.options |= options


class World:
    """One project in a folder, and the session that watches it."""

    def __init__(
        self,
        folder: Path,
        *,
        once: bool = False,
        engine: FakeEngine | None = None,
        facts: BuilderFacts = REACHABLE,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.engine = engine or FakeEngine(self.read)
        self.builder = FakeBuilder(self.engine, facts)
        self.containers = FakeContainers(self.engine)
        self.feeds: list[FakeFeed] = []
        self.work: list[tuple[str, Callable[[], None]]] = []
        self.works_at_once = False
        self.events: list[Event] = []
        self.flags = {"output": "json", "live_sync": False, **(flags or {})}
        settings = self.reload()[1]
        location = locate(folder, settings)
        memory = Memory(location)
        workspace = Workspace.remembered(location, settings, memory, environ or os.environ)
        fakes: Any = (self.builder, self.containers)
        self.session = driver.Session(
            workspace,
            self,
            reload=self.reload,
            config=None,
            once=once,
            started=time.monotonic(),
            parts=Parts(
                builder=lambda _environ: fakes[0],
                containers=lambda _environ: fakes[1],
                feed=self._feed,
                spawn=self._spawn,
            ),
        )

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        if self.works_at_once:
            work()
        else:
            self.work.append((name, work))

    def _feed(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - it stands for a BatchFeed
        feed = FakeFeed(*arguments, **options)
        self.feeds.append(feed)
        return feed

    def reload(self) -> tuple[Any, Settings]:
        found = find_config(self.folder)
        settings = merged(load_config(found) if found else {}, self.flags)
        return locate(self.folder, settings), settings

    def show(self, event: Event) -> None:
        self.events.append(event)

    def read(self) -> str:
        """Read what the image of this moment would hold."""
        return (self.folder / "main.py").read_text()

    # What happens

    def open(self) -> World:
        self.session._open()
        self.pump()
        return self

    def pump(self) -> None:
        """Let the session take what is in its queue."""
        while not self.session.desk.queue.empty() and self.session._finished is None:
            self.session._turn()

    def finish(self, name: str | None = None) -> None:
        """Do the oldest work that was sent away, and let the session hear of it."""
        given, work = self.work.pop(0)
        if name is not None and given != f"devloop-{name}":
            raise AssertionError(f"{given} is in flight, not {name}")
        work()
        self.pump()

    def settle(self) -> World:
        """Do all work until none is left, also that which waits for its time."""
        self.pump()
        while self.work or self.waits:
            if self.work:
                self.finish()
            else:
                self.let_go()
        return self

    @property
    def waits(self) -> bool:
        """Whether expensive work waits for its time."""
        return self.session._waiting.holding.until is not None

    def let_go(self) -> None:
        """Let the time of what waits come."""
        self.session._waiting.holding.until = 0.0
        self.session._turn()
        self.pump()

    def save(self, *saves: tuple[str, str | None], rescan: bool = False, seconds_ago: float = 0.0) -> None:
        """Write files (None removes one) and report them as one batch, as the watcher does."""
        for path, text in saves:
            file = self.folder / path
            if text is None:
                file.unlink(missing_ok=True)
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        now = time.monotonic() - seconds_ago
        paths = frozenset(path for path, _ in saves)
        self.feeds[0].on_batch(Batch(paths, rescan, now, now, "quiet"))
        self.pump()

    def look_around(self) -> None:
        """Do what the session does between messages, as if its time had come."""
        self.session._link.next_look = self.session._next_container_look = 0.0
        self.session._look_around()
        self.pump()

    def quit(self) -> None:
        self.session._on_signal(2, None)
        self.pump()

    def close(self) -> int:
        """End what `run` would end, and return its exit code."""
        if self.session._finished is None:
            raise AssertionError("the session goes on")
        status = self.session._close(self.session._finished)
        self.session._stop_threads()
        return status

    # What is to be seen

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def problems(self) -> list[str]:
        return [event.message for event in self.of(events.Problem) if event.severity == "error"]

    @property
    def action(self) -> str:
        """The action of the newest plan."""
        return str(self.of(events.Planned)[-1].plan.action)

    @property
    def running(self) -> list[str]:
        """What the containers that run were made of."""
        return [one.image_id for one in self.engine.containers.values() if one.is_running]


def everything_ran(world: World, seconds: float = 9.0, *, copy_seconds: float | None = None) -> BuildOutcome:
    """A good build of what the session has read: each step took `seconds`, a COPY perhaps less."""
    model = world.session.desk.model
    assert model is not None
    total = len(model.graph.steps)
    steps = [
        StepOutcome(
            digest=f"sha256:{step.number}",
            name=f"[{step.ordinal}/{total}] {step.text}",
            stage=None,
            index=step.ordinal,
            total=total,
            keyword=step.keyword,
            text=step.text,
            status="run" if step.vertex is not None else "cached",
            seconds=seconds if copy_seconds is None or step.keyword == "RUN" else copy_seconds,
            lines=((step.span.first, step.span.last),),
        )
        for step in model.graph.steps
    ]
    return BuildOutcome("ok", seconds + 1, steps=tuple(steps))
