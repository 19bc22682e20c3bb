"""Why a step will run again: the changed path, variable, instruction or base that a person can act on.

The prediction says through which input, or through which part of its own key, a step fails to find its
record; the baseline says what that was when it was built last. Both together name a cause.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from devloop.cache.baseline import Baseline, BaselineStep, describe_step
from devloop.cache.predict import Answer, Prediction
from devloop.cache.records import Records
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromRemote,
    FromVertex,
    Input,
    Step,
    Taken,
    Vertex,
)
from devloop.plan.model import Cause, PathChange, Rule

ChangesOf = Callable[[str, Taken], Sequence[PathChange]]
"""The changed paths of a context that one taking reads."""

_PART_NAMES = {
    "command": "the command",
    "workdir": "its working directory",
    "user": "its user",
    "network": "its network mode",
    "security": "its security mode",
    "hosts": "the extra hosts",
    "platform": "the platform",
    "mounts": "its mounts",
    "devices": "its devices",
    "options": "an option of the build",
    "hostname": "the host name of the build",
    "timestamp": "SOURCE_DATE_EPOCH",
    "files": "its list of files",
    "destination": "its destination, owner or mode",
    "path": "the path",
    "mode": "the mode",
    "owner": "the user in force",
    "wiring": "what it takes its files from",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when causes are named."""

    graph: BuildGraph
    prediction: Prediction
    records: Records
    baseline: Baseline | None
    changes_of: ChangesOf
    no_cache: bool = False


def name_causes(evidence: Evidence) -> dict[int, Cause]:
    """Return the cause of each vertex that runs or may run, by vertex number."""
    causes: dict[int, Cause] = {}
    for vertex, answer in zip(evidence.graph.vertices, evidence.prediction.answers, strict=True):
        if answer.result.hit != "yes":
            causes[vertex.number] = _cause(evidence, vertex, answer, causes)
    return causes


def _cause(evidence: Evidence, vertex: Vertex, answer: Answer, known: dict[int, Cause]) -> Cause:
    if answer.missing is not None:
        return Cause(
            f"{answer.missing} is not in the build context: the step will fail",
            "missing",
            path=answer.missing,
        )
    if evidence.no_cache and vertex.operation.kind in {"exec", "copy"}:
        return Cause("the build is made without cache", "no-cache")
    step = evidence.graph.steps[vertex.step]
    if not evidence.records.knows_operation(answer.operation):
        return _new_operation(evidence, step)
    failing = [vertex.inputs[number] for number in answer.failing_inputs]
    for entry in sorted(failing, key=_is_base):
        return _failing_input(evidence, entry, known, is_base=_is_base(entry))
    if answer.result.hit == "maybe":
        return _unsure(evidence, vertex, answer, known)
    for entry in vertex.inputs:
        found = _changed_path(evidence, entry)
        if found is not None:
            return found
    return Cause("these inputs were never built together here", "never-built")


def _is_base(entry: Input) -> bool:
    return not entry.by_content


def _failing_input(evidence: Evidence, entry: Input, known: dict[int, Cause], *, is_base: bool) -> Cause:
    match entry.producer:
        case FromContext(name=name):
            found = _changed_path(evidence, entry)
            if found is not None:
                return found
            where = f"the context {name}" if name else "the context"
            return Cause(f"what it takes from {where} was not built here before", "content")
        case FromImage(reference=reference, key=key):
            if evidence.baseline is not None:
                images = dict(evidence.baseline.images)
                if images.get(reference, key) != key:
                    return Cause(f"the base image {reference} moved", "base")
                if reference not in images:
                    return Cause(f"its image is {reference} now", "base")
            return Cause(f"it was never built on this {reference}", "base")
        case FromRemote(reference=reference):
            return Cause(f"{reference} has to be asked", "dynamic")
        case FromVertex(vertex=number):
            above = evidence.graph.steps[evidence.graph.vertices[number].step]
            root = known.get(number)
            what = f"{above.keyword} (line {above.span.first})"
            if evidence.prediction.answers[number].result.hit == "yes":
                text = f"it was never built on what {what} gives"
                found = _changed_above(evidence, number)
                if found is None:
                    return Cause(text, "never-built")
                # A build that ended early left the steps above in the cache; the edit is still the cause.
                return replace(found, text=f"{text}, where {found.text}")
            text = (
                f"{what} above it runs again" if is_base else f"{what} runs again in the stage it takes from"
            )
            return Cause(text, "stage", path=root.path if root else None, line=above.span.first)


def _changed_above(evidence: Evidence, vertex: int) -> Cause | None:
    """Return the nearest change of the context that a vertex, or what it stands on, takes, and where."""
    waiting, seen = [vertex], {vertex}
    while waiting:
        number = waiting.pop(0)
        for entry in evidence.graph.vertices[number].inputs:
            found = _changed_path(evidence, entry)
            if found is not None:
                reader = evidence.graph.steps[evidence.graph.vertices[number].step]
                return replace(found, rule="stage", line=reader.span.first)
            if isinstance(entry.producer, FromVertex) and entry.producer.vertex not in seen:
                seen.add(entry.producer.vertex)
                waiting.append(entry.producer.vertex)
    return None


