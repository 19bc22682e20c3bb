"""Whether two images are the same to whoever runs them: their files, and their configurations.

Times of files are never looked at, nor which of several names a hard link was made from: no COPY keeps
either. Everything else about a path counts: that it is there, kind, permission bits, owner, target of a link,
bytes, and extended attributes (file capabilities live there). What differs from build to build without any
change is told apart by one table, with a reason for each row; what a proposal intends is told apart by its
intents. Neither excuses another owner, mode or kind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from devloop.doctor.model import Intent

FileKind = Literal["file", "directory", "link", "device", "pipe"]


class FileEntry(NamedTuple):
    """What is at one path of an image. `link` is the target of a link, or the numbers of a device."""

    kind: FileKind
    mode: int
    owner: str
    link: str = ""
    digest: str = ""
    size: int = 0
    attributes: tuple[tuple[str, str], ...] = ()


Files = Mapping[str, FileEntry]
"""A file system by path, without a slash in front; the root is no entry."""

Aspect = Literal["presence", "kind", "mode", "owner", "link", "content", "attributes"]


class Difference(NamedTuple):
    """How one path differs; `before` and `after` are short texts for reading."""

    path: str
    aspect: Aspect
    before: str
    after: str

    def __str__(self) -> str:
        where = f"/{self.path}"
        if self.aspect == "presence":
            return f"{where} is only in the image {'before' if self.before else 'after'}"
        if self.aspect == "content":
            return f"{where} has other bytes"
        return f"{where}: {self.aspect} {self.before or 'none'} became {self.after or 'none'}"


# What is told apart ---------------------------------------------------------------------------------------

Presence = Literal["counts", "varies", "intended"]


class Varying(NamedTuple):
    """Paths whose bytes differ from build to build; `presence` says whether their being there does too.

    "intended": whether it is there counts, unless the proposal deals with caches.
    """

    pattern: str
    presence: Presence
    why: str


BYTECODE: Final = "compiled Python, which holds the time of its source and is written on first use"
LOGS: Final = "logs tell the time"
CACHES: Final = "caches of package managers hold times, and nothing that runs reads them"
STAMPS: Final = "notes of installers on how and when they ran"
RANDOM: Final = "made anew by every installation"
DERIVED: Final = "derived from files that are compared themselves, with their times or numbers"

_CACHE_OWNERS = (
    "pip|uv|pypoetry|pipenv|pdm|hatch|virtualenv|yarn|node|node-gyp|typescript|turbo|go-build|golangci-lint"
    "|ccache|sccache|composer|coursier|pre-commit"
)

VARYING: Final = (
    Varying(r"(?:.*/)?__pycache__(?:/.*)?", "varies", BYTECODE),
    Varying(r".*\.py[co]", "varies", BYTECODE),
    Varying(r"var/log/(?:apt|journal|nginx|unattended-upgrades)/[^/]+", "varies", LOGS),
    Varying(r"var/log/[^/]+", "counts", LOGS),
    Varying(
        r"var/log/(?:dpkg|alternatives|bootstrap|fontconfig|yum|dnf[^/]*|apk)\.log|"
        r"var/log/(?:lastlog|faillog|[bw]tmp|tallylog)",
        "varies",
        LOGS,
    ),
    Varying(r"(?:.*/)?(?:npm-debug|yarn-error|pip)\.log", "varies", LOGS),
    Varying(r"var/lib/apt/lists(?:/.*)?", "intended", CACHES),
    Varying(r"var/cache/(?:apt|apk|dnf|yum|libdnf5|zypp|pacman)(?:/.*)?", "intended", CACHES),
    Varying(r"var/lib/(?:dnf|apt/(?:periodic|extended_states))(?:/.*)?", "counts", CACHES),
    # Not all of ~/.cache: browsers of test tools and models of libraries lie there, and are used.
    Varying(rf"(?:root|home/[^/]+)/\.cache(?:/(?:{_CACHE_OWNERS})(?:/.*)?)?", "intended", CACHES),
    # Go names what it keeps there by the times of folders too.
    Varying(r"(?:root|home/[^/]+)/\.cache/go-build/.*", "varies", CACHES),
    Varying(r"(?:.*/)?\.npm(?:/.*)?", "intended", CACHES),
    Varying(r"(?:.*/)?\.npm/_(?:logs|update-notifier[^/]*)(?:/.*)?", "varies", LOGS),
    Varying(r"(?:.*/)?\.yarn/(?:cache|berry)(?:/.*)?|usr/local/share/\.cache(?:/.*)?", "intended", CACHES),
    Varying(
        r"(?:.*/)?\.local/share/pnpm/store(?:/.*)?|(?:.*/)?\.bun/install/cache(?:/.*)?", "intended", CACHES
    ),
    Varying(
        r"(?:.*/)?(?:\.cargo|usr/local/cargo)/(?:registry|git|\.package-cache)(?:/.*)?", "intended", CACHES
    ),
    Varying(r"(?:.*/)?go/pkg/(?:mod|sumdb)(?:/.*)?", "intended", CACHES),
    Varying(r"(?:.*/)?\.(?:m2|gradle|ivy2|sbt)(?:/.*)?", "intended", CACHES),
    Varying(
        r"(?:.*/)?\.nuget(?:/.*)?|(?:.*/)?\.local/share/NuGet(?:/.*)?|tmp/NuGetScratch.*", "intended", CACHES
    ),
    Varying(r"(?:.*/)?\.composer/cache(?:/.*)?|(?:.*/)?\.bundle/cache(?:/.*)?", "intended", CACHES),
    Varying(
        r"(?:.*/)?node_modules/\.(?:cache|vite)(?:/.*)?|tmp/(?:node|v8)-compile-cache.*", "varies", CACHES
    ),
    Varying(r".*\.dist-info/(?:REQUESTED|uv_cache\.json|uv_build\.json)", "varies", STAMPS),
    Varying(r".*\.dist-info/(?:RECORD|INSTALLER|direct_url\.json)", "counts", STAMPS),
    Varying(r".*\.egg-info/(?:SOURCES\.txt|installed-files\.txt)", "counts", STAMPS),
    Varying(r"(?:.*/)?node_modules/\.(?:modules\.yaml|yarn-integrity|yarn-state\.yml)", "counts", STAMPS),
    Varying(r"(?:.*/)?[^/]*\.tsbuildinfo", "counts", STAMPS),
    Varying(r"(?:.*/)?node_modules/\.package-lock\.json", "counts", STAMPS),
    Varying(r"var/lib/dpkg/[^/]+-old|var/cache/debconf/[^/]+", "varies", STAMPS),
    Varying(r"etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-", "varies", STAMPS),
    Varying(r"etc/shadow", "counts", "holds the day on which an account was made"),
    Varying(r"etc/machine-id|var/lib/dbus/machine-id|var/lib/systemd/random-seed", "counts", RANDOM),
    Varying(
        r"etc/ssh/ssh_host_[^/]+|etc/ssl/(?:private|certs)/ssl-cert-snakeoil\.(?:key|pem)", "counts", RANDOM
    ),
    Varying(r"var/cache/ldconfig(?:/.*)?", "varies", DERIVED),
    Varying(r"etc/ld\.so\.cache|etc/ssl/certs/java/cacerts", "counts", DERIVED),
    Varying(r"var/cache/fontconfig(?:/.*)?|(?:.*/)?\.uuid", "varies", DERIVED),
    Varying(r"usr/share/(?:mime/mime\.cache|info/dir|icons/[^/]+/icon-theme\.cache)", "counts", DERIVED),
)
"""The one table of what varies; a path stands under the last row that fits it."""

APT_SWITCHES: Final = re.compile(r"etc/apt/apt\.conf\.d/(?:docker-clean|keep-cache)")
"""What tells apt to keep its packages: goes and comes with a cache mount for them."""

_VARYING = tuple((re.compile(row.pattern, re.DOTALL), row) for row in VARYING)
_ABOUT_CACHES: Final[frozenset[Intent]] = frozenset({"cache mount", "install cache"})
_OTHER_IMAGE: Final[frozenset[Intent]] = frozenset({"stage", "base"})


def varying(path: str) -> Varying | None:
    """Return the row that a path stands under, None for one that is the same in every build."""
    return next((row for pattern, row in reversed(_VARYING) if pattern.fullmatch(path)), None)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a proposal means to change in the files, with what it takes to know them.

    `left_out` are context paths that are no longer sent to the builder, with the digests of their bytes;
    `written` those that the proposal itself writes. `mounted` are targets of cache mounts, which leave at
    most an empty directory. `base` are the files of the image that a shortened final stage starts from.
    """

    intends: frozenset[Intent] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    written: frozenset[str] = frozenset()
    mounted: tuple[str, ...] = ()
    base: Files | None = None


