"""Builds the projects of the corpus on an engine, before and after the proposals: no fix breaks a build.

Run it with an engine:

    PYTHONPATH=tests scripts/engine run python -m support.doctor_builds [NAME ...]

Each project is built as it stands. One that this engine cannot build is not counted: its base is not there,
a lock of it is made up, or a registry is out of reach. The sum of all proposals is then put to the same proof
as a single one: it has to build, and what the image holds and how it is started must be equal but for what
the proposals intend. A base that the engine has not got goes by the name of one that is like it meanwhile.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from devloop.dockerfile.instructions import From
from devloop.doctor.model import LineEdit, Proposal
from devloop.doctor.proof import Limits, Proof, prove
from devloop.doctor.trial import Trial
from support.doctor_corpus import Patient, Project, load
from support.engine import find_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.doctor.model import Intent, Subject

Outcome = Literal[
    "no base", "does not build", "nothing to do", "equal", "different", "not verified", "broken"
]
"""Only what does not build any more is broken; of what is different, the proof would not offer it."""

_MOST_FIXES = 12
_SECONDS: Final = 240.0

LIKENESSES: Final = (
    (r"python(?::3|$)", "python:3.11-slim"),
    (r"node(?::|$)", "node:20-slim"),
    (r"golang(?::|$)", "golang:1.19-bookworm"),
    (r"rust(?::|$)", "rust:1.85-bookworm"),
    (r"maven(?::|$)", "maven:3.8-eclipse-temurin-17"),
    (r"eclipse-temurin(?::|$)", "maven:3.8-eclipse-temurin-17"),
    (r"(?:debian|ubuntu|buildpack-deps|gcr\.io/distroless/[\w.-]+)(?::|$)", "debian:bookworm-slim"),
    (r"(?:alpine|busybox|nginx|caddy|httpd|redis)(?::|$)", "devloop-test-busybox:latest"),
)
"""What stands in for a base that is not there, by the beginning of its name: programs of the same kind."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a project, with the codes of what was proposed and a line for each thing to say."""

    project: Project
    outcome: Outcome
    codes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def build_both(project: Project, folder: Path, bases: Bases, trial: Trial) -> Judged:
    """Build a project as it is and with all its proposals, and hold the one against the other."""
    patient = Patient(project, folder)
    patient.settings = replace(patient.settings, network="host")
    try:
        subject = patient.subject()
        missing = [name for name in _bases(subject) if not bases.give(name)]
        if missing:
            return Judged(project, "no base", details=(f"no {', '.join(missing)}",))
        proposal, codes = _sum_of_all(patient)
        # The texts as they were: what was applied was a way to learn the sum.
        project.write(folder)
        for path in proposal.files.keys() - project.files.keys():
            (folder / path).unlink()
        edited = [path for claim in project.afterwards for path in claim.spares][:1]
        proof = prove(
            patient.workspace(),
            subject.source,
            proposal,
            engine=trial,
            edits=edited,
            limits=Limits(build_seconds=_SECONDS, seconds=4 * _SECONDS),
        )
        return _judged(project, codes, proof)
    finally:
        patient.close()


def _judged(project: Project, codes: tuple[str, ...], proof: Proof) -> Judged:
    failed = [one for one in proof.checks if one.verdict == "failed"]
    built = proof.check("builds")
    if built is not None and built.verdict == "not verified":
        return Judged(project, "does not build", codes, (built.sentence, *built.details[-2:]))
    if not codes:
        return Judged(project, "nothing to do")
    if failed:
        texts = [line for one in failed for line in (f"{one.name}: {one.sentence}", *one.details)]
        is_broken = failed[0].name in {"reads", "builds"}
        return Judged(project, "broken" if is_broken else "different", codes, tuple(texts))
    files = proof.check("files")
    if files is None or files.verdict != "passed":
        return Judged(project, "not verified", codes, (files.sentence, *files.details) if files else ())
    doubts = [f"{one.name}: {one.sentence}" for one in proof.checks if one.verdict == "not verified"]
    quiet = ("history", "start", "edits: no edit was given")
    return Judged(project, "equal", codes, tuple(one for one in doubts if not one.startswith(quiet)))


