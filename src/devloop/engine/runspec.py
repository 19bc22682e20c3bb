"""What `docker run` is told, and the request that becomes of it; all of it pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from devloop.errors import DevloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from devloop.engine.images import Healthcheck
    from devloop.engine.state import Binding

LABEL_PROJECT = "io.devloop.project"
LABEL_NAME = "io.devloop.name"
LOOPBACK = "127.0.0.1"
_START_INTERVAL_SECONDS = 0.25
_START_PERIOD_SECONDS = 30.0
"""A HEALTHCHECK is asked this often after a start, for this long, unless the image says how often itself."""


@dataclass(frozen=True, slots=True)
class Publish:
    """A port to publish; without `host_port` the same number if it is free, else one of the engine's."""

    container_port: int
    protocol: str = "tcp"
    host_ip: str = LOOPBACK
    host_port: int | None = None


@dataclass(frozen=True, slots=True)
class RunSpec:
    """How to run an image: what `docker run` would be told.

    A value of None in `env` takes the variable from our own environment, as `-e NAME` does. `options` are
    further options of `docker run` by their long names (see `RUN_OPTIONS`); relative volume sources start
    at `directory`.
    """

    image: str
    name: str
    project: str = ""
    publish: tuple[str, ...] = ()
    publish_exposed: bool = True
    env: tuple[tuple[str, str | None], ...] = ()
    volumes: tuple[str, ...] = ()
    network: str | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    init: bool | None = None
    stop_grace_seconds: float | None = None
    tty: bool = False
    options: tuple[tuple[str, object], ...] = ()
    directory: str = "."


def parse_publish(text: str) -> tuple[Publish, ...]:
    """Read one value of `docker run --publish`: `[[ip:]host:]container[/protocol]`, ranges included.

    Where docker publishes to the whole network without an address, we stay on the loopback address: say
    `0.0.0.0:8000:8000` to be seen from elsewhere. A range of host ports must be as long as that of the
    container's.
    """
    body, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    host_ip, rest = LOOPBACK, body
    if body.startswith("["):
        host_ip, closed, rest = body[1:].partition("]")
        if not closed or not rest.startswith(":"):
            raise _bad_publish(text, "an IPv6 address stands in brackets and is followed by a colon")
        rest = rest[1:]
    parts = rest.split(":")
    if host_ip == LOOPBACK and len(parts) == 3:
        host_ip, parts = parts[0] or LOOPBACK, parts[1:]
    if len(parts) > 2:
        raise _bad_publish(text, "it has too many colons")
    if protocol not in {"tcp", "udp", "sctp"}:
        raise _bad_publish(text, "the protocol is tcp, udp or sctp")
    inside = _port_range(text, parts[-1])
    outside: list[int | None] = [None] * len(inside)
    if len(parts) == 2 and parts[0]:
        outside = list(_port_range(text, parts[0]))
        if len(outside) != len(inside):
            raise _bad_publish(text, "both ranges must have the same length")
    return tuple(Publish(port, protocol, host_ip, host) for port, host in zip(inside, outside, strict=True))


def _port_range(text: str, part: str) -> list[int]:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
    if match is None:
        raise _bad_publish(text, f"{part!r} is no port")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 < first <= last <= 65535:
        raise _bad_publish(text, "ports go from 1 to 65535")
    return list(range(first, last + 1))


def _bad_publish(text: str, why: str) -> DevloopError:
    return DevloopError(
        f"cannot publish {text!r}: {why}", hint="Write [[IP:]HOST_PORT:]CONTAINER_PORT[/tcp|udp]."
    )


