"""Edits of a manifest that change no dependency: history counts them, and installs are spared them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import examine
from devloop.doctor.manifest_installs import StoppedError
from devloop.doctor.manifest_steps import proposal_of
from devloop.doctor.moves import compare_graphs
from devloop.doctor.rules_manifest import MANIFEST, is_idle_edit
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from devloop.state.database import Database
from support.doctor import subject

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


def test_with_the_change_nothing_is_found_any_more(tmp_path: Path) -> None:
    versions = [package(), package(scripts={"test": "a"})]
    (finding,) = found(tmp_path / "before", versions)
    assert finding.proposal is not None
    changed = apply_edits(DOCKERFILE.encode(), finding.proposal.edits).decode()
    assert found(tmp_path / "after", versions, changed) == []


def test_where_the_order_is_wrong_that_is_said_instead(tmp_path: Path) -> None:
    dockerfile = "FROM node:20-slim\nWORKDIR /app\nCOPY . .\nRUN npm ci\n"
    assert found(tmp_path, [package(), package(scripts={"test": "a"})], dockerfile) == []


def test_for_npm_a_stage_writes_the_manifest_that_the_install_reads(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, [package(), package(scripts={"test": "a"})])
    assert without_script(DOCKERFILE, finding) == [
        "FROM node:20-slim AS manifest",
        "WORKDIR /manifest",
        "COPY package.json ./",
        "RUN node - package.json <<'EOF'",
        "EOF",
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


def test_for_poetry_a_stage_with_python_does_it(tmp_path: Path) -> None:
    dockerfile = """\
