"""`scripts/engine` where it must start nothing: a stand-in for the docker client says what answers."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "engine"

# Answers as far as the files beside it say so.
FAKE_DOCKER = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case "$1" in
    version) [ -e "$here/answers" ] && echo 99.0 ;;
    buildx | compose) [ -e "$here/$1" ] ;;
    image) [ -e "$here/image" ] ;;
    pull) [ -e "$here/registry" ] && echo pulling ;;
    *) exit 64 ;;
esac
"""


class Machine:
    """A machine with a docker client of its own; `has` says what the client finds."""

    def __init__(self, folder: Path, *has: str, system: str = "ID=fedora\nVERSION_ID=42\n") -> None:
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.home = folder / "home"
        client = self.programs / "docker"
        client.write_text(FAKE_DOCKER)
        client.chmod(0o755)
        for name in has:
            (self.programs / name).touch()
        (folder / "os-release").write_text(system)
        self.environ = {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "DEVLOOP_ENGINE_HOME": str(self.home),
            "DEVLOOP_ENGINE_RUN": str(folder / "run"),
            "DEVLOOP_ENGINE_OS_RELEASE": str(folder / "os-release"),
        }

    def engine(self, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(SCRIPT), *words],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        return (self.programs / "calls").read_text().splitlines()


def test_an_engine_that_answers_is_used_and_nothing_is_set_up(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "answers", "buildx", "compose")
    up = machine.engine("up")
    assert (up.returncode, up.stdout) == (0, "")
    assert "99.0" in up.stderr
    assert not machine.home.exists()
    assert not (tmp_path / "run").exists()


def test_the_environment_of_an_own_engine_needs_no_lines(tmp_path: Path) -> None:
    env = Machine(tmp_path, "answers").engine("env")
    assert (env.returncode, env.stdout, env.stderr) == (0, "", "")


def test_a_client_without_buildx_is_told_what_is_missing(tmp_path: Path) -> None:
    up = Machine(tmp_path, "answers", "compose").engine("up")
    assert up.returncode == 1
    assert "no buildx" in up.stderr


def test_a_client_without_compose_is_only_noted(tmp_path: Path) -> None:
    up = Machine(tmp_path, "answers", "buildx").engine("up")
    assert up.returncode == 0
    assert "no compose" in up.stderr


def test_another_system_without_an_engine_is_told_what_to_install(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    up = machine.engine("up", DOCKER_HOST="unix:///nowhere.sock")
    assert up.returncode == 1
    assert "DOCKER_HOST=unix:///nowhere.sock" in up.stderr
    assert "not Debian 12 or 13" in up.stderr
    assert len(up.stderr.splitlines()) == 1
    assert not machine.home.exists()


@pytest.mark.parametrize("words", [("env",), ("run", "true"), ("base", "python:3.11-slim")])
def test_commands_that_need_an_engine_say_how_to_start_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    result = Machine(tmp_path).engine(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert "scripts/engine up" in result.stderr


def test_status_tells_by_its_exit_code_whether_an_engine_answers(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    silent = machine.engine("status")
    assert (silent.returncode, silent.stdout) == (1, "no engine answers\n")
    (machine.programs / "answers").touch()
    answering = machine.engine("status")
    assert (answering.returncode, answering.stdout) == (0, "own engine 99.0\n")


def test_down_without_a_private_engine_touches_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "answers")
    down = machine.engine("down", "--purge")
    assert down.returncode == 0
    assert not (machine.programs / "calls").exists()


def test_run_hands_over_words_and_exit_code(tmp_path: Path) -> None:
    run = Machine(tmp_path, "answers").engine("run", "sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "")
    assert (run.returncode, run.stdout) == (7, "a b||")


def test_an_image_that_is_there_is_not_pulled(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "answers", "image", "registry")
    base = machine.engine("base", "example/base:1")
    assert (base.returncode, base.stderr) == (0, "")
    assert not any(call.startswith("pull") for call in machine.calls)


def test_an_image_that_a_registry_has_is_pulled(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "answers", "registry")
    base = machine.engine("base", "example/base:1")
    assert base.returncode == 0
    assert "pull example/base:1" in machine.calls


def test_an_image_without_registry_or_stand_in_is_an_error_that_names_it(tmp_path: Path) -> None:
    base = Machine(tmp_path, "answers").engine("base", "example/base:1")
    assert base.returncode == 1
    assert "example/base:1" in base.stderr


def test_a_stand_in_is_not_attempted_away_from_debian(tmp_path: Path) -> None:
    base = Machine(tmp_path, "answers").engine("base", "python:3.11-slim")
    assert base.returncode == 1
    assert "only root on Debian 12 or 13" in base.stderr


def test_every_stand_in_that_is_named_can_be_made(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    usage = machine.engine("help").stdout
    listed = usage.partition("Stand-ins: ")[2].partition(".\n\n")[0].replace("\n", " ")
    named = [one for one in listed.split(", ") if not one.startswith("devloop-test-busybox")]
    assert {"golang:1.19-bookworm", "maven:3.8-eclipse-temurin-17", "debian:bookworm-slim"} <= set(named)
    (machine.programs / "answers").touch()
    for image in named:
        base = machine.engine("base", image)
        assert (base.returncode, "there is no stand-in" in base.stderr) == (1, False), base.stderr
        assert "only root on Debian" in base.stderr


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-x"])
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str) -> None:
    assert Machine(tmp_path).engine("status", DEVLOOP_ENGINE_NAME=name).returncode == 1


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    result = Machine(tmp_path).engine("start")
    assert result.returncode == 2
    assert "Usage:" in result.stderr


def test_the_script_names_no_host_to_fetch_from() -> None:
    assert not re.search(r"\w://\w", SCRIPT.read_text())
