"""Projects with what the doctor finds of their order, and the diffs that it proposes.

A case of `tests/cases/doctor` is one text: a sentence, the files, and what is found. GOLDEN=write writes the
last part.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.moves import compare_graphs
from devloop.doctor.rules_order import RULES as ORDER
from devloop.doctor.rules_variables import RULES as VARIABLES
from devloop.project.settings import Settings
from support.doctor import diff_of, subject

FOLDER = Path(__file__).parent.parent / "cases" / "doctor"
CASES = sorted(FOLDER.glob("*.txt"))
_FOUND = "=== found\n"


def read(text: str) -> tuple[dict[str, str], str]:
    """Return the files of a case by their path, and what is expected of it."""
    project, _, expected = text.partition(_FOUND)
    files = {}
    for part in project.split("\n--- ")[1:]:
        path, _, content = part.partition("\n")
        files[path] = content if not content or content.endswith("\n") else f"{content}\n"
    return files, expected


def found(folder: Path, files: dict[str, str], dockerfile: str) -> str:
    """Return what the rules find, as text."""
    project = subject(
        folder, dockerfile, {path: text for path, text in files.items() if path != "Dockerfile"}
    )
    lines = []
    for finding in [one for rule in (*ORDER, *VARIABLES) for one in rule(project)]:
        steps = [project.model.graph.steps[project.model.graph.vertices[v].step] for v in finding.wasted]
        lines.append(f"{finding.code} {finding.first_line}-{finding.last_line}: {finding.title}")
        lines.append(f"  why: {finding.why}")
        lines.append(f"  way out: {finding.way_out}")
        seconds = "?" if finding.seconds is None else f"{finding.seconds:g}"
        lines.append(f"  {seconds} s, runs again: {', '.join(f'line {one.span.first}' for one in steps)}")
        lines.append(f"  no diff: {finding.stops}" if finding.proposal is None else diff_of(project, finding))
    return "\n".join(lines).replace("\r", "\\r") + "\n" if lines else "nothing\n"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_found_of_a_project(tmp_path: Path, case: Path) -> None:
    text = case.read_bytes().decode()
    files, expected = read(text)
    actual = found(tmp_path, files, files["Dockerfile"])
    if os.environ.get("GOLDEN") == "write":
        case.write_bytes((text.partition(_FOUND)[0] + _FOUND + actual).encode())
        return
    assert actual == expected


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_proposed_is_not_found_again(tmp_path: Path, case: Path) -> None:
    files, _ = read(case.read_bytes().decode())
    others = {path: text for path, text in files.items() if path != "Dockerfile"}
    project = subject(tmp_path / "before", files["Dockerfile"], others)
    for finding in [one for rule in (*ORDER, *VARIABLES) for one in rule(project)]:
        if finding.proposal is None:
            continue
        after = apply_edits(project.source, finding.proposal.edits).decode()
        again = subject(tmp_path / finding.code, after, others)
        assert finding.code not in {one.code for rule in (*ORDER, *VARIABLES) for one in rule(again)}
        kept = [line for line in project.source.decode().splitlines() if line.startswith("#")]
        assert sorted(line for line in after.splitlines() if line.startswith("#")) == sorted(kept)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_proposed_does_the_same_but_for_its_intent(tmp_path: Path, case: Path) -> None:
    files, _ = read(case.read_bytes().decode())
    others = {path: text for path, text in files.items() if path != "Dockerfile"}
    project = subject(tmp_path / "before", files["Dockerfile"], others)
    for number, finding in enumerate(one for rule in (*ORDER, *VARIABLES) for one in rule(project)):
        if finding.proposal is not None:
            after = apply_edits(project.source, finding.proposal.edits).decode()
            again = subject(tmp_path / str(number), after, others)
            intends = finding.proposal.intends
            assert compare_graphs(project.model.graph, again.model.graph, intends) == ()


def test_a_copy_of_another_target_is_not_looked_at(tmp_path: Path) -> None:
    dockerfile = "FROM python:3.12 AS bad\nCOPY . .\nRUN pip install -r requirements.txt\n"
    dockerfile += "FROM scratch AS good\nCOPY a.py /\n"
    files = {"requirements.txt": "flask\n", "a.py": "1\n"}
    good = subject(tmp_path / "good", dockerfile, files)
    bad = subject(tmp_path / "bad", dockerfile, files, settings=replace(Settings(), target="bad"))
    assert [one for rule in ORDER for one in rule(good)] == []
    assert [one.code for rule in ORDER for one in rule(bad)] == ["source-before-install"]


def test_line_ends_small_letters_and_a_missing_end_stay_as_they_are(tmp_path: Path) -> None:
    dockerfile = "from python:3.12\r\nworkdir /app\r\ncopy . .\r\nrun pip install -r requirements.txt"
    project = subject(tmp_path, dockerfile, {"requirements.txt": "flask\n", "a.py": "1\n"})
    (finding,) = [one for rule in ORDER for one in rule(project)]
    assert finding.proposal is not None
    assert apply_edits(project.source, finding.proposal.edits) == (
        b"from python:3.12\r\nworkdir /app\r\ncopy requirements.txt ./\r\n"
        b"run pip install -r requirements.txt\r\ncopy . .\r\n"
    )


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ("WORKDIR /other\n", "WORKDIR on line 4 changes where the copy goes"),
        ("RUN python manage.py check\n", "`python manage.py` on line 4 may read the source"),
        ("COPY --from=ghcr.io/x/y /files/ ./\n", "line 4 may replace files of the copy"),
        ("VOLUME /app\n", "line 4 stands between"),
    ],
)
def test_what_a_copy_cannot_pass_keeps_it_where_it_is(tmp_path: Path, between: str, reason: str) -> None:
    dockerfile = (
        f"FROM python:3.12\nWORKDIR /app\nCOPY . .\n{between}RUN pip install -r /app/requirements.txt\n"
    )
    project = subject(tmp_path, dockerfile, {"requirements.txt": "flask\n", "a.py": "1\n"})
    (finding,) = [one for rule in ORDER for one in rule(project)]
    assert finding.proposal is None
    assert finding.stops == reason


@pytest.mark.parametrize(
    "run",
    [
        "RUN . ./env.sh && pip install -r requirements.txt",
        "RUN . venv/bin/activate && pip install -r requirements.txt",
        "RUN pip install -r requirements.txt > install.log",
        "RUN cat < requirements.txt | xargs pip install",
        "RUN --mount=type=bind,source=requirements.txt,target=/r.txt pip install -r /r.txt",
        "RUN make install",
        "RUN pip install -e .",
        "RUN pip install .[dev]",
        "RUN pip install --no-index --find-links ./wheels x",
        "RUN cp .env.example .env && pip install -r requirements.txt",
        'SHELL ["pwsh", "-c"]\nRUN pip install -r requirements.txt',
    ],
)
def test_a_step_that_may_read_more_of_the_source_is_left_in_peace(tmp_path: Path, run: str) -> None:
    files = {"requirements.txt": "flask\n", "a.py": "1\n", "setup.py": "1\n", "env.sh": "1\n"}
    files |= {"venv/bin/activate": "1\n", ".env.example": "1\n", "wheels/x.whl": "1\n", "Makefile": "x:\n"}
    project = subject(tmp_path, f"FROM python:3.12\nWORKDIR /app\nCOPY . .\n{run}\n", files)
    assert [one for rule in ORDER for one in rule(project) if one.proposal is not None] == []
