"""What the doctor says reads well in every width, steers no terminal, and is a contract as JSON and SARIF."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.proof import Check, Proof, Sizes
from devloop.doctor.report import Examination, Examined, Tally
from devloop.ui.doctortext import FEW, doctor_json, doctor_lines, notable
from devloop.ui.sarif import sarif
from devloop.ui.text import text_width

if TYPE_CHECKING:
    from collections.abc import Callable

ORDER = Finding(
    code="source-before-install",
    title="`pip install` runs again for every change of the source",
    first_line=3,
    last_line=4,
    why="COPY . . (line 3) puts 48 files above it, and it reads only requirements.txt",
    way_out="copy the manifests, install, then copy the source",
    category="speed",
    proposal=Proposal(
        (LineEdit(3, 3, b"COPY requirements.txt ./\n"), LineEdit(5, 4, b"COPY . .\n")),
        intends=frozenset({"order"}),
    ),
    wasted=(2,),
    seconds=38.2,
)
DIFF = (
    "--- a/Dockerfile",
    "+++ b/Dockerfile",
    "@@ -1,5 +1,6 @@",
    " FROM python:3.12-slim",
    " WORKDIR /app",
    "-COPY . .",
    "+COPY requirements.txt ./",
    " RUN pip install -r requirements.txt",
    "+COPY . .",
    ' CMD ["python", "app.py"]',
)
PROOF = Proof(
    (
        Check("reads", "passed", "the new text parses and resolves for the target"),
        Check("graph", "passed", "the steps are the same but for what is intended (order)"),
        Check("history", "passed", "200 commits would have cost 2 h, and cost 10 min"),
        Check("builds", "not verified", "nothing was built"),
        Check("files", "not verified", "nothing was built"),
    )
)
SECRET = Finding(
    code="secret-in-context",
    title="a key reaches the image: deploy/id_rsa",
    first_line=3,
    last_line=3,
    why="COPY . . takes it, and whoever has the image has it",
    way_out="name it in .dockerignore, and mount it as a secret where a step needs it",
    category="security",
)
STOPPED = Finding(
    code="source-before-install",
    title="`npm ci` runs again for every change of the source",
    first_line=9,
    last_line=10,
    why="COPY web/ web/ (line 9) puts 12 files above it, and it reads only what describes the dependencies",
    way_out="copy the manifests, install, then copy the source",
    category="speed",
    wasted=(5,),
    seconds=20.0,
    stops="the script postinstall of package.json runs `npm run build`",
)
JUNK = Finding(
    code="context-junk",
    title="data reaches COPY on line 3",
    first_line=3,
    last_line=3,
    why="data/\x1b[31m: 3 files",
    way_out="keep it out: data",
    category="size",
    bytes=1_234_567_890,
)
SMALL = replace(STOPPED, title="`true` runs again", seconds=0.2, wasted=())
FOUND = Examination(
    name="web_api",
    dockerfile="Dockerfile",
    source=b"",
    findings=(
        Examined(SECRET),
        Examined(
            ORDER,
            4584.0,
            120.0,
            "measured, 4 runs",
            PROOF,
            DIFF,
            Tally(180, 200, 12, 6876.0, ("src/main.py", "src/db.py")),
            Tally(38, 40, 2, 1451.0, ("src/main.py", "src/api.py", "src/a.py", "src/b.py")),
            "commits",
        ),
        Examined(STOPPED, 8.0, 0.4, "never built here", commits=Tally(5, 200, 12, 96.0), measure="commits"),
        Examined(JUNK, commits=Tally(0, 200, 12, 0.0, (), 3)),
        Examined(SMALL),
    ),
    commits=200,
    weeks=12,
    silenced=1,
    builds=40,
    build_weeks=2,
    measure="commits",
)
BUILT = replace(
    FOUND,
    findings=(
        Examined(
            ORDER,
            None,
            None,
            "measured, 4 runs",
            Proof(
                (Check("reads", "passed", ""), Check("builds", "passed", "")), Sizes(312_000_000, 311_000_000)
            ),
            DIFF,
        ),
    ),
    commits=None,
    reason="this folder is in no git repository",
    silenced=0,
    is_built=True,
    builds=0,
    measure=None,
)
NOTHING = replace(FOUND, findings=(), silenced=0, builds=0)
SEEN = replace(FOUND, findings=(FOUND.findings[1],), commits=None, measure="builds", silenced=0)


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize(
    ("name", "examination", "options"),
    [
        ("doctor", FOUND, {}),
        ("doctor-all-ascii", FOUND, {"shows_all": True, "ascii_only": True}),
        ("doctor-color", FOUND, {"color": True}),
        ("doctor-built", BUILT, {}),
        ("doctor-seen", SEEN, {}),
        ("doctor-nothing", NOTHING, {}),
    ],
)
def test_findings_read_well(
    golden: Callable[[str, str], None],
    width: int,
    name: str,
    examination: Examination,
    options: dict[str, bool],
) -> None:
    chosen = {"ascii_only": False, **options}
    lines = doctor_lines(examination, width, **chosen)
    golden(f"{name}-{width}.txt", "\n".join(lines) + "\n")
    if chosen["ascii_only"]:
        assert "\n".join(lines).isascii()


@pytest.mark.parametrize("width", [40, 66, 80, 140])
def test_no_line_but_those_of_a_diff_is_wider_than_the_screen(width: int) -> None:
    lines = doctor_lines(FOUND, width, shows_all=True, ascii_only=False)
    of_diffs = {line.strip() for line in DIFF}
    assert [line for line in lines if text_width(line) > width and line.strip() not in of_diffs] == []


def test_nothing_that_is_found_steers_the_terminal() -> None:
    assert "\x1b" not in "\n".join(doctor_lines(FOUND, 80, shows_all=True, ascii_only=False))


def test_only_the_few_that_cost_something_are_shown_unasked() -> None:
    assert [one.finding.title for one in notable(FOUND)] == [
        one.title for one in (SECRET, ORDER, STOPPED, JUNK)
    ]
    many = replace(FOUND, findings=FOUND.findings[1:2] * 9)
    assert len(notable(many)) == FEW


@pytest.mark.parametrize(
    ("code", "commits", "said"),
    [
        ("volatile-variable", None, "with each new value"),
        ("volatile-variable", Tally(7, 9, 1), "for a new value in 7 of the last 9 commits"),
        ("no-cache-mount", Tally(9, 9, 1), "20s a run, in all of the last 9 commits"),
        ("context-junk", Tally(1, 1, 1), "for nothing in the only commit"),
        ("context-junk", Tally(0, 1, 1), "20s a run, not in the only commit"),
        ("context-junk", Tally(0, 9, 1), "20s a run, in none of the last 9 commits"),
        ("context-junk", Tally(2, 9, 1, None, ("a",), 1), "commits: a; 1 of its files is not in git"),
    ],
)
def test_how_often_it_is_reads_well(code: str, commits: Tally | None, said: str) -> None:
    one = replace(FOUND.findings[2], finding=replace(STOPPED, code=code), basis="", commits=commits)
    text = " ".join("\n".join(doctor_lines(replace(FOUND, findings=(one,)), 120, ascii_only=False)).split())
    assert said in text


def test_the_document_holds_every_finding_with_cost_diff_and_checks() -> None:
    document = json.loads(doctor_json(FOUND))
    assert document["schema"] == "devloop.doctor/1"
    assert len(document["findings"]) == len(FOUND.findings)
    order = document["findings"][1]
    assert order["seconds_a_week"] == 4584.0
    assert (order["measure"], order["in_commits"]["runs"], order["in_builds"]["of"]) == ("commits", 180, 40)
    assert document["findings"][2]["in_builds"] is None
    assert order["diff"] == "\n".join(DIFF) + "\n"
    assert [one["verdict"] for one in order["checks"]] == ["passed"] * 3 + ["not verified"] * 2
    assert document["findings"][2]["no_diff"] == STOPPED.stops


def test_sarif_has_a_rule_for_each_code_and_a_fix_where_the_dockerfile_is_all_that_changes() -> None:
    found = replace(FOUND, source=b"1\n2\n3\n4\n")
    run = json.loads(sarif(found, "1.0", "web/Dockerfile"))["runs"][0]
    assert run["columnKind"] == "unicodeCodePoints"
    codes = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert codes == ["context-junk", "secret-in-context", "source-before-install"]
    assert [codes[one["ruleIndex"]] for one in run["results"]] == [one.finding.code for one in FOUND.findings]
    assert run["results"][0]["level"] == "error"
    replacements = run["results"][1]["fixes"][0]["artifactChanges"][0]["replacements"]
    assert [one["deletedRegion"] for one in replacements] == [
        {"startLine": 3, "startColumn": 1, "endLine": 4, "endColumn": 1},
        {"startLine": 5, "startColumn": 1, "endLine": 5, "endColumn": 1},
    ]
    assert "fixes" not in run["results"][2]


def test_a_fix_in_sarif_names_no_place_behind_the_end_of_the_file_and_no_bytes_that_are_no_text() -> None:
    def replacements(source: bytes) -> list[dict[str, Any]]:
        edits = Proposal((LineEdit(2, 2, b"two\n"), LineEdit(3, 2, b"three\n")))
        one = Examined(replace(ORDER, proposal=edits))
        run = json.loads(sarif(replace(FOUND, source=source, findings=(one,)), "1.0", "Dockerfile"))["runs"][
            0
        ]
        changes = [fix["artifactChanges"][0] for fix in run["results"][0].get("fixes", ())]
        return [each for change in changes for each in change["replacements"]]

    assert replacements("1\nzwölf".encode()) == [
        {
            "deletedRegion": {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 6},
            "insertedContent": {"text": "two\n"},
        },
        {
            "deletedRegion": {"startLine": 2, "startColumn": 6, "endLine": 2, "endColumn": 6},
            "insertedContent": {"text": "\nthree\n"},
        },
    ]
    assert replacements(b"1\n2\n")[0]["deletedRegion"]["endLine"] == 3
    assert replacements(b"1\n\xff") == []
