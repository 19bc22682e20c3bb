"""The instructions of a Dockerfile as values, and `parse`, which finds them.

Follows the Dockerfile reference and, where that is silent, `frontend/dockerfile/parser/line_parsers.go`
and `frontend/dockerfile/instructions/parse.go`. Everything is kept as written: variables are expanded by
whoever knows the scope. What BuildKit refuses while it reads the file is refused here with a place; what
it refuses only when it builds the stage (a `--from` with a variable, an unknown key of a mount) is left to
the stage graph, because a stage that nobody needs may hold it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from devloop.dockerfile.lines import (
    BLANKS,
    CONFLICT_MESSAGE,
    LONGEST_LINE,
    Heredoc,
    LineReader,
    LogicalLine,
    PlacedRefusal,
    Refusal,
    Span,
    SyntaxProblem,
    heredoc_opening,
    is_conflict_marker,
    without_leading_tabs,
)
from devloop.dockerfile.words import SPACES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """What every instruction has: its lines, and its text as the engine shows it before expansion.

    The text is the joined line without heredoc bodies, with everything up to the first space in upper
    case: behind a keyword that is followed by a tab the engine shouts the first argument too.
    """

    keyword: ClassVar[str]
    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class From(_Placed):
    """The beginning of a stage; `alias` is lower-case, as every comparison with it is."""

    keyword: ClassVar[str] = "FROM"
    image: str
    alias: str | None
    platform: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(_Placed):
    """Names with their defaults; None is "no default", which differs from an empty one."""

    keyword: ClassVar[str] = "ARG"
    items: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(_Placed):
    """Pairs of raw words; `ENV name rest of line` is one pair."""

    keyword: ClassVar[str] = "ENV"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(_Placed):
    """Pairs of raw words, read like those of ENV."""

    keyword: ClassVar[str] = "LABEL"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """One `--mount` of a RUN: its options in written order, keys in lower case, values unexpanded.

    A key without a value (`ro`, `required`) has the value "".
    """

    options: tuple[tuple[str, str], ...]
    raw: str

    def get(self, name: str, *aliases: str) -> str | None:
        """Return the value last given under any of these names, or None if there is none."""
        wanted = {name, *aliases}
        return next((value for key, value in reversed(self.options) if key in wanted), None)

    def has(self, name: str, *aliases: str) -> bool:
        """Say whether any of these names is given, with or without a value."""
        return self.get(name, *aliases) is not None

    @property
    def type(self) -> str:
        """The mount's type in lower case, unexpanded; a bind unless it says otherwise."""
        return (self.get("type") or "bind").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(_Placed):
    """A command to run: text for the shell, or the words of the exec form.

    With heredocs `command` is the line that opens them; `run_script` says what the shell gets.
    """

    keyword: ClassVar[str] = "RUN"
    command: str | tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    network: str | None = None
    security: str | None = None
    devices: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transfer(_Placed):
    """What COPY and ADD share.

    Inline files are in `heredocs`, all other sources in `sources`; `source_order` keeps the order of both,
    with the index into `heredocs` for an inline file.
    """

    sources: tuple[str, ...]
    destination: str
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    excludes: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    source_order: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(_Transfer):
    """Files from the build context, a stage or an image; `from_` is as written."""

    keyword: ClassVar[str] = "COPY"
    from_: str | None = None
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(_Transfer):
    """Like COPY, but URLs, repositories and archives too; `unpack` is None where the default decides."""

    keyword: ClassVar[str] = "ADD"
    checksum: str | None = None
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(_Placed):
    """The rest of the line is one path, blanks included."""

    keyword: ClassVar[str] = "WORKDIR"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User(_Placed):
    """The rest of the line is one user."""

    keyword: ClassVar[str] = "USER"
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(_Placed):
    """The words that the shell form is appended to."""

    keyword: ClassVar[str] = "SHELL"
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(_Placed):
    """The default command, shell form as text or exec form as words."""

    keyword: ClassVar[str] = "CMD"
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(_Placed):
    """What the container runs, shell form as text or exec form as words."""

    keyword: ClassVar[str] = "ENTRYPOINT"
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(_Placed):
    """Ports as written; a variable may hold several, so expand them with `expand_words`."""

    keyword: ClassVar[str] = "EXPOSE"
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(_Placed):
    """Paths of volumes."""

    keyword: ClassVar[str] = "VOLUME"
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(_Placed):
    """How the container is asked for its health; `command` is None for HEALTHCHECK NONE.

    Times are in seconds; None leaves the engine's default.
    """

    keyword: ClassVar[str] = "HEALTHCHECK"
    command: str | tuple[str, ...] | None
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None

    @property
    def disabled(self) -> bool:
        """Whether this switches off a health check that the base may have."""
        return self.command is None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSignal(_Placed):
    """The signal that `docker stop` sends first."""

    keyword: ClassVar[str] = "STOPSIGNAL"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(_Placed):
    """The author, in the deprecated form."""

    keyword: ClassVar[str] = "MAINTAINER"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(_Placed):
    """A trigger for the stages and images built on this one.

    `source_text` is what an image's configuration stores: the line, then each heredoc's body and name.
    `instruction` is that text read again, as the engine does when the trigger fires, which is always with
    the backslash as escape token.
    """

    keyword: ClassVar[str] = "ONBUILD"
    instruction: "Instruction"
    source_text: str


