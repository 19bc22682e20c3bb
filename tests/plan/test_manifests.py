"""What a plan says of an edited manifest: the dependency that came, or that none did."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.plan.manifests import WITHOUT_DEPENDENCY_CHANGE
from devloop.planning import plan_revision
from devloop.project.memory import Memory
from support.built_project import Project, as_text

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.plan.model import Plan, Warned

NPM = """FROM node:22
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY src ./src
CMD ["node", "src/main.js"]
"""
PACKAGE = """{
  "version": "1.0.0",
  "scripts": {"dev": "vite", "postinstall": "patch-package"},
  "dependencies": {"express": "4.18.0"}
}
"""
LOCK = """{"lockfileVersion": 3, "packages": {"node_modules/express": {"version": "4.18.0"}}}
"""


def npm(folder: Path, dockerfile: str = NPM) -> Project:
    files = {"package.json": PACKAGE, "package-lock.json": LOCK, "src/main.js": "1"}
    return Project(folder / "shop", dockerfile, files).base("node:22").built()


def warned(plan: Plan) -> Warned:
    (found,) = plan.warnings
    return found


def test_a_dependency_that_came_is_named(tmp_path: Path) -> None:
    project = npm(tmp_path).replace("package.json", '"4.18.0"', '"4.18.0", "pg": "8.11"')
    one = warned(project.plan())
    assert one.code == "dependency-install"
    assert one.manifest == "dependencies added: pg 8.11; package-lock.json is untouched"


def test_manifest_and_lock_are_both_told(tmp_path: Path) -> None:
    project = npm(tmp_path).replace("package.json", "4.18.0", "4.19.0")
    project.replace("package-lock.json", "4.18.0", "4.19.0")
    assert warned(project.plan()).manifest == (
        "package-lock.json: express 4.18.0 -> 4.19.0; package.json: express 4.18.0 -> 4.19.0"
    )


def test_an_edit_of_scripts_is_a_warning_of_its_own_with_another_way_out(tmp_path: Path) -> None:
    one = warned(npm(tmp_path).replace("package.json", '"vite"', '"vite --host"').plan())
    assert one.code == WITHOUT_DEPENDENCY_CHANGE
    assert one.manifest == (
        "no dependency changed: only scripts; package-lock.json is untouched,"
        " and BuildKit installs all the same"
    )
    assert one.way_out.startswith("let a small stage copy package.json without its version")


def test_a_script_that_an_install_runs_is_no_idle_edit(tmp_path: Path) -> None:
    one = warned(npm(tmp_path).replace("package.json", "patch-package", "husky").plan())
    assert one.code == "dependency-install"
    assert one.manifest == "no dependency changed, but install scripts; package-lock.json is untouched"


def test_another_change_above_the_install_makes_it_no_idle_edit(tmp_path: Path) -> None:
    project = npm(tmp_path, NPM.replace("package-lock.json ./", "package-lock.json .npmrc* ./"))
    project.replace("package.json", '"vite"', '"vite --host"').write(".npmrc", "audit=false\n")
    one = warned(project.plan())
    assert one.code == "dependency-install"
    assert one.manifest == "no dependency changed: only scripts; package-lock.json is untouched"


def test_an_edited_instruction_above_the_install_makes_it_no_idle_edit(tmp_path: Path) -> None:
    project = npm(tmp_path).replace("package.json", '"vite"', '"vite --host"')
    project.replace("Dockerfile", "WORKDIR /app", "WORKDIR /srv")
    assert all(one.code != WITHOUT_DEPENDENCY_CHANGE for one in project.plan().warnings)


def test_a_manifest_below_the_install_says_nothing_of_it(tmp_path: Path) -> None:
    """Another package's manifest changed as well; the install does not read it."""
    dockerfile = NPM.replace("COPY src", "COPY web/package.json ./web/\nCOPY src")
    project = npm(tmp_path, dockerfile).write("web/package.json", PACKAGE).built()
    project.replace("web/package.json", "4.18.0", "5.0.0").replace("package.json", '"vite"', '"vite --host"')
    assert "express" not in warned(project.plan()).manifest


def test_a_broken_manifest_is_said(tmp_path: Path) -> None:
    one = warned(npm(tmp_path).write("package.json", '{"scripts": ').plan())
    assert one.code == "dependency-install"
    assert one.manifest == "package.json cannot be read as JSON"


def test_a_mode_alone_is_no_dependency(tmp_path: Path) -> None:
    project = npm(tmp_path)
    (project.folder / "package.json").chmod(0o755)
    one = warned(project.plan())
    assert one.code == WITHOUT_DEPENDENCY_CHANGE
    assert one.manifest.startswith("no dependency changed: only the mode of the file")


