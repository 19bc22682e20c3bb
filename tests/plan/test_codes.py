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
    return {
        code
        for path in (SOURCE / folder).rglob("*.py")
        for code in made_in(ast.parse(path.read_bytes()), name)
    }


def made_in(module: ast.Module, name: str) -> set[str]:
    """Return the codes of the values of a class that a module makes; `? x` is one that only a run tells."""
    constants = _constants(module)
    return {
        code
        for call in ast.walk(module)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name
        for keyword in call.keywords
        if keyword.arg == "code"
        for code in _texts(keyword.value, constants)
    }


def _constants(module: ast.Module) -> dict[str, object]:
    """Return the values that a module gives to names, one by one or several in a row."""
    found: dict[str, object] = {}
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=True))
            found |= {
                name.id: value.value
                for name, value in pairs
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant)
            }
    return found


def _texts(node: ast.expr, constants: Mapping[str, object]) -> set[str]:
    if isinstance(node, ast.IfExp):
        return _texts(node.body, constants) | _texts(node.orelse, constants)
    value = constants.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", None)
    return {value if isinstance(value, str) else f"? {ast.unparse(node)}"}


def test_every_code_of_the_doctor_is_known_and_no_other_is() -> None:
    assert said("doctor", "Finding") == FINDINGS


@pytest.mark.parametrize("folder", ["plan", "project"])
def test_every_code_of_a_warning_is_known(folder: str) -> None:
    # What `plan.decide` chooses by the path is among what the projects below expect.
    assert said(folder, "Warned") - {"? code"} <= WARNINGS.keys()


@pytest.mark.parametrize("project", load_projects(), ids=lambda project: project.name)
def test_every_code_that_the_projects_of_the_tests_expect_is_known(project: Project) -> None:
    assert {one.split()[-1] for edit in project.edits for one in edit.warnings} <= WARNINGS.keys()


def test_codes_are_written_as_they_are_silenced() -> None:
    assert all(code == code.lower() and " " not in code for code in CODES)


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("Finding(code='a')", {"a"}),
        ("A = 'a'\nFinding(code=A)", {"a"}),
        ("A, B = 'a', 'b'\nFinding(code=A if 1 else B)", {"a", "b"}),
        ("Other(code='a')", set()),
        ("Finding(code=named())", {"? named()"}),
    ],
)
def test_a_code_is_found_however_it_is_written(source: str, codes: set[str]) -> None:
    assert made_in(ast.parse(source), "Finding") == codes
