"""The patterns of ignore files and of `--exclude`, and the wildcards of COPY sources.

Two small languages that look alike. A COPY wildcard is Go's `path.Match`: `*` and `?` stay within one
name, and nothing recurses. An ignore pattern adds `**` and exceptions, is matched against a path *and*
its parents, and the last line that matches decides. Upstream: moby/patternmatcher.

Deciding on a whole tree is the fast path. `IgnoreRules.root()` gives the state of the context's root and
`DirectoryRules.enter` that of a child, so that what a parent matched is remembered per pattern and each
path costs a few set lookups. Most patterns are plain names, `*.ext`, `**/name` or `name/**`; these become
entries of a table per directory, and only the rest runs as regular expressions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GO_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's `strings.TrimSpace` removes; `str.strip` would also take the separators U+001C to U+001F."""

LONGEST_LINE: Final = 64 * 1024
"""Go's line scanner gives up on longer lines, and the build fails."""


MOST_STATES: Final = 32_768
MOST_TABLES: Final = 1_024
"""How many directories, and different sets of decisions on names, a file's rules remember."""


@dataclass(frozen=True, slots=True)
class IgnoreProblem:
    """A line on which the build fails."""

    file: str
    line: int
    message: str


# ---------------------------------------------------------------------------------------------------
# Go's path.Match
# ---------------------------------------------------------------------------------------------------


def has_wildcard(text: str) -> bool:
    r"""Tell whether `text` holds an unescaped `*`, `?` or `[`; a backslash hides the character after it."""
    hidden = False
    for character in text:
        if hidden:
            hidden = False
        elif character == "\\":
            hidden = True
        elif character in "*?[":
            return True
    return False


def match_path(pattern: str, path: str) -> bool:
    """Match as the wildcards of a COPY source do: nothing but a class crosses a `/`, and `**` is `*`.

    A malformed pattern matches nothing; `path_pattern_problem` says what is wrong with it.
    """
    compiled = _compile_path_pattern(pattern)
    return compiled is not None and compiled.match(path) is not None


def path_pattern_problem(pattern: str) -> str | None:
    """Say why Go's `path.Match` refuses the pattern, or None when it accepts it."""
    return None if _translate_path_pattern(pattern) is not None else f"syntax error in pattern {pattern!r}"


@lru_cache(maxsize=4096)
def _compile_path_pattern(pattern: str) -> re.Pattern[str] | None:
    translated = _translate_path_pattern(pattern)
    return None if translated is None else re.compile(translated, re.DOTALL)


def _translate_path_pattern(pattern: str) -> str | None:
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            out.append("[^/]*")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            translated = _translate_class(pattern, at)
            if translated is None:
                return None
            text, at = translated
            out.append(text)
        elif character == "\\":
            if at == len(pattern):
                return None
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(character))
    return "".join(out) + r"\Z"


def _translate_class(pattern: str, at: int) -> tuple[str, int] | None:
    """Translate the class that begins before `at`; Go wants at least one range and lets `/` match."""
    negated = pattern.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", at)):
        low = _class_character(pattern, at)
        if low is None:
            return None
        first, at = low
        last = first
        if pattern.startswith("-", at):
            high = _class_character(pattern, at + 1)
            if high is None:
                return None
            last, at = high
        # A range that runs backwards is legal in Go and contains nothing.
        ranges.append(f"{_in_class(first)}-{_in_class(last)}" if first <= last else "")
    body = "".join(ranges)
    if not body:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{body}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int] | None:
    if at >= len(pattern) or pattern[at] in "-]":
        return None
    if pattern[at] == "\\":
        at += 1
    # Something has to follow: at least the bracket that closes the class.
    return None if at + 1 >= len(pattern) else (pattern[at], at + 1)


def _in_class(character: str) -> str:
    return character if character.isalnum() else f"\\U{ord(character):08x}"


# ---------------------------------------------------------------------------------------------------
# Ignore patterns
# ---------------------------------------------------------------------------------------------------

