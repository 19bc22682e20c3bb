"""Runs every rule over a project, tries what each proposes, and carries it out.

Findings are sorted by what they cost a week; where neither commits nor builds tell how often their steps run,
by the seconds of one needless run, and that is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from devloop.dockerfile.silence import silences
from devloop.doctor import (
    rules_command,
    rules_context,
    rules_hygiene,
    rules_manifest,
    rules_mounts,
    rules_order,
    rules_stages,
    rules_variables,
)
from devloop.doctor.edits import EditsClash, apply_edits, unified_diff
from devloop.doctor.other_linters import told_to_others
from devloop.doctor.proof import Limits, prove
from devloop.doctor.replay import is_manifest
from devloop.doctor.report import Examination, Examined
from devloop.doctor.subject import ignore_path, read_subject, with_source
from devloop.doctor.weighing import (
    COMMITS,
    FEWEST_BUILDS,
    History,
    left_out,
    read_history,
    rebased,
    saving_of,
    weigh,
)
from devloop.errors import DevloopError
from devloop.project.reading import ReadingProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from devloop.doctor.model import Finding, Intent, Proposal, Rule, Subject
    from devloop.doctor.proof import Proof
    from devloop.doctor.trial import Trial
    from devloop.engine.base import Cancel
    from devloop.project.workspace import Workspace

RULES: Final[tuple[Rule, ...]] = (
    *rules_order.RULES,
    *rules_variables.RULES,
    *rules_mounts.RULES,
    *rules_context.RULES,
    *rules_hygiene.RULES,
    *rules_stages.RULES,
    *rules_command.RULES,
)
_MOST_FIXES: Final = 40
"""More than any Dockerfile needs: rules that propose for ever are stopped."""
_RANK: Final = {"security": 0, "speed": 1, "restart": 2, "size": 3}


@dataclass(frozen=True, slots=True)
class Proving:
    """How proposals are tried: with an engine they are built; only the `first` so many are, None for all.

    `digests_of` asks the engine for the digests of images, None where it is not to be asked.
    """

    engine: Trial | None = None
    first: int | None = None
    limits: Limits | None = None
    cancel: Cancel | None = None
    on_progress: Callable[[str], None] = lambda _what: None
    digests_of: Callable[[Iterable[str]], Mapping[str, str | None]] | None = None


def examine(workspace: Workspace, proving: Proving | None = None, *, limit: int = COMMITS) -> Examination:
    """Examine a project; with an engine proposals are built before they are offered.

    Raises NotExaminable where the Dockerfile or an ignore file cannot be read.
    """
    proving = proving or Proving()
    subject = _subject(workspace, proving)
    history = read_history(workspace, limit)
    found = _all_findings(workspace, subject, history)
    kept = unsilenced(subject, found, workspace.settings.doctor.ignore)
    weighed = _weighed(workspace, subject, kept, history)
    proven: list[Examined] = []
    for number, one in enumerate(weighed):
        if number == proving.first:
            proving = replace(proving, engine=None)
        proven.append(_proven(workspace, subject, one, history, proving))
        if _does_not_build(proven[-1]):
            # What does not build as it stands would fail again beside every other proposal.
            proving = replace(proving, engine=None)
    git, seen = (None if history.reason else history.git), history.seen
    return Examination(
        name=subject.model.location.name,
        dockerfile=subject.name,
        source=subject.source,
        ignore_source=subject.ignore_source,
        findings=_after_the_ignore_file(workspace, subject, proven),
        commits=None if git is None else git.of,
        weeks=0 if git is None else git.weeks,
        reason=history.reason,
        silenced=len(found) - len(kept),
        is_built=any(_was_built(one) for one in proven),
        builds=0 if seen is None else seen.of,
        build_weeks=0 if seen is None else seen.weeks,
        measure=history.measure,
    )


def _subject(workspace: Workspace, proving: Proving) -> Subject:
    """Read the project, and ask the engine about its bases where only that knows more."""
    subject = read_subject(workspace)
    wanted = rules_hygiene.floating_stages(subject)
    if proving.digests_of is None or not wanted:
        return subject
    return replace(subject, digests=proving.digests_of(wanted))


def _weighed(
    workspace: Workspace, subject: Subject, found: Sequence[Finding], history: History
) -> list[Examined]:
    """Say what each finding costs, the dearest first."""
    weighed = []
    for one in found:
        weight = weigh(workspace, subject, one, history)
        tally = weight.tally
        weighed.append(
            Examined(
                one,
                None if tally is None else tally.seconds_a_week,
                None if tally is None else tally.runs_a_week,
                _basis(subject, one),
                diffs=diffs_of(subject, one.proposal),
                commits=weight.commits,
                builds=weight.builds,
                measure=weight.measure,
            )
        )
    return sorted(weighed, key=_order)


def _after_the_ignore_file(
    workspace: Workspace, subject: Subject, found: Sequence[Examined]
) -> tuple[Examined, ...]:
    """Where only the ignore file stands in the way of a change, say that the change comes after it."""
    proposals = [one.finding.proposal for one in found if one.finding.code in rules_context.CODES]
    stopped = {_name(one.finding) for one in found if one.finding.stops}
    if not any(proposals) or not stopped:
        return tuple(found)
    files: dict[str, bytes] = {}
    for proposal in proposals:
        if proposal is not None:
            files.update(merged_ignore(subject, files, proposal))
    again = with_source(workspace, subject, subject.source, files)
    if isinstance(again, ReadingProblem):
        return tuple(found)
    possible = {_name(one) for one in findings_of(again) if one.proposal is not None} & stopped
    stops = f"comes after the change of {', '.join(sorted(files))}: --fix writes both"
    return tuple(
        replace(one, finding=replace(one.finding, stops=stops))
        if _name(one.finding) in possible and one.finding.stops
        else one
        for one in found
    )


def merged_ignore(subject: Subject, files: Mapping[str, bytes], proposal: Proposal) -> dict[str, bytes]:
    """Return the ignore files of two proposals as one: the lines that the second adds, behind the first."""
    old = subject.ignore_source or b""
    found = dict(files)
    for path, content in proposal.files.items():
        before = found.get(path)
        found[path] = content if before is None else before + content[len(old) :].lstrip(b"\r\n")
    return found


def _name(finding: Finding) -> tuple[str, str]:
    return finding.code, finding.title


def _was_built(one: Examined) -> bool:
    checks = one.proof.checks if one.proof is not None else ()
    return any(check.name == "builds" and check.verdict == "passed" for check in checks)


def _does_not_build(one: Examined) -> bool:
    checks = one.proof.checks if one.proof is not None else ()
    return any(
        check.name == "builds"
        and check.verdict == "not verified"
        and check.sentence.startswith("as it stands")
        for check in checks
    )


@dataclass(frozen=True, slots=True)
class Fixes:
    """All proposals carried out one after the other: the new Dockerfile, and other files by context path.

    `held` is what these files held when they were read; one that was not there is missing.
    """

    source: bytes
    files: Mapping[str, bytes]
    done: tuple[Examined, ...]
    held: Mapping[str, bytes]


def fix(
    workspace: Workspace,
    examination: Examination,
    proving: Proving | None = None,
    *,
    limit: int = COMMITS,
) -> Fixes:
    """Carry out what can be proposed: the dearest first, each on top of the ones before it.

    What an earlier fix has changed is read again, the ignore file too, so that no two of them touch the same
    lines unseen. What an ignore file made possible is carried out after it. Raises DevloopError where the
    Dockerfile or its ignore file is not what was examined any more.
    """
    proving = proving or Proving()
    history = read_history(workspace, limit)
    subject = _subject(workspace, proving)
    if (subject.source, subject.ignore_source) != (examination.source, examination.ignore_source):
        raise DevloopError(
            f"{subject.name} or its ignore file was changed while it was examined; nothing was written",
            hint="run it again",
        )
    held = (
        {}
        if subject.ignore_source is None
        else {ignore_path(workspace, subject) or "": subject.ignore_source}
    )
    files: dict[str, bytes] = {}
    done: list[Examined] = []
    stuck: set[tuple[str, str]] = set()
    left = Counter(_name(one.finding) for one in examination.findings)
    one = next((one for one in examination.findings if one.finding.proposal is not None), None)
    while one is not None and len(done) < _MOST_FIXES:
        proposal = one.finding.proposal
        assert proposal is not None  # noqa: S101 - only such a one is chosen
        again = with_source(
            workspace, subject, apply_edits(subject.source, proposal.edits), {**files, **proposal.files}
        )
        if isinstance(again, ReadingProblem):
            break
        files.update(proposal.files)
        done.append(one)
        subject, history = again, rebased(workspace, again, history)
        found = unsilenced(
            subject, _all_findings(workspace, subject, history), workspace.settings.doctor.ignore
        )
        before, left = left, Counter(_name(each) for each in found)
        if left[_name(one.finding)] >= before[_name(one.finding)]:
            # Its change leaves it there: once is enough.
            stuck.add(_name(one.finding))
        waiting = (
            each
            for each in _weighed(workspace, subject, found, history)
            if each.finding.proposal is not None and _name(each.finding) not in stuck
        )
        tried = (_proven(workspace, subject, each, history, proving, files) for each in waiting)
        one = next((each for each in tried if each.finding.proposal is not None), None)
    return Fixes(subject.source, files, tuple(done), held)


def findings_of(subject: Subject, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Run the rules; of equal findings one is kept."""
    found = [one for rule in rules for one in rule(subject)]
    return tuple({(one.code, one.first_line, one.last_line, one.title): one for one in found}.values())


