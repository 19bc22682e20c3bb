"""The parts that instructions are made of: flags, JSON arrays, quoted words, options of a mount.

Follows `frontend/dockerfile/parser/split_command.go` and `line_parsers.go`, `instructions/bflag.go`, and
Go's encoding/json, encoding/csv and time.ParseDuration where BuildKit relies on them. A function here
knows nothing of instructions as values; it takes text with an offset and gives parts with offsets, or
refuses with the offset of what it could not read.
"""

import re
from collections.abc import Iterable, Mapping

from devloop.dockerfile.lines import BLANKS, Heredoc, Refusal, Span
from devloop.dockerfile.words import SPACES


class Request:
    """One instruction taken apart as far as all instructions are alike.

    `line` is the joined line untouched, `text` its shown form; `rest` is what follows the flags, without
    blanks around it, and starts at `rest_at` of the line; `notes` collects warnings.
    """

    __slots__ = ("escape", "flags", "heredocs", "keyword", "line", "notes", "rest", "rest_at", "span", "text")

    def __init__(
        self,
        *,
        keyword: str,
        line: str,
        text: str,
        span: Span,
        flags: tuple[tuple[str, int], ...],
        rest: str,
        rest_at: int,
        heredocs: tuple[Heredoc, ...],
        escape: str,
        notes: list[Refusal],
    ) -> None:
        self.keyword = keyword
        self.line = line
        self.text = text
        self.span = span
        self.flags = flags
        self.rest = rest
        self.rest_at = rest_at
        self.heredocs = heredocs
        self.escape = escape
        self.notes = notes


def split_line(text: str, escape: str) -> tuple[str, tuple[tuple[str, int], ...], str, int]:
    """Return keyword, flags with their offsets, the rest of the line and its offset."""
    start = len(text) - len(text.lstrip(SPACES))
    text = text.rstrip(SPACES)
    blank = BLANKS.search(text, start)
    if blank is None:
        return _keyword(text[start:]), (), "", len(text)
    keyword = _keyword(text[start : blank.start()])
    flags, rest_at = _leading_flags(text, blank.end(), escape) if "--" in text else ((), blank.end())
    rest = text[rest_at:].lstrip(SPACES)
    return keyword, flags, rest, len(text) - len(rest)


def _keyword(word: str) -> str:
    # By way of lower case, as in Go: the upper case of some foreign letters is an ASCII one.
    lower = word.lower()
    return lower.upper() if lower.isascii() else word


def _leading_flags(text: str, at: int, escape: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """Read words that start with `--` until one does not, or until a lone `--`, which is dropped.

    Quotation marks group and vanish, and the escape token keeps the next character. BuildKit reads flags
    byte by byte and takes each byte for a character: `--exclude=é` asks for another file than it seems to,
    and the second byte of `à` ends a flag as a blank would.
    """
    if text.isascii():
        flags, end = _flag_words(text, at, escape)
        return tuple(flags), end
    data = text.encode("utf-8", "surrogateescape")
    start = len(text[:at].encode("utf-8", "surrogateescape"))
    flags, end = _flag_words(data.decode("latin-1"), start, escape)
    return tuple((flag, _characters(data, offset)) for flag, offset in flags), _characters(data, end)


def _characters(data: bytes, end: int) -> int:
    return len(data[:end].decode("utf-8", "surrogateescape"))


def _flag_words(text: str, at: int, escape: str) -> tuple[list[tuple[str, int]], int]:
    flags: list[tuple[str, int]] = []
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return flags, at
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
            elif char == escape:
                word.append(text[at : at + 1])
                at += 1
            else:
                word.append(char)
        flag = "".join(word)
        if flag == "--":
            return flags, min(at, len(text))
        flags.append((flag, start))


TEMPLATE_MARKS = ("{{", "{%", "{#", "<%")


def template(offset: int) -> Refusal:
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


class Flags:
    """The checked flags of one instruction: values by name, with the place of each."""

    def __init__(self, request: Request) -> None:
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


def json_words(rest: str, offset: int) -> tuple[str, ...] | None:
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


def quoted_words(request: Request) -> tuple[tuple[str, int], ...]:
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


def command_of(request: Request) -> str | tuple[str, ...]:
    words = json_words(request.rest, request.rest_at)
    return request.rest if words is None else words


def word_list(request: Request) -> tuple[str, ...]:
    """Split like COPY does: a JSON array, else at blanks, which neither quotes nor escapes protect."""
    words = json_words(request.rest, request.rest_at)
    return blank_separated(request) if words is None else words


def blank_separated(request: Request) -> tuple[str, ...]:
    return tuple(BLANKS.split(request.rest)) if request.rest else ()


def one_argument(request: Request, expected: str) -> str:
    if not request.rest:
        raise Refusal(request.rest_at, f"{request.keyword} without an argument", expected)
    Flags(request)
    return request.rest


def one_of(flags: Flags, name: str, allowed: tuple[str, ...]) -> str | None:
    value = flags.text(name)
    if value is not None and value not in allowed:
        raise Refusal(flags.offset(name), f"--{name} is {value!r}", "one of " + ", ".join(allowed))
    return value


def comma_separated(value: str, offset: int) -> list[str]:
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


_DURATION_UNITS = {
    "ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "\N{GREEK SMALL LETTER MU}s": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\xb5s|\u03bcs|ms|s|m|h)")


def seconds(flags: Flags, name: str) -> float | None:
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


def retries(flags: Flags) -> int | None:
    value = flags.text("retries")
    if value is None:
        return None
    if re.fullmatch(r"\+?[0-9]{1,10}", value) is None or int(value) >= 2**31:
        raise Refusal(flags.offset("retries"), f"--retries is {value!r}", "a number that is not negative")
    return int(value) or None
