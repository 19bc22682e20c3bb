"""The law of sync: what is proven and synced is what a fresh build of the same tree gives.

A case is a tree, a Dockerfile, an ignore file and rounds of edits, made up from its name. The image is built
and a container of it started; after each round the proof is asked, what it allows is brought in, and the
container's whole file system is held against that of a container made from a fresh build elsewhere.

`python -m support.sync_law --cases 500 --seed N` is the long run; `--only NAME` tells one case.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.engine.containers import Containers
from devloop.engine.images import image_config, image_facts
from devloop.engine.sync import ContainerFiles
from devloop.loop.keeper import Keeper, sync_batch
from devloop.plan.sync import Blocked, Surroundings, SyncPlan, prove_sync
from devloop.project.discover import locate
from devloop.project.reading import (
    Model,
    ReadingProblem,
    Tree,
    build_options,
    changes_between,
    read_model,
    read_tree,
)
from devloop.project.settings import Settings
from support.engine import BUSYBOX, find_environment, make_base_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from devloop.dockerfile.stages import ImageConfig, Platform

LABEL = "devloop.sync-law"
IGNORED = {
    *("dev", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", "proc", "sys", ".dockerenv"),
    *("etc", ".law"),
}
"""What the engine puts into every container, and the directory that it may make for it."""


# Cases ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A file with its text, a link with its target, or a directory."""

    kind: str
    text: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that a user does. An edit that does not apply to the tree does nothing."""

    what: str
    path: str
    text: str = ""
    mode: int = 0o644
    to: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A made-up project and what is done to it; `is_blind` hides the engine's own directories."""

    name: str
    lines: tuple[str, ...]
    nodes: tuple[tuple[str, Node], ...]
    ignore: str | None
    rounds: tuple[tuple[Edit, ...], ...]
    is_blind: bool = False

    def show(self) -> str:
        """The case as a person reads it."""
        tree = [f"    {path}: {node.kind} {node.mode:o} {node.text!r}" for path, node in self.nodes]
        edits = [f"  {at}: {edit}" for at, edits in enumerate(self.rounds) for edit in edits]
        return "\n".join(
            [
                f"case {self.name}{' (blind)' if self.is_blind else ''}",
                *(f"  | {one}" for one in self.lines),
                f"  ignore: {self.ignore!r}",
                *tree,
                *edits,
            ]
        )


def apply_edit(nodes: dict[str, Node], edit: Edit) -> dict[str, Node]:
    """Return the tree after an edit."""
    found = dict(nodes)
    match edit.what:
        case "write" | "link" | "mkdir":
            node = {
                "write": Node("file", edit.text, edit.mode),
                "link": Node("link", edit.text, 0o777),
                "mkdir": Node("dir", "", edit.mode),
            }[edit.what]
            if edit.what == "write" and edit.path in found and found[edit.path].kind == "file":
                node = replace(node, mode=found[edit.path].mode)
            if edit.what == "mkdir" and edit.path in found and found[edit.path].kind == "dir":
                return found
            _remove(found, edit.path)
            _make_parents(found, edit.path)
            found[edit.path] = node
        case "chmod":
            if edit.path in found and found[edit.path].kind != "link":
                found[edit.path] = replace(found[edit.path], mode=edit.mode)
        case "delete":
            _remove(found, edit.path)
        case "ignore":
            pass
        case "rename":
            if edit.path in found and not edit.to.startswith(f"{edit.path}/"):
                moved = {
                    edit.to + path[len(edit.path) :]: node
                    for path, node in found.items()
                    if path == edit.path or path.startswith(f"{edit.path}/")
                }
                _remove(found, edit.path)
                _remove(found, edit.to)
                _make_parents(found, edit.to)
                found.update(moved)
        case _:
            raise ValueError(edit.what)
    return dict(sorted(found.items()))


def _remove(nodes: dict[str, Node], path: str) -> None:
    for each in [one for one in nodes if one == path or one.startswith(f"{path}/")]:
        del nodes[each]


