"""Remembers on disk which stat belonged to which content, so that a second start hashes nothing.

A row is trusted when size, modification time, change time, inode and mode all agree. BuildKit itself
looks at size, modification time and mode only: a file whose bytes changed under the same three keeps its
old digest there. The index notices such a file, because nothing can set the change time back, and says
both digests (`Entry.disguised`); what the builder will do is then uncertain.

A stat that is younger than the clock's grain when the file is read proves nothing: the file may be
written once more within the same tick, and the stat would not show it. Such rows are kept without a
change time, so that the next scan reads the file again. It would be wrong to argue that BuildKit does not
see that second write either. It compares with what it *received*, which may well be the second version,
while the index would go on naming the first one, perhaps a version that is in the cache: a wrong "cached".

The file holds one block per directory: names, then fixed-size rows. A block is taken apart when its
directory is first asked for. A checksum over all guards against damage; a file that does not pass is
taken for an absent one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from devloop.context.snapshot import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAGIC: Final = b"devloop index 1\n"
CHECK_BYTES: Final = 16
TICK_NS: Final = 20_000_000
"""Linux stamps files with the time of its last tick, at most 10 ms ago; doubled for good measure."""
COARSE_NS: Final = 2_050_000_000
"""FAT counts in two seconds; a file system that shows only whole seconds is treated like it."""

UNSETTLED: Final = -1
"""The change time of a row that vouches for nothing."""

_HEAD: Final = struct.Struct("<IIII")
_ROW: Final = struct.Struct("<qqqQI16s")
_KINDS: Final[tuple[Kind, ...]] = ("file", "link", "other")
_DISGUISED: Final = 1 << 20
_KIND_SHIFT: Final = 16


class Row(NamedTuple):
    """What was found at a path, and the stat that it had."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    entry: Entry


Rows = dict[str, Row]


class Index:
    """Rows by directory and name. `is_changed` tells whether a save would write anything new."""

    __slots__ = ("_packed", "_rows", "is_changed")

    def __init__(self, packed: dict[str, bytes | memoryview] | None = None) -> None:
        self._packed = packed or {}
        self._rows: dict[str, Rows] = {}
        self.is_changed = False

    def rows(self, directory: str) -> Rows:
        """Return the rows of a directory; whoever changes them says so with `replace` or `update`."""
        found = self._rows.get(directory)
        if found is None:
            packed = self._packed.pop(directory, None)
            found = self._rows[directory] = {} if packed is None else _unpack(packed)
        return found

    def lookup(self, path: str) -> Row | None:
        directory, _, name = path.rpartition("/")
        return self.rows(directory).get(name)

    def update(self, directory: str, rows: Mapping[str, Row | None]) -> None:
        """Keep or forget rows of one directory; those of other names stay."""
        known = self.rows(directory)
        for name, row in rows.items():
            if row is None:
                self.is_changed |= known.pop(name, None) is not None
            elif known.get(name) is not row:
                self.is_changed = True
                known[name] = row

    def replace(self, directory: str, rows: Rows) -> None:
        """Keep these rows, and no others, for the directory."""
        if self.rows(directory) != rows:
            self._rows[directory] = rows
            self.is_changed = True

    def forget(self, directory: str) -> None:
        """Forget a directory that went, with all below it."""
        below = f"{directory}/"
        for known in (self._rows, self._packed):
            gone = [each for each in known if each == directory or each.startswith(below)]
            for each in gone:
                del known[each]
                self.is_changed = True

    def keep_only(self, directories: set[str], *, below: str = "") -> None:
        """Forget all other directories, or all others below one."""
        prefix = f"{below}/" if below else ""
        for known in (self._rows, self._packed):
            for each in known.keys() - directories:
                if each.startswith(prefix):
                    del known[each]
                    self.is_changed = True

    def blocks(self) -> list[tuple[str, bytes | memoryview]]:
        """Return every directory that has rows, packed."""
        packed = [(directory, _pack(rows)) for directory, rows in self._rows.items() if rows]
        return sorted([*packed, *self._packed.items()], key=lambda block: block[0])


