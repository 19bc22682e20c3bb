"""Whether two images are the same to whoever runs them: their files, and their configurations.

Times of files are never looked at, nor which of several names a hard link was made from: no COPY keeps
either. Everything else about a path counts: that it is there, kind, permission bits, owner, target of a link,
bytes, and extended attributes (file capabilities live there). What differs from build to build without any
change is told apart by one table, with a reason for each row; what a proposal intends is told apart by its
intents. Neither excuses another owner, mode or kind.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from devloop.plan.restart import reloads_itself

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
OLDER: Final = "the same when both are built at one time"
DERIVED: Final = "derived from files that are compared themselves, with their times or numbers"

_CACHE_OWNERS = (
    "pip|uv|pypoetry|pipenv|pdm|hatch|virtualenv|yarn|pnpm|node|node-gyp|typescript|turbo|go-build|golangci-lint"
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
    Varying(
        r"(?:.*/)?node_modules/\.pnpm-workspace-state[^/]*|(?:.*/)?\.local/state/pnpm(?:/.*)?",
        "varies",
        STAMPS,
    ),
    Varying(r"(?:.*/)?[^/]*\.tsbuildinfo", "counts", STAMPS),
    Varying(r"(?:.*/)?node_modules/\.package-lock\.json", "counts", STAMPS),
    Varying(r"var/lib/dpkg/[^/]+-old|var/cache/debconf/[^/]+", "varies", STAMPS),
    Varying(r"etc/(?:passwd|group|shadow|gshadow|subuid|subgid)-", "varies", STAMPS),
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

SETTINGS: Final = re.compile(
    r"(?:.*/)?\.m2/(?:settings(?:-security)?|toolchains)\.xml|(?:.*/)?\.sbt/(?:repositories|.+\.sbt|\.credentials)"
    r"|(?:.*/)?\.gradle/(?:gradle\.properties|init\.gradle(?:\.kts)?|init\.d(?:/.*)?)"
    r"|(?:.*/)?\.nuget/NuGet/NuGet\.Config|(?:.*/)?\.cache/pypoetry/virtualenvs(?:/.*)?",
    re.DOTALL,
)
"""What else lies in folders of downloads, and is used: settings, and whole environments. Never told apart."""

_ZIPPED: Final = re.compile(r"(?:.*/)?\.yarn/(?:cache|berry)(?:/.*)?", re.DOTALL)
AT_RUN_TIME: Final = tuple(
    (re.compile(rf"(?:^|[\s/;&|]){start}(?=\s|$)"), re.compile(rf"(?:.*/)?{path}(?:/.*)?", re.DOTALL))
    for start, path in (
        (r"go\s+(?:run|build|test|generate)", r"go/pkg/mod"),
        (r"cargo\s+(?:\S+\s+)?(?:run|r|watch|test|build)", r"(?:\.cargo|usr/local/cargo)/(?:registry|git)"),
        (r"mvnw?", r"\.m2"),
        (r"gradlew?", r"\.gradle"),
        (r"sbt", r"(?:\.ivy2|\.sbt|\.cache/coursier)"),
        (r"dotnet\s+(?:run|watch|test|build)", r"(?:\.nuget|\.local/share/NuGet)"),
        (r"(?:npx|npm\s+exec)", r"\.npm/_npx"),
        (r"(?:uvx|uv\s+tool\s+run)", r"\.cache/uv"),
        (r"bunx", r"\.bun/install/cache"),
        (r"(?:pnpm|yarn)", r"\.cache/node/corepack"),
        (r"pre-commit", r"\.cache/pre-commit"),
    )
)
"""What a container may be started with, and the downloads that it then works from: no mere cache to it."""

APT_SWITCHES: Final = re.compile(r"etc/apt/apt\.conf\.d/(?:docker-clean|keep-cache)")
"""What tells apt to keep its packages: goes and comes with a cache mount for them."""

_VARYING = tuple((re.compile(row.pattern, re.DOTALL), row) for row in VARYING)
_ABOUT_CACHES: Final[frozenset[Intent]] = frozenset({"cache mount", "install cache"})
_OTHER_IMAGE: Final[frozenset[Intent]] = frozenset({"stage", "base"})


def varying(path: str) -> Varying | None:
    """Return the row that a path stands under, None for one that is the same in every build."""
    if SETTINGS.fullmatch(path):
        return None
    return next((row for pattern, row in reversed(_VARYING) if pattern.fullmatch(path)), None)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a proposal means to change in the files, with what it takes to know them.

    `left_out` are context paths that are no longer sent to the builder, with the digests of their bytes;
    `written` those that the proposal itself writes. `mounted` are targets of cache mounts, which leave at
    most an empty directory. `base` are the files of the image that a shortened final stage starts from.
    `start` is what a container is started with, as one text.
    """

    intends: frozenset[Intent] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    written: frozenset[str] = frozenset()
    mounted: tuple[str, ...] = ()
    base: Files | None = None
    start: str = ""


