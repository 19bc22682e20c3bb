"""What `devloop replay` found, as text and as JSON; pure.

Days are written by the caller's function, because only the caller knows the time zone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final

from devloop.doctor.replay import FileTotal, Replay, StepName, StepTotal, buckets, file_totals, step_totals
from devloop.ui.plantext import NARROWEST
from devloop.ui.text import (
    Line,
    Span,
    Style,
    Symbols,
    count,
    escape_controls,
    instruction_text,
    line_width,
    pad,
    paint,
    seconds_text,
    shorten,
    symbols,
    text_width,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Day = Callable[[int], str]

_LABEL: Final = 11
_SPANS: Final = 24
_BARS: Final = (14, 8)
_WIDEST: Final = 120
_MANY_FILES: Final = 8
_MANY_CAUSES: Final = 3
_TELLING: Final = 0.1
"""A step with less than this share of the seconds gets no line about the files behind it."""
_SEEN: Final = 0.25
_ROOMY: Final = 44
_LEVELS: Final = ("▁▂▃▄▅▆▇█", "_.-:=+*#")


@dataclass(frozen=True, slots=True)
class Side:
    """One Dockerfile with what the history would have cost with it."""

    dockerfile: str
    replay: Replay


@dataclass(frozen=True, slots=True)
class Story:
    """A replay with all that was left out of it; `new` is the other Dockerfile that is compared.

    `is_complete` is False where it was broken off, and the older commits are missing. `is_fixed` tells that
    every commit went through today's Dockerfile, and not through that of its own tree.
    """

    name: str
    now: Side
    new: Side | None = None
    merges: int = 0
    by_bots: int = 0
    is_shallow: bool = False
    is_complete: bool = True
    is_fixed: bool = False


def replay_lines(story: Story, day: Day, width: int, *, ascii_only: bool, color: bool = False) -> list[str]:
    """Render a replay: what it costs, when, which steps and which files."""
    marks = symbols(ascii_only=ascii_only)
    width = min(max(width, NARROWEST), _WIDEST)
    lines = [*_head(story, day, width), *_costs(story, width)]
    if story.now.replay.commits:
        lines += _chart(story, day, width, ascii_only=ascii_only)
    lines += _left_out(story, width)
    if not story.now.replay.commits:
        return [paint(line, color=color) for line in lines]
    if story.new is None:
        steps = step_totals(story.now.replay)
        lines += [(), *_steps(steps, width, marks, story.now.replay.seconds)]
    else:
        lines += [(), *_compared(story.now, story.new, width, marks)]
    lines += _files(file_totals(story.now.replay), width, marks, story.new)
    return [paint(line, color=color) for line in lines]


def _head(story: Story, day: Day, width: int) -> list[Line]:
    replay = story.now.replay
    name = shorten(escape_controls(story.name), 24)
    if replay.oldest_at is None or replay.newest_at is None:
        return [((name, "bold"), ("  replay: no commit that says anything", "dim"))]
    first, last = day(replay.oldest_at), day(replay.newest_at)
    span = first if first == last else f"{first} to {last}"
    text = f"replay of {_commits(replay.commits)}, {span}"
    if not story.is_complete:
        text = f"broken off after the newest {_commits(replay.commits)}, {span}"
    lines = wrap(text, max(width - text_width(name) - 2, 30))
    return [
        ((name, "bold"), (f"  {lines[0]}", "dim" if story.is_complete else "warn")),
        *((("  ", ""), (line, "dim")) for line in lines[1:]),
    ]


def _commits(number: int) -> str:
    return f"{number:,} commit{'s' if number != 1 else ''}"


def _fact(label: str, text: str, width: int) -> list[Line]:
    lines = wrap(text, width - 2 - _LABEL)
    return [
        (("  ", ""), (pad(label if not index else "", _LABEL), "dim"), (line, ""))
        for index, line in enumerate(lines)
    ]


def _costs(story: Story, width: int) -> list[Line]:
    replay = story.now.replay
    if not replay.commits:
        return []
    quiet = replay.commits - len(replay.builds)
    lines = _fact("now" if story.new is not None else "costs", _sum_of(replay), width)
    if story.new is not None:
        lines[:0] = _fact(
            "compared", escape_controls(f"{story.now.dockerfile} with {story.new.dockerfile}"), width
        )
        lines += _fact("new", _sum_of(story.new.replay), width)
        saved = replay.seconds - story.new.replay.seconds
        weekly = replay.seconds_a_week - story.new.replay.seconds_a_week
        if abs(saved) < 0.05:
            lines += _fact("difference", "none", width)
        else:
            word = "saves" if saved > 0 else "costs"
            share = f", {abs(saved) / replay.seconds:.0%}" if replay.seconds else ""
            week = f", {about(abs(weekly))} a week" if replay.weeks > 1 else ""
            lines += _fact(word, f"{about(abs(saved))}{week}{share}", width)
    if quiet and story.new is None:
        lines += _fact("", _quiet(quiet, replay.commits), width)
    unpriced = [step for step in step_totals(replay) if step.price is None and step.runs]
    if unpriced:
        runs = sum(step.runs for step in unpriced)
        steps = count(len(unpriced), "step")
        text = f"{steps} whose price only a build can tell, {runs:,} runs"
        lines += _fact("not in it", text, width)
    return lines


def _quiet(quiet: int, commits: int) -> str:
    if commits == 1:
        return "the commit runs nothing"
    if quiet == commits:
        return f"none of {_commits(commits)} runs anything"
    return f"{quiet:,} of {_commits(commits)} run{'s' if quiet == 1 else ''} nothing"


def _sum_of(replay: Replay) -> str:
    builds = f"{about(replay.seconds)} of builds"
    if replay.weeks <= 1:
        return f"{builds} in one week"
    return f"{builds}, {about(replay.seconds_a_week)} a week over {replay.weeks:,} weeks with commits"


def about(seconds: float) -> str:
    """Write seconds that are an estimate, or made of some."""
    text = seconds_text(seconds) if seconds else "0s"
    return text if text.startswith("<") or not seconds else f"~{text}"


def _chart(story: Story, day: Day, width: int, *, ascii_only: bool) -> list[Line]:
    replay = story.now.replay
    if replay.oldest_at is None or replay.newest_at is None or not replay.seconds:
        return []
    spans = min(_SPANS, width - 2 - _LABEL - 24)
    found = buckets(replay, spans)
    other = buckets(story.new.replay, spans) if story.new is not None else ()
    most = max((*found, *other))
    lines: list[Line] = []
    for label, values in (("over time", found), ("with new", other)):
        if not values:
            continue
        text = "".join(_level(value, most, ascii_only=ascii_only) for value in values)
        most_here = max(values)
        at = values.index(most_here)
        start = day(replay.oldest_at + (replay.newest_at - replay.oldest_at) * at // spans)
        since = f" from {start} on" if start != day(replay.newest_at) else ""
        note = f"  most {about(most_here)}{since}" if most_here else ""
        line: Line = (("  ", ""), (pad(label, _LABEL), "dim"), (text, "accent"), (note, "dim"))
        lines.append(line if line_width(line) <= width else line[:-1])
    return lines


def _level(value: float, most: float, *, ascii_only: bool) -> str:
    """Return a mark as high as the value; a blank for nothing."""
    levels = _LEVELS[ascii_only]
    if value <= 0 or most <= 0:
        return " "
    return levels[min(int(value / most * len(levels)), len(levels) - 1)]


def _left_out(story: Story, width: int) -> list[Line]:
    parts = []
    if story.by_bots:
        parts.append(f"{_commits(story.by_bots)} of bots")
    if story.merges:
        parts.append(f"{story.merges:,} merge{'s' if story.merges != 1 else ''}")
    unreadable = story.now.replay.unreadable
    if unreadable:
        parts.append(f"{_commits(unreadable)} where the Dockerfile begins or cannot be read")
    lines = _fact("left out", ", ".join(parts), width) if parts else []
    if story.is_fixed and story.new is None:
        lines += _fact(
            "as it is", "HEAD has no such Dockerfile: every commit meets the one that is here", width
        )
    if story.is_shallow:
        lines += _fact("shallow", "older commits were left out of this clone: git fetch --unshallow", width)
    return lines


# Tables -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below titles. The column `long` stands left and gives way; the others stand right."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Span, ...], ...]
    long: int = 0

    def room(self, width: int) -> int:
        """Return how wide the long column is on a line of this width."""
        others = [size for at, size in enumerate(self.sizes()) if at != self.long]
        return max(min(width - 2 - sum(others) - 2 * len(others), self.sizes()[self.long]), 8)

    def sizes(self) -> tuple[int, ...]:
        """Return the width that each column needs."""
        return tuple(
            max(text_width(title), *(text_width(row[at][0]) for row in self.rows), 0)
            for at, title in enumerate(self.titles)
        )

    def head(self, width: int) -> Line:
        """Return the line of the titles."""
        return self._line(tuple((title, "dim") for title in self.titles), width, "...")

    def lines(self, width: int, marks: Symbols) -> list[Line]:
        """Return a line for each row."""
        return [self._line(row, width, marks.ellipsis) for row in self.rows]

    def _line(self, row: tuple[Span, ...], width: int, ellipsis: str) -> Line:
        room = self.room(width)
        spans: list[Span] = [("  ", "")]
        for at, ((text, style), size) in enumerate(zip(row, self.sizes(), strict=True)):
            spans.append(("  " if at else "", ""))
            if at == self.long:
                spans.append((pad(shorten(text, room, ellipsis=ellipsis), room), style))
            else:
                spans.append((pad(text, size, right=True), style))
        return tuple(spans)


# Steps ------------------------------------------------------------------------------------------------------


def _steps(steps: Sequence[StepTotal], width: int, marks: Symbols, whole: float) -> list[Line]:
    standing = [step for step in steps if step.line is not None]
    table = Table(("line", "step", "runs", "each", "total"), tuple(_step_row(step) for step in standing), 1)
    bar_width = next(
        (one for one in _BARS if table.room(width - 2 - one) >= min(_ROOMY, table.sizes()[1])), 0
    )
    width_of_table = width - 2 - bar_width if bar_width else width
    indent = table.sizes()[0] + 6
    top = max((step.seconds for step in standing), default=0.0)
    has_stages = len({step.name.stage for step in standing}) > 1
    lines: list[Line] = [table.head(width_of_table)]
    stage = told = ""
    for step, line in zip(standing, table.lines(width_of_table, marks), strict=True):
        if has_stages and step.name.stage != stage:
            stage = step.name.stage
            lines.append(((f"  stage {escape_controls(stage)}", "bold"),))
        bar = _bar(step.seconds / top * bar_width, marks) if top else ""
        lines.append((*line, (f"  {bar}" if bar else "", "warn")))
        because = _because(step, width - indent, marks)
        if step.seconds > whole * _TELLING and because != told:
            told = because
            lines.append(((" " * indent + because, "dim"),))
    if any(step.perhaps for step in standing):
        lines.append(_PERHAPS)
    gone = [step for step in steps if step.line is None]
    if gone:
        runs, seconds = sum(step.runs for step in gone), sum(step.seconds for step in gone)
        which = f"{count(len(gone), 'step')} of older Dockerfiles"
        lines.append(((f"  and {which}: {runs:,} runs, {about(seconds)}", "dim"),))
    return lines


_PERHAPS: Final[Line] = (("  * some of them only if what another stage makes has changed", "dim"),)


def _step_row(step: StepTotal) -> tuple[Span, ...]:
    style: Style = "" if step.runs else "dim"
    return (
        (str(step.line), "dim"),
        (instruction_text(step.name.keyword, step.name.text), style),
        (_runs(step), style),
        (_price(step), "dim"),
        (_total(step), "bold" if step.seconds else "dim"),
    )


def _runs(step: StepTotal) -> str:
    return f"{step.runs:,}{'*' if step.perhaps else ''}"


def _price(step: StepTotal) -> str:
    if step.price is None:
        return "?"
    return seconds_text(step.price) if step.is_measured else about(step.price)


def _total(step: StepTotal) -> str:
    if not step.runs:
        return "-"
    if step.price is None:
        return "?"
    return seconds_text(step.seconds) if step.is_measured else about(step.seconds)


def _bar(length: float, marks: Symbols) -> str:
    return marks.full * max(round(length), 1) if length > _SEEN else ""


def _because(step: StepTotal, width: int, marks: Symbols) -> str:
    """Name as many of the files behind a step as fit a line."""
    text = ""
    for names in range(min(len(step.files), _MANY_CAUSES), 0, -1):
        named = [f"{escape_controls(path)} {number:,}" for path, number in step.files[:names]]
        more = len(step.files) - names
        rest = f" and {more:,} more file{'' if more == 1 else 's'}" if more else ""
        text = f"for {', '.join(named)}{rest}"
        if text_width(text) <= width:
            break
    return shorten(text, width, ellipsis=marks.ellipsis)


# Two Dockerfiles --------------------------------------------------------------------------------------------


def _compared(now: Side, new: Side, width: int, marks: Symbols) -> list[Line]:
    """Set the steps of two Dockerfiles side by side; a step that only one of them has stands alone."""
    old = {step.name: step for step in step_totals(now.replay) if step.line is not None}
    other = {step.name: step for step in step_totals(new.replay) if step.line is not None}
    table = Table(
        ("", "step", "now runs", "total", "new runs", "total"),
        tuple(_pair_row(name, old.get(name), other.get(name)) for name in _merged(list(old), list(other))),
        1,
    )
    lines: list[Line] = [table.head(width), *table.lines(width, marks)]
    if any(step.perhaps for step in (*old.values(), *other.values())):
        lines.append(_PERHAPS)
    return lines


def _pair_row(name: StepName, old: StepTotal | None, new: StepTotal | None) -> tuple[Span, ...]:
    before = 0.0 if old is None else old.seconds
    after = 0.0 if new is None else new.seconds
    style: Style = "good" if after < before - 0.05 else "bad" if after > before + 0.05 else ""
    mark: Span = ("-", "bad") if new is None else ("+", "good") if old is None else ("", "")
    return (
        mark,
        (instruction_text(name.keyword, name.text), ""),
        ("" if old is None else _runs(old), ""),
        ("" if old is None else _total(old), ""),
        ("" if new is None else _runs(new), style),
        ("" if new is None else _total(new), style),
    )


def _merged(old: list[StepName], new: list[StepName]) -> list[StepName]:
    """Put two orders of steps into one, each step once; what both have stands where the new one has it."""
    kept = set(new)
    found: list[StepName] = []
    for _, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        found += [name for name in old[first:last] if name not in kept]
        found += new[start:end]
    return found


# Files ------------------------------------------------------------------------------------------------------


def _files(files: Sequence[FileTotal], width: int, marks: Symbols, new: Side | None) -> list[Line]:
    dear = [file for file in files if file.seconds >= 0.05]
    if not dear:
        return []
    titles = ("a save of", "commits", "each", "total")
    rows: list[tuple[Span, ...]] = [
        (
            (_file_name(file), ""),
            (f"{file.commits:,}", ""),
            (about(file.seconds / file.commits), ""),
            (about(file.seconds), "bold" if new is None else ""),
        )
        for file in dear[:_MANY_FILES]
    ]
    if new is None:
        table = Table(titles, tuple(rows))
    else:
        others = {(one.path, one.kind): one.seconds for one in file_totals(new.replay)}
        seconds = [others.get((file.path, file.kind), 0.0) for file in dear[:_MANY_FILES]]
        cells: list[Span] = [
            (about(after), "good" if after < file.seconds - 0.05 else "")
            for after, file in zip(seconds, dear, strict=False)
        ]
        table = Table(
            (*titles, "new total"), tuple((*row, cell) for row, cell in zip(rows, cells, strict=True))
        )
    lines: list[Line] = [(), table.head(width), *table.lines(width, marks)]
    rest = dear[_MANY_FILES:]
    if rest:
        text = f"and {len(rest):,} more file{'' if len(rest) == 1 else 's'}"
        lines.append(((f"  {text}", "dim"),))
    return lines


def _file_name(file: FileTotal) -> str:
    return escape_controls(file.path) + ("" if file.kind == "path" else " (its own text)")


# JSON -------------------------------------------------------------------------------------------------------


def replay_json(story: Story, day: Day) -> str:
    """Write a replay as the contract `devloop.replay/1`: these keys and no others, ASCII only."""
    replay = story.now.replay
    document = {
        "schema": "devloop.replay/1",
        "name": story.name,
        "complete": story.is_complete,
        "shallow": story.is_shallow,
        "fixed": story.is_fixed,
        "commits": replay.commits,
        "weeks": replay.weeks,
        "first": None if replay.oldest_at is None else day(replay.oldest_at),
        "last": None if replay.newest_at is None else day(replay.newest_at),
        "left_out": {"bots": story.by_bots, "merges": story.merges, "unreadable": replay.unreadable},
        "now": _side_document(story.now),
        "new": None if story.new is None else _side_document(story.new),
    }
    return json.dumps(document, indent=2)


def _side_document(side: Side) -> dict[str, Any]:
    replay = side.replay
    return {
        "dockerfile": side.dockerfile,
        "seconds": round(replay.seconds, 3),
        "seconds_a_week": round(replay.seconds_a_week, 3),
        "builds": len(replay.builds),
        "over_time": [round(seconds, 3) for seconds in buckets(replay, _SPANS)],
        "steps": [_step_document(step) for step in step_totals(replay)],
        "files": [
            {
                "path": file.path,
                "cause": file.kind,
                "commits": file.commits,
                "seconds": round(file.seconds, 3),
            }
            for file in file_totals(replay)
        ],
    }


def _step_document(step: StepTotal) -> dict[str, Any]:
    return {
        "stage": step.name.stage,
        "line": step.line,
        "instruction": step.name.keyword,
        "text": step.name.text,
        "price": None if step.price is None else round(step.price, 3),
        "price_from": None if step.price is None else "measured" if step.is_measured else "estimate",
        "runs": step.runs,
        "perhaps": step.perhaps,
        "seconds": round(step.seconds, 3),
        "files": [{"path": path, "runs": runs} for path, runs in step.files[:_MANY_FILES]],
    }
