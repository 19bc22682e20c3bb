"""What the loop would have cost over git's history: each commit's diff, sent through the graph of the build.

Every commit is taken for one save that is built on top of its first parent. A step runs when something that
it is made from differs between the two: a path that it takes, its own text, or a step that it stands on.
What a step takes from another stage counts by content, so a run there only makes one here likely: it is
counted, and marked as `perhaps`. Only where an edit of something that is no manifest reaches a step through
a manifest that another stage writes (`COPY --from=planner recipe.json`), the step is taken to stay cached.

A file that goes back to what it was before counts as changed, although the builder may still hold that
record: how long records live is not known from here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from devloop.cache.baseline import vertex_digests
from devloop.cache.predict import ContentKey
from devloop.context.patterns import NO_RULES, IgnoreRules
from devloop.context.selection import Selection, reads
from devloop.cost.classify import manifest_family
from devloop.cost.estimate import critical_path
from devloop.dockerfile.stages import MAIN_CONTEXT, BuildGraph, FromContext, FromVertex, Input, Taken
from devloop.paths import ContextPath

if TYPE_CHECKING:
    from devloop.context.snapshot import Snapshot
    from devloop.plan.model import ChangeKind

WEEK: Final = 7 * 24 * 3600
_MONDAY: Final = 3 * 24 * 3600
"""The first moment of Unix time is a Thursday."""


# What history says ------------------------------------------------------------------------------------------


class FileChange(NamedTuple):
    """A path of the repository that a commit changes; a submodule stands for everything that is in it."""

    path: str
    kind: ChangeKind
    is_submodule: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit against its first parent. `at` is when its author made it, in seconds of Unix time.

    `files_before` and `files_after` name the versions of the build's own files (Dockerfile and ignore files)
    in the parent's tree and in its own, by digests; None for a file that is not there.
    """

    id: str
    parent: str | None
    at: int
    author: str
    subject: str
    changes: tuple[FileChange, ...]
    files_before: tuple[str | None, ...] = ()
    files_after: tuple[str | None, ...] = ()


# The graph of a build ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a local context lies in the repository, and what is ignored in it.

    `prefix` is the path of the context's root in the repository, `above` the path of the repository's root in
    the context; one of them is empty. `links` are the symlinks of the context, which a COPY follows.
    """

    prefix: str = ""
    above: str = ""
    rules: IgnoreRules = NO_RULES
    links: Snapshot | None = None

    def inside(self, path: str) -> str | None:
        """Return the context's name for a path of the repository; None for what lies outside."""
        if self.above:
            return f"{self.above}/{path}"
        if not self.prefix:
            return path
        return path[len(self.prefix) + 1 :] if path.startswith(f"{self.prefix}/") else None


HERE: Final[Mapping[str, Place]] = {MAIN_CONTEXT: Place()}
"""The main context is the root of the repository, and nothing is ignored."""

_Edge = Literal["base", "content", "checkpoint"]


class Reach(NamedTuple):
    """The vertices that run, as the bits of two numbers: all of them, and those that run for sure."""

    ran: int
    sure: int


