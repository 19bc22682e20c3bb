"""Model, contents, records and history put together to a plan.

Reads the state through the objects that it is handed; every rule that it applies lives in `cache`, `cost`
and `plan`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from devloop.cache.baseline import Baseline, fingerprint
from devloop.cache.predict import Contents, Prediction, predict
from devloop.cache.records import Records
from devloop.context.selection import reads
from devloop.cost.classify import Classification, classify
from devloop.cost.estimate import estimate_overhead, estimate_step, format_bytes
from devloop.cost.history import History, RestartTimes
from devloop.cost.priors import PRIORS, Prior, own_prior
from devloop.cost.weight import ContextWeight, Recipe, is_worth_telling, transfer_seconds, weigh
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.silence import silences
from devloop.dockerfile.stages import MAIN_CONTEXT, BuildGraph, FromContext, FromVertex, Step
from devloop.paths import ContextPath, context_path
from devloop.plan.advice import Surroundings, cache_mount, is_filled, role_of
from devloop.plan.causes import ChangesOf, Evidence, name_causes
from devloop.plan.decide import (
    Overheads,
    Situation,
    StepCost,
    build_seconds,
    decide,
    rebuild_seconds,
)
from devloop.plan.manifests import Above, TextsOf, tell
from devloop.plan.model import PathChange, Plan, Warned
from devloop.plan.sync import Blocked, SyncPlan
from devloop.project.reading import Model, Tree, selection_of
from devloop.project.settings import Settings
from devloop.state.database import StateUnavailable


def step_key(graph: BuildGraph, step: Step) -> str:
    """Return the key under which the durations of a step are kept.

    It is the instruction's text without the amount of its blanks, and the base that its stage stands on: an
    edit of a variable's value does not forget what an install took.
    """
    index: int | None = step.stage
    reference = ""
    while index is not None:
        stage = graph.stage(index)
        reference, index = stage.base_reference, stage.base_stage
    text = "\0".join((step.keyword, " ".join(_work_text(step).split()), reference))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _work_text(step: Step) -> str:
    if isinstance(step.instruction, ins.Run):
        form = ins.run_script(step.instruction)
        return " ".join(form.words) if isinstance(form, ins.ExecWords) else _script(form)
    return step.text


def _script(form: ins.ScriptForm) -> str:
    match form:
        case ins.ExecWords(words=words):
            return " ".join(words)
        case ins.HeredocFile(body=body):
            return body
        case ins.ShellLine(text=text) | ins.HeredocBody(text=text) | ins.LineWithHeredocs(text=text):
            return text


def priors_of(settings: Settings) -> tuple[Prior, ...]:
    """Return the table of kinds with the user's own rows in front."""
    rows = settings.prior
    own = [
        own_prior(
            row.run,
            row.seconds,
            kind=row.kind,
            expensive=row.expensive,
            reason=row.reason,
            manifests=row.manifests,
        )
        for row in rows
    ]
    return (*own, *PRIORS)


def classify_steps(
    graph: BuildGraph, *, threshold_seconds: float = 5.0, table: Sequence[Prior] = PRIORS
) -> dict[int, Classification]:
    """Classify every RUN step of the graph, each with the earlier ones of its chain of stages."""
    found: dict[int, Classification] = {}
    chains: dict[int, tuple[list[Classification], bool]] = {}
    for stage in sorted(graph.stages, key=lambda one: one.index):
        above, copied = (
            chains.get(stage.base_stage, ([], False)) if stage.base_stage is not None else ([], False)
        )
        earlier = list(above)
        for number in stage.steps:
            step = graph.steps[number]
            if isinstance(step.instruction, ins.Run):
                form = ins.run_script(step.instruction)
                found[number] = classify(
                    form.words if isinstance(form, ins.ExecWords) else _script(form),
                    shell=step.shell,
                    has_cache_mount=_has_cache_mount(step.instruction),
                    earlier=tuple(earlier),
                    source_copied_since=copied,
                    table=table,
                    threshold_seconds=threshold_seconds,
                )
                earlier.append(found[number])
                if found[number].families:
                    copied = False
            elif step.keyword in {"COPY", "ADD"} and _reads_context(graph, step):
                copied = True
        chains[stage.index] = (earlier, copied)
    return found


def _has_cache_mount(run: ins.Run) -> bool:
    return any(mount.type == "cache" for mount in run.mounts)


def _reads_context(graph: BuildGraph, step: Step) -> bool:
    if step.vertex is None:
        return False
    return any(isinstance(entry.producer, FromContext) for entry in graph.vertices[step.vertex].inputs)


