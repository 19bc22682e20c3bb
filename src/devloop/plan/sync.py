"""The proof that copying files into the running container gives exactly what a rebuild would give.

For every changed path it is computed at which places of the image it is copied, and for every such place
what the image has there before and after, whichever layers that comes from. The rules under which the
difference may be brought into the container, each with the reason that is shown where it does not hold:

- a RUN that mounts the path reads it; a RUN that follows the COPY in the same stage may read it;
- a COPY into another stage is followed through `COPY --from` of plain paths, as long as that stage ran
  nothing afterwards;
- a source that goes, comes or changes its kind makes the build fail or do something else;
- a place where it is not known what the topmost layer puts there belongs to nobody;
- a place under a mount, behind a link or in a read-only container cannot be reached;
- a path that goes leaves what lower layers hold at its place: it must be known that they hold nothing.

Where a rule does not hold the answer is `Blocked` with the step and the sentence, and the image is rebuilt.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from devloop.context.patterns import has_wildcard
from devloop.context.selection import Selection, reads
from devloop.context.snapshot import Directory, Snapshot
from devloop.dockerfile.stages import BuildGraph, FromContext, FromVertex, Input, Step, Taken, Vertex
from devloop.paths import ContextPath, context_path
from devloop.plan.copies import (
    Chain,
    FileKind,
    Heads,
    Laid,
    Layout,
    Part,
    UnclearError,
    ancestors,
    chain_below,
    final_chain,
    is_named,
    is_within,
    may_unpack,
    step_name,
)
from devloop.plan.model import PathChange

__all__ = ["Blocked", "FileKind", "Surroundings", "SyncPlan", "SyncWrite", "prove_sync"]


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
    """What is written and removed in the container; `reason` says why that is the same as a rebuild.

    A path that changes between a directory and something else is both removed and written.
    """

    writes: tuple[SyncWrite, ...]
    removals: tuple[str, ...]
    reason: str

    @property
    def is_empty(self) -> bool:
        """Whether the rebuilt image would have the same files."""
        return not self.writes and not self.removals


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
    a path into the container where nothing was before; `layers_with` returns which layers of the image have
    a path of their own, counted from the topmost, which is 0 (None: it cannot be seen), and `layer_count`
    how many there are. `refusal` says why nothing can be brought in at all.
    """

    mounts: tuple[str, ...] = ()
    is_read_only: bool = False
    kind_at: Callable[[str], FileKind | None] = lambda _path: None
    is_ours: Callable[[str], bool] = lambda _path: False
    layers_with: Callable[[str], frozenset[int] | None] = lambda _path: None
    layer_count: int | None = None
    refusal: str | None = None


UNKNOWN_CONTAINER = Surroundings()
"""What is assumed where no container is at hand: nothing is mounted and nothing is in the way."""

_ENGINE_OWN = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/proc", "/sys", "/dev")
"""What the engine mounts into every container."""
_NAME_FILES = ("/etc/passwd", "/etc/group")


@dataclass(slots=True)
class _Proof:
    graph: BuildGraph
    before: Layout
    after: Layout
    around: Surroundings
    chain: Chain
    mounts: tuple[str, ...]
    snapshots: Mapping[str, tuple[Snapshot | None, Snapshot | None]]
    places: dict[str, tuple[str, Step]] = field(default_factory=dict)
    writes: dict[str, SyncWrite] = field(default_factory=dict)
    removals: dict[str, None] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    stages: dict[int, Chain] = field(default_factory=dict)
    changing: set[int] = field(default_factory=set)
    """The vertices whose layers are other ones after a build, so that the image tells nothing of them."""
    readers: dict[str, "tuple[_Reader, ...]"] = field(default_factory=dict)
    followers: dict[tuple[int, Chain], Step | None] = field(default_factory=dict)
    consumers: "dict[int, list[tuple[Vertex, Input, Chain]]]" = field(default_factory=dict)
    steady: dict[int, bool] = field(default_factory=dict)
    over: dict[str, str | None] = field(default_factory=dict)
    """What is the same for many paths, each computed once: what was asked for 500 paths is asked again."""


