"""From a save to the new version over HTTP, beside the floor: the same engine calls made by hand.

    python benchmarks/bench_loop.py [--rounds N] [--only NAME...] [--floor-only] [--json FILE]

Every round of devloop's alternates with one of the floor's, so that both meet the same machine. A round ends
when the service answers with the new version. For many files the moment when all are in the container counts
too: by hand when the engine has answered the upload, with devloop when it says so. The service is asked after
that and must answer with all of them, else the next time that devloop says so counts. Prints medians and 95th
percentiles in milliseconds. Needs a Docker Engine with buildx (`scripts/engine up`), and compose for its
rows; a quiet machine for good figures.
"""

import argparse
import http.client
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from devloop.engine.supervisor import wrap
from support.engine import NoEngineError, find_environment
from support.session import Session, free_port

BASE = "python:3.11-slim"
PORT = 8000
PATIENCE = 60.0
PAUSE = 0.35
"""Between two rounds: longer than any quiet period, so that a round never meets the one before."""

# What a web framework does in a dev server, without the framework: it starts in about 50 ms, answers with the
# version, and ends at SIGTERM. With RELOAD it reads the version again for every request.
SERVER = """\
import http.server, os, pathlib, signal
HERE = pathlib.Path(__file__).parent
RELOAD = os.environ.get("RELOAD")
def read():
    many = HERE / "many"
    names = sorted(os.listdir(many)) if many.is_dir() else []
    texts = {(many / name).read_text() for name in names} | {(HERE / "version.txt").read_text()}
    return "\\n".join(sorted(texts))
VERSION = read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (read() if RELOAD else VERSION).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
DOCKERFILE = """\
FROM {base}
ENV RELOAD={reload}
WORKDIR /app
EXPOSE 8000
COPY app/ ./
CMD ["python", "serve.py"]
"""


def now() -> float:
    return time.perf_counter()


class Hand:
    """The engine's API over one connection, without devloop."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ
        self.path = environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self.connection = http.client.HTTPConnection("docker", timeout=PATIENCE)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.connect(self.path)

    def ask(self, method: str, target: str, body: object = None, **query: str) -> dict[str, str]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        place = target + (f"?{urlencode(query)}" if query else "")
        self.connection.request(method, place, data, {"Content-Type": kind})
        response = self.connection.getresponse()
        reply = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {target}: {response.status} {reply!r}")
        found: dict[str, str] = json.loads(reply) if reply[:1] == b"{" else {}
        return found

    def create(self, image: str, port: int, entry: list[str] | None = None, name: str = "") -> str:
        body: dict[str, Any] = {
            "Image": image,
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "HostConfig": {"PortBindings": {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}},
        }
        if entry is not None:
            entrypoint, command = wrap(entry)
            body |= {"Entrypoint": list(entrypoint), "Cmd": list(command)}
        return str(self.ask("POST", "/containers/create", body, **({"name": name} if name else {}))["Id"])

    def start(self, ident: str) -> None:
        self.ask("POST", f"/containers/{ident}/start")

    def remove(self, ident: str) -> None:
        self.ask("DELETE", f"/containers/{ident}", force="1", v="1")

    def put(self, ident: str, files: dict[str, bytes]) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), int(time.time()), 0o644
                archive.addfile(info, io.BytesIO(data))
        self.ask("PUT", f"/containers/{ident}/archive", buffer.getvalue(), path="/app")

    def docker(self, *words: str) -> None:
        done = subprocess.run(
            ["docker", *words], env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr[-2000:]}")


def served(port: int, version: str) -> float:
    """Ask until the service answers with exactly this version; returns when it did."""
    deadline = now() + PATIENCE
    answer = "nothing"
    while now() < deadline:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse().read().decode()
            finally:
                connection.close()
            if answer == version:
                return now()
        time.sleep(0.001)
    raise RuntimeError(f"port {port} answers {answer[:200]!r} instead of {version!r}")


