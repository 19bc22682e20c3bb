"""Prediction, causes and prices to a `Plan`: the action, its reason and the warnings worth reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devloop.cache.baseline import Baseline
from devloop.cache.predict import Prediction
from devloop.cost.estimate import critical_path, format_seconds
from devloop.dockerfile.stages import BuildGraph, FromVertex, Step
from devloop.plan.model import (
    Action,
    Cause,
    PathChange,
    Plan,
    PlannedStep,
    SecondsFrom,
    Status,
    Warned,
)
from devloop.plan.sync import Blocked, SyncPlan

HIT_STATUS: Mapping[str, Status] = {"yes": "cached", "no": "run", "maybe": "unknown"}


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step costs when it runs, where that is known from, and what kind of work it is."""

    kind: str | None = None
    family: str | None = None
    expensive: bool = False
    seconds: float | None = None
    seconds_from: SecondsFrom | None = None
    note: str = ""
    basis: str = ""
    manifests: tuple[str, ...] = ()
    cache_target: str | None = None
    has_cache_mount: bool = False


@dataclass(frozen=True, slots=True)
class Overheads:
    """What an action costs besides its steps, in seconds; None where it was never measured here.

    `replace` is a new container in the place of the old one, `restart` the process or the container again.
    """

    build: float | None = None
    replace: float | None = None
    restart: float | None = None

    @property
    def total(self) -> float:
        """What a rebuild pays besides its steps, as far as it is known."""
        return (self.build or 0.0) + (self.replace or 0.0)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision about one target is made from."""

    name: str
    dockerfile: str
    context: str
    graph: BuildGraph
    prediction: Prediction
    causes: Mapping[int, Cause]
    changes: tuple[PathChange, ...]
    unread: tuple[str, ...]
    costs: Mapping[int, StepCost]
    overheads: Overheads
    same_image: bool
    baseline: Baseline | None
    run_changes: tuple[str, ...] = ()
    warn_seconds: float = 5.0
    silenced: frozenset[str] = frozenset()
    dockerfile_changed: bool = False
    runs_container: bool = True
    sync: SyncPlan | Blocked | None = None
    reloader: str | None = None


def decide(situation: Situation) -> Plan:
    """Decide what is done about one target, and say why."""
    steps = _planned_steps(situation)
    running = [step for step in steps if step.status != "cached"]
    earliest = min(
        (step for step in steps if step.status == "run"),
        key=lambda step: step.line,
        default=min(running, key=lambda step: step.line, default=None),
    )
    config_changed = not situation.same_image and _configuration_changes(situation) != ()
    action = _action(situation)
    return Plan(
        name=situation.name,
        dockerfile=situation.dockerfile,
        context=situation.context,
        changes=situation.changes,
        steps=steps,
        earliest=earliest,
        seconds=_seconds(situation, action),
        action=action,
        reason=_reason(situation, action, running, earliest),
        warnings=() if action != "rebuild" else _warnings(situation, steps),
        config_changed=config_changed,
        ignored=situation.unread,
    )


def _action(situation: Situation) -> Action:
    if not situation.same_image:
        is_synced = isinstance(situation.sync, SyncPlan) and situation.runs_container
        if not is_synced or situation.run_changes:
            return "rebuild"
        return "sync" if situation.reloader is not None else "sync+restart"
    return "restart" if situation.run_changes and situation.runs_container else "none"


def _planned_steps(situation: Situation) -> tuple[PlannedStep, ...]:
    planned = []
    for step in situation.graph.steps:
        cost = situation.costs.get(step.number, StepCost())
        status: Status = "cached"
        cause = None
        if step.vertex is not None:
            status = HIT_STATUS[situation.prediction.answers[step.vertex].result.hit]
            cause = situation.causes.get(step.vertex)
        planned.append(
            PlannedStep(
                stage=situation.graph.stage(step.stage).label,
                ordinal=step.ordinal,
                line=step.span.first,
                instruction=step.keyword,
                text=step.text,
                status=status,
                cause=cause if status != "cached" else None,
                kind=cost.kind,
                expensive=cost.expensive,
                seconds=cost.seconds,
                seconds_from=cost.seconds_from,
                note=cost.note,
            )
        )
    return tuple(planned)


def _seconds(situation: Situation, action: Action) -> float | None:
    """Price the action: the longest chain of steps that run, with export and restart."""
    if action == "none":
        return 0.0
    if action == "restart":
        return situation.overheads.replace
    if action == "sync":
        return _SYNC_SECONDS
    if action == "sync+restart":
        restart = situation.overheads.restart
        return round(_SYNC_SECONDS + (_RESTART_SECONDS if restart is None else restart), 3)
    nodes: dict[int, tuple[float, Sequence[int]]] = {}
    for vertex, answer in zip(situation.graph.vertices, situation.prediction.answers, strict=True):
        if answer.result.hit == "yes":
            continue
        cost = situation.costs.get(vertex.step, StepCost())
        if cost.seconds is None and vertex.operation.kind == "exec":
            return None
        above = [one.producer.vertex for one in vertex.inputs if isinstance(one.producer, FromVertex)]
        nodes[vertex.number] = (cost.seconds or 0.0, above)
    return round(critical_path(nodes) + situation.overheads.total, 3)


_SYNC_SECONDS = 0.02
"""A handful of files through the engine's archive call."""
_RESTART_SECONDS = 0.5
"""A container restart, where none was measured here yet."""


