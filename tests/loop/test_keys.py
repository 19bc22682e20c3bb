"""What the keys of a session do: rebuild, restart, pause, why, quit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.engine.base import BuildOutcome
from devloop.loop import events
from support.session_world import UNREACHABLE, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text("FROM scratch\nCOPY main.py /app/\n")
    (root / "main.py").write_text("one")
    return root


@pytest.fixture
def world(folder: Path) -> World:
    """A session whose first version serves."""
    return World(folder).open().settle()


def press(world: World, keys: str) -> None:
    for key in keys:
        world.session.press(key)
    world.pump()


def refusals(world: World) -> list[str]:
    return [event.refused for event in world.of(events.Asked) if event.refused]


# r


def test_r_builds_and_replaces_although_nothing_has_changed(world: World) -> None:
    press(world, "r")
    world.finish("build")
    world.finish("deploy")
    assert len(world.builder.calls) == 2
    assert world.of(events.Deployed)[-1].action == "rebuild"
    assert world.of(events.Deployed)[-1].since_save is not None
    assert world.work == []


def test_r_sees_a_change_that_no_event_told_of(world: World, folder: Path) -> None:
    (folder / "main.py").write_text("two")
    press(world, "r")
    world.settle()
    assert world.running == ["two"]
    assert [change.path for change in world.of(events.Planned)[-1].plan.changes] == ["main.py"]


def test_r_while_a_build_is_in_flight_changes_nothing(folder: Path) -> None:
    world = World(folder).open()
    press(world, "rr")
    assert refusals(world) == ["a build is in flight already"] * 2
    world.settle()
    assert len(world.builder.calls) == 1


def test_r_tries_again_what_has_failed(world: World) -> None:
    world.builder.outcomes.append(BuildOutcome("failed", 1.0, error="exit code 1"))
    world.save(("main.py", "two"))
    world.settle()
    assert world.running == ["one"]
    press(world, "r")
    world.settle()
    assert world.running == ["two"]


def test_a_failed_rebuild_leaves_what_serves_alone(world: World) -> None:
    world.builder.outcomes.append(BuildOutcome("failed", 1.0, error="exit code 1"))
    press(world, "r")
    world.settle()
    assert world.running == ["one"]


def test_r_reads_a_broken_project_again_and_forgets_nothing(world: World, folder: Path) -> None:
    world.save(("Dockerfile", "FORM scratch\n"))
    press(world, "r")
    assert len(world.problems) == 2
    press(world, "s")
    world.settle()
    assert world.of(events.Deployed)[-1].action == "restart"
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY main.py /app/\n")
    press(world, "r")
    world.settle()
    assert world.running == ["one"]


# s


def test_s_restarts_what_serves_and_builds_nothing(world: World) -> None:
    press(world, "s")
    world.finish("restart")
    assert len(world.builder.calls) == 1
    assert world.of(events.Deployed)[-1].action == "restart"
    assert world.work == []


def test_a_save_during_a_restart_waits_for_it(world: World) -> None:
    press(world, "s")
    world.save(("main.py", "two"))
    assert [event.decision for event in world.of(events.Queued)] == ["waits"]
    world.settle()
    assert world.running == ["two"]


def test_a_restart_that_fails_is_told_and_the_next_save_tries_again(world: World) -> None:
    world.containers.restart_crashes.append(3)
    press(world, "s")
    world.settle()
    assert [event.exit_code for event in world.of(events.DeployFailed)] == [3]
    assert world.running == []
    world.save(("main.py", "two"))
    world.settle()
    assert world.running == ["two"]


def test_s_starts_what_has_stopped(world: World) -> None:
    world.engine.stop_all()
    world.look_around()
    assert world.running == []
    press(world, "s")
    world.settle()
    assert world.running == ["one"]


@pytest.mark.parametrize(
    ("flags", "expected"), [({"run": False}, "no container is run here"), ({}, "no engine answers")]
)
def test_s_says_why_there_is_nothing_to_restart(folder: Path, flags: dict[str, bool], expected: str) -> None:
    world = World(folder, flags=flags) if flags else World(folder, facts=UNREACHABLE)
    world.open().settle()
    press(world, "s")
    assert refusals(world) == [expected]


# p


def test_paused_a_save_is_planned_and_waits_until_the_session_goes_on(world: World) -> None:
    press(world, "p")
    world.save(("main.py", "two"))
    world.save(("main.py", "three"))
    assert world.action == "rebuild"
    assert world.work == []
    press(world, "p")
    world.settle()
    assert world.running == ["three"]
    assert len(world.builder.calls) == 2
    assert [event.is_paused for event in world.of(events.Paused)] == [True, False]


def test_paused_during_a_build_its_image_waits_too(folder: Path) -> None:
    world = World(folder).open()
    press(world, "p")
    world.settle()
    assert world.running == []
    press(world, "p")
    world.settle()
    assert world.running == ["one"]
    assert len(world.builder.calls) == 1


def test_s_works_during_a_pause_and_r_ends_it(world: World) -> None:
    press(world, "ps")
    world.save(("main.py", "two"))
    world.settle()
    assert world.of(events.Deployed)[-1].action == "restart"
    assert world.running == ["one"]
    press(world, "r")
    world.settle()
    assert world.running == ["two"]
    assert not world.of(events.Paused)[-1].is_paused


# w, q and the others


def test_w_explains_the_last_plan_and_after_its_build_what_became_of_it(folder: Path) -> None:
    world = World(folder).open()
    press(world, "w")
    assert not world.of(events.Explained)[-1].is_built
    world.settle()
    press(world, "w")
    assert world.of(events.Explained)[-1].is_built


def test_q_ends_the_session_with_success(world: World) -> None:
    press(world, "q")
    assert world.close() == 0
    assert world.running == []


def test_q_during_a_build_cancels_it_and_ends_with_success(folder: Path) -> None:
    world = World(folder).open()
    press(world, "q")
    world.finish("build")
    assert world.close() == 0
    assert world.running == []


def test_a_key_without_a_meaning_does_nothing(world: World) -> None:
    before = len(world.events)
    press(world, "ayc0")
    assert len(world.events) == before
