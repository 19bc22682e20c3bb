"""Which engine builds and runs: found at the start, lost, and found again."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from devloop.dockerfile.stages import ImageConfig, Platform
from devloop.engine.base import BuilderFacts
from devloop.engine.images import image_config, image_facts
from devloop.errors import DevloopError
from devloop.loop import events
from devloop.loop import state as machine
from devloop.loop.desk import Desk
from devloop.loop.keeper import Keeper
from devloop.project.workspace import Switches

if TYPE_CHECKING:
    from devloop.engine.buildx import Buildx

_RETRY_SECONDS = 2.0


class EngineLink:
    """Finds the engine and hands out who handles the container; without one both lanes stand still."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.buildx: Buildx = desk.parts.builder(desk.workspace.environ)
        self.facts: BuilderFacts | None = None
        self.known_as = ""
        """The name of the engine that answered last."""
        self.next_look = 0.0
        """When the engine is looked for again, while there is none."""

    @property
    def words(self) -> str | None:
        """Name engine and builder; None where none answers."""
        return engine_words(self.facts)

    def connect(self) -> None:
        """Find out who builds; without an engine everything but the prediction waits."""
        facts = self.facts = self.buildx.facts(refresh=True)
        containers = None
        if facts.reachable:
            try:
                containers = self.desk.parts.containers(self.desk.workspace.environ)
            except DevloopError as error:
                # An engine that is just starting answers some requests and refuses others.
                facts = self.facts = replace(facts, reachable=False, error=error.message, hint=error.hint)
        self.desk.state = replace(self.desk.state, has_engine=containers is not None)
        if containers is None:
            self.desk.keeper = None
            return
        self.desk.keeper = Keeper(containers, self.desk.workspace, self.desk.show)
        self.desk.workspace.builder = f"{facts.endpoint} {facts.name} {facts.image_store or ''}"
        self.desk.workspace.switches = Switches(facts.supports_merge, facts.listing, facts.platform)
        self.desk.workspace.inspect = self.inspect
        self.known_as = engine_words(facts) or ""
        if facts.legacy_environment:
            self.desk.note(
                "DOCKER_BUILDKIT=0 is set: your own docker build uses the legacy builder, with another cache",
                "unset DOCKER_BUILDKIT to share the cache with devloop",
            )

    def inspect(self, reference: str, platform: Platform) -> ImageConfig | None:
        """Return a base image as the engine has it; None where it has none, or where nobody may look."""
        # A driver with a BuildKit of its own never sees the engine's images.
        if self.desk.keeper is None or self.facts is None or self.facts.driver != "docker":
            return None
        try:
            found = image_facts(self.desk.keeper.containers.engine, reference, str(platform))
        except DevloopError:
            return None
        return image_config(found) if found is not None else None

    def tell_missing(self) -> None:
        """Say that no engine answers, and what to do."""
        facts = self.facts
        message = (facts.error if facts is not None else None) or "no Docker Engine answers"
        hint = (facts.hint if facts is not None else None) or (
            "start Docker, or set DOCKER_HOST; devloop goes on by itself when it answers"
        )
        self.desk.show(events.EngineMissing(message, hint))

    def lose(self, error: DevloopError) -> None:
        """Say that the engine went away; nothing is started until it answers again."""
        self.desk.show(
            events.EngineMissing(error.message, error.hint or "devloop goes on when it answers again")
        )
        if self.desk.keeper is not None:
            self.desk.keeper.close()
        self.desk.keeper = None
        self.wait()
        self.desk.advance(machine.EngineChanged(has_engine=False))

    def wait(self) -> None:
        """Look for the engine again in a while."""
        self.next_look = time.monotonic() + _RETRY_SECONDS


def engine_words(facts: BuilderFacts | None) -> str | None:
    """Name engine and builder; None where none answers."""
    if facts is None or not facts.reachable:
        return None
    parts = [f"Docker Engine {facts.engine_version}" if facts.engine_version else "a Docker Engine"]
    if facts.buildx_version:
        parts.append(f"buildx {facts.buildx_version}")
    if facts.driver != "docker":
        parts.append(f"builder {facts.name} ({facts.driver})")
    return ", ".join(parts)
