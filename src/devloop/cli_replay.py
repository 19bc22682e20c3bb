"""The commands that read git's history: `devloop replay` and `devloop ci`."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devloop.doctor.gitlog import Reading
    from devloop.doctor.replay import Commit, GraphsOf, Replayer
    from devloop.project.workspace import Workspace
    from devloop.ui.replaytext import Story


def register(app: typer.Typer) -> None:
    """Add the commands; their shared options stand in `devloop.cli`, which loads this module."""
    from devloop import cli

    @app.command(
        short_help="What git's history would have cost the loop.",
        help=(
            "Send each commit's diff through the graph of its own Dockerfile, and add up which steps a build"
            " of it runs again. With --file: today's Dockerfile and another one, over the same commits."
        ),
        epilog="Needs git and no engine. Ctrl-C shows what is known so far.",
    )
    def replay(  # noqa: PLR0917 - typer calls it by name
        project: cli.ProjectOption = ".",
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
                "--file", "-f", metavar="NEW", help="A Dockerfile to compare with, or the project's."
            ),
        ] = None,
        context: cli.ContextOption = None,
        target: cli.TargetOption = None,
        build_arg: cli.BuildArgOption = None,
        build_context: cli.BuildContextOption = None,
        platform: cli.PlatformOption = None,
        json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.replay/1.")] = False,
    ) -> None:
        from devloop.ui.replaytext import replay_json, replay_lines

        flags = cli.given(
            file=file,
            context=context,
            target=target,
            build_arg=build_arg,
            build_context=build_context,
            platform=platform,
        )
        folder = Path(project)
        location, settings, _ = cli.project_of(folder, flags)
        limit = None if number == 0 else number or (None if since is not None else _LIMIT)
        with cli.workspace_of(location, settings) as workspace:
            usual = cli.usual_project(folder, flags, workspace)
        if usual is None:
            with cli.workspace_of(location, settings) as workspace:
                story = replayed(workspace, limit=limit, since=since)
        else:
            with cli.workspace_of(*usual) as workspace:
                story = replayed(workspace, limit=limit, since=since, new=location.dockerfile)
        cli.print_found(
            lambda style: replay_lines(story, _day, style.width, **style.options),
            replay_json(story, _day) if json else None,
        )
        if not story.is_complete:
            raise typer.Exit(cli.EXIT_INTERRUPTED)


_LIMIT = 200


def _day(at: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def replayed(
    workspace: "Workspace", *, limit: int | None, since: str | None = None, new: Path | None = None
) -> "Story":
    """Replay the history of a project, with another Dockerfile beside today's where one is given."""
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
        if new is None:
            graphs = GraphsInHistory(workspace, history, links).of
        else:
            graphs = fixed(replay_graph(workspace, read_model(workspace), history.git, links))
            other = read_model(workspace, source=new.read_bytes(), shown_as=str(new))
            others.append(Replayer(fixed(replay_graph(workspace, other, history.git, links))))
        replayer = Replayer(graphs, history.paths_at)
        is_complete = _feed(history, [replayer, *others])
        shown = location.shown_dockerfile
        return Story(
            name=location.name,
            now=Side(shown, replayer.result()),
            new=None if new is None else Side(_shown(new), others[0].result()),
            merges=history.merges,
            by_bots=history.by_bots,
            is_shallow=history.git.is_shallow(),
            is_complete=is_complete,
        )


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _feed(history: "Reading", replayers: "list[Replayer]") -> bool:
    """Send the history through; False when Ctrl-C broke it off, with all replayers at the same commit."""
    try:
        for commit in _with_progress(history, history.limit):
            for replayer in replayers:
                replayer.add(commit)
    except KeyboardInterrupt:
        return False
    return True


_EVERY_SECONDS = 0.1
_BAR = 24


def _with_progress(commits: "Iterable[Commit]", limit: int | None) -> "Iterator[Commit]":
    """Yield commits and draw on standard error, where that is a terminal, how far it is."""
    if not sys.stderr.isatty():
        yield from commits
        return
    from devloop.ui.text import symbols, wants_ascii

    marks = symbols(ascii_only=wants_ascii(encoding=sys.stderr.encoding, environ=os.environ))
    drawn = 0.0
    number = 0
    try:
        for number, commit in enumerate(commits):
            now = time.monotonic()
            if now - drawn > _EVERY_SECONDS:
                drawn = now
                part = min(number * _BAR // limit, _BAR) if limit else 0
                bar = f"{marks.full * part}{marks.empty * (_BAR - part)} " if limit else ""
                sys.stderr.write(f"\r\x1b[2K  replay {bar}{number:,} commits")
                sys.stderr.flush()
            yield commit
    finally:
        if drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
