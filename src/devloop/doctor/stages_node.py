"""The second stage of a Node program in TypeScript: its manifests, `npm ci --omit=dev`, and what tsc wrote.

It is proposed where all of this can be read: the install is a plain `npm ci` by a lock file whose packages
run nothing when they are installed; the build is `tsc` with a known output folder; `node` starts a file of
that folder; what is copied besides is source, settings of tools and prose; and the source imports only what
the smaller install brings. Anything else is a guess, and then there is no proposal.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from devloop.cost.shell import commands_of, program_name
from devloop.dockerfile import instructions as ins
from devloop.doctor.graphs import chain_steps, context_takings, is_above, resolved
from devloop.doctor.kits import PROSE, node_runtime
from devloop.doctor.mentions import MOST_FILES, copied_files
from devloop.doctor.npm_scripts import (
    MANIFEST,
    RUNNERS,
    read_object,
    real_command,
    script_text,
    section,
    the_one_manifest,
)
from devloop.doctor.placed import placed_by
from devloop.doctor.rewrite import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import Subject

LOCK: Final = "package-lock.json"


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a last stage consists of: base, the file that is started, and the paths copied from the build.

    `steps` are whole instructions above these copies, `repeated` lines of the build's stage before them.
    """

    base: str
    started: str
    copied: tuple[str, ...]
    repeated: tuple[ins.Instruction, ...] = ()
    steps: tuple[str, ...] = ()


class _UncertainError(Exception):
    """The text says what cannot be read."""


_STATIC: Final = frozenset({"serve", "http-server", "sirv", "live-server"})


def serves_static(words: Sequence[str]) -> bool:
    """Tell whether a command serves a folder of built files: any web server could."""
    plain = [program_name(word) for word in words if not word.startswith("-")]
    while plain and plain[0] in {"npx", "env"}:
        plain = plain[1:]
    return plain[:1] != [] and (plain[0] in _STATIC or plain[:2] in (["vite", "preview"], ["ng", "serve"]))


