"""An idle edit of a manifest runs the install before the doctor's change and not after it, on an engine.

One project has three installs, so that one build shows all of them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.examine import examine, fix
from devloop.doctor.proof import prove
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
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# The first test on a machine may have to make its bases.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

ONLY = Settings(network="host", warn_seconds=1, doctor=DoctorSettings(ignore=sorted(FINDINGS - {MANIFEST})))
"""Each proposal is built: the others have their own tests."""

DOCKERFILE = """\
FROM node:20-slim AS with-pnpm
RUN npm install --global pnpm@9.15.0

FROM python:3.11-slim AS with-uv
RUN pip install uv==0.8.0

# What the pages need.
FROM with-pnpm AS pages
ENV THIS_TEST=@once
WORKDIR /pages
COPY pages/package.json pages/pnpm-lock.yam* ./
RUN pnpm config set update-notifier false && pnpm install --frozen-lockfile --prod

FROM node:20-slim AS service
ENV THIS_TEST=@once
WORKDIR /service
COPY lib lib
COPY package.json package-lock.json ./
RUN npm ci --offline --no-audit

FROM with-uv AS jobs
ENV THIS_TEST=@once UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /jobs
RUN --mount=type=bind,source=uv.lock,target=uv.lock \\
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \\
    uv sync --locked --no-install-project

FROM devloop-test-busybox:latest
COPY --from=pages /pages /pages
COPY --from=service /service /service
COPY --from=jobs /jobs /jobs
COPY main.js /service/
"""
"""The text has a word in it that no earlier test has had: an engine remembers what it built."""
INSTALLS = (
    "pnpm install --frozen-lockfile --prod",
    "npm ci --offline --no-audit",
    "uv sync --locked --no-install-project",
)


def package(dependencies: Mapping[str, str], test: str = "node a.js") -> str:
    """Return a package.json; its hook is one of those that may stay."""
    scripts = {"test": test, "prepare": "husky || true"}
    document = {"name": "shop", "version": "1.0.0", "type": "module", "scripts": scripts}
    return json.dumps({**document, "dependencies": dependencies})


def npm_lock(dependencies: Mapping[str, str]) -> str:
    links = {f"node_modules/{name}": {"resolved": "lib", "link": True} for name in dependencies}
    root = {"name": "shop", "version": "1.0.0", "dependencies": dependencies}
    packages = {"": root, "lib": {"name": "greet", "version": "1.0.0"}, **links}
    document = {"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "requires": True}
    return json.dumps({**document, "packages": packages})


def pnpm_lock(version: str, integrity: str) -> str:
    return f"""\
lockfileVersion: '9.0'

settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false

importers:

  .:
    dependencies:
      ms:
        specifier: {version}
        version: {version}

packages:

  ms@{version}:
    resolution: {{integrity: sha512-{integrity}}}

snapshots:

  ms@{version}: {{}}
"""


def pyproject(version: str, line_length: str = "100") -> str:
    return f"""\
[project]
name = "shop"
version = "1.0.0"
requires-python = ">=3.11"
dependencies = ["idna=={version}"]

