"""Which commands take up a change by themselves, and which only look like it."""

import pytest

from devloop.plan.restart import RELOADERS, Reloader, reloads_itself


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("uvicorn app:app --reload --port 80", "uvicorn --reload"),
        ("python -m uvicorn --reload app:app", "uvicorn --reload"),
        ("/venv/bin/uvicorn app:app --reload", "uvicorn --reload"),
        ("tini -- uvicorn app:app --reload", "uvicorn --reload"),
        ("poetry run uvicorn app:app --reload", "uvicorn --reload"),
        ("/entrypoint.sh uvicorn app:app --reload", "uvicorn --reload"),
        ("fastapi dev main.py", "fastapi dev"),
        ("flask --app hello run --debug", "flask run --debug"),
        ("gunicorn --reload app:app", "gunicorn --reload"),
        ("python -u manage.py runserver 0.0.0.0:80", "manage.py runserver"),
    ],
)
def test_a_reloading_command_is_known_however_it_is_started(command: str, name: str) -> None:
    assert reloads_itself(command.split(), ["/app/main.py"]) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("migrate && uvicorn app:app --reload", "uvicorn --reload"),
        ("PORT=80 uvicorn app:app --reload", "uvicorn --reload"),
        ("sleep 1; exec uvicorn app:app '--reload'", "uvicorn --reload"),
    ],
)
def test_the_text_of_a_shell_is_taken_apart(text: str, name: str) -> None:
    assert reloads_itself(["/bin/sh", "-c", text], ["/app/main.py"]) == name


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn app:app",
        "uvicorn app:app --reload-dir src",
        "gunicorn --reload --preload app:app",
        "python manage.py runserver --noreload",
        "python manage.py migrate",
        "python main.py",
        "python main.py uvicorn --reload",
        "backup --from uvicorn --reload",
        "",
    ],
)
def test_everything_else_must_restart(command: str) -> None:
    assert reloads_itself(command.split(), ["/app/main.py"]) is None


@pytest.mark.parametrize("command", ["server air", "play next dev", "node app.js vite", "convert x vite"])
def test_a_name_among_the_arguments_is_no_program(command: str) -> None:
    assert reloads_itself(command.split(), ["/app/main.js"]) is None
    assert reloads_itself(command.split(), ["/app/main.go"]) is None


def test_a_path_that_the_reloader_does_not_watch_needs_a_restart() -> None:
    command = ["uvicorn", "app:app", "--reload"]
    assert reloads_itself(command, ["/app/main.py", "/app/page.html"]) is None
    assert reloads_itself(["nodemon", "app.js"], ["/app/app.js", "/app/data.json"]) == "nodemon"
    assert reloads_itself(["nodemon", "app.js"], ["/app/app.py"]) is None


def test_flask_reloads_when_its_variable_says_so() -> None:
    command = ["flask", "run"]
    assert reloads_itself(command, ["/app/main.py"]) is None
    assert reloads_itself(command, ["/app/main.py"], {"FLASK_DEBUG": "1"}) == "flask run"
    assert reloads_itself([*command, "--no-reload"], ["/app/main.py"], {"FLASK_DEBUG": "1"}) is None


@pytest.mark.parametrize("row", RELOADERS)
def test_every_row_knows_what_it_watches_and_is_found_by_its_own_words(row: Reloader) -> None:
    assert row.suffixes
    found = reloads_itself([row.program, *row.words], [f"/app/x{row.suffixes[0]}"])
    assert found == " ".join((row.program, *row.words))
