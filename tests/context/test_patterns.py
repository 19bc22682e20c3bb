"""Ignore files line by line, and the wildcards of COPY: each case is named by the rule it shows."""

from __future__ import annotations

import pytest

from devloop.context.patterns import (
    NO_RULES,
    IgnoreProblem,
    IgnoreRules,
    has_wildcard,
    match_path,
    parse_excludes,
    parse_ignore,
    path_pattern_problem,
)


def rules(text: str | bytes) -> IgnoreRules:
    parsed = parse_ignore(text.encode() if isinstance(text, str) else text, file=".dockerignore")
    assert isinstance(parsed, IgnoreRules)
    return parsed


def problem(text: str) -> IgnoreProblem:
    parsed = parse_ignore(text.encode(), file=".dockerignore")
    assert isinstance(parsed, IgnoreProblem)
    return parsed


@pytest.mark.parametrize(
    ("rule", "text", "ignored", "kept"),
    [
        ("a byte order mark is dropped", "\ufeffa", "a", "b"),
        ("a hash at the start is a comment", "#a\nb", "b", "#a a"),
        ("a hash after a blank is a pattern", " #a", "#a", "a"),
        ("blanks around a line vanish", "\t a \t", "a", "b"),
        ("a carriage return is harmless", "a\r\nb\r\n", "a b", "c"),
        ("a blank line says nothing", "\n\n  \na", "a", "b"),
        ("an exception keeps what was ignored", "*\n!a", "b", "a"),
        ("blanks after the exclamation mark vanish", "*\n!  a", "b", "a"),
        ("a path is cleaned lexically", "./a\nb/\nx/../c\nd//e", "a b c d/e", "x x/c d"),
        ("one leading slash is dropped", "/a\n//b\n!/c", "a b", "c"),
        ("an exception loses its leading slash too", "*\n!/a", "b", "a"),
        ("what leads out of the context matches nothing", "../a", "", "a ../b"),
        ("the root cannot be ignored", ".\n/", "", "a a/b"),
        ("a path below an ignored directory is ignored", "d", "d d/a d/e/f", "da"),
        ("a pattern is anchored at the root", "*.md\nb", "a.md b", "d/a.md d/b"),
        ("the last line that matches wins", "a\n!a\na", "a", "b"),
        ("an exception before its pattern has no effect", "!d/b\nd", "d/b", "e"),
        ("an exception below an ignored directory keeps that file", "d\n!d/b", "d d/a", "d/b"),
        ("a later pattern ignores again inside an exception", "*\n!d\nd/e", "x d/e d/e/f", "d d/f"),
        ("a parent that was re-included by name does not lift its other lines", "d\n!d\nd/b", "d/b", "d d/a"),
        ("a star does not cross a slash", "a*b\nc/*", "ab axxb c/d", "a/b c"),
        ("what a star matches is ignored with all below it", "c/*", "c/d c/d/e", "c"),
        ("a question mark is one character but no slash", "a?b", "axb", "ab a/b axxb"),
        ("a question mark is one character, not one byte", "?", "é", "éé"),
        ("a class is a set or range", "[a-c]x", "ax bx", "dx -x"),
        ("a caret negates a class", "[^a]x", "bx", "ax"),
        ("an exclamation mark in a class is a character like any other", "[!a]x", "!x ax", "bx"),
        ("a class may hold an escaped bracket", r"[\]a]x", "]x ax", "bx"),
        ("a double bracket is an opening bracket", "[[]x", "[x", "x"),
        ("a backslash hides a star", r"a\*", "a*", "ab"),
        ("a backslash may hide what needs no hiding", r"\#a\.b", "#a.b", "#axb"),
        ("two stars are any number of directories, none included", "**/x", "x a/x a/b/x x/y", "ax a/bx"),
        ("two stars at the end are everything below, not the directory", "d/**", "d/a d/b/c", "d de"),
        ("two stars in the middle", "a/**/b", "a/b a/x/b a/x/y/b", "ab b"),
        ("two stars need no slashes around them", "a**/b", "ab ax/b a/x/b", "b axb"),
        ("two stars and a name match the end of a path", "**b", "b ab x/ab", "ba"),
        ("two stars alone are everything", "**", "a a/b", ""),
        ("two stars with a wildcard", "**/*.pyc", "a.pyc d/a.pyc", "a.py a.pyco"),
        ("two stars with a longer path", "**/a/b", "a/b x/a/b a/b/c", "b xa/b"),
        ("patterns are sensitive to case", "a", "a", "A"),
        ("a dot file gets no special treatment", "*", ".a b", ""),
        ("a dot is a dot", "a.b", "a.b", "axb"),
        ("a caret outside of a class is a character", "a^b", "a^b", "ab"),
        ("characters that mean something elsewhere", "a+(b){c}|$", "a+(b){c}|$", "a"),
        ("blanks inside stay", "a b", "a b".replace(" ", "\\s"), "a"),
        ("a name that is no text in UTF-8", b"\xff*".decode("utf-8", "surrogateescape"), "\udcffx", "x"),
        (
            "an allow list keeps files but not their directories",
            "**\n!src/**\n!*.toml",
            "a src",
            "src/a x.toml",
        ),
        ("a line that changes nothing is not remembered", "d/x\n!d", "d/x", "d/y"),
    ],
)
def test_ignore_rule(rule: str, text: str, ignored: str, kept: str) -> None:
    decided = rules(text.encode("utf-8", "surrogateescape"))
    for path in ignored.split():
        assert decided.excludes(path.replace("\\s", " ")), (rule, path)
    for path in kept.split():
        assert not decided.excludes(path), (rule, path)


