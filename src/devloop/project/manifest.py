"""The contents of the last build, one line a path, so that a later start can name what has changed.

A line holds path, context and a token of kind, mode and content. Two trees are compared as sets of lines,
which costs next to nothing for what is equal. The path comes first: it alone may start with a line end, and
must not be taken for one.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from devloop.context.snapshot import Directory, Node, Snapshot, walk
from devloop.plan.model import ChangeKind, PathChange

_HEAD = b"devloop manifest 2\n"
_BETWEEN = "\0"
_END = "\0\n"


def manifest_lines(snapshots: Mapping[str, Snapshot]) -> Iterator[str]:
    """Yield a line for every path of every context."""
    for name in sorted(snapshots):
        for path, node in walk(snapshots[name].root, ""):
            yield f"{path}{_BETWEEN}{name}{_BETWEEN}{_token(node)}"


def _token(node: Node) -> str:
    if isinstance(node, Directory):
        return f"d {node.mode:o} "
    return f"{node.kind[0]} {node.mode:o} {node.digest}{node.disguised}"


def compare(before: Iterable[str], after: Iterable[str]) -> Mapping[str, tuple[PathChange, ...]]:
    """Return the changes of each context between two manifests, sorted by path."""
    old, new = set(before), set(after)
    gone = dict(_split(line) for line in old - new)
    come = dict(_split(line) for line in new - old)
    found: dict[str, list[PathChange]] = {}
    for place in sorted({*gone, *come}):
        context, path = place
        found.setdefault(context, []).append(PathChange(path, _kind(gone.get(place), come.get(place))))
    return {context: tuple(changes) for context, changes in found.items()}


def _split(line: str) -> tuple[tuple[str, str], str]:
    path, context, token = line.split(_BETWEEN)
    return (context, path), token


def _kind(before: str | None, after: str | None) -> ChangeKind:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    old, new = before.split(" ", 2), after.split(" ", 2)
    return "metadata" if (old[0], old[2]) == (new[0], new[2]) else "modified"


def save_manifest(path: Path, snapshots: Mapping[str, Snapshot]) -> bool:
    """Write the manifest in one step; False when the disk would not take it."""
    text = _END.join(manifest_lines(snapshots))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEAD + text.encode("utf-8", "surrogateescape"))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def load_manifest(path: Path) -> tuple[str, ...] | None:
    """Read a manifest back; None where there is none that can be used."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    if not raw.startswith(_HEAD):
        return None
    text = raw[len(_HEAD) :].decode("utf-8", "surrogateescape")
    lines = tuple(text.split(_END)) if text else ()
    return lines if all(line.count(_BETWEEN) == 2 for line in lines) else None
