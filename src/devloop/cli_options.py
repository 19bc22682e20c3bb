"""The options that several commands share, and the project that they name."""

import contextlib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from devloop.project.settings import Settings

if TYPE_CHECKING:
    from devloop.project.discover import Location
    from devloop.project.workspace import Workspace

Flags = dict[str, Any]
"""Settings by name, as the command line gave them; what it did not give is None."""

# Paths are taken as text: for a parameter of type Path typer loads pydantic, which costs a third of a plan.
FolderArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="Folder with a Dockerfile, or the Dockerfile itself.")
]
ProjectOption = Annotated[str, typer.Option("--project", "-C", help="The project's folder, if not this one.")]


def _text(*names: str, of: str | None = None, tells: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[str | None, typer.Option(*names, metavar=of, help=tells)]


def _texts(*names: str, of: str | None = None, tells: str) -> Any:  # noqa: ANN401 - an annotation
    return Annotated[list[str] | None, typer.Option(*names, metavar=of, help=f"{tells}; repeatable.")]


_SHARED: Final[Mapping[str, Any]] = {
    "file": _text(
        "--file", "-f", tells="The Dockerfile, if not PATH/Dockerfile; - reads it from standard input."
    ),
    "context": _text("--context", tells="The build context, if not PATH."),
    "target": _text("--target", tells="The stage to build, if not the last one."),
    "build_arg": _texts("--build-arg", of="NAME[=VALUE]", tells="A build argument"),
    "build_context": _texts("--build-context", of="NAME=PATH", tells="A named build context"),
    "platform": _text("--platform", tells="Build for os/arch[/variant]."),
    "network": _text("--network", tells="Network of RUN steps: default, none or host."),
    "add_host": _texts("--add-host", of="NAME:ADDRESS", tells="A host for RUN steps"),
    "secret": _texts("--secret", of="id=NAME,...", tells="A secret of the build"),
    "ssh": _texts("--ssh", of="NAME", tells="An ssh agent of the build"),
    "no_cache": Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")],
    "name": _text("--name", tells="Name of the project, image and container."),
    "publish": _texts("--publish", "-p", of="[HOST:]PORT", tells="Publish a port on 127.0.0.1"),
    "env": _texts("--env", "-e", of="NAME[=VALUE]", tells="A variable"),
    "env_file": _texts("--env-file", tells="A file of variables"),
    "output": _text("--output", of="auto|live|plain|json", tells="How to show what happens."),
}
"""Every shared option under the name of its setting. One that is not given leaves the setting alone."""

SOURCE_OPTIONS: Final = ("file", "context", "target")
"""What names a Dockerfile, its context and the stage of it."""
GRAPH_OPTIONS: Final = (*SOURCE_OPTIONS, "build_arg", "build_context", "platform")
"""What decides which steps there are."""
BUILD_OPTIONS: Final = (*GRAPH_OPTIONS, "network", "add_host", "secret", "ssh")
"""What decides what the steps do."""


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options of these names, where its parameter `flags` stands.

    The command gets them as one value, checked and ready to be settings.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**given: Any) -> None:  # noqa: ANN401 - whatever the command declares
            flags = flags_of({name: given.pop(name) for name in names})
            command(**given, flags=flags)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name != "flags":
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            parameters += [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=_SHARED[name],
                    default=False if name == "no_cache" else None,
                )
                for name in names
            ]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        return called

    return decorate


def flags_of(given: Mapping[str, Any]) -> Flags:
    """Turn options into settings; what was not given is left to the configuration file."""
    found = dict(given)
    for name in ("build_arg", "env"):
        found[name] = _pairs(found.get(name), f"--{name.replace('_', '-')}")
    contexts = _pairs(found.get("build_context"), "--build-context")
    for name, value in (contexts or {}).items():
        if value is None:
            raise typer.BadParameter(f"{name!r} has no path", param_hint="--build-context")
    found["build_context"] = contexts
    if found.get("output") not in {None, "auto", "live", "plain", "json"}:
        raise typer.BadParameter("must be auto, live, plain or json", param_hint="--output")
    found["no_cache"] = True if found.get("no_cache") else None
    return found


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


# The project ------------------------------------------------------------------------------------------------


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
