"""Edits of lines keep every other byte, and their diff is what `patch` would read."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import EditsClash, apply_edits, line_end, unified_diff
from devloop.doctor.model import LineEdit

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = b"one\ntwo\nthree\nfour\n"


def test_an_edit_replaces_whole_lines_and_an_empty_range_inserts() -> None:
    edits = [LineEdit(4, 3, b"between\n"), LineEdit(2, 2, b"TWO\nand a half\n")]
    assert apply_edits(SOURCE, edits) == b"one\nTWO\nand a half\nthree\nbetween\nfour\n"


def test_lines_can_be_taken_away_and_put_behind_the_end() -> None:
    assert apply_edits(SOURCE, [LineEdit(1, 1, b""), LineEdit(5, 4, b"one\n")]) == b"two\nthree\nfour\none\n"


def test_a_last_line_without_an_end_gets_one_only_where_something_follows() -> None:
    assert apply_edits(b"a\nb", [LineEdit(3, 2, b"c\n")]) == b"a\nb\nc\n"
    assert apply_edits(b"a\r\nb", [LineEdit(3, 2, b"c\r\n")]) == b"a\r\nb\r\nc\r\n"
    assert apply_edits(b"a\nb", [LineEdit(1, 1, b"A\n")]) == b"A\nb"


def test_carriage_returns_stay_where_they_are() -> None:
    assert apply_edits(b"a\r\nb\rc\r\nd\n", [LineEdit(2, 2, b"X\r\n")]) == b"a\r\nX\r\nd\n"
    assert line_end(b"a\r\nb\n") == b"\r\n"
    assert line_end(b"a") == b"\n"


@pytest.mark.parametrize(
    "edits",
    [
        [LineEdit(1, 2, b""), LineEdit(2, 3, b"")],
        [LineEdit(5, 5, b"x\n")],
        [LineEdit(3, 1, b"x\n")],
    ],
)
def test_edits_that_touch_one_line_twice_or_none_at_all_are_refused(edits: list[LineEdit]) -> None:
    with pytest.raises(EditsClash):
        apply_edits(SOURCE, edits)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SOURCE, b"one\n2\nthree\nfour\n"),
        (b"".join(b"%d\n" % n for n in range(40)), b"".join(b"%d\n" % n for n in range(40) if n % 13)),
        (b"a\r\nb\r\n", b"a\r\nB\r\n"),
        (b"a\nb", b"a\nb\nc\n"),
        (b"", b"node_modules\n.git\n"),
        (b"\xff\n", b"\xff\n\xfe\n"),
    ],
)
def test_patch_makes_the_second_text_of_the_first_by_the_diff(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    diff = "\n".join(unified_diff(before, after, "file")) + "\n"
    (tmp_path / "a").mkdir()
    if before:
        (tmp_path / "file").write_bytes(before)
    subprocess.run(
        ["git", "apply", "--whitespace=nowarn", "-"],
        cwd=tmp_path,
        input=diff.encode("utf-8", "surrogateescape"),
        check=True,
    )
    assert (tmp_path / "file").read_bytes() == after


def test_equal_texts_have_no_diff() -> None:
    assert unified_diff(SOURCE, SOURCE, "file") == ()
