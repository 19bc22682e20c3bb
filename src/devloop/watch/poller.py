"""Watching without events: look at each directory in turn and compare stats.

For file systems that tell nothing about changes made on another side, for what the kernel's limit leaves
unwatched, and for whoever asks for it. A look costs one lstat per kept entry, so the ignore rules apply
here as well, a directory that changed lately is looked at more often, and the whole may take a fixed share
of one core at most.
"""

import os
import stat
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from devloop.watch.debounce import WatchSettings
from devloop.watch.events import Dirty, Gap, Polled, Scope, State, WatchEvent, is_within, join

SILENT_FILE_SYSTEMS: dict[str, str] = {
    "9p": "Windows drives under WSL 2, and QEMU shares: writes by the host are not reported",
    "drvfs": "Windows drives under WSL 1",
    "cifs": "SMB: only writes through this mount are reported",
    "smb3": "SMB",
    "smbfs": "SMB",
    "nfs": "only writes through this mount are reported",
    "nfs4": "as nfs",
    "afs": "as nfs",
    "ceph": "as nfs",
    "vboxsf": "VirtualBox shared folders: writes by the host are not reported",
    "prl_fs": "Parallels shared folders",
    "vmhgfs": "VMware shared folders",
    "virtiofs": "shares of virtual machines: the host's writes are not reported everywhere",
    "fakeowner": "Docker Desktop's bind mounts",
    "fuse": "unknown user-space file systems: sshfs, Docker Desktop's older shares and others",
}
"""Types, as /proc/self/mountinfo spells them, whose changes may come without an event, and why."""

_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.encfs", "fuse.gocryptfs"})
"""User-space file systems over local directories: all writes go through the mount, so events come."""

Signature = tuple[int, int, int, int, int]
"""Mode, size, modification time, inode, change time."""

_RACY_NANOSECONDS = 50_000_000
"""A file written so shortly before a look may be written again without a new time: clocks tick in 4 to
10 ms. Such an entry is remembered with a time that no file has, and so reported once more."""


def silent_reason(file_system: str) -> str | None:
    """Return why a file system type gives no dependable events, or None if it does."""
    if file_system in _LOCAL_FUSE:
        return None
    return SILENT_FILE_SYSTEMS.get("fuse" if file_system.startswith("fuse.") else file_system)


