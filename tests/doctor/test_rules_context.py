"""What reaches a COPY: junk with the exact lines that keep it out, secrets, and what has to stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_context
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_context.RULES)


NODE = "FROM node:20\nWORKDIR /app\nCOPY package.json .\nRUN npm install\nCOPY . .\n"
NODE_FILES = {"package.json": "{}", "server.js": "1"}
PYTHON = "FROM python:3.11\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\n"
PYTHON_FILES = {"requirements.txt": "flask\n", "app.py": "1"}


def test_without_an_ignore_file_one_is_written_with_what_is_there(examine: Callable[..., Patient]) -> None:
    files = {".git/HEAD": "ref", "node_modules/a/index.js": "x" * 200_000, "web/node_modules/b.js": "1"}
    patient = examine(NODE, {**NODE_FILES, **files})
    finding = patient.only("no-ignore-file")
    assert patient.written("no-ignore-file") == "**/node_modules\n.git\n"
    assert (finding.first_line, finding.category, finding.bytes) == (5, "speed", 200_004)
    assert finding.title == ("node_modules, .git reach COPY on line 5, and there is no .dockerignore")
    assert "0.2 MB" in finding.why


def test_lines_are_put_behind_the_text_that_is_there(examine: Callable[..., Patient]) -> None:
    patient = examine(NODE, {**NODE_FILES, ".dockerignore": "# ours\r\n*.log", ".git/HEAD": "ref"})
    assert patient.written("context-junk") == "# ours\r\n*.log\r\n.git\r\n"


def test_the_ignore_file_of_the_dockerfile_itself_is_the_one_in_force(
    examine: Callable[..., Patient],
) -> None:
    files = {"Dockerfile.dockerignore": "*.log\n", ".dockerignore": ".git\n", ".git/HEAD": "ref"}
    patient = examine(NODE, {**NODE_FILES, **files})
    assert patient.written("context-junk", "Dockerfile.dockerignore") == "*.log\n.git\n"


def test_prose_counts_where_an_expensive_step_stands_on_the_copy(examine: Callable[..., Patient]) -> None:
    files = {**PYTHON_FILES, "README.md": "# an app", "compose.yaml": "services: {}"}
    assert examine(PYTHON, files).written("no-ignore-file") == "Dockerfile\nREADME.md\ncompose.yaml\n"
    last = "FROM python:3.11\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n"
    assert examine(last, files).codes == []


def test_the_title_counts_what_it_names(examine: Callable[..., Patient]) -> None:
    finding = examine(PYTHON, {**PYTHON_FILES, "README.md": "1", ".git/HEAD": "ref"}).only("no-ignore-file")
    assert finding.title.startswith(".git reaches COPY on line 3")


def test_a_readme_that_the_project_names_stays(examine: Callable[..., Patient]) -> None:
    files = {**PYTHON_FILES, "README.md": "# an app", "pyproject.toml": '[project]\nreadme = "README.md"\n'}
    assert "README" not in examine(PYTHON, files).written("no-ignore-file")
    named = PYTHON + "RUN cat README.md\n"
    assert "README" not in examine(named, {**PYTHON_FILES, "README.md": "x"}).written("no-ignore-file")


def test_what_a_build_on_the_host_made_goes_where_a_step_makes_it_anew(
    examine: Callable[..., Patient],
) -> None:
    rust = "FROM rust:1.80\nCOPY . .\nRUN cargo build --release\n"
    files = {"Cargo.toml": "", "src/main.rs": "", "target/debug/a": "x", ".dockerignore": "Dockerfile\n"}
    assert examine(rust, files).written("context-junk") == "Dockerfile\ntarget\n"
    assert examine("FROM debian:12\nCOPY . .\nCMD target/debug/a\n", files).codes == []


def test_a_folder_with_a_common_name_goes_only_where_git_ignores_it_too(
    examine: Callable[..., Patient],
) -> None:
    text = NODE + "RUN npm run build\n"
    files = {**NODE_FILES, "dist/a.js": "1", ".dockerignore": "Dockerfile\n"}
    assert examine(text, files).codes == []
    assert examine(text, {**files, ".gitignore": "/dist/\n"}).written("context-junk").endswith("\ndist\n")


def test_large_files_are_told_and_left_to_the_author(examine: Callable[..., Patient]) -> None:
    files = {**NODE_FILES, "data/a.bin": b"\0" * 60_000_000, ".dockerignore": "Dockerfile\n"}
    patient = examine(NODE, files)
    assert patient.only("context-junk").bytes == 60_000_000
    assert "names" in patient.stops("context-junk")


GIT = {".git/HEAD": "ref", ".dockerignore": "Dockerfile\n"}
KEPT = {
    "a step asks git": (NODE + "RUN git describe --tags > version\n", GIT),
    "a script of the project asks git": (NODE, {**GIT, "Makefile": "V := $(shell git rev-parse HEAD)\n"}),
    "the version comes from the history": (NODE, {**GIT, "pyproject.toml": 'requires = ["setuptools-scm"]'}),
    "the Dockerfile copies the modules of the host": (
        NODE + "COPY node_modules node_modules\n",
        {"node_modules/a.js": "1", ".dockerignore": "Dockerfile\n"},
    ),
    "no step installs the modules": (
        "FROM node:20\nCOPY . .\n",
        {"node_modules/a.js": "1", ".dockerignore": "Dockerfile\n"},
    ),
    "no COPY takes the folder": (
        "FROM node:20\nCOPY package.json .\nRUN npm install\nCOPY src src\n",
        {".git/HEAD": "ref", "node_modules/a.js": "1", "src/a.js": "1"},
    ),
    "an allow-list lets nothing through": (NODE, {".git/HEAD": "ref", ".dockerignore": "*\n!*.js*\n"}),
    "a folder named venv is no environment": (
        PYTHON,
        {"venv/notes.py": "1", ".dockerignore": "Dockerfile\n"},
    ),
}


@pytest.mark.parametrize(("text", "files"), KEPT.values(), ids=list(KEPT))
def test_what_is_needed_or_costs_nothing_is_left_alone(
    examine: Callable[..., Patient], text: str, files: dict[str, str]
) -> None:
    assert examine(text, {**NODE_FILES, **PYTHON_FILES, **files}).codes == []


def test_a_folder_that_the_ignore_file_keeps_on_purpose_stops_the_proposal(
    examine: Callable[..., Patient],
) -> None:
    files = {**NODE_FILES, "node_modules/a.js": "1", ".dockerignore": "node_modules/*\n!node_modules/a.js\n"}
    assert "on purpose" in examine(NODE, files).stops("context-junk")


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def test_secrets_are_told_by_content_and_kept_out(examine: Callable[..., Patient]) -> None:
    files = {".env": "DB_PASSWORD=hunter2\n", "deploy/id_rsa": KEY, ".dockerignore": "Dockerfile"}
    patient = examine(NODE, {**NODE_FILES, **files})
    assert patient.only("secret-in-context").category == "security"
    assert patient.written("secret-in-context") == "Dockerfile\n.env\ndeploy/id_rsa\n"


def test_a_secret_that_a_copy_names_is_told_where_no_folder_is_copied(
    examine: Callable[..., Patient],
) -> None:
    text = "FROM node:20\nCOPY package.json .npmrc ./\nRUN npm ci\n"
    patient = examine(text, {**NODE_FILES, ".npmrc": "//registry/:_authToken=npm_9fQ2sLkX\n"})
    assert patient.only("secret-in-context").first_line == 2
    assert ".npmrc" in patient.stops("secret-in-context")


def test_an_account_of_a_service_is_told_by_its_key_whatever_its_name(
    examine: Callable[..., Patient],
) -> None:
    account = '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE"}'
    files = {"gcp.json": account, "schema.json": '{"properties": {"private_key": {"type": "string"}}}'}
    assert examine(NODE, {**NODE_FILES, **files}).written("secret-in-context").splitlines()[-1] == "gcp.json"


def test_prose_that_a_copy_names_is_the_product(examine: Callable[..., Patient]) -> None:
    text = "FROM python:3.12\nCOPY mkdocs.yml ./\nCOPY docs/ docs/\nRUN pip install mkdocs && mkdocs build\n"
    assert examine(text, {"mkdocs.yml": "site_name: x\n", "docs/index.md": "# x\n"}).codes == []


def test_a_secret_that_the_program_reads_is_told_without_a_proposal(examine: Callable[..., Patient]) -> None:
    files = {"server.js": 'require("fs").readFileSync(".env")', ".env": "API_KEY=abc123\n"}
    assert ".env" in examine(NODE, {**NODE_FILES, **files}).stops("secret-in-context")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("server.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"),
        (".env", "PORT=3000\nAPI_KEY=\nSECRET=changeme\nTOKEN=${TOKEN}\n"),
        (".env.example", "API_KEY=abc123\n"),
        (".npmrc", "registry=http://localhost:4873\n//x/:_authToken=${NPM_TOKEN}\n"),
        ("tests/id_rsa", KEY),
    ],
)
def test_what_only_looks_like_a_secret_is_none(
    examine: Callable[..., Patient], path: str, content: str
) -> None:
    files = {**NODE_FILES, path: content, ".dockerignore": "Dockerfile\n"}
    assert examine(NODE, files).codes == []


def test_a_secret_that_no_copy_takes_is_none(examine: Callable[..., Patient]) -> None:
    files = {**NODE_FILES, "src/a.js": "1", ".env": "API_KEY=abc123\n"}
    assert examine("FROM node:20\nCOPY src src\n", files).codes == []