ARG BASE=python:3.12-slim
# What the image has.
FROM ${BASE} AS base
ENV POETRY_VIRTUALENVS_CREATE=false
# The packages.
FROM base
WORKDIR /app
COPY pyproject.toml poetry.loc* ./
RUN pip install poetry==2.1.0 && poetry config cache-dir /c && poetry install --no-root --only main
COPY src src
"""
    versions = [PROJECT, f"{PROJECT}[tool.ruff]\nline-length = 99\n"]
    (finding,) = found(tmp_path, versions, dockerfile, "pyproject.toml")
    assert without_script(dockerfile, finding) == [
        "ARG BASE=python:3.12-slim",
        "# What the image has.",
        "FROM ${BASE} AS base",
        "ENV POETRY_VIRTUALENVS_CREATE=false",
        "FROM ${BASE} AS manifest",
        "WORKDIR /manifest",
        "COPY pyproject.toml ./",
        "RUN python - pyproject.toml <<'EOF'",
        "EOF",
        "",
        "# The packages.",
        "FROM base",
        "WORKDIR /app",
        "COPY poetry.loc* ./",
        "COPY --from=manifest /manifest/pyproject.toml ./",
        "RUN pip install poetry==2.1.0 && poetry config cache-dir /c && poetry install --no-root --only main",
        "COPY pyproject.toml poetry.loc* ./",
        "COPY src src",
    ]


PROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["flask"]\n'


def without_script(dockerfile: str, finding: Finding) -> list[str]:
    """Return the lines of the proposal without the program that makes the cut."""
    assert finding.proposal is not None, finding.stops
    after = apply_edits(dockerfile.encode(), finding.proposal.edits).decode()
    head, _, rest = after.partition(" <<'EOF'\n")
    _, _, tail = rest.partition("EOF\n")
    return f"{head} <<'EOF'\nEOF\n{tail}".splitlines()


NODE = """\
FROM node:20-slim
WORKDIR /app
COPY package.json package-lock.json yarn.lock pnpm-lock.yaml bun.lock ./
"""
PYTHON = "FROM python:3.12-slim\nWORKDIR /app\nCOPY pyproject.toml uv.lock poetry.lock pdm.lock ./\n"
PIPENV = "FROM python:3.12-slim\nWORKDIR /app\nCOPY Pipfile Pipfile.lock ./\n"
LOCKS = ("package-lock.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "uv.lock", "poetry.lock", "pdm.lock")
OFFERED = ""


def stops(
    tmp_path: Path, dockerfile: str, files: Mapping[str, str] | None = None, path: str = "package.json"
) -> str:
    """Return why there is no proposal for the last RUN that installs; OFFERED where there is one."""
    texts: dict[str, str] = {
        "package.json": package(),
        "pyproject.toml": PROJECT,
        "Pipfile": '[packages]\nflask = "*"\n',
        "Pipfile.lock": "{}",
        "composer.json": "{}",
        "Gemfile": "",
        "other.json": "{}",
        **dict.fromkeys(LOCKS, "{}"),
        **(files or {}),
    }
    read = subject(tmp_path, dockerfile, texts)
    one = next(step for step in reversed(read.steps) if step.step.keyword == "RUN")
    try:
        proposal_of(read, one, (path,))
    except StoppedError as stopped:
        return stopped.reason
    return OFFERED


@pytest.mark.parametrize(
    "command",
    [
        "npm ci",
        "npm ci --omit=dev --cache /c && npm cache clean --force",
        "yarn install --frozen-lockfile",
        "yarn config set network-timeout 600000 && yarn --immutable",
        "npm install -g pnpm@9 && pnpm config set store-dir /c && pnpm i --frozen-lockfile --prod",
        "bun install --frozen-lockfile",
        "npm install -g pnpm@9 && pnpm install --frozen-lockfile",
        "npm ci 2>&1 && rm -rf /tmp/* ~/.npm && npm --version > /dev/null",
    ],
)
def test_an_install_from_a_lock_of_node_is_understood(tmp_path: Path, command: str) -> None:
    assert stops(tmp_path, f"{NODE}RUN {command}\n") == OFFERED
    assert stops(tmp_path / "mount", f"{NODE}RUN --mount=type=cache,target=/c {command}\n") == OFFERED


@pytest.mark.parametrize(
    "command",
    [
        "pip install uv && uv sync --frozen --no-install-project --extra web --no-dev",
        "uv sync --locked --no-install-project",
        "poetry install --no-root --with dev",
        "pip install --no-cache-dir 'poetry==1.8.3' && poetry install --no-root && rm -rf $POETRY_CACHE_DIR",
        "pdm sync --no-self -G web",
        "python -m venv /venv && . /venv/bin/activate && pip install poetry && poetry install --no-root",
        "pdm install --frozen-lockfile --no-self",
    ],
)
def test_an_install_from_a_lock_of_python_is_understood(tmp_path: Path, command: str) -> None:
    assert stops(tmp_path, f"{PYTHON}RUN {command}\n", path="pyproject.toml") == OFFERED


def test_pipenv_is_spared_its_scripts(tmp_path: Path) -> None:
    assert stops(tmp_path, f"{PIPENV}RUN pipenv sync --dev\n", path="Pipfile") == OFFERED
    assert is_idle_edit("Pipfile", b'[packages]\na = "*"\n', b'[packages]\na = "*"\n\n[scripts]\nb = "c"\n')


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("npm install", "`npm install` may write the lock file, which the copy below would undo"),
        ("npm ci && npm run build", "`npm run build` in the same step may read the manifest"),
        ("npm ci && cat package.json", "`cat package.json` in the same step may read the manifest"),
        ("npm ci --omit=$(cat package.json)", "`cat package.json` in the same step may read the manifest"),
        ("npm ci && npm install left-pad", "`npm install left-pad` in the same step may read the manifest"),
        ("rm -rf ./* && npm ci", "`rm -rf ./*` in the same step may read the manifest"),
        ("rm -rf /app && npm ci", "`rm -rf /app` in the same step may read the manifest"),
        (". ./env.sh && npm ci", "the step takes commands from ./env.sh"),
        ("alias npm='cat package.json;npm' && npm ci", "the step takes commands from npm='cat"),
        ("npm ci > package.json", "the step reads or writes files by itself"),
        ("npm ci || pnpm i --frozen-lockfile", "the step does not hold exactly one install that is known"),
        ("if [ -f a ]; then npm ci; fi", "`[ -f a ]` in the same step may read the manifest"),
        ("test || npm ci", "`test` in the same step may read the manifest"),
        ("true || npm ci", "the install is one of several branches"),
        (
            "cd a && cd b && npm ci",
            "the step changes its folder more than once",
        ),
        (
            "yarn config set nodeLinker node-modules && yarn --immutable",
            "`yarn config set nodeLinker node-modules` may write to a file that the copy below brings again",
        ),
        (
            "npm config set --location=project a b && npm ci",
            "`npm config set --location=project a b` may write to a file that the copy below brings again",
        ),
        (
            "corepack enable && pnpm i --frozen-lockfile",
            "corepack may write packageManager into package.json, which does not name it",
        ),
        (
            "bun ci --fix-lockfile",
            "`bun ci --fix-lockfile` may write the lock file, which the copy below would undo",
        ),
        ("npm ci -w web", "`npm ci -w web` names a part of the project, or another place"),
        ("cd web && npm ci", "the install works in another folder than the copy of the manifest"),
        ("cd $WEB && npm ci", "$WEB is no plain folder"),
        ("yarn", "`yarn` may write the lock file, which the copy below would undo"),
        ("corepack use pnpm@9 && npm ci", "`corepack use pnpm@9` in the same step may read the manifest"),
        ("bun pm trust x && npm ci", "`bun pm trust x` in the same step may read the manifest"),
        ("npm install -g . && npm ci", "the step does not hold exactly one install that is known"),
        ("pipx install ./ && npm ci", "`pipx install ./` in the same step may read the manifest"),
        ("pip install . && npm ci", "`pip install .` in the same step may read the manifest"),
        (
            "export X=$(cat package.json) && npm ci",
            "`cat package.json` in the same step may read the manifest",
        ),
        ("X=`cat package.json` && npm ci", "`cat package.json` in the same step may read the manifest"),
        ("composer install", "composer writes what the manifest says of the project into vendor/composer"),
        ("cargo fetch", "an image of Rust has nothing that reads TOML"),
        ("bundle install", "a Gemfile is a program"),
        ("uv sync --frozen", "uv does not read package.json"),
    ],
)
def test_a_step_that_leaves_a_doubt_gets_no_proposal(tmp_path: Path, command: str, reason: str) -> None:
    assert stops(tmp_path, f"{NODE}RUN {command}\n") == reason


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        (NODE.replace("node:", "acme/node:"), "the stage does not start from the official image of node"),
        (NODE.replace("node:", "debian:"), "the stage does not start from the official image of node"),
        (NODE.replace("COPY", "ADD"), "the manifest is added, not copied"),
        ("FROM node:20-slim\nWORKDIR /app\nCOPY . .\n", "the manifest is copied with its whole folder"),
        (f"{NODE}COPY . .\n", "the manifest is copied more than once"),
        (NODE.replace("COPY", "COPY --parents"), "no plain copy brings the manifest"),
        (f"{NODE}COPY other.json ./yarn.lock\n", "one copy overwrites what another one brought"),
        (f"{NODE}COPY package.json ./\n", "the manifest is copied more than once"),
        (f"{NODE}RUN npm run x\n", "a step between the copy and the install may read the manifest"),
        (
            f"{NODE}RUN --mount=type=bind,target=/x true\n",
            "a step between the copy and the install may read the manifest",
        ),
        (f"{NODE}COPY --from=busybox / /\n", "a copy from elsewhere may put another manifest in its place"),
        (f"FROM busybox\n{NODE}COPY --from=0 /etc/passwd /x\n", "a stage is named by its number"),
        (f"{NODE}WORKDIR web\n", "the install works in another folder than the copy of the manifest"),
        (
            NODE.replace("FROM node:20-slim", "FROM node:20-slim AS a") + "FROM a\nWORKDIR /app\n",
            "the manifest is copied in another stage",
        ),
        (f"# syntax=docker/dockerfile:1.2\n{NODE}", "docker/dockerfile:1.2 may read no here-documents"),
        (
            f"# syntax=docker/dockerfile@sha256:{'0' * 64}\n{NODE}",
            f"docker/dockerfile@sha256:{'0' * 64} may read no here-documents",
        ),
        (f"# syntax=docker/dockerfile:1.10-labs\n{NODE}", OFFERED),
        (f"\ufeff{NODE}", "the file begins with a byte order mark, which has to stay there"),
        (NODE.replace("package-lock.json ", ""), "no lock file beside the manifest says what is installed"),
    ],
)
def test_a_place_that_leaves_a_doubt_gets_no_proposal(tmp_path: Path, dockerfile: str, reason: str) -> None:
    assert stops(tmp_path, f"{dockerfile}RUN npm ci\n") == reason


@pytest.mark.parametrize(
    ("command", "files", "reason"),
    [
        ("npm ci", {"package.json": package(workspaces=["a"])}, OFFERED),
        (
            "npm ci",
            {"package.json": package(scripts={"prepare": "node a.js"})},
            "a hook in package.json may read all of it",
        ),
        ("npm ci", {"package.json": package(scripts={"prepare": "husky || true"})}, OFFERED),
        ("npm ci", {"package.json": "{"}, "package.json cannot be read"),
        ("pnpm i --frozen-lockfile", {".pnpmfile.cjs": "x"}, "a hook of pnpm may read all of the manifest"),
        (
            "pnpm i --frozen-lockfile",
            {".npmrc": "pnpmfile=hooks.cjs\n"},
            "a hook of pnpm may read all of the manifest",
        ),
        (
            "pnpm i --frozen-lockfile",
            {"pnpm-workspace.yaml": "configDependencies:\n"},
            "a hook of pnpm may read all of the manifest",
        ),
        (
            "corepack enable && pnpm i --frozen-lockfile",
            {"package.json": package(packageManager="pnpm@9.1.0")},
            OFFERED,
        ),
        (
            "yarn --immutable",
            {".yarnrc.yml": "plugins:\n"},
            "plugins or constraints of yarn may read all of the manifest",
        ),
    ],
)
def test_what_stands_in_the_files_of_node_may_stop_it(
    tmp_path: Path, command: str, files: dict[str, str], reason: str
) -> None:
    assert stops(tmp_path, f"{NODE}RUN {command}\n", files) == reason


@pytest.mark.parametrize(
    ("command", "more", "reason"),
    [
        ("uv sync --frozen", "", OFFERED),
        (
            "uv sync --frozen",
            '[build-system]\nbuild-backend = "hatchling.build"\n',
            "the project itself is installed, with all that its manifest says",
        ),
        ("poetry install", "", "the project itself is installed, with all that its manifest says"),
        (
            "poetry install",
            "[tool.poetry]\npackage-mode = false\n",
            "without --no-root the project itself would be installed as soon as it is a package",
        ),
        ("poetry install --no-root", "[tool.poetry]\npackage-mode = false\n", OFFERED),
        (
            "uv sync --locked --no-install-project",
            "[tool.poetry]\n",
            "pyproject.toml is a manifest of two tools",
        ),
        (
            "uv sync --frozen --no-install-project",
            "[tool.poetry]\n",
            "pyproject.toml is a manifest of two tools",
        ),
        ("uv sync --frozen --no-install-workspace", '[tool.uv.workspace]\nmembers = ["a"]\n', OFFERED),
        (
            "uv sync --frozen --no-install-project",
            '[tool.uv.workspace]\nmembers = ["a"]\n',
            "the project itself is installed, with all that its manifest says",
        ),
        (
            "pdm sync --no-self",
            '[tool.pdm.scripts]\npost_install = "x"\n',
            "scripts or plugins of pdm may read all of the manifest",
        ),
        (
            "poetry install --no-root",
            '[tool.poetry]\ndescription = """\na\n\nb"""\n',
            "a text or an array in pyproject.toml goes over lines that look like tables",
        ),
    ],
)
def test_what_stands_in_the_manifest_of_python_may_stop_it(
    tmp_path: Path, command: str, more: str, reason: str
) -> None:
    files = {"pyproject.toml": PROJECT + more}
    assert stops(tmp_path, f"{PYTHON}RUN {command}\n", files, "pyproject.toml") == reason


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("python:3.11", OFFERED),
        ("docker.io/library/python:3.13-alpine", OFFERED),
        ("ghcr.io/astral-sh/uv:python3.12-bookworm-slim", OFFERED),
        ("python:3.10", "nothing says that the image has Python 3.11 or later, which reads TOML"),
        ("python:3", "nothing says that the image has Python 3.11 or later, which reads TOML"),
        ("python:3.12-onbuild", "the image is one of Windows, or has triggers"),
        ("python:3.12-windowsservercore", "the image is one of Windows, or has triggers"),
    ],
)
def test_the_image_has_to_have_a_python_that_reads_toml(tmp_path: Path, image: str, reason: str) -> None:
    dockerfile = PYTHON.replace("python:3.12-slim", image)
    assert stops(tmp_path, f"{dockerfile}RUN poetry install --no-root\n", path="pyproject.toml") == reason


MEMBERS = """\
FROM node:20-slim
WORKDIR /app
COPY package*.json ./
COPY web/package.json web/
COPY shared/package.json shared/tsconfig.json ./shared/
RUN npm ci
COPY . .
"""
IN_WORKSPACE = {
    "package.json": package(workspaces=["web", "shared"]),
    "package-lock.json": "{}",
    "web/package.json": package(),
    "shared/package.json": package(name="shared"),
    "shared/tsconfig.json": "{}",
}


def test_the_manifests_of_a_workspace_are_cut_by_one_stage(tmp_path: Path) -> None:
    read = subject(tmp_path, MEMBERS, IN_WORKSPACE)
    one = next(step for step in read.steps if step.step.keyword == "RUN")
    proposal = proposal_of(read, one, ("web/package.json", "shared/package.json", "package.json"))
    after = apply_edits(read.source, proposal.edits).decode()
    assert after.startswith("""\
