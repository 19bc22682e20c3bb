"""Each event of a session in words: a line, and indented ones below it where there is more to say; pure."""

import re
from dataclasses import replace
from typing import Final, assert_never

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
from devloop.plan.model import Action, Plan, PlannedStep
from devloop.ui.plantext import action_style, cost_words, ladder, reached, runs_sentence, warning_block
from devloop.ui.text import (
    Line,
    Span,
    Style,
    Symbols,
    clean_log,
    count,
    escape_controls,
    line_width,
    one_line,
    pad,
    seconds_text,
    shorten,
    some_of,
    text_width,
    wrap,
    wrap_line,
)
from devloop.ui.view import RunningStep, View, exit_words, sentences, stops_a_build, took_words

_FEW_STEPS: Final = 12


def describe(
    event: Event, before: View, width: int, marks: Symbols, *, has_board: bool = False
) -> list[Line]:
    """Put `event` into words: a line, and indented ones below it where there is more to say.

    `before` is the state that the event met. Instructions are shortened and sentences broken to fit
    `width`; what a program printed and source lines stay whole, cleaned of escapes. The steps of a first
    build are left to the board where there is one.
    """
    lines: list[Line] = []
    words = _words(event, before, width, marks)
    if has_board and isinstance(event, Planned) and event.first:
        words = _planned(event, before, width, marks, has_board=True)
    for line in words:
        lines += wrap_line(line, width)
    return lines


def _words(event: Event, before: View, width: int, marks: Symbols) -> list[Line]:
    match event:
        case SessionStarted():
            return _session(event, before, width)
        case EngineMissing():
            return _engine_missing(event, before, marks)
        case Watching():
            return [] if before.is_once else [_watching(event)]
        case TakenOver():
            name, urls = escape_controls(event.container), "  ".join(map(escape_controls, event.urls))
            said = f"the container {name} of an earlier session still runs and is taken over"
            return [((f"{marks.dot} ", "dim"), (said, ""), (f"  {urls}" if urls else "", "accent"))]
        case Planned():
            return _planned(event, before, width, marks)
        case BuildStarted():
            return [((f"  build started: {count(event.steps, 'step')}", "dim"),)]
        case StepStarted():
            return [_step(event, width, marks, (marks.runs, "warn"), "started")]
        case StepLog():
            return [
                ((f"  {marks.bar} [{escape_controls(event.label)}] ", "dim"), (clean_log(event.line), "log"))
            ]
        case StepFinished():
            return [_step_finished(event, width, marks)]
        case BuildFinished():
            return _build_finished(event, before, width, marks)
        case PredictionMissed():
            return _missed(event, width, marks)
        case Queued():
            return [_queued(event, before)]
        case Held():
            return _held(event)
        case HoldEnded():
            return _hold_ended(event)
        case Deployed():
            return _deployed(event, marks)
        case DeployFailed():
            return _deploy_failed(event, before, marks)
        case ContainerLog():
            return [((f"{marks.bar} ", "dim"), (clean_log(event.line), "log"))]
        case ContainerExited():
            return _exited(event, before, marks)
        case BackgroundBuilt():
            return [((f"image built in the background, {seconds_text(event.seconds)}", "dim"),)]
        case Asked():
            return _asked(event, before, width, marks)
        case Explained():
            return _explained(event, width, marks)
        case Paused():
            return [_paused(event, before)]
        case Problem():
            return [*_problem(event, marks), *(_still(before) if stops_a_build(event) else [])]
        case Stopped():
            return [((f"stopped: {escape_controls(event.message)}" if event.message else "stopped", "bold"),)]
        case _:
            assert_never(event)


_REQUESTS: Final[dict[str, str]] = {
    "rebuild": "rebuild",
    "restart": "restart",
    "build": "build",
    "skip": "skip",
    "later": "delay",
}

KEYS: Final = (
    ("r", "rebuild", "read the tree again, build it, and replace the container"),
    ("s", "restart", "start the application again with the files that it has"),
    ("p", "pause", "price saves and do nothing about them, until p is pressed again"),
    ("w", "why", "print the last plan in full: each step, and what makes it run"),
    ("l", "logs", "hide the application's log, or show it again"),
    ("q", "quit", "end the session as Ctrl-C does, with exit status 0"),
    ("?", "help", "print this"),
)
"""What the keys of the live view do: the key, its name, and what it is good for."""
HOLD_KEYS: Final = (
    ("b", "build", "start the expensive build that waits, or that was skipped, now"),
    ("x", "skip", "leave the container as it is until what makes the build necessary is saved again"),
    ("z", "later", "let the build wait for another minute"),
)
"""Keys for a build that waits."""

