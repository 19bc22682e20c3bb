"""Bytes to logical lines: directives, comments, continuations and heredocs, each with its place.

Follows "Format", "Parser directives" and "Here-documents" in the Dockerfile reference and
`frontend/dockerfile/parser/parser.go`. Only a line feed ends a line; a CR before it is dropped, except in
the body of a heredoc, whose bytes reach the image as they are.

A logical line is what BuildKit joins before it looks at the instruction. It remembers where each piece
came from, so a complaint about a character of the joined text can point at the character in the file.
"""

import re
from dataclasses import dataclass

from devloop.dockerfile.words import SPACES, heredoc_words

LONGEST_LINE = 65_535
"""Bytes in one physical line; BuildKit's scanner gives up beyond."""

BLANKS = re.compile(r"[\t\v\f\r ]+")
"""What separates the keyword and unquoted words. Go's `\\s`-like class of the parser: ASCII only."""


@dataclass(frozen=True, slots=True)
class Span:
    """The physical lines of an instruction, 1-based and inclusive, heredoc terminators included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SyntaxProblem:
    """What is wrong with a Dockerfile and where. A value: a broken file is an ordinary event.

    `column` is 1-based and counts characters of `source_line`.
    """

    file: str
    line: int
    column: int
    message: str
    expected: str | None
    source_line: str

    def render(self) -> str:
        """Return place and message, the line, a caret under the column, and what was expected."""
        shown = "".join(char if char.isprintable() or char == "\t" else "?" for char in self.source_line)
        before = shown[: self.column - 1]
        indent = "".join("\t" if char == "\t" else " " for char in before)
        lines = [
            f"{self.file}:{self.line}:{self.column}: {self.message}",
            f"    {shown}",
            f"    {indent}^",
        ]
        if self.expected is not None and f"did you mean {self.expected}?" not in self.message:
            lines.append(f"    expected {self.expected}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """One here-document.

    `body` is what the builder writes or runs: without leading tabs for `<<-`. `raw_body` is what stands
    in the file, which is what a shell gets when it reads the heredoc itself. `expands` is false when any
    part of the name was quoted.
    """

    name: str
    body: str
    expands: bool
    strips_tabs: bool
    file_descriptor: int | None
    raw_body: str

    @property
    def summary(self) -> str:
        """The first line, with dots if more follow, as the engine shows a heredoc in a step's name."""
        lines = self.raw_body.strip(SPACES).replace("\r\n", "\n").split("\n")
        return lines[0] + ("..." if len(lines) > 1 else "")


@dataclass(frozen=True, slots=True)
class HeredocOpening:
    """The word that opens a heredoc, before its body is known."""

    name: str
    expands: bool
    strips_tabs: bool
    file_descriptor: int | None


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """The joined text of an instruction: continuations resolved, comments inside it gone.

    `pieces` says where the text comes from: (offset in the text, physical line, offset in that line).
    """

    text: str
    span: Span
    pieces: tuple[tuple[int, int, int], ...]
    has_blank_continuation: bool = False

    def place(self, offset: int) -> tuple[int, int]:
        """Return the physical line and the 1-based column of a character of the joined text."""
        found = self.pieces[0]
        for piece in self.pieces:
            if piece[0] > offset:
                break
            found = piece
        start, line, skipped = found
        return line, offset - start + skipped + 1


@dataclass(frozen=True, slots=True)
class Directives:
    """The parser directives at the top of a file; `escape` has a value in every file."""

    escape: str = "\\"
    syntax: str | None = None
    check: str | None = None