# How it is linted.
[tool.ruff]
line-length = {line_length}
"""


ONE = {"greet": "file:lib"}
TWO = {"greet": "file:lib", "welcome": "file:lib"}
FILES = {
    "pages/package.json": package({"ms": "2.1.3"}),
    "pages/pnpm-lock.yaml": pnpm_lock(
        "2.1.3", "6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="
    ),
    "package.json": package(ONE),
    "package-lock.json": npm_lock(ONE),
    "lib/package.json": '{"name": "greet", "version": "1.0.0"}',
    "lib/index.js": "export default 1\n",
    "main.js": "import 'greet'\n",
    "pyproject.toml": pyproject("3.10"),
}
OTHER = {
    "pages/package.json": package({"ms": "2.1.2"}),
    "pages/pnpm-lock.yaml": pnpm_lock(
        "2.1.2", "sGkPx+VjMtmA6MX27oA4FBFELFCZZ4S4XqeGOXCv68tT+jb3vk/RyaKWP0PTKyWtmLSM0b+adUTEvbs1PEaH2w=="
    ),
    "package.json": package(TWO),
    "package-lock.json": npm_lock(TWO),
    "pyproject.toml": pyproject("3.7"),
}
"""Another dependency for each install."""


def idle() -> Mapping[str, str]:
    """Return the manifests with an edit that no install goes by, another one each time."""
    word = secrets.token_hex(8)
    return {
        "pages/package.json": package({"ms": "2.1.3"}, f"node {word}.js"),
        "package.json": package(ONE, f"node {word}.js"),
        "pyproject.toml": pyproject("3.10", f"{100 + int(word[:4], 16)}"),
    }


@dataclass(frozen=True)
class Project:
    """A project with its history, and its files with another dependency for each install."""

    folder: Path
    other: Mapping[str, str]

    @property
    def dockerfile(self) -> str:
        return (self.folder / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def project(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    for base in ("python:3.11-slim", "node:20-slim"):
        make_base_image(engine, base)
    text = DOCKERFILE.replace("@once", secrets.token_hex(8))
    written(folder, text, FILES)
    first, second = locks(engine, folder, (FILES["pyproject.toml"], OTHER["pyproject.toml"]))
    written(folder, text, {"uv.lock": first})
    commit_versions(folder)
    return Project(folder, {**OTHER, "uv.lock": second})


@pytest.fixture
def workspace(project: Project) -> Iterator[Workspace]:
    location = locate(project.folder, ONLY)
    memory = Memory(location)
    try:
        yield Workspace.remembered(location, ONLY, memory, os.environ)
    finally:
        memory.close()


def test_what_an_idle_edit_of_pyproject_ran_is_proven_to_be_spared(
    project: Project, workspace: Workspace, engine: dict[str, str]
) -> None:
    found = {one.finding.title: one.finding for one in examine(workspace).findings}
    (proposal,) = (finding.proposal for title, finding in found.items() if "pyproject.toml" in title)
    assert proposal is not None, found
    with Trial.open(engine) as trial:
        proof = prove(
            workspace, project.dockerfile.encode(), proposal, engine=trial, edits=["pyproject.toml"]
        )
    verdicts = {check.name: check.verdict for check in proof.checks}
    assert [verdicts[name] for name in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
    edits = proof.check("edits")
    assert edits is not None
    # The proof edits blank space; an edit of a linter's table does the same.
    assert re.match("an edit of pyproject.toml ran .* before and not now", edits.sentence), edits


def test_installs_are_spared_an_edit_of_a_script_or_a_linter_and_no_edit_of_a_dependency(
    tmp_path: Path, project: Project, workspace: Workspace, engine: dict[str, str]
) -> None:
    before = project.dockerfile
    done = fix(workspace, examine(workspace))
    after = done.source.decode()
    assert len(done.done) == len(INSTALLS), [one.finding.stops for one in examine(workspace).findings]
    files = built_files(engine, project.folder, tmp_path / "before")
    assert len(files) > len(FILES)
    assert build(engine, written(project.folder, before, idle())) == ["ran"] * 3
    assert built_files(engine, written(project.folder, after, FILES), tmp_path / "after") == files
    assert build(engine, written(project.folder, after, idle())) == ["cached"] * 3
    assert build(engine, written(project.folder, after, project.other)) == ["ran"] * 3


def built_files(engine: dict[str, str], folder: Path, target: Path) -> dict[str, bytes]:
    """Return the files of an image, without the times that pnpm notes."""
    build(engine, folder, f"type=local,dest={target}")
    return {
        path.relative_to(target).as_posix(): str(path.readlink()).encode()
        if path.is_symlink()
        else re.sub(rb"(prunedAt|lastValidatedTimestamp).*", b"", path.read_bytes())
        for path in target.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def locks(engine: dict[str, str], folder: Path, manifests: tuple[str, ...]) -> list[str]:
    """Let uv write its locks, which say where packages are fetched here; the other locks do not."""
    build = ("docker", "build", "--quiet", "--network=host", "--target=with-uv", str(folder))
    image = subprocess.run(build, env=engine, check=True, capture_output=True, text=True).stdout.strip()
    end = "# end of this lock"
    script = "".join(
        f"cat > pyproject.toml <<'EOF'\n{manifest}EOF\nuv lock --quiet && cat uv.lock && echo '{end}'\n"
        for manifest in manifests
    )
    run = ("docker", "run", "--rm", "--workdir=/lock", "--network=host", image, "sh", "-ec", script)
    said = subprocess.run(run, env=engine, check=True, capture_output=True, text=True).stdout
    subprocess.run(("docker", "image", "rm", image), env=engine, check=False, capture_output=True)
    return said.split(f"{end}\n")[: len(manifests)]


def commit_versions(folder: Path) -> None:
    """Make a history in which three commits edit what no install goes by, and five the source."""
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "config", "user.name", "Ada")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    edits = [idle(), idle(), FILES]
    edits += [{"main.js": f"{FILES['main.js']}{' ' * number}\n"} for number in range(5)]
    for edit in edits:
        written(folder, (folder / "Dockerfile").read_text(), edit)
        git(folder, "commit", "--quiet", "--all", "--message", "work")
    written(folder, (folder / "Dockerfile").read_text(), FILES)


def git(folder: Path, *words: str) -> None:
    subprocess.run(("git", *words), cwd=folder, check=True, capture_output=True)


def build(engine: dict[str, str], folder: Path, output: str = "type=cacheonly") -> list[str]:
    """Build, and tell of each install whether it ran."""
    command = ("docker", "buildx", "build", "--progress=plain", "--network=host", f"--output={output}", ".")
    ended = subprocess.run(command, cwd=folder, env=engine, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    numbers = (next(line.split()[0] for line in lines if line.endswith(install)) for install in INSTALLS)
    return ["cached" if f"{number} CACHED" in lines else "ran" for number in numbers]
