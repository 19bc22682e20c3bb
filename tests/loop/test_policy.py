"""Expensive edits in a session with made-up parts: when they start, and what is served meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from devloop.engine.base import BuildOutcome, EngineUnavailable, StepDone, StepStarted
from devloop.loop import events
from devloop.loop.flight import Flight
from devloop.loop.holding import LATER_SECONDS, Holding
from devloop.loop.messages import BuildMoved
from devloop.loop.state import ContainerGone, Version
from devloop.plan.decide import quiet_seconds
from devloop.watch.debounce import Batch
from support.session_world import World, everything_ran

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.loop.messages import Message

DOCKERFILE = """FROM scratch
COPY requirements.txt /app/
RUN pip install -r /app/requirements.txt
COPY main.py other.py /app/
"""
INSTALL = "pip install"


class Shop(World):
    """A service whose install takes nine seconds."""

    def read(self) -> str:
        return "|".join((self.folder / name).read_text() for name in ("requirements.txt", "main.py"))

    @property
    def served(self) -> str:
        """The requirements and the source that the running container has."""
        [one] = [one for one in self.engine.containers.values() if one.is_running]
        packages, source = one.image_id.split("|")
        return f"{packages}|{self.engine.files.get(one.id, {}).get('/app/main.py', source)}"

    def press(self, keys: str) -> None:
        for key in keys:
            self.session.press(key)
        self.pump()

    @property
    def held(self) -> events.Held:
        held = self.of(events.Held)[-1]
        assert isinstance(held, events.Held)
        return held

    def statuses(self) -> list[str]:
        return [one.status for one in self.of(events.BuildFinished)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "requirements.txt").write_text("packages 1")
    (root / "main.py").write_text("one")
    (root / "other.py").write_text("one")
    return root


def opened(folder: Path, **flags: object) -> Shop:
    """A session whose first version serves."""
    world = Shop(folder, flags={"live_sync": True, **flags})
    world.open()
    world.builder.outcomes = [everything_ran(world, copy_seconds=0.1)] * 12
    world.settle()
    return world


@pytest.fixture
def world(folder: Path) -> Shop:
    return opened(folder)


def test_an_expensive_edit_waits_for_a_tenth_of_its_price(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    assert world.work == []
    assert (world.held.paths, world.held.steps) == (("requirements.txt",), (3,))
    assert world.held.seconds is not None
    assert world.held.wait_seconds is not None
    assert 0 < world.held.wait_seconds <= round(0.1 * world.held.seconds, 2)
    world.let_go()
    world.settle()
    assert world.served == "packages 2|one"
    assert [one.how for one in world.of(events.HoldEnded)] == ["over"]


def test_the_first_version_and_cheap_edits_wait_for_nothing(world: Shop) -> None:
    world.save(("main.py", "two"))
    assert len(world.work) == 1
    assert world.of(events.Held) == []


def test_what_can_be_proven_is_served_while_the_rest_waits(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"), ("main.py", "two"))
    world.finish("sync")
    assert world.served == "packages 1|two"
    assert world.of(events.Deployed)[-1].behind == ("requirements.txt",)
    world.save(("main.py", "three"))
    planned = world.of(events.Planned)[-1]
    assert (planned.plan.action, planned.behind) == ("sync+restart", ("requirements.txt",))
    world.finish("sync")
    assert world.served == "packages 1|three"
    assert len(world.of(events.Held)) == 1, "an edit of the source starts no new wait"
    world.settle()
    assert world.served == "packages 2|three"
    assert world.of(events.Deployed)[-1].behind == ()


def test_an_expensive_edit_of_the_dockerfile_is_left_out_as_a_whole(world: Shop) -> None:
    world.save(("Dockerfile", DOCKERFILE.replace("pip install", "pip install -v")))
    assert world.held.paths == ("Dockerfile",)
    world.save(("main.py", "two"))
    world.finish("sync")
    assert world.served == "packages 1|two"
    assert world.of(events.Deployed)[-1].behind == ("Dockerfile",)
    world.settle()
    assert world.served == "packages 1|two"
    assert world.of(events.Deployed)[-1].action == "rebuild"


def test_what_the_part_leaves_out_is_found_in_the_midst_of_others(world: Shop) -> None:
    world.save(("other.py", "two"), ("requirements.txt", "packages 2"), ("main.py", "two"))
    world.finish("sync")
    [one] = world.engine.files.values()
    assert one == {"/app/main.py": "two", "/app/other.py": "two"}
    assert world.of(events.Deployed)[-1].behind == ("requirements.txt",)


def test_a_session_that_ends_behind_is_known_to_be_behind(world: Shop, folder: Path) -> None:
    world.save(("requirements.txt", "packages 2"), ("main.py", "two"))
    world.finish("sync")
    second = Shop(folder, engine=world.engine, flags={"live_sync": True})
    second.open().settle()
    assert second.served == "packages 2|two"


def test_source_edits_during_an_install_are_served_and_come_with_the_new_image(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    build = world.work.pop(0)
    for text in ("two", "three"):
        world.save(("main.py", text))
        world.finish("sync")
        assert world.served == f"packages 1|{text}"
    assert {one.decision for one in world.of(events.Queued)} == {"build-serves"}
    (world.folder / "main.py").write_text("one")  # the builder has read the contexts before these edits
    build[1]()
    (world.folder / "main.py").write_text("three")
    world.session.desk.flight.doubts.clear()  # type: ignore[union-attr]  # it is in flight until it is pumped
    world.pump()
    assert [name for name, _ in world.work] == ["devloop-deploy"]
    world.finish("deploy")
    assert world.served == "packages 2|three"
    assert world.of(events.Deployed)[-1].patched == ("main.py",)
    assert world.statuses() == ["ok", "ok"]
    assert [one.image_id for one in world.engine.containers.values()] == ["packages 2|one"]
    assert world.work == []


def test_an_image_of_which_nobody_knows_what_it_is_made_of_is_never_patched(world: Shop) -> None:
    version = world.session.desk.state.wanted
    assert version is not None
    with pytest.raises(RuntimeError, match="nobody knows what it is made of"):
        world.session._container.start_deploy(version, "another image")
    assert world.work == []


def test_where_the_files_cannot_be_put_on_the_new_image_it_is_built_again(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    build = world.work.pop(0)
    world.save(("main.py", "two"))
    world.finish("sync")
    build[1]()
    world.session.desk.flight.doubts.clear()  # type: ignore[union-attr]  # as above
    world.pump()
    world.containers.refusals = ["no rm in the image"]
    world.finish("deploy")
    assert "no rm in the image" in world.of(events.Problem)[-1].message
    assert world.served == "packages 1|two", "what serves goes on"
    world.settle()
    assert world.served == "packages 2|two"
    assert world.of(events.DeployFailed) == []


def test_a_second_edit_of_the_packages_cancels_the_install_at_once_and_waits(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    world.save(("requirements.txt", "packages 3"))
    assert world.of(events.Queued)[-1].decision == "build-canceled"
    world.finish("build")
    assert world.work == [], "the second edit waits its own time"
    world.settle()
    assert world.statuses() == ["ok", "canceled", "ok"]
    assert world.served == "packages 3|one"


def test_an_edit_that_is_undone_waits_no_more(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.save(("requirements.txt", "packages 1"))
    assert [one.how for one in world.of(events.HoldEnded)] == ["gone"]
    assert not world.waits
    assert world.work == []


def test_whoever_saves_without_a_pause_gets_a_build_all_the_same() -> None:
    holding = Holding()
    for at in range(20):
        holding.begin(float(at), 3.0, 10.0)
    assert holding.until == 10.0
    holding.put_off(15.0)
    assert holding.until == 15.0 + LATER_SECONDS
    assert not holding.is_over(16.0)
    holding.end()
    assert holding.left(0.0, 0.25) == 0.25


def test_the_wait_grows_with_the_price_up_to_the_most(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    plan = world.of(events.Planned)[-1].plan
    assert quiet_seconds(plan, share=0.2, most=10.0) == pytest.approx(0.2 * plan.seconds)
    assert quiet_seconds(plan, share=5.0, most=10.0) == 10.0
    assert quiet_seconds(world.of(events.Planned)[0].plan, share=5.0, most=10.0) == 0.0


# Keys


def test_a_key_starts_what_waits(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("b")
    assert [name for name, _ in world.work] == ["devloop-build"]
    assert [one.how for one in world.of(events.HoldEnded)] == ["asked"]


def test_the_key_for_a_rebuild_starts_what_waits_too(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("r")
    assert [name for name, _ in world.work] == ["devloop-build"]
    assert not world.waits


def test_what_is_skipped_is_left_alone_until_it_is_saved_again(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("x")
    world.save(("main.py", "two"))
    world.settle()
    assert world.served == "packages 1|two"
    assert world.of(events.HoldEnded)[-1] == events.HoldEnded("skipped", ("requirements.txt",))
    world.save(("requirements.txt", "packages 3"))
    world.settle()
    assert world.served == "packages 3|two"


def test_what_was_skipped_can_be_built_by_a_key(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("xb")
    world.settle()
    assert world.served == "packages 2|one"


def test_a_build_can_be_put_off(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("z")
    assert world.held.is_postponed
    assert world.held.wait_seconds == pytest.approx(LATER_SECONDS, abs=1)
    assert world.work == []


def test_a_restart_of_nothing_beside_skipped_work_says_which_key_helps(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("x")
    world.session.desk.advance(ContainerGone())
    world.press("s")
    assert world.of(events.Asked)[-1].refused == "nothing is running; b builds what was skipped"


def test_without_anything_that_waits_the_keys_say_so(world: Shop) -> None:
    world.press("bxz")
    assert [(one.what, one.refused) for one in world.of(events.Asked)] == [
        (what, "nothing waits") for what in ("build", "skip", "later")
    ]


def test_who_is_asked_decides(folder: Path) -> None:
    world = opened(folder, on_expensive="ask")
    world.session.desk.has_keys = True
    world.save(("requirements.txt", "packages 2"))
    assert world.held.wait_seconds is None
    world.press("z")
    assert world.of(events.Asked)[-1].refused
    world.save(("main.py", "two"))
    world.settle()
    assert world.served == "packages 1|two"
    world.press("b")
    world.settle()
    assert world.served == "packages 2|two"


def test_what_was_saved_before_the_time_has_come_is_looked_at_before_the_clock(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    (world.folder / "requirements.txt").write_text("packages 3")
    now = time.monotonic()
    world.feeds[0].on_batch(Batch(frozenset({"requirements.txt"}), False, now, now, "quiet"))
    world.session._waiting.holding.until = 0.0
    world.session._turn()
    assert world.work == [], "the save starts the wait anew"
    assert world.waits


def test_other_settings_move_the_clock_of_what_waits(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    before = world.held.wait_seconds
    assert before is not None
    world.save(("devloop.toml", "wait_share = 0.5\n"))
    assert world.held.wait_seconds is not None
    assert world.held.wait_seconds > 3 * before
    world.save(("devloop.toml", "wait_share = 0.5\nsilence = ['broad-copy']\n"))
    assert len(world.of(events.Held)) == 2, "only what the clock goes by moves it"
    world.save(("devloop.toml", "on_expensive = 'build'\n"))
    assert not world.waits
    assert [name for name, _ in world.work] == ["devloop-build"]
    world.settle()
    assert world.served == "packages 2|one"


def test_a_build_that_waited_for_a_key_waits_for_the_clock_when_the_settings_say_so(folder: Path) -> None:
    (folder / "devloop.toml").write_text("on_expensive = 'ask'\n")
    world = opened(folder)
    world.session.desk.has_keys = True
    world.save(("requirements.txt", "packages 2"))
    world.save(("devloop.toml", ""))
    first, second = world.of(events.Held)
    assert first.wait_seconds is None
    assert second.wait_seconds is not None
    world.settle()
    assert world.served == "packages 2|one"


def test_where_nobody_can_be_asked_it_waits_and_says_so_once(folder: Path) -> None:
    world = opened(folder, on_expensive="ask")
    for number in (2, 3):
        world.save(("requirements.txt", f"packages {number}"))
        assert world.held.wait_seconds is not None
        world.settle()
    assert len(world.of(events.Problem)) == 1


def test_a_pause_ends_the_wait_and_going_on_starts_the_build(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("p")
    assert not world.waits
    world.press("p")
    assert [name for name, _ in world.work] == ["devloop-build"]


def test_on_expensive_build_starts_at_once(folder: Path) -> None:
    world = opened(folder, on_expensive="build")
    world.save(("requirements.txt", "packages 2"))
    assert [name for name, _ in world.work] == ["devloop-build"]


def test_an_expensive_edit_that_is_taken_back_in_time_counts_as_a_build_spared(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    price = world.held.seconds
    world.save(("requirements.txt", "packages 1"))
    assert [(one.kind, one.rebuild_seconds) for one in world.session.memory.syncs()] == [("withdrawn", price)]


def test_a_build_that_a_pause_puts_off_is_not_spared(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("p")
    assert world.session.memory.syncs() == ()


# What goes wrong


def test_a_part_that_crashes_is_not_tried_again_before_the_next_save(world: Shop) -> None:
    world.containers.restart_crashes = [3]
    world.save(("requirements.txt", "packages 2"), ("main.py", "two"))
    world.finish("sync")
    assert world.of(events.DeployFailed)[-1].rolled_back
    assert world.work == []
    world.save(("main.py", "three"))
    world.finish("sync")
    assert world.served == "packages 1|three"


def test_an_install_that_failed_waits_its_time_again(world: Shop) -> None:
    world.builder.outcomes = [BuildOutcome("failed", 1.0, error="no such package", error_kind="step")]
    world.save(("requirements.txt", "packages 2"))
    world.settle()
    world.save(("main.py", "two"))
    assert [name for name, _ in world.work] == ["devloop-sync"]
    assert world.waits


def test_losing_the_engine_during_a_sync_starts_nothing(world: Shop) -> None:
    world.containers.refusals = [EngineUnavailable("unix:///nowhere", "nothing listens there")]
    world.save(("main.py", "two"))
    world.finish("sync")
    assert world.work == []
    assert len(world.of(events.EngineMissing)) == 1
    assert not world.session.desk.state.has_engine


def test_an_image_whose_files_were_written_and_undone_meanwhile_is_built_again(world: Shop) -> None:
    world.save(("Dockerfile", DOCKERFILE + "CMD one\n"))
    world.save(("main.py", "middle"))
    build = world.work.pop(0)
    world.work.clear()
    assert world.session.desk.state.building is not None
    build[1]()
    world.save(("main.py", "one"))
    world.settle()
    assert world.served == "packages 1|one"
    assert world.statuses()[-2:] == ["ok", "ok"]


def test_files_that_are_written_again_and_again_are_doubted_only_so_often(world: Shop) -> None:
    def touch(_: object) -> None:
        now = time.monotonic()
        world.feeds[0].on_batch(Batch(frozenset({"main.py"}), False, now, now, "quiet"))

    world.builder.on_build = [touch]
    world.save(("Dockerfile", DOCKERFILE + "CMD one\n"))
    world.settle()
    assert world.statuses() == ["ok"] * 4
    assert "again and again" in world.of(events.Problem)[-1].message


def flight(**answers: Any) -> Flight:  # noqa: ANN401 - parts of it stand in for the whole
    nothing: Any = None
    return Flight(Version("image", "run"), nothing, nothing, nothing, 0.0, **answers)


def test_only_what_is_written_while_the_builder_reads_is_doubted() -> None:
    one = flight()
    began = one.began

    def batch(first: float, last: float) -> Batch:
        return Batch(frozenset({"a"}), False, first, last, "quiet")

    one.doubt("main", batch(began - 2, began - 1))
    assert one.doubts == {}
    one.tell(StepStarted("d", "[internal] load build context", "internal", 0.0))
    one.tell(
        StepDone("d", "[internal] load build context", "internal", cached=False, seconds=0.1, error=None)
    )
    one.doubt("main", batch(began + 100, began + 100))
    assert one.doubts == {}
    one.doubt("main", batch(began, began + 100))
    assert one.doubts == {"main": {"a"}}


# Builder and container at odds


def test_what_is_saved_while_the_container_is_replaced_is_synced_into_it(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    world.finish("build")
    world.save(("main.py", "two"))
    world.finish("deploy")
    world.finish("sync")
    assert world.served == "packages 2|two"
    assert world.work == []


def test_what_is_saved_while_a_patched_container_starts_is_synced_into_it(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    build = world.work.pop(0)
    world.save(("main.py", "two"))
    world.finish("sync")
    build[1]()
    world.session.desk.flight.doubts.clear()  # type: ignore[union-attr]  # it is in flight until it is pumped
    world.pump()
    world.save(("main.py", "three"))
    world.finish("deploy")
    world.finish("sync")
    assert world.served == "packages 2|three"


@pytest.mark.parametrize("save", [("requirements.txt", "packages 2"), ("main.py", "two")])
def test_an_engine_that_returns_is_not_taken_over_while_a_thread_changes_the_container(
    world: Shop, save: tuple[str, str]
) -> None:
    world.save(save)
    if world.waits:
        world.let_go()
        world.finish("build")
    change = world.work.pop(0)
    world.session._link.lose(EngineUnavailable("unix:///nowhere", "nothing listens there"))
    world.look_around()
    assert not world.session.desk.state.has_engine
    change[1]()
    world.pump()
    world.look_around()
    world.settle()
    world.look_around()
    state, keeper = world.session.desk.state, world.session.desk.keeper
    assert keeper is not None
    assert keeper.holds == state.serving == state.wanted
    assert world.of(events.ContainerExited) == []


def test_builds_that_fail_one_after_the_other_leave_no_readings_behind(world: Shop) -> None:
    for number in range(10):
        world.builder.outcomes = [BuildOutcome("failed", 1.0, error="no", error_kind="step")]
        world.save(("Dockerfile", f"{DOCKERFILE}RUN false {number}\n"))
        world.settle()
    assert len(world.session.desk.images.made_of) <= 3


def test_what_was_skipped_waits_again_when_it_is_saved_after_it_was_undone(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("x")
    world.save(("requirements.txt", "packages 1"))
    world.save(("requirements.txt", "packages 2"))
    assert world.waits


def test_other_work_makes_the_skipped_one_wait_again(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.press("x")
    world.save(("requirements.txt", "packages 3"))
    world.save(("requirements.txt", "packages 2"))
    assert world.waits


def test_a_canceled_build_that_ended_well_is_not_what_a_crash_goes_back_to(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    build = world.work.pop(0)
    world.session.desk.flight.began = time.monotonic() + 60  # type: ignore[union-attr]  # no doubts
    world.save(("requirements.txt", "packages 1"))
    assert world.session.desk.flight is not None
    world.session.desk.flight.cancel.clear()
    (world.folder / "requirements.txt").write_text("packages 2")
    build[1]()
    (world.folder / "requirements.txt").write_text("packages 1")
    world.pump()
    assert world.statuses()[-1] == "ok"
    world.containers.restart_crashes = [3]
    world.save(("main.py", "two"))
    world.finish("sync")
    assert world.of(events.DeployFailed)[-1].rolled_back
    assert world.served.startswith("packages 1|")


# What is counted from a key, and what the image lacks


@pytest.mark.parametrize("keys", ["b", "xb", "r", "pp"])
def test_what_a_key_starts_is_counted_from_the_key(folder: Path, keys: str) -> None:
    world = opened(folder, on_expensive="ask")
    world.session.desk.has_keys = True
    world.save(("requirements.txt", "packages 2"), seconds_ago=1000)
    world.press(keys)
    world.settle()
    [deployed] = world.of(events.Deployed)[1:]
    assert world.served == "packages 2|one"
    assert deployed.since_save < 500
    assert deployed.from_key


def test_what_only_waited_for_its_time_is_counted_from_the_save(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"), seconds_ago=1000)
    world.settle()
    deployed = world.of(events.Deployed)[-1]
    assert deployed.since_save > 500
    assert not deployed.from_key


def test_a_save_after_a_key_is_counted_from_the_save(folder: Path) -> None:
    world = opened(folder, on_expensive="ask")
    world.session.desk.has_keys = True
    world.save(("requirements.txt", "packages 2"))
    world.press("b")
    world.settle()
    world.save(("main.py", "two"), seconds_ago=1000)
    world.settle()
    deployed = world.of(events.Deployed)[-1]
    assert (deployed.since_save > 500, deployed.from_key) == (True, False)


def test_a_restart_by_a_key_leaves_the_build_in_flight_its_own_time(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"), seconds_ago=1000)
    world.let_go()
    build = world.work.pop(0)
    world.press("s")
    world.finish("restart")
    restarted = world.of(events.Deployed)[-1]
    assert (restarted.action, restarted.since_save < 500, restarted.from_key) == ("restart", True, True)
    world.work.append(build)
    world.settle()
    deployed = world.of(events.Deployed)[-1]
    assert (deployed.action, deployed.since_save > 500, deployed.from_key) == ("rebuild", True, False)


def test_what_the_image_lacks_is_told_with_each_change_of_the_container(world: Shop) -> None:
    world.save(("main.py", "two"))
    world.finish("sync")
    assert world.of(events.Deployed)[-1].owed == ("main.py",)
    world.save(("other.py", "two"))
    world.finish("sync")
    assert world.of(events.Deployed)[-1].owed == ("main.py", "other.py")
    world.press("s")
    world.finish("restart")
    assert world.of(events.Deployed)[-1].owed == ("main.py", "other.py")
    world.save(("other.py", "one"))
    world.finish("sync")
    assert world.of(events.Deployed)[-1].owed == ("main.py",)
    world.save(("requirements.txt", "packages 2"))
    world.settle()
    assert world.of(events.Deployed)[-1].owed == ()


def test_what_was_put_on_an_image_is_owed_also_where_a_save_cuts_the_deploy_short(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    world.let_go()
    build = world.work.pop(0)
    world.save(("main.py", "two"))
    world.finish("sync")
    build[1]()
    world.session.desk.flight.doubts.clear()  # type: ignore[union-attr]  # it is in flight until it is pumped
    world.pump()
    world.save(("other.py", "two"))
    count = len(world.of(events.Deployed))
    world.finish("deploy")
    assert len(world.of(events.Deployed)) == count, "nobody waited until it served"
    world.finish("sync")
    assert world.of(events.Deployed)[-1].owed == ("main.py", "other.py")


def quiet(world: Shop) -> None:
    world.session.desk.clock.quiet_since = 0.0
    world.look_around()


def test_a_background_build_that_fails_is_not_tried_again_before_the_next_save(world: Shop) -> None:
    world.save(("main.py", "two"))
    world.finish("sync")
    world.builder.outcomes = [BuildOutcome("failed", 1.0, error="no", error_kind="step")]
    quiet(world)
    world.finish("build")
    quiet(world)
    assert world.work == []
    world.save(("main.py", "two"))
    quiet(world)
    world.finish("build")
    assert len(world.of(events.BackgroundBuilt)) == 1


def test_a_background_build_whose_files_were_written_meanwhile_is_made_again(world: Shop) -> None:
    world.save(("main.py", "two"))
    world.finish("sync")
    quiet(world)
    world.save(("main.py", "two"))
    world.finish("build")
    assert world.of(events.BackgroundBuilt) == []
    quiet(world)
    world.finish("build")
    assert len(world.of(events.BackgroundBuilt)) == 1


def test_the_output_of_a_build_does_not_keep_the_time_of_what_waits_from_coming(world: Shop) -> None:
    world.save(("requirements.txt", "packages 2"))
    flight = Flight(Version("old", "run"), *(None,) * 3, 0.0)  # type: ignore[arg-type]  # nobody looks into it

    def chatter() -> None:
        progress = StepStarted("d", "[internal] x", "internal", 0.0)
        world.session.desk.put(BuildMoved(flight, progress))

    taken = world.session._take

    def take(message: Message) -> None:
        taken(message)
        chatter()

    world.session._take = take  # type: ignore[method-assign]  # whatever is taken, there is more
    chatter()
    world.session._waiting.holding.until = 0.0
    world.session._turn()
    assert [one.how for one in world.of(events.HoldEnded)] == ["over"]
