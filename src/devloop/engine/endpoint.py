"""Where the engine listens, found as the docker client finds it, and plain requests to it.

The order is the client's: DOCKER_HOST, then DOCKER_CONTEXT, then `currentContext` of its config.json, then
the default socket. A request over the socket takes a millisecond; importing the docker SDK takes a hundred,
so questions that must be quick are asked from here.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from devloop.engine.base import EngineRefused, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker import APIClient
    from requests import Response

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_START_HINT = "Start Docker, or point DOCKER_HOST or `docker context use` at an engine that runs."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine's address and the docker context that named it; `tls` is ca, cert and key if it has them."""

    context: str
    host: str
    tls: tuple[str | None, str | None, str | None] | None = None
    verify: bool = True

    @property
    def socket_path(self) -> str | None:
        return self.host.removeprefix("unix://") if self.host.startswith("unix://") else None


def config_dir(environ: Mapping[str, str]) -> Path:
    """Return the docker client's configuration directory."""
    configured = environ.get("DOCKER_CONFIG")
    return Path(configured) if configured else Path(environ.get("HOME") or Path.home()) / ".docker"


def client_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the docker client's config.json; a missing or broken one counts as empty."""
    return _load(config_dir(environ) / "config.json")


def current_endpoint(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Find the engine that `docker` would talk to.

    A context that does not exist is an error, as it is for the client: falling back to another engine would
    build and run things where the user does not expect them.
    """
    host = environ.get("DOCKER_HOST")
    if host:
        return Endpoint("default", host, *_environment_tls(environ))
    name = environ.get("DOCKER_CONTEXT") or client_config(environ).get("currentContext") or "default"
    if name == "default":
        return Endpoint("default", DEFAULT_SOCKET)
    ident = hashlib.sha256(str(name).encode()).hexdigest()
    contexts = config_dir(environ) / "contexts"
    meta = _load(contexts / "meta" / ident / "meta.json")
    found = meta.get("Endpoints", {}).get("docker", {})
    if not found.get("Host"):
        raise EngineUnavailable(
            f"context {name!r}",
            "there is no such docker context",
            hint="`docker context ls` shows those there are; `docker context use default` goes back.",
        )
    files = [contexts / "tls" / ident / "docker" / f"{kind}.pem" for kind in ("ca", "cert", "key")]
    ca, cert, key = (str(file) if file.is_file() else None for file in files)
    tls = (ca, cert, key) if ca or cert else None
    return Endpoint(str(name), str(found["Host"]), tls, verify=not found.get("SkipTLSVerify", False))


class Engine:
    """Requests to one engine, one connection each.

    Unix sockets and TCP (with TLS or without) are spoken here; for `ssh://` and named pipes the docker SDK's
    transport is borrowed.
    """

    def __init__(self, endpoint: Endpoint, *, timeout_seconds: float = 60.0) -> None:
        self.endpoint = endpoint
        self.timeout_seconds = timeout_seconds

    @classmethod
    def current(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(current_endpoint(environ))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - it is JSON
        """Return the reply as JSON; raises `EngineRefused` for a status that is no success."""
        if not self._is_spoken:
            return self._borrowed(path, query)
        connection = self.connect()
        try:
            response = self._request(connection, path, query)
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()
        return _reply(response.status, body)

    def find(self, path: str, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - it is JSON
        """Return the reply as JSON, or None where the engine knows nothing of that name."""
        try:
            return self.get(path, query)
        except EngineRefused as error:
            if error.status == http.client.NOT_FOUND:
                return None
            raise

    def stream(self, path: str, query: Mapping[str, str] | None = None) -> Stream | BorrowedStream:
        """Open an endless reply; closing the result from another thread ends a read that waits."""
        if not self._is_spoken:
            return self._borrowed_stream(path, query)
        connection = self.connect()
        try:
            connection.connect()
            wire = connection.sock
            response = self._request(connection, path, query)
            if response.status != http.client.OK:
                _reply(response.status, response.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unavailable(error) from error
        except EngineRefused:
            connection.close()
            raise
        return Stream(connection, wire, response)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        path = self.endpoint.socket_path
        if path is not None:
            return _UnixConnection(path, self.timeout_seconds)
        parts = urlsplit(self.endpoint.host)
        name = parts.hostname or "localhost"
        if self.endpoint.tls is None and parts.scheme != "https":
            return http.client.HTTPConnection(name, parts.port or 2375, timeout=self.timeout_seconds)
        import ssl

        ca, cert, key = self.endpoint.tls or (None, None, None)
        context = ssl.create_default_context(cafile=ca)
        if not self.endpoint.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert is not None:
            context.load_cert_chain(cert, key)
        return http.client.HTTPSConnection(
            name, parts.port or 2376, timeout=self.timeout_seconds, context=context
        )

    def _request(
        self, connection: http.client.HTTPConnection, path: str, query: Mapping[str, str] | None
    ) -> http.client.HTTPResponse:
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        connection.request("GET", target, headers={"Host": "docker"})
        return connection.getresponse()

    @property
    def _is_spoken(self) -> bool:
        return self.endpoint.host.startswith(("unix://", "tcp://", "http://", "https://"))

    def _borrowed(self, path: str, query: Mapping[str, str] | None) -> Any:  # noqa: ANN401 - it is JSON
        stream = self._borrowed_stream(path, query)
        try:
            return _reply(http.client.OK, b"".join(iter(stream.read, b"")))
        finally:
            stream.close()

    def _borrowed_stream(self, path: str, query: Mapping[str, str] | None) -> BorrowedStream:
        from devloop.engine.containers import api_client

        client = api_client(self.endpoint)
        try:
            response = client.get(f"{client.base_url}{quote(path)}", params=dict(query or {}), stream=True)
        except OSError as error:  # requests' errors derive from it
            client.close()
            raise self._unavailable(error) from error
        stream = BorrowedStream(client, response)
        if response.status_code != http.client.OK:
            try:
                _reply(response.status_code, response.content)
            finally:
                stream.close()
        return stream

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        return unavailable(self.endpoint, error)


class Stream:
    """A reply that goes on: chunks until the engine or `close` ends it."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        wire: socket.socket,
        response: http.client.HTTPResponse,
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._response = response
        wire.settimeout(None)

    def read(self, size: int = 65536) -> bytes:
        """Return what there is, at least a byte; nothing at the end."""
        try:
            return self._response.read1(size)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return b""

    def close(self) -> None:
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class BorrowedStream:
    """The same through the docker SDK. A read that waits there may go on waiting after `close`."""

    def __init__(self, client: APIClient, response: Response) -> None:
        self._client = client
        self._response = response
        self._chunks: Iterator[bytes] = response.iter_content(chunk_size=None)

    def read(self) -> bytes:
        """Return what there is, at least a byte; nothing at the end."""
        try:
            return next(self._chunks, b"")
        except (OSError, ValueError, AttributeError):
            return b""

    def close(self) -> None:
        self._response.close()
        self._client.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def unavailable(endpoint: Endpoint, error: Exception) -> EngineUnavailable:
    """Say in words why `endpoint` does not answer, and what helps."""
    hint = _START_HINT
    root = error
    while root.__cause__ is not None and isinstance(root.__cause__, Exception):
        root = root.__cause__
    reason = (
        str(root.strerror if isinstance(root, OSError) and root.strerror else root) or type(root).__name__
    )
    text = str(error)
    if isinstance(error, FileNotFoundError) or "No such file" in text:
        reason = "there is no socket"
    elif isinstance(error, ConnectionRefusedError) or "Connection refused" in text:
        reason = "nothing listens there"
    elif isinstance(error, PermissionError) or "Permission denied" in text:
        reason = "this user may not use the socket"
        hint = "Add yourself to the `docker` group and log in again, or use a rootless engine."
    return EngineUnavailable(endpoint.host, reason, hint=hint)


def _reply(status: int, body: bytes) -> Any:  # noqa: ANN401 - it is JSON
    try:
        value = json.loads(body) if body else None
    except ValueError:
        value = body.decode("utf-8", "replace")
    if status >= http.client.BAD_REQUEST:
        message = value.get("message") if isinstance(value, dict) else value
        raise EngineRefused(status, str(message or f"the engine answered with status {status}"))
    return value


def _environment_tls(
    environ: Mapping[str, str],
) -> tuple[tuple[str | None, str | None, str | None] | None, bool]:
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return None, True
    directory = Path(environ.get("DOCKER_CERT_PATH") or config_dir(environ))
    files = [directory / f"{kind}.pem" for kind in ("ca", "cert", "key")]
    ca, cert, key = (str(file) if file.is_file() else None for file in files)
    return (ca, cert, key), verify


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
