"""The commands that need no engine: plans of edits, of the work tree, and the table of steps."""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from devloop.cache.predict import learn
from devloop.cache.records import Records
from devloop.cost.estimate import format_seconds
from devloop.dockerfile.stages import MAIN_CONTEXT, Taken
from devloop.errors import DevloopError
from devloop.paths import ContextPath
from devloop.plan.model import PathChange, Plan
from devloop.project.discover import Location, shown
from devloop.project.memory import Memory
from devloop.project.planner import Question, answer, describe_feeds, price_steps
from devloop.project.reading import HypotheticalTree, Model, ReadingProblem, changes_reader
from devloop.project.settings import Settings
from devloop.project.workspace import Given, Workspace
from devloop.ui.plantext import LayerRow


class NotPlannable(DevloopError):  # noqa: N818 - it names what the user will read
    """The Dockerfile or an ignore file has an error; the message holds its place."""


def _read(workspace: Workspace) -> Model:
    model = workspace.read()
    if isinstance(model, ReadingProblem):
        raise NotPlannable(model.rendered or model.message, hint=model.hint or None)
    return model


def plan_edits(
    location: Location,
    settings: Settings,
    memory: Memory,
    paths: Sequence[Path],
    environ: Mapping[str, str],
) -> Plan:
    """Plan an edit of these paths on top of the tree as it stands, as if that had been built.

    Nothing is hashed: an edit changes what reads the path, whatever its bytes become.
    """
    workspace = Workspace.remembered(location, settings, memory, environ)
    model = _read(workspace)
    edited: dict[str, list[ContextPath]] = {}
    changes: dict[str, list[PathChange]] = {}
    unread: list[str] = []
    for path in paths:
        for name, inside, change in _edits_of(model, path, unread):
            edited.setdefault(name, []).append(inside)
            changes.setdefault(name, []).append(change)
    as_it_is = HypotheticalTree({}, _link_follower(model))
    as_edited = HypotheticalTree({name: tuple(found) for name, found in edited.items()}, as_it_is.resolve)
    records = Records()
    everything_ran = dict.fromkeys(range(len(model.graph.vertices)), "ran")
    learn(model.graph, as_it_is, records, everything_ran, lambda: secrets.token_hex(4))  # type: ignore[arg-type]  # one of its words
    from devloop.cache.baseline import describe

    baseline = describe(model.graph, as_it_is)
    question = Question(
        model=model,
        contents=as_edited,
        records=records,
        baseline=baseline,
        changes=tuple(sorted((one for found in changes.values() for one in found), key=lambda c: c.path)),
        changes_of=changes_reader(changes, {}),
        unread=tuple(unread),
        deployed=baseline.fingerprint,
    )
    return answer(question, replace(settings, no_cache=False), memory.history).plan


