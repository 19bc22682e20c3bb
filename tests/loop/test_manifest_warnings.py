"""The session knows what was in the manifests at the last build, also when they are edited meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.loop import events
from support.session_world import REACHABLE, UNREACHABLE, World, everything_ran

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = """FROM python:3.12
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY main.py .
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    root.mkdir()
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "requirements.txt").write_text("httpx==0.27\n")
    (root / "main.py").write_text("one")
    return root


def warnings(world: World) -> list[tuple[str, str]]:
    plan = world.of(events.Planned)[-1].plan
    return [(one.code, one.manifest) for one in plan.warnings]


def test_a_save_of_a_manifest_is_told_by_its_dependencies(folder: Path) -> None:
    world = World(folder).open()
    world.builder.outcomes = [everything_ran(world)]
    world.settle()
    world.save(("requirements.txt", "httpx==0.28\n"))
    assert warnings(world) == [("dependency-install", "httpx 0.27 -> 0.28")]
    world.save(("requirements.txt", "httpx==0.27\n# the client\n"))
    assert warnings(world) == [
        (
            "manifest-without-dependency-change",
            "no dependency changed: only comments or formatting, and BuildKit installs all the same",
        )
    ]


def test_what_was_built_counts_and_not_what_was_saved_while_it_was(folder: Path) -> None:
    world = World(folder).open()
    world.builder.outcomes = [everything_ran(world), everything_ran(world)]
    world.settle()
    world.save(("requirements.txt", "httpx==0.28\n"))

    def edit(_: object) -> None:
        (folder / "requirements.txt").write_text("httpx==0.29\n")

    world.builder.on_build = [edit]
    world.let_go()
    world.finish("build")
    world.builder.on_build = []
    world.save(("requirements.txt", "httpx==0.29\n"))
    assert warnings(world) == [("dependency-install", "httpx 0.28 -> 0.29")]


def test_the_next_session_remembers(folder: Path) -> None:
    first = World(folder).open()
    first.builder.outcomes = [everything_ran(first)]
    first.settle()
    (folder / "requirements.txt").write_text("httpx==0.27\nrich==13\n")
    second = World(folder, engine=first.engine, facts=REACHABLE).open()
    assert warnings(second) == [("dependency-install", "dependencies added: rich 13")]


def test_without_an_engine_the_first_reading_is_compared_with(folder: Path) -> None:
    world = World(folder, facts=UNREACHABLE).open()
    world.save(("requirements.txt", "uvicorn==0.30\n"))
    assert warnings(world) == [
        ("dependency-install", "dependencies added: uvicorn 0.30; dependencies removed: httpx")
    ]
