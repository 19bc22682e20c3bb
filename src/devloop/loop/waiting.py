"""Expensive work that waits: when it may start, what is said of it, and the keys that are for it."""

import time
from typing import Literal

from devloop.cost.history import SyncRecord
from devloop.cost.report import WITHDRAWN
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.desk import Desk
from devloop.loop.holding import Holding
from devloop.loop.messages import Reached
from devloop.plan.decide import quiet_seconds
from devloop.project.settings import Settings


class Waiting:
    """Keeps the clock of the expensive work of the wanted version, and says what waits and why it ended."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.holding = Holding()
        self._paths: tuple[str, ...] = ()
        self._price: float | None = None
        self._ends: Literal["over", "asked", "skipped", "gone"] = "gone"
        self._said_no_keys = False
        self._saved_at = 0.0
        self._rules: tuple[str, float, float] | None = None

    def is_over(self, now: float) -> bool:
        """Tell whether the time of what waits has come."""
        return self.holding.is_over(now)

    def go_on(self) -> None:
        """Let what waited start: its time has come."""
        self._end("over", machine.HoldOver())

    def hold(self) -> None:
        """Let the expensive work of the wanted version wait, and say so."""
        self._saved_at = self.desk.clock.edited_at
        reached = self._begin()
        self._paths = self._waiting_paths(reached)
        self._show(reached)

    def follow_settings(self) -> None:
        """Count anew what waits, from the save that it waits for, if other settings rule the wait now."""
        if self.desk.state.held and self._rules != self._rules_of(self.desk.settings):
            self._show(self._begin())

    def _begin(self) -> Reached:
        reached, settings = self.desk.reached, self.desk.settings
        if reached is None:
            raise RuntimeError("something waits that was not read")
        self._rules = self._rules_of(settings)
        seconds: float | None = quiet_seconds(
            reached.answered.plan, share=settings.wait_share, most=settings.wait_most_seconds
        )
        if settings.on_expensive == "ask":
            if self.desk.has_keys:
                seconds = None
            elif not self._said_no_keys:
                self._said_no_keys = True
                self.desk.note(
                    "nobody can be asked here, so an expensive build waits until it is quiet",
                    "on_expensive = wait says the same",
                    kind="config",
                )
        self.holding.begin(self._saved_at, seconds, settings.wait_most_seconds)
        return reached

    @staticmethod
    def _rules_of(settings: Settings) -> tuple[str, float, float]:
        return settings.on_expensive, settings.wait_share, settings.wait_most_seconds

    def _waiting_paths(self, reached: Reached) -> tuple[str, ...]:
        if self.desk.part is not None:
            return self.desk.part.behind
        changes = tuple(change.path for change in reached.answered.plan.changes)
        return changes or self.desk.left_out(reached, ())

    def _show(self, reached: Reached, *, is_postponed: bool = False) -> None:
        plan, until = reached.answered.plan, self.holding.until
        self._price = plan.seconds
        self.desk.show(
            events.Held(
                self._paths,
                tuple(plan.steps[number].line for number in plan.expensive),
                plan.seconds,
                None if until is None else round(max(until - time.monotonic(), 0.0), 2),
                is_postponed,
            )
        )

    def _end(self, how: Literal["over", "asked", "skipped"], message: machine.Message) -> None:
        self._ends = how
        self.desk.advance(message)
        self._ends = "gone"

    def forget(self) -> None:
        """Say that nothing waits any more, and note what was taken back in time."""
        self.holding.end()
        self.desk.show(events.HoldEnded(self._ends, self._paths))
        state = self.desk.state
        is_undone = self._ends == "gone" and state.wanted is not None and not state.work
        if is_undone and not state.paused and not state.end and self._price is not None:
            self.desk.memory.record_sync(SyncRecord(time.time(), WITHDRAWN, 0.0, self._price))

    def ask(self, what: Literal["build", "skip", "later"]) -> None:
        """Do what a key asks for: start what waits, leave it alone, or let it wait a minute more."""
        state = self.desk.state
        is_skipped = bool(state.work) and state.work <= state.skipped
        refused = "" if state.held or (what == "build" and is_skipped) else "nothing waits"
        if not refused and what == "later" and self.holding.until is None:
            refused = "it waits for a key as it is"
        self.desk.show(events.Asked(what, refused))
        if refused:
            return
        if what == "later" and self.desk.reached is not None:
            self.holding.put_off(time.monotonic())
            self._show(self.desk.reached, is_postponed=True)
        elif what == "skip":
            self._end("skipped", machine.SkipAsked())
        else:
            self.desk.clock.start_now()
            self._end("asked", machine.BuildAsked())
