"""What looks back reads well in every width, steers no terminal, and is a contract as JSON."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from devloop.cost.history import BuildRecord, StepRecord, SyncRecord
from devloop.cost.report import BuildAccount, FileTotal, StepAccount, account_to_json, summarize
from devloop.cost.weight import ContextWeight, Weight
from devloop.ui import reviewtext
from devloop.ui.reviewtext import Ignored, LastRun, MissRow, PathStory, Reader, StepStory
from devloop.ui.text import text_width
from support import made_up_session as made_up

if TYPE_CHECKING:
    from collections.abc import Callable

    Render = Callable[..., list[str]]

INSTALL = "RUN pip install --no-cache-dir --requirement requirements.txt"
STEPS = (
    (
        StepRecord("build", 3, 4, "COPY", "COPY requirements.txt .", "k1", None, "run", 0.04),
        StepAccount("run", 0.3, "content", "requirements.txt changed", "requirements.txt"),
    ),
    (
        StepRecord("build", 4, 5, "RUN", INSTALL, "k2", "pip-install", "run", 38.2),
        StepAccount("run", 41.0, "stage", "COPY (line 4) above it runs again", "requirements.txt", 4),
    ),
    (
        StepRecord("web", 2, 9, "COPY", "COPY --from=build /out /srv", "k3", None, "run", 0.5),
        StepAccount("unknown", 0.4, "stage", "RUN (line 5) did not write the same files as before", None, 5),
    ),
    (
        StepRecord("web", 3, 10, "RUN", "RUN make assets", "k4", "make", "run", 12.0),
        StepAccount("cached", 11.5, "pruned", "the cache was pruned: the engine no longer had it"),
    ),
    (
        StepRecord("web", 4, 11, "RUN", "RUN ./check", "k5", None, "cached", None),
        StepAccount("run", 2.0, "foreign", "found in the cache: built before by something else"),
    ),
    (
        StepRecord("web", 5, 12, "COPY", "COPY app /srv/app", "k6", None, "cached", None),
        StepAccount("cached", 0.2),
    ),
    (
        StepRecord("web", 6, 13, "RUN", "RUN ./migrate", "k7", None, "failed", 1.5),
        StepAccount("run", None, "content", "app/db.py changed", "app/db.py"),
    ),
)


def build(
    *, at: float = 1_700_000_000.0, outcome: str = "failed", predicted: float | None = 44.5
) -> BuildRecord:
    account = BuildAccount(tuple(account for _, account in STEPS), ("app/db.py", "requirements.txt"), 2)
    return BuildRecord(
        project="p",
        dockerfile="Dockerfile",
        target=None,
        engine="engine",
        started_at=at,
        seconds=52.3,
        outcome=outcome,  # type: ignore[arg-type]  # one of the three
        context_bytes=None,
        export_seconds=None,
        metadata_seconds=None,
        steps=tuple(step for step, _ in STEPS),
        predicted_seconds=predicted,
        prediction=account_to_json(account),
    )


def when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


PATH = PathStory(
    path="app/db.py",
    exists=True,
    ignored=(),
    readers=(
        Reader("build", 6, "COPY", "COPY . .", ("/src/app/db.py",), is_final=False),
        Reader("web", 12, "COPY", "COPY app /srv/app", ("/srv/app/db.py",)),
        Reader("web", 13, "RUN", "RUN --mount=type=bind,target=/m ./migrate", is_mount=True),
        Reader("web", 14, "COPY", "COPY *.py /x", unclear="where it lands is not clear: a link"),
    ),
    plan=made_up.list_plan(),
    cost=FileTotal("app/db.py", 95.0, 3, 2),
)
UNSEEN = PathStory(
    path="notes.txt",
    exists=False,
    ignored=(Ignored("notes.txt", ".dockerignore", 3, "*.txt"),),
    readers=(),
    plan=replace(made_up.nothing_plan(), ignored=("notes.txt is ignored by .dockerignore:3 (*.txt)",)),
    cost=None,
)
STEP = StepStory(
    label="build 4/4",
    stage="build",
    line=5,
    instruction="RUN",
    text=INSTALL,
    feeds="",
    above="COPY (line 4)",
    durations=(38.2, 41.0, 35.5),
    estimate="",
    newest=(replace(STEPS[1][0], status="cached", seconds=None), StepAccount("cached", 38.2)),
    last_run=LastRun(1_700_000_000.0, 3, *STEPS[1], root=STEPS[0]),
)
NEW_STEP = StepStory("2/2", "0", 2, "COPY", "COPY . .", ".", "base", (), "estimate 0.3 s (never built here)")
MISSES = [MissRow(1_700_000_000.0, 10, "RUN make assets", "cached", "run", "the cache was pruned")]


def figures(builds: int = 6) -> object:
    records = [
        build(at=1_700_000_000.0 + 60 * number, outcome="ok" if number else "failed", predicted=40.0)
        for number in reversed(range(builds))
    ]
    syncs = [SyncRecord(1.0, "sync", 0.2, 52.0), SyncRecord(1.0, "sync", 0.2, None)]
    return replace(summarize(records, syncs, 6), context=WEIGHT)


WEIGHT = ContextWeight(
    212_000_000,
    3_412,
    (Weight("web", 180_500_000, 3_390), Weight(".git", 31_000_000, 14), Weight("app", 500_000, 8)),
    (
        Weight("web/node_modules", 180_000_000, 3_377, "packages for this machine", "web/node_modules"),
        Weight(".git", 31_000_000, 14, "the history of the repository", ".git"),
    ),
)


VIEWS: dict[str, Render] = {
    "why-build": lambda width, **style: reviewtext.why_lines("shop", build(), when, width, **style),
    "why-path": lambda width, **style: reviewtext.path_lines(PATH, width, **style),
    "why-unseen": lambda width, **style: reviewtext.path_lines(UNSEEN, width, **style),
    "why-step": lambda width, **style: reviewtext.step_lines([STEP, NEW_STEP], when, width, **style),
    "stats": lambda width, **style: reviewtext.stats_lines("shop", figures(), when, width, **style),  # type: ignore[arg-type]  # figures
    "misses": lambda width, **style: reviewtext.misses_lines(MISSES, when, width, **style),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("view", VIEWS)
def test_it_reads_as_it_should(view: str, width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"{view}-{width}.txt", "\n".join([*VIEWS[view](width, ascii_only=False), ""]))


def test_it_reads_as_it_should_in_ascii(golden: Callable[[str, str], None]) -> None:
    lines = [line for render in VIEWS.values() for line in render(80, ascii_only=True)]
    assert all(line.isascii() for line in lines)
    golden("why-build-80-ascii.txt", "\n".join([*VIEWS["why-build"](80, ascii_only=True), ""]))


@pytest.mark.parametrize("view", VIEWS)
def test_colour_changes_no_text(view: str) -> None:
    colored = VIEWS[view](80, ascii_only=False, color=True)
    stripped = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in colored]
    assert stripped == VIEWS[view](80, ascii_only=False)
    assert any("\x1b[" in line for line in colored)


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("width", [40, 60, 80, 140, 200])
@pytest.mark.parametrize("view", VIEWS)
def test_every_line_fits_the_terminal(view: str, width: int, ascii_only: bool) -> None:
    for line in VIEWS[view](width, ascii_only=ascii_only):
        assert text_width(line) <= width or len(line.split()) == 1


def test_nothing_that_was_recorded_can_steer_the_terminal() -> None:
    evil = "a\x1b[2J\u202eb"
    step = replace(STEPS[0][0], text=f"COPY {evil} .", stage=evil)
    account = replace(STEPS[0][1], cause=f"{evil} changed", path=evil)
    record = replace(
        build(),
        steps=(step, replace(step, stage="x")),
        prediction=account_to_json(BuildAccount((account, account), (evil,), 1)),
    )
    plan = replace(made_up.nothing_plan(), ignored=(f"{evil} is ignored",))
    reader = Reader(evil, 1, "COPY", f"COPY {evil} .", (f"/{evil}",), is_final=False)
    story = replace(STEP, label=evil, feeds=evil, above=evil, last_run=LastRun(0.0, 0, step, account))
    texts = [
        *reviewtext.why_lines(evil, record, when, 80, ascii_only=False),
        *reviewtext.path_lines(replace(PATH, path=evil, readers=(reader,)), 80, ascii_only=False),
        *reviewtext.path_lines(replace(UNSEEN, path=evil, plan=plan), 80, ascii_only=False),
        *reviewtext.step_lines([story], when, 80, ascii_only=False),
        *reviewtext.stats_lines(evil, summarize([record], [], 0), when, 80, ascii_only=False),
        *reviewtext.misses_lines(
            [replace(MISSES[0], text=evil, explanation=evil)], when, 80, ascii_only=False
        ),
    ]
    assert "\\x1b[2J" in "".join(texts)
    assert not set("".join(texts)) & {"\x1b", "\u202e"}


def test_a_build_without_an_account_still_says_what_ran() -> None:
    text = "\n".join(
        reviewtext.why_lines("shop", replace(build(), prediction=None), when, 80, ascii_only=True)
    )
    assert "RUN make assets" in text
    assert "predicted" not in text


def test_a_build_that_ran_nothing_says_so() -> None:
    record = replace(
        build(outcome="ok"),
        steps=(STEPS[5][0],),
        prediction=account_to_json(BuildAccount((STEPS[5][1],))),
    )
    lines = reviewtext.why_lines("shop", record, when, 80, ascii_only=True)
    assert lines[2:] == ["  every step came from the cache", "", "  truth      1 of 1 step as predicted"]


def test_a_project_without_builds_says_how_to_make_one() -> None:
    said = [reviewtext.NO_BUILD]
    assert reviewtext.why_lines("shop", None, when, 80, ascii_only=True) == said
    assert reviewtext.stats_lines("shop", summarize([], [], 0), when, 80, ascii_only=True) == said


# The contracts


def test_the_document_of_a_build_tells_prediction_and_truth() -> None:
    document = json.loads(reviewtext.why_json("build", reviewtext.build_document(build())))
    assert set(document) == {"schema", "asked", "build"}
    assert (document["schema"], document["asked"]) == ("devloop.why/1", "build")
    assert document["build"]["steps"][3] == {
        "stage": "web",
        "ordinal": 3,
        "line": 10,
        "instruction": "RUN",
        "text": "RUN make assets",
        "status": "run",
        "seconds": 12.0,
        "predicted": "cached",
        "expected_seconds": 11.5,
        "verdict": "missed",
        "because": {
            "rule": "pruned",
            "text": "the cache was pruned: the engine no longer had it",
            "path": None,
            "line": None,
        },
    }


def test_the_document_of_a_path_tells_who_reads_it() -> None:
    document = json.loads(reviewtext.why_json("path", reviewtext.path_document(PATH)))["path"]
    assert [(one["how"], one["in_image"], one["places"]) for one in document["readers"]] == [
        ("copy", False, ["/src/app/db.py"]),
        ("copy", True, ["/srv/app/db.py"]),
        ("mount", False, []),
        ("copy", True, []),
    ]
    assert document["save"]["action"] == PATH.plan.action
    assert document["cost"] == {"path": "app/db.py", "seconds": 95.0, "steps": 3, "builds": 2}


def test_the_document_of_an_ignored_path_names_file_and_line() -> None:
    document = reviewtext.path_document(UNSEEN)
    assert document["ignored"] == [
        {"path": "notes.txt", "file": ".dockerignore", "line": 3, "pattern": "*.txt"}
    ]


def test_the_document_of_a_step_tells_its_history_and_the_first_cause() -> None:
    [document, new] = json.loads(
        reviewtext.why_json("steps", [reviewtext.step_document(one) for one in (STEP, NEW_STEP)])
    )["steps"]
    assert document["cost"] == {
        "runs": 3,
        "median_seconds": 38.2,
        "low_seconds": 35.5,
        "high_seconds": 41.0,
    }
    assert document["last_run"]["root"]["because"]["path"] == "requirements.txt"
    assert (new["last_run"], new["last_build"], new["cost"]["median_seconds"]) == (None, None, None)


def test_the_document_of_the_figures_has_null_where_nothing_is_known() -> None:
    document = json.loads(reviewtext.stats_json("shop", summarize([], [], 0)))
    assert document["schema"] == "devloop.stats/1"
    assert document["calibration"] == {"builds": 0, "median_error": None, "median_ratio": None}
    assert document["syncs"]["saved_seconds"] is None
    assert document["since"] is None
    assert document["context"] is None


def test_the_document_of_the_figures_has_the_lines_for_the_ignore_file() -> None:
    stats = replace(summarize([], [], 0), context=WEIGHT, ignore_file="Dockerfile.dockerignore")
    found = json.loads(reviewtext.stats_json("shop", stats))["context"]
    assert (found["bytes"], found["files"]) == (212_000_000, 3_412)
    assert found["ignore_file"] == "Dockerfile.dockerignore"
    assert found["ignore_lines"] == ["web/node_modules", ".git"]
    assert found["largest"][0] == {"path": "web", "bytes": 180_500_000, "files": 3_390}
