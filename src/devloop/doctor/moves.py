"""Whether two graphs do the same, but for the moves that a proposal intends.

Each graph is taken apart into what it does, whatever the order and the stage: bases, commands with their
surroundings, copies, directories. What both do cancels out. Of the rest, the intents say what may differ
within a pair, what may be new and what may go; whatever is left after that is a difference. This looks at
texts only and is generous where files will tell; that the images are equal is for a build to show.
"""

from __future__ import annotations

import re
from ast import literal_eval
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import BuildGraph, FromContext, FromImage, FromRemote, FromVertex, Taken
from devloop.doctor.sameness import CACHE_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devloop.dockerfile.stages import Producer, Step, Vertex
    from devloop.doctor.model import Intent


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that a graph does; `parts` are compared as texts."""

    keyword: str
    line: int
    text: str
    parts: tuple[tuple[str, str], ...]

    def part(self, name: str) -> str:
        """Return one part, empty where there is none."""
        return next((text for key, text in self.parts if key == name), "")

    def differing(self, other: Deed) -> frozenset[str]:
        """Return the names of the parts that differ."""
        names = {name for name, _ in (*self.parts, *other.parts)}
        return frozenset(name for name in names if self.part(name) != other.part(name))


def deeds(graph: BuildGraph) -> list[Deed]:
    """Take a graph apart; a linked copy and what joins it with its base are one deed."""
    found = [
        Deed("FROM", stage.span.first, stage.base_reference, (("reference", stage.base_reference),))
        for stage in graph.stages
        if stage.base in {"image", "remote", "context"}
    ]
    for step in graph.steps:
        if step.vertex is not None:
            vertex = graph.vertices[step.vertex]
            parts = _parts(graph, step, vertex)
            keyword = step.keyword
            if keyword == "ADD" and _only_copies(vertex):
                keyword = "COPY"
                parts = tuple((name, text.replace(*_ADDS_AS_COPY)) for name, text in parts)
            found.append(Deed(keyword, step.span.first, step.text, parts))
    return found


_ARCHIVE: Final = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tzst|gz|bz2|xz|zst|zip)$|[*?\[]", re.IGNORECASE)
_ADDS_AS_COPY: Final = ("(True, None)", "(False, None)")


def _only_copies(vertex: Vertex) -> bool:
    """Tell whether an ADD does what a COPY does: nothing of what it takes is remote or may be an archive."""
    return all(isinstance(entry.producer, FromContext) for entry in vertex.inputs if entry.taken) and not any(
        isinstance(entry.producer, FromRemote) or any(_ARCHIVE.search(source) for source in taken.sources)
        for entry in vertex.inputs
        for taken in entry.taken or (Taken(()),)
    )


def _parts(graph: BuildGraph, step: Step, vertex: Vertex) -> tuple[tuple[str, str], ...]:
    own = dict(vertex.operation.parts)
    own.pop("wiring", None)
    match vertex.operation.kind:
        case "exec":
            own["environment"] = repr(sorted(_variables(own["environment"]).items()))
            own["mounts"] = repr(sorted(_mounts(step)))
        case "copy":
            destination, owner, mode, excludes = literal_eval(own.pop("destination"))
            own |= {"destination": destination, "owner": repr(owner), "mode": repr(mode)}
            own["excludes"] = repr(excludes)
            own["source"] = repr(sorted(_sources(graph, vertex)))
        case "mkdir" | "merge":
            pass
    return tuple(sorted(own.items()))


def _variables(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (pair.partition("=") for pair in text.split("\0") if pair)}


def _mounts(step: Step) -> list[str]:
    return [mount.raw for mount in step.instruction.mounts] if isinstance(step.instruction, ins.Run) else []


def _sources(graph: BuildGraph, vertex: Vertex) -> list[str]:
    return [
        f"{_origin(graph, entry.producer)} {taken.sources!r} {taken.parents}"
        for entry in vertex.inputs
        for taken in entry.taken
    ] + [f"{entry.producer.reference}" for entry in vertex.inputs if isinstance(entry.producer, FromRemote)]


def _origin(graph: BuildGraph, producer: Producer) -> str:
    """Name where a copy takes from; a stage by its label, for its number may change."""
    match producer:
        case FromContext(name=name):
            return f"context {name}"
        case FromImage(reference=reference):
            return f"image {reference}"
        case FromRemote(reference=reference):
            return f"remote {reference}"
        case FromVertex(vertex=number):
            stage = graph.steps[graph.vertices[number].step].stage
            return f"stage {graph.stage(stage).name or stage}"


def commands_of(graph: BuildGraph, step: Step) -> tuple[str, ...]:
    """Return the commands of a RUN without what only cleans up or concerns caches: its name in both texts."""
    if step.vertex is None:
        return ()
    vertex = graph.vertices[step.vertex]
    deed = Deed(step.keyword, step.span.first, step.text, _parts(graph, step, vertex))
    return tuple(_commands(deed, without_owners=False))


# What an intent allows ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leeway:
    """What an intent allows: parts that may differ in a pair, keywords that may be new or may go."""

    parts: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


LEEWAY: Final[Mapping[Intent, Leeway]] = {
    # Manifests are copied first, or a download is taken out of the command that needs it.
    "order": Leeway(frozenset({"environment", "mounts"}), new=frozenset({"COPY", "WORKDIR", "INSTALL"})),
    "cache mount": Leeway(frozenset({"mounts", "command", "environment"})),
    "install cache": Leeway(frozenset({"command", "environment"})),
    "fewer files": Leeway(frozenset({"excludes", "files", "source"})),
    # `COPY --chown` stands for a `RUN chown` below it.
    "owner": Leeway(frozenset({"owner", "mode", "command"}), gone=frozenset({"OWNER"})),
    "base": Leeway(frozenset({"reference"})),
    # The last stage may install once more, without what only builds need.
    "stage": Leeway(
        frozenset({"environment", "source"}), new=frozenset({"FROM", "COPY", "WORKDIR", "INSTALL"})
    ),
    "manifest": Leeway(frozenset({"mounts", "source"}), new=frozenset({"FROM", "COPY", "WORKDIR", "RUN"})),
    "command": Leeway(),
    "reload": Leeway(),
}

_CONFIGURATION_LEEWAY: Final[Mapping[Intent, re.Pattern[str]]] = {
    "command": re.compile(r"cmd|entrypoint|stopsignal"),
    "reload": re.compile(r"cmd|entrypoint"),
    "stage": re.compile(r"env|label .*"),
}

_INSTALLS: Final = re.compile(
    r"\b(?:pip3? (?:install|download|wheel)|uv (?:sync|pip)|poetry install|(?:pdm|pipenv) (?:sync|install)"
    r"|npm (?:ci|install|i)|yarn(?: install)?|pnpm (?:install|i|fetch)|bun install|go mod (?:download|vendor)"
    r"|go (?:build|install) std|cargo (?:fetch|build|vendor|chef)|mvnw? .*dependency:|gradlew? .*dependencies"
    r"|dotnet restore|composer install|bundle (?:install|config)|mix deps\.|apt-get |apk add"
    r"|composer dump-autoload|swift package resolve)"
)
_OWNER_COMMANDS: Final = re.compile(r"(?:chown|chmod|chgrp)\s")
_CLEANUPS: Final = re.compile(
    r"rm\s+(?:-\w+\s+)*(?:/var/(?:lib/apt/lists|cache/(?:apt|apk|dnf|yum))\S*|/root/\.\w+\S*|~/\.\w+\S*"
    r"|/etc/apt/apt\.conf\.d/docker-clean|/tmp/\*|/var/tmp/\*)(?:\s+/(?:var|tmp|root)/\S*)*"
    r"|apt-get\s+(?:-\w+\s+)*(?:clean|autoclean|autoremove\b.*)|(?:dnf|yum|microdnf)\s+(?:-\w+\s+)*clean\s+all"
    r"|(?:npm|yarn|uv|poetry)\s+cache\s+(?:clean|clear|prune|verify)\b.*|pip3?\s+cache\s+purge"
    r"|(?:conda|mamba|micromamba)\s+clean\b.*|go\s+clean\b.*|pnpm\s+store\s+prune|composer\s+clear-?cache"
    r"|unset\s+(?:PIP_NO_CACHE_DIR|UV_NO_CACHE)"
    r"|echo\s.*>\s*/etc/apt/apt\.conf\.d/keep-cache|touch\s.*|true|:"
)
_INDEX: Final = re.compile(r"apk (?:-U )?update")
_CACHE_FLAGS: Final = re.compile(
    r"\s--(?:no-cache-dir|no-cache|prefer-offline|no-restore|cache(?:-dir|-folder)?[= ]\S+)(?=\s|$)"
    r"|(?:^|(?<=\s))(?:PIP_NO_CACHE_DIR|UV_LINK_MODE|UV_NO_CACHE|POETRY_NO_CACHE)=\S+\s"
)
_JOINTS: Final = re.compile(r"&&|;|\n")


def compare_graphs(before: BuildGraph, after: BuildGraph, intends: frozenset[Intent]) -> tuple[str, ...]:
    """Return what differs beyond the intents, each as a sentence with the line of the instruction."""
    left, right = _without_common(deeds(before), deeds(after))
    for old in list(left):
        partner = next((new for new in right if _may_pair(old, new, intends)), None)
        if partner is not None:
            left.remove(old)
            right.remove(partner)
    if "order" in intends:
        _take_out_cuts(left, right)
    found = [*_gone(left, right, intends), *_start(before, after, intends)]
    found += _configuration(before, after, intends)
    return tuple(dict.fromkeys(found))


def _start(before: BuildGraph, after: BuildGraph, intends: frozenset[Intent]) -> list[str]:
    """Return a sentence where the image stands on something else, whatever else is built on the way."""
    one, other = _bottom(before), _bottom(after)
    if one.partition("@")[0] == other.partition("@")[0] or "stage" in intends:
        return []
    return [f"the image starts from {other}, not from {one}"]


def _bottom(graph: BuildGraph) -> str:
    stage = graph.stage(graph.target)
    while stage.base_stage is not None:
        stage = graph.stage(stage.base_stage)
    return stage.base_reference


def _without_common(before: list[Deed], after: list[Deed]) -> tuple[list[Deed], list[Deed]]:
    left, right = list(before), list(after)
    for old in before:
        twin = next((new for new in right if new.keyword == old.keyword and new.parts == old.parts), None)
        if twin is not None:
            left.remove(old)
            right.remove(twin)
    return left, right


def _gone(left: list[Deed], right: list[Deed], intends: frozenset[Intent]) -> list[str]:
    gone = frozenset[str]().union(*(LEEWAY[intent].gone for intent in intends))
    new = frozenset[str]().union(*(LEEWAY[intent].new for intent in intends))
    found: list[str] = []
    for deed in left:
        if "OWNER" in gone and deed.keyword == "RUN" and not _commands(deed, without_owners=True):
            continue
        if "INSTALL" in new and _is_split(deed, right):
            continue
        close = next((one for one in right if one.keyword == deed.keyword and _is_close(deed, one)), None)
        if close is not None:
            right.remove(close)
            parts = ", ".join(sorted(deed.differing(close)))
            found.append(
                f"line {close.line} does not do what line {deed.line} did: {_shown(close)} ({parts})"
            )
        else:
            found.append(f"line {deed.line} is gone: {_shown(deed)}")
    for deed in right:
        is_install = (
            deed.keyword == "RUN" and "INSTALL" in new and bool(_INSTALLS.search(deed.part("command")))
        )
        if deed.keyword not in new and not is_install:
            found.append(f"line {deed.line} is new: {_shown(deed)}")
    return found


def _shown(deed: Deed) -> str:
    text = " ".join(deed.text.split())
    text = text if text.upper().startswith(deed.keyword) else f"{deed.keyword} {text}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_LONGEST: Final = 70


def _is_split(old: Deed, new: list[Deed]) -> bool:
    """Tell whether all that a RUN did was an install, and two new ones call the same program for it.

    Some installers have one command for what they download and another one for what needs the source.
    """
    commands = _commands(old, without_owners=False) if old.keyword == "RUN" else []
    programs = {one.split()[0] for one in commands if _INSTALLS.match(one)}
    if len(programs) != 1 or not all(_INSTALLS.match(one) for one in commands):
        return False
    others = [_commands(deed, without_owners=False) for deed in new if deed.keyword == "RUN"]
    return (
        sum(any(_INSTALLS.match(one) and one.split()[0] in programs for one in each) for each in others) > 1
    )


def _take_out_cuts(left: list[Deed], right: list[Deed]) -> None:
    """Take out each RUN whose commands two new ones do in the same order, one below the other."""
    for old in [one for one in left if one.keyword == "RUN"]:
        wanted = _commands(old, without_owners=False)
        news = [one for one in right if one.keyword == "RUN" and old.differing(one) <= {"command"}]
        for head in news:
            tail = next((one for one in news if one.line > head.line and _joined(head, one) == wanted), None)
            if tail is not None:
                left.remove(old)
                right.remove(head)
                right.remove(tail)
                break


def _joined(head: Deed, tail: Deed) -> list[str]:
    """Return the commands of two RUNs as those of one; a folder that both enter is entered once."""
    first, second = _commands(head, without_owners=False), _commands(tail, without_owners=False)
    if first and second and first[0] == second[0] and first[0].startswith("cd "):
        second = second[1:]
    return [*first, *second]


def _is_close(old: Deed, new: Deed) -> bool:
    return len(old.differing(new)) <= 1 or old.text == new.text


def _may_pair(old: Deed, new: Deed, intends: frozenset[Intent]) -> bool:
    if old.keyword != new.keyword:
        return False
    parts = frozenset[str]().union(*(LEEWAY[intent].parts for intent in intends))
    differing = old.differing(new)
    if not differing <= parts:
        return False
    return all(_PAIRS[name](old, new, intends) for name in differing if name in _PAIRS)


def _same_commands(old: Deed, new: Deed, intends: frozenset[Intent]) -> bool:
    """Tell whether two commands are one but for cleaning up, for flags of caches, and for owners.

    `apk add --no-cache` fetches the index by itself, so an `apk update` before it may go.
    """
    is_owner = "owner" in intends
    before, after = (_commands(deed, without_owners=is_owner) for deed in (old, new))
    if re.search(r"\bapk add\b.*\s--no-cache\s", f"{new.part('command')} "):
        before, after = ([one for one in found if not _INDEX.fullmatch(one)] for found in (before, after))
    return before == after


def _commands(deed: Deed, *, without_owners: bool) -> list[str]:
    words = literal_eval(deed.part("command"))
    text = str(words[-1]).replace("\\\n", " ")
    found: list[str] = []
    for one in _JOINTS.split(text):
        plain = " ".join(_CACHE_FLAGS.sub(" ", f"{one} ").split())
        if not plain or _CLEANUPS.fullmatch(plain) or (without_owners and _OWNER_COMMANDS.match(plain)):
            continue
        found.append(plain)
    return found


def _same_environment(old: Deed, new: Deed, intends: frozenset[Intent]) -> bool:
    """Tell whether what differs of the environment is nothing that the command names.

    A program may read a variable that no text names: the files of a build have to show that.
    """
    before, after = (dict(literal_eval(deed.part("environment"))) for deed in (old, new))
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    if "stage" in intends:
        return True
    if not {"order"} & intends:
        return all(CACHE_VARIABLES.fullmatch(name) for name in differing)
    return not any(
        re.search(rf"\b{re.escape(name)}\b", old.part("command")) and not CACHE_VARIABLES.fullmatch(name)
        for name in differing
    )


def _same_mounts(old: Deed, new: Deed, intends: frozenset[Intent]) -> bool:
    """Tell whether the mounts are those there were, and new ones only of the kinds that are intended."""
    before, after = (literal_eval(deed.part("mounts")) for deed in (old, new))
    if "manifest" in intends:
        # The same file, as a stage has cut it, in the place of that of the context.
        after = [mount if mount in before else _FROM_STAGE.sub(r"\1=", mount) for mount in after]
    kept = [mount for mount in after if mount in before]
    added = [mount for mount in after if mount not in before]
    kinds = {"cache"} if "cache mount" in intends else set[str]()
    kinds |= {"bind"} if {"order", "manifest"} & intends else set()
    return len(kept) == len(before) and all(_mount_kind(mount) in kinds for mount in added)


_FROM_STAGE: Final = re.compile(r"\bfrom=manifest(?:-\d+)?,(source|src)=/manifest/")


def _mount_kind(raw: str) -> str:
    found = re.search(r"(?:^|,)type=(\w+)", raw)
    return found[1].lower() if found else "bind"


def _same_base(old: Deed, new: Deed, _intends: frozenset[Intent]) -> bool:
    return old.part("reference").partition("@")[0] == new.part("reference").partition("@")[0]


_PAIRS: Final[Mapping[str, Callable[[Deed, Deed, frozenset[Intent]], bool]]] = {
    "command": _same_commands,
    "environment": _same_environment,
    "mounts": _same_mounts,
    "reference": _same_base,
}


def _configuration(before: BuildGraph, after: BuildGraph, intends: frozenset[Intent]) -> list[str]:
    old, new = dict(before.configuration), dict(after.configuration)
    found = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name, ""), new.get(name, "")
        allowed = any(
            intent in _CONFIGURATION_LEEWAY and _CONFIGURATION_LEEWAY[intent].fullmatch(name)
            for intent in intends
        )
        if one == other or allowed or (name == "env" and _same_image_variables(one, other, intends)):
            continue
        found.append(f"the image's configuration differs: {name} {one!r} became {other!r}")
    return found


def _same_image_variables(one: str, other: str, intends: frozenset[Intent]) -> bool:
    first, second = (
        dict(line.partition("=")[::2] for line in text.split("\n") if line) for text in (one, other)
    )
    differing = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
    if not {"cache mount", "install cache"} & intends:
        return not differing
    return all(CACHE_VARIABLES.fullmatch(name) for name in differing)
