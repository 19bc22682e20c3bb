"""Which kind of work a RUN step does, and whether losing its cache entry hurts.

Every command of the step is looked up; the step is as expensive as its most expensive command. Spellings name
a kind of work, never its size, so that the seconds are a prior until the step has run here. A local script
hides its work: the step is opaque, and only a measurement can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from devloop.cost.priors import CHEAP_PROGRAMS, PRIORS, Bound, Prior, matches
from devloop.cost.shell import Command, commands_of, commands_of_words, positionals, program_name

if TYPE_CHECKING:
    from collections.abc import Sequence

THRESHOLD_SECONDS = 5.0
"""A step that costs at least this is worth a warning."""

CHEAP_KIND = "cheap"
OPAQUE_KIND = "opaque"
UNKNOWN_KIND = "unknown"

_CHEAP_SECONDS = (0.1, 0.3, 2.0)
_SECOND_PHASE_SECONDS = (0.5, 3.0, 40.0)
_POSIX_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})

# Programs that run the project's own code, of which their arguments say little.
_RUN_OTHER_CODE = frozenset(
    {
        "sh",
        "bash",
        "dash",
        "ash",
        "zsh",
        "ksh",
        "python",
        "pypy",
        "node",
        "ruby",
        "perl",
        "php",
        "java",
        "deno",
    }
    | {
        "make",
        "gmake",
        "ninja",
        "just",
        "task",
        "npm",
        "pnpm",
        "yarn",
        "bun",
        "rake",
        "rails",
        "invoke",
        "nox",
    }
    | {"tox", "poe", "hatch", "pants", "earthly", "dagger", "lua", "tsx", "ts-node", "Rscript", "R", "julia"}
)


@dataclass(frozen=True, slots=True)
class Classification:
    """What is known of a RUN step from its text.

    `kind`, `family` and `bound` are those of its most expensive command; `kinds` and `families` are all of
    them, in reading order. `expensive` is None where only a measurement can tell. `reason` is one clause for
    a person. `said` is what a row of the user's own says of the step; it counts more than a measurement.
    """

    kind: str
    family: str | None
    bound: Bound
    expensive: bool | None
    seconds: float | None
    seconds_low: float | None
    seconds_high: float | None
    reason: str
    commands: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    is_second_phase: bool = False
    has_cache_mount: bool = False
    said: bool | None = None

    @property
    def comparable_kind(self) -> str | None:
        """The name under which runs of different steps may be compared; None where their work is hidden.

        A step that installs two kinds of packages is like others that install both, and neither a cache
        mount nor a second phase is like the full work.
        """
        if self.expensive is None or not {OPAQUE_KIND, UNKNOWN_KIND}.isdisjoint(self.kinds):
            return None
        name = "+".join(sorted(kind for kind in self.kinds if kind != CHEAP_KIND)) or CHEAP_KIND
        marks = ("/second" if self.is_second_phase else "") + ("/mount" if self.has_cache_mount else "")
        return name + marks


def classify(
    command: str | tuple[str, ...],
    *,
    shell: tuple[str, ...] = ("/bin/sh", "-c"),
    has_cache_mount: bool = False,
    earlier: Sequence[Classification] = (),
    source_copied_since: bool = False,
    table: Sequence[Prior] = PRIORS,
    threshold_seconds: float = THRESHOLD_SECONDS,
) -> Classification:
    """Classify a RUN step: a text for the stage's shell (with its heredocs), or the words of its exec form.

    `earlier` are the RUN steps before it on the same stage chain. With `source_copied_since`, a command whose
    family already installed there only links the project: cheap, until measured. A cache mount leaves a share
    of the prior cost. `expensive` compares the prior median with `threshold_seconds`.
    """
    if isinstance(command, tuple):
        commands = commands_of_words(command)
    elif _is_posix(shell):
        commands = commands_of(_without_options(command))
    else:
        # PowerShell and cmd share the separators that matter here.
        commands = commands_of(command.replace("\\", "/"))
    earlier_kinds = {kind for one in earlier for kind in one.kinds} if source_copied_since else set()
    verdicts = [
        replace(
            _verdict(one, table, earlier_kinds, has_cache_mount=has_cache_mount),
            is_conditional=one.is_conditional,
        )
        for one in commands
    ]
    return _combined(verdicts, threshold_seconds, has_cache_mount=has_cache_mount)


def manifest_family(path: str, table: Sequence[Prior] = PRIORS) -> tuple[str, ...]:
    """Name the families that install from this file, sorted: `package.json` is bun, npm, pnpm and yarn."""
    name = path.rsplit("/", 1)[-1]
    tail = "/".join(path.split("/")[-2:])
    found = {
        prior.family
        for prior in table
        for manifest in prior.manifests
        if fnmatchcase(tail if "/" in manifest else name, manifest)
    }
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one command of the step is. `seconds` is None where its work is hidden."""

    label: str
    kind: str
    family: str | None
    bound: Bound
    seconds: tuple[float, float, float] | None
    reason: str
    is_second_phase: bool = False
    is_conditional: bool = False
    said: bool | None = None


def _verdict(
    command: Command, table: Sequence[Prior], earlier_kinds: set[str], *, has_cache_mount: bool
) -> _Verdict:
    if not command.words:
        return _cheap("assignment", None, "only sets variables")
    for prior in table:
        for spelling, why in prior.cheap:
            if matches(spelling, command):
                return _cheap(_label(command), prior.family, why)
        if any(matches(spelling, command) for spelling in prior.spellings):
            return _priced(_label(command), prior, earlier_kinds, has_cache_mount=has_cache_mount)
    for programs, why in CHEAP_PROGRAMS:
        if command.program in programs.split("|"):
            return _cheap(command.program, None, why)
    return _hidden(command)


