"""What an install reads of the project: the files that have to be copied before it, found by reading them.

A manifest may name more files: requirements include requirements, workspaces have members, a lifecycle script
runs a program of the source. Each reader here follows what it knows and says `Stop` where a text could mean
more than that, because an install that misses a file fails in a build that used to work.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from devloop.cost.priors import CHEAP_PROGRAMS, PRIORS, matches
from devloop.doctor.placed import Placed, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from devloop.cost.shell import Command


@dataclass(frozen=True, slots=True)
class Split:
    """How a step that also needs the source is taken apart.

    `flag` is put behind the words `behind` of the step that then stands above the source; below it the step
    stands once more as it was (`again`), or `after` does. `insert` is a command of its own above the source,
    with the step left below it, begun with `prefix`.
    """

    behind: str = ""
    flag: str = ""
    again: bool = False
    after: str = ""
    insert: str = ""
    prefix: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """The files and whole folders, by their paths in the image, that a command reads of the project.

    `fills` are the folders that it installs into. No file at all means: it needs nothing of the project.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    fills: tuple[str, ...] = ()
    split: Split | None = None
    family: str = ""

    @property
    def is_install(self) -> bool:
        """Whether it reads manifests at all."""
        return bool(self.files or self.folders)


@dataclass(frozen=True, slots=True)
class Stop:
    """It is an install, and this stands in the way of saying what it reads."""

    reason: str
    family: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """It reads the source, or nobody can tell from here."""

    label: str


Answer = Needs | Stop | Source


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class _StoppedError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Where:
    """Where a command runs: its folder, the files that lie there, and its environment."""

    folder: str
    placed: Placed
    environment: Mapping[str, str] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """Return the path in the image."""
        return joined(self.folder, path)

    def text(self, name: str) -> str | None:
        """Return the text of a file, by its path from here."""
        return self.placed.text(self.at(name))

    def present(self, *names: str) -> tuple[str, ...]:
        """Return the paths of those files that lie here."""
        return self.placed.present(self.folder, names)

    def folders(self, *names: str) -> tuple[str, ...]:
        """Return the paths of those folders that hold files here."""
        return tuple(path for name in names if self.placed.below(path := self.at(name)))


def kind_of(command: Command) -> tuple[str, str, bool]:
    """Return kind, family and whether it is a cheap look-alike; empty where the table does not know it."""
    for prior in PRIORS:
        if any(matches(spelling, command) for spelling, _ in prior.cheap):
            return prior.kind, prior.family, True
        if any(matches(spelling, command) for spelling in prior.spellings):
            return prior.kind, prior.family, False
    if any(command.program in names.split("|") for names, _ in CHEAP_PROGRAMS):
        return "cheap", "", True
    return "", "", False


def needs_of(command: Command, where: Where) -> Answer:
    """Say what one command reads of the files that were copied above it."""
    kind, family, is_cheap = kind_of(command)
    reader = None if is_cheap else _READERS.get(kind)
    label = " ".join(command.words[:2])
    if reader is not None:
        try:
            found = reader(command, where)
        except _StoppedError as stopped:
            return Stop(stopped.reason, family)
        if isinstance(found, Needs) and not found.is_install and _touches(command, where):
            return Source(label)
        return replace(found, family=family) if isinstance(found, Needs) else found
    return _free(command, where, kind, is_cheap=is_cheap)


# Commands that read nothing of the project ----------------------------------------------------------------

_STANDALONE = frozenset(
    {"pip-tool", "pipx-install", "uv-tool", "uv-python", "npm-global", "go-install", "rustup", "gem-install"}
    | {
        "php-extensions",
        "mix-bootstrap",
        "cabal-update",
        "cargo-install",
        "browser-install",
        "model-download",
    }
    | {"apt-install", "apt-update", "apk-add", "apk-update", "dnf-install", "zypper-install"}
    | {"pacman-install", "distro-packages", "download", "git-clone", "corepack"}
)
OS_KINDS = frozenset(
    {"apt-install", "apt-update", "apk-add", "apk-update", "dnf-install", "zypper-install"}
    | {"pacman-install", "distro-packages"}
)
TOOL_KINDS = frozenset(
    {"pipx-install", "uv-tool", "uv-python", "npm-global", "go-install", "gem-install", "php-extensions"}
    | {"cargo-install", "download", "git-clone", "pip-tool", "rustup", "mix-bootstrap", "browser-install"}
    | {"model-download", "pip-install", "uv-sync", "conda-install", "micromamba-install"}
)
# Settings and cleaning of tools, by program and subcommand.
_SETTINGS: Mapping[str, str] = {
    "npm": "config set cache --version -v",
    "yarn": "cache config --version set",
    "pnpm": "config set store --version",
    "corepack": "enable disable",
    "poetry": "config --version cache",
    "pip": "cache config --version",
    "uv": "venv cache --version",
    "bundle": "config --version",
    "composer": "clear-cache clearcache --version",
    "conda": "clean config init --version",
    "mamba": "clean config init",
    "micromamba": "clean config",
    "go": "version env clean",
    "cargo": "--version",
    "rustup": "default show set",
    "git": "config --version",
    "apt-get": "clean autoclean autoremove purge remove",
    "apt": "clean autoremove purge remove",
    "apk": "del cache info",
    "dnf": "clean remove autoremove",
    "yum": "clean remove autoremove",
    "microdnf": "clean",
    "python": "-V --version",
    "node": "-v --version",
    "dotnet": "--info --version",
    "gradle": "--version",
    "mvn": "-v --version",
}
_FREE_PROGRAMS = _words(
    "mkdir rmdir echo rm ln touch groupadd useradd adduser addgroup usermod groupmod chmod chown chgrp test ["
    " [[ install setcap printf sleep date which type command id passwd chpasswd dpkg rpm locale-gen localedef"
    " update-ca-certificates update-ca-trust ldconfig update-alternatives apt-mark apt-key gpg exit nproc"
    " docker-php-ext-enable a2enmod a2dismod a2ensite phpenmod venv virtualenv ensurepip arch getent dirname"
    " sha256sum sha512sum base64 hostname env debconf-set-selections basename false uname"
)
# They write where they run, so that a file of the project could be in their way: absolute places only.
_PLACED_PROGRAMS = _words("tar unzip gunzip cp mv tee sed cat head tail grep find tr cut awk xargs ls")


