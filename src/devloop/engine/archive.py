"""What a sync puts into a container and takes out of it, and the archive that becomes of it; all of it pure.

The archive is what the engine's upload expects: directories before what is in them, owners as numbers, no
entry for a directory that is there already and need not change.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BLOCK: Final = tarfile.BLOCKSIZE
END: Final = bytes(2 * BLOCK)
"""What ends an archive."""


@dataclass(frozen=True, slots=True)
class Write:
    """What shall be at `path`, an absolute path of the container without links among its parents.

    `source` is the file on the host whose bytes have `digest` (see `devloop.context.snapshot.Entry`); `link`
    is the text of a link; `owner` is written as for `--chown`, None being root. Whatever else is at the path
    goes; a directory that is there keeps what is in it.
    """

    path: str
    kind: Literal["file", "directory", "link"]
    mode: int = 0o644
    source: str | None = None
    digest: str = ""
    link: str = ""
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """What shall not be at `path`, with all below it; it is fine if nothing is there."""

    path: str


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """One change of a container's files: first the writes in one upload, then the removals."""

    writes: tuple[Write, ...] = ()
    removals: tuple[Removal, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncOutcome:
    """How a batch went. Unless `ok`, what is in the container is not known, and a rebuild is due.

    With `changed_meanwhile` a source had other bytes than expected: nothing was sent, and a new look at the
    tree gives the batch to send.
    """

    ok: bool
    seconds: float
    error: str | None = None
    changed_meanwhile: bool = False


def in_order(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Sort the writes so that every directory stands before what is in it."""
    return tuple(sorted(writes, key=lambda write: write.path.split("/")))


def parents(path: str) -> tuple[str, ...]:
    """Return the directories above an absolute path, the root left out, the highest first."""
    parts = path.split("/")[1:-1]
    return tuple("/" + "/".join(parts[: count + 1]) for count in range(len(parts)))


def contradiction(batch: SyncBatch) -> str | None:
    """Say what is wrong with a batch: a path that is not plain, written twice, or below one that goes.

    A removal of a path that is written itself is none: the write replaces what is there.
    """
    paths = [write.path for write in batch.writes]
    removed = {removal.path for removal in batch.removals}
    for path in (*paths, *removed):
        if not path.startswith("/") or any(part in {"", ".", ".."} for part in path.split("/")[1:]):
            return f"{path!r} is no plain absolute path"
    if len(set(paths)) < len(paths):
        return "a path is written twice"
    kinds = {write.path: write.kind for write in batch.writes}
    for path in paths:
        for above in parents(path):
            if above in removed and above not in kinds:
                return f"{path} is written below {above}, which is removed"
            if kinds.get(above, "directory") != "directory":
                return f"{path} is written below {above}, which is no directory"
    return None


def removals(batch: SyncBatch) -> tuple[str, ...]:
    """Return what is left to remove after the writes: the topmost paths alone, those written left out.

    What was below a path that is now a file or a link went with the directory that it was.
    """
    kinds = {write.path: write.kind for write in batch.writes}
    wanted = {removal.path for removal in batch.removals} - kinds.keys()
    return tuple(
        sorted(
            path
            for path in wanted
            if not any(
                above in wanted or kinds.get(above, "directory") != "directory" for above in parents(path)
            )
        )
    )


def common_directory(writes: Sequence[Write]) -> str:
    """Return the deepest directory that all writes lie below, none of which can be that directory itself."""
    above = [write.path.split("/")[:-1] for write in writes]
    first, last = min(above), max(above)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return "/".join(first[:same]) or "/"


def header(write: Write, owner: tuple[int, int], size: int, mtime: int, base: str = "/") -> bytes:
    """Return what precedes the bytes of a file in an archive, or stands for a directory or a link.

    The archive is to be unpacked in `base`, a directory above the path.
    """
    name = write.path[len(base) :].lstrip("/")
    mode = write.mode & 0o7777
    kind, link = tarfile.REGTYPE, ""
    if write.kind == "directory":
        kind, size = tarfile.DIRTYPE, 0
    elif write.kind == "link":
        kind, size, mode, link = tarfile.SYMTYPE, 0, 0o777, write.link
    numbers = (mode, *owner, size, mtime)
    return _plain_header(name, kind, link, numbers) or _long_header(name, kind, link, numbers)


_Numbers = tuple[int, int, int, int, int]
"""Mode, user, group, size and time of an entry."""


def _plain_header(name: str, kind: bytes, link: str, numbers: _Numbers) -> bytes | None:
    """Return a header as tarfile makes it, in a fifth of the time; None where one block does not hold it."""
    raw = name.encode("utf-8", "surrogateescape") + (b"/" if kind == tarfile.DIRTYPE else b"")
    target = link.encode("utf-8", "surrogateescape")
    if len(raw) > tarfile.LENGTH_NAME or len(target) > tarfile.LENGTH_LINK:
        return None
    if max(numbers[:3]) >= 8**7 or max(numbers[3:]) >= 8**11 or min(numbers) < 0:
        return None
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (raw.ljust(100, b"\0"), *numbers)
    end = (b"%b%b%b" % (kind, target.ljust(100, b"\0"), tarfile.GNU_MAGIC)).ljust(BLOCK - 156, b"\0")
    # The sum counts its own field as eight blanks.
    return b"%b%06o\0 %b" % (start, sum(start) + sum(end) + 8 * 32, end)


def _long_header(name: str, kind: bytes, link: str, numbers: _Numbers) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.mode, info.uid, info.gid, info.size, info.mtime = numbers
    # GNU's long names are raw bytes, as the names of a Linux file system are.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return what follows `size` bytes of a file in an archive."""
    return bytes(-size % BLOCK)


def owner_ids(owner: str | None, passwd: str, group: str) -> tuple[int, int] | None:
    """Return user and group as BuildKit finds them for a `--chown`; None for a name it would not find.

    A number alone is the group as well, a name alone brings its own group, a group alone belongs to root.
    BuildKit takes an unknown name for root without a word; that is a mistake in the Dockerfile, and a build
    may show what becomes of it.
    """
    if owner is None:
        return 0, 0
    user, _, named_group = owner.partition(":")
    uid, gid = 0, 0
    if user.isdecimal():
        uid = gid = int(user)
    elif user:
        found = _fields(passwd, user, 4)
        # Without /etc/passwd there is only root, by name too.
        if found is None and (user != "root" or passwd):
            return None
        uid, gid = (int(found[2]), int(found[3])) if found else (0, 0)
    if named_group.isdecimal():
        gid = int(named_group)
    elif named_group:
        found = _fields(group, named_group, 3)
        if found is None and (named_group != "root" or group):
            return None
        gid = int(found[2]) if found else 0
    return uid, gid


def _fields(text: str, name: str, count: int) -> list[str] | None:
    """Return the fields of the first good line for `name`: at least `count`, all numbers from the third."""
    for line in text.splitlines():
        fields = line.strip().split(":")
        if fields[0] == name and len(fields) >= count and all(each.isdecimal() for each in fields[2:count]):
            return fields
    return None