class _BlockedError(Exception):
    def __init__(self, reason: str, step: Step | None = None, path: str | None = None) -> None:
        super().__init__(reason)
        self.blocked = Blocked(reason, step.span.first if step is not None else None, path)


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
    if around.refusal is not None:
        return Blocked(around.refusal)
    proof = _Proof(
        graph,
        Layout(graph, before, around.kind_at),
        Layout(graph, after, around.kind_at),
        around,
        final_chain(graph),
        tuple(mount.rstrip("/") or "/" for mount in (*around.mounts, *_ENGINE_OWN)),
        {name: (before.get(name), after.get(name)) for name in changes},
    )
    try:
        for context, found in changes.items():
            _refuse_unreadable(after.get(context))
            for change in found:
                _change(proof, context, ContextPath(change.path))
        for place, (path, step) in sorted(proof.places.items()):
            _settle(proof, place, path, step)
        _check_reach(proof)
    except _BlockedError as error:
        return error.blocked
    except UnclearError as error:
        return Blocked(error.reason, error.step.span.first)
    writes = tuple(sorted(proof.writes.values(), key=lambda one: one.path))
    return SyncPlan(writes, tuple(sorted(proof.removals)), _because(proof))


def _refuse_unreadable(snapshot: Snapshot | None) -> None:
    if snapshot is not None and snapshot.unreadable:
        first = snapshot.unreadable[0]
        raise _BlockedError(f"{first.path} cannot be read: {first.message}", path=first.path)


