"""The history of an image tells what each step added, as long as the step is still the one that was built."""

from __future__ import annotations

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.doctor.weights import Weights, weigh
from devloop.engine.images import HistoryEntry

TEXT = """\
FROM node AS build
RUN npm ci
FROM python AS base
WORKDIR /app
ARG MODE="a b"
RUN --mount=type=cache,target=/c pip install -r x \\
    && echo done
FROM base
COPY --from=build --chown=1:1 /out ./out
RUN ["ls", "-l"]
RUN <<X
echo one
echo two
X
CMD ["run"]
"""

BASE = HistoryEntry("/bin/sh -c #(nop) ADD file:1 in /", 100)
WORKDIR = HistoryEntry("WORKDIR /app", 1)
INSTALL = HistoryEntry("RUN |1 MODE=a b /bin/sh -c pip install -r x     && echo done # buildkit", 20)
COPY = HistoryEntry("COPY --chown=1:1 /out ./out # buildkit", 3)
LIST = HistoryEntry("RUN |1 MODE=a b ls -l # buildkit", 4)
SCRIPT = HistoryEntry("RUN |1 MODE=a b /bin/sh -c echo one\necho two\n # buildkit", 5)
CMD = HistoryEntry('CMD ["run"]', 0)
BUILT = (BASE, WORKDIR, HistoryEntry("ARG MODE=a b", 0), INSTALL, COPY, LIST, SCRIPT, CMD)


def graph_of(text: str) -> BuildGraph:
    parsed = parse(text.encode())
    assert isinstance(parsed, Dockerfile)
    graph = resolve(parsed)
    assert isinstance(graph, BuildGraph)
    return graph


def by_line(text: str, *history: HistoryEntry) -> tuple[dict[int, int], Weights]:
    graph = graph_of(text)
    weights = weigh(graph, history)
    return {graph.steps[number].span.first: size for number, size in weights.steps.items()}, weights


def test_every_step_of_the_target_and_its_base_stages_has_its_layer() -> None:
    lines, weights = by_line(TEXT, *BUILT)
    assert lines == {4: 1, 6: 20, 9: 3, 10: 4, 11: 5}
    assert (weights.base, weights.total, weights.unknown) == (100, 133, 0)


def test_steps_that_the_target_only_copies_from_are_elsewhere() -> None:
    graph = graph_of(TEXT)
    weights = weigh(graph, BUILT)
    assert {graph.steps[number].span.first for number in weights.elsewhere} == {1, 2}


def test_a_step_that_was_changed_since_is_not_known_and_the_others_are() -> None:
    lines, weights = by_line(TEXT.replace("pip install -r x", "pip install -r y"), *BUILT)
    assert lines == {4: 1, 9: 3, 10: 4, 11: 5}
    assert weights.unknown == 20
    assert weights.base == 100


def test_without_the_first_step_nobody_knows_where_the_base_ends() -> None:
    lines, weights = by_line(TEXT.replace("WORKDIR /app", "WORKDIR /srv"), *BUILT)
    assert 4 not in lines
    assert weights.base is None


def test_a_script_with_a_program_of_its_own_is_known_by_its_name() -> None:
    text = "FROM a\nRUN <<EOT\n#!/usr/bin/env python\nprint()\nEOT\nRUN <<EOT\necho\nEOT\n"
    said = HistoryEntry("RUN |1 X=1 /bin/sh -c /dev/pipes/EOT # buildkit", 7)
    shell = HistoryEntry("RUN |1 X=1 /bin/sh -c echo\n # buildkit", 5)
    assert by_line(text, said, shell)[0] == {2: 7, 6: 5}
    assert by_line(text.replace("EOT", "EOS"), said, shell)[0] == {6: 5}


def test_a_copy_in_the_form_of_a_list_is_said_as_words() -> None:
    text = 'FROM a\nCOPY --chown=1:1 ["a b", "c", "/d e/"]\n'
    assert by_line(text, HistoryEntry("COPY --chown=1:1 a b c /d e/ # buildkit", 3))[0] == {2: 3}


def test_an_equal_step_of_the_base_image_is_not_taken_for_ours() -> None:
    lines, weights = by_line(
        "FROM a\nRUN x\nRUN y\n",
        HistoryEntry("RUN /bin/sh -c x # buildkit", 1000),
        HistoryEntry("RUN /bin/sh -c y # buildkit", 2000),
        HistoryEntry("RUN /bin/sh -c x # buildkit", 1),
        HistoryEntry("RUN /bin/sh -c y # buildkit", 2),
    )
    assert lines == {2: 1, 3: 2}
    assert weights.base == 3000


def test_an_image_without_steps_of_its_own_is_its_base() -> None:
    assert by_line("FROM a\nCMD x\n", BASE)[1].base == 100
