"""`devloop replay` and `devloop ci` from the command line, on repositories made here."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, TypeAlias

import pytest

from devloop import cli_replay
from devloop.cli import run
from devloop.doctor.replay import Commit, Replayer, fixed
from support.history import DAY, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import Incomplete

    Json: TypeAlias = Incomplete

GOOD = "FROM python:3.11\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n"
BAD = "FROM python:3.11\nCOPY . .\nRUN pip install -r requirements.txt\n"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Four commits of a person after the first one: three of main.py, one of the requirements."""
    made = Repository.new(tmp_path / "shop")
    made.commit(
        {"Dockerfile": GOOD, "requirements.txt": "flask\n", "main.py": "1", ".dockerignore": "docs\n"}
    )
    for number in range(2, 5):
        made.commit({"main.py": f"{number}", "docs/a.md": f"{number}"}, after=DAY)
    made.commit({"requirements.txt": "flask\nredis\n"}, author="dependabot[bot] <support@github.com>")
    made.commit({"requirements.txt": "flask\ncelery\n"})
    monkeypatch.chdir(made.root)
    return made


def document(capsys: pytest.CaptureFixture[str]) -> Json:
    out = capsys.readouterr().out
    assert out.isascii()
    return json.loads(out)


def steps(side: Json) -> list[tuple[str, int]]:
    return [(step["text"], step["runs"]) for step in side["steps"]]


# Replay


def test_replay_tells_the_steps_and_files_of_the_last_commits(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "--json"]) == 0
    found = document(capsys)
    assert found["schema"] == "devloop.replay/1"
    assert (found["commits"], found["weeks"], found["complete"], found["new"]) == (4, 1, True, None)
    assert found["left_out"] == {"bots": 1, "merges": 0, "unreadable": 1}
    assert steps(found["now"]) == [
        ("COPY requirements.txt .", 1),
        ("RUN pip install -r requirements.txt", 1),
        ("COPY . .", 4),
    ]
    assert [(file["path"], file["commits"]) for file in found["now"]["files"]] == [
        ("requirements.txt", 1),
        ("main.py", 3),
    ]
    assert found["now"]["seconds"] == pytest.approx(0.3 + 20.0 + 0.3 + 3 * 0.3)


def test_replay_reads_as_text(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("shop  replay of 4 commits, 2023-11-2")
    assert "1 commit of bots" in out
    assert "\x1b" not in out


def test_replay_takes_so_many_commits_or_those_since_a_revision(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "-n", "2", "--json"]) == 0
    assert document(capsys)["commits"] == 2
    assert run(["replay", "--since", "HEAD~2", "--json"]) == 0
    assert document(capsys)["commits"] == 1
    assert run(["replay", "-n", "0", "--json"]) == 0
    assert document(capsys)["commits"] == 4


def test_replay_sets_another_dockerfile_beside_todays(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.root / "Dockerfile.bad").write_text(BAD)
    assert run(["replay", "--file", "Dockerfile.bad", "--json"]) == 0
    found = document(capsys)
    assert (found["now"]["dockerfile"], found["new"]["dockerfile"]) == ("Dockerfile", "Dockerfile.bad")
    assert steps(found["new"]) == [("COPY . .", 4), ("RUN pip install -r requirements.txt", 4)]
    assert found["new"]["seconds"] == pytest.approx(4 * 20.3)


