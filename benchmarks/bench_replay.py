"""How long a replay of a long history takes: a generated repository, one Dockerfile, 20,000 commits.

    python benchmarks/bench_replay.py [commits] [files] [--keep FOLDER]

The repository is made by `git fast-import`: most commits edit one to five of many files, every hundredth
edits a manifest, every five hundredth the Dockerfile, every two thousandth the ignore file; a tenth are a
bot's, and every fiftieth is a merge.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCKERFILE = """FROM python:3.11-slim AS base
WORKDIR /app
COPY requirements.txt .
RUN pip install -r requirements.txt
FROM base AS assets
COPY web/package.json web/
RUN npm ci --prefix web
COPY web web
RUN npm run build --prefix web
FROM base
COPY --from=assets /app/web/dist web/dist
COPY src src
COPY . .
RUN python -m compileall src
ENV REVISION={revision}
RUN ./scripts/check {revision}
"""
PERSON = "Ann <ann@example.com>"
IGNORE = ".git\n**/*.md\ndocs\n!docs/keep{revision}.md\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commits", nargs="?", type=int, default=20_000)
    parser.add_argument("files", nargs="?", type=int, default=5_000)
    parser.add_argument("--keep", type=Path, help="make the repository here, or take the one that is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch) / "repository"
        if not (folder / ".git").is_dir():
            started = time.perf_counter()
            generate(folder, given.commits, given.files)
            seconds = time.perf_counter() - started
            print(f"made {given.commits} commits of {given.files} files in {seconds:.1f} s")
        environ = {**os.environ, "DEVLOOP_STATE_DIR": f"{scratch}/state"}
        for words in (["replay"], ["replay", "-n", "0"], ["replay", "-n", "0", "--file", "Dockerfile.new"]):
            command = [sys.executable, "-m", "devloop", *words, "-C", str(folder)]
            times = []
            for _ in range(3):
                started = time.perf_counter()
                done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
                times.append(time.perf_counter() - started)
            print(f"devloop {' '.join(words)}: {min(times):.2f} s, best of 3; {done.stdout.splitlines()[0]}")


def generate(folder: Path, commits: int, files: int) -> None:
    """Make the repository; the same numbers give the same one."""
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    stream = subprocess.Popen(
        ["git", "-C", str(folder), "fast-import", "--quiet"], stdin=subprocess.PIPE, text=True
    )
    assert stream.stdin is not None
    for line in _history(commits, files):
        stream.stdin.write(line)
    stream.stdin.close()
    assert stream.wait() == 0
    subprocess.run(["git", "-C", str(folder), "reset", "-q", "--hard", "main"], check=True)
    (folder / "Dockerfile.new").write_text(DOCKERFILE.format(revision=0).replace("COPY . .\n", ""))


def _history(commits: int, files: int) -> list[str]:
    chance = random.Random(1)  # noqa: S311  the same numbers every time
    paths = [_path(number) for number in range(files)]
    manifests = ["requirements.txt", "web/package.json"]
    out: list[str] = []

    def commit(
        number: int, texts: dict[str, str], parents: str = "", who: str = "Ann <ann@example.com>"
    ) -> None:
        out.append(
            f"commit refs/heads/main\nmark :{number}\ncommitter {who} {1_500_000_000 + number * 3600} +0000\n"
            f"data {len(f'commit {number}')}\ncommit {number}\n{parents}"
        )
        for path, text in texts.items():
            out.append(f"M 100644 inline {path}\ndata {len(text)}\n{text}\n")

    first = {path: path for path in (*paths, *manifests, "scripts/check")}
    commit(
        1, {**first, "Dockerfile": DOCKERFILE.format(revision=0), ".dockerignore": IGNORE.format(revision=0)}
    )
    for number in range(2, commits + 1):
        edits = {path: f"{path} {number}" for path in chance.sample(paths, chance.randint(1, 5))}
        if number % 100 == 0:
            edits[chance.choice(manifests)] = str(number)
        if number % 500 == 0:
            edits["Dockerfile"] = DOCKERFILE.format(revision=number)
        if number % 2000 == 0:
            edits[".dockerignore"] = IGNORE.format(revision=number)
        who = "dependabot[bot] <bot@example.com>" if number % 10 == 3 else PERSON
        merged = f"from :{number - 1}\nmerge :{number - 5}\n" if number % 50 == 7 else ""
        commit(number, {} if merged else edits, merged, who)
    return out


def _path(number: int) -> str:
    top = ("src", "web", "tests", "docs", "scripts")[number % 5]
    ending = (".py", ".js", ".py", ".md", ".sh")[number % 5]
    return f"{top}/part{number % 97}/module{number}{ending}"


if __name__ == "__main__":
    main()
