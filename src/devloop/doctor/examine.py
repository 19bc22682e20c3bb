"""Runs every rule over a project, and says what each finding costs a week by git's history.

A finding about order is weighed by replaying the last commits through the graph as it is and as proposed;
any other by counting how often its steps ran for something that is no manifest. Without a history they are
ordered by the seconds of one needless run, and that is said.
"""

from __future__ import annotations

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
from devloop.doctor.gitlog import GitProblem, idle_edits, links_at, reading, replay_graph
from devloop.doctor.proof import Limits, Saving, prove
from devloop.doctor.replay import Replay, fixed, is_manifest, replay, weekly_runs
from devloop.doctor.report import Examination, Examined
from devloop.doctor.subject import read_subject, with_source
from devloop.project.reading import Model, ReadingProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from devloop.doctor.model import Finding, Proposal, Rule, Subject
    from devloop.doctor.replay import Commit
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
COMMITS: Final = 200
FEWEST_BUILDS: Final = 5
"""Fewer commits than that which make a step run say nothing about how often one will."""
_BY_HISTORY: Final = frozenset({rules_order.INSTALL, rules_order.PACKAGES})
_AT_EVERY_RUN: Final = frozenset({"no-cache-mount", "cache-mount-forgotten"})
_RANK: Final = {"security": 0, "speed": 1, "restart": 2, "size": 3}


@dataclass(frozen=True, slots=True)
class History:
    """The commits that say how often a step runs, and what the present graph makes of them.

    With a `reason` nothing is weighed by them: there are none, or too few.
    """

    commits: tuple[Commit, ...] = ()
    now: Replay | None = None
    reason: str = ""
    links: Mapping[str, str] | None = None
    idle: rules_manifest.IdleEdits = frozenset()


@dataclass(frozen=True, slots=True)
class Proving:
    """How proposals are tried: with an engine they are built; only the `first` so many are, None for all."""

    engine: Trial | None = None
    first: int | None = None
    limits: Limits | None = None
    cancel: Cancel | None = None
    on_progress: Callable[[str], None] = lambda _what: None


def examine(workspace: Workspace, proving: Proving | None = None, *, limit: int = COMMITS) -> Examination:
    """Examine a project; with an engine proposals are built before they are offered.

    Raises NotExaminable where the Dockerfile or an ignore file cannot be read.
    """
    proving = proving or Proving()
    subject = read_subject(workspace)
    history = read_history(workspace, limit)
    found = _all_findings(subject, history)
    kept = unsilenced(subject, found, workspace.settings.doctor.ignore)
    weighed = sorted((weigh(workspace, subject, one, history) for one in kept), key=_order)
    proven: list[Examined] = []
    for number, one in enumerate(weighed):
        if number == proving.first:
            proving = replace(proving, engine=None)
        proven.append(_proven(workspace, subject, one, history, proving))
        if _does_not_build(proven[-1]):
            # What does not build as it stands would fail again beside every other proposal.
            proving = replace(proving, engine=None)
    return Examination(
        name=subject.model.location.name,
        dockerfile=subject.name,
        source=subject.source,
        findings=tuple(proven),
        commits=history.now.commits if history.now is not None and not history.reason else None,
        weeks=history.now.weeks if history.now is not None and not history.reason else 0,
        reason=history.reason,
        silenced=len(found) - len(kept),
        is_built=any(_was_built(one) for one in proven),
    )


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
    """All proposals carried out one after the other: the new Dockerfile, and other files by context path."""

    source: bytes
    files: Mapping[str, bytes]
    done: tuple[Examined, ...]


def fix(workspace: Workspace, examination: Examination, proving: Proving | None = None) -> Fixes:
    """Carry out what can be proposed: the dearest first, each on top of the ones before it.

    What an earlier fix has changed is read again, so that no two of them touch the same lines unseen.
    """
    proving = proving or Proving()
    history = read_history(workspace, COMMITS)
    subject = read_subject(workspace)
    files: dict[str, bytes] = {}
    done: list[Examined] = []
    waiting = [one for one in examination.findings if one.finding.proposal is not None]
    while waiting:
        one = waiting.pop(0)
        proposal = one.finding.proposal
        if proposal is None or files.keys() & proposal.files.keys():
            continue
        files.update(proposal.files)
        done.append(one)
        again = with_source(workspace, subject, apply_edits(subject.source, proposal.edits))
        if isinstance(again, ReadingProblem):
            break
        subject = again
        found = unsilenced(subject, _all_findings(subject, history), workspace.settings.doctor.ignore)
        weighed = sorted((weigh(workspace, subject, each, history) for each in found), key=_order)
        known = {(each.finding.code, each.finding.title) for each in done}
        fresh = [each for each in weighed if (each.finding.code, each.finding.title) not in known]
        waiting = [
            proven
            for each in fresh
            if each.finding.proposal is not None
            and (proven := _proven(workspace, subject, each, history, proving)).finding.proposal is not None
        ]
    return Fixes(subject.source, files, tuple(done))


