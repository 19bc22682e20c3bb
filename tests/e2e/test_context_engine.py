"""Prose and modules that reach a COPY are kept out on an engine, and then no longer run the install."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from devloop.cli_doctor import changes_of
from devloop.doctor.examine import Proving, examine, fix
from devloop.doctor.trial import Trial
from devloop.plan.codes import FINDINGS
from devloop.project.settings import DoctorSettings, Settings
from support.engine import BUSYBOX, make_base_image
from support.history import Repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

# The install is a stand-in with the name and the effect of the real one.
DOCKERFILE = """\
FROM {base}
ENV THIS_TEST={word}
WORKDIR /app
COPY npm /usr/local/bin/npm
COPY . .
RUN npm ci
"""
NPM = "#!/bin/sh\nmkdir -p node_modules/a && cat package-lock.json > node_modules/a/index.js\n"


def test_an_ignore_file_and_the_order_that_it_makes_possible_are_proven_one_after_the_other(
    engine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_base_image(engine, BUSYBOX)
    monkeypatch.setenv("DEVLOOP_STATE_DIR", str(tmp_path / "state"))
    repository = Repository.new(tmp_path / "shop")
    repository.commit(
        {
            "Dockerfile": DOCKERFILE.format(base=BUSYBOX, word=secrets.token_hex(4)),
            "npm": NPM,
            "package.json": "{}",
            "package-lock.json": "{}",
            "server.js": "1\n",
            "README.md": "a\n",
            ".gitignore": "node_modules\n",
        }
    )
    (repository.root / "npm").chmod(0o755)
    for number in range(6):
        repository.commit({"README.md": f"{number}\n"})
        repository.commit({"server.js": f"{number}\n"})
    modules = repository.root / "node_modules" / "b"
    modules.mkdir(parents=True)
    (modules / "index.js").write_text("of the host\n")
    kept = {"no-ignore-file", "context-junk", "source-before-install"}
    only = Settings(doctor=DoctorSettings(ignore=sorted(FINDINGS - kept)))
    workspace = repository.workspace(settings=only)
    with Trial.open(os.environ) as trial:
        proving = Proving(trial)
        found = examine(workspace, proving)
        one = next(each for each in found.findings if each.finding.code == "no-ignore-file")
        assert one.proof is not None
        assert {check.name: check.verdict for check in one.proof.checks} == dict.fromkeys(
            ("reads", "graph", "history", "builds", "files", "configuration", "edits"), "passed"
        )
        edits = one.proof.check("edits")
        assert edits is not None
        assert edits.sentence.startswith("an edit of README.md ran RUN npm ci before and not now")
        fixes = fix(workspace, found, proving)
    codes = [each.finding.code for each in fixes.done]
    assert codes.index("no-ignore-file") < codes.index("source-before-install")
    for each in fixes.done:
        assert each.proof is not None
        assert each.proof.holds
        builds = each.proof.check("builds")
        assert builds is not None
        assert builds.verdict == "passed"
    for path, (_, after) in changes_of(workspace.location, found, fixes).items():
        path.write_bytes(after)
    assert fix(workspace, examine(workspace)).done == ()
    workspace.memory.close()
