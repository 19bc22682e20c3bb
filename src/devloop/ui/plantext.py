"""Plans as text and as the contract `devloop.plan/1`; pure, and light enough for a start that is instant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from devloop.plan.model import ChangeKind, Plan, PlannedStep, Warned
from devloop.ui.text import (
    Line,
    Span,
    Style,
    Symbols,
    about_text,
    bytes_text,
    count,
    escape_controls,
    instruction_text,
    pad,
    paint,
    seconds_text,
    shorten,
    symbols,
    text_width,
    wrap,
)

NARROWEST: Final = 40
_LABEL: Final = 9
_ROOMY: Final = 60
_MANY_CHANGES: Final = 8
_MANY_UNREAD: Final = 4
_ROOM_FOR_TEXT: Final = 12


Size = int | Literal["elsewhere", "unknown"]
"""Bytes; or why there are none to tell."""


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One step in `devloop layers`: what feeds it and what it costs; `expensive` None is not known.

    `size` are the bytes that it adds to the image, where that was asked for: "elsewhere" says that the target
    only copies from the step's stage.
    """

    stage: str
    line: int
    instruction: str
    text: str
    feeds: str
    cost: str
    expensive: bool | None
    size: Size | None = None


def plan_lines(plan: Plan, width: int, *, ascii_only: bool, color: bool = False) -> list[str]:
    """Render a plan for a person: what changed, the step it reaches, what that costs and what is done.

    Every line fits `width` columns as long as that is 40 or more.
    """
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    lines: list[Line] = [
        (
            (escape_controls(plan.name), "bold"),
            (f"  {_whereabouts(plan, width - text_width(plan.name), marks)}", "dim"),
        ),
        (),
        *_facts(plan, width, marks),
        (),
        *ladder(plan.steps, width, marks),
    ]
    for warned in plan.warnings:
        lines += [(), *warning_block(warned, width, marks)]
    return [paint(line, color=color) for line in lines]


def _whereabouts(plan: Plan, width: int, marks: Symbols) -> str:
    where = escape_controls(f"{plan.dockerfile}, context {plan.context}")
    return shorten(where, width - 4, ellipsis=marks.ellipsis)


def _facts(plan: Plan, width: int, marks: Symbols) -> list[Line]:
    room = width - 4 - _LABEL
    lines: list[Line] = [
        _fact("changed" if not index else "", ((text, "bold"), (kind, "dim")))
        for index, (text, kind) in enumerate(_changes(plan, room, marks))
    ]
    if plan.earliest is not None:
        label = "first" if _is_new(plan) else "reaches"
        lines.append(_fact(label, reached(plan.earliest, room - text_width(marks.arrow) - 1, marks)))
    for index, text in enumerate(wrap(runs_sentence(plan), room)):
        lines.append(_fact("costs" if not index else "", ((text, ""),)))
    action = f"{plan.action}: {escape_controls(plan.reason)}" if plan.reason else plan.action
    for index, text in enumerate(wrap(action, room)):
        if index:
            lines.append(_fact("", ((text, ""),)))
            continue
        rest = text.removeprefix(plan.action)
        lines.append(_fact("action", ((plan.action, action_style(plan.action)), (rest, ""))))
    return lines


def _fact(label: str, spans: Line) -> Line:
    return (("  ", ""), (pad(label, _LABEL), "dim"), *spans)


def action_style(action: str) -> Style:
    """Doing nothing is good news, a rebuild costs something, the others are cheap."""
    styles: dict[str, Style] = {"none": "good", "rebuild": "warn"}
    return styles.get(action, "accent")


def _changes(plan: Plan, room: int, marks: Symbols) -> list[tuple[str, str]]:
    kinds: dict[ChangeKind, str] = {
        "added": " (added)",
        "modified": "",
        "removed": " (removed)",
        "metadata": " (mode changed)",
    }
    rows = [
        (
            shorten(escape_controls(change.path), room - len(kinds[change.kind]), ellipsis=marks.ellipsis),
            kinds[change.kind],
        )
        for change in plan.changes
    ]
    if len(rows) > _MANY_CHANGES + 1:
        rows[_MANY_CHANGES:] = [("", f"and {len(rows) - _MANY_CHANGES} more")]
    shown = [
        shorten(escape_controls(one), room, ellipsis=marks.ellipsis) for one in plan.ignored[:_MANY_UNREAD]
    ]
    rows += [("", one) for one in shown]
    if len(plan.ignored) > len(shown):
        rows.append(("", f"and {len(plan.ignored) - len(shown)} more that no step reads"))
    if not rows and not plan.runs:
        rows.append(("", "nothing"))
    return rows


