"""Why a step ran: the cause that was predicted, or what came between the prediction and the build."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from devloop.cost.report import StepAccount
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, BuildOptions, Taken, resolve
from devloop.engine.base import StepOutcome
from devloop.loop.account import FOREIGN, MEANWHILE, PRUNED, UNEXPLAINED, WRONG, Findings, account_of
from devloop.loop.builds import Seen
from devloop.plan.model import Cause, PathChange, Plan, PlannedStep

if TYPE_CHECKING:
    from devloop.cache.predict import Observed
    from devloop.engine.base import StepStatus
    from devloop.plan.model import Status

DOCKERFILE = b"""\
FROM base AS build
COPY list.txt .
RUN install
FROM base
COPY --from=build /out /out
COPY app.py /
"""
OBSERVED: dict[str, Observed] = {"run": "ran", "cached": "cached", "failed": "failed"}


def graph_of(source: bytes) -> BuildGraph:
    dockerfile = parse(source)
    assert isinstance(dockerfile, Dockerfile)
    graph = resolve(dockerfile, BuildOptions())
    assert isinstance(graph, BuildGraph)
    return graph


GRAPH = graph_of(DOCKERFILE)


def expect(cause: Cause | None = None, **statuses: Status) -> Plan:
    """Make a plan in which every step is cached but those that are named by their line."""
    steps = tuple(
        PlannedStep(
            stage=GRAPH.stage(step.stage).label,
            ordinal=step.ordinal,
            line=step.span.first,
            instruction=step.keyword,
            text=step.text,
            status=statuses.get(f"line{step.span.first}", "cached"),
            cause=cause if f"line{step.span.first}" in statuses else None,
            seconds=7.0,
        )
        for step in GRAPH.steps
    )
    changes = (PathChange("list.txt", "modified"),)
    return Plan("shop", "Dockerfile", ".", changes, steps, None, None, "rebuild", "")


def observe(**statuses: StepStatus) -> Seen:
    """Let every step be cached but those that are named by their line."""
    steps = {}
    for step in GRAPH.steps:
        if step.vertex is None:
            continue
        status = statuses.get(f"line{step.span.first}", "cached")
        steps[step.number] = StepOutcome(
            digest=f"sha256:{step.number}",
            name="",
            stage=None,
            index=None,
            total=None,
            keyword=step.keyword,
            text=step.text,
            status=status,
            seconds=1.0 if status == "run" else None,
        )
    vertices = {
        step.vertex: OBSERVED.get(steps[step.number].status, "unseen")
        for step in GRAPH.steps
        if step.vertex is not None
    }
    return Seen(steps, vertices)


def findings(plan: Plan, seen: Seen) -> Findings:
    return Findings(GRAPH, plan, seen, {}, frozenset(), lambda _context, _taken: False)


def at(found: Findings, line: int) -> StepAccount:
    reached = [number for number, one in sorted(found.seen.steps.items()) if one.status != "not reached"]
    lines = [GRAPH.steps[number].span.first for number in reached]
    return account_of(found).steps[lines.index(line)]


def vertex(line: int) -> int:
    found = next(step.vertex for step in GRAPH.steps if step.span.first == line)
    assert found is not None
    return found


def test_a_step_that_was_expected_to_run_ran_for_the_cause_that_was_predicted() -> None:
    cause = Cause("list.txt changed", "content", "list.txt")
    found = at(findings(expect(cause, line2="run"), observe(line2="run")), 2)
    assert found == StepAccount("run", 7.0, "content", "list.txt changed", "list.txt")


def test_a_cached_step_that_was_expected_to_be_cached_has_no_cause() -> None:
    assert at(findings(expect(), observe()), 3) == StepAccount("cached", 7.0)


def test_a_pruned_cache_is_told_apart_from_an_error_of_devloop() -> None:
    found = findings(expect(), observe(line3="run"))
    pruned = at(replace(found, lost={vertex(3): PRUNED}), 3)
    wrong = at(replace(found, lost={vertex(3): WRONG}), 3)
    assert (pruned.rule, pruned.cause) == ("pruned", PRUNED)
    assert (wrong.rule, wrong.cause) == ("contradiction", WRONG)


def test_what_stands_below_a_pruned_step_ran_because_of_that_step() -> None:
    found = replace(findings(expect(), observe(line2="run", line3="run")), lost={vertex(2): PRUNED})
    below = at(found, 3)
    assert (below.rule, below.line) == ("stage", 2)
    assert below.cause == "COPY (line 2) ran again above it"


def test_the_path_behind_a_surprise_is_that_of_the_step_above() -> None:
    cause = Cause("list.txt changed", "content", "list.txt")
    found = findings(expect(cause, line2="run"), observe(line2="run", line3="run", line5="run"))
    assert [at(found, line).path for line in (2, 3, 5)] == ["list.txt"] * 3
    assert at(found, 5).cause == "RUN (line 3) ran again in the stage it takes from"


def test_a_base_image_that_moved_during_the_build_is_named() -> None:
    found = replace(findings(expect(), observe(line2="run", line6="run")), moved=frozenset({"base"}))
    assert (at(found, 2).rule, at(found, 2).cause) == ("base", "the base image base moved")


def test_a_save_during_the_build_is_named() -> None:
    def app_moved(_context: str, taken: Taken) -> bool:
        return taken.sources == ("app.py",)

    found = replace(findings(expect(), observe(line6="run")), changed_meanwhile=app_moved)
    assert (at(found, 6).rule, at(found, 6).cause) == ("meanwhile", MEANWHILE)


def test_what_cannot_be_explained_is_said_to_be_so() -> None:
    found = at(findings(expect(), observe(line6="run")), 6)
    assert (found.rule, found.cause) == ("contradiction", UNEXPLAINED)


def test_a_step_that_the_engine_had_already_was_built_by_something_else() -> None:
    cause = Cause("it was never built here", "never-built")
    found = at(findings(expect(cause, line3="run"), observe()), 3)
    assert found == StepAccount("run", 7.0, "foreign", FOREIGN)


def test_a_canceled_step_is_not_taken_for_one_from_the_cache() -> None:
    cause = Cause("list.txt changed", "content", "list.txt")
    found = at(findings(expect(cause, line2="run"), observe(line2="canceled")), 2)
    assert found == StepAccount("run", 7.0)


def test_what_only_the_build_could_know_is_told_as_it_came_out() -> None:
    cause = Cause("cached if RUN (line 3) writes the same files again", "stage", line=3)
    plan = expect(cause, line5="unknown")
    assert at(findings(plan, observe(line5="run")), 5).cause == (
        "RUN (line 3) did not write the same files as before"
    )
    assert at(findings(plan, observe()), 5).cause == "RUN (line 3) wrote the same files as before"


def test_a_step_that_the_build_did_not_get_to_has_no_account() -> None:
    found = account_of(findings(expect(), observe(line3="failed", line5="not reached")))
    assert len(found.steps) == 3


def test_a_step_that_the_plan_did_not_have_has_no_prediction() -> None:
    plan = expect()
    shorter = replace(plan, steps=tuple(step for step in plan.steps if step.line != 3))
    assert at(findings(shorter, observe(line3="cached")), 3) == StepAccount(None)


def test_the_account_says_what_had_changed_and_whether_anybody_waited() -> None:
    found = account_of(replace(findings(expect(), observe()), is_background=True))
    assert (found.changes, found.change_count, found.is_background) == (("list.txt",), 1, True)
