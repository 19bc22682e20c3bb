"""The command line: the one place where the real parts are put together.

Libraries that take long to load are imported by the command that needs them: `devloop plan` must feel
instant.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devloop import __version__, cli_doctor, cli_replay
from devloop.errors import DevloopError
from devloop.project.settings import Settings

if TYPE_CHECKING:
    from devloop.loop.driver import Session
    from devloop.plan.model import Plan
    from devloop.project.discover import Location
    from devloop.project.workspace import Workspace
    from devloop.ui.plantext import LayerRow

EXIT_ERROR = 1
EXIT_BUG = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="devloop",
    help=(
        "Watch a source tree, know which Dockerfile step each save invalidates and what that costs, and keep"
        " the running container up to date."
    ),
    epilog="Exit status: 0 done, 1 a known error, 2 wrong usage, 3 a bug in devloop, 130 Ctrl-C.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Options that several commands share -----------------------------------------------------------------------

# Paths are taken as text: for a parameter of type Path typer loads pydantic, which costs a third of a plan.
FolderArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="Folder with a Dockerfile, or the Dockerfile itself.")
]
ProjectOption = Annotated[str, typer.Option("--project", "-C", help="The project's folder, if not this one.")]
FileOption = Annotated[
    str | None,
    typer.Option(
        "--file", "-f", help="The Dockerfile, if not PATH/Dockerfile; - reads it from standard input."
    ),
]
ContextOption = Annotated[str | None, typer.Option("--context", help="The build context, if not PATH.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="The stage to build, if not the last one.")
]
BuildArgOption = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="NAME[=VALUE]", help="A build argument; repeatable."),
]
BuildContextOption = Annotated[
    list[str] | None,
    typer.Option("--build-context", metavar="NAME=PATH", help="A named build context; repeatable."),
]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="Build for os/arch[/variant].")]
NetworkOption = Annotated[
    str | None, typer.Option("--network", help="Network of RUN steps: default, none or host.")
]
AddHostOption = Annotated[
    list[str] | None,
    typer.Option("--add-host", metavar="NAME:ADDRESS", help="A host for RUN steps; repeatable."),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="id=NAME,...", help="A secret of the build; repeatable."),
]
SshOption = Annotated[
    list[str] | None, typer.Option("--ssh", metavar="NAME", help="An ssh agent of the build; repeatable.")
]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", metavar="auto|live|plain|json", help="How to show what happens."),
]
PublishOption = Annotated[
    list[str] | None,
    typer.Option("--publish", "-p", metavar="[HOST:]PORT", help="Publish a port on 127.0.0.1; repeatable."),
]
EnvOption = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="A variable; repeatable.")
]
EnvFileOption = Annotated[
    list[str] | None, typer.Option("--env-file", help="A file of variables; repeatable.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the project, image and container.")]


def _pairs(values: Sequence[str] | None, what: str) -> dict[str, str | None] | None:
    if values is None:
        return None
    found: dict[str, str | None] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not name:
            raise typer.BadParameter(f"{value!r} has no name", param_hint=what)
        found[name] = rest if equals else None
    return found


def given(**flags: object) -> dict[str, Any]:
    """Turn flags into settings; what was not given is left to the configuration file."""
    found = dict(flags)
    for name in ("build_arg", "env"):
        found[name] = _pairs(found.get(name), f"--{name.replace('_', '-')}")  # type: ignore[arg-type]  # texts
    contexts = _pairs(found.get("build_context"), "--build-context")  # type: ignore[arg-type]  # texts
    if contexts is not None:
        for name, value in contexts.items():
            if value is None:
                raise typer.BadParameter(f"{name!r} has no path", param_hint="--build-context")
    found["build_context"] = contexts
    if found.get("output") not in {None, "auto", "live", "plain", "json"}:
        raise typer.BadParameter("must be auto, live, plain or json", param_hint="--output")
    for name in ("no_cache", "poll"):
        found[name] = True if found.get(name) else None
    return found


def _restart_mode(value: str | None) -> str | None:
    if value is None or value in {"auto", "process", "container", "none"} or value.startswith("signal:"):
        return value
    raise typer.BadParameter("must be auto, process, container, none or signal:NAME", param_hint="--restart")


def _on_expensive(value: str | None) -> str | None:
    if value is None or value in {"build", "wait", "ask"}:
        return value
    raise typer.BadParameter("is build, wait or ask", param_hint="--on-expensive")


def project_of(path: Path, flags: Mapping[str, Any]) -> "tuple[Location, Settings, Path | None]":
    """Find the project and its settings; the configuration file is read only where there is one."""
    from devloop.project.discover import locate

    folder = path if path.is_dir() else path.parent
    if flags.get("file") == "-":
        flags = {**flags, "file": _standard_input(str(folder.resolve()))}
    config: Path | None = None
    settings = Settings(**{key: value for key, value in flags.items() if value is not None})
    own, shared = folder / "devloop.toml", folder / "pyproject.toml"
    if own.is_file() or shared.is_file():
        from devloop.config import find_config, load_config, merged

        config = find_config(folder)
        if config is not None:
            settings = merged(load_config(config), flags)
    return locate(path, settings), settings, config


@functools.cache
def _standard_input(folder: str) -> str:
    """Keep a Dockerfile that comes through standard input where the builder can read it; return its path.

    It lies outside of the context, as with docker, and always at one place for a folder: so its records are
    found again.
    """
    import hashlib

    from devloop.state.database import state_directory

    name = hashlib.blake2b(folder.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    kept = state_directory() / "standard-input" / name / "Dockerfile"
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept.write_bytes(sys.stdin.buffer.read())
    kept.chmod(0o600)
    return str(kept)


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
def watch(  # noqa: PLR0917 - typer calls it by name
    path: FolderArgument = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    build_arg: BuildArgOption = None,
    build_context: BuildContextOption = None,
    platform: PlatformOption = None,
    network: NetworkOption = None,
    add_host: AddHostOption = None,
    secret: SecretOption = None,
    ssh: SshOption = None,
    name: NameOption = None,
    publish: PublishOption = None,
    env: EnvOption = None,
    env_file: EnvFileOption = None,
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
    no_cache: NoCacheOption = False,
    poll: Annotated[
        bool, typer.Option("--poll", help="Look for changes instead of waiting for the system to tell.")
    ] = False,
    output: OutputOption = None,
) -> None:
    flags = given(
        file=file,
        context=context,
        target=target,
        build_arg=build_arg,
        build_context=build_context,
        platform=platform,
        network=network,
        add_host=add_host,
        secret=secret,
        ssh=ssh,
        name=name,
        publish=publish,
        env=env,
        env_file=env_file,
        no_cache=no_cache,
        poll=poll,
        output=output,
    )
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
def build(  # noqa: PLR0917 - typer calls it by name
    path: FolderArgument = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    build_arg: BuildArgOption = None,
    build_context: BuildContextOption = None,
    platform: PlatformOption = None,
    network: NetworkOption = None,
    add_host: AddHostOption = None,
    secret: SecretOption = None,
    ssh: SshOption = None,
    name: NameOption = None,
    no_cache: NoCacheOption = False,
    output: OutputOption = None,
) -> None:
    flags = given(
        file=file,
        context=context,
        target=target,
        build_arg=build_arg,
        build_context=build_context,
        platform=platform,
        network=network,
        add_host=add_host,
        secret=secret,
        ssh=ssh,
        name=name,
        no_cache=no_cache,
        output=output,
    )
    flags["run"] = False
    status, session = _run_session(Path(path), flags, once=True)
    record = session.record
    if record is not None and session.settings.output != "json":
        from devloop.review import moment
        from devloop.ui.reviewtext import why_lines

        name = session.location.name
        print_lines(lambda style: why_lines(name, record, moment, style.width, **style.options))
    raise typer.Exit(status)


def _run_session(path: Path, flags: dict[str, Any], *, once: bool) -> "tuple[int, Session]":
    started = time.monotonic()
    location, settings, config = project_of(path, flags)

    from devloop.engine.runspec import parse_publish
    from devloop.loop.driver import Session
    from devloop.project.memory import Memory
    from devloop.project.workspace import Workspace
    from devloop.ui import DisplayClosed, make_display, reading_keys

    for port in settings.publish:
        parse_publish(port)  # a bad one is said now, and not after the build
    memory = Memory(location)
    workspace = Workspace.remembered(location, settings, memory, os.environ)
    display = make_display(settings.output, sys.stdout, os.environ, once=once)

    def reload() -> "tuple[Location, Settings]":
        again = project_of(path, flags)
        return again[0], again[1]

    session = Session(workspace, display, reload=reload, config=config, once=once, started=started)
    try:
        with reading_keys(display, None if once else sys.stdin, session.press) as has_keys:
            session.has_keys = has_keys
            status = session.run()
    except DisplayClosed:
        status = EXIT_INTERRUPTED
    finally:
        display.close()
        memory.close()
    return status, session


@app.command(
    short_help="What an edit would run again and cost, without an engine.",
    help=(
        "Say what an edit of these paths would run again and what it would cost, without an engine."
        " Without paths: what has changed since the last recorded build."
    ),
)
def plan(  # noqa: PLR0917 - typer calls it by name
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATHS", help="Files or folders that would be edited.")
    ] = None,
    project: ProjectOption = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    build_arg: BuildArgOption = None,
    build_context: BuildContextOption = None,
    platform: PlatformOption = None,
    network: NetworkOption = None,
    add_host: AddHostOption = None,
    secret: SecretOption = None,
    ssh: SshOption = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="REV", help="What has changed since a git revision.")
    ] = None,
    staged: Annotated[bool, typer.Option("--staged", help="What is staged: the price of a commit.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.plan/1.")] = False,
) -> None:
    if (since is not None) + staged + bool(paths) > 1:
        raise typer.BadParameter("give paths, --since or --staged, one of them")
    flags = given(
        file=file,
        context=context,
        target=target,
        build_arg=build_arg,
        build_context=build_context,
        platform=platform,
        network=network,
        add_host=add_host,
        secret=secret,
        ssh=ssh,
    )
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


def usual_project(
    folder: Path, flags: Mapping[str, Any], workspace: "Workspace"
) -> "tuple[Location, Settings] | None":
    """Return the project whose Dockerfile another text is tried for.

    `--file` names a text to try, unless it is what is built here anyway or the only Dockerfile there is.
    """
    from devloop.project.discover import ProjectNotFound

    if flags.get("file") is None or workspace.memory.baseline() is not None:
        return None
    try:
        usual, settings, _ = project_of(folder, {**flags, "file": None})
    except ProjectNotFound:
        return None
    return None if usual.dockerfile == workspace.location.dockerfile else (usual, settings)


def _folder_of(project: Path, paths: Sequence[Path] | None) -> Path:
    """Return the project's folder: the one named, else this one, else the one of the first path."""
    if project != Path() or not paths or (Path() / "Dockerfile").is_file() or Path("devloop.toml").is_file():
        return project
    for at in (paths[0].absolute(), *paths[0].absolute().parents):
        if at.is_dir() and (at / "Dockerfile").is_file():
            return at
    return project


