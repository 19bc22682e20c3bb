"""Two texts do the same but for what a proposal intends; anything else is named with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.doctor.moves import compare_graphs

if TYPE_CHECKING:
    from devloop.doctor.model import Intent


def graph_of(text: str) -> BuildGraph:
    parsed = parse(text.encode())
    assert isinstance(parsed, Dockerfile)
    graph = resolve(parsed)
    assert isinstance(graph, BuildGraph)
    return graph


def compared(before: str, after: str, *intends: Intent) -> tuple[str, ...]:
    head = "FROM a\nWORKDIR /app\n"
    return compare_graphs(graph_of(head + before), graph_of(head + after), frozenset(intends))


MEANT: list[tuple[str, str, tuple[Intent, ...]]] = [
    ("COPY . .\nRUN make\n", "COPY . .\nRUN make\n", ()),
    ("COPY . .\nRUN pip install x\n", "COPY r .\nRUN pip install x\nCOPY . .\n", ("order",)),
    ("RUN npm ci\nCOPY . .\n", "COPY . .\nRUN npm ci\n", ("order",)),
    (
        "COPY . .\nRUN go build\n",
        "COPY go.mod .\nRUN go mod download\nCOPY . .\nRUN go build\n",
        ("order",),
    ),
    ("ARG V=1\nRUN make\nRUN echo $V\n", "RUN make\nARG V=1\nRUN echo $V\n", ("order",)),
    ("RUN npm ci\n", "RUN --mount=type=cache,target=/root/.npm npm ci\n", ("cache mount",)),
    (
        "RUN pip install --no-cache-dir x\n",
        "RUN --mount=type=cache,target=/c \\\n  pip install x\n",
        ("cache mount",),
    ),
    ("ENV PIP_NO_CACHE_DIR=1\nRUN pip install x\n", "RUN pip install x\n", ("cache mount",)),
    (
        "RUN apt-get install x\n",
        "RUN apt-get install x && rm -rf /var/lib/apt/lists/*\n",
        ("install cache",),
    ),
    ("COPY . .\nRUN chown -R u /app\n", "COPY --chown=u . .\n", ("owner",)),
    ("COPY . .\nRUN make && chown -R u /app\n", "COPY --chown=u . .\nRUN make\n", ("owner",)),
    ("CMD npm start\n", 'CMD ["node", "x"]\n', ("command",)),
    ("COPY . .\n", "COPY --exclude=docs . .\n", ("fewer files",)),
    ("ADD src .\n", "COPY src .\n", ()),
    (
        "COPY . .\nRUN composer install -o\n",
        "COPY c .\nRUN composer install --no-scripts\nCOPY . .\nRUN composer dump-autoload -o\n",
        ("order",),
    ),
    ("RUN apk update && apk add a\n", "RUN apk add --no-cache a\n", ("install cache",)),
]


@pytest.mark.parametrize(("before", "after", "intends"), MEANT)
def test_what_is_meant_is_no_difference(before: str, after: str, intends: tuple[Intent, ...]) -> None:
    assert compared(before, after, *intends) == ()


@pytest.mark.parametrize(
    ("before", "after", "intends"),
    [row for row in MEANT if row[2] and sorted(row[0].splitlines()) != sorted(row[1].splitlines())],
)
def test_the_same_without_its_intent_is_a_difference(
    before: str, after: str, intends: tuple[Intent, ...]
) -> None:
    assert intends
    assert compared(before, after)


@pytest.mark.parametrize(
    ("before", "after", "intends", "said"),
    [
        ("RUN make\n", "RUN make all\n", ("order",), "line 3 does not do what line 3 did: RUN make all"),
        ("RUN make\nCOPY . .\n", "COPY . .\n", ("order", "cache mount", "stage"), "line 3 is gone: RUN make"),
        ("COPY . .\n", "COPY . .\nRUN make\n", ("order",), "line 4 is new: RUN make"),
        ("ARG V=1\nRUN echo $V\n", "RUN echo $V\nARG V=1\n", ("order",), "(environment)"),
        ("USER u\nRUN make\n", "RUN make\nUSER u\n", ("order",), "(user)"),
        ("RUN make\nWORKDIR /x\n", "WORKDIR /x\nRUN make\n", ("order",), "(workdir)"),
        ("COPY . .\n", "COPY . /srv\n", ("order",), "(destination)"),
        ("COPY . .\n", "COPY --chown=u . .\n", ("order",), "(owner)"),
        ("RUN npm ci\n", "RUN --mount=type=bind,target=/x npm ci\n", ("cache mount",), "(mounts)"),
        ("RUN --network=none make\n", "RUN make\n", ("cache mount",), "(network)"),
        ("RUN apk update && apk add a\n", "RUN apk add a\n", ("install cache",), "(command)"),
        ("CMD a\n", "CMD b\n", ("order",), "the image's configuration differs: cmd"),
        ("EXPOSE 1\n", "\n", ("command", "stage"), "the image's configuration differs: expose"),
        ("ENV A=1\n", "ENV A=2\n", ("cache mount",), "the image's configuration differs: env"),
        ("ADD a.tar.gz .\n", "COPY a.tar.gz .\n", (), "is gone: ADD a.tar.gz"),
        ("ADD *.bin .\n", "COPY *.bin .\n", (), "is gone: ADD"),
    ],
)
def test_what_is_not_meant_is_told(before: str, after: str, intends: tuple[Intent, ...], said: str) -> None:
    assert said in "; ".join(compared(before, after, *intends))


def test_a_base_may_be_pinned_and_not_exchanged() -> None:
    before = graph_of("FROM a:1\nRUN x\n")
    pinned = graph_of(f"FROM a:1@sha256:{'0' * 64}\nRUN x\n")
    other = graph_of("FROM a:2\nRUN x\n")
    assert compare_graphs(before, pinned, frozenset({"base"})) == ()
    assert compare_graphs(before, pinned, frozenset())
    assert compare_graphs(before, other, frozenset({"base"}))


def test_a_stage_may_come_and_every_command_stays() -> None:
    before = graph_of("FROM go\nCOPY . .\nRUN go build -o /x\nCMD /x\n")
    after = "FROM go AS build\nCOPY . .\nRUN go build -o /x\nFROM scratch\nCOPY --from=build /x /x\nCMD /x\n"
    assert compare_graphs(before, graph_of(after), frozenset({"stage"})) == ()
    assert compare_graphs(before, graph_of(after.replace("-o", "-v -o")), frozenset({"stage"}))
    assert compare_graphs(before, graph_of(after), frozenset({"order"})) == (
        "the image starts from scratch, not from go",
    )


def test_a_new_stage_may_install_once_more_and_run_nothing_else() -> None:
    before = graph_of("FROM node\nCOPY . .\nRUN npm ci\nCMD x\n")
    after = "FROM node AS build\nCOPY . .\nRUN npm ci\nFROM node\nRUN npm ci --omit=dev\n"
    after += "COPY --from=build /x /x\nCMD x\n"
    assert compare_graphs(before, graph_of(after), frozenset({"stage"})) == ()
    other = after.replace("npm ci --omit=dev", "npm run build")
    assert compare_graphs(before, graph_of(other), frozenset({"stage"})) == (
        "line 5 is new: RUN npm run build",
    )


def test_a_start_that_reloads_is_another_command_and_nothing_else() -> None:
    before = graph_of("FROM a\nRUN x\nCMD uvicorn a:b\n")
    after = graph_of("FROM a\nRUN x\nCMD uvicorn a:b --reload\n")
    assert compare_graphs(before, after, frozenset({"reload"})) == ()
    assert compare_graphs(before, graph_of("FROM a\nRUN y\nCMD z\n"), frozenset({"reload"}))


def test_a_run_may_be_cut_in_two_behind_its_install_and_in_no_other_order() -> None:
    def graph(text: str) -> BuildGraph:
        found = parse(text.encode())
        assert isinstance(found, Dockerfile)
        resolved = resolve(found)
        assert isinstance(resolved, BuildGraph)
        return resolved

    head = "FROM node\nWORKDIR /app\n"
    whole = graph(f"{head}COPY . .\nRUN cd web && npm ci && npm run build\n")
    manifests = "COPY web/package.json ./web/\n"
    cut = graph(f"{head}{manifests}RUN cd web && npm ci\nCOPY . .\nRUN cd web && npm run build\n")
    turned = graph(f"{head}{manifests}RUN cd web && npm run build\nCOPY . .\nRUN cd web && npm ci\n")
    assert compare_graphs(whole, cut, frozenset({"order"})) == ()
    assert compare_graphs(whole, turned, frozenset({"order"})) != ()
    assert compare_graphs(whole, cut, frozenset()) != ()