class ReplayGraph:
    """The graph of one version of the Dockerfile, ready to be asked about many paths.

    `prices` are the seconds of a step by its number, `measured` the numbers of steps whose price was measured
    here; a step without a price costs an unknown time, counted as nothing. What a path reaches is worked out
    once.
    """

    def __init__(
        self,
        graph: BuildGraph,
        prices: Mapping[int, float | None],
        places: Mapping[str, Place] = HERE,
        name: str = "Dockerfile",
        measured: frozenset[int] = frozenset(),
    ) -> None:
        self.graph = graph
        self.name = name
        self.places = places
        self.seconds: tuple[float | None, ...] = tuple(
            prices.get(vertex.step) if graph.steps[vertex.step].vertex == vertex.number else 0.0
            for vertex in graph.vertices
        )
        self.measured = frozenset(vertex.number for vertex in graph.vertices if vertex.step in measured)
        self.names = _step_names(graph)
        self._digests = vertex_digests(graph, _Unchanged())
        self._edges = tuple(
            tuple(
                (entry.producer.vertex, _edge(entry))
                for entry in vertex.inputs
                if isinstance(entry.producer, FromVertex)
            )
            for vertex in graph.vertices
        )
        self._selections = tuple(
            (vertex.number, entry.producer.name, tuple(_selection(taken) for taken in entry.taken))
            for vertex in graph.vertices
            for entry in vertex.inputs
            if isinstance(entry.producer, FromContext)
        )
        self._readers: dict[tuple[str, bool], tuple[str, int]] = {}
        self._reached: dict[tuple[int, int], Reach] = {}
        self._waits: dict[int, float] = {}
        self._sets: dict[int, frozenset[int]] = {}

    def readers(self, path: str, *, is_submodule: bool = False) -> tuple[str, int]:
        """Return the path as its context names it, and the vertices that take it, as bits."""
        known = self._readers.get((path, is_submodule))
        if known is None:
            known = self._readers[path, is_submodule] = self._find_readers(path, is_submodule=is_submodule)
        return known

    def _find_readers(self, path: str, *, is_submodule: bool) -> tuple[str, int]:
        shown, found = "", 0
        for name, place in self.places.items():
            inside = place.inside(path)
            if inside is None or place.rules.excludes(inside):
                continue
            links = None if is_submodule else place.links
            for number, context, selections in self._selections:
                if context == name and any(reads(one, ContextPath(inside), links) for one in selections):
                    found |= 1 << number
                    shown = shown or (f"{name}:{inside}" if name else inside)
        return shown or path, found

    def reach(self, by_manifest: int, by_other: int = 0) -> Reach:
        """Return what runs when some vertices take a changed manifest, and others another changed path."""
        known = self._reached.get((by_manifest, by_other))
        if known is None:
            one = self._follow(by_manifest, is_manifest=True)
            other = self._follow(by_other, is_manifest=False)
            known = Reach(one.ran | other.ran, one.sure | other.sure)
            self._reached[by_manifest, by_other] = known
        return known

    def _follow(self, touched: int, *, is_manifest: bool) -> Reach:
        ran = sure = touched
        if touched:
            for number, edges in enumerate(self._edges):
                for producer, edge in edges:
                    if not ran >> producer & 1 or (edge == "checkpoint" and not is_manifest):
                        continue
                    ran |= 1 << number
                    if edge == "base" and sure >> producer & 1:
                        sure |= 1 << number
        return Reach(ran, sure)

    @property
    def everything(self) -> int:
        """All vertices, as bits."""
        return (1 << len(self._edges)) - 1

    def differing(self, before: ReplayGraph) -> int:
        """Return the vertices that another version of the Dockerfile did not have like this, as bits."""
        old = frozenset(before._digests)
        return sum(1 << number for number, digest in enumerate(self._digests) if digest not in old)

    def rewritten(self, before: ReplayGraph) -> int:
        """Return only the first of each chain of those that differ: what stands on them follows."""
        differing = self.differing(before)
        return sum(
            1 << number
            for number, edges in enumerate(self._edges)
            if differing >> number & 1 and not any(differing >> producer & 1 for producer, _ in edges)
        )

    def wait(self, ran: int) -> float:
        """Return the seconds that a build takes in which these vertices run: its longest chain."""
        known = self._waits.get(ran)
        if known is None:
            nodes = {
                number: (self.seconds[number] or 0.0, [producer for producer, _ in edges])
                for number, edges in enumerate(self._edges)
                if ran >> number & 1
            }
            known = self._waits[ran] = critical_path(nodes)
        return known

    def numbers(self, bits: int) -> frozenset[int]:
        """Return the numbers of vertices that stand in the bits."""
        known = self._sets.get(bits)
        if known is None:
            known = frozenset(number for number in range(len(self._edges)) if bits >> number & 1)
            self._sets[bits] = known
        return known


class StepName(NamedTuple):
    """What makes a step the same in two versions of a Dockerfile: its stage, keyword and text."""

    stage: str
    keyword: str
    text: str


def _step_names(graph: BuildGraph) -> dict[int, StepName]:
    """Name the steps by the vertices that decide about them; equal ones of a stage are counted."""
    found: dict[int, StepName] = {}
    seen: Counter[StepName] = Counter()
    for step in graph.steps:
        if step.vertex is None:
            continue
        text = " ".join(step.instruction.text.split())
        name = StepName(graph.stage(step.stage).label, step.keyword, text)
        seen[name] += 1
        if seen[name] > 1:
            name = StepName(name.stage, name.keyword, f"{text} ({seen[name]})")
        found[step.vertex] = name
    return found


class _Unchanged:
    """Contents that never differ, so that a digest of a vertex says what the Dockerfile makes of it."""

    def key(self, context: str, taken: Taken) -> ContentKey:
        return ContentKey(f"{context} {taken!r}", "")


def _selection(taken: Taken) -> Selection:
    return Selection(
        sources=taken.sources, excludes=taken.excludes, parents=taken.parents, wildcards=taken.wildcards
    )


def _edge(entry: Input) -> _Edge:
    if not entry.by_content:
        return "base"
    sources = [source for taken in entry.taken for source in taken.sources]
    return "checkpoint" if sources and all(manifest_family(source) for source in sources) else "content"


# The replay -------------------------------------------------------------------------------------------------

CauseKind = Literal["path", "instruction", "ignore"]


