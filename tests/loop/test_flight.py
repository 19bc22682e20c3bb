"""The line of a step is found by the name that BuildKit displays, stage and all."""

from types import SimpleNamespace
from typing import Any

import pytest

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.engine.base import StepDone, StepStarted
from devloop.loop import events
from devloop.loop.flight import Flight
from devloop.loop.state import Version

SOURCE = b"""\
FROM x AS base
WORKDIR /w
FROM base AS assets
COPY a .
RUN make
FROM base
COPY --from=assets /w/a .
COPY app.sh .
"""


def flight() -> Flight:
    dockerfile = parse(SOURCE)
    assert isinstance(dockerfile, Dockerfile)
    graph = resolve(dockerfile)
    assert isinstance(graph, BuildGraph)
    model: Any = SimpleNamespace(graph=graph)
    nothing: Any = None
    return Flight(Version("image", "run"), model, nothing, nothing, 0.0)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("[base 2/2] WORKDIR /w", 2),
        ("[assets 1/2] COPY a .", 4),
        ("[stage-2 1/2] COPY --from=assets /w/a .", 7),
        ("[stage-2 2/2] COPY app.sh .", 8),
        ("[stage-1 1/2] COPY a .", 4),
        ("[elsewhere 1/2] COPY a .", None),
    ],
)
def test_a_step_is_told_with_its_own_line(name: str, line: int | None) -> None:
    told = flight().tell(StepStarted(digest="d", name=name, kind="step", at=0.0))
    assert isinstance(told, events.StepStarted)
    assert told.line == line


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ('process "make" did not complete successfully: exit code: 137: context canceled', "canceled"),
        ("Canceled: context canceled", "canceled"),
        ('process "make" did not complete successfully: exit code: 2', "failed"),
        ('process "echo Canceled; make" did not complete successfully: exit code: 2', "failed"),
    ],
)
def test_a_step_that_was_stopped_did_not_fail(error: str, status: str) -> None:
    done = StepDone("d", "[assets 2/2] RUN make", "step", cached=False, seconds=20.0, error=error)
    told = flight().tell(done)
    assert isinstance(told, events.StepFinished)
    assert (told.line, told.status, told.seconds) == (5, status, 20.0)