def reached(step: PlannedStep, room: int, marks: Symbols, *, arrow: bool = True) -> Line:
    """`-> COPY app/ . (line 4)`, with the instruction shortened to fit."""
    where = f" (line {step.line})"
    text = shorten(instruction_text(step.instruction, step.text), room - len(where), ellipsis=marks.ellipsis)
    lead: tuple[Span, ...] = ((f"{marks.arrow} ", "dim"),) if arrow else ()
    return (*lead, (text, "accent"), (where, "dim"))


def runs_sentence(plan: Plan, *, measured: str = "measured on earlier builds here") -> str:
    """Say how many steps run again, how long the whole takes, and what that figure rests on."""
    sure = sum(step.status == "run" for step in plan.countable)
    maybe = sum(step.status == "unknown" for step in plan.countable)
    total = len(plan.countable)
    if plan.action in {"sync", "sync+restart"}:
        cost = about_text(plan.seconds) if plan.seconds is not None else "at once"
        steps = f"{sure + maybe} of {count(total, 'step')}" if sure + maybe else "no step"
        return f"{cost}, where a rebuild would run {steps}"
    if not sure and not maybe:
        steps = f"all {total} steps stay cached" if total > 1 else "every step stays cached"
        if plan.config_changed:
            steps += ", only the image's configuration changes"
    else:
        again = "" if _is_new(plan) else " again"
        steps = f"{sure} of {count(total, 'step')} {'runs' if sure == 1 else 'run'}{again}"
        if maybe:
            steps += f", {maybe} more may"
    return f"{steps}{cost_words(plan, measured)}"


def _is_new(plan: Plan) -> bool:
    """Tell whether what runs first was never built here: then nothing runs *again*."""
    cause = plan.earliest.cause if plan.earliest is not None else None
    return cause is not None and cause.rule == "never-built"


def cost_words(plan: Plan, measured: str) -> str:
    """Say how long the whole takes and what the figure rests on, as the end of a sentence."""
    if plan.seconds is None:
        return "; how long that takes is not known yet" if plan.runs else ""
    if not plan.runs and plan.seconds < 0.05:
        return ""
    sources = {step.seconds_from for step in plan.runs if step.seconds is not None}
    if not plan.runs or not sources:
        return f", {about_text(plan.seconds)} in all"
    if sources == {"measured"}:
        return f", {about_text(plan.seconds)} in all ({measured})"
    basis = "an estimate" if "measured" not in sources else "partly an estimate"
    return f", {about_text(plan.seconds)} in all ({basis})"


_STATUS: Final[dict[str, str]] = {"cached": "cached", "run": "runs", "unknown": "may run"}


def status_mark(status: str, marks: Symbols) -> tuple[str, Style]:
    """Choose the symbol and the style of a predicted status."""
    if status == "cached":
        return marks.cached, "good"
    return (marks.runs, "warn") if status == "run" else (marks.unknown, "warn")


def step_cost(step: PlannedStep) -> str:
    """`14s` where it was measured, `~14s` where it is an estimate, empty where nothing is known."""
    if step.seconds is None:
        return ""
    text = seconds_text(step.seconds)
    return text if step.seconds_from == "measured" or text.startswith("<") else f"~{text}"


