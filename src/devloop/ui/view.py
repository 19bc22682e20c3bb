"""What a session's events mean for a screen: all that a display remembers between them; pure.

`fold` keeps the state. `words` puts each event into lines by it, so the plain and the live view say the same
things and differ only in what they do with them.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal, assert_never

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
from devloop.plan.model import Plan
from devloop.ui.text import Span, escape_controls, seconds_text, some_of

Container = Literal["none", "built", "serving", "silent", "stopped"]
"""What is known of the container; `built` is an image that none is to be run of, `silent` one that runs and
does not answer."""

_TAIL_KEPT: Final = 4
_LOGS_KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class RunningStep:
    """A step that runs now, since when (on the display's clock), and what it printed last."""

    label: str
    line: int | None
    text: str
    since: float
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """All that a display remembers between events.

    `phase` is what is in flight: None is an idle session, and `doing` is it in words. `done` are the steps
    of the build that are through. `last` is what was done last and how it went; `is_behind` tells that the
    newest tree failed, so that at best an older one serves. `debt` are the paths that were synced and that
    no image holds yet, `waiting` those saved during a pause. `part` is the plan of a sync that leaves paths
    out, and `behind` are the paths whose newest text the container lacks. `held` is the build that waits,
    until `held_until` on the display's clock or for a key, and `skipped` the paths that the user left
    alone. `logs` are the container's last lines, kept so that they are not shown twice when it dies;
    `hidden` counts those that were not shown. `step_logs` are the last lines that steps printed, where the
    display shows them. `is_once` tells that the session ends with its first version.
    """

    project: str = ""
    target: str | None = None
    has_engine: bool = True
    runs_container: bool = True
    phase: Literal["planned", "building", "deploying"] | None = None
    doing: str = ""
    since: float = 0.0
    plan: Plan | None = None
    is_first: bool = False
    steps: int = 0
    running: tuple[RunningStep, ...] = ()
    done: tuple[StepFinished, ...] = ()
    container: Container = "none"
    urls: tuple[str, ...] = ()
    last: Span = ("", "")
    is_behind: bool = False
    is_stale: bool = False
    debt: tuple[str, ...] = ()
    is_paused: bool = False
    waiting: tuple[str, ...] = ()
    part: Plan | None = None
    behind: tuple[str, ...] = ()
    held: Held | None = None
    held_until: float | None = None
    skipped: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    hides_logs: bool = False
    hidden: int = 0
    step_logs: tuple[str, ...] = ()
    shows_step_logs: bool = False
    is_over: bool = False
    is_once: bool = False

    @property
    def serving(self) -> bool:
        """Whether a container runs."""
        return self.container in {"serving", "silent"}


def fold(view: View, event: Event, now: float) -> View:
    """Return the state after `event`; `now` is any clock that only goes forward."""
    match event:
        case SessionStarted():
            return replace(
                view,
                project=event.project,
                target=event.target,
                has_engine=event.engine is not None,
                runs_container=event.runs_container,
            )
        case EngineMissing():
            return replace(_idle(view), has_engine=False, container="none", urls=(), behind=(), held=None)
        case TakenOver():
            return replace(view, has_engine=True, container="serving", urls=event.urls)
        case Planned():
            return _after_plan(view, event, now)
        case BuildStarted():
            return replace(
                _idle(view),
                has_engine=True,
                part=None,
                skipped=(),
                phase="building",
                is_stale=False,
                since=now if view.phase is None else view.since,
                steps=event.steps,
                step_logs=(),
            )
        case StepStarted():
            step = RunningStep(event.label, event.line, event.text, now)
            return replace(view, running=(*_without(view, event.label), step))
        case StepLog():
            said = (*view.step_logs, event.line)[-_LOGS_KEPT:] if view.shows_step_logs else ()
            running = tuple(_logged(step, event) for step in view.running)
            return replace(view, running=running, step_logs=said)
        case StepFinished():
            return replace(view, running=_without(view, event.label), done=(*view.done, event))
        case BuildFinished():
            return _after_build(view, event)
        case Held():
            until = None if event.wait_seconds is None else now + event.wait_seconds
            return replace(_unless_building(view), held=event, held_until=until, skipped=())
        case HoldEnded():
            return _after_hold(view, event, now)
        case Deployed():
            return _after_deploy(view, event)
        case DeployFailed():
            kept = replace(_unless_building(view), behind=())
            words = f"the new version ended at once{exit_words(event.exit_code)}"
            last: Span = (words if event.exit_code is not None else _first_line(event.message), "bad")
            if event.rolled_back:
                return replace(kept, container="serving", last=last, debt=(), is_behind=True)
            return replace(kept, container="stopped", last=last, is_behind=True)
        case ContainerLog():
            hidden = view.hidden + 1 if view.hides_logs else 0
            return replace(view, logs=(*view.logs, event.line)[-_LOGS_KEPT:], hidden=hidden)
        case ContainerExited():
            words = f"the container stopped{exit_words(event.exit_code)}"
            return replace(view, container="stopped", last=(words, "bad"))
        case Problem():
            return _after_problem(view, event)
        case Asked():
            return _after_key(view, event, now)
        case Paused():
            return replace(view, is_paused=event.is_paused, waiting=())
        case BackgroundBuilt():
            return replace(view, debt=())
        case Stopped():
            return replace(_idle(view), is_over=True)
        case Queued():
            return replace(view, is_stale=event.decision in {"build-canceled", "build-continues"})
        case Watching() | PredictionMissed() | Explained():
            return view
        case _:
            assert_never(event)


def _after_hold(view: View, event: HoldEnded, now: float) -> View:
    over = replace(view, held=None, held_until=None)
    match event.how:
        case "skipped":
            return replace(over, skipped=event.paths)
        case "over" | "asked" if view.phase is None:
            return replace(over, phase="planned", doing="rebuild", since=now)
        case _:
            return over


def _after_plan(view: View, event: Planned, now: float) -> View:
    if event.behind:
        if view.phase is not None or view.is_paused or event.plan.action == "none":
            return replace(view, part=event.plan)
        return replace(_idle(view), part=event.plan, phase="planned", doing=event.plan.action, since=now)
    is_work = view.has_engine and (event.first or event.plan.action != "none")
    if view.is_paused and is_work:
        waiting = tuple(dict.fromkeys((*view.waiting, *event.saved)))
        return replace(view, plan=event.plan, waiting=waiting) if view.phase is None else view
    if view.phase == "building" or (view.phase is not None and not is_work):
        return view  # what was saved meanwhile does not stop what is in flight
    last = view.last
    if event.saved and not is_work:
        is_needed = event.plan.action != "none"
        what = f"{event.plan.action} needed" if is_needed else "nothing to do"
        last = (f"{what} for {some_of(event.saved)}", "")
    return replace(
        _idle(view),
        plan=event.plan,
        part=None,
        skipped=view.skipped if is_work else (),
        is_first=event.first,
        phase="planned" if is_work else None,
        doing="preparing" if event.first else event.plan.action,
        since=now,
        last=last,
        is_behind=view.is_behind and (is_work or not view.has_engine),
    )


def _after_build(view: View, event: BuildFinished) -> View:
    # What became stale while it was built is not what is deployed next, if anything is.
    is_next = event.status == "ok" and view.runs_container and not view.is_paused and not view.is_stale
    after = replace(
        view,
        phase="deploying" if is_next else None,
        is_stale=False,
        doing="starting the container",
        running=(),
        done=(),
    )
    took = seconds_text(event.seconds)
    if event.status == "failed":
        where = f" at line {event.failed_line}" if event.failed_line is not None else ""
        return replace(after, last=(f"build failed{where} after {took}", "bad"), is_behind=True)
    if event.status == "ok" and not view.runs_container:
        return replace(after, container="built", last=(f"built in {took}", ""), is_behind=False)
    return after


def _after_deploy(view: View, event: Deployed) -> View:
    after = _unless_building(view)
    took = took_words(event)
    return replace(
        after,
        container="serving" if event.serves else "silent",
        urls=event.urls,
        debt=event.owed,
        part=None,
        behind=view.behind if event.action == "restart" else event.behind,
        last=(f"{event.action}, {took}", ""),
        is_behind=view.is_behind and event.action == "restart",
    )


def _after_problem(view: View, event: Problem) -> View:
    if event.severity == "note":
        return view
    after = _idle(view) if event.kind == "engine" else _unless_building(view)
    is_behind = view.is_behind or stops_a_build(event)
    return replace(after, last=(_first_line(event.message), "bad"), is_behind=is_behind)


def _first_line(message: str) -> str:
    return next(iter(sentences(message)), "")


def _after_key(view: View, event: Asked, now: float) -> View:
    match event.what:
        case "logs":
            return replace(view, hides_logs=not view.hides_logs, hidden=0)
        case "restart" if not event.refused:
            return replace(_idle(view), phase="deploying", doing="restarting", since=now)
        case _:
            return view


def _unless_building(view: View) -> View:
    """End what is in flight, except a build: that has an end of its own, whatever else happens meanwhile."""
    return view if view.phase == "building" else _idle(view)


def _idle(view: View) -> View:
    return replace(view, phase=None, doing="", steps=0, running=(), done=())


def _without(view: View, label: str) -> tuple[RunningStep, ...]:
    return tuple(step for step in view.running if step.label != label)


def _logged(step: RunningStep, event: StepLog) -> RunningStep:
    if step.label != event.label:
        return step
    return replace(step, tail=(*step.tail, event.line)[-_TAIL_KEPT:])


# Words that the state and the lines share


_EXIT_CODES: Final[dict[int, str]] = {
    126: "the command cannot be executed",
    127: "the command was not found",
    130: "interrupted",
    137: "killed: out of memory, or by somebody",
    139: "segmentation fault",
    143: "terminated",
}


def exit_words(code: int | None) -> str:
    """` (exit code 137: killed ...)`, with the meaning of the codes that have one everywhere."""
    if code is None:
        return ""
    meaning = f": {_EXIT_CODES[code]}" if code in _EXIT_CODES else ""
    return f" (exit code {code}{meaning})"


def stops_a_build(event: Problem) -> bool:
    """Tell whether nothing can be built until a file is mended."""
    return event.severity == "error" and event.kind in {"dockerfile", "ignore-file"}


def sentences(text: str) -> list[str]:
    """Return the lines of a text that say something, made harmless."""
    return [escape_controls(line) for line in text.splitlines() if line.strip()]


def took_words(event: Deployed) -> str:
    """Say how long it took, and from when."""
    if event.since_save is None:
        return f"{seconds_text(event.seconds)} after the start"
    start = "key" if event.from_key else "save"
    return f"{seconds_text(event.since_save)} from {start} to running"
