"""What helps when an expensive step runs again: by what it needs and where its tool keeps its downloads.

A step is an *install* (it needs manifests), a *build* (it needs the sources), *browsers* (their version is
that of an installed package) or *standalone* (it needs no file of the project). Only download and compiler
caches are ever proposed as cache mounts. What an image needs (site-packages, node_modules, gems, a `target`
that a later COPY reads) must not be one, a mount must not hide what an earlier step left in the layer, and
a user who is not root needs a cache that is made with his numbers.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

Role = Literal["install", "build", "standalone", "browsers"]

_BUILDS = frozenset(
    {
        "js-build",
        "go-build",
        "cargo-build",
        "maven-build",
        "gradle-build",
        "sbt-build",
        "jvm-build",
        "dotnet-build",
        "mix-compile",
        "rebar3",
        "haskell-build",
        "swift-build",
        "c-build",
        "c-configure",
        "c-compile",
        "assets-precompile",
        "codegen",
    }
)
_STANDALONE = frozenset(
    {
        "pip-tool",
        "pipx-install",
        "uv-tool",
        "uv-python",
        "npm-global",
        "corepack",
        "go-install",
        "rustup",
        "gem-install",
        "php-extensions",
        "mix-bootstrap",
        "cabal-update",
        "apt-install",
        "apt-update",
        "apk-add",
        "apk-update",
        "dnf-install",
        "zypper-install",
        "pacman-install",
        "distro-packages",
        "model-download",
        "download",
        "git-clone",
    }
)
# Spellings of tools that build as well, which stop at the dependencies.
_ONLY_DEPENDENCIES = re.compile(
    r"\bdeps\.(get|compile)\b|--only-dep|--dependencies-only|\bget-deps\b|\bgo-offline\b|\bsbt\b.*\bupdate\b"
)
_READS_FILES = re.compile(
    r"(^|\s)(-r|-c|-e|-f|--file|--requirement|--constraint|--editable|--path|\.{1,2}/?)"
)


def role_of(kind: str, text: str) -> Role:
    """Tell what a step of this kind needs; an install of packages by name needs nothing of the project."""
    if kind == "browser-install":
        return "browsers"
    if kind in _STANDALONE:
        return "standalone"
    if kind in _BUILDS:
        return "install" if _ONLY_DEPENDENCIES.search(text) else "build"
    by_name = kind in {"pip-install", "conda-install", "micromamba-install", "cargo-install"}
    return "standalone" if by_name and not _READS_FILES.search(text) else "install"


# Paths besides the manifests that an install reads: patterns of as many parts as they name, at any depth.
_ALSO_READ: Mapping[str, tuple[str, ...]] = {
    "pip": ("requirements/*",),
    "uv": (".python-version",),
    "npm": ("patches/*", "prisma/schema.prisma"),
    "yarn": (".yarn/releases/*", ".yarn/plugins/*", ".yarn/patches/*", "patches/*"),
    "pnpm": ("patches/*", ".npmrc"),
    "gradle": ("gradle/wrapper/*", "buildSrc/*"),
    "browsers": ("package.json", "*lock*", "*.lock", "requirements*.txt", "pyproject.toml"),
}


def is_needed(path: str, manifests: Iterable[str], families: Iterable[str]) -> bool:
    """Tell whether an install of these families reads a path: as a manifest, or besides them.

    A pattern with a folder is compared with as many last parts of the path.
    """
    patterns = [*manifests, *(one for family in families for one in _ALSO_READ.get(family, ()))]
    parts = path.split("/")
    return any(fnmatchcase("/".join(parts[-(one.count("/") + 1) :]), one) for one in patterns)


def names_file(text: str, path: str) -> bool:
    """Tell whether a command names the file of this path, and so needs it."""
    name = path.rpartition("/")[2]
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a step runs: what decides about the place and the owner of its caches.

    `earlier` are the texts of the RUN steps above it, `installed` tells that one of them installed for the
    same family, `is_used_later` that one below it needs what this one fetches, `is_kept` that the stage
    becomes the image. `taken` are absolute paths that other stages take from this one, `copied` those to
    which something was copied, `copied_from` those to which it came from another stage. `started` is what
    the image starts.
    """

    text: str
    line: int = 0
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    earlier: tuple[str, ...] = ()
    installed: bool = False
    taken: tuple[str, ...] = ()
    copied: tuple[str, ...] = ()
    copied_from: tuple[str, ...] = ()
    is_used_later: bool = False
    is_kept: bool = False
    started: str = ""


