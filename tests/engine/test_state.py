"""Reading what the engine says about containers, images and logs."""

from __future__ import annotations

import pytest

from devloop.engine.images import Healthcheck, parse_healthcheck, parse_image
from devloop.engine.logs import LineSplitter, LogLine, read_log, unix_time
from devloop.engine.state import Binding, Mount, parse_container

CONTAINER = {
    "Id": "abc",
    "Name": "/web",
    "Image": "sha256:i",
    "Path": "python3",
    "Args": ["/srv.py"],
    "Created": "2026-01-01T00:00:00Z",
    "State": {
        "Status": "running",
        "Running": True,
        "ExitCode": 0,
        "Pid": 42,
        "OOMKilled": False,
        "StartedAt": "2026-01-01T00:00:01Z",
        "Health": {"Status": "starting", "Log": [{"Output": "old"}, {"Output": "a\nb"}]},
    },
    "Config": {
        "Image": "app:dev",
        "ExposedPorts": {"9000/tcp": {}, "8000/tcp": {}, "53/udp": {}},
        "Labels": {"k": "v"},
        "User": "app",
        "StopTimeout": 0,
        "WorkingDir": "/app",
    },
    "HostConfig": {"ReadonlyRootfs": True, "NetworkMode": "backend"},
    "NetworkSettings": {
        "Ports": {
            "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49160"}],
            "9000/tcp": None,
            "9001/tcp": [{"HostIp": "", "HostPort": ""}],
        },
        "Networks": {"none": {"IPAddress": ""}, "backend": {"IPAddress": "172.18.0.2"}},
    },
    "Mounts": [
        {"Type": "volume", "Name": "data", "Source": "/var/x", "Destination": "/data", "RW": True},
        {"Type": "bind", "Source": "/src", "Destination": "/app", "RW": False},
    ],
}


def test_a_container_is_read_from_its_inspection() -> None:
    facts = parse_container(CONTAINER)
    assert (facts.id, facts.name, facts.state, facts.exit_code, facts.pid) == (
        "abc",
        "web",
        "running",
        None,
        42,
    )
    assert facts.bindings == (Binding(8000, "tcp", "127.0.0.1", 49160),)
    assert facts.mounts == (Mount("volume", "data", "/data", True), Mount("bind", "/src", "/app", False))
    assert (facts.health, facts.health_log) == ("starting", ("a", "b"))
    assert (facts.address, facts.is_read_only, facts.is_host_network) == ("172.18.0.2", True, False)
    assert facts.command == ("python3", "/srv.py")
    assert facts.ports == (8000,)
    assert facts.grace_seconds == 0
    assert parse_container({}).grace_seconds == 10


def test_without_published_ports_the_exposed_ones_should_serve() -> None:
    facts = parse_container({**CONTAINER, "NetworkSettings": {}})
    assert facts.ports == (8000, 9000)
    assert facts.address is None


def test_an_exited_container_has_its_exit_code_and_a_created_one_none() -> None:
    exited = parse_container(
        {"State": {"Status": "exited", "Running": False, "ExitCode": 137, "OOMKilled": True}}
    )
    assert (exited.exit_code, exited.oom_killed) == (137, True)
    assert parse_container({"State": {"Status": "created", "ExitCode": 0}}).exit_code is None


def test_a_switched_off_health_check_is_none() -> None:
    assert parse_container({"State": {"Health": {"Status": "none"}}}).health is None
    assert parse_healthcheck({"Test": ["NONE"]}) is None
    assert parse_healthcheck({"Test": []}) is None
    assert parse_healthcheck(None) is None


def test_an_image_is_read_from_its_inspection() -> None:
    facts = parse_image(
        {
            "Id": "sha256:i",
            "RepoTags": ["app:dev"],
            "Os": "linux",
            "Architecture": "arm64",
            "Variant": "v8",
            "RootFS": {"Layers": ["sha256:1", "sha256:2"]},
            "Config": {
                "Env": ["PATH=/bin", "B=x=y", "A="],
                "WorkingDir": "/app",
                "Cmd": ["run"],
                "OnBuild": ["RUN a", "COPY b c"],
                "ExposedPorts": {"8000/tcp": {}},
                "Healthcheck": {"Test": ["CMD", "x"], "Interval": 2_000_000_000, "Retries": 3},
            },
        }
    )
    assert facts.chain == ("sha256:1", "sha256:2")
    assert facts.env == (("PATH", "/bin"), ("B", "x=y"), ("A", ""))
    assert facts.onbuild == ("RUN a", "COPY b c")
    assert facts.healthcheck == Healthcheck(("CMD", "x"), interval=2.0, retries=3)
    assert (facts.platform, facts.entrypoint, facts.shell) == ("linux/arm64/v8", None, None)


def test_an_empty_image_config_is_read_as_nothing() -> None:
    facts = parse_image({"Id": "x", "Config": None, "RootFS": None})
    assert (facts.chain, facts.env, facts.healthcheck, facts.stop_signal) == ((), (), None, None)


class Pieces:
    """A stream that hands out what it was given, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, _size: int = 0) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


STAMP = "2026-01-01T00:00:00.123456789Z"


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_frames_are_put_together_however_they_arrive(size: int) -> None:
    raw = (
        frame(1, f"{STAMP} out\n".encode())
        + frame(2, f"{STAMP} err".encode())
        + frame(1, f"{STAMP} é\n".encode())
    )
    pieces = Pieces(*(raw[at : at + size] for at in range(0, len(raw), size)))
    assert list(read_log(pieces, tty=False)) == [
        LogLine("stdout", "out", STAMP),
        LogLine("stdout", "é", STAMP),
        LogLine("stderr", "err", STAMP),
    ]


def test_a_terminals_log_has_no_frames() -> None:
    pieces = Pieces(f"{STAMP} one\r\n{STAMP} t".encode(), b"wo\r\n")
    assert [line.text for line in read_log(pieces, tty=True)] == ["one", "two"]


def test_a_frame_that_was_cut_off_is_dropped() -> None:
    assert list(read_log(Pieces(frame(1, b"whole\n"), frame(1, b"half\n")[:9]), tty=False)) == [
        LogLine("stdout", "whole", "")
    ]


def test_a_line_without_a_time_stamp_keeps_its_first_word() -> None:
    assert list(LineSplitter().feed("stdout", b"hello world\n")) == [LogLine("stdout", "hello world", "")]


def test_a_time_stamp_keeps_all_its_decimals() -> None:
    assert unix_time("2023-11-14T22:13:20.000000001Z") == "1700000000.000000001"
    assert unix_time("2023-11-14T22:13:20Z") == "1700000000.0"
