"""One build seen from the session: what to ask of the builder, and what its outcome says of each step.

The outcome speaks of BuildKit's vertices and of lines; the graph speaks of its own. They meet here, by the
lines of the provenance where the engine gives one, else by stage, number and text.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devloop.cache.predict import Observed, operation_key, selector
from devloop.dockerfile.stages import BuildGraph, FromVertex, Step
from devloop.engine.base import BuildOutcome, BuildRequest, OpFacts, StepOutcome
from devloop.engine.progress import step_name
from devloop.engine.provenance import ExpectedStep, match_by_name
from devloop.engine.runspec import LABEL_PROJECT
from devloop.project.discover import Location
from devloop.project.settings import Settings

_OBSERVED: Mapping[str, Observed] = {
    "cached": "cached",
    "run": "ran",
    "failed": "failed",
    "canceled": "unseen",
    "not reached": "unseen",
}


def image_tag(location: Location, settings: Settings) -> str:
    """Name the image of a project: its name, and its target as the tag."""
    return f"devloop/{location.name}:{settings.target or 'latest'}"


def build_request(location: Location, settings: Settings) -> BuildRequest:
    """Ask for what `docker build` in this folder with these settings would build."""
    contexts = [
        (name, value if "://" in value else str((location.folder / value).resolve()))
        for name, value in settings.build_context.items()
    ]
    return BuildRequest(
        context=str(location.context),
        dockerfile=str(location.dockerfile),
        target=settings.target,
        build_args=tuple(settings.build_arg.items()),
        build_contexts=tuple(contexts),
        platform=settings.platform,
        no_cache=settings.no_cache,
        pull=settings.pull,
        network=settings.network,
        add_hosts=tuple(settings.add_host),
        secrets=tuple(settings.secret),
        ssh=tuple(settings.ssh),
        # What a rebuild leaves untagged can be found again: docker image prune --filter label=...
        labels=((LABEL_PROJECT, location.identity),),
        tags=(image_tag(location, settings),),
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a build did with each step of the graph, and with each vertex."""

    steps: Mapping[int, StepOutcome]
    vertices: Mapping[int, Observed]


def match_outcome(graph: BuildGraph, outcome: BuildOutcome) -> Seen:
    """Find the outcome of every step of the graph."""
    found: dict[int, StepOutcome] = {}
    merges: dict[int, StepOutcome] = {}
    placed = [one for one in outcome.steps if one.lines]
    if not outcome.has_provenance:
        # Of a failed build the engine tells the lines of the failed step alone.
        counted = [step for step in graph.steps if step.vertex is not None]
        own = Counter(step.stage for step in graph.steps if not step.is_trigger)
        totals = {stage.index: stage.total for stage in graph.stages}
        links = {vertex.digest for vertex in outcome.vertices if _is_link(vertex.name)}
        copies = [vertex for vertex in outcome.vertices if vertex.digest not in links]
        joins = [vertex for vertex in outcome.vertices if vertex.digest in links]
        # Older engines (26) number the triggers of ONBUILD, and leave them out of a stage's total.
        for total in dict.fromkeys((tuple(totals.items()), tuple((index, own[index]) for index in totals))):
            expected = [
                ExpectedStep(
                    stage=graph.stage(step.stage).name,
                    ordinal=step.ordinal,
                    total=dict(total)[step.stage],
                    keyword=step.keyword,
                    text=step.text.partition(" ")[2],
                )
                for step in counted
            ]
            for vertices, places in ((copies, found), (joins, merges)):
                for position, one in match_by_name(vertices, expected).items():
                    places.setdefault(counted[position].number, one)
    for step in graph.steps:
        if step.vertex is not None:
            for one in _at_step(graph, step, placed):
                (merges if one.link else found).setdefault(step.number, one)
    observed: dict[int, Observed] = {}
    for step in graph.steps:
        if step.vertex is None:
            continue
        if step.number in found:
            observed[step.vertex] = _OBSERVED[found[step.number].status]
        if step.last_vertex is not None and step.last_vertex != step.vertex:
            merge = merges.get(step.number) or found.get(step.number)
            if merge is not None:
                observed[step.last_vertex] = _OBSERVED[merge.status]
    return Seen(found, with_twins(graph, observed))


def with_twins(graph: BuildGraph, observed: Mapping[int, Observed]) -> dict[int, Observed]:
    """Give what was seen of one vertex to all that are the same to the engine.

    Equal operations on equal inputs are one vertex there, whatever stage and spelling they have; it is
    displayed once, under one of its names.
    """
    first: dict[object, int] = {}
    same: list[int] = []
    for vertex in graph.vertices:
        inputs = tuple(
            (
                f"vertex {same[entry.producer.vertex]}"
                if isinstance(entry.producer, FromVertex)
                else repr(entry.producer),
                selector(entry),
                entry.by_content,
            )
            for entry in vertex.inputs
        )
        same.append(first.setdefault((operation_key(vertex.operation), inputs), vertex.number))
    told: dict[int, Observed] = {}
    for number, seen in observed.items():
        if seen != "unseen":
            told.setdefault(same[number], seen)
    return {**observed, **{number: told[one] for number, one in enumerate(same) if one in told}}


def _is_link(name: str) -> bool:
    """Tell whether a vertex joins a linked copy with its base; it bears the copy's number."""
    parsed = step_name(name)
    return parsed is not None and parsed.link


def _at_step(graph: BuildGraph, step: Step, outcomes: Sequence[StepOutcome]) -> list[StepOutcome]:
    """Return the outcomes that stand at the lines of a step; triggers of ONBUILD share those of the FROM."""
    place = (step.span.first, step.span.last)
    here = [one for one in outcomes if place in one.lines and one.keyword.upper() in {step.keyword, "LINK"}]
    if step.is_trigger:
        numbered = [one for one in here if one.index == step.ordinal]
        return numbered or here
    by_number = [
        one for one in here if one.index == step.ordinal and one.total == graph.stage(step.stage).total
    ]
    return by_number or here


def engine_definition(facts: OpFacts) -> str:
    """Digest what the engine itself says that an operation is, with nothing positional about its inputs."""
    mounts = [(m.kind, m.target, m.readonly, m.options) for m in facts.mounts]
    actions = [
        (a.kind, a.source.rpartition("/")[2], a.target, a.owner, a.mode, a.options) for a in facts.actions
    ]
    parts = (
        facts.kind,
        facts.argv,
        facts.env,
        facts.cwd,
        facts.user,
        facts.network,
        facts.security,
        facts.hostname,
        sorted(host for host, _ in facts.extra_hosts),
        mounts,
        actions,
        facts.platform,
    )
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def engine_definitions(graph: BuildGraph, seen: Seen) -> list[tuple[str, str]]:
    """Pair each operation of the graph with the engine's own definition of it."""
    pairs: list[tuple[str, str]] = []
    for number, outcome in seen.steps.items():
        vertex = graph.steps[number].vertex
        if vertex is not None and outcome.definition is not None:
            operation = operation_key(graph.vertices[vertex].operation)
            pairs.append((operation, engine_definition(outcome.definition)))
    return pairs
