"""Finding the engine as the docker client does, and asking it."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer
from typing import TYPE_CHECKING

import pytest

from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.engine.endpoint import DEFAULT_SOCKET, Endpoint, Engine, current_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def context(config: Path, name: str, host: str, **more: object) -> None:
    folder = config / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    record = {"Name": name, "Endpoints": {"docker": {"Host": host, **more}}}
    (folder / "meta.json").write_text(json.dumps(record))


def test_without_any_hint_it_is_the_default_socket(tmp_path: Path) -> None:
    assert current_endpoint({"DOCKER_CONFIG": str(tmp_path)}) == Endpoint("default", DEFAULT_SOCKET)


def test_the_environment_wins_over_the_chosen_context(tmp_path: Path) -> None:
    context(tmp_path, "mine", "unix:///mine")
    context(tmp_path, "other", "tcp://other:1")
    (tmp_path / "config.json").write_text('{"currentContext": "mine"}')
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert current_endpoint(environ) == Endpoint("mine", "unix:///mine")
    environ["DOCKER_CONTEXT"] = "other"
    assert current_endpoint(environ) == Endpoint("other", "tcp://other:1")
    environ["DOCKER_HOST"] = "unix:///direct"
    assert current_endpoint(environ) == Endpoint("default", "unix:///direct")


def test_a_contexts_keys_come_along(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2376", SkipTLSVerify=True)
    keys = tmp_path / "contexts" / "tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    keys.mkdir(parents=True)
    (keys / "ca.pem").touch()
    found = current_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"})
    assert found.tls == (str(keys / "ca.pem"), None, None)
    assert not found.verify


def test_keys_from_the_environment_are_found(tmp_path: Path) -> None:
    for kind in ("ca", "cert", "key"):
        (tmp_path / f"{kind}.pem").touch()
    environ = {"DOCKER_HOST": "tcp://far:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    found = current_endpoint(environ)
    assert found.tls == tuple(str(tmp_path / f"{kind}.pem") for kind in ("ca", "cert", "key"))
    assert found.verify


def test_a_context_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no such docker context") as caught:
        current_endpoint({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert caught.value.hint


def test_a_broken_configuration_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert current_endpoint({"DOCKER_CONFIG": str(tmp_path)}).host == DEFAULT_SOCKET


GOES_ON = threading.Event()


class _Replies(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\none\r\n")
            self.wfile.flush()
            GOES_ON.wait(30)
            return
        status = {"/missing": 404, "/broken": 500}.get(self.path, 200)
        body = json.dumps({"message": "it says no"} if status != 200 else {"path": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "local"


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        GOES_ON.clear()
        super().__init__(str(path), _Replies)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Engine]:
    with _Server(tmp_path / "s") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Engine(Endpoint("default", f"unix://{tmp_path / 's'}"))
        GOES_ON.set()
        server.shutdown()
        thread.join()


def test_a_reply_is_read_as_json(asked: Engine) -> None:
    assert asked.get("/x y", {"a": "1&2"}) == {"path": "/x%20y?a=1%262"}


def test_a_refusal_carries_the_engines_words(asked: Engine) -> None:
    with pytest.raises(EngineRefused, match="it says no") as caught:
        asked.get("/broken")
    assert caught.value.status == 500


def test_what_is_not_there_is_none_for_find_only(asked: Engine) -> None:
    assert asked.find("/missing") is None
    with pytest.raises(EngineRefused):
        asked.get("/missing")
    with pytest.raises(EngineRefused):
        asked.find("/broken")
    with pytest.raises(EngineRefused):
        asked.stream("/missing")


def test_closing_a_stream_ends_a_read_that_waits(asked: Engine) -> None:
    stream = asked.stream("/stream")
    assert stream.read() == b"one"
    closer = threading.Timer(0.05, stream.close)
    closer.start()
    assert stream.read() == b""
    closer.join()


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_a_dead_engine_is_told_with_a_hint(host: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        Engine(Endpoint("default", host)).get("/version")
    assert caught.value.endpoint == host
    assert caught.value.hint
    assert "Errno" not in caught.value.message
