"""The session with made-up parts: what it says and does for each thing that can happen."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, NoReturn

import pytest
from docker.errors import APIError

from devloop.engine.archive import SyncOutcome
from devloop.engine.base import BuildOutcome, EngineRefused
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop.keeper import read_env_file
from devloop.loop.lock import SessionLock, SessionRunning
from devloop.loop.state import Version
from devloop.watch.debounce import Batch
from support.session_world import REACHABLE, UNREACHABLE, FakeClient, FakeContainers, World

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


def test_a_version_is_run_by_its_very_image_and_not_by_a_tag_that_others_may_move(world: World) -> None:
    world.save(("main.py", "two"))
    world.settle()
    replaced = [image for what, image in world.containers.calls if what == "replace"]
    assert replaced == ["sha256:one", "sha256:two"]


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


# Saves while something is in flight


def test_a_save_during_a_build_cancels_it_and_its_image_is_never_served(folder: Path) -> None:
    world = World(folder).open()
    world.save(("main.py", "two"))
    assert [event.decision for event in world.of(events.Queued)] == ["build-canceled"]
    world.settle()
    assert [event.status for event in world.of(events.BuildFinished)] == ["canceled", "ok"]
    assert world.running == ["two"]


def test_ten_saves_during_a_build_end_in_the_newest_with_one_more_build(folder: Path) -> None:
    world = World(folder).open()
    for number in range(10):
        world.save(("main.py", f"version {number}"))
    world.settle()
    assert len(world.builder.calls) == 2
    assert world.running == ["version 9"]


def test_a_save_during_a_deploy_waits_for_it(world: World) -> None:
    world.save(("main.py", "two"))
    world.finish("build")
    world.save(("main.py", "three"))
    assert [event.decision for event in world.of(events.Queued)] == ["waits"]
    world.settle()
    assert world.running == ["three"]


# What fails


def test_a_broken_dockerfile_leaves_the_container_serving_until_it_is_mended(world: World) -> None:
    world.save(("Dockerfile", "FORM scratch\n"))
    world.save(("main.py", "two"))
    assert world.work == []
    assert world.running == ["one"]
    assert "FORM" in world.of(events.Problem)[0].rendered
    world.save(("Dockerfile", DOCKERFILE))
    world.settle()
    assert world.running == ["two"]


def test_a_dockerfile_that_is_broken_at_the_start_is_said_and_waited_for(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FORM scratch\n")
    world = World(folder).open()
    assert len(world.problems) == 1
    assert world.work == []
    world.save(("Dockerfile", DOCKERFILE))
    world.settle()
    assert world.running == ["one"]


def test_a_container_of_an_earlier_session_is_taken_over_also_while_the_dockerfile_is_broken(
    world: World, folder: Path
) -> None:
    (folder / "Dockerfile").write_text("FORM scratch\n")
    second = World(folder, engine=world.engine).open()
    assert len(second.of(events.TakenOver)) == 1
    second.save(("Dockerfile", DOCKERFILE), ("main.py", "two"))
    second.settle()
    assert len(second.engine.containers) == 1, "the old container would hold the port and the name"
    assert second.running == ["two"]


def test_a_dockerfile_that_vanishes_is_waited_for(world: World) -> None:
    world.save(("Dockerfile", None))
    assert world.problems == ["Dockerfile cannot be read: No such file or directory"]
    world.save(("Dockerfile", DOCKERFILE))
    assert world.action == "none"


def test_a_failed_build_leaves_the_container_serving_and_the_next_save_tries_again(world: World) -> None:
    world.builder.outcomes = [BuildOutcome("failed", 1.0, error="exit code: 1", error_kind="step")]
    world.save(("main.py", "two"))
    world.settle()
    assert world.of(events.BuildFinished)[-1].error == "exit code: 1"
    assert world.running == ["one"]
    world.save(("main.py", "two"))
    world.settle()
    assert world.running == ["two"]


def test_a_crash_is_rolled_back_and_said_with_its_exit_code_and_last_lines(world: World) -> None:
    world.containers.crashes = [3]
    world.save(("main.py", "two"))
    world.settle()
    [failed] = world.of(events.DeployFailed)
    assert (failed.exit_code, failed.log_tail, failed.rolled_back) == (3, ("boom",), True)
    assert world.running == ["one"]


def test_after_a_rolled_back_crash_the_old_text_needs_nothing(world: World) -> None:
    world.containers.crashes = [3]
    world.save(("main.py", "two"))
    world.settle()
    world.save(("main.py", "one"))
    assert world.action == "none"
    assert world.work == []
    assert world.running == ["one"]


def test_without_rollback_a_crash_leaves_nothing_running_and_the_next_save_tries_again(folder: Path) -> None:
    world = World(folder, flags={"rollback": False}).open().settle()
    world.containers.crashes = [3]
    world.save(("main.py", "two"))
    world.settle()
    assert world.running == []
    world.save(("main.py", "three"))
    world.settle()
    assert world.running == ["three"]


def test_a_container_that_cannot_be_made_is_said_with_its_hint(world: World) -> None:
    world.containers.errors = [DevloopError("127.0.0.1:8000 is taken", hint="publish to another port")]
    world.save(("main.py", "two"))
    world.settle()
    assert world.of(events.DeployFailed)[0].message == "127.0.0.1:8000 is taken"
    assert world.of(events.Problem)[-1].message == "publish to another port"
    assert world.running == ["one"]


def test_an_image_that_somebody_removed_is_built_again_with_the_next_save(world: World) -> None:
    world.engine.containers.clear()
    world.look_around()
    world.containers.errors = [DevloopError("there is no image to run")]
    world.save(("main.py", "one"))
    world.settle()
    assert world.running == []
    world.save(("main.py", "one"))
    world.settle()
    assert len(world.builder.calls) == 2
    assert world.running == ["one"]


def test_a_bug_in_a_thread_ends_the_session_instead_of_hanging_it(folder: Path) -> None:
    world = World(folder).open()
    world.builder.outcomes = [RuntimeError("a bug")]
    with pytest.raises(RuntimeError, match="a bug"):
        world.finish("build")


# The engine


def test_without_an_engine_saves_are_planned_and_built_when_it_answers(folder: Path) -> None:
    world = World(folder, facts=UNREACHABLE).open()
    assert world.of(events.EngineMissing)[0].hint == "start it"
    world.save(("main.py", "two"))
    assert len(world.of(events.Planned)) == 2
    assert world.work == []
    world.look_around()
    assert world.work == []
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.settle()
    assert world.running == ["two"]


def test_the_first_reading_without_an_engine_and_a_memory_claims_nothing_of_its_steps(folder: Path) -> None:
    world = World(folder, facts=UNREACHABLE).open()
    [first] = world.of(events.Planned)
    assert {(step.status, step.cause) for step in first.plan.steps} == {("unknown", None)}
    assert (first.plan.action, first.plan.seconds) == ("none", None)
    assert first.plan.reason == "nothing is known to be built: each save is compared with this"
    world.session.press("w")
    world.pump()
    assert world.of(events.Explained)[-1].plan == first.plan
    world.save(("main.py", "two"))
    second = world.of(events.Planned)[-1].plan
    assert (second.action, [step.status for step in second.steps]) == ("rebuild", ["run"])


def test_what_is_saved_after_the_engine_went_away_in_the_first_build_is_no_matter_of_course(
    folder: Path,
) -> None:
    world = World(folder).open()
    world.work.clear()
    world.session._link.lose(DevloopError("nothing listens there"))
    world.save(("main.py", "two"))
    assert world.action == "rebuild"


def test_an_engine_that_goes_away_is_said_and_gone_on_with_when_it_is_back(world: World) -> None:
    world.containers.is_gone = True
    world.builder.facts_now = UNREACHABLE
    world.look_around()
    assert len(world.of(events.EngineMissing)) == 1
    world.save(("main.py", "two"))
    assert world.work == []
    world.containers.is_gone = False
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.settle()
    assert world.running == ["two"]


def test_a_container_that_died_with_its_engine_is_started_again(world: World) -> None:
    world.containers.is_gone = True
    world.builder.facts_now = UNREACHABLE
    world.look_around()
    world.engine.stop_all()
    world.containers.is_gone = False
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.settle()
    assert world.running == ["one"]


def test_a_container_is_known_again_when_the_engine_is_back_and_the_dockerfile_broken(world: World) -> None:
    world.containers.is_gone = True
    world.builder.facts_now = UNREACHABLE
    world.look_around()
    (world.folder / "Dockerfile").write_text("FORM scratch\n")
    world.containers.is_gone = False
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.save(("Dockerfile", DOCKERFILE), ("main.py", "two"))
    world.settle()
    assert len(world.engine.containers) == 1
    assert world.running == ["two"]


def test_an_engine_that_refuses_while_it_starts_is_waited_for(world: World) -> None:
    world.containers.is_gone = True
    world.look_around()
    world.containers.is_gone = False

    def refuse(_environ: object) -> NoReturn:
        raise EngineRefused(503, "the engine is starting")

    ready = world.session.desk.parts
    world.session.desk.parts = replace(ready, containers=refuse)
    world.look_around()
    assert not world.session.desk.state.has_engine
    world.session.desk.parts = ready
    world.look_around()
    world.settle()
    assert world.running == ["one"]


def test_an_engine_that_goes_away_during_a_build_is_waited_for(world: World) -> None:
    world.builder.outcomes = [BuildOutcome("failed", 0.1, error="gone", error_kind="engine")]
    world.save(("main.py", "two"))
    world.builder.facts_now = UNREACHABLE
    world.settle()
    assert [event.message for event in world.of(events.EngineMissing)] == ["gone"]
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.settle()
    assert world.running == ["two"]


def test_an_engine_that_goes_away_during_a_deploy_is_waited_for(world: World) -> None:
    world.save(("main.py", "two"))
    world.finish("build")
    world.containers.is_gone = True
    world.builder.facts_now = UNREACHABLE
    world.finish("deploy")
    assert len(world.of(events.EngineMissing)) == 1
    world.containers.is_gone = False
    world.builder.facts_now = REACHABLE
    world.look_around()
    world.settle()
    assert world.running == ["two"]


# The container


def test_a_container_that_somebody_removed_is_said_and_comes_back_with_the_next_save(world: World) -> None:
    world.engine.containers.clear()
    world.look_around()
    assert len(world.of(events.ContainerExited)) == 1
    world.look_around()
    assert len(world.of(events.ContainerExited)) == 1, "once is enough"
    assert world.work == []
    world.save(("main.py", "one"))
    world.settle()
    assert world.running == ["one"]
    assert len(world.builder.calls) == 1, "its image is still there"


def test_an_application_that_ends_by_itself_is_said_with_its_exit_code(world: World) -> None:
    world.engine.stop_all(exit_code=1)
    world.look_around()
    [ended] = world.of(events.ContainerExited)
    assert (ended.exit_code, ended.log_tail) == (1, ("the last line",))


def test_an_application_that_ended_is_said_once_for_each_time_it_ran(world: World) -> None:
    for started in ("first", "second"):
        for ident, one in world.engine.containers.items():
            world.engine.containers[ident] = replace(one, state="running", started_at=started)
        world.look_around()
        world.engine.stop_all()
        world.look_around()
        world.look_around()
    assert len(world.of(events.ContainerExited)) == 2


def test_a_signal_that_cannot_be_sent_is_an_error_of_the_restart_and_not_a_bug(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: object, _ident: str, signal: str) -> None:
        raise APIError(f"{signal}: the container is not running")

    monkeypatch.setattr(FakeClient, "kill", refuse)
    keeper = world.session.desk.keeper
    assert keeper is not None
    done = keeper._restart(Version("image", "run"), 0.0, None, Event(), "signal:HUP")
    assert not done.ok
    assert done.error.startswith("the signal HUP could not be sent")


def test_what_is_seen_of_an_old_container_is_not_taken_for_the_new_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save is looked at by one thread while another one puts a new container in the old one's place."""
    keeper = world.session.desk.keeper
    assert keeper is not None
    adopt = keeper._adopt

    class Files:
        ident = "container-1"

        def stat(self, _path: str) -> None:
            adopt(replace(world.engine.containers["container-1"], id="container-2"))

        def close(self) -> None: ...

    monkeypatch.setattr(FakeContainers, "files", lambda _self, _ident: Files(), raising=False)
    assert keeper.surroundings().kind_at("/app/new.py") is None
    assert keeper._kinds == {}


