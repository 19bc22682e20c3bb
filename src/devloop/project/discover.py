"""Where a project's files are: Dockerfile, build context, ignore file, git directory, configuration."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devloop.errors import DevloopError
from devloop.project.settings import Settings

_IMAGE_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")


class ProjectNotFound(DevloopError):  # noqa: N818 - it names what the user will read
    """There is no Dockerfile where one was looked for."""


@dataclass(frozen=True, slots=True)
class Location:
    """The files of one project; every path is absolute. `identity` names project and target in the state."""

    folder: Path
    dockerfile: Path
    context: Path
    name: str
    identity: str
    git_root: Path | None

    @property
    def shown_dockerfile(self) -> str:
        """The Dockerfile as a user would write it: relative to the folder where that is shorter."""
        return shown(self.dockerfile, self.folder)

    def ignore_file(self) -> Path | None:
        """Return the ignore file in force: the Dockerfile's own one wins, even when it is empty."""
        specific = self.dockerfile.with_name(self.dockerfile.name + ".dockerignore")
        if specific.is_file():
            return specific
        general = self.context / ".dockerignore"
        return general if general.is_file() else None

    def ignore_candidates(self) -> tuple[Path, Path]:
        """Return the places in which an ignore file is looked for."""
        specific = self.dockerfile.with_name(self.dockerfile.name + ".dockerignore")
        return specific, self.context / ".dockerignore"


def shown(path: Path, folder: Path) -> str:
    """Write a path relative to a folder where it lies below it."""
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return str(path)


def locate(path: Path, settings: Settings) -> Location:
    """Find the files of the project at `path`: a folder, or a Dockerfile.

    Raises ProjectNotFound with what was looked for.
    """
    if not path.exists():
        raise ProjectNotFound(f"{path} does not exist", hint="name a folder with a Dockerfile")
    if path.is_file():
        folder, dockerfile = path.parent, path
    else:
        folder = path
        dockerfile = _dockerfile(folder, settings)
    folder = folder.resolve()
    # The last component is kept as it is named: a link to a Dockerfile has its ignore file beside the link.
    dockerfile = dockerfile.parent.resolve() / dockerfile.name
    context = (folder / settings.context).resolve() if settings.context else folder
    if not context.is_dir():
        raise ProjectNotFound(
            f"the build context {settings.context} is not a folder",
            hint="the folder comes from --context, or from context in devloop.toml",
        )
    name = _clean_name(folder.name) if settings.name is None else _checked_name(settings.name)
    text = "\0".join((str(dockerfile), str(context), settings.target or ""))
    identity = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return Location(folder, dockerfile, context, name, identity, _git_root(folder))


def _dockerfile(folder: Path, settings: Settings) -> Path:
    if settings.file is not None:
        chosen = folder / settings.file
        if not chosen.is_file():
            raise ProjectNotFound(
                f"there is no file {chosen}", hint="its name comes from --file, or from file in devloop.toml"
            )
        return chosen
    # BuildKit falls back to the lower-case name.
    for name in ("Dockerfile", "dockerfile"):
        if (folder / name).is_file():
            return folder / name
    raise ProjectNotFound(
        f"there is no Dockerfile in {folder.resolve()}",
        hint="run devloop in the folder of a Dockerfile, or name one with --file path/to/Dockerfile",
    )


def _clean_name(name: str) -> str:
    """Make a name that an image and a container can have: words with single separators between them."""
    joined = re.sub(r"[^a-z0-9]+", lambda found: found[0][0] if found[0][0] in "._" else "-", name.lower())
    return joined.strip("._-") or "project"


def _checked_name(name: str) -> str:
    if not _IMAGE_NAME.fullmatch(name):
        raise ProjectNotFound(
            f"{name!r} cannot be the name of an image",
            hint="small letters and digits, with single . _ or - between them",
        )
    return name


def _git_root(folder: Path) -> Path | None:
    for at in (folder, *folder.parents):
        if (at / ".git").exists():
            return at
    return None


def given_build_args(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> tuple[tuple[str, str], ...]:
    """Return the build arguments with their values.

    One without a value takes it from the environment, and is left out where that has none; buildx passes
    SOURCE_DATE_EPOCH from the environment by itself.
    """
    found: dict[str, str] = {}
    if "SOURCE_DATE_EPOCH" in environ:
        found["SOURCE_DATE_EPOCH"] = environ["SOURCE_DATE_EPOCH"]
    for name, value in settings.build_arg.items():
        actual = environ.get(name) if value is None else value
        if actual is not None:
            found[name] = actual
    return tuple(found.items())
