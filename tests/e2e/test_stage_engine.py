"""Stages that the doctor proposes, on a real engine: the smaller image answers as the larger one does."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import Proving, examine
from devloop.doctor.trial import Trial
from devloop.plan.codes import FINDINGS
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import DoctorSettings, Settings
from devloop.project.workspace import Workspace
from support.doctor import written
from support.engine import make_base_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from devloop.doctor.report import Examined

# The first test on a machine may have to make its bases.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

STAGE = "no-builder-stage"
NODE = "node:20-slim"

GO_FILES = {
    "go.mod": "module example.test/hello\n\ngo 1.19\n",
    "main.go": """\
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from go,", os.Getenv("MODE"))
	})
	http.ListenAndServe(":8080", nil)
}
""",
}
RUST_FILES = {
    "Cargo.toml": '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n',
    "Cargo.lock": 'version = 4\n\n[[package]]\nname = "hello"\nversion = "0.1.0"\n',
    "src/main.rs": """\
use std::io::{Read, Write};

fn main() {
    for stream in std::net::TcpListener::bind("0.0.0.0:8080").unwrap().incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\nhello from rust");
    }
}
""",
}
JAVA_FILES = {
    "pom.xml": """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example.test</groupId>
  <artifactId>hello</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <build>
    <finalName>hello</finalName>
    <plugins>
      <plugin>
        <artifactId>maven-jar-plugin</artifactId>
        <configuration><archive><manifest><mainClass>Hello</mainClass></manifest></archive></configuration>
      </plugin>
    </plugins>
  </build>
