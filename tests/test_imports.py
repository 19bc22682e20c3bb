"""The picture in docs/architecture.md is true: who imports whom, and what stays clear of the world."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "devloop"

LAYERS = (
    ("errors", "paths", "__init__"),
    ("state",),
    ("dockerfile",),
    ("context",),
    ("cache",),
    ("cost",),
    ("plan",),
    ("project.settings",),
    ("project",),
    ("watch",),
    ("engine",),
    ("loop",),
    ("doctor",),
    ("ui",),
    ("config", "defaults", "planning", "review"),
    ("cli", "cli_doctor", "cli_options", "cli_print", "cli_replay"),
    ("__main__",),
)
"""Each layer knows those above it, and itself."""

PURE = (
    *("dockerfile", "plan", "paths", "errors"),
    *("cache.records", "cache.predict", "cache.baseline"),
    *("cost.shell", "cost.classify", "cost.priors", "cost.estimate", "cost.report", "cost.weight"),
    *("cost.manifests", "cost.manifest_parts", "cost.manifest_data", "cost.manifest_lines"),
    *("context.patterns", "context.snapshot", "context.selection", "context.entered"),
    *("watch.debounce", "watch.events", "watch.ephemeral"),
    *("loop.state", "loop.events"),
    *(
        "ui.board",
        "ui.branchtext",
        "ui.doctortext",
        "ui.plantext",
        "ui.replaytext",
        "ui.reviewtext",
        "ui.sarif",
        "ui.text",
        "ui.view",
        "ui.words",
    ),
    *("engine.progress", "engine.provenance", "engine.outcome", "engine.base", "engine.state"),
    *("engine.runspec",),
    *(
        "doctor.blocks",
        "doctor.graphs",
        "doctor.manifest_installs",
        "doctor.manifest_mounts",
        "doctor.manifest_stages",
        "doctor.manifest_steps",
        "doctor.mentions",
        "doctor.other_linters",
        "doctor.rewrite",
        "doctor.rules_command",
        "doctor.rules_context",
        "doctor.rules_hygiene",
        "doctor.rules_mounts",
        "doctor.kits",
        "doctor.npm_scripts",
        "doctor.rules_reload",
        "doctor.rules_stages",
        "doctor.stage_uses",
        "doctor.stage_names",
        "doctor.stages_node",
        "doctor.starting",
        "doctor.edits",
        "doctor.moves",
        "doctor.sameness",
        "doctor.weights",
        "doctor.needs",
        "doctor.order",
        "doctor.placed",
        "doctor.report",
        "doctor.tallies",
        "doctor.values",
        "doctor.rules_manifest",
        "doctor.rules_variables",
        "doctor.rules_order",
        "doctor.model",
        "doctor.branch",
        "doctor.replay",
    ),
)
WORLD = {
    *("os", "subprocess", "threading", "time", "socket", "shutil", "tempfile", "signal", "asyncio", "queue"),
    *("sqlite3", "docker", "watchdog", "rich", "pydantic", "typer", "platformdirs"),
}
HEAVY = ("pydantic", "docker", "rich", "watchdog", "sqlite3", "asyncio", "requests", "http.client", "ssl")


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def imports(module: str, *, is_late: bool = True) -> frozenset[str]:
    """Return everything that a module imports: at its top, and late inside of functions; not for types."""
    found: set[str] = set()
    for node in _runtime_nodes(ast.parse(MODULES[module].read_bytes()), is_late=is_late):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            assert node.level == 0, f"{module} imports relatively"
            found.add(name)
            found.update(f"{name}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _runtime_nodes(tree: ast.AST, *, is_late: bool) -> list[ast.AST]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef) and not is_late:
            continue
        found += [node, *_runtime_nodes(node, is_late=is_late)]
    return found


def own_imports(module: str, *, is_late: bool = True) -> set[str]:
    """Return the modules of devloop that a module imports."""
    names = {name.removeprefix("devloop.") for name in imports(module, is_late=is_late)}
    return names & MODULES.keys() - {module}


def layer(module: str) -> int:
    """Return the layer of a module: the one that names it, or a package above it, most exactly."""
    fitting = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert fitting, f"{module} has no place in LAYERS"
    return max(fitting)[1]


def is_pure(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in PURE)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_layers_above(module: str) -> None:
    wrong = {other for other in own_imports(module) if layer(other) > layer(module)}
    assert wrong == set()


@pytest.mark.parametrize("module", [name for name in MODULES if is_pure(name)])
def test_pure_modules_stay_clear_of_the_world(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} & WORLD == set()


@pytest.mark.parametrize("module", [name for name in MODULES if is_pure(name)])
def test_pure_modules_use_only_pure_modules(module: str) -> None:
    assert {other for other in own_imports(module) if not is_pure(other) and "." in other} == set()


def test_every_name_in_the_picture_exists() -> None:
    packages = {name.rpartition(".")[0] for name in MODULES}
    named = {*PURE, *(name for names in LAYERS for name in names)}
    assert named - set(MODULES) - packages == set()


def test_no_module_is_loaded_in_a_circle() -> None:
    waiting = {module: own_imports(module, is_late=False) for module in MODULES}
    while ready := {module for module, needed in waiting.items() if not needed & waiting.keys()}:
        waiting = {module: needed for module, needed in waiting.items() if module not in ready}
    assert waiting == {}


# What a start costs -----------------------------------------------------------------------------------------


def loaded(code: str, folder: Path) -> list[str]:
    """Return those of the heavy modules that a fresh interpreter has loaded after running `code`."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    environ = {**os.environ, "DEVLOOP_STATE_DIR": str(folder / "state")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_command_line_itself_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import devloop.cli", tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", "main.py"],
        ["plan", "--json"],
        ["layers"],
        ["why"],
        ["why", "main.py"],
        ["why", "2"],
        ["stats", "--json"],
    ],
)
def test_what_needs_no_engine_and_no_configuration_file_loads_no_big_library(
    tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /app\n")
    (tmp_path / "main.py").write_text("")
    found = loaded(f"from devloop.cli import run\nassert run({arguments!r}) == 0", tmp_path)
    assert set(found) <= {"sqlite3"}