def _configuration_changes(situation: Situation) -> tuple[str, ...]:
    from devloop.cache.baseline import short_digest

    if situation.baseline is None:
        return ()
    before = dict(situation.baseline.configuration)
    now = {name: short_digest(value) for name, value in situation.graph.configuration}
    return tuple(sorted(name for name in {**before, **now} if before.get(name) != now.get(name)))


def _reason(
    situation: Situation, action: Action, running: Sequence[PlannedStep], earliest: PlannedStep | None
) -> str:
    if action == "none":
        return _reason_for_nothing(situation)
    if action == "restart":
        return f"{_list(situation.run_changes)} changed: the container is made again from the same image"
    if action in {"sync", "sync+restart"} and isinstance(situation.sync, SyncPlan):
        how = (
            f"{situation.reloader} takes it up" if situation.reloader is not None else "the process restarts"
        )
        return f"{situation.sync.reason}; {how}"
    if earliest is not None:
        place = f"{earliest.instruction} (line {earliest.line})"
        if earliest.cause is not None and earliest.cause.rule == "missing":
            return f"{place} will fail: {earliest.cause.path} is not in the build context"
        after = len(running) - 1
        follow = f", {after} more step{'s' if after != 1 else ''} may follow" if after else ""
        why = f": {earliest.cause.text}" if earliest.cause is not None else ""
        blocked = _blocked(situation, running)
        verb = "may run again" if earliest.status == "unknown" else "runs again"
        if situation.baseline is None:
            verb = verb.removesuffix(" again")
        return f"{place} {verb}{why}{follow}{blocked}"
    changed = _configuration_changes(situation)
    if changed:
        return f"all steps are cached, the image configuration changes: {_list(_named(changed))}"
    if situation.baseline is None:
        return "all steps are cached; no build of this target is recorded yet"
    return "all steps are cached: an image that was built before comes back"


def _blocked(situation: Situation, running: Sequence[PlannedStep]) -> str:
    """Say why the change is not synced, unless that is plain: a RUN that runs again reads it."""
    if not isinstance(situation.sync, Blocked):
        return ""
    if any(step.line == situation.sync.line and step.instruction == "RUN" for step in running):
        return ""
    return f"; no sync, since {situation.sync.reason}"


def _reason_for_nothing(situation: Situation) -> str:
    if situation.unread and not situation.changes:
        return "no build sees what was named"
    if situation.changes:
        return f"no step of the target reads {_list([change.path for change in situation.changes])}"
    if situation.dockerfile_changed:
        return "the Dockerfile's new text gives the same image"
    return "nothing that the image is made of has changed"


_CONFIGURATION_NAMES = {
    "cmd": "CMD",
    "entrypoint": "ENTRYPOINT",
    "expose": "EXPOSE",
    "volumes": "VOLUME",
    "healthcheck": "HEALTHCHECK",
    "stopsignal": "STOPSIGNAL",
    "maintainer": "MAINTAINER",
    "env": "ENV",
    "workdir": "WORKDIR",
    "user": "USER",
    "shell": "SHELL",
    "onbuild": "ONBUILD",
}


def _named(parts: Sequence[str]) -> tuple[str, ...]:
    names = {"LABEL" if part.startswith("label ") else _CONFIGURATION_NAMES.get(part, part) for part in parts}
    return tuple(sorted(names))


def _list(words: Sequence[str], most: int = 3) -> str:
    shown = list(words[:most])
    rest = len(words) - len(shown)
    if rest:
        shown.append(f"{rest} more")
    return ", ".join(shown)


# Warnings -------------------------------------------------------------------------------------------------

_WARNED_RULES = {"content", "instruction", "argument", "environment", "base", "stage", "ignore"}


def _warnings(situation: Situation, steps: tuple[PlannedStep, ...]) -> tuple[Warned, ...]:
    """Warn of each expensive step that an edit makes run again. A first build is nobody's edit."""
    found = []
    for step, planned in zip(situation.graph.steps, steps, strict=True):
        cost = situation.costs.get(step.number)
        if cost is None or not cost.expensive or planned.status == "cached" or planned.cause is None:
            continue
        if planned.seconds is not None and planned.seconds < situation.warn_seconds:
            continue
        if situation.baseline is None or planned.cause.rule not in _WARNED_RULES:
            continue
        warned = _warning(situation, step, planned, cost, steps)
        if warned.code not in situation.silenced:
            found.append(warned)
    return tuple(found)


