"""What many take the cache for: a chain of lines, in which everything below the first change runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devloop.cache.predict import Answer, Prediction, operation_key
from devloop.cache.records import MISS, Result
from devloop.dockerfile.stages import FromContext

if TYPE_CHECKING:
    from devloop.cache.records import Records
    from devloop.project.reading import Model, Tree
    from devloop.project.workspace import Given, Workspace


class LinearChain:
    """Predicts from the lines of the file and the content that each of them copies."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] | None = None

    def __call__(
        self, model: Model, tree: Tree, _records: Records, _given: Given, _workspace: Workspace
    ) -> Prediction:
        before = self._lines
        lines: list[tuple[str, str]] = []
        answers: list[Answer] = []
        is_same = before is not None
        for vertex in model.graph.vertices:
            step = model.graph.steps[vertex.step]
            content = [
                repr(tree.key(entry.producer.name, taken))
                for entry in vertex.inputs
                if isinstance(entry.producer, FromContext)
                for taken in entry.taken
            ]
            line = (step.instruction.text, " ".join(content))
            is_same = (
                is_same and before is not None and len(lines) < len(before) and before[len(lines)] == line
            )
            lines.append(line)
            answers.append(Answer(Result("yes") if is_same else MISS, operation_key(vertex.operation)))
        self._lines = lines
        return Prediction(tuple(answers))