def _free(command: Command, where: Where, kind: str, *, is_cheap: bool) -> Answer:
    label = " ".join(command.words[:2])
    if not command.words:
        return Needs()
    if command.body is not None or any("$(" in word or "`" in word for word in command.words):
        pass  # what is inside comes as a command of its own
    if command.program == "mkdir":
        return Needs()
    if _touches(command, where):
        return _lists(command, where) or _wrapper(command, where) or Source(label)
    if kind in _STANDALONE and not is_cheap:
        if kind == "rustup":
            return Needs(where.present("rust-toolchain", "rust-toolchain.toml"))
        if kind == "corepack" and not any("@" in word for word in command.words):
            return Source(label)
        if kind == "model-download" and not _downloads_alone(command, where):
            return Source(label)
        return Needs()
    if kind == "conda-install" and not is_cheap:
        return Needs()
    subcommands = _SETTINGS.get(command.program, "").split()
    if command.arguments and command.arguments[0] in subcommands:
        return Needs()
    if command.program in _FREE_PROGRAMS:
        return Needs()
    if command.program in _PLACED_PROGRAMS:
        plain = [word for word in command.arguments if not word.startswith("-")]
        is_absolute = [word.startswith(("/", "$", "s/", "s|", "'")) for word in plain]
        if command.is_piped_into or (plain and all(is_absolute)):
            goes_here = command.program in {"tar", "unzip"} and not _has_target(command)
            return Source(label) if goes_here and where.placed.below(where.folder) else Needs()
    return Source(label)


def _downloads_alone(command: Command, where: Where) -> bool:
    """Tell whether a program that downloads a model is no program of the project, and imports none."""
    if command.program != "python":
        return True
    if "-c" not in command.arguments:
        return "-m" in command.words or not any(word.endswith(".py") for word in command.arguments)
    code = " ".join(command.arguments)
    modules = set(re.findall(r"\b(?:from|import)\s+(\w+)", code))
    return "open(" not in code and not any(
        where.present(f"{name}.py") or where.folders(name) for name in modules
    )


def _has_target(command: Command) -> bool:
    words = command.arguments
    return any(
        word in {"-C", "-d", "--directory"} or word.startswith("--directory=") or "C" in word[1:2]
        for word in words
        if word.startswith("-")
    )


def _lists(command: Command, where: Where) -> Needs | None:
    """`cat packages.txt` names a list of packages: one plain file, which can be copied before."""
    plain = [word for word in command.arguments if not word.startswith("-")]
    if command.program in {"cat", "xargs"} and len(plain) == 1 and where.placed.has(where.at(plain[0])):
        return Needs((where.at(plain[0]),))
    return None


def _wrapper(command: Command, where: Where) -> Answer | None:
    """`chmod +x gradlew` changes nothing where the file is executable already."""
    plain = [word.removeprefix("./") for word in command.arguments[1:]]
    if command.program != "chmod" or not plain or not set(plain) <= {"mvnw", "gradlew"}:
        return None
    paths = tuple(where.at(word) for word in plain)
    if any(where.placed.files.get(path) not in where.placed.executable for path in paths):
        return Stop(
            f"{plain[0]} is not executable in the context, and a copy of the source makes it so again"
        )
    return Needs(paths)


def _touches(command: Command, where: Where) -> bool:
    return any(_names_something(word, where) for word in command.arguments) or (
        "/" in command.words[0] and where.placed.touched_by(where.folder, command.words[0])
    )


def _names_something(word: str, where: Where) -> bool:
    if "://" in word:
        word = posixpath.basename(word.partition("?")[0]).removesuffix(".git")
    if word in {"", "/", "~", "&&"} or (word == "*"):
        return word == "*"
    if word in {".", "./", ".."}:
        return bool(where.placed.below(where.folder))
    if "*" in word:
        folder = posixpath.dirname(word.partition("*")[0] + "x")
        return bool(where.placed.below(joined(where.folder, folder))) and not word.startswith("/var/lib/apt")
    return where.placed.touched_by(where.folder, word)


# Helpers of the readers ------------------------------------------------------------------------------------


def _values(words: Iterable[str], *names: str) -> list[str]:
    """Return the values of a flag, in all of its spellings."""
    found: list[str] = []
    waiting = False
    for word in words:
        if waiting:
            found.append(word)
            waiting = False
        elif word in names:
            waiting = True
        else:
            for name in names:
                if word.startswith(f"{name}=") and name.startswith("--"):
                    found.append(word.partition("=")[2])
                elif not name.startswith("--") and word.startswith(name) and len(word) > len(name):
                    found.append(word[len(name) :].removeprefix("="))
    return found


def _has(command: Command, *flags: str) -> bool:
    return any(word in flags or word.partition("=")[0] in flags for word in command.arguments)


def _plain_path(path: str) -> str:
    if re.search(r"[$*?{}`]", path):
        raise _StoppedError(f"the path {path} is not known before the build")
    return path


def _table(value: object) -> dict[str, object]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _toml(where: Where, name: str) -> dict[str, object]:
    try:
        return tomllib.loads(where.text(name) or "")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        raise _StoppedError(f"{name} cannot be read") from None


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


# Python ----------------------------------------------------------------------------------------------------

_PIP_VALUES = _words(
    "-i --index-url --extra-index-url --trusted-host --python-version --platform --only-binary --no-binary"
    " --timeout --retries --proxy --cache-dir --progress-bar --implementation --abi --upgrade-strategy"
    " --src --report --root-user-action --python -p --config-settings --log --exists-action --index-strategy"
    " --index --default-index --keyring-provider -t --target --prefix --root --link-mode"
    " --no-build-isolation-package -w --wheel-dir -d --dest"
)
_LOCAL = re.compile(r"(\.{1,2}(/|$|\[)|/|~|file:)|^[\w./-]+\.(whl|tar\.gz|zip)$")


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
        where.at(one) for one in _values(words, "-t", "--target", "--prefix", "--root", "-w", "--wheel-dir")
    ]
    fills += _environments(command, where)
    if command.program == "uv" or "VIRTUAL_ENV" in where.environment:
        fills.append(where.at(".venv"))
    if not files:
        return Needs(fills=tuple(fills)) if names else Source(f"{command.program} {verb}")
    found: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in files:
        path = where.at(_plain_path(one))
        if not where.placed.has(path):
            return Source(f"{command.program} {verb}")
        _requirements(where, path, found, folders)
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