def _sum_of_all(patient: Patient) -> tuple[Proposal, tuple[str, ...]]:
    """Apply one proposal after the other, and return them as one."""
    before = patient.subject().source
    codes: list[str] = []
    files: dict[str, bytes] = {}
    intends: set[Intent] = set()
    for _ in range(_MOST_FIXES):
        finding = next((one for one in patient.findings() if one.proposal is not None), None)
        if finding is None or finding.proposal is None:
            break
        patient.apply(finding)
        codes.append(finding.code)
        files |= finding.proposal.files
        intends |= finding.proposal.intends
    after = (patient.folder / patient.project.dockerfile).read_bytes()
    lines = len(before.splitlines())
    edits = (LineEdit(1, lines, after),) if after != before else ()
    if not codes:
        # A blank line changes nothing, and lets the project be built as every other one.
        edits = (LineEdit(lines + 1, lines, b"\n"),)
    return Proposal(edits, files, frozenset(intends)), tuple(codes)


def _bases(subject: Subject) -> list[str]:
    stages = [one for one in subject.dockerfile.instructions if isinstance(one, From)]
    graph = subject.model.graph
    named = [stage.base_reference for stage in graph.stages if stage.base == "image"]
    assert stages
    return list(dict.fromkeys(named))


class Bases:
    """The images that Dockerfiles start from; names that are given here are taken away in the end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._given: list[str] = []
        self._known: dict[str, bool] = {}

    def give(self, name: str) -> bool:
        """Make sure that there is an image of this name; False where nothing is like it."""
        if name not in self._known:
            self._known[name] = self._is_there(name) or self._stand_in(name)
        return self._known[name]

    def close(self) -> None:
        for name in self._given:
            self._docker("rmi", "--no-prune", name)

    def _stand_in(self, name: str) -> bool:
        like = next((one for pattern, one in LIKENESSES if re.match(pattern, name)), None)
        if like is None or "@" in name or not self._is_there(like):
            return False
        if not self._docker("tag", like, name):
            return False
        self._given.append(name)
        return True

    def _is_there(self, name: str) -> bool:
        return self._docker("image", "inspect", name)

    def _docker(self, *arguments: str) -> bool:
        done = subprocess.run(
            ["docker", *arguments], env=self._environ, capture_output=True, check=False, timeout=60
        )
        return done.returncode == 0


@contextmanager
def bases(environ: Mapping[str, str]) -> Iterator[Bases]:
    made = Bases(environ)
    try:
        yield made
    finally:
        made.close()


def report(judged: Sequence[Judged]) -> list[str]:
    """Say how many were built before and after, and how many of them are broken or different."""
    tally = Counter(one.outcome for one in judged)
    left_out = tally["no base"] + tally["does not build"]
    changed = len(judged) - left_out - tally["nothing to do"]
    return [
        f"{len(judged)} projects: {len(judged) - left_out} built before, {left_out} cannot be built here",
        f"{changed} of them changed: {changed - tally['broken']} built after, {tally['broken']} broken",
        f"{tally['equal']} are equal, {tally['different']} different, {tally['not verified']} not verified",
    ]


def main(names: list[str]) -> int:
    chosen = [one for one in load() if not names or one.name in names]
    environ = find_environment()
    judged: list[Judged] = []
    with (
        tempfile.TemporaryDirectory(prefix="devloop-corpus-") as folder,
        bases(environ) as given,
        Trial.open({**os.environ, **environ}) as trial,
    ):
        os.environ["DEVLOOP_STATE_DIR"] = f"{folder}/state"
        for at, project in enumerate(chosen):
            one = build_both(project, Path(folder) / str(at), given, trial)
            judged.append(one)
            sys.stdout.write(
                f"{project.name}: {one.outcome}{'; ' if one.codes else ''}{', '.join(one.codes)}\n"
            )
            sys.stdout.writelines(f"    {text}\n" for text in one.details[:8])
            sys.stdout.flush()
    sys.stdout.write("\n".join(["", *report(judged)]) + "\n")
    due = [one for one in judged if one.project.builds and one.outcome in {"no base", "does not build"}]
    sys.stdout.writelines(f"{one.project.name} has to build here, and does not\n" for one in due)
    return 1 if due or any(one.outcome in {"broken", "different"} for one in judged) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
