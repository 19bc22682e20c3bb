"""Accounts of builds come back as they were stored, and only what was measured is added up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.cost.history import BuildRecord, StepRecord, StepStatus, SyncRecord
from devloop.cost.report import (
    ENOUGH_BUILDS,
    MANY_CHANGES,
    BuildAccount,
    StepAccount,
    SyncTotals,
    Verdict,
    account_from_json,
    account_to_json,
    accounted,
    calibrate,
    file_totals,
    quality,
    step_totals,
    summarize,
    sync_totals,
    verdict,
)


def step(
    line: int = 3, status: StepStatus = "run", seconds: float | None = 1.0, key: str | None = None
) -> StepRecord:
    text = f"RUN step {line}"
    return StepRecord("0", line, line, "RUN", text, key or f"key {line}", None, status, seconds)


def build(
    *pairs: tuple[StepRecord, StepAccount], at: float = 1.0, seconds: float = 10.0, **changes: object
) -> BuildRecord:
    account = BuildAccount(tuple(account for _, account in pairs))
    record = BuildRecord(
        project="p",
        dockerfile="Dockerfile",
        target=None,
        engine="engine",
        started_at=at,
        seconds=seconds,
        outcome="ok",
        context_bytes=None,
        export_seconds=None,
        metadata_seconds=None,
        steps=tuple(one for one, _ in pairs),
        prediction=account_to_json(account),
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # tests name real fields


CACHED = StepAccount("cached")
RUN = StepAccount("run", 2.0, "content", "a.py changed", "a.py")


# Accounts

texts = st.text(max_size=8)
step_accounts = st.builds(
    StepAccount,
    predicted=st.sampled_from([None, "cached", "run", "unknown"]),
    seconds=st.none() | st.integers(0, 500).map(float),
    rule=st.none() | texts,
    cause=texts,
    path=st.none() | texts,
    line=st.none() | st.integers(1, 999),
)
accounts = st.builds(
    BuildAccount,
    steps=st.lists(step_accounts, max_size=4).map(tuple),
    changes=st.lists(texts, max_size=3).map(tuple),
    change_count=st.integers(0, 99),
    is_background=st.booleans(),
)


@given(accounts)
def test_an_account_comes_back_as_it_was_written(account: BuildAccount) -> None:
    assert account_from_json(account_to_json(account)) == account


def test_an_account_names_the_first_changes_and_counts_the_rest() -> None:
    paths = tuple(f"{number}.py" for number in range(MANY_CHANGES + 5))
    found = account_from_json(account_to_json(BuildAccount((), paths, len(paths))))
    assert found is not None
    assert (len(found.changes), found.change_count) == (MANY_CHANGES, MANY_CHANGES + 5)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        '{"format": 2}',
        '{"format": 1}',
        '{"format": 1, "steps": 3, "changes": [], "change_count": 0, "background": false}',
        '{"format": 1, "steps": ["x"], "changes": [], "change_count": 0, "background": false}',
    ],
)
def test_what_is_no_account_is_none(text: str | None) -> None:
    assert account_from_json(text) is None


def test_a_build_whose_account_does_not_fit_counts_as_one_without() -> None:
    record = replace(build((step(), RUN)), steps=(step(3), step(4)))
    assert [account for _, account in accounted(record)] == [StepAccount(None)] * 2


# Verdicts


@pytest.mark.parametrize(
    ("predicted", "status", "expected"),
    [
        ("cached", "cached", "right"),
        ("run", "run", "right"),
        ("run", "failed", "right"),
        ("cached", "run", "missed"),
        ("cached", "failed", "missed"),
        ("run", "cached", "spared"),
        ("unknown", "run", "unknown"),
        ("unknown", "cached", "unknown"),
        ("cached", "canceled", None),
        ("run", "canceled", None),
        (None, "run", None),
    ],
)
def test_a_prediction_is_held_against_what_was_observed(
    predicted: str | None, status: StepStatus, expected: Verdict | None
) -> None:
    account = StepAccount(predicted)  # type: ignore[arg-type]  # one of the three, or None
    assert verdict(step(status=status), account) == expected


def test_what_nobody_could_know_is_missed_and_counted_apart() -> None:
    found = quality(
        [
            (step(1, "cached"), CACHED),
            (step(2), RUN),
            (step(3), StepAccount("cached", rule="pruned")),
            (step(4), StepAccount("cached", rule="base")),
            (step(5), StepAccount("cached", rule="contradiction")),
            (step(6, "cached"), StepAccount("run", rule="foreign")),
            (step(7), StepAccount("unknown", rule="stage")),
            (step(8), StepAccount(None)),
        ]
    )
    assert (found.steps, found.cached, found.ran) == (7, 1, 1)
    assert (found.missed, found.nobody_knew) == (3, 2)
    assert (found.spared, found.unknown) == (1, 1)


# Sums


def test_the_steps_that_took_longest_come_first_under_their_newest_name() -> None:
    newest = build((step(9, seconds=1.0, key="k"), RUN), (step(2, seconds=3.5), RUN))
    oldest = build((step(4, seconds=2.0, key="k"), RUN))
    assert [(one.line, one.seconds, one.runs) for one in step_totals([newest, oldest])] == [
        (2, 3.5, 1),
        (9, 3.0, 2),
    ]


def test_what_was_cached_took_nothing() -> None:
    assert step_totals([build((step(status="cached", seconds=0.0), CACHED))]) == ()


def test_the_time_of_a_canceled_step_was_spent() -> None:
    [found] = step_totals([build((step(status="canceled", seconds=4.0), RUN))])
    assert (found.seconds, found.runs) == (4.0, 1)


def test_a_file_is_charged_with_everything_that_ran_for_it() -> None:
    other = replace(RUN, path="b.py")
    first = accounted(build((step(1, seconds=1.0), RUN), (step(2, seconds=5.0), RUN)))
    second = accounted(build((step(1, seconds=2.0), RUN), (step(3, seconds=20.0), other)))
    found = file_totals([first, second])
    assert [(one.path, one.seconds, one.steps, one.builds) for one in found] == [
        ("b.py", 20.0, 1, 1),
        ("a.py", 8.0, 3, 2),
    ]


def test_what_ran_for_no_file_is_charged_to_none() -> None:
    never = StepAccount("run", rule="never-built")
    assert file_totals([accounted(build((step(), never), (step(4, "cached", None), RUN)))]) == ()


# Expected seconds


def test_few_builds_say_nothing_about_the_estimates() -> None:
    found = calibrate([build((step(), RUN), predicted_seconds=5.0)] * (ENOUGH_BUILDS - 1))
    assert (found.builds, found.median_error, found.median_ratio) == (ENOUGH_BUILDS - 1, None, None)


def test_the_middle_of_the_errors_is_told() -> None:
    expected = [11.0, 12.0, 13.0, 5.0, 40.0]
    found = calibrate([build((step(), RUN), predicted_seconds=one) for one in expected])
    assert found.builds == 5
    assert found.median_error == pytest.approx(0.3)
    assert found.median_ratio == pytest.approx(1.2)


@pytest.mark.parametrize(
    "record",
    [
        build((step(), RUN)),
        build((step(), RUN), predicted_seconds=5.0, outcome="failed"),
        build((step(), RUN), predicted_seconds=5.0, outcome="canceled"),
        build((step(status="cached"), CACHED), predicted_seconds=5.0),
        build((step(), RUN), predicted_seconds=5.0, seconds=0.0),
    ],
    ids=["no estimate", "failed", "canceled", "nothing ran", "no time"],
)
def test_a_build_that_cannot_be_compared_is_left_out(record: BuildRecord) -> None:
    assert calibrate([record]).builds == 0


# Syncs


def test_a_sync_saves_what_the_rebuild_would_have_taken_longer() -> None:
    syncs = [
        SyncRecord(1.0, "sync", 0.5, 10.0),
        SyncRecord(2.0, "sync+restart", 3.0, 2.0),
        SyncRecord(3.0, "sync", 0.5, None),
    ]
    assert sync_totals(syncs) == SyncTotals(3, 4.0, 8.5, 1)


# All of it


def test_figures_cover_every_build() -> None:
    builds = [
        build((step(), RUN), at=3.0),
        build((step(), RUN), at=2.0, outcome="failed"),
        build((step(status="canceled"), RUN), at=1.0, outcome="canceled"),
    ]
    found = summarize(builds, [], 4, last=2)
    assert (found.builds, found.ok, found.failed, found.canceled) == (3, 1, 1, 1)
    assert (found.since, found.seconds, found.misses) == (1.0, 30.0, 4)
    assert found.last == tuple(builds[:2])


def test_without_any_build_there_are_no_figures() -> None:
    found = summarize([], [], 0)
    assert (found.since, found.builds, found.steps, found.files, found.quality.steps) == (None, 0, (), (), 0)
