"""Values of variables in a Dockerfile, and the commits that gave one of them another value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.dockerfile.instructions import Dockerfile
    from devloop.doctor.model import Finding, Subject

Values = dict[str, tuple[str | None, ...]]
"""What ARG and ENV give to each name, in the order of the file; None where ARG has no default."""

_COMMIT_NAME: Final = re.compile(
    r"(?:.*_)?(?:SHA1?|COMMIT(?:_?(?:SHA|HASH|ID))?|GIT_?(?:SHA|COMMIT|HASH|REV|REVISION|DESCRIBE)|REVISION|VCS_REF)"
)
"""Variables of the commit that is built: a new value with each of them."""


@dataclass(frozen=True, slots=True)
class NewValues:
    """When variables get another value: `commits` gave them one in the Dockerfile.

    `is_constant` tells that nothing but the Dockerfile can, `is_commit_name` that one of them names the
    commit that is built.
    """

    commits: frozenset[str] = frozenset()
    is_constant: bool = False
    is_commit_name: bool = False


def values_in(dockerfile: Dockerfile) -> Values:
    """Return what the instructions of a file give to each name, as written."""
    found: dict[str, list[str | None]] = {}
    for instruction in dockerfile.instructions:
        for name, value in _pairs(instruction):
            found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def _pairs(instruction: ins.Instruction) -> tuple[tuple[str, str | None], ...]:
    if isinstance(instruction, ins.Arg):
        return tuple(instruction.items)
    return tuple(instruction.pairs) if isinstance(instruction, ins.Env) else ()


def differing(before: Values, after: Values) -> frozenset[str]:
    """Return the names that both have, with other values."""
    return frozenset(name for name in before.keys() & after.keys() if before[name] != after[name])


def new_values(subject: Subject, finding: Finding, changed: Mapping[str, frozenset[str]]) -> NewValues:
    """Tell when the variables of a finding get another value; `changed` are commits by name."""
    words = set(re.findall(r"\w+", finding.title))
    names: set[str] = set()
    is_given = False
    for instruction in subject.dockerfile.instructions:
        if not finding.first_line <= instruction.span.first <= finding.last_line:
            continue
        for name, value in _pairs(instruction):
            if name in words:
                names.add(name)
                # An ARG may be given at any build, and so may what an ENV is made from.
                is_given |= isinstance(instruction, ins.Arg) or "$" in (value or "")
    commits = frozenset(one for name in names for one in changed.get(name, ()))
    return NewValues(
        commits,
        is_constant=bool(names) and not is_given,
        is_commit_name=any(_COMMIT_NAME.fullmatch(name.upper()) for name in names),
    )
