"""What a build context costs: ignore decisions, a first index, a warm start, one changed file, a selection.

    python benchmarks/bench_context.py [FILES ...] [--rounds N]

Every figure is the median and the 95th percentile of its rounds. The trees hold small files of random
size, 20 to a directory, and are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.context.index import Index, load_index, save_index
from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.context.scan import rescan, scan
from devloop.context.selection import Selection, reads, select
from devloop.context.snapshot import Snapshot, diff, with_edits
from devloop.paths import ContextPath

if TYPE_CHECKING:
    from collections.abc import Callable

IGNORE_LINES = (
    *(
        ".git",
        "node_modules",
        "**/node_modules",
        "**/*.pyc",
        "**/__pycache__",
        "*.md",
        "!README.md",
        "docs/**",
    ),
    *("dist", "build", "**/.DS_Store", "**/*.swp", ".idea", ".vscode", "**/coverage", "**/*.log", "tmp/*"),
    *(
        "!tmp/keep",
        "a/b/c",
        "a/**/x.py",
        "**/test_*.py",
        "src/*/gen",
        "src/**/gen/*.ts",
        "*.tmp",
        "**/target",
    ),
    *(".env*", "!.env.example", "**/*.o", "**/*.so", "vendor/**/test", "**/.pytest_cache", "**/.mypy_cache"),
    *("**/.ruff_cache", "Dockerfile*", "docker-compose*.yml", "**/*~", "**/#*#", "**/*.bak", "**/*.orig"),
    *(
        "**/[Tt]humbs.db",
        "k8s",
        "helm/**",
        "terraform/*.tfstate",
        "**/.terraform",
        "**/.gradle",
        "**/*.class",
    ),
    *("**/*.jar", "!gradle/wrapper/gradle-wrapper.jar", "packages/*/dist", "**/npm-debug.log*"),
)
SELECTIONS = {
    "COPY . .": Selection((".",)),
    "COPY *.json app0*": Selection(("*.json", "app0*")),
    "COPY --exclude=**/*.md . .": Selection((".",), ("**/*.md",)),
}


def measure(name: str, rounds: int, work: Callable[[], object], prepare: Callable[[], object] = int) -> None:
    took: list[float] = []
    for _ in range(rounds):
        prepare()
        gc.collect()
        start = time.perf_counter()
        work()
        took.append((time.perf_counter() - start) * 1000)
    slowest = sorted(took)[max(0, round(len(took) * 0.95) - 1)] if len(took) > 1 else took[0]
    print(
        f"  {name:<46} {statistics.median(took):>10.2f} ms   p95 {slowest:>10.2f} ms   n={rounds}", flush=True
    )


def make_rules() -> IgnoreRules:
    rules = parse_ignore("\n".join(IGNORE_LINES).encode(), file=".dockerignore")
    assert isinstance(rules, IgnoreRules)
    return rules


def plant(root: Path, files: int) -> list[ContextPath]:
    shapes = random.Random(files)  # noqa: S311 - the same tree in every run
    made: list[ContextPath] = []
    for at in range(files):
        path = f"app{at // 2000:02}/part{at // 20 % 100:02}/file{at % 20:02}.py"
        if at % 20 == 0:
            (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(shapes.randbytes(shapes.randrange(200, 4000)))
        made.append(ContextPath(path))
    return made


def ignore_decisions(rounds: int) -> None:
    print(f"ignore decisions, 100,000 paths, {len(IGNORE_LINES)} lines")
    in_order = [f"app{at // 2000:02}/part{at // 20 % 100:02}/file{at % 20:02}.py" for at in range(100_000)]
    mixed = random.Random(0).sample(in_order, len(in_order))  # noqa: S311 - the same order in every run
    for name, paths in (("in the order of a walk", in_order), ("in any order", mixed)):
        measure(name, rounds, lambda paths=paths: sum(map(make_rules().excludes, paths)))  # type: ignore[misc]  # a default as a capture


def one_tree(files: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, saved = Path(folder, "context"), Path(folder, "index")
        paths = plant(root, files)
        time.sleep(0.1)
        rules = make_rules()
        print(f"{files:,} files")
        few = max(3, rounds // 5)
        measure("first index", few, lambda: scan(root, rules, index=Index()))
        index = Index()
        state = scan(root, rules, index=index)
        measure(
            "save the index", few, lambda: save_index(index, saved), lambda: saved.unlink(missing_ok=True)
        )
        measure("stat walk alone", few, lambda: stat_walk(root))
        measure(
            "warm start: load the index and scan", rounds, lambda: scan(root, rules, index=load_index(saved))
        )
        other = scan(root, rules, index=index)
        measure("compare two independent scans", few, lambda: diff(other, state))
        for name, selection in SELECTIONS.items():
            fresh: list[Snapshot] = []
            measure(
                f"select, first time: {name}",
                few,
                lambda: select(fresh[-1], selection, listing="names"),  # noqa: B023 - used at once
                lambda: fresh.append(Snapshot.of(dict(state))),  # noqa: B023 - used at once
            )
        one_change(root, state, paths, rules=rules, index=index, rounds=rounds)


def stat_walk(root: Path) -> int:
    todo, seen = [os.fspath(root)], 0
    while todo:
        with os.scandir(todo.pop()) as found:
            for each in found:
                seen += each.stat(follow_symlinks=False).st_size > 0
                if each.is_dir(follow_symlinks=False):
                    todo.append(each.path)
    return seen


def one_change(
    root: Path, state: Snapshot, paths: list[ContextPath], *, rules: IgnoreRules, index: Index, rounds: int
) -> None:
    for selection in SELECTIONS.values():
        select(state, selection, listing="names")
    edited = iter(random.Random(1).choices(paths, k=rounds * 3))  # noqa: S311 - the same files in every run
    states = [state]
    path = [paths[0]]

    def edit() -> None:
        path[0] = next(edited)
        (root / path[0]).write_text(f"{time.time_ns()}")

    def again() -> None:
        states.append(rescan(states[-1], root, rules, [path[0]], index=index))

    def everything() -> None:
        again()
        diff(states[-2], states[-1])
        for selection in SELECTIONS.values():
            select(states[-1], selection, listing="names")

    measure("one changed path: rescan", rounds, again, edit)
    measure("one changed path: rescan, diff, 3 selections", rounds, everything, edit)

    def hypothetical() -> None:
        after = with_edits(states[-1], [next(edited)])
        for selection in SELECTIONS.values():
            select(after, selection, listing="names")

    measure("a hypothetical edit and 3 selections", rounds, hypothetical)
    measure(
        "reads, 3 selections", rounds, lambda: [reads(s, path[0], states[-1]) for s in SELECTIONS.values()]
    )


def memory(files: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plant(root, files)
        rules = make_rules()
        before = resident()
        index = Index()
        state = scan(root, rules, index=index)
        for selection in SELECTIONS.values():
            select(state, selection, listing="names")
        for path in state:
            index.lookup(path)
        print(f"memory, {files:,} files: {resident() - before:.0f} MiB for snapshot and index, "
              f"{resident():.0f} MiB in all, peak {peak():.0f} MiB")  # fmt: skip


def resident() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the build context.")
    parser.add_argument("files", nargs="*", type=int, default=[20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--memory-of", type=int, help="only measure the memory for so many files")
    options = parser.parse_args()
    if options.memory_of:
        memory(options.memory_of)
        return
    ignore_decisions(max(3, options.rounds // 4))
    for files in options.files:
        one_tree(files, options.rounds)
        sys.stdout.flush()
        # A process of its own, so that nothing that was freed before hides what is needed.
        subprocess.run([sys.executable, __file__, "--memory-of", str(files)], check=True)


if __name__ == "__main__":
    main()