def started_by_script(subject: Subject, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return what a package manager starts, where that is certain; any other command as it stands."""
    if not words or program_name(words[0]) not in RUNNERS - {"npx"}:
        return words
    found, _ = real_command(subject, words)
    if found is None:
        return words
    while found[:1] == ("env",) or "=" in found[0]:
        found = found[1:]
    return (program_name(found[0]), *found[1:])


def node_runtime_of(subject: Subject, root: Stage, last: Step, words: Sequence[str]) -> Runtime | str:
    """Return what the last stage of a Node program consists of, else what is not certain."""
    try:
        return _runtime_of(subject, root, last, words)
    except _UncertainError as problem:
        return str(problem)


def _runtime_of(subject: Subject, root: Stage, last: Step, words: Sequence[str]) -> Runtime:
    _check_variables(root)
    steps = [one for one in chain_steps(subject.model.graph, root.index) if one.number <= last.number]
    runs = [one for one in steps if isinstance(one.instruction, ins.Run)]
    if len(runs) != 2 or runs[1] is not last or runs[0].workdir != last.workdir or last.workdir == "/":
        raise _UncertainError("more than one install and one build make the image")
    install = runs[0]
    command = _install(subject, install)
    package, needed = _manifests(subject)
    output = resolved(_output(subject, last), last.workdir)
    script = _script(words)
    if output == last.workdir or not is_above(last.workdir, output):
        raise _UncertainError("the folder of the build's output is not one of its own")
    if not is_above(output, resolved(script, last.workdir)):
        raise _UncertainError("node starts a file that the build does not write")
    takings = [taken for one in steps for taken in context_takings(subject.model.graph, one)]
    paths = [one.path for one in copied_files(subject, takings)]
    manifests = _copied_manifests(subject, steps, install)
    inside = output.removeprefix(f"{last.workdir}/")
    left = [one for one in paths if one not in manifests.paths and not one.startswith(f"{inside}/")]
    _check_left_behind(left)
    starts_others = _check_source(subject, left, package)
    _check_helpers(subject, left, package, needed)
    base = node_runtime(root.base_reference, is_self_contained=not any(needed.values()) and not starts_others)
    if base is None:
        raise _UncertainError("which base fits is not certain")
    return Runtime(base, output, (output,), manifests.repeated, (*manifests.steps, command))


# --- the install -------------------------------------------------------------------------------------------

_HARMLESS: Final = re.compile(
    r"--(no-audit|no-fund|no-progress|no-update-notifier|prefer-offline|quiet|silent|legacy-peer-deps|include=dev"
    r"|ignore-scripts|loglevel=\w+)|-[sq]"
)
_HOOKS: Final = (
    *("preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare", "prepublish"),
    "dependencies",
)


def _install(subject: Subject, step: Step) -> str:
    """Return the text of the install for the last stage: the same, without what only builds need."""
    run = step.instruction
    commands = commands_of(subject.steps[step.number].cost.command)
    words = commands[0].words if len(commands) == 1 else ()
    text = text_of(subject, run)
    is_plain = words[:2] == ("npm", "ci") and all(_HARMLESS.fullmatch(word) for word in words[2:])
    is_plain = is_plain and not commands[0].assignments and text.count("npm ci") == 1
    if not isinstance(run, ins.Run) or not is_plain or run.heredocs:
        raise _UncertainError("only a plain npm ci is known to install the same without what builds need")
    if any(mount.type not in {"cache", "secret"} for mount in run.mounts) or run.network is not None:
        raise _UncertainError("what the install mounts is not certain to be there again")
    return text.replace("npm ci", "npm ci --omit=dev").replace(" --include=dev", "")


def _manifests(subject: Subject) -> tuple[Mapping[str, Any], Mapping[str, bool]]:
    """Return package.json, and which packages the lock file installs; its value says for the program."""
    package = the_one_manifest(subject)
    lock = read_object(subject, LOCK)
    if package is None or lock is None or "packages" not in lock:
        raise _UncertainError("package.json and package-lock.json cannot be read for certain")
    for name in ("workspaces", "imports", "bundleDependencies", "bundledDependencies"):
        if package.get(name):
            raise _UncertainError(f"package.json has {name}")
    hook = next((name for name in _HOOKS if name in section(package, "scripts")), None)
    if hook is not None:
        raise _UncertainError(f"package.json has the hook {hook}, which an install runs")
    if any(one.path == "binding.gyp" for one in subject.paths):
        raise _UncertainError("binding.gyp makes an install compile")
    packages = {path: one for path, one in section(lock, "packages").items() if isinstance(one, dict)}
    # Harmless where they are missing: colours of a log, and a compiler for settings written in TypeScript.
    optional = {"supports-color", "typescript"}
    for path, one in packages.items():
        name = path.rpartition("node_modules/")[2]
        if not path or one.get("dev"):
            continue
        if one.get("hasInstallScript"):
            raise _UncertainError(f"{name} runs a script when it is installed")
        if one.get("link") or not str(one.get("resolved", "https:")).startswith(("https:", "http:")):
            raise _UncertainError(f"{name} is no package of a registry")
        peers = {*section(one, "peerDependencies"), *section(one, "peerDependenciesMeta")} - optional
        for peer in sorted(peers):
            if packages.get(f"node_modules/{peer}", {}).get("dev") and not peer.startswith("@types/"):
                raise _UncertainError(f"{name} may load {peer}, which is a dev dependency")
    return package, {path: not one.get("dev") for path, one in packages.items() if path}


@dataclass(frozen=True, slots=True)
class _Manifests:
    """How the last stage gets the manifests: lines that stand in the file, or new ones."""

    paths: frozenset[str]
    repeated: tuple[ins.Instruction, ...]
    steps: tuple[str, ...]


def _copied_manifests(subject: Subject, steps: Sequence[Step], install: Step) -> _Manifests:
    """Find the copies above the install that bring its manifests into its folder."""
    wanted = {MANIFEST, LOCK, ".npmrc"}
    places: dict[str, str] = {}
    lines: list[ins.Instruction] = []
    is_plain = True
    for step in steps:
        if step.number >= install.number or not isinstance(step.instruction, ins.Copy | ins.Add):
            continue
        placed = placed_by(subject, step)
        if placed is None:
            raise _UncertainError("where the manifests are copied to is not certain")
        places.update(placed)
        if wanted & set(placed.values()):
            is_plain &= set(placed.values()) <= wanted and "$" not in text_of(subject, step.instruction)
            lines.append(step.instruction)
    found = {
        source: path
        for path, source in places.items()
        if path == f"{install.workdir}/{source}" and source in wanted
    }
    if not {MANIFEST, LOCK} <= found.keys():
        raise _UncertainError("the manifests do not lie in the folder of the install")
    if is_plain:
        return _Manifests(frozenset(found), tuple(lines), ())
    names = " ".join(name for name in (MANIFEST, LOCK, ".npmrc") if name in found)
    return _Manifests(frozenset(found), (), (f"COPY {names} ./",))


# --- the build ---------------------------------------------------------------------------------------------

_PLAIN_FLAGS: Final = frozenset(
    {"--sourceMap", "--declaration", "--removeComments", "--noEmitOnError", "--pretty"}
)


def _output(subject: Subject, step: Step) -> str:
    """Return the folder that a build by tsc writes to, as seen from where it runs."""
    run = step.instruction
    commands = commands_of(subject.steps[step.number].cost.command)
    words = commands[0].words if len(commands) == 1 and isinstance(run, ins.Run) else ()
    if words[:2] == ("npm", "run") and len(words) == 3:
        text, problem = script_text(subject, words[2])
        if problem:
            raise _UncertainError(problem)
        commands = commands_of(text)
    folder = ""
    for command in commands:
        words = command.words[1:] if command.program == "npx" else command.words
        if program_name(words[0] if words else "") == "tsc":
            folder = _compiled(subject, words[1:])
        elif not (words[:2] in (("rm", "-rf"), ("rm", "-fr")) or words[:1] == ("rimraf",)):
            raise _UncertainError("what the build does besides tsc is not certain")
        if command.is_conditional or command.directory or command.assignments:
            raise _UncertainError("what the build does besides tsc is not certain")
    if not folder:
        raise _UncertainError("only a build by tsc is known to write one folder")
    return folder


def _compiled(subject: Subject, options: Sequence[str]) -> str:
    settings, output = "tsconfig.json", ""
    at = 0
    while at < len(options):
        word = options[at]
        if word in {"-p", "--project", "--outDir"} and at + 1 < len(options):
            at += 1
            if word == "--outDir":
                output = options[at]
            else:
                settings = options[at]
        elif word not in _PLAIN_FLAGS:
            raise _UncertainError(f"what tsc does with {word} is not certain")
        at += 1
    document = _with_comments(subject, settings)
    compiler = section(document, "compilerOptions")
    if any(compiler.get(name) for name in ("noEmit", "emitDeclarationOnly", "outFile")):
        raise _UncertainError(f"{settings} names no folder for what runs")
    folder = output or compiler.get("outDir")
    if not isinstance(folder, str) or "$" in folder:
        raise _UncertainError(f"{settings} does not say itself where the output goes")
    return posixpath.join("" if output else posixpath.dirname(settings), folder)


_COMMENTS: Final = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING: Final = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


def _with_comments(subject: Subject, path: str) -> Mapping[str, Any]:
    """Read JSON with comments and commas at ends, as TypeScript's settings are written."""
    text = (subject.texts(posixpath.normpath(path)) or b"").decode("utf-8", "replace").removeprefix("\ufeff")
    for pattern in (_COMMENTS, _TRAILING):
        text = pattern.sub(lambda found: found[1] or "", text)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _UncertainError(f"{path} cannot be read")
    return found


# --- the program -------------------------------------------------------------------------------------------

_NODE_FLAGS: Final = re.compile(
    r"--(enable-source-maps|no-warnings|no-deprecation|expose-gc|abort-on-uncaught-exception|trace-[\w-]+"
    r"|(max-old-space-size|max-semi-space-size|max-http-header-size|stack-trace-limit|unhandled-rejections)=\w+)"
)


def _script(words: Sequence[str]) -> str:
    rest = list(words)
    if not rest or program_name(rest[0]) != "node":
        raise _UncertainError("only node is known to start nothing but one file")
    rest = rest[1:]
    while rest and _NODE_FLAGS.fullmatch(rest[0]):
        rest = rest[1:]
    if not rest or rest[0].startswith("-"):
        raise _UncertainError("what node loads before the program is not certain")
    return rest[0]


_TYPESCRIPT: Final = re.compile(r".*\.[cm]?tsx?")
_TESTS: Final = re.compile(
    r"(.*/)?(tests?|__tests__|__mocks__|e2e|spec|cypress)/.*|.*\.(test|spec|e2e-spec)\.[cm]?[jt]sx?"
)
_TOOLS: Final = re.compile(
    r"(.*/)?((ts|js)config[\w.-]*\.json|\.?(eslint|prettier|stylelint|lintstaged|commitlint|mocha|swc|babel|nyc)(rc)?"
    r"(\.(config\.)?[cm]?js|\.config\.ts|\.json|\.ya?ml)?|\.(eslint|prettier|git)ignore|(jest|vitest|rollup|tsup)"
    r"\.config\.[cm]?[jt]s|biome\.jsonc?|nodemon\.json|\.nvmrc|\.node-version|renovate\.json|\.husky/.*|\.npmrc"
    r"|package\.json|package-lock\.json)"
)


def _check_left_behind(paths: Iterable[str]) -> None:
    for path in paths:
        name = posixpath.basename(path)
        is_known = any(one.fullmatch(path) for one in (_TYPESCRIPT, _TESTS, _TOOLS, PROSE))
        if not is_known and not PROSE.fullmatch(name):
            raise _UncertainError(f"the program may open {path} when it runs")


_TYPES_ONLY: Final = re.compile(r"^\s*(?:import|export)\s+type\s[^;]*?from\s*['\"][^'\"]*['\"]", re.MULTILINE)
_IMPORTED: Final = re.compile(r"""(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*(['"`])([^'"`\n]+)\1""")
_COMPUTED: Final = re.compile(r"\b(?:require|import)\s*\(\s*[^'\"\s)]")
_STARTS_OTHERS: Final = re.compile(r"child_process|\b(?:execa|zx|shelljs|cross-spawn|node-pty)\b")
_BUILT_IN: Final = frozenset(
    (
        *("assert", "async_hooks", "buffer", "child_process", "cluster", "console", "constants", "crypto"),
        *("dgram", "diagnostics_channel", "dns", "domain", "events", "fs", "http", "http2", "https"),
        *("inspector", "module", "net", "os", "path", "perf_hooks", "process", "punycode", "querystring"),
        *("readline", "repl", "stream", "string_decoder", "timers", "tls", "tty", "url", "util", "v8", "vm"),
        *("wasi", "worker_threads", "zlib"),
    )
)


def _check_source(subject: Subject, paths: Sequence[str], package: Mapping[str, Any]) -> bool:
    """Check what the source imports and names; tell whether it may start other programs."""
    sources = [
        one
        for one in paths
        if _TYPESCRIPT.fullmatch(one) and not _TESTS.fullmatch(one) and not one.endswith(".d.ts")
        if not _TOOLS.fullmatch(one)
    ]
    if len(sources) > MOST_FILES:
        raise _UncertainError("there are too many files to read what they import")
    others = {posixpath.basename(one) for one in paths if not _TYPESCRIPT.fullmatch(one)}
    developed = set(section(package, "devDependencies"))
    installed = {*section(package, "dependencies"), *section(package, "optionalDependencies")}
    starts_others = False
    for path in sources:
        content = subject.texts(path)
        if content is None:
            raise _UncertainError(f"{path} cannot be read")
        text = _TYPES_ONLY.sub("", content.decode("utf-8", "replace"))
        _check_imports(path, text, installed)
        for name in sorted(developed - installed):
            if re.search(rf"['\"`]{re.escape(name)}(?:['\"`/])", text):
                raise _UncertainError(f"{path} names {name}, which is a dev dependency")
        for name in sorted(others):
            if name in text:
                raise _UncertainError(f"the program may open {name} when it runs")
        if re.search(r"['\"`](?:\.{0,2}/)?src(?:/|['\"`])|/src/", text):
            raise _UncertainError("the program may open its source when it runs")
        starts_others |= _STARTS_OTHERS.search(text) is not None
    return starts_others


def _check_variables(root: Stage) -> None:
    """Stop at variables that make node load or trust a file before the program."""
    for name, value in (pair for one in root.body if isinstance(one, ins.Env) for pair in one.pairs):
        is_plain = name == "NODE_OPTIONS" and all(_NODE_FLAGS.fullmatch(word) for word in value.split())
        if name in _LOADS_FILES and not is_plain:
            raise _UncertainError(f"{name} may name what only the build's stage has")


_LOADS_FILES: Final = frozenset(
    {"NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)


def _check_helpers(
    subject: Subject, paths: Iterable[str], package: Mapping[str, Any], needed: Mapping[str, bool]
) -> None:
    """Stop where the output may import a package that no line of the source names.

    Settings with `importHelpers` import tslib, and JSX the package of its runtime; any of them, or one that
    they extend, may be the settings of this build.
    """
    named = [*paths, *(one.path for one in subject.paths if one.path.startswith("tsconfig"))]
    texts = [subject.texts(one) or b"" for one in named if re.search(r"tsconfig[\w.-]*\.json$", one)]
    may_help = any(b"importHelpers" in text or b'"extends"' in text for text in texts)
    if may_help and needed.get("node_modules/tslib") is False:
        raise _UncertainError("what tsc writes may import tslib, which is a dev dependency")
    installed = {*section(package, "dependencies"), *section(package, "optionalDependencies")}
    has_markup = any(one.endswith(("tsx", ".jsx")) and not _TESTS.fullmatch(one) for one in paths)
    if has_markup and ("react" not in installed or any(b"jsxImportSource" in text for text in texts)):
        raise _UncertainError("which package the JSX of the source imports is not certain")


def _check_imports(path: str, text: str, installed: set[str]) -> None:
    if _COMPUTED.search(text):
        raise _UncertainError(f"{path} computes what it loads")
    for _, name in _IMPORTED.findall(text):
        if name.startswith((".", "node:")):
            continue
        parts = name.split("/")
        package = "/".join(parts[:2]) if name.startswith("@") else parts[0]
        if package not in installed and package not in _BUILT_IN:
            raise _UncertainError(f"{path} imports {name}, which is no dependency")
