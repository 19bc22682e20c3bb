"""Reads a context from disk: walks it, drops what the ignore file drops, and hashes what is left.

Symlinks are entries like any other and never followed, except to find out what else a wanted path needs;
even then nothing outside the root is looked at. What vanishes while the walk goes on was never there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as stats
import time
from typing import TYPE_CHECKING, Final

from devloop.context.index import UNSETTLED, Index, Row, Rows, is_settled
from devloop.context.patterns import DirectoryRules, IgnoreRules, has_wildcard, match_path
from devloop.context.snapshot import SOCKET, Directory, Entry, Node, Snapshot, Unreadable
from devloop.paths import ContextPath, context_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CHUNK: Final = 1 << 18
MOST_LINKS: Final = 255
UNREADABLE: Final = "unreadable"
"""The digest of a file that could not be read."""

_Parts = tuple[str, ...]
_Wanted = tuple[_Parts, ...] | None
"""What is wanted below a directory: what is left of each path, or None for everything."""


def scan(
    root: Path, rules: IgnoreRules, *, wanted: Sequence[str] | None = None, index: Index | None = None
) -> Snapshot:
    """Read the context under `root`.

    With `wanted` (see `follow_paths`) nothing else is walked or hashed. The index spares the hashing of
    what did not change, and afterwards holds what was found.
    """
    scanner = _Scanner(root, rules, Index() if index is None else index)
    looked_at = None if wanted is None else _with_link_targets(scanner.root, wanted)
    top = scanner.tree(Directory(0, {}), "", rules.root(), _parts(looked_at))
    if wanted is None:
        scanner.index.keep_only(scanner.walked)
    return Snapshot(top, tuple(sorted(scanner.unreadable, key=lambda each: each.path)), looked_at)


def rescan(
    snapshot: Snapshot,
    root: Path,
    rules: IgnoreRules,
    dirty: Iterable[ContextPath],
    *,
    wanted: Sequence[str] | None = None,
    index: Index | None = None,
) -> Snapshot:
    """Read the dirty paths again, a directory with all below it; `rules` must not have changed.

    A dirty path may have gone, come, or become another kind, and so may its parents. The root as a dirty
    path means everything.
    """
    known = Index() if index is None else index
    scanner = _Scanner(root, rules, known)
    looked_at = None if wanted is None else _with_link_targets(scanner.root, wanted)
    paths = _topmost(snapshot, scanner.root, dirty)
    if "" in paths or looked_at != snapshot.looked_at:
        # A link on a wanted path that leads elsewhere now changes what has to be looked at.
        return scan(root, rules, wanted=wanted, index=index)
    result, emptied = snapshot, set[str]()
    for directory, names in _by_directory(paths).items():
        found = scanner.names(snapshot, directory, names, _parts(looked_at))
        result = result.with_nodes(directory, found)
        if None in found.values():
            emptied.add(directory)
    # Only now: a name that came may keep the directory that another one left.
    result = scanner.without_bridges(result, emptied)
    kept = [each for each in snapshot.unreadable if not _is_at_or_below(each.path, paths)]
    unreadable = sorted({*kept, *scanner.unreadable}, key=lambda each: each.path)
    return Snapshot(result.root, tuple(unreadable), looked_at)


def _topmost(snapshot: Snapshot, root: str, dirty: Iterable[ContextPath]) -> set[str]:
    """Return for each path itself, or its highest parent that is not a directory both here and on disk."""
    lost: dict[str, str | None] = {"": None}
    paths: set[str] = set()
    for path in dirty:
        above = path.rpartition("/")[0]
        if above not in lost:
            _find_lost(snapshot, root, above, lost)
        paths.add(lost[above] or path)
    return paths


def _find_lost(snapshot: Snapshot, root: str, path: str, lost: dict[str, str | None]) -> None:
    """Note for a directory and those above it which is the highest that is none; None if all are."""
    here, found = "", None
    for part in path.split("/"):
        here = f"{here}/{part}" if here else part
        if here not in lost:
            is_one = isinstance(snapshot.node(here), Directory) and _is_directory(f"{root}/{here}")
            lost[here] = found or (None if is_one else here)
        found = lost[here]


def _by_directory(paths: set[str]) -> dict[str, list[str]]:
    """Group paths by their directory; those below another of them are left out."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        above, _, name = path.rpartition("/")
        groups.setdefault(above, []).append(name)
    return {above: names for above, names in groups.items() if not _is_at_or_below(above, paths)}


