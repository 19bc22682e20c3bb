"""Runs `docker buildx build` and reads it while it runs.

The plugin's own program is started instead of `docker buildx`: the docker client would look for its plugins
and start the same program, which costs as much again as a fully cached build. Builder, context path and
session key are those of the user's own `docker build`, and with them the cache.

A build must not outlive devloop. The plugin watches a socket that the docker client normally keeps open, and
cancels when it closes; we keep it open in the client's place, so even a SIGKILL of ours ends the build.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from devloop.engine.base import BuilderFacts, BuildOutcome, EngineRefused, EngineUnavailable
from devloop.engine.endpoint import Engine, client_config, config_dir, current_endpoint
from devloop.engine.outcome import conclude
from devloop.engine.progress import Progress
from devloop.engine.provenance import parse_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from devloop.context.selection import Listing
    from devloop.engine.base import BuildEvent, BuildRequest, Cancel
    from devloop.engine.endpoint import Endpoint

_SYSTEM_PLUGINS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
_PLUGIN_ENVIRONMENT = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
_LEASH_ENVIRONMENT = "DOCKER_CLI_PLUGIN_SOCKET"
_POLL_SECONDS = 0.02
_GRACE_SECONDS = (3.0, 2.0)
"""How long a build may take to end after SIGINT, then after SIGTERM; after that it is killed."""

_PROVENANCE_SINCE = (0, 14)
_LISTS_NAMES_SINCE, _LISTS_PATHS_SINCE = (0, 25), (0, 26)
_BUILDKIT_OF_ENGINE = (
    # Asking buildx costs a process, and distributions build engines whose BuildKit is v0.0.0. This is what
    # upstream put in; engines newer than the table have at least its first line.
    ((29, 1), (0, 26)),
    ((28, 5), (0, 25)),
    ((28, 4), (0, 24)),
    ((28, 3), (0, 23)),
    ((28, 2), (0, 22)),
    ((28, 1), (0, 21)),
    ((28, 0), (0, 20)),
    ((27, 4), (0, 17)),
    ((27, 0), (0, 14)),
    ((26, 0), (0, 13)),
    ((25, 0), (0, 12)),
    ((23, 0), (0, 11)),
)
_BUILDX_HINT = "Install the buildx plugin of docker (package docker-buildx or docker-buildx-plugin)."


class Buildx:
    """Builds with the user's builder, and remembers what it learned about it."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._facts: BuilderFacts | None = None

    def facts(self, *, refresh: bool = False) -> BuilderFacts:
        """Return the facts about the builder; asks again after it could not be reached, or on request."""
        if refresh or self._facts is None or not self._facts.reachable:
            self._facts = detect_builder(self._environ)
        return self._facts

    def build(
        self, request: BuildRequest, *, on_event: Callable[[BuildEvent], None], cancel: Cancel
    ) -> BuildOutcome:
        facts = self.facts()
        outcome = build(request, on_event=on_event, cancel=cancel, environ=self._environ, facts=facts)
        if outcome.error_kind == "engine":
            self._facts = None
        return outcome


@dataclass(frozen=True, slots=True)
class Program:
    """How buildx is started: as the plugin that the docker client knows, or as a program of its own."""

    command: tuple[str, ...]
    is_plugin: bool


def find_buildx(environ: Mapping[str, str]) -> Program | None:
    """Look for buildx where the docker client would, then for a program called buildx or docker-buildx."""
    extra = client_config(environ).get("cliPluginsExtraDirs")
    directories = [str(one) for one in extra] if isinstance(extra, list) else []
    for directory in (*directories, str(config_dir(environ) / "cli-plugins"), *_SYSTEM_PLUGINS):
        candidate = Path(directory, "docker-buildx")
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return Program((str(candidate), "buildx"), is_plugin=True)
    search = environ.get("PATH")
    for name in ("docker-buildx", "buildx"):
        found = shutil.which(name, path=search)
        if found:
            return Program((found,), is_plugin=False)
    return None


def builder_name(environ: Mapping[str, str], endpoint: Endpoint) -> str:
    """Return the builder that `docker build` takes: BUILDX_BUILDER, else the one named after the context.

    `docker buildx use` is for `docker buildx build` only, and is left alone for that reason.
    """
    return environ.get("BUILDX_BUILDER") or endpoint.context


