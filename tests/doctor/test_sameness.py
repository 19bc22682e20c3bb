"""Two images are the same, or it is told where not; what varies by itself is told apart with its reason."""

from __future__ import annotations

import pytest

from devloop.doctor.sameness import (
    BYTECODE,
    CACHES,
    STAMPS,
    Expected,
    FileEntry,
    Files,
    compare_configurations,
    compare_files,
    varying,
)

FILE = FileEntry("file", 0o644, "0:0", digest="1")
OTHER = FILE._replace(digest="2")
FOLDER = FileEntry("directory", 0o755, "0:0")


def told(before: Files, after: Files, expected: Expected | None = None) -> list[str]:
    return [str(one) for one in compare_files(before, after, expected).differences]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (FILE._replace(digest="2"), "/x has other bytes"),
        (FILE._replace(mode=0o755), "/x: mode 0644 became 0755"),
        (FILE._replace(owner="7:8"), "/x: owner 0:0 became 7:8"),
        (FILE._replace(attributes=(("security.capability", "a"),)), "/x: attributes none became"),
        (FOLDER, "/x: kind file became directory"),
    ],
)
def test_every_aspect_counts(after: FileEntry, said: str) -> None:
    (found,) = told({"x": FILE}, {"x": after})
    assert found.startswith(said)


def test_the_target_of_a_link_counts_and_its_mode_does_not() -> None:
    link = FileEntry("link", 0o777, "0:0", "a")
    assert told({"x": link}, {"x": link._replace(mode=0o755)}) == []
    assert told({"x": link}, {"x": link._replace(link="b")}) == ["/x: link a became b"]


def test_a_path_may_not_come_or_go() -> None:
    assert told({"a": FILE}, {"b": FILE}) == [
        "/a is only in the image before",
        "/b is only in the image after",
    ]


def test_what_varies_by_itself_is_counted_by_reason() -> None:
    before = {
        "app/__pycache__": FOLDER,
        "app/__pycache__/a.pyc": FILE,
        "usr/lib/x.dist-info/RECORD": FILE,
        "root/.cache/pip/http/1": FILE,
        "var/lib/apt/lists/main": FILE,
    }
    after = {**before, "usr/lib/x.dist-info/RECORD": OTHER, "root/.cache/pip/http/1": OTHER}
    del after["app/__pycache__"], after["app/__pycache__/a.pyc"]
    found = compare_files(before, after)
    assert found.differences == ()
    assert found.told_apart == {BYTECODE: 2, CACHES: 1, STAMPS: 1}


def test_nothing_excuses_another_owner_or_mode() -> None:
    path = "root/.cache/pip/http/1"
    after = {path: OTHER._replace(owner="7:8", mode=0o600)}
    expected = Expected(frozenset({"owner", "cache mount", "install cache", "fewer files"}))
    assert [one.aspect for one in compare_files({path: FILE}, after, expected).differences] == [
        "mode",
        "owner",
    ]


def test_a_cache_may_only_go_where_caches_are_meant() -> None:
    before = {"root/.npm": FOLDER, "root/.npm/_cacache/1": FILE}
    assert len(told(before, {})) == 2
    assert told(before, {}, Expected(frozenset({"cache mount"}))) == []
    # Browsers and models lie in ~/.cache as well, and are used.
    assert told({"root/.cache/ms-playwright/x": FILE}, {}, Expected(frozenset({"cache mount"})))


def test_a_cache_mount_leaves_an_empty_directory_and_takes_nothing() -> None:
    expected = Expected(frozenset({"cache mount"}), mounted=("app/node_modules",))
    assert told({}, {"app": FOLDER, "app/node_modules": FOLDER}, expected) == []
    assert told({"app/node_modules/a": FILE}, {}, expected) == [
        "/app/node_modules/a is only in the image before"
    ]


def test_a_file_that_is_left_out_goes_wherever_it_was_copied_if_it_is_that_file() -> None:
    expected = Expected(frozenset({"fewer files"}), {"docs": "", "docs/a.md": "1"})
    before = {"srv/docs": FOLDER, "srv/docs/a.md": FILE, "usr/docs/a.md": OTHER}
    assert told(before, {}, expected) == ["/usr/docs/a.md is only in the image before"]
    assert told({"srv/docs/a.md": FILE}, {"srv/docs/a.md": OTHER}, expected)


