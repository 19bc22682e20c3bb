"""The project as it stands: Dockerfile, ignore files and contexts read into one model that can be planned.

A broken Dockerfile or ignore file is an ordinary value, because it is what a user saves between two
keystrokes.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from devloop.cache.predict import ContentKey, MissingSource
from devloop.context.entered import Entered, as_entered
from devloop.context.index import Index
from devloop.context.patterns import NO_RULES, IgnoreProblem, IgnoreRules, parse_ignore
from devloop.context.scan import rescan, scan
from devloop.context.selection import Listing, Selection, reads, select
from devloop.context.selection import MissingSource as Missing
from devloop.context.snapshot import Snapshot, diff
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.lines import SyntaxProblem
from devloop.dockerfile.stages import MAIN_CONTEXT, BuildGraph, BuildOptions, Images, Taken, resolve
from devloop.paths import ContextPath
from devloop.plan.model import PathChange
from devloop.project.discover import Location, given_build_args
from devloop.project.settings import Settings


@dataclass(frozen=True, slots=True)
class ReadingProblem:
    """Why the project cannot be planned as it stands, with the source line where there is one."""

    kind: Literal["dockerfile", "ignore-file", "file"]
    message: str
    rendered: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class LocalContext:
    """One local build context: where it is, what is ignored in it, and what the graph takes from it."""

    name: str
    root: Path
    rules: IgnoreRules
    wanted: tuple[str, ...] | None
    selections: tuple[Selection, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that was read but the contents of the contexts."""

    location: Location
    dockerfile: Dockerfile
    graph: BuildGraph
    contexts: Mapping[str, LocalContext]
    ignore_file: Path | None
    ignore_source: bytes

    @property
    def main(self) -> LocalContext:
        """The main context, also where no step reads it."""
        return self.contexts[MAIN_CONTEXT]


