"""Where package managers keep what they download: the target of a cache mount that makes a rerun cheap.

Only download caches stand here. An install directory (site-packages, vendor/bundle, target) is part of the
image and must never be a cache mount.
"""

from collections.abc import Mapping

CACHE_TARGETS: Mapping[str, str] = {
    "pip": "/root/.cache/pip",
    "pip-tools": "/root/.cache/pip",
    "uv": "/root/.cache/uv",
    "poetry": "/root/.cache/pypoetry",
    "pdm": "/root/.cache/pdm",
    "pipenv": "/root/.cache/pipenv",
    "npm": "/root/.npm",
    "yarn": "/usr/local/share/.cache/yarn",
    "pnpm": "/root/.local/share/pnpm/store",
    "bun": "/root/.bun/install/cache",
    "go": "/go/pkg/mod",
    "cargo": "/usr/local/cargo/registry",
    "maven": "/root/.m2",
    "gradle": "/root/.gradle",
    "composer": "/root/.composer/cache",
    "dotnet": "/root/.nuget/packages",
    "apt": "/var/cache/apt",
    "dnf": "/var/cache/dnf",
}
"""Family to the default place for root in the usual images."""
