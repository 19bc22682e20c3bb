"""A session that never happened: every event at least once, to look at and to compare views with.

    PYTHONPATH=tests python tests/support/made_up_session.py live|plain|json|plan|layers [SPEED]

plays it into a view at SPEED times the pace of a real session.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal

from devloop.loop.events import (
    Asked,
    BackgroundBuilt,
    BuildFinished,
    BuildStarted,
    ContainerExited,
    ContainerLog,
    Deployed,
    DeployFailed,
    EngineMissing,
    Event,
    Explained,
    Held,
    HoldEnded,
    Paused,
    Planned,
    PredictionMissed,
    Problem,
    Queued,
    SessionStarted,
    StepFinished,
    StepLog,
    StepStarted,
    Stopped,
    TakenOver,
    Watching,
)
from devloop.plan.model import Cause, PathChange, Plan, PlannedStep, Warned
from devloop.ui import DisplayClosed, make_display
from devloop.ui.plantext import LayerRow, layers_lines, plan_json, plan_lines

FROM: Final = PlannedStep("0", 1, 1, "FROM", "FROM python:3.12-slim", "cached")
WORKDIR: Final = PlannedStep(
    "0", 2, 2, "WORKDIR", "WORKDIR /app", "cached", seconds=0.02, seconds_from="measured"
)
COPY_LIST: Final = PlannedStep(
    "0",
    3,
    3,
    "COPY",
    "COPY src/web_api/requirements.txt ./",
    "cached",
    seconds=0.06,
    seconds_from="measured",
)
PIP: Final = PlannedStep(
    "0",
    4,
    4,
    "RUN",
    "RUN pip install --no-cache-dir -r requirements.txt",
    "cached",
    kind="pip",
    expensive=True,
    seconds=14.23,
    seconds_from="measured",
)
COPY_MAIN: Final = PlannedStep(
    "0", 5, 5, "COPY", "COPY src/web_api/main.py ./", "cached", seconds=0.05, seconds_from="measured"
)
ALL_CACHED: Final = (FROM, WORKDIR, COPY_LIST, PIP, COPY_MAIN)
BEHIND: Final = Cause("it follows line 3, which runs again", "content", line=3)


def runs(step: PlannedStep, cause: Cause) -> PlannedStep:
    return replace(step, status="run", cause=cause)


def changed(path: str) -> Cause:
    return Cause(f"{path} has new content", "content", path=path)


def first_plan() -> Plan:
    never = Cause("it was never built here", "never-built")
    steps = tuple(
        replace(
            runs(step, never),
            seconds=20.0 if step is PIP else step.seconds,
            seconds_from=None if step.seconds is None else "estimate",
        )
        for step in ALL_CACHED
    )
    return Plan(
        "web_api",
        "Dockerfile",
        ".",
        (),
        steps,
        steps[0],
        21.5,
        "rebuild",
        "there is no image of this project yet",
    )


def main_plan() -> Plan:
    path = "src/web_api/main.py"
    copy = runs(COPY_MAIN, changed(path))
    return Plan(
        "web_api",
        "Dockerfile",
        ".",
        (PathChange(path, "modified"),),
        (*ALL_CACHED[:4], copy),
        copy,
        1.2,
        "rebuild",
        "the container gets a new image",
    )


def part_plan() -> Plan:
    return replace(
        main_plan(),
        action="sync+restart",
        seconds=0.4,
        reason="nothing below line 5 reads it; the process restarts",
    )


def list_plan() -> Plan:
    path = "src/web_api/requirements.txt"
    copy = runs(COPY_LIST, changed(path))
    pip = runs(PIP, BEHIND)
    main = replace(COPY_MAIN, status="unknown", cause=Cause("its result may turn out equal", "content"))
    warned = Warned(
        "expensive-rerun",
        4,
        "RUN",
        "RUN pip install --no-cache-dir -r requirements.txt",
        14.23,
        "measured",
        "median of 3 earlier builds here",
        "COPY src/web_api/requirements.txt ./ (line 3) stands above RUN pip install (line 4)",
        "a cache mount keeps what pip has downloaded: RUN --mount=type=cache,target=/root/.cache/pip pip "
        "install -r requirements.txt",
        "dependencies added: httpx 0.28",
    )
    return Plan(
        "web_api",
        "Dockerfile",
        ".",
        (PathChange(path, "modified"),),
        (FROM, WORKDIR, copy, pip, main),
        copy,
        15.6,
        "rebuild",
        "the image has to be built again from line 3",
        (warned,),
    )


def nothing_plan() -> Plan:
    return Plan(
        "web_api",
        "Dockerfile",
        ".",
        (),
        ALL_CACHED,
        None,
        0.0,
        "none",
        "the content is what was built last",
        ignored=("README.md is ignored by .dockerignore:7 (*.md)",),
    )


def stages_plan() -> Plan:
    """Two stages, odd characters, an estimate beside a figure that nobody knows."""
    path = "ui/src/widgets/很长的目录名称/a rather long file name that will not fit.tsx"
    copy = PlannedStep(
        "build", 4, 8, "COPY", "COPY ui ./ui", "run", changed(path), seconds=0.2, seconds_from="estimate"
    )
    steps = (
        PlannedStep("build", 1, 1, "FROM", "FROM node:22 AS build", "cached"),
        PlannedStep("build", 2, 3, "WORKDIR", "/src", "cached"),
        PlannedStep(
            "build",
            3,
            4,
            "RUN",
            "RUN <<EOF\nnpm ci\nnpm audit\nEOF",
            "cached",
            kind="npm",
            expensive=True,
            seconds=41.0,
            seconds_from="measured",
        ),
        copy,
        PlannedStep(
            "build",
            5,
            9,
            "RUN",
            "RUN npm run build -- --mode production --output /out --sourcemap --log-level warn",
            "run",
            Cause("it follows line 8, which runs again", "content", line=8),
            kind="node-build",
            expensive=True,
            seconds=95.0,
            seconds_from="estimate",
        ),
        PlannedStep("run", 1, 11, "FROM", "FROM nginx:1.27-alpine AS run", "cached"),
        PlannedStep(
            "run",
            2,
            12,
            "COPY",
            "COPY --from=build /out /usr/share/nginx/html",
            "unknown",
            Cause("stage build runs again, its files may turn out equal", "stage"),
        ),
    )
    return Plan(
        "ui",
        "docker/Dockerfile",
        ".",
        (PathChange(path, "added"), PathChange("ui/old.tsx", "removed"), PathChange("ui/run.sh", "metadata")),
        steps,
        copy,
        96.0,
        "rebuild",
        "a step runs whose result cannot be copied into the container",
    )


def layer_rows() -> tuple[LayerRow, ...]:
    return (
        LayerRow("build", 1, "FROM", "FROM node:22 AS build", "", "", False),
        LayerRow("build", 4, "RUN", "RUN npm ci", "package.json, package-lock.json", "41s", True),
        LayerRow("build", 8, "COPY", "COPY ui ./ui", "ui/ (212 files, 3.1 MB)", "~0.2s", False),
        LayerRow("build", 9, "RUN", "RUN ./scripts/prepare.sh --everything", "line 8", "", None),
        LayerRow(
            "run",
            12,
            "COPY",
            "COPY --from=build /out /usr/share/nginx/html/static/assets",
            "stage build: /out and whatever the steps above have left in it",
            "0.1s",
            False,
        ),
    )


def _build(seconds: float, *, cached: int, ran: int) -> Iterator[tuple[float, Event]]:
    labels = [f"{step.ordinal}/5" for step in ALL_CACHED]
    yield 0.1, BuildStarted(4)
    for index, (label, step) in enumerate(zip(labels, ALL_CACHED, strict=True)):
        if index < cached:
            yield 0.05, StepFinished(label, step.line, step.text, "cached", None)
            continue
        yield 0.1, StepStarted(label, step.line, step.text)
        if step is PIP:
            yield 0.5, StepLog(label, "Collecting fastapi==0.115.6")
            yield 0.7, StepLog(label, "  Downloading fastapi-0.115.6-py3-none-any.whl (94 kB)")
            yield 0.7, StepLog(label, "\r 10%\r 60%\r\x1b[32m100%\x1b[0m [=====] \x1b]0;a title\x07done")
            yield 2.0, StepLog(label, "Successfully installed [bold]fastapi[/bold]-0.115.6 uvicorn-0.34.0")
        yield 0.3, StepFinished(label, step.line, step.text, "run", step.seconds)
    yield 0.2, BuildFinished("ok", seconds, cached, ran)


CARET: Final = """\
Dockerfile:4
   2 | WORKDIR /app
   3 | COPY src/web_api/requirements.txt ./
 > 4 | RNU pip install --no-cache-dir -r requirements.txt --extra-index-url [not/markup] --a-very-long-option
     | ^^^
