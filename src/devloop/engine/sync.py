"""Changes files in a container, running or not, so that they are what a rebuilt image would have there.

Files go in through the engine's archive upload, which needs nothing in the image and takes a millisecond: the
engine unpacks in the container's root, replaces what is of another kind, and follows links among the parents
without leaving the container. What must go is removed through `/proc/PID/root` where we may, for which the
image needs nothing either, else by the image's own `rm`. Where neither is possible the caller has to rebuild.

An upload and a removal are refused where they would not mean what a rebuild means: under a mount, behind a
link, below a directory that is not there.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import shutil
import stat as stats
import tarfile
import tempfile
import threading
import time
from base64 import b64decode
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlencode

from devloop.engine.archive import (
    END,
    SyncOutcome,
    common_directory,
    contradiction,
    header,
    in_order,
    owner_ids,
    padding,
    parents,
    removals,
)
from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.endpoint import unavailable
from devloop.errors import DevloopError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from devloop.engine.archive import SyncBatch, Write
    from devloop.engine.containers import Containers
    from devloop.engine.endpoint import Engine

CHUNK: Final = 1 << 20
IN_MEMORY: Final = 16 << 20
"""Archives up to this size are made in memory, larger ones in a temporary file."""
_EXEC_SECONDS: Final = 30.0
_MOST_LINKS: Final = 40
"""As many as the kernel follows."""
_OWN_FILES: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
"""Files that the engine mounts into every container."""

Kind = Literal["file", "directory", "link", "other"]


class CannotSync(DevloopError):  # noqa: N818 - a refusal, named as one
    """The batch cannot be brought into the container as it is; a rebuild can do it."""


class SourceChanged(Exception):  # noqa: N818 - an event, named as one
    """A source has other bytes than the batch was made for."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a path of a container; `link` is the text of a link."""

    kind: Kind
    mode: int
    link: str = ""


