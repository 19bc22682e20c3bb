"""What a build teaches: records of the cache, the price of its steps, and predictions that were wrong."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from devloop.cache.baseline import Baseline, base_images, describe
from devloop.cache.predict import Lesson, learn
from devloop.cache.store import Miss
from devloop.cost.history import BuildRecord, StepRecord
from devloop.cost.report import BuildAccount, account_to_json
from devloop.dockerfile.stages import Taken
from devloop.engine.base import BuildOutcome
from devloop.loop import events
from devloop.loop.account import PRUNED, WRONG, Findings, account_of
from devloop.loop.builds import Seen, engine_definitions, match_outcome
from devloop.loop.flight import Flight
from devloop.plan.decide import longest_chain
from devloop.plan.model import Cause
from devloop.project.planner import classify_steps, priors_of, step_key
from devloop.project.reading import Model, Tree
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from devloop.plan.model import Rule


@dataclass(slots=True)
class Teacher:
    """Compares each build with its prediction and writes down what is to be remembered."""

    workspace: Workspace
    engine_words: str = ""
    record: BuildRecord | None = None
    """The last build as it was recorded, with its account."""
    _said: set[tuple[str, str]] = field(default_factory=set)

    def teach(self, flight: Flight, outcome: BuildOutcome) -> tuple[Baseline | None, list[events.Event]]:
        """Learn from a build; returns the new baseline after a good one, and what the user should hear."""
        workspace, builder = self.workspace, self.workspace.builder
        if builder is None:
            return None, []
        seen = match_outcome(flight.model.graph, outcome)
        model = self._with_known_bases(flight, seen)
        if model is not flight.model:
            seen = match_outcome(model.graph, outcome)
        # What was saved while the builder read the context may or may not be in the image.
        after = workspace.tree(model)

        def changed_meanwhile(context: str, taken: Taken) -> bool:
            return flight.doubts_taking(context, taken) or _moved(flight.tree, after, context, taken)

        records = workspace.records(model.graph)
        lessons = learn(
            model.graph,
            flight.tree,
            records,
            seen.vertices,
            lambda: secrets.token_hex(8),
            forced=workspace.settings.no_cache,
            changed_meanwhile=changed_meanwhile,
        )
        lost = self._lost(model, seen, lessons)
        said = self._misses(flight, model, seen, lost)
        if not flight.doubts and (outcome.status == "ok" or outcome.context_seconds is not None):
            workspace.sent(model, flight.tree)
        memory = workspace.memory
        memory.save_records(builder, records)
        memory.save_engine_definitions(builder, engine_definitions(model.graph, seen))
        memory.save_builder(builder, workspace.switches.as_text())
        for reference, platform in model.graph.images:
            found = workspace.inspect(reference, platform)
            if found is not None:
                memory.save_image(builder, reference, platform, found)
        baseline = None
        if outcome.status == "ok" and not flight.doubts:
            baseline = describe(model.graph, flight.tree)
            memory.save_baseline(baseline, flight.tree.snapshots)
            workspace.keep_manifests(model, flight.tree)
        before = dict(base_images(flight.model.graph))
        account = account_of(
            Findings(
                graph=model.graph,
                plan=flight.answered.plan,
                seen=seen,
                lost={lesson.vertex: explanation for lesson, explanation in lost},
                moved=frozenset(
                    reference
                    for reference, key in base_images(model.graph)
                    if _is_known(before.get(reference)) and before[reference] != key
                ),
                changed_meanwhile=changed_meanwhile,
                is_background=flight.is_background,
            )
        )
        self._surprise(flight, model, seen, account)
        self._record(flight, model, outcome, seen, account)
        memory.save_indexes()
        return baseline, said

    def _with_known_bases(self, flight: Flight, seen: Seen) -> Model:
        """Read the model again where a base image is known only now, or is another one than was planned with.

        That a base moved is believed only if a step ran that should have been cached: it may have moved
        after the build as well.
        """
        model = flight.model
        known = base_images(model.graph)
        if all(_is_known(key) for _, key in known):
            expected = [step.status for step in flight.answered.plan.steps]
            is_surprised = any(
                found.status in {"run", "failed"} and expected[number] == "cached"
                for number, found in seen.steps.items()
            )
            if not is_surprised or not self._bases_moved(model, dict(known)):
                return model
        fresh = self.workspace.read()
        if isinstance(fresh, Model) and fresh.dockerfile.source == model.dockerfile.source:
            return fresh
        return model

    def _bases_moved(self, model: Model, known: Mapping[str, str]) -> bool:
        found = [(one, self.workspace.inspect(one, platform)) for one, platform in model.graph.images]
        return any(image is not None and image.key != known.get(one) for one, image in found)

    def _lost(self, model: Model, seen: Seen, lessons: Sequence[Lesson]) -> list[tuple[Lesson, str]]:
        """Return what should have been cached and ran, each with whose doing that was."""
        builder = self.workspace.builder or ""
        definitions = dict(engine_definitions(model.graph, seen))
        found = []
        for lesson in lessons:
            if lesson.kind == "lost":
                known = self.workspace.memory.engine_definitions(builder, lesson.operation)
                now = definitions.get(lesson.operation)
                found.append((lesson, PRUNED if now is None or not known or now in known else WRONG))
        return found

    def _surprise(self, flight: Flight, model: Model, seen: Seen, account: BuildAccount) -> None:
        """Tell the flight why steps ran that it expected to be cached."""
        if len(model.graph.steps) != len(flight.model.graph.steps):
            return
        reached = [number for number, one in sorted(seen.steps.items()) if one.status != "not reached"]
        for number, step in zip(reached, account.steps, strict=True):
            if step.predicted == "cached" and step.rule is not None:
                # What an account holds of a step is a cause of the plan, or one of the rules of `account`.
                flight.surprises[number] = Cause(step.cause, cast("Rule", step.rule), step.path, step.line)

    def _misses(
        self, flight: Flight, model: Model, seen: Seen, lost: Sequence[tuple[Lesson, str]]
    ) -> list[events.Event]:
        """Return what was predicted as cached and ran, each kind once, and store it."""
        builder = self.workspace.builder or ""
        memory = self.workspace.memory
        definitions = dict(engine_definitions(model.graph, seen))
        stored: list[Miss] = []
        said: list[events.Event] = []
        for lesson, explanation in lost:
            step = model.graph.steps[model.graph.vertices[lesson.vertex].step]
            known = memory.engine_definitions(builder, lesson.operation)
            now = definitions.get(lesson.operation)
            text = step.instruction.text
            if (lesson.operation, explanation) not in self._said:
                self._said.add((lesson.operation, explanation))
                said.append(events.PredictionMissed(step.span.first, text, "cached", "run", explanation))
            detail = repr(
                {
                    "dockerfile": model.dockerfile.source.decode("utf-8", "replace"),
                    "operation": lesson.operation,
                    "engine": now,
                    "engine before": sorted(known),
                    "builder": builder,
                }
            )
            stored.append(
                Miss(
                    at=flight.started_at,
                    project=self.workspace.location.identity,
                    line=step.span.first,
                    text=text,
                    predicted="cached",
                    observed="run",
                    explanation=explanation,
                    detail=detail,
                )
            )
        memory.add_misses(stored)
        return said

    def _record(
        self, flight: Flight, model: Model, outcome: BuildOutcome, seen: Seen, account: BuildAccount
    ) -> None:
        workspace = self.workspace
        kinds = classify_steps(model.graph, table=priors_of(workspace.settings))
        steps = []
        for number, found in sorted(seen.steps.items()):
            if found.status == "not reached":
                continue
            step = model.graph.steps[number]
            steps.append(
                StepRecord(
                    stage=model.graph.stage(step.stage).label,
                    ordinal=step.ordinal,
                    line=step.span.first,
                    instruction=step.keyword,
                    text=step.instruction.text,
                    key=step_key(model.graph, step),
                    kind=kinds[number].comparable_kind if number in kinds else None,
                    status=found.status,
                    seconds=found.seconds,
                )
            )
        self.record = BuildRecord(
            project=workspace.location.identity,
            dockerfile=str(workspace.location.dockerfile),
            target=workspace.settings.target,
            engine=self.engine_words,
            builder=workspace.builder,
            started_at=flight.started_at,
            seconds=outcome.seconds,
            outcome=outcome.status,
            context_bytes=outcome.context_bytes,
            export_seconds=outcome.export_seconds,
            metadata_seconds=outcome.metadata_seconds,
            predicted_seconds=flight.answered.build_seconds,
            prediction=account_to_json(account),
            steps=tuple(steps),
            chain_seconds=longest_chain(model.graph, _seconds_by_vertex(model, seen)),
            context_seconds=outcome.context_seconds,
        )
        workspace.memory.record_build(self.record)


def _seconds_by_vertex(model: Model, seen: Seen) -> Mapping[int, float]:
    """Return what the steps that ran have taken, by vertex."""
    steps = model.graph.steps
    return {
        vertex: found.seconds
        for number, found in seen.steps.items()
        if (vertex := steps[number].vertex) is not None
        and found.status == "run"
        and found.seconds is not None
    }


def _is_known(key: str | None) -> bool:
    """Tell whether a base image was known by its content, and not only by its reference."""
    return key is not None and not key.startswith("reference:")


def _moved(before: Tree, after: Tree, context: str, taken: Taken) -> bool:
    return before.key(context, taken) != after.key(context, taken)
