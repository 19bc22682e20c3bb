"""Installs that run again for an edit of a manifest that changes no dependency.

BuildKit goes by bytes, an installer by a few sections: a line of `scripts` in package.json runs `npm ci` like
a new dependency does. Whether that happens is a question to history, so this rule is asked with it, and says
nothing without. For npm a stage in between writes package.json without what `npm ci` does not read: its
COPY --from has equal content after such an edit, and the install stays cached. The copy that stood above the
install moves below it as it is, so that whatever follows sees the whole manifest.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from devloop.cost.manifests import compare, read_manifest
from devloop.cost.shell import commands_of
from devloop.dockerfile import instructions as ins
from devloop.doctor.blocks import Blocks
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import image_name
from devloop.doctor.model import Finding, LineEdit, Proposal
from devloop.doctor.placed import placed_by

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from devloop.dockerfile.instructions import Instruction
    from devloop.dockerfile.stages import Step
    from devloop.doctor.model import PricedStep, Subject
    from devloop.doctor.replay import Replay

MANIFEST: Final = "whole-manifest-above-install"

IdleEdits = frozenset[tuple[str, str]]
"""Commits by their id, with the context's name for a manifest that each edits without a dependency."""

_INSTALLS: Final = frozenset(
    {"npm-install", "yarn-install", "pnpm-install", "bun-install", "uv-sync", "poetry-install", "pdm-install"}
    | {"pipenv-install", "composer-install", "cargo-fetch"}
)


@dataclass(frozen=True, slots=True)
class IdleRuns:
    """How many builds ran a step for nothing but idle edits, and the manifests behind them, most first."""

    builds: int
    paths: tuple[str, ...]


def is_idle_edit(path: str, before: bytes, after: bytes) -> bool:
    """Tell whether an edit changes nothing that an install goes by; what cannot be read is no such edit."""
    old, new = read_manifest(path, before), read_manifest(path, after)
    return old is not None and new is not None and compare(old, new).only_other


def idle_runs(found: Replay, vertex: int, idle: IdleEdits) -> IdleRuns:
    """Count the builds in which a vertex of the replay's graph ran, and every cause was an idle edit."""
    paths: Counter[str] = Counter()
    builds = 0
    for build in found.builds:
        causes = [cause for cause in build.causes if vertex in cause.ran]
        if build.graph is not found.graph or not causes:
            continue
        if all(cause.kind == "path" and (build.commit.id, cause.path) in idle for cause in causes):
            builds += 1
            paths.update(cause.path for cause in causes)
    return IdleRuns(
        builds, tuple(path for path, _ in sorted(paths.items(), key=lambda one: (-one[1], one[0])))
    )


def manifest_findings(
    subject: Subject, found: Replay, idle: IdleEdits, spoken: AbstractSet[int] = frozenset()
) -> Iterator[Finding]:
    """Find expensive installs that idle edits ran; `spoken` are vertices that another finding speaks of."""
    for one in subject.steps:
        vertex, kinds = one.step.vertex, one.classification.kinds if one.classification is not None else ()
        if vertex is None or vertex in spoken or not one.cost.expensive or _INSTALLS.isdisjoint(kinds):
            continue
        runs = idle_runs(found, vertex, idle)
        if runs.builds:
            yield _finding(subject, one, runs, found.commits)


def _finding(subject: Subject, one: PricedStep, runs: IdleRuns, commits: int) -> Finding:
    proposal, stops = _proposal(subject, one, runs.paths)
    named = " and ".join(runs.paths[:2])
    return Finding(
        code=MANIFEST,
        title=f"`{_shown(one.cost.command)}` runs again for edits of {named} that change no dependency",
        first_line=one.step.span.first,
        last_line=one.step.span.last,
        why=(
            f"{_counted(runs.builds, 'commit')} of the last {commits} ran it for"
            f" lines of {named} that no installer reads"
        ),
        way_out="install from the lock file alone, or from a manifest without those lines",
        category="speed",
        proposal=proposal,
        wasted=(one.step.vertex,) if one.step.vertex is not None else (),
        seconds=one.cost.seconds,
        stops=stops,
    )


# The stage in between ---------------------------------------------------------------------------------------

_PLAIN_NAME: Final = re.compile(r"[\w./@+~-]+")
_STAGE: Final = "manifest"
_FOLDER: Final = "/manifest"
_SCRIPT: Final = (
    "const f = require('fs'), p = JSON.parse(f.readFileSync('package.json'));"
    " const hook = /^(pre|post)?(install|prepare|prepublish|dependencies)$/;"
    " if (!Object.keys(p.scripts || {}).some(k => hook.test(k))) delete p.scripts;"
    " for (const k of ['description', 'keywords', 'jest', 'eslintConfig', 'prettier', 'lint-staged'])"
    " delete p[k];"
    " f.writeFileSync('package.json', JSON.stringify(p))"
)
"""Only what no hook of an install is known to read goes; with a hook of its own all scripts stay."""


