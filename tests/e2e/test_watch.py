"""`devloop watch` on a real engine: what is saved is what is served, whatever happens on the way."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from support.engine import BUSYBOX, connect, containers_of, is_stand_in
from support.session import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.session import Event, Session

    Watch = Callable[..., Session]

pytestmark = pytest.mark.docker

# The first RUN keeps the tests out of each other's cache. busybox as PID 1 ignores the signal to stop.
DOCKERFILE = """\
FROM {base}
RUN echo {name} > /name
WORKDIR /srv
COPY packages.txt .
RUN cp packages.txt installed.txt
COPY start.sh index.html ./
EXPOSE 8000
STOPSIGNAL SIGKILL
CMD ["sh", "start.sh"]
"""
LAST_COPY = "COPY start.sh index.html ./"
START = "echo starting\nexec httpd -f -p 8000 -h /srv\n"
INSTALL = "RUN cp packages.txt installed.txt"


@pytest.fixture
def watch(watch: Watch) -> Watch:
    """Sessions that rebuild for every change: syncs have tests of their own."""

    def start(project: Path, *options: str, command: str = "watch") -> Session:
        return watch(project, *(["--no-sync"] if command == "watch" else []), *options, command=command)

    return start


@pytest.fixture
def project(tmp_path: Path, unique_name: str) -> Path:
    """A service of five steps that builds in a second: httpd on one page."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=BUSYBOX, name=unique_name))
    (folder / "packages.txt").write_text("one\n")
    (folder / "start.sh").write_text(START)
    (folder / "index.html").write_text("version 1\n")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def add_line(file: Path, line: str) -> None:
    with file.open("a") as text:
        text.write(line + "\n")


def running(engine: dict[str, str], name: str) -> list[tuple[str | None, str]]:
    """The containers under that name with the moment each was started; empty when none is left."""
    with connect(engine) as client:
        return [(found.id, found.attrs["State"]["StartedAt"]) for found in containers_of(client, name)]


def wait_until_serving(session: Session, text: str) -> Event:
    """The deployment after which the newest text is served."""
    deployed = session.wait_for("deployed")
    assert session.get() == text
    return deployed


def steps_that_ran(events: list[Event]) -> list[str]:
    return [
        event["text"] for event in events if event["event"] == "step_finished" and event["status"] == "run"
    ]


def planned_to_run(plan: Event) -> list[str]:
    return [step["text"] for step in plan["steps"] if step["status"] == "run"]


def test_the_first_start_builds_every_step_and_serves(watch: Watch, project: Path) -> None:
    session = watch(project)
    assert session.wait_for("session_started")["dockerfile"].endswith("Dockerfile")
    planned = session.wait_for("planned")
    assert planned["first"] is True
    built = session.wait_for("build_finished")
    assert built["status"] == "ok"
    assert built["ran"] >= 5
    deployed = wait_until_serving(session, "version 1\n")
    assert deployed["action"] == "rebuild"


def test_an_edit_of_the_last_copied_file_runs_only_that_step_and_is_served(
    watch: Watch, project: Path
) -> None:
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("index.html", "version 2\n")
    planned = session.wait_for("planned")
    assert planned["saved"] == ["index.html"]
    assert planned["plan"]["changes"] == [{"path": "index.html", "kind": "modified"}]
    assert planned_to_run(planned["plan"]) == [LAST_COPY]
    assert planned["plan"]["earliest"]["line"] == 6
    assert planned["warnings"] == []
    built = session.wait_for("build_finished")
    assert (built["status"], built["ran"]) == ("ok", 1)
    assert steps_that_ran(session.since(mark)) == [LAST_COPY]
    deployed = wait_until_serving(session, "version 2\n")
    assert deployed["since_save"] > 0


