"""How long from a write to the callback and to the batch, and what watching a big tree costs.

    python benchmarks/bench_watch.py [--saves N] [--directories N]

Prints medians and 95th percentiles in milliseconds. The tree is made in a temporary directory.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from devloop.watch.debounce import Batch
from devloop.watch.events import Dirty, Gap, WatchEvent
from devloop.watch.feed import BatchFeed
from devloop.watch.observer import Watcher

PATIENCE = 10.0


def quantiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return f"median {statistics.median(ordered) * 1000:7.2f} ms   p95 {p95 * 1000:7.2f} ms"


def resident_kib() -> int:
    """Return this process's memory in KiB; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def make_tree(root: Path, directories: int) -> list[Path]:
    made = []
    for n in range(directories):
        place = root / f"package{n % 40}/module{n // 40}"
        place.mkdir(parents=True)
        (place / "main.py").write_text("x = 1\n")
        made.append(place)
    return made


class Stopwatch:
    """Remembers when a path, or anything, first came after `begin`."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._wanted = ""
        self._at = 0.0
        self.calls = 0

    def seen(self, paths: frozenset[str]) -> None:
        self.calls += 1
        if self._wanted in paths and not self._arrived.is_set():
            self._at = time.perf_counter()
            self._arrived.set()

    def on_event(self, event: WatchEvent) -> None:
        if isinstance(event, Dirty):
            self.seen(frozenset((event.path,)))

    def on_batch(self, batch: Batch) -> None:
        self.seen(batch.paths)

    def measure(self, path: str, act: Callable[[], object]) -> float:
        """Return the seconds from the end of `act`, when the file is closed, to the report."""
        self._wanted = path
        self._arrived.clear()
        act()
        done = time.perf_counter()
        assert self._arrived.wait(PATIENCE), f"{path} was not reported"
        return max(0.0, self._at - done)


def write(path: Path) -> Callable[[], object]:
    return lambda: path.write_text("x = 2\n")


def replace(path: Path) -> Callable[[], object]:
    def act() -> None:
        temporary = path.with_name(f"{path.name}.tmp.1.2")
        temporary.write_text("x = 3\n")
        temporary.replace(path)

    return act


def bench_saves(root: Path, places: list[Path], saves: int) -> None:
    path = places[len(places) // 2] / "main.py"
    name = path.relative_to(root).as_posix()
    for title, action in (("write", write(path)), ("temporary file and rename", replace(path))):
        watch = Stopwatch()
        with Watcher(root, watch.on_event):
            times = []
            for _ in range(saves):
                times.append(watch.measure(name, action))
                time.sleep(0.004)
        calls = watch.calls / saves
        print(f"{title} -> callback   {quantiles(times)}   {calls:.2f} callbacks a save")
        watch = Stopwatch()
        with BatchFeed(root, watch.on_batch):
            times = []
            for _ in range(saves):
                times.append(watch.measure(name, action))
                time.sleep(0.004)
        print(f"{title} -> batch      {quantiles(times)}   {watch.calls / saves:.2f} batches a save")


def bench_burst(root: Path, files: int) -> None:
    batches: list[tuple[float, Batch]] = []
    complete = threading.Event()
    paths: set[str] = set()

    def on_batch(batch: Batch) -> None:
        batches.append((time.perf_counter(), batch))
        paths.update(batch.paths)
        if len(paths) >= files or batch.rescan:
            complete.set()

    target = root / "burst"
    target.mkdir()
    with BatchFeed(root, on_batch):
        started = time.perf_counter()
        for n in range(files):
            (target / f"f{n}").write_text("x")
        written = time.perf_counter()
        assert complete.wait(PATIENCE)
    last, batch = batches[-1]
    print(
        f"{files} files written in {(written - started) * 1000:.0f} ms: {len(batches)} batch(es), the last "
        f"{(last - written) * 1000:.0f} ms after the last write{', as a rescan' if batch.rescan else ''}"
    )


def bench_overflow(root: Path) -> None:
    """20,000 files against a callback that sleeps: the time until the gap is reported and mended."""
    entered, gate, gap = threading.Event(), threading.Event(), threading.Event()

    def on_event(event: WatchEvent) -> None:
        if not entered.is_set():
            entered.set()
            gate.wait(PATIENCE)
        if isinstance(event, Gap):
            gap.set()

    target = root / "overflow"
    target.mkdir()
    with Watcher(root, on_event):
        (root / "first").touch()
        assert entered.wait(PATIENCE)
        for n in range(20_000):
            (target / f"f{n}").touch()
        started = time.perf_counter()
        gate.set()
        if gap.wait(PATIENCE):
            print(f"overflow: gap reported {(time.perf_counter() - started) * 1000:.0f} ms after waking up")
        else:
            print("overflow: the queue of this system took 20,000 files")


def bench_start(root: Path, directories: int) -> None:
    before = resident_kib()
    started = time.perf_counter()
    with Watcher(root, lambda _: None) as watcher:
        seconds = time.perf_counter() - started
        print(
            f"watching {watcher.watched} directories: {seconds * 1000:.0f} ms, "
            f"{resident_kib() - before} KiB of this process and about {watcher.watched} KiB of the kernel"
        )
        assert watcher.watched >= directories
    with Watcher(root, lambda _: None, poll=True) as watcher:
        time.sleep(1.5)
        spent = time.process_time()
        time.sleep(3)
        share = (time.process_time() - spent) / 3
        print(f"polling {watcher.polled} directories instead: {share * 100:.0f}% of one core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--directories", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="devloop-bench-") as folder:
        root = Path(folder).resolve()
        places = make_tree(root, arguments.directories)
        bench_start(root, arguments.directories)
        bench_saves(root, places, arguments.saves)
        bench_burst(root, 500)
        bench_overflow(root)


if __name__ == "__main__":
    main()
