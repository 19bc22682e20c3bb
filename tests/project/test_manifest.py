"""What was in the last build, written down and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devloop.context.snapshot import Entry, Snapshot
from devloop.plan.model import PathChange
from devloop.project.manifest import compare, load_manifest, manifest_lines, save_manifest

if TYPE_CHECKING:
    from pathlib import Path


def file(digest: str = "one", mode: int = 0o644) -> Entry:
    return Entry("file", mode, digest, 1)


def tree(**entries: Entry) -> dict[str, Snapshot]:
    return {"": Snapshot.of({path.replace("__", "/"): entry for path, entry in entries.items()})}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (tree(a=file()), tree(a=file()), []),
        (tree(), tree(a=file()), [("a", "added")]),
        (tree(a=file()), tree(), [("a", "removed")]),
        (tree(a=file()), tree(a=file("two")), [("a", "modified")]),
        (tree(a=file()), tree(a=file(mode=0o755)), [("a", "metadata")]),
        (tree(a=file()), tree(a=file("two", 0o755)), [("a", "modified")]),
        (tree(a=file()), tree(a=Entry("link", 0o777, "one", 0)), [("a", "modified")]),
        (
            tree(d=Entry("directory", 0o755, "", 0), d__x=file()),
            tree(d=Entry("directory", 0o700, "", 0), d__x=file()),
            [("d", "metadata")],
        ),
    ],
)
def test_two_trees_are_compared_by_kind_mode_and_content(
    before: dict[str, Snapshot], after: dict[str, Snapshot], expected: list[tuple[str, str]]
) -> None:
    found = compare(manifest_lines(before), manifest_lines(after))
    assert [(change.path, change.kind) for change in found.get("", ())] == expected


def test_changes_are_kept_apart_by_context_and_sorted() -> None:
    one, two = Snapshot.of({"z": file(), "a": file()}), Snapshot.of({"z": file("two"), "a": file("two")})
    found = compare(manifest_lines({"": one, "docs": one}), manifest_lines({"": two, "docs": two}))
    changes = (PathChange("a", "modified"), PathChange("z", "modified"))
    assert found == {"": changes, "docs": changes}


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("\n\t \udcff"),
    min_size=1,
).filter(lambda name: name not in {".", ".."})
TREES = st.dictionaries(NAMES, st.builds(file, st.sampled_from(["one", "two"])), max_size=5)


@given(entries=TREES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_name_survives_the_disk(tmp_path: Path, entries: dict[str, Entry]) -> None:
    snapshots = {"": Snapshot.of(entries), "docs": Snapshot.of(entries)}
    assert save_manifest(tmp_path / "built", snapshots)
    loaded = load_manifest(tmp_path / "built")
    assert loaded == tuple(manifest_lines(snapshots))
    assert compare(loaded, manifest_lines(snapshots)) == {}
    empty = {"": Snapshot.of({}), "docs": Snapshot.of({})}
    gone = compare(loaded, manifest_lines(empty))
    assert [change.path for change in gone.get("docs", ())] == sorted(entries)


def test_a_manifest_is_only_for_its_owner(tmp_path: Path) -> None:
    assert save_manifest(tmp_path / "deep" / "built", tree(a=file()))
    assert (tmp_path / "deep" / "built").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["built"]


@pytest.mark.parametrize("content", [b"", b"something else\n", b"devloop manifest 0\nx", b"\xff\xfe"])
def test_a_file_that_is_no_manifest_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "built").write_bytes(content)
    assert load_manifest(tmp_path / "built") is None


def test_a_truncated_manifest_is_none(tmp_path: Path) -> None:
    save_manifest(tmp_path / "built", tree(a=file(), b=file()))
    whole = (tmp_path / "built").read_bytes()
    (tmp_path / "built").write_bytes(whole[: whole.rindex(b"\0") - 1])
    assert load_manifest(tmp_path / "built") is None


def test_a_missing_manifest_is_none_and_a_full_disk_is_no_error(tmp_path: Path) -> None:
    assert load_manifest(tmp_path / "built") is None
    (tmp_path / "file").write_text("")
    assert not save_manifest(tmp_path / "file" / "built", tree(a=file()))
