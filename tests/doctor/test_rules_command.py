"""How a container is started: exec form where no shell is needed, and what a stop signal does not reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_command
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_command.RULES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CMD python app.py", 'CMD ["python", "app.py"]'),
        ("cmd  python -m http.server 80", 'cmd  ["python", "-m", "http.server", "80"]'),
        ("ENTRYPOINT /usr/bin/serve --port=80", 'ENTRYPOINT ["/usr/bin/serve", "--port=80"]'),
        ("CMD python -c 'print(1)' \"two words\"", None),
        ('CMD serve "two words"', 'CMD ["serve", "two words"]'),
        ("CMD ['python', 'app.py']", 'CMD ["python", "app.py"]'),
        ('CMD ["sh", "-c", "node server.js"]', 'CMD ["node", "server.js"]'),
        ("CMD gunicorn --bind :$PORT app:app", "CMD exec gunicorn --bind :$PORT app:app"),
        ("CMD gunicorn --bind :${PORT:-80} app:app", "CMD exec gunicorn --bind :${PORT:-80} app:app"),
        ('CMD ["sh", "-c", "serve $PORT"]', 'CMD ["sh", "-c", "exec serve $PORT"]'),
        ("CMD migrate && serve", None),
        ("CMD A=1 serve", None),
        ("CMD serve > /dev/null", None),
        ("CMD cd /app; serve", None),
        ("CMD serve `hostname`", None),
        ("CMD serve $(hostname)", None),
    ],
)
def test_the_shell_goes_where_it_has_nothing_to_do(
    examine: Callable[..., Patient], before: str, after: str | None
) -> None:
    patient = examine(f"FROM python:3.11\n{before}\n")
    if after is None:
        assert patient.stops("shell-form-command") == "the command uses what only a shell can do"
    else:
        assert patient.changes("shell-form-command") == f"-{before}\n+{after}"


def test_lines_that_are_continued_become_one(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM python:3.11\nCMD python \\\n    app.py\n")
    assert patient.changes("shell-form-command") == '-CMD python \\\n-    app.py\n+CMD ["python", "app.py"]'
    assert (patient.findings[0].first_line, patient.findings[0].last_line) == (2, 3)


def test_a_comment_between_the_lines_is_not_lost(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM python:3.11\nCMD python \\\n# why\n    app.py\n")
    assert patient.only("shell-form-command").proposal is None


def test_a_login_shell_reads_files_that_the_exec_form_would_not(examine: Callable[..., Patient]) -> None:
    patient = examine('FROM python:3.11\nSHELL ["/bin/bash", "-lc"]\nCMD python app.py\n')
    assert patient.changes("shell-form-command").endswith("+CMD exec python app.py")


def test_an_entrypoint_in_shell_form_drops_what_cmd_holds(examine: Callable[..., Patient]) -> None:
    # In exec form it would get `--verbose` as an argument.
    patient = examine('FROM python:3.11\nENTRYPOINT serve\nCMD ["--verbose"]\n')
    assert patient.changes("shell-form-command") == "-ENTRYPOINT serve\n+ENTRYPOINT exec serve"


SILENT = {
    "exec form": 'CMD ["python", "app.py"]',
    "the program takes the place of the shell": "CMD exec python app.py",
    "a shell is what is wanted": "CMD bash",
    "CMD only holds arguments": 'ENTRYPOINT ["serve"]\nCMD app.py',
    "an init passes signals on": 'ENTRYPOINT ["tini", "--", "npm", "start"]',
    "no command": "EXPOSE 80",
    "another system": 'SHELL ["cmd", "/S", "/C"]\nCMD serve.exe',
    "a later one counts": 'CMD python app.py\nCMD ["python", "app.py"]',
}


@pytest.mark.parametrize("text", SILENT.values(), ids=list(SILENT))
def test_commands_that_stop_at_once_are_left_alone(examine: Callable[..., Patient], text: str) -> None:
    assert examine(f"FROM python:3.11\n{text}\n").codes == []


def test_the_command_of_a_base_stage_counts(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM python:3.11 AS base\nCMD python app.py\nFROM base\nEXPOSE 80\n")
    assert patient.only("shell-form-command").first_line == 2


NPM = 'FROM node:20\nCOPY . .\nCMD ["npm", "start"]\n'


def test_npm_gives_way_to_what_its_script_starts(examine: Callable[..., Patient]) -> None:
    files = {"package.json": '{"scripts": {"start": "node --enable-source-maps server.js"}}'}
    assert examine(NPM, files).changes("package-manager-as-pid-1") == (
        '-CMD ["npm", "start"]\n+CMD ["node", "--enable-source-maps", "server.js"]'
    )
    shell = examine(NPM.replace('["npm", "start"]', "npm run start"), files)
    assert shell.codes == ["package-manager-as-pid-1"]
    assert shell.changes("package-manager-as-pid-1").endswith('"server.js"]')


@pytest.mark.parametrize(
    "files",
    [
        {"package.json": '{"scripts": {"start": "next start"}}'},
        {"package.json": '{"scripts": {"start": "NODE_ENV=$MODE node a.js"}}'},
        {"package.json": '{"scripts": {"start": "node a.js && node b.js"}}'},
        {"package.json": '{"scripts": {"start": "node a.js"}}', ".npmrc": "node-options=--no-warnings"},
        {"package.json": '{"scripts": {"start": "node a.js", "prestart": "node b.js"}}'},
        {"package.json": '{"scripts": {}}'},
        {"package.json": "{"},
        {"package.json": '{"scripts": {"start": "node a.js"}}', "a.js": "process.env.npm_package_version"},
        {"package.json": '{"scripts": {"start": "node a.js"}}', "web/package.json": "{}"},
        {},
    ],
)
def test_a_script_that_does_more_than_start_node_is_not_replaced(
    examine: Callable[..., Patient], files: dict[str, str]
) -> None:
    assert examine(NPM, files).stops("package-manager-as-pid-1") != ""


BINS = """{"packages": {
    "node_modules/next": {"bin": {"next": "dist/bin/next"}},
    "node_modules/one": {"bin": {"both": "a.js"}}, "node_modules/two": {"bin": {"both": "a.js"}},
    "node_modules/next/node_modules/deep": {"bin": {"deep": "a.js"}}}}"""


@pytest.mark.parametrize(
    ("command", "script", "words"),
    [
        (
            '["npm", "start"]',
            "NODE_ENV=production node a.js",
            '["env", "NODE_ENV=production", "node", "a.js"]',
        ),
        ('["npm", "start"]', "cross-env A=1 B=2 node a.js", '["env", "A=1", "B=2", "node", "a.js"]'),
        ('["npm", "start"]', "next start", '["node_modules/.bin/next", "start"]'),
        (
            '["npm", "run", "start"]',
            "A=1 next start -p 80",
            '["env", "A=1", "node_modules/.bin/next", "start", "-p", "80"]',
        ),
        ('["npx", "next", "start"]', "", '["node_modules/.bin/next", "start"]'),
        ('["npx", "--yes", "next"]', "", None),
        ('["npm", "start"]', "both", None),
        ('["npm", "start"]', "deep", None),
        ('["npm", "start"]', "pm2-runtime a.js", None),
        ('["yarn", "start"]', "next start", None),
    ],
)
def test_a_script_may_set_variables_and_start_a_program_of_a_package(
    examine: Callable[..., Patient], command: str, script: str, words: str | None
) -> None:
    files = {"package.json": f'{{"scripts": {{"start": "{script}"}}}}', "package-lock.json": BINS}
    patient = examine(f"FROM node:20\nWORKDIR /app\nCOPY . .\nCMD {command}\n", files)
    if words is None:
        assert patient.stops("package-manager-as-pid-1") != ""
    else:
        assert patient.changes("package-manager-as-pid-1") == f"-CMD {command}\n+CMD {words}"


def test_a_package_manager_goes_to_the_folder_of_its_manifest_and_a_program_would_not(
    examine: Callable[..., Patient],
) -> None:
    text = 'FROM node:20\nWORKDIR /app\nCOPY . .\nWORKDIR /app/src\nCMD ["npm", "start"]\n'
    files = {"package.json": '{"scripts": {"start": "node a.js"}}', "src/a.js": "SIGTERM"}
    assert "folder" in examine(text, files).stops("package-manager-as-pid-1")
    right = examine(text.replace("WORKDIR /app/src\n", ""), files)
    assert right.changes("package-manager-as-pid-1") != ""
    assert "SIGTERM" not in right.findings[0].way_out
    deaf = examine(text, {**files, "src/a.js": "1"})
    assert "has to end at SIGTERM by itself" in deaf.findings[0].way_out


def test_a_loop_of_the_shell_is_not_taken_for_a_program(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM debian:12\nCMD while true; do date; sleep 1; done\n")
    found = patient.only("shell-form-command")
    assert found.title == "CMD starts a shell in front of its commands"


def test_a_script_without_its_first_line_keeps_the_shell_that_reads_it(
    examine: Callable[..., Patient],
) -> None:
    text = "FROM debian:12\nWORKDIR /a\nCOPY run.sh ./\nCMD ./run.sh\n"
    assert examine(text, {"run.sh": "sleep 1\n"}).changes("shell-form-command") == (
        "-CMD ./run.sh\n+CMD exec ./run.sh"
    )
    assert '+CMD ["./run.sh"]' in examine(text, {"run.sh": "#!/bin/sh\n"}).changes("shell-form-command")


def test_a_file_that_bash_reads_first_keeps_bash(examine: Callable[..., Patient]) -> None:
    text = 'FROM debian:12\nSHELL ["/bin/bash", "-c"]\nENV BASH_ENV=/root/.nvm.sh\nCMD node app.js\n'
    assert "+CMD exec node app.js" in examine(text).changes("shell-form-command")


def test_an_entry_program_that_knows_its_programs_is_asked_no_other_way(
    examine: Callable[..., Patient],
) -> None:
    text = "FROM redis:7\nCMD redis-server --appendonly yes\n"
    assert "entry program" in examine(text).stops("shell-form-command")
    own = text.replace("CMD", "ENTRYPOINT")
    assert "+ENTRYPOINT [" in examine(own).changes("shell-form-command")


NPM_START = 'FROM node:20\nWORKDIR /app\nCOPY . .\nRUN npm ci\nCMD ["npm", "start"]\n'
PROGRAMS = (
    '{"packages": {"node_modules/a": {"bin": {"dotenv": "a"}}, "node_modules/b": {"bin": {"next": "b"}}}}'
)


@pytest.mark.parametrize(
    ("script", "source"),
    [("dotenv -e .env -- next start", "x"), ("node server.js", "require('child_process').exec('knex')")],
)
def test_programs_that_only_the_path_of_npm_finds_keep_npm(
    examine: Callable[..., Patient], script: str, source: str
) -> None:
    manifest = f'{{"scripts": {{"start": "{script}"}}}}'
    files = {"package.json": manifest, "package-lock.json": PROGRAMS, "server.js": source}
    assert "PATH" in examine(NPM_START, files).stops("package-manager-as-pid-1")


@pytest.mark.parametrize(
    ("settings", "is_plain"), [("yarnPath: a\n", False), ("nodeLinker: node-modules\n", True)]
)
def test_packages_that_lie_nowhere_keep_yarn(
    examine: Callable[..., Patient], settings: str, *, is_plain: bool
) -> None:
    files = {
        "package.json": '{"scripts": {"start": "node server.js"}}',
        "server.js": "x",
        "yarn.lock": "__metadata:\n  version: 8\n",
        ".yarnrc.yml": settings,
    }
    finding = examine(NPM_START.replace("npm", "yarn"), files).only("package-manager-as-pid-1")
    assert (finding.proposal is not None) == is_plain
