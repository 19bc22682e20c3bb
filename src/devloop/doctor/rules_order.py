"""Installs that stand below a copy of what they do not read: dependencies, OS packages and tools.

A copy is moved down past the steps that read nothing of it, and only the manifests that an install reads are
copied in its place. It stops above the first step that reads the source, or of which that is not known. Lines
are moved as they stand; nothing that a step could tell apart (user, folder, variables, shell) changes for it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from devloop.cost.priors import PRIORS
from devloop.cost.shell import commands_of, commands_of_words
from devloop.dockerfile import instructions as ins
from devloop.doctor.blocks import Blocks
from devloop.doctor.edits import line_end
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.needs.answers import Needs, Source, Split, Stop, Where
from devloop.doctor.needs.dispatch import kind_of, needs_of
from devloop.doctor.needs.free import OS_KINDS, TOOL_KINDS
from devloop.doctor.placed import Placed, placed_by
from devloop.plan.advice import is_needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from devloop.cost.shell import Command
    from devloop.dockerfile.instructions import Instruction
    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import PricedStep, Subject
    from devloop.doctor.needs.answers import Answer

INSTALL: Final = "source-before-install"
PACKAGES: Final = "source-before-packages"

_LEAST_SECONDS: Final = 1.0
_MOST_COPIES: Final = 12
_SOURCE_ENDINGS: Final = (
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".jsx", ".tsx", ".vue", ".svelte", ".go", ".rs", ".java", ".kt"),
    *(
        ".scala",
        ".groovy",
        ".rb",
        ".php",
        ".cs",
        ".fs",
        ".ex",
        ".erl",
        ".c",
        ".cc",
        ".cpp",
        ".h",
        ".hs",
        ".swift",
    ),
    *(".html", ".css", ".scss"),
)
# What an install may read without naming it: certificates, sources of packages, settings of tools, programs.
_SYSTEM_PLACES: Final = (
    *(
        "/etc/apt",
        "/etc/apk",
        "/etc/yum.repos.d",
        "/etc/yum",
        "/etc/dnf",
        "/etc/zypp",
        "/etc/pacman.d",
        "/etc/ssl",
    ),
    *("/etc/pki", "/etc/profile.d", "/etc/ld.so.conf.d", "/usr/share/ca-certificates", "/usr/share/keyrings"),
    *("/usr/local/share/ca-certificates", "/usr/local/etc", "/usr/local/bin", "/usr/bin", "/bin", "/sbin"),
    *("/usr/sbin", "/usr/local/sbin", "/usr/lib", "/usr/local/lib", "/lib", "/root", "/run"),
)
_PLAIN_NAME: Final = re.compile(r"[\w./@+~-]+")


@dataclass(frozen=True, slots=True)
class _Work:
    """What a RUN reads of the project: nothing, manifests, some of the source, or nobody knows."""

    needs: tuple[Needs, ...] = ()
    split: Split | None = None
    stop: str = ""
    source: str = ""
    parts: int = 0
    kinds: frozenset[str] = frozenset()

    @property
    def installs(self) -> bool:
        return any(one.is_install for one in self.needs)

    @property
    def is_free(self) -> bool:
        return not self.stop and not self.source and self.split is None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for one in self.needs for path in one.files))

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for one in self.needs for path in one.folders))

    @property
    def fills(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for one in self.needs for path in one.fills))


_NOTHING: Final = _Work()


@dataclass(slots=True)
class _Item:
    """An instruction of a stage with what is known of it."""

    at: int
    instruction: Instruction
    priced: PricedStep | None
    placed: Mapping[str, str] | None = None
    work: _Work | None = None
    blamed: bool = False
    above: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> Step | None:
        return self.priced.step if self.priced is not None else None

    @property
    def reading(self) -> _Work:
        """What it reads, as a RUN; nothing for every other instruction."""
        return self.work or _NOTHING

    @property
    def taken(self) -> Mapping[str, str]:
        """What it puts where, as a copy of the context; nothing for every other instruction."""
        return self.placed or {}

    @property
    def destination(self) -> str:
        """Where a copy goes, without a slash at the end."""
        text = self.step.destination if self.step is not None else None
        return (text or "/").rstrip("/") or "/"


def order_rule(subject: Subject) -> Iterator[Finding]:
    """Find installs below copies of what they do not read, stage by stage."""
    for stage in subject.model.graph.stages:
        items = _items(subject, stage)
        yield from _Stage(subject, stage, items).findings()


RULES = (order_rule,)


# Reading a stage --------------------------------------------------------------------------------------------


def _items(subject: Subject, stage: Stage) -> list[_Item]:
    by_line = {
        subject.steps[number].step.span.first: subject.steps[number]
        for number in stage.steps
        if not subject.steps[number].step.is_trigger
    }
    executable = frozenset(one.path for one in subject.paths if one.is_executable)
    items: list[_Item] = []
    above = _inherited(subject, stage)
    for at, instruction in enumerate(stage.body):
        item = _Item(at, instruction, by_line.get(instruction.span.first))
        step = item.step
        if step is not None and isinstance(instruction, ins.Copy | ins.Add):
            item.placed = placed_by(subject, step)
            above = {**above, **item.taken}
        if step is not None and isinstance(instruction, ins.Run):
            placed = Placed(above, subject.texts, executable)
            item.work = _work(item, instruction, placed)
        item.above = above
        items.append(item)
    for item in items:
        item.blamed = _is_blamed(item, items)
    return items


def _inherited(subject: Subject, stage: Stage) -> dict[str, str]:
    """Return what the stages below this one have copied."""
    found: dict[str, str] = {}
    index = stage.base_stage
    chain = []
    while index is not None:
        chain.append(subject.model.graph.stage(index))
        index = chain[-1].base_stage
    for one in reversed(chain):
        for number in one.steps:
            found.update(placed_by(subject, subject.steps[number].step) or {})
    return found


def _work(item: _Item, run: ins.Run, placed: Placed) -> _Work:
    """Say what a RUN reads of what lies above it."""
    priced = item.priced
    if priced is None:
        return _Work(source="it")
    step = priced.step
    text = priced.cost.command
    commands = _commands(run, step, text)
    if (
        commands is None
        or _sources_something(text, step, placed)
        or (priced.classification is not None and priced.classification.is_second_phase)
    ):
        return _Work(source="it")
    if any(mount.type == "bind" and not mount.get("from") for mount in run.mounts):
        return _Work(source="a bind mount")
    environment = dict(step.environment)
    needs: list[Needs] = []
    kinds: set[str] = set()
    for number, command in enumerate(commands):
        where = Where(_folder(step, command), placed, environment)
        answer = needs_of(command, where)
        match answer:
            case Needs(split=None):
                needs.append(answer)
                kinds.add(kind_of(command)[0])
            case Needs(split=Split() as split):
                rest = [
                    needs_of(one, Where(_folder(step, one), placed, environment))
                    for one in commands[number + 1 :]
                ]
                return _split_work(needs, answer, split, rest)
            case Stop(reason=reason):
                return _Work(tuple(needs), stop=reason, parts=number)
            case Source(label=label):
                return _Work(tuple(needs), source=label, parts=number, kinds=frozenset(kinds))
    return _Work(tuple(needs), kinds=frozenset(kinds), parts=len(commands))


def _split_work(before: list[Needs], answer: Needs, split: Split, rest: Sequence[Answer]) -> _Work:
    is_mixed = any(one.is_install for one in before) or any(
        isinstance(one, Needs) and one.is_install and one.split is None for one in rest
    )
    if is_mixed:
        return _Work((*before, answer), stop="the step installs and builds in one")
    if not split.insert and any(not isinstance(one, Needs) or one.is_install for one in rest):
        return _Work((*before, answer), stop="the step does more with the source than the install")
    return _Work((*before, answer), split=split)


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


def _folder(step: Step, command: Command) -> str:
    return posixpath.normpath(posixpath.join(step.workdir, command.directory or ""))


def _is_blamed(item: _Item, items: Sequence[_Item]) -> bool:
    """Tell whether a copy takes source: a folder with more than manifests in it, or a file of code."""
    if not item.placed or item.step is None or not isinstance(item.instruction, ins.Copy | ins.Add):
        return False
    destination = item.destination
    if destination == "/etc" or any(f"{destination}/".startswith(f"{one}/") for one in _SYSTEM_PLACES):
        return False
    below = [one.work for one in items[item.at + 1 :] if one.work is not None]
    needed = {path for work in below for path in work.files}
    folders = tuple(f"{folder}/" for work in below for folder in work.folders)
    foreign = [
        context
        for path, context in item.placed.items()
        if path not in needed
        and not path.startswith(folders)
        and not is_needed(context, _MANIFESTS, ["pip", "yarn", "gradle"])
    ]
    if _takes_root(item):
        return any(_is_watched(context) for context in foreign)
    if _takes_folder(item):
        is_named = any(
            destination in value for _, value in item.step.environment if destination.count("/") > 1
        )
        return not is_named and any(_is_watched(context) for context in foreign)
    return any(context.endswith(_SOURCE_ENDINGS) and not _is_config(context) for context in foreign)


_MANIFESTS: Final = tuple(
    dict.fromkeys(
        name
        for prior in PRIORS
        for name in prior.manifests
        if name not in {"gradle/*", "build.rs", "package.yaml"}
    )
)


def _takes_root(item: _Item) -> bool:
    return any(posixpath.normpath(f"/{one}") in {"/", "//"} for one in _raw_sources(item))


def _takes_folder(item: _Item) -> bool:
    """Tell whether one of the sources of a copy is a folder: its files have other names than that."""
    names = {posixpath.basename(context) for context in item.taken.values()}
    sources = [posixpath.basename(one.rstrip("/")) for one in _raw_sources(item)]
    return any(source not in names and "*" not in source for source in sources)


def _destination_of(item: _Item) -> str:
    """Return the destination of a copy as it is written."""
    return item.instruction.destination if isinstance(item.instruction, ins.Copy | ins.Add) else "/"


def _raw_sources(item: _Item) -> tuple[str, ...]:
    return item.instruction.sources if isinstance(item.instruction, ins.Copy | ins.Add) else ()


def _is_watched(path: str) -> bool:
    """Tell whether people edit this file while they work: not what only describes the repository."""
    name = posixpath.basename(path)
    return not name.startswith((".", "README", "LICENSE", "Dockerfile", "CHANGELOG", "Makefile"))


def _is_config(path: str) -> bool:
    name = posixpath.basename(path)
    return (
        ".config." in name
        or name in {"setup.py", "build.rs", "conftest.py", "noxfile.py"}
        or name.startswith(".")
    )


# Findings of a stage ----------------------------------------------------------------------------------------


class _UnsureError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Stage:
    """The findings about one stage."""

    def __init__(self, subject: Subject, stage: Stage, items: list[_Item]) -> None:
        self.subject = subject
        self.stage = stage
        self.items = items
        self.blocks = Blocks(subject.source, subject.dockerfile)
        self.end = line_end(subject.source)

    def findings(self) -> Iterator[Finding]:
        copies = [item for item in self.items if item.blamed]
        if not copies:
            return
        installs = [item for item in self.items if self._is_install_below(item, copies)]
        if installs:
            yield self._install_finding(copies, installs)
        packages = [item for item in self.items if self._is_package_below(item, copies)]
        if packages and not installs:
            yield self._package_finding(copies, packages)
        elif packages:
            left = self._left_behind(copies, installs, packages)
            if left:
                yield self._package_finding(copies, left)

    def _is_install_below(self, item: _Item, copies: list[_Item]) -> bool:
        work = item.work
        if work is None or copies[0].at > item.at or self._seconds(item) < _LEAST_SECONDS:
            return False
        if work.split is not None and work.split.insert and self._keeps_downloads(item, work.split):
            return False
        if work.stop:
            # What a narrow copy brings may well be what the install reads.
            takes_all = any(_takes_root(copy) for copy in copies if copy.at < item.at)
            return takes_all and not self._has_its_downloads(item)
        if work.source:
            return any(one.is_install and one.family for one in work.needs)
        return work.installs or work.split is not None

    def _has_its_downloads(self, item: _Item) -> bool:
        """Tell whether a build has its dependencies already: from a step above it, or from a cache mount."""
        priced = item.priced
        if priced is None or priced.classification is None or priced.cost.role != "build":
            return False
        family = priced.classification.family
        return priced.classification.has_cache_mount or any(
            other.priced is not None
            and other.priced.classification is not None
            and family in other.priced.classification.families
            for other in self.items[: item.at]
        )

    def _keeps_downloads(self, item: _Item, split: Split) -> bool:
        """Tell whether a build needs no step of its own for its downloads: a cache mount keeps them."""
        instruction = item.instruction
        has_mount = isinstance(instruction, ins.Run) and any(
            one.type == "cache" for one in instruction.mounts
        )
        return has_mount or any(
            other.work is not None and other.priced is not None and split.kind in _kinds(other.priced)
            for other in self.items[: item.at]
        )

    def _is_package_below(self, item: _Item, copies: list[_Item]) -> bool:
        work = item.work
        return (
            work is not None
            and copies[0].at < item.at
            and work.is_free
            and not work.installs
            and bool(work.kinds & (OS_KINDS | TOOL_KINDS))
            and self._seconds(item) >= _LEAST_SECONDS
        )

    def _seconds(self, item: _Item) -> float:
        return (item.priced.cost.seconds or 0.0) if item.priced is not None else 0.0

    # Installs

    def _install_finding(self, copies: list[_Item], installs: list[_Item]) -> Finding:
        first = installs[0]
        above = [item for item in copies if item.at < first.at]
        stops = ""
        proposal = None
        moved: list[_Item] = above
        freed = [first]
        try:
            proposal, moved, freed = self._move_down(above, installs)
        except _UnsureError as unsure:
            stops = unsure.reason
        name = _command_name(first)
        copy = moved[0]
        files = sum(len(item.taken) for item in moved)
        return Finding(
            code=INSTALL,
            title=f"`{name}` runs again for every change of the source",
            first_line=copy.instruction.span.first,
            last_line=first.instruction.span.last,
            why=(
                f"{_shown(copy.instruction)} (line {copy.instruction.span.first}) puts {_count(files)} above"
                f" it, and it reads {self._reads(first)}"
            ),
            way_out=self._way_out(first, freed),
            category="speed",
            proposal=proposal,
            wasted=tuple(item.step.vertex for item in freed if item.step and item.step.vertex is not None),
            seconds=self._wasted_seconds(freed),
            stops=stops,
        )

    def _reads(self, item: _Item) -> str:
        work = item.reading
        names = [posixpath.basename(path) for path in work.files]
        names += [f"{posixpath.basename(path)}/" for path in work.folders]
        if not names:
            return "only what describes the dependencies"
        shown = list(dict.fromkeys(names))
        if len(shown) > 4:
            shown = [*shown[:3], f"{len(shown) - 3} more"]
        if len(shown) == 1:
            return (
                f"only {shown[0]}"
                if work.split is None or not work.split.insert
                else f"its dependencies in {shown[0]}"
            )
        listed = f"{', '.join(shown[:-1])} and {shown[-1]}"
        return (
            f"only {listed}"
            if work.split is None or not work.split.insert
            else f"its dependencies in {listed}"
        )

    def _way_out(self, first: _Item, freed: list[_Item]) -> str:
        work = first.reading
        split = work.split
        if split is not None and split.insert:
            fetch = split.insert.split(" && ")[-1]
            return f"copy the manifests and fetch first (`{fetch}`), then copy the source"
        if split is not None:
            return f"copy the manifests, install with {split.flag}, copy the source, then finish the install"
        return "copy the manifests, install, then copy the source" + (
            "" if len(freed) < 2 else f" (frees {len(freed)} steps)"
        )

    def _wasted_seconds(self, freed: Iterable[_Item]) -> float | None:
        total = 0.0
        for item in freed:
            seconds = item.priced.cost.seconds if item.priced is not None else None
            if seconds is None:
                return None
            split = item.work.split if item.work is not None else None
            if split is not None and split.insert:
                seconds = min(seconds, _prior_seconds(split.kind))
            elif item.work is not None and item.work.source:
                seconds = min(seconds, sum(_prior_seconds(kind) for kind in sorted(item.work.kinds)))
            total += seconds
        return total or None

    def _move_down(
        self, above: list[_Item], installs: list[_Item]
    ) -> tuple[Proposal, list[_Item], list[_Item]]:
        """Move the copies below the installs; raises where something stands in the way."""
        first = installs[0]
        work = first.reading
        if work.stop:
            raise _UnsureError(work.stop)
        until = first.at
        for item in above:
            self._must_pass(item, first)
        if work.is_free:
            until = self._reach(above, first.at)
        moved = [item for item in self.items if item.blamed and item.at < until]
        freed = [
            item
            for item in self.items[moved[0].at : until + 1]
            if item.work is not None
            and (item.work.installs or item.work.kinds & (OS_KINDS | TOOL_KINDS) or item.at == first.at)
        ]
        self._refuse_overwrites(moved, freed)
        mixed = None
        if work.source:
            mixed = self._parts(first)
        edits = self._edits(moved, [item for item in freed if item.reading.installs], until, mixed)
        intends = {"order"}
        if work.split is not None:
            intends.add("install cache")
        return Proposal(tuple(edits), intends=frozenset(intends)), moved, freed  # type: ignore[arg-type]  # words of Intent

    def _must_pass(self, copy: _Item, until: _Item) -> None:
        for item in self.items[copy.at + 1 : until.at]:
            reason = self._barrier(copy, item)
            if reason:
                raise _UnsureError(reason)

    def _reach(self, copies: list[_Item], start: int) -> int:
        """Return the last step that gains, from an install on, below which all copies may stand."""
        reached = start
        moving = list(copies)
        for item in self.items[start + 1 :]:
            if any(self._barrier(copy, item) for copy in moving):
                break
            if item.blamed:
                moving.append(item)
            work = item.work
            if work is not None and (work.installs or work.kinds & (OS_KINDS | TOOL_KINDS)):
                reached = item.at
        return reached

    def _barrier(self, copy: _Item, item: _Item) -> str:
        """Say why a copy cannot be moved down past an instruction; empty where it can."""
        line = item.instruction.span.first
        placed = copy.taken
        match item.instruction:
            case ins.Run():
                work = item.work
                if work is None or not work.is_free:
                    what = (work.source if work is not None else "") or "it"
                    return f"`{what}` on line {line} may read the source"
            case ins.Workdir():
                if not _destination_of(copy).startswith("/"):
                    return f"WORKDIR on line {line} changes where the copy goes"
            case ins.Env(pairs=named) | ins.Arg(items=named):
                if any(_uses(copy.instruction.text, name) for name, _ in named):
                    return f"the copy may use a variable of line {line}"
            case ins.Copy() | ins.Add():
                other = item.placed
                if other is not None:
                    if any(placed.get(path, context) != context for path, context in other.items()):
                        return f"line {line} replaces files of the copy"
                elif item.step is not None and item.step.destination is not None:
                    there = item.step.destination.rstrip("/")
                    is_there = any(path == there or path.startswith(f"{there}/") for path in placed)
                    if is_there and not self._is_apart(item, placed):
                        return f"line {line} may replace files of the copy"
            case ins.Onbuild() | ins.Volume():
                return f"line {line} stands between"
            case _:
                pass
        return ""

    def _is_apart(self, item: _Item, placed: Mapping[str, str]) -> bool:
        """Tell whether a copy from elsewhere into a folder names files that the other does not have."""
        destination = item.step.destination if item.step is not None else None
        sources = _raw_sources(item)
        if destination is None or not destination.endswith("/"):
            return False
        names = [posixpath.basename(source.rstrip("/")) for source in sources]
        if any(
            "*" in name or "." not in name or source.endswith("/")
            for name, source in zip(names, sources, strict=True)
        ):
            return False
        return not any(f"{destination}{name}" in placed for name in names)

    def _refuse_overwrites(self, moved: list[_Item], freed: list[_Item]) -> None:
        """Refuse where the copy would now replace what an install has written."""
        for item in freed:
            needed = set(item.reading.files)
            for fill in item.reading.fills:
                clash = next(
                    (
                        context[: len(context) - len(path) + len(fill)]
                        for copy in moved
                        for path, context in copy.taken.items()
                        if path.startswith(f"{fill}/") and path not in needed
                    ),
                    None,
                )
                if clash is not None:
                    raise _UnsureError(
                        f"{clash or fill}/ of the work tree is copied too and would replace what is"
                        " installed: name it in the ignore file first"
                    )

    # Writing

    def _edits(
        self, moved: list[_Item], installs: list[_Item], until: int, mixed: tuple[bytes, bytes] | None
    ) -> list[LineEdit]:
        edits: list[LineEdit] = []
        copied: set[str] = set()
        kept = [item for item in self.items if item.placed and item not in moved]
        lines: dict[int, list[bytes]] = {}
        for number, item in enumerate(installs):
            for other in kept:
                if other.at < item.at:
                    copied.update(other.taken)
            for copy in moved:
                wanted = [path for path in item.reading.files if path not in copied and path in copy.taken]
                folders = [
                    folder
                    for folder in item.reading.folders
                    if any(path.startswith(f"{folder}/") and path not in copied for path in copy.taken)
                ]
                found = self._manifest_copies(copy, wanted, folders, at=item if number else copy)
                copied.update(wanted)
                copied.update(p for p in copy.taken if p.startswith(tuple(f"{one}/" for one in folders)))
                lines.setdefault(item.at if number else copy.at, []).extend(found)
        if sum(len(found) for found in lines.values()) > _MOST_COPIES:
            raise _UnsureError(f"its manifests lie in more than {_MOST_COPIES} folders")
        last = self.items[until]
        blocks = []
        for copy in moved:
            block = self.blocks.of(copy.instruction, takes_comment=self._takes_comment(copy))
            text = b"".join(lines.pop(copy.at, []))
            edits.append(
                LineEdit(block.first, self.blocks.end_of_removal(block, is_replaced=bool(text)), text)
            )
            blocks.append(block)
        for at, found in lines.items():
            block = self.blocks.of(self.items[at].instruction, takes_comment=True)
            edits.append(LineEdit(block.first, block.first - 1, b"".join(found)))
        edits += self._below(last, blocks, mixed)
        return edits

    def _takes_comment(self, copy: _Item) -> bool:
        comment = self.blocks.comment_above(copy.instruction).decode("utf-8", "replace").lower()
        if re.search(r"install|dependenc|requirement|package|module|\bdeps\b", comment):
            return "ignore=" in comment
        return True

    def _below(
        self, last: _Item, blocks: Sequence[object], mixed: tuple[bytes, bytes] | None
    ) -> list[LineEdit]:
        """Put the moved copies below a step, and the step apart where it has to be."""
        span = last.instruction.span
        work = last.work
        split = work.split if work is not None else None
        moved = self.blocks.joined(blocks, last.instruction)  # type: ignore[arg-type]  # blocks of this file
        raw = self.blocks.text(span.first, span.last)
        if mixed is not None:
            return [LineEdit(span.first, span.last, mixed[0] + moved + mixed[1])]
        if split is None:
            return [LineEdit(span.last + 1, span.last, moved)]
        if split.insert:
            keyword = self._run_keyword(raw)
            flags = self._flags(last.instruction)
            insert = keyword + flags + split.insert.encode() + self.end
            if split.prefix:
                raw = self._prefixed(last, raw, split.prefix)
            return [LineEdit(span.first, span.last, insert + moved + raw)]
        first = self._with_flag(raw, split)
        below = raw if split.again else self._run_keyword(raw) + split.after.encode() + self.end
        return [LineEdit(span.first, span.last, first + moved + below)]

    def _run_keyword(self, raw: bytes) -> bytes:
        found = re.match(rb"\s*(run)\s", raw, re.IGNORECASE)
        return (found[1] if found else b"RUN") + b" "

    def _flags(self, instruction: Instruction) -> bytes:
        """Return the options of a RUN, so that what is put above it runs under the same."""
        if not isinstance(instruction, ins.Run):
            return b""
        flags = [f"--mount={mount.raw}" for mount in instruction.mounts]
        flags += [f"--network={instruction.network}"] if instruction.network else []
        return "".join(f"{flag} " for flag in flags).encode("utf-8", "surrogateescape")

    def _prefixed(self, item: _Item, raw: bytes, prefix: str) -> bytes:
        run = item.instruction
        if not isinstance(run, ins.Run) or not isinstance(run.command, str) or run.heredocs or run.mounts:
            raise _UnsureError("the step is not written as one line for the shell")
        found = re.match(rb"(\s*run\s+)", raw, re.IGNORECASE)
        if found is None:
            raise _UnsureError("the step is not written as one line for the shell")
        return found[1] + prefix.encode() + raw[found.end() :]

    def _with_flag(self, raw: bytes, split: Split) -> bytes:
        pattern = _spaced(split.behind)
        found = pattern.search(raw)
        if found is None or len(pattern.findall(raw)) != 1:
            raise _UnsureError(f"`{split.behind}` is not written once in the step")
        return raw[: found.end()] + b" " + split.flag.encode() + raw[found.end() :]

    def _parts(self, item: _Item) -> tuple[bytes, bytes]:
        """Cut a RUN of several commands behind those that read only manifests."""
        run = item.instruction
        work = item.reading
        raw = self.blocks.text(run.span.first, run.span.last)
        refusal = f"`{work.source}` in the same RUN reads the source"
        if not isinstance(run, ins.Run) or not isinstance(run.command, str) or run.heredocs or run.mounts:
            raise _UnsureError(refusal)
        text = run.command
        if any(mark in raw for mark in (b"#", b"'", b'"')):
            raise _UnsureError(refusal)
        entered = re.match(r"cd\s+([\w./-]+)\s*&&\s*", text)
        rest = text[entered.end() :] if entered else text
        if re.search(r"[;|(){}`$]|(?<!&)&(?!&)|\b(cd|export|set|if|for|source|\.)\s", rest):
            raise _UnsureError(refusal)
        marks = list(re.finditer(rb"&&", raw))[1 if entered else 0 :]
        if not work.parts or len(marks) < work.parts or len(rest.split("&&")) != len(marks) + 1:
            raise _UnsureError(refusal)
        if len(commands_of(rest)) != len(marks) + 1:
            raise _UnsureError(refusal)
        mark = marks[work.parts - 1]
        escape = re.escape(self.subject.dockerfile.escape.encode())
        head = re.sub(rb"(\s|" + escape + rb"\r?\n)+$", b"", raw[: mark.start()]) + self.end
        tail = re.sub(rb"^(\s|" + escape + rb"\r?\n)+", b"", raw[mark.end() :])
        folder = f"cd {entered[1]} && ".encode() if entered else b""
        return head, self._run_keyword(raw) + folder + tail

    def _manifest_copies(
        self, copy: _Item, wanted: list[str], folders: list[str], *, at: _Item
    ) -> list[bytes]:
        """Write the COPY lines for some of the files that a copy takes, to the same places."""
        groups: dict[tuple[str, bool], list[str]] = {}
        for path in wanted:
            groups.setdefault((posixpath.dirname(path), False), []).append(copy.taken[path])
        for folder in folders:
            inside = next(path for path in copy.taken if path.startswith(f"{folder}/"))
            source = copy.taken[inside][: len(copy.taken[inside]) - (len(inside) - len(folder))]
            groups[folder, True] = [source]
        return [self._copy_line(copy, sources, folder, at) for (folder, _), sources in groups.items()]

    def _copy_line(self, copy: _Item, sources: list[str], folder: str, at: _Item) -> bytes:
        instruction = copy.instruction
        if not isinstance(instruction, ins.Copy | ins.Add) or any(
            not _PLAIN_NAME.fullmatch(one) for one in sources
        ):
            raise _UnsureError("a manifest has a name with signs that a COPY reads in its own way")
        raw = self.blocks.text(instruction.span.first, instruction.span.last)
        keyword = b"copy" if raw.lstrip()[:4].islower() else b"COPY"
        flags = [
            *([f"--chown={instruction.chown}"] if instruction.chown else []),
            *([f"--chmod={instruction.chmod}"] if instruction.chmod else []),
            *(["--link"] if instruction.link else []),
        ]
        words = [*flags, *sources, self._destination(copy, folder, at)]
        return keyword + b" " + " ".join(words).encode("utf-8", "surrogateescape") + self.end

    def _destination(self, copy: _Item, folder: str, at: _Item) -> str:
        base = copy.destination
        text = _destination_of(copy)
        here, other = copy.step, at.step
        is_elsewhere = here and other and other.workdir != here.workdir and not text.startswith("/")
        is_below = folder == base or folder.startswith(f"{base.rstrip('/')}/")
        if is_elsewhere or not is_below or any(mark in text for mark in "\"'\\"):
            return folder.rstrip("/") + "/"
        text = "./" if text in {".", "./"} else text if text.endswith("/") else f"{text}/"
        inside = folder[len(base.rstrip("/")) :].strip("/")
        return f"{text}{inside}/" if inside else text

    # OS packages and tools

    def _left_behind(self, copies: list[_Item], installs: list[_Item], packages: list[_Item]) -> list[_Item]:
        """Return the packages that stay below a copy when the installs are put right."""
        first = installs[0]
        above = [item for item in copies if item.at < first.at]
        if (
            first.work is not None
            and first.work.is_free
            and not any(
                self._barrier(copy, item) for copy in above for item in self.items[copy.at + 1 : first.at]
            )
        ):
            until = self._reach(above, first.at)
        else:
            until = first.at if not (first.work and first.work.stop) else -1
        return [item for item in packages if item.at > until]

    def _package_finding(self, copies: list[_Item], packages: list[_Item]) -> Finding:
        stops = ""
        proposal = None
        freed = packages[:1]
        try:
            proposal, freed = self._packages_up(copies, packages)
        except _UnsureError as unsure:
            stops = unsure.reason
        first = freed[0]
        copy = next(item for item in copies if item.at < first.at)
        work = first.reading
        what = "OS packages are" if work.kinds & OS_KINDS else f"`{_command_name(first)}` is"
        verb = "installed" if work.kinds & OS_KINDS else "run"
        return Finding(
            code=PACKAGES,
            title=f"{what} {verb} again for every change of the source",
            first_line=copy.instruction.span.first,
            last_line=first.instruction.span.last,
            why=(
                f"{_shown(copy.instruction)} (line {copy.instruction.span.first}) stands above line"
                f" {first.instruction.span.first}, which reads nothing of it"
            ),
            way_out="put what reads no file of the project above the first copy",
            category="speed",
            proposal=proposal,
            wasted=tuple(item.step.vertex for item in freed if item.step and item.step.vertex is not None),
            seconds=self._wasted_seconds(freed),
            stops=stops,
        )

    def _packages_up(self, copies: list[_Item], packages: list[_Item]) -> tuple[Proposal, list[_Item]]:
        """Move the packages above the first copy, as they stand."""
        first = next(item for item in copies if item.at < packages[0].at)
        moved: list[_Item] = []
        for item in packages:
            try:
                self._may_rise(item, first, moved)
            except _UnsureError:
                if not moved:
                    raise
                break
            moved.append(item)
        edits: list[LineEdit] = []
        texts: list[bytes] = []
        for item in moved:
            block = self.blocks.of(item.instruction, takes_comment=True)
            edits.append(LineEdit(block.first, self.blocks.end_of_removal(block, is_replaced=False), b""))
            texts.append(self.blocks.text(block.first, block.last))
        target = self.blocks.of(first.instruction, takes_comment=True)
        gap = (
            self.end
            if any(self.blocks.of(one.instruction, takes_comment=True).has_gap for one in moved)
            else b""
        )
        edits.append(LineEdit(target.first, target.first - 1, gap.join(texts) + gap))
        return Proposal(tuple(edits), intends=frozenset({"order"})), moved

    def _may_rise(self, item: _Item, above: _Item, moved: list[_Item]) -> None:
        """Refuse where a step would run otherwise above a copy: raises with what stands between."""
        here, there = item.step, above.step
        if here is None or there is None:
            raise _UnsureError("it is no step")
        if here.user != there.user or here.shell != there.shell:
            raise _UnsureError("another user or shell runs it")
        if here.environment != there.environment:
            changed = {name for name, _ in set(here.environment) ^ set(there.environment)}
            raise _UnsureError(f"it may read the variables set above it: {', '.join(sorted(changed))}")
        if here.workdir != there.workdir and not (item.work and item.work.kinds <= OS_KINDS | {"cheap", ""}):
            raise _UnsureError("it runs in another folder")
        for other in self.items[above.at + 1 : item.at]:
            if other in moved:
                continue
            if isinstance(other.instruction, ins.Run):
                if not item.reading.kinds <= OS_KINDS | {"cheap", ""}:
                    raise _UnsureError(f"line {other.instruction.span.first} may install what it runs with")
                kinds = _kinds(other.priced) if other.priced is not None else frozenset({""})
                if (
                    not kinds
                    or not kinds <= _OWN_WORK
                    or (other.work is not None and other.work.kinds & OS_KINDS)
                ):
                    raise _UnsureError(
                        f"line {other.instruction.span.first} runs before it and may prepare it"
                    )
            elif isinstance(other.instruction, ins.Copy | ins.Add) and other.placed is None:
                raise _UnsureError(f"line {other.instruction.span.first} may bring what it needs")


_OWN_WORK: Final = frozenset(
    {"npm-install", "yarn-install", "pnpm-install", "bun-install", "js-build", "pip-install", "pip-project"}
    | {"uv-sync", "poetry-install", "pdm-install", "pipenv-install", "go-mod", "go-build", "cargo-build"}
    | {"cargo-fetch", "maven-build", "maven-dependencies", "gradle-build", "gradle-dependencies", "sbt-build"}
    | {"bundle-install", "composer-install", "mix-deps", "mix-compile", "dotnet-restore", "dotnet-build"}
    | {"assets-precompile", "swift-build", "swift-resolve"}
)


def _uses(text: str, name: str) -> bool:
    return re.search(rf"\$\{{?{re.escape(name)}(?!\w)", text) is not None


def _spaced(words: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"\b" + rb"\s+".join(re.escape(word.encode()) for word in words.split()) + rb"(?![\w-])"
    )


def _kinds(priced: PricedStep) -> frozenset[str]:
    return frozenset(priced.classification.kinds) if priced.classification is not None else frozenset()


def _prior_seconds(kind: str) -> float:
    return next((prior.seconds[1] for prior in PRIORS if prior.kind == kind), 0.0)


def _command_name(item: _Item) -> str:
    classification = item.priced.classification if item.priced is not None else None
    families = classification.commands if classification is not None else ()
    if classification is not None and classification.reason.partition(":")[0] in families:
        return classification.reason.partition(":")[0]
    return families[0] if families else "the install"


def _shown(instruction: Instruction) -> str:
    text = " ".join(instruction.text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"
