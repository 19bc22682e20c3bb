"""Text that fits a terminal and cannot steer it."""

import re
import unicodedata
from dataclasses import fields
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.ui.text import (
    ASCII,
    UNICODE,
    Line,
    Style,
    clean_log,
    escape_controls,
    instruction_text,
    line_width,
    paint,
    seconds_text,
    shorten,
    some_of,
    text_width,
    wants_ascii,
    wants_color,
    wrap,
    wrap_line,
)

STYLES: tuple[Style, ...] = get_args(Style)[:2]


def test_a_wide_character_takes_two_columns_and_a_combining_one_none() -> None:
    assert text_width("abc") == 3
    assert text_width("目录") == 4
    assert text_width("e\u0301") == 1


def test_a_long_text_loses_its_middle() -> None:
    assert shorten("RUN pip install -r requirements.txt", 20) == "RUN pip in…ments.txt"
    assert shorten("RUN pip install -r requirements.txt", 20, ellipsis="...") == "RUN pip i...ents.txt"


def test_a_text_that_fits_is_left_alone() -> None:
    assert shorten("RUN true", 8) == "RUN true"


def test_a_cut_never_leaves_half_a_wide_character() -> None:
    assert shorten("很长的目录名称", 8) == "很长…称"


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_shortened_text_always_fits(text: str, width: int) -> None:
    assert text_width(shorten(text, width)) <= width


@given(st.text(alphabet=st.characters(blacklist_categories=["Cc"])), st.integers(min_value=1, max_value=40))
def test_wrapping_loses_no_word_and_only_long_words_stick_out(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(text_width(line) <= width or len(line.split()) == 1 for line in lines)


def test_a_styled_line_breaks_at_blanks_and_hangs() -> None:
    line: Line = (("  saved ", ""), ("a.py", "bold"), (" meanwhile: the build goes on", ""))
    assert [paint(part, color=False) for part in wrap_line(line, 24)] == [
        "  saved a.py meanwhile:",
        "    the build goes on",
    ]


def test_what_a_program_printed_is_never_broken() -> None:
    line: Line = (("| ", "dim"), ("a very long line of a log", "log"))
    assert wrap_line(line, 10) == [line]


@given(
    st.lists(st.tuples(st.text(alphabet="ab c", max_size=12), st.sampled_from(STYLES)), max_size=5),
    st.integers(min_value=8, max_value=30),
)
def test_wrapping_a_styled_line_keeps_its_words(spans: list[tuple[str, Style]], width: int) -> None:
    wrapped = wrap_line(tuple(spans), width)
    text = " ".join(paint(part, color=False) for part in wrapped)
    assert text.split() == "".join(text for text, _ in spans).split()


def test_without_colour_a_line_carries_no_escape() -> None:
    line: Line = (("ok ", "good"), ("then", "bold"), ("  ", ""))
    assert paint(line, color=False) == "ok then"
    assert paint(line, color=True) == "\x1b[32mok \x1b[0m\x1b[1mthen\x1b[0m  "
    assert line_width(line) == 9


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPsixel\x1b\\after", "after"),
        ("\x9b31mred", "red"),
        ("\x1b(Bplain\x1bc", "plain"),
        (" 10%\r 50%\r100%", "100%"),
        ("done\r\n", "done"),
        ("a\tb", "a       b"),
        ("bell\x07", "bell\\x07"),
        ("\u202ereversed", "\\u202ereversed"),
        ("cut off \x1b[3", "cut off "),
        ("cut off \x1b]0;title", "cut off "),
    ],
)
def test_a_log_line_cannot_steer_the_terminal(line: str, shown: str) -> None:
    assert clean_log(line) == shown


def test_a_log_line_keeps_its_colours_on_request_and_nothing_else() -> None:
    assert clean_log("\x1b[1;32mok\x1b[0m\x1b[2K\ttab", keep_color=True) == "\x1b[1;32mok\x1b[0m      tab"


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b\x9b[];?0m\x07\\\r\n\tP"))))
def test_no_control_character_survives_cleaning(line: str) -> None:
    assert not any(unicodedata.category(char) == "Cc" for char in clean_log(line))


@given(st.text(alphabet=st.sampled_from("\x1b\x9b[];?0123mHJ\x07\\PX^_ab\t")))
def test_only_colours_survive_cleaning_that_keeps_them(line: str) -> None:
    left = re.sub(r"\x1b\[[0-9;:]*m", "", clean_log(line, keep_color=True))
    assert "\x1b" not in left
    assert "\x9b" not in left


def test_a_name_shows_its_controls_instead_of_losing_them() -> None:
    assert escape_controls("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\x0ac"
    assert escape_controls("not-utf8-\udcff") == "not-utf8-\\xff"


@pytest.mark.parametrize(
    ("instruction", "text", "shown"),
    [
        ("RUN", "RUN pip install", "RUN pip install"),
        ("RUN", "pip install", "RUN pip install"),
        ("RUN", "run pip \\\n    install", "run pip install"),
        ("RUN", "RUN <<EOF\nmake\nEOF", "RUN <<EOF make EOF"),
        ("WORKDIR", "", "WORKDIR"),
    ],
)
def test_an_instruction_is_named_once_and_on_one_line(instruction: str, text: str, shown: str) -> None:
    assert instruction_text(instruction, text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "<0.1s"),
        (0.05, "0.1s"),
        (0.84, "0.8s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (125, "2m05s"),
        (3720, "1h02m"),
        (float("inf"), "?"),
    ],
)
def test_a_duration_reads_well(seconds: float, shown: str) -> None:
    assert seconds_text(seconds) == shown


def test_many_names_are_counted_and_one_left_over_is_named() -> None:
    assert some_of(["a", "b", "c", "d"]) == "a, b, c, d"
    assert some_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


@pytest.mark.parametrize(
    ("is_terminal", "environ", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {}, False),
        (False, {"TERM": "xterm"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_unless_the_user_says_otherwise(
    is_terminal: bool, environ: dict[str, str], expected: bool
) -> None:
    assert wants_color(is_terminal=is_terminal, environ=environ) is expected


@pytest.mark.parametrize(
    ("encoding", "environ", "expected"),
    [
        ("utf-8", {}, False),
        ("utf-8", {"LANG": "C"}, True),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ("utf-8", {"LC_CTYPE": "C.UTF-8"}, False),
        ("utf-8", {"LANG": "C.UTF-8"}, False),
        ("utf-8", {"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, True),
        ("utf-8", {"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
        ("ascii", {"LANG": "de_DE.UTF-8"}, True),
        ("latin-1", {}, True),
        ("no-such-encoding", {}, True),
        (None, {}, True),
    ],
)
def test_ascii_twins_are_for_streams_that_need_them(
    encoding: str | None, environ: dict[str, str], expected: bool
) -> None:
    assert wants_ascii(encoding=encoding, environ=environ) is expected


def test_every_mark_has_an_ascii_twin() -> None:
    for name in (field.name for field in fields(ASCII)):
        assert getattr(ASCII, name).isascii()
        assert getattr(UNICODE, name)
