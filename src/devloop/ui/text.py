"""Text that fits a terminal: widths, shortening, styles, and what a log line must not do to a screen.

Whatever is shown is first a `Line`: spans of text with the name of a style. So one set of words serves the
plain view (no style), `devloop plan` (ANSI, without rich) and the live view (rich).
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

# "log" and "source" are what a program printed and lines of a file: never broken, never shortened.
Style = Literal["", "bold", "dim", "good", "warn", "bad", "accent", "log", "source"]
Span = tuple[str, Style]
Line = tuple[Span, ...]

_ANSI: Final[Mapping[Style, str]] = {
    "": "",
    "bold": "1",
    "dim": "2",
    "good": "32",
    "warn": "33",
    "bad": "31;1",
    "accent": "36",
    "log": "2",
    "source": "",
}


@dataclass(frozen=True, slots=True)
class Symbols:
    """The marks of a screen; every mark has a twin for terminals that know only ASCII."""

    cached: str
    runs: str
    unknown: str
    good: str
    bad: str
    warning: str
    arrow: str
    ellipsis: str
    dot: str
    spinner: str
    bar: str = "|"
    rule: str = "-"
    full: str = "#"
    empty: str = "."


UNICODE: Final = Symbols(
    "✓", "▶", "?", "✓", "✗", "▲", "→", "…", "·", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", rule="─", full="█", empty="░"
)
ASCII: Final = Symbols("=", ">", "?", "+", "x", "!", "->", "...", "-", "|/-\\")


def symbols(*, ascii_only: bool) -> Symbols:
    return ASCII if ascii_only else UNICODE


def paint(line: Line, *, color: bool) -> str:
    """Join the spans of a line, with ANSI colours or with none; blanks at its end go."""
    if not color:
        return "".join(text for text, _ in line).rstrip()
    return "".join(
        f"\x1b[{_ANSI[style]}m{text}\x1b[0m" if _ANSI[style] and text else text for text, style in line
    )


def wants_color(*, is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """NO_COLOR wins, then FORCE_COLOR; otherwise colour is for terminals that are not dumb."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return is_terminal and environ.get("TERM", "dumb") != "dumb"


def wants_ascii(*, encoding: str | None, environ: Mapping[str, str]) -> bool:
    """Tell whether the ASCII twins are needed: the stream cannot carry the marks, or the locale is C.

    Python turns LANG=C into UTF-8 for itself and sets LC_CTYPE=C.UTF-8, which says nothing about the
    terminal, so that value does not count against a LANG that says C.
    """
    try:
        f"{UNICODE.cached}{UNICODE.runs}{UNICODE.arrow}{UNICODE.spinner}".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    ctype = environ.get("LC_CTYPE", "")
    chosen = environ.get("LC_ALL") or ("" if ctype == "C.UTF-8" else ctype) or environ.get("LANG", "")
    return chosen in {"C", "POSIX"}


def text_width(text: str) -> int:
    """Count terminal columns: two for wide characters, none for combining ones."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def shorten(text: str, width: int, *, ellipsis: str = "…") -> str:
    """Cut the middle out of `text` so that it fits `width` columns; text that fits is returned as it is."""
    if text_width(text) <= width:
        return text
    room = width - text_width(ellipsis)
    if room <= 0:
        return _head(text, max(width, 0))
    head = _head(text, (room + 1) // 2)
    tail = _tail(text, room - text_width(head))
    return f"{head}{ellipsis}{tail}"


def _head(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _char_width(char)
        if used > width:
            return text[:index]
    return text


def _tail(text: str, width: int) -> str:
    used = 0
    for index in range(len(text) - 1, -1, -1):
        used += _char_width(text[index])
        if used > width:
            # A combining character belongs to the base that was cut off.
            return text[index + 1 :].lstrip("\u0300\u0301\u0302\u0303\u0308\u200d\ufe0f")
    return text


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill `text` with blanks to `width` columns, on its left when `right` aligned."""
    fill = " " * (width - text_width(text))
    return fill + text if right else text + fill


