"""Where the COPYs of an image put what they take, computed as BuildKit would.

A *layout* belongs to one moment of the local contexts. It answers for any place of the image which layers
put something there, the topmost first, without looking at any other place. The rules are those of BuildKit's
copier (`fsutil/copy`):

- a directory gives its contents and nothing of itself; a file goes into the destination if that is or ends
  like a directory, else it becomes the destination;
- what a wildcard matches is copied match by match, in the order of the paths, and the last one wins;
- directories above a destination come into being with mode 0755, those inside of a source keep their mode;
- links at the end of a source are followed, links inside of a directory are copied as links.

What cannot be computed is said to be unclear, with the step: an image's files, what a RUN leaves, sources
that are reached through a link.
"""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from devloop.context.patterns import IgnoreProblem, IgnoreRules, has_wildcard, match_path, parse_excludes
from devloop.context.snapshot import Directory, Entry, Node, Snapshot
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromVertex,
    Producer,
    Step,
    Taken,
    Vertex,
)
from devloop.paths import context_path

FileKind = Literal["file", "directory", "link", "other"]
KindAt = Callable[[str], FileKind | None]


class UnclearError(Exception):
    """What a step puts at a place cannot be computed; `reason` is the sentence."""

    def __init__(self, reason: str, step: Step) -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


@dataclass(frozen=True, slots=True)
class Laid:
    """What one layer puts at a place.

    `implied` is a directory that comes into being above something else, if it is not there; `inline` is text
    of the Dockerfile; `unclear` says in `reason` what cannot be known. `is_foreign` tells that the owner is
    a name of another stage.
    """

    kind: Literal["file", "directory", "link", "other", "implied", "inline", "unclear"]
    vertex: int
    context: str = ""
    source: str = ""
    mode: int = 0o755
    digest: str = ""
    link: str = ""
    owner: str | None = None
    is_foreign: bool = False
    is_disguised: bool = False
    reason: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether a directory is there, by its own or implied."""
        return self.kind in {"directory", "implied"}


@dataclass(frozen=True, slots=True)
class Chain:
    """A file system as the vertices that make it, lowest first; `is_bare` if nothing but COPYs made it."""

    layers: tuple[int, ...]
    is_final: bool
    is_bare: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a COPY, with where it goes."""

    vertex: int
    step: Step
    producer: Producer
    source: str
    taken: Taken
    destination: str
    names_directory: bool

    @property
    def is_wildcard(self) -> bool:
        """Whether the source is a pattern."""
        return self.taken.wildcards and not self.taken.parents and has_wildcard(self.source)


