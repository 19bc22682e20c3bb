import errno
import shutil
import stat
import struct
import time
from pathlib import Path

import pytest

from devloop.watch import inotify
from devloop.watch.debounce import WatchSettings
from devloop.watch.events import Dirty, LimitReached, Scope, biggest_directories
from devloop.watch.inotify import InotifyBackend, RawEvent, merge, parse_events, tops

pytestmark = pytest.mark.skipif(not inotify.is_available(), reason="inotify is Linux's")


def test_the_constants_are_those_of_the_library() -> None:
    from watchdog.observers.inotify_c import InotifyConstants

    names = [name for name in vars(inotify) if name.startswith("IN_")]
    assert len(names) >= 16
    for name in names:
        assert getattr(inotify, name) == getattr(InotifyConstants, name), name


def test_a_buffer_is_taken_apart_into_events_with_and_without_names() -> None:
    buffer = struct.pack("iIII", 7, inotify.IN_CREATE, 0, 16) + b"main.py".ljust(16, b"\0")
    buffer += struct.pack("iIII", -1, inotify.IN_Q_OVERFLOW, 0, 0)
    buffer += struct.pack("iIII", 8, inotify.IN_DELETE_SELF, 0, 0)
    assert list(parse_events(buffer)) == [
        RawEvent(7, inotify.IN_CREATE, "main.py"),
        RawEvent(-1, inotify.IN_Q_OVERFLOW, ""),
        RawEvent(8, inotify.IN_DELETE_SELF, ""),
    ]
    assert list(parse_events(b"")) == []


def test_of_two_reports_of_one_path_the_later_state_stays() -> None:
    assert merge([Dirty("a", "open"), Dirty("b")], [Dirty("a", "settled")]) == [Dirty("a"), Dirty("b")]


def test_only_the_uppermost_directories_are_named() -> None:
    assert tops(["a/b", "a", "ab", "c/d", "c/d/e"]) == ("a", "ab", "c/d")
    assert tops(["", "a"]) == ("",)


def test_the_biggest_directories_come_first_and_equals_by_name() -> None:
    paths = ["", "a", "b", "b/1", "b/2", "c", "c/1", "d"]
    assert biggest_directories(paths) == (("b", 3), ("c", 2), ("a", 1))
    assert biggest_directories([]) == ()


def test_the_message_about_the_limit_says_what_it_takes_to_get_rid_of_it() -> None:
    limit = LimitReached("watches", 8_000, 18_204, 8_192, (("node_modules", 15_900), ("src", 90)))
    assert str(limit) == (
        "The system's limit of file watches is reached: devloop holds 8,000 of 18,204 it needs "
        "(limit 8,192, shared with editors and other tools). The rest is polled.\n"
        "  Most directories: node_modules/ (15,900), src/ (90)\n"
        "  If the build does not need it, add to .dockerignore: node_modules\n"
        "  To raise it: sudo sysctl fs.inotify.max_user_watches=524288"
    )


def test_an_unknown_limit_is_said_to_be_unknown() -> None:
    assert "limit unknown" in str(LimitReached("watches", 1, 2, None, ()))
    assert inotify.read_limit("no_such_limit") is None


def test_a_directory_that_becomes_a_link_before_it_is_watched_is_not_followed(
    tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def swap(path: str) -> bool:
        if path == "src/app":
            shutil.rmtree(tree / path)
            (tree / path).symlink_to(outside)
        return path != "node_modules"

    backend = InotifyBackend(Scope(str(tree), swap), WatchSettings())
    backend.start()
    assert backend.watched == 2
    backend.close()


def test_a_directory_met_again_under_another_name_is_known_by_the_new_one_only(tree: Path) -> None:
    """As after a rename whose events were lost."""
    backend = InotifyBackend(Scope(str(tree), lambda path: path != "node_modules"), WatchSettings())
    backend.start()
    (tree / "src/app").rename(tree / "src/web")
    backend._adopt(["src/web"])
    assert backend.watched == 3
    assert set(backend._watch_of) == {"", "src", "src/web"}
    backend.close()


class StrictKernel(inotify.Kernel):
    """A kernel that refuses unreadable directories, to root as well."""

    def add(self, path: str, mask: int) -> int:
        if not Path(path).stat().st_mode & stat.S_IRUSR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return super().add(path, mask)


def test_a_directory_that_becomes_readable_is_watched_from_then_on(tree: Path) -> None:
    (tree / "src/app").chmod(0o300)
    backend = InotifyBackend(Scope(str(tree)), WatchSettings(), kernel=StrictKernel)
    assert backend.start() == [], "a build could not read it either, so there is nothing to say"
    assert "src/app" not in backend._watch_of
    (tree / "src/app").chmod(0o700)
    assert Dirty("src/app") in backend.wait(5.0)
    assert "src/app" in backend._watch_of
    backend.close()


@pytest.mark.parametrize(("pause_ends_it", "rests"), [(False, 3), (True, 0)])
def test_events_without_a_pause_are_left_to_gather_and_none_is_lost(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pause_ends_it: bool, rests: int
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    settings = WatchSettings(
        rush_events=4, rush_rest_seconds=0.5, rush_end_seconds=0.0 if pause_ends_it else 60.0
    )
    backend = InotifyBackend(Scope(str(tree)), settings)
    backend.start()
    for number in range(5):
        # Three events: made, written, closed.
        (tree / f"src/{number}").write_text("new")
        assert Dirty(f"src/{number}") in backend.wait(5.0)
    backend.close()
    assert slept == [0.5] * rests
