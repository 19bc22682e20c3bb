"""Compilers in the image that is started: kits, sources and caches that only the build needs.

A second stage is proposed where all of this is certain: the command starts one file that the build step
makes, nothing else is installed, the copied files are source and nothing that a program opens when it runs,
and the slim base is of the same system as the kit. Everywhere else the finding stands without a proposal.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from devloop.cost.shell import Command, commands_of, positionals, program_name
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import MAIN_CONTEXT, FromContext, FromRemote
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import (
    chain,
    chain_steps,
    context_takings,
    image_tag,
    is_above,
    is_development,
    last_of,
    resolved,
    start_folder,
)
from devloop.doctor.kits import DOTNET, GO, JVM, NODE, PROSE, RUST, C, Kit, kit_of, slim_base
from devloop.doctor.mentions import copied_files, mentioned
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.rewrite import text_of
from devloop.doctor.stage_names import renamed
from devloop.doctor.stage_uses import names_what_is_left, used_by_others
from devloop.doctor.stages_node import Runtime, node_runtime_of, serves_static, started_by_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import ContextFile, Rule, Subject


def build_tools(subject: Subject) -> Iterator[Finding]:
    """Find a target that stands on a kit and compiles: the kit and all it fetched go where the image goes.

    A target for development is meant to hold its tools, and so is one that compiles when it starts.
    """
    graph = subject.model.graph
    root = graph.stage(chain(graph, graph.target)[-1])
    kit = kit_of(root)
    if kit is None or is_development(subject):
        return
    builds = [
        step
        for step in chain_steps(graph, graph.target)
        if not step.is_trigger and _is_build(subject, step, kit)
    ]
    words = _started(subject)
    if kit is NODE:
        words = started_by_script(subject, words)
    is_static = kit is NODE and serves_static(words)
    builds_at_start = kit.tools & {program_name(word) for word in words[:3]} and not is_static
    if not builds or not words or builds_at_start:
        return
    last = builds[-1]
    proposal, stops = _second_stage(subject, kit, root, last, words)
    if is_static:
        proposal, stops = None, "which web server takes over the built files is a choice"
    yield Finding(
        code="no-builder-stage",
        title=f"the image holds the whole {kit.name} kit",
        first_line=last.span.first,
        last_line=last.span.last,
        why="compilers, sources and what was fetched to build stay in the image, and each export, push and"
        " pull carries them",
        way_out="build in a stage of its own, and COPY --from=build what is started into a slim one",
        category="size",
        proposal=proposal,
        bytes=kit.megabytes * 1_000_000,
        stops=stops,
    )


def _is_build(subject: Subject, step: Step, kit: Kit) -> bool:
    """Tell whether a step builds; of .NET also the publish that follows a restore, which is cheap."""
    classification = subject.steps[step.number].classification
    if classification is None:
        return False
    text = subject.steps[step.number].cost.command
    if kit is C:
        return any(command.program in kit.tools for command in commands_of(text))
    is_publish = kit is DOTNET and re.search(r"\bdotnet (publish|build)\b", text) is not None
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
    subject: Subject, kit: Kit, root: Stage, last: Step, words: Sequence[str]
) -> tuple[Proposal | None, str]:
    """Return the edits that split the stage behind its last build, else what is not certain."""
    graph = subject.model.graph
    origin = next(
        one for one in subject.dockerfile.instructions if isinstance(one, ins.From) and one.span == root.span
    )
    if "$" in origin.image or origin.platform is not None:
        return None, "a variable or a platform decides about the base"
    if kit is not NODE and slim_base(kit, root.base_reference) is None:
        return None, "which slim base fits is not certain"
    if len(chain(graph, graph.target)) > 1 or graph.target != _last_stage(subject):
        return None, "the image is made of several stages already"
    problem = used_by_others(subject) or _uncertainty(subject, kit, root, last)
    if problem:
        return None, problem
    runtime = _runtime(subject, kit, root, last, words)
    if isinstance(runtime, str):
        return None, runtime
    problem = _side_effects(subject, kit, last, runtime.started)
    problem = problem or names_what_is_left(root, last, words, start_folder(subject), runtime.copied)
    if problem:
        return None, problem
    named = _named_builder(subject, origin)
    if isinstance(named, str):
        return None, named
    edit, builder, name = named
    again = _set_again(kit, root, last)
    stage = _stage_text(subject, last, runtime, again, (builder, name))
    edits = (stage,) if edit is None else (edit, stage)
    return Proposal(edits, intends=frozenset({"stage"})), ""


def _last_stage(subject: Subject) -> int:
    return sum(isinstance(one, ins.From) for one in subject.dockerfile.instructions) - 1


_BUILDERS = frozenset({"build", "builder", "building", "compile", "compiler"})


def _named_builder(subject: Subject, origin: ins.From) -> tuple[LineEdit | None, str, str] | str:
    """Return the edit that names the stage of the build, this name, and the one that the last stage takes.

    The name of a stage goes with the image that is started, for somebody may ask for that target.
    """
    if origin.alias in _BUILDERS:
        return None, origin.alias or "", ""
    found = renamed(subject, origin, "build")
    return found if isinstance(found, str) else (found[0], "build", found[1])


def _runtime(subject: Subject, kit: Kit, root: Stage, last: Step, words: Sequence[str]) -> Runtime | str:
    """Return what the last stage consists of, else what is not certain about it."""
    if kit is NODE:
        return node_runtime_of(subject, root, last, words)
    base = slim_base(kit, root.base_reference) or ""
    problem = _runtime_files(subject, kit, last) or _time_zone(kit, root, base)
    if problem:
        return problem
    needed = _needed(subject, kit, last, words)
    if needed is None:
        return "which file of the build is started is not certain"
    problem = _content_root(subject, needed) if kit is DOTNET else ""
    if problem:
        return problem
    # The kits come with certificates, slim bases do not.
    places = ("/etc/ssl/certs/ca-certificates.crt", needed) if kit in {GO, RUST} else (needed,)
    return Runtime(base, needed, places, steps=_ports(subject, kit, root, words))


def _stage_text(
    subject: Subject,
    last: Step,
    runtime: Runtime,
    again: Sequence[ins.Instruction],
    names: tuple[str, str],
) -> LineEdit:
    end = line_end(subject.source)
    builder, name = names
    lines = ["", f"FROM {runtime.base} AS {name}" if name else f"FROM {runtime.base}"]
    if last.workdir != "/":
        lines.append(f"WORKDIR {last.workdir}")
    text = b"".join(line.encode("utf-8", "surrogateescape") + end for line in lines)
    for one in (*again, *runtime.repeated):
        text += _whole_lines(text_of(subject, one), end)
    for script in runtime.steps:
        text += _whole_lines(script, end)
    for path in runtime.copied:
        text += f"COPY --from={builder} {path} {path}".encode("utf-8", "surrogateescape") + end
    if last.span.last == subject.source.count(b"\n") + 1:
        text = end + text
    return LineEdit(last.span.last + 1, last.span.last, text)


def _whole_lines(text: str, end: bytes) -> bytes:
    return text.rstrip("\r\n").encode("utf-8", "surrogateescape") + end


# --- what is not certain -----------------------------------------------------------------------------------

_SET_AGAIN = (ins.Env, ins.Label, ins.Expose, ins.StopSignal)


def _set_again(kit: Kit, root: Stage, last: Step) -> list[ins.Instruction]:
    """Return what stands above the build and holds for the program as well."""
    return [
        one
        for one in root.body
        if one.span.first < last.span.first
        and isinstance(one, _SET_AGAIN)
        and not (isinstance(one, ins.Env) and _is_for_building(kit, one))
    ]


def _is_for_building(kit: Kit, one: ins.Env) -> bool:
    return all(kit.is_for_building(name) for name, _ in one.pairs)


def _uncertainty(subject: Subject, kit: Kit, root: Stage, last: Step) -> str:
    text = "\n".join(text_of(subject, one) for one in root.body if isinstance(one, ins.Cmd | ins.Entrypoint))
    if any(isinstance(_command(one), str) for one in root.body) and re.search(r"[|&;<>()`]|\$\(", text):
        return "what the shell starts besides is not certain"
    dropped: set[str] = set()
    for one in root.body:
        problem = _line_uncertainty(subject, kit, one, last, dropped)
        if problem:
            return problem
    if kit.starts_elsewhere and not any(isinstance(one, ins.Workdir) for one in root.body):
        return "in which folder the base starts is not certain"
    for step in chain_steps(subject.model.graph, root.index):
        if step.number > last.number:
            continue
        one = step.instruction
        if isinstance(one, ins.Workdir) and not is_above(step.workdir, last.workdir):
            return f"line {step.span.first} makes a folder that the program may need"
        if isinstance(one, ins.Copy | ins.Add) and not _is_of_root(kit, one):
            return f"line {step.span.first} gives a folder to the user that the program may run as"
        # Of Node each step is looked at on its own.
        is_known = kit is NODE or not isinstance(one, ins.Run)
        if not is_known and not _is_only_building(subject, step, kit):
            return f"what line {step.span.first} installs or writes may be needed when the image runs"
        if isinstance(one, ins.Copy | ins.Add) and _is_from_elsewhere(subject, step):
            return f"what line {step.span.first} brings may be needed when the image runs"
    return _unset_variable(subject, kit, root, last)


def _is_of_root(kit: Kit, one: ins.Copy | ins.Add) -> bool:
    """Tell whether a copy makes no folder that somebody else may write to; for Node WORKDIR makes it."""
    return kit is NODE or re.fullmatch(r"(?:0|root)?(?::(?:0|root))?", one.chown or "") is not None


def _unset_variable(subject: Subject, kit: Kit, root: Stage, last: Step) -> str:
    """Say which line below the build uses a variable that only the kit's own image may set."""
    if kit is NODE:
        return ""
    known = {"PATH"}
    for one in root.body:
        is_below = one.span.first > last.span.first
        if isinstance(one, ins.Env):
            known.update(name for name, _ in one.pairs)
        elif isinstance(one, ins.Arg) and is_below:
            known.update(name for name, _ in one.items)
        elif is_below and not isinstance(one, ins.Cmd | ins.Entrypoint):
            unset = set(re.findall(r"\$\{?(\w+)", text_of(subject, one))) - known
            if unset:
                return f"line {one.span.first} uses {min(unset)}, which the build's stage sets"
    return ""