# Who reads a path -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """One source of a COPY, and how it is told whether it takes a path."""

    part: Part
    taken: Taken
    path: ContextPath
    is_by_name: bool
    """No link and no filter is in the way, so that names alone decide."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """A vertex that takes something of a context; `sources` is for a COPY, `taken` for anything else."""

    vertex: Vertex
    step: Step
    taken: tuple[Taken, ...]
    sources: tuple[_Source, ...]


def _readers(proof: _Proof, context: str) -> tuple[_Reader, ...]:
    if context not in proof.readers:
        proof.readers[context] = tuple(
            _reader(proof, context, vertex, entry)
            for vertex in proof.graph.vertices
            for entry in vertex.inputs
            if entry.producer == FromContext(context)
        )
    return proof.readers[context]


def _reader(proof: _Proof, context: str, vertex: Vertex, entry: Input) -> _Reader:
    sources: tuple[_Source, ...] = ()
    if vertex.operation.kind == "copy":
        sources = tuple(_source(proof, context, one) for one in _parts(proof, vertex, context))
    return _Reader(vertex, proof.graph.steps[vertex.step], entry.taken, sources)


def _parts(proof: _Proof, vertex: Vertex, context: str) -> list[Part]:
    return [one for one in proof.after.parts(vertex) if one.producer == FromContext(context)]


def _source(proof: _Proof, context: str, part: Part) -> _Source:
    taken = Taken((part.source,), part.taken.wildcards, part.taken.excludes, part.taken.parents)
    links = [one.heads(context, part).link for one in (proof.before, proof.after)]
    return _Source(part, taken, context_path(part.source), not taken.is_filtered and links == [None, None])


def _change(proof: _Proof, context: str, path: ContextPath) -> None:
    for reader in _readers(proof, context):
        if not reader.taken:
            raise _BlockedError(
                f"{path} is part of what {step_name(reader.step)} stands on", reader.step, path
            )
        if reader.vertex.operation.kind == "copy":
            sources = [one.part for one in reader.sources if _takes(proof, context, path, one)]
            if sources:
                _read_by(proof, context, path, reader, sources)
        elif any(_is_read(proof, context, path, taken) for taken in reader.taken):
            _read_by(proof, context, path, reader, ())


def _is_read(proof: _Proof, context: str, path: ContextPath, taken: Taken) -> bool:
    selection = Selection(taken.sources, taken.excludes, taken.parents, taken.wildcards)
    return any(reads(selection, path, snapshot) for snapshot in proof.snapshots[context])


def _takes(proof: _Proof, context: str, path: ContextPath, source: _Source) -> bool:
    """Tell whether one source takes a path; where no link is in the way, names alone decide."""
    if not source.is_by_name:
        return _is_read(proof, context, path, source.taken)
    if source.part.is_wildcard:
        return reads(Selection(source.taken.sources, wildcards=True), path)
    return not source.path or is_within(path, source.path) or is_within(source.path, path)


def _read_by(proof: _Proof, context: str, path: ContextPath, reader: _Reader, parts: Sequence[Part]) -> None:
    vertex, step = reader.vertex, reader.step
    proof.used.add(step.number)
    proof.changing.add(vertex.number)
    if vertex.operation.kind != "copy":
        raise _BlockedError(f"{path} -> {_command(step)} reads it", step, path)
    is_final = vertex.number in proof.chain.layers
    if is_final:
        _nothing_follows(proof, vertex.number, path, proof.chain)
        for place in _places(proof, proof.chain, context, path, parts):
            proof.places.setdefault(place, (path, step))
    _through_stages(proof, context, path, reader, parts, is_final=is_final)


def _nothing_follows(proof: _Proof, vertex: int, path: str, chain: Chain) -> None:
    key = (vertex, chain)
    if key not in proof.followers:
        proof.followers[key] = _follower(proof, vertex, chain)
    step = proof.followers[key]
    if step is not None:
        raise _BlockedError(f"{path} -> {_command(step)} may read it, after its COPY", step, path)


def _follower(proof: _Proof, vertex: int, chain: Chain) -> Step | None:
    """Return the first RUN that follows a vertex in a file system."""
    for later in chain.layers[chain.layers.index(vertex) + 1 :]:
        if proof.graph.vertices[later].operation.kind == "exec":
            return proof.graph.steps[proof.graph.vertices[later].step]
    return None


def _places(
    proof: _Proof, chain: Chain, context: str, path: ContextPath, parts: Sequence[Part]
) -> tuple[str, ...]:
    """Return where sources of a COPY put a path, before and after; refuse what cannot be followed."""
    found: dict[str, None] = {}
    for part in parts:
        heads = (proof.before.heads(context, part), proof.after.heads(context, part))
        places = [
            *proof.before.places(chain, context, part, path),
            *proof.after.places(chain, context, part, path),
        ]
        _same_source(proof, context, path, part, heads)
        if not places and not _is_without_effect(part, path, heads):
            raise _BlockedError(
                f"{step_name(part.step)} reads {path} in a way that is not followed", part.step, path
            )
        found.update(dict.fromkeys(places))
    return tuple(found)


def _same_source(
    proof: _Proof, context: str, path: ContextPath, part: Part, heads: tuple[Heads, Heads]
) -> None:
    """Refuse a source that is there only before or only after, or is another kind of thing."""
    if id(part) not in proof.steady:
        proof.steady[id(part)] = _is_same_source(proof, context, part, heads)
    if not proof.steady[id(part)]:
        raise _BlockedError(
            f"{step_name(part.step)} takes {part.source}, which came, went or changed its kind",
            part.step,
            path,
        )
    if may_unpack(part.step, path) and any(path in each.single for each in heads):
        raise _BlockedError(f"{step_name(part.step)} may unpack {path}; COPY would not", part.step, path)


def _is_same_source(proof: _Proof, context: str, part: Part, heads: tuple[Heads, Heads]) -> bool:
    before, after = heads
    if part.taken.parents:
        source = context_path(part.source)
        old, new = proof.before.node(context, source), proof.after.node(context, source)
        return old is not None and new is not None and type(old) is type(new)
    if part.is_wildcard:
        return not before.is_empty and not after.is_empty
    is_same = before.directories == after.directories and before.single == after.single
    return is_same and not before.is_empty


def _is_without_effect(part: Part, path: str, heads: tuple[Heads, Heads]) -> bool:
    """Tell whether a path that is read is none that is copied: the directory whose contents are."""
    if part.taken.parents:
        return False
    if not part.is_wildcard:
        return bool(heads[0].directories) and is_within(context_path(part.source), path)
    return any(path in each.directories for each in heads) or context_path(part.source).startswith(f"{path}/")


def _through_stages(
    proof: _Proof, context: str, path: ContextPath, reader: _Reader, parts: Sequence[Part], *, is_final: bool
) -> None:
    """Follow a path from another stage into the final one, by plain paths of COPY --from."""
    vertex, step = reader.vertex, reader.step
    if vertex.number not in proof.consumers:
        proof.consumers[vertex.number] = _consumers(proof, vertex.number)
    consumers = proof.consumers[vertex.number]
    if not consumers and not is_final:
        raise _BlockedError(f"{path} goes through {step_name(step)} of another stage", step, path)
    for consumer, entry, inner in consumers:
        taker = proof.graph.steps[consumer.step]
        proof.changing.add(consumer.number)
        if consumer.operation.kind != "copy":
            raise _BlockedError(f"{path} -> {_command(taker)} reads it", taker, path)
        if consumer.number not in proof.chain.layers:
            raise _BlockedError(
                f"{path} passes through more than one stage, at {step_name(taker)}", taker, path
            )
        _nothing_follows(proof, vertex.number, path, inner)
        _nothing_follows(proof, consumer.number, path, proof.chain)
        for place in _places(proof, inner, context, path, parts):
            _refuse_clash(proof.after.stack(inner, place), place, path, step)
            targets = _mapped(proof, inner, consumer, entry, place)
            if not targets and not inner.is_bare and _is_new(proof, context, path):
                # Nothing of it would be seen in the container, whatever the stage has there already.
                raise _BlockedError(f"{path} is new in a stage of which {place} is not taken", step, path)
            for target in targets:
                proof.places.setdefault(target, (path, taker))


def _refuse_clash(stack: Sequence[Laid], place: str, path: str, step: Step) -> None:
    """Refuse a place that is a directory to one step and something else to another: the build fails."""
    if len({one.is_directory for one in stack if one.kind != "unclear"}) > 1:
        raise _BlockedError(f"{place} is a directory to one step and a file to another", step, path)


def _is_new(proof: _Proof, context: str, path: str) -> bool:
    """Tell whether a path was not there, or was a directory and is none now, or the other way round."""
    old, new = proof.before.node(context, path), proof.after.node(context, path)
    return new is not None and (old is None or isinstance(old, Directory) != isinstance(new, Directory))


def _consumers(proof: _Proof, vertex: int) -> list[tuple[Vertex, Input, Chain]]:
    """Return who takes files from a file system that a vertex is part of."""
    found = []
    for consumer in proof.graph.vertices:
        for entry in consumer.inputs:
            if entry.taken and isinstance(entry.producer, FromVertex):
                top = entry.producer.vertex
                if top not in proof.stages:
                    proof.stages[top] = chain_below(proof.graph, top)
                inner = proof.stages[top]
                if vertex in inner.layers:
                    found.append((consumer, entry, inner))
    return found


def _mapped(proof: _Proof, inner: Chain, consumer: Vertex, entry: Input, place: str) -> list[str]:
    """Map a place in a stage through the sources of a COPY --from to places in the final image."""
    found = []
    step = proof.graph.steps[consumer.step]
    for part in proof.after.parts(consumer):
        if part.producer != entry.producer:
            continue
        if part.taken.is_filtered or has_wildcard(part.source):
            raise _BlockedError(f"{step_name(step)} takes by a pattern from a stage", step)
        source = "/" + context_path(part.source)
        kinds = [_kind_in_stage(layout, inner, source) for layout in (proof.before, proof.after)]
        if not is_within(place, source):
            if is_within(source, place) and kinds[0] != kinds[1]:
                raise _BlockedError(f"{source}, which {step_name(step)} takes, came or went", step)
            continue
        if place != source:
            found.append(_join(part.destination, place[len(source.rstrip("/")) + 1 :]))
            continue
        if kinds[0] != kinds[1] or kinds[0] is None:
            raise _BlockedError(
                f"{source}, which {step_name(step)} takes, came, went or changed its kind", step
            )
        if kinds[0] == "file":
            name = source.rpartition("/")[2]
            found += [part.destination, _join(part.destination, name)]
    return found


def _kind_in_stage(layout: Layout, inner: Chain, source: str) -> str | None:
    if source == "/":
        return "directory"
    stack = layout.stack(inner, source)
    if not stack:
        return None if inner.is_bare else "unknown"
    if stack[0].is_directory:
        return "directory"
    return "file" if stack[0].kind == "file" else stack[0].kind


def _join(folder: str, rest: str) -> str:
    return f"{folder.rstrip('/')}/{rest}"


# What is at a place -----------------------------------------------------------------------------------------


def _settle(proof: _Proof, place: str, path: str, step: Step) -> None:
    """Note what has to be done at one place: write what is there now, or remove what went."""
    old = _topmost(proof, proof.before, place, path, step)
    new = _topmost(proof, proof.after, place, path, step)
    if old == new:
        return
    _refuse_mounts(proof, place, path)
    if place in _NAME_FILES:
        raise _BlockedError(f"{place} says who owns other files", step, path)
    if new is None:
        _lower_hold_nothing(proof, place, path, step)
        proof.removals[place] = None
        return
    was_directory = old is not None and old.is_directory
    if old is None:
        _refuse_other_kind(proof, place, new, step)
    elif was_directory != new.is_directory:
        _lower_hold_nothing(proof, place, path, step)
        proof.removals[place] = None
    elif was_directory and "implied" in {old.kind, new.kind}:
        raise _BlockedError(f"the directory {place} is made in another way", step, path)
    elif was_directory:
        raise _BlockedError(f"the mode of the directory {path} changed", step, path)
    proof.writes[place] = _write(proof, place, new, path, step)


def _topmost(proof: _Proof, layout: Layout, place: str, path: str, step: Step) -> Laid | None:
    """Return what an image has at a place as far as its COPYs go; None where they put nothing."""
    changing = proof.changing if layout is proof.after else ()
    stack = [
        one
        for one in layout.stack(proof.chain, place)
        if one.kind != "unclear" or not _is_absent(proof, one, place, changing)
    ]
    if not stack:
        return None
    named = [one for one in stack if one.kind != "implied"]
    # What is only implied is there whatever else the layers below it hold.
    top = named[0] if named else stack[0]
    if top.kind == "unclear":
        raise _BlockedError(top.reason, _step(proof, top), path)
    _refuse_clash(stack, place, path, step)
    return top


def _step(proof: _Proof, laid: Laid) -> Step:
    return proof.graph.steps[proof.graph.vertices[laid.vertex].step]


def _is_absent(proof: _Proof, laid: Laid, place: str, changing: Collection[int]) -> bool:
    """Tell whether the layer of a step is known to have nothing at a place, unless a build makes it anew."""
    if laid.vertex in changing:
        return False
    holding = _layers_with(proof, place)
    return holding is not None and laid.vertex not in holding


def _layers_with(proof: _Proof, place: str) -> frozenset[int] | None:
    """Return the vertices whose layers have a path; -1 stands for the base image's."""
    layers = proof.chain.layers
    count = proof.around.layer_count
    if count is None or count < len(layers) or (proof.chain.is_bare and count != len(layers)):
        return None
    found = proof.around.layers_with(place)
    if found is None:
        return None
    return frozenset(layers[-1 - one] if one < len(layers) else -1 for one in found)


