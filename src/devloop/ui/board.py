"""The lowest lines of the live view: how the project stands, the steps of a build, and the keys.

`board` gives what fits: it is one line on a tiny terminal, three when nothing is in flight, and as many as a
ladder of steps needs while a build runs, up to the height that it is given.
"""

from dataclasses import dataclass
from typing import Final, Literal

from devloop.plan.model import PlannedStep
from devloop.ui.plantext import step_cost
from devloop.ui.text import (
    Line,
    Span,
    Style,
    Symbols,
    clean_log,
    count,
    crop,
    escape_controls,
    instruction_text,
    line_width,
    pad,
    seconds_text,
    shorten,
    some_of,
    text_width,
)
from devloop.ui.view import RunningStep, View
from devloop.ui.words import HOLD_KEYS, KEYS

_BAR: Final = 12
_SHORT_BAR: Final = 5
_ROOMY: Final = 60
_TAIL: Final = 3
_SHORT: Final = frozenset("rsq?")
"""The keys that stay where there is no room for all of them."""


def board(view: View, now: float, width: int, height: int, *, marks: Symbols, has_keys: bool) -> list[Line]:
    """Draw how `view` stands at `now` in at most `height` lines of `width` columns.

    Nothing is drawn before the session has started and after its end.
    """
    if not view.project or view.is_over or height < 1:
        return []
    title = _title(view, now, width, marks)
    keys = [_keys(view, width)] if has_keys else []
    room = height - 1 - len(keys)
    if room < 1:
        return [title]
    waits = _waits(view, now, width, marks)
    last = _last(view, width, marks) if view.phase is None else _flight(view, now, width, room, marks)
    middle = [*waits, *last]
    return [crop(line, width) for line in (title, *middle[:room], *keys)]


# The title: what it is, how it stands, where it answers


def _title(view: View, now: float, width: int, marks: Symbols) -> Line:
    """Fit as much as there is room for: the state goes before the address, and that before the target."""
    brief = _state(view, now, marks, is_brief=True)
    name: Line = ((escape_controls(view.project), "accent"),)
    state = _state(view, now, marks)
    target: list[Line] = [((f"target {escape_controls(view.target)}", ""),)] if view.target else []
    url: list[Line] = [((escape_controls(view.urls[0]), "accent"),)] if view.urls and view.serving else []
    # Who waits for a build is glad to know that the version before it answers in the meantime.
    is_waiting = view.serving and view.phase in {"planned", "building"}
    serves: list[Line] = [(("the version before serves", "dim"),)] if is_waiting else []
    choices: list[list[Line]] = [
        [name, *target, state, *serves, *url],
        [name, state, *(serves or url)],
        [name, state],
        [name, brief],
        [brief],
    ]
    ruler: Span = (marks.rule * 2, "dim")
    for parts in choices:
        line: Line = (ruler, (" ", ""))
        for index, part in enumerate(parts):
            line = (*line, (f" {marks.dot} " if index else "", "dim"), *part)
        line = (*line, (" ", ""))
        if line_width(line) <= width:
            break
    return crop((*line, (marks.rule * max(width - line_width(line), 0), "dim")), width)


def _state(view: View, now: float, marks: Symbols, *, is_brief: bool = False) -> Line:
    if view.phase is not None:
        frame = marks.spinner[int(now * 8) % len(marks.spinner)]
        return ((f"{frame} ", "accent"), *_headline(view, now, is_brief=is_brief))
    state = _container(view)
    if not view.is_paused:
        return (state,)
    waits = f", {count(len(view.waiting), 'file')} waiting" if view.waiting else ""
    return ((f"paused{waits}", "warn"), (f" {marks.dot} ", "dim"), state)


def _container(view: View) -> Span:
    if not view.has_engine:
        return ("no engine: predictions only", "warn")
    if view.container == "none" and not view.runs_container:
        return ("no image yet", "")
    is_bad = view.is_behind
    if view.behind and view.container == "serving" and not is_bad:
        return (f"serving, behind by {some_of(view.behind, limit=1)}", "warn")
    words: dict[str, Span] = {
        "none": ("nothing is running", "warn" if is_bad else ""),
        "built": ("the last good image stands", "warn") if is_bad else ("the image is built", "good"),
        "serving": ("the last good version serves", "warn") if is_bad else ("serving", "good"),
        "silent": ("running, does not answer", "warn"),
        "stopped": ("stopped", "bad"),
    }
    return words[view.container]