def build_command(
    program: tuple[str, ...], request: BuildRequest, *, builder: str, metadata: str
) -> list[str]:
    """Spell out one build as an argument list; values of secrets never appear, only where they come from."""
    command = [*program, "build", "--progress=rawjson", "--metadata-file", metadata]
    command += ["--builder", request.builder or builder]
    if request.dockerfile is not None:
        command += ["--file", request.dockerfile]
    if request.target is not None:
        command += ["--target", request.target]
    for name, value in request.build_args:
        command += ["--build-arg", name if value is None else f"{name}={value}"]
    for name, value in request.build_contexts:
        command += ["--build-context", f"{name}={value}"]
    for name, value in request.labels:
        command += ["--label", f"{name}={value}"]
    for flag, one in (
        ("--platform", request.platform),
        ("--network", request.network),
        ("--output", request.output),
    ):
        if one is not None:
            command += [flag, one]
    for flag, values in (
        ("--add-host", request.add_hosts),
        ("--secret", request.secrets),
        ("--ssh", request.ssh),
        ("--tag", request.tags),
        ("--no-cache-filter", request.no_cache_filters),
    ):
        for one in values:
            command += [flag, one]
    if request.no_cache:
        command.append("--no-cache")
    if request.pull:
        command.append("--pull")
    if request.output is None:
        command.append("--load")
    return [*command, *request.extra, "--", request.context]


def build_environment(environ: Mapping[str, str], *, leash: str | None) -> dict[str, str]:
    """Return the environment of the build: the user's, with what we need to read it and to end it.

    buildx asks git about the context for its provenance; nobody here reads the answer, and it costs
    several processes a build, so it is switched off where the user has not decided. So are attestations in
    the image: with the containerd store their time stamps make every build another image, equal or not.
    Neither has to do with the cache, nor with the provenance in the metadata file.
    """
    result = dict(environ)
    result.pop("DOCKER_BUILDKIT", None)
    result["BUILDX_METADATA_PROVENANCE"] = "max"
    result.setdefault("BUILDX_GIT_INFO", "false")
    result.setdefault("BUILDX_NO_DEFAULT_ATTESTATIONS", "true")
    if leash is not None:
        result[_PLUGIN_ENVIRONMENT] = "docker"
        result[_LEASH_ENVIRONMENT] = leash
    return result


def build(
    request: BuildRequest,
    *,
    on_event: Callable[[BuildEvent], None],
    cancel: Cancel,
    environ: Mapping[str, str] = os.environ,
    facts: BuilderFacts | None = None,
) -> BuildOutcome:
    """Build, telling `on_event` what happens from this thread; returns when no process is left.

    `cancel` is looked at every few hundredths of a second. Whatever goes wrong is in the outcome. Without
    `facts` the image is named as the classic image store does.
    """
    started = time.monotonic()
    program = find_buildx(environ)
    if program is None:
        return BuildOutcome(
            "failed", 0.0, error="docker has no buildx here", error_kind="buildx", hint=_BUILDX_HINT
        )
    try:
        builder = request.builder or builder_name(environ, current_endpoint(environ))
    except EngineUnavailable as error:
        return BuildOutcome("failed", 0.0, error=error.message, error_kind="engine", hint=error.hint)
    progress = Progress()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="devloop-"))
        leash = stack.enter_context(_Leash(directory)) if program.is_plugin else None
        metadata = Path(directory, "metadata.json")
        command = build_command(program.command, request, builder=builder, metadata=str(metadata))
        run = _Run(command, build_environment(environ, leash=leash.address if leash else None), leash)
        try:
            run.start(stdin=None if request.context == "-" else subprocess.DEVNULL)
        except OSError as error:
            return BuildOutcome(
                "failed", 0.0, error=f"{command[0]}: {error.strerror}", error_kind="buildx", hint=_BUILDX_HINT
            )
        stack.callback(run.end)
        for line in run.lines(cancel):
            for event in progress.feed(line):
                on_event(event)
        returncode = run.wait()
        for event in progress.finish():
            on_event(event)
        raw = metadata.read_bytes() if metadata.is_file() else b""
    return conclude(
        progress,
        parse_metadata(raw),
        returncode=returncode,
        seconds=time.monotonic() - started,
        canceled=run.canceled and returncode != 0,
        ids_are_digests=facts is not None and facts.image_store == "containerd",
    )