def _lower_hold_nothing(proof: _Proof, place: str, path: str, step: Step) -> None:
    """Refuse to remove what would leave something of a lower layer in a rebuilt image."""
    if any(
        one.kind == "unclear" and not _is_absent(proof, one, place, proof.changing)
        for one in proof.after.stack(proof.chain, place)
    ):
        raise _BlockedError(f"{path} went, and another step may write {place}", step, path)
    if proof.around.is_ours(place):
        return
    if proof.chain.is_bare:
        return
    holding = _layers_with(proof, place)
    clear = _copies_on_top(proof)
    if holding is None or not holding <= clear:
        raise _BlockedError(
            f"{path} went, and lower layers of the image may hold something at {place}", step, path
        )


def _copies_on_top(proof: _Proof) -> frozenset[int]:
    """Return the COPYs that no RUN follows: what they put anywhere is computed."""
    found = []
    for layer in reversed(proof.chain.layers):
        kind = proof.graph.vertices[layer].operation.kind
        if kind == "exec":
            break
        if kind == "copy":
            found.append(layer)
    return frozenset(found)


def _refuse_other_kind(proof: _Proof, place: str, new: Laid, step: Step) -> None:
    """Refuse to put something where the container has what a build would not replace by it."""
    if any(above in proof.removals for above in ancestors(place)):
        return
    kind = proof.around.kind_at(place)
    fitting = {None, "directory"} if new.is_directory else {None, "file", "link"}
    if kind not in fitting:
        article = "a directory" if kind == "directory" else f"a {kind}" if kind != "other" else "special"
        raise _BlockedError(f"what is at {place} in the image is {article}", step, new.source)