"""


def session() -> Iterator[tuple[float, Event]]:
    """Give the seconds before each event, and the event."""
    yield (
        0.0,
        SessionStarted(
            "0.1.0",
            "web_api",
            "Dockerfile",
            "/home/ana/web_api",
            None,
            "Docker Engine 29.1.3, buildx 0.30.1",
            None,
        ),
    )
    yield 0.3, Watching(9, 3, polling=False, seconds=0.21)
    yield 0.1, Planned(first_plan(), (), first=True)
    yield from _build(15.4, cached=2, ran=3)
    yield (
        1.0,
        Deployed("rebuild", "web_api", ("http://127.0.0.1:8000",), "new container", 16.9, None, None, 0.8),
    )
    yield 0.1, ContainerLog("stderr", "\x1b[32mINFO\x1b[0m:     Application startup complete.")
    yield 0.1, ContainerLog("stdout", "[red]not markup[/red] \x1b[2J\x07 \x1b[31mred\x1b[0m\ttab :smile:")

    yield 2.0, Planned(main_plan(), ("src/web_api/main.py",))
    yield from _build(0.9, cached=4, ran=1)
    yield (
        0.6,
        Deployed("rebuild", "web_api", ("http://127.0.0.1:8000",), "container replaced", 1.6, 1.9, 0.2, 0.5),
    )

    yield 1.5, Planned(list_plan(), ("src/web_api/requirements.txt",))
    yield 0.1, BuildStarted(4)
    yield 0.1, StepStarted("4/5", 4, PIP.text)
    yield 0.9, StepLog("4/5", "Collecting httpx==0.28.1")
    yield 0.9, Queued(("src/web_api/main.py",), "build-canceled", "its result would be stale")
    yield 0.1, StepFinished("4/5", 4, PIP.text, "canceled", 1.9)
    yield 0.0, BuildFinished("canceled", 2.1, 2, 0)
    yield 0.1, Planned(list_plan(), ("src/web_api/main.py", "src/web_api/requirements.txt"))
    yield from _build(15.0, cached=2, ran=3)
    yield (
        0.0,
        PredictionMissed(
            5,
            "COPY src/web_api/main.py ./",
            "cached",
            "run",
            "the cache had been pruned since the last build",
        ),
    )
    yield 0.6, Deployed("rebuild", "web_api", ("http://127.0.0.1:8000",), "container replaced", 15.9, 18.4)

    yield 1.0, Planned(list_plan(), ("src/web_api/requirements.txt",))
    yield 0.0, Held(("src/web_api/requirements.txt",), (4,), 15.0, 1.5)
    yield 0.5, Planned(part_plan(), ("src/web_api/main.py",), behind=("src/web_api/requirements.txt",))
    yield (
        0.4,
        Deployed(
            "sync+restart",
            "web_api",
            ("http://127.0.0.1:8000",),
            "process",
            0.3,
            0.4,
            behind=("src/web_api/requirements.txt",),
            owed=("src/web_api/main.py",),
        ),
    )
    yield 0.2, Asked("later")
    yield 0.0, Held(("src/web_api/requirements.txt",), (4,), 15.0, 60.0, is_postponed=True)
    yield 2.0, Asked("skip")
    yield 0.0, HoldEnded("skipped", ("src/web_api/requirements.txt",))
    yield 0.4, Asked("skip", "nothing waits")
    yield 1.0, Planned(list_plan(), ("src/web_api/requirements.txt",))
    yield 0.0, Held(("src/web_api/requirements.txt",), (4,), 15.0, None)
    yield 1.0, Asked("build")
    yield 0.0, HoldEnded("asked", ("src/web_api/requirements.txt",))
    yield 0.1, BuildStarted(4)
    yield 0.1, StepStarted("4/5", 4, PIP.text)
    yield 0.5, Queued(("src/web_api/main.py",), "build-serves", "the new files are put on its image")
    yield 0.1, StepFinished("4/5", 4, PIP.text, "run", 15.0)
    yield 0.0, BuildFinished("ok", 15.2, 3, 2)
    by_key = Deployed("rebuild", "web_api", ("http://127.0.0.1:8000",), "container replaced", 1.6, 16.1)
    yield 0.6, replace(by_key, from_key=True)
    yield 1.0, Planned(list_plan(), ("src/web_api/requirements.txt",))
    yield 0.0, Held(("src/web_api/requirements.txt",), (4,), 15.0, 1.5)
    yield 0.3, Planned(nothing_plan(), ("src/web_api/requirements.txt",))
    yield 0.0, HoldEnded("gone", ("src/web_api/requirements.txt",))

    yield 1.0, Explained(list_plan(), is_built=True)
    yield 1.0, Asked("restart")
    yield 0.6, replace(by_key, action="restart", how="process", seconds=0.5, since_save=0.6, from_key=True)
    yield 0.5, Asked("rebuild", "a build is in flight already")
    yield 0.5, Paused(is_paused=True)
    yield 0.5, Planned(main_plan(), ("src/web_api/main.py",))
    yield 0.5, Asked("logs")
    yield 0.1, ContainerLog("stdout", "nobody sees this before l is pressed again")
    yield 0.5, Asked("logs")
    yield 0.5, Paused(is_paused=False)
    yield from _build(0.9, cached=4, ran=1)
    yield 0.6, replace(by_key, since_save=1.7, from_key=True)
    yield 0.5, Asked("help")

    yield 1.0, Planned(nothing_plan(), ("src/web_api/main.py",))
    yield 0.5, Problem("dockerfile", "unknown instruction RNU", CARET, "did you mean RUN?")
    yield 0.5, Problem("watch", "the folder .git is not watched", severity="note")

    yield 1.0, Planned(list_plan(), ("src/web_api/requirements.txt",))
    yield 0.1, BuildStarted(4)
    yield 0.1, StepStarted("4/5", 4, PIP.text)
    yield 0.5, StepLog("4/5", "ERROR: No matching distribution found for fastapj==0.115.6")
    yield 0.1, StepFinished("4/5", 4, PIP.text, "failed", 2.4)
    yield (
        0.0,
        BuildFinished(
            "failed",
            2.9,
            2,
            1,
            "exit code 1",
            4,
            PIP.text,
            (
                "ERROR: Could not find a version that satisfies the requirement fastapj==0.115.6",
                "ERROR: No matching distribution found for fastapj==0.115.6",
            ),
        ),
    )

    yield 1.0, Planned(main_plan(), ("src/web_api/main.py",))
    yield from _build(0.8, cached=4, ran=1)
    crash = ("Traceback (most recent call last):", "NameError: name 'fastapi' is not defined")
    for line in crash:
        yield 0.1, ContainerLog("stderr", line)
    yield 0.2, DeployFailed("the new container ended at once", 1, crash, rolled_back=True)
    yield 1.0, BackgroundBuilt(0.2, 1)
    yield 1.0, ContainerExited("web_api", 137, ("Killed",))
    yield 0.5, TakenOver("web_api", ("http://127.0.0.1:8000",))
    yield 0.5, EngineMissing("no Docker Engine answers", "start Docker, or set DOCKER_HOST")
    yield 1.0, Stopped("the container web_api and its network were removed")


def main(what: str, speed: float) -> None:
    if what == "plan":
        for plan in (main_plan(), list_plan(), nothing_plan(), stages_plan(), first_plan()):
            sys.stdout.write(
                "\n".join([*plan_lines(plan, _width(), ascii_only=False, color=_color()), "", ""])
            )
        sys.stdout.write(plan_json([main_plan()]) + "\n")
        return
    if what == "layers":
        sys.stdout.write(
            "\n".join([*layers_lines(layer_rows(), _width(), ascii_only=False, color=_color()), ""])
        )
        return
    outputs: dict[str, Literal["live", "plain", "json"]] = {"live": "live", "plain": "plain", "json": "json"}
    display = make_display(outputs[what], sys.stdout, os.environ)
    try:
        for pause, event in session():
            time.sleep(pause / speed)
            display.show(event)
    except (DisplayClosed, KeyboardInterrupt):
        sys.exit(130)
    finally:
        display.close()


def _width() -> int:
    return os.get_terminal_size().columns if sys.stdout.isatty() else 80


def _color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0)
