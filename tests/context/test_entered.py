"""Directories count with the mode that they had when the builder first saw them."""

from __future__ import annotations

import json

from devloop.context.entered import as_entered, enter, entered_from_plain, entered_to_plain
from devloop.context.snapshot import Entry, Snapshot
from devloop.paths import ContextPath


def tree(**modes: int) -> Snapshot:
    """Return a tree with a file in each directory; `a__b` is the directory a/b."""
    entries: dict[str, Entry] = {}
    for name, mode in modes.items():
        path = name.replace("__", "/")
        entries[path] = Entry("directory", mode, "", 0)
        entries[f"{path}/file"] = Entry("file", 0o644, "x", 1)
    return Snapshot.of(entries)


def mode(snapshot: Snapshot, path: str) -> int:
    return snapshot[ContextPath(path)].mode


def test_a_directory_that_stays_keeps_its_first_mode() -> None:
    first = enter(tree(d=0o755), None)
    second = enter(tree(d=0o700), first)
    assert mode(as_entered(tree(d=0o700), second), "d") == 0o755


def test_one_that_was_away_for_a_build_enters_anew() -> None:
    mirror = enter(tree(d=0o755), None)
    mirror = enter(tree(e=0o755), mirror)
    mirror = enter(tree(d=0o700, e=0o755), mirror)
    assert mode(as_entered(tree(d=0o700), mirror), "d") == 0o700


def test_one_that_comes_to_be_has_the_mode_that_it_has() -> None:
    mirror = enter(tree(d=0o755), None)
    assert mode(as_entered(tree(d=0o755, d__e=0o700), mirror), "d/e") == 0o700


def test_where_all_agree_the_snapshot_is_the_same_object() -> None:
    snapshot = tree(d=0o755, d__e=0o700)
    assert as_entered(snapshot, enter(snapshot, None)) is snapshot
    assert as_entered(snapshot, None) is snapshot


def test_parts_that_agree_are_shared() -> None:
    now = tree(d=0o700, e=0o755)
    believed = as_entered(now, enter(tree(d=0o755, e=0o755), None))
    assert believed.node("e") is now.node("e")
    assert believed.node("d/file") is now.node("d/file")


def test_a_mirror_survives_being_written_down() -> None:
    mirror = enter(tree(d=0o755, d__e=0o700), None)
    again = entered_from_plain(json.loads(json.dumps(entered_to_plain(mirror))))
    assert again is not None
    assert entered_to_plain(again) == entered_to_plain(mirror)


def test_what_is_no_mirror_is_none() -> None:
    assert entered_from_plain(None) is None
    assert entered_from_plain({"d": 1}) is None


def test_no_depth_is_too_deep() -> None:
    path = "/".join(["d"] * 1500)
    deep = Snapshot.of({path: Entry("directory", 0o755, "", 0)})
    mirror = enter(deep, None)
    assert as_entered(deep, mirror) is deep
    assert json.dumps(entered_to_plain(mirror))