def test_the_container_of_an_earlier_session_is_taken_over(world: World, folder: Path) -> None:
    second = World(folder, engine=world.engine).open()
    assert second.action == "none"
    assert second.work == []
    second.save(("main.py", "two"))
    second.settle()
    assert second.running == ["two"]


class FakeFiles:
    """Takes whatever is brought into a container."""

    def __init__(self, ident: str) -> None:
        self.ident = ident

    def stat(self, _place: str) -> None: ...

    def stat_all(self, places: list[str]) -> dict[str, None]:
        return dict.fromkeys(places)

    def apply(self, _batch: object) -> SyncOutcome:
        return SyncOutcome(ok=True, seconds=0.01)

    def close(self) -> None: ...


@pytest.mark.parametrize(("is_killed", "action"), [(True, "rebuild"), (False, "none")])
def test_files_that_came_without_the_restart_are_not_taken_for_their_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_killed: bool, action: str
) -> None:
    """The process still runs the old code when the session is killed between the two."""
    monkeypatch.setattr(FakeContainers, "files", lambda _self, ident: FakeFiles(ident), raising=False)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY main.py pyproject.toml /\n")
    world = World(folder, flags={"live_sync": True}).open().settle()

    def kill(_self: object, _ident: str, _grace: float) -> float:
        raise KeyboardInterrupt

    if is_killed:
        monkeypatch.setattr(FakeContainers, "restart", kill)
    world.save(("main.py", "two"))
    assert world.action == "sync+restart"
    with pytest.raises(KeyboardInterrupt) if is_killed else nullcontext():
        world.finish("sync")
    second = World(folder, engine=world.engine).open()
    assert second.action == action


