"""Stages that start from another one of the file: who else stands on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devloop.dockerfile import instructions as ins
from devloop.doctor.graphs import chain

if TYPE_CHECKING:
    from devloop.dockerfile.stages import BuildGraph, Stage
    from devloop.doctor.model import Subject


def stages_below(graph: BuildGraph, stage: Stage) -> tuple[Stage, ...]:
    """Return a stage and those that it starts from, the lowest first."""
    return tuple(graph.stage(index) for index in reversed(chain(graph, stage.index)))


def why_shared(subject: Subject, base: Stage) -> str:
    """Say who needs the files of a stage besides the one that starts from it; empty where nobody does.

    The whole file counts, stages of other targets too: a copy that leaves the base is missed in all of them.
    """
    parsed = subject.dockerfile.instructions
    names = {base.label.lower(), str(base.index)}
    starts = [one for one in parsed if isinstance(one, ins.From) and one.image.lower() == base.name]
    if len(starts) > 1:
        return f"{len(starts)} stages start from {base.label}: the copy would have to move into each of them"
    taken = (name for one in parsed for name in re.findall(r"\bfrom=([\w.-]+)", one.text, re.IGNORECASE))
    if any(name.lower() in names for name in taken):
        return f"another stage takes files from {base.label}"
    return ""
