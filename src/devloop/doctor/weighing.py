"""What a finding costs a week: by git's commits, and by the builds that devloop saw here.

Commits are a low measure of saves, since twenty of them may stand behind one, but they are everybody's and
go back for months. Builds are the saves of one person on this machine, with what really ran, but a single
afternoon of them says little. So the builds decide as soon as there are enough of them on enough days, and
else the commits; both are told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.doctor import (
    rules_context,
    rules_hygiene,
    rules_manifest,
    rules_order,
    rules_variables,
)
from devloop.doctor.edits import EditsClash, apply_edits
from devloop.doctor.gitlog import (
    GitProblem,
    idle_edits,
    links_at,
    places_of,
    priced_graph,
    reading,
    replay_graph,
    values_changed,
    without_own_files,
)
from devloop.doctor.proof import LEAST_SAVING, Saving
from devloop.doctor.replay import Place
from devloop.doctor.report import Measure, Tally
from devloop.doctor.subject import ignore_path
from devloop.doctor.tallies import (
    Past,
    at_every_build,
    builds_past,
    commits_past,
    for_nothing,
    for_variables,
    saved,
    spared,
)
from devloop.doctor.values import new_values
from devloop.project.planner import step_key
from devloop.project.reading import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.doctor.gitlog import Reading
    from devloop.doctor.model import Finding, Proposal, Subject
    from devloop.doctor.replay import Replay, ReplayGraph
    from devloop.project.workspace import Workspace

COMMITS: Final = 200
FEWEST_BUILDS: Final = 5
"""Fewer commits than that which make a step run say nothing about how often one will."""
ENOUGH_BUILDS: Final = 20
ENOUGH_DAYS: Final = 5
"""With so many builds on so many days, they say more of this loop than commits do."""
_BY_ORDER: Final = frozenset({rules_order.INSTALL, rules_order.PACKAGES})
_AT_EVERY_RUN: Final = frozenset({"no-cache-mount", "cache-mount-forgotten"})


@dataclass(frozen=True, slots=True)
class History:
    """Git's commits and the builds that devloop saw here, and which of them says what a week costs.

    `values` are the commits that gave a variable another value, by its name; `tracked` are the paths of the
    main context that git has. With a `reason` no week is known by commits: there are none, or
    too few. Each of the two is None where there is nothing at all.
    """

    git: Past | None = None
    seen: Past | None = None
    reason: str = ""
    links: Mapping[str, str] = field(default_factory=dict)
    idle: rules_manifest.IdleEdits = frozenset()
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tracked: frozenset[str] = frozenset()

    @property
    def measure(self) -> Measure | None:
        """Name what the findings are weighed by."""
        return _better(self.seen, is_git_known=self.git is not None and not self.reason)


def _better(seen: Past | None, *, is_git_known: bool) -> Measure | None:
    """Choose between builds and commits, None where neither says enough."""
    if seen is not None and seen.of >= ENOUGH_BUILDS and seen.days >= ENOUGH_DAYS:
        return "builds"
    if is_git_known:
        return "commits"
    return "builds" if seen is not None and seen.of >= FEWEST_BUILDS else None


def read_history(workspace: Workspace, limit: int) -> History:
    """Replay what is known of the past through the present graph; nothing at all is an ordinary answer."""
    model = workspace.read()
    if not isinstance(model, Model):
        return History(reason="the Dockerfile cannot be read")
    seen = _seen(workspace, model)
    bots = workspace.settings.replay.bots
    try:
        with reading(workspace.location, workspace.environ, limit=limit, bots=bots) as found:
            links = links_at(found.git, found.objects, found.git.commit("HEAD"))
            commits = tuple(found)
            if not commits:
                return History(seen=seen, reason="no commit of a person")
            weighed = [without_own_files(one, found.watched) for one in commits]
            git = commits_past(weighed, replay_graph(workspace, model, links=links))
            idle = idle_edits(git.now, found.objects, rules_manifest.is_idle_edit)
            values = values_changed(commits, found.objects)
            tracked = _tracked(model, found)
    except GitProblem as problem:
        return History(seen=seen, reason=problem.message)
    reason = "" if len(git.now.builds) >= FEWEST_BUILDS else too_few(len(git.now.builds), git.of)
    return History(git, seen, reason, links, frozenset() if reason else idle, values, tracked)


def _tracked(model: Model, found: Reading) -> frozenset[str]:
    """Return the paths of HEAD as the main context names them."""
    place = places_of(model, found.git).get(MAIN_CONTEXT)
    if place is None:
        return frozenset()
    inside = (place.inside(path) for path in found.paths_at("HEAD"))
    return frozenset(path for path in inside if path is not None)


def rebased(workspace: Workspace, subject: Subject, history: History) -> History:
    """Send the same past through the graph of a subject that was changed."""
    git = history.git
    if git is not None:
        git = commits_past(git.commits, replay_graph(workspace, subject.model, links=history.links))
    return replace(history, git=git, seen=_seen(workspace, subject.model))


def too_few(builds: int, commits: int) -> str:
    """Say that hardly a commit changes what the Dockerfile reads."""
    reads = "what this Dockerfile reads"
    if commits == 0:
        return "no commit to go by"
    if commits == 1:
        return f"the only commit changes {reads if builds else 'nothing that this Dockerfile reads'}"
    if builds == 0:
        return f"none of the last {commits} commits changes {reads}"
    if builds == commits:
        return f"only {commits} commits change {reads}"
    return f"only {builds} of the last {commits} commits change{'s' if builds == 1 else ''} {reads}"


def _seen(workspace: Workspace, model: Model) -> Past | None:
    """Return the builds of this Dockerfile and target that devloop recorded; None where there is none."""
    dockerfile, target = str(workspace.location.dockerfile), workspace.settings.target
    builds = [
        one for one in workspace.memory.builds() if (one.dockerfile, one.target) == (dockerfile, target)
    ]
    if not builds:
        return None
    vertices: dict[str, frozenset[int]] = {}
    for step in model.graph.steps:
        if step.vertex is not None:
            key = step_key(model.graph, step)
            vertices[key] = vertices.get(key, frozenset()) | {step.vertex}
    past = builds_past(builds, _seen_graph(workspace, model), vertices)
    return past if past.of else None


def _seen_graph(
    workspace: Workspace, model: Model, seconds_at: Mapping[int, float] | None = None
) -> ReplayGraph:
    """Make a model ready for paths of its main context."""
    return priced_graph(workspace, model, {MAIN_CONTEXT: Place(rules=model.main.rules)}, seconds_at)


# Weighing ---------------------------------------------------------------------------------------------------


def weigh(workspace: Workspace, subject: Subject, finding: Finding, history: History) -> Weighed:
    """Say how often a finding's steps run for nothing, and what that takes a week."""
    commits = builds = None
    if history.git is not None and not history.reason:
        commits = _tally(workspace, subject, finding, history, history.git)
    seen = None if history.seen is None else history.seen.with_any_of(frozenset(finding.wasted))
    if seen is not None and seen.of:
        builds = _tally(workspace, subject, finding, history, seen)
    known_builds = seen if builds is not None else None
    return Weighed(commits, builds, _better(known_builds, is_git_known=commits is not None))


