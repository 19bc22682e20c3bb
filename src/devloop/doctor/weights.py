"""What each step adds to the image, from the history that the engine keeps with the last one that was built.

A history entry names its instruction as BuildKit spells it: variables expanded, most flags left out. Entries
and steps are matched from the newest to the oldest, by that text; a step that has none was changed since, and
its size is not known. Steps of stages that the target does not start from are not in the image at all.
"""

from __future__ import annotations

import re
from ast import literal_eval
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devloop.dockerfile.stages import BuildGraph, Step
    from devloop.engine.images import HistoryEntry

_MARK: Final = re.compile(r"\s*# buildkit\s*$")
_FLAGS: Final = re.compile(r"^(?:--\S+\s+)+")
_ARGS: Final = re.compile(r"^\|\d+\s")


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes by number of the step; `elsewhere` are the steps of which nothing but copies is in the image.

    What stands in neither is not known. `base` is what the first stage starts from, None where that is not
    known; `total` is the whole image.
    """

    steps: Mapping[int, int]
    elsewhere: frozenset[int]
    base: int | None
    total: int

    @property
    def unknown(self) -> int | None:
        """Return how many bytes no step and no base accounts for."""
        return self.total - sum(self.steps.values()) - (self.base or 0)


def weigh(graph: BuildGraph, history: Sequence[HistoryEntry]) -> Weights:
    """Match a history, the oldest entry first, with the steps that the target stands on."""
    stages = [graph.target]
    while (below := graph.stage(stages[-1]).base_stage) is not None:
        stages.append(below)
    own = [step for step in graph.steps if step.stage in stages]
    # A stage is resolved before those that start from it, and its steps have lower numbers.
    counted = [step for step in own if step.vertex is not None]
    found: dict[int, int] = {}
    at = len(history)
    for step in reversed(counted):
        place = next((here for here in range(at - 1, -1, -1) if _is_of(graph, step, history[here])), None)
        if place is not None:
            found[step.number] = history[place].size
            at = place
    # Without steps of its own, the image is its base.
    is_base_known = not counted or counted[0].number in found
    base = sum(entry.size for entry in history[:at]) if is_base_known else None
    elsewhere = frozenset(step.number for step in graph.steps if step.stage not in stages)
    return Weights(found, elsewhere, base, sum(entry.size for entry in history))


def _is_of(graph: BuildGraph, step: Step, entry: HistoryEntry) -> bool:
    keyword, _, said = _MARK.sub("", entry.created_by).partition(" ")
    if keyword != step.keyword:
        return False
    said = " ".join(said.split())
    if step.keyword == "WORKDIR":
        return said.rstrip("/") == (step.destination or "/").rstrip("/")
    if step.keyword == "RUN":
        script = _script(step)
        if script is not None and said.split(" ")[-1] == script:
            return True
        command = _command(graph, step)
        # `|1 NAME=value` stands before the command where the step sees build arguments.
        return said == command or (bool(_ARGS.match(said)) and said.endswith(f" {command}"))
    text = _FLAGS.sub("", " ".join(step.text.split()[1:]))
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].replace(", ", " ")
    return _FLAGS.sub("", said) == text


def _script(step: Step) -> str | None:
    """Return what is run where a heredoc says its own program: a file by its name, whatever it holds."""
    run = step.instruction
    script = ins.run_script(run) if isinstance(run, ins.Run) else None
    return script.path if isinstance(script, ins.HeredocFile) else None


def _command(graph: BuildGraph, step: Step) -> str:
    """Return what a RUN executes as one line, its shell included."""
    if step.vertex is None:
        return ""
    words = literal_eval(graph.vertices[step.vertex].operation.part("command") or "()")
    return " ".join(" ".join(words).split())
