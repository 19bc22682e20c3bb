"""The lane of the container: replaced, synced, restarted and looked after; what went wrong is said."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from devloop.cost.history import SyncRecord
from devloop.engine.base import EngineUnavailable
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.desk import Desk, Moment
from devloop.loop.keeper import Keeper, NotPatchedError, Patch, Synced, container_urls, crash_words
from devloop.loop.link import EngineLink
from devloop.loop.messages import DeployDone, Haste, Noticed, Reached, RestartDone, SyncDone
from devloop.loop.proving import Prover
from devloop.plan.model import Action, PathChange
from devloop.plan.sync import Surroundings, SyncPlan
from devloop.project.reading import changes_between


class ContainerLane:
    """Changes the container as the state machine wants it, one change at a time."""

    def __init__(self, desk: Desk, link: EngineLink, prover: Prover) -> None:
        self.desk = desk
        self.link = link
        self._prover = prover
        self._deployed_image: str | None = None
        self._patched: tuple[str, ...] = ()
        """The paths that were put on the image of the deploy in flight."""
        self._hurry = Haste(desk.leaving)

    def hurry(self) -> None:
        """Wait no longer until what is being brought up serves."""
        self._hurry.set()

    def look_after(self) -> None:
        """Notice a container that ended or was removed."""
        if self.desk.keeper is None:
            return
        try:
            exited = self.desk.keeper.check()
        except DevloopError as error:
            self.link.lose(error)
            return
        if exited is not None:
            self.desk.serving = None
            self.desk.show(exited)
            self.desk.advance(machine.ContainerGone())

    def recover(self) -> None:
        """Take over what an earlier session of this project left, and remove its leftovers."""
        if self.desk.keeper is None or not self.desk.settings.run:
            return
        self.desk.serving = None
        try:
            version = self.desk.keeper.recover()
        except DevloopError as error:
            self.link.lose(error)
            return
        self.desk.state = replace(self.desk.state, serving=version, built=None)
        self.desk.images.good = None
        if version is not None:
            urls = container_urls(self.desk.keeper.container)
            self.desk.show(events.TakenOver(self.desk.keeper.name, urls))

    def start_deploy(self, version: machine.Version, image: str) -> None:
        """Replace the container by one of this image, with the proven files of the version on it."""
        reached, keeper = self.desk.wanted(version), self.desk.keeper
        if keeper is None:
            raise RuntimeError("a deploy was decided without an engine")
        self.desk.syncing, self._deployed_image = reached, image
        self.desk.clock.counted_from = self.desk.clock.work or self.desk.clock.saved
        spec = self.desk.images.named(image, reached.spec)
        self._hurry = Haste(self.desk.leaving)
        hurry = self._hurry
        base = self._base(image) if image != version.image else None
        patch = self._patch(base, reached) if base is not None else None
        commands = self._prover.commands(base, reached.tree) if base is not None else ()
        self._patched = _paths(changes_between(base.tree, reached.tree)) if base is not None else ()

        def work() -> None:
            try:
                replacement = keeper.replace(version, spec, hurry, patch)
            except NotPatchedError as error:
                self.desk.put(DeployDone(version, None, error, is_unbridged=True))
            except DevloopError as error:
                self.desk.put(DeployDone(version, None, error))
            else:
                self.desk.put(DeployDone(version, replacement, None))
                if replacement.ok:
                    self._run_commands(keeper, commands)

        self.desk.spawn("devloop-deploy", work)

    def _base(self, image: str) -> Reached:
        """Return what an image is made of that files are to be put on."""
        base = self.desk.images.made_of.get(image)
        if base is None:
            raise RuntimeError("an image is to be deployed of which nobody knows what it is made of")
        return base

    def _patch(self, base: Reached, reached: Reached) -> Patch:
        """Return the files that make an older image what the tree wants."""
        roots = {name: context.root for name, context in reached.model.contexts.items()}

        def prove(around: Surroundings) -> SyncPlan | None:
            return self._prover.bridge(base, reached.model, reached.tree, lambda: around)

        return Patch(prove, roots)

    def on_replaced(self, message: DeployDone) -> None:
        """Say what became of a deploy, and what serves now."""
        before, keeper = self.desk.state.serving, self.desk.keeper
        reached, self.desk.syncing = self.desk.syncing, None
        if message.is_unbridged and keeper is not None:
            self.desk.fresh = None
            reason = message.error.message if message.error is not None else ""
            self.desk.note(
                f"the newest files could not be put on the new image, which is built again: {reason}"
            )
            self.desk.advance(machine.DeployEnded(ok=False, serving=before, is_unbridged=True))
            return
        if message.replacement is None or keeper is None:
            error = message.error or DevloopError("the container could not be replaced")
            self.desk.show(events.DeployFailed(error.message, None, (), rolled_back=False))
            if error.hint:
                self.desk.note(error.hint)
            if isinstance(error, EngineUnavailable) or keeper is None:
                self.link.lose(error)
                self.desk.advance(machine.DeployEnded(ok=False, serving=before))
                return
            # Its image may be what is missing: the next try makes it again, from the cache where it can.
            self.desk.state = replace(self.desk.state, built=None)
            self.desk.advance(machine.DeployEnded(ok=False, serving=self._found_again()))
            return
        done = message.replacement
        if done.health.crashed:
            words = crash_words(done.health, done.error)
            self.desk.show(
                events.DeployFailed(words, done.health.exit_code, done.health.log_tail, done.rolled_back)
            )
            if not done.rolled_back:
                self.desk.serving = None
            self.desk.advance(machine.DeployEnded(ok=False, serving=before if done.rolled_back else None))
            return
        self.desk.serving, self.desk.images.good = reached, self._deployed_image
        self.desk.fresh, self.desk.clock.work = None, None
        if done.health.how == "canceled":
            # Nobody waits for a container that is to be replaced at once, or that is left.
            self.desk.advance(machine.DeployEnded(ok=True, serving=message.version))
            return
        is_first = done.stopped is None
        self._deployed(
            "rebuild" if reached is None or reached.answered.plan.action != "restart" else "restart",
            how=done.health.how,
            seconds=done.seconds,
            stop_seconds=None if is_first else done.stop_seconds,
            healthy_seconds=done.health.seconds,
            serves=done.ok,
            patched=self._patched,
        )
        if not done.ok:
            self.desk.note(f"the container runs and does not serve: {done.health.note or done.health.how}")
        self.desk.advance(machine.DeployEnded(ok=True, serving=message.version))

    def _found_again(self) -> machine.Version | None:
        """Look what serves after something went wrong halfway."""
        self.desk.serving = None
        if self.desk.keeper is None:
            return None
        try:
            return self.desk.keeper.recover()
        except DevloopError:
            return None

    def _deployed(
        self,
        action: Action,
        *,
        how: str,
        seconds: float,
        stop_seconds: float | None = None,
        healthy_seconds: float | None = None,
        serves: bool = True,
        behind: tuple[str, ...] = (),
        patched: tuple[str, ...] = (),
    ) -> None:
        keeper = self.desk.keeper
        container = keeper.container if keeper is not None else None
        since = self.desk.clock.counted_from
        self.desk.show(
            events.Deployed(
                action=action,
                container=container.name if container is not None else "",
                urls=container_urls(container),
                how=how,
                seconds=seconds,
                since_save=time.monotonic() - since.at if since is not None else None,
                from_key=since is not None and since.by_key,
                stop_seconds=stop_seconds,
                healthy_seconds=healthy_seconds,
                serves=serves,
                behind=behind,
                patched=patched,
                owed=self._owed(),
            )
        )

    def _owed(self) -> tuple[str, ...]:
        """Return what the container holds newer than the newest image of it, as far as that is known."""
        holds, image = self.desk.serving, self.desk.images.good
        base = self.desk.images.made_of.get(image) if image is not None else None
        return (
            _paths(changes_between(base.tree, holds.tree)) if base is not None and holds is not None else ()
        )

    def start_sync(self, version: machine.Version) -> None:
        """Bring the files of this version into the container."""
        keeper = self.desk.keeper
        part = self.desk.part
        reached = part if part is not None and part.version == version else self.desk.wanted(version)
        plan = reached.sync
        if keeper is None or not isinstance(plan, SyncPlan):
            raise RuntimeError("a sync was decided that was not proven")
        self.desk.syncing = reached
        self.desk.clock.counted_from = self.desk.clock.saved
        roots = {name: context.root for name, context in reached.model.contexts.items()}
        fallback = self.desk.images.fallback(version)
        commands = self._prover.commands(self.desk.serving, reached.tree)
        self._hurry = Haste(self.desk.leaving)
        hurry = self._hurry

        def work() -> None:
            try:
                synced = keeper.sync(
                    plan,
                    roots,
                    version,
                    restart=reached.reloader is None,
                    fallback=fallback,
                    cancel=hurry,
                )
            except DevloopError as error:
                self.desk.put(SyncDone(version, Synced(ok=False, seconds=0.0, serving=None), error))
                return
            self.desk.put(SyncDone(version, synced))
            if synced.ok:
                self._run_commands(keeper, commands)

        self.desk.spawn("devloop-sync", work)

    def _run_commands(self, keeper: Keeper, commands: Sequence[Sequence[str]]) -> None:
        """Run what the user's rules want after a sync, and say how it ended where it did not end well."""
        for command in commands:
            container = keeper.container
            if container is None:
                return
            try:
                code, output = keeper.containers.execute(container.id, command)
            except DevloopError as error:
                self.desk.put(
                    Noticed(f"{' '.join(command)} could not be run: {error.message}", is_error=True)
                )
                continue
            if code:
                last = output.strip().splitlines()[-1:] or [""]
                text = f"{' '.join(command)} ended with exit code {code}: {last[0]}"
                self.desk.put(Noticed(text, is_error=True))

    def on_synced(self, message: SyncDone) -> None:
        """Say what became of a sync, and what serves now."""
        reached, self.desk.syncing = self.desk.syncing, None
        synced = message.synced
        if message.error is not None:
            self.desk.serving = None
            self.desk.show(events.DeployFailed(message.error.message, None, (), rolled_back=False))
            if isinstance(message.error, EngineUnavailable):
                # Before anything else is decided: nothing can be started now.
                self.link.lose(message.error)
            self.desk.advance(machine.SyncEnded(ok=False, serving=None))
            return
        health = synced.health
        if health is not None and health.how == "canceled":
            self.desk.serving = reached
            self.desk.advance(machine.SyncEnded(ok=True, serving=synced.serving))
            return
        if synced.ok:
            self.desk.serving = reached
            self._record_sync(reached, synced)
            self._deployed(
                "sync" if reached is None or reached.reloader is not None else "sync+restart",
                how=synced.how,
                seconds=synced.seconds,
                healthy_seconds=health.seconds if health is not None else None,
                serves=health is None or health.ok,
                behind=reached.behind if reached is not None else (),
            )
            if health is not None and not health.ok:
                self.desk.note(f"the container runs and does not serve: {health.note or health.how}")
            self.desk.advance(machine.SyncEnded(ok=True, serving=synced.serving))
            return
        if health is not None:
            words = crash_words(health)
            self.desk.show(events.DeployFailed(words, health.exit_code, health.log_tail, synced.rolled_back))
            back = synced.serving
            self.desk.serving = self.desk.images.made_of.get(back.image) if back is not None else None
            self.desk.advance(machine.SyncEnded(ok=False, serving=back, crashed=True))
            return
        if synced.retry:
            self.desk.must_reread = True
        else:
            self.desk.serving = None
            self.desk.show(
                events.DeployFailed(
                    f"the files could not be synced: {synced.error}; the image is rebuilt instead",
                    None,
                    (),
                    rolled_back=False,
                )
            )
        self.desk.advance(machine.SyncEnded(ok=False, serving=synced.serving))

    def start_restart(self, version: machine.Version) -> None:
        """Start the process of what serves anew."""
        keeper = self.desk.keeper
        if keeper is None:
            raise RuntimeError("a restart was decided without an engine")
        self.desk.syncing = self.desk.serving
        # Only a key asks for it; a build that is in flight meanwhile keeps its own time.
        self.desk.clock.counted_from = Moment(time.monotonic(), by_key=True)

        def work() -> None:
            try:
                done = keeper.restart(version, self.desk.leaving)
            except DevloopError as error:
                self.desk.put(RestartDone(version, Synced(ok=False, seconds=0.0, serving=None), error))
            else:
                self.desk.put(RestartDone(version, done))

        self.desk.spawn("devloop-restart", work)

    def on_restarted(self, message: RestartDone) -> None:
        """Say what became of a restart, and what serves now."""
        self.desk.syncing = None
        done, health, error = message.done, message.done.health, message.error
        if health is not None and health.how == "canceled":
            self.desk.serving = None
            self.desk.advance(machine.DeployEnded(ok=False, serving=None))
            return
        if done.ok:
            self._deployed(
                "restart",
                how=done.how,
                seconds=done.seconds,
                healthy_seconds=health.seconds if health is not None else None,
                serves=health is None or health.ok,
            )
            self.desk.advance(machine.DeployEnded(ok=True, serving=message.version))
            return
        self.desk.serving = None
        words = error.message if error is not None else done.error
        if health is not None:
            words = crash_words(health)
        code = health.exit_code if health is not None else None
        tail = health.log_tail if health is not None else ()
        self.desk.show(events.DeployFailed(words, code, tail, rolled_back=False))
        if isinstance(error, EngineUnavailable):
            self.link.lose(error)
        self.desk.advance(machine.DeployEnded(ok=False, serving=None))

    def _record_sync(self, reached: Reached | None, synced: Synced) -> None:
        if reached is None:
            return
        kind = "sync" if reached.reloader is not None else "sync+restart"
        saved = SyncRecord(time.time(), kind, synced.seconds, reached.answered.rebuild_seconds)
        self.desk.memory.record_sync(saved)


def _paths(changes: Mapping[str, Sequence[PathChange]]) -> tuple[str, ...]:
    return tuple(sorted(one.path for found in changes.values() for one in found))