@dataclass(frozen=True, slots=True)
class Weighed:
    """What commits and builds say of a finding, and which of them counts."""

    commits: Tally | None = None
    builds: Tally | None = None
    measure: Measure | None = None

    @property
    def tally(self) -> Tally | None:
        """The one that counts."""
        return {"commits": self.commits, "builds": self.builds, None: None}[self.measure]


def _tally(
    workspace: Workspace, subject: Subject, finding: Finding, history: History, past: Past
) -> Tally | None:
    is_git = past is history.git
    wasted = frozenset(finding.wasted)
    if finding.code == rules_hygiene.FLOATING:
        return at_every_build(past, finding.seconds or 0.0)
    if finding.code in rules_context.CODES:
        return _for_left_out(workspace, subject, finding, history, past)
    if not wasted:
        return None
    if finding.code == rules_variables.VOLATILE:
        return for_variables(past, wasted, finding.seconds, new_values(subject, finding, history.values))
    if finding.code == rules_manifest.MANIFEST:
        return _for_idle_edits(past, finding, history.idle) if is_git else None
    if finding.code in _AT_EVERY_RUN:
        # A cache mount helps whenever the step runs, also where it has to.
        return for_nothing(past, wasted, finding.seconds, lambda _path: False)
    if is_about_order(finding):
        after = _after(workspace, subject, finding.proposal, history, past)
        if after is not None:
            return saved(past, after, wasted)
    return for_nothing(past, wasted, finding.seconds)


