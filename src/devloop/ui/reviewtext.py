"""What `devloop why` and `devloop stats` found, as text and as JSON; pure.

The moments of builds come in as seconds and are written by the caller's function, because only the caller
knows the time zone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from devloop.cost.estimate import format_bytes
from devloop.cost.report import (
    ENOUGH_BUILDS,
    FileTotal,
    Stats,
    StepAccount,
    account_from_json,
    accounted,
    has_run,
    verdict,
)
from devloop.ui.plantext import NARROWEST, action_style, ladder, rounded
from devloop.ui.text import (
    Line,
    Style,
    Symbols,
    count,
    escape_controls,
    instruction_text,
    one_line,
    pad,
    paint,
    seconds_text,
    shorten,
    some_of,
    symbols,
    text_width,
    wrap,
    wrap_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from devloop.cost.history import BuildRecord, StepRecord
    from devloop.cost.report import FileTotal, Stats, StepAccount, Verdict
    from devloop.cost.weight import ContextWeight
    from devloop.plan.model import Plan

    When = Callable[[float], str]

_LABEL: Final = 11
_ROOMY: Final = 64
_MANY_PLACES: Final = 3
_FEW_COLUMNS: Final = 20


@dataclass(frozen=True, slots=True)
class Reader:
    """A step that reads a path: copied to `places` of its stage, or mounted; `unclear` says what hides them.

    `is_final` tells that the stage's files are those of the image.
    """

    stage: str
    line: int
    instruction: str
    text: str
    places: tuple[str, ...] = ()
    is_mount: bool = False
    is_final: bool = True
    unclear: str = ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The line of an ignore file that keeps a path out of the build."""

    path: str
    file: str
    line: int
    pattern: str


