"""`devloop why` and `devloop stats` after real builds: edit, pruned cache and moved base are told apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.engine import BUSYBOX, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.session import Session

    Ask = Callable[..., Any]

pytestmark = pytest.mark.docker

DOCKERFILE = """\
FROM {base}
RUN echo {name} > /name
COPY packages.txt /srv/
RUN cp /srv/packages.txt /srv/installed.txt
COPY index.html /srv/
"""


@pytest.fixture
def project(tmp_path: Path, unique_name: str) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=BUSYBOX, name=unique_name))
    (folder / ".dockerignore").write_text("*.md\n")
    for path in ("packages.txt", "index.html", "notes.md"):
        (folder / path).write_text("one\n")
    return folder


@pytest.fixture
def devloop(project: Path, engine: dict[str, str], unique_name: str, state_dir: Path) -> Ask:
    """Run a command in the project's folder; what it prints, read where it is JSON."""

    def ask(*arguments: str) -> Any:  # noqa: ANN401 - it is JSON
        options = ["--name", unique_name] if arguments[0] == "build" else []
        done = subprocess.run(
            [sys.executable, "-m", "devloop", *arguments, *options],
            cwd=project,
            env={**os.environ, **engine, "DEVLOOP_STATE_DIR": str(state_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return ask


def reasons(devloop: Ask) -> dict[int, tuple[str, str | None]]:
    """The rule and the path of every step that ran in the last build, by line."""
    steps = devloop("why", "--json")["build"]["steps"]
    return {
        step["line"]: (step["because"]["rule"], step["because"]["path"])
        for step in steps
        if step["status"] == "run"
    }


def verdicts(devloop: Ask) -> set[str]:
    return {step["verdict"] for step in devloop("why", "--json")["build"]["steps"]}


def test_an_edit_is_named_with_everything_that_ran_for_it(devloop: Ask, project: Path) -> None:
    devloop("build")
    assert {rule for rule, _ in reasons(devloop).values()} == {"never-built"}
    (project / "packages.txt").write_text("two\n")
    told = devloop("build")
    assert "packages.txt changed" in told
    assert reasons(devloop) == {
        3: ("content", "packages.txt"),
        4: ("stage", "packages.txt"),
        5: ("stage", "packages.txt"),
    }
    assert verdicts(devloop) == {"right"}
    [story] = devloop("why", "RUN cp", "--json")["steps"]
    assert story["cost"]["runs"] == 2
    assert story["last_run"]["root"]["because"]["text"] == "packages.txt changed"
    assert devloop("why", "notes.md", "--json")["path"]["ignored"][0]["line"] == 1
    assert devloop("why", "index.html", "--json")["path"]["save"]["action"] == "sync+restart"


def test_the_figures_are_those_of_the_builds(devloop: Ask, project: Path) -> None:
    for text in ("one\n", "two\n", "three\n"):
        (project / "packages.txt").write_text(text)
        devloop("build")
    found = devloop("stats", "--json")
    assert (found["builds"]["ok"], found["builds"]["failed"]) == (3, 0)
    predictions = found["predictions"]
    assert (predictions["predicted_cached_ran"], predictions["predicted_run_cached"]) == (0, 0)
    assert predictions["cached"] + predictions["run"] == predictions["steps"] == 12
    [cost] = found["files"]
    assert (cost["path"], cost["steps"], cost["builds"]) == ("packages.txt", 6, 2)
    # Two steps of the four run at the first build alone.
    assert sum(one["runs"] for one in found["steps"]) == 10


def test_a_changed_instruction_is_told_apart_from_an_edited_file(devloop: Ask, project: Path) -> None:
    devloop("build")
    file = project / "Dockerfile"
    file.write_text(file.read_text().replace("installed.txt", "list.txt"))
    devloop("build")
    assert reasons(devloop)[4] == ("instruction", None)


def test_a_pruned_cache_is_told_apart_from_an_edit(
    devloop: Ask, engine: dict[str, str], unique_name: str, project: Path
) -> None:
    file = project / "Dockerfile"
    file.write_text(file.read_text() + f"RUN echo last {unique_name} > /last\n")
    devloop("build")
    records = subprocess.run(
        ["docker", "buildx", "du", "--verbose"], env=engine, capture_output=True, text=True, check=True
    ).stdout
    [record] = [block for block in records.split("\n\n") if f"echo last {unique_name}" in block]
    number = next(line.split()[1] for line in record.splitlines() if line.startswith("ID:"))
    subprocess.run(
        ["docker", "buildx", "prune", "--all", "--force", "--filter", f"id={number}"],
        env=engine,
        capture_output=True,
        check=True,
    )
    devloop("build")
    assert reasons(devloop) == {6: ("pruned", None)}
    assert verdicts(devloop) == {"right", "missed"}
    [miss] = devloop("stats", "--misses", "--json")["misses"]
    assert miss["line"] == 6
    assert devloop("stats", "--json")["predictions"]["of_these_changed_meanwhile"] == 1


def test_a_base_image_that_moved_is_told_apart_from_an_edit(
    devloop: Ask, engine: dict[str, str], unique_name: str, project: Path
) -> None:
    base = f"{unique_name}-base:latest"
    with connect(engine) as client:
        client.images.get(BUSYBOX).tag(base)
        file = project / "Dockerfile"
        file.write_text(DOCKERFILE.format(base=base, name=unique_name))
        devloop("build")
        other = client.containers.run(BUSYBOX, ["touch", "/moved"], name=f"{unique_name}-moved", detach=True)
        other.wait()
        other.commit(repository=f"{unique_name}-base", tag="latest")
        other.remove()
    devloop("build")
    found = reasons(devloop)
    assert found[2] == ("base", None)
    assert {rule for line, (rule, _) in found.items() if line > 2} == {"stage"}
    assert f"the base image {base} moved" in devloop("why", "2")


def test_a_sync_is_counted_with_the_rebuild_that_it_saved(
    devloop: Ask, project: Path, watch: Callable[..., Session]
) -> None:
    with (project / "Dockerfile").open("a") as file:
        file.write('STOPSIGNAL SIGKILL\nCMD ["httpd", "-f", "-p", "8000", "-h", "/srv"]\n')
    session = watch(project, "--restart", "none")
    session.wait_for("deployed")
    session.save("index.html", "two\n")
    assert session.wait_for("deployed")["action"] == "sync"
    session.stop()
    found = devloop("stats", "--json")["syncs"]
    assert (found["count"], found["unpriced"]) == (1, 0)
    # One COPY and a new container are dearer than one file.
    assert found["saved_seconds"] > 0
