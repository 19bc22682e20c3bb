"""What single rules of the doctor say about a project that a test writes, as text to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.doctor import diff_of, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from devloop.doctor.model import Finding, Rule, Subject
    from devloop.project.settings import Settings


class Patient:
    """A project with the findings of some rules."""

    def __init__(self, read: Subject, rules: Sequence[Rule]) -> None:
        self.subject = read
        self.findings = [finding for rule in rules for finding in rule(read)]

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]

    def only(self, code: str) -> Finding:
        """Return the one finding of this code."""
        found = [finding for finding in self.findings if finding.code == code]
        assert len(found) == 1, self.codes
        return found[0]

    def changes(self, code: str) -> str:
        """Return the lines that the one finding of this code takes away and puts in."""
        lines = diff_of(self.subject, self.only(code)).split("\n")[2:]
        return "\n".join(line for line in lines if line.startswith(("+", "-")))

    def written(self, code: str, path: str = ".dockerignore") -> str:
        """Return what the one finding of this code wants a file to hold."""
        proposal = self.only(code).proposal
        assert proposal is not None, self.only(code).stops
        return proposal.files[path].decode()

    def stops(self, code: str) -> str:
        """Return why the one finding of this code has no proposal."""
        finding = self.only(code)
        assert finding.proposal is None, finding.proposal
        return finding.stops


def examiner(folder: Path, rules: Sequence[Rule]) -> Callable[..., Patient]:
    """Return a function from a Dockerfile and files to the findings of the rules."""
    count = 0

    def examine(
        dockerfile: str, files: Mapping[str, str | bytes] | None = None, *, settings: Settings | None = None
    ) -> Patient:
        nonlocal count
        count += 1
        return Patient(subject(folder / str(count), dockerfile, files, settings=settings), rules)

    return examine
