"""Writes docs/events.md from the event dataclasses: python tests/support/event_docs.py > docs/events.md."""

import sys
from dataclasses import Field, fields
from types import NoneType, UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from devloop.loop.events import Event
from devloop.plan.model import Plan, Warned
from devloop.ui.jsonlines import event_name

EVENTS: Final[tuple[type[Event], ...]] = get_args(Event)

NOTES: Final[dict[str, dict[str, str]]] = {
    "SessionStarted": {
        "version": "devloop's version",
        "project": "the project's name",
        "dockerfile": "the Dockerfile, as the user would write it",
        "context": "the build context",
        "target": "the stage that is built; null is the last one",
        "engine": "the engine that answers; null: none does",
        "config": "the file that the settings come from; null: there is none",
        "runs_container": "false where images are built and no container is started",
    },
    "EngineMissing": {
        "message": "what does not answer",
        "hint": "how to give devloop an engine",
    },
    "Watching": {
        "files": "how many files are watched",
        "directories": "how many directories they are in",
        "polling": "true where the file system sends no events and the tree is looked at again and again",
        "seconds": "from the start of the command until now",
    },
    "TakenOver": {
        "container": "the container's name",
        "urls": "where it can be reached",
    },
    "Planned": {
        "plan": "the plan, in the form of one target of `devloop.plan/1`",
        "saved": "the paths that were saved, as the user knows them",
        "first": "true for the build that a session begins with",
        "behind": "changed paths that the plan leaves out, of which an expensive build waits or runs",
    },
    "BuildStarted": {"steps": "how many steps a build runs or finds in the cache; a FROM is none of them"},
    "StepStarted": {
        "label": "the step as BuildKit counts it, such as `web 5/6`",
        "line": "its first line in the Dockerfile; null for what has none",
        "text": "the instruction",
    },
    "StepLog": {
        "label": "the step that printed the line",
        "line": "the line, as it was printed",
    },
    "StepFinished": {
        "label": "the step as BuildKit counts it",
        "line": "its first line in the Dockerfile; null for what has none",
        "text": "the instruction",
        "status": "what became of it",
        "seconds": "what it cost; null where it did not run",
    },
    "BuildFinished": {
        "status": "how the build ended",
        "seconds": "how long it took",
        "cached": "how many steps came from the cache",
        "ran": "how many steps ran",
        "error": "what went wrong",
        "failed_line": "the first line of the failing step",
        "failed_text": "the failing instruction",
        "log_tail": "the last lines that the failing step printed",
    },
    "PredictionMissed": {
        "line": "the step's first line in the Dockerfile",
        "text": "the instruction",
        "predicted": "what devloop expected",
        "observed": "what the engine did",
        "explanation": "why, as far as it can be told",
    },
    "Queued": {
        "saved": "the paths that were saved meanwhile",
        "decision": "what becomes of the work in flight",
        "reason": "why",
    },
    "Held": {
        "paths": "what makes the build necessary",
        "steps": "the lines of the expensive steps that would run",
        "seconds": "what the build would take; null where that is not known",
        "wait_seconds": "how long it must be quiet before the build starts; null: a key starts it",
        "is_postponed": "true where a key has put it off",
    },
    "HoldEnded": {
        "how": "`over`: it was quiet for long enough; `asked`: by a key; `skipped`: the container stays as it"
        " is; `gone`: the build is not needed now, or the session is paused",
        "paths": "what made the build necessary",
    },
    "Deployed": {
        "action": "what was done",
        "container": "the container's name",
        "urls": "where it can be reached",
        "how": "what was done, in words",
        "seconds": "how long the whole took",
        "since_save": "from the first save, or from the key, until now; null for the first build",
        "stop_seconds": "how long the old container took to stop",
        "healthy_seconds": "how long the new one took to be healthy",
        "serves": "false where the container runs and does not answer yet",
        "behind": "paths whose newest text the container lacks, of which an expensive build waits or runs",
        "patched": "paths whose newest text was put on the image of a rebuild, which has them older",
        "from_key": "true where `since_save` counts from a key: it was asked for by it, or had waited for it",
        "owed": "all paths that the container holds newer than the newest image does",
    },
    "DeployFailed": {
        "message": "what went wrong",
        "exit_code": "the container's exit code; null while it has none",
        "log_tail": "its last lines",
        "rolled_back": "true if the previous version runs again",
    },
    "ContainerLog": {
        "stream": "where the application wrote it",
        "line": "the line, as it was printed",
    },
    "BackgroundBuilt": {
        "seconds": "how long the build took that nothing waited for",
        "ran": "how many steps ran",
    },
    "ContainerExited": {
        "container": "the container's name",
        "exit_code": "its exit code; null where it is not known",
        "log_tail": "its last lines",
    },
    "Problem": {
        "kind": "what is affected",
        "message": "what is wrong",
        "rendered": "the source line with its caret, where there is one",
        "hint": "what to try",
        "severity": "`note` needs no action",
    },
    "Asked": {
        "what": "what was asked for; `logs` and `help` concern the live view alone",
        "refused": "why nothing comes of it; empty where it is done",
    },
    "Explained": {
        "plan": "the last plan, in the form of one target of `devloop.plan/1`",
        "is_built": "true where the steps are told as the build has found them",
    },
    "Paused": {"is_paused": "true where nothing is started from now on"},
    "Stopped": {"message": "what was removed and what was left"},
}