def test_a_smaller_image_loses_files_and_gains_only_known_bytes_and_its_base() -> None:
    base = {"etc/os": OTHER, "bin/sh": FILE._replace(digest="sh")}
    expected = Expected(frozenset({"stage"}), base=base)
    before = {"etc/os": FILE, "src/main.c": FILE._replace(digest="c"), "src/hello": FILE._replace(digest="h")}
    after = {**base, "usr/bin/hello": FILE._replace(digest="h")}
    assert told(before, after, expected) == []
    wrong = {**after, "usr/bin/hello": FILE._replace(digest="?")}
    assert told(before, wrong, expected) == ["/usr/bin/hello is only in the image after"]
    kept = {**after, "src/hello": FILE._replace(digest="?")}
    assert told(before, kept, expected) == ["/src/hello has other bytes"]


def test_what_a_second_build_changes_too_says_nothing() -> None:
    before, after = {"stamp": FILE, "real": FILE}, {"stamp": OTHER, "real": OTHER}
    again = {"stamp": FILE._replace(digest="3"), "real": FILE}
    found = compare_files(before, after, again=again)
    assert [one.path for one in found.differences] == ["real"]
    assert found.unsteady == ("stamp",)
    # Whose file it is, is not left to chance: only an owner that was seen before is one.
    owners = [FILE._replace(owner=f"{number}:0") for number in range(3)]
    assert compare_files({"x": owners[0]}, {"x": owners[1]}, again={"x": owners[2]}).differences
    assert not compare_files({"x": owners[0]}, {"x": owners[1]}, again={"x": owners[1]}).differences


@pytest.mark.parametrize(
    ("path", "presence"),
    [
        ("root/.npm/_logs/2026-01-01.log", "varies"),
        ("root/.npm/_cacache/index", "intended"),
        ("var/log/app", "counts"),
        ("var/log/dpkg.log", "varies"),
        ("etc/passwd-", "varies"),
        ("home/app/go/pkg/mod/x", "intended"),
    ],
)
def test_the_last_row_that_fits_decides(path: str, presence: str) -> None:
    row = varying(path)
    assert row is not None
    assert row.presence == presence


@pytest.mark.parametrize("path", ["app/main.py", "etc/passwd", "app/npm/x", "usr/bin/ls", "app/package.json"])
def test_most_paths_are_the_same_in_every_build(path: str) -> None:
    assert varying(path) is None


# Configurations -------------------------------------------------------------------------------------------


def test_configurations_are_compared_by_variable_and_label() -> None:
    before = {"Env": ["A=1", "B=2"], "Labels": {"x": "1"}, "Cmd": ["a"], "User": "", "Volumes": None}
    assert (
        compare_configurations(before, {**before, "Env": ["B=2", "A=1"], "User": None, "Volumes": {}}) == ()
    )
    after = {**before, "Env": ["A=3", "B=2"], "Labels": {}, "Cmd": ["b"], "User": "app"}
    assert [str(one) for one in compare_configurations(before, after)] == [
        "Env A: 1 became 3",
        "Cmd: ['a'] became ['b']",
        "User: none became app",
        "Labels x: 1 became none",
    ]


def test_a_command_may_differ_where_that_is_meant_and_a_user_never() -> None:
    before, after = {"Cmd": ["a"], "User": "u"}, {"Cmd": ["b"], "User": "v"}
    found = compare_configurations(before, after, frozenset({"command", "stage", "order"}))
    assert [(one.key, one.is_intended) for one in found] == [("Cmd", True), ("User", False)]


def test_variables_of_caches_may_go_with_a_cache_mount() -> None:
    before = {"Env": ["PIP_NO_CACHE_DIR=1", "A=1"]}
    found = compare_configurations(before, {}, frozenset({"cache mount"}))
    assert [(one.key, one.is_intended) for one in found] == [
        ("Env A", False),
        ("Env PIP_NO_CACHE_DIR", True),
    ]