@app.command(
    short_help="Show the steps with what feeds them and what they cost.",
    help="Show the steps of the target: what feeds each, what it costs, which are expensive.",
)
def layers(  # noqa: PLR0917 - typer calls it by name
    path: FolderArgument = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    build_arg: BuildArgOption = None,
    build_context: BuildContextOption = None,
    platform: PlatformOption = None,
    size: Annotated[
        bool, typer.Option("--size", help="Weigh the steps by the last image that was built here.")
    ] = False,
) -> None:
    flags = given(
        file=file,
        context=context,
        target=target,
        build_arg=build_arg,
        build_context=build_context,
        platform=platform,
    )
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
    short_help="Say why steps ran, who reads a path, or what a step costs.",
    help=(
        "Say why each step of the last build ran, and what had been predicted. With a path: which steps"
        " read it, where it lands, and what a save of it does. With a step (its line, `web 5/6` or the"
        " beginning of its text): what feeds it, when and why it ran last, and what it costs."
    ),
)
def why(  # noqa: PLR0917 - typer calls it by name
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|STEP]", help="A path, or a step of the Dockerfile.")
    ] = None,
    project: ProjectOption = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    build_arg: BuildArgOption = None,
    build_context: BuildContextOption = None,
    platform: PlatformOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the contract devloop.why/1.")] = False,
) -> None:
    flags = given(
        file=file,
        context=context,
        target=target,
        build_arg=build_arg,
        build_context=build_context,
        platform=platform,
    )
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
    short_help="Show what builds and syncs took, and how predictions did.",
    help=(
        "Show what devloop remembers: builds, the seconds spent by step and by saved file, how predictions"
        " and estimates did, what syncs saved; or the predictions that the engine contradicted."
    ),
)
def stats(  # noqa: PLR0917 - typer calls it by name
    path: FolderArgument = ".",
    file: FileOption = None,
    context: ContextOption = None,
    target: TargetOption = None,
    misses: Annotated[bool, typer.Option("--misses", help="List contradicted predictions.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the contract devloop.stats/1 (--misses: devloop.misses/1).")
    ] = False,
) -> None:
    from devloop import review
    from devloop.ui import reviewtext

    location, settings, _ = project_of(Path(path), given(file=file, context=context, target=target))
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


