"""What a build context weighs, and what of it no image needs.

Only what some step reads is sent to the builder, so only that is weighed. A directory is needless by its name
and by what stands beside it: `target` beside a Cargo.toml is made by the very step that compiles. It is never
called so if an instruction names it, because then somebody wants it in the image.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from devloop.context.snapshot import Directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from devloop.context.snapshot import Node, Snapshot

WORTH_BYTES = 50_000_000
WORTH_SECONDS = 1.0
"""Needless files that weigh less, and are on their way for less, are not worth telling of."""

LARGEST = 5
_SPECIAL = re.compile(r"([*?\[\\])")

# What a builder on the same machine takes in, where no build here has told: bytes and files a second.
_BYTES_A_SECOND = 150_000_000.0
_FILES_A_SECOND = 8_000.0
_TELLING_BYTES = 1_000_000
"""Less than this in one build says nothing about the speed of the way."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A path of the context with everything below it; `line` is the ignore line that leaves it out."""

    path: str
    bytes: int
    files: int
    reason: str = ""
    line: str = ""


@dataclass(frozen=True, slots=True)
class ContextWeight:
    """What the builder gets of a context: all of it, the heaviest paths, and what no image needs."""

    bytes: int
    files: int
    largest: tuple[Weight, ...]
    needless: tuple[Weight, ...]

    @property
    def needless_bytes(self) -> int:
        """What the ignore lines would save when everything is sent."""
        return sum(one.bytes for one in self.needless)

    @property
    def needless_files(self) -> int:
        """How many files these are."""
        return sum(one.files for one in self.needless)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines for the ignore file, in the order of what they save."""
        return tuple(dict.fromkeys(one.line for one in self.needless))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the steps of a build tell about what they need of the context.

    `sources` are the paths that instructions name; `kinds` and `families` those of its RUN steps, `texts`
    what these run.
    """

    sources: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    """Directories of these names are needless beside a file like one of `beside`, or with one like it inside.

    `made_by` are kinds or families of steps that make such a directory anew; without one of them it is the
    only copy. `unless` are words of a RUN that needs it.
    """

    names: tuple[str, ...]
    reason: str
    beside: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    made_by: frozenset[str] = frozenset()
    unless: tuple[str, ...] = ()


_RULES: tuple[_Rule, ...] = (
    _Rule(
        (".git",),
        "the history of the repository",
        unless=(
            "git ",
            "setuptools_scm",
            "setuptools-scm",
            "hatch-vcs",
            "versioneer",
            "goreleaser",
            "gitversion",
        ),
    ),
    _Rule((".hg", ".svn"), "the history of the repository", unless=("hg ", "svn ", "setuptools_scm")),
    _Rule(
        ("node_modules",),
        "packages for this machine, which the image installs itself",
        beside=("package.json",),
        made_by=frozenset({"npm", "yarn", "pnpm", "bun"}),
    ),
    _Rule(
        (".venv", "venv", "env", ".env"),
        "an environment for this machine, whose paths lead nowhere in an image",
        inside=("pyvenv.cfg",),
    ),
    _Rule(
        ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox", ".nox", ".hypothesis"),
        "made anew wherever Python runs",
    ),
    _Rule(
        (".parcel-cache", ".turbo", ".nyc_output", "htmlcov", ".terraform", ".idea", ".vscode"),
        "of tools on this machine",
    ),
    _Rule(("coverage",), "a report", beside=("package.json", "pyproject.toml", "setup.cfg")),
    _Rule(
        ("dist", "build", ".next", ".nuxt", ".output", ".svelte-kit", "out"),
        "built on this machine, and again by the image",
        beside=("package.json",),
        made_by=frozenset({"js-build"}),
    ),
    _Rule(
        ("dist", "build", "*.egg-info"),
        "built on this machine, and again by the image",
        beside=("pyproject.toml", "setup.py"),
        made_by=frozenset({"pip-project"}),
    ),
    _Rule(
        ("target",),
        "built on this machine, and again by the image",
        beside=("Cargo.toml", "pom.xml", "build.sbt"),
        made_by=frozenset({"cargo-build", "cargo-install", "maven-build", "sbt-build"}),
    ),
    _Rule(
        ("build", ".gradle"),
        "built on this machine, and again by the image",
        beside=("build.gradle*", "settings.gradle*"),
        made_by=frozenset({"gradle-build"}),
    ),
    _Rule(
        ("bin", "obj"),
        "built on this machine, and again by the image",
        beside=("*.csproj", "*.fsproj", "*.vbproj"),
        made_by=frozenset({"dotnet-build"}),
    ),
    _Rule(
        ("_build", "deps"),
        "built on this machine, and again by the image",
        beside=("mix.exs",),
        made_by=frozenset({"mix", "mix-compile"}),
    ),
)