_MANY_HIDDEN: Final = 10


def _asked(event: Asked, before: View, width: int, marks: Symbols) -> list[Line]:
    if event.what == "help":
        return _help(width, marks)
    if event.what == "logs":
        return _logs_switched(before, marks)
    name = _REQUESTS[event.what]
    if event.refused:
        return [((f"{marks.dot} ", "dim"), (f"no {name} now: {escape_controls(event.refused)}", ""))]
    return [((f"{name} asked for", "bold"),)]


def _help(width: int, marks: Symbols) -> list[Line]:
    lines: list[Line] = [(("keys", "bold"),)]
    for key, name, meaning in (*KEYS, *HOLD_KEYS):
        for index, part in enumerate(wrap(meaning, width - 14)):
            left: Line = (("            ", ""),) if index else ((f"  {key}  ", "accent"), (pad(name, 7), ""))
            lines.append((*left, ("  ", ""), (part, "dim")))
    legend = (
        (marks.cached, "good", "cached"),
        (marks.runs, "warn", "runs again"),
        (marks.unknown, "warn", "may run again"),
        (marks.bad, "bad", "failed"),
    )
    spans: list[Span] = [("  ", "")]
    for mark, style, meaning in legend:
        spans += [(mark, style), (f" {meaning}   ", "dim")]  # type: ignore[list-item]  # the styles are ours
    return [*lines, tuple(spans)]


def _logs_switched(before: View, marks: Symbols) -> list[Line]:
    if not before.hides_logs:
        return [(("the application's log is hidden; l shows it again", "dim"),)]
    missed = before.logs[-min(before.hidden, _MANY_HIDDEN) :] if before.hidden else ()
    lines: list[Line] = [((f"{marks.bar} ", "dim"), (clean_log(line), "log")) for line in missed]
    more = before.hidden - len(missed)
    said = f"the application's log is shown again; {count(more, 'line')} left out" if more > 0 else ""
    return [((said or "the application's log is shown again", "dim"),), *lines]


def _paused(event: Paused, before: View) -> Line:
    if event.is_paused:
        return (("paused", "warn"), (": saves are priced and wait until p is pressed again", ""))
    waited = f", with {some_of(before.waiting)}" if before.waiting else ""
    return (("going on", "good"), (waited, ""))


def _explained(event: Explained, width: int, marks: Symbols) -> list[Line]:
    plan = event.plan
    what = "what each step of the last build did, and why" if event.is_built else "the last plan, in full"
    lines: list[Line] = [((what, "bold"),)]
    if plan.changes:
        lines.append((("  changed ", "dim"), (some_of(change.path for change in plan.changes), "")))
    lines += [(("  ", ""), (escape_controls(sentence), "dim")) for sentence in plan.ignored]
    if not event.is_built:
        lines += _decision(plan)
    lines += ladder(plan.steps, width, marks)
    for warned in plan.warnings:
        lines += warning_block(warned, width, marks)
    return lines


def _session(event: SessionStarted, before: View, width: int) -> list[Line]:
    if event.engine is None:
        ending = "and says what a rebuild would cost."
    elif event.runs_container:
        ending = "says what a rebuild from there costs, and brings the running container up to date."
    else:
        ending = "says what a rebuild from there costs, and builds the image (no container is started)."
    purpose = f"On every save, devloop finds the first Dockerfile step that the change reaches, {ending}"
    target = f", target {event.target}" if event.target else ""
    facts = (
        ("Dockerfile", f"{event.dockerfile}{target}"),
        ("context", event.context),
        ("engine", event.engine or "none answers"),
        ("settings", event.config or "the defaults (there is no devloop.toml)"),
    )
    return [
        (("devloop ", "bold"), (f"{event.version}  ", "dim"), (escape_controls(event.project), "accent")),
        *(((f"  {part}", ""),) for part in ([] if before.is_once else wrap(purpose, width - 2))),
        *(((f"  {pad(label, 12)}", "dim"), (escape_controls(text), "")) for label, text in facts),
    ]


def _engine_missing(event: EngineMissing, before: View, marks: Symbols) -> list[Line]:
    until = "Until then devloop says what each save would cost; it cannot build or run."
    return [
        ((f"{marks.warning} ", "warn"), (escape_controls(event.message), "bold")),
        *_hint(event.hint, marks),
        *(() if before.is_once else (((f"  {until}", ""),),)),
    ]


