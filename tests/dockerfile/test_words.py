"""Quotes, escapes and `${...}`: one row per rule of the expansion language, with the engine's answer."""

import random

import pytest
from e2b_dockerfile_utils import ShellLex

from devloop.dockerfile.words import (
    ExpansionError,
    expand,
    expand_heredoc,
    expand_words,
    heredoc_words,
    names_in,
    names_in_heredoc,
)

ENV = {
    "x": "value",
    "empty": "",
    "other": "x",
    "path": "/usr/local/lib/a.tar.gz",
    "aba": "abcabc",
    "lines": "one\ntwo",
    "star": "*",
    "money": "$0-$1${x}$$",
    "ports": "80 443\t 53/udp ",
    "é1": "accent",
    "_u": "under",
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        # plain text, variables
        ("", ""),
        ("plain", "plain"),
        ("a b  c", "a b  c"),
        ("$x", "value"),
        ("${x}", "value"),
        ("a$x.b", "avalue.b"),
        ("a${x}b", "avalueb"),
        ("$xb", ""),
        ("$_u$é1", "underaccent"),
        ("$x$x", "valuevalue"),
        ("[$unset]", "[]"),
        ("[${unset}]", "[]"),
        # a dollar that names nothing
        ("$", "$"),
        ("a$", "a$"),
        ("$.x", "$.x"),
        ("$ x", "$ x"),
        ("100%$/", "100%$/"),
        ('"$"', "$"),
        # special and positional parameters are unset
        ("[$1]", "[]"),
        ("[$12b]", "[b]"),
        ("[$@$*$#$?$-$!$0]", "[]"),
        ("[$$x]", "[x]"),
        ("[${1}${@}${0}]", "[]"),
        ("${1:-d}", "d"),
        # single quotes keep everything
        ("'$x'", "$x"),
        ("'a\\b'", "a\\b"),
        ("'a\"b'", 'a"b'),
        ("a'b c'd", "ab cd"),
        ("''", ""),
        # double quotes expand
        ('"$x"', "value"),
        ('"${x}y"', "valuey"),
        ("\"a'$x'b\"", "a'value'b"),
        ('"\\$x"', "$x"),
        ('"a\\"b"', 'a"b'),
        ('"a\\\\b"', "a\\b"),
        ('"a\\nb"', "a\\nb"),
        ('"a\\ b"', "a\\ b"),
        ('""', ""),
        # outside quotes the escape keeps the next character, whatever it is
        ("\\$x", "$x"),
        ("\\\\$x", "\\value"),
        ("a\\nb", "anb"),
        ("\\'a\\'", "'a'"),
        ('\\"a', '"a'),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        # - and :-
        ("${x-d}", "value"),
        ("${x:-d}", "value"),
        ("${unset-d}", "d"),
        ("${unset:-d}", "d"),
        ("${empty-d}", ""),
        ("${empty:-d}", "d"),
        ("${unset:-}", ""),
        ("${unset:-$x}", "value"),
        ("${unset:-${other:-b}c}", "xc"),
        ("${unset:-${also:-${x}}}", "value"),
        ("${unset:-a b}", "a b"),
        ("${unset:-'$x'}", "$x"),
        ('${unset:-"a}b"}', "a}b"),
        ("${unset:-a\\}b}", "a}b"),
        ("${unset:--}", "-"),
        ("${unset:-:-}", ":-"),
        ('"${unset:-"q"}"', "q"),
        ("${unset:-/usr/bin}:$x", "/usr/bin:value"),
        # + and :+
        ("${x+s}", "s"),
        ("${x:+s}", "s"),
        ("${unset+s}", ""),
        ("${unset:+s}", ""),
        ("${empty+s}", "s"),
        ("${empty:+s}", ""),
        ("/bin${x:+:$x}", "/bin:value"),
        # ? and :?
        ("${x?m}", "value"),
        ("${x:?m}", "value"),
        ("[${empty?m}]", "[]"),
        # prefixes and suffixes
        ("${path#/}", "usr/local/lib/a.tar.gz"),
        ("${path#*/}", "usr/local/lib/a.tar.gz"),
        ("${path##*/}", "a.tar.gz"),
        ("${path%.*}", "/usr/local/lib/a.tar"),
        ("${path%%.*}", "/usr/local/lib/a"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path%%/*}", ""),
        ("${path#nothing}", "/usr/local/lib/a.tar.gz"),
        ("${path%.tar.gz}", "/usr/local/lib/a"),
        ("${aba#???}", "abc"),
        ("${aba#?*c}", "abc"),
        ("${aba##?*c}", ""),
        ("${aba%b*}", "abca"),
        ("${aba%%b*}", "a"),
        ("${aba#}", "abcabc"),
        ("${aba%%}", "abcabc"),
        ("${aba#*}", "abcabc"),
        ("${aba##*}", ""),
        ("${unset#a}", ""),
        ("${star#\\*}", ""),
        ("${aba#\\*}", "abcabc"),
        ("${aba#[a]}", "abcabc"),
        ("${lines#*t}", "one\ntwo"),
        ("${lines##o*}", "\ntwo"),
        ("${aba#$other}", "abcabc"),
        ("${aba#'ab'}", "cabc"),
        # replacement
        ("${aba/b/X}", "aXcabc"),
        ("${aba//b/X}", "aXcaXc"),
        ("${aba//b/}", "acac"),
        ("${aba/b*/X}", "aX"),
        ("${aba//?/X}", "XXXXXX"),
        ("${aba//*/X}", "X"),
        ("${aba//z/X}", "abcabc"),
        ("${aba//b/$x}", "avaluecavaluec"),
        ("${path//\\//_}", "_usr_local_lib_a.tar.gz"),
        ("${aba/a/\\}}", "\\}bcabc"),
        ("${aba//[a]/X}", "abcabc"),
        ("${aba/${other}/X}", "abcabc"),
        ("${aba//b/'c}'}", "ac}cac}c"),
        ("${aba//a/$money}", "a-$bca-$bc"),
        ("${aba/a/$money}", "$0-$1${x}$$bcabc"),
        ("${unset/a/b}", ""),
        ("${aba///-}", "-a-b-c-a-b-c-"),
        # a byte order mark at the start of a word is skipped, later ones are text
        ("\ufeffa\ufeff$x", "a\ufeffvalue"),
    ],
)
def test_a_word_expands_to(word: str, expected: str) -> None:
    assert expand(word, ENV) == expected


