"""Edits of a manifest that change no dependency: they are counted in history, and npm can be spared them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import examine
from devloop.doctor.rules_manifest import MANIFEST, is_idle_edit
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from devloop.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.doctor.model import Finding

DOCKERFILE = """\
FROM node:20-slim
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci
COPY src src
CMD ["node", "src/main.js"]
"""
PLAIN = {"name": "shop", "dependencies": {"ms": "2.1.3"}}


def package(**more: object) -> str:
    return json.dumps({**PLAIN, **more})


def git(folder: Path, *words: str) -> None:
    subprocess.run(("git", *words), cwd=folder, check=True, capture_output=True)


def found(
    tmp_path: Path, manifests: list[str], dockerfile: str = DOCKERFILE, name: str = "package.json"
) -> list[Finding]:
    """Commit one version of a manifest after the other, with some edits of the source, and examine."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    write(
        folder,
        {"Dockerfile": dockerfile, "package-lock.json": "{}", "poetry.lock": "", ".dockerignore": ".git"},
    )
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "config", "user.name", "Ada")
    for number, text in enumerate(manifests):
        write(folder, {name: text})
        commit(folder)
        write(folder, {"src/main.js": f"{number}"})
        commit(folder)
    for number in range(6):
        write(folder, {"src/main.js": f"more {number}"})
        commit(folder)
    location = locate(folder, Settings())
    memory = Memory(location, Database(tmp_path / "state.db"))
    try:
        workspace = Workspace.remembered(location, Settings(), memory, os.environ)
        return [one.finding for one in examine(workspace).findings if one.finding.code == MANIFEST]
    finally:
        memory.close()


def write(folder: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        (folder / path).write_text(text)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "work")


def test_commits_that_edit_only_scripts_are_counted(tmp_path: Path) -> None:
    versions = [
        package(),
        package(scripts={"test": "a"}),
        package(scripts={"test": "b"}),
        package(scripts={"test": "b"}, dependencies={"ms": "2.1.2"}),
    ]
    (finding,) = found(tmp_path, versions)
    assert finding.first_line == 4
    assert finding.why == "2 commits of the last 13 ran it for lines of package.json that no installer reads"


def test_without_such_a_commit_nothing_is_found(tmp_path: Path) -> None:
    assert found(tmp_path, [package(), package(dependencies={"ms": "2.1.2"})]) == []


def test_where_the_order_is_wrong_that_is_said_instead(tmp_path: Path) -> None:
    dockerfile = "FROM node:20-slim\nWORKDIR /app\nCOPY . .\nRUN npm ci\n"
    assert found(tmp_path, [package(), package(scripts={"test": "a"})], dockerfile) == []


def test_for_npm_a_stage_writes_the_manifest_that_the_install_reads(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, [package(), package(scripts={"test": "a"})])
    assert finding.proposal is not None, finding.stops
    lines = apply_edits(DOCKERFILE.encode(), finding.proposal.edits).decode().splitlines()
    assert lines[3].startswith('RUN node -e "const f = require')
    assert [*lines[:3], *lines[4:]] == [
        "FROM node:20-slim AS manifest",
        "WORKDIR /manifest",
        "COPY package.json package.json",
        "",
        "FROM node:20-slim",
        "WORKDIR /app",
        "COPY package-lock.json ./",
        "COPY --from=manifest /manifest/package.json ./",
        "RUN --mount=type=cache,target=/root/.npm npm ci",
        "COPY package.json package-lock.json ./",
        "COPY src src",
        'CMD ["node", "src/main.js"]',
    ]


def test_where_more_than_one_text_may_matter_nothing_is_proposed(tmp_path: Path) -> None:
    (finding,) = found(
        tmp_path, [package(workspaces=["a"]), package(workspaces=["a"], scripts={"test": "a"})]
    )
    assert finding.proposal is None
    assert finding.stops == "the manifests of workspaces belong together"


def test_of_another_installer_the_finding_comes_without_a_proposal(tmp_path: Path) -> None:
    dockerfile = (
        "FROM python:3.12-slim\nWORKDIR /app\nCOPY pyproject.toml poetry.lock ./\n"
        "RUN poetry install --no-root\nCOPY src src\n"
    )
    plain = '[project]\nname = "shop"\ndependencies = ["flask"]\n'
    (finding,) = found(
        tmp_path, [plain, f"{plain}[tool.ruff]\nline-length = 99\n"], dockerfile, "pyproject.toml"
    )
    assert finding.proposal is None
    assert finding.stops == "what this installer reads of the manifest is not known for certain"


def test_a_hook_that_an_install_runs_is_no_idle_edit() -> None:
    hooked = package(scripts={"postinstall": "node a.js"}).encode()
    assert not is_idle_edit("package.json", package().encode(), hooked)
    assert not is_idle_edit("package.json", package().encode(), b"{")
    assert is_idle_edit("package.json", package().encode(), package(jest={}).encode())