def _requirements(where: Where, path: str, found: dict[str, None], folders: dict[str, None]) -> None:
    """Follow requirements into those that they include, and into the folders that they install."""
    if path in found:
        return
    found[path] = None
    name = posixpath.basename(path)
    text = where.placed.text(path)
    if text is None:
        raise _StoppedError(f"{name} cannot be read")
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        entry = re.split(r"(^|\s)#", line)[0].strip()
        included = re.match(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", entry)
        if included:
            if "://" in included[1]:
                continue
            inner = joined(posixpath.dirname(path), _plain_path(included[1]))
            if not where.placed.has(inner):
                raise _StoppedError(f"{name} includes {included[1]}, which is not copied above the install")
            _requirements(where, inner, found, folders)
            continue
        if re.match(r"(-e|--editable)\b", entry):
            entry = re.sub(r"^(-e|--editable)[ =]?\s*", "", entry)
            if not re.match(r"(git|hg|svn|bzr)\+|https?://", entry):
                folders[_local_folder(where, name, entry)] = None
        elif re.match(r"(-f|--find-links)\b", entry):
            if "://" not in entry:
                raise _StoppedError(f"{name} looks for packages in a folder: {entry}")
        elif re.match(r"\.{1,2}/[\w./-]+$", entry):
            folders[_local_folder(where, name, entry)] = None
        elif _LOCAL.match(entry) or re.search(r"@\s*file:", entry):
            raise _StoppedError(f"{name} installs {entry} from a path")


def _local_folder(where: Where, name: str, entry: str) -> str:
    """Return the folder of a local package: a part of the project, and not the whole of it."""
    folder = where.at(entry)
    if where.folder == folder or where.folder.startswith(f"{folder}/") or not where.placed.below(folder):
        raise _StoppedError(f"{name} installs {entry} from the source")
    return folder


def _uv_sync(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb == "pip":
        return _pip(command, where)
    if verb not in {"sync", "export"} or _has(
        command, "--package", "--project", "--directory", "--all-packages"
    ):
        return Source(f"uv {verb}")
    files = where.present("pyproject.toml", "uv.lock", "uv.toml", ".python-version")
    if not where.present("pyproject.toml"):
        return Source(f"uv {verb}")
    document = _toml(where, "pyproject.toml")
    own = _table(_table(document.get("tool")).get("uv"))
    for name, source in _table(own.get("sources")).items():
        for one in _list(source) or [source]:
            if _table(one).get("path") is not None:
                raise _StoppedError(f"pyproject.toml takes {name} from a path")
    members = _table(own.get("workspace")).get("members")
    if members is not None:
        found = _members(where, [str(one) for one in _list(members)], "pyproject.toml")
        files += tuple(one for one in found if one not in files)
    environment = where.environment.get("UV_PROJECT_ENVIRONMENT", ".venv")
    fills = (where.at(environment),)
    if verb == "export":
        return Needs(files, fills=fills)
    project = _table(document.get("project"))
    dynamic = _list(project.get("dynamic"))
    is_package = own.get("package", "build-system" in document)
    skips = _has(command, "--no-install-project", "--no-install-workspace")
    if any(part in dynamic for part in ("dependencies", "optional-dependencies")) or (
        dynamic and not _has(command, "--frozen")
    ):
        raise _StoppedError(
            "pyproject.toml has dynamic metadata, which the build backend reads from the source"
        )
    if skips or (not is_package and members is None):
        return Needs(files, fills=fills)
    flag = "--no-install-project" if members is None else "--no-install-workspace"
    return Needs(files, fills=fills, split=Split("uv sync", flag, again=True))


def _poetry(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"install", "sync", "export"} or _has(command, "-C", "--directory", "-P", "--project"):
        return Source(f"poetry {verb}")
    if not where.present("pyproject.toml"):
        return Source(f"poetry {verb}")
    document = _toml(where, "pyproject.toml")
    own = _table(_table(document.get("tool")).get("poetry"))
    _no_paths(own)
    if any("file:" in text for text in _strings(_table(document.get("project")).get("dependencies"))):
        raise _StoppedError("pyproject.toml takes a dependency from a path")
    files = where.present("pyproject.toml", "poetry.lock", "poetry.toml")
    fills = (where.at(".venv"),)
    if verb == "export" or _has(command, "--no-root") or own.get("package-mode") is False:
        return Needs(files, fills=fills)
    if _has(command, "--only-root"):
        return Source(f"poetry {verb}")
    return Needs(files, fills=fills, split=Split(f"poetry {verb}", "--no-root", again=True))


def _no_paths(value: object) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("path"), str) and not {"include", "script"} & value.keys():
            raise _StoppedError(f"a dependency is taken from the path {value['path']}")
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
        or _has(command, "-p")
    ):
        return Source(f"pdm {verb}")
    document = _toml(where, "pyproject.toml")
    if "file:" in (where.text("pyproject.toml") or ""):
        raise _StoppedError("pyproject.toml takes a dependency from a path")
    files = where.present("pyproject.toml", "pdm.lock", "pdm.toml")
    own = _table(_table(document.get("tool")).get("pdm"))
    fills = (where.at(".venv"), where.at("__pypackages__"))
    if verb == "export" or _has(command, "--no-self") or own.get("distribution") is False:
        return Needs(files, fills=fills)
    if _has(command, "--no-editable") or "scripts" in own:
        raise _StoppedError("pdm may run scripts of the project, or packs it")
    return Needs(files, fills=fills, split=Split(f"pdm {verb}", "--no-self", again=True))


def _pipenv(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"install", "sync", "requirements"} or not where.present("Pipfile"):
        return Source(f"pipenv {verb}")
    if _has(command, "-e", "--editable", "-r") or len([w for w in command.arguments if w[0] != "-"]) > 1:
        return Source(f"pipenv {verb}")
    document = _toml(where, "Pipfile")
    for group in document.values():
        for name, one in _table(group).items():
            entry = _table(one)
            if "path" in entry or (entry.get("editable") and "git" not in entry):
                raise _StoppedError(f"Pipfile takes {name} from the source")
    return Needs(where.present("Pipfile", "Pipfile.lock"), fills=(where.at(".venv"),))


