"""Comments in which a Dockerfile's author has told another linter that something is meant so.

What hadolint (`# hadolint ignore=DL3020`, `# hadolint global ignore=..`) or the checks of `docker build`
(`# check=skip=JSONArgsRecommended`) are not to say, devloop does not say either where it means the same.
"""

import re
from collections.abc import Mapping
from typing import Final

from devloop.dockerfile.instructions import Dockerfile
from devloop.dockerfile.silence import Silence, Silences, comments

_HADOLINT: Final = re.compile(
    r"#\s*hadolint\s+(?P<whole>global\s+)?ignore\s*=\s*(?P<codes>[\w-]+(?:\s*,\s*[\w-]+)*)", re.ASCII
)
_CHECK: Final = re.compile(r"#\s*check\s*=.*?\bskip\s*=\s*(?P<codes>[\w-]+(?:\s*,\s*[\w-]+)*)", re.ASCII)
_SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "dl3006": ("floating-base",),
    "dl3007": ("floating-base",),
    "dl3009": ("package-cache-left",),
    "dl3019": ("package-cache-left",),
    "dl3020": ("add-for-local-files",),
    "dl3025": ("shell-form-command",),
    "jsonargsrecommended": ("shell-form-command",),
}
_OF_CHECKS: Final = ("shell-form-command",)


def told_to_others(dockerfile: Dockerfile) -> Silences:
    """Return what such comments silence, under devloop's codes.

    hadolint's speaks of the next instruction, or of the file with `global`; a check's stands above the first
    instruction and speaks of the file, `all` for every check.
    """
    found: list[Silence] = []
    for line, match, span in comments(dockerfile, _HADOLINT):
        found.append(Silence(line, _codes(match["codes"]), None if match["whole"] else span))
    for line, match, _span in comments(dockerfile, _CHECK):
        if line < dockerfile.instructions[0].span.first:
            names = match["codes"]
            found.append(Silence(line, _OF_CHECKS if names.lower() == "all" else _codes(names), None))
    return Silences(tuple(one for one in found if one.codes))


def _codes(names: str) -> tuple[str, ...]:
    return tuple(code for name in names.split(",") for code in _SAME.get(name.strip().lower(), ()))
