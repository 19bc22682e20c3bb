"""What a command may read of the project, as answers of the readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devloop.cost.shell import Command
from devloop.doctor.placed import Placed, joined

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Split:
    """How a step that also needs the source is taken apart.

    `flag` is put behind the words `behind` of the step that then stands above the source; below it the step
    stands once more as it was (`again`), or `after` does. `insert` are commands of their own above the
    source, run under the variables that are `assigned` and in the folder that is `entered`; the step is left
    below it, begun with a touch of the files `touched`. `replaced` are the paths in the image of the files
    that they write, which the source has to replace again.
    """

    behind: str = ""
    flag: str = ""
    again: bool = False
    after: str = ""
    insert: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    kind: str = ""
    assigned: tuple[str, ...] = ()
    entered: str = ""

    @property
    def inserted(self) -> tuple[str, ...]:
        """The commands above the source, as they are written."""
        return self._written(self.insert)

    @property
    def followed(self) -> str:
        """The command below the source that stands for the step, as it is written."""
        return " && ".join(self._written((self.after,)))

    def _written(self, commands: tuple[str, ...]) -> tuple[str, ...]:
        entering = (f"cd {self.entered}",) if self.entered else ()
        return (*entering, *commands[:-1], " ".join((*self.assigned, commands[-1])))


@dataclass(frozen=True, slots=True)
class Needs:
    """The files and whole folders, by their paths in the image, that a command reads of the project.

    `fills` are the folders that it installs into. No file at all means: it needs nothing of the project.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    fills: tuple[str, ...] = ()
    split: Split | None = None
    family: str = ""

    @property
    def is_install(self) -> bool:
        """Whether it reads manifests at all."""
        return bool(self.files or self.folders)


@dataclass(frozen=True, slots=True)
class Stop:
    """It is an install, and this stands in the way of saying what it reads."""

    reason: str
    family: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """It reads the source, or nobody can tell from here."""

    label: str


Answer = Needs | Stop | Source


class StoppedError(Exception):
    """A reader has met what it cannot follow; the reason is the one that a `Stop` gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Where:
    """Where a command runs: its folder, the files that lie there, and its environment."""

    folder: str
    placed: Placed
    environment: Mapping[str, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """Return the path in the image."""
        return joined(self.folder, path)

    def text(self, name: str) -> str | None:
        """Return the text of a file, by its path from here."""
        return self.placed.text(self.at(name))

    def present(self, *names: str) -> tuple[str, ...]:
        """Return the paths of those files that lie here."""
        return self.placed.present(self.folder, names)

    def folders(self, *names: str) -> tuple[str, ...]:
        """Return the paths of those folders that hold files here."""
        return tuple(path for name in names if self.placed.below(path := self.at(name)))


Reader = Callable[[Command, Where], Answer]
"""Reads one command of an ecosystem, and may raise StoppedError."""