def _conda(command: Command, where: Where) -> Answer:
    label = " ".join(command.words[:2])
    files = _values(command.arguments, "-f", "--file")
    words = [word for word in command.arguments if word[0] != "-"]
    if not files and words[:2] in (["env", "create"], ["env", "update"]):
        files = ["environment.yml"]
    if not files:
        return Needs()
    found: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in files:
        path = where.at(_plain_path(one))
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
                    raise _StoppedError(
                        f"{one} includes {included[1]}, which is not copied above the install"
                    )
                _requirements(where, inner, found, folders)
            elif re.match(r"(-e|--editable)\b|file:|\.{1,2}(/|$|\[)", entry):
                raise _StoppedError(f"{one} installs {entry} from the source")
    return Needs(tuple(found), tuple(folders))


# JavaScript ------------------------------------------------------------------------------------------------

_LIFECYCLE = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
_HARMLESS = re.compile(
    r"(npx )?(husky( install)?|only-allow \w+|is-ci|patch-package|lefthook install|simple-git-hooks|true"
    r"|exit 0|prisma generate|echo [^<>$`]*|ngcc)"
)
_JS_FILES: Mapping[str, tuple[str, ...]] = {
    "npm": ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"),
    "yarn": ("package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc", ".pnp.cjs", ".pnp.loader.mjs"),
    "pnpm": ("package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"),
    "bun": ("package.json", "bun.lock", "bun.lockb", "bunfig.toml", ".npmrc"),
}
_JS_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "yarn": (".yarn/releases", ".yarn/plugins", ".yarn/patches", ".yarn/cache", ".yarn/sdks"),
}
_JS_VALUES = _words(
    "--prefix -C --dir --cwd --cache --registry --userconfig --loglevel --omit --include --only --production"
    " --network-timeout --network-concurrency --cache-folder --modules-folder --mutex --reporter --store-dir"
    " --filter -F -w --workspace --backend"
)


def _js(tool: str) -> Callable[[Command, Where], Answer]:
    def read(command: Command, where: Where) -> Answer:
        label = " ".join(command.words[:2])
        verbs = [w for w in _without_values(command.arguments) if not w.startswith("-")]
        allowed = {
            "install",
            "i",
            "ci",
            "clean-install",
            "ic",
            "install-clean",
            "fetch",
            "workspaces",
            "focus",
        }
        if any(verb not in allowed for verb in verbs) or (tool == "pnpm" and _has(command, "--offline")):
            return Source(label)
        if "focus" in verbs and "install" not in verbs and len(verbs) > 2:
            return Source(label)
        if tool == "pnpm" and "fetch" in verbs:
            return _fetch(where)
        if not where.present("package.json"):
            return Source(label)
        if _has(command, "--filter", "-F", "-w", "--workspace", "--modules-folder"):
            raise _StoppedError(f"{label} names a part of the workspace")
        manifests = [where.at("package.json"), *_workspaces(tool, where)]
        files = [*where.present(*_JS_FILES[tool]), *manifests[1:]]
        folders = [*where.folders(*_JS_FOLDERS.get(tool, ()))]
        ignores = _has(command, "--ignore-scripts", "--mode=skip-build") or "ignore-scripts=true" in (
            (where.text(".npmrc") or "").replace(" ", "")
        )
        for manifest in manifests:
            at = replace(where, folder=posixpath.dirname(manifest))
            for one in _package(at, tool, ignores_scripts=ignores):
                (folders if where.placed.below(one) else files).append(one)
            if manifest != manifests[0]:
                files += at.present(".npmrc")
        fills = tuple(joined(posixpath.dirname(one), "node_modules") for one in manifests)
        return Needs(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), fills)

    return read


def _without_values(words: Iterable[str]) -> list[str]:
    found: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        skip = word in _JS_VALUES
        found.append(word)
    return found


def _fetch(where: Where) -> Answer:
    files = where.present("pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs")
    if not where.present("pnpm-lock.yaml"):
        return Source("pnpm fetch")
    if where.present("package.json") and "packageManager" in (where.text("package.json") or ""):
        files = (*files, where.at("package.json"))
    return Needs(files, where.folders("patches"), (where.at("node_modules"),))


def _json(where: Where, name: str) -> dict[str, object]:
    try:
        return _table(json.loads(where.text(name) or ""))
    except (ValueError, RecursionError):
        raise _StoppedError(f"{name} cannot be read") from None


def _workspaces(tool: str, where: Where) -> list[str]:
    """Return the manifests of the members of a workspace."""
    found = _json(where, "package.json").get("workspaces")
    patterns = [
        str(one) for one in _list(_table(found).get("packages") if isinstance(found, dict) else found)
    ]
    if tool == "pnpm":
        patterns = []
        is_inside = False
        for line in (where.text("pnpm-workspace.yaml") or "").splitlines():
            if line[:1] not in {" ", "\t", "-", "#", ""}:
                is_inside = line.startswith("packages:")
                inline = line.partition("packages:")[2].strip() if is_inside else ""
                if inline and not re.fullmatch(r"\[[^\[\]{}]*\]\s*(#.*)?", inline):
                    raise _StoppedError("the packages of pnpm-workspace.yaml are no plain list")
                patterns += re.findall(r"['\"]?([^'\",\[\]\s#]+)['\"]?", inline.partition("#")[0])
            elif is_inside and (entry := re.match(r"\s*-\s*['\"]?([^'\"#\s]+)", line)):
                patterns.append(entry[1])
    return _members(where, patterns, "package.json")


def _members(where: Where, patterns: Iterable[str], name: str) -> list[str]:
    """Return the manifests in the folders that the patterns of a workspace match."""
    wanted = [one.removeprefix("./").rstrip("/") for one in patterns]
    found = []
    for path in where.placed.below(where.folder):
        inside = path[len(where.folder.rstrip("/")) + 1 :]
        folder, _, base = inside.rpartition("/")
        if base != name or not folder or "node_modules" in folder.split("/"):
            continue
        if any(_is_member(folder, one.removeprefix("!")) for one in wanted if one.startswith("!")):
            continue
        if any(_is_member(folder, one) for one in wanted if not one.startswith("!")):
            found.append(path)
    return found


