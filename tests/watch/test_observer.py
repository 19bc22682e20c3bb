"""The watcher on real files; every test ends at a barrier, none at a time."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devloop.watch import inotify, observer
from devloop.watch.debounce import WatchSettings
from devloop.watch.ephemeral import is_ephemeral_path
from devloop.watch.events import Dirty, Gap, LimitReached, Polled, Scope, WatchEvent
from devloop.watch.observer import WatchdogBackend, Watcher
from watch.recorder import PATIENCE, Recorder
from watch.saves import SAVES, Save, hard_link

QUICK = WatchSettings(
    root_check_seconds=0.02, root_gone_seconds=0.02, poll_seconds=0.02, poll_hot_seconds=0.02
)

pytestmark = pytest.mark.skipif(not inotify.is_available(), reason="inotify is Linux's")


@pytest.mark.parametrize("save", SAVES)
def test_every_way_to_save_reports_the_file_in_a_settled_state(
    save: Save, tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    save(tree / "src/app/main.py", "two\n")
    seen.barrier(tree)
    assert {path for path in seen.paths if not is_ephemeral_path(path)} == {"src/app/main.py"}
    # A hard link whose other name is gone by now looks like a file that was just created and not closed.
    assert seen.state("src/app/main.py") in ({"open", "settled"} if save is hard_link else {"settled"})


def test_three_saves_that_a_busy_watcher_finds_together_are_one_report(tree: Path) -> None:
    gate, entered = threading.Event(), threading.Event()
    seen = Recorder()

    def busy(event: WatchEvent) -> None:
        seen(event)
        if not entered.is_set():
            entered.set()
            gate.wait(PATIENCE)

    with Watcher(tree, busy):
        (tree / "first").touch()
        assert entered.wait(PATIENCE)
        for text in ("two", "three", "four"):
            (tree / "src/app/main.py").write_text(text)
        gate.set()
        seen.barrier(tree)
    assert [event for event in seen.dirty if event.path != "first"] == [Dirty("src/app/main.py", "settled")]


def test_reading_is_not_reported(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    (tree / "src/app/main.py").read_text()
    list((tree / "src").iterdir())
    seen.barrier(tree)
    assert seen.dirty == []


def test_a_touch_and_a_change_of_mode_are_reported(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    os.utime(tree / "src/app/main.py")
    (tree / "src/app/util.py").chmod(0o755)
    seen.barrier(tree)
    assert seen.paths == {"src/app/main.py", "src/app/util.py"}


def test_a_removed_file_is_reported_as_missing(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    (tree / "src/app/main.py").unlink()
    seen.barrier(tree)
    assert seen.state("src/app/main.py") == "missing"


def test_an_emptied_file_is_reported_as_empty(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    (tree / "src/app/main.py").write_text("")
    seen.barrier(tree)
    assert seen.state("src/app/main.py") == "empty"


def test_a_file_that_is_being_written_is_open_until_it_is_closed(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    with (tree / "src/app/main.py").open("w") as file:
        file.write("two")
        file.flush()
        seen.barrier(tree)
        assert seen.state("src/app/main.py") == "open"
    seen.barrier(tree)
    assert seen.state("src/app/main.py") == "settled"


def test_an_ignored_directory_is_neither_watched_nor_reported(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    assert watcher.watched == 3, "the root, src and src/app"
    (tree / "node_modules/left-pad/index.js").touch()
    (tree / "node_modules/new").mkdir()
    shutil.rmtree(tree / "node_modules")
    (tree / "node_modules").mkdir()
    seen.barrier(tree)
    assert seen.dirty == []
    assert watcher.watched == 3


def test_an_ignored_file_in_a_kept_directory_is_not_reported(tree: Path, seen: Recorder) -> None:
    with Watcher(tree, seen, keep_file=lambda path: not path.endswith(".log")):
        (tree / "src/app.log").write_text("noise\n")
        (tree / "src/app.txt").write_text("text\n")
        seen.barrier(tree)
    assert seen.paths == {"src/app.txt"}


def test_files_written_at_once_into_new_nested_directories_lie_under_a_report(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    for n in range(20):
        deep = tree / f"new{n}/a/b/c"
        deep.mkdir(parents=True)
        (deep / "file").write_text("x")
    seen.barrier(tree)
    assert {f"new{n}" for n in range(20)} <= seen.paths
    assert watcher.watched == 3 + 20 * 4
    seen.clear()
    (tree / "new7/a/b/c/file").write_text("y")
    seen.barrier(tree)
    assert seen.paths == {"new7/a/b/c/file"}


def test_the_report_of_a_new_directory_comes_after_its_watch(tree: Path) -> None:
    """Whoever looks when told so sees each file, or is told again."""
    found: set[str] = set()
    done = threading.Event()

    def look(event: WatchEvent) -> None:
        assert isinstance(event, Dirty)
        place = tree / event.path
        if place.is_dir():
            found.update(path.relative_to(tree).as_posix() for path in place.rglob("*") if path.is_file())
        elif place.exists():
            found.add(event.path)
        if event.path == "end":
            done.set()

    with Watcher(tree, look):
        wanted = set()
        for n in range(200):
            (tree / f"d{n}").mkdir()
            (tree / f"d{n}/f").touch()
            wanted.add(f"d{n}/f")
        (tree / "end").touch()
        assert done.wait(PATIENCE)
    assert wanted <= found


def test_a_directory_moved_in_is_reported_and_watched(
    tree: Path, tmp_path: Path, seen: Recorder, watcher: Watcher
) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/file").write_text("x")
    outside.rename(tree / "src/inside")
    seen.barrier(tree)
    assert "src/inside" in seen.paths
    seen.clear()
    (tree / "src/inside/deep/file").write_text("y")
    seen.barrier(tree)
    assert seen.paths == {"src/inside/deep/file"}


def test_a_directory_moved_out_is_reported_and_not_watched_any_more(
    tree: Path, tmp_path: Path, seen: Recorder, watcher: Watcher
) -> None:
    (tree / "src/app").rename(tmp_path / "elsewhere")
    seen.barrier(tree)
    assert seen.paths == {"src/app"}
    seen.clear()
    (tmp_path / "elsewhere/main.py").write_text("two\n")
    seen.barrier(tree)
    assert seen.dirty == []
    assert watcher.watched == 2


def test_a_renamed_directory_is_reported_under_both_names_and_watched_under_the_new_one(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    (tree / "src/app").rename(tree / "src/web")
    seen.barrier(tree)
    assert seen.paths == {"src/app", "src/web"}
    seen.clear()
    (tree / "src/web/main.py").write_text("two\n")
    seen.barrier(tree)
    assert seen.paths == {"src/web/main.py"}
    assert watcher.watched == 3


def test_a_directory_renamed_to_an_ignored_name_and_back_loses_and_regains_its_watch(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    shutil.rmtree(tree / "node_modules")
    (tree / "src").rename(tree / "node_modules")
    seen.barrier(tree)
    assert seen.paths == {"src"}
    assert watcher.watched == 1
    (tree / "node_modules").rename(tree / "src")
    seen.barrier(tree)
    assert watcher.watched == 3


def test_a_deleted_and_recreated_directory_is_watched_again(
    tree: Path, seen: Recorder, watcher: Watcher
) -> None:
    for _ in range(5):
        shutil.rmtree(tree / "src")
        (tree / "src/app").mkdir(parents=True)
    seen.barrier(tree)
    assert "src" in seen.paths
    seen.clear()
    (tree / "src/app/main.py").write_text("three\n")
    seen.barrier(tree)
    assert seen.paths == {"src/app/main.py"}
    assert watcher.watched == 3


def test_a_link_to_a_directory_is_reported_as_itself_and_not_entered(
    tree: Path, tmp_path: Path, seen: Recorder, watcher: Watcher
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tree / "src/link").symlink_to(outside)
    seen.barrier(tree)
    assert seen.state("src/link") == "settled"
    seen.clear()
    (outside / "file").touch()
    seen.barrier(tree)
    assert seen.dirty == []
    (tree / "src/link").unlink()
    (tree / "src/link").mkdir()
    seen.barrier(tree)
    seen.clear()
    (tree / "src/link/file").touch()
    seen.barrier(tree)
    assert seen.paths == {"src/link/file"}


def test_a_link_that_leads_in_a_circle_ends_nowhere(tree: Path, seen: Recorder) -> None:
    (tree / "src/loop").symlink_to(tree)
    (tree / "src/nowhere").symlink_to("nowhere")
    with Watcher(tree, seen, keep_directory=lambda path: path != "node_modules") as watcher:
        assert watcher.watched == 3


def test_odd_names_come_out_as_they_went_in(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    names = ["with space", "new\nline", "ünï", "back\\slash", os.fsdecode(b"bytes-\xff"), "-dash", "a" * 255]
    for name in names:
        (tree / name).touch()
    seen.barrier(tree)
    assert seen.paths == set(names)


def test_a_full_queue_becomes_a_gap_and_leaves_every_directory_watched(tree: Path) -> None:
    """20,000 files while the reader sleeps: the kernel drops events, and says so."""
    limit = inotify.read_limit("max_queued_events") or 16_384
    count = max(20_000, limit + 1000)
    if count > 200_000:
        pytest.skip(f"this system queues {limit:,} events")
    gate, entered = threading.Event(), threading.Event()
    seen = Recorder()

    def sleepy(event: WatchEvent) -> None:
        seen(event)
        if not entered.is_set():
            entered.set()
            gate.wait(PATIENCE)

    with Watcher(tree, sleepy, keep_directory=lambda path: path != "node_modules") as watcher:
        (tree / "first").touch()
        assert entered.wait(PATIENCE)
        for n in range(count):
            os.close(os.open(tree / f"src/{n}", os.O_CREAT | os.O_WRONLY))
        (tree / "late/deep").mkdir(parents=True)
        (tree / "src/app").rename(tree / "src/web")
        gate.set()
        seen.wait_for_gap("more events came than the kernel keeps")
        seen.barrier(tree)
        assert watcher.watched == 5
        seen.clear()
        (tree / "late/deep/file").touch()
        (tree / "src/web/main.py").write_text("two\n")
        seen.barrier(tree)
        assert seen.paths == {"late/deep/file", "src/web/main.py"}


@pytest.fixture
def quick(tree: Path, seen: Recorder) -> Iterator[Watcher]:
    with Watcher(
        tree, seen, settings=QUICK, keep_directory=lambda path: path != "node_modules", poll=False
    ) as watcher:
        yield watcher


def test_a_root_that_is_deleted_and_made_again_is_watched_again(
    tree: Path, seen: Recorder, quick: Watcher
) -> None:
    shutil.rmtree(tree)
    seen.wait_for_gap("is gone")
    (tree / "src").mkdir(parents=True)
    seen.wait_for_gap("is back")
    seen.clear()
    seen.barrier(tree)
    (tree / "src/file").touch()
    seen.wait_for_path("src/file")


def test_a_root_replaced_by_another_directory_is_noticed(
    tree: Path, tmp_path: Path, seen: Recorder, quick: Watcher
) -> None:
    other = tmp_path / "other"
    (other / "lib").mkdir(parents=True)
    tree.rename(tmp_path / "away")
    other.rename(tree)
    seen.wait_for(lambda event: isinstance(event, Gap) and event.reason.endswith(("replaced", "back")))
    seen.clear()
    (tree / "lib/file").touch()
    (tmp_path / "away/src/app/main.py").write_text("two\n")
    seen.barrier(tree)
    assert seen.paths == {"lib/file"}


def test_a_root_that_is_a_link_follows_the_link(tree: Path, tmp_path: Path, seen: Recorder) -> None:
    link, other = tmp_path / "link", tmp_path / "other"
    other.mkdir()
    link.symlink_to(tree)
    with Watcher(link, seen, settings=QUICK):
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")
        link.unlink()
        link.symlink_to(other)
        seen.wait_for(lambda event: isinstance(event, Gap) and event.reason.endswith(("replaced", "back")))
        (other / "file").touch()
        seen.wait_for_path("file")


def test_a_root_that_does_not_exist_yet_is_waited_for(tmp_path: Path, seen: Recorder) -> None:
    with Watcher(tmp_path / "later", seen, settings=QUICK):
        (tmp_path / "later").mkdir()
        seen.wait_for_gap("is back")


def test_new_rules_hold_when_update_returns(tree: Path, seen: Recorder, watcher: Watcher) -> None:
    watcher.update(keep_directory=lambda path: path != "src")
    assert watcher.watched == 3, "the root, node_modules and left-pad"
    (tree / "src/app/main.py").write_text("two\n")
    (tree / "node_modules/left-pad/index.js").touch()
    seen.barrier(tree)
    assert seen.paths == {"node_modules/left-pad/index.js"}
    seen.clear()
    watcher.update(keep_file=lambda path: not path.endswith(".js"))
    (tree / "node_modules/left-pad/index.js").write_text("x")
    seen.barrier(tree)
    assert seen.dirty == []


def test_rules_may_be_changed_from_within_the_callback(tree: Path, seen: Recorder) -> None:
    watchers: list[Watcher] = []

    def on_event(event: WatchEvent) -> None:
        if isinstance(event, Dirty) and event.path == ".dockerignore":
            watchers[0].update(keep_directory=lambda path: path != "src")
        seen(event)

    with Watcher(tree, on_event, keep_directory=lambda path: path != "node_modules") as watcher:
        watchers.append(watcher)
        (tree / ".dockerignore").touch()
        seen.barrier(tree)
        seen.barrier(tree)
        (tree / "src/app/main.py").write_text("two\n")
        seen.barrier(tree)
    assert seen.paths == {".dockerignore"}


def test_an_extra_file_is_reported_by_its_absolute_path_and_its_neighbours_are_not(
    tree: Path, tmp_path: Path, seen: Recorder
) -> None:
    dockerfile = tmp_path / "docker/Dockerfile"
    dockerfile.parent.mkdir()
    with Watcher(tree, seen, extra_files=[dockerfile]):
        (dockerfile.parent / "other").touch()
        dockerfile.write_text("FROM scratch\n")
        seen.barrier(tree)
        assert seen.paths == {str(dockerfile)}
        assert seen.state(str(dockerfile)) == "settled"
        seen.clear()
        dockerfile.unlink()
        seen.barrier(tree)
        assert seen.state(str(dockerfile)) == "missing"


def test_an_extra_file_within_the_tree_is_reported_even_where_the_rules_leave_it_out(
    tree: Path, seen: Recorder
) -> None:
    dockerfile = tree / "node_modules/Dockerfile"
    with Watcher(
        tree, seen, extra_files=[dockerfile], keep_directory=lambda path: path != "node_modules"
    ) as watcher:
        dockerfile.write_text("FROM scratch\n")
        seen.barrier(tree)
        assert seen.paths == {str(dockerfile)}
        seen.clear()
        watcher.update(extra_files=[tree / "src/Dockerfile"])
        dockerfile.write_text("FROM x\n")
        (tree / "src/Dockerfile").touch()
        seen.barrier(tree)
        assert seen.paths == {"src/Dockerfile", str(tree / "src/Dockerfile")}


def test_an_extra_file_that_is_a_link_is_reported_when_its_target_changes(
    tree: Path, tmp_path: Path, seen: Recorder
) -> None:
    real, link = tmp_path / "real/env", tmp_path / "links/env"
    real.parent.mkdir()
    link.parent.mkdir()
    real.write_text("A=1\n")
    link.symlink_to(real)
    with Watcher(tree, seen, extra_files=[link]):
        real.write_text("A=2\n")
        seen.barrier(tree)
        assert seen.paths == {str(link)}
        newer = tmp_path / "newer/env"
        newer.parent.mkdir()
        newer.write_text("A=3\n")
        link.unlink()
        link.symlink_to(newer)
        seen.barrier(tree)
        seen.clear()
        newer.write_text("A=4\n")
        seen.barrier(tree)
        assert seen.paths == {str(link)}


def test_the_directory_of_an_extra_file_may_come_and_go(tree: Path, tmp_path: Path, seen: Recorder) -> None:
    config = tmp_path / "conf/devloop.toml"
    with Watcher(tree, seen, settings=QUICK, extra_files=[config, tmp_path / "never/there"]):
        for _ in range(2):
            seen.clear()
            config.parent.mkdir()
            config.touch()
            seen.wait_for_path(str(config))
            shutil.rmtree(config.parent)
            seen.wait_for(lambda event: isinstance(event, Dirty) and event.state == "missing")


class SmallKernel(inotify.Kernel):
    """A kernel that has three watches and no more."""

    def __init__(self) -> None:
        super().__init__()
        self._given: set[int] = set()

    def add(self, path: str, mask: int) -> int:
        watch = super().add(path, mask)
        if watch not in self._given and len(self._given) >= 3:
            super().remove(watch)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self._given.add(watch)
        return watch


@pytest.fixture
def small_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(scope: Scope, settings: WatchSettings) -> inotify.InotifyBackend:
        return real(scope, settings, kernel=SmallKernel)

    real = inotify.InotifyBackend
    monkeypatch.setattr(inotify, "InotifyBackend", backend)


def test_beyond_the_limit_of_watches_the_rest_is_polled_and_one_message_says_so(
    tree: Path, seen: Recorder, small_kernel: None
) -> None:
    for n in range(4):
        (tree / f"big/{n}").mkdir(parents=True)
    with Watcher(tree, seen, settings=QUICK, keep_directory=lambda path: path != "node_modules") as watcher:
        assert (watcher.watched, watcher.polled) == (3, 5)
        (notice,) = seen.notices
        assert isinstance(notice, LimitReached)
        assert (notice.held, notice.wanted, notice.biggest[0]) == (3, 8, ("big", 5))
        text = str(notice)
        assert "holds 3 of 8" in text
        assert "add to .dockerignore: big" in text
        assert "sysctl fs.inotify.max_user_watches=" in text
        (tree / "big/2/file").write_text("x")
        seen.wait_for_path("big/2/file")
        (tree / "big/new/deep").mkdir(parents=True)
        seen.wait_for_path("big/new")
        seen.wait_for(lambda _: watcher.polled == 7)
        (tree / "big/new/deep/file").touch()
        seen.wait_for(lambda event: isinstance(event, Dirty) and event.path.startswith("big/new/deep"))
        assert len(seen.notices) == 1
        shutil.rmtree(tree / "big")
        seen.wait_for_path("big")
        seen.barrier(tree)
        assert watcher.polled <= 1


def test_without_an_inotify_instance_everything_is_polled(
    tree: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(inotify, "InotifyBackend", refuse)
    with Watcher(tree, seen, settings=QUICK) as watcher:
        (notice,) = seen.notices
        assert isinstance(notice, LimitReached)
        assert notice.kind == "instances"
        assert "max_user_instances" in str(notice)
        assert watcher.polled == 5
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")


def test_a_system_that_stops_to_answer_ends_in_polling(
    tree: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watcher(tree, seen, settings=QUICK) as watcher:

        def fail(_timeout: float | None) -> list[WatchEvent]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(watcher._backend, "wait", fail)
        watcher.wake()
        seen.wait_for_gap("watching failed")
        assert any(isinstance(notice, Polled) for notice in seen.notices)
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")


def test_polling_can_be_asked_for(tree: Path, tmp_path: Path, seen: Recorder) -> None:
    extra = tmp_path / "Dockerfile"
    with Watcher(
        tree,
        seen,
        settings=QUICK,
        poll=True,
        extra_files=[extra],
        keep_directory=lambda path: path != "node_modules",
    ) as watcher:
        assert [str(notice) for notice in seen.notices] == ["polling the whole tree: asked for"]
        assert (watcher.watched, watcher.polled) == (0, 3)
        (tree / "node_modules/file").touch()
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")
        (tree / "src/app/util.py").chmod(0o755)
        seen.wait_for_path("src/app/util.py")
        extra.touch()
        seen.wait_for_path(str(extra))
        (tree / "deep/er").mkdir(parents=True)
        seen.wait_for_path("deep")
        (tree / "deep/er/file").touch()
        seen.wait_for(lambda event: isinstance(event, Dirty) and event.path.startswith("deep/er"))
        shutil.rmtree(tree / "src")
        seen.wait_for(lambda event: event == Dirty("src", "missing"))
        assert not any("node_modules" in path for path in seen.paths)
        watcher.update(keep_directory=lambda path: path == "node_modules")
        assert watcher.polled == 2
        shutil.rmtree(tree)
        seen.wait_for_gap("is gone")
        tree.mkdir()
        seen.wait_for_gap("is back")


def test_a_silent_file_system_is_polled_without_being_asked(
    tree: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "read_mounts", lambda _root: {"": "9p"})
    with Watcher(tree, seen, settings=QUICK) as watcher:
        assert watcher.watched == 0
        assert "9p" in str(seen.notices[0])


def test_a_silent_mount_within_the_tree_is_polled_and_the_rest_is_watched(
    tree: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "read_mounts", lambda _root: {"": "ext4", "src/app": "fuse.sshfs"})
    with Watcher(tree, seen, settings=QUICK, keep_directory=lambda path: path != "node_modules") as watcher:
        assert (watcher.watched, watcher.polled) == (2, 1)
        (notice,) = seen.notices
        assert str(notice).startswith("polling src/app: fuse.sshfs")
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")
        (tree / "src/app/deep").mkdir()
        seen.wait_for_path("src/app/deep")
        seen.wait_for(lambda _: watcher.polled == 2)


def test_without_inotify_watchdogs_observer_does_the_work(
    tree: Path, tmp_path: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "is_available", lambda: False)
    extra = tmp_path / "outside/Dockerfile"
    extra.parent.mkdir()
    with Watcher(
        tree,
        seen,
        settings=QUICK,
        extra_files=[extra],
        keep_directory=lambda path: path != "node_modules",
        keep_file=lambda path: not path.endswith(".log"),
    ) as watcher:
        assert isinstance(watcher._backend, WatchdogBackend)
        (tree / "node_modules/left-pad/index.js").touch()
        (tree / "src/app.log").touch()
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")
        (tree / "src/app/main.py").rename(tree / "src/app/other.py")
        seen.wait_for_path("src/app/other.py")
        (extra.parent / "neighbour").touch()
        extra.touch()
        seen.wait_for_path(str(extra))
        assert not any("node_modules/" in path or path.endswith(("log", "neighbour")) for path in seen.paths)
        watcher.update(keep_directory=lambda _: True)
        (tree / "node_modules/left-pad/index.js").write_text("x")
        seen.wait_for_path("node_modules/left-pad/index.js")
        shutil.rmtree(tree)
        seen.wait_for_gap("is gone")
        tree.mkdir()
        seen.wait_for_gap("is back")
        (tree / "again").touch()
        seen.wait_for_path("again")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_root_that_is_a_link_is_followed_by_watchdogs_observer_too(
    tree: Path, tmp_path: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify, "is_available", lambda: False)
    link, other = tmp_path / "link", tmp_path / "other"
    other.mkdir()
    link.symlink_to(tree)
    with Watcher(link, seen, settings=QUICK, extra_files=[link / "Dockerfile"]):
        (tree / "src/app/main.py").write_text("two\n")
        (tree / "Dockerfile").touch()
        seen.wait_for_path("src/app/main.py")
        seen.wait_for_path(str(link / "Dockerfile"))
        link.unlink()
        link.symlink_to(other)
        seen.wait_for(lambda event: isinstance(event, Gap) and event.reason.endswith(("replaced", "back")))
        (other / "file").touch()
        seen.wait_for_path("file")


def test_rules_given_while_starting_hold(tree: Path, seen: Recorder) -> None:
    watchers: list[Watcher] = []

    def on_event(event: WatchEvent) -> None:
        if isinstance(event, Polled):
            watchers[0].update(keep_file=lambda path: path != "ignored")
        seen(event)

    watcher = Watcher(tree, on_event, poll=True, settings=QUICK)
    watchers.append(watcher)
    with watcher:
        assert watcher.is_running
        (tree / "src/app/main.py").write_text("two\n")
        seen.wait_for_path("src/app/main.py")
        seen.clear()
        (tree / "ignored").touch()
        (tree / "kept").touch()
        seen.wait_for_path("kept")
    assert "ignored" not in seen.paths


def test_stopping_ends_the_thread_and_gives_the_instance_back(tree: Path, seen: Recorder) -> None:
    before = open_files()
    watcher = Watcher(tree, seen)
    watcher.start()
    assert open_files() > before
    watcher.stop()
    watcher.stop()
    assert open_files() == before
    assert not any(thread.name == "devloop-watch" for thread in threading.enumerate())


def test_a_watcher_may_be_stopped_from_its_own_callback(tree: Path) -> None:
    stopped = threading.Event()
    watchers: list[Watcher] = []

    def on_event(_event: WatchEvent) -> None:
        watchers[0].stop()
        stopped.set()

    watcher = Watcher(tree, on_event)
    watchers.append(watcher)
    watcher.start()
    (tree / "file").touch()
    assert stopped.wait(PATIENCE)
    watcher._thread.join(PATIENCE)
    assert not watcher._thread.is_alive()