def _command(one: ins.Instruction) -> str | tuple[str, ...] | None:
    return one.command if isinstance(one, ins.Cmd | ins.Entrypoint) else None


def _line_uncertainty(subject: Subject, kit: Kit, one: ins.Instruction, last: Step, dropped: set[str]) -> str:
    """Say what is not certain about one line; `dropped` collects what the new stage would not know."""
    line = one.span.first
    if isinstance(one, ins.Healthcheck) and not _is_safe_check(kit, one):
        return f"the check of line {line} may start a program that a slim base lacks"
    if line > last.span.first:
        if isinstance(one, ins.Run):
            return f"line {line} runs in the image after the build"
        if not _has_account(kit, one):
            return f"line {line} names an account that a slim base may lack"
        # The shell of CMD reads variables when it runs; all others are filled in when it is built.
        names = set(re.findall(r"\$\{?(\w+)", text_of(subject, one)))
        used = names & dropped if not isinstance(one, ins.Cmd | ins.Entrypoint) else set[str]()
        return f"line {line} uses {min(used)}, which the build's stage sets" if used else ""
    if isinstance(one, ins.Arg):
        dropped.update(name for name, _ in one.items)
    elif isinstance(one, ins.Env) and _is_for_building(kit, one):
        dropped.update(name for name, _ in one.pairs)
    elif isinstance(one, _SET_AGAIN):
        if "$" in text_of(subject, one):
            return f"line {line} sets what the new stage would have to set again"
    elif not isinstance(one, ins.Run | ins.Copy | ins.Add | ins.Workdir):
        return f"line {line} sets what the new stage would have to set again"
    return ""