def _proposal(subject: Subject, one: PricedStep, paths: tuple[str, ...]) -> tuple[Proposal | None, str]:
    """Return the change, or why there is none: it is offered where the texts leave no doubt."""
    if not _is_npm_ci(one):
        return None, "what this installer reads of the manifest is not known for certain"
    if len(paths) != 1 or posixpath.basename(paths[0]) != "package.json":
        return None, "more than one manifest is behind it"
    path = paths[0]
    if b'"workspaces"' in (subject.texts(path) or b'"workspaces"'):
        return None, "the manifests of workspaces belong together"
    graph = subject.model.graph
    stage = graph.stage(one.step.stage)
    if stage.base != "image" or not _is_node(stage.base_reference):
        return None, "the stage does not start from an image of node"
    if any(
        isinstance(each, ins.Copy) and each.from_ is not None and each.from_.isdigit()
        for each in _all(subject)
    ):
        return None, "a stage is named by its number"
    if any(isinstance(each, ins.From) and each.alias == _STAGE for each in _all(subject)):
        return None, f"a stage is called {_STAGE} already"
    above = [step for step in graph.steps if step.number in stage.steps and step.number < one.step.number]
    copies = [step for step in above if path in (placed_by(subject, step) or {}).values()]
    if len(copies) != 1 or any(
        isinstance(step.instruction, ins.Run) for step in above if step.number > copies[0].number
    ):
        return None, "something else may read or write the manifest above the install"
    if copies[0].workdir != one.step.workdir or "$" in copies[0].instruction.text:
        return None, "the copy of the manifest would go elsewhere below the install"
    lines = _copy_lines(subject, copies[0], one.step.workdir, path)
    if lines is None:
        return None, "the copy of the manifest cannot be told apart from the others"
    end = line_end(subject.source)
    head = stage.span.first
    base = " ".join(("FROM", *_base_words(subject, head)))
    before = (base, f"WORKDIR {_FOLDER}", f"COPY {path} package.json", f'RUN node -e "{_SCRIPT}"', "", "")
    copy, install = copies[0].span, one.step.span
    whole = Blocks(subject.source, subject.dockerfile).text(copy.first, copy.last)
    return (
        Proposal(
            (
                LineEdit(head, head - 1, end.join(text.encode() for text in before)),
                LineEdit(copy.first, copy.last, b"".join(text.encode() + end for text in lines)),
                LineEdit(install.last + 1, install.last, whole),
            ),
            intends=frozenset({"manifest"}),
        ),
        "",
    )


def _all(subject: Subject) -> Iterator[Instruction]:
    yield from subject.dockerfile.instructions


def _is_node(reference: str) -> bool:
    return image_name(reference) == "node"


def _base_words(subject: Subject, line: int) -> tuple[str, ...]:
    """Return the words of a FROM without its name."""
    for one in _all(subject):
        if isinstance(one, ins.From) and one.span.first == line:
            platform = (f"--platform={one.platform}",) if one.platform else ()
            return (*platform, one.image, "AS", _STAGE)
    return ()


def _copy_lines(subject: Subject, step: Step, workdir: str, path: str) -> tuple[str, ...] | None:
    """Return a COPY of the other files, and one of the manifest from the stage in between."""
    instruction = step.instruction
    placed = placed_by(subject, step) or {}
    at = posixpath.join(workdir, "package.json")
    flat = {posixpath.join(workdir, posixpath.basename(source)): source for source in placed.values()}
    if not isinstance(instruction, ins.Copy) or placed.get(at) != path or placed != flat:
        return None
    others = [source for source in placed.values() if source != path]
    if not others or any(not _PLAIN_NAME.fullmatch(source) for source in placed.values()):
        return None
    flags = _flags(instruction)
    return (
        " ".join(("COPY", *flags, *sorted(others), "./")),
        " ".join(("COPY", f"--from={_STAGE}", *flags, f"{_FOLDER}/package.json", "./")),
    )


def _flags(instruction: ins.Copy) -> tuple[str, ...]:
    return (
        *([f"--chown={instruction.chown}"] if instruction.chown else []),
        *([f"--chmod={instruction.chmod}"] if instruction.chmod else []),
        *(["--link"] if instruction.link else []),
    )


def _is_npm_ci(one: PricedStep) -> bool:
    """Tell whether a step is `npm ci` and nothing else."""
    commands = commands_of(one.cost.command)
    is_bound = isinstance(one.step.instruction, ins.Run) and any(
        mount.type == "bind" for mount in one.step.instruction.mounts
    )
    return len(commands) == 1 and commands[0].words[:2] == ("npm", "ci") and not is_bound


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
