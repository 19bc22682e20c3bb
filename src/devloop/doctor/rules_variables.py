"""Variables that change with every commit and stand above expensive steps that do not use them.

ARG and ENV are part of the environment of every RUN below them, used or not. A pair of lines that hands such
a variable on (`ARG GIT_SHA`, `ENV GIT_SHA=$GIT_SHA`) moves down together, to the first line that uses it or
the first step that might read it from its environment. A LABEL of it runs nothing and comes with it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.blocks import Block, Blocks
from devloop.doctor.graphs import context_takings, steps_above
from devloop.doctor.mentions import mentioned
from devloop.doctor.model import Finding, LineEdit, Proposal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devloop.dockerfile.instructions import Instruction
    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import PricedStep, Rule, Subject

VOLATILE: Final = "volatile-variable"

_NAMES: Final = re.compile(
    r"(?:\w+_)?(?:GIT_?(?:SHA|COMMIT|HASH|REV|REVISION|REF|TAG|BRANCH|DIRTY|DESCRIBE)"
    r"|COMMIT(?:_?(?:SHA|HASH|ID|REF|DATE|TIME))?|VCS_REF|REVISION|SOURCE_COMMIT"
    r"|BUILD_?(?:DATE|TIME|TIMESTAMP|NUMBER|NUM|ID|SHA|REV|COMMIT|VERSION)|APP_?VERSION|RELEASE_?(?:VERSION|ID))"
    r"|(?:CI|GITHUB|CIRCLE|BUILDKITE|DRONE)_(?:PIPELINE_I?ID|JOB_ID|RUN_(?:ID|NUMBER|ATTEMPT)"
    r"|COMMIT_SHORT_SHA|SHA1?|REF(?:_NAME)?|BUILD_\w+)"
)
_GENERIC: Final = frozenset({"VERSION", "RELEASE", "BRANCH", "SHA"})
# What reads no variable of this kind: fetchers of packages that are named elsewhere.
_DEAF: Final = frozenset(
    {"apt-install", "apt-update", "apk-add", "apk-update", "dnf-install", "zypper-install", "pacman-install"}
    | {
        "pip-install",
        "pip-tool",
        "uv-sync",
        "poetry-install",
        "pdm-install",
        "pipenv-install",
        "conda-install",
    }
    | {
        "micromamba-install",
        "npm-install",
        "npm-global",
        "yarn-install",
        "pnpm-install",
        "bun-install",
        "go-mod",
    }
    | {"go-install", "cargo-install", "rustup", "maven-dependencies", "gradle-dependencies", "bundle-install"}
    | {"gem-install", "composer-install", "php-extensions", "dotnet-restore", "mix-deps", "mix-bootstrap"}
    | {"swift-resolve", "cargo-chef-cook", "browser-install", "corepack", "cheap", "permissions", "git-clone"}
)
_OF_THE_SYSTEM: Final = frozenset(
    {"apt-install", "apt-update", "apk-add", "apk-update", "dnf-install", "zypper-install", "pacman-install"}
    | {"rustup", "go-mod", "corepack", "cheap", "permissions", "git-clone"}
)
"""What of it runs no file of the project; an install may, as a hook, a setup.py or a plugin."""


def volatile_variable(subject: Subject) -> Iterator[Finding]:
    """Find variables of a commit or a build above steps that they rerun for nothing; one finding a stage."""
    for stage in subject.model.graph.stages:
        found = _Reading(subject, stage).finding()
        if found is not None:
            yield found


RULES: tuple[Rule, ...] = (volatile_variable,)


@dataclass(slots=True)
class _Reading:
    subject: Subject
    stage: Stage

    def finding(self) -> Finding | None:
        moving = self._moving()
        if not moving:
            return None
        first = moving[0][0]
        names = {name for _, found in moving for name in found}
        until, wasted = self._until(first, {at for at, _ in moving}, names)
        if not wasted:
            return None
        body = self.stage.body
        shown = sorted(names)
        known = [one.cost.seconds for one in wasted if one.cost.seconds is not None]
        listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
        runs, them = ("runs", "it") if len(shown) == 1 else ("run", "them")
        line = body[first].span.first
        return Finding(
            code=VOLATILE,
            title=f"{listed} {runs} steps again that do not use {them}",
            first_line=line,
            last_line=wasted[-1].step.span.last,
            why=(
                "a variable counts for every RUN below it:"
                f" {'its' if len(shown) == 1 else 'their'} next value runs {_lines(wasted)} again"
            ),
            way_out="move it down to where it is used first" if until is not None else "take it out",
            category="speed",
            proposal=self._proposal(moving, until),
            wasted=tuple(one.step.vertex for one in wasted if one.step.vertex is not None),
            seconds=sum(known) if known else None,
            stops="" if until is not None else "nothing below uses it",
        )

    def _moving(self) -> list[tuple[int, tuple[str, ...]]]:
        """Return the instructions that set nothing but such variables, with their names."""
        found: list[tuple[int, tuple[str, ...]]] = []
        known: set[str] = set()
        for at, instruction in enumerate(self.stage.body):
            if isinstance(instruction, ins.Label):
                if self._comes_along(instruction, known):
                    found.append((at, ()))
                continue
            names = _set_by(instruction)
            if not names or not all(_is_volatile(name) for name in names):
                continue
            used = _used_names(instruction.text)
            if isinstance(instruction, ins.Env) and not used <= known | set(names):
                continue
            known.update(names)
            found.append((at, names))
        return found

    def _comes_along(self, label: ins.Label, names: set[str]) -> bool:
        """Tell whether a label says one of these variables, and the same wherever it stands in the stage."""
        used = _used_names(label.text)
        if not used or not used <= names or any("$" in key for key, _ in label.pairs):
            return False
        keys = Counter(key for one in self.stage.body if isinstance(one, ins.Label) for key, _ in one.pairs)
        return all(keys[key] == 1 for key, _ in label.pairs)

    def _until(
        self, first: int, moving: set[int], names: set[str]
    ) -> tuple[int | None, tuple[PricedStep, ...]]:
        """Return where the variables are needed first, and the dear steps before that.

        None where nothing below uses them. What the image itself is given (ENV, LABEL) goes behind the last
        of those steps.
        """
        priced_steps = [self.subject.steps[number] for number in self.stage.steps]
        steps = {one.step.span.first: one for one in priced_steps}
        wasted: list[PricedStep] = []
        last = first
        for at, instruction in enumerate(self.stage.body):
            if at <= first:
                continue
            if at in moving:
                if wasted:
                    return at, tuple(wasted)
                continue
            if _mentions(self._text(instruction), names) or isinstance(instruction, ins.Onbuild):
                return at, tuple(wasted)
            if not isinstance(instruction, ins.Run):
                continue
            priced = steps.get(instruction.span.first)
            kinds = set(priced.classification.kinds) if priced and priced.classification else {"unknown"}
            if priced is None or not kinds <= _DEAF or self._runs_a_reader(priced.step, kinds, names):
                return at, tuple(wasted)
            if priced.cost.expensive:
                wasted.append(priced)
                last = at
        if any(isinstance(self.stage.body[at], ins.Env | ins.Label) for at in moving):
            return last + 1, tuple(wasted)
        return None, tuple(wasted)

    def _runs_a_reader(self, step: Step, kinds: set[str], names: set[str]) -> bool:
        """Tell whether a step may run a file that reads one of the variables from its environment."""
        if kinds <= _OF_THE_SYSTEM:
            return False
        graph = self.subject.model.graph
        takings = [
            taken for one in (*steps_above(graph, step), step) for taken in context_takings(graph, one)
        ]
        return bool(takings and mentioned(self.subject, sorted(names), takings))

    def _text(self, instruction: Instruction) -> str:
        span = instruction.span
        lines = self.subject.source.split(b"\n")[span.first - 1 : span.last]
        return b"\n".join(lines).decode("utf-8", "surrogateescape")

    def _proposal(self, moving: list[tuple[int, tuple[str, ...]]], until: int | None) -> Proposal | None:
        if until is None:
            return None
        blocks = Blocks(self.subject.source, self.subject.dockerfile)
        body = self.stage.body
        above = [at for at, _ in moving if at < until]
        found: list[Block] = [blocks.of(body[at], takes_comment=True) for at in above]
        edits = [LineEdit(one.first, blocks.end_of_removal(one, is_replaced=False), b"") for one in found]
        text = b"".join(blocks.text(one.first, one.last) for one in found)
        if until < len(body):
            target = blocks.of(body[until], takes_comment=True).first
        else:
            target = body[-1].span.last + 1
        edits.append(LineEdit(target, target - 1, text))
        return Proposal(tuple(edits), intends=frozenset({"order"}))


def _set_by(instruction: Instruction) -> tuple[str, ...]:
    if isinstance(instruction, ins.Arg):
        return tuple(name for name, _ in instruction.items)
    if isinstance(instruction, ins.Env):
        return tuple(name for name, _ in instruction.pairs)
    return ()


def _is_volatile(name: str) -> bool:
    return name in _GENERIC or _NAMES.fullmatch(name.upper()) is not None


def _used_names(text: str) -> set[str]:
    return set(re.findall(r"\$\{?(\w+)", text))


def _mentions(text: str, names: set[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def _lines(steps: tuple[PricedStep, ...]) -> str:
    numbers = [str(one.step.span.first) for one in steps]
    if len(numbers) == 1:
        return f"line {numbers[0]}"
    return f"lines {', '.join(numbers[:-1])} and {numbers[-1]}"
