"""Comments that silence what devloop says: `# devloop: ignore=CODE[,CODE]`.

A comment above an instruction, or among its continuation lines, speaks of that instruction. One above the
first instruction of the file speaks of the whole file. In the body of a heredoc `#` is no comment of the
Dockerfile. Comments of other tools (`# hadolint ignore=`, `# check=skip=`) are read by the doctor alone.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from devloop.dockerfile.instructions import Add, Copy, Dockerfile, Instruction, Run
from devloop.dockerfile.words import SPACES

_COMMENT = re.compile(r"#\s*devloop\s*:\s*ignore\s*(?:=\s*(?P<codes>.*))?", re.IGNORECASE | re.ASCII)
_CODES = re.compile(r"[\w-]+(?:\s*,\s*[\w-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Silence:
    """One comment: its line, its codes in lower case, and the instruction it speaks of (None: the file)."""

    line: int
    codes: tuple[str, ...]
    span: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Silences:
    """All such comments of a file, from top to bottom."""

    comments: tuple[Silence, ...] = ()

    def silenced(self, code: str, first_line: int, last_line: int) -> bool:
        """Tell whether what is said of these lines under a code is not wanted.

        It is enough that the lines touch the instruction that a comment speaks of.
        """
        return any(
            code.lower() in one.codes
            and (one.span is None or (one.span[0] <= last_line and first_line <= one.span[1]))
            for one in self.comments
        )

    def unknown(self, known: Collection[str]) -> tuple[tuple[int, str], ...]:
        """Return line and code of what no rule says; an empty code stands for a comment without any."""
        folded = {code.lower() for code in known}
        found = [(one.line, code) for one in self.comments for code in one.codes or ("",)]
        return tuple((line, code) for line, code in found if code not in folded)


NO_SILENCES = Silences()


def silences(dockerfile: Dockerfile) -> Silences:
    """Read the comments that silence devloop."""
    if b"devloop" not in dockerfile.source.lower():
        return NO_SILENCES
    found = []
    for number, match, span in comments(dockerfile, _COMMENT):
        is_head = number < dockerfile.instructions[0].span.first
        codes = _CODES.match(match["codes"] or "")
        found.append(
            Silence(
                number,
                tuple(one.strip().lower() for one in codes[0].split(",")) if codes is not None else (),
                None if is_head else span,
            )
        )
    return Silences(tuple(found))


def comments(
    dockerfile: Dockerfile, pattern: re.Pattern[str]
) -> Iterator[tuple[int, re.Match[str], tuple[int, int]]]:
    """Find comments of a form: the line, the match, and the lines of the instruction below or around."""
    text = dockerfile.source.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), start=1):
        match = pattern.match(line.strip(SPACES))
        if match is None:
            continue
        owner = next((one for one in dockerfile.instructions if number <= one.span.last), None)
        if owner is not None and not _is_heredoc(owner, number):
            yield number, match, (owner.span.first, owner.span.last)


def _is_heredoc(instruction: Instruction, number: int) -> bool:
    """Tell whether a line belongs to the bodies that follow the instruction's own lines."""
    if not isinstance(instruction, Run | Copy | Add) or not instruction.heredocs:
        return False
    lines = sum(heredoc.raw_body.count("\n") + 1 for heredoc in instruction.heredocs)
    return number > instruction.span.last - lines
