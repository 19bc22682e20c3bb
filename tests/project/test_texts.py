"""Texts of manifests are remembered as a snapshot has them, and for their owner alone."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

import pytest

from devloop.context.patterns import NO_RULES
from devloop.context.scan import scan
from devloop.cost.manifests import MAXIMUM_BYTES
from devloop.project.texts import KnownTexts, load_texts, read_text, save_texts

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.project.texts import Texts

PLACE = ("", "package.json")


def collect(root: Path, known: KnownTexts, last: Texts | None = None) -> Texts:
    return known.collect({"": root}, {"": scan(root, NO_RULES)}, last or {})


def test_only_manifests_are_collected(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/package.json").write_text("{}")
    (tmp_path / "main.js").write_text("1")
    assert collect(tmp_path, KnownTexts()) == {("", "web/package.json"): b"{}"}


def test_a_text_that_is_no_longer_there_is_taken_from_what_was_noted(tmp_path: Path) -> None:
    file, known = tmp_path / "package.json", KnownTexts()
    file.write_bytes(b'{"a": 1}')
    snapshot = scan(tmp_path, NO_RULES)
    file.write_bytes(b'{"b": 2}')
    assert known.collect({"": tmp_path}, {"": snapshot}, {}) == {}
    assert known.collect({"": tmp_path}, {"": snapshot}, {PLACE: b'{"a": 1}'}) == {PLACE: b'{"a": 1}'}
    known.note(b'{"a": 1}')
    assert known.collect({"": tmp_path}, {"": snapshot}, {}) == {PLACE: b'{"a": 1}'}


def test_links_and_large_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "package.json").symlink_to("other.json")
    (tmp_path / "go.mod").write_bytes(b"x" * (MAXIMUM_BYTES + 1))
    assert collect(tmp_path, KnownTexts()) == {}


def test_not_everything_is_known_for_ever() -> None:
    known = KnownTexts()
    for number in range(200):
        known.note(str(number).encode())
    assert len(known._known) == 64
    assert hashlib.sha256(b"199").hexdigest()[:32] in known._known


@pytest.mark.parametrize("name", ["package.json", "a\udcff.txt", "ä.txt"])
def test_what_was_saved_is_loaded(tmp_path: Path, name: str) -> None:
    texts = {("", name): bytes(range(256)), ("other", name): b""}
    assert save_texts(tmp_path / "deep/a.manifests", texts)
    assert load_texts(tmp_path / "deep/a.manifests") == texts
    assert (tmp_path / "deep/a.manifests").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"something else",
        b"devloop manifests 1\nnonsense",
        b"devloop manifests 1\n" + zlib.compress(b"{"),
        b"devloop manifests 1\n" + zlib.compress(b"[[1, 2]]"),
        b"devloop manifests 1\n" + zlib.compress(b'[["", "a", 1]]'),
        b"devloop manifests 1\n" + zlib.compress('[["", "a", "\u20ac"]]'.encode()),
        b"devloop manifests 1\n" + zlib.compress(b'["", 5]'),
        b"devloop manifests 1\n" + zlib.compress(b"5"),
        b"devloop manifests 1\n" + zlib.compress(b"[" * 100_000),
        b"devloop manifests 1\n" + zlib.compress(b'[[["x"], "a", "b"]]'),
    ],
)
def test_a_file_that_cannot_be_used_is_as_good_as_none(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "a.manifests"
    file.write_bytes(raw)
    assert load_texts(file) == {}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not save_texts(tmp_path / "file/a.manifests", {})
    assert load_texts(tmp_path / "file/a.manifests") == {}


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    assert read_text(tmp_path) is None
    assert read_text(tmp_path / "missing") is None
