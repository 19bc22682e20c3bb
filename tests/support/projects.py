"""Small projects of every ecosystem, with what a person expects of edits in them.

A project is a folder of `tests/cases/projects`: a Dockerfile, the files that it names, and `expect.toml` with
the expectations. Lines are those on which an instruction starts; a trigger stands on the line of its FROM.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.planning import layer_rows, plan_dockerfile, plan_edits
from devloop.project.discover import Location, locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.plan.model import Plan
    from devloop.ui.plantext import LayerRow

FOLDER = Path(__file__).parent.parent / "cases" / "projects"


@dataclass(frozen=True, slots=True)
class Edit:
    """An edit of some paths, and what is expected of it.

    `expensive` and `warnings` are texts such as `5 pip-install` and `5 dependency-install`; `way_out` holds
    what the advice of a line has to contain. `too_much` says why more is predicted than a person expects.
    """

    paths: tuple[str, ...]
    earliest: int | None
    runs: tuple[int, ...]
    may_run: tuple[int, ...]
    expensive: tuple[str, ...]
    warnings: tuple[str, ...]
    way_out: Mapping[int, tuple[str, ...]]
    too_much: str


@dataclass(frozen=True, slots=True)
class Project:
    """One folder with its expectations."""

    folder: Path
    title: str
    target: str | None
    edits: tuple[Edit, ...]

    @property
    def name(self) -> str:
        return self.folder.name


def load_project(folder: Path) -> Project:
    document = tomllib.loads((folder / "expect.toml").read_text(encoding="utf-8"))
    edits = tuple(
        Edit(
            paths=tuple(one["paths"]),
            earliest=one.get("earliest"),
            runs=tuple(one["runs"]),
            may_run=tuple(one.get("may_run", ())),
            expensive=tuple(one.get("expensive", ())),
            warnings=tuple(one.get("warnings", ())),
            way_out={int(line): tuple(texts) for line, texts in one.get("way_out", {}).items()},
            too_much=one.get("too_much", ""),
        )
        for one in document["edit"]
    )
    return Project(folder, document["title"], document.get("target"), edits)


def load_projects() -> list[Project]:
    return [load_project(file.parent) for file in sorted(FOLDER.glob("*/expect.toml"))]


class Copy:
    """A copy of a project that can be planned, with a memory that is empty."""

    def __init__(self, project: Project, folder: Path) -> None:
        ignored = shutil.ignore_patterns("expect.toml", "__pycache__")
        self.folder = shutil.copytree(project.folder, folder / project.name, ignore=ignored)
        self.settings = Settings(target=project.target)
        self.location: Location = locate(self.folder, self.settings)
        self.memory = Memory(self.location)

        self.workspace = Workspace.remembered(self.location, self.settings, self.memory, {})

    def plan(self, paths: tuple[str, ...]) -> Plan:
        return plan_edits(self.workspace, [self.folder / path for path in paths])

    def plan_text(self, text: bytes, folder: Path) -> Plan:
        """Plan another text of the Dockerfile against the one that is there."""
        new = folder / "Dockerfile.new"
        new.write_bytes(text)
        return plan_dockerfile(self.workspace, new, ())

    def layers(self) -> list[LayerRow]:
        return layer_rows(self.workspace)