def answer_of(port: int) -> str:
    """Ask the service once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def answered(port: int, version: str) -> float:
    """Ask once; returns when the answer was there, which must be this version."""
    answer = answer_of(port)
    if answer != version:
        raise RuntimeError(f"port {port} answers {answer[:200]!r} instead of {version!r}")
    return now()


@dataclass(frozen=True)
class Shape:
    """What a project is like: a service that reads its files again, files beside, files that change."""

    reload: bool = False
    extra: int = 0
    many: int = 0


@dataclass
class Project:
    """A folder with a Dockerfile and the little service."""

    folder: Path
    shape: Shape
    version: int = 0

    def make(self) -> "Project":
        app = self.folder / "app"
        app.mkdir(parents=True)
        text = DOCKERFILE.format(base=BASE, reload="1" if self.shape.reload else "")
        (self.folder / "Dockerfile").write_text(text)
        (app / "serve.py").write_text(SERVER)
        for number in range(self.shape.extra):
            place = app / f"assets/{number % 200}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.txt").write_text(f"asset {number}\n" * 20)
        if self.shape.many:
            (app / "many").mkdir()
        self.save()
        return self

    def next_files(self) -> dict[str, bytes]:
        self.version += 1
        return self.current_files()

    def current_files(self) -> dict[str, bytes]:
        data = self.text.encode()
        names = ["version.txt", *(f"many/{number}.txt" for number in range(self.shape.many))]
        return dict.fromkeys(names, data)

    @property
    def text(self) -> str:
        return f"version {self.version}"

    def save(self) -> None:
        for name, data in self.next_files().items():
            (self.folder / "app" / name).write_bytes(data)


@dataclass(frozen=True)
class Times:
    """Seconds of one round, from before the first byte was written.

    `written`: the last file was; `there`: everything was in the container; `served`: the service answered
    with it. None where that is not measured.
    """

    served: float
    there: float | None = None
    written: float | None = None


Once = Callable[[], Times]


@dataclass
class Row:
    """What one way of bringing a version in takes."""

    name: str
    once: Once
    times: list[Times] = field(default_factory=list)

    def seconds(self, what: str) -> list[float]:
        """Return one of the moments of every round, in order; nothing where it is not measured."""
        return sorted(found for each in self.times if (found := getattr(each, what)) is not None)


@dataclass
class Bench:
    """Where everything of this run is made."""

    hand: Hand
    root: Path
    name: str
    stack: ExitStack
    floor_only: bool

    def project(self, name: str, shape: Shape) -> Project:
        return Project(self.root / name, shape).make()

    def image(self, project: Project) -> str:
        tag = f"{self.name}-{project.folder.name}"
        self.hand.docker("buildx", "build", "--load", "-q", "-t", tag, str(project.folder))
        self.stack.callback(self.hand.docker, "image", "rm", "-f", tag)
        return tag

    def container(self, project: Project, *, supervised: bool = False) -> tuple[str, int]:
        port = free_port()
        entry = ["python", "serve.py"] if supervised else None
        ident = self.hand.create(self.image(project), port, entry)
        self.stack.callback(self.hand.remove, ident)
        self.hand.start(ident)
        served(port, project.text)
        return ident, port

    def devloop(self, project: Project, *options: str) -> Once:
        """Start a session and return how it is asked for one round."""
        port = free_port()
        (project.folder / "devloop.toml").write_text(
            # A background build after every sync would be measured with the next round.
            "background_build = false\n"
        )
        environ = {**self.hand.environ, "DEVLOOP_STATE_DIR": str(project.folder.with_suffix(".state"))}
        name = f"{self.name}-{project.folder.name}"
        self.stack.callback(self.hand.docker, "image", "rm", "-f", f"devloop/{name}")
        session = Session(
            project.folder, "--name", name, "--publish", f"{port}:{PORT}", *options, environ=environ
        )
        self.stack.callback(session.close)
        session.start()
        session.wait_for("deployed", timeout=300)
        served(port, project.text)

        def once() -> Times:
            start = now()
            project.save()
            written = now()
            if not project.shape.many:
                return Times(served(port, project.text) - start)
            # Asking all the time would take the processor from what is measured. On a busy machine the
            # writing may stop for so long that it is taken for two saves.
            while True:
                session.wait_for("deployed")
                there = now()
                if answer_of(port) == project.text:
                    return Times(now() - start, there - start, written - start)

        return once


# ------------------------------------------------------------------------------------------------ the rows


def by_put(bench: Bench, project: Project) -> Once:
    ident, port = bench.container(project)

    def once() -> Times:
        start = now()
        bench.hand.put(ident, project.next_files())
        if not project.shape.many:
            return Times(served(port, project.text) - start)
        there = now()
        return Times(answered(port, project.text) - start, there - start)

    return once


def by_save_and_put(bench: Bench, project: Project) -> Once:
    """Write the files in the folder too, as whoever changes them does, and then bring them in."""
    ident, port = bench.container(project)

    def once() -> Times:
        start = now()
        project.save()
        written = now()
        bench.hand.put(ident, project.current_files())
        there = now()
        return Times(answered(port, project.text) - start, there - start, written - start)

    return once


def by_restart(bench: Bench, project: Project) -> Once:
    ident, port = bench.container(project)

    def once() -> Times:
        start = now()
        bench.hand.put(ident, project.next_files())
        bench.hand.ask("POST", f"/containers/{ident}/restart", t="10")
        return Times(served(port, project.text) - start)

    return once


def by_supervisor(bench: Bench, project: Project) -> Once:
    ident, port = bench.container(project, supervised=True)

    def once() -> Times:
        start = now()
        bench.hand.put(ident, project.next_files())
        bench.hand.ask("POST", f"/containers/{ident}/kill", signal="SIGPWR")
        return Times(served(port, project.text) - start)

    return once


def by_build(bench: Bench, project: Project) -> Once:
    tag = bench.image(project)
    port = free_port()
    current = [bench.hand.create(tag, port)]
    bench.stack.callback(lambda: bench.hand.remove(current[0]))
    bench.hand.start(current[0])

    def once() -> Times:
        start = now()
        project.save()
        bench.hand.docker("buildx", "build", "--load", "-q", "-t", tag, str(project.folder))
        new = bench.hand.create(tag, port)
        bench.hand.ask("POST", f"/containers/{current[0]}/stop", t="10")
        bench.hand.start(new)
        ended = served(port, project.text) - start
        bench.hand.remove(current[0])
        current[0] = new
        return Times(ended)

    return once


def by_recreate(bench: Bench, project: Project) -> Once:
    """Make the new one, stop the old one, start the new one: of the same image, so that no build counts."""
    tag = bench.image(project)
    port = free_port()
    current = [bench.hand.create(tag, port)]
    bench.stack.callback(lambda: bench.hand.remove(current[0]))
    bench.hand.start(current[0])

    def once() -> Times:
        start = now()
        new = bench.hand.create(tag, port)
        bench.hand.ask("POST", f"/containers/{current[0]}/stop", t="10")
        bench.hand.start(new)
        ended = served(port, project.text) - start
        bench.hand.remove(current[0])
        current[0] = new
        return Times(ended)

    return once


COMPOSE = """\
name: {name}
services:
  web:
    build: .
    ports: ["127.0.0.1:{port}:8000"]
    develop:
      watch:
        - {{path: ./app, target: /app, action: {action}}}
