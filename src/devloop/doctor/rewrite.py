"""Changes to the text of one instruction that keep what they do not name: words in, words out.

Everything works on the lines as they stand in the file, with continuations and line ends, because a proposal
is a diff that a person reads. Where the text is of a form that is not known for sure the answer is None, and
then there is no proposal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devloop.doctor.edits import lines_of
from devloop.doctor.model import LineEdit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.dockerfile.instructions import Instruction
    from devloop.doctor.model import Subject


def text_of(subject: Subject, instruction: Instruction) -> str:
    """Return the lines of an instruction as they stand in the file."""
    span = instruction.span
    return b"".join(lines_of(subject.source)[span.first - 1 : span.last]).decode("utf-8", "surrogateescape")


def edit_of(subject: Subject, instruction: Instruction, text: str) -> LineEdit | None:
    """Return the edit that gives an instruction this text: no more lines than differ; None for no change."""
    old = lines_of(text_of(subject, instruction).encode("utf-8", "surrogateescape"))
    new = lines_of(text.encode("utf-8", "surrogateescape"))
    if old == new:
        return None
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    first = instruction.span.first
    return LineEdit(first + head, first + len(old) - tail - 1, b"".join(new[head : len(new) - tail]))


def _gap(escape: str) -> str:
    """Match blanks, continuations, and what BuildKit drops behind one: comments and empty lines."""
    mark = re.escape(escape)
    return rf"(?:[ \t]|{mark}[ \t]*\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*)*"


def command_start(text: str, escape: str) -> int | None:
    """Return where the command begins behind the keyword and its flags; None for flags with quotes."""
    gap = re.compile(_gap(escape))
    keyword = re.compile(r"[ \t]*[A-Za-z]+").match(text)
    if keyword is None:
        return None
    at = _end(gap, text, keyword.end())
    while text.startswith("--", at):
        flag = re.compile(r"--[a-z-]+(?:=[^\s\"'\\`]*)?(?=\s)").match(text, at)
        if flag is None:
            return None
        at = _end(gap, text, flag.end())
    return at


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def with_flags(text: str, flags: Sequence[str], escape: str, *, own_lines: bool = True) -> str | None:
    """Put flags in front of the command, and of the flags that stand there.

    With `own_lines` each gets a line, as the reference writes mounts; a heredoc keeps the one line.
    """
    keyword = re.compile(rf"([ \t]*[A-Za-z]+)({_gap(escape)})").match(text)
    if keyword is None or not keyword[2]:
        return None
    end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    new_line = f" {escape}{end}    "
    rest = text[keyword.end() :]
    if not own_lines or rest.startswith("<<"):
        return f"{keyword[1]} {' '.join(flags)}{keyword[2]}{rest}"
    # `RUN \` has a line for the flags already.
    behind = keyword[2] if "\n" in keyword[2] else new_line
    return f"{keyword[1]} {new_line.join(flags)}{behind}{rest}"


def before_command(text: str, prefix: str, escape: str) -> str | None:
    """Put a text in front of the command."""
    at = command_start(text, escape)
    return None if at is None else f"{text[:at]}{prefix}{text[at:]}"


def without_commands(text: str, patterns: Iterable[str], escape: str) -> str:
    """Take commands out of a chain of `&&` or `;` where they stand behind another one.

    Each pattern is a whole command. In the body of a heredoc a command may be a line of its own.
    """
    mark = re.escape(escape)
    # No comment may be lost, so only blanks and plain continuations are crossed.
    gap = rf"(?:[ \t]|{mark}[ \t]*\r?\n)*"
    for pattern in patterns:
        text = re.sub(rf"{gap}(?:&&|;){gap}(?:{pattern})(?={gap}(?:&&|;|\)|\Z|\r?\n))", "", text)
        if "<<" in text.partition("\n")[0]:
            text = re.sub(rf"^[ \t]*(?:{pattern})[ \t]*\r?\n", "", text, flags=re.MULTILINE)
    return text


def without_words(text: str, words: Iterable[str], escape: str) -> str:
    """Take words out; a continuation line that held nothing else goes as a whole."""
    mark = re.escape(escape)
    for word in words:
        text = re.sub(rf"^[ \t]*{word}[ \t]*{mark}[ \t]*\r?\n", "", text, flags=re.MULTILINE)
        text = re.sub(rf"[ \t]+{word}(?=[ \t]|\r?\n|\Z)", "", text)
    return text


def has_comment(text: str) -> bool:
    """Tell whether comment lines stand inside an instruction, which a rewrite as a whole would lose."""
    return any(line.lstrip(" \t").startswith("#") for line in text.split("\n")[1:])
