"""Which mode of each directory the builder goes by: the one that the directory had when it was first sent.

BuildKit keeps a mirror of each context and computes the header of a directory when the directory comes into
the mirror. As long as it stays there a changed mode is written but not digested again. So what counts is the
mode of the build in which the directory entered; one that was missing in a build enters anew.

All of it is about structure that two moments share: a part of the tree that did not change is not walked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devloop.context.snapshot import Directory, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping


DEEPEST: Final = 200
"""Directories below this depth are taken as they are."""


class Entered:
    """A directory of the mirror: the mode that it entered with, and the directories in it."""

    __slots__ = ("below", "mode")

    def __init__(self, mode: int, below: Mapping[str, Entered]) -> None:
        self.mode = mode
        self.below = below


def enter(snapshot: Snapshot, before: Entered | None) -> Entered:
    """Return the mirror after a build that sent this snapshot; `before` is the mirror as it was."""
    return _enter(snapshot.root, before, 0)


def _enter(directory: Directory, before: Entered | None, depth: int) -> Entered:
    below = {
        name: _enter(node, before.below.get(name) if before is not None else None, depth + 1)
        for name, node in directory.children.items()
        if isinstance(node, Directory) and depth < DEEPEST
    }
    return Entered(directory.mode if before is None else before.mode, below)


def as_entered(snapshot: Snapshot, mirror: Entered | None) -> Snapshot:
    """Return the snapshot with the modes that the builder goes by; the same object where all agree.

    The root's mode never counts.
    """
    if mirror is None:
        return snapshot
    root = _as_entered(snapshot.root, mirror, snapshot.root.mode)
    return snapshot if root is snapshot.root else Snapshot(root, snapshot.unreadable, snapshot.looked_at)


def _as_entered(directory: Directory, mirror: Entered, mode: int) -> Directory:
    key = ("entered", mirror, mode)
    known = directory.recall(key)
    if isinstance(known, Directory):
        return known
    changed: dict[str, Directory] = {}
    for name, below in mirror.below.items():
        node = directory.children.get(name)
        if isinstance(node, Directory):
            other = _as_entered(node, below, below.mode)
            if other is not node:
                changed[name] = other
    result = directory
    if changed or mode != directory.mode:
        result = Directory(mode, {**directory.children, **changed})
    directory.remember(key, result)
    return result


def entered_to_plain(mirror: Entered) -> list[object]:
    """Write a mirror as lists and dictionaries."""
    return [mirror.mode, {name: entered_to_plain(below) for name, below in mirror.below.items()}]


def entered_from_plain(found: object) -> Entered | None:
    """Read a mirror back; None for anything else."""
    match found:
        case [int(mode), dict(below)]:
            inner = {str(name): entered_from_plain(one) for name, one in below.items()}
            return Entered(mode, {name: one for name, one in inner.items() if one is not None})
        case _:
            return None
