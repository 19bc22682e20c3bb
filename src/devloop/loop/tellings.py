"""What a session has said already, so that it says nothing twice that the user has read.

A warning is the same as one before it if it is of the same step, under the same code and with the same way
out, whichever file was saved. Only the warnings of the last plan that had any are compared: after another
warning came between them, a user may want to read the first one again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from devloop.dockerfile.instructions import Dockerfile
from devloop.dockerfile.silence import silences
from devloop.loop import events
from devloop.plan.codes import CODES
from devloop.plan.model import Plan, Warned


@dataclass(slots=True)
class Tellings:
    """The memory of one session."""

    heavy: Warned | None = None
    """What is to be said of the context with the next plan; it is said once."""
    _has_told_weight: bool = False
    _last: frozenset[tuple[str, ...]] = frozenset()
    _unknown: set[tuple[int, str]] = field(default_factory=set)

    @property
    def wants_weight(self) -> bool:
        """Whether this session has not yet said anything of a heavy context."""
        return not self._has_told_weight

    def marked(self, plan: Plan) -> Plan:
        """Mark the warnings of a plan that the plan before it with warnings had as well."""
        if plan.warnings:
            warnings = tuple(replace(one, repeats=_sameness(one) in self._last) for one in plan.warnings)
            self._last = frozenset(map(_sameness, warnings))
            plan = replace(plan, warnings=warnings)
        if self.heavy is not None:
            plan = replace(plan, warnings=(*plan.warnings, self.heavy))
            self.heavy, self._has_told_weight = None, True
        return plan

    def unknown_codes(self, dockerfile: Dockerfile, configured: Iterable[str]) -> Sequence[events.Problem]:
        """Say which codes silence nothing, because there is no such warning; each is said once."""
        found = [(0, code) for code in configured if code.lower() not in CODES]
        found += silences(dockerfile).unknown(CODES)
        said = []
        for line, code in found:
            if (line, code) not in self._unknown:
                self._unknown.add((line, code))
                said.append(_unknown_code(line, code, dockerfile.file))
        return said


def _sameness(warned: Warned) -> tuple[str, ...]:
    return warned.code, warned.instruction, warned.text, warned.way_out, warned.manifest


def _unknown_code(line: int, code: str, dockerfile: str) -> events.Problem:
    import difflib

    where = f"{dockerfile}:{line}" if line else "silence"
    close = difflib.get_close_matches(code.lower(), sorted(CODES), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known codes: {', '.join(sorted(CODES))}"
    what = f"no warning has the code {code!r}" if code else "the comment names no code"
    kind: events.ProblemKind = "dockerfile" if line else "config"
    return events.Problem(kind, f"{where}: {what}", hint=hint, severity="note")
