"""The services of a compose file, as compose itself reads it: variables, includes and merges resolved."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devloop.plan.rules import Rules, compose_rules
from devloop.project.discover import Location
from devloop.project.settings import Settings

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ComposeRules:
    """What a compose file wants to be synced of a build, and never: its `develop.watch`."""

    file: str
    service: str
    rules: Rules


def watch_rules_reader(
    location: Location, settings: Settings, environ: Mapping[str, str]
) -> Callable[[], ComposeRules | None] | None:
    """Return what asks compose, which needs no engine for it, for the rules about this very build.

    None where there is nothing to ask: no compose file, or none that may hold such rules.
    """
    file = find_compose_file(location.folder)
    if file is None or not settings.live_sync or not mentions_watch_rules(file):
        return None

    def read() -> ComposeRules | None:
        found = compose_rules(
            read_services(file, environ) or {},
            context=str(location.context),
            dockerfile=str(location.dockerfile),
            target=settings.target,
        )
        return None if found is None else ComposeRules(file.name, *found)

    return read


def rules_in_force(settings: Settings, compose: ComposeRules | None) -> Rules:
    """Return the user's own rules, and behind them those of the compose file."""
    more = compose.rules if compose is not None else Rules()
    return Rules((*settings.sync, *more.sync), (*settings.never, *more.never))


def find_compose_file(folder: Path) -> Path | None:
    """Return the compose file of a folder, in compose's own order of preference."""
    return next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)


def mentions_watch_rules(file: Path) -> bool:
    """Tell whether a compose file may hold rules for watching; asking compose about others is in vain."""
    try:
        return b"develop" in file.read_bytes()
    except OSError:
        return False


def read_services(file: Path, environ: Mapping[str, str] = os.environ) -> Mapping[str, Any] | None:
    """Ask compose for the services of a file; None where compose is missing or refuses the file."""
    command = ["docker", "compose", "--file", str(file), "config", "--format", "json"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, env=dict(environ), timeout=_SECONDS, cwd=file.parent
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    services = found.get("services") if isinstance(found, dict) else None
    return services if isinstance(services, dict) else None
