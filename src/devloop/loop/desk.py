"""What the parts of a session share: the state, the newest reading, what is built and serves, and the clock.

A session is taken apart by subject: `reaching` plans the tree, `waiting` lets expensive work wait, `building`
and `serving` are the lanes of the builder and of the container, `link` knows the engine, `asking` takes keys.
What more than one of them must know lies here, and each field stands under the name of who writes it. Only
the main thread touches a desk, except for `put`.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devloop.engine.runspec import RunSpec
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.messages import Display, Message, Parts, Reached, ThreadCrashed
from devloop.project.discover import Location
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from devloop.cache.baseline import Baseline
    from devloop.loop.flight import Flight
    from devloop.loop.keeper import Keeper
    from devloop.project.reading import Model, Tree


class Images:
    """Of what each image of the session is made, which ID it has, and which one served last."""

    def __init__(self) -> None:
        self.made_of: dict[str, Reached] = {}
        self.ids: dict[str, str] = {}
        self.good: str | None = None
        """The version of the image that served last, or was built in the background of what serves."""

    def keep(self, versions: set[str | None]) -> None:
        """Forget all images but these and the good one: failing builds leave nothing behind."""
        kept = versions | {self.good}
        self.made_of = {image: found for image, found in self.made_of.items() if image in kept}
        self.ids = {image: found for image, found in self.ids.items() if image in kept}

    def named(self, image: str, spec: RunSpec) -> RunSpec:
        """Name the very image of a version: the tag may have moved on, or belong to a folder of that name."""
        return replace(spec, image=self.ids.get(image, spec.image))

    def fallback(self, wanted: machine.Version) -> tuple[machine.Version, RunSpec] | None:
        """Return the image that served last, to go back to when a synced version dies at once.

        What was built since may be what the user has taken back.
        """
        image = self.good
        reached = self.made_of.get(image) if image is not None else None
        if image is None or reached is None or image == wanted.image:
            return None
        return machine.Version(image, reached.version.run), self.named(image, reached.spec)


@dataclass(frozen=True, slots=True)
class Moment:
    """When something was wished for: by a save, or by a key."""

    at: float
    by_key: bool = False


class Clock:
    """The moments that a session counts from."""

    def __init__(self, started: float) -> None:
        self.saved: Moment | None = None
        """When that was saved which is being brought up."""
        self.batch: Moment | None = None
        self.edited_at = started
        """The first and the last event of the newest batch; a key takes the place of the first."""
        self.work: Moment | None = None
        """When the expensive work of the wanted version was saved."""
        self.counted_from: Moment | None = None
        """From when the change of the container that is in flight is counted."""
        self.quiet_since = time.monotonic()

    def start_now(self) -> None:
        """Count from now what is brought up next, however long it has waited for this key."""
        self.saved = self.batch = Moment(time.monotonic(), by_key=True)
        if self.work is not None:
            self.work = self.saved


class Desk:
    """What the parts of a session share."""

    def __init__(
        self, workspace: Workspace, display: Display, parts: Parts, *, once: bool, started: float
    ) -> None:
        self.workspace = workspace
        self.parts = parts
        self.once = once
        self.queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.put = self.queue.put
        self.leaving = threading.Event()
        """Set when the session ends: who waits until something serves waits no longer."""
        self.clock = Clock(started)
        self.state = machine.LoopState(
            runs_container=workspace.settings.run, once=once, policy=workspace.settings.on_expensive
        )
        self.obey: Callable[[machine.Effect], None] = _nobody
        """Carries out what the state machine decides; the driver's."""
        self.has_keys = False
        """Whether a live view reads keys, so that the user can be asked."""
        self._display = display
        self._said_memory = False
        # By `link`
        self.keeper: Keeper | None = None
        # By `reaching`
        self.model: Model | None = None
        self.tree: Tree | None = None
        self.reached: Reached | None = None
        self.part: Reached | None = None
        """As much of the newest reading as can be synced, where its expensive work waits or runs."""
        self.explained: events.Explained | None = None
        self.must_reread = False
        """Whether a file changed while it was read, so that the tree is to be read again."""
        self.must_read_all = False
        """Whether the user wants what is there now, also where no event told of it."""
        # By `building`
        self.flight: Flight | None = None
        self.background: Flight | None = None
        self.fresh: Flight | None = None
        """The flight whose image waits to be deployed."""
        self.built_tree: Tree | None = None
        self.baseline: Baseline | None = None
        self.images = Images()
        # By `serving`
        self.serving: Reached | None = None
        """What the container holds, where that is known."""
        self.syncing: Reached | None = None
        """What the container will hold when the change in flight has ended."""

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

    def show(self, event: events.Event) -> None:
        """Tell the user."""
        self._display.show(event)

    def note(self, message: str, hint: str = "", *, kind: events.ProblemKind = "engine") -> None:
        """Tell the user of something that is no error."""
        self.show(events.Problem(kind, message, hint=hint, severity="note"))

    def tell_of_memory(self) -> None:
        """Say once that nothing can be remembered, where that is so."""
        if self.memory.problem is not None and not self._said_memory:
            self._said_memory = True
            self.note(self.memory.problem, "devloop goes on without memory of earlier builds", kind="state")

    def advance(self, message: machine.Message) -> None:
        """Move the state machine by one message, and have done what it decides."""
        self.state, effects = machine.advance(self.state, message)
        for effect in effects:
            self.obey(effect)

    def wanted(self, version: machine.Version) -> Reached:
        """Return the newest reading, which is of this version."""
        if self.reached is None or self.reached.version != version:
            raise RuntimeError("something was decided for a tree that was not read")
        return self.reached

    def left_out(self, reached: Reached, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Name what a part of a reading leaves out, as the user knows it."""
        before = self.serving
        if before is not None and before.model.graph != reached.model.graph:
            return (self.location.shown_dockerfile, *paths)
        return paths

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Do slow work in a thread of its own; an error of it ends the session."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - it is raised again in the main thread
                self.put(ThreadCrashed(error))

        self.parts.spawn(name, guarded)


def _nobody(effect: machine.Effect) -> None:
    raise RuntimeError(f"nobody obeys {effect}")