@dataclass(frozen=True, slots=True)
class FilesCompared:
    """How two file systems differ: for real, as the proposal intends, and as any two builds do.

    `told_apart` counts by reason; `unsteady` are paths that another build of the same text changes too.
    """

    paths: int
    differences: tuple[Difference, ...] = ()
    intended: tuple[Difference, ...] = ()
    told_apart: Mapping[str, int] = field(default_factory=dict)
    unsteady: tuple[str, ...] = ()


def compare_files(
    before: Files,
    after: Files,
    expected: Expected | None = None,
    again: Files | None = None,
    unsteady: frozenset[str] = frozenset(),
) -> FilesCompared:
    """Compare two file systems path by path.

    `again` is a second build of what `before` is a build of, from nothing: an aspect of a path in which the
    two differ says nothing about the proposal. `unsteady` are paths that are known to be such.
    """
    expected = expected or Expected()
    intention = _Intention(before, after, expected)
    found: list[Difference] = []
    intended: list[Difference] = []
    told: Counter[str] = Counter()
    loose: dict[str, None] = {}
    for path in sorted(before.keys() | after.keys()):
        for one in _differences(path, before.get(path), after.get(path)):
            row = varying(path)
            if intention.covers(one):
                intended.append(one)
            elif row is not None and _excuses(row, one, expected):
                told[row.why] += 1
            elif path in unsteady or (again is not None and _is_unsteady(one, before, after, again)):
                loose[path] = None
            else:
                found.append(one)
    count = len(before.keys() | after.keys())
    return FilesCompared(count, tuple(found), tuple(intended), dict(sorted(told.items())), tuple(loose))


