"""Waiting until a container serves: what counts, and what only looks like it."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.engine.health import Health, Knock, free_port, knock_at, wait_healthy
from devloop.engine.state import Binding, ContainerFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RUNNING = ContainerFacts(
    id="c", name="web", state="running", exit_code=None, oom_killed=False, pid=7, image_id="i", image="i",
    bindings=(Binding(8000, "tcp", "127.0.0.1", 18000),), started_at="t1", address="172.17.0.2",
)  # fmt: skip
EXITED = replace(RUNNING, state="exited", exit_code=3)


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


def wait(
    states: Sequence[ContainerFacts | None],
    *,
    ports: Sequence[int] = (),
    knock: Callable[[str, int, bool], Knock] = lambda *_: Knock(open=False),
    is_local: bool = True,
    heeds_check: bool = True,
    cancel: threading.Event | None = None,
    clock: Clock | None = None,
) -> Health:
    clock = clock or Clock()
    left = list(states)
    return wait_healthy(
        lambda: left.pop(0) if len(left) > 1 else left[0],
        ports=ports,
        timeout_seconds=5.0,
        settle_seconds=0.3,
        cancel=cancel,
        is_local=is_local,
        heeds_check=heeds_check,
        knock=knock,
        now=clock.now,
        sleep=clock.sleep,
    )


def test_a_health_check_decides_where_there_is_one() -> None:
    starting = replace(RUNNING, health="starting")
    health = wait([starting, starting, replace(RUNNING, health="healthy")], ports=(8000,))
    assert (health.ok, health.how) == (True, "healthcheck")


def test_an_open_port_does_not_outvote_a_health_check() -> None:
    sick = replace(RUNNING, health="unhealthy", health_log=("no database",))
    health = wait([sick], ports=(8000,), knock=lambda *_: Knock(open=True))
    assert (health.ok, health.how, health.log_tail) == (False, "unhealthy", ("no database",))


def test_a_health_check_from_before_a_restart_of_the_process_is_not_heeded() -> None:
    stale = replace(RUNNING, health="healthy")
    answers = [Knock(open=False), Knock(open=False), Knock(open=True)]
    health = wait([stale], ports=(8000,), knock=lambda *_: answers.pop(0), heeds_check=False)
    assert (health.ok, health.how, answers) == (True, "port", [])
    health = wait([stale], ports=(8000,), heeds_check=False)
    assert (health.how, "port 8000" in str(health.note)) == ("timeout", True)


def test_the_containers_own_address_is_asked_and_the_proxy_is_not() -> None:
    asked: list[tuple[str, int, bool]] = []

    def knock(host: str, port: int, through_proxy: bool) -> Knock:
        asked.append((host, port, through_proxy))
        return Knock(open=len(asked) == 3)

    assert wait([RUNNING], ports=(8000,), knock=knock).how == "port"
    assert asked == [("172.17.0.2", 8000, False)] * 3


def test_an_address_that_leads_nowhere_is_given_up_for_the_published_port() -> None:
    asked: list[tuple[str, int, bool]] = []

    def knock(host: str, port: int, through_proxy: bool) -> Knock:
        asked.append((host, port, through_proxy))
        return Knock(open=False, usable=False) if host == "172.17.0.2" else Knock(open=len(asked) > 3)

    assert wait([RUNNING], ports=(8000,), knock=knock).ok
    assert [host for host, _, _ in asked].count("172.17.0.2") == 1
    assert asked[-1] == ("127.0.0.1", 18000, True)


def test_a_distant_engine_is_asked_through_the_published_port_only() -> None:
    asked: list[str] = []

    def knock(host: str, _port: int, _through_proxy: bool) -> Knock:
        asked.append(host)
        return Knock(open=True)

    everywhere = replace(RUNNING, bindings=(Binding(8000, "tcp", "", 18000),))
    assert wait([everywhere], ports=(8000,), knock=knock, is_local=False).ok
    assert asked == ["127.0.0.1"]


def test_one_open_port_of_several_is_enough() -> None:
    health = wait([RUNNING], ports=(5678, 8000), knock=lambda _host, port, _proxy: Knock(open=port == 8000))
    assert health.ok


def test_without_ports_a_container_must_live_for_a_moment() -> None:
    clock = Clock()
    health = wait([RUNNING], clock=clock)
    assert (health.ok, health.how) == (True, "running")
    assert clock.time >= 0.3


def test_one_that_exits_within_the_moment_has_crashed() -> None:
    health = wait([RUNNING, RUNNING, EXITED])
    assert (health.ok, health.how, health.exit_code, health.crashed) == (False, "exited", 3, True)


def test_one_that_was_restarted_meanwhile_has_crashed() -> None:
    health = wait([RUNNING, replace(RUNNING, started_at="t2")])
    assert health.crashed


def test_one_that_was_killed_for_its_memory_says_so() -> None:
    assert wait([replace(EXITED, exit_code=137, oom_killed=True)]).oom_killed


def test_one_that_vanished_is_gone() -> None:
    health = wait([RUNNING, None])
    assert (health.how, health.crashed) == ("gone", True)


def test_one_that_never_serves_runs_into_the_time_limit_with_advice() -> None:
    health = wait([RUNNING], ports=(8000,))
    assert (health.ok, health.how, health.crashed) == (False, "timeout", False)
    assert health.note is not None
    assert "must listen on" in health.note


def test_a_wait_can_be_canceled() -> None:
    cancel = threading.Event()
    cancel.set()
    assert wait([RUNNING], ports=(8000,), cancel=cancel).how == "canceled"


def test_polls_are_quick_at_first_and_become_rarer() -> None:
    clock = Clock()
    wait([RUNNING], ports=(8000,), clock=clock)
    assert clock.pauses[0] <= 0.01
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[-1] == 0.1


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_listener_is_open_and_a_closed_port_is_not(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert knock_at("127.0.0.1", port, through_proxy=False).open
    assert knock_at("127.0.0.1", port, through_proxy=True).open
    assert knock_at("127.0.0.1", 1, through_proxy=False) == Knock(open=False, usable=True)


def test_a_proxy_that_hangs_up_at_once_is_not_a_server(listener: socket.socket) -> None:
    def proxy() -> None:
        listener.accept()[0].close()

    thread = threading.Thread(target=proxy)
    thread.start()
    assert not knock_at("127.0.0.1", listener.getsockname()[1], through_proxy=True).open
    thread.join()


def test_a_server_that_speaks_first_is_open_through_a_proxy(listener: socket.socket) -> None:
    def greet() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"220 hello")

    thread = threading.Thread(target=greet)
    thread.start()
    assert knock_at("127.0.0.1", listener.getsockname()[1], through_proxy=True).open
    thread.join()


def test_a_port_that_somebody_has_is_not_free(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    assert free_port(taken) is None
    listener.close()
    assert free_port(taken) == taken
