"""What the doctor looks at, what it finds, and what it proposes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from devloop.cost.classify import Classification
    from devloop.dockerfile.instructions import Dockerfile
    from devloop.dockerfile.stages import Step
    from devloop.plan.decide import StepCost
    from devloop.project.reading import Model, Tree

Category = Literal["speed", "size", "security", "restart"]
Intent = Literal[
    "order",
    "cache mount",
    "fewer files",
    "owner",
    "base",
    "stage",
    "command",
    "reload",
    "install cache",
    "manifest",
]


@dataclass(frozen=True, slots=True)
class LineEdit:
    """Replace the lines `first` to `last`, counted from 1 and both included, by whole lines.

    With `last == first - 1` the text is inserted before the line `first`. It holds its own line ends.
    """

    first: int
    last: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of the Dockerfile, and whole new contents of other files by their path in the context.

    `intends` names what may differ between the images and the graphs before and after it. Where a step is cut
    in two, `seconds_at` says what each part takes, by its first line in the new text: no build has run it.
    """

    edits: tuple[LineEdit, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    intends: frozenset[Intent] = frozenset()
    seconds_at: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that costs a developer time, space or safety, with its lines in the Dockerfile.

    `wasted` are the numbers of the vertices that run for nothing; `seconds` is what one such run takes, where
    that is known. `stops` says what stands in the way of a proposal, where there should be one.
    """

    code: str
    title: str
    first_line: int
    last_line: int
    why: str
    way_out: str
    category: Category
    proposal: Proposal | None = None
    wasted: tuple[int, ...] = ()
    seconds: float | None = None
    bytes: int | None = None
    stops: str = ""


@dataclass(frozen=True, slots=True)
class PricedStep:
    """A step of the target with what it costs; only a RUN has a classification."""

    step: Step
    classification: Classification | None
    cost: StepCost


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file or link of the main context that no ignore rule keeps from the builder, copied or not."""

    path: str
    size: int
    is_link: bool = False
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """All that a rule may look at.

    `steps` are those of the target, each at the index of its number. `paths` are sorted and hold what no
    ignore rule excludes; `texts` gives the bytes of one of them, and None for what is missing, too large for
    a manifest or no file. `model` and `tree` are as plans have them; `tree` knows only what some step takes.
    `digests` are what an engine knows of bases by their reference, None where no registry has them; what was
    not asked is not in it. `compose` is the folder's compose file, also where no build may see it.
    `lookup_seconds` is what builds here took to ask what their bases are.
    """

    name: str
    source: bytes
    dockerfile: Dockerfile
    model: Model
    tree: Tree
    ignore_source: bytes | None
    steps: tuple[PricedStep, ...]
    paths: tuple[ContextFile, ...] = ()
    texts: Callable[[str], bytes | None] = lambda _path: None
    digests: Mapping[str, str | None] = field(default_factory=dict)
    lookup_seconds: float | None = None
    compose: bytes | None = None


Rule = Callable[[Subject], Iterable[Finding]]
