"""What a restore of .NET reads: every project, and what stands above them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


_DOTNET_FILES = re.compile(
    r"(?i).*\.(\w*proj|sln|slnx|slnf)|directory\.(build|packages)\.(props|targets)|nuget\.config"
    r"|global\.json|packages\.lock\.json|packages\.config|directory\.solution\.(props|targets)"
    r"|directory\.build\.rsp"
)
# A file that is read for a version, and feeds beside those of nuget.config.
_READS_FILES: Final = re.compile(
    r"System\.IO\.File\]|<Restore(?:AdditionalProject)?Sources>(?!\s*https?://[^;<]*</)"
)


def _dotnet_files(where: Where, named: list[str]) -> tuple[str, ...]:
    found = [path for path in where.placed.below("/") if _DOTNET_FILES.fullmatch(posixpath.basename(path))]
    projects = [path for path in found if path.lower().endswith("proj")]
    if not projects or any(not where.placed.touched_by(where.folder, one) for one in named):
        return ()
    for path in found:
        text = re.sub(r"(?s)<!--.*?-->", "", where.placed.text(path) or "")
        for tag in re.findall(r"<Import\s[^>]*>", text):
            imported = re.search(r"Project=\"([^\"]+)\"", tag)
            # What a kit brings is no file of the project, and the file of the same name above is copied too.
            if imported and "Sdk=" not in tag and "GetPathOfFileAbove" not in tag:
                raise StoppedError(f"{posixpath.basename(path)} imports {imported[1]}")
        if _READS_FILES.search(text):
            raise StoppedError(f"{posixpath.basename(path)} reads other files of the project")
        if posixpath.basename(path).lower() == "nuget.config":
            _refuse_feeds(replace(where, folder=posixpath.dirname(path)), posixpath.basename(path), text)
    return tuple(found)


def _refuse_feeds(where: Where, name: str, text: str) -> None:
    """Stop where packages come from a folder of the project."""
    for value in re.findall(r"\bvalue=\"([^\"]+)\"", text):
        if "://" not in value and where.placed.touched_by(where.folder, value.replace("\\", "/")):
            raise StoppedError(f"{name} names {value}")


def _dotnet_fills(where: Where) -> tuple[str, ...]:
    projects = [path for path in where.placed.below("/") if path.lower().endswith("proj")]
    return tuple(joined(posixpath.dirname(path), name) for path in projects for name in ("obj", "bin"))


def _dotnet_restore(command: Command, where: Where) -> Answer:
    if command.arguments[:1] != ("restore",):
        return Source(" ".join(command.words[:2]))
    named = [word for word in command.arguments[1:] if word[0] not in "-/" and ("/" in word or "." in word)]
    files = _dotnet_files(
        where, [one for one in named if one[0] != "-" and "=" not in one and "://" not in one]
    )
    return Needs(files, fills=_dotnet_fills(where)) if files else Source("dotnet restore")


def _dotnet_build(command: Command, where: Where) -> Answer:
    verb = command.arguments[0] if command.arguments else ""
    if verb not in {"build", "publish"}:
        return Source(f"dotnet {verb}")
    named: list[str] = []
    kept: list[str] = []
    words = iter(command.arguments[1:])
    for word in words:
        if word in {"-r", "--runtime"}:
            kept += [word, next(words, "")]
        elif word in {
            "-c",
            "--configuration",
            "-o",
            "--output",
            "-f",
            "--framework",
            "-v",
            "--verbosity",
            "-a",
            "--os",
        }:
            following = next(words, "")
            if word in {"-f", "--framework", "-a", "--os"}:
                raise StoppedError(
                    f"dotnet {verb} chooses a framework, which restore cannot be told: {following}"
                )
        elif word.startswith(("-p:", "/p:", "--property:")):
            kept.append(word)
        elif word[0] != "-":
            named.append(word)
    if len(named) > 1 or any(not re.fullmatch(r"[\w@%+=:,./-]+", word) for word in (*named, *kept)):
        raise StoppedError("the words of dotnet hold variables or quotes")
    files = _dotnet_files(where, named)
    if not files:
        return Source(f"dotnet {verb}")
    insert = " ".join(["dotnet restore", *named, *kept])
    return Needs(files, fills=_dotnet_fills(where), split=Split(insert=(insert,), kind="dotnet-restore"))


READERS: Final[Mapping[str, Reader]] = {
    "dotnet-restore": _dotnet_restore,
    "dotnet-build": _dotnet_build,
}