def build_options(
    settings: Settings,
    *,
    merges: bool = False,
    build_platform: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> BuildOptions:
    """Return the options that reach steps, from the settings and the switches of the engine."""
    from devloop.dockerfile.stages import Platform

    own = Platform.parse(build_platform) if build_platform else Platform()
    return BuildOptions(
        target=settings.target,
        build_args=given_build_args(settings, environ),
        build_contexts=tuple(settings.build_context.items()),
        platform=Platform.parse(settings.platform) if settings.platform else own,
        build_platform=own,
        network=settings.network,
        add_hosts=tuple(settings.add_host),
        merges=merges,
    )


def read_model(
    location: Location,
    options: BuildOptions,
    images: Images,
    *,
    source: bytes | None = None,
    shown_as: str | None = None,
    ignore_source: bytes | None = None,
) -> Model | ReadingProblem:
    """Read Dockerfile and ignore files and resolve the graph of the target.

    `source` and `ignore_source` are texts to take instead of what the files hold.
    """
    shown = shown_as or location.shown_dockerfile
    if source is None:
        try:
            source = location.dockerfile.read_bytes()
        except OSError as error:
            return ReadingProblem(
                "dockerfile",
                f"{shown} cannot be read: {error.strerror}",
                "",
                "the container goes on as it is; save the Dockerfile to go on",
            )
    parsed = parse(source, file=shown)
    if isinstance(parsed, SyntaxProblem):
        return _syntax_problem(parsed)
    graph = resolve(parsed, options, images)
    if isinstance(graph, SyntaxProblem):
        return _syntax_problem(graph)
    ignore_file = location.ignore_file()
    rules: IgnoreRules = NO_RULES
    if ignore_source is not None:
        read = _parse_ignore(ignore_file or location.context / ".dockerignore", ignore_source)
    else:
        read = _read_ignore(ignore_file) if ignore_file is not None else (b"", NO_RULES)
    if isinstance(read, ReadingProblem):
        return read
    ignore_source, rules = read
    contexts = {MAIN_CONTEXT: _local_context(MAIN_CONTEXT, location.context, rules, graph)}
    for name, value in options.build_contexts:
        if "://" in value or name.lower() not in graph.contexts():
            continue
        root = (location.folder / value).resolve()
        if not root.is_dir():
            return ReadingProblem(
                "file",
                f"the build context {name} is not a folder: {value}",
                "",
                "the folder comes from --build-context, or from build_context in devloop.toml",
            )
        own = NO_RULES
        if (root / ".dockerignore").is_file():
            found = _read_ignore(root / ".dockerignore")
            if isinstance(found, ReadingProblem):
                return found
            own = found[1]
        contexts[name.lower()] = _local_context(name.lower(), root, own, graph)
    return Model(location, parsed, graph, contexts, ignore_file, ignore_source)


def _syntax_problem(problem: SyntaxProblem) -> ReadingProblem:
    return ReadingProblem("dockerfile", problem.message, problem.render(), "")


def _read_ignore(path: Path) -> tuple[bytes, IgnoreRules] | ReadingProblem:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        return b"", NO_RULES
    except OSError as error:
        return ReadingProblem("ignore-file", f"{path} cannot be read: {error.strerror}", "")
    return _parse_ignore(path, source)


def _parse_ignore(path: Path, source: bytes) -> tuple[bytes, IgnoreRules] | ReadingProblem:
    rules = parse_ignore(source, file=path.name)
    if isinstance(rules, IgnoreProblem):
        line = source.split(b"\n")[rules.line - 1].decode("utf-8", "surrogateescape").rstrip("\r")
        return ReadingProblem(
            "ignore-file", rules.message, f"{path.name}:{rules.line}: {rules.message}\n    {line}"
        )
    return source, rules


def selection_of(taken: Taken) -> Selection:
    """Return what a step takes as the context package reads it."""
    return Selection(
        sources=taken.sources, excludes=taken.excludes, parents=taken.parents, wildcards=taken.wildcards
    )


def _local_context(name: str, root: Path, rules: IgnoreRules, graph: BuildGraph) -> LocalContext:
    from devloop.context.selection import follow_paths

    selections = tuple(dict.fromkeys(selection_of(taken) for taken in graph.taken_from(name)))
    return LocalContext(name, root, rules, follow_paths(selections), selections)


# Contents -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tree:
    """The contents of all contexts of a model at one moment; answers what an instruction takes."""

    snapshots: Mapping[str, Snapshot]
    listing: Listing
    mirrors: Mapping[str, Entered] = field(default_factory=dict)
    _as_entered: dict[str, Snapshot] = field(default_factory=dict)
    _known: dict[tuple[str, Taken], ContentKey | MissingSource] = field(default_factory=dict)

    def key(self, context: str, taken: Taken) -> ContentKey | MissingSource:
        """Return the content key of one taking, computed once."""
        place = (context, taken)
        found = self._known.get(place)
        if found is None:
            selected = select(self.snapshots[context], selection_of(taken), listing=self.listing)
            if isinstance(selected, Missing):
                found = MissingSource(selected.source)
            else:
                found = ContentKey(selected.content, self._modes(context, taken, selected.directory_modes))
            self._known[place] = found
        return found

    def _modes(self, context: str, taken: Taken, now: str) -> str:
        """Return the modes as they are, and where the builder goes by older ones, those as well."""
        if context not in self._as_entered:
            self._as_entered[context] = as_entered(self.snapshots[context], self.mirrors.get(context))
        snapshot = self._as_entered[context]
        if snapshot is self.snapshots[context]:
            return now
        selected = select(snapshot, selection_of(taken), listing=self.listing)
        if isinstance(selected, Missing) or selected.directory_modes == now:
            return now
        return f"{now} {selected.directory_modes}"


def read_tree(
    model: Model,
    indexes: Mapping[str, Index],
    *,
    listing: Listing,
    mirrors: Mapping[str, Entered] | None = None,
) -> Tree:
    """Walk and hash what the model needs of its contexts."""
    snapshots = {
        name: scan(context.root, context.rules, wanted=context.wanted, index=indexes.get(name))
        for name, context in model.contexts.items()
    }
    return Tree(snapshots, listing, mirrors or {})


def reread_tree(
    model: Model,
    before: Tree,
    dirty: Mapping[str, Iterable[ContextPath]],
    indexes: Mapping[str, Index],
    mirrors: Mapping[str, Entered] | None = None,
) -> Tree:
    """Look again at the dirty paths of each context, and at nothing else."""
    snapshots = dict(before.snapshots)
    for name, paths in dirty.items():
        context = model.contexts[name]
        snapshots[name] = rescan(
            snapshots[name],
            context.root,
            context.rules,
            paths,
            wanted=context.wanted,
            index=indexes.get(name),
        )
    return Tree(snapshots, before.listing, before.mirrors if mirrors is None else mirrors)


def changes_between(before: Tree, after: Tree) -> Mapping[str, tuple[PathChange, ...]]:
    """Return the changed paths of each context."""
    found: dict[str, tuple[PathChange, ...]] = {}
    for name, snapshot in after.snapshots.items():
        old = before.snapshots.get(name)
        if old is None:
            continue
        found[name] = tuple(PathChange(change.path, change.kind) for change in diff(old, snapshot))
    return found


def changes_reader(
    changes: Mapping[str, Sequence[PathChange]], snapshots: Mapping[str, Snapshot]
) -> Callable[[str, Taken], Sequence[PathChange]]:
    """Return a function that picks those changes which one taking reads.

    Without a snapshot of a context, paths are compared as text only.
    """

    def changes_of(context: str, taken: Taken) -> Sequence[PathChange]:
        selection = selection_of(taken)
        return [
            change
            for change in changes.get(context, ())
            if reads(selection, ContextPath(change.path), snapshots.get(context))
        ]

    return changes_of


@dataclass(frozen=True, slots=True)
class HypotheticalTree:
    """The tree as if some paths had been edited, without looking at any content.

    An edit always changes what reads it, so one digest stands for "as it is" and another for "edited".
    """

    edited: Mapping[str, tuple[ContextPath, ...]]
    resolve: Callable[[str, Taken], Taken] = lambda _context, taken: taken

    def key(self, context: str, taken: Taken) -> ContentKey | MissingSource:
        """Return a digest that differs exactly where an edited path is read."""
        selections = (selection_of(taken), selection_of(self.resolve(context, taken)))
        touched = [
            path
            for path in self.edited.get(context, ())
            if any(reads(selection, path) for selection in selections)
        ]
        return ContentKey(f"{taken!r} {touched!r}", "")
