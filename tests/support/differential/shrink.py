"""Makes a failing case small: a piece is left out for good whenever the case still fails without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.differential.case import smaller

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.differential.case import Case


def shrink(case: Case, fails: Callable[[Case], bool], *, tries: int = 150) -> Case:
    """Return a case that still fails and from which no single piece can be taken, or the best of `tries`."""
    left = tries
    at = 0
    while left > 0:
        candidates = smaller(case)
        if at >= len(candidates):
            return case
        left -= 1
        if fails(candidates[at]):
            case = candidates[at]
        else:
            at += 1
    return case
