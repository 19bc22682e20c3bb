"""What `devloop ci` found, as text, as Markdown for a pull request, and as JSON; pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from devloop.ui.plantext import NARROWEST
from devloop.ui.replaytext import Table, about
from devloop.ui.text import (
    Line,
    Span,
    Style,
    bytes_text,
    count,
    escape_controls,
    instruction_text,
    one_line,
    pad,
    paint,
    seconds_text,
    symbols,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.doctor.branch import Branch, ChangedStep, Edit, Weight
    from devloop.doctor.replay import StepName

_LABEL: Final = 11
_WIDEST: Final = 120
_ROOMY: Final = 72
_MANY: Final = 8
_BESIDES: Final = "runs besides"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A branch with the names that a reader knows: of the project, the base and its commit.

    `limit` is how much dearer an edit may become, where that was asked for; `is_shallow` tells that the
    history may be longer than what is known here.
    """

    name: str
    base: str
    commit: str
    branch: Branch
    limit: float | None = None
    is_shallow: bool = False

    @property
    def too_dear(self) -> tuple[Edit, ...]:
        """The edits that became dearer by more than the limit."""
        if self.limit is None:
            return ()
        return tuple(edit for edit in self.branch.edits if edit.growth > self.limit)


_VERDICTS: Final = {
    "dearer": "this branch makes the loop dearer",
    "cheaper": "this branch makes the loop cheaper",
    "alike": "this branch leaves the loop as it is",
    "new": "this branch brings the Dockerfile",
}
_STYLES: Final[dict[str, Style]] = {"dearer": "bad", "cheaper": "good", "alike": "good", "new": ""}


def branch_lines(found: Verdict, width: int, *, ascii_only: bool, color: bool = False) -> list[str]:
    """Render for a terminal what a branch does to the loop."""
    marks = symbols(ascii_only=ascii_only)
    width = min(max(width, NARROWEST), _WIDEST)
    branch = found.branch
    lines: list[Line] = [
        (
            (escape_controls(found.name), "bold"),
            ("  ", ""),
            (_VERDICTS[branch.verdict], _STYLES[branch.verdict]),
        )
    ]
    for label, text in _facts(found):
        for index, line in enumerate(wrap(text, width - 2 - _LABEL)):
            lines.append((("  ", ""), (pad("" if index else label, _LABEL), "dim"), (line, "")))
    for titles, rows, long, more in _tables(found):
        table = Table(titles, tuple(rows), long)
        if width < _ROOMY and titles[-1] == _BESIDES:
            table = Table(titles[:-1], tuple(row[:-1] for row in rows), long)
        lines += [(), table.head(width), *table.lines(width, marks)]
        if more:
            lines.append(((f"  {more}", "dim"),))
    return [paint(line, color=color) for line in lines]


def _facts(found: Verdict) -> list[tuple[str, str]]:
    branch = found.branch
    facts = [("base", f"{escape_controls(found.base)} at {found.commit[:10]}")]
    commits = f"{branch.after.commits:,} recent commit{'' if branch.after.commits == 1 else 's'}"
    after = about(branch.after.seconds_a_week)
    if branch.before is None:
        facts.append(("a week", f"{after} of builds, by {commits}"))
    else:
        before = about(branch.before.seconds_a_week)
        facts.append(("a week", f"{before} of builds before, {after} now, by {commits}"))
    if branch.once:
        facts.append(("once", f"the first build of it takes {about(branch.once)}"))
    facts.append(("context", _context(branch)))
    facts.append(("untracked", "what git does not know is not counted, and a build here takes it too"))
    if found.is_shallow:
        facts.append(("shallow", "older commits were left out of this clone: the edits may not be typical"))
    if found.too_dear:
        worst = found.too_dear[0]
        facts.append(
            (
                "too dear",
                (
                    f"{count(len(found.too_dear), 'edit')} by more than {seconds_text(found.limit or 0.0)}:"
                    f" {escape_controls(worst.path)} by {about(worst.growth)}"
                ),
            )
        )
    return facts


def _context(branch: Branch) -> str:
    growth = branch.bytes_after - branch.bytes_before
    whole = f"{bytes_text(branch.bytes_after)} of tracked files reach a step"
    if branch.before is None:
        return whole
    if not growth:
        return f"{whole}, as before"
    return f"{whole}, {bytes_text(abs(growth))} {'more' if growth > 0 else 'less'} than before"


def _tables(found: Verdict) -> list[tuple[tuple[str, ...], list[tuple[Span, ...]], int, str]]:
    branch = found.branch
    tables: list[tuple[tuple[str, ...], list[tuple[Span, ...]], int, str]] = []
    if branch.steps:
        rows = [_step_row(step) for step in branch.steps]
        tables.append((("line", "new and changed expensive steps", "", "each"), rows, 1, ""))
    for title, edits in (("dearer: a save of", branch.dearer), ("cheaper: a save of", branch.cheaper)):
        if edits:
            rows = [_edit_row(edit) for edit in edits[:_MANY]]
            more = _more(edits, "file")
            tables.append(((title, "commits", "before", "now", _BESIDES), rows, 0, more))
    grown = _grown(branch)
    if grown:
        rows = [_weight_row(weight) for weight in grown[:_MANY]]
        tables.append((("context grew by", "before", "now"), rows, 0, _more(grown, "file")))
    return tables