def _all_findings(workspace: Workspace, subject: Subject, history: History) -> tuple[Finding, ...]:
    """Run the rules, and those that go by history; where the order is wrong, that is said first."""
    found = findings_of(subject)
    prose = rules_context.edited_prose(subject)
    if prose is not None:
        tally = weigh(workspace, subject, prose, history).tally
        if tally is not None and tally.runs >= FEWEST_BUILDS:
            found = (*found, prose)
    if history.git is None:
        return found
    spoken = {vertex for one in found if one.code == rules_order.INSTALL for vertex in one.wasted}
    return (*found, *rules_manifest.manifest_findings(subject, history.git.now, history.idle, spoken))


def unsilenced(subject: Subject, found: Sequence[Finding], ignored: Sequence[str]) -> tuple[Finding, ...]:
    """Drop what the configuration or a comment beside its lines does not want to hear."""
    comments = (silences(subject.dockerfile), told_to_others(subject.dockerfile))
    return tuple(
        one
        for one in found
        if one.code not in ignored
        and not any(each.silenced(one.code, one.first_line, one.last_line) for each in comments)
    )


# What it costs ----------------------------------------------------------------------------------------------


def _basis(subject: Subject, finding: Finding) -> str:
    """Say where the seconds of the first wasted step are from."""
    for one in subject.steps:
        if one.step.vertex in finding.wasted and one.cost.basis:
            return one.cost.basis
    return ""


