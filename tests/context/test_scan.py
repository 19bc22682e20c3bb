"""Contexts on a real disk: what a walk finds, what a second one need not read, and what goes wrong."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from devloop.context import scan as scanning
from devloop.context.index import (
    COARSE_NS,
    TICK_NS,
    Index,
    Row,
    is_settled,
    load_index,
    save_index,
)
from devloop.context.patterns import NO_RULES, IgnoreRules, parse_ignore
from devloop.context.scan import rescan, scan
from devloop.context.selection import Selection, follow_paths, select
from devloop.context.snapshot import SOCKET, Entry, Snapshot, diff
from devloop.paths import ContextPath

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO = 1_600_000_000_123_456_789


def rules(text: str) -> IgnoreRules:
    parsed = parse_ignore(text.encode(), file=".dockerignore")
    assert isinstance(parsed, IgnoreRules)
    return parsed


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def settle() -> None:
    """Wait until what was written counts as old."""
    time.sleep(2 * TICK_NS / 1e9)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every file of which the content is read from now on."""
    seen: list[str] = []
    real = scanning._file_digest

    def spy(path: str, size: int) -> str:
        seen.append(os.path.basename(path))  # noqa: PTH119 - a text from the code under test
        return real(path, size)

    monkeypatch.setattr(scanning, "_file_digest", spy)
    return seen


def dirty(*paths: str) -> list[ContextPath]:
    return [ContextPath(path) for path in paths]


class TestWalk:
    def test_every_kind_of_entry_is_seen_as_what_it_is(self, tmp_path: Path) -> None:
        write(tmp_path, d__file="text")
        (tmp_path / "d/file").chmod(0o4755)
        (tmp_path / "d").chmod(0o750)
        (tmp_path / "link").symlink_to("../outside")
        os.mkfifo(tmp_path / "pipe", 0o600)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fspath(tmp_path / "socket"))
            found = scan(tmp_path, NO_RULES)
        assert list(found) == ["d", "d/file", "link", "pipe", "socket"]
        file = found[ContextPath("d/file")]
        assert (file.kind, file.mode, file.size) == ("file", 0o4755, 4)
        assert found[ContextPath("d")] == Entry("directory", 0o750, "", 0)
        assert found[ContextPath("link")] == Entry("link", 0o777, "../outside", 0)
        assert found[ContextPath("pipe")].digest == "fifo"
        assert found[ContextPath("socket")].digest == SOCKET

    def test_neither_time_nor_hard_links_nor_sparseness_count(self, tmp_path: Path) -> None:
        write(tmp_path, a="same", b="same")
        os.link(tmp_path / "a", tmp_path / "c")
        os.utime(tmp_path / "a", ns=(LONG_AGO, LONG_AGO))
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(1 << 20)
        (tmp_path / "dense").write_bytes(bytes(1 << 20))
        found = scan(tmp_path, NO_RULES)
        assert found[ContextPath("a")] == found[ContextPath("b")] == found[ContextPath("c")]
        assert found[ContextPath("sparse")] == found[ContextPath("dense")]

    def test_an_extended_attribute_counts_where_the_file_system_has_any(self, tmp_path: Path) -> None:
        write(tmp_path, a="same", b="same")
        try:
            os.setxattr(tmp_path / "a", "user.note", b"1")
        except OSError:
            pytest.skip("no extended attributes here")
        found = scan(tmp_path, NO_RULES)
        assert found[ContextPath("a")].digest != found[ContextPath("b")].digest

    def test_what_is_ignored_is_not_walked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path, node_modules__x__y="1", src__a="1", src__b="1")
        walked: list[str] = []
        real = os.scandir

        def spy(path: str) -> object:
            walked.append(os.path.relpath(path, tmp_path))
            return real(path)

        monkeypatch.setattr(os, "scandir", spy)
        assert list(scan(tmp_path, rules("node_modules\nsrc/b"))) == ["src", "src/a"]
        assert walked == [".", "src"]

    def test_an_ignored_directory_stays_for_what_is_kept_below_it(self, tmp_path: Path) -> None:
        write(tmp_path, d__e__keep="1", d__e__drop="1", d__f__drop="1", other="1")
        assert list(scan(tmp_path, rules("*\n!d/e/keep"))) == ["d", "d/e", "d/e/keep"]

    def test_an_empty_directory_is_an_entry_unless_it_is_ignored(self, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "dropped").mkdir()
        assert list(scan(tmp_path, rules("dropped\n!dropped/x"))) == ["kept"]

    def test_only_what_is_wanted_is_walked_and_read(self, tmp_path: Path, reads: list[str]) -> None:
        write(tmp_path, src__a="1", src__b="1", docs__c="1", top="1", other="1")
        found = scan(tmp_path, NO_RULES, wanted=["src/a", "t*"])
        assert list(found) == ["src", "src/a", "top"]
        assert sorted(reads) == ["a", "top"]
        assert list(scan(tmp_path, NO_RULES, wanted=[])) == []
        assert scan(tmp_path, NO_RULES, wanted=[""]) == scan(tmp_path, NO_RULES)

    def test_two_stars_are_wanted_at_any_depth(self, tmp_path: Path) -> None:
        write(tmp_path, a__b__p="1", c="1")
        wanted = follow_paths([Selection(("a/**/p",), parents=True)])
        assert list(scan(tmp_path, NO_RULES, wanted=wanted)) == ["a", "a/b", "a/b/p"]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ("link", ["link", "real", "real/a"]),
            ("link/a", ["link", "real", "real/a"]),
            ("d/up", ["d", "d/up", "real", "real/a"]),
            ("l*", ["link", "link2", "real", "real/a"]),
            ("d*/up", ["d", "d/up", "real", "real/a"]),
            ("link2", ["link", "link2", "real", "real/a"]),
            ("round", ["round"]),
            ("out", ["out"]),
        ],
    )
    def test_where_a_wanted_link_leads_is_wanted_too(
        self, tmp_path: Path, wanted: str, expected: list[str]
    ) -> None:
        write(tmp_path, real__a="1", d__x="1", y="1")
        for name, target in {
            "link": "real",
            "link2": "link",
            "d/up": "../real",
            "round": "round/x",
            "out": "../../etc",
        }.items():
            (tmp_path / name).symlink_to(target)
        assert list(scan(tmp_path, NO_RULES, wanted=[wanted])) == expected

    def test_a_root_that_is_not_there_is_empty(self, tmp_path: Path) -> None:
        assert len(scan(tmp_path / "missing", NO_RULES)) == 0

    def test_a_name_that_is_no_text_is_a_path_like_any_other(self, tmp_path: Path) -> None:
        raw = os.fsencode(tmp_path) + b"/\xff"
        with open(raw, "wb"):  # noqa: PTH123 - a Path holds no bytes
            pass
        index = Index()
        assert list(scan(tmp_path, NO_RULES, index=index)) == ["\udcff"]
        assert save_index(index, tmp_path.parent / "index")


