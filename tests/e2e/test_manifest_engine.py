"""An idle edit of a manifest runs the install before the doctor's change and not after it, on an engine."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from dataclasses import dataclass
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
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from devloop.doctor.report import Examined

pytestmark = pytest.mark.docker

ONLY = Settings(network="host", warn_seconds=1, doctor=DoctorSettings(ignore=sorted(FINDINGS - {MANIFEST})))
"""Each proposal is built twice: the others have their own tests."""


@dataclass(frozen=True)
class Case:
    """A project, an edit of its manifest that no install goes by, and files with another dependency.

    The text has a word in it that no earlier test has had: an engine remembers what it built.
    """

    base: str
    dockerfile: str
    install: str
    manifest: str
    files: Mapping[str, str]
    idle: Callable[[str], str]
    other: Mapping[str, str]


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


ONE = {"greet": "file:lib"}
TWO = {"greet": "file:lib", "welcome": "file:lib"}
NPM = Case(
    "node:20-slim",
    """\
FROM node:20-slim AS service
ENV THIS_TEST=@once
WORKDIR /app
COPY lib lib
COPY package.json package-lock.json ./
RUN npm ci --offline --no-audit
COPY main.js ./
CMD ["node", "main.js"]
""",
    "npm ci --offline --no-audit",
    "package.json",
    {
        "package.json": package(ONE),
        "package-lock.json": npm_lock(ONE),
        "lib/package.json": '{"name": "greet", "version": "1.0.0"}',
        "lib/index.js": "export default 1\n",
        "main.js": "import 'greet'\n",
    },
    lambda word: package(ONE, f"node {word}.js"),
    {"package.json": package(TWO), "package-lock.json": npm_lock(TWO)},
)


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


PNPM = Case(
    "node:20-slim",
    """\
FROM node:20-slim AS base
RUN npm install --global pnpm@9.15.0
# What the service needs.
FROM base AS service
ENV THIS_TEST=@once
WORKDIR /app
COPY package.json pnpm-lock.yam* ./
RUN pnpm config set update-notifier false && pnpm install --frozen-lockfile --prod
COPY main.js ./
CMD ["node", "main.js"]
""",
    "pnpm install --frozen-lockfile --prod",
    "package.json",
    {
        "package.json": package({"ms": "2.1.3"}),
        "pnpm-lock.yaml": pnpm_lock(
            "2.1.3",
            "6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA==",
        ),
        "main.js": "import 'ms'\n",
    },
    lambda word: package({"ms": "2.1.3"}, f"node {word}.js"),
    {
        "package.json": package({"ms": "2.1.2"}),
        "pnpm-lock.yaml": pnpm_lock(
            "2.1.2",
            "sGkPx+VjMtmA6MX27oA4FBFELFCZZ4S4XqeGOXCv68tT+jb3vk/RyaKWP0PTKyWtmLSM0b+adUTEvbs1PEaH2w==",
        ),
    },
)


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


UV = Case(
    "python:3.11-slim",
    """\
