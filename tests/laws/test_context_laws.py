"""Laws of the build context, over small random trees in which every rule has something to bite on."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from random import Random

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from context.trees import (
    MISSING,
    Tree,
    files,
    folder,
    model_select,
    pairs,
    paths,
    pattern_texts,
    plain_lines,
    selections,
    text_file,
    trees,
)
from devloop.context.index import Index, load_index, save_index
from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.context.scan import rescan, scan
from devloop.context.selection import MissingSource, Selection, follow_paths, reads, select
from devloop.context.snapshot import Directory, Entry, Snapshot, apply, diff, with_edits
from devloop.paths import ContextPath

MANY = int(os.environ.get("DEVLOOP_CONTEXT_EXAMPLES", "300"))
"""How many examples a law gets; a soak run asks for many more."""

slow = settings(max_examples=MANY // 3, deadline=None)
most = settings(max_examples=MANY, deadline=None)


def rules_of(patterns: list[str]) -> IgnoreRules:
    rules = parse_ignore("\n".join(patterns).encode(), file=".dockerignore")
    assume(isinstance(rules, IgnoreRules))
    assert isinstance(rules, IgnoreRules)
    return rules


@most
@given(pairs)
def test_applying_a_diff_to_the_first_snapshot_gives_the_second(pair: tuple[Tree, Tree]) -> None:
    before, after = map(Snapshot.of, pair)
    assert dict(apply(before, diff(before, after), after)) == dict(after) == pair[1]


@slow
@given(pairs)
def test_a_diff_is_sorted_names_every_difference_once_and_is_empty_between_equals(
    pair: tuple[Tree, Tree],
) -> None:
    before, after = map(Snapshot.of, pair)
    found = [change.path for change in diff(before, after)]
    assert found == sorted(set(found))
    assert set(found) >= {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert diff(before, Snapshot.of(pair[0])) == ()


@slow
@given(pairs)
def test_a_diff_is_the_same_whether_or_not_digests_have_been_computed(pair: tuple[Tree, Tree]) -> None:
    cold = diff(*map(Snapshot.of, pair))
    before, after = map(Snapshot.of, pair)
    assert before.root.content
    assert after.root.modes
    assert diff(before, after) == cold


@slow
@given(trees, st.randoms())
def test_the_order_in_which_paths_come_never_matters(drawn: Tree, order: Random) -> None:
    shuffled = list(drawn.items())
    order.shuffle(shuffled)
    assert list(Snapshot.of(dict(shuffled)).items()) == list(Snapshot.of(drawn).items())
    assert Snapshot.of(dict(shuffled)).root.content == Snapshot.of(drawn).root.content


@slow
@given(trees, paths, files)
def test_taking_away_what_was_put_leaves_what_was_there(drawn: Tree, path: str, entry: Entry) -> None:
    parent = path.rpartition("/")[0]
    assume(path not in drawn and (not parent or drawn.get(parent, entry).kind == "directory"))
    before = Snapshot.of(drawn)
    put = before.with_node(path, entry)
    assert put[ContextPath(path)] == entry
    assert put.with_node(path, None) == before


@most
@given(st.lists(pattern_texts, max_size=5), st.lists(paths, min_size=1, max_size=6))
@example(["d/x", "!d"], ["d/x"])
@example(["d", "!d/x", "*"], ["d/x"])
def test_a_walk_decides_like_a_plain_reading_of_the_lines_on_each_path(
    patterns: list[str], drawn: list[str]
) -> None:
    rules = rules_of(patterns)
    model = plain_lines([f"{'!' * p.exception}{p.cleaned}" for p in rules.patterns])
    for path in drawn:
        state = rules.root()
        for name in path.split("/")[:-1]:
            state = state.enter(name)
        wanted = model.excludes(path)
        name = path.rpartition("/")[2]
        assert (state.excludes(name), rules.excludes(path), state.enter(name).ignored) == (wanted,) * 3
        decided = rules.deciding(path)
        assert wanted == (decided is not None and not decided[1].startswith("!"))


@most
@given(st.lists(pattern_texts, max_size=5), paths, paths)
def test_nothing_is_kept_below_a_directory_of_which_that_was_said(
    patterns: list[str], directory: str, below: str
) -> None:
    rules = rules_of(patterns)
    if not rules.may_keep_below(directory):
        assert rules.excludes(f"{directory}/{below}")
        assert rules.excludes(directory)


@most
@given(pairs, selections(), st.booleans())
def test_a_selection_has_equal_digests_exactly_when_the_list_of_records_is_equal(
    pair: tuple[Tree, Tree], selection: Selection, relative: bool
) -> None:
    """The model goes through BuildKit's records one by one; the code works by directory."""
    chosen = [select(Snapshot.of(each), selection, listing="paths" if relative else "names") for each in pair]
    models = [model_select(each, selection, relative=relative) for each in pair]
    for one, model in zip(chosen, models, strict=True):
        assert isinstance(one, MissingSource) == (model == MISSING)
    first, second = chosen
    if not isinstance(first, MissingSource) and not isinstance(second, MissingSource):
        assert (first.content == second.content) == (models[0] == models[1])