def ladder(steps: Sequence[PlannedStep], width: int, marks: Symbols, *, indent: int = 2) -> list[Line]:
    """Draw the steps from top to bottom: prediction, line, instruction, cost; below a step why it runs.

    A reason that is the same as the one above it is not repeated. Stages get a heading when there are
    several.
    """
    costs = [step_cost(step) for step in steps]
    expensive = ", expensive" if width >= _ROOMY else " !"
    words = [_STATUS[step.status] + (expensive if _is_marked(step) else "") for step in steps]
    cost_width = max((text_width(cost) for cost in costs), default=0)
    line_width = max((len(str(step.line)) for step in steps), default=1)
    left = indent + 2 + line_width + 2
    right = cost_width + 2 + max(map(len, words), default=0)
    # A ladder of short instructions keeps its columns together on a wide terminal.
    longest = max((text_width(instruction_text(step.instruction, step.text)) for step in steps), default=0)
    room = max(min(width - left - right - 2, longest), 8)
    show_stages = len({step.stage for step in steps}) > 1
    lines: list[Line] = []
    stage = cause = ""
    for step, cost, word in zip(steps, costs, words, strict=True):
        if show_stages and step.stage != stage:
            lines.append(((" " * indent, ""), (f"stage {escape_controls(step.stage)}", "bold")))
        stage = step.stage
        mark, style = status_mark(step.status, marks)
        text = shorten(instruction_text(step.instruction, step.text), room, ellipsis=marks.ellipsis)
        lines.append(
            (
                (" " * indent, ""),
                (f"{mark} ", style),
                (pad(str(step.line), line_width, right=True), "dim"),
                ("  ", ""),
                (pad(text, room), "dim" if step.status == "cached" else ""),
                ("  ", ""),
                (pad(cost, cost_width, right=True), "dim" if step.status == "cached" else "bold"),
                ("  ", ""),
                (word, "dim" if step.status == "cached" else style),
            )
        )
        if step.cause is None or step.status == "cached":
            continue
        if step.cause.text != cause:
            lines += [
                ((" " * left + part, "dim"),) for part in wrap(escape_controls(step.cause.text), width - left)
            ]
        cause = step.cause.text
    return lines


def _is_marked(step: PlannedStep) -> bool:
    return step.expensive and step.status != "cached"


_HEADINGS: Final = {"heavy-context": "heavy context"}
"""By code, what a warning is about where it is no step that runs again."""


def warning_block(warned: Warned, width: int, marks: Symbols, *, indent: int = 2) -> list[Line]:
    """One warning: which expensive step and what it costs, why the edit reaches it, and the way out.

    One that repeats is a single line: the way out stands above.
    """
    lead = " " * indent
    where = f" (line {warned.line})"
    heading = _HEADINGS.get(warned.code, "expensive step")
    room = max(width - indent - text_width(f"{marks.warning} {heading}: {where}"), 8)
    if warned.repeats:
        return [_repeated(warned, width - indent, lead, marks)]
    text = shorten(instruction_text(warned.instruction, warned.text), room, ellipsis=marks.ellipsis)
    rows: list[Line] = [((f"{lead}{marks.warning} {heading}: ", "warn"), (text, "bold"), (where, "dim"))]
    labelled = [("costs", _warned_cost(warned)), ("why", warned.why)]
    if warned.manifest:
        labelled.append(("manifest", warned.manifest))
    labelled.append(("way out", warned.way_out))
    for label, sentence in labelled:
        for index, part in enumerate(wrap(escape_controls(sentence), width - indent - 2 - _LABEL)):
            style: Style = "warn" if label == "costs" else ""
            rows.append(((f"{lead}  {pad(label if not index else '', _LABEL)}", "dim"), (part, style)))
    return rows


def _repeated(warned: Warned, room: int, lead: str, marks: Symbols) -> Line:
    head, code = f"{marks.warning} again: ", f"  [{warned.code}]"
    cost = "" if warned.seconds is None else f", {_about_seconds(warned)}"
    where = f" (line {warned.line}){cost}"
    # On a narrow screen the instruction is worth more than the code that was said before.
    code = code if text_width(head + where + code) + _ROOM_FOR_TEXT <= room else ""
    left = max(room - text_width(head + where + code), 8)
    text = shorten(instruction_text(warned.instruction, warned.text), left, ellipsis=marks.ellipsis)
    return ((f"{lead}{head}", "warn"), (text, "bold"), (where, "dim"), (code, "dim"))


def _about_seconds(warned: Warned) -> str:
    return f"{'' if warned.seconds_from == 'measured' else 'about '}{seconds_text(warned.seconds or 0.0)}"


def _warned_cost(warned: Warned) -> str:
    code = f"  [{warned.code}]"
    if warned.seconds is None:
        return f"{warned.note or 'not measured yet'}{code}"
    basis = warned.note or (
        "measured on earlier builds here" if warned.seconds_from == "measured" else "an estimate"
    )
    return f"{_about_seconds(warned)} ({basis}){code}"