def price_steps(
    graph: BuildGraph,
    history: History | None,
    project: str,
    *,
    warn_seconds: float = 5.0,
    table: Sequence[Prior] = PRIORS,
) -> dict[int, StepCost]:
    """Price every step: from its own runs, from runs of its kind on this machine, else from the priors."""
    classes = classify_steps(graph, threshold_seconds=warn_seconds, table=table)
    keys = {step.number: step_key(graph, step) for step in graph.steps}
    own: Mapping[str, tuple[float, ...]] = {}
    alike: Mapping[str, tuple[float, ...]] = {}
    if history is not None:
        try:
            own = history.durations(project, keys.values())
            kinds = {one.comparable_kind for one in classes.values()}
            alike = history.durations_by_kind(kind for kind in kinds if kind is not None)
        except StateUnavailable:
            own, alike = {}, {}
    manifests: dict[str, list[str]] = {}
    for prior in table:
        # The kind's own files come first, then those of its family.
        manifests.setdefault(prior.kind, []).extend(prior.manifests)
        manifests.setdefault(f"family {prior.family}", []).extend(prior.manifests)
    costs: dict[int, StepCost] = {}
    for step in graph.steps:
        one = classes.get(step.number)
        estimate = estimate_step(
            own.get(keys[step.number], ()),
            alike.get(one.comparable_kind or "", ()) if one else (),
            one,
            step.keyword,
        )
        expensive = False
        if one is not None:
            expensive = one.expensive is True
            if estimate.seconds_from == "measured" and estimate.seconds is not None:
                expensive = estimate.seconds >= warn_seconds
            if one.said is not None:
                expensive = one.said
        families = one.families if one is not None else ()
        run = step.instruction if isinstance(step.instruction, ins.Run) else None
        costs[step.number] = StepCost(
            kind=one.kind if one is not None else None,
            family=one.family if one is not None else None,
            expensive=expensive,
            seconds=estimate.seconds if step.vertex is not None else None,
            seconds_from=estimate.seconds_from if step.vertex is not None else None,
            note=estimate.note,
            basis=estimate.basis,
            manifests=tuple(
                dict.fromkeys(
                    name
                    for key in (one.kind if one is not None else "", *(f"family {each}" for each in families))
                    for name in manifests.get(key, ())
                )
            ),
            has_cache_mount=run is not None and _has_cache_mount(run),
            families=families,
            command=_work_text(step),
        )
    for number, one in classes.items():
        costs[number] = _with_advice(graph, graph.steps[number], one, classes, costs[number])
    return costs


def _with_advice(
    graph: BuildGraph,
    step: Step,
    one: Classification,
    classes: Mapping[int, Classification],
    cost: StepCost,
) -> StepCost:
    """Add what a step needs and which cache mount would help it."""
    if not cost.expensive or one.family is None:
        return cost
    role = role_of(one.kind, cost.command)
    above = [other for other in _steps_above(graph, step) if other.number in classes]
    steps = [graph.steps[number] for number in classes if classes[number].family == one.family]
    where = Surroundings(
        text=cost.command,
        line=step.span.first,
        user=step.user,
        environment=dict(step.environment),
        base=_base_image(graph, step),
        earlier=tuple(_work_text(other) for other in above),
        installed=any(
            one.family in classes[other.number].families
            and role_of(classes[other.number].kind, _work_text(other)) == "install"
            for other in above
        ),
        taken=_taken_from(graph, step),
        copied=_copied_above(graph, step, only_stages=False),
        copied_from=_copied_above(graph, step, only_stages=True),
        is_used_later=any(step in _steps_above(graph, other) for other in steps),
        is_kept=step.stage in _chain(graph, graph.target),
        started=_started(graph),
    )
    return replace(
        cost,
        role=role,
        installed=where.installed or is_filled(one.family, where),
        builds_too=role == "install" and any(role_of(kind, "") == "build" for kind in one.kinds),
        cache_mount="" if cost.has_cache_mount else cache_mount(one.kind, one.family, role, where),
    )


def _chain(graph: BuildGraph, index: int | None) -> tuple[int, ...]:
    """Return a stage and those that it starts from."""
    found: list[int] = []
    while index is not None:
        found.append(index)
        index = graph.stage(index).base_stage
    return tuple(found)


def _started(graph: BuildGraph) -> str:
    """Return the words of ENTRYPOINT and CMD as one text."""
    configuration = dict(graph.configuration)
    texts = (configuration.get(part, "") for part in ("entrypoint", "cmd"))
    return " ".join(one or other for text in texts for one, other in _QUOTED.findall(text))


_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def _base_image(graph: BuildGraph, step: Step) -> str:
    return graph.stage(_chain(graph, step.stage)[-1]).base_reference


