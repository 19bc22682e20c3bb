"""The commands that look back, `devloop why` and `devloop stats`, put together from memory and Dockerfile."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from devloop.cost.history import BuildRecord, StepRecord
from devloop.cost.report import Stats, StepAccount, accounted, file_totals, has_run, summarize
from devloop.dockerfile.stages import BuildGraph, FromContext, Step, Vertex
from devloop.errors import DevloopError
from devloop.paths import ContextPath
from devloop.plan.copies import Chain, KindAt, Layout, UnclearError, ancestors, chain_below, final_chain
from devloop.planning import find_edits, plan_edits, read_model, sketch
from devloop.project.discover import shown
from devloop.project.planner import describe_feeds, price_steps, priors_of, step_key, weigh_context
from devloop.project.reading import Model, selection_of
from devloop.project.workspace import Workspace
from devloop.state.database import StateUnavailable
from devloop.ui.reviewtext import Ignored, LastRun, MissRow, PathStory, Reader, StepStory

_MANY_PATHS = 200
"""Paths of a folder that are looked at to say who reads it and where it lands."""
_KEYWORDS = frozenset({"FROM", "RUN", "COPY", "ADD", "WORKDIR"})
_LABEL = re.compile(r"\[?(?:(?P<stage>[^\s\]]+) +)?(?P<number>\d+)/(?P<total>\d+)\]?")


class NoSuchStep(DevloopError):  # noqa: N818 - it names what the user will read
    """What was asked for reads like a step, and no step of the target is meant by it."""


def moment(at: float) -> str:
    """Write a moment in the time of this machine."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def last_build(workspace: Workspace) -> BuildRecord | None:
    """Return the last recorded build of the project."""
    return next(iter(workspace.memory.builds(1)), None)


def figures(workspace: Workspace) -> Stats:
    """Add up everything that is remembered of the project, and weigh its context as it is now.

    A Dockerfile that cannot be read leaves the weight out: what is remembered can be told all the same.
    """
    memory = workspace.memory
    stats = summarize(memory.builds(), memory.syncs(), len(memory.misses()))
    model = workspace.read()
    if not isinstance(model, Model):
        return stats
    weight = weigh_context(model, workspace.tree(model))
    memory.save_indexes()
    ignore = model.ignore_file.name if model.ignore_file is not None else ".dockerignore"
    return replace(stats, context=weight, ignore_file=ignore)


def missed(workspace: Workspace) -> list[MissRow]:
    """Return the predictions that the engine contradicted, newest first."""
    return [
        MissRow(one.at, one.line, one.text, one.predicted, one.observed, one.explanation)
        for one in workspace.memory.misses()
    ]


# A path -----------------------------------------------------------------------------------------------------


def tell_path(workspace: Workspace, path: Path) -> PathStory:
    """Say who reads a path, where it lands, and what a save of it does and has cost. Nothing is hashed."""
    model = read_model(workspace)
    plan = plan_edits(workspace, [path])
    edits = find_edits(model, [(path, None)])
    named_path = Path(os.path.abspath(path))  # noqa: PTH100 - a link must stay as it is named
    absolute = named_path.parent.resolve() / named_path.name
    builds = [accounted(build) for build in workspace.memory.builds()]
    named = {change.path for found in edits.changes.values() for change in found}
    _, after = sketch(model, edits)
    layout = Layout(model.graph, after, _directories(model.graph))
    return PathStory(
        path=shown(absolute, workspace.location.folder),
        exists=os.path.lexists(absolute),
        ignored=_ignored(model, absolute),
        readers=tuple(
            reader
            for context, paths in sorted(edits.paths().items())
            for reader in _readers(model, layout, context, paths[:_MANY_PATHS])
        ),
        plan=plan,
        cost=next((total for total in file_totals(builds) if named == {total.path}), None),
    )


def _ignored(model: Model, absolute: Path) -> tuple[Ignored, ...]:
    found = []
    for context in model.contexts.values():
        if not absolute.is_relative_to(context.root) or absolute == context.root:
            continue
        relative = str(absolute.relative_to(context.root))
        decided = context.rules.deciding(relative) if context.rules.excludes(relative) else None
        if decided is not None:
            file = model.ignore_file.name if model.ignore_file is not None else ".dockerignore"
            found.append(Ignored(relative, file, *decided))
    return tuple(found)


def _readers(model: Model, layout: Layout, context: str, paths: Sequence[ContextPath]) -> list[Reader]:
    """Return the steps that read some of the paths of a context, with the places where they put them."""
    from devloop.context.selection import reads

    graph = model.graph
    final = final_chain(graph)
    found = []
    for vertex in graph.vertices:
        takings = [
            selection_of(taken)
            for entry in vertex.inputs
            if isinstance(entry.producer, FromContext) and entry.producer.name == context
            for taken in entry.taken
        ]
        read = [path for path in paths if any(reads(taken, path) for taken in takings)]
        if not read:
            continue
        step = graph.steps[vertex.step]
        is_final = vertex.number in final.layers
        is_mount = vertex.operation.kind == "exec"
        chain = final if is_final else chain_below(graph, vertex.number)
        places, unclear = ((), "") if is_mount else _places(layout, chain, vertex, context, read)
        found.append(
            Reader(
                stage=graph.stage(step.stage).label,
                line=step.span.first,
                instruction=step.keyword,
                text=step.instruction.text,
                places=places,
                is_mount=is_mount,
                is_final=is_final,
                unclear=unclear,
            )
        )
    return found


