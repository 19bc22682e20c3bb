"""What the readers share: words of a command, files that are tables, members of workspaces."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from devloop.doctor.needs.answers import Answer, Reader, Source, StoppedError, Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devloop.cost.shell import Command


def set_of(text: str) -> frozenset[str]:
    """Return the words of a text, to look others up in."""
    return frozenset(text.split())


def values(words: Iterable[str], *names: str) -> list[str]:
    """Return the values of a flag, in all of its spellings."""
    found: list[str] = []
    waiting = False
    for word in words:
        if waiting:
            found.append(word)
            waiting = False
        elif word in names:
            waiting = True
        else:
            for name in names:
                if word.startswith(f"{name}=") and name.startswith("--"):
                    found.append(word.partition("=")[2])
                elif not name.startswith("--") and word.startswith(name) and len(word) > len(name):
                    found.append(word[len(name) :].removeprefix("="))
    return found


def has_flag(command: Command, *flags: str) -> bool:
    """Tell whether a command has one of these flags, with a value or without."""
    return any(word in flags or word.partition("=")[0] in flags for word in command.arguments)


def plain_path(path: str) -> str:
    """Return a path that means itself; a variable or a pattern in it stops the reader."""
    if re.search(r"[$*?{}`]", path):
        raise StoppedError(f"the path {path} is not known before the build")
    return path


def table(value: object) -> dict[str, object]:
    """Return a table of a document, empty for anything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def entries(value: object) -> list[object]:
    """Return a list of a document, empty for anything else."""
    return list(value) if isinstance(value, list) else []


def toml(where: Where, name: str) -> dict[str, object]:
    """Read a TOML file that lies here; one that cannot be read stops the reader."""
    try:
        return tomllib.loads(where.text(name) or "")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        raise StoppedError(f"{name} cannot be read") from None


def strings(value: object) -> Iterator[str]:
    """Yield every text inside a value of a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def json_of(where: Where, name: str) -> dict[str, object]:
    """Read a JSON file that lies here; one that cannot be read stops the reader."""
    try:
        return table(json.loads(where.text(name) or ""))
    except (ValueError, RecursionError):
        raise StoppedError(f"{name} cannot be read") from None


def members(where: Where, patterns: Iterable[str], name: str) -> list[str]:
    """Return the manifests in the folders that the patterns of a workspace match."""
    wanted = [one.removeprefix("./").rstrip("/") for one in patterns]
    found = []
    for path in where.placed.below(where.folder):
        inside = path[len(where.folder.rstrip("/")) + 1 :]
        folder, _, base = inside.rpartition("/")
        if base != name or not folder or "node_modules" in folder.split("/"):
            continue
        if any(_is_member(folder, one.removeprefix("!")) for one in wanted if one.startswith("!")):
            continue
        if any(_is_member(folder, one) for one in wanted if not one.startswith("!")):
            found.append(path)
    return found


def _is_member(folder: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(folder, pattern.replace("/**", "*").replace("**", "*"))
    return folder.count("/") == pattern.count("/") and all(
        fnmatchcase(one, like) for one, like in zip(folder.split("/"), pattern.split("/"), strict=True)
    )


def needs_mode(where: Where, name: str, command: Command) -> None:
    """Stop where a wrapper is started by its path and cannot be: a step would have to make it so first."""
    path = where.placed.files.get(where.at(name))
    if path is not None and command.words[0].startswith("./") and path not in where.placed.executable:
        raise StoppedError(f"{name} is not executable in the context")


def while_building(tool: str, manifests: tuple[str, ...], reason: str) -> Reader:
    """Return the reader of a tool that has no command of its own for its downloads, for this reason."""

    def read(_command: Command, where: Where) -> Answer:
        if not where.present(*manifests):
            return Source(tool)
        raise StoppedError(reason)

    return read
