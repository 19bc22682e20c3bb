"""The commands that read git's history: `devloop replay` and `devloop ci`."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devloop.cli_options import GRAPH_OPTIONS, Flags, ProjectOption, project_of, takes, workspace_of
from devloop.cli_print import print_found
from devloop.errors import EXIT_INTERRUPTED, EXIT_OVER, DevloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from devloop.doctor.replay import Commit, GraphsOf, Replayer
    from devloop.project.workspace import Workspace
    from devloop.ui.branchtext import Verdict
    from devloop.ui.replaytext import Story


_LIMIT = 200


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        short_help="What git's history would have cost the loop.",
        help=(
            "Send each commit's diff through the graph of its own Dockerfile, and add up which steps a build"
            " of it runs again. With --file or --doctor: today's Dockerfile and another one, over the same"
            " commits."
        ),
        epilog="Needs git and no engine. Ctrl-C shows what is known so far.",
    )(replay)
    app.command(
        short_help="What this branch does to the loop, for a pull request.",
        help=(
            "Compare HEAD with the commit at which its branch began: new and changed expensive steps, edits"
            " that have become dearer, growth of the context. What is not committed does not count."
        ),
        epilog="Exit status 4 when --fail-over says so.",
    )(ci)


@takes("context", "target", "build_arg", "build_context", "platform")
def replay(
    project: ProjectOption = ".",
    *,
    number: Annotated[
        int | None,
        typer.Option("-n", min=0, metavar="COMMITS", help="How many commits of people; 0 is all. [200]"),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="REV", help="Only what came after a git revision.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="NEW",
            help="A Dockerfile to set beside today's; - reads it from standard input.",
        ),
    ] = None,
    doctor: Annotated[
        bool,
        typer.Option("--doctor", help="Set beside today's what devloop doctor would write, not built."),
    ] = False,
    flags: Flags,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.replay/1.")] = False,
) -> None:
    from devloop.project.discover import ProjectNotFound
    from devloop.ui.replaytext import replay_json, replay_lines

    if doctor and file is not None:
        raise typer.BadParameter("give --file or --doctor, one of them")
    flags["file"] = file
    folder = Path(project)
    location, settings, _ = project_of(folder, flags)
    limit = None if number == 0 else number or (None if since is not None else _LIMIT)
    new: Beside | None = None
    if file is not None:
        try:
            usual, usual_settings, _ = project_of(folder, {**flags, "file": None})
        except ProjectNotFound:
            usual = location
        if usual.dockerfile != location.dockerfile:
            shown = "standard input" if file == "-" else _shown(location.dockerfile)
            new = Beside(location.dockerfile.read_bytes(), shown)
            location, settings = usual, usual_settings
    with workspace_of(location, settings) as workspace:
        if doctor:
            new = proposed(workspace)
        story = replayed(workspace, limit=limit, since=since, new=new)
    print_found(
        lambda style: replay_lines(story, _day, style.width, **style.options),
        replay_json(story, _day) if json else None,
    )
    if not story.is_complete:
        raise typer.Exit(EXIT_INTERRUPTED)


@takes(*GRAPH_OPTIONS)
def ci(
    base: Annotated[str, typer.Option("--base", metavar="REV", help="The branch that this one goes into.")],
    project: ProjectOption = ".",
    *,
    flags: Flags,
    fail_over: Annotated[
        float | None,
        typer.Option(
            "--fail-over",
            min=0.0,
            metavar="SECONDS",
            help="Fail when a usual edit has become dearer by more.",
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("-n", min=1, metavar="COMMITS", help="Recent commits that say what is usual.")
    ] = _LIMIT,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.ci/1.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a pull request comment.")] = False,
) -> None:
    from devloop.ui.branchtext import branch_json, branch_lines, branch_markdown

    if json and markdown:
        raise typer.BadParameter("give --json or --markdown, one of them")
    location, settings, _ = project_of(Path(project), flags)
    with workspace_of(location, settings) as workspace:
        found = judged(workspace, base, limit=number, fail_over=fail_over)
    document = branch_json(found) if json else branch_markdown(found) if markdown else None
    print_found(lambda style: branch_lines(found, style.width, **style.options), document)
    if found.too_dear:
        raise typer.Exit(EXIT_OVER)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is set beside today's Dockerfile: its text and name, and a new ignore file."""

    source: bytes
    shown: str
    ignore_source: bytes | None = None


def proposed(workspace: "Workspace") -> Beside:
    """Return what the doctor would write, by its checks without an engine.

    Raises DevloopError where it has nothing to propose.
    """
    from devloop.doctor.examine import examine, fix
    from devloop.errors import DevloopError

    fixes = fix(workspace, examine(workspace))
    if not fixes.done:
        raise DevloopError(
            "the doctor has no change to propose", hint="devloop doctor --all lists what it finds"
        )
    ignore = next((text for path, text in fixes.files.items() if path.endswith(".dockerignore")), None)
    return Beside(fixes.source, "what doctor proposes", ignore)


