"""A build while it runs: what it was made from, which steps run now, and how it is told.

BuildKit's events name vertices by what it displays; the user is told instructions and lines.
"""

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from devloop.cache.baseline import vertex_digests
from devloop.context.selection import reads
from devloop.dockerfile.stages import Step, Taken
from devloop.engine import base as engine
from devloop.engine.base import BuildOutcome
from devloop.engine.progress import is_canceling, step_name
from devloop.loop import events
from devloop.loop.builds import Seen
from devloop.loop.state import Version
from devloop.paths import ContextPath
from devloop.plan.model import Cause, Plan, PlannedStep
from devloop.project.planner import Answered
from devloop.project.reading import Model, Tree, selection_of
from devloop.watch.debounce import Batch


@dataclass(slots=True)
class Flight:
    """One build: the reading of the tree behind it, and the vertices whose steps run at the moment."""

    version: Version
    model: Model
    tree: Tree
    answered: Answered
    started_at: float
    is_background: bool = False
    cancel: threading.Event = field(default_factory=threading.Event)
    running: dict[str, int | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    surprises: dict[int, Cause] = field(default_factory=dict)
    """Why steps ran against the prediction, by number: known when the build was learnt from."""
    done: set[int] = field(default_factory=set)
    """The vertices that the builder is through with."""
    doubts: dict[str, set[str]] = field(default_factory=dict)
    """What was written while the builder may have read it, by context: nobody knows which bytes it took."""
    began: float = field(default_factory=time.monotonic)
    _loading: set[str] = field(default_factory=set)
    _read_until: float | None = None

    def serves(self, model: Model, tree: Tree) -> bool:
        """Tell whether a step that runs now gives what another reading of the tree needs as well.

        An expensive step that is still to come counts too: it would only be run by another build.
        """
        steps = self.model.graph.steps
        to_come = (steps[number].vertex for number in self.answered.plan.expensive)
        counting = {*self.running.values(), *to_come} - self.done - {None}
        if not counting:
            return False
        own = vertex_digests(self.model.graph, self.tree)
        wanted = set(vertex_digests(model.graph, tree))
        return any(own[vertex] in wanted for vertex in counting if vertex is not None)

    def doubt(self, context: str, batch: Batch) -> None:
        """Note that paths were written during the build; it matters where the builder may have read them."""
        read_until = None if self._loading else self._read_until
        if batch.last_event >= self.began and (read_until is None or batch.first_event <= read_until):
            self.doubts.setdefault(context, set()).update(batch.paths)

    def doubts_taking(self, context: str, taken: Taken) -> bool:
        """Tell whether what one taking reads was written meanwhile."""
        found = self.doubts.get(context, ())
        if any(not path or path.startswith("/") for path in found):
            return True
        return any(reads(selection_of(taken), ContextPath(path)) for path in found)

    def tell(self, event: engine.BuildEvent) -> events.Event | None:
        """Follow an event of the builder, and return what the user is told of it."""
        match event:
            case engine.StepStarted(digest=digest, name=name, kind="internal") if _loads(name):
                self._loading.add(digest)
                return None
            case engine.StepDone(digest=digest, name=name, kind="internal") if _loads(name):
                self._loading.discard(digest)
                self._read_until = time.monotonic()
                return None
            case engine.StepStarted(digest=digest, name=name, kind="step"):
                step = self._step_named(name)
                label, text = step_label(name)
                self.running[digest] = step.vertex if step is not None else None
                self.labels[digest] = label
                return events.StepStarted(label, _line(step), text)
            case engine.StepDone(digest=digest, name=name, kind="step"):
                self.running.pop(digest, None)
                label, text = step_label(name)
                seconds = None if event.cached else event.seconds
                step = self._step_named(name)
                if step is not None and step.vertex is not None:
                    self.done.add(step.vertex)
                line = _line(step)
                if event.error:
                    # A step that is stopped ends with an error too: of the cancel, or of one beside it.
                    ended: Literal["canceled", "failed"] = (
                        "canceled" if is_canceling(event.error) else "failed"
                    )
                    return events.StepFinished(label, line, text, ended, seconds)
                return events.StepFinished(label, line, text, "cached" if event.cached else "run", seconds)
            case engine.StepLog(digest=digest, line=said):
                return events.StepLog(self.labels[digest], said) if digest in self.labels else None
            case _:
                return None

    def _step_named(self, name: str) -> Step | None:
        """Find the step of a display name by its stage and number: good enough to show a line."""
        parsed = step_name(name)
        if parsed is None:
            return None
        graph = self.model.graph
        fitting = [
            step
            for step in graph.steps
            if step.ordinal == parsed.index
            and step.keyword == parsed.keyword.upper()
            and graph.stage(step.stage).total == parsed.total
            and parsed.stage in {None, graph.stage(step.stage).name, f"stage-{step.stage}"}
        ]
        exact = [step for step in fitting if step.text.split()[1:] == parsed.text.split()]
        return next(iter(exact or fitting), None)

    def finished(self, outcome: BuildOutcome, seen: Seen) -> events.BuildFinished:
        """Return how the build ended, in the user's terms."""
        statuses = [found.status for found in seen.steps.values()]
        failed = outcome.failed_step
        error = outcome.error
        if error is not None and outcome.hint:
            error = f"{error} ({outcome.hint})"
        return events.BuildFinished(
            status=outcome.status,
            seconds=outcome.seconds,
            cached=statuses.count("cached"),
            ran=statuses.count("run"),
            error=error,
            failed_line=self._failed_line(outcome, seen),
            failed_text=failed.name if failed is not None else None,
            log_tail=outcome.log_tail[-12:],
        )

    def _failed_line(self, outcome: BuildOutcome, seen: Seen) -> int | None:
        failed = outcome.failed_step
        if failed is None:
            return outcome.error_line
        if failed.lines:
            return failed.lines[0][0]
        for number, found in seen.steps.items():
            if found.digest == failed.digest:
                return self.model.graph.steps[number].span.first
        return _line(self._step_named(failed.name)) or outcome.error_line

    def account(self, seen: Seen) -> Plan:
        """Return the plan with what really happened to each step, and the cause of those that ran."""
        steps: list[PlannedStep] = []
        for step, planned in zip(self.model.graph.steps, self.answered.plan.steps, strict=True):
            found = seen.steps.get(step.number)
            if found is None or found.status not in {"cached", "run", "failed"}:
                steps.append(planned)
            elif found.status == "cached":
                steps.append(replace(planned, status="cached", cause=None))
            else:
                steps.append(
                    replace(
                        planned,
                        status="run",
                        cause=planned.cause or self.surprises.get(step.number),
                        seconds=found.seconds,
                        seconds_from="measured",
                        note="measured now" if found.status == "run" else "failed",
                    )
                )
        return replace(self.answered.plan, steps=tuple(steps))


def _loads(name: str) -> bool:
    """Tell whether a vertex fetches a local context."""
    return name.startswith(("[internal] load build context", "[context "))


def _line(step: Step | None) -> int | None:
    return step.span.first if step is not None else None


def step_label(name: str) -> tuple[str, str]:
    """Split a display name into its label (`web 5/6`) and its text."""
    if name.startswith("["):
        label, found, text = name[1:].partition("] ")
        if found:
            return label.strip(), text
    return "", name