def test_an_image_that_crashed_in_an_earlier_session_is_not_taken_for_the_one_that_serves(
    world: World, folder: Path
) -> None:
    """After a rollback the tag names the image that crashed."""
    world.containers.crashes = [3]
    world.save(("main.py", "two"))
    world.settle()
    (folder / "main.py").write_text("one")
    second = World(folder, engine=world.engine, flags={"env": {"MODE": "other"}}).open()
    second.settle()
    assert second.running == ["one"]


# Settings


def test_new_options_of_the_container_need_no_build(world: World) -> None:
    world.save(("devloop.toml", "[env]\nMODE = 'other'\n"))
    assert world.action == "restart"
    world.settle()
    assert len(world.builder.calls) == 1
    assert [name for name, _ in world.containers.calls] == ["replace", "replace"]


def test_a_new_build_argument_is_built(world: World) -> None:
    world.save(("Dockerfile", f"{DOCKERFILE}ARG VERSION=one\nLABEL version=$VERSION\n"))
    world.settle()
    world.save(("devloop.toml", "[build_arg]\nVERSION = 'two'\n"))
    world.settle()
    assert world.builder.calls[-1].build_args == (("VERSION", "two"),)


def test_another_target_is_another_project(world: World) -> None:
    world.save(("devloop.toml", "target = 'other'\n"))
    assert world.problems == ["Dockerfile, context or target changed: that is another project to devloop"]
    assert world.work == []


