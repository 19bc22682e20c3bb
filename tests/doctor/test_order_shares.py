"""A step that is cut in two is weighed by its parts: only what moves up is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.cost.history import BuildRecord, StepRecord
from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import examine
from devloop.doctor.rules_order import INSTALL
from devloop.doctor.rules_order import RULES as ORDER
from devloop.project.planner import step_key
from devloop.project.reading import Model
from support.doctor import subject
from support.history import MONDAY, Repository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.project.workspace import Workspace

UV = {
    "pyproject.toml": '[project]\nname = "app"\nversion = "1"\n[build-system]\nrequires = ["hatchling"]\n',
    "uv.lock": "",
    "app.py": "0\n",
}
NPM = {"package.json": "{}\n", "package-lock.json": "{}\n", "src/a.js": "0\n"}


@pytest.mark.parametrize(
    ("files", "run", "lines"),
    [
        (UV, "uv sync --frozen", ["RUN uv sync --no-install-project --frozen", "RUN uv sync --frozen"]),
        (NPM, "npm ci \\\n    && npm run build", ["RUN npm ci", "RUN npm run build"]),
        (
            {"go.mod": "module x\nrequire y v1.0.0\n", "main.go": "\n"},
            "go build ./...",
            ["RUN go mod download", "RUN go build ./..."],
        ),
        (
            {"composer.json": "{}", "src/a.php": ""},
            "composer install",
            ["RUN composer install --no-scripts --no-autoloader", "RUN composer dump-autoload"],
        ),
    ],
)
def test_both_parts_of_a_step_share_its_seconds(
    tmp_path: Path, files: Mapping[str, str], run: str, lines: list[str]
) -> None:
    dockerfile = f"FROM x\nWORKDIR /app\n# All of it\nCOPY . .\n\nRUN {run}\nCMD x\n"
    project = subject(tmp_path, dockerfile, files)
    (finding,) = [one for rule in ORDER for one in rule(project)]
    assert finding.proposal is not None, finding.stops
    after = apply_edits(project.source, finding.proposal.edits).decode().splitlines()
    shares = finding.proposal.seconds_at
    assert [after[line - 1] for line in shares] == lines
    step = next(one for one in project.steps if one.step.keyword == "RUN")
    assert sum(shares.values()) == pytest.approx(step.cost.seconds)
    assert min(shares.values()) > 0
    assert finding.seconds == pytest.approx(next(iter(shares.values())))


def test_a_step_that_moves_as_a_whole_has_no_parts(tmp_path: Path) -> None:
    project = subject(tmp_path, "FROM x\nWORKDIR /app\nCOPY . .\nRUN npm ci\n", NPM)
    (finding,) = [one for rule in ORDER for one in rule(project)]
    assert finding.proposal is not None
    assert finding.proposal.seconds_at == {}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    return Repository.new(tmp_path / "shop")


def measured(workspace: Workspace, seconds: Mapping[int, float]) -> None:
    """Record a build in which the steps on these lines took so long."""
    model = workspace.read()
    assert isinstance(model, Model)
    records = tuple(
        StepRecord(
            stage="stage-0",
            ordinal=step.ordinal,
            line=step.span.first,
            instruction=step.keyword,
            text=step.text,
            key=step_key(model.graph, step),
            kind=None,
            status="run",
            seconds=seconds[step.span.first],
        )
        for step in model.graph.steps
        if step.span.first in seconds
    )
    workspace.memory.record_build(
        BuildRecord(
            project=workspace.location.identity,
            dockerfile=str(workspace.location.dockerfile),
            target=workspace.settings.target,
            engine="docker",
            started_at=MONDAY,
            seconds=1.0,
            outcome="ok",
            context_bytes=None,
            export_seconds=None,
            metadata_seconds=None,
            steps=records,
            prediction="",
        )
    )


@pytest.mark.parametrize(
    ("files", "run", "took", "saved"),
    [(UV, "uv sync", 40.0, 36.0), (NPM, "npm ci && npm run build", 7.0, 4.0)],
)
def test_a_commit_saves_what_the_measured_step_takes_without_its_rest(
    repository: Repository, files: Mapping[str, str], run: str, took: float, saved: float
) -> None:
    source = next(path for path in files if path.endswith((".py", ".js")))
    repository.commit({"Dockerfile": f"FROM x\nWORKDIR /app\nCOPY . .\nRUN {run}\n", **files})
    for number in range(10):
        repository.commit({source: f"{number + 1}\n"})
    workspace = repository.workspace()
    try:
        measured(workspace, {3: 0.1, 4: took})
        (one,) = [one for one in examine(workspace).findings if one.finding.code == INSTALL]
    finally:
        workspace.memory.close()
    assert one.finding.proposal is not None, one.finding.stops
    assert one.commits is not None
    assert one.commits.runs == 10
    assert one.commits.seconds == pytest.approx(10 * saved, rel=0.01)
