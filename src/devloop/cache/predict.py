"""Graph, content and records to one answer for each vertex; and what a real build teaches.

The rule is the one of `records`: an input gives candidates, surely or perhaps, and the intersection over
all inputs decides. What cannot be decided before the build is `maybe`, never a guess.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

from devloop.cache.records import MISS, Link, Records, Result
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromRemote,
    FromVertex,
    Input,
    Operation,
    Taken,
    Vertex,
)
from devloop.paths import context_path

Observed = Literal["ran", "cached", "failed", "unseen"]


@dataclass(frozen=True, slots=True)
class ContentKey:
    """What is taken from a local directory: its content, and apart from it the modes of directories.

    The engine notices a changed directory mode only when it meets the directory for the first time, so a
    difference in `modes` alone can not be decided.
    """

    content: str
    modes: str


@dataclass(frozen=True, slots=True)
class MissingSource:
    """A path that an instruction names and the context does not hold: the step fails."""

    source: str


class Contents(Protocol):
    """Answers what an instruction takes from a local context."""

    def key(self, context: str, taken: Taken) -> ContentKey | MissingSource:
        """Return the content key of one taking."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The prediction for one vertex. `missing` is the source whose absence will fail it."""

    result: Result
    operation: str
    missing: str | None = None
    failing_inputs: tuple[int, ...] = ()
    unsure_inputs: tuple[int, ...] = ()
    only_modes_differ: bool = False
    is_dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer for each vertex of a graph, in its order."""

    answers: tuple[Answer, ...]


def operation_key(operation: Operation) -> str:
    """Return the digest of an operation's own parts."""
    digest = hashlib.blake2b(operation.kind.encode(), digest_size=16)
    for name, text in operation.parts:
        encoded = text.encode("utf-8", "surrogateescape")
        digest.update(f"\0{name}\0{len(encoded)}\0".encode())
        digest.update(encoded)
    return digest.hexdigest()


def selector(entry: Input) -> str:
    """Return the paths that an input takes, as they stand in its definition key.

    A base has none there, not even where a COPY or a mount takes paths from it.
    """
    if not entry.taken or not entry.by_content:
        return ""
    text = repr([(_cleaned(one), one.excludes, one.parents) for one in entry.taken])
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _cleaned(taken: Taken) -> list[str]:
    # The engine's selector holds cleaned paths, sorted; with --parents a source is a pattern with a pivot.
    return sorted(taken.sources if taken.parents else (context_path(source) for source in taken.sources))


