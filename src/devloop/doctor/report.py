"""What an examination found, for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devloop.doctor.model import Finding
    from devloop.doctor.proof import Proof


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding with what it costs and what was verified of its proposal.

    `runs_a_week` counts the needless runs, `seconds_a_week` what they take; both None without a history.
    `basis` says where the seconds are from. `diffs` are the lines of unified diffs, the Dockerfile's first.
    """

    finding: Finding
    seconds_a_week: float | None = None
    runs_a_week: float | None = None
    basis: str = ""
    proof: Proof | None = None
    diffs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found of one project, the dearest first; `commits` None: there is no history, for `reason`."""

    name: str
    dockerfile: str
    source: bytes
    findings: tuple[Examined, ...]
    commits: int | None = None
    weeks: int = 0
    reason: str = ""
    silenced: int = 0
    is_built: bool = False

    @property
    def seconds_a_week(self) -> float:
        """The dearest that can be saved; proposals overlap, so they are not added up."""
        return max((one.seconds_a_week or 0.0 for one in self.findings), default=0.0)