class _Leash:
    """A listening socket that the plugin connects to, and whose end it takes for the end of its client.

    The accepted connection is kept, because only a closed one is noticed. Linux has socket names without
    files; elsewhere the name is a file in the build's own directory.
    """

    def __init__(self, directory: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._held: list[socket.socket] = []
        if sys.platform == "linux":
            name = f"devloop_{os.getpid()}_{Path(directory).name}"
            self.listener.bind(f"\0{name}")
            self.address = f"@{name}"
        else:
            self.address = str(Path(directory, "leash"))
            self.listener.bind(self.address)
        self.listener.listen(4)
        self.listener.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self) -> None:
        with suppress(OSError):
            self._held.append(self.listener.accept()[0])

    def close(self) -> None:
        for held in self._held:
            held.close()
        self._held.clear()
        self.listener.close()


class _Run:
    """The process of one build, in a group of its own so that a Ctrl-C at the terminal is ours to pass on."""

    def __init__(self, command: list[str], environ: dict[str, str], leash: _Leash | None) -> None:
        self._command = command
        self._environ = environ
        self._leash = leash
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self.canceled = False

    def start(self, *, stdin: int | None) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environ,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            process_group=0,
        )

    def lines(self, cancel: Cancel) -> Iterator[bytes]:
        """Yield what the process writes, line by line, until it closes its end; cancels when asked to."""
        process = self._running
        if process.stderr is None:
            return
        reader = process.stderr.fileno()
        os.set_blocking(reader, False)
        self._selector.register(reader, selectors.EVENT_READ)
        if self._leash is not None:
            self._selector.register(self._leash.listener, selectors.EVENT_READ)
        rest, has_ended = b"", False
        deadlines: list[tuple[float, int]] = []
        while True:
            if cancel.is_set() and not self.canceled:
                self.canceled = True
                deadlines = self._interrupt()
            if deadlines and time.monotonic() >= deadlines[0][0]:
                self._signal(deadlines.pop(0)[1])
            ready = {key.fd for key, _ in self._selector.select(_POLL_SECONDS)}
            if self._leash is not None and self._leash.listener.fileno() in ready:
                self._leash.accept()
            if reader in ready:
                with suppress(BlockingIOError):
                    chunk = os.read(reader, 1 << 16)
                    if not chunk:
                        break
                    *complete, rest = (rest + chunk).split(b"\n")
                    yield from complete
            elif has_ended:
                break  # somebody who inherited the pipe holds it open; the build itself is over
            has_ended = process.poll() is not None
        if rest:
            yield rest

    def wait(self) -> int:
        """Return the exit code; a process that closed its output and lingers is made to leave."""
        try:
            return self._running.wait(_GRACE_SECONDS[0])
        except subprocess.TimeoutExpired:
            self.end()
            return self._running.wait()

    def end(self) -> None:
        """Leave nothing behind: whatever is still there is killed."""
        process = self._process
        if process is not None and process.poll() is None:
            for number, grace in ((signal.SIGINT, 0.5), (signal.SIGKILL, None)):
                self._signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
                    break
        if process is not None and process.stderr is not None:
            process.stderr.close()
        self._selector.close()

    def _interrupt(self) -> list[tuple[float, int]]:
        self._signal(signal.SIGINT)
        first = time.monotonic() + _GRACE_SECONDS[0]
        return [(first, signal.SIGTERM), (first + _GRACE_SECONDS[1], signal.SIGKILL)]

    def _signal(self, number: int) -> None:
        process = self._running
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the build has not been started")
        return self._process


