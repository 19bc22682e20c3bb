"""What holds for every order of saves, builds, deploys, failures and ends: see the rules in `loop.state`.

The machine talks to a made-up world that has one builder and one container. The world answers when hypothesis
says so, sometimes with a failure, and every effect is checked at the moment when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devloop.loop.state import (
    BackgroundEnded,
    BuildEnded,
    CancelBackground,
    CancelBuild,
    ContainerGone,
    DeployEnded,
    Effect,
    EngineChanged,
    LoopState,
    Message,
    PauseAsked,
    Quit,
    Replan,
    ReportQueued,
    RestartAsked,
    RetryAsked,
    StartBackground,
    StartBuild,
    StartDeploy,
    StartRestart,
    StartSync,
    StepsMoved,
    Stop,
    SyncEnded,
    TreeBroken,
    TreeQuiet,
    TreeRead,
    Version,
    advance,
)

if TYPE_CHECKING:
    from typing import Literal

VERSIONS = st.builds(Version, st.sampled_from("abc"), st.sampled_from("rrrs"))
TROUBLES = ("broken", "removed", "engine gone", "engine back", "rebuild", "restart", "pause", "go on", "quit")


class Session(RuleBasedStateMachine):
    """The machine under test beside the truth about tree, image, container and engine."""

    runs_container = True
    once = False

    @initialize(first=VERSIONS)
    def start(self, first: Version) -> None:
        self.state = LoopState(runs_container=self.runs_container, once=self.once)
        self.tree: Version | None = None
        # What the tag names.
        self.image: str | None = None
        self.serving: Version | None = None
        self.building: str | None = None
        self.is_canceled = False
        self.deploying: Version | None = None
        self.syncing: Version | None = None
        # What was proven to be reachable by a sync, from what served when the tree was read.
        self.can_sync: Version | None = None
        self.background: str | None = None
        # What was tried since the last save, and said to have failed.
        self.failed: Version | None = None
        self.has_engine = True
        self.is_paused = False
        self.stop: Stop | None = None
        self.is_leaving = self.is_gone = False
        self.is_replanning = False
        self.builds = self.reasons = 0
        self.save(first, is_needed=False)

    # The world obeys, and objects

    def tell(self, message: Message) -> None:
        self.state, effects = advance(self.state, message)
        for effect in effects:
            self.obey(effect)

    @property
    def is_idle(self) -> bool:
        return self.building is None and self.deploying is None and self.syncing is None

    def obey(self, effect: Effect) -> None:
        assert self.stop is None, "nothing is asked for after the end"
        match effect:
            case StartBuild(version):
                self.check_start(version)
                assert not self.is_reached, "what is there already is not built"
                assert self.image != version.image, "an image that is there is not built again"
                assert self.background is None, "one builder works at a time"
                self.building, self.is_canceled = version.image, False
                self.builds += 1
            case StartDeploy(version):
                self.check_start(version)
                assert self.runs_container
                assert self.image == version.image, "only the image of this version is deployed"
                assert self.serving != version, "what serves already is not replaced"
                self.deploying = version
            case StartRestart(version):
                assert self.is_idle, "one thing is in flight at a time"
                assert self.runs_container
                assert self.has_engine
                assert version == self.serving, "only what serves is restarted"
                self.deploying = version
            case StartSync(version):
                self.check_start(version)
                assert self.runs_container
                assert self.can_sync == version, "only what was proven for what serves now is synced"
                assert self.serving not in {version, None}, "there is something to sync into"
                self.syncing = version
            case StartBackground(version):
                assert self.is_idle
                assert not self.is_paused
                assert self.background is None
                assert version == self.tree == self.serving, "only what was synced is owed to the image"
                assert self.image != version.image
                self.background = version.image
            case CancelBackground():
                assert self.background is not None
                self.background = None
            case Replan():
                assert self.is_idle
                self.is_replanning = True
            case CancelBuild():
                assert self.building is not None
                assert not self.is_canceled, "a build is canceled once"
                self.is_canceled = True
            case ReportQueued(decision):
                expected = self.deploying or self.syncing if decision == "waits" else self.building
                assert expected is not None
            case Stop(ok):
                assert self.is_idle
                assert self.background is None
                assert ok == self.is_reached, "the end is told as it is"
                self.stop = effect

    def check_start(self, version: Version) -> None:
        assert self.is_idle, "one thing is in flight at a time"
        assert version == self.tree, "only the newest tree is worked for"
        assert version != self.failed, "what failed is not tried again by itself"
        assert self.has_engine
        assert not self.is_leaving
        assert not self.is_paused, "nothing is started while the session is paused"

    @property
    def is_reached(self) -> bool:
        if self.tree is None:
            return False
        return self.serving == self.tree if self.runs_container else self.image == self.tree.image

    # What happens

    @rule(version=VERSIONS, is_needed=st.booleans(), can_sync=st.booleans())
    def save(self, version: Version, *, is_needed: bool, can_sync: bool = False) -> None:
        self.tree, self.failed = version, None
        self.is_gone = False
        self.reasons += 1
        self.read(is_needed=is_needed, can_sync=can_sync, is_save=True)

    @precondition(lambda self: self.is_replanning)
    @rule(can_sync=st.booleans())
    def the_tree_is_planned_again(self, *, can_sync: bool) -> None:
        if self.tree is None:
            self.is_replanning = False
        else:
            self.read(is_needed=False, can_sync=can_sync, is_save=False)

    def read(self, *, is_needed: bool, can_sync: bool, is_save: bool) -> None:
        self.is_replanning = False
        assert self.tree is not None
        # Syncs change files, not the options of the container.
        can_sync = can_sync and self.serving is not None and self.serving.run == self.tree.run
        self.can_sync = self.tree if can_sync else None
        needed = is_needed and self.building is not None
        self.tell(TreeRead(self.tree, is_needed=needed, can_sync=can_sync, is_save=is_save))

    @rule(trouble=st.sampled_from(TROUBLES))
    def trouble(self, trouble: str) -> None:
        """Do what happens seldom, so that most steps are saves and answers."""
        match trouble:
            case "broken":
                self.tree, self.failed = None, None
                self.tell(TreeBroken())
            case "removed" if self.deploying is None and self.syncing is None:
                self.serving, self.is_gone = None, True
                self.tell(ContainerGone())
            case "engine gone" | "engine back":
                self.has_engine = trouble == "engine back"
                self.tell(EngineChanged(self.has_engine))
            case "rebuild":
                if self.is_idle and self.tree is not None:
                    self.failed = self.serving = self.image = None
                    self.reasons += 1
                self.is_paused = self.is_paused and not self.is_idle
                self.tell(RetryAsked())
            case "restart":
                if self.is_idle and self.serving is None and self.runs_container and self.has_engine:
                    self.failed, self.is_gone = None, False
                    self.reasons += 1
                was_idle = self.is_idle and self.stop is None
                self.tell(RestartAsked())
                if was_idle and self.serving is not None and self.runs_container and self.has_engine:
                    assert self.deploying == self.serving, "who asks for a restart gets one"
            case "pause" | "go on" if not self.once:
                self.is_paused = trouble == "pause"
                # Going on is a wish to see the newest tree served, whoever removed the container.
                self.is_gone = self.is_gone and self.is_paused
                self.tell(PauseAsked(self.is_paused))
            case "quit" if not self.once and self.reasons > 5:
                self.is_leaving = True
                self.tell(Quit())
            case _:
                pass

    @precondition(lambda self: self.building is not None)
    @rule(is_needed=st.booleans())
    def another_step_runs(self, *, is_needed: bool) -> None:
        was_canceled = self.is_canceled
        self.tell(StepsMoved(is_needed))
        is_waste = (self.tree is None or self.tree.image != self.building) and not is_needed
        assert self.is_canceled == (was_canceled or (is_waste and not self.is_leaving))

    @precondition(lambda self: self.building is not None)
    @rule(status=st.sampled_from(["ok", "ok", "failed"]))
    def the_build_ends(self, status: Literal["ok", "failed"]) -> None:
        # A build that is told to stop may still end first.
        image, self.building = self.building, None
        if status == "ok":
            self.image = image
        elif self.tree is not None and self.tree.image == image:
            self.failed = self.tree
        self.tell(BuildEnded(status))

    @precondition(lambda self: self.is_canceled and self.building is not None)
    @rule()
    def the_build_is_canceled(self) -> None:
        self.building = None
        self.reasons += 1  # a tree that came back while its build was canceled is built again
        self.tell(BuildEnded("canceled"))

    @precondition(lambda self: self.deploying is not None)
    @rule(end=st.sampled_from(["serves", "serves", "rolled back", "down"]))
    def the_deploy_ends(self, end: str) -> None:
        attempted, self.deploying = self.deploying, None
        if end == "serves":
            self.serving = attempted
        else:
            self.serving = self.serving if end == "rolled back" else None
            self.failed = attempted if attempted == self.tree else self.failed
        self.can_sync = None
        self.tell(DeployEnded(end == "serves", self.serving))

    @precondition(lambda self: self.syncing is not None)
    @rule(end=st.sampled_from(["serves", "serves", "failed", "crashed"]))
    def the_sync_ends(self, end: str) -> None:
        attempted, self.syncing = self.syncing, None
        self.can_sync = None
        self.serving = attempted if end == "serves" else None
        if end == "crashed" and attempted == self.tree:
            self.failed = attempted
        self.tell(SyncEnded(end == "serves", self.serving, crashed=end == "crashed"))

    @precondition(lambda self: self.serving is not None)
    @rule()
    def nothing_is_saved_for_a_while(self) -> None:
        self.tell(TreeQuiet())

    @precondition(lambda self: self.background is not None)
    @rule(ok=st.booleans())
    def the_background_build_ends(self, *, ok: bool) -> None:
        image, self.background = self.background, None
        assert image is not None
        if ok:
            self.image = image
        self.tell(BackgroundEnded(image, ok))

    # What always holds

    @invariant()
    def what_was_canceled_is_known(self) -> None:
        assert self.state.canceling == (self.building is not None and self.is_canceled)

    @invariant()
    def the_machine_knows_what_is_in_flight(self) -> None:
        assert self.state.building == self.building
        assert self.state.deploying == self.deploying
        assert self.state.syncing == self.syncing
        assert self.state.background == self.background

    @invariant()
    def every_build_has_a_reason(self) -> None:
        assert self.builds <= self.reasons

    @invariant()
    def nothing_is_left_to_do_when_nothing_is_in_flight(self) -> None:
        if self.is_idle and self.has_engine and self.stop is None and not self.may_be_waiting:
            assert self.tree is None or self.is_reached or self.failed == self.tree

    @property
    def may_be_waiting(self) -> bool:
        # Who removes the container wants it gone until the next save.
        return self.is_gone or self.is_replanning or self.is_paused

    @invariant()
    def who_leaves_is_let_go_when_nothing_is_in_flight(self) -> None:
        if self.is_leaving and self.is_idle:
            assert self.stop is not None

    def teardown(self) -> None:
        """When every answer has come, and the user saves once more, the newest tree serves."""
        if not hasattr(self, "state"):
            return
        self.finish_everything()
        if self.stop is None:
            self.trouble("engine back")
            self.trouble("go on")
            self.finish_everything()
        if self.stop is None:
            self.save(self.tree or Version("a", "r"), is_needed=False)
            self.finish_everything()
            assert self.is_reached
            assert not self.once or self.stop == Stop(ok=True)

    def finish_everything(self) -> None:
        while not self.is_idle or self.is_replanning:
            if self.building is not None:
                self.the_build_ends("ok")
            elif self.deploying is not None:
                self.the_deploy_ends("serves")
            elif self.syncing is not None:
                self.the_sync_ends("serves")
            else:
                self.the_tree_is_planned_again(can_sync=False)


class BuildOnly(Session):
    """Without a container the image is all there is to reach."""

    runs_container = False


class Once(Session):
    """One version is reached, or said to have failed, and then it is over."""

    once = True

    @invariant()
    def it_is_over_as_soon_as_the_version_is_reached_or_has_failed(self) -> None:
        if self.is_idle and self.has_engine and not self.may_be_waiting:
            assert self.stop is not None


TestSession = Session.TestCase
TestBuildOnly = BuildOnly.TestCase
TestOnce = Once.TestCase
for _each in (TestSession, TestBuildOnly, TestOnce):
    _each.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
del _each
