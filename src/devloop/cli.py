"""The command line: the one place where the real parts are put together.

Libraries that take long to load are imported by the command that needs them: `devloop plan` must feel
instant.
"""

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devloop import __version__, cli_doctor, cli_replay
from devloop.cli_options import (
    BUILD_OPTIONS,
    GRAPH_OPTIONS,
    SOURCE_OPTIONS,
    Flags,
    FolderArgument,
    ProjectOption,
    project_of,
    takes,
    usual_project,
    workspace_of,
)
from devloop.cli_print import print_found, print_lines
from devloop.errors import EXIT_BUG, EXIT_ERROR, EXIT_INTERRUPTED, DevloopError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devloop.loop.driver import Session
    from devloop.plan.model import Plan
    from devloop.project.discover import Location
    from devloop.project.settings import Settings
    from devloop.project.workspace import Workspace
    from devloop.ui.plantext import LayerRow

app = typer.Typer(
    name="devloop",
    help=(
        "Watch a source tree, know which Dockerfile step each save invalidates and what that costs, and keep"
        " the running container up to date."
    ),
    epilog="Exit status: 0 done, 1 a known error, 2 wrong usage, 3 a bug in devloop, 4 over the limit of"
    " --fail-over, 130 Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Commands ---------------------------------------------------------------------------------------------------


@app.command(
    short_help="Build, run, and update the container on every save.",
    help="Build, run and watch: bring the container up to date on every save.",
    epilog=(
        "Keys at a terminal: r rebuilds, s restarts, p pauses, w says why, l hides the application's log, q"
        " quits as Ctrl-C does but with exit status 0, ? explains them; b, x and z are for an expensive build"
        " that waits. Settings can stand in devloop.toml under the same names; see `devloop config`."
    ),
)
@takes(*BUILD_OPTIONS, "no_cache", "name", "publish", "env", "env_file", "output")
def watch(
    path: FolderArgument = ".",
    *,
    flags: Flags,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only build; run no container.")] = False,
    no_sync: Annotated[
        bool, typer.Option("--no-sync", help="Rebuild for every change; never copy files into the container.")
    ] = False,
    restart: Annotated[
        str | None,
        typer.Option(
            "--restart",
            metavar="auto|process|container|none|signal:NAME",
            help="What a sync restarts; auto looks at the command.",
        ),
    ] = None,
    on_expensive: Annotated[
        str | None,
        typer.Option(
            "--on-expensive",
            metavar="build|wait|ask",
            help="What an edit does that makes an expensive step run again; wait waits until it is quiet.",
        ),
    ] = None,
    no_supervisor: Annotated[
        bool, typer.Option("--no-supervisor", help="Restart the whole container instead of its process.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Build and start once, leave the container running, and end.")
    ] = False,
    poll: Annotated[
        bool, typer.Option("--poll", help="Look for changes instead of waiting for the system to tell.")
    ] = False,
) -> None:
    flags["poll"] = poll or None
    flags["restart"] = _restart_mode(restart)
    flags["on_expensive"] = _on_expensive(on_expensive)
    for name_of_setting, is_off in (("run", no_run), ("live_sync", no_sync), ("supervisor", no_supervisor)):
        if is_off:
            flags[name_of_setting] = False
    session, _ = _run_session(Path(path), flags, once=once)
    raise typer.Exit(session)


@app.command(
    short_help="Build once and account for each step that ran.",
    help="Build once, record what every step took, and account for each step that ran.",
)
@takes(*BUILD_OPTIONS, "no_cache", "name", "output")
def build(
    path: FolderArgument = ".",
    *,
    flags: Flags,
) -> None:
    flags["run"] = False
    status, session = _run_session(Path(path), flags, once=True)
    record = session.record
    if record is not None and session.settings.output != "json":
        from devloop.review import moment
        from devloop.ui.reviewtext import why_lines

        name = session.location.name
        print_lines(lambda style: why_lines(name, record, moment, style.width, **style.options))
    raise typer.Exit(status)


def _restart_mode(value: str | None) -> str | None:
    if value is None or value in {"auto", "process", "container", "none"} or value.startswith("signal:"):
        return value
    raise typer.BadParameter("must be auto, process, container, none or signal:NAME", param_hint="--restart")


def _on_expensive(value: str | None) -> str | None:
    if value is None or value in {"build", "wait", "ask"}:
        return value
    raise typer.BadParameter("is build, wait or ask", param_hint="--on-expensive")


def _run_session(path: Path, flags: Flags, *, once: bool) -> "tuple[int, Session]":
    started = time.monotonic()
    location, settings, config = project_of(path, flags)

    from devloop.loop.driver import Session
    from devloop.project.memory import Memory
    from devloop.project.workspace import Workspace
    from devloop.ui import DisplayClosed, make_display, reading_keys

    memory = Memory(location)
    workspace = Workspace.remembered(location, settings, memory, os.environ)
    try:
        _refuse_wrong(flags, workspace)
    except BaseException:
        memory.close()
        raise
    display = make_display(settings.output, sys.stdout, os.environ, once=once)

    def reload() -> "tuple[Location, Settings]":
        again = project_of(path, flags)
        return again[0], again[1]

    session = Session(workspace, display, reload=reload, config=config, once=once, started=started)
    try:
        with reading_keys(display, None if once else sys.stdin, session.press) as has_keys:
            session.desk.has_keys = has_keys
            status = session.run()
    except DisplayClosed:
        status = EXIT_INTERRUPTED
    finally:
        display.close()
        memory.close()
    return status, session


def _refuse_wrong(flags: Flags, workspace: "Workspace") -> None:
    """Refuse flags that no edit of a file can make right: a session would wait for it in vain.

    The same mistake in a file is said by the session, which goes on when the file is mended.
    """
    from devloop.engine.runspec import parse_publish
    from devloop.loop.keeper import read_env_file

    location = workspace.location
    for port in workspace.settings.publish:
        with _blaming(flags, "publish"):
            parse_publish(port)
    for name in flags.get("env_file") or ():
        # What stands in a file that is there can be mended while the session waits.
        if not (location.folder / name).exists() or (location.folder / name).is_dir():
            with _blaming(flags, "env_file"):
                read_env_file(location.folder / name)
    for name, value in (flags.get("build_context") or {}).items():
        if "://" not in value and not (location.folder / value).is_dir():
            raise typer.BadParameter(f"{name}: there is no folder {value}", param_hint="--build-context")
    target = flags.get("target")
    if target:
        stages = _stages(location)
        if stages and target.lower() not in stages:
            named = ", ".join(stage for stage in stages if stage) or "none has a name"
            raise typer.BadParameter(
                f"no stage of {location.shown_dockerfile} is named {target!r} ({named})",
                param_hint="--target",
            )


@contextlib.contextmanager
def _blaming(flags: Flags, name: str) -> "Iterator[None]":
    """Blame the flag, if there is one, for what else would be said of the settings."""
    try:
        yield
    except DevloopError as error:
        if not flags.get(name):
            raise
        hint = f" ({error.hint})" if error.hint else ""
        option = f"--{name.replace('_', '-')}"
        raise typer.BadParameter(f"{error.message}{hint}", param_hint=option) from error


def _stages(location: "Location") -> list[str]:
    """Return the names of the stages; nothing where the Dockerfile cannot be read as one."""
    from devloop.dockerfile.instructions import Dockerfile, From, parse

    try:
        read = parse(location.dockerfile.read_bytes(), file=location.shown_dockerfile)
    except OSError:
        return []
    if not isinstance(read, Dockerfile):
        return []
    return [one.alias or "" for one in read.instructions if isinstance(one, From)]


@app.command(
    short_help="What an edit would run again and cost, without an engine.",
    help=(
        "Say what an edit of these paths would run again and what it would cost, without an engine."
        " Without paths: what has changed since the last recorded build."
    ),
)
@takes(*BUILD_OPTIONS)
def plan(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATHS", help="Files or folders that would be edited.")
    ] = None,
    project: ProjectOption = ".",
    *,
    flags: Flags,
    since: Annotated[
        str | None, typer.Option("--since", metavar="REV", help="What has changed since a git revision.")
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="What is staged: the price of a commit.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.plan/1.")] = False,
) -> None:
    if (since is not None) + staged + bool(paths) > 1:
        raise typer.BadParameter("give paths, --since or --staged, one of them")
    from devloop.planning import plan_dockerfile, plan_edits, plan_revision, plan_work_tree

    named = [Path(path) for path in paths or ()]
    folder = _folder_of(Path(project), named)
    location, settings, _ = project_of(folder, flags)
    with workspace_of(location, settings) as workspace:
        usual = usual_project(folder, flags, workspace)
        if usual is not None:
            with workspace_of(*usual) as before:
                found = plan_dockerfile(before, location.dockerfile, named)
        elif named:
            found = plan_edits(workspace, named)
        elif since is not None or staged:
            found = plan_revision(workspace, since)
        else:
            found = plan_work_tree(workspace)
    _print_plan(found, as_json=json)


