"""Every code that is said anywhere is known, so that silencing it is never called a mistake."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import devloop
from devloop.plan.codes import CODES, FINDINGS, WARNINGS
from support.projects import Project, load_projects

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(devloop.__file__).parent


def said(folder: str, name: str) -> set[str]:
    """Return the codes with which values of this class are made in the modules of a folder."""
    found: set[str] = set()
    for path in (SOURCE / folder).glob("*.py"):
        module = ast.parse(path.read_bytes())
        constants = {
            target.id: node.value.value
            for node in module.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(module):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
                for keyword in call.keywords:
                    if keyword.arg == "code":
                        found |= _texts(keyword.value, constants)
    return found


def _texts(node: ast.expr, constants: Mapping[str, object]) -> set[str]:
    if isinstance(node, ast.IfExp):
        return _texts(node.body, constants) | _texts(node.orelse, constants)
    value = constants.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", None)
    return {value} if isinstance(value, str) else set()


def test_every_code_of_the_doctor_is_known_and_no_other_is() -> None:
    assert said("doctor", "Finding") == FINDINGS


@pytest.mark.parametrize("folder", ["plan", "project"])
def test_every_code_of_a_warning_is_known(folder: str) -> None:
    assert said(folder, "Warned") <= WARNINGS.keys()


@pytest.mark.parametrize("project", load_projects(), ids=lambda project: project.name)
def test_every_code_that_the_projects_of_the_tests_expect_is_known(project: Project) -> None:
    assert {one.split()[-1] for edit in project.edits for one in edit.warnings} <= WARNINGS.keys()


def test_codes_are_written_as_they_are_silenced() -> None:
    assert all(code == code.lower() and " " not in code for code in CODES)