@dataclass(frozen=True, slots=True)
class Heads:
    """What a source stands for: directories whose contents are taken and single files, with their order.

    `files` has for each base name the head that comes last, since that one wins; `depth` counts the names in
    every head; `link` is a link on the way, which nothing here follows.
    """

    directories: Mapping[str, int] = field(default_factory=dict)
    single: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, Directory] = field(default_factory=dict)
    depth: int = 0
    link: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there to be copied."""
        return not self.directories and not self.single and self.link is None

    def head_of(self, path: str) -> str | None:
        """Return the head that a path is or lies in."""
        parts = path.split("/")
        head = "/".join(parts[: self.depth])
        is_head = head in self.directories or head in self.single
        return head if is_head and len(parts) >= self.depth else None


def step_name(step: Step) -> str:
    """Name a step by its instruction and line."""
    return f"{step.keyword} (line {step.span.first})"


# Chains -----------------------------------------------------------------------------------------------------


def final_chain(graph: BuildGraph) -> Chain:
    """Return the vertices that make the final file system."""
    return _chain(graph, _last_vertex(graph, graph.target), graph.target, is_final=True)


def chain_below(graph: BuildGraph, vertex: int) -> Chain:
    """Return the vertices that make what a vertex gives, itself included."""
    return _chain(graph, vertex, graph.steps[graph.vertices[vertex].step].stage, is_final=False)


def _chain(graph: BuildGraph, vertex: int | None, stage: int, *, is_final: bool) -> Chain:
    layers: list[int] = []
    while vertex is not None:
        node = graph.vertices[vertex]
        stage = graph.steps[node.step].stage
        if node.operation.kind == "merge":
            # A merge stands as the linked copy that it lays upon its base.
            producers = [one.producer.vertex for one in node.inputs if isinstance(one.producer, FromVertex)]
            layers.append(producers[-1])
            vertex = producers[0] if len(producers) > 1 else None
            continue
        layers.append(vertex)
        vertex = base_of(graph, node)
    is_bare = _starts_from_scratch(graph, stage) and all(
        graph.vertices[one].operation.kind != "exec" for one in layers
    )
    return Chain(tuple(reversed(layers)), is_final, is_bare)


def _last_vertex(graph: BuildGraph, index: int | None) -> int | None:
    while index is not None:
        stage = graph.stage(index)
        for number in reversed(stage.steps):
            vertex = graph.steps[number].last_vertex
            if vertex is not None:
                return vertex
        index = stage.base_stage
    return None


def base_of(graph: BuildGraph, vertex: Vertex) -> int | None:
    """Return the vertex that another one builds upon: what came before it in its stage, if it takes that."""
    step = graph.steps[vertex.step]
    stage = graph.stage(step.stage)
    before: int | None = None
    for number in stage.steps:
        if number == step.number:
            break
        last = graph.steps[number].last_vertex
        before = last if last is not None else before
    if before is None:
        before = _last_vertex(graph, stage.base_stage)
    # A linked copy takes no base. The first input is the base even where files are taken from it.
    is_base = bool(vertex.inputs) and vertex.inputs[0].producer == FromVertex(
        before if before is not None else -1
    )
    return before if is_base else None


def _starts_from_scratch(graph: BuildGraph, index: int) -> bool:
    stage = graph.stage(index)
    while stage.base_stage is not None:
        stage = graph.stage(stage.base_stage)
    return stage.base == "scratch"


# Sources ----------------------------------------------------------------------------------------------------


def parts_of(graph: BuildGraph, vertex: Vertex) -> tuple[Part, ...]:
    """Return the sources of a COPY or ADD in the order in which they are copied, inline files left out."""
    step = graph.steps[vertex.step]
    destination = step.destination or "/"
    cleaned = destination.rstrip("/") or "/"
    found = []
    for at, entry in enumerate(vertex.inputs):
        takings = entry.taken
        if not takings and (at > 0 or not isinstance(entry.producer, FromVertex | FromImage)):
            takings = (Taken(("",)),)
        found += [
            Part(vertex.number, step, entry.producer, source, taken, cleaned, destination.endswith("/"))
            for taken in takings
            for source in taken.sources
        ]
    return tuple(found)


def covers(destination: str, place: str) -> bool:
    """Tell whether a COPY to a destination may have to do with a place: at, below or above it."""
    return is_within(place, destination) or is_within(destination, place)


def is_within(place: str, folder: str) -> bool:
    """Tell whether a path is a folder or below it."""
    return folder in {place, "/"} or place.startswith(f"{folder}/")


def ancestors(place: str) -> tuple[str, ...]:
    """Return the directories above an absolute path, the root left out, the highest first."""
    parts = place.strip("/").split("/")
    return tuple("/" + "/".join(parts[: count + 1]) for count in range(len(parts) - 1))


@lru_cache(maxsize=64)
def _excludes(patterns: tuple[str, ...]) -> IgnoreRules | None:
    """Return the rules of `--exclude`; None where they cannot be trusted to mean the same when copying."""
    rules = parse_excludes(patterns)
    if isinstance(rules, IgnoreProblem) or any(one.exception for one in rules.patterns):
        return None
    return rules


class Layout:
    """The image that a graph makes of the contexts at one moment.

    `kind_at` looks into the container: a destination that is a directory there takes a file into itself.
    """

    def __init__(self, graph: BuildGraph, tree: Mapping[str, Snapshot], kind_at: KindAt) -> None:
        self._graph = graph
        self._tree = tree
        self._kind_at = kind_at
        self._known_heads: dict[tuple[str, int], tuple[Part, Heads]] = {}
        self._known_layers: dict[Chain, list[tuple[Vertex, Step, str]]] = {}
        self._parts: dict[int, tuple[Part, ...]] = {}
        self._known_changes: dict[int, tuple[int | None, str | None]] = {}

    def node(self, context: str, path: str) -> Node | None:
        """Return what a context has at a path."""
        snapshot = self._tree.get(context)
        return snapshot.node(path) if snapshot is not None else None

    def parts(self, vertex: Vertex) -> tuple[Part, ...]:
        """Return the sources of a COPY, once computed."""
        if vertex.number not in self._parts:
            self._parts[vertex.number] = parts_of(self._graph, vertex)
        return self._parts[vertex.number]

    def heads(self, context: str, part: Part) -> Heads:
        """Return what a source stands for; `link` names a link on the way, which nothing here follows."""
        # Parts are long to hash, and this is asked with every path. A kept part keeps its number to itself.
        key = (context, id(part))
        known = self._known_heads.get(key)
        if known is None:
            known = self._known_heads[key] = (part, self._find_heads(context, part))
        return known[1]

    def _find_heads(self, context: str, part: Part) -> Heads:
        snapshot = self._tree.get(context) or Snapshot()
        source = context_path(part.source)
        found = _matching(snapshot, source) if part.is_wildcard else _plain(snapshot, source)
        if not source and part.taken.excludes:
            # With a filter the engine takes the whole context for a pattern, whose links it follows.
            return replace(found, link=_link_in(snapshot.root))
        return found

    # From a path to its places

    def places(self, chain: Chain, context: str, part: Part, path: str) -> tuple[str, ...]:
        """Return where a source puts one path of its context; nowhere for a path that it does not copy."""
        heads = self.heads(context, part)
        if heads.link is not None:
            raise UnclearError(
                f"{step_name(part.step)} reaches {path} through the link {heads.link}", part.step
            )
        if part.taken.parents:
            place = _below_pivot(part, path)
            is_taken = self._is_taken_with_parents(context, part, path)
            return (posixpath.join(part.destination, place),) if place and is_taken else ()
        head = heads.head_of(path)
        if head is None:
            return ()
        if head in heads.single:
            is_it = head == path
            return (self._file_place(chain, part, posixpath.basename(head), head),) if is_it else ()
        rest = path[len(head) + 1 :] if head else path
        if path == head or not self._is_included(part, rest):
            return ()
        return (posixpath.join(part.destination, rest),)

    def _is_taken_with_parents(self, context: str, part: Part, path: str) -> bool:
        if has_wildcard(part.source) or part.taken.excludes:
            raise UnclearError(
                f"{step_name(part.step)} takes {path} by a pattern with its parents", part.step
            )
        source = context_path(part.source)
        is_there = self.node(context, source) is not None
        return is_there and (is_within(path, source or "/") or not source or is_within(source, path))

    def _is_included(self, part: Part, rest: str) -> bool:
        if not part.taken.excludes:
            return True
        rules = _excludes(part.taken.excludes)
        if rules is None:
            raise UnclearError(f"{step_name(part.step)} excludes by patterns with exceptions", part.step)
        return not rules.excludes(rest)

    def _file_place(self, chain: Chain, part: Part, name: str, head: str) -> str:
        if part.taken.excludes:
            rules = _excludes(part.taken.excludes)
            if rules is None or rules.excludes(name) or rules.excludes(head):
                raise UnclearError(f"{step_name(part.step)} may exclude {head}", part.step)
        return self._target(chain, part, name)

    def _target(self, chain: Chain, part: Part, name: str) -> str:
        """Return where a single file goes."""
        inside = posixpath.join(part.destination, name)
        if part.names_directory or part.destination == "/":
            return inside
        if part.is_wildcard:
            raise UnclearError(
                f"{step_name(part.step)} copies what a pattern matches to what is no directory by its name",
                part.step,
            )
        kind = self._kind_at(part.destination) if chain.is_final else self._kind_below(chain, part)
        if kind in {"link", "other"}:
            raise UnclearError(
                f"{part.destination}, where {step_name(part.step)} copies to, is a {_word(kind)}", part.step
            )
        if kind != "directory":
            return part.destination
        if not self._has_base(part):
            raise UnclearError(f"{step_name(part.step)} replaces the directory {part.destination}", part.step)
        return inside

    def _has_base(self, part: Part) -> bool:
        return base_of(self._graph, self._graph.vertices[part.vertex]) is not None or not self._is_linked(
            part
        )

    def _is_linked(self, part: Part) -> bool:
        return any(
            one.operation.kind == "merge" and one.inputs[-1].producer == FromVertex(part.vertex)
            for one in self._graph.vertices
        )

    def _kind_below(self, chain: Chain, part: Part) -> FileKind | None:
        """Return what the layers of a stage below a COPY have at its destination."""
        index = chain.layers.index(part.vertex) if part.vertex in chain.layers else 0
        below = replace(chain, layers=chain.layers[:index])
        stack = self.stack(below, part.destination)
        if not stack and chain.is_bare:
            return None
        if not stack or stack[0].kind in {"unclear", "inline"}:
            raise UnclearError(
                f"it is not known what {part.destination} is where {step_name(part.step)} copies to it",
                part.step,
            )
        return "directory" if stack[0].is_directory else "file"

    # From a place to what is put there

    def stack(self, chain: Chain, place: str) -> tuple[Laid, ...]:
        """Return what the layers put at a place, topmost first, down to the topmost RUN."""
        if chain not in self._known_layers:
            self._known_layers[chain] = self._layers(chain)
        found: list[Laid] = []
        for vertex, step, destination in self._known_layers[chain]:
            if not covers(destination, place):
                continue
            if vertex.operation.kind != "mkdir":
                found += self._layer(chain, vertex, step, place)
            elif is_within(destination, place):
                found.append(Laid("implied", vertex.number))
        return tuple(found)

    def _layers(self, chain: Chain) -> list[tuple[Vertex, Step, str]]:
        """Return what puts something somewhere, topmost first, down to the topmost RUN, and where."""
        found = []
        for number in reversed(chain.layers):
            vertex = self._graph.vertices[number]
            if vertex.operation.kind == "exec":
                break
            step = self._graph.steps[vertex.step]
            found.append((vertex, step, (step.destination or "/").rstrip("/") or "/"))
        return found

    def _layer(self, chain: Chain, vertex: Vertex, step: Step, place: str) -> list[Laid]:
        found = self._inline(chain, vertex, step, place)
        for part in reversed(self.parts(vertex)):
            try:
                found += self._part(chain, part, place)
            except UnclearError as error:
                found.append(Laid("unclear", vertex.number, reason=error.reason))
        # A directory that is only implied says less than anything that is put there by name.
        return sorted(found, key=lambda one: one.kind == "implied") if len(found) > 1 else found

    def _inline(self, chain: Chain, vertex: Vertex, step: Step, place: str) -> list[Laid]:
        if not isinstance(step.instruction, ins.Copy | ins.Add) or not step.instruction.heredocs:
            return []
        destination = step.destination or "/"
        cleaned = destination.rstrip("/") or "/"
        found = []
        for one in reversed(step.instruction.heredocs):
            inside = posixpath.join(cleaned, one.name)
            if destination.endswith("/"):
                target = inside
            elif chain.is_final and self._kind_at(cleaned) not in {"directory", "link", "other"}:
                target = cleaned
            else:
                return [Laid("unclear", vertex.number, reason=f"{step_name(step)} may write {place} itself")]
            if place == target:
                found.append(Laid("inline", vertex.number))
            elif is_within(target, place):
                found.append(Laid("implied", vertex.number))
        return found

    def _part(self, chain: Chain, part: Part, place: str) -> list[Laid]:
        match part.producer:
            case FromContext(name=name):
                return self._from_context(chain, part, name, place)
            case FromVertex(vertex=producer):
                return self._from_stage(chain, part, producer, place)
            case FromImage(reference=reference):
                raise UnclearError(
                    f"{step_name(part.step)} may write {place} as well, from {reference}", part.step
                )
            case _:
                raise UnclearError(
                    f"{step_name(part.step)} may write {place} as well, from elsewhere", part.step
                )

    def _from_context(self, chain: Chain, part: Part, context: str, place: str) -> list[Laid]:
        heads = self.heads(context, part)
        if heads.link is not None:
            raise UnclearError(
                f"{step_name(part.step)} may write {place} as well, through the link {heads.link}", part.step
            )
        if heads.is_empty:
            return []
        if part.taken.parents:
            return self._with_parents(part, context, place)
        found: list[tuple[int, Laid]] = []
        rest = ""
        if place != part.destination and is_within(place, part.destination):
            rest = place[len(part.destination.rstrip("/")) + 1 :]
        if not rest and heads.directories:
            found.append((0, Laid("implied", part.vertex)))
        first = rest.partition("/")[0]
        for head, order in heads.directories.items() if rest else ():
            # A look for the first name spares most of the directories that a pattern matches.
            if first not in heads.nodes[head].children:
                continue
            source = f"{head}/{rest}" if head else rest
            node = self.node(context, source)
            if node is not None and self._is_included(part, rest):
                found.append((order, self._laid(part, context, source, node)))
        single = heads.files.get(rest) if rest and "/" not in rest else None
        names = [rest] if single is not None else []
        if not rest:
            names = list(heads.files)[:1] if part.is_wildcard else list(heads.files)
        for name in names:
            head = heads.files[name]
            order = heads.single[head]
            if place != part.destination and is_within(part.destination, place):
                found.append((order, Laid("implied", part.vertex)))
                continue
            target = self._file_place(chain, part, name, head)
            node = self.node(context, head)
            if place == target and node is not None:
                self._refuse_archive(part, head)
                found.append((order, self._laid(part, context, head, node)))
            elif is_within(target, place):
                found.append((order, Laid("implied", part.vertex)))
        if len(found) > 1:
            found.sort(key=lambda one: -one[0])
        return [laid for _, laid in found]

    def _with_parents(self, part: Part, context: str, place: str) -> list[Laid]:
        if not is_within(place, part.destination) or place == part.destination:
            return [Laid("implied", part.vertex)]
        rest = place[len(part.destination.rstrip("/")) + 1 :]
        pivot, is_found, _ = part.source.partition("/./")
        path = posixpath.join(context_path(pivot), rest) if is_found else rest
        node = self.node(context, path)
        if node is None or not self._is_taken_with_parents(context, part, path):
            return []
        return [self._laid(part, context, path, node)]

    def _refuse_archive(self, part: Part, head: str) -> None:
        if may_unpack(part.step, head):
            raise UnclearError(f"{step_name(part.step)} may unpack {head}; COPY would not", part.step)

    def _laid(self, part: Part, context: str, source: str, node: Node) -> Laid:
        mode, owner = self._changes(part)
        if isinstance(node, Directory):
            own = node.mode if mode is None else mode
            return Laid("directory", part.vertex, context, source, own, owner=owner)
        if node.kind == "link":
            return Laid("link", part.vertex, context, source, 0o777, link=node.digest, owner=owner)
        return Laid(
            "file" if node.kind == "file" else "other",
            part.vertex,
            context,
            source,
            node.mode if mode is None else mode,
            digest=node.digest,
            owner=owner,
            is_disguised=bool(node.disguised),
        )

    def _changes(self, part: Part) -> tuple[int | None, str | None]:
        if part.vertex not in self._known_changes:
            self._known_changes[part.vertex] = self._changed(part)
        return self._known_changes[part.vertex]

    def _changed(self, part: Part) -> tuple[int | None, str | None]:
        """Return the mode and the owner that an instruction gives to what it copies, variables expanded."""
        from ast import literal_eval

        text = self._graph.vertices[part.vertex].operation.part("destination")
        if text is None:
            return None, None
        _, owner, mode, _ = literal_eval(text)
        try:
            number = int(mode) if mode is not None else None
        except ValueError:
            raise UnclearError(
                f"{step_name(part.step)} sets a mode that is no octal number: --chmod={mode}", part.step
            ) from None
        return number, ":".join(owner) if owner else None

    def _from_stage(self, chain: Chain, part: Part, producer: int, place: str) -> list[Laid]:
        inner = chain_below(self._graph, producer)
        if part.taken.is_filtered or has_wildcard(part.source):
            raise UnclearError(f"{step_name(part.step)} takes by a pattern from a stage", part.step)
        source = "/" + context_path(part.source)
        there = self.stack(inner, source) if source != "/" else (Laid("implied", producer),)
        if not there:
            if inner.is_bare:
                return []
            raise self._unclear_stage(part, producer, place)
        if there[0].is_directory:
            if not is_within(place, part.destination) or place == part.destination:
                return [Laid("implied", part.vertex)]
            rest = place[len(part.destination.rstrip("/")) + 1 :]
            found = self.stack(inner, posixpath.join(source, rest))
            if not found and not inner.is_bare:
                raise self._unclear_stage(part, producer, place)
            return [self._taken_on(part, one) for one in found[:1]]
        if there[0].kind not in {"file", "inline"}:
            raise self._unclear_stage(part, producer, place)
        target = self._target(chain, part, posixpath.basename(source))
        if place == target:
            return [self._taken_on(part, there[0])]
        return [Laid("implied", part.vertex)] if is_within(target, place) else []

    def _unclear_stage(self, part: Part, producer: int, place: str) -> UnclearError:
        stage = self._graph.stage(self._graph.steps[self._graph.vertices[producer].step].stage)
        return UnclearError(
            f"{step_name(part.step)} may write {place} as well, from stage {stage.label}", part.step
        )

    def _taken_on(self, part: Part, laid: Laid) -> Laid:
        """Return what a stage has, as a COPY --from brings it on."""
        mode, owner = self._changes(part)
        return replace(
            laid,
            vertex=part.vertex,
            mode=laid.mode if mode is None or laid.kind == "link" else mode,
            owner=laid.owner if owner is None else owner,
            is_foreign=owner is None and (laid.is_foreign or is_named(laid.owner)),
        )


def is_named(owner: str | None) -> bool:
    """Tell whether an owner has to be looked up in the files of users and groups."""
    return owner is not None and not all(part.isdecimal() for part in owner.split(":") if part)


def may_unpack(step: Step, head: str) -> bool:
    """Tell whether ADD may take a file for an archive, by its name: what has no suffix may be anything."""
    if not isinstance(step.instruction, ins.Add) or step.instruction.unpack is False:
        return False
    suffix = posixpath.splitext(head)[1].lower()
    return not suffix or suffix in _ARCHIVES


_ARCHIVES = frozenset(
    (".tar", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lzma")
)


def _word(kind: str | None) -> str:
    return "link" if kind == "link" else "special file"


def _below_pivot(part: Part, path: str) -> str:
    pivot, found, _ = part.source.partition("/./")
    if not found:
        return path
    below = context_path(pivot)
    if not below:
        return path
    return path[len(below) + 1 :] if path.startswith(f"{below}/") else ""


def _plain(snapshot: Snapshot, path: str) -> Heads:
    link = _link_on_the_way(snapshot, path)
    if link is not None:
        return Heads(link=link)
    node = snapshot.node(path)
    if node is None:
        return Heads()
    depth = path.count("/") + 1 if path else 0
    if isinstance(node, Directory):
        return Heads(directories={path: 0}, nodes={path: node}, depth=depth)
    return Heads(single={path: 0}, files={posixpath.basename(path): path}, depth=depth)


def _link_on_the_way(snapshot: Snapshot, path: str) -> str | None:
    parts = path.split("/") if path else []
    for depth in range(1, len(parts) + 1):
        above = "/".join(parts[:depth])
        node = snapshot.node(above)
        if isinstance(node, Entry) and node.kind == "link":
            return above
    return None


def _link_in(directory: Directory) -> str | None:
    return next(
        (name for name, node in directory.in_order() if isinstance(node, Entry) and node.kind == "link"), None
    )


def _matching(snapshot: Snapshot, pattern: str) -> Heads:
    parts = pattern.split("/")
    fixed = 0
    while not has_wildcard(parts[fixed]):
        fixed += 1
    start = "/".join(parts[:fixed])
    link = _link_on_the_way(snapshot, start)
    if link is not None:
        return Heads(link=link)
    found: list[tuple[str, Node | None]] = [(start, snapshot.node(start))]
    for part in parts[fixed:]:
        found = [
            (f"{head}/{name}" if head else name, child)
            for head, node in found
            if isinstance(node, Directory)
            for name, child in node.children.items()
            if match_path(part, name)
        ]
    directories: dict[str, int] = {}
    nodes: dict[str, Directory] = {}
    single: dict[str, int] = {}
    files: dict[str, str] = {}
    for order, (head, node) in enumerate(sorted(found, key=lambda one: one[0].split("/"))):
        if isinstance(node, Entry) and node.kind == "link":
            return Heads(link=head)
        if isinstance(node, Directory):
            directories[head] = order
            nodes[head] = node
        else:
            single[head] = order
            files[head.rpartition("/")[2]] = head
    return Heads(directories, single, files, nodes, len(parts))
