"""What the engine says about a container, read from its inspection; all of it pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


DEFAULT_GRACE_SECONDS = 10.0
"""How long the engine waits between asking a container to stop and killing it."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A published port of a container as it is."""

    container_port: int
    protocol: str
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of a container; `kind` is bind, volume or tmpfs."""

    kind: str
    source: str
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """A container as the engine describes it; `health` is None without a health check."""

    id: str
    name: str
    state: str
    exit_code: int | None
    oom_killed: bool
    pid: int
    image_id: str
    image: str
    bindings: tuple[Binding, ...] = ()
    exposed: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    health: str | None = None
    health_log: tuple[str, ...] = ()
    started_at: str = ""
    finished_at: str = ""
    created_at: str = ""
    is_read_only: bool = False
    address: str | None = None
    is_host_network: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    tty: bool = False
    user: str = ""
    workdir: str = ""
    command: tuple[str, ...] = ()
    stop_signal: str | None = None
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    error: str = ""

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the TCP ports on which the container should serve: the published ones, else the exposed."""
        published = {one.container_port for one in self.bindings if one.protocol == "tcp"}
        return tuple(sorted(published)) or self.exposed


def parse_container(record: Mapping[str, Any]) -> ContainerFacts:
    """Read the reply of a container inspection; absent fields are empty."""
    state: Mapping[str, Any] = record.get("State") or {}
    config: Mapping[str, Any] = record.get("Config") or {}
    host: Mapping[str, Any] = record.get("HostConfig") or {}
    network: Mapping[str, Any] = record.get("NetworkSettings") or {}
    health: Mapping[str, Any] = state.get("Health") or {}
    status = health.get("Status")
    timeout = config.get("StopTimeout")
    return ContainerFacts(
        id=str(record.get("Id", "")),
        name=str(record.get("Name", "")).lstrip("/"),
        state=str(state.get("Status", "")),
        exit_code=None if state.get("Running") or state.get("Status") == "created" else state.get("ExitCode"),
        oom_killed=bool(state.get("OOMKilled")),
        pid=int(state.get("Pid") or 0),
        image_id=str(record.get("Image", "")),
        image=str(config.get("Image", "")),
        bindings=_bindings(network.get("Ports") or {}),
        exposed=tuple(
            sorted(
                int(port.partition("/")[0])
                for port in config.get("ExposedPorts") or ()
                if port.endswith("/tcp")
            )
        ),
        mounts=tuple(
            Mount(
                str(one.get("Type", "")),
                str(one.get("Name") or one.get("Source") or ""),
                str(one.get("Destination", "")),
                bool(one.get("RW", True)),
            )
            for one in record.get("Mounts") or ()
        ),
        health=status if status not in {None, "", "none"} else None,
        health_log=_health_log(health.get("Log") or ()),
        started_at=str(state.get("StartedAt") or ""),
        finished_at=str(state.get("FinishedAt") or ""),
        created_at=str(record.get("Created") or ""),
        is_read_only=bool(host.get("ReadonlyRootfs")),
        address=_address(network),
        is_host_network=host.get("NetworkMode") == "host",
        labels=tuple(sorted((config.get("Labels") or {}).items())),
        tty=bool(config.get("Tty")),
        user=str(config.get("User") or ""),
        workdir=str(config.get("WorkingDir") or ""),
        command=(str(record.get("Path") or ""), *(str(one) for one in record.get("Args") or ())),
        stop_signal=config.get("StopSignal") or None,
        grace_seconds=DEFAULT_GRACE_SECONDS if timeout is None else float(timeout),
        error=str(state.get("Error") or ""),
    )


def _bindings(ports: Mapping[str, Any]) -> tuple[Binding, ...]:
    found = []
    for key, hosts in ports.items():
        number, _, protocol = key.partition("/")
        taken = [one for one in hosts or () if str(one.get("HostPort", "")).isdigit()]
        found += [
            Binding(int(number), protocol or "tcp", str(one.get("HostIp", "")), int(one["HostPort"]))
            for one in taken
        ]
    return tuple(sorted(found, key=lambda one: (one.container_port, one.protocol, one.host_ip)))


def _address(network: Mapping[str, Any]) -> str | None:
    addresses = [str(one.get("IPAddress") or "") for one in (network.get("Networks") or {}).values()]
    return next((one for one in (*addresses, str(network.get("IPAddress") or "")) if one), None)


def _health_log(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    output = str(entries[-1].get("Output") or "") if entries else ""
    return tuple(output.splitlines()[-10:])
