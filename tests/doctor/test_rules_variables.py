"""Variables of a commit or a build: where they have to stand, and what comes down with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_variables
from devloop.doctor.edits import apply_edits
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {"package.json": "{}", "package-lock.json": "{}", "server.js": ""}
INSTALL = "COPY package.json package-lock.json ./\nRUN npm ci\n"


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_variables.RULES)


def test_a_label_of_the_build_comes_down_with_its_argument(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM node:20\nARG BUILD_DATE\nLABEL created=$BUILD_DATE vendor=demo\n"
        + INSTALL
        + "COPY server.js ./\n",
        FILES,
    )
    proposal = patient.only("volatile-variable").proposal
    assert proposal is not None
    assert apply_edits(patient.subject.source, proposal.edits).decode() == (
        "FROM node:20\n"
        + INSTALL
        + "ARG BUILD_DATE\nLABEL created=$BUILD_DATE vendor=demo\nCOPY server.js ./\n"
    )


@pytest.mark.parametrize(
    "label",
    [
        "LABEL created=$BUILD_DATE\nLABEL created=never",
        "ARG WHO=me\nLABEL created=$BUILD_DATE-$WHO",
        "LABEL $BUILD_DATE=created",
    ],
)
def test_a_label_stays_where_its_place_may_matter(examine: Callable[..., Patient], label: str) -> None:
    patient = examine(f"FROM node:20\nARG BUILD_DATE\n{label}\n" + INSTALL, FILES)
    assert patient.codes == []


@pytest.mark.parametrize(
    "name",
    [
        *("CI_COMMIT_SHA", "CI_COMMIT_SHORT_SHA", "CI_PIPELINE_ID", "CI_PIPELINE_IID", "CI_JOB_ID"),
        *(
            "GITHUB_SHA",
            "GITHUB_RUN_ID",
            "GITHUB_RUN_NUMBER",
            "GITHUB_REF_NAME",
            "CIRCLE_SHA1",
            "BUILD_NUMBER",
        ),
    ],
)
def test_what_a_build_server_sets_anew_each_time_is_volatile(
    examine: Callable[..., Patient], name: str
) -> None:
    patient = examine(f"FROM node:20\nARG {name}\nENV {name}=${name}\n" + INSTALL, FILES)
    assert patient.codes == ["volatile-variable"]


@pytest.mark.parametrize(
    "name", ["NODE_VERSION", "CI", "NODE_ENV", "RUN_MODE", "GITHUB_TOKEN_FILE", "JOB_NAME"]
)
def test_what_stays_from_build_to_build_is_not(examine: Callable[..., Patient], name: str) -> None:
    patient = examine(f"FROM node:20\nARG {name}\nENV {name}=${name}\n" + INSTALL, FILES)
    assert patient.codes == []


def test_a_variable_that_the_install_names_stays(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM node:20\nARG APP_VERSION\nRUN npm install -g shop@$APP_VERSION\n", FILES)
    assert patient.codes == []


@pytest.mark.parametrize(
    ("copied", "files"),
    [
        ("package.json package-lock.json stamp.js", {"stamp.js": "save(process.env.GIT_SHA)"}),
        (".", {"scripts/stamp.js": "save(process.env.GIT_SHA)"}),
    ],
)
def test_a_variable_stays_above_an_install_that_may_run_a_file_that_reads_it(
    examine: Callable[..., Patient], copied: str, files: dict[str, str]
) -> None:
    text = f"FROM node:20\nARG GIT_SHA\nENV GIT_SHA=$GIT_SHA\nCOPY {copied} ./\nRUN npm ci\n"
    assert examine(text, {**FILES, **files}).codes == []
    reading_below = "FROM node:20\nARG GIT_SHA\nENV GIT_SHA=$GIT_SHA\n" + INSTALL + "COPY . .\n"
    assert examine(reading_below, {**FILES, **files}).codes == ["volatile-variable"]


def test_packages_of_the_system_run_no_file_of_the_project(examine: Callable[..., Patient]) -> None:
    text = "FROM node:20\nARG GIT_SHA\nENV GIT_SHA=$GIT_SHA\nCOPY . .\nRUN apt-get install -y git\n"
    assert examine(text, {**FILES, "server.js": "process.env.GIT_SHA"}).codes == ["volatile-variable"]
