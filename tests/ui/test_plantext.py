"""A plan as text is a joy to read and fits; as JSON it is a contract."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.plan.model import PathChange, Plan
from devloop.ui.plantext import Size, layers_lines, plan_json, plan_lines, runs_sentence, weights_lines
from devloop.ui.text import text_width
from support import made_up_session as made_up

PLANS = {
    "code": made_up.main_plan(),
    "requirements": made_up.list_plan(),
    "nothing": made_up.nothing_plan(),
    "stages": made_up.stages_plan(),
    "first": made_up.first_plan(),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", list(PLANS))
def test_a_plan_reads_as_it_should(name: str, width: int, golden: Callable[[str, str], None]) -> None:
    golden(f"plan-{name}-{width}.txt", "\n".join([*plan_lines(PLANS[name], width, ascii_only=False), ""]))


def test_a_plan_in_colour(golden: Callable[[str, str], None]) -> None:
    lines = plan_lines(PLANS["requirements"], 80, ascii_only=False, color=True)
    golden("plan-requirements-80-color.txt", "\n".join([*lines, ""]))


def test_a_plan_in_ascii(golden: Callable[[str, str], None]) -> None:
    lines = plan_lines(PLANS["requirements"], 80, ascii_only=True)
    assert all(line.isascii() for line in lines)
    golden("plan-requirements-80-ascii.txt", "\n".join([*lines, ""]))


@given(st.sampled_from(list(PLANS.values())), st.integers(min_value=40, max_value=200), st.booleans())
def test_every_line_of_a_plan_fits_the_terminal(plan: Plan, width: int, ascii_only: bool) -> None:
    for line in plan_lines(plan, width, ascii_only=ascii_only):
        # A word that is longer than its column stays whole: a broken flag cannot be copied.
        assert text_width(line) <= width or len(line.split()) == 1


def test_colour_changes_no_text() -> None:
    for plan in PLANS.values():
        colored = plan_lines(plan, 80, ascii_only=False, color=True)
        stripped = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in colored]
        assert stripped == plan_lines(plan, 80, ascii_only=False)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "  ! again: RUN pip install -...requirements.txt (line 4), 14s  [expensive-rerun]"),
        (44, "  ! again: RUN pip ...ents.txt (line 4), 14s"),
    ],
)
def test_a_warning_that_repeats_is_one_line(width: int, expected: str) -> None:
    plan = made_up.list_plan()
    warned = replace(plan.warnings[0], repeats=True)
    lines = plan_lines(replace(plan, warnings=(warned,)), width, ascii_only=True)
    assert lines[-1] == expected
    assert lines[-2] == ""


def test_many_changes_are_counted() -> None:
    changes = tuple(PathChange(f"src/file{n:02}.py", "added") for n in range(30))
    text = "\n".join(plan_lines(replace(PLANS["code"], changes=changes), 80, ascii_only=False))
    assert "src/file07.py (added)" in text
    assert "src/file08.py" not in text
    assert "and 22 more" in text


def test_a_path_cannot_steer_the_terminal() -> None:
    plan = replace(PLANS["code"], changes=(PathChange("a\x1b[2Jb\n", "added"),))
    text = "\n".join(plan_lines(plan, 80, ascii_only=False))
    assert "a\\x1b[2Jb\\x0a (added)" in text


def test_a_plan_without_known_costs_says_so() -> None:
    steps = tuple(replace(step, seconds=None, seconds_from=None) for step in PLANS["code"].steps)
    text = "\n".join(plan_lines(replace(PLANS["code"], steps=steps, seconds=None), 80, ascii_only=False))
    assert "how long that takes is not known yet" in text


def test_a_from_is_no_step_that_a_build_runs() -> None:
    plan = PLANS["nothing"]
    assert [step.instruction for step in plan.steps].count("FROM") == 1
    text = "\n".join(plan_lines(plan, 80, ascii_only=False))
    assert f"all {len(plan.steps) - 1} steps stay cached" in text


def test_a_change_of_the_configuration_alone_is_named() -> None:
    plan = replace(PLANS["nothing"], action="rebuild", seconds=0.4, config_changed=True)
    text = " ".join("\n".join(plan_lines(plan, 80, ascii_only=False)).split())
    assert "all 4 steps stay cached, only the image's configuration changes, about 0.4s in all" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_layers(width: int, golden: Callable[[str, str], None]) -> None:
    lines = layers_lines(made_up.layer_rows(), width, ascii_only=False)
    assert all(text_width(line) <= width for line in lines)
    golden(f"layers-{width}.txt", "\n".join([*lines, ""]))


def test_weighed_layers_have_a_column_of_sizes() -> None:
    sizes: tuple[Size, ...] = (144_000_000, "elsewhere", 0, "unknown", 1_250)
    rows = [replace(row, size=size) for row, size in zip(made_up.layer_rows(), sizes, strict=True)]
    head, *lines = layers_lines(rows, 80, ascii_only=True)
    assert all(text_width(line) <= 80 for line in lines)
    at = head.index("size")
    assert [line[at - 8 : at + 4].split("  ")[-1].strip() for line in lines] == [
        "144 MB",
        "not in it",
        "0 B",
        "?",
        "1.2 kB",
    ]
    assert "?" not in " ".join(weights_lines(5_000, 0, "devloop/web:latest", 80))
    assert "1.4 GB in all" in weights_lines(1_400_000_000, 12, "devloop/web:latest", 80)[1]
    assert "12 B belong to steps that have changed" in " ".join(weights_lines(5_000, 12, "x", 80))


def test_a_table_without_layers_has_only_its_head() -> None:
    assert layers_lines((), 80, ascii_only=True) == ["stage  line  step  fed by  cost"]


def test_the_contract_has_these_keys_and_no_others(golden: Callable[[str, str], None]) -> None:
    text = plan_json([PLANS["requirements"], PLANS["nothing"]])
    document = json.loads(text)
    assert list(document) == ["schema", "targets"]
    assert document["schema"] == "devloop.plan/1"
    for target in document["targets"]:
        assert set(target) == {
            *("name", "dockerfile", "context", "changes", "steps"),
            *("earliest", "seconds", "action", "reason"),
        }
        for step in target["steps"]:
            assert set(step) == {
                *("stage", "ordinal", "line", "instruction", "text", "status"),
                *("cause", "kind", "expensive", "seconds", "seconds_from"),
            }
    assert document["targets"][0]["earliest"] == {"line": 3, "instruction": "COPY"}
    assert document["targets"][1]["earliest"] is None
    golden("plan.json", f"{text}\n")


def test_the_contract_is_ascii() -> None:
    assert plan_json([PLANS["stages"]]).isascii()


def test_a_plan_is_shown_without_heavy_libraries() -> None:
    program = "import sys, devloop.ui.plantext; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"rich", "pydantic", "docker", "json", "asyncio", "watchdog"}


def test_a_sync_that_spares_no_step_and_takes_no_time_is_told_in_words() -> None:
    idle = replace(made_up.nothing_plan(), action="sync", seconds=0.01)
    assert runs_sentence(idle) == "less than 0.1s, where a rebuild would run no step"
