"""`devloop why` and `devloop stats` on a real state file: what builds left is asked for as a user does."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from devloop.cache.store import Miss
from devloop.cli import run
from devloop.cost.history import BuildRecord, StepRecord, SyncRecord
from devloop.cost.report import WITHDRAWN, BuildAccount, StepAccount, account_to_json
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.planner import step_key
from devloop.project.reading import Model
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devloop.dockerfile.stages import BuildGraph

Streams = pytest.CaptureFixture[str]

DOCKERFILE = """\
FROM python:3.12 AS build
WORKDIR /src
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
RUN make
FROM python:3.12
COPY --from=build /src/out /out
COPY conf/app.ini /etc/
RUN --mount=type=bind,source=tools,target=/t /t/check
"""
IGNORE = "# what no build needs\n*.log\n!kept.log\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "shop"
    (root / "conf").mkdir(parents=True)
    (root / "tools").mkdir()
    for path, text in {
        "Dockerfile": DOCKERFILE,
        ".dockerignore": IGNORE,
        "requirements.txt": "flask\n",
        "conf/app.ini": "[app]\n",
        "tools/check": "",
        "debug.log": "",
    }.items():
        (root / path).write_text(text)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def memory(project: Path) -> Iterator[Memory]:
    found = Memory(locate(project, Settings()))
    yield found
    found.close()


def graph_of(memory: Memory) -> BuildGraph:
    model = Workspace.remembered(memory.location, Settings(), memory, os.environ).read()
    assert isinstance(model, Model)
    return model.graph


def record(memory: Memory, at: float, accounts: dict[int, StepAccount], **changes: Any) -> None:  # noqa: ANN401
    """Record a build of which these lines ran, two seconds a step, and all others were cached."""
    graph = graph_of(memory)
    steps = [step for step in graph.steps if step.vertex is not None]
    values: dict[str, Any] = {
        "project": memory.project,
        "dockerfile": "Dockerfile",
        "target": None,
        "engine": "engine",
        "started_at": at,
        "seconds": 5.0,
        "outcome": "ok",
        "context_bytes": None,
        "export_seconds": None,
        "metadata_seconds": None,
        "predicted_seconds": 4.0,
        "steps": tuple(
            StepRecord(
                stage=graph.stage(step.stage).label,
                ordinal=step.ordinal,
                line=step.span.first,
                instruction=step.keyword,
                text=step.instruction.text,
                key=step_key(graph, step),
                kind=None,
                status="run" if step.span.first in accounts else "cached",
                seconds=2.0 if step.span.first in accounts else None,
            )
            for step in steps
        ),
        "prediction": account_to_json(
            BuildAccount(tuple(accounts.get(step.span.first, StepAccount("cached")) for step in steps))
        ),
    }
    memory.record_build(BuildRecord(**{**values, **changes}))


EDIT = {
    3: StepAccount("run", 0.3, "content", "requirements.txt changed", "requirements.txt"),
    4: StepAccount("run", 3.0, "stage", "COPY (line 3) above it runs again", "requirements.txt", 3),
}


def ask(capsys: Streams, *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def text_of(capsys: Streams, *arguments: str) -> str:
    assert run(list(arguments)) == 0
    return capsys.readouterr().out


# The last build


def test_why_tells_the_cause_of_each_step_of_the_last_build(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, {10: StepAccount("cached", 1.0, "pruned", "the cache was pruned")})
    record(memory, 2.0, EDIT)
    lines = text_of(capsys, "why").splitlines()
    assert any("RUN pip install" in line and "as predicted" in line for line in lines)
    assert "       requirements.txt changed" in lines
    assert "pruned" not in "".join(lines)
    document = ask(capsys, "why")
    ran = [step for step in document["build"]["steps"] if step["status"] == "run"]
    assert [(step["line"], step["because"]["rule"]) for step in ran] == [(3, "content"), (4, "stage")]


def test_without_a_build_there_is_nothing_to_tell(project: Path, capsys: Streams) -> None:
    assert "No build of this project is recorded yet" in text_of(capsys, "why")
    assert ask(capsys, "why") == {"schema": "devloop.why/1", "asked": "build", "build": None}


def test_a_build_of_an_older_devloop_without_an_account_is_shown(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT, prediction=None)
    assert "RUN pip install" in text_of(capsys, "why")
    assert ask(capsys, "why")["build"]["background"] is None


def test_a_broken_dockerfile_does_not_keep_the_last_build_from_being_told(
    project: Path, memory: Memory, capsys: Streams
) -> None:
    record(memory, 1.0, EDIT)
    (project / "Dockerfile").write_text("FORM\n")
    assert "requirements.txt changed" in text_of(capsys, "why")
    assert run(["why", "requirements.txt"]) == 1
    assert "FORM" in capsys.readouterr().err


# A path


def test_a_path_tells_who_reads_it_and_where_it_lands(project: Path, capsys: Streams) -> None:
    found = ask(capsys, "why", "requirements.txt")["path"]
    assert [(one["line"], one["places"], one["in_image"]) for one in found["readers"]] == [
        (3, ["/src/requirements.txt"], False),
        (5, ["/src/requirements.txt"], False),
    ]
    assert found["save"]["action"] == "rebuild"
    assert [one["line"] for one in found["save"]["runs"]][:2] == [3, 4]
    text = text_of(capsys, "why", "requirements.txt")
    assert "/src/requirements.txt in stage build" in text
    assert "a save     rebuild" in text


def test_a_path_that_lands_in_the_image_is_told_from_one_that_a_stage_uses(
    project: Path, capsys: Streams
) -> None:
    found = ask(capsys, "why", "conf/app.ini")["path"]
    assert [(one["line"], one["places"], one["in_image"]) for one in found["readers"]] == [
        (5, ["/src/conf/app.ini"], False),
        (9, ["/etc/app.ini"], True),
    ]


def test_a_mounted_path_is_read_by_the_run(project: Path, capsys: Streams) -> None:
    found = ask(capsys, "why", "tools/check")["path"]
    assert [(one["line"], one["how"], one["in_image"]) for one in found["readers"]] == [
        (5, "copy", False),
        (10, "mount", False),
    ]
    assert "mounts it while it runs" in text_of(capsys, "why", "tools/check")


def test_an_ignored_path_names_the_line_that_ignores_it(project: Path, capsys: Streams) -> None:
    found = ask(capsys, "why", "debug.log")["path"]
    assert found["ignored"] == [{"path": "debug.log", "file": ".dockerignore", "line": 2, "pattern": "*.log"}]
    assert (found["readers"], found["save"]["action"]) == ([], "none")
    assert "debug.log is ignored by .dockerignore:2 (*.log)" in text_of(capsys, "why", "debug.log")


def test_an_exception_of_the_ignore_file_is_no_ignored_path(project: Path, capsys: Streams) -> None:
    found = ask(capsys, "why", "kept.log")["path"]
    assert (found["ignored"], found["exists"]) == ([], False)
    assert [one["line"] for one in found["readers"]] == [5]


def test_a_path_that_nothing_reads_is_said_to_be_so(project: Path, capsys: Streams) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPY conf /conf\n")
    assert "read by    no step of the target" in text_of(capsys, "why", "requirements.txt")


def test_a_path_outside_of_the_context_is_said_to_be_there(project: Path, capsys: Streams) -> None:
    assert "is outside of the build context" in " ".join(text_of(capsys, "why", "../elsewhere").split())


def test_a_last_copy_of_an_image_is_synced(project: Path, capsys: Streams) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nCOPY conf /conf\n")
    found = ask(capsys, "why", "conf/app.ini")["path"]
    assert found["readers"][0]["places"] == ["/conf/app.ini"]
    assert found["save"]["action"] == "sync+restart"


def test_a_folder_tells_where_its_files_land(project: Path, capsys: Streams) -> None:
    found = ask(capsys, "why", "conf")["path"]
    assert found["readers"][-1]["places"] == ["/etc/app.ini"]


def test_a_path_tells_what_its_edits_have_cost(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    record(memory, 2.0, EDIT)
    found = ask(capsys, "why", "requirements.txt")["path"]
    assert found["cost"] == {"path": "requirements.txt", "seconds": 8.0, "steps": 4, "builds": 2}
    assert ask(capsys, "why", "conf/app.ini")["path"]["cost"] is None


def test_a_path_of_another_folder_finds_its_project(
    project: Path, tmp_path: Path, capsys: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(capsys, "why", "shop/requirements.txt")["path"]["path"] == "requirements.txt"


# A step


@pytest.mark.parametrize(
    "words",
    [["4"], ["build 4/6"], ["[build 4/6]"], ["RUN pip"], ["run", "pip", "install"], ["RUN  pip   install"]],
)
def test_a_step_is_meant_by_line_label_or_text(project: Path, capsys: Streams, words: list[str]) -> None:
    assert [one["line"] for one in ask(capsys, "why", *words)["steps"]] == [4]


def test_a_label_without_a_stage_means_every_stage(project: Path, capsys: Streams) -> None:
    assert [one["label"] for one in ask(capsys, "why", "2/4")["steps"]] == ["stage-1 2/4"]
    assert [one["line"] for one in ask(capsys, "why", "stage-1 4/4")["steps"]] == [10]


def test_several_steps_can_be_meant(project: Path, capsys: Streams) -> None:
    assert [one["line"] for one in ask(capsys, "why", "RUN")["steps"]] == [4, 6, 10]


def test_a_path_that_is_called_like_a_step_is_a_path(project: Path, capsys: Streams) -> None:
    (project / "RUN").write_text("")
    assert ask(capsys, "why", "RUN")["asked"] == "path"


@pytest.mark.parametrize("text", ["99", "9/9", "RUN nothing"])
def test_a_step_that_is_not_there_is_a_known_error(project: Path, capsys: Streams, text: str) -> None:
    assert run(["why", text]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"devloop: error: no step of the target is at {text!r}",
        "  devloop layers shows the steps with their lines",
    ]


def test_a_step_tells_when_and_why_it_ran_last_and_what_it_costs(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    record(memory, 2.0, {})
    [found] = ask(capsys, "why", "4")["steps"]
    assert found["stands_on"] == "COPY (line 3)"
    assert found["cost"] == {"runs": 1, "median_seconds": 2.0, "low_seconds": 2.0, "high_seconds": 2.0}
    assert (found["last_build"]["status"], found["last_build"]["verdict"]) == ("cached", "right")
    assert (found["last_run"]["at"], found["last_run"]["builds_ago"]) == (1.0, 1)
    assert found["last_run"]["root"]["because"]["text"] == "requirements.txt changed"
    assert "COPY (line 3): requirements.txt changed" in text_of(capsys, "why", "4")


def test_an_edited_step_has_not_run_in_its_new_form(project: Path, memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    (project / "Dockerfile").write_text(DOCKERFILE.replace("pip install", "pip install -U"))
    [found] = ask(capsys, "why", "4")["steps"]
    assert (found["last_run"], found["cost"]["runs"]) == (None, 0)
    assert "it did not run here in this form yet" in text_of(capsys, "why", "4")


# Figures


def test_stats_add_up_builds_files_and_syncs(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    record(memory, 2.0, {}, outcome="failed")
    memory.record_sync(SyncRecord(3.0, "sync", 0.5, 9.5))
    found = ask(capsys, "stats")
    assert found["schema"] == "devloop.stats/1"
    assert (found["builds"]["ok"], found["builds"]["failed"], found["builds"]["seconds"]) == (1, 1, 10.0)
    assert found["files"] == [{"path": "requirements.txt", "seconds": 4.0, "steps": 2, "builds": 1}]
    assert found["syncs"] == {"count": 1, "seconds": 0.5, "saved_seconds": 9.0, "unpriced": 0}
    assert found["predictions"]["steps"] == 2 * len(
        [s for s in graph_of(memory).steps if s.vertex is not None]
    )
    text = text_of(capsys, "stats")
    assert "saved about 9.0s of waiting for rebuilds" in text
    assert "requirements.txt" in text
    assert "no expensive edit was taken back before its build" in " ".join(text.split())


def test_stats_count_what_edits_that_were_taken_back_have_spared(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    memory.record_sync(SyncRecord(2.0, WITHDRAWN, 0.0, 40.0))
    memory.record_sync(SyncRecord(3.0, WITHDRAWN, 0.0, 20.5))
    found = ask(capsys, "stats")
    assert found["warnings"] == {"heeded": 2, "saved_seconds": 60.5}
    assert found["syncs"]["count"] == 0
    assert "2 expensive edits taken back in time; saved about 1m00s of builds" in " ".join(
        text_of(capsys, "stats").split()
    )


def test_stats_weigh_the_context_and_name_the_ignore_lines(
    memory: Memory, project: Path, capsys: Streams
) -> None:
    record(memory, 1.0, EDIT, context_bytes=2_000, context_seconds=0.25)
    (project / "Dockerfile").write_text("FROM base\nCOPY . .\n")
    (project / ".git").mkdir()
    (project / ".git/pack").write_bytes(b"x" * 3_000_000)
    found = ask(capsys, "stats")["context"]
    assert found["ignore_lines"] == [".git"]
    assert found["needless"][0]["bytes"] == 3_000_000
    text = " ".join(text_of(capsys, "stats").split())
    assert "the last build sent 2.0 kB in 0.2s" in text
    assert "needless 3.0 MB in 1 file: .dockerignore leaves them out with .git" in text


def test_stats_of_a_broken_dockerfile_leave_the_weight_out(
    memory: Memory, project: Path, capsys: Streams
) -> None:
    record(memory, 1.0, EDIT)
    (project / "Dockerfile").write_text("FROM\n")
    found = ask(capsys, "stats")
    assert (found["builds"]["ok"], found["context"]) == (1, None)


def test_another_target_has_figures_of_its_own(memory: Memory, capsys: Streams) -> None:
    record(memory, 1.0, EDIT)
    assert ask(capsys, "stats")["builds"]["ok"] == 1
    assert ask(capsys, "stats", "--target", "build")["builds"]["ok"] == 0


def test_misses_are_listed_newest_first(memory: Memory, capsys: Streams) -> None:
    for at in (1.0, 2.0):
        memory.add_misses([Miss(at, memory.project, 4, "RUN x", "cached", "run", f"reason {at}", "")])
    assert [one["explanation"] for one in ask(capsys, "stats", "--misses")["misses"]] == [
        "reason 2.0",
        "reason 1.0",
    ]
    assert ask(capsys, "stats")["predictions"]["misses"] == 2
    assert "predicted cached, observed run: reason 2.0" in text_of(capsys, "stats", "--misses")