def _make_parents(nodes: dict[str, Node], path: str) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        above = "/".join(parts[:depth])
        if above not in nodes or nodes[above].kind != "dir":
            _remove(nodes, above)
            nodes[above] = Node("dir", "", 0o755)


def put(root: Path, nodes: Mapping[str, Node]) -> None:
    """Make the folder be this tree, touching nothing that is so already."""
    root.mkdir(parents=True, exist_ok=True)
    there = sorted((str(one.relative_to(root)) for one in root.rglob("*")), reverse=True)
    for path in there:
        node, at = nodes.get(path), root / path
        kind = "link" if at.is_symlink() else "dir" if at.is_dir() else "file"
        if node is None or node.kind != kind or (kind == "link" and str(at.readlink()) != node.text):
            if kind == "dir":
                shutil.rmtree(at)
            else:
                at.unlink(missing_ok=True)
    for path, node in sorted(nodes.items()):
        at = root / path
        if node.kind == "dir":
            at.mkdir(exist_ok=True)
            at.chmod(node.mode)
        elif node.kind == "link":
            if not at.is_symlink():
                at.symlink_to(node.text)
        else:
            if not at.exists() or at.read_text() != node.text:
                at.write_text(node.text)
            if at.stat().st_mode & 0o7777 != node.mode:
                at.chmod(node.mode)


# Making cases up --------------------------------------------------------------------------------------------

_FILES = ("a.txt", "b.txt", "c.md", "run.sh", "app.py", "conf.json", "Makefile")
_FOLDERS = ("src", "src/lib", "static", "static/css", "empty", "sub")
_SETUPS = (
    (),
    (),
    ("RUN mkdir -p /app/src /data && echo base > /app/a.txt && echo x > /app/src/base.txt",),
    ("RUN mkdir /data /app && echo t > /data/t && ln -s /data/t /app/b.txt && ln -s /data /app-link",),
    ("RUN mkdir -p /app /data && ln -s /data /app/static && mkdir -m 700 /srv && echo s > /srv/c.md",),
    ("RUN mkdir -p /app/sub /data/empty && chmod 711 /app/sub && echo old > /app/sub/a.txt",),
)
_USERS = (
    "RUN echo 'app:x:1234:1235::/:/bin/sh' >> /etc/passwd && echo 'app:x:1235:' >> /etc/group"
    " && echo 'staff:x:50:' >> /etc/group"
)
_IGNORES = (
    None,
    None,
    None,
    "*.md",
    "src/lib",
    "*\n!src\n!a.txt\n!run.sh",
    "**/*.md\n!c.md",
    "empty\nsub/*\n!sub/a.txt",
)
_FOLDER_PLACES = (
    "/app",
    "/app/",
    ".",
    "./",
    "/data/",
    "/srv",
    "/srv/",
    "sub/",
    "/new/deep/",
    "/app-link/",
    "/",
)
_FILE_PLACES = (
    "/app/",
    "./",
    "/data/",
    "/srv/",
    "x.txt",
    "/app/b.txt",
    "/new/one",
    "sub",
    "/app-link",
    "/app/static",
)
_PATTERNS = ("*.txt", "s*", "src/*", "[ab].txt", "?.md", "*", "s*/*.txt", "nothing*", "*.txt *.md")
_EXCLUDES = ("*.md", "**/*.txt", "lib", "src/lib", "**", "empty", "!c.md")
_MODES = (0o644, 0o755, 0o600, 0o700, 0o4755, 0o640)
_OWNERS = ("1000:1000", "7", "0:50", "12:34")
_NAMES = ("app", "app:staff", "app:app", "root:staff")