def _is_at_or_below(path: str, paths: set[str]) -> bool:
    while path:
        if path in paths:
            return True
        path = path.rpartition("/")[0]
    return False


def _is_directory(path: str) -> bool:
    try:
        return stats.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


class _Scanner:
    __slots__ = ("index", "root", "rules", "unreadable", "walked")

    def __init__(self, root: Path, rules: IgnoreRules, index: Index) -> None:
        self.root = os.fspath(root)
        self.rules = rules
        self.index = index
        self.unreadable: list[Unreadable] = []
        self.walked: set[str] = set()

    def tree(self, top: Directory, path: str, rules: DirectoryRules, wanted: _Wanted) -> Directory:
        """Fill a new directory with everything below it that is kept and wanted."""
        todo = [(top, path, rules, wanted)]
        # Directories that are there only for what is below them: they go again if that is nothing.
        bridges: list[tuple[Directory, str, Directory]] = []
        while todo:
            directory, here, inside, left = todo.pop()
            for name, child, is_bridge, left_below in self._list(directory, here, inside, left):
                if is_bridge:
                    bridges.append((directory, name, child))
                below = f"{here}/{name}" if here else name
                todo.append((child, below, inside.enter(name) if self.rules else inside, left_below))
        for above, name, child in reversed(bridges):
            if not child.children:
                del above.children[name]
        return top

    def names(
        self, snapshot: Snapshot, directory: str, names: Sequence[str], wanted: _Wanted
    ) -> dict[str, Node | None]:
        """Read some names of what is a directory here and on disk; None for what is not there, or not kept.

        What is not wanted, and what cannot be looked at, is left out: it stays as it is.
        """
        for part in directory.split("/") if directory else ():
            wanted = _below(wanted, part)
            if wanted == ():
                return {}
        inside = self.rules.directory(directory)
        old = snapshot.node(directory)
        known = old.children if isinstance(old, Directory) else {}
        prefix = f"{directory}/" if directory else ""
        found: dict[str, Node | None] = {}
        rows: dict[str, Row | None] = {}
        for name in names:
            left = _below(wanted, name)
            if left == ():
                continue
            path = prefix + name
            try:
                status = os.lstat(f"{self.root}/{path}")
            except (FileNotFoundError, NotADirectoryError, ValueError):
                node, row = None, None
            except OSError as error:
                self._report(path, error)
                continue
            else:
                node, row = self._node(path, name, status, inside, left, known=known.get(name))
            if isinstance(known.get(name), Directory) and not isinstance(node, Directory):
                self.index.forget(path)
            found[name], rows[name] = node, row
        self.index.update(directory, rows)
        return found

    def _node(
        self,
        path: str,
        name: str,
        status: os.stat_result,
        inside: DirectoryRules,
        wanted: _Wanted,
        *,
        known: Node | None,
    ) -> tuple[Node | None, Row | None]:
        """Read what is at a path, and say which row the index may keep of it."""
        is_excluded = inside.excludes(name)
        if stats.S_ISDIR(status.st_mode):
            rules = inside.enter(name)
            node = self._directory(path, status, rules, wanted, known=known, is_excluded=is_excluded)
            return node, None
        if is_excluded or (wanted is not None and not stats.S_ISLNK(status.st_mode)):
            return None, None
        row = self.index.lookup(path)
        if row is not None and _is_current(row, status):
            return row.entry, row
        read = self._read(path, status, row)
        if read is None:
            return None, None
        row, is_kept = read
        return row.entry, row if is_kept else None

    def _directory(
        self,
        path: str,
        status: os.stat_result,
        rules: DirectoryRules,
        wanted: _Wanted,
        *,
        known: Node | None,
        is_excluded: bool,
    ) -> Directory | None:
        if is_excluded and not rules.may_keep_below():
            return None
        top = self.tree(Directory(stats.S_IMODE(status.st_mode), {}), path, rules, wanted)
        if not top.children and (is_excluded or wanted is not None):
            return None
        if wanted is None:
            self.index.keep_only(self.walked, below=path)
        return _shared(known, top) if isinstance(known, Directory) else top

    def without_bridges(self, snapshot: Snapshot, emptied: Iterable[str]) -> Snapshot:
        """Take away, from directories that lost something upwards, what was kept for its sake alone."""
        result = snapshot
        # The deepest first: one that goes may be the last thing in another.
        for directory in sorted(emptied, key=lambda path: path.count("/"), reverse=True):
            path = directory
            while path:
                node = result.node(path)
                if not isinstance(node, Directory) or node.children or not self._is_bridge(path, snapshot):
                    break
                result = result.with_node(path, None)
                path = path.rpartition("/")[0]
        return result

    def _is_bridge(self, path: str, snapshot: Snapshot) -> bool:
        wanted = _parts(snapshot.looked_at)
        for part in path.split("/"):
            wanted = _below(wanted, part)
        return wanted is not None or self.rules.excludes(path)

    def _list(
        self, directory: Directory, path: str, inside: DirectoryRules, wanted: _Wanted
    ) -> list[tuple[str, Directory, bool, _Wanted]]:
        """Fill in the files of one directory, and return the directories that are left to do."""
        full = f"{self.root}/{path}" if path else self.root
        try:
            with os.scandir(full) as listing:
                found = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            found = []
        except OSError as error:
            self._report(path, error)
            found = []
        has_rules = bool(self.rules)
        old = self.index.rows(path)
        rows: Rows = {}
        children = directory.children
        inner: list[tuple[str, Directory, bool, _Wanted]] = []
        for each in found:
            name = each.name
            is_directory = each.is_dir(follow_symlinks=False)
            is_excluded = has_rules and inside.excludes(name)
            if is_excluded and not (is_directory and inside.enter(name).may_keep_below()):
                continue
            left: _Wanted = None
            if wanted is not None:
                left = _below(wanted, name)
                if left == () or (left and not is_directory and not each.is_symlink()):
                    continue
            try:
                status = each.stat(follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._report(f"{path}/{name}" if path else name, error)
                continue
            if stats.S_ISDIR(status.st_mode):
                child = children[name] = Directory(status.st_mode & 0o7777, {})
                inner.append((name, child, is_excluded or left is not None, left))
                continue
            row = old.get(name)
            if row is not None and _is_current(row, status):
                rows[name] = row
            else:
                read = self._read(f"{path}/{name}" if path else name, status, row)
                if read is None:
                    continue
                row, is_kept = read
                if is_kept:
                    rows[name] = row
            children[name] = row.entry
        self.walked.add(path)
        if wanted is not None:
            # What was not looked at may still be as it was.
            rows = {name: row for name, row in old.items() if name not in children} | rows
        self.index.replace(path, rows)
        return inner

    def _read(self, path: str, status: os.stat_result, old: Row | None) -> tuple[Row, bool] | None:
        """Read what is at a path, and say whether the index may keep it; None if it went."""
        mode = status.st_mode
        full = f"{self.root}/{path}"
        now = time.time_ns()
        is_kept = True
        try:
            if stats.S_ISREG(mode):
                entry = _file(full, status, old)
            elif stats.S_ISLNK(mode):
                entry = Entry("link", 0o777, os.readlink(full), 0)  # noqa: PTH115 - pure speed
            else:
                entry = Entry("other", mode & 0o7777, _special(status), 0)
        except OSError as error:
            if error.errno in _WENT:
                return None
            self._report(path, error)
            entry = Entry("file", mode & 0o7777, UNREADABLE, status.st_size)
            is_kept = False
        changed = status.st_ctime_ns
        if not is_settled(status.st_mtime_ns, changed, now):
            changed = UNSETTLED
        return Row(status.st_size, status.st_mtime_ns, changed, status.st_ino, entry), is_kept

    def _report(self, path: str, error: OSError) -> None:
        self.unreadable.append(Unreadable(ContextPath(path), error.strerror or str(error)))


_WENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO})
"""What opening or reading says of a path that has gone, or become something else, since the stat."""


