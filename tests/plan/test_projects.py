"""Dockerfiles as people write them, over all ecosystems: what an edit reaches, costs, and what helps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from devloop.ui.plantext import layers_lines, plan_json, plan_lines
from support.projects import Copy, Edit, Project, load_projects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devloop.plan.model import Plan

PROJECTS = load_projects()
EDITS = [(project, edit) for project in PROJECTS for edit in project.edits]
WARNINGS = {
    "dependency-install",
    "source-above-install",
    "build-from-source",
    "variable-above-step",
    "expensive-step",
}
LONGEST = 200

each_project = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
each_edit = pytest.mark.parametrize(
    ("project", "edit"), EDITS, ids=[f"{project.name}-{','.join(edit.paths)}" for project, edit in EDITS]
)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Copy]]:
    """One copy of every project for all tests: a plan changes nothing."""
    folder = tmp_path_factory.mktemp("projects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVLOOP_STATE_DIR", str(folder / "state"))
        made = {project.name: Copy(project, folder) for project in PROJECTS}
    yield made
    for one in made.values():
        one.memory.close()


@pytest.fixture
def copy(copies: dict[str, Copy], project: Project) -> Copy:
    return copies[project.name]


@pytest.fixture
def plan(copy: Copy, edit: Edit) -> Plan:
    return copy.plan(edit.paths)


def test_there_are_projects_of_every_ecosystem() -> None:
    assert len(PROJECTS) >= 45
    assert all(len(project.edits) >= 1 for project in PROJECTS)
    kinds = {text.split()[1] for project in PROJECTS for edit in project.edits for text in edit.expensive}
    assert len(kinds) >= 30


@each_edit
def test_an_edit_runs_the_steps_that_a_person_expects(edit: Edit, plan: Plan) -> None:
    sure = {step.line for step in plan.steps if step.status == "run"}
    maybe = {step.line for step in plan.steps if step.status == "unknown"} - sure
    if edit.too_much:
        assert sure > set(edit.runs), "the prediction is exact now: remove too_much from expect.toml"
        return
    assert (sorted(sure), sorted(maybe)) == (sorted(edit.runs), sorted(edit.may_run))
    assert (plan.earliest.line if plan.earliest is not None else None) == edit.earliest


@each_edit
def test_an_edit_is_warned_about_where_it_costs_much(edit: Edit, plan: Plan) -> None:
    if edit.too_much:
        return
    assert [f"{step.line} {step.kind}" for step in plan.runs if step.expensive] == list(edit.expensive)
    assert [f"{warned.line} {warned.code}" for warned in plan.warnings] == list(edit.warnings)
    ways_out = {warned.line: warned.way_out for warned in plan.warnings}
    for line, texts in edit.way_out.items():
        assert [text for text in texts if text not in ways_out[line]] == [], ways_out[line]


def sentences(plan: Plan) -> list[str]:
    found = [plan.reason, *(step.cause.text for step in plan.runs if step.cause is not None)]
    found += [text for warned in plan.warnings for text in (warned.why, warned.way_out, warned.note)]
    return found


@each_edit
def test_every_step_that_is_not_cached_has_a_reason_that_can_be_read(plan: Plan) -> None:
    for step in plan.steps:
        assert (step.cause is None) == (step.status == "cached"), step
    for sentence in sentences(plan):
        assert sentence == sentence.strip()
        assert 0 < len(sentence) <= LONGEST
        assert not re.search(r"\bNone\b|\(\)|  |,,|\.\.\.\.", sentence), sentence


@each_edit
def test_every_warning_is_priced_and_has_a_way_out(plan: Plan) -> None:
    for warned in plan.warnings:
        assert warned.code in WARNINGS
        assert warned.seconds is not None
        assert warned.seconds >= 5
        assert warned.way_out


# Places that an image needs: a cache mount there would take them out of it.
INSTALL_DIRS = ("node_modules", "site-packages", "/bundle", "/vendor", "/target", "/deps", "/_build", "/.m2")


@each_edit
def test_no_advice_takes_away_what_the_image_needs(plan: Plan) -> None:
    for warned in plan.warnings:
        for target in re.findall(r"target=(\S+?)[,\s]", f"{warned.way_out} "):
            assert not target.endswith(INSTALL_DIRS), warned.way_out
        assert not re.search(r"--no-cache-dir\b(?<!without --no-cache-dir)", warned.way_out)


@each_edit
def test_a_plan_can_be_shown_and_handed_on(plan: Plan) -> None:
    for width in (60, 80, 120):
        lines = plan_lines(plan, width, ascii_only=True)
        # An option that is wider than the screen stays in one piece, so that it can be copied.
        assert [line for line in lines if len(line) > width and " " in line.strip()] == []
        assert [line for line in lines[1:] if not line.isascii()] == []
    [target] = json.loads(plan_json([plan]))["targets"]
    assert {step["status"] for step in target["steps"]} <= {"cached", "run", "unknown"}
    assert all((step["cause"] is None) == (step["status"] == "cached") for step in target["steps"])
    assert target["action"] in {"none", "sync", "sync+restart", "rebuild"}
    assert all(step["line"] >= 1 and step["ordinal"] >= 0 for step in target["steps"])


@each_project
def test_the_layers_of_every_project_can_be_listed(project: Project, copy: Copy) -> None:
    rows = copy.layers()
    assert [row for row in rows if row.instruction in {"FROM", "RUN"}]
    assert all(row.text and row.stage for row in rows)
    assert all(len(line) <= 100 for line in layers_lines(rows, 100, ascii_only=True))


def variants(text: bytes) -> dict[str, bytes]:
    """Edits of the Dockerfile itself: what is put below the first FROM, and into what stands there."""
    first = re.search(rb"^FROM [^\n]*\n", text, re.MULTILINE)
    assert first is not None
    below = {
        "environment": b"ENV OTHER=1\n",
        "argument": b"ARG OTHER=1\n",
        "workdir": b"WORKDIR /elsewhere\n",
        "user": b"USER nobody\n",
    }
    found = {name: text[: first.end()] + line + text[first.end() :] for name, line in below.items()}
    found["command"] = re.sub(rb"^RUN ", b"RUN true && ", text, count=1, flags=re.MULTILINE)
    found["base"] = re.sub(rb"^(FROM (?:--\S+ )?)\S+", rb"\1other:2", text, count=1, flags=re.MULTILINE)
    return found


@each_project
def test_an_edit_of_the_dockerfile_is_explained(copy: Copy, tmp_path: Path) -> None:
    text = (copy.folder / "Dockerfile").read_bytes()
    assert copy.plan_text(text + b"\n# nothing but a comment\n", tmp_path).action == "none"
    for name, changed in variants(text).items():
        plan = copy.plan_text(changed, tmp_path)
        assert all((step.cause is None) == (step.status == "cached") for step in plan.steps), name
        for sentence in sentences(plan):
            assert 0 < len(sentence) <= LONGEST, (name, sentence)


@each_project
def test_an_edit_of_everything_never_costs_less_than_one_edit(project: Project, copy: Copy) -> None:
    everything = copy.plan(tuple(sorted({path for edit in project.edits for path in edit.paths})))
    runs = {(step.stage, step.ordinal) for step in everything.runs}
    for edit in project.edits:
        assert {(step.stage, step.ordinal) for step in copy.plan(edit.paths).runs} <= runs