Instruction: TypeAlias = (
    From
    | Arg
    | Env
    | Label
    | Run
    | Copy
    | Add
    | Workdir
    | User
    | Shell
    | Cmd
    | Entrypoint
    | Expose
    | Volume
    | Healthcheck
    | StopSignal
    | Maintainer
    | Onbuild
)


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A file that parses: at least one FROM, nothing but ARG before it.

    `warnings` are places where BuildKit reads on, though not necessarily as the author meant it.
    """

    file: str
    instructions: tuple[Instruction, ...]
    escape: str
    syntax: str | None
    check: str | None
    source: bytes
    warnings: tuple[SyntaxProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class ShellLine:
    """Text that the shell gets as it stands: no heredoc is involved."""

    text: str


@dataclass(frozen=True, slots=True)
class ExecWords:
    """The exec form: no shell."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeredocBody:
    """`RUN <<EOF`: the body is the text that the shell gets; the heredoc's name leaves no trace."""

    text: str


@dataclass(frozen=True, slots=True)
class HeredocFile:
    """`RUN <<EOF` whose body starts with `#!`: a file of that name is mounted and its path is run."""

    name: str
    body: str

    @property
    def path(self) -> str:
        """Where the file appears; this is the text that the shell gets."""
        return f"/dev/pipes/{self.name}"


@dataclass(frozen=True, slots=True)
class LineWithHeredocs:
    """`RUN cat <<EOF`: the shell gets the line, the bodies and their delimiters, and reads them itself."""

    text: str


ScriptForm: TypeAlias = ShellLine | ExecWords | HeredocBody | HeredocFile | LineWithHeredocs


def run_script(run: Run) -> ScriptForm:
    """Say what a RUN hands to the shell.

    A lone heredoc is the script itself; with anything else on its line it belongs to the shell, which then
    sees bodies as written, tabs included.
    """
    if not isinstance(run.command, str):
        return ExecWords(run.command)
    if not run.heredocs:
        return ShellLine(run.command)
    first = run.heredocs[0]
    if heredoc_opening(run.command) is None:
        return LineWithHeredocs(
            run.command + "".join(f"\n{heredoc.raw_body}{heredoc.name}" for heredoc in run.heredocs)
        )
    if first.raw_body.startswith("#!"):
        return HeredocFile(first.name, first.body)
    return HeredocBody(first.body)


def parse(source: bytes, *, file: str = "Dockerfile") -> Dockerfile | SyntaxProblem:
    """Read a Dockerfile. Never raises: a file that BuildKit would refuse gives the first problem in it.

    Bytes that are no UTF-8 are kept as surrogate escapes, so text can be turned back into these bytes.
    """
    try:
        reader = LineReader(source, file=file)
    except PlacedRefusal as refusal:
        return _unread(source, file).problem(
            refusal.line, refusal.offset + 1, refusal.message, refusal.expected
        )
    if (number := reader.too_long_line()) is not None:
        return reader.problem(number, 1, f"a line of more than {LONGEST_LINE} bytes")
    instructions, outcome = _instructions(reader)
    if isinstance(outcome, SyntaxProblem):
        return outcome
    if not instructions:
        return reader.problem(max(reader.line_count, 1), 1, "no instruction in this file", "FROM")
    if not any(isinstance(instruction, From) for instruction in instructions):
        last = instructions[-1].span.last
        return reader.problem(last, 1, "no FROM in this file", "FROM after the last ARG")
    directives = reader.directives
    return Dockerfile(
        file=file,
        instructions=instructions,
        escape=directives.escape,
        syntax=directives.syntax,
        check=directives.check,
        source=source,
        warnings=outcome,
    )