@pytest.mark.parametrize(
    ("word", "message", "offset"),
    [
        ("a'b", "no closing single quote", 1),
        ('ab"c', "no closing double quote", 2),
        ("a${", "no closing brace of a ${", 1),
        ("${x", "no closing brace of a ${", 0),
        ("a ${x:", "no closing brace of a ${", 2),
        ("${x:-a", "no closing brace of a ${", 5),
        ("${x:-'a}", "no closing single quote", 5),
        ("${x/a", "no second slash in a ${x/pattern/replacement}", 4),
        ("${x/a}", "no second slash in a ${x/pattern/replacement}", 4),
        ("${x/a/b", "no closing brace of a ${", 6),
        ("a${}", "bad substitution: a ${ needs a name", 1),
        ("${:-a}", "bad substitution: a ${ needs a name", 0),
        ("${{x}}", "bad substitution: a ${ needs a name", 0),
        ("${x:0:1}", "unsupported modifier (:0) in substitution", 0),
        ("${x:=a}", "unsupported modifier (:=) in substitution", 0),
        ("${x^^}", "unsupported modifier (^) in substitution", 0),
        ("${x,}", "unsupported modifier (,) in substitution", 0),
        ("${!x}", "unsupported modifier (x) in substitution", 0),
        ("${x y}", "unsupported modifier ( ) in substitution", 0),
        ("${unset?}", "unset: is not allowed to be unset", 0),
        ("${unset:?}", "unset: is not allowed to be unset", 0),
        ("b${empty:?}", "empty: is not allowed to be empty", 1),
        ("${unset:?set $x please}", "unset: set value please", 0),
        ("${aba#\\a}", "invalid escape '\\a' in the pattern '\\\\a'", 0),
    ],
)
def test_a_word_is_refused_with_a_reason_and_a_place(word: str, message: str, offset: int) -> None:
    with pytest.raises(ExpansionError) as caught:
        expand(word, ENV)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("`$x", "$x"),
        ("\\$x", "\\value"),
        ("``$x", "`value"),
        ("C:\\dir", "C:\\dir"),
        ('"`"a`$x"', '"a$x'),
        ('"\\$x"', "\\value"),
        ("a` b", "a b"),
        ("${star#\\*}", ""),
    ],
)
def test_with_the_backtick_as_escape_a_backslash_is_a_character(word: str, expected: str) -> None:
    assert expand(word, ENV, escape="`") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("80", ("80",)),
        ("80 443", ("80", "443")),
        ("$ports", ("80", "443", "53/udp")),
        ('"$ports"', ("80 443\t 53/udp ",)),
        ("$x$ports", ("value80", "443", "53/udp")),
        ("$unset", ()),
        ("a $unset b", ("a", "b")),
        ('a "" b', ("a", "b")),
        ("a\\ b c", ("a b", "c")),
        ("'a b' c", ("a b", "c")),
        ("${unset:-1 2}", ("1", "2")),
        ("a\u00a0b\u2003c", ("a", "b", "c")),
        ("a\x1cb", ("a\x1cb",)),
        ("<< EOF x", ("<< EOF", "x")),
    ],
)
def test_words_are_split_after_the_expansion_at_unquoted_blanks(text: str, expected: tuple[str, ...]) -> None:
    assert expand_words(text, ENV) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("plain\n", "plain\n"),
        ("a=$x\n", "a=value\n"),
        ('it\'s "$x"\n', 'it\'s "value"\n'),
        ("'$x'", "'value'"),
        ("\\$x \\n \\\\", "$x n \\"),
        ("end\\\nnext", "end\nnext"),
        ("${unset:-it's}", "it's"),
        ("cost $5\n", "cost \n"),
        ("`$x`", "`value`"),
    ],
)
def test_a_heredoc_keeps_its_quotes_and_expands_inside_them(body: str, expected: str) -> None:
    assert expand_heredoc(body, ENV) == expected


