"""Two images are the same, or it is told where not; what varies by itself is told apart with its reason."""

from __future__ import annotations

import pytest

from devloop.doctor.sameness import (
    BYTECODE,
    CACHES,
    OLDER,
    STAMPS,
    Expected,
    FileEntry,
    Files,
    compare_configurations,
    compare_files,
    compare_starts,
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
    found = compare_files(before, after, again=(again, after))
    assert [one.path for one in found.differences] == ["real"]
    assert found.unsteady == ("stamp",)
    # Whose file it is, is not left to chance: only an owner that was seen before is one.
    owners = [FILE._replace(owner=f"{number}:0") for number in range(3)]
    assert compare_files({"x": owners[0]}, {"x": owners[1]}, again=({"x": owners[2]}, {})).differences
    assert not compare_files({"x": owners[0]}, {"x": owners[1]}, again=({"x": owners[1]}, {})).differences


def test_a_first_build_that_was_only_older_is_told_apart_from_one_that_nobody_can_repeat() -> None:
    path = "usr/bin/curl"
    now = {path: OTHER}
    found = compare_files({path: FILE}, now, again=(now, now))
    assert (found.differences, found.unsteady, found.told_apart) == ((), (), {OLDER: 1})


def test_names_by_chance_are_told_from_the_second_build_of_each_text() -> None:
    builds = [{f"tmp/{name}": FILE} for name in "abcd"]
    found = compare_files(builds[0], builds[1], again=(builds[2], builds[3]))
    assert (found.differences, found.unsteady, found.told_apart) == ((), ("tmp/b",), {OLDER: 1})
    assert len(compare_files(builds[0], builds[1], again=(builds[0], builds[1])).differences) == 2


def test_compiled_python_without_its_source_is_a_program() -> None:
    source, compiled = "app/main.py", "app/main.pyc"
    assert told({source: FILE, compiled: FILE}, {source: FILE}) == []
    assert told({source: FILE, compiled: FILE}, {source: FILE, compiled: OTHER}) == []
    assert told({compiled: FILE}, {}) == [f"/{compiled} is only in the image before"]
    assert told({compiled: FILE}, {compiled: OTHER}) == [f"/{compiled} has other bytes"]
    assert told({source: FILE, compiled: FILE}, {compiled: FILE})
    # What lies in __pycache__ is never imported without its source.
    assert told({"app/__pycache__/main.cpython-311.pyc": FILE}, {}) == []
    # It holds the time of its source, so that only a build with the same time can be compared.
    before, after = {compiled: FILE}, {compiled: OTHER}
    assert compare_files(before, after, again=(before, after)).differences
    once_more = {compiled: FILE._replace(digest="3")}
    assert compare_files(before, after, again=(once_more, after)).unsteady == (compiled,)


@pytest.mark.parametrize(
    "path",
    [
        "root/.m2/settings.xml",
        "home/app/.gradle/gradle.properties",
        "root/.gradle/init.d/mirror.gradle",
        "root/.nuget/NuGet/NuGet.Config",
        "root/.sbt/repositories",
        "root/.cache/pypoetry/virtualenvs/shop-py3.12/bin/python",
    ],
)
def test_settings_among_downloads_count(path: str) -> None:
    expected = Expected(frozenset({"cache mount", "install cache"}))
    assert told({path: FILE}, {path: OTHER}, expected) == [f"/{path} has other bytes"]
    assert told({path: FILE}, {}, expected) == [f"/{path} is only in the image before"]


@pytest.mark.parametrize(
    ("start", "path"),
    [
        ("go run .", "go/pkg/mod/cache/x"),
        ("/bin/sh -c mvn spring-boot:run", "root/.m2/repository/x"),
        ("./gradlew bootRun", "home/gradle/.gradle/caches/x"),
        ("dotnet watch run", "root/.nuget/packages/x"),
        ("cargo watch -x run", "usr/local/cargo/registry/x"),
        ("npx serve", "root/.npm/_npx/x"),
        ("uvx ruff", "root/.cache/uv/x"),
        ("pnpm start", "root/.cache/node/corepack/v1/pnpm/x"),
        ("pre-commit run", "root/.cache/pre-commit/repo/x"),
    ],
)
def test_a_cache_from_which_the_container_works_may_not_go(start: str, path: str) -> None:
    expected = Expected(frozenset({"cache mount"}))
    assert told({path: FILE}, {}, expected) == []
    assert told({path: FILE}, {}, Expected(frozenset({"cache mount"}), start="/srv/server --go run")) == []
    assert told({path: FILE}, {}, Expected(frozenset({"cache mount"}), start=start)) == [
        f"/{path} is only in the image before"
    ]


def test_archives_of_yarn_are_used_where_a_loader_reads_them() -> None:
    archive = {"root/.yarn/berry/cache/ms.zip": FILE}
    expected = Expected(frozenset({"cache mount"}))
    modules, loader = {"app/node_modules/ms": FOLDER}, {"app/.pnp.cjs": FILE}
    assert told({**archive, **modules}, modules, expected) == []
    assert told({**archive, **loader}, loader, expected) == [
        "/root/.yarn/berry/cache/ms.zip is only in the image before"
    ]


@pytest.mark.parametrize("target", ["/root/.cache/uv/archive/ruff", "../../../root/.cache/uv/archive/ruff"])
def test_a_link_into_a_cache_that_goes_is_told(target: str) -> None:
    link = FileEntry("link", 0o777, "0:0", target)
    kept = {"usr/local/bin/ruff": link}
    expected = Expected(frozenset({"cache mount"}))
    assert told({**kept, "root/.cache/uv/archive/ruff": FILE}, kept, expected) == [
        f"/usr/local/bin/ruff: link {target} became a name without a file"
    ]
    # A link that led nowhere before is as it was.
    assert told(kept, kept, expected) == []


def test_an_empty_directory_a_name_of_a_left_out_folder_and_a_special_bit_count() -> None:
    assert told({"var/run/app": FOLDER}, {}) == ["/var/run/app is only in the image before"]
    expected = Expected(frozenset({"fewer files"}), {"docs": ""})
    assert told({"srv/docs": FILE}, {}, expected) == ["/srv/docs is only in the image before"]
    assert told({"x": FILE._replace(mode=0o4755)}, {"x": FILE._replace(mode=0o755)}) == [
        "/x: mode 4755 became 0755"
    ]


@pytest.mark.parametrize(
    ("path", "presence"),
    [
        ("root/.npm/_logs/2026-01-01.log", "varies"),
        ("root/.npm/_cacache/index", "intended"),
        ("var/log/app", "counts"),
        ("var/log/dpkg.log", "varies"),
        ("etc/passwd-", "varies"),
        ("home/app/go/pkg/mod/x", "intended"),
        ("root/.local/state/pnpm/pnpm-state.json", "varies"),
        ("root/.cache/pnpm/metadata/registry/ms.json", "intended"),
        ("app/node_modules/.pnpm-workspace-state-v1.json", "varies"),
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
    before, after = {"Cmd": ["/bin/sh", "-c", "a"], "User": "u"}, {"Cmd": ["a"], "User": "v"}
    found = compare_configurations(before, after, frozenset({"command", "stage", "order"}))
    assert [(one.key, one.is_intended) for one in found] == [("Cmd", True), ("User", False)]


SHELL = ["/bin/sh", "-c"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"Cmd": [*SHELL, "python app.py"]}, {"Cmd": ["python", "app.py"]}, "same"),
        ({"Cmd": [*SHELL, "python  'a b.py'"]}, {"Cmd": ["python", "a b.py"]}, "same"),
        ({"Cmd": [*SHELL, "run -p $PORT"]}, {"Cmd": [*SHELL, "exec run -p $PORT"]}, "same"),
        ({"Entrypoint": ["run"], "Cmd": ["-x"]}, {"Cmd": ["run", "-x"]}, "same"),
        ({"Cmd": ["npm", "start"]}, {"Cmd": ["node", "server.js"]}, "not known"),
        ({"Cmd": [*SHELL, "npm start"]}, {"Cmd": ["node", "server.js"]}, "not known"),
        ({"Cmd": [*SHELL, "['node', 'server.js']"]}, {"Cmd": ["node", "server.js"]}, "not known"),
        ({"Cmd": [*SHELL, "python app.py"]}, {"Cmd": ["python", "other.py"]}, "other"),
        ({"Cmd": [*SHELL, "run -p $PORT"]}, {"Cmd": ["run", "-p", "$PORT"]}, "other"),
        ({"Cmd": [*SHELL, "a && b"]}, {"Cmd": ["a", "&&", "b"]}, "other"),
        ({"Cmd": [*SHELL, "X=1 run"]}, {"Cmd": ["X=1", "run"]}, "other"),
        ({"Cmd": ["npm", "start"]}, {}, "other"),
        # A shell takes no notice of CMD, the program itself would get it as arguments.
        ({"Entrypoint": [*SHELL, "run"], "Cmd": ["-x"]}, {"Entrypoint": ["run"], "Cmd": ["-x"]}, "other"),
    ],
)
def test_a_start_is_the_same_with_and_without_a_shell_that_adds_nothing(
    before: dict[str, list[str]], after: dict[str, list[str]], said: str
) -> None:
    assert compare_starts(before, after) == said
    found = compare_configurations(before, after, frozenset({"command"}))
    assert all(one.is_intended for one in found) == (said != "other")


