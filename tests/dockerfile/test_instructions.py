"""What `parse` makes of a file. Every folder under tests/cases/dockerfile shows one rule by its name."""

import os
from pathlib import Path

import pytest

from devloop.dockerfile import instructions as ins
from devloop.dockerfile.instructions import Dockerfile, Instruction, parse, parse_onbuild, run_script
from devloop.dockerfile.lines import Span, SyntaxProblem
from support.dockerfile_dump import dump

CASES = Path(__file__).parent.parent / "cases" / "dockerfile"
RENEW = "DEVLOOP_RENEW_CASES"
"""Set to write each result.txt anew; read the difference before you commit it."""


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_a_file_parses_to_what_its_case_says(folder: Path) -> None:
    text = dump(parse((folder / "Dockerfile").read_bytes()))
    expected = folder / "result.txt"
    if os.environ.get(RENEW):
        expected.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert text == expected.read_bytes().decode("utf-8", "surrogateescape")


def test_there_are_enough_cases_of_both_kinds() -> None:
    refused = [folder for folder in CASES.iterdir() if folder.name.startswith("refused-")]
    assert len(list(CASES.iterdir())) >= 60
    assert len(refused) >= 25


def test_a_case_is_refused_exactly_when_its_name_says_so() -> None:
    for folder in CASES.iterdir():
        result = parse((folder / "Dockerfile").read_bytes())
        assert isinstance(result, SyntaxProblem) == folder.name.startswith("refused-"), folder.name


def parsed(text: str) -> Dockerfile:
    result = parse(text.encode("utf-8", "surrogateescape"))
    assert isinstance(result, Dockerfile), result
    return result


def refused(text: str) -> SyntaxProblem:
    result = parse(text.encode())
    assert isinstance(result, SyntaxProblem), result
    return result


def second(text: str) -> Instruction:
    return parsed("FROM scratch\n" + text).instructions[1]


def test_a_problem_renders_with_a_caret_under_its_column_even_behind_tabs() -> None:
    problem = refused("FROM scratch\n\tRUN\t--mout=x y\n")
    assert problem.render() == (
        "Dockerfile:2:6: unknown flag --mout; did you mean --mount?\n"
        "    \tRUN\t--mout=x y\n"
        "    \t   \t^\n"
        "    expected one of --mount, --network, --security, --device"
    )


def test_a_problem_names_the_file_it_was_told() -> None:
    problem = parse(b"FORM x\n", file="docker/web.Dockerfile")
    assert isinstance(problem, SyntaxProblem)
    assert problem.render().startswith("docker/web.Dockerfile:1:1: unknown instruction 'FORM'")


def test_a_problem_in_a_continuation_points_into_the_line_that_holds_it() -> None:
    problem = refused("FROM scratch\nENV a=1 \\\n    # why\n    b\n")
    assert (problem.line, problem.column, problem.source_line) == (4, 5, "    b")


def test_bytes_that_are_no_text_survive_in_both_directions() -> None:
    path = b"\xff\xfe\xe9".decode("utf-8", "surrogateescape")
    copy = second(f"COPY {path} /x\n")
    assert isinstance(copy, ins.Copy)
    assert copy.sources == (path,)
    assert copy.text.encode("utf-8", "surrogateescape") == b"COPY \xff\xfe\xe9 /x"


def test_only_a_line_feed_ends_a_line() -> None:
    run = second("RUN a\x0bb\x0cc\x1cd\u2028e\x85f\rg\n")
    assert isinstance(run, ins.Run)
    assert run.command == "a\x0bb\x0cc\x1cd\u2028e\x85f\rg"
    assert run.span == Span(2, 2)


def test_a_foreign_letter_whose_upper_case_is_ascii_makes_no_keyword() -> None:
    assert (
        refused("FROM scratch\nU\u017fER x\n").message
        == "unknown instruction 'U\u017fER'; did you mean USER?"
    )


def test_a_tab_behind_the_keyword_makes_the_engine_shout_the_first_argument_too() -> None:
    assert second("run\techo hi\n").text == "RUN\tECHO hi"


