"""What is in the key of a step: pairs of files whose last step is one to the engine, or two.

Every line was tried on Docker Engine 28.5 (BuildKit 0.25); `tests/e2e/test_differential.py` tries more.
"""

from __future__ import annotations

import pytest

from devloop.cache.predict import operation_key
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.lines import SyntaxProblem
from devloop.dockerfile.stages import (
    BuildGraph,
    BuildOptions,
    FromContext,
    FromImage,
    FromVertex,
    ImageConfig,
    Images,
    Operation,
    resolve,
)


def resolved(text: str, options: BuildOptions | None = None, images: Images | None = None) -> BuildGraph:
    dockerfile = parse(text.encode())
    assert isinstance(dockerfile, Dockerfile), dockerfile
    graph = resolve(dockerfile, options, images)
    assert isinstance(graph, BuildGraph), graph
    return graph


def refusal(text: str, options: BuildOptions | None = None) -> SyntaxProblem:
    dockerfile = parse(text.encode())
    assert isinstance(dockerfile, Dockerfile), dockerfile
    problem = resolve(dockerfile, options)
    assert isinstance(problem, SyntaxProblem)
    return problem


def last(lines: str, **options: str) -> Operation:
    given = BuildOptions(build_args=tuple(options.items()))
    return resolved(f"FROM base\n{lines}\n", given).vertices[-1].operation


NS = "BUILDKIT_CACHE_MOUNT_NS"