def mounts_in(mountinfo: str, root: str) -> dict[str, str]:
    """Return the file system type at `root` (as `""`) and at each mount point below it (relative).

    `mountinfo` is the text of /proc/self/mountinfo, whose lines come in no dependable order but one: of two
    mounts at one place the later one hides the other, and counts.
    """
    at_root = ("", "")
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = fields[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        prefix = point.rstrip("/")
        if root == point or root.startswith(f"{prefix}/"):
            if len(point) >= len(at_root[0]):
                at_root = (point, kinds[0])
        elif point.startswith(f"{root.rstrip('/')}/"):
            found[point[len(root.rstrip("/")) + 1 :]] = kinds[0]
    return {"": at_root[1], **found}


def read_mounts(root: str) -> dict[str, str]:
    """Read what `mounts_in` tells of this machine; nothing is known where there is no /proc."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return mounts_in(file.read(), root)
    except OSError:
        return {}


def signature(path: str, *, follow: bool = False) -> Signature | None:
    """Return what changes when a file is written, replaced, or given another mode; None if it is gone."""
    try:
        found = os.stat(path, follow_symlinks=follow)  # noqa: PTH116
    except OSError:
        return None
    if stat.S_ISDIR(found.st_mode):
        # A directory's times and size speak of its entries, which are looked at by themselves.
        return (found.st_mode, 0, 0, found.st_ino, 0)
    return (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells one directory from another under the same name; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def state_of(path: str) -> State:
    """Look once at a dirty path and say whether it is finished, empty, or missing."""
    try:
        found = os.lstat(path)
    except OSError:
        return "missing"
    return "empty" if stat.S_ISREG(found.st_mode) and found.st_size == 0 else "settled"


@dataclass(slots=True)
class _Directory:
    entries: dict[str, Signature]
    due: float
    cost: float
    changed: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Look:
    """What one round of polling found; all paths relative to the root."""

    dirty: tuple[str, ...] = ()
    new_directories: tuple[str, ...] = ()
    gone_directories: tuple[str, ...] = ()


@dataclass(slots=True)
class Poller:
    """Polls a set of single directories. Which ones, the owner decides: a new one is only reported."""

    scope: Scope
    settings: WatchSettings
    _directories: dict[str, _Directory] = field(default_factory=dict)
    _total_cost: float = 0.0

    @property
    def directories(self) -> Iterable[str]:
        return self._directories.keys()

    def __len__(self) -> int:
        return len(self._directories)

    def add(self, path: str, now: float) -> list[str]:
        """Take a directory in and return its kept sub-directories, as paths."""
        entries, cost = self._list(path)
        self.discard(path)
        changed = now if entries else float("-inf")
        self._directories[path] = _Directory(entries, now + self.settings.poll_hot_seconds, cost, changed)
        self._total_cost += cost
        return [join(path, name) for name, found in entries.items() if stat.S_ISDIR(found[0])]

    def discard(self, path: str) -> None:
        known = self._directories.pop(path, None)
        if known is not None:
            self._total_cost -= known.cost

    def discard_tree(self, path: str) -> None:
        for known in [known for known in self._directories if is_within(known, path)]:
            self.discard(known)

    def clear(self) -> None:
        self._directories.clear()
        self._total_cost = 0.0

    def due(self) -> float | None:
        """Return when the next directory wants a look."""
        return min((known.due for known in self._directories.values()), default=None)

    def look(self, now: float) -> Look:
        """Look at the directories whose time has come and return what differs from the last look."""
        dirty: list[str] = []
        new: list[str] = []
        gone: list[str] = []
        for path in [path for path, known in self._directories.items() if known.due <= now]:
            self._look_at(path, now, dirty, new, gone)
        for path in gone:
            self.discard_tree(path)
        return Look(tuple(dirty), tuple(new), tuple(gone))

    def _look_at(self, path: str, now: float, dirty: list[str], new: list[str], gone: list[str]) -> None:
        known = self._directories[path]
        entries, cost = self._list(path)
        before = known.entries
        for name in entries.keys() | before.keys():
            old, fresh = before.get(name), entries.get(name)
            if old == fresh:
                continue
            child = join(path, name)
            dirty.append(child)
            known.changed = now
            if old is not None and stat.S_ISDIR(old[0]):
                gone.append(child)
            if fresh is not None and stat.S_ISDIR(fresh[0]):
                new.append(child)
        self._total_cost += cost - known.cost
        known.entries, known.cost = entries, cost
        known.due = now + self._interval(known, now)

    def _interval(self, known: _Directory, now: float) -> float:
        settings = self.settings
        share = max(settings.poll_share, 1e-3)
        if now - known.changed < settings.poll_hot_for_seconds:
            return max(settings.poll_hot_seconds, known.cost / share)
        return max(settings.poll_seconds, self._total_cost / share)

    def _list(self, path: str) -> tuple[dict[str, Signature], float]:
        scope = self.scope
        started = time.perf_counter()
        entries: dict[str, Signature] = {}
        host = scope.host_path(path)
        try:
            names = os.listdir(host)  # noqa: PTH208
        except OSError:
            names = []
        wall = time.time_ns()
        for name in names:
            found = signature(f"{host}/{name}")
            if found is None:
                continue
            if abs(wall - found[2]) < _RACY_NANOSECONDS:
                found = (*found[:4], -1)
            keep = scope.keep_directory if stat.S_ISDIR(found[0]) else scope.keep_file
            if keep(join(path, name)):
                entries[name] = found
        return entries, time.perf_counter() - started


@dataclass(slots=True)
class ExtraFilePoller:
    """Polls single files by absolute path, through symbolic links as well."""

    _known: dict[str, tuple[Signature | None, Signature | None]] = field(default_factory=dict)

    def set_files(self, files: Iterable[str]) -> None:
        self._known = {path: self._known.get(path) or self._sign(path) for path in files}

    def look(self) -> list[str]:
        """Return the files that changed, came or went since the last look."""
        fresh = {path: self._sign(path) for path in self._known}
        changed = [path for path, signs in fresh.items() if signs != self._known[path]]
        self._known = fresh
        return changed

    @staticmethod
    def _sign(path: str) -> tuple[Signature | None, Signature | None]:
        return signature(path), signature(path, follow=True)


class PollingBackend:
    """Watches a whole scope by polling alone."""

    def __init__(self, scope: Scope, settings: WatchSettings, reason: str) -> None:
        self.scope = scope
        self._settings = settings
        self._reason = reason
        self._wake = threading.Event()
        self._poller = Poller(scope, settings)
        self._extra = ExtraFilePoller()
        self._extra_due = 0.0
        self._root_exists = True

    def start(self) -> list[WatchEvent]:
        self._extra.set_files(self.scope.extra_files)
        self._root_exists = os.path.isdir(self.scope.root)  # noqa: PTH112
        self._adopt([""])
        return [Polled(("",), self._reason)]

    @property
    def watched(self) -> int:
        return 0

    @property
    def polled(self) -> int:
        return len(self._poller)

    def wait(self, timeout: float | None) -> list[WatchEvent]:
        now = time.monotonic()
        due = min(self._poller.due() or self._extra_due, self._extra_due) - now
        if timeout is not None:
            due = min(due, timeout)
        if due > 0 and self._wake.wait(due):
            self._wake.clear()
        return self._look(time.monotonic())

    def wake(self) -> None:
        self._wake.set()

    def update(self, scope: Scope) -> list[WatchEvent]:
        self.scope = scope
        self._poller = Poller(scope, self._settings)
        self._extra.set_files(scope.extra_files)
        self._adopt([""])
        return []

    def close(self) -> None:
        self._poller.clear()

    def _adopt(self, directories: Iterable[str]) -> None:
        waiting = list(directories)
        now = time.monotonic()
        while waiting:
            waiting.extend(self._poller.add(waiting.pop(), now))

    def _look(self, now: float) -> list[WatchEvent]:
        events: list[WatchEvent] = []
        if now >= self._extra_due:
            self._extra_due = now + self._settings.poll_hot_seconds
            events.extend(Dirty(path, state_of(path)) for path in self._extra.look())
            events.extend(self._check_root())
        found = self._poller.look(now)
        self._adopt(found.new_directories)
        events.extend(Dirty(path, state_of(self.scope.host_path(path))) for path in found.dirty)
        return events

    def _check_root(self) -> list[WatchEvent]:
        exists = os.path.isdir(self.scope.root)  # noqa: PTH112
        if exists == self._root_exists:
            return []
        self._root_exists = exists
        return [Gap("the watched folder is back" if exists else "the watched folder is gone")]