def _changed_path(evidence: Evidence, entry: Input) -> Cause | None:
    if not isinstance(entry.producer, FromContext):
        return None
    changes = [change for taken in entry.taken for change in evidence.changes_of(entry.producer.name, taken)]
    if not changes:
        return None
    first = changes[0]
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    is_one_kind = all(change.kind == first.kind for change in changes)
    verb = _WORDS[first.kind if is_one_kind else "modified"]
    return Cause(f"{first.path}{more} {verb}", "content", path=first.path)


_WORDS = {
    "added": "was added",
    "modified": "changed",
    "removed": "was removed",
    "metadata": "changed its mode",
}


def _unsure(evidence: Evidence, vertex: Vertex, answer: Answer, known: dict[int, Cause]) -> Cause:
    if answer.only_modes_differ:
        return Cause(
            "only the mode of a directory differs, which the engine notices or not", "directory-mode"
        )
    if answer.is_dynamic:
        return Cause("it depends on what a URL or repository gives now", "dynamic")
    for number in answer.unsure_inputs:
        producer = vertex.inputs[number].producer
        if isinstance(producer, FromVertex):
            above = evidence.graph.steps[evidence.graph.vertices[producer.vertex].step]
            root = known.get(producer.vertex)
            return Cause(
                f"cached if {above.keyword} (line {above.span.first}) writes the same files again",
                "stage",
                path=root.path if root else None,
                line=above.span.first,
            )
    return Cause("what it takes was never compared here", "stage")


def _new_operation(evidence: Evidence, step: Step) -> Cause:
    if evidence.baseline is None:
        return Cause("it was never built here", "never-built")
    before = evidence.baseline.step(evidence.graph.stage(step.stage).label, step.ordinal)
    now = describe_step(evidence.graph, step)
    if before is None or before.keyword != now.keyword:
        return Cause("the instruction is new", "instruction", line=step.span.first)
    if step.keyword == "RUN":
        variable = _changed_variable(before, now)
        parts = [name for name in _changed_parts(before, now) if name in _PART_NAMES]
        if variable is not None and "command" not in parts:
            return _variable_cause(evidence, step, variable, _what_became_of(variable, before, now))
    else:
        parts = _changed_parts(before, now)
    if parts:
        what = "the command" if "command" in parts else _PART_NAMES.get(parts[0], parts[0])
        return Cause(f"{what} changed", "instruction", line=step.span.first)
    return Cause("it was never built here in this form", "never-built")


def _changed_parts(before: BaselineStep, now: BaselineStep) -> list[str]:
    old, new = dict(before.parts), dict(now.parts)
    return [name for name in {**new, **old} if old.get(name) != new.get(name)]


def _changed_variable(before: BaselineStep, now: BaselineStep) -> str | None:
    if before.variables == now.variables:
        return None
    old, new = dict(before.variables), dict(now.variables)
    for name in {**new, **old}:
        if old.get(name) != new.get(name):
            return name
    return next(iter(new), None)


def _what_became_of(name: str, before: BaselineStep, now: BaselineStep) -> str:
    if name not in dict(before.variables):
        return "is new"
    return "changed" if name in dict(now.variables) else "is gone"


def _variable_cause(evidence: Evidence, step: Step, name: str, became: str) -> Cause:
    line, keyword = _assigned_at(evidence.graph, step, name)
    if line is None and became == "is gone":
        return Cause(
            f"the variable {name} is gone, and a RUN sees every variable above it",
            "environment",
            line=step.span.first,
        )
    if line is None:
        return Cause(f"the base image's variable {name} changed, and a RUN sees every variable", "base")
    rule: Rule = "argument" if keyword == "ARG" else "environment"
    return Cause(
        f"the variable {name} ({keyword}, line {line}) {became}, and a RUN sees every variable above it",
        rule,
        line=line,
    )


def _assigned_at(graph: BuildGraph, step: Step, name: str) -> tuple[int | None, str]:
    """Find the last ARG or ENV above a step, in its stage or the stages that it starts from."""
    index: int | None = step.stage
    above = step.span.first
    while index is not None:
        stage = graph.stage(index)
        for instruction in reversed(stage.body):
            if instruction.span.first >= above:
                continue
            if isinstance(instruction, ins.Arg) and any(name == known for known, _ in instruction.items):
                return instruction.span.first, "ARG"
            if isinstance(instruction, ins.Env) and any(name == known for known, _ in instruction.pairs):
                return instruction.span.first, "ENV"
        index = stage.base_stage
        above = 1 << 30
    return None, ""