class TestUnreadable:
    @pytest.fixture
    def refuse(self, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """Names that the system refuses to open; root, who may run the tests, is refused nothing."""
        refused: set[str] = set()

        def guard(real: object) -> object:
            def call(path: str, *rest: object) -> object:
                if os.path.basename(path) in refused:  # noqa: PTH119 - a text from the code under test
                    raise PermissionError(13, "Permission denied", path)
                return real(path, *rest)  # type: ignore[operator]  # any function of the os module

            return call

        monkeypatch.setattr(os, "open", guard(os.open))
        monkeypatch.setattr(os, "scandir", guard(os.scandir))
        return refused

    def test_an_unreadable_file_is_reported_and_still_an_entry(
        self, tmp_path: Path, refuse: set[str]
    ) -> None:
        write(tmp_path, a="1", b="1")
        refuse.add("a")
        index = Index()
        found = scan(tmp_path, NO_RULES, index=index)
        assert [(each.path, each.message) for each in found.unreadable] == [("a", "Permission denied")]
        assert list(found) == ["a", "b"]
        refuse.clear()
        again = rescan(found, tmp_path, NO_RULES, dirty("a"), index=index)
        assert again.unreadable == ()
        assert again[ContextPath("a")] == again[ContextPath("b")]

    def test_an_unreadable_directory_is_reported_unless_it_is_ignored(
        self, tmp_path: Path, refuse: set[str]
    ) -> None:
        write(tmp_path, a__x="1", b__x="1")
        refuse.update("ab")
        found = scan(tmp_path, rules("b"))
        assert [each.path for each in found.unreadable] == ["a"]
        assert list(found) == ["a"]
        assert rescan(found, tmp_path, rules("b"), dirty("c")).unreadable == found.unreadable

    def test_a_file_that_vanishes_midway_was_never_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, a="1", b="1")
        real = os.open

        def vanish(path: str, *rest: int) -> int:
            (tmp_path / "a").unlink(missing_ok=True)
            return real(path, *rest)

        monkeypatch.setattr(os, "open", vanish)
        found = scan(tmp_path, NO_RULES)
        assert list(found) in (["b"], ["a", "b"])
        assert found.unreadable == ()


