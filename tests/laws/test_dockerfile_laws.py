"""What holds for every text: nothing raises, spans are in order, line endings do not matter.

The default run is short. `DEVLOOP_SOAK_SECONDS=600` spreads that time over the laws.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from devloop.dockerfile import instructions as ins
from devloop.dockerfile.instructions import Dockerfile, Instruction, parse, parse_onbuild, run_script
from devloop.dockerfile.lines import Heredoc, Span, SyntaxProblem
from devloop.dockerfile.words import (
    ExpansionError,
    expand,
    expand_heredoc,
    expand_words,
    names_in,
    names_in_heredoc,
)

SOAK_SECONDS = float(os.environ.get("DEVLOOP_SOAK_SECONDS", "0"))
SHORT = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEYWORDS = [
    "FROM", "ARG", "ENV", "LABEL", "RUN", "COPY", "ADD", "WORKDIR", "USER", "SHELL", "CMD", "ENTRYPOINT",
    "EXPOSE", "VOLUME", "HEALTHCHECK", "STOPSIGNAL", "MAINTAINER", "ONBUILD", "from", "Run", "COPPY",
]  # fmt: skip
PIECES = [
    " ", "  ", "\t", "\n", "\r\n", "\\\n", "\\ \n", "`\n", "\\", "`", "#", "# c\n", "'", '"', "$", "${", "}",
    "${x:-", "[", "]", '["a", "b"]', "[1]", ",", "=", "A=1", "a", "b c", "/x", "--link", "--from=x",
    "--mount=type=cache,target=/c", "--mount=", "--", "-", "<<E", "<<-E", "<<'E'", "<<", "E\n", "\tE\n", "E",
    "{{", "<<<<<<< HEAD\n", "AS", "CMD", "NONE", "\x00", "\x0b", "\u2028", "\u00a0", "é", "\U0001f600",
    "# escape=`\n", "# syntax=x\n",
]  # fmt: skip
WORD_PIECES = [
    "$", "{", "}", "${", "x", "y", ":", "-", "+", "?", "#", "##", "%", "%%", "/", "//", "*", "\\", "`", "'",
    '"', " ", "$x", "${x}", "${x:-", "${y#", "${y%%", "${x/", "${x//", "$0", "$1", "é", "<<", "\n", "\ufeff",
]  # fmt: skip

near_dockerfiles = st.lists(
    st.sampled_from([*KEYWORDS, *(k + " " for k in KEYWORDS), *PIECES]), max_size=25
).map(lambda pieces: "".join(pieces).encode())
from_on = st.lists(
    st.tuples(st.sampled_from(KEYWORDS[:18]), st.lists(st.sampled_from(PIECES), max_size=6).map("".join)),
    max_size=6,
).map(lambda lines: ("FROM scratch\n" + "".join(f"{word} {rest}\n" for word, rest in lines)).encode())
sources = st.one_of(st.binary(max_size=80), near_dockerfiles, from_on)

words = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORD_PIECES), max_size=20).map("".join))
environments = st.dictionaries(
    st.sampled_from(["x", "y", "é"]), st.text(alphabet="ab*?\\/$1\n é", max_size=8)
)


@SHORT
@given(sources)
def test_parsing_never_raises(source: bytes) -> None:
    check_parsing_never_raises(source)


def check_parsing_never_raises(source: bytes) -> None:
    result = parse(source)
    if isinstance(result, SyntaxProblem):
        check_the_place_of(result, source)
        return
    for problem in result.warnings:
        check_the_place_of(problem, source)
    for instruction in result.instructions:
        repr(instruction)
        hash(instruction)
        if isinstance(instruction, ins.Run):
            run_script(instruction)


def check_the_place_of(problem: SyntaxProblem, source: bytes) -> None:
    assert 1 <= problem.line <= source.count(b"\n") + 1
    assert 1 <= problem.column <= len(problem.source_line) + 1
    assert problem.message
    assert "\n" not in problem.message
    assert 3 <= len(problem.render().split("\n")) <= 4


@SHORT
@given(sources)
def test_spans_are_in_order_apart_and_inside_the_file(source: bytes) -> None:
    check_spans(source)


def check_spans(source: bytes) -> None:
    result = parse(source)
    if isinstance(result, SyntaxProblem):
        return
    last = 0
    for instruction in result.instructions:
        assert last < instruction.span.first <= instruction.span.last
        last = instruction.span.last
        if isinstance(instruction, ins.Onbuild):
            assert instruction.instruction.span == instruction.span
    assert last <= source.removesuffix(b"\n").count(b"\n") + 1


@SHORT
@given(sources)
def test_line_endings_change_no_instruction(source: bytes) -> None:
    check_line_endings(source)


def check_line_endings(source: bytes) -> None:
    lines = source.replace(b"\r", b"")
    plain, dos = parse(lines), parse(lines.replace(b"\n", b"\r\n"))
    if isinstance(plain, SyntaxProblem):
        assert plain == dos
        return
    assert isinstance(dos, Dockerfile)
    assert [without_returns(i) for i in dos.instructions] == list(plain.instructions)


def without_returns(instruction: Instruction) -> Instruction:
    """The bodies of heredocs reach the image as they are, so there the line endings do stay."""
    if isinstance(instruction, ins.Onbuild):
        inner = without_returns(instruction.instruction)
        return replace(instruction, instruction=inner, source_text=instruction.source_text.replace("\r", ""))
    if isinstance(instruction, ins.Run | ins.Copy | ins.Add):
        return replace(instruction, heredocs=tuple(map(heredoc_without_returns, instruction.heredocs)))
    return instruction


def heredoc_without_returns(heredoc: Heredoc) -> Heredoc:
    return replace(heredoc, body=heredoc.body.replace("\r", ""), raw_body=heredoc.raw_body.replace("\r", ""))


@SHORT
@given(sources)
def test_a_final_line_feed_changes_no_instruction(source: bytes) -> None:
    check_final_line_feed(source)


def check_final_line_feed(source: bytes) -> None:
    lines = source.rstrip(b"\n")
    without, with_one = parse(lines), parse(lines + b"\n")
    if isinstance(without, SyntaxProblem):
        assert without == with_one
        return
    assert isinstance(with_one, Dockerfile)
    assert without.instructions == with_one.instructions


@SHORT
@given(sources)
def test_a_comment_line_between_instructions_moves_them_and_changes_nothing_else(source: bytes) -> None:
    check_comment(source)


def check_comment(source: bytes) -> None:
    result = parse(b"FROM scratch\n" + source)
    moved = parse(b"FROM scratch\n# comment\n" + source)
    if isinstance(result, SyntaxProblem):
        assert isinstance(moved, SyntaxProblem)
        assert moved.message == result.message
        return
    assert isinstance(moved, Dockerfile)
    assert [down(instruction) for instruction in result.instructions[1:]] == list(moved.instructions[1:])


def down(instruction: Instruction) -> Instruction:
    span = Span(instruction.span.first + 1, instruction.span.last + 1)
    if isinstance(instruction, ins.Onbuild):
        return replace(instruction, span=span, instruction=down(instruction.instruction))
    return replace(instruction, span=span)


@SHORT
@given(st.one_of(st.text(max_size=60), sources.map(lambda source: source.decode("utf-8", "surrogateescape"))))
def test_reading_a_trigger_never_raises(text: str) -> None:
    check_trigger(text)


def check_trigger(text: str) -> None:
    result = parse_onbuild(text.encode("utf-8", "replace").decode(), file="image")
    assert not isinstance(result, ins.From | ins.Maintainer | ins.Onbuild)


@SHORT
@given(words, environments)
def test_expansion_gives_text_or_an_expansion_error(word: str, env: dict[str, str]) -> None:
    check_expansion(word, env)


def check_expansion(word: str, env: dict[str, str]) -> None:
    for escape in "\\`":
        error = refusal_of(partial(expand, word, env, escape=escape))
        assert error == refusal_of(partial(expand_words, word, env, escape=escape))
        assert error is None or (error[0] and 0 <= error[1] <= len(word))
        if error is None:
            assert all(expand_words(word, env, escape=escape))
    error = refusal_of(partial(expand_heredoc, word, env))
    assert error is None or (error[0] and 0 <= error[1] <= len(word))


def refusal_of(expansion: Callable[[], object]) -> tuple[str, int] | None:
    try:
        expansion()
    except ExpansionError as error:
        return error.message, error.offset
    return None


@SHORT
@given(words, environments, environments)
def test_a_variable_outside_names_in_never_matters(
    word: str, env: dict[str, str], other: dict[str, str]
) -> None:
    check_names(word, env, other)


def check_names(word: str, env: dict[str, str], other: dict[str, str]) -> None:
    for names, expansion in ((names_in(word), expand), (names_in_heredoc(word), expand_heredoc)):
        mixed = {name: value for name, value in other.items() if name not in names}
        mixed |= {name: value for name, value in env.items() if name in names}
        assert outcome(expansion, word, env) == outcome(expansion, word, mixed)


def outcome(expansion: Callable[[str, dict[str, str]], str], word: str, env: dict[str, str]) -> str:
    try:
        return "text: " + expansion(word, env)
    except ExpansionError as error:
        return "error: " + error.message


@SHORT
@given(st.text(alphabet=st.characters(exclude_characters="$'\"\\\ufeff"), max_size=40), environments)
def test_text_without_special_characters_expands_to_itself(text: str, env: dict[str, str]) -> None:
    assert expand(text, env) == text
    assert expand_heredoc(text, env) == text


def one_check(check: Callable[..., None]) -> Callable[..., None]:
    """Return a new function for each seed: hypothesis keeps what it knows of a run at the function."""

    def run(values: tuple[object, ...]) -> None:
        check(*values)

    return run


SOAKED: list[tuple[Callable[..., None], tuple[st.SearchStrategy[object], ...]]] = [
    (check_parsing_never_raises, (sources,)),
    (check_spans, (sources,)),
    (check_line_endings, (sources,)),
    (check_final_line_feed, (sources,)),
    (check_comment, (sources,)),
    (check_trigger, (st.text(max_size=60),)),
    (check_expansion, (words, environments)),
    (check_names, (words, environments, environments)),
]


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("check", "strategies"), SOAKED, ids=lambda value: getattr(value, "__name__", ""))
def test_the_laws_hold_for_as_long_as_asked(
    check: Callable[..., None], strategies: tuple[st.SearchStrategy[object], ...]
) -> None:
    """Without a time that was asked for, each law gets one short round from a seed of the day's own."""
    end = time.monotonic() + SOAK_SECONDS / len(SOAKED)
    number = int.from_bytes(os.urandom(4), "big")
    rounds = 0
    while not rounds or time.monotonic() < end:
        rounds += 1
        number += 1
        print(f"seed {number}")  # noqa: T201 - shown with a failure, which it makes repeatable
        long = settings(
            max_examples=2000 if SOAK_SECONDS else 100,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        long(seed(number)(given(st.tuples(*strategies))(one_check(check))))()
