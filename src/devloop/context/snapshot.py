"""A build context at one moment: what is at every path, and what differs between two moments.

A snapshot is a tree of directories that shares whatever did not change with the snapshot it was made
from. That makes an edit cost as much as the directories above it, lets `diff` skip what is the same
object, and lets each directory keep its digests for as long as it lives. Nothing here reads a disk;
`devloop.context.scan` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from devloop.paths import ContextPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Kind = Literal["file", "directory", "link", "other"]
SOCKET: Final = "socket"
"""The digest of a socket's entry; the cache takes a socket for an empty file of the same mode."""
EMPTY: Final = hashlib.sha256(b"").hexdigest()[:32]
"""The digest of an empty file."""
MOST_MEMOS: Final = 64
"""How many values a directory keeps for others before it starts anew."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the cache looks at: kind, permission bits (with setuid, setgid, sticky) and content.

    `digest` is the content digest of a file, the target text of a link, empty for a directory, and for
    anything else what kind of thing it is. `disguised` is set when the bytes changed under an unchanged
    size, time and mode: then `digest` is what the builder last saw, `disguised` what is there now.
    """

    kind: Kind
    mode: int
    digest: str
    size: int
    disguised: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A path that could not be read, and why; the builder will refuse it if a step needs it."""

    path: ContextPath
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """A difference at one path; "metadata" means that only the permission bits differ."""

    path: ContextPath
    kind: Literal["added", "modified", "removed", "metadata"]


class Directory:
    """A directory and what is in it, unchanging once built; its digests are computed when first asked.

    `content` covers names, kinds, file modes and bytes of everything below, and no directory's mode;
    `modes` covers the modes of the directories below and its own. `memo` keeps what others computed
    about this directory for as long as it lives.
    """

    __slots__ = ("_content", "_count", "_memo", "_modes", "children", "mode")

    def __init__(self, mode: int, children: dict[str, Node]) -> None:
        self.mode = mode
        self.children = children
        self._count = -1
        self._content = b""
        self._modes = b""
        self._memo: dict[object, object] | None = None

    @property
    def entry(self) -> Entry:
        return Entry("directory", self.mode, "", 0)

    @property
    def count(self) -> int:
        """How many paths are below."""
        if self._count < 0:
            for each in _bottom_up(self, lambda directory: directory.is_counted):
                each.tally()
        return self._count

    @property
    def content(self) -> bytes:
        if not self._content:
            self._digest_all()
        return self._content

    @property
    def modes(self) -> bytes:
        if not self._modes:
            self._digest_all()
        return self._modes

    @property
    def is_counted(self) -> bool:
        return self._count >= 0

    @property
    def is_digested(self) -> bool:
        return bool(self._content)

    def tally(self) -> None:
        """Count what is below; every directory below has been counted."""
        inner = (node.count for node in self.children.values() if isinstance(node, Directory))
        self._count = len(self.children) + sum(inner)

    def digest(self) -> None:
        """Compute the digests; every directory below has its own."""
        # No name and no link's target holds a zero byte, so that the pieces cannot run into each other.
        content: list[str] = []
        modes = [f"{self.mode:o}\0"]
        for name, node in self.in_order():
            if isinstance(node, Directory):
                content.append(f"{name}\0/{node.content.hex()}\0")
                modes.append(f"{name}\0/{node.modes.hex()}\0")
            else:
                content.append(f"{name}\0{leaf_text(node)}\0")
                if node.disguised:
                    modes.append(f"{name}\0{node.disguised}\0")
        self._content = hashlib.sha256(_name_bytes("".join(content))).digest()
        self._modes = hashlib.sha256(_name_bytes("".join(modes))).digest()

    def _digest_all(self) -> None:
        for each in _bottom_up(self, lambda directory: directory.is_digested):
            each.digest()

    def in_order(self) -> list[tuple[str, Node]]:
        """Return names and nodes in byte order of the names, which is the order of the cache."""
        names = sorted(self.children)
        if not "".join(names).isascii():
            names.sort(key=_name_bytes)
        return [(name, self.children[name]) for name in names]

    def recall(self, key: object) -> object:
        return None if self._memo is None else self._memo.get(key)

    def remember(self, key: object, value: object) -> None:
        """Keep a value that depends on nothing but the key and what is below this directory."""
        if self._memo is None or len(self._memo) >= MOST_MEMOS:
            self._memo = {}
        self._memo[key] = value


def _bottom_up(top: Directory, is_done: Callable[[Directory], bool]) -> Iterable[Directory]:
    """Return the directory and those below that are not done, the deepest first; no depth is too deep."""
    found = [top]
    for each in found:
        found += [
            node for node in each.children.values() if isinstance(node, Directory) and not is_done(node)
        ]
    return reversed(found)


Node = Entry | Directory


def leaf_text(entry: Entry) -> str:
    """Return what the cache sees of an entry that is no directory, as a text without zero bytes.

    A socket arrives as an empty file; the mode of a link says nothing.
    """
    if entry.kind == "file":
        return f"f{entry.mode:o}:{entry.digest}"
    if entry.kind == "link":
        return f"l{entry.digest}"
    if entry.digest == SOCKET:
        return f"f{entry.mode:o}:{EMPTY}"
    return f"o{entry.mode:o}:{entry.digest}"


def _name_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


EMPTY_ROOT: Final = Directory(0, {})


class Snapshot(Mapping[ContextPath, Entry]):
    """Everything in a context, by path in byte order; a directory comes right before what is in it.

    The root itself is no entry: its mode never counts. `unreadable` says what could not be read, and
    `looked_at` to which paths and wildcards a scan confined itself (None: to nothing).
    """

    __slots__ = ("looked_at", "root", "unreadable")

    def __init__(
        self,
        root: Directory = EMPTY_ROOT,
        unreadable: tuple[Unreadable, ...] = (),
        looked_at: frozenset[str] | None = None,
    ) -> None:
        self.root = root
        self.unreadable = unreadable
        self.looked_at = looked_at

    @property
    def entries(self) -> Mapping[ContextPath, Entry]:
        return self

    @staticmethod
    def of(entries: Mapping[str, Entry] | Mapping[ContextPath, Entry]) -> Snapshot:
        """Build a snapshot from paths; a parent that is not given becomes a directory with mode 0755."""
        root = Directory(0, {})
        for path, entry in sorted(entries.items()):
            *above, name = path.split("/")
            at = root
            for part in above:
                found = at.children.get(part)
                if not isinstance(found, Directory):
                    found = at.children[part] = Directory(0o755, {})
                at = found
            at.children[name] = Directory(entry.mode, {}) if entry.kind == "directory" else entry
        return Snapshot(root)

    def node(self, path: str) -> Node | None:
        """Return what is at the path, links not followed; the root for the empty path."""
        at: Node = self.root
        if path:
            for part in path.split("/"):
                if not isinstance(at, Directory):
                    return None
                found = at.children.get(part)
                if found is None:
                    return None
                at = found
        return at

    def children(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory in byte order; none when it is no directory."""
        node = self.node(path)
        return tuple(name for name, _ in node.in_order()) if isinstance(node, Directory) else ()

    def with_node(self, path: str, node: Node | None) -> Snapshot:
        """Return a copy with the node put at the path, or taken away.

        Missing parents come into being; taking away what is not there changes nothing.
        """
        root = _put(self.root, path.split("/"), node)
        return self if root is self.root else Snapshot(root, self.unreadable, self.looked_at)

    def with_nodes(self, directory: str, nodes: Mapping[str, Node | None]) -> Snapshot:
        """Return a copy with these names of one directory put there, or taken away, as `with_node` does."""
        old = self.node(directory)
        children = dict(old.children) if isinstance(old, Directory) else {}
        is_same = True
        for name, node in nodes.items():
            if node is None:
                is_same &= children.pop(name, None) is None
            elif children.get(name) != node:
                is_same = False
                children[name] = node
        if is_same:
            return self
        new = Directory(old.mode if isinstance(old, Directory) else 0o755, children)
        if directory:
            return self.with_node(directory, new)
        return Snapshot(new, self.unreadable, self.looked_at)

    def __getitem__(self, path: ContextPath) -> Entry:
        node = self.node(path) if path else None
        if node is None:
            raise KeyError(path)
        return node.entry if isinstance(node, Directory) else node

    def __iter__(self) -> Iterator[ContextPath]:
        for path, _ in walk(self.root, ""):
            yield ContextPath(path)

    def __len__(self) -> int:
        return self.root.count

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        return not diff(self, other)

    def __hash__(self) -> int:
        return hash((self.root.content, self.root.modes))

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self)} entries>"


