"""What is proven and synced is what a fresh build gives, on a real engine; and a weaker proof is found out.

The long run is `python -m support.sync_law --cases 500`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from devloop.plan import sync
from devloop.plan.copies import Layout
from devloop.plan.sync import SyncPlan, SyncWrite, prove_sync
from support.engine import BUSYBOX
from support.sync_law import Case, Edit, Laboratory, Node, make_case, run_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SEED = "ci"
CASES = 40


@pytest.fixture(scope="module")
def laboratory(engine: dict[str, str]) -> Iterator[Laboratory]:
    made = Laboratory(engine)
    yield made
    made.close()


def test_made_up_projects_hold_the_law(laboratory: Laboratory) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        case = make_case(f"{SEED}-{number}")
        report = run_case(case, laboratory)
        assert report.findings == [], case.show()
        outcomes.update(report.outcomes)
    asked = outcomes["synced"] + outcomes["nothing"] + outcomes["blocked"] + outcomes["refused"]
    # A proof that refuses everything would hold the law as well.
    assert outcomes["synced"] > asked / 3, outcomes


def a_file(text: str) -> Node:
    return Node("file", text)


CASE = Case(
    "by hand",
    (f"FROM {BUSYBOX}", "RUN mkdir /app && echo base > /app/page", "COPY one /app/", "COPY two /app/"),
    (
        *(("one", Node("dir", "", 0o755)), ("one/page", a_file("one\n")), ("one/other", a_file("one\n"))),
        *(("two", Node("dir", "", 0o755)), ("two/page", a_file("two\n")), ("two/other", a_file("two\n"))),
    ),
    None,
    (),
)


def check(laboratory: Laboratory, edits: tuple[Edit, ...], prove: Any = prove_sync) -> tuple[str, str]:  # noqa: ANN401 - as prove_sync
    """How the proof ends, and how that compares with a build."""
    report = run_case(replace(CASE, rounds=(edits,)), laboratory, prove)
    return report.outcomes[0], "wrong" if report.findings else "right"


HIDDEN = (Edit("write", "one/page", "changed\n"),)
SHINES_THROUGH = (Edit("delete", "one/page"), Edit("delete", "two/page"))
REVEALED = (Edit("delete", "two/other"),)


def test_what_a_later_copy_hides_is_not_synced(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(laboratory, HIDDEN) == ("nothing", "right")
    whole = Layout.stack

    def only_the_lowest(self: Layout, *arguments: Any) -> Any:  # noqa: ANN401 - as `stack`
        return whole(self, *arguments)[-1:]

    monkeypatch.setattr(Layout, "stack", only_the_lowest)
    assert check(laboratory, HIDDEN) == ("synced", "wrong")


def test_what_the_image_has_below_is_not_taken_away(
    laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(laboratory, SHINES_THROUGH) == ("blocked", "right")
    monkeypatch.setattr(sync, "_lower_hold_nothing", lambda *_: None)
    assert check(laboratory, SHINES_THROUGH) == ("synced", "wrong")


def test_what_a_removal_reveals_is_synced(laboratory: Laboratory) -> None:
    assert check(laboratory, REVEALED) == ("synced", "right")

    def removes_what_went(*arguments: Any) -> Any:  # noqa: ANN401 - as prove_sync
        found = prove_sync(*arguments)
        assert isinstance(found, SyncPlan)
        return replace(found, writes=(), removals=tuple(one.path for one in found.writes))

    assert check(laboratory, REVEALED, removes_what_went) == ("synced", "wrong")


def test_a_proof_without_owners_and_modes_is_found_out(laboratory: Laboratory) -> None:
    case = replace(
        CASE,
        lines=(f"FROM {BUSYBOX}", "COPY --chown=12:34 --chmod=640 one /app/"),
        rounds=((Edit("write", "one/page", "changed\n"),),),
    )

    def without(change: Callable[[SyncWrite], SyncWrite]) -> Any:  # noqa: ANN401 - as prove_sync
        def prove(*arguments: Any) -> Any:  # noqa: ANN401 - as prove_sync
            found = prove_sync(*arguments)
            assert isinstance(found, SyncPlan)
            return replace(found, writes=tuple(change(one) for one in found.writes))

        return prove

    assert run_case(case, laboratory).findings == []
    assert run_case(case, laboratory, without(lambda one: replace(one, owner=None))).findings
    assert run_case(case, laboratory, without(lambda one: replace(one, mode=0o644))).findings


def test_a_link_of_the_image_in_the_way_is_seen(laboratory: Laboratory) -> None:
    case = replace(
        CASE,
        lines=(f"FROM {BUSYBOX}", "RUN mkdir /real && ln -s /real /app", "COPY one/page /app"),
        rounds=((Edit("write", "one/page", "changed\n"),),),
    )
    assert run_case(case, laboratory).outcomes == ["blocked"]
