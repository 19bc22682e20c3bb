"""What a RUN reads of the project, from the needs of its commands."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from devloop.cost.shell import commands_of, commands_of_words
from devloop.dockerfile import instructions as ins
from devloop.doctor.needs.answers import Needs, Source, Split, Stop, Where
from devloop.doctor.needs.dispatch import kind_of, needs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.cost.shell import Command
    from devloop.dockerfile.stages import Step
    from devloop.doctor.model import PricedStep
    from devloop.doctor.needs.answers import Answer
    from devloop.doctor.placed import Placed


@dataclass(frozen=True, slots=True)
class Work:
    """What a RUN reads of the project: nothing, manifests, some of the source, or nobody knows."""

    needs: tuple[Needs, ...] = ()
    split: Split | None = None
    stop: str = ""
    source: str = ""
    parts: int = 0
    kinds: frozenset[str] = frozenset()

    @property
    def installs(self) -> bool:
        """Whether one of its commands reads manifests."""
        return any(one.is_install for one in self.needs)

    @property
    def is_free(self) -> bool:
        """Whether nothing of it reads the source, as far as is known."""
        return not self.stop and not self.source and self.split is None

    @property
    def files(self) -> tuple[str, ...]:
        """The manifests that it reads, by their paths in the image."""
        return tuple(dict.fromkeys(path for one in self.needs for path in one.files))

    @property
    def folders(self) -> tuple[str, ...]:
        """The whole folders that it reads."""
        return tuple(dict.fromkeys(path for one in self.needs for path in one.folders))

    @property
    def fills(self) -> tuple[str, ...]:
        """The folders that it installs into."""
        return tuple(dict.fromkeys(path for one in self.needs for path in one.fills))


NOTHING: Final = Work()
_PLAIN_WORD: Final = re.compile(r"[\w@%+=:,./-]+")


def work_of(priced: PricedStep | None, run: ins.Run, placed: Placed) -> Work:
    """Say what a RUN reads of what lies above it."""
    if priced is None:
        return Work(source="it")
    step = priced.step
    text = priced.cost.command
    commands = _commands(run, step, text)
    if (
        commands is None
        or _sources_something(text, step, placed)
        or _writes_over(text, step, placed)
        or (priced.classification is not None and priced.classification.is_second_phase)
    ):
        return Work(source="it")
    if any(mount.type == "bind" and not mount.get("from") for mount in run.mounts):
        return Work(source="a bind mount")
    needs: list[Needs] = []
    kinds: set[str] = set()
    for number, command in enumerate(commands):
        where = _where(step, command, placed)
        answer = needs_of(command, where)
        match answer:
            case Needs(split=None):
                needs.append(answer)
                kinds.add(kind_of(command)[0])
            case Needs(split=Split() as split):
                rest = [needs_of(one, _where(step, one, placed)) for one in commands[number + 1 :]]
                reason = _why_whole(text, commands[:number], command, split)
                if reason:
                    return Work((*needs, answer), stop=reason)
                entered = command.directory or ""
                if split.entered and split.entered != where.folder:
                    entered = "" if split.entered == step.workdir else split.entered
                split = replace(split, assigned=command.assignments, entered=entered)
                return _split_work(needs, answer, split, rest)
            case Stop(reason=reason):
                return Work(tuple(needs), stop=reason, parts=number)
            case Source(label=label):
                return Work(tuple(needs), source=label, parts=number, kinds=frozenset(kinds))
    return Work(tuple(needs), kinds=frozenset(kinds), parts=len(commands))


# They change nothing that a command of the same RUN could depend on, outside of the project.
_PREPARES_NOTHING: Final = frozenset(
    {"mkdir", "echo", "printf", "ls", "date", "pwd", "true", "which", "test"}
)
_SETS_VARIABLES: Final = re.compile(r"(?:^|[;&|\n({])\s*(?:export|declare|alias|set\s+-a)\b")
_AS_ANOTHER: Final = re.compile(r"(?:^|[;&|\n({\s])(?:sudo|gosu|su-exec|su|runuser|setpriv)\s")


def _why_whole(text: str, above: Sequence[Command], command: Command, split: Split) -> str:
    """Say why a part of a RUN would not do the same as a step of its own; empty where it does."""
    if not split.insert and not split.after:
        return ""
    earlier = next((one for one in above if one.words and one.program not in _PREPARES_NOTHING), None)
    if earlier is not None and split.insert:
        return f"`{' '.join(earlier.words[:2])}` in the same RUN may prepare what it needs"
    if _SETS_VARIABLES.search(text):
        return "the RUN sets variables for its commands"
    if _AS_ANOTHER.search(text):
        return "another user runs it inside of the RUN"
    if any(not _PLAIN_WORD.fullmatch(one) for one in command.assignments):
        return "its variables are set from others"
    return ""


def _split_work(before: list[Needs], answer: Needs, split: Split, rest: Sequence[Answer]) -> Work:
    is_mixed = any(one.is_install for one in before) or any(
        isinstance(one, Needs) and one.is_install and one.split is None for one in rest
    )
    if is_mixed:
        return Work((*before, answer), stop="the step installs and builds in one")
    if not split.insert and any(not isinstance(one, Needs) or one.is_install for one in rest):
        return Work((*before, answer), stop="the step does more with the source than the install")
    return Work((*before, answer), split=split)


def _commands(run: ins.Run, step: Step, text: str) -> tuple[Command, ...] | None:
    """Return the commands of a RUN; None where its text does more than can be followed here."""
    if step.shell and posixpath.basename(step.shell[0]) not in {"sh", "bash", "dash", "ash", "zsh"}:
        return None
    form = ins.run_script(run)
    if isinstance(form, ins.ExecWords):
        return commands_of_words(form.words)
    if isinstance(form, ins.HeredocFile):
        return None
    bare = re.sub(r"<<-?\s*['\"]?\w+['\"]?", "", text)
    if re.search(r"(?<![<])<(?![<(=])", bare) or len(re.findall(r"(?:^|[;&|\s])(?:cd|pushd)\s", text)) > 1:
        return None
    for sourced in _sourced(text):
        if not sourced.startswith(("/", "$", "~")) and "activate" not in sourced:
            return None
    if re.search(r">\s*(?![/&$\s\"'])", re.sub(r"\d?>&\d|=>|->", "", text)):
        return None
    return commands_of(text)


def _sourced(text: str) -> list[str]:
    return re.findall(r"(?:^|[;&|\n({])\s*(?:\.|source)\s+(\S+)", text)


def _sources_something(text: str, step: Step, placed: Placed) -> bool:
    """Tell whether a shell reads its settings from a folder of the project, or from one of that name."""
    folders = [posixpath.dirname(posixpath.dirname(one)) or one for one in _sourced(text)]
    return any(placed.below(posixpath.normpath(posixpath.join(step.workdir, one))) for one in folders)


_REDIRECTED: Final = re.compile(r">\s*(?:\"([^\"\s]+)\"|'([^'\s]+)'|(/[^\s;&|)]+))")


def _writes_over(text: str, step: Step, placed: Placed) -> bool:
    """Tell whether a shell writes into a file that was copied, or beside those that were."""
    environment = dict(step.environment)
    for found in _REDIRECTED.finditer(text):
        target = next(one for one in found.groups() if one)
        target = re.sub(r"\$\{?(\w+)\}?", lambda one: environment.get(one[1], one[0]), target)
        if target.startswith("/"):
            if placed.has(posixpath.normpath(target)):
                return True
        elif re.fullmatch(r"[\w./-]+", target):
            return True
    return False


def _where(step: Step, command: Command, placed: Placed) -> Where:
    """Say where a command runs, with the variables that are set for it alone too."""
    folder = posixpath.normpath(posixpath.join(step.workdir, command.directory or ""))
    assigned = (one.partition("=") for one in command.assignments)
    return Where(
        folder,
        placed,
        {**dict(step.environment), **{name: value.strip("\"'") for name, _, value in assigned}},
    )