def _headline(view: View, now: float, *, is_brief: bool) -> Line:
    elapsed = seconds_text(max(now - view.since, 0.0))
    about = ""
    plan = view.part if view.part is not None and view.phase == "planned" else view.plan
    if plan is not None and plan.seconds is not None and view.phase != "deploying" and not is_brief:
        about = f" of about {seconds_text(plan.seconds)}"
    if view.phase != "building":
        return ((view.doing, ""), (f" {elapsed}", "bold"), (about, "dim"))
    return ((f"building{_where(view)}", ""), (f" {elapsed}", "bold"), (about, "dim"))


def _where(view: View) -> str:
    if len(view.running) == 1:
        return f" step {escape_controls(view.running[0].label)},"
    return f" {len(view.running)} steps," if view.running else ""


# What waits, and the last lines of an idle session


def _waits(view: View, now: float, width: int, marks: Symbols) -> list[Line]:
    held = view.held
    if held is not None:
        price = "" if held.seconds is None else f" of about {seconds_text(held.seconds)}"
        if view.held_until is None:
            when = "waits for b"
        else:
            when = f"starts in {seconds_text(max(view.held_until - now, 0.0))}"
        text = f"{some_of(held.paths, limit=1) or 'an edit'}: a build{price} {when}"
    elif view.skipped:
        text = f"{some_of(view.skipped, limit=1)}: skipped until it is saved again"
    else:
        return []
    return [((f"{marks.warning} ", "warn"), (shorten(text, width - 2, ellipsis=marks.ellipsis), "warn"))]


def _last(view: View, width: int, marks: Symbols) -> list[Line]:
    text, style = view.last
    text = shorten(escape_controls(text), width - len("last: "), ellipsis=marks.ellipsis)
    owed = f"{count(len(view.debt), 'file')} synced since the image was built" if view.debt else ""
    if not text and not owed:
        return []
    line: Line = (("last: ", "dim"), (text, style)) if text else ()
    if not owed:
        return [line]
    together: Line = (*line, ("; " if text else "", "dim"), (owed, "dim"))
    return [together] if line_width(together) <= width else [line, ((owed, "dim"),)]


def _keys(view: View, width: int) -> Line:
    names = {key: name for key, name, _ in KEYS}
    if view.is_paused:
        names["p"] = "go on"
    if view.hides_logs:
        names["l"] = "show logs"
    extra = HOLD_KEYS if view.held is not None else HOLD_KEYS[:1] if view.skipped else ()
    names = {**{key: name for key, name, _ in extra}, **names}
    shown = list(names)
    if sum(len(name) + 4 for name in names.values()) > width:
        shown = [key for key in names if key in _SHORT or key in {one[0] for one in extra}]
    spans: list[Span] = []
    for key in shown:
        spans += [("  " if spans else "", ""), (key, "bold"), (f" {names[key]}", "dim")]
    return tuple(spans)


# What is in flight


@dataclass(frozen=True, slots=True)
class _Row:
    """A step of the ladder: how it stands now, and what it costs or has cost."""

    line: int | None
    text: str
    state: Literal["cached", "ran", "failed", "canceled", "running", "cached?", "will run", "may run"]
    cost: str = ""
    running: RunningStep | None = None
    expected: float | None = None


_LOOKS: Final[dict[str, tuple[str, Style]]] = {
    "cached": ("cached", "good"),
    "ran": ("good", "good"),
    "failed": ("bad", "bad"),
    "canceled": ("dot", "dim"),
    "running": ("runs", "warn"),
    "cached?": ("dot", "dim"),
    "will run": ("dot", "warn"),
    "may run": ("dot", "warn"),
}


def _flight(view: View, now: float, width: int, room: int, marks: Symbols) -> list[Line]:
    if view.phase == "deploying" or (
        view.phase == "planned" and view.doing != "rebuild" and not view.is_first
    ):
        return _last(view, width, marks)
    rows = _rows(view)
    tail = _tail(view, room - min(len(rows), room - 1), marks)
    return [*_ladder(rows, now, width, room - len(tail), marks), *tail]