@dataclass(frozen=True, slots=True)
class _Cache:
    """Where a tool keeps what it downloaded or compiled.

    `~` is the home of the user; the first `variables` that is set says where instead, with what is appended
    to it. With `is_shared_state` later commands of the tool read the cache, so that a mount on one of them
    alone takes from the others what they need.
    """

    targets: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    sharing: str = ""
    undoes: tuple[tuple[str, str], ...] = ()
    is_shared_state: bool = False
    command: str = ""


_NO_CACHE = (r"--no-cache\b(?!-)", "--no-cache")
_CACHES: Mapping[str, _Cache] = {
    "pip": _Cache(
        ("~/.cache/pip",), (("PIP_CACHE_DIR", ""),), undoes=((r"--no-cache-dir", "--no-cache-dir"),)
    ),
    "uv": _Cache(("~/.cache/uv",), (("UV_CACHE_DIR", ""),), undoes=(_NO_CACHE,)),
    "poetry": _Cache(("~/.cache/pypoetry",), (("POETRY_CACHE_DIR", ""),), undoes=(_NO_CACHE,)),
    "pdm": _Cache(("~/.cache/pdm",), (("PDM_CACHE_DIR", ""),)),
    "pipenv": _Cache(("~/.cache/pipenv",), (("PIPENV_CACHE_DIR", ""),)),
    "conda": _Cache(
        ("/opt/conda/pkgs",),
        (("CONDA_PKGS_DIRS", ""),),
        sharing="locked",
        undoes=((r"\bmicromamba clean", "micromamba clean"), (r"\b(conda|mamba) clean", "conda clean")),
    ),
    "npm": _Cache(
        ("~/.npm",), (("npm_config_cache", ""),), undoes=((r"\bnpm cache clean", "npm cache clean"),)
    ),
    "yarn": _Cache(
        ("/usr/local/share/.cache/yarn",),
        (("YARN_CACHE_FOLDER", ""),),
        sharing="locked",
        undoes=((r"\byarn cache clean", "yarn cache clean"),),
    ),
    "yarn-berry": _Cache(
        ("~/.yarn/berry/cache",),
        (("YARN_CACHE_FOLDER", ""), ("YARN_GLOBAL_FOLDER", "/cache")),
        sharing="locked",
        undoes=((r"\byarn cache clean", "yarn cache clean"),),
    ),
    "pnpm": _Cache(("~/.local/share/pnpm/store",), (("PNPM_HOME", "/store"),)),
    "bun": _Cache(("~/.bun/install/cache",), (("BUN_INSTALL_CACHE_DIR", ""),), undoes=(_NO_CACHE,)),
    "go": _Cache(
        ("~/go/pkg/mod",),
        (("GOMODCACHE", ""), ("GOPATH", "/pkg/mod")),
        is_shared_state=True,
        command="go",
    ),
    "cargo": _Cache(("~/.cargo/registry", "~/.cargo/git/db"), is_shared_state=True, command="cargo"),
    "maven": _Cache(("~/.m2/repository",), sharing="locked", is_shared_state=True, command="mvn"),
    "gradle": _Cache(
        ("~/.gradle",),
        (("GRADLE_USER_HOME", ""),),
        sharing="locked",
        is_shared_state=True,
        command="gradle",
    ),
    "sbt": _Cache(
        ("~/.cache/coursier", "~/.sbt", "~/.ivy2"), sharing="locked", is_shared_state=True, command="sbt"
    ),
    "bundler": _Cache(("/usr/local/bundle/cache",), undoes=((r"/cache\b", "the removal of cache"),)),
    "composer": _Cache(
        ("~/.composer/cache",),
        (("COMPOSER_CACHE_DIR", ""), ("COMPOSER_HOME", "/cache")),
        undoes=((r"\bclear-?cache", "clear-cache"), _NO_CACHE),
    ),
    "dotnet": _Cache(
        ("~/.nuget/packages",),
        (("NUGET_PACKAGES", ""),),
        sharing="locked",
        is_shared_state=True,
        command="dotnet",
    ),
    "mix": _Cache(("~/.cache/rebar3", "~/.hex")),
    "rebar3": _Cache(("~/.cache/rebar3",)),
    "haskell": _Cache(("~/.stack",), (("STACK_ROOT", ""),), "locked", is_shared_state=True, command="stack"),
    "cabal": _Cache(("~/.cabal",), (("CABAL_DIR", ""),), "locked", is_shared_state=True, command="cabal"),
    "swift": _Cache(("~/.cache/org.swift.swiftpm",)),
    "apt": _Cache(
        # Not all of /var/lib/apt: the list of packages that nobody asked for by name belongs to the image.
        ("/var/cache/apt", "/var/lib/apt/lists"),
        sharing="locked",
        undoes=((r"rm -\w+ /var/lib/apt/lists", "rm lists"), (r"apt-get clean", "apt-get clean")),
    ),
    "dnf": _Cache(("/var/cache/dnf",), sharing="locked", undoes=((r"\bclean all", "clean all"),)),
    "pacman": _Cache(("/var/cache/pacman/pkg",), sharing="locked"),
    "c": _Cache(("~/.cache/ccache",), (("CCACHE_DIR", ""),)),
}
_GO_BUILD_CACHE = _Cache(("~/.cache/go-build",), (("GOCACHE", ""),))
# Official images that set the variable of a cache, for when nothing is known of the image here.
_BASES: tuple[tuple[str, str, str], ...] = (
    ("golang", "GOPATH", "/go"),
    ("rust", "CARGO_HOME", "/usr/local/cargo"),
    ("cargo-chef", "CARGO_HOME", "/usr/local/cargo"),
    ("composer", "COMPOSER_CACHE_DIR", "/tmp/cache"),  # noqa: S108 - the image's own place
    ("gradle", "GRADLE_USER_HOME", "/home/gradle/.gradle"),
)
_WITHOUT_HOME = frozenset({"nobody", "www-data", "daemon", "nginx", "nonroot", "postgres", "redis"})
# Users of official images: base, name, number and home.
_USERS: tuple[tuple[str, str, str, str], ...] = (
    ("node", "node", "1000", "/home/node"),
    ("bun", "bun", "1000", "/home/bun"),
    ("gradle", "gradle", "1000", "/home/gradle"),
    ("micromamba", "mambauser", "57439", "/home/mambauser"),
)


