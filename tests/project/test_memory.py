"""The memory of a project never stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.cache import store as store_module
from devloop.cache.baseline import Baseline
from devloop.cache.records import Link, Records
from devloop.cache.store import RecordStore
from devloop.context.snapshot import Entry, Snapshot
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.project.discover import Location, locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASELINE = Baseline("fingerprint", (("cmd", "x"),), (), (("python", "layers:1"),))
TREE = {"": Snapshot.of({"main.py": Entry("file", 0o644, "one", 1)})}


@pytest.fixture
def location(tmp_path: Path) -> Location:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return locate(tmp_path, Settings())


@pytest.fixture
def memory(location: Location) -> Iterator[Memory]:
    found = Memory(location)
    yield found
    found.close()


def again(memory: Memory) -> Memory:
    """Return the memory of a later start."""
    memory.close()
    return Memory(memory.location)


def test_a_new_project_is_unknown(memory: Memory) -> None:
    assert memory.builder() is None
    assert memory.switches() == {}
    assert memory.baseline() is None
    assert memory.manifest() is None
    assert memory.records("builder", ["operation"]).links == {}
    assert memory.image("builder", "python", Platform()) is None
    assert memory.container("id") is None
    assert memory.problem is None


def test_what_was_learned_is_there_at_the_next_start(memory: Memory) -> None:
    config = ImageConfig(key="layers:1", env=(("A", "1"),))
    records = Records()
    records.add(Link("operation", 0, "content:x", "record", "modes"))
    memory.save_builder("builder", {"merges": "1", "platform": "linux/arm64"})
    memory.save_baseline(BASELINE, TREE)
    memory.save_records("builder", records)
    memory.save_image("builder", "python", Platform(), config)
    memory.save_container("id", "image", "run", ["/a"])
    later = again(memory)
    assert (later.builder(), later.switches()) == ("builder", {"merges": "1", "platform": "linux/arm64"})
    assert later.baseline() == BASELINE
    assert later.manifest() is not None
    assert later.records("builder", ["operation"]).links == records.links
    assert later.image("builder", "python", Platform()) == config
    known = later.container("id")
    assert known is not None
    assert (known.image_version, known.run_version, known.added) == ("image", "run", ("/a",))
    later.close()


def test_another_builder_knows_nothing_of_the_records(memory: Memory) -> None:
    records = Records()
    records.add(Link("operation", 0, "content:x", "record", "modes"))
    memory.save_records("builder", records)
    assert memory.records("other", ["operation"]).links == {}
    assert memory.records(None, ["operation"]).links == {}


def test_another_container_is_unknown_and_a_forgotten_one_too(memory: Memory) -> None:
    memory.save_container("id", "image", "run", [])
    assert memory.container("other") is None
    memory.forget_container()
    assert memory.container("id") is None


def test_an_unusable_state_directory_costs_the_memory_and_is_said_once(
    location: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "file" / "state"))
    memory = Memory(location)
    memory.save_builder("builder", {})
    first = memory.problem
    assert first is not None
    assert str(tmp_path / "file" / "state") in first
    memory.save_baseline(BASELINE, TREE)
    memory.save_container("id", "image", "run", [])
    memory.save_indexes()
    assert memory.builder() is None
    assert memory.baseline() is None
    assert memory.container("id") is None
    assert memory.problem == first
    memory.close()


def test_the_indexes_of_contexts_are_loaded_once_and_kept(memory: Memory, tmp_path: Path) -> None:
    index = memory.index(tmp_path)
    assert memory.index(tmp_path) is index
    assert memory.index(tmp_path / "other") is not index


def test_what_was_not_seen_for_longest_is_forgotten(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(float(number) for number in range(1, 1000))
    memory.store = RecordStore(memory.database, clock=lambda: next(moments))
    monkeypatch.setattr("devloop.project.memory.time.time", lambda: next(moments))
    for name in ("KEPT_GROUP_MEMBERS", "KEPT_DEFINITIONS", "KEPT_IMAGES", "KEPT_BASELINES", "KEPT_LINKS"):
        monkeypatch.setattr(store_module, name, 3)
    monkeypatch.setattr("devloop.project.memory.KEPT_PROJECTS", 3)
    for number in range(6):
        memory.project = f"project {number}"
        records = Records(groups={f"group {number}": frozenset({"record"})})
        records.add(Link(f"operation {number}", 0, "content:x", "record", "modes"))
        memory.save_records("builder", records)
        memory.save_engine_definitions("builder", [(f"operation {number}", "digest"), ("common", "digest")])
        memory.save_image("builder", f"image {number}", Platform(), ImageConfig(key="layers:1"))
        memory.save_baseline(BASELINE, TREE)
        memory.save_container(f"container {number}", "image", "run", ())
        memory.save_builder("builder", {})
    assert memory.problem is None
    for table in ("links", "record_groups", "engine_operations", "images", "baselines", "projects"):
        assert memory.database.read(f"SELECT count(*) FROM {table}") == [(3,)], table  # noqa: S608  constants
    assert memory.engine_definitions("builder", "common") == {"digest"}, "it was seen with every build"
    assert memory.baseline() == BASELINE
    assert memory.builder() == "builder"
    assert [
        row[0] for row in memory.database.read("SELECT container FROM containers ORDER BY container")
    ] == [
        "container 3",
        "container 4",
        "container 5",
    ]
