"""Why each step of a build did what it did: the prediction's cause, or what came between the two.

A prediction is made before the build, so something may come between them that is nobody's error: the cache
was pruned, a base image moved, a file was saved while the builder read it. Each has a rule of its own.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from devloop.cost.report import BuildAccount, StepAccount
from devloop.dockerfile.stages import BuildGraph, FromContext, FromImage, FromVertex, Step, Taken
from devloop.loop.builds import Seen
from devloop.plan.model import Cause, Plan, PlannedStep

PRUNED = "the cache was pruned: the engine no longer had the entry of this step"
WRONG = "the engine defines this step otherwise than devloop thought"
MEANWHILE = "what it reads was saved again while the builder read it"
FOREIGN = "found in the cache, of a build that devloop has no record of"
UNEXPLAINED = "devloop cannot tell why"


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a build when it is over.

    `lost` tells for each vertex whose record the engine did not go by whether that was `PRUNED` or `WRONG`;
    `moved` are the base images that are others than those of the plan.
    """

    graph: BuildGraph
    plan: Plan
    seen: Seen
    lost: Mapping[int, str]
    moved: frozenset[str]
    changed_meanwhile: Callable[[str, Taken], bool]
    is_background: bool = False


def account_of(findings: Findings) -> BuildAccount:
    """Account for every step that the builder got to, in the order of the Dockerfile."""
    graph = findings.graph
    expected = findings.plan.steps
    places_expected = _places((one.line, one.instruction) for one in expected)
    planned = dict(zip(places_expected, expected, strict=True))
    places = _places((step.span.first, step.keyword) for step in graph.steps)
    found: dict[int, StepAccount] = {}
    # A producer stands before what takes from it, so a cause above is known when it is asked for.
    for step in sorted(graph.steps, key=lambda one: -1 if one.vertex is None else one.vertex):
        if step.number in findings.seen.steps:
            found[step.number] = _account(findings, step, planned.get(places[step.number]), found)
    reached = [number for number, one in sorted(findings.seen.steps.items()) if one.status != "not reached"]
    changes = tuple(change.path for change in findings.plan.changes)
    return BuildAccount(
        tuple(found[number] for number in reached), changes, len(changes), findings.is_background
    )


def _places(steps: Iterable[tuple[int, str]]) -> list[tuple[int, str, int]]:
    """Give steps that share line and keyword a number: triggers of ONBUILD stand at their FROM."""
    counts: dict[tuple[int, str], int] = {}
    found = []
    for line, keyword in steps:
        number = counts[line, keyword] = counts.get((line, keyword), 0) + 1
        found.append((line, keyword, number))
    return found


def _account(
    findings: Findings, step: Step, planned: PlannedStep | None, above: Mapping[int, StepAccount]
) -> StepAccount:
    predicted = planned.status if planned is not None else None
    seconds = planned.seconds if planned is not None else None
    has_run = findings.seen.steps[step.number].status in {"run", "failed"}
    if planned is not None and planned.status == "run" and not has_run:
        is_canceled = findings.seen.steps[step.number].status != "cached"
        return StepAccount(predicted, seconds, *(() if is_canceled else ("foreign", FOREIGN)))
    if planned is not None and planned.cause is not None and planned.status != "cached":
        cause = planned.cause
        text = _decided(findings.graph, cause, has_run=has_run) if planned.status == "unknown" else cause.text
        return StepAccount(predicted, seconds, cause.rule, text, cause.path, cause.line)
    if not has_run:
        return StepAccount(predicted, seconds)
    return _surprise(findings, step, StepAccount(predicted, seconds), above)


def _decided(graph: BuildGraph, cause: Cause, *, has_run: bool) -> str:
    """Say how it came out, where only the build could know what a step above gives."""
    above = next((step for step in graph.steps if step.span.first == cause.line), None)
    if cause.rule != "stage" or above is None:
        return cause.text
    verb = "did not write" if has_run else "wrote"
    return f"{above.keyword} (line {cause.line}) {verb} the same files as before"


def _surprise(
    findings: Findings, step: Step, known: StepAccount, above: Mapping[int, StepAccount]
) -> StepAccount:
    """Find out what made a step run that was expected to be cached, or was not expected at all."""
    graph = findings.graph
    if step.vertex is None:
        return known
    if step.vertex in findings.lost:
        sentence = findings.lost[step.vertex]
        return _because(known, "pruned" if sentence == PRUNED else "contradiction", sentence)
    inputs = graph.vertices[step.vertex].inputs
    for entry in inputs:
        if isinstance(entry.producer, FromImage) and entry.producer.reference in findings.moved:
            return _because(known, "base", f"the base image {entry.producer.reference} moved")
    for entry in inputs:
        if not isinstance(entry.producer, FromVertex):
            continue
        if findings.seen.vertices.get(entry.producer.vertex) == "ran":
            other = graph.steps[graph.vertices[entry.producer.vertex].step]
            root = above.get(other.number)
            where = "above it" if other.stage == step.stage else "in the stage it takes from"
            sentence = f"{other.keyword} (line {other.span.first}) ran again {where}"
            path = root.path if root is not None else None
            return _because(known, "stage", sentence, path=path, line=other.span.first)
    for entry in inputs:
        if isinstance(entry.producer, FromContext):
            name = entry.producer.name
            if any(findings.changed_meanwhile(name, taken) for taken in entry.taken):
                return _because(known, "meanwhile", MEANWHILE)
    return _because(known, "contradiction", UNEXPLAINED)


def _because(
    known: StepAccount, rule: str, cause: str, *, path: str | None = None, line: int | None = None
) -> StepAccount:
    return StepAccount(known.predicted, known.seconds, rule, cause, path, line)
