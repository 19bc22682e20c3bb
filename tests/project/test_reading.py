"""The project read from the disk, broken files included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.reading import Model, ReadingProblem
from devloop.project.settings import Settings
from devloop.project.workspace import Switches, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Model | ReadingProblem]:
    """Write the files of a project and read it."""

    def _read(
        dockerfile: str,
        files: dict[str, str] | None = None,
        **settings: Any,  # noqa: ANN401 - values of settings
    ) -> Model | ReadingProblem:
        root = tmp_path / "shop"
        for path, text in {"Dockerfile": dockerfile, **(files or {})}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        own = Settings(**settings)
        location = locate(root, own)
        return Workspace(location, own, Memory(location), environ={}).read()

    return _read


def test_a_project_is_read_with_what_its_steps_want(read: Callable[..., Model]) -> None:
    model = read("FROM scratch\nCOPY src /src\n", {"src/a": "", ".dockerignore": "*.md\n"})
    assert model.main.wanted == ("src",)
    assert model.main.rules.excludes("README.md")
    assert model.ignore_file is not None


def test_a_syntax_error_is_a_value_with_its_line(read: Callable[..., ReadingProblem]) -> None:
    problem = read("FROM scratch\nCOPPY a b\n")
    assert problem.kind == "dockerfile"
    assert "Dockerfile:2:1" in problem.rendered
    assert "COPPY a b" in problem.rendered


def test_an_unknown_target_is_a_value(read: Callable[..., ReadingProblem]) -> None:
    problem = read("FROM scratch AS web\n", target="wbe")
    assert problem.kind == "dockerfile"
    assert "wbe" in problem.message


def test_a_bad_pattern_in_the_ignore_file_is_a_value_with_its_line(
    read: Callable[..., ReadingProblem],
) -> None:
    problem = read("FROM scratch\nCOPY . /\n", {".dockerignore": "ok\n[\n"})
    assert problem.kind == "ignore-file"
    assert problem.rendered.startswith(".dockerignore:2: ")
    assert problem.rendered.endswith("\n    [")


def test_a_named_context_has_its_own_ignore_file(read: Callable[..., Model], tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / ".dockerignore").write_text("*.tmp\n")
    model = read("FROM scratch\nCOPY --from=docs . /docs\n", build_context={"docs": "../docs"})
    assert set(model.contexts) == {"", "docs"}
    assert model.contexts["docs"].root == docs
    assert model.contexts["docs"].rules.excludes("a.tmp")


def test_a_named_context_that_nobody_uses_is_not_read(read: Callable[..., Model]) -> None:
    model = read("FROM scratch\n", build_context={"docs": "../nowhere"})
    assert set(model.contexts) == {""}


def test_a_named_context_that_is_an_image_is_no_folder(read: Callable[..., Model]) -> None:
    model = read("FROM base\nCOPY a b\n", {"a": ""}, build_context={"base": "docker-image://python:3.12"})
    assert set(model.contexts) == {""}
    assert [reference for reference, _ in model.graph.images] == ["python:3.12"]


def test_a_named_context_that_is_missing_is_said(read: Callable[..., ReadingProblem]) -> None:
    problem = read("FROM scratch\nCOPY --from=docs . /docs\n", build_context={"docs": "../nowhere"})
    assert isinstance(problem, ReadingProblem)
    assert problem.kind == "file"
    assert "docs" in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    "switches",
    [Switches(), Switches(merges=True), Switches(listing="paths", platform="linux/arm64")],
)
def test_switches_survive_being_stored(switches: Switches) -> None:
    assert Switches.from_text(switches.as_text()) == switches


def test_unknown_switches_have_their_defaults() -> None:
    assert Switches.from_text({}) == Switches()
