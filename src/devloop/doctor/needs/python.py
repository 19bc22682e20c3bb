"""What Python's installers read: pip, pip-tools, uv, poetry, pdm, pipenv and conda."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import (
    entries,
    has_flag,
    members,
    plain_path,
    set_of,
    strings,
    table,
    toml,
    values,
)
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


_PIP_VALUES = set_of(
    "-i --index-url --extra-index-url --trusted-host --python-version --platform --only-binary --no-binary"
    " --timeout --retries --proxy --cache-dir --progress-bar --implementation --abi --upgrade-strategy"
    " --src --report --root-user-action --python -p --config-settings --log --exists-action --index-strategy"
    " --index --default-index --keyring-provider -t --target --prefix --root --link-mode"
    " --no-build-isolation-package -w --wheel-dir -d --dest"
)
_LOCAL = re.compile(r"(\.{1,2}(/|$|\[)|/|~|file:)|^[\w./-]+\.(whl|tar\.gz|zip)$")

# A folder with extras or a marker behind it.
_PATH = re.compile(r"[\w.-]+/[\w./-]*\s*[\[;]")


def _pip(command: Command, where: Where) -> Answer:
    words = list(command.arguments)
    if command.program == "uv":
        words = words[words.index("pip") + 1 :] if "pip" in words else words
    verb = words[0] if words else ""
    named = _pip_names(command.program, verb, words[1:])
    if isinstance(named, Source):
        return named
    files, names = named
    fills = [
        where.at(one) for one in values(words, "-t", "--target", "--prefix", "--root", "-w", "--wheel-dir")
    ]
    fills += _environments(command, where)
    if command.program == "uv" or "VIRTUAL_ENV" in where.environment:
        fills.append(where.at(".venv"))
    if not files:
        return Needs(fills=tuple(fills)) if names else Source(f"{command.program} {verb}")
    found: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in files:
        path = where.at(plain_path(one))
        if not where.placed.has(path):
            return Source(f"{command.program} {verb}")
        try:
            _requirements(where, path, found, folders)
        except _WholeProjectError:
            return Source(f"{command.program} {verb}")
    return Needs(tuple(found), tuple(folders), tuple(dict.fromkeys(fills)))


def _pip_names(program: str, verb: str, words: list[str]) -> tuple[list[str], list[str]] | Source:
    files: list[str] = []
    names: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        name, _, value = word.partition("=")
        if name in {"-r", "--requirement", "-c", "--constraint", "--requirements"}:
            if not value and at < len(words):
                value = words[at]
                at += 1
            files.append(value)
        elif re.match(r"-[rc][^-]", word):
            files.append(word[2:])
        elif name in {"-e", "--editable", "--group"} or word.startswith("-e"):
            return Source(f"{program} {verb} {word}")
        elif name in {"-f", "--find-links"}:
            value = value or (words[at] if at < len(words) else "")
            at += not _
            if "://" not in value:
                return Source(f"{program} {verb} {name}")
        elif word in _PIP_VALUES:
            at += 1
        elif word.startswith("-"):
            continue
        elif _LOCAL.match(word) or ("/" in word and "://" not in word and "@" not in word):
            return Source(f"{program} {verb} {word}")
        elif verb == "sync" or program == "pip-sync":
            files.append(word)
        else:
            names.append(word)
    if program == "pip-sync" and verb and not verb.startswith("-"):
        files.insert(0, verb)
    return files, names


def _environments(command: Command, where: Where) -> list[str]:
    program = command.words[0]
    found = []
    if "/bin/" in program and not program.startswith(("/usr/", "/bin/")):
        found.append(where.at(program.rpartition("/bin/")[0]))
    if where.environment.get("VIRTUAL_ENV"):
        found.append(where.at(where.environment["VIRTUAL_ENV"]))
    return found


class _WholeProjectError(StoppedError):
    """The requirements install the project itself, which is no install of dependencies alone."""


def _requirements(where: Where, path: str, found: dict[str, None], folders: dict[str, None]) -> None:
    """Follow requirements into those that they include, and into the folders that they install."""
    if path in found:
        return
    found[path] = None
    name = posixpath.basename(path)
    if name in {"pyproject.toml", "setup.py", "setup.cfg"}:
        _refuse_dynamic(replace(where, folder=posixpath.dirname(path)), name)
        return
    text = where.placed.text(path)
    if text is None:
        raise StoppedError(f"{name} cannot be read")
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        entry = re.split(r"(^|\s)#", line)[0].strip()
        included = re.match(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", entry)
        if included:
            if "://" in included[1]:
                continue
            inner = joined(posixpath.dirname(path), plain_path(included[1]))
            if not where.placed.has(inner):
                raise StoppedError(f"{name} includes {included[1]}, which is not copied above the install")
            _requirements(where, inner, found, folders)
            continue
        if re.match(r"(-e|--editable)\b", entry):
            entry = re.sub(r"^(-e|--editable)[ =]?\s*", "", entry)
            if not re.match(r"(git|hg|svn|bzr)\+|https?://", entry):
                folders[_local_folder(where, name, entry)] = None
        elif re.match(r"(-f|--find-links)\b", entry):
            if "://" not in entry:
                raise StoppedError(f"{name} looks for packages in a folder: {entry}")
        elif re.match(r"\.(/?$|\[)|[\w.-]+/[\w./-]*$", entry):
            folders[_local_folder(where, name, entry)] = None
        elif _LOCAL.match(entry) or _PATH.match(entry) or re.search(r"@\s*file:", entry):
            raise StoppedError(f"{name} installs {entry} from a path")


def _refuse_dynamic(where: Where, name: str) -> None:
    """Stop where requirements are metadata of a project that only its build backend knows."""
    project = table(toml(where, name).get("project")) if name == "pyproject.toml" else {}
    if not project or {"dependencies", "optional-dependencies"} & set(strings(project.get("dynamic"))):
        raise StoppedError(f"{name} {_DYNAMIC}")
    for one in strings([project.get("dependencies"), project.get("optional-dependencies")]):
        if "file:" in one:
            raise StoppedError("pyproject.toml takes a dependency from a path")


_DYNAMIC: Final = "has dynamic metadata, which the build backend reads from the source"


def _refuse_computed(where: Where) -> None:
    """Stop where anything of a project's metadata is computed: a lock is compared with all of it."""
    if table(toml(where, "pyproject.toml").get("project")).get("dynamic"):
        raise StoppedError(f"pyproject.toml {_DYNAMIC}")


