"""What cargo reads, and what has to stand in for the source of each package.

Cargo compiles the dependencies only together with a package, and reads which targets the packages of a
workspace have before it does anything. So every package gets empty targets in the places of its real ones.
Cargo goes by times of files, and those of copied sources are older than what was compiled of their stand-ins:
the real files are touched below the copy, or the image would keep the empty program.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import entries, has_flag, members, strings, table, toml, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from devloop.cost.shell import Command

_PLAIN_WORD: Final = re.compile(r"[\w@%+=:,./-]+")
_PLAIN_FILE: Final = re.compile(r"[\w./-]+")
_MOST_STAND_INS: Final = 40
_DEPENDENCIES: Final = (
    *("dependencies", "dev-dependencies", "build-dependencies"),
    *("dev_dependencies", "build_dependencies"),
)
_TOOLCHAIN: Final = ("rust-toolchain", "rust-toolchain.toml")
_SETTINGS: Final = (".cargo/config.toml", ".cargo/config")
# What `cargo build` does not take; it builds for debugging unless it is told otherwise.
_OF_INSTALL: Final = frozenset({"install", "--force", "-f", "--no-track", "--debug"})
_WITH_STANDARD_LIBRARY: Final = (
    "-linux",
    "-apple",
    "-windows",
    "-freebsd",
    "-wasi",
    "wasm32-unknown-unknown",
)


def _cargo_build(command: Command, where: Where) -> Answer:
    verb = next((word for word in command.arguments if word[0] not in "+-"), "")
    if verb not in {"build", "b", "install"} or not where.present("Cargo.toml"):
        return Source(f"cargo {verb}")
    words = _install_as_build(command) if verb == "install" else command.words
    if has_flag(command, "--manifest-path", "-C", "--example", "--examples", "--test", "--tests", "--bench"):
        raise StoppedError("cargo builds something else than the programs and libraries that lie here")
    if has_flag(command, "--all-targets", "--benches"):
        raise StoppedError("cargo builds tests and examples too")
    if any(not _PLAIN_WORD.fullmatch(word) for word in command.words):
        raise StoppedError("the words of cargo build hold variables or quotes")
    packages = _packages(where)
    files = _files(where, packages)
    _refuse_bare_targets(command, where, files)
    compiled = tuple(path for one in packages for path in (*one.libraries, *one.programs))
    return Needs(
        files,
        fills=(where.at(where.environment.get("CARGO_TARGET_DIR", "target")),),
        split=Split(
            insert=(*_stand_ins(packages), " ".join(words)),
            touched=compiled,
            replaced=_written(where, packages),
            kind="cargo-build",
        ),
    )


def _install_as_build(command: Command) -> tuple[str, ...]:
    """Return the build that compiles what an install of this project needs, in the same folder."""
    if values(command.arguments, "--path") not in (["."], ["./"]):
        raise StoppedError("cargo installs a project from another folder")
    if not has_flag(command, "--locked"):
        raise StoppedError("cargo install without --locked chooses the versions anew")
    kept: list[str] = []
    words = iter(command.arguments)
    for word in words:
        if word in {"--path", "--root"}:
            next(words, "")
        elif not word.startswith(("--path=", "--root=")) and word not in _OF_INSTALL:
            kept.append(word)
    is_release = not has_flag(command, "--debug", "--profile")
    return (command.words[0], "build", *(["--release"] if is_release else []), *kept)


def _cargo_fetch(command: Command, where: Where) -> Answer:
    if "fetch" not in command.arguments or not where.present("Cargo.toml"):
        return Source("cargo")
    if has_flag(command, "--manifest-path", "-C") or any(not _PLAIN_WORD.fullmatch(w) for w in command.words):
        raise StoppedError("the words of cargo fetch hold variables, or name another project")
    packages = _packages(where)
    insert = (*_stand_ins(packages), " ".join(command.words))
    split = Split(insert=insert, replaced=_written(where, packages), kind="cargo-fetch")
    return Needs(_files(where, packages), split=split)


# Packages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Package:
    """A package by its folder, as seen from where cargo runs, with the files that its targets begin with.

    `programs` hold a main function, scripts of the build too; `others` are tests, benches and examples that
    the manifest names, which only have to be there.
    """

    folder: str
    libraries: tuple[str, ...]
    programs: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def manifest(self) -> str:
        return _inside(self.folder, "Cargo.toml")


def _packages(where: Where) -> tuple[_Package, ...]:
    """Return every package that cargo has to read: the members, and what they depend on by a path."""
    root = toml(where, "Cargo.toml")
    _refuse_other_roots(where, root)
    waiting = ["."] if "package" in root else []
    waiting += _member_folders(where, root)
    waiting += _local_dependencies(where, ".", table(root.get("workspace")))
    if not waiting:
        raise StoppedError("Cargo.toml describes no package")
    found: dict[str, _Package] = {}
    while waiting:
        folder = waiting.pop(0)
        if folder in found:
            continue
        document = toml(where, _inside(folder, "Cargo.toml"))
        found[folder] = _package(where, folder, document)
        waiting += _local_dependencies(where, folder, document)
    return tuple(found.values())


def _refuse_other_roots(where: Where, root: Mapping[str, object]) -> None:
    """Stop where packages are replaced, or where a workspace above reads more than what lies here."""
    replaced = [*strings(root.get("replace"))]
    if replaced or any(
        "path" in table(one) for patch in _tables(root.get("patch")) for one in _tables(patch)
    ):
        raise StoppedError("Cargo.toml replaces a dependency by a local one, which others are compiled with")
    if "workspace" in root:
        return
    if "workspace" in table(root.get("package")):
        raise StoppedError("Cargo.toml belongs to a workspace at another place")
    folder = where.folder
    while folder != "/":
        folder = posixpath.dirname(folder)
        if re.search(r"(?m)^\s*\[workspace", where.placed.text(posixpath.join(folder, "Cargo.toml")) or ""):
            raise StoppedError("the workspace above has members that cargo reads too")


def _tables(value: object) -> list[object]:
    return list(table(value).values())


def _member_folders(where: Where, root: Mapping[str, object]) -> list[str]:
    workspace = table(root.get("workspace"))
    patterns = [str(one) for one in entries(workspace.get("members"))]
    left_out = [posixpath.normpath(str(one)) for one in entries(workspace.get("exclude"))]
    if any(one.startswith(("/", "../")) or re.search(r"[?\[\]{}]", one) for one in patterns):
        raise StoppedError("the members of the workspace are named by a pattern that is not followed here")
    for one in patterns:
        if "*" not in one and not where.present(_inside(one, "Cargo.toml")):
            raise StoppedError(f"the member {one} of the workspace is not copied above the build")
    start = len(where.folder.rstrip("/")) + 1
    found = [posixpath.dirname(path)[start:] for path in members(where, patterns, "Cargo.toml")]
    return [one for one in found if not any(f"{one}/".startswith(f"{out}/") for out in left_out)]


def _local_dependencies(where: Where, folder: str, document: Mapping[str, object]) -> Iterator[str]:
    """Yield the folders of what a manifest depends on by a path."""
    groups = [document, *(table(one) for one in _tables(document.get("target")))]
    for group in groups:
        for kind in _DEPENDENCIES:
            for name, one in table(group.get(kind)).items():
                path = table(one).get("path")
                if path is None:
                    continue
                target = _inside(folder, str(path))
                if target.startswith(("../", "/")) or not where.present(_inside(target, "Cargo.toml")):
                    raise StoppedError(f"Cargo.toml takes {name} from {path}, which is not copied here")
                yield target


def _package(where: Where, folder: str, document: Mapping[str, object]) -> _Package:
    own = table(document.get("package"))
    _refuse_lints(table(document.get("lints")), where)
    libraries = list(_target(where, folder, table(document.get("lib")), ["src/lib.rs"], "lib" in document))
    programs = list(_present(where, folder, ["src/main.rs"]))
    programs += [
        path
        for path in where.placed.below(where.at(_inside(folder, "src/bin")))
        if re.fullmatch(
            r"src/bin/([\w-]+\.rs|[\w-]+/main\.rs)", path[len(where.at(folder).rstrip("/")) + 1 :]
        )
    ]
    for one in entries(document.get("bin")):
        name = table(one).get("name")
        usual = [*_usual("src/bin", name), *(["src/main.rs"] if name == own.get("name") else [])]
        programs += _target(where, folder, table(one), usual)
    if not libraries and not programs:
        raise StoppedError(f"{_inside(folder, 'Cargo.toml')} has no target to stand in for")
    build = own.get("build", "build.rs")
    if isinstance(build, str):
        programs += _target(where, folder, {"path": build}, [], "build" in own)
    elif build is not False:
        raise StoppedError(f"{_inside(folder, 'Cargo.toml')} names its build script in another way")
    others = [
        path
        for kind, place in (("test", "tests"), ("bench", "benches"), ("example", "examples"))
        for one in entries(document.get(kind))
        for path in _target(where, folder, table(one), _usual(place, table(one).get("name")))
    ]
    return _Package(folder, *(_unique(where, group) for group in (libraries, programs, others)))


def _usual(place: str, name: object) -> list[str]:
    return [f"{place}/{name}.rs", f"{place}/{name}/main.rs"]


def _target(
    where: Where, folder: str, target: Mapping[str, object], usual: list[str], is_named: bool = True
) -> Iterator[str]:
    """Yield the file that a target begins with; stop where the manifest names it and it is not there."""
    path = target.get("path")
    found = _present(where, folder, usual if path is None else [str(path)])
    if found:
        yield found[0]
    elif is_named:
        name = path or target.get("name") or usual[0]
        raise StoppedError(f"{_inside(folder, 'Cargo.toml')} names {name}, which is not copied above")


def _present(where: Where, folder: str, names: Iterable[str]) -> tuple[str, ...]:
    return where.present(*(_inside(folder, name) for name in names))


def _unique(where: Where, paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths in the image as they are seen from where cargo runs."""
    start = len(where.folder.rstrip("/")) + 1
    found = tuple(dict.fromkeys(path[start:] for path in paths))
    if any(not _PLAIN_FILE.fullmatch(path) for path in found):
        raise StoppedError("a source has a name with signs that a shell reads in its own way")
    return found


