"""Waits until a container serves.

The image's HEALTHCHECK decides where there is one. Else a port that accepts does, with a trap: the engine's
proxy accepts on the published port although nothing listens inside, and closes at once. So on a local Linux
engine the container's own address is asked first, and elsewhere a connection must stay open for a moment.
Else a container that still runs after a moment is taken to be well.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devloop.engine.base import Cancel
    from devloop.engine.state import ContainerFacts

FIRST_POLL_SECONDS = 0.005
LAST_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 0.25
_PROXY_SECONDS = 0.05
"""How long a connection through a proxy must stay open; with nothing behind it, it closes at once."""

How = Literal["healthcheck", "port", "running", "exited", "unhealthy", "gone", "timeout", "canceled"]


@dataclass(frozen=True, slots=True)
class Health:
    """How the wait ended: `ok` with what proved it, or why not.

    "timeout" means that the container runs and does not serve (yet); "exited", "unhealthy" and "gone" that it
    will not. `exit_code` is that of the exited one, `note` says what may help.
    """

    ok: bool
    seconds: float
    how: How
    exit_code: int | None = None
    oom_killed: bool = False
    log_tail: tuple[str, ...] = ()
    note: str | None = None

    @property
    def crashed(self) -> bool:
        return self.how in {"exited", "gone"}


@dataclass(frozen=True, slots=True)
class Knock:
    """One attempt at a port: `open` says that something serves there; `usable` that the way leads there."""

    open: bool
    usable: bool = True


def wait_healthy(
    inspect: Callable[[], ContainerFacts | None],
    *,
    ports: Sequence[int] = (),
    timeout_seconds: float = 30.0,
    settle_seconds: float = 0.3,
    cancel: Cancel | None = None,
    is_local: bool = sys.platform == "linux",
    heeds_check: bool = True,
    knock: Callable[[str, int, bool], Knock] | None = None,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Health:
    """Poll `inspect` until the container is healthy, dead, or the time is over.

    `ports` are container ports (TCP); one that accepts is enough, as a debugger's port may stay closed.
    Without a health check and without ports the container must live for `settle_seconds`. A restart in
    between counts as a crash. After a restart of the process alone a health check must not be heeded: its
    verdict is still the one on the old process, and the next may come half a minute later.
    """
    knock = knock or knock_at
    start, pause = now(), FIRST_POLL_SECONDS
    use_address, first_start = is_local, ""
    while True:
        facts = inspect()
        elapsed = now() - start
        ended = _ended(facts, elapsed, first_start)
        if facts is None or ended is not None:
            return ended or Health(ok=False, seconds=elapsed, how="gone")
        first_start = first_start or facts.started_at
        if facts.health is not None and heeds_check:
            if facts.health == "healthy":
                return Health(ok=True, seconds=elapsed, how="healthcheck")
            if facts.health == "unhealthy":
                return Health(ok=False, seconds=elapsed, how="unhealthy", log_tail=facts.health_log)
        elif ports:
            answer = _any_open(facts, ports, use_address=use_address, knock=knock)
            use_address = use_address and answer.usable
            if answer.open:
                return Health(ok=True, seconds=now() - start, how="port")
        elif facts.state == "running" and elapsed >= settle_seconds:
            return Health(ok=True, seconds=elapsed, how="running")
        if cancel is not None and cancel.is_set():
            return Health(ok=False, seconds=elapsed, how="canceled")
        if elapsed >= timeout_seconds:
            return Health(ok=False, seconds=elapsed, how="timeout", note=_note(facts, ports, heeds_check))
        sleep(min(pause, LAST_POLL_SECONDS))
        pause *= 1.25


def _ended(facts: ContainerFacts | None, elapsed: float, first_start: str) -> Health | None:
    if facts is None:
        return Health(ok=False, seconds=elapsed, how="gone")
    restarted = bool(first_start) and facts.started_at != first_start
    if facts.state in {"exited", "dead", "removing", "restarting"} or restarted:
        return Health(
            ok=False,
            seconds=elapsed,
            how="exited",
            exit_code=facts.exit_code,
            oom_killed=facts.oom_killed,
        )
    return None


def _any_open(
    facts: ContainerFacts,
    ports: Sequence[int],
    *,
    use_address: bool,
    knock: Callable[[str, int, bool], Knock],
) -> Knock:
    """Try the container's own address, then its published ports; `usable` is about the former only."""
    usable = True
    if use_address and facts.address:
        answers = [knock(facts.address, port, False) for port in ports]
        if any(answer.open for answer in answers):
            return Knock(open=True)
        usable = any(answer.usable for answer in answers)
        if usable:
            return Knock(open=False)
    elif use_address and facts.is_host_network:
        return Knock(open=any(knock("127.0.0.1", port, False).open for port in ports))
    wanted = [one for one in facts.bindings if one.protocol == "tcp" and one.container_port in ports]
    if any(knock(_reachable(one.host_ip), one.host_port, True).open for one in wanted):
        return Knock(open=True, usable=usable)
    return Knock(open=False, usable=usable)


def _reachable(host: str) -> str:
    """Return an address that leads to a server listening on `host`, which may stand for all addresses."""
    every = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
    return every.get(host, host)


def knock_at(host: str, port: int, through_proxy: bool) -> Knock:
    """Connect once. A refusal means that nothing listens yet; no route, or silence, that the way is none."""
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as connection:
            return Knock(open=not through_proxy or _stays_open(connection))
    except ConnectionRefusedError:
        return Knock(open=False)
    except OSError:
        return Knock(open=False, usable=False)


def _stays_open(connection: socket.socket) -> bool:
    connection.settimeout(_PROXY_SECONDS)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def _note(facts: ContainerFacts, ports: Sequence[int], heeds_check: bool) -> str:
    if facts.health is not None and heeds_check:
        return "the health check has not succeeded yet"
    wanted = ", ".join(str(port) for port in ports)
    return (
        f"nothing accepts on port {wanted}: a server in a container must listen on 0.0.0.0, not on 127.0.0.1"
    )


def free_port(preferred: int, host: str = "127.0.0.1") -> int | None:
    """Return `preferred` if nothing on this machine has it at `host`, else None."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, preferred))
        except OSError:
            return None
    return preferred


def any_free_port(host: str = "127.0.0.1") -> int | None:
    """Return a port that nothing here has at `host` right now; None where there is no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return None
        return int(probe.getsockname()[1])
