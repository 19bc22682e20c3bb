"""Runs the container: makes it, and replaces it so that the last good one can come back.

Everything we make carries labels, so that the next start finds what a killed one left behind. What changes
something goes through the docker SDK; what only asks, and is asked often, goes straight to the socket.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from devloop.engine import supervisor
from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.endpoint import Engine, unavailable
from devloop.engine.health import Health, any_free_port, free_port, wait_healthy
from devloop.engine.images import image_facts
from devloop.engine.logs import LogStream, read_log
from devloop.engine.runspec import LABEL_NAME, LABEL_PROJECT, choose_ports, create_body, leaves_a_port_open
from devloop.engine.state import ContainerFacts, parse_container
from devloop.engine.sync import ContainerFiles, Wire
from devloop.errors import DevloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from docker import APIClient

    from devloop.engine.base import Cancel
    from devloop.engine.endpoint import Endpoint
    from devloop.engine.logs import LogLine
    from devloop.engine.runspec import RunSpec
    from devloop.engine.state import Binding

_PORT_TAKEN = ("port is already allocated", "address already in use", "ports are not available")


class _NotPrepared(Exception):  # noqa: N818 - it goes no further than this module
    """A container could not be prepared after another one had to make room for it."""

    def __init__(self, error: DevloopError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a stop went; `killed` says that the grace period ran out."""

    seconds: float
    exit_code: int | None
    killed: bool


@dataclass(frozen=True, slots=True)
class Replacement:
    """How a replacement went. `container` is the one that serves now: the new one, or the old one again.

    `seconds` is the time from the beginning until the new container was healthy, or the old one ran again;
    the other times are its parts, and `down_seconds` is how long nothing served.
    """

    ok: bool
    container: ContainerFacts | None
    health: Health
    rolled_back: bool
    seconds: float
    create_seconds: float
    stop_seconds: float
    start_seconds: float
    down_seconds: float
    stopped: Stopped | None = None
    error: str | None = None


def api_client(endpoint: Endpoint) -> APIClient:
    """Return the docker SDK's client for `endpoint`; imported here because that takes a tenth of a second."""
    import docker
    from docker.errors import DockerException

    tls: Any = False
    if endpoint.tls is not None:
        ca, cert, key = endpoint.tls
        pair = (cert, key) if cert and key else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=endpoint.verify)
    try:
        return docker.APIClient(
            base_url=endpoint.host, version="auto", timeout=120, tls=tls, use_ssh_client=True
        )
    except (DockerException, OSError, ValueError) as error:
        raise unavailable(endpoint, error) from error


