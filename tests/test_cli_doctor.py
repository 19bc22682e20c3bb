"""`devloop doctor` on the command line, without an engine: what it prints, writes, refuses and returns."""

from __future__ import annotations

import io
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.cli import run
from support.doctor import written

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.doctor.examine import Fixes
    from devloop.doctor.report import Examination
    from devloop.project.workspace import Workspace

DOCKERFILE = "FROM python:3.12-slim\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\n"
FIXED_ORDER = [
    "COPY requirements.txt ./",
    "RUN --mount=type=cache,target=/root/.cache/pip \\",
    "    pip install -r requirements.txt",
    "COPY . .",
]
FILES = {"requirements.txt": "flask\n", "a.py": "1\n", ".dockerignore": ".git\nDockerfile\n.dockerignore\n"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    return written(tmp_path / "shop", DOCKERFILE, FILES)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def with_history(project: Path, commits: int = 6) -> Path:
    git(project, "init")
    for number in range(commits):
        (project / "a.py").write_text(f"{number}\n")
        git(project, "add", "-A")
        git(project, "commit", "-m", f"commit {number}")
    return project


def doctor(*arguments: object) -> int:
    return run(["doctor", "--no-build", *(str(one) for one in arguments)])


def test_findings_are_weighed_by_the_commits_of_people(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--json", with_history(project)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["commits"] == 5
    first = found["findings"][0]
    assert (first["code"], first["runs_a_week"], first["seconds_a_week"]) == (
        "source-before-install",
        5.0,
        100.0,
    )
    assert found["built"] is False


def test_without_a_history_that_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(project) == 0
    text = capsys.readouterr().out
    assert "how often each runs is not known" in " ".join(text.split())
    assert "20s a run" in text


def test_fix_writes_every_change_and_keeps_what_was_there(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--fix", with_history(project)) == 0
    assert (project / "Dockerfile").read_text().splitlines()[2:] == FIXED_ORDER
    (kept,) = (tmp_path / "state" / "backups").rglob("Dockerfile")
    assert kept.read_text() == DOCKERFILE
    assert str(kept) in capsys.readouterr().out.replace("\n", "")


def test_fix_leaves_a_file_alone_that_git_calls_dirty(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dirty = f"# mine\n{DOCKERFILE}"
    (with_history(project) / "Dockerfile").write_text(dirty)
    assert doctor("--fix", project) == 1
    assert "git does not have" in capsys.readouterr().err
    assert (project / "Dockerfile").read_text() == dirty
    assert doctor("--fix", "--force", project) == 0
    assert (project / "Dockerfile").read_text().startswith("# mine\n")
    assert (project / "Dockerfile").read_text() != dirty


def test_the_diff_is_what_fix_would_write(project: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert doctor("--diff", project) == 0
    subprocess.run(["git", "apply", "-"], cwd=project, input=capsysbinary.readouterr().out, check=True)
    applied = (project / "Dockerfile").read_text()
    (project / "Dockerfile").write_text(DOCKERFILE)
    assert doctor("--fix", project) == 0
    assert (project / "Dockerfile").read_text() == applied != DOCKERFILE


@pytest.mark.parametrize(("seconds", "status"), [("10", 4), ("1000", 0)])
def test_the_exit_status_is_for_ci(project: Path, seconds: str, status: int) -> None:
    assert doctor("--fail-over", seconds, with_history(project)) == status


@pytest.mark.parametrize("place", ["comment", "configuration"])
def test_what_is_silenced_is_counted_and_not_shown(
    project: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    if place == "comment":
        text = DOCKERFILE.replace("COPY . .", "# devloop: ignore=source-before-install\nCOPY . .")
        (project / "Dockerfile").write_text(text)
    else:
        (project / "devloop.toml").write_text('[doctor]\nignore = ["source-before-install"]\n')
    assert doctor("--json", project) == 0
    found = json.loads(capsys.readouterr().out)
    assert "source-before-install" not in {one["code"] for one in found["findings"]}
    assert found["silenced"] == 1


def test_a_broken_dockerfile_is_an_error_with_its_place(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPPY a b\n")
    assert doctor(project) == 1
    assert "Dockerfile:2:1" in capsys.readouterr().err


def test_two_ways_of_printing_at_once_are_refused(project: Path) -> None:
    assert doctor("--json", "--sarif", project) == 2


def test_sizes_are_measured_by_building_or_not_at_all(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor("--measure", project) == 2
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project}/nothing.sock")
    assert run(["doctor", "--measure", str(project)]) == 1
    assert "nothing.sock" in capsys.readouterr().err
    assert run(["doctor", str(project)]) == 0


def test_a_history_that_is_too_short_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(with_history(project, commits=4)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "only 3 commits change what this Dockerfile reads" in text
    assert "20s a run" in text


def test_fix_writes_two_changes_of_one_ignore_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    text = "FROM node:20\nWORKDIR /app\nCOPY package.json ./\nRUN npm install\nCOPY . .\n"
    files = {
        "package.json": "{}",
        "server.js": "1",
        "node_modules/a/index.js": "x" * 2_000_000,
        ".env": "API_TOKEN=abcdef0123\n",
    }
    project = written(tmp_path / "web", text, files)
    assert doctor("--fix", project) == 0
    assert set((project / ".dockerignore").read_text().split()) >= {".env", "**/node_modules"}
    capsys.readouterr()
    assert doctor("--fix", project) == 0
    assert capsys.readouterr().out.strip() == "there is nothing to fix"


def test_fix_leaves_a_file_alone_that_a_dirty_ignore_file_is_a_link_to(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "shared").mkdir()
    (project / ".dockerignore").rename(project / "shared/ignored")
    (project / ".dockerignore").symlink_to("shared/ignored")
    (project / "shared/ignored").write_text("nothing\n")
    written(with_history(project), DOCKERFILE, {"node_modules/a.js": "1", "package.json": "{}"})
    (project / "shared/ignored").write_text("mine\n")
    assert doctor("--fix", project) == 1
    assert ".dockerignore has changes that git does not have" in capsys.readouterr().err
    assert (project / "shared/ignored").read_text() == "mine\n"


def test_fix_asks_git_of_each_file_even_where_one_lies_outside_of_the_repository(
    project: Path, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    (project / ".dockerignore").unlink()
    project.rename(context)
    written(tmp_path / "build", DOCKERFILE, {})
    git(tmp_path / "build", "init")
    git(tmp_path / "build", "add", "-A")
    git(tmp_path / "build", "commit", "-m", "one")
    dirty = f"# mine\n{DOCKERFILE}"
    (tmp_path / "build/Dockerfile").write_text(dirty)
    assert doctor("--fix", "--context", "../context", tmp_path / "build") == 1
    assert (tmp_path / "build/Dockerfile").read_text() == dirty


def test_fix_writes_nothing_over_what_was_saved_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import devloop.doctor.examine as module

    def slowly(workspace: Workspace, examination: Examination, proving: module.Proving, limit: int) -> Fixes:
        found = carry_out(workspace, examination, proving, limit=limit)
        (project / "Dockerfile").write_text("# saved meanwhile\n")
        return found

    carry_out = module.fix
    monkeypatch.setattr(module, "fix", slowly)
    assert doctor("--fix", with_history(project)) == 1
    assert (project / "Dockerfile").read_text() == "# saved meanwhile\n"
    assert doctor("--fix", "--force", written(project, DOCKERFILE, {})) == 1
    assert "was changed while it was examined; nothing was written" in capsys.readouterr().err


def test_two_copies_of_one_second_are_both_kept(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devloop.cli_doctor.time.strftime", lambda _form: "20260101T000000")
    assert doctor("--fix", project) == 0
    assert doctor("--fix", written(project, f"# other\n{DOCKERFILE}", {})) == 0
    kept = (tmp_path / "state" / "backups").rglob("Dockerfile")
    assert sorted(one.read_text() for one in kept) == sorted([DOCKERFILE, f"# other\n{DOCKERFILE}"])


def test_what_cannot_be_written_is_no_bug(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: Path, _content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("devloop.cli_doctor._replace", refuse)
    assert doctor("--fix", project) == 1
    assert "Dockerfile cannot be written: Permission denied" in capsys.readouterr().err


def test_a_dockerfile_from_standard_input_is_not_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    typed = io.TextIOWrapper(io.BytesIO(DOCKERFILE.encode()))
    monkeypatch.setattr("sys.stdin", typed)
    assert doctor("--fix", "-f", "-", project) == 2
    (project / "Dockerfile").unlink()
    assert doctor("--diff", "-f", "-", project) == 0
    assert capsysbinary.readouterr().out.startswith(b"--- a/Dockerfile\n")


@pytest.mark.parametrize("place", [".", "sub folder"])
def test_the_diff_applies_where_it_was_asked_for(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], place: str
) -> None:
    (project / ".dockerignore").unlink()
    (project / "sub folder/node_modules").mkdir(parents=True)
    (project / "Dockerfile").rename(project / "sub folder/Dockerfile")
    git(project, "init")
    monkeypatch.chdir(project / place)
    folder = project / "sub folder"
    assert doctor("--diff", "--context", "..", folder) == 0
    printed = capsysbinary.readouterr()
    # What lies above a folder can only be applied further up, and that is said.
    assert (f"begin at {project}".encode() in printed.err) == (place != ".")
    subprocess.run(["git", "apply", "-"], cwd=project, input=printed.out, check=True)
    assert (project / ".dockerignore").read_text().startswith(".git\n")
    assert folder.joinpath("Dockerfile").read_text() != DOCKERFILE


def test_an_empty_ignore_file_is_no_new_one_to_the_diff(
    project: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    (project / ".dockerignore").write_text("")
    (project / ".git").mkdir()
    (project / ".git/HEAD").write_text("ref: refs/heads/main\n")
    assert doctor("--diff", project) == 0
    assert b"--- a/.dockerignore\n+++ b/.dockerignore\n" in capsysbinary.readouterr().out


def test_sarif_names_the_dockerfile_as_the_repository_does(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "my shop"
    written(folder, DOCKERFILE, {"requirements.txt": "flask\n"})
    git(project, "init")
    assert doctor("--sarif", folder) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"]
    places = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in found["results"]}
    assert places == {"my%20shop/Dockerfile"}


def test_a_hook_of_another_repository_does_not_lend_its_history(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = with_history(written(tmp_path / "other", DOCKERFILE, FILES), commits=12)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    with monkeypatch.context() as outside:
        outside.delenv("GIT_DIR")
        outside.delenv("GIT_INDEX_FILE")
        with_history(project)
    assert doctor("--json", project) == 0
    assert json.loads(capsys.readouterr().out)["commits"] == 5