def _day(at: int) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "?"  # git keeps any number that an author's clock showed


def replayed(
    workspace: "Workspace",
    *,
    limit: int | None,
    since: str | None = None,
    new: Beside | None = None,
) -> "Story":
    """Replay the history of a project; `new` is another Dockerfile to set beside today's."""
    from devloop.doctor.gitlog import GraphsInHistory, links_at, reading, replay_graph
    from devloop.doctor.replay import Replayer, fixed
    from devloop.planning import read_model
    from devloop.ui.replaytext import Side, Story

    location, environ = workspace.location, workspace.environ
    bots = workspace.settings.replay.bots
    with reading(location, environ, limit=limit, since=since, bots=bots) as history:
        links = links_at(history.git, history.objects, history.git.commit("HEAD"))
        graphs: GraphsOf
        others: list[Replayer] = []
        # A Dockerfile that nobody has committed has no past: it is taken as it stands.
        is_fixed = new is not None or not history.has_dockerfile("HEAD")
        if not is_fixed:
            graphs = GraphsInHistory(workspace, history, links).of
        else:
            graphs = fixed(replay_graph(workspace, read_model(workspace), history.git, links))
        if new is not None:
            other = read_model(
                workspace, source=new.source, shown_as=new.shown, ignore_source=new.ignore_source
            )
            others.append(Replayer(fixed(replay_graph(workspace, other, history.git, links))))
        replayer = Replayer(graphs, history.paths_at)
        is_complete = feed(history, [replayer, *others], history.count)
        shown = location.shown_dockerfile
        return Story(
            name=location.name,
            now=Side(shown, replayer.result()),
            new=None if new is None else Side(new.shown, others[0].result()),
            merges=history.merges,
            by_bots=history.by_bots,
            is_shallow=history.git.is_shallow(),
            is_complete=is_complete,
            is_fixed=is_fixed,
        )


def judged(
    workspace: "Workspace", base: str, *, limit: int = _LIMIT, fail_over: float | None = None
) -> "Verdict":
    """Compare HEAD with where its history and that of `base` parted.

    Raises GitProblem where git knows no such commit, and DevloopError where HEAD has no Dockerfile to read.
    """
    from devloop.doctor.branch import compare
    from devloop.doctor.gitlog import GraphsInHistory, links_at, reading
    from devloop.ui.branchtext import Verdict

    location, settings = workspace.location, workspace.settings
    bots = settings.replay.bots
    with reading(location, workspace.environ, limit=limit, bots=bots) as history:
        git = history.git
        ends = (git.merge_base(base, "HEAD"), git.commit("HEAD"))
        graphs = [
            GraphsInHistory(workspace, history, links_at(git, history.objects, one)).at(history.versions(one))
            for one in ends
        ]
        before, after = graphs
        if after is None:
            raise DevloopError(
                f"{location.shown_dockerfile} is not in HEAD, or cannot be read there",
                hint="commit it; devloop plan shows what is wrong in it",
            )
        commits = tuple(history)
        sizes = [git.sizes_at(one) for one in ends]
        branch = compare(before, after, commits, *sizes, warn_seconds=settings.warn_seconds)
        return Verdict(location.name, base, ends[0], branch, fail_over, git.is_shallow())


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def feed(commits: "Iterable[Commit]", replayers: "Sequence[Replayer]", how_many: "Callable[[], int]") -> bool:
    """Send commits through the replayers; False when Ctrl-C broke it off, with all at the same commit.

    A second Ctrl-C ends the command. `how_many` there are is asked only where a terminal shows it.
    """
    with _noted_interrupt() as is_over:
        for commit in _with_progress(commits, how_many):
            for replayer in replayers:
                replayer.add(commit)
            if is_over():
                return False
    return True


@contextlib.contextmanager
def _noted_interrupt() -> "Iterator[Callable[[], bool]]":
    """Note the first Ctrl-C instead of breaking off in the middle; it stays ignored where it is."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield lambda: False
        return
    noted = False

    def note(_number: int, _frame: object) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)


_EVERY_SECONDS = 0.1
_BAR = 24


def _with_progress(commits: "Iterable[Commit]", how_many: "Callable[[], int]") -> "Iterator[Commit]":
    """Yield commits and draw on standard error, where that is a terminal, how far it is."""
    if not sys.stderr.isatty():
        yield from commits
        return
    from devloop.ui.text import symbols, wants_ascii

    marks = symbols(ascii_only=wants_ascii(encoding=sys.stderr.encoding, environ=os.environ))
    drawn = 0.0
    total = max(how_many(), 1)
    try:
        for number, commit in enumerate(commits):
            now = time.monotonic()
            if now - drawn > _EVERY_SECONDS:
                drawn = now
                part = min(number * _BAR // total, _BAR)
                bar = f"{marks.full * part}{marks.empty * (_BAR - part)}"
                sys.stderr.write(f"\r\x1b[2K  replay {bar} {number:,} of {total:,} commits")
                sys.stderr.flush()
            yield commit
    finally:
        if drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
