"""What starts a container: the instruction that decides about its first process, and a new text for it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.cost.shell import program_name
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import DEFAULT_SHELL
from devloop.doctor.graphs import chain, last_of
from devloop.doctor.rewrite import command_start, has_comment, text_of

if TYPE_CHECKING:
    from devloop.doctor.model import Subject

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})


@dataclass(frozen=True, slots=True)
class Started:
    """The instruction that decides about PID 1. `script` is what a shell is given, None without a shell."""

    instruction: ins.Cmd | ins.Entrypoint
    words: tuple[str, ...]
    script: str | None
    shell: tuple[str, ...]

    @property
    def keyword(self) -> str:
        return self.instruction.keyword


def started_by(subject: Subject) -> Started | None:
    """Return what starts the container; None where an entry program that is not known stands in between."""
    graph = subject.model.graph
    found: tuple[int, ins.Cmd | ins.Entrypoint] | None = last_of(graph, ins.Entrypoint)
    if found is None:
        found = last_of(graph, ins.Cmd)
    if found is None:
        return None
    index, instruction = found
    # The shell form uses the shell of its own stage.
    shell = _shell_of(subject, index, instruction)
    words = instruction.command
    if isinstance(words, str):
        return Started(instruction, (), words, shell)
    if len(words) == 3 and program_name(words[0]) in SHELLS and words[1] in {"-c", "-ec", "-ce"}:
        return Started(instruction, words, words[2], words[:2])
    return Started(instruction, words, None, shell)


def _shell_of(subject: Subject, index: int, instruction: ins.Instruction) -> tuple[str, ...]:
    shell: tuple[str, ...] = DEFAULT_SHELL
    graph = subject.model.graph
    for at in reversed(chain(graph, index)):
        for one in graph.stage(at).body:
            if one is instruction:
                return shell
            if isinstance(one, ins.Shell):
                shell = one.words
    return shell


def new_text(subject: Subject, instruction: ins.Cmd | ins.Entrypoint, words: tuple[str, ...]) -> str | None:
    """Write the instruction anew in exec form, its keyword as it stands; None where a comment would go."""
    text = text_of(subject, instruction)
    at = command_start(text, subject.dockerfile.escape)
    keyword = re.match(r"[ \t]*[A-Za-z]+[ \t]+", text)
    if at is None or keyword is None or has_comment(text):
        return None
    end = text[len(text.rstrip("\r\n")) :]
    return f"{keyword[0]}{as_json(words)}{end}"


def as_json(words: tuple[str, ...]) -> str:
    """Return words as the exec form writes them."""
    return json.dumps(list(words), ensure_ascii=False)
