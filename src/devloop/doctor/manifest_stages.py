"""Cuts out of a manifest what no installer reads: as a script for a stage of the build, and here.

An edit is spared where the manifest is the same to the byte after the cut. The words that both go by are
written once, in this module; tests run the scripts and compare. What is unclear stays in: a stage that leaves
too much costs a run, one that takes too much breaks an install. What stays is decided by what the installers
are known to read:

- npm compares the dependencies of package.json with its lock, runs hooks, and writes name and version into
  node_modules/.package-lock.json; of the root its lock keeps arborist's `pkgMetaKeys`.
- yarn 1 notes the patterns of dependencies in .yarn-integrity; from 2 on the lock has an entry for the root
  with its name, dependencies and bin.
- pnpm compares the specifiers with its lock (`satisfiesPackageManifest`), reads `pnpm`, `packageManager`,
  `engines` and overrides, and notes name and version in node_modules/.pnpm-workspace-state.json. bun's lock
  has the name and the dependencies of the root.
- uv reads project, dependency-groups, build-system and tool.uv; unless it is `--frozen` it compares the lock
  with them, the project's version included.
- poetry's content-hash is over dependencies, groups, extras and sources (`Locker._get_content_hash`), and the
  rest of project and tool.poetry has to be valid. pdm's is over the same and its overrides
  (`PyProject.content_hash`), and it reads tool.pdm. Without the project itself neither goes by its version.
- pipenv's hash of a Pipfile leaves out scripts (plette's `Pipfile.get_hash`).
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FOLDER: Final = "/manifest"
_MAXIMUM_BYTES: Final = 1 << 20
_DEEPEST: Final = 100
"""tomllib's time grows with the square of a key's depth, and no key of a manifest is that deep."""

# package.json ---------------------------------------------------------------------------------------------

_UNREAD_KEYS: Final = """\
description keywords author contributors homepage bugs repository
jest mocha nyc c8 eslintConfig eslintIgnore stylelint commitlint lint-staged nodemonConfig
"""
"""Keys that no installer reads, nor any hook of a package that is known.

`prettier` is none of them: generators that `prisma generate` starts format by it what they write.
"""
_HOOK: Final = "(pre|post)?(install|prepare|dependencies)|(pre)?prepublish|pnpm:devPreinstall"
_TOOL: Final = """\
(npx )?(husky( install)?|only-allow [a-z]+|patch-package|lefthook install|simple-git-hooks|prisma generate)
"""
_PLAIN: Final = "^(%s|true|is-ci)( ([|][|]|&&) (%s|true))*$"
"""Hooks that call no other script, and read nothing that is cut out; with any other one all stays."""

_NODE: Final = """\
const fs = require("fs");
const unread = `
@unread`.trim().split(/\\s+/);
const hook = /^(@hook)$/;
const tool = `
@tool`.trim();
const plain = RegExp("@plain".split("%s").join(tool));
try {
  const files = process.argv.slice(2).map(name => {
    const found = JSON.parse(fs.readFileSync(name, "utf8"));
    const scripts = found.scripts || {};
    const hooks = Object.keys(scripts).filter(key => hook.test(key));
    return { name, found, scripts, hooks };
  });
  if (files.every(one => one.hooks.every(key => plain.test(one.scripts[key])))) {
    for (const { name, found, scripts, hooks } of files) {
      for (const key of ["scripts", ...unread]) delete found[key];
      if (hooks.length) found.scripts = Object.fromEntries(hooks.map(key => [key, scripts[key]]));
      fs.writeFileSync(name, JSON.stringify(found));
    }
  }
} catch (error) {
  console.log("what was copied stays as it is: " + error.message);
}
"""


def _package_json(source: bytes) -> bytes:
    found = json.loads(source.decode(), parse_constant=_refused)
    scripts = found.get("scripts") or {}
    hooks = [name for name in scripts if re.fullmatch(_HOOK, name)]
    plain = _PLAIN.replace("%s", _TOOL.strip())
    if not all(re.fullmatch(plain, scripts[name]) for name in hooks):
        return source
    unread = {"scripts", *_UNREAD_KEYS.split()}
    kept = {name: value for name, value in found.items() if name not in unread}
    if hooks:
        kept["scripts"] = {name: scripts[name] for name in hooks}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def _refused(text: str) -> object:
    raise ValueError(text)


# pyproject.toml, Pipfile ----------------------------------------------------------------------------------

_UNREAD_TOOLS: Final = """\
autoflake bandit basedpyright black codespell commitizen coverage deptry djlint docformatter flake8
importlinter interrogate isort mutmut mypy pydocstyle pylint pyrefly pyright pytest ruff sqlfluff tox ty
vulture yapf
"""
_UNREAD_TABLES: Final[Mapping[str, str]] = {
    "pyproject.toml": f"tool[.]({'|'.join(_UNREAD_TOOLS.split())})",
    "Pipfile": "scripts",
}
_TABLE: Final = r"(?m)^\[+(%s)[.\]].*\n((?!\[).*\n)*"
"""A table with its lines up to the next one; that no text or array was torn is checked after."""
_BLANK: Final = r"(?m)^[ \t\r]*(#.*)?\n"
_OF_OTHERS: Final = r'(?m)^\[tool\.(poetry|pdm)[.\]]|^build-backend *= *"(poetry|pdm)\.'
"""The signs of a project of poetry or pdm, which do not go by its version."""
_VERSION: Final = r'(?m)(^\[(project|tool\.poetry)\].*\n((?!\[).*\n)*?version *= *)"[^"\n]*"'

_PYTHON: Final = r"""
import re, sys
@unread
def known(text):
    import tomllib
    found = tomllib.loads(text)
    for name, table in found.pop("tool", {}).items():
        found["tool." + name] = table
    for name in ("project", "tool.poetry"):
        found.get(name, {}).pop("version", None)
    return {name: found[name] for name in found if not re.fullmatch(unread, name)}
