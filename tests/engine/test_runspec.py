"""What `docker run` is told, and the request that becomes of it."""

from __future__ import annotations

import pytest

from devloop.engine.images import Healthcheck
from devloop.engine.runspec import Publish, RunSpec, choose_ports, create_body, parse_publish, parse_size
from devloop.engine.state import Binding
from devloop.errors import DevloopError

EVERYWHERE = "0.0.0.0"  # noqa: S104 - read, not bound
SPEC = RunSpec("app:dev", "web", project="p1")


def nothing_free(_port: int, _host: str) -> bool:
    return False


def all_free(_port: int, _host: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000", [Publish(8000, "tcp", "127.0.0.1", None)]),
        ("80:8000", [Publish(8000, "tcp", "127.0.0.1", 80)]),
        ("80:8000/udp", [Publish(8000, "udp", "127.0.0.1", 80)]),
        ("0.0.0.0:80:8000", [Publish(8000, "tcp", EVERYWHERE, 80)]),
        ("127.0.0.2::8000/tcp", [Publish(8000, "tcp", "127.0.0.2", None)]),
        ("[::1]:80:8000", [Publish(8000, "tcp", "::1", 80)]),
        ("[::]::8000", [Publish(8000, "tcp", "::", None)]),
        (
            "90-91:8000-8001",
            [Publish(8000, "tcp", "127.0.0.1", 90), Publish(8001, "tcp", "127.0.0.1", 91)],
        ),
        ("8000-8001", [Publish(8000, "tcp", "127.0.0.1", None), Publish(8001, "tcp", "127.0.0.1", None)]),
    ],
)
def test_publish_is_read_as_docker_writes_it_but_on_the_loopback(text: str, expected: list[Publish]) -> None:
    assert list(parse_publish(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0:1:2:3",
        "80:",
        "80:70000",
        "80:0",
        "90-80:1-2",
        "80-82:1-2",
        "80:8000/icmp",
        "[::1:80:8000",
        "[::1]80",
    ],
)
def test_a_publish_that_makes_no_sense_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(DevloopError, match="cannot publish") as caught:
        parse_publish(text)
    assert caught.value.hint


def test_exposed_ports_are_published_where_nothing_is_wished() -> None:
    assert choose_ports(SPEC, ["8000/tcp"], is_free=all_free) == (Publish(8000, "tcp", "127.0.0.1", 8000),)
    assert choose_ports(SPEC, ["8000/tcp"], is_free=nothing_free) == (
        Publish(8000, "tcp", "127.0.0.1", None),
    )
    quiet = RunSpec("i", "n", publish_exposed=False)
    assert choose_ports(quiet, ["8000/tcp"], is_free=all_free) == ()


def test_a_wish_replaces_the_exposed_ports() -> None:
    spec = RunSpec("i", "n", publish=("9000:80",))
    assert choose_ports(spec, ["8000/tcp"], is_free=nothing_free) == (Publish(80, "tcp", "127.0.0.1", 9000),)


def test_a_replaced_container_is_found_where_it_was() -> None:
    before = (Binding(8000, "tcp", "127.0.0.1", 49160),)
    chosen = choose_ports(SPEC, ["8000/tcp", "9000/tcp"], before, is_free=nothing_free)
    assert [one.host_port for one in chosen] == [49160, None]


@pytest.mark.parametrize("network", ["host", "none", "container:db"])
def test_a_network_without_ports_publishes_none(network: str) -> None:
    assert choose_ports(RunSpec("i", "n", publish=("80:80",), network=network), [], is_free=all_free) == ()


def test_a_plain_container_carries_its_labels_and_ports() -> None:
    body = create_body(SPEC, [Publish(8000, "tcp", "127.0.0.1", 8000), Publish(9000)])
    assert body["Image"] == "app:dev"
    assert body["Labels"] == {"io.devloop.name": "web", "io.devloop.project": "p1"}
    assert body["HostConfig"]["PortBindings"] == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}],
        "9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
    }
    assert "Cmd" not in body
    assert "Healthcheck" not in body


def test_environment_without_a_value_comes_from_ours() -> None:
    spec = RunSpec("i", "n", env=(("A", "1"), ("B", None), ("GONE", None), ("A", "2")))
    assert create_body(spec, [], environ={"B": "b", "C": "c"})["Env"] == ["A=2", "B=b"]