def _has_account(kit: Kit, one: ins.Instruction) -> bool:
    """Tell whether every slim base has the accounts that a line names; node is one of Node alone."""
    text = ""
    if isinstance(one, ins.User):
        text = one.user
    elif isinstance(one, ins.Copy | ins.Add):
        text = one.chown or ""
    known = r"\d+|root|node" if kit is NODE else r"\d+|root"
    return re.fullmatch(rf"(?:{known}|nobody)?(?::(?:{known}))?", text) is not None


def _is_safe_check(kit: Kit, one: ins.Healthcheck) -> bool:
    """Tell whether a check is switched off, or starts node, which both images have."""
    return one.command is None or (kit is NODE and one.command[:1] == ("node",))


def _is_from_elsewhere(subject: Subject, step: Step) -> bool:
    """Tell whether a copy takes from another stage, another image, the network or the Dockerfile itself."""
    graph = subject.model.graph
    if step.vertex is None or (
        isinstance(step.instruction, ins.Copy | ins.Add) and step.instruction.heredocs
    ):
        return True
    return any(
        isinstance(entry.producer, FromRemote)
        or (entry.taken and entry.producer != FromContext(MAIN_CONTEXT))
        for entry in graph.vertices[step.vertex].inputs
    )


_FAMILIES: Mapping[str, frozenset[str]] = {
    "Go": frozenset({"go"}),
    "Rust": frozenset({"cargo"}),
    "JVM": frozenset({"maven", "gradle"}),
    ".NET": frozenset({"dotnet"}),
}
_TOOLS = frozenset(
    {"go", "cargo", "mvn", "mvnw", "gradle", "gradlew", "dotnet", "rustup", "npm", "npx", "tsc"}
)
_CARRIES = frozenset({"cp", "mv", "install", "strip", "mkdir", "chmod", "rm", "true"})