def _more(found: Sequence[object], noun: str) -> str:
    return f"and {count(len(found) - _MANY, f'more {noun}')}" if len(found) > _MANY else ""


def _grown(branch: Branch) -> list[Weight]:
    """Return what grew, where the Dockerfile is not new: then everything would have."""
    return [] if branch.before is None else [weight for weight in branch.weights if weight.growth > 0]


def _step_row(step: ChangedStep) -> tuple[Span, ...]:
    return (
        (str(step.line), "dim"),
        (_step_text(step.name), ""),
        ("new" if step.is_new else "runs once more", "warn" if step.is_new else "dim"),
        (_price(step), "bold"),
    )


def _price(step: ChangedStep) -> str:
    if step.price is None:
        return "?"
    return seconds_text(step.price) if step.is_measured else about(step.price)


def _step_text(name: StepName) -> str:
    return instruction_text(name.keyword, name.text)


def _edit_row(edit: Edit) -> tuple[Span, ...]:
    style: Style = "bad" if edit.growth > 0 or edit.more else "good"
    return (
        (escape_controls(edit.path), ""),
        (f"{edit.commits:,}", ""),
        (about(edit.before), ""),
        (about(edit.after), style),
        (_besides(edit), "dim"),
    )


def _besides(edit: Edit) -> str:
    """Name the first step that an edit runs now and did not before."""
    if not edit.more:
        return ""
    text = one_line(_step_text(edit.more[0]))
    short = text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
    return short if len(edit.more) == 1 else f"{short} +{len(edit.more) - 1}"


_SHORT: Final = 28


def _weight_row(weight: Weight) -> tuple[Span, ...]:
    return (
        (escape_controls(weight.path), ""),
        (bytes_text(weight.before), ""),
        (bytes_text(weight.after), "bold"),
    )


# Markdown ---------------------------------------------------------------------------------------------------


def branch_markdown(found: Verdict) -> str:
    """Write the comment of a pull request."""
    branch = found.branch
    lines = [f"### devloop: {_VERDICTS[branch.verdict]}", ""]
    lines += [f"- {label}: {_plain(text)}" for label, text in _facts(found)]
    for titles, rows, long, more in _tables(found):
        head = [title or " " for title in titles]
        lines += ["", _row(head), _row(["---" if at == long else "---:" for at in range(len(titles))])]
        for row in rows:
            lines.append(_row([_cell(text, is_code=at == long) for at, (text, _) in enumerate(row)]))
        if more:
            lines += ["", more]
    name = _code(escape_controls(found.name))
    lines += ["", f"<sub>{name}: ~ is an estimate, the edits are those of recent commits.</sub>"]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str, *, is_code: bool) -> str:
    if not text:
        return " "
    return _code(text) if is_code else _plain(text)


def _code(text: str) -> str:
    """Write a text as code; it may hold backticks, and a bar would end the cell even there."""
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{blank}{text}{blank}{fence}".replace("|", "\\|")


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#@])", r"\\\1", text).replace("~", "\\~")


# JSON -------------------------------------------------------------------------------------------------------


def branch_json(found: Verdict) -> str:
    """Write the contract `devloop.ci/1`: these keys and no others, ASCII only."""
    branch = found.branch
    document = {
        "schema": "devloop.ci/1",
        "name": found.name,
        "base": found.base,
        "commit": found.commit,
        "verdict": branch.verdict,
        "shallow": found.is_shallow,
        "commits": branch.after.commits,
        "seconds_a_week": {
            "before": None if branch.before is None else round(branch.before.seconds_a_week, 3),
            "after": round(branch.after.seconds_a_week, 3),
        },
        "once": round(branch.once, 3),
        "steps": [
            {
                **_name_document(step.name),
                "line": step.line,
                "price": None if step.price is None else round(step.price, 3),
                "price_from": None if step.price is None else "measured" if step.is_measured else "estimate",
                "new": step.is_new,
            }
            for step in branch.steps
        ],
        "edits": [
            {
                "path": edit.path,
                "commits": edit.commits,
                "before": round(edit.before, 3),
                "after": round(edit.after, 3),
                "more": [_name_document(name) for name in edit.more],
                "fewer": [_name_document(name) for name in edit.fewer],
            }
            for edit in branch.edits
        ],
        "context": {
            "before": branch.bytes_before,
            "after": branch.bytes_after,
            "files": [
                {"path": weight.path, "before": weight.before, "after": weight.after}
                for weight in branch.weights
            ],
        },
        "limit": found.limit,
        "too_dear": [edit.path for edit in found.too_dear],
    }
    return json.dumps(document, indent=2)


def _name_document(name: StepName) -> dict[str, Any]:
    return {"stage": name.stage, "instruction": name.keyword, "text": name.text}
