"""What one COPY, ADD or bind mount takes from a context, as digests that are equal when BuildKit's are.

The rules are those of `cache/contenthash` in BuildKit, where a selection is one of two things. A plain
path, links followed in all its components, has one digest of all that is found there. With wildcards or
filters the selection is a flat list of the entries that take part; up to BuildKit 0.25 an entry of that
list is named by its base name only, so that some different trees look the same.

Directory modes are kept apart. BuildKit computes the header of a context's directory once and forgets to
do it again, so a difference in them alone says neither "cached" nor "run". What changed under an
unchanged size, time and mode (`Entry.disguised`) is as uncertain and goes the same way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from devloop.context.patterns import (
    GO_SPACE,
    DirectoryRules,
    IgnoreProblem,
    IgnoreRules,
    has_wildcard,
    match_path,
    parse_excludes,
    path_pattern_problem,
)
from devloop.context.snapshot import Directory, Entry, Node, Snapshot, leaf_text
from devloop.paths import ContextPath, context_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Listing = Literal["nested", "names", "paths"]
"""How an engine lists what a wildcard or a filter takes: an entry is named by its base name, up to BuildKit
0.24 with symlinks below a matched directory followed ("nested"), in 0.25 without ("names"); from 0.26 on it
is named by its path ("paths")."""
LISTINGS: Final[tuple[Listing, ...]] = ("nested", "names", "paths")

MOST_LINKS: Final = 255
"""BuildKit gives up on a path after that many symlinks."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The sources of one instruction that come from one context.

    `wildcards` is False for a bind mount, whose source is one plain path. `parents` makes every source an
    include pattern below the part before `/./`, or below the root.
    """

    sources: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    parents: bool = False
    wildcards: bool = True


@dataclass(frozen=True, slots=True)
class Selected:
    """Digests of what a selection takes; `content` leaves the modes of directories out.

    `entries` counts the paths that took part, `is_empty` tells that no source matched anything.
    """

    content: str
    directory_modes: str
    entries: int

    @property
    def is_empty(self) -> bool:
        return self.entries == 0


@dataclass(frozen=True, slots=True)
class MissingSource:
    """A source that the step fails on: not in the context, ignored, a dead link, or a malformed pattern."""

    source: str
    reason: str = "not found in the context"


@dataclass(frozen=True, slots=True)
class _Source:
    """One source, taken apart as BuildKit's selectors are."""

    text: str
    path: ContextPath
    wildcard: bool = False
    pattern: str = ""
    includes: IgnoreRules | None = None
    excludes: IgnoreRules | None = None

    @property
    def is_plain(self) -> bool:
        return not self.wildcard and self.includes is None and self.excludes is None


def select(snapshot: Snapshot, selection: Selection, *, listing: Listing) -> Selected | MissingSource:
    """Digest what the selection takes.

    A wildcard that matches nothing is a digest like any other; a plain path that leads nowhere is a
    missing source.
    """
    sources = _sources(selection)
    if isinstance(sources, MissingSource):
        return sources
    content, modes, entries = hashlib.sha256(), hashlib.sha256(), 0
    for source in _reduced(sources):
        if source.is_plain:
            found = _follow(snapshot, source.path).node
            if found is None:
                return MissingSource(source.text)
            taken = _Taken(found)
            content.update(_raw(f"={taken.content}\0"))
            modes.update(_raw(f"={taken.modes}\0"))
            entries += taken.entries
            continue
        flat = _flat(snapshot, source, _Names(snapshot, listing == "paths", listing == "nested"))
        if isinstance(flat, MissingSource):
            return flat
        content.update(b"*%x/%d;" % (flat.content, flat.entries))
        modes.update(b"*%x;" % flat.modes)
        entries += flat.entries
    return Selected(content.hexdigest(), modes.hexdigest(), entries)


def follow_paths(selections: Iterable[Selection]) -> tuple[str, ...] | None:
    """Return the paths and wildcards that a scan has to look at, or None for the whole context."""
    wanted = {context_path(source) for selection in selections for source in selection.sources}
    return None if "" in wanted else tuple(sorted(wanted))


