"""Puts the stage that cuts a manifest above an install: where that changes nothing but what runs again."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Final

from devloop.context.patterns import has_wildcard, match_path
from devloop.cost.shell import commands_of
from devloop.dockerfile import instructions as ins
from devloop.doctor import manifest_stages
from devloop.doctor.blocks import Blocks
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import chain, is_above, steps_above
from devloop.doctor.manifest_installs import (
    PLAIN_NAME,
    TOOLS,
    StoppedError,
    check_image,
    check_pins,
    check_shell,
    folder_of,
    install_in,
    look_beside,
    look_inside,
    reads_nothing,
)
from devloop.doctor.manifest_mounts import check_mounts, from_stage, mounted_manifests
from devloop.doctor.model import LineEdit, Proposal
from devloop.doctor.placed import joined, placed_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command
    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import PricedStep, Subject


def proposal_of(subject: Subject, one: PricedStep, paths: tuple[str, ...]) -> Proposal:
    """Return the change that keeps an install from running for idle edits of these manifests.

    Raises StoppedError where the texts leave a doubt.
    """
    command = install_in(one)
    tool = TOOLS[command.program]
    wrong = next((path for path in paths if posixpath.basename(path) != tool.manifest), None)
    if wrong is not None:
        raise StoppedError(f"{command.program} does not read {wrong}")
    at = joined(folder_of(command, one.step), tool.manifest)
    mounted = mounted_manifests(one.step, tool.manifest)
    if mounted:
        locks = {posixpath.join(posixpath.dirname(at), lock) for lock in tool.locks}
        check_mounts(one.step, mounted, set(paths), at, locks)
    copies = () if mounted else _copies_of(subject, one.step, paths, at, tool.locks)
    _look_at_manifests(subject, one, command, paths, at)
    head = _head(subject, one.step)
    base = subject.model.graph.stage(chain(subject.model.graph, one.step.stage)[-1])
    check_image(base, tool.manifest)
    alias = _free_name(subject)
    end = line_end(subject.source)
    stage = manifest_stages.stage(
        _base_words(subject, base), alias, sorted(paths), keeps_version=command.program == "uv"
    )
    blocks = Blocks(subject.source, subject.dockerfile)
    is_first = subject.dockerfile.instructions[0] is head
    if is_first and head.span.first == 1 and subject.source.startswith(b"\xef\xbb\xbf"):
        raise StoppedError("the file begins with a byte order mark, which has to stay there")
    top = head.span.first if is_first else blocks.of(head, takes_comment=True).first
    last = one.step.span.last
    edits = [LineEdit(top, top - 1, _joined(stage, end))]
    if mounted:
        text = blocks.text(one.step.span.first, last)
        edits.append(LineEdit(one.step.span.first, last, from_stage(text, mounted, set(paths), alias)))
    for copy in copies:
        lines = _lines_above(subject, copy, paths, alias)
        edits.append(LineEdit(copy.span.first, copy.span.last, _joined(lines, end)))
    moved = b"".join(blocks.text(copy.span.first, copy.span.last) for copy in copies)
    if moved:
        edits.append(LineEdit(last + 1, last, moved))
    return Proposal(tuple(edits), intends=frozenset({"manifest"}))


def _joined(lines: tuple[str, ...], end: bytes) -> bytes:
    return b"".join(line.encode() + end for line in lines)


def _look_at_manifests(
    subject: Subject, one: PricedStep, command: Command, paths: tuple[str, ...], at: str
) -> None:
    """Look at the manifests that are to be cut, and at all whose hooks may read them."""
    above = steps_above(subject.model.graph, one.step)
    placed = [place for step in above for place in _placed(subject, step).items()]
    name = posixpath.basename(at)
    placed += [(mount.place, mount.path) for mount in mounted_manifests(one.step, name)]
    root = dict(placed)[at]
    check_pins(one, above, command.program, subject.texts(root) or b"")
    if name == "package.json" and any(posixpath.basename(place) == "nx.json" for place, _ in placed):
        raise StoppedError("nx reads all of the manifest when it is installed")
    has_members = paths != (root,)
    others = {path for _, path in placed if posixpath.basename(path) == name == "package.json"}
    look_beside(subject, command.program, root, has_members=has_members)
    for path in sorted({root, *paths, *others}):
        look_inside(subject, command, path, is_member=path != root, has_members=has_members)


# Where it stands ------------------------------------------------------------------------------------------


def _placed(subject: Subject, step: Step) -> Mapping[str, str]:
    return placed_by(subject, step) or {}


def _copies_of(
    subject: Subject, step: Step, paths: tuple[str, ...], at: str, locks: frozenset[str]
) -> tuple[Step, ...]:
    """Return the copies of manifests above an install, with nothing in between that may see them."""
    above = steps_above(subject.model.graph, step)
    copies: dict[int, Step] = {}
    for path in paths:
        found = [one for one in above if path in _placed(subject, one).values()]
        if not found:
            raise StoppedError("no plain copy brings the manifest")
        if len(found) > 1:
            raise StoppedError("the manifest is copied more than once")
        copies[found[0].number] = found[0]
    everywhere = Counter(place for one in above for place in _placed(subject, one))
    if at not in everywhere:
        raise StoppedError("the install works in another folder than the copy of the manifest")
    if not any(posixpath.join(posixpath.dirname(at), lock) in everywhere for lock in locks):
        raise StoppedError("no lock file beside the manifest says what is installed")
    for copy in copies.values():
        if copy.stage != step.stage:
            raise StoppedError("the manifest is copied in another stage")
        if any(everywhere[place] != 1 for place in _placed(subject, copy)):
            raise StoppedError("one copy overwrites what another one brought")
        if copy.workdir != step.workdir or "$" in copy.instruction.text:
            raise StoppedError("the copy of the manifest would go elsewhere below the install")
    first = min(copies)
    places = tuple(place for copy in copies.values() for place in _placed(subject, copy))
    for one in above:
        if one.number > first:
            _check_between(subject, one, places)
        elif isinstance(one.instruction, ins.Run) and any(
            mount.type == "bind" and not mount.has("from") for mount in one.instruction.mounts
        ):
            raise StoppedError("a step above has files of the context mounted")
    return tuple(copies[number] for number in sorted(copies))


def _check_between(subject: Subject, step: Step, places: tuple[str, ...]) -> None:
    instruction = step.instruction
    if isinstance(instruction, ins.Run):
        script = instruction.command if isinstance(instruction.command, str) else None
        if script is None or instruction.heredocs or instruction.mounts:
            raise StoppedError("a step between the copy and the install may read the manifest")
        commands = commands_of(script)
        check_shell(script)
        if not all(reads_nothing(one, step.workdir) for one in commands):
            raise StoppedError("a step between the copy and the install may read the manifest")
    elif isinstance(instruction, ins.Copy | ins.Add):
        target = (step.destination or "/").rstrip("/") or "/"
        if placed_by(subject, step) is None and any(is_above(target, place) for place in places):
            raise StoppedError("a copy from elsewhere may put another manifest in its place")


def _head(subject: Subject, step: Step) -> ins.From:
    """Return the FROM of the stage that a step is in."""
    first = subject.model.graph.stage(step.stage).span.first
    for one in subject.dockerfile.instructions:
        if isinstance(one, ins.Copy) and one.from_ is not None and one.from_.isdigit():
            raise StoppedError("a stage is named by its number")
        if isinstance(one, ins.Run) and any((mount.get("from") or "").isdigit() for mount in one.mounts):
            raise StoppedError("a stage is named by its number")
    if not re.fullmatch(_WITH_HEREDOCS, subject.dockerfile.syntax or "docker/dockerfile:1"):
        raise StoppedError(f"{subject.dockerfile.syntax} may read no here-documents")
    for one in subject.dockerfile.instructions:
        if isinstance(one, ins.From) and one.span.first == first:
            return one
    raise StoppedError("the stage comes from elsewhere")


_WITH_HEREDOCS: Final = re.compile(
    r"(docker\.io/)?docker/dockerfile(-upstream)?(:(1|latest|labs|master|1-labs|1\.([4-9]|\d\d)\b.*))?"
)


def _base_words(subject: Subject, stage: Stage) -> str:
    """Return the words of a stage's FROM without its name."""
    for one in subject.dockerfile.instructions:
        if isinstance(one, ins.From) and one.span.first == stage.span.first:
            return f"--platform={one.platform} {one.image}" if one.platform else one.image
    raise StoppedError("the stage comes from elsewhere")