def _is_current(row: Row, status: os.stat_result) -> bool:
    return (
        row.mtime_ns == status.st_mtime_ns
        and row.size == status.st_size
        and row.ctime_ns == status.st_ctime_ns
        and row.inode == status.st_ino
        and row.entry.mode == status.st_mode & 0o7777
    )


def _file(path: str, status: os.stat_result, old: Row | None) -> Entry:
    mode, size = status.st_mode & 0o7777, status.st_size
    digest = _file_digest(path, size)
    looks_unchanged = (
        old is not None
        and old.entry.kind == "file"
        # What was read while it could still change under the same stat is no version to go back to.
        and (old.ctime_ns != UNSETTLED or bool(old.entry.disguised))
        and (old.size, old.mtime_ns, old.entry.mode) == (size, status.st_mtime_ns, mode)
    )
    if old is None or not looks_unchanged or digest == old.entry.digest:
        return Entry("file", mode, digest, size)
    # The builder compares size, time and mode only, and will not see that the bytes are others.
    return Entry("file", mode, old.entry.digest, size, digest)


def _file_digest(path: str, size: int) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # One byte more than there should be: a buffer of that size is cheap, and less in it is the end.
        data = os.read(descriptor, min(size + 1, CHUNK))
        hasher = hashlib.sha256(data)
        if len(data) != size:
            while data := os.read(descriptor, CHUNK):
                hasher.update(data)
        for name, value in _attributes(descriptor):
            hasher.update(b"\0%b\0%b" % (os.fsencode(name), value))
    finally:
        os.close(descriptor)
    return hasher.hexdigest()[:32]