def _rows(view: View) -> list[_Row]:
    """Merge the plan's steps with what the builder has told of them; a line names a step."""
    done = {(step.line or step.label): step for step in view.done}
    running = {(step.line or step.label): step for step in view.running}
    rows: list[_Row] = []
    for step in view.plan.steps if view.plan is not None else ():
        if (now_running := running.pop(step.line, None)) is not None:
            rows.append(_Row(step.line, _text(step), "running", step_cost(step), now_running, step.seconds))
        elif (ended := done.pop(step.line, None)) is not None:
            state = "ran" if ended.status == "run" else ended.status
            cost = "" if ended.seconds is None else seconds_text(ended.seconds)
            rows.append(_Row(step.line, _text(step), state, cost))
        else:
            rows.append(_Row(step.line, _text(step), _pending(step, view), step_cost(step)))
    rows += [_Row(one.line, one.text, "running", running=one) for one in running.values()]
    return rows


def _text(step: PlannedStep) -> str:
    return instruction_text(step.instruction, step.text)


def _pending(step: PlannedStep, view: View) -> Literal["cached", "ran", "cached?", "will run", "may run"]:
    """Say how a step stands of which the builder has not told: it is through once a later one has begun."""
    begun = {one.line for one in view.done} | {one.line for one in view.running}
    later = view.plan.steps if view.plan is not None else ()
    is_through = any(
        other.stage == step.stage and other.ordinal > step.ordinal and other.line in begun for other in later
    )
    if step.status == "cached":
        return "cached" if is_through else "cached?"
    if is_through:
        return "ran"
    return "will run" if step.status == "run" else "may run"


def _ladder(rows: list[_Row], now: float, width: int, room: int, marks: Symbols) -> list[Line]:
    """Draw the rows; of too many those around what runs, with a count of the others."""
    start, end = 0, len(rows)
    if len(rows) > room:
        focus = next(
            (n for n, row in enumerate(rows) if row.state == "running"),
            next((n for n, row in enumerate(rows) if row.state in {"will run", "may run"}), 0),
        )
        inner = max(room - 2, 1)
        start = min(max(focus - inner // 2, 0), len(rows) - inner)
        end = start + inner
    digits = max((len(str(row.line)) for row in rows if row.line is not None), default=1)
    costs = max((text_width(row.cost) for row in rows), default=0)
    bar = _BAR if width >= _ROOMY else _SHORT_BAR
    right = bar + 6
    longest = max((text_width(row.text) for row in rows), default=0)
    text = max(min(width - 4 - digits - 2 - 2 - costs - 2 - right, longest), 8)
    lines = [_row(row, now, (digits, text, costs, bar), marks) for row in rows[start:end]]
    if len(rows) <= room or room < 3:
        return lines[: max(room, 0)]
    above: Line = ((f"  {marks.ellipsis} {count(start, 'step')} above", "dim"),)
    below: Line = ((f"  {marks.ellipsis} {count(len(rows) - end, 'step')} below", "dim"),)
    return [*([above] if start else []), *lines, *([below] if end < len(rows) else [])]


def _row(row: _Row, now: float, widths: tuple[int, int, int, int], marks: Symbols) -> Line:
    digits, text, costs, bar = widths
    name, style = _LOOKS[row.state]
    quiet: Style = "dim" if row.state in {"cached", "cached?"} else ""
    number = "" if row.line is None else str(row.line)
    return (
        (f"  {getattr(marks, name)} ", style),
        (pad(number, digits, right=True), "dim"),
        ("  ", ""),
        (pad(shorten(row.text, text, ellipsis=marks.ellipsis), text), quiet),
        ("  ", ""),
        (pad(row.cost, costs, right=True), "dim" if quiet else "bold"),
        ("  ", ""),
        *_how(row, now, bar, style, marks),
    )


def _how(row: _Row, now: float, width: int, style: Style, marks: Symbols) -> Line:
    if row.running is None:
        return ((row.state.removesuffix("?"), style),)
    elapsed = max(now - row.running.since, 0.0)
    if not row.expected:
        return ((f"running {seconds_text(elapsed)}", style),)
    full = min(int(elapsed / row.expected * width), width)
    bar = marks.full * full + marks.empty * (width - full)
    return ((bar, style), (f" {seconds_text(elapsed)}", "bold"))


def _tail(view: View, room: int, marks: Symbols) -> list[Line]:
    """Show the last lines of the step that started last: it is the one that moves."""
    for step in reversed(view.running):
        if step.tail and room > 0:
            lines = step.tail[-min(room, _TAIL) :]
            return [((f"    {marks.bar} {clean_log(line)}", "dim"),) for line in lines]
    return []