def test_volumes_are_anonymous_named_absolute_or_relative_to_the_project() -> None:
    spec = RunSpec(
        "i", "n", volumes=("/cache", "data:/d", "/x:/y:ro", "./src:/app", "~/k:/k"), directory="/proj/a"
    )
    body = create_body(spec, [], environ={"HOME": "/home/me"})
    assert body["Volumes"] == {"/cache": {}}
    assert body["HostConfig"]["Binds"] == ["data:/d", "/x:/y:ro", "/proj/a/src:/app", "/home/me/k:/k"]


def test_on_a_network_of_the_users_the_container_is_known_by_its_name() -> None:
    body = create_body(RunSpec("i", "web", network="backend"), [])
    assert body["HostConfig"]["NetworkMode"] == "backend"
    assert body["NetworkingConfig"]["EndpointsConfig"] == {"backend": {"Aliases": ["web"]}}
    assert "NetworkingConfig" not in create_body(RunSpec("i", "web", network="host"), [])


def test_a_health_check_is_asked_often_after_a_start() -> None:
    body = create_body(SPEC, [], healthcheck=Healthcheck(("CMD", "true"), interval=30))
    assert body["Healthcheck"] == {"StartInterval": 250_000_000, "StartPeriod": 30_000_000_000}


def test_a_health_check_that_says_how_often_is_left_alone() -> None:
    body = create_body(SPEC, [], healthcheck=Healthcheck(("CMD", "true"), start_interval=2))
    assert "Healthcheck" not in body


def test_further_options_are_read_by_their_names() -> None:
    options: tuple[tuple[str, object], ...] = (
        ("memory", "512m"),
        ("--cpus", 1.5),
        ("shm-size", "1g"),
        ("cap_add", ["SYS_PTRACE"]),
        ("tmpfs", "/tmp:size=1m"),
        ("extra_hosts", {"db": "10.0.0.1"}),
        ("add_host_unused", None),
    )
    body = create_body(RunSpec("i", "n", options=options[:-1]), [])
    assert body["HostConfig"] == {
        "Memory": 512 * 1024**2,
        "NanoCpus": 1_500_000_000,
        "ShmSize": 1024**3,
        "CapAdd": ["SYS_PTRACE"],
        "Tmpfs": {"/tmp": "size=1m"},
        "ExtraHosts": ["db:10.0.0.1"],
    }
    with pytest.raises(DevloopError, match="add_host_unused is no run option") as caught:
        create_body(RunSpec("i", "n", options=options), [])
    assert "read_only" in str(caught.value.hint)


def test_devices_limits_and_restarts_take_dockers_own_form() -> None:
    options: tuple[tuple[str, object], ...] = (
        ("device", ["/dev/fuse", "/dev/a:/dev/b:r"]),
        ("ulimit", "nofile=1024:2048"),
        ("restart", "on-failure:3"),
        ("gpus", "all"),
        ("workdir", "/w"),
        ("memory_swap", -1),
    )
    body = create_body(RunSpec("i", "n", options=options), [])
    host = body["HostConfig"]
    assert [one["PathInContainer"] for one in host["Devices"]] == ["/dev/fuse", "/dev/b"]
    assert host["Devices"][1]["CgroupPermissions"] == "r"
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["DeviceRequests"] == [{"Count": -1, "Capabilities": [["gpu"]]}]
    assert host["MemorySwap"] == -1
    assert body["WorkingDir"] == "/w"


def test_an_option_with_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(DevloopError, match="pids_limit"):
        create_body(RunSpec("i", "n", options=(("pids_limit", "many"),)), [])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        (7, 7),
        ("1k", 1024),
        ("2M", 2 * 1024**2),
        ("1.5g", 1536 * 1024**2),
        ("64b", 64),
        ("1gb", 1024**3),
    ],
)
def test_sizes_are_read_as_docker_writes_them(text: object, size: int) -> None:
    assert parse_size(text) == size


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(DevloopError, match="no size"):
        parse_size("much")


def test_grace_init_and_terminal_are_passed_on() -> None:
    spec = RunSpec(
        "i", "n", init=True, tty=True, stop_grace_seconds=0.4, user="app", command=("a",), entrypoint=("e",)
    )
    body = create_body(spec, [])
    assert (body["Tty"], body["StopTimeout"], body["User"]) == (True, 0, "app")
    assert (body["Cmd"], body["Entrypoint"]) == (["a"], ["e"])
    assert body["HostConfig"]["Init"] is True
