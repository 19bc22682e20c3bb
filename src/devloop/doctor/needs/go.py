"""What the go command reads before it needs the source."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import has_flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


def _go_mod(command: Command, where: Where) -> Answer:
    if command.arguments[:2] not in {("mod", "download"), ("mod", "verify")} or has_flag(
        command, "-C", "-modfile"
    ):
        return Source(" ".join(command.words[:3]))
    found = _go_files(where)
    return Needs(found, fills=()) if found else Source("go mod")


def _go_files(where: Where) -> tuple[str, ...]:
    if not where.present("go.mod", "go.work"):
        return ()
    files = [*where.present("go.work", "go.work.sum", "go.mod", "go.sum")]
    folders = ["."]
    work = where.text("go.work")
    if work is not None and where.environment.get("GOWORK") != "off":
        for block in re.findall(r"(?m)^use\s+(\([^)]*\)|\S+)", work):
            folders += [part.strip("\"'`") for part in re.sub(r"//.*", "", block).strip("()").split()]
        folders += _replacements(where, ".", "go.work")
    done: set[str] = set()
    while folders:
        folder = posixpath.normpath(folders.pop())
        if folder in done:
            continue
        done.add(folder)
        files += where.present(f"{folder}/go.mod", f"{folder}/go.sum")
        folders += _replacements(where, folder, "go.mod")
    return tuple(dict.fromkeys(files))


def _replacements(where: Where, folder: str, name: str) -> list[str]:
    """Return the folders that a file replaces modules by, with a go.mod in each."""
    text = re.sub(r"//.*", "", where.text(f"{folder}/{name}") or "")
    found = []
    for target in re.findall(r"=>\s*[\"`]?(\.{1,2}/[^\s\"`]*|\.{1,2}(?!\S)|/[^\s\"`]+)", text):
        local = f"{folder}/{target}"
        if target.startswith("/") or not where.present(f"{local}/go.mod"):
            raise StoppedError(f"{name} replaces a module by {target}, which is not copied here")
        found.append(local)
    return found


def _module_above(where: Where) -> Where:
    """Return the folder of the module that a folder belongs to: go looks for it upwards."""
    folder = where.folder
    while folder != "/" and not where.placed.present(folder, ("go.mod",)):
        folder = posixpath.dirname(folder)
    return replace(where, folder=folder) if where.placed.present(folder, ("go.mod",)) else where


def _go_build(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    where = _module_above(where)
    text = where.text("go.mod")
    if (
        verb not in {"build", "test", "install", "run", "vet"}
        or text is None
        or has_flag(command, "-C", "-modfile")
    ):
        return Source(f"go {verb}")
    if not re.search(r"(?m)^\s*require\b", text) or where.present("vendor/modules.txt"):
        return Source(f"go {verb}")
    if any("-mod" in word for word in (*command.words, where.environment.get("GOFLAGS", ""))):
        return Source(f"go {verb}")
    return Needs(
        _go_files(where), split=Split(insert=("go mod download",), kind="go-mod", entered=where.folder)
    )


READERS: Final[Mapping[str, Reader]] = {
    "go-mod": _go_mod,
    "go-build": _go_build,
}