def _refuse_lints(lints: Mapping[str, object], where: Where) -> None:
    """Stop where an empty library breaks a rule that makes the compiler give up."""
    if lints.get("workspace") is True:
        lints = table(table(toml(where, "Cargo.toml").get("workspace")).get("lints"))
    for name, level in table(lints.get("rust")).items():
        if {"deny", "forbid"} & {*strings(level)} and name != "unsafe_code":
            raise StoppedError(f"an empty library may break the lint {name} of Cargo.toml")


# What is written --------------------------------------------------------------------------------------------


def _files(where: Where, packages: Iterable[_Package]) -> tuple[str, ...]:
    """Return the manifests, the lock, and the settings that cargo looks for here and in the folders above."""
    files = list(where.present("Cargo.toml", "Cargo.lock", *_TOOLCHAIN, *_SETTINGS))
    folder = where.folder
    while folder != "/":
        folder = posixpath.dirname(folder)
        files += where.placed.present(folder, (*_TOOLCHAIN, *_SETTINGS))
    files += where.present(*(one.manifest for one in packages))
    for path in files:
        if posixpath.basename(posixpath.dirname(path)) == ".cargo":
            _refuse_settings(where, path)
    return tuple(dict.fromkeys(files))


def _refuse_settings(where: Where, path: str) -> None:
    """Stop where the settings of cargo name files of the project: vendored sources, linker scripts."""
    text = re.sub(r"(?m)#.*$", "", where.placed.text(path) or "")
    named = re.findall(r"[\"']([^\"'\n]+)[\"']", text)
    parts = [part for one in named for part in re.split(r"[\s=]|-T", one) if part]
    if re.search(r"(?m)^\s*(include|paths|directory|local-registry)\s*=", text) or any(
        where.placed.touched_by(where.folder, part) for part in parts
    ):
        raise StoppedError("the settings of cargo name files of the project")