def parse_size(value: object) -> int:
    """Read a size as docker writes it: a number of bytes, or a number with b, k, m, g or t."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)i?b?", str(value).strip().lower())
    if match is None:
        raise DevloopError(f"{value!r} is no size", hint="Write a number of bytes, or 512m, 2g.")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2].replace("b", "") or " "))


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}={one}" for key, one in value.items()]
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else [str(value)]


def _hosts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}:{one}" for key, one in value.items()]
    return [one.replace("=", ":", 1) for one in _texts(value)]


def _pairs(value: object) -> dict[str, str]:
    return {key: one for key, _, one in (text.partition("=") for text in _texts(value))}


def _tmpfs(value: object) -> dict[str, str]:
    return {key: one for key, _, one in (text.partition(":") for text in _texts(value))}


def _devices(value: object) -> list[dict[str, str]]:
    found = []
    for text in _texts(value):
        host, _, rest = text.partition(":")
        inside, _, rights = rest.partition(":")
        found.append(
            {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": rights or "rwm"}
        )
    return found


def _ulimits(value: object) -> list[dict[str, Any]]:
    found = []
    for name, limit in _pairs(value).items():
        soft, _, hard = limit.partition(":")
        found.append({"Name": name, "Soft": int(soft), "Hard": int(hard or soft)})
    return found


def _restart(value: object) -> dict[str, Any]:
    name, _, count = str(value).partition(":")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _gpus(value: object) -> list[dict[str, Any]]:
    text = str(value)
    if text == "all" or text.isdigit():
        return [{"Count": -1 if text == "all" else int(text), "Capabilities": [["gpu"]]}]
    ids = text.removeprefix("device=").split(",")
    return [{"DeviceIDs": ids, "Capabilities": [["gpu"]]}]


def _nanos(value: object) -> int:
    return int(float(str(value)) * 1e9)


RUN_OPTIONS: Mapping[str, tuple[bool, str, Callable[[Any], Any]]] = {
    # long name of docker run: belongs to HostConfig, the API's name, how the value is read
    "add_host": (True, "ExtraHosts", _hosts),
    "cap_add": (True, "CapAdd", _texts),
    "cap_drop": (True, "CapDrop", _texts),
    "cgroup_parent": (True, "CgroupParent", str),
    "cgroupns": (True, "CgroupnsMode", str),
    "cpu_shares": (True, "CpuShares", int),
    "cpus": (True, "NanoCpus", _nanos),
    "cpuset_cpus": (True, "CpusetCpus", str),
    "device": (True, "Devices", _devices),
    "dns": (True, "Dns", _texts),
    "dns_option": (True, "DnsOptions", _texts),
    "dns_search": (True, "DnsSearch", _texts),
    "domainname": (False, "Domainname", str),
    "gpus": (True, "DeviceRequests", _gpus),
    "group_add": (True, "GroupAdd", _texts),
    "hostname": (False, "Hostname", str),
    "ipc": (True, "IpcMode", str),
    "memory": (True, "Memory", parse_size),
    "memory_reservation": (True, "MemoryReservation", parse_size),
    "memory_swap": (True, "MemorySwap", lambda value: -1 if str(value) == "-1" else parse_size(value)),
    "oom_score_adj": (True, "OomScoreAdj", int),
    "pid": (True, "PidMode", str),
    "pids_limit": (True, "PidsLimit", int),
    "privileged": (True, "Privileged", bool),
    "read_only": (True, "ReadonlyRootfs", bool),
    "restart": (True, "RestartPolicy", _restart),
    "runtime": (True, "Runtime", str),
    "security_opt": (True, "SecurityOpt", _texts),
    "shm_size": (True, "ShmSize", parse_size),
    "stop_signal": (False, "StopSignal", str),
    "storage_opt": (True, "StorageOpt", _pairs),
    "sysctl": (True, "Sysctls", _pairs),
    "tmpfs": (True, "Tmpfs", _tmpfs),
    "ulimit": (True, "Ulimits", _ulimits),
    "userns": (True, "UsernsMode", str),
    "uts": (True, "UTSMode", str),
    "volumes_from": (True, "VolumesFrom", _texts),
    "workdir": (False, "WorkingDir", str),
}
_ALIASES = {
    "cpus_limit": "cpus",
    "devices": "device",
    "extra_hosts": "add_host",
    "mem_limit": "memory",
    "sysctls": "sysctl",
    "ulimits": "ulimit",
    "working_dir": "workdir",
}


def create_body(
    spec: RunSpec,
    ports: Sequence[Publish],
    *,
    healthcheck: Healthcheck | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the request that makes the container of `spec` with `ports` published; pure.

    A HEALTHCHECK of the image that does not say how often it is asked after a start is asked four times a
    second for the first half minute: its normal interval of half a minute would be what a save waits for.
    """
    body: dict[str, Any] = {"Image": spec.image, "Tty": spec.tty}
    host: dict[str, Any] = {}
    labels = {**dict(spec.labels), LABEL_NAME: spec.name}
    if spec.project:
        labels[LABEL_PROJECT] = spec.project
    body["Labels"] = labels
    body["Env"] = _environment(spec.env, environ or {})
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if spec.user is not None:
        body["User"] = spec.user
    if spec.stop_grace_seconds is not None:
        body["StopTimeout"] = max(0, round(spec.stop_grace_seconds))
    if spec.init is not None:
        host["Init"] = spec.init
    _put_network(body, host, spec)
    _put_ports(body, host, ports)
    _put_volumes(body, host, spec, (environ or {}).get("HOME", "/"))
    if healthcheck is not None and not healthcheck.start_interval:
        period = healthcheck.start_period or _START_PERIOD_SECONDS
        body["Healthcheck"] = {
            "StartInterval": int(_START_INTERVAL_SECONDS * 1e9),
            "StartPeriod": int(period * 1e9),
        }
    for name, value in spec.options:
        in_host, key, read = _option(name)
        try:
            (host if in_host else body)[key] = read(value)
        except ValueError as error:
            raise DevloopError(f"run option {name}: {value!r} does not fit", hint=str(error)) from error
    body["HostConfig"] = host
    return body


