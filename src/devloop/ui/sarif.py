"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a pull request; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devloop.ui.text import seconds_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.doctor.model import LineEdit
    from devloop.doctor.report import Examination, Examined

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(examination: Examination, version: str, uri: str) -> str:
    """Write what was found; a proposal for the Dockerfile alone is a fix of its finding.

    `uri` is where the reader has the Dockerfile, as RFC 3986 writes it.
    """
    codes = sorted({one.finding.code for one in examination.findings})
    document = {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "devloop",
                        "version": version,
                        "rules": [_rule(code, examination) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, examination, codes, uri) for one in examination.findings],
            }
        ],
    }
    return json.dumps(document, indent=2)


def _rule(code: str, examination: Examination) -> dict[str, Any]:
    first = next(one.finding for one in examination.findings if one.finding.code == code)
    return {
        "id": code,
        "shortDescription": {"text": code.replace("-", " ")},
        "help": {"text": first.way_out},
        "properties": {"tags": [first.category]},
    }


def _result(one: Examined, examination: Examination, codes: list[str], uri: str) -> dict[str, Any]:
    finding = one.finding
    cost = ""
    if one.seconds_a_week is not None:
        cost = f" It costs {seconds_text(one.seconds_a_week)} a week."
    elif finding.seconds is not None:
        cost = f" It costs {seconds_text(finding.seconds)} a run."
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": "error" if finding.category == "security" else "warning",
        "message": {"text": f"{finding.title}. {finding.why}.{cost} Way out: {finding.way_out}."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": finding.first_line, "endLine": finding.last_line},
                }
            }
        ],
    }
    proposal = finding.proposal
    if proposal is not None and proposal.edits and not proposal.files and _is_text(examination.source):
        lines = examination.source.decode().split("\n")
        result["fixes"] = [
            {
                "description": {"text": finding.way_out},
                "artifactChanges": [
                    {
                        "artifactLocation": {"uri": uri},
                        "replacements": [_replacement(edit, lines) for edit in proposal.edits],
                    }
                ],
            }
        ]
    return result


def _is_text(source: bytes) -> bool:
    """Tell whether columns can be counted: bytes that are no UTF-8 have no place in a document either."""
    try:
        source.decode()
    except UnicodeDecodeError:
        return False
    return True


def _replacement(edit: LineEdit, lines: Sequence[str]) -> dict[str, Any]:
    """Write an edit of whole lines: from the start of its first line to the start of the one behind it.

    Where the file ends without a line feed there is no such place behind the last line: its end is taken.
    """
    text = edit.text.decode("utf-8", "replace")
    start, end = (edit.first, 1), (edit.last + 1, 1)
    end_of_file = (len(lines), len(lines[-1]) + 1)
    if start > end_of_file:
        start, text = end_of_file, "\n" + text
    return {
        "deletedRegion": {
            "startLine": start[0],
            "startColumn": start[1],
            "endLine": min(end, end_of_file)[0],
            "endColumn": min(end, end_of_file)[1],
        },
        "insertedContent": {"text": text},
    }
