"""`devloop watch` with syncs on a real engine: what other tools get wrong between a save and the process.

The service copies its files away when it starts, so what it answers is what the process took in, and not
merely what lies in the container.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from support.engine import BUSYBOX, connect, containers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from docker.models.containers import Container

    from support.session import Event, Session

    Watch = Callable[..., Session]

pytestmark = pytest.mark.docker

# The first RUN keeps the tests out of each other's cache.
DOCKERFILE = """\
FROM {base}
RUN echo {name} > /name
WORKDIR /srv
COPY packages.txt .
RUN cp packages.txt installed.txt
COPY . .
EXPOSE 8000
CMD ["sh", "start.sh"]
"""
INSTALL = "RUN cp packages.txt installed.txt"
COPY = "COPY . ."
START = "rm -rf /run/www\nmkdir -p /run\ncp -a /srv /run/www\nexec httpd -f -p 8000 -h /run/www\n"
IGNORE = "Dockerfile\n.dockerignore\ndevloop.toml\n.git\n**/*.log\nnotes\n"
SETTINGS = "background_build = false\n"
QUIET = 1.0
"""Longer than any quiet period: what comes afterwards is a batch of its own."""


@pytest.fixture
def project(tmp_path: Path, unique_name: str) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=BUSYBOX, name=unique_name))
    (folder / ".dockerignore").write_text(IGNORE)
    (folder / "devloop.toml").write_text(SETTINGS)
    (folder / "packages.txt").write_text("one\n")
    (folder / "start.sh").write_text(START)
    (folder / "index.html").write_text("version 1\n")
    return folder


@pytest.fixture
def sh(engine: dict[str, str], unique_name: str) -> Callable[[str], str]:
    """What a command says in the container."""

    def run(command: str) -> str:
        with connect(engine) as client:
            [found] = containers_of(client, unique_name)
            made = client.api.exec_create(found.id, ["sh", "-c", command], user="0")
            return str(client.api.exec_start(made["Id"]).decode())

    return run


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def wait_until_synced(session: Session, text: str, path: str = "/") -> Event:
    deployed = session.wait_for("deployed")
    assert deployed["action"] == "sync+restart", session.describe()
    assert session.get(path) == text
    return deployed


def actions(session: Session, mark: int) -> list[str]:
    return [event["action"] for event in session.since(mark, "deployed")]


def git(project: Path, *arguments: str) -> None:
    given = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", *arguments]
    subprocess.run(given, cwd=project, check=True, capture_output=True)


@contextmanager
def noise(write: Callable[[int], object], every: float) -> Iterator[threading.Thread]:
    """Writes again and again until the end of the block."""
    ended = threading.Event()

    def go_on() -> None:
        count = 0
        while not ended.wait(every):
            count += 1
            write(count)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    yield thread
    assert thread.is_alive(), "the noise ended before the block did"
    ended.set()
    thread.join()


# Saves ------------------------------------------------------------------------------------------------------


def test_an_edit_is_synced_and_the_process_takes_it_in(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("index.html", "version 2\n")
    planned = session.wait_for("planned")
    assert planned["plan"]["action"] == "sync+restart"
    assert planned["plan"]["reason"].startswith("only COPY (line 6) reads it")
    wait_until_synced(session, "version 2\n")
    session.save("index.html", "version 3\n")
    wait_until_synced(session, "version 3\n")
    assert session.since(mark, "build_started", "deploy_failed") == []


def test_saves_that_change_nothing_restart_nothing(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "one")
    session = watch(project)
    session.wait_until_watching()
    before = container().attrs["State"]["StartedAt"]
    mark = session.mark()
    page = project / "index.html"

    def undo() -> None:
        page.write_text("version 2\n")
        page.write_text("version 1\n")

    def temporary() -> None:
        for name in (".index.html.swp", "4913", "index.html~", ".#index.html", "___jb_tmp___"):
            (project / name).write_text("x")
            (project / name).unlink()

    def atomic() -> None:
        (project / "index.html.tmp").write_text("version 1\n")
        (project / "index.html.tmp").rename(page)

    saves: tuple[Callable[[], object], ...] = (
        lambda: session.save("index.html", "version 1\n"),
        page.touch,
        undo,
        temporary,
        atomic,
        lambda: git(project, "status"),
        lambda: git(project, "add", "."),
        lambda: session.save("notes", "ignored\n"),
    )
    for save in saves:
        save()
        time.sleep(QUIET / 2)
    time.sleep(QUIET)
    assert session.since(mark, "deployed", "build_started") == []
    assert container().attrs["State"]["StartedAt"] == before
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    assert len(session.since(mark, "deployed")) == 1


def test_a_formatter_after_the_save_has_the_last_word(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("index.html", "version   2\n")
    time.sleep(0.6)
    session.save("index.html", "version 2\n")
    session.wait_for("deployed")
    time.sleep(QUIET)
    assert session.get() == "version 2\n"
    assert 1 <= len(session.since(mark, "deployed")) <= 2


def test_an_ignored_file_that_never_rests_delays_no_edit(watch: Watch, project: Path) -> None:
    (project / "logs").mkdir()
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    log = project / "logs/app.log"
    with noise(lambda count: log.write_text(f"{count}\n"), 0.2):
        time.sleep(QUIET)
        session.save("index.html", "version 2\n")
        wait_until_synced(session, "version 2\n")
    assert len(session.since(mark, "deployed")) == 1


def test_a_file_that_is_read_and_never_rests_starves_no_edit(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    with noise(lambda count: (project / "counter").write_text(f"{count}\n"), 0.05):
        session.save("index.html", "version 2\n")
        session.wait_for("deployed")
        while session.get() != "version 2\n":
            session.wait_for("deployed")


def test_many_files_at_once_are_one_batch(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    (project / "many").mkdir()
    for number in range(200):
        (project / f"many/{number}.html").write_text(f"page {number}\n")
    session.wait_for("deployed")
    time.sleep(QUIET)
    assert session.get("/many/0.html") == "page 0\n"
    assert session.get("/many/199.html") == "page 199\n"
    assert len(session.since(mark, "deployed")) <= 2
    assert session.since(mark, "build_started") == []


# What a path is ---------------------------------------------------------------------------------------------


def test_a_link_to_a_folder_is_carried_as_a_link(
    watch: Watch, project: Path, sh: Callable[[str], str]
) -> None:
    (project / "pages").mkdir()
    (project / "pages/page.html").write_text("a page\n")
    session = watch(project)
    session.wait_until_watching()
    (project / "current").symlink_to("pages")
    wait_until_synced(session, "a page\n", "/current/page.html")
    assert sh("readlink /srv/current").strip() == "pages"
    (project / "current").unlink()
    session.wait_for("deployed")
    assert sh("ls /srv/pages; readlink /srv/current").split() == ["page.html"]


def test_a_file_may_become_a_folder_and_a_folder_a_file(
    watch: Watch, project: Path, sh: Callable[[str], str]
) -> None:
    (project / "thing").write_text("a file\n")
    session = watch(project)
    session.wait_until_watching()
    (project / "thing").unlink()
    (project / "thing").mkdir()
    session.save("thing/inner.html", "inside\n")
    session.wait_for("deployed", lambda _: "inner.html" in sh("ls /srv/thing"))
    assert session.get("/thing/inner.html") == "inside\n"
    (project / "thing/inner.html").unlink()
    (project / "thing").rmdir()
    session.save("thing", "a file again\n")
    session.wait_for("deployed", lambda _: sh("cat /srv/thing") == "a file again\n")


def test_ignored_files_of_a_new_folder_stay_outside(
    watch: Watch, project: Path, sh: Callable[[str], str]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    made = project.parent / "made"
    (made / "deep").mkdir(parents=True)
    for name in ("page.html", "debug.log", "deep/other.html", "deep/trace.log"):
        (made / name).write_text("content\n")
    made.rename(project / "new")
    wait_until_synced(session, "content\n", "/new/deep/other.html")
    assert sorted(sh("cd /srv; find new -type f").split()) == ["new/deep/other.html", "new/page.html"]


def test_empty_folders_and_modes_arrive(watch: Watch, project: Path, sh: Callable[[str], str]) -> None:
    session = watch(project)
    session.wait_until_watching()
    (project / "hollow").mkdir(mode=0o750)
    session.wait_for("deployed", lambda _: "hollow" in sh("ls /srv"))
    (project / "index.html").chmod(0o600)
    session.wait_for("deployed", lambda _: sh("stat -c %a /srv/index.html").strip() == "600")
    assert sh("stat -c '%a %u' /srv/hollow").split() == ["750", "0"]


NO_SHELL = """\
FROM scratch
COPY --from={base} /bin/busybox /bin/httpd
COPY --chown=1000:1001 site /srv
USER 1000
EXPOSE 8000
STOPSIGNAL SIGKILL
LABEL name={name}
CMD ["/bin/httpd", "-f", "-p", "8000", "-h", "/srv"]
"""


def test_files_go_without_rm_and_owners_stay_under_another_user(
    watch: Watch, project: Path, unique_name: str, container: Callable[[], Container]
) -> None:
    (project / "Dockerfile").write_text(NO_SHELL.format(base=BUSYBOX, name=unique_name))
    (project / "site").mkdir()
    (project / "site/index.html").write_text("version 1\n")
    (project / "site/old.html").write_text("old\n")
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("site/index.html", "version 2\n")
    session.save("site/new.html", "new\n")
    session.wait_for("deployed")
    assert (session.get(), session.get("/new.html")) == ("version 2\n", "new\n")
    (project / "site/new.html").unlink()
    (project / "site/old.html").unlink()
    session.wait_for("deployed", lambda _: is_gone(session, "/old.html"))
    with pytest.raises(AssertionError, match="404"):
        session.get("/new.html")
    assert "rebuild" not in actions(session, mark)
    assert owner_of(container(), "/srv/index.html") == (1000, 1001)


def is_gone(session: Session, path: str) -> bool:
    try:
        session.get(path)
    except AssertionError as error:
        return "404" in str(error)
    return False


def owner_of(container: Container, path: str) -> tuple[int, int]:
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        [info] = archive.getmembers()
        return info.uid, info.gid


# Other hands on the container -------------------------------------------------------------------------------


def test_a_container_that_somebody_removed_comes_back_with_the_newest_code(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    container().remove(force=True)
    session.wait_for("container_exited")
    session.save("other.html", "other\n")
    session.wait_for("deployed")
    assert (session.get(), session.get("/other.html")) == ("version 2\n", "other\n")


def test_a_save_right_after_somebody_removed_the_container_is_not_lost(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    container().remove(force=True)
    # Nobody has noticed yet, and the proof has to look into the container for these places.
    (project / "fresh").mkdir()
    session.save("fresh/page.html", "a page\n")
    session.wait_for("deployed")
    assert (session.get(), session.get("/fresh/page.html")) == ("version 2\n", "a page\n")


def test_a_container_that_somebody_made_anew_gets_the_newest_code(
    watch: Watch, project: Path, engine: dict[str, str], container: Callable[[], Container]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    old = container()
    config, host = old.attrs["Config"], old.attrs["HostConfig"]
    with connect(engine) as client:
        old.remove(force=True)
        create = cast("Callable[..., dict[str, str]]", client.api.create_container_from_config)
        client.containers.get(create({**config, "HostConfig": host}, name=old.name)["Id"]).start()
    session.save("other.html", "other\n")
    session.wait_for("deployed")
    assert (session.get(), session.get("/other.html")) == ("version 2\n", "other\n")


def test_a_restart_by_somebody_else_keeps_what_was_synced(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    container().restart(timeout=0)
    session.save("other.html", "other\n")
    session.wait_for("deployed")
    assert (session.get(), session.get("/other.html")) == ("version 2\n", "other\n")


def test_a_killed_session_leaves_no_stale_code_to_the_next(watch: Watch, project: Path) -> None:
    killed = watch(project)
    killed.wait_until_watching()
    killed.save("index.html", "version 2\n")
    wait_until_synced(killed, "version 2\n")
    killed.kill()
    (project / "index.html").write_text("version 1\n")
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 3\n")
    session.wait_for("deployed")
    assert session.get() == "version 3\n"


def test_a_session_that_takes_a_synced_container_over_knows_what_it_holds(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    killed = watch(project)
    killed.wait_until_watching()
    killed.save("index.html", "version 2\n")
    wait_until_synced(killed, "version 2\n")
    before, url = container().id, killed.url
    killed.kill()
    session = watch(project)
    assert session.wait_for("planned")["plan"]["action"] == "none"
    session.url = url
    assert session.get() == "version 2\n"
    assert container().id == before
    session.save("index.html", "version 3\n")
    session.wait_for("deployed")
    assert session.get() == "version 3\n"


# Builds at the same time ------------------------------------------------------------------------------------


def test_an_edit_during_a_background_build_is_not_lost(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    (project / "devloop.toml").write_text("background_seconds = 0.1\n")
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    first = container().id
    for number in range(2, 12):
        session.save("index.html", f"version {number}\n")
        session.save(f"page{number}.html", f"page {number}\n")
        # Some of these fall into the wait, others into the build that follows it.
        time.sleep(0.1 + 0.05 * number)
    session.wait_for("background_built")
    time.sleep(QUIET)
    assert session.get() == "version 11\n"
    assert [session.get(f"/page{number}.html") for number in range(2, 12)] == [
        f"page {number}\n" for number in range(2, 12)
    ]
    assert container().id == first, "a background build replaces nothing"
    assert session.since(mark, "build_started", "deploy_failed") == []


def test_what_was_built_in_the_background_is_what_a_new_container_gets(
    watch: Watch, project: Path, engine: dict[str, str], container: Callable[[], Container]
) -> None:
    (project / "devloop.toml").write_text("background_seconds = 0.1\n")
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")
    session.wait_for("background_built")
    image = f"devloop/{str(container().name).removeprefix('devloop-')}:latest"
    with connect(engine) as client:
        said = client.containers.run(image, ["cat", "/srv/index.html"], entrypoint="", remove=True)
    assert said == b"version 2\n"


def test_edits_during_a_dependency_build_are_all_served_and_the_build_ends(
    watch: Watch, project: Path
) -> None:
    edit(project / "Dockerfile", INSTALL, f"{INSTALL}; sleep 4")
    session = watch(project)
    session.wait_until_watching()
    mark = session.mark()
    session.save("packages.txt", "two\n")
    session.wait_for("step_started", lambda event: "sleep 4" in event["text"])
    for number in range(2, 8):
        session.save("index.html", f"version {number}\n")
        session.save(f"page{number}.html", f"page {number}\n")
        time.sleep(1.0)
    session.wait_for("deployed", lambda _: session.get() == "version 7\n")
    assert session.get("/installed.txt") == "two\n"
    assert [session.get(f"/page{number}.html") for number in range(2, 8)] == [
        f"page {number}\n" for number in range(2, 8)
    ]
    slow = [event for event in session.since(mark, "step_finished") if "sleep 4" in event["text"]]
    assert [event["status"] for event in slow].count("run") == 1, "the slow step ran once, to its end"


# When it goes wrong -----------------------------------------------------------------------------------------


def test_a_synced_version_that_crashes_is_rolled_back(watch: Watch, project: Path) -> None:
    session = watch(project)
    session.wait_until_watching()
    session.save("start.sh", "echo cannot start >&2\nexit 3\n")
    failed = session.wait_for("deploy_failed")
    assert failed["exit_code"] == 3
    assert "cannot start" in "\n".join(failed["log_tail"])
    assert failed["rolled_back"] is True
    assert session.get() == "version 1\n"
    (project / "index.html").write_text("version 2\n")
    session.save("start.sh", START)
    session.wait_for("deployed", lambda _: session.get() == "version 2\n")


def test_a_read_only_container_is_rebuilt(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    (project / "devloop.toml").write_text(f"{SETTINGS}[run_option]\nread_only = true\n")
    (project / "start.sh").write_text("exec httpd -f -p 8000 -h /srv\n")
    session = watch(project)
    session.wait_until_watching()
    assert container().attrs["HostConfig"]["ReadonlyRootfs"] is True
    session.save("index.html", "version 2\n")
    planned = session.wait_for("planned")
    assert planned["plan"]["action"] == "rebuild"
    assert "read-only" in planned["plan"]["reason"]
    assert session.wait_for("deployed")["action"] == "rebuild"
    assert session.get() == "version 2\n"


def test_a_volume_over_the_destination_leads_to_a_rebuild_that_says_so(watch: Watch, project: Path) -> None:
    edit(project / "Dockerfile", "EXPOSE", "VOLUME /srv/data\nEXPOSE")
    (project / "data").mkdir()
    (project / "data/page.html").write_text("page 1\n")
    session = watch(project)
    session.wait_until_watching()
    session.save("data/page.html", "page 2\n")
    planned = session.wait_for("planned")
    assert planned["plan"]["action"] == "rebuild"
    assert "/srv/data" in planned["plan"]["reason"]
    assert session.wait_for("deployed")["action"] == "rebuild"
    assert session.get("/data/page.html") == "page 2\n"
    session.save("index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")


def test_a_step_that_reads_the_file_leads_to_a_rebuild(watch: Watch, project: Path) -> None:
    edit(project / "Dockerfile", "EXPOSE", "RUN cat index.html > made.html\nEXPOSE")
    session = watch(project)
    session.wait_until_watching()
    session.save("index.html", "version 2\n")
    assert session.wait_for("planned")["plan"]["action"] == "rebuild"
    session.wait_for("deployed")
    assert session.get("/made.html") == "version 2\n"


def test_what_reaches_no_file_of_the_image_restarts_nothing(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    (project / "site").mkdir()
    (project / "site/page.html").write_text("page 1\n")
    edit(project / "Dockerfile", "FROM", "FROM scratch AS files\nCOPY . /all\nFROM")
    edit(project / "Dockerfile", COPY, "COPY start.sh .\nCOPY --from=files /all/site .")
    (project / "site/index.html").write_text("version 1\n")
    session = watch(project, "--no-supervisor")
    session.wait_until_watching()
    before = container().attrs["State"]["StartedAt"]
    session.save("readme.md", "to read\n")
    assert session.wait_for("planned")["plan"]["reason"].endswith("a build would give the same files")
    assert session.wait_for("deployed")["action"] == "sync"
    assert container().attrs["State"]["StartedAt"] == before
    session.save("site/index.html", "version 2\n")
    wait_until_synced(session, "version 2\n")


# Restarts ---------------------------------------------------------------------------------------------------

RELOADER = "exec httpd -f -p 8000 -h /srv\n"


def test_a_command_that_reloads_itself_is_not_restarted(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    edit(project / "Dockerfile", '["sh", "start.sh"]', '["sh", "/srv/nodemon", "app.js"]')
    (project / "nodemon").write_text(RELOADER)
    (project / "app.js").write_text("one\n")
    session = watch(project)
    session.wait_until_watching()
    before = container().attrs["State"]["StartedAt"]
    mark = session.mark()
    session.save("app.js", "two\n")
    deployed = session.wait_for("deployed")
    assert deployed["action"] == "sync"
    assert session.get("/app.js") == "two\n"
    assert container().attrs["State"]["StartedAt"] == before
    # What the reloader does not watch needs a restart all the same.
    session.save("index.html", "version 2\n")
    assert session.wait_for("deployed")["action"] == "sync+restart"
    assert session.get() == "version 2\n"
    assert session.since(mark, "build_started") == []


def test_a_restart_in_place_keeps_the_container(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    session = watch(project)
    session.wait_until_watching()
    before = container()
    session.save("index.html", "version 2\n")
    deployed = wait_until_synced(session, "version 2\n")
    assert deployed["how"] == "process"
    after = container()
    assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
