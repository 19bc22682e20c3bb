"""What can be proven of a proposal without an engine, and what is said to be not verified."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.model import LineEdit, Proposal
from devloop.doctor.proof import Check, Proof, Saving, prove
from devloop.doctor.trial import Stopped, read_files
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TEXT = b"FROM a\nCOPY . .\nRUN pip install -r requirements.txt\n"
BETTER = LineEdit(2, 3, b"COPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\n")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Dockerfile").write_bytes(TEXT)
    (folder / "requirements.txt").write_text("six\n")
    (folder / "main.py").write_text("")
    location = locate(folder, Settings())
    memory = Memory(location)
    yield Workspace.remembered(location, Settings(), memory, {})
    memory.close()


def tried(
    workspace: Workspace,
    *edits: LineEdit,
    files: Mapping[str, bytes] | None = None,
    saving: Saving | None = None,
) -> Proof:
    proposal = Proposal(edits, files or {}, frozenset({"order", "fewer files"}))
    return prove(workspace, TEXT, proposal, saving=saving)


def last(proof: Proof) -> tuple[str, str, str]:
    check = proof.checks[-1]
    return check.name, check.verdict, check.sentence


def test_without_an_engine_everything_that_needs_one_is_labelled(workspace: Workspace) -> None:
    proof = tried(workspace, BETTER, saving=Saving(40, 100.0, 20.0))
    assert [(check.name, check.verdict) for check in proof.checks] == [
        ("reads", "passed"),
        ("graph", "passed"),
        ("history", "passed"),
        ("builds", "not verified"),
        ("files", "not verified"),
        ("configuration", "not verified"),
        ("edits", "not verified"),
    ]
    assert proof.holds
    assert not proof.is_complete
    assert proof.sizes is None


def test_a_text_that_cannot_be_read_is_refused(workspace: Workspace) -> None:
    proof = tried(workspace, LineEdit(3, 3, b"RNU x\n"))
    assert last(proof)[:2] == ("reads", "failed")
    assert not proof.holds


def test_edits_beside_the_file_are_refused(workspace: Workspace) -> None:
    assert last(tried(workspace, LineEdit(9, 9, b"RUN x\n")))[:2] == ("reads", "failed")


def test_a_proposal_that_changes_nothing_is_refused(workspace: Workspace) -> None:
    assert last(tried(workspace)) == ("reads", "failed", "the proposal changes nothing")


def test_a_source_that_the_context_lacks_is_refused_unless_the_proposal_brings_it(
    workspace: Workspace,
) -> None:
    edit = LineEdit(2, 2, b"COPY setup.cfg .\nCOPY . .\n")
    assert last(tried(workspace, edit)) == ("reads", "failed", "the build context has no setup.cfg")
    assert tried(workspace, edit, files={"setup.cfg": b""}).holds


def test_a_source_that_the_new_ignore_file_takes_away_is_refused(workspace: Workspace) -> None:
    proof = tried(workspace, BETTER, files={".dockerignore": b"*.txt\n"})
    assert last(proof) == ("reads", "failed", "the build context has no requirements.txt")


def test_another_command_is_refused_with_its_line(workspace: Workspace) -> None:
    proof = tried(workspace, LineEdit(3, 3, b"RUN pip install -U -r requirements.txt\n"))
    assert last(proof)[:2] == ("graph", "failed")
    assert proof.checks[-1].details[0].startswith("line 3 does not do what line 3 did")


@pytest.mark.parametrize(
    ("saving", "verdict"),
    [
        (Saving(10, 100.0, 95.0), "passed"),
        (Saving(10, 100.0, 96.0), "failed"),
        (Saving(1, 0.0, 0.0), "passed"),
        (Saving(0, 0.0, 0.0), "not verified"),
        (None, "not verified"),
    ],
)
def test_history_has_to_get_cheaper_by_more_than_a_trace(
    workspace: Workspace, saving: Saving | None, verdict: str
) -> None:
    found = tried(workspace, BETTER, saving=saving).check("history")
    assert found is not None
    assert found.verdict == verdict


def test_one_failed_check_is_enough() -> None:
    passed = Check("reads", "passed", "")
    assert Proof((passed,)).is_complete
    assert not Proof((passed, Check("files", "failed", ""))).holds


# Reading an image -----------------------------------------------------------------------------------------


class _Flag:
    def __init__(self, *, is_set: bool) -> None:
        self._is_set = is_set

    def is_set(self) -> bool:
        return self._is_set


def archive() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, kind, link, content in (
            ("./app", tarfile.DIRTYPE, "", b""),
            ("./app/a", tarfile.REGTYPE, "", b"content"),
            ("./app/b", tarfile.LNKTYPE, "./app/a", b""),
            ("./app/c", tarfile.SYMTYPE, "a", b""),
            ("dev/null", tarfile.CHRTYPE, "", b""),
            (".dockerenv", tarfile.REGTYPE, "", b""),
            ("etc/hosts", tarfile.REGTYPE, "", b""),
            ("etc/passwd", tarfile.REGTYPE, "", b"root"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            member.mode, member.uid, member.gid = 0o4755, 7, 8
            if content == b"content":
                member.pax_headers = {"SCHILY.xattr.security.capability": "cap", "mtime": "1"}
            made.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def test_an_archive_is_read_in_any_chunks_without_what_the_engine_adds() -> None:
    whole = archive()
    once = read_files([whole], _Flag(is_set=False))
    assert once == read_files([whole[at : at + 7] for at in range(0, len(whole), 7)], _Flag(is_set=False))
    assert list(once) == ["app", "app/a", "app/b", "app/c", "etc/passwd"]
    assert once["app/a"].owner == "7:8"
    assert once["app/a"].mode == 0o4755
    assert once["app/a"].attributes == (("security.capability", "cap"),)
    # A hard link is a file like the other one.
    assert once["app/b"] == once["app/a"]
    assert (once["app/c"].kind, once["app/c"].link) == ("link", "a")


def test_the_day_on_which_a_password_was_set_says_nothing_and_the_password_does() -> None:
    def digest(line: bytes) -> str:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as made:
            member = tarfile.TarInfo("etc/shadow")
            member.size = len(line)
            made.addfile(member, io.BytesIO(line))
        return read_files([stream.getvalue()], _Flag(is_set=False))["etc/shadow"].digest

    line = b"app:!:20000:0:99999:7:::\n"
    assert digest(line) == digest(line.replace(b"20000", b"20001"))
    assert digest(line) != digest(line.replace(b":!:", b":hash:"))
    assert digest(line) != digest(line.replace(b"99999", b"9"))


def test_reading_stops_when_asked_to() -> None:
    with pytest.raises(Stopped):
        read_files([archive()], _Flag(is_set=True))
