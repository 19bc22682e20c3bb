"""What a commit runs again: through the graph, exactly."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from devloop.cache.baseline import vertex_digests
from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.context.snapshot import Entry, Snapshot
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.doctor.replay import (
    Commit,
    FileChange,
    Place,
    Replay,
    ReplayGraph,
    buckets,
    build_of,
    file_totals,
    fixed,
    replay,
    step_totals,
)
from devloop.doctor.tallies import commits_past, for_nothing
from devloop.project.reading import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devloop.plan.model import ChangeKind

WEEK = 7 * 24 * 3600
MONDAY = 1_700_438_400

PYTHON = """\
FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY src src
RUN python -m compileall src
"""


def graph_of(text: str) -> BuildGraph:
    parsed = parse(text.encode())
    assert isinstance(parsed, Dockerfile)
    graph = resolve(parsed)
    assert isinstance(graph, BuildGraph)
    return graph


def rules(text: str) -> IgnoreRules:
    found = parse_ignore(text.encode(), file=".dockerignore")
    assert isinstance(found, IgnoreRules)
    return found


def graph(text: str, prices: Mapping[int, float | None] | None = None, **place: object) -> ReplayGraph:
    """Make a graph in which a step costs as many seconds as its line says, unless prices are given."""
    resolved = graph_of(text)
    lines = {step.number: float(step.span.first) for step in resolved.steps}
    return ReplayGraph(resolved, lines if prices is None else prices, {"": Place(**place)})  # type: ignore[arg-type]  # by name


def commit(*paths: str, kind: ChangeKind = "modified", at: int = MONDAY, name: str = "c") -> Commit:
    return Commit(name, "p", at, "Ann", "subject", tuple(FileChange(path, kind) for path in paths))


def lines(built: ReplayGraph, numbers: Iterable[int]) -> list[int]:
    """Return the lines of vertices."""
    return sorted(built.graph.steps[built.graph.vertices[one].step].span.first for one in numbers)


def ran(built: ReplayGraph, *paths: str) -> list[int]:
    return lines(built, build_of(commit(*paths), built, built).ran)


# One commit


def test_a_path_runs_the_step_that_takes_it_and_all_below() -> None:
    assert ran(graph(PYTHON), "src/main.py") == [5, 6]
    assert ran(graph(PYTHON), "requirements.txt") == [3, 4, 5, 6]


def test_a_path_that_no_step_takes_runs_nothing() -> None:
    assert ran(graph(PYTHON), "README.md", "srcs/main.py") == []


def test_an_ignored_path_runs_nothing() -> None:
    built = graph("FROM a\nCOPY . .\n", rules=rules("docs\n!docs/keep\n"))
    assert ran(built, "docs/a.md") == []
    assert ran(built, "docs/keep") == [2]


def test_a_context_below_the_root_of_the_repository_sees_only_what_is_in_it() -> None:
    built = graph("FROM a\nCOPY . .\n", prefix="services/web")
    assert ran(built, "services/web/main.py") == [2]
    assert ran(built, "services/webs/main.py", "main.py") == []


def test_a_context_above_the_repository_sees_its_paths_below_a_folder() -> None:
    built = graph("FROM a\nCOPY web/src src\n", above="web")
    assert ran(built, "src/main.py") == [2]
    assert ran(built, "web/src/main.py") == []


def test_a_build_takes_as_long_as_its_longest_chain() -> None:
    built = graph(
        "FROM a AS one\nCOPY x .\nRUN one\nFROM a AS two\nCOPY x .\nRUN two\n"
        "FROM a\nCOPY --from=one /o .\nCOPY --from=two /t .\n"
    )
    assert build_of(commit("x"), built, built).seconds == 2 + 3 + 8 + 9
    assert ran(built, "x") == [2, 3, 5, 6, 8, 9]


def test_what_another_stage_makes_runs_a_copy_only_perhaps() -> None:
    built = graph("FROM a AS one\nCOPY x .\nRUN one\nFROM a\nCOPY --from=one /o .\nCOPY x .\n")
    found = build_of(commit("x"), built, built)
    assert lines(built, found.ran) == [2, 3, 5, 6]
    assert lines(built, found.perhaps) == [5]


CHEF = """\
FROM rust AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json
FROM rust
COPY --from=planner recipe.json recipe.json
RUN cargo chef cook --recipe-path recipe.json
COPY . .
RUN cargo build
"""


def test_a_manifest_that_another_stage_writes_keeps_what_is_below_it() -> None:
    assert ran(graph(CHEF), "src/main.rs") == [2, 3, 7, 8]


def test_a_manifest_goes_through_a_manifest_that_another_stage_writes() -> None:
    assert ran(graph(CHEF), "Cargo.toml") == [2, 3, 5, 6, 7, 8]


def test_a_submodule_runs_whatever_takes_something_in_it() -> None:
    built = graph("FROM a\nCOPY vendor/lib/src src\nCOPY own own\n")
    change = FileChange("vendor/lib", "modified", is_submodule=True)
    assert lines(built, build_of(Commit("c", "p", 0, "", "", (change,)), built, built).ran) == [2, 3]
    inside = graph("FROM a\nCOPY --exclude=*.md vendor vendor\n", links=Snapshot())
    assert lines(inside, build_of(Commit("c", "p", 0, "", "", (change,)), inside, inside).ran) == [2]


def test_a_link_leads_to_what_it_points_at() -> None:
    links = Snapshot.of({"config": Entry("link", 0o777, "shared/config", 0)})
    assert ran(graph("FROM a\nCOPY config /\n", links=links), "shared/config/a.toml") == [2]
    assert ran(graph("FROM a\nCOPY config /\n"), "shared/config/a.toml") == []


# An edit of the build's own files


def test_another_text_of_a_step_runs_it_and_all_below() -> None:
    before, after = graph(PYTHON), graph(PYTHON.replace("install -r", "install --quiet -r"))
    found = build_of(commit(), before, after)
    assert lines(after, found.ran) == [4, 5, 6]
    assert [(cause.kind, cause.path) for cause in found.causes] == [("instruction", "Dockerfile")]


def test_a_comment_in_the_dockerfile_runs_nothing() -> None:
    assert build_of(commit("Dockerfile"), graph(PYTHON), graph(f"# why\n{PYTHON}")).ran == frozenset()


def test_a_dockerfile_that_is_copied_runs_as_a_path_too() -> None:
    text = "FROM a\nCOPY . .\n"
    found = build_of(commit("Dockerfile"), graph(text), graph(f"# why\n{text}"))
    assert [(cause.kind, cause.path) for cause in found.causes] == [("path", "Dockerfile")]


def test_an_ignore_file_runs_what_takes_the_files_that_it_lets_in_or_keeps_out() -> None:
    text = "FROM a\nCOPY docs docs\nCOPY src src\n"
    before, after = graph(text, rules=rules("*.tmp\n")), graph(text, rules=rules("*.tmp\ndocs/b.md\n"))
    kept_out = build_of(commit(), before, after, lambda _: ("docs/a.md", "docs/b.md", "src/a.py"))
    assert lines(after, kept_out.ran) == [2, 3]
    assert [cause.kind for cause in kept_out.causes] == ["ignore"]
    assert build_of(commit(), before, after, lambda _: ("docs/a.md", "src/a.py")).ran == frozenset()


def test_a_file_that_goes_with_the_edit_that_ignores_it_was_there_before() -> None:
    text = "FROM a\nCOPY . .\n"
    before, after = graph(text), graph(text, rules=rules("x\n"))
    assert lines(after, build_of(commit("x", kind="removed"), before, after).ran) == [2]


# The engine's own digests say the same

SHAPES = (
    "FROM a\nCOPY a b* /\nRUN x\nCOPY c c\n",
    "FROM a AS one\nCOPY --exclude=*.md . .\nRUN x\nFROM a\nCOPY --from=one /out .\nCOPY d/*.py .\n",
    "FROM a AS one\nRUN --mount=type=bind,source=b,target=/b x\nFROM one\nCOPY c/x.py d/ /\nRUN y\n",
    "FROM a\nCOPY --parents ./*/x.py /\nADD d/y.md a/x.py /\n",
)
IGNORES = ("", "*.md\n", "c\n!c/x.py\n", "**/y.*\nd\n")
FILES = tuple(f"{folder}/{name}" for folder in "abcd" for name in ("x.py", "y.md", "z.txt", "w.py"))


@pytest.mark.parametrize("seed", range(120))
def test_what_runs_is_what_has_another_digest(seed: int) -> None:
    chance = random.Random(seed)
    built = graph(chance.choice(SHAPES), rules=rules(chance.choice(IGNORES)))
    before = {path: "0" for path in FILES if chance.random() < 0.7}
    # Each folder keeps a file, since git knows no empty ones and a folder that goes is another question.
    before |= {f"{folder}/x.py": "0" for folder in "abcd"}
    after = dict(before)
    for path in chance.sample(FILES, chance.randint(1, 3)):
        if path in after and chance.random() < 0.4 and not path.endswith("x.py"):
            del after[path]
        else:
            after[path] = "1"
    digests = [vertex_digests(built.graph, tree(files, built)) for files in (before, after)]
    expected = {number for number, (old, new) in enumerate(zip(*digests, strict=True)) if old != new}
    changed = [path for path in FILES if before.get(path) != after.get(path)]
    assert build_of(commit(*changed), built, built).ran == expected


def tree(files: Mapping[str, str], built: ReplayGraph) -> Tree:
    kept = {path: text for path, text in files.items() if not built.places[""].rules.excludes(path)}
    entries = {path: Entry("file", 0o644, text, 1) for path, text in kept.items()}
    folders = {path.partition("/")[0] for path in files}
    entries |= {
        folder: Entry("directory", 0o755, "", 0)
        for folder in folders
        if not built.places[""].rules.excludes(folder)
    }
    return Tree({"": Snapshot.of(entries)}, "paths")


# A history

HISTORY = (
    commit("src/b.py", at=MONDAY + 2 * WEEK, name="5"),
    commit("README.md", at=MONDAY + 2 * WEEK - 1, name="4"),
    commit("requirements.txt", "src/a.py", at=MONDAY + 30, name="3"),
    commit("src/a.py", at=MONDAY + 20, name="2"),
    commit("src/a.py", "src/b.py", at=MONDAY, name="1"),
)


def replayed() -> Replay:
    return replay(HISTORY, fixed(graph(PYTHON)))


def test_a_history_with_a_known_answer_gives_it() -> None:
    found = replayed()
    assert [build.commit.id for build in found.builds] == ["5", "3", "2", "1"]
    assert found.commits == 5
    assert found.seconds == 11 + 18 + 11 + 11
    assert [(step.line, step.runs, step.seconds) for step in step_totals(found)] == [
        (2, 0, 0.0),
        (3, 1, 3.0),
        (4, 1, 4.0),
        (5, 4, 20.0),
        (6, 4, 24.0),
    ]


def test_a_step_knows_the_files_behind_its_runs() -> None:
    steps = {step.line: step for step in step_totals(replayed())}
    assert steps[4].files == (("requirements.txt", 1),)
    assert steps[6].files == (("src/a.py", 3), ("src/b.py", 2), ("requirements.txt", 1))


def test_a_file_costs_what_saves_of_it_alone_take() -> None:
    found = [(file.path, file.commits, file.seconds) for file in file_totals(replayed())]
    assert found == [("src/a.py", 3, 33.0), ("src/b.py", 2, 22.0), ("requirements.txt", 1, 18.0)]


def test_weeks_are_those_in_which_somebody_committed() -> None:
    """The second of three weeks has no commit; the README's commit is in it, one second before Monday."""
    assert replayed().weeks == 3
    assert replay(HISTORY[2:], fixed(graph(PYTHON))).weeks == 1
    assert replay(HISTORY[2:], fixed(graph(PYTHON))).seconds_a_week == 40.0


