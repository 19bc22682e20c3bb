"""Rows of a user's own go before the table of kinds, and what he says of a step stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.config import ConfigProblem, check_config
from devloop.cost.classify import Classification, classify
from devloop.cost.priors import PRIORS, own_prior
from devloop.plan.model import PriorRule
from support.built_project import Project, step_at

if TYPE_CHECKING:
    from pathlib import Path


def classified(command: str, *rows: PriorRule) -> Classification:
    own = [
        own_prior(
            row.run,
            row.seconds,
            kind=row.kind,
            expensive=row.expensive,
            reason=row.reason,
            manifests=row.manifests,
        )
        for row in rows
    ]
    return classify(command, table=(*own, *PRIORS))


def test_a_script_of_ones_own_gets_a_price_and_a_kind_of_its_own() -> None:
    found = classified("./scripts/gen.sh --all", PriorRule("./scripts/gen.sh", 40.0, reason="writes the API"))
    assert (found.kind, found.seconds, found.expensive) == ("gen.sh", 40.0, True)
    assert found.reason == "gen.sh: writes the API"
    assert found.comparable_kind == "gen.sh"
    assert classified("./scripts/other.sh").expensive is None


def test_a_row_goes_before_the_table() -> None:
    assert classified("npm ci", PriorRule("npm ci", 2.0)).expensive is False
    assert classified("npm ci").expensive is True


def test_the_words_of_a_command_decide_as_in_the_table() -> None:
    row = PriorRule("make proto|api", 40.0)
    assert classified("make -j4 api", row).seconds == 40.0
    assert classified("make docs", row).seconds is None


def test_a_kind_of_the_table_brings_its_family() -> None:
    row = PriorRule("./install", 40.0, kind="pip-install", manifests=("packages.txt",))
    assert classified("./install", row).family == "pip"


@pytest.mark.parametrize(("expensive", "seconds"), [(True, 1.0), (False, 100.0)])
def test_the_word_of_the_user_counts_more_than_the_seconds(expensive: bool, seconds: float) -> None:
    found = classified("mkdir x && make proto", PriorRule("make proto", seconds, expensive=expensive))
    assert (found.expensive, found.said) == (expensive, expensive)


def test_a_row_that_is_not_expensive_says_nothing_of_other_commands() -> None:
    found = classified("make proto && npm ci", PriorRule("make proto", 100.0, expensive=False))
    assert (found.expensive, found.said) == (True, None)


# In plans

DOCKERFILE = "FROM a\nCOPY . .\nRUN ./gen.sh\n"
FILES = {"gen.sh": "x", "main.py": "1", "api.yaml": "1"}


def project(tmp_path: Path, **row: object) -> Project:
    rule = PriorRule(**{"run": "gen.sh", "seconds": 40.0, **row})  # type: ignore[arg-type]  # tests name real fields
    return Project(tmp_path / "shop", DOCKERFILE, FILES, prior=[rule])


def warned(project: Project) -> list[tuple[str, str]]:
    return [(one.code, one.way_out) for one in project.plan().warnings]


def test_a_plan_is_priced_by_the_row_and_warns(tmp_path: Path) -> None:
    shop = project(tmp_path).built().write("main.py", "2")
    step = step_at(shop.plan(), 3)
    assert (step.kind, step.seconds, step.seconds_from, step.expensive) == ("gen.sh", 40.0, "estimate", True)
    assert warned(shop) == [("expensive-step", "COPY only what it reads above line 3, and the rest below it")]


def test_with_manifests_the_way_out_names_them(tmp_path: Path) -> None:
    shop = project(tmp_path, manifests=("api.yaml",)).built()
    [(code, way_out)] = warned(shop.write("main.py", "2"))
    assert code == "source-above-install"
    assert way_out.startswith("COPY only api.yaml above line 3 and the rest below it")
    [(code, _)] = warned(shop.write("main.py", "1").write("api.yaml", "2"))
    assert code == "dependency-install"


def test_a_measurement_replaces_the_seconds_of_a_row(tmp_path: Path) -> None:
    shop = project(tmp_path).built({2: 0.1, 3: 2.0}).write("main.py", "2")
    assert step_at(shop.plan(), 3).seconds == 2.0
    assert warned(shop) == []


def test_what_the_user_calls_cheap_is_not_warned_of_whatever_it_takes(tmp_path: Path) -> None:
    shop = project(tmp_path, expensive=False).built({2: 0.1, 3: 60.0}).write("main.py", "2")
    assert warned(shop) == []


def test_what_the_user_calls_expensive_is_not_warned_of_below_the_threshold(tmp_path: Path) -> None:
    shop = project(tmp_path, expensive=True).built({2: 0.1, 3: 4.0}).write("main.py", "2")
    assert step_at(shop.plan(), 3).expensive
    assert warned(shop) == []
    assert warned(shop.set(warn_seconds=3.0)) != []


# In the configuration


def test_rows_are_read_from_the_configuration() -> None:
    found = check_config({"prior": [{"run": "make x", "seconds": 7, "expensive": True}]}, "devloop.toml")
    assert found["prior"] == [PriorRule("make x", 7.0, expensive=True)]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"run": "make x"}, "prior.0.seconds"),
        ({"run": " ", "seconds": 1}, "run names no command"),
        ({"run": "x", "seconds": -1}, "seconds is a number from 0"),
        ({"run": "x", "seconds": 1, "famly": "y"}, "prior.0.famly"),
    ],
)
def test_a_row_with_a_mistake_is_said_with_its_place(row: dict[str, object], place: str) -> None:
    with pytest.raises(ConfigProblem) as problem:
        check_config({"prior": [row]}, "devloop.toml")
    assert place in str(problem.value.message)