# ---------------------------------------------------------------------------------------------------
# Sources
# ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _sources(selection: Selection) -> tuple[_Source, ...] | MissingSource:
    excludes: IgnoreRules | None = None
    if any(each.strip(GO_SPACE) for each in selection.excludes):
        parsed = parse_excludes(selection.excludes)
        if isinstance(parsed, IgnoreProblem):
            return MissingSource(selection.excludes[parsed.line - 1], f"--exclude: {parsed.message}")
        excludes = parsed
    made: list[_Source] = []
    for text in selection.sources:
        path, includes, pattern = text, None, ""
        if selection.parents:
            above, pivot, below = text.partition("/./")
            path = above if pivot else "/"
            # The pattern of the root itself would be empty, and take nothing; all is the safe reading.
            pattern = context_path(below if pivot else text) or "**"
            parsed = parse_excludes([pattern])
            if isinstance(parsed, IgnoreProblem):
                return MissingSource(text, parsed.message)
            includes = parsed
        cleaned = context_path(path)
        wildcard = selection.wildcards and has_wildcard(cleaned)
        if wildcard and (problem := path_pattern_problem(cleaned)):
            return MissingSource(text, problem)
        made.append(_Source(text, cleaned, wildcard, pattern, includes, excludes))
    return tuple(made)


def _reduced(sources: tuple[_Source, ...]) -> list[_Source]:
    """Drop plain paths that are there twice or below another one, and sort all by path.

    The root does not swallow the others in BuildKit, which only shows when one of them is missing.
    """
    plain = {source.path: source for source in sources if source.is_plain}
    kept = [
        source
        for path, source in plain.items()
        if not any(path != other and other and path.startswith(f"{other}/") for other in plain)
    ]
    kept += [source for source in sources if not source.is_plain]
    return sorted(kept, key=lambda source: source.path.encode("utf-8", "surrogateescape"))


@dataclass(frozen=True, slots=True)
class _Followed:
    """Where a path leads, and every path that had a say in it, present or not."""

    node: Node | None
    visited: tuple[str, ...]


def _follow(snapshot: Snapshot, path: str) -> _Followed:
    """Follow the path with all symlinks in it, the last component included, without leaving the root.

    As in BuildKit, a `..` in a link's target goes up from where the link was found, stops at the root,
    and takes back even a component that does not exist.
    """
    at: list[str] = []
    node: Node | None = snapshot.root
    left = path.split("/")[::-1] if path else []
    visited: list[str] = []
    links = 0
    while left:
        part = left.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            if at:
                at.pop()
            node = snapshot.node("/".join(at))
            continue
        at.append(part)
        node = node.children.get(part) if isinstance(node, Directory) else None
        visited.append("/".join(at))
        if isinstance(node, Entry) and node.kind == "link":
            links += 1
            if links > MOST_LINKS:
                return _Followed(None, tuple(visited))
            target = node.digest
            at = [] if target.startswith("/") else at[:-1]
            node = snapshot.node("/".join(at))
            left += target.split("/")[::-1]
    visited.append("/".join(at))
    return _Followed(node, tuple(visited))


class _Taken:
    """What counts of one path with all that is below it."""

    __slots__ = ("content", "entries", "modes")

    def __init__(self, node: Node) -> None:
        if isinstance(node, Directory):
            self.content, self.modes = f"/{node.content.hex()}", node.modes.hex()
            self.entries = 1 + node.count
        else:
            self.content, self.modes = leaf_text(node), node.disguised
            self.entries = 1


# ---------------------------------------------------------------------------------------------------
# Flat lists
# ---------------------------------------------------------------------------------------------------

_PRIME: Final = 2**255 - 19
_BASE: Final = int.from_bytes(hashlib.sha256(b"flat list").digest()) % _PRIME


@dataclass(frozen=True, slots=True)
class _Flat:
    """A sequence of entries, as a polynomial over their digests.

    The digest of two sequences one after the other comes from the digests of the two, so that each
    directory can keep its own although the engine sees one list without any directories in it.
    """

    content: int = 0
    modes: int = 0
    power: int = 1
    entries: int = 0

    def then(self, other: _Flat) -> _Flat:
        return _Flat(
            (self.content * other.power + other.content) % _PRIME,
            (self.modes * other.power + other.modes) % _PRIME,
            self.power * other.power % _PRIME,
            self.entries + other.entries,
        )


_NOTHING: Final = _Flat()


def _one(name: str, content: str, modes: str, entries: int = 1) -> _Flat:
    return _Flat(_element(name, content), _element("", modes) if modes else 1, _BASE, entries)


def _element(name: str, text: str) -> int:
    return int.from_bytes(hashlib.sha256(_raw(f"{name}\0{text}")).digest())


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _DeadLink(Exception):  # noqa: N818 - it never leaves this module
    """A symlink that has to be followed leads nowhere."""