def is_settled(mtime_ns: int, ctime_ns: int, now_ns: int) -> bool:
    """Tell whether a file with these times, read from now on, cannot change without its stat changing."""
    is_coarse = mtime_ns % 1_000_000_000 == 0 and ctime_ns % 1_000_000_000 == 0
    return max(mtime_ns, ctime_ns) < now_ns - (COARSE_NS if is_coarse else TICK_NS)


def load_index(path: Path) -> Index:
    """Read an index; one that is absent, damaged or of another version is an empty one."""
    try:
        raw = path.read_bytes()
    except OSError:
        return Index()
    start = len(MAGIC) + CHECK_BYTES
    body = memoryview(raw)[start:]
    if not raw.startswith(MAGIC) or raw[len(MAGIC) : start] != _check(body):
        return Index()
    packed: dict[str, bytes | memoryview] = {}
    at = 0
    while at < len(body):
        path_size, block_size, _, _ = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        directory = bytes(body[at : at + path_size]).decode("utf-8", "surrogateescape")
        at += path_size
        packed[directory] = body[at : at + block_size]
        at += block_size
    return Index(packed)


def save_index(index: Index, path: Path) -> bool:
    """Write the index in one step, readable by its owner only; False when the disk would not take it."""
    if not index.is_changed and path.exists():
        return True
    pieces: list[bytes | memoryview] = []
    for directory, block in index.blocks():
        raw = directory.encode("utf-8", "surrogateescape")
        pieces += (_HEAD.pack(len(raw), len(block), 0, 0), raw, block)
    body = b"".join(pieces)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + _check(memoryview(body)) + body)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    index.is_changed = False
    return True


def _check(body: memoryview) -> bytes:
    return hashlib.sha256(body).digest()[:CHECK_BYTES]


def _pack(rows: Rows) -> bytes:
    packed = bytearray()
    texts: list[str] = []
    for size, mtime_ns, ctime_ns, inode, entry in rows.values():
        code = entry.mode | _KINDS.index(entry.kind) << _KIND_SHIFT
        digest = b""
        if entry.kind == "file":
            digest = bytes.fromhex(entry.digest)
            if entry.disguised:
                code |= _DISGUISED
                texts.append(entry.disguised)
        else:
            texts.append(entry.digest)
        packed += _ROW.pack(size, mtime_ns, ctime_ns, inode, code, digest)
    names = "\0".join(rows).encode("utf-8", "surrogateescape")
    extra = "\0".join(texts).encode("utf-8", "surrogateescape")
    return b"".join((_HEAD.pack(len(rows), len(names), len(extra), 0), names, extra, packed))


def _unpack(block: bytes | memoryview) -> Rows:
    count, names_size, extra_size, _ = _HEAD.unpack_from(block)
    if not count:
        return {}
    at = _HEAD.size
    names = bytes(block[at : at + names_size]).decode("utf-8", "surrogateescape").split("\0")
    at += names_size
    texts = iter(bytes(block[at : at + extra_size]).decode("utf-8", "surrogateescape").split("\0"))
    rows: Rows = {}
    unpacked = _ROW.iter_unpack(block[at + extra_size :])
    for name, (size, mtime_ns, ctime_ns, inode, code, digest) in zip(names, unpacked, strict=True):
        if code < 1 << _KIND_SHIFT:
            entry = Entry("file", code, digest.hex(), size)
        else:
            mode, kind = code & 0o7777, _KINDS[code >> _KIND_SHIFT & 3]
            if kind == "file":
                entry = Entry("file", mode, digest.hex(), size, next(texts))
            else:
                entry = Entry(kind, mode, next(texts), 0)
        rows[name] = Row(size, mtime_ns, ctime_ns, inode, entry)
    return rows
