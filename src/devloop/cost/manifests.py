"""What changed in a manifest or a lock file: the dependencies, or only what no install needs.

BuildKit reruns an install when one byte of the files above it changes. A person wants to know whether that
was a dependency, or a line of `scripts`. Each format is read with its own rules (`manifest_data` for JSON,
TOML, INI and XML, `manifest_lines` for the others), and whatever is not understood is not judged: a file that
cannot be read is None.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devloop.cost.manifest_parts import Parts, digest

MAXIMUM_BYTES = 1 << 20
"""Larger files are not read: a warning must not take longer than a moment."""

Reader = Callable[[str], Parts]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it matters: `dependencies` by name with the constraint or version as it is written.

    `installing` and `rest` hold a digest for each other section: those that the result of an install may
    depend on, and those that no installer looks at. `whole` is the digest of the text.
    """

    dependencies: Mapping[str, str] = field(default_factory=dict)
    installing: Mapping[str, str] = field(default_factory=dict)
    rest: Mapping[str, str] = field(default_factory=dict)
    whole: str = ""


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """The difference of two manifests, each part sorted by name.

    `installing` and `other` name the sections that differ besides the dependencies.
    """

    added: tuple[tuple[str, str], ...] = ()
    removed: tuple[tuple[str, str], ...] = ()
    changed: tuple[tuple[str, str, str], ...] = ()
    installing: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def has_dependencies(self) -> bool:
        """Whether a dependency came, went or has another constraint."""
        return bool(self.added or self.removed or self.changed)

    @property
    def only_other(self) -> bool:
        """Whether something changed, and nothing that an install goes by."""
        return bool(self.other) and not self.has_dependencies and not self.installing


def read_manifest(name: str, source: bytes) -> Manifest | None:
    """Read a manifest by the name of its file; None for an unknown name, a broken file or an unclear one.

    Never raises, whatever the bytes are.
    """
    reader = _reader(name)
    if reader is None or len(source) > MAXIMUM_BYTES:
        return None
    # Nested deeper than a parser goes, numbers longer than Python reads: broken is broken.
    try:
        parts = reader(_decoded(source))
        return Manifest(
            {name: ", ".join(sorted(set(texts))) for name, texts in sorted(parts.dependencies.items())},
            {name: digest(value) for name, value in sorted(parts.installing.items())},
            {name: digest(value) for name, value in sorted(parts.rest.items())},
            digest(source),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _decoded(source: bytes) -> str:
    is_wide = source.startswith((b"\xff\xfe", b"\xfe\xff"))
    return source.decode("utf-16" if is_wide else "utf-8-sig").replace("\r\n", "\n")


def is_manifest(name: str) -> bool:
    """Tell whether a file of this name can be read as a manifest or a lock file."""
    return _format(name) is not None


def format_name(name: str) -> str:
    """Return the format that a file of this name must be in, if a parser can say that it is not."""
    reader = _format(name) or ""
    kind = reader.partition(".")[0]
    return {"json": "JSON", "toml": "TOML", "xml": "XML"}.get(kind, "")


def locks_of(name: str) -> tuple[str, ...]:
    """Return the names of the lock files that may lie beside a manifest."""
    return _LOCKS.get(name.rpartition("/")[2], ())


def is_lock(path: str) -> bool:
    """Tell whether a file of this name says what a resolver chose."""
    name = path.rpartition("/")[2]
    return any(name in names for names in _LOCKS.values())


_LOCKS: Mapping[str, tuple[str, ...]] = {
    "package.json": ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"),
    "pyproject.toml": ("uv.lock", "poetry.lock", "pdm.lock"),
    "Pipfile": ("Pipfile.lock",),
    "go.mod": ("go.sum",),
    "Cargo.toml": ("Cargo.lock",),
    "Gemfile": ("Gemfile.lock",),
    "gems.rb": ("gems.locked",),
    "composer.json": ("composer.lock",),
}

_FORMATS: Mapping[str, str] = {
    "package.json": "json.package_json",
    "package-lock.json": "json.package_lock",
    "npm-shrinkwrap.json": "json.package_lock",
    "yarn.lock": "lines.yarn_lock",
    "pnpm-lock.yaml": "lines.pnpm_lock",
    "pyproject.toml": "toml.pyproject",
    "uv.lock": "toml.python_lock",
    "poetry.lock": "toml.python_lock",
    "pdm.lock": "toml.python_lock",
    "Pipfile": "toml.pipfile",
    "Pipfile.lock": "json.pipfile_lock",
    "setup.cfg": "ini.setup_cfg",
    "go.mod": "lines.go_mod",
    "go.work": "lines.go_mod",
    "go.sum": "lines.go_sum",
    "Cargo.toml": "toml.cargo_toml",
    "Cargo.lock": "toml.cargo_lock",
    "Gemfile": "lines.gemfile",
    "gems.rb": "lines.gemfile",
    "Gemfile.lock": "lines.gemfile_lock",
    "gems.locked": "lines.gemfile_lock",
    "composer.json": "json.composer_json",
    "composer.lock": "json.composer_lock",
    "pom.xml": "xml.pom",
    "build.gradle": "lines.build_gradle",
    "build.gradle.kts": "lines.build_gradle",
    "gradle.lockfile": "lines.gradle_lock",
    ".txt": ".in",
}
"""Names of files, and the readers of `manifest_data` and `manifest_lines` that understand them."""


def _format(path: str) -> str | None:
    # Asked of every file of a context, so that the many that are none leave quickly.
    folder, _, name = path.rpartition("/")
    found = _FORMATS.get(name)
    if found is not None or not name.endswith((".txt", ".in", ".versions.toml")):
        return found
    if name.endswith(".toml"):
        return "toml.version_catalogue"
    is_requirements = "requirements" in name or name.startswith("constraints")
    return "lines.requirements" if is_requirements or folder.endswith("requirements") else None


def _reader(path: str) -> Reader | None:
    found = _format(path)
    if found is None:
        return None
    kind, _, function = found.partition(".")
    if kind == "lines":
        from devloop.cost.manifest_lines import LINE_READERS

        return LINE_READERS[function]
    from devloop.cost.manifest_data import DATA_READERS

    return DATA_READERS[function]


# Comparing ------------------------------------------------------------------------------------------------

FORMATTING = "comments or formatting"


def compare(before: Manifest, after: Manifest) -> ManifestChange:
    """Return what differs; nothing at all only where the texts are equal to the byte."""
    old, new = before.dependencies, after.dependencies
    installing = _differing(before.installing, after.installing)
    other = _differing(before.rest, after.rest)
    if not other and not installing and old == new and before.whole != after.whole:
        other = (FORMATTING,)
    return ManifestChange(
        added=tuple((name, text) for name, text in sorted(new.items()) if name not in old),
        removed=tuple((name, text) for name, text in sorted(old.items()) if name not in new),
        changed=tuple(
            (name, old[name], text) for name, text in sorted(new.items()) if old.get(name, text) != text
        ),
        installing=installing,
        other=other,
    )


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in sorted({*before, *after}) if before.get(name) != after.get(name))


