import pytest

from devloop.watch.debounce import Batch, Debouncer, WatchSettings
from devloop.watch.events import State
from watch.recorder import ManualClock

SETTINGS = WatchSettings()


def run_until_quiet(debouncer: Debouncer, clock: ManualClock) -> list[Batch]:
    """Do what a driver does: sleep until due, take, repeat."""
    batches: list[Batch] = []
    for _ in range(10_000):
        due = debouncer.due(clock.now)
        if due is None:
            return batches
        clock.set(max(due, clock.now))
        batch = debouncer.take(clock.now)
        if batch is not None:
            batches.append(batch)
    raise AssertionError("the debouncer never becomes quiet")


def play(
    steps: list[tuple[float, str, State]], settings: WatchSettings = SETTINGS
) -> tuple[list[Batch], list[float]]:
    """Feed (seconds since the start, path, state) while a driver takes; return batches and their times."""
    clock = ManualClock(0.0)
    debouncer = Debouncer(settings)
    batches: list[Batch] = []
    times: list[float] = []

    def take_until(moment: float | None) -> None:
        while (due := debouncer.due(clock.now)) is not None and (moment is None or due <= moment):
            clock.set(max(due, clock.now))
            batch = debouncer.take(clock.now)
            if batch is not None:
                batches.append(batch)
                times.append(clock.now)

    for at, path, state in steps:
        take_until(at)
        clock.set(at)
        debouncer.add(path, at, state=state)
    take_until(None)
    return batches, times


def test_nothing_is_due_while_nothing_happened() -> None:
    debouncer = Debouncer()
    assert debouncer.due(5.0) is None
    assert debouncer.take(5.0) is None
    assert not debouncer.is_pending


def test_a_lone_save_is_acted_on_after_at_most_15_ms_of_quiet() -> None:
    batches, times = play([(0.0, "main.py", "settled")])
    assert [batch.paths for batch in batches] == [{"main.py"}]
    assert times[0] <= 0.015
    assert batches[0].reason == "quiet"
    assert not batches[0].rescan


def test_two_saves_of_two_files_a_second_apart_are_two_batches() -> None:
    batches, _ = play([(0.0, "a", "settled"), (1.0, "b", "settled")])
    assert [sorted(batch.paths) for batch in batches] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("editor", "steps"),
    [
        ("vim", [(0, "f", "missing"), (0.001, "f", "open"), (0.041, "f", "settled")]),
        ("vim on a slow disk", [(0, "f", "missing"), (0.002, "f", "open"), (0.09, "f", "settled")]),
        ("VS Code", [(0, "f", "empty"), (0.020, "f", "settled")]),
        ("VS Code, in two opens", [(0, "f", "empty"), (0.015, "f", "open"), (0.03, "f", "settled")]),
        ("JetBrains", [(0, "f", "settled"), (0.004, "f", "missing"), (0.030, "f", "settled")]),
        ("rename over", [(0, "f", "settled")]),
        ("touch", [(0, "f", "settled"), (0.0001, "f", "settled")]),
        ("a slow writer", [(n * 0.05, "f", "open") for n in range(8)] + [(0.4, "f", "settled")]),
    ],
)
def test_the_save_of_an_editor_is_one_batch(editor: str, steps: list[tuple[float, str, State]]) -> None:
    batches, times = play(steps)
    assert [batch.paths for batch in batches] == [{"f"}], editor
    assert times[0] - steps[-1][0] <= 0.015


def test_a_file_that_stays_empty_or_gone_is_waited_for_once() -> None:
    for state, grace in (("empty", SETTINGS.empty_seconds), ("missing", SETTINGS.missing_seconds)):
        debouncer = Debouncer()
        debouncer.add("f", 0.0, state=state)  # type: ignore[arg-type]  # a Literal out of a tuple
        assert debouncer.due(0.0) == grace
        debouncer.add("f", 0.02, state=state)  # type: ignore[arg-type]  # a Literal out of a tuple
        assert debouncer.due(0.02) == grace


def test_a_formatter_300_ms_after_the_save_is_a_batch_of_its_own() -> None:
    """Acting at once is worth more than acting once: the second action replaces the first."""
    batches, times = play([(0.0, "main.py", "settled"), (0.3, "main.py", "settled")])
    assert [batch.paths for batch in batches] == [{"main.py"}, {"main.py"}]
    assert times[0] <= 0.015
    assert times[1] <= 0.315


def test_a_longer_quiet_period_joins_save_and_formatter() -> None:
    batches, _ = play(
        [(0.0, "main.py", "settled"), (0.3, "main.py", "settled")], WatchSettings(quiet_seconds=0.4)
    )
    assert len(batches) == 1


def test_500_files_in_60_ms_are_one_batch_within_150_ms() -> None:
    batches, times = play([(n * 0.060 / 500, f"f{n}", "settled") for n in range(500)])
    assert [len(batch.paths) for batch in batches] == [500]
    assert times[0] < 0.150


