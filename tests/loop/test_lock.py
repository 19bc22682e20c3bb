"""One session a project."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from devloop.loop.lock import SessionLock, SessionRunning

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from devloop.loop.lock import SessionLock
lock = SessionLock(Path(sys.argv[1]), "shop", "Dockerfile")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_session_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    lock = SessionLock(tmp_path, "shop", "Dockerfile")
    with pytest.raises(SessionRunning) as refused:
        SessionLock(tmp_path, "shop", "Dockerfile")
    assert refused.value.message == f"devloop is already watching Dockerfile (process {os.getpid()})"
    lock.close()


def test_another_project_and_a_later_session_get_the_lock(tmp_path: Path) -> None:
    first = SessionLock(tmp_path, "shop", "Dockerfile")
    SessionLock(tmp_path, "bank", "Dockerfile").close()
    first.close()
    SessionLock(tmp_path, "shop", "Dockerfile").close()


def test_a_killed_session_leaves_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SessionRunning, match=f"process {holder.pid}"):
            SessionLock(tmp_path, "shop", "Dockerfile")
        holder.kill()
    SessionLock(tmp_path, "shop", "Dockerfile").close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_without_a_state_directory_the_lock_lies_among_the_temporary_files(
    tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "file").write_text("")
    lock = SessionLock(tmp_path / "file" / "projects", "shop", "Dockerfile")
    assert (temporary / f"devloop-{os.getuid()}" / "shop.lock").exists()
    with pytest.raises(SessionRunning):
        SessionLock(tmp_path / "file" / "projects", "shop", "Dockerfile")
    lock.close()


def test_where_nothing_can_be_written_a_session_starts_without_a_lock(
    tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "file").write_text("")
    (temporary / f"devloop-{os.getuid()}").write_text("")
    for _ in range(2):
        SessionLock(tmp_path / "file" / "projects", "shop", "Dockerfile").close()
