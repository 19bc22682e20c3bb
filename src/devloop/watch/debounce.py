"""Events to batches: act on a lone save at once, and on a storm only when it is over.

The rules, in the order in which they bind:

1. A batch waits for a quiet period after its last event. Up to `burst_paths` distinct paths are one save
   and wait `quiet_seconds`. More are a burst and wait a share of the time that the burst has taken, so
   the waiting is always small beside the work that caused it. Where many paths came without a pause, as
   a program writes them that does nothing else, a multiple of its longest pause is enough.
2. A path that looks unfinished (a writer has it open, it is empty, or it is gone) gets one more moment.
   The next event that finds it settled ends the wait.
3. A path that comes again and again extends the batch for `repeat_seconds` only; new paths do so until
   `maximum_wait_seconds` after the first event. Then the batch goes, noisy or not.
4. While git holds its index lock and files move nothing goes, up to `git_lock_max_seconds`.

Nothing here reads a clock: `now` comes in, in seconds of any clock that does not run backwards.
"""

from dataclasses import dataclass, field
from typing import Literal

from devloop.watch.events import State

Reason = Literal["quiet", "maximum wait", "git finished", "git lock limit"]
"""Which rule let a batch go."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Every number of the watcher, in seconds unless the name says otherwise."""

    quiet_seconds: float = 0.010
    """After a lone save. Between the last two calls of an editor's save lie 0.1 to 5 ms; 15 would be felt."""
    burst_paths: int = 3
    """So many distinct paths are still one save: a file, its backup, a link."""
    burst_quiet_seconds: float = 0.025
    """The least for a burst: git, tar and formatters pause for less than 10 ms between two files."""
    burst_growth: float = 0.25
    """Share of a burst's length to wait after it: what took 200 ms is acted on 50 ms after its end."""
    burst_quiet_max_seconds: float = 0.2
    """The most for a burst. Longer pauses inside one operation come from git, whose lock is seen."""
    dense_paths: int = 100
    """From so many paths on a burst tells enough of itself to be measured by its own pauses."""
    dense_spacing_seconds: float = 0.001
    """The most between two paths on average: a checkout, tar or a copy needs 0.05 to 0.4 ms for a file."""
    dense_quiet_seconds: float = 0.015
    """The least after a dense burst; the pauses of such programs stay below 10 ms on an idle machine."""
    dense_pauses: float = 3.0
    """After a dense burst, its longest pause times this: a busy machine makes all of its pauses longer."""
    burst_memory_seconds: float = 0.1
    """An event so soon after a batch belongs to the same burst, whose paths and length count on."""
    overflow_quiet_seconds: float = 0.150
    """After lost events: everything is to be compared, so it should be still."""
    repeat_seconds: float = 0.3
    """So long may a path that is already in the batch put it off: a log file must not hold back an edit."""
    maximum_wait_seconds: float = 2.0
    """From the first event. A generator that never pauses gets a batch every two seconds."""
    open_seconds: float = 0.1
    """Grace for a file that is being written, from its last write: an fsync on a laptop takes 5 to 50 ms."""
    empty_seconds: float = 0.05
    """Grace for an empty file: editors that truncate, then open again to write, need 1 to 20 ms."""
    missing_seconds: float = 0.05
    """Grace for a file that is gone: vim and JetBrains rename it away before they write the new one."""
    git_lock_poll_seconds: float = 0.01
    """How often to look whether `.git/index.lock` is still there: one lstat."""
    git_lock_max_seconds: float = 30.0
    """The most for a lock. A checkout of 100,000 files takes 20 s; a crashed git leaves its lock for ever."""
    git_lock_idle_seconds: float = 3.0
    """A lock under which nothing moves is no checkout: `git commit -a` keeps it while its editor is open."""
    gather_seconds: float = 0.001
    """After an event on a file that is still open, wait so long for its close: one save, one report."""
    rush_events: int = 100
    """After so many events without a pause they are left to gather: reading each at once slows the writer."""
    rush_rest_seconds: float = 0.004
    """How long they gather: far less than a burst's quiet time, and far from filling the kernel's queue."""
    rush_end_seconds: float = 0.01
    """A pause that ends a rush."""
    root_check_seconds: float = 2.0
    """How often to make sure that the root is still the directory that is watched."""
    root_gone_seconds: float = 0.2
    """How often to look for a root, or the directory of an extra file, that is gone."""
    poll_seconds: float = 1.0
    """Between two looks at a directory without events, as most pollers do it."""
    poll_hot_seconds: float = 0.2
    """Between two looks at a directory in which something changed lately."""
    poll_hot_for_seconds: float = 30.0
    """How long a directory counts as changed lately."""
    poll_share: float = 0.1
    """The most of one core that polling may take; a big tree is looked at less often."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be compared, and why now."""

    paths: frozenset[str]
    """Dirty paths, relative to the root or absolute for extra files; a directory stands for its tree."""
    rescan: bool
    """Events were lost: everything must be compared, not only `paths`."""
    first_event: float
    last_event: float
    reason: Reason
    temporary: frozenset[str] = frozenset()
    """Editors' passing names: no reason to act, yet a build would see those that still exist."""
    gaps: tuple[str, ...] = ()
    """Why a rescan is needed, each phrase once."""


