"""From a reading of the tree to what is wanted: planned, proven as far as it goes, told, and decided."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from devloop.cache.baseline import base_images, vertex_digests
from devloop.engine.base import EngineUnavailable
from devloop.engine.runspec import RunSpec
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.assumption import Assumption
from devloop.loop.desk import Desk
from devloop.loop.keeper import run_version
from devloop.loop.link import EngineLink
from devloop.loop.messages import Reached
from devloop.loop.proving import Prover
from devloop.loop.tellings import Tellings
from devloop.plan.model import PathChange
from devloop.plan.sync import Blocked, SyncPlan
from devloop.project.planner import Answered
from devloop.project.reading import Model, ReadingProblem, Tree, changes_between
from devloop.project.workspace import Given


class Reacher:
    """Plans each reading of the tree and hands it to the state machine."""

    def __init__(self, desk: Desk, link: EngineLink, prover: Prover) -> None:
        self.desk = desk
        self.link = link
        self.tellings = Tellings()
        self._prover = prover
        self._assumed: Assumption | None = None
        self._work: machine.Work = machine.NO_WORK

    def bases_moved(self, model: Model) -> bool:
        """Tell whether a base image is another one than when the Dockerfile was read."""
        if self.desk.keeper is None:
            return False
        known = dict(base_images(model.graph))
        return any(
            (found := self.link.inspect(reference, platform)) is not None
            and found.key != known.get(reference)
            for reference, platform in model.graph.images
        )

    def cannot_read(self, problem: ReadingProblem) -> None:
        """Say why nothing can be built from the tree as it stands."""
        self.desk.model = None
        self.desk.reached = self.desk.part = None
        self.desk.show(events.Problem(problem.kind, problem.message, problem.rendered, problem.hint))
        self.desk.advance(machine.TreeBroken())

    def reach(
        self,
        model: Model,
        tree: Tree,
        saved: tuple[str, ...],
        *,
        first: bool = False,
        is_save: bool = True,
    ) -> None:
        """Plan what the tree wants now, say it, and let the state machine decide."""
        desk = self.desk
        known, before = desk.model, desk.tree
        graph_changed = known is None or known.graph != model.graph
        desk.model, desk.tree = model, tree
        keeper = desk.keeper
        try:
            spec = keeper.spec() if keeper is not None else RunSpec(image="", name="")
            sync, reloader = self._prover.prove(desk.serving, desk.keeper, model, tree)
        except EngineUnavailable as error:
            self.link.lose(error)
            return
        except DevloopError as error:
            desk.show(events.Problem("file", error.message, hint=error.hint or ""))
            desk.advance(machine.TreeBroken())
            return
        run = run_version(spec, desk.workspace.environ)
        is_untold = self._assume((known, before), (model, tree))
        answered = self._answer(
            model, tree, sync, reloader, run, dockerfile_changed=graph_changed and before is not None
        )
        version = machine.Version(answered.fingerprint, run)
        if desk.state.is_idle or version != desk.state.wanted:
            # A save that changes nothing must not make the wait for an earlier one look shorter.
            desk.clock.saved = desk.clock.batch
        reached = desk.reached = Reached(model, tree, answered, version, spec, sync, reloader)
        work = self._work_of(reached)
        try:
            desk.part = self._part_of(reached) if work else None
            is_bridged = self._is_bridged(reached)
        except EngineUnavailable as error:
            self.link.lose(error)
            return
        part = desk.part
        is_known = bool(work) and work <= self._work
        if not is_known and (work or is_save):
            desk.clock.work = desk.clock.batch if work else None
        self._work = work
        if is_save:
            plan = Assumption.untold(answered.plan) if is_untold else answered.plan
            desk.explained = events.Explained(plan, is_built=False)
            if is_known and part is not None:
                desk.show(events.Planned(part.answered.plan, saved, behind=part.behind))
            else:
                desk.show(events.Planned(self.tellings.marked(plan), saved, first=first))
        flight = desk.flight
        synced = version if answered.plan.action in {"sync", "sync+restart"} else None
        if synced is None and part is not None:
            synced = part.version
        desk.advance(
            machine.TreeRead(
                version,
                sync=synced,
                work=work,
                is_bridged=is_bridged,
                is_needed=flight is not None and flight.serves(model, tree),
                is_save=is_save,
            )
        )

    def _assume(self, before: tuple[Model | None, Tree | None], now: tuple[Model, Tree]) -> bool:
        """Take a reading for built where nobody tells what is: the one before this, or else this one.

        Tells whether it is this one, of which nothing can be said then.
        """
        if self.desk.keeper is not None or self.desk.baseline is not None or self._assumed is not None:
            return False
        model, tree = before
        is_now = model is None or tree is None
        if model is None or tree is None:
            model, tree = now
        self._assumed = Assumption.of(model, tree)
        self.desk.workspace.assume_manifests(model, tree)
        return is_now

    def _answer(
        self,
        model: Model,
        tree: Tree,
        sync: SyncPlan | Blocked | None,
        reloader: str | None,
        run: str,
        *,
        dockerfile_changed: bool,
    ) -> Answered:
        """Plan a reading against what serves; without an engine, against what was there at the start."""
        desk = self.desk
        serving = desk.state.serving if desk.settings.run else None
        deployed = serving.image if serving is not None else None
        if not desk.settings.run or serving is None:
            deployed = desk.state.built
        gone = ("the container does not run",) if desk.state.built is not None and serving is None else ()
        assumed = self._assumed if desk.keeper is None else None
        return desk.workspace.plan(
            Given(
                model=model,
                tree=tree,
                records=assumed.records.copy()
                if assumed is not None
                else desk.workspace.records(model.graph),
                baseline=assumed.baseline if assumed is not None else desk.baseline,
                changes=changes_between(assumed.tree, tree) if assumed is not None else self._changes(tree),
                deployed=assumed.baseline.fingerprint if assumed is not None else deployed,
                run_changes=("the options of the container changed",)
                if serving and serving.run != run
                else gone,
                dockerfile_changed=dockerfile_changed,
                sync=sync,
                reloader=reloader,
            )
        )

    def _work_of(self, reached: Reached) -> machine.Work:
        """Return what is expensive about building a reading, each step by all that it is made from."""
        expensive = reached.answered.plan.expensive
        if not expensive or self.desk.keeper is None:
            return machine.NO_WORK
        graph = reached.model.graph
        digests = vertex_digests(graph, reached.tree)
        vertices = (graph.steps[number].vertex for number in expensive)
        return frozenset(digests[vertex] for vertex in vertices if vertex is not None)

    def _part_of(self, reached: Reached) -> Reached | None:
        """Return as much of a reading as can be synced into what serves, as a reading of its own."""
        before, serving = self.desk.serving, self.desk.state.serving
        if before is None or serving is None or not self.desk.state.runs_container:
            return None
        part = self._prover.part(before, self.desk.keeper, reached.model, reached.tree)
        if part is None:
            return None
        answered = self.desk.workspace.plan(
            Given(
                model=before.model,
                tree=part.tree,
                records=self.desk.workspace.records(before.model.graph),
                baseline=self.desk.baseline,
                changes=changes_between(before.tree, part.tree),
                deployed=serving.image,
                sync=part.plan,
                reloader=part.reloader,
            )
        )
        version = machine.Version(answered.fingerprint, serving.run)
        if version == serving:
            return None
        return Reached(
            before.model,
            part.tree,
            answered,
            version,
            reached.spec,
            part.plan,
            part.reloader,
            self.desk.left_out(reached, part.behind),
        )

    def _is_bridged(self, reached: Reached) -> bool:
        """Tell whether files lead from the image that is built, or waits to be deployed, to a reading."""
        flight = self.desk.flight or self.desk.fresh
        if (
            flight is None
            or not self.desk.state.runs_container
            or flight.version.image == reached.version.image
        ):
            return False
        if self.desk.flight is None and self.desk.state.built != flight.version.image:
            return False
        base, keeper = self.desk.images.made_of.get(flight.version.image), self.desk.keeper
        if base is None or keeper is None:
            return False
        around = keeper.surroundings()
        # What devloop brought into this container is not in the next one.
        guess = replace(around, is_ours=lambda _place: False, refusal=None)
        return self._prover.bridge(base, reached.model, reached.tree, lambda: guess) is not None

    def _changes(self, tree: Tree) -> Mapping[str, Sequence[PathChange]]:
        """Return what differs from what serves, else from the last build, here or as recorded."""
        if self.desk.serving is not None and self.desk.serving.tree.snapshots.keys() == tree.snapshots.keys():
            return changes_between(self.desk.serving.tree, tree)
        if self.desk.built_tree is not None:
            return changes_between(self.desk.built_tree, tree)
        return self.desk.workspace.changes_since_built(tree)
