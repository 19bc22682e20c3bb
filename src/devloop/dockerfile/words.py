"""Quoting and variables: what BuildKit's Dockerfile lexer makes of a word.

Follows "Environment replacement" in the Dockerfile reference and `frontend/dockerfile/shell/lex.go`.

A word is read once, left to right, by one scanner. Everything that nests (`${x:-w}`, the pattern and the
replacement of `${x/p/r}`) is read by the same loop with another stop character, which is why a default
may hold quotes, escapes and further variables, and why those inner variables are looked up even when the
default is not used. Three callers want three dialects, told apart by the flags of `_Lexer`:

    expand, expand_words   quotes and escapes are resolved and vanish
    expand_heredoc         quotes are ordinary characters; the escape is a backslash in every file
    heredoc_words          nothing is resolved: finds the words of a line, `<<` included

Patterns are matched by following the set of reachable positions rather than through `re`, so that a
pattern with many stars costs its length times the value's, whatever it says.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    chr(code) for code in range(0x2000, 0x200B)
)
"""What Go's unicode.IsSpace accepts; Python's isspace() would add U+001C to U+001F."""

SPACES = "".join(sorted(_SPACES))
"""The same set as text, for str.strip."""

_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
"""The shell's one-character names; unset in a Dockerfile, so they expand to nothing."""


class ExpansionError(ValueError):
    """A word that BuildKit refuses to expand; `offset` is the character at which it gave up."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def expand(word: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """Resolve the quotes, escapes and variables of `word`; an unset variable is empty.

    Blanks that come out of a variable stay: the result is one word whatever it holds. Raises
    ExpansionError for unbalanced quotes, for a form of `${...}` outside the reference, and for
    `${x:?message}` where x has no value.
    """
    if _is_plain(word, escape):
        return word
    return _Lexer(word, env, escape=escape).read()[0]


def expand_words(text: str, env: Mapping[str, str], *, escape: str = "\\") -> tuple[str, ...]:
    """Expand `text` as `expand` does and split the result at unquoted blanks.

    The split happens after the expansion, so `$PORTS` may give several words or none.
    """
    return tuple(_Lexer(text, env, escape=escape).read()[1])


def expand_heredoc(body: str, env: Mapping[str, str]) -> str:
    """Resolve variables and backslash escapes in the body of an unquoted heredoc of COPY or ADD.

    Quotes are kept and protect nothing, and the escape is a backslash even where `# escape=` says
    otherwise.
    """
    if "$" not in body and "\\" not in body:
        return body
    return _Lexer(body, env, quotes_matter=False).read()[0]


def names_in(word: str, *, escape: str = "\\") -> frozenset[str]:
    """Return the names of all variables whose values may decide what `word` expands to.

    The names inside an unused default count too. A word with an error gives the names before it.
    """
    return _names(_Lexer(word, _Anything(), escape=escape)) if "$" in word else frozenset()


def names_in_heredoc(body: str) -> frozenset[str]:
    """Return the names of the variables that `expand_heredoc` may look at."""
    return _names(_Lexer(body, _Anything(), quotes_matter=False)) if "$" in body else frozenset()


def heredoc_words(text: str, *, keep_quotes: bool, keep_escapes: bool) -> tuple[str, ...] | None:
    """Split `text` as the search for heredocs sees it: variables stay as written.

    Returns None where the text cannot be split (an unbalanced quote, a broken `${`): BuildKit then sees
    no heredoc at all.
    """
    lexer = _Lexer(text, {}, keep_quotes=keep_quotes, keep_escapes=keep_escapes, keep_unset=True)
    try:
        return tuple(lexer.read()[1])
    except ExpansionError:
        return None


def _is_plain(word: str, escape: str) -> bool:
    return not ("$" in word or "'" in word or '"' in word or escape in word or word.startswith("\ufeff"))


def _names(lexer: "_Lexer") -> frozenset[str]:
    with suppress(ExpansionError):
        lexer.read()
    return frozenset(lexer.names)


class _Anything(Mapping[str, str]):
    """An environment in which every name is set, so that no `${x:?}` cuts a search for names short."""

    def __getitem__(self, name: str) -> str:
        return "x"

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class _Words:
    """The words of a text under construction; an empty quoted word leaves no trace, as in BuildKit."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self._word = ""

    def add(self, text: str) -> None:
        """Add text whose blanks separate words."""
        for char in text:
            if char in _SPACES:
                self.close()
            else:
                self._word += char

    def add_raw(self, text: str) -> None:
        """Add text whose blanks belong to the word: quoted or escaped."""
        self._word += text

    def close(self) -> None:
        if self._word:
            self.done.append(self._word)
            self._word = ""


