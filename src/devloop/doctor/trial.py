"""The engine at work for a proof: builds images under a label of their own, reads them, and removes them.

Nothing is written into a project. Images have no name and one label with the time; containers are created to
read their files and never started. What a killed proof left behind is removed by the next one.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import tarfile
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from devloop.doctor.sameness import FileEntry, Files
from devloop.engine.base import EngineRefused
from devloop.engine.buildx import Buildx
from devloop.engine.endpoint import Engine, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from docker import APIClient

    from devloop.engine.base import Builder, BuildEvent, BuildOutcome, BuildRequest, Cancel

LABEL: Final = "io.devloop.proof"
_STALE_SECONDS: Final = 6 * 3600
_CHUNK: Final = 1 << 18
_MOST_REMEMBERED: Final = 4

MADE_BY_THE_ENGINE: Final = frozenset(
    {".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}
)
"""What a container has beyond its image: mount points and the engine's own files, with all below them."""


class Stopped(Exception):  # noqa: N818 - it never leaves the proof
    """Reading an image was canceled, or took too long."""


class Trial:
    """Builds and reads images of one proof; use it as a context manager, and nothing is left of it."""

    def __init__(self, builder: Builder, engine: Engine) -> None:
        self._builder = builder
        self._engine = engine
        self._mark = f"{int(time.time())}-{secrets.token_hex(4)}"
        self._images: dict[str, None] = {}
        self._files: dict[str, Files] = {}
        self._client: APIClient | None = None
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="devloop-proof-")))

    @classmethod
    def open(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Take the engine and the builder that `docker build` would; raises EngineUnavailable."""
        engine = Engine.current(environ)
        engine.get("/version")
        return cls(Buildx(environ), engine)

    def __enter__(self) -> Self:
        self._remove_stale()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the images, the containers and the folder of this proof."""
        with self._stack, suppress(EngineRefused, OSError):
            for image in self._images:
                with suppress(EngineRefused):
                    self._remove_image(image)
        self._images.clear()
        if self._client is not None:
            self._client.close()

    def build(
        self,
        request: BuildRequest,
        *,
        cancel: Cancel,
        on_event: Callable[[BuildEvent], None] = lambda _event: None,
    ) -> BuildOutcome:
        """Build without a name; the image is removed in the end."""
        labels = (*request.labels, (LABEL, self._mark))
        marked = replace(request, labels=labels, tags=(), output=None)
        outcome = self._builder.build(marked, on_event=on_event, cancel=cancel)
        if outcome.image_id is not None:
            self._images[outcome.image_id] = None
        return outcome

    def configuration(self, image: str) -> Mapping[str, Any]:
        """Return the configuration of an image as the engine tells it."""
        found: Mapping[str, Any] = self._inspect(image).get("Config") or {}
        return found

    def size(self, image: str) -> int:
        """Return how many bytes the engine counts for an image with its base."""
        return int(self._inspect(image).get("Size") or 0)

    def layers(self, image: str) -> tuple[str, ...]:
        """Return the digests of an image's layers: with equal ones the files are equal."""
        found = (self._inspect(image).get("RootFS") or {}).get("Layers") or ()
        return tuple(str(one) for one in found)

    def files(self, image: str, *, cancel: Cancel) -> Files:
        """Read all files of an image; raises Stopped when canceled."""
        if image not in self._files:
            while len(self._files) >= _MOST_REMEMBERED:
                self._files.pop(next(iter(self._files)))
            with self._exported(image) as chunks:
                try:
                    self._files[image] = read_files(chunks, cancel)
                except tarfile.TarError as error:
                    raise unavailable(self._engine.endpoint, error) from error
        return self._files[image]

    def _inspect(self, image: str) -> Mapping[str, Any]:
        found = self._engine.get(f"/images/{image}/json")
        return found if isinstance(found, dict) else {}

    @contextmanager
    def _exported(self, image: str) -> Iterator[Iterable[bytes]]:
        client = self._api
        with self._talking():
            # An image without a command needs one to become a container; it is never started.
            made = client.create_container(image, command=["true"], labels={LABEL: self._mark})
        ident = str(made["Id"])
        try:
            with closing(self._engine.stream(f"/containers/{ident}/export")) as stream:
                yield iter(stream.read, b"")
        finally:
            with self._talking():
                client.remove_container(ident, force=True, v=True)

    def _remove_image(self, image: str) -> None:
        with self._talking():
            self._api.remove_image(image, force=False, noprune=True)

    def _remove_stale(self) -> None:
        """Remove what proofs that were killed have left, by the time in its label."""
        with suppress(EngineRefused, OSError):
            client = self._api
            with self._talking():
                containers = client.containers(all=True, filters={"label": LABEL})
                images = client.images(filters={"label": LABEL})
            for one in containers:
                if _is_stale(one.get("Labels")):
                    with suppress(EngineRefused), self._talking():
                        client.remove_container(one["Id"], force=True, v=True)
            for one in images:
                if _is_stale(one.get("Labels")):
                    with suppress(EngineRefused):
                        self._remove_image(one["Id"])

    @property
    def _api(self) -> APIClient:
        if self._client is None:
            from devloop.engine.containers import api_client

            self._client = api_client(self._engine.endpoint)
        return self._client

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Turn the SDK's errors into ours."""
        from docker.errors import APIError, DockerException

        try:
            yield
        except APIError as error:
            status = error.response.status_code if error.response is not None else 500
            raise EngineRefused(status, str(error.explanation or error)) from error
        except (DockerException, OSError) as error:
            raise unavailable(self._engine.endpoint, error) from error


def _is_stale(labels: Mapping[str, str] | None) -> bool:
    made = (labels or {}).get(LABEL, "").partition("-")[0]
    return made.isdecimal() and time.time() - int(made) > _STALE_SECONDS


# Reading an image -----------------------------------------------------------------------------------------


def read_files(chunks: Iterable[bytes], cancel: Cancel) -> Files:
    """Read a file system out of the stream of an archive; raises Stopped when canceled.

    The further names of a hard link are files of their own with equal bytes.
    """
    found: dict[str, FileEntry] = {}
    stream = io.BufferedReader(_Chunks(chunks), _CHUNK)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if cancel.is_set():
                raise Stopped
            path = member.name.removeprefix("./").strip("/")
            if path in {"", "."} or _is_the_engines(path):
                continue
            entry = _entry(archive, member, found)
            if entry is not None:
                found[path] = entry
    return found


def _is_the_engines(path: str) -> bool:
    return path in MADE_BY_THE_ENGINE or path.partition("/")[0] in {"dev", "proc", "sys"}


def _entry(
    archive: tarfile.TarFile, member: tarfile.TarInfo, found: Mapping[str, FileEntry]
) -> FileEntry | None:
    mode = member.mode & 0o7777
    owner = f"{member.uid}:{member.gid}"
    attributes = tuple(
        (name.removeprefix(_XATTR), text)
        for name, text in sorted(member.pax_headers.items())
        if name.startswith(_XATTR)
    )
    if member.islnk():
        return found.get(member.linkname.removeprefix("./").strip("/"))
    if member.issym():
        return FileEntry("link", 0o777, owner, member.linkname, attributes=attributes)
    if member.isdir():
        return FileEntry("directory", mode, owner, attributes=attributes)
    if member.isfifo():
        return FileEntry("pipe", mode, owner, attributes=attributes)
    if member.ischr() or member.isblk():
        numbers = f"{'c' if member.ischr() else 'b'} {member.devmajor}:{member.devminor}"
        return FileEntry("device", mode, owner, numbers, attributes=attributes)
    return FileEntry("file", mode, owner, "", _digest(archive, member), member.size, attributes)


_XATTR: Final = "SCHILY.xattr."


def _digest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Return the digest of a file's bytes as snapshots of a context write it.

    /etc/shadow counts without the day on which each account got its password.
    """
    digest = hashlib.sha256()
    content = archive.extractfile(member)
    if content is not None:
        with content:
            if member.name.removeprefix("./") == "etc/shadow":
                for line in content:
                    fields = line.split(b":")
                    digest.update(b":".join((*fields[:2], *fields[3:])))
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()[:32]


class _Chunks(io.RawIOBase):
    """A stream of chunks to read from, as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - what can be written to
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