</project>
""",
    "src/main/java/Hello.java": """\
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class Hello {
    public static void main(String[] words) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> {
            byte[] answer = "hello from java".getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
""",
}

NODE_DEPENDENCIES = {"ms": "2.1.3"}
NODE_TOOLS = {"@types/ms": "2.1.0", "@types/node": "20.19.0", "typescript": "5.9.2"}
NODE_LOCK = {
    "name": "hello",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {
            "name": "hello",
            "version": "1.0.0",
            "dependencies": NODE_DEPENDENCIES,
            "devDependencies": NODE_TOOLS,
        },
        "node_modules/ms": {"version": "2.1.3"},
        "node_modules/@types/ms": {"version": "2.1.0", "dev": True},
        "node_modules/@types/node": {
            "version": "20.19.0",
            "dev": True,
            "dependencies": {"undici-types": "~6.21.0"},
        },
        "node_modules/typescript": {"version": "5.9.2", "dev": True, "bin": {"tsc": "bin/tsc"}},
        "node_modules/undici-types": {"version": "6.21.0", "dev": True},
    },
}
NODE_FILES = {
    "package.json": json.dumps(
        {
            "name": "hello",
            "version": "1.0.0",
            "scripts": {"build": "tsc"},
            "dependencies": NODE_DEPENDENCIES,
            "devDependencies": NODE_TOOLS,
        }
    ),
    "package-lock.json": json.dumps(NODE_LOCK),
    "tsconfig.json": """\
{
  // What node takes without a word in package.json.
  "compilerOptions": {"module": "commonjs", "outDir": "dist", "esModuleInterop": true, "types": ["node"]},
  "include": ["src"],
}
""",
    "src/greeting.ts": 'export const greeting = "hello from node";\n',
    "src/server.ts": """\
import { createServer } from "node:http";
import ms from "ms";
import { greeting } from "./greeting";

createServer((_, reply) => reply.end(`${greeting}, ${process.env.MODE} ${ms(60000)}`)).listen(8080);
""",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A service in one stage; `slim` is what its second stage stands on, `times` how much smaller it gets."""

    base: str
    slim: str
    lines: tuple[str, ...]
    files: Mapping[str, str]
    answer: str
    times: float

    @property
    def dockerfile(self) -> str:
        return "\n".join((f"FROM {self.base}", "WORKDIR /src", *self.lines, "EXPOSE 8080", ""))


SERVICES = {
    "go": Service(
        "golang:1.19-bookworm",
        "debian:bookworm-slim",
        ("COPY . .", "RUN go build -o /usr/local/bin/hello .", "ENV MODE=test", 'CMD ["hello"]'),
        GO_FILES,
        "hello from go, test",
        4,
    ),
    "rust": Service(
        "rust:1.85-bookworm",
        "debian:bookworm-slim",
        ("COPY . .", "RUN cargo build --release", 'CMD ["./target/release/hello"]'),
        RUST_FILES,
        "hello from rust",
        4,
    ),
    "java": Service(
        "maven:3.8-eclipse-temurin-17",
        "eclipse-temurin:17-jre",
        ("COPY . .", "RUN mvn -q package", 'ENTRYPOINT ["java", "-jar", "target/hello.jar"]'),
        JAVA_FILES,
        "hello from java",
        1.3,
    ),
    "node": Service(
        NODE,
        NODE,
        (
            "ENV MODE=test",
            "COPY package*.json ./",
            "RUN --mount=type=cache,target=/root/.npm npm ci",
            "COPY . .",
            "RUN npm run build",
            'CMD ["node", "dist/server.js"]',
        ),
        NODE_FILES,
        "hello from node, test 1m",
        1.05,
    ),
}


@pytest.fixture
def trial(engine: dict[str, str]) -> Iterator[Trial]:
    with Trial.open(engine) as opened:
        yield opened


def proven(folder: Path, trial: Trial, code: str) -> Examined:
    """Return the one finding of this code, its proposal built. The others have their own tests."""
    ignored = Settings(network="host", doctor=DoctorSettings(ignore=sorted(FINDINGS - {code})))
    location = locate(folder, ignored)
    memory = Memory(location)
    try:
        workspace = Workspace.remembered(location, ignored, memory, os.environ)
        (found,) = examine(workspace, Proving(engine=trial)).findings
    finally:
        memory.close()
    return found


def served(engine: dict[str, str], folder: Path, name: str, dockerfile: bytes) -> tuple[str, int]:
    """Build a text and start the image; return what the service answers, and the bytes of the image."""
    (folder / "Dockerfile").write_bytes(dockerfile)
    docker(engine, "build", "--quiet", "--network=host", "--tag", name, str(folder))
    docker(engine, "run", "--detach", "--name", name, "--publish", "127.0.0.1::8080", name)
    try:
        port = docker(engine, "port", name, "8080").split(":")[-1]
        answer = asked(int(port))
        assert answer is not None, docker(engine, "logs", name)
        return answer, int(docker(engine, "image", "inspect", "--format={{.Size}}", name))
    finally:
        docker(engine, "rm", "--force", name)


def asked(port: int, *, until: str = "") -> str | None:
    """Ask a service that is starting for up to half a minute, until it answers, or answers this."""
    answer: str | None = None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse().read().decode().strip()
            if until in answer:
                break
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    return answer


def docker(engine: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        ("docker", *words), env=engine, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", SERVICES)
def test_a_program_answers_the_same_from_its_smaller_image(
    tmp_path: Path, trial: Trial, engine: dict[str, str], unique_name: str, name: str
) -> None:
    service = SERVICES[name]
    for base in (service.base, service.slim):
        make_base_image(engine, base)
    files = {**service.files, ".dockerignore": "Dockerfile\n.dockerignore\n"}
    folder = written(tmp_path / "project", service.dockerfile, files)
    one = proven(folder, trial, STAGE)
    assert one.finding.proposal is not None, one.proof
    assert one.proof is not None
    verdicts = {check.name: check.verdict for check in one.proof.checks}
    assert [verdicts[each] for each in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
    before = served(engine, folder, f"{unique_name}-before", service.dockerfile.encode())
    after = served(
        engine,
        folder,
        f"{unique_name}-after",
        apply_edits(service.dockerfile.encode(), one.finding.proposal.edits),
    )
    assert (before[0], after[0]) == (service.answer, service.answer)
    assert one.proof.sizes is not None
    assert (one.proof.sizes.before, one.proof.sizes.after) == (before[1], after[1])
    assert after[1] * service.times < before[1]
    assert one.finding.bytes == before[1] - after[1]


SERVER = """\
const answer = "one";
require("node:http").createServer((_, reply) => reply.end(answer)).listen(8080);
"""
WATCHED = f"""\
FROM {NODE} AS web
WORKDIR /src
COPY server.js ./

# How it starts.
CMD ["node", "server.js"]
EXPOSE 8080
"""
COMPOSE = "services:\n  web:\n    build: .\n    volumes:\n      - .:/src\n"


def test_a_stage_for_work_on_the_code_serves_what_is_saved_and_leaves_the_image_as_it_was(
    tmp_path: Path, trial: Trial, engine: dict[str, str], unique_name: str
) -> None:
    make_base_image(engine, NODE)
    ignore = "*\n!server.js\n"
    files = {"server.js": SERVER, "compose.yaml": COMPOSE, ".dockerignore": ignore}
    folder = written(tmp_path / "project", WATCHED, files)
    one = proven(folder, trial, "no-reloader")
    assert one.finding.proposal is not None, one.proof
    assert one.proof is not None
    checks = {check.name: check.sentence for check in one.proof.checks if check.verdict == "passed"}
    assert checks["files"] == "the images have the same layers"
    assert checks["configuration"] == "the configurations of the images are equal"

    after = apply_edits(WATCHED.encode(), one.finding.proposal.edits)
    (folder / "Dockerfile").write_bytes(after)
    docker(engine, "build", "--quiet", "--tag", unique_name, str(folder))
    command = docker(engine, "image", "inspect", "--format={{.Config.Cmd}}", unique_name)
    assert command == "[node server.js]"

    dev = f"{unique_name}-dev"
    docker(engine, "build", "--quiet", "--target=dev", "--tag", dev, str(folder))
    mount = f"{folder}:/src"
    docker(engine, "run", "--detach", "--name", dev, "--publish=127.0.0.1::8080", "--volume", mount, dev)
    try:
        port = int(docker(engine, "port", dev, "8080").split(":")[-1])
        assert asked(port) == "one"
        (folder / "server.js").write_text(SERVER.replace("one", "two"))
        assert asked(port, until="two") == "two", docker(engine, "logs", dev)
    finally:
        docker(engine, "rm", "--force", dev)


def test_the_flag_of_a_reloader_is_another_start_and_no_other_image(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    make_base_image(engine, NODE)
    text = WATCHED.replace("AS web", "AS dev")
    folder = written(tmp_path / "project", text, {"server.js": SERVER})
    one = proven(folder, trial, "no-reloader")
    assert one.finding.proposal is not None, one.proof
    assert b'"node", "--watch"' in apply_edits(text.encode(), one.finding.proposal.edits)
    assert one.proof is not None
    verdicts = {check.name: check.verdict for check in one.proof.checks}
    assert [verdicts[each] for each in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
