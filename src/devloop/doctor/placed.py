"""Where the files of the context come to lie in an image: what a COPY puts at which path."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.context.patterns import has_wildcard, match_path
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import MAIN_CONTEXT, FromContext, Step
from devloop.paths import context_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from devloop.doctor.model import Subject

_ARCHIVES = (".tar", ".tgz", ".gz", ".xz", ".bz2", ".zst", ".tbz2", ".txz")


def sources_of(subject: Subject, step: Step) -> tuple[str, ...] | None:
    """Return what a COPY or ADD takes from the main context, expanded; None where it takes anything else."""
    if not isinstance(step.instruction, ins.Copy | ins.Add) or step.vertex is None or step.is_trigger:
        return None
    if step.instruction.heredocs:
        return None
    inputs = subject.model.graph.vertices[step.vertex].inputs
    taken = [
        (one.producer, found)
        for one in inputs
        if isinstance(one.producer, FromContext)
        for found in one.taken
    ]
    if len(taken) != 1 or taken[0][0] != FromContext(MAIN_CONTEXT):
        return None
    found = taken[0][1]
    return found.sources if len(found.sources) == len(step.instruction.sources) else None


def placed_by(subject: Subject, step: Step) -> Mapping[str, str] | None:
    """Map each path in the image to the context path that a COPY or ADD puts there.

    None where that is not plain: filters, archives that ADD unpacks, and anything but the main context.
    """
    sources = sources_of(subject, step)
    instruction = step.instruction
    if sources is None or not isinstance(instruction, ins.Copy | ins.Add) or step.destination is None:
        return None
    if instruction.excludes or (isinstance(instruction, ins.Copy) and instruction.parents):
        return None
    if isinstance(instruction, ins.Add) and any(one.endswith(_ARCHIVES) for one in sources):
        return None
    destination = step.destination.rstrip("/") or "/"
    is_folder = step.destination.endswith("/") or len(sources) > 1
    found: dict[str, str] = {}
    for source in sources:
        found.update(_placed(subject, source, destination, is_folder=is_folder))
    return found


def _placed(subject: Subject, source: str, destination: str, *, is_folder: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    cleaned = context_path(source)
    for path in (one.path for one in subject.paths):
        if has_wildcard(source):
            inside = _below_match(cleaned, path)
        elif not cleaned:
            inside = path
        elif path == cleaned:
            inside = ""
        else:
            inside = path.removeprefix(f"{cleaned}/") if path.startswith(f"{cleaned}/") else None
        if inside is None:
            continue
        if inside:
            found[_join(destination, inside)] = path
        else:
            is_inside = is_folder or has_wildcard(source)
            found[_join(destination, posixpath.basename(path)) if is_inside else destination] = path
    return found


def _below_match(pattern: str, path: str) -> str | None:
    """Return the rest of a path below what a pattern matches; empty for the match itself."""
    parts = path.split("/")
    length = pattern.count("/") + 1
    if len(parts) < length or not match_path(pattern, "/".join(parts[:length])):
        return None
    return "/".join(parts[length:])


def _join(folder: str, path: str) -> str:
    return f"/{path}" if folder == "/" else f"{folder}/{path}"


def joined(folder: str, path: str) -> str:
    """Return the cleaned absolute path of `path` as seen from a folder of the image."""
    return posixpath.normpath(posixpath.join("/", folder, path)).replace("//", "/")


@dataclass(frozen=True, slots=True)
class Placed:
    """The files of the context that lie in the image above some step, by their path there."""

    files: Mapping[str, str]
    texts: Callable[[str], bytes | None]
    executable: frozenset[str] = frozenset()

    def has(self, path: str) -> bool:
        """Tell whether a file lies at this path of the image."""
        return path in self.files

    def text(self, path: str) -> str | None:
        """Return the text of a file at a path of the image; None where there is none to read."""
        context = self.files.get(path)
        found = self.texts(context) if context is not None else None
        return found.decode("utf-8", "surrogateescape").removeprefix("\ufeff") if found is not None else None

    def below(self, folder: str) -> tuple[str, ...]:
        """Return the paths of the files below a folder of the image, sorted."""
        prefix = folder if folder.endswith("/") else f"{folder}/"
        return tuple(sorted(path for path in self.files if path.startswith(prefix)))

    def present(self, folder: str, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of the named files that lie in a folder."""
        return tuple(path for name in names if self.has(path := joined(folder, name)))

    def touched_by(self, folder: str, word: str) -> bool:
        """Tell whether a word of a command names a file that lies here, or a folder with one in it."""
        for part in {word, word.partition("=")[2], word.lstrip("@<")}:
            if part and not part.startswith("-"):
                path = joined(folder, part)
                if self.has(path) or (path != "/" and any(one.startswith(f"{path}/") for one in self.files)):
                    return True
        return False