class _Maker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.random = random.Random(name)
        self.nodes: dict[str, Node] = {}
        self.count = 0
        self.staged: list[str] = []
        self.has_variable = self.random.random() < 0.2
        self.read: list[str] = []
        """What the Dockerfile's COPYs name, so that edits do not miss it too often."""

    def case(self) -> Case:
        chance = self.random.random
        self._tree()
        lines = self._dockerfile()
        ignore = self._ignore()
        nodes = dict(self.nodes)
        rounds = []
        for _ in range(self.random.choice((1, 2, 2, 3))):
            edits: list[Edit] = []
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                made = self._edit(nodes)
                for edit in made:
                    nodes = apply_edit(nodes, edit)
                edits += made
            rounds.append(tuple(edits))
        if chance() < 0.05:
            many = tuple(
                Edit("write", f"src/many/f{at}.txt", self._text())
                for at in range(self.random.choice((30, 80)))
            )
            rounds.append(many)
        return Case(
            self.name, tuple(lines), tuple(sorted(self.nodes.items())), ignore, tuple(rounds), chance() < 0.2
        )

    def _ignore(self) -> str | None:
        """An ignore file, and seldom one that hides what a COPY names."""
        chosen = self.random.choice(_IGNORES)
        rules = parse_ignore((chosen or "").encode(), file=".dockerignore")
        if isinstance(rules, IgnoreRules) and any(rules.excludes(one) for one in self.read):
            return chosen if self.random.random() < 0.1 else None
        return chosen

    def _text(self) -> str:
        self.count += 1
        return f"{self.name} {self.count}\n"

    def _tree(self) -> None:
        for file in _FILES[: self.random.randint(3, len(_FILES))]:
            self.nodes[file] = Node("file", self._text(), self.random.choice((0o644, 0o644, 0o755, 0o600)))
        for folder in _FOLDERS:
            if self.random.random() < 0.75:
                _make_parents(self.nodes, folder)
                self.nodes.setdefault(
                    folder, Node("dir", "", self.random.choice((0o755, 0o755, 0o700, 0o775)))
                )
                if folder == "empty":
                    continue
                for file in self.random.sample(_FILES, self.random.randint(1, 3)):
                    self.nodes[f"{folder}/{file}"] = Node(
                        "file", self._text(), self.random.choice((0o644, 0o755))
                    )
        if self.random.random() < 0.4:
            where = self.random.choice(
                [one for one in ("", "src/", "static/") if not one or one[:-1] in self.nodes]
            )
            self.nodes[f"{where}ln"] = Node(
                "link", self.random.choice(("a.txt", "src", "/data/t", "nowhere", "../a.txt")), 0o777
            )

    # The Dockerfile

    def _dockerfile(self) -> list[str]:
        chance, choice = self.random.random, self.random.choice
        is_scratch = chance() < 0.2
        lines: list[str] = []
        has_stage = chance() < 0.25
        if has_stage:
            lines += self._stage()
        if is_scratch:
            lines += ["FROM scratch", f"COPY --from={BUSYBOX} /bin/busybox /.law/busybox"]
            names = False
        else:
            lines.append(f"FROM {BUSYBOX}")
            lines += choice(_SETUPS)
            names = chance() < 0.35
            if names:
                lines.append(_USERS)
        if self.has_variable:
            lines.append(f"ARG OWNER={choice(_OWNERS)}")
        if chance() < 0.6:
            lines.append(f"WORKDIR {choice(('/app', '/app', '/srv', '/app/sub', '/w/x/'))}")
        copies = [self._copy(names=names) for _ in range(choice((1, 1, 2, 2, 3)))]
        if not is_scratch and chance() < 0.25:
            copies.insert(
                choice((0, len(copies) - 1, len(copies))), f"RUN echo {choice(('one', 'two'))} > /made"
            )
        if chance() < 0.2:
            copies.insert(
                self.random.randint(0, len(copies)), f"WORKDIR {choice(('lib', '/app/src', '/app/static'))}"
            )
        lines += copies
        if has_stage:
            lines.insert(self.random.randint(len(lines) - 1, len(lines)), self._from_stage())
        if chance() < 0.3:
            lines.append("LABEL a=b")
        return lines

    def _stage(self) -> list[str]:
        choice = self.random.choice
        base = choice(("scratch", "scratch", BUSYBOX))
        lines = [f"FROM {base} AS assets"]
        if self.random.random() < 0.3:
            lines.append("WORKDIR /out")
        for _ in range(choice((1, 2))):
            owner = choice(("", "", "--chown=5:6 ", "--chmod=640 "))
            folder = self._folder() or "."
            self.read.append("" if folder == "." else folder)
            place = choice(("/out", "/out/", "/out/in/"))
            self.staged.append(place.rstrip("/"))
            lines.append(f"COPY {owner}{folder} {place}")
            if self.random.random() < 0.4:
                self.staged.append("/out/one.txt")
                self.read.append(self._file())
                lines.append(f"COPY {owner}{self.read[-1]} /out/one.txt")
        return lines

    def _from_stage(self) -> str:
        choice = self.random.choice
        options = choice(("", "", "--chown=9:9 ", "--chmod=711 "))
        source = choice(("/out", "/out", *self.staged, "/"))
        return f"COPY --from=assets {options}{source} {choice(('/app', '/app/', '/pub/', './', '/data/x'))}"

    def _folder(self) -> str | None:
        found = [path for path, node in self.nodes.items() if node.kind == "dir"]
        return self.random.choice(found) if found else None

    def _file(self) -> str:
        return self.random.choice([path for path, node in self.nodes.items() if node.kind == "file"])

    def _copy(self, *, names: bool) -> str:
        chance, choice = self.random.random, self.random.choice
        options = []
        if chance() < 0.2:
            options.append(f"--chmod={choice(('755', '640', '0700', '4755'))}")
        if chance() < 0.3:
            owner = choice(_NAMES if names and chance() < 0.7 else _OWNERS)
            options.append(f"--chown={'$OWNER' if self.has_variable and chance() < 0.5 else owner}")
        if chance() < 0.1:
            options.append("--link")
        form = choice(
            ("all", "all", "folder", "folder", "file", "file-in", "several", "wild", "exclude", "heredoc")
        )
        keyword = "ADD" if chance() < 0.12 else "COPY"
        folder = self._folder() or "."
        match form:
            case "all":
                sources, place = ".", choice(_FOLDER_PLACES)
            case "folder":
                sources, place = choice((folder, f"{folder}/", f"./{folder}")), choice(_FOLDER_PLACES)
            case "file":
                sources, place = self._file(), choice(_FILE_PLACES)
            case "file-in":
                sources, place = self._file(), choice(("/app/", "./", "/data/"))
            case "several":
                many = [choice((self._file(), self._file(), folder)) for _ in range(choice((2, 3)))]
                sources, place = " ".join(many), choice(("/app/", "./", "/data/", "/new/deep/"))
            case "wild":
                sources = choice(
                    ("*.txt", "s*", "src/*", "[ab].txt", "?.md", "*", "s*/*.txt", "nothing*", "*.txt *.md")
                )
                place = choice(("/app/", "./", "/data/", "/new/deep/", "/app"))
            case "exclude":
                options.append(
                    f"--exclude={choice(('*.md', '**/*.txt', 'lib', 'src/lib', '**', 'empty', '!c.md'))}"
                )
                sources, place = choice((".", folder, "src", "*.txt")), choice(_FOLDER_PLACES)
            case _:
                return f"COPY <<EOF {choice(('/app/a.txt', '/app/h.txt', '/app/'))}\ninline\nEOF"
        self.read += [
            one.strip("./") if one in {".", "./"} else one.removeprefix("./") for one in sources.split()
        ]
        if chance() < 0.1 and place.endswith("/"):
            place += "."
        return " ".join([keyword, *options, sources, place])

    # Edits

    def _is_read(self, path: str) -> bool:
        return any(
            not one or path == one or path.startswith(f"{one}/") or fnmatch(path, one) for one in self.read
        )

    def _edit(self, nodes: dict[str, Node]) -> list[Edit]:
        chance, choice = self.random.random, self.random.choice
        kinds = {path: node.kind for path, node in nodes.items() if chance() < 0.15 or self._is_read(path)}
        files = [path for path, kind in kinds.items() if kind == "file"]
        folders = [path for path, kind in kinds.items() if kind == "dir"]
        folders += [""] if self._is_read("new.txt") or not folders else []
        everything = list(kinds) or ["a.txt"]

        def inside(name: str) -> str:
            folder = choice(folders)
            return f"{folder}/{name}" if folder else name

        what = choice(
            ("content",) * 6
            + ("chmod", "chmod", "add", "add", "add", "add-deep", "mkdir", "delete", "delete", "delete")
            + ("rename", "rename", "turn", "turn", "link", "undo", "overlap", "ignore")
        )
        name = choice((*_FILES, "new.txt", "d.md", "z"))
        match what:
            case "content" if files:
                return [Edit("write", choice(files), self._text())]
            case "chmod":
                return [
                    Edit(
                        "chmod", choice(everything), mode=choice((0o644, 0o755, 0o600, 0o700, 0o4755, 0o640))
                    )
                ]
            case "add":
                return [Edit("write", inside(name), self._text(), choice((0o644, 0o755)))]
            case "add-deep":
                return [Edit("write", inside(f"fresh/{name}"), self._text())]
            case "mkdir":
                return [
                    Edit(
                        "mkdir", inside(choice(("fresh", "empty", "sub", "lib"))), mode=choice((0o755, 0o700))
                    )
                ]
            case "delete":
                return [Edit("delete", choice(files if chance() < 0.7 and files else everything))]
            case "rename":
                return [
                    Edit("rename", choice(everything), to=inside(choice(("moved", "a.txt", "b.txt", "sub"))))
                ]
            case "turn":
                path = choice(everything)
                turned = choice(("write", "mkdir", "link"))
                text = self._text() if turned == "write" else choice(("a.txt", "/data/t", "nowhere"))
                extra = [Edit("write", f"{path}/inner.txt", self._text())] if turned == "mkdir" else []
                return [Edit(turned, path, text, 0o755 if turned == "mkdir" else 0o644), *extra]
            case "link":
                return [
                    Edit(
                        "link", inside(choice(("ln", "l2", "b.txt"))), choice(("a.txt", "src", "/etc", "no"))
                    )
                ]
            case "ignore":
                return [Edit("ignore", "", choice(_IGNORES) or "")]
            case "undo" if files:
                path = choice(files)
                return [Edit("write", path, "x\n"), Edit("write", path, nodes[path].text)]
            case _:
                folder = choice(("src", "static", "sub"))
                return [Edit("write", f"{folder}/{choice(_FILES)}", self._text())]