def test_a_heredoc_can_be_refused_too() -> None:
    with pytest.raises(ExpansionError, match="bad substitution"):
        expand_heredoc("a ${} b", ENV)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("plain", set()),
        ("'$a'", set()),
        ("\\$a", set()),
        ("$a${b}", {"a", "b"}),
        ("${a:-$b}", {"a", "b"}),
        ("${a:+${b:?$c}}", {"a", "b", "c"}),
        ("${a/$b/$c}${d#$e}", {"a", "b", "c", "d", "e"}),
        ('"$a"', {"a"}),
        ("${a:?}${b}", {"a", "b"}),
        ("$a ${", {"a"}),
        ("$1$@", {"1", "@"}),
    ],
)
def test_the_names_in_a_word_include_those_of_unused_defaults(word: str, names: set[str]) -> None:
    assert names_in(word) == names


def test_the_names_in_a_heredoc_include_those_in_quotes() -> None:
    assert names_in_heredoc("'$a' \\$b ${c:-$d}") == {"a", "c", "d"}


def test_names_follow_the_files_escape() -> None:
    assert names_in("`$a\\$b", escape="`") == {"b"}


def test_the_search_for_heredocs_keeps_everything_as_written() -> None:
    text = 'RUN cat $x ${y:-z} \'a b\' "c\\" d" e\\ f << EOF'
    expected = ("RUN", "cat", "$x", "${y:-z}", "'a b'", '"c\\" d"', "e\\ f", "<< EOF")
    assert heredoc_words(text, keep_quotes=True, keep_escapes=True) == expected


def test_the_search_for_heredocs_gives_up_on_an_unbalanced_quote() -> None:
    assert heredoc_words("it's <<EOF", keep_quotes=True, keep_escapes=True) is None


def test_a_pattern_of_many_stars_costs_no_more_than_its_length() -> None:
    value = "a" * 300
    assert expand("${v##" + "*a" * 60 + "b}", {"v": value}) == value
    assert expand("${v//" + "*a" * 60 + "b/X}", {"v": value[:60]}) == value[:60]


def test_substitutions_nested_beyond_all_use_are_refused() -> None:
    assert expand("${a:-" * 90 + "x" + "}" * 90, {}) == "x"
    with pytest.raises(ExpansionError, match="too many nested substitutions"):
        expand("${a:-" * 2000 + "x" + "}" * 2000, {})


def test_expansion_agrees_with_an_independent_port_of_buildkits_lexer() -> None:
    # Replacement (`${x/a/b}`) is left out: the peer has Python's rules for empty matches, BuildKit Go's.
    rng = random.Random(20)
    pieces = [
        "a", "b", " ", "$x", "${x}", "${unset}", "$1", "$", "\\", "'", '"', "\\$", "<", "}", "${x:-",
        "${unset-", "${empty:+",
        "${path##*", "${path%.", "${aba#a", "${unset:?", "${x:0", "'a b'", '"$x"', "é",
    ]  # fmt: skip
    compared = refused = 0
    for _ in range(4000):
        word = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 7)))
        peer: str | None
        try:
            peer = ShellLex("\\", env=ENV, skip_unset_env=False).process_word(word)
        except ValueError:
            peer = None
        ours: str | None
        try:
            ours = expand(word, ENV)
        except ExpansionError:
            ours = None
        assert ours == peer, word
        compared += ours is not None
        refused += ours is None
    assert min(compared, refused) > 400
