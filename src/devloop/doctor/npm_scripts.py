"""What `npm start` and its like come to: the one command of a script, where that is certain."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from devloop.cost.shell import program_name
from devloop.doctor.mentions import mentioned
from devloop.doctor.placed import placed_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devloop.doctor.model import Subject

MANIFEST: Final = "package.json"
RUNNERS: Final = frozenset({"npm", "yarn", "pnpm", "npx"})
BUILTINS: Final = frozenset(
    {"cd", ".", "source", "export", "set", "unset", "eval", "exec", "trap", "ulimit", "umask", "test", "["}
    | {"if", "for", "while", "until", "case", "{", "!", "time", "wait", "read", "true", "false", ":"}
    | {"echo", "printf", "exit", "alias", "shift", "function", "command", "type"}
)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=[\w./:@,+-]*")


def simple_words(script: str) -> tuple[str, ...] | None:
    """Return the words of one simple command that needs no shell: no variable, operator, glob or builtin.

    Quotes are fine as long as they only hold blanks together.
    """
    if re.search(r"[$`|&;<>(){}*?\[\]~!#\\\n\r]", script):
        return None
    try:
        words = shlex.split(script)
    except ValueError:
        return None
    if not words or "=" in words[0] or words[0] in BUILTINS:
        return None
    return tuple(words)


def script_name(words: Sequence[str]) -> str | None:
    """Return the script that `npm start`, `npm run NAME` and their like run; None for anything more."""
    rest = tuple(words[1:])
    if rest[:1] in {("run",), ("run-script",)}:
        rest = rest[1:]
    elif program_name(words[0]) == "npm" and rest[:1] != ("start",):
        return None
    return rest[0] if len(rest) == 1 and not rest[0].startswith("-") else None


def read_object(subject: Subject, path: str) -> Mapping[str, Any] | None:
    """Read a JSON file of the context that holds an object; None where it does not."""
    try:
        found = json.loads(subject.texts(path) or b"")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object of a document, an empty one where there is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def the_one_manifest(subject: Subject) -> Mapping[str, Any] | None:
    """Return package.json of the context's root, if the project has no other one."""
    names = [
        one.path
        for one in subject.paths
        if posixpath.basename(one.path) == MANIFEST and "node_modules/" not in one.path
    ]
    return read_object(subject, MANIFEST) if names == [MANIFEST] else None


def script_text(subject: Subject, name: str) -> tuple[str, str]:
    """Return the text of a script and nothing, or nothing and why it is not the whole story."""
    package = the_one_manifest(subject)
    if package is None:
        return "", "which script it runs is not certain"
    scripts = section(package, "scripts")
    text = scripts.get(name)
    if not isinstance(text, str):
        return "", f"package.json has no script {name}"
    if f"pre{name}" in scripts or f"post{name}" in scripts:
        return "", f"the script {name} has a pre or post script"
    settings = subject.texts(".npmrc") or b""
    if b"script-shell" in settings or b"node-options" in settings:
        return "", ".npmrc says how scripts are run"
    return text, ""


def real_command(
    subject: Subject, words: Sequence[str], workdir: str | None = None
) -> tuple[tuple[str, ...] | None, str]:
    """Return the command that a package manager comes to, else why that is not certain.

    `workdir` is the folder that the container starts in; a package manager goes to that of its manifest. The
    script may set variables, which `env` does as well, and may start a program of an installed package,
    which the lock file of npm names.
    """
    if program_name(words[0]) == "npx":
        name, text, problem = "of npx", shlex.join(words[1:]), ""
    else:
        name = script_name(words) or ""
        text, problem = script_text(subject, name) if name else ("", "which script it runs is not certain")
    if problem:
        return None, problem
    if workdir is not None and f"{workdir.rstrip('/')}/{MANIFEST}" not in _placed(subject):
        return None, "package.json does not come to lie in the folder that the container starts in"
    assigned: list[str] = []
    rest = text.strip()
    if rest.startswith("cross-env "):
        rest = rest.removeprefix("cross-env ").lstrip()
    while (found := re.match(r"(\S+=\S*)\s+(?=\S)", rest)) is not None and _ASSIGNMENT.fullmatch(found[1]):
        assigned.append(found[1])
        rest = rest[found.end() :]
    plain = simple_words(rest)
    program = _program(subject, plain[0], words) if plain is not None else None
    if plain is None or program is None:
        return None, f"the script {name} does more than start a program of the project"
    if mentioned(subject, ("npm_package_", "npm_config_", "npm_lifecycle_")):
        return None, "the program may read variables that npm sets"
    if mentioned(subject, ("child_process", "execa", "cross-spawn", "shelljs")) or _bins(subject) & set(
        plain[1:]
    ):
        return None, "the program may start others, which a package manager puts on the PATH"
    if _loads_by_map(subject, words):
        return None, "where the program finds its packages only the package manager knows"
    setting = ("env", *assigned) if assigned else ()
    return (*setting, program, *plain[1:]), ""


def _loads_by_map(subject: Subject, runner: Sequence[str]) -> bool:
    """Tell whether packages may lie elsewhere than in node_modules, as a new yarn has it unasked."""
    if program_name(runner[0]) == "pnpm":
        return b"pnp" in (subject.texts(".npmrc") or b"")
    if program_name(runner[0]) != "yarn":
        return False
    settings = subject.texts(".yarnrc.yml") or b""
    is_new = bool(settings) or b"__metadata:" in (subject.texts("yarn.lock") or b"")
    return (
        is_new and re.search(rb"^nodeLinker:\s*[\"']?(node-modules|pnpm)\b", settings, re.MULTILINE) is None
    )


def _bins(subject: Subject) -> frozenset[str]:
    """Return the names of the programs that the packages of npm's lock bring."""
    lock = read_object(subject, "package-lock.json") or {}
    packages = [one for one in section(lock, "packages").values() if isinstance(one, dict)]
    return frozenset(name for one in packages for name in section(one, "bin"))


def _placed(subject: Subject) -> frozenset[str]:
    """Return where the target's copies of the main context put package.json."""
    found: set[str] = set()
    for one in subject.steps:
        for path, source in (placed_by(subject, one.step) or {}).items():
            if source == MANIFEST:
                found.add(path)
    return frozenset(found)


def _program(subject: Subject, word: str, runner: Sequence[str]) -> str | None:
    """Return what a script's first word starts: node, or the link that npm makes for a package's program."""
    if word == "node" and program_name(runner[0]) != "npx":
        return word
    if program_name(runner[0]) not in {"npm", "npx"} or not re.fullmatch(r"[\w.-]+", word):
        return None
    lock = read_object(subject, "package-lock.json")
    packages = section(lock, "packages") if lock is not None else {}
    owners = [
        path
        for path, one in packages.items()
        if path.startswith("node_modules/")
        and path.count("node_modules/") == 1
        and isinstance(one, dict)
        and word in section(one, "bin")
    ]
    return f"node_modules/.bin/{word}" if len(owners) == 1 else None