def test_a_save_with_equal_bytes_does_nothing(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    session = watch(project)
    session.wait_until_watching()
    before = running(engine, unique_name)
    mark = session.mark()
    session.save("index.html", "version 1\n")
    time.sleep(1.5)  # longer than any quiet period: the save below is a batch of its own
    assert session.since(mark, "build_started", "deployed", "queued") == []
    assert running(engine, unique_name) == before
    session.save("index.html", "version 2\n")
    wait_until_serving(session, "version 2\n")
    assert len(session.since(mark, "build_started")) == 1


def test_a_save_of_an_ignored_file_does_nothing(watch: Watch, project: Path) -> None:
    (project / ".dockerignore").write_text("notes\n")
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("notes", "remember the milk\n")
    time.sleep(1.5)
    session.save("index.html", "version 2\n")
    wait_until_serving(session, "version 2\n")
    assert len(session.since(mark, "build_started")) == 1


def test_a_syntax_error_in_the_dockerfile_leaves_the_last_good_version_serving(
    watch: Watch, project: Path
) -> None:
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    edit(project / "Dockerfile", "COPY packages.txt .", "COPPY packages.txt .")
    problem = session.wait_for("problem", lambda event: event["severity"] == "error")
    assert problem["kind"] == "dockerfile"
    assert "COPPY packages.txt" in problem["rendered"]
    assert "^" in problem["rendered"]
    assert session.get() == "version 1\n"
    assert session.since(mark, "deployed") == []
    session.save("index.html", "version 2\n")
    edit(project / "Dockerfile", "COPPY packages.txt .", "COPY packages.txt .")
    wait_until_serving(session, "version 2\n")


def test_a_failing_step_leaves_the_last_good_version_serving(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    edit(project / "Dockerfile", INSTALL, "RUN echo no such package; exit 7")
    built = session.wait_for("build_finished")
    assert built["status"] == "failed"
    assert built["failed_line"] == 5
    assert "exit 7" in built["failed_text"]
    assert "no such package" in "\n".join(built["log_tail"])
    assert session.get() == "version 1\n"
    session.save("index.html", "version 2\n")
    assert session.wait_for("build_finished")["status"] == "failed"
    assert session.get() == "version 1\n"
    edit(project / "Dockerfile", "RUN echo no such package; exit 7", INSTALL)
    wait_until_serving(session, "version 2\n")


def test_an_application_that_crashes_is_rolled_back(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("start.sh", "echo cannot start >&2\nexit 3\n")
    failed = session.wait_for("deploy_failed")
    assert failed["exit_code"] == 3
    assert "cannot start" in "\n".join(failed["log_tail"])
    assert failed["rolled_back"] is True
    assert session.get() == "version 1\n"
    with connect(engine) as client:
        assert [found.status for found in containers_of(client, unique_name)] == ["running"]
    session.save("index.html", "version 2\n")
    session.save("start.sh", START)
    wait_until_serving(session, "version 2\n")


def test_the_address_stays_through_every_replacement(watch: Watch, project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # The port that the image exposes is somebody else's, so another one has to be found.
        port = taken.getsockname()[1]
        edit(project / "Dockerfile", "EXPOSE 8000", f"EXPOSE {port}")
        edit(project / "start.sh", "-p 8000", f"-p {port}")
        session = watch(project)
        session.wait_until_watching()
        address = session.url
        start = (project / "start.sh").read_text()
        session.save("start.sh", "exit 3\n")
        assert session.wait_for("deploy_failed")["rolled_back"] is True
        assert session.get() == "version 1\n"
        (project / "index.html").write_text("version 2\n")
        session.save("start.sh", start)
        session.wait_for("deployed")
        assert session.get() == "version 2\n"
        assert session.url == address


def test_ten_saves_during_a_build_end_in_the_newest_version(watch: Watch, project: Path) -> None:
    edit(project / "Dockerfile", "EXPOSE 8000", "RUN cat index.html; sleep 2\nEXPOSE 8000")
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("index.html", "version 2\n")
    session.wait_for("step_started", lambda event: "sleep 2" in event["text"])
    for number in range(3, 13):
        session.save("index.html", f"version {number}\n")
        time.sleep(0.15)
    queued = session.wait_for("queued")
    assert queued["saved"] == ["index.html"]
    assert queued["decision"] == "build-canceled"
    session.wait_for("build_finished", lambda event: event["status"] == "ok")
    session.wait_for("deployed")
    assert session.get() == "version 12\n"
    statuses = [event["status"] for event in session.since(mark, "build_finished")]
    assert "canceled" in statuses
    assert "failed" not in statuses
    assert len(statuses) <= 11, "eleven saves, and each starts one build at most"


def test_a_changed_dockerfile_is_a_change_like_any_other(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    edit(project / "Dockerfile", INSTALL, "RUN cp packages.txt index-of-packages.txt")
    planned = session.wait_for("planned")
    assert planned["plan"]["earliest"]["line"] == 5
    assert session.wait_for("build_finished")["ran"] == 2
    session.wait_for("deployed")
    assert session.get("/index-of-packages.txt") == "one\n"


def test_a_changed_ignore_file_is_a_change_like_any_other(watch: Watch, project: Path) -> None:
    edit(project / "Dockerfile", LAST_COPY, "COPY . ./")
    session = watch(project)
    session.wait_until_watching()
    session.save("extra.html", "extra\n")
    session.wait_for("deployed")
    assert session.get("/extra.html") == "extra\n"
    session.save(".dockerignore", "extra.html\n")
    session.wait_for("deployed")
    with pytest.raises(AssertionError, match="404"):
        session.get("/extra.html")


def test_ctrl_c_leaves_no_container_and_no_process(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    session = watch(project)
    session.wait_until_watching()
    assert session.stop() == 130
    assert session.events[-1]["event"] == "stopped"
    assert session.processes() == []
    assert running(engine, unique_name) == []
    assert "Traceback" not in session.stderr


def test_ctrl_c_during_a_build_leaves_no_container_and_no_process(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    edit(project / "Dockerfile", INSTALL, "RUN sleep 60")
    session = watch(project)
    session.wait_for("step_started", lambda event: "sleep 60" in event["text"])
    assert session.stop() == 130
    assert session.processes() == []
    assert running(engine, unique_name) == []


def test_a_start_after_sigkill_recovers(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    killed = watch(project)
    killed.wait_until_watching()
    killed.kill()
    (project / "index.html").write_text("version 2\n")
    session = watch(project)
    session.wait_until_watching("version 2\n")
    assert len(running(engine, unique_name)) == 1
    session.save("index.html", "version 3\n")
    wait_until_serving(session, "version 3\n")
    assert session.stop() == 130
    assert running(engine, unique_name) == []


def test_a_start_after_sigkill_during_a_build_recovers(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    edit(project / "Dockerfile", INSTALL, "RUN cp packages.txt installed.txt; sleep 3")
    killed = watch(project)
    killed.wait_for("step_started", lambda event: "sleep 3" in event["text"])
    killed.kill()
    session = watch(project)
    session.wait_until_watching()
    assert len(running(engine, unique_name)) == 1


def test_a_second_watch_of_the_same_project_says_so_and_stops(watch: Watch, project: Path) -> None:
    first = watch(project)
    first.wait_until_watching()
    second = watch(project)
    assert second.wait() == 1
    assert str(first.process.pid) in second.stderr + json.dumps(second.events)
    first.save("index.html", "version 2\n")
    wait_until_serving(first, "version 2\n")


def test_port_and_environment_come_from_the_flags(watch: Watch, project: Path) -> None:
    (project / "start.sh").write_text("echo $GREETING > greeting.html\n" + START)
    (project / "more.env").write_text("PLACE=world\n")
    edit(project / "start.sh", "$GREETING", "$GREETING, $PLACE")
    port = free_port()
    session = watch(
        project,
        "--publish",
        f"127.0.0.1:{port}:8000",
        "--env",
        "GREETING=hello",
        "--env-file",
        str(project / "more.env"),
    )
    session.wait_for("deployed")
    assert session.url is not None
    assert f":{port}" in session.url
    assert session.get("/greeting.html") == "hello, world\n"


def test_the_cache_is_that_of_the_users_own_docker_build(
    watch: Watch, project: Path, engine: dict[str, str], unique_name: str
) -> None:
    own = subprocess.run(
        ["docker", "build", "--quiet", "--tag", f"{unique_name}-own", str(project)],
        env=engine,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert own.returncode == 0, own.stderr
    session = watch(project)
    built = session.wait_for("build_finished")
    assert (built["status"], built["ran"]) == ("ok", 0)
    wait_until_serving(session, "version 1\n")


def test_a_dependency_list_is_warned_about_before_its_install_runs_again(
    watch: Watch, web_api: Path, engine: dict[str, str], unique_name: str
) -> None:
    requirements = web_api / "src/web_api/requirements.txt"
    add_line(requirements, f"# {unique_name}: not in the cache of an earlier run")
    with connect(engine) as client:
        needs_host_network = is_stand_in(client, "python:3.11-slim")
    session = watch(web_api, *(["--network", "host"] if needs_host_network else []))
    session.wait_for("deployed", timeout=240)
    assert json.loads(session.get())["message"] == "Hello from version 1"

    mark = session.mark()
    add_line(requirements, "itsdangerous==2.2.0")
    planned = session.wait_for("planned", lambda event: bool(event["warnings"]))
    [warning] = planned["warnings"]
    assert warning["instruction"] == "RUN"
    assert "pip install" in warning["text"]
    assert warning["seconds"] > 0
    assert warning["seconds_from"] == "measured"
    built = session.wait_for("build_finished", timeout=240)
    assert (built["status"], built["ran"]) == ("ok", 3)
    assert any("pip install" in text for text in steps_that_ran(session.since(mark)))
    order = [event["event"] for event in session.since(mark, "planned", "build_started", "build_finished")]
    assert order == ["planned", "build_started", "build_finished"]
    session.wait_for("deployed")

    mark = session.mark()
    edit(web_api / "src/web_api/main.py", "version 1", "version 2")
    built = session.wait_for("build_finished")
    assert (built["status"], built["ran"]) == ("ok", 1)
    session.wait_for("deployed")
    assert json.loads(session.get())["message"] == "Hello from version 2"
    assert not any("pip install" in text for text in steps_that_ran(session.since(mark)))