@dataclass(frozen=True, slots=True)
class _Names:
    """How the engine at hand makes its list."""

    snapshot: Snapshot
    relative: bool
    follow_nested: bool

    def entry(self, name: str, path: str, entry: Entry, *, follow: bool) -> _Flat:
        """Return the list of one entry, which is at `path` and appears as `name`."""
        if entry.kind == "link" and (follow or self.follow_nested):
            found = _follow(self.snapshot, path).node
            if found is None:
                raise _DeadLink(path)
            taken = _Taken(found)
            return _one(name, taken.content, taken.modes)
        return _one(name, leaf_text(entry), entry.disguised)

    def directory(self, name: str, path: str, node: Directory, includes: _Filter, excludes: _Filter) -> _Flat:
        """Return the list of a directory: its header, if it takes part, and what is included below.

        The header takes part when the directory is included itself, or when anything below it is.
        """
        if _takes_nothing(includes, excludes):
            return _NOTHING
        key = (
            None if includes is None else includes.key,
            None if excludes is None else excludes.key,
            self.relative,
        )
        below = None if self.follow_nested else node.recall(key)
        if not isinstance(below, _Flat):
            below = self._below(path, node, includes, excludes)
            if not self.follow_nested:
                node.remember(key, below)
        if not below.entries and not _is_included(includes, excludes):
            return _NOTHING
        whole = _one("" if self.relative else name, "/", f"{node.mode:o}").then(below)
        if not self.relative:
            return whole
        return _one(name, f"{whole.content:x}", f"{whole.modes:x}", whole.entries)

    def _below(self, path: str, node: Directory, includes: _Filter, excludes: _Filter) -> _Flat:
        """Return the list of what is in a directory; the loop over files is where the time goes."""
        content = modes = entries = 0
        power = 1
        for name, inner in node.in_order():
            if isinstance(inner, Directory) or (self.follow_nested and inner.kind == "link"):
                flat = self.child(name, f"{path}/{name}", inner, includes, excludes, follow=False)
                content = (content * flat.power + flat.content) % _PRIME
                modes = (modes * flat.power + flat.modes) % _PRIME
                power = power * flat.power % _PRIME
                entries += flat.entries
            elif (includes is None or includes.excludes(name)) and (
                excludes is None or not excludes.excludes(name)
            ):
                disguised = _element("", inner.disguised) if inner.disguised else 1
                content = (content * _BASE + _element(name, leaf_text(inner))) % _PRIME
                modes = (modes * _BASE + disguised) % _PRIME
                power = power * _BASE % _PRIME
                entries += 1
        return _Flat(content, modes, power, entries)

    def child(
        self, name: str, path: str, node: Node, includes: _Filter, excludes: _Filter, *, follow: bool
    ) -> _Flat:
        """Return the list of what is in a directory under that name."""
        if isinstance(node, Directory):
            inner_includes = None if includes is None else includes.enter(name)
            inner_excludes = _enter_excludes(excludes, name, included=_matched(inner_includes))
            return self.directory(name, path, node, inner_includes, inner_excludes)
        if includes is not None and not includes.excludes(name):
            return _NOTHING
        if excludes is not None and excludes.excludes(name):
            return _NOTHING
        return self.entry(name, path, node, follow=follow)


_Filter = DirectoryRules | None


def _matched(rules: _Filter) -> bool:
    return rules is None or rules.ignored


def _is_included(includes: _Filter, excludes: _Filter) -> bool:
    return _matched(includes) and (excludes is None or not excludes.ignored)


def _takes_nothing(includes: _Filter, excludes: _Filter) -> bool:
    """Tell whether neither the directory nor anything below it can be included."""
    if excludes is not None and not excludes.may_keep_below():
        return True
    return includes is not None and not includes.ignored and not includes.may_match_below()


def _enter_excludes(excludes: _Filter, name: str, *, included: bool) -> _Filter:
    """Go down one directory; where the include patterns said no, BuildKit remembers no match of excludes."""
    if excludes is None:
        return None
    return excludes.enter(name) if included else excludes.forget(name)


def _flat(snapshot: Snapshot, source: _Source, names: _Names) -> _Flat | MissingSource:
    if source.includes is not None and names.relative and _follow(snapshot, _required(source)).node is None:
        return MissingSource(source.text)
    try:
        if source.wildcard:
            return _wildcard_list(snapshot, source, names)
        return _filtered_list(snapshot, source, names)
    except _DeadLink as link:
        return MissingSource(source.text, f"the link {link} leads nowhere")


