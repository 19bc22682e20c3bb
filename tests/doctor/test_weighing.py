"""How often a finding's steps run for nothing: by git's commits, and by the builds that devloop saw here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.cost.history import BuildRecord, StepRecord
from devloop.cost.report import BuildAccount, StepAccount, account_to_json
from devloop.doctor.examine import examine
from devloop.doctor.weighing import too_few
from devloop.project.planner import step_key
from devloop.project.reading import Model
from support.history import DAY, MONDAY, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from devloop.doctor.report import Examination, Examined
    from devloop.project.workspace import Workspace

TEXT = "FROM python:3.12-slim\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\n"
FILES = {"Dockerfile": TEXT, "requirements.txt": "flask\n", "app.py": "0\n", "README.md": "0\n"}
PIP = 20.0
COPY = 0.3


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    made = Repository.new(tmp_path / "shop")
    made.commit(FILES)
    return made


@pytest.fixture
def workspace(repository: Repository) -> Iterator[Workspace]:
    made = repository.workspace()
    yield made
    made.memory.close()


def edited(repository: Repository, *names: str, times: int) -> None:
    for _ in range(times):
        repository.commit(dict.fromkeys(names, f"{repository.at}\n"))


def built(
    workspace: Workspace,
    changes: Sequence[str],
    *,
    ran: Sequence[int] = (3, 4),
    at: float = MONDAY,
    rule: str = "content",
    change_count: int | None = None,
    is_background: bool = False,
) -> None:
    """Record a build in which the steps on some lines ran after these changes."""
    model = workspace.read()
    assert isinstance(model, Model)
    steps = [step for step in model.graph.steps if step.keyword in {"COPY", "RUN"}]
    records = tuple(
        StepRecord(
            stage="stage-0",
            ordinal=step.ordinal,
            line=step.span.first,
            instruction=step.keyword,
            text=step.text,
            key=step_key(model.graph, step),
            kind=None,
            status="run" if step.span.first in ran else "cached",
            seconds=None,
        )
        for step in steps
    )
    accounts = tuple(StepAccount("run", 1.0, rule, "", next(iter(changes), None)) for _ in steps)
    count = len(changes) if change_count is None else change_count
    workspace.memory.record_build(
        BuildRecord(
            project=workspace.location.identity,
            dockerfile=str(workspace.location.dockerfile),
            target=workspace.settings.target,
            engine="docker",
            started_at=at,
            seconds=1.0,
            outcome="ok",
            context_bytes=None,
            export_seconds=None,
            metadata_seconds=None,
            steps=records,
            prediction=account_to_json(BuildAccount(accounts, tuple(changes), count, is_background)),
        )
    )


def only(found: Examination, code: str) -> Examined:
    (one,) = [one for one in found.findings if one.finding.code == code]
    return one


def shares(one: Examined) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    return tuple(None if tally is None else (tally.runs, tally.of) for tally in (one.commits, one.builds))  # type: ignore[return-value]  # of two


# Context


def test_commits_count_that_touch_only_what_the_ignore_file_would_keep_out(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "README.md", times=4)
    edited(repository, "app.py", times=5)
    edited(repository, "README.md", "app.py", times=2)
    one = only(examine(workspace), "no-ignore-file")
    assert shares(one) == ((4, 11), None)
    assert one.commits is not None
    assert one.commits.paths == ("README.md",)
    assert one.seconds_a_week == pytest.approx(4 * (PIP + COPY))
    assert one.finding.seconds == pytest.approx(PIP + COPY)


def test_a_commit_of_the_dockerfile_is_no_needless_run_since_its_new_text_may_run_the_steps_anyway(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "README.md", times=5)
    for number in range(3):
        repository.commit({"Dockerfile": f"{TEXT}# {number}\n"})
    found = examine(workspace)
    assert shares(only(found, "no-ignore-file")) == ((5, 8), None)
    assert shares(only(found, "source-before-install")) == ((5, 8), None)


def test_of_files_that_git_does_not_know_commits_say_nothing(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "app.py", times=6)
    (repository.root / ".dockerignore").write_text("README.md\nDockerfile\n.dockerignore\n.git\n")
    (repository.root / ".venv").mkdir()
    (repository.root / ".venv" / "pyvenv.cfg").write_text("home\n")
    one = only(examine(workspace), "context-junk")
    assert (shares(one), one.measure, one.seconds_a_week) == ((None, None), None, None)


def test_files_that_git_does_not_know_are_counted_beside_those_that_it_does(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "README.md", times=6)
    (repository.root / ".dockerignore").write_text("Dockerfile\n.dockerignore\n.git\n")
    (repository.root / ".venv").mkdir()
    (repository.root / ".venv" / "pyvenv.cfg").write_text("home\n")
    tally = only(examine(workspace), "context-junk").commits
    assert tally is not None
    assert (tally.runs, tally.of, tally.unknown) == (6, 6, 1)


def test_a_secret_that_git_does_not_know_is_told_by_the_builds(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "app.py", times=6)
    (repository.root / ".env").write_text("API_TOKEN=abcdef0123\n")
    for number in range(6):
        built(workspace, [".env"], at=MONDAY + number)
    one = only(examine(workspace), "secret-in-context")
    assert (shares(one), one.measure) == ((None, (6, 6)), "builds")


# Builds


def test_builds_tell_where_there_is_no_history_of_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.doctor import written

    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    written(tmp_path / "plain", TEXT, {name: text for name, text in FILES.items() if name != "Dockerfile"})
    workspace = Repository(tmp_path / "plain").workspace()
    for number in range(5):
        built(workspace, ["app.py"], at=MONDAY + number)
    found = examine(workspace)
    one = only(found, "source-before-install")
    assert (found.measure, found.commits, found.builds) == ("builds", None, 5)
    assert shares(one) == (None, (5, 5))
    assert one.seconds_a_week == pytest.approx(5 * PIP)
    workspace.memory.close()


def test_a_few_builds_stand_beside_the_commits_and_many_on_many_days_decide(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "app.py", times=6)
    for number in range(19):
        built(workspace, ["app.py"], at=MONDAY + number * DAY)
    assert examine(workspace).measure == "commits"
    built(workspace, ["requirements.txt"], at=MONDAY + 20 * DAY)
    found = examine(workspace)
    one = only(found, "source-before-install")
    assert (found.measure, one.measure, shares(one)) == ("builds", "builds", ((6, 6), (19, 20)))
    assert one.runs_a_week == pytest.approx(19 / 3)


def test_many_builds_of_one_afternoon_do_not_decide(repository: Repository, workspace: Workspace) -> None:
    edited(repository, "app.py", times=6)
    for number in range(40):
        built(workspace, ["app.py"], at=MONDAY + number)
    assert examine(workspace).measure == "commits"


def test_a_build_counts_only_for_steps_that_ran_in_it_and_for_changes_that_are_all_known(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "app.py", times=6)
    built(workspace, ["app.py"], ran=(3,))
    built(workspace, ["app.py"], ran=())
    built(workspace, ["app.py", "requirements.txt"])
    built(workspace, ["app.py"], change_count=21)
    built(workspace, ["app.py"], is_background=True)
    built(workspace, [])
    assert shares(only(examine(workspace), "source-before-install")) == ((6, 6), (0, 4))
    built(workspace, ["app.py"])
    assert shares(only(examine(workspace), "source-before-install")) == ((6, 6), (1, 5))


def test_builds_of_a_dockerfile_with_other_steps_say_nothing_of_these(
    repository: Repository, workspace: Workspace
) -> None:
    edited(repository, "app.py", times=6)
    for number in range(25):
        built(workspace, ["app.py"], at=MONDAY + number * DAY)
    repository.commit({"Dockerfile": TEXT.replace("pip install", "pip install --no-cache-dir")})
    for number in range(25, 28):
        built(workspace, ["app.py"], at=MONDAY + number * DAY)
    found = examine(workspace)
    one = only(found, "source-before-install")
    assert (found.measure, one.measure, shares(one)) == ("builds", "commits", ((6, 7), (3, 3)))


def test_builds_of_another_target_are_those_of_another_loop(
    repository: Repository, workspace: Workspace
) -> None:
    repository.commit({"Dockerfile": TEXT.replace("slim", "slim AS app")})
    built(workspace, ["app.py"])
    assert examine(workspace).builds == 1
    workspace.settings = replace(workspace.settings, target="app")
    assert examine(workspace).builds == 0


# Variables

SHA = "FROM node:20\nARG GIT_SHA\nCOPY package.json ./\nRUN npm install\nCOPY . .\nENV GIT_SHA=$GIT_SHA\n"
VERSION = "FROM node:20\nENV APP_VERSION={}\nCOPY package.json ./\nRUN npm install\nCOPY . .\n"


def test_every_commit_gives_the_commits_own_name_a_new_value(
    repository: Repository, workspace: Workspace
) -> None:
    repository.commit({"Dockerfile": SHA, "package.json": "{}"})
    edited(repository, "app.py", times=6)
    edited(repository, "package.json", times=2)
    one = only(examine(workspace), "volatile-variable")
    # The first commit and the second made the project: package.json came with the latter.
    assert shares(one) == ((6, 9), None)


def test_a_value_of_the_dockerfile_is_new_where_a_commit_writes_another_one(
    repository: Repository, workspace: Workspace
) -> None:
    repository.commit({"Dockerfile": VERSION.format("1.0"), "package.json": "{}"})
    edited(repository, "app.py", times=6)
    repository.commit({"Dockerfile": VERSION.format("1.1")})
    repository.commit({"Dockerfile": VERSION.format("1.2") + "# more\n"})
    assert shares(only(examine(workspace), "volatile-variable")) == ((2, 9), None)


def test_a_date_that_is_given_at_the_build_is_in_no_commit(
    repository: Repository, workspace: Workspace
) -> None:
    repository.commit({"Dockerfile": SHA.replace("GIT_SHA", "BUILD_DATE"), "package.json": "{}"})
    edited(repository, "app.py", times=6)
    one = only(examine(workspace), "volatile-variable")
    assert (shares(one), one.measure) == ((None, None), None)
    for number in range(6):
        built(workspace, [], ran=(4,), rule="argument", at=MONDAY + number)
    one = only(examine(workspace), "volatile-variable")
    assert (shares(one), one.measure) == ((None, (6, 6)), "builds")


@pytest.mark.parametrize(
    ("builds", "commits", "sentence"),
    [
        (0, 0, "no commit to go by"),
        (0, 1, "the only commit changes nothing that this Dockerfile reads"),
        (1, 1, "the only commit changes what this Dockerfile reads"),
        (0, 200, "none of the last 200 commits changes what this Dockerfile reads"),
        (1, 200, "only 1 of the last 200 commits changes what this Dockerfile reads"),
        (3, 200, "only 3 of the last 200 commits change what this Dockerfile reads"),
        (3, 3, "only 3 commits change what this Dockerfile reads"),
    ],
)
def test_a_history_that_says_too_little_is_told_well(builds: int, commits: int, sentence: str) -> None:
    assert too_few(builds, commits) == sentence


def test_prose_beside_an_ignore_file_is_found_where_it_is_edited_often(
    repository: Repository, workspace: Workspace
) -> None:
    repository.commit({".dockerignore": ".git\nDockerfile\n.dockerignore\n", "docs/use.md": "a"})
    edited(repository, "app.py", times=8)
    edited(repository, "docs/use.md", times=2)
    edited(repository, "README.md", times=1)
    # The first commit of the page, two edits of it, and one of the README.
    codes = [one.finding.code for one in examine(workspace).findings]
    assert "context-junk" not in codes
    edited(repository, "docs/use.md", times=2)
    one = only(examine(workspace), "context-junk")
    assert one.finding.title == "README.md, docs/ reach COPY on line 3"
    assert one.commits is not None
    assert (shares(one), one.commits.paths) == (((6, 14), None), ("docs/use.md", "README.md"))
    assert one.finding.proposal is not None
    assert one.finding.proposal.files[".dockerignore"].endswith(b"README.md\ndocs\n")


def test_a_folder_of_prose_stays_where_the_source_names_it_or_a_program_is_in_it(
    repository: Repository, workspace: Workspace
) -> None:
    ignored = ".git\nDockerfile\n.dockerignore\nREADME.md\n"
    repository.commit({".dockerignore": ignored, "docs/use.md": "a", "app.py": "open('docs/use.md')\n"})
    edited(repository, "docs/use.md", times=8)
    assert [one.finding.code for one in examine(workspace).findings if one.finding.bytes] == []
    repository.commit({"app.py": "1\n", "docs/conf.py": "1\n"})
    edited(repository, "docs/use.md", times=8)
    assert [one.finding.code for one in examine(workspace).findings if one.finding.bytes] == []
    repository.commit({"docs/conf.py": None})
    assert only(examine(workspace), "context-junk").commits is not None