@dataclass(frozen=True, slots=True)
class CacheMount:
    """A cache mount as an instruction has it; `owner` is its options for uid and gid, empty for root.

    Where the user's numbers are not known, `owner` is no option that could be written.
    """

    target: str
    sharing: str = ""
    owner: str = ""

    @property
    def is_owner_known(self) -> bool:
        return "N" not in self.owner


def cache_mounts(kind: str, family: str, role: Role, where: Surroundings) -> tuple[CacheMount, ...]:
    """Return the cache mounts that help a step; none where image or other stages need what they keep."""
    caches, targets, owner = _chosen(kind, family, role, where)
    return tuple(CacheMount(target, caches[0].sharing, owner.option) for target in targets)


def cache_mount(kind: str, family: str, role: Role, where: Surroundings) -> str:
    """Return the way out by a cache mount as a sentence, or nothing where none is right."""
    caches, targets, owner = _chosen(kind, family, role, where)
    if not targets:
        return ""
    options = (f",sharing={caches[0].sharing}" if caches[0].sharing else "") + owner.option
    mounts = [f"--mount=type=cache,target={target}{options}" for target in targets]
    what = "compiled" if caches[0] in {_GO_BUILD_CACHE, _CACHES["c"]} else "downloaded"
    lead = f"a cache mount keeps what was {what}: RUN"
    remarks = _remarks(family, caches, where, owner)
    sentence = f"{lead} {' '.join(mounts)} ... (line {where.line}){remarks}"
    if len(sentence) > _LONGEST:
        others = " and ".join(targets[1:])
        sentence = f"{lead} {mounts[0]} ... (line {where.line}), another for {others}{remarks}"
    # The first place is the one that counts.
    return sentence if len(sentence) <= _LONGEST else f"{lead} {mounts[0]} ... (line {where.line}){remarks}"


