"""Projects written to a folder and read as the doctor reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devloop.doctor.edits import apply_edits, unified_diff
from devloop.doctor.subject import read_subject
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from devloop.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.doctor.model import Finding, Subject


def written(folder: Path, dockerfile: str, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Write a project; a path that ends in a slash is an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in {"Dockerfile": dockerfile, **(files or {})}.items():
        target = folder / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def subject(
    folder: Path,
    dockerfile: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    settings: Settings | None = None,
) -> Subject:
    """Write a project to a folder and read it; nothing is remembered of earlier builds."""
    chosen = settings or Settings()
    location = locate(written(folder / "project", dockerfile, files), chosen)
    memory = Memory(location, Database(folder / "state" / "state.db"))
    try:
        return read_subject(Workspace.remembered(location, chosen, memory, {}))
    finally:
        memory.close()


def diff_of(subject: Subject, finding: Finding) -> str:
    """Return the diff of the Dockerfile that a finding proposes."""
    assert finding.proposal is not None, finding.stops
    after = apply_edits(subject.source, finding.proposal.edits)
    return "\n".join(unified_diff(subject.source, after, subject.name))