def test_a_line_longer_than_buildkits_scanner_takes_is_refused_with_its_number() -> None:
    assert isinstance(parse(b"FROM scratch\nRUN " + b"x" * 65_531 + b"\n"), Dockerfile)
    problem = parse(b"FROM scratch\nRUN " + b"x" * 65_532 + b"\n")
    assert isinstance(problem, SyntaxProblem)
    assert (problem.line, problem.message) == (2, "a line of more than 65535 bytes")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('["a", "b c"]', ("a", "b c")),
        ('[ "a" , "b" ]', ("a", "b")),
        ("[]", ()),
        ('["tab\\t quote\\" slash\\/ back\\\\"]', ('tab\t quote" slash/ back\\',)),
        ('["\\u00e9\\ud83d\\ude00"]', ("é\U0001f600",)),
        ('["\\ud83d"]', ("\ufffd",)),
        ('["a",]', '["a",]'),
        ("['a']", "['a']"),
        ('["a"] b', '["a"] b'),
        ('["a\\x"]', '["a\\x"]'),
        ("[ -f x ] && y", "[ -f x ] && y"),
        ("[NaN]", "[NaN]"),
        ("[-Infinity]", "[-Infinity]"),
        ("[01]", "[01]"),
        ("[" * 5000, "[" * 5000),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_an_array_of_strings_is_the_exec_form_and_anything_else_the_shell_form(
    arguments: str, expected: str | tuple[str, ...]
) -> None:
    cmd = second(f"CMD {arguments}\n")
    assert isinstance(cmd, ins.Cmd)
    assert cmd.command == expected


@pytest.mark.parametrize(
    "array", ["[1]", "[null]", '["a", true]', '[["a"]]', '[{"a": "b"}]', "[-1.5e3]", '["a", []]']
)
def test_an_array_with_something_else_than_strings_is_refused(array: str) -> None:
    problem = refused(f"FROM scratch\nRUN {array}\n")
    assert (problem.line, problem.column) == (2, 5)
    assert problem.message == "an array with something else than strings"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("500ms", 0.5),
        (".5s", 0.5),
        ("0", None),
        ("0s", None),
        ("2m", 120),
    ],
)
def test_a_duration_is_read_as_go_reads_it(written: str, seconds: float | None) -> None:
    check = second(f"HEALTHCHECK --interval={written} CMD true\n")
    assert isinstance(check, ins.Healthcheck)
    assert check.interval == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("written", ["30", "s", "1d", "-5s", "1s2", "10us", "--"])
def test_a_duration_that_go_refuses_is_refused(written: str) -> None:
    problem = refused(f"FROM scratch\nHEALTHCHECK --timeout={written} CMD true\n")
    assert problem.message.startswith("--timeout is ")


@pytest.mark.parametrize(
    ("value", "truth"), [("", True), ("=true", True), ("=TRUE", True), ("=false", False), ("=False", False)]
)
def test_a_boolean_flag_is_true_false_or_bare(value: str, *, truth: bool) -> None:
    copy = second(f"COPY --link{value} a b\n")
    assert isinstance(copy, ins.Copy)
    assert copy.link is truth


@pytest.mark.parametrize(
    ("line", "excludes", "sources"),
    [
        ("COPY --exclude=\u00e9.txt . /x", ("\u00c3\u00a9.txt",), (".",)),
        ("COPY --exclude=a\u00e0b c /x", ("a\u00c3",), ("b", "c")),
        ("COPY --exclude=\u20acb \u20ac /\u20ac", ("\u00e2\u0082\u00acb",), ("\u20ac",)),
    ],
)
def test_a_flag_is_read_byte_by_byte_as_the_engine_does(
    line: str, excludes: tuple[str, ...], sources: tuple[str, ...]
) -> None:
    copy = second(line + "\n")
    assert isinstance(copy, ins.Copy)
    assert (copy.excludes, copy.sources) == (excludes, sources)
    (warning,) = parsed("FROM scratch\n" + line).warnings
    assert (warning.line, warning.column) == (2, 6)


def test_a_flag_follows_the_files_escape() -> None:
    copy = parsed("# escape=`\nFROM scratch\nCOPY --exclude=a`*b --exclude=c\\*d x y\n").instructions[1]
    assert isinstance(copy, ins.Copy)
    assert copy.excludes == ("a*b", "c\\*d")


def test_unpack_of_add_has_three_states() -> None:
    states = [second(f"ADD {flag} a b\n") for flag in ("", "--unpack", "--unpack=false")]
    assert [state.unpack for state in states if isinstance(state, ins.Add)] == [None, True, False]


def test_the_last_of_several_spellings_of_a_mount_option_wins() -> None:
    run = second("RUN --mount=src=a,source=b,SRC=c,ro x\n")
    assert isinstance(run, ins.Run)
    mount = run.mounts[0]
    assert mount.get("source", "src") == "c"
    assert mount.get("ro", "readonly") == ""
    assert mount.get("target", "dst", "destination") is None
    assert mount.has("ro")
    assert mount.type == "bind"