def test_a_save_in_a_context_that_is_not_needed_any_more_is_passed_over(folder: Path) -> None:
    """As a checkout of another branch does it: both are reported before either is looked at."""
    (folder / "lib").mkdir()
    (folder / "lib" / "shared.py").write_text("one")
    (folder / "Dockerfile").write_text(f"{DOCKERFILE}COPY --from=lib shared.py /app/\n")
    world = World(folder, flags={"build_context": {"lib": "lib"}}).open().settle()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "main.py").write_text("two")
    now = time.monotonic()
    for feed, path in zip(world.feeds, ("Dockerfile", "shared.py"), strict=True):
        feed.on_batch(Batch(frozenset({path}), False, now, now, "quiet"))
    world.pump()
    world.settle()
    assert world.running == ["two"]


def test_an_edit_of_an_env_file_restarts_the_container(folder: Path) -> None:
    (folder / ".env").write_text("MODE=one\n")
    (folder / "devloop.toml").write_text("env_file = ['.env']\n")
    world = World(folder).open().settle()
    assert folder / ".env" in world.feeds[0].options["extra_files"]
    world.save((".env", "MODE=two\n"))
    assert world.action == "restart"
    world.settle()
    assert len(world.builder.calls) == 1


def test_an_env_file_is_read_line_by_line_as_docker_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "variables"
    file.write_bytes("\ufeffA=1\r\n# no\n\nB=x\u2028y\x0cz\n OUTSIDE\n".encode())
    assert read_env_file(file) == {"A": "1", "B": "x\u2028y\x0cz", "OUTSIDE": None}


def test_an_env_file_that_is_missing_is_said_and_waited_for(folder: Path) -> None:
    (folder / "devloop.toml").write_text("env_file = ['.env']\n")
    world = World(folder).open()
    assert len(world.problems) == 1
    assert world.work == []
    world.save((".env", "MODE=one\n"))
    world.settle()
    assert world.running == ["one"]


def test_the_users_quiet_period_reaches_the_watcher(folder: Path) -> None:
    (folder / "devloop.toml").write_text("quiet_seconds = 0.5\nmaximum_wait_seconds = 9\n")
    settings = World(folder).open().feeds[0].options["settings"]
    assert (settings.quiet_seconds, settings.maximum_wait_seconds) == (0.5, 9)


