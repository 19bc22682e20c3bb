"""The command that finds a better Dockerfile: `devloop doctor`."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devloop.cli_options import GRAPH_OPTIONS, Flags, FolderArgument, project_of, takes, workspace_of
from devloop.cli_print import print_found, print_lines
from devloop.errors import EXIT_OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from devloop.doctor.examine import Fixes, Proving
    from devloop.doctor.gitlog import Git
    from devloop.doctor.report import Examination, Examined
    from devloop.project.discover import Location
    from devloop.project.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="What makes the loop slow, and the change that is proven to help.",
        help=(
            "Find what costs time, space or safety in this Dockerfile, the dearest first, each with its cost"
            " by git's history and with a change that was tried: built and compared where there is an"
            " engine."
        ),
        epilog="Exit status 4 when --fail-over says so. `# devloop: ignore=CODE` silences.",
    )(doctor)


@takes(*GRAPH_OPTIONS)
def doctor(
    path: FolderArgument = ".",
    *,
    flags: Flags,
    shows_all: Annotated[
        bool, typer.Option("--all", help="Every finding, not only the few that cost most.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.doctor/1.")] = False,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print SARIF 2.1.0, for code hosts.")] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print only what --fix would change, for git apply.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Write the changes; what was there is kept beside the state.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --fix: also a file with changes git does not have.")
    ] = False,
    fail_over: Annotated[
        float | None,
        typer.Option(
            "--fail-over",
            min=0.0,
            metavar="SECONDS",
            help="Fail when a finding costs more a week (a run, without a history).",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Build every proposal, for the sizes before and after.")
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build nothing; say what was not verified.")
    ] = False,
    number: Annotated[
        int,
        typer.Option("-n", min=1, metavar="COMMITS", help="Commits of people that weigh a finding."),
    ] = 200,
) -> None:
    if json + sarif + diff + fix > 1:
        raise typer.BadParameter("give --json, --sarif, --diff or --fix, one of them")
    is_piped = flags.get("file") == "-"
    if fix and is_piped:
        raise typer.BadParameter("--fix writes files, and standard input is none: use --diff")
    if measure and no_build:
        raise typer.BadParameter("--measure builds, and --no-build does not")
    shows_all |= measure
    from devloop.doctor.examine import examine
    from devloop.doctor.examine import fix as carry_out
    from devloop.ui.doctortext import FEW

    location, settings, _ = project_of(Path(path), flags)
    with workspace_of(location, settings) as workspace:
        with _proving(no_build=no_build, must_build=measure, first=None if shows_all else FEW) as proving:
            found = examine(workspace, proving, limit=number)
            if fix and not force:
                _refuse_dirty(location, _touched(location, found))
            fixes = carry_out(workspace, found, proving, limit=number) if diff or fix else None
        if fixes is not None:
            _print_fixes(workspace, found, fixes, writes=fix, is_forced=force, is_piped=is_piped)
        else:
            _print(location, found, shows_all=shows_all, json=json, sarif=sarif)
    if fail_over is not None and any(_cost(one) > fail_over for one in found.findings):
        raise typer.Exit(EXIT_OVER)


def _cost(one: "Examined") -> float:
    """Return what a finding costs a week; where that is not known, what a run of it costs."""
    if one.seconds_a_week is not None:
        return one.seconds_a_week
    return one.finding.seconds or 0.0


@contextlib.contextmanager
def _proving(*, no_build: bool, must_build: bool, first: int | None) -> "Iterator[Proving]":
    """Open the engine where there is one to build with, and say what is done at a terminal."""
    from devloop.doctor.examine import Proving

    if no_build:
        yield Proving(first=first)
        return
    from devloop.doctor.digests import local_digests
    from devloop.doctor.trial import Trial
    from devloop.engine.base import EngineRefused, EngineUnavailable
    from devloop.engine.endpoint import Engine

    with contextlib.ExitStack() as stack:
        try:
            trial = stack.enter_context(Trial.open(os.environ))
        except (EngineUnavailable, EngineRefused) as problem:
            if must_build:
                raise
            # On the error stream, so that it stands in no JSON and no patch.
            sys.stderr.write(f"nothing is built: {problem}\n")
            yield Proving(first=first)
            return

        def digests_of(references: "Iterable[str]") -> "Mapping[str, str | None]":
            try:
                return local_digests(Engine.current(os.environ), references)
            except (EngineUnavailable, EngineRefused):
                return {}

        yield Proving(trial, first=first, on_progress=_say_progress(), digests_of=digests_of)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def _say_progress() -> "Callable[[str], None]":
    def say(what: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K  {what} ...")
            sys.stderr.flush()

    return say


def _print(location: "Location", found: "Examination", *, shows_all: bool, json: bool, sarif: bool) -> None:
    from devloop import __version__
    from devloop.ui.doctortext import doctor_json, doctor_lines

    document = None
    if sarif:
        from devloop.ui.sarif import sarif as as_sarif

        document = as_sarif(found, __version__, _uri(location))
    elif json:
        document = doctor_json(found)
    print_found(
        lambda style: doctor_lines(found, style.width, shows_all=shows_all, **style.options), document
    )


def _uri(location: "Location") -> str:
    """Return where a code host has the Dockerfile: by its repository, else by the project's folder."""
    from urllib.parse import quote

    for base in (location.git_root, location.folder):
        if base is not None and location.dockerfile.is_relative_to(base):
            return quote(os.fsencode(location.dockerfile.relative_to(base)))
    return location.dockerfile.as_uri()


# Fixing -----------------------------------------------------------------------------------------------------