def weigh(snapshot: Snapshot, recipe: Recipe) -> ContextWeight:
    """Weigh what the builder gets, the heaviest first; what is below a needless path counts with it."""
    total, files = _weight_of(snapshot.root)
    found, names = _needless(snapshot.root, recipe)
    lines = _lines([path for path, _, _ in found], names)
    return ContextWeight(
        total,
        files,
        _heaviest(Weight(name, *_weight_of(node)) for name, node in snapshot.root.children.items())[:LARGEST],
        _heaviest(
            Weight(path, *_weight_of(node), rule.reason, line)
            for (path, node, rule), line in zip(found, lines, strict=True)
        ),
    )


def transfer_seconds(weight: ContextWeight, sent: Iterable[tuple[int | None, float | None]]) -> float:
    """Estimate how long the needless files are on their way when all of them are sent.

    `sent` are bytes and seconds of earlier builds; without one that sent much, a local builder is assumed.
    """
    rates = [
        size / seconds
        for size, seconds in sent
        if size is not None and seconds is not None and seconds > 0 and size >= _TELLING_BYTES
    ]
    if rates:
        # What many small files cost is in the rate.
        return weight.needless_bytes / max(rates)
    return weight.needless_bytes / _BYTES_A_SECOND + weight.needless_files / _FILES_A_SECOND


def is_worth_telling(weight: ContextWeight, seconds: float) -> bool:
    """Tell whether somebody should change the ignore file for this."""
    return bool(weight.needless) and (weight.needless_bytes >= WORTH_BYTES or seconds >= WORTH_SECONDS)


def _heaviest(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    return tuple(sorted(weights, key=lambda one: (-one.bytes, -one.files, one.path)))


def _weight_of(node: Node) -> tuple[int, int]:
    """Return bytes and number of files at and below a place; a directory knows its own from then on."""
    if not isinstance(node, Directory):
        return node.size, 1
    order = [node]
    for each in order:
        order += [
            inner
            for inner in each.children.values()
            if isinstance(inner, Directory) and inner.recall(_WEIGHT) is None
        ]
    for each in reversed(order):
        if each.recall(_WEIGHT) is None:
            inner = [_known(child) for child in each.children.values()]
            each.remember(_WEIGHT, (sum(size for size, _ in inner), sum(files for _, files in inner)))
    return _known(node)


_WEIGHT = "weight"


def _known(node: Node) -> tuple[int, int]:
    if not isinstance(node, Directory):
        return node.size, 1
    size, files = cast("tuple[int, int]", node.recall(_WEIGHT))
    return size, files


def _needless(
    root: Directory, recipe: Recipe
) -> tuple[list[tuple[str, Directory, _Rule]], Mapping[str, int]]:
    """Return the needless directories with their rules, and how often each of their names was met."""
    found: list[tuple[str, Directory, _Rule]] = []
    names: Counter[str] = Counter()
    waiting = [("", root)]
    while waiting:
        path, directory = waiting.pop()
        inner = [(name, node) for name, node in directory.children.items() if isinstance(node, Directory)]
        for name, node in sorted(inner, key=lambda one: one[0]):
            place = f"{path}/{name}" if path else name
            rules = [*_BY_NAME.get(name, ()), *(_OF_EGGS if name.endswith(_EGG) else ())]
            names.update([name] if rules else ())
            rule = next((one for one in rules if _applies(one, directory.children, node, recipe)), None)
            if rule is not None and not _is_named(place, recipe.sources):
                found.append((place, node, rule))
            else:
                waiting.append((place, node))
    return found, names


_EGG = ".egg-info"
_OF_EGGS = tuple(rule for rule in _RULES if f"*{_EGG}" in rule.names)
_BY_NAME: Mapping[str, tuple[_Rule, ...]] = {
    name: tuple(rule for rule in _RULES if name in rule.names) for rule in _RULES for name in rule.names
}


def _applies(rule: _Rule, beside: Collection[str], directory: Directory, recipe: Recipe) -> bool:
    if rule.beside and not _has_like(beside, rule.beside):
        return False
    if rule.inside and not _has_like(directory.children, rule.inside):
        return False
    if rule.made_by and rule.made_by.isdisjoint(recipe.kinds | recipe.families):
        return False
    return not any(word in text for word in rule.unless for text in recipe.texts)


def _has_like(names: Collection[str], likes: Sequence[str]) -> bool:
    return any(fnmatchcase(name, like) for name in names for like in likes)


def _is_named(path: str, sources: Iterable[str]) -> bool:
    """Tell whether an instruction names a path, or one below it."""
    cleaned = (source.strip("/").removeprefix("./") for source in sources)
    return any(source == path or source.startswith(f"{path}/") for source in cleaned)


def _lines(paths: Sequence[str], names: Mapping[str, int]) -> list[str]:
    """Return an ignore line for each path; one for all of a name where every directory of it is meant."""
    meant = Counter(path.rpartition("/")[2] for path in paths)
    return [
        f"**/{name}" if meant[name] > 1 and meant[name] == names[name] else _SPECIAL.sub(r"\\\1", path)
        for path in paths
        for name in (path.rpartition("/")[2],)
    ]
