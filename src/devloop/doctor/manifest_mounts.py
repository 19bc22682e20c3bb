"""Manifests that an install has mounted, as the documentation of uv teaches, in the place of copies.

A mount leaves nothing in the image, so that nothing moves: the mount takes the manifest from the stage that
cuts it. Its content is what the builder goes by, there as from the context.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.graphs import is_above
from devloop.doctor.manifest_installs import StoppedError
from devloop.doctor.manifest_stages import FOLDER
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from devloop.dockerfile.instructions import Mount
    from devloop.dockerfile.stages import Step

_OF_A_FILE: Final = {"type", "source", "src", "target", "dst", "destination", "readonly", "ro"}


@dataclass(frozen=True, slots=True)
class Mounted:
    """A manifest of the context that is mounted as a single file, and the place where the step sees it."""

    path: str
    place: str
    raw: str


def mounted_manifests(step: Step, name: str) -> tuple[Mounted, ...]:
    """Return the manifests of this name that a step has mounted from the main context.

    Raises StoppedError, as all functions of this module do, where a mount brings one in another way.
    """
    found: list[Mounted] = []
    for mount in _binds(step):
        source = _source(mount)
        if mount.has("from"):
            continue
        if source in {"", "."}:
            raise StoppedError("the manifest is mounted with its whole folder")
        if name not in mount.raw:
            continue
        is_plain = {key for key, _ in mount.options} <= _OF_A_FILE and re.fullmatch(
            r"[\w./=,@+~-]+", mount.raw
        )
        if posixpath.basename(source) != name or not is_plain:
            raise StoppedError("the manifest is mounted in a way that is not known")
        found.append(Mounted(source, _place(mount, step), mount.raw))
    return tuple(found)


def check_mounts(
    step: Step, mounted: tuple[Mounted, ...], paths: AbstractSet[str], at: str, places: AbstractSet[str]
) -> None:
    """Stop where what an install reads is not what is mounted; `places` are names that a lock may have."""
    if not paths <= {one.path for one in mounted}:
        raise StoppedError("one manifest is mounted, another one is not")
    if at not in {one.place for one in mounted}:
        raise StoppedError("the install works in another folder than the mount of the manifest")
    binds = {_place(mount, step) for mount in _binds(step)}
    if not places & binds:
        raise StoppedError("no lock file is mounted beside the manifest")
    raws = {one.raw for one in mounted}
    others = {_place(mount, step) for mount in _mounts(step) if mount.raw not in raws}
    if any(is_above(other, one.place) for other in others for one in mounted):
        raise StoppedError("another mount lies over that of the manifest")


def from_stage(text: bytes, mounted: tuple[Mounted, ...], paths: AbstractSet[str], alias: str) -> bytes:
    """Return the lines of a step in which the mounts of these manifests take what a stage has left."""
    for one in mounted:
        if one.path in paths:
            old, new = (f"--mount={raw}".encode() for raw in (one.raw, taken_from(alias, one)))
            if len(re.findall(re.escape(old) + rb"(?=\s)", text)) != 1:
                raise StoppedError("the mount of the manifest is not written in one piece")
            text = text.replace(old, new)
    return text


def taken_from(alias: str, one: Mounted) -> str:
    """Return the options of a mount that takes the manifest from a stage."""
    return re.sub(r"(?i)\b(source|src)=[^,]*", rf"from={alias},\1={FOLDER}/{one.path}", one.raw)


def _mounts(step: Step) -> tuple[Mount, ...]:
    return step.instruction.mounts if isinstance(step.instruction, ins.Run) else ()


def _binds(step: Step) -> tuple[Mount, ...]:
    return tuple(mount for mount in _mounts(step) if mount.type == "bind")


def _source(mount: Mount) -> str:
    return posixpath.normpath(mount.get("source", "src") or ".").strip("/")


def _place(mount: Mount, step: Step) -> str:
    return joined(step.workdir, mount.get("target", "dst", "destination") or "/")
