"""Whether anything but the command of the Dockerfile uses an image: compose files, dev containers, words.

A smaller image starts the one program that its Dockerfile names. What somebody else starts in it, and what
the command or a variable names besides, would be gone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.doctor.graphs import is_above, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import Subject

_DEVCONTAINER: Final = re.compile(r"\.devcontainer(?:/(?:[^/]+/)?devcontainer)?\.json")
_OTHER_START: Final = re.compile(
    r"^[ \t]+(command|entrypoint|healthcheck|target):(?![ \t]*[\"']?/)", re.MULTILINE
)


def used_by_others(subject: Subject) -> str:
    """Say which file of the project starts something else in the image, or asks for a stage of it by name."""
    for block in _built_services((subject.compose or b"").decode("utf-8", "replace")):
        found = _OTHER_START.search(block)
        if found is not None:
            return f"the compose file has a {found[1]} for it, which may need more than the program"
    for one in subject.paths:
        if _DEVCONTAINER.fullmatch(one.path) and b'"dockerfile"' in (subject.texts(one.path) or b"").lower():
            return f"{one.path} may work in the image"
    return ""


def _built_services(text: str) -> Iterator[str]:
    """Yield the parts of a compose file that build: a service each, and each other part of the file."""
    for part in re.split(r"^(?=\S)", text, flags=re.MULTILINE):
        blocks = [part]
        indent = re.match(r"services:[^\n]*\n(?:[ \t]*(?:#[^\n]*)?\n)*([ \t]+)\S", part)
        if indent is not None:
            blocks = re.split(rf"^(?={re.escape(indent[1])}[^\s#-])", part, flags=re.MULTILINE)
        yield from (block for block in blocks if re.search(r"^[ \t]+build:", block, re.MULTILINE))


def names_what_is_left(
    root: Stage, last: Step, words: Sequence[str], folder: str, kept: Sequence[str]
) -> str:
    """Say which argument or variable names a path of the build that the image would not have any more.

    `folder` is where the container starts, `kept` what it gets of the build.
    """
    values = [value for one in root.body if isinstance(one, ins.Env) for _, value in one.pairs]
    for at, text in enumerate((*words[1:], *values), start=1):
        if "://" in text:
            continue
        # Of a variable `Europe/Berlin` and `text/html` are no paths.
        is_word = at < len(words)
        for part in re.split(r"[=:,;@\s\"']", text):
            is_path = part.startswith(("/", "./", "../")) or part.endswith(".jar")
            if not is_path and not (is_word and "/" in part):
                continue
            path = resolved(part, folder)
            is_left = is_above(last.workdir, path) and not path.startswith(_OF_THE_SYSTEM)
            if is_left and not any(is_above(one, path) for one in kept):
                return f"the program is told of {part}, which may be made by the build"
    return ""


_OF_THE_SYSTEM: Final = ("/dev/", "/proc/", "/sys/", "/tmp/", "/etc/", "/usr/", "/var/")  # noqa: S108 - read only