def _required(source: _Source) -> str:
    """Return the part of a `--parents` source before its first wildcard, which has to exist."""
    literal: list[str] = []
    for part in context_path(f"{source.path}/{source.pattern}").split("/"):
        if has_wildcard(part):
            break
        literal.append(part)
    return "/".join(literal)


def _filtered_list(snapshot: Snapshot, source: _Source, names: _Names) -> _Flat | MissingSource:
    """List what is at a plain path; links are followed on the way to it, yet not the path itself."""
    above, _, name = source.path.rpartition("/")
    if not source.path:
        # The header of the root takes no part, and what is in the root counts as matched directly.
        includes = None if source.includes is None else source.includes.root()
        excludes = None if source.excludes is None else source.excludes.root()
        flat = _NOTHING
        for child, node in snapshot.root.in_order():
            flat = flat.then(names.child(child, child, node, includes, excludes, follow=True))
        return flat
    parent = _follow(snapshot, above).node
    found = parent.children.get(name) if isinstance(parent, Directory) else None
    if found is None:
        return _NOTHING if source.includes is not None else MissingSource(source.text)
    return _matched_list(source, names, name, source.path, found)


def _wildcard_list(snapshot: Snapshot, source: _Source, names: _Names) -> _Flat:
    flat = _NOTHING
    for relative, path, node in _matches(snapshot, source.path):
        name = relative if names.relative else relative.rpartition("/")[2]
        flat = flat.then(_matched_list(source, names, name, path, node))
    return flat


def _matched_list(source: _Source, names: _Names, name: str, path: str, node: Node) -> _Flat:
    """List one match: the filters see it as the empty path, and what is below relative to it."""
    includes = None if source.includes is None else source.includes.source()
    excludes = None
    if source.excludes is not None:
        excludes = source.excludes.source() if _matched(includes) else source.excludes.root()
    if isinstance(node, Directory):
        return names.directory(name, path, node, includes, excludes)
    return names.entry(name, path, node, follow=True) if _is_included(includes, excludes) else _NOTHING


def _matches(snapshot: Snapshot, pattern: str) -> Iterator[tuple[str, str, Node]]:
    """Yield what the wildcards match: path behind the fixed part, path as written, and node."""
    fixed, free = _fixed_part(pattern)
    if "\\" in fixed:
        # An escape in the fixed part is looked up as it stands, and then does not match what was found.
        return
    top = _follow(snapshot, fixed).node if fixed else snapshot.root
    if not isinstance(top, Directory):
        return
    prefix = f"{fixed}/" if fixed else ""
    if "[" in free:
        # A class may match a slash: every path is tried, and nothing below a match.
        yield from _matches_anywhere(top, prefix, "", free)
    else:
        yield from _matches_by_name(top, prefix, "", free.split("/"))


def _fixed_part(pattern: str) -> tuple[str, str]:
    parts = pattern.split("/")
    first = next(at for at, part in enumerate(parts) if has_wildcard(part))
    return "/".join(parts[:first]), "/".join(parts[first:])


def _matches_anywhere(
    directory: Directory, prefix: str, above: str, pattern: str
) -> Iterator[tuple[str, str, Node]]:
    for name, node in directory.in_order():
        relative = above + name
        if match_path(pattern, relative):
            yield relative, prefix + relative, node
        elif isinstance(node, Directory):
            yield from _matches_anywhere(node, prefix, f"{relative}/", pattern)


def _matches_by_name(
    directory: Directory, prefix: str, above: str, parts: list[str]
) -> Iterator[tuple[str, str, Node]]:
    part, rest = parts[0], parts[1:]
    for name, node in directory.in_order():
        if not match_path(part, name):
            continue
        relative = above + name
        if not rest:
            yield relative, prefix + relative, node
        elif isinstance(node, Directory):
            yield from _matches_by_name(node, prefix, f"{relative}/", rest)


# ---------------------------------------------------------------------------------------------------
# Which paths matter
# ---------------------------------------------------------------------------------------------------


def reads(selection: Selection, path: ContextPath, snapshot: Snapshot | None = None) -> bool:
    """Tell whether a change at the path may change what the selection takes.

    Without a snapshot the answer is lexical. With one, the links that lead from a source elsewhere are
    followed too, and a path that is no directory there is not taken for one that could become it.
    """
    sources = _sources(selection)
    if isinstance(sources, MissingSource):
        return False
    return any(_source_reads(source, path, snapshot) for source in sources)


