"""Whether a reading of the tree can be synced into what serves: the user's rules first, then the proof."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.engine.base import EngineUnavailable
from devloop.engine.compose import find_compose_file, mentions_watch_rules, read_services
from devloop.errors import DevloopError
from devloop.loop.keeper import Keeper
from devloop.loop.messages import ComposeRules, Reached
from devloop.plan.model import NeverRule, PathChange, SyncRule
from devloop.plan.rules import (
    compose_rules,
    contradictions,
    forced_plan,
    joined,
    sort_changes,
)
from devloop.plan.sync import Blocked, SyncPlan, prove_sync
from devloop.project.reading import Model, Tree, changes_between
from devloop.project.workspace import Workspace

Note = Callable[[str, str], None]
"""Tells the user something about a rule: a sentence and a hint."""


@dataclass(slots=True)
class Prover:
    """Proves syncs for one project, with the rules of its settings and of its compose file."""

    workspace: Workspace
    note: Note
    compose: ComposeRules | None = None
    _contradicted: set[SyncRule] = field(default_factory=set)

    def prove(
        self, serving: Reached | None, keeper: Keeper | None, model: Model, tree: Tree
    ) -> tuple[SyncPlan | Blocked | None, str | None]:
        """Prove a sync from what serves to the tree; None where it does not come into question.

        The second value names what makes a restart needless. Raises EngineUnavailable.
        """
        if not self.workspace.settings.live_sync or serving is None or keeper is None:
            return None, None
        if serving.model.graph != model.graph or serving.tree.snapshots.keys() != tree.snapshots.keys():
            return None, None
        changes = changes_between(serving.tree, tree)
        if not any(changes.values()):
            return None, None
        ruled = sort_changes(changes, self._sync_rules(), self._never_rules(), MAIN_CONTEXT)
        if ruled.never is not None:
            return Blocked(f"your rule never syncs {ruled.never}", path=ruled.never), None

        def prove(found: Mapping[str, Sequence[PathChange]]) -> SyncPlan | Blocked:
            before, after = serving.tree.snapshots, tree.snapshots
            try:
                return prove_sync(model.graph, before, after, found, keeper.surroundings())
            except EngineUnavailable:
                raise
            except DevloopError as error:
                # Somebody may have removed the container a moment ago; a build does not need it.
                return Blocked(f"the container cannot be looked into: {error.message}")

        proof = prove(ruled.rest) if any(ruled.rest.values()) else None
        if not ruled.forced:
            return proof, _reloader_of(keeper, proof)
        for rule, sentence in contradictions(ruled, lambda change: prove({MAIN_CONTEXT: [change]})):
            if rule not in self._contradicted:
                self._contradicted.add(rule)
                self.note(sentence, f"check the rule [[sync]] path = {rule.path!r}")
        forced = forced_plan(ruled, tree.snapshots, MAIN_CONTEXT)
        restarts = {rule.restart for rule, _ in ruled.forced}
        plan = joined(forced, proof)
        if True in restarts:
            return plan, None
        if restarts == {False} and proof is None:
            return plan, "your rule"
        return plan, _reloader_of(keeper, plan)

    def commands(self, serving: Reached | None, tree: Tree) -> tuple[tuple[str, ...], ...]:
        """Return what the rules want to be run in the container after a sync to this tree."""
        if serving is None or serving.tree.snapshots.keys() != tree.snapshots.keys():
            return ()
        rules = self._sync_rules()
        if not any(rule.exec for rule in rules):
            return ()
        ruled = sort_changes(changes_between(serving.tree, tree), rules, (), MAIN_CONTEXT)
        return tuple(dict.fromkeys(tuple(rule.exec) for rule, _ in ruled.forced if rule.exec))

    def _sync_rules(self) -> tuple[SyncRule, ...]:
        """Return the user's own rules, and behind them those of the compose file."""
        own = tuple(self.workspace.settings.sync)
        return own if self.compose is None else (*own, *self.compose.sync)

    def _never_rules(self) -> tuple[NeverRule, ...]:
        own = tuple(self.workspace.settings.never)
        return own if self.compose is None else (*own, *self.compose.never)

    def compose_reader(self) -> Callable[[], ComposeRules | None] | None:
        """Return what asks compose for rules about this very build; None where there is nothing to ask."""
        location, settings = self.workspace.location, self.workspace.settings
        file = find_compose_file(location.folder)
        if file is None or not settings.live_sync or not mentions_watch_rules(file):
            return None

        def read() -> ComposeRules | None:
            found = compose_rules(
                read_services(file, self.workspace.environ) or {},
                context=str(location.context),
                dockerfile=str(location.dockerfile),
                target=settings.target,
            )
            return None if found is None else ComposeRules(file.name, *found)

        return read

    def follow_compose(self, rules: ComposeRules) -> None:
        """Follow the rules of the compose file from now on, and say so where there are any."""
        self.compose = rules
        count = len(rules.sync) + len(rules.never)
        if count:
            words = f"{count} rule{'s' if count != 1 else ''}"
            self.note(f"{words} of {rules.file} (service {rules.service}) are followed", "")


def _reloader_of(keeper: Keeper, proof: SyncPlan | Blocked | None) -> str | None:
    if not isinstance(proof, SyncPlan):
        return None
    if proof.is_empty:
        return "nothing"
    written = [one.path for one in proof.writes if one.kind != "directory"]
    return keeper.reloader([*written, *proof.removals])
