"""Small random contexts, patterns and selections, and slow plain models of the rules to compare with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from devloop.context.patterns import has_wildcard, match_path
from devloop.context.selection import Selection
from devloop.context.snapshot import Entry, Snapshot
from devloop.paths import context_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Tree = dict[str, Entry]

NAMES = ("a", "b", "ab", "a-", "é")
LINK_TARGETS = ("a", "b", "a/b", "../b", "/a", "/ab/a", ".", "..", "/", "missing", "b/../a", "../../a-")


def text_file(text: str, mode: int = 0o644) -> Entry:
    return Entry("file", mode, text, len(text))


def link(target: str) -> Entry:
    return Entry("link", 0o777, target, 0)


def folder(mode: int = 0o755) -> Entry:
    return Entry("directory", mode, "", 0)


def tree(*paths: str) -> Snapshot:
    """Build a snapshot of files whose content is their path; a trailing slash makes a directory."""
    return Snapshot.of(
        {path.rstrip("/"): folder() if path.endswith("/") else text_file(path) for path in paths}
    )


paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
files = st.builds(text_file, st.sampled_from(("1", "2")), st.sampled_from((0o644, 0o600)))
links = st.sampled_from(LINK_TARGETS).map(link)
folders = st.builds(folder, st.sampled_from((0o755, 0o700)))
entries = st.one_of(files, files, links, folders)


def complete(drawn: Mapping[str, Entry]) -> Tree:
    """Give every path its parents, and drop what would lie below a file or a link."""
    result: Tree = {}
    for path in sorted(drawn, key=lambda each: each.count("/")):
        parts = path.split("/")
        above = ["/".join(parts[:at]) for at in range(1, len(parts))]
        if all(result.get(each, folder()).kind == "directory" for each in above):
            for each in above:
                result.setdefault(each, folder())
            result[path] = drawn[path]
    return result


trees = st.dictionaries(paths, entries, max_size=8).map(complete)


@st.composite
def edited(draw: st.DrawFn, base: Tree) -> Tree:
    """Draw a tree that differs a little from another one."""
    changed = dict(base)
    for _ in range(draw(st.integers(1, 2))):
        kind = draw(st.sampled_from(("put", "drop", "move", "chmod")))
        known = sorted(changed)
        if kind == "put" or not known:
            changed[draw(paths)] = draw(entries)
            continue
        path = draw(st.sampled_from(known))
        if kind == "chmod":
            if changed[path].kind != "link":
                changed[path] = replace(changed[path], mode=changed[path].mode ^ 0o044)
            continue
        moved = {each: changed.pop(each) for each in known if each == path or each.startswith(f"{path}/")}
        if kind == "move":
            target = draw(paths)
            changed |= {target + each[len(path) :]: entry for each, entry in moved.items()}
    return complete(changed)


pairs = trees.flatmap(lambda base: st.tuples(st.just(base), st.one_of(edited(base), trees)))

pattern_parts = st.one_of(
    st.sampled_from(("a", "b", "*", "**")),
    st.sampled_from(("ab", "a*", "*b", "?", "[ab]", "[^a]", "a**", "**b", "é")),
)
pattern_texts = st.builds(
    lambda mark, parts: mark + "/".join(parts),
    st.sampled_from(("", "", "!")),
    st.lists(pattern_parts, min_size=1, max_size=3),
)
source_parts = st.sampled_from(("a", "b", "ab", "*", "a*", "?", "[ab]", "a[^b]", "a-", "..", "é"))
source_texts = st.one_of(st.just("."), st.lists(source_parts, min_size=1, max_size=3).map("/".join))


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    parents = draw(st.sampled_from((False, False, False, True)))
    sources = draw(st.lists(source_texts, min_size=1, max_size=2))
    if parents:
        pivots = st.sampled_from(("", "", "a/./", "*/./"))
        sources = [draw(pivots) + draw(st.sampled_from((each, f"**/{each}"))) for each in sources]
    excludes = draw(st.one_of(st.just([]), st.lists(pattern_texts, max_size=3)))
    return Selection(tuple(sources), tuple(excludes), parents=parents)


# ---------------------------------------------------------------------------------------------------
# Ignore patterns, one path at a time
# ---------------------------------------------------------------------------------------------------


@dataclass
class Lines:
    """Patterns as (is exception, predicate), with the memory of each from parent to child."""

    lines: list[tuple[bool, Callable[[str], bool]]]

    def step(self, path: str, memory: Sequence[bool] | None) -> tuple[bool, list[bool]]:
        """Decide on a path from what its parent matched; without that, from all its parents."""
        ignored = False
        after: list[bool] = []
        for at, (exception, matches) in enumerate(self.lines):
            hit = bool(memory and memory[at])
            if not hit and exception == ignored:
                above = [path[:end] for end, character in enumerate(path) if character == "/"]
                hit = matches(path) or (not memory and any(matches(each) for each in above))
            after.append(hit)
            if hit:
                ignored = not exception
        return ignored, after

    def excludes(self, path: str) -> bool:
        parts = path.split("/")
        memory: list[bool] | None = None
        ignored = False
        for end in range(1, len(parts) + 1):
            ignored, memory = self.step("/".join(parts[:end]), memory)
        return ignored


def plain_lines(patterns: Sequence[str]) -> Lines:
    return Lines([(text.startswith("!"), plain_matcher(text.removeprefix("!"))) for text in patterns])


def plain_matcher(pattern: str) -> Callable[[str], bool]:
    """Match by one regular expression, for patterns without escapes and odd classes."""
    if pattern.startswith("**") and not re.search(r"[*?\[\]]", pattern[2:]):
        end = pattern[2:]
        return lambda path: path.endswith(end) or (end.startswith("/") and path == end[1:])
    out, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 3 if pattern.startswith("**/", at) else 2
            out += "(.*/)?" if at < len(pattern) else ".*"
        elif pattern[at] == "[":
            end_of_class = pattern.index("]", at)
            out += pattern[at : end_of_class + 1]
            at = end_of_class + 1
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at]))
            at += 1
    compiled = re.compile(out)
    return lambda path: compiled.fullmatch(path) is not None


# ---------------------------------------------------------------------------------------------------
# Selections, as BuildKit's list of records
# ---------------------------------------------------------------------------------------------------

Model = Any
MISSING = "missing"


def model_select(tree: Tree, selection: Selection, *, relative: bool) -> Model:
    """Return what the digest of a selection is made of, directory modes left out, or MISSING."""
    plain: dict[str, None] = {}
    listed: list[tuple[str, Model]] = []
    for text in selection.sources:
        path, include = text, None
        if selection.parents:
            above, pivot, below = text.partition("/./")
            path = above if pivot else "/"
            include = context_path(below if pivot else text) or "**"
        path = context_path(path)
        if include is None and not selection.excludes and not has_wildcard(path):
            plain[path] = None
        else:
            listed.append((path, _model_list(tree, path, include, selection.excludes, relative=relative)))
    for path in plain:
        if any(path.startswith(f"{other}/") for other in plain if other):
            continue
        found = _resolve(tree, path, follow=True)
        listed.append((path, MISSING if found is None else _digest(tree, found)))
    if any(each == MISSING for _, each in listed):
        return MISSING
    return [each for _, each in sorted(listed, key=lambda pair: pair[0].encode())]


def _model_list(
    tree: Tree, path: str, include: str | None, exclude: Sequence[str], *, relative: bool
) -> Model:
    if include is not None and relative:
        fixed = []
        for part in f"{path}/{include}".split("/"):
            if has_wildcard(part):
                break
            fixed.append(part)
        if _resolve(tree, "/".join(fixed), follow=True) is None:
            return MISSING
    includes = None if include is None else plain_lines([include])
    excludes = plain_lines(exclude) if exclude else None
    wildcard = has_wildcard(path)
    fixed_part = path
    if wildcard:
        parts = path.split("/")
        first = next(at for at, part in enumerate(parts) if has_wildcard(part))
        fixed_part = "/".join(parts[:first])
    start = _resolve(tree, fixed_part, follow=wildcard)
    if start is None:
        return [] if wildcard or include is not None else MISSING
    result: list[tuple[str, Model]] = []
    headers: list[dict[str, Any]] = []
    matched = ""
    for real in _records(tree, start):
        shown = fixed_part + real[len(start) :] if start else _join(fixed_part, real)
        while headers and not shown.startswith(f"{headers[-1]['path']}/"):
            headers.pop()
        parent = headers[-1] if headers else None
        is_folder = not real or tree[real].kind == "directory"
        if wildcard:
            if not matched or not shown.startswith(f"{matched}/"):
                if not shown or not match_path(path, shown):
                    continue
                matched = shown
            candidate = shown[len(matched) + 1 :]
        elif not path:
            if not shown:
                continue
            candidate = shown
        else:
            candidate = shown[len(path) + 1 :]
        included = True
        record: dict[str, Any] = {"path": shown, "include": None, "exclude": None, "done": False}
        if includes is not None:
            hit, record["include"] = includes.step(candidate, parent["include"] if parent else None)
            included = hit
        if included and excludes is not None:
            hit, record["exclude"] = excludes.step(candidate, parent["exclude"] if parent else None)
            included = not hit
        if included:
            for above in [each for each in headers if not each["done"]]:
                above["done"] = True
                result.append((above["path"], "header"))
            if is_folder:
                content: Model = "header"
            elif tree[real].kind == "link" and parent is None:
                found = _resolve(tree, shown, follow=True)
                if found is None:
                    return MISSING
                content = _digest(tree, found)
            else:
                content = _digest(tree, real)
            result.append((shown, content))
            record["done"] = True
        if is_folder:
            headers.append(record)
    prefix = f"{fixed_part}/" if fixed_part else ""
    if relative:
        return [(f"{name}/".removeprefix(prefix), content) for name, content in result]
    if len(result) == 1 and result[0][0].rpartition("/")[2] == path.rpartition("/")[2]:
        return result[0][1]
    return [(name.rpartition("/")[2], content) for name, content in result]


def _join(above: str, name: str) -> str:
    return f"{above}/{name}" if above and name else above or name


def _records(tree: Tree, start: str) -> list[str]:
    below = [each for each in tree if not start or each == start or each.startswith(f"{start}/")]
    ordered = sorted(below, key=lambda each: each.replace("/", "\0").encode())
    return ordered if start else ["", *ordered]


def _digest(tree: Tree, path: str) -> Model:
    if path and tree[path].kind != "directory":
        entry = tree[path]
        return (entry.kind, 0 if entry.kind == "link" else entry.mode, entry.digest)
    prefix = f"{path}/" if path else ""
    children = [each for each in tree if each.startswith(prefix) and "/" not in each[len(prefix) :]]
    in_order = sorted(children, key=str.encode)
    return ("directory", [(each[len(prefix) :], _digest(tree, each)) for each in in_order])


def _resolve(tree: Tree, path: str, *, follow: bool) -> str | None:
    at: list[str] = []
    left = [part for part in path.split("/") if part]
    for _ in range(500):
        if not left:
            break
        part = left.pop(0)
        if part == "..":
            at = at[:-1]
            continue
        if part in {"", "."}:
            continue
        here = "/".join([*at, part])
        entry = tree.get(here)
        if entry is None or entry.kind != "link" or (not left and not follow):
            at.append(part)
            continue
        if entry.digest.startswith("/"):
            at = []
        left = entry.digest.split("/") + left
    else:
        return None
    found = "/".join(at)
    return found if not found or found in tree else None
