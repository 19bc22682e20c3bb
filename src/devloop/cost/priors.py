"""What kinds of RUN steps there are and what each costs on a machine that never ran them.

One row a kind: how it is spelled, its seconds (small, median, large project; laptop, warm base image, no
cache mount), what bounds it, which files it installs from, and which commands look like it and are cheap. The
first row that knows a command decides, its cheap look-alikes before its spellings. Users put their own rows
in front.

A spelling is a program and what must stand behind it, all of it as shell globs:

    npm ci              the program npm, its first word that is no flag is ci
    mvn|mvnw            either program, whatever follows
    pip install -r      a plain word by position, a flag anywhere
    gradle @*jar        some argument, flag or not, is like *jar
    pip install !-e     without such an argument
    yarn $              no further plain word: a bare yarn
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from devloop.cost.shell import Command, positionals

if TYPE_CHECKING:
    from collections.abc import Sequence

Bound = Literal["network", "cpu", "disk", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class Prior:
    """One kind of step. A row that repeats a kind refines it for special spellings.

    `warm` is the share of the cost that is left with a cache mount. `after` names kinds which, when one of
    them ran earlier in the stage and source was copied in between, leave only the cheap second phase to do.
    `expensive` is a user's own word, whatever the seconds are.
    """

    kind: str
    family: str
    bound: Bound
    seconds: tuple[float, float, float]
    spellings: tuple[str, ...]
    reason: str
    manifests: tuple[str, ...] = ()
    cheap: tuple[tuple[str, str], ...] = ()
    warm: float = 0.5
    after: tuple[str, ...] = ()
    expensive: bool | None = None


def matches(spelling: str, command: Command) -> bool:
    """Tell whether a command is spelled like this; see the head of the module for the notation."""
    head = spelling.partition(" ")[0]
    if "*" not in head and command.program not in head:
        return False  # most spellings of the table leave here
    pattern = _parsed(spelling)
    if not _is_like_one(command.program, pattern.programs):
        return False
    arguments = command.arguments
    if any(_is_like_one(argument, pattern.absent) for argument in arguments):
        return False
    for wanted in pattern.anywhere:
        if not any(_is_like_one(argument, wanted) for argument in arguments):
            return False
    if pattern.plain or pattern.is_bare:
        plain = positionals(command)
        if len(plain) < len(pattern.plain) or (pattern.is_bare and len(plain) > len(pattern.plain)):
            return False
        return all(_is_like_one(word, like) for word, like in zip(plain, pattern.plain, strict=False))
    return True


@dataclass(frozen=True, slots=True)
class _Spelling:
    programs: tuple[str, ...]
    plain: tuple[tuple[str, ...], ...]
    anywhere: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...]
    is_bare: bool


@lru_cache(maxsize=1024)
def _parsed(spelling: str) -> _Spelling:
    program, *words = spelling.split()
    return _Spelling(
        programs=tuple(program.split("|")),
        plain=tuple(tuple(word.split("|")) for word in words if word[0] not in "-!@$"),
        anywhere=tuple(tuple(word.removeprefix("@").split("|")) for word in words if word[0] in "-@"),
        absent=tuple(like for word in words if word[0] == "!" for like in word[1:].split("|")),
        is_bare="$" in words,
    )


def _is_like_one(word: str, likes: Sequence[str]) -> bool:
    return any(fnmatchcase(word, like) for like in likes)


def own_prior(
    run: str, seconds: float, *, kind: str, expensive: bool | None, reason: str, manifests: tuple[str, ...]
) -> Prior:
    """Make a row of a user's own; a kind of the table brings what else is known of it.

    Without a kind the row has one of its own, named like the command. A program is known by its last name,
    so that `./scripts/gen.sh` is `gen.sh`.
    """
    program, *words = run.split()
    name = program.rpartition("/")[2] or program
    known = next((row for row in PRIORS if row.kind == kind), None)
    own = "-".join([name, *words])
    return Prior(
        kind=kind or own,
        family=known.family if known is not None else (kind or own) if manifests else "",
        bound=known.bound if known is not None else "unknown",
        seconds=(seconds / 2, seconds, seconds * 2),
        spellings=(" ".join([name, *words]),),
        reason=reason or "as the configuration says",
        manifests=manifests,
        warm=known.warm if known is not None else 1.0,
        expensive=expensive,
    )


# Programs that take well under a second, whatever their arguments. Recursive ones on whole trees have rows.
CHEAP_PROGRAMS: tuple[tuple[str, str], ...] = (
    (
        "[|[[|test|echo|printf|cat|tee|head|tail|sort|uniq|wc|cut|tr|sed|awk|gawk|grep|egrep|jq|yq",
        "reads text",
    ),
    (
        "mkdir|rmdir|rm|mv|cp|ln|touch|install|mktemp|ls|stat|find|basename|dirname|readlink|realpath",
        "few files",
    ),
    ("chmod|chown|chgrp|setcap|setfacl|sha256sum|sha512sum|sha1sum|md5sum|cmp|diff|file|du|df", "few files"),
    ("useradd|adduser|usermod|groupadd|addgroup|groupmod|deluser|userdel|delgroup|passwd|chpasswd", "users"),
    ("newgrp|chsh|id|whoami|getent|su|visudo", "users"),
    (
        "uname|arch|date|env|which|type|command|hostname|nproc|pwd|sleep|false|exit|kill|locale|stty|yes",
        "asks",
    ),
    ("dpkg|dpkg-query|dpkg-deb|dpkg-reconfigure|apt-mark|apt-cache|apt-key|apt-config|rpm", "local packages"),
    (
        "update-alternatives|alternatives|update-ca-certificates|update-ca-trust|ldconfig|locale-gen",
        "settings",
    ),
    (
        "localedef|update-rc.d|systemctl|service|a2enmod|a2dismod|a2ensite|a2dissite|a2enconf|rc-update",
        "settings",
    ),
    (
        "docker-php-ext-enable|phpenmod|phpdismod|deb-systemd-helper|debconf-set-selections|setup-timezone",
        "settings",
    ),
    (
        "tar|unzip|gzip|gunzip|zcat|xz|bzip2|zstd|cpio|strip|patch|base64|openssl|gpg|ssh-keyscan|xxd",
        "local data",
    ),
    (
        "getconf|pkg-config|ssh-keygen|envsubst|dos2unix|iconv|expr|bc|seq|xargs|paste|rev|tac|shred",
        "local data",
    ),
    ("busybox|crontab|logger|sync|mount|umount|chroot|nologin|ssh|scp|select|let|read|getopts", "one call"),
)

PRIORS: tuple[Prior, ...] = (
    # --- Python -----------------------------------------------------------------------------------------
    Prior(
        "pip-tool",
        "pip",
        "network",
        (2, 3, 8),
        tuple(
            f"pip install {' '.join(['pip|setuptools|wheel|pip==*|setuptools==*|wheel==*'] * count)} "
            "!-r*|--requirement* $"
            for count in (1, 2, 3)
        ),
        "one small package that most images hold already",
        cheap=(
            ("pip --version|-V", "prints its version"),
            (
                "pip check|cache|config|list|show|freeze|debug|help|inspect|uninstall",
                "works on what is installed",
            ),
            ("pip install --no-index", "installs from files that are there"),
            ("pip install --no-deps @-e|--editable|.|./*", "links the project without its dependencies"),
            ("pip install /*.whl|*/wheels/*|/wheels*|*.whl", "installs from files that are there"),
        ),
    ),
    Prior(
        "pip-install",
        "pip",
        "network",
        (120, 300, 900),
        (
            "pip install|wheel|download @torch|torch[=<>~]*|torch[[]*|torchvision*|tensorflow*",
            "pip install|wheel|download @jax[[]cuda*|vllm*|nvidia-*|sentence-transformers*",
        ),
        "wheels with CUDA weigh gigabytes",
    ),
    Prior(
        "pip-project",
        "pip",
        "network",
        (4, 20, 180),
        (
            "pip install @.|./*|.[[]*|-e|--editable|-e.|--editable=* !-r*|--requirement*",
            "python setup.py|*/setup.py install|develop|build*|bdist*",
            "build|pyproject-build|flit",
        ),
        "resolves and fetches the project's dependencies, then builds the project",
        manifests=("pyproject.toml", "setup.py", "setup.cfg"),
        warm=0.45,
        after=("pip-install", "uv-sync", "poetry-install", "pdm-install", "pipenv-install", "conda-install"),
    ),
    Prior(
        "pip-install",
        "pip",
        "network",
        (4, 20, 180),
        ("pip install|wheel|download", "easy_install"),
        "fetches wheels, and compiles where there is none",
        manifests=("requirements*.txt", "requirements/*.txt", "constraints*.txt", "*requirements.txt"),
        warm=0.45,
    ),
    Prior(
        "pip-tools",
        "pip",
        "network",
        (5, 25, 180),
        ("pip-sync", "pip-compile"),
        "resolves or fetches every pinned package",
        manifests=("requirements*.in", "requirements/*.in"),
    ),
    Prior(
        "pipx-install",
        "pip",
        "network",
        (4, 10, 40),
        ("pipx install|inject|upgrade",),
        "makes an environment and fetches a tool into it",
        cheap=(("pipx ensurepath|list|environment", "no download"),),
    ),
    Prior(
        "uv-sync",
        "uv",
        "network",
        (90, 240, 800),
        ("uv pip install @torch|torch[=<>~]*|torch[[]*|torchvision*|tensorflow*|vllm*|nvidia-*",),
        "wheels with CUDA weigh gigabytes",
    ),
    Prior(
        "uv-sync",
        "uv",
        "network",
        (1, 4, 40),
        ("uv sync", "uv pip install|sync", "uv add", "uv export|lock"),
        "resolves fast, so that the download itself is what is left",
        manifests=("pyproject.toml", "uv.lock", ".python-version"),
        cheap=(
            ("uv --version", "prints its version"),
            ("uv venv|init|cache|version|self", "makes or cleans local files"),
            ("uv pip check|list|freeze|show|tree", "works on what is installed"),
            ("uv pip install --no-deps", "links the project without its dependencies"),
            ("uv tool list|dir|update-shell", "no download"),
        ),
        after=("uv-sync",),
    ),
    Prior(
        "uv-python",
        "uv",
        "network",
        (2, 6, 20),
        ("uv python install",),
        "fetches an interpreter",
    ),
    Prior("uv-tool", "uv", "network", (1, 3, 20), ("uv tool install",), "fetches a tool"),
    Prior(
        "poetry-install",
        "poetry",
        "network",
        (8, 35, 240),
        ("poetry install|sync|update|add|lock|export",),
        "slow to start, then fetches every locked package",
        manifests=("pyproject.toml", "poetry.lock", "poetry.toml"),
        cheap=(
            ("poetry --version", "prints its version"),
            ("poetry config|check|env|show|version|self|cache|about", "works on local settings"),
            ("poetry build", "packs the project itself"),
            ("poetry install --only-root", "links the project without its dependencies"),
        ),
        after=("poetry-install",),
    ),
    Prior(
        "pdm-install",
        "pdm",
        "network",
        (6, 25, 180),
        ("pdm install|sync|update|add|lock|export",),
        "fetches every locked package",
        manifests=("pyproject.toml", "pdm.lock"),
        cheap=(
            ("pdm config|use|info|venv|list|show|build", "works on local settings"),
            ("pdm --version", "prints"),
        ),
        after=("pdm-install",),
    ),
    Prior(
        "pipenv-install",
        "pipenv",
        "network",
        (15, 60, 300),
        ("pipenv install|sync|lock|update|requirements",),
        "its resolver is slow, and it checks every hash",
        manifests=("Pipfile", "Pipfile.lock"),
        cheap=(
            ("pipenv --version|--venv|--where|--py", "prints"),
            ("pipenv graph|check|clean|verify", "local"),
        ),
    ),
    Prior(
        "micromamba-install",
        "conda",
        "network",
        (15, 60, 400),
        ("micromamba install|create|update|env",),
        "fetches packages of many megabytes",
        manifests=("environment.y*ml", "env.y*ml", "conda-lock.y*ml", "*environment.y*ml"),
        cheap=(("micromamba clean|shell|config|info|list|--version|activate", "no download"),),
    ),
    Prior(
        "conda-install",
        "conda",
        "network",
        (30, 150, 900),
        ("conda|mamba install|create|update|upgrade", "conda|mamba env create|update", "conda-lock install"),
        "solves the environment and then fetches packages of many megabytes",
        manifests=("environment.y*ml", "env.y*ml", "conda-lock.y*ml", "*environment.y*ml"),
        cheap=(
            ("conda|mamba clean|init|config|list|info|activate|shell|remove", "works on what is installed"),
            ("conda|mamba --version", "prints its version"),
            ("conda|mamba env list|remove|export", "works on what is installed"),
        ),
    ),
    # --- JavaScript -------------------------------------------------------------------------------------
    Prior(
        "browser-install",
        "browsers",
        "network",
        (15, 45, 150),
        (
            "playwright install|install-deps",
            "puppeteer browsers install",
            "cypress install",
            "browsers install",
        ),
        "a browser is hundreds of megabytes",
        cheap=(
            ("playwright|cypress --version", "prints its version"),
            ("cypress verify|version|cache", "local"),
        ),
    ),
    Prior(
        "npm-global",
        "npm",
        "network",
        (2, 7, 25),
        ("npm i|install|add|update @-g|--global",),
        "fetches one tool and what it needs",
        cheap=(
            ("npm --version|-v", "prints its version"),
            (
                "npm config|set|get|cache|prune|version|pkg|ls|list|root|prefix|bin|whoami|doctor|link",
                "local",
            ),
            ("npm uninstall|rm|remove|dedupe|fund|help", "works on what is installed"),
        ),
    ),
    Prior(
        "npm-install",
        "npm",
        "network",
        (4, 20, 120),
        ("npm ci|clean-install|i|install|add|update|install-clean|ic|isntall",),
        "fetches the tree of modules and writes tens of thousands of files",
        manifests=("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"),
    ),
    Prior(
        "js-build",
        "js",
        "cpu",
        (5, 15, 240),
        (
            "npm|pnpm|yarn|bun run|run-script build|build:*|build-*|compile|bundle|dist|generate",
            "npm|pnpm|yarn|bun run|run-script prod|production",
            "yarn|pnpm build|build:*|compile|bundle",
            "yarn|pnpm workspace|workspaces @build|build:*",
            "pnpm|npm @--filter*|-F|-r|--recursive|-w|--workspace* @build|build:*",
            "next|vite|ng|nuxt|nuxi|astro|gatsby|remix|parcel|ember|svelte-kit build",
            "vue-cli-service|react-scripts build",
            "tsc|webpack|rollup|esbuild|tsup|swc|turbo|nx|lerna|gulp|grunt|webpack-cli|ngc|sass",
            "npm rebuild",
            "jupyter lab build",
            "jupyter labextension install|build",
            "bun build",
        ),
        "bundlers and type checkers read the whole source",
        cheap=(
            (
                "npm|pnpm|yarn|bun run|run-script lint|lint:*|format|format:*|fmt|prettier",
                "checks the source",
            ),
            ("npm|pnpm|yarn lint|format", "checks the source"),
            ("npm|pnpm|yarn|bun test|t", "runs tests, installs nothing"),
            ("npm|pnpm|yarn|bun run test|test:*|unit", "runs tests, installs nothing"),
            ("tsc|webpack|rollup|esbuild|turbo|nx|next|vite|ng|lerna --version|-v|-V", "prints its version"),
            ("eslint|prettier|biome|stylelint", "checks the source"),
            ("next|nx|ng telemetry|reset|config|analytics", "settings"),
        ),
    ),
    Prior(
        "yarn-install",
        "yarn",
        "network",
        (5, 40, 180),
        (
            "yarn $ !--version|-v|--help",
            "yarn install|add|up|upgrade|import",
            "yarn global add",
            "yarn workspaces focus",
        ),
        "fetches the tree of modules and writes tens of thousands of files",
        manifests=("package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc", ".pnp.cjs"),
        cheap=(
            (
                "yarn cache|config|set|version|versions|plugin|why|list|info|autoclean|remove|link|bin",
                "local",
            ),
            ("yarn install --mode=skip-build @--offline", "installs from its own cache"),
            ("yarn install --offline", "installs from its own cache"),
        ),
    ),
    Prior(
        "pnpm-install",
        "pnpm",
        "network",
        (3, 12, 70),
        ("pnpm i|install|fetch|add|deploy|update|up|import", "pnpm -r|--recursive @install|i"),
        "fetches into a store and links from it",
        manifests=("package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"),
        cheap=(
            ("pnpm i|install --offline", "links from the store that an earlier fetch filled"),
            ("pnpm --version|-v", "prints its version"),
            ("pnpm config|set|get|store|prune|list|ls|why|root|bin|setup|remove|rm|env|licenses", "local"),
        ),
        after=("pnpm-install",),
    ),
    Prior(
        "bun-install",
        "bun",
        "network",
        (1, 5, 30),
        ("bun i|install|add|update|ci",),
        "fast, so that the download itself is what is left",
        manifests=("package.json", "bun.lock", "bun.lockb", "bunfig.toml"),
        cheap=(("bun --version|-v", "prints its version"), ("bun pm|remove|link", "local")),
    ),
    Prior(
        "corepack",
        "js",
        "network",
        (1, 2, 6),
        ("corepack prepare|install|up|use",),
        "fetches one package manager",
        cheap=(("corepack enable|disable", "writes small launchers"), ("corepack --version", "prints")),
    ),
    # --- Go ---------------------------------------------------------------------------------------------
    Prior(
        "go-mod",
        "go",
        "network",
        (1, 10, 125),
        ("go mod download|vendor|tidy|verify|why|graph", "go get", "go work sync|vendor"),
        "fetches every module of go.sum",
        manifests=("go.mod", "go.sum", "go.work", "go.work.sum"),
        cheap=(
            ("go version|env|fmt|list|clean|help|doc|bug", "reads or cleans"),
            ("go mod edit|init", "writes one file"),
            ("go work init|use|edit", "writes one file"),
            ("gofmt", "formats"),
        ),
    ),
    Prior(
        "go-install",
        "go",
        "cpu",
        (5, 20, 120),
        ("go install @*@*",),
        "fetches a tool and compiles it with all it imports",
        warm=0.3,
    ),
    Prior(
        "go-build",
        "go",
        "cpu",
        (10, 45, 300),
        ("go build|test|install|run|generate|vet", "goreleaser build|release", "mage|tinygo"),
        "compiles the packages and, without a cache, the standard library",
        warm=0.2,
    ),
    # --- Rust -------------------------------------------------------------------------------------------
    Prior(
        "cargo-chef-cook",
        "cargo",
        "cpu",
        (30, 200, 1000),
        ("cargo chef cook", "cargo-chef chef cook", "cargo-chef cook"),
        "compiles every dependency",
        manifests=("recipe.json",),
        cheap=(
            ("cargo chef prepare", "reads manifests and writes recipe.json"),
            ("cargo-chef prepare", "reads manifests and writes recipe.json"),
        ),
        warm=0.15,
    ),
    Prior(
        "cargo-fetch",
        "cargo",
        "network",
        (5, 20, 120),
        ("cargo fetch|vendor|update|generate-lockfile", "cargo binstall", "cargo-binstall"),
        "fetches every crate of Cargo.lock",
        manifests=("Cargo.toml", "Cargo.lock"),
        cheap=(
            ("cargo --version|-V|--list|--help", "prints"),
            (
                "cargo fmt|metadata|new|init|clean|version|tree|pkgid|locate-project|search|help",
                "compiles nothing",
            ),
            ("cargo build|test --help", "prints"),
            ("rustc|rustfmt --version|-V", "prints its version"),
            ("rustup show|default|--version|override|which|self|set", "settings"),
        ),
    ),
    Prior(
        "cargo-install",
        "cargo",
        "cpu",
        (20, 120, 600),
        ("cargo install !--path*",),
        "compiles a tool with all its dependencies",
        warm=0.3,
    ),
    Prior(
        "rustup",
        "cargo",
        "network",
        (3, 15, 60),
        ("rustup install|update|toolchain|target|component", "rustup-init"),
        "fetches a compiler or a standard library",
        manifests=("rust-toolchain", "rust-toolchain.toml"),
    ),
    Prior(
        "cargo-build",
        "cargo",
        "cpu",
        (30, 240, 1200),
        (
            "cargo build|b|test|t|check|c|run|r|rustc|clippy|doc|bench",
            "cargo nextest|zigbuild|auditable|leptos|xtask",
            "cargo install",
            "trunk build",
            "wasm-pack build",
            "maturin build|develop",
            "cross build",
            "dx build",
        ),
        "compiles the project and every dependency from source",
        manifests=("Cargo.toml", "Cargo.lock", ".cargo/config.toml", ".cargo/config", "build.rs"),
        warm=0.1,
        after=("cargo-chef-cook", "cargo-build"),
    ),
    # --- JVM --------------------------------------------------------------------------------------------
    Prior(
        "maven-dependencies",
        "maven",
        "network",
        (20, 75, 400),
        ("mvn|mvnw @dependency:*|*:go-offline|*maven-dependency-plugin*", "mvnw -v|--version"),
        "fetches hundreds of small artifacts one after the other",
        manifests=("pom.xml", ".mvn/*", "mvnw", "settings.xml"),
        cheap=(
            ("mvn -v|--version|-version", "prints its version"),
            ("mvn|mvnw -o|--offline", "uses what an earlier step fetched"),
            ("mvn clean $", "deletes"),
            ("mvn|mvnw help:*|versions:set", "small tools"),
        ),
        warm=0.2,
    ),
    Prior(
        "maven-build",
        "maven",
        "network",
        (30, 90, 600),
        ("mvn|mvnw|mvnd",),
        "fetches the dependencies and compiles",
        manifests=("pom.xml", ".mvn/*", "mvnw", "settings.xml"),
        warm=0.4,
        after=("maven-dependencies", "maven-build"),
    ),
    Prior(
        "gradle-wrapper",
        "gradle",
        "network",
        (5, 12, 40),
        ("gradlew --version|-v",),
        "the wrapper first fetches Gradle itself, some 130 MB",
        manifests=("gradle/wrapper/gradle-wrapper.properties", "gradlew"),
        cheap=(
            ("gradle --version|-v", "prints its version"),
            ("gradle|gradlew --offline", "uses what an earlier step fetched"),
            ("gradle init|wrapper", "writes a few files"),
            ("gradle|gradlew --stop", "ends the daemon"),
        ),
    ),
    Prior(
        "gradle-dependencies",
        "gradle",
        "network",
        (20, 75, 400),
        (
            "gradle|gradlew @dependencies|*:dependencies|resolve* !build|assemble|*[jJ]ar|*:build",
            "gradle|gradlew @downloadDependencies|*downloadRepos|help|tasks !build|assemble|*[jJ]ar|*:build",
        ),
        "fetches plugins and artifacts",
        manifests=("build.gradle*", "settings.gradle*", "gradle.properties", "gradle/*", "gradle.lockfile"),
        warm=0.3,
    ),
    Prior(
        "gradle-build",
        "gradle",
        "network",
        (40, 120, 600),
        ("gradle|gradlew",),
        "fetches plugins and artifacts, starts a daemon, compiles",
        manifests=("build.gradle*", "settings.gradle*", "gradle.properties", "gradle/*", "gradle.lockfile"),
        warm=0.35,
        after=("gradle-dependencies", "gradle-build"),
    ),
    Prior(
        "sbt-build",
        "sbt",
        "network",
        (60, 180, 900),
        ("sbt", "sbtx|sbtn"),
        "its start alone takes 20 seconds, then it fetches and compiles",
        manifests=("build.sbt", "project/*.sbt", "project/*.scala", "project/build.properties", "lock.sbt"),
        cheap=(("sbt --script-version", "prints the launcher's version"),),
        warm=0.4,
    ),
    Prior(
        "jvm-build",
        "jvm",
        "cpu",
        (5, 30, 200),
        (
            "javac",
            "kotlinc",
            "scalac",
            "ant",
            "native-image",
            "lein|clojure|clj",
            "jlink",
        ),
        "compiles for or with the JVM",
        manifests=("project.clj", "deps.edn", "build.xml"),
        cheap=(
            ("javac|ant|native-image|lein|clojure --version|-version", "prints its version"),
            ("java -version|--version", "prints its version"),
        ),
    ),
    # --- Ruby -------------------------------------------------------------------------------------------
    Prior(
        "bundle-install",
        "bundler",
        "network",
        (15, 120, 300),
        ("bundle $ !--version|-v|--help", "bundle install|update|add|package|lock"),
        "fetches gems and compiles the native ones",
        manifests=("Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".ruby-version", "*.gemspec"),
        cheap=(
            ("bundle config|check|clean|show|list|info|env|platform|binstubs|--version|version", "local"),
            ("bundle install --local", "uses what is installed"),
        ),
    ),
    Prior(
        "gem-install",
        "bundler",
        "network",
        (2, 5, 18),
        ("gem install|update",),
        "fetches a gem and compiles it where it is native",
        cheap=(("gem list|env|sources|cleanup|--version|uninstall|contents|spec|build", "local"),),
    ),
    Prior(
        "assets-precompile",
        "bundler",
        "cpu",
        (10, 40, 240),
        (
            "rake|rails assets:*",
            "rake|rails @assets:precompile|*:assets:*|webpacker:compile",
            "bootsnap precompile",
        ),
        "boots the application and compiles every asset",
    ),
    # --- PHP --------------------------------------------------------------------------------------------
    Prior(
        "composer-install",
        "composer",
        "network",
        (3, 15, 90),
        (
            "composer i|install|update|u|upgrade|require|create-project|reinstall",
            "composer global require|install|update",
        ),
        "fetches and unpacks every package",
        manifests=("composer.json", "composer.lock", "symfony.lock", "auth.json"),
        cheap=(
            ("composer --version|-V", "prints its version"),
            ("composer dump-autoload|dumpautoload|dump", "writes the class map"),
            (
                "composer run-script|run|validate|check-platform-reqs|diagnose|show|about",
                "works on local files",
            ),
            ("composer config|clear-cache|clearcache|self-update", "settings"),
        ),
        after=("composer-install",),
    ),
    Prior(
        "php-extensions",
        "php",
        "cpu",
        (15, 50, 300),
        (
            "docker-php-ext-install|docker-php-ext-configure",
            "pecl install|upgrade",
            "install-php-extensions",
            "phpize",
        ),
        "compiles C extensions",
        cheap=(
            ("pecl list|config-*|channel-update|clear-cache", "local"),
            ("php -v|--version|-i|-m|-r", "prints"),
        ),
    ),
    # --- .NET -------------------------------------------------------------------------------------------
    Prior(
        "dotnet-restore",
        "dotnet",
        "network",
        (3, 10, 75),
        (
            "dotnet restore",
            "nuget restore",
            "msbuild @*restore",
            "dotnet tool install|restore|update",
            "dotnet workload *",
        ),
        "fetches every package",
        manifests=(
            "*.csproj",
            "*.fsproj",
            "*.vbproj",
            "*.sln",
            "*.slnx",
            "Directory.Build.props",
            "Directory.Build.targets",
            "Directory.Packages.props",
            "nuget.config",
            "NuGet.Config",
            "global.json",
            "packages.lock.json",
            "packages.config",
        ),
        cheap=(
            ("dotnet --info|--version|--list-sdks|--list-runtimes", "prints"),
            ("dotnet nuget|new|sln|add|dev-certs|clean|help|list|format", "local"),
        ),
    ),
    Prior(
        "dotnet-build",
        "dotnet",
        "cpu",
        (4, 15, 90),
        ("dotnet build|publish|test|pack|run|msbuild|ef", "msbuild"),
        "restores what is missing and compiles",
        cheap=(
            ("dotnet publish|test|pack|run --no-build", "copies what was compiled"),
            ("dotnet build|publish|test|pack --no-restore", "compiles the project alone, restored before"),
        ),
    ),
    # --- Elixir, Erlang ---------------------------------------------------------------------------------
    Prior(
        "mix-bootstrap",
        "mix",
        "network",
        (2, 3, 5),
        ("mix local.hex|local.rebar|archive.install",),
        "fetches one small archive",
        cheap=(
            ("mix hex.info|hex.config|help|--version", "prints"),
            ("mix format|phx.digest|phx.gen.*|deps|deps.clean|clean|new", "works on local files"),
        ),
    ),
    Prior(
        "mix-deps",
        "mix",
        "network",
        (3, 8, 30),
        ("mix deps.get|deps.update|deps.unlock|setup",),
        "fetches every package",
        manifests=("mix.exs", "mix.lock"),
    ),
    Prior(
        "mix-compile",
        "mix",
        "cpu",
        (15, 60, 240),
        ("mix deps.compile|compile|release|assets.deploy|assets.build|assets.setup|test|escript.build|do",),
        "compiles the dependencies and the project",
        manifests=("mix.exs", "mix.lock", "config/config.exs", "config/prod.exs"),
        after=("mix-compile",),
    ),
    Prior(
        "rebar3",
        "rebar3",
        "network",
        (5, 20, 120),
        ("rebar3",),
        "fetches and compiles",
        manifests=("rebar.config", "rebar.lock"),
        cheap=(("rebar3 version|help|clean|tree", "local"),),
    ),
    # --- Haskell, Swift, others -------------------------------------------------------------------------
    Prior(
        "cabal-update",
        "haskell",
        "network",
        (10, 15, 30),
        ("cabal update|fetch|get", "stack update"),
        "fetches the package index",
        cheap=(
            ("stack|cabal|ghcup|ghc --version|--numeric-version|-V", "prints its version"),
            ("stack path|config|clean|ls|exec", "local"),
            ("cabal list-bin|check|clean|path|init|list", "local"),
            ("ghcup set|list|whereis|rm", "local"),
        ),
    ),
    Prior(
        "haskell-build",
        "haskell",
        "cpu",
        (60, 600, 2400),
        (
            "stack setup|build|install|test",
            "cabal build|install|test|v2-*|new-*",
            "ghcup install|upgrade",
            "ghc",
        ),
        "compiles every dependency from source",
        manifests=(
            "stack.yaml",
            "stack.yaml.lock",
            "package.yaml",
            "*.cabal",
            "cabal.project",
            "cabal.project.freeze",
        ),
        warm=0.15,
        after=("haskell-build",),
    ),
    Prior(
        "swift-resolve",
        "swift",
        "network",
        (5, 20, 90),
        ("swift package resolve|update",),
        "clones every dependency",
        manifests=("Package.swift", "Package.resolved"),
        cheap=(
            ("swift --version", "prints its version"),
            ("swift build --show-bin-path", "prints"),
            ("swift package describe|dump-package|clean|tools-version", "local"),
        ),
    ),
    Prior(
        "swift-build",
        "swift",
        "cpu",
        (30, 180, 900),
        ("swift build|test|run", "swiftc", "xcodebuild"),
        "compiles the dependencies and the project",
        warm=0.2,
    ),
    Prior(
        "other-packages",
        "other",
        "network",
        (4, 20, 180),
        (
            "Rscript @*install*",
            "R @*install*",
            "install2.r|install.r",
            "cpan|cpanm|carton",
            "luarocks install",
            "opam init|install|update|switch",
            "dart|flutter pub",
            "flutter precache|build|create",
            "dart compile",
            "nix-env|nix-build|nix-shell",
            "nix build|develop|profile",
            "brew install|update|upgrade",
            "julia @*Pkg*",
            "deno cache|install",
            "shards install|build",
            "nimble install|build",
            "helm dependency|pull",
            "terraform init",
            "raco pkg",
        ),
        "fetches, and often compiles, packages of its language",
        manifests=(
            "renv.lock",
            "DESCRIPTION",
            "cpanfile",
            "*.rockspec",
            "*.opam",
            "pubspec.yaml",
            "pubspec.lock",
            "Project.toml",
            "Manifest.toml",
            "deno.lock",
            "shard.yml",
            "shard.lock",
            "flake.lock",
        ),
        cheap=(
            (
                "Rscript|R|julia|dart|flutter|opam|nix|deno|cpanm|luarocks|terraform --version|-v|version",
                "prints",
            ),
            ("flutter config|doctor", "settings"),
        ),
    ),
    # --- operating system packages ----------------------------------------------------------------------
    Prior(
        "apt-install",
        "apt",
        "network",
        (12, 35, 180),
        (
            "apt-get|apt|aptitude install|upgrade|dist-upgrade|full-upgrade|build-dep|satisfy|safe-upgrade",
            "install_packages|apt-install|apt-fast|mk-build-deps",
            "add-apt-repository|apt-add-repository",
            "gdebi",
        ),
        "fetches the package lists and packages, and configures them one by one",
        cheap=(
            (
                "apt-get|apt|aptitude clean|autoclean|autoremove|purge|remove|check",
                "works on what is installed",
            ),
            ("apt|apt-get --version|-v", "prints its version"),
            ("apt list|show|search|policy", "reads the lists"),
            ("apt-get|apt install -s|--simulate|--dry-run", "installs nothing"),
        ),
        warm=0.4,
    ),
    Prior(
        "apt-update",
        "apt",
        "network",
        (3, 5, 10),
        ("apt-get|apt|aptitude update|source|download",),
        "fetches the package lists",
    ),
    Prior(
        "apk-add",
        "apk",
        "network",
        (8, 20, 60),
        (
            "apk add @build-base|alpine-sdk|gcc|g++|clang*|llvm*|rust|cargo|go|ghc|openjdk*|nodejs*|npm",
            "apk add @python3-dev|py3-*|chromium*|firefox*|texlive*|postgresql*|mysql|mariadb|docker",
            "apk add @qt*|gtk*|*imagemagick*|ffmpeg*",
        ),
        "toolchains and large programs weigh hundreds of megabytes",
        cheap=(("apk del|info|cache|fix|version|list|search|stats|--version|verify|audit|policy", "local"),),
    ),
    Prior(
        "apk-add",
        "apk",
        "network",
        (2, 4, 40),
        ("apk add|upgrade|fetch",),
        "small packages, quickly unpacked",
    ),
    Prior("apk-update", "apk", "network", (1, 1.5, 5), ("apk update",), "fetches a small index"),
    Prior(
        "dnf-install",
        "dnf",
        "network",
        (20, 45, 240),
        (
            "dnf|yum|microdnf|tdnf install|update|upgrade|reinstall|localinstall|distro-sync|swap",
            "dnf|yum|microdnf|tdnf group|groupinstall|module|builddep|makecache|check-update",
            "yum-builddep|dnf-builddep",
        ),
        "reads large metadata before it fetches packages",
        cheap=(
            ("dnf|yum|microdnf|tdnf clean|remove|autoremove|erase", "works on what is installed"),
            ("dnf|yum|microdnf|tdnf list|info|repolist|config-manager|--version", "settings"),
            ("yum-config-manager|subscription-manager", "settings"),
        ),
    ),
    Prior(
        "zypper-install",
        "zypper",
        "network",
        (15, 40, 200),
        ("zypper in|install|up|update|dup|dist-upgrade|patch|si|ref|refresh",),
        "refreshes repositories and fetches packages",
        cheap=(("zypper clean|cc|rm|remove|lr|repos|ar|addrepo|--version|search|se", "local"),),
    ),
    Prior(
        "pacman-install",
        "pacman",
        "network",
        (15, 40, 200),
        ("pacman|yay|paru -S*|--sync",),
        "refreshes repositories and fetches packages",
        cheap=(("pacman -Scc|-Sc|-R*|-Q*|-V|-D*|--version", "local"), ("pacman-key", "settings")),
    ),
    Prior(
        "distro-packages",
        "distro",
        "network",
        (10, 30, 180),
        (
            "xbps-install",
            "emerge|emaint",
            "swupd bundle-add|update",
            "pkg install|update|upgrade",
            "opkg install|update",
            "guix",
        ),
        "fetches packages",
    ),
    # --- C and C++ --------------------------------------------------------------------------------------
    Prior(
        "c-packages",
        "c",
        "cpu",
        (20, 120, 1800),
        ("conan install|create", "vcpkg install|upgrade", "bootstrap-vcpkg.sh"),
        "fetches libraries and compiles those without a binary",
        manifests=("conanfile.txt", "conanfile.py", "vcpkg.json"),
        cheap=(
            ("conan profile|remote|config|--version", "settings"),
            ("vcpkg integrate|version", "settings"),
        ),
        warm=0.2,
    ),
    Prior(
        "c-configure",
        "c",
        "cpu",
        (3, 12, 60),
        (
            "configure|autogen.sh|bootstrap.sh|buildconf|autoreconf|autoconf|automake|config|Configure",
            "meson setup",
            "cmake !--build",
            "qmake*",
        ),
        "hundreds of small compiler runs",
        manifests=("CMakeLists.txt", "CMakePresets.json", "configure.ac", "meson.build"),
        cheap=(
            ("cmake|meson|ninja|make|gmake|bazel --version|-version|-v", "prints its version"),
            ("make|gmake|ninja clean|distclean|mrproper", "deletes"),
            ("cmake --install|-E|-P|--help", "copies or runs a small tool"),
            ("ninja -t", "asks"),
            ("configure --help", "prints"),
            (
                "*gcc|*g++|*clang|*clang++|cc|c++|ld --version|-v|-dumpversion|-dumpmachine",
                "prints its version",
            ),
            ("ccache|sccache", "settings"),
        ),
    ),
    Prior(
        "c-build",
        "c",
        "cpu",
        (10, 120, 1800),
        (
            "make|gmake $",
            "make|gmake all|world",
            "ninja $",
            "ninja all|install",
            "cmake --build",
            "meson compile|install",
            "scons|waf|b2|bjam|xmake|zig",
            "bazel|bazelisk|buck2 build|test|run",
        ),
        "compiles a source tree",
        warm=0.2,
    ),
    Prior(
        "c-compile",
        "c",
        "cpu",
        (1, 5, 60),
        ("gcc|g++|cc|c++|clang|clang++|*-gcc|*-g++|nvcc|ld|as|nasm|gfortran",),
        "compiles the files it names",
        warm=0.2,
    ),
    # --- data, downloads, source ------------------------------------------------------------------------
    Prior(
        "model-download",
        "models",
        "network",
        (10, 120, 1800),
        (
            "huggingface-cli|hf download",
            "python @*snapshot_download*|*from_pretrained*|*hf_hub_download*|*load_dataset*",
            "python @*nltk.download*|*spacy.cli.download*|*torch.hub*|*whisper.load_model*",
            "python @*SentenceTransformer(*|*pipeline(*",
            "spacy download",
            "nltk.downloader",
            "ollama pull|create",
            "gdown",
            "aws s3 cp|sync",
            "gsutil|gcloud|rclone @cp|rsync|copy|sync",
            "azcopy|az @copy|download*",
            "git lfs pull|fetch|clone",
            "git-lfs pull|fetch",
            "dvc pull|fetch",
            "kaggle datasets|competitions",
            "curl|wget|aria2c @*.gguf*|*.safetensors*|*.pt|*.pth|*.onnx*|*.bin|*.h5|*.ckpt|*.tflite",
            "argos-translate-*|argospm install|update",
        ),
        "weights and data sets weigh gigabytes",
        cheap=(
            ("huggingface-cli|hf login|env|version|scan-cache|auth", "settings"),
            ("aws|gsutil|az --version", "prints its version"),
            ("aws configure", "settings"),
            ("git lfs install", "settings"),
        ),
    ),
    Prior(
        "download",
        "download",
        "network",
        (1, 5, 60),
        (
            "curl|wget|aria2c|axel|http|Invoke-WebRequest|iwr",
            "choco|winget|scoop install|upgrade",
            "rosdep update|install",
            "nvm|fnm|n|volta install|lts|latest|stable|use|[0-9]*",
            "sdk|sdkmanager|asdf|mise|pyenv|rbenv|nodenv|goenv|jenv|proto|rtx|tfenv|pkgx",
            "gcloud components",
            "az extension",
            "docker|crane|skopeo|oras pull|copy",
            "krew|arkade|eget|ubi",
        ),
        "fetches a tool or an archive",
        cheap=(
            ("curl|wget @*localhost*|*127.0.0.1*|--spider", "asks a server on this machine"),
            ("curl|wget @*.asc|*.gpg|*.key|*/gpg|*.list|*.repo|*.pem|*.crt|*.pub|*.sha256*", "a small file"),
            ("curl|wget|aria2c --version|-V|--help", "prints its version"),
            ("asdf|mise|pyenv|rbenv|nodenv|jenv global|local|rehash|reshim|plugin|init|shell", "settings"),
            ("asdf|mise|pyenv|rbenv|nodenv|jenv which|versions", "asks"),
            ("nvm|fnm|n|volta alias|default|ls|list|current|cache|env", "settings"),
            ("gcloud config|auth|version|--version", "settings"),
        ),
    ),
    Prior(
        "git-clone",
        "git",
        "network",
        (1, 5, 90),
        (
            "git clone|fetch|pull|submodule|remote-update",
            "svn|hg checkout|co|clone|export",
            "gh|glab repo|release",
        ),
        "fetches a repository with its history",
        cheap=(
            ("git submodule init|status|sync|foreach", "reads"),
            ("git config|init|add|commit|checkout|switch|apply|am|tag|branch|remote|reset|clean", "local"),
            ("git rev-parse|describe|log|status|diff|show|ls-files|symbolic-ref|version", "reads"),
            ("git archive|rev-list|cat-file|hash-object", "reads"),
            ("git --version", "prints its version"),
        ),
    ),
    # --- local work on many files -----------------------------------------------------------------------
    Prior(
        "permissions",
        "permissions",
        "disk",
        (0.2, 3, 60),
        (
            "chown|chmod|chgrp|setfacl -R|-*R*|--recursive",
            "fix-permissions",
            "find -exec @chmod|chown|chgrp",
        ),
        "copies every file it touches into a new layer",
    ),
    Prior(
        "codegen",
        "codegen",
        "cpu",
        (1, 5, 60),
        (
            "protoc|buf",
            "prisma generate|db|migrate",
            "openapi-generator|openapi-generator-cli|swagger-codegen|oapi-codegen",
            "sqlc|mockgen|ent|templ",
            "python manage.py|*/manage.py collectstatic|compilemessages|compress|migrate",
            "manage.py|django-admin collectstatic|compilemessages|compress|migrate",
            "artisan|console",
            "graphql-codegen|graphql-code-generator|openapi-typescript|orval",
            "tailwindcss",
            "sphinx-build|mkdocs|hugo|jekyll",
            "drizzle-kit generate",
            "grpc_tools.protoc",
            "rake|rails db:*",
        ),
        "runs a generator over its inputs",
        cheap=(
            ("protoc|buf|prisma|hugo|mkdocs|jekyll|sqlc --version|version", "prints its version"),
            ("python manage.py|*/manage.py check|--version", "checks"),
            ("manage.py|django-admin check|--version", "checks"),
            ("prisma -v|version|validate|format", "checks"),
        ),
    ),
    Prior(
        "interpreter",
        "interpreter",
        "none",
        (0.1, 0.4, 5),
        (),
        "starts an interpreter for one line",
        cheap=(
            ("python|node|ruby|perl|php|lua|java|deno|ghc --version|-V|-v|-version", "prints its version"),
            ("python|pypy venv|virtualenv", "makes an environment"),
            ("venv|virtualenv", "makes an environment from files that are there"),
            ("ensurepip", "unpacks a bundled wheel"),
            ("compileall|py_compile|site|sysconfig|zipfile", "works on local files"),
            ("ruff|black|isort|flake8|mypy|pylint", "checks the source"),
        ),
    ),
)
