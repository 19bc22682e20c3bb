"""What goes into an upload, in which order, and which batches contradict themselves."""

from __future__ import annotations

import io
import tarfile

import pytest

from devloop.engine.archive import (
    END,
    Removal,
    SyncBatch,
    Write,
    common_directory,
    contradiction,
    header,
    in_order,
    owner_ids,
    padding,
    parents,
    removals,
)

USERS = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:2000::/:/bin/sh\napp:x:7:7::/:\nodd:x:one:1::/:\n"
GROUP = "root:x:0:\napp:x:3000:\nother:x:2000:someone\n"


def file(path: str) -> Write:
    return Write(path, "file", source="/s", digest="d")


def directory(path: str) -> Write:
    return Write(path, "directory", 0o755)


def link(path: str) -> Write:
    return Write(path, "link", link="x")


def batch(*writes: Write, gone: tuple[str, ...] = ()) -> SyncBatch:
    return SyncBatch(writes, tuple(Removal(path) for path in gone))


def test_a_directory_stands_before_what_is_in_it_whatever_its_name() -> None:
    writes = [file("/a/b/c"), file("/a/b-c"), directory("/a/b"), directory("/a"), file("/a.txt")]
    assert [write.path for write in in_order(writes)] == ["/a", "/a/b", "/a/b/c", "/a/b-c", "/a.txt"]


def test_the_parents_of_a_path_begin_below_the_root() -> None:
    assert parents("/a/b/c") == ("/a", "/a/b")
    assert parents("/a") == ()


@pytest.mark.parametrize("path", ["a", "/", "/a/", "/a//b", "/a/../b", "/./a", ""])
def test_only_plain_absolute_paths_may_be_written_or_removed(path: str) -> None:
    assert contradiction(batch(file(path))) is not None
    assert contradiction(batch(gone=(path,))) is not None


def test_a_path_cannot_be_written_twice() -> None:
    assert contradiction(batch(file("/a"), link("/a"))) == "a path is written twice"


def test_nothing_is_written_below_what_is_removed_or_no_directory() -> None:
    assert (
        contradiction(batch(file("/a/b/c"), gone=("/a",))) == "/a/b/c is written below /a, which is removed"
    )
    assert contradiction(batch(file("/a/b"), link("/a"))) == "/a/b is written below /a, which is no directory"


def test_a_removed_directory_that_is_written_as_one_is_no_contradiction() -> None:
    assert contradiction(batch(directory("/a"), file("/a/b"), gone=("/a",))) is None


def test_what_is_written_is_not_removed_and_what_went_with_its_directory_neither() -> None:
    change = batch(file("/d"), directory("/e"), gone=("/d", "/d/x", "/e", "/e/x", "/f", "/f/g/h", "/fg"))
    assert removals(change) == ("/e/x", "/f", "/fg")


@pytest.mark.parametrize(
    ("owner", "ids"),
    [
        (None, (0, 0)),
        ("0", (0, 0)),
        ("77", (77, 77)),
        ("1000", (1000, 1000)),
        ("77:88", (77, 88)),
        ("app", (1000, 2000)),
        ("app:", (1000, 2000)),
        ("app:app", (1000, 3000)),
        ("app:other", (1000, 2000)),
        ("app:5", (1000, 5)),
        ("5:app", (5, 3000)),
        (":app", (0, 3000)),
        ("root", (0, 0)),
        ("nobody", None),
        ("app:nobody", None),
        ("odd", None),
        ("broken", None),
    ],
)
def test_owners_are_found_as_buildkit_finds_them(owner: str | None, ids: tuple[int, int] | None) -> None:
    assert owner_ids(owner, USERS, GROUP) == ids


def test_without_a_passwd_file_there_is_root_and_there_are_numbers() -> None:
    assert owner_ids("root:root", "", "") == (0, 0)
    assert owner_ids("root:5", "", "") == (0, 5)
    assert owner_ids("5:6", "", "") == (5, 6)
    assert owner_ids("app", "", "") is None


def read(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as opened:
        return opened.getmembers()


def test_an_archive_holds_mode_owner_time_and_text_as_given() -> None:
    written = [
        (Write("/d", "directory", 0o1750), 0),
        (Write("/d/f", "file", 0o4755), 3),
        (Write("/d/l", "link", link="../f f"), 0),
    ]
    archive = b"".join(
        header(write, (5, 3_000_000), size, 1_700_000_000) + b"abc"[:size] + padding(size)
        for write, size in written
    )
    found = [(one.name, one.type, one.mode, one.size, one.linkname) for one in read(archive + END)]
    assert found == [
        ("d", tarfile.DIRTYPE, 0o1750, 0, ""),
        ("d/f", tarfile.REGTYPE, 0o4755, 3, ""),
        ("d/l", tarfile.SYMTYPE, 0o777, 0, "../f f"),
    ]
    assert {(one.uid, one.gid, one.mtime) for one in read(archive + END)} == {(5, 3_000_000, 1_700_000_000)}


@pytest.mark.parametrize("name", ["n" * 101, "d/" * 150 + "f", "ümläut", "\udce4\udcff", "a b\n'\"\\"])
def test_a_name_comes_through_whatever_its_length_and_bytes(name: str) -> None:
    (found,) = read(header(Write(f"/{name}", "file"), (0, 0), 0, 0) + END)
    assert found.name == name


def test_a_long_link_comes_through() -> None:
    (found,) = read(header(Write("/l", "link", link="x/" * 200 + "y"), (0, 0), 0, 0) + END)
    assert found.linkname == "x/" * 200 + "y"


def test_padding_fills_the_last_block() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


@pytest.mark.parametrize(
    "write",
    [
        Write("/app/f", "file", 0o4755),
        Write("/app/\udce4 ü", "file"),
        Write(f"/app/{'n' * 96}", "file"),
        Write("/app/d", "directory", 0o1750),
        Write("/app/l", "link", link="../\udcff"),
        Write("/app/l", "link", link="x" * 100),
    ],
)
@pytest.mark.parametrize("owner", [(0, 0), (2_097_151, 1000), (2_097_152, 1000)])
@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11])
def test_a_header_is_byte_for_byte_that_of_tarfile(write: Write, owner: tuple[int, int], size: int) -> None:
    info = tarfile.TarInfo(write.path[1:])
    info.uid, info.gid = owner
    info.mtime = 1_700_000_000
    info.mode = write.mode
    if write.kind == "file":
        info.size = size
    elif write.kind == "directory":
        info.type = tarfile.DIRTYPE
    else:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, write.link, 0o777
    expected = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    assert header(write, owner, size, 1_700_000_000) == expected


def test_names_are_relative_to_the_directory_in_which_the_archive_is_unpacked() -> None:
    (found,) = read(header(Write("/srv/app/d/f", "file"), (0, 0), 0, 0, "/srv/app") + END)
    assert found.name == "d/f"


@pytest.mark.parametrize(
    ("paths", "base"),
    [
        (["/f"], "/"),
        (["/app/f"], "/app"),
        (["/app/src/a", "/app/src/b"], "/app/src"),
        (["/app/src/a", "/app/srv/b"], "/app"),
        (["/app/a/x", "/app/a", "/app/b"], "/app"),
        (["/app/f", "/etc/f"], "/"),
        (["/ab/f", "/a/f", "/ab/g"], "/"),
    ],
)
def test_an_archive_is_unpacked_in_the_deepest_directory_above_all_writes(
    paths: list[str], base: str
) -> None:
    writes = [Write(path, "file") for path in paths]
    assert common_directory(writes) == common_directory(writes[::-1]) == base