def _watching(event: Watching) -> Line:
    how = " by looking again and again (no file events here)" if event.polling else ""
    where = f"{count(event.files, 'file')} in {count(event.directories, 'folder')}"
    return (
        (f"watching {where}{how}", "bold"),
        (f" (ready after {seconds_text(event.seconds)}); save one to see what it costs, Ctrl-C stops", "dim"),
    )


def _planned(
    event: Planned, before: View, width: int, marks: Symbols, *, has_board: bool = False
) -> list[Line]:
    lines: list[Line]
    plan = event.plan
    if not event.first and not event.saved and not plan.changes:
        lines = _decision(plan)
    elif event.first:
        lines = [_first(plan, before)]
        # Without an engine and without memory nothing is known of any step yet.
        is_known = before.has_engine or any(step.status != "unknown" for step in plan.steps)
        lines += ladder(_first_ladder(plan), width, marks) if is_known and not has_board else []
    else:
        lines = [*_saved(event, width, marks), *_decision(plan)]
        # A sync runs no step; what a rebuild would have run is a number in the sentence above.
        runs = [] if plan.action in {"none", "sync", "sync+restart"} else plan.runs
        lines += ladder([_without_echo(step, plan) for step in runs], width, marks)
    if event.behind:
        without = f"  without {some_of(event.behind)}, of which an expensive build waits or runs"
        lines.append(((without, "dim"),))
    for warned in plan.warnings:
        lines += warning_block(warned, width, marks)
    return lines


def _without_echo(step: PlannedStep, plan: Plan) -> PlannedStep:
    """Drop a cause that only repeats the one path of the line above."""
    if step.cause is None or step.cause.rule != "content" or step.cause.path is None:
        return step
    is_echo = [change.path for change in plan.changes] == [step.cause.path]
    return replace(step, cause=None) if is_echo else step


def _first_ladder(plan: Plan) -> list[PlannedStep]:
    """Choose what the first screen shows: the Dockerfile as devloop sees it; of a long one, what costs."""
    is_short = len(plan.steps) <= _FEW_STEPS
    return [replace(step, cause=None) for step in plan.steps if is_short or step.expensive]


def _first(plan: Plan, before: View) -> Line:
    total, again = len(plan.countable), sum(step.status != "cached" for step in plan.countable)
    if not before.has_engine:
        return (("the Dockerfile", "bold"), (f": {count(total, 'step')}, to compare each save with", ""))
    if not again:
        steps = "every step should be cached"
    else:
        steps = count(total, "step") if again == total else f"{again} of {count(total, 'step')} to run"
    return (("to build", "bold"), (f": {steps}{cost_words(plan, 'measured')}", ""))


def _saved(event: Planned, width: int, marks: Symbols) -> list[Line]:
    names = some_of(event.saved) or some_of(change.path for change in event.plan.changes)
    gone = {change.path for change in event.plan.changes if change.kind == "removed"}
    verb = "deleted" if gone.issuperset(event.saved) else "saved"
    start: Line = ((f"{verb} " if event.saved else "changed ", ""), (names, "bold"))
    earliest = event.plan.earliest
    if earliest is None or (earliest.cause is not None and earliest.cause.rule == "never-built"):
        # While the first build is not through, steps run that the save does not reach.
        return [start]
    where = reached(earliest, width - 4, marks)
    if line_width(start) + 1 + line_width(where) <= width:
        return [(*start, (" ", ""), *where)]
    return [start, (("  ", ""), *where)]


def _decision(plan: Plan) -> list[Line]:
    reason = f" ({escape_controls(plan.reason)})" if plan.reason else ""
    if plan.action == "none":
        return [(("  nothing to do", action_style("none")), (reason, "dim"))]
    lines: list[Line] = [
        (
            ("  ", ""),
            (plan.action, action_style(plan.action)),
            (f": {runs_sentence(plan, measured='measured')}", ""),
        )
    ]
    return [*lines, ((f"  {escape_controls(plan.reason)}", "dim"),)] if plan.reason else lines


def _step(
    step: StepStarted | StepFinished | RunningStep, width: int, marks: Symbols, mark: Span, end: str
) -> Line:
    where = f"[{escape_controls(step.label)}]" + (f" line {step.line}" if step.line is not None else "")
    room = width - text_width(f"  {mark[0]} {where}   {end}")
    shown = shorten(one_line(step.text), max(room, 16), ellipsis=marks.ellipsis)
    return (("  ", ""), (f"{mark[0]} ", mark[1]), (f"{where} ", "dim"), (shown, ""), (f"  {end}", "dim"))