def _refuse_bare_targets(command: Command, where: Where, files: Iterable[str]) -> None:
    """Stop where it builds for a machine without a standard library: a stand-in needs one."""
    chosen = [where.environment.get("CARGO_BUILD_TARGET", "")]
    for path in files:
        if posixpath.basename(posixpath.dirname(path)) == ".cargo":
            chosen += re.findall(r"(?m)^\s*target\s*=\s*\"([^\"]+)\"", where.placed.text(path) or "")
            if "build-std" in (where.placed.text(path) or ""):
                raise StoppedError("cargo compiles the standard library too")
    words = command.arguments
    chosen += [one.partition("=")[2] for one in words if one.startswith("--target=")]
    chosen += [after for one, after in pairwise(words) if one == "--target"]
    if any(one and not any(known in one for known in _WITH_STANDARD_LIBRARY) for one in chosen):
        raise StoppedError("it builds for a target that may have no standard library")


def _written(where: Where, packages: Iterable[_Package]) -> tuple[str, ...]:
    """Return the paths in the image of all stand-ins."""
    return tuple(where.at(path) for one in packages for path in (*one.programs, *one.others, *one.libraries))


def _stand_ins(packages: tuple[_Package, ...]) -> tuple[str, ...]:
    """Write the commands that put an empty target wherever a package has one."""
    programs = [path for one in packages for path in (*one.programs, *one.others)]
    libraries = [path for one in packages for path in one.libraries]
    if len(programs) + len(libraries) > _MOST_STAND_INS:
        raise StoppedError(f"more than {_MOST_STAND_INS} targets would need a stand-in")
    there = {one.folder for one in packages}
    folders = sorted({posixpath.dirname(path) or "." for path in (*programs, *libraries)} - there)
    # `mkdir -p a/src/bin` makes a/src too.
    folders = [one for one in folders if not any(other.startswith(f"{one}/") for other in folders)]
    parts = [f"mkdir -p {' '.join(folders)}"] if folders else []
    if len(programs) == 1:
        parts.append(f"echo 'fn main() {{}}' > {programs[0]}")
    elif programs:
        parts.append(f"echo 'fn main() {{}}' | tee {' '.join(programs)} > /dev/null")
    if libraries:
        parts.append(f"touch {' '.join(libraries)}")
    return tuple(parts)


def _inside(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))


READERS: Final[Mapping[str, Reader]] = {
    "cargo-build": _cargo_build,
    "cargo-fetch": _cargo_fetch,
}