@dataclass(frozen=True, slots=True)
class FilesCompared:
    """How two file systems differ: for real, as the proposal intends, and as any two builds do.

    `told_apart` counts by reason; `unsteady` are paths that every build makes anew, so that nothing can be
    said of them.
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
    again: tuple[Files, Files] | None = None,
    unsteady: frozenset[str] = frozenset(),
) -> FilesCompared:
    """Compare two file systems path by path.

    `again` are second builds of both texts, from nothing. Where that of the first agrees with `after`, the
    first build was only older; where a text does not even agree with itself, nothing can be told of the path.
    `unsteady` are paths that are known to be such.
    """
    expected = expected or Expected()
    intention = _Intention(before, after, expected)
    found: list[Difference] = []
    intended: list[Difference] = []
    told: Counter[str] = Counter()
    loose: dict[str, None] = {}
    gone: set[str] = set()
    for path in sorted(before.keys() | after.keys()):
        for one in _differences(path, before.get(path), after.get(path)):
            row = varying(path)
            if intention.covers(one):
                intended.append(one)
            elif row is not None and _excuses(row, one, expected) and not _is_used(one, before, after):
                told[row.why] += 1
            elif again is not None and (doubt := _by_itself(one, before, after, again)) is not None:
                if doubt == "older":
                    told[OLDER] += 1
                else:
                    loose[path] = None
            elif path in unsteady:
                loose[path] = None
            else:
                found.append(one)
                continue
            if one.aspect == "presence" and not one.after:
                gone.add(path)
    found += _dangling(before, after, gone, expected)
    count = len(before.keys() | after.keys())
    return FilesCompared(
        count,
        tuple(sorted(found, key=lambda one: one.path)),
        tuple(intended),
        dict(sorted(told.items())),
        tuple(loose),
    )


def _dangling(before: Files, after: Files, gone: set[str], expected: Expected) -> Iterable[Difference]:
    """Return the links of both images whose target only the first one has: it was of use after all."""
    if not gone:
        return
    base = expected.base or {}
    for path, entry in after.items():
        if entry.kind != "link" or before.get(path) != entry or base.get(path) == entry:
            continue
        target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.link)).lstrip("/")
        if target in gone:
            yield Difference(path, "link", entry.link, "a name without a file")


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
    if row.presence == "intended" and any(
        path.fullmatch(one.path) and start.search(expected.start) for start, path in AT_RUN_TIME
    ):
        return False
    return row.presence == "varies" or bool(_ABOUT_CACHES & expected.intends)


def _is_used(one: Difference, before: Files, after: Files) -> bool:
    """Tell whether a path that is told apart elsewhere is what runs here.

    That is compiled Python without its source, and what Yarn's .pnp.cjs loads out of its archives.
    """
    if one.aspect == "presence" and _ZIPPED.fullmatch(one.path):
        return any(path.rpartition("/")[2] == ".pnp.cjs" for path in after)
    if not one.path.endswith((".pyc", ".pyo")) or "__pycache__" in one.path.split("/"):
        return False
    return one.path[:-1] not in before or one.path[:-1] not in after


def _by_itself(
    one: Difference, before: Files, after: Files, again: tuple[Files, Files]
) -> Literal["older", "unsteady"] | None:
    """Say how a difference comes about without the proposal; None where each text repeats what it made.

    An owner or a mode that varies must be one of the two that were seen.
    """

    def differ(left: Files, right: Files) -> bool:
        entries = (left.get(one.path), right.get(one.path))
        return any(each.aspect == one.aspect for each in _differences(one.path, *entries))

    first, second = again
    if differ(before, first) and not differ(after, first):
        return "older"
    if one.aspect in {"content", "presence"} and (differ(before, first) or differ(after, second)):
        return "unsteady"
    return None


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
        return end is not None and self._expected.left_out[end] == self._before[path].digest

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
    r"|YARN_CACHE_FOLDER|YARN_ENABLE_GLOBAL_CACHE|NPM_CONFIG_CACHE|npm_config_cache|GOCACHE|GOMODCACHE"
    r"|COMPOSER_CACHE_DIR|BUNDLE_CACHE_PATH|CCACHE_DIR"
)
"""Variables that only say where an installer keeps its downloads, or that it keeps none.

