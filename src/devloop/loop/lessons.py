"""What a build teaches: records of the cache, the price of its steps, and predictions that were wrong."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from devloop.cache.baseline import Baseline, base_images, describe
from devloop.cache.predict import Lesson, learn
from devloop.cache.store import Miss
from devloop.cost.history import BuildRecord, StepRecord
from devloop.dockerfile.stages import Taken
from devloop.engine.base import BuildOutcome
from devloop.loop import events
from devloop.loop.builds import Seen, engine_definitions, match_outcome
from devloop.loop.flight import Flight
from devloop.project.planner import classify_steps, step_key
from devloop.project.reading import Model, Tree
from devloop.project.workspace import Workspace

PRUNED = "the engine no longer had its cache entry: pruned, or collected"
WRONG = "the engine defines this step otherwise than devloop thought"


@dataclass(slots=True)
class Teacher:
    """Compares each build with its prediction and writes down what is to be remembered."""

    workspace: Workspace
    engine_words: str = ""
    _said: set[tuple[str, str]] = field(default_factory=set)

    def teach(self, flight: Flight, outcome: BuildOutcome) -> tuple[Baseline | None, list[events.Event]]:
        """Learn from a build; returns the new baseline after a good one, and what the user should hear."""
        workspace, builder = self.workspace, self.workspace.builder
        if builder is None:
            return None, []
        model = self._with_known_bases(flight.model)
        seen = match_outcome(model.graph, outcome)
        # What was saved while the builder read the context may or may not be in the image.
        after = workspace.tree(model)
        records = workspace.records(model.graph)
        lessons = learn(
            model.graph,
            flight.tree,
            records,
            seen.vertices,
            lambda: secrets.token_hex(8),
            forced=workspace.settings.no_cache,
            changed_meanwhile=lambda context, taken: _moved(flight.tree, after, context, taken),
        )
        said = self._misses(flight, model, seen, lessons)
        if outcome.status == "ok" or outcome.context_seconds is not None:
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
        if outcome.status == "ok":
            baseline = describe(model.graph, flight.tree)
            memory.save_baseline(baseline, flight.tree.snapshots)
        self._record(flight, model, outcome, seen)
        memory.save_indexes()
        return baseline, said

    def _with_known_bases(self, model: Model) -> Model:
        """Read the model again where a base image was pulled by this very build, and is only known now."""
        if all(not key.startswith("reference:") for _, key in base_images(model.graph)):
            return model
        fresh = self.workspace.read()
        if isinstance(fresh, Model) and fresh.dockerfile.source == model.dockerfile.source:
            return fresh
        return model

    def _misses(
        self, flight: Flight, model: Model, seen: Seen, lessons: Sequence[Lesson]
    ) -> list[events.Event]:
        """Return what was predicted as cached and ran, each kind once, and store it."""
        builder = self.workspace.builder or ""
        memory = self.workspace.memory
        definitions = dict(engine_definitions(model.graph, seen))
        stored: list[Miss] = []
        said: list[events.Event] = []
        for lesson in lessons:
            if lesson.kind != "lost":
                continue
            step = model.graph.steps[model.graph.vertices[lesson.vertex].step]
            known = memory.engine_definitions(builder, lesson.operation)
            now = definitions.get(lesson.operation)
            explanation = PRUNED if now is None or not known or now in known else WRONG
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

    def _record(self, flight: Flight, model: Model, outcome: BuildOutcome, seen: Seen) -> None:
        workspace = self.workspace
        kinds = classify_steps(model.graph)
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
        workspace.memory.record_build(
            BuildRecord(
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
                predicted_seconds=flight.answered.plan.seconds,
                steps=tuple(steps),
            )
        )


def _moved(before: Tree, after: Tree, context: str, taken: Taken) -> bool:
    return before.key(context, taken) != after.key(context, taken)
