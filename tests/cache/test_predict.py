"""What is learnt from a build, and what is predicted from it. The context holds what `Files` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from devloop.cache.predict import ContentKey, MissingSource, Observed, learn, predict
from devloop.cache.records import Records
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cache.predict import Lesson
    from devloop.dockerfile.stages import Taken


@dataclass
class Files:
    """Content by source; `modes` is what the directories look like."""

    content: dict[str, str] = field(default_factory=dict)
    modes: str = "755"

    def key(self, _context: str, taken: Taken) -> ContentKey | MissingSource:
        missing = [source for source in taken.sources if self.content.get(source, "") is None]
        if missing:
            return MissingSource(missing[0])
        return ContentKey("+".join(self.content.get(source, "") for source in taken.sources), self.modes)


class Engine:
    """The records of an engine, and builds whose outcome a test dictates."""

    def __init__(self) -> None:
        self.records = Records()
        self._ids = (f"r{number}" for number in count())

    def predict(self, text: str, files: Files, *, no_cache: bool = False) -> list[str]:
        prediction = predict(graph_of(text), files, self.records, no_cache=no_cache)
        return [answer.result.hit for answer in prediction.answers]

    def build(self, text: str, files: Files, outcome: str, *, forced: bool = False) -> Mapping[int, Lesson]:
        """Learn from a build; `outcome` has a letter a step: Ran, Cached, Failed, Unseen."""
        words: Mapping[str, Observed] = {"R": "ran", "C": "cached", "F": "failed", "U": "unseen"}
        graph = graph_of(text)
        assert len(graph.vertices) == len(outcome)
        observed = {number: words[letter] for number, letter in enumerate(outcome)}
        lessons = learn(graph, files, self.records, observed, lambda: next(self._ids), forced=forced)
        return {lesson.vertex: lesson for lesson in lessons}


def graph_of(text: str) -> BuildGraph:
    dockerfile = parse(text.encode())
    assert isinstance(dockerfile, Dockerfile)
    graph = resolve(dockerfile)
    assert isinstance(graph, BuildGraph)
    return graph


PLAIN = "FROM base\nCOPY a /x\nRUN make\n"
STAGES = "FROM base AS build\nCOPY a /x\nRUN make\nFROM base\nCOPY --from=build /out /app\nRUN test\n"
A, B, C = Files({"a": "A"}), Files({"a": "B"}), Files({"a": "C"})


def test_what_was_never_built_runs() -> None:
    assert Engine().predict(PLAIN, A) == ["no", "no"]


def test_the_cache_is_history_and_not_the_last_build() -> None:
    engine = Engine()
    engine.build(PLAIN, A, "RR")
    engine.build(PLAIN, B, "RR")
    assert engine.predict(PLAIN, A) == ["yes", "yes"]
    assert engine.predict(PLAIN, C) == ["no", "no"]


def test_an_environment_reruns_the_next_run_and_no_copy() -> None:
    engine = Engine()
    engine.build("FROM base\nENV A=1\nCOPY a /x\nRUN make\n", A, "RR")
    assert engine.predict("FROM base\nENV A=2\nCOPY a /x\nRUN make\n", A) == ["yes", "no"]


def test_a_consumer_of_what_runs_is_unknown_and_what_stands_on_it_too() -> None:
    engine = Engine()
    engine.build(STAGES, A, "RRRR")
    assert engine.predict(STAGES, B) == ["no", "no", "maybe", "maybe"]


def test_a_step_that_was_never_seen_runs_whatever_happens_above() -> None:
    engine = Engine()
    engine.build(STAGES, A, "RRRR")
    assert engine.predict(STAGES + "RUN new\n", B)[-1] == "no"


def test_a_producer_that_wrote_the_same_is_known_by_definition_from_then_on() -> None:
    engine = Engine()
    engine.build(STAGES, A, "RRRR")
    lessons = engine.build(STAGES, B, "RRCC")
    assert lessons[2].kind == "resolved"
    assert engine.predict(STAGES, B) == ["yes"] * 4
    assert engine.predict(STAGES, A) == ["yes"] * 4


def test_a_hit_can_be_sure_while_its_record_is_open() -> None:
    engine = Engine()
    engine.build(STAGES, A, "RRRR")
    engine.build(STAGES, B, "RRRR")
    engine.build(STAGES, C, "RRCC")  # it wrote what one of the two had written
    assert engine.predict(STAGES, C) == ["yes"] * 4
    assert engine.predict(STAGES + "RUN new\n", C) == ["yes"] * 4 + ["no"]


def test_equal_steps_of_one_build_are_one_record_and_none_of_them_is_lost() -> None:
    engine = Engine()
    twins = "FROM base AS one\nCOPY a /x\nFROM base\nCOPY a /x\nCOPY --from=one /x /y\n"
    lessons = engine.build(twins, A, "RRR")
    assert {lesson.kind for lesson in lessons.values()} == {"agreed"}
    assert engine.predict(twins, A) == ["yes"] * 3


def test_of_merged_twins_either_may_be_the_one_that_ran() -> None:
    twins = "FROM base AS one\nCOPY d/a /x\nFROM base\nCOPY e/a /x\nCOPY --from=one /x /y\n"
    files = Files({"d/a": "A", "e/a": "A"})
    for outcome in ("RCR", "CRR"):
        engine = Engine()
        engine.build(twins, files, outcome)
        assert engine.predict(twins, files) == ["yes"] * 3


def test_a_record_that_is_gone_is_recognised_and_built_anew() -> None:
    engine = Engine()
    engine.build(PLAIN, A, "RR")
    lessons = engine.build(PLAIN, A, "RR")
    assert [lesson.kind for lesson in lessons.values()] == ["lost", "agreed"]
    assert engine.predict(PLAIN, A) == ["yes", "yes"]


def test_a_build_without_cache_loses_nothing() -> None:
    engine = Engine()
    engine.build(PLAIN, A, "RR")
    lessons = engine.build(PLAIN, A, "RR", forced=True)
    assert {lesson.kind for lesson in lessons.values()} == {"agreed"}
    assert engine.predict(PLAIN, A) == ["yes", "yes"]
    assert engine.predict(PLAIN, A, no_cache=True) == ["no", "no"]


def test_what_another_client_built_is_taken_over() -> None:
    engine = Engine()
    lessons = engine.build(PLAIN, A, "CC")
    assert {lesson.kind for lesson in lessons.values()} == {"foreign"}
    assert engine.predict(PLAIN, A) == ["yes", "yes"]


def test_of_a_failed_build_everything_before_the_failure_is_kept() -> None:
    engine = Engine()
    engine.build("FROM base\nCOPY a /x\nRUN make\nRUN test\n", A, "RFU")
    assert engine.predict("FROM base\nCOPY a /x\nRUN make\nRUN test\n", A) == ["yes", "no", "no"]


def test_the_path_of_a_copy_from_the_own_base_does_not_count() -> None:
    """The engine serves the old file: only the last part of the path is in the key, and no content is."""
    text = "FROM base AS one\nRUN make\nFROM one\nCOPY --from=one /{}/x /z\n"
    engine = Engine()
    engine.build(text.format("d"), A, "RR")
    assert engine.predict(text.format("e"), A) == ["yes", "yes"]


def test_a_mount_from_the_own_base_is_known_by_the_whole_of_the_base() -> None:
    """What the base wrote is compared, and the path that is mounted is not."""
    text = "FROM base AS one\nCOPY a /x\nRUN make\nFROM one\nRUN --mount=from=one,source=/{},target=/m test\n"
    engine = Engine()
    engine.build(text.format("d"), A, "RRR")
    assert engine.predict(text.format("e"), A) == ["yes"] * 3
    assert engine.predict(text.format("d"), B) == ["no", "no", "maybe"]


def test_the_path_of_a_copy_from_another_stage_does() -> None:
    text = "FROM base AS one\nRUN make\nFROM base\nCOPY --from=one /{}/x /z\n"
    engine = Engine()
    engine.build(text.format("d"), A, "RR")
    assert engine.predict(text.format("e"), A) == ["yes", "maybe"]


def test_a_directory_mode_alone_is_unknown() -> None:
    engine = Engine()
    engine.build(PLAIN, A, "RR")
    assert engine.predict(PLAIN, Files({"a": "A"}, "700")) == ["maybe", "maybe"]


def test_a_mode_that_the_builder_may_not_have_noticed_is_unknown_even_when_nothing_changed() -> None:
    engine = Engine()
    stale = Files({"a": "A"}, "700 755")
    engine.build(PLAIN, stale, "RR")
    assert engine.predict(PLAIN, stale) == ["maybe", "maybe"]
    engine.build(PLAIN, stale, "CC")
    assert engine.predict(PLAIN, stale) == ["maybe", "maybe"]
    assert engine.predict(PLAIN, B) == ["no", "no"]
