from collections.abc import Iterator
from pathlib import Path

import pytest

from devloop.watch.observer import Watcher
from watch.recorder import Recorder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small project: src/app/main.py, src/app/util.py, and an ignored folder."""
    root = tmp_path / "tree"
    (root / "src/app").mkdir(parents=True)
    (root / "src/app/main.py").write_text("one\n")
    (root / "src/app/util.py").write_text("one\n")
    (root / "node_modules/left-pad").mkdir(parents=True)
    return root


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def watcher(tree: Path, seen: Recorder) -> Iterator[Watcher]:
    with Watcher(tree, seen, keep_directory=lambda path: path != "node_modules") as watcher:
        yield watcher
