"""Servers that could take up changed files by themselves, where something puts such files under them.

`devloop watch` restarts a process in place, in some sixty milliseconds and the program's own start; beside it
a reloader gains nothing, and one that polls loses. A reloader helps where nobody restarts: compose mounts the
source or syncs it, or the image has no shell for a restart in place. So the finding is about stages that are
meant for work on the code, and about single stages that a compose file puts the source into. For these a
stage `dev` is proposed that has another command and nothing else; the last stage stays the last one.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.cost.shell import program_name
from devloop.dockerfile import instructions as ins
from devloop.doctor.blocks import Blocks
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import (
    DEVELOPMENT_STAGES,
    base_image,
    chain,
    image_name,
    image_tag,
    is_development,
    last_of,
    target_name,
)
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.npm_scripts import MANIFEST, read_object, section
from devloop.doctor.placed import placed_by
from devloop.doctor.rewrite import edit_of, text_of
from devloop.doctor.stage_names import renamed, stage_names
from devloop.doctor.starting import new_text
from devloop.plan.restart import reloads_itself

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from devloop.doctor.model import Rule, Subject

_Instruction = ins.Cmd | ins.Entrypoint
_Words = tuple[str, ...]


class _NotCertainError(Exception):
    """The text says what stands in the way of the change."""


@dataclass(frozen=True, slots=True)
class _Server:
    """A program, the words that make it a server, how it is told to reload, and the words that do."""

    program: str
    needed: tuple[str, ...]
    way: str
    change: Callable[[Subject, _Words, int], _Words]


# --- how each is told --------------------------------------------------------------------------------------


def _append(_subject: Subject, words: _Words, _at: int) -> _Words:
    if "--preload" in words:
        raise _NotCertainError("with --preload the program is not loaded again")
    return (*words, "--reload")


def _after(word: str, flag: str) -> Callable[[Subject, _Words, int], _Words]:
    def change(_subject: Subject, words: _Words, at: int) -> _Words:
        place = words.index(word, at) + 1
        return (*words[:place], flag, *words[place:])

    return change


def _without(flag: str) -> Callable[[Subject, _Words, int], _Words]:
    def change(_subject: Subject, words: _Words, _at: int) -> _Words:
        return tuple(word for word in words if word != flag)

    return change


def _fastapi(_subject: Subject, words: _Words, at: int) -> _Words:
    place = words.index("run", at)
    host = () if "--host" in words else ("--host", "0.0.0.0")  # noqa: S104 - as `fastapi run` has it
    return (*words[:place], "dev", *host, *words[place + 1 :])


_FLASK = re.compile(
    r"""(?:^flask|name = "flask"\nversion = "|"flask": \{[^}]*"version": ")"""
    r"""\s*(?:[=>~]=)?\s*(\d+)\.(\d+)(?:\.(\d+))?""",
    re.IGNORECASE | re.MULTILINE,
)
_LISTS = re.compile(r"(?:.*/)?(?:requirements[\w.-]*\.txt|uv\.lock|poetry\.lock|Pipfile\.lock)")


def _flask(subject: Subject, words: _Words, at: int) -> _Words:
    texts = [subject.texts(one.path) or b"" for one in subject.paths if _LISTS.fullmatch(one.path)]
    found = [one for text in texts for one in _FLASK.findall(text.decode("utf-8", "replace"))]
    if not found or any(tuple(int(part or 0) for part in one) < (2, 2, 3) for one in found):
        raise _NotCertainError(
            "only since 2.2.3 flask run has --debug, and which version it is is not certain"
        )
    return _after("run", "--debug")(subject, _without("--no-reload")(subject, words, at), at)


def _node(subject: Subject, words: _Words, at: int) -> _Words:
    script = next((word for word in words[at + 1 :] if not word.startswith("-")), "")
    plain = posixpath.normpath(script).lstrip("/")
    own = [one.path for one in subject.paths]
    if not script or not any(plain == path or plain.endswith(f"/{path}") for path in own):
        raise _NotCertainError("node starts a file that the image's build makes: an edit needs that build")
    if _watches(base_image(subject.model.graph, subject.model.graph.target)):
        return (*words[: at + 1], "--watch", *words[at + 1 :])
    package = read_object(subject, MANIFEST) or {}
    if "nodemon" in section(package, "dependencies") and words[: at + 1] == ("node",):
        return ("node_modules/.bin/nodemon", *words[1:])
    raise _NotCertainError("which version of node it is is not certain, and --watch is there since 18.11")


def _watches(reference: str) -> bool:
    version = re.match(r"(\d+)(?:\.(\d+))?", image_tag(reference))
    if version is None or image_name(reference) != "node":
        return False
    major, minor = int(version[1]), int(version[2] or 99)
    return major >= 20 or (major == 18 and minor >= 11)


def _not_known(_subject: Subject, _words: _Words, _at: int) -> _Words:
    raise _NotCertainError("a server for development needs the source and all dependencies in the image")


_SERVERS: tuple[_Server, ...] = (
    _Server("uvicorn", (), "uvicorn ... --reload", _append),
    _Server("gunicorn", (), "gunicorn ... --reload", _append),
    _Server("hypercorn", (), "hypercorn ... --reload", _append),
    _Server("fastapi", ("run",), "fastapi dev ...", _fastapi),
    _Server("flask", ("run",), "flask run --debug", _flask),
    _Server("manage.py", ("runserver", "--noreload"), "runserver without --noreload", _without("--noreload")),
    _Server("node", (), "node --watch ...", _node),
    _Server("next", ("start",), "next dev", _not_known),
    _Server("nest", ("start",), "nest start --watch", _after("start", "--watch")),
    _Server("dotnet", ("run",), "dotnet watch run", _after("dotnet", "watch")),
)


# --- what is started ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Start:
    """The instruction that names the server, its own words, and all that the container is started with."""

    instruction: _Instruction
    own: _Words
    whole: _Words


def _own_words(instruction: _Instruction) -> _Words:
    """Return the words of an instruction; of the shell form those that stand there, quotes and all."""
    given = instruction.command
    if isinstance(given, str):
        return tuple(given.split())
    if len(given) == 3 and program_name(given[0]) in {"sh", "bash", "dash", "ash"} and given[1] == "-c":
        return tuple(given[2].split())
    return given


def _start_of(entry: ins.Entrypoint | None, command: ins.Cmd | None) -> _Start | None:
    """Return what an entry program and a command come to; arguments come last where both are there."""
    instructions = [one for one in (entry, command) if one is not None]
    if not instructions:
        return None
    if entry is not None and isinstance(entry.command, str):
        instructions = [entry]
    whole = tuple(word for one in instructions for word in _own_words(one))
    return _Start(instructions[-1], _own_words(instructions[-1]), whole)


def _server_of(whole: Sequence[str]) -> _Server | None:
    programs = [program_name(word) for word in whole[:4]]
    return next(
        (one for one in _SERVERS if one.program in programs and set(one.needed) <= set(whole)),
        None,
    )


def _reloading(subject: Subject, start: _Start, server: _Server) -> str:
    """Return the text of the instruction that starts the server with its reloader.

    What devloop itself would not take for a reloader is none.
    """
    given = start.instruction.command
    at = next((n for n, word in enumerate(start.own) if program_name(word) == server.program), -1)
    if at < 0 and server.change is not _append:
        raise _NotCertainError("the entry program names the server, and its arguments stand elsewhere")
    words = server.change(subject, start.own, at)
    before = start.whole[: len(start.whole) - len(start.own)]
    if reloads_itself((*before, *words), []) is None:
        raise _NotCertainError("whether it would reload is not certain")
    text: str | None
    if isinstance(given, str) or given != start.own:
        script = given if isinstance(given, str) else given[2]
        if re.search(r"[|&;<>()`\n\\#]", script) or " ".join(script.split()) != script:
            raise _NotCertainError("the command uses what only a shell can do")
        changed = " ".join(words)
        if isinstance(given, str):
            whole = text_of(subject, start.instruction)
            text = whole.replace(script, changed) if whole.count(script) == 1 else None
        else:
            text = new_text(subject, start.instruction, (*given[:2], changed))
    else:
        text = new_text(subject, start.instruction, words)
    if text is None:
        raise _NotCertainError("the command is written in an unusual way")
    return text


# --- stages for development --------------------------------------------------------------------------------

_WHY = (
    "a file that compose or a mount puts in is not served until somebody restarts the process; under devloop"
    " watch, which restarts it in place, a reloader gains nothing"
)


def no_reloader(subject: Subject) -> Iterator[Finding]:
    """Find a stage for development whose server could reload by itself and is not told to."""
    name, start = _development(subject)
    if start is None:
        return
    server = _server_of(start.whole)
    if server is None or reloads_itself(start.whole, [], _environment(subject)) is not None:
        return
    proposal, stops = None, ""
    try:
        edit = edit_of(subject, start.instruction, _reloading(subject, start, server))
        proposal = Proposal((edit,), intends=frozenset({"reload"})) if edit is not None else None
    except _NotCertainError as problem:
        stops = str(problem)
    yield Finding(
        code="no-reloader",
        title=f"{server.program} in the stage {name} does not reload",
        first_line=start.instruction.span.first,
        last_line=start.instruction.span.last,
        why=_WHY,
        way_out=f"in the stage for development start {server.way}; in the others leave it out",
        category="restart",
        proposal=proposal,
        stops=stops,
    )


def _development(subject: Subject) -> tuple[str, _Start | None]:
    """Return the stage for development with what it starts: the target, or another one with a command."""
    if is_development(subject):
        graph = subject.model.graph
        entry, command = last_of(graph, ins.Entrypoint), last_of(graph, ins.Cmd)
        return target_name(subject), _start_of(entry[1] if entry else None, command[1] if command else None)
    name = ""
    found: dict[str, tuple[ins.Entrypoint | None, ins.Cmd | None]] = {}
    for one in subject.dockerfile.instructions:
        if isinstance(one, ins.From):
            name = one.alias or ""
        elif name in DEVELOPMENT_STAGES and isinstance(one, ins.Cmd):
            found[name] = (found.get(name, (None, None))[0], one)
        elif name in DEVELOPMENT_STAGES and isinstance(one, ins.Entrypoint):
            found[name] = (one, found.get(name, (None, None))[1])
    name, pair = next(iter(found.items()), ("", (None, None)))
    return name, _start_of(*pair)


def _environment(subject: Subject) -> dict[str, str]:
    text = dict(subject.model.graph.configuration).get("env", "")
    pairs = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, _, value in pairs if name}


# --- a stage that is proposed ------------------------------------------------------------------------------


def no_development_stage(subject: Subject) -> Iterator[Finding]:
    """Find a server that a compose file puts the source under, in a file without a stage for development."""
    graph = subject.model.graph
    names = stage_names(subject)
    if names & DEVELOPMENT_STAGES or is_development(subject) or not _source_is_put_in(subject):
        return
    entry, command = last_of(graph, ins.Entrypoint), last_of(graph, ins.Cmd)
    start = _start_of(entry[1] if entry else None, command[1] if command else None)
    server = _server_of(start.whole) if start is not None else None
    if start is None or server is None:
        return
    if reloads_itself(start.whole, [], _environment(subject)) is not None:
        return
    proposal, stops = None, ""
    try:
        proposal = _with_stage(subject, start, _reloading(subject, start, server))
    except _NotCertainError as problem:
        stops = str(problem)
    yield Finding(
        code="no-reloader",
        title=f"{server.program} does not take up what compose puts in",
        first_line=start.instruction.span.first,
        last_line=start.instruction.span.last,
        why=_WHY,
        way_out=f"give work on the code a stage of its own that starts {server.way},"
        " and name it in the compose file (build.target: dev)",
        category="restart",
        proposal=proposal,
        stops=stops,
    )


def _with_stage(subject: Subject, start: _Start, text: str) -> Proposal:
    """Cut the last stage above its command, and put a stage `dev` with another command in between."""
    graph = subject.model.graph
    froms = [one for one in subject.dockerfile.instructions if isinstance(one, ins.From)]
    origin = froms[-1]
    stage = graph.stage(graph.target)
    if stage.span != origin.span or start.instruction not in stage.body:
        raise _NotCertainError("the command does not stand in the last stage")
    if origin.platform is not None:
        raise _NotCertainError("a platform decides about the base")
    if any(
        isinstance(one, ins.Onbuild)
        for index in chain(graph, graph.target)
        for one in graph.stage(index).body
    ):
        raise _NotCertainError("ONBUILD would run in each of the stages")
    below = [one for one in stage.body if one.span.first > start.instruction.span.last]
    if any("$" in text_of(subject, one) for one in below if not isinstance(one, _Instruction)):
        raise _NotCertainError("what stands below the command uses a variable of the stage")
    others = [one for one in stage.body if isinstance(one, _Instruction) and one is not start.instruction]
    if isinstance(start.instruction, ins.Entrypoint) and others:
        raise _NotCertainError("an ENTRYPOINT of its own would drop what CMD holds")
    if any(one.span.first > start.instruction.span.first for one in others):
        raise _NotCertainError("another command follows")
    base = "base" if "base" not in stage_names(subject) else "common"
    found = renamed(subject, origin, base)
    if isinstance(found, str):
        raise _NotCertainError(found)
    edit, name = found
    end = line_end(subject.source)
    blocks = Blocks(subject.source, subject.dockerfile)
    block = blocks.of(start.instruction, takes_comment=True)
    own = f"FROM {base} AS {name}" if name else f"FROM {base}"
    lines = [f"FROM {base} AS dev", text.rstrip("\r\n"), "", own]
    gap = b"" if block.has_gap else end
    inserted = gap + b"".join(line.encode("utf-8", "surrogateescape") + end for line in lines)
    return Proposal((edit, LineEdit(block.first, block.first - 1, inserted)))


# --- what compose does -------------------------------------------------------------------------------------

_MOUNT = re.compile(
    r"""^\s*-\s*["']?(\.{1,2}(?:/[^:\s"']*)?):(/[^:\s"']+)(?::[\w,]+)?["']?\s*$""", re.MULTILINE
)


def _source_is_put_in(subject: Subject) -> bool:
    """Tell whether the one service that compose builds has files that the image copies put over them.

    A service with a command or a target of its own is started in another way.
    """
    text = (subject.compose or b"").decode("utf-8", "replace")
    builds = re.findall(r"^\s+build:", text, re.MULTILINE)
    if len(builds) != 1 or re.search(r"^\s+(?:command|entrypoint|target):(?!\s*/)", text, re.MULTILINE):
        return False
    if re.search(r"^\s+(?:-\s+)?action:\s*[\"']?sync[\"']?\s*$", text, re.MULTILINE):
        return True
    places = _places(subject)
    return any(
        _below(posixpath.normpath(host), source) is not None
        and posixpath.join(target, _below(posixpath.normpath(host), source) or "") == place
        for host, target in _MOUNT.findall(text)
        for place, source in places.items()
    )


def _places(subject: Subject) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in subject.steps:
        found.update(placed_by(subject, one.step) or {})
    return found


def _below(folder: str, path: str) -> str | None:
    if folder == ".":
        return path
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None


RULES: tuple[Rule, ...] = (no_reloader, no_development_stage)
