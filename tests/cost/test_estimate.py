"""Measured beats alike, alike beats a guess, and the note says which it was."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.cost.classify import classify
from devloop.cost.estimate import (
    BuildOverhead,
    Estimate,
    critical_path,
    estimate_overhead,
    estimate_step,
    format_bytes,
    format_seconds,
)

NPM = classify("npm ci")
SECONDS = st.floats(min_value=0, max_value=1e4)


def test_the_runs_of_the_step_itself_decide() -> None:
    estimate = estimate_step((38.2, 40.0, 37.0, 38.2), (1.0,), NPM, "RUN")
    note, basis = "measured 38.2 s, 4 runs", "measured, 4 runs"
    assert estimate == Estimate(38.2, 37.0, 40.0, "measured", 4, note, basis)


def test_one_run_is_a_measurement_too() -> None:
    assert estimate_step((2.0,), (), None, "COPY").note == "measured 2 s, 1 run"


def test_one_slow_run_does_not_move_the_estimate() -> None:
    assert estimate_step((10.0, 900.0, 11.0, 9.0, 10.0), (), NPM, "RUN").seconds == 10.0


def test_a_project_that_grew_is_estimated_from_its_recent_runs() -> None:
    assert estimate_step((50.0,) * 9 + (5.0,) * 30, (), NPM, "RUN").seconds == 50.0


def test_a_step_never_built_is_like_its_kind_on_this_machine() -> None:
    estimate = estimate_step((), (30.0, 10.0, 12.0), NPM, "RUN")
    assert (estimate.seconds, estimate.low, estimate.high) == (12.0, 10.0, 30.0)
    assert (estimate.seconds_from, estimate.runs) == ("estimate", 0)
    assert estimate.note == "estimate 12 s (like 3 npm-install steps on this machine)"


def test_without_any_run_the_prior_speaks_and_says_so() -> None:
    estimate = estimate_step((), (), NPM, "RUN")
    note, basis = "estimate 20 s (never built here)", "never built here"
    assert estimate == Estimate(20, 4, 120, "estimate", 0, note, basis)


def test_an_opaque_step_has_no_price_before_it_has_run() -> None:
    opaque = classify("./setup.sh")
    assert estimate_step((), (3.0, 500.0), opaque, "RUN").seconds is None
    assert estimate_step((), (), opaque, "RUN").seconds_from is None
    assert estimate_step((7.0,), (), opaque, "RUN").seconds == 7.0


@pytest.mark.parametrize("instruction", ["COPY", "ADD", "WORKDIR", "FROM"])
def test_steps_that_run_nothing_have_small_priors(instruction: str) -> None:
    estimate = estimate_step((), (), None, instruction)
    assert estimate.seconds is not None
    assert 0 <= estimate.seconds < 1
    assert estimate.seconds_from == "estimate"


@pytest.mark.parametrize("instruction", ["ENV", "LABEL", "CMD", "EXPOSE", "USER"])
def test_metadata_costs_nothing(instruction: str) -> None:
    assert estimate_step((), (), None, instruction).seconds == 0


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_an_estimate_lies_within_its_range(durations: list[float]) -> None:
    estimate = estimate_step(durations, (), None, "RUN")
    assert estimate.seconds is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= estimate.seconds <= estimate.high
    assert estimate.low in durations
    assert estimate.high in durations


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "under 0.1 s"),
        (0.049, "under 0.1 s"),
        (0.26, "0.3 s"),
        (38.24, "38.2 s"),
        (20.0, "20 s"),
        (99.4, "99.4 s"),
        (99.96, "1 min 40 s"),
        (120.0, "2 min"),
        (250.0, "4 min 10 s"),
    ],
)
def test_seconds_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


# --- the critical path ------------------------------------------------------------------------------------


def test_stages_that_do_not_wait_for_each_other_build_at_once() -> None:
    nodes = {"base": (1.0, []), "web": (10.0, ["base"]), "api": (4.0, ["base"]), "out": (2.0, ["web", "api"])}
    assert critical_path(nodes) == 13.0


def test_nothing_to_build_takes_no_time() -> None:
    assert critical_path({}) == 0.0


def test_a_predecessor_outside_the_graph_is_cached() -> None:
    assert critical_path({"a": (3.0, ["elsewhere"])}) == 3.0


def test_a_chain_of_ten_thousand_steps_is_no_problem() -> None:
    nodes = {number: (1.0, [number - 1] if number else []) for number in reversed(range(10_000))}
    assert critical_path(nodes) == 10_000.0


def test_a_graph_that_meets_itself_ends() -> None:
    assert critical_path({"a": (1.0, ["b"]), "b": (2.0, ["a"])}) == 3.0


GRAPHS = st.lists(st.tuples(SECONDS, st.sets(st.integers(0, 11))), max_size=12).map(
    lambda rows: {
        number: (seconds, sorted(p for p in predecessors if p < number))
        for number, (seconds, predecessors) in enumerate(rows)
    }
)


@given(GRAPHS)
def test_the_critical_path_is_the_longest_of_all_chains(
    nodes: dict[int, tuple[float, list[int]]],
) -> None:
    longest: dict[int, float] = {}
    for number, (seconds, predecessors) in nodes.items():
        longest[number] = seconds + max((longest[p] for p in predecessors), default=0.0)
    assert critical_path(nodes) == pytest.approx(max(longest.values(), default=0.0))
    backwards = dict(reversed(nodes.items()))
    assert critical_path(backwards) == pytest.approx(critical_path(nodes))


@given(GRAPHS)
def test_it_is_never_longer_than_one_after_the_other_nor_shorter_than_the_longest_step(
    nodes: dict[int, tuple[float, list[int]]],
) -> None:
    every = [seconds for seconds, _ in nodes.values()]
    assert max(every, default=0.0) <= critical_path(nodes) <= sum(every) * (1 + 1e-9)


def test_every_order_of_a_diamond_gives_the_same_length() -> None:
    nodes = {"a": (1.0, []), "b": (5.0, ["a"]), "c": (2.0, ["a", "b"]), "d": (1.0, ["c", "b", "a"])}
    for order in itertools.permutations(nodes):
        assert critical_path({name: nodes[name] for name in order}) == 9.0


# Overheads


def overhead(seconds: float, *ran: str) -> BuildOverhead:
    return BuildOverhead(frozenset(ran), seconds)


def test_builds_in_which_the_same_steps_ran_tell_the_overhead() -> None:
    builds = (overhead(9.0, "a", "b"), overhead(1.0, "b"), overhead(3.0, "b"), overhead(2.0, "b"))
    assert estimate_overhead(builds, frozenset({"b"})) == 2.0
    assert estimate_overhead(builds, frozenset({"a", "b"})) == 9.0


def test_else_the_builds_tell_whose_steps_are_most_like_these() -> None:
    builds = (overhead(9.0, "a", "b", "c"), overhead(1.0, "c"), overhead(7.0, "x", "b", "c"))
    assert estimate_overhead(builds, frozenset({"b", "c"})) == 8.0


def test_else_builds_in_which_anything_ran_or_nothing_as_in_this_one() -> None:
    builds = (overhead(9.0, "a"), overhead(0.5), overhead(5.0, "b"), overhead(0.7))
    assert estimate_overhead(builds, frozenset({"c"})) == 7.0
    assert estimate_overhead(builds, frozenset()) == pytest.approx(0.6)


def test_else_any_build_and_without_one_nothing_is_known() -> None:
    assert estimate_overhead((overhead(0.5),), frozenset({"c"})) == 0.5
    assert estimate_overhead((), frozenset({"c"})) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (9_960, "10 kB"),
        (3_240_000, "3.2 MB"),
        (999_600_000, "1.0 GB"),
    ],
)
def test_bytes_are_written_as_docker_writes_them(size: int, text: str) -> None:
    assert format_bytes(size) == text
