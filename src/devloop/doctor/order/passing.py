"""Whether an instruction can pass another one: what a copy moves down past, and what rises above it."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.needs.free import OS_KINDS
from devloop.doctor.order.items import Item, destination_of, raw_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devloop.doctor.model import PricedStep


class UnsureError(Exception):
    """Something stands in the way of a proposal; the reason is what a finding says of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def barrier(copy: Item, item: Item) -> str:
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
            if not destination_of(copy).startswith("/"):
                return f"WORKDIR on line {line} changes where the copy goes"
        case ins.Env(pairs=named) | ins.Arg(items=named):
            if any(_uses(copy.instruction.text, name) for name, _ in named):
                return f"the copy may use a variable of line {line}"
        case ins.Copy() | ins.Add():
            other = item.placed
            if other is not None:
                if any(placed.get(path, context) != context for path, context in other.items()):
                    return f"line {line} replaces files of the copy"
                if _flags(item) != _flags(copy) and not placed.keys().isdisjoint(other):
                    return f"line {line} gives files of the copy another mode or owner"
            elif item.step is not None and item.step.destination is not None:
                there = item.step.destination.rstrip("/")
                is_there = any(path == there or path.startswith(f"{there}/") for path in placed)
                if is_there and not _is_apart(item, placed):
                    return f"line {line} may replace files of the copy"
        case ins.Onbuild() | ins.Volume():
            return f"line {line} stands between"
        case _:
            pass
    return ""


def _flags(item: Item) -> tuple[str | None, str | None]:
    """Return the owner and the mode that a copy gives."""
    one = item.instruction
    return (one.chown, one.chmod) if isinstance(one, ins.Copy | ins.Add) else (None, None)


def _is_apart(item: Item, placed: Mapping[str, str]) -> bool:
    """Tell whether a copy from elsewhere into a folder names files that the other does not have."""
    destination = item.step.destination if item.step is not None else None
    sources = raw_sources(item)
    if destination is None or not destination.endswith("/"):
        return False
    names = [posixpath.basename(source.rstrip("/")) for source in sources]
    if any(
        "*" in name or "." not in name or source.endswith("/")
        for name, source in zip(names, sources, strict=True)
    ):
        return False
    return not any(f"{destination}{name}" in placed for name in names)


def refuse_overwrites(moved: list[Item], freed: list[Item]) -> None:
    """Refuse where the copy would now replace what an install has written."""
    for item in freed:
        needed = set(item.reading.files)
        for fill in item.reading.fills:
            clash = next(
                (
                    context[: len(context) - len(path) + len(fill)]
                    for copy in moved
                    for path, context in copy.taken.items()
                    if (path == fill or path.startswith(f"{fill}/")) and path not in needed
                ),
                None,
            )
            if clash is not None:
                what = (clash or fill) + ("" if any(fill in copy.taken for copy in moved) else "/")
                raise UnsureError(
                    f"{what} of the work tree is copied too and would replace what is installed: name it in"
                    " the ignore file first"
                )


def may_rise(item: Item, above: Item, between: Iterable[Item]) -> None:
    """Refuse where a step would run otherwise above a copy: raises with what stands between."""
    here, there = item.step, above.step
    if here is None or there is None:
        raise UnsureError("it is no step")
    if here.user != there.user or here.shell != there.shell:
        raise UnsureError("another user or shell runs it")
    if here.environment != there.environment:
        changed = {name for name, _ in set(here.environment) ^ set(there.environment)}
        raise UnsureError(f"it may read the variables set above it: {', '.join(sorted(changed))}")
    if here.workdir != there.workdir and not (item.work and item.work.kinds <= OS_KINDS | {"cheap", ""}):
        raise UnsureError("it runs in another folder")
    for other in between:
        if isinstance(other.instruction, ins.Run):
            if not item.reading.kinds <= OS_KINDS | {"cheap", ""}:
                raise UnsureError(f"line {other.instruction.span.first} may install what it runs with")
            kinds = kinds_of(other.priced) if other.priced is not None else frozenset({""})
            if (
                not kinds
                or not kinds <= _OWN_WORK
                or (other.work is not None and other.work.kinds & OS_KINDS)
            ):
                raise UnsureError(f"line {other.instruction.span.first} runs before it and may prepare it")
        elif isinstance(other.instruction, ins.Copy | ins.Add) and other.placed is None:
            raise UnsureError(f"line {other.instruction.span.first} may bring what it needs")


_OWN_WORK: Final = frozenset(
    {"npm-install", "yarn-install", "pnpm-install", "bun-install", "js-build", "pip-install", "pip-project"}
    | {"uv-sync", "poetry-install", "pdm-install", "pipenv-install", "go-mod", "go-build", "cargo-build"}
    | {"cargo-fetch", "maven-build", "maven-dependencies", "gradle-build", "gradle-dependencies", "sbt-build"}
    | {"bundle-install", "composer-install", "mix-deps", "mix-compile", "dotnet-restore", "dotnet-build"}
    | {"assets-precompile", "swift-build", "swift-resolve"}
)


def _uses(text: str, name: str) -> bool:
    return re.search(rf"\$\{{?{re.escape(name)}(?!\w)", text) is not None


def kinds_of(priced: PricedStep) -> frozenset[str]:
    """Return the kinds of the table of costs that a step is made of."""
    return frozenset(priced.classification.kinds) if priced.classification is not None else frozenset()
