"""The doctor is judged by small projects with labels: it leaves the good ones in peace."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.rules_manifest import MANIFEST
from support.doctor_corpus import Label, Verdict, judge, judge_all, load, rates, total

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROJECTS = load()
GOOD = [project for project in PROJECTS if project.is_good]
BAD = [project for project in PROJECTS if not project.is_good]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVLOOP_STATE_DIR", str(folder / "state"))
        return {one.project.name: one for one in judge_all(PROJECTS, folder)}


def test_the_corpus_is_large_half_of_it_is_good_and_only_the_bad_half_has_labels() -> None:
    assert len(PROJECTS) >= 60
    assert len({project.name for project in PROJECTS}) == len(PROJECTS)
    assert 0.4 < len(GOOD) / len(PROJECTS) < 0.6
    assert all(not project.labels for project in GOOD)
    assert all(project.labels for project in BAD)


def test_a_good_project_is_left_in_peace(verdicts: Mapping[str, Verdict]) -> None:
    alarms = {
        project.name: [(one.code, one.first_line) for one in verdicts[project.name].alarms]
        for project in GOOD
        if verdicts[project.name].alarms
    }
    assert alarms == {}


def test_nothing_is_found_in_a_bad_project_that_a_person_would_not_find(
    verdicts: Mapping[str, Verdict],
) -> None:
    alarms = {
        project.name: [(one.code, one.first_line) for one in verdicts[project.name].alarms]
        for project in BAD
        if verdicts[project.name].alarms
    }
    assert alarms == {}


def test_what_a_person_finds_is_found(verdicts: Mapping[str, Verdict]) -> None:
    given = rates(list(verdicts.values()))
    assert total(given).recall >= 0.95, [one.missed for one in verdicts.values() if one.missed]
    poor = {code: rate for code, rate in given.items() if rate.true >= 4 and rate.recall < 0.8}
    assert poor == {}


def test_proposals_bring_what_an_install_reads_keep_the_rest_and_come_to_an_end(
    verdicts: Mapping[str, Verdict],
) -> None:
    offered = [one for verdict in verdicts.values() for one in verdict.right if one[1].proposal is not None]
    assert len(offered) >= 60
    assert {name: one.faults for name, one in verdicts.items() if one.faults} == {}


def test_a_doctor_that_finds_nothing_or_everything_fails_this_corpus(tmp_path: Path) -> None:
    nothing = [Verdict(project, (), project.labels, (), ()) for project in PROJECTS]
    assert total(rates(nothing)).recall == 0.0
    with_a_label = next(project for project in BAD if project.labels)
    wrong = replace(with_a_label, name="wrong", labels=(Label("source-before-install", 1, fix=None),))
    verdict = judge(wrong, tmp_path)
    assert verdict.missed == wrong.labels
    assert verdict.alarms


def test_commits_are_made_by_who_is_named_and_edit_what_stands_there_once(tmp_path: Path) -> None:
    project = next(project for project in PROJECTS if project.name == "past-edits-of-a-bot")
    folder = project.write(tmp_path / "bot")
    log = subprocess.run(
        ("git", "log", "--format=%an: %s"), cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert log[-4:] == [
        "dependabot[bot]: package.json",
        "Ada: src/main.js",
        "renovate[bot]: package.json",
        "Ada: begin",
    ]
    assert '"version": "1.0.1"' in (folder / "package.json").read_text()
    first = project.commits[0]
    twice = replace(first, edits=(("package.json", '"', "'"),))
    with pytest.raises(ValueError, match="times"):
        replace(project, commits=(twice,)).write(tmp_path / "twice")


def test_what_edits_of_a_person_cost_is_found_and_what_edits_of_a_bot_cost_is_not(tmp_path: Path) -> None:
    project = next(project for project in PROJECTS if project.name == "past-edits-of-a-bot")
    by_people = tuple(replace(one, author="Ada <ada@example.test>") for one in project.commits)
    alarms = judge(replace(project, commits=by_people), tmp_path / "people").alarms
    assert [one.code for one in alarms] == [MANIFEST]
    assert judge(project, tmp_path / "bots").alarms == ()
