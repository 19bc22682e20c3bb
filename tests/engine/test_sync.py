"""The wire to the engine and the small parts of a sync, tried without an engine."""

from __future__ import annotations

import base64
import http.server
import io
import json
import socket
import socketserver
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from devloop.engine.archive import SyncBatch, Write
from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.containers import Containers
from devloop.engine.endpoint import Endpoint, Engine
from devloop.engine.sync import ContainerFiles, Found, Wire, _kind_and_mode, _mount_points, _refuse_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Reply = tuple[int, dict[str, str], bytes]


class FakeEngine:
    """An engine of one container that answers on a socket, keeps what it was asked, and hangs up at will."""

    def __init__(self, path: Path) -> None:
        self.calls: list[tuple[str, str, bytes]] = []
        self.connections = 0
        self.answer: Callable[[str, str], Reply] = lambda _method, _path: (200, {}, b"{}")
        self.hang_up_after = 0
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                fake.connections += 1
                super().setup()

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.calls.append((self.command, self.path, body))
                status, headers, reply = fake.answer(self.command, self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply)
                if fake.hang_up_after:
                    # Without a word, as an engine does that was restarted.
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the server's own names

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "test"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        self.engine = Engine(Endpoint("default", f"unix://{path}"))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    made = FakeEngine(tmp_path / "engine.sock")
    yield made
    made.close()


@pytest.fixture
def wire(fake: FakeEngine) -> Iterator[Wire]:
    made = Wire(fake.engine)
    yield made
    made.close()


def test_requests_share_a_connection(fake: FakeEngine, wire: Wire) -> None:
    for _ in range(3):
        wire.json("GET", "/version")
    assert (len(fake.calls), fake.connections) == (3, 1)


def test_a_connection_that_the_engine_closed_is_opened_anew_and_the_body_sent_whole(
    fake: FakeEngine, wire: Wire
) -> None:
    fake.hang_up_after = 1
    for _ in range(3):
        wire.request("PUT", "/x", {"path": "/"}, io.BytesIO(b"body"), "application/x-tar")
    assert [body for _, _, body in fake.calls] == [b"body"] * 3


def test_an_engine_that_is_gone_is_named(tmp_path: Path) -> None:
    wire = Wire(Engine(Endpoint("default", f"unix://{tmp_path}/none.sock")))
    with pytest.raises(EngineUnavailable) as caught:
        wire.json("GET", "/version")
    assert "there is no socket" in caught.value.message


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b'{"message":"no such thing"}', "no such thing"),
        (b"plain words\n", "plain words"),
        (b"", "the engine answered with status 500"),
        (b"[]", "[]"),
    ],
)
def test_a_refusal_is_in_the_engines_words(fake: FakeEngine, wire: Wire, reply: bytes, message: str) -> None:
    fake.answer = lambda _method, _path: (500, {}, reply)
    with pytest.raises(EngineRefused) as caught:
        wire.json("GET", "/version")
    assert (caught.value.status, caught.value.message) == (500, message)


def described(mode: int) -> str:
    return base64.b64encode(json.dumps({"name": "x", "mode": mode, "linkTarget": ""}).encode()).decode()


INSPECTED = {
    "Id": "0" * 64,
    "State": {"Status": "running", "Pid": 0},
    "HostConfig": {"ReadonlyRootfs": False},
    "Mounts": [],
}


def a_container(method: str, path: str) -> Reply:
    if path.endswith("/json"):
        return 200, {}, json.dumps(INSPECTED).encode()
    if method == "HEAD":
        return 200, {"X-Docker-Container-Path-Stat": described(1 << 31 | 0o755)}, b""
    return 200, {}, b""


@pytest.fixture
def files(fake: FakeEngine) -> Iterator[ContainerFiles]:
    fake.answer = a_container
    made = ContainerFiles(Containers(fake.engine), "box", reach=False)
    yield made
    made.close()


def test_all_writes_are_one_upload_into_the_directory_above_them(
    fake: FakeEngine, files: ContainerFiles
) -> None:
    batch = SyncBatch((Write("/a/l", "link", link="x"), Write("/a/m", "link", link="y")))
    assert files.apply(batch).ok
    assert [path for method, path, _ in fake.calls if method == "PUT"] == [
        "/containers/box/archive?path=%2Fa"
    ]


