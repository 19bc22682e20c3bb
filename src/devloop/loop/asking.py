"""What the user asks for by a key, and why it is refused."""

from collections.abc import Callable

from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.desk import Desk
from devloop.loop.waiting import Waiting


class Keys:
    """Does what a key means; `replan` reads the tree anew, `leave` ends the session by the user's wish."""

    def __init__(
        self, desk: Desk, waiting: Waiting, *, replan: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        self.desk = desk
        self._waiting = waiting
        self._replan = replan
        self._leave = leave

    def take(self, key: str) -> None:
        """Do what a key means; one without a meaning does nothing."""
        match key:
            case "r":
                self._rebuild_asked()
            case "s":
                self._restart_asked()
            case "p":
                self._pause(is_paused=not self.desk.state.paused)
            case "b":
                self._waiting.ask("build")
            case "x":
                self._waiting.ask("skip")
            case "z":
                self._waiting.ask("later")
            case "w":
                self.desk.show(
                    self.desk.explained or events.Problem("watch", "nothing was planned yet", severity="note")
                )
            case "l":
                self.desk.show(events.Asked("logs"))
            case "?" | "h":
                self.desk.show(events.Asked("help"))
            case "q":
                self._leave()
            case _:
                pass

    def _rebuild_asked(self) -> None:
        refused = self._in_flight()
        self.desk.show(events.Asked("rebuild", refused))
        if refused:
            return
        if self.desk.state.paused:
            self.desk.show(events.Paused(is_paused=False))
        self.desk.clock.start_now()
        if self.desk.state.wanted is not None:
            self.desk.serving = None
        self.desk.must_read_all = True
        self.desk.advance(machine.RetryAsked())
        if self.desk.must_read_all:
            # The tree could not be read as a project; perhaps it can be by now.
            self._replan()

    def _restart_asked(self) -> None:
        state = self.desk.state
        refused = self._in_flight()
        if state.has_engine and not state.is_changing and state.serving is not None:
            refused = ""  # a build in flight minds no restart of what serves
        if not refused and not state.runs_container:
            refused = "no container is run here"
        if not refused and self.desk.state.serving is None:
            if self.desk.state.wanted is None:
                refused = "nothing is running, and the project cannot be built as it stands"
            elif self.desk.state.paused:
                refused = "nothing is running; p goes on and starts it"
            elif state.work and state.work <= state.skipped:
                refused = "nothing is running; b builds what was skipped"
        self.desk.show(events.Asked("restart", refused))
        if not refused:
            if state.serving is None:
                self.desk.clock.start_now()
            self.desk.advance(machine.RestartAsked())

    def _in_flight(self) -> str:
        """Say what stands in the way of a request; empty where nothing does."""
        if not self.desk.state.has_engine:
            return "no engine answers"
        if self.desk.state.deploying is not None:
            return "the container is being started"
        if self.desk.state.syncing is not None:
            return "files are being synced"
        return "a build is in flight already" if self.desk.state.building is not None else ""

    def _pause(self, *, is_paused: bool) -> None:
        self.desk.show(events.Paused(is_paused))
        if not is_paused:
            # What waited was not slow: it counts from the key.
            self.desk.clock.start_now()
        self.desk.advance(machine.PauseAsked(is_paused))