def _for_left_out(
    workspace: Workspace, subject: Subject, finding: Finding, history: History, past: Past
) -> Tally | None:
    """Count the runs that an ignore file spares; None where git knows none of the files that it names."""
    after = _after(workspace, subject, finding.proposal, history, past)
    if after is None:
        return None
    if past is not history.git:
        return spared(past, after)
    gone = left_out(subject, finding.proposal)
    unknown = len(gone - history.tracked)
    tally = replace(spared(past, after), unknown=unknown)
    return tally if tally.runs or unknown < len(gone) else None


def left_out(subject: Subject, proposal: Proposal | None) -> frozenset[str]:
    """Return the files of the context that the ignore file of a proposal keeps from the builder."""
    if proposal is None or not proposal.files:
        return frozenset()
    rules = parse_ignore(next(iter(proposal.files.values())), file="")
    if not isinstance(rules, IgnoreRules):
        return frozenset()
    return frozenset(one.path for one in subject.paths if rules.excludes(one.path))


def _for_idle_edits(past: Past, finding: Finding, idle: rules_manifest.IdleEdits) -> Tally:
    found = [rules_manifest.idle_runs(past.now, vertex, idle) for vertex in finding.wasted]
    most = max(found, key=lambda one: one.builds)
    seconds = None if finding.seconds is None else finding.seconds * most.builds
    return Tally(most.builds, past.of, past.weeks, seconds, most.paths)


def is_about_order(finding: Finding) -> bool:
    """Tell whether the graphs alone say what is saved: by the same steps or parts of one, at other places."""
    return (
        finding.code in _BY_ORDER
        and finding.proposal is not None
        and finding.proposal.intends <= frozenset({"order", "install cache"})
    )


def _after(
    workspace: Workspace, subject: Subject, proposal: Proposal | None, history: History, past: Past
) -> Replay | None:
    """Send the past through the graph of a proposal."""
    if proposal is None:
        return None
    try:
        source = apply_edits(subject.source, proposal.edits)
    except EditsClash:
        return None
    ignore = proposal.files.get(ignore_path(workspace, subject) or "", subject.ignore_source)
    model = workspace.read(source=source, ignore_source=ignore)
    if not isinstance(model, Model):
        return None
    if past is history.git:
        graph = replay_graph(workspace, model, links=history.links, seconds_at=proposal.seconds_at)
    else:
        graph = _seen_graph(workspace, model, proposal.seconds_at)
    return past.after(graph)


def saving_of(workspace: Workspace, subject: Subject, finding: Finding, history: History) -> Saving | None:
    """Return what the commits would have cost before and after a proposal; None where graphs do not tell."""
    git = history.git
    if git is None or history.reason or not git.now.seconds:
        return None
    if not is_about_order(finding) and finding.code not in rules_context.CODES:
        return None
    after = _after(workspace, subject, finding.proposal, history, git)
    if after is None:
        return None
    # What git does not know, like installed modules, is worth leaving out all the same.
    is_enough = after.seconds <= git.now.seconds * (1 - LEAST_SAVING)
    if finding.code in rules_context.CODES and not is_enough:
        return None
    return Saving(git.of, git.now.seconds, after.seconds)
