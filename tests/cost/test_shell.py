"""A shell text comes apart into the commands that it runs, whatever they are wrapped in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devloop.cost.shell import Command, commands_of, commands_of_words, positionals, program_name


def lines(text: str) -> list[str]:
    return [" ".join(command.words) for command in commands_of(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 1 && b 2 || c; d | e & f\ng", ["a 1", "b 2", "c", "d", "e", "f", "g"]),
        ("a '&& b' \"; c | d\" \\; e", ["a && b ; c | d ; e"]),
        ("a \\\n  --flag \\\n  x", ["a --flag x"]),
        ("(a; b) && { c; }", ["a", "b", "c"]),
        ("if a; then b; elif c; then d; else e; fi", ["a", "b", "c", "d", "e"]),
        ("for x in 1 2; do a $x; done", ["a $x"]),
        ("for x in $(list all); do a $x; done", ["list all", "a $x"]),
        ("while a; do b; done; until c; do d; done", ["a", "b", "c", "d"]),
        ("case $X in 1|2) a ;; *) b; c ;; esac; d", ["a", "b", "c", "d"]),
        ("case $X in (1) a;; esac && b", ["a", "b"]),
        ("case $X in esac; b", ["b"]),
        ("f() { a; }; f", ["a", "f"]),
        ("function f { a; }", ["a"]),
        ("! a", ["a"]),
        ("[[ -f x && -d y ]] && a", ["[[ -f x -d y ]]", "a"]),
        ("a > out 2>&1 < in && b >> log 2>/dev/null", ["a", "b"]),
        ("a &> all; b 2>| c", ["a", "b"]),
        ("a # && b\nc", ["a", "c"]),
        ("a b#c", ["a b#c"]),
        ("X=$(a 'b)' c) d", ["a b) c", "d"]),
        ('echo "now `a b` and $(c "$(d)")"', ["a b", "d", "c $(d)", 'echo now `a b` and $(c "$(d)")']),
        ("a $((1 + 2)) ${X:-y z}", ["a $((1 + 2)) ${X:-y z}"]),
        ("bash <(a b) c", ["a b", "bash <(...) c"]),
        ("a > $(b)", ["b", "a"]),
        ("a |\nb &&\n\nc", ["a", "b", "c"]),
        ("cd /x && set -eux; export A=b; umask 022; :; true; a", ["a"]),
        (". venv/bin/activate && a", ["a"]),
        ("", []),
        (" \n\t# nothing\n", []),
    ],
)
def test_a_text_is_split_where_a_shell_splits_it(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "X=1 Y='a b' make it",
        "env -i A=b make it",
        "env -u HOME make it",
        "sudo -E -u app make it",
        "sudo -H A=b make it",
        "exec make it",
        "time -p make it",
        "nice -n 19 make it",
        "command make it",
        "timeout -k 5 60 make it",
        "retry 3 make it",
        "eatmydata make it",
        "xvfb-run -a make it",
        "su app -c 'make it'",
        "su - app -s /bin/sh -c 'make it'",
        "gosu app make it",
        "su-exec app:app make it",
        "runuser -u app -- make it",
        "runuser -l app -c 'make it'",
        "setpriv --reuid=1 --clear-groups make it",
        "bash -lc 'make it'",
        "bash -euxo pipefail -c 'make it'",
        "bash -o pipefail -c 'make it'",
        "sh -e -c 'make it'",
        "/bin/sh -c -e 'make it'",
        "conda run -n web --no-capture-output make it",
        "micromamba run -n web make it",
        "uv run --no-sync --with x make it",
        "poetry run make it",
        "pipx run make it",
        "npx --yes make it",
        "pnpm exec make it",
        "bundle exec make it",
        "xargs -n 1 make it",
        "eval 'make it'",
        "scl enable tools 'make it'",
        "sudo env A=b nice sh -c 'exec timeout 5 make it'",
        "<<EOF\nmake it\nEOF\n",
        "bash <<'EOF'\nmake it\nEOF\n",
        "<<-EOF\n\tmake it\n\tEOF\n",
        "<<EOF\n#!/usr/bin/env bash\nmake it\nEOF\n",
        "sh -c 'sh -c \"make it\"'",
    ],
)
def test_wrappers_come_off(text: str) -> None:
    assert lines(text) == ["make it"]


def test_a_heredoc_is_data_for_a_program_that_is_no_shell() -> None:
    (command,) = commands_of("cat <<EOF > /etc/app.conf\nmake it && rm x\nEOF\n")
    assert command.words == ("cat",)
    assert command.body == "make it && rm x\n"


def test_several_heredocs_of_one_step_are_read_in_order() -> None:
    text = "cat <<A > /a && sh <<B\nfor a\nA\nmake it\nB\nls\n"
    assert lines(text) == ["cat", "make it", "ls"]


def test_an_interpreter_line_gives_the_heredoc_to_its_program() -> None:
    assert lines("<<EOF\n#!/usr/bin/env -S python3 -u\nprint('make it')\nEOF\n") == ["python3 -u"]


def test_text_that_no_shell_accepts_still_shows_its_commands() -> None:
    assert lines("a 'open && b") == ["a open && b"]
    assert lines("a; ) b; fi; $(c") == ["a", "b", "c", "$(c"]
    assert lines("<<EOF\na\n") == ["a"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("npm", "ci"), ["npm ci"]),
        (("sh", "-c", "a && b"), ["a", "b"]),
        (("a", "x && y"), ["a x && y"]),
        (("sudo", "a"), ["a"]),
        ((), []),
    ],
)
def test_an_exec_form_is_one_program_unless_it_is_a_shell(
    words: tuple[str, ...], expected: list[str]
) -> None:
    assert [" ".join(command.words) for command in commands_of_words(words)] == expected


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("/opt/venv/bin/pip3.12", "pip"),
        ("python3", "python"),
        ("python3-config", "python3-config"),
        ("./mvnw", "mvnw"),
        ("composer.phar", "composer"),
        ("xx-cargo", "cargo"),
        ("xx-info", "xx-info"),
        ("gcc-13", "gcc"),
        ("7z", "7z"),
    ],
)
def test_a_program_is_known_by_its_plain_name(word: str, name: str) -> None:
    assert program_name(word) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("npm --prefix web ci", ("ci",)),
        ("mvn -q -B -f x/pom.xml package", ("package",)),
        ("apt-get -qq -o A::B=3 install curl", ("install", "curl")),
        ("git -C dir clone url", ("clone", "url")),
        ("cargo +nightly build", ("build",)),
        ("make -j 4 CC=clang all", ("all",)),
        ("make -j $(nproc)", ()),
        ("python -W ignore x.py", ("ignore", "x.py")),
        ("yarn", ()),
    ],
)
def test_the_subcommand_is_the_first_word_that_is_no_flag(text: str, expected: tuple[str, ...]) -> None:
    assert positionals(commands_of(text)[-1]) == expected


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ("npm ci", None),
        ("cd web && npm ci", "web"),
        ("npm --prefix web ci", "web"),
        ("npm --prefix=web ci", "web"),
        ("cd /src && go -C api build", "api"),
        ("sh -c 'cd web && npm ci'", "web"),
        ("composer -d /app install", "/app"),
    ],
)
def test_a_command_knows_the_folder_it_works_in(text: str, directory: str | None) -> None:
    assert commands_of(text)[-1].directory == directory


@pytest.mark.parametrize(
    ("text", "conditional"),
    [
        ("a; b", [False, False]),
        ("a || b; c", [False, True, False]),
        ("a ||\n b", [False, True]),
        ("if a; then b; fi; c", [True, True, False]),
        ("case x in y) a;; esac; b", [True, False]),
        ("if a; then sh -c 'b'; fi", [True, True]),
        ("while a; do b; done", [False, False]),
    ],
)
def test_branches_are_marked(text: str, conditional: list[bool]) -> None:
    assert [command.is_conditional for command in commands_of(text)] == conditional


def test_the_receiver_of_a_pipe_is_marked() -> None:
    assert [command.is_piped_into for command in commands_of("a | b | sh; c")] == [False, True, True, False]


def test_mix_runs_the_tasks_of_a_do_list() -> None:
    assert lines("mix do deps.get --only prod, deps.compile") == [
        "mix deps.get --only prod",
        "mix deps.compile",
    ]
    assert lines("mix do deps.get + compile") == ["mix deps.get", "mix compile"]


def test_find_runs_what_stands_behind_exec() -> None:
    assert lines("find / -name x -exec rm -f {} \\; -print")[1] == "rm -f {}"
    assert lines("find . -exec sh -c 'npm ci' \\;")[1:] == ["npm ci"]


def test_texts_that_call_shells_without_end_stop_somewhere() -> None:
    text = "x"
    for _ in range(12):
        text = "sh -c " + "'" + text.replace("'", "'\\''") + "'"
    assert len(commands_of(text)) == 1


SHELLISH = st.text(alphabet="ab $(){}'\"`\\\n;|&<>#=-[]! EOFifdonecasin", max_size=60)


@given(SHELLISH)
def test_any_text_is_read_to_its_end(text: str) -> None:
    for command in commands_of(text):
        assert isinstance(command, Command)
        assert all(isinstance(word, str) for word in command.words)


@given(st.lists(st.text(alphabet="abc ;&|'$\"", min_size=1, max_size=8), min_size=1, max_size=4))
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    (command,) = commands_of(f"program {quoted}")
    assert command.words == ("program", *words)