def walk(directory: Directory, path: str) -> Iterator[tuple[str, Node]]:
    """Yield everything below a directory that is at `path`, in the order of the cache."""
    stack = [(f"{path}/" if path else "", iter(directory.in_order()))]
    while stack:
        prefix, names = stack[-1]
        for name, node in names:
            here = prefix + name
            yield here, node
            if isinstance(node, Directory):
                stack.append((f"{here}/", iter(node.in_order())))
                break
        else:
            stack.pop()


def _put(root: Directory, parts: list[str], node: Node | None) -> Directory:
    *above, name = parts
    trail = [root]
    for part in above:
        inner = trail[-1].children.get(part)
        if not isinstance(inner, Directory):
            if node is None:
                return root
            inner = Directory(0o755, {})
        trail.append(inner)
    if node is None and name not in trail[-1].children:
        return root
    new = node
    for part, directory in zip(reversed(parts), reversed(trail), strict=True):
        children = dict(directory.children)
        if new is None:
            del children[part]
        else:
            children[part] = new
        new = Directory(directory.mode, children)
    return new if isinstance(new, Directory) else root


def diff(before: Snapshot, after: Snapshot) -> tuple[Change, ...]:
    """Return what differs, sorted by path.

    A path that became another kind is modified; what was in a directory that went is removed path by
    path, and what is in a directory that came is added likewise.
    """
    changes: list[Change] = []
    pairs = [("", before.root, after.root)]
    while pairs:
        prefix, old, new = pairs.pop()
        if not _is_same(old, new):
            pairs += _diff_directories(old, new, prefix, changes)
    return tuple(sorted(changes, key=lambda change: change.path))


