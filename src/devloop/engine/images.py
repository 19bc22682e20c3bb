"""What the engine knows about a local image.

BuildKit resolves a FROM by itself, and not always from here: the docker driver takes the local image of that
name unless `--pull` is given or its platform is another; a driver with a BuildKit of its own
(docker-container, kubernetes, remote) never sees the engine's images and asks the registry in every build.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devloop.dockerfile.stages import ImageConfig
from devloop.engine.base import EngineRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.engine.endpoint import Engine


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A HEALTHCHECK; `test` starts with CMD, CMD-SHELL or NONE, times are seconds and 0 means the default."""

    test: tuple[str, ...]
    interval: float = 0.0
    timeout: float = 0.0
    start_period: float = 0.0
    start_interval: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """A local image: the chain of its layers is what a build's cache sees of it, the rest is its config.

    `env` keeps the config's order, which counts for the key of every RUN above it.
    """

    id: str
    chain: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    user: str
    shell: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    onbuild: tuple[str, ...]
    exposed: tuple[str, ...]
    healthcheck: Healthcheck | None
    stop_signal: str | None
    volumes: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    os: str
    architecture: str
    variant: str
    size: int
    tags: tuple[str, ...]
    digests: tuple[str, ...]

    @property
    def platform(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def image_facts(engine: Engine, reference: str, platform: str | None = None) -> ImageFacts | None:
    """Look up a local image; None where there is none, or none for `platform`.

    An engine that keeps several platforms of an image is asked for the one; an older one has a single
    platform, which is compared here.
    """
    record = None
    if platform is not None:
        query = {"platform": json.dumps(_platform(platform))}
        with suppress(EngineRefused):  # by an engine older than this version of its API
            record = engine.find(f"/v1.49/images/{reference}/json", query)
    if record is None:
        record = engine.find(f"/images/{reference}/json")
    if not isinstance(record, dict):
        return None
    facts = parse_image(record)
    return facts if platform is None or _serves(facts, platform) else None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of an image's history: the instruction as BuildKit writes it, and the bytes of its layer."""

    created_by: str
    size: int


def image_history(engine: Engine, reference: str) -> tuple[HistoryEntry, ...] | None:
    """Return the history of a local image, the oldest entry first; None where there is no such image."""
    found = engine.find(f"/images/{reference}/history")
    if not isinstance(found, list):
        return None
    entries = [HistoryEntry(str(one.get("CreatedBy") or ""), int(one.get("Size") or 0)) for one in found]
    return tuple(reversed(entries))


def parse_image(record: Mapping[str, Any]) -> ImageFacts:
    """Read the reply of an image inspection; absent fields are empty."""
    config: Mapping[str, Any] = record.get("Config") or {}
    pairs = (str(one).partition("=") for one in config.get("Env") or ())
    return ImageFacts(
        id=str(record.get("Id", "")),
        chain=tuple((record.get("RootFS") or {}).get("Layers") or ()),
        env=tuple((name, value) for name, _, value in pairs),
        workdir=config.get("WorkingDir") or "",
        user=config.get("User") or "",
        shell=_words(config.get("Shell")),
        entrypoint=_words(config.get("Entrypoint")),
        cmd=_words(config.get("Cmd")),
        onbuild=tuple(config.get("OnBuild") or ()),
        exposed=tuple(sorted(config.get("ExposedPorts") or ())),
        healthcheck=parse_healthcheck(config.get("Healthcheck")),
        stop_signal=config.get("StopSignal") or None,
        volumes=tuple(sorted(config.get("Volumes") or ())),
        labels=tuple(sorted((config.get("Labels") or {}).items())),
        os=record.get("Os") or "",
        architecture=record.get("Architecture") or "",
        variant=record.get("Variant") or "",
        size=int(record.get("Size") or 0),
        tags=tuple(record.get("RepoTags") or ()),
        digests=tuple(record.get("RepoDigests") or ()),
    )


def parse_healthcheck(record: Mapping[str, Any] | None) -> Healthcheck | None:
    """Read a HEALTHCHECK; `NONE` and an empty test are none."""
    test = tuple(record.get("Test") or ()) if record else ()
    if record is None or not test or test[0] == "NONE":
        return None
    return Healthcheck(
        test=test,
        interval=_nanoseconds(record.get("Interval")),
        timeout=_nanoseconds(record.get("Timeout")),
        start_period=_nanoseconds(record.get("StartPeriod")),
        start_interval=_nanoseconds(record.get("StartInterval")),
        retries=int(record.get("Retries") or 0),
    )


def _serves(facts: ImageFacts, platform: str) -> bool:
    wanted = platform.split("/")
    have = (facts.os, facts.architecture, facts.variant)
    return all(want == has or not has for want, has in zip(wanted, have, strict=False))


def _platform(platform: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


def _words(value: object) -> tuple[str, ...] | None:
    return tuple(str(one) for one in value) if isinstance(value, list) and value else None


def _nanoseconds(value: object) -> float:
    return value / 1e9 if isinstance(value, int) else 0.0


def image_config(facts: ImageFacts) -> ImageConfig:
    """Return what a step of a build can see of an image: the chain of its layers stands for its content."""
    chain = hashlib.blake2b("\n".join(facts.chain).encode(), digest_size=16).hexdigest()
    return ImageConfig(
        key=f"layers:{chain}",
        env=facts.env,
        workdir=facts.workdir,
        user=facts.user,
        shell=facts.shell or (),
        onbuild=facts.onbuild,
    )
