"""What an examination found, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from devloop.doctor.model import Finding
    from devloop.doctor.proof import Proof

Measure = Literal["commits", "builds"]
"""What says how often: git's commits of people, or the builds that devloop saw here."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of the commits, or of the builds, ran a finding's steps for nothing; `weeks` is their span.

    `seconds` is what those runs took together, None where one has no price. `paths` are the changed files
    behind them, those of most runs first. `unknown` counts files that could not be seen to change: no commit
    holds them.
    """

    runs: int
    of: int
    weeks: int
    seconds: float | None = None
    paths: tuple[str, ...] = ()
    unknown: int = 0

    @property
    def runs_a_week(self) -> float:
        """How often it is in a week in which somebody works."""
        return self.runs / max(self.weeks, 1)

    @property
    def seconds_a_week(self) -> float | None:
        """What that takes in such a week."""
        return None if self.seconds is None else self.seconds / max(self.weeks, 1)


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding with what it costs and what was verified of its proposal.

    `runs_a_week` counts the needless runs, `seconds_a_week` what they take; both None where neither commits
    nor builds tell. `commits` and `builds` hold what each of the two says, and `measure` names the one that
    the week is from. `basis` says where the seconds of a run are from. `diffs` are the lines of unified
    diffs, the Dockerfile's first.
    """

    finding: Finding
    seconds_a_week: float | None = None
    runs_a_week: float | None = None
    basis: str = ""
    proof: Proof | None = None
    diffs: tuple[str, ...] = ()
    commits: Tally | None = None
    builds: Tally | None = None
    measure: Measure | None = None


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found of one project, the dearest first; `commits` None: there is no history, for `reason`.

    `builds` counts the builds after an edit that devloop saw here, in `build_weeks` weeks; `measure` names
    what the findings are weighed by. `source` and `ignore_source` are the files as they were read.
    """

    name: str
    dockerfile: str
    source: bytes
    findings: tuple[Examined, ...]
    commits: int | None = None
    weeks: int = 0
    reason: str = ""
    silenced: int = 0
    is_built: bool = False
    builds: int = 0
    build_weeks: int = 0
    measure: Measure | None = None
    ignore_source: bytes | None = None