def test_source_above_the_install_keeps_its_own_warning(tmp_path: Path) -> None:
    project = npm(tmp_path, NPM.replace("COPY package.json package-lock.json ./", "COPY . ."))
    one = warned(project.write("src/main.js", "2").plan())
    assert one.code == "source-above-install"
    assert one.manifest == ""


def test_an_edit_that_is_only_supposed_has_no_content_to_speak_of(tmp_path: Path) -> None:
    one = warned(npm(tmp_path).edit("package.json"))
    assert one.code == "dependency-install"
    assert one.manifest == ""


def test_without_remembered_texts_nothing_is_said(tmp_path: Path) -> None:
    project = npm(tmp_path).replace("package.json", '"vite"', '"vite --host"')
    memory = Memory(project.location)
    (memory.folder / f"{memory.project}.manifests").write_bytes(b"devloop manifests 1\nnonsense")
    memory.close()
    one = warned(project.plan())
    assert (one.code, one.manifest) == ("dependency-install", "")


def test_the_warning_can_be_silenced_by_its_code(tmp_path: Path) -> None:
    project = npm(tmp_path).set(silence=[WITHOUT_DEPENDENCY_CHANGE])
    assert project.replace("package.json", '"vite"', '"vite --host"').plan().warnings == ()
    assert warned(project.replace("package.json", "4.18.0", "4.19.0").plan()).code == "dependency-install"


def test_the_terminal_shows_it_on_a_line_of_its_own(tmp_path: Path) -> None:
    text = as_text(npm(tmp_path).replace("package.json", '"4.18.0"', '"4.18.0", "pg": "8.11"').plan())
    assert "    manifest dependencies added: pg 8.11; package-lock.json is untouched" in text.splitlines()


def test_the_remembered_texts_are_for_the_owner_alone(tmp_path: Path) -> None:
    project = npm(tmp_path)
    memory = Memory(project.location)
    file = memory.folder / f"{memory.project}.manifests"
    memory.close()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "case",
    [
        (
            "python:3.12",
            "uv sync --frozen --no-install-project",
            {"pyproject.toml": "[tool.ruff]\nline-length = 100\n", "uv.lock": "version = 1\n"},
            ("pyproject.toml", "100", "110"),
            "no dependency changed: only tool configuration (ruff); uv.lock is untouched",
            "uv export",
        ),
        (
            "rust:1",
            "cargo fetch",
            {"Cargo.toml": '[package]\nname = "a"\nversion = "1.0.0"\n', "Cargo.lock": "version = 3\n"},
            ("Cargo.toml", "1.0.0", "1.0.1"),
            "no dependency changed: only version; Cargo.lock is untouched",
            "cargo chef",
        ),
        (
            "ruby:3",
            "bundle install",
            {"Gemfile": 'gem "rails" # old\n'},
            ("Gemfile", "old", "new"),
            "no dependency changed: only comments or formatting",
            "cut Gemfile down",
        ),
    ],
)
def test_every_tool_has_a_way_out(
    tmp_path: Path, case: tuple[str, str, dict[str, str], tuple[str, str, str], str, str]
) -> None:
    image, command, files, edit, said, way_out = case
    dockerfile = f"FROM {image}\nCOPY {' '.join(files)} ./\nRUN {command}\n"
    project = Project(tmp_path / "app", dockerfile, files, warn_seconds=1.0).base(image).built()
    one = warned(project.replace(*edit).plan())
    assert one.code == WITHOUT_DEPENDENCY_CHANGE
    assert one.manifest == f"{said}, and BuildKit installs all the same"
    assert way_out in one.way_out


# Revisions --------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    own = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def revision_plan(project: Project, revision: str | None) -> Plan:
    memory = Memory(project.location)
    try:
        return plan_revision(project._workspace(memory), revision)
    finally:
        memory.close()


def test_a_revision_is_compared_by_what_git_has_of_it(tmp_path: Path) -> None:
    project = npm(tmp_path)
    project.environ["PATH"] = "/usr/bin:/bin"
    git(project.folder, "init", "-q")
    git(project.folder, "add", ".")
    git(project.folder, "commit", "-q", "-m", "one")
    project.replace("package.json", "4.18.0", "5.0")
    said = "express 4.18.0 -> 5.0; package-lock.json is untouched"
    assert warned(revision_plan(project, "HEAD")).manifest == said
    git(project.folder, "add", ".")
    project.replace("package.json", "5.0", "5.1.1")
    assert warned(revision_plan(project, None)).manifest == said