FROM node:20-slim AS manifest
WORKDIR /manifest
COPY package.json ./
COPY shared/package.json shared/
COPY web/package.json web/
RUN node - package.json shared/package.json web/package.json <<'EOF'
""")
    assert after.endswith("""\
FROM node:20-slim
WORKDIR /app
COPY package-lock.json ./
COPY --from=manifest /manifest/package.json ./
COPY --from=manifest /manifest/web/package.json web/
COPY shared/tsconfig.json ./shared/
COPY --from=manifest /manifest/shared/package.json ./shared/
RUN npm ci
COPY package*.json ./
COPY web/package.json web/
COPY shared/package.json shared/tsconfig.json ./shared/
COPY . .
""")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"web/package.json": package(scripts={"prepare": "node a.js"})},
            "a hook in web/package.json may read all of it",
        ),
        (
            {"package.json": package(scripts={"prepare": "npm run x -ws"})},
            "a hook in package.json may read all of it",
        ),
        (
            {"web/package.json": package(dependencies={"shared": "file:../shared"})},
            "a member of the workspace may be copied into node_modules",
        ),
        ({".npmrc": "install-links=true\n"}, "a member of the workspace may be copied into node_modules"),
    ],
)
def test_a_workspace_in_which_a_manifest_is_read_or_kept_is_left_alone(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    dockerfile = MEMBERS.removesuffix("COPY . .\n")
    assert stops(tmp_path, dockerfile, {**IN_WORKSPACE, **files}, "shared/package.json") == reason


@pytest.mark.parametrize("spec", ["./shared", "../shared", "/app/shared", "~/shared"])
def test_a_member_that_is_named_by_its_path_may_be_copied(tmp_path: Path, spec: str) -> None:
    files = {**IN_WORKSPACE, "web/package.json": package(main="./a.js", dependencies={"shared": spec})}
    dockerfile = MEMBERS.removesuffix("COPY . .\n").replace("npm ci", "yarn --frozen-lockfile")
    dockerfile = dockerfile.replace("package*.json", "package.json yarn.lock")
    reason = "a member of the workspace may be copied into node_modules"
    files["yarn.lock"] = ""
    assert stops(tmp_path, dockerfile, files, "shared/package.json") == reason
    files["web/package.json"] = package(main="./a.js")
    assert stops(tmp_path / "without", dockerfile, files, "shared/package.json") == OFFERED


@pytest.mark.parametrize(
    "more", ["ENV NPM_CONFIG_INSTALL_LINKS=true\nRUN npm ci\n", "RUN npm ci --install-links\n"]
)
def test_npm_may_be_told_to_copy_members(tmp_path: Path, more: str) -> None:
    dockerfile = MEMBERS.removesuffix("RUN npm ci\nCOPY . .\n") + more
    reason = "a member of the workspace may be copied into node_modules"
    assert stops(tmp_path, dockerfile, IN_WORKSPACE, "shared/package.json") == reason


def test_nx_reads_scripts_when_it_is_installed(tmp_path: Path) -> None:
    dockerfile = NODE.replace("bun.lock", "nx.json")
    reason = "nx reads all of the manifest when it is installed"
    assert stops(tmp_path, f"{dockerfile}RUN npm ci\n", {"nx.json": "{}"}) == reason


def test_a_local_package_that_uv_builds_keeps_its_version(tmp_path: Path) -> None:
    dockerfile = PYTHON + "COPY lib/pyproject.toml lib/\nRUN uv sync --frozen --no-install-workspace\n"
    root = PROJECT.replace("flask", "lib") + '[tool.uv.sources]\nlib = { path = "lib" }\n'
    files = {"pyproject.toml": root, "lib/pyproject.toml": PROJECT}
    reason = "the project itself is installed, with all that its manifest says"
    assert stops(tmp_path, dockerfile, files, "lib/pyproject.toml") == reason
    dockerfile = dockerfile.replace("workspace", "local")
    assert stops(tmp_path / "local", dockerfile, files, "lib/pyproject.toml") == OFFERED


MOUNTED = """\
FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim
WORKDIR /app
# What the service needs.
RUN --mount=type=cache,target=/root/.cache/uv \\
    --mount=type=bind,source=uv.lock,target=uv.lock \\
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \\
    uv sync --locked --no-install-project
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked
"""


def test_a_mounted_manifest_is_mounted_from_the_stage(tmp_path: Path) -> None:
    read = subject(tmp_path, MOUNTED, {"pyproject.toml": PROJECT, "uv.lock": ""})
    one = next(step for step in read.steps if step.step.keyword == "RUN")
    proposal = proposal_of(read, one, ("pyproject.toml",))
    after = apply_edits(read.source, proposal.edits).decode()
    mount = "source=pyproject.toml"
    assert after.endswith(MOUNTED.replace(mount, "from=manifest,source=/manifest/pyproject.toml"))
    assert after.startswith("FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim AS manifest\n")
    again = subject(tmp_path / "after", after, {"pyproject.toml": PROJECT, "uv.lock": ""})
    assert compare_graphs(read.model.graph, again.model.graph, proposal.intends) == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("source=pyproject.toml,", "", "the manifest is mounted with its whole folder"),
        ("source=pyproject.toml", "source=.", "the manifest is mounted with its whole folder"),
        (
            "target=pyproject.toml",
            "target=pyproject.toml,rw",
            "the manifest is mounted in a way that is not known",
        ),
        (
            "target=pyproject.toml",
            "target=$WHERE/pyproject.toml",
            "the manifest is mounted in a way that is not known",
        ),
        (
            "source=pyproject.toml",
            "source=$A/pyproject.toml",
            "the manifest is mounted in a way that is not known",
        ),
        (
            "target=pyproject.toml",
            "target=web/pyproject.toml",
            "the install works in another folder than the mount of the manifest",
        ),
        (
            "--mount=type=bind,source=uv.lock,target=uv.lock",
            "",
            "no lock file is mounted beside the manifest",
        ),
        (
            "source=uv.lock,target=uv.lock",
            "from=busybox,target=/app",
            "no lock file is mounted beside the manifest",
        ),
        (
            "type=cache,target=/root/.cache/uv",
            "type=bind,from=busybox,target=/app",
            "another mount lies over that of the manifest",
        ),
        (
            "uv sync",
            "cat pyproject.toml && uv sync",
            "`cat pyproject.toml` in the same step may read the manifest",
        ),
        (
            "source=pyproject.toml,",
            "source=pyproject.toml,\\\n",
            "the mount of the manifest is not written in one piece",
        ),
    ],
)
def test_a_mount_that_leaves_a_doubt_gets_no_proposal(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    dockerfile = "".join(MOUNTED.partition("    uv sync --locked --no-install-project\n")[:2])
    assert stops(tmp_path, dockerfile, path="pyproject.toml") == OFFERED
    assert old in dockerfile
    assert stops(tmp_path / "doubt", dockerfile.replace(old, new), path="pyproject.toml") == reason


def test_a_member_that_is_copied_where_the_root_is_mounted_is_left_alone(tmp_path: Path) -> None:
    mount = "--mount=type=bind,source=package.json,target=package.json"
    dockerfile = f"{NODE.replace('package.json ', 'web/package.json ')}RUN {mount} npm ci\n"
    files = {"web/package.json": package()}
    assert (
        stops(tmp_path, dockerfile, files, "web/package.json")
        == "one manifest is mounted, another one is not"
    )


def test_a_stage_of_that_name_makes_the_new_one_take_another(tmp_path: Path) -> None:
    copies = "COPY --from=manifest /a /\nCOPY --from=manifest-2 /b /\n"
    files = {"package.json": package(), **dict.fromkeys(LOCKS, "{}")}
    read = subject(tmp_path, f"FROM busybox AS manifest\n{NODE}RUN npm ci\n{copies}", files)
    one = next(step for step in read.steps if step.step.keyword == "RUN")
    after = apply_edits(read.source, proposal_of(read, one, ("package.json",)).edits).decode()
    assert "COPY --from=manifest-3 /manifest/package.json ./" in after
    assert "FROM node:20-slim AS manifest-3\n" in after


def test_a_context_of_that_name_makes_the_new_stage_take_another(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    chosen = Settings(build_context={"Manifest": str(tmp_path / "other")})
    files = {"package.json": package(), **dict.fromkeys(LOCKS, "{}")}
    dockerfile = f"{NODE}RUN npm ci\nCOPY --from=MANIFEST-2 /a /\nCOPY --from=Manifest /b /\n"
    read = subject(tmp_path, dockerfile, files, settings=chosen)
    one = next(step for step in read.steps if step.step.keyword == "RUN")
    after = apply_edits(read.source, proposal_of(read, one, ("package.json",)).edits).decode()
    assert "FROM node:20-slim AS manifest-3\n" in after


@pytest.mark.parametrize(
    ("lock", "command", "is_written"),
    [("poetry", "poetry install --no-root", True), ("uv", "uv sync --frozen", False)],
)
def test_only_a_stage_for_poetry_or_pdm_writes_another_version(
    tmp_path: Path, lock: str, command: str, is_written: bool
) -> None:
    files = {"pyproject.toml": PROJECT, f"{lock}.lock": ""}
    dockerfile = f"FROM python:3.12\nWORKDIR /app\nCOPY pyproject.toml {lock}.lock ./\nRUN {command}\n"
    read = subject(tmp_path, dockerfile, files)
    one = next(step for step in read.steps if step.step.keyword == "RUN")
    after = apply_edits(read.source, proposal_of(read, one, ("pyproject.toml",)).edits).decode()
    assert ("version *= *" in after) is is_written


def test_a_version_is_idle_for_poetry_and_pdm_only(tmp_path: Path) -> None:
    newer = PROJECT.replace('"1"', '"2"')
    assert not is_idle_edit("pyproject.toml", PROJECT.encode(), newer.encode())
    of_poetry = '[build-system]\nbuild-backend = "poetry.core.masonry.api"\n'
    assert is_idle_edit("pyproject.toml", (PROJECT + of_poetry).encode(), (newer + of_poetry).encode())
    assert not is_idle_edit("package.json", package(version="1").encode(), package(version="2").encode()), (
        "npm writes it into node_modules"
    )


def test_only_what_the_stage_stops_counts_as_idle() -> None:
    assert not is_idle_edit("package-lock.json", b"{}", b"{ }"), "the lock is copied whole"
    assert not is_idle_edit("package.json", package().encode(), package(funding="x").encode())
    assert is_idle_edit("web/package.json", package().encode(), package(description="x").encode())
    assert is_idle_edit("pyproject.toml", PROJECT.encode(), f"# New.\n{PROJECT}\n[tool.mypy]\n".encode())
    assert not is_idle_edit("pyproject.toml", PROJECT.encode(), f"{PROJECT}[tool.unknown]\n".encode())
    assert is_idle_edit("composer.json", b'{"require": {}}', b'{"require": {}, "description": "x"}')


def test_a_hook_that_an_install_runs_is_no_idle_edit() -> None:
    hooked = package(scripts={"postinstall": "node a.js"}).encode()
    assert not is_idle_edit("package.json", package().encode(), hooked)
    assert not is_idle_edit("package.json", package().encode(), b"{")
    assert is_idle_edit("package.json", package().encode(), package(jest={}).encode())