def test_a_dockerfile_to_compare_with_can_come_through_standard_input(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    assert run(["replay", "--file", "-", "--json"]) == 0
    found = document(capsys)
    assert found["new"]["dockerfile"] == "standard input"
    assert steps(found["new"])[1] == ("RUN pip install -r requirements.txt", 4)


def test_what_the_doctor_proposes_is_set_beside_todays_dockerfile(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit({"Dockerfile": BAD, ".dockerignore": ""})
    assert run(["replay", "--doctor", "--json"]) == 0
    found = document(capsys)
    assert found["new"]["dockerfile"] == "what doctor proposes"
    assert dict(steps(found["now"]))["RUN pip install -r requirements.txt"] == 5
    [install] = [runs for text, runs in steps(found["new"]) if "pip install" in text]
    assert install == 1
    assert (repository.root / "Dockerfile").read_text() == BAD, "nothing is written"


def test_where_the_doctor_proposes_nothing_replay_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Repository.new(tmp_path / "plain")
    made.commit({"Dockerfile": "FROM busybox:1.36\nCOPY a /a\n", "a": "1", ".dockerignore": ".git\n"})
    monkeypatch.chdir(made.root)
    assert run(["replay", "--doctor"]) == 1
    assert "the doctor has no change to propose" in capsys.readouterr().err
    assert run(["replay", "--doctor", "--file", "Dockerfile"]) == 2


@pytest.mark.parametrize("at", [1 << 60, -(1 << 60)])
def test_a_clock_that_was_far_off_does_no_harm(at: int) -> None:
    assert cli_replay._day(at) == "?"


def test_a_replay_loads_no_big_library(repository: Repository) -> None:
    program = (
        "import sys\nfrom devloop.cli import run\nassert run(['replay']) == 0\n"
        "print([m for m in ('pydantic', 'docker', 'rich', 'watchdog', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_proposal_is_replayed_with_todays_dockerfile_over_the_whole_history(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Edits of the Dockerfile in the history cost neither side anything but the file itself."""
    repository.commit({"Dockerfile": BAD})
    (repository.root / "Dockerfile.new").write_text(GOOD)
    assert run(["replay", "--file", "Dockerfile.new", "--json"]) == 0
    found = document(capsys)
    assert steps(found["now"]) == [("COPY . .", 5), ("RUN pip install -r requirements.txt", 5)]
    assert steps(found["new"])[1] == ("RUN pip install -r requirements.txt", 1)


def test_a_dockerfile_that_nobody_committed_is_taken_as_it_stands(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path / "elsewhere" / "Dockerfile"
    outside.parent.mkdir()
    outside.write_text(BAD)
    (repository.root / "Dockerfile").unlink()
    assert run(["replay", "--file", str(outside), "--json"]) == 0
    found = document(capsys)
    assert (found["fixed"], found["commits"], found["new"]) == (True, 4, None)
    assert steps(found["now"])[0] == ("COPY . .", 4)
    assert run(["replay", "--file", str(outside)]) == 0
    assert "HEAD has no such Dockerfile" in capsys.readouterr().out


def test_bots_are_a_setting(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    (repository.root / "devloop.toml").write_text("[replay]\nbots = ['ann@']\n")
    assert run(["replay", "--json"]) == 0
    found = document(capsys)
    assert (found["commits"], found["left_out"]["bots"]) == (1, 5)


def test_replay_without_a_repository_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "Dockerfile").write_text(GOOD)
    assert run(["replay", "-C", str(tmp_path / "alone")]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == f"devloop: error: {tmp_path / 'alone'} is in no git repository"
    assert captured.out == ""


def test_replay_without_git_says_so_in_one_line(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run(["replay"]) == 1
    assert capsys.readouterr().err.startswith("devloop: error: git is not installed\n")


def test_a_broken_dockerfile_to_compare_with_shows_its_line(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository.root / "Dockerfile.new").write_text("FROM a\nRNU x\n")
    assert run(["replay", "--file", "Dockerfile.new"]) == 1
    assert "Dockerfile.new:2" in capsys.readouterr().err


def test_a_shallow_clone_is_said(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.git("clone", "-q", "--depth", "3", f"file://{repository.root}", str(tmp_path / "clone"))
    assert run(["replay", "-C", str(tmp_path / "clone")]) == 0
    assert "shallow    older commits were left out of this clone" in capsys.readouterr().out


# Ctrl-C


def interrupted_after(number: int) -> Iterator[Commit]:
    for count in range(number + 3):
        if count == number:
            os.kill(os.getpid(), signal.SIGINT)
        yield Commit(str(count), "p", 0, "Ann", "", ())


@pytest.fixture
def _heard_interrupt() -> Iterator[None]:
    """Let Ctrl-C be heard, also where the tests were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard_interrupt")
def test_an_interrupt_leaves_all_replays_at_the_same_commit(repository: Repository) -> None:
    workspace = repository.workspace()
    from devloop.doctor.gitlog import replay_graph
    from devloop.planning import read_model

    graph = replay_graph(workspace, read_model(workspace))
    replayers = [Replayer(fixed(graph)), Replayer(fixed(graph))]
    assert not cli_replay.feed(interrupted_after(5), replayers, lambda: 8)
    assert [replayer.result().commits for replayer in replayers] == [6, 6]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored(repository: Repository) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli_replay.feed(interrupted_after(1), [], lambda: 4)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_known_is_told_after_an_interrupt(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def feed(commits: Iterator[Commit], replayers: list[Replayer], _how_many: object) -> bool:
        replayers[0].add(next(iter(commits)))
        return False

    monkeypatch.setattr(cli_replay, "feed", feed)
    assert run(["replay"]) == 130
    assert capsys.readouterr().out.startswith("shop  broken off after the newest 1 commit, ")
    assert run(["replay", "--json"]) == 130
    assert document(capsys)["complete"] is False


# Ci


@pytest.fixture
def branch(repository: Repository) -> Repository:
    """A branch that puts the source above the install, and brings a big file."""
    repository.git("checkout", "-q", "-b", "feature")
    repository.commit({"Dockerfile": BAD, "big": "x" * 5000})
    return repository


def test_ci_tells_what_became_dearer(branch: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ci", "--base", "main", "--json"]) == 0
    found = document(capsys)
    assert (found["schema"], found["verdict"], found["base"]) == ("devloop.ci/1", "dearer", "main")
    assert found["commit"] == branch.git("rev-parse", "main")
    assert [(edit["path"], edit["commits"]) for edit in found["edits"] if edit["more"]] == [
        ("main.py", 3),
        ("Dockerfile", 1),
        ("big", 1),
    ]
    assert found["context"]["after"] - found["context"]["before"] == 5000 + len(BAD) - len(GOOD)


def test_ci_compares_with_where_the_branch_began(
    branch: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    began = branch.git("rev-parse", "main")
    branch.git("checkout", "-q", "main")
    branch.commit({"Dockerfile": BAD})
    branch.git("checkout", "-q", "feature")
    assert run(["ci", "--base", "main", "--json"]) == 0
    found = document(capsys)
    assert (found["commit"], found["verdict"]) == (began, "dearer")


def test_ci_reads_commits_and_not_the_work_tree(
    branch: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    (branch.root / "Dockerfile").write_text(GOOD)
    assert run(["ci", "--base", "main", "--json"]) == 0
    assert document(capsys)["verdict"] == "dearer"


def test_ci_fails_when_an_edit_became_dearer_by_more_than_allowed(
    branch: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ci", "--base", "main", "--fail-over", "19"]) == 4
    assert "too dear" in capsys.readouterr().out
    assert run(["ci", "--base", "main", "--fail-over", "21"]) == 0
    assert "too dear" not in capsys.readouterr().out


def test_ci_of_a_branch_that_brings_the_dockerfile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Repository.new(tmp_path / "fresh")
    made.commit({"main.py": "1", "requirements.txt": ""})
    made.git("checkout", "-q", "-b", "feature")
    made.commit({"Dockerfile": BAD})
    assert run(["ci", "-C", str(made.root), "--base", "main", "--json"]) == 0
    found = document(capsys)
    assert (found["verdict"], found["seconds_a_week"]["before"]) == ("new", None)


def test_ci_says_that_head_has_no_dockerfile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Repository.new(tmp_path / "fresh")
    made.commit({"main.py": "1"})
    (made.root / "Dockerfile").write_text(BAD)
    assert run(["ci", "-C", str(made.root), "--base", "main"]) == 1
    assert "Dockerfile is not in HEAD" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--base", "nonsense"], ["--base", "-x"], ["--base", ""]])
def test_ci_says_that_a_base_is_unknown(
    repository: Repository, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ci", *arguments]) == 1
    assert "git knows no commit" in capsys.readouterr().err


def test_ci_takes_one_format(repository: Repository) -> None:
    assert run(["ci", "--base", "main", "--json", "--markdown"]) == 2
    assert run(["ci"]) == 2


def test_ci_writes_a_comment(branch: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ci", "--base", "main", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("### devloop: this branch makes the loop dearer\n")
    assert "| `main.py` | 3 |" in out
