"""Whether a reading of the tree can be synced into what serves: the user's rules first, then the proof."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from devloop.context.snapshot import Change, apply, diff
from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.engine.base import EngineUnavailable
from devloop.engine.compose import find_compose_file, mentions_watch_rules, read_services
from devloop.errors import DevloopError
from devloop.loop.keeper import Keeper
from devloop.loop.messages import ComposeRules, Reached
from devloop.plan.model import NeverRule, PathChange, SyncRule
from devloop.plan.rules import (
    Ruled,
    compose_rules,
    contradictions,
    forced_plan,
    joined,
    sort_changes,
)
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
        plan, ruled, proof = self._proof(serving, model, tree, keeper.surroundings)
        if ruled is None or not ruled.forced:
            return plan, _reloader_of(keeper, plan)
        restarts = {rule.restart for rule, _ in ruled.forced}
        if True in restarts:
            return plan, None
        if restarts == {False} and proof is None:
            return plan, "your rule"
        return plan, _reloader_of(keeper, plan)

    def _proof(
        self, base: Reached, model: Model, tree: Tree, surroundings: Callable[[], Surroundings]
    ) -> tuple[SyncPlan | Blocked | None, Ruled | None, SyncPlan | Blocked | None]:
        """Prove that files lead from a reading to a tree: the plan, the rules in it, and the proof beside."""
        if not self.workspace.settings.live_sync:
            return None, None, None
        if base.model.graph != model.graph or base.tree.snapshots.keys() != tree.snapshots.keys():
            return None, None, None
        changes = changes_between(base.tree, tree)
        if not any(changes.values()):
            return None, None, None
        ruled = sort_changes(changes, self._sync_rules(), self._never_rules(), MAIN_CONTEXT)
        if ruled.never is not None:
            return Blocked(f"your rule never syncs {ruled.never}", path=ruled.never), None, None

        def prove(found: Mapping[str, Sequence[PathChange]]) -> SyncPlan | Blocked:
            before, after = base.tree.snapshots, tree.snapshots
            try:
                return prove_sync(model.graph, before, after, found, surroundings())
            except EngineUnavailable:
                raise
            except DevloopError as error:
                # Somebody may have removed the container a moment ago; a build does not need it.
                return Blocked(f"the container cannot be looked into: {error.message}")

        proof = prove(ruled.rest) if any(ruled.rest.values()) else None
        if not ruled.forced:
            return proof, ruled, proof
        for rule, sentence in contradictions(ruled, lambda change: prove({MAIN_CONTEXT: [change]})):
            if rule not in self._contradicted:
                self._contradicted.add(rule)
                self.note(sentence, f"check the rule [[sync]] path = {rule.path!r}")
        return joined(forced_plan(ruled, tree.snapshots, MAIN_CONTEXT), proof), ruled, proof

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
        plan, _, _ = self._proof(base, model, tree, surroundings or (lambda: UNKNOWN_CONTAINER))
        return plan if isinstance(plan, SyncPlan) else None

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
