"""`devloop watch` on images as people have them: which way of restarting each gets, and that it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.engine import BUSYBOX, make_base_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from docker.models.containers import Container

    from support.session import Event, Session

    Watch = Callable[..., Session]

pytestmark = pytest.mark.docker

PYTHON, NODE = "python:3.11-slim", "node:20-slim"
NODE_SERVER = """\
const text = require("fs").readFileSync(__dirname + "/text");
const answer = `${text.toString().trim()} ${process.getuid()} ${process.cwd()}\\n`;
require("http").createServer((_, reply) => reply.end(answer)).listen(8000);
"""
PYTHON_SERVER = """\
import http.server, os, pathlib
answer = f"{pathlib.Path('text').read_text().strip()} {os.getuid()} {os.getcwd()}\\n".encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
SHELL_SERVER = """\
mkdir -p /tmp/www
echo "$(cat text) $(id -u) $PWD" > /tmp/www/index.html
exec httpd -f -p 8000 -h /tmp/www
"""
FILES = {"server.js": NODE_SERVER, "server.py": PYTHON_SERVER, "server.sh": SHELL_SERVER, "text": "one\n"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "app").mkdir(parents=True)
    (folder / "devloop.toml").write_text("background_build = false\n")
    for name, text in FILES.items():
        (folder / "app" / name).write_text(text)
    return folder


def start(watch: Watch, project: Path, engine: dict[str, str], base: str, *lines: str) -> Session:
    """Watch a Dockerfile that copies the service into /srv last."""
    make_base_image(engine, base)
    text = [f"FROM {base}", "WORKDIR /srv", "COPY app ./", "EXPOSE 8000", *lines]
    (project / "Dockerfile").write_text("\n".join([*text, ""]))
    session = watch(project)
    session.wait_for("deployed", timeout=120)
    return session


def save(session: Session) -> Event:
    session.save("app/text", "two\n")
    return session.wait_for("deployed")


SERVICES = {
    "node": (NODE, 'CMD ["node", "server.js"]', "0"),
    "node under another user": (NODE, 'USER 1234\nCMD ["node", "server.js"]', "1234"),
    "python under another user": (PYTHON, 'USER 1234\nCMD ["python", "server.py"]', "1234"),
    "a shell-form command": (BUSYBOX, "CMD sh server.sh", "0"),
    "a shell-form command of several": (BUSYBOX, "USER 1234\nCMD true && sh server.sh; echo ended", "1234"),
}


@pytest.mark.parametrize("service", SERVICES)
def test_the_process_starts_again_in_place_with_its_user_and_folder(
    watch: Watch, project: Path, engine: dict[str, str], container: Callable[[], Container], service: str
) -> None:
    base, line, user = SERVICES[service]
    session = start(watch, project, engine, base, line)
    assert session.get() == f"one {user} /srv\n"
    before = container()
    deployed = save(session)
    assert (deployed["action"], deployed["how"]) == ("sync+restart", "process"), session.describe()
    assert session.get() == f"two {user} /srv\n"
    after = container()
    assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])


def test_a_node_that_watches_its_files_is_left_to_do_so(
    watch: Watch, project: Path, engine: dict[str, str], container: Callable[[], Container]
) -> None:
    session = start(watch, project, engine, NODE, 'CMD ["node", "--watch", "server.js"]')
    before = container()
    session.save("app/server.js", NODE_SERVER.replace("process.cwd()", '"reloaded"'))
    planned = session.wait_for("planned")["plan"]
    deployed = session.wait_for("deployed")
    assert (deployed["action"], deployed["how"]) == ("sync", "files"), session.describe()
    assert "node --watch" in str(planned), planned
    assert container().attrs["State"]["StartedAt"] == before.attrs["State"]["StartedAt"]


SCRATCH = """\
FROM scratch
COPY --from={base} /bin/busybox /httpd
COPY app /srv
EXPOSE 8000
STOPSIGNAL SIGKILL
CMD ["/httpd", "-f", "-p", "8000", "-h", "/srv"]
"""


def test_a_static_binary_without_a_shell_gets_a_restart_of_its_container(
    watch: Watch, project: Path, container: Callable[[], Container]
) -> None:
    (project / "Dockerfile").write_text(SCRATCH.format(base=BUSYBOX))
    session = watch(project)
    session.wait_for("deployed")
    before = container()
    deployed = save(session)
    assert (deployed["action"], deployed["how"]) == ("sync+restart", "container"), session.describe()
    assert session.get("/text") == "two\n"
    after = container()
    assert after.id == before.id
    assert after.attrs["State"]["StartedAt"] != before.attrs["State"]["StartedAt"]


def test_a_program_that_is_itself_a_file_of_the_context_is_replaced_while_it_runs(
    watch: Watch, project: Path, engine: dict[str, str]
) -> None:
    program = project / "app/start"
    program.write_text(f"#!/bin/sh\n{SHELL_SERVER}")
    program.chmod(0o755)
    session = start(watch, project, engine, BUSYBOX, 'CMD ["./start"]')
    assert session.get() == "one 0 /srv\n"
    session.save("app/start", program.read_text().replace("$(id -u)", "new"))
    assert session.wait_for("deployed")["action"] == "sync+restart"
    assert session.get() == "one new /srv\n"


def test_a_container_with_a_read_only_root_is_rebuilt_and_says_why(
    watch: Watch, project: Path, engine: dict[str, str], container: Callable[[], Container]
) -> None:
    with (project / "devloop.toml").open("a") as file:
        file.write('[run_option]\nread_only = true\ntmpfs = "/tmp"\n')
    session = start(watch, project, engine, BUSYBOX, 'CMD ["sh", "server.sh"]')
    assert container().attrs["HostConfig"]["ReadonlyRootfs"] is True
    session.save("app/text", "two\n")
    planned = session.wait_for("planned")
    assert planned["plan"]["action"] == "rebuild"
    assert "the container's file system is read-only" in planned["plan"]["reason"]
    assert session.wait_for("deployed")["action"] == "rebuild"
    assert session.get() == "two 0 /srv\n"