def _option(name: str) -> tuple[bool, str, Callable[[Any], Any]]:
    plain = name.lstrip("-").replace("-", "_")
    found = RUN_OPTIONS.get(_ALIASES.get(plain, plain))
    if found is None:
        known = ", ".join(sorted(RUN_OPTIONS))
        raise DevloopError(f"{name} is no run option that devloop knows", hint=f"Known are {known}.")
    return found


def _environment(pairs: Iterable[tuple[str, str | None]], environ: Mapping[str, str]) -> list[str]:
    result: dict[str, str] = {}
    for name, value in pairs:
        found = environ.get(name) if value is None else value
        if found is not None:
            result[name] = found
    return [f"{name}={value}" for name, value in result.items()]


def _put_network(body: dict[str, Any], host: dict[str, Any], spec: RunSpec) -> None:
    """On a network of the user's, others know the container by its name also while it has another one."""
    if spec.network is None:
        return
    host["NetworkMode"] = spec.network
    if spec.network not in {"host", "none", "bridge", "default"} and ":" not in spec.network:
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network: {"Aliases": [spec.name]}}}


def _put_ports(body: dict[str, Any], host: dict[str, Any], ports: Sequence[Publish]) -> None:
    bindings: dict[str, list[dict[str, str]]] = {}
    for one in ports:
        key = f"{one.container_port}/{one.protocol}"
        outside = "" if one.host_port is None else str(one.host_port)
        bindings.setdefault(key, []).append({"HostIp": one.host_ip, "HostPort": outside})
    if bindings:
        host["PortBindings"] = bindings
        body["ExposedPorts"] = {key: {} for key in bindings}


def _put_volumes(body: dict[str, Any], host: dict[str, Any], spec: RunSpec, home: str) -> None:
    binds: list[str] = []
    anonymous: dict[str, dict[str, str]] = {}
    for text in spec.volumes:
        source, colon, rest = text.partition(":")
        if not colon:
            anonymous[source] = {}
        elif source.startswith((".", "~")):
            at_home = source.removeprefix("~").lstrip("/")
            start = (home, at_home) if source.startswith("~") else (spec.directory, source)
            binds.append(f"{posixpath.normpath(posixpath.join(*start))}:{rest}")
        else:
            binds.append(text)
    if binds:
        host["Binds"] = binds
    if anonymous:
        body["Volumes"] = anonymous


def choose_ports(
    spec: RunSpec,
    exposed: Iterable[str],
    kept: Iterable[Binding] = (),
    *,
    is_free: Callable[[int, str], bool],
) -> tuple[Publish, ...]:
    """Decide what is published where; with `--network host` or `none` nothing is.

    Without a wish every exposed port is published. A port without a wish for its host port keeps the one it
    had, so that a replaced container is found where it was; else it takes its own number if that is free, and
    otherwise leaves the choice to the engine.
    """
    if spec.network in {"host", "none"} or (spec.network or "").startswith("container:"):
        return ()
    wished = [one for text in spec.publish for one in parse_publish(text)]
    if not wished and spec.publish_exposed:
        wished = [one for text in exposed for one in parse_publish(text)]
    before = {(one.container_port, one.protocol): one.host_port for one in kept}
    chosen = []
    for one in wished:
        if one.host_port is not None:
            chosen.append(one)
            continue
        kept_port = before.get((one.container_port, one.protocol))
        if kept_port is None and is_free(one.container_port, one.host_ip):
            kept_port = one.container_port
        chosen.append(replace(one, host_port=kept_port))
    return tuple(chosen)


def leaves_a_port_open(spec: RunSpec) -> bool:
    """Tell whether some host port is ours to choose, so that another one may be tried."""
    if not spec.publish:
        return spec.publish_exposed
    return any(one.host_port is None for text in spec.publish for one in parse_publish(text))