def sentence(change: ManifestChange) -> str:
    """Say what changed, shortly; empty where nothing did."""
    parts = []
    if change.added:
        parts.append(f"dependencies added: {_listed([_named(*one) for one in change.added])}")
    if change.removed:
        parts.append(f"dependencies removed: {_listed([name for name, _ in change.removed])}")
    if change.changed:
        parts.append(_listed([_moved(*one) for one in change.changed]))
    if parts:
        return "; ".join(parts)
    if change.installing:
        return f"no dependency changed, but {_listed(_grouped(change.installing))}"
    if change.other:
        return f"no dependency changed: only {_listed(_grouped(change.other))}"
    return ""


def _named(name: str, text: str) -> str:
    return f"{name} {_shown(text)}".rstrip()


def _moved(name: str, before: str, after: str) -> str:
    old, new = _shown(before), _shown(after)
    if old == new:
        return f"{name} comes from elsewhere"
    return f"{name} {old or 'any version'} -> {new or 'any version'}"


_SECRET = re.compile(r"//[^/@\s]+@")


def _shown(text: str) -> str:
    """Return a constraint for the screen: an exact version without its sign, no password in an address."""
    cleaned = _SECRET.sub("//", text)
    if re.fullmatch(r"==\s*[^,;=*\s]+", cleaned):
        cleaned = cleaned.removeprefix("==").strip()
    return cleaned if len(cleaned) <= _LONGEST else f"{cleaned[: _LONGEST - 3]}..."


_LONGEST = 48


def _grouped(sections: tuple[str, ...]) -> list[str]:
    """Put the tables of tools together: `tool.mypy` and `tool.ruff` are `tool configuration (mypy, ruff)`."""
    tools = [name.removeprefix("tool.") for name in sections if name.startswith("tool.")]
    found = [name for name in sections if not name.startswith("tool.")]
    if tools:
        found.append(f"tool configuration ({', '.join(tools)})")
    return found


def _listed(words: list[str], most: int = 3) -> str:
    if len(words) <= most + 1:
        return ", ".join(words)
    return f"{', '.join(words[:most])} and {len(words) - most} more"