def layers_lines(rows: Sequence[LayerRow], width: int, *, ascii_only: bool, color: bool = False) -> list[str]:
    """Draw the table of `devloop layers`; the instruction and what feeds it share what the rest leaves.

    Sizes stand in a column of their own where they were asked for.
    """
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    has_sizes = any(row.size is not None for row in rows)
    heads = ("stage", "line", "step", "fed by", *(("size",) if has_sizes else ()), "cost", "")
    cells = [
        (
            shorten(escape_controls(row.stage), 14, ellipsis=marks.ellipsis),
            str(row.line),
            instruction_text(row.instruction, row.text),
            escape_controls(row.feeds),
            *((_size_words(row.size),) if has_sizes else ()),
            escape_controls(row.cost),
            {True: "expensive", False: "", None: "not known"}[row.expensive],
        )
        for row in rows
    ]
    widths = [max(text_width(row[column]) for row in (heads, *cells)) for column in range(len(heads))]
    free = max(width - sum(widths[:2] + widths[4:]) - 2 * (len(heads) - 1), 16)
    widths[2], widths[3] = _share(free, widths[2], widths[3])
    sizes: tuple[Style, ...] = ("",) if has_sizes else ()
    dim: Style = "dim"
    lines: list[Line] = [_row(heads, widths, [dim] * len(heads), marks)]
    for row, values in zip(rows, cells, strict=True):
        flag: Style = "warn" if row.expensive else "dim"
        styles: tuple[Style, ...] = ("dim", "dim", "", "accent", *sizes, flag, flag)
        lines.append(_row(values, widths, styles, marks))
    return [paint(line, color=color) for line in lines]


def _size_words(size: Size | None) -> str:
    if size is None or size == "unknown":
        return "?"
    return "not in it" if size == "elsewhere" else bytes_text(size)


def weights_lines(total: int, unknown: int, image: str, width: int) -> list[str]:
    """Say below the table how large the whole image is, and what of it no step accounts for."""
    text = f"{escape_controls(image)}: {bytes_text(total)} in all, as the engine unpacks it"
    if unknown:
        text += f"; {bytes_text(unknown)} belong to steps that have changed since it was built (?)"
    return ["", *wrap(text, max(width, NARROWEST))]


def _share(free: int, first: int, second: int) -> tuple[int, int]:
    if first + second <= free:
        return first, second
    second = min(second, max(free - first, free * 2 // 5))
    return free - second, second


def _row(values: Sequence[str], widths: Sequence[int], styles: Iterable[Style], marks: Symbols) -> Line:
    spans: list[Span] = []
    for column, (value, width, style) in enumerate(zip(values, widths, styles, strict=True)):
        text = shorten(value, width, ellipsis=marks.ellipsis)
        spans.append((pad(text, width, right=column == 1 or 4 <= column < len(values) - 1), style))
        spans.append(("  ", ""))
    return tuple(spans[:-1])


def plan_target(plan: Plan) -> dict[str, Any]:
    """Give a plan as one target of the contract `devloop.plan/1`."""
    return {
        "name": plan.name,
        "dockerfile": plan.dockerfile,
        "context": plan.context,
        "changes": [{"path": change.path, "kind": change.kind} for change in plan.changes],
        "steps": [
            {
                "stage": step.stage,
                "ordinal": step.ordinal,
                "line": step.line,
                "instruction": step.instruction,
                "text": step.text,
                "status": step.status,
                "cause": None if step.cause is None else step.cause.text,
                "kind": step.kind,
                "expensive": step.expensive,
                "seconds": rounded(step.seconds),
                "seconds_from": step.seconds_from,
            }
            for step in plan.steps
        ],
        "earliest": None
        if plan.earliest is None
        else {"line": plan.earliest.line, "instruction": plan.earliest.instruction},
        "seconds": rounded(plan.seconds),
        "action": plan.action,
        "reason": plan.reason,
    }


def rounded(seconds: float | None) -> float | None:
    """Milliseconds are all that a duration means here."""
    return None if seconds is None else round(seconds, 3)


def plan_json(plans: Iterable[Plan]) -> str:
    """Write plans as the contract `devloop.plan/1`: these keys and no others, ASCII only."""
    import json

    document = {"schema": "devloop.plan/1", "targets": [plan_target(plan) for plan in plans]}
    return json.dumps(document, indent=2)
