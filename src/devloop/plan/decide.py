"""Prediction, causes and prices to a `Plan`: the action, its reason and the warnings worth reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devloop.cache.baseline import Baseline
from devloop.cache.predict import Prediction
from devloop.cost.classify import manifest_family
from devloop.cost.estimate import SHORTEST, critical_path, format_seconds
from devloop.dockerfile.silence import NO_SILENCES, Silences
from devloop.dockerfile.stages import BuildGraph, FromVertex, Step
from devloop.plan.advice import Role, copy_first, is_needed, names_file
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
    """What one step costs when it runs, where that is known from, and what kind of work it is.

    `role` says what it needs, `installed` that a step above it installed for the same family, `builds_too`
    that it is an install which also builds. `cache_mount` is the sentence about the cache mount that would
    help, empty where none does.
    """

    kind: str | None = None
    family: str | None = None
    expensive: bool = False
    seconds: float | None = None
    seconds_from: SecondsFrom | None = None
    note: str = ""
    basis: str = ""
    manifests: tuple[str, ...] = ()
    has_cache_mount: bool = False
    families: tuple[str, ...] = ()
    command: str = ""
    role: Role = "install"
    installed: bool = False
    builds_too: bool = False
    cache_mount: str = ""


@dataclass(frozen=True, slots=True)
class Overheads:
    """What an action costs besides its steps, in seconds; None where it was never measured here.

    `replace` is a new container in the place of the old one, `restart` the process or the container again.
    """

    build: float | None = None
    replace: float | None = None
    restart: float | None = None


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
    silences: Silences = NO_SILENCES
    dockerfile_changed: bool = False
    runs_container: bool = True
    sync: SyncPlan | Blocked | None = None
    reloader: str | None = None

    def is_silenced(self, code: str, *steps: Step) -> bool:
        """Tell whether a warning is not wanted: by the configuration, or by a comment at one of the steps."""
        if code in self.silenced:
            return True
        return any(self.silences.silenced(code, step.span.first, step.span.last) for step in steps)


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
        expensive=() if action != "rebuild" else _expensive(situation, steps),
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
    return rebuild_seconds(situation)


def rebuild_seconds(situation: Situation) -> float | None:
    """Price a rebuild with its new container, whatever is done in its place; None where that is not known."""
    seconds = build_seconds(situation)
    return None if seconds is None else round(seconds + (situation.overheads.replace or 0.0), 3)


def build_seconds(situation: Situation) -> float | None:
    """Price what the builder does: the longest chain of steps that run, with lookups and export."""
    seconds: dict[int, float] = {}
    for vertex, answer in zip(situation.graph.vertices, situation.prediction.answers, strict=True):
        if answer.result.hit == "yes":
            continue
        cost = situation.costs.get(vertex.step, StepCost())
        if cost.seconds is None and vertex.operation.kind == "exec":
            return None
        seconds[vertex.number] = cost.seconds or 0.0
    return round(longest_chain(situation.graph, seconds) + (situation.overheads.build or 0.0), 3)


def longest_chain(graph: BuildGraph, seconds: Mapping[int, float]) -> float:
    """Add up the longest chain of vertices; one without seconds costs nothing, as it is cached."""
    nodes: dict[int, tuple[float, Sequence[int]]] = {
        vertex.number: (
            seconds.get(vertex.number, 0.0),
            [one.producer.vertex for one in vertex.inputs if isinstance(one.producer, FromVertex)],
        )
        for vertex in graph.vertices
    }
    return critical_path(nodes)


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
        return f"{_list(situation.run_changes)}: it is made again from the same image"
    if action in {"sync", "sync+restart"} and isinstance(situation.sync, SyncPlan):
        return f"{situation.sync.reason}; {_taken_up(situation, situation.sync)}"
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


def _taken_up(situation: Situation, sync: SyncPlan) -> str:
    if sync.is_empty:
        return "a build would give the same files"
    return f"{situation.reloader} takes it up" if situation.reloader is not None else "the process restarts"


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
    for number in _expensive(situation, steps):
        step, planned, cost = situation.graph.steps[number], steps[number], situation.costs[number]
        root = _root(situation, step) or step
        warned = _warning(steps[root.number], planned, cost, steps)
        if not situation.is_silenced(warned.code, step, root):
            found.append(warned)
    return tuple(found)


def _expensive(situation: Situation, steps: tuple[PlannedStep, ...]) -> tuple[int, ...]:
    """Return the expensive steps that an edit makes run again, by number."""
    if situation.baseline is None:
        return ()
    found = []
    for step, planned in zip(situation.graph.steps, steps, strict=True):
        cost = situation.costs.get(step.number)
        if cost is None or not cost.expensive or planned.status == "cached" or planned.cause is None:
            continue
        if planned.seconds is not None and planned.seconds < situation.warn_seconds:
            continue
        if planned.cause.rule not in _WARNED_RULES:
            continue
        if planned.status == "unknown" and _is_kept_by_checkpoint(situation, step, planned, cost):
            continue
        found.append(step.number)
    return tuple(found)


def _warning(
    root: PlannedStep,
    planned: PlannedStep,
    cost: StepCost,
    steps: tuple[PlannedStep, ...],
) -> Warned:
    cause = root.cause or planned.cause
    path = cause.path if cause is not None else None
    why = _why(root, planned, path)
    if path is not None:
        code, way_out = _about_path(path, root, planned, cost)
    elif any(one.cause and one.cause.rule in {"argument", "environment"} for one in (planned, root)):
        code, way_out = "variable-above-step", _below(planned)
    else:
        code, way_out = "expensive-step", cost.cache_mount or NOTHING_TO_DO
    return Warned(
        code=code,
        line=planned.line,
        instruction=planned.instruction,
        text=planned.text,
        seconds=planned.seconds,
        seconds_from=planned.seconds_from,
        note=cost.basis,
        why=why + _followed(planned, steps),
        way_out=way_out,
    )


def _is_kept_by_checkpoint(situation: Situation, step: Step, planned: PlannedStep, cost: StepCost) -> bool:
    """Tell whether the step stands on manifests that another stage makes, and no manifest was edited.

    `COPY --from=planner recipe.json` keeps what is below it as long as the same bytes come out, and an edit
    of a source does not change them. A manifest of any tool may.
    """
    path = planned.cause.path if planned.cause is not None else None
    if path is None or manifest_family(path):
        return False
    vertex = step.vertex
    seen: set[int] = set()
    while vertex is not None and vertex not in seen:
        seen.add(vertex)
        inputs = situation.graph.vertices[vertex].inputs
        unsure = [inputs[number] for number in situation.prediction.answers[vertex].unsure_inputs]
        taken = [source for one in unsure if one.by_content for each in one.taken for source in each.sources]
        if taken:
            return all(is_needed(source, cost.manifests, cost.families) for source in taken)
        vertex = next((one.producer.vertex for one in unsure if isinstance(one.producer, FromVertex)), None)
    return False


NOTHING_TO_DO = "nothing to do: the change needs this step"


def _below(planned: PlannedStep) -> str:
    return f"declare it below line {planned.line} if the command does not need it"


def _why(root: PlannedStep, planned: PlannedStep, path: str | None) -> str:
    """Say how the edit reaches the step: from the instruction that reads it down to here."""
    here, via = _name(planned), _name(root)
    maybe = planned.status == "unknown"
    if path is not None:
        if root == planned:
            return f"{path} is read by this instruction itself"
        if root.stage != planned.stage:
            end = ", unless the same files come out" if maybe else ""
            return f"{path} is read by {via}, and {here} stands on what that stage makes{end}"
        return f"{path} is read by {via}, which stands above {here}"
    if root != planned and root.cause is not None:
        return f"{via} runs again ({root.cause.text}) and stands above {here}"
    return planned.cause.text if planned.cause is not None else ""


def _followed(planned: PlannedStep, steps: tuple[PlannedStep, ...]) -> str:
    below = [one for one in steps if one.status != "cached" and one.line > planned.line]
    if not below:
        return ""
    word = "may run" if any(one.status == "unknown" for one in below) else "run"
    if len(below) == 1:
        return f"; 1 step after it {word.replace('run', 'runs') if word == 'run' else word} again too"
    return f"; {len(below)} steps after it {word} again too"


def _name(step: PlannedStep) -> str:
    return f"{step.instruction} (line {step.line})"


def _about_path(path: str, root: PlannedStep, planned: PlannedStep, cost: StepCost) -> tuple[str, str]:
    """Return the code and the way out for an edited path that reaches an expensive step."""
    if cost.family is None:
        return "expensive-step", _for_own_script(path, root, planned, cost)
    needed = is_needed(path, cost.manifests, cost.families) or names_file(cost.command, path)
    if planned.status == "unknown" and manifest_family(path):
        # A manifest of another tool, from which a stage makes what this step installs from.
        needed = True
    match cost.role:
        case "build":
            if needed and not cost.installed and cost.family != "c":
                return "dependency-install", cost.cache_mount or NOTHING_TO_DO
            return "build-from-source", _for_build(planned, cost)
        case "standalone":
            others = manifest_family(path)
            if others and cost.family not in others and needed:
                return "dependency-install", (
                    f"{cost.family} needs none of these files: give it a RUN of its own above {_name(root)}"
                )
            if not needed:
                return "source-above-install", _for_standalone(root, planned)
        case "browsers":
            if not needed:
                return "source-above-install", (
                    f"install the browsers right after the packages, above the source of {_name(root)}"
                )
        case _:
            if not needed and root.stage == planned.stage and manifest_family(path):
                return "source-above-install", (
                    f"give this install a stage of its own and COPY --from it: {path} belongs to another tool"
                )
            if not needed:
                return "source-above-install", _for_install(root, planned, cost)
    return "dependency-install", cost.cache_mount or NOTHING_TO_DO


def _for_own_script(path: str, root: PlannedStep, planned: PlannedStep, cost: StepCost) -> str:
    """Return the way out for a step of which nobody knows what it reads: its author does."""
    if root == planned or names_file(cost.command, path):
        return NOTHING_TO_DO
    if root.stage != planned.stage:
        return f"COPY --from only what it reads above line {planned.line}, and the rest below it"
    return f"COPY only what it reads above line {planned.line}, and the rest below it"


def _for_build(planned: PlannedStep, cost: StepCost) -> str:
    if cost.family == "cargo" and not cost.installed and not cost.has_cache_mount:
        return (
            "compile the dependencies in a step of their own above the source (cargo chef cook):"
            " then only your own code is compiled"
        )
    if cost.cache_mount:
        return cost.cache_mount
    if cost.kind in _OF_PRODUCTION:
        return (
            f"develop on a stage that ends above line {planned.line} and runs the development server:"
            " devloop watch --target STAGE"
        )
    return "nothing to do: this step compiles what was edited"


_OF_PRODUCTION = frozenset({"js-build", "assets-precompile"})
"""Kinds of builds that a development server does without."""


def _for_standalone(root: PlannedStep, planned: PlannedStep) -> str:
    if root == planned:
        return "take the files of the project out of this step: it needs none of them"
    if root.stage != planned.stage:
        return (
            f"move line {planned.line} up in its stage, above the COPY --from: it needs none of these files"
        )
    return f"move line {planned.line} above {_name(root)}: it needs none of the files there"


def _for_install(root: PlannedStep, planned: PlannedStep, cost: StepCost) -> str:
    if cost.kind == "pip-project":
        return (
            f"install the dependencies from a requirements file above {_name(root)},"
            " and here only the project: pip install --no-deps ."
        )
    files, hint = copy_first(cost.family or "", cost.manifests, cost.command)
    if root == planned:
        return f"mount only {files}: then this edit reruns no install"
    if root.stage != planned.stage:
        where = f"COPY {files} from the build context above line {planned.line}, and from the stage below it"
        return f"{where}: then this edit reruns no install"
    rest = "the rest, with the build in a RUN of its own," if cost.builds_too else "the rest"
    where = f"COPY only {files} above line {planned.line} and {rest} below it{hint}"
    return f"{where}: then this edit reruns no install"


def _root(situation: Situation, step: Step) -> Step | None:
    """Follow a step's inputs up to the first one that runs for a reason of its own."""
    by_vertex = {one.vertex: one for one in situation.graph.steps if one.vertex is not None}
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
        if not blocked and cause is not None and cause.rule == "stage":
            # All above is cached, and was never built on: the cause says where the edit is read.
            return next((one for one in situation.graph.steps if one.span.first == cause.line), None)
        if not blocked or (cause is not None and cause.rule != "stage"):
            break
        vertex = blocked[0]
    if vertex is None:
        return None
    return by_vertex.get(vertex) or situation.graph.steps[situation.graph.vertices[vertex].step]


def quiet_seconds(plan: Plan, *, share: float, most: float) -> float:
    """Return how long what expensive steps read must be quiet before a plan is carried out.

    The time is a share of the price, so that a second edit finds no build that has got far; a price that
    nobody knows counts as one that makes the wait the longest.
    """
    if not plan.expensive:
        return 0.0
    if plan.seconds is not None:
        return round(min(most, share * plan.seconds), 3)
    known = [plan.steps[number].seconds for number in plan.expensive]
    return most if None in known else round(min(most, share * sum(one or 0.0 for one in known)), 3)


def describe_seconds(seconds: float | None, seconds_from: SecondsFrom | None) -> str:
    """Write what a plan expects to take, with where the number is from."""
    if seconds is None:
        return "time unknown until it has run once"
    sign = "" if seconds_from == "measured" or seconds < SHORTEST else "~"
    return f"{sign}{format_seconds(seconds)}"
