"""How long a step will take: measured here, else like steps of its kind here, else a prior.

A median resists the one build that ran while the laptop was asleep, and the range beside it says how far the
runs lie apart. A prior is a guess about a machine that was never seen, and the note of the estimate says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from devloop.cost.classify import Classification

Node = TypeVar("Node", bound="Hashable")

RECENT_RUNS = 9
"""Runs that the median looks at: enough to be robust, few enough to follow a project that grows."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected seconds with a range. `seconds` is None where only a measurement could tell."""

    seconds: float | None
    low: float | None
    high: float | None
    seconds_from: Literal["measured", "estimate"] | None
    runs: int
    note: str
    basis: str = ""
    """Where the seconds are from, without them: `4 runs`, `never built here`."""


# Seconds low, typical, high of steps that are not RUN, on a warm local builder.
INSTRUCTION_PRIORS: Mapping[str, tuple[float, float, float]] = {
    "COPY": (0.1, 0.3, 10.0),  # the high end is a context with .git or node_modules in it
    "ADD": (0.1, 0.5, 20.0),  # may unpack an archive or fetch a URL
    "WORKDIR": (0.0, 0.1, 0.3),  # makes one directory
    "FROM": (0.0, 0.1, 2.0),  # a base that is here already; a pull is priced by the caller
}


def estimate_step(
    durations: Sequence[float],
    kind_durations: Sequence[float],
    classification: Classification | None,
    instruction: str,
) -> Estimate:
    """Estimate one step from the runs of itself, else of its kind, else from the priors.

    Both sequences are newest first. The kinds "opaque" and "unknown" put unlike steps together, so their runs
    say nothing about this one; instructions without a layer cost nothing.
    """
    if durations:
        return _measured(durations)
    if instruction not in {"RUN", *INSTRUCTION_PRIORS}:
        return Estimate(0.0, 0.0, 0.0, "estimate", 0, "changes only the image's metadata")
    is_comparable = classification is None or classification.kind not in {"opaque", "unknown"}
    if kind_durations and is_comparable:
        return _like_its_kind(kind_durations, classification)
    if instruction in INSTRUCTION_PRIORS:
        low, seconds, high = INSTRUCTION_PRIORS[instruction]
        return Estimate(seconds, low, high, "estimate", 0, _never_built(seconds), NEVER_BUILT)
    if classification is None or classification.seconds is None:
        return Estimate(None, None, None, None, 0, "unknown until it has run once")
    return Estimate(
        classification.seconds,
        classification.seconds_low,
        classification.seconds_high,
        "estimate",
        0,
        _never_built(classification.seconds),
        NEVER_BUILT,
    )


def critical_path(nodes: Mapping[Node, tuple[float, Sequence[Node]]]) -> float:
    """Sum the seconds along the longest chain of predecessors: what a build with free cores takes.

    Predecessors that are not in `nodes` cost nothing (they are cached or outside the target). The graph of
    a Dockerfile has no cycle; a chain that meets itself ends there.
    """
    done: dict[Node, float] = {}
    entered: set[Node] = set()
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            seconds, predecessors = nodes[node]
            waiting = [p for p in predecessors if p in nodes and p not in entered]
            if node not in entered and waiting:
                entered.add(node)
                stack.extend(waiting)
                continue
            entered.add(node)
            stack.pop()
            done[node] = seconds + max((done.get(p, 0.0) for p in predecessors), default=0.0)
    return max(done.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class BuildOverhead:
    """What a build took beyond its longest chain of steps: start, lookups, context, export.

    `ran` are the keys of the steps that ran.
    """

    ran: frozenset[str]
    seconds: float


def estimate_overhead(builds: Sequence[BuildOverhead], runs: frozenset[str]) -> float | None:
    """Estimate the overhead of a build in which these steps run, from earlier ones, newest first.

    Those builds tell whose steps are most like these, because what is exported is what the steps made. None
    where no build is known.
    """
    if not builds:
        return None
    likeness = [_likeness(one.ran, runs) for one in builds]
    nearest = max(likeness)
    chosen = [one.seconds for one, like in zip(builds, likeness, strict=True) if like == nearest]
    return median(chosen[:RECENT_RUNS])


def _likeness(first: frozenset[str], second: frozenset[str]) -> float:
    """Return the share of steps that ran in both; builds in which anything ran are a little alike."""
    if not first or not second:
        return float(first == second)
    return (1 + len(first & second)) / (1 + len(first | second))


def _measured(durations: Sequence[float]) -> Estimate:
    recent = durations[:RECENT_RUNS]
    seconds = median(recent)
    runs = f"{len(durations)} run{'s' if len(durations) != 1 else ''}"
    note = f"measured {format_seconds(seconds)}, {runs}"
    return Estimate(seconds, min(recent), max(recent), "measured", len(durations), note, f"measured, {runs}")


def _like_its_kind(kind_durations: Sequence[float], classification: Classification | None) -> Estimate:
    recent = sorted(kind_durations[:RECENT_RUNS])
    seconds = median(recent)
    name = f"{classification.kind} " if classification is not None else ""
    basis = f"like {len(recent)} {name}step{'s' if len(recent) != 1 else ''} on this machine"
    note = f"estimate {format_seconds(seconds)} ({basis})"
    return Estimate(seconds, recent[0], recent[-1], "estimate", 0, note, basis)


NEVER_BUILT = "never built here"


def _never_built(seconds: float) -> str:
    return f"estimate {format_seconds(seconds)} ({NEVER_BUILT})"


def format_bytes(size: int) -> str:
    """Write bytes in the decimal units of docker: `640 B`, `3.2 kB`, `87 MB`."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < _A_THOUSAND:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if amount >= _TWO_DIGITS or unit == "B" else f"{amount:.1f} {unit}"


_A_THOUSAND = 999.5
_TWO_DIGITS = 9.95


SHORTEST = 0.05
"""What takes less is not told from nothing."""


def format_seconds(seconds: float) -> str:
    """Write seconds as people read them: `under 0.1 s`, `0.3 s`, `38.2 s`, `20 s`, `4 min 10 s`."""
    if seconds < SHORTEST:
        return "under 0.1 s"
    if seconds >= 99.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    text = f"{seconds:.1f}"
    return f"{text.removesuffix('.0')} s"