def make_case(name: str) -> Case:
    """Return the case of that name, always the same."""
    return _Maker(name).case()


# The engine -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Report:
    """How a case went: what was claimed, what was refused and why, and what was wrong."""

    outcomes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    is_built: bool = True


Prove = Any
"""A function with the signature of `prove_sync`."""


class Laboratory:
    """An engine with what it was asked to make, all of it under one label and removed in the end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.mark = secrets.token_hex(4)
        self.containers = Containers.connect(self.environ)
        self._images: list[str] = []

    def close(self) -> None:
        """Remove every container and image of this laboratory."""
        found = self.docker("ps", "-aq", "--filter", f"label={LABEL}={self.mark}").stdout.split()
        if found:
            self.docker("rm", "-f", *(one.decode() for one in found))
        self.clean_images()
        self.containers.close()

    def clean_images(self) -> None:
        """Remove the images made so far."""
        if self._images:
            self.docker("rmi", "-f", *self._images)
        self._images.clear()

    def docker(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", *arguments],
            env=self.environ,
            input=text.encode() if text is not None else None,
            capture_output=True,
            check=False,
            timeout=120,
        )

    def build(self, folder: Path, tag: str) -> str | None:
        """Build the folder; returns what went wrong, if something did."""
        done = self.docker("buildx", "build", "--quiet", "--provenance=false", "--tag", tag, str(folder))
        if done.returncode != 0:
            return done.stderr.decode(errors="replace")[-400:]
        self._images.append(tag)
        return None

    def start(self, tag: str, *, is_scratch: bool, is_started: bool = True) -> str:
        """Start a container that does nothing, or only make it."""
        command = ["/.law/busybox", "sleep", "600"] if is_scratch else ["/bin/sleep", "600"]
        config = self.containers.client.create_container_config(
            tag,
            command,
            entrypoint="",
            labels={LABEL: self.mark},
            user="0",
            host_config=self.containers.client.create_host_config(network_mode="none"),
        )
        create = cast("Callable[[Any], dict[str, str]]", self.containers.client.create_container_from_config)
        ident = create(config)["Id"]
        if is_started:
            self.containers.start(ident)
        return ident

    def remove(self, ident: str) -> None:
        self.containers.client.remove_container(ident, force=True)

    def files(self, ident: str) -> dict[str, tuple[Any, ...]]:
        """Return everything in a container: kind, mode, owner, and bytes or target of a link."""
        with tempfile.TemporaryFile() as spool:
            for chunk in self.containers.client.export(ident, chunk_size=1 << 20):
                spool.write(chunk)
            spool.seek(0)
            found: dict[str, tuple[Any, ...]] = {}
            with tarfile.open(fileobj=spool) as archive:
                for info in archive:
                    name = info.name.rstrip("/")
                    if name in IGNORED or name.startswith(("dev/", "proc/", "sys/", ".law/", "bin/")):
                        continue
                    content = info.linkname if info.issym() else ""
                    if info.isreg() or info.islnk():
                        file = archive.extractfile(info)
                        content = hashlib.sha256(file.read() if file else b"").hexdigest()[:16]
                    kind = "dir" if info.isdir() else "link" if info.issym() else "file"
                    mode = 0o777 if info.issym() else info.mode
                    found[name] = (
                        kind,
                        oct(mode),
                        info.uid,
                        info.gid,
                        info.linkname if info.issym() else content,
                    )
        return found

    def inspect(self, reference: str, platform: Platform) -> ImageConfig | None:
        found = image_facts(self.containers.engine, reference, str(platform))
        return image_config(found) if found is not None else None

    def read(self, folder: Path) -> tuple[Model, Tree]:
        """Read a project as devloop does."""
        settings = Settings()
        model = read_model(locate(folder, settings), build_options(settings, environ={}), self.inspect)
        if isinstance(model, ReadingProblem):
            raise TypeError(f"the case has no valid Dockerfile: {model.message}")
        return model, read_tree(model, {}, listing="names")


class _Run:
    """One case under way."""

    def __init__(self, case: Case, laboratory: Laboratory, prove: Prove) -> None:
        self.case = case
        self.laboratory = laboratory
        self.prove = prove
        self.report = Report()
        self.folder = Path(tempfile.mkdtemp(prefix="sync-law-")).resolve()
        self.keeper = Keeper(laboratory.containers, cast("Any", None), lambda _event: None)
        self.added: set[str] = set()
        self.ident = ""
        self.ignore = case.ignore
        self.builds = 0
        self.is_scratch = any(line.startswith("FROM scratch") for line in case.lines) and not any(
            line == f"FROM {BUSYBOX}" for line in case.lines
        )

    def close(self) -> None:
        self.keeper._close_files()
        if self.ident:
            self.laboratory.remove(self.ident)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, root: Path, nodes: Mapping[str, Node]) -> None:
        given = dict(nodes)
        given["Dockerfile"] = Node("file", "\n".join(self.case.lines) + "\n")
        if self.ignore is not None:
            given[".dockerignore"] = Node("file", self.ignore + "\n")
        put(root, given)

    def _fresh_image(self, nodes: Mapping[str, Node]) -> tuple[str, str | None]:
        """Build the tree in a folder that the engine never saw."""
        self.builds += 1
        root = self.folder / f"fresh-{self.builds}"
        self._put(root, nodes)
        tag = f"sync-law-{self.laboratory.mark}:{secrets.token_hex(4)}"
        return tag, self.laboratory.build(root, tag)

    def _renew(self, tag: str) -> None:
        if self.ident:
            self.laboratory.remove(self.ident)
        self.ident = self.laboratory.start(tag, is_scratch=self.is_scratch)
        self.keeper._close_files()
        self.keeper = Keeper(self.laboratory.containers, cast("Any", None), lambda _event: None)
        self.keeper.container = self.laboratory.containers.inspect(self.ident)

    def run(self) -> Report:
        nodes = dict(self.case.nodes)
        tag, error = self._fresh_image(nodes)
        if error is not None:
            self.report.is_built = False
            self.report.reasons.append(error)
            return self.report
        self._renew(tag)
        root = self.folder / "project"
        self._put(root, nodes)
        model, tree = self.laboratory.read(root)
        for at, edits in enumerate(self.case.rounds):
            for edit in edits:
                nodes = apply_edit(nodes, edit)
                self.ignore = edit.text if edit.what == "ignore" else self.ignore
            self._put(root, nodes)
            model, after = self.laboratory.read(root)
            changes = changes_between(tree, after)
            if not any(changes.values()):
                self.report.outcomes.append("unchanged")
                continue
            proof = self.prove(model.graph, tree.snapshots, after.snapshots, changes, self._surroundings())
            tree = after
            if isinstance(proof, Blocked):
                self.report.outcomes.append("blocked")
                self.report.reasons.append(proof.reason)
            elif self._check(at, proof, model, nodes):
                continue
            # What was not synced is built, as the session would.
            if self.report.findings or at == len(self.case.rounds) - 1:
                break
            tag, error = self._fresh_image(nodes)
            if error is not None:
                break
            self._renew(tag)
        return self.report

    def _surroundings(self) -> Surroundings:
        found = self.keeper.surroundings()
        return (
            replace(found, layers_with=lambda _place: None, layer_count=None) if self.case.is_blind else found
        )

    def _check(self, at: int, proof: SyncPlan, model: Model, nodes: Mapping[str, Node]) -> bool:
        """Sync and compare; returns whether the container may go on as it is."""
        say = self.report.findings.append
        roots = {name: context.root for name, context in model.contexts.items()}
        files = ContainerFiles(self.laboratory.containers, self.ident, reach=not self.case.is_blind)
        # As the keeper does when it syncs.
        fresh = [one.path for one in proof.writes if self.keeper._kind_at(one.path) is None]
        try:
            outcome = files.apply(sync_batch(proof, roots))
        finally:
            files.close()
        self.keeper._added.update(fresh)
        self.keeper._added.difference_update(proof.removals)
        self.keeper._kinds.clear()
        if not outcome.ok:
            # A refusal leads to a rebuild. An image without rm, seen from outside, is the one good reason.
            self.report.outcomes.append("refused")
            self.report.reasons.append(f"refused: {outcome.error}")
            if not (self.case.is_blind and self.is_scratch):
                say(f"round {at}: the proof holds and the engine refuses: {outcome.error}")
            return False
        self.report.outcomes.append("synced" if proof.writes or proof.removals else "nothing")
        tag, error = self._fresh_image(nodes)
        if error is not None:
            say(f"round {at}: synced, and a build fails: {error}")
            return False
        ident = self.laboratory.start(tag, is_scratch=self.is_scratch, is_started=False)
        try:
            differences = compare(self.laboratory.files(self.ident), self.laboratory.files(ident))
        finally:
            self.laboratory.remove(ident)
        for difference in differences[:5]:
            say(f"round {at}: {difference}")
        return not differences


def compare(synced: Mapping[str, tuple[Any, ...]], built: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Return what differs between two file systems."""
    return [
        f"/{path}: synced {synced.get(path)}, built {built.get(path)}"
        for path in sorted({*synced, *built})
        if synced.get(path) != built.get(path)
    ]