def _chosen(
    kind: str, family: str, role: Role, where: Surroundings
) -> tuple[list[_Cache], list[str], "_Owner"]:
    """Return the caches that help, their places, and whose they must be; no places where none is right."""
    owner = _owner(where)
    caches = _helpful_caches(kind, family, role, where)
    targets = [target for cache in caches for target in _targets(cache, where, owner.home)]
    shares = any(cache.is_shared_state for cache in caches)
    builds_when_started = _BUILDS_WHEN_STARTED.search(where.started) is not None
    is_last = role == "install" and not where.is_used_later
    # The container itself may need what a mount would keep out of its image: `go run`, `dotnet watch`.
    is_needed_there = where.is_kept and (
        (shares and is_last) or (builds_when_started and (shares or role == "build"))
    )
    belongs_to_root = bool(owner.option) and family in _ROOT_ONLY
    if is_needed_there or belongs_to_root or any(_is_taken(one, where.taken, caches) for one in targets):
        return caches, [], owner
    return caches, targets, owner


_BUILDS_WHEN_STARTED = re.compile(
    r"\b(go (run|test|build)|air|dotnet (run|watch|test)|cargo|mvnw?|gradlew?|sbt|stack|cabal)\b(?![.-])"
)
_LONGEST = 200
_ROOT_ONLY = frozenset({"apt", "dnf", "pacman"})


def _helpful_caches(kind: str, family: str, role: Role, where: Surroundings) -> list[_Cache]:
    if kind == "mix-compile" or (family == "bundler" and not _installs_gems_into_the_image(where)):
        return []
    if role == "build" and (where.installed or family not in _MIXED):
        # What an earlier step downloaded lies in the layer: a mount on top would hide it.
        return {"go": [_GO_BUILD_CACHE], "c": [_CACHES["c"]]}.get(family, [])
    caches = _caches(family, where)
    has_index = "cabal" in where.text and any("cabal update" in text for text in where.earlier)
    if has_index or is_filled(family, where):
        caches = []
    if family == "go" and role == "build":
        return [*caches, _GO_BUILD_CACHE]
    return caches


def is_filled(family: str, where: Surroundings) -> bool:
    """Tell whether the caches of a family hold what was put there on purpose: a mount would hide it."""
    home = _owner(where).home
    targets = [target for cache in _caches(family, where) for target in _targets(cache, where, home)]
    return any(
        any(place == target or place.startswith(f"{target}/") for place in where.copied)
        or any(place != "/" and _is_above(place, target) for place in where.copied_from)
        for target in targets
    )


_MIXED = frozenset({"go", "cargo", "maven", "gradle", "sbt", "haskell", "cabal", "c"})
"""Families whose build downloads as well, so that a mount helps it."""


def _caches(family: str, where: Surroundings) -> list[_Cache]:
    if family == "pip-tools":
        family = "pip"
    if family == "haskell" and "stack" not in where.text:
        family = "cabal"
    if family == "yarn" and _is_berry(where.text):
        family = "yarn-berry"
    return [_CACHES[family]] if family in _CACHES else []


