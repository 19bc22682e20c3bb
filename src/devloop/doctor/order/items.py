"""The instructions of a stage with what they put where and read, and which copies bring source."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from devloop.cost.priors import PRIORS
from devloop.dockerfile import instructions as ins
from devloop.doctor.order.works import NOTHING, Work, work_of
from devloop.doctor.placed import Placed, placed_by
from devloop.plan.advice import is_needed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devloop.dockerfile.instructions import Instruction
    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import PricedStep, Subject

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
# A tree that is copied over the whole system brings what packages are installed by.
_SETTINGS_PLACES: Final = ("/etc/", "/root/", "/usr/")


@dataclass(slots=True)
class Item:
    """An instruction of a stage with what is known of it."""

    at: int
    instruction: Instruction
    priced: PricedStep | None
    placed: Mapping[str, str] | None = None
    work: Work | None = None
    blamed: bool = False
    above: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> Step | None:
        """The step that it is, None for one of another target."""
        return self.priced.step if self.priced is not None else None

    @property
    def reading(self) -> Work:
        """What it reads, as a RUN; nothing for every other instruction."""
        return self.work or NOTHING

    @property
    def taken(self) -> Mapping[str, str]:
        """What it puts where, as a copy of the context; nothing for every other instruction."""
        return self.placed or {}

    @property
    def destination(self) -> str:
        """Where a copy goes, without a slash at the end."""
        text = self.step.destination if self.step is not None else None
        return (text or "/").rstrip("/") or "/"


def items_of(subject: Subject, stage: Stage) -> list[Item]:
    """Read the instructions of a stage, each with what lies in the image above it."""
    by_line = {
        subject.steps[number].step.span.first: subject.steps[number]
        for number in stage.steps
        if not subject.steps[number].step.is_trigger
    }
    executable = frozenset(one.path for one in subject.paths if one.is_executable)
    items: list[Item] = []
    above = _inherited(subject, stage)
    for at, instruction in enumerate(stage.body):
        item = Item(at, instruction, by_line.get(instruction.span.first))
        step = item.step
        if step is not None and isinstance(instruction, ins.Copy | ins.Add):
            item.placed = placed_by(subject, step)
            above = {**above, **item.taken}
        if step is not None and isinstance(instruction, ins.Run):
            placed = Placed(above, subject.texts, executable)
            item.work = work_of(item.priced, instruction, placed)
        item.above = above
        items.append(item)
    return _blamed(items)


def chained(subject: Subject, stages: Sequence[Stage]) -> list[Item]:
    """Read stages that start from each other as if they were one."""
    items = [item for stage in stages for item in items_of(subject, stage)]
    for at, item in enumerate(items):
        item.at = at
    return _blamed(items)


def _blamed(items: list[Item]) -> list[Item]:
    """Mark the copies that take source, by what stands below them."""
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


def _is_blamed(item: Item, items: Sequence[Item]) -> bool:
    """Tell whether a copy takes source: a folder with more than manifests in it, or a file of code."""
    if not item.placed or item.step is None or not isinstance(item.instruction, ins.Copy | ins.Add):
        return False
    destination = item.destination
    if destination == "/etc" or any(f"{destination}/".startswith(f"{one}/") for one in _SYSTEM_PLACES):
        return False
    if destination in {"/", "/usr"} and any(path.startswith(_SETTINGS_PLACES) for path in item.placed):
        return False
    below = [one.work for one in items[item.at + 1 :] if one.work is not None]
    needed = {path for work in below for path in work.files}
    folders = tuple(f"{folder}/" for work in below for folder in work.folders)
    candidates = (
        context
        for path, context in item.placed.items()
        if path not in needed and not path.startswith(folders)
    )
    is_named = any(destination in value for _, value in item.step.environment if destination.count("/") > 1)
    is_whole = takes_root(item)
    is_folder = is_whole or _takes_folder(item)
    if is_folder and not is_whole and is_named:
        return False
    judge = _is_watched if is_folder else _is_code
    # The comparison with all manifests is the slow one, and one file is enough.
    return any(judge(one) and not is_needed(one, _MANIFESTS, ["pip", "yarn", "gradle"]) for one in candidates)


_MANIFESTS: Final = tuple(
    dict.fromkeys(
        name
        for prior in PRIORS
        for name in prior.manifests
        if name not in {"gradle/*", "build.rs", "package.yaml"}
    )
)


def takes_root(item: Item) -> bool:
    """Tell whether a copy takes the whole context."""
    return any(posixpath.normpath(f"/{one}") in {"/", "//"} for one in raw_sources(item))


def _takes_folder(item: Item) -> bool:
    """Tell whether one of the sources of a copy is a folder: its files have other names than that."""
    names = {posixpath.basename(context) for context in item.taken.values()}
    sources = [posixpath.basename(one.rstrip("/")) for one in raw_sources(item)]
    return any(source not in names and "*" not in source for source in sources)


def destination_of(item: Item) -> str:
    """Return the destination of a copy as it is written."""
    return item.instruction.destination if isinstance(item.instruction, ins.Copy | ins.Add) else "/"


def raw_sources(item: Item) -> tuple[str, ...]:
    """Return the sources of a copy as they are written."""
    return item.instruction.sources if isinstance(item.instruction, ins.Copy | ins.Add) else ()


def _is_watched(path: str) -> bool:
    """Tell whether people edit this file while they work: not what only describes the repository."""
    name = posixpath.basename(path)
    return not name.startswith((".", "README", "LICENSE", "Dockerfile", "CHANGELOG", "Makefile"))


def _is_code(path: str) -> bool:
    """Tell whether a file that is copied by its name is source, and no settings."""
    return path.endswith(_SOURCE_ENDINGS) and not _is_config(path)


def _is_config(path: str) -> bool:
    name = posixpath.basename(path)
    return (
        ".config." in name
        or name in {"setup.py", "build.rs", "conftest.py", "noxfile.py"}
        or name.startswith(".")
    )
