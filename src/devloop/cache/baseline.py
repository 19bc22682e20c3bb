"""What a build was made of, kept so that the next difference can be explained in the user's words.

Values of variables are kept as digests only: a build argument may be a secret.
"""

import hashlib
import json
from dataclasses import dataclass

from devloop.cache.predict import ContentKey, Contents, content_key, operation_key, selector
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromRemote,
    FromVertex,
    Step,
)

FORMAT = 1


@dataclass(frozen=True, slots=True)
class BaselineStep:
    """One step as it was built: the named parts of its key, each as text or digest."""

    stage: str
    ordinal: int
    line: int
    keyword: str
    text: str
    parts: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last build of a target: its steps, its base images and what its image came to.

    `fingerprint` is equal for two trees exactly when a build of both gives the same image by our model.
    """

    fingerprint: str
    configuration: tuple[tuple[str, str], ...]
    steps: tuple[BaselineStep, ...]
    images: tuple[tuple[str, str], ...]

    def step(self, stage: str, ordinal: int) -> BaselineStep | None:
        """Return the step that stood at this place."""
        return next((one for one in self.steps if one.stage == stage and one.ordinal == ordinal), None)


def short_digest(text: str) -> str:
    """Return a short digest that tells two texts apart without giving them away."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def describe(graph: BuildGraph, contents: Contents) -> Baseline:
    """Describe what a build of this graph from these contents is made of."""
    return Baseline(
        fingerprint=fingerprint(graph, contents),
        configuration=tuple((name, short_digest(value)) for name, value in graph.configuration),
        steps=tuple(describe_step(graph, step) for step in graph.steps),
        images=base_images(graph),
    )


def base_images(graph: BuildGraph) -> tuple[tuple[str, str], ...]:
    """Return the images that the graph takes from, each with the key of its content."""
    found = {
        (entry.producer.reference, entry.producer.key)
        for vertex in graph.vertices
        for entry in vertex.inputs
        if isinstance(entry.producer, FromImage)
    }
    return tuple(sorted(found))


def describe_step(graph: BuildGraph, step: Step) -> BaselineStep:
    """Describe one step by the parts of its operation, with the values of variables as digests."""
    parts = {} if step.vertex is None else dict(graph.vertices[step.vertex].operation.parts)
    return BaselineStep(
        stage=graph.stage(step.stage).label,
        ordinal=step.ordinal,
        line=step.span.first,
        keyword=step.keyword,
        text=step.instruction.text,
        parts=tuple((name, short_digest(text)) for name, text in parts.items() if name != "environment"),
        variables=tuple((name, short_digest(value)) for name, value in step.environment),
    )


def vertex_digests(graph: BuildGraph, contents: Contents) -> tuple[str, ...]:
    """Digest each vertex with everything that it is made from, in the order of the graph."""
    digests: list[str] = []
    for vertex in graph.vertices:
        parts = [operation_key(vertex.operation)]
        for entry in vertex.inputs:
            match entry.producer:
                case FromVertex(vertex=number):
                    parts.append(f"{digests[number]}|{selector(entry)}")
                case FromImage(key=key):
                    parts.append(f"{key}|{selector(entry)}")
                case FromRemote(reference=reference):
                    parts.append(reference)
                case FromContext():
                    parts.append(_content(content_key(entry, contents)) if entry.by_content else "directory")
        digests.append(short_digest("\n".join(parts)))
    return tuple(digests)


def fingerprint(graph: BuildGraph, contents: Contents) -> str:
    """Digest everything that decides what image comes out: operations, content and configuration."""
    digests = vertex_digests(graph, contents)
    index: int | None = graph.target
    while index is not None:
        stage = graph.stage(index)
        vertices = [graph.steps[number].last_vertex for number in stage.steps]
        last = [digests[number] for number in vertices if number is not None][-1:]
        if last or stage.base_stage is None:
            origin = "" if last else f"{stage.base} {stage.base_reference} {graph.images}"
            return short_digest(repr((last, origin, graph.configuration)))
        index = stage.base_stage
    raise AssertionError("a chain of stages ends at an image, scratch or a context")


def _content(key: object) -> str:
    return f"{key.content} {key.modes}" if isinstance(key, ContentKey) else f"missing {key!r}"


def baseline_to_json(baseline: Baseline) -> str:
    """Write a baseline as one JSON text."""
    return json.dumps(
        {
            "format": FORMAT,
            "fingerprint": baseline.fingerprint,
            "configuration": baseline.configuration,
            "images": baseline.images,
            "steps": [
                [s.stage, s.ordinal, s.line, s.keyword, s.text, s.parts, s.variables] for s in baseline.steps
            ],
        }
    )


def baseline_from_json(text: str) -> Baseline | None:
    """Read a baseline back; None for one of another format."""
    found = json.loads(text)
    if found.get("format") != FORMAT:
        return None
    return Baseline(
        fingerprint=found["fingerprint"],
        configuration=_pairs(found["configuration"]),
        steps=tuple(
            BaselineStep(stage, ordinal, line, keyword, shown, _pairs(parts), _pairs(variables))
            for stage, ordinal, line, keyword, shown, parts, variables in found["steps"]
        ),
        images=_pairs(found["images"]),
    )


def _pairs(found: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in found)