def _step_finished(event: StepFinished, width: int, marks: Symbols) -> Line:
    took = "" if event.seconds is None else f" {seconds_text(event.seconds)}"
    ends: dict[str, tuple[str, Style, str]] = {
        "cached": (marks.cached, "good", "cached"),
        "run": (marks.good, "good", f"ran{took}"),
        "failed": (marks.bad, "bad", f"failed{took and ' after' + took}"),
        "canceled": (marks.dot, "dim", "canceled"),
    }
    symbol, style, end = ends[event.status]
    return _step(event, width, marks, (symbol, style), end)


def _build_finished(event: BuildFinished, before: View, width: int, marks: Symbols) -> list[Line]:
    took = seconds_text(event.seconds)
    match event.status:
        case "ok":
            what = f"{event.ran} ran, {event.cached} cached"
            return [(("  ", ""), (f"{marks.good} ", "good"), (f"built in {took}", ""), (f" ({what})", "dim"))]
        case "canceled":
            return [((f"  {marks.dot} build canceled after {took}", "dim"),)]
        case "failed":
            return [
                *_build_failed(event, took, width, marks),
                *_new_tail(event.log_tail, before.step_logs, marks),
                *_still(before),
            ]
        case _:
            assert_never(event.status)


def _build_failed(event: BuildFinished, took: str, width: int, marks: Symbols) -> list[Line]:
    lines: list[Line] = [((f"{marks.bad} ", "bad"), (f"build failed after {took}", "bad"))]
    if event.failed_text is not None:
        where = "" if event.failed_line is None else f" (line {event.failed_line})"
        named = re.sub(r"^\[[^\]]*\] ", "", event.failed_text)
        text = shorten(one_line(named), max(width - 2 - len(where), 16), ellipsis=marks.ellipsis)
        lines.append((("  ", ""), (text, "bold"), (where, "dim")))
    return [*lines, *(((f"  {part}", ""),) for part in sentences(_brief_error(event.error or "")))]


_COMMAND: Final = re.compile(r'process ".*" did not complete successfully: exit code: ', re.DOTALL)


def _brief_error(error: str) -> str:
    """Leave out the command that BuildKit repeats: the step stands above it."""
    return _COMMAND.sub("exit code ", error)


def _still(before: View) -> list[Line]:
    """Say what a failure leaves behind."""
    if not before.has_engine or before.is_once:
        return []
    if not before.runs_container:
        return [(("  The next save tries again.", ""),)]
    now = "The last good version is still running." if before.serving else "Nothing is running yet."
    return [((f"  {now} The next save tries again.", ""),)]


def _missed(event: PredictionMissed, width: int, marks: Symbols) -> list[Line]:
    where = f" (line {event.line})"
    text = shorten(one_line(event.text), max(width - 34 - len(where), 16), ellipsis=marks.ellipsis)
    said = f": predicted {escape_controls(event.predicted)}, was {escape_controls(event.observed)}"
    lines: list[Line] = [(("  ", ""), (f"{marks.unknown} ", "warn"), (text, ""), (where, "dim"), (said, ""))]
    return [*lines, *(((f"    {part}", "dim"),) for part in sentences(event.explanation))]


def _queued(event: Queued, before: View) -> Line:
    said = {
        "build-canceled": "the build is canceled and starts anew",
        "build-continues": "the build goes on",
        "build-serves": "the build goes on",
        "waits": "waits",
    }[event.decision]
    if before.is_paused and event.decision == "build-canceled":
        said = "the build is canceled, and starts anew when p is pressed"
    reason = f" ({escape_controls(event.reason)})" if event.reason else ""
    return (("saved ", ""), (some_of(event.saved), "bold"), (f" meanwhile: {said}", ""), (reason, "dim"))


def _held(event: Held) -> list[Line]:
    steps = ", ".join(map(str, event.steps))
    lines = f"line{'s' if len(event.steps) != 1 else ''} {steps}"
    cost = "" if event.seconds is None else f", about {seconds_text(event.seconds)}"
    what: Line = (("  ", ""), ("waits", "warn"), (": ", ""), (some_of(event.paths), "bold"))
    work = f" makes {lines} run{cost}" if event.paths else f" {lines} would run{cost}"
    if event.wait_seconds is None:
        when = "a key starts the build: b now, x skips it"
    elif event.is_postponed:
        when = f"put off, the build starts in {seconds_text(event.wait_seconds)}"
    else:
        when = f"the build starts in {seconds_text(event.wait_seconds)}, unless that is saved again"
    return [(*what, (work, "")), ((f"  {when}", "dim"),)]