def test_parents_are_looked_at_once_and_again_after_a_failure(
    fake: FakeEngine, files: ContainerFiles
) -> None:
    batch = SyncBatch((Write("/a/b/l", "link", link="x"),))

    def looks() -> int:
        found = sum(method == "HEAD" for method, _, _ in fake.calls)
        fake.calls.clear()
        return found

    files.apply(batch)
    assert looks() == 2
    files.apply(batch)
    assert looks() == 0
    fake.answer = lambda method, path: (500, {}, b"full") if method == "PUT" else a_container(method, path)
    outcome = files.apply(batch)
    assert (outcome.ok, outcome.error, outcome.changed_meanwhile) == (False, "full", False)
    fake.answer = a_container
    looks()
    files.apply(batch)
    assert looks() == 2


def test_a_batch_that_contradicts_itself_sends_nothing(fake: FakeEngine, files: ContainerFiles) -> None:
    outcome = files.apply(SyncBatch((Write("a", "directory"),)))
    assert outcome.error == "'a' is no plain absolute path"
    assert fake.calls == []


def test_an_engine_that_goes_away_is_no_outcome(fake: FakeEngine, files: ContainerFiles) -> None:
    fake.close()
    fake.answer = a_container
    made = ContainerFiles(Containers(Engine(Endpoint("default", "unix:///nowhere.sock"))), "box")
    with pytest.raises(EngineUnavailable):
        made.apply(SyncBatch((Write("/l", "link", link="x"),)))


def test_an_upload_that_the_engine_refuses_early_says_why(tmp_path: Path) -> None:
    """The engine answers before it has read everything, and closes."""
    path = tmp_path / "early.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def refuse() -> None:
        connection, _ = server.accept()
        connection.recv(1000)
        reply = b'{"message":"no"}'
        connection.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply)
        connection.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    wire = Wire(Engine(Endpoint("default", f"unix://{path}")))
    try:
        status, _, reply = wire.request("PUT", "/x", None, io.BytesIO(bytes(8 << 20)))
    finally:
        thread.join()
        wire.close()
        server.close()
    assert (status, reply) == (409, b'{"message":"no"}')


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o644, ("file", 0o644)),
        (1 << 31 | 0o755, ("directory", 0o755)),
        (1 << 31 | 1 << 20 | 0o777, ("directory", 0o1777)),
        (1 << 27 | 0o777, ("link", 0o777)),
        (1 << 23 | 0o755, ("file", 0o4755)),
        (1 << 22 | 0o755, ("file", 0o2755)),
        (1 << 24 | 0o755, ("other", 0o755)),
        (1 << 26 | 1 << 21 | 0o600, ("other", 0o600)),
        (1 << 25 | 0o600, ("other", 0o600)),
    ],
)
def test_modes_are_read_as_go_writes_them(mode: int, expected: tuple[str, int]) -> None:
    assert _kind_and_mode(mode) == expected


def test_what_is_at_a_path_is_told_in_our_words(fake: FakeEngine, files: ContainerFiles) -> None:
    assert files.stat("/a") == Found("directory", 0o755)
    assert stat.S_ISDIR(0o40755)


def test_mount_points_are_read_with_their_odd_letters() -> None:
    text = (
        b"22 1 0:20 / / rw - overlay overlay rw\n"
        b"23 22 0:21 / /proc rw - proc proc rw\n"
        b"24 22 8:1 /x /a\\040b\\134c rw - ext4 /dev/sda1 rw\n"
    )
    assert _mount_points(text) == {"/proc", "/a b\\c"}


def test_only_what_takes_a_mount_away_is_refused_above_one() -> None:
    mounts = frozenset({"/etc/hosts"})
    _refuse_mounts(["/etc", "/etc/other"], ["/etc/other"], mounts)
    for written, gone in ((["/etc/hosts"], []), (["/etc/hosts/x"], []), ([], ["/etc"])):
        with pytest.raises(Exception, match="mount"):
            _refuse_mounts(written, gone, mounts)