def _steps_above(graph: BuildGraph, step: Step) -> tuple[Step, ...]:
    """Return the steps above one in its chain of stages."""
    chain = reversed(_chain(graph, step.stage))
    found = [graph.steps[number] for index in chain for number in graph.stage(index).steps]
    return tuple(one for one in found if one.number < step.number)


def _copied_above(graph: BuildGraph, step: Step, *, only_stages: bool) -> tuple[str, ...]:
    """Return where files were copied to above a step, or only those of other stages and images."""
    return tuple(
        one.destination.rstrip("/") or "/"
        for one in _steps_above(graph, step)
        if isinstance(one.instruction, ins.Copy | ins.Add) and one.destination is not None
        if not only_stages or (isinstance(one.instruction, ins.Copy) and one.instruction.from_ is not None)
    )


def _taken_from(graph: BuildGraph, step: Step) -> tuple[str, ...]:
    """Return the absolute paths that COPYs and mounts of other stages take from the stage of a step."""
    return tuple(
        "/" + context_path(source)
        for vertex in graph.vertices
        for entry in vertex.inputs
        if isinstance(entry.producer, FromVertex)
        and graph.steps[graph.vertices[entry.producer.vertex].step].stage == step.stage
        for taken in entry.taken
        for source in taken.sources
    )


def overheads(history: History | None, project: str, runs: frozenset[str]) -> Overheads:
    """Return what a rebuild costs besides its steps, as measured on earlier ones; `runs` are keys of steps.

    Without a build of this project, builds of others on this machine tell.
    """
    if history is None:
        return Overheads()
    try:
        builds = history.overheads(project) or history.overheads(None)
        replaced = _total(history.restart_times(project, "replace"))
        in_place = _total(history.restart_times(project, "process"))
        restarted = in_place if in_place is not None else _total(history.restart_times(project, "container"))
    except StateUnavailable:
        return Overheads()
    return Overheads(estimate_overhead(builds, runs), replaced, restarted)


def _running(graph: BuildGraph, prediction: Prediction) -> frozenset[str]:
    """Return the keys of the steps that run, or may."""
    return frozenset(
        step_key(graph, step)
        for step in graph.steps
        if step.vertex is not None and prediction.answers[step.vertex].result.hit != "yes"
    )


def _total(times: RestartTimes) -> float | None:
    parts = (times.stop_seconds, times.start_seconds, times.healthy_seconds)
    measured = [part for part in parts if part is not None]
    return sum(measured) if measured else None


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is asked about: a model with contents, against what was built and what runs."""

    model: Model
    contents: Contents
    records: Records
    baseline: Baseline | None
    changes: tuple[PathChange, ...]
    changes_of: ChangesOf
    unread: tuple[str, ...] = ()
    deployed: str | None = None
    run_changes: tuple[str, ...] = ()
    dockerfile_changed: bool = False
    sync: SyncPlan | Blocked | None = None
    reloader: str | None = None
    manifests: TextsOf | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A plan with what it was derived from, for whoever builds next and compares.

    `build_seconds` is what the builder alone would take, `rebuild_seconds` a rebuild with its new container.
    """

    plan: Plan
    prediction: Prediction
    fingerprint: str
    build_seconds: float | None = None
    rebuild_seconds: float | None = None


def answer(question: Question, settings: Settings, history: History | None) -> Answered:
    """Make the plan."""
    model = question.model
    now = fingerprint(model.graph, question.contents)
    same_image = question.deployed is not None and question.deployed == now
    # Where nothing is to be built, nothing runs for being built without cache.
    no_cache = settings.no_cache and not same_image
    prediction = predict(model.graph, question.contents, question.records, no_cache=no_cache)
    evidence = Evidence(
        graph=model.graph,
        prediction=prediction,
        records=question.records,
        baseline=question.baseline,
        changes_of=question.changes_of,
        no_cache=no_cache,
    )
    project = model.location.identity
    situation = Situation(
        name=model.location.name,
        dockerfile=model.location.shown_dockerfile,
        context=str(model.location.context),
        graph=model.graph,
        prediction=prediction,
        causes=name_causes(evidence),
        changes=question.changes,
        unread=question.unread,
        costs=price_steps(
            model.graph,
            history,
            project,
            warn_seconds=settings.warn_seconds,
            table=priors_of(settings),
        ),
        overheads=overheads(history, project, _running(model.graph, prediction)),
        same_image=same_image,
        baseline=question.baseline,
        run_changes=question.run_changes,
        warn_seconds=settings.warn_seconds,
        silenced=frozenset(code.lower() for code in settings.silence),
        silences=silences(model.dockerfile),
        dockerfile_changed=question.dockerfile_changed,
        sync=question.sync,
        reloader=question.reloader,
        runs_container=settings.run,
    )
    plan = _with_manifests(decide(situation), situation, question)
    return Answered(plan, prediction, now, build_seconds(situation), rebuild_seconds(situation))