class Refusal(Exception):  # noqa: N818 - it never leaves the package: parse() turns it into a value
    """A complaint at an offset of the text under analysis, on its way to become a SyntaxProblem."""

    def __init__(self, offset: int, message: str, expected: str | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message
        self.expected = expected


class PlacedRefusal(Exception):  # noqa: N818 - see Refusal
    """A complaint about a physical line: (line, offset, message, expected)."""

    def __init__(self, line: int, offset: int, message: str, expected: str | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.offset = offset
        self.message = message
        self.expected = expected


_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_SLASH_DIRECTIVE = re.compile(r"//\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_DIRECTIVE_NAMES = frozenset({"escape", "syntax", "check"})

CONFLICT_MESSAGE = ("an unresolved merge conflict", "the conflict to be resolved and its markers removed")

_HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_CONFLICT = re.compile(r"(?:<{7}|>{7}|\|{7})(?: |\Z)|={7}\Z")


def heredoc_opening(word: str) -> HeredocOpening | None:
    """Return the heredoc that `word` opens: `<<name`, `<<-name` or `3<<name`, the name perhaps quoted.

    The name is the whole rest of the word, so `<<A;` opens a heredoc that ends at a line `A;`.
    """
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    names = heredoc_words(match[3], keep_quotes=False, keep_escapes=False)
    quoted = heredoc_words(match[3], keep_quotes=True, keep_escapes=False)
    if names is None or quoted is None or len(names) != 1 or len(quoted) != 1:
        return None
    # A quotation mark that is there with quotes kept and gone without was a real one, not an escaped one.
    expands = _quotation_marks(names[0]) == _quotation_marks(quoted[0])
    return HeredocOpening(
        name=names[0],
        expands=expands,
        strips_tabs=match[2] == "-",
        file_descriptor=int(match[1][-9:]) if match[1] else None,
    )


def heredoc_openings(text: str) -> tuple[HeredocOpening, ...]:
    """Return the heredocs that a joined line opens, in order.

    None at all where the line cannot be split into words: an apostrophe (`echo it's <<EOF`) hides them.
    """
    if "<<" not in text:
        return ()
    words = heredoc_words(text, keep_quotes=True, keep_escapes=True) or ()
    return tuple(opening for word in words if (opening := heredoc_opening(word)) is not None)


def _opening_offset(text: str, index: int) -> int:
    """Return where the word that opens heredoc number `index` begins in the line."""
    at = 0
    for word in heredoc_words(text, keep_quotes=True, keep_escapes=True) or ():
        at = max(text.find(word, at), at)
        if heredoc_opening(word) is not None:
            if index == 0:
                break
            index -= 1
        at += len(word)
    return at


def without_leading_tabs(body: str) -> str:
    """Strip the tabs at the start of every line, as `<<-` asks for; blanks stay."""
    return _LEADING_TABS.sub("", body)


def is_conflict_marker(text: str) -> bool:
    """Say whether a line is one of the markers that git leaves in a conflict."""
    return _CONFLICT.match(text) is not None


def _quotation_marks(text: str) -> int:
    return text.count("'") + text.count('"')


class LineReader:
    """Walks through a file once. `read_line` and `read_heredocs` take turns, as an instruction decides."""

    def __init__(self, source: bytes, *, file: str, escape: str | None = None) -> None:
        """Begin at the first line. Without an `escape` the directives at the top decide it."""
        self.file = file
        text = source.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        self._raw = text.split("\n")
        # After a final line feed there is no further line.
        self._ends_in_line_feed = self._raw[-1] == ""
        if self._ends_in_line_feed:
            self._raw.pop()
        self._at = 0
        self.directives = Directives() if escape is None else Directives(escape=escape)
        if escape is None:
            self.directives = self._read_directives()
        token = re.escape(self.directives.escape)
        # A continuation character behind another one is an escaped character, not a continuation.
        self._continuation = re.compile(rf"(?:^|(?<=[^{token}])){token}[ \t]*\Z")

    @property
    def line_count(self) -> int:
        """The number of physical lines."""
        return len(self._raw)

    def line(self, number: int) -> str:
        """Return physical line `number` without its line ending, or nothing outside the file."""
        return self._raw[number - 1].rstrip("\r") if 0 < number <= len(self._raw) else ""

    def problem(self, number: int, column: int, message: str, expected: str | None = None) -> SyntaxProblem:
        """Return a complaint about a place in this file."""
        return SyntaxProblem(self.file, number, column, message, expected, self.line(number))

    def too_long_line(self) -> int | None:
        """Return the number of the first line that BuildKit's scanner refuses for its length."""
        for number, line in enumerate(self._raw, start=1):
            if len(line) > LONGEST_LINE // 4 and len(line.encode("utf-8", "surrogateescape")) > LONGEST_LINE:
                return number
        return None

    def _read_directives(self) -> Directives:
        found: dict[str, str] = {}
        for index, raw in enumerate(self._raw):
            line = raw.rstrip("\r").lstrip(SPACES)
            match = _DIRECTIVE.fullmatch(line)
            name = match[1].lower() if match else ""
            if match is None or name not in _DIRECTIVE_NAMES:
                break
            offset = raw.index(match[1])
            if name in found:
                raise PlacedRefusal(index + 1, offset, f"only one {name} directive can be used")
            if name == "escape" and match[2] not in {"\\", "`"}:
                value_at = raw.index(match[2], offset + len(name))
                raise PlacedRefusal(
                    index + 1, value_at, f"invalid escape token {match[2]!r}", "a backslash or a backtick"
                )
            found[name] = match[2]
        syntax = found.get("syntax") or self._other_syntax()
        return Directives(
            escape=found.get("escape", "\\"),
            syntax=syntax.split(" ", 1)[0] if syntax else None,
            check=found.get("check"),
        )

    def _other_syntax(self) -> str | None:
        """Return the frontend named behind a shebang line or in `//` comments.

        These count for the choice of a frontend alone: to the parser they are comments or errors.
        """
        start = 1 if self._raw and self._raw[0].startswith("#!") else 0
        for pattern in (_DIRECTIVE, _SLASH_DIRECTIVE) if start else (_SLASH_DIRECTIVE,):
            for line in self._raw[start:]:
                match = pattern.fullmatch(line.rstrip("\r"))
                if match is None or match[1].lower() not in _DIRECTIVE_NAMES:
                    break
                if match[1].lower() == "syntax":
                    return match[2]
        return None

    def read_line(self) -> LogicalLine | None:
        """Return the next logical line, or None at the end of the file."""
        while self._at < len(self._raw):
            raw = self._raw[self._at].rstrip("\r")
            text = raw.lstrip(SPACES)
            self._at += 1
            if not text or text.startswith("#"):
                continue
            return self._joined(text, skipped=len(raw) - len(text))
        return None

    def _joined(self, text: str, *, skipped: int) -> LogicalLine:
        first = self._at
        pieces = [(0, first, skipped)]
        parts: list[str] = []
        length = 0
        has_blank = False
        text, goes_on = self._without_continuation(text)
        parts.append(text)
        length = len(text)
        while goes_on and self._at < len(self._raw):
            raw = self._raw[self._at].rstrip("\r")
            self._at += 1
            bare = raw.lstrip(SPACES)
            if bare.startswith("#"):
                continue
            if not bare:
                has_blank = True
                continue
            if bare.startswith(("<<<<<<< ", ">>>>>>> ")):
                raise PlacedRefusal(self._at, len(raw) - len(bare), *CONFLICT_MESSAGE)
            text, goes_on = self._without_continuation(raw)
            pieces.append((length, self._at, 0))
            parts.append(text)
            length += len(text)
        return LogicalLine("".join(parts), Span(first, self._at), tuple(pieces), has_blank)

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        if self.directives.escape not in line:
            return line, False
        match = self._continuation.search(line)
        return (line, False) if match is None else (line[: match.start()], True)

    def read_heredocs(self, line: LogicalLine) -> tuple[LogicalLine, tuple[Heredoc, ...]]:
        """Read the bodies that `line` opens; the line returned reaches to the last terminator.

        Raises a refusal if the file ends inside a body.
        """
        openings = heredoc_openings(line.text)
        if not openings:
            return line, ()
        heredocs = tuple(self._heredoc(line, opening, index) for index, opening in enumerate(openings))
        span = Span(line.span.first, self._at)
        return LogicalLine(line.text, span, line.pieces, line.has_blank_continuation), heredocs

    def _heredoc(self, line: LogicalLine, opening: HeredocOpening, index: int) -> Heredoc:
        lines: list[str] = []
        while self._at < len(self._raw):
            raw = self._raw[self._at]
            self._at += 1
            candidate = raw.rstrip("\r")
            if (candidate.lstrip("\t") if opening.strips_tabs else candidate) == opening.name:
                body = "".join(lines)
                return Heredoc(
                    name=opening.name,
                    body=without_leading_tabs(body) if opening.strips_tabs else body,
                    expands=opening.expands,
                    strips_tabs=opening.strips_tabs,
                    file_descriptor=opening.file_descriptor,
                    raw_body=body,
                )
            lines.append(raw + "\n")
        raise Refusal(
            _opening_offset(line.text, index), "unterminated heredoc", f"a line that reads {opening.name!r}"
        )