def _differences(path: str, old: FileEntry | None, new: FileEntry | None) -> Iterable[Difference]:
    if old is new:
        return
    if old is None or new is None:
        yield Difference(path, "presence", _shown(old), _shown(new))
        return
    if old.kind != new.kind:
        yield Difference(path, "kind", old.kind, new.kind)
        return
    if old.mode != new.mode and old.kind != "link":
        yield Difference(path, "mode", f"{old.mode:04o}", f"{new.mode:04o}")
    if old.owner != new.owner:
        yield Difference(path, "owner", old.owner, new.owner)
    if old.link != new.link:
        yield Difference(path, "link", old.link, new.link)
    if old.digest != new.digest:
        yield Difference(path, "content", old.digest, new.digest)
    if old.attributes != new.attributes:
        texts = (" ".join(f"{name}={value}" for name, value in one.attributes) for one in (old, new))
        yield Difference(path, "attributes", *texts)


def _shown(entry: FileEntry | None) -> str:
    return "" if entry is None else entry.kind


def _excuses(row: Varying, one: Difference, expected: Expected) -> bool:
    if one.aspect == "content":
        return True
    if one.aspect != "presence" or row.presence == "counts":
        return False
    return row.presence == "varies" or bool(_ABOUT_CACHES & expected.intends)


def _is_unsteady(one: Difference, before: Files, after: Files, again: Files) -> bool:
    """Tell whether the second build of the same text differs in this aspect too, or agrees with the other."""
    twice = {each.aspect: each for each in _differences(one.path, before.get(one.path), again.get(one.path))}
    if one.aspect not in twice:
        return False
    if one.aspect in {"content", "presence"}:
        return True
    # An owner or a mode that varies must still be one of the two that were seen.
    entries = (after.get(one.path), again.get(one.path))
    return all(each.aspect != one.aspect for each in _differences(one.path, *entries))