cli_replay.register(app)
cli_doctor.register(app)


# Printing ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workspace_of(location: "Location", settings: Settings) -> "Iterator[Workspace]":
    """Open a project with what is remembered of it, for a command that needs no engine."""
    from devloop.project.memory import Memory
    from devloop.project.workspace import Workspace

    memory = Memory(location)
    try:
        yield Workspace.remembered(location, settings, memory, os.environ)
    finally:
        memory.close()


class _Style:
    """How plain text is printed here: as wide as the terminal, in colour where that is wanted."""

    def __init__(self) -> None:
        from devloop.ui.text import wants_ascii, wants_color

        is_terminal = sys.stdout.isatty()
        self.width = _width() if is_terminal else 100
        # What reads a table from a pipe wants whole names.
        self.table_width = self.width if is_terminal else 400
        self.options = {
            "ascii_only": wants_ascii(encoding=sys.stdout.encoding, environ=os.environ),
            "color": wants_color(is_terminal=is_terminal, environ=os.environ),
        }


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


def print_lines(render: "Callable[[_Style], Sequence[str]]") -> None:
    """Print what a person reads, in the width and the colours of standard output."""
    style = _Style()
    text = "\n".join(render(style)) + "\n"
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()


def print_found(render: "Callable[[_Style], Sequence[str]]", document: str | None) -> None:
    """Print a document where one was asked for, else what a person reads."""
    if document is not None:
        sys.stdout.write(document + "\n")
        return
    print_lines(render)


def _print_plan(found: "Plan", *, as_json: bool) -> None:
    from devloop.ui.plantext import plan_json, plan_lines

    if as_json:
        sys.stdout.write(plan_json([found]) + "\n")
        return
    print_lines(lambda style: plan_lines(found, style.width, **style.options))


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