for name in sys.argv[1:]:
    try:
        text = open(name, encoding="utf-8", newline="").read() + "\n"
        short = re.sub(r"@table" % unread, "", text)
        short = re.sub(r"@blank", "", short)
@nought        if known(short) == known(text):
            open(name, "w", encoding="utf-8", newline="").write(short)
    except Exception as error:
        print(name, "stays as it is:", error)
"""
_NOUGHT: Final = r"""
        if re.search(r'@signs', text):
            short = re.sub(r'@version', r'\1"0"', short)
""".removeprefix("\n")
"""Where the installer does not go by the version: a package that is built has to keep it."""


def _toml(name: str) -> Callable[[bytes], bytes]:
    unread = _UNREAD_TABLES[name]

    def cut(source: bytes) -> bytes:
        text = source.decode() + "\n"
        short = re.sub(_BLANK, "", re.sub(_TABLE % unread, "", text))
        if re.search(_OF_OTHERS, text):
            short = re.sub(_VERSION, r'\1"0"', short)
        whole = _known(text, unread)
        try:
            is_same = _known(short, unread) == whole
        except ValueError:
            is_same = False
        return short.encode() if is_same else source

    return cut


def _known(text: str, unread: str) -> dict[str, object]:
    """Return what an installer may read, by table, without the version."""
    import tomllib

    if any(word.count(".") > _DEEPEST for word in re.split(r"[\s\"'=,\[\]{}]+", text)):
        raise ValueError(text)
    found = tomllib.loads(text)
    for name, table in found.pop("tool", {}).items():
        found[f"tool.{name}"] = table
    for name in ("project", "tool.poetry"):
        found.get(name, {}).pop("version", None)
    return {name: value for name, value in found.items() if not re.fullmatch(unread, name)}


# Both -----------------------------------------------------------------------------------------------------

_CUTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "package.json": _package_json,
    "pyproject.toml": _toml("pyproject.toml"),
    "Pipfile": _toml("Pipfile"),
}


def has_cut(path: str) -> bool:
    """Tell whether there is a stage for a file of this name."""
    return posixpath.basename(path) in _CUTS


def cut(path: str, source: bytes) -> bytes | None:
    """Return what the stage makes of a manifest; None where that is not certain, or it may be broken.

    A file that the stage would leave as it is comes back as it is.
    """
    if len(source) > _MAXIMUM_BYTES:
        return None
    try:
        return _CUTS[posixpath.basename(path)](source)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def goes_by_no_version(source: bytes) -> bool:
    """Tell whether the cut writes another version into a pyproject.toml."""
    return re.search(_OF_OTHERS, source.decode("utf-8", "replace")) is not None


def script(name: str, *, keeps_version: bool = False) -> str:
    """Return the program that makes the cut, for node or python; its arguments are files of this name.

    For an installer that may go by the version of a project it keeps that.
    """
    if name == "package.json":
        return _filled(_NODE, {"unread": _UNREAD_KEYS, "hook": _HOOK, "plain": _PLAIN, "tool": _TOOL})
    unread = f'unread = "{_UNREAD_TABLES[name]}"'
    if name == "pyproject.toml":
        unread = f'tools = """\n{_UNREAD_TOOLS}"""\nunread = "tool[.](%s)" % "|".join(tools.split())'
    words = {"unread": unread, "table": _TABLE, "blank": _BLANK, "signs": _OF_OTHERS, "version": _VERSION}
    return _filled(_PYTHON.replace("@nought", "" if keeps_version else _NOUGHT), words)


def _filled(template: str, words: Mapping[str, str]) -> str:
    return re.sub("@([a-z]+)", lambda found: words[found[1]], template).lstrip()


def stage(base: str, alias: str, paths: Sequence[str], *, keeps_version: bool) -> tuple[str, ...]:
    """Return the lines of a stage on `base` that leaves the cut manifests, all of one name, below FOLDER."""
    name = posixpath.basename(paths[0])
    program = "node" if name == "package.json" else "python"
    return (
        f"FROM {base} AS {alias}",
        f"WORKDIR {FOLDER}",
        *(f"COPY {path} {posixpath.dirname(path) or '.'}/" for path in paths),
        f"RUN {program} - {' '.join(paths)} <<'EOF'",
        *script(name, keeps_version=keeps_version).splitlines(),
        "EOF",
        "",
    )