class TestIndex:
    def test_a_second_start_reads_nothing_that_did_not_change(self, tmp_path: Path, reads: list[str]) -> None:
        root, saved = tmp_path / "context", tmp_path / "state/index"
        write(root, a="1", d__b="2", d__e__c="3")
        (root / "link").symlink_to("a")
        settle()
        index = Index()
        first = scan(root, NO_RULES, index=index)
        assert save_index(index, saved)
        assert saved.stat().st_mode & 0o777 == 0o600
        reads.clear()
        index = load_index(saved)
        assert scan(root, NO_RULES, index=index) == first
        assert reads == []
        assert not index.is_changed
        write(root, d__b="changed")
        scan(root, NO_RULES, index=index)
        assert reads == ["b"]

    def test_touching_a_file_leads_to_the_same_digest(self, tmp_path: Path) -> None:
        write(tmp_path, a="1")
        index = Index()
        before = scan(tmp_path, NO_RULES, index=index)
        os.utime(tmp_path / "a", ns=(LONG_AGO, LONG_AGO))
        assert diff(before, scan(tmp_path, NO_RULES, index=index)) == ()

    def test_bytes_that_change_under_the_same_stat_keep_the_digest_that_the_builder_has(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path, a="old")
        os.utime(tmp_path / "a", ns=(LONG_AGO, LONG_AGO))
        settle()
        index = Index()
        before = scan(tmp_path, NO_RULES, index=index)[ContextPath("a")]
        write(tmp_path, a="new")
        os.utime(tmp_path / "a", ns=(LONG_AGO, LONG_AGO))
        after = scan(tmp_path, NO_RULES, index=index)[ContextPath("a")]
        assert after.digest == before.digest
        assert after.disguised not in {"", before.digest}
        settle()
        scan(tmp_path, NO_RULES, index=index)
        assert save_index(index, tmp_path.parent / "index")
        index = load_index(tmp_path.parent / "index")
        assert scan(tmp_path, NO_RULES, index=index)[ContextPath("a")] == after
        write(tmp_path, a="old")
        os.utime(tmp_path / "a", ns=(LONG_AGO, LONG_AGO))
        assert scan(tmp_path, NO_RULES, index=index)[ContextPath("a")] == before

    def test_a_file_put_in_place_of_another_with_the_same_times_is_noticed(self, tmp_path: Path) -> None:
        write(tmp_path, a="one", b="two")
        for name in "ab":
            os.utime(tmp_path / name, ns=(LONG_AGO, LONG_AGO))
        settle()
        index = Index()
        scan(tmp_path, NO_RULES, index=index)
        (tmp_path / "b").replace(tmp_path / "a")
        assert scan(tmp_path, NO_RULES, index=index)[ContextPath("a")].disguised

    def test_what_was_written_within_the_same_tick_is_read_again(
        self, tmp_path: Path, reads: list[str]
    ) -> None:
        write(tmp_path, a="1")
        soon = time.time_ns() + 10**12
        os.utime(tmp_path / "a", ns=(soon, soon))
        index = Index()
        scan(tmp_path, NO_RULES, index=index)
        scan(tmp_path, NO_RULES, index=index)
        assert reads == ["a", "a"]

    @pytest.mark.parametrize(
        ("age", "is_whole", "expected"),
        [
            (TICK_NS + 1, False, True),
            (TICK_NS, False, False),
            (0, False, False),
            (-1, False, False),
            (COARSE_NS, True, False),
            (COARSE_NS + 1, True, True),
        ],
    )
    def test_a_stat_is_trusted_once_the_clock_has_moved_on(
        self, age: int, is_whole: bool, expected: bool
    ) -> None:
        written = 1_700_000_000_000_000_000 + (0 if is_whole else 1)
        assert is_settled(written, written, written + age) is expected
        assert is_settled(written, written - 10**10 * is_whole, written + age) is expected

    @pytest.mark.parametrize("damage", ["empty", "short", "flipped", "foreign", "other version"])
    def test_a_damaged_file_is_taken_for_an_absent_one(self, tmp_path: Path, damage: str) -> None:
        saved = tmp_path / "index"
        index = Index()
        index.update("d", {"a": Row(1, 2, 3, 4, Entry("file", 0o644, "0" * 32, 1))})
        assert save_index(index, saved)
        assert load_index(saved).lookup("d/a")
        raw = saved.read_bytes()
        saved.write_bytes(
            {
                "empty": b"",
                "short": raw[:-1],
                "flipped": raw[:-1] + bytes([raw[-1] ^ 1]),
                "foreign": b"SQLite format 3\0" * 9,
                "other version": raw.replace(b"index 1", b"index 2"),
            }[damage]
        )
        assert load_index(saved).lookup("d/a") is None

    def test_an_absent_file_is_an_empty_index(self, tmp_path: Path) -> None:
        assert load_index(tmp_path / "missing").blocks() == []

    @pytest.mark.parametrize(
        "entry",
        [
            Entry("file", 0o4755, "0123456789abcdef" * 2, 7),
            Entry("file", 0o644, "0" * 32, 7, "f" * 32),
            Entry("link", 0o777, "wherever/it/lëads", 0),
            Entry("other", 0o600, "character 1:3", 0),
        ],
    )
    def test_every_kind_of_row_survives_a_save(self, tmp_path: Path, entry: Entry) -> None:
        index = Index()
        row = Row(7, LONG_AGO, LONG_AGO + 1, 2**64 - 1, entry)
        index.update("d", {"näme": row, "plain": Row(1, 2, 3, 4, Entry("file", 0o644, "1" * 32, 1))})
        index.update("", {"top": row})
        assert save_index(index, tmp_path / "index")
        loaded = load_index(tmp_path / "index")
        assert (loaded.lookup("d/näme"), loaded.lookup("top")) == (row, row)
        assert loaded.lookup("d/other") is None
        assert loaded.blocks() == index.blocks()

    def test_a_directory_that_went_is_forgotten(self, tmp_path: Path) -> None:
        write(tmp_path, d__a="1", d__e__b="1", dd__c="1")
        settle()
        index = Index()
        before = scan(tmp_path, NO_RULES, index=index)
        for path in ("d/e/b", "d/a"):
            (tmp_path / path).unlink()
        (tmp_path / "d/e").rmdir()
        (tmp_path / "d").rmdir()
        rescan(before, tmp_path, NO_RULES, dirty("d"), index=index)
        assert [directory for directory, _ in index.blocks()] == ["dd"]

    def test_a_disk_that_refuses_is_reported_and_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved = tmp_path / "index"
        index = Index()
        assert save_index(index, saved)
        before = saved.read_bytes()
        index.update("", {"a": Row(1, 2, 3, 4, Entry("file", 0o644, "0" * 32, 1))})

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "open", full)
        assert save_index(index, saved) is False
        monkeypatch.undo()
        assert saved.read_bytes() == before
        assert list(tmp_path.iterdir()) == [saved]
        assert save_index(index, saved)

    def test_a_path_that_cannot_be_written_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert save_index(Index(), tmp_path / "file/index") is False


