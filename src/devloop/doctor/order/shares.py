"""What of a step's time is for its dependencies, and moves up with them, and what stays with the source.

Nobody has measured the parts of one RUN. The estimates of both kinds of work divide what the whole step
takes, and the source never gets less than a share of it, so that a saving is rather told too small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devloop.cost.priors import PRIORS
from devloop.doctor.order.passing import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devloop.doctor.order.items import Item

_LEAST_OF_A_BUILD: Final = 0.2
_LEAST_OF_AN_INSTALL: Final = 0.1


def shares_of(item: Item) -> tuple[float, float] | None:
    """Return the seconds that a step spends on dependencies and on the source; None where it has no price."""
    seconds = item.priced.cost.seconds if item.priced is not None else None
    if item.priced is None or seconds is None:
        return None
    work = item.reading
    if work.split is not None and work.split.insert:
        above = min(_prior_seconds([work.split.kind]), seconds * (1 - _LEAST_OF_A_BUILD))
    elif work.split is not None:
        above = seconds * (1 - _LEAST_OF_AN_INSTALL)
    elif work.source:
        known = _prior_seconds(work.kinds)
        others = _prior_seconds(kinds_of(item.priced) - work.kinds)
        above = min(seconds * known / ((known + others) or 1.0), seconds * (1 - _LEAST_OF_A_BUILD))
    else:
        above = seconds
    return above, seconds - above


def _prior_seconds(kinds: Iterable[str]) -> float:
    wanted = frozenset(kinds)
    return sum(prior.seconds[1] for prior in PRIORS if prior.kind in wanted)
