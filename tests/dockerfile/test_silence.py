"""Comments that silence devloop: where they count, and what is left alone."""

import pytest

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.dockerfile.silence import Silences, silences


def read(text: str) -> Silences:
    parsed = parse(text.encode(), file="Dockerfile")
    assert isinstance(parsed, Dockerfile)
    return silences(parsed)


def test_a_comment_above_an_instruction_speaks_of_that_instruction() -> None:
    found = read("FROM a\nCOPY . .\n# devloop: ignore=source-above-install\nRUN npm ci\nRUN make\n")
    assert found.silenced("source-above-install", 4, 4)
    assert not found.silenced("source-above-install", 2, 2)
    assert not found.silenced("source-above-install", 5, 5)
    assert not found.silenced("dependency-install", 4, 4)


def test_a_comment_in_the_head_speaks_of_the_whole_file() -> None:
    found = read("# syntax=docker/dockerfile:1\n# devloop: ignore=a-b\n\nARG X\nFROM a\nRUN one\nRUN two\n")
    assert found.silenced("a-b", 6, 6)
    assert found.silenced("a-b", 7, 7)


def test_other_comments_and_blank_lines_may_stand_between() -> None:
    found = read(
        "FROM a\nRUN one\n# devloop: ignore=x\n\n# hadolint ignore=DL3042\n# check=skip=all\nRUN two\n"
    )
    assert found.silenced("x", 7, 7)
    assert not found.silenced("x", 2, 2)


def test_a_comment_among_continuation_lines_speaks_of_their_instruction() -> None:
    found = read("FROM a\nRUN one \\\n  # devloop: ignore=x\n  two\nRUN three\n")
    assert found.silenced("x", 2, 4)
    assert not found.silenced("x", 5, 5)


@pytest.mark.parametrize("opening", ["RUN <<EOF", "COPY <<EOF /script"])
def test_a_line_of_a_heredoc_is_no_comment_of_the_dockerfile(opening: str) -> None:
    found = read(f"FROM a\n{opening}\n# devloop: ignore=x\nEOF\nRUN two\n")
    assert found.comments == ()


def test_a_comment_above_an_instruction_with_a_heredoc_counts() -> None:
    found = read("FROM a\n# devloop: ignore=x\nRUN <<A cat <<B\n# devloop: ignore=y\nA\ntwo\nB\n")
    assert found.silenced("x", 3, 7)
    assert not found.silenced("y", 3, 7)


@pytest.mark.parametrize(
    "comment",
    [
        "# devloop: ignore=one,two",
        "#devloop:ignore=one,two",
        "# Devloop: Ignore = one , TWO",
        "   #\tDEVLOOP : IGNORE= One,two because of the proxy",
        "# devloop: ignore=one,two  # explained elsewhere",
        "# devloop: ignore=one,two\r",
    ],
)
def test_case_and_blanks_do_not_matter_and_a_remark_may_follow(comment: str) -> None:
    found = read(f"FROM a\nARG X\n{comment}\nRUN b\n")
    assert [one.codes for one in found.comments] == [("one", "two")]
    assert found.silenced("ONE", 4, 4)
    assert found.silenced("two", 4, 4)


@pytest.mark.parametrize(
    "comment",
    [
        "# hadolint ignore=DL3042",
        "# check=skip=JSONArgsRecommended",
        "# ignore=one",
        "# devloop ignore=one",
        "# see devloop: ignore=one",
        "# devloop: ignored=one",
    ],
)
def test_what_only_resembles_the_comment_silences_nothing(comment: str) -> None:
    found = read(f"FROM a\nRUN z\n{comment}\nRUN b\n")
    assert not found.silenced("one", 4, 4)


def test_a_comment_below_the_last_instruction_speaks_of_nothing() -> None:
    assert read("FROM a\nRUN b\n# devloop: ignore=x\n").comments == ()


def test_the_lines_of_a_finding_need_only_touch_the_instruction() -> None:
    found = read("FROM a\nCOPY . .\n# devloop: ignore=x\nRUN b \\\n c\nRUN d\n")
    assert found.silenced("x", 2, 4)
    assert found.silenced("x", 5, 6)


def test_codes_that_no_rule_has_are_known_with_their_lines() -> None:
    found = read(
        "# devloop: ignore=known\nFROM a\n# devloop: ignore=Known,typo\nRUN b\n# devloop: ignore\nRUN c\n"
    )
    assert found.unknown({"known"}) == ((3, "typo"), (5, ""))


def test_a_directive_below_the_comment_is_what_buildkit_makes_of_it() -> None:
    parsed = parse(b"# check=skip=all\n# devloop: ignore=x\nFROM a\n", file="Dockerfile")
    assert isinstance(parsed, Dockerfile)
    assert parsed.check == "skip=all"
    assert silences(parsed).silenced("x", 3, 3)