def _warning(
    situation: Situation,
    step: Step,
    planned: PlannedStep,
    cost: StepCost,
    steps: tuple[PlannedStep, ...],
) -> Warned:
    root = _root(situation, step)
    path = root.cause.path if root is not None and root.cause is not None else None
    via = f"{root.instruction} (line {root.line})" if root is not None else ""
    above = f" and stands above {planned.instruction} (line {planned.line})" if root != planned else ""
    code = "expensive-step"
    way_out = ""
    if path is not None and root is not None:
        name = path.rpartition("/")[2]
        is_manifest = any(_matches(name, manifest) for manifest in cost.manifests)
        why = f"{path} is read by {via}, which stands above {planned.instruction} (line {planned.line})"
        if is_manifest:
            code = "dependency-install"
            way_out = _cache_mount_advice(cost, planned)
        elif cost.kind is not None and cost.kind.endswith(_COMPILES):
            way_out = _cache_mount_advice(cost, planned)
        elif cost.manifests:
            code = "source-above-install"
            needed = _needed_manifests(cost, planned.text)
            way_out = (
                f"COPY only {needed} above line {planned.line} and the rest below it:"
                " then this edit reruns no install"
            )
            if root == planned:
                way_out = f"mount only {needed}: then this edit reruns no install"
        else:
            way_out = f"move the COPY of {path} below line {planned.line} if the command does not need it"
        if root == planned:
            why = f"{path} is read by this instruction itself"
    elif planned.cause is not None and planned.cause.rule in {"argument", "environment"}:
        code = "variable-above-step"
        why = planned.cause.text
        way_out = f"declare it below line {planned.line} if the command does not need it"
    else:
        why = planned.cause.text if planned.cause is not None else ""
        if root is not None and root != planned and root.cause is not None:
            why = f"{via} runs again ({root.cause.text}){above}"
        way_out = _cache_mount_advice(cost, planned)
    follow = sum(one.status != "cached" and one.line > planned.line for one in steps)
    if follow:
        why += (
            f"; {follow} step{'s' if follow != 1 else ''} after it run{'s' if follow == 1 else ''} again too"
        )
    return Warned(
        code=code,
        line=planned.line,
        instruction=planned.instruction,
        text=planned.text,
        seconds=planned.seconds,
        seconds_from=planned.seconds_from,
        note=cost.basis,
        why=why,
        way_out=way_out,
    )


_COMPILES = ("-build", "-compile", "-configure")
"""Ends of the kinds of steps that need the sources themselves."""


def _needed_manifests(cost: StepCost, text: str) -> str:
    """Name the files that an install needs: those that its command names, else the usual ones."""
    names = [word.rpartition("/")[2] for word in text.split()]
    named = [name for name in names if any(_matches(name, manifest) for manifest in cost.manifests)]
    return _list(tuple(dict.fromkeys(named)) or cost.manifests[:2])


def _matches(name: str, manifest: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(name, manifest.rpartition("/")[2])


def _cache_mount_advice(cost: StepCost, planned: PlannedStep) -> str:
    if cost.has_cache_mount or cost.cache_target is None:
        return "nothing to do: the change needs this step"
    return (
        f"a cache mount keeps what was downloaded: RUN --mount=type=cache,target={cost.cache_target}"
        f" ... (line {planned.line})"
    )


def _root(situation: Situation, step: Step) -> PlannedStep | None:
    """Follow a step's inputs up to the first one that runs for a reason of its own."""
    by_vertex = {one.vertex: one for one in situation.graph.steps if one.vertex is not None}
    planned = {
        one.number: entry for one, entry in zip(situation.graph.steps, _planned_steps(situation), strict=True)
    }
    vertex = step.vertex
    seen: set[int] = set()
    while vertex is not None and vertex not in seen:
        seen.add(vertex)
        answer = situation.prediction.answers[vertex]
        blocked = [
            entry.producer.vertex
            for number, entry in enumerate(situation.graph.vertices[vertex].inputs)
            if isinstance(entry.producer, FromVertex)
            and (number in answer.failing_inputs or number in answer.unsure_inputs)
            and situation.prediction.answers[entry.producer.vertex].result.hit != "yes"
        ]
        cause = situation.causes.get(vertex)
        if not blocked or (cause is not None and cause.rule != "stage"):
            break
        vertex = blocked[0]
    if vertex is None:
        return None
    owner = by_vertex.get(vertex) or situation.graph.steps[situation.graph.vertices[vertex].step]
    return planned.get(owner.number)


def describe_seconds(seconds: float | None, seconds_from: SecondsFrom | None) -> str:
    """Write what a plan expects to take, with where the number is from."""
    if seconds is None:
        return "time unknown until it has run once"
    sign = "" if seconds_from == "measured" else "~"
    return f"{sign}{format_seconds(seconds)}"
