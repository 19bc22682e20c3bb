"""From bytes to logical lines: what is joined, what vanishes, and where each character came from."""

import pytest

from devloop.dockerfile.lines import (
    Heredoc,
    LineReader,
    LogicalLine,
    PlacedRefusal,
    Refusal,
    Span,
    SyntaxProblem,
    heredoc_opening,
    heredoc_openings,
    is_conflict_marker,
    without_leading_tabs,
)


def reader(source: bytes | str) -> LineReader:
    return LineReader(source.encode() if isinstance(source, str) else source, file="Dockerfile")


def lines(source: bytes | str) -> list[LogicalLine]:
    from_start = reader(source)
    return list(iter(from_start.read_line, None))


def texts(source: bytes | str) -> list[str]:
    return [line.text for line in lines(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        ("\n\n", []),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\nb\n", ["a", "b"]),
        (" \t a \n", ["a "]),
        ("# c\na\n  # d\n", ["a"]),
        ("a\\\nb", ["ab"]),
        ("a \\\n  b\n", ["a   b"]),
        ("a \\ \t\nb\n", ["a b"]),
        ("a \\x\nb\n", ["a \\x", "b"]),
        ("a\\\\\nb\n", ["a\\\\", "b"]),
        ("a\\\\\\\nb\n", ["a\\\\\\", "b"]),
        ("\\\na\n", ["a"]),
        ("  \\\na\n", ["a"]),
        ("a \\\n\\\nb\n", ["a b"]),
        ("a \\\n# c\nb\n", ["a b"]),
        ("a \\\n\n \t\nb\n", ["a b"]),
        ("a \\\n# c \\\nb\n", ["a b"]),
        ("a \\\n", ["a "]),
        ("a \\", ["a "]),
        ("a \\\r\nb\r\n", ["a b"]),
        ("a\r\r\nb\r", ["a", "b"]),
        ("a\rb\n", ["a\rb"]),
        ("a\u2028b\x0bc\n", ["a\u2028b\x0bc"]),
        ("\u00a0a\n", ["a"]),
        ("\x1ca\n", ["\x1ca"]),
        ("\ufeffa\n", ["a"]),
    ],
)
def test_physical_lines_become_logical_ones(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


def test_an_escaped_backtick_file_has_no_backslash_continuations() -> None:
    assert texts("# escape=`\na \\\nb `\nc\n") == ["a \\", "b c"]


def test_a_logical_line_spans_from_its_first_to_its_last_physical_line() -> None:
    assert [line.span for line in lines("\n# c\na \\\n\n# d\n b\nc\n")] == [Span(3, 6), Span(7, 7)]


def test_a_character_of_a_joined_line_knows_its_place_in_the_file() -> None:
    (line,) = lines("\n  ab\\\n# c\n cd\n")
    assert line.text == "ab cd"
    assert [line.place(offset) for offset in range(6)] == [(2, 3), (2, 4), (4, 1), (4, 2), (4, 3), (4, 4)]


def test_a_blank_line_in_a_continuation_is_remembered_and_a_comment_is_not() -> None:
    assert [line.has_blank_continuation for line in lines("a \\\n\nb\nc \\\n# d\ne\n")] == [True, False]


@pytest.mark.parametrize(
    ("source", "escape", "syntax", "check"),
    [
        ("FROM x\n", "\\", None, None),
        ("# escape=`\n", "`", None, None),
        ("#escape=`", "`", None, None),
        ("  #  ESCAPE  =  `  \n", "`", None, None),
        ("# escape=\\\n", "\\", None, None),
        ("# syntax=a/b:1\n# check=error=true\n# escape=`\n", "`", "a/b:1", "error=true"),
        ("# syntax=a/b:1 with words\n", "\\", "a/b:1", None),
        ("\ufeff# syntax=a\n", "\\", "a", None),
        ("# syntax=a\r\n# escape=`\r\n", "`", "a", None),
        ("\n# syntax=a\n", "\\", None, None),
        ("# c\n# syntax=a\n", "\\", None, None),
        ("FROM x\n# syntax=a\n", "\\", None, None),
        ("# syntax=\n# escape=`\n", "\\", None, None),
        ("# a-b=c\n# syntax=a\n", "\\", None, None),
        ("#!/bin/sh\n# syntax=a\n", "\\", "a", None),
        ("// syntax=a\n", "\\", "a", None),
        ("#!/bin/sh\n//syntax = a b\n", "\\", "a", None),
        ("// c\n// syntax=a\n", "\\", None, None),
    ],
)
def test_directives_stand_at_the_very_top(
    source: str, escape: str, syntax: str | None, check: str | None
) -> None:
    found = reader(source).directives
    assert (found.escape, found.syntax, found.check) == (escape, syntax, check)


@pytest.mark.parametrize(
    ("source", "line", "offset", "message"),
    [
        ("# syntax=a\n# Syntax=b\n", 2, 2, "only one syntax directive can be used"),
        ("# check=skip=all\n#check=skip=all\n", 2, 1, "only one check directive can be used"),
        ("# escape=x\n", 1, 9, "invalid escape token 'x'"),
        ("# escape = e\n", 1, 11, "invalid escape token 'e'"),
        ("# escape=``\n", 1, 9, "invalid escape token '``'"),
    ],
)
def test_a_directive_can_be_wrong(source: str, line: int, offset: int, message: str) -> None:
    with pytest.raises(PlacedRefusal) as caught:
        reader(source)
    assert (caught.value.line, caught.value.offset, caught.value.message) == (line, offset, message)


@pytest.mark.parametrize(
    ("word", "name", "expands", "strips_tabs", "descriptor"),
    [
        ("<<EOF", "EOF", True, False, None),
        ("<<-EOF", "EOF", True, True, None),
        ("3<<EOF", "EOF", True, False, 3),
        ("12<<-'a b'", "a b", False, True, 12),
        ("<<'EOF'", "EOF", False, False, None),
        ('<<"EOF"', "EOF", False, False, None),
        ("<<E'O'F", "EOF", False, False, None),
        ("<<E\\ F", "E F", True, False, None),
        ("<<\\'E", "'E", True, False, None),
        ("<<EOF;", "EOF;", True, False, None),
        ("<<$EOF", "$EOF", True, False, None),
        ("<<${EOF}", "${EOF}", True, False, None),
        ("<< EOF", "EOF", True, False, None),
        ("<<a/b.txt", "a/b.txt", True, False, None),
    ],
)
def test_a_word_that_opens_a_heredoc(
    word: str, name: str, *, expands: bool, strips_tabs: bool, descriptor: int | None
) -> None:
    opening = heredoc_opening(word)
    assert opening is not None
    assert (opening.name, opening.expands) == (name, expands)
    assert (opening.strips_tabs, opening.file_descriptor) == (strips_tabs, descriptor)


@pytest.mark.parametrize(
    "word", ["", "EOF", "<EOF", "<<", "<<-", "<<<EOF", "a<<EOF", "<<EOF<", "<<a b", "<<'E", "<<''", "<<${E"]
)
def test_a_word_that_opens_none(word: str) -> None:
    assert heredoc_opening(word) is None


def test_a_line_may_open_several_heredocs() -> None:
    openings = heredoc_openings("RUN cat <<A 2>x <<-'B' | sed \"<<C\" '<<D' > y <<E")
    assert [opening.name for opening in openings] == ["A", "B", "E"]


def test_the_terminator_may_be_followed_by_anything_at_once() -> None:
    source = reader("COPY <<A <<B /x\na\nA\nb\nB\n# comment\nUSER x\n")
    line = source.read_line()
    assert line is not None
    line, heredocs = source.read_heredocs(line)
    assert line.span == Span(1, 5)
    assert [(heredoc.name, heredoc.body) for heredoc in heredocs] == [("A", "a\n"), ("B", "b\n")]
    following = source.read_line()
    assert following is not None
    assert (following.text, following.span) == ("USER x", Span(7, 7))


def test_a_terminator_with_a_carriage_return_ends_the_body_that_keeps_its_own() -> None:
    source = reader("RUN <<E\r\na\r\nE\r\n")
    line = source.read_line()
    assert line is not None
    (heredoc,) = source.read_heredocs(line)[1]
    assert heredoc.body == "a\r\n"


def test_only_tabs_are_stripped_and_on_every_line() -> None:
    assert without_leading_tabs("\t\ta\n \tb\n\n\tc") == "a\n \tb\n\nc"


def test_an_unterminated_heredoc_points_at_the_word_that_opens_it() -> None:
    source = reader("RUN a '<<X' <<A <<B\nA\nb\n")
    line = source.read_line()
    assert line is not None
    with pytest.raises(Refusal) as caught:
        source.read_heredocs(line)
    assert (caught.value.offset, caught.value.expected) == (16, "a line that reads 'B'")


@pytest.mark.parametrize(
    ("body", "summary"), [("make\n", "make"), ("\n make\nall\n", "make..."), ("", ""), ("a\r\nb\r\n", "a...")]
)
def test_a_heredoc_is_summed_up_by_its_first_line(body: str, summary: str) -> None:
    heredoc = Heredoc("E", body, expands=True, strips_tabs=False, file_descriptor=None, raw_body=body)
    assert heredoc.summary == summary


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "=======", ">>>>>>> main", "||||||| base", "<<<<<<<"])
def test_a_conflict_marker_is_known(line: str) -> None:
    assert is_conflict_marker(line)


@pytest.mark.parametrize("line", ["<<<<<<<<", "======= x", "<<<<<< HEAD", "RUN <<<<<<< x", "<<<<<<<HEAD"])
def test_a_line_like_a_conflict_marker_is_none(line: str) -> None:
    assert not is_conflict_marker(line)


def test_a_problem_shows_its_line_with_unprintable_characters_replaced() -> None:
    problem = SyntaxProblem("Dockerfile", 3, 6, "a reason", "something", "RUN\t\x1b[1m\udcff")
    assert problem.render() == "Dockerfile:3:6: a reason\n    RUN\t?[1m?\n       \t ^\n    expected something"


def test_a_problem_without_an_expectation_has_three_lines() -> None:
    assert SyntaxProblem("f", 1, 1, "m", None, "x").render() == "f:1:1: m\n    x\n    ^"