def test_another_base_is_no_reason_for_a_variable_of_the_dockerfile_to_go() -> None:
    before = {"Env": ["GOPATH=/go", "PORT=80"], "Labels": {"vendor": "demo"}}
    own = frozenset({"PORT", "vendor"})
    found = compare_configurations(before, {}, frozenset({"stage"}), own)
    assert {one.key: one.is_intended for one in found} == {
        "Env GOPATH": True,
        "Env PORT": False,
        "Labels vendor": False,
    }


def test_variables_of_caches_may_go_with_a_cache_mount() -> None:
    before = {"Env": ["PIP_NO_CACHE_DIR=1", "A=1"]}
    found = compare_configurations(before, {}, frozenset({"cache mount"}))
    assert [(one.key, one.is_intended) for one in found] == [
        ("Env A", False),
        ("Env PIP_NO_CACHE_DIR", True),
    ]


def test_a_program_that_runs_what_follows_it_is_no_part_of_the_start() -> None:
    before = {"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["npm", "start"]}
    after = {**before, "Cmd": ["node", "server.js"]}
    assert compare_starts(before, after) == "not known"
    shell = {**before, "Cmd": ["/bin/sh", "-c", "node server.js"]}
    assert compare_starts(shell, after) == "same"


def test_a_stage_may_have_another_program_that_runs_what_follows_it() -> None:
    before = {"Entrypoint": ["/usr/local/bin/mvn-entrypoint.sh"], "Cmd": ["java", "-jar", "a.jar"]}
    after = {**before, "Entrypoint": ["/__cacert_entrypoint.sh"]}
    (found,) = compare_configurations(before, after, frozenset({"stage"}))
    assert found.is_intended
    (found,) = compare_configurations(before, after, frozenset({"order"}))
    assert not found.is_intended
    (found,) = compare_configurations(before, {**before, "Entrypoint": ["/own.sh"]}, frozenset({"stage"}))
    assert not found.is_intended


def test_a_start_may_reload_where_that_is_meant_and_nothing_else_may_change() -> None:
    before = {"Cmd": ["uvicorn", "app:app"]}
    for words, is_intended in (
        (["uvicorn", "app:app", "--reload"], True),
        (["node_modules/.bin/nodemon", "server.js"], True),
        (["uvicorn", "app:other"], False),
    ):
        (found,) = compare_configurations(before, {"Cmd": words}, frozenset({"reload"}))
        assert found.is_intended is is_intended, words
    (found,) = compare_configurations(
        before, {"Cmd": ["uvicorn", "app:app", "--reload"]}, frozenset({"command"})
    )
    assert not found.is_intended


@pytest.mark.parametrize(
    ("path", "may_come"),
    [("root/.cache/go-build/ab/ab12-a", True), ("app/node_modules/.package-lock.json", False)],
)
def test_what_a_build_keeps_of_itself_has_other_bytes(path: str, may_come: bool) -> None:
    assert told({path: FILE}, {path: OTHER}) == []
    assert (told({}, {path: FILE}) == []) is may_come
