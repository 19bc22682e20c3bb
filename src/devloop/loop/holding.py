"""The clock of expensive work that waits: when its time has come, and how a key puts it off.

What waits is decided in `state`; here is only when. The time counts from the last event of the save that
made the work what it is, and is never longer than the most, counted from the first of such saves: whoever
saves without a pause gets a build all the same.
"""

from dataclasses import dataclass

LATER_SECONDS = 60.0
"""How long the key for later puts a build off."""


@dataclass(slots=True)
class Holding:
    """When the work that waits may start; `until` is None where only a key starts it, or nothing waits."""

    until: float | None = None
    _since: float | None = None

    def begin(self, saved_at: float, seconds: float | None, most: float) -> None:
        """Let work wait that was saved at this moment; None waits for a key."""
        if self._since is None:
            self._since = saved_at
        self.until = None if seconds is None else min(saved_at + seconds, self._since + most)

    def put_off(self, now: float) -> None:
        """Wait longer, whatever the most is."""
        self.until = now + LATER_SECONDS
        self._since = self.until

    def end(self) -> None:
        """Nothing waits any more."""
        self.until = self._since = None

    def left(self, now: float, most: float) -> float:
        """Return how long to sleep at most until the time has come."""
        return most if self.until is None else min(max(self.until - now, 0.0), most)

    def is_over(self, now: float) -> bool:
        """Tell whether the time of what waits has come."""
        return self.until is not None and now >= self.until