def _print_plan(found: "Plan", *, as_json: bool) -> None:
    from devloop.ui.plantext import plan_json, plan_lines

    if as_json:
        sys.stdout.write(plan_json([found]) + "\n")
        return
    print_lines(lambda style: plan_lines(found, style.width, **style.options))


def _folder_of(project: Path, paths: Sequence[Path] | None) -> Path:
    """Return the project's folder: the one named, else this one, else the one of the first path."""
    if project != Path() or not paths or (Path() / "Dockerfile").is_file() or Path("devloop.toml").is_file():
        return project
    for at in (paths[0].absolute(), *paths[0].absolute().parents):
        if at.is_dir() and (at / "Dockerfile").is_file():
            return at
    return project


@app.command(
    short_help="Say why steps ran, who reads a path, or what a step costs.",
    help=(
        "Say why each step of the last build ran, and what had been predicted. With a path: which steps"
        " read it, where it lands, and what a save of it does. With a step (its line, `web 5/6` or the"
        " beginning of its text): what feeds it, when and why it ran last, and what it costs."
    ),
)
@takes(*GRAPH_OPTIONS)
def why(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|STEP]", help="A path, or a step of the Dockerfile.")
    ] = None,
    project: ProjectOption = ".",
    *,
    flags: Flags,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.why/1.")] = False,
) -> None:
    from devloop import review
    from devloop.ui import reviewtext

    text = " ".join(what or ())
    folder = _folder_of(Path(project), [Path(text)] if os.path.lexists(text) else None)
    location, settings, _ = project_of(folder, flags)
    with workspace_of(location, settings) as workspace:
        if not text:
            found = review.last_build(workspace)
            document = reviewtext.build_document(found) if found is not None else None
            print_found(
                lambda style: reviewtext.why_lines(
                    location.name, found, review.moment, style.width, **style.options
                ),
                reviewtext.why_json("build", document) if json else None,
            )
        elif (steps := review.find_steps(workspace, text)) is not None:
            documents = [reviewtext.step_document(one) for one in steps]
            print_found(
                lambda style: reviewtext.step_lines(steps, review.moment, style.width, **style.options),
                reviewtext.why_json("steps", documents) if json else None,
            )
        else:
            story = review.tell_path(workspace, Path(text))
            if "/" not in text and not story.exists and not story.readers:
                raise DevloopError(
                    f"{text!r} is no file here, and no step begins like that",
                    hint="devloop layers lists the steps",
                )
            print_found(
                lambda style: reviewtext.path_lines(story, style.width, **style.options),
                reviewtext.why_json("path", reviewtext.path_document(story)) if json else None,
            )