def parse_onbuild(text: str, *, file: str) -> Instruction | SyntaxProblem:
    """Read a trigger as an image's configuration stores it; `file` is what problems call its origin.

    The escape token is the backslash. Exactly one instruction is expected, and neither FROM, MAINTAINER
    nor another ONBUILD.
    """
    reader = LineReader(text.encode("utf-8", "surrogateescape"), file=file, escape="\\")
    instruction: Instruction | None = None
    while True:
        line: LogicalLine | None = None
        try:
            line = reader.read_line()
            if line is None:
                break
            if instruction is not None:
                raise Refusal(0, "a second instruction in a trigger")  # noqa: TRY301
            line, instruction = _instruction(line, reader, [])
            _require_trigger(instruction.keyword, 0)
        except PlacedRefusal as refusal:
            return reader.problem(refusal.line, refusal.offset + 1, refusal.message, refusal.expected)
        except Refusal as refusal:
            return _located(reader, line, refusal)
    return instruction or reader.problem(1, 1, "no instruction in this trigger", "an instruction")


def _unread(source: bytes, file: str) -> LineReader:
    """Return a reader that only knows the lines, for a file whose directives are wrong."""
    return LineReader(source, file=file, escape="\\")


def _located(reader: LineReader, line: LogicalLine | None, refusal: Refusal) -> SyntaxProblem:
    number, column = line.place(refusal.offset) if line is not None else (1, 1)
    return reader.problem(number, column, refusal.message, refusal.expected)


def _instructions(
    reader: LineReader,
) -> tuple[tuple[Instruction, ...], SyntaxProblem | tuple[SyntaxProblem, ...]]:
    found: list[Instruction] = []
    warnings: list[SyntaxProblem] = []
    in_stage = False
    while True:
        line: LogicalLine | None = None
        try:
            line = reader.read_line()
            if line is None:
                return tuple(found), tuple(warnings)
            notes: list[Refusal] = []
            full, instruction = _instruction(line, reader, notes)
            if not in_stage and not isinstance(instruction, From | Arg):
                raise Refusal(0, f"{instruction.keyword} before the first FROM", "FROM, or ARG before it")  # noqa: TRY301
        except PlacedRefusal as refusal:
            return (), reader.problem(refusal.line, refusal.offset + 1, refusal.message, refusal.expected)
        except Refusal as refusal:
            return (), _located(reader, line, refusal)
        in_stage = in_stage or isinstance(instruction, From)
        if full.has_blank_continuation:
            notes.append(Refusal(0, "an empty line inside a continuation; BuildKit reads over it"))
        warnings.extend(_located(reader, full, note) for note in notes)
        found.append(instruction)


@dataclass(frozen=True, slots=True)
class _Request:
    """One instruction taken apart as far as all instructions are alike.

    `rest` is what follows the flags, without blanks around it, and starts at `rest_at` of the logical
    line; `notes` collects warnings.
    """

    keyword: str
    text: str
    span: Span
    flags: tuple[tuple[str, int], ...]
    rest: str
    rest_at: int
    heredocs: tuple[Heredoc, ...]
    escape: str
    notes: list[Refusal]

    def placed(self) -> dict[str, Span | str]:
        return {"span": self.span, "text": self.text}


_HEREDOC_KEYWORDS = frozenset({"RUN", "COPY", "ADD"})


def _instruction(
    line: LogicalLine, reader: LineReader, notes: list[Refusal]
) -> tuple[LogicalLine, Instruction]:
    keyword, flags, rest, rest_at = _split(line.text)
    build = _BUILDERS.get(keyword)
    if build is None:
        raise _unknown_instruction(line.text, keyword)
    heredocs: tuple[Heredoc, ...] = ()
    if "<<" in line.text and _may_open_heredocs(keyword, rest):
        line, heredocs = reader.read_heredocs(line)
    shown, space, arguments = line.text.strip(SPACES).partition(" ")
    request = _Request(
        keyword=keyword,
        text=shown.upper() + space + arguments,
        span=line.span,
        flags=flags,
        rest=rest,
        rest_at=rest_at,
        heredocs=heredocs,
        escape=reader.directives.escape,
        notes=notes,
    )
    return line, build(request)


def _may_open_heredocs(keyword: str, rest: str) -> bool:
    if keyword == "ONBUILD" and rest:
        keyword, _, rest, _ = _split(rest)
    return keyword in _HEREDOC_KEYWORDS and _json_words(rest, 0) is None


def _split(text: str) -> tuple[str, tuple[tuple[str, int], ...], str, int]:
    """Return keyword, flags with their offsets, the rest of the line and its offset."""
    start = len(text) - len(text.lstrip(SPACES))
    text = text.rstrip(SPACES)
    blank = BLANKS.search(text, start)
    if blank is None:
        return text[start:].upper(), (), "", len(text)
    keyword = text[start : blank.start()].upper()
    if not text.startswith("-", blank.end()):
        rest_at = blank.end()
        flags: tuple[tuple[str, int], ...] = ()
    else:
        flags, rest_at = _leading_flags(text, blank.end())
    rest = text[rest_at:].lstrip(SPACES)
    return keyword, flags, rest, len(text) - len(rest)