def dense(start: float, count: int, name: str = "f") -> list[tuple[float, str, State]]:
    """So many files as a checkout writes them: one every 0.3 ms."""
    return [(start + n * 0.0003, f"{name}{n}", "settled") for n in range(count)]


def test_many_files_without_a_pause_are_acted_on_soon_after_the_last() -> None:
    steps = dense(0.0, 500)
    batches, times = play(steps)
    assert [len(batch.paths) for batch in batches] == [500]
    assert times[0] - steps[-1][0] == pytest.approx(SETTINGS.dense_quiet_seconds)


def test_a_dense_burst_that_paused_is_given_a_multiple_of_its_longest_pause() -> None:
    first = dense(0.0, 400)
    second = dense(first[-1][0] + 0.012, 100, "g")
    third = dense(second[-1][0] + 0.030, 100, "h")
    batches, times = play(first + second + third)
    assert [len(batch.paths) for batch in batches] == [600]
    assert times[0] - third[-1][0] <= SETTINGS.burst_growth * times[0]


def test_a_dense_burst_that_was_cut_in_two_is_not_cut_at_such_a_pause_again() -> None:
    first = dense(0.0, 800)
    second = dense(first[-1][0] + 0.020, 100, "g")
    third = dense(second[-1][0] + 0.020, 100, "h")
    batches, _ = play(first + second + third)
    assert [len(batch.paths) for batch in batches] == [800, 200]


def test_a_few_files_or_slow_ones_are_no_dense_burst() -> None:
    for steps in (dense(0.0, 50), [(n * 0.002, f"f{n}", "settled") for n in range(200)]):
        typed: list[tuple[float, str, State]] = [(at, path, "settled") for at, path, _ in steps]
        _, times = play(typed)
        assert times[0] - typed[-1][0] >= SETTINGS.burst_quiet_seconds - 1e-9


def test_a_longer_burst_is_given_longer_pauses() -> None:
    steps: list[tuple[float, str, State]] = [(n * 0.004, f"a{n}", "settled") for n in range(100)]
    pause = steps[-1][0] + 0.08
    steps += [(pause + n * 0.004, f"b{n}", "settled") for n in range(5)]
    batches, _ = play(steps)
    assert [len(batch.paths) for batch in batches] == [105]


def test_a_slow_generator_is_a_few_batches_and_not_one_for_each_file() -> None:
    batches, _ = play([(n * 0.02, f"f{n}", "settled") for n in range(50)])
    assert len(batches) <= 4
    assert sum(len(batch.paths) for batch in batches) == 50


def test_one_file_saved_again_and_again_never_becomes_a_burst() -> None:
    batches, times = play([(n * 0.05, "f", "settled") for n in range(40)])
    assert len(batches) == 40
    assert all(at - batch.last_event <= 0.015 for at, batch in zip(times, batches, strict=True))


def test_the_wait_after_a_burst_has_a_limit() -> None:
    steps: list[tuple[float, str, State]] = [(n * 0.1, f"f{n}", "open") for n in range(18)]
    settled: list[tuple[float, str, State]] = [(1.75, path, "settled") for _, path, _ in steps]
    _, times = play(steps + settled)
    assert times[-1] - 1.75 <= SETTINGS.burst_quiet_max_seconds + 1e-9


def test_a_file_written_all_the_time_delays_a_save_by_the_repeat_time_at_most() -> None:
    noise: list[tuple[float, str, State]] = [(n * 0.005, "app.log", "settled") for n in range(400)]
    steps = sorted([*noise, (0.1, "main.py", "settled")])
    batches, times = play(steps)
    first = next(n for n, batch in enumerate(batches) if "main.py" in batch.paths)
    assert times[first] <= 0.1 + SETTINGS.repeat_seconds + SETTINGS.quiet_seconds
    assert sum("main.py" in batch.paths for batch in batches) == 1


def test_new_files_without_a_pause_are_batched_at_the_maximum_wait() -> None:
    batches, times = play([(n * 0.005, f"f{n}", "settled") for n in range(1000)])
    assert times[0] == SETTINGS.maximum_wait_seconds
    assert batches[0].reason == "maximum wait"
    assert sum(len(batch.paths) for batch in batches) == 1000


def test_an_overflow_asks_for_a_rescan_once() -> None:
    debouncer, clock = Debouncer(), ManualClock()
    debouncer.add("f", clock.now)
    debouncer.overflow(clock.now, "queue full")
    debouncer.overflow(clock.now, "queue full")
    (batch,) = run_until_quiet(debouncer, clock)
    assert batch.rescan
    assert batch.paths == {"f"}
    assert batch.gaps == ("queue full",)
    debouncer.add("g", clock.now)
    (after,) = run_until_quiet(debouncer, clock)
    assert not after.rescan
    assert after.gaps == ()


