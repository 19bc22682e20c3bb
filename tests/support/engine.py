"""The Docker Engine of the tests: found once, asked through the SDK, left as it was."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.models.containers import Container

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "engine"
BUSYBOX = "devloop-test-busybox:latest"
STAND_IN_LABEL = "devloop.stand-in"

HOW_TO_GET_ONE = """\
This test needs a Docker Engine with buildx, and none answers. Get one in one of these ways:
  make test                          sets up everything; as root on Debian, a private engine too
  scripts/engine up                  that engine alone, for `pytest` by hand
  Docker Desktop, or your system's docker packages, running and allowed for your user
Without any: make quick              runs the tests that need no engine
"""


class NoEngineError(Exception):
    """No engine answers, or the docker client lacks buildx."""


def find_environment() -> dict[str, str]:
    """The environment in which `docker` reaches an engine: the user's own, or the private one's."""
    found = subprocess.run([SCRIPT, "run", "env", "-0"], capture_output=True, check=False, timeout=30)
    if found.returncode != 0:
        raise NoEngineError(found.stderr.decode(errors="replace").strip())
    pairs = (pair.partition("=") for pair in found.stdout.decode().split("\0") if pair)
    environ = {name: value for name, _, value in pairs}
    buildx = subprocess.run(
        ["docker", "buildx", "version"], env=environ, capture_output=True, check=False, timeout=30
    )
    if buildx.returncode != 0:
        raise NoEngineError(
            "the docker client has no buildx: " + buildx.stderr.decode(errors="replace").strip()
        )
    return environ


@contextmanager
def connect(environ: dict[str, str]) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient.from_env(environment=environ)
    try:
        yield client
    finally:
        client.close()


def make_base_image(environ: dict[str, str], image: str) -> None:
    made = subprocess.run([SCRIPT, "base", image], env=environ, capture_output=True, check=False, timeout=600)
    if made.returncode != 0:
        raise NoEngineError(f"no base image {image}: " + made.stderr.decode(errors="replace").strip())


def is_stand_in(client: docker.DockerClient, image: str) -> bool:
    """Whether the image is the one that scripts/engine made because none could be pulled."""
    labels = client.images.get(image).attrs["Config"].get("Labels") or {}
    return STAND_IN_LABEL in labels


def containers_of(client: docker.DockerClient, name: str) -> list[Container]:
    """The containers, running or not, that have `name` in theirs."""
    # Other tests may be at work on the same engine: what they remove meanwhile is no failure here.
    found: list[Container] = client.containers.list(all=True, filters={"name": name}, ignore_removed=True)
    return found


def remove_all(client: docker.DockerClient, name: str) -> None:
    """Removes the containers and images that a test made under `name`."""
    for container in containers_of(client, name):
        with suppress(NotFound):
            container.remove(force=True, v=True)
    for image in client.api.images():
        for tag in image["RepoTags"] or ():
            if name in tag:
                with suppress(NotFound):
                    client.api.remove_image(tag, force=True)
