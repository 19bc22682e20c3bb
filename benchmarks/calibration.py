"""How far expected and real seconds of builds lie apart: a project with real installs, edited and built.

    python benchmarks/calibration.py [--keep FOLDER] [--json FILE]

The project has two stages that build side by side (npm with a package of its own, pip from the index) and is
edited as a developer would: sources, dependencies, a comment in a manifest, the Dockerfile, several files at
once. Every edit is one `devloop build`, whose estimate was made before it began. Prints each build and then
what `devloop stats` says of them all. An earlier run has left nothing of it in the cache: each writes its own
name into the manifests. Needs a Docker Engine with buildx and an index for pip.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.engine import NoEngineError, connect, find_environment, is_stand_in

DOCKERFILE = """\
FROM node:20-slim AS web
WORKDIR /web
COPY web/package.json ./
COPY web/widgets widgets
RUN npm install --no-audit --no-fund
COPY web/src src
RUN npm run build

FROM python:3.11-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY app app
RUN python -m compileall -q app
COPY --from=web /web/dist static
CMD ["python", "-m", "app"]
"""
PACKAGE = """\
{{
  "name": "web",
  "version": "1.0.0",
  "description": "{run}",
  "scripts": {{"build": "mkdir -p dist && node src/build.js > dist/index.html"}},
  "dependencies": {{"widgets": "file:./widgets"}}
}}
"""
FILES = {
    "Dockerfile": DOCKERFILE,
    ".dockerignore": "**/__pycache__\n",
    "requirements.txt": "# {run}\nflask\npandas\n",
    "app/__main__.py": "print('{run} 0')\n",
    "app/text.py": "TEXT = 'nothing yet'\n",
    "web/package.json": PACKAGE,
    "web/widgets/package.json": '{{"name": "widgets", "version": "1.0.0", "main": "index.js"}}\n',
    "web/widgets/index.js": "module.exports = (text) => `<p>${{text}}</p>`;\n",
    "web/src/build.js": "console.log(require('widgets')('{run} 0'));\n",
}

Change = Callable[[str, int], str]
"""From what a file holds and the number of the edit to what it holds then."""


def line(_before: str, number: int) -> str:
    return f"print({number})\n"


def script(_before: str, number: int) -> str:
    return f"console.log(require('widgets')('{number}'));\n"


def adds(text: str) -> Change:
    return lambda before, _: f"{before.rstrip()}\n{text}\n"


def replaces(old: str, new: str) -> Change:
    def change(before: str, _: int) -> str:
        if old not in before:
            raise ValueError(f"{old!r} is not there to be replaced")
        return before.replace(old, new)

    return change


def holds(megabytes: int) -> Change:
    return lambda _, number: f"{number}" * (megabytes * 1_000_000)


EDITS: tuple[tuple[str, Mapping[str, Change]], ...] = (
    ("source", {"app/__main__.py": line}),
    ("source", {"app/text.py": line}),
    ("script", {"web/src/build.js": script}),
    ("source and script", {"app/__main__.py": line, "web/src/build.js": script}),
    ("a dependency more (pip)", {"requirements.txt": adds("httpx")}),
    ("source", {"app/__main__.py": line}),
    ("a comment in requirements.txt", {"requirements.txt": adds("# the client")}),
    ("script", {"web/src/build.js": script}),
    ("version of package.json", {"web/package.json": replaces('"1.0.0"', '"1.0.1"')}),
    ("a file more", {"app/more.py": line}),
    ("source", {"app/__main__.py": line}),
    ("package of its own", {"web/widgets/index.js": adds("// checked")}),
    ("a dependency more (pip)", {"requirements.txt": adds("pydantic")}),
    ("source and script", {"app/text.py": line, "web/src/build.js": script}),
    ("source", {"app/text.py": line}),
    ("CMD", {"Dockerfile": replaces('"-m", "app"', '"-u", "-m", "app"')}),
    ("a step more", {"Dockerfile": replaces("COPY --from", "RUN echo built > /built\nCOPY --from")}),
    ("source", {"app/__main__.py": line}),
    ("20 MB of data", {"app/data.txt": holds(20)}),
    ("source", {"app/__main__.py": line}),
    ("script", {"web/src/build.js": script}),
    ("variable above the install", {"Dockerfile": replaces("WORKDIR /app", "ENV MODE=dev\nWORKDIR /app")}),
    ("both manifests", {"requirements.txt": adds("click"), "web/package.json": replaces("1.0.1", "1.0.2")}),
    ("source", {"app/text.py": line}),
    ("both manifests", {"requirements.txt": adds("rich"), "web/package.json": replaces("1.0.2", "1.0.3")}),
    ("script", {"web/src/build.js": script}),
    ("source", {"app/__main__.py": line}),
)


class Project:
    """The edited files, and the devloop that builds them with a memory of its own."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder / "shop"
        self.environ = {**environ, "DEVLOOP_STATE_DIR": str(folder / "state")}
        run = uuid.uuid4().hex[:8]
        for path, text in FILES.items():
            held = text if path in {"Dockerfile", ".dockerignore"} else text.format(run=run)
            self._write(path, held)
        with connect(dict(environ)) as client:
            if is_stand_in(client, "python:3.11-slim"):
                # A private engine has no names of its own to resolve.
                self._write("devloop.toml", 'network = "host"\n')

    def _write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def edit(self, changes: Mapping[str, Change], number: int) -> None:
        for path, change in changes.items():
            file = self.folder / path
            self._write(path, change(file.read_text() if file.exists() else "", number))

    def devloop(self, *arguments: str) -> str:
        """Run a command of devloop; a build that fails ends the benchmark with what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "devloop", *arguments, str(self.folder)],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"devloop {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def last_build(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.devloop("stats", "--json"))["last"][0]
        return found


@contextmanager
def folder_for(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="devloop-calibration-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def show(name: str, build: Mapping[str, Any]) -> None:
    expected, real = build["expected_seconds"], build["seconds"]
    ran = sum(step["status"] == "run" for step in build["steps"])
    off = "" if expected is None or not ran else f"{abs(expected - real) / real:7.0%}"
    told = "    -" if expected is None else f"{expected:5.1f}"
    sys.stdout.write(f"{name:32}{told}{real:7.1f}{off:>8}   {ran} ran\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="a folder that does not exist yet, for project and state")
    parser.add_argument("--json", type=Path, help="write what `devloop stats --json` says to this file")
    arguments = parser.parse_args()
    try:
        environ = find_environment()
    except NoEngineError as error:
        sys.exit(str(error))
    with folder_for(arguments.keep) as folder:
        project = Project(folder, environ)
        sys.stdout.write(f"{'edit':32}{'exp.':>5}{'real':>7}{'off by':>8}\n")
        for number, (name, changes) in enumerate([("the first build", {}), *EDITS]):
            project.edit(changes, number)
            project.devloop("build", "--output", "plain")
            show(name, project.last_build())
        sys.stdout.write(f"\n{project.devloop('stats')}")
        if arguments.json is not None:
            arguments.json.write_text(project.devloop("stats", "--json"))


if __name__ == "__main__":
    main()
