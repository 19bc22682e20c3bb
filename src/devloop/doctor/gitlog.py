"""The history of a project as git tells it: commits of people, and any file as it was in any of them.

Everything is read from git's objects by two or three long-running processes; the user's tree and index are
neither read nor touched.
"""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Final

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.doctor.replay import Commit, FileChange, Place, ReplayGraph, is_manifest
from devloop.doctor.values import Values, differing, values_in
from devloop.errors import DevloopError
from devloop.project.settings import BOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from devloop.context.snapshot import Snapshot
    from devloop.doctor.replay import Replay
    from devloop.plan.model import ChangeKind
    from devloop.project.discover import Location
    from devloop.project.reading import Model
    from devloop.project.workspace import Workspace

DEFAULT_LIMIT: Final = 200

_FORMAT: Final = "tformat:%x1e%H%x00%P%x00%at%x00%an%x00%ae%x00%s"
_LINK, _SUBMODULE = b"120000", b"160000"
_KINDS: Final[Mapping[bytes, ChangeKind]] = {b"A": "added", b"D": "removed"}


class GitProblem(DevloopError):  # noqa: N818 - it names what the user will read
    """git cannot tell what was asked; the message says why."""


# Talking to git ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Git:
    """A git work tree, asked without taking its optional locks."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @classmethod
    def of(cls, location: Location, environ: Mapping[str, str]) -> Git:
        """Return the repository of a project. Raises GitProblem where it is in none, or git is missing."""
        if location.git_root is None:
            raise GitProblem(
                f"{location.folder} is in no git repository", hint="a replay needs the history that git keeps"
            )
        return cls(location.git_root, environ)

    def ask(self, *arguments: str) -> bytes:
        """Return what git prints. Raises GitProblem with the first line of what it says where it fails."""
        status, out, said = self._run(*arguments)
        if status != 0:
            raise GitProblem(_first_line(said), hint=_hint(said))
        return out

    def _run(self, *arguments: str) -> tuple[int, bytes, bytes]:
        with self.start(*arguments) as process:
            out, said = process.communicate()
            return process.returncode, out, said

    @contextmanager
    def start(self, *arguments: str, takes_input: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """Run git in a session of its own, so that Ctrl-C is ours to answer; it ends with the context."""
        try:
            process = subprocess.Popen(
                ["git", "-c", "i18n.logOutputEncoding=UTF-8", "-C", str(self.root), *arguments],
                stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**_without_repository(self.environ), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise GitProblem("git is not installed", hint="a replay reads the history with it") from error
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    _close(stream)
            process.wait()

    def is_shallow(self) -> bool:
        """Tell whether older commits were left out when the repository was cloned."""
        return self.ask("rev-parse", "--is-shallow-repository").strip() == b"true"

    def commit(self, revision: str) -> str:
        """Return the full name of a commit. Raises GitProblem where there is none of that name."""
        name = f"{revision}^{{commit}}"
        status, out, said = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        if status == 0:
            return out.decode().strip()
        if said.strip():
            raise GitProblem(_first_line(said), hint=_hint(said))
        if revision == "HEAD":
            raise GitProblem("the repository has no commits yet", hint="a replay needs some history")
        raise GitProblem(
            f"git knows no commit {revision!r}", hint="name a commit, branch or tag of this repository"
        )

    def merge_base(self, one: str, other: str) -> str:
        """Return the commit at which two histories parted. Raises GitProblem where they have none."""
        status, out, _ = self._run("merge-base", self.commit(one), self.commit(other))
        if status != 0:
            raise GitProblem(
                f"{one} and {other} have no commit in common here",
                hint="a shallow clone may hide it: fetch the whole history (fetch-depth: 0 in a workflow)",
            )
        return out.decode().split()[0]

    def sizes_at(self, commit: str) -> dict[str, int]:
        """Return the bytes of each file and link of a commit's tree."""
        found: dict[str, int] = {}
        for row in self.ask("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0"):
            about, _, path = row.partition(b"\t")
            size = about.split()[-1:] or [b"-"]
            if size[0].isdigit():
                found[_text(path)] = int(size[0])
        return found


