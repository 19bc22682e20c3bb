"""Questions that several rules ask of a graph: chains of stages, what stands above, what is started."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, TypeVar

from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import MAIN_CONTEXT, FromContext, FromVertex
from devloop.paths import context_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devloop.dockerfile.instructions import Instruction
    from devloop.dockerfile.stages import BuildGraph, Step, Taken
    from devloop.doctor.model import Subject

Wanted = TypeVar("Wanted", bound="Instruction")


def chain(graph: BuildGraph, index: int) -> tuple[int, ...]:
    """Return a stage and those that it starts from, itself first."""
    found: list[int] = []
    at: int | None = index
    while at is not None:
        found.append(at)
        at = graph.stage(at).base_stage
    return tuple(found)


def base_image(graph: BuildGraph, index: int) -> str:
    """Return the image that a stage stands on in the end, as written after expansion."""
    return graph.stage(chain(graph, index)[-1]).base_reference


def image_name(reference: str) -> str:
    """Return the last part of an image's name: `docker.io/library/python:3.11@sha256:..` is `python`."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]


def image_tag(reference: str) -> str:
    """Return the tag of an image, empty where it has none."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def chain_steps(graph: BuildGraph, index: int) -> tuple[Step, ...]:
    """Return the steps of a stage with those of the stages below it, in the order in which they run."""
    order = reversed(chain(graph, index))
    return tuple(graph.steps[number] for one in order for number in graph.stage(one).steps)


def steps_above(graph: BuildGraph, step: Step) -> tuple[Step, ...]:
    """Return the steps above one in its chain of stages."""
    return tuple(one for one in chain_steps(graph, step.stage) if one.number < step.number)


def steps_below(graph: BuildGraph, step: Step) -> tuple[Step, ...]:
    """Return the steps that stand on the result of one: below it, and in stages that start from its own."""
    return tuple(
        other
        for other in graph.steps
        if other.number > step.number and step.stage in chain(graph, other.stage)
    )


def taken_from(graph: BuildGraph, stage: int) -> tuple[str, ...]:
    """Return the absolute paths that COPYs and mounts of other stages take from a stage."""
    return tuple(
        "/" + context_path(source)
        for vertex in graph.vertices
        for entry in vertex.inputs
        if isinstance(entry.producer, FromVertex)
        and graph.steps[graph.vertices[entry.producer.vertex].step].stage == stage
        for taken in entry.taken
        for source in taken.sources
    )


def context_takings(graph: BuildGraph, step: Step) -> tuple[Taken, ...]:
    """Return what a step takes from the main context."""
    if step.vertex is None:
        return ()
    return tuple(
        taken
        for entry in graph.vertices[step.vertex].inputs
        if isinstance(entry.producer, FromContext) and entry.producer.name == MAIN_CONTEXT
        for taken in entry.taken
    )


def last_of(graph: BuildGraph, kind: type[Wanted]) -> tuple[int, Wanted] | None:
    """Return the last instruction of a kind on the target's chain, with the index of its stage."""
    for index in chain(graph, graph.target):
        for instruction in reversed(graph.stage(index).body):
            if isinstance(instruction, kind):
                return index, instruction
    return None


def start_folder(subject: Subject) -> str:
    """Return the folder that the container starts in."""
    return dict(subject.model.graph.configuration).get("workdir", "") or "/"


def is_above(path: str, other: str) -> bool:
    """Tell whether an absolute path is another one or a folder above it."""
    return path in {"/", other} or other.startswith(f"{path}/")


def resolved(path: str, workdir: str) -> str:
    """Return the cleaned absolute path of a word in a step."""
    return posixpath.normpath(posixpath.join("/", workdir, path)).replace("//", "/")


DEVELOPMENT_STAGES = frozenset(
    {"dev", "devel", "develop", "development", "local", "debug", "watch", "dev-server", "devserver"}
)
"""Names of stages that are meant for work on the code."""


def target_name(subject: Subject) -> str:
    """Return the name of the target's stage, empty where it has none."""
    graph = subject.model.graph
    return graph.stage(graph.target).name or ""


def is_development(subject: Subject) -> bool:
    """Tell whether the target is meant for work on the code, read from its name."""
    name = target_name(subject)
    return name in DEVELOPMENT_STAGES or name.startswith(("dev-", "dev_")) or name.endswith(("-dev", "_dev"))


def runs(graph: BuildGraph) -> Iterator[tuple[Step, ins.Run]]:
    """Yield the RUN steps that stand in the file itself, and not in a trigger of a base."""
    for step in graph.steps:
        if isinstance(step.instruction, ins.Run) and not step.is_trigger:
            yield step, step.instruction
