"""The programs of the stage and the cut made here agree, on manifests of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devloop.doctor.manifest_stages import cut, script
from support.engine import make_base_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NODE = """
const fs = require("fs"), path = require("path");
require("readline").createInterface({ input: process.stdin }).on("line", line => {
  const { script, files } = JSON.parse(line);
  process.chdir(fs.mkdtempSync("/tmp/case-"));
  for (const name in files) {
    fs.mkdirSync(path.dirname(name), { recursive: true });
    fs.writeFileSync(name, Buffer.from(files[name], "base64"));
  }
  process.argv = ["node", "-", ...Object.keys(files)];
  Function("require", "console", script)(require, { log: () => {} });
  console.log(JSON.stringify(Object.keys(files).map(name => fs.readFileSync(name, "base64"))));
});
"""
"""Cuts the manifests of one line after the other, so that many cases need one container."""
PYTHON = """
import json, os, sys
folders, script = sys.argv[1:]
sys.argv = ["-", "pyproject.toml"]
for folder in json.loads(folders):
    os.chdir(folder)
    exec(script, {})
"""

Cutter = Callable[[Mapping[str, bytes]], list[bytes]]


@pytest.fixture(scope="module")
def node(engine: dict[str, str]) -> Iterator[Cutter]:
    """Cut files of the name package.json as the stage does, in the folder of one project."""
    make_base_image(engine, "node:20-slim")
    command = ("docker", "run", "--rm", "--interactive", "--network=none", "node:20-slim", "node", "-e", NODE)
    with subprocess.Popen(command, env=engine, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, said = process.stdin, process.stdout

        def cut_by_node(files: Mapping[str, bytes]) -> list[bytes]:
            contents = {name: b64encode(content).decode() for name, content in files.items()}
            asked.write(json.dumps({"script": script("package.json"), "files": contents}).encode() + b"\n")
            asked.flush()
            return [b64decode(one) for one in json.loads(said.readline())]

        yield cut_by_node


def run(folder: Path, sources: list[bytes]) -> list[bytes]:
    """Let the program of the stage cut each pyproject.toml in a folder of its own, all by one process."""
    folders = [folder / f"{number}" for number in range(len(sources))]
    for one, source in zip(folders, sources, strict=True):
        one.mkdir(exist_ok=True)
        (one / "pyproject.toml").write_bytes(source)
    listed = json.dumps([str(one) for one in folders])
    command = (sys.executable, "-c", PYTHON, listed, script("pyproject.toml"))
    subprocess.run(command, check=True, capture_output=True)
    return [(one / "pyproject.toml").read_bytes() for one in folders]


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


@pytest.mark.docker
@settings(max_examples=300, deadline=None)
@given(st.builds(lambda one, indent: json.dumps(one, indent=indent).encode(), PACKAGES, INDENTS))
def test_node_cuts_what_the_doctor_counts_on(node: Cutter, source: bytes) -> None:
    assert node({"package.json": source}) == [cut("package.json", source)]


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
    for source, made in zip(sources, run(tmp_path, sources), strict=True):
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


BROKEN = [b"{", b"[]", b"\xff", b'{"a": NaN}', b"\xef\xbb\xbf{}", b"[" * 9999]


@pytest.mark.parametrize("source", BROKEN)
def test_of_a_broken_manifest_nothing_is_said_and_the_program_leaves_it(
    tmp_path: Path, source: bytes
) -> None:
    assert cut("package.json", source) is None
    assert cut("pyproject.toml", source + b"\n=") is None
    assert run(tmp_path, [source + b"\n="]) == [source + b"\n="]


@pytest.mark.docker
def test_node_leaves_a_broken_manifest_as_it_is(node: Cutter) -> None:
    for source in BROKEN:
        assert node({"package.json": source}) == [source]


def test_a_python_that_reads_no_toml_leaves_the_manifest_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(REAL)
    without = "import sys; sys.modules['tomllib'] = None\n"
    command = (sys.executable, "-", "pyproject.toml")
    subprocess.run(command, cwd=tmp_path, input=(without + script("pyproject.toml")).encode(), check=True)
    assert (tmp_path / "pyproject.toml").read_text() == REAL


def test_a_manifest_with_a_hook_that_is_not_known_stays_as_it_is() -> None:
    source = json.dumps({"scripts": {"prepare": "npm run build"}, "description": "x"}).encode()
    assert cut("package.json", source) is source


def test_what_generators_format_by_stays() -> None:
    """Those that `prisma generate` starts ask prettier how the project wants its code."""
    source = b'{"scripts":{"postinstall":"prisma generate"},"prettier":{"semi":false}}'
    assert json.loads(cut("package.json", source) or b"") == json.loads(source)


@pytest.mark.docker
def test_manifests_of_a_workspace_are_cut_together_or_not_at_all(node: Cutter) -> None:
    whole = b'{"jest":1,"scripts":{"prepare":"npm run x -ws"}}'
    assert node({"package.json": whole, "a/package.json": b'{"jest":1}'}) == [whole, b'{"jest":1}']
    known = b'{"jest":1,"scripts":{"prepare":"husky"}}'
    cut_together = [b'{"scripts":{"prepare":"husky"}}', b"{}"]
    assert node({"package.json": known, "a/package.json": b'{"jest":1}'}) == cut_together