Not those of folders that also hold programs or what runs (PNPM_HOME, CARGO_HOME, NUGET_PACKAGES).
"""

_START: Final = frozenset({"Cmd", "Entrypoint"})
_MAY_DIFFER: Final[Mapping[Intent, frozenset[str]]] = {
    "command": _START | {"StopSignal"},
    "stage": frozenset({"Env", "Labels"}),
    "base": frozenset({"Labels"}),
}
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh"})
_SCRIPT_RUNNERS: Final = frozenset({"npm", "yarn", "pnpm", "npx"})
_OF_A_SHELL: Final = re.compile(r"[|&;<>()$`\\*?\[\]#~{}\n]|^\s*\w+=")

RUNS_WHAT_FOLLOWS: Final = frozenset(
    {"docker-entrypoint.sh", "/usr/local/bin/docker-entrypoint.sh", "/usr/local/bin/mvn-entrypoint.sh"}
    | {"/__cacert_entrypoint.sh"}
)
"""Entry programs of official images that end in running their arguments; a command is a program to them."""

_LIST_IN_SINGLE_QUOTES: Final = re.compile(r"\[\s*'[^']*'(?:\s*,\s*'[^']*')*\s*\]")

Start = Literal["same", "not known", "other"]


def compare_starts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Start:
    """Say whether two configurations start the same program with the same arguments.

    A shell that only starts one program is that program. What a script of package.json stands for is not
    known here, nor what was meant by a list in single quotes, which a shell gets as it is and cannot start.
    """
    old, new = start_of(before), start_of(after)
    if old == new or _plain(old) == _plain(new):
        return "same"
    one, other = _plain(old), _plain(new)
    if isinstance(one, tuple) and one and posixpath.basename(one[0]) in _SCRIPT_RUNNERS and other:
        return "not known"
    if isinstance(one, str) and _LIST_IN_SINGLE_QUOTES.fullmatch(one):
        return "not known"
    return "other"


def start_of(configuration: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that a container is started with."""
    return (*(configuration.get("Entrypoint") or ()), *(configuration.get("Cmd") or ()))


def _plain(words: tuple[str, ...]) -> tuple[str, ...] | str:
    """Return the words without a shell that adds nothing to them; where it does, its text without `exec`."""
    while words and words[0] in RUNS_WHAT_FOLLOWS:
        words = words[1:]
    if len(words) < _SHELL_AND_TEXT or posixpath.basename(words[0]) not in _SHELLS:
        return words
    if not re.fullmatch(r"-[a-z]*c", words[1]):
        return words
    text = re.sub(r"^\s*exec\s+", "", words[2])
    if _OF_A_SHELL.search(text):
        return " ".join(text.split())
    try:
        return tuple(shlex.split(text))
    except ValueError:
        return text


_SHELL_AND_TEXT: Final = 3


class ConfigurationDifference(NamedTuple):
    """A key of the configuration whose value differs, or one variable or label; texts for reading."""

    key: str
    before: str
    after: str
    is_intended: bool

    def __str__(self) -> str:
        return f"{self.key}: {self.before or 'none'} became {self.after or 'none'}"


def compare_configurations(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    intends: frozenset[Intent] = frozenset(),
    own: frozenset[str] = frozenset(),
) -> tuple[ConfigurationDifference, ...]:
    """Compare the configurations of two images as an inspection tells them.

    The order of variables says nothing, and an empty value is like none. `own` are variables and labels that
    the Dockerfile itself sets: another base is no reason for one of them to go.
    """
    is_other_start = compare_starts(before, after) == "other"
    found: list[ConfigurationDifference] = []
    for key in CONFIGURATION:
        old, new = _parts(key, before.get(key)), _parts(key, after.get(key))
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                meant = _is_meant(key, name, intends) and name not in own
                if key in _START:
                    meant = _is_meant_start(before, after, intends, is_known=meant and not is_other_start)
                found.append(
                    ConfigurationDifference(
                        f"{key} {name}".rstrip(), old.get(name, ""), new.get(name, ""), meant
                    )
                )
    return tuple(found)


def _is_meant_start(
    before: Mapping[str, Any], after: Mapping[str, Any], intends: frozenset[Intent], *, is_known: bool
) -> bool:
    """Tell whether another start is meant: one that reloads, or the way in of the base of a new stage."""
    if "reload" in intends:
        old, new = _plain(start_of(before)), _plain(start_of(after))
        return reloads_itself(_as_words(old), []) is None and reloads_itself(_as_words(new), []) is not None
    entries = {*(before.get("Entrypoint") or ()), *(after.get("Entrypoint") or ())}
    is_ways_in = entries <= RUNS_WHAT_FOLLOWS and before.get("Cmd") == after.get("Cmd")
    return is_known or ("stage" in intends and is_ways_in)


def _as_words(start: tuple[str, ...] | str) -> tuple[str, ...]:
    return tuple(start.split()) if isinstance(start, str) else start


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
