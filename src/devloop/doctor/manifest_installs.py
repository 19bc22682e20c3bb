"""Installs that are understood: what a step runs besides, and what of a manifest its installer reads.

A step is understood or left alone. All its commands are known, one of them installs from a lock, and the rest
reads no manifest.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.cost.shell import commands_of
from devloop.dockerfile import instructions as ins
from devloop.doctor import manifest_stages
from devloop.doctor.graphs import image_name, image_tag, is_above, resolved
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command
    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import PricedStep, Subject

PLAIN_NAME: Final = re.compile(r"[\w./@+~-]+")


class StoppedError(Exception):
    """Nothing is proposed; `reason` is a clause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# What the step runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tool:
    """How an installer is called.

    `verbs` install without writing the lock; `writers` do so too with one of the flags in `frozen`. `values`
    are flags that take the next word, `parts` those that name a part of the project or another place. One of
    `alone` has to be there where the project itself is a package.
    """

    manifest: str
    locks: frozenset[str]
    verbs: frozenset[str] = frozenset()
    writers: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _node(locks: str, verbs: str, frozen: str = "", writers: str = "install i") -> _Tool:
    return _Tool(
        "package.json",
        _set(locks),
        _set(verbs),
        _set(writers),
        _set(frozen),
        values=_set(
            "--prefix --cwd --dir --cache --registry --userconfig --loglevel --omit --include --only --mode"
            " --network-timeout --network-concurrency --cache-folder --mutex --reporter --store-dir --backend"
            " --fetch-timeout --fetch-retries --child-concurrency"
        ),
        parts=_set(
            "-w --workspace --workspaces -ws --filter -F -g --global --location --modules-folder"
            " --lockfile-dir -r --recursive --package-lock-only --lockfile-only -C --save -D"
            " --no-package-lock --no-lockfile"
        ),
    )


TOOLS: Final[Mapping[str, _Tool]] = {
    "npm": _node("package-lock.json npm-shrinkwrap.json", "ci clean-install"),
    "yarn": _node("yarn.lock", "", "--frozen-lockfile --immutable", "install"),
    "pnpm": _node("pnpm-lock.yaml", "", "--frozen-lockfile"),
    "bun": _node("bun.lock bun.lockb", "ci", "--frozen-lockfile"),
    "uv": _Tool(
        "pyproject.toml",
        _set("uv.lock"),
        writers=_set("sync"),
        frozen=_set("--frozen --locked"),
        values=_set(
            "--extra --no-extra --group --no-group --only-group --python -p --index --default-index"
            " --cache-dir --index-url --extra-index-url --find-links --link-mode --no-install-package"
            " --no-binary-package --no-build-package --resolution --prerelease --index-strategy"
            " --python-preference"
        ),
        parts=_set("--package --project --directory --all-packages --script --config-file --output-format"),
        alone=_set("--no-install-project --no-install-workspace --no-install-local"),
    ),
    "poetry": _Tool(
        "pyproject.toml",
        _set("poetry.lock"),
        _set("install sync"),
        values=_set("--with --without --only --extras -E"),
        parts=_set("-C --directory -P --project --only-root"),
        alone=_set("--no-root"),
    ),
    "pdm": _Tool(
        "pyproject.toml",
        _set("pdm.lock"),
        _set("sync"),
        _set("install"),
        _set("--frozen-lockfile --no-lock --check"),
        values=_set("-G --group --with --without -L --lockfile --venv"),
        parts=_set("-p --project -g --global"),
        alone=_set("--no-self"),
    ),
    "pipenv": _Tool(
        "Pipfile",
        _set("Pipfile.lock"),
        _set("sync"),
        _set("install"),
        _set("--deploy --ignore-pipfile"),
        values=_set("--python --categories --pypi-mirror --extra-pip-args"),
        parts=_set("-e --editable -r --requirements -i --index"),
    ),
}

_OTHERS: Final[Mapping[str, str]] = {
    "composer": "composer writes what the manifest says of the project into vendor/composer",
    "cargo": "an image of Rust has nothing that reads TOML",
    "bundle": "a Gemfile is a program",
}


