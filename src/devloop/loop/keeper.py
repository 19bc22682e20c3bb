"""The container of a project: how it is run, replaced, synced, restarted, found again and left.

Everything here takes its time, so the session calls it from a thread, one call at a time. What a container
holds beyond its image is written to the state before it is brought in: a session that was killed must not
leave a container that a later one takes for something else.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from devloop.engine import supervisor
from devloop.engine.archive import Removal, SyncBatch, Write
from devloop.engine.base import Cancel
from devloop.engine.containers import Containers, Replacement
from devloop.engine.health import Health
from devloop.engine.images import ImageFacts, image_facts
from devloop.engine.logs import LogLine, LogStream
from devloop.engine.runspec import RunSpec
from devloop.engine.state import ContainerFacts
from devloop.engine.sync import ContainerFiles
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop.builds import image_tag
from devloop.loop.state import Version
from devloop.plan.restart import reloads_itself
from devloop.plan.stops import diagnose_stop, grace_seconds
from devloop.plan.sync import FileKind, Surroundings, SyncPlan
from devloop.project.discover import Location
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

LABEL_IMAGE_VERSION = "io.devloop.image-version"
LABEL_RUN_VERSION = "io.devloop.run-version"
_QUIT_SECONDS = 0.7
"""How long the application may take to end after Ctrl-C before it is cut off."""


@dataclass(frozen=True, slots=True)
class Synced:
    """How a sync went. `serving` is what the container holds now, None where that is not known.

    `retry` tells that a file changed while it was read, so that nothing was sent.
    """

    ok: bool
    seconds: float
    serving: Version | None
    how: str = ""
    error: str = ""
    retry: bool = False
    health: Health | None = None
    rolled_back: bool = False
    restart_seconds: float | None = None


class NotPatchedError(DevloopError):
    """Files could not be put on the image of a new container; the image of the tree has to be built."""


@dataclass(frozen=True, slots=True)
class Patch:
    """The files that make a version of another image.

    `prove` is asked with what is known of the very container, and returns None where they would not.
    """

    prove: Callable[[Surroundings], SyncPlan | None]
    roots: Mapping[str, Path]


@dataclass(slots=True)
class Keeper:
    """Knows the container that serves the project, and does to it what the session decides."""

    containers: Containers
    workspace: Workspace
    show: Callable[[events.Event], None]
    container: ContainerFacts | None = None
    holds: Version | None = None
    _logs: LogStream | None = None
    _files: ContainerFiles | None = None
    _kinds: dict[str, FileKind | None] = field(default_factory=dict)
    _added: set[str] = field(default_factory=set)
    _layers: tuple[str, ...] | None = None
    _told_of_stop: bool = False
    _ended: tuple[str, str] | None = None
    """The container, and its start, of which it was said that it ended."""
    _shells: dict[tuple[str, ...], bool] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.workspace.settings

    @property
    def location(self) -> Location:
        """Where the project's files are."""
        return self.workspace.location

    @property
    def memory(self) -> Memory:
        """What is remembered of the project."""
        return self.workspace.memory

    @property
    def name(self) -> str:
        """The name of the container."""
        target = self.settings.target
        return f"devloop-{self.location.name}-{target}" if target else f"devloop-{self.location.name}"

    # How it is run

    def spec(self) -> RunSpec:
        """Return how the container is to be run. Raises DevloopError for an unreadable file of variables."""
        settings = self.settings
        env: dict[str, str | None] = {}
        for name in settings.env_file:
            env.update(read_env_file(self.location.folder / name))
        env.update(settings.env)
        return RunSpec(
            image=image_tag(self.location, settings),
            name=self.name,
            project=self.location.identity,
            publish=tuple(settings.publish),
            env=tuple(env.items()),
            volumes=tuple(settings.volume),
            network=settings.run_network,
            command=tuple(settings.command) if settings.command is not None else None,
            user=settings.user,
            init=settings.init or None,
            stop_grace_seconds=settings.stop_seconds,
            options=tuple(settings.run_option.items()),
            directory=str(self.location.folder),
        )

    # Finding and following it

    def recover(self) -> Version | None:
        """Take over what an earlier session of this project left, and remove its leftovers.

        Returns what the container holds. A container of which the state says nothing holds who knows what,
        whatever its labels say, because files may have been synced into it.
        """
        found = self.containers.recover(self.location.identity, self.name)
        self._adopt(found)
        if found is None or not found.is_running:
            return None
        known = self.memory.container(found.id)
        if known is None:
            return None
        self._added = set(known.added)
        self.holds = Version(known.image_version, known.run_version)
        self.follow(found.id, since=found.started_at)
        return self.holds

    def _adopt(self, found: ContainerFacts | None) -> None:
        if found is None or self.container is None or found.id != self.container.id:
            self._close_files()
            self._kinds = {}
            self._added = set()
            self._layers = None
            self.holds = None
        self.container = found

    def check(self) -> events.ContainerExited | None:
        """Look whether the container still runs, and return what to say when it does not."""
        if self.container is None:
            return None
        found = self.containers.inspect(self.container.id)
        if found is not None and found.is_running:
            if found.started_at != self.container.started_at:
                self._kinds = {}
            self.container = found
            return None
        ended = (found.id, found.started_at) if found is not None else None
        if ended is not None and ended == self._ended:
            return None
        self._ended = ended
        tail = self.containers.log_tail(found.id, 20) if found is not None else ()
        name = self.container.name
        self._adopt(found)
        return events.ContainerExited(name, found.exit_code if found is not None else None, tuple(tail))

    def follow(self, ident: str | None, *, since: str = "") -> None:
        """Show the log of a container from now on."""
        if self._logs is None:
            self._logs = self.containers.follow(ident, self._on_log, since=since)
        else:
            self._logs.switch(ident)

    def _on_log(self, line: LogLine) -> None:
        self.show(events.ContainerLog("stderr" if line.stream == "stderr" else "stdout", line.text))

    # Replacing it

    def replace(
        self, version: Version, spec: RunSpec, cancel: Cancel, patch: Patch | None = None
    ) -> Replacement:
        """Put a container of this version in the place of the one that serves.

        Where a patch makes the version of another image, its files are put into the new container before it
        starts. Raises NotPatchedError where that cannot be done; then what serves goes on.
        """
        added: list[str] = []

        def prepare(ident: str) -> None:
            if patch is not None:
                added[:] = self._put_on(ident, patch)

        old = self.container.id if self.container is not None else None
        stopped_command = supervisor.unwrap(self.container.command) if self.container is not None else ()
        labels = ((LABEL_IMAGE_VERSION, version.image), (LABEL_RUN_VERSION, version.run))
        labelled = self._supervised(replace(spec, labels=(*spec.labels, *labels)))
        done = self.containers.replace(
            old,
            labelled,
            rollback=self.settings.rollback,
            timeout_seconds=self.settings.health_seconds,
            cancel=cancel,
            prepare=prepare if patch is not None else None,
            on_started=self.follow,
        )
        is_new = done.container is not None and done.container.id != old
        if is_new:
            self._adopt(done.container)
            if done.container is not None:
                self.holds = version
                self._added = set(added)
                self._save_holding(done.container.id)
        else:
            self.container = done.container
        self.follow(done.container.id if done.container is not None else None)
        if done.stopped is not None and done.stopped.killed:
            self._tell_of_slow_stop(done.stopped.seconds, stopped_command)
        self.memory.record_restart("replace", done.stop_seconds, done.start_seconds, done.health.seconds)
        return done

    def _put_on(self, ident: str, patch: Patch) -> list[str]:
        """Put the files of a patch into a container that has not started; return the places that are new."""
        files = self.containers.files(ident)
        try:
            made = self.containers.inspect(ident)
            if made is None:
                raise NotPatchedError("the new container is gone")
            around = Surroundings(
                mounts=tuple(one.target for one in made.mounts),
                is_read_only=made.is_read_only,
                kind_at=lambda place: found.kind if (found := files.stat(place)) is not None else None,
            )
            plan = patch.prove(around)
            if plan is None:
                raise NotPatchedError("it is not proven what the files mean to the new image")
            places = [one.path for one in plan.writes]
            there = files.stat_all(places)
            outcome = files.apply(sync_batch(plan, patch.roots))
            if not outcome.ok:
                raise NotPatchedError(outcome.error or "the files could not be written")
            return [place for place in places if there.get(place) is None]
        finally:
            files.close()

    def _tell_of_slow_stop(self, seconds: float, command: Sequence[str]) -> None:
        """Say once why the container had to be killed, and what mends it."""
        if self._told_of_stop:
            return
        self._told_of_stop = True
        why, hint = diagnose_stop(command)
        message = f"the container had to be killed after {seconds:.1f} s: {why}"
        self.show(events.Problem("engine", message, hint=hint, severity="note"))

    def _supervised(self, spec: RunSpec) -> RunSpec:
        """Put the supervisor in front of the command, where the image allows it and nobody minds.

        A database gets the time that it needs to end, whatever the settings say.
        """
        settings = self.settings
        image = image_facts(self.containers.engine, spec.image)
        if image is None:
            return spec
        entry = (*(spec.entrypoint or image.entrypoint or ()), *(_command(spec, image)))
        spec = replace(spec, stop_grace_seconds=grace_seconds(entry, settings.stop_seconds))
        if not settings.supervisor or settings.restart not in {"auto", "process"}:
            return spec
        names = [name for name, _ in (*image.env, *spec.env)]
        options = {name.lstrip("-").replace("-", "_"): value for name, value in spec.options}
        stop_signal = str(options.get("stop_signal") or image.stop_signal or "") or None
        reason = supervisor.supports(
            entry,
            names,
            has_shell=self._has_shell(image),
            tty=spec.tty,
            init=bool(spec.init),
            stop_signal=stop_signal,
        )
        if reason is not None:
            return spec
        entrypoint, command = supervisor.wrap(entry, stop_signal=stop_signal)
        return replace(spec, entrypoint=entrypoint, command=command)

    def _has_shell(self, image: ImageFacts) -> bool:
        # Later builds change the last layers; the shell comes with the first ones.
        base = image.chain[:1]
        if base not in self._shells:
            self._shells[base] = self.containers.has_shell(image.id)
        return self._shells[base]

    # Syncing into it

    def surroundings(self) -> Surroundings:
        """Return what the proof of a sync needs to know of the container that serves."""
        container = self.container
        if container is None or not container.is_running:
            return Surroundings(refusal="the container does not run")
        return Surroundings(
            mounts=tuple(one.target for one in container.mounts),
            is_read_only=container.is_read_only,
            kind_at=self._kind_at,
            is_ours=self._added.__contains__,
            layers_with=self._layers_with,
            layer_count=self._layer_count(),
        )

    def _open_files(self) -> ContainerFiles:
        container, files = self.container, self._files
        if container is None:
            raise DevloopError("there is no container to sync into")
        if files is None or files.ident != container.id:
            files = self._files = self.containers.files(container.id)
        return files

    def _kind_at(self, place: str) -> FileKind | None:
        # A save is looked at while another thread syncs or replaces. What is forgotten there gets a new
        # dictionary, so that nothing seen before comes back into it.
        kinds = self._kinds
        try:
            return kinds[place]
        except KeyError:
            found = self._open_files().stat(place)
            kind = kinds[place] = found.kind if found is not None else None
            return kind

    def _layers_with(self, place: str) -> frozenset[int] | None:
        """Return which layers of the image have a path, the topmost being 0; None where that is not seen."""
        if not self._seen_layers():
            return None
        return frozenset(at for at, layer in enumerate(self._seen_layers()) if _has(layer, place))

    def _layer_count(self) -> int | None:
        return len(self._seen_layers()) or None

    def _seen_layers(self) -> tuple[str, ...]:
        if self._layers is None:
            self._layers = self._find_layers()
        return self._layers

    def _find_layers(self) -> tuple[str, ...]:
        # Only root may look into the engine's directories, and only a classic store has one a layer.
        if os.geteuid() != 0 or not self.containers.is_local or self.container is None:
            return ()
        record = self.containers.engine.find(f"/images/{self.container.image_id}/json") or {}
        data = (record.get("GraphDriver") or {}).get("Data") or {}
        found = [data.get("UpperDir") or "", *(data.get("LowerDir") or "").split(":")]
        layers = tuple(layer for layer in found if layer)
        return layers if layers and all(Path(layer).is_dir() for layer in layers) else ()

    def reloader(self, paths: Sequence[str]) -> str | None:
        """Name what takes up changes of these paths by itself, or None: then the process must restart."""
        mode = self.settings.restart
        if mode == "none":
            return "restart = none"
        if mode != "auto" or self.container is None:
            return None
        env = {name: value or "" for name, value in self.settings.env.items()}
        return reloads_itself(supervisor.unwrap(self.container.command), paths, env)

    def sync(
        self,
        plan: SyncPlan,
        roots: Mapping[str, Path],
        version: Version,
        *,
        restart: bool,
        fallback: "tuple[Version, RunSpec] | None",
        cancel: Cancel,
    ) -> Synced:
        """Bring files into the container, and restart what has to be restarted.

        `fallback` is the last good image with how to run it, for a version that dies at once.
        """
        started = time.monotonic()
        container = self.container
        if container is None:
            return Synced(ok=False, seconds=0.0, serving=None, error="the container is gone")
        files = self._open_files()
        fresh = self._not_there_yet(files, [one.path for one in plan.writes])
        before, added = self.holds, tuple(sorted(self._added))
        # Until it is known what the container holds, no later session may take it for a known version.
        self.holds = None
        self.memory.forget_container()
        outcome = files.apply(sync_batch(plan, roots))
        if not outcome.ok:
            if not outcome.changed_meanwhile or before is None:
                return Synced(ok=False, seconds=outcome.seconds, serving=None, error=outcome.error or "")
            self.holds = before
            self.memory.save_container(container.id, before.image, before.run, added)
            why = outcome.error or "a file changed while it was read"
            return Synced(ok=False, seconds=outcome.seconds, serving=before, error=why, retry=True)
        self.holds = version
        self._added.update(fresh)
        self._added.difference_update(plan.removals)
        # What was below a directory that went is not there any more either.
        kinds = {} if plan.removals else dict(self._kinds)
        for one in plan.writes:
            kinds.pop(one.path, None)
        self._kinds = kinds
        if not restart:
            self._save_holding(container.id)
            synced_seconds = time.monotonic() - started
            return Synced(ok=True, seconds=synced_seconds, serving=version, how="files")
        return self._restart(version, started, fallback, cancel, self.settings.restart)

    def _save_holding(self, ident: str) -> None:
        """Remember what the container holds and runs; before a restart it runs something else."""
        if self.holds is not None:
            added = tuple(sorted(self._added))
            self.memory.save_container(ident, self.holds.image, self.holds.run, added)

    def _not_there_yet(self, files: ContainerFiles, places: Sequence[str]) -> list[str]:
        """Return which places the container does not have: what a sync puts there is devloop's own."""
        unknown = [place for place in places if place not in self._kinds and place not in self._added]
        for place, found in files.stat_all(unknown).items():
            self._kinds[place] = found.kind if found is not None else None
        return [place for place in places if place not in self._added and self._kinds.get(place) is None]

    def restart(self, version: Version, cancel: Cancel) -> Synced:
        """Restart what serves because the user asks for it: a signal or nothing at all would not be that."""
        mode = "container" if self.settings.restart == "container" else "auto"
        return self._restart(version, time.monotonic(), None, cancel, mode)

    def _restart(
        self,
        version: Version,
        started: float,
        fallback: "tuple[Version, RunSpec] | None",
        cancel: Cancel,
        mode: str,
    ) -> Synced:
        container = self.container
        if container is None:
            return Synced(ok=False, seconds=0.0, serving=None, error="the container is gone")
        before = time.monotonic()
        try:
            if mode.startswith("signal:"):
                self._send_signal(container, mode.partition(":")[2])
                how = mode
            else:
                how = self._restart_process(container, mode)
        except DevloopError as error:
            return Synced(ok=False, seconds=time.monotonic() - started, serving=None, error=error.message)
        self._save_holding(container.id)
        health = self.containers.wait_healthy(
            container.id,
            timeout_seconds=self.settings.health_seconds,
            cancel=cancel,
            heeds_check=how == "container",
        )
        now = time.monotonic()
        if health.crashed:
            return self._crashed(health, now - started, fallback, cancel)
        found = self.containers.inspect(container.id)
        if found is not None:
            self.container = found
        self.memory.record_restart(how, None, now - before - health.seconds, health.seconds)
        return Synced(
            ok=True,
            seconds=now - started,
            serving=version,
            how=how,
            health=health,
            restart_seconds=now - before,
        )

    def _send_signal(self, container: ContainerFacts, name: str) -> None:
        """Send a signal; raises DevloopError where the container has ended or the signal is unknown."""
        from docker.errors import DockerException

        try:
            self.containers.client.kill(container.id, signal=name)
        except (DockerException, OSError) as error:
            raise DevloopError(f"the signal {name} could not be sent: {error}") from error

    def _restart_process(self, container: ContainerFacts, mode: str) -> str:
        """Restart in place where a supervisor is at work, else the container; return which it was."""
        grace = self.settings.stop_seconds
        if mode in {"auto", "process"} and supervisor.is_wrapped(container.command):
            try:
                self.containers.restart_process(container.id, grace)
            except supervisor.CannotRestart:
                found = self.containers.inspect(container.id)
                if found is None or not found.is_running:
                    # What was started anew ended at once; waiting for it tells how.
                    return "process"
            else:
                return "process"
        self.containers.restart(container.id, grace)
        return "container"

    def _crashed(
        self,
        health: Health,
        seconds: float,
        fallback: "tuple[Version, RunSpec] | None",
        cancel: Cancel,
    ) -> Synced:
        """Put the last good image back after a synced version died at once."""
        if fallback is None or not self.settings.rollback:
            self.container = (
                self.containers.inspect(self.container.id) if self.container is not None else None
            )
            return Synced(ok=False, seconds=seconds, serving=None, health=health)
        version, spec = fallback
        done = self.replace(version, spec, cancel)
        is_back = done.ok and done.container is not None
        return Synced(
            ok=False,
            seconds=seconds,
            serving=version if is_back else None,
            health=health,
            rolled_back=is_back,
        )

    # Leaving it

    def leave(self, *, stays: bool) -> str:
        """Remove what this project's sessions started, or leave it; return a sentence about it."""
        if stays:
            return f"left the container {self.container.name} running" if self.container else ""
        try:
            found = self.containers.find(self.location.identity)
            self._end_gently([one for one in found if one.is_running])
            for one in found:
                self.containers.remove(one.id)
        except DevloopError as error:
            return f"could not remove the container: {error.message}"
        names = ", ".join(one.name for one in found)
        return f"removed the container {names}" if found else ""

    def _end_gently(self, running: Sequence[ContainerFacts]) -> None:
        """Ask the application to end, and give it a moment: Ctrl-C is to be over within a second."""
        if not running:
            return
        for one in running:
            with contextlib.suppress(Exception):
                self.containers.client.kill(one.id, signal=one.stop_signal or "SIGTERM")
        deadline = time.monotonic() + min(_QUIT_SECONDS, self.settings.stop_seconds)
        while time.monotonic() < deadline:
            states = [self.containers.inspect(one.id) for one in running]
            if not any(one is not None and one.is_running for one in states):
                return
            time.sleep(0.02)

    def _close_files(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None

    def close(self) -> None:
        """Give connections and threads back."""
        self._close_files()
        if self._logs is not None:
            self._logs.close()
        self.containers.close()


def _command(spec: RunSpec, image: ImageFacts) -> tuple[str, ...]:
    """Return the command that an image is run with: an entrypoint of the user's own drops the image's."""
    if spec.command is not None:
        return spec.command
    return () if spec.entrypoint is not None else image.cmd or ()


def _has(layer: str, place: str) -> bool:
    """Tell whether a layer's directory has a path, links followed nowhere: they lead out of the layer."""
    *above, name = place.strip("/").split("/")
    at = layer
    for part in above:
        at = f"{at}/{part}"
        try:
            if not stat.S_ISDIR(os.lstat(at).st_mode):
                return False
        except OSError:
            return False
    return os.path.lexists(f"{at}/{name}")


def sync_batch(plan: SyncPlan, roots: Mapping[str, Path]) -> SyncBatch:
    """Return a proven plan as the engine's hands take it."""
    writes = tuple(
        Write(
            path=one.path,
            kind=one.kind,
            mode=one.mode,
            source=str(roots[one.context] / one.source) if one.kind == "file" else None,
            digest=one.digest,
            link=one.link,
            owner=one.owner,
        )
        for one in plan.writes
    )
    return SyncBatch(writes, tuple(Removal(path) for path in plan.removals))


def run_version(spec: RunSpec, environ: Mapping[str, str]) -> str:
    """Digest how a container is run, with the values that its variables have now."""
    env = [(name, environ.get(name) if value is None else value) for name, value in spec.env]
    text = repr((replace(spec, env=(), labels=()), env))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def container_urls(container: ContainerFacts | None) -> tuple[str, ...]:
    """Return where the published TCP ports of a container can be reached from here."""
    if container is None:
        return ()
    hosts = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - read, not bound
    found = [
        f"http://{hosts.get(one.host_ip, one.host_ip)}:{one.host_port}"
        for one in container.bindings
        if one.protocol == "tcp"
    ]
    return tuple(dict.fromkeys(found))


def crash_words(health: Health, error: str | None = None) -> str:
    """Say how a container that was just started ended."""
    if error is not None:
        return f"the new container did not start: {error}"
    if health.oom_killed:
        return "the new version ran out of memory and was killed"
    if health.exit_code is not None:
        return f"the new version ended at once with exit code {health.exit_code}"
    return "the new container vanished"


def read_env_file(path: Path) -> dict[str, str | None]:
    """Read a file of `NAME=value` lines as docker does: no quotes, `#` comments, a bare name from outside.

    Raises DevloopError where the file cannot be read.
    """
    try:
        # An editor of Windows may have put a mark of its own in front.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise DevloopError(
            f"the environment file {path.name} cannot be read: {why}",
            hint="check --env-file, or the key env_file",
        ) from error
    found: dict[str, str | None] = {}
    # A value may hold what Python takes for the end of a line as well.
    for raw in text.split("\n"):
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        found[name.strip()] = value if equals else None
    return found
