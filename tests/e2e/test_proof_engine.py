"""Proposals that are really built before and after: what is equal passes, what is not is refused."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.model import LineEdit, Proposal
from devloop.doctor.proof import Limits, Proof, prove
from devloop.doctor.sameness import compare_files
from devloop.doctor.trial import LABEL, Trial
from devloop.engine.base import BuildRequest
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from support.engine import BUSYBOX, make_base_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from devloop.doctor.model import Intent
    from devloop.doctor.sameness import Files

pytestmark = pytest.mark.docker

PYTHON, NODE = "python:3.11-slim", "node:20-slim"


@pytest.fixture(scope="module")
def trial(engine: dict[str, str]) -> Iterator[Trial]:
    with Trial.open(engine) as opened:
        yield opened
    assert not left(engine, "docker", "images", "--quiet", "--filter", f"label={LABEL}")
    assert not left(engine, "docker", "ps", "--all", "--quiet", "--filter", f"label={LABEL}")
    assert not opened.folder.exists()


def left(engine: Mapping[str, str], *command: str) -> str:
    return subprocess.run(command, env=engine, capture_output=True, text=True, check=True).stdout


class Project:
    """A folder with a Dockerfile, and proposals for it."""

    def __init__(self, folder: Path, trial: Trial, dockerfile: str, files: Mapping[str, str]) -> None:
        self.folder = folder = folder / "project"
        self.trial = trial
        for path, text in {"Dockerfile": dockerfile, **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)

    def prove(
        self,
        after: str,
        *intends: Intent,
        edits: tuple[str, ...] = (),
        files: Mapping[str, bytes] | None = None,
        limits: Limits | None = None,
        cancel: threading.Event | None = None,
    ) -> Proof:
        # Network of the host: engines beside another one have no way out of their own.
        location = locate(self.folder, Settings())
        memory = Memory(location)
        workspace = Workspace.remembered(location, Settings(network="host"), memory, os.environ)
        before = location.dockerfile.read_bytes()
        lines = before.count(b"\n")
        proposal = Proposal((LineEdit(1, lines, after.encode()),), files or {}, frozenset(intends))
        standing = self.standing()
        try:
            return prove(
                workspace,
                before,
                proposal,
                engine=self.trial,
                edits=edits,
                limits=limits,
                cancel=cancel,
            )
        finally:
            memory.close()
            assert self.standing() == standing, "the user's tree was touched"

    def files(self, text: str) -> Files:
        """Build a text in the project's folder, and read the image."""
        (self.folder / "Dockerfile").write_text(text)
        never = threading.Event()
        request = BuildRequest(context=str(self.folder), network="host")
        outcome = self.trial.build(request, cancel=never)
        assert outcome.image_id is not None, outcome.error
        return self.trial.files(outcome.image_id, cancel=never)

    def standing(self) -> list[tuple[str, int, int, int]]:
        paths = sorted(self.folder.rglob("*"))
        stats = [(str(path), path.lstat()) for path in paths]
        return [(path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for path, stat in stats]


def verdicts(proof: Proof) -> dict[str, str]:
    return {check.name: check.verdict for check in proof.checks}


ALL_PASSED = {
    "reads": "passed",
    "graph": "passed",
    "history": "not verified",
    "builds": "passed",
    "files": "passed",
    "configuration": "passed",
    "edits": "passed",
}


# What is offered ------------------------------------------------------------------------------------------


def test_a_python_install_above_the_source_is_proven(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    make_base_image(engine, PYTHON)
    project = Project(
        tmp_path,
        trial,
        f"FROM {PYTHON}\nWORKDIR /app\nCOPY . .\nRUN pip install -r requirements.txt\n"
        'CMD ["python", "main.py"]\n',
        {"requirements.txt": "six==1.16.0\n", "main.py": "import six\n"},
    )
    proof = project.prove(
        f"FROM {PYTHON}\nWORKDIR /app\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"
        'COPY . .\nCMD ["python", "main.py"]\n',
        "order",
        edits=("main.py",),
    )
    assert verdicts(proof) == ALL_PASSED, proof
    edits = proof.check("edits")
    assert edits is not None
    assert edits.sentence.startswith(
        "an edit of main.py ran RUN pip install -r requirements.txt before and not now"
    )


def test_a_node_install_above_the_source_is_proven(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    make_base_image(engine, NODE)
    install = "RUN npm install --no-audit --no-fund"
    project = Project(
        tmp_path,
        trial,
        f'FROM {NODE}\nWORKDIR /app\nCOPY . .\n{install}\nCMD ["node", "main.js"]\n',
        {
            "package.json": '{"name": "web", "version": "1.0.0", "dependencies": {"ms": "2.1.3"}}\n',
            "main.js": "require('ms')\n",
        },
    )
    proof = project.prove(
        f'FROM {NODE}\nWORKDIR /app\nCOPY package.json .\n{install}\nCOPY . .\nCMD ["node", "main.js"]\n',
        "order",
        edits=("main.js",),
    )
    assert verdicts(proof) == ALL_PASSED, proof


COMPILER = "RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev"
PROGRAM = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'


def test_a_compiler_above_the_source_and_a_stage_for_what_it_makes_are_proven(
    tmp_path: Path, trial: Trial, engine: dict[str, str]
) -> None:
    make_base_image(engine, PYTHON)
    compile_ = "RUN gcc -static -O1 -o /usr/local/bin/hello main.c"
    project = Project(
        tmp_path,
        trial,
        f'FROM {PYTHON}\nWORKDIR /src\nCOPY main.c .\n{COMPILER}\n{compile_}\nCMD ["hello"]\n',
        {"main.c": PROGRAM},
    )
    above = f"FROM {PYTHON}{{name}}\nWORKDIR /src\n{COMPILER}\nCOPY main.c .\n{compile_}\n"
    proof = project.prove(above.format(name="") + 'CMD ["hello"]\n', "order", edits=("main.c",))
    assert verdicts(proof) == ALL_PASSED, proof
    staged = above.format(name=" AS build") + (
        f"FROM {BUSYBOX}\nWORKDIR /src\nCOPY --from=build /usr/local/bin/hello /usr/local/bin/hello\n"
        'CMD ["hello"]\n'
    )
    smaller = project.prove(staged, "stage", "order")
    assert verdicts(smaller) == {**ALL_PASSED, "start": "not verified", "edits": "not verified"}, smaller
    assert smaller.sizes is not None
    assert smaller.sizes.after * 10 < smaller.sizes.before


def test_an_ignore_file_takes_out_what_it_names_and_nothing_else(tmp_path: Path, trial: Trial) -> None:
    text = f"FROM {BUSYBOX}\nCOPY . /app\nRUN wc -c /app/main > /size\n"
    project = Project(tmp_path, trial, text, {"main": "1\n", "docs/a.md": "a\n", "docs/b.md": "b\n"})
    files = {".dockerignore": b"docs\n"}
    proof = project.prove(text, "fewer files", files=files, edits=("docs/a.md",))
    assert verdicts(proof) == ALL_PASSED, proof
    checked = proof.check("files")
    assert checked is not None
    assert checked.details == (
        "/app/docs is only in the image before",
        "/app/docs/a.md is only in the image before",
        "/app/docs/b.md is only in the image before",
    )
    # The same change without the intent is a difference.
    assert verdicts(project.prove(text, files=files))["files"] == "failed"


def test_a_file_of_the_proposal_itself_is_built_with(tmp_path: Path, trial: Trial) -> None:
    project = Project(
        tmp_path,
        trial,
        f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY . .\nRUN sort words > /sorted\n",
        {"words": "b\na\n", "main": "1\n"},
    )
    proof = project.prove(
        f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY words extra ./\nRUN sort words > /sorted\nCOPY . .\n",
        "order",
        files={"extra": b"new\n"},
        edits=("main",),
    )
    assert verdicts(proof) == ALL_PASSED, proof


# What is refused ------------------------------------------------------------------------------------------


def test_an_install_above_its_input_breaks_the_build(tmp_path: Path, trial: Trial) -> None:
    project = Project(
        tmp_path, trial, f"FROM {BUSYBOX}\nCOPY words /\nRUN sort /words > /sorted\n", {"words": "b\na\n"}
    )
    proof = project.prove(f"FROM {BUSYBOX}\nRUN sort /words > /sorted\nCOPY words /\n", "order")
    assert not proof.holds
    assert proof.checks[-1].name == "builds"
    assert "(line 2)" in proof.checks[-1].sentence


def test_another_result_is_refused(tmp_path: Path, trial: Trial) -> None:
    project = Project(
        tmp_path,
        trial,
        f"FROM {BUSYBOX}\nCOPY words /\nRUN cat /words > /all || true\n",
        {"words": "b\na\n"},
    )
    proof = project.prove(f"FROM {BUSYBOX}\nRUN cat /words > /all || true\nCOPY words /\n", "order")
    assert proof.checks[-1].details == ("/all has other bytes",)
    assert not proof.holds


def test_another_owner_is_refused_whatever_is_intended(tmp_path: Path, trial: Trial) -> None:
    project = Project(
        tmp_path,
        trial,
        f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY words .\nRUN chown -R 7:8 /app\n",
        {"words": "b\na\n"},
    )
    # The command gave away the directory too, which COPY leaves as it is.
    proof = project.prove(f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY --chown=7:8 words .\n", "owner")
    assert verdicts(proof)["graph"] == "passed"
    assert not proof.holds
    assert proof.checks[-1].details == ("/app: owner 7:8 became 0:0",)


def test_a_cache_that_hides_an_edit_is_refused(tmp_path: Path, trial: Trial, unique_name: str) -> None:
    kept = "/root/.cache/pip"
    command = f"mkdir -p {kept} && {{ [ -f {kept}/all ] || cp words {kept}/all; }} && cp {kept}/all /all"
    text = f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY words .\nRUN MOUNT{command}\n"
    project = Project(tmp_path, trial, text.replace("MOUNT", ""), {"words": "b\na\n"})
    mount = f"--mount=type=cache,id={unique_name},target={kept} "
    proof = project.prove(text.replace("MOUNT", mount), "cache mount", edits=("words",))
    assert verdicts(proof) == {**ALL_PASSED, "edits": "failed"}, proof
    assert proof.checks[-1].sentence == "after an edit of words the images differ"
    assert proof.checks[-1].details == ("/all has other bytes",)


def test_another_configuration_is_refused(tmp_path: Path, trial: Trial) -> None:
    project = Project(tmp_path, trial, f"FROM {BUSYBOX}\nCOPY words /\nENV A=1\n", {"words": "b\n"})
    proof = project.prove(f"FROM {BUSYBOX}\nCOPY words /\nENV A=2\n", "order")
    assert not proof.holds
    assert proof.checks[-1].name == "graph"


CAPABILITY = "bytes([1, 0, 0, 2, 0, 4] + [0] * 14)"
SET_A_CAPABILITY = f"RUN python -c \"import os; os.setxattr('/tool', 'security.capability', {CAPABILITY})\""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((PYTHON, SET_A_CAPABILITY), "/tool: attributes none became security.capability="),
        (
            (BUSYBOX, "VOLUME /data\nRUN mkdir -p /data && echo 1 > /data/seed"),
            "/data is only in the image after",
        ),
        ((BUSYBOX, "RUN chmod 4755 /tool"), "/tool: mode 0644 became 4755"),
        ((BUSYBOX, "RUN ln /tool /twin"), "/twin is only in the image after"),
        ((BUSYBOX, "RUN ln /tool /twin && echo 2 >> /twin"), "/tool has other bytes"),
        ((BUSYBOX, "RUN mkdir -p /var/empty/inbox"), "/var is only in the image after"),
        ((BUSYBOX, "RUN mknod /pipe p"), "/pipe is only in the image after"),
    ],
    ids=["capability", "volume", "special bit", "hard link", "through a hard link", "empty", "pipe"],
)
def test_what_a_step_does_to_files_is_seen(
    tmp_path: Path, trial: Trial, engine: dict[str, str], change: tuple[str, str], said: str
) -> None:
    base, steps = change
    make_base_image(engine, base)
    text = f"FROM {base}\nCOPY tool /tool\n"
    project = Project(tmp_path, trial, text, {"tool": "1\n"})
    before, after = project.files(text), project.files(f"{text}{steps}\n")
    found = compare_files(before, after).differences
    assert found
    assert str(found[0]).startswith(said)
    assert not compare_files(before, project.files(text)).differences


# What could not be verified -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamp",
    ["cat /proc/sys/kernel/random/uuid > /stamp", "cat /proc/uptime > /stamp", "mktemp -p / stamp.XXXXXX"],
    ids=["random", "the time", "a name by chance"],
)
def test_what_no_build_repeats_is_not_verified(tmp_path: Path, trial: Trial, stamp: str) -> None:
    project = Project(tmp_path, trial, f"FROM {BUSYBOX}\nCOPY main /\nRUN {stamp}\n", {"main": "1\n"})
    proof = project.prove(f"FROM {BUSYBOX}\nRUN {stamp}\nCOPY main /\n", "order", edits=("main",))
    assert verdicts(proof) == {**ALL_PASSED, "files": "not verified", "edits": "not verified"}, proof
    checked = proof.check("files")
    assert checked is not None
    assert all(detail.startswith("/stamp") for detail in checked.details)
    assert proof.holds
    assert not proof.is_complete


def test_what_only_an_edit_leaves_to_chance_is_not_verified_either(tmp_path: Path, trial: Trial) -> None:
    chance = "RUN [ $(wc -c < /main) -lt 9 ] || cat /proc/sys/kernel/random/uuid > /stamp"
    copy = "COPY main /\n"
    project = Project(tmp_path, trial, f"FROM {BUSYBOX}\nCOPY . /all/\n{copy}{chance}\n", {"main": "1\n"})
    proof = project.prove(f"FROM {BUSYBOX}\n{copy}{chance}\nCOPY . /all/\n", "order", edits=("main",))
    assert verdicts(proof) == {**ALL_PASSED, "edits": "not verified"}, proof
    assert proof.checks[-1].details == ("/stamp",)


def test_a_build_that_takes_too_long_verifies_nothing(tmp_path: Path, trial: Trial) -> None:
    project = Project(
        tmp_path, trial, f"FROM {BUSYBOX}\nCOPY words /\nRUN sleep 60\n", {"words": os.urandom(8).hex()}
    )
    after = f"FROM {BUSYBOX}\nRUN sleep 60\nCOPY words /\n"
    proof = project.prove(after, "order", limits=Limits(build_seconds=1))
    assert proof.holds
    assert proof.checks[-1].sentence == "as it stands: the build takes longer than 1 seconds"
    whole = project.prove(after, "order", limits=Limits(seconds=1))
    assert whole.checks[-1].sentence == "it takes longer than 1 seconds in all"
    cancel = threading.Event()
    cancel.set()
    assert project.prove(after, "order", cancel=cancel).checks[-1].sentence == "canceled"


def test_a_dockerfile_that_does_not_build_verifies_nothing(tmp_path: Path, trial: Trial) -> None:
    project = Project(tmp_path, trial, f"FROM {BUSYBOX}\nCOPY words /\nRUN false\n", {"words": "b\n"})
    proof = project.prove(f"FROM {BUSYBOX}\nRUN false\nCOPY words /\n", "order")
    assert proof.holds
    assert not proof.is_complete
    assert proof.checks[-1].sentence.startswith("as it stands: the build fails (line 3)")