def test_two_equal_files_give_equal_and_hashable_instructions() -> None:
    text = "FROM a AS b\nRUN --mount=type=cache,target=/c x\nCOPY <<E /x\nhi\nE\n"
    assert parsed(text).instructions == parsed(text).instructions
    assert len({*parsed(text).instructions, *parsed(text).instructions}) == 3
    assert parsed(text).instructions[0] != parsed(text.replace("AS b", "AS c")).instructions[0]


def test_an_instruction_shows_all_its_fields() -> None:
    assert repr(second("USER app\n")) == "User(span=Span(first=2, last=2), text='USER app', user='app')"


def test_the_second_heredoc_of_the_same_name_is_the_one_that_copy_uses_for_both() -> None:
    copy = second("COPY <<E <<E /x/\none\nE\ntwo\nE\n")
    assert isinstance(copy, ins.Copy)
    assert [heredoc.body for heredoc in copy.heredocs] == ["two\n", "two\n"]


def test_a_script_gets_the_body_without_tabs_and_a_shell_the_body_with_them() -> None:
    alone = second("RUN <<-E\n\techo\n\tE\n")
    inside = second("RUN sh <<-E\n\techo\n\tE\n")
    assert isinstance(alone, ins.Run)
    assert isinstance(inside, ins.Run)
    assert run_script(alone) == ins.HeredocBody("echo\n")
    assert run_script(inside) == ins.LineWithHeredocs("sh <<-E\n\techo\nE")


def test_a_shebang_behind_a_tab_is_no_shebang() -> None:
    run = second("RUN <<-E\n\t#!/bin/sh\nE\n")
    assert isinstance(run, ins.Run)
    assert run_script(run) == ins.HeredocBody("#!/bin/sh\n")


def test_a_trigger_is_stored_with_its_heredocs_and_parses_again() -> None:
    onbuild = second("ONBUILD COPY <<A <<-B /x/\na\nA\n\tb\n\tB\n")
    assert isinstance(onbuild, ins.Onbuild)
    assert onbuild.source_text == "COPY <<A <<-B /x/\na\nA\n\tb\nB"
    again = parse_onbuild(onbuild.source_text, file="image")
    assert isinstance(again, ins.Copy)
    assert isinstance(onbuild.instruction, ins.Copy)
    assert again.heredocs == onbuild.instruction.heredocs
    assert onbuild.instruction.span == Span(2, 6)


def test_a_trigger_is_stored_with_the_blanks_at_its_end_which_its_instruction_does_not_have() -> None:
    onbuild = second("ONBUILD   RUN make \t\n")
    assert isinstance(onbuild, ins.Onbuild)
    assert onbuild.source_text == "RUN make \t"
    assert isinstance(onbuild.instruction, ins.Run)
    assert (onbuild.instruction.command, onbuild.instruction.text) == ("make", "RUN make")


def test_a_warning_inside_a_trigger_points_into_its_line() -> None:
    (warning,) = parsed("FROM scratch\nONBUILD RUN --mount=taget=/x make\n").warnings
    assert (warning.line, warning.column) == (2, 13)


def test_a_trigger_is_read_with_the_backslash_whatever_the_files_escape_is() -> None:
    file = parsed("# escape=`\nFROM scratch\nONBUILD ENV A=b\\ c\n")
    onbuild = file.instructions[1]
    assert isinstance(onbuild, ins.Onbuild)
    assert isinstance(onbuild.instruction, ins.Env)
    assert onbuild.instruction.pairs == (("A", "b\\ c"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no instruction in this trigger"),
        ("FROM x", "FROM as a trigger of ONBUILD"),
        ("MAINTAINER x", "MAINTAINER as a trigger of ONBUILD"),
        ("ONBUILD RUN x", "ONBUILD as a trigger of ONBUILD"),
        ("RUN a\nRUN b", "a second instruction in a trigger"),
        ("COPY <<E /x\nbody", "unterminated heredoc"),
        ("RUM x", "unknown instruction 'RUM'; did you mean RUN?"),
        ("RUN a \\\n<<<<<<< HEAD", "an unresolved merge conflict"),
    ],
)
def test_a_trigger_is_exactly_one_instruction_that_may_be_one(text: str, message: str) -> None:
    problem = parse_onbuild(text, file="image")
    assert isinstance(problem, SyntaxProblem)
    assert problem.message == message
    assert problem.file == "image"


def test_a_trigger_from_an_image_parses_to_its_instruction() -> None:
    run = parse_onbuild("RUN make", file="image")
    assert run == ins.Run(span=Span(1, 1), text="RUN make", command="make")
