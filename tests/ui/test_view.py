"""The state behind the live view, and events in words."""

from dataclasses import replace
from functools import reduce

import pytest

from devloop.loop.events import (
    BuildFinished,
    BuildStarted,
    ContainerExited,
    ContainerLog,
    Deployed,
    DeployFailed,
    EngineMissing,
    Event,
    Planned,
    Problem,
    Queued,
    SessionStarted,
    Watching,
)
from devloop.ui.text import ASCII, paint
from devloop.ui.view import View, exit_words, fold
from devloop.ui.words import describe
from support import made_up_session as made_up

SESSION = SessionStarted("1", "web", "Dockerfile", ".", None, "an engine", None)
PLANNED = Planned(made_up.list_plan(), ("src/web_api/requirements.txt",))
BUILDING = (SESSION, PLANNED, BuildStarted(5))
BUILT = BuildFinished("ok", 1.0, 4, 1)
DEPLOYED = Deployed("rebuild", "web", (), "", 1.0, 1.0)


def after(*events: Event) -> View:
    return reduce(lambda view, event: fold(view, event, 100.0), events, View())


def said(event: Event, before: View, width: int = 80) -> str:
    return "\n".join(paint(line, color=False) for line in describe(event, before, width, ASCII))


def test_a_failure_says_whether_something_still_runs() -> None:
    failed = BuildFinished("failed", 1.0, 1, 0, "exit code 1", 4, "RUN pip install")
    assert "Nothing is running yet." in said(failed, after(*BUILDING))
    assert "The last good version is still running." in said(failed, after(*BUILDING, BUILT, DEPLOYED))
    gone = after(*BUILDING, BUILT, DEPLOYED, ContainerExited("web", 1, ()))
    assert "Nothing is running yet." in said(failed, gone)


def test_lines_that_the_log_has_just_shown_are_not_repeated() -> None:
    view = after(SESSION, ContainerLog("stderr", "one"), ContainerLog("stderr", "two"))
    assert "| two" not in said(ContainerExited("web", 1, ("one", "two")), view)
    assert "| two" in said(ContainerExited("web", 1, ("one", "two", "three")), view)


def test_the_first_plan_says_what_is_to_build_and_not_that_it_is_the_first_time() -> None:
    first = Planned(made_up.list_plan(), (), first=True)
    assert said(first, after(SESSION)).startswith("to build: 3 of 4 steps to run")
    alone = after(replace(SESSION, engine=None))
    assert said(first, alone).splitlines()[0] == "the Dockerfile: 4 steps, to compare each save with"


def test_a_save_during_the_first_build_is_not_said_to_reach_the_steps_that_run_anyway() -> None:
    lines = said(Planned(made_up.first_plan(), ("src/web_api/main.py",)), after(SESSION)).splitlines()
    assert lines[0] == "saved src/web_api/main.py"
    assert lines[1].startswith("  rebuild: 4 of 4 steps run, about 22s")


def test_a_save_without_an_engine_is_not_said_to_need_nothing() -> None:
    alone = after(replace(SESSION, engine=None), PLANNED)
    assert alone.last[0] == "rebuild needed for src/web_api/requirements.txt"
    unknown = tuple(replace(step, status="unknown") for step in made_up.first_plan().steps)
    first = Planned(replace(made_up.first_plan(), steps=unknown), (), first=True)
    assert len(said(first, alone).splitlines()) == 1, "nothing is known of any step"


def test_an_exit_code_is_explained_where_it_means_the_same_everywhere() -> None:
    assert exit_words(None) == ""
    assert exit_words(3) == " (exit code 3)"
    assert exit_words(127) == " (exit code 127: the command was not found)"


def test_a_cause_that_repeats_the_saved_path_is_left_out_but_others_stay() -> None:
    assert "has new content" not in said(PLANNED, after(SESSION))
    assert "it follows line 3" in said(PLANNED, after(SESSION))


def test_the_caret_stands_below_its_column() -> None:
    problem = Problem("dockerfile", "unknown instruction", "  1 | RNU x\n    | ^^^ " + "x" * 200)
    assert "\n  1 | RNU x\n    | ^^^ xxx" in said(problem, View(), width=40)


@pytest.mark.parametrize("event", [event for _, event in made_up.session()])
def test_no_event_says_anything_that_steers_the_terminal(event: Event) -> None:
    assert all(char.isprintable() for char in said(event, View()).replace("\n", ""))


@pytest.mark.parametrize(
    "event",
    [
        SESSION,
        EngineMissing("no engine answers", "start it"),
        Watching(3, 2, polling=False, seconds=0.1),
        BuildFinished("failed", 1.0, 1, 0, "exit code 1", 4, "RUN pip install"),
        DeployFailed("web could not be started", 1, (), rolled_back=False),
    ],
)
def test_a_session_that_ends_with_its_first_version_says_nothing_of_saves(event: Event) -> None:
    assert "save" in said(event, after(SESSION))
    assert "save" not in said(event, replace(after(SESSION), is_once=True))


def test_a_save_that_only_removes_files_is_told_as_such() -> None:
    plan = made_up.list_plan()
    gone = replace(plan, changes=tuple(replace(change, kind="removed") for change in plan.changes))
    assert said(replace(PLANNED, plan=gone), after(SESSION)).startswith("deleted src/web_api/requirements")
    both = replace(PLANNED, plan=gone, saved=(*PLANNED.saved, "README.md"))
    assert said(both, after(SESSION)).startswith("saved ")


def test_a_build_whose_edit_was_undone_leaves_nothing_starting() -> None:
    undone = after(
        *BUILDING, BUILT, DEPLOYED, *BUILDING[1:], Queued(("main.py",), "build-canceled", ""), BUILT
    )
    assert undone.phase is None
    assert after(*BUILDING, BUILT).phase == "deploying"
