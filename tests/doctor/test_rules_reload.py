"""Servers for work on the code: a flag where a stage is meant for it, a stage where compose is at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_reload
from devloop.plan.restart import reloads_itself
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_reload.RULES)


FILES = {"requirements.txt": "flask==3.0.3\n", "server.js": "1", "src/app.js": "1", "package.json": "{}"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('CMD ["uvicorn", "app:app"]', 'CMD ["uvicorn", "app:app", "--reload"]'),
        ('CMD ["python", "-m", "uvicorn", "a:b"]', 'CMD ["python", "-m", "uvicorn", "a:b", "--reload"]'),
        ("CMD uvicorn app:app --port $PORT", "CMD uvicorn app:app --port $PORT --reload"),
        ("CMD exec gunicorn app:app", "CMD exec gunicorn app:app --reload"),
        ('CMD ["sh", "-c", "gunicorn app:app"]', 'CMD ["sh", "-c", "gunicorn app:app --reload"]'),
        ('CMD ["gunicorn", "--preload", "app:app"]', None),
        ('CMD ["hypercorn", "app:app"]', 'CMD ["hypercorn", "app:app", "--reload"]'),
        ('CMD ["fastapi", "run", "a.py"]', 'CMD ["fastapi", "dev", "--host", "0.0.0.0", "a.py"]'),
        (
            'CMD ["fastapi", "run", "--host", "127.0.0.1"]',
            'CMD ["fastapi", "dev", "--host", "127.0.0.1"]',
        ),
        ('CMD ["flask", "run", "-p", "80"]', 'CMD ["flask", "run", "--debug", "-p", "80"]'),
        (
            'CMD ["flask", "run", "--no-reload"]',
            'CMD ["flask", "run", "--debug"]',
        ),
        (
            'CMD ["python", "manage.py", "runserver", "--noreload", "80"]',
            'CMD ["python", "manage.py", "runserver", "80"]',
        ),
        ('CMD ["node", "server.js"]', 'CMD ["node", "--watch", "server.js"]'),
        (
            'CMD ["node", "--no-warnings", "./src/app.js"]',
            'CMD ["node", "--watch", "--no-warnings", "./src/app.js"]',
        ),
        ('CMD ["node", "dist/app.js"]', None),
        ('CMD ["next", "start"]', None),
        ('CMD ["nest", "start"]', 'CMD ["nest", "start", "--watch"]'),
        ('CMD ["dotnet", "run"]', 'CMD ["dotnet", "watch", "run"]'),
        ("CMD migrate && uvicorn app:app", None),
        ('ENTRYPOINT ["uvicorn"]\nCMD ["app:app"]', 'CMD ["app:app", "--reload"]'),
        ('ENTRYPOINT ["flask"]\nCMD ["run"]', None),
    ],
)
def test_a_server_of_a_development_stage_is_told_to_reload(
    examine: Callable[..., Patient], before: str, after: str | None
) -> None:
    patient = examine(f"FROM node:20 AS dev\nCOPY . .\n{before}\n", FILES)
    if after is None:
        assert patient.stops("no-reloader") != ""
    else:
        assert patient.changes("no-reloader") == f"-{before.rpartition(chr(10))[2]}\n+{after}"
        assert examine(f"FROM node:20 AS dev\nCOPY . .\n{after}\n", FILES).codes == [] or "ENTRY" in before


@pytest.mark.parametrize(
    "text",
    [
        'FROM python:3.11\nCMD ["uvicorn", "app:app"]\n',
        'FROM python:3.11 AS prod\nCMD ["uvicorn", "app:app"]\n',
        'FROM python:3.11 AS dev\nCMD ["python", "manage.py", "runserver"]\n',
        'FROM python:3.11 AS dev\nENV FLASK_DEBUG=1\nCMD ["flask", "run"]\n',
        'FROM python:3.11 AS dev\nCMD ["python", "app.py"]\n',
        'FROM python:3.11 AS dev\nCMD ["uvicorn", "--reload", "a:b"]\nFROM dev\nCMD ["uvicorn", "a:b"]\n',
    ],
)
def test_what_reloads_or_is_not_meant_for_it_is_left_alone(
    examine: Callable[..., Patient], text: str
) -> None:
    assert examine(text).codes == []


def test_flask_has_its_flag_since_a_version_that_must_be_known(examine: Callable[..., Patient]) -> None:
    text = 'FROM python:3.11 AS dev\nCMD ["flask", "run"]\n'
    for name, content, is_known in (
        ("requirements.txt", "Flask==2.2.3\n", True),
        ("requirements.txt", "flask==2.2.2\n", False),
        ("requirements.txt", "flask\n", False),
        ("uv.lock", '[[package]]\nname = "flask"\nversion = "3.1.0"\n', True),
        ("Pipfile.lock", '{"default": {"flask": {"hashes": [], "version": "==3.0.0"}}}', True),
    ):
        patient = examine(text, {name: content})
        assert (patient.only("no-reloader").proposal is not None) is is_known, (name, content)


@pytest.mark.parametrize(
    ("base", "flag"),
    [
        ("node:18", "--watch"),
        ("node:18.11-slim", "--watch"),
        ("node:22.1.0-alpine", "--watch"),
        ("node:18.10", ""),
        ("node:16", ""),
        ("node:lts", ""),
        ("example.com/own:20", ""),
    ],
)
def test_node_watches_since_a_version_and_nodemon_where_it_is_there(
    examine: Callable[..., Patient], base: str, flag: str
) -> None:
    text = f'FROM {base} AS dev\nCOPY . .\nCMD ["node", "server.js"]\n'
    if flag:
        assert examine(text, FILES).changes("no-reloader").endswith('+CMD ["node", "--watch", "server.js"]')
        return
    assert "18.11" in examine(text, FILES).stops("no-reloader")
    files = {**FILES, "package.json": '{"dependencies": {"nodemon": "3.1.0"}}'}
    assert examine(text, files).changes("no-reloader").endswith('["node_modules/.bin/nodemon", "server.js"]')


def test_a_stage_for_development_that_is_not_the_target_is_looked_at_too(
    examine: Callable[..., Patient],
) -> None:
    text = (
        'FROM python:3.11 AS base\nFROM base AS dev\nCMD ["uvicorn", "a:b"]\n'
        'FROM base\nCMD ["uvicorn", "a:b"]\n'
    )
    patient = examine(text)
    assert patient.only("no-reloader").first_line == 3
    assert patient.changes("no-reloader") == ('-CMD ["uvicorn", "a:b"]\n+CMD ["uvicorn", "a:b", "--reload"]')


COMPOSE = "services:\n  web:\n    build: .\n    volumes:\n      - ./app:/srv/app\n"
WEB = (
    "FROM python:3.12-slim\nWORKDIR /srv\nCOPY app app\nUSER 1000\n\n# How it starts.\n"
    'CMD ["uvicorn", "app:app"]\nEXPOSE 8000\n'
)
WEB_FILES = {"app/app.py": "1", "compose.yaml": COMPOSE, ".dockerignore": "compose.yaml\n"}


def test_a_stage_with_a_reloader_is_put_above_the_last_one(examine: Callable[..., Patient]) -> None:
    patient = examine(WEB, WEB_FILES)
    assert patient.only("no-reloader").first_line == 7
    assert patient.changes("no-reloader") == (
        "-FROM python:3.12-slim\n"
        "+FROM python:3.12-slim AS base\n"
        "+FROM base AS dev\n"
        '+CMD ["uvicorn", "app:app", "--reload"]\n'
        "+\n"
        "+FROM base"
    )


def test_the_last_stage_keeps_its_name_and_the_file_its_line_ends(examine: Callable[..., Patient]) -> None:
    text = WEB.replace("slim", "slim as Web").replace("\n", "\r\n")
    changes = examine(text, WEB_FILES).changes("no-reloader")
    assert "+FROM python:3.12-slim AS base\r\n" in changes
    assert changes.endswith('"--reload"]\r\n+\r\n+FROM base AS Web\r')


def test_a_name_that_is_taken_is_not_given_again(examine: Callable[..., Patient]) -> None:
    text = "FROM python:3.12 AS base\n" + WEB.replace("FROM python:3.12-slim", "FROM base")
    assert "+FROM base AS common\n+FROM common AS dev\n" in examine(text, WEB_FILES).changes("no-reloader")


@pytest.mark.parametrize(
    "compose",
    [
        "",
        "services:\n  web:\n    image: web\n    volumes:\n      - ./app:/srv/app\n",
        COMPOSE.replace("./app:/srv/app", "./data:/srv/data"),
        COMPOSE.replace("./app:/srv/app", "app:/srv/app"),
        f"{COMPOSE}    command: uvicorn app:app --reload\n",
        COMPOSE.replace("build: .", "build:\n      context: .\n      target: other"),
        f"{COMPOSE}  worker:\n    build: .\n",
        "services:\n  web:\n    build: .\n    develop:\n      watch:\n        - action: sync+restart\n",
    ],
)
def test_without_source_that_compose_puts_in_a_restart_in_place_is_as_good(
    examine: Callable[..., Patient], compose: str
) -> None:
    assert examine(WEB, {**WEB_FILES, "compose.yaml": compose}).codes == []


def test_files_that_compose_syncs_count_as_put_in(examine: Callable[..., Patient]) -> None:
    compose = (
        "services:\n  web:\n    build: .\n    develop:\n      watch:\n"
        "        - action: sync\n          path: app\n          target: /srv/app\n"
    )
    assert examine(WEB, {**WEB_FILES, "compose.yaml": compose}).changes("no-reloader") != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 1000", "ONBUILD RUN true"),
        ("EXPOSE 8000", "ARG P=1\nEXPOSE $P"),
        ("EXPOSE 8000", "ENTRYPOINT []"),
        ("FROM python:3.12-slim", "FROM --platform=linux/amd64 python:3.12-slim"),
        ('CMD ["uvicorn", "app:app"]', 'CMD ["--workers=1"]\nENTRYPOINT ["uvicorn", "app:app"]'),
    ],
)
def test_what_the_cut_could_change_stops_the_proposal(
    examine: Callable[..., Patient], old: str, new: str
) -> None:
    assert examine(WEB.replace(old, new), WEB_FILES).stops("no-reloader") != ""


def test_what_is_proposed_is_what_the_loop_takes_for_a_reloader() -> None:
    for command in (["uvicorn", "a:b", "--reload"], ["node", "--watch", "a.js"], ["flask", "run", "--debug"]):
        assert reloads_itself(command, ["a.py"] if command[0] != "node" else ["a.js"]) is not None
