"""The session with made-up parts: what it says and does for each thing that can happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.loop import events
from support.session_world import World

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = "FROM scratch\nCOPY main.py pyproject.toml /app/\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "main.py").write_text("one")
    (root / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    return root


@pytest.fixture
def world(folder: Path) -> World:
    """A session whose first version serves."""
    return World(folder).open().settle()


def test_the_first_version_is_built_and_served(world: World) -> None:
    assert world.running == ["one"]
    assert [type(event).__name__ for event in world.events] == [
        "SessionStarted",
        "Watching",
        "Planned",
        "BuildStarted",
        "BuildFinished",
        "Deployed",
    ]


def test_a_save_is_built_and_served(world: World) -> None:
    world.save(("main.py", "two"))
    world.settle()
    assert world.running == ["two"]


def test_a_save_of_the_same_bytes_does_nothing(world: World) -> None:
    world.save(("main.py", "one"))
    assert world.action == "none"
    assert world.work == []


def test_a_pyproject_toml_that_the_image_holds_is_a_change_like_any_other(world: World) -> None:
    world.save(("pyproject.toml", "[project]\nname = 'other'\n"))
    assert [change.path for change in world.of(events.Planned)[-1].plan.changes] == ["pyproject.toml"]
    assert len(world.work) == 1


def test_a_save_beside_a_broken_configuration_is_not_lost(world: World) -> None:
    world.save(("devloop.toml", "nmae = 'x'\n"), ("main.py", "two"))
    world.settle()
    assert world.problems == ["devloop.toml: unknown key 'nmae'"]
    assert world.running == ["two"]


def test_a_broken_configuration_alone_is_said_and_nothing_else(world: World) -> None:
    before = len(world.of(events.Planned))
    world.save(("devloop.toml", "nmae = 'x'\n"))
    assert len(world.problems) == 1
    assert len(world.of(events.Planned)) == before
