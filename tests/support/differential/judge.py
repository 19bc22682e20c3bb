"""Runs a case against an engine: predict, build, compare, learn, edit, and again.

What is asked is the product's own code, put together as the session does it. What answers is the engine.
"""

from __future__ import annotations

import ast
import json
import os
import posixpath
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.cache.baseline import Baseline, describe
from devloop.cache.predict import Answer, Lesson, Prediction, learn
from devloop.dockerfile.stages import (
    BuildGraph,
    FromContext,
    FromImage,
    FromVertex,
    ImageConfig,
    Platform,
    Step,
)
from devloop.engine.buildx import Buildx
from devloop.engine.endpoint import Engine, current_endpoint
from devloop.engine.images import image_config, image_facts
from devloop.errors import DevloopError
from devloop.loop.builds import Seen, build_request, engine_definitions, match_outcome
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.reading import Model, ReadingProblem, Tree
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Switches, Workspace
from devloop.state.database import Database
from support.differential.case import SALT, Case, Edit, State, apply, put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from devloop.cache.records import Records
    from devloop.engine.base import BuildOutcome, BuildRequest, OpFacts

    Predictor = Callable[["Model", "Tree", "Records", "Given", "Workspace"], "Prediction"]

PATIENCE = threading.Event()
"""A build of the test is never canceled."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A disagreement: `sin` is a step that was called cached and ran, the worst there is."""

    kind: str
    build: int
    line: int
    text: str

    def __str__(self) -> str:
        return f"build {self.build}, line {self.line}: {self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a case: what was asked, what was predicted, and what came of it."""

    number: int
    model: Model
    prediction: Prediction
    outcome: BuildOutcome
    seen: Seen


@dataclass(slots=True)
class Report:
    """What a case came to."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_plan: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not self.findings

    def kinds(self) -> set[str]:
        return {finding.kind for finding in self.findings}


class Laboratory:
    """An engine, reached as the product reaches it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.buildx = Buildx(self.environ)
        self.facts = self.buildx.facts()
        if not self.facts.reachable:
            raise RuntimeError(self.facts.error)
        self.engine = Engine(current_endpoint(self.environ), timeout_seconds=30)
        self.switches = Switches(self.facts.supports_merge, self.facts.listing, self.facts.platform)
        self.builder = f"{self.facts.endpoint} {self.facts.name} {self.facts.image_store or ''}"

    def inspect(self, reference: str, platform: Platform) -> ImageConfig | None:
        try:
            found = image_facts(self.engine, reference, str(platform))
        except DevloopError:
            return None
        return image_config(found) if found is not None else None

    def docker(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", *arguments], env=self.environ, cwd=cwd, capture_output=True, check=False, timeout=120
        )


def product(_model: Model, _tree: Tree, _records: Records, given: Given, workspace: Workspace) -> Prediction:
    """Predict as devloop does."""
    return workspace.plan(given).prediction


