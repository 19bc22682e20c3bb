"""What every test gets: a state directory of its own and, where it asks, a Docker Engine and a project.

A test that needs the engine is marked `docker`, or asks for the `engine` fixture and is marked by that. Where
no engine answers such a test fails, and says how to get one: a suite that passes has tried everything.
"""

from __future__ import annotations

import os
import shutil
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker.models.containers import Container

    from support.session import Session


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where devloop remembers builds during this test."""
    path = tmp_path / "devloop-state"
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(path))
    return path


@pytest.fixture(autouse=True)
def _engine_for_marked_tests(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("docker"):
        request.getfixturevalue("engine")


@pytest.fixture(scope="session")
def engine() -> Iterator[dict[str, str]]:
    """The environment of an engine that answers; `os.environ` leads there as well, for the SDK."""
    from support.engine import BUSYBOX, HOW_TO_GET_ONE, NoEngineError, find_environment, make_base_image

    try:
        environ = find_environment()
        make_base_image(environ, BUSYBOX)
    except NoEngineError as error:
        raise pytest.fail.Exception(f"{HOW_TO_GET_ONE}\n{error}", pytrace=False) from None
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
            if name not in environ:
                patch.delenv(name, raising=False)
        for name in ("DOCKER_HOST", "DOCKER_CONFIG", "PATH"):
            if name in environ:
                patch.setenv(name, environ[name])
        yield environ


@pytest.fixture
def web_api(tmp_path: Path) -> Path:
    """A copy of examples/web_api to edit."""
    from support.engine import REPOSITORY

    ignore = shutil.ignore_patterns("__pycache__", ".venv")
    return shutil.copytree(REPOSITORY / "examples" / "web_api", tmp_path / "web_api", ignore=ignore)


@pytest.fixture
def unique_name(engine: dict[str, str]) -> Iterator[str]:
    """A name for what this test makes on the engine; all of it is removed in the end."""
    from support.engine import connect, remove_all

    given = f"test-{uuid.uuid4().hex[:8]}"
    yield given
    with connect(engine) as client:
        remove_all(client, given)


@pytest.fixture
def container(engine: dict[str, str], unique_name: str) -> Callable[[], Container]:
    """The one container of the project."""
    from support.engine import connect, containers_of

    def find() -> Container:
        with connect(engine) as client:
            [found] = containers_of(client, unique_name)
            return found

    return find


@pytest.fixture
def watch(unique_name: str, engine: dict[str, str], state_dir: Path) -> Iterator[Callable[..., Session]]:
    """Starts `devloop watch PROJECT OPTIONS...`; every session is ended with the test."""

    from support.session import Session

    sessions: list[Session] = []

    def start(project: Path, *options: str, command: str = "watch") -> Session:
        environ = {**os.environ, **engine, "DEVLOOP_STATE_DIR": str(state_dir)}
        session = Session(project, "--name", unique_name, *options, environ=environ, command=command)
        sessions.append(session)
        return session.start()

    yield start
    for session in sessions:
        session.close()