_REPOSITORY: Final = frozenset(
    {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"}
    | {"GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}
)


def _without_repository(environ: Mapping[str, str]) -> dict[str, str]:
    """Drop what names a repository: in a hook that is the one of the hook, and not that of the project."""
    return {name: value for name, value in environ.items() if name not in _REPOSITORY}


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:
        return


def _first_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    text = lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else "no reason given"
    return f"git: {text}"


def _hint(said: bytes) -> str | None:
    if b"dubious ownership" in said:
        return "git config --global --add safe.directory PATH allows it"
    return None


class Objects:
    """Files of git's trees, read through one `git cat-file --batch`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._blobs: dict[str, bytes | None] = {}

    def file(self, commit: str, path: str) -> tuple[str, bytes] | None:
        """Return digest and bytes of a file in a commit's tree; None where it is not there."""
        if "\n" in path:
            return None
        found = self._ask(f"{commit}:{path}".encode("utf-8", "surrogateescape"))
        if found is None or found[1] != b"blob":
            return None
        self._blobs[found[0]] = found[2]
        return found[0], found[2]

    def blob(self, digest: str) -> bytes | None:
        """Return the bytes of a version of a file."""
        if digest not in self._blobs:
            found = self._ask(digest.encode())
            self._blobs[digest] = found[2] if found is not None and found[1] == b"blob" else None
        return self._blobs[digest]

    def _ask(self, name: bytes) -> tuple[str, bytes, bytes] | None:
        wants, gives = self._process.stdin, self._process.stdout
        if wants is None or gives is None:
            return None
        try:
            wants.write(name + b"\n")
            wants.flush()
        except BrokenPipeError as error:
            raise GitProblem("git cat-file ended early") from error
        words = gives.readline().split()
        if len(words) < 3 or words[-1] == b"missing":
            return None
        size = int(words[2])
        body = gives.read(size)
        gives.read(1)
        return words[0].decode(), words[1], body


# Commits ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reading:
    """A walk through the history, newest commit first, that counts what it leaves out.

    `watched` are the paths of the repository whose versions each commit carries along.
    """

    git: Git
    objects: Objects
    dockerfile: str | None = None
    watched: tuple[str, ...] = ()
    limit: int | None = DEFAULT_LIMIT
    since: str | None = None
    until: str = "HEAD"
    bots: Sequence[str] = BOTS
    human: int = 0
    merges: int = 0
    by_bots: int = 0
    _versions: dict[str, tuple[str | None, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Commit]:
        """Yield the commits of people; those of bots and merges are counted."""
        marks = tuple(mark.casefold() for mark in self.bots)
        for raw in self._raw_commits():
            before, after = self._follow(raw)
            if len(raw.parents) > 1:
                self.merges += 1
            elif any(mark in raw.who for mark in marks):
                self.by_bots += 1
            else:
                self.human += 1
                yield Commit(
                    raw.id, raw.parents[0] if raw.parents else None, raw.at, raw.author, raw.subject,
                    raw.changes, before, after,
                )  # fmt: skip
                if self.limit is not None and self.human >= self.limit:
                    return

    def count(self) -> int:
        """Return how many commits there are to read at most; far quicker than to read them."""
        arguments = ("rev-list", "--count", "--no-merges", *self._range(), "--")
        found = int(self.git.ask(*arguments))
        return found if self.limit is None else min(found, self.limit)

    def _range(self) -> tuple[str, ...]:
        tip = self.git.commit(self.until)
        return (tip,) if self.since is None else (tip, f"^{self.git.commit(self.since)}")

    def _raw_commits(self) -> Iterator[_RawCommit]:
        arguments = ["log", "-z", "--raw", "--no-renames", "--no-abbrev", "--no-color", "--no-ext-diff"]
        arguments += ["--no-show-signature", "--no-notes", "--ignore-submodules=dirty", f"--format={_FORMAT}"]
        with self.git.start(*arguments, *self._range(), "--") as process, _drained(process) as said:
            yield from _parsed(process)
            if process.wait() != 0:
                raise GitProblem(_first_line(said()))

    def _follow(self, raw: _RawCommit) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        """Return the versions of the watched files before and after a commit.

        What is not known from a child of the commit is asked; a merge has no diff to go by.
        """
        after = self._versions.pop(raw.id, None) or self.versions(raw.id)
        if not raw.parents:
            return (None,) * len(self.watched), after
        parent = raw.parents[0]
        before = self._versions.get(parent)
        if before is None and len(raw.parents) > 1:
            return after, after
        if before is None:
            before = tuple(
                raw.blobs_before.get(path, now) for path, now in zip(self.watched, after, strict=True)
            )
            self._versions[parent] = before
        return before, after

    def has_dockerfile(self, commit: str) -> bool:
        """Tell whether a commit's tree holds the Dockerfile."""
        return self.dockerfile is not None and self.objects.file(commit, self.dockerfile) is not None

    def versions(self, commit: str) -> tuple[str | None, ...]:
        """Return the versions of the watched files in a commit's tree."""
        found = [self.objects.file(commit, path) if path else None for path in self.watched]
        return tuple(None if one is None else one[0] for one in found)

    def paths_at(self, commit: str) -> list[str]:
        """Return the paths of a commit's tree."""
        listed = self.git.ask("ls-tree", "-r", "-z", "--full-tree", "--name-only", commit)
        return [_text(path) for path in listed.split(b"\0") if path]


@dataclass(frozen=True, slots=True)
class _RawCommit:
    id: str
    parents: tuple[str, ...]
    at: int
    author: str
    who: str
    subject: str
    changes: tuple[FileChange, ...]
    blobs_before: Mapping[str, str | None]


@contextmanager
def _drained(process: subprocess.Popen[bytes]) -> Iterator[Callable[[], bytes]]:
    """Read what a process says beside its output, so that it never waits for us."""
    said: list[bytes] = []
    stream = process.stderr
    reader = threading.Thread(target=lambda: said.extend(stream or ()), daemon=True)
    reader.start()

    def text() -> bytes:
        reader.join(5)
        return b"".join(said)

    try:
        yield text
    finally:
        if process.poll() is None:
            process.kill()
        reader.join(5)


def _words(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what stands between the zero bytes of the output."""
    stream = process.stdout
    rest = b""
    while stream is not None and (chunk := os.read(stream.fileno(), 1 << 16)):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _parsed(process: subprocess.Popen[bytes]) -> Iterator[_RawCommit]:
    words = _words(process)
    head: list[bytes] | None = None
    changes: list[FileChange] = []
    blobs: dict[str, str | None] = {}
    for word in words:
        if word.startswith(b"\x1e"):
            if head is not None:
                yield _raw_commit(head, changes, blobs)
            head = [word[1:], *(next(words) for _ in range(5))]
            changes, blobs = [], {}
        elif (start := word.lstrip(b"\n")).startswith(b":"):
            old_mode, new_mode, old, _, status = start[1:].split(b" ")
            path = _text(next(words))
            is_submodule = _SUBMODULE in {old_mode, new_mode}
            changes.append(FileChange(path, _KINDS.get(status[:1], "modified"), is_submodule))
            blobs[path] = old.decode() if old.strip(b"0") and not is_submodule else None
    if head is not None:
        yield _raw_commit(head, changes, blobs)


def _raw_commit(head: list[bytes], changes: list[FileChange], blobs: Mapping[str, str | None]) -> _RawCommit:
    name, parents, at, author, address, subject = head
    shown = _text(author)
    return _RawCommit(
        name.decode(),
        tuple(parents.decode().split()),
        int(at or b"0"),
        shown,
        f"{shown} <{_text(address)}>".casefold(),
        _text(subject),
        tuple(changes),
        blobs,
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@contextmanager
def reading(
    location: Location,
    environ: Mapping[str, str],
    *,
    limit: int | None = DEFAULT_LIMIT,
    since: str | None = None,
    until: str = "HEAD",
    bots: Sequence[str] = BOTS,
) -> Iterator[Reading]:
    """Open the history of a project; nothing is read before the first commit is asked for.

    `limit` counts commits of people. Raises GitProblem where there is no repository or no git.
    """
    git = Git.of(location, environ)
    dockerfile = in_repository(git.root, location.dockerfile)
    ignores = (in_repository(git.root, file) for file in location.ignore_candidates())
    watched = tuple(path for path in (dockerfile or "", *ignores) if path is not None)
    with git.start("cat-file", "--batch", takes_input=True) as process, _drained(process):
        yield Reading(git, Objects(process), dockerfile, watched, limit, since, until, bots)


def history_of(
    location: Location,
    environ: Mapping[str, str],
    *,
    limit: int | None = DEFAULT_LIMIT,
    bots: Sequence[str] = BOTS,
) -> tuple[Commit, ...]:
    """Return the last commits of people, newest first; see `reading`."""
    with reading(location, environ, limit=limit, bots=bots) as found:
        return tuple(found)


def idle_edits(
    found: Replay, objects: Objects, is_idle: Callable[[str, bytes, bytes], bool]
) -> frozenset[tuple[str, str]]:
    """Return the commits, with the context's name for a path, that edit a manifest for nothing.

    `is_idle` is asked with the path and its bytes before and after. Raises GitProblem.
    """
    edits: set[tuple[str, str]] = set()
    for build in found.builds:
        for change in build.commit.changes:
            if change.kind != "modified" or not is_manifest(change.path):
                continue
            shown, bits = build.graph.readers(change.path)
            if not bits or build.commit.parent is None:
                continue
            before = objects.file(build.commit.parent, change.path)
            after = objects.file(build.commit.id, change.path)
            if before is not None and after is not None and is_idle(change.path, before[1], after[1]):
                edits.add((build.commit.id, shown))
    return frozenset(edits)


def values_changed(commits: Iterable[Commit], objects: Objects) -> Mapping[str, frozenset[str]]:
    """Return, by name, the commits that give an ARG or ENV of the Dockerfile another value.

    A name that comes or goes is no new value. The Dockerfile is the first of the watched files.
    """
    known: dict[str, Values] = {}

    def at(version: str) -> Values:
        if version not in known:
            parsed = parse(objects.blob(version) or b"")
            known[version] = values_in(parsed) if isinstance(parsed, Dockerfile) else {}
        return known[version]

    found: dict[str, set[str]] = {}
    for commit in commits:
        before, after = (files[0] if files else None for files in (commit.files_before, commit.files_after))
        if before is None or after is None or before == after:
            continue
        for name in differing(at(before), at(after)):
            found.setdefault(name, set()).add(commit.id)
    return {name: frozenset(ids) for name, ids in found.items()}


def without_own_files(commit: Commit, watched: Sequence[str]) -> Commit:
    """Leave out the Dockerfile and the ignore files that a commit changes.

    Where a COPY takes them too, what their edit runs for nothing and what its new text runs anyway cannot be
    told apart by today's graph.
    """
    own = {
        path
        for path, before, after in zip(watched, commit.files_before, commit.files_after, strict=True)
        if before != after
    }
    if not own:
        return commit
    return replace(commit, changes=tuple(one for one in commit.changes if one.path not in own))


def in_repository(root: Path, path: Path) -> str | None:
    """Return the name that git has for a path; None for one outside of the repository."""
    try:
        inside = path.relative_to(root)
    except ValueError:
        return None
    return inside.as_posix()


# Graphs -----------------------------------------------------------------------------------------------------


def places_of(model: Model, git: Git, links: Mapping[str, str] | None = None) -> dict[str, Place]:
    """Return where the contexts of a model lie in a repository; those outside of it never change.

    `links` are the symlinks of a tree by their path in the repository.
    """
    found: dict[str, Place] = {}
    for name, context in model.contexts.items():
        prefix = in_repository(git.root, context.root)
        above = in_repository(context.root, git.root)
        if prefix is None and above is None:
            continue
        place = Place(
            prefix="" if prefix in {None, "."} else prefix or "",
            above="" if above in {None, "."} else above or "",
            rules=context.rules,
        )
        found[name] = Place(place.prefix, place.above, place.rules, _linked(place, links or {}))
    return found


def _linked(place: Place, links: Mapping[str, str]) -> Snapshot | None:
    from devloop.context.snapshot import Entry, Snapshot

    inside = {place.inside(path): target for path, target in links.items()}
    return Snapshot.of(
        {path: Entry("link", 0o777, target, 0) for path, target in inside.items() if path is not None}
    )


def links_at(git: Git, objects: Objects, commit: str) -> dict[str, str]:
    """Return the symlinks of a commit's tree with their targets."""
    found: dict[str, str] = {}
    for row in git.ask("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0"):
        if not row.startswith(_LINK):
            continue
        about, _, path = row.partition(b"\t")
        target = objects.blob(about.split()[2].decode())
        if target is not None:
            found[_text(path)] = _text(target)
    return found


def replay_graph(
    workspace: Workspace,
    model: Model,
    git: Git | None = None,
    links: Mapping[str, str] | None = None,
    seconds_at: Mapping[int, float] | None = None,
) -> ReplayGraph:
    """Make a model ready for a replay, with the prices that are known here."""
    where = git or Git.of(workspace.location, workspace.environ)
    return priced_graph(workspace, model, places_of(model, where, links), seconds_at)


def priced_graph(
    workspace: Workspace,
    model: Model,
    places: Mapping[str, Place],
    seconds_at: Mapping[int, float] | None = None,
) -> ReplayGraph:
    """Make a model ready for paths of these places, with the prices that are known here.

    `seconds_at` says by its first line what a step takes that has never run as it stands.
    """
    from devloop.project.planner import price_steps, priors_of

    costs = price_steps(
        model.graph,
        workspace.memory.history,
        workspace.location.identity,
        warn_seconds=workspace.settings.warn_seconds,
        table=priors_of(workspace.settings),
    )
    given = {
        step.number: seconds_at[step.span.first]
        for step in model.graph.steps
        if seconds_at and step.span.first in seconds_at and not step.is_trigger
    }
    return ReplayGraph(
        model.graph,
        {number: cost.seconds for number, cost in costs.items()} | given,
        places,
        workspace.location.shown_dockerfile,
        frozenset(number for number, cost in costs.items() if cost.seconds_from == "measured") - given.keys(),
    )


@dataclass(slots=True)
class GraphsInHistory:
    """The graph of every commit's own tree; equal versions of the files share one."""

    workspace: Workspace
    reading: Reading
    links: Mapping[str, str]
    _known: dict[tuple[str | None, ...], ReplayGraph | None] = field(default_factory=dict)

    def of(self, commit: Commit) -> tuple[ReplayGraph | None, ReplayGraph | None]:
        """Return the graphs before and after a commit."""
        return self.at(commit.files_before), self.at(commit.files_after)

    def at(self, versions: tuple[str | None, ...]) -> ReplayGraph | None:
        """Return the graph of a Dockerfile and ignore files; None where it cannot be resolved."""
        if versions not in self._known:
            self._known[versions] = self._read(versions)
        return self._known[versions]

    def _read(self, versions: tuple[str | None, ...]) -> ReplayGraph | None:
        from devloop.project.reading import Model

        texts = [None if one is None else self.reading.objects.blob(one) for one in versions]
        dockerfile, *ignores = texts
        if dockerfile is None:
            return None
        ignore = next((one for one in ignores if one is not None), b"")
        model = self.workspace.read(source=dockerfile, ignore_source=ignore)
        if not isinstance(model, Model):
            return None
        return replay_graph(self.workspace, model, self.reading.git, self.links)