def run_case(
    case: Case,
    laboratory: Laboratory,
    *,
    predictor: Predictor = product,
    salt: str | None = None,
    stop_early: bool = False,
    say: Callable[[str], None] = lambda _text: None,
) -> Report:
    """Build the start and every step of a case, and compare each build with its prediction."""
    salt = salt or f"s{secrets.token_hex(4)}"
    folder = Path(tempfile.mkdtemp(prefix=f"diff-{salt}-")).resolve()
    run = _Run(laboratory, folder, salt, predictor, say)
    try:
        state = replace(case.start)
        run.start(state)
        run.build(state, ())
        history = [state]
        for step in case.steps:
            if stop_early and run.report.findings:
                break
            for edit in step:
                after = apply(state, edit, history)
                run.edit(state, after, edit)
                state = after
            history.append(state)
            run.build(state, step)
        return run.report
    finally:
        run.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Run:
    def __init__(
        self,
        laboratory: Laboratory,
        folder: Path,
        salt: str,
        predictor: Predictor,
        say: Callable[[str], None],
    ) -> None:
        self.laboratory = laboratory
        self.folder = folder
        self.root = folder / "project"
        self.salt = salt
        self.predictor = predictor
        self.say = say
        self.report = Report()
        self.database = Database(folder / "state" / "state.db")
        self.memories: dict[str, Memory] = {}
        self.count = 0
        self.baselines: dict[str, Baseline] = {}
        self.has_forced = False
        self.is_lost = False
        self.has_mode_edits = False

    def close(self) -> None:
        self.database.close()
        if self.image_is_made:
            self.laboratory.docker("image", "rm", "-f", f"devloop-diff-{self.salt}")

    image_is_made = False

    def start(self, state: State) -> None:
        self.root.mkdir(parents=True)
        (self.root / "ctx").mkdir()
        put(self.root, None, state, None, self.salt)
        self._base(state)

    def _base(self, state: State) -> None:
        if state.base is None:
            return
        place = self.folder / "base"
        place.mkdir(exist_ok=True)
        (place / "Dockerfile").write_text(state.base.replace(SALT, self.salt))
        made = self.laboratory.docker("build", "-q", "-t", f"devloop-diff-{self.salt}", str(place))
        if made.returncode:
            raise RuntimeError(made.stderr.decode())
        self.image_is_made = True

    def edit(self, before: State, after: State, edit: Edit) -> None:
        match edit.kind:
            case "foreign":
                # A build that devloop does not see, of what is there now or of less.
                target = ["--target", edit.text] if edit.text else []
                file = ["-f", before.options.file.removeprefix("ctx/")]
                self.laboratory.docker("build", "-q", *target, *file, ".", cwd=self.root / "ctx")
                self.report.counts["foreign builds"] += 1
            case "prune":
                # Nothing but what this case has left there.
                self.laboratory.docker("builder", "prune", "-af", "--filter", f"description~={self.salt}")
                self.is_lost = True
                self.report.counts["prunes"] += 1
            case "restart":
                self.memories.clear()
                self.database.close()
                self.database = Database(self.folder / "state" / "state.db")
            case _:
                self.has_mode_edits = self.has_mode_edits or edit.kind in {"chmod", "stealth"}
                put(self.root, before, after, edit, self.salt)
                if before.base != after.base:
                    self._base(after)

    # One build

    def workspace(self, state: State) -> Workspace:
        options = state.options
        file = os.path.relpath(self.root / options.file, self.root / "ctx")
        settings = Settings(
            file=file,
            target=options.target,
            build_arg={name: value.replace(SALT, self.salt) for name, value in options.args.items()},
            build_context=dict(options.contexts),
            network=options.network,
            add_host=[f"{name}:{address}" for name, address in options.hosts.items()],
            no_cache=options.no_cache,
        )
        location = locate(self.root / "ctx", settings)
        memory = self.memories.setdefault(location.identity, Memory(location, self.database))
        return Workspace(
            location,
            settings,
            memory,
            builder=self.laboratory.builder,
            switches=self.laboratory.switches,
            inspect=self.laboratory.inspect,
            environ=self.laboratory.environ,
        )

    def build(self, state: State, step: Sequence[Edit]) -> None:
        number, self.count = self.count, self.count + 1
        workspace = self.workspace(state)
        model = workspace.read()
        request = replace(
            build_request(workspace.location, workspace.settings), output="type=cacheonly", tags=()
        )
        if isinstance(model, ReadingProblem):
            outcome = self._ask(request)
            self.report.counts["refused"] += 1
            if outcome.error_kind not in {"dockerfile", "other"}:
                self._find(
                    "refusal",
                    number,
                    0,
                    f"{model.rendered or model.message} / {outcome.error_kind} {outcome.error}",
                )
            return
        tree = workspace.tree(model)
        records = workspace.records(model.graph)
        given = Given(
            model=model,
            tree=tree,
            records=records,
            baseline=workspace.memory.baseline(),
            changes=workspace.changes_since_built(tree),
        )
        started = time.perf_counter()
        prediction = self.predictor(model, tree, records, given, workspace)
        self.report.slowest_plan = max(self.report.slowest_plan, time.perf_counter() - started)
        outcome = self._ask(request)
        self.report.counts["builds"] += 1
        seen = match_outcome(model.graph, outcome)
        after = workspace.tree(model)
        records = workspace.records(model.graph)
        lessons = learn(
            model.graph,
            tree,
            records,
            seen.vertices,
            lambda: secrets.token_hex(8),
            forced=workspace.settings.no_cache,
            changed_meanwhile=lambda context, taken: tree.key(context, taken) != after.key(context, taken),
        )
        if outcome.status == "ok" or outcome.context_seconds is not None:
            workspace.sent(model, tree)
        built = Build(number, model, prediction, outcome, seen)
        self._compare(built, lessons)
        self._compare_operations(built)
        memory = workspace.memory
        memory.save_records(self.laboratory.builder, records)
        memory.save_engine_definitions(self.laboratory.builder, engine_definitions(model.graph, seen))
        memory.save_builder(self.laboratory.builder, workspace.switches.as_text())
        if outcome.status == "ok":
            memory.save_baseline(describe(model.graph, tree), tree.snapshots)
        memory.save_indexes()
        if memory.problem:
            self._find("memory", number, 0, memory.problem)
        self._say_build(built, step)

    def _ask(self, request: BuildRequest) -> BuildOutcome:
        return self.laboratory.buildx.build(request, on_event=lambda _event: None, cancel=PATIENCE)

    def _find(self, kind: str, build: int, line: int, text: str) -> None:
        self.report.findings.append(Finding(kind, build, line, text))

    def _compare(self, built: Build, lessons: Sequence[Lesson]) -> None:
        number, model, prediction = built.number, built.model, built.prediction
        outcome, seen = built.outcome, built.seen
        graph, counts = model.graph, self.report.counts
        expected_failure = next((a.missing for a in prediction.answers if a.missing is not None), None)
        if outcome.status == "ok" and expected_failure is not None:
            self._find(
                "missing", number, 0, f"{expected_failure} was called missing, and the build went well"
            )
        if outcome.status != "ok":
            counts["failed builds"] += 1
            self._unforeseen(built)
            if outcome.error_kind not in {"source", "step"}:
                self._find(
                    "failure", number, outcome.error_line or 0, f"{outcome.error_kind}: {outcome.error}"
                )
        predicted_first = actual_first = None
        is_open = False
        forgive_loss = self.is_lost
        for step in graph.steps:
            if step.vertex is None:
                continue
            for vertex in {step.vertex, step.last_vertex}:
                if vertex is None:
                    continue
                answer = prediction.answers[vertex]
                found = seen.vertices.get(vertex, "unseen")
                hit = answer.result.hit
                line, text = step.span.first, f"{step.instruction.text.splitlines()[0]} ({_why(answer)})"
                if found == "unseen":
                    if outcome.status == "ok" and hit != "yes":
                        self._find(
                            "unmatched", number, line, f"{text}: predicted {hit}, and nothing was seen"
                        )
                    continue
                counts["steps"] += 1
                counts[f"{hit}->{found}"] += 1
                if hit == "yes" and found != "cached":
                    if forgive_loss and lessons[vertex].kind == "lost":
                        counts["recognised as lost"] += 1
                    elif forgive_loss:
                        counts["below a lost one"] += 1
                    else:
                        self._find("sin", number, line, text)
                elif hit == "no" and found == "cached":
                    if _has_twin(graph, prediction, vertex):
                        counts["merged twins"] += 1
                    elif self.report.counts["foreign builds"]:
                        counts["found by a foreign build"] += 1
                    else:
                        self._find("pessimism", number, line, text)
                elif hit == "maybe":
                    is_open = True
                    reason = self._reason(graph, prediction, vertex)
                    counts[f"unknown: {reason}"] += 1
                    if reason == "no reason":
                        self._find("unknown", number, line, text)
                if hit == "no":
                    predicted_first = min(predicted_first or line, line)
                if found in {"ran", "failed"}:
                    actual_first = min(actual_first or line, line)
        if not is_open and not forgive_loss and outcome.status == "ok":
            counts["earliest right" if predicted_first == actual_first else "earliest wrong"] += 1

    def _unforeseen(self, built: Build) -> None:
        """Check that a step that failed for want of a context path was known to fail."""
        model, prediction = built.model, built.prediction
        for number_of_step, found in built.seen.steps.items():
            vertex = model.graph.steps[number_of_step].vertex
            # The folder that a wildcard stands in is only looked for when the step runs.
            if vertex is None or "failed to calculate checksum" not in (found.error or ""):
                continue
            taken = [entry for entry in model.graph.vertices[vertex].inputs if entry.by_content]
            is_local = bool(taken) and all(isinstance(entry.producer, FromContext) for entry in taken)
            if is_local and prediction.answers[vertex].missing is None:
                line = model.graph.steps[number_of_step].span.first
                self._find("missing", built.number, line, f"not foreseen: {found.error}")

    def _reason(self, graph: BuildGraph, prediction: Prediction, vertex: int) -> str:
        """Name the rule by which a step may be called unknown; see section 14 of the model."""
        answer = prediction.answers[vertex]
        if answer.is_dynamic:
            return "remote source"
        if answer.only_modes_differ:
            return "directory mode or stealth" if self.has_mode_edits else "no reason"
        for number in answer.unsure_inputs or range(len(graph.vertices[vertex].inputs)):
            entry = graph.vertices[vertex].inputs[number]
            if isinstance(entry.producer, FromImage) and entry.by_content:
                return "content of an image"
            if not isinstance(entry.producer, FromVertex):
                continue
            producer = prediction.answers[entry.producer.vertex].result
            if producer.hit == "maybe":
                return "below an unknown"
            if entry.by_content:
                return "content of a step that runs" if producer.hit == "no" else "content of another record"
            if len(producer.ids) > 1 or producer.hit == "yes":
                return "which record is open"
        return "no reason"

    # The engine's own definitions

    def _compare_operations(self, built: Build) -> None:
        graph = built.model.graph
        for place, outcome in built.seen.steps.items():
            step = graph.steps[place]
            if outcome.definition is None or step.vertex is None:
                continue
            self.report.counts["definitions compared"] += 1
            for text in definition_differences(graph, step, outcome.definition):
                self._find("definition", built.number, step.span.first, text)

    def _say_build(self, built: Build, step: Sequence[Edit]) -> None:
        number, model, prediction = built.number, built.model, built.prediction
        outcome, seen = built.outcome, built.seen
        self.say(f"--- build {number}: {', '.join(map(_edit_words, step)) or 'start'} -> {outcome.status}")
        if outcome.error:
            self.say(f"  {outcome.error_kind}: {outcome.error}")
        for vertex in outcome.vertices:
            if vertex.error:
                self.say(f"  {vertex.name}: {vertex.error}")
        for one in model.graph.steps:
            if one.vertex is not None:
                answer = prediction.answers[one.vertex]
                shown = one.instruction.text.splitlines()[0]
                found = seen.vertices.get(one.vertex, "-")
                self.say(f"  {one.span.first:>3} {answer.result.hit:>5} -> {found:<7} {shown}")