def _is_only_building(subject: Subject, step: Step, kit: Kit) -> bool:
    one = subject.steps[step.number].classification
    text = subject.steps[step.number].cost.command
    if one is None or {"opaque", "unknown"} & set(one.kinds) or re.search(r"(?<![0-9&])>", text):
        return False
    families = _FAMILIES.get(kit.name, frozenset())
    commands = commands_of(text)
    programs = {command.program for command in commands}
    installs = any(command.words[1:2] in _MAKES_OTHERS.get(command.program, ()) for command in commands)
    return set(one.families) <= families and programs <= _TOOLS | _CARRIES and not installs


# A program or a certificate of its own, which somebody may start or read in the image.
_MAKES_OTHERS: Mapping[str, tuple[tuple[str], ...]] = {
    "go": (("install",), ("get",)),
    "cargo": (("install",), ("binstall",)),
    "dotnet": (("tool",), ("dev-certs",), ("workload",), ("new",)),
}


def _side_effects(subject: Subject, kit: Kit, last: Step, needed: str) -> str:
    """Say which command leaves something that is not taken over: a folder, another copy, another mode."""
    graph = subject.model.graph
    if kit is NODE:
        return ""
    for step in chain_steps(graph, last.stage):
        if step.number > last.number or not isinstance(step.instruction, ins.Run):
            continue
        made = _outputs(subject, kit, step) if kit is GO else []
        if any(not is_above(needed, one.rstrip("/")) for one in made):
            return f"line {step.span.first} makes more than the program that is started"
        for command in commands_of(subject.steps[step.number].cost.command):
            here = resolved(command.directory or "", step.workdir)
            plain = [resolved(word, here) for word in positionals(command)]
            if command.program == "mkdir":
                kept = all(is_above(path, needed) or is_above(path, last.workdir) for path in plain)
            elif command.program in {"cp", "mv", "install"}:
                kept = all(is_above(path, needed) for path in _carried(command, here)) and len(plain) == 2
            elif command.program == "chmod":
                kept = set(plain[1:]) <= {needed}
            else:
                kept = True
            if not kept:
                return f"what line {step.span.first} installs or writes may be needed when the image runs"
    return ""