WARNED: Final[dict[str, str]] = {
    "code": "the warning's stable name; the configuration can silence it",
    "line": "the expensive step's first line in the Dockerfile",
    "instruction": "its keyword",
    "text": "the instruction",
    "seconds": "what it costs",
    "seconds_from": "what that figure rests on",
    "note": "more about the figure",
    "why": "why the edit reaches the step",
    "way_out": "how to avoid that",
    "manifest": "what changed in the manifests that the step installs from; empty where that is not known",
    "repeats": "true where the warning before it was the same: same step, same code, same way out",
}

HEAD: Final = """\
# Events

`devloop watch --output json` and `devloop build --output json` print one JSON object a line, in ASCII, as
things happen. This page is generated from the code (`python tests/support/event_docs.py > docs/events.md`).

```json
{"schema": "devloop.event/1", "time": "2026-03-14T09:26:53.589+01:00", "event": "build_started", "steps": 5}
```

Every object begins with these fields:

| field | type | meaning |
|---|---|---|
| `schema` | `"devloop.event/1"` | fields and events may be added under this name; none changes or goes |
| `time` | string | ISO 8601 with milliseconds and the offset from UTC |
| `event` | string | one of the names below |

Durations are in seconds. A reader should pass over events and fields that it does not know.
"""


def page() -> str:
    """Give the whole page."""
    sections = [HEAD, *(_section(event) for event in EVENTS)]
    return "\n".join(sections)


def _section(event: type[Event]) -> str:
    assert event.__doc__ is not None
    rows = [_row(event, field, NOTES[event.__name__][field.name]) for field in fields(event)]
    extra = ""
    if event.__name__ in {"Planned", "Explained"}:
        rows.append("| `warnings` | array of objects | the expensive steps that run again, see below |")
        rows.append("| `ignored` | array of strings | saved paths that `.dockerignore` keeps out |")
        extra = "\nEach of the `warnings`:\n\n" + _table(
            [_row(Warned, field, WARNED[field.name]) for field in fields(Warned)]
        )
    text = " ".join(event.__doc__.split()).replace("None", "null")
    return f"## {event_name(event)}\n\n{text}\n\n{_table(rows)}{extra}"


def _table(rows: list[str]) -> str:
    return "| field | type | meaning |\n|---|---|---|\n" + "".join(f"{row}\n" for row in rows)


def _row(owner: type, field: Field[Any], note: str) -> str:
    return f"| `{field.name}` | {_type(get_type_hints(owner)[field.name])} | {note} |"


def _type(hint: object) -> str:
    if hint is Plan:
        return "object"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
    if hint in names:
        return names[hint]
    if get_origin(hint) is tuple:
        return f"array of {_type(get_args(hint)[0])}s"
    if get_origin(hint) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(hint))
    assert isinstance(hint, UnionType) or get_origin(hint) is not None
    return " or ".join(_type(part) for part in get_args(hint))


if __name__ == "__main__":
    sys.stdout.write(page())
