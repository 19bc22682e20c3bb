"""Reads the command text of a RUN step: which programs it starts, and with which words.

This is no shell. It splits the text where a shell would (operators and newlines outside quotes), looks into
subshells, control flow, substitutions, heredocs and `sh -c` texts, and takes off what only wraps a command
(`sudo`, `env`, `timeout 9`, `uv run`, ...). Nothing is expanded: `$X` stays `$X`. Branches are all read, as
if each were taken, because the question is what a step may cost. Text that no shell would accept still gives
the commands that can be seen in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command without its wrappers. `words` is empty where only variables are assigned."""

    words: tuple[str, ...]
    assignments: tuple[str, ...] = ()
    directory: str | None = None
    body: str | None = None  # the text of a heredoc that feeds it
    is_piped_into: bool = False
    is_conditional: bool = False  # in a branch of `if` or `case`, or the other side of `||`

    @property
    def program(self) -> str:
        """The plain name of the program: no folder, no version, no wrapper suffix or cross prefix."""
        return program_name(self.words[0]) if self.words else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]


def commands_of(text: str) -> tuple[Command, ...]:
    """List the commands of a shell text in reading order; a lone heredoc is a script of its own."""
    return tuple(_resolved(_simple_commands(text), depth=0))


def commands_of_words(words: Sequence[str]) -> tuple[Command, ...]:
    """List the commands of an exec form: one program, unless it is a shell that is given a text."""
    return tuple(_resolved(iter((Command(tuple(words)),)), depth=0))


def positionals(command: Command) -> tuple[str, ...]:
    """List the words that are neither flags nor the values of flags known to take one; subcommand first."""
    found: list[str] = []
    taking = _VALUE_FLAGS.get(command.program, frozenset())
    skip = False
    for word in command.arguments:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            skip = word in taking
        elif word.startswith("+") and command.program in {"cargo", "rustc"}:
            continue  # a toolchain
        elif command.program in {"make", "gmake", "ninja"} and (
            word.isdigit() or "=" in word or word.startswith("$")
        ):
            continue  # `-j 4`, `-j $(nproc)` and variables
        else:
            found.append(word)
    return tuple(found)


def program_name(word: str) -> str:
    """Reduce a word to the program's plain name: `/opt/venv/bin/pip3.12` is pip, `xx-cargo` is cargo."""
    name = word.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]
    for suffix in (".exe", ".cmd", ".bat", ".phar"):
        name = name.removesuffix(suffix)
    versioned = _VERSIONED.fullmatch(name)
    if versioned:
        name = versioned[1]
    return name.removeprefix("xx-") if name in _CROSS_HELPERS else name


