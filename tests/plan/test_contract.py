"""`devloop plan --json` is a contract: these keys and no others, of these types, in every plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from devloop.ui.plantext import plan_json
from support.built_project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.plan.model import Plan

INSTRUCTIONS = {"RUN", "COPY", "ADD", "WORKDIR", "FROM"}
ACTIONS = {"none", "sync", "sync+restart", "rebuild", "restart"}
KINDS = {"added", "modified", "removed", "metadata"}
NUMBER = (int, float)

DOCKERFILE = """\
FROM python:3.12 AS base
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
FROM python:3.12
COPY --from=base /app /app
ADD main.py /app/
RUN ./unheard-of
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    files = {"requirements.txt": "flask\n", "main.py": "", "gone.py": ""}
    return Project(tmp_path / "shop", DOCKERFILE, files).built({4: 12.0})


def plans(project: Project) -> list[Plan]:
    """Make one plan of every sort."""
    found = [project.plan(), project.edit("main.py"), project.edit("../outside")]
    project.write("requirements.txt", "django\n")
    (project.folder / "main.py").chmod(0o755)
    found.append(project.plan())
    project.remove("main.py")
    found.append(project.plan())
    project.replace("Dockerfile", "./unheard-of", "pip install flask")
    return [*found, project.plan()]


def is_real(value: Any, *types: type) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, types) and not isinstance(value, bool)


def check_step(step: dict[str, Any]) -> None:
    assert list(step) == [
        *("stage", "ordinal", "line", "instruction", "text", "status", "cause", "kind", "expensive"),
        *("seconds", "seconds_from"),
    ]
    assert is_real(step["stage"], str)
    assert is_real(step["ordinal"], int)
    assert is_real(step["line"], int)
    assert step["instruction"] in INSTRUCTIONS
    assert is_real(step["text"], str)
    assert step["status"] in {"cached", "run", "unknown"}
    assert step["cause"] is None or is_real(step["cause"], str)
    assert (step["cause"] is None) == (step["status"] == "cached")
    assert step["kind"] is None or is_real(step["kind"], str)
    assert isinstance(step["expensive"], bool)
    assert step["seconds"] is None or is_real(step["seconds"], *NUMBER)
    assert step["seconds_from"] in {"measured", "estimate", None}
    assert (step["seconds"] is None) == (step["seconds_from"] is None)


def test_every_plan_keeps_the_contract(project: Project) -> None:
    for plan in plans(project):
        document = json.loads(plan_json([plan]))
        assert list(document) == ["schema", "targets"]
        assert document["schema"] == "devloop.plan/1"
        [target] = document["targets"]
        assert list(target) == [
            *("name", "dockerfile", "context", "changes", "steps", "earliest", "seconds", "action", "reason")
        ]
        assert (target["name"], target["dockerfile"]) == ("shop", "Dockerfile")
        assert target["context"] == str(project.folder.resolve())
        for change in target["changes"]:
            assert list(change) == ["path", "kind"]
            assert change["kind"] in KINDS
        assert target["steps"]
        for step in target["steps"]:
            check_step(step)
        earliest = target["earliest"]
        assert earliest is None or list(earliest) == ["line", "instruction"]
        assert (earliest is None) == all(step["status"] == "cached" for step in target["steps"])
        assert target["seconds"] is None or is_real(target["seconds"], *NUMBER)
        assert target["action"] in ACTIONS
        assert target["reason"]


def test_the_plans_above_show_every_sort_of_answer(project: Project) -> None:
    found = plans(project)
    assert {plan.action for plan in found} >= {"none", "rebuild"}
    assert {step.status for plan in found for step in plan.steps} == {"cached", "run", "unknown"}
    assert {step.seconds_from for plan in found for step in plan.steps} == {"measured", "estimate", None}
    assert {change.kind for plan in found for change in plan.changes} >= {"modified", "removed"}


def test_unknown_is_only_behind_a_step_that_runs(project: Project) -> None:
    for plan in plans(project):
        if any(step.status == "unknown" for step in plan.steps):
            assert any(step.status == "run" for step in plan.steps)
