"""Says what one command reads, by the reader of its ecosystem."""

from __future__ import annotations

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
        try:
            found = reader(command, where)
        except StoppedError as stopped:
            return Stop(stopped.reason, family)
        if isinstance(found, Needs) and not found.is_install and touches(command, where):
            return Source(label)
        return replace(found, family=family) if isinstance(found, Needs) else found
    return free(command, where, kind, is_cheap=is_cheap)