@app.command(
    short_help="Show the steps with what feeds them and what they cost.",
    help="Show the steps of the target: what feeds each, what it costs, which are expensive.",
)
@takes(*GRAPH_OPTIONS)
def layers(
    path: FolderArgument = ".",
    *,
    flags: Flags,
    size: Annotated[
        bool, typer.Option("--size", help="Weigh the steps by the last image that was built here.")
    ] = False,
) -> None:
    from devloop.planning import layer_rows, weigh_layers
    from devloop.ui.plantext import layers_lines, weights_lines

    location, settings, _ = project_of(Path(path), flags)
    with workspace_of(location, settings) as workspace:
        weights, image = weigh_layers(workspace) if size else (None, "")
        rows: Sequence[LayerRow] = layer_rows(workspace, weights)
    print_lines(lambda style: layers_lines(rows, style.table_width, **style.options))
    if weights is not None:
        total, unknown = weights.total, weights.unknown or 0
        print_lines(lambda style: weights_lines(total, unknown, image, style.width))
    elif image:
        print_lines(lambda _style: ["", image])


@app.command(
    short_help="Show what builds and syncs took, and how predictions did.",
    help=(
        "Show what devloop remembers: builds, the seconds spent by step and by saved file, how predictions"
        " and estimates did, what syncs saved; or the predictions that the engine contradicted."
    ),
)
@takes(*SOURCE_OPTIONS)
def stats(
    path: FolderArgument = ".",
    *,
    flags: Flags,
    misses: Annotated[bool, typer.Option("--misses", help="List contradicted predictions.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the contract devloop.stats/1 (--misses: devloop.misses/1).")
    ] = False,
) -> None:
    from devloop import review
    from devloop.ui import reviewtext

    location, settings, _ = project_of(Path(path), flags)
    with workspace_of(location, settings) as workspace:
        if misses:
            rows = review.missed(workspace)
            print_found(
                lambda style: reviewtext.misses_lines(rows, review.moment, style.width, **style.options),
                reviewtext.misses_json(rows) if json else None,
            )
            return
        found = review.figures(workspace)
    print_found(
        lambda style: reviewtext.stats_lines(
            location.name, found, review.moment, style.width, **style.options
        ),
        reviewtext.stats_json(location.name, found) if json else None,
    )


