"""The configuration file: what it may hold, and how it says what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devloop.config import ConfigProblem, check_config, find_config, load_config, merged, schema
from devloop.defaults import default_config, explanations
from devloop.project.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def _write(text: str, name: str = "devloop.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return _write


# The file that shows every key


def test_the_shown_file_is_what_the_command_prints() -> None:
    assert (REPOSITORY / "config" / "devloop.toml").read_text() == default_config()


def test_the_shown_file_parses_to_exactly_the_defaults() -> None:
    found = tomllib.loads(default_config())
    assert Settings(**check_config(found, "devloop.toml")) == Settings()


def test_the_commented_keys_can_be_uncommented() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", default_config(), flags=re.MULTILINE)
    found = check_config(tomllib.loads(text), "devloop.toml")
    assert set(found) == {field.name for field in fields(Settings)}


def test_every_setting_is_explained_once() -> None:
    assert sorted(explanations()) == sorted(field.name for field in fields(Settings))
    assert all(explanations().values())


def test_the_schema_is_current() -> None:
    """`devloop config --schema > config/devloop.schema.json` makes it so."""
    assert json.loads((REPOSITORY / "config" / "devloop.schema.json").read_text()) == schema()


def test_the_schema_describes_every_key_and_no_other() -> None:
    found = schema()
    assert set(found["properties"]) == {field.name for field in fields(Settings)}
    assert all(entry["description"] for entry in found["properties"].values())
    assert found["additionalProperties"] is False


FLAGS = (
    *("file", "target", "build-arg", "context", "name", "publish", "env", "env-file", "network", "no-run"),
    *("once", "output", "no-cache", "platform", "build-context", "poll"),
)


def test_watch_has_a_flag_for_every_common_setting() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "devloop", "watch", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert [flag for flag in FLAGS if f"--{flag} " not in help_text] == []


# Where it is found


def test_a_folder_without_configuration_has_none(tmp_path: Path) -> None:
    assert find_config(tmp_path) is None


def test_an_own_file_wins_over_the_table_in_pyproject(write: Callable[..., Path], tmp_path: Path) -> None:
    project = write("[tool.devloop]\nname = 'a'\n", "pyproject.toml")
    assert find_config(tmp_path) == project
    own = write("name = 'b'\n")
    assert find_config(tmp_path) == own


def test_a_pyproject_without_our_table_is_no_configuration(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write("[tool.ruff]\n", "pyproject.toml")
    assert find_config(tmp_path) is None


def test_the_table_in_pyproject_is_read(write: Callable[..., Path]) -> None:
    path = write("[project]\nname = 'x'\n[tool.devloop]\ntarget = 'dev'\n", "pyproject.toml")
    assert load_config(path) == {"target": "dev"}


@pytest.mark.parametrize("text", ["tool = 1 # tool.devloop", "# tool.devloop"])
def test_a_pyproject_that_only_mentions_us_sets_nothing(write: Callable[..., Path], text: str) -> None:
    assert load_config(write(text, "pyproject.toml")) == {}


# What it holds


def test_only_keys_that_are_set_are_returned(write: Callable[..., Path]) -> None:
    assert load_config(write("target = 'dev'\nrun = true\n")) == {"target": "dev", "run": True}


def test_ports_and_variables_may_be_written_as_numbers(write: Callable[..., Path]) -> None:
    found = load_config(write("publish = [8000]\n[env]\nPORT = 8000\n[build_arg]\nLEVEL = 1.5\n"))
    assert found == {"publish": ["8000"], "env": {"PORT": "8000"}, "build_arg": {"LEVEL": "1.5"}}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("tagret = 'x'", "devloop.toml: unknown key 'tagret'", "did you mean 'target'?"),
        ("build-arg = {}", "devloop.toml: unknown key 'build-arg'", "did you mean 'build_arg'?"),
        ("run = 'perhaps'", "devloop.toml: run: must be a boolean", "devloop config"),
        ("target = ['a']", "devloop.toml: target: must be a string", "devloop config"),
        ("publish = '8000'", "devloop.toml: publish: must be a list", "devloop config"),
        ("stop_seconds = 'soon'", "devloop.toml: stop_seconds: must be a number", "config"),
        ("output = 'loud'", "devloop.toml: output: must be 'auto', 'live', 'plain' or 'json'", ""),
        ("[env]\nA = [1]", "devloop.toml: env.A: must be a string", "devloop config"),
        ("target = ", "devloop.toml is not valid TOML: Invalid value", ""),
    ],
)
def test_a_mistake_is_named_with_a_way_out(
    write: Callable[..., Path], text: str, message: str, hint: str
) -> None:
    with pytest.raises(ConfigProblem) as found:
        load_config(write(text))
    assert found.value.message.startswith(message)
    assert hint in (found.value.hint or "")


def test_an_unknown_key_like_none_lists_what_there_is(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigProblem) as found:
        load_config(write("zzz = 1"))
    assert "known keys: add_host, " in (found.value.hint or "")


def test_a_file_that_is_no_text_is_said_to_be_no_toml(tmp_path: Path) -> None:
    (tmp_path / "devloop.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigProblem, match="not valid TOML"):
        load_config(tmp_path / "devloop.toml")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "devloop.toml").mkdir()
    with pytest.raises(ConfigProblem, match="cannot be read"):
        load_config(tmp_path / "devloop.toml")


@pytest.mark.parametrize(
    ("file", "flags", "expected"),
    [
        ({"target": "a"}, {"target": "b"}, {"target": "b"}),
        ({"target": "a"}, {"target": None}, {"target": "a"}),
        ({"publish": ["1"]}, {"publish": ["2"]}, {"publish": ["2"]}),
        ({"env": {"A": "1", "B": "1"}}, {"env": {"B": "2"}}, {"env": {"A": "1", "B": "2"}}),
        ({}, {"env": {"A": None}}, {"env": {"A": None}}),
    ],
)
def test_a_flag_replaces_a_value_or_list_and_adds_to_a_table(
    file: dict[str, Any], flags: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merged(file, flags) == Settings(**expected)


def test_a_mistyped_key_of_a_rule_is_named(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigProblem, match=r"sync\.0\.tagret"):
        load_config(write("[[sync]]\npath = 'src'\ntarget = '/app'\ntagret = '/app'\n"))
