"""Snapshots as values: order, sharing, differences and hypothetical edits."""

from __future__ import annotations

import pytest

from context.trees import folder, link, text_file, tree
from devloop.context.snapshot import Change, Directory, Entry, Snapshot, diff, with_edits
from devloop.paths import ContextPath


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    return [f"{change.kind} {change.path}" for change in diff(before, after)]


def test_a_directory_comes_right_before_what_is_in_it() -> None:
    assert list(tree("a-b", "a/c", "a.d", "é", "z/")) == ["a", "a/c", "a-b", "a.d", "z", "é"]


def test_names_are_in_the_order_of_their_bytes_even_when_they_are_no_text() -> None:
    names = [raw.decode("utf-8", "surrogateescape") for raw in (b"\xc3\xa9", b"\xff", b"\x80", b"a")]
    assert list(tree(*names)) == [names[3], names[2], names[0], names[1]]


def test_a_snapshot_is_a_mapping_without_the_root() -> None:
    context = tree("d/a", "e/")
    assert len(context) == 3
    assert context[ContextPath("d")] == folder()
    assert ContextPath("") not in context
    assert ContextPath("d/a/b") not in context
    assert context.children("d") == ("a",)
    assert context.children("d/a") == context.children("missing") == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (tree("a"), tree("a", "b"), ["added b"]),
        (tree("a", "b"), tree("a"), ["removed b"]),
        (Snapshot.of({"a": text_file("1")}), Snapshot.of({"a": text_file("2")}), ["modified a"]),
        (Snapshot.of({"a": text_file("1")}), Snapshot.of({"a": text_file("1", 0o755)}), ["metadata a"]),
        (Snapshot.of({"d": folder()}), Snapshot.of({"d": folder(0o700)}), ["metadata d"]),
        (Snapshot.of({"a": link("x")}), Snapshot.of({"a": link("y")}), ["modified a"]),
        (tree("a"), Snapshot.of({"a": link("a")}), ["modified a"]),
        (tree("d/a/b"), tree("d"), ["modified d", "removed d/a", "removed d/a/b"]),
        (tree("d"), tree("d/a"), ["modified d", "added d/a"]),
        (tree(), tree("d/a"), ["added d", "added d/a"]),
        (Snapshot.of({"a": Entry("file", 0o644, "1", 1)}),
         Snapshot.of({"a": Entry("file", 0o644, "1", 1, "2")}), ["modified a"]),
        (tree("a"), tree("a"), []),
    ],
)  # fmt: skip
def test_a_difference_is_named(before: Snapshot, after: Snapshot, expected: list[str]) -> None:
    assert changes(before, after) == expected


def test_what_did_not_change_is_shared() -> None:
    before = tree("d/a", "d/b", "e/c")
    after = before.with_node("d/a", text_file("new"))
    assert after.node("e") is before.node("e")
    assert after.node("d") is not before.node("d")
    assert before[ContextPath("d/a")] == text_file("d/a")


def test_taking_away_what_is_not_there_gives_the_same_snapshot() -> None:
    context = tree("d/a")
    assert context.with_node("d/x", None) is context
    assert context.with_node("x/y/z", None) is context
    assert context.with_node("d/a/b", None) is context


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("d/a", ["modified d/a"]),
        ("d", ["modified d/a", "modified d/e/f"]),
        ("new/file", ["added new", "added new/file"]),
        ("l", ["modified l"]),
    ],
)
def test_a_hypothetical_edit_replaces_contents(path: str, expected: list[str]) -> None:
    before = Snapshot.of({"d/a": text_file("1", 0o755), "d/e/f": text_file("1"), "l": link("d")})
    after = with_edits(before, [ContextPath(path)])
    assert changes(before, after) == expected


def test_a_hypothetical_edit_keeps_the_mode_and_gives_what_nothing_else_has() -> None:
    before = Snapshot.of({"a": text_file("1", 0o755), "b": text_file("1")})
    after = with_edits(before, [ContextPath("a"), ContextPath("b")])
    first, second = after[ContextPath("a")], after[ContextPath("b")]
    assert (first.mode, second.mode) == (0o755, 0o644)
    assert len({first.digest, second.digest, "1"}) == 3
    twice = with_edits(after, [ContextPath("a")])
    assert twice[ContextPath("a")].digest != first.digest


def test_an_edit_of_the_root_edits_every_file() -> None:
    assert changes(tree("a", "d/b"), with_edits(tree("a", "d/b"), [ContextPath("")])) == [
        "modified a",
        "modified d/b",
    ]


def test_no_depth_is_too_deep() -> None:
    path = "/".join("d" * 3000)
    before, after = tree(path), tree(path).with_node(path, text_file("new"))
    assert before.root.content != after.root.content
    assert len(after) == len(list(after)) == 3000
    assert diff(before, after) == (Change(ContextPath(path), "modified"),)


def test_equal_snapshots_have_equal_hashes() -> None:
    assert hash(tree("a", "d/b")) == hash(tree("d/b", "a"))
    assert tree("a") != tree("b")
    assert tree("a") != "a"
    assert isinstance(tree("d/a").node("d"), Directory)
