"""The command line, in this process and as a process: what it prints where, and how it ends."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from devloop import __version__, cli_options, planning
from devloop.cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = subprocess.CompletedProcess[bytes]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text(
        "FROM python:3.12\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
    )
    (root / "requirements.txt").write_text("flask\n")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def devloop(project: Path, state_dir: Path) -> Callable[..., Run]:
    """Run the command as a process in the project's folder, without a terminal."""

    def start(*arguments: str, **environ: str) -> Run:
        command = [sys.executable, "-m", "devloop", *arguments]
        clean = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
        return subprocess.run(
            command,
            cwd=project,
            env={**clean, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    return start


Streams = pytest.CaptureFixture[str]


# How it ends


def test_a_plan_ends_with_0(project: Path, capsys: Streams) -> None:
    assert run(["plan", "requirements.txt"]) == 0
    found = capsys.readouterr()
    assert "requirements.txt" in found.out
    assert found.err == ""


def test_a_known_error_ends_with_1_and_says_what_to_do_on_stderr(tmp_path: Path, capsys: Streams) -> None:
    assert run(["plan", "-C", str(tmp_path)]) == 1
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.splitlines() == [
        f"devloop: error: there is no Dockerfile in {tmp_path}",
        "  run devloop in the folder of a Dockerfile, or name one with --file path/to/Dockerfile",
    ]


def test_a_mistyped_key_is_a_known_error(project: Path, capsys: Streams) -> None:
    (project / "devloop.toml").write_text("nmae = 'x'\n")
    assert run(["plan"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "devloop: error: devloop.toml: unknown key 'nmae'",
        "  did you mean 'name'?",
    ]


def test_a_broken_dockerfile_is_shown_with_its_line(project: Path, capsys: Streams) -> None:
    (project / "Dockerfile").write_text("FORM python\n")
    assert run(["plan"]) == 1
    assert "FORM python\n    ^" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--wrong"], "--wrong"),
        (["plqn"], "plqn"),
        (["watch", "--output", "loud"], "must be auto, live, plain or json"),
        (["watch", "--build-arg", "=x"], "'=x' has no name"),
        (["watch", "--env", "=x"], "'=x' has no name"),
        (["watch", "--build-context", "app"], "'app' has no path"),
        (["plan", "--target"], "--target"),
        (["watch", "--target", "dev"], "no stage of Dockerfile is named 'dev' (none has a name)"),
        (["build", "--target", "dev"], "no stage of Dockerfile is named 'dev'"),
        (["watch", "--env-file", ".env"], "the environment file .env cannot be read"),
        (["watch", "--publish", "abc"], "cannot publish 'abc'"),
        (["watch", "--build-context", "app=nowhere"], "app: there is no folder nowhere"),
    ],
)
def test_wrong_usage_ends_with_2_on_stderr(
    project: Path, capsys: Streams, arguments: list[str], words: str
) -> None:
    assert run(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert words in found.err


def test_an_env_file_of_the_command_line_whose_text_is_wrong_is_the_sessions_to_say(
    project: Path, capsys: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    (project / ".env").write_bytes(b"NAME=\xff\n")
    assert run(["watch", "--once", "--output", "json", "--env-file", ".env"]) == 1
    assert "session_started" in capsys.readouterr().out


def test_a_bug_ends_with_3_and_a_log_that_only_the_user_can_read(
    project: Path, state_dir: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(planning, "plan_work_tree", broken)
    assert run(["plan"]) == 3
    [log] = state_dir.glob("bug-*.log")
    assert capsys.readouterr().err.splitlines() == [
        "devloop: bug: ZeroDivisionError: a bug",
        f"  the details are in {log}",
    ]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert text.startswith(f"devloop {__version__}, Python ")
    assert text.endswith("ZeroDivisionError: a bug\n")


def test_the_log_of_a_bug_goes_elsewhere_when_the_state_directory_cannot_be_written(
    project: Path, tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(planning, "plan_work_tree", broken)
    assert run(["plan"]) == 3
    [log] = tmp_path.glob("bug-*.log")
    assert str(log) in capsys.readouterr().err


def test_ctrl_c_ends_with_130(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan_work_tree", interrupted)
    assert run(["plan"]) == 130


def test_a_session_that_runs_already_is_a_known_error(project: Path, capsys: Streams) -> None:
    from devloop.loop.lock import SessionLock
    from devloop.project.discover import locate
    from devloop.project.memory import Memory
    from devloop.project.settings import Settings

    memory = Memory(locate(project, Settings()))
    lock = SessionLock(memory.folder, memory.project, "Dockerfile")
    try:
        assert run(["watch", "--output", "json"]) == 1
    finally:
        lock.close()
        memory.close()
    assert f"is already watching Dockerfile (process {os.getpid()})" in capsys.readouterr().err


def test_a_session_for_one_version_fails_without_an_engine(
    devloop: Callable[..., Run], tmp_path: Path
) -> None:
    done = devloop(
        "build", "--output", "json", DOCKER_HOST=f"unix://{tmp_path}/nobody.sock", DOCKER_CONTEXT=""
    )
    assert done.returncode == 1
    assert b"engine_missing" in done.stdout
    assert b"Traceback" not in done.stderr


# What it prints


def test_without_arguments_it_says_what_it_can_do(devloop: Callable[..., Run]) -> None:
    done = devloop()
    assert done.returncode == 2
    text = (done.stdout + done.stderr).decode()
    assert all(f"  {command} " in text for command in ("watch", "build", "plan", "layers", "stats", "config"))


def test_the_help_documents_the_exit_codes(devloop: Callable[..., Run]) -> None:
    done = devloop("--help")
    assert done.returncode == 0
    said = b" ".join(done.stdout.split())
    assert b"0 done, 1 a known error, 2 wrong usage, 3 a bug in devloop, 4 over the limit" in said


def test_the_version_is_printed_without_loading_the_command_line(devloop: Callable[..., Run]) -> None:
    done = devloop("--version")
    assert done.stdout.decode() == f"devloop {__version__}\n"
    code = "import sys; sys.argv = ['devloop', '--version']; from devloop.__main__ import main; main()"
    code += "; assert 'typer' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_the_version_is_printed_among_other_arguments(capsys: Streams) -> None:
    assert run(["--version", "plan"]) == 0
    assert capsys.readouterr().out == f"devloop {__version__}\n"


@pytest.mark.parametrize("command", ["plan", "layers"])
def test_there_is_no_colour_in_a_pipe(devloop: Callable[..., Run], command: str) -> None:
    assert b"\x1b" not in devloop(command).stdout
    assert b"\x1b" in devloop(command, FORCE_COLOR="1").stdout
    assert b"\x1b" not in devloop(command, FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "--json"], ["layers"], ["config"], ["stats"]])
def test_a_reader_that_left_is_no_reason_to_complain(
    project: Path, state_dir: Path, arguments: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "devloop", *arguments]
    try:
        done = subprocess.run(command, cwd=project, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_terminal_that_knows_only_ascii_gets_ascii(project: Path, devloop: Callable[..., Run]) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPY größe.txt /\n", encoding="utf-8")
    (project / "größe.txt").write_text("")
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments in (["plan"], ["plan", "größe.txt"], ["layers"], ["plan", "--json"]):
        done = devloop(*arguments, **bare)
        assert (done.returncode, done.stderr) == (0, b""), arguments
        assert done.stdout.isascii()


def test_an_error_survives_a_terminal_that_knows_only_ascii(devloop: Callable[..., Run]) -> None:
    done = devloop("plan", "--file", "größe", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert b"there is no file" in done.stderr
    assert b"gr??e" in done.stderr or b"gr?" in done.stderr


def test_a_path_that_is_no_text_is_planned(project: Path, devloop: Callable[..., Run]) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    name = os.fsdecode(b"caf\xe9.txt")
    (project / name).write_text("")
    for arguments in (["plan", name], ["plan", "--json", name], ["layers"]):
        done = devloop(*arguments)
        assert (done.returncode, done.stderr) == (0, b""), arguments


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_completion_for_the_shell(devloop: Callable[..., Run], shell: str) -> None:
    # The shell is named: what runs the tests need be none.
    done = devloop("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert b"devloop" in done.stdout


def test_completion_offers_the_commands(devloop: Callable[..., Run]) -> None:
    done = devloop(_DEVLOOP_COMPLETE="complete_bash", COMP_WORDS="devloop pl", COMP_CWORD="1")
    assert done.stdout.decode().split() == ["plan"]


# What the commands say


def test_the_json_of_a_plan_is_one_document(project: Path, capsys: Streams) -> None:
    assert run(["plan", "--json", "requirements.txt"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "devloop.plan/1"


def test_the_layers_say_what_feeds_a_step_and_which_is_expensive(project: Path, capsys: Streams) -> None:
    assert run(["layers"]) == 0
    copy, install = capsys.readouterr().out.splitlines()[2:4]
    assert "requirements.txt" in copy
    assert "RUN pip inst" in install
    assert "expensive" in install


def test_the_statistics_of_a_new_project_are_empty(project: Path, capsys: Streams) -> None:
    assert run(["stats"]) == 0
    assert run(["stats", "--misses"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("No build of this project is recorded yet")
    assert second.startswith("No prediction was contradicted")


def test_a_path_outside_finds_the_project_it_belongs_to(
    project: Path, tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["plan", "shop/requirements.txt"]) == 0
    assert "COPY requirements.txt" in capsys.readouterr().out


def test_a_flag_wins_over_the_configuration_file(project: Path, capsys: Streams) -> None:
    (project / "other").mkdir()
    (project / "devloop.toml").write_text("name = 'filed'\n")
    assert run(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["targets"][0]["name"] == "filed"
    _, settings, _ = cli_options.project_of(project, {"name": "flagged"})
    assert settings.name == "flagged"


def test_the_schema_of_the_configuration_is_printed(capsys: Streams) -> None:
    assert run(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "devloop.toml"


def test_a_dockerfile_can_come_through_standard_input(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    done = subprocess.run(
        [sys.executable, "-m", "devloop", "plan", "--file", "-", "a.txt", "--json"],
        cwd=tmp_path,
        input=b"FROM scratch\nCOPY a.txt /\n",
        capture_output=True,
        check=False,
        env={**os.environ, "DEVLOOP_STATE_DIR": str(tmp_path / "state")},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targets"][0]["earliest"] == {"line": 2, "instruction": "COPY"}


def test_a_port_that_is_none_is_said_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = subprocess.run(
        [sys.executable, "-m", "devloop", "watch", str(tmp_path), "--publish", "abc"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "DEVLOOP_STATE_DIR": str(tmp_path / "state")},
    )
    assert done.returncode == 2
    assert "'abc' is no port" in done.stderr
    assert done.stdout == ""


def test_why_of_a_name_that_is_no_path_and_no_step_is_an_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["why", "nosuchthing"]) == 1
    assert "'nosuchthing' is no file here, and no step begins like that" in capsys.readouterr().err


def test_a_revision_without_git_says_what_to_do_instead(project: Path, capsys: Streams) -> None:
    assert run(["plan", "--since", "main"]) == 1
    said = capsys.readouterr().err
    assert "is in no git repository" in said
    assert "devloop plan compares with the last build" in said


def test_the_help_lists_commands_from_the_daily_to_the_rare(capsys: Streams) -> None:
    assert run(["--help"]) == 0
    told = capsys.readouterr().out.partition("Commands:")[2].partition("Exit status")[0]
    names = [line.split()[0] for line in told.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    assert names == ["watch", "build", "plan", "why", "layers", "stats", "doctor", "replay", "ci", "config"]
