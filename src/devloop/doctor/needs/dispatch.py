"""Says what one command reads, by the reader of its ecosystem."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.cost.priors import CHEAP_PROGRAMS, PRIORS, matches
from devloop.doctor.needs import dotnet, go, jvm, node, others, python, rust
from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Stop, StoppedError, Where
from devloop.doctor.needs.free import free, touches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command

READERS: Final[Mapping[str, Reader]] = {
    kind: reader
    for group in (python, node, go, rust, jvm, dotnet, others)
    for kind, reader in group.READERS.items()
}
"""The reader of each kind of the table of costs that installs or builds."""


def kind_of(command: Command) -> tuple[str, str, bool]:
    """Return kind, family and whether it is a cheap look-alike; empty where the table does not know it."""
    for prior in PRIORS:
        if any(matches(spelling, command) for spelling, _ in prior.cheap):
            return prior.kind, prior.family, True
        if any(matches(spelling, command) for spelling in prior.spellings):
            return prior.kind, prior.family, False
    if any(command.program in names.split("|") for names, _ in CHEAP_PROGRAMS):
        return "cheap", "", True
    return "", "", False


def needs_of(command: Command, where: Where) -> Answer:
    """Say what one command reads of the files that were copied above it."""
    kind, family, is_cheap = kind_of(command)
    reader = None if is_cheap else READERS.get(kind)
    label = " ".join(command.words[:2])
    if reader is not None:
        if not all(command.words):
            return Source(label)
        try:
            found = reader(command, where)
        except StoppedError as stopped:
            return Stop(stopped.reason, family)
        if isinstance(found, Needs) and not found.is_install and touches(command, where):
            return Source(label)
        return (
            _with_named(replace(found, family=family), command, where) if isinstance(found, Needs) else found
        )
    found = free(command, where, kind, is_cheap=is_cheap)
    is_work = bool(kind) and not is_cheap
    return _with_named(found, command, where) if isinstance(found, Needs) and is_work else found


_OF_INSTALLERS: Final = re.compile(
    r"(?i)(?:pip|uv|npm_config|yarn|pnpm|bundle|composer|poetry|pdm|pipenv|conda|go|cargo|rustup|maven|gradle"
    r"|nuget|dotnet|git|curl|ssl|requests|node)_\w+|NODE_OPTIONS|COMPOSER"
)


def _with_named(needs: Needs, command: Command, where: Where) -> Needs:
    """Add the files that the words of a command and variables of installers name: settings, certificates."""
    values = [value for name, value in where.environment.items() if _OF_INSTALLERS.fullmatch(name)]
    words = [word for value in (*command.arguments, *values) for word in re.split(r"[\s=]+", value) if word]
    named = (where.at(word) for word in words if where.placed.has(where.at(word)))
    return replace(needs, files=tuple(dict.fromkeys((*needs.files, *named))))