def detect_builder(environ: Mapping[str, str] = os.environ) -> BuilderFacts:
    """Ask engine and buildx, side by side, who would build; never raises, `reachable` and `error` tell."""
    legacy = environ.get("DOCKER_BUILDKIT", "").lower() in {"0", "f", "false"}
    try:
        endpoint = current_endpoint(environ)
    except EngineUnavailable as error:
        return BuilderFacts(
            "", "", "", reachable=False, legacy_environment=legacy, error=error.message, hint=error.hint
        )
    name = builder_name(environ, endpoint)
    facts = BuilderFacts(name, "docker", endpoint.host, reachable=False, legacy_environment=legacy)
    program = find_buildx(environ)
    version = _ask(program, ["version"], environ)
    # Only the engine's own builder may be named after its context, and of that one the engine tells all.
    inspect = None if name == endpoint.context else _ask(program, ["inspect", name], environ)
    try:
        facts = _engine_facts(facts, Engine(endpoint, timeout_seconds=10))
    except (EngineUnavailable, EngineRefused) as error:
        _answer(version)
        _answer(inspect)
        return replace(facts, error=error.message, hint=error.hint)
    if program is None:
        return replace(facts, reachable=False, error="docker has no buildx here", hint=_BUILDX_HINT)
    return _builder_facts(facts, _answer(version), _answer(inspect))


def _ask(
    program: Program | None, arguments: list[str], environ: Mapping[str, str]
) -> subprocess.Popen[bytes] | None:
    if program is None:
        return None
    command = [program.command[0], *arguments]
    try:
        return subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None


def _answer(process: subprocess.Popen[bytes] | None) -> str:
    if process is None:
        return ""
    with process:
        try:
            return process.communicate(timeout=10)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            process.kill()
            return ""


def _engine_facts(facts: BuilderFacts, engine: Engine) -> BuilderFacts:
    version = engine.get("/version")
    info = engine.get("/info")
    status = dict(pair for pair in info.get("DriverStatus") or () if len(pair) == 2)
    is_containerd = "containerd" in str(status.get("driver-type", ""))
    architecture = str(version.get("Arch", ""))
    return replace(
        facts,
        reachable=True,
        engine_version=version.get("Version"),
        api_version=version.get("ApiVersion"),
        image_store="containerd" if is_containerd else "classic",
        platform=f"{version.get('Os', 'linux')}/{architecture}" if architecture else None,
        buildkit_version=_buildkit_of(version.get("Version")),
    )


def _builder_facts(facts: BuilderFacts, version: str, inspect: str) -> BuilderFacts:
    """Read `buildx version` and the first node of `buildx inspect`."""
    found = re.search(r"^\S+ v?(\d+\.\d+\S*)", version)
    fields = {
        key.strip(): value.strip()
        for key, colon, value in (line.partition(":") for line in reversed(inspect.splitlines()))
        if colon
    }
    driver = fields.get("Driver") or facts.driver
    shown = fields.get("BuildKit version", fields.get("BuildKit", "")).removeprefix("v")
    buildkit = shown if shown and not shown.startswith("0.0.0") else None
    if driver == "docker":
        buildkit = buildkit or facts.buildkit_version
    numbers = version_numbers(buildkit)
    return replace(
        facts,
        driver=driver,
        buildx_version=found[1] if found else None,
        buildkit_version=buildkit,
        supports_merge=driver != "docker" or facts.image_store == "containerd",
        has_provenance=version_numbers(found[1] if found else None) >= _PROVENANCE_SINCE,
        listing=listing_of(numbers),
    )


def listing_of(buildkit: tuple[int, int]) -> Listing:
    """Return how a BuildKit of that version lists what wildcards take; an unknown one is taken as 0.25."""
    if buildkit >= _LISTS_PATHS_SINCE:
        return "paths"
    return "nested" if (0, 0) < buildkit < _LISTS_NAMES_SINCE else "names"


def version_numbers(version: str | None) -> tuple[int, int]:
    """Return major and minor of a version text, (0, 0) where there is none."""
    match = re.match(r"v?(\d+)\.(\d+)", version or "")
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _buildkit_of(engine: str | None) -> str | None:
    numbers = version_numbers(engine)
    for since, buildkit in _BUILDKIT_OF_ENGINE:
        if numbers >= since:
            return f"{buildkit[0]}.{buildkit[1]}"
    return None
