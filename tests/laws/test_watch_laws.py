"""What holds for every sequence of events: nothing is lost, nothing repeated, no promise broken."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from devloop.watch.debounce import Batch, Debouncer, WatchSettings
from devloop.watch.ephemeral import is_ephemeral, is_ephemeral_path
from devloop.watch.events import State, biggest_directories, is_within
from watch.recorder import ManualClock

# Whole microseconds, so that sums of times are the same in whatever order they are added up.
PAUSES = st.integers(0, 400_000).map(lambda micros: micros / 1_000_000)
PATHS = st.sampled_from(["a", "b", "c/d", "c/e", "f", "g", "h/i"])
STATES: st.SearchStrategy[State] = st.sampled_from(["settled", "settled", "open", "empty", "missing"])
ADDS = st.tuples(st.just("add"), PAUSES, PATHS, STATES)
OTHERS = st.tuples(
    st.sampled_from(["overflow", "hold", "release", "take", "temporary"]), PAUSES, PATHS, STATES
)
STEPS = st.lists(st.one_of(ADDS, ADDS, OTHERS), max_size=40)
Step = tuple[str, float, str, State]
SETTINGS = WatchSettings()


def apply(debouncer: Debouncer, step: Step, clock: ManualClock) -> Batch | None:
    kind, pause, path, state = step
    now = clock.advance(pause)
    match kind:
        case "add":
            debouncer.add(path, now, state=state)
        case "temporary":
            debouncer.add(f"{path}~", now, temporary=True)
        case "overflow":
            debouncer.overflow(now)
        case "hold":
            debouncer.hold(now)
        case "release":
            debouncer.release(now)
        case _:
            return debouncer.take(now)
    return None


def drain(debouncer: Debouncer, clock: ManualClock) -> Batch | None:
    """Take what is left, as late as a lock can hold it."""
    clock.advance(SETTINGS.git_lock_max_seconds + SETTINGS.maximum_wait_seconds)
    return debouncer.take(clock.now)


@given(STEPS)
def test_every_path_is_in_exactly_the_first_batch_after_it_was_added(steps: list[Step]) -> None:
    debouncer, clock = Debouncer(), ManualClock()
    waiting: set[str] = set()
    temporary: set[str] = set()
    has_gap = False
    for step in steps:
        batch = apply(debouncer, step, clock)
        if step[0] == "add":
            waiting.add(step[2])
        elif step[0] == "temporary":
            temporary.add(f"{step[2]}~")
        elif step[0] == "overflow":
            has_gap = True
        if batch is not None:
            assert (set(batch.paths), set(batch.temporary), batch.rescan) == (waiting, temporary, has_gap)
            waiting, temporary, has_gap = set(), set(), False
    last = drain(debouncer, clock)
    assert (last is not None) == bool(waiting or has_gap)
    if last is not None:
        assert (set(last.paths), set(last.temporary), last.rescan) == (waiting, temporary, has_gap)
    assert drain(debouncer, clock) is None


@given(STEPS)
def test_due_is_the_moment_from_which_take_gives_a_batch(steps: list[Step]) -> None:
    debouncer, clock = Debouncer(), ManualClock()
    for step in steps:
        apply(debouncer, step, clock)
    due = debouncer.due(clock.now)
    if due is None:
        assert debouncer.take(clock.now + 1000) is None
        return
    if debouncer.is_held:
        debouncer.release(clock.now)
        due = debouncer.due(clock.now)
        assert due is not None
    half = (clock.now + due) / 2
    if clock.now < half < due:
        assert debouncer.take(half) is None
    assert debouncer.take(max(due, clock.now)) is not None


@given(STEPS)
def test_under_a_lock_the_next_look_is_never_far(steps: list[Step]) -> None:
    debouncer, clock = Debouncer(), ManualClock()
    for step in steps:
        apply(debouncer, step, clock)
    debouncer.release(clock.now)
    debouncer.add("x", clock.now)
    debouncer.hold(clock.now)
    due = debouncer.due(clock.now)
    assert due is not None
    assert due <= clock.now + SETTINGS.git_lock_poll_seconds or debouncer.take(clock.now) is not None


@given(st.lists(ADDS, min_size=1, max_size=40))
def test_no_event_waits_longer_than_the_maximum(steps: list[Step]) -> None:
    debouncer, clock = Debouncer(), ManualClock()
    first: float | None = None
    for step in steps:
        target = clock.now + step[1]
        while (due := debouncer.due(clock.now)) is not None and due <= target:
            clock.set(max(due, clock.now))
            batch = debouncer.take(clock.now)
            assert batch is not None
            assert first is not None
            assert clock.now - first <= SETTINGS.maximum_wait_seconds + 1e-9
            first = None
        clock.set(target)
        apply(debouncer, (step[0], 0.0, step[2], step[3]), clock)
        first = clock.now if first is None else first
        assert (debouncer.due(clock.now) or 0) <= first + SETTINGS.maximum_wait_seconds + 1e-9


@given(st.lists(ADDS, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_events_in_a_batch_never_matters(steps: list[Step], shuffler: Random) -> None:
    shuffled = list(steps)
    shuffler.shuffle(shuffled)
    batches = []
    for order in (steps, shuffled):
        debouncer, clock = Debouncer(), ManualClock()
        for kind, _, path, state in order:
            apply(debouncer, (kind, 0.0, path, state), clock)
        batches.append(drain(debouncer, clock))
    assert batches[0] == batches[1]


@given(st.lists(ADDS, min_size=1, max_size=20))
def test_a_lock_only_ever_delays(steps: list[Step]) -> None:
    free, locked, clock = Debouncer(), Debouncer(), ManualClock()
    for step in steps:
        now = clock.advance(step[1] / 100)
        free.add(step[2], now, state=step[3])
        locked.add(step[2], now, state=step[3])
    locked.hold(clock.now)
    due = free.due(clock.now)
    assert due is not None
    assert locked.take(due) is None
    locked.release(due)
    later = locked.due(due)
    assert later is not None
    assert later >= due
    left, right = free.take(due), locked.take(later)
    assert left is not None
    assert right is not None
    assert left.paths == right.paths


@given(st.text(min_size=1, max_size=12), st.text(min_size=1, max_size=12))
def test_a_path_is_passing_exactly_if_one_of_its_names_is(left: str, right: str) -> None:
    names = f"{left}/{right}".split("/")
    assert is_ephemeral_path("/".join(names)) == any(is_ephemeral(name) for name in names)


@given(st.lists(st.sampled_from(["", "a", "a/b", "ab", "c", "c/d/e"]), max_size=20))
def test_the_biggest_directories_count_what_lies_within_them(paths: list[str]) -> None:
    for top, count in biggest_directories(paths):
        assert count == sum(is_within(path, top) for path in paths)