def findings_of(subject: Subject, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Run the rules; of equal findings one is kept."""
    found = [one for rule in rules for one in rule(subject)]
    return tuple({(one.code, one.first_line, one.last_line, one.title): one for one in found}.values())


def _all_findings(subject: Subject, history: History) -> tuple[Finding, ...]:
    """Run the rules, and the one that goes by history; where the order is wrong, that is said first."""
    found = findings_of(subject)
    if history.now is None:
        return found
    spoken = {vertex for one in found if one.code == rules_order.INSTALL for vertex in one.wasted}
    return (*found, *rules_manifest.manifest_findings(subject, history.now, history.idle, spoken))


def unsilenced(subject: Subject, found: Sequence[Finding], ignored: Sequence[str]) -> tuple[Finding, ...]:
    """Drop what the configuration or a comment beside its lines does not want to hear."""
    comments = silences(subject.dockerfile)
    return tuple(
        one
        for one in found
        if one.code not in ignored and not comments.silenced(one.code, one.first_line, one.last_line)
    )


# What it costs ----------------------------------------------------------------------------------------------


def read_history(workspace: Workspace, limit: int) -> History:
    """Replay the last commits through the present graph; no history is an ordinary answer."""
    bots = workspace.settings.replay.bots
    try:
        with reading(workspace.location, workspace.environ, limit=limit, bots=bots) as found:
            links = links_at(found.git, found.objects, found.git.commit("HEAD"))
            commits = tuple(found)
            model = workspace.read()
            if not commits or not isinstance(model, Model):
                return History(reason="no commit of a person")
            now = replay(commits, fixed(replay_graph(workspace, model, links=links)))
            idle = idle_edits(now, found.objects, rules_manifest.is_idle_edit)
    except GitProblem as problem:
        return History(reason=problem.message)
    if len(now.builds) < FEWEST_BUILDS:
        reason = f"only {len(now.builds)} of the last {now.commits} commits change what this Dockerfile reads"
        return History(commits, now, reason, links)
    return History(commits, now, links=links, idle=idle)


def weigh(workspace: Workspace, subject: Subject, finding: Finding, history: History) -> Examined:
    """Say how often a finding's steps run for nothing, and what that takes a week."""
    basis = _basis(subject, finding)
    diffs = diffs_of(subject, finding.proposal)
    if (
        history.now is None
        or history.reason
        or not finding.wasted
        or finding.code == rules_variables.VOLATILE
    ):
        return Examined(finding, basis=basis, diffs=diffs)
    # A cache mount helps whenever the step runs, also where it has to.
    needed = (lambda _path: False) if finding.code in _AT_EVERY_RUN else is_manifest
    if finding.code == rules_manifest.MANIFEST:
        builds = (
            rules_manifest.idle_runs(history.now, vertex, history.idle).builds for vertex in finding.wasted
        )
        runs = max(builds) / max(history.now.weeks, 1)
    else:
        runs = max(weekly_runs(history.now, vertex, needed) for vertex in finding.wasted)
    seconds = None if finding.seconds is None else finding.seconds * runs
    after = _after(workspace, subject, finding.proposal, history)
    if after is not None and _is_about_order(finding):
        seconds = max(history.now.seconds_a_week - after.seconds_a_week, 0.0)
    return Examined(finding, seconds, runs, basis, diffs=diffs)


def _is_about_order(finding: Finding) -> bool:
    """Tell whether the graphs alone say what is saved: the steps are the same ones, at other places."""
    return (
        finding.code in _BY_HISTORY
        and finding.proposal is not None
        and finding.proposal.intends == frozenset({"order"})
    )


def _after(
    workspace: Workspace, subject: Subject, proposal: Proposal | None, history: History
) -> Replay | None:
    """Replay the history through the graph of a proposal."""
    if proposal is None or history.now is None:
        return None
    try:
        source = apply_edits(subject.source, proposal.edits)
    except EditsClash:
        return None
    model = workspace.read(source=source)
    if not isinstance(model, Model):
        return None
    return replay(history.commits, fixed(replay_graph(workspace, model, links=history.links)))


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


def _proven(
    workspace: Workspace,
    subject: Subject,
    one: Examined,
    history: History,
    proving: Proving,
) -> Examined:
    """Try a proposal; one that fails is taken back, and the finding says why."""
    proposal = one.finding.proposal
    if proposal is None:
        return one
    saving = None
    after = _after(workspace, subject, proposal, history) if _is_about_order(one.finding) else None
    if history.now is not None and not history.reason and after is not None and history.now.seconds:
        saving = Saving(history.now.commits, history.now.seconds, after.seconds)
    proof = prove(
        workspace,
        subject.source,
        proposal,
        engine=proving.engine,
        edits=_edited(subject, history, one.finding),
        saving=saving,
        limits=proving.limits,
        cancel=proving.cancel,
        on_progress=proving.on_progress,
    )
    if proof.holds:
        return replace(one, proof=proof)
    failed = next(check for check in proof.checks if check.verdict == "failed")
    finding = replace(
        one.finding, proposal=None, stops=f"the change was tried and is not offered: {failed.sentence}"
    )
    return replace(one, finding=finding, proof=proof, diffs=())


def _edited(subject: Subject, history: History, finding: Finding) -> tuple[str, ...]:
    """Name the files whose edits ran the wasted steps, those of most commits first."""
    if finding.code == rules_manifest.MANIFEST and history.now is not None:
        return tuple(
            path
            for vertex in finding.wasted
            for path in rules_manifest.idle_runs(history.now, vertex, history.idle).paths
        )
    counted: dict[str, int] = {}
    present = {one.path for one in subject.paths}
    for build in history.now.builds if history.now is not None else ():
        for cause in build.causes:
            if cause.kind == "path" and not is_manifest(cause.path) and cause.ran & set(finding.wasted):
                counted[cause.path] = counted.get(cause.path, 0) + 1
    return tuple(sorted((path for path in counted if path in present), key=lambda path: -counted[path]))


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