def install_in(one: PricedStep) -> Command:
    """Return the one command of a step that installs; every other one is known to read no manifest.

    Raises StoppedError, as all functions of this module do.
    """
    instruction = one.step.instruction
    if not isinstance(instruction, ins.Run) or one.step.is_trigger:
        raise StoppedError("the install is a trigger of the base")
    found: list[Command] = []
    for command in commands_of(one.cost.command):
        if command.program in _OTHERS:
            raise StoppedError(_OTHERS[command.program])
        if reads_nothing(command, one.step.workdir):
            continue
        if _is_install(command):
            found.append(command)
        else:
            raise StoppedError(f"`{_shown(command)}` in the same step may read the manifest")
    if len(found) != 1:
        raise StoppedError("the step does not hold exactly one install that is known")
    (command,) = found
    if command.is_conditional or command.is_piped_into:
        raise StoppedError("the install is one of several branches")
    check_shell(one.cost.command)
    tool = TOOLS[command.program]
    if len(_FOLDERS.findall(one.cost.command)) > 1:
        raise StoppedError("the step changes its folder more than once")
    if _names_part(command, tool):
        raise StoppedError(f"`{_shown(command)}` names a part of the project, or another place")
    is_frozen = _words(command, tool)[:1] in {(verb,) for verb in tool.verbs} or not tool.frozen.isdisjoint(
        command.arguments
    )
    if not is_frozen or not _THAWED.isdisjoint(command.arguments):
        raise StoppedError(f"`{_shown(command)}` may write the lock file, which the copy below would undo")
    return command


_THAWED: Final = _set("--fix-lockfile --no-frozen-lockfile --no-immutable")
_FOLDERS: Final = re.compile(r"(?:^|[;&|({\s])(?:cd|pushd|popd)(?=\s)")
_QUIET: Final = re.compile(r"\d?>>?\s*(/dev/null|&\d)")
_SOURCED: Final = re.compile(r"(?:^|[;&|({\s])(?:\.|source|eval|alias|trap)\s+(\S+)")


def check_shell(text: str) -> None:
    """Stop where a shell text reads or writes files by itself, in ways that are no commands."""
    if re.search(r"[<>]", _QUIET.sub("", text)):
        raise StoppedError("the step reads or writes files by itself")
    for word in _SOURCED.findall(text):
        if not re.fullmatch(r"[\w./-]*venv[\w.-]*/bin/activate", word):
            raise StoppedError(f"the step takes commands from {word}")


def _is_install(command: Command) -> bool:
    tool = TOOLS.get(command.program)
    if tool is None:
        return False
    words = _words(command, tool) or ("install" if command.program == "yarn" else "",)
    return words[0] in tool.verbs | tool.writers and (len(words) == 1 or _names_part(command, tool))


def _names_part(command: Command, tool: _Tool) -> bool:
    return any(word.partition("=")[0] in tool.parts for word in command.arguments)


def _words(command: Command, tool: _Tool) -> tuple[str, ...]:
    """Return the words of a call that are neither flags nor their values."""
    found: list[str] = []
    is_value = False
    for word in command.arguments:
        if not is_value and not word.startswith("-"):
            found.append(word)
        is_value = not is_value and word in tool.values
    return tuple(found)


_BESIDE: Final = tuple(
    tuple(line.split())
    for line in (
        "apk|apt-get|apt|mkdir|true|:|set|export|umask|cd|echo",
        "corepack enable|disable|prepare",
        "npm cache|config",
        "npm install|i -g|--global",
        "npm -g|--global install|i",
        "yarn cache|config",
        "pnpm store|config",
        "bun pm cache",
        "pip config|cache",
        "pipx install",
        "poetry config|cache|--version",
        "pdm config|cache|--version",
        "uv cache|--version",
        "node|npm|yarn|pnpm --version|-v",
    )
)
"""The first words of commands that read no manifest of the project, or of it only what is never cut out."""
_PIP_WORD: Final = re.compile(
    r"-U|--(?:upgrade|no-cache-dir|user)|\w[\w.-]*(?:\[[\w,-]+\])?(?:[=~<>!]=[\w.*]+)?"
)


def reads_nothing(command: Command, workdir: str) -> bool:
    """Tell whether a command is known to leave manifests alone, and the folder of the project."""
    if not command.words:
        return not any("(" in one or "`" in one for one in command.assignments)
    words = (command.program, *command.arguments)
    if _writes_settings(words):
        text = _shown(command)
        raise StoppedError(f"`{text}` may write to a file that the copy below brings again")
    if words[0] in {"rm", "venv"}:
        return all(_is_apart(word, workdir) for word in words[1:] if not word.startswith("-"))
    if words[:2] == ("pip", "install"):
        return all(_PIP_WORD.fullmatch(word) for word in words[2:])
    if words[0] in {"npm", "pipx"} and any(word.startswith((".", "/", "file:")) for word in words[1:]):
        return False
    return any(
        len(words) >= len(first)
        and all(word in one.split("|") for word, one in zip(words, first, strict=False))
        for first in _BESIDE
    )


