"""Expensive edits on a real engine: they wait, what can be proven is served meanwhile, nothing is wasted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.session import Event, Session

    Watch = Callable[..., Session]

pytestmark = pytest.mark.docker

# The first RUN keeps the tests out of each other's cache.
DOCKERFILE = """\
FROM {base}
RUN echo {name} > /name
WORKDIR /srv
COPY packages.txt .
RUN cp packages.txt installed.txt; sleep {seconds}
COPY start.sh index.html ./
EXPOSE 8000
STOPSIGNAL SIGKILL
CMD ["sh", "start.sh"]
"""
START = "exec httpd -f -p 8000 -h /srv\n"
SETTINGS = "warn_seconds = 2.0\nwait_share = {share}\nbackground_build = false\n"


@pytest.fixture
def open_project(watch: Watch, tmp_path: Path, unique_name: str) -> Callable[..., Session]:
    """A service with an install that only sleeps, served in its first version."""

    def start(*options: str, seconds: int = 3, share: float = 0.1) -> Session:
        folder = tmp_path / "project"
        folder.mkdir()
        text = DOCKERFILE.format(base=BUSYBOX, name=unique_name, seconds=seconds)
        (folder / "Dockerfile").write_text(text)
        (folder / "devloop.toml").write_text(SETTINGS.format(share=share))
        (folder / "packages.txt").write_text("one\n")
        (folder / "start.sh").write_text(START)
        (folder / "index.html").write_text("version 1\n")
        session = watch(folder, *options)
        session.wait_for("deployed")
        assert session.get() == "version 1\n"
        return session

    return start


def installs(events: list[Event]) -> list[str]:
    """How each install ended that was begun."""
    return [one["status"] for one in events if one["event"] == "step_finished" and "sleep" in one["text"]]


def wait_until_served(session: Session, text: str, path: str = "/") -> None:
    deadline = time.monotonic() + 20
    while session.get(path) != text:
        assert time.monotonic() < deadline, session.describe()
        time.sleep(0.05)


def test_two_edits_of_the_packages_cost_one_install(open_project: Callable[..., Session]) -> None:
    session = open_project(seconds=5)
    mark = session.mark()
    session.save("packages.txt", "two\n")
    held = session.wait_for("held")
    assert held["paths"] == ["packages.txt"]
    assert held["steps"] == [5]
    assert 0 < held["wait_seconds"] <= 0.1 * held["seconds"] + 0.01
    session.wait_for("step_started", lambda event: "sleep" in event["text"])
    time.sleep(3)
    session.save("packages.txt", "three\n")
    assert session.wait_for("build_finished")["status"] == "canceled"
    session.wait_for("deployed")
    assert session.get("/installed.txt") == "three\n"
    assert installs(session.since(mark)).count("run") == 1
    assert [one["status"] for one in session.since(mark, "build_finished")] == ["canceled", "ok"]


def test_edits_before_the_time_has_come_start_nothing(open_project: Callable[..., Session]) -> None:
    session = open_project(share=0.7)
    mark = session.mark()
    session.save("packages.txt", "two\n")
    session.wait_for("held")
    time.sleep(1)
    session.save("packages.txt", "three\n")
    session.wait_for("held")
    session.wait_for("deployed")
    assert session.get("/installed.txt") == "three\n"
    assert len(session.since(mark, "build_started")) == 1


def test_source_edits_during_an_install_are_served_and_the_install_ends(
    open_project: Callable[..., Session],
) -> None:
    session = open_project(seconds=5)
    mark = session.mark()
    session.save("packages.txt", "two\n")
    session.wait_for("step_started", lambda event: "sleep" in event["text"])
    for number in range(2, 8):
        session.save("index.html", f"version {number}\n")
        wait_until_served(session, f"version {number}\n")
        time.sleep(1)
    # A save while the new container starts ends its deploy early: what counts is what is served.
    wait_until_served(session, "two\n", "/installed.txt")
    wait_until_served(session, "version 7\n")
    assert installs(session.since(mark)).count("run") == 1
    assert "canceled" not in [one["status"] for one in session.since(mark, "build_finished")]
    during = [one for one in session.since(mark, "deployed") if one["behind"]]
    assert len(during) >= 3
    assert all(one["behind"] == ["packages.txt"] for one in during)
    assert session.since(mark, "deploy_failed") == []


def test_a_source_edit_that_cannot_be_synced_lets_the_install_finish_for_the_cache(
    open_project: Callable[..., Session],
) -> None:
    session = open_project("--no-sync")
    mark = session.mark()
    session.save("packages.txt", "two\n")
    session.wait_for("step_started", lambda event: "sleep" in event["text"])
    session.save("index.html", "version 2\n")
    assert session.wait_for("queued")["decision"] == "build-continues"
    session.wait_for("deployed")
    assert session.get() == "version 2\n"
    assert session.get("/installed.txt") == "two\n"
    assert installs(session.since(mark)).count("run") == 1


def test_without_a_terminal_nobody_is_asked_and_that_is_said_once(
    open_project: Callable[..., Session],
) -> None:
    session = open_project("--on-expensive", "ask")
    mark = session.mark()
    for text in ("two\n", "three\n"):
        session.save("packages.txt", text)
        session.wait_for("deployed")
        assert session.get("/installed.txt") == text
    assert len(session.since(mark, "problem")) == 1


def test_on_expensive_build_waits_for_nothing(open_project: Callable[..., Session]) -> None:
    session = open_project("--on-expensive", "build", share=0.9)
    mark = session.mark()
    session.save("packages.txt", "two\n")
    session.wait_for("deployed")
    assert session.get("/installed.txt") == "two\n"
    assert session.since(mark, "held") == []
