"""The lane of the builder: a build is sent away, followed while it runs, judged, and learnt from."""

import time
from typing import Literal

from devloop.cost.history import BuildRecord
from devloop.engine.base import BuildOutcome
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.builds import build_request, match_outcome
from devloop.loop.desk import Desk
from devloop.loop.flight import Flight
from devloop.loop.lessons import Teacher
from devloop.loop.link import EngineLink
from devloop.loop.messages import BuildDone, BuildMoved, Reached
from devloop.watch.debounce import Batch

_MOST_DOUBTS = 2
"""So many times in a row an image is built again because files were written while the builder read them."""


class BuildLane:
    """Builds what the state machine wants built, one image at a time, and one in the background."""

    def __init__(self, desk: Desk, link: EngineLink) -> None:
        self.desk = desk
        self.link = link
        self._teacher = Teacher(desk.workspace)
        self._doubts = 0

    @property
    def record(self) -> BuildRecord | None:
        """The last build of this session as it was recorded, with its account."""
        return self._teacher.record

    def cancel(self) -> None:
        """Stop the build in flight, if there is one."""
        if self.desk.flight is not None:
            self.desk.flight.cancel.set()

    def cancel_background(self) -> None:
        """Stop the build in the background, if there is one."""
        if self.desk.background is not None:
            self.desk.background.cancel.set()

    def doubt(self, context: str, batch: Batch) -> None:
        """Note what was written while the builder may have read it."""
        for flight in (self.desk.flight, self.desk.background):
            if flight is not None:
                flight.doubt(context, batch)

    def start(self, version: machine.Version) -> None:
        """Build the version that the tree wants."""
        reached = self.desk.wanted(version)
        self.desk.fresh = None
        flight = Flight(version, reached.model, reached.tree, reached.answered, time.time())
        self.desk.flight = flight
        self.desk.show(events.BuildStarted(len(reached.answered.plan.countable)))
        self._send(flight, reached)

    def start_background(self, version: machine.Version) -> None:
        """Build a version while nothing waits for it."""
        reached = self.desk.wanted(version)
        self.desk.background = Flight(
            version, reached.model, reached.tree, reached.answered, time.time(), is_background=True
        )
        self._send(self.desk.background, reached)

    def _send(self, flight: Flight, reached: Reached) -> None:
        request = build_request(self.desk.location, self.desk.settings)
        current = self.desk.flight
        self._keep_images(current.version.image if current is not None else None)
        self.desk.images.made_of[flight.version.image] = reached

        def work() -> None:
            try:
                outcome = self.link.buildx.build(
                    request,
                    on_event=lambda event: self.desk.put(BuildMoved(flight, event)),
                    cancel=flight.cancel,
                )
            except DevloopError as error:
                outcome = BuildOutcome(
                    "failed", 0.0, error=error.message, error_kind="engine", hint=error.hint
                )
            self.desk.put(BuildDone(flight, outcome))

        self.desk.spawn("devloop-build", work)

    def on_progress(self, message: BuildMoved) -> None:
        """Tell what the builder does, and ask whether a stale build is still of use."""
        flight = message.flight
        told = flight.tell(message.event)
        if flight is not self.desk.flight:
            return
        if told is not None:
            self.desk.show(told)
        if isinstance(told, events.StepStarted | events.StepFinished):
            self._recheck_stale(flight)

    def _recheck_stale(self, flight: Flight) -> None:
        wanted, reached = self.desk.state.wanted, self.desk.reached
        if wanted is None or wanted.image != flight.version.image:
            is_needed = reached is not None and flight.serves(reached.model, reached.tree)
            self.desk.advance(machine.StepsMoved(is_needed=is_needed))

    def on_built(self, message: BuildDone) -> None:
        """Judge what the builder made, let it be deployed, and learn from it."""
        flight, outcome = message.flight, message.outcome
        seen = match_outcome(flight.model.graph, outcome)
        if flight is self.desk.background:
            self.desk.background = None
            is_doubtful = outcome.status == "ok" and bool(flight.doubts)
            is_good = outcome.status == "ok" and not is_doubtful
            if is_good:
                self._remember_image(flight, outcome)
                self.desk.images.good = flight.version.image
                self.desk.show(
                    events.BackgroundBuilt(
                        outcome.seconds, sum(one.status == "run" for one in seen.steps.values())
                    )
                )
            self.desk.advance(
                machine.BackgroundEnded(flight.version.image, ok=is_good, is_doubtful=is_doubtful)
            )
            self._learn(flight, outcome)
            return
        if flight is not self.desk.flight:
            return
        self.desk.flight = None
        self.desk.show(flight.finished(outcome, seen))
        if outcome.error_kind == "engine":
            self.link.lose(DevloopError(outcome.error or "the engine went away", hint=outcome.hint))
            self.desk.advance(machine.BuildEnded("failed"))
            return
        status = self._trusted(flight, outcome)
        if status == "ok":
            self.desk.fresh = flight
            self._remember_image(flight, outcome)
        explained = events.Explained(flight.account(seen), is_built=True)
        is_current = self.desk.reached is not None and self.desk.reached.version == flight.version
        if is_current:
            self.desk.explained = explained
        # Where this image is not deployed, the tree is planned by what the build has left in the cache.
        learns_first = not is_current and self.desk.state.bridge != flight.version.image
        if learns_first:
            self._learn(flight, outcome)
        self.desk.advance(machine.BuildEnded(status))
        if not learns_first:
            self._learn(flight, outcome)
        if self.desk.explained is explained:
            # What came between the prediction and the build is known only now.
            self.desk.explained = events.Explained(flight.account(seen), is_built=True)

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
            self.desk.note(f"{words}, again and again: the image is taken as it is", kind="watch")
            return "ok"
        self.desk.note(f"{words}: it is built again, since nobody knows which bytes it took", kind="watch")
        return "doubtful"

    def _remember_image(self, flight: Flight, outcome: BuildOutcome) -> None:
        """Keep what a good build is made of, and of the others only what may be needed to go back."""
        self.desk.built_tree = flight.tree
        if outcome.image_id is not None:
            self.desk.images.ids[flight.version.image] = outcome.image_id
        current = self.desk.flight
        self._keep_images(flight.version.image, current.version.image if current is not None else None)

    def _keep_images(self, *versions: str | None) -> None:
        """Keep these images, and what serves or waits to."""
        serving = self.desk.state.serving
        self.desk.images.keep(
            {*versions, self.desk.state.built, serving.image if serving is not None else None}
        )

    def _learn(self, flight: Flight, outcome: BuildOutcome) -> None:
        self._teacher.engine_words = self.link.known_as
        baseline, said = self._teacher.teach(flight, outcome)
        if baseline is not None:
            self.desk.baseline = baseline
        for event in said:
            self.desk.show(event)
        self.desk.tell_of_memory()
