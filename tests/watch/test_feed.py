"""From a save on disk to a batch."""

import subprocess
import threading
from pathlib import Path

import pytest

from devloop.watch.debounce import WatchSettings
from devloop.watch.feed import BatchFeed, find_git_lock
from watch.recorder import Batches
from watch.saves import SAVES, Save

CALM = WatchSettings(quiet_seconds=0.25)
"""A quiet period that a busy machine does not cut in two. What the real one does is tested by its numbers."""


@pytest.mark.parametrize("save", SAVES)
def test_every_way_to_save_is_one_batch_with_the_file_and_no_passing_names(save: Save, tree: Path) -> None:
    batches = Batches()
    with BatchFeed(tree, batches, settings=CALM):
        save(tree / "src/app/main.py", "two\n")
        batches.wait_for_path("src/app/main.py")
        (tree / "end").write_text("end")
        batches.wait_for_path("end")
    assert [batch.paths for batch in batches.batches] == [{"src/app/main.py"}, {"end"}]
    assert not any(batch.rescan for batch in batches.batches)
    assert all(path != "src/app/main.py" for batch in batches.batches for path in batch.temporary)


def test_the_default_settings_deliver_a_lone_save(tree: Path) -> None:
    batches = Batches()
    with BatchFeed(tree, batches):
        (tree / "src/app/main.py").write_text("two\n")
        assert batches.wait_for_path("src/app/main.py").reason == "quiet"


def test_an_editors_passing_files_alone_cause_no_batch(tree: Path) -> None:
    batches = Batches()
    with BatchFeed(tree, batches, settings=CALM):
        (tree / "src/app/.main.py.swp").write_text("swap")
        (tree / "src/app/main.py~").write_text("one")
        (tree / "end").write_text("end")
        batch = batches.wait_for_path("end")
    assert batch.paths == {"end"}
    assert batch.temporary == {"src/app/.main.py.swp", "src/app/main.py~"}
    assert len(batches.batches) == 1


def test_an_ignored_file_that_is_written_all_the_time_does_not_hold_back_an_edit(tree: Path) -> None:
    """With a quiet period far longer than the pauses of the noise, only ignoring it lets the edit through."""
    stop = threading.Event()

    def noise() -> None:
        while not stop.wait(0.02):
            (tree / "src/app.log").write_text("noise")

    thread = threading.Thread(target=noise)
    batches = Batches()
    settings = WatchSettings(quiet_seconds=0.2, repeat_seconds=600, maximum_wait_seconds=600)
    with BatchFeed(tree, batches, settings=settings, keep_file=lambda path: not path.endswith(".log")):
        thread.start()
        try:
            (tree / "src/app/main.py").write_text("two\n")
            batch = batches.wait_for_path("src/app/main.py")
        finally:
            stop.set()
            thread.join()
    assert batch.paths == {"src/app/main.py"}
    assert batch.reason == "quiet"


def test_a_kept_file_that_is_written_all_the_time_does_not_hold_back_an_edit_for_long(tree: Path) -> None:
    stop = threading.Event()

    def noise() -> None:
        while not stop.wait(0.002):
            (tree / "src/app.log").write_text("noise")

    thread = threading.Thread(target=noise)
    batches = Batches()
    with BatchFeed(tree, batches):
        thread.start()
        try:
            batches.wait_for_path("src/app.log")
            (tree / "src/app/main.py").write_text("two\n")
            batches.wait_for_path("src/app/main.py")
        finally:
            stop.set()
            thread.join()


def test_a_checkout_under_gits_lock_is_one_batch(tree: Path) -> None:
    lock = tree / ".git/index.lock"
    lock.parent.mkdir()
    batches = Batches()
    keep = lambda path: path != ".git"  # noqa: E731 - as short as the rule
    with BatchFeed(tree, batches, keep_directory=keep) as feed:
        lock.touch()
        for round_ in range(3):
            for n in range(20):
                (tree / f"src/{round_}-{n}").write_text("x")
            # Longer than any quiet period: without the lock each round would be a batch.
            threading.Event().wait(0.4)
            assert feed.is_git_busy
            assert batches.batches == []
        lock.unlink()
        batch = batches.wait_for_path("src/2-19")
    assert len(batch.paths) == 60
    assert batch.reason == "git finished"
    assert [batch.paths for batch in batches.batches] == [batch.paths]


def test_a_lock_that_a_crash_left_delays_one_batch_and_no_more(tree: Path) -> None:
    (tree / ".git").mkdir()
    (tree / ".git/index.lock").touch()
    batches = Batches()
    settings = WatchSettings(git_lock_max_seconds=0.3)
    with BatchFeed(tree, batches, settings=settings):
        (tree / "first").touch()
        assert batches.wait_for_path("first").reason == "git lock limit"
        (tree / "second").write_text("2")
        assert batches.wait_for_path("second").reason == "quiet"


def test_a_real_checkout_arrives_as_one_batch_of_the_changed_files(tree: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tree, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    for n in range(200):
        (tree / f"src/f{n}").write_text("x")
    (tree / "src/app/main.py").write_text("two\n")
    git("add", ".")
    git("commit", "-qm", "two")
    batches = Batches()
    with BatchFeed(tree, batches, keep_directory=lambda path: path != ".git"):
        git("checkout", "-q", "main")
        (tree / "end").write_text("end")
        batches.wait_for_path("end")
    changed = {path for batch in batches.batches for path in batch.paths} - {"end"}
    assert changed == {f"src/f{n}" for n in range(200)} | {"src/app/main.py"}


def test_the_lock_is_found_from_below_in_a_work_tree_and_not_outside_of_one(tmp_path: Path) -> None:
    assert find_git_lock(tmp_path / "none") is None or (Path("/tmp") / ".git").exists()
    (tmp_path / "repo/.git").mkdir(parents=True)
    deep = tmp_path / "repo/services/api"
    deep.mkdir(parents=True)
    assert find_git_lock(deep) == tmp_path / "repo/.git/index.lock"
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".git").write_text(f"gitdir: {tmp_path}/repo/.git/worktrees/linked\n")
    assert find_git_lock(linked) == tmp_path / "repo/.git/worktrees/linked/index.lock"
    (linked / ".git").write_text("gitdir: ../repo/.git/modules/linked\n")
    found = find_git_lock(linked)
    assert found is not None
    assert found.resolve() == tmp_path / "repo/.git/modules/linked/index.lock"
    (linked / ".git").write_text("nonsense")
    assert find_git_lock(linked) is None


def test_a_gap_asks_for_a_rescan(tree: Path) -> None:
    batches = Batches()
    settings = WatchSettings(root_check_seconds=0.02, root_gone_seconds=0.02)
    with BatchFeed(tree, batches, settings=settings):
        tree.rename(tree.with_name("away"))
        batch = batches.wait_for(lambda batch: batch.rescan)
        assert batch.gaps[0] == "the watched folder is gone"


def test_notices_reach_the_caller_and_new_rules_the_watcher(tree: Path) -> None:
    batches = Batches()
    notices: list[object] = []
    settings = WatchSettings(poll_seconds=0.02, poll_hot_seconds=0.02)
    with BatchFeed(tree, batches, on_notice=notices.append, poll=True, settings=settings) as feed:
        assert [str(notice) for notice in notices] == ["polling the whole tree: asked for"]
        feed.update(keep_file=lambda path: path != "ignored")
        (tree / "ignored").touch()
        (tree / "src/app/main.py").write_text("two\n")
        batches.wait_for_path("src/app/main.py")
    assert not any("ignored" in batch.paths for batch in batches.batches)