"""


def by_compose(bench: Bench, project: Project, action: str) -> Once | None:
    """Start `docker compose watch` with the rule that a user would write; None where there is no compose."""
    try:
        bench.hand.docker("compose", "version")
    except RuntimeError:
        return None
    port = free_port()
    name = f"{bench.name}-{project.folder.name}"
    text = COMPOSE.format(name=name, port=port, action=action)
    if action == "rebuild":
        text = text.replace(", target: /app", "")
    (project.folder / "compose.yaml").write_text(text)
    log = bench.stack.enter_context(project.folder.with_suffix(".log").open("w"))
    process = subprocess.Popen(
        ["docker", "compose", "--project-directory", str(project.folder), "up", "--watch", "--build"],
        env=bench.hand.environ,
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )

    def end() -> None:
        process.terminate()
        process.wait(60)
        bench.hand.docker(
            "compose", "--project-directory", str(project.folder), "down", "-t", "0", "--rmi", "local"
        )

    bench.stack.callback(end)
    served(port, project.text)
    # It begins to watch after the container is up, and says so only on a terminal.
    time.sleep(3)

    def once() -> Times:
        start = now()
        project.save()
        return Times(served(port, project.text) - start)

    return once


Maker = Callable[[Bench, str], "Once | None"]


def floor(way: Callable[[Bench, Project], Once], shape: Shape) -> Maker:
    return lambda bench, name: way(bench, bench.project(f"floor-{name}", shape))


def devloop(shape: Shape, *words: str) -> Maker:
    return lambda bench, name: bench.devloop(bench.project(f"devloop-{name}", shape), *words)


def compose(action: str, shape: Shape) -> Maker:
    return lambda bench, name: by_compose(bench, bench.project(f"compose-{name}", shape), action)


RELOADS, STARTS = Shape(reload=True), Shape()
MANY, BIG = Shape(reload=True, many=500), Shape(reload=True, extra=20_000)


SCENARIOS: dict[str, dict[str, Maker]] = {
    "sync": {
        "by hand: PUT archive": floor(by_put, RELOADS),
        "devloop": devloop(RELOADS, "--restart", "none"),
        "compose watch: sync": compose("sync", RELOADS),
    },
    "process": {
        "by hand: PUT archive + supervisor": floor(by_supervisor, STARTS),
        "devloop": devloop(STARTS),
    },
    "container": {
        "by hand: PUT archive + POST restart": floor(by_restart, STARTS),
        "devloop --no-supervisor": devloop(STARTS, "--no-supervisor"),
        "compose watch: sync+restart": compose("sync+restart", STARTS),
    },
    "rebuild": {
        "by hand: create + stop + start": floor(by_recreate, STARTS),
        "by hand: buildx build + recreate": floor(by_build, STARTS),
        "devloop --no-sync": devloop(STARTS, "--no-sync"),
        "compose watch: rebuild": compose("rebuild", STARTS),
    },
    "many": {
        "by hand: PUT archive of 500 files": floor(by_put, MANY),
        "by hand: write 500 files, then PUT": floor(by_save_and_put, MANY),
        "devloop": devloop(MANY, "--restart", "none"),
        "compose watch: sync": compose("sync", MANY),
    },
    "big": {
        "by hand: PUT archive": floor(by_put, RELOADS),
        "devloop": devloop(BIG, "--restart", "none"),
        "compose watch: sync": compose("sync", BIG),
    },
}
TITLES = {
    "sync": "a file that the service reads again",
    "process": "a file, and the process starts again",
    "container": "a file, and the container starts again",
    "rebuild": "a build, and a new container",
    "many": "500 files at once",
    "big": "a file of 20,000 under one COPY",
}


def measure(bench: Bench, scenario: str, rounds: int) -> list[Row]:
    rows: list[Row] = []
    for name, make in SCENARIOS[scenario].items():
        if bench.floor_only and not name.startswith("by hand"):
            continue
        once = make(bench, f"{scenario}-{len(rows)}")
        if once is not None:
            rows.append(Row(name, once))
    for count in range(rounds + 1):
        for row in rows:
            time.sleep(PAUSE)
            times = row.once()
            if count:  # the first is to warm up
                row.times.append(times)
    return rows


MOMENTS = {"written": "written", "there": "in the container", "served": "service answers"}


def figures(ordered: list[float]) -> dict[str, float]:
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {"median_ms": statistics.median(ordered) * 1000, "p95_ms": p95 * 1000, "rounds": len(ordered)}


def found_in(row: Row) -> dict[str, dict[str, float]]:
    """Return the figures of every moment that was measured."""
    return {shown: figures(seconds) for what, shown in MOMENTS.items() if (seconds := row.seconds(what))}


def report(rows: list[Row]) -> None:
    floors = found_in(rows[0]) if rows else {}
    for row in rows:
        found = found_in(row)
        for at, (shown, numbers) in enumerate(found.items()):
            ratio = ""
            if row is not rows[0] and shown in floors:
                ratio = f"{numbers['median_ms'] / floors[shown]['median_ms']:6.2f} x"
            moment = f"{shown:<17}" if len(found) > 1 or "in the container" in floors else ""
            median, p95 = numbers["median_ms"], numbers["p95_ms"]
            name = row.name if at == 0 else ""
            print(f"  {name:<38} {moment}median {median:8.1f}   p95 {p95:8.1f} {ratio}".rstrip(), flush=True)


@contextmanager
def a_bench(environ: dict[str, str], *, floor_only: bool) -> Iterator[Bench]:
    root = Path(tempfile.mkdtemp(prefix="devloop-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        yield Bench(Hand(environ), root, f"bench-{uuid.uuid4().hex[:6]}", stack, floor_only)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    options.add_argument("--floor-only", action="store_true")
    options.add_argument("--json", type=Path, help="write the figures to a file too")
    given = options.parse_args()
    try:
        environ = {**os.environ, **find_environment()}
    except NoEngineError as error:
        sys.exit(f"no engine to measure with: {error}")
    collected: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    print(f"{given.rounds} rounds each, milliseconds from the save until the service answers with it")
    for scenario in given.only:
        print(f"{scenario}: {TITLES[scenario]}", flush=True)
        with a_bench(environ, floor_only=given.floor_only) as bench:
            rows = measure(bench, scenario, given.rounds)
            report(rows)
        collected[scenario] = {row.name: found_in(row) for row in rows}
    if given.json is not None:
        given.json.write_text(json.dumps(collected, indent=2) + "\n")


if __name__ == "__main__":
    main()