FROM python:3.11-slim AS base
RUN pip install uv==0.8.0
FROM base
ENV THIS_TEST=@once UV_LINK_MODE=copy UV_NO_CACHE=1
WORKDIR /app
COPY pyproject.toml uv.lock ./
RUN uv sync --locked --no-install-project
COPY main.py ./
CMD [".venv/bin/python", "main.py"]
""",
    "uv sync --locked --no-install-project",
    "pyproject.toml",
    {"pyproject.toml": pyproject("3.10"), "uv.lock": "", "main.py": "import idna\n"},
    lambda word: pyproject("3.10", f"{100 + int(word[:4], 16)}"),
    {"pyproject.toml": pyproject("3.7"), "uv.lock": ""},
)


@pytest.fixture
def trial(engine: dict[str, str]) -> Iterator[Trial]:
    with Trial.open(engine) as opened:
        yield opened


def test_what_an_idle_edit_of_pyproject_ran_is_proven_to_be_spared(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    folder, other = prepared(tmp_path, engine, UV)
    one = found(folder, Proving(engine=trial))
    assert one.finding.proposal is not None, one
    assert one.proof is not None
    verdicts = {check.name: check.verdict for check in one.proof.checks}
    assert [verdicts[name] for name in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
    edits = one.proof.check("edits")
    assert edits is not None
    assert re.match("an edit of pyproject.toml ran .* before and not now", edits.sentence), edits
    # The proof edits blank space; an edit of a linter's table does the same.
    assert reruns(engine, folder, UV, one, other) == ["ran", "cached", "ran"]


@pytest.mark.parametrize("case", [NPM, PNPM], ids=["npm", "pnpm"])
def test_an_install_of_node_is_spared_an_edit_of_a_script_and_no_edit_of_a_dependency(
    tmp_path: Path, engine: dict[str, str], case: Case
) -> None:
    folder, other = prepared(tmp_path, engine, case)
    one = found(folder, Proving())
    assert one.finding.proposal is not None, one
    before = (folder / "Dockerfile").read_text()
    after = apply_edits(before.encode(), one.finding.proposal.edits).decode()
    files = files_of(engine, written(folder, before), tmp_path / "before")
    assert len(files) > len(case.files)
    assert files_of(engine, written(folder, after), tmp_path / "after") == files
    written(folder, before)
    assert reruns(engine, folder, case, one, other) == ["ran", "cached", "ran"]


def files_of(engine: dict[str, str], folder: Path, target: Path) -> dict[str, bytes]:
    """Return the files of the service's folder after a build, without the times that pnpm notes."""
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(f"{dockerfile.read_text()}\nFROM scratch\nCOPY --from=service /app /\n")
    command = ("docker", "buildx", "build", "--network=host", f"--output=type=local,dest={target}", ".")
    subprocess.run(command, cwd=folder, env=engine, check=True, capture_output=True)
    return {
        path.relative_to(target).as_posix(): str(path.readlink()).encode()
        if path.is_symlink()
        else re.sub(rb"(prunedAt|lastValidatedTimestamp).*", b"", path.read_bytes())
        for path in target.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def prepared(tmp_path: Path, engine: dict[str, str], case: Case) -> tuple[Path, Mapping[str, str]]:
    """Write a project with its history; return its folder, and the files with another dependency."""
    make_base_image(engine, case.base)
    files, other = (with_lock(engine, tmp_path / "base", case, one) for one in (case.files, case.other))
    text = case.dockerfile.replace("@once", secrets.token_hex(8))
    folder = written(tmp_path / "project", text, files)
    commit_versions(folder, case)
    return folder, other


def found(folder: Path, proving: Proving) -> Examined:
    location = locate(folder, ONLY)
    memory = Memory(location)
    try:
        workspace = Workspace.remembered(location, ONLY, memory, os.environ)
        (one,) = examine(workspace, proving).findings
    finally:
        memory.close()
    return one


def reruns(
    engine: dict[str, str], folder: Path, case: Case, one: Examined, other: Mapping[str, str]
) -> list[str]:
    """Tell what an idle edit does before the change and after it, and another dependency after it."""
    assert one.finding.proposal is not None, one
    before = (folder / "Dockerfile").read_bytes()
    after = apply_edits(before, one.finding.proposal.edits)
    return [
        install_after(engine, folder, before, case, idle(case)),
        install_after(engine, folder, after, case, idle(case)),
        install_after(engine, folder, after, case, other),
    ]


def with_lock(
    engine: dict[str, str], folder: Path, case: Case, files: Mapping[str, str]
) -> Mapping[str, str]:
    """Let uv write its lock, which says where packages are fetched here; the other locks do not."""
    if case is not UV:
        return files
    written(folder, case.dockerfile)
    build = ("docker", "build", "--quiet", "--network=host", "--target=base", str(folder))
    image = subprocess.run(build, env=engine, check=True, capture_output=True, text=True).stdout.strip()
    script = "cd /tmp && cat > pyproject.toml && uv lock --quiet && cat uv.lock"
    run = ("docker", "run", "--rm", "--interactive", "--network=host", image, "sh", "-c", script)
    locked = subprocess.run(
        run, env=engine, input=files["pyproject.toml"], check=True, capture_output=True, text=True
    )
    subprocess.run(("docker", "image", "rm", image), env=engine, check=False, capture_output=True)
    return {**files, "uv.lock": locked.stdout}


def idle(case: Case) -> Mapping[str, str]:
    return {case.manifest: case.idle(secrets.token_hex(8))}


def commit_versions(folder: Path, case: Case) -> None:
    """Make a history in which three commits edit what no install goes by, and five the source."""
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "config", "user.name", "Ada")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    source = next(name for name in case.files if name.startswith("main."))
    edits = [idle(case), idle(case), {case.manifest: case.files[case.manifest]}]
    edits += [{source: f"{case.files[source]}{' ' * number}\n"} for number in range(5)]
    for edit in edits:
        written(folder, (folder / "Dockerfile").read_text(), edit)
        git(folder, "commit", "--quiet", "--all", "--message", "work")


def git(folder: Path, *words: str) -> None:
    subprocess.run(("git", *words), cwd=folder, check=True, capture_output=True)


def install_after(
    engine: dict[str, str], folder: Path, dockerfile: bytes, case: Case, edit: Mapping[str, str]
) -> str:
    """Build, edit, build again: tell whether the second build ran the install."""
    text = dockerfile.decode()
    build(engine, written(folder, text))
    said = build(engine, written(folder, text, edit))
    number = next(line.split()[0] for line in said.splitlines() if line.endswith(case.install))
    return "cached" if f"{number} CACHED" in said.splitlines() else "ran"


def build(engine: dict[str, str], folder: Path) -> str:
    command = ("docker", "buildx", "build", "--progress=plain", "--network=host", "--output=type=cacheonly")
    return subprocess.run(
        (*command, "."), cwd=folder, env=engine, check=True, capture_output=True, text=True
    ).stderr