def run_case(case: Case, laboratory: Laboratory, prove: Prove = prove_sync) -> Report:
    """Hold one case against the engine."""
    run = _Run(case, laboratory, prove)
    try:
        return run.run()
    finally:
        run.close()


# Shrinking --------------------------------------------------------------------------------------------------


def smaller(case: Case) -> list[Case]:
    """Return cases with one thing less."""
    found = [
        replace(case, rounds=(*case.rounds[:at], *case.rounds[at + 1 :]))
        for at in range(len(case.rounds))
        if len(case.rounds) > 1
    ]
    for at, edits in enumerate(case.rounds):
        if len(edits) > 1:
            for cut in range(len(edits)):
                fewer = (*edits[:cut], *edits[cut + 1 :])
                found.append(replace(case, rounds=(*case.rounds[:at], fewer, *case.rounds[at + 1 :])))
    for at, line in enumerate(case.lines):
        if not line.startswith("FROM") and ".law" not in line:
            found.append(replace(case, lines=(*case.lines[:at], *case.lines[at + 1 :])))
    if case.ignore is not None:
        found.append(replace(case, ignore=None))
    for path, _ in case.nodes:
        kept = tuple(
            (one, node) for one, node in case.nodes if one != path and not one.startswith(f"{path}/")
        )
        found.append(replace(case, nodes=kept))
    return found


