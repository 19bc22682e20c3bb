"""Every prediction against a real engine: made-up projects and edits, and cases that were wrong once.

`python -m support.differential --cases 1000` (with PYTHONPATH=tests) runs many more; a case that fails there
is made small, and kept as a folder of tests/cases/differential.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.differential.case import case_from_json, case_to_json
from support.differential.generate import make_case
from support.differential.judge import Laboratory, run_case
from support.differential.naive import LinearChain
from support.differential.shrink import shrink

if TYPE_CHECKING:
    from support.differential.case import Case

CASES = Path(__file__).parent.parent / "cases" / "differential"
GROUPS, GROUP_SIZE = 8, 8


@pytest.fixture(scope="module")
def laboratory(engine: dict[str, str]) -> Laboratory:
    return Laboratory(engine)


def wrong(case: Case, laboratory: Laboratory) -> str:
    """Return what a case came to that it should not; empty when all is well.

    An engine that is busy elsewhere does surprising things once; a wrong model does them again.
    """
    found = ""
    for _ in range(2):
        report = run_case(case, laboratory)
        if report.is_clean:
            return ""
        found = "\n".join([*map(str, report.findings), case_to_json(case)])
    return found


@pytest.mark.docker
@pytest.mark.parametrize("group", range(GROUPS))
def test_made_up_projects_do_what_is_predicted(group: int, laboratory: Laboratory) -> None:
    for number in range(GROUP_SIZE):
        seed = f"ci-{group}-{number}"
        found = wrong(make_case(seed, steps=3), laboratory)
        assert not found, f"case {seed}:\n{found}"


@pytest.mark.docker
@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_what_was_wrong_once_is_right(folder: Path, laboratory: Laboratory) -> None:
    found = wrong(case_from_json((folder / "case.json").read_text()), laboratory)
    assert not found, found


@pytest.mark.docker
def test_the_linear_chain_of_lines_is_rejected_and_its_failure_made_small(laboratory: Laboratory) -> None:
    """A predictor that many believe in must not pass, or the test could not fail."""

    def kinds(case: Case) -> set[str]:
        return run_case(case, laboratory, predictor=LinearChain(), stop_early=True).kinds()

    kept = (
        "inline-files-come-last-in-a-copy",
        "mounts-are-sorted-by-target",
        "a-mount-from-the-own-base-compares-the-whole-base",
    )
    for name in kept:
        assert kinds(case_from_json((CASES / name / "case.json").read_text())), name
    case = make_case("naive-19", steps=3)
    assert "pessimism" in kinds(case)
    small = shrink(case, lambda one: "pessimism" in kinds(one), tries=8)
    assert len(case_to_json(small)) < len(case_to_json(case))
    assert "pessimism" in kinds(small)


def test_a_case_is_the_same_for_the_same_seed_and_survives_being_written_down() -> None:
    for number in range(50):
        case = make_case(f"seed-{number}")
        assert case == make_case(f"seed-{number}")
        assert case_from_json(case_to_json(case)) == case


def test_seeds_reach_every_feature() -> None:
    """Nothing that the model speaks of is left out by accident."""
    texts: list[str] = []
    kinds: set[str] = set()
    for number in range(400):
        case = make_case(f"feature-{number}")
        edits = [edit for step in case.steps for edit in step]
        kinds.update(edit.kind for edit in edits)
        texts += [case.start.dockerfile("salt"), *(edit.text for edit in edits), str(case.start.base)]
        texts += [f"file {case.start.options.file}", *(f"node {path}" for path in case.start.nodes)]
    everything = "\n".join(texts)
    for word in (
        *("--from=", "--exclude=", "--link", "--chown=", "--chmod=", "<<", '["', "--network=none", "*.txt"),
        *("type=cache", "type=tmpfs", "type=secret", "from=other", "ONBUILD", "SHELL", "USER", "WORKDIR /"),
        *("FROM scratch", "ARG X", "TARGETSTAGE", "ENV A some words", "# escape=", "ADD ", "COPY --from=1"),
        *("docker/App.Dockerfile", "files/Dockerfile", ".git/HEAD", "ctx/.dockerignore", "!d/e.txt"),
    ):
        assert word in everything, word
    assert kinds >= {
        *("write", "stealth", "touch", "chmod", "folder", "link", "remove", "rename", "swap", "restart"),
        *("item", "insert", "delete", "move", "arg", "no-arg", "host", "target", "network", "no-cache"),
        *("base", "revert", "foreign", "prune"),
    }
