"""The proof that copying files into the running container gives exactly what a rebuild would give.

A changed path may be synced when every step that reads it is a COPY or ADD whose result is part of the final
file system, and nothing after it could see the difference. The rules, each with the reason that is shown:

- a RUN that mounts the path reads it; a RUN that follows the COPY in the same stage may read it;
- a COPY into another stage is followed through `COPY --from` of plain paths, as long as that stage ran
  nothing afterwards;
- a place that another step writes as well belongs to nobody alone;
- a place under a mount, or in a read-only container, cannot be reached;
- a path that goes leaves what lower layers hold at its place: it must be known that they hold nothing.

Where a rule does not hold the answer is `Blocked` with the step and the sentence, and the image is rebuilt.
"""

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from devloop.context.patterns import has_wildcard, match_path
from devloop.context.selection import Selection, reads
from devloop.context.snapshot import Directory, Entry, Node, Snapshot
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromVertex,
    Input,
    Step,
    Taken,
    Vertex,
)
from devloop.paths import ContextPath, context_path
from devloop.plan.model import PathChange

FileKind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True, slots=True)
class SyncWrite:
    """One entry to put into the container. `digest` is the content it must have, `owner` as `--chown`."""

    path: str
    kind: Literal["file", "directory", "link"]
    mode: int
    context: str
    source: str
    digest: str = ""
    link: str = ""
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What is written and removed in the container; `reason` says why that is the same as a rebuild."""

    writes: tuple[SyncWrite, ...]
    removals: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why the change cannot be synced; `line` is the step that stands in the way, where one does."""

    reason: str
    line: int | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the proof needs to know of the container.

    `kind_at` looks at a path without following links at its end; `is_ours` tells that devloop itself brought
    a path into the container that its image does not have; `is_only_from` tells whether the layer of a
    step is the only one with a path (None: it cannot be known).
    """

    mounts: tuple[str, ...] = ()
    is_read_only: bool = False
    kind_at: Callable[[str], FileKind | None] = lambda _path: None
    is_ours: Callable[[str], bool] = lambda _path: False
    is_only_from: Callable[[int, str], bool | None] = lambda _step, _path: None


UNKNOWN_CONTAINER = Surroundings()
"""What is assumed where no container is at hand: nothing is mounted and nothing is in the way."""


@dataclass(slots=True)
class _Proof:
    graph: BuildGraph
    before: Mapping[str, Snapshot]
    after: Mapping[str, Snapshot]
    around: Surroundings
    layers: tuple[int, ...]
    writes: dict[str, SyncWrite] = field(default_factory=dict)
    removals: dict[str, None] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)


class _BlockedError(Exception):
    def __init__(self, reason: str, line: int | None = None, path: str | None = None) -> None:
        super().__init__(reason)
        self.blocked = Blocked(reason, line, path)


def prove_sync(
    graph: BuildGraph,
    before: Mapping[str, Snapshot],
    after: Mapping[str, Snapshot],
    changes: Mapping[str, Sequence[PathChange]],
    around: Surroundings = UNKNOWN_CONTAINER,
) -> SyncPlan | Blocked:
    """Prove that the changes can be synced, or name what stands in the way.

    `graph` is that of the image which the container runs, and must be that of the tree as well: a changed
    instruction is never synced.
    """
    proof = _Proof(graph, before, after, around, final_layers(graph))
    try:
        for context, found in changes.items():
            for change in found:
                _change(proof, context, change)
        _check_places(proof)
    except _BlockedError as error:
        return error.blocked
    writes = tuple(sorted(proof.writes.values(), key=lambda one: one.path))
    return SyncPlan(writes, tuple(sorted(proof.removals)), _because(proof))


def final_layers(graph: BuildGraph) -> tuple[int, ...]:
    """Return the vertices that make the final file system, lowest first; a merge stands as its copy."""
    layers: list[int] = []
    vertex = _last_vertex(graph, graph.target)
    while vertex is not None:
        node = graph.vertices[vertex]
        if node.operation.kind == "merge":
            producers = [one.producer.vertex for one in node.inputs if isinstance(one.producer, FromVertex)]
            layers.append(producers[-1])
            vertex = producers[0] if len(producers) > 1 else None
            continue
        layers.append(vertex)
        vertex = _base_of(node)
    return tuple(reversed(layers))


def _last_vertex(graph: BuildGraph, index: int | None) -> int | None:
    while index is not None:
        stage = graph.stage(index)
        for number in reversed(stage.steps):
            vertex = graph.steps[number].last_vertex
            if vertex is not None:
                return vertex
        index = stage.base_stage
    return None


def _base_of(vertex: Vertex) -> int | None:
    for entry in vertex.inputs:
        if not entry.taken and isinstance(entry.producer, FromVertex):
            return entry.producer.vertex
    return None


def _step(proof: _Proof, vertex: int) -> Step:
    return proof.graph.steps[proof.graph.vertices[vertex].step]


def _name(step: Step) -> str:
    return f"{step.keyword} (line {step.span.first})"


def _change(proof: _Proof, context: str, change: PathChange) -> None:
    path = ContextPath(change.path)
    for vertex in proof.graph.vertices:
        for entry in vertex.inputs:
            producer = entry.producer
            if not isinstance(producer, FromContext) or producer.name != context:
                continue
            for taken in entry.taken:
                selection = Selection(taken.sources, taken.excludes, taken.parents, taken.wildcards)
                snapshots = (proof.before.get(context), proof.after.get(context))
                if any(reads(selection, path, snapshot) for snapshot in snapshots):
                    _read_by(proof, context, path, vertex, taken)


def _read_by(proof: _Proof, context: str, path: ContextPath, vertex: Vertex, taken: Taken) -> None:
    step = proof.graph.steps[vertex.step]
    proof.used.add(step.number)
    if vertex.operation.kind != "copy":
        raise _BlockedError(f"{path} is read by {_name(step)}: {_short(step.text)}", step.span.first, path)
    if isinstance(step.instruction, ins.Add):
        _refuse_archive(proof, context, path, step)
    chmod = step.instruction.chmod if isinstance(step.instruction, ins.Copy | ins.Add) else None
    mode = _chmod(chmod, step, path)
    owner = _owner(step)
    places = _places(proof, context, path, taken, step)
    if vertex.number in proof.layers:
        _nothing_follows(proof, vertex.number, path, proof.layers)
        for place in places:
            _put(proof, _Target(place, context, path, vertex.number, mode, owner))
        return
    _through_stages(proof, vertex, _Origin(context, path, places, mode, owner))


def _nothing_follows(proof: _Proof, vertex: int, path: str, layers: Sequence[int]) -> None:
    for later in layers[list(layers).index(vertex) + 1 :]:
        if proof.graph.vertices[later].operation.kind == "exec":
            step = _step(proof, later)
            raise _BlockedError(
                f"{path} may be read by {_name(step)}, which follows its COPY: {_short(step.text)}",
                step.span.first,
                path,
            )


@dataclass(frozen=True, slots=True)
class _Origin:
    """A path as it stands in another stage."""

    context: str
    path: ContextPath
    places: tuple[str, ...]
    mode: int | None
    owner: str | None


def _through_stages(proof: _Proof, vertex: Vertex, origin: _Origin) -> None:
    """Follow a path from another stage into the final one, by plain paths of COPY --from."""
    tops = {top: layers for top, layers in _other_stages(proof.graph) if vertex.number in layers}
    consumers = [
        (consumer, entry)
        for consumer in proof.graph.vertices
        for entry in consumer.inputs
        if entry.taken and isinstance(entry.producer, FromVertex) and entry.producer.vertex in tops
    ]
    if not consumers:
        step = proof.graph.steps[vertex.step]
        raise _BlockedError(f"{origin.path} goes through {_name(step)} of another stage", step.span.first)
    for consumer, entry in consumers:
        step = proof.graph.steps[consumer.step]
        if consumer.operation.kind != "copy":
            raise _BlockedError(
                f"{origin.path} is read by {_name(step)}: {_short(step.text)}", step.span.first, origin.path
            )
        if consumer.number not in proof.layers:
            raise _BlockedError(
                f"{origin.path} passes through more than one stage, at {_name(step)}", step.span.first
            )
        producer = entry.producer
        if isinstance(producer, FromVertex):
            _nothing_follows(proof, vertex.number, origin.path, tops[producer.vertex])
        _nothing_follows(proof, consumer.number, origin.path, proof.layers)
        _refuse_filters(entry, step)
        own = step.instruction.chmod if isinstance(step.instruction, ins.Copy | ins.Add) else None
        mode = _chmod(own, step, origin.path) or origin.mode
        owner = _owner(step) or origin.owner
        for place in origin.places:
            for target in _mapped(proof, entry, place, step):
                _put(proof, _Target(target, origin.context, origin.path, consumer.number, mode, owner))


def _other_stages(graph: BuildGraph) -> list[tuple[int, tuple[int, ...]]]:
    """Return for each vertex that another stage copies from: itself, with the layers below it."""
    found = []
    for vertex in graph.vertices:
        for entry in vertex.inputs:
            if entry.taken and isinstance(entry.producer, FromVertex):
                layers: list[int] = []
                at: int | None = entry.producer.vertex
                while at is not None:
                    layers.append(at)
                    at = _base_of(graph.vertices[at])
                found.append((entry.producer.vertex, tuple(reversed(layers))))
    return found


def _refuse_filters(entry: Input, step: Step) -> None:
    for taken in entry.taken:
        if taken.is_filtered or any(has_wildcard(source) for source in taken.sources):
            raise _BlockedError(f"{_name(step)} takes by a pattern from a stage", step.span.first)


def _mapped(proof: _Proof, entry: Input, place: str, step: Step) -> list[str]:
    """Map a place in a stage through the sources of a COPY --from to places in the final image."""
    found = []
    destination = step.destination or "/"
    for taken in entry.taken:
        for source in taken.sources:
            origin = "/" + context_path(source)
            if place == origin:
                found.append(_file_place(proof, destination, posixpath.basename(origin), taken, step))
            elif origin == "/" or place.startswith(origin + "/"):
                found.append(posixpath.join(destination, place[len(origin.rstrip("/")) + 1 :]))
    return found


# Places -----------------------------------------------------------------------------------------------------


def _places(proof: _Proof, context: str, path: ContextPath, taken: Taken, step: Step) -> tuple[str, ...]:
    """Return where a COPY puts a context path: as BuildKit computes it, one place for each source."""
    destination = step.destination or "/"
    found: list[str] = []
    for source in taken.sources:
        if taken.parents:
            place = _parents_place(source, path)
            if place is not None:
                found.append(posixpath.join(destination, place))
        elif has_wildcard(source):
            found.extend(_wildcard_places(proof, context, path, source, step))
        else:
            cleaned = context_path(source)
            _refuse_links(proof, context, cleaned, path, step)
            if path == cleaned:
                if _kind(proof, context, path) == "directory":
                    continue
                found.append(_file_place(proof, destination, posixpath.basename(cleaned), taken, step))
            elif not cleaned or path.startswith(f"{cleaned}/"):
                rest = path[len(cleaned) + 1 :] if cleaned else path
                found.append(posixpath.join(destination, rest))
    return tuple(dict.fromkeys(found))


def _parents_place(source: str, path: str) -> str | None:
    pivot, found, _ = source.partition("/./")
    if not found:
        return path
    below = context_path(pivot)
    return path[len(below) + 1 :] if path.startswith(f"{below}/") else None


def _wildcard_places(
    proof: _Proof, context: str, path: ContextPath, source: str, step: Step
) -> Iterable[str]:
    pattern = context_path(source)
    depth = pattern.count("/") + 1
    parts = path.split("/")
    if len(parts) < depth:
        return
    head = "/".join(parts[:depth])
    if not match_path(pattern, head):
        return
    destination = step.destination or "/"
    _refuse_links(proof, context, context_path(head), path, step)
    if len(parts) > depth:
        yield posixpath.join(destination, *parts[depth:])
    elif _kind(proof, context, path) != "directory":
        if not destination.endswith("/"):
            raise _BlockedError(
                f"{_name(step)} copies what a pattern matches to a place that is no directory by its name",
                step.span.first,
                path,
            )
        yield posixpath.join(destination, parts[-1])


def _file_place(proof: _Proof, destination: str, name: str, taken: Taken, step: Step) -> str:
    if destination.endswith("/") or len(taken.sources) > 1:
        return posixpath.join(destination, name)
    kind = proof.around.kind_at(destination)
    if kind == "directory":
        return posixpath.join(destination, name)
    if kind in {"link", "other"}:
        raise _BlockedError(f"{destination}, where {_name(step)} copies to, is a link", step.span.first)
    return destination


def _refuse_links(proof: _Proof, context: str, source: str, path: str, step: Step) -> None:
    """Refuse a source that is reached through a link: what it leads to may be another file tomorrow."""
    parts = source.split("/") if source else []
    for depth in range(1, len(parts) + 1):
        for tree in (proof.before, proof.after):
            node = _node(tree, context, "/".join(parts[:depth]))
            if isinstance(node, Entry) and node.kind == "link":
                raise _BlockedError(
                    f"{_name(step)} reaches {path} through the link {'/'.join(parts[:depth])}",
                    step.span.first,
                    path,
                )


def _node(tree: Mapping[str, Snapshot], context: str, path: str) -> Node | None:
    snapshot = tree.get(context)
    return snapshot.node(path) if snapshot is not None else None


def _kind(proof: _Proof, context: str, path: str) -> str | None:
    for tree in (proof.after, proof.before):
        node = _node(tree, context, path)
        if node is not None:
            return "directory" if isinstance(node, Directory) else node.kind
    return None


# Entries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    place: str
    context: str
    path: ContextPath
    vertex: int
    mode: int | None
    owner: str | None


def _put(proof: _Proof, target: _Target) -> None:
    """Note what has to be done at one place: write what is there now, or remove what went."""
    place = posixpath.normpath(target.place)
    before = _node(proof.before, target.context, target.path)
    after = _node(proof.after, target.context, target.path)
    _refuse_mounts(proof, place, target.path)
    step = _step(proof, target.vertex)
    old = _kind_of(before)
    new = _kind_of(after)
    if new is None or (old is not None and old != new):
        _removable(proof, place, target, step)
        proof.removals[place] = None
        if new is None:
            return
    if old == "directory" and new == "directory":
        raise _BlockedError(f"the mode of the directory {target.path} changed", step.span.first, target.path)
    if isinstance(after, Directory):
        entry = SyncWrite(
            place, "directory", _mode(target, after.mode), target.context, target.path, owner=target.owner
        )
    elif isinstance(after, Entry) and after.kind == "link":
        entry = SyncWrite(
            place, "link", 0o777, target.context, target.path, link=after.digest, owner=target.owner
        )
    elif isinstance(after, Entry) and after.kind == "file":
        if after.disguised:
            raise _BlockedError(
                f"{target.path} changed under an unchanged size and time, which the builder does not see",
                step.span.first,
                target.path,
            )
        entry = SyncWrite(
            place,
            "file",
            _mode(target, after.mode),
            target.context,
            target.path,
            digest=after.digest,
            owner=target.owner,
        )
    else:
        raise _BlockedError(f"{target.path} is no file, directory or link", step.span.first, target.path)
    known = proof.writes.get(place)
    if known is not None and known != entry:
        raise _BlockedError(f"{place} is written from more than one source", step.span.first, target.path)
    proof.writes[place] = entry


def _kind_of(node: Node | None) -> str | None:
    if node is None:
        return None
    return "directory" if isinstance(node, Directory) else node.kind


def _mode(target: _Target, own: int) -> int:
    return own if target.mode is None else target.mode


def _removable(proof: _Proof, place: str, target: _Target, step: Step) -> None:
    if proof.around.is_ours(place):
        return
    if proof.around.is_only_from(step.number, place) is True:
        return
    raise _BlockedError(
        f"{target.path} went, and lower layers of the image may hold something at {place}",
        step.span.first,
        target.path,
    )


def _refuse_mounts(proof: _Proof, place: str, path: str) -> None:
    for mount in proof.around.mounts:
        if place == mount or place.startswith(mount.rstrip("/") + "/"):
            raise _BlockedError(
                f"{place} lies under the mount {mount}, which hides the image's files", path=path
            )
    if proof.around.is_read_only:
        raise _BlockedError("the container's file system is read-only", path=path)


def _check_places(proof: _Proof) -> None:
    """Refuse places that another layer writes too, and ways through links of the container."""
    for place, owner in [*((w.path, w) for w in proof.writes.values()), *((p, None) for p in proof.removals)]:
        for ancestor in _ancestors(place):
            if ancestor in proof.writes:
                continue
            if proof.around.kind_at(ancestor) in {"link", "file", "other"}:
                raise _BlockedError(f"{ancestor} in the container is no directory of its own", path=place)
        _refuse_shared_place(proof, place, owner)


def _ancestors(place: str) -> list[str]:
    parts = place.strip("/").split("/")
    return ["/" + "/".join(parts[: n + 1]) for n in range(len(parts) - 1)]


def _refuse_shared_place(proof: _Proof, place: str, write: SyncWrite | None) -> None:
    for layer in proof.layers:
        vertex = proof.graph.vertices[layer]
        step = proof.graph.steps[vertex.step]
        if vertex.operation.kind == "mkdir":
            made = step.destination or "/"
            if (place == made or made.startswith(place + "/")) and (
                write is None or write.kind != "directory"
            ):
                raise _BlockedError(f"{_name(step)} makes a directory at {made}", step.span.first)
            continue
        if vertex.operation.kind != "copy" or not _covers(step.destination or "/", place):
            continue
        if _heredoc_at(step, place):
            raise _BlockedError(f"{_name(step)} writes {place} itself", step.span.first)
        for entry in vertex.inputs:
            if not entry.taken:
                continue
            if isinstance(entry.producer, FromVertex | FromImage) and not _is_source_of(proof, entry, place):
                raise _BlockedError(
                    f"{_name(step)} may write {place} as well, from {_origin(proof, entry)}",
                    step.span.first,
                )
            if isinstance(entry.producer, FromContext):
                _refuse_second_source(proof, entry, step, place, write)


def _covers(destination: str, place: str) -> bool:
    cleaned = destination.rstrip("/")
    return (
        place == cleaned or not cleaned or place.startswith(cleaned + "/") or cleaned.startswith(place + "/")
    )


def _heredoc_at(step: Step, place: str) -> bool:
    if not isinstance(step.instruction, ins.Copy | ins.Add):
        return False
    destination = step.destination or "/"
    return any(
        place in {posixpath.normpath(posixpath.join(destination, one.name)), destination.rstrip("/")}
        for one in step.instruction.heredocs
    )


def _is_source_of(proof: _Proof, entry: Input, place: str) -> bool:
    """Tell whether a place is written through this very COPY --from, and so checked by its origin."""
    if not isinstance(entry.producer, FromVertex):
        return False
    layers = dict(_other_stages(proof.graph)).get(entry.producer.vertex, ())
    has_only_copies = all(proof.graph.vertices[one].operation.kind != "exec" for one in layers)
    return has_only_copies and (place in proof.writes or place in proof.removals)


def _origin(proof: _Proof, entry: Input) -> str:
    if isinstance(entry.producer, FromVertex):
        step = _step(proof, entry.producer.vertex)
        return f"stage {proof.graph.stage(step.stage).label}"
    return entry.producer.reference if isinstance(entry.producer, FromImage) else "elsewhere"


def _refuse_second_source(
    proof: _Proof, entry: Input, step: Step, place: str, write: SyncWrite | None
) -> None:
    if not isinstance(entry.producer, FromContext):
        return
    context = entry.producer.name
    for source in _sources_at(proof, entry, step, place):
        if write is not None and context == write.context and source == write.source:
            continue
        if write is None and _node(proof.after, context, source) is None:
            continue
        raise _BlockedError(f"{_name(step)} writes {place} from {source} as well", step.span.first)


def _sources_at(proof: _Proof, entry: Input, step: Step, place: str) -> list[str]:
    """Return the context paths that a COPY would put at a place, as far as they exist."""
    destination = (step.destination or "/").rstrip("/")
    rest = place[len(destination) + 1 :] if place.startswith(destination + "/") else ""
    context = entry.producer.name if isinstance(entry.producer, FromContext) else ""
    candidates: list[str] = []
    for taken in entry.taken:
        for source in taken.sources:
            if taken.parents:
                below = context_path(source.partition("/./")[0]) if "/./" in source else ""
                candidates.append(posixpath.join(below, rest))
            elif has_wildcard(source):
                candidates.extend(_matches_at(proof, context, context_path(source), rest))
            else:
                cleaned = context_path(source)
                kind = _kind(proof, context, cleaned) if cleaned else "directory"
                if kind == "directory":
                    candidates.append(posixpath.join(cleaned, rest) if rest else cleaned)
                elif rest in {"", posixpath.basename(cleaned)}:
                    candidates.append(cleaned)
    return [
        one
        for one in candidates
        if any(_node(tree, context, one) is not None for tree in (proof.before, proof.after))
    ]


def _matches_at(proof: _Proof, context: str, pattern: str, rest: str) -> list[str]:
    """Return what a wildcard source puts at the place `rest` below its destination."""
    found: list[str] = []
    for tree in (proof.before, proof.after):
        snapshot = tree.get(context)
        if snapshot is None:
            continue
        for head in _expanded(snapshot, pattern):
            node = snapshot.node(head)
            if isinstance(node, Directory):
                found.append(posixpath.join(head, rest))
            elif posixpath.basename(head) == rest:
                found.append(head)
    return list(dict.fromkeys(found))


def _expanded(snapshot: Snapshot, pattern: str) -> list[str]:
    heads = [""]
    for part in pattern.split("/"):
        heads = [
            posixpath.join(head, name)
            for head in heads
            for name in snapshot.children(head)
            if match_path(part, name)
        ]
    return heads


def _refuse_archive(proof: _Proof, context: str, path: ContextPath, step: Step) -> None:
    suffixes = (".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lzma")
    if path.lower().endswith(suffixes) or not posixpath.splitext(path)[1]:
        raise _BlockedError(f"{_name(step)} may unpack {path}; COPY would not", step.span.first, path)
    if _node(proof.after, context, path) is None and _node(proof.before, context, path) is None:
        raise _BlockedError(f"{path} is not known to the context", step.span.first, path)


def _chmod(text: str | None, step: Step, path: str) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 8)
    except ValueError:
        raise _BlockedError(
            f"{_name(step)} sets a mode that is no octal number: --chmod={text}", step.span.first, path
        ) from None


def _owner(step: Step) -> str | None:
    if not isinstance(step.instruction, ins.Copy | ins.Add) or step.instruction.chown is None:
        return None
    if "$" in step.instruction.chown:
        raise _BlockedError(f"{_name(step)} takes its owner from a variable", step.span.first)
    return step.instruction.chown


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _because(proof: _Proof) -> str:
    names = [_name(proof.graph.steps[number]) for number in sorted(proof.used)]
    which = " and ".join(names) or "no COPY"
    return f"only {which} {'read' if len(names) > 1 else 'reads'} it, and nothing that runs comes after"
