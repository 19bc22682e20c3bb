"""The state file: private, quick, shared between processes, and never the end of the loop."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devloop.errors import DevloopError
from devloop.state.database import FILE_NAME, MIGRATIONS, Database, StateUnavailable, state_directory

NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / FILE_NAME


def notes(path: Path, **options: float) -> Database:
    return Database(path, migrations=(NOTES,), clock=lambda: 0.0, **options)


def add(database: Database, text: str) -> None:
    database.write(lambda connection: connection.execute("INSERT INTO notes (text) VALUES (?)", (text,)))


def texts(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT text FROM notes ORDER BY id")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- place and privacy ------------------------------------------------------------------------------------


def test_the_state_directory_is_the_one_that_the_environment_names() -> None:
    assert state_directory({"DEVLOOP_STATE_DIR": "/elsewhere"}) == Path("/elsewhere")


def test_without_a_wish_the_state_lies_under_the_users_state_directory() -> None:
    assert state_directory({}).name == "devloop"
    assert state_directory({}) == state_directory({"DEVLOOP_STATE_DIR": ""})


def test_a_database_without_a_path_lies_in_the_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "mine"))
    with Database() as database:
        database.open()
    assert (tmp_path / "mine" / FILE_NAME).is_file()


def test_only_the_user_can_read_the_state(path: Path) -> None:
    before = os.umask(0)
    try:
        with notes(path) as database:
            add(database, "x")
            made = sorted(path.parent.iterdir())
            assert [mode(file) for file in made] == [0o600] * len(made)
    finally:
        os.umask(before)
    assert len(made) >= 3
    assert mode(path.parent) == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    with notes(path) as database:
        database.open()
    assert mode(path) == 0o600


def test_a_directory_that_existed_before_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    with notes(shared / FILE_NAME) as database:
        database.open()
    assert mode(shared) == 0o755


def test_making_a_database_touches_nothing_before_its_first_use(path: Path) -> None:
    notes(path)
    assert not path.parent.exists()


def test_importing_the_module_loads_no_sqlite() -> None:
    program = (
        "import sys, devloop.state.database; print('sqlite3' in sys.modules, 'platformdirs' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]


# --- transactions -----------------------------------------------------------------------------------------


def test_what_is_written_is_there_after_opening_again(path: Path) -> None:
    with notes(path) as database:
        add(database, "kept")
    with notes(path) as database:
        assert texts(database) == ["kept"]


def test_a_closed_database_opens_again_at_its_next_use(path: Path) -> None:
    database = notes(path)
    add(database, "a")
    database.close()
    assert texts(database) == ["a"]
    database.close()


def test_the_file_uses_a_write_ahead_log(path: Path) -> None:
    with notes(path) as database:
        assert database.read("PRAGMA journal_mode") == [("wal",)]
        assert database.read("PRAGMA foreign_keys") == [(1,)]


def test_work_that_fails_leaves_nothing_behind(path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO notes (text) VALUES ('half')")
        raise KeyError("the other half")

    with notes(path) as database:
        with pytest.raises(KeyError):
            database.write(half)
        assert texts(database) == []
        add(database, "whole")
        assert texts(database) == ["whole"]


def test_a_statement_that_sqlite_refuses_is_one_known_error(path: Path) -> None:
    with notes(path) as database, pytest.raises(StateUnavailable) as caught:
        database.read("SELECT * FROM nowhere")
    assert isinstance(caught.value, DevloopError)
    assert "nowhere" in caught.value.reason
    assert caught.value.path == path


def test_a_database_in_memory_needs_no_file() -> None:
    with Database.in_memory() as database:
        assert database.read("SELECT count(*) FROM builds") == [(0,)]
        with pytest.raises(StateUnavailable):
            database.read("SELECT * FROM nowhere")
        database.write(
            lambda c: c.execute("INSERT INTO restarts (project, kind, measured_at) VALUES ('p','k',1)")
        )
        with pytest.raises(StateUnavailable):
            database.read("SELECT * FROM nowhere")
        assert database.read("SELECT project FROM restarts") == [("p",)], "an error does not empty the memory"


def test_what_a_transaction_has_read_stays_true_until_it_writes(path: Path) -> None:
    with notes(path) as database, notes(path, busy_seconds=0.01) as other:
        add(database, "first")

        def count_and_add(connection: sqlite3.Connection) -> None:
            (count,) = connection.execute("SELECT count(*) FROM notes").fetchone()
            with pytest.raises(StateUnavailable, match="locked"):
                add(other, "in between")
            connection.execute("INSERT INTO notes (text) VALUES (?)", (f"after {count}",))

        database.write(count_and_add)
        assert texts(other) == ["first", "after 1"]


# --- files that cannot be used ----------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_set_aside_and_a_new_one_made(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this was a database once" * 100)
    with notes(path) as database:
        add(database, "new life")
        assert texts(database) == ["new life"]
        assert database.set_aside is not None
        assert database.set_aside.path.name == f"{FILE_NAME}.aside-19700101T000000Z"
        assert "corrupt" in database.set_aside.reason
        assert database.set_aside.path.read_bytes().startswith(b"this was a database")


def test_each_corrupt_file_is_kept_under_a_name_of_its_own(path: Path) -> None:
    path.parent.mkdir()
    for _ in range(3):
        path.write_bytes(b"garbage" * 1000)
        with notes(path) as database:
            database.open()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    assert len(list(path.parent.glob("*.aside-*"))) == 3


def test_pages_that_turn_out_corrupt_later_are_survived_in_the_middle_of_work(path: Path) -> None:
    with notes(path) as database:
        for number in range(300):
            add(database, f"note {number} " + "x" * 100)
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    with notes(path) as database:
        database.open()
        assert database.set_aside is None, "the first page is whole, so opening sees nothing"
        add(database, "after")
        assert texts(database) == ["after"]
        assert database.set_aside is not None


@pytest.mark.parametrize("is_open_elsewhere", [False, True])
def test_a_file_that_another_devloop_has_replaced_already_is_kept(
    path: Path, is_open_elsewhere: bool
) -> None:
    seen: list[str] = []

    def corrupt_at_first(connection: sqlite3.Connection) -> None:
        if not seen:
            seen.append("corrupt")
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        connection.execute("INSERT INTO notes (text) VALUES ('second try')")

    with notes(path) as database, notes(path) as other:
        add(other, "healthy")
        if not is_open_elsewhere:
            other.close()
        database.write(corrupt_at_first)
        assert texts(database) == ["healthy", "second try"]
        assert database.set_aside is None


def test_an_empty_file_is_simply_a_new_database(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with notes(path) as database:
        add(database, "x")
        assert database.set_aside is None


def test_a_healthy_file_is_never_set_aside(path: Path) -> None:
    for text in "ab":
        with notes(path) as database:
            add(database, text)
            assert database.set_aside is None
    assert list(path.parent.glob("*.aside-*")) == []


def test_a_file_of_a_newer_devloop_is_set_aside_whole(path: Path) -> None:
    with Database(path, migrations=(NOTES, "CREATE TABLE later (x);")) as newer:
        add(newer, "from the future")
    with notes(path) as database:
        assert texts(database) == []
        assert database.set_aside is not None
        assert "newer" in database.set_aside.reason
        aside = database.set_aside.path
    with Database(aside, migrations=(NOTES, "CREATE TABLE later (x);")) as newer:
        assert texts(newer) == ["from the future"]


def test_a_newer_devloop_that_still_runs_keeps_its_file(path: Path) -> None:
    with Database(path, migrations=(NOTES, "CREATE TABLE later (x);")) as newer:
        add(newer, "alive")
        with notes(path) as database, pytest.raises(StateUnavailable, match="another devloop"):
            texts(database)
        add(newer, "still alive")
        assert texts(newer) == ["alive", "still alive"]
    with notes(path) as database:
        assert texts(database) == [], "now nobody has it open"


def test_tables_that_do_not_fit_their_version_are_set_aside(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes (something TEXT)")
    connection.close()
    with notes(path) as database:
        add(database, "x")
        assert texts(database) == ["x"]
        assert database.set_aside is not None
        assert "migrated" in database.set_aside.reason


# --- places that cannot be used ---------------------------------------------------------------------------


def test_a_file_in_the_place_of_the_directory_makes_the_state_unavailable(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    database = notes(tmp_path / "state" / FILE_NAME)
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            add(database, "x")
    (tmp_path / "state").unlink()
    add(database, "now it works")
    assert texts(database) == ["now it works"]
    database.close()


def test_a_directory_in_the_place_of_the_file_makes_the_state_unavailable(path: Path) -> None:
    path.mkdir(parents=True)
    with notes(path) as database, pytest.raises(StateUnavailable):
        database.open()


def test_a_full_disk_refuses_the_write_and_keeps_what_was_there(path: Path) -> None:
    with notes(path) as database:
        add(database, "before")
        database.read("PRAGMA max_page_count = 1")
        with pytest.raises(StateUnavailable, match="full"):
            add(database, "x" * 100_000)
        assert texts(database) == ["before"]
        add(database, "after")
        assert texts(database) == ["before", "after"]


def test_a_state_directory_that_is_deleted_meanwhile_is_made_again(path: Path) -> None:
    with notes(path) as database:
        add(database, "lost")
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        add(database, "found")
    with notes(path) as database:
        assert texts(database) == ["found"]


def test_a_writer_that_holds_the_lock_too_long_is_not_waited_for_forever(path: Path) -> None:
    with notes(path, busy_seconds=0.05) as database:
        add(database, "mine")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnavailable, match="locked"):
            add(database, "refused")
        assert texts(database) == ["mine"], "reading goes on beside a writer"
        other.execute("ROLLBACK")
        other.close()
        add(database, "then")
        assert texts(database) == ["mine", "then"]


def test_opening_beside_a_writer_that_does_not_end_makes_the_state_unavailable(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    with notes(path, busy_seconds=0.05) as database:
        with pytest.raises(StateUnavailable, match="locked"):
            database.open()
        other.execute("ROLLBACK")
        database.open()
    other.close()


# --- migrations -------------------------------------------------------------------------------------------


def test_an_older_file_is_migrated_with_its_content(path: Path) -> None:
    with notes(path) as database:
        add(database, "old")
    newer = (
        NOTES,
        "ALTER TABLE notes ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm';",
        "CREATE TABLE more (x TEXT);\nINSERT INTO more VALUES ('a;b');",
    )
    with Database(path, migrations=newer) as database:
        assert database.read("SELECT text, mood FROM notes") == [("old", "calm")]
        assert database.read("SELECT x FROM more") == [("a;b",)]
        assert database.read("PRAGMA user_version") == [(3,)]
        assert database.set_aside is None


def test_a_migration_that_breaks_halfway_leaves_the_old_file_as_it_was(path: Path) -> None:
    with notes(path) as database:
        add(database, "precious")
    with Database(
        path, migrations=(NOTES, "CREATE TABLE extra (x);\nINSERT INTO nowhere VALUES (1);")
    ) as broken:
        with pytest.raises(StateUnavailable):
            broken.open()
        assert broken.set_aside is not None
        aside = broken.set_aside.path
    with notes(aside) as database:
        assert texts(database) == ["precious"]
        assert database.read("SELECT name FROM sqlite_master WHERE name = 'extra'") == []


def test_every_released_migration_is_complete_sql() -> None:
    for count in range(1, len(MIGRATIONS) + 1):
        connection = sqlite3.connect(":memory:")
        for script in MIGRATIONS[:count]:
            connection.executescript(script)
        connection.close()


# --- several processes ------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from devloop.state.database import Database
database = Database(Path(sys.argv[1]), migrations=(sys.argv[2],))
count = int(sys.argv[4])
number = 0
while count < 0 or number < count:
    database.write(lambda c: [
        c.execute("INSERT INTO notes (text) VALUES (?)", (f"{sys.argv[3]} {number} {half}",)) for half in "ab"
    ])
    number += 1
    if count < 0:
        print(number, flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), NOTES, name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_that_start_at_once_lose_nothing(path: Path) -> None:
    processes = [writer(path, name, 40) for name in ("one", "two", "three")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    with notes(path) as database:
        found = texts(database)
    assert len(found) == len(set(found)) == 3 * 40 * 2


def test_processes_that_meet_a_corrupt_file_together_agree_on_one_new_file(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 10_000)
    processes = [writer(path, name, 20) for name in ("one", "two", "three", "four")]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    for process in processes:
        process.communicate()
    with notes(path) as database:
        assert len(texts(database)) == 4 * 20 * 2
    assert len(list(path.parent.glob("*.aside-*"))) == 1


def test_a_process_killed_while_it_writes_leaves_whole_transactions(path: Path) -> None:
    for _ in range(3):
        process = writer(path, "killed", -1)
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert said[-1] == 5
        with notes(path) as database:
            halves = [text.rsplit(" ", 1)[1] for text in texts(database)]
            assert halves == ["a", "b"] * (len(halves) // 2)
            assert len(halves) >= 2 * 5
            assert database.read("PRAGMA integrity_check") == [("ok",)]
            assert database.set_aside is None


def test_two_databases_of_one_process_see_each_other(path: Path) -> None:
    with notes(path) as one, notes(path) as two:
        add(one, "from one")
        add(two, "from two")
        assert texts(one) == texts(two) == ["from one", "from two"]