def shrink(case: Case, fails: Callable[[Case], bool], *, tries: int = 60) -> Case:
    """Return a smaller case that fails as well."""
    again = True
    while again and tries > 0:
        again = False
        for each in smaller(case):
            tries -= 1
            if tries <= 0:
                break
            if fails(each):
                case, again = each, True
                break
    return case


# The long run -----------------------------------------------------------------------------------------------


def soak(
    names: Sequence[str], laboratory: Laboratory, *, shrinks: bool = True
) -> tuple[Counter[str], Counter[str], list[str]]:
    """Run the cases of these names; returns the outcomes, the reasons of refusals, and what failed."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failing: list[str] = []
    for number, name in enumerate(names):
        case = make_case(name)
        try:
            report = run_case(case, laboratory)
        except Exception:  # noqa: BLE001 - a crash is a finding as well
            failing.append(name)
            _say(f"{name}: crashed\n{traceback.format_exc()}\n{case.show()}")
            continue
        outcomes.update(report.outcomes if report.is_built else ["not built"])
        reasons.update(_general(one) for one in report.reasons if report.is_built)
        if report.findings:
            failing.append(name)
            _say(f"{name}: {'; '.join(report.findings)}")
            least = shrink(case, lambda one: bool(run_case(one, laboratory).findings)) if shrinks else case
            _say(least.show())
            _say("; ".join(run_case(least, laboratory).findings))
        if number % 20 == 19:
            laboratory.clean_images()
    return outcomes, reasons, failing


def _general(reason: str) -> str:
    """Take the names out of a reason."""
    words = [("PATH" if "/" in word or "." in word.strip(".,:") else word) for word in reason.split()]
    return " ".join(words)[:90]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="support.sync_law", description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", default="1", help="cases are named SEED-0, SEED-1, ...")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", help="one case by its full name")
    parser.add_argument("--no-shrink", action="store_true")
    options = parser.parse_args(arguments)
    environ = find_environment()
    os.environ.update(
        {name: environ[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH") if name in environ}
    )
    make_base_image(environ, BUSYBOX)
    laboratory = Laboratory(environ)
    started = time.monotonic()
    try:
        if options.only:
            case = make_case(options.only)
            _say(case.show())
            report = run_case(case, laboratory)
            _say(f"{report.outcomes} {report.reasons} {report.findings}")
            return 1 if report.findings else 0
        names = [f"{options.seed}-{at}" for at in range(options.start, options.start + options.cases)]
        outcomes, reasons, failing = soak(names, laboratory, shrinks=not options.no_shrink)
    finally:
        laboratory.close()
    for reason, count in reasons.most_common(40):
        _say(f"{count:5} {reason}")
    claimed = outcomes["synced"] + outcomes["nothing"]
    asked = claimed + outcomes["blocked"] + outcomes["refused"]
    _say(f"{dict(outcomes)}; proven {claimed} of {asked} ({100 * claimed // max(1, asked)} %)")
    _say(f"{len(names)} cases in {time.monotonic() - started:.0f} s, failing: {failing}")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
