"""The programs of the stage and the cut made here agree, on manifests of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devloop.doctor.manifest_stages import cut, script

if TYPE_CHECKING:
    from pathlib import Path


NODE = """
const [folders, name, script] = process.argv.slice(1);
process.argv = ["node", "-", name];
for (const folder of JSON.parse(folders)) { process.chdir(folder); Function("require", script)(require); }
"""
PYTHON = """
import json, os, sys
folders, name, script = sys.argv[1:]
sys.argv = ["-", name]
for folder in json.loads(folders):
    os.chdir(folder)
    exec(script, {})
"""


def run(folder: Path, name: str, sources: list[bytes]) -> list[bytes]:
    """Let the program of the stage cut each manifest in a folder of its own, all by one process."""
    folders = [folder / f"{number}" for number in range(len(sources))]
    for one, source in zip(folders, sources, strict=True):
        one.mkdir(exist_ok=True)
        (one / name).write_bytes(source)
    program = ("node", "-e", NODE) if name == "package.json" else (sys.executable, "-c", PYTHON)
    listed = json.dumps([str(one) for one in folders])
    subprocess.run((*program, listed, name, script(name)), check=True, capture_output=True)
    return [(one / name).read_bytes() for one in folders]


NAMES = st.sampled_from(
    ["name", "version", "description", "jest", "author", "scripts", "dependencies", "lint-staged", "type"]
) | st.text(st.characters(exclude_categories=["Cs", "Nd"]), max_size=5)
HOOKS = st.sampled_from(["husky", "husky || true", "patch-package && true", "node a.js", "true ", "is-ci"])
SCRIPTS = st.dictionaries(
    st.sampled_from(["test", "prepare", "postinstall", "install", "pnpm:devPreinstall", "preparex"]), HOOKS
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PACKAGES = st.builds(
    lambda rest, scripts: {**rest, **scripts},
    st.dictionaries(NAMES.filter(lambda name: name != "scripts"), VALUES, max_size=5),
    st.just({}) | st.builds(lambda scripts: {"scripts": scripts}, SCRIPTS),
)
INDENTS = st.sampled_from([None, 0, 2])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(lambda one, indent: json.dumps(one, indent=indent).encode(), PACKAGES, INDENTS)))
def test_node_cuts_what_the_doctor_counts_on(tmp_path: Path, sources: list[bytes]) -> None:
    assert run(tmp_path, "package.json", sources) == [cut("package.json", source) for source in sources]


LINES = st.sampled_from(
    [
        *(
            "[project]\n",
            "[tool.poetry]\n",
            "[tool.ruff]\n",
            "[tool.ruff.lint]\n",
            "[[tool.mypy.overrides]]\n",
        ),
        *("[tool.uv]\n", "[build-system]\n", "[dependency-groups]\n", "[tool.rufff]\n", "  [tool.black]\n"),
        *('version = "1.2"\n', 'version = "2"  # new\n', 'name = "shop"\n', "# a comment\n", "\n", "\r\n"),
        *('build-backend = "poetry.core.masonry.api"\n', 'requires = [\n  "a", # b\n\n]\n', "x = 1\r\n"),
        *('text = """\n[tool.ruff]\n\n# no comment\n"""\n', "list = [\n[1],\n]\n", "y.z = 'é'\n", "broken\n"),
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(LINES, max_size=9, unique=True), max_size=6), st.booleans())
def test_python_cuts_what_the_doctor_counts_on(
    tmp_path: Path, manifests: list[list[str]], is_ended: bool
) -> None:
    sources = [("".join(lines) if is_ended else "".join(lines).rstrip("\n")).encode() for lines in manifests]
    for source, made in zip(sources, run(tmp_path, "pyproject.toml", sources), strict=True):
        assert made == (source if (short := cut("pyproject.toml", source)) is None else short)


REAL = """\
[project]
name = "shop"  # its name
version = "1.4.0"
dependencies = [
    # for the pages
    "flask>=3",
]

[tool.black]
include = '''
^/(a
|b)$
'''

[tool.uv]
package = false

# How it is linted.
[tool.ruff]
line-length = 100
[tool.ruff.lint]
select = [
    "E",
]
[[tool.mypy.overrides]]
module = ["a.*"]

[build-system]
requires = ["hatchling"]
"""


def test_the_tables_of_linters_go_and_the_rest_stays() -> None:
    assert (
        cut("pyproject.toml", REAL.encode())
        == b"""\
[project]
name = "shop"  # its name
version = "1.4.0"
dependencies = [
    "flask>=3",
]
[tool.uv]
package = false
[build-system]
requires = ["hatchling"]
"""
    )


def test_a_version_becomes_nought_where_the_installer_does_not_go_by_it() -> None:
    source = (
        b'[tool.poetry]\nname = "a"\nversion = "1.4.0"\n[tool.poetry.dependencies]\nb = {version = "2"}\n'
    )
    assert cut("pyproject.toml", source) == source.replace(b"1.4.0", b"0")


def test_what_would_tear_a_text_or_an_array_leaves_the_file_as_it_is() -> None:
    for source in (
        b'[project]\ndescription = """\n[tool.ruff]\nx\n"""\n',
        b'[tool.mypy]\nlist = [\n[1],\n]\n[project]\nname = "a"\n',
        b'[project]\ndescription = """a\n\nb"""\n',
    ):
        assert cut("pyproject.toml", source) is source


@pytest.mark.parametrize("source", [b"{", b"[]", b"\xff", b'{"a": NaN}', b"\xef\xbb\xbf{}", b"[" * 9999])
def test_of_a_broken_manifest_nothing_is_said_and_the_program_leaves_it(
    tmp_path: Path, source: bytes
) -> None:
    assert cut("package.json", source) is None
    assert cut("pyproject.toml", source + b"\n=") is None
    assert run(tmp_path, "pyproject.toml", [source + b"\n="]) == [source + b"\n="]


def test_a_manifest_with_a_hook_that_is_not_known_stays_as_it_is() -> None:
    source = json.dumps({"scripts": {"prepare": "npm run build"}, "description": "x"}).encode()
    assert cut("package.json", source) is source


def test_manifests_of_a_workspace_are_cut_together_or_not_at_all(tmp_path: Path) -> None:
    texts = {
        "package.json": {"jest": 1, "scripts": {"prepare": "npm run x -ws"}},
        "a/package.json": {"jest": 1},
    }
    (tmp_path / "a").mkdir()

    def cut_together() -> list[dict[str, object]]:
        for path, document in texts.items():
            (tmp_path / path).write_text(json.dumps(document))
        words = ("node", "-", *texts)
        subprocess.run(words, cwd=tmp_path, input=script("package.json").encode(), check=True)
        return [json.loads((tmp_path / path).read_text()) for path in texts]

    assert cut_together() == list(texts.values())
    texts["package.json"] = {"jest": 1, "scripts": {"prepare": "husky"}}
    assert cut_together() == [{"scripts": {"prepare": "husky"}}, {}]