def test_a_needless_run_is_one_that_no_needed_path_is_behind() -> None:
    found = commits_past(HISTORY, graph("FROM a\nCOPY . .\nRUN pip install -r requirements.txt\n"))
    assert for_nothing(found, [1], 2.0, lambda _path: False).runs == 5
    told = for_nothing(found, [1], 2.0, lambda path: path == "requirements.txt")
    assert (told.runs, told.seconds, told.runs_a_week) == (4, 8.0, 4 / 3)
    assert for_nothing(found, [1], 2.0, lambda path: path in {"src/a.py", "requirements.txt"}).runs == 2


def test_seconds_are_spread_over_time_from_the_oldest_commit_on() -> None:
    assert buckets(replayed(), 2) == (40.0, 11.0)
    assert sum(buckets(replayed(), 7)) == replayed().seconds


def test_a_step_without_a_price_is_counted_and_costs_nothing() -> None:
    found = replay(HISTORY, fixed(graph(PYTHON, {4: 5.0})))
    steps = {step.line: step for step in step_totals(found)}
    assert (steps[6].price, steps[6].runs, steps[6].seconds) == (None, 4, 0.0)
    assert (steps[5].price, steps[5].seconds) == (5.0, 20.0)


def test_each_commit_goes_through_the_graph_of_its_own_tree() -> None:
    old, new = graph("FROM a\nCOPY . .\nRUN install\n"), graph("FROM a\nCOPY list .\nRUN install\nCOPY . .\n")
    moments = {"3": (new, new), "2": (old, new), "1": (old, old)}
    found = replay(
        [commit("x", name="3"), commit(name="2"), commit("x", name="1")], lambda one: moments[one.id]
    )
    assert [lines(build.graph, build.ran) for build in found.builds] == [[4], [2, 3, 4], [2, 3]]
    install = next(step for step in step_totals(found) if step.name.text == "RUN install")
    assert (install.line, install.runs) == (3, 2)