def _attributes(descriptor: int) -> list[tuple[str, bytes]]:
    """Return the extended attributes that count: all but the host's own security and system ones."""
    if not hasattr(os, "listxattr"):
        return []
    try:
        names = [
            name
            for name in os.listxattr(descriptor)
            if name == "security.capability" or not name.startswith(("security.", "system."))
        ]
        return [(name, os.getxattr(descriptor, name)) for name in sorted(names)]
    except OSError:
        # A file system without attributes, or one that went between the two calls.
        return []


def _special(status: os.stat_result) -> str:
    mode = status.st_mode
    if stats.S_ISSOCK(mode):
        return SOCKET
    if stats.S_ISFIFO(mode):
        return "fifo"
    kind = "block" if stats.S_ISBLK(mode) else "character"
    return f"{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _shared(old: Directory, new: Directory) -> Directory:
    """Return a tree equal to the new one in which every part that is as before is the old object."""
    pairs = [(old, new)]
    for before, after in pairs:
        for name, node in after.children.items():
            known = before.children.get(name)
            if isinstance(node, Directory) and isinstance(known, Directory):
                pairs.append((known, node))
    same: dict[int, Directory] = {}
    for before, after in reversed(pairs):
        for name, node in after.children.items():
            if id(node) in same:
                after.children[name] = same[id(node)]
        if before.mode == after.mode and before.children == after.children:
            same[id(after)] = before
    return same.get(id(new), new)


# ---------------------------------------------------------------------------------------------------
# Wanted paths
# ---------------------------------------------------------------------------------------------------


def _parts(looked_at: frozenset[str] | None) -> _Wanted:
    if looked_at is None or "" in looked_at:
        return None
    return tuple(tuple(path.split("/")) for path in sorted(looked_at))


def _below(wanted: _Wanted, name: str) -> _Wanted:
    """Return what is wanted below the child of that name; nothing (an empty tuple) if it is not wanted."""
    if wanted is None:
        return None
    left: list[_Parts] = []
    for parts in wanted:
        if "**" in parts[0]:
            return None
        if _is_match(parts[0], name):
            if len(parts) == 1:
                return None
            left.append(parts[1:])
    return tuple(left)


def _is_match(part: str, name: str) -> bool:
    # The client takes even the source of a mount for a pattern: a file called `[x]` is not sent by its name.
    return match_path(part, name) if "\\" in part or has_wildcard(part) else part == name


def _with_link_targets(root: str, wanted: Sequence[str]) -> frozenset[str]:
    """Return the wanted paths and, for each symlink on the way to one of them, where it leads."""
    known: set[str] = set()
    todo: list[tuple[str, int]] = [(context_path(path), 0) for path in wanted]
    while todo:
        path, links = todo.pop()
        if path in known or links > MOST_LINKS:
            continue
        known.add(path)
        if path:
            todo += [(target, links + 1) for target in _link_targets(root, "", path.split("/"))]
    return frozenset(known)


def _link_targets(root: str, above: str, parts: Sequence[str]) -> list[str]:
    """Return where the first symlinks on the way lead, as the client cleans it: without following `..`."""
    for at, part in enumerate(parts):
        rest = parts[at + 1 :]
        here = f"{above}/{part}" if above else part
        target = _target(f"{root}/{here}")
        if target is not None:
            return [_joined(above, target, rest)]
        if "**" in part:
            return []
        if has_wildcard(part):
            found: list[str] = []
            for name in _names(f"{root}/{above}"):
                if match_path(part, name):
                    match = f"{above}/{name}" if above else name
                    target = _target(f"{root}/{match}")
                    if target is not None:
                        found.append(_joined(above, target, rest))
                    elif rest:
                        found += _link_targets(root, match, rest)
            return found
        above = here
    return []


def _joined(above: str, target: str, rest: Sequence[str]) -> str:
    start = "" if target.startswith("/") else above
    return context_path("/".join((start, target, *rest)))


def _target(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - pure speed
    except (OSError, ValueError):
        return None


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names, not paths, are wanted
    except (OSError, ValueError):
        return []
