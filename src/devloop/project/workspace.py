"""A project with its settings, its memory and what is known of the engine: from here plans are asked for."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devloop.cache.baseline import Baseline
from devloop.cache.predict import operation_key
from devloop.cache.records import Records
from devloop.context.entered import Entered
from devloop.context.selection import LISTINGS, Listing
from devloop.dockerfile.stages import BuildGraph, BuildOptions, ImageConfig, Images, Platform
from devloop.plan.manifests import TextsOf
from devloop.plan.model import PathChange, Warned
from devloop.plan.sync import Blocked, SyncPlan
from devloop.project.discover import Location
from devloop.project.manifest import compare, manifest_lines
from devloop.project.memory import Memory
from devloop.project.planner import Answered, Question, answer, context_warning
from devloop.project.reading import (
    Model,
    ReadingProblem,
    Tree,
    build_options,
    changes_reader,
    read_model,
    read_tree,
    reread_tree,
)
from devloop.project.settings import Settings
from devloop.project.texts import KnownTexts, Texts, load_texts, read_text, save_texts


@dataclass(frozen=True, slots=True)
class Switches:
    """How the engine in use differs from others where it matters to the cache."""

    merges: bool = False
    listing: Listing = "names"
    platform: str | None = None

    def as_text(self) -> Mapping[str, str]:
        """Return the switches as they are stored."""
        return {
            "merges": str(int(self.merges)),
            "listing": self.listing,
            "platform": self.platform or "",
        }

    @classmethod
    def from_text(cls, found: Mapping[str, str]) -> "Switches":
        """Read stored switches; what is missing has its default."""
        return cls(
            merges=found.get("merges") == "1",
            listing=next((one for one in LISTINGS if one == found.get("listing")), "names"),
            platform=found.get("platform") or None,
        )


_BUILDS_THAT_TELL = 20
"""Builds that are asked how fast the context travels."""


def _no_engine(_reference: str, _platform: Platform) -> ImageConfig | None:
    return None


@dataclass(slots=True)
class Workspace:
    """Reads and plans one project.

    `inspect` asks the engine about a base image, where there is one; what was seen of it last stands in.
    """

    location: Location
    settings: Settings
    memory: Memory
    builder: str | None = None
    switches: Switches = field(default_factory=Switches)
    inspect: Images = _no_engine
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _texts: KnownTexts = field(default_factory=KnownTexts)
    _built_texts: Texts | None = None

    @classmethod
    def remembered(
        cls, location: Location, settings: Settings, memory: Memory, environ: Mapping[str, str]
    ) -> "Workspace":
        """Make a workspace that needs no engine: it goes by what the last build here went by."""
        return cls(
            location,
            settings,
            memory,
            builder=memory.builder(),
            switches=Switches.from_text(memory.switches()),
            environ=environ,
        )

    def options(self) -> BuildOptions:
        """Return the options of a build that reach its steps."""
        return build_options(
            self.settings,
            merges=self.switches.merges,
            build_platform=self.switches.platform,
            environ=self.environ,
        )

    def images(self, reference: str, platform: Platform) -> ImageConfig | None:
        """Look up a base image: on the engine, else in the memory."""
        found = self.inspect(reference, platform)
        return found if found is not None else self.memory.image(self.builder, reference, platform)

    def read(
        self, *, source: bytes | None = None, shown_as: str | None = None, ignore_source: bytes | None = None
    ) -> Model | ReadingProblem:
        """Read Dockerfile and ignore files as they stand, or take other texts in their place."""
        return read_model(
            self.location,
            self.options(),
            self.images,
            source=source,
            shown_as=shown_as,
            ignore_source=ignore_source,
        )

    def tree(self, model: Model) -> Tree:
        """Read the contents that the model needs."""
        indexes = {name: self.memory.index(context.root) for name, context in model.contexts.items()}
        return read_tree(model, indexes, listing=self.switches.listing, mirrors=self._mirrors(model))

    def tree_again(self, model: Model, before: Tree, dirty: Mapping[str, Iterable[str]]) -> Tree:
        """Look again at some paths of each context."""
        from devloop.paths import ContextPath

        indexes = {name: self.memory.index(context.root) for name, context in model.contexts.items()}
        paths = {name: [ContextPath(one) for one in found] for name, found in dirty.items()}
        return reread_tree(model, before, paths, indexes, self._mirrors(model))

    def _mirrors(self, model: Model) -> Mapping[str, Entered]:
        found = {
            name: self.memory.mirror(self.builder, name, context.root)
            for name, context in model.contexts.items()
        }
        return {name: mirror for name, mirror in found.items() if mirror is not None}

    def sent(self, model: Model, tree: Tree) -> None:
        """Note that the builder was sent these contents."""
        for name, snapshot in tree.snapshots.items():
            self.memory.save_mirror(self.builder, name, model.contexts[name].root, snapshot)

    def records(self, graph: BuildGraph) -> Records:
        """Load what is known of the engine's cache for the steps of a graph."""
        return self.memory.records(
            self.builder, (operation_key(vertex.operation) for vertex in graph.vertices)
        )

    def plan(self, given: "Given") -> Answered:
        """Answer what a build of a model with these contents would do."""
        question = Question(
            model=given.model,
            contents=given.tree,
            records=given.records,
            baseline=given.baseline,
            changes=tuple(change for found in given.changes.values() for change in found),
            changes_of=changes_reader(given.changes, given.tree.snapshots),
            unread=given.unread,
            deployed=given.deployed,
            run_changes=given.run_changes,
            dockerfile_changed=given.dockerfile_changed,
            sync=given.sync,
            reloader=given.reloader,
            manifests=self._manifests(given.model),
        )
        return answer(question, self.settings, self.memory.history)

    def context_warning(self, model: Model, tree: Tree) -> Warned | None:
        """Warn of a context that is heavier than it has to be; see `planner.context_warning`."""
        sent = [
            (build.context_bytes, build.context_seconds) for build in self.memory.builds(_BUILDS_THAT_TELL)
        ]
        return context_warning(model, tree, self.settings, sent)

    def _manifests(self, model: Model) -> TextsOf:
        """Return a function that gives the bytes of a manifest when it was built last, and now."""

        def texts_of(context: str, path: str) -> tuple[bytes | None, bytes | None]:
            now = read_text(model.contexts[context].root / path)
            if now is not None:
                self._texts.note(now)
            return self._texts_at_last_build().get((context, path)), now

        return texts_of

    def _texts_at_last_build(self) -> Texts:
        if self._built_texts is None:
            self._built_texts = load_texts(self._texts_file)
        return self._built_texts

    @property
    def _texts_file(self) -> Path:
        return self.memory.folder / f"{self.memory.project}.manifests"

    def keep_manifests(self, model: Model, tree: Tree) -> None:
        """Remember the texts of the manifests that a build has taken."""
        roots = {name: context.root for name, context in model.contexts.items()}
        self._built_texts = self._texts.collect(roots, tree.snapshots, self._texts_at_last_build())
        if not save_texts(self._texts_file, self._built_texts):
            self.memory.problem = self.memory.problem or f"{self.memory.folder} cannot be written"

    def assume_manifests(self, model: Model, tree: Tree) -> None:
        """Take the texts of a reading for those of a build, where no build is remembered."""
        roots = {name: context.root for name, context in model.contexts.items()}
        self._built_texts = self._texts.collect(roots, tree.snapshots, {})

    def changes_since_built(self, tree: Tree) -> Mapping[str, tuple[PathChange, ...]]:
        """Return what differs from the contents of the last recorded build; nothing where there is none."""
        before = self.memory.manifest()
        if before is None:
            return {}
        return compare(before, manifest_lines(tree.snapshots))


@dataclass(frozen=True, slots=True)
class Given:
    """What a plan is made from; see `Question`."""

    model: Model
    tree: Tree
    records: Records
    baseline: Baseline | None
    changes: Mapping[str, Sequence[PathChange]]
    unread: tuple[str, ...] = ()
    deployed: str | None = None
    run_changes: tuple[str, ...] = ()
    dockerfile_changed: bool = False
    sync: SyncPlan | Blocked | None = None
    reloader: str | None = None


Reload = Callable[[], tuple[Location, Settings]]
"""Reads the configuration again; raises DevloopError where it cannot be used."""