def _runtime_files(subject: Subject, kit: Kit, last: Step) -> str:
    graph = subject.model.graph
    takings = [
        taken
        for step in chain_steps(graph, graph.target)
        if step.number <= last.number
        for taken in context_takings(graph, step)
    ]
    copied = copied_files(subject, takings)
    for one in copied:
        name = one.path.rpartition("/")[2]
        if not (re.fullmatch(kit.sources, one.path) or PROSE.fullmatch(one.path) or PROSE.fullmatch(name)):
            return f"the program may open {one.path} when it runs"
    used = mentioned(subject, kit.runtime_use)
    if used:
        return f"the source says {min(used)}, which needs more than the program's file"
    sources = ('"src"', '"src/', '"./src/', "file:src/", "file:./src/", f"{last.workdir.rstrip('/')}/src/")
    if kit is JVM and mentioned(subject, sources):
        return "the program may open a file of its source when it runs"
    if kit is GO and _names_testdata(subject, copied):
        return "the program may open a file of testdata when it runs"
    if kit is RUST:
        programs = [one.path for one in copied if re.fullmatch(r"(.*/)?src/(main|bin/.*)\.rs", one.path)]
        if len(programs) > 1 or mentioned(subject, ("[[bin]]",)):
            return "the build makes more programs than the one that is started"
        if "crt-static" in subject.source.decode("utf-8", "replace") or mentioned(subject, ("crt-static",)):
            return "how the program is linked is not certain"
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


def _ports(subject: Subject, kit: Kit, root: Stage, words: Sequence[str]) -> tuple[str, ...]:
    """Return the lines that leave the port of a .NET web program to itself, as the kit's image does."""
    if kit is not DOTNET or not mentioned(subject, ("Microsoft.NET.Sdk.Web",)):
        return ()
    names = {name for one in root.body if isinstance(one, ins.Env) for name, _ in one.pairs}
    is_set = names & {"ASPNETCORE_URLS", "ASPNETCORE_HTTP_PORTS", "DOTNET_URLS", "URLS"}
    if is_set or any(word.startswith("--urls") for word in words):
        return ()
    major = int(image_tag(root.base_reference).partition(".")[0])
    name = "ASPNETCORE_HTTP_PORTS" if major >= 8 else "ASPNETCORE_URLS"
    return ("# The program chooses its port, as in the image of the SDK.", f"ENV {name}=")


def _names_testdata(subject: Subject, copied: Sequence[ContextFile]) -> bool:
    """Tell whether a file of Go that is no test names a folder for tests."""
    if not any(re.fullmatch(r"(.*/)?testdata/.*", one.path) for one in copied):
        return False
    return any(
        b"testdata" in (subject.texts(one.path) or b"testdata")
        for one in copied
        if one.path.endswith(".go") and not one.path.endswith("_test.go") and "testdata/" not in one.path
    )


def _time_zone(kit: Kit, root: Stage, base: str) -> str:
    """Say that a zone is set which the slim base has no rules of; the kits have their own."""
    is_set = any(name == "TZ" for one in root.body if isinstance(one, ins.Env) for name, _ in one.pairs)
    has_zones = kit not in {GO, RUST} or base in {"debian:bookworm-slim", "debian:bullseye-slim"}
    return "" if has_zones or not is_set else "TZ is set, and the slim base may have no time zones"