class Wire:
    """Requests to one engine over one connection that stays open, one at a time.

    The docker SDK's transport is borrowed where the engine is reached through ssh or a named pipe.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: IO[bytes] | bytes | None = None,
        content: str = "application/json",
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the reply; raises `EngineUnavailable` where there is none.

        A connection that the engine closed meanwhile is opened anew. So `body` is sent again from its
        beginning: only requests may be made that can be repeated.
        """
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        size = _size(body)
        headers = {"Host": "docker", "Content-Length": str(size)}
        if body is not None:
            headers["Content-Type"] = content
        with self._lock:
            if not self._engine.endpoint.host.startswith(("unix://", "tcp://", "http://", "https://")):
                return self._borrowed(method, target, headers, body)
            while True:
                connection, is_fresh = self._open()
                try:
                    return _exchange(connection, method, target, headers, body)
                except (OSError, http.client.HTTPException) as error:
                    self._drop()
                    if is_fresh:
                        raise unavailable(self._engine.endpoint, error) from error

    def json(
        self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401 - it is JSON
        """Return the reply as JSON; raises `EngineRefused` for a status that is no success."""
        data = None if body is None else json.dumps(body).encode()
        status, _, reply = self.request(method, path, query, data)
        raise_refusal(status, reply)
        return json.loads(reply) if reply else None

    def _open(self) -> tuple[http.client.HTTPConnection, bool]:
        if self._connection is not None:
            return self._connection, False
        self._connection = self._engine.connect()
        # The default of 16 KiB a write costs more than the engine's own work.
        self._connection.blocksize = CHUNK
        return self._connection, True

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _borrowed(
        self, method: str, target: str, headers: Mapping[str, str], body: IO[bytes] | bytes | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        from devloop.engine.containers import api_client

        client = api_client(self._engine.endpoint)
        try:
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
            reply = client.request(
                method, f"{client.base_url}{target}", data=body, headers=dict(headers), timeout=120
            )
            return reply.status_code, _lower(reply.headers.items()), reply.content
        except OSError as error:  # requests' errors derive from it
            raise unavailable(self._engine.endpoint, error) from error
        finally:
            client.close()


def _size(body: IO[bytes] | bytes | None) -> int:
    if body is None:
        return 0
    return len(body) if isinstance(body, bytes) else body.seek(0, os.SEEK_END)


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: IO[bytes] | bytes | None,
) -> tuple[int, Mapping[str, str], bytes]:
    if body is not None and not isinstance(body, bytes):
        body.seek(0)
    try:
        connection.request(method, target, body, dict(headers))
    except (BrokenPipeError, ConnectionResetError):
        # An engine that refuses does so before it has read everything; its reason waits to be read.
        if body is None:
            raise
    response = connection.getresponse()
    reply = response.read()
    if response.will_close:
        connection.close()
    return response.status, _lower(response.headers.items()), reply


def _lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def raise_refusal(status: int, reply: bytes) -> None:
    """Raise `EngineRefused` with the engine's own words if `status` is no success."""
    if status < http.client.BAD_REQUEST:
        return
    try:
        message = json.loads(reply)["message"]
    except (ValueError, KeyError, TypeError):
        message = reply.decode("utf-8", "replace").strip()
    raise EngineRefused(status, str(message or f"the engine answered with status {status}"))


class ContainerFiles:
    """The files of one container; not for use by several threads at once.

    `reach` off keeps away from `/proc`, as for an engine in a virtual machine.
    """

    def __init__(
        self, containers: Containers, ident: str, *, wire: Wire | None = None, reach: bool = True
    ) -> None:
        self.ident = ident
        self._wire = Wire(containers.engine) if wire is None else wire
        self._owns_wire = wire is None
        self._may_reach = reach and containers.is_local and os.geteuid() == 0
        self._state: _State | None = None
        self._names: tuple[str, str] | None = None
        self._owners: dict[str | None, tuple[int, int]] = {None: (0, 0)}
        self._sent: dict[str, int] = {}
        self._plain: set[str] = set()

    def close(self) -> None:
        if self._owns_wire:
            self._wire.close()

    def stat(self, path: str) -> Found | None:
        """Return what is at `path`; all links but a last one lead on, and never out of the container."""
        return self.stat_all([path])[path]

    def stat_all(self, paths: Iterable[str]) -> dict[str, Found | None]:
        """Return what is at each path, as `stat` does; through the kernel many cost little more than one."""
        with self._reached() as root:
            if root is not None:
                return root.stat_all(paths)
        return {path: self._ask(path) for path in paths}

    def _ask(self, path: str) -> Found | None:
        target = f"/containers/{self.ident}/archive"
        status, headers, reply = self._wire.request("HEAD", target, {"path": path})
        if status == http.client.NOT_FOUND:
            # The engine says the same of a container that is not there.
            self._look()
            return None
        if status >= http.client.INTERNAL_SERVER_ERROR and path.strip("/").count("/"):
            # So it answers for a path below a file, also where a link leads to the file.
            above = self._ask(path.rstrip("/").rpartition("/")[0])
            if above is None or above.kind != "directory":
                return None
        raise_refusal(status, reply)
        found = json.loads(b64decode(headers["x-docker-container-path-stat"]))
        kind, mode = _kind_and_mode(int(found["mode"]))
        return Found(kind, mode, self._link_text(path) if kind == "link" else "")

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, links followed within the container; None where no file is."""
        for _ in range(_MOST_LINKS):
            member = self._member(path)
            if member is None:
                return None
            info, data = member
            if not info.issym():
                return data if info.isfile() else None
            path = _joined(path, info.linkname)
        return None

    def real_path(self, path: str) -> str:
        """Return `path` with every link among its directories resolved within the container, itself included.

        What is not there yet stays as it is written.
        """
        done = ""
        todo = [part for part in path.split("/") if part not in {"", "."}]
        links = 0
        while todo:
            part = todo.pop(0)
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            found = self.stat(f"{done}/{part}")
            if found is None:
                return "/".join((f"{done}/{part}", *todo))
            if found.kind != "link":
                done = f"{done}/{part}"
                continue
            links += 1
            if links > _MOST_LINKS:
                raise CannotSync(f"{path} leads through too many links")
            start = [] if found.link.startswith("/") else done.split("/")[1:]
            todo = [each for each in (*start, *found.link.split("/")) if each not in {"", "."}] + todo
            done = ""
        return done or "/"

    def ids(self, owner: str | None) -> tuple[int, int]:
        """Return user and group of a `--chown` text, by the container's own names, as BuildKit finds them."""
        known = self._owners.get(owner)
        if known is not None:
            return known
        if self._names is None:
            texts = [self.read(path) or b"" for path in ("/etc/passwd", "/etc/group")]
            self._names = (texts[0].decode("utf-8", "replace"), texts[1].decode("utf-8", "replace"))
        found = owner_ids(owner, *self._names)
        if found is None:
            raise CannotSync(f"the container knows no owner {owner}")
        self._owners[owner] = found
        return found

    def apply(self, batch: SyncBatch) -> SyncOutcome:
        """Make the batch's changes: all writes in one upload, then the removals.

        Nothing is sent when a source has other bytes than expected, or when something is certain to fail.
        """
        start = time.monotonic()
        error: str | None = None
        is_changed = False
        try:
            self._apply(batch)
        except SourceChanged as changed:
            error, is_changed = str(changed), True
        except EngineUnavailable:
            raise
        except DevloopError as refused:
            error = refused.message
        except OSError as failed:
            error = f"{failed.strerror}: {failed.filename}" if failed.filename else str(failed)
        if error is not None:
            self._forget()
        return SyncOutcome(error is None, time.monotonic() - start, error, is_changed)

    # ---------------------------------------------------------------------------------------------- the work

    def _apply(self, batch: SyncBatch) -> None:
        wrong = contradiction(batch)
        if wrong is not None:
            raise CannotSync(wrong)
        writes = in_order(batch.writes)
        gone = removals(batch)
        with self._reached() as root:
            state = self._state or self._look()
            if state.is_read_only:
                raise CannotSync("the container's root is read-only")
            mounts = root.mounts if root is not None else state.mounts
            replaced = [write.path for write in writes if write.kind != "directory"]
            _refuse_mounts([write.path for write in writes], [*replaced, *gone], mounts)
            times = root.check(writes) if root is not None else self._check(writes)
            if writes:
                self._upload(writes, times)
            if gone and root is not None:
                for path in gone:
                    root.remove(path)
            elif gone:
                self._remove_by_command(gone)

    def _upload(self, writes: Sequence[Write], times: Mapping[str, int]) -> None:
        owners = [self.ids(write.owner) for write in writes]
        now = int(time.time())
        stamps = [
            max(now, times.get(write.path, 0) + 1, self._sent.get(write.path, 0) + 1) for write in writes
        ]
        # The engine looks at every part of every name: 500 files five directories down take twice as long
        # from the root. That all parents are plain directories has been checked.
        base = common_directory(writes)
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
            for write, owner, stamp in zip(writes, owners, stamps, strict=True):
                _pack(spool, write, owner, stamp, base)
            spool.write(END)
            status, _, reply = self._wire.request(
                "PUT",
                f"/containers/{self.ident}/archive",
                {"path": base},
                spool,
                "application/x-tar",
            )
        raise_refusal(status, reply)
        for write, stamp in zip(writes, stamps, strict=True):
            # What keeps whole seconds, as Python's caches do, must see that this is another version.
            self._sent[write.path] = stamp

    def _check(self, writes: Sequence[Write]) -> dict[str, int]:
        """Refuse writes whose parents are no plain directories; what is at the paths is not looked at."""
        made = {write.path for write in writes if write.kind == "directory"}
        for write in writes:
            for above in parents(write.path):
                if above in made or above in self._plain:
                    continue
                found = self.stat(above)
                _refuse_parent(above, None if found is None else found.kind)
                self._plain.add(above)
        self._plain -= {write.path for write in writes if write.kind != "directory"}
        return {}

    def _remove_by_command(self, paths: Sequence[str]) -> None:
        """Let the image's own `rm` remove, as root, and see for ourselves that it did."""
        there = [path for path in paths if self._is_below_directories(path)]
        state = self._look()
        if state.state != "running":
            # One look at each tells whether there is anything to do at all.
            if all(self.stat(path) is None for path in there):
                return
            raise CannotSync(f"files cannot be removed from a container that is {state.state}")
        for batch in _batches(there):
            self._execute(["rm", "-rf", "--", *batch])
        left = next((path for path in there if self.stat(path) is not None), None)
        if left is not None:
            raise CannotSync(f"{left} cannot be removed: the image has no rm that may")
        self._plain = {path for path in self._plain if not _is_at_or_below(path, there)}

    def _is_below_directories(self, path: str) -> bool:
        """Tell whether something may be at `path`; refuses one behind a link."""
        for above in parents(path):
            if above not in self._plain:
                found = self.stat(above)
                if found is None or found.kind in {"file", "other"}:
                    return False
                _refuse_parent(above, found.kind)
                self._plain.add(above)
        return True

    def _execute(self, command: Sequence[str]) -> None:
        body = {"Cmd": list(command), "User": "0", "WorkingDir": "/", "AttachStdout": False}
        made = self._wire.json("POST", f"/containers/{self.ident}/exec", body)
        ident = made["Id"]
        try:
            self._wire.json("POST", f"/exec/{ident}/start", {"Detach": True})
        except EngineRefused as refused:
            raise CannotSync(f"{command[0]} cannot be run in the container: {refused.message}") from refused
        deadline = time.monotonic() + _EXEC_SECONDS
        pause = 0.005
        while self._wire.json("GET", f"/exec/{ident}/json")["Running"]:
            if time.monotonic() > deadline:
                raise CannotSync(f"{command[0]} in the container does not end")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    # --------------------------------------------------------------------------------------------- the facts

    def _look(self) -> _State:
        state = _parse(self._wire.json("GET", f"/containers/{self.ident}/json"))
        if self._state is not None and self._state.started_at != state.started_at:
            self._plain.clear()
        self._state = state
        return state

    def _forget(self) -> None:
        self._state = None
        self._plain.clear()

    @contextmanager
    def _reached(self) -> Iterator[_Root | None]:
        """Open the container's root in this kernel, for the moment; None where there is none to be had."""
        root = None
        if self._may_reach:
            before = self._state
            root = _Root.open(before) if before is not None else None
            if root is None:
                root = _Root.open(self._look())
        try:
            yield root
        finally:
            if root is not None:
                root.close()

    def _member(self, path: str) -> tuple[tarfile.TarInfo, bytes] | None:
        status, _, reply = self._wire.request("GET", f"/containers/{self.ident}/archive", {"path": path})
        if status == http.client.NOT_FOUND:
            return None
        raise_refusal(status, reply)
        with tarfile.open(fileobj=io.BytesIO(reply)) as archive:
            info = archive.next()
            if info is None:
                return None
            content = archive.extractfile(info) if info.isfile() else None
            return info, content.read() if content is not None else b""

    def _link_text(self, path: str) -> str:
        member = self._member(path.rstrip("/"))
        return member[0].linkname if member is not None else ""


def _pack(spool: IO[bytes], write: Write, owner: tuple[int, int], stamp: int, base: str) -> None:
    """Append one write to the archive; raises `SourceChanged` if its source is not what it should be."""
    if write.kind != "file":
        spool.write(header(write, owner, 0, stamp, base))
        return
    if write.source is None:
        raise CannotSync(f"there is no source for {write.path}")
    try:
        # A pipe in the place of a file must not make us wait for its other end.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(write.source, flags)
    except OSError as error:
        raise SourceChanged(f"{write.source}: {error.strerror}") from error
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
        status = os.fstat(descriptor)
        if not stats.S_ISREG(status.st_mode):
            raise SourceChanged(f"{write.source} is no file any more")
        size = status.st_size
        spool.write(header(write, owner, size, stamp, base))
        hasher = hashlib.sha256()
        left = size
        while left and (data := file.read(min(left, CHUNK))):
            hasher.update(data)
            spool.write(data)
            left -= len(data)
        if left or file.read(1) or hasher.hexdigest()[: len(write.digest)] != write.digest:
            if _has_attributes(descriptor):
                raise CannotSync(f"{write.source} has extended attributes, which an upload does not carry")
            raise SourceChanged(f"{write.source} changed meanwhile")
        spool.write(padding(size))


def _has_attributes(descriptor: int) -> bool:
    """Tell whether a file has attributes that count for its digest besides its bytes."""
    if not hasattr(os, "listxattr"):
        return False
    with suppress(OSError):
        names = os.listxattr(descriptor)
        return any(
            name == "security.capability" or not name.startswith(("security.", "system.")) for name in names
        )
    return False


def _refuse_parent(path: str, kind: Kind | None) -> None:
    if kind is None:
        raise CannotSync(f"there is no {path} in the container")
    if kind != "directory":
        raise CannotSync(f"{path} in the container is {'a link' if kind == 'link' else 'no directory'}")


def _refuse_mounts(written: Sequence[str], gone: Sequence[str], mounts: frozenset[str]) -> None:
    """Refuse what is on a mount, where the image's files are not seen, and to take away what holds one."""
    known: dict[str, str | None] = {}
    for path in (*written, *gone):
        above = path.rpartition("/")[0]
        if above not in known:
            known[above] = next((each for each in parents(path) if each in mounts), None)
        mount = known[above] or (path if path in mounts else None)
        if mount is not None:
            raise CannotSync(f"{path} is on a mount at {mount}")
    above_mounts = {above for mount in mounts for above in parents(mount)}
    for path in gone:
        if path in above_mounts:
            raise CannotSync(f"{path} has a mount below it")


def _is_at_or_below(path: str, others: Sequence[str]) -> bool:
    return any(path == other or path.startswith(f"{other}/") for other in others)


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of arguments into pieces that fit into one command."""
    for start in range(0, len(paths), 200):
        yield paths[start : start + 200]


def _joined(path: str, link: str) -> str:
    return link if link.startswith("/") else f"{path.rpartition('/')[0]}/{link}"


_GO_DIRECTORY, _GO_LINK = 1 << 31, 1 << 27
_GO_OTHER = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
_GO_BITS = ((1 << 23, stats.S_ISUID), (1 << 22, stats.S_ISGID), (1 << 20, stats.S_ISVTX))
"""How Go, and so the engine, writes what kind a file is of, and the bits above the permissions."""


def _kind_and_mode(mode: int) -> tuple[Kind, int]:
    bits = (mode & 0o777) | sum(unix for go, unix in _GO_BITS if mode & go)
    if mode & _GO_DIRECTORY:
        return "directory", bits
    if mode & _GO_LINK:
        return "link", bits
    return ("other" if mode & _GO_OTHER else "file"), bits


@dataclass(frozen=True, slots=True)
class _State:
    """What matters here of a container's inspection."""

    id: str
    state: str
    pid: int
    started_at: str
    is_read_only: bool
    mounts: frozenset[str]


def _parse(record: Mapping[str, Any]) -> _State:
    state: Mapping[str, Any] = record.get("State") or {}
    host: Mapping[str, Any] = record.get("HostConfig") or {}
    mounted = [str(one.get("Destination", "")) for one in record.get("Mounts") or ()]
    temporary = [str(target) for target in host.get("Tmpfs") or ()]
    return _State(
        id=str(record.get("Id", "")),
        state=str(state.get("Status", "")),
        pid=int(state.get("Pid") or 0),
        started_at=str(state.get("StartedAt") or ""),
        is_read_only=bool(host.get("ReadonlyRootfs")),
        mounts=frozenset(
            path.rstrip("/") for path in (*mounted, *temporary, *_OWN_FILES, "/proc", "/sys", "/dev")
        ),
    )


class _Root:
    """A running container's root, reached through this kernel; nothing here follows a link."""

    _FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, process: int, root: int) -> None:
        self._process = process
        self._root = root

    @classmethod
    def open(cls, state: _State) -> _Root | None:
        """Open the root of the container's first process.

        The engine may run on another kernel, where the number means another process: its control group must
        bear the container's id, and its files must not be our own.
        """
        if not state.pid or len(state.id) < 32:
            return None
        try:
            process = os.open(f"/proc/{state.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if state.id.encode() not in _read(process, "cgroup"):
                raise ProcessLookupError
            if os.readlink("ns/mnt", dir_fd=process) == os.readlink("/proc/self/ns/mnt"):  # noqa: PTH115
                raise ProcessLookupError
            root = os.open("root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
        except OSError:
            os.close(process)
            return None
        return cls(process, root)

    def close(self) -> None:
        os.close(self._root)
        os.close(self._process)

    @property
    def mounts(self) -> frozenset[str]:
        """Where something is mounted in the container; nothing where it has just ended."""
        try:
            return _mount_points(_read(self._process, "mountinfo"))
        except OSError as error:
            raise CannotSync(f"the container has just ended: {error.strerror}") from error

    def stat(self, path: str) -> Found | None:
        """Return what is at `path`; links among its parents lead as they do for the container's processes."""
        todo = [part for part in reversed(path.split("/")) if part not in {"", "."}]
        follows = path.endswith(("/", "/."))
        above = [os.dup(self._root)]
        links = 0
        try:
            while todo:
                part = todo.pop()
                if part == "..":
                    if len(above) > 1:
                        os.close(above.pop())
                    continue
                status = os.stat(part, dir_fd=above[-1], follow_symlinks=False)
                kind = _kind(status.st_mode)
                if kind != "link" and not todo:
                    return Found(kind, stats.S_IMODE(status.st_mode))
                if kind != "link":
                    above.append(os.open(part, self._FLAGS, dir_fd=above[-1]))
                    continue
                text = os.readlink(part, dir_fd=above[-1])
                if not todo and not follows:
                    return Found(kind, stats.S_IMODE(status.st_mode), text)
                links += 1
                if links > _MOST_LINKS:
                    raise CannotSync(f"{path} leads through too many links")
                todo += [each for each in reversed(text.split("/")) if each not in {"", "."}]
                if text.startswith("/"):
                    while len(above) > 1:
                        os.close(above.pop())
            return Found("directory", stats.S_IMODE(os.fstat(above[-1]).st_mode))
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            for descriptor in above:
                os.close(descriptor)

    def stat_all(self, paths: Iterable[str]) -> dict[str, Found | None]:
        """Return what is at each path, as `stat` does; those of one directory in a row open it once."""
        found: dict[str, Found | None] = {}
        above, descriptor = "", -1
        try:
            for path in paths:
                directory, _, name = path.rpartition("/")
                if descriptor < 0 or directory != above:
                    if descriptor >= 0:
                        os.close(descriptor)
                    above, descriptor = directory, self._plain_directory(directory)
                if descriptor < 0 or name in {"", ".", ".."}:
                    found[path] = self.stat(path)
                else:
                    found[path] = _found_at(descriptor, name)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return found

    def _plain_directory(self, path: str) -> int:
        """Open a directory that no link leads to; -1 where there is none."""
        try:
            return self._directory(path, frozenset())
        except CannotSync:
            return -1

    def check(self, writes: Sequence[Write]) -> dict[str, int]:
        """Refuse writes whose parents are no plain directories; returns when what is there was changed."""
        made = {write.path for write in writes if write.kind == "directory"}
        times: dict[str, int] = {}
        above, descriptor = "", -1
        try:
            for write in writes:
                directory, _, name = write.path.rpartition("/")
                if descriptor < 0 or directory != above:
                    if descriptor >= 0:
                        os.close(descriptor)
                    above, descriptor = directory, self._directory(directory, made)
                if descriptor >= 0:
                    with suppress(OSError):
                        times[write.path] = int(
                            os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mtime
                        )
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return times

    def remove(self, path: str) -> None:
        """Remove what is at `path`; fine if nothing is."""
        directory, _, name = path.rpartition("/")
        try:
            descriptor = self._directory(directory, frozenset())
        except _Missing:
            return
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stats.S_ISDIR(status.st_mode):
                shutil.rmtree(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CannotSync(f"{path} cannot be removed: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _directory(self, path: str, made: Iterable[str]) -> int:
        """Open a directory component by component; -1 for one that the upload is to make."""
        current = os.dup(self._root)
        here = ""
        for part in path.split("/")[1:]:
            here = f"{here}/{part}"
            try:
                following = os.open(part, self._FLAGS, dir_fd=current)
            except OSError as error:
                if here in made:
                    return -1
                kind = _kind_at(current, part)
                if kind in {None, "file", "other"}:
                    raise _Missing(f"there is no directory {here} in the container") from None
                _refuse_parent(here, kind)
                raise CannotSync(f"{here} in the container: {error.strerror}") from error
            finally:
                os.close(current)
            current = following
        return current


class _Missing(CannotSync):
    """A directory on the way is not there."""


def _found_at(directory: int, name: str) -> Found | None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = _kind(status.st_mode)
        text = os.readlink(name, dir_fd=directory) if kind == "link" else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Found(kind, stats.S_IMODE(status.st_mode), text)


def _kind_at(directory: int, name: str) -> Kind | None:
    try:
        return _kind(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return None


def _kind(mode: int) -> Kind:
    if stats.S_ISDIR(mode):
        return "directory"
    if stats.S_ISLNK(mode):
        return "link"
    return "file" if stats.S_ISREG(mode) else "other"


def _read(directory: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        return file.read()


def _mount_points(mountinfo: bytes) -> frozenset[str]:
    """Return where something is mounted, the root left out; blanks and the like are in octal."""
    found = set()
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        if len(fields) > 4:
            plain = fields[4]
            for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
                plain = plain.replace(code, byte)
            found.add(os.fsdecode(plain))
    return frozenset(found - {"/"})
