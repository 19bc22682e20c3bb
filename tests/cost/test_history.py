"""What is recorded comes back, newest first, bounded, and apart for each project."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devloop.cost import history as module
from devloop.cost.estimate import BuildOverhead
from devloop.cost.history import BuildRecord, History, RestartTimes, StepRecord, StepStatus, SyncRecord
from devloop.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def history() -> Iterator[History]:
    with Database.in_memory() as database:
        yield History(database)


def step(
    key: str = "k",
    seconds: float | None = 1.0,
    status: StepStatus = "run",
    kind: str | None = "npm-install",
) -> StepRecord:
    return StepRecord("web", 2, 5, "RUN", "RUN npm ci", key, kind, status, seconds)


def build(*steps: StepRecord, project: str = "p", at: float = 1.0, **changes: object) -> BuildRecord:
    record = BuildRecord(project, "Dockerfile", None, "docker 27", at, 9.5, "ok", 2048, 0.4, 0.2, steps)
    return replace(record, **changes)  # type: ignore[arg-type]  # tests name real fields


def test_a_build_comes_back_as_it_was_recorded(history: History) -> None:
    record = build(
        step("a", 3.25),
        step("b", None, "cached", None),
        target="prod",
        builder="default",
        predicted_seconds=8.0,
        prediction='{"x": 1}',
        chain_seconds=3.25,
        context_seconds=0.5,
    )
    history.record_build(record)
    assert history.last_builds("p", 5) == (record,)


def test_builds_have_numbers_of_their_own(history: History) -> None:
    assert history.record_build(build()) != history.record_build(build())


def test_last_builds_are_newest_first_and_as_many_as_asked(history: History) -> None:
    for at in (3.0, 1.0, 2.0):
        history.record_build(build(at=at))
    assert [record.started_at for record in history.last_builds("p", 2)] == [3.0, 2.0]


def test_durations_are_newest_first(history: History) -> None:
    for at, seconds in ((1.0, 10.0), (3.0, 30.0), (2.0, 20.0)):
        history.record_build(build(step("k", seconds), at=at))
    assert history.durations("p", ["k"]) == {"k": (30.0, 20.0, 10.0)}
    assert history.durations("p", ["k"], recent=1) == {"k": (30.0,)}


@pytest.mark.parametrize("status", ["cached", "failed", "canceled"])
def test_a_step_that_did_not_run_to_its_end_measures_nothing(history: History, status: StepStatus) -> None:
    history.record_build(build(step("k", 5.0, status)))
    assert history.durations("p", ["k"]) == {}


def test_a_step_that_ran_in_a_failed_build_is_a_measurement(history: History) -> None:
    history.record_build(build(step("k", 5.0), outcome="failed"))
    assert history.durations("p", ["k"]) == {"k": (5.0,)}


def test_unknown_keys_are_absent_and_no_keys_ask_nothing(history: History) -> None:
    history.record_build(build(step("k")))
    assert history.durations("p", ["other"]) == {}
    assert history.durations("p", []) == {}


def test_more_keys_than_sqlite_takes_in_one_query_are_answered(history: History) -> None:
    keys = [f"k{number}" for number in range(1200)]
    history.record_build(build(*(step(key) for key in keys)))
    assert len(history.durations("p", keys)) == 1200


def test_projects_do_not_see_each_other_except_by_kind(history: History) -> None:
    history.record_build(build(step("k", 1.0), project="p"))
    history.record_build(build(step("k", 2.0), project="q", at=2.0))
    assert history.durations("p", ["k"]) == {"k": (1.0,)}
    assert history.durations_by_kind(["npm-install", "apt-install"]) == {"npm-install": (2.0, 1.0)}


def test_a_step_without_a_kind_is_no_example_of_any(history: History) -> None:
    history.record_build(build(step("k", kind=None)))
    assert history.durations_by_kind(["", "None"]) == {}


def test_a_rare_install_outlives_the_builds_it_was_measured_in(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_BUILDS_PER_PROJECT", 10)
    history.record_build(build(step("install", 40.0)))
    for number in range(30):
        history.record_build(build(step("copy", 0.1), at=10.0 + number))
    assert len(history.last_builds("p", 100)) == 10
    assert history.durations("p", ["install"]) == {"install": (40.0,)}


def test_pruned_builds_take_their_steps_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BUILDS_PER_PROJECT", 2)
    with Database.in_memory() as database:
        for number in range(5):
            History(database).record_build(build(step(), at=number))
        assert database.read("SELECT count(*) FROM steps") == [(2,)]


def test_a_key_keeps_its_last_fifty_measurements() -> None:
    with Database.in_memory() as database:
        for number in range(60):
            History(database).record_build(build(step("k", float(number)), at=number))
        assert database.read("SELECT count(*), min(seconds) FROM durations") == [(50, 10.0)]


def test_the_keys_of_old_dockerfiles_age_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_DURATIONS_PER_PROJECT", 20)
    with Database.in_memory() as database:
        for number in range(40):
            History(database).record_build(build(step(f"k{number}"), at=number))
        assert database.read("SELECT count(*) FROM durations") == [(20,)]
        assert History(database).durations("p", ["k0"]) == {}


def test_all_projects_together_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BUILDS", 5)
    monkeypatch.setattr(module, "KEPT_DURATIONS", 7)
    with Database.in_memory() as database:
        for number in range(20):
            History(database).record_build(build(step(), project=f"p{number}", at=number))
        assert database.read("SELECT count(*) FROM builds") == [(5,)]
        assert database.read("SELECT count(*) FROM durations") == [(7,)]


def test_the_overhead_of_a_build_is_what_it_took_beyond_its_longest_chain(history: History) -> None:
    history.record_build(build(step("a"), step("b", None, "cached"), at=1.0, seconds=9.5, chain_seconds=9.0))
    history.record_build(build(step("a"), step("b"), at=2.0, seconds=4.0, chain_seconds=4.1))
    assert history.overheads("p") == (
        BuildOverhead(frozenset({"a", "b"}), 0.0),
        BuildOverhead(frozenset({"a"}), 0.5),
    )


def test_a_build_that_failed_or_has_no_chain_says_nothing_about_overheads(history: History) -> None:
    history.record_build(build(outcome="failed", chain_seconds=1.0))
    history.record_build(build())
    assert history.overheads("p") == ()


def test_overheads_of_all_projects_can_be_asked_for(history: History) -> None:
    history.record_build(build(project="p", seconds=3.0, chain_seconds=2.0))
    assert history.overheads("q") == ()
    assert history.overheads(None) == (BuildOverhead(frozenset(), 1.0),)


def test_only_recent_overheads_are_returned(history: History) -> None:
    for at in range(5):
        history.record_build(build(at=at, seconds=at + 1.0, chain_seconds=0.0))
    assert [one.seconds for one in history.overheads("p", recent=2)] == [5.0, 4.0]


def test_restart_times_are_medians_of_their_kind(history: History) -> None:
    for number, stop in enumerate((1.0, 10.0, 2.0)):
        history.record_restart("p", "recreate", stop, 0.5, None, measured_at=number)
    history.record_restart("p", "signal", 7.0, 7.0, 7.0)
    assert history.restart_times("p", "recreate") == RestartTimes(2.0, 0.5, None, 3)
    assert history.restart_times("q", "recreate") == RestartTimes(None, None, None, 0)


def test_restarts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_RESTARTS_PER_PROJECT", 3)
    with Database.in_memory() as database:
        for number in range(9):
            History(database).record_restart("p", "k", 1.0, 1.0, 1.0, measured_at=number)
        assert database.read("SELECT min(measured_at), count(*) FROM restarts") == [(6.0, 3)]


def test_forgetting_a_project_leaves_the_others(history: History) -> None:
    for project in "pq":
        history.record_build(build(step("k"), project=project))
        history.record_restart(project, "signal", 1.0, 1.0, 1.0)
    history.forget("p")
    assert history.last_builds("p", 9) == ()
    assert history.durations("p", ["k"]) == {}
    assert history.restart_times("p", "signal").runs == 0
    assert len(history.last_builds("q", 9)) == 1
    assert history.durations("q", ["k"]) == {"k": (1.0,)}


MEASUREMENTS = st.lists(
    st.tuples(
        st.sampled_from("pq"),
        st.sampled_from("xyz"),
        st.integers(min_value=0, max_value=50),
        st.floats(min_value=0, max_value=1000),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(MEASUREMENTS)
def test_durations_are_exactly_what_was_measured_in_order_of_time(
    measured: list[tuple[str, str, int, float]],
) -> None:
    with Database.in_memory() as database:
        history = History(database)
        for project, key, at, seconds in measured:
            history.record_build(build(step(key, seconds), project=project, at=at))
        for project in "pq":
            expected: dict[str, tuple[float, ...]] = {}
            for key in "xyz":
                mine = [
                    (at, number, seconds)
                    for number, (owner, name, at, seconds) in enumerate(measured)
                    if (owner, name) == (project, key)
                ]
                if mine:
                    expected[key] = tuple(seconds for _, _, seconds in sorted(mine, reverse=True))[:20]
            assert history.durations(project, "xyz") == expected


def test_syncs_are_newest_first_and_apart_for_each_project(history: History) -> None:
    for at in (1.0, 3.0, 2.0):
        history.record_sync("p", SyncRecord(at, "sync", 0.1, 8.0))
    history.record_sync("q", SyncRecord(9.0, "sync+restart", 0.4, None))
    assert [one.at for one in history.syncs("p")] == [3.0, 2.0, 1.0]
    assert history.syncs("q") == (SyncRecord(9.0, "sync+restart", 0.4, None),)


def test_only_the_newest_syncs_are_kept(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_SYNCS_PER_PROJECT", 2)
    for at in (1.0, 2.0, 3.0):
        history.record_sync("p", SyncRecord(at, "sync", 0.1, 8.0))
    assert [one.at for one in history.syncs("p")] == [3.0, 2.0]


def test_a_forgotten_project_has_no_syncs(history: History) -> None:
    history.record_sync("p", SyncRecord(1.0, "sync", 0.1, 8.0))
    history.forget("p")
    assert history.syncs("p") == ()


def test_restarts_and_syncs_of_all_projects_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_RESTARTS", 4)
    monkeypatch.setattr(module, "KEPT_SYNCS", 3)
    with Database.in_memory() as database:
        history = History(database)
        for number in range(9):
            history.record_restart(f"p{number}", "process", 0.1, 0.1, 0.1, measured_at=number)
            history.record_sync(f"p{number}", SyncRecord(number, "sync", 0.1, None))
        assert database.read("SELECT project FROM restarts ORDER BY id") == [
            ("p5",),
            ("p6",),
            ("p7",),
            ("p8",),
        ]
        assert database.read("SELECT project FROM syncs ORDER BY id") == [("p6",), ("p7",), ("p8",)]


def test_a_long_life_leaves_a_file_of_bounded_size_that_still_knows_the_rare_install(tmp_path: Path) -> None:
    with Database(tmp_path / "state.db") as database:
        history = History(database)
        history.record_build(build(step("install", 60.0), at=0.0))
        sizes = []
        for number in range(1, 1_501):
            cached = step("install", None, "cached")
            history.record_build(build(cached, step(f"edit{number % 40}"), at=number, prediction="x" * 500))
            if number in {700, 1_500}:
                sizes.append(database.read("SELECT page_count FROM pragma_page_count")[0][0])
        assert database.read("SELECT count(*) FROM builds") == [(module.KEPT_BUILDS_PER_PROJECT,)]
        assert history.durations("p", ["install"]) == {"install": (60.0,)}
        assert sizes[1] < sizes[0] * 1.5