def _source_reads(source: _Source, path: str, snapshot: Snapshot | None) -> bool:
    if source.is_plain:
        return _leads_through(source.path, path, snapshot)
    if source.includes is not None and _is_on_the_way(_required(source), path, snapshot):
        return True
    if not source.wildcard:
        return _filtered_reads(source, path, snapshot)
    fixed, free = _fixed_part(source.path)
    if "\\" in fixed:
        return False
    top = fixed
    if snapshot is not None:
        top = _follow(snapshot, fixed).visited[-1]
    if _is_on_the_way(fixed, path, snapshot):
        return True
    relative = _inside(top, path)
    if relative is not None and _wildcard_reads(source, free, relative, path, snapshot):
        return True
    return snapshot is not None and any(
        _leads_through(where, path, snapshot)
        for _, where, node in _matches(snapshot, source.path)
        if isinstance(node, Entry) and node.kind == "link"
    )


def _leads_through(source: str, path: str, snapshot: Snapshot | None) -> bool:
    """Tell whether the path is on the way to a plain source, is it, or is below it."""
    if snapshot is None:
        return not source or path == source or path.startswith(f"{source}/") or source.startswith(f"{path}/")
    visited = _follow(snapshot, source).visited
    end = visited[-1]
    return (
        not end or path.startswith(f"{end}/") or any(_is_at_or_above(path, each) for each in visited if each)
    )


def _is_on_the_way(source: str, path: str, snapshot: Snapshot | None) -> bool:
    """Tell whether the source is there or not may depend on the path."""
    visited = (source,) if snapshot is None else _follow(snapshot, source).visited
    return any(_is_at_or_above(path, each) for each in visited if each)


def _is_at_or_above(path: str, other: str) -> bool:
    return path == other or other.startswith(f"{path}/")


def _wildcard_reads(source: _Source, free: str, relative: str, path: str, snapshot: Snapshot | None) -> bool:
    if "[" in free:
        return True
    parts, pattern = relative.split("/"), free.split("/")
    if not all(match_path(each, part) for each, part in zip(pattern, parts, strict=False)):
        return False
    if len(parts) <= len(pattern):
        return True
    return _filters_take(source, "/".join(parts[len(pattern) :]), path, snapshot, is_match_known=True)


def _filtered_reads(source: _Source, path: str, snapshot: Snapshot | None) -> bool:
    top: str = source.path
    if not top:
        if snapshot is not None and _root_links_lead(path, snapshot):
            return True
    else:
        above, _, name = top.rpartition("/")
        if _is_on_the_way(above, path, snapshot):
            return True
        if snapshot is not None:
            top = "/".join(filter(None, (_follow(snapshot, above).visited[-1], name)))
            node = snapshot.node(top)
            is_link = isinstance(node, Entry) and node.kind == "link"
            if is_link and _leads_through(source.path, path, snapshot):
                return True
        if _is_at_or_above(path, top):
            return True
    relative = _inside(top, path)
    return relative is not None and _filters_take(
        source, relative, path, snapshot, is_match_known=bool(source.path)
    )


def _inside(directory: str, path: str) -> str | None:
    """Return the path relative to a directory that it is in."""
    if not directory:
        return path
    return path[len(directory) + 1 :] if path.startswith(f"{directory}/") else None


def _root_links_lead(path: str, snapshot: Snapshot) -> bool:
    return any(
        _leads_through(name, path, snapshot)
        for name, node in snapshot.root.children.items()
        if isinstance(node, Entry) and node.kind == "link"
    )


def _filters_take(
    source: _Source, relative: str, path: str, snapshot: Snapshot | None, *, is_match_known: bool
) -> bool:
    """Tell whether the filters let through the path, or something below it if it is a directory."""
    may_be_directory = snapshot is None or isinstance(snapshot.node(path), Directory)
    includes = excludes = None
    if source.includes is not None:
        includes = source.includes.source() if is_match_known else source.includes.root()
    if source.excludes is not None:
        start = is_match_known and _matched(includes)
        excludes = source.excludes.source() if start else source.excludes.root()
    for name in relative.split("/"):
        includes = None if includes is None else includes.enter(name)
        excludes = _enter_excludes(excludes, name, included=_matched(includes))
    if _is_included(includes, excludes):
        return True
    return may_be_directory and not _takes_nothing(includes, excludes)