def _print_fixes(
    workspace: "Workspace",
    found: "Examination",
    fixes: "Fixes",
    *,
    writes: bool,
    is_forced: bool,
    is_piped: bool,
) -> None:
    location = workspace.location
    changed = changes_of(location, found, fixes)
    if not writes:
        if is_piped:
            # What came through a pipe has no name; who saves the text will call it that.
            name = location.folder / "Dockerfile"
            changed = {name if path == location.dockerfile else path: pair for path, pair in changed.items()}
        base = _base_of(location, changed)
        sys.stdout.buffer.write(diff_of(location, changed, base))
        if changed and base != _here():
            sys.stderr.write(f"devloop: the paths of the diff begin at {base}\n")
        return
    if not is_forced:
        _refuse_dirty(location, list(changed))
    _refuse_changed(location, changed)
    lines = [f"{one.finding.code}: {one.finding.way_out}" for one in fixes.done]
    lines += _written(location, changed)
    print_lines(lambda _style: lines or ["there is nothing to fix"])


def changes_of(location: "Location", found: "Examination", fixes: "Fixes") -> dict[Path, tuple[bytes, bytes]]:
    """Return what each file held when it was read, and what it is to hold; nothing of those that stay."""
    changed = {location.dockerfile: (found.source, fixes.source)}
    for name, content in fixes.files.items():
        changed[location.context / name] = (fixes.held.get(name, b""), content)
    return {path: pair for path, pair in changed.items() if pair[0] != pair[1]}


def diff_of(
    location: "Location", changed: "Mapping[Path, tuple[bytes, bytes]]", base: Path | None = None
) -> bytes:
    """Return the changes as `git apply` reads them in the folder `base`, by default the project's."""
    from devloop.doctor.edits import unified_diff
    from devloop.ui.doctortext import diff_lines

    diffs: list[str] = []
    for path, (before, after) in changed.items():
        name = os.path.relpath(path, base or location.folder)
        origin, *rest = unified_diff(before, after, name)
        # A file that is there and empty is not a new one.
        diffs += [f"--- a/{name}" if path.exists() else origin, *rest]
    text = "\n".join(diff_lines(diffs, color=False)) + "\n" if diffs else ""
    return text.encode("utf-8", "surrogateescape")


def _base_of(location: "Location", paths: "Iterable[Path]") -> Path:
    """Return the folder that all paths lie below: this one, the project's, the repository's, or any."""
    known = list(paths)
    for base in (_here(), location.folder, location.git_root):
        if base is not None and all(path.is_relative_to(base) for path in known):
            return base
    return Path(os.path.commonpath([path.parent for path in known]))


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _shown(location: "Location", path: Path) -> str:
    from devloop.project.discover import shown

    return shown(path, location.folder)


def _touched(location: "Location", found: "Examination") -> list[Path]:
    """Return the files that the proposals of an examination change."""
    proposals = [one.finding.proposal for one in found.findings if one.finding.proposal is not None]
    paths = [location.dockerfile] if any(one.edits for one in proposals) else []
    return paths + [location.context / name for one in proposals for name in one.files]


def _refuse_dirty(location: "Location", paths: list[Path]) -> None:
    """Refuse to write over what git does not have; without a repository the kept copy is all there is."""
    from devloop.doctor.gitlog import Git
    from devloop.errors import DevloopError

    if location.git_root is None:
        return
    git = Git.of(location, os.environ)
    dirty = dict.fromkeys(_shown(location, path) for path in paths if _is_dirty(git, path))
    if dirty:
        raise DevloopError(
            f"{', '.join(dirty)} {'has' if len(dirty) == 1 else 'have'} changes that git does not have;"
            " nothing was written",
            hint="commit them first, or use --force: what was there is kept either way",
        )


def _is_dirty(git: "Git", path: Path) -> bool:
    """Ask git of a file, and of what it links to; of one outside of the repository git has nothing to say."""
    from devloop.doctor.gitlog import GitProblem

    for one in {path, path.resolve()}:
        with contextlib.suppress(GitProblem):
            if one.exists() and git.ask("status", "--porcelain", "-z", "--", str(one)):
                return True
    return False


def _refuse_changed(location: "Location", changed: "Mapping[Path, tuple[bytes, bytes]]") -> None:
    """Refuse to write over what was saved since it was read: builds take minutes."""
    from devloop.errors import DevloopError

    for path, (before, _) in changed.items():
        if (path.read_bytes() if path.is_file() else b"") != before:
            raise DevloopError(
                f"{_shown(location, path)} was changed while it was examined; nothing was written",
                hint="run it again",
            )


def _written(location: "Location", changed: "Mapping[Path, tuple[bytes, bytes]]") -> list[str]:
    """Write the files; say of each where it is kept as it was."""
    from devloop.errors import DevloopError

    lines: list[str] = []
    for path, (_, after) in changed.items():
        try:
            backup = _keep(location, path)
            _replace(path, after)
        except OSError as error:
            raise DevloopError(
                f"{_shown(location, path)} cannot be written: {error.strerror or error}",
                hint="; ".join(lines) or "nothing was written",
            ) from error
        kept = f", as it was: {backup}" if backup is not None else ""
        lines.append(f"wrote {_shown(location, path)}{kept}")
    return lines


def _keep(location: "Location", path: Path) -> Path | None:
    """Copy a file to the state's folder before it is written over; an older copy stays."""
    if not path.exists():
        return None
    from devloop.state.database import state_directory

    now = state_directory() / "backups" / location.identity / time.strftime("%Y%m%dT%H%M%S")
    kept = now / path.name
    number = 1
    while kept.exists():
        number += 1
        kept = now.with_name(f"{now.name}-{number}") / path.name
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept.write_bytes(path.read_bytes())
    return kept


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, with the mode it had; a link is written through."""
    target = path.resolve()
    draft = target.with_name(f".{target.name}.devloop-{os.getpid()}")
    try:
        draft.write_bytes(content)
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o7777)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
