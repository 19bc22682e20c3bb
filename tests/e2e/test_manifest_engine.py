"""An edit of `scripts` runs `npm ci` before the doctor's change and not after it, on a real engine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import Proving, examine
from devloop.doctor.rules_manifest import MANIFEST
from devloop.doctor.trial import Trial
from devloop.plan.codes import FINDINGS
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import DoctorSettings, Settings
from devloop.project.workspace import Workspace
from support.doctor import written
from support.engine import make_base_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker

NODE = "node:20-slim"
INSTALL = "RUN npm ci --offline --no-audit"
ONLY = Settings(doctor=DoctorSettings(ignore=sorted(FINDINGS - {MANIFEST})))
"""Each proposal is built twice: the others have their own tests."""
DOCKERFILE = f"""\
FROM {NODE}
WORKDIR /app
COPY lib lib
COPY package.json package-lock.json ./
{INSTALL}
COPY main.js ./
CMD ["node", "main.js"]
"""
DEPENDENCIES = {"greet": "file:lib"}


def package(**scripts: str) -> str:
    return json.dumps({"name": "shop", "version": "1.0.0", "scripts": scripts, "dependencies": DEPENDENCIES})


LOCK = {
    "name": "shop",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "shop", "version": "1.0.0", "dependencies": DEPENDENCIES},
        "lib": {"name": "greet", "version": "1.0.0"},
        "node_modules/greet": {"resolved": "lib", "link": True},
    },
}
FILES = {
    "package.json": package(test="node a.js"),
    "package-lock.json": json.dumps(LOCK),
    "lib/package.json": '{"name": "greet", "version": "1.0.0"}',
    "lib/index.js": "module.exports = 1\n",
    "main.js": "require('greet')\n",
}


@pytest.fixture
def trial(engine: dict[str, str]) -> Iterator[Trial]:
    with Trial.open(engine) as opened:
        yield opened


def test_an_edit_of_a_script_runs_the_install_before_the_change_and_not_after_it(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    make_base_image(engine, NODE)
    folder = written(tmp_path / "project", DOCKERFILE, FILES)
    commit_versions(folder)
    location = locate(folder, Settings())
    memory = Memory(location)
    try:
        workspace = Workspace.remembered(location, ONLY, memory, os.environ)
        found = examine(workspace, Proving(engine=trial)).findings
    finally:
        memory.close()
    (one,) = (each for each in found if each.finding.code == MANIFEST)
    assert one.proof is not None
    assert one.finding.proposal is not None, one.proof
    verdicts = {check.name: check.verdict for check in one.proof.checks}
    assert [verdicts[name] for name in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
    edits = one.proof.check("edits")
    assert edits is not None
    assert edits.sentence.startswith(f"an edit of package.json ran {INSTALL} before and not now")
    # The proof edits blank space; an edit of a script does the same.
    after = apply_edits(DOCKERFILE.encode(), one.finding.proposal.edits)
    assert install_after_edit(engine, folder, DOCKERFILE.encode()) == "ran"
    assert install_after_edit(engine, folder, after) == "cached"


def commit_versions(folder: Path) -> None:
    """Make a history in which two commits edit a script, and five the source."""
    edits = [("package.json", package(test="first")), ("package.json", package(test="second"))]
    edits += [("main.js", f"require('greet') // {number}\n") for number in range(5)]
    edits.append(("package.json", package(test="node a.js")))
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "config", "user.name", "Ada")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    for path, text in edits:
        (folder / path).write_text(text)
        git(folder, "commit", "--quiet", "--all", "--message", "work")


def git(folder: Path, *words: str) -> None:
    subprocess.run(("git", *words), cwd=folder, check=True, capture_output=True)


def install_after_edit(engine: dict[str, str], folder: Path, dockerfile: bytes) -> str:
    """Build, edit the script, build again: tell whether the second build ran the install."""
    (folder / "Dockerfile").write_bytes(dockerfile)
    build(engine, folder)
    (folder / "package.json").write_text(package(test=f"node {secrets.token_hex(8)}.js"))
    said = build(engine, folder)
    number = next(line.split()[0] for line in said.splitlines() if line.endswith(INSTALL))
    return "cached" if f"{number} CACHED" in said.splitlines() else "ran"


def build(engine: dict[str, str], folder: Path) -> str:
    command = ("docker", "buildx", "build", "--progress=plain", "--output=type=cacheonly", ".")
    return subprocess.run(command, cwd=folder, env=engine, check=True, capture_output=True, text=True).stderr