def _edit_words(edit: Edit) -> str:
    return " ".join(
        str(part) for part in (edit.kind, edit.path, edit.to, edit.text[:40], edit.item or "") if part
    )


def _why(answer: Answer) -> str:
    return f"predicted {answer.result.hit}, failing {answer.failing_inputs}, unsure {answer.unsure_inputs}"


def _has_twin(graph: BuildGraph, prediction: Prediction, vertex: int) -> bool:
    """Tell whether another step of the same build has the same operation, so that the two can be one."""
    return any(
        other.number != vertex
        and prediction.answers[other.number].operation == prediction.answers[vertex].operation
        for other in graph.vertices
    )


def definition_differences(graph: BuildGraph, step: Step, facts: OpFacts) -> list[str]:
    """Compare the parts of a step's operation with what the engine's frontend made of the instruction."""
    if step.vertex is None:
        return []
    operation = graph.vertices[step.vertex].operation
    parts = dict(operation.parts)
    found: list[tuple[str, object, object]] = []
    if operation.kind == "exec":
        argv = ast.literal_eval(parts["command"])
        heredoc = [m for m in facts.mounts if m.target == "/dev/pipes/"]
        if heredoc:
            argv = (*argv[:-2], f"/dev/pipes/{argv[-2]}")
        found.append(("argv", tuple(argv), facts.argv))
        found.append(("environment", tuple(parts["environment"].split("\0")), facts.env))
        found.append(("workdir", parts["workdir"], facts.cwd))
        found.append(("user", parts["user"], facts.user))
        found.append(("network", parts["network"].replace("default", ""), facts.network))
        found.append(("hostname", parts.get("hostname", ""), facts.hostname))
        found.append(("hosts", parts["hosts"], " ".join(sorted(host for host, _ in facts.extra_hosts))))
        found.append(("platform", parts["platform"], facts.platform))
        ours = [ast.literal_eval(one) for one in parts["mounts"].splitlines()]
        mounts = [(kind, covered[0]) for kind, covered in ours if kind in {"bind", "cache", "tmpfs"}]
        theirs = [
            (m.kind, m.target)
            for m in facts.mounts
            if m.kind in {"bind", "cache", "tmpfs"} and m.target not in {"/", "/dev/pipes/"}
        ]
        found.append(("mounts", mounts, theirs))
        secrets_of = [(covered[0], covered[1]) for kind, covered in ours if kind == "secret" and covered[1]]
        theirs = [(_secret_name(m.options), m.target) for m in facts.mounts if m.kind == "secret"]
        found.append(("secrets", secrets_of, theirs))
        given = {
            m.input
            for m in facts.mounts
            if m.input and m.target != "/dev/pipes/" and not (m.kind == "cache" and m.selector == "/cache")
        }
        found.append(("inputs", len(graph.vertices[step.vertex].inputs), len(given)))
    elif operation.kind == "mkdir":
        (action,) = facts.actions
        found.append(("path", parts["path"], action.target))
        found.append(("owner", _owner_text(ast.literal_eval(parts["owner"])), action.owner))
    elif operation.kind == "copy":
        destination, owner, mode, _excludes = ast.literal_eval(parts["destination"])
        actions = [action for action in facts.actions if action.kind == "copy"]
        names = [_engine_name(one.source) for one in actions]
        ours_names = [_our_name(line) for line in parts["files"].splitlines()]
        found.append(("sources", [one for one in ours_names if one], names))
        inline = sum(line.startswith("inline ") for line in parts["files"].splitlines())
        found.append(("inputs", len(graph.vertices[step.vertex].inputs), len(facts.inputs) - inline))
        for action in actions:
            found.append(("destination", destination, action.target))
            found.append(("owner", _owner_text(owner), action.owner))
            found.append(("mode", _mode_text(mode), action.mode))
    return [
        f"{name}: ours {ours!r}, the engine's {theirs!r}" for name, ours, theirs in found if ours != theirs
    ]


def _secret_name(options: tuple[tuple[str, str], ...]) -> str:
    return str(json.loads(dict(options)["secretOpt"])["ID"])


def _engine_name(source: str) -> str:
    return posixpath.basename(source.rstrip("/")) or "/"


def _our_name(line: str) -> str:
    kind, _, rest = line.partition(" ")
    if kind == "inline":
        return str(ast.literal_eval(rest)[0])
    if kind == "path":
        return str(ast.literal_eval(rest[: rest.index(" (")]))
    return ""


def _owner_text(owner: tuple[str, ...] | None) -> str:
    return ":".join(owner) if owner is not None else ""


def _mode_text(mode: str | None) -> str:
    if mode is None:
        return ""
    return f"{int(mode):o}" if mode.isdigit() else mode