def _is_same(before: Directory, after: Directory) -> bool:
    return before is after or (
        before.is_digested
        and after.is_digested
        and before.content == after.content
        and before.modes == after.modes
    )


def _diff_directories(
    before: Directory, after: Directory, prefix: str, changes: list[Change]
) -> list[tuple[str, Directory, Directory]]:
    """Compare the names of two directories, and return the pairs of directories that are left to do."""
    pairs: list[tuple[str, Directory, Directory]] = []
    for name, old in before.children.items():
        new = after.children.get(name)
        if new is old:
            continue
        path = prefix + name
        if new is None:
            _report(old, path, "removed", changes)
        elif isinstance(old, Directory) and isinstance(new, Directory):
            if old.mode != new.mode:
                changes.append(Change(ContextPath(path), "metadata"))
            pairs.append((f"{path}/", old, new))
        elif isinstance(old, Directory) or isinstance(new, Directory):
            changes.append(Change(ContextPath(path), "modified"))
            if isinstance(old, Directory):
                _report_below(old, path, "removed", changes)
            if isinstance(new, Directory):
                _report_below(new, path, "added", changes)
        elif old != new:
            changes.append(Change(ContextPath(path), _difference(old, new)))
    for name, new in after.children.items():
        if name not in before.children:
            _report(new, prefix + name, "added", changes)
    return pairs


def _difference(old: Entry, new: Entry) -> Literal["modified", "metadata"]:
    same = replace(old, mode=new.mode) == new
    return "metadata" if same else "modified"


def _report(node: Node, path: str, kind: Literal["added", "removed"], changes: list[Change]) -> None:
    changes.append(Change(ContextPath(path), kind))
    if isinstance(node, Directory):
        _report_below(node, path, kind, changes)


def _report_below(
    node: Directory, path: str, kind: Literal["added", "removed"], changes: list[Change]
) -> None:
    changes.extend(Change(ContextPath(each), kind) for each, _ in walk(node, path))


def apply(before: Snapshot, changes: Iterable[Change], after: Snapshot) -> Snapshot:
    """Carry changes out on `before`, what is new being taken from `after`.

    With `changes == diff(before, after)` the result equals `after`.
    """
    result = before
    for change in sorted(changes, key=lambda change: change.path):
        old, new = result.node(change.path), after.node(change.path)
        if isinstance(new, Directory):
            kept = old.children if isinstance(old, Directory) else {}
            new = Directory(new.mode, kept)
        result = result.with_node(change.path, None if change.kind == "removed" else new)
    return result


def with_edits(snapshot: Snapshot, paths: Iterable[ContextPath]) -> Snapshot:
    """Return the snapshot as it would be after the contents of these files were replaced.

    The new content is one that nothing else has. An unknown path becomes a file, links and other things
    become files, and in place of a directory every file in it is edited. The root stands for all.
    """
    result = snapshot
    for path in sorted(paths):
        node = result.node(path)
        if isinstance(node, Directory):
            below = [each for each, inner in walk(node, path) if not isinstance(inner, Directory)]
            for each in below:
                result = result.with_node(each, _edited(each, result.node(each)))
        else:
            result = result.with_node(path, _edited(path, node))
    return result


def _edited(path: str, node: Node | None) -> Entry:
    mode = node.mode if isinstance(node, Entry) and node.kind == "file" else 0o644
    was = node.digest if isinstance(node, Entry) else ""
    return Entry("file", mode, f"edit:{_unique(path, was)}", 0)


def _unique(path: str, was: str) -> str:
    return hashlib.sha256(_name_bytes(f"{path}\0{was}")).hexdigest()[:32]