class Cause(NamedTuple):
    """What made vertices run: a changed path, the Dockerfile's new text, or the ignore file's.

    `alone` is what a build would take in which nothing else had changed.
    """

    kind: CauseKind
    path: str
    ran: frozenset[int]
    alone: float


@dataclass(frozen=True, slots=True)
class Build:
    """What the build of one commit runs; `perhaps` are those of the vertices for which that is only likely.

    `seconds` is the longest chain of the steps that run; steps without a price add nothing.
    """

    commit: Commit
    graph: ReplayGraph
    ran: frozenset[int]
    perhaps: frozenset[int]
    seconds: float
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """The builds of a history, newest first, without those in which nothing runs.

    `commits` counts all that were replayed, `unreadable` those beyond them that nothing can be built upon:
    the first one, and those whose tree, or whose parent's, has no Dockerfile that can be resolved. `graph` is
    the newest one, whose vertex numbers the questions below take. `weeks` counts the weeks in which somebody
    committed.
    """

    builds: tuple[Build, ...]
    commits: int
    unreadable: int
    weeks: int
    graph: ReplayGraph | None
    oldest_at: int | None = None
    newest_at: int | None = None

    @property
    def seconds(self) -> float:
        """What all builds take together."""
        return sum(build.seconds for build in self.builds)

    @property
    def seconds_a_week(self) -> float:
        """What the builds of a week take in which somebody commits."""
        return self.seconds / max(self.weeks, 1)


GraphsOf = Callable[[Commit], tuple[ReplayGraph | None, ReplayGraph | None]]
"""The graphs of the parent's tree and of the commit's; None where there is none that can be read."""
ListingOf = Callable[[str], Iterable[str]]
"""The paths of a commit's tree; asked for only where an ignore file changed."""


def fixed(graph: ReplayGraph) -> GraphsOf:
    """Send every commit through the same graph, as if the Dockerfile had always been this one."""
    return lambda _commit: (graph, graph)


def replay(commits: Iterable[Commit], graphs: GraphsOf, listing: ListingOf = lambda _commit: ()) -> Replay:
    """Replay commits, newest first; `Replayer` does it one by one."""
    replayer = Replayer(graphs, listing)
    for commit in commits:
        replayer.add(commit)
    return replayer.result()


@dataclass(slots=True)
class Replayer:
    """A replay while it goes on; its result can be taken at any time."""

    graphs: GraphsOf
    listing: ListingOf = lambda _commit: ()
    _builds: list[Build] = field(default_factory=list)
    _commits: int = 0
    _unreadable: int = 0
    _weeks: set[int] = field(default_factory=set)
    _graph: ReplayGraph | None = None
    _oldest: int | None = None
    _newest: int | None = None

    def add(self, commit: Commit) -> None:
        """Replay one commit more."""
        before, after = self.graphs(commit)
        if self._graph is None:
            self._graph = after
        if before is None or after is None or commit.parent is None:
            self._unreadable += 1
            return
        build = build_of(commit, before, after, self.listing)
        self._commits += 1
        self._weeks.add(week_of(commit.at))
        self._oldest = commit.at if self._oldest is None else min(self._oldest, commit.at)
        self._newest = commit.at if self._newest is None else max(self._newest, commit.at)
        if build.ran:
            self._builds.append(build)

    def result(self) -> Replay:
        """Return what was replayed so far."""
        return Replay(
            tuple(self._builds),
            self._commits,
            self._unreadable,
            len(self._weeks),
            self._graph,
            self._oldest,
            self._newest,
        )


def week_of(at: int) -> int:
    """Return the number of a week that begins on Monday."""
    return (at + _MONDAY) // WEEK


def build_of(
    commit: Commit, before: ReplayGraph, after: ReplayGraph, listing: ListingOf = lambda _commit: ()
) -> Build:
    """Tell what a build of the commit runs on top of a build of its parent."""
    touched: dict[tuple[CauseKind, str], tuple[int, bool]] = {}
    for change in commit.changes:
        shown, bits = after.readers(change.path, is_submodule=change.is_submodule)
        if bits:
            touched["path", shown] = (bits, is_manifest(change.path))
    if before is not after:
        rewritten = after.rewritten(before)
        if rewritten:
            touched["instruction", after.name] = (rewritten, True)
        entered = _entered(commit, before, after, listing)
        if entered:
            touched["ignore", IGNORE_FILE] = (entered, True)
    by_manifest = by_other = 0
    causes = []
    for (kind, shown), (bits, manifest) in touched.items():
        by_manifest |= bits if manifest else 0
        by_other |= 0 if manifest else bits
        alone = after.reach(bits) if manifest else after.reach(0, bits)
        causes.append(Cause(kind, shown, after.numbers(alone.ran), after.wait(alone.ran)))
    reach = after.reach(by_manifest, by_other)
    return Build(
        commit,
        after,
        after.numbers(reach.ran),
        after.numbers(reach.ran & ~reach.sure),
        after.wait(reach.ran),
        tuple(causes),
    )