def _leading_flags(text: str, at: int) -> tuple[tuple[tuple[str, int], ...], int]:
    """Read words that start with `--` until one does not, or until a lone `--`, which is dropped.

    Quotation marks group and vanish, and a backslash keeps the next character, whatever the file's escape
    token is.
    """
    flags: list[tuple[str, int]] = []
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), at
        start = at
        word: list[str] = []
        quote = ""
        while at < len(text) and (quote or text[at] not in SPACES):
            char = text[at]
            at += 1
            if char == quote:
                quote = ""
            elif not quote and char in {"'", '"'}:
                quote = char
            elif char == "\\":
                word.append(text[at : at + 1])
                at += 1
            else:
                word.append(char)
        flag = "".join(word)
        if flag == "--":
            return tuple(flags), min(at, len(text))
        flags.append((flag, start))


def _unknown_instruction(text: str, keyword: str) -> Refusal:
    start = len(text) - len(text.lstrip(SPACES))
    written = text[start : start + len(keyword)]
    if is_conflict_marker(text.strip(SPACES)):
        return Refusal(start, *CONFLICT_MESSAGE)
    if written.startswith(_TEMPLATE_MARKS):
        return _template(start)
    if not written:
        return Refusal(0, "an instruction without a name", "an instruction")
    near = nearest(keyword, _BUILDERS)
    return Refusal(
        start,
        f"unknown instruction {written!r}" + (f"; did you mean {near}?" if near else ""),
        near or "an instruction such as FROM, RUN or COPY",
    )


_TEMPLATE_MARKS = ("{{", "{%", "{#", "<%")