cli_doctor.register(app)  # the help lists commands in this order
cli_replay.register(app)


@app.command(
    short_help="Print every setting with its default.",
    help="Print every setting with its default, as a devloop.toml.",
)
def config(
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of devloop.toml instead, for editors.")
    ] = False,
) -> None:
    if as_schema:
        from json import dumps

        from devloop.config import schema

        sys.stdout.write(dumps(schema(), indent=2) + "\n")
        return
    from devloop.defaults import default_config

    sys.stdout.write(default_config())


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"devloop {__version__}\n")
        raise typer.Exit


# Errors -----------------------------------------------------------------------------------------------------


def run(arguments: Sequence[str]) -> int:
    """Run the command line and translate what ends it into an exit status."""
    try:
        result = app(args=list(arguments), standalone_mode=False, prog_name="devloop")
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except DevloopError as error:
        _say(f"error: {error.message}", error.hint)
        return EXIT_ERROR
    except BrokenPipeError:
        # Nobody reads any more; the interpreter must not complain about it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001 - the last resort, which writes everything down
        shown = getattr(error, "format_message", None)
        if shown is not None:
            error.show()  # type: ignore[attr-defined]  # a usage error of the command line
            return int(getattr(error, "exit_code", 2))
        _say(f"bug: {type(error).__name__}: {error}", f"the details are in {_log_bug()}")
        return EXIT_BUG
    return result if isinstance(result, int) else 0


def _say(message: str, hint: str | None) -> None:
    text = f"devloop: {message}\n" + (f"  {hint}\n" if hint else "")
    sys.stderr.write(
        text.encode(sys.stderr.encoding or "utf-8", "replace").decode(sys.stderr.encoding or "utf-8")
    )


def _log_bug() -> Path:
    """Write the traceback to a file that only the user can read, and return its path."""
    import platform
    import tempfile
    import traceback

    from devloop.state.database import state_directory

    text = (
        f"devloop {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"{traceback.format_exc()}"
    )
    name = f"bug-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    for folder in (state_directory(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError:
            continue
        return path
    return Path(os.devnull)