def _writes_over(command: Command, where: Where) -> bool:
    """Tell whether a list is written in place of one that was copied."""
    outputs = values(command.arguments, "-o", "--output", "--output-file")
    return any(where.placed.has(where.at(one)) for one in outputs)


def _local_folder(where: Where, name: str, entry: str) -> str:
    """Return the folder of a local package: a part of the project, and not the whole of it."""
    folder = where.at(re.sub(r"\[[^\]]*\]$", "", entry))
    if where.folder == folder:
        raise _WholeProjectError(f"{name} installs the project itself")
    if where.folder.startswith(f"{folder}/") or not where.placed.below(folder):
        raise StoppedError(f"{name} installs {entry} from the source")
    return folder


def _uv_sync(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb == "pip":
        return _pip(command, where)
    if verb not in {"sync", "export"} or has_flag(
        command, "--package", "--project", "--directory", "--all-packages"
    ):
        return Source(f"uv {verb}")
    files = where.present("pyproject.toml", "uv.lock", "uv.toml", ".python-version")
    if not where.present("pyproject.toml"):
        return Source(f"uv {verb}")
    if _writes_over(command, where):
        return Source(f"uv {verb}")
    document = toml(where, "pyproject.toml")
    own = table(table(document.get("tool")).get("uv"))
    for name, source in table(own.get("sources")).items():
        for one in entries(source) or [source]:
            if table(one).get("path") is not None:
                raise StoppedError(f"pyproject.toml takes {name} from a path")
    patterns = table(own.get("workspace")).get("members")
    if patterns is not None:
        found = members(where, [str(one) for one in entries(patterns)], "pyproject.toml")
        for one in () if has_flag(command, "--frozen") else found:
            _refuse_computed(replace(where, folder=posixpath.dirname(one)))
        files += tuple(one for one in found if one not in files)
    environment = where.environment.get("UV_PROJECT_ENVIRONMENT", ".venv")
    fills = (where.at(environment),)
    if verb == "export":
        return Needs(files, fills=fills)
    project = table(document.get("project"))
    dynamic = entries(project.get("dynamic"))
    is_package = own.get("package", "build-system" in document)
    skips = has_flag(command, "--no-install-project", "--no-install-workspace")
    if any(part in dynamic for part in ("dependencies", "optional-dependencies")) or (
        dynamic and not has_flag(command, "--frozen")
    ):
        raise StoppedError(f"pyproject.toml {_DYNAMIC}")
    if skips or (not is_package and patterns is None):
        return Needs(files, fills=fills)
    flag = "--no-install-project" if patterns is None else "--no-install-workspace"
    return Needs(files, fills=fills, split=Split("uv sync", flag, again=True))


def _poetry(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"install", "sync", "export"} or has_flag(command, "-C", "--directory", "-P", "--project"):
        return Source(f"poetry {verb}")
    if not where.present("pyproject.toml"):
        return Source(f"poetry {verb}")
    if _writes_over(command, where):
        return Source(f"poetry {verb}")
    document = toml(where, "pyproject.toml")
    own = table(table(document.get("tool")).get("poetry"))
    _no_paths(own)
    if any("file:" in text for text in strings(table(document.get("project")).get("dependencies"))):
        raise StoppedError("pyproject.toml takes a dependency from a path")
    files = where.present("pyproject.toml", "poetry.lock", "poetry.toml")
    fills = (where.at(".venv"),)
    if verb == "export" or has_flag(command, "--no-root") or own.get("package-mode") is False:
        return Needs(files, fills=fills)
    if has_flag(command, "--only-root"):
        return Source(f"poetry {verb}")
    return Needs(files, fills=fills, split=Split(f"poetry {verb}", "--no-root", again=True))


def _no_paths(value: object) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and not {"include", "script"} & value.keys():
            raise StoppedError(f"a dependency is taken from the path {value['path']}")
        for key, item in value.items():
            if key not in {"packages", "include", "scripts", "urls", "source"}:
                _no_paths(item)
    elif isinstance(value, list):
        for item in value:
            _no_paths(item)


def _pdm(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if (
        verb not in {"install", "sync", "export"}
        or not where.present("pyproject.toml")
        or has_flag(command, "-p")
    ):
        return Source(f"pdm {verb}")
    if _writes_over(command, where):
        return Source(f"pdm {verb}")
    document = toml(where, "pyproject.toml")
    if "file:" in (where.text("pyproject.toml") or ""):
        raise StoppedError("pyproject.toml takes a dependency from a path")
    files = where.present("pyproject.toml", "pdm.lock", "pdm.toml")
    own = table(table(document.get("tool")).get("pdm"))
    fills = (where.at(".venv"), where.at("__pypackages__"))
    if verb == "export" or has_flag(command, "--no-self") or own.get("distribution") is False:
        return Needs(files, fills=fills)
    if has_flag(command, "--no-editable") or "scripts" in own:
        raise StoppedError("pdm may run scripts of the project, or packs it")
    return Needs(files, fills=fills, split=Split(f"pdm {verb}", "--no-self", again=True))


def _pipenv(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"install", "sync", "requirements"} or not where.present("Pipfile"):
        return Source(f"pipenv {verb}")
    if has_flag(command, "-e", "--editable", "-r") or len([w for w in command.arguments if w[0] != "-"]) > 1:
        return Source(f"pipenv {verb}")
    document = toml(where, "Pipfile")
    for group in document.values():
        for name, one in table(group).items():
            entry = table(one)
            if "path" in entry or (entry.get("editable") and "git" not in entry):
                raise StoppedError(f"Pipfile takes {name} from the source")
    return Needs(where.present("Pipfile", "Pipfile.lock"), fills=(where.at(".venv"),))


def _conda(command: Command, where: Where) -> Answer:
    label = " ".join(command.words[:2])
    files = values(command.arguments, "-f", "--file")
    words = [word for word in command.arguments if word[0] != "-"]
    if not files and words[:2] in (["env", "create"], ["env", "update"]):
        files = ["environment.yml"]
    if not files:
        return Needs()
    found: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in files:
        path = where.at(plain_path(one))
        text = where.placed.text(path)
        if text is None:
            return Source(label)
        found[path] = None
        for line in text.splitlines():
            entry = line.strip().removeprefix("-").strip().strip("\"'")
            included = re.match(r"(?:-r|-c|--requirement)[ =]?\s*(\S+)", entry)
            if included and "://" not in included[1]:
                inner = joined(posixpath.dirname(path), included[1])
                if not where.placed.has(inner):
                    raise StoppedError(f"{one} includes {included[1]}, which is not copied above the install")
                _requirements(where, inner, found, folders)
            elif re.match(r"(-e|--editable)\b|file:|\.{1,2}(/|$|\[)", entry) or (
                # A channel may have a slash in its name too.
                "/" in entry and where.placed.touched_by(where.folder, re.split(r"[\[;\s]", entry)[0])
            ):
                raise StoppedError(f"{one} installs {entry} from the source")
    return Needs(tuple(found), tuple(folders))


READERS: Final[Mapping[str, Reader]] = {
    "pip-install": _pip,
    "pip-tools": _pip,
    "pip-tool": _pip,
    "uv-sync": _uv_sync,
    "poetry-install": _poetry,
    "pdm-install": _pdm,
    "pipenv-install": _pipenv,
    "conda-install": _conda,
    "micromamba-install": _conda,
}
