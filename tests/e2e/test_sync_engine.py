"""Files changed in containers of a real engine, and the law: they are then what a rebuild would have made."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devloop.engine.archive import Removal, SyncBatch, Write
from devloop.engine.base import EngineRefused
from devloop.engine.containers import Containers
from devloop.engine.sync import CannotSync, ContainerFiles, Found
from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.docker

REACHES = [
    pytest.param(True, id="through-the-kernel"),
    pytest.param(False, id="through-the-engine-alone"),
]
PEOPLE = """\
RUN mkdir -p /etc && printf 'root:x:0:0::/:/bin/sh\\napp:x:1000:2000::/:/bin/sh\\n' >/etc/passwd \\
 && printf 'root:x:0:\\ngrp:x:3000:\\n' >/etc/group
"""


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def containers(engine: dict[str, str]) -> Iterator[Containers]:
    found = Containers.connect()
    yield found
    found.close()


class Box:
    """A container to change files in, and a folder with the sources."""

    def __init__(self, containers: Containers, name: str, folder: Path) -> None:
        self.containers = containers
        self.name = name
        self.folder = folder
        self.opened: list[ContainerFiles] = []

    def build(self, dockerfile: str, tag: str = "a") -> str:
        (self.folder / "Dockerfile").write_text(dockerfile)
        docker("build", "-q", "-t", f"{self.name}:{tag}", str(self.folder))
        return f"{self.name}:{tag}"

    def run(self, image: str = BUSYBOX, *options: str, command: tuple[str, ...] = ("sleep", "600")) -> str:
        docker("run", "-d", "--name", self.name, *options, image, *command)
        return self.name

    def files(self, *, reach: bool = True) -> ContainerFiles:
        self.opened.append(ContainerFiles(self.containers, self.name, reach=reach))
        return self.opened[-1]

    def source(self, data: bytes, name: str = "source") -> tuple[str, str]:
        path = self.folder / name
        path.write_bytes(data)
        return str(path), hashlib.sha256(data).hexdigest()[:32]

    def file(self, path: str, data: bytes, mode: int = 0o644, owner: str | None = None) -> Write:
        source, digest = self.source(data, "source-" + path.replace("/", "_")[-200:])
        return Write(path, "file", mode, source, digest, owner=owner)


@pytest.fixture
def box(containers: Containers, unique_name: str, tmp_path: Path) -> Iterator[Box]:
    folder = tmp_path / "box"
    folder.mkdir()
    made = Box(containers, unique_name, folder)
    yield made
    for each in made.opened:
        each.close()


def gone(*paths: str) -> SyncBatch:
    return SyncBatch(removals=tuple(Removal(path) for path in paths))


def expect_ok(files: ContainerFiles, batch: SyncBatch) -> None:
    outcome = files.apply(batch)
    assert outcome.ok, outcome.error


# ---------------------------------------------------------------------------------------------------- the law

ROOT = "/srv/app"
OWNERS = [None, "app", "app:grp", "77", ":grp", "5:6"]


def grow(folder: Path, rng: random.Random, count: int) -> None:
    """Change a tree at random: files, links and directories come, go, and become one another."""
    for _ in range(count):
        places = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
        at = rng.choice(places) / rng.choice(["a", "b", "c", "-d", "e f", "ü", "n" * 120])
        if at.is_symlink() or at.is_file():
            at.unlink()
        elif at.is_dir():
            shutil.rmtree(at)
        match rng.choice(["file", "file", "file", "directory", "link", "nothing"]):
            case "file":
                at.write_bytes(rng.randbytes(rng.choice([0, 1, 511, 512, 70_000])))
                at.chmod(rng.choice([0o644, 0o600, 0o755, 0o444, 0o4755]))
            case "directory":
                at.mkdir()
                at.chmod(rng.choice([0o755, 0o700, 0o2775]))
            case "link":
                at.symlink_to(rng.choice(["a", "../b", "/etc", "nowhere", "x" * 150]))
            case _:
                pass


def listed(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*")}


def known(folder: Path) -> dict[str, tuple[object, ...]]:
    """What a rebuild would see of every path."""
    found: dict[str, tuple[object, ...]] = {}
    for name, path in listed(folder).items():
        mode = path.lstat().st_mode & 0o7777
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", mode)
        else:
            found[name] = ("file", mode, path.read_bytes())
    return found


def batch_between(folder: Path, before: dict[str, tuple[object, ...]], owner: str | None) -> SyncBatch:
    after = known(folder)
    writes = []
    for name, what in after.items():
        if before.get(name) == what:
            continue
        path, source = f"{ROOT}/{name}", folder / name
        match what:
            case ("link", str(text)):
                writes.append(Write(path, "link", link=text, owner=owner))
            case ("directory", int(mode)):
                writes.append(Write(path, "directory", mode, owner=owner))
            case ("file", int(mode), bytes(data)):
                digest = hashlib.sha256(data).hexdigest()[:32]
                writes.append(Write(path, "file", mode, str(source), digest, owner=owner))
    return SyncBatch(tuple(writes), tuple(Removal(f"{ROOT}/{name}") for name in before.keys() - after.keys()))


def exported(container: str) -> dict[str, tuple[object, ...]]:
    """What is in a container below the root of the law: kind, mode, owner, text and bytes."""
    data = subprocess.run(
        ["docker", "cp", f"{container}:{ROOT}", "-"], check=True, capture_output=True
    ).stdout
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for one in archive:
            content = archive.extractfile(one) if one.isfile() else None
            body = content.read() if content is not None else b""
            mode = 0 if one.issym() else one.mode
            found[one.name] = (one.type, mode, one.uid, one.gid, one.linkname, body)
    return found


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("seed", range(3))
def test_after_a_sync_the_files_are_those_of_a_rebuilt_image(box: Box, seed: int, reach: bool) -> None:
    rng = random.Random(seed)
    tree = box.folder / "tree"
    tree.mkdir()
    grow(tree, rng, 12)
    owner = OWNERS[seed % len(OWNERS)]
    flag = f"--chown={owner} " if owner else ""
    dockerfile = f"FROM {BUSYBOX}\n{PEOPLE}COPY {flag}tree {ROOT}/\n"
    box.run(box.build(dockerfile))
    files = box.files(reach=reach)
    for _ in range(4):
        before = known(tree)
        grow(tree, rng, rng.choice([1, 2, 8]))
        batch = batch_between(tree, before, owner)
        expect_ok(files, batch)
        rebuilt = docker("create", box.build(dockerfile, "b"))
        try:
            assert exported(box.name) == exported(rebuilt), batch
        finally:
            docker("rm", rebuilt)


# ------------------------------------------------------------------------------------------------- one by one


@pytest.mark.parametrize("reach", REACHES)
def test_whatever_is_there_becomes_what_is_written(box: Box, reach: bool) -> None:
    box.run(
        command=("sh", "-c", "mkdir -p /w/d/deep /w/d2; echo 1 >/w/f; ln -s /w/d /w/l; echo up; sleep 600")
    )
    files = box.files(reach=reach)
    wait_for(lambda: files.stat("/w/l") is not None)
    batch = SyncBatch(
        (
            box.file("/w/d", b"now a file"),
            Write("/w/d2", "link", link="f"),
            Write("/w/f", "directory", 0o750),
            box.file("/w/f/in", b"in"),
            Write("/w/l", "directory", 0o700),
            box.file("/w/l/in", b"in the directory that was a link"),
        )
    )
    expect_ok(files, batch)
    assert files.read("/w/d") == b"now a file"
    assert files.stat("/w/d2") == Found("link", 0o777, "f")
    assert files.stat("/w/f") == Found("directory", 0o750)
    assert files.read("/w/l/in") == b"in the directory that was a link"


@pytest.mark.parametrize("reach", REACHES)
def test_removals_take_all_below_and_follow_no_link(box: Box, reach: bool) -> None:
    box.run(
        command=(
            "sh",
            "-c",
            "mkdir -p /w/d/deep /k; echo 1 >/k/kept; ln -s /k /w/d/l; ln -s /k /w/l; sleep 600",
        )
    )
    files = box.files(reach=reach)
    wait_for(lambda: files.stat("/w/l") is not None)
    expect_ok(files, gone("/w/d", "/w/l", "/w/never", "/w/never/there", "/k/kept/below-a-file"))
    assert files.stat("/w/d") is None
    assert files.stat("/w/l") is None
    assert files.read("/k/kept") == b"1\n"


@pytest.mark.parametrize("reach", REACHES)
def test_a_path_behind_a_link_is_refused_and_can_be_resolved(box: Box, reach: bool) -> None:
    box.run(command=("sh", "-c", "mkdir -p /w/real; echo 1 >/w/real/f; ln -s real /w/l; echo; sleep 600"))
    files = box.files(reach=reach)
    wait_for(lambda: files.stat("/w/l") is not None)
    assert files.apply(SyncBatch((box.file("/w/l/f", b"2"),))).error == "/w/l in the container is a link"
    assert files.apply(gone("/w/l/f")).error == "/w/l in the container is a link"
    assert files.read("/w/l/f") == b"1\n"
    assert files.real_path("/w/l/f") == "/w/real/f"
    assert files.real_path("/w/l/new/f") == "/w/real/new/f"
    assert files.real_path("/") == "/"


def test_kernel_and_engine_tell_the_same_of_every_path(box: Box) -> None:
    script = (
        "mkdir -p /w/d/e; echo >/w/f; chmod 4750 /w/f; chmod 1777 /w/d; ln -s ../d /w/d/up;"
        "ln -s /w/d /w/abs; ln -s ../../../../w/d/e /w/out; ln -s nowhere /w/dangling; mkfifo /w/p;"
        "ln -s /w/f /w/lf; : >/ready; sleep 600"
    )
    box.run(command=("sh", "-c", script))
    wait_for(lambda: box.files().stat("/ready") is not None)
    names = [
        "",
        "d",
        "d/e",
        "f",
        "f/x",
        "d/up",
        "d/up/e",
        "abs",
        "abs/e",
        "abs/../f",
        "out",
        "out/.",
        "dangling",
    ]
    names += ["dangling/x", "p", "lf", "none", "none/x", "d/../../w/f"]
    paths = [f"/w/{name}" for name in names]
    near, far = box.files().stat_all(paths), box.files(reach=False).stat_all(paths)
    assert near == far


@pytest.mark.parametrize("reach", REACHES)
def test_no_directory_is_made_that_was_not_asked_for(box: Box, reach: bool) -> None:
    box.run()
    files = box.files(reach=reach)
    outcome = files.apply(SyncBatch((box.file("/new/f", b"1"),)))
    assert not outcome.ok
    assert "/new" in str(outcome.error)
    assert files.stat("/new") is None


@pytest.mark.parametrize("reach", REACHES)
def test_nothing_is_sent_when_a_source_changed_or_went(box: Box, reach: bool) -> None:
    box.run()
    files = box.files(reach=reach)
    good, changed, lost = (
        box.file("/tmp/good", b"1"),
        box.file("/tmp/changed", b"1"),
        box.file("/tmp/lost", b"1"),
    )
    Path(str(changed.source)).write_bytes(b"2")
    Path(str(lost.source)).unlink()
    for bad in (changed, lost):
        outcome = files.apply(SyncBatch((good, bad)))
        assert outcome.changed_meanwhile
        assert not outcome.ok
        assert files.stat("/tmp/good") is None


def test_a_source_with_extended_attributes_is_left_to_a_rebuild(box: Box) -> None:
    box.run()
    source, _ = box.source(b"1")
    try:
        os.setxattr(source, "user.note", b"x")
    except OSError:
        pytest.skip("the file system of the test has no extended attributes")
    outcome = box.files().apply(SyncBatch((Write("/tmp/f", "file", 0o644, source, "0" * 32),)))
    assert not outcome.changed_meanwhile
    assert "extended attributes" in str(outcome.error)


def test_a_new_version_is_newer_by_a_second_even_within_one(box: Box) -> None:
    box.run()
    files = box.files(reach=False)
    stamps = []
    for text in (b"1", b"2", b"3"):
        expect_ok(files, SyncBatch((box.file("/tmp/f", text),)))
        stamps.append(int(docker("exec", box.name, "stat", "-c", "%Y", "/tmp/f")))
    assert stamps[0] < stamps[1] < stamps[2]
    assert abs(stamps[0] - time.time()) < 60


def test_a_new_version_is_newer_than_a_file_from_the_future(box: Box) -> None:
    box.run(command=("sh", "-c", "echo 1 >/tmp/f; touch -d 2040-01-01 /tmp/f; sleep 600"))
    files = box.files()
    wait_for(lambda: files.stat("/tmp/f") is not None)
    before = int(docker("exec", box.name, "stat", "-c", "%Y", "/tmp/f"))
    expect_ok(files, SyncBatch((box.file("/tmp/f", b"2"),)))
    assert int(docker("exec", box.name, "stat", "-c", "%Y", "/tmp/f")) > before


@pytest.mark.parametrize("reach", REACHES)
def test_names_of_owners_are_the_containers(box: Box, reach: bool) -> None:
    box.run(box.build(f"FROM {BUSYBOX}\n{PEOPLE}"))
    files = box.files(reach=reach)
    expect_ok(
        files,
        SyncBatch((Write("/d", "directory", 0o755, owner="app:grp"), box.file("/d/f", b"", owner="app"))),
    )
    assert docker("exec", box.name, "stat", "-c", "%n %u %g", "/d", "/d/f").splitlines() == [
        "/d 1000 3000",
        "/d/f 1000 2000",
    ]
    outcome = files.apply(SyncBatch((box.file("/d/g", b"", owner="stranger"),)))
    assert outcome.error == "the container knows no owner stranger"
    with pytest.raises(CannotSync):
        files.ids("stranger")


@pytest.mark.parametrize("reach", REACHES)
def test_a_mount_over_the_place_is_refused(box: Box, reach: bool) -> None:
    host = box.folder / "host"
    host.mkdir()
    (host / "f").write_text("the host's")
    box.run(BUSYBOX, "-v", f"{host}:/w/m", "-v", "/vol", "--tmpfs", "/t")
    files = box.files(reach=reach)
    for path, mount in (("/w/m/f", "/w/m"), ("/vol/f", "/vol"), ("/t/f", "/t"), ("/etc/hosts", "/etc/hosts")):
        outcome = files.apply(SyncBatch((box.file(path, b"ours"),)))
        assert outcome.error == f"{path} is on a mount at {mount}"
        assert files.apply(gone(path)).error == f"{path} is on a mount at {mount}"
    assert files.apply(gone("/w")).error == "/w has a mount below it"
    assert files.apply(SyncBatch((box.file("/w", b""),))).error == "/w has a mount below it"
    assert (host / "f").read_text() == "the host's"
    expect_ok(files, SyncBatch((box.file("/w/beside", b"1"),)))


@pytest.mark.parametrize("reach", REACHES)
def test_a_read_only_root_is_refused(box: Box, reach: bool) -> None:
    box.run(BUSYBOX, "--read-only")
    outcome = box.files(reach=reach).apply(SyncBatch((box.file("/f", b"1"),)))
    assert outcome.error == "the container's root is read-only"


@pytest.mark.parametrize("reach", REACHES)
def test_a_non_root_user_is_no_obstacle(box: Box, reach: bool) -> None:
    box.run(box.build(f"FROM {BUSYBOX}\nRUN mkdir -m 755 /w && echo 1 >/w/old\nUSER 1234:1234"))
    files = box.files(reach=reach)
    expect_ok(files, SyncBatch((box.file("/w/new", b"1", 0o600),), (Removal("/w/old"),)))
    assert files.stat("/w/new") == Found("file", 0o600)
    assert files.stat("/w/old") is None


def test_an_image_without_anything_is_no_obstacle_where_the_kernel_can_be_reached(box: Box) -> None:
    find_static_busybox(box)
    image = box.build(
        'FROM scratch\nCOPY busybox /\nCOPY Dockerfile /d/old\nCMD ["/busybox", "sleep", "600"]'
    )
    docker("run", "-d", "--name", box.name, image)
    expect_ok(box.files(), SyncBatch((box.file("/d/new", b"1"),), (Removal("/d/old"),)))
    assert box.files().stat("/d/old") is None
    assert box.files().read("/d/new") == b"1"


def test_an_image_without_rm_is_left_to_a_rebuild_where_it_cannot(box: Box) -> None:
    find_static_busybox(box)
    image = box.build(
        'FROM scratch\nCOPY busybox /\nCOPY Dockerfile /d/old\nCMD ["/busybox", "sleep", "600"]'
    )
    docker("run", "-d", "--name", box.name, image)
    files = box.files(reach=False)
    outcome = files.apply(gone("/d/old"))
    assert not outcome.ok
    assert "/d/old cannot be removed" in str(outcome.error) or "rm cannot be run" in str(outcome.error)


def test_a_rm_that_does_nothing_is_noticed(box: Box) -> None:
    box.run(
        box.build(
            f"FROM {BUSYBOX}\nRUN echo 1 >/old\n"
            "RUN rm=$(which rm) && rm $rm && echo '#!/bin/sh' >$rm && chmod 755 $rm"
        )
    )
    outcome = box.files(reach=False).apply(gone("/old"))
    assert outcome.error == "/old cannot be removed: the image has no rm that may"


@pytest.mark.parametrize("reach", REACHES)
def test_a_stopped_container_takes_files_and_keeps_those_that_should_go(box: Box, reach: bool) -> None:
    box.run(box.build(f"FROM {BUSYBOX}\nRUN echo 1 >/old"), command=("true",))
    wait_for(lambda: docker("inspect", "-f", "{{.State.Running}}", box.name) == "false")
    files = box.files(reach=reach)
    expect_ok(files, SyncBatch((box.file("/f", b"1"),), (Removal("/never/there"),)))
    assert files.read("/f") == b"1"
    assert files.apply(gone("/old")).error == "files cannot be removed from a container that is exited"


@pytest.mark.parametrize("reach", REACHES)
def test_a_paused_container_takes_files(box: Box, reach: bool) -> None:
    box.run(box.build(f"FROM {BUSYBOX}\nRUN echo 1 >/old"))
    docker("pause", box.name)
    files = box.files(reach=reach)
    expect_ok(files, SyncBatch((box.file("/f", b"1"),)))
    outcome = files.apply(gone("/old"))
    assert outcome.ok == reach
    assert (files.stat("/old") is None) == reach
    docker("unpause", box.name)


@pytest.mark.parametrize("reach", REACHES)
def test_a_restarted_container_is_found_again(box: Box, reach: bool) -> None:
    box.run(command=("sh", "-c", "mkdir -p /w; sleep 600"))
    files = box.files(reach=reach)
    for text in (b"1", b"2"):
        wait_for(lambda: files.stat("/w") is not None)
        expect_ok(files, SyncBatch((box.file("/w/f", text),), (Removal("/w/g"),)))
        assert files.read("/w/f") == text
        docker("restart", "-t", "0", box.name)


def test_a_container_that_is_gone_is_an_error_and_nothing_else(box: Box) -> None:
    box.run()
    files = box.files()
    docker("rm", "-f", box.name)
    outcome = files.apply(SyncBatch((box.file("/f", b"1"),)))
    assert not outcome.ok
    assert "No such container" in str(outcome.error)
    with pytest.raises(EngineRefused):
        files.stat("/")


@pytest.mark.parametrize("reach", REACHES)
def test_a_big_file_and_many_files_arrive_whole(box: Box, reach: bool) -> None:
    box.run()
    files = box.files(reach=reach)
    data = os.urandom(1 << 16) * 512
    many = [box.file(f"/tmp/n{number}", b"%d" % number) for number in range(300)]
    expect_ok(files, SyncBatch((box.file("/tmp/big", data), *many)))
    assert files.read("/tmp/big") == data
    assert files.read("/tmp/n299") == b"299"
    expect_ok(files, gone(*(write.path for write in many)))
    assert files.stat("/tmp/n0") is None
    assert files.stat("/tmp/big") is not None


def wait_for(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def find_static_busybox(box: Box) -> None:
    """Put the one of the tests' base image beside the Dockerfile: a program that needs nothing."""
    ident = docker("create", BUSYBOX)
    try:
        docker("cp", "-L", f"{ident}:/bin/busybox", str(box.folder / "busybox"))
    finally:
        docker("rm", ident)
