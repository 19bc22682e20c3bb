"""The supervisor in real containers, in three shells: what it restarts and passes on, what nobody sees."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from devloop.engine.containers import Containers
from devloop.engine.supervisor import (
    MARK,
    CannotRestart,
    Generation,
    generation,
    has_shell,
    is_wrapped,
    restart_in_place,
    signal_number,
    supports,
    unwrap,
    wrap,
)
from devloop.engine.sync import Wire
from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PYTHON = "python:3.11-slim"

# ------------------------------------------------------------------------------------------------- the facts


def test_a_plain_command_in_an_image_with_a_shell_is_supported() -> None:
    assert supports(["python", "app.py"], ["PATH", "HOME", "x_1"], has_shell=True) is None


@pytest.mark.parametrize(
    ("entry", "env", "options", "reason"),
    [
        ([], [], {}, "the image has no command"),
        (["app"], [], {"has_shell": False}, "the image has no /bin/sh"),
        (["app"], [], {"tty": True}, "the container has a terminal"),
        (["app"], [], {"init": True}, "the container has an init process"),
        (["/sbin/init"], [], {}, "/sbin/init must be the first process"),
        (["a=b"], [], {}, "a=b has an equals sign in its name"),
        (["app"], [], {"stop_signal": "SIGPWR"}, "the stop signal is SIGPWR"),
        (["app"], [], {"stop_signal": "SIGKILL"}, "the stop signal is SIGKILL"),
        (["app"], [], {"stop_signal": "SIGNONE"}, "the stop signal is SIGNONE"),
        (["app"], ["spring.port"], {}, "a shell would not hand down the variable spring.port"),
        (["app"], ["PWD"], {}, "a shell would not hand down the variable PWD"),
    ],
)
def test_what_a_shell_would_change_is_not_supervised(
    entry: list[str], env: list[str], options: dict[str, Any], reason: str
) -> None:
    assert supports(entry, env, **{"has_shell": True, **options}) == reason


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (None, 15),
        ("", 15),
        ("SIGTERM", 15),
        ("quit", 3),
        ("28", 28),
        ("SIGUSR1", 10),
        ("SIGRTMIN+3", 37),
        ("RTMAX-2", 62),
        ("RTMAX", 64),
        ("SIGRTMAX+1", None),
        ("65", None),
        ("0", None),
        ("SIGHUH", None),
    ],
)
def test_signals_are_numbered_as_linux_does(name: str | None, number: int | None) -> None:
    assert signal_number(name) == number


def test_a_wrapped_command_can_be_told_and_unwrapped() -> None:
    entrypoint, command = wrap(["run", "it"])
    assert is_wrapped((*entrypoint, *command))
    assert unwrap((*entrypoint, *command)) == ("run", "it")
    assert unwrap(("run", "it")) == ("run", "it")
    assert not is_wrapped(("sh", "-c", "x"))


def test_tini_is_told_that_it_is_not_the_first() -> None:
    assert wrap(["/usr/bin/tini", "--", "app"])[1] == ("/usr/bin/tini", "-s", "--", "app")


def test_nothing_is_left_to_fill_in() -> None:
    assert "@" not in wrap(["app"])[0][2].replace('"$@"', "")


# ------------------------------------------------------------------------------------------ real containers


def run_docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


class Box:
    """Containers of one image, each under the supervisor unless said otherwise."""

    def __init__(self, containers: Containers, wire: Wire, name: str, image: str) -> None:
        self.containers = containers
        self.wire = wire
        self.name = name
        self.image = image

    def run(self, *entry: str, supervised: bool = True, **body: object) -> str:
        stop = body.get("StopSignal")
        entrypoint, command = wrap(entry, stop_signal=stop if isinstance(stop, str) else None)
        if not supervised:
            entrypoint, command = tuple(entry), ()
        made = self.wire.json(
            "POST",
            "/containers/create",
            {"Image": self.image, "Entrypoint": entrypoint, "Cmd": command, **body},
            {"name": self.name},
        )
        self.wire.json("POST", f"/containers/{made['Id']}/start")
        return str(made["Id"])

    def restart(self, grace_seconds: float = 10.0) -> float:
        return restart_in_place(self.containers, self.name, grace_seconds=grace_seconds, wire=self.wire)

    def generation(self) -> Generation | None:
        return generation(self.containers, self.name, wire=self.wire)

    def logs(self) -> list[str]:
        done = subprocess.run(["docker", "logs", self.name], check=True, capture_output=True, text=True)
        return (done.stdout + done.stderr).splitlines()

    def until_logged(self, *lines: str) -> None:
        until(lambda: self.logs() == list(lines), lambda: str(self.logs()))

    def exit_code(self) -> int:
        return int(run_docker("wait", self.name))

    def kill(self, name: str) -> None:
        run_docker("kill", "--signal", name, self.name)

    def remove(self) -> None:
        run_docker("rm", "-f", self.name)


def until(claim: Callable[[], bool], say: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline, say()
        time.sleep(0.02)


# Each base has another shell, and another way to undo what a shell does to a background child.
DASH = f"FROM {PYTHON}\n"
BASH = f"FROM {PYTHON}\nRUN ln -sf bash /bin/sh\n"
ASH = f"FROM {BUSYBOX}\n"
ASH_PYTHON = (
    f"FROM {PYTHON}\nCOPY --from={BUSYBOX} /bin/busybox /bin/busybox\n"
    "RUN ln -sf busybox /bin/sh && ln -sf /bin/busybox /usr/bin/env\n"
)
OLD_DASH = f"FROM {PYTHON}\nRUN rm /usr/bin/env\n"


@pytest.fixture(scope="module")
def build(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    made: dict[str, str] = {}

    def build_once(dockerfile: str) -> str:
        if dockerfile not in made:
            folder: Path = tmp_path_factory.mktemp("image")
            (folder / "Dockerfile").write_text(f"{dockerfile}LABEL io.devloop.test=1\n")
            name = f"devloop-test-supervisor-{len(made)}"
            run_docker("build", "-q", "-t", name, str(folder))
            made[dockerfile] = name
        return made[dockerfile]

    yield build_once
    for name in made.values():
        run_docker("image", "rm", "-f", name)


@pytest.fixture
def box(
    engine: dict[str, str], unique_name: str, build: Callable[[str], str], request: pytest.FixtureRequest
) -> Iterator[Box]:
    containers = Containers.connect()
    wire = Wire(containers.engine)
    yield Box(containers, wire, unique_name, build(getattr(request, "param", DASH)))
    wire.close()
    containers.close()


every_shell = pytest.mark.parametrize(
    "box",
    [
        pytest.param(DASH, id="dash"),
        pytest.param(BASH, id="bash"),
        pytest.param(ASH, id="busybox"),
        pytest.param(ASH_PYTHON, id="busybox-in-debian"),
    ],
    indirect=True,
)
pythons = pytest.mark.parametrize(
    "box",
    [pytest.param(DASH, id="dash"), pytest.param(BASH, id="bash"), pytest.param(ASH_PYTHON, id="busybox")],
    indirect=True,
)


@every_shell
def test_a_restart_ends_the_old_process_and_starts_a_new_one(box: Box) -> None:
    ident = box.run("sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    box.until_logged("up")
    assert box.generation() == Generation(is_odd=True)
    for count in range(1, 4):
        box.restart()
        box.until_logged(*["up", "bye"] * count, "up")
    facts = box.containers.inspect(ident)
    assert facts is not None
    assert facts.is_running
    assert unwrap(facts.command)[0] == "sh"


@every_shell
@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 127", 127), ("kill -9 $$", 137)]
)
def test_a_process_that_ends_by_itself_ends_the_container_with_its_code(
    box: Box, script: str, code: int
) -> None:
    box.run("sh", "-c", f"sleep 0.3; {script}")
    assert box.exit_code() == code
    assert box.logs() == []


@every_shell
def test_a_command_that_is_not_there_ends_the_container_as_a_shell_would(box: Box) -> None:
    box.run("no-such-command")
    assert box.exit_code() == 127
    assert "no-such-command" in "".join(box.logs())


@every_shell
def test_a_new_process_that_dies_is_a_crash(box: Box) -> None:
    box.run("sh", "-c", "[ -e /tmp/once ] && exit 5; mkdir -p /tmp; : >/tmp/once; echo up; exec sleep 600")
    box.until_logged("up")
    box.restart()
    assert box.exit_code() == 5


@every_shell
def test_a_process_that_ignores_the_stop_signal_is_killed_after_the_grace_period(box: Box) -> None:
    box.run("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    box.until_logged("up")
    seconds = box.restart(grace_seconds=0.3)
    assert seconds >= 0.3
    box.until_logged("up", "up")


@every_shell
def test_what_the_old_process_left_behind_is_gone_and_what_was_executed_stays(box: Box) -> None:
    script = (
        "(trap '' TERM; exec sleep 601) & setsid sh -c 'sleep 602 & sleep 603 &'; echo up; exec sleep 600"
    )
    box.run("sh", "-c", script)
    run_docker("exec", "-d", box.name, "sleep", "604")
    box.until_logged("up")

    def sleepers() -> list[str]:
        show = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done"
        return sorted(
            line
            for line in run_docker("exec", box.name, "sh", "-c", show).splitlines()
            if line[:6] == "sleep "
        )

    expected = [f"sleep {number} " for number in (600, 601, 602, 603, 604)]
    until(lambda: sleepers() == expected, lambda: str(sleepers()))
    box.restart()
    box.until_logged("up", "up")
    # The new one has its own, and the executed one is still there.
    until(lambda: sleepers() == expected, lambda: str(sleepers()))


@every_shell
def test_signals_are_passed_on(box: Box) -> None:
    names = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT", "ALRM", "PIPE", "TSTP", "URG"]
    traps = "; ".join(f"trap 'echo {name}' {name}" for name in names)
    box.run("sh", "-c", f"{traps}; echo up; while :; do sleep 0.05; done")
    box.until_logged("up")
    for count, name in enumerate(names, start=1):
        box.kill(name)
        box.until_logged("up", *names[:count])


@pytest.mark.parametrize("box", [pytest.param(BASH, id="bash"), pytest.param(DASH, id="dash")], indirect=True)
def test_real_time_signals_are_passed_on(box: Box) -> None:
    box.run("bash", "-c", "trap 'echo got; exit 3' RTMIN+3; echo up; while :; do sleep 0.05; done")
    box.until_logged("up")
    box.kill("RTMIN+3")
    assert box.exit_code() == 3


@every_shell
def test_a_stop_sends_the_images_signal_and_its_code_comes_back(box: Box) -> None:
    box.run(
        "sh",
        "-c",
        "trap 'echo quit; exit 4' QUIT; echo up; while :; do sleep 0.05; done",
        StopSignal="SIGQUIT",
    )
    box.until_logged("up")
    box.restart()
    box.until_logged("up", "quit", "up")
    run_docker("stop", "-t", "10", box.name)
    assert box.exit_code() == 4
    assert box.logs() == ["up", "quit", "up", "quit"]


@every_shell
def test_a_process_without_a_handler_stops_at_once(box: Box) -> None:
    box.run("sleep", "600")
    until(lambda: box.generation() is not None)
    run_docker("stop", "-t", "60", box.name)
    assert box.exit_code() == 143


LOOK = """
import json, os, signal, sys
numbers = (n for n in range(1, 65) if n not in (9, 19, 32, 33))
ignored = sorted(n for n in numbers if signal.getsignal(n) == signal.SIG_IGN)
print(json.dumps({
    "env": dict(os.environ), "cwd": os.getcwd(), "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "umask": os.umask(0), "argv": sys.argv, "fds": sorted(os.listdir("/proc/self/fd")),
    "stdin": os.readlink("/proc/self/fd/0"), "group": os.getpgrp(), "session": os.getsid(0),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "ignored": ignored,
    "status": [line for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew", "Sig"))][2:4],
}))
"""


@pythons
@pytest.mark.parametrize("user", ["", "1234:77"])
def test_the_process_sees_nothing_of_the_supervisor(box: Box, user: str) -> None:
    body: dict[str, object] = {
        "User": user,
        "WorkingDir": "/usr/share",
        "Hostname": "box",
        "Env": ["ODD= a  b'\"$x`", "EMPTY=", "LINES=1\n2"],
    }
    seen = []
    for supervised in (False, True):
        box.run("python3", "-c", LOOK, "a b", "", "*", "$x", supervised=supervised, **body)
        assert box.exit_code() == 0, box.logs()
        seen.append(json.loads("\n".join(box.logs())))
        box.remove()
    assert seen[0] == seen[1]


@pythons
def test_what_comes_by_standard_input_arrives(box: Box) -> None:
    entrypoint, command = wrap(["python3", "-c", "import sys; print(sys.stdin.read().upper())"])
    made = box.wire.json(
        "POST",
        "/containers/create",
        {"Image": box.image, "Entrypoint": entrypoint, "Cmd": command, "OpenStdin": True, "StdinOnce": True},
        {"name": box.name},
    )
    done = subprocess.run(
        ["docker", "start", "-ai", made["Id"]], input=b"hello", check=True, capture_output=True, timeout=60
    )
    assert done.stdout.strip() == b"HELLO"


@pythons
def test_a_server_is_served_anew_on_its_port(box: Box) -> None:
    script = (
        "import http.server, os, signal, sys\n"
        "if os.fork() == 0: signal.pause()\n"
        "print('up', flush=True)\n"
        "http.server.ThreadingHTTPServer(('', 8000), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    ident = box.run("python3", "-c", script, ExposedPorts={"8000/tcp": {}}, User="1234")
    health = box.containers.wait_healthy(ident)
    assert health.ok, health
    for _ in range(3):
        box.restart()
        health = box.containers.wait_healthy(ident)
        assert health.ok, health


@pytest.mark.parametrize("box", [pytest.param(OLD_DASH, id="dash-without-env")], indirect=True)
def test_where_nothing_undoes_what_a_shell_does_the_supervisor_steps_aside(box: Box) -> None:
    box.run("sh", "-c", "trap 'exit 3' TERM; echo up $$; while :; do sleep 0.05; done")
    box.until_logged("up 1")
    assert box.generation() is None
    with pytest.raises(CannotRestart, match="no supervisor is at work"):
        box.restart()
    run_docker("stop", box.name)
    assert box.exit_code() == 3


def test_a_container_without_a_supervisor_or_that_does_not_run_is_refused(box: Box) -> None:
    box.run("sleep", "600", supervised=False)
    with pytest.raises(CannotRestart, match="made without a supervisor"):
        box.restart()
    run_docker("kill", box.name)
    with pytest.raises(CannotRestart, match="does not run"):
        box.restart()
    assert box.generation() is None


def test_the_generation_can_be_seen_from_afar(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.run("sleep", "600")
    until(lambda: box.generation() is not None)
    monkeypatch.setattr(Containers, "is_local", False)
    assert box.generation() == Generation(is_odd=True)
    box.restart()
    assert box.generation() == Generation(is_odd=False)


def test_a_shell_in_an_image_is_found_without_running_it(box: Box) -> None:
    assert has_shell(box.containers, box.image)
    assert MARK not in run_docker(
        "ps", "-a", "--no-trunc", "--format", "{{.Command}}", "-f", f"name={box.name}"
    )