def test_an_overflow_alone_is_a_batch_without_paths() -> None:
    debouncer, clock = Debouncer(), ManualClock()
    debouncer.overflow(clock.now)
    (batch,) = run_until_quiet(debouncer, clock)
    assert batch.rescan
    assert batch.paths == frozenset()


def test_a_temporary_name_causes_no_batch_and_rides_along_with_the_next() -> None:
    debouncer, clock = Debouncer(), ManualClock()
    debouncer.add(".f.swp", clock.now, temporary=True)
    assert debouncer.due(clock.now) is None
    clock.advance(60)
    debouncer.add("f", clock.now)
    (batch,) = run_until_quiet(debouncer, clock)
    assert batch.paths == {"f"}
    assert batch.temporary == {".f.swp"}
    debouncer.add("f", clock.now)
    (after,) = run_until_quiet(debouncer, clock)
    assert after.temporary == frozenset()


def test_a_name_that_proves_to_be_no_passing_one_is_told_once() -> None:
    debouncer, clock = Debouncer(), ManualClock()
    debouncer.add("f", clock.now, temporary=True)
    debouncer.add("f", clock.now)
    (batch,) = run_until_quiet(debouncer, clock)
    assert (set(batch.paths), set(batch.temporary)) == ({"f"}, set())


def test_a_lock_holds_the_batch_until_one_quiet_period_after_its_release() -> None:
    debouncer, clock = Debouncer(), ManualClock(0.0)
    debouncer.add("f", 0.0)
    debouncer.hold(0.01)
    assert debouncer.take(2.5) is None
    assert debouncer.due(2.5) == 2.5 + SETTINGS.git_lock_poll_seconds
    debouncer.release(2.505)
    assert debouncer.take(2.505) is None
    due = debouncer.due(2.505)
    assert due is not None
    assert 2.505 < due <= 2.520
    clock.set(due)
    batch = debouncer.take(due)
    assert batch is not None
    assert batch.reason == "git finished"


def test_a_lock_that_stays_is_ignored_after_its_limit_and_does_not_hold_the_next_batch() -> None:
    debouncer = Debouncer()
    debouncer.add("f", 0.0)
    debouncer.hold(0.01)
    for second in range(1, 30):
        debouncer.add("f", float(second))
    assert debouncer.take(SETTINGS.git_lock_max_seconds - 0.001) is None
    batch = debouncer.take(SETTINGS.git_lock_max_seconds)
    assert batch is not None
    assert batch.reason == "git lock limit"
    debouncer.hold(40.0)
    debouncer.add("g", 40.0)
    later = debouncer.take(40.015)
    assert later is not None
    assert later.paths == {"g"}
    debouncer.release(50.0)
    debouncer.add("h", 60.0)
    debouncer.hold(60.01)
    assert debouncer.take(61.0) is None, "a new lock counts again"


def test_a_lock_under_which_nothing_moves_lets_a_save_go() -> None:
    """`git commit -a` keeps the lock for as long as somebody writes the message."""
    debouncer = Debouncer()
    debouncer.add("f", 0.0)
    debouncer.hold(0.01)
    assert debouncer.take(SETTINGS.git_lock_idle_seconds) is None
    batch = debouncer.take(0.01 + SETTINGS.git_lock_idle_seconds)
    assert batch is not None
    assert batch.reason == "git lock limit"
    debouncer.add("g", 9.0)
    debouncer.hold(9.01)
    assert debouncer.take(9.015) is not None, "the same lock holds nothing else"


def test_locks_that_come_again_and_again_hold_a_batch_no_longer_than_one() -> None:
    debouncer = Debouncer()
    debouncer.add("f", 0.0)
    taken_at = None
    for n in range(1, 400):
        now = n * 0.1
        debouncer.hold(now)
        if debouncer.take(now) is not None:
            taken_at = now
            break
        debouncer.release(now + 0.001)
    assert taken_at is not None
    assert taken_at <= SETTINGS.git_lock_max_seconds + 0.2


def test_holding_and_releasing_without_anything_to_hold_does_nothing() -> None:
    debouncer = Debouncer()
    debouncer.release(1.0)
    debouncer.hold(2.0)
    debouncer.release(3.0)
    assert debouncer.due(3.0) is None
    debouncer.add("f", 4.0)
    batch = debouncer.take(4.015)
    assert batch is not None
    assert batch.reason == "quiet"


def test_a_batch_knows_when_its_first_and_last_event_came() -> None:
    batches, _ = play([(0.0, "a", "settled"), (0.004, "b", "settled"), (0.008, "a", "settled")])
    assert (batches[0].first_event, batches[0].last_event) == (0.0, 0.008)


def test_a_negative_time_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="maximum_wait_seconds"):
        WatchSettings(maximum_wait_seconds=-1)