def _is_berry(text: str) -> bool:
    return "--immutable" in text or "workspaces focus" in text


def _installs_gems_into_the_image(where: Surroundings) -> bool:
    return "BUNDLE_PATH" not in where.environment and _is_based_on("ruby", where.base)


def _is_based_on(name: str, base: str) -> bool:
    image = base.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return name == image or name in image.split("-")


@dataclass(frozen=True, slots=True)
class _Owner:
    home: str | None
    option: str = ""
    remark: str = ""

    @property
    def is_other(self) -> bool:
        return bool(self.option)


def _owner(where: Surroundings) -> _Owner:
    """Return the home of the user, and what a cache mount must say so that he can write to it."""
    name, _, group = where.user.partition(":")
    if not name and _is_based_on("micromamba", where.base):
        name = "mambauser"
    home = where.environment.get("HOME")
    if name in {"", "root", "0"}:
        return _Owner(home or "/root")
    for base, known, number, place in _USERS:
        if name in {known, "$MAMBA_USER"} and _is_based_on(base, where.base):
            return _Owner(home or place, f",uid={number},gid={number}")
    if name.isdecimal():
        return _Owner(home, f",uid={name},gid={group if group.isdecimal() else name}")
    for text in where.earlier:
        # The options of one command up to the name: a shell's separators end it.
        made = re.search(rf"\b(?:useradd|adduser)\b([^&;|\n]*)\s{re.escape(name)}\b", text)
        uid = re.search(r"(?:-u|--uid)[ =](\d+)", made[1]) if made is not None else None
        if made is not None and uid is not None:
            gid = re.search(r"(?:-g|--gid)[ =](\d+)", made[1])
            made_home = re.search(r"(?:-h|-d|--home|--home-dir)[ =](/\S+)", made[1])
            found = home or (made_home[1] if made_home else f"/home/{name}")
            return _Owner(found, f",uid={uid[1]},gid={gid[1] if gid else uid[1]}")
    if name in _WITHOUT_HOME:
        return _Owner(home, ",uid=N,gid=N", f"; N: the ids of {name}")
    return _Owner(home or f"/home/{name}", ",uid=N,gid=N", f"; N: the ids of {name}")


def _targets(cache: _Cache, where: Surroundings, home: str | None) -> list[str]:
    """Return the places of a cache; none that depends on a home which is not known."""
    for base, variable, value in _BASES:
        if _is_based_on(base, where.base) and variable not in where.environment:
            where = replace(where, environment={**where.environment, variable: value})
    for variable, rest in cache.variables:
        value = where.environment.get(variable, "")
        if value.startswith("/"):
            return [value.rstrip("/") + rest, *cache.targets[1:]]
    cargo = where.environment.get("CARGO_HOME")
    found: list[str] = []
    for target in cache.targets:
        if cargo is not None and target.startswith("~/.cargo/"):
            found.append(cargo + target.removeprefix("~/.cargo"))
        elif target == "/usr/local/share/.cache/yarn" and home != "/root":
            found += [f"{home}/.cache/yarn"] if home is not None else []
        elif target.startswith("~"):
            found += [home + target[1:]] if home is not None else []
        else:
            found.append(target)
    return found


def _is_taken(target: str, taken: tuple[str, ...], caches: Iterable[_Cache]) -> bool:
    """Tell whether another stage takes what the mount would keep out of the image."""
    shares = any(cache.is_shared_state for cache in caches)
    return any(
        path == target or path.startswith(f"{target}/") or (shares and _is_above(path, target))
        for path in taken
    )


def _is_above(path: str, target: str) -> bool:
    return path in {"/", target} or target.startswith(f"{path}/")


