"""Commands that read nothing of the project: packages of the system, tools, downloads, settings."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from devloop.doctor.needs.answers import Answer, Needs, Source, Stop, Where
from devloop.doctor.needs.reading import set_of
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


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
_FREE_PROGRAMS = set_of(
    "mkdir rmdir echo rm ln touch groupadd useradd adduser addgroup usermod groupmod chmod chown chgrp test ["
    " [[ install setcap printf sleep date which type command id passwd chpasswd dpkg rpm locale-gen localedef"
    " update-ca-certificates update-ca-trust ldconfig update-alternatives apt-mark apt-key gpg exit nproc"
    " docker-php-ext-enable a2enmod a2dismod a2ensite phpenmod venv virtualenv ensurepip arch getent dirname"
    " sha256sum sha512sum base64 hostname env debconf-set-selections basename false uname"
)
# They write where they run, so that a file of the project could be in their way: absolute places only.
_PLACED_PROGRAMS = set_of("tar unzip gunzip cp mv tee sed cat head tail grep find tr cut awk xargs ls")


def free(command: Command, where: Where, kind: str, *, is_cheap: bool) -> Answer:
    """Say what a command reads for which there is no reader: nothing, or nobody knows."""
    label = " ".join(command.words[:2])
    if not command.words:
        return Needs()
    if command.body is not None or any("$(" in word or "`" in word for word in command.words):
        pass  # what is inside comes as a command of its own
    if command.program == "mkdir":
        return Needs()
    if touches(command, where):
        return _lists(command, where) or _wrapper(command, where) or Source(label)
    if kind in _STANDALONE and not is_cheap:
        if kind in {"rustup", "cargo-install"}:
            own = () if kind == "rustup" else (".cargo/config.toml", ".cargo/config")
            return Needs(where.present("rust-toolchain", "rust-toolchain.toml", *own))
        if kind == "corepack" and not any("@" in word for word in command.words):
            return Source(label)
        if kind == "model-download" and not _downloads_alone(command, where):
            return Source(label)
        return Needs()
    if kind == "conda-install" and not is_cheap:
        return Needs()
    if command.arguments[:1] == ("config",):
        return _settings(command, where)
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


_OWN_SETTINGS: Mapping[str, str] = {"yarn": ".yarnrc.yml", "poetry": "poetry.toml"}


def _settings(command: Command, where: Where) -> Answer:
    """Say what a command reads that changes settings: a copy below it may bring them back as they were."""
    program = command.program
    if program == "bundle":
        return Needs(fills=(where.at(".bundle"),))
    if "config" not in _SETTINGS.get(program, "").split():
        return Source(f"{program} config")
    file = _OWN_SETTINGS.get(program, "")
    is_own = "--local" in command.arguments if program == "poetry" else "set" in command.arguments
    if any(word in {"project", "--location=project"} for word in command.arguments):
        file, is_own = ".npmrc", True
    if file and is_own and where.present(file):
        return Stop(f"`{program} config` writes into {file}, which the copy would replace")
    return Needs()


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


def touches(command: Command, where: Where) -> bool:
    """Tell whether a word of the command names a file or folder that was copied."""
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