def _template(offset: int) -> Refusal:
    return Refusal(offset, "this is a template, not a Dockerfile", "the Dockerfile that the template makes")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word with the fewest differences, if it is close enough to be meant."""
    ranked = sorted((_distance(word, candidate), candidate) for candidate in known)
    distance, candidate = ranked[0]
    return candidate if distance <= max(1, len(candidate) // 3) and distance < len(candidate) else None


def _distance(left: str, right: str) -> int:
    """Count insertions, deletions, replacements and swaps of neighbours between two short words."""
    if abs(len(left) - len(right)) > len(right):
        return len(left) + len(right)
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        above, row = row, [i]
        for j, b in enumerate(right, start=1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]


_TEXT = "text"
_TRUTH = "truth"
_LIST = "list"

_FLAGS: Mapping[str, Mapping[str, str]] = {
    "FROM": {"platform": _TEXT},
    "RUN": {"mount": _LIST, "network": _TEXT, "security": _TEXT, "device": _LIST},
    "COPY": {
        "chmod": _TEXT,
        "chown": _TEXT,
        "exclude": _LIST,
        "from": _TEXT,
        "link": _TRUTH,
        "parents": _TRUTH,
    },
    "ADD": {
        "checksum": _TEXT,
        "chmod": _TEXT,
        "chown": _TEXT,
        "exclude": _LIST,
        "keep-git-dir": _TRUTH,
        "link": _TRUTH,
        "unpack": _TRUTH,
    },
    "HEALTHCHECK": {
        "interval": _TEXT,
        "retries": _TEXT,
        "start-interval": _TEXT,
        "start-period": _TEXT,
        "timeout": _TEXT,
    },
}
"""The flags that each instruction knows, in the newest frontend; older ones refuse a few of them."""


class _Flags:
    """The checked flags of one instruction: values by name, with the place of each."""

    def __init__(self, request: _Request) -> None:
        known = _FLAGS.get(request.keyword, {})
        self._values: dict[str, list[tuple[str, int]]] = {}
        for written, offset in request.flags:
            name, equals, value = written[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise _unknown_flag(request.keyword, name, offset, known)
            if name in self._values and kind != _LIST:
                raise Refusal(offset, f"--{name} is given twice", f"one --{name}")
            if kind == _TRUTH:
                value = _truth(name, equals, value, offset)
            elif not equals:
                raise Refusal(offset, f"--{name} has no value", f"--{name}=VALUE")
            self._values.setdefault(name, []).append((value, offset))

    def text(self, name: str) -> str | None:
        """Return the value of a flag; an empty value is as good as none, as in BuildKit."""
        return self._values[name][0][0] or None if name in self._values else None

    def truth(self, name: str) -> bool | None:
        return self._values[name][0][0] == "true" if name in self._values else None

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(value for value, _ in self._values.get(name, ()))

    def placed(self, name: str) -> tuple[tuple[str, int], ...]:
        return tuple(self._values.get(name, ()))

    def offset(self, name: str) -> int:
        return self._values[name][0][1]


def _unknown_flag(keyword: str, name: str, offset: int, known: Mapping[str, str]) -> Refusal:
    near = nearest(name, known) if known else None
    message = f"unknown flag --{name}" + (f"; did you mean --{near}?" if near else "")
    if not known:
        return Refusal(offset, message, f"no flag: {keyword} has none")
    return Refusal(offset, message, "one of " + ", ".join(f"--{flag}" for flag in known))


def _truth(name: str, equals: str, value: str, offset: int) -> str:
    if not equals:
        return "true"
    if value.lower() not in {"true", "false"}:
        what = f"is {value!r}" if value else "has no value"
        raise Refusal(offset, f"--{name} {what}", f"--{name}, --{name}=true or --{name}=false")
    return value.lower()


_JSON_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_JSON_STRINGS = re.compile(
    rf"\[[ \t\r\n]*(?:{_JSON_STRING}[ \t\r\n]*(?:,[ \t\r\n]*{_JSON_STRING}[ \t\r\n]*)*)?\]"
)
_JSON_ITEM = re.compile(_JSON_STRING)
_JSON_OTHER = re.compile(r'\[[ \t\r\n]*["\[{0-9tfn-]')
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_JSON_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _json_words(rest: str, offset: int) -> tuple[str, ...] | None:
    """Return the strings of a JSON array, or None where the text is no JSON array: the shell form.

    A valid array with something else than strings in it is refused; an array with a mistake (single
    quotes, a comma too many) is no JSON and silently becomes a shell command, as in BuildKit.
    """
    if not rest.startswith("["):
        return None
    if _JSON_STRINGS.fullmatch(rest):
        return tuple(_json_text(item) for item in _JSON_ITEM.findall(rest))
    if _JSON_OTHER.match(rest) and _is_json(rest):
        raise Refusal(offset, "an array with something else than strings", "strings in double quotes")
    return None


def _json_text(item: str) -> str:
    text = item[1:-1]
    if "\\" in text:
        text = _JSON_ESCAPE.sub(
            lambda match: chr(int(match[1], 16)) if match[1] else _JSON_LETTERS.get(match[2], match[2]), text
        )
    if text.isascii():
        return text
    # Halves of a surrogate pair become one character; what stands alone is no character, as in Go.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_json(text: str) -> bool:
    import json  # a decoder is needed for odd cases alone

    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _words(request: _Request) -> tuple[tuple[str, int], ...]:
    """Split at blanks that no quotation mark and no escape covers; nothing is resolved yet."""
    rest, escape = request.rest, request.escape
    words: list[tuple[str, int]] = []
    at = 0
    while at < len(rest):
        if rest[at] in SPACES:
            at += 1
            continue
        start = at
        word: list[str] = []
        quote = ""
        while at < len(rest) and (quote or rest[at] not in SPACES):
            char = rest[at]
            at += 1
            if char == quote:
                quote = ""
            elif not quote and char in {"'", '"'}:
                quote = char
            elif char == escape and quote != "'":
                if at == len(rest):
                    break  # an escape at the very end stands for nothing
                char += rest[at]
                at += 1
            word.append(char)
        if word:
            words.append(("".join(word), request.rest_at + start))
    return tuple(words)


def _command(request: _Request) -> str | tuple[str, ...]:
    words = _json_words(request.rest, request.rest_at)
    return request.rest if words is None else words


def _list(request: _Request) -> tuple[str, ...]:
    """Split like COPY does: a JSON array, else at blanks, which neither quotes nor escapes protect."""
    words = _json_words(request.rest, request.rest_at)
    return _blank_separated(request) if words is None else words


def _blank_separated(request: _Request) -> tuple[str, ...]:
    return tuple(BLANKS.split(request.rest)) if request.rest else ()


def _one_argument(request: _Request, expected: str) -> str:
    if not request.rest:
        raise Refusal(request.rest_at, f"{request.keyword} without an argument", expected)
    _Flags(request)
    return request.rest


_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def _from(request: _Request) -> From:
    words = _blank_separated(request)
    if any(mark in request.rest for mark in _TEMPLATE_MARKS):
        raise _template(request.rest_at)
    alias: str | None = None
    if len(words) == 3 and words[1].lower() == "as":
        alias = words[2].lower()
        if _STAGE_NAME.fullmatch(alias) is None:
            at = request.rest_at + request.rest.rindex(words[2])
            raise Refusal(
                at,
                f"invalid stage name {words[2]!r}",
                "a letter, then letters, digits, '-', '_' or '.'",
            )
    elif len(words) != 1:
        message = "FROM without an image" if not words else f"FROM with {len(words)} arguments"
        raise Refusal(request.rest_at, message, "IMAGE or IMAGE AS NAME")
    flags = _Flags(request)
    return From(
        span=request.span, text=request.text, image=words[0], alias=alias, platform=flags.text("platform")
    )


def _arg(request: _Request) -> Arg:
    # BuildKit never looks at the flags of ARG; whatever stands there is dropped.
    words = _words(request)
    if not words:
        raise Refusal(request.rest_at, "ARG without a name", "NAME or NAME=DEFAULT")
    items: list[tuple[str, str | None]] = []
    for word, offset in words:
        name, equals, default = word.partition("=")
        if equals and not name:
            raise Refusal(offset, "ARG with an empty name", "NAME or NAME=DEFAULT")
        items.append((name, default if equals else None))
    return Arg(span=request.span, text=request.text, items=tuple(items))


def _pairs(request: _Request) -> tuple[tuple[str, str], ...]:
    _Flags(request)
    words = _words(request)
    if not words:
        raise Refusal(request.rest_at, f"{request.keyword} without a name", "NAME=VALUE")
    if "=" not in words[0][0]:
        parts = BLANKS.split(request.rest, maxsplit=1)
        if len(parts) < 2:
            raise Refusal(request.rest_at, f"{request.keyword} {parts[0]} has no value", "NAME=VALUE")
        return ((parts[0], parts[1]),)
    pairs: list[tuple[str, str]] = []
    for word, offset in words:
        name, equals, value = word.partition("=")
        if not equals:
            if any(mark in request.rest for mark in _TEMPLATE_MARKS):
                raise _template(request.rest_at)
            raise Refusal(offset, f"no '=' in {word!r}", "NAME=VALUE; a value with blanks needs quotes")
        if not name:
            raise Refusal(offset, f"{request.keyword} with an empty name", "NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)


def _env(request: _Request) -> Env:
    return Env(span=request.span, text=request.text, pairs=_pairs(request))


def _label(request: _Request) -> Label:
    return Label(span=request.span, text=request.text, pairs=_pairs(request))


_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")


def _run(request: _Request) -> Run:
    flags = _Flags(request)
    return Run(
        span=request.span,
        text=request.text,
        command=_command(request),
        mounts=tuple(_mount(value, offset, request.notes) for value, offset in flags.placed("mount")),
        network=_one_of(flags, "network", _NETWORKS),
        security=_one_of(flags, "security", _SECURITIES),
        devices=flags.list("device"),
        heredocs=request.heredocs,
    )


def _one_of(flags: _Flags, name: str, allowed: tuple[str, ...]) -> str | None:
    value = flags.text(name)
    if value is not None and value not in allowed:
        raise Refusal(flags.offset(name), f"--{name} is {value!r}", "one of " + ", ".join(allowed))
    return value


MOUNT_KEYS = frozenset(
    {
        "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw",
        "required", "size", "id", "sharing", "mode", "uid", "gid", "env",
    }
)  # fmt: skip
"""The keys that some type of mount knows; BuildKit looks at them when it builds the stage."""


def _mount(value: str, offset: int, notes: list[Refusal]) -> Mount:
    options: list[tuple[str, str]] = []
    for field in _comma_separated(value, offset):
        key, equals, text = field.partition("=")
        key = key.lower()
        if key == "from" and equals and re.search(r"\$.", text):
            raise Refusal(
                offset, "the 'from' of a mount cannot hold a variable", "a stage with a FROM that uses it"
            )
        if key not in MOUNT_KEYS:
            near = nearest(key, MOUNT_KEYS)
            hint = f"; did you mean {near}?" if near else ""
            notes.append(Refusal(offset, f"--mount has no option {key!r}{hint}", near))
        options.append((key, text))
    return Mount(tuple(options), value)


def _comma_separated(value: str, offset: int) -> list[str]:
    """Split the value of --mount as one record of CSV: a field in double quotes may hold commas."""
    if not value.strip("\r\n"):
        raise Refusal(offset, "--mount without options", "--mount=type=TYPE,target=PATH")
    fields: list[str] = []
    at = 0
    while True:
        if value.startswith('"', at):
            field, at = _quoted_field(value, at, offset)
        else:
            end = value.find(",", at)
            end = len(value) if end < 0 else end
            field, at = value[at:end], end
            if '"' in field:
                raise Refusal(offset, 'a stray " in the options of --mount', "quotes around a whole option")
        fields.append(field)
        if at >= len(value):
            return fields
        at += 1


def _quoted_field(value: str, at: int, offset: int) -> tuple[str, int]:
    """Read `"..."` with `""` for a quotation mark; the offset returned is that of the comma or the end."""
    field: list[str] = []
    at += 1
    while True:
        end = value.find('"', at)
        if end < 0:
            raise Refusal(offset, 'an option of --mount without its closing "', "a closing quotation mark")
        field.append(value[at:end])
        if value.startswith('""', end):
            field.append('"')
            at = end + 2
        elif end + 1 == len(value) or value[end + 1] == ",":
            return "".join(field), end + 1
        else:
            raise Refusal(offset, 'a stray " in the options of --mount', "a comma behind the closing quote")


@dataclass(frozen=True, slots=True)
class _Files:
    """The operands of COPY and ADD."""

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...]
    source_order: tuple[str | int, ...]


def _files(request: _Request) -> _Files:
    words = _list(request)
    if len(words) < 2:
        message = f"{request.keyword} without a {'destination' if words else 'source'}"
        raise Refusal(request.rest_at, message, "SOURCE... DESTINATION")
    *sources, destination = words
    if heredoc_opening(destination) is not None:
        at = request.rest_at + max(request.rest.rfind(destination), 0)
        raise Refusal(at, f"a heredoc as the destination of {request.keyword}", "a path as the last argument")
    bodies = {heredoc.name: heredoc for heredoc in request.heredocs}
    heredocs: list[Heredoc] = []
    order: list[str | int] = []
    for source in sources:
        opening = heredoc_opening(source)
        if opening is None:
            order.append(source)
            continue
        order.append(len(heredocs))
        captured = bodies.get(opening.name)
        raw_body = captured.raw_body if captured else ""  # in a JSON array `<<x` is an empty file
        heredocs.append(
            Heredoc(
                name=opening.name,
                body=without_leading_tabs(raw_body) if opening.strips_tabs else raw_body,
                expands=opening.expands,
                strips_tabs=opening.strips_tabs,
                file_descriptor=opening.file_descriptor,
                raw_body=raw_body,
            )
        )
    plain = tuple(source for source in order if isinstance(source, str))
    return _Files(plain, destination, tuple(heredocs), tuple(order))


def _copy(request: _Request) -> Copy:
    files = _files(request)
    flags = _Flags(request)
    return Copy(
        span=request.span,
        text=request.text,
        sources=files.sources,
        destination=files.destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        excludes=flags.list("exclude"),
        heredocs=files.heredocs,
        source_order=files.source_order,
        from_=flags.text("from"),
        parents=flags.truth("parents") or False,
    )


def _add(request: _Request) -> Add:
    files = _files(request)
    flags = _Flags(request)
    return Add(
        span=request.span,
        text=request.text,
        sources=files.sources,
        destination=files.destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        excludes=flags.list("exclude"),
        heredocs=files.heredocs,
        source_order=files.source_order,
        checksum=flags.text("checksum"),
        keep_git_dir=flags.truth("keep-git-dir") or False,
        unpack=flags.truth("unpack"),
    )


def _workdir(request: _Request) -> Workdir:
    return Workdir(span=request.span, text=request.text, path=_one_argument(request, "a path"))


def _user(request: _Request) -> User:
    return User(span=request.span, text=request.text, user=_one_argument(request, "a user"))


def _maintainer(request: _Request) -> Maintainer:
    return Maintainer(span=request.span, text=request.text, name=_one_argument(request, "a name"))


def _stop_signal(request: _Request) -> StopSignal:
    # As with ARG, BuildKit drops flags here without looking at them.
    if not request.rest:
        raise Refusal(request.rest_at, "STOPSIGNAL without an argument", "a signal")
    return StopSignal(span=request.span, text=request.text, signal=request.rest)


def _shell(request: _Request) -> Shell:
    _Flags(request)
    words = _json_words(request.rest, request.rest_at)
    if not words:
        raise Refusal(
            request.rest_at,
            "SHELL without its words" if words is not None or not request.rest else "SHELL is no JSON array",
            '["executable", "parameter"]',
        )
    return Shell(span=request.span, text=request.text, words=words)


def _cmd(request: _Request) -> Cmd:
    _Flags(request)
    return Cmd(span=request.span, text=request.text, command=_command(request))


def _entrypoint(request: _Request) -> Entrypoint:
    _Flags(request)
    return Entrypoint(span=request.span, text=request.text, command=_command(request))


def _expose(request: _Request) -> Expose:
    if not request.rest:
        raise Refusal(request.rest_at, "EXPOSE without a port", "PORT or PORT/PROTOCOL")
    _Flags(request)
    return Expose(span=request.span, text=request.text, ports=_blank_separated(request))


def _volume(request: _Request) -> Volume:
    paths = tuple(path.strip(SPACES) for path in _list(request))
    if not paths:
        raise Refusal(request.rest_at, "VOLUME without a path", "a path")
    _Flags(request)
    if "" in paths:
        raise Refusal(request.rest_at, "VOLUME with an empty path", "a path")
    return Volume(span=request.span, text=request.text, paths=paths)


def _healthcheck(request: _Request) -> Healthcheck:
    parts = re.split(f"[{SPACES}]+", request.rest, maxsplit=1)
    kind = parts[0].upper()
    rest = parts[1] if len(parts) > 1 else ""
    at = request.rest_at + len(request.rest) - len(rest)
    if kind == "NONE":
        # BuildKit does not look at flags before NONE.
        if rest:
            raise Refusal(at, "HEALTHCHECK NONE with an argument", "nothing behind NONE")
        return Healthcheck(span=request.span, text=request.text, command=None)
    flags = _Flags(request)
    if kind != "CMD":
        message = f"HEALTHCHECK with {parts[0]!r}" if kind else "HEALTHCHECK without a command"
        raise Refusal(request.rest_at, message, "CMD or NONE")
    words = _json_words(rest, at)
    command: str | tuple[str, ...] = rest if words is None else words
    if not command:
        raise Refusal(at, "HEALTHCHECK CMD without a command", "a command")
    return Healthcheck(
        span=request.span,
        text=request.text,
        command=command,
        interval=_seconds(flags, "interval"),
        timeout=_seconds(flags, "timeout"),
        start_period=_seconds(flags, "start-period"),
        start_interval=_seconds(flags, "start-interval"),
        retries=_retries(flags),
    )


_DURATION_UNITS = {
    "ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_DURATION_PART = re.compile(
    r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\N{MICRO SIGN}s|\N{GREEK SMALL LETTER MU}s|ms|s|m|h)"
)


def _seconds(flags: _Flags, name: str) -> float | None:
    """Return a duration such as `1m30s` in seconds; nothing and zero leave the default."""
    value = flags.text(name)
    if value is None:
        return None
    number = value.removeprefix("+")
    if number in {"0", "-0"}:
        return None
    seconds = 0.0
    at = 0
    while (part := _DURATION_PART.match(number, at)) is not None:
        seconds += float(part[1]) * _DURATION_UNITS[part[2]]
        at = part.end()
    if at == 0 or at < len(number):
        raise Refusal(flags.offset(name), f"--{name} is {value!r}", "a duration such as 30s or 1m30s")
    if 0 < seconds < 1e-3:
        raise Refusal(flags.offset(name), f"--{name} is {value!r}", "at least 1ms")
    return seconds or None


def _retries(flags: _Flags) -> int | None:
    value = flags.text("retries")
    if value is None:
        return None
    if re.fullmatch(r"\+?[0-9]{1,10}", value) is None or int(value) >= 2**31:
        raise Refusal(flags.offset("retries"), f"--retries is {value!r}", "a number that is not negative")
    return int(value) or None


def _onbuild(request: _Request) -> Onbuild:
    if not request.rest:
        raise Refusal(request.rest_at, "ONBUILD without an instruction", "an instruction")
    _Flags(request)
    stored = request.rest + "".join(f"\n{heredoc.raw_body}{heredoc.name}" for heredoc in request.heredocs)
    keyword = _split(request.rest)[0]
    _require_trigger(keyword, request.rest_at)
    reader = LineReader(stored.encode("utf-8", "surrogateescape"), file="", escape="\\")
    try:
        line = reader.read_line()
        if line is None:
            raise Refusal(0, f"unknown instruction {request.rest!r}", "an instruction")  # noqa: TRY301
        instruction = replace(_instruction(line, reader, request.notes)[1], span=request.span)
    except Refusal as refusal:
        raise Refusal(request.rest_at + refusal.offset, refusal.message, refusal.expected) from None
    return Onbuild(span=request.span, text=request.text, instruction=instruction, source_text=stored)


def _require_trigger(keyword: str, offset: int) -> None:
    if keyword in {"FROM", "MAINTAINER", "ONBUILD"}:
        raise Refusal(offset, f"{keyword} as a trigger of ONBUILD", "another instruction")


_BUILDERS: Mapping[str, Callable[[_Request], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
