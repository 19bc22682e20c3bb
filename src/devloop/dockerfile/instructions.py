"""The instructions of a Dockerfile as values, and `parse`, which finds them.

Follows the Dockerfile reference and, where that is silent, `frontend/dockerfile/parser/line_parsers.go`
and `frontend/dockerfile/instructions/parse.go`. Everything is kept as written: variables are expanded by
whoever knows the scope. What BuildKit refuses while it reads the file is refused here with a place; what
it refuses only when it builds the stage (a `--from` with a variable, an unknown key of a mount) is left to
the stage graph, because a stage that nobody needs may hold it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar, TypeAlias

from devloop.dockerfile.arguments import (
    TEMPLATE_MARKS,
    Flags,
    Request,
    blank_separated,
    comma_separated,
    command_of,
    json_words,
    nearest,
    one_argument,
    one_of,
    quoted_words,
    retries,
    seconds,
    split_line,
    template,
    word_list,
)
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


class _Value:
    """Equality, hash and text by fields, written once.

    Letting `dataclass` write them into each of the classes below would double the time of importing this
    module, which every start of the program pays.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self._contents() == other._contents())

    def __hash__(self) -> int:
        return hash((type(self), self._contents()))

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _contents(self) -> tuple[object, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class _Placed(_Value):
    """What every instruction has: its lines, and its text as the engine shows it before expansion.

    The text is the joined line without heredoc bodies, with everything up to the first space in upper
    case: behind a keyword that is followed by a tab the engine shouts the first argument too.
    """

    keyword: ClassVar[str]
    span: Span
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class From(_Placed):
    """The beginning of a stage; `alias` is lower-case, as every comparison with it is."""

    keyword: ClassVar[str] = "FROM"
    image: str
    alias: str | None
    platform: str | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Arg(_Placed):
    """Names with their defaults; None is "no default", which differs from an empty one."""

    keyword: ClassVar[str] = "ARG"
    items: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Env(_Placed):
    """Pairs of raw words; `ENV name rest of line` is one pair."""

    keyword: ClassVar[str] = "ENV"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Label(_Placed):
    """Pairs of raw words, read like those of ENV."""

    keyword: ClassVar[str] = "LABEL"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Mount(_Value):
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Copy(_Transfer):
    """Files from the build context, a stage or an image; `from_` is as written."""

    keyword: ClassVar[str] = "COPY"
    from_: str | None = None
    parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Add(_Transfer):
    """Like COPY, but URLs, repositories and archives too; `unpack` is None where the default decides."""

    keyword: ClassVar[str] = "ADD"
    checksum: str | None = None
    keep_git_dir: bool = False
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Workdir(_Placed):
    """The rest of the line is one path, blanks included."""

    keyword: ClassVar[str] = "WORKDIR"
    path: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class User(_Placed):
    """The rest of the line is one user."""

    keyword: ClassVar[str] = "USER"
    user: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Shell(_Placed):
    """The words that the shell form is appended to."""

    keyword: ClassVar[str] = "SHELL"
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Cmd(_Placed):
    """The default command, shell form as text or exec form as words."""

    keyword: ClassVar[str] = "CMD"
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Entrypoint(_Placed):
    """What the container runs, shell form as text or exec form as words."""

    keyword: ClassVar[str] = "ENTRYPOINT"
    command: str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Expose(_Placed):
    """Ports as written; a variable may hold several, so expand them with `expand_words`."""

    keyword: ClassVar[str] = "EXPOSE"
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Volume(_Placed):
    """Paths of volumes."""

    keyword: ClassVar[str] = "VOLUME"
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class StopSignal(_Placed):
    """The signal that `docker stop` sends first."""

    keyword: ClassVar[str] = "STOPSIGNAL"
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Maintainer(_Placed):
    """The author, in the deprecated form."""

    keyword: ClassVar[str] = "MAINTAINER"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
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


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ShellLine(_Value):
    """Text that the shell gets as it stands: no heredoc is involved."""

    text: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ExecWords(_Value):
    """The exec form: no shell."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HeredocBody(_Value):
    """`RUN <<EOF`: the body is the text that the shell gets; the heredoc's name leaves no trace."""

    text: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HeredocFile(_Value):
    """`RUN <<EOF` whose body starts with `#!`: a file of that name is mounted and its path is run."""

    name: str
    body: str

    @property
    def path(self) -> str:
        """Where the file appears; this is the text that the shell gets."""
        return f"/dev/pipes/{self.name}"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LineWithHeredocs(_Value):
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


_FOREIGN_FLAG = ("BuildKit misreads all but ASCII characters in a flag", "another way to write it")

_HEREDOC_KEYWORDS = frozenset({"RUN", "COPY", "ADD"})


def _instruction(
    line: LogicalLine, reader: LineReader, notes: list[Refusal]
) -> tuple[LogicalLine, Instruction]:
    escape = reader.directives.escape
    keyword, flags, rest, rest_at = split_line(line.text, escape)
    build = _BUILDERS.get(keyword)
    if build is None:
        raise _unknown_instruction(line.text, keyword)
    heredocs: tuple[Heredoc, ...] = ()
    if "<<" in line.text and _may_open_heredocs(keyword, rest, escape):
        line, heredocs = reader.read_heredocs(line)
    notes.extend(Refusal(offset, *_FOREIGN_FLAG) for flag, offset in flags if not flag.isascii())
    shown, space, arguments = line.text.strip(SPACES).partition(" ")
    request = Request(
        keyword=keyword,
        line=line.text,
        text=shown.upper() + space + arguments,
        span=line.span,
        flags=flags,
        rest=rest,
        rest_at=rest_at,
        heredocs=heredocs,
        escape=escape,
        notes=notes,
    )
    return line, build(request)


def _may_open_heredocs(keyword: str, rest: str, escape: str) -> bool:
    if keyword == "ONBUILD" and rest:
        keyword, _, rest, _ = split_line(rest, escape)
    return keyword in _HEREDOC_KEYWORDS and json_words(rest, 0) is None


def _unknown_instruction(text: str, keyword: str) -> Refusal:
    start = len(text) - len(text.lstrip(SPACES))
    written = text[start : start + len(keyword)]
    if is_conflict_marker(text.strip(SPACES)):
        return Refusal(start, *CONFLICT_MESSAGE)
    if written.startswith(TEMPLATE_MARKS):
        return template(start)
    if not written:
        return Refusal(0, "an instruction without a name", "an instruction")
    near = nearest(keyword, _BUILDERS)
    return Refusal(
        start,
        f"unknown instruction {written!r}" + (f"; did you mean {near}?" if near else ""),
        near or "an instruction such as FROM, RUN or COPY",
    )


_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def _from(request: Request) -> From:
    words = blank_separated(request)
    if any(mark in request.rest for mark in TEMPLATE_MARKS):
        raise template(request.rest_at)
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
    flags = Flags(request)
    return From(
        span=request.span, text=request.text, image=words[0], alias=alias, platform=flags.text("platform")
    )


def _arg(request: Request) -> Arg:
    # BuildKit never looks at the flags of ARG; whatever stands there is dropped.
    words = quoted_words(request)
    if not words:
        raise Refusal(request.rest_at, "ARG without a name", "NAME or NAME=DEFAULT")
    items: list[tuple[str, str | None]] = []
    for word, offset in words:
        name, equals, default = word.partition("=")
        if equals and not name:
            raise Refusal(offset, "ARG with an empty name", "NAME or NAME=DEFAULT")
        items.append((name, default if equals else None))
    return Arg(span=request.span, text=request.text, items=tuple(items))


def _pairs(request: Request) -> tuple[tuple[str, str], ...]:
    Flags(request)
    words = quoted_words(request)
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
            if any(mark in request.rest for mark in TEMPLATE_MARKS):
                raise template(request.rest_at)
            raise Refusal(offset, f"no '=' in {word!r}", "NAME=VALUE; a value with blanks needs quotes")
        if not name:
            raise Refusal(offset, f"{request.keyword} with an empty name", "NAME=VALUE")
        pairs.append((name, value))
    return tuple(pairs)


def _env(request: Request) -> Env:
    return Env(span=request.span, text=request.text, pairs=_pairs(request))


def _label(request: Request) -> Label:
    return Label(span=request.span, text=request.text, pairs=_pairs(request))


_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")


def _run(request: Request) -> Run:
    flags = Flags(request)
    return Run(
        span=request.span,
        text=request.text,
        command=command_of(request),
        mounts=tuple(_mount(value, offset, request.notes) for value, offset in flags.placed("mount")),
        network=one_of(flags, "network", _NETWORKS),
        security=one_of(flags, "security", _SECURITIES),
        devices=flags.list("device"),
        heredocs=request.heredocs,
    )


MOUNT_KEYS = frozenset(
    {
        "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw",
        "required", "size", "id", "sharing", "mode", "uid", "gid", "env",
    }
)  # fmt: skip
"""The keys that some type of mount knows; BuildKit looks at them when it builds the stage."""


def _mount(value: str, offset: int, notes: list[Refusal]) -> Mount:
    options: list[tuple[str, str]] = []
    for field in comma_separated(value, offset):
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


_Files: TypeAlias = tuple[tuple[str, ...], str, tuple[Heredoc, ...], tuple[str | int, ...]]
"""The operands of COPY and ADD: plain sources, destination, inline files, and the order of all sources."""


def _files(request: Request) -> _Files:
    words = word_list(request)
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
    return plain, destination, tuple(heredocs), tuple(order)


def _copy(request: Request) -> Copy:
    sources, destination, heredocs, source_order = _files(request)
    flags = Flags(request)
    return Copy(
        span=request.span,
        text=request.text,
        sources=sources,
        destination=destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        excludes=flags.list("exclude"),
        heredocs=heredocs,
        source_order=source_order,
        from_=flags.text("from"),
        parents=flags.truth("parents") or False,
    )


def _add(request: Request) -> Add:
    sources, destination, heredocs, source_order = _files(request)
    flags = Flags(request)
    return Add(
        span=request.span,
        text=request.text,
        sources=sources,
        destination=destination,
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.truth("link") or False,
        excludes=flags.list("exclude"),
        heredocs=heredocs,
        source_order=source_order,
        checksum=flags.text("checksum"),
        keep_git_dir=flags.truth("keep-git-dir") or False,
        unpack=flags.truth("unpack"),
    )


def _workdir(request: Request) -> Workdir:
    return Workdir(span=request.span, text=request.text, path=one_argument(request, "a path"))


def _user(request: Request) -> User:
    return User(span=request.span, text=request.text, user=one_argument(request, "a user"))


def _maintainer(request: Request) -> Maintainer:
    return Maintainer(span=request.span, text=request.text, name=one_argument(request, "a name"))


def _stop_signal(request: Request) -> StopSignal:
    # As with ARG, BuildKit drops flags here without looking at them.
    if not request.rest:
        raise Refusal(request.rest_at, "STOPSIGNAL without an argument", "a signal")
    return StopSignal(span=request.span, text=request.text, signal=request.rest)


def _shell(request: Request) -> Shell:
    Flags(request)
    words = json_words(request.rest, request.rest_at)
    if not words:
        raise Refusal(
            request.rest_at,
            "SHELL without its words" if words is not None or not request.rest else "SHELL is no JSON array",
            '["executable", "parameter"]',
        )
    return Shell(span=request.span, text=request.text, words=words)


def _cmd(request: Request) -> Cmd:
    Flags(request)
    return Cmd(span=request.span, text=request.text, command=command_of(request))


def _entrypoint(request: Request) -> Entrypoint:
    Flags(request)
    return Entrypoint(span=request.span, text=request.text, command=command_of(request))


def _expose(request: Request) -> Expose:
    if not request.rest:
        raise Refusal(request.rest_at, "EXPOSE without a port", "PORT or PORT/PROTOCOL")
    Flags(request)
    return Expose(span=request.span, text=request.text, ports=blank_separated(request))


def _volume(request: Request) -> Volume:
    paths = tuple(path.strip(SPACES) for path in word_list(request))
    if not paths:
        raise Refusal(request.rest_at, "VOLUME without a path", "a path")
    Flags(request)
    if "" in paths:
        raise Refusal(request.rest_at, "VOLUME with an empty path", "a path")
    return Volume(span=request.span, text=request.text, paths=paths)


def _healthcheck(request: Request) -> Healthcheck:
    parts = re.split(f"[{SPACES}]+", request.rest, maxsplit=1)
    kind = parts[0].upper()
    rest = parts[1] if len(parts) > 1 else ""
    at = request.rest_at + len(request.rest) - len(rest)
    if kind == "NONE":
        # BuildKit does not look at flags before NONE.
        if rest:
            raise Refusal(at, "HEALTHCHECK NONE with an argument", "nothing behind NONE")
        return Healthcheck(span=request.span, text=request.text, command=None)
    flags = Flags(request)
    if kind != "CMD":
        message = f"HEALTHCHECK with {parts[0]!r}" if kind else "HEALTHCHECK without a command"
        raise Refusal(request.rest_at, message, "CMD or NONE")
    words = json_words(rest, at)
    command: str | tuple[str, ...] = rest if words is None else words
    if not command:
        raise Refusal(at, "HEALTHCHECK CMD without a command", "a command")
    return Healthcheck(
        span=request.span,
        text=request.text,
        command=command,
        interval=seconds(flags, "interval"),
        timeout=seconds(flags, "timeout"),
        start_period=seconds(flags, "start-period"),
        start_interval=seconds(flags, "start-interval"),
        retries=retries(flags),
    )


def _onbuild(request: Request) -> Onbuild:
    if not request.rest:
        raise Refusal(request.rest_at, "ONBUILD without an instruction", "an instruction")
    Flags(request)
    _require_trigger(split_line(request.rest, request.escape)[0], request.rest_at)
    # Blanks at the end of the line are part of what the image stores.
    stored = request.line[request.rest_at :]
    stored += "".join(f"\n{heredoc.raw_body}{heredoc.name}" for heredoc in request.heredocs)
    notes: list[Refusal] = []
    reader = LineReader(stored.encode("utf-8", "surrogateescape"), file="", escape="\\")
    try:
        line = reader.read_line()
        if line is None:
            raise Refusal(0, f"unknown instruction {request.rest!r}", "an instruction")  # noqa: TRY301
        instruction = replace(_instruction(line, reader, notes)[1], span=request.span)
    except (Refusal, PlacedRefusal) as refusal:
        raise _moved(refusal, request.rest_at) from None
    request.notes.extend(_moved(note, request.rest_at) for note in notes)
    return Onbuild(span=request.span, text=request.text, instruction=instruction, source_text=stored)


def _moved(refusal: Refusal | PlacedRefusal, offset: int) -> Refusal:
    return Refusal(offset + refusal.offset, refusal.message, refusal.expected)


def _require_trigger(keyword: str, offset: int) -> None:
    if keyword in {"FROM", "MAINTAINER", "ONBUILD"}:
        raise Refusal(offset, f"{keyword} as a trigger of ONBUILD", "another instruction")


_BUILDERS: Mapping[str, Callable[[Request], Instruction]] = {
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