def _places(
    layout: Layout, chain: Chain, vertex: Vertex, context: str, paths: Sequence[ContextPath]
) -> tuple[tuple[str, ...], str]:
    found: dict[str, None] = {}
    try:
        for part in layout.parts(vertex):
            if part.producer == FromContext(context):
                for path in paths:
                    found.update(dict.fromkeys(layout.places(chain, context, part, path)))
    except UnclearError as error:
        return tuple(found), f"where it lands is not clear: {error.reason}"
    return tuple(found), ""


def _directories(graph: BuildGraph) -> KindAt:
    """Tell what is surely a directory of the image: where a WORKDIR leads, and what is above that."""
    made = {
        folder
        for step in graph.steps
        if step.keyword == "WORKDIR" and step.destination
        for folder in (step.destination, *ancestors(step.destination))
    }
    return lambda place: "directory" if place in made or place == "/" else None


# A step -----------------------------------------------------------------------------------------------------


def find_steps(workspace: Workspace, text: str) -> list[StepStory] | None:
    """Return the steps that are meant by a line, a label or the beginning of their text; None for a path.

    A path that exists is a path. Raises NoSuchStep where no step answers to what can be nothing else.
    """
    if os.path.lexists(text):
        return None
    keyword = text.split(maxsplit=1)[0].upper() if text.strip() else ""
    label = _LABEL.fullmatch(text.strip())
    if not text.strip().isdecimal() and label is None and keyword not in _KEYWORDS:
        return None
    graph = read_model(workspace).graph
    steps = [step for step in graph.steps if _is_meant(graph, step, text.strip(), label)]
    if not steps:
        raise NoSuchStep(
            f"no step of the target is at {text!r}",
            hint="devloop layers shows the steps with their lines",
        )
    return _tell_steps(workspace, graph, steps)


def _is_meant(graph: BuildGraph, step: Step, text: str, label: re.Match[str] | None) -> bool:
    if text.isdecimal():
        return step.span.first <= int(text) <= step.span.last
    stage = graph.stage(step.stage)
    if label is not None:
        names = {None, stage.label, f"stage-{stage.index}"}
        place = (step.ordinal, stage.total)
        return label["stage"] in names and place == (int(label["number"]), int(label["total"]))
    wanted = text.split()
    for written in (step.instruction.text, step.text):
        words = written.split()
        if words and words[0].upper() != step.keyword:
            words.insert(0, step.keyword)
        joined = " ".join([words[0].upper(), *words[1:]]) if words else step.keyword
        if joined.startswith(" ".join([wanted[0].upper(), *wanted[1:]])):
            return True
    return False


def _tell_steps(workspace: Workspace, graph: BuildGraph, steps: Sequence[Step]) -> list[StepStory]:
    memory, settings = workspace.memory, workspace.settings
    builds = memory.builds()
    costs = price_steps(
        graph,
        memory.history,
        memory.project,
        warn_seconds=settings.warn_seconds,
        table=priors_of(settings),
    )
    keys = {step.number: step_key(graph, step) for step in steps}
    try:
        durations = memory.history.durations(memory.project, keys.values(), recent=50)
    except StateUnavailable:
        durations = {}
    return [
        StepStory(
            label=_shown_label(graph, step),
            stage=graph.stage(step.stage).label,
            line=step.span.first,
            instruction=step.keyword,
            text=step.instruction.text,
            feeds=describe_feeds(graph, step),
            above=_above(graph, step),
            durations=durations.get(keys[step.number], ()),
            estimate=costs[step.number].note if step.vertex is not None else "",
            newest=_in_build(builds[0], graph, step, keys[step.number]) if builds else None,
            last_run=_last_run(builds, graph, step, keys[step.number]),
        )
        for step in steps
    ]


def _shown_label(graph: BuildGraph, step: Step) -> str:
    stage = graph.stage(step.stage)
    place = f"{step.ordinal}/{stage.total}"
    name = stage.name or (f"stage-{stage.index}" if len(graph.stages) > 1 else "")
    return f"{name} {place}" if name else place


def _above(graph: BuildGraph, step: Step) -> str:
    """Name what a step builds upon: the step before it, or the image or stage that its stage starts from."""
    stage = graph.stage(step.stage)
    earlier = [graph.steps[number] for number in stage.steps if number < step.number]
    if earlier and earlier[-1].vertex is not None:
        return f"{earlier[-1].keyword} (line {earlier[-1].span.first})"
    if step.keyword == "FROM":
        return "nothing: it is where the stage begins"
    return f"{'stage ' if stage.base == 'stage' else ''}{stage.base_reference or stage.base}"


def _in_build(
    build: BuildRecord, graph: BuildGraph, step: Step, key: str
) -> tuple[StepRecord, StepAccount] | None:
    """Find a step in a build, by what it does; equal steps of several stages are told apart by the stage."""
    same = [pair for pair in accounted(build) if pair[0].key == key]
    label = graph.stage(step.stage).label
    return next((pair for pair in same if pair[0].stage == label), same[0] if same else None)


def _last_run(builds: Sequence[BuildRecord], graph: BuildGraph, step: Step, key: str) -> LastRun | None:
    for ago, build in enumerate(builds):
        found = _in_build(build, graph, step, key)
        if found is not None and has_run(found[0]):
            return LastRun(build.started_at, ago, *found, root=_root(build, *found))
    return None


def _root(
    build: BuildRecord, step: StepRecord, account: StepAccount
) -> tuple[StepRecord, StepAccount] | None:
    """Follow steps that ran because of one another to the first one; None for a cause of its own."""
    pairs = accounted(build)
    at = (step, account)
    seen: set[int] = set()
    while at[1].rule == "stage" and at[1].line is not None and at[1].line not in seen:
        seen.add(at[1].line)
        above = [pair for pair in pairs if pair[0].line == at[1].line and has_run(pair[0])]
        if not above:
            break
        at = above[0]
    return None if at[0] is step else at