def _write(proof: _Proof, place: str, new: Laid, path: str, step: Step) -> SyncWrite:
    if new.is_foreign or (is_named(new.owner) and _names_are_copied(proof)):
        raise _BlockedError(
            f"the owner {new.owner} of {place} may be another one in the container", step, path
        )
    if new.is_disguised:
        raise _BlockedError(
            f"{path} changed under an unchanged size and time, which the builder does not see", step, path
        )
    match new.kind:
        case "file" | "directory" | "link":
            return SyncWrite(
                place,
                new.kind,
                new.mode,
                new.context,
                new.source,
                digest=new.digest,
                link=new.link,
                owner=new.owner,
            )
        case "other":
            raise _BlockedError(f"{path} is no file, directory or link", step, path)
        case _:
            raise _BlockedError(f"{place} would come from {step_name(_step(proof, new))}", step, path)


def _names_are_copied(proof: _Proof) -> bool:
    """Tell whether a COPY brings users and groups: then a name may have meant another one further down."""
    return any(
        one.kind != "unclear" or not _is_absent(proof, one, place, proof.changing)
        for place in _NAME_FILES
        for one in proof.after.stack(proof.chain, place)
    )


def _refuse_mounts(proof: _Proof, place: str, path: str) -> None:
    above = place.rpartition("/")[0]
    if above not in proof.over:
        proof.over[above] = _mount_over(proof, above or "/")
    mount = proof.over[above] or (place if place in proof.mounts else None)
    if mount is not None:
        raise _BlockedError(f"{place} lies under the mount {mount}, which hides the image's files", path=path)
    if proof.around.is_read_only:
        raise _BlockedError("the container's file system is read-only", path=path)