_END = ""
"""What the scanner gives behind the last character."""

_DEEPEST = 100
"""Nesting of `${a:-${b:-...}}` beyond which a word is refused; people stop at three."""


class _Lexer:
    """One pass over one word. The flags are the dialect; see the module's docstring."""

    def __init__(
        self,
        source: str,
        env: Mapping[str, str],
        *,
        escape: str = "\\",
        quotes_matter: bool = True,
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._source = source
        # Go's text/scanner skips a byte order mark at the start of what it scans.
        self._at = 1 if source.startswith("\ufeff") else 0
        self._env = env
        self._escape = escape
        self._quotes_matter = quotes_matter
        self._keep_quotes = keep_quotes
        self._keep_escapes = keep_escapes
        self._keep_unset = keep_unset
        self._depth = 0
        self.names: set[str] = set()

    def read(self) -> tuple[str, list[str]]:
        """Return the whole text and its words."""
        return self._read_until(_END)

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._source[self._at : self._at + 1]
        self._at += len(char)
        return char

    def _error(self, message: str, *, at: int | None = None) -> ExpansionError:
        return ExpansionError(message, self._at if at is None else at)

    def _read_until(self, stop: str, missing: str = "") -> tuple[str, list[str]]:
        result: list[str] = []
        words = _Words()
        start = self._at
        while char := self._peek():
            if char == stop:
                self._at += 1
                words.close()
                return "".join(result), words.done
            if char == "$":
                text = self._dollar()
                words.add(text)
            elif char == "'" and self._quotes_matter:
                text = self._single_quoted()
                words.add_raw(text)
            elif char == '"' and self._quotes_matter:
                text = self._double_quoted()
                words.add_raw(text)
            elif char == "<":
                text = self._angle()
                words.add_raw(text)
            else:
                self._at += 1
                if char == self._escape:
                    text = char if self._keep_escapes else ""
                    text += self._next()  # at the very end the escape stands alone and vanishes
                    words.add_raw(text)
                else:
                    text = char
                    words.add(text)
            result.append(text)
        if stop:
            raise self._error(missing, at=start)
        words.close()
        return "".join(result), words.done

    def _nested(self, stop: str, *, keep_escapes: bool, missing: str) -> str:
        outer = self._keep_escapes
        self._keep_escapes = keep_escapes
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("too many nested substitutions")
        result = self._read_until(stop, missing)[0]
        self._depth -= 1
        self._keep_escapes = outer
        return result

    def _angle(self) -> str:
        """Read `<`, or `<<` with the blanks behind it: a heredoc's name may stand apart from its `<<`."""
        start = self._at
        self._at += 1
        if self._peek() == "<":
            self._at += 1
            while self._peek() in {" ", "\t", "\r"}:
                self._at += 1
        return self._source[start : self._at]

    def _single_quoted(self) -> str:
        start = self._at
        end = self._source.find("'", start + 1)
        if end < 0:
            self._at = len(self._source)
            raise self._error("no closing single quote", at=start)
        self._at = end + 1
        return self._source[start : end + 1] if self._keep_quotes else self._source[start + 1 : end]

    def _double_quoted(self) -> str:
        start = self._at
        quote = self._next()
        result = [quote] if self._keep_quotes else []
        while char := self._peek():
            if char == "$":
                result.append(self._dollar())
                continue
            self._at += 1
            if char == '"':
                if self._keep_quotes:
                    result.append(char)
                return "".join(result)
            if char == self._escape:
                if self._keep_escapes:
                    result.append(char)
                following = self._peek()
                if following == _END:
                    continue
                if following in {'"', "$", self._escape}:
                    char = self._next()
            result.append(char)
        raise self._error("no closing double quote", at=start)

    def _dollar(self) -> str:
        start = self._at
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._lookup(name)
            if value is None:
                return f"${name}" if self._keep_unset else ""
            return value
        self._at += 1
        first = self._peek()
        if first == _END:
            raise self._error("no closing brace of a ${", at=start)
        if first in {"{", "}", ":"}:
            raise self._error("bad substitution: a ${ needs a name", at=start)
        return self._braced(start)

    def _braced(self, start: int) -> str:
        name = self._name()
        operator = self._next()
        colon = operator == ":"
        if colon:
            operator = self._next()
        if operator == "}" and not colon:
            value = self._lookup(name)
            if value is None:
                return f"${{{name}}}" if self._keep_unset else ""
            return value
        if operator == "/" and not colon:
            return self._replaced(name, start)
        if operator in _OPERATORS:
            return self._modified(name, operator, start, colon=colon)
        if operator == _END:
            raise self._error("no closing brace of a ${", at=start)
        # BuildKit reads to the closing brace before it looks at an operator behind a colon.
        shown = f":{operator}" if colon else operator
        raise self._error(f"unsupported modifier ({shown}) in substitution", at=start)

    def _modified(self, name: str, operator: str, start: int, *, colon: bool) -> str:
        word = self._nested("}", keep_escapes=operator in {"#", "%"}, missing="no closing brace of a ${")
        value = self._lookup(name)
        if self._keep_unset and value is None:
            return f"${{{name}{':' if colon else ''}{operator}{word}}}"
        has_value = value is not None and not (colon and value == "")
        if operator == "-":
            return value if has_value and value is not None else word
        if operator == "+":
            return word if has_value else ""
        if operator == "?":
            if not has_value or value is None:
                reason = word or f"is not allowed to be {'unset' if value is None else 'empty'}"
                raise self._error(f"{name}: {reason}", at=start)
            return value
        longest = word.startswith(operator)
        trim = _without_prefix if operator == "#" else _without_suffix
        return self._matched(lambda: trim(value or "", word.removeprefix(operator), longest=longest), start)

    def _replaced(self, name: str, start: int) -> str:
        every = self._peek() == "/"
        if every:
            self._at += 1
        pattern = self._nested(
            "/", keep_escapes=True, missing="no second slash in a ${x/pattern/replacement}"
        )
        replacement = self._nested("}", keep_escapes=True, missing="no closing brace of a ${")
        value = self._lookup(name)
        if self._keep_unset and value is None:
            return f"${{{name}/{pattern}/{replacement}}}"
        replace = _replace_all if every else _replace_first
        return self._matched(lambda: replace(value or "", pattern, replacement), start)

    def _matched(self, match: Callable[[], str], start: int) -> str:
        try:
            return match()
        except _PatternError as error:
            raise self._error(str(error), at=start) from None

    def _name(self) -> str:
        """Read a name, a run of digits, or one special character; nothing if none stands here."""
        start = self._at
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif first in _SPECIAL_PARAMETERS:
            self._at += len(first)
        else:
            while (char := self._peek()).isalpha() or char.isdecimal() or char == "_":
                self._at += 1
        return self._source[start : self._at]

    def _lookup(self, name: str) -> str | None:
        self.names.add(name)
        return self._env.get(name)


_OPERATORS = frozenset("-+?#%")


class _PatternError(ValueError):
    """A pattern that escapes something other than `*`, `?`, a backslash, `}` or `/`."""


_STAR = "**"
_ANY = "??"


def _tokens(pattern: str) -> list[str]:
    """Split a pattern into stars, single-character wildcards and literal characters.

    Only `*`, `?`, the backslash and the two delimiters `}` and `/` may be escaped; a class such as
    `[ab]` is literal text.
    """
    tokens: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            tokens.append(_STAR)
        elif char == "?":
            tokens.append(_ANY)
        elif char == "\\":
            escaped = next(chars, "")
            if escaped not in {"*", "?", "\\", "}", "/"}:
                raise _PatternError(f"invalid escape '\\{escaped}' in the pattern {pattern!r}")
            tokens.append(escaped)
        else:
            tokens.append(char)
    return tokens


def _ends(tokens: list[str], value: str, start: int) -> list[int]:
    """Return, ascending, every position at which a match of `tokens` from `start` may end.

    As in Go's regular expressions, which BuildKit translates to, no wildcard matches a line feed.
    """
    ends = [start]
    for token in tokens:
        if not ends:
            break
        if token == _STAR:
            reached: list[int] = []
            for end in ends:
                if not reached or end > reached[-1]:
                    line_feed = value.find("\n", end)
                    reached.extend(range(end, (len(value) if line_feed < 0 else line_feed) + 1))
            ends = reached
        elif token == _ANY:
            ends = [end + 1 for end in ends if end < len(value) and value[end] != "\n"]
        else:
            ends = [end + 1 for end in ends if value[end : end + 1] == token]
    return ends


def _without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    ends = _ends(_tokens(pattern), value, 0)
    if not ends:
        return value
    return value[ends[-1] if longest else ends[0] :]


def _without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    return _without_prefix(value[::-1], _reversed_pattern(pattern), longest=longest)[::-1]


def _reversed_pattern(pattern: str) -> str:
    """Turn a pattern round while each escape stays before what it escapes."""
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        width = 2 if pattern[at] == "\\" else 1
        pieces.append(pattern[at : at + width])
        at += width
    return "".join(reversed(pieces))


def _replace_first(value: str, pattern: str, replacement: str) -> str:
    tokens = _tokens(pattern)
    for start in range(len(value) + 1):
        ends = _ends(tokens, value, start)
        if ends:
            return value[:start] + replacement + value[ends[-1] :]
    return value


def _replace_all(value: str, pattern: str, replacement: str) -> str:
    """Replace every match, leftmost and longest, as Go's ReplaceAllString does.

    An empty match directly behind another match is skipped, and `$` in the replacement is Go's
    template sign: `$0` is the match, other names are empty.
    """
    tokens = _tokens(pattern)
    result: list[str] = []
    copied = search = 0
    while search <= len(value):
        ends = _ends(tokens, value, search)
        if not ends:
            search += 1
            continue
        end = ends[-1]
        result.append(value[copied:search])
        if end > copied or search == 0:
            result.append(_filled_template(replacement, value[search:end]))
        copied = end
        search = max(end, search + 1)
    result.append(value[copied:])
    return "".join(result)


def _filled_template(template: str, match: str) -> str:
    pieces: list[str] = []
    at = 0
    while (dollar := template.find("$", at)) >= 0:
        pieces.append(template[at:dollar])
        at = dollar + 1
        braced = template.startswith("{", at)
        end = at + braced
        while end < len(template) and (template[end].isalnum() or template[end] == "_"):
            end += 1
        name = template[at + braced : end]
        if template.startswith("$", at):
            pieces.append("$")
            at += 1
        elif not name or (braced and not template.startswith("}", end)):
            pieces.append("$")  # nothing nameable: Go keeps the sign
        else:
            pieces.append(match if name == "0" else "")
            at = end + braced
    pieces.append(template[at:])
    return "".join(pieces)
