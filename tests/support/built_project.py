"""A project that counts as built: everything that a real build would have taught is in the memory."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from devloop.cache.baseline import describe
from devloop.cache.predict import Observed, learn
from devloop.cost.history import BuildRecord, StepRecord
from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.planning import plan_edits, plan_work_tree
from devloop.project.discover import Location, locate
from devloop.project.memory import Memory
from devloop.project.planner import classify_steps, step_key
from devloop.project.reading import Model
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from devloop.ui.plantext import plan_lines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.plan.model import Plan, PlannedStep

BUILDER = "an engine"


class Project:
    """Files in a folder, what was built of them, and plans of what has changed since."""

    def __init__(self, folder: Path, dockerfile: str, files: Mapping[str, str], **settings: Any) -> None:  # noqa: ANN401
        self.folder = folder
        self.settings = Settings(**settings)
        self.environ: dict[str, str] = {}
        self._names = count()
        folder.mkdir(parents=True, exist_ok=True)
        self.write("Dockerfile", dockerfile)
        for path, text in files.items():
            self.write(path, text)

    # The tree

    def write(self, path: str, text: str) -> Project:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        # Equal sizes within one tick of the clock would look equal to a stat index.
        os.utime(file, ns=(next(self._names),) * 2)
        return self

    def replace(self, path: str, old: str, new: str) -> Project:
        text = (self.folder / path).read_text()
        if old not in text:
            raise AssertionError(f"{old!r} is not in {path}")
        return self.write(path, text.replace(old, new))

    def remove(self, path: str) -> Project:
        (self.folder / path).unlink()
        return self

    def set(self, **settings: Any) -> Project:  # noqa: ANN401
        self.settings = replace(self.settings, **settings)
        return self

    # The memory

    @property
    def location(self) -> Location:
        return locate(self.folder, self.settings)

    def _workspace(self, memory: Memory) -> Workspace:
        return Workspace.remembered(self.location, self.settings, memory, self.environ)

    def base(self, reference: str, key: str = "layers:1", **config: Any) -> Project:  # noqa: ANN401
        """Let the engine have this image under the name of a base."""
        memory = Memory(self.location)
        memory.save_builder(BUILDER, {})
        memory.save_image(BUILDER, reference, Platform(), ImageConfig(key=key, **config))
        memory.close()
        return self

    def built(
        self,
        seconds: Mapping[int, float] | None = None,
        *,
        failed_line: int | None = None,
        overhead: float | None = None,
    ) -> Project:
        """Build what is there now; `seconds` tells by line what the steps that ran have taken.

        `overhead` is what the build took beyond them, as one chain.
        """
        memory = Memory(self.location)
        memory.save_builder(BUILDER, {})
        workspace = self._workspace(memory)
        model = workspace.read()
        assert isinstance(model, Model), model
        tree = workspace.tree(model)
        records = workspace.records(model.graph)
        answers = plan_work_tree(workspace).steps
        observed: dict[int, Observed] = {}
        for step, planned in zip(model.graph.steps, answers, strict=True):
            # A step that fails ends the build; all others do what was predicted.
            if failed_line is not None and step.span.first >= failed_line:
                break
            if step.vertex is not None:
                seen: Observed = "cached" if planned.status == "cached" else "ran"
                observed[step.vertex] = seen
                if step.last_vertex is not None:
                    observed[step.last_vertex] = seen
        learn(model.graph, tree, records, observed, lambda: f"record {os.urandom(6).hex()}")
        memory.save_records(BUILDER, records)
        if failed_line is None:
            memory.save_baseline(describe(model.graph, tree), tree.snapshots)
            workspace.keep_manifests(model, tree)
        if seconds:
            memory.record_build(self._record(model, seconds, overhead))
        memory.save_indexes()
        memory.close()
        return self

    def _record(self, model: Model, seconds: Mapping[int, float], overhead: float | None) -> BuildRecord:
        kinds = classify_steps(model.graph)
        steps = tuple(
            StepRecord(
                stage=model.graph.stage(step.stage).label,
                ordinal=step.ordinal,
                line=step.span.first,
                instruction=step.keyword,
                text=step.instruction.text,
                key=step_key(model.graph, step),
                kind=kinds[step.number].kind if step.number in kinds else None,
                status="run",
                seconds=seconds[step.span.first],
            )
            for step in model.graph.steps
            if step.span.first in seconds
        )
        return BuildRecord(
            project=self.location.identity,
            dockerfile=str(self.location.dockerfile),
            target=self.settings.target,
            engine="engine",
            builder=BUILDER,
            started_at=1.0,
            seconds=sum(seconds.values()) + (overhead or 0.0),
            outcome="ok",
            context_bytes=None,
            export_seconds=None,
            metadata_seconds=None,
            predicted_seconds=None,
            steps=steps,
            chain_seconds=sum(seconds.values()) if overhead is not None else None,
        )

    # Plans

    def plan(self) -> Plan:
        """Plan what has changed since the last build."""
        memory = Memory(self.location)
        try:
            return plan_work_tree(self._workspace(memory))
        finally:
            memory.close()

    def edit(self, *paths: str) -> Plan:
        """Plan an edit of these paths without making it."""
        memory = Memory(self.location)
        try:
            return plan_edits(self._workspace(memory), [self.folder / path for path in paths])
        finally:
            memory.close()


def statuses(plan: Plan) -> str:
    """Write a plan's steps in one line: `2 COPY cached, 3 RUN run`."""
    return ", ".join(f"{step.line} {step.instruction} {step.status}" for step in plan.steps)


def step_at(plan: Plan, line: int) -> PlannedStep:
    return next(step for step in plan.steps if step.line == line)


def cause_at(plan: Plan, line: int) -> str:
    cause = step_at(plan, line).cause
    return "" if cause is None else f"{cause.rule}: {cause.text}"


def as_text(plan: Plan) -> str:
    """Render a plan as a terminal without colours shows it, without the line on where it is."""
    return "\n".join(plan_lines(plan, 100, ascii_only=True)[2:])