@dataclass(slots=True)
class Debouncer:
    """Collects dirty paths and hands them out as batches; loses and repeats nothing."""

    settings: WatchSettings = field(default_factory=WatchSettings)
    _paths: set[str] = field(default_factory=set)
    _temporary: set[str] = field(default_factory=set)
    _unsettled: dict[str, tuple[State, float]] = field(default_factory=dict)
    _gaps: list[str] = field(default_factory=list)
    _burst: set[str] = field(default_factory=set)
    _burst_first: float = 0.0
    _burst_pause: float = 0.0
    _taken: float = float("-inf")
    _is_pending: bool = False
    _first: float = 0.0
    _last: float = 0.0
    _quiet_from: float = 0.0
    _held_since: float | None = None
    _released: float | None = None

    @property
    def is_pending(self) -> bool:
        """Whether something waits to become a batch; passing names alone do not count."""
        return self._is_pending

    @property
    def is_held(self) -> bool:
        """Whether a lock is known to be there, even one that is ignored since it is stale."""
        return self._held_since is not None

    def add(self, path: str, now: float, *, state: State = "settled", temporary: bool = False) -> None:
        """Take in a dirty path. A temporary one rides along with the next batch and causes none."""
        if temporary:
            self._temporary.add(path)
            return
        is_new = path not in self._paths
        self._paths.add(path)
        self._note_state(path, state, now)
        self._note_time(now, extends=is_new)

    def overflow(self, now: float, reason: str = "events were lost") -> None:
        """Take in that events were lost, so that the next batch asks for a rescan."""
        is_new = reason not in self._gaps
        if is_new:
            self._gaps.append(reason)
        self._note_time(now, extends=is_new)

    def hold(self, now: float) -> None:
        """Note that git's index is locked. Saying it again changes nothing."""
        if self._held_since is None:
            self._held_since = now

    def release(self, now: float) -> None:
        """Note that the lock is gone; what was held waits for one more quiet period."""
        if self._held_since is not None and self._is_pending:
            self._released = now
        self._held_since = None

    def take(self, now: float) -> Batch | None:
        """Return the batch if its time has come, else None. What is taken is forgotten here."""
        if not self._is_pending or now < self._ready():
            return None
        batch = Batch(
            paths=frozenset(self._paths),
            rescan=bool(self._gaps),
            first_event=self._first,
            last_event=self._last,
            reason=self._reason(),
            temporary=frozenset(self._temporary - self._paths),
            gaps=tuple(self._gaps),
        )
        if batch.reason == "git lock limit":
            # Whoever held it is gone. Until it is released it says nothing any more.
            self._held_since = float("-inf")
        self._burst |= self._paths
        self._taken = now
        self._paths.clear()
        self._temporary.clear()
        self._unsettled.clear()
        self._gaps.clear()
        self._is_pending = False
        self._released = None
        return batch

    def due(self, now: float) -> float | None:
        """Return when to look again, or None while nothing waits.

        Without a lock this is the moment from which `take` returns a batch, if nothing else comes. Under a
        lock it is at most `git_lock_poll_seconds` away, since its end brings no event.
        """
        if not self._is_pending:
            return None
        ready = self._ready()
        if self._is_blocked(now):
            return min(ready, now + self.settings.git_lock_poll_seconds)
        return ready

    def _note_time(self, now: float, *, extends: bool) -> None:
        is_continued = self._is_pending or now - self._taken <= self.settings.burst_memory_seconds
        # A burst that was cut in two knows that it pauses so long, and is not cut at the like again.
        self._burst_pause = max(self._burst_pause, now - self._last) if is_continued else 0.0
        if not is_continued:
            self._burst.clear()
            self._burst_first = now
        if not self._is_pending:
            self._is_pending = True
            self._first = now
            self._quiet_from = now
        self._last = now
        if extends or now < self._first + self.settings.repeat_seconds:
            self._quiet_from = now

    def _note_state(self, path: str, state: State, now: float) -> None:
        settings = self.settings
        match state:
            case "settled":
                self._unsettled.pop(path, None)
                return
            case "open":
                grace = settings.open_seconds
            case "empty":
                grace = settings.empty_seconds
            case "missing":
                grace = settings.missing_seconds
        known = self._unsettled.get(path)
        # A writer at work earns its grace anew; an empty or missing file is waited for once.
        if known is None or known[0] != state or state == "open":
            self._unsettled[path] = (state, now + grace)

    def _quiet(self) -> float:
        settings = self.settings
        quiet = settings.quiet_seconds
        if self._is_burst():
            grown = settings.burst_growth * (self._quiet_from - self._burst_first)
            usual = max(quiet, settings.burst_quiet_seconds, min(grown, settings.burst_quiet_max_seconds))
            quiet = min(usual, max(quiet, self._dense_quiet())) if self._is_dense() else usual
        if self._gaps:
            quiet = max(quiet, settings.overflow_quiet_seconds)
        return quiet

    def _is_burst(self) -> bool:
        enough = self.settings.burst_paths + 1
        # Asked after every round of events, so two big sets are never united.
        if max(len(self._paths), len(self._burst)) >= enough:
            return True
        return len(self._burst | self._paths) >= enough

    def _is_dense(self) -> bool:
        count = max(len(self._paths), len(self._burst))
        taken = self._quiet_from - self._burst_first
        return count >= self.settings.dense_paths and taken <= count * self.settings.dense_spacing_seconds

    def _dense_quiet(self) -> float:
        return max(self.settings.dense_quiet_seconds, self.settings.dense_pauses * self._burst_pause)

    def _limit(self) -> float:
        """When a batch goes that never becomes quiet."""
        limit = self._first + self.settings.maximum_wait_seconds
        if self._released is not None:
            limit = max(limit, self._released + self._quiet())
        return limit

    def _quiet_end(self) -> float:
        end = self._quiet_from + self._quiet()
        if self._released is not None:
            end = max(end, self._released + self._quiet())
        return max(end, max((until for _, until in self._unsettled.values()), default=end))

    def _hold_end(self) -> float | None:
        """When a lock stops to count: nothing moves under it, or it or the batch is too old."""
        if self._held_since is None:
            return None
        idle = max(self._held_since, self._last) + self.settings.git_lock_idle_seconds
        return min(min(self._held_since, self._first) + self.settings.git_lock_max_seconds, idle)

    def _is_blocked(self, now: float) -> bool:
        hold_end = self._hold_end()
        return hold_end is not None and now < hold_end

    def _ready(self) -> float:
        ready = min(self._quiet_end(), self._limit())
        hold_end = self._hold_end()
        return ready if hold_end is None else max(ready, hold_end)

    def _reason(self) -> Reason:
        hold_end = self._hold_end()
        if hold_end is not None and hold_end > min(self._quiet_end(), self._limit()):
            return "git lock limit"
        if self._quiet_end() > self._limit():
            return "maximum wait"
        return "git finished" if self._released is not None else "quiet"
