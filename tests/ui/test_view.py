"""The state behind the live view, and what is in flight."""

from functools import reduce

import pytest

from devloop.loop.events import (
    BuildFinished,
    BuildStarted,
    ContainerExited,
    ContainerLog,
    Deployed,
    DeployFailed,
    Event,
    Planned,
    Problem,
    SessionStarted,
    StepFinished,
    StepLog,
    StepStarted,
    Stopped,
)
from devloop.ui.text import ASCII, line_width, paint
from devloop.ui.view import View, describe, exit_words, fold, in_flight
from support import made_up_session as made_up

SESSION = SessionStarted("1", "web", "Dockerfile", ".", None, "an engine", None)
PLANNED = Planned(made_up.list_plan(), ("src/web_api/requirements.txt",))
BUILDING = (SESSION, PLANNED, BuildStarted(5))
BUILT = BuildFinished("ok", 1.0, 4, 1)
DEPLOYED = Deployed("rebuild", "web", (), "", 1.0, 1.0)


def after(*events: Event) -> View:
    return reduce(lambda view, event: fold(view, event, 100.0), events, View())


def drawn(view: View, now: float, *, width: int = 79, height: int = 10) -> list[str]:
    return [paint(line, color=False) for line in in_flight(view, now, width, height, ASCII)]


def said(event: Event, before: View, width: int = 80) -> str:
    return "\n".join(paint(line, color=False) for line in describe(event, before, width, ASCII))


def test_a_step_is_shown_with_its_seconds_and_its_last_lines() -> None:
    view = after(*BUILDING, StepStarted("4/5", 4, "RUN pip install"), StepLog("4/5", "Collecting fastapi"))
    assert drawn(view, 102.5) == [
        "| building 2.5s of about 16s, 0 of 5 steps done",
        "  > [4/5] line 4 RUN pip install  2.5s of about 14s",
        "    | Collecting fastapi",
    ]


def test_steps_of_stages_that_build_together_are_shown_together() -> None:
    view = after(*BUILDING, StepStarted("a 1/2", 2, "RUN one"), StepStarted("b 1/2", 8, "RUN two"))
    view = reduce(lambda seen, n: fold(seen, StepLog("a 1/2", f"line {n}"), 100.0), range(9), view)
    lines = drawn(view, 101.0)
    assert [line.split()[1:3] for line in lines[1:3]] == [["[a", "1/2]"], ["[b", "1/2]"]]
    assert lines[3:] == [f"    | line {n}" for n in (5, 6, 7, 8)]


def test_a_finished_step_moves_no_more() -> None:
    view = after(*BUILDING, StepStarted("4/5", 4, "RUN x"), StepFinished("4/5", 4, "RUN x", "run", 1.0))
    assert drawn(view, 101.0) == ["| building 1.0s of about 16s, 1 of 5 steps done"]


@pytest.mark.parametrize("height", [1, 2, 3, 10])
@pytest.mark.parametrize("width", [20, 39, 79, 200])
def test_what_moves_fits_any_terminal(width: int, height: int) -> None:
    view = after(*BUILDING, *(StepStarted(f"{n}/9", n, "RUN " + "很长" * 60) for n in range(9)))
    view = fold(view, StepLog("8/9", "x" * 500), 100.0)
    lines = in_flight(view, 101.0, width, height, ASCII)
    assert len(lines) <= height
    assert all(line_width(line) <= width for line in lines)


@pytest.mark.parametrize(
    "events",
    [
        (SESSION,),
        (*BUILDING, BuildFinished("failed", 1.0, 1, 0)),
        (*BUILDING, BuildFinished("canceled", 1.0, 1, 0)),
        (*BUILDING, BUILT, DEPLOYED),
        (*BUILDING, BUILT, DeployFailed("it died", 1, (), rolled_back=True)),
        (*BUILDING, Problem("engine", "it went away")),
        (*BUILDING, Stopped("")),
        (SESSION, Planned(made_up.nothing_plan(), ("README.md",))),
    ],
)
def test_nothing_moves_once_the_work_is_over(events: tuple[Event, ...]) -> None:
    assert drawn(after(*events), 101.0) == []


def test_after_the_build_the_container_is_awaited() -> None:
    assert drawn(after(*BUILDING, BUILT), 101.0)[0].startswith("| starting the container 1.0s")


def test_without_a_container_a_build_is_the_end() -> None:
    session = SessionStarted("1", "web", "Dockerfile", ".", None, "an engine", None, runs_container=False)
    assert drawn(after(session, PLANNED, BuildStarted(5), BUILT), 101.0) == []


def test_without_an_engine_a_plan_starts_nothing() -> None:
    session = SessionStarted("1", "web", "Dockerfile", ".", None, None, None)
    assert drawn(after(session, PLANNED), 101.0) == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        Planned(made_up.nothing_plan(), ("README.md",)),
        Planned(made_up.main_plan(), ("src/web_api/main.py",)),
        DEPLOYED,
        DeployFailed("the files could not be copied", None, (), rolled_back=False),
        Problem("dockerfile", "unknown instruction"),
        ContainerExited("web", 1, ()),
    ],
)
def test_a_build_goes_on_whatever_happens_meanwhile(meanwhile: Event) -> None:
    view = after(*BUILDING, StepStarted("4/5", 4, "RUN pip install"), meanwhile)
    assert drawn(view, 101.0)[0].startswith("| building 1.0s of about 16s")
    assert "RUN pip install" in drawn(view, 101.0)[1]


def test_a_save_without_an_effect_leaves_a_starting_container_on_the_screen() -> None:
    view = after(*BUILDING, BUILT, Planned(made_up.nothing_plan(), ("README.md",)))
    assert "starting the container" in drawn(view, 101.0)[0]


def test_a_note_does_not_end_the_work() -> None:
    view = after(*BUILDING, Problem("watch", "a folder is skipped", severity="note"))
    assert drawn(view, 101.0)


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
