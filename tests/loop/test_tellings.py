"""What a session has said is not said again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.loop import events
from devloop.loop.tellings import Tellings
from devloop.plan.model import Plan, Warned
from support.session_world import World, everything_ran

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = """FROM python:3.12
COPY . .
RUN pip install -r requirements.txt
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "requirements.txt").write_text("httpx==0.27\n")
    (root / "main.py").write_text("one")
    (root / "other.py").write_text("one")
    return root


def opened(folder: Path, *, seconds: float = 9.0, builds: int = 6) -> World:
    world = World(folder).open()
    world.builder.outcomes = [everything_ran(world, seconds)] * builds
    world.settle()
    return world


def told(world: World) -> list[tuple[str, bool]]:
    return [(one.code, one.repeats) for one in world.of(events.Planned)[-1].plan.warnings]


def notes(world: World) -> list[str]:
    return [one.message for one in world.of(events.Problem)]


def test_the_same_warning_is_short_the_second_time_whichever_file_was_saved(folder: Path) -> None:
    world = opened(folder)
    world.save(("main.py", "two"))
    assert told(world) == [("source-above-install", False)]
    world.save(("main.py", "three"))
    assert told(world) == [("source-above-install", True)]
    world.save(("other.py", "four"))
    assert told(world) == [("source-above-install", True)]


def test_another_cause_is_told_in_full_and_so_is_the_first_one_after_it(folder: Path) -> None:
    world = opened(folder)
    world.save(("main.py", "two"))
    world.settle()
    world.save(("requirements.txt", "httpx==0.28\n"))
    assert told(world) == [("dependency-install", False)]
    world.settle()
    world.save(("main.py", "three"))
    assert told(world) == [("source-above-install", False)]


def test_news_of_the_manifest_is_told_in_full(folder: Path) -> None:
    world = opened(folder)
    world.save(("requirements.txt", "httpx==0.28\n"))
    assert told(world) == [("dependency-install", False)]
    world.settle()
    world.save(("requirements.txt", "httpx==0.29\n"))
    assert told(world) == [("dependency-install", False)]


@pytest.mark.parametrize(("seconds", "expected"), [(4.9, []), (5.0, [("source-above-install", False)])])
def test_what_costs_less_than_the_threshold_is_never_warned_of(
    folder: Path, seconds: float, expected: list[tuple[str, bool]]
) -> None:
    world = opened(folder, seconds=seconds)
    world.save(("main.py", "two"))
    assert told(world) == expected


def test_what_is_shown_for_a_key_is_told_in_full(folder: Path) -> None:
    world = opened(folder)
    world.save(("main.py", "two"))
    world.save(("main.py", "three"))
    world.session.press("w")
    world.settle()
    assert [one.repeats for one in world.of(events.Explained)[-1].plan.warnings] == [False]


def test_a_plan_without_warnings_between_two_makes_no_difference() -> None:
    warned = Warned("expensive-step", 3, "RUN", "make", 9.0, "measured", "", "why", "way out")
    plan = Plan("shop", "Dockerfile", ".", (), (), None, 9.0, "rebuild", "", (warned,))
    quiet = Plan("shop", "Dockerfile", ".", (), (), None, 0.1, "sync", "")
    tellings = Tellings()
    assert [tellings.marked(one) for one in (plan, quiet)] == [plan, quiet]
    assert tellings.marked(plan).warnings[0].repeats


def test_a_code_that_no_warning_has_is_said_once(folder: Path) -> None:
    comment = "# devloop: ignore=source-above-instal\n"
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("RUN", f"{comment}RUN"))
    world = opened(folder)
    expected = "Dockerfile:3: no warning has the code 'source-above-instal'"
    assert notes(world) == [expected]
    [said] = world.of(events.Problem)
    assert (said.hint, said.severity) == ("did you mean source-above-install?", "note")
    world.save(("Dockerfile", (folder / "Dockerfile").read_text() + "# the end\n"))
    assert notes(world) == [expected]


def test_a_code_of_the_configuration_that_no_warning_has_is_said(folder: Path) -> None:
    world = World(folder, flags={"silence": ["Dependency-Install", "noise"]}).open()
    assert notes(world) == ["silence: no warning has the code 'noise'"]


def test_a_comment_without_a_code_is_said(folder: Path) -> None:
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("RUN", "# devloop: ignore\nRUN"))
    assert notes(World(folder).open()) == ["Dockerfile:3: the comment names no code"]


def test_a_heavy_context_is_told_once_in_a_session(folder: Path) -> None:
    (folder / ".git").mkdir()
    with (folder / ".git/pack").open("wb") as file:
        file.truncate(60_000_000)
    world = opened(folder)
    assert [one.code for one in world.of(events.Planned)[0].plan.warnings] == ["heavy-context"]
    world.save(("main.py", "two"))
    assert told(world) == [("source-above-install", False)]
    world.save(("Dockerfile", DOCKERFILE + "RUN more\n"))
    assert "heavy-context" not in dict(told(world))


def test_a_context_that_became_heavy_is_told_when_everything_is_read_again(folder: Path) -> None:
    (folder / ".dockerignore").write_text(".git\n")
    (folder / ".git").mkdir()
    with (folder / ".git/pack").open("wb") as file:
        file.truncate(60_000_000)
    world = opened(folder)
    assert world.of(events.Planned)[0].plan.warnings == ()
    world.save((".dockerignore", "*.md\n"))
    assert "heavy-context" in dict(told(world))