def _writes_settings(words: tuple[str, ...]) -> bool:
    """Tell whether a command sets something in a file of the project, as yarn does from 2 on."""
    if words[1:2] != ("config",):
        return False
    is_local = any(re.fullmatch(r"--local|-l|(--location=)?project", word) for word in words[2:])
    is_of_berry = words[0] == "yarn" and not re.fullmatch("[a-z-]+|-.*", (*words[3:], "-")[0])
    return is_local or (is_of_berry and {"-H", "--home"}.isdisjoint(words))


def _is_apart(word: str, workdir: str) -> bool:
    """Tell whether a path is a cache or an environment, or lies apart from the folder of the project."""
    if re.fullmatch(r"\$\{?\w*CACHE\w*\}?(/\*)?|~/\.\w[\w./-]*|node_modules/\.cache|\.npm|\.?venv", word):
        return True
    path = word.partition("*")[0].rstrip("/")
    return (
        path.startswith("/")
        and "$" not in word
        and not is_above(resolved(path, "/"), workdir)
        and not is_above(workdir, resolved(path, "/"))
    )


def folder_of(command: Command, step: Step) -> str:
    """Return the folder of the image in which the install finds its manifest."""
    directory = command.directory or "."
    if not PLAIN_NAME.fullmatch(directory):
        raise StoppedError(f"{directory} is no plain folder")
    return joined(step.workdir, directory)


def _shown(command: Command) -> str:
    text = " ".join(command.words)
    return text if len(text) <= 40 else f"{text[:37]}..."


# What else decides ----------------------------------------------------------------------------------------


def look_beside(subject: Subject, program: str, path: str, *, has_members: bool) -> None:
    """Stop where a file beside the manifest makes the installer read all of it, or keep copies of members."""
    folder = posixpath.dirname(path)

    def text(name: str) -> str:
        found = subject.texts(posixpath.join(folder, name))
        return found.decode("utf-8", "replace") if found is not None else ""

    workspace = text("pnpm-workspace.yaml")
    if program == "pnpm" and (
        text(".pnpmfile.cjs")
        or text(".pnpmfile.mjs")
        or re.search("pnpmfile|configDependencies", text(".npmrc") + workspace + text("package.json"))
    ):
        raise StoppedError("a hook of pnpm may read all of the manifest")
    if program == "yarn" and re.search(r"(?m)^(plugins|enableConstraintsChecks):", text(".yarnrc.yml")):
        raise StoppedError("plugins or constraints of yarn may read all of the manifest")
    if program == "yarn" and _is_berry(subject) and not _is_as_berry_writes(subject.texts(path)):
        raise StoppedError(f"yarn writes {posixpath.basename(path)} anew in its own form")
    if has_members and re.search(
        "(?i)inject|install[-_]links", text(".npmrc") + workspace + subject.source.decode("utf-8", "replace")
    ):
        raise StoppedError("a member of the workspace may be copied into node_modules")


def _is_berry(subject: Subject) -> bool:
    locks = (one.path for one in subject.paths if posixpath.basename(one.path) == "yarn.lock")
    return any(b"__metadata:" in (subject.texts(path) or b"") for path in locks)


def _is_as_berry_writes(source: bytes | None) -> bool:
    """Tell whether yarn from 2 on, which writes package.json with each install, would leave it as it is.

    It keeps the indentation, ends the file with a line end, and sorts the dependencies.
    """
    if source is None:
        return False
    document = _table(json.loads(source))
    tables = [list(_table(document[name])) for name in document if name.endswith("ependencies")]
    indent = re.search(rb"\A\{\r?\n( +|\t+)", source)
    width = indent[1].decode() if indent is not None else "  "
    text = json.dumps(document, indent=width, ensure_ascii=False) + "\n"
    return text.encode() == source and all(names == sorted(names) for names in tables)