_VERSIONED = re.compile(
    r"(pip|python|pypy|gcc|g\+\+|clang|clang\+\+|php|ruby|gem|bundle|node|dnf|luarocks)-?\d[\d.]*"
)
_CROSS_HELPERS = frozenset({"xx-cargo", "xx-go", "xx-apk", "xx-apt", "xx-apt-get", "xx-clang"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_OPERATORS = ("&&", "||", ";;&", ";;", ";&", "|&", ";", "|", "&", "(", ")", "\n")
_REDIRECTION = re.compile(r"&>>|&>|<<<|<<-|<<|>>|>\||<>|<&|>&|>|<")
_SKIPPED_KEYWORDS = frozenset(
    {"if", "then", "elif", "else", "fi", "while", "until", "do", "done", "{", "}", "!", "esac"}
)

# Commands that only prepare the shell.
_NOISE = frozenset(
    {"set", "cd", "pushd", "popd", "export", "umask", "true", ":", ".", "source", "shopt", "unset", "local"}
    | {"readonly", "declare", "typeset", "return", "trap", "ulimit", "hash", "shift", "break", "continue"}
    | {"alias", "wait"}
)

# Flags that take the next word, where that matters for finding the subcommand.
_VALUE_FLAGS: dict[str, frozenset[str]] = {
    program: frozenset(flags.split())
    for programs, flags in (
        ("npm", "--prefix -C --workspace -w --cache --registry --userconfig --loglevel --omit --include"),
        ("yarn", "--cwd --cache-folder --network-timeout --modules-folder --mutex --registry"),
        ("pnpm", "-C --dir --filter -F --store-dir --reporter --registry --loglevel"),
        ("bun", "--cwd"),
        ("pip", "--proxy --cache-dir --timeout --retries --trusted-host --log --exists-action --python"),
        ("uv", "--directory --project --cache-dir --config-file --color"),
        ("poetry", "-C --directory -P --project"),
        ("apt-get apt aptitude", "-o -c -t --option --target-release"),
        ("apk", "-p --root --repository -X --arch --keys-dir --cache-dir"),
        ("dnf yum microdnf tdnf", "-c --releasever --installroot --enablerepo --disablerepo --setopt"),
        ("zypper", "--root -R"),
        ("git", "-C -c --git-dir --work-tree"),
        ("go", "-C"),
        ("cargo", "--config -Z -C --color --manifest-path"),
        ("mvn mvnw", "-f --file -s --settings -gs -pl --projects -P -T --threads -l -rf -b"),
        ("gradle gradlew", "-p --project-dir -b -c -I -g -x --exclude-task --console --max-workers"),
        ("composer", "-d --working-dir"),
        ("make gmake ninja", "-C -f -I -o -W -k --directory --file"),
        ("swift", "--package-path -c --configuration"),
        ("stack", "--stack-yaml --resolver --work-dir"),
        ("curl", "-o -H -d -u -X -A --output --header --data --retry --max-time --connect-timeout"),
        ("wget", "-O -o -P --header --tries --timeout --directory-prefix --output-document"),
    )
    for program in programs.split()
}

_DIRECTORY_FLAGS: dict[str, frozenset[str]] = {
    program: frozenset(flags.split())
    for programs, flags in (
        ("npm", "--prefix -C"),
        ("yarn bun", "--cwd"),
        ("pnpm", "-C --dir"),
        ("uv", "--directory --project"),
        ("poetry", "-C --directory -P --project"),
        ("git go cargo make gmake ninja", "-C"),
        ("gradle gradlew", "-p --project-dir"),
        ("composer", "-d --working-dir"),
        ("swift", "--package-path"),
    )
    for program in programs.split()
}


@dataclass(frozen=True, slots=True)
class _Wrapper:
    """A program that runs the command behind its own flags and `skipped` leading words."""

    taking: frozenset[str] = frozenset()
    skipped: int = 0


def _wrapper(taking: str = "", skipped: int = 0) -> _Wrapper:
    return _Wrapper(frozenset(taking.split()), skipped)


_WRAPPERS: dict[str, _Wrapper] = {
    "env": _wrapper("-u -C --unset --chdir"),
    "sudo": _wrapper("-u -g -h -p -C -r -t -U -D --user --group"),
    "doas": _wrapper("-u -C"),
    "exec": _wrapper("-a"),
    "time": _wrapper("-f -o"),
    "nice": _wrapper("-n"),
    "ionice": _wrapper("-c -n"),
    "nohup": _wrapper(),
    "command": _wrapper(),
    "builtin": _wrapper(),
    "timeout": _wrapper("-s -k --signal --kill-after", 1),
    "eatmydata": _wrapper(),
    "fakeroot": _wrapper(),
    "faketime": _wrapper("", 1),
    "xvfb-run": _wrapper("-n -s -e -f -p -w"),
    "dbus-run-session": _wrapper(),
    "gosu": _wrapper("", 1),
    "su-exec": _wrapper("", 1),
    "chroot": _wrapper("", 1),
    "setpriv": _wrapper("--reuid --regid --groups"),
    "stdbuf": _wrapper("-i -o -e"),
    "unbuffer": _wrapper(),
    "catchsegv": _wrapper(),
    "linux32": _wrapper(),
    "linux64": _wrapper(),
    "tini": _wrapper("-p -e"),
    "dumb-init": _wrapper("-r"),
    "busybox": _wrapper(),
    "xargs": _wrapper("-n -P -I -L -d -a -s"),
    "npx": _wrapper("-p --package"),
    "bunx": _wrapper("-p --package"),
    "uvx": _wrapper("--from --with -p --python"),
    "retry": _wrapper("-t --times -d --delay"),
}

# Wrappers that are a program with a subcommand.
_WRAPPING_SUBCOMMANDS: dict[tuple[str, str], _Wrapper] = {
    ("conda", "run"): _wrapper("-n -p --name --prefix --cwd"),
    ("mamba", "run"): _wrapper("-n -p --name --prefix --cwd"),
    ("micromamba", "run"): _wrapper("-n -p -r --name --prefix --cwd"),
    ("uv", "run"): _wrapper(
        "--with -p --python --group --extra --package --project --directory --with-requirements --env-file"
    ),
    ("poetry", "run"): _wrapper(),
    ("pdm", "run"): _wrapper("-p"),
    ("pipenv", "run"): _wrapper(),
    ("pipx", "run"): _wrapper("--spec --python"),
    ("hatch", "run"): _wrapper(),
    ("rye", "run"): _wrapper(),
    ("bundle", "exec"): _wrapper(),
    ("npm", "exec"): _wrapper("-p --package"),
    ("npm", "x"): _wrapper("-p --package"),
    ("pnpm", "exec"): _wrapper(),
    ("pnpm", "dlx"): _wrapper("--package"),
    ("yarn", "exec"): _wrapper(),
    ("yarn", "dlx"): _wrapper("-p --package"),
    ("scl", "enable"): _wrapper("", 1),
}

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
_SCRIPTS_THAT_ARE_PROGRAMS = frozenset(
    {"gradlew", "mvnw", "configure", "autogen.sh", "bootstrap.sh", "buildconf"}
)


# --- from commands to what they really run ----------------------------------------------------------------


def _resolved(commands: Iterator[Command], depth: int) -> Iterator[Command]:
    directory: str | None = None
    for command in commands:
        if command.words and command.words[0] in {"cd", "pushd"}:
            targets = [word for word in command.arguments if not word.startswith("-")]
            directory = targets[0] if targets else directory
        for found in _peeled(replace(command, directory=command.directory or directory), depth):
            if not (found.words and found.program in _NOISE):
                yield found


def _peeled(command: Command, depth: int) -> Iterator[Command]:
    """Take wrappers off until none is left; a text given to a shell is read as commands of its own."""
    if depth > 6:
        yield command
        return
    while True:
        assigned = _leading_assignments(command.words)
        if assigned:
            command = replace(
                command,
                words=command.words[assigned:],
                assignments=command.assignments + command.words[:assigned],
            )
        if not command.words:
            yield from _body_commands(command, depth)
            return
        script = _script_text(command)
        if script is not None:
            yield from _resolved(_nested(script, command), depth + 1)
            return
        inner = _unwrapped(command.words)
        if inner is None:
            break
        command = replace(command, words=inner)
    yield from _split_up(_with_directory(command), depth)


def _split_up(command: Command, depth: int) -> Iterator[Command]:
    """Take programs apart that run several things at once: `find -exec X`, `mix do A, B`."""
    if command.program == "find":
        yield command
        for flag in ("-exec", "-execdir", "-ok"):
            if flag in command.words:
                start = command.words.index(flag) + 1
                ends = [n for n, word in enumerate(command.words) if n > start and word in {";", "+"}]
                inner = command.words[start : min(ends, default=None)]
                yield from _peeled(replace(command, words=inner), depth + 1)
                return
    elif command.program == "mix" and command.arguments[:1] == ("do",):
        words: list[str] = []
        for word in (*command.arguments[1:], ","):
            words.append(word.rstrip(","))
            if word in {"+", ","} or word.endswith(","):
                task = tuple(part for part in words if part not in {"+", ""})
                if task:
                    yield replace(command, words=("mix", *task))
                words = []
    else:
        yield command


def _leading_assignments(words: Sequence[str]) -> int:
    count = 0
    while count < len(words) and _ASSIGNMENT.match(words[count]):
        count += 1
    return count


def _body_commands(command: Command, depth: int) -> Iterator[Command]:
    """Read a heredoc without a program as a script: the shell's, or that of its `#!` line."""
    if command.body is None:
        if command.assignments:
            yield command
        return
    first, _, _ = command.body.partition("\n")
    interpreter = first.removeprefix("#!").split() if first.startswith("#!") else []
    if interpreter and program_name(interpreter[0]) == "env":
        interpreter = interpreter[1 + _after_flags(interpreter[1:], frozenset()) :]
    if interpreter and program_name(interpreter[0]) not in _SHELLS:
        yield replace(command, words=tuple(interpreter))
    else:
        yield from _resolved(_nested(command.body, replace(command, body=None)), depth + 1)


def _nested(script: str, outer: Command) -> Iterator[Command]:
    for command in _simple_commands(script):
        yield replace(
            command,
            directory=command.directory or outer.directory,
            is_conditional=command.is_conditional or outer.is_conditional,
        )


def _script_text(command: Command) -> str | None:
    """Return the shell text that this command hands to a shell, if it does."""
    program, arguments = command.program, command.arguments
    if program == "eval":
        return " ".join(arguments)
    if program in _SHELLS:
        for place, word in enumerate(arguments):
            if word.startswith("-") and not word.startswith("--") and "c" in word[1:] and len(word) < 8:
                return _first_script_word(arguments[place + 1 :])
            is_option_name = place > 0 and _takes_option_name(arguments[place - 1])
            if not word.startswith(("-", "+")) and not is_option_name:
                return None
        return command.body
    if program in {"su", "runuser", "scl"} and len(arguments) > 1:
        for flag in ("-c", "--command"):
            if flag in arguments[:-1]:
                return arguments[arguments.index(flag) + 1]
        if program == "scl" and " " in arguments[-1]:
            return arguments[-1]
    return None


def _first_script_word(words: Sequence[str]) -> str | None:
    # `bash -c -e "X"` and `bash -cx -o pipefail "X"`: the text is the first word that is no option.
    skip = False
    for word in words:
        if skip:
            skip = False
        elif _takes_option_name(word):
            skip = True
        elif not word.startswith("-"):
            return word
    return None


def _takes_option_name(word: str) -> bool:
    """`-o pipefail` and `-euxo pipefail`: the next word names a shell option."""
    return word.startswith(("-", "+")) and not word.startswith("--") and word.endswith(("o", "O"))


def _unwrapped(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Take one wrapper off, or return None where the first word is the program itself."""
    program, arguments = program_name(words[0]), words[1:]
    if program in _SHELLS:
        # `sh ./gradlew build`: a known program that lost its executable bit.
        plain = [n for n, word in enumerate(arguments) if not word.startswith("-")]
        if plain and program_name(arguments[plain[0]]) in _SCRIPTS_THAT_ARE_PROGRAMS:
            return arguments[plain[0] :]
        return None
    if program in {"python", "pypy", "py"}:
        return _python_module(arguments)
    if program == "php":
        place = _after_flags(arguments, frozenset({"-d", "-c"}))
        script = arguments[place : place + 1]
        is_program = script and program_name(script[0]) in {"composer", "artisan", "console", "bin"}
        return arguments[place:] if is_program else None
    if program == "command" and arguments[:1] in {("-v",), ("-V",)}:
        return None
    if program == "runuser":
        place = _after_flags(arguments, frozenset({"-u", "-g", "-G"}))
        return arguments[place:] or None
    if program == "corepack" and arguments[:1] in {("npm",), ("yarn",), ("pnpm",)}:
        return arguments
    wrapper = _WRAPPERS.get(program)
    if wrapper is None:
        place = _after_flags(arguments, _VALUE_FLAGS.get(program, frozenset()))
        wrapper = _WRAPPING_SUBCOMMANDS.get((program, arguments[place])) if place < len(arguments) else None
        if wrapper is None:
            return None
        arguments = arguments[place + 1 :]
    place = _after_flags(arguments, wrapper.taking)
    if program in {"env", "sudo", "doas"}:
        # Their assignments go before the command, like the shell's own.
        return arguments[place:] or None
    if program == "retry":
        while place < len(arguments) and arguments[place].isdigit():
            place += 1
    return arguments[place + wrapper.skipped :] or None


def _after_flags(words: Sequence[str], taking: frozenset[str]) -> int:
    place = 0
    while place < len(words) and words[place].startswith("-") and len(words[place]) > 1:
        if words[place] == "--":
            return place + 1
        place += 2 if words[place] in taking else 1
    return place


def _python_module(arguments: tuple[str, ...]) -> tuple[str, ...] | None:
    """`python -u -m pip install x` runs pip; anything else stays a python command."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        if word == "-m":
            return arguments[place + 1 :] or None
        if word in {"-X", "-W"}:
            place += 2
        elif word.startswith("-") and "c" not in word:
            place += 1
        else:
            return None
    return None


def _with_directory(command: Command) -> Command:
    flags = _DIRECTORY_FLAGS.get(command.program, frozenset())
    for place, word in enumerate(command.arguments):
        name, equals, value = word.partition("=")
        if name in flags:
            target = value if equals else "".join(command.arguments[place + 1 : place + 2])
            return replace(command, directory=target or command.directory)
    return command


# --- from text to simple commands -------------------------------------------------------------------------


@dataclass(slots=True)
class _Token:
    kind: Literal["word", "operator", "aside"]  # an aside is a redirection that matters
    value: str
    is_quoted: bool = False
    nested: tuple[str, ...] = ()  # texts of $(...), `...` and <(...)
    body: str | None = None  # of a heredoc


def _simple_commands(text: str) -> Iterator[Command]:
    words: list[str] = []
    nested: list[str] = []
    body: str | None = None
    is_piped_into = False
    is_alternative = False
    in_test = False
    branches = 0  # open `if`s and `case`s
    cases = 0

    def finished() -> Iterator[Command]:
        is_conditional = branches > 0 or is_alternative
        for inner in nested:
            for command in _simple_commands(inner):
                yield replace(command, is_conditional=command.is_conditional or is_conditional)
        if words or body is not None:
            yield Command(tuple(words), body=body, is_piped_into=is_piped_into, is_conditional=is_conditional)

    tokens = _tokens(text)
    for token in tokens:
        nested.extend(token.nested)
        if token.kind == "aside":
            body = body if token.body is None else (body or "") + token.body
            continue
        if token.kind == "word":
            if words or token.is_quoted:
                words.append(token.value)
                in_test = in_test and token.value != "]]"
            elif token.value in _SKIPPED_KEYWORDS:
                branches += {"if": 1, "fi": -1, "esac": -1}.get(token.value, 0)
                cases -= token.value == "esac"
            elif token.value in {"for", "select"}:
                nested.extend(_skip_to(tokens, {";", "\n", "do"}))
            elif token.value == "case":
                nested.extend(_skip_to(tokens, {"in"}))
                is_open = _skip_pattern(tokens)
                cases += is_open
                branches += is_open
            elif token.value == "function":
                next(tokens, None)
            else:
                words.append(token.value)
                in_test = token.value == "[["
            continue
        if in_test:
            continue
        if token.value == "(" and words:
            # `name() { ... }`: the body follows and is read as if it were called.
            words = []
            continue
        yield from finished()
        # A newline after an operator continues it.
        is_continued = token.value == "\n" and not words
        is_piped_into = token.value in {"|", "|&"} or (is_continued and is_piped_into)
        is_alternative = token.value == "||" or (is_continued and is_alternative)
        words, nested, body = [], [], None
        if token.value in {";;", ";&", ";;&"} and cases > 0 and not _skip_pattern(tokens):
            cases -= 1
            branches -= 1
    yield from finished()


def _skip_to(tokens: Iterator[_Token], ends: set[str]) -> list[str]:
    nested: list[str] = []
    for token in tokens:
        nested.extend(token.nested)
        if token.value in ends and not token.is_quoted:
            break
    return nested


def _skip_pattern(tokens: Iterator[_Token]) -> bool:
    """Skip the pattern of a case branch up to its `)`; return False where the case ends instead."""
    for token in tokens:
        if token.kind == "operator" and token.value == ")":
            return True
        if token.kind == "word" and token.value == "esac" and not token.is_quoted:
            return False
    return False


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    waiting: list[tuple[_Token, str, bool]] = []  # heredocs whose bodies begin on the next line
    emitted: list[_Token] = []
    while place < len(text):
        letter = text[place]
        if letter in " \t\r":
            place += 1
        elif text.startswith(("\\\n", "\\\r\n"), place):
            place = text.index("\n", place) + 1
        elif letter == "#":
            place = _end_of_line(text, place)
        elif redirection := _REDIRECTION.match(text, place):
            place = _redirected(text, redirection, emitted, waiting)
        elif operator := next((known for known in _OPERATORS if text.startswith(known, place)), None):
            place += len(operator)
            emitted.append(_Token("operator", operator))
            if operator == "\n":
                for token, delimiter, is_indented in waiting:
                    token.body, place = _heredoc_body(text, place, delimiter, is_indented=is_indented)
                waiting = []
        else:
            token, place = _word(text, place)
            if not (token.value.isdigit() and text[place : place + 1] in {"<", ">"}):
                emitted.append(token)
    return iter(emitted)


def _redirected(
    text: str, match: re.Match[str], emitted: list[_Token], waiting: list[tuple[_Token, str, bool]]
) -> int:
    """Drop a redirection with its target; keep a heredoc's place and the commands of `<(...)`."""
    operator, place = match[0], match.end()
    if operator in {"<", ">"} and text.startswith("(", place):
        end = _closing(text, place)
        emitted.append(_Token("word", f"{operator}(...)", nested=(text[place + 1 : end],)))
        return end + 1
    while text[place : place + 1] in {" ", "\t"}:
        place += 1
    target, place = _word(text, place)
    if operator in {"<<", "<<-"} and target.value:
        token = _Token("aside", "")
        emitted.append(token)
        waiting.append((token, target.value, operator == "<<-"))
    elif target.nested:
        emitted.append(_Token("aside", "", nested=target.nested))
    return place


def _heredoc_body(text: str, place: int, delimiter: str, *, is_indented: bool) -> tuple[str, int]:
    lines: list[str] = []
    while place < len(text):
        end = _end_of_line(text, place)
        line = text[place:end].removesuffix("\r")
        place = end + 1
        if is_indented:
            line = line.lstrip("\t")
        if line == delimiter:
            break
        lines.append(line + "\n")
    return "".join(lines), place


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _word(text: str, place: int) -> tuple[_Token, int]:
    """Read one word: quotes are taken off, substitutions stay in it and are noted beside it."""
    value: list[str] = []
    nested: list[str] = []
    is_quoted = False
    in_double = False
    start = place
    while place < len(text):
        letter = text[place]
        if letter == "\\" and place + 1 < len(text):
            following = text[place + 1]
            if following != "\n":
                is_special = not in_double or following in '$`"\\'
                value.append(following if is_special else letter + following)
                is_quoted = is_quoted or not in_double
            place += 2
        elif letter == "'" and not in_double:
            end = text.find("'", place + 1)
            end = len(text) if end < 0 else end
            value.append(text[place + 1 : end])
            is_quoted, place = True, end + 1
        elif letter == '"':
            in_double, is_quoted, place = not in_double, True, place + 1
        elif text.startswith("$(", place) or letter == "`":
            end = _closing(text, place + 1) if letter == "$" else _closing_backtick(text, place)
            inner = text[place + (2 if letter == "$" else 1) : end]
            if not inner.startswith("("):  # $((1 + 2)) computes and runs nothing
                nested.append(inner)
            value.append(text[place : end + 1])
            place = end + 1
        elif text.startswith("${", place):
            end = text.find("}", place)
            end = len(text) - 1 if end < 0 else end
            value.append(text[place : end + 1])
            place = end + 1
        elif not in_double and letter in " \t\r\n;&|()<>":
            break
        else:
            value.append(letter)
            place += 1
    if place == start:  # nothing that can be a word: do not stand still
        return _Token("word", ""), place + (0 if text[place : place + 1] in {"\n", ""} else 1)
    return _Token("word", "".join(value), is_quoted, tuple(nested)), place


def _closing(text: str, place: int) -> int:
    """Find the `)` that closes the `(` at `place`, outside quotes; the end of the text if there is none."""
    depth = 0
    quote = ""
    while place < len(text):
        letter = text[place]
        if letter == "\\":
            place += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    return len(text)


def _closing_backtick(text: str, place: int) -> int:
    end = text.find("`", place + 1)
    return len(text) if end < 0 else end