def _edits_of(model: Model, path: Path, unread: list[str]) -> list[tuple[str, ContextPath, PathChange]]:
    """Return the context paths that an edit of `path` touches; what no build sees goes to `unread`."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links must stay as they are named
    # The folder may be reached through a link, while contexts are known by their real place.
    real = absolute.parent.resolve() / absolute.name
    location = model.location
    if real == location.dockerfile and not _is_visible(model, real):
        unread.append(
            f"{location.shown_dockerfile} itself is read: what an edit of it does depends on the new text"
        )
        return []
    found = []
    for name, context in model.contexts.items():
        try:
            inside = real.relative_to(context.root)
        except ValueError:
            continue
        for one in _files_below(real):
            relative = ContextPath(str(one.relative_to(context.root)) if one != real else str(inside))
            relative = ContextPath("" if relative == "." else relative)
            decided = context.rules.deciding(relative) if context.rules.excludes(relative) else None
            if decided is not None:
                unread.append(f"{relative} is ignored by {_ignore_name(model)}:{decided[0]} ({decided[1]})")
                continue
            kind = "modified" if os.path.lexists(one) else "added"
            found.append((name, relative, PathChange(relative, kind)))  # type: ignore[arg-type]  # one of its words
    if not found and not unread:
        unread.append(f"{shown(real, location.folder)} is outside of the build context")
    return found


def _is_visible(model: Model, path: Path) -> bool:
    context = model.contexts[MAIN_CONTEXT]
    try:
        inside = str(path.relative_to(context.root))
    except ValueError:
        return False
    return not context.rules.excludes(inside) and any(
        _reads(taken, inside) for taken in model.graph.taken_from(MAIN_CONTEXT)
    )


def _reads(taken: Taken, path: str) -> bool:
    from devloop.context.selection import reads
    from devloop.project.reading import selection_of

    return reads(selection_of(taken), ContextPath(path))


def _ignore_name(model: Model) -> str:
    return model.ignore_file.name if model.ignore_file is not None else ".dockerignore"


def _files_below(path: Path) -> list[Path]:
    if path.is_symlink() or not path.is_dir():
        return [path]
    found = [Path(folder) / name for folder, folders, names in os.walk(path) for name in names]
    return sorted(found)[:5000] or [path]


def _link_follower(model: Model) -> Callable[[str, Taken], Taken]:
    """Return a function that follows links in the sources of an instruction, so that their targets count."""

    def follow(context: str, taken: Taken) -> Taken:
        root = model.contexts[context].root
        sources = tuple(_real_source(root, source) for source in taken.sources)
        return taken if sources == taken.sources else replace(taken, sources=sources)

    return follow


def _real_source(root: Path, source: str) -> str:
    from devloop.context.patterns import has_wildcard

    if has_wildcard(source):
        return source
    cleaned = source.strip("/")
    try:
        real = (root / cleaned).resolve()
        return str(real.relative_to(root))
    except (OSError, ValueError, RuntimeError):
        return source


def plan_work_tree(
    location: Location, settings: Settings, memory: Memory, environ: Mapping[str, str]
) -> Plan:
    """Plan a build of the tree as it stands, against everything that is known to be cached."""
    workspace = Workspace.remembered(location, settings, memory, environ)
    model = _read(workspace)
    tree = workspace.tree(model)
    baseline = memory.baseline()
    answered = workspace.plan(
        Given(
            model=model,
            tree=tree,
            records=workspace.records(model.graph),
            baseline=baseline,
            changes=workspace.changes_since_built(tree),
            deployed=baseline.fingerprint if baseline is not None else None,
        )
    )
    memory.save_indexes()
    return answered.plan


def layer_rows(
    location: Location, settings: Settings, memory: Memory, environ: Mapping[str, str]
) -> list[LayerRow]:
    """Describe every step of the target."""
    workspace = Workspace.remembered(location, settings, memory, environ)
    model = _read(workspace)
    costs = price_steps(model.graph, memory.history, location.identity, warn_seconds=settings.warn_seconds)
    rows = []
    for step in model.graph.steps:
        cost = costs[step.number]
        price = "" if step.vertex is None else cost.note
        is_known = step.keyword != "RUN" or cost.seconds is not None
        rows.append(
            LayerRow(
                stage=model.graph.stage(step.stage).label,
                line=step.span.first,
                instruction=step.keyword,
                text=step.text,
                feeds=describe_feeds(model.graph, step),
                cost=price,
                expensive=cost.expensive if is_known else None,
            )
        )
    return rows


def misses_lines(memory: Memory) -> list[str]:
    """List the predictions that the engine contradicted, newest first."""
    found = memory.store.misses(memory.project)
    if not found:
        return ["No prediction was contradicted by the engine in this project."]
    lines = []
    for miss in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(miss.at))
        lines.append(f"{at}  line {miss.line}: {miss.text}")
        lines.append(f"    predicted {miss.predicted}, observed {miss.observed}: {miss.explanation}")
    return lines


def builds_lines(memory: Memory, count: int = 10) -> list[str]:
    """List the last builds with what was expected of them."""
    builds = memory.history.last_builds(memory.project, count)
    if not builds:
        return ["No build of this project is recorded yet: devloop watch or devloop build makes one."]
    lines = [f"The last {len(builds)} builds of {memory.location.shown_dockerfile}:"]
    for one in builds:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.started_at))
        ran = sum(step.status == "run" for step in one.steps)
        cached = sum(step.status == "cached" for step in one.steps)
        expected = (
            f", expected {format_seconds(one.predicted_seconds)}" if one.predicted_seconds is not None else ""
        )
        lines.append(
            f"  {at}  {one.outcome:<8}  {format_seconds(one.seconds)}{expected}; {ran} ran, {cached} cached"
        )
    return lines