# The end


def test_the_end_removes_the_container(world: World) -> None:
    world.quit()
    assert world.close() == 130
    assert world.engine.containers == {}
    assert world.of(events.Stopped)[0].message == "removed the container devloop-shop"


def test_the_end_removes_a_container_that_was_started_before_running_was_turned_off(world: World) -> None:
    world.save(("devloop.toml", "run = false\n"))
    world.settle()
    world.quit()
    world.close()
    assert world.engine.containers == {}


def test_the_end_leaves_the_container_where_that_is_wished(folder: Path) -> None:
    world = World(folder, flags={"remove": False}).open().settle()
    world.quit()
    assert world.close() == 130
    assert world.running == ["one"]


def test_quitting_cancels_the_build(folder: Path) -> None:
    world = World(folder).open()
    world.quit()
    world.finish("build")
    assert world.of(events.BuildFinished)[0].status == "canceled"
    assert world.close() == 130
    assert world.engine.containers == {}


def test_quitting_does_not_wait_until_a_new_container_serves(folder: Path) -> None:
    world = World(folder).open()
    world.finish("build")
    world.quit()
    world.finish("deploy")
    assert world.of(events.Deployed) == []
    assert world.close() == 130
    assert world.engine.containers == {}


def test_a_second_ctrl_c_ends_at_once(world: World) -> None:
    world.session._on_signal(2, None)
    with pytest.raises(KeyboardInterrupt):
        world.session._on_signal(2, None)


# One version and the end


def test_once_leaves_the_container_running(folder: Path) -> None:
    world = World(folder, once=True).open().settle()
    assert world.close() == 0
    assert world.running == ["one"]


def test_once_fails_with_the_build(folder: Path) -> None:
    world = World(folder, once=True).open()
    world.builder.outcomes = [BuildOutcome("failed", 1.0, error="exit code: 1", error_kind="step")]
    assert world.settle().close() == 1


def test_once_fails_with_the_container(folder: Path) -> None:
    world = World(folder, once=True).open()
    world.containers.crashes = [1]
    assert world.settle().close() == 1


def test_once_fails_with_a_broken_dockerfile(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FORM scratch\n")
    assert World(folder, once=True).open().close() == 1


def test_once_fails_with_a_missing_env_file(folder: Path) -> None:
    (folder / "devloop.toml").write_text("env_file = ['.env']\n")
    assert World(folder, once=True).open().close() == 1


def test_once_fails_without_an_engine(folder: Path) -> None:
    world = World(folder, once=True, facts=UNREACHABLE).open()
    assert world.close() == 1
    told = [type(one).__name__ for one in world.events]
    assert told == ["SessionStarted", "EngineMissing", "Stopped"], "nothing is said of a build that cannot be"


def test_once_without_a_container_only_builds(folder: Path) -> None:
    world = World(folder, once=True, flags={"run": False}).open().settle()
    assert world.close() == 0
    assert world.engine.containers == {}
    assert len([tag for tag in world.engine.tags if not tag.startswith("sha256:")]) == 1


# The whole command


def test_a_second_session_of_the_project_is_refused(world: World, folder: Path) -> None:
    lock = SessionLock(world.session.memory.folder, world.session.location.identity, "Dockerfile")
    try:
        with pytest.raises(SessionRunning, match=f"process {os.getpid()}"):
            World(folder).session.run()
    finally:
        lock.close()


def test_a_state_directory_that_cannot_be_made_costs_only_the_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "file" / "state"))
    world = World(folder, once=True, flags={"run": False})
    world.works_at_once = True
    assert world.session.run() == 0
    [note] = [event for event in world.of(events.Problem) if event.kind == "state"]
    assert note.severity == "note"


# What is told of times and beginnings


def test_the_wait_for_a_save_is_not_shortened_by_a_later_one_that_changes_nothing(world: World) -> None:
    world.save(("main.py", "two"), seconds_ago=100)
    world.save(("notes.md", "more"))
    world.settle()
    assert world.of(events.Deployed)[-1].since_save > 100


def test_a_project_that_was_broken_at_the_start_begins_when_it_is_mended(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FORM scratch\n")
    world = World(folder).open()
    assert world.of(events.Watching) == []
    world.save(("Dockerfile", DOCKERFILE))
    world.save(("Dockerfile", DOCKERFILE))
    assert len(world.of(events.Watching)) == 1
    assert [event.first for event in world.of(events.Planned)] == [True, False]
