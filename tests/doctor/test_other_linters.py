"""Comments for other linters, which the doctor hears where it would say the same."""

import pytest

from devloop.dockerfile.instructions import Dockerfile, parse
from devloop.doctor.other_linters import told_to_others


def parsed(text: str) -> Dockerfile:
    found = parse(text.encode(), file="Dockerfile")
    assert isinstance(found, Dockerfile)
    return found


@pytest.mark.parametrize(
    ("comment", "code", "is_heard"),
    [
        ("# hadolint ignore=DL3020", "add-for-local-files", True),
        ("# hadolint ignore=DL3003, dl3025", "shell-form-command", True),
        ("#hadolint ignore = DL3007", "floating-base", True),
        ("# hadolint ignore=DL3042", "no-cache-mount", False),
        ("# hadolint ignore=DL3020", "shell-form-command", False),
        ("# check=skip=JSONArgsRecommended", "shell-form-command", False),
    ],
)
def test_a_comment_for_hadolint_speaks_of_the_next_instruction(
    comment: str, code: str, is_heard: bool
) -> None:
    found = told_to_others(parsed(f"FROM a\nRUN a\n{comment}\nADD x /x\nCMD b\n"))
    assert found.silenced(code, 4, 4) is is_heard
    assert not found.silenced(code, 2, 2)
    assert not found.silenced(code, 5, 5)


@pytest.mark.parametrize(
    ("comment", "code", "is_heard"),
    [
        ("# hadolint global ignore=DL3020,DL3025", "add-for-local-files", True),
        ("# hadolint ignore=DL3025", "shell-form-command", False),
        ("# check=skip=JSONArgsRecommended,StageNameCasing", "shell-form-command", True),
        ("# check=error=true;skip=JSONArgsRecommended", "shell-form-command", True),
        ("# check=skip=all", "shell-form-command", True),
        ("# check=skip=all", "source-before-install", False),
        ("# check=skip=StageNameCasing", "shell-form-command", False),
    ],
)
def test_what_speaks_of_the_whole_file_stands_above_its_first_instruction(
    comment: str, code: str, is_heard: bool
) -> None:
    found = told_to_others(parsed(f"{comment}\nFROM a\nADD x /x\nCMD b\n"))
    assert found.silenced(code, 3, 4) is is_heard
