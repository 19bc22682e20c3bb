"""An install of a stage that starts from one with the source in it is found; what is uncertain stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.rules_order import RULES as ORDER
from support.doctor import subject

if TYPE_CHECKING:
    from pathlib import Path

    from devloop.doctor.model import Finding, Subject

FILES = {"package.json": "{}\n", "pnpm-lock.yaml": "", "src/a.js": "1\n"}
BASE = "FROM node:20-slim AS base\nWORKDIR /app\nCOPY . /app\n\n"


def examined(folder: Path, dockerfile: str) -> tuple[Subject, list[Finding]]:
    project = subject(folder, dockerfile, FILES)
    return project, [one for rule in ORDER for one in rule(project)]


def test_the_copy_moves_into_the_only_stage_that_stands_on_its_base(tmp_path: Path) -> None:
    dockerfile = f"{BASE}FROM base\nENV CI=1\nRUN pnpm install\nRUN pnpm build\n"
    project, (finding,) = examined(tmp_path, dockerfile)
    assert (finding.first_line, finding.last_line) == (3, 7)
    assert finding.proposal is not None, finding.stops
    assert apply_edits(project.source, finding.proposal.edits).decode() == (
        "FROM node:20-slim AS base\nWORKDIR /app\nCOPY package.json pnpm-lock.yaml /app/\n\n"
        "FROM base\nENV CI=1\nRUN pnpm install\n\nCOPY . /app\n\nRUN pnpm build\n"
    )


def test_stages_that_share_a_base_are_one_finding_without_a_change(tmp_path: Path) -> None:
    dockerfile = (
        f"{BASE}FROM base AS production\nRUN pnpm install --prod\n\n"
        "FROM base AS build\nRUN pnpm install\nRUN pnpm build\n\n"
        "FROM base\nCOPY --from=production /app/node_modules /app/node_modules\n"
        "COPY --from=build /app/dist /app/dist\n"
    )
    project, (finding,) = examined(tmp_path, dockerfile)
    assert finding.proposal is None
    assert finding.stops == "3 stages start from base: the copy would have to move into each of them"
    steps = [project.model.graph.steps[project.model.graph.vertices[one].step] for one in finding.wasted]
    assert [one.span.first for one in steps] == [6, 9]


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        (
            (
                f"{BASE}FROM base AS deps\nRUN pnpm install\n\nFROM base AS dev\nCMD x\n\n"
                "FROM node:20-slim\nCOPY --from=deps /app/node_modules /m\n"
            ),
            "2 stages start from base: the copy would have to move into each of them",
        ),
        (
            f"{BASE}FROM base AS deps\nRUN pnpm install\n\nFROM deps\nCOPY --from=base /app/src /copy\n",
            "another stage takes files from base",
        ),
        (
            (
                "FROM node:20-slim AS base\nWORKDIR /app\nARG WHERE=/app\nCOPY . $WHERE\n\n"
                "FROM base\nRUN pnpm install\n"
            ),
            "the copy uses a variable, and would stand in another stage",
        ),
    ],
)
def test_a_base_that_others_need_keeps_its_copy(tmp_path: Path, dockerfile: str, reason: str) -> None:
    _, (finding,) = examined(tmp_path, dockerfile)
    assert finding.proposal is None
    assert finding.stops == reason


@pytest.mark.parametrize(
    "dockerfile",
    [
        f"{BASE}FROM base\nRUN pnpm build\n",
        (
            "FROM node:20-slim AS base\nWORKDIR /app\nCOPY package.json pnpm-lock.yaml ./\n\n"
            "FROM base\nRUN pnpm install\nCOPY . .\n"
        ),
    ],
)
def test_a_base_in_order_is_left_in_peace(tmp_path: Path, dockerfile: str) -> None:
    assert examined(tmp_path, dockerfile)[1] == []


def test_what_the_base_itself_installs_is_said_once(tmp_path: Path) -> None:
    dockerfile = f"{BASE}RUN pnpm install\n\nFROM base\nRUN pnpm install --prod\n"
    _, (first, *others) = examined(tmp_path, dockerfile)
    assert first.proposal is not None
    assert [one.stops for one in others] == []