def content_key(entry: Input, contents: Contents) -> ContentKey | MissingSource:
    """Join the content keys of everything that one input takes from a local context."""
    if not isinstance(entry.producer, FromContext):
        raise TypeError("only a local context has a content that is known before the build")
    keys = [contents.key(entry.producer.name, taken) for taken in entry.taken]
    for key in keys:
        if isinstance(key, MissingSource):
            return key
    found = [key for key in keys if isinstance(key, ContentKey)]
    if len(found) == 1:
        return found[0]
    joined = sorted((key.content, key.modes) for key in found)
    return ContentKey(
        hashlib.blake2b(repr([one for one, _ in joined]).encode(), digest_size=16).hexdigest(),
        hashlib.blake2b(repr([one for _, one in joined]).encode(), digest_size=16).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class _Candidates:
    sure: frozenset[str]
    perhaps: frozenset[str] = frozenset()
    missing: str | None = None
    only_modes_differ: bool = False
    is_dynamic: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """One input of one operation."""

    operation: str
    number: int


def predict(graph: BuildGraph, contents: Contents, records: Records, *, no_cache: bool = False) -> Prediction:
    """Answer for every vertex whether the next build finds it in the cache.

    With `no_cache` every RUN, COPY and ADD runs; a WORKDIR can still be found.
    """
    answers: list[Answer] = []
    for vertex in graph.vertices:
        answers.append(_answer(vertex, answers, contents, records, no_cache=no_cache))
    return Prediction(tuple(answers))


def _answer(
    vertex: Vertex, before: list[Answer], contents: Contents, records: Records, *, no_cache: bool
) -> Answer:
    operation = operation_key(vertex.operation)
    if not vertex.inputs:
        found = records.under(operation, -1, "")
        if no_cache and vertex.operation.kind in {"exec", "copy"}:
            return Answer(MISS, operation)
        return Answer(Result("yes", found) if found else MISS, operation)
    sides = [
        _candidates(_Place(operation, number), entry, before, contents, records)
        for number, entry in enumerate(vertex.inputs)
    ]
    missing = next((side.missing for side in sides if side.missing is not None), None)
    failing = tuple(number for number, side in enumerate(sides) if not side.sure and not side.perhaps)
    unsure = tuple(number for number, side in enumerate(sides) if not side.sure and side.perhaps)
    if no_cache and vertex.operation.kind in {"exec", "copy"}:
        return Answer(MISS, operation, missing)
    answer = Answer(
        MISS,
        operation,
        missing,
        failing_inputs=failing,
        unsure_inputs=unsure,
        only_modes_differ=any(sides[number].only_modes_differ for number in unsure),
        is_dynamic=any(side.is_dynamic for side in sides),
    )
    if missing is not None or failing:
        return answer
    certain = frozenset.intersection(*(side.sure for side in sides))
    if certain:
        return Answer(Result("yes", certain), operation)
    possible = frozenset.intersection(*(records.members(side.sure | side.perhaps) for side in sides))
    if not possible:
        return answer
    return Answer(
        Result("maybe", possible),
        operation,
        unsure_inputs=unsure,
        only_modes_differ=answer.only_modes_differ,
        is_dynamic=answer.is_dynamic,
    )


def _candidates(
    place: "_Place", entry: Input, before: list[Answer], contents: Contents, records: Records
) -> _Candidates:
    operation, number = place.operation, place.number
    match entry.producer:
        case FromContext():
            if not entry.by_content:
                # A directory used as a base has a new definition in every build.
                return _Candidates(frozenset())
            key = content_key(entry, contents)
            if isinstance(key, MissingSource):
                return _Candidates(frozenset(), missing=key.source)
            sure, perhaps = records.under_content(operation, number, f"content:{key.content}", key.modes)
            return _Candidates(sure, perhaps, only_modes_differ=bool(perhaps) and not sure)
        case FromImage(key=image):
            return _defined(operation, number, entry, [f"image:{image}"], records)
        case FromRemote(reference=reference, is_pinned=is_pinned):
            if is_pinned:
                return _defined(operation, number, entry, [f"remote:{reference}"], records)
            return _Candidates(frozenset(), records.of_input(operation, number), is_dynamic=True)
        case FromVertex(vertex=producer):
            return _from_vertex(operation, number, entry, before[producer].result, records)
        case _:
            assert_never(entry.producer)


def _defined(operation: str, number: int, entry: Input, ids: list[str], records: Records) -> _Candidates:
    paths = selector(entry)
    sure = frozenset[str]().union(*(records.under(operation, number, f"{one}|{paths}") for one in ids))
    if sure or not entry.by_content:
        return _Candidates(sure)
    return _Candidates(frozenset(), records.of_input(operation, number))


def _from_vertex(
    operation: str, number: int, entry: Input, producer: Result, records: Records
) -> _Candidates:
    paths = selector(entry)
    by_content = records.of_input(operation, number) if entry.by_content else frozenset[str]()
    exact = frozenset[str]().union(
        *(records.under(operation, number, f"{one}|{paths}") for one in producer.ids)
    )
    loose = frozenset[str]().union(
        *(records.under(operation, number, f"{one}|{paths}") for one in records.members(producer.ids))
    )
    match producer.hit:
        case "yes":
            return _Candidates(exact, (loose | by_content) - exact)
        case "maybe":
            return _Candidates(frozenset(), loose | by_content)
        case "no":
            return _Candidates(frozenset(), by_content)
        case _:
            assert_never(producer.hit)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one vertex of a real build taught: its prediction against what was seen."""

    vertex: int
    operation: str
    predicted: Result
    observed: Observed
    kind: Literal["agreed", "resolved", "lost", "foreign"]


def learn(
    graph: BuildGraph,
    contents: Contents,
    records: Records,
    observed: Mapping[int, Observed],
    new_id: Callable[[], str],
    *,
    forced: bool = False,
    changed_meanwhile: Callable[[str, Taken], bool] = lambda _context, _taken: False,
) -> tuple[Lesson, ...]:
    """Update `records` in place from what a build did, vertex by vertex.

    A vertex that ran has a new record, linked under every key that was known for its inputs; one that was
    cached is what the prediction found, or a set of possibilities, or (found by the engine in a build that
    was not ours) a record met for the first time. A record that should have been found and was not is
    dropped, unless the build was `forced` to run what is cached. What was taken from a context that changed
    during the build is not linked: its bytes are not known.
    """
    ids: dict[int, frozenset[str]] = {}
    made: dict[tuple[str, tuple[frozenset[str], ...]], frozenset[str]] = {}
    # Records of this very build: two equal steps are one to the engine, and neither has lost anything.
    fresh: set[str] = set()
    lessons: list[Lesson] = []
    answers: list[Answer] = []
    for vertex in graph.vertices:
        answer = _answer(vertex, answers, contents, records, no_cache=False)
        seen = observed.get(vertex.number, "unseen")
        keys = [_input_keys(entry, ids, contents, changed_meanwhile) for entry in vertex.inputs]
        found: frozenset[str] = frozenset()
        kind: Literal["agreed", "resolved", "lost", "foreign"] = "agreed"
        if seen == "ran":
            identity = (answer.operation, tuple(frozenset(key for key, _ in entry) for entry in keys))
            twins = answer.result.ids & fresh if answer.result.hit == "yes" else frozenset[str]()
            if answer.result.hit == "yes" and not twins:
                is_known = not any(
                    isinstance(entry.producer, FromContext)
                    and any(changed_meanwhile(entry.producer.name, taken) for taken in entry.taken)
                    for entry in vertex.inputs
                )
                if is_known and not forced:
                    kind = "lost"
                    records.drop(answer.result.ids)
            elif answer.result.hit == "maybe":
                kind = "resolved"
            found = made.get(identity) or twins or frozenset({new_id()})
            fresh |= found
            if all(keys):
                made[identity] = found
        elif seen == "cached":
            match answer.result.hit:
                case "yes":
                    found = answer.result.ids
                case "maybe":
                    kind = "resolved"
                    found = answer.result.ids
                    if len(found) > 1:
                        name = new_id()
                        records.add_group(name, found)
                        found = frozenset({name})
                case "no":
                    identity = (answer.operation, tuple(frozenset(key for key, _ in entry) for entry in keys))
                    twin = made.get(identity)
                    kind = "agreed" if twin else "foreign"
                    found = twin or frozenset({new_id()})
                    fresh |= found
                    if all(keys):
                        made[identity] = found
        if seen in {"ran", "cached"}:
            for record in found:
                _link(records, answer.operation, keys, record)
            ids[vertex.number] = found
        result = Result("yes", found) if found else MISS
        answers.append(Answer(result, answer.operation))
        lessons.append(Lesson(vertex.number, answer.operation, answer.result, seen, kind))
    return tuple(lessons)


def _link(records: Records, operation: str, keys: list[tuple[tuple[str, str], ...]], record: str) -> None:
    if not keys:
        records.add(Link(operation, -1, "", record))
    for number, entry in enumerate(keys):
        for key, modes in entry:
            records.add(Link(operation, number, key, record, modes))


def _input_keys(
    entry: Input,
    ids: Mapping[int, frozenset[str]],
    contents: Contents,
    changed_meanwhile: Callable[[str, Taken], bool],
) -> tuple[tuple[str, str], ...]:
    """Return the keys under which a record is linked at one input, each with its directory modes."""
    paths = selector(entry)
    match entry.producer:
        case FromContext(name=name):
            if not entry.by_content or any(changed_meanwhile(name, taken) for taken in entry.taken):
                return ()
            key = content_key(entry, contents)
            return () if isinstance(key, MissingSource) else ((f"content:{key.content}", key.modes),)
        case FromImage(key=image):
            return ((f"image:{image}|{paths}", ""),)
        case FromRemote(reference=reference, is_pinned=is_pinned):
            return ((f"remote:{reference}|{paths}", ""),) if is_pinned else ((f"remote:?{reference}", ""),)
        case FromVertex(vertex=producer):
            return tuple((f"{one}|{paths}", "") for one in sorted(ids.get(producer, ())))
        case _:
            assert_never(entry.producer)
