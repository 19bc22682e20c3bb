"""What of a context no image needs: by name, by what stands beside it, and never what somebody names."""

from __future__ import annotations

import pytest

from devloop.context.snapshot import Entry, Snapshot
from devloop.cost.weight import ContextWeight, Recipe, Weight, is_worth_telling, transfer_seconds, weigh

NPM = Recipe(sources=(".",), families=frozenset({"npm"}), kinds=frozenset({"npm-install"}))
ANYTHING = Recipe(sources=(".",))


def snapshot(*files: tuple[str, int] | str) -> Snapshot:
    """Make files of these sizes; a name alone is a file of one byte."""
    pairs = [(one, 1) if isinstance(one, str) else one for one in files]
    return Snapshot.of({path: Entry("file", 0o644, "x", size) for path, size in pairs})


def needless(weight: ContextWeight) -> list[tuple[str, int, int, str]]:
    return [(one.path, one.bytes, one.files, one.line) for one in weight.needless]


def test_everything_that_is_sent_is_weighed_the_heaviest_first() -> None:
    weight = weigh(snapshot(("a/x", 5), ("a/b/y", 7), ("z", 20), "c"), ANYTHING)
    assert (weight.bytes, weight.files) == (33, 4)
    assert weight.largest == (Weight("z", 20, 1), Weight("a", 12, 2), Weight("c", 1, 1))
    assert weight.needless == ()


def test_an_empty_context_weighs_nothing() -> None:
    assert weigh(Snapshot(), ANYTHING) == ContextWeight(0, 0, (), ())


def test_the_repository_is_needless_unless_a_step_asks_git() -> None:
    found = snapshot((".git/objects/pack", 100), ".git/HEAD")
    assert needless(weigh(found, ANYTHING)) == [(".git", 101, 2, ".git")]
    asks = Recipe(sources=(".",), texts=("git describe --tags > version",))
    assert weigh(found, asks).needless == ()


def test_packages_are_needless_only_where_the_image_installs_its_own() -> None:
    found = snapshot("web/package.json", ("web/node_modules/a/index.js", 9))
    assert needless(weigh(found, NPM)) == [("web/node_modules", 9, 1, "web/node_modules")]
    assert weigh(found, ANYTHING).needless == ()
    assert weigh(snapshot(("node_modules/a", 9)), NPM).needless == ()


def test_what_an_instruction_names_is_wanted() -> None:
    found = snapshot("package.json", "node_modules/a/x")
    for source in ("node_modules", "/node_modules/", "node_modules/a", "./node_modules/a/x"):
        assert weigh(found, Recipe(sources=(".", source), families=frozenset({"npm"}))).needless == ()


def test_an_environment_is_known_by_what_is_in_it() -> None:
    assert needless(weigh(snapshot("env/pyvenv.cfg", ("env/lib/x", 8)), ANYTHING)) == [("env", 9, 2, "env")]
    assert weigh(snapshot("env/production.env"), ANYTHING).needless == ()


@pytest.mark.parametrize(
    ("beside", "name", "kind"),
    [
        ("Cargo.toml", "target", "cargo-build"),
        ("pom.xml", "target", "maven-build"),
        ("package.json", "dist", "js-build"),
        ("package.json", ".next", "js-build"),
        ("app.csproj", "obj", "dotnet-build"),
        ("build.gradle.kts", "build", "gradle-build"),
        ("pyproject.toml", "shop.egg-info", "pip-project"),
    ],
)
def test_what_a_step_builds_itself_is_needless_and_else_it_is_the_only_copy(
    beside: str, name: str, kind: str
) -> None:
    found = snapshot(beside, (f"{name}/x", 5))
    made = Recipe(sources=(".",), kinds=frozenset({kind}))
    assert needless(weigh(found, made)) == [(name, 5, 1, name)]
    assert weigh(found, ANYTHING).needless == ()
    assert weigh(snapshot((f"{name}/x", 5)), made).needless == ()


def test_one_line_stands_for_all_directories_of_a_name() -> None:
    found = snapshot("a/__pycache__/x", "a/b/__pycache__/y", "c/__pycache__/z")
    weight = weigh(found, ANYTHING)
    assert [one.line for one in weight.needless] == ["**/__pycache__"] * 3
    assert weight.lines == ("**/__pycache__",)


def test_a_directory_of_the_same_name_that_is_wanted_keeps_its_lines_apart() -> None:
    found = snapshot(
        "a/package.json", "a/node_modules/x", "b/package.json", "b/node_modules/x", "node_modules/x"
    )
    assert weigh(found, NPM).lines == ("a/node_modules", "b/node_modules")


def test_what_is_below_a_needless_directory_is_counted_once() -> None:
    found = snapshot("package.json", "node_modules/a/package.json", ("node_modules/a/node_modules/b/x", 5))
    assert needless(weigh(found, NPM)) == [("node_modules", 6, 2, "node_modules")]


def test_a_name_that_is_a_pattern_is_written_so_that_it_means_itself() -> None:
    assert weigh(snapshot("[id]/__pycache__/x"), ANYTHING).lines == (r"\[id]/__pycache__",)


def test_a_file_of_such_a_name_is_no_directory() -> None:
    assert weigh(snapshot(".git", "package.json", "node_modules"), NPM).needless == ()


def test_a_very_deep_tree_is_weighed() -> None:
    assert weigh(snapshot("/".join(["d"] * 3000) + "/.git/x"), ANYTHING).needless_files == 1


# Worth telling


def heavy(size: int, files: int = 1) -> ContextWeight:
    return ContextWeight(size, files, (), (Weight("x", size, files, "r", "x"),))


def test_fifty_megabytes_or_a_second_are_worth_telling() -> None:
    assert is_worth_telling(heavy(50_000_000), 0.1)
    assert is_worth_telling(heavy(10), 1.0)
    assert not is_worth_telling(heavy(49_999_999), 0.99)
    assert not is_worth_telling(ContextWeight(10**9, 9, (), ()), 60.0)


def test_the_way_is_as_fast_as_it_was_when_much_was_sent() -> None:
    builds = [(500, 2.0), (10_000_000, 1.0), (5_000_000, 1.0), (None, 1.0), (3_000_000, None)]
    assert transfer_seconds(heavy(20_000_000, 5_000), builds) == pytest.approx(2.0)


def test_without_a_build_that_tells_a_builder_nearby_is_assumed() -> None:
    assert transfer_seconds(heavy(150_000_000, 8_000), [(500, 2.0)]) == pytest.approx(2.0)
