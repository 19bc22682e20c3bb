"""What --fix writes: once and for all, and the same as --diff shows."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.cli_doctor import changes_of, diff_of
from devloop.doctor.examine import examine, fix
from support.doctor_corpus import Patient, Project, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROJECTS = {project.name: project for project in load()}


@pytest.fixture
def no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))


def texts(folder: Path) -> Mapping[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.stat().st_size < 1 << 20 and ".git" not in path.parts
    }


def fixed(patient: Patient) -> tuple[list[str], bytes]:
    """Write all changes; return their codes, and the diff that was shown of them before."""
    workspace = patient.workspace()
    found = examine(workspace)
    fixes = fix(workspace, found)
    changes = changes_of(workspace.location, found, fixes)
    diff = diff_of(workspace.location, changes)
    for path, (_, after) in changes.items():
        path.write_bytes(after)
    return [one.finding.code for one in fixes.done], diff


@pytest.mark.usefixtures("no_state")
@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS.keys())
def test_a_second_fix_finds_nothing_more_to_write_and_the_diff_says_the_same(
    project: Project, tmp_path: Path
) -> None:
    patient = Patient(project, tmp_path / "fixed")
    other = project.write(tmp_path / "patched")
    try:
        _, diff = fixed(patient)
        assert fixed(patient) == ([], b"")
    finally:
        patient.close()
    if diff:
        subprocess.run(["git", "apply", "-"], cwd=other, input=diff, check=True)
    assert texts(patient.folder) == texts(other)


HOST_MODULES = "FROM node:20\nWORKDIR /app\nCOPY . .\nRUN npm ci\n"
HOST_FILES = {
    "package.json": "{}",
    "package-lock.json": "{}",
    "server.js": "1",
    "node_modules/a/index.js": "1",
}


@pytest.mark.usefixtures("no_state")
def test_an_order_that_modules_of_the_host_stand_in_the_way_of_comes_after_the_ignore_file(
    tmp_path: Path,
) -> None:
    files = {"Dockerfile": HOST_MODULES, **HOST_FILES}
    encoded = {path: text.encode() for path, text in files.items()}
    project = Project("host", False, "", (), frozenset(), (), False, "Dockerfile", encoded)
    patient = Patient(project, tmp_path / "web")
    try:
        found = {one.finding.code: one.finding for one in examine(patient.workspace()).findings}
        assert found["source-before-install"].proposal is None
        assert found["source-before-install"].stops == (
            "comes after the change of .dockerignore: --fix writes both"
        )
        codes, _ = fixed(patient)
        assert codes.index("no-ignore-file") < codes.index("source-before-install")
        lines = (patient.folder / "Dockerfile").read_text().splitlines()
        assert lines.index("COPY package.json package-lock.json ./") < lines.index("COPY . .")
        assert fixed(patient) == ([], b"")
    finally:
        patient.close()


@pytest.mark.usefixtures("no_state")
def test_a_change_that_only_an_ignore_file_allows_is_not_promised_where_something_else_stops_it(
    tmp_path: Path,
) -> None:
    files = {
        "Dockerfile": HOST_MODULES,
        **HOST_FILES,
        "package.json": '{"scripts": {"prepare": "node x.js"}}',
    }
    encoded = {path: text.encode() for path, text in files.items()}
    patient = Patient(
        Project("hook", False, "", (), frozenset(), (), False, "Dockerfile", encoded), tmp_path / "web"
    )
    try:
        stops = [
            one.finding.stops
            for one in examine(patient.workspace()).findings
            if one.finding.code == "source-before-install"
        ]
        assert stops
        assert "--fix writes both" not in stops[0]
    finally:
        patient.close()