class _Intention:
    """Tells of a difference whether the proposal means it."""

    def __init__(self, before: Files, after: Files, expected: Expected) -> None:
        self._before, self._after, self._expected = before, after, expected
        self._is_about_caches = bool(_ABOUT_CACHES & expected.intends)
        self._base: Files = (expected.base or {}) if _OTHER_IMAGE & expected.intends else {}
        is_smaller = "stage" in expected.intends and expected.base is not None
        self._is_smaller = is_smaller
        self._digests = (
            {entry.digest for entry in before.values() if entry.kind == "file"} if is_smaller else set()
        )

    def covers(self, one: Difference) -> bool:
        path = one.path
        new = self._after.get(path)
        if new is not None and self._base.get(path) == new:
            return True  # as the other base image has it: nothing that a step put there
        if one.aspect not in {"content", "presence"}:
            return False
        if _end_in(path, self._expected.written) is not None:
            return True
        if self._is_about_caches and APT_SWITCHES.fullmatch(path):
            return True
        if one.aspect == "content":
            return False
        if new is None:
            return self._is_smaller or self._is_left_out(path)
        if self._is_about_caches and new.kind == "directory" and self._is_mounted(path):
            return True
        # In a smaller image a file may lie elsewhere, as long as its bytes were there before.
        return self._is_smaller and (
            new.kind == "directory" or (new.kind == "file" and new.digest in self._digests)
        )

    def _is_left_out(self, path: str) -> bool:
        end = _end_in(path, self._expected.left_out)
        return end is not None and self._expected.left_out[end] in {"", self._before[path].digest}

    def _is_mounted(self, path: str) -> bool:
        return any(f"{target}/".startswith(f"{path}/") for target in self._expected.mounted)


def _end_in(path: str, wanted: Mapping[str, str] | frozenset[str]) -> str | None:
    """Return the longest end of the path that is among the context paths: where a COPY puts them varies."""
    if not wanted:
        return None
    parts = path.split("/")
    ends = ("/".join(parts[at:]) for at in range(len(parts)))
    return next((end for end in ends if end in wanted), None)


# Configurations -------------------------------------------------------------------------------------------

CONFIGURATION: Final = (
    *("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Volumes", "ExposedPorts", "Healthcheck"),
    *("StopSignal", "Labels", "OnBuild", "Shell"),
)
"""The keys of an image's configuration that somebody who runs it or builds on it can notice."""

CACHE_VARIABLES: Final = re.compile(
    r"PIP_NO_CACHE_DIR|PIP_CACHE_DIR|POETRY_NO_CACHE|POETRY_CACHE_DIR|UV_NO_CACHE|UV_CACHE_DIR|UV_LINK_MODE"
    r"|YARN_CACHE_FOLDER|YARN_ENABLE_GLOBAL_CACHE|NPM_CONFIG_CACHE|npm_config_cache|PNPM_HOME|GOCACHE|GOMODCACHE"
    r"|CARGO_HOME|NUGET_PACKAGES|COMPOSER_CACHE_DIR|BUNDLE_CACHE_PATH|CCACHE_DIR"
)
"""Variables that only say where an installer keeps its downloads, or that it keeps none."""

_MAY_DIFFER: Final[Mapping[Intent, frozenset[str]]] = {
    "command": frozenset({"Cmd", "Entrypoint", "StopSignal"}),
    "stage": frozenset({"Env", "Labels"}),
    "base": frozenset({"Labels"}),
}


class ConfigurationDifference(NamedTuple):
    """A key of the configuration whose value differs, or one variable or label; texts for reading."""

    key: str
    before: str
    after: str
    is_intended: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.before or 'none'} became {self.after or 'none'}"


def compare_configurations(
    before: Mapping[str, Any], after: Mapping[str, Any], intends: frozenset[Intent] = frozenset()
) -> tuple[ConfigurationDifference, ...]:
    """Compare the configurations of two images as an inspection tells them.

    The order of variables says nothing, and an empty value is like none.
    """
    found: list[ConfigurationDifference] = []
    for key in CONFIGURATION:
        old, new = _parts(key, before.get(key)), _parts(key, after.get(key))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                meant = _is_meant(key, name, intends)
                found.append(
                    ConfigurationDifference(
                        f"{key} {name}".rstrip(), old.get(name, ""), new.get(name, ""), meant
                    )
                )
    return tuple(found)


def _parts(key: str, value: object) -> dict[str, str]:
    """Return a key's value as texts by name, where it has named parts, else as one under no name."""
    if not value:
        return {}
    if key == "Env" and isinstance(value, list):
        return {name: text for name, _, text in (str(one).partition("=") for one in value)}
    if isinstance(value, dict) and key != "Healthcheck":
        return {str(name): text if isinstance(text, str) else repr(text) for name, text in value.items()}
    return {"": value if isinstance(value, str) else repr(value)}


def _is_meant(key: str, name: str, intends: frozenset[Intent]) -> bool:
    if any(key in _MAY_DIFFER.get(intent, frozenset()) for intent in intends):
        return True
    return key == "Env" and bool(_ABOUT_CACHES & intends) and bool(CACHE_VARIABLES.fullmatch(name))