class TestRescan:
    @pytest.fixture
    def before(self, tmp_path: Path) -> Snapshot:
        write(tmp_path, a="1", d__b="2", d__c="3", e__f="4")
        return scan(tmp_path, NO_RULES)

    def test_only_the_dirty_paths_are_read(self, tmp_path: Path, before: Snapshot, reads: list[str]) -> None:
        write(tmp_path, a="new", d__b="new", e__f="new")
        after = rescan(before, tmp_path, NO_RULES, dirty("d/b"))
        assert [(change.kind, change.path) for change in diff(before, after)] == [("modified", "d/b")]
        assert reads == ["b"]
        assert after.node("e") is before.node("e")

    def test_a_dirty_directory_is_read_with_all_below_and_shares_what_is_as_before(
        self, tmp_path: Path, before: Snapshot
    ) -> None:
        write(tmp_path, d__new__x="1")
        after = rescan(before, tmp_path, NO_RULES, dirty("d", "e"))
        assert [change.path for change in diff(before, after)] == ["d/new", "d/new/x"]
        assert after.node("e") is before.node("e")

    def test_a_path_that_went_with_its_parents_takes_them_along(
        self, tmp_path: Path, before: Snapshot
    ) -> None:
        (tmp_path / "e/f").unlink()
        (tmp_path / "e").rmdir()
        assert list(rescan(before, tmp_path, NO_RULES, dirty("e/f"))) == ["a", "d", "d/b", "d/c"]

    def test_a_path_whose_parents_are_new_brings_them_along(self, tmp_path: Path, before: Snapshot) -> None:
        write(tmp_path, x__y__z="1", x__other="1")
        after = rescan(before, tmp_path, NO_RULES, dirty("x/y/z"))
        assert {"x", "x/other", "x/y", "x/y/z"} <= set(after)

    def test_a_file_may_become_a_directory_and_back(self, tmp_path: Path, before: Snapshot) -> None:
        (tmp_path / "a").unlink()
        write(tmp_path, a__b="1")
        after = rescan(before, tmp_path, NO_RULES, dirty("a/b"))
        assert {"a", "a/b"} <= set(after)
        (tmp_path / "a/b").unlink()
        (tmp_path / "a").rmdir()
        (tmp_path / "a").symlink_to("d")
        assert rescan(after, tmp_path, NO_RULES, dirty("a/b"))[ContextPath("a")].kind == "link"

    def test_the_root_as_a_dirty_path_is_everything(self, tmp_path: Path, before: Snapshot) -> None:
        write(tmp_path, a="new", e__f="new")
        assert rescan(before, tmp_path, NO_RULES, dirty("")) == scan(tmp_path, NO_RULES)

    def test_an_ignored_path_changes_nothing(self, tmp_path: Path) -> None:
        write(tmp_path, a="1", d__b="1")
        ignore = rules("d")
        before = scan(tmp_path, ignore)
        write(tmp_path, d__b="2", d__c="1")
        assert rescan(before, tmp_path, ignore, dirty("d/b", "d/c", "d")) == before

    def test_a_directory_that_was_there_for_one_path_goes_with_it(self, tmp_path: Path) -> None:
        write(tmp_path, d__e__keep="1")
        ignore = rules("d\n!d/e/keep")
        before = scan(tmp_path, ignore)
        assert list(before) == ["d", "d/e", "d/e/keep"]
        (tmp_path / "d/e/keep").unlink()
        assert list(rescan(before, tmp_path, ignore, dirty("d/e/keep"))) == []

    def test_a_name_that_came_keeps_the_directory_that_another_one_left(self, tmp_path: Path) -> None:
        """The directory keeps its own mode: it does not go and come again between the two."""
        write(tmp_path, d__a="1")
        (tmp_path / "d").chmod(0o700)
        ignore = rules("d\n!d/a\n!d/b")
        before = scan(tmp_path, ignore)
        (tmp_path / "d/a").rename(tmp_path / "d/b")
        after = rescan(before, tmp_path, ignore, dirty("d/a", "d/b"))
        assert list(after) == ["d", "d/b"]
        assert after[ContextPath("d")].mode == 0o700

    def test_what_did_not_change_stays_the_same_object(self, tmp_path: Path, before: Snapshot) -> None:
        after = rescan(before, tmp_path, NO_RULES, dirty("a", "d/b", "d/c", "d/none"))
        assert after.root is before.root

    def test_a_wanted_link_that_leads_elsewhere_changes_what_is_looked_at(self, tmp_path: Path) -> None:
        write(tmp_path, one__a="1", two__a="2")
        (tmp_path / "link").symlink_to("one")
        before = scan(tmp_path, NO_RULES, wanted=["link"])
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("two")
        after = rescan(before, tmp_path, NO_RULES, dirty("link"), wanted=["link"])
        assert list(after) == ["link", "two", "two/a"]

    def test_a_path_that_no_disk_can_hold_is_none(self, tmp_path: Path, before: Snapshot) -> None:
        assert rescan(before, tmp_path, NO_RULES, dirty("a\0b", "d/\0")) == before


def test_a_selection_of_a_scanned_context_reads_through_links(tmp_path: Path) -> None:
    write(tmp_path, real__a="1")
    (tmp_path / "link").symlink_to("real")
    selection = Selection(("link",))
    before = select(scan(tmp_path, NO_RULES), selection, listing="names")
    write(tmp_path, real__a="2")
    assert select(scan(tmp_path, NO_RULES), selection, listing="names") != before