Shape = Literal["exact", "prefix", "suffix", "regex"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line: its cleaned text, whether it is an exception, and the cheapest way to match it.

    `text` is compared according to `shape`: the whole path, its beginning, or its end (where `/name` also
    means a path that *is* `name`).
    """

    line: int
    source: str
    exception: bool
    cleaned: str
    shape: Shape
    text: str
    regex: re.Pattern[str] | None = field(default=None, compare=False)
    split: tuple[re.Pattern[str] | None, re.Pattern[str] | str] | None = field(default=None, compare=False)

    def matches(self, path: str) -> bool:
        """Match the path itself, parents left aside."""
        match self.shape:
            case "exact":
                return path == self.text
            case "prefix":
                return path.startswith(self.text)
            case "suffix":
                return path.endswith(self.text) or (self.text[:1] == "/" and path == self.text[1:])
            case "regex":
                return self.regex is not None and self.regex.match(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Tell whether some path below the directory may match, by the part of the text that is literal."""
        if not directory:
            return True
        below = f"{directory}/"
        match self.shape:
            case "exact":
                return self.text.startswith(below)
            case "prefix":
                return self.text.startswith(below) or below.startswith(self.text)
            case "suffix":
                return True
            case "regex":
                is_deep_enough = directory.count("/") >= self.cleaned.count("/")
                if is_deep_enough and "**" not in self.cleaned:
                    # Without `**` a pattern has as many parts as what it matches.
                    return False
                head = _literal_head(self.cleaned)
                return head.startswith(below) or below.startswith(head)


class IgnoreRules:
    """The patterns of one file, in order; the last that matches a path or one of its parents decides."""

    __slots__ = ("_anywhere", "_hash", "_states", "_tables", "patterns")

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self.patterns = tuple(patterns)
        self._anywhere = [_place(pattern, "") if _is_anywhere(pattern) else None for pattern in self.patterns]
        self._states: dict[str, DirectoryRules] = {}
        self._tables: dict[tuple[object, ...], _Table] = {}
        self._hash = hash(self._meaning())

    def __eq__(self, other: object) -> bool:
        """Two files are equal when they decide alike, wherever their lines stand."""
        if not isinstance(other, IgnoreRules):
            return NotImplemented
        return self is other or self._meaning() == other._meaning()

    def __hash__(self) -> int:
        return self._hash

    def _meaning(self) -> tuple[tuple[str, bool], ...]:
        return tuple((pattern.cleaned, pattern.exception) for pattern in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __repr__(self) -> str:
        return f"IgnoreRules({[p.source for p in self.patterns]!r})"

    def root(self) -> DirectoryRules:
        """Return the state of the context's root, from which a walk enters its directories."""
        return DirectoryRules(self, "", (False,) * len(self.patterns), ignored=False)

    def source(self) -> DirectoryRules:
        """Return the state of a COPY source under filters, which see it as the empty path.

        It differs from `root` where a pattern such as `*` or `**` matches the empty path as well.
        """
        root = self.root()
        matched, decided = root.walk("")
        return DirectoryRules(self, "", matched, ignored=_ignores(decided))

    def directory(self, directory: str) -> DirectoryRules:
        """Return the state of any directory; it is remembered."""
        known = self._states.get(directory)
        if known is not None:
            return known
        if len(self._states) >= MOST_STATES:
            self._states.clear()
        state = self._states.setdefault("", self.root())
        above = ""
        for name in directory.split("/") if directory else ():
            above = f"{above}/{name}" if above else name
            state = self._states.get(above) or self._states.setdefault(above, state.enter(name))
        return state

    def table(self, directory: str, last: int, *, ignored: bool) -> _Table:
        """Return the decisions on names in a directory that has matched the line `last` last of all."""
        placed = [
            (pattern, anywhere or _place(pattern, directory))
            for pattern, anywhere in zip(self.patterns[last + 1 :], self._anywhere[last + 1 :], strict=True)
        ]
        key = (last, ignored, *(place for _, place in placed))
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            table = self._tables[key] = _Table(placed, ignored=ignored)
        return table

    def excludes(self, path: str) -> bool:
        """Tell whether the path stays out of the context; the root itself never does."""
        if not path or not self.patterns:
            return False
        parent, _, name = path.rpartition("/")
        return self.directory(parent).excludes(name)

    def deciding(self, path: str) -> tuple[int, str] | None:
        """Return line and text of the pattern that made the decision, or None when none matched."""
        parent, _, name = path.rpartition("/")
        decided = self.directory(parent).deciding(name) if path else None
        return None if decided is None else (decided.line, decided.source)

    def may_keep_below(self, directory: str) -> bool:
        """Tell whether anything below the directory can be kept; False spares the walk all of it."""
        return not directory or self.directory(directory).may_keep_below()


class DirectoryRules:
    """The rules as they stand inside one directory: which patterns its path has matched already.

    `is_forgetful` is the state of a walk that did not ask about this directory: then every line is tried
    on the parents of a path as well.
    """

    __slots__ = ("_inherited", "_last", "_prefix", "_table", "ignored", "is_forgetful", "path", "rules")

    def __init__(
        self,
        rules: IgnoreRules,
        path: str,
        inherited: tuple[bool, ...],
        *,
        ignored: bool,
        is_forgetful: bool = False,
    ) -> None:
        self.rules = rules
        self.path = path
        self.ignored = ignored
        self.is_forgetful = is_forgetful
        self._inherited = inherited
        self._last = max((at for at, hit in enumerate(inherited) if hit), default=-1)
        self._prefix = ""
        self._table: _Table | None = None

    @property
    def key(self) -> tuple[IgnoreRules, str, tuple[bool, ...], bool]:
        """What the decisions below this directory depend on."""
        return self.rules, self.path, self._inherited, self.is_forgetful

    def excludes(self, name: str) -> bool:
        """Decide on the child of that name."""
        if self.is_forgetful:
            decided = self.deciding(name)
            return decided is not None and not decided.exception
        table = self._table
        if table is None:
            table = self._table = self.rules.table(self.path, self._last, ignored=self.ignored)
            self._prefix = f"{self.path}/" if self.path else ""
        return table.excludes(name, self._prefix)

    def deciding(self, name: str) -> Pattern | None:
        """Return the pattern that decides on the child of that name."""
        return self.walk(self._child(name))[1]

    def enter(self, name: str) -> DirectoryRules:
        """Return the state of the directory of that name below this one."""
        path = self._child(name)
        matched, decided = self.walk(path)
        if matched == self._inherited:
            matched = self._inherited
        return DirectoryRules(self.rules, path, matched, ignored=_ignores(decided))

    def forget(self, name: str) -> DirectoryRules:
        """Return the state of the directory of that name for a walk that does not ask about it."""
        nothing = (False,) * len(self.rules.patterns)
        return DirectoryRules(self.rules, self._child(name), nothing, ignored=False, is_forgetful=True)

    def may_keep_below(self) -> bool:
        """Tell whether anything below this directory can be kept."""
        # Everything inside has at least the decision of the directory; only an exception that comes
        # after the last line it matched can lift that.
        return not self.ignored or any(
            pattern.exception and pattern.may_match_below(self.path)
            for pattern in self.rules.patterns[self._last + 1 :]
        )

    def may_match_below(self) -> bool:
        """Tell whether a line that is no exception can match below this directory."""
        return any(
            not pattern.exception and (inherited or pattern.may_match_below(self.path))
            for pattern, inherited in zip(self.rules.patterns, self._inherited, strict=True)
        )

    def walk(self, path: str) -> tuple[tuple[bool, ...], Pattern | None]:
        """Try every line on a child and return which of them its children inherit, and which decided.

        moby/patternmatcher does not try a line that could not change the decision so far, and what was
        not tried is not remembered for the children: with `d/x` before `!d`, `d/x` stays ignored.
        """
        above = _above(path) if self.is_forgetful else ()
        decided: Pattern | None = None
        ignored = False
        matched: list[bool] = []
        for pattern, inherited in zip(self.rules.patterns, self._inherited, strict=True):
            hit = inherited or (
                pattern.exception == ignored
                and (pattern.matches(path) or any(pattern.matches(each) for each in above))
            )
            matched.append(hit)
            if hit:
                decided = pattern
                ignored = not pattern.exception
        return tuple(matched), decided

    def _child(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def _ignores(decided: Pattern | None) -> bool:
    return decided is not None and not decided.exception


def _above(path: str) -> tuple[str, ...]:
    return tuple(path[:at] for at, character in enumerate(path) if character == "/")


@dataclass(frozen=True, slots=True)
class _Place:
    """What a line says about the names in one directory; `everything` and `nothing` need no text."""

    kind: Literal["everything", "nothing", "name", "head", "tail", "expression", "path"]
    text: str = ""
    regex: re.Pattern[str] | None = None


_EVERYTHING: Final = _Place("everything")
_NOTHING: Final = _Place("nothing")


def _place(pattern: Pattern, directory: str) -> _Place:
    match pattern.shape:
        case "exact":
            # A leading slash, which `--exclude` keeps, matches nothing.
            parent, _, name = pattern.text.rpartition("/")
            is_here = parent == directory and pattern.text[0] != "/"
            return _Place("name", name) if is_here else _NOTHING
        case "prefix":
            return _place_prefix(pattern.text, directory)
        case "suffix":
            return _place_suffix(pattern.text, directory)
        case "regex":
            return _place_regex(pattern, directory)


def _place_prefix(text: str, directory: str) -> _Place:
    inside = f"{directory}/" if directory else ""
    if inside.startswith(text):
        return _EVERYTHING
    rest = text[len(inside) :]
    return _Place("head", rest) if text.startswith(inside) and "/" not in rest else _NOTHING


def _place_suffix(text: str, directory: str) -> _Place:
    if not text:
        return _EVERYTHING
    head, slash, name = text.rpartition("/")
    if not slash:
        return _Place("tail", name)
    # `**/a/b` ends in `/a/b` or is `a/b` from the root.
    return _Place("name", name) if f"/{directory}".endswith(head) else _NOTHING


def _place_regex(pattern: Pattern, directory: str) -> _Place:
    if pattern.split is None:
        return _Place("path", regex=pattern.regex)
    where, name = pattern.split
    if where is not None and where.match(directory) is None:
        return _NOTHING
    if isinstance(name, re.Pattern):
        return _Place("expression", regex=name)
    return _Place("tail", name[1:]) if name[0] == "*" else _Place("head", name[:-1])


def _is_anywhere(pattern: Pattern) -> bool:
    """Tell whether the line says the same in every directory."""
    match pattern.shape:
        case "suffix":
            return pattern.text.rfind("/") <= 0
        case "regex":
            return pattern.split is None or pattern.split[0] is None
        case _:
            return False


class _Group:
    """Neighbouring lines of one kind, reduced to what they say about names."""

    __slots__ = ("_expressions", "_heads", "_names", "_paths", "_tails", "exception")

    def __init__(self, places: Sequence[_Place], *, exception: bool) -> None:
        self.exception = exception
        self._names = frozenset(place.text for place in places if place.kind == "name")
        self._heads = tuple(place.text for place in places if place.kind == "head")
        self._tails = tuple(place.text for place in places if place.kind == "tail")
        self._expressions = [place.regex for place in places if place.kind == "expression" and place.regex]
        self._paths = [place.regex for place in places if place.kind == "path" and place.regex]

    def matches(self, name: str, prefix: str) -> bool:
        if name in self._names or name.endswith(self._tails) or name.startswith(self._heads):
            return True
        if self._expressions and any(each.match(name) for each in self._expressions):
            return True
        return bool(self._paths) and any(each.match(prefix + name) for each in self._paths)


class _Table:
    """The decisions on names, shared by all directories of which the lines say the same."""

    __slots__ = ("_default", "_groups")

    def __init__(self, placed: Iterable[tuple[Pattern, _Place]], *, ignored: bool) -> None:
        self._default = ignored
        runs: list[tuple[bool, list[_Place]]] = []
        for pattern, place in placed:
            if place.kind == "everything":
                # It matches every name here, so that nothing before it counts.
                runs.clear()
                self._default = not pattern.exception
            elif place.kind != "nothing":
                if not runs or runs[-1][0] != pattern.exception:
                    runs.append((pattern.exception, []))
                runs[-1][1].append(place)
        self._groups = tuple(_Group(places, exception=exception) for exception, places in reversed(runs))

    def excludes(self, name: str, prefix: str) -> bool:
        # The last line that matches decides, whatever was tried before it.
        for group in self._groups:
            if group.matches(name, prefix):
                return not group.exception
        return self._default


NO_RULES: Final = IgnoreRules()
"""No ignore file, or an empty one."""


# ---------------------------------------------------------------------------------------------------
# Reading lines
# ---------------------------------------------------------------------------------------------------


def parse_ignore(source: bytes, *, file: str) -> IgnoreRules | IgnoreProblem:
    """Read an ignore file.

    A byte order mark at the start is dropped; `#` begins a comment only as the very first character;
    blanks around a line, and after `!`, vanish; paths are cleaned and lose one leading slash.
    """
    patterns: list[Pattern] = []
    lines = source.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, raw in enumerate(lines, start=1):
        if len(raw) >= LONGEST_LINE:
            return IgnoreProblem(file, number, "the line is too long")
        text = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
        if text.startswith("#"):
            continue
        text = text.strip(GO_SPACE)
        if not text:
            continue
        exception = text[0] == "!"
        path = text[1:].strip(GO_SPACE) if exception else text
        if path:
            path = _clean(path)
            if len(path) > 1 and path[0] == "/":
                path = path[1:]
        made = _pattern(f"!{path}" if exception else path, source=text, file=file, line=number)
        if isinstance(made, IgnoreProblem):
            return made
        patterns.append(made)
    return IgnoreRules(patterns) if patterns else NO_RULES


def parse_excludes(patterns: Iterable[str], *, file: str = "Dockerfile") -> IgnoreRules | IgnoreProblem:
    """Read the values of `--exclude` (or the patterns that `--parents` makes), one pattern each.

    The syntax is that of ignore files, but a leading slash stays and so matches nothing.
    """
    made: list[Pattern] = []
    for number, each in enumerate(patterns, start=1):
        text = each.strip(GO_SPACE)
        if not text:
            continue
        pattern = _pattern(text, source=text, file=file, line=number)
        if isinstance(pattern, IgnoreProblem):
            return pattern
        made.append(pattern)
    return IgnoreRules(made) if made else NO_RULES


def _pattern(text: str, *, source: str, file: str, line: int) -> Pattern | IgnoreProblem:
    cleaned = _clean(text)
    exception = cleaned[0] == "!"
    if exception:
        cleaned = cleaned[1:]
        if not cleaned:
            return IgnoreProblem(file, line, "an exception needs a path after the !")
    if _translate_path_pattern(cleaned) is None:
        return IgnoreProblem(file, line, f"syntax error in pattern {source!r}")
    shape, expression = _classify(cleaned)
    match shape:
        case "exact":
            return Pattern(line, source, exception, cleaned, shape, cleaned)
        case "prefix":
            return Pattern(line, source, exception, cleaned, shape, cleaned[:-2])
        case "suffix":
            return Pattern(line, source, exception, cleaned, shape, cleaned[2:])
        case "regex":
            translated = _python_regex(expression)
            if translated is None:
                return IgnoreProblem(file, line, f"syntax error in pattern {source!r}")
            return Pattern(
                line,
                source,
                exception,
                cleaned,
                shape,
                cleaned,
                regex=re.compile(translated),
                split=_split(cleaned),
            )


def _clean(path: str) -> str:
    """Clean lexically as Go's `filepath.Clean` does: a leading `..` of a relative path stays."""
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif part == "..":
            kept.extend([] if rooted else [".."])
        elif part not in {"", "."}:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or "."


def _classify(cleaned: str) -> tuple[Shape, str]:
    """Find the cheapest shape, and for "regex" the expression in Go's syntax that upstream would build.

    Upstream does not know that it is inside a class, so that `*`, `?` and `.` are rewritten there too;
    the odd results (`[*]` is not a class of one star) are part of the language.
    """
    out = ["^"]
    shape: Shape = "exact"
    at = 0
    while at < len(cleaned):
        character, start = cleaned[at], at
        at += 1
        if character == "*" and cleaned.startswith("*", at):
            # `**/` is taken as `**`.
            at += 2 if cleaned.startswith("/", at + 1) else 1
            if at < len(cleaned):
                out.append("(.*/)?")
                shape = "regex"
            elif shape == "exact":
                shape = "prefix"
            else:
                out.append(".*")
                shape = "regex"
            if start == 0:
                shape = "suffix"
        elif character == "*":
            out.append("[^/]*")
            shape = "regex"
        elif character == "?":
            out.append("[^/]")
            shape = "regex"
        elif character in ".+()|{}$":
            out.append(f"\\{character}")
        elif character == "\\" and at < len(cleaned):
            out.append(cleaned[start : at + 1])
            at += 1
            shape = "regex"
        elif character in "[]":
            out.append(character)
            shape = "regex"
        else:
            out.append(character)
    return shape, "".join(out)


_GO_ESCAPES: Final = {
    "d": "[0-9]",
    "D": "[^0-9]",
    "w": "[0-9A-Za-z_]",
    "W": "[^0-9A-Za-z_]",
    "s": r"[\t\n\f\r ]",
    "S": r"[^\t\n\f\r ]",
    "A": r"\A",
    "z": r"\Z",
    "b": r"(?a:\b)",
    "B": r"(?a:\B)",
    "a": r"\x07",
    "f": r"\f",
    "n": r"\n",
    "r": r"\r",
    "t": r"\t",
    "v": r"\v",
}


def _python_regex(expression: str) -> str | None:
    """Say in Python's syntax what the expression means in Go's, or None where Go would refuse it."""
    out: list[str] = []
    at = 0
    while at < len(expression):
        character = expression[at]
        at += 1
        if character == "\\":
            following = expression[at] if at < len(expression) else ""
            at += 1
            if following.isascii() and following and not following.isalnum():
                out.append(re.escape(following))
            elif following in _GO_ESCAPES:
                out.append(_GO_ESCAPES[following])
            else:
                return None
        elif character == "[":
            translated = _python_class(expression, at)
            if translated is None:
                return None
            text, at = translated
            out.append(text)
        elif character == "]":
            out.append(r"\]")
        elif character in "^.*?()":
            out.append(character)
        else:
            out.append(re.escape(character))
    return "".join(out) + r"\Z"


_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


def _python_class(expression: str, at: int) -> tuple[str, int] | None:
    """Translate a class of Go's regular expressions, `at` being behind its bracket."""
    negated = expression.startswith("^", at)
    at += negated
    body: list[str] = []
    while not (body and expression.startswith("]", at)):
        named = re.compile(r"\[:(\w+):\]").match(expression, at)
        if named and named[1] in _POSIX:
            body.append(_POSIX[named[1]])
            at = named.end()
            continue
        escape = _GO_ESCAPES.get(expression[at + 1 : at + 2]) if expression.startswith("\\", at) else None
        if escape is not None and escape.startswith("["):
            if escape.startswith("[^"):
                return None
            body.append(escape[1:-1])
            at += 2
            continue
        low = _go_class_character(expression, at)
        if low is None:
            return None
        first, at = low
        last = first
        if expression.startswith("-", at) and not expression.startswith("-]", at):
            high = _go_class_character(expression, at + 1)
            if high is None or high[0] < first:
                return None
            last, at = high
        body.append(f"{_in_class(first)}-{_in_class(last)}")
    return f"[{'^' if negated else ''}{''.join(body)}]", at + 1


def _go_class_character(expression: str, at: int) -> tuple[str, int] | None:
    if at >= len(expression):
        return None
    if expression[at] != "\\":
        return expression[at], at + 1
    following = expression[at + 1 : at + 2]
    if not following or not following.isascii() or following.isalnum():
        return None
    return following, at + 2


def _split(cleaned: str) -> tuple[re.Pattern[str] | None, re.Pattern[str] | str] | None:
    """Split into what the directory and what the name must match, where these are independent.

    None for the directory means any. A name that is one `*` and literal text is returned as it stands.
    Classes may match a slash and `**` inside any number of them: such patterns are matched whole.
    """
    if "[" in cleaned or "\\" in cleaned or "^" in cleaned or "]" in cleaned:
        return None
    head, slash, name = cleaned.rpartition("/")
    if "**" in name:
        return None
    where: re.Pattern[str] | None
    if head == "**":
        where = None
    elif "**" in head:
        return None
    else:
        # The root has no name that a star could match.
        where = re.compile(rf"(?!\Z){_glob(head)}" if slash else r"\Z")
    if "?" not in name and name.count("*") == 1 and (name[0] == "*" or name[-1] == "*"):
        return where, name
    return where, re.compile(_glob(name))


def _glob(text: str) -> str:
    parts = {"*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(character) or re.escape(character) for character in text) + r"\Z"


def _literal_head(cleaned: str) -> str:
    """Return what every match of the pattern begins with."""
    return re.split(r"[*?\[\]\\^]", cleaned, maxsplit=1)[0]
