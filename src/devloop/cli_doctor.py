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
            fixes = carry_out(workspace, found, proving, limit=number) if diff or fix else None
        if fixes is not None:
            _print_fixes(workspace, found, fixes, writes=fix, is_forced=force)
        else:
            _print(found, shows_all=shows_all, json=json, sarif=sarif)
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
        except (EngineUnavailable, EngineRefused):
            if must_build:
                raise
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


def _print(found: "Examination", *, shows_all: bool, json: bool, sarif: bool) -> None:
    from devloop import __version__
    from devloop.ui.doctortext import doctor_json, doctor_lines

    document = None
    if sarif:
        from devloop.ui.sarif import sarif as as_sarif

        document = as_sarif(found, __version__)
    elif json:
        document = doctor_json(found)
    print_found(
        lambda style: doctor_lines(found, style.width, shows_all=shows_all, **style.options), document
    )


# Fixing -----------------------------------------------------------------------------------------------------


def _print_fixes(
    workspace: "Workspace", found: "Examination", fixes: "Fixes", *, writes: bool, is_forced: bool
) -> None:
    location = workspace.location
    changed = changes_of(location, found, fixes)
    if not writes:
        sys.stdout.buffer.write(diff_of(location, changed))
        return
    lines = [f"{one.finding.code}: {one.finding.way_out}" for one in fixes.done]
    if not is_forced:
        _refuse_dirty(location, list(changed))
    for path, (_, after) in changed.items():
        backup = _keep(location, path)
        _replace(path, after)
        kept = f", as it was: {backup}" if backup is not None else ""
        lines.append(f"wrote {_shown(location, path)}{kept}")
    print_lines(lambda _style: lines or ["there is nothing to fix"])


def changes_of(location: "Location", found: "Examination", fixes: "Fixes") -> dict[Path, tuple[bytes, bytes]]:
    """Return what each file holds, and what it is to hold; nothing of those that stay as they are."""
    changed = {location.dockerfile: (found.source, fixes.source)}
    for name, content in fixes.files.items():
        path = location.context / name
        changed[path] = (path.read_bytes() if path.is_file() else b"", content)
    return {path: pair for path, pair in changed.items() if pair[0] != pair[1]}


def diff_of(location: "Location", changed: "Mapping[Path, tuple[bytes, bytes]]") -> bytes:
    """Return the changes as `git apply` reads them."""
    from devloop.doctor.edits import unified_diff
    from devloop.ui.doctortext import diff_lines

    diffs = [
        line
        for path, (before, after) in changed.items()
        for line in unified_diff(before, after, _shown(location, path))
    ]
    text = "\n".join(diff_lines(diffs, color=False)) + "\n" if diffs else ""
    return text.encode("utf-8", "surrogateescape")


def _shown(location: "Location", path: Path) -> str:
    from devloop.project.discover import shown

    return shown(path, location.folder)


def _refuse_dirty(location: "Location", paths: list[Path]) -> None:
    """Refuse to write over what git does not have; without a repository the kept copy is all there is."""
    from devloop.doctor.gitlog import Git, GitProblem
    from devloop.errors import DevloopError

    if location.git_root is None:
        return
    there = [str(path) for path in paths if path.exists()]
    try:
        said = Git.of(location, os.environ).ask("status", "--porcelain", "--", *there) if there else b""
    except GitProblem:
        return
    if said.strip():
        names = ", ".join(line[3:] for line in said.decode("utf-8", "replace").splitlines())
        raise DevloopError(
            f"{names} has changes that git does not have; nothing was written",
            hint="commit it first, or use --force: what was there is kept either way",
        )


def _keep(location: "Location", path: Path) -> Path | None:
    """Copy a file to the state's folder before it is written over."""
    if not path.exists():
        return None
    from devloop.state.database import state_directory

    folder = state_directory() / "backups" / location.identity / time.strftime("%Y%m%dT%H%M%S")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / path.name
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
