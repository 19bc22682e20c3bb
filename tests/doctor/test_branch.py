"""A branch against its base: steps that are new, edits that got dearer, bytes that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.doctor.branch import Branch, Edit, compare
from devloop.doctor.replay import Commit, FileChange, Place, ReplayGraph

if TYPE_CHECKING:
    from collections.abc import Mapping

GOOD = "FROM a\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n"
BAD = "FROM a\nCOPY . .\nRUN pip install -r requirements.txt\n"
PRICES = {"FROM": 0.0, "COPY": 1.0, "RUN": 20.0}
COMMITS = tuple(
    Commit(name, "p", 0, "Ann", "", tuple(FileChange(path, "modified") for path in paths))
    for name, paths in (("3", ("main.py",)), ("2", ("main.py", "requirements.txt")), ("1", ("gone.py",)))
)
SIZES = {"main.py": 100, "requirements.txt": 10}


def graph(text: str, ignore: str = "", prices: Mapping[str, float | None] = PRICES) -> ReplayGraph:
    parsed = parse(text.encode())
    assert isinstance(parsed, Dockerfile)
    resolved = resolve(parsed)
    assert isinstance(resolved, BuildGraph)
    rules = parse_ignore(ignore.encode(), file=".dockerignore")
    assert isinstance(rules, IgnoreRules)
    by_step = {
        step.number: prices.get(step.instruction.text, prices[step.keyword]) for step in resolved.steps
    }
    return ReplayGraph(resolved, by_step, {"": Place(rules=rules)})


def compared(before: ReplayGraph | None, after: ReplayGraph, **sizes: int) -> Branch:
    return compare(before, after, COMMITS, SIZES, {**SIZES, **sizes})


def edits(found: tuple[Edit, ...]) -> list[tuple[str, int, float, float]]:
    return [(edit.path, edit.commits, edit.before, edit.after) for edit in found]


def test_a_branch_that_leaves_the_build_alone_changes_nothing() -> None:
    found = compared(graph(GOOD), graph(GOOD))
    assert (found.verdict, found.steps, found.edits, found.once, found.weights) == ("alike", (), (), 0.0, ())


def test_an_edit_that_now_runs_the_install_is_dearer() -> None:
    found = compared(graph(GOOD), graph(BAD))
    assert found.verdict == "dearer"
    assert edits(found.dearer) == [("main.py", 2, 1.0, 21.0)]
    assert [name.text for name in found.dearer[0].more] == ["RUN pip install -r requirements.txt"]


def test_the_same_the_other_way_round_is_cheaper() -> None:
    found = compared(graph(BAD), graph(GOOD))
    assert found.verdict == "cheaper"
    assert edits(found.cheaper) == [("main.py", 2, 21.0, 1.0)]
    assert edits(found.dearer) == [("requirements.txt", 1, 21.0, 22.0)]


def test_a_file_that_the_branch_deletes_is_no_usual_edit() -> None:
    assert "gone.py" not in {edit.path for edit in compared(graph(GOOD), graph(BAD)).edits}


def test_a_copy_more_or_less_is_no_difference() -> None:
    prices = {**PRICES, "COPY": 0.3}
    split = "FROM a\nCOPY requirements.txt main.py ./\nCOPY . .\n"
    found = compared(graph("FROM a\nCOPY . .\n", prices=prices), graph(split, prices=prices))
    assert (found.verdict, found.dearer, found.cheaper) == ("alike", (), ())


def test_the_first_commit_of_the_history_is_no_edit() -> None:
    first = Commit("0", None, 0, "Ann", "", (FileChange("main.py", "added"),))
    assert compare(graph(GOOD), graph(BAD), [first], SIZES, SIZES).edits == ()


def test_the_dearest_edits_in_sum_come_first() -> None:
    after = graph("FROM a\nRUN two\nCOPY . .\nRUN one\n")
    assert [edit.path for edit in compared(graph(GOOD), after).edits] == ["main.py", "requirements.txt"]


def test_a_new_step_is_told_from_one_that_only_runs_once_more() -> None:
    after = graph("FROM a\nRUN apt\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n")
    found = compared(graph(GOOD), after)
    assert [(step.name.text, step.line, step.is_new) for step in found.steps] == [
        ("RUN apt", 2, True),
        ("RUN pip install -r requirements.txt", 4, False),
    ]
    assert found.once == 42.0


def test_a_cheap_step_is_not_told_and_one_of_unknown_price_is() -> None:
    prices = {**PRICES, "RUN cheap": 4.9, "RUN ./hidden": None, "RUN dear": 5.0}
    after = graph(f"{GOOD}RUN cheap\nRUN ./hidden\nRUN dear\n", prices=prices)
    assert [step.name.text for step in compared(graph(GOOD), after).steps] == ["RUN ./hidden", "RUN dear"]


def test_an_edit_that_runs_a_step_of_unknown_price_more_is_dearer() -> None:
    after = graph(f"{GOOD}RUN ./hidden\n", prices={**PRICES, "RUN ./hidden": None})
    found = compared(graph(GOOD), after)
    assert {edit.path for edit in found.dearer} == {"main.py", "requirements.txt"}
    assert found.verdict == "dearer"


def test_bytes_count_where_a_step_takes_them() -> None:
    found = compared(graph(GOOD), graph(GOOD, "docs\n"), **{"docs/a": 5000, "big": 900})
    assert [(weight.path, weight.before, weight.after) for weight in found.weights] == [("big", 0, 900)]
    assert (found.bytes_before, found.bytes_after) == (110, 1010)


def test_a_file_that_is_ignored_from_now_on_is_bytes_less() -> None:
    found = compared(graph(GOOD), graph(GOOD, "main.py\n"))
    assert [(weight.path, weight.growth) for weight in found.weights] == [("main.py", -100)]


def test_a_branch_that_brings_the_dockerfile_has_nothing_to_compare_with() -> None:
    found = compared(None, graph(BAD))
    assert (found.verdict, found.before, found.edits, found.once) == ("new", None, (), 21.0)
    assert [step.is_new for step in found.steps] == [True]
    assert (found.bytes_before, found.bytes_after) == (0, 110)