def _cheap(label: str, family: str | None, why: str) -> _Verdict:
    return _Verdict(label, CHEAP_KIND, family, "none", _CHEAP_SECONDS, f"{label}: {why}")


def _priced(label: str, prior: Prior, earlier_kinds: set[str], *, has_cache_mount: bool) -> _Verdict:
    if not earlier_kinds.isdisjoint(prior.after):
        reason = f"{label}: second phase, an earlier step installed the dependencies"
        return _Verdict(
            label, prior.kind, prior.family, prior.bound, _SECOND_PHASE_SECONDS, reason, is_second_phase=True
        )
    share = prior.warm if has_cache_mount else 1.0
    low, median, high = (part * share for part in prior.seconds)
    reason = f"{label}: {prior.reason}" + ("; a cache mount keeps part of it" if has_cache_mount else "")
    return _Verdict(
        label,
        prior.kind,
        prior.family or None,
        prior.bound,
        (low, median, high),
        reason,
        said=prior.expensive,
    )


def _hidden(command: Command) -> _Verdict:
    is_script = "/" in command.words[0] or "." in command.program or command.program in _RUN_OTHER_CODE
    # A quoted line in the place of a program is a mistake; only its first word is shown.
    program = (command.program.split() or ["a command"])[0]
    if is_script:
        reason = f"{program}: its work cannot be seen from here, the first build measures it"
        return _Verdict(program, OPAQUE_KIND, None, "unknown", None, reason)
    return _Verdict(
        program, UNKNOWN_KIND, None, "unknown", None, f"{program}: not a command that devloop knows"
    )


def _label(command: Command) -> str:
    """Name a command of the table: program and subcommand, never an argument that could hold a secret."""
    plain = positionals(command)
    has_subcommand = bool(plain) and plain[0].replace("-", "").replace(":", "").replace(".", "").isalpha()
    return f"{command.program} {plain[0]}" if has_subcommand else command.program


def _combined(
    verdicts: Sequence[_Verdict], threshold_seconds: float, *, has_cache_mount: bool
) -> Classification:
    priced = [verdict for verdict in verdicts if verdict.seconds is not None]
    hidden = [verdict for verdict in verdicts if verdict.seconds is None]
    costly = [verdict for verdict in priced if verdict.kind != CHEAP_KIND]
    first_phase = [verdict for verdict in costly if not verdict.is_second_phase]
    undecided = [verdict for verdict in first_phase if verdict.said is None]
    is_expensive = any(verdict.said for verdict in costly) or (
        bool(undecided) and _total(undecided)[1] >= threshold_seconds
    )
    kinds = tuple(dict.fromkeys(verdict.kind for verdict in verdicts))
    families = tuple(dict.fromkeys(verdict.family for verdict in verdicts if verdict.family))
    labels = tuple(verdict.label for verdict in verdicts)
    is_second_phase = bool(costly) and not first_phase
    if hidden and not is_expensive:
        decisive = hidden[0]
        expensive, low, seconds, high = None, None, None, None
    else:
        # Of equals the first: `max` keeps it.
        decisive = max(
            first_phase if is_expensive else priced or [_NOTHING], key=lambda one: (one.seconds or _NONE)[1]
        )
        expensive = is_expensive
        low, seconds, high = _total(costly or [decisive])
    return Classification(
        kind=decisive.kind,
        family=decisive.family,
        bound=decisive.bound,
        expensive=expensive,
        seconds=seconds,
        seconds_low=low,
        seconds_high=high,
        reason=decisive.reason,
        commands=labels,
        kinds=kinds,
        families=families,
        is_second_phase=is_second_phase,
        has_cache_mount=has_cache_mount,
        said=_said(verdicts),
    )


def _said(verdicts: Sequence[_Verdict]) -> bool | None:
    """Return the word of the user about a step: a row that is expensive makes all of it so.

    One that is not says nothing of the other commands.
    """
    if any(verdict.said for verdict in verdicts):
        return True
    is_all = all(verdict.said is False or verdict.kind == CHEAP_KIND for verdict in verdicts)
    return False if is_all and any(verdict.said is False for verdict in verdicts) else None


def _total(verdicts: Sequence[_Verdict]) -> tuple[float, float, float]:
    """Add up different families. Within one the largest counts: an install includes its `update`.

    Of commands in branches only the largest counts: `if yarn.lock ... elif pnpm-lock.yaml ...` takes one.
    """
    largest: dict[str | None, tuple[float, float, float]] = {}
    branch = _NONE
    for verdict in verdicts:
        seconds = verdict.seconds or _NONE
        if verdict.is_conditional:
            branch = max(seconds, branch, key=_median)
        else:
            largest[verdict.family] = max(seconds, largest.get(verdict.family, _NONE), key=_median)
    low, median, high = (sum(three[part] for three in (*largest.values(), branch)) for part in range(3))
    return low, median, high


def _median(seconds: tuple[float, float, float]) -> float:
    return seconds[1]


def _is_posix(shell: tuple[str, ...]) -> bool:
    return not shell or program_name(shell[0]) in _POSIX_SHELLS


def _without_options(text: str) -> str:
    """Drop `--mount=...` and its like, which stand before the command in a RUN instruction."""
    while True:
        stripped = text.lstrip()
        name = stripped.split("=", 1)[0]
        if name not in {"--mount", "--network", "--security", "--device"}:
            return text
        _, _, text = stripped.partition(" ")


_NONE = (0.0, 0.0, 0.0)
_NOTHING = _cheap("shell settings", None, "nothing runs")