def _mount_over(proof: _Proof, directory: str) -> str | None:
    return next((mount for mount in proof.mounts if is_within(directory, mount)), None)


def _check_reach(proof: _Proof) -> None:
    """Refuse ways through what is no directory in the container, and the removal of what holds a mount."""
    seen: set[str] = set()
    for place in (*proof.writes, *proof.removals):
        parent = place.rpartition("/")[0]
        if parent in seen:
            continue
        seen.add(parent)
        for above in ancestors(place):
            if above in proof.writes:
                continue
            if proof.around.kind_at(above) in {"link", "file", "other"}:
                raise _BlockedError(f"{above} in the container is no directory of its own", path=place)
    for place in proof.removals:
        for mount in proof.mounts:
            if is_within(mount, place):
                raise _BlockedError(f"{place} holds the mount {mount}", path=place)


def _command(step: Step, most: int = 48) -> str:
    """Name a RUN by what it runs, as far as that is short, and by its line."""
    text = " ".join(step.text.split())
    return f"{text if len(text) <= most else text[: most - 1] + '…'} (line {step.span.first})"


def _because(proof: _Proof) -> str:
    names = [step_name(proof.graph.steps[number]) for number in sorted(proof.used)]
    which = " and ".join(names) or "no COPY"
    return f"only {which} {'read' if len(names) > 1 else 'reads'} it, and nothing that runs comes after"
