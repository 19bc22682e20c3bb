"""Compilers in the image that is started: kits, sources and caches that only the build needs.

A second stage is proposed where all of this is certain: the command starts one file that the build step
makes, nothing else is installed, the copied files are source and nothing that a program opens when it runs,
and the slim base is of the same system as the kit. Everywhere else the finding stands without a proposal.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.cost.shell import Command, commands_of, positionals, program_name
from devloop.dockerfile import instructions as ins
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import (
    chain,
    chain_steps,
    context_takings,
    image_name,
    image_tag,
    is_above,
    is_development,
    last_of,
    resolved,
)
from devloop.doctor.mentions import copied_files, mentioned
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.rewrite import edit_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import Rule, Subject


@dataclass(frozen=True, slots=True)
class _Kit:
    """An ecosystem: its images, the kinds of steps that build, the programs that would build at the start.

    `sources` are the files that the build alone reads, `runtime_use` texts in them that mean the program
    needs more of the image than its file. `environment` are prefixes of variables that only the build reads.
    """

    name: str
    images: frozenset[str]
    kinds: frozenset[str]
    tools: frozenset[str]
    sources: str
    runtime_use: tuple[str, ...]
    environment: tuple[str, ...]
    megabytes: int


_KITS: tuple[_Kit, ...] = (
    _Kit(
        "Go",
        frozenset({"golang"}),
        frozenset({"go-build"}),
        frozenset({"go", "air", "gow", "reflex", "dlv", "CompileDaemon"}),
        r".*\.go|go\.(mod|sum|work|work\.sum)|vendor/.*|.*/testdata/.*|testdata/.*",
        ('import "C"', "LoadLocation", '"os/exec"', "go:embed", "runtime.GOROOT", '"plugin"'),
        ("CGO_ENABLED", "GO", "XDG_CACHE_HOME"),
        800,
    ),
    _Kit(
        "Rust",
        frozenset({"rust"}),
        frozenset({"cargo-build"}),
        frozenset({"cargo", "bacon", "watchexec"}),
        r".*\.rs|(.*/)?Cargo\.(toml|lock)|rust-toolchain(\.toml)?|\.cargo/.*|(.*/)?(tests|benches)/.*",
        ("process::Command", "dlopen", "libloading"),
        ("CARGO_", "RUST", "SQLX_OFFLINE"),
        1300,
    ),
    _Kit(
        "JVM",
        frozenset({"maven", "gradle"}),
        frozenset({"maven-build", "gradle-build"}),
        frozenset({"mvn", "mvnw", "gradle", "gradlew"}),
        r"(.*/)?src/.*|(.*/)?pom\.xml|mvnw(\.cmd)?|\.mvn/.*|gradlew(\.bat)?|gradle/.*|.*\.gradle(\.kts)?"
        r"|gradle\.properties",
        ("javax.tools", "ToolProvider", "ProcessBuilder", "Runtime.getRuntime().exec"),
        ("MAVEN_", "GRADLE_"),
        250,
    ),
    _Kit(
        ".NET",
        frozenset({"sdk"}),
        frozenset({"dotnet-build"}),
        frozenset({"watch", "run"}),
        r".*\.(cs|fs|vb|csproj|fsproj|sln|slnx|props|targets|razor|cshtml|resx|json|config)|(.*/)?wwwroot/.*",
        ("Process.Start", "Microsoft.CodeAnalysis", "MSBuildLocator"),
        ("DOTNET_CLI_", "DOTNET_NOLOGO", "NUGET_", "DOTNET_SKIP"),
        600,
    ),
    _Kit(
        "Node",
        frozenset({"node", "bun"}),
        frozenset({"js-build"}),
        frozenset({"npm", "yarn", "pnpm", "npx", "nodemon", "tsx", "ts-node", "vite", "next", "nest"}),
        r"(?!)",
        (),
        (),
        200,
    ),
)
_PROSE = re.compile(
    r"(README|CHANGELOG|LICENSE|LICENCE|NOTICE|CONTRIBUTING|CODE_OF_CONDUCT|AUTHORS)(\.\w+)?|.*\.md|(GNU)?[Mm]akefile"
    r"|[Dd]ockerfile[\w.-]*|[\w.-]*\.dockerignore|(docker-)?compose[\w.-]*\.ya?ml|\.git(ignore|attributes|hub/.*|/.*)"
    r"|\.editorconfig|\.golangci\.ya?ml|\.pre-commit-config\.yaml|\.gitlab-ci\.yml|\.vscode/.*|\.idea/.*"
)


def build_tools(subject: Subject) -> Iterator[Finding]:
    """Find a target that stands on a kit and compiles: the kit and all it fetched go where the image goes.

    A target for development is meant to hold its tools, and so is one that compiles when it starts.
    """
    graph = subject.model.graph
    root = graph.stage(chain(graph, graph.target)[-1])
    kit = _kit_of(root)
    if kit is None or is_development(subject):
        return
    builds = [
        step
        for step in chain_steps(graph, graph.target)
        if not step.is_trigger and _is_build(subject, step, kit)
    ]
    words = _started(subject)
    if not builds or not words or kit.tools & {program_name(word) for word in words[:3]}:
        return
    last = builds[-1]
    proposal, stops = _second_stage(subject, kit, root, last, words)
    yield Finding(
        code="no-builder-stage",
        title=f"the image holds the whole {kit.name} kit",
        first_line=last.span.first,
        last_line=last.span.last,
        why=f"compilers, sources and what was fetched to build stay in the image, some {kit.megabytes} MB "
        "that each export, push and pull carries",
        way_out="build in a stage of its own, and COPY --from=build what is started into a slim one",
        category="size",
        proposal=proposal,
        bytes=kit.megabytes * 1_000_000,
        stops=stops,
    )


def _kit_of(stage: Stage) -> _Kit | None:
    if stage.base != "image":
        return None
    name, tag = image_name(stage.base_reference), image_tag(stage.base_reference)
    if name in {"eclipse-temurin", "openjdk", "amazoncorretto"} and "jre" not in tag:
        return next(kit for kit in _KITS if kit.name == "JVM")
    if name == "sdk" and "dotnet" not in stage.base_reference:
        return None
    return next((kit for kit in _KITS if name in kit.images), None)


def _is_build(subject: Subject, step: Step, kit: _Kit) -> bool:
    """Tell whether a step builds; of .NET also the publish that follows a restore, which is cheap."""
    classification = subject.steps[step.number].classification
    if classification is None:
        return False
    text = subject.steps[step.number].cost.command
    is_publish = kit.name == ".NET" and re.search(r"\bdotnet (publish|build)\b", text) is not None
    is_test = re.search(r"\bgo (test|vet|generate)\b|\bcargo (test|clippy|check)\b", text) is not None
    return (is_publish or not kit.kinds.isdisjoint(classification.kinds)) and not is_test


def _started(subject: Subject) -> tuple[str, ...]:
    """Return the words that the image starts; nothing where a base decides that."""
    graph = subject.model.graph
    entry, command = last_of(graph, ins.Entrypoint), last_of(graph, ins.Cmd)
    words: list[str] = []
    for found in (entry, command):
        if found is None:
            continue
        given = found[1].command
        if isinstance(given, tuple):
            words += given
        elif found is entry or entry is None:
            try:
                words += shlex.split(given)
            except ValueError:
                return ()
    return tuple(words[1:] if words[:1] == ["exec"] else words)


# --- the proposal ------------------------------------------------------------------------------------------


def _second_stage(
    subject: Subject, kit: _Kit, root: Stage, last: Step, words: Sequence[str]
) -> tuple[Proposal | None, str]:
    """Return the edits that split the stage behind its last build, else what is not certain."""
    graph = subject.model.graph
    if _slim_base(kit, root.base_reference) is None:
        return None, "which slim base fits is not certain"
    if len(chain(graph, graph.target)) > 1 or graph.target != _last_stage(subject):
        return None, "the image is made of several stages already"
    problem = _uncertainty(subject, kit, root, last)
    if problem:
        return None, problem
    needed = _needed(subject, kit, last, words)
    if needed is None:
        return None, "which file of the build is started is not certain"
    origin = next(
        one for one in subject.dockerfile.instructions if isinstance(one, ins.From) and one.span == root.span
    )
    alias = origin.alias or "build"
    edits: list[LineEdit] = []
    if origin.alias is None:
        if any(isinstance(one, ins.From) and one.alias == alias for one in subject.dockerfile.instructions):
            return None, "the name of the stage is taken"
        text = text_of(subject, origin)
        body = text.rstrip("\r\n \t")
        edit = edit_of(subject, origin, f"{body} AS build{text[len(text.rstrip(chr(13) + chr(10))) :]}")
        if edit is None or subject.dockerfile.escape in body[-1:]:
            return None, "the stage is written in an unusual way"
        edits.append(edit)
    edits.append(_stage_text(subject, kit, last, alias, needed))
    return Proposal(tuple(edits), intends=frozenset({"stage"})), ""


def _last_stage(subject: Subject) -> int:
    return sum(isinstance(one, ins.From) for one in subject.dockerfile.instructions) - 1


def _stage_text(subject: Subject, kit: _Kit, last: Step, alias: str, path: str) -> LineEdit:
    end = line_end(subject.source)
    root = subject.model.graph.stage(last.stage)
    lines = ["", f"FROM {_slim_base(kit, root.base_reference)}"]
    if last.workdir != "/":
        lines.append(f"WORKDIR {last.workdir}")
    if kit.name in {"Go", "Rust"}:
        # The kits come with them, slim bases do not.
        place = "/etc/ssl/certs/ca-certificates.crt"
        lines.append(f"COPY --from={alias} {place} {place}")
    lines.append(f"COPY --from={alias} {path} {path}")
    text = b"".join(line.encode("utf-8", "surrogateescape") + end for line in lines)
    if last.span.last == subject.source.count(b"\n") + 1:
        text = end + text
    return LineEdit(last.span.last + 1, last.span.last, text)


def _uncertainty(subject: Subject, kit: _Kit, root: Stage, last: Step) -> str:
    for one in root.body:
        is_above_build = one.span.first < last.span.first
        if isinstance(one, ins.Run) and not is_above_build and one is not last.instruction:
            return f"line {one.span.first} runs in the image after the build"
        if not is_above_build or isinstance(one, ins.Run | ins.Copy | ins.Add | ins.Workdir | ins.Arg):
            continue
        if isinstance(one, ins.Env) and all(name.startswith(kit.environment) for name, _ in one.pairs):
            continue
        return f"line {one.span.first} sets what the new stage would have to set again"
    for step in chain_steps(subject.model.graph, root.index):
        if isinstance(step.instruction, ins.Run) and not _is_only_building(subject, step, kit):
            return f"what line {step.span.first} installs or writes may be needed when the image runs"
    return _runtime_files(subject, kit)


_FAMILIES: Mapping[str, frozenset[str]] = {
    "Go": frozenset({"go"}),
    "Rust": frozenset({"cargo"}),
    "JVM": frozenset({"maven", "gradle"}),
    ".NET": frozenset({"dotnet"}),
}
_CARRIES = frozenset({"cp", "mv", "install", "strip", "mkdir", "chmod", "rm", "touch", "echo"})


def _is_only_building(subject: Subject, step: Step, kit: _Kit) -> bool:
    one = subject.steps[step.number].classification
    if one is None or {"opaque", "unknown"} & set(one.kinds):
        return False
    families = _FAMILIES.get(kit.name, frozenset())
    programs = {command.program for command in commands_of(subject.steps[step.number].cost.command)}
    tools = {"go", "cargo", "mvn", "mvnw", "gradle", "gradlew", "dotnet", "rustup"}
    return set(one.families) <= families and programs <= tools | _CARRIES


def _runtime_files(subject: Subject, kit: _Kit) -> str:
    graph = subject.model.graph
    takings = [taken for step in chain_steps(graph, graph.target) for taken in context_takings(graph, step)]
    copied = copied_files(subject, takings)
    for one in copied:
        name = one.path.rpartition("/")[2]
        if not (re.fullmatch(kit.sources, one.path) or _PROSE.fullmatch(one.path) or _PROSE.fullmatch(name)):
            return f"the program may open {one.path} when it runs"
    used = mentioned(subject, kit.runtime_use)
    if used:
        return f"the source says {min(used)}, which needs more than the program's file"
    if kit.name == "Rust":
        lock = (subject.texts("Cargo.lock") or b"").decode("utf-8", "replace")
        names = re.findall(r'^name = "([\w-]+-sys)"', lock, re.MULTILINE)
        linked = [name for name in names if name not in _WITHOUT_LIBRARY]
        if linked:
            return f"{linked[0]} may link a library that a slim base lacks"
    return ""


_WITHOUT_LIBRARY = frozenset(
    {"linux-raw-sys", "windows-sys", "js-sys", "web-sys", "core-foundation-sys", "security-framework-sys"}
    | {"dirs-sys", "errno-dragonfly", "fsevent-sys", "inotify-sys", "kqueue-sys"}
)


def _slim_base(kit: _Kit, reference: str) -> str | None:
    """Return the slim image of the same system; None where the tag does not tell for sure."""
    name, tag = image_name(reference), image_tag(reference)
    if reference.partition("@")[0].count("/") and kit.name != ".NET":
        return None  # not an official image
    if kit.name in {"Go", "Rust"}:
        return _system_of(kit.name, tag)
    if kit.name == ".NET":
        found = re.fullmatch(r"(\d+\.\d+)(-[\w.-]+)?", tag)
        host = reference.partition("/sdk")[0]
        return f"{host}/aspnet:{found[1]}{found[2] or ''}" if found is not None else None
    if kit.name == "JVM":
        java = re.search(r"(?:eclipse-temurin-|jdk-?)(\d+)", tag)
        version = java[1] if java is not None else ""
        if name == "eclipse-temurin":
            found = re.match(r"(\d+)", tag)
            version = found[1] if found is not None else ""
        elif name not in {"maven", "gradle"} or (name == "maven" and "eclipse-temurin" not in tag):
            return None
        alpine = "-alpine" if "alpine" in tag else ""
        return f"eclipse-temurin:{version}-jre{alpine}" if version else None
    return None


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


_ON_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def _needed(subject: Subject, kit: _Kit, last: Step, words: Sequence[str]) -> str | None:
    """Return the file that is started, if the last build step makes it and leaves it in its layer."""
    outputs = _outputs(subject, kit, last)
    program = words[0] if words else ""
    if kit.name in {"JVM", ".NET"}:
        file = _managed_file(kit, words)
        if file is None:
            return None
        path = resolved(file, last.workdir)
        folder = next((one for one in outputs if one != path and is_above(one, path)), None)
        if kit.name == ".NET":
            return folder if folder is not None and folder != "/" else None
        return path if path in outputs or folder is not None else None
    if "/" in program:
        path = resolved(program, last.workdir)
        is_made = path in outputs or any(one.endswith("/") and is_above(one[:-1], path) for one in outputs)
        return path if is_made else None
    made = [one for one in outputs if posixpath.basename(one) == program]
    return made[0] if made and posixpath.dirname(made[0]) in _ON_PATH else None


def _managed_file(kit: _Kit, words: Sequence[str]) -> str | None:
    """Return the jar or the assembly that is started."""
    if kit.name == "JVM":
        at = next((n for n, word in enumerate(words) if word == "-jar"), None)
        is_java = bool(words) and program_name(words[0]) == "java"
        file = words[at + 1] if is_java and at is not None and at + 1 < len(words) else None
    else:
        is_dotnet = len(words) > 1 and program_name(words[0]) == "dotnet" and words[1].endswith(".dll")
        file = words[1] if is_dotnet else None
    return file if file is not None and not re.search(r"[*?$]", file) else None


def _outputs(subject: Subject, kit: _Kit, last: Step) -> list[str]:
    """List the absolute paths that a build step makes; a folder that holds them ends in a slash."""
    run = last.instruction
    folder = last.workdir
    found: list[str] = []
    commands = commands_of(subject.steps[last.number].cost.command)
    for command in commands:
        here = resolved(command.directory or "", folder)
        if command.program in {"cp", "mv", "install"}:
            found += _carried(command, here)
        elif kit.name == "Go" and command.program == "go":
            found += _named_outputs(command, ("-o",), here, keeps_slash=True)
        elif kit.name == ".NET" and command.program == "dotnet":
            found += _named_outputs(command, ("-o", "--output"), here, keeps_slash=False)
        elif kit.name == "Rust" and command.program == "cargo" and "--release" in command.arguments:
            found.append(f"{resolved('target/release', here)}/")
        elif kit.name == "JVM" and command.program in {"mvn", "mvnw"}:
            found.append(resolved("target", here))
        elif kit.name == "JVM" and command.program in {"gradle", "gradlew"}:
            found.append(resolved("build/libs", here))
    mounted = [
        resolved(mount.get("target", "dst", "destination") or "", folder)
        for mount in (run.mounts if isinstance(run, ins.Run) else ())
    ]
    return [one for one in found if not any(is_above(place, one.rstrip("/")) for place in mounted)]


def _named_outputs(command: Command, flags: tuple[str, ...], folder: str, *, keeps_slash: bool) -> list[str]:
    arguments = command.arguments
    found: list[str] = []
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in flags:
            text = value if equals else "".join(arguments[at + 1 : at + 2])
            if text and "$" not in text:
                slash = "/" if keeps_slash and text.endswith("/") else ""
                found.append(resolved(text, folder).rstrip("/") + slash)
    return found


def _carried(command: Command, folder: str) -> list[str]:
    plain = positionals(command)
    if len(plain) != 2 or any(re.search(r"[*?$]", word) for word in plain):
        return []
    source, target = plain
    if target.endswith("/") or resolved(target, folder) in _ON_PATH:
        target = posixpath.join(target, posixpath.basename(source))
    return [resolved(target, folder)]


# --- compilers that a package manager brought --------------------------------------------------------------

_COMPILERS = re.compile(r"build-essential|build-base|alpine-sdk|g(cc|\+\+)(-\d+)?|clang(-\d+)?|cargo|rustc")


def installed_compiler(subject: Subject) -> Iterator[Finding]:
    """Find a compiler that is installed into the final image and not taken out in the same step."""
    graph = subject.model.graph
    root = graph.stage(chain(graph, graph.target)[-1])
    if is_development(subject) or root.base != "image" or _kit_of(root) is not None:
        return
    for step in chain_steps(graph, graph.target):
        if not isinstance(step.instruction, ins.Run) or step.is_trigger:
            continue
        text = subject.steps[step.number].cost.command
        for command in commands_of(text):
            is_install = command.program in {"apt-get", "apt", "apk", "dnf", "yum", "microdnf"} and (
                {"install", "add"} & set(command.arguments)
            )
            named = [word for word in positionals(command) if _COMPILERS.fullmatch(word)]
            if not is_install or not named or re.search(r"\b(purge|remove|autoremove|apk del|erase)\b", text):
                continue
            yield Finding(
                code="no-builder-stage",
                title=f"{named[0]} stays in the image",
                first_line=step.span.first,
                last_line=step.span.last,
                why="a compiler is needed to build, and from then on each export, push and pull carries some "
                "250 MB of it",
                way_out="compile in a stage of its own and copy the result (a virtual environment, wheels, a "
                "program), or install and remove it in one step with what it builds",
                category="size",
                bytes=250_000_000,
                stops="what of the build the image needs is not certain",
            )
            return


RULES: tuple[Rule, ...] = (build_tools, installed_compiler)