def _remarks(family: str, caches: list[_Cache], where: Surroundings, owner: _Owner) -> str:
    text = f"{where.text} {' '.join(f'{key}={value}' for key, value in where.environment.items())}"
    undone = [word for cache in caches for pattern, word in cache.undoes if re.search(pattern, text)]
    if family == "pip" and where.environment.get("PIP_NO_CACHE_DIR", "") not in {"", "0", "false", "off"}:
        undone.append("PIP_NO_CACHE_DIR")
    said = f", without {' and '.join(undone)}" if undone else ""
    if family == "apt":
        said += "; rm /etc/apt/apt.conf.d/docker-clean first"
    if family == "uv" and "UV_LINK_MODE" not in where.environment:
        said += " and ENV UV_LINK_MODE=copy"
    command = next((cache.command for cache in caches if cache.is_shared_state), "")
    if caches == [_CACHES["yarn-berry"]]:
        said += ", with nodeLinker: node-modules"  # Plug'n'Play reads the cache at run time
    if command and where.is_used_later:
        said += f", also on later {command} lines"
    return said + owner.remark


# What an install needs, and how it is told to do without the project itself -------------------------------

_COPY_FIRST: Mapping[str, tuple[str, str]] = {
    "pip": ("requirements.txt", ""),
    "uv": (
        "pyproject.toml and uv.lock",
        " (with --no-install-project; without it once more after the source)",
    ),
    "poetry": ("pyproject.toml and poetry.lock", " (with --no-root; without it once more after the source)"),
    "pdm": ("pyproject.toml and pdm.lock", " (with --no-self; without it once more after the source)"),
    "pipenv": ("Pipfile and Pipfile.lock", ""),
    "conda": ("environment.yml", ""),
    "npm": ("package.json and package-lock.json", ""),
    "yarn": ("package.json and yarn.lock", ""),
    "pnpm": ("package.json and pnpm-lock.yaml", ""),
    "bun": ("package.json and bun.lock", ""),
    "go": ("go.mod and go.sum", ""),
    "maven": ("the pom.xml files", ""),
    "gradle": ("gradlew, gradle/, settings.gradle* and build.gradle*", ""),
    "sbt": ("build.sbt and project/", ""),
    "bundler": ("Gemfile and Gemfile.lock", ""),
    "composer": (
        "composer.json and composer.lock",
        " (with --no-scripts --no-autoloader; composer dump-autoload after the source)",
    ),
    "dotnet": ("the project files and the solution", ""),
    "mix": ("mix.exs and mix.lock", ""),
    "rebar3": ("rebar.config and rebar.lock", ""),
    "swift": ("Package.swift and Package.resolved", ""),
}


def copy_first(family: str, manifests: tuple[str, ...], text: str) -> tuple[str, str]:
    """Name the files that an install needs, and what it must be told once the source is not there yet.

    What the command names itself counts first, then the usual files of the family.
    """
    words = [word.strip("\"'").removeprefix("-r") for word in text.split()]
    named = [_as_copied(word) for word in words if word[:1] != "-" and is_needed(word, manifests, [family])]
    usual, hint = _COPY_FIRST.get(family, ("", ""))
    if not _TAKES_HINT.search(text) or any(word in text for word in hint.split() if word.startswith("--")):
        hint = ""
    if "pnpm fetch" in text:
        usual = "pnpm-lock.yaml"
    if family == "yarn" and _is_berry(text):
        usual = "package.json, yarn.lock, .yarnrc.yml and .yarn"
    if named:
        return " and ".join(dict.fromkeys(named)), hint
    return usual or " and ".join(manifests[:2]), hint


_TAKES_HINT = re.compile(
    r"\b(poetry install|poetry sync|uv sync|pdm (install|sync)|composer\S* (install|update))\b"
)


def _as_copied(word: str) -> str:
    """Write a file of a command as a COPY would name it: a place in the image says little of the context."""
    folder, _, name = word.rpartition("/")
    if folder.startswith("/") or not folder:
        return name
    return f"{folder}/" if folder == "requirements" else word