@dataclass(frozen=True, slots=True)
class PathStory:
    """What becomes of a path: who reads it, where it lands, what a save of it does and has cost so far."""

    path: str
    exists: bool
    ignored: tuple[Ignored, ...]
    readers: tuple[Reader, ...]
    plan: Plan
    cost: FileTotal | None


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last build in which a step ran, how many builds ago that was, and the first cause of it."""

    at: float
    builds_ago: int
    step: StepRecord
    account: StepAccount
    root: tuple[StepRecord, StepAccount] | None = None


@dataclass(frozen=True, slots=True)
class StepStory:
    """One step: what feeds it, what it costs, and when and why it ran last.

    `newest` is what it did in the newest build, None where that did not get to it.
    """

    label: str
    stage: str
    line: int
    instruction: str
    text: str
    feeds: str
    above: str
    durations: tuple[float, ...]
    estimate: str
    newest: tuple[StepRecord, StepAccount] | None = None
    last_run: LastRun | None = None


# A build ----------------------------------------------------------------------------------------------------

NO_BUILD: Final = "No build of this project is recorded yet: devloop watch or devloop build makes one."

_VERDICTS: Final[Mapping[Verdict | None, tuple[str, Style]]] = {
    None: ("", ""),
    "right": ("as predicted", "dim"),
    "missed": ("predicted cached", "bad"),
    "spared": ("predicted to run", "warn"),
    "unknown": ("not predictable", "dim"),
}


def why_lines(
    name: str, build: BuildRecord | None, when: When, width: int, *, ascii_only: bool, color: bool = False
) -> list[str]:
    """Render why each step of a build ran that did, and what had been predicted of it."""
    if build is None:
        return [NO_BUILD]
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    lines: list[Line] = [*_build_head(name, build, when, width), (), *_build_steps(build, width, marks)]
    return [paint(line, color=color) for line in lines]


def _build_head(name: str, build: BuildRecord, when: When, width: int) -> list[Line]:
    account = account_from_json(build.prediction)
    style: Style = "good" if build.outcome == "ok" else "bad" if build.outcome == "failed" else "warn"
    kind = "background build" if account is not None and account.is_background else "build"
    took = f" in {seconds_text(build.seconds)}"
    if build.predicted_seconds is not None:
        took += f" (expected {_about(build.predicted_seconds)})"
    head: Line = (
        (shorten(escape_controls(name), 24), "bold"),
        (f"  {kind} of {when(build.started_at)}: ", "dim"),
        (build.outcome, style),
        (took, ""),
    )
    lines = wrap_line(head, width)
    if account is not None and account.changes:
        more = account.change_count - len(account.changes)
        names = [*account.changes, *(["..."] * more)]
        lines += _fact("changed", some_of(names), width)
    return lines


def _about(seconds: float) -> str:
    text = seconds_text(seconds)
    return text if text.startswith("<") else f"~{text}"


def _build_steps(build: BuildRecord, width: int, marks: Symbols) -> list[Line]:
    pairs = accounted(build)
    told = [pair for pair in pairs if pair[0].status != "cached" or verdict(*pair) == "spared"]
    rest = len(pairs) - len(told)
    more = "more " if any(step.status == "cached" for step, _ in told) else ""
    lines = _step_rows(told, width, marks)
    if not told:
        said = "every step came from the cache" if build.outcome == "ok" else "no step ran"
        lines.append(((f"  {said}", ""),))
    elif rest:
        noun = count(rest, f"{more}step")
        lines.append(((f"  {marks.cached} ", "good"), (f"{noun} from the cache", "dim")))
    judged = [found for pair in pairs if (found := verdict(*pair)) is not None]
    if judged:
        lines += [(), *_judged(judged, width)]
    return lines


def _judged(judged: Sequence[str], width: int) -> list[Line]:
    sure = [one for one in judged if one != "unknown"]
    right = judged.count("right")
    text = f"{right} of {count(len(sure), 'step')} as predicted"
    if len(sure) < len(judged):
        text += f", {len(judged) - len(sure)} that no prediction can know"
    return _fact("truth", text, width)


def _step_rows(pairs: Sequence[tuple[StepRecord, StepAccount]], width: int, marks: Symbols) -> list[Line]:
    is_roomy = width >= _ROOMY
    costs = [_cost(step, account, is_roomy=is_roomy) for step, account in pairs]
    words = [_word(step, account, is_roomy=is_roomy) for step, account in pairs]
    cost_width = max(map(text_width, costs), default=0)
    number_width = max((len(str(step.line)) for step, _ in pairs), default=1)
    left = 4 + number_width + 2
    longest = max((text_width(instruction_text(step.instruction, step.text)) for step, _ in pairs), default=0)
    word_width = max((text_width(word) for word, _ in words), default=0)
    room = max(min(width - left - cost_width - word_width - 4, longest), 8)
    show_stages = len({step.stage for step, _ in pairs}) > 1
    lines: list[Line] = []
    stage = cause = ""
    for (step, account), cost, (word, style) in zip(pairs, costs, words, strict=True):
        if show_stages and step.stage != stage:
            lines.append((("  ", ""), (f"stage {escape_controls(step.stage)}", "bold")))
        stage = step.stage
        mark, mark_style = _mark(step, marks)
        text = shorten(instruction_text(step.instruction, step.text), room, ellipsis=marks.ellipsis)
        lines.append(
            (
                ("  ", ""),
                (f"{mark} ", mark_style),
                (pad(str(step.line), number_width, right=True), "dim"),
                ("  ", ""),
                (pad(text, room), ""),
                ("  ", ""),
                (pad(cost, cost_width), "bold"),
                ("  ", ""),
                (word, style),
            )
        )
        if account.cause != cause:
            lines += [
                ((" " * left + part, "dim"),) for part in wrap(escape_controls(account.cause), width - left)
            ]
        cause = account.cause
    return lines


def _cost(step: StepRecord, account: StepAccount, *, is_roomy: bool) -> str:
    if step.seconds is None or step.status == "cached":
        return ""
    took = seconds_text(step.seconds)
    if not is_roomy or account.seconds is None or took == seconds_text(account.seconds):
        return took
    return f"{took} ({_about(account.seconds)})"


def _word(step: StepRecord, account: StepAccount, *, is_roomy: bool) -> tuple[str, Style]:
    found = verdict(step, account)
    word, style = _VERDICTS[found]
    if not is_roomy:
        word = "surprise" if found in {"missed", "spared"} else ""
    if step.status in {"failed", "canceled"}:
        return f"{step.status}, {word}" if word else step.status, "bad" if step.status == "failed" else "warn"
    return word, style


def _mark(step: StepRecord, marks: Symbols) -> tuple[str, Style]:
    match step.status:
        case "cached":
            return marks.cached, "good"
        case "failed":
            return marks.bad, "bad"
        case _:
            return marks.runs, "warn"


def build_document(build: BuildRecord) -> dict[str, Any]:
    """Give one build with its account as JSON knows it."""
    account = account_from_json(build.prediction)
    return {
        "at": build.started_at,
        "outcome": build.outcome,
        "seconds": rounded(build.seconds),
        "expected_seconds": rounded(build.predicted_seconds),
        "background": account.is_background if account is not None else None,
        "changes": list(account.changes) if account is not None else [],
        "change_count": account.change_count if account is not None else 0,
        "steps": [_step_document(*pair) for pair in accounted(build)],
    }


def _step_document(step: StepRecord, account: StepAccount) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "ordinal": step.ordinal,
        "line": step.line,
        "instruction": step.instruction,
        "text": step.text,
        "status": step.status,
        "seconds": rounded(step.seconds),
        "predicted": account.predicted,
        "expected_seconds": rounded(account.seconds),
        "verdict": verdict(step, account),
        "because": None
        if account.rule is None
        else {"rule": account.rule, "text": account.cause, "path": account.path, "line": account.line},
    }


# A path -----------------------------------------------------------------------------------------------------


def path_lines(story: PathStory, width: int, *, ascii_only: bool, color: bool = False) -> list[str]:
    """Render what becomes of a path."""
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    kind = "" if story.exists else "  does not exist yet"
    lines: list[Line] = [((escape_controls(story.path), "bold"), (kind, "dim"))]
    for index, sentence in enumerate(story.plan.ignored[:_MANY_PLACES]):
        lines += _fact("not seen" if not index else "", sentence, width)
    if len(story.plan.ignored) > _MANY_PLACES:
        lines += _fact("", f"and {len(story.plan.ignored) - _MANY_PLACES} more", width)
    for index, reader in enumerate(story.readers):
        lines += _reader(reader, "read by" if not index else "", width, marks)
    if not story.readers and not story.plan.ignored:
        lines += _fact("read by", "no step of the target", width)
    if story.readers:
        plan = story.plan
        price = f", about {seconds_text(plan.seconds)}" if plan.seconds else ""
        lines += _fact(
            "a save", f"{plan.action}{price}: {plan.reason}", width, first=action_style(plan.action)
        )
        if plan.runs and plan.action == "rebuild":
            lines += [
                (),
                (("  what runs again, and what it costs", "dim"),),
                *ladder(plan.runs, width, marks),
            ]
    if story.cost is not None:
        cost = story.cost
        text = f"{seconds_text(cost.seconds)} in {count(cost.steps, 'step')} of {count(cost.builds, 'build')}"
        lines += [(), *_fact("has cost", text, width)]
    return [paint(line, color=color) for line in lines]


def _reader(reader: Reader, label: str, width: int, marks: Symbols) -> list[Line]:
    room = width - 2 - _LABEL
    where = f" (line {reader.line})"
    name = shorten(
        instruction_text(reader.instruction, reader.text), room - len(where), ellipsis=marks.ellipsis
    )
    lines: list[Line] = [(("  ", ""), (pad(label, _LABEL), "dim"), (name, "accent"), (where, "dim"))]
    if reader.is_mount:
        target = "mounts it while it runs"
    elif reader.unclear:
        target = reader.unclear
    else:
        more = len(reader.places) - _MANY_PLACES
        target = ", ".join(reader.places[:_MANY_PLACES]) + (f" and {more} more" if more > 0 else "")
        target = f"{marks.arrow} {target}" if target else ""
        if target and not reader.is_final:
            target += f" in stage {reader.stage}"
    lines += [
        ((" " * (2 + _LABEL) + "  ", ""), (part, "")) for part in wrap(escape_controls(target), room - 2)
    ]
    return lines


def _fact(label: str, text: str, width: int, *, first: Style = "") -> list[Line]:
    rows: list[Line] = []
    for index, part in enumerate(wrap(escape_controls(text), width - 2 - _LABEL)):
        head, blank, rest = part.partition(" ") if first and not index else ("", "", part)
        rows.append(
            (("  ", ""), (pad(label if not index else "", _LABEL), "dim"), (head, first), (blank + rest, ""))
        )
    return rows


def path_document(story: PathStory) -> dict[str, Any]:
    """Give what becomes of a path as JSON knows it."""
    plan = story.plan
    return {
        "path": story.path,
        "exists": story.exists,
        "ignored": [
            {"path": one.path, "file": one.file, "line": one.line, "pattern": one.pattern}
            for one in story.ignored
        ],
        "unread": list(plan.ignored),
        "readers": [
            {
                "stage": one.stage,
                "line": one.line,
                "instruction": one.instruction,
                "text": one.text,
                "how": "mount" if one.is_mount else "copy",
                "places": list(one.places),
                "in_image": one.is_final and not one.is_mount,
                "unclear": one.unclear or None,
            }
            for one in story.readers
        ],
        "save": {
            "action": plan.action,
            "reason": plan.reason,
            "seconds": rounded(plan.seconds),
            "runs": [
                {"stage": one.stage, "line": one.line, "instruction": one.instruction, "status": one.status}
                for one in plan.runs
            ],
        },
        "cost": None if story.cost is None else _file_document(story.cost),
    }


def _file_document(total: FileTotal) -> dict[str, Any]:
    return {
        "path": total.path,
        "seconds": rounded(total.seconds),
        "steps": total.steps,
        "builds": total.builds,
    }


# A step -----------------------------------------------------------------------------------------------------


def step_lines(
    stories: Sequence[StepStory], when: When, width: int, *, ascii_only: bool, color: bool = False
) -> list[str]:
    """Render what is known of each step."""
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    lines: list[Line] = []
    for story in stories:
        lines += [*([()] if lines else []), *_step(story, when, width, marks)]
    return [paint(line, color=color) for line in lines]


def _step(story: StepStory, when: When, width: int, marks: Symbols) -> list[Line]:
    where = f"  line {story.line}, [{escape_controls(story.label)}]"
    text = shorten(
        instruction_text(story.instruction, story.text), width - text_width(where), ellipsis=marks.ellipsis
    )
    lines: list[Line] = [((text, "bold"), (where, "dim"))]
    lines += _fact("takes", story.feeds or "no files", width)
    lines += _fact("stands on", story.above, width)
    lines += _fact("cost", _history(story), width)
    if story.newest is not None:
        step, account = story.newest
        word, _ = _VERDICTS[verdict(step, account)]
        status = {"run": "ran"}.get(step.status, step.status)
        lines += _fact("last build", f"{status}, {word}" if word else status, width)
    last = story.last_run
    if last is None:
        return [*lines, *_fact("last run", "it did not run here in this form yet", width)]
    took = f", {seconds_text(last.step.seconds)}" if last.step.seconds is not None else ""
    ago = "the last build" if not last.builds_ago else f"{count(last.builds_ago, 'build')} ago"
    lines += _fact("last run", f"{when(last.at)}, {ago}{took}", width)
    lines += _fact("because", last.account.cause or "no reason is recorded", width)
    if last.root is not None:
        step, account = last.root
        lines += _fact("", f"{step.instruction} (line {step.line}): {account.cause}", width)
    return lines


def _history(story: StepStory) -> str:
    runs = story.durations
    if not runs:
        return story.estimate or "nothing"
    text = f"{seconds_text(median(runs))}, {count(len(runs), 'run')}"
    if len(runs) > 1:
        text += f" from {seconds_text(min(runs))} to {seconds_text(max(runs))}"
    return text


def step_document(story: StepStory) -> dict[str, Any]:
    """Give what is known of a step as JSON knows it."""
    runs, last = story.durations, story.last_run
    return {
        "label": story.label,
        "stage": story.stage,
        "line": story.line,
        "instruction": story.instruction,
        "text": story.text,
        "takes": story.feeds,
        "stands_on": story.above,
        "cost": {
            "runs": len(runs),
            "median_seconds": rounded(median(runs)) if runs else None,
            "low_seconds": rounded(min(runs)) if runs else None,
            "high_seconds": rounded(max(runs)) if runs else None,
        },
        "last_build": None if story.newest is None else _step_document(*story.newest),
        "last_run": None
        if last is None
        else {
            "at": last.at,
            "builds_ago": last.builds_ago,
            **_step_document(last.step, last.account),
            "root": None if last.root is None else _step_document(*last.root),
        },
    }


def why_json(asked: str, found: object) -> str:
    """Write the contract `devloop.why/1`; `asked` is build, path or steps, and names the key that follows."""
    return json.dumps({"schema": "devloop.why/1", "asked": asked, asked: found}, indent=2)


# Figures ----------------------------------------------------------------------------------------------------


def stats_lines(
    name: str, stats: Stats, when: When, width: int, *, ascii_only: bool, color: bool = False
) -> list[str]:
    """Render the figures of a project; a section without anything in it is left out."""
    if not stats.builds and not stats.syncs.syncs:
        return [NO_BUILD]
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    since = f"  since {when(stats.since)}" if stats.since is not None else ""
    lines: list[Line] = [
        ((shorten(escape_controls(name), 40), "bold"), (since, "dim")),
        (),
        *_fact("builds", _builds(stats), width),
        *_fact("predicted", _quality(stats), width),
        *_fact("expected", _calibration(stats), width),
        *_fact("syncs", _syncs(stats), width),
        *_fact("warnings", _heeded(stats), width),
        *_context(stats, width),
    ]
    if stats.steps:
        lines += [(), (("What took the time, by step", "bold"),)]
        rows = [
            (
                seconds_text(one.seconds),
                count(one.runs, "run"),
                f"{instruction_text(one.instruction, one.text)}  (line {one.line})",
            )
            for one in stats.steps
        ]
        lines += _table(rows, width, marks)
    if stats.files:
        lines += [(), (("What took the time, by saved file", "bold"),)]
        rows = [
            (seconds_text(one.seconds), count(one.builds, "build"), escape_controls(one.path))
            for one in stats.files
        ]
        lines += _table(rows, width, marks)
    if stats.last:
        lines += [(), (("The last builds", "bold"),), *_last(stats.last, when, width)]
    return [paint(line, color=color) for line in lines]


def _builds(stats: Stats) -> str:
    parts = [
        f"{number} {word}"
        for number, word in ((stats.failed, "failed"), (stats.canceled, "canceled"))
        if number
    ]
    if stats.background:
        parts.append(f"{stats.background} in the background")
    extra = f" ({', '.join(parts)})" if parts else ""
    return f"{stats.builds}{extra}, {seconds_text(stats.seconds)} in all"


def _quality(stats: Stats) -> str:
    found = stats.quality
    if not found.steps:
        return "nothing to compare yet"
    text = f"{found.cached + found.ran} of {count(found.steps - found.unknown, 'step')} right"
    if found.missed:
        text += f"; {found.missed} predicted cached ran"
        if found.nobody_knew:
            text += f" ({found.nobody_knew} whose cache was pruned or whose base or files changed meanwhile)"
    if found.spared:
        text += f"; {found.spared} predicted to run were cached"
    if found.unknown:
        text += f"; {found.unknown} that no prediction can know"
    if stats.misses:
        text += "; devloop stats --misses lists what was contradicted"
    return text


def _calibration(stats: Stats) -> str:
    found = stats.calibration
    if found.median_error is None or found.median_ratio is None:
        return f"{found.builds} of the {ENOUGH_BUILDS} builds that a comparison of seconds needs"
    side = "high" if found.median_ratio > 1 else "low"
    return (
        f"half of {count(found.builds, 'estimate')} were off by at most {found.median_error:.0%},"
        f" the middle one {abs(found.median_ratio - 1):.0%} too {side}"
    )


def _syncs(stats: Stats) -> str:
    found = stats.syncs
    if not found.syncs:
        return "none"
    text = f"{found.syncs}, {seconds_text(found.seconds)} in all"
    priced = found.syncs - found.unpriced
    if priced:
        word = "saved" if found.saved_seconds >= 0 else "lost"
        text += f"; {word} about {seconds_text(abs(found.saved_seconds))} of waiting for rebuilds"
    if found.unpriced:
        text += f" ({found.unpriced} whose rebuild has no price yet)"
    return text


def _heeded(stats: Stats) -> str:
    found = stats.heeded
    if not found.edits:
        return "no expensive edit was taken back before its build"
    spared = f"saved about {seconds_text(found.saved_seconds)} of builds"
    return f"{count(found.edits, 'expensive edit')} taken back in time; {spared}"


def _context(stats: Stats, width: int) -> list[Line]:
    weight = stats.context
    if weight is None:
        return []
    text = f"{format_bytes(weight.bytes)} in {count(weight.files, 'file')} that steps read"
    if weight.files:
        text += f": {', '.join(f'{one.path} {format_bytes(one.bytes)}' for one in weight.largest)}"
    sent = stats.last[0] if stats.last else None
    if sent is not None and sent.context_bytes is not None:
        took = "" if sent.context_seconds is None else f" in {seconds_text(sent.context_seconds)}"
        text += f"; the last build sent {format_bytes(sent.context_bytes)}{took}"
    lines = _fact("context", text, width)
    if weight.needless:
        saved = f"{format_bytes(weight.needless_bytes)} in {count(weight.needless_files, 'file')}"
        text = f"{saved}: {stats.ignore_file} leaves them out with {', '.join(weight.lines)}"
        lines += _fact("needless", text, width)
    return lines


def _table(rows: Sequence[tuple[str, str, str]], width: int, marks: Symbols) -> list[Line]:
    widths = [max(text_width(row[column]) for row in rows) for column in range(2)]
    room = max(width - sum(widths) - 6, 8)
    return [
        (
            ("  ", ""),
            (pad(first, widths[0], right=True), "bold"),
            ("  ", ""),
            (pad(second, widths[1], right=True), "dim"),
            ("  ", ""),
            (shorten(text, room, ellipsis=marks.ellipsis), ""),
        )
        for first, second, text in rows
    ]


def _last(builds: Sequence[BuildRecord], when: When, width: int) -> list[Line]:
    lines: list[Line] = []
    for build in builds:
        style: Style = "" if build.outcome == "ok" else "bad" if build.outcome == "failed" else "warn"
        ran = sum(has_run(step) for step in build.steps)
        expected = "" if build.predicted_seconds is None else f" (expected {_about(build.predicted_seconds)})"
        line: Line = (
            (f"  {when(build.started_at)}  ", "dim"),
            (pad(build.outcome, 8), style),
            (
                f"  {seconds_text(build.seconds)}{expected}; {ran} of {count(len(build.steps), 'step')} ran",
                "",
            ),
        )
        lines += wrap_line(line, width, hang=4)
    return lines


def stats_json(name: str, stats: Stats) -> str:
    """Write the contract `devloop.stats/1`; figures that are not known are null."""
    found, syncs, calibration = stats.quality, stats.syncs, stats.calibration
    document = {
        "schema": "devloop.stats/1",
        "name": name,
        "since": stats.since,
        "builds": {
            "ok": stats.ok,
            "failed": stats.failed,
            "canceled": stats.canceled,
            "background": stats.background,
            "seconds": rounded(stats.seconds),
        },
        "predictions": {
            "steps": found.steps,
            "cached": found.cached,
            "run": found.ran,
            "predicted_cached_ran": found.missed,
            "of_these_changed_meanwhile": found.nobody_knew,
            "predicted_run_cached": found.spared,
            "unknown": found.unknown,
            "misses": stats.misses,
        },
        "calibration": {
            "builds": calibration.builds,
            "median_error": rounded(calibration.median_error),
            "median_ratio": rounded(calibration.median_ratio),
        },
        "syncs": {
            "count": syncs.syncs,
            "seconds": rounded(syncs.seconds),
            "saved_seconds": rounded(syncs.saved_seconds) if syncs.syncs > syncs.unpriced else None,
            "unpriced": syncs.unpriced,
        },
        "warnings": {
            "heeded": stats.heeded.edits,
            "saved_seconds": rounded(stats.heeded.saved_seconds) if stats.heeded.edits else None,
        },
        "context": None if stats.context is None else _context_document(stats.context, stats.ignore_file),
        "steps": [
            {
                "stage": one.stage,
                "line": one.line,
                "instruction": one.instruction,
                "text": one.text,
                "seconds": rounded(one.seconds),
                "runs": one.runs,
            }
            for one in stats.steps
        ],
        "files": [_file_document(one) for one in stats.files],
        "last": [build_document(one) for one in stats.last],
    }
    return json.dumps(document, indent=2)


def _context_document(weight: ContextWeight, ignore_file: str) -> dict[str, Any]:
    return {
        "bytes": weight.bytes,
        "files": weight.files,
        "largest": [{"path": one.path, "bytes": one.bytes, "files": one.files} for one in weight.largest],
        "needless": [
            {"path": one.path, "bytes": one.bytes, "files": one.files, "reason": one.reason}
            for one in weight.needless
        ],
        "ignore_file": ignore_file,
        "ignore_lines": list(weight.lines),
    }


@dataclass(frozen=True, slots=True)
class MissRow:
    """A prediction that the engine contradicted."""

    at: float
    line: int
    text: str
    predicted: str
    observed: str
    explanation: str


def misses_lines(
    misses: Iterable[MissRow], when: When, width: int, *, ascii_only: bool, color: bool = False
) -> list[str]:
    """List the predictions that the engine contradicted, newest first."""
    marks = symbols(ascii_only=ascii_only)
    width = max(width, NARROWEST)
    lines: list[Line] = []
    for miss in misses:
        head = f"{when(miss.at)}  line {miss.line}: "
        room = width - len(head)
        text = one_line(miss.text)
        if room >= _FEW_COLUMNS:
            lines.append(((head, "dim"), (shorten(text, room, ellipsis=marks.ellipsis), "")))
        else:
            lines += [((head, "dim"),), (("  ", ""), (shorten(text, width - 2, ellipsis=marks.ellipsis), ""))]
        sentence = f"predicted {miss.predicted}, observed {miss.observed}: {miss.explanation}"
        lines += [((f"    {part}", ""),) for part in wrap(escape_controls(sentence), width - 4)]
    if not lines:
        return ["No prediction was contradicted by the engine in this project."]
    return [paint(line, color=color) for line in lines]


def misses_json(misses: Iterable[MissRow]) -> str:
    """Write the contract `devloop.misses/1`."""
    found = [
        {
            "at": one.at,
            "line": one.line,
            "text": one.text,
            "predicted": one.predicted,
            "observed": one.observed,
            "explanation": one.explanation,
        }
        for one in misses
    ]
    return json.dumps({"schema": "devloop.misses/1", "misses": found}, indent=2)
