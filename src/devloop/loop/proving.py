"""Whether a reading of the tree can be synced into what serves: the user's rules first, then the proof."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from devloop.context.snapshot import Change, apply, diff
from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.engine.base import EngineUnavailable
from devloop.engine.compose import ComposeRules, rules_in_force, watch_rules_reader
from devloop.errors import DevloopError
from devloop.loop.keeper import Keeper
from devloop.loop.messages import Reached
from devloop.plan.model import PathChange, SyncRule
from devloop.plan.rules import Ruled, Rules, Synced, contradictions, sort_changes, sync_by_rules
from devloop.plan.sync import UNKNOWN_CONTAINER, Blocked, Surroundings, SyncPlan, prove_sync
from devloop.project.reading import Model, Tree, changes_between
from devloop.project.workspace import Workspace

Note = Callable[[str, str], None]
"""Tells the user something about a rule: a sentence and a hint."""

_MOST_LEFT_OUT = 32
"""So many paths are looked for that stand in the way of a sync of the rest; each costs a proof."""


@dataclass(frozen=True, slots=True)
class Part:
    """As much of a tree as can be synced: its contents, with the paths of `behind` as they were."""

    tree: Tree
    plan: SyncPlan
    reloader: str | None
    behind: tuple[str, ...]


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
        if serving is None or keeper is None:
            return None, None
        synced = self._proof(serving, model, tree, keeper.surroundings)
        match synced.restarts:
            case True:
                return synced.plan, None
            case False:
                return synced.plan, "your rule"
            case None:
                return synced.plan, _reloader_of(keeper, synced.plan)

    def _proof(
        self, base: Reached, model: Model, tree: Tree, surroundings: Callable[[], Surroundings]
    ) -> Synced:
        """Prove that files lead from a reading to a tree, with the rules before the proof."""
        if not self.workspace.settings.live_sync:
            return Synced(None)
        if base.model.graph != model.graph or base.tree.snapshots.keys() != tree.snapshots.keys():
            return Synced(None)
        changes = changes_between(base.tree, tree)
        if not any(changes.values()):
            return Synced(None)

        def prove(found: Mapping[str, Sequence[PathChange]]) -> SyncPlan | Blocked:
            before, after = base.tree.snapshots, tree.snapshots
            try:
                return prove_sync(model.graph, before, after, found, surroundings())
            except EngineUnavailable:
                raise
            except DevloopError as error:
                # Somebody may have removed the container a moment ago; a build does not need it.
                return Blocked(f"the container cannot be looked into: {error.message}")

        synced = sync_by_rules(changes, tree.snapshots, self._rules(), MAIN_CONTEXT, prove)
        if synced.ruled is not None and synced.ruled.forced:
            self._tell_contradictions(synced.ruled, lambda change: prove({MAIN_CONTEXT: [change]}))
        return synced

    def _tell_contradictions(self, ruled: Ruled, prove: Callable[[PathChange], SyncPlan | Blocked]) -> None:
        """Say once for each rule what the Dockerfile says otherwise."""
        for rule, sentence in contradictions(ruled, prove):
            if rule not in self._contradicted:
                self._contradicted.add(rule)
                self.note(sentence, f"check the rule [[sync]] path = {rule.path!r}")

    def part(self, serving: Reached | None, keeper: Keeper | None, model: Model, tree: Tree) -> Part | None:
        """Return as much of a tree as can be synced into what serves; None where that is nothing.

        The paths that stand in the way stay as they were, one after the other, until the proof of the rest
        holds. An edit of the Dockerfile as a whole is left out where both read the same of each context.
        """
        if serving is None or keeper is None or not _reads_alike(serving.model, model):
            return None
        changes = {name: diff(serving.tree.snapshots[name], tree.snapshots[name]) for name in tree.snapshots}
        behind: set[str] = set()
        for _ in range(_MOST_LEFT_OUT):
            kept = {name: [one for one in found if one.path not in behind] for name, found in changes.items()}
            if not any(kept.values()):
                return None
            mixed = _mixed(serving.tree, tree, kept)
            plan, reloader = self.prove(serving, keeper, serving.model, mixed)
            if isinstance(plan, SyncPlan):
                return Part(mixed, plan, reloader, tuple(sorted(behind)))
            if plan is None or plan.path is None or plan.path in behind:
                return None
            behind.add(plan.path)
        return None

    def bridge(
        self,
        base: Reached,
        model: Model,
        tree: Tree,
        surroundings: Callable[[], Surroundings] | None = None,
    ) -> SyncPlan | None:
        """Return the files that lead from the image of a reading to a tree, where that can be proven.

        Without a container that was made of the image, that of another one, or none at all, stands in: what
        is proven so is a good guess, and is proven anew when there is one.
        """
        plan = self._proof(base, model, tree, surroundings or (lambda: UNKNOWN_CONTAINER)).plan
        return plan if isinstance(plan, SyncPlan) else None

    def commands(self, serving: Reached | None, tree: Tree) -> tuple[tuple[str, ...], ...]:
        """Return what the rules want to be run in the container after a sync to this tree."""
        if serving is None or serving.tree.snapshots.keys() != tree.snapshots.keys():
            return ()
        rules = self._rules().sync
        if not any(rule.exec for rule in rules):
            return ()
        ruled = sort_changes(changes_between(serving.tree, tree), rules, (), MAIN_CONTEXT)
        return tuple(dict.fromkeys(tuple(rule.exec) for rule, _ in ruled.forced if rule.exec))

    def _rules(self) -> Rules:
        return rules_in_force(self.workspace.settings, self.compose)

    def compose_reader(self) -> Callable[[], ComposeRules | None] | None:
        """Return what asks compose for rules about this very build; None where there is nothing to ask."""
        workspace = self.workspace
        return watch_rules_reader(workspace.location, workspace.settings, workspace.environ)

    def follow_compose(self, rules: ComposeRules) -> None:
        """Follow the rules of the compose file from now on, and say so where there are any."""
        self.compose = rules
        count = len(rules.rules.sync) + len(rules.rules.never)
        if count:
            words = f"{count} rule{'s' if count != 1 else ''}"
            self.note(f"{words} of {rules.file} (service {rules.service}) are followed", "")


def _reads_alike(before: Model, after: Model) -> bool:
    """Tell whether two models read the same of each context, so that their trees can be compared."""

    def reading(model: Model) -> Mapping[str, object]:
        return {name: (one.root, one.rules, one.wanted) for name, one in model.contexts.items()}

    return before.graph == after.graph or reading(before) == reading(after)


def _mixed(before: Tree, after: Tree, changes: Mapping[str, Sequence[Change]]) -> Tree:
    """Return a tree with these changes and no others."""
    snapshots = {
        name: apply(snapshot, changes.get(name, ()), after.snapshots[name])
        for name, snapshot in before.snapshots.items()
    }
    return Tree(snapshots, after.listing, after.mirrors)


def _reloader_of(keeper: Keeper, proof: SyncPlan | Blocked | None) -> str | None:
    if not isinstance(proof, SyncPlan):
        return None
    if proof.is_empty:
        return "nothing"
    written = [one.path for one in proof.writes if one.kind != "directory"]
    return keeper.reloader([*written, *proof.removals])
