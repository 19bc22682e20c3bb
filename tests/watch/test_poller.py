import os
import shutil
from pathlib import Path

import pytest

from devloop.watch.debounce import WatchSettings
from devloop.watch.events import Scope
from devloop.watch.poller import Look, Poller, mounts_in, silent_reason

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/c rw,noatime shared:3 - 9p drvfs rw,dirsync
41 27 0:51 / /home/me/my\040code rw - nfs4 server:/code rw,vers=4.2
42 41 0:52 / /home/me/my\040code/app/data rw shared:1 master:2 - fuse.sshfs me@host: rw
43 41 0:53 / /home/me/my\040code/app/fast rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("root", "mounts"),
    [
        ("/srv/app", {"": "ext4"}),
        ("/mnt/c/Users/me/app", {"": "9p"}),
        ("/mnt/c", {"": "9p"}),
        ("/mnt/cc", {"": "ext4"}),
        ("/home/me/my code", {"": "nfs4", "app/data": "fuse.sshfs", "app/fast": "tmpfs"}),
        ("/home/me/my code/app", {"": "nfs4", "data": "fuse.sshfs", "fast": "tmpfs"}),
    ],
)
def test_the_file_system_of_a_root_is_that_of_the_nearest_mount(root: str, mounts: dict[str, str]) -> None:
    assert mounts_in(MOUNTS, root) == mounts


def test_of_two_mounts_at_one_place_the_later_one_counts() -> None:
    text = "2 1 8:2 / /w rw - cifs a rw\n3 2 0:9 / /w rw - nfs a rw\n1 0 8:1 / / rw - ext4 a rw\n"
    assert mounts_in(text, "/w/app") == {"": "nfs"}
    assert mounts_in(text, "/") == {"": "ext4", "w": "nfs"}


def test_file_systems_without_dependable_events_are_known() -> None:
    for kind in ("9p", "drvfs", "cifs", "nfs", "nfs4", "vboxsf", "prl_fs", "virtiofs", "fuse.sshfs"):
        assert silent_reason(kind), kind
    for kind in ("ext4", "btrfs", "xfs", "overlay", "tmpfs", "zfs", "", "fuse.fuse-overlayfs", "fuseblk"):
        assert silent_reason(kind) is None, kind


SETTINGS = WatchSettings(poll_share=1.0)


def age(root: Path) -> None:
    """Give everything an old time, so that it does not count as just written."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))


def poller_of(root: Path, settings: WatchSettings = SETTINGS) -> Poller:
    poller = Poller(Scope(str(root), lambda path: path != "node_modules"), settings)
    waiting = [""]
    while waiting:
        waiting.extend(poller.add(waiting.pop(), 0.0))
    return poller


def test_a_tree_that_nobody_touches_gives_nothing(tree: Path) -> None:
    age(tree)
    poller = poller_of(tree)
    assert len(poller) == 3
    assert poller.look(10.0) == Look()
    assert poller.look(20.0) == Look()


def test_content_mode_removal_and_replacement_are_found(tree: Path) -> None:
    age(tree)
    poller = poller_of(tree)
    (tree / "src/app/main.py").write_text("two!\n")
    assert poller.look(10.0).dirty == ("src/app/main.py",)
    age(tree)
    poller.look(20.0)
    (tree / "src/app/main.py").chmod(0o755)
    assert poller.look(30.0).dirty == ("src/app/main.py",)
    (tree / "src/app/util.py").unlink()
    assert poller.look(40.0).dirty == ("src/app/util.py",)
    (tree / "src/app/main.py").unlink()
    (tree / "src/app/main.py").mkdir()
    look = poller.look(50.0)
    assert (look.dirty, look.new_directories) == (("src/app/main.py",), ("src/app/main.py",))


def test_a_file_written_right_before_a_look_is_reported_by_the_next_one_too(tree: Path) -> None:
    """A second write within the same tick of the file system's clock leaves no trace."""
    age(tree)
    poller = poller_of(tree)
    path = tree / "src/app/main.py"
    path.write_text("two\n")
    os.utime(path)
    assert poller.look(10.0).dirty == ("src/app/main.py",)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert poller.look(20.0).dirty == ("src/app/main.py",)
    assert poller.look(30.0) == Look()


def test_directories_that_come_and_go_are_told_apart(tree: Path) -> None:
    age(tree)
    poller = poller_of(tree)
    shutil.move(tree / "src/app", tree / "lib")
    look = poller.look(10.0)
    assert set(look.dirty) >= {"lib", "src/app"}
    assert (look.new_directories, look.gone_directories) == (("lib",), ("src/app",))
    assert len(poller) == 2, "who owns the poller decides about new ones"


def test_a_directory_that_changed_lately_is_looked_at_more_often(tree: Path) -> None:
    settings = WatchSettings(poll_seconds=5.0, poll_hot_seconds=0.5, poll_hot_for_seconds=30, poll_share=1)
    poller = poller_of(tree, settings)
    poller.look(100.0)
    (tree / "src/app/main.py").write_text("a longer text\n")
    poller.look(110.0)
    due = {path: known.due for path, known in poller._directories.items()}
    assert due == {"": 115.0, "src": 115.0, "src/app": 110.5}
    poller.look(141.0)
    assert poller._directories["src/app"].due == 146.0


def test_a_tree_that_is_expensive_to_look_at_is_looked_at_less_often(tree: Path) -> None:
    poller = poller_of(tree, WatchSettings(poll_seconds=0.0, poll_hot_for_seconds=0.0, poll_share=0.1))
    for path in list(poller.directories):
        poller._directories[path].cost = 1.0
    poller._total_cost = 3.0
    poller.look(100.0)
    assert max(known.due for known in poller._directories.values()) > 110.0


def test_dropping_a_tree_ends_the_looks_at_it(tree: Path) -> None:
    poller = poller_of(tree)
    poller.discard_tree("src")
    assert list(poller.directories) == [""]
    poller.discard("not there")
    poller.clear()
    assert poller.due() is None