def _is_member(folder: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(folder, pattern.replace("/**", "*").replace("**", "*"))
    return folder.count("/") == pattern.count("/") and all(
        fnmatchcase(one, like) for one, like in zip(folder.split("/"), pattern.split("/"), strict=True)
    )


def _package(where: Where, tool: str, *, ignores_scripts: bool) -> Iterator[str]:
    """Yield what one package.json makes an install read besides the manifests."""
    document = _json(where, "package.json")
    for group in ("dependencies", "devDependencies", "optionalDependencies", "overrides", "resolutions"):
        for name, text in _table(document.get(group)).items():
            for one in _strings(text):
                if one.startswith(("file:", "link:", "portal:", "./", "../", "/")):
                    raise _StoppedError(f"package.json takes {name} from {one}")
                if one.startswith("patch:") and tool != "yarn":
                    raise _StoppedError(f"package.json patches {name}")
    for one in _strings(_table(document.get("pnpm")).get("patchedDependencies")):
        yield where.at(one)
    for one in _strings(document.get("patchedDependencies")):
        yield where.at(one)
    if tool == "pnpm":
        for entry in re.finditer(r":\s*['\"]?(patches/[\w@.+/-]+)", where.text("pnpm-workspace.yaml") or ""):
            yield where.at(entry[1])
    if ignores_scripts:
        return
    if where.placed.has(where.at("binding.gyp")):
        raise _StoppedError("binding.gyp makes the install compile the source")
    scripts = _table(document.get("scripts"))
    for name in _LIFECYCLE:
        script = scripts.get(name)
        if not isinstance(script, str):
            continue
        for part in re.split(r"&&|\|\||;", script):
            runs = re.fullmatch(r"node ([\w./-]+\.[cm]?js)", part.strip())
            if runs and _reads_nothing(where, runs[1]):
                yield where.at(runs[1])
            elif part.strip() and not _HARMLESS.fullmatch(part.strip()):
                raise _StoppedError(f"the script {name} of package.json runs `{part.strip()}`")
            if "patch-package" in part and where.folders("patches"):
                yield where.at("patches")
            if "prisma generate" in part:
                schema = _table(document.get("prisma")).get("schema")
                if schema is not None:
                    raise _StoppedError("the schema of prisma is at a place of its own")
                yield where.at("prisma")


def _reads_nothing(where: Where, script: str) -> bool:
    """Tell whether a script of the project that an install runs reads no other file of it."""
    text = where.text(script)
    return text is not None and not re.search(
        r"(require\(|import\b|from\s)\s*['\"]\.|readFile|readdir|glob|exec|spawn|fork|__dirname|cwd\(|import\.meta"
        r"|require\(\s*[^'\"]",
        text,
    )


# Go, Rust ------------------------------------------------------------------------------------------------


def _go_mod(command: Command, where: Where) -> Answer:
    if command.arguments[:2] not in {("mod", "download"), ("mod", "verify")} or _has(
        command, "-C", "-modfile"
    ):
        return Source(" ".join(command.words[:3]))
    found = _go_files(where)
    return Needs(found, fills=()) if found else Source("go mod")


def _go_files(where: Where) -> tuple[str, ...]:
    if not where.present("go.mod", "go.work"):
        return ()
    files = [*where.present("go.work", "go.work.sum", "go.mod", "go.sum")]
    folders = ["."]
    work = where.text("go.work")
    if work is not None and where.environment.get("GOWORK") != "off":
        for block in re.findall(r"(?m)^use\s+(\([^)]*\)|\S+)", work):
            folders += [part.strip("\"'") for part in re.sub(r"//.*", "", block).strip("()").split()]
    done: set[str] = set()
    while folders:
        folder = posixpath.normpath(folders.pop())
        if folder in done:
            continue
        done.add(folder)
        files += where.present(f"{folder}/go.mod", f"{folder}/go.sum")
        text = where.text(f"{folder}/go.mod") or ""
        for target in re.findall(r"=>\s*(\.{1,2}/\S*|/\S+)", re.sub(r"//.*", "", text)):
            local = f"{folder}/{target}"
            if target.startswith("/") or not where.present(f"{local}/go.mod"):
                raise _StoppedError(f"go.mod replaces a module by {target}, which is not copied here")
            folders.append(local)
    return tuple(dict.fromkeys(files))


def _go_build(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    text = where.text("go.mod")
    if (
        verb not in {"build", "test", "install", "run", "vet"}
        or text is None
        or _has(command, "-C", "-modfile")
    ):
        return Source(f"go {verb}")
    if not re.search(r"(?m)^\s*require\b", text) or where.present("vendor/modules.txt"):
        return Source(f"go {verb}")
    if any("-mod" in word for word in (*command.words, where.environment.get("GOFLAGS", ""))):
        return Source(f"go {verb}")
    return Needs(_go_files(where), split=Split(insert="go mod download", kind="go-mod"))


def _cargo_build(command: Command, where: Where) -> Answer:
    verb = next((word for word in command.arguments if word[0] not in "+-"), "")
    if verb not in {"build", "b"} or not where.present("Cargo.toml"):
        return Source(f"cargo {verb}")
    if _has(
        command, "--manifest-path", "-p", "--package", "--bin", "--example", "--workspace", "-C", "--lib"
    ):
        raise _StoppedError("cargo builds a part of the project by name")
    document = _toml(where, "Cargo.toml")
    reasons = (
        ("workspace" in document, "the members of a cargo workspace have to be there to be read"),
        ("package" not in document, "Cargo.toml describes no package"),
        (
            bool(where.present("build.rs")) or "build" in _table(document.get("package")),
            "build.rs is compiled too",
        ),
        ("default-run" in _table(document.get("package")), "Cargo.toml names the program that runs"),
        (
            any(name in document for name in ("bin", "lib", "bench", "example", "test")),
            "Cargo.toml names its targets",
        ),
        (not where.present("src/main.rs"), "there is no src/main.rs to stand in for"),
        ("patch" in document or "replace" in document, "Cargo.toml replaces dependencies"),
    )
    for is_so, reason in reasons:
        if is_so:
            raise _StoppedError(reason)
    for group in ("dependencies", "dev-dependencies", "build-dependencies", "target"):
        if '"path"' in json.dumps(document.get(group, {})):
            raise _StoppedError("Cargo.toml takes a dependency from a path")
    if any(not re.fullmatch(r"[\w@%+=:,./-]+", word) for word in command.words):
        raise _StoppedError("the words of cargo build hold variables or quotes")
    files = where.present(
        *("Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"),
        *(".cargo/config.toml", ".cargo/config"),
    )
    has_library = bool(where.present("src/lib.rs"))
    stand_ins = "echo 'fn main() {}' > src/main.rs" + (" && touch src/lib.rs" if has_library else "")
    touched = "touch src/main.rs" + (" src/lib.rs" if has_library else "")
    return Needs(
        files,
        fills=(where.at("target"),),
        split=Split(
            insert=f"mkdir -p src && {stand_ins} && {' '.join(command.words)}",
            prefix=f"{touched} && ",
            kind="cargo-build",
        ),
    )


def _cargo_fetch(command: Command, where: Where) -> Answer:
    if "fetch" not in command.arguments or not where.present("Cargo.toml"):
        return Source("cargo")
    raise _StoppedError(
        "cargo reads the targets of a package before it fetches, so that its source must be there"
    )


# JVM, .NET -----------------------------------------------------------------------------------------------

_MAVEN_KEPT = re.compile(
    r"-(B|q|e|ntp|-no-transfer-progress|-batch-mode|-quiet|D[\w.-]+(=[\w./-]*)?|U|nsu)$|-P[\w,!-]+$"
)


def _poms(where: Where, path: str = "pom.xml", depth: int = 0) -> tuple[str, ...]:
    text = where.text(path)
    if text is None:
        raise _StoppedError(f"the module {path} is not copied above the install")
    text = re.sub(r"(?s)<!--.*?-->", "", text)
    found = [where.at(path)]
    folder = posixpath.dirname(path)
    parent = re.search(r"<relativePath>\s*([^<\s]+)\s*</relativePath>", text)
    if parent and depth == 0:
        above = posixpath.normpath(posixpath.join(folder, parent[1]))
        above = above if above.endswith(".xml") else f"{above}/pom.xml"
        if not where.present(above):
            raise _StoppedError(f"{path} has its parent at {parent[1]}, which is not copied here")
        found.append(where.at(above))
    for module in re.findall(r"<module>\s*([^<\s]+)\s*</module>", text):
        inner = posixpath.normpath(posixpath.join(folder, module))
        found += _poms(where, inner if inner.endswith(".xml") else f"{inner}/pom.xml", depth + 1)
    if "<systemPath>" in text:
        raise _StoppedError(f"{path} takes a library from a path")
    return tuple(dict.fromkeys(found))


def _maven_files(command: Command, where: Where) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if _has(command, "-f", "--file", "-pl", "--projects", "-am"):
        raise _StoppedError("maven builds a part of the project by name")
    files = list(_poms(where))
    for value in _values(command.arguments, "-s", "--settings", "-gs"):
        path = where.at(_plain_path(value))
        if where.placed.has(path):
            files.append(path)
    folders = list(where.folders(".mvn"))
    if command.words[0].endswith("mvnw"):
        files += where.present("mvnw")
        _needs_mode(where, "mvnw", command)
    return tuple(dict.fromkeys(files)), tuple(folders)


def _needs_mode(where: Where, name: str, command: Command) -> None:
    path = where.placed.files.get(where.at(name))
    if path is not None and command.words[0].startswith("./") and path not in where.placed.executable:
        raise _StoppedError(f"{name} is not executable in the context")


def _maven_dependencies(command: Command, where: Where) -> Answer:
    if not where.present("pom.xml"):
        return Source("mvn")
    goals = [word for word in command.arguments if word[0] != "-"]
    if any(not goal.startswith("dependency:") and "maven-dependency-plugin" not in goal for goal in goals):
        return Source("mvn")
    files, folders = _maven_files(command, where)
    return Needs(files, folders, (where.at("target"),))


def _maven_build(command: Command, where: Where) -> Answer:
    if not where.present("pom.xml") or _has(command, "-o", "--offline"):
        return Source("mvn")
    goals = [word for word in command.arguments if word[0] != "-"]
    if any(goal not in {"clean", "package", "install", "verify", "compile"} for goal in goals) or not goals:
        raise _StoppedError(
            f"maven runs {' '.join(goals) or 'without a goal'}, whose plugins are not known here"
        )
    files, folders = _maven_files(command, where)
    if len([one for one in files if one.endswith("pom.xml")]) > 1:
        raise _StoppedError(
            "maven resolves the modules of a project from each other only while it builds them"
        )
    if "<packaging>pom</packaging>" in (where.text("pom.xml") or ""):
        raise _StoppedError("pom.xml only holds other projects together")
    kept = [word for word in command.arguments if word[0] == "-"]
    if any(not _MAVEN_KEPT.match(word) for word in kept):
        raise _StoppedError("maven gets options that may not suit dependency:go-offline")
    kept = [word for word in kept if not word.startswith("-D") or "kip" not in word]
    insert = " ".join([command.words[0], *kept, "dependency:go-offline"])
    return Needs(files, folders, (where.at("target"),), Split(insert=insert, kind="maven-dependencies"))


def _gradle_dependencies(command: Command, where: Where) -> Answer:
    names = (
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
        "gradle.properties",
    )
    if not where.present(*names) or _has(command, "-p", "-b", "-I", "-c", "--include-build"):
        return Source("gradle")
    files = [*where.present(*names, "gradle.lockfile", "buildscript-gradle.lockfile")]
    for path in where.placed.below(where.folder):
        base = posixpath.basename(path)
        inside = path[len(where.folder.rstrip("/")) + 1 :]
        is_build_file = base.endswith((".gradle", ".gradle.kts")) or base in {
            "gradle.lockfile",
            "gradle.properties",
        }
        if is_build_file and not inside.startswith(("buildSrc/", "gradle/")):
            files.append(path)
    texts = [where.placed.text(path) or "" for path in dict.fromkeys(files)]
    if any("includeBuild" in text or "rootProject.file(" in text for text in texts):
        raise _StoppedError("the build files of gradle read other files of the project")
    if command.program == "gradlew":
        files += where.present("gradlew")
        _needs_mode(where, "gradlew", command)
    return Needs(
        tuple(dict.fromkeys(files)),
        where.folders("gradle", "buildSrc"),
        (where.at("build"), where.at(".gradle")),
    )


def _while_building(tool: str) -> Callable[[Command, Where], Answer]:
    manifests = {
        "gradle": ("build.gradle", "build.gradle.kts"),
        "sbt": ("build.sbt",),
        "stack": ("stack.yaml", "cabal.project", "package.yaml"),
    }[tool]

    def read(_command: Command, where: Where) -> Answer:
        if not where.present(*manifests):
            return Source(tool)
        raise _StoppedError(
            f"{tool} fetches and builds in one go, and nothing here fetches alone for certain"
        )

    return read


def _sbt(command: Command, where: Where) -> Answer:
    tasks = [word for word in command.arguments if word[0] != "-"]
    if not where.present("build.sbt") or tasks != ["update"]:
        return _while_building("sbt")(command, where)
    project = [
        path
        for path in where.placed.below(where.at("project"))
        if path.count("/") == where.at("project").count("/") + 1
    ]
    return Needs(
        (*where.present("build.sbt", ".sbtopts", ".jvmopts"), *project),
        fills=(where.at("target"), where.at("project/target"), where.at("project/project")),
    )


_DOTNET_FILES = re.compile(
    r"(?i).*\.(csproj|fsproj|vbproj|sln|slnx|slnf)|directory\.(build|packages)\.(props|targets)|nuget\.config"
    r"|global\.json|packages\.lock\.json|packages\.config|directory\.solution\.(props|targets)"
)


def _dotnet_files(where: Where, named: list[str]) -> tuple[str, ...]:
    found = [path for path in where.placed.below("/") if _DOTNET_FILES.fullmatch(posixpath.basename(path))]
    projects = [path for path in found if path.lower().endswith("proj")]
    if not projects or any(not where.placed.touched_by(where.folder, one) for one in named):
        return ()
    for project in projects:
        text = re.sub(r"(?s)<!--.*?-->", "", where.placed.text(project) or "")
        imported = re.search(r"<Import\s[^>]*Project=\"([^\"]+)\"", text)
        if imported:
            raise _StoppedError(f"{posixpath.basename(project)} imports {imported[1]}")
    return tuple(found)


def _dotnet_fills(where: Where) -> tuple[str, ...]:
    projects = [path for path in where.placed.below("/") if path.lower().endswith("proj")]
    return tuple(joined(posixpath.dirname(path), name) for path in projects for name in ("obj", "bin"))


def _dotnet_restore(command: Command, where: Where) -> Answer:
    if command.arguments[:1] != ("restore",):
        return Source(" ".join(command.words[:2]))
    named = [word for word in command.arguments[1:] if word[0] not in "-/" and ("/" in word or "." in word)]
    files = _dotnet_files(
        where, [one for one in named if one[0] != "-" and "=" not in one and "://" not in one]
    )
    return Needs(files, fills=_dotnet_fills(where)) if files else Source("dotnet restore")


def _dotnet_build(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"build", "publish"}:
        return Source(f"dotnet {verb}")
    named: list[str] = []
    kept: list[str] = []
    words = iter(command.arguments[1:])
    for word in words:
        if word in {"-r", "--runtime"}:
            kept += [word, next(words, "")]
        elif word in {
            "-c",
            "--configuration",
            "-o",
            "--output",
            "-f",
            "--framework",
            "-v",
            "--verbosity",
            "-a",
            "--os",
        }:
            following = next(words, "")
            if word in {"-f", "--framework", "-a", "--os"}:
                raise _StoppedError(
                    f"dotnet {verb} chooses a framework, which restore cannot be told: {following}"
                )
        elif word.startswith(("-p:", "/p:", "--property:")):
            kept.append(word)
        elif word[0] != "-":
            named.append(word)
    if len(named) > 1 or any(not re.fullmatch(r"[\w@%+=:,./-]+", word) for word in (*named, *kept)):
        raise _StoppedError("the words of dotnet hold variables or quotes")
    files = _dotnet_files(where, named)
    if not files:
        return Source(f"dotnet {verb}")
    insert = " ".join(["dotnet restore", *named, *kept])
    return Needs(files, fills=_dotnet_fills(where), split=Split(insert=insert, kind="dotnet-restore"))


# Ruby, PHP, Elixir, and others ---------------------------------------------------------------------------


def _bundler(command: Command, where: Where) -> Answer:
    verbs = [word for word in command.arguments if word[0] != "-"]
    if verbs[:1] not in ([], ["install"]) or _has(command, "--gemfile"):
        return Source("bundle")
    name = "gems.rb" if where.present("gems.rb") else "Gemfile"
    text = where.text(name)
    if text is None:
        return Source("bundle")
    text = re.sub(r"(?m)(^|\s)#.*$", "", text)
    for pattern, what in (
        (r":path\s*=>|\bpath\s*[(\"']|\bglob:", "takes gems from a path"),
        (
            r"\b(eval_gemfile|require_relative|instance_eval|load|Dir\[|Dir\.glob|IO\.read)\b",
            "reads other files",
        ),
        (r"\bFile\.(?!join|expand_path|basename|dirname)\w+", "reads other files"),
    ):
        if re.search(pattern, text):
            raise _StoppedError(f"{name} {what}")
    files = where.present(
        *("Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".ruby-version", ".tool-versions")
    )
    places = re.findall(r"\bpath:\s*[\"']([\w./-]+)[\"']", text)
    if len(places) != len(re.findall(r"\bpath:", text)):
        raise _StoppedError(f"{name} takes a gem from a path that is computed")
    places += ["."] if re.search(r"(?m)^\s*gemspec\b", text) else []
    for place in places:
        files += _gemspecs(where, place)
    return Needs(files, where.folders("vendor/cache", ".bundle"), (where.at("vendor/bundle"),))


def _gemspecs(where: Where, place: str) -> tuple[str, ...]:
    """Return the gemspecs of a local gem, which bundler evaluates; its files are not read."""
    depth = where.at(place).rstrip("/").count("/") + 1
    found = [
        path
        for path in where.placed.below(where.at(place))
        if path.endswith(".gemspec") and path.count("/") == depth
    ]
    if not found:
        raise _StoppedError(f"there is no gemspec at {place}")
    for path in found:
        text = where.placed.text(path) or ""
        if re.search(r"\b(require|require_relative|load|eval|File\.read|IO\.read)\b|\.extensions\b", text):
            raise _StoppedError(f"{posixpath.basename(path)} reads other files of the gem")
    return tuple(found)


_COMPOSER_EVENTS = ("pre-install-cmd", "post-install-cmd", "pre-package-install", "post-package-install")


def _composer(command: Command, where: Where) -> Answer:
    verbs = [word for word in command.arguments if word[0] != "-"]
    if verbs not in (["install"], ["i"]) or not where.present("composer.json"):
        return Source("composer")
    if _has(command, "-d", "--working-dir"):
        return Source("composer")
    document = _json(where, "composer.json")
    for one in _list(document.get("repositories")) or list(_table(document.get("repositories")).values()):
        if _table(one).get("type") in {"path", "artifact"}:
            raise _StoppedError("composer.json takes a package from a path")
    files = where.present("composer.json", "composer.lock", "symfony.lock", "auth.json")
    fills = (where.at("vendor"),)
    if _has(command, "--no-autoloader") and _has(command, "--no-scripts"):
        return Needs(files, fills=fills)
    scripts = _table(document.get("scripts"))
    events = [name for name in _COMPOSER_EVENTS if name in scripts]
    if events and not _has(command, "--no-scripts"):
        raise _StoppedError(f"composer.json runs scripts of the project: {', '.join(events)}")
    if _has(command, "--no-autoloader"):
        return Needs(files, fills=fills) if not scripts else Source("composer")
    dump = ["composer dump-autoload"]
    dump += [
        word
        for word in command.arguments
        if word in {"--no-dev", "-o", "--optimize", "-a", "--apcu-autoloader"}
    ]
    for given, wanted in (
        ("--optimize-autoloader", "--optimize"),
        ("--classmap-authoritative", "--classmap-authoritative"),
    ):
        dump += [wanted] if given in command.arguments else []
    if "--no-scripts" in command.arguments:
        dump.append("--no-scripts")
    flags = [flag for flag in ("--no-scripts", "--no-autoloader") if not _has(command, flag)]
    split = Split(f"composer {verbs[0]}", " ".join(flags), after=" ".join(dump))
    return Needs(files, fills=fills, split=split)


def _mix(command: Command, where: Where) -> Answer:
    tasks = {word for word in re.split(r"[\s,+]+", " ".join(command.arguments)) if re.match(r"[a-z]", word)}
    if not where.present("mix.exs") or not tasks <= {
        "do",
        "deps.get",
        "deps.compile",
        "prod",
        "only",
        "test",
        "dev",
    }:
        return Source(" ".join(command.words[:2]))
    if not tasks & {"deps.get", "deps.compile"}:
        return Source("mix")
    files = list(where.present("mix.exs", "mix.lock"))
    texts = [where.text("mix.exs") or ""]
    if "apps_path" in texts[0]:
        members = _members(where, ["apps/*"], "mix.exs")
        files += members
        texts += [where.placed.text(path) or "" for path in members]
    for text in texts:
        clean = re.sub(r"(?m)#.*$", "", text)
        if re.search(r"\bpath:\s*\"", clean):
            raise _StoppedError("mix.exs takes a dependency from a path")
        if re.search(r"\b(File|Code|System)\.(read|cmd|require|eval|stream|ls|exists|compile)", clean):
            raise _StoppedError("mix.exs reads other files of the project")
    return Needs(
        tuple(files),
        where.folders("config"),
        (where.at("deps"), where.at("_build")),
    )


def _rebar(command: Command, where: Where) -> Answer:
    if command.arguments not in {("get-deps",), ("compile", "--deps_only")} or not where.present(
        "rebar.config"
    ):
        return Source("rebar3")
    if where.present("rebar.config.script"):
        raise _StoppedError("rebar.config.script may read other files")
    return Needs(where.present("rebar.config", "rebar.lock"), fills=(where.at("_build"),))


def _haskell(command: Command, where: Where) -> Answer:
    if not _has(command, "--only-dependencies", "--dependencies-only", "--only-dep"):
        return _while_building("stack")(command, where)
    cabals = [path for path in where.placed.below(where.folder) if path.endswith((".cabal", "package.yaml"))]
    files = where.present("stack.yaml", "stack.yaml.lock", "cabal.project", "cabal.project.freeze")
    if not cabals or (not files and command.program == "stack"):
        return Source(command.program)
    return Needs((*files, *cabals), fills=(where.at(".stack-work"), where.at("dist-newstyle")))


def _swift(insert: Literal["", "swift package resolve"]) -> Callable[[Command, Where], Answer]:
    def read(command: Command, where: Where) -> Answer:
        text = where.text("Package.swift")
        if text is None or _has(command, "--package-path", "--skip-update"):
            return Source("swift")
        if insert and ".package(" not in text:
            return Source("swift")
        if re.search(r"\.package\(\s*(name:\s*\"[^\"]*\",\s*)?path:", text) or "Foundation" in text:
            raise _StoppedError("Package.swift takes a package from a path, or runs code")
        files = where.present("Package.swift", "Package.resolved")
        split = Split(insert=insert, kind="swift-resolve") if insert else None
        return Needs(files, fills=(where.at(".build"),), split=split)

    return read


_READERS: Mapping[str, Callable[[Command, Where], Answer]] = {
    "pip-install": _pip,
    "pip-tools": _pip,
    "pip-tool": _pip,
    "uv-sync": _uv_sync,
    "poetry-install": _poetry,
    "pdm-install": _pdm,
    "pipenv-install": _pipenv,
    "conda-install": _conda,
    "micromamba-install": _conda,
    "npm-install": _js("npm"),
    "yarn-install": _js("yarn"),
    "pnpm-install": _js("pnpm"),
    "bun-install": _js("bun"),
    "go-mod": _go_mod,
    "go-build": _go_build,
    "cargo-build": _cargo_build,
    "cargo-fetch": _cargo_fetch,
    "maven-dependencies": _maven_dependencies,
    "maven-build": _maven_build,
    "gradle-dependencies": _gradle_dependencies,
    "gradle-wrapper": _gradle_dependencies,
    "gradle-build": _while_building("gradle"),
    "sbt-build": _sbt,
    "dotnet-restore": _dotnet_restore,
    "dotnet-build": _dotnet_build,
    "bundle-install": _bundler,
    "composer-install": _composer,
    "mix-deps": _mix,
    "mix-compile": _mix,
    "rebar3": _rebar,
    "haskell-build": _haskell,
    "swift-resolve": _swift(""),
    "swift-build": _swift("swift package resolve"),
}
