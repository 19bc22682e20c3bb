"""What a build teaches: its record holds what was expected of each step, and why it came otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.cost.report import accounted, verdict
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.engine.base import BuildOutcome, StepOutcome
from devloop.loop.account import PRUNED
from devloop.loop.flight import Flight
from devloop.loop.lessons import Teacher
from devloop.loop.state import Version
from devloop.plan.model import Cause
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.reading import Model
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devloop.engine.base import StepStatus

DOCKERFILE = "FROM base\nCOPY app.py /\nRUN make\nRUN check\n"
COPY, MAKE, CHECK = 2, 3, 4


class Lab:
    """One project on a made-up engine: `build` tells what its steps did and returns what was recorded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = "layers:1"
        self.memory = Memory(locate(folder, Settings()))
        self.workspace = Workspace(
            self.memory.location, Settings(), self.memory, builder="engine", inspect=self.inspect
        )
        self.teacher = Teacher(self.workspace)
        self.flight: Flight | None = None

    def inspect(self, _reference: str, _platform: Platform) -> ImageConfig:
        return ImageConfig(key=self.base)

    def take_off(self) -> Flight:
        model = self.workspace.read()
        assert isinstance(model, Model)
        tree = self.workspace.tree(model)
        answered = self.workspace.plan(
            Given(
                model=model,
                tree=tree,
                records=self.workspace.records(model.graph),
                baseline=self.memory.baseline(),
                changes=self.workspace.changes_since_built(tree),
            )
        )
        self.flight = Flight(Version("image", "run"), model, tree, answered, 1.0)
        return self.flight

    def land(self, flight: Flight, *ran: int) -> list[tuple[int, str | None, str | None]]:
        """Let the steps at these lines have run; return line, verdict and rule of every step."""
        steps = []
        for step in flight.model.graph.steps:
            status: StepStatus = "run" if step.span.first in ran else "cached"
            steps.append(
                StepOutcome(
                    digest=f"sha256:{step.number}",
                    name=step.text,
                    stage=None,
                    index=step.ordinal,
                    total=flight.model.graph.stage(step.stage).total,
                    keyword=step.keyword,
                    text=step.text,
                    status=status,
                    seconds=1.0 if status == "run" else None,
                    lines=((step.span.first, step.span.last),),
                )
            )
        outcome = BuildOutcome(
            "ok", 3.5, steps=tuple(steps), has_provenance=True, context_bytes=99, context_seconds=0.25
        )
        self.teacher.teach(flight, outcome)
        [newest] = self.memory.builds(1)
        assert newest == self.teacher.record
        return [(step.line, verdict(step, account), account.rule) for step, account in accounted(newest)]

    def build(self, *ran: int) -> list[tuple[int, str | None, str | None]]:
        return self.land(self.take_off(), *ran)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "app.py").write_text("1")
    found = Lab(folder)
    yield found
    found.memory.close()


def test_a_build_that_went_as_predicted_is_recorded_with_its_causes(lab: Lab) -> None:
    assert lab.build(COPY, MAKE, CHECK) == [
        (COPY, "right", "never-built"),
        (MAKE, "right", "never-built"),
        (CHECK, "right", "never-built"),
    ]
    assert lab.build() == [(COPY, "right", None), (MAKE, "right", None), (CHECK, "right", None)]


def test_an_edit_is_the_cause_of_everything_below_it(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    (lab.folder / "app.py").write_text("another length")
    assert [rule for _, _, rule in lab.build(COPY, MAKE, CHECK)] == ["content", "stage", "stage"]


def test_a_lost_record_is_a_pruned_cache_where_the_engine_contradicts_nothing(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    assert lab.build(MAKE, CHECK) == [
        (COPY, "right", None),
        (MAKE, "missed", "pruned"),
        (CHECK, "missed", "stage"),
    ]
    [miss] = lab.memory.misses()
    assert (miss.line, miss.explanation) == (MAKE, PRUNED)


def test_the_account_on_the_screen_has_the_causes_of_surprises(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    lab.build(MAKE, CHECK)
    assert lab.flight is not None
    assert list(lab.flight.surprises.values()) == [
        Cause(PRUNED, "pruned"),
        Cause("RUN (line 3) ran again above it", "stage", line=MAKE),
    ]


def test_a_base_image_that_moved_during_the_build_is_no_miss(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    flight = lab.take_off()
    lab.base = "layers:2"
    assert lab.land(flight, COPY, MAKE, CHECK) == [
        (COPY, "missed", "base"),
        (MAKE, "missed", "stage"),
        (CHECK, "missed", "stage"),
    ]
    assert lab.memory.misses() == ()
    # What was learnt belongs to the base that was really built upon.
    assert [rule for _, _, rule in lab.build()] == [None] * 3


def test_a_base_image_that_moved_after_the_build_teaches_nothing_of_the_new_one(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    flight = lab.take_off()
    lab.base = "layers:2"
    lab.land(flight)
    assert [step.status for step in lab.take_off().answered.plan.steps[1:]] == ["run"] * 3


def test_a_save_during_the_build_is_no_miss(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    flight = lab.take_off()
    (lab.folder / "app.py").write_text("saved while the builder read")
    assert [rule for _, _, rule in lab.land(flight, COPY, MAKE, CHECK)] == ["meanwhile", "stage", "stage"]
    assert lab.memory.misses() == ()


def test_the_expected_seconds_are_those_of_the_build_alone(lab: Lab) -> None:
    lab.memory.record_restart("replace", 20.0, 20.0, 20.0)
    lab.build(COPY, MAKE, CHECK)
    (lab.folder / "app.py").write_text("another length")
    lab.build(COPY, MAKE, CHECK)
    [newest] = lab.memory.builds(1)
    assert newest.predicted_seconds == 3.5  # its chain, and what the first one took beyond that
    assert lab.flight is not None
    assert lab.flight.answered.rebuild_seconds == 63.5


def test_a_build_is_recorded_with_its_longest_chain_and_the_way_of_its_context(lab: Lab) -> None:
    lab.build(COPY, MAKE, CHECK)
    [record] = lab.memory.builds(1)
    assert (record.chain_seconds, record.context_bytes, record.context_seconds) == (3.0, 99, 0.25)


def test_stages_that_were_built_side_by_side_count_by_the_longer_one(lab: Lab) -> None:
    (lab.folder / "Dockerfile").write_text(
        "FROM base AS one\nRUN a\nRUN b\nFROM base AS two\nRUN c\n"
        "FROM base\nCOPY --from=one /o /\nCOPY --from=two /t /\n"
    )
    lab.build(2, 3, 5, 7, 8)
    [record] = lab.memory.builds(1)
    assert record.chain_seconds == 4.0
