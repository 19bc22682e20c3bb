"""The board: how the project stands, the ladder of a build, the keys; in whatever room there is."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import pytest

from devloop.loop.events import (
    Asked,
    BackgroundBuilt,
    BuildFinished,
    BuildStarted,
    ContainerExited,
    Deployed,
    DeployFailed,
    EngineMissing,
    Event,
    Held,
    HoldEnded,
    Paused,
    Planned,
    Problem,
    SessionStarted,
    StepFinished,
    StepLog,
    StepStarted,
    Stopped,
    TakenOver,
)
from devloop.ui.board import board
from devloop.ui.text import ASCII, line_width, paint
from devloop.ui.view import View, fold
from support import made_up_session as made_up

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "http://127.0.0.1:8000"
SESSION = SessionStarted("1", "web", "Dockerfile", ".", None, "an engine", None)
PLANNED = Planned(made_up.list_plan(), ("src/web_api/requirements.txt",))
MAIN = Planned(replace(made_up.main_plan(), action="sync+restart"), ("src/web_api/main.py",))
BUILDING = (SESSION, PLANNED, BuildStarted(5))
BUILT = BuildFinished("ok", 1.0, 4, 1)
FAILED = BuildFinished("failed", 2.9, 2, 1, "exit code 1", 4, "RUN pip install")
DEPLOYED = Deployed("rebuild", "web", (URL,), "", 1.0, 1.0)
OWED = ("src/web_api/main.py",)
RESTARTED = Deployed("restart", "web", (URL,), "process", 0.5, 0.5, from_key=True, owed=OWED)
SYNCED = Deployed("sync+restart", "web", (URL,), "", 0.4, 0.6, owed=OWED)
SERVING = (*BUILDING, BUILT, DEPLOYED)
LIST = "src/web_api/requirements.txt"
HELD = Held((LIST,), (4,), 15.0, 1.5)
ASKING = replace(HELD, wait_seconds=None)
PART = Planned(made_up.part_plan(), ("src/web_api/main.py",), behind=(LIST,))
BEHIND = replace(SYNCED, behind=(LIST,))


def after(*events: Event) -> View:
    return reduce(lambda view, event: fold(view, event, 100.0), events, View())


def drawn(
    view: View, now: float = 100.0, *, width: int = 79, height: int = 12, keys: bool = False
) -> list[str]:
    lines = board(view, now, width, height, marks=ASCII, has_keys=keys)
    assert all(line_width(line) <= width for line in lines)
    assert len(lines) <= height
    return [paint(line, color=False) for line in lines]


def title(view: View, now: float = 100.0, *, width: int = 79) -> str:
    return drawn(view, now, width=width)[0].strip("- ")


# Idle


def test_nothing_is_drawn_before_the_start_and_after_the_end() -> None:
    assert drawn(View()) == []
    assert drawn(after(*SERVING, Stopped(""))) == []


def test_an_idle_session_says_how_it_stands_what_was_last_and_which_keys_there_are() -> None:
    assert drawn(after(*SERVING), keys=True) == [
        f"-- web - serving - {URL} --------------------------------------",
        "last: rebuild, 1.0s from save to running",
        "r rebuild  s restart  p pause  w why  l logs  q quit  ? help",
    ]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((SESSION,), "web - nothing is running"),
        ((*BUILDING, FAILED), "web - nothing is running"),
        ((*SERVING, PLANNED, BuildStarted(5), FAILED), f"web - the last good version serves - {URL}"),
        (
            (*SERVING, Problem("dockerfile", "unknown instruction")),
            f"web - the last good version serves - {URL}",
        ),
        (
            (*SERVING, DeployFailed("it died", 1, (), rolled_back=True)),
            f"web - the last good version serves - {URL}",
        ),
        ((*SERVING, DeployFailed("it died", 1, (), rolled_back=False)), "web - stopped"),
        ((*SERVING, ContainerExited("web", 137, ())), "web - stopped"),
        ((*SERVING, replace(DEPLOYED, serves=False)), f"web - running, does not answer - {URL}"),
        (
            (*SERVING, DeployFailed("it died", 1, (), rolled_back=True), Asked("restart"), RESTARTED),
            f"web - the last good version serves - {URL}",
        ),
        (
            (*SERVING, Problem("dockerfile", "wrong"), Planned(made_up.nothing_plan(), ("Dockerfile",))),
            f"web - serving - {URL}",
        ),
        ((*SERVING, EngineMissing("it went away", "")), "web - no engine: predictions only"),
        ((SESSION, TakenOver("web", (URL,))), f"web - serving - {URL}"),
        ((*SERVING, Paused(is_paused=True)), f"web - paused - serving - {URL}"),
        ((*SERVING, Paused(is_paused=True), MAIN), f"web - paused, 1 file waiting - serving - {URL}"),
        ((*SERVING, Paused(is_paused=True), MAIN, Paused(is_paused=False)), f"web - serving - {URL}"),
        ((replace(SESSION, runs_container=False),), "web - no image yet"),
        (
            (replace(SESSION, runs_container=False), PLANNED, BuildStarted(5), BUILT),
            "web - the image is built",
        ),
        ((replace(SESSION, target="test"), *SERVING[1:]), f"web - target test - serving - {URL}"),
    ],
)
def test_the_title_tells_how_the_project_stands(events: tuple[Event, ...], expected: str) -> None:
    assert title(after(*events)) == expected


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (60, f"web - target test - serving - {URL}"),
        (50, f"web - serving - {URL}"),
        (39, "web - serving"),
        (12, "serving"),
    ],
)
def test_in_a_narrow_terminal_the_state_stays_longest(width: int, expected: str) -> None:
    view = after(replace(SESSION, target="test"), *SERVING[1:])
    assert title(view, width=width) == expected


def test_what_was_synced_is_owed_until_an_image_holds_it() -> None:
    synced = after(*SERVING, MAIN, SYNCED, MAIN, SYNCED)
    assert drawn(synced)[1] == ("last: sync+restart, 0.6s from save to running")
    assert drawn(synced)[2] == "1 file synced since the image was built"
    assert "synced since" not in str(drawn(fold(synced, BackgroundBuilt(1.0, 1), 100.0)))
    assert "synced since" not in str(drawn(after(*SERVING, MAIN, SYNCED, *SERVING)))


def test_what_was_put_on_a_new_image_is_owed_as_well() -> None:
    view = after(*BUILDING, BUILT, replace(DEPLOYED, patched=("a.py", "b.py"), owed=("a.py", "b.py")))
    assert "2 files synced since the image was built" in drawn(view)


def test_a_restart_by_a_key_counts_from_the_key_and_keeps_the_debt() -> None:
    view = after(*SERVING, MAIN, SYNCED, Asked("restart"))
    assert "restarting 0.5s" in title(view, 100.5)
    lines = drawn(fold(view, RESTARTED, 101.0))
    assert lines[1:] == [
        "last: restart, 0.5s from key to running",
        "1 file synced since the image was built",
    ]


def test_a_request_that_is_refused_changes_nothing() -> None:
    view = after(*BUILDING)
    assert fold(view, Asked("rebuild", "a build is in flight"), 1.0) == view


def test_few_keys_are_shown_where_there_is_no_room_for_all() -> None:
    assert drawn(after(SESSION), width=39, keys=True)[-1] == "r rebuild  s restart  q quit  ? help"


def test_the_keys_say_what_they_would_do_now() -> None:
    assert "p go on" in drawn(after(*SERVING, Paused(is_paused=True)), keys=True)[-1]
    assert "l show logs" in drawn(after(*SERVING, Asked("logs")), keys=True)[-1]


# What waits


def test_what_waits_has_a_line_that_counts_down() -> None:
    view = after(*SERVING, PLANNED, HELD)
    assert f"{LIST}: a build of about 15s starts in 1.5s" in drawn(view)[1]
    assert f"{LIST}: a build of about 15s starts in 0.5s" in drawn(view, 101.0)[1]
    assert title(view) == f"web - serving - {URL}"


def test_what_waits_for_a_key_says_so_and_shows_the_keys() -> None:
    view = after(*SERVING, PLANNED, ASKING)
    assert "waits for b" in drawn(view)[1]
    assert drawn(view, keys=True)[-1].startswith("b build  x skip  z later")
    assert "b build" not in drawn(after(*SERVING), keys=True)[-1]


def test_a_container_that_is_behind_is_told_by_the_paths_that_it_lacks() -> None:
    behind = after(*SERVING, PLANNED, HELD, PART, BEHIND)
    assert title(behind) == f"web - serving, behind by {LIST}"
    assert "1 file synced since the image was built" in "\n".join(drawn(behind))
    assert title(fold(behind, RESTARTED, 100.0)) == title(behind)
    served = after(*SERVING, PLANNED, HELD, PART, BEHIND, HoldEnded("over", (LIST,)), *BUILDING[2:], BUILT)
    assert title(fold(served, DEPLOYED, 100.0)) == f"web - serving - {URL}"


def test_what_was_skipped_stays_in_the_board_until_it_is_built_or_saved_again() -> None:
    skipped = (*SERVING, PLANNED, HELD, HoldEnded("skipped", (LIST,)))
    view = after(*skipped, PART, BEHIND)
    assert f"{LIST}: skipped until it is saved again" in drawn(view)[1]
    assert drawn(view, keys=True)[-1].startswith("b build  r rebuild")
    for event in (BuildStarted(5), HELD):
        assert "skipped" not in "\n".join(drawn(fold(view, event, 100.0)))


def test_a_hold_does_not_hide_a_build_in_flight() -> None:
    view = after(*BUILDING, HELD)
    assert "starts in 1.5s" in drawn(view)[1]
    assert "building" in title(view)


# In flight


def test_a_build_shows_every_step_with_its_state_its_cost_and_a_bar() -> None:
    view = after(
        *BUILDING,
        StepFinished("2/5", 2, made_up.WORKDIR.text, "cached", None),
        StepFinished("3/5", 3, made_up.COPY_LIST.text, "run", 0.1),
        StepStarted("4/5", 4, made_up.PIP.text),
        StepLog("4/5", "Collecting fastapi"),
    )
    assert drawn(view, 107.0, width=72, keys=True) == [
        "-- web - | building step 4/5, 7.0s of about 16s ------------------------",
        "  = 1  FROM python:3.12-slim                          cached",
        "  = 2  WORKDIR /app                                   cached",
        "  + 3  COPY src/web_api/requirements.txt ./     0.1s  ran",
        "  > 4  RUN pip install --...r requirements.txt   14s  #####....... 7.0s",
        "  - 5  COPY src/web_api/main.py ./              0.1s  may run",
        "    | Collecting fastapi",
        "r rebuild  s restart  p pause  w why  l logs  q quit  ? help",
    ]


def test_before_the_builder_tells_anything_the_ladder_is_the_prediction() -> None:
    assert [line.split()[-1] for line in drawn(after(*BUILDING))[1:]] == [
        "cached",
        "cached",
        "run",
        "run",
        "run",
    ]


def test_a_bar_is_full_when_the_expected_time_is_over_and_a_step_of_unknown_cost_has_none() -> None:
    view = after(*BUILDING, StepStarted("4/5", 4, "x"), StepStarted("9/9", None, "something else"))
    lines = drawn(view, 160.0)
    assert "############ 1m00s" in lines[4]
    assert lines[-1].endswith("running 1m00s")
    assert "2 steps" in lines[0]


def test_a_failed_step_stays_where_it_is_until_the_build_ends() -> None:
    view = after(*BUILDING, StepStarted("4/5", 4, "x"), StepFinished("4/5", 4, "x", "failed", 2.0))
    assert drawn(view)[4].endswith("2.0s  failed")


def test_a_long_dockerfile_is_cut_around_the_step_that_runs() -> None:
    steps = tuple(replace(made_up.COPY_MAIN, line=n, ordinal=n, text=f"RUN {n}") for n in range(1, 31))
    plan = replace(made_up.list_plan(), steps=steps)
    view = after(SESSION, Planned(plan, ("x",)), BuildStarted(30), StepStarted("15/30", 15, "RUN 15"))
    lines = drawn(view, 101.0, height=8, keys=True)
    assert lines[1] == "  ... 12 steps above"
    assert [line.split()[1] for line in lines[2:6]] == ["13", "14", "15", "16"]
    assert lines[6] == "  ... 14 steps below"


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("width", [8, 20, 39, 79, 200])
@pytest.mark.parametrize("keys", [False, True])
def test_the_board_fits_any_terminal(width: int, height: int, keys: bool) -> None:
    view = after(*BUILDING, *(StepStarted(f"{n}/9", n, "RUN " + "很长" * 60) for n in range(9)))
    view = fold(view, StepLog("8/9", "x" * 500), 100.0)
    for shown in (view, after(*SERVING), after(*SERVING, MAIN, SYNCED), after(SESSION, PLANNED)):
        assert drawn(shown, 101.0, width=width, height=height, keys=keys)


def test_after_the_build_the_container_is_awaited() -> None:
    assert "starting the container 1.0s" in title(after(*BUILDING, BUILT), 101.0)


def test_a_sync_is_awaited_without_a_ladder() -> None:
    view = after(*SERVING, MAIN)
    assert "sync+restart 0.2s of about 1.2s" in title(view, 100.2)
    assert len(drawn(view)) == 2


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
    lines = drawn(after(*BUILDING, StepStarted("4/5", 4, "RUN pip install"), meanwhile), 101.0)
    assert "building step 4/5, 1.0s of about 16s" in lines[0]
    assert "#" in lines[4] or "." in lines[4]


@pytest.mark.parametrize(
    "events",
    [
        (*BUILDING, FAILED),
        (*BUILDING, BuildFinished("canceled", 1.0, 1, 0)),
        SERVING,
        (*BUILDING, BUILT, DeployFailed("it died", 1, (), rolled_back=True)),
        (*BUILDING, Problem("engine", "it went away")),
        (SESSION, Planned(made_up.nothing_plan(), ("README.md",))),
        (replace(SESSION, engine=None), PLANNED),
        (SESSION, Paused(is_paused=True), PLANNED),
        (*BUILDING, Paused(is_paused=True), BUILT),
        (replace(SESSION, runs_container=False), PLANNED, BuildStarted(5), BUILT),
    ],
)
def test_nothing_moves_once_the_work_is_over(events: tuple[Event, ...]) -> None:
    view = after(*events)
    assert drawn(view, 100.0) == drawn(view, 177.3)


def test_the_board_of_a_build(golden: Callable[[str, str], None]) -> None:
    view = after(
        *BUILDING,
        StepFinished("3/5", 3, made_up.COPY_LIST.text, "run", 0.1),
        StepStarted("4/5", 4, made_up.PIP.text),
        StepLog("4/5", "Collecting fastapi"),
    )
    text = ""
    for width in (39, 79, 119):
        text += "\n".join(drawn(view, 107.0, width=width, keys=True)) + "\n\n"
        text += "\n".join(drawn(after(*SERVING, MAIN, SYNCED), width=width, keys=True)) + "\n\n"
    golden("board.txt", text)
