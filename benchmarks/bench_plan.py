"""What a plan costs: `devloop plan` as a process, and the same answer inside a session that runs.

    python benchmarks/bench_plan.py [--files 20000 100000] [--rounds 11]

The trees are made in a temporary folder, with 100 files a directory under one COPY. The floor of a process is
a Python that imports nothing; it is measured in alternation, because the machine's load moves both.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.reading import Model, changes_between
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Workspace
from devloop.state.database import Database

DOCKERFILE = 'FROM python:3.11-slim\nWORKDIR /app\nCOPY src/ src/\nCMD ["python", "src/d0/f0.py"]\n'
EDITED = "src/d3/f7.py"


def make_tree(folder: Path, files: int) -> None:
    (folder / "Dockerfile").write_text(DOCKERFILE)
    for number in range(files):
        path = folder / "src" / f"d{number // 100}" / f"f{number % 100}.py"
        if number % 100 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x = {number}\n")


def run(command: list[str], folder: Path, environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def show(what: str, values: list[float]) -> None:
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    print(f"  {what:<46} median {statistics.median(ordered):8.1f} ms   p95 {p95:8.1f} ms")


def processes(folder: Path, state: Path, rounds: int) -> None:
    environ = {**os.environ, "DEVLOOP_STATE_DIR": str(state)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    devloop = [sys.executable, "-m", "devloop"]
    commands: dict[str, list[str]] = {
        "python -S -c pass (floor)": [sys.executable, "-S", "-c", "pass"],
        "devloop --version": [*devloop, "--version"],
        "devloop plan PATH": [*devloop, "plan", EDITED],
        "devloop plan (whole tree, warm index)": [*devloop, "plan"],
    }
    taken: dict[str, list[float]] = {what: [] for what in commands}
    for number in range(rounds + 1):
        for what, command in commands.items():
            milliseconds = run(command, folder, environ)
            if number:  # the first round writes byte code and index
                taken[what].append(milliseconds)
    for what, values in taken.items():
        show(what, values)


def session(folder: Path, state: Path, rounds: int) -> None:
    location = locate(folder, Settings())
    memory = Memory(location, Database(state / "daemon.db"))
    workspace = Workspace.remembered(location, Settings(), memory, os.environ)
    model = workspace.read()
    if not isinstance(model, Model):
        raise TypeError(model)
    before = workspace.tree(model)
    records = workspace.records(model.graph)
    values = []
    for number in range(rounds + 1):
        (folder / EDITED).write_text(f"x = 'edited {number}'\n")
        start = time.perf_counter()
        tree = workspace.tree_again(model, before, {"": [EDITED]})
        workspace.plan(Given(model, tree, records, None, changes_between(before, tree)))
        if number:
            values.append((time.perf_counter() - start) * 1000)
        before = tree
    show("inside a session: reread, compare, plan", values)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  memory of this process at its peak {peak:21.0f} MiB")
    memory.close()


def measure(files: int, rounds: int) -> None:
    print(f"{files:,} files")
    with tempfile.TemporaryDirectory() as name:
        folder, state = Path(name, "tree"), Path(name, "state")
        folder.mkdir()
        make_tree(folder, files)
        processes(folder, state, rounds)
        session(folder, state, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    for files in given.files:
        measure(files, given.rounds)


if __name__ == "__main__":
    main()
