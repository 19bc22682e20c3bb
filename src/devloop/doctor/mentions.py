"""Whether the files of the project name something, so that it cannot be left out or put another way.

Only what a step takes is read, and no more than a few hundred files. Where that is not enough to be sure, the
answer is yes, because it is asked before something is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devloop.context.selection import Selection, reads
from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.paths import ContextPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.dockerfile.stages import Taken
    from devloop.doctor.model import ContextFile, Subject

MOST_FILES = 400
LARGEST_SIZE = 256 * 1024

_NOT_SOURCE = frozenset({"node_modules", ".git", ".venv", "venv", "__pycache__", "vendor", "target"})
_NOT_TEXT = (
    *(".png", ".jpg", ".jpeg", ".gif", ".ico", ".webp", ".svg", ".woff", ".woff2", ".ttf", ".otf", ".eot"),
    *(".mp3", ".mp4", ".mov", ".pdf", ".zip", ".gz", ".tgz", ".xz", ".bz2", ".jar", ".pyc", ".so", ".o"),
    *(".csv", ".parquet", ".sqlite", ".sqlite3", ".db", ".md", ".rst", ".lock", ".sum", ".map"),
)
_LOCKS = frozenset({"package-lock.json", "pnpm-lock.yaml", "npm-shrinkwrap.json"})
# A Dockerfile names files for itself, and those are looked at by whoever asks.
_DESCRIBES_BUILDS = ("Dockerfile", "dockerfile", ".dockerignore", ".gitignore", "docker-compose", "compose.")


def selection_of(taken: Taken) -> Selection:
    """Return what a step takes as the context package reads it."""
    return Selection(
        sources=taken.sources, excludes=taken.excludes, parents=taken.parents, wildcards=taken.wildcards
    )


def copied_files(subject: Subject, takings: Sequence[Taken] | None = None) -> tuple[ContextFile, ...]:
    """Return the files of the context that some step takes, or that these takings take."""
    wanted = subject.model.graph.taken_from(MAIN_CONTEXT) if takings is None else takings
    selections = tuple(dict.fromkeys(selection_of(taken) for taken in wanted))
    return tuple(
        one
        for one in subject.paths
        if any(reads(selection, ContextPath(one.path)) for selection in selections)
    )


def mentioned(
    subject: Subject, texts: Sequence[str], takings: Sequence[Taken] | None = None
) -> frozenset[str]:
    """Return which of these texts stand in a source or manifest that a step takes; all where that is unsure.

    With `takings` only what these take is asked. Prose, lock files and what other tools made are not asked:
    they name everything.
    """
    asked = [one for one in copied_files(subject, takings) if _is_asked(one)]
    if len(asked) > MOST_FILES:
        return frozenset(texts)
    wanted = {text: text.encode() for text in texts}
    found: set[str] = set()
    for one in asked:
        content = subject.texts(one.path)
        if content is None:
            if one.is_link:
                continue
            return frozenset(texts)
        found.update(text for text, bytes_ in wanted.items() if bytes_ in content)
    return frozenset(found)


def _is_asked(file: ContextFile) -> bool:
    *folders, name = file.path.split("/")
    if not _NOT_SOURCE.isdisjoint(folders) or name in _LOCKS or name.startswith(_DESCRIBES_BUILDS):
        return False
    return file.size <= LARGEST_SIZE and not name.lower().endswith(_NOT_TEXT) and file.size > 0
