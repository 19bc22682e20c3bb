"""Steps that double bytes, leave caches behind, may unpack by surprise, or ask a registry on every build.

A change of owner or mode after the COPY writes every file once more into a new layer. It is put on the COPY
only where that gives the same files: nothing but COPYs wrote below the path, the user is there when they run,
and the folder that WORKDIR made keeps a change of its own.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.context.patterns import has_wildcard
from devloop.cost.shell import Command, commands_of
from devloop.dockerfile import instructions as ins
from devloop.doctor.graphs import (
    base_image,
    chain,
    context_takings,
    image_name,
    image_tag,
    is_above,
    is_development,
    resolved,
    runs,
    steps_above,
)
from devloop.doctor.mentions import copied_files
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.rewrite import edit_of, text_of, with_flags, without_words
from devloop.paths import context_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.dockerfile.stages import Stage, Step
    from devloop.doctor.model import Rule, Subject

LOOKUP_SECONDS = 0.8
"""What a registry takes to say what a tag means; a rebuild of one small file takes 0.1 s besides."""


# --- owners and modes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Change:
    """A recursive change of owner or mode: of which paths, and how a COPY says it."""

    program: str
    value: str
    paths: tuple[str, ...]

    @property
    def flag(self) -> str | None:
        """The option of COPY with the same effect, None where there is none."""
        if self.program == "chmod":
            return f"--chmod={self.value}" if re.fullmatch(r"0?[0-7]{3}", self.value) else None
        if re.fullmatch(r"[\w.-]+:[\w.-]+", self.value):
            return f"--chown={self.value}"
        # chown leaves the group as it is, and that of a copied file is root's.
        return f"--chown={self.value}:root" if re.fullmatch(r"[\w-]+", self.value) else None


def recursive_owner(subject: Subject) -> Iterator[Finding]:
    """Find chown -R and chmod -R over files that a COPY brought, which it could have brought right."""
    graph = subject.model.graph
    for step, _ in runs(graph):
        script = subject.steps[step.number].cost.command
        commands = commands_of(script)
        changes = [(command, _change(command, step)) for command in commands]
        found = [(command, change) for command, change in changes if change is not None]
        for _, change in found:
            copies = [
                one
                for one in steps_above(graph, step)
                if isinstance(one.instruction, ins.Copy | ins.Add)
                and one.destination is not None
                and any(_meet(place, path) for place in _places(subject, one) for path in change.paths)
            ]
            if not copies:
                continue
            size = _copied_size(subject, copies)
            edits, stops = _owner_edits(subject, step, commands, change, copies)
            if len(found) > 1:
                edits, stops = [], "several paths or owners are changed in one step"
            what = "owner" if change.program != "chmod" else "mode"
            yield Finding(
                code="chown-after-copy",
                title=f"{change.program} -R writes what was copied once more",
                first_line=step.span.first,
                last_line=step.span.last,
                why=f"a layer holds whole files: a change of their {what} stores each of them a second time, "
                f"and this step runs again with every change of the COPY above it",
                way_out=f"let the COPY do it: COPY {change.flag or '--chown=USER:GROUP'} ..."
                + ("" if edits else "; what steps create, create as that user"),
                category="size",
                proposal=Proposal(tuple(edits), intends=frozenset({"owner"})) if edits else None,
                wasted=(step.vertex,) if step.vertex is not None and edits else (),
                seconds=subject.steps[step.number].cost.seconds,
                bytes=size,
                stops=stops,
            )
            break


def _change(command: Command, step: Step) -> _Change | None:
    if command.program not in {"chown", "chmod", "chgrp"} or command.is_conditional:
        return None
    flags = [word for word in command.arguments if word.startswith("-")]
    plain = [word for word in command.arguments if not word.startswith("-")]
    is_recursive = any(flag == "--recursive" or re.fullmatch(r"-\w*R\w*", flag) for flag in flags)
    if not is_recursive or len(plain) < 2 or any("$" in word for word in plain):
        return None
    folder = resolved(command.directory or "", step.workdir)
    paths = tuple(resolved(word, folder) for word in plain[1:])
    value = f":{plain[0]}" if command.program == "chgrp" else plain[0]
    return _Change(command.program, value, paths)


def _destination(step: Step) -> str:
    return (step.destination or "/").rstrip("/") or "/"


def _places(subject: Subject, step: Step) -> list[str]:
    """Return where a COPY puts its sources: files that it names, in their folder, else the folder itself."""
    folder = _destination(step)
    instruction = step.instruction
    if not isinstance(instruction, ins.Copy | ins.Add) or not (step.destination or "").endswith("/"):
        return [folder]
    files = {one.path for one in subject.paths}
    sources = [context_path(source) for source in instruction.sources]
    is_local = not (isinstance(instruction, ins.Copy) and (instruction.from_ or instruction.parents))
    if not is_local or instruction.heredocs or not all(source in files for source in sources):
        return [folder]
    return [posixpath.join(folder, posixpath.basename(source)) for source in sources]


def _meet(destination: str, path: str) -> bool:
    return is_above(path, destination) or (destination != "/" and is_above(destination, path))


def _copied_size(subject: Subject, copies: Sequence[Step]) -> int | None:
    takings = [taken for one in copies for taken in context_takings(subject.model.graph, one)]
    return sum(one.size for one in copied_files(subject, takings)) if takings else None


def _owner_edits(
    subject: Subject, step: Step, commands: Sequence[Command], change: _Change, copies: Sequence[Step]
) -> tuple[list[LineEdit], str]:
    """Return the edits that give the same files, else what makes that uncertain."""
    graph = subject.model.graph
    if change.flag is None or len(change.paths) != 1:
        return [], "a COPY has no option for this change"
    path = change.paths[0]
    problem = _owner_problem(subject, step, commands, change, copies)
    if problem:
        return [], problem
    edits: list[LineEdit] = []
    for one in copies:
        text = with_flags(
            text_of(subject, one.instruction), [change.flag], subject.dockerfile.escape, own_lines=False
        )
        edit = edit_of(subject, one.instruction, text) if text is not None else None
        if edit is None:
            return [], "a COPY is not written in a way that can be changed for sure"
        edits.append(edit)
    made_by_workdir = any(
        one.keyword == "WORKDIR" and one.destination == path for one in steps_above(graph, step)
    )
    if not made_by_workdir and len(commands) == 1:
        return [*edits, LineEdit(step.span.first, step.span.last, b"")], ""
    text = without_words(
        text_of(subject, step.instruction), (r"(?:-R|--recursive)",), subject.dockerfile.escape
    )
    edit = edit_of(subject, step.instruction, text)
    return ([*edits, edit], "") if edit is not None else ([], "the step is written in an unusual way")


_EXISTING = frozenset({"/", "/srv", "/opt", "/home", "/usr/src", "/usr/local", "/var/lib", "/mnt"})
"""Folders that are in every common base: a COPY that creates one below them creates nothing above it."""

_TAKEN_BY_BASES = ("/var/www", "/usr/share", "/usr/local/bin", "/usr/local/lib", "/etc", "/var/log", "/tmp")  # noqa: S108


def _owner_problem(
    subject: Subject, step: Step, commands: Sequence[Command], change: _Change, copies: Sequence[Step]
) -> str:
    graph = subject.model.graph
    path = change.paths[0]
    above = steps_above(graph, step)
    if has_wildcard(path) or any(is_above(place, path) for place in _TAKEN_BY_BASES) or path in _EXISTING:
        return "other files than the copied ones may lie there"
    made = [one.destination for one in above if one.keyword == "WORKDIR" and one.destination is not None]
    if any(place != path and is_above(path, place) for place in made):
        return "WORKDIR made a folder below that path"
    is_rooted = posixpath.dirname(path) in {*_EXISTING, *made}
    if path not in made and (not is_rooted or change.program == "chmod"):
        return "which folders the COPY creates above that path is not certain"
    for one in copies:
        instruction = one.instruction
        assert isinstance(instruction, ins.Copy | ins.Add)  # noqa: S101 - chosen so by the caller
        if one.stage != step.stage or one.is_trigger:
            return "the COPY stands in another stage, which others may start from"
        if not all(is_above(path, place) for place in _places(subject, one)):
            return "the COPY also brings files that are not changed"
        if instruction.chown or instruction.chmod:
            return "the COPY sets owner or mode already"
    first = copies[0].number
    for one in above:
        is_after = one.number > first
        if isinstance(one.instruction, ins.Run) and not _leaves_alone(subject, one, path, is_after=is_after):
            return f"line {one.span.first} may have written there"
    before = [subject.steps[one.number].cost.command for one in above if one.number < first]
    if any(_is_busy(command) for command in commands):
        return "the same step does other work"
    if change.program != "chmod" and not _is_known(change.value, before, base_image(graph, step.stage)):
        return f"whether {change.value.partition(':')[0]} is there when the COPY runs is not certain"
    files = copied_files(subject, [taken for one in copies for taken in context_takings(graph, one)])
    is_alpine = "alpine" in base_image(graph, step.stage)
    takes_stages = any(isinstance(one.instruction, ins.Copy) and one.instruction.from_ for one in copies)
    if any(one.is_link for one in files) or (is_alpine and takes_stages):
        return "links may lead elsewhere"
    return ""


_LEAVES_ALONE = frozenset(
    {
        "apt-get",
        "apt",
        "apk",
        "dnf",
        "yum",
        "microdnf",
        "useradd",
        "adduser",
        "groupadd",
        "addgroup",
        "usermod",
    }
)


def _leaves_alone(subject: Subject, step: Step, path: str, *, is_after: bool) -> bool:
    """Tell whether a step writes nothing below a path: it neither names it nor works in or above it.

    Before anything was copied there, a step in a folder above has to name what it creates.
    """
    command = subject.steps[step.number].cost.command
    folder = resolved("", step.workdir)
    if path in command:
        return False
    if all(
        one.program in _LEAVES_ALONE or (one.program == "rm" and _is_absolute(one))
        for one in commands_of(command)
    ):
        return True
    name = posixpath.basename(path)
    is_near = is_above(path, folder) or (folder != "/" and is_after and is_above(folder, path))
    return not is_near and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", command) is None


def _is_absolute(command: Command) -> bool:
    return all(word.startswith(("-", "/")) for word in command.arguments)


def _is_busy(command: Command) -> bool:
    return command.program not in {"chown", "chmod"} and command.program not in _LEAVES_ALONE - {
        "useradd",
        "adduser",
        "groupadd",
        "addgroup",
    }


_OF_BASES: Mapping[str, str] = {"node": "node", "www-data": "php", "nginx": "nginx", "bun": "bun"}


def _is_known(value: str, before: Sequence[str], base: str) -> bool:
    """Tell whether user and group exist before the first COPY: numbers, of the base, or made above."""
    user, _, group = value.partition(":")
    return all(
        name.isdecimal()
        or name == "root"
        or _OF_BASES.get(name) == image_name(base)
        or _is_made(name, before)
        for name in (user, group or "root")
    )


def _is_made(name: str, before: Sequence[str]) -> bool:
    for text in before:
        for command in commands_of(text):
            arguments = command.arguments
            if name not in arguments:
                continue
            if command.program in {"groupadd", "addgroup"} and arguments[-1] == name:
                return True
            if command.program not in {"useradd", "adduser"} or arguments[-1] != name:
                continue
            # With these a user gets no group of his own name.
            if not {"-N", "-g", "--gid", "-G", "--ingroup", "-S", "--system", "-r"} & set(arguments):
                return True
            made_group = any(
                other.program in {"groupadd", "addgroup"} and other.arguments[-1:] == (name,)
                for each in before
                for other in commands_of(each)
            )
            if made_group:
                return True
    return False


# --- caches that stay in the image -------------------------------------------------------------------------

_LEFT: Mapping[str, tuple[str, str, str, int]] = {
    # program: what keeps it clean, where it leaves them, how, and roughly how much
    "apt-get": (
        r"/var/lib/apt/lists|\bdocker-clean",
        "/var/lib/apt/lists",
        "rm -rf /var/lib/apt/lists/*",
        20,
    ),
    "apt": (r"/var/lib/apt/lists|\bdocker-clean", "/var/lib/apt/lists", "rm -rf /var/lib/apt/lists/*", 20),
    "apk": (r"--no-cache|/var/cache/apk|/etc/apk/cache", "/var/cache/apk", "apk add --no-cache", 2),
    "dnf": (r"\bclean all|/var/cache/(lib)?dnf", "/var/cache/dnf", "dnf clean all", 40),
    "yum": (r"\bclean all|/var/cache/yum", "/var/cache/yum", "yum clean all", 40),
    "microdnf": (r"\bclean all", "/var/cache/yum", "microdnf clean all", 20),
    "zypper": (r"\bclean\b|\bcc\b", "/var/cache/zypp", "zypper clean --all", 40),
}


def cache_left(subject: Subject) -> Iterator[Finding]:
    """Find package lists and caches that a step of the final image leaves in it, where no mount keeps them.

    Stages that only build are none of it, and neither is a target for development.
    """
    graph = subject.model.graph
    if is_development(subject):
        return
    for step, run in runs(graph):
        if step.stage not in chain(graph, graph.target) or any(one.type == "cache" for one in run.mounts):
            continue
        script = subject.steps[step.number].cost.command
        for command in commands_of(script):
            known = _LEFT.get(command.program)
            if known is None or not {"install", "add", "in", "update", "upgrade"} & set(command.arguments):
                continue
            cleans, where, way, megabytes = known
            if re.search(cleans, script):
                continue
            edit = _with_no_cache(subject, run) if command.program == "apk" else None
            yield Finding(
                code="package-cache-left",
                title=f"{command.program} leaves its cache in the image",
                first_line=step.span.first,
                last_line=step.span.last,
                why=f"what lies in {where} after this step is part of the layer, about {megabytes} MB, and "
                "out of date soon",
                way_out=f"{way} in the same step"
                + ("" if command.program == "apk" else ", or a cache mount, which keeps it out of the layer"),
                category="size",
                proposal=Proposal((edit,), intends=frozenset({"install cache"}))
                if edit is not None
                else None,
                bytes=megabytes * 1_000_000,
            )
            break


def _with_no_cache(subject: Subject, run: ins.Run) -> LineEdit | None:
    """Write `apk add --no-cache`, which also makes an `apk update` before it needless."""
    text = text_of(subject, run)
    mark = re.escape(subject.dockerfile.escape)
    gap = rf"(?:[ \t]|{mark}[ \t]*\r?\n)*"
    text = re.sub(rf"\bapk (?:-U )?update{gap}&&{gap}(?=apk add\b)", "", text)
    if re.search(r"\bapk (-\S+ )*(update|upgrade)\b", text):
        return None
    return edit_of(subject, run, re.sub(r"\bapk add\b", "apk add --no-cache", text))


# --- ADD ---------------------------------------------------------------------------------------------------

_ARCHIVES = (".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".lzma", ".Z")
_PLAIN = (
    ".jar",
    ".war",
    ".zip",
    ".whl",
    ".json",
    ".txt",
    ".sh",
    ".py",
    ".js",
    ".ts",
    ".conf",
    ".yml",
    ".yaml",
)
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def add_for_files(subject: Subject) -> Iterator[Finding]:
    """Find ADD for files of the context where COPY does the same: nothing remote, no archive to unpack."""
    graph = subject.model.graph
    for step in graph.steps:
        add = step.instruction
        if not isinstance(add, ins.Add) or step.is_trigger or add.checksum or add.keep_git_dir:
            continue
        if add.unpack is not None or not add.sources or any(_is_remote(one) for one in add.sources):
            continue
        sure = _is_plain(subject, step)
        if sure is None:
            continue
        text = re.sub(r"^([ \t]*)(add)", _as_copy, text_of(subject, add), count=1, flags=re.IGNORECASE)
        edit = edit_of(subject, add, text) if sure else None
        yield Finding(
            code="add-for-local-files",
            title="ADD copies plain files",
            first_line=step.span.first,
            last_line=step.span.last,
            why="ADD unpacks a source that is an archive and fetches one that is a URL; a reader has to know "
            "that none of these is",
            way_out="write COPY",
            category="size",
            proposal=Proposal((edit,)) if edit is not None else None,
            stops="" if sure else "a source may be an archive",
        )


def _as_copy(found: re.Match[str]) -> str:
    return f"{found[1]}{'COPY' if found[2].isupper() else 'copy'}"


def _is_remote(source: str) -> bool:
    return re.match(r"[a-z]+://|git@", source) is not None or ".git#" in source or source.endswith(".git")


def _is_plain(subject: Subject, step: Step) -> bool | None:
    """Tell whether no source of an ADD would be unpacked; None where one is, False where that is unsure.

    Only a source itself is unpacked, never what lies in a folder that is copied.
    """
    takings = context_takings(subject.model.graph, step)
    sources = [source.strip("/").removeprefix("./") for taken in takings for source in taken.sources]
    paths = {one.path: one for one in subject.paths}
    is_sure = True
    for source in sources:
        if source.endswith(_ARCHIVES):
            return None
        if source in {"", "."} or any(path.startswith(f"{source}/") for path in paths):
            continue
        file = paths.get(source)
        if file is None or file.is_link:
            is_sure = False
            continue
        if source.endswith(_PLAIN):
            continue
        content = subject.texts(source)
        if content is None:
            is_sure = False
        elif content.startswith(_MAGIC) or content[257:262] == b"ustar":
            return None
    return is_sure


# --- bases -------------------------------------------------------------------------------------------------

FLOATING = "floating-base"
_CODE_NAMES = re.compile(
    r"(?:^|-)(?:buster|bullseye|bookworm|trixie|forky|bionic|focal|jammy|noble|plucky|nonroot|nanoserver)(?:-|$)"
)


def _floats(tag: str) -> bool:
    """Tell whether a tag names no version: a number, or the name of a release."""
    return not re.search(r"\d", tag) and not _CODE_NAMES.search(tag)


def floating_base(subject: Subject) -> Iterator[Finding]:
    """Find a base without a version: each build asks the registry what it means today.

    Where the engine knows the digest of the image that lies there, the base is pinned to it.
    """
    for reference, stages in floating_stages(subject).items():
        stage = stages[0]
        proposal, stops = _pinned(subject, reference, stages)
        seconds = subject.lookup_seconds
        took = f"about {LOOKUP_SECONDS} s" if seconds is None else f"{_tenths(seconds)}, measured here"
        bare = reference.removesuffix(f":{image_tag(reference)}")
        yield Finding(
            code=FLOATING,
            title=f"{reference} may be another image with each build",
            first_line=stage.span.first,
            last_line=stage.span.last,
            why=f"a build first asks what the tag means today ({took}), and a new answer runs every step "
            "again",
            way_out="pin it to the digest of the image that lies on the engine"
            if proposal is not None
            else f"name a version, best with its digest ({bare}:VERSION@sha256:...), or "
            f"give a local image: --build-context {reference}=docker-image://...",
            category="speed",
            proposal=proposal,
            seconds=LOOKUP_SECONDS if seconds is None else seconds,
            stops=stops,
        )


def _tenths(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.1 else "under 0.1 s"


def floating_stages(subject: Subject) -> dict[str, list[Stage]]:
    """Return the stages that stand on an image without a version, by its reference after expansion."""
    found: dict[str, list[Stage]] = {}
    for stage in subject.model.graph.stages:
        reference = stage.base_reference
        if stage.base != "image" or "@" in reference:
            continue
        # `distroless/base-debian12`: a name may hold the version.
        if _floats(image_tag(reference)) and not re.search(r"\d$", image_name(reference)):
            found.setdefault(reference, []).append(stage)
    return found


def _pinned(subject: Subject, reference: str, stages: Sequence[Stage]) -> tuple[Proposal | None, str]:
    """Return the edits that put the digest behind the name, else what stands against it."""
    if reference not in subject.digests:
        return None, "only a registry or an engine knows the digest"
    digest = subject.digests[reference]
    if digest is None:
        return None, "the engine has no image of that name with the digest of a registry: pull it first"
    edits: list[LineEdit] = []
    for stage in stages:
        origin = next(
            (
                one
                for one in subject.dockerfile.instructions
                if isinstance(one, ins.From) and one.span == stage.span
            ),
            None,
        )
        if origin is None or origin.image != reference:
            return None, f"the name on line {stage.span.first} is made from a variable"
        text = re.sub(
            rf"(?<=[ \t]){re.escape(reference)}(?=\s|\Z)",
            f"{reference}@{digest}",
            text_of(subject, origin),
            count=1,
        )
        edit = edit_of(subject, origin, text)
        if edit is None:
            return None, f"line {stage.span.first} is written in an unusual way"
        edits.append(edit)
    return Proposal(tuple(edits), intends=frozenset({"base"})), ""


RULES: tuple[Rule, ...] = (recursive_owner, cache_left, add_for_files, floating_base)