def _hold_ended(event: HoldEnded) -> list[Line]:
    names = some_of(event.paths)
    match event.how:
        case "skipped":
            said = f"skipped: the container goes on without {names} until that is saved again; b builds it"
            return [((f"  {said}", ""),)]
        case "gone":
            return [((f"  {names or 'the build'} does not wait any more", "dim"),)]
        case "over" | "asked":
            return [(("  the build that waited starts", "dim"),)]
        case _:
            assert_never(event.how)


_DONE: Final[dict[Action, str]] = {
    "none": "is up to date",
    "sync": "has the new files",
    "sync+restart": "has the new files and was restarted",
    "rebuild": "runs the new image",
    "restart": "was restarted",
}


_ANSWERS: Final[dict[str, str]] = {
    "port": "its port accepts connections",
    "healthcheck": "its health check passes",
    "running": "it stays up, and has no port to ask",
    "timeout": "it gives no answer",
    "unhealthy": "its health check fails",
}
_WAYS: Final[dict[str, str]] = {
    "files": "the files were written, and nothing restarted",
    "process": "the process restarted inside the container",
    "container": "the container restarted",
}


def _way(event: Deployed) -> str:
    """Say how the newest version came in and when it answered, as far as that was looked at."""
    after = "" if event.healthy_seconds is None else f" after {seconds_text(event.healthy_seconds)}"
    if event.how in _ANSWERS:
        return f"{_ANSWERS[event.how]}{after}"
    way = escape_controls(_WAYS.get(event.how, event.how))
    answer = "answers" if event.serves else "does not answer"
    return f"{way}; it {answer}{after}" if after else way


def _deployed(event: Deployed, marks: Symbols) -> list[Line]:
    name = escape_controls(event.container)
    took = took_words(event)
    said = "is running" if event.since_save is None else _DONE[event.action]
    urls = "  ".join(escape_controls(url) for url in event.urls)
    lines: list[Line] = [
        (
            (f"{marks.good} ", "good"),
            (f"{name} {said}", "good"),
            (f", {took}", "bold"),
            (f"  {urls}" if urls else "", "accent"),
        )
    ]
    details = [_way(event)] if event.how else []
    if event.stop_seconds is not None:
        details.append(f"the old container stopped in {seconds_text(event.stop_seconds)}")
    if event.patched:
        details.append(f"{some_of(event.patched)} put on the image")
    if event.behind:
        details.append(f"behind by {some_of(event.behind)}, of which an expensive build waits or runs")
    return [*lines, ((f"  {'; '.join(details)}", "dim"),)] if details else lines


def _deploy_failed(event: DeployFailed, before: View, marks: Symbols) -> list[Line]:
    serves = (
        "The previous version was put back and is running."
        if event.rolled_back
        else "Nothing is running now."
    )
    return [
        (
            (f"{marks.bad} ", "bad"),
            (escape_controls(event.message), "bad"),
            ("" if "exit code" in event.message else exit_words(event.exit_code), ""),
        ),
        *_new_tail(event.log_tail, before.logs, marks),
        ((f"  {serves}{'' if before.is_once else ' The next save tries again.'}", ""),),
    ]


def _exited(event: ContainerExited, before: View, marks: Symbols) -> list[Line]:
    name = escape_controls(event.container)
    return [
        ((f"{marks.bad} ", "bad"), (f"{name} has stopped", "bad"), (exit_words(event.exit_code), "")),
        *_new_tail(event.log_tail, before.logs, marks),
        (("  The next save starts it again.", ""),),
    ]


def _tail(lines: tuple[str, ...], marks: Symbols) -> list[Line]:
    return [((f"  {marks.bar} {clean_log(line)}", "log"),) for line in lines]


def _new_tail(tail: tuple[str, ...], shown: tuple[str, ...], marks: Symbols) -> list[Line]:
    """Leave out a tail that the log above has just shown."""
    if tail and shown[-len(tail) :] == tail:
        return []
    return _tail(tail, marks)


def _problem(event: Problem, marks: Symbols) -> list[Line]:
    first, *rest = sentences(event.message) or [""]
    source = [escape_controls(line) for line in event.rendered.expandtabs(8).splitlines()]
    if source and first and source[0].endswith(first):
        first = source.pop(0)  # the same with its place before it
    if event.severity == "note":
        lines: list[Line] = [((f"{marks.dot} ", "dim"), (first, ""))]
    else:
        lines = [((f"{marks.bad} ", "bad"), (first, "bad"))]
    lines += [((f"  {part}", ""),) for part in rest]
    lines += [((line, "source"),) for line in source]
    return [*lines, *_hint(event.hint, marks)]


def _hint(hint: str, marks: Symbols) -> list[Line]:
    return [((f"  {marks.arrow} {part}", "accent"),) for part in sentences(hint)]