_SETTINGS = re.compile(r"(?:.*/)?(?:wwwroot/.*|[\w.-]+\.(?:json|config|cshtml))")
_OF_THE_BUILD = re.compile(
    r"(?:.*/)?(?:global\.json|launchSettings\.json|packages\.lock\.json|[Nn]u[Gg]et\.[Cc]onfig|dotnet-tools\.json)"
)


def _content_root(subject: Subject, output: str) -> str:
    """Say which file a .NET program may read from the folder it starts in, where that is not the output's."""
    if is_above(output, start_folder(subject)):
        return ""
    for one in copied_files(subject):
        if _SETTINGS.fullmatch(one.path) and not _OF_THE_BUILD.fullmatch(one.path):
            return f"the program may open {one.path} in the folder that it starts in"
    return ""


# --- what is started ---------------------------------------------------------------------------------------

_ON_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def _needed(subject: Subject, kit: Kit, last: Step, words: Sequence[str]) -> str | None:
    """Return the file that is started, if the last build step makes it and leaves it in its layer."""
    outputs = _outputs(subject, kit, last)
    program = words[0] if words else ""
    if kit in {JVM, DOTNET}:
        file = _managed_file(kit, words)
        if file is None:
            return None
        path = resolved(file, start_folder(subject))
        folder = next((one for one in outputs if one != path and is_above(one, path)), None)
        if kit is DOTNET:
            return folder if folder is not None and folder != "/" else None
        # A jar in a folder of its own (Quarkus) has its libraries beside it.
        return path if path in outputs or folder == posixpath.dirname(path) else None
    if "/" in program:
        path = resolved(program, start_folder(subject))
        folder = next((one[:-1] for one in outputs if one.endswith("/") and is_above(one[:-1], path)), None)
        if folder is not None and kit is GO:
            # `go build -o bin/` may write more than one program there.
            return folder if folder not in {*_ON_PATH, last.workdir, "/"} else None
        return path if path in outputs or folder is not None else None
    made = [one for one in outputs if posixpath.basename(one) == program]
    return made[0] if made and posixpath.dirname(made[0]) in _ON_PATH else None


def _managed_file(kit: Kit, words: Sequence[str]) -> str | None:
    """Return the jar or the assembly that is started."""
    if kit is JVM:
        at = next((n for n, word in enumerate(words) if word == "-jar"), None)
        is_java = bool(words) and program_name(words[0]) == "java"
        file = words[at + 1] if is_java and at is not None and at + 1 < len(words) else None
    else:
        is_dotnet = len(words) > 1 and program_name(words[0]) == "dotnet" and words[1].endswith(".dll")
        file = words[1] if is_dotnet else None
    return file if file is not None and not re.search(r"[*?$]", file) else None


def _outputs(subject: Subject, kit: Kit, last: Step) -> list[str]:
    """List the absolute paths that a build step makes; a folder that holds them ends in a slash."""
    run = last.instruction
    folder = last.workdir
    found: list[str] = []
    commands = commands_of(subject.steps[last.number].cost.command)
    for command in commands:
        here = resolved(command.directory or "", folder)
        if command.program in {"cp", "mv", "install"}:
            found += _carried(command, here)
        elif kit is GO and command.program == "go":
            found += _named_outputs(command, ("-o",), here, keeps_slash=True)
        elif kit is DOTNET and command.program == "dotnet":
            found += _named_outputs(command, ("-o", "--output"), here, keeps_slash=False)
        elif kit is RUST and command.program == "cargo" and "--release" in command.arguments:
            found.append(f"{resolved('target/release', here)}/")
        elif kit is JVM and command.program in {"mvn", "mvnw"}:
            found.append(resolved("target", here))
        elif kit is JVM and command.program in {"gradle", "gradlew"}:
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
    if is_development(subject) or root.base != "image" or kit_of(root) is not None:
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
