"""The services of a compose file, as compose itself reads it: variables, includes and merges resolved."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_SECONDS = 10.0


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