EQUAL = [
    ("RUN true", 'RUN ["/bin/sh", "-c", "true"]'),
    ("RUN true", "run   true  "),
    ("RUN true", "RUN --network=default true"),
    ("RUN a b", "RUN a \\\n# inside\nb"),
    ("RUN true", "USER $UNSET\nRUN true"),
    ("ENV A=1 B=2\nRUN true", "ENV A=1\nENV B=2\nRUN true"),
    ("ENV A=1\nRUN true", "ARG A=1\nRUN true"),
    ("ENV A=9\nENV A=1\nRUN true", "ENV A=1\nRUN true"),
    ("ARG NOTHING\nRUN true", "RUN true"),
    ("LABEL a=b\nCMD x\nEXPOSE 1\nRUN true", "RUN true"),
    # Mounts are sorted by their target, and spelled in one way.
    (
        "RUN --mount=target=/m,source=a --mount=type=tmpfs,target=/b true",
        "RUN --mount=type=tmpfs,dst=/b --mount=type=bind,destination=/m,src=./a,ro true",
    ),
    ("RUN --mount=target=/m,source=a true", "RUN --mount=target=/m,source=elsewhere/b true"),
    ("RUN --mount=type=cache,target=/c,id=x true", "RUN --mount=type=cache,target=/c,id=y true"),
    ("RUN --mount=type=cache,target=/c,id=x true", "RUN --mount=type=cache,target=/c,sharing=locked true"),
    ("RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c,id=/c true"),
    ("RUN --mount=type=cache,target=/c/ true", "RUN --mount=type=cache,target=/c/,id=x true"),
    ("RUN --mount=type=cache,target=/c,mode=0755 true", "RUN --mount=type=cache,target=/c,uid=0 true"),
    ("RUN --mount=type=tmpfs,target=/t,size=1m true", "RUN --mount=type=tmpfs,target=/t,size=1048576 true"),
    ("RUN --mount=type=tmpfs,target=/t,size=0 true", "RUN --mount=type=tmpfs,target=/t true"),
    ("RUN --mount=type=secret,id=a true", "RUN --mount=type=secret,source=a,mode=400,required=false true"),
    ("RUN --mount=type=secret,id=x/a true", "RUN --mount=type=secret,id=x/a,target=/run/secrets/a true"),
    ("WORKDIR /w", "WORKDIR /x/../w/"),
    ("USER root\nWORKDIR /w", "USER 00\nWORKDIR /w"),
    ("USER root:\nWORKDIR /w", "USER 0:0\nWORKDIR /w"),
    ("COPY a /x", "ENV A=1\nUSER me\nCOPY ./d/../a /y/../x"),
    ("COPY a /x", "COPY --chown=$UNSET --chmod=$UNSET a /x"),
    ("COPY --chown=:0 a /x", "COPY --chown=root:root a /x"),
    ("COPY --chmod=644 a /x", "COPY --chmod=0644 a /x"),
    ("COPY a .", "COPY a ./"),
    ("COPY a .", 'COPY ["a", "/"]'),
    # Inline files come last, wherever they stand.
    ("COPY <<E a /x/\nhi\nE", 'COPY a <<"E" /x/\nhi\nE'),
    ("RUN <<E\nhi\nE", "RUN <<OTHER\nhi\nOTHER"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=lambda text: text.replace("\n", " | "))
def test_these_are_one_step_to_the_engine(one: str, other: str) -> None:
    assert last(one) == last(other)


DIFFERENT = [
    ("RUN a b", "RUN a  b"),
    ("RUN true", "RUN <<E\ntrue\nE"),
    ("RUN cat <<A\nx\nA", "RUN cat <<B\nx\nB"),
    ("RUN <<A\n#!/bin/sh\nA", "RUN <<B\n#!/bin/sh\nB"),
    ("USER root\nRUN true", "USER 0\nRUN true"),
    ("ENV A=1 B=2\nRUN true", "ENV B=2 A=1\nRUN true"),
    ("ENV A=1\nENV B=2\nENV A=1\nRUN true", "ENV A=1\nENV B=2\nRUN true"),
    ("ARG EMPTY=\nRUN true", "RUN true"),
    ("WORKDIR /w\nRUN true", "WORKDIR /w/\nRUN true"),
    ("WORKDIR /w\nRUN true", "WORKDIR /v/../w\nRUN true"),
    ("RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c,id=x true"),
    ("RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c,id=c true"),
    ("RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c/ true"),
    ("RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c,mode=0755 true"),
    ("RUN --mount=type=secret,id=a true", "RUN --mount=type=secret,id=a,env=A true"),
    (
        "RUN --mount=type=secret,id=a --mount=type=secret,id=b true",
        "RUN --mount=type=secret,id=b --mount=type=secret,id=a true",
    ),
    ("USER 0\nWORKDIR /w", "USER 0:0\nWORKDIR /w"),
    ("WORKDIR /w", "USER root\nWORKDIR /w"),
    ("COPY a /x", "ADD a /x"),
    ("COPY a /x", "COPY b /x"),
    ("COPY a /x", "COPY a /x/"),
    ("COPY a /x/", "COPY a /x/."),
    ("COPY a b /x/", "COPY b a /x/"),
    ("COPY a /x", "COPY --exclude=none a /x"),
    ("COPY --chown=0 a /x", "COPY --chown=0:0 a /x"),
    ("COPY <<A /x/\nhi\nA", "COPY <<B /x/\nhi\nB"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=lambda text: text.replace("\n", " | "))
def test_these_are_two_steps_to_the_engine(one: str, other: str) -> None:
    assert last(one) != last(other)
    assert operation_key(last(one)) != operation_key(last(other))


def test_a_namespace_counts_for_a_cache_with_its_default_name_only() -> None:
    default, custom = "RUN --mount=type=cache,target=/c true", "RUN --mount=type=cache,target=/c,id=x true"
    assert last(default, **{NS: "a"}) != last(default, **{NS: "b"})
    assert last(custom, **{NS: "a"}) == last(custom)


def test_a_relative_mount_is_joined_to_the_workdir_and_an_absolute_one_is_kept() -> None:
    assert "'/w/c'" in str(last("WORKDIR /w/\nRUN --mount=type=tmpfs,target=b/../c/ true").part("mounts"))
    assert "'/b/../c/'" in str(last("RUN --mount=type=tmpfs,target=/b/../c/ true").part("mounts"))


def test_an_empty_workdir_stays_where_it_is_and_is_a_step() -> None:
    graph = resolved('FROM base\nWORKDIR /w/\nWORKDIR ""\nRUN true\n')
    assert [vertex.operation.kind for vertex in graph.vertices] == ["mkdir", "mkdir", "exec"]
    assert graph.vertices[-1].operation.part("workdir") == "/w/"


def test_the_root_as_workdir_is_no_step_and_has_no_number_of_its_own() -> None:
    graph = resolved("FROM base\nWORKDIR /\nRUN a\nRUN b\n")
    runs = [step for step in graph.steps if step.keyword == "RUN"]
    assert [step.ordinal for step in runs] == [2, 3]
    assert graph.stages[0].total == 4
    assert len(graph.vertices) == 2


def test_a_copy_from_the_own_base_is_one_input_that_counts_by_definition() -> None:
    graph = resolved("FROM base AS one\nRUN a\nFROM one\nCOPY --from=one /d/x /z\n")
    (entry,) = graph.vertices[-1].inputs
    assert entry.producer == FromVertex(0)
    assert not entry.by_content
    assert entry.taken[0].sources == ("/d/x",)


def test_a_mount_from_the_own_base_makes_one_input_that_is_compared_by_its_whole_content() -> None:
    graph = resolved("FROM base AS one\nRUN a\nFROM one\nRUN --mount=from=one,source=/d,target=/m true\n")
    (entry,) = graph.vertices[-1].inputs
    assert entry.producer == FromVertex(0)
    assert entry.by_content
    assert entry.taken[0].sources == ("/",)


def test_a_copy_from_the_image_that_the_stage_stands_on_is_one_input_too() -> None:
    graph = resolved("FROM base\nCOPY --from=base /etc/passwd /z\n")
    assert [type(entry.producer) for entry in graph.vertices[-1].inputs] == [FromImage]


def test_a_mount_from_another_stage_is_an_input_of_its_own_in_the_order_of_targets() -> None:
    graph = resolved(
        "FROM base AS one\nRUN a\nFROM base\nRUN --mount=target=/z --mount=from=one,target=/a true\n"
    )
    producers = [entry.producer for entry in graph.vertices[-1].inputs]
    assert producers[1:] == [FromVertex(0), FromContext("")]


def test_the_seed_of_a_cache_is_compared_by_content() -> None:
    graph = resolved(
        "FROM base AS one\nRUN a\nFROM base\nRUN --mount=type=cache,target=/c,from=one,source=/s true\n"
    )
    assert [entry.by_content for entry in graph.vertices[-1].inputs] == [False, True]


def test_a_child_stage_moves_the_variables_of_its_parents_image_behind_plain_args() -> None:
    graph = resolved("FROM base AS one\nENV A=2\nARG B=1\nARG A=3\nFROM one\nRUN true\n")
    names = [name for name, _ in graph.steps[-1].environment]
    assert names == ["B", "PATH", "A"]
    assert dict(graph.steps[-1].environment)["A"] == "2"


def test_triggers_of_a_base_run_first_and_only_in_the_child() -> None:
    def images(_reference: str, _platform: object) -> ImageConfig:
        return ImageConfig("layers:1", onbuild=("RUN echo trigger", "ENV A=1"))

    graph = resolved("FROM base AS one\nRUN own\nFROM one\nRUN true\n", images=images)
    assert [step.text for step in graph.steps if step.vertex is not None] == [
        "RUN echo trigger",
        "RUN own",
        "RUN true",
    ]
    assert graph.steps[1].span == graph.stages[0].span


def test_every_trigger_is_in_the_total_and_only_steps_have_numbers() -> None:
    def images(_reference: str, _platform: object) -> ImageConfig:
        return ImageConfig("layers:1", onbuild=("ENV A=1", "RUN echo trigger"))

    graph = resolved("FROM base\nRUN own\n", images=images)
    assert [step.ordinal for step in graph.steps] == [1, 2, 3]
    assert graph.stages[0].total == 4


def test_a_linked_copy_stands_alone_where_the_engine_merges_but_not_with_chmod() -> None:
    merging = BuildOptions(merges=True)
    linked = resolved("FROM base\nCOPY --link a /x\nRUN true\n", merging)
    assert [vertex.operation.kind for vertex in linked.vertices] == ["copy", "merge", "exec"]
    assert len(linked.vertices[0].inputs) == 1
    ordinary = resolved("FROM base\nCOPY --link --chmod=644 a /x\n", merging)
    assert [vertex.operation.kind for vertex in ordinary.vertices] == ["copy"]
    assert len(ordinary.vertices[0].inputs) == 2


@pytest.mark.parametrize(
    "text",
    [
        "FROM base AS one\nCOPY --from=one /a /x\nFROM base\nRUN true\n",
        "FROM base AS one\nRUN --mount=from=one,target=/x true\nFROM base\nRUN true\n",
        "FROM base AS a\nCOPY --from=b /a /x\nFROM base AS b\nCOPY --from=a /a /x\nFROM base\n",
        "FROM base AS one\nCOPY --from=7 /a /x\nFROM base\nRUN true\n",
        "FROM base AS one\nCOPY --from=$X /a /x\nFROM base\nRUN true\n",
        "FROM $X AS one\nRUN true\nFROM base\nRUN true\n",
    ],
)
def test_some_errors_count_even_in_a_stage_that_nobody_needs(text: str) -> None:
    assert refusal(text).message


@pytest.mark.parametrize(
    "text",
    [
        "FROM base AS one\nCOPY --from=two /a /x\nFROM base AS two\nRUN true\n",
        "FROM base AS one\nCOPY --from=two /a /x\nFROM one AS two\nRUN true\nFROM base\nRUN true\n",
        "FROM base AS one\nRUN --mount=type=foo,target=/x true\nFROM base\nRUN true\n",
        "FROM base AS one\nENV A=${B:?no}\nFROM base\nRUN true\n",
    ],
)
def test_other_errors_do_no_harm_there(text: str) -> None:
    assert resolved(text).vertices


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind",
        "target=/",
        "type=cache",
        "type=tmpfs,target=/.",
        "type=secret",
        "type=foo,target=/x",
        "type=cache,target=/c,sharing=some",
        "type=cache,target=/c,uid=me",
        "target=/m,rw=maybe",
    ],
)
def test_a_mount_that_the_engine_refuses_is_refused(mount: str) -> None:
    assert refusal(f"FROM base\nRUN --mount={mount} true\n").line == 2