def look_inside(subject: Subject, command: Command, path: str, *, is_member: bool, has_members: bool) -> None:
    """Stop where the manifest as it is cannot be cut, or the project itself is installed from it."""
    source = subject.texts(path)
    short = manifest_stages.cut(path, source) if source is not None else None
    if source is None or short is None:
        raise StoppedError(f"{path} cannot be read")
    name = posixpath.basename(path)
    if name == "package.json":
        if short is source:
            raise StoppedError(f"a hook in {path} may read all of it")
        if has_members and (b'"injected"' in source or _names_folders(source)):
            raise StoppedError("a member of the workspace may be copied into node_modules")
        return
    if short is source:
        raise StoppedError(f"a text or an array in {path} goes over lines that look like tables")
    if name == "pyproject.toml":
        _look_inside_project(source, command, path, is_member=is_member, has_members=has_members)


def _names_folders(source: bytes) -> bool:
    """Tell whether a package.json has a dependency at a path; some installers copy such a package."""
    document = _table(json.loads(source))
    tables = (_table(document[name]) for name in document if name.endswith("ependencies"))
    return any(str(one).startswith(("file:", ".", "/", "~/")) for table in tables for one in table.values())


def check_pins(one: PricedStep, above: tuple[Step, ...], program: str, manifest: bytes) -> None:
    """Stop where corepack may write the version of yarn or pnpm into a package.json that names none."""
    if program not in {"yarn", "pnpm"} or re.search(b'"(packageManager|devEngines)"', manifest):
        return
    if dict(one.step.environment).get("COREPACK_ENABLE_AUTO_PIN") != "0" and any(
        "corepack" in step.instruction.text for step in (*above, one.step)
    ):
        raise StoppedError("corepack may write packageManager into package.json, which does not name it")


def _look_inside_project(
    source: bytes, command: Command, path: str, *, is_member: bool, has_members: bool
) -> None:
    import tomllib

    document = tomllib.loads(source.decode())
    own = _table(_table(document.get("tool")).get(command.program))
    is_package = {
        "uv": own.get("package", "build-system" in document),
        "poetry": own.get("package-mode", True),
        "pdm": own.get("distribution", True),
    }[command.program]
    flags = TOOLS[command.program].alone
    if is_member or "workspace" in own:
        flags = _set("--no-install-workspace --no-install-local")
        is_package = True
    if has_members and re.search(rb"\bpath *=|@ *file:", source):
        flags = _set("--no-install-local")
        is_package = True
    if is_package is not False and flags.isdisjoint(command.arguments):
        raise StoppedError("the project itself is installed, with all that its manifest says")
    if command.program == "uv" and manifest_stages.goes_by_no_version(source):
        raise StoppedError(f"{path} is a manifest of two tools")
    if command.program != "uv" and flags.isdisjoint(command.arguments):
        flag = min(flags)
        raise StoppedError(f"without {flag} the project itself would be installed as soon as it is a package")
    if command.program == "pdm" and {"scripts", "plugins"} & own.keys():
        raise StoppedError("scripts or plugins of pdm may read all of the manifest")
    if command.program == "poetry" and {"requires-plugins"} & own.keys():
        raise StoppedError("plugins of poetry may read all of the manifest")


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


_IMAGES: Final[Mapping[str, str]] = {"package.json": "node", "pyproject.toml": "python", "Pipfile": "python"}


def check_image(base: Stage, manifest: str) -> None:
    """Stop where the image is not known to have node, or a python that reads TOML, and root for its user."""
    wanted = _IMAGES[manifest]
    reference = base.base_reference.partition("@")[0]
    registry, tag = reference.rpartition("/")[0], image_tag(reference)
    is_official = image_name(reference) == wanted and registry in _REGISTRIES
    is_of_uv = wanted == "python" and image_name(reference) == "uv" and registry == "ghcr.io/astral-sh"
    if base.base != "image" or not (is_official or is_of_uv):
        raise StoppedError(f"the stage does not start from the official image of {wanted}")
    if re.search("windows|nanoserver|onbuild", tag):
        raise StoppedError("the image is one of Windows, or has triggers")
    if wanted == "python" and not _has_tomllib(tag):
        raise StoppedError("nothing says that the image has Python 3.11 or later, which reads TOML")


_REGISTRIES: Final = _set(
    "library docker.io docker.io/library public.ecr.aws/docker/library mirror.gcr.io/library"
) | {""}


def _has_tomllib(tag: str) -> bool:
    found = re.match(r"(?:python)?3\.(\d+)", tag)
    return found is not None and int(found[1]) >= 11
