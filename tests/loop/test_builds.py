"""What a build did is found for every step, also where the engine shows only one of several equal ones."""

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.loop.builds import with_twins

TWINS = b"""\
FROM base
RUN echo a > /a
FROM base AS two
RUN ["/bin/sh", "-c", "echo a > /a"]
FROM base
COPY --from=0 /a /one
COPY --from=two /a /two
RUN echo b
"""


def graph_of(source: bytes) -> BuildGraph:
    dockerfile = parse(source)
    assert isinstance(dockerfile, Dockerfile)
    graph = resolve(dockerfile)
    assert isinstance(graph, BuildGraph)
    return graph


def test_what_is_seen_of_one_step_is_known_of_its_twin_in_another_stage() -> None:
    graph = graph_of(TWINS)
    lines = {step.span.first: step.vertex for step in graph.steps}
    shell, words = lines[2], lines[4]
    assert shell is not None
    assert words is not None
    assert with_twins(graph, {words: "ran"}) == {words: "ran", shell: "ran"}
    assert with_twins(graph, {shell: "unseen", words: "cached"}) == {shell: "cached", words: "cached"}


def test_copies_of_equal_stages_to_other_places_are_no_twins() -> None:
    graph = graph_of(TWINS)
    lines = {step.span.first: step.vertex for step in graph.steps}
    one = lines[6]
    assert one is not None
    assert with_twins(graph, {one: "ran"}) == {one: "ran"}
