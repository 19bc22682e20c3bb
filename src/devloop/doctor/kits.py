"""Kits: images that hold a compiler, what builds with them, and the slim image of the same system.

An image's tag has to say all that counts. A pinned or unusual one, one of a private registry, and one whose
slim sister behaves in another way (.NET on Alpine has no cultures) have none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.doctor.graphs import image_name, image_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.dockerfile.stages import Stage


@dataclass(frozen=True, slots=True)
class Kit:
    """An ecosystem: its images, the kinds of steps that build, the programs that would build at the start.

    `sources` are the files that the build alone reads, `runtime_use` texts in them that mean the program
    needs more of the image than its file. `environment` are variables that only the build reads; those that
    end in an underscore are prefixes. `starts_elsewhere` tells that some of its images have a folder of their
    own to start in.
    """

    name: str
    images: frozenset[str]
    kinds: frozenset[str]
    tools: frozenset[str]
    sources: str
    runtime_use: tuple[str, ...]
    environment: tuple[str, ...]
    megabytes: int
    starts_elsewhere: bool = False

    def is_for_building(self, name: str) -> bool:
        """Tell whether a variable says nothing to the program when it runs."""
        return any(name == one or (one.endswith("_") and name.startswith(one)) for one in self.environment)


GO: Final = Kit(
    "Go",
    frozenset({"golang"}),
    frozenset({"go-build"}),
    frozenset({"go", "air", "gow", "reflex", "dlv", "CompileDaemon"}),
    r".*\.go|go\.(mod|sum|work|work\.sum)|vendor/.*|.*/testdata/.*|testdata/.*",
    # The kit has time zones and types of files, a slim base has neither.
    (
        *('import "C"', "LoadLocation", '"os/exec"', "go:embed", "runtime.GOROOT", '"plugin"'),
        *('"mime"', "FileServer", "ServeFile", "ServeContent"),
    ),
    # GOGC, GODEBUG, GOMAXPROCS, GOMEMLIMIT and GOTRACEBACK are read by the program.
    (
        *("CGO_", "GOOS", "GOARCH", "GOARM", "GOAMD64", "GOFLAGS", "GOPROXY", "GOPRIVATE", "GONOPROXY"),
        *("GOSUMDB", "GONOSUMDB", "GONOSUMCHECK", "GOINSECURE", "GOCACHE", "GOMODCACHE", "GOPATH", "GOBIN"),
        *("GO111MODULE", "GOTOOLCHAIN", "GOWORK", "GOEXPERIMENT", "GOTMPDIR", "XDG_CACHE_HOME"),
    ),
    800,
    starts_elsewhere=True,
)
RUST: Final = Kit(
    "Rust",
    frozenset({"rust"}),
    frozenset({"cargo-build"}),
    frozenset({"cargo", "bacon", "watchexec"}),
    r".*\.rs|(.*/)?Cargo\.(toml|lock)|rust-toolchain(\.toml)?|\.cargo/.*|(.*/)?(tests|benches)/.*",
    ("process::Command", "process::{", "dlopen", "libloading", "rustc-link-lib", "#[link(", '"dylib"'),
    # RUST_LOG and RUST_BACKTRACE are read by the program.
    ("CARGO_", "RUSTFLAGS", "RUSTDOCFLAGS", "RUSTUP_", "RUSTC_", "RUSTC", "SQLX_OFFLINE"),
    1300,
)
JVM: Final = Kit(
    "JVM",
    frozenset({"maven", "gradle"}),
    frozenset({"maven-build", "gradle-build"}),
    frozenset({"mvn", "mvnw", "gradle", "gradlew"}),
    r"(.*/)?src/.*|(.*/)?pom\.xml|mvnw(\.cmd)?|\.mvn/.*|gradlew(\.bat)?|gradle/.*|.*\.gradle(\.kts)?"
    r"|gradle\.properties",
    (
        *("javax.tools", "ToolProvider", "ProcessBuilder", "Runtime.getRuntime().exec", "com.sun.tools"),
        *("jdk.jshell", "ByteBuddyAgent", "BlockHound"),
        # A jar that finds others beside it.
        *(
            "classpathPrefix",
            "addClasspath",
            "Class-Path",
            "loader.path",
            "PropertiesLauncher",
            "copy-dependencies",
        ),
    ),
    ("MAVEN_", "GRADLE_"),
    250,
    starts_elsewhere=True,
)
DOTNET: Final = Kit(
    ".NET",
    frozenset({"sdk"}),
    frozenset({"dotnet-build"}),
    frozenset({"watch", "run"}),
    r".*\.(cs|fs|vb|csproj|fsproj|sln|slnx|props|targets|razor|cshtml|resx|json|config)|(.*/)?wwwroot/.*",
    ("Process.Start", "Microsoft.CodeAnalysis", "MSBuildLocator", "RuntimeCompilation"),
    ("DOTNET_CLI_", "DOTNET_NOLOGO", "NUGET_", "DOTNET_SKIP_FIRST_TIME_EXPERIENCE"),
    600,
)
NODE: Final = Kit(
    "Node",
    frozenset({"node", "bun"}),
    frozenset({"js-build"}),
    frozenset({"npm", "yarn", "pnpm", "npx", "nodemon", "tsx", "ts-node", "vite", "next", "nest"}),
    r"(?!)",
    (),
    (),
    200,
)
C: Final = Kit(
    "C",
    frozenset({"gcc"}),
    frozenset(),
    frozenset({"make", "gcc", "g++", "cc", "c++", "cmake", "ninja", "meson"}),
    r"(?!)",
    (),
    (),
    1100,
)
"""Its tools are what builds too; which libraries a program links cannot be read for certain."""
KITS: Final = (GO, RUST, JVM, DOTNET, NODE, C)


def is_for_building(name: str) -> bool:
    """Tell whether a variable is one that only some kit reads."""
    return any(kit.is_for_building(name) for kit in KITS)


PROSE: Final = re.compile(
    r"(README|CHANGELOG|LICENSE|LICENCE|NOTICE|CONTRIBUTING|CODE_OF_CONDUCT|AUTHORS)(\.\w+)?|.*\.md|(GNU)?[Mm]akefile"
    r"|[Dd]ockerfile[\w.-]*|[\w.-]*\.dockerignore|(docker-)?compose[\w.-]*\.ya?ml|\.git(ignore|attributes|hub/.*|/.*)"
    r"|devloop\.toml|\.editorconfig|\.golangci\.ya?ml|\.pre-commit-config\.yaml|\.gitlab-ci\.yml|\.vscode/.*|\.idea/.*"
)
"""What people read and tools of the repository, but no program."""


def kit_of(stage: Stage) -> Kit | None:
    """Return the kit that a stage stands on."""
    if stage.base != "image":
        return None
    name, tag = image_name(stage.base_reference), image_tag(stage.base_reference)
    if name in {"eclipse-temurin", "openjdk", "amazoncorretto"} and "jre" not in tag:
        return JVM
    if name == "sdk" and "dotnet" not in stage.base_reference:
        return None
    return next((kit for kit in KITS if name in kit.images), None)


def slim_base(kit: Kit, reference: str) -> str | None:
    """Return the slim image of the same system; None where the tag does not tell for sure."""
    name, tag = image_name(reference), image_tag(reference)
    if kit is DOTNET:
        found = re.fullmatch(r"(\d+\.\d+)(-(?!alpine)[\w.-]+)?", tag)
        host = reference.partition("/sdk")[0]
        return f"{host}/aspnet:{tag}" if found is not None else None
    if _official(reference) is None:
        return None
    if kit in {GO, RUST}:
        return _system_of(kit.name, tag)
    return _java_runtime(name, tag) if kit is JVM else None


def _official(reference: str) -> str | None:
    """Return the name and tag of an official image, None for one of somebody else."""
    plain = reference.partition("@")[0].removeprefix("docker.io/").removeprefix("library/")
    return plain if "/" not in plain else None


# From which version on an image without a name of a system stands on which Debian.
_DEBIANS: Mapping[str, tuple[tuple[int, str | None], ...]] = {
    "Go": ((25, None), (21, "bookworm")),
    "Rust": ((88, None), (72, "bookworm")),
}


def _system_of(kit: str, tag: str) -> str | None:
    found = re.search(r"-(?:slim-)?(bookworm|bullseye|trixie)$", tag)
    if found is not None:
        return f"debian:{found[1]}-slim"
    alpine = re.search(r"-alpine(\d+\.\d+)$", tag)
    if alpine is not None:
        return f"alpine:{alpine[1]}"
    version = re.fullmatch(r"1\.(\d+)(?:\.\d+)?", tag)
    if version is None:
        return None
    debian = next((name for least, name in _DEBIANS[kit] if int(version[1]) >= least), None)
    return f"debian:{debian}-slim" if debian is not None else None


_JAVA_SYSTEMS = r"(-(?:alpine|focal|jammy|noble))?"


def _java_runtime(name: str, tag: str) -> str | None:
    if name == "eclipse-temurin":
        # The very build: `21.0.5_11-jdk-alpine` has a sister of its own.
        found = re.fullmatch(rf"(\d[\w.+]*)(?:-jdk)?{_JAVA_SYSTEMS}", tag)
    elif name == "maven":
        found = re.fullmatch(rf"3(?:[\d.]*)-eclipse-temurin-(\d+){_JAVA_SYSTEMS}", tag)
    elif name == "gradle":
        found = re.fullmatch(rf"(?:[\d.]+-)?jdk-?(\d+){_JAVA_SYSTEMS}", tag)
    else:
        return None
    return f"eclipse-temurin:{found[1]}-jre{found[2] or ''}" if found is not None else None


def node_runtime(reference: str, *, is_self_contained: bool) -> str | None:
    """Return the image that a built Node program is started on.

    The slim sister has no git, no Python and no compiler, so it is for programs that start nothing else.
    Everywhere else it is the image itself. None where that is no official one.
    """
    if _official(reference) is None or image_name(reference) != "node":
        return None
    plain = re.fullmatch(r"\d+(?:\.\d+)*(?:-(?:bookworm|bullseye|trixie))?", image_tag(reference))
    if plain is None or not is_self_contained:
        return reference
    return f"node:{plain[0]}-slim"
