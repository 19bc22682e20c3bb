"""Findings as SARIF 2.1.0, which code hosts show beside the lines of a pull request; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devloop.ui.text import seconds_text

if TYPE_CHECKING:
    from devloop.doctor.model import LineEdit
    from devloop.doctor.report import Examination, Examined

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(examination: Examination, version: str) -> str:
    """Write what was found; a proposal for the Dockerfile is a fix of its finding."""
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
                "results": [_result(one, examination, codes) for one in examination.findings],
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


def _result(one: Examined, examination: Examination, codes: list[str]) -> dict[str, Any]:
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
                    "artifactLocation": {"uri": examination.dockerfile},
                    "region": {"startLine": finding.first_line, "endLine": finding.last_line},
                }
            }
        ],
    }
    if finding.proposal is not None and finding.proposal.edits and not finding.proposal.files:
        result["fixes"] = [
            {
                "description": {"text": finding.way_out},
                "artifactChanges": [
                    {
                        "artifactLocation": {"uri": examination.dockerfile},
                        "replacements": [_replacement(edit) for edit in finding.proposal.edits],
                    }
                ],
            }
        ]
    return result


def _replacement(edit: LineEdit) -> dict[str, Any]:
    """Write an edit of whole lines: from the start of its first line to the start of the one behind it."""
    return {
        "deletedRegion": {
            "startLine": edit.first,
            "startColumn": 1,
            "endLine": edit.last + 1,
            "endColumn": 1,
        },
        "insertedContent": {"text": edit.text.decode("utf-8", "replace")},
    }