IGNORE_FILE: Final = ".dockerignore"


def _entered(commit: Commit, before: ReplayGraph, after: ReplayGraph, listing: ListingOf) -> int:
    """Return the vertices that take a file which an edit of the ignore file lets in or keeps out."""
    changed = [
        (name, place, before.places[name])
        for name, place in after.places.items()
        if name in before.places and before.places[name].rules != place.rules
    ]
    removed = [change.path for change in commit.changes if change.kind == "removed"]
    found = 0
    for name, place, old in changed:
        visible = ReplayGraph(
            after.graph, {}, {name: Place(place.prefix, place.above, NO_RULES, place.links)}, after.name
        )
        for path in (*listing(commit.id), *removed):
            inside = place.inside(path)
            if inside is not None and place.rules.excludes(inside) != old.rules.excludes(inside):
                found |= visible.readers(path)[1]
    return found


_manifests: dict[str, bool] = {}


def is_manifest(path: str) -> bool:
    """Tell whether an installer of some ecosystem reads a file of this name."""
    name = path.rpartition("/")[2]
    known = _manifests.get(name)
    if known is None:
        known = _manifests[name] = bool(manifest_family(path))
    return known


# Questions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepTotal:
    """What one step cost over the history: `perhaps` of its runs are only likely.

    `line` is where it stands in the newest Dockerfile; None for a step that is not there any more. `price` is
    what one run takes, None where that is not known. `files` are the paths behind its runs with how many of
    them each caused, most first.
    """

    name: StepName
    line: int | None
    price: float | None
    is_measured: bool
    runs: int
    perhaps: int
    seconds: float
    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FileTotal:
    """A path behind runs: how many commits hold it, and what saves of it alone would have taken."""

    path: str
    kind: CauseKind
    commits: int
    seconds: float


def step_totals(found: Replay) -> tuple[StepTotal, ...]:
    """Add up the runs of each step: those of the newest Dockerfile in its order, then those that are gone."""
    runs: Counter[StepName] = Counter()
    perhaps: Counter[StepName] = Counter()
    seconds: dict[StepName, float] = defaultdict(float)
    files: dict[StepName, Counter[str]] = {}
    prices: dict[StepName, float | None] = {}
    measured: set[StepName] = set()
    for build in found.builds:
        known = build.graph.names
        for number in build.ran & known.keys():
            name = known[number]
            runs[name] += 1
            perhaps[name] += number in build.perhaps
            price = build.graph.seconds[number]
            prices.setdefault(name, price)
            if number in build.graph.measured:
                measured.add(name)
            seconds[name] += price or 0.0
            counted = files.setdefault(name, Counter())
            for cause in build.causes:
                if number in cause.ran:
                    counted[cause.path] += 1
    standing: dict[StepName, int] = {}
    if found.graph is not None:
        for number, name in found.graph.names.items():
            vertex = found.graph.graph.vertices[number]
            standing[name] = found.graph.graph.steps[vertex.step].span.first
            prices.setdefault(name, found.graph.seconds[number])
            if number in found.graph.measured:
                measured.add(name)
    gone = sorted((name for name in runs if name not in standing), key=lambda one: (-seconds[one], one))
    return tuple(
        StepTotal(
            name,
            standing.get(name),
            prices[name],
            name in measured,
            runs[name],
            perhaps[name],
            seconds[name],
            tuple(sorted(files.get(name, Counter()).items(), key=lambda one: (-one[1], one[0]))),
        )
        for name in (*standing, *gone)
    )


def file_totals(found: Replay) -> tuple[FileTotal, ...]:
    """Add up what saves of each path would have taken, the dearest first."""
    commits: Counter[tuple[str, CauseKind]] = Counter()
    seconds: dict[tuple[str, CauseKind], float] = {}
    for build in found.builds:
        for cause in build.causes:
            key = (cause.path, cause.kind)
            commits[key] += 1
            seconds[key] = seconds.get(key, 0.0) + cause.alone
    totals = [FileTotal(path, kind, commits[path, kind], seconds[path, kind]) for path, kind in commits]
    return tuple(sorted(totals, key=lambda one: (-one.seconds, -one.commits, one.path, one.kind)))


def buckets(found: Replay, number: int) -> tuple[float, ...]:
    """Return the seconds of the builds in `number` equal spans of time, oldest first."""
    if found.oldest_at is None or found.newest_at is None:
        return ()
    spans = [0.0] * number
    length = max(found.newest_at - found.oldest_at, 1)
    for build in found.builds:
        spans[min((build.commit.at - found.oldest_at) * number // length, number - 1)] += build.seconds
    return tuple(spans)
