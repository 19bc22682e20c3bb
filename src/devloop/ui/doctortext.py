"""What the doctor found, as text, as the contract `devloop.doctor/1`, and as diffs; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from devloop.ui.plantext import NARROWEST
from devloop.ui.text import (
    Line,
    Style,
    count,
    escape_controls,
    pad,
    paint,
    seconds_text,
    shorten,
    symbols,
    text_width,
    wrap,
    wrap_line,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.doctor.proof import Check
    from devloop.doctor.report import Examination, Examined, Tally
    from devloop.ui.text import Symbols

FEW: Final = 5
"""How many findings are shown unless all are asked for."""

_LABEL: Final = 9
_LARGE: Final = 1_000_000
_WIDEST: Final = 120
_FEW_PATHS: Final = 3
_INDENT: Final = "     "


def notable(examination: Examination) -> tuple[Examined, ...]:
    """Return the few findings that matter: those that cost something, the dearest first."""
    found = [one for one in examination.findings if _matters(one)]
    return tuple(found[:FEW])


def _matters(one: Examined) -> bool:
    finding = one.finding
    if finding.category == "security":
        return True
    if one.seconds_a_week is not None:
        return one.seconds_a_week >= 1.0 or (finding.bytes or 0) >= _LARGE
    return finding.category == "restart" or (finding.seconds or 0.0) >= 1.0 or (finding.bytes or 0) >= _LARGE


def doctor_lines(
    examination: Examination, width: int, *, shows_all: bool = False, ascii_only: bool, color: bool = False
) -> list[str]:
    """Render findings for a person, each with its cost, its change and what was verified of it.

    Every line but those of a diff fits `width` columns as long as that is 40 or more.
    """
    marks = symbols(ascii_only=ascii_only)
    width = min(max(width, NARROWEST), _WIDEST)
    shown = examination.findings if shows_all else notable(examination)
    lines: list[Line] = [_head(examination, width, marks)]
    lines += [((f"  {text}", "dim"),) for text in wrap(_basis(examination), width - 2)]
    for number, one in enumerate(shown, start=1):
        lines += [(), *_finding(number, one, examination, width, marks)]
    lines += [(), *_foot(examination, len(shown), width, marks)]
    return [paint(line, color=color) for line in lines]


def _head(examination: Examination, width: int, marks: Symbols) -> Line:
    name = escape_controls(examination.name)
    rest = f"  {escape_controls(examination.dockerfile)}, {count(len(examination.findings), 'finding')}"
    return ((name, "bold"), (shorten(rest, width - text_width(name), ellipsis=marks.ellipsis), "dim"))


def _basis(examination: Examination) -> str:
    commits = builds = ""
    if examination.commits is not None:
        weeks = count(max(examination.weeks, 1), "week")
        commits = f"{count(examination.commits, 'commit')} of people in {weeks} with work"
    if examination.builds:
        weeks = count(max(examination.build_weeks, 1), "week")
        builds = f"{count(examination.builds, 'build')} after an edit that devloop saw here in {weeks}"
    if examination.measure == "builds":
        return f"weighed by {builds}" + (f"; beside it {commits}" if commits else "")
    if examination.measure == "commits":
        return f"weighed by {commits}" + (f"; beside it {builds}" if builds else "")
    why = f" ({examination.reason})" if examination.reason else ""
    return f"sorted by the seconds of one run: how often each runs is not known{why}"


def _finding(number: int, one: Examined, examination: Examination, width: int, marks: Symbols) -> list[Line]:
    finding = one.finding
    cost, style = _cost(one)
    head = f"{number:>3}  "
    title = wrap(escape_controls(finding.title), width - len(head) - len(cost) - 2)
    first: Line = ((head, "dim"), (title[0], "bold"))
    if cost:
        gap = width - len(head) - text_width(title[0]) - len(cost)
        first = (*first, (" " * max(gap, 2), ""), (cost, style))
    lines: list[Line] = [first, *(((_INDENT + text, "bold"),) for text in title[1:])]
    where = f"{examination.dockerfile}:{finding.first_line}"
    where += f"-{finding.last_line}" if finding.last_line > finding.first_line else ""
    place: Line = ((_INDENT, ""), (escape_controls(where), "accent"), (f"  {finding.code}", "dim"))
    lines += wrap_line(place, width, hang=0)
    lines += _fact("costs", _cost_sentence(one), width)
    lines += _fact("why", finding.why, width)
    lines += _fact("way out", finding.way_out, width)
    if one.diffs:
        lines += [(), *(_diff_line(text) for text in one.diffs), ()]
        lines += _checked(one, width, marks)
    elif finding.stops:
        lines += _fact("no diff", finding.stops, width)
    return lines


def _cost(one: Examined) -> tuple[str, Style]:
    finding = one.finding
    if finding.category == "security":
        return "security", "bad"
    if one.seconds_a_week is not None:
        return f"{seconds_text(one.seconds_a_week)} a week", "warn"
    if finding.seconds is not None:
        return f"{seconds_text(finding.seconds)} a run", "warn"
    if finding.bytes is not None:
        return _bytes(finding.bytes), "warn"
    return "", ""


def _cost_sentence(one: Examined) -> str:
    finding = one.finding
    parts = []
    if finding.seconds is not None:
        basis = f" ({one.basis})" if one.basis else ""
        parts.append(f"{seconds_text(finding.seconds)} a run{basis}")
    if finding.bytes is not None:
        parts.append(_bytes(finding.bytes))
    how_often = _how_often(one)
    if how_often:
        parts.append(how_often)
    return ", ".join(parts)


_REASONS: Final = {
    "no-cache-mount": "",
    "cache-mount-forgotten": "",
    "floating-base": "",
    "volatile-variable": "for a new value ",
}
"""Why the runs are counted; what is not here ran for nothing."""


def _how_often(one: Examined) -> str:
    """Say how many of the commits and of the builds ran it, with the files behind them."""
    said = []
    if one.commits is not None:
        said.append(_share(one.commits, "the last", "commit"))
    if one.builds is not None:
        said.append(f"{_share(one.builds, 'the', 'build')} that devloop saw here")
    if not said:
        return "with each new value" if one.finding.code == "volatile-variable" else ""
    has_run = any(tally.runs for tally in (one.commits, one.builds) if tally is not None)
    text = (_REASONS.get(one.finding.code, "for nothing ") if has_run else "") + " and ".join(said)
    if len(said) > 1 and one.measure is not None:
        text += f" (the week is that of the {one.measure})"
    paths = [path for tally in (one.commits, one.builds) if tally is not None for path in tally.paths]
    names = list(dict.fromkeys(paths))
    if names:
        rest = f" and {len(names) - _FEW_PATHS} more" if len(names) > _FEW_PATHS else ""
        text += f": {', '.join(names[:_FEW_PATHS])}{rest}"
    if one.commits is not None and one.commits.unknown:
        verb = "is" if one.commits.unknown == 1 else "are"
        text += f"; {one.commits.unknown:,} of its files {verb} not in git, so no commit tells of them"
    return text


def _share(tally: Tally, which: str, what: str) -> str:
    """Write `in 23 of the last 200 commits`."""
    if tally.of == 1:
        return f"{'' if tally.runs else 'not '}in the only {what}"
    number = "all" if tally.runs == tally.of else f"{tally.runs:,}" if tally.runs else "none"
    return f"in {number} of {which} {tally.of:,} {what}s"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} B"


def _fact(label: str, sentence: str, width: int) -> list[Line]:
    if not sentence:
        return []
    room = width - len(_INDENT) - _LABEL
    return [
        ((_INDENT, ""), (pad(label if not index else "", _LABEL), "dim"), (text, ""))
        for index, text in enumerate(wrap(escape_controls(sentence), room))
    ]


def _diff_line(text: str) -> Line:
    styles: dict[str, Style] = {"+": "good", "-": "bad", "@": "accent"}
    style = styles.get(text[:1], "source")
    if text.startswith(("+++", "---")):
        style = "dim"
    return ((_INDENT, ""), (escape_controls(text.replace("\t", "    ")), style))


def _checked(one: Examined, width: int, marks: Symbols) -> list[Line]:
    """Say what was verified of a change, and what was not."""
    if one.proof is None:
        return _fact("checked", "nothing: this change was not tried", width)
    passed = [_check_name(check) for check in one.proof.checks if check.verdict == "passed"]
    # Of most findings no replay can tell what their change saves.
    open_ones = [
        check for check in one.proof.checks if check.verdict == "not verified" and check.name != "history"
    ]
    lines: list[Line] = []
    if passed:
        lines += _fact("checked", f"{marks.good} {', '.join(passed)}", width)
    reasons: dict[str, list[str]] = {}
    for check in open_ones:
        reasons.setdefault(check.sentence, []).append(_check_name(check))
    for reason, names in reasons.items():
        lines += _fact("open", f"{', '.join(names)}: {reason}", width)
    if one.proof.sizes is not None:
        before, after = one.proof.sizes.before, one.proof.sizes.after
        lines += _fact("size", f"{_bytes(before)} before, {_bytes(after)} after", width)
    return lines


_CHECKS: Final = {
    "reads": "it parses",
    "graph": "same steps but for the move",
    "history": "history",
    "builds": "both build",
    "files": "same files",
    "configuration": "same configuration",
    "edits": "edits rerun what was predicted",
    "start": "start",
}


def _check_name(check: Check) -> str:
    return _CHECKS.get(check.name, check.name)


def _foot(examination: Examination, shown: int, width: int, marks: Symbols) -> list[Line]:
    rest = len(examination.findings) - shown
    lines: list[Line] = []
    if not examination.findings:
        lines.append(((f"  {marks.good} ", "good"), ("nothing to say about this Dockerfile", "")))
    parts = []
    if rest > 0:
        parts.append(f"{count(rest, 'finding')} more with --all")
    if examination.silenced:
        parts.append(f"{examination.silenced} silenced")
    if any(one.diffs for one in examination.findings):
        parts.append("--fix writes the changes")
    lines += [((f"  {text}", "dim"),) for text in wrap("; ".join(parts), width - 2)]
    return lines


# Documents --------------------------------------------------------------------------------------------------


def doctor_json(examination: Examination) -> str:
    """Write everything that was found as one document."""
    document = {
        "schema": "devloop.doctor/1",
        "name": examination.name,
        "dockerfile": examination.dockerfile,
        "commits": examination.commits,
        "weeks": examination.weeks if examination.commits is not None else None,
        "no_history": examination.reason or None,
        "builds": examination.builds,
        "build_weeks": examination.build_weeks,
        "measure": examination.measure,
        "built": examination.is_built,
        "silenced": examination.silenced,
        "findings": [finding_document(one) for one in examination.findings],
    }
    return json.dumps(document, indent=2)


def finding_document(one: Examined) -> dict[str, Any]:
    """Return one finding as plain data."""
    finding = one.finding
    return {
        "code": finding.code,
        "category": finding.category,
        "title": finding.title,
        "first_line": finding.first_line,
        "last_line": finding.last_line,
        "why": finding.why,
        "way_out": finding.way_out,
        "seconds": _rounded(finding.seconds),
        "seconds_from": one.basis or None,
        "runs_a_week": _rounded(one.runs_a_week),
        "seconds_a_week": _rounded(one.seconds_a_week),
        "measure": one.measure,
        "in_commits": _tally_document(one.commits),
        "in_builds": _tally_document(one.builds),
        "bytes": finding.bytes,
        "no_diff": finding.stops or None,
        "diff": "\n".join(one.diffs) + "\n" if one.diffs else None,
        "checks": [
            {"name": check.name, "verdict": check.verdict, "sentence": check.sentence}
            for check in (one.proof.checks if one.proof is not None else ())
        ],
    }


def _tally_document(tally: Tally | None) -> dict[str, Any] | None:
    if tally is None:
        return None
    return {
        "runs": tally.runs,
        "of": tally.of,
        "weeks": tally.weeks,
        "seconds": _rounded(tally.seconds),
        "paths": list(tally.paths),
        "unknown_files": tally.unknown,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def diff_lines(diffs: Sequence[str], *, color: bool) -> list[str]:
    """Return the lines of diffs as `git apply` reads them, with controls as they are unless coloured."""
    if not color:
        return list(diffs)
    return [paint(_diff_line(text)[1:], color=True) for text in diffs]