def test_a_step_that_is_gone_is_told_after_those_that_stand() -> None:
    old, new = graph("FROM a\nCOPY x .\n"), graph("FROM a\nCOPY y .\n")
    moments = {"2": (old, new), "1": (old, old)}
    found = replay([commit(name="2"), commit("x", name="1")], lambda one: moments[one.id])
    assert [(step.name.text, step.line, step.runs) for step in step_totals(found)] == [
        ("COPY y .", 2, 1),
        ("COPY x .", None, 1),
    ]


def test_commits_without_a_graph_are_counted_apart() -> None:
    built = graph(PYTHON)
    moments = {"3": (built, built), "2": (None, built), "1": (None, None)}
    found = replay([commit("src/a.py", name=name) for name in "321"], lambda one: moments[one.id])
    assert (found.commits, found.unreadable, len(found.builds)) == (1, 2, 1)


def test_the_first_commit_of_a_history_is_a_first_build_and_says_nothing() -> None:
    first = Commit("1", None, MONDAY, "Ann", "", (FileChange("src/a.py", "added"),))
    found = replay([commit("src/a.py"), first], fixed(graph(PYTHON)))
    assert (found.commits, found.unreadable) == (1, 1)


def test_equal_steps_of_a_stage_are_told_apart() -> None:
    found = replay([commit("a")], fixed(graph("FROM a\nRUN x\nCOPY a .\nRUN x\n")))
    assert [(step.line, step.runs) for step in step_totals(found)] == [(2, 0), (3, 1), (4, 1)]


def test_nothing_replayed_is_nothing_told() -> None:
    found = replay([], fixed(graph(PYTHON)))
    assert (found.builds, found.seconds, found.seconds_a_week, buckets(found, 3)) == ((), 0, 0.0, ())
    assert file_totals(found) == ()