def _free_name(subject: Subject) -> str:
    """Return a name that no stage has, and no image that something is taken from."""
    taken: set[str | None] = set()
    for one in subject.dockerfile.instructions:
        if isinstance(one, ins.From):
            taken |= {one.alias, one.image}
        elif isinstance(one, ins.Copy):
            taken.add(one.from_)
        elif isinstance(one, ins.Run):
            taken |= {mount.get("from") for mount in one.mounts}
    names = {name.lower() for name in (*subject.model.contexts, *taken) if name is not None}
    return next(
        name
        for number in count(1)
        if (name := "manifest" if number == 1 else f"manifest-{number}") not in names
    )


def _lines_above(subject: Subject, step: Step, paths: tuple[str, ...], alias: str) -> tuple[str, ...]:
    """Return what stands above the install in the place of a copy."""
    instruction = step.instruction
    if not isinstance(instruction, ins.Copy):
        raise StoppedError("the manifest is added, not copied")
    placed = _placed(subject, step)
    cut = [path for path in paths if path in placed.values()]
    word = instruction.destination
    is_inside = all(
        posixpath.basename(place) == posixpath.basename(path) and step.destination != place
        for place, path in placed.items()
        if path in cut
    )
    if is_inside and not word.endswith("/") and word != ".":
        word += "/"
    others: list[str] = []
    for source in instruction.sources:
        cleaned = posixpath.normpath(source.lstrip("/") or ".")
        if not any(_has(cleaned, path) for path in cut):
            others.append(source)
        elif has_wildcard(cleaned):
            found = [one for one in placed.values() if _has(cleaned, one)]
            if any(one.count("/") != cleaned.count("/") for one in found):
                raise StoppedError("the manifest is copied with whole folders")
            others += [one for one in found if one not in cut and one not in others]
        elif cleaned not in cut:
            raise StoppedError("the manifest is copied with its whole folder")
    if not all(PLAIN_NAME.fullmatch(one) for one in (word, *cut)) or any(
        re.search(r"[\s\"']", one) for one in others
    ):
        raise StoppedError("the copy of the manifest cannot be told apart from the others")
    flags = _flags(instruction)
    first = (" ".join(("COPY", *flags, *others, word)),) if others else ()
    short = (f"{manifest_stages.FOLDER}/{path}" for path in cut)
    return (*first, " ".join(("COPY", f"--from={alias}", *flags, *short, word)))


def _has(source: str, path: str) -> bool:
    """Tell whether a path of the context is what a source of a COPY names, matches or has in it."""
    if has_wildcard(source):
        return match_path(source, "/".join(path.split("/")[: source.count("/") + 1]))
    return source in {".", path} or path.startswith(f"{source}/")


def _flags(instruction: ins.Copy) -> tuple[str, ...]:
    return (
        *([f"--chown={instruction.chown}"] if instruction.chown else []),
        *([f"--chmod={instruction.chmod}"] if instruction.chmod else []),
        *(["--link"] if instruction.link else []),
    )
