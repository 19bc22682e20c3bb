"""A replay and a branch read well in every width, steer no terminal, and are contracts as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.stages import BuildGraph, resolve
from devloop.doctor.branch import compare
from devloop.doctor.replay import Commit, FileChange, Replay, ReplayGraph, fixed, replay
from devloop.ui.branchtext import Verdict, branch_json, branch_lines, branch_markdown
from devloop.ui.replaytext import Side, Story, replay_json, replay_lines
from devloop.ui.text import bytes_text, text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DAY = 24 * 3600
MONDAY = 1_700_438_400

NOW = """\
FROM node:20 AS assets
WORKDIR /assets
COPY web .
RUN npm ci --no-audit --no-fund
RUN npm run build
FROM python:3.11-slim
COPY . /app
RUN pip install --no-cache-dir --requirement /app/requirements.txt
COPY --from=assets /assets/dist /app/static
RUN /app/scripts/check
"""
NEW = """\
FROM node:20 AS assets
WORKDIR /assets
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web .
RUN npm run build
FROM python:3.11-slim
COPY requirements.txt /app/
RUN pip install --no-cache-dir --requirement /app/requirements.txt
COPY . /app
COPY --from=assets /assets/dist /app/static
RUN /app/scripts/check
"""
PRICES: dict[str, float | None] = {"npm ci": 38.2, "npm run": 12.0, "pip": 20.0, "scripts": None}
PATHS = (
    ("app/main.py",),
    ("web/src/index.ts", "app/main.py"),
    ("requirements.txt",),
    ("app/models/a_rather_long_name_of_a_module_that_somebody_chose.py",),
    ("web/src/index.ts",),
    ("web/package.json", "web/package-lock.json"),
    ("docs/guide.md",),
    ("app/main.py", "tests/test_main.py"),
)


def graph(text: str) -> ReplayGraph:
    parsed = parse(text.encode())
    assert isinstance(parsed, Dockerfile)
    resolved = resolve(parsed)
    assert isinstance(resolved, BuildGraph)
    prices: dict[int, float | None] = {}
    for step in resolved.steps:
        known = [price for words, price in PRICES.items() if words in step.instruction.text]
        prices[step.number] = known[0] if known and step.keyword == "RUN" else 0.3
    measured = frozenset(step.number for step in resolved.steps if "npm ci" in step.instruction.text)
    return ReplayGraph(resolved, prices, measured=measured)


def commits(paths: Sequence[tuple[str, ...]] = PATHS, number: int = 40) -> list[Commit]:
    return [
        Commit(
            f"{at}",
            "p",
            MONDAY + at * DAY,
            "Ann",
            "subject",
            tuple(FileChange(path, "modified") for path in paths[at * 7 % len(paths)]),
        )
        for at in reversed(range(number))
    ]


def played(text: str = NOW, made: list[Commit] | None = None) -> Replay:
    return replay(commits() if made is None else made, fixed(graph(text)))


def story(**fields: object) -> Story:
    return replace(Story("shop", Side("Dockerfile", played()), merges=3, by_bots=12), **fields)  # type: ignore[arg-type]  # by name


def both() -> Story:
    return story(new=Side("Dockerfile.new", played(NEW)))


def day(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def verdict(before: str | None = NEW, after: str = NOW, limit: float | None = 10.0) -> Verdict:
    sizes = {path: 2000 for paths in PATHS for path in paths}
    branch = compare(
        graph(before) if before is not None else None,
        graph(after),
        commits(),
        sizes,
        {**sizes, "data/dump.sql": 48_000_000, "app/main.py": 2500},
    )
    return Verdict("shop", "origin/main", "0123456789abcdef", branch, limit)


SHOWN: dict[str, Callable[[int, bool, bool], list[str]]] = {
    "replay": lambda width, is_ascii, color: replay_lines(
        story(), day, width, ascii_only=is_ascii, color=color
    ),
    "replay-two": lambda width, is_ascii, color: replay_lines(
        both(), day, width, ascii_only=is_ascii, color=color
    ),
    "replay-broken-off": lambda width, is_ascii, color: replay_lines(
        story(
            now=Side("Dockerfile", replace(played(), unreadable=2)),
            is_shallow=True,
            is_complete=False,
        ),
        day,
        width,
        ascii_only=is_ascii,
        color=color,
    ),
    "ci": lambda width, is_ascii, color: branch_lines(verdict(), width, ascii_only=is_ascii, color=color),
    "ci-cheaper": lambda width, is_ascii, color: branch_lines(
        verdict(NOW, NEW), width, ascii_only=is_ascii, color=color
    ),
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("width", [80, 120])
def test_what_it_looks_like(golden: Callable[[str, str], None], name: str, width: int) -> None:
    golden(f"{name}.{width}.txt", "\n".join(SHOWN[name](width, False, False)) + "\n")


@pytest.mark.parametrize("name", ["replay", "replay-two", "ci"])
def test_what_it_looks_like_in_ascii(golden: Callable[[str, str], None], name: str) -> None:
    text = "\n".join(SHOWN[name](80, True, False)) + "\n"
    assert text.isascii()
    golden(f"{name}.80.ascii.txt", text)


def test_what_it_looks_like_in_colour(golden: Callable[[str, str], None]) -> None:
    golden("replay.100.color.txt", "\n".join(SHOWN["replay"](100, False, True)) + "\n")


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("width", [60, 72, 80, 100, 119, 200])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert [line for line in SHOWN[name](width, False, False) if text_width(line) > width] == []


def test_a_name_cannot_steer_the_terminal() -> None:
    made = commits([("bad\x1b[31m\nname",)], 2)
    shown = story(now=Side("Dock\x1bfile", played(made=made)), new=Side("x\x1b]0;y", played(NEW, made)))
    for line in replay_lines(shown, day, 80, ascii_only=False):
        assert "\x1b" not in line
        assert "\n" not in line
    branch = compare(graph(NEW), graph(NOW), made, {}, dict.fromkeys(("bad\x1b[31m\nname",), 9))
    found = Verdict("x\x1b", "y\x1b", "z", branch)
    assert all("\x1b" not in line and "\n" not in line for line in branch_lines(found, 80, ascii_only=False))
    assert "\x1b" not in branch_markdown(found)


def test_a_history_that_says_nothing_is_one_line() -> None:
    shown = replay_lines(
        Story("shop", Side("Dockerfile", played(made=[]))), day, 80, ascii_only=False, color=False
    )
    assert shown == ["shop  replay: no commit that says anything"]


def test_a_replay_in_which_nothing_runs_has_neither_chart_nor_files() -> None:
    shown = replay_lines(
        story(now=Side("Dockerfile", played(NEW.replace("COPY . /app\n", ""), commits([("docs/a",)], 3)))),
        day,
        80,
        ascii_only=False,
    )
    text = "\n".join(shown)
    assert "none of 3 commits runs anything" in text
    assert "over time" not in text
    assert "a save of" not in text


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["docs/a"], "the commit runs nothing"),
        (["docs/a", "src/a"], "1 of 2 commits runs nothing"),
        (["docs/a", "docs/b", "src/a"], "2 of 3 commits run nothing"),
        (["src/a"], "replay of 1 commit,"),
    ],
)
def test_commits_that_run_nothing_are_counted_in_words_that_fit(paths: list[str], sentence: str) -> None:
    made = [one for path in paths for one in commits([(path,)], 1)]
    text = "\n".join(
        replay_lines(
            story(now=Side("Dockerfile", played(NEW.replace("COPY . /app\n", "COPY src /app\n"), made))),
            day,
            80,
            ascii_only=False,
        )
    )
    assert sentence in text


def test_the_contract_of_a_replay() -> None:
    found = json.loads(replay_json(both(), day))
    assert list(found) == [
        *("schema", "name", "complete", "shallow", "fixed", "commits", "weeks", "first", "last"),
        *("left_out", "now", "new"),
    ]
    assert list(found["now"]) == [
        *("dockerfile", "seconds", "seconds_a_week", "builds", "over_time", "steps", "files"),
    ]
    assert list(found["new"]["steps"][0]) == [
        *(
            "stage",
            "line",
            "instruction",
            "text",
            "price",
            "price_from",
            "runs",
            "perhaps",
            "seconds",
            "files",
        ),
    ]
    prices = {step["text"]: (step["price"], step["price_from"]) for step in found["now"]["steps"]}
    assert prices["RUN npm ci --no-audit --no-fund"] == (38.2, "measured")
    assert prices["RUN npm run build"] == (12.0, "estimate")
    assert prices["RUN /app/scripts/check"] == (None, None)


def test_the_contract_of_a_branch() -> None:
    found = json.loads(branch_json(verdict()))
    assert list(found) == [
        *("schema", "name", "base", "commit", "verdict", "shallow", "commits", "seconds_a_week", "once"),
        *("steps", "edits", "context", "limit", "too_dear"),
    ]
    assert list(found["edits"][0]) == ["path", "commits", "before", "after", "more", "fewer"]
    assert list(found["context"]["files"][0]) == ["path", "before", "after"]


def test_a_comment_for_a_pull_request(golden: Callable[[str, str], None]) -> None:
    golden("ci.md", branch_markdown(verdict()) + "\n")


def test_names_in_a_comment_stay_in_their_cell() -> None:
    path = "a|b`c``d`"
    branch = compare(graph(NEW), graph(NOW), commits([(path, "@team/#1")], 2), {}, {path: 9, "@team/#1": 9})
    text = branch_markdown(Verdict("shop", "a_b", "z", branch))
    assert "| ``` a\\|b`c``d` ``` | 2 |" in text
    assert "| `@team/#1` | 2 |" in text
    assert "base: a\\_b at z" in text


def test_a_branch_that_brings_the_dockerfile_compares_nothing() -> None:
    text = "\n".join(branch_lines(verdict(None), 80, ascii_only=False))
    assert "this branch brings the Dockerfile" in text
    assert "before" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (34_567, "35 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (7_300_000_000, "7.3 GB"),
    ],
)
def test_bytes_are_written_in_powers_of_a_thousand(number: int, text: str) -> None:
    assert bytes_text(number) == text
