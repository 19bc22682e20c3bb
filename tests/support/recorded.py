"""The recorded builds of `tests/cases/rawjson`, folded as the builder folds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from devloop.engine.outcome import conclude
from devloop.engine.progress import Progress
from devloop.engine.provenance import Metadata, parse_metadata

if TYPE_CHECKING:
    from devloop.engine.base import BuildEvent, BuildOutcome

CASES = Path(__file__).resolve().parents[1] / "cases" / "rawjson"


def read(name: str) -> tuple[Progress, list[BuildEvent]]:
    """Feed a recorded stream, and return what it folded into and the events on the way."""
    progress = Progress()
    events: list[BuildEvent] = []
    for line in (CASES / name / "stream.jsonl").read_bytes().split(b"\n"):
        events += progress.feed(line)
    return progress, events + progress.finish()


def metadata(name: str) -> Metadata:
    path = CASES / name / "metadata.json"
    return parse_metadata(path.read_bytes() if path.is_file() else b"")


def outcome(name: str, *, with_provenance: bool = True) -> BuildOutcome:
    """Return the outcome of a recorded build; it failed where no metadata was written."""
    progress, _ = read(name)
    is_ok = (CASES / name / "metadata.json").is_file()
    told = metadata(name) if with_provenance else parse_metadata(b"")
    return conclude(progress, told, returncode=0 if is_ok else 1, seconds=1.0, canceled=False)


def shown(name: str, *, with_provenance: bool = True) -> list[str]:
    """Return a line per step: where it is, what it is, and what became of it."""
    lines = []
    for step in outcome(name, with_provenance=with_provenance).steps:
        where = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in step.lines)
        lines.append(f"{where or '?'} {step.keyword} {step.text}: {step.status}")
    return lines
