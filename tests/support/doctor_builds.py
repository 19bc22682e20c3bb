"""Builds the bad projects of the corpus on an engine, before and after every proposal: no fix breaks a build.

Run it with an engine; only projects that the stand-in base images can build take part:

    PYTHONPATH=tests scripts/engine run python -m support.doctor_builds [OPTIONS OF docker build] [NAME ...]
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.doctor.sameness import Expected, compare_files
from devloop.doctor.trial import read_files
from support.doctor_corpus import Patient, Project, load
from support.engine import find_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.doctor.model import Intent
    from devloop.doctor.sameness import Files

_CACHES = ("/root/.cache/pip", "/root/.npm", "/home/app/.cache/pip", "/root/.cache/go-build", "/go/pkg/mod")


class _Never:
    def is_set(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Built:
    """What became of a project: seconds of both builds, and each difference that no proposal intends."""

    before_seconds: float
    after_seconds: float
    proposals: tuple[str, ...]
    differences: tuple[str, ...]


class BuildFailedError(Exception):
    """The text holds the end of the builder's output."""


class Images:
    """Builds images under a name of its own and reads their files."""

    def __init__(self, environ: Mapping[str, str], options: Sequence[str] = ()) -> None:
        self._environ = dict(environ)
        self._options = options
        self._name = f"devloop-corpus-{uuid.uuid4().hex[:8]}"
        self._count = 0

    def build(self, folder: Path, dockerfile: str) -> str:
        self._count += 1
        tag = f"{self._name}:{self._count}"
        done = subprocess.run(
            [
                "docker",
                "build",
                "--quiet",
                "--no-cache",
                "--tag",
                tag,
                "--file",
                dockerfile,
                *self._options,
                ".",
            ],
            cwd=folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode != 0:
            raise BuildFailedError(done.stderr[-2000:])
        return tag

    def files(self, tag: str) -> Files:
        container = self._docker("create", tag, "true").strip()
        try:
            with subprocess.Popen(
                ["docker", "export", container], env=self._environ, stdout=subprocess.PIPE
            ) as exporting:
                stream = exporting.stdout
                assert stream is not None
                return read_files(iter(lambda: stream.read(1 << 18), b""), _Never())
        finally:
            self._docker("rm", "--force", container)

    def remove(self) -> None:
        for number in range(1, self._count + 1):
            subprocess.run(
                ["docker", "rmi", "--force", f"{self._name}:{number}"],
                env=self._environ,
                capture_output=True,
                check=False,
                timeout=60,
            )

    def _docker(self, *arguments: str) -> str:
        return subprocess.run(
            ["docker", *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout


@contextmanager
def images(environ: Mapping[str, str], options: Sequence[str] = ()) -> Iterator[Images]:
    made = Images(environ, options)
    try:
        yield made
    finally:
        made.remove()


def build_both(project: Project, folder: Path, made: Images) -> Built:
    """Build a project as it is and with all its proposals, and compare the files of the two images."""
    patient = Patient(project, folder)
    try:
        start = time.monotonic()
        before = made.build(folder, project.dockerfile)
        middle = time.monotonic()
        applied: list[str] = []
        written = {project.dockerfile}
        intends: set[Intent] = set()
        while finding := next((one for one in patient.findings() if one.proposal is not None), None):
            assert finding.proposal is not None
            patient.apply(finding)
            applied.append(finding.code)
            intends |= finding.proposal.intends
            written |= finding.proposal.files.keys()
            if len(applied) > len(project.labels) + 4:
                raise BuildFailedError(f"the proposals never come to an end: {applied}")
        again = time.monotonic()
        try:
            after = made.build(folder, project.dockerfile)
        except BuildFailedError as error:
            text = (folder / project.dockerfile).read_text()
            raise BuildFailedError(f"with {', '.join(applied)}:\n{text}\n{error}") from None
        end = time.monotonic()
        left_out = {
            path: hashlib.sha256(content).hexdigest()
            for path, content in project.files.items()
            if "fewer files" in intends and isinstance(content, bytes)
        }
        found = compare_files(
            made.files(before),
            made.files(after),
            Expected(frozenset(intends), left_out, frozenset(written), mounted=_CACHES),
        )
        return Built(middle - start, end - again, tuple(applied), tuple(map(str, found.differences)))
    finally:
        patient.close()


def main(arguments: list[str]) -> int:
    options = [one for one in arguments if one.startswith("--")]
    names = [one for one in arguments if not one.startswith("--")]
    chosen = [one for one in load() if one.builds and (not names or one.name in names)]
    broken = 0
    with (
        tempfile.TemporaryDirectory(prefix="devloop-corpus-") as folder,
        images(find_environment(), options) as made,
    ):
        for at, project in enumerate(chosen):
            try:
                built = build_both(project, Path(folder) / str(at), made)
            except BuildFailedError as error:
                broken += 1
                sys.stdout.write(f"{project.name}: broken\n{error}\n")
                continue
            broken += bool(built.differences)
            sys.stdout.write(
                f"{project.name}: {built.before_seconds:.1f}s, then {built.after_seconds:.1f}s with"
                f" {', '.join(built.proposals) or 'nothing'}; {len(built.differences)} differences\n"
            )
            sys.stdout.writelines(f"  {text}\n" for text in built.differences[:12])
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} projects built twice, {broken} of them broken or different\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
