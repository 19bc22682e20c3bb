"""A first reading taken for what was built, where neither an engine nor a memory tells better.

Without an engine devloop still says what each save would run again; that needs something to compare with.
Of the first reading itself nothing is claimed: perhaps none of it was ever built.
"""

from dataclasses import dataclass, replace

from devloop.cache.baseline import Baseline, describe
from devloop.cache.predict import Observed, learn
from devloop.cache.records import Records
from devloop.plan.model import Plan
from devloop.project.reading import Model, Tree


@dataclass(frozen=True, slots=True)
class Assumption:
    """The tree at the start, as if it had just been built."""

    records: Records
    baseline: Baseline
    tree: Tree

    @classmethod
    def of(cls, model: Model, tree: Tree) -> "Assumption":
        """Take this reading for built."""
        records = Records()
        everything_ran: dict[int, Observed] = dict.fromkeys(range(len(model.graph.vertices)), "ran")
        numbers = iter(range(len(model.graph.vertices)))
        learn(model.graph, tree, records, everything_ran, lambda: f"assumed-{next(numbers)}")
        return cls(records, describe(model.graph, tree), tree)

    @staticmethod
    def untold(plan: Plan) -> Plan:
        """Take back what a plan of the very reading that was assumed would say of its steps."""
        steps = tuple(replace(step, status="unknown", cause=None) for step in plan.steps)
        reason = "nothing is known to be built: each save is compared with this"
        return replace(plan, steps=steps, seconds=None, reason=reason)