def _with_manifests(plan: Plan, situation: Situation, question: Question) -> Plan:
    """Say in the warnings what changed in the manifests, where their texts are known."""
    if question.manifests is None or not plan.warnings:
        return plan
    above = Above(
        situation.graph, situation.prediction, situation.causes, question.changes_of, question.manifests
    )
    families = {number: cost.family for number, cost in situation.costs.items()}
    return replace(plan, warnings=tell(plan.warnings, above, families, situation.is_silenced))


# The weight of the context --------------------------------------------------------------------------------

HEAVY_CONTEXT = "heavy-context"


def weigh_context(model: Model, tree: Tree) -> ContextWeight:
    """Weigh what the builder gets of the main context."""
    classes = classify_steps(model.graph)
    recipe = Recipe(
        sources=tuple(source for one in model.graph.taken_from(MAIN_CONTEXT) for source in one.sources),
        kinds=frozenset(kind for one in classes.values() for kind in one.kinds),
        families=frozenset(family for one in classes.values() for family in one.families),
        texts=tuple(_work_text(model.graph.steps[number]) for number in classes),
    )
    return weigh(tree.snapshots[MAIN_CONTEXT], recipe)


def context_warning(
    model: Model, tree: Tree, settings: Settings, sent: Iterable[tuple[int | None, float | None]]
) -> Warned | None:
    """Warn of files that no image needs and that are sent all the same, where that is worth a change.

    `sent` are bytes and seconds of the context in earlier builds, newest first.
    """
    weight = weigh_context(model, tree)
    seconds = transfer_seconds(weight, sent)
    if not is_worth_telling(weight, seconds):
        return None
    step = _reader_of(model, tree, weight.needless[0].path)
    silent = silences(model.dockerfile)
    codes = {code.lower() for code in settings.silence}
    if step is None or HEAVY_CONTEXT in codes:
        return None
    if silent.silenced(HEAVY_CONTEXT, step.span.first, step.span.last):
        return None
    named = [f"{one.path} ({format_bytes(one.bytes)}, {one.reason})" for one in weight.needless[:_NAMED]]
    more = len(weight.needless) - len(named)
    rest = f" and {more} more" if more > 0 else ""
    ignore = model.ignore_file.name if model.ignore_file is not None else ".dockerignore"
    return Warned(
        code=HEAVY_CONTEXT,
        line=step.span.first,
        instruction=step.keyword,
        text=step.text,
        seconds=round(seconds, 3),
        seconds_from="estimate",
        note=f"to send {format_bytes(weight.needless_bytes)} of {format_bytes(weight.bytes)} for nothing",
        why=f"{step.keyword} (line {step.span.first}) takes {', '.join(named)}{rest}",
        way_out=f"add to {ignore}, each on a line of its own: {', '.join(weight.lines[:_LINES])}",
    )


_NAMED = 3
_LINES = 8


def _reader_of(model: Model, tree: Tree, path: str) -> Step | None:
    """Return the first step that takes a path of the main context."""
    snapshot = tree.snapshots[MAIN_CONTEXT]
    for vertex in model.graph.vertices:
        for entry in vertex.inputs:
            if entry.producer == FromContext(MAIN_CONTEXT) and any(
                reads(selection_of(taken), ContextPath(path), snapshot) for taken in entry.taken
            ):
                return model.graph.steps[vertex.step]
    return None


def describe_feeds(graph: BuildGraph, step: Step) -> str:
    """Say what feeds a step: the context paths, stages and images that it takes from."""
    if step.vertex is None:
        return ""
    words: list[str] = []
    for entry in graph.vertices[step.vertex].inputs:
        for taken in entry.taken:
            words.extend(_feed_words(graph, entry.producer, taken.sources))
    return ", ".join(dict.fromkeys(words))


def _feed_words(graph: BuildGraph, producer: object, sources: Sequence[str]) -> list[str]:
    from devloop.dockerfile.stages import FromImage, FromRemote

    match producer:
        case FromContext(name=name):
            prefix = f"{name}:" if name else ""
            return [f"{prefix}{source}" for source in sources]
        case FromVertex(vertex=number):
            stage = graph.stage(graph.steps[graph.vertices[number].step].stage)
            return [f"{stage.label}:{source}" for source in sources]
        case FromImage(reference=reference):
            return [f"{reference}:{source}" for source in sources]
        case FromRemote(reference=reference):
            return [reference.strip()]
    return []
