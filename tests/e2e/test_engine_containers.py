"""Containers on a real engine: made, replaced, taken back, followed, found again."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.containers import Containers, Stopped
from devloop.engine.endpoint import Engine
from devloop.engine.runspec import RunSpec
from devloop.errors import DevloopError
from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from devloop.engine.base import Runner
    from devloop.engine.logs import LogLine
    from devloop.engine.state import ContainerFacts

pytestmark = pytest.mark.docker

# exec makes httpd PID 1, which has no handler for SIGTERM: SIGKILL ends it without the grace period.
SERVE = "echo up $V; echo $V > /tmp/index.html; exec httpd -f -p 8000 -h /tmp"
DOCKERFILE = f"""\
FROM {BUSYBOX}
LABEL io.devloop.test=1
RUN mkdir -p /tmp
EXPOSE 8000
STOPSIGNAL SIGKILL
CMD {SERVE}
"""


@pytest.fixture(scope="module")
def image(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    name = "devloop-test-engine-httpd"
    subprocess.run(["docker", "build", "-q", "-t", name, folder], check=True, capture_output=True)
    yield name
    subprocess.run(["docker", "image", "rm", "-f", name], check=True, capture_output=True)


@pytest.fixture
def containers(engine: dict[str, str], unique_name: str) -> Iterator[Containers]:
    found = Containers.connect()
    yield found
    found.remove_all(unique_name)
    found.close()


@pytest.fixture
def spec(image: str, unique_name: str) -> RunSpec:
    return RunSpec(
        image,
        unique_name,
        project=unique_name,
        env=(("V", "one"),),
        labels=(("io.devloop.test", "1"),),
        stop_grace_seconds=2,
    )


def served(facts: ContainerFacts | None) -> str:
    assert facts is not None
    (binding,) = facts.bindings
    with urllib.request.urlopen(f"http://127.0.0.1:{binding.host_port}/", timeout=5) as reply:
        return str(reply.read().decode().strip())


def until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def version(spec: RunSpec, text: str) -> RunSpec:
    return replace(spec, env=(("V", text),))


def test_an_exposed_port_is_published_on_the_loopback_and_serves(
    containers: Containers, spec: RunSpec
) -> None:
    facts = containers.run(spec)
    health = containers.wait_healthy(facts.id)
    assert (health.ok, health.how) == (True, "port")
    (binding,) = facts.bindings
    assert (binding.container_port, binding.host_ip) == (8000, "127.0.0.1")
    assert served(facts) == "one"


def test_a_replacement_serves_under_the_same_name_and_port(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    containers.wait_healthy(old.id)
    result = containers.replace(old.id, version(spec, "two"))
    assert result.ok, result
    new = result.container
    assert new is not None
    assert (new.name, new.bindings) == (spec.name, old.bindings)
    assert served(new) == "two"
    assert containers.inspect(old.id) is None
    assert result.stopped is not None
    assert result.stopped.exit_code == 137
    assert not result.stopped.killed
    assert len(containers.find(spec.project)) == 1


def test_the_first_container_may_come_by_replacement_too(containers: Containers, spec: RunSpec) -> None:
    result = containers.replace(None, spec)
    assert result.ok
    assert result.container is not None
    assert result.container.name == spec.name
    assert result.stopped is None


def test_one_that_dies_at_once_gives_way_to_the_old_one(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    containers.wait_healthy(old.id)
    result = containers.replace(old.id, replace(spec, command=("sh", "-c", "echo no database >&2; exit 9")))
    assert (result.ok, result.rolled_back) == (False, True)
    assert (result.health.exit_code, result.health.log_tail) == (9, ("no database",))
    assert result.container is not None
    assert result.container.id == old.id
    assert containers.wait_healthy(old.id).ok
    assert served(result.container) == "one"
    assert len(containers.find(spec.project)) == 1


def test_one_that_cannot_even_start_gives_way_as_well(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    result = containers.replace(old.id, replace(spec, command=("/nowhere",)))
    assert result.rolled_back
    assert result.error is not None
    assert "/nowhere" in result.error
    assert containers.wait_healthy(old.id).ok


def test_one_that_cannot_be_prepared_at_a_second_port_is_no_crash_and_the_old_one_serves(
    containers: Containers, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = containers.run(spec)
    containers.wait_healthy(old.id)
    start, refusals, prepared = Containers.start, [EngineRefused(500, "port is already allocated")], []

    def start_later(self: Containers, ident: str) -> None:
        if ident != old.id and refusals:
            raise refusals.pop()
        start(self, ident)

    def prepare(ident: str) -> None:
        prepared.append(ident)
        if len(prepared) == 2:
            raise DevloopError("a file has changed")

    monkeypatch.setattr(Containers, "start", start_later)
    with pytest.raises(DevloopError, match="a file has changed"):
        containers.replace(old.id, version(spec, "two"), prepare=prepare)
    assert len(prepared) == 2
    assert [one.id for one in containers.find(spec.project)] == [old.id]
    assert containers.wait_healthy(old.id).ok
    assert served(containers.inspect(old.id)) == "one"


def test_without_rollback_the_broken_one_stays_to_be_looked_at(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    result = containers.replace(old.id, replace(spec, command=("sh", "-c", "exit 9")), rollback=False)
    assert not result.rolled_back
    assert result.container is not None
    assert (result.container.name, result.container.exit_code) == (spec.name, 9)


def test_one_that_runs_without_serving_stays_with_advice(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    lazy = replace(spec, command=("sh", "-c", "exec sleep 300"))
    result = containers.replace(old.id, lazy, timeout_seconds=0.5)
    assert (result.ok, result.rolled_back, result.health.how) == (False, False, "timeout")
    assert result.health.note is not None
    assert result.container is not None
    assert result.container.is_running


def test_the_engines_proxy_is_not_taken_for_a_server(
    containers: Containers, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "is_local", False)
    facts = containers.run(replace(spec, command=("sh", "-c", "exec sleep 300")))
    assert containers.wait_healthy(facts.id, timeout_seconds=0.5).how == "timeout"
    serving = containers.run(replace(spec, name=f"{spec.name}-2"))
    assert containers.wait_healthy(serving.id).how == "port"


def test_a_health_check_is_heard_without_its_long_interval(
    containers: Containers, spec: RunSpec, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {spec.image}\nHEALTHCHECK CMD test -s /tmp/index.html\n")
    checked = replace(spec, image=f"{spec.name}:checked")
    subprocess.run(["docker", "build", "-q", "-t", checked.image, tmp_path], check=True, capture_output=True)
    facts = containers.run(checked)
    health = containers.wait_healthy(facts.id, timeout_seconds=60)
    assert (health.ok, health.how) == (True, "healthcheck")
    assert health.seconds < 25


def test_logs_are_followed_through_a_restart_and_a_replacement(containers: Containers, spec: RunSpec) -> None:
    lines: list[LogLine] = []
    old = containers.run(spec)
    following = containers.follow(old.id, lines.append)
    until(lambda: [line.text for line in lines] == ["up one"])
    containers.restart(old.id, 1)
    until(lambda: [line.text for line in lines] == ["up one"] * 2)
    result = containers.replace(old.id, version(spec, "two"), on_started=following.switch)
    assert result.ok
    until(lambda: [line.text for line in lines] == ["up one", "up one", "up two"])
    following.close()
    assert {line.stream for line in lines} == {"stdout"}
    assert all(line.at for line in lines)


def test_a_container_followed_again_does_not_repeat_itself(containers: Containers, spec: RunSpec) -> None:
    lines: list[LogLine] = []
    first = containers.run(spec)
    second = containers.run(replace(version(spec, "two"), name=f"{spec.name}-2"))
    following = containers.follow(first.id, lines.append)
    until(lambda: len(lines) == 1)
    following.switch(second.id)
    until(lambda: len(lines) == 2)
    following.switch(first.id)
    containers.restart(first.id, 1)
    until(lambda: len(lines) >= 3)
    following.close()
    assert [line.text for line in lines] == ["up one", "up two", "up one"]


def test_both_streams_of_a_log_are_told_apart(containers: Containers, spec: RunSpec) -> None:
    lines: list[LogLine] = []
    facts = containers.run(replace(spec, command=("sh", "-c", "echo out; echo err >&2; exec sleep 300")))
    following = containers.follow(facts.id, lines.append)
    until(lambda: len(lines) == 2)
    following.close()
    assert {(line.stream, line.text) for line in lines} == {("stdout", "out"), ("stderr", "err")}


def test_a_killed_session_leaves_what_the_next_one_finds(containers: Containers, spec: RunSpec) -> None:
    """Killed in the middle of a replacement: the old one stopped, the new one without its name."""
    old = containers.run(spec)
    new = containers.create(version(spec, "two"), name=f"{spec.name}-next", kept=old.bindings)
    containers.stop(old.id, 1)
    containers.start(new)
    found = containers.recover(spec.project, spec.name)
    assert found is not None
    assert (found.id, found.name) == (new, spec.name)
    assert [one.id for one in containers.find(spec.project)] == [new]


def test_recovery_prefers_the_container_that_has_the_name(containers: Containers, spec: RunSpec) -> None:
    old = containers.run(spec)
    containers.create(version(spec, "two"), name=f"{spec.name}-next")
    found = containers.recover(spec.project, spec.name)
    assert found is not None
    assert found.id == old.id
    assert len(containers.find(spec.project)) == 1
    containers.stop(old.id, 1)
    stopped = containers.recover(spec.project, spec.name)
    assert stopped is not None
    assert not stopped.is_running
    containers.remove_all(spec.project)
    assert containers.recover(spec.project, spec.name) is None


def test_a_port_that_is_taken_is_chosen_anew_or_told(containers: Containers, spec: RunSpec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DevloopError, match="taken") as caught:
            containers.run(replace(spec, publish=(f"{port}:8000",)))
        assert caught.value.hint
    assert containers.find(spec.project) == ()
    first = containers.run(spec)
    second = containers.run(replace(spec, name=f"{spec.name}-2"))
    assert first.bindings[0].host_port != second.bindings[0].host_port
    assert containers.wait_healthy(second.id).ok
    assert served(second) == "one"


def test_a_port_that_is_lost_during_a_replacement_is_chosen_anew(
    containers: Containers, spec: RunSpec
) -> None:
    old = containers.run(spec)
    thief = replace(spec, name=f"{spec.name}-2", publish=(f"{old.bindings[0].host_port}:8000",))

    def steal(self: Containers, ident: str, grace_seconds: float | None = None) -> Stopped:
        stopped = stop(self, ident, grace_seconds)
        self.run(thief)
        return stopped

    stop = Containers.stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Containers, "stop", steal)
        result = containers.replace(old.id, version(spec, "two"))
    assert result.ok, result
    assert served(result.container) == "two"


def test_an_ignored_signal_costs_the_grace_period_and_is_told(containers: Containers, spec: RunSpec) -> None:
    deaf = replace(spec, options=(("stop_signal", "SIGTERM"),))
    facts = containers.run(deaf)
    containers.wait_healthy(facts.id)
    stopped = containers.stop(facts.id, 1)
    assert (stopped.killed, stopped.exit_code) == (True, 137)
    assert containers.stop("nobody-has-this-name").exit_code is None


def test_run_options_reach_the_container(containers: Containers, spec: RunSpec, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("from the host")
    options: tuple[tuple[str, object], ...] = (("read_only", True), ("memory", "64m"), ("tmpfs", "/tmp"))
    facts = containers.run(
        replace(spec, options=options, volumes=("./x:/x:ro",), directory=str(tmp_path), init=True)
    )
    assert facts.is_read_only
    assert [(mount.kind, mount.target, mount.writable) for mount in facts.mounts] == [("bind", "/x", False)]
    assert containers.wait_healthy(facts.id).ok


def test_an_image_that_does_not_exist_is_told(containers: Containers, spec: RunSpec) -> None:
    with pytest.raises(DevloopError, match="no image"):
        containers.run(replace(spec, image="devloop-test-nowhere"))


def test_a_name_that_is_taken_is_the_engines_refusal(containers: Containers, spec: RunSpec) -> None:
    containers.run(spec)
    with pytest.raises(EngineRefused, match="already in use"):
        containers.create(spec)


def test_a_dead_engine_is_told_without_a_traceback() -> None:
    with pytest.raises(EngineUnavailable, match="there is no socket") as caught:
        Containers.connect({"DOCKER_HOST": "unix:///nowhere/docker.sock"})
    assert caught.value.hint


def test_the_class_is_what_the_protocol_promises(containers: Containers) -> None:
    runner: Runner = containers
    assert runner.inspect("nobody-has-this-name") is None


def test_what_only_the_sdk_can_reach_is_asked_through_it(
    containers: Containers, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "_is_spoken", False)
    lines: list[LogLine] = []
    facts = containers.run(spec)
    assert containers.wait_healthy(facts.id).ok
    following = containers.follow(facts.id, lines.append)
    until(lambda: [line.text for line in lines] == ["up one"])
    containers.remove(facts.id)
    following.close()
    assert containers.inspect(facts.id) is None
    with pytest.raises(EngineRefused):
        containers.engine.get("/containers/nobody-has-this-name/json")


def test_ports_of_a_distant_engine_are_not_tried_from_here(
    containers: Containers, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "has_local_ports", False)
    facts = containers.run(spec)
    assert containers.wait_healthy(facts.id).how == "running"
