"""The doctor is judged by small projects with labels: it leaves the good ones in peace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.doctor_corpus import Verdict, judge_all, load

if TYPE_CHECKING:
    from collections.abc import Mapping

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