@most
@given(pairs, selections(), st.booleans())
def test_a_selection_that_differs_reads_one_of_the_changed_paths(
    pair: tuple[Tree, Tree], selection: Selection, relative: bool
) -> None:
    before, after = map(Snapshot.of, pair)
    first = select(before, selection, listing="paths" if relative else "names")
    second = select(after, selection, listing="paths" if relative else "names")
    if first != second:
        changed = [change.path for change in diff(before, after)]
        assert any(reads(selection, path, before) or reads(selection, path, after) for path in changed)
        if not any(entry.kind == "link" for each in pair for entry in each.values()):
            assert any(reads(selection, path) for path in changed)


@most
@given(trees, selections(), paths)
def test_a_hypothetical_edit_changes_nothing_that_does_not_read_the_path(
    drawn: Tree, selection: Selection, path: str
) -> None:
    assume(all(drawn[each].kind == "directory" for each in drawn if path.startswith(f"{each}/")))
    before = Snapshot.of(drawn)
    after = with_edits(before, [ContextPath(path)])
    if not reads(selection, ContextPath(path), before):
        new = [change.path for change in diff(before, after)]
        if new == [path]:
            assert select(before, selection, listing="paths") == select(after, selection, listing="paths")


# ---------------------------------------------------------------------------------------------------
# On a disk
# ---------------------------------------------------------------------------------------------------


def plant(root: Path, path: str, entry: Entry) -> None:
    target = root / path
    if entry.kind == "directory":
        target.mkdir(exist_ok=True)
    elif entry.kind == "link":
        target.symlink_to(entry.digest)
        return
    else:
        target.write_text(entry.digest)
    target.chmod(entry.mode)


def change(root: Path, before: Tree, after: Tree) -> list[ContextPath]:
    """Turn one tree on disk into another, and return the paths at which they differ."""
    dirty = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    for path in reversed(dirty):
        old, new = before.get(path), after.get(path)
        if old is None or (new is not None and old.kind == new.kind == "directory"):
            continue
        if old.kind == "directory":
            shutil.rmtree(root / path)
        else:
            (root / path).unlink()
    for path in dirty:
        if path in after:
            plant(root, path, after[path])
    return [ContextPath(path) for path in dirty]


@slow
@given(pairs, st.lists(pattern_texts, max_size=3), st.lists(selections(), max_size=1), st.booleans())
def test_reading_the_dirty_paths_again_gives_what_a_new_scan_gives(
    pair: tuple[Tree, Tree], patterns: list[str], wishes: list[Selection], is_saved: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "context")
        root.mkdir()
        rules = rules_of(patterns)
        wanted = follow_paths(wishes) if wishes else None
        index = Index()
        for path in sorted(pair[0]):
            plant(root, path, pair[0][path])
        before = scan(root, rules, wanted=wanted, index=index)
        if is_saved:
            assert save_index(index, Path(folder, "index"))
            index = load_index(Path(folder, "index"))
        dirty = change(root, *pair)
        again = rescan(before, root, rules, dirty, wanted=wanted, index=index)
        fresh = scan(root, rules, wanted=wanted)
        assert diff(again, fresh) == ()
        assert diff(scan(root, rules, wanted=wanted, index=index), fresh) == ()


def above(path: str, levels: int) -> ContextPath:
    """Return the path itself, or so many levels up; the root at last."""
    return ContextPath("/".join(path.split("/")[: max(0, path.count("/") + 1 - levels)]))