def _order(one: Examined) -> tuple[float, float, int, int, str]:
    seconds = one.finding.seconds or 0.0
    week = one.seconds_a_week if one.seconds_a_week is not None else 0.0
    is_security = one.finding.category == "security"
    return (
        float("-inf") if is_security else -week,
        -seconds,
        _RANK[one.finding.category],
        one.finding.first_line,
        one.finding.code,
    )


# What is verified -------------------------------------------------------------------------------------------


def _proven(  # noqa: PLR0917 - each is another part of what is tried
    workspace: Workspace,
    subject: Subject,
    one: Examined,
    history: History,
    proving: Proving,
    files: Mapping[str, bytes] | None = None,
) -> Examined:
    """Try a proposal; one that fails is taken back, and the finding says why.

    `files` are written by the proposals before it: they are new as well to a build in the folder as it is.
    """
    proposal = one.finding.proposal
    if proposal is None:
        return one
    saving = saving_of(workspace, subject, one.finding, history)
    edits = _edited(subject, history, one.finding)
    if files:
        fewer: frozenset[Intent] = frozenset({"fewer files"})
        proposal = replace(proposal, files={**files, **proposal.files}, intends=proposal.intends | fewer)
    proof = prove(
        workspace,
        subject.source,
        proposal,
        engine=proving.engine,
        edits=edits,
        saving=saving,
        limits=proving.limits,
        cancel=proving.cancel,
        on_progress=proving.on_progress,
    )
    if proof.holds:
        return replace(one, proof=proof, finding=_measured(one.finding, proof))
    failed = next(check for check in proof.checks if check.verdict == "failed")
    finding = replace(
        one.finding, proposal=None, stops=f"the change was tried and is not offered: {failed.sentence}"
    )
    return replace(one, finding=finding, proof=proof, diffs=())


def _measured(finding: Finding, proof: Proof) -> Finding:
    """Return the finding with the bytes that its image really lost, where they were guessed by a table."""
    if finding.category != "size" or proof.sizes is None:
        return finding
    return replace(finding, bytes=max(proof.sizes.before - proof.sizes.after, 0))


def _edited(subject: Subject, history: History, finding: Finding) -> tuple[str, ...]:
    """Name the files whose edits ran the wasted steps, those of most commits first."""
    present = {one.path for one in subject.paths}
    if finding.code in rules_context.CODES:
        gone = left_out(subject, finding.proposal)
        edits = Counter(
            cause.path
            for build in (history.git.now.builds if history.git is not None else ())
            for cause in build.causes
        )
        return tuple(sorted(gone, key=lambda path: (-edits[path], path)))
    git = history.git
    if git is None:
        return ()
    if finding.code == rules_manifest.MANIFEST:
        return tuple(
            path
            for vertex in finding.wasted
            for path in rules_manifest.idle_runs(git.now, vertex, history.idle).paths
        )
    counted: Counter[str] = Counter(
        cause.path
        for build in git.now.builds
        for cause in build.causes
        if cause.kind == "path" and not is_manifest(cause.path) and cause.ran & set(finding.wasted)
    )
    return tuple(path for path, _ in counted.most_common() if path in present)


def diffs_of(subject: Subject, proposal: Proposal | None) -> tuple[str, ...]:
    """Return what a proposal changes as the lines of unified diffs, the Dockerfile first."""
    if proposal is None:
        return ()
    try:
        source = apply_edits(subject.source, proposal.edits)
    except EditsClash:
        return ()
    lines = list(unified_diff(subject.source, source, subject.name))
    for path, content in sorted(proposal.files.items()):
        before = subject.ignore_source if path.endswith(".dockerignore") else subject.texts(path)
        lines += unified_diff(before or b"", content, path)
    return tuple(lines)
