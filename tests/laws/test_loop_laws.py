"""What holds for every order of saves, builds, deploys, failures and ends: see the rules in `loop.state`.

The machine talks to a made-up world that has one builder and one container. The world answers when hypothesis
says so, sometimes with a failure, and every effect is checked at the moment when it is asked for. An image is
made of its dependencies, whose install is expensive until the cache has it, and of its source: "A1".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devloop.loop.state import (
    NO_WORK,
    BackgroundEnded,
    BuildAsked,
    BuildEnded,
    CancelBackground,
    CancelBuild,
    ContainerGone,
    DeployEnded,
    Effect,
    EndHold,
    EngineChanged,
    Hold,
    HoldOver,
    Hurry,
    LoopState,
    Message,
    PauseAsked,
    Policy,
    Quit,
    Replan,
    ReportQueued,
    RestartAsked,
    RetryAsked,
    SkipAsked,
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
    Work,
    advance,
)

if TYPE_CHECKING:
    from typing import Literal

VERSIONS = st.builds(Version, st.sampled_from(["A1", "A2", "A3", "B1", "B2", "C3"]), st.sampled_from("rrrs"))
POLICIES: st.SearchStrategy[Policy] = st.sampled_from(["build", "wait", "ask"])
TROUBLES = (
    *("broken", "removed", "engine gone", "engine back", "rebuild", "restart", "pause", "go on", "quit"),
    *("build now", "skip", "the hold is over", "the hold is over"),
)


class Session(RuleBasedStateMachine):
    """The machine under test beside the truth about tree, image, container and engine."""

    runs_container = True
    once = False

    @initialize(first=VERSIONS, policy=POLICIES)
    def start(self, first: Version, policy: Policy) -> None:
        self.policy: Policy = policy
        self.state = LoopState(runs_container=self.runs_container, once=self.once, policy=policy)
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
        # The image from which files were proven to lead to the tree.
        self.bridge: str | None = None
        self.is_needed = False
        self.background: str | None = None
        # What was tried since the last save, and said to have failed.
        self.failed: Version | None = None
        self.refused: Version | None = None
        self.background_failed: str | None = None
        # Whose install the cache has; what is expensive; what of that was let go, or left alone.
        self.installed: set[str] = set()
        self.work: Work = NO_WORK
        self.let_go: Work = NO_WORK
        self.skipped: Work = NO_WORK
        self.held: Work = NO_WORK
        self.is_asked = True
        self.has_engine = True
        self.is_paused = False
        self.stop: Stop | None = None
        self.is_leaving = self.is_gone = False
        self.is_replanning = False
        self.builds = self.reasons = 0
        self.wasted = self.edits = 0
        self.doubts = 0
        self.save(first, is_needed=False)

    # The world obeys, and objects

    def tell(self, message: Message) -> None:
        self.state, effects = advance(self.state, message)
        for effect in effects:
            self.obey(effect)

    @property
    def is_changing(self) -> bool:
        return self.deploying is not None or self.syncing is not None

    @property
    def is_idle(self) -> bool:
        return self.building is None and not self.is_changing

    def obey(self, effect: Effect) -> None:
        assert self.stop is None, "nothing is asked for after the end"
        match effect:
            case StartBuild(version):
                self.check_start(version)
                assert self.building is None
                assert self.deploying is None, "a container is replaced only while nothing is built"
                assert self.syncing != self.tree, "what is being synced needs no build"
                assert not self.is_reached, "what is there already is not built"
                assert self.image != version.image, "an image that is there is not built again"
                assert self.background is None, "one builder works at a time"
                if self.policy != "build" and not self.once:
                    assert self.work <= self.let_go, "expensive work is let go before it starts"
                    assert not self.work or not self.work <= self.skipped, "what was skipped is left alone"
                self.building, self.is_canceled, self.bridge = version.image, False, None
                self.builds += 1
            case StartDeploy(version, image):
                self.check_start(version)
                assert self.is_idle, "a container is replaced only while nothing else is in flight"
                assert self.runs_container
                assert self.image == image, "only the image that is there is deployed"
                assert image in {version.image, self.bridge}, "a stale image is never deployed"
                assert self.serving != version, "what serves already is not replaced"
                self.deploying = version
            case StartRestart(version):
                assert not self.is_changing, "one change of the container is in flight at a time"
                assert self.runs_container
                assert self.has_engine
                assert version == self.serving, "only what serves is restarted"
                self.deploying = version
            case StartSync(version):
                assert not self.is_changing, "one change of the container is in flight at a time"
                assert self.has_engine
                assert not self.is_leaving
                assert not self.is_paused, "nothing is started while the session is paused"
                assert self.runs_container
                assert self.can_sync == version, "only what was proven for what serves now is synced"
                assert self.serving not in {version, None}, "there is something to sync into"
                assert version not in {self.failed, self.refused}, "what failed is not tried again by itself"
                assert version == self.tree or self.work, "a part is synced while expensive work waits"
                self.syncing = version
            case StartBackground(version):
                assert self.is_idle
                assert not self.is_paused
                assert self.background is None
                assert version == self.tree == self.serving, "only what was synced is owed to the image"
                assert self.image != version.image
                assert self.background_failed != version.image, "nothing that failed is tried again by itself"
                self.background = version.image
            case CancelBackground():
                assert self.background is not None
                self.background = None
            case Replan():
                assert not self.is_leaving
                self.is_replanning = True
            case CancelBuild():
                assert self.building is not None
                assert not self.is_canceled, "a build is canceled once"
                if not self.is_leaving:
                    assert self.tree is None or self.tree.image != self.building
                    assert self.tree is None or self.bridge is None, "what leads to the tree goes on"
                    assert self.tree is None or not self.is_needed, "a step that the tree needs goes on"
                self.is_canceled = True
                self.wasted += self.building[0] not in self.installed
            case Hold(work):
                assert work
                assert work == self.work
                assert self.policy != "build"
                assert not self.once
                self.held = work
            case EndHold():
                assert self.held, "only what waits ends to wait"
                self.held = NO_WORK
            case Hurry():
                assert self.is_changing
            case ReportQueued(decision):
                assert self.is_changing if decision == "waits" else self.building is not None
            case Stop(ok):
                assert self.is_idle
                assert self.background is None
                assert ok == self.is_reached, "the end is told as it is"
                self.stop = effect

    def check_start(self, version: Version) -> None:
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
        if self.tree is None or version.image[0] != self.tree.image[0]:
            self.edits += 1
        self.tree, self.failed, self.refused = version, None, None
        self.background_failed = None
        self.is_gone = False
        self.reasons += 1
        self.read(is_needed=is_needed, can_sync=can_sync, is_save=True)

    @precondition(lambda self: self.is_replanning)
    @rule(can_sync=st.booleans())
    def the_tree_is_planned_again(self, *, can_sync: bool) -> None:
        if self.tree is None:
            self.is_replanning = False
        else:
            self.read(is_needed=self.is_needed, can_sync=can_sync, is_save=False)

    def read(self, *, is_needed: bool, can_sync: bool, is_save: bool) -> None:
        self.is_replanning = False
        tree = self.tree
        assert tree is not None
        self.can_sync = self.part_of(tree) if can_sync else None
        base = self.building or self.image
        is_bridged = (
            can_sync
            and self.runs_container
            and base is not None
            and base != tree.image
            and base[0] == tree.image[0]
        )
        self.bridge = base if is_bridged else None
        self.is_needed = is_needed and self.building is not None
        self.work = NO_WORK if tree.image[0] in self.installed else frozenset(tree.image[0])
        self.let_go = self.work if self.is_asked else self.let_go
        self.is_asked = False
        self.let_go &= self.work
        self.skipped &= self.work
        self.tell(
            TreeRead(
                tree,
                sync=self.can_sync,
                work=self.work,
                is_bridged=is_bridged,
                is_needed=self.is_needed,
                is_save=is_save,
            )
        )

    def part_of(self, tree: Version) -> Version | None:
        """Return what a sync makes of what serves: its source changes, its dependencies and options stay."""
        if self.serving is None or not self.runs_container:
            return None
        part = Version(self.serving.image[0] + tree.image[1], self.serving.run)
        return part if part != self.serving else None

    @rule(trouble=st.sampled_from(TROUBLES))
    def trouble(self, trouble: str) -> None:
        """Do what happens seldom, so that most steps are saves and answers."""
        match trouble:
            case "broken":
                self.tree, self.failed, self.refused = None, None, None
                self.work, self.can_sync, self.bridge = NO_WORK, None, None
                self.tell(TreeBroken())
            case "removed" if not self.is_changing:
                self.serving, self.is_gone, self.can_sync = None, True, None
                self.tell(ContainerGone())
            case "engine gone" | "engine back":
                self.has_engine = trouble == "engine back"
                self.tell(EngineChanged(self.has_engine))
            case "rebuild":
                if self.is_idle and self.tree is not None:
                    self.failed = self.serving = self.image = self.refused = None
                    self.skipped, self.is_asked = NO_WORK, True
                    self.reasons += 1
                self.is_paused = self.is_paused and not self.is_idle
                self.tell(RetryAsked())
            case "restart":
                self.restart()
            case "pause" | "go on" if not self.once:
                self.is_paused = trouble == "pause"
                if not self.is_paused:
                    self.let_go = self.work
                # Going on is a wish to see the newest tree served, whoever removed the container.
                self.is_gone = self.is_gone and self.is_paused
                self.tell(PauseAsked(self.is_paused))
            case "the hold is over":
                self.let_go = self.held or self.let_go
                self.tell(HoldOver())
            case "build now":
                if self.held or self.skipped:
                    self.let_go, self.skipped = self.work, NO_WORK
                self.tell(BuildAsked())
                assert not self.held, "what is asked for does not wait"
            case "skip":
                self.skipped = self.held or self.skipped
                self.tell(SkipAsked())
                assert not self.held
            case "quit" if not self.once and self.reasons > 5:
                self.is_leaving = True
                self.tell(Quit())
            case _:
                pass

    def restart(self) -> None:
        if self.is_idle and self.serving is None and self.runs_container and self.has_engine:
            self.failed, self.is_gone = None, False
            self.reasons += 1
        can_restart = not self.is_changing and self.serving is not None and not self.is_leaving
        is_asked_of_someone = self.stop is None and self.runs_container and self.has_engine
        self.tell(RestartAsked())
        if can_restart and is_asked_of_someone:
            assert self.deploying == self.serving, "who asks for a restart gets one"

    @precondition(lambda self: self.building is not None)
    @rule(is_needed=st.booleans())
    def another_step_runs(self, *, is_needed: bool) -> None:
        was_canceled = self.is_canceled
        self.is_needed = is_needed
        self.tell(StepsMoved(is_needed))
        is_stale = self.tree is None or self.tree.image != self.building
        is_waste = is_stale and self.bridge is None and not is_needed
        assert self.is_canceled == (was_canceled or (is_waste and not self.is_leaving))

    @precondition(lambda self: self.building is not None)
    @rule(status=st.sampled_from(["ok", "ok", "failed", "doubtful"]))
    def the_build_ends(self, status: Literal["ok", "failed", "doubtful"]) -> None:
        # A build that is told to stop may still end first.
        image, self.building = self.building, None
        assert image is not None
        if status in {"ok", "doubtful"}:
            self.installed.add(image[0])
        if status == "ok":
            self.image = image
        elif status == "doubtful":
            self.reasons += 1
            self.bridge = None
        elif self.tree is not None and image in {self.tree.image, self.bridge}:
            self.failed, self.let_go = self.tree, NO_WORK
        self.is_needed = False
        self.tell(BuildEnded(status))

    @precondition(lambda self: self.is_canceled and self.building is not None)
    @rule(is_installed=st.booleans())
    def the_build_is_canceled(self, *, is_installed: bool) -> None:
        if is_installed and self.building is not None:
            self.installed.add(self.building[0])
        self.building, self.bridge, self.is_needed = None, None, False
        self.reasons += 1  # a tree that came back while its build was canceled is built again
        self.tell(BuildEnded("canceled"))

    @precondition(lambda self: self.deploying is not None)
    @rule(end=st.sampled_from(["serves", "serves", "rolled back", "down", "files refused"]))
    def the_deploy_ends(self, end: str) -> None:
        attempted, self.deploying = self.deploying, None
        is_unbridged = end == "files refused" and self.image == self.bridge
        if end == "serves":
            self.serving = attempted
        elif is_unbridged:
            self.bridge = None
            self.reasons += 1
        else:
            self.serving = self.serving if end == "rolled back" else None
            self.failed = attempted if attempted == self.tree else self.failed
        self.can_sync = None
        self.tell(DeployEnded(end == "serves", self.serving, is_unbridged=is_unbridged))

    @precondition(lambda self: self.syncing is not None)
    @rule(end=st.sampled_from(["serves", "serves", "failed", "crashed", "rolled back"]))
    def the_sync_ends(self, end: str) -> None:
        attempted, self.syncing = self.syncing, None
        assert attempted is not None
        self.can_sync = None
        self.serving = attempted if end == "serves" else None
        if end == "rolled back" and self.image not in {None, attempted.image}:
            # The last good image is put back, without what was synced into its containers.
            self.serving = Version(self.image or "", attempted.run)
        is_crash = end in {"crashed", "rolled back"}
        if is_crash and attempted == self.tree:
            self.failed = attempted
        elif is_crash:
            self.refused = attempted
        self.tell(SyncEnded(end == "serves", self.serving, crashed=is_crash))

    @precondition(lambda self: self.serving is not None)
    @rule()
    def nothing_is_saved_for_a_while(self) -> None:
        self.tell(TreeQuiet())

    @precondition(lambda self: self.background is not None)
    @rule(end=st.sampled_from(["ok", "failed", "doubtful"]))
    def the_background_build_ends(self, end: str) -> None:
        image, self.background = self.background, None
        assert image is not None
        if end == "ok":
            self.image = image
        if end == "failed":
            self.background_failed = image
        self.tell(BackgroundEnded(image, ok=end == "ok", is_doubtful=end == "doubtful"))

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
        assert self.state.held == self.held

    @invariant()
    def every_build_has_a_reason(self) -> None:
        assert self.builds <= self.reasons

    @invariant()
    def an_edit_of_the_dependencies_wastes_one_install_at_most(self) -> None:
        # Unproven source edits stop a build as well, so the bound of those is that of all saves.
        assert self.wasted <= self.reasons

    @invariant()
    def what_can_be_proven_is_served_while_expensive_work_waits_or_runs(self) -> None:
        if self.is_changing or not self.has_engine or self.stop or self.is_leaving or self.may_be_waiting:
            return
        if self.can_sync is not None and (self.work or self.can_sync == self.tree):
            assert self.can_sync in {self.failed, self.refused}

    @invariant()
    def nothing_is_left_to_do_when_nothing_is_in_flight(self) -> None:
        if self.is_idle and self.has_engine and self.stop is None and not self.may_be_waiting:
            is_waiting = self.held or (self.work and self.work <= self.skipped)
            assert self.tree is None or self.is_reached or self.failed == self.tree or is_waiting

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
            self.save(self.tree or Version("A1", "r"), is_needed=False)
            self.finish_everything()
            assert self.is_reached
            assert not self.once or self.stop == Stop(ok=True)

    def finish_everything(self) -> None:
        while not self.is_idle or self.is_replanning or self.held or (self.skipped and not self.is_paused):
            if self.stop is not None:
                return
            if self.building is not None:
                self.the_build_ends("ok")
            elif self.deploying is not None:
                self.the_deploy_ends("serves")
            elif self.syncing is not None:
                self.the_sync_ends("serves")
            elif self.is_replanning:
                self.the_tree_is_planned_again(can_sync=False)
            elif self.held:
                self.trouble("the hold is over")
            else:
                self.trouble("build now")


class Proven(Session):
    """Where every edit of the source can be proven, no such edit ever stops an install."""

    @rule(version=VERSIONS)
    def save_proven(self, version: Version) -> None:
        super().save(Version(version.image, "r"), is_needed=False, can_sync=True)

    def save(self, version: Version, *, is_needed: bool, can_sync: bool = False) -> None:
        super().save(Version(version.image, "r"), is_needed=is_needed, can_sync=True)

    @invariant()
    def an_edit_of_the_dependencies_wastes_one_install_at_most(self) -> None:
        assert self.wasted <= self.edits + self.reasons_to_stop

    reasons_to_stop = 0

    def trouble(self, trouble: str) -> None:
        if trouble in {"broken", "quit", "rebuild"}:
            self.reasons_to_stop += 1
        super().trouble(trouble)


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
TestProven = Proven.TestCase
TestBuildOnly = BuildOnly.TestCase
TestOnce = Once.TestCase
for _each in (TestSession, TestProven, TestBuildOnly, TestOnce):
    _each.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
del _each