def wrap(text: str, width: int) -> list[str]:
    """Break `text` at blanks into lines of at most `width` columns; a longer word stays whole."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and text_width(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line else lines


def wrap_line(line: Line, width: int, *, hang: int = 2) -> list[Line]:
    """Break a styled line at blanks; what follows is indented `hang` columns deeper than the line itself."""
    if line_width(line) <= width or any(style in {"log", "source"} for _, style in line):
        return [line]
    text = "".join(part for part, _ in line)
    indent = " " * (len(text) - len(text.lstrip(" ")) + hang)
    lines: list[Line] = []
    row: list[Span] = []
    used = 0
    for part, style in line:
        for word in re.findall(r" *[^ ]+|  *", part):
            glued = word.lstrip(" ") == word and bool(row) and not row[-1][0].endswith(" ")
            if used and used + text_width(word) > width and not glued and word.strip():
                lines.append(tuple(row))
                row, used = [(indent, "")], len(indent)
                word = word.lstrip(" ")  # noqa: PLW2901  the blank is where the line breaks
            row.append((word, style))
            used += text_width(word)
    return [*lines, tuple(row)]


def line_width(line: Line) -> int:
    return sum(text_width(text) for text, _ in line)


def crop(line: Line, width: int) -> Line:
    """Cut a line at its end so that it takes at most `width` columns."""
    kept: list[Span] = []
    room = width
    for text, style in line:
        part = _head(text, room)
        kept.append((part, style))
        room -= text_width(part)
        if part != text:
            break
    return tuple(kept)


_SEQUENCE: Final = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)"  # OSC: titles, links
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # DCS, SOS, PM, APC
    r"|[\x1b\x9b](?:(?<=\x9b)|\[)[0-?]*[ -/]*(?:[@-~]|$)"  # CSI
    r"|\x1b[ -/]*[0-~]?"  # the short ones
)
_COLOR: Final = re.compile(r"\x1b\[[0-9;:]*m")
# C0 and C1, the separators that some terminals obey, and the marks that reorder what is read.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    r"""Show control characters as `\x1b`, so that a name or a sentence cannot steer the terminal."""
    return _CONTROL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8, as os.fsdecode keeps it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean_log(line: str, *, keep_color: bool = False) -> str:
    """Make a log line harmless: no escape sequences (colours on request), tabs as blanks, no controls.

    A progress bar that redraws itself with carriage returns shows its last state.
    """
    line = line.rstrip("\r\n")
    line = line[line.rfind("\r") + 1 :]

    def kept(match: re.Match[str]) -> str:
        return match[0] if keep_color and _COLOR.fullmatch(match[0]) else ""

    parts = re.split("(\x1b\\[[0-9;:]*m)", _SEQUENCE.sub(kept, line))
    # A colour inside the text shifts no column, so tabs are counted over the text alone.
    column = 0
    out: list[str] = []
    for part in parts:
        if part.startswith("\x1b"):
            out.append(part)
            continue
        for piece in re.split("(\t)", part):
            shown = " " * (8 - column % 8) if piece == "\t" else escape_controls(piece)
            column += text_width(shown)
            out.append(shown)
    return "".join(out)


def one_line(text: str) -> str:
    """Fold an instruction that spans lines into one, with its controls made visible."""
    return escape_controls(" ".join(text.replace("\\\n", " ").split()))


def instruction_text(instruction: str, text: str) -> str:
    """Name a step as the Dockerfile does, whether or not `text` repeats the instruction's keyword."""
    folded = one_line(text)
    if folded.upper().split(" ", 1)[0] == instruction.upper():
        return folded
    return f"{instruction} {folded}".rstrip()


def seconds_text(seconds: float) -> str:
    """Write a duration for reading: `<0.1s`, `0.8s`, `14s`, `2m05s`, `1h02m`."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.05:
        return "<0.1s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def about_text(seconds: float) -> str:
    """Write a duration that is a guess: `about 0.8s`; what is too short to tell is `less than 0.1s`."""
    return "less than 0.1s" if seconds < 0.05 else f"about {seconds_text(seconds)}"


def bytes_text(number: int) -> str:
    """Write bytes for reading, in powers of a thousand: `512 B`, `1.2 kB`, `35 MB`, `1.4 GB`."""
    if number < 1000:
        return f"{number} B"
    size = float(number)
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 else f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def some_of(names: Iterable[str], *, limit: int = 3) -> str:
    """Name the first few of `names` and count the rest."""
    listed = [escape_controls(name) for name in names]
    if len(listed) <= limit + 1:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"