@pytest.mark.parametrize(
    ("rule", "text", "line"),
    [
        ("a lone exclamation mark", "a\n!\n", 2),
        ("an exception of the root", "!/", 1),
        ("a class that is never closed", "a\nb\n[", 3),
        ("a class that is never closed, behind what cannot match", "zzz[a", 1),
        ("an empty class", "[]a", 1),
        ("a range without an end", "[a-]", 1),
        ("a backslash at the end", "a\\", 1),
        ("an escape that regular expressions refuse", r"a\y", 1),
        ("a line that is too long", "a\n" + "b" * 70_000, 2),
    ],
)
def test_the_build_fails_on(rule: str, text: str, line: int) -> None:
    found = problem(text)
    assert (found.file, found.line) == (".dockerignore", line), rule
    assert found.message


def test_an_empty_file_ignores_nothing() -> None:
    assert rules("") is NO_RULES
    assert not rules("# only a comment\n\n").excludes("a")


def test_the_root_itself_is_never_ignored() -> None:
    assert not rules("**").excludes("")


def test_the_deciding_line_is_the_last_that_matched_the_path_or_a_parent() -> None:
    decided = rules("# first\n*\n!src\nsrc/*.log\n")
    assert decided.deciding("a") == (2, "*")
    assert decided.deciding("src/main.py") == (3, "!src")
    assert decided.deciding("src/a.log") == (4, "src/*.log")
    assert rules("a").deciding("b") is None


def test_lines_that_decide_alike_are_equal_wherever_they_stand() -> None:
    assert rules("a\nb") == rules("# comment\n\na/\n./b")
    assert rules("a\nb") != rules("b\na")
    assert hash(rules("a")) == hash(rules("/a"))


@pytest.mark.parametrize(
    ("text", "directory", "expected"),
    [
        ("node_modules", "node_modules", False),
        ("node_modules\n!node_modules/keep", "node_modules", True),
        ("node_modules\n!node_modules/keep", "node_modules/other", False),
        ("!node_modules/keep\nnode_modules", "node_modules", False),
        ("*\n!**/*.py", "any/where", True),
        ("*\n!src/**", "docs", False),
        ("*\n!src/**", "src", True),
        ("*\n!src*/a", "srcs", True),
        ("*\n!src*/a", "docs", False),
        ("d/**", "d", True),
        ("a", "b", True),
    ],
)
def test_a_walk_may_stay_out_of_a_directory_in_which_nothing_is_kept(
    text: str, directory: str, expected: bool
) -> None:
    assert rules(text).may_keep_below(directory) is expected


def test_a_walk_carries_the_decision_from_directory_to_directory() -> None:
    root = rules("*\n!src\nsrc/gen\n!src/gen/keep").root()
    src = root.enter("src")
    gen = src.enter("gen")
    assert (root.ignored, src.ignored, gen.ignored) == (False, False, True)
    assert [gen.excludes(name) for name in ("keep", "other")] == [False, True]
    assert gen.may_keep_below()


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        (("*.md",), "a.md", True),
        (("*.md", "!a.md"), "a.md", False),
        (("/a",), "a", False),
        ((" a ",), "a", True),
        (("", "  "), "a", False),
    ],
)
def test_exclude_patterns_are_like_lines_but_keep_their_leading_slash(
    patterns: tuple[str, ...], path: str, expected: bool
) -> None:
    parsed = parse_excludes(patterns)
    assert isinstance(parsed, IgnoreRules)
    assert parsed.excludes(path) is expected


def test_a_malformed_exclude_says_which_one_it_is() -> None:
    assert parse_excludes(["a", "["]) == IgnoreProblem("Dockerfile", 2, "syntax error in pattern '['")


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("a*", "a ab a.b", "b a/b ba"),
        ("*", "a .a", "a/b"),
        ("a/*", "a/b a/.b", "a a/b/c"),
        ("**/*.t", "a/b.t", "b.t a/b/c.t"),
        ("a?c", "abc aéc", "ac a/c abbc"),
        ("[a-c]", "a b c", "d A"),
        ("[^a-c]", "d", "a"),
        ("a[^b]c", "axc a/c", "abc"),
        ("[[]a", "[a", "a [[]a"),
        (r"\*", "*", "a"),
        (r"[\-]", "-", "a"),
        (r"[\]]", "]", "a"),
        ("[c-a]", "", "a b c"),
        ("[^c-a]", "a /", "ab"),
        ("a.b", "a.b", "axb"),
        ("[&-~]", "a", "!"),
        ("[a", "", "a [a"),
    ],
)
def test_copy_wildcards_match_as_in_go(pattern: str, matching: str, other: str) -> None:
    assert all(match_path(pattern, path) for path in matching.split())
    assert not any(match_path(pattern, path) for path in other.split())


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "[a-]", "[-a]", "a\\", "[\\", "[^]"])
def test_a_malformed_wildcard_matches_nothing_and_says_so(pattern: str) -> None:
    assert path_pattern_problem(pattern)
    assert not match_path(pattern, pattern)


def test_a_backslash_hides_a_wildcard() -> None:
    assert [has_wildcard(text) for text in ("a", "a*", "a?", "a[", r"a\*", r"a\\*", "a]")] == [
        False,
        True,
        True,
        True,
        False,
        True,
        False,
    ]