class Containers:
    """The containers of one engine."""

    def __init__(self, engine: Engine, *, environ: Mapping[str, str] = os.environ) -> None:
        self.engine = engine
        self._environ = environ
        self._client: APIClient | None = None
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the containers of the engine that `docker` would talk to; raises where none answers."""
        engine = Engine.current(environ)
        engine.get("/version")
        return cls(engine, environ=environ)

    @property
    def client(self) -> APIClient:
        with self._lock:
            if self._client is None:
                self._client = api_client(self.engine.endpoint)
            return self._client

    @property
    def is_local(self) -> bool:
        """Tell whether the engine runs on this kernel, so that containers' own addresses can be reached.

        An engine in a virtual machine has a socket too; there an address leads nowhere, which is noticed at
        the first attempt.
        """
        return self.engine.endpoint.socket_path is not None and Path("/proc/self").exists()

    @property
    def has_local_ports(self) -> bool:
        """Tell whether a port published on the loopback address is to be found on this machine."""
        host = urlsplit(self.engine.endpoint.host).hostname
        return self.engine.endpoint.socket_path is not None or host in {"localhost", "127.0.0.1", "::1"}

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def inspect(self, ident: str) -> ContainerFacts | None:
        """Describe a container by id or name; None when there is none."""
        record = self.engine.find(f"/containers/{ident}/json")
        return parse_container(record) if isinstance(record, dict) else None

    def create(
        self, spec: RunSpec, *, name: str | None = None, kept: Iterable[Binding] = (), guess: bool = True
    ) -> str:
        """Make the container and return its id; with `guess` off, free host ports are the engine's choice."""
        image = image_facts(self.engine, spec.image)
        if image is None:
            raise DevloopError(f"there is no image {spec.image} to run", hint="Build it first.")
        is_free = (lambda port, host: free_port(port, host) is not None) if guess else (lambda *_: False)
        ports = choose_ports(spec, image.exposed, kept, is_free=is_free)
        if guess:
            # A port of the engine's choice would be another one after each start of the same container.
            ports = tuple(
                replace(one, host_port=any_free_port(one.host_ip)) if one.host_port is None else one
                for one in ports
            )
        body = create_body(spec, ports, healthcheck=image.healthcheck, environ=self._environ)
        with self._talking():
            create: Callable[[dict[str, Any], str], dict[str, Any]] = self.client.create_container_from_config
            made = create(body, name or spec.name)
        return str(made["Id"])

    def start(self, ident: str) -> None:
        with self._talking():
            self.client.start(ident)

    def run(self, spec: RunSpec) -> ContainerFacts:
        """Create and start; a host port that was ours to choose and got lost in between is chosen anew."""
        ident = self._start_somewhere(self.create(spec), spec, spec.name)
        facts = self.inspect(ident)
        if facts is None:
            raise DevloopError(f"the container {spec.name} vanished while it started")
        return facts

    def stop(self, ident: str, grace_seconds: float | None = None) -> Stopped:
        """Stop a container; a stopped or vanished one is fine. By default it has its own grace period."""
        start = time.monotonic()
        with self._talking(missing_is_fine=True):
            self.client.stop(ident, timeout=None if grace_seconds is None else round(grace_seconds))
        seconds = time.monotonic() - start
        facts = self.inspect(ident)
        if facts is None:
            return Stopped(seconds, None, killed=False)
        limit = facts.grace_seconds if grace_seconds is None else round(grace_seconds)
        return Stopped(seconds, facts.exit_code, killed=facts.exit_code == 137 and seconds >= limit)

    def restart(self, ident: str, grace_seconds: float | None = None) -> float:
        """Restart in place, keeping the container's files; returns the seconds it took to run again."""
        start = time.monotonic()
        wire = Wire(self.engine)
        query = {} if grace_seconds is None else {"t": str(round(grace_seconds))}
        try:
            wire.json("POST", f"/containers/{ident}/restart", query=query)
        finally:
            wire.close()
        return time.monotonic() - start

    def has_shell(self, image: str) -> bool:
        """Tell whether an image has the shell that a supervisor needs."""
        return supervisor.has_shell(self, image)

    def restart_process(self, ident: str, grace_seconds: float) -> float:
        """Restart the process of a supervised container; see `supervisor.restart_in_place`."""
        return supervisor.restart_in_place(self, ident, grace_seconds=grace_seconds)

    def execute(self, ident: str, command: Sequence[str]) -> tuple[int | None, str]:
        """Run a command in a running container as its user; returns the exit code and what it printed."""
        with self._talking():
            made = self.client.exec_create(ident, list(command), stdout=True, stderr=True)
            output = self.client.exec_start(made["Id"])
            code = self.client.exec_inspect(made["Id"]).get("ExitCode")
        return code, output.decode("utf-8", "replace")

    def files(self, ident: str) -> ContainerFiles:
        """Return the hands that bring files into a container."""
        return ContainerFiles(self, ident)

    def remove(self, ident: str) -> None:
        """Remove a container, running or not, with its anonymous volumes; a vanished one is fine."""
        with self._talking(missing_is_fine=True):
            self.client.remove_container(ident, force=True, v=True)

    def rename(self, ident: str, name: str) -> None:
        with self._talking():
            self.client.rename(ident, name)

    def log_tail(self, ident: str, lines: int = 40) -> tuple[str, ...]:
        """Return the last lines that a container printed, both streams in their order."""
        facts = self.inspect(ident)
        if facts is None:
            return ()
        try:
            stream = self.engine.stream(
                f"/containers/{ident}/logs",
                {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(lines)},
            )
        except EngineRefused:
            return ()
        try:
            return tuple(line.text for line in read_log(stream, tty=facts.tty))
        finally:
            stream.close()

    def find(self, project: str | None = None) -> tuple[ContainerFacts, ...]:
        """Return all containers that devloop made, of one project or of all, oldest first."""
        label = LABEL_NAME if project is None else f"{LABEL_PROJECT}={project}"
        listed = self.engine.get("/containers/json", {"all": "1", "filters": json.dumps({"label": [label]})})
        found = [self.inspect(str(one["Id"])) for one in listed]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.created_at))

    def remove_all(self, project: str | None = None) -> int:
        """Remove all containers that devloop made, of one project or of all; returns how many."""
        found = self.find(project)
        for one in found:
            self.remove(one.id)
        return len(found)

    def recover(self, project: str, name: str) -> ContainerFacts | None:
        """Tidy up after a session that was killed, and return the container that serves, if one does.

        Of several, the running one under its own name stays, else the newest running one, which gets the
        name; a stopped one under the name stays when nothing runs. All others of the project go.
        """
        found = [one for one in self.find(project) if dict(one.labels).get(LABEL_NAME) == name]
        running = [one for one in found if one.is_running]
        named = [one for one in running if one.name == name]
        stopped = [one for one in found if one.name == name]
        keep = next(iter(named or running[-1:] or stopped), None)
        for one in found:
            if keep is None or one.id != keep.id:
                self.remove(one.id)
        if keep is not None and keep.name != name:
            self.rename(keep.id, name)
            keep = replace(keep, name=name)
        return keep

    def wait_healthy(
        self,
        ident: str,
        *,
        ports: Sequence[int] | None = None,
        timeout_seconds: float = 30.0,
        settle_seconds: float = 0.3,
        cancel: Cancel | None = None,
        heeds_check: bool = True,
    ) -> Health:
        """Wait until a container serves (see `health`); the last log lines come along when it does not.

        Ports of an engine on another machine cannot be tried from here: there it must just keep running.
        """
        facts = self.inspect(ident)
        if not self.has_local_ports:
            ports = ()
        health = wait_healthy(
            lambda: self.inspect(ident),
            ports=(facts.ports if facts is not None else ()) if ports is None else ports,
            timeout_seconds=timeout_seconds,
            settle_seconds=settle_seconds,
            cancel=cancel,
            is_local=self.is_local,
            heeds_check=heeds_check,
        )
        if health.ok or health.how == "gone":
            return health
        return replace(health, log_tail=(*self.log_tail(ident), *health.log_tail))

    def replace(
        self,
        old: str | None,
        spec: RunSpec,
        *,
        rollback: bool = True,
        timeout_seconds: float = 30.0,
        settle_seconds: float = 0.3,
        cancel: Cancel | None = None,
        prepare: Callable[[str], None] | None = None,
        on_started: Callable[[str], None] | None = None,
    ) -> Replacement:
        """Put a new container in the place of `old`, and take it back if the new one dies at once.

        The new one is made while the old one serves, under a name of its own, and gets the name at the end.
        One that runs without serving stays: `health` says so, and the next save may help it. `prepare` may
        change a container that was made and has not started; what it raises leaves the old one alone.
        `on_started` hears the id as soon as it runs (for its logs).
        """
        start = time.monotonic()
        before = self.inspect(old) if old is not None else None
        temporary = f"{spec.name}-{secrets.token_hex(3)}"
        new = self.create(spec, name=temporary, kept=before.bindings if before else ())
        self._prepare(new, prepare)
        created = time.monotonic()
        stopped = self.stop(before.id, spec.stop_grace_seconds) if before is not None else None
        down = time.monotonic()
        error: str | None = None
        try:
            new = self._start_somewhere(new, spec, temporary, prepare)
        except EngineUnavailable:
            raise
        except _NotPrepared as refused:
            if before is not None and before.is_running:
                self._start_again(before.id)
            raise refused.error from refused
        except DevloopError as refused:
            error = refused.message
            health = Health(ok=False, seconds=0.0, how="exited")
        else:
            if on_started is not None:
                on_started(new)
            health = self.wait_healthy(
                new, timeout_seconds=timeout_seconds, settle_seconds=settle_seconds, cancel=cancel
            )
        started = time.monotonic() - health.seconds
        is_back = False
        if health.crashed and rollback and before is not None:
            self.remove(new)
            is_back = before.is_running and self._start_again(before.id)
            end = time.monotonic()
        else:
            end = time.monotonic()
            if before is not None and error is None:
                self.remove(before.id)
            if error is None:
                with suppress(EngineRefused):
                    self.rename(new, spec.name)
        is_old = before is not None and (error is not None or (health.crashed and rollback))
        serving = before.id if before is not None and is_old else new
        return Replacement(
            ok=health.ok,
            container=self.inspect(serving),
            health=health,
            rolled_back=is_back,
            seconds=end - start,
            create_seconds=created - start,
            stop_seconds=down - created,
            start_seconds=started - down,
            down_seconds=end - (created if before is not None else down),
            stopped=stopped,
            error=error,
        )

    def follow(self, ident: str | None, on_line: Callable[[LogLine], None], *, since: str = "") -> LogStream:
        """Follow the logs of a container in a thread, through restarts, until closed."""
        return LogStream(self.engine, ident, on_line, since=since)

    def _prepare(self, ident: str, prepare: Callable[[str], None] | None) -> None:
        if prepare is None:
            return
        try:
            prepare(ident)
        except BaseException:
            with suppress(DevloopError):
                self.remove(ident)
            raise

    def _start_somewhere(
        self, ident: str, spec: RunSpec, name: str, prepare: Callable[[str], None] | None = None
    ) -> str:
        """Start a container; where a port of our choice is taken, make it again with one of the engine's.

        Returns the id of the one that runs. What cannot be started is removed.
        """
        try:
            try:
                self.start(ident)
            except EngineRefused as error:
                if not _is_port_taken(error) or not leaves_a_port_open(spec):
                    raise
                self.remove(ident)
                ident = self.create(spec, name=name, guess=False)
                try:
                    self._prepare(ident, prepare)
                except EngineUnavailable:
                    raise
                except DevloopError as refused:
                    raise _NotPrepared(refused) from refused
                self.start(ident)
        except EngineRefused as error:
            self.remove(ident)
            if _is_port_taken(error):
                raise _port_taken(error) from error
            raise
        return ident

    def _start_again(self, ident: str) -> bool:
        try:
            self.start(ident)
        except EngineRefused:
            return False
        return True

    @contextmanager
    def _talking(self, *, missing_is_fine: bool = False) -> Iterator[None]:
        """Turn the SDK's errors into ours."""
        from docker.errors import APIError, DockerException

        try:
            yield
        except APIError as error:
            status = error.response.status_code if error.response is not None else 500
            if missing_is_fine and status == 404:
                return
            raise EngineRefused(status, str(error.explanation or error)) from error
        except (DockerException, OSError) as error:  # requests' errors derive from OSError
            raise unavailable(self.engine.endpoint, error) from error


def _is_port_taken(error: EngineRefused) -> bool:
    return any(words in error.message.lower() for words in _PORT_TAKEN)


def _port_taken(error: EngineRefused) -> DevloopError:
    match = re.search(r"(\d+\.\d+\.\d+\.\d+:\d+)", error.message)
    where = match[1] if match else "the host port"
    return DevloopError(
        f"{where} is taken by another program or container",
        hint="Stop it, or publish to another port: --publish 8001:8000.",
    )