@most
@given(
    pairs,
    st.lists(pattern_texts, max_size=3),
    st.lists(selections(), max_size=1),
    st.lists(paths, max_size=4),
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
    st.randoms(),
)
@example(
    ({"a": folder(0o700), "a/a": text_file("1")}, {"a": folder(0o700), "a/b": text_file("1")}),
    ["a", "!a/a", "!a/b"],
    [],
    [],
    [0],
    Random(0),
)
@example(
    (
        {"a": folder(0o700), "a/a": text_file("1"), "a/b": folder(0o700), "a/b/a": text_file("1")},
        {"a": folder(0o700), "a/b": folder(0o700), "a/b/b": text_file("1")},
    ),
    [],
    [Selection(("a/a", "a/b/?"))],
    ["a/b/ab", "a/ab"],
    [0],
    Random(0),
)
def test_many_dirty_paths_at_once_give_what_a_new_scan_gives(  # noqa: PLR0917 - they are drawn
    pair: tuple[Tree, Tree],
    patterns: list[str],
    wishes: list[Selection],
    more: list[str],
    levels: list[int],
    order: Random,
) -> None:
    """Unchanged paths may be among the dirty ones, and directories may stand for what is in them."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "context")
        root.mkdir()
        rules = rules_of(patterns)
        wanted = follow_paths(wishes) if wishes else None
        index = Index()
        for path in sorted(pair[0]):
            plant(root, path, pair[0][path])
        before = scan(root, rules, wanted=wanted, index=index)
        changed = change(root, *pair)
        dirty = [above(path, levels[at % len(levels)]) for at, path in enumerate(changed)]
        dirty += map(ContextPath, more)
        order.shuffle(dirty)
        again = rescan(before, root, rules, dirty, wanted=wanted, index=index)
        fresh_index = Index()
        fresh = scan(root, rules, wanted=wanted, index=fresh_index)
        assert diff(again, fresh) == ()
        assert again.root.content == fresh.root.content
        assert again.root.modes == fresh.root.modes
        # Nothing is left in the index that a walk would not find; what is there is right.
        known = {path: row.entry for path in again if (row := index.lookup(path)) is not None}
        found = {path: row.entry for path in fresh if (row := fresh_index.lookup(path)) is not None}
        assert known == found
        if wanted is None:
            assert {name for name, _ in index.blocks()} == {name for name, _ in fresh_index.blocks()}


@slow
@given(pairs, st.randoms())
def test_nodes_put_directory_by_directory_are_as_if_put_one_by_one(
    pair: tuple[Tree, Tree], order: Random
) -> None:
    before, after = map(Snapshot.of, pair)
    directories = [path for path in ("", *pair[0]) if isinstance(before.node(path), Directory)]
    order.shuffle(directories)
    expected, result = before, before
    for directory in directories[:3]:
        there = result.node(directory)
        if not isinstance(there, Directory) or not isinstance(expected.node(directory), Directory):
            continue
        target = after.node(directory)
        names = {*there.children, *(target.children if isinstance(target, Directory) else ())}
        nodes = {name: target.children.get(name) if isinstance(target, Directory) else None for name in names}
        result = result.with_nodes(directory, nodes)
        for name, node in nodes.items():
            expected = expected.with_node(f"{directory}/{name}" if directory else name, node)
    assert dict(result) == dict(expected)
    assert result.root.content == expected.root.content


@slow
@given(trees, st.lists(pattern_texts, max_size=3))
def test_a_scan_keeps_what_the_rules_keep_and_the_directories_on_the_way(
    drawn: Tree, patterns: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(drawn):
            plant(Path(folder), path, drawn[path])
        rules = rules_of(patterns)
        kept = {path for path in drawn if not rules.excludes(path)}
        bridges = {path for path in drawn if any(each.startswith(f"{path}/") for each in kept)}
        assert set(scan(Path(folder), rules)) == kept | bridges


@slow
@given(trees, selections(), st.booleans())
def test_a_scan_of_the_wanted_paths_is_enough_for_the_selection(
    drawn: Tree, selection: Selection, relative: bool
) -> None:
    """With `--parents` an empty directory on the way may be missing, as the client does not send it."""
    assume(not selection.parents)
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(drawn):
            plant(Path(folder), path, drawn[path])
        rules = rules_of([])
        whole = select(scan(Path(folder), rules), selection, listing="paths" if relative else "names")
        part = scan(Path(folder), rules, wanted=follow_paths([selection]))
        if not isinstance(whole, MissingSource):
            assert select(part, selection, listing="paths" if relative else "names") == whole
