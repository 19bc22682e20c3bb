"""The digests under which registries have the images that lie on the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devloop.engine.images import image_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.engine.endpoint import Engine

_CONTAINERD: Final = "io.containerd.snapshotter.v1"
_HUB: Final = ("docker.io/", "index.docker.io/")


def local_digests(engine: Engine, references: Iterable[str]) -> dict[str, str | None]:
    """Return the digest of each image by its reference; None where no registry is known to have it.

    What was built or loaded has none. An engine that keeps images in containerd gives every image a digest,
    also those that no registry has, so it is not believed.
    """
    wanted = sorted(set(references))
    if not wanted:
        return {}
    status = engine.get("/info").get("DriverStatus") or ()
    if any(_CONTAINERD in row for row in status):
        return dict.fromkeys(wanted)
    found: dict[str, str | None] = {}
    for reference in wanted:
        facts = image_facts(engine, reference)
        found[reference] = digest_of(reference, facts.digests) if facts is not None else None
    return found


def digest_of(reference: str, digests: Sequence[str]) -> str | None:
    """Return the digest that belongs to the repository of a reference, None where there is none.

    An image may be known under names of several registries.
    """
    name = _repository(reference)
    for one in digests:
        repository, _, digest = one.partition("@")
        if _repository(repository) == name and digest.startswith("sha256:"):
            return digest
    return None


def _repository(reference: str) -> str:
    """Return the name of a repository as people write it, without tag and digest."""
    name = reference.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = f"{folder}{slash}{last.partition(':')[0]}"
    for prefix in _HUB:
        name = name.removeprefix(prefix)
    return name.removeprefix("library/")
