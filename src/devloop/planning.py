"""The commands that need no engine: plans of edits, of the work tree, and the table of steps."""

import os
import secrets
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from devloop.cache.baseline import describe
from devloop.cache.predict import Observed, learn
from devloop.cache.records import Records
from devloop.context.snapshot import Entry, Snapshot
from devloop.dockerfile.stages import MAIN_CONTEXT, Step, Taken
from devloop.doctor.weights import Weights, weigh
from devloop.errors import DevloopError
from devloop.paths import ContextPath, context_path
from devloop.plan.manifests import TextsOf
from devloop.plan.model import ChangeKind, PathChange, Plan
from devloop.plan.restart import reloads_itself
from devloop.plan.rules import Synced, sync_by_rules
from devloop.plan.sync import Blocked, SyncPlan, prove_sync
from devloop.project.discover import Location, shown
from devloop.project.planner import Question, answer, describe_feeds, price_steps, priors_of
from devloop.project.reading import HypotheticalTree, Model, ReadingProblem, changes_reader
from devloop.project.settings import Settings
from devloop.project.texts import read_text
from devloop.project.workspace import Given, Workspace
from devloop.ui.plantext import LayerRow, Size

if TYPE_CHECKING:
    from devloop.project.revisions import Repository


class NotPlannable(DevloopError):  # noqa: N818 - it names what the user will read
    """The Dockerfile or an ignore file has an error; the message holds its place."""


def read_model(
    workspace: Workspace,
    *,
    source: bytes | None = None,
    shown_as: str | None = None,
    ignore_source: bytes | None = None,
) -> Model:
    """Read the project as it stands, or with another text of the Dockerfile or its ignore file.

    Raises NotPlannable where the Dockerfile or the ignore file has an error.
    """
    return _model_or_raise(workspace.read(source=source, shown_as=shown_as, ignore_source=ignore_source))


@dataclass(frozen=True, slots=True)
class Edits:
    """Hypothetical edits of one model: by context, what each path becomes, and what no build sees."""

    changes: Mapping[str, tuple[PathChange, ...]]
    unread: tuple[str, ...]

    def paths(self) -> Mapping[str, tuple[ContextPath, ...]]:
        """Return the edited paths of each context."""
        return {name: tuple(ContextPath(one.path) for one in found) for name, found in self.changes.items()}


def plan_edits(workspace: Workspace, paths: Sequence[Path]) -> Plan:
    """Plan an edit of these paths on top of the tree as it stands, as if that had been built.

    Nothing is hashed: an edit changes what reads the path, whatever its bytes become.
    """
    model = read_model(workspace)
    named = [(path, None) for path in paths]
    return _hypothetical(workspace, model, model, find_edits(model, named))


def plan_dockerfile(workspace: Workspace, new: Path, paths: Sequence[Path]) -> Plan:
    """Plan another text of the Dockerfile against the present one, with or without edits of paths."""
    before = read_model(workspace)
    after = _model_or_raise(workspace.read(source=new.read_bytes(), shown_as=str(new)))
    return _hypothetical(workspace, before, after, find_edits(after, [(path, None) for path in paths]))


def plan_revision(workspace: Workspace, revision: str | None) -> Plan:
    """Plan what has changed since a git revision; None means what is staged, compared with HEAD.

    Raises DevloopError where git does not know the revision or there is no repository.
    """
    from devloop.project.revisions import Repository

    location = workspace.location
    repository = Repository.of(location, workspace.environ)
    source = repository.show(location.dockerfile, revision or "HEAD")
    after_source = None if revision is not None else repository.show(location.dockerfile, "")
    after = _model_or_raise(workspace.read(source=after_source))
    before = after
    if source is not None:
        before = _model_or_raise(
            workspace.read(source=source, ignore_source=_ignore_at(repository, location, revision or "HEAD"))
        )
    changed = [(path, kind) for path, kind in repository.changes(revision)]

    def texts(context: str, path: str) -> tuple[bytes | None, bytes | None]:
        file = after.contexts[context].root / path
        now = read_text(file) if revision is not None else repository.show(file, "")
        return repository.show(file, revision or "HEAD"), now

    return _hypothetical(workspace, before, after, find_edits(after, changed, says_outside=False), texts)


def _ignore_at(repository: "Repository", location: Location, revision: str) -> bytes:
    for candidate in location.ignore_candidates():
        found = repository.show(candidate, revision)
        if found is not None:
            return found
    return b""


def _model_or_raise(model: Model | ReadingProblem) -> Model:
    if isinstance(model, ReadingProblem):
        raise NotPlannable(model.rendered or model.message, hint=model.hint or None)
    return model


def _hypothetical(
    workspace: Workspace, before: Model, after: Model, edits: Edits, texts: TextsOf | None = None
) -> Plan:
    """Plan the second model with edits, as if the first one had just been built without them.

    `texts` gives what the edits make of a file; without it nothing is said of what is in them.
    """
    as_it_is = HypotheticalTree({}, _link_follower(before))
    as_edited = HypotheticalTree(edits.paths(), _link_follower(after))
    records = Records()
    everything_ran: dict[int, Observed] = dict.fromkeys(range(len(before.graph.vertices)), "ran")
    learn(before.graph, as_it_is, records, everything_ran, lambda: secrets.token_hex(4))
    baseline = describe(before.graph, as_it_is)
    synced = _synced(workspace, after, edits) if before.graph == after.graph else Synced(None)
    question = Question(
        model=after,
        contents=as_edited,
        records=records,
        baseline=baseline,
        changes=tuple(
            sorted((one for found in edits.changes.values() for one in found), key=lambda one: one.path)
        ),
        changes_of=changes_reader(edits.changes, {}),
        unread=edits.unread,
        deployed=baseline.fingerprint,
        dockerfile_changed=before.dockerfile.source != after.dockerfile.source,
        sync=synced.plan,
        reloader=_reloader(after, edits, workspace.settings, synced),
        manifests=texts,
    )
    return answer(question, replace(workspace.settings, no_cache=False), workspace.memory.history).plan


def _synced(workspace: Workspace, model: Model, edits: Edits) -> Synced:
    """Decide about a sync of the edits as a session does, with the rules of the settings and of compose."""
    settings = workspace.settings
    if not settings.live_sync:
        return Synced(None)
    from devloop.engine.compose import rules_in_force, watch_rules_reader

    read = watch_rules_reader(workspace.location, settings, workspace.environ) if edits.changes else None
    rules = rules_in_force(settings, read() if read is not None else None)
    before, after = sketch(model, edits)

    def prove(found: Mapping[str, Sequence[PathChange]]) -> SyncPlan | Blocked:
        return prove_sync(model.graph, before, after, found)

    if not any(edits.changes.values()):
        return Synced(prove(edits.changes))
    return sync_by_rules(edits.changes, after, rules, MAIN_CONTEXT, prove)


def _reloader(model: Model, edits: Edits, settings: Settings, synced: Synced) -> str | None:
    """Name what takes up the edits by itself, as far as rules and Dockerfile tell."""
    if synced.restarts is not None:
        return None if synced.restarts else "your rule"
    if settings.restart == "none":
        return "restart = none"
    if settings.restart != "auto":
        return None
    configuration = dict(model.graph.configuration)
    words: list[str] = []
    for part in ("entrypoint", "cmd"):
        if part in configuration:
            words += [str(word) for word in literal_eval(configuration[part])]
    paths = [one.path for found in edits.changes.values() for one in found]
    return reloads_itself(settings.command or words, paths, dict(settings.env_values()))


def sketch(model: Model, edits: Edits) -> tuple[dict[str, Snapshot], dict[str, Snapshot]]:
    """Draw the contexts with nothing but the edited paths and the links on the way to what is copied."""
    before: dict[str, Snapshot] = {}
    after: dict[str, Snapshot] = {}
    for name, context in model.contexts.items():
        old: dict[str, Entry] = {}
        for source in (path for taken in model.graph.taken_from(name) for path in taken.sources):
            old.update(_links_to(context.root, source))
        new = dict(old)
        for change in edits.changes.get(name, ()):
            kind = _kind_on_disk(context.root / change.path)
            if change.kind != "added":
                old[change.path] = Entry(kind, 0o644, "" if kind == "directory" else "before", 0)
            if change.kind != "removed":
                new[change.path] = Entry(kind, 0o644, "" if kind == "directory" else "after", 0)
        before[name], after[name] = Snapshot.of(old), Snapshot.of(new)
    return before, after


def _kind_on_disk(path: Path) -> Literal["file", "directory", "link"]:
    if path.is_symlink():
        return "link"
    return "directory" if path.is_dir() else "file"


def _links_to(root: Path, source: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    at = root
    for part in context_path(source).split("/"):
        at /= part
        if at.is_symlink():
            found[str(at.relative_to(root))] = Entry("link", 0o777, str(at.readlink()), 0)
    return found


def find_edits(
    model: Model, named: Sequence[tuple[Path, ChangeKind | None]], *, says_outside: bool = True
) -> Edits:
    """Sort edited paths into the contexts of a model."""
    changes: dict[str, list[PathChange]] = {}
    unread: list[str] = []
    for path, kind in named:
        for name, change in _edits_of(model, path, kind, unread, says_outside=says_outside):
            changes.setdefault(name, []).append(change)
    return Edits({name: tuple(found) for name, found in changes.items()}, tuple(dict.fromkeys(unread)))


def _edits_of(
    model: Model, path: Path, kind: ChangeKind | None, unread: list[str], *, says_outside: bool
) -> list[tuple[str, PathChange]]:
    """Return what an edit of `path` changes in each context; what no build sees goes to `unread`."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links must stay as they are named
    # The folder may be reached through a link, while contexts are known by their real place.
    real = absolute.parent.resolve() / absolute.name
    location = model.location
    if real == location.dockerfile and not _is_visible(model, real):
        if kind is None:
            unread.append(
                f"what an edit of {location.shown_dockerfile} does depends on the new text:"
                " name it with --file, or save it and plan without paths"
            )
        return []
    if kind is None and real in location.ignore_candidates() and not _is_visible(model, real):
        unread.append(
            f"what an edit of {shown(real, location.folder)} does depends on the new text:"
            " save it and plan without paths"
        )
        return []
    found: list[tuple[str, PathChange]] = []
    is_inside = False
    for name, context in model.contexts.items():
        if not real.is_relative_to(context.root):
            continue
        is_inside = True
        for one in _files_below(real):
            relative = str(one.relative_to(context.root))
            relative = "" if relative == "." else relative
            decided = context.rules.deciding(relative) if context.rules.excludes(relative) else None
            if decided is not None:
                unread.append(f"{relative} is ignored by {_ignore_name(model)}:{decided[0]} ({decided[1]})")
                continue
            became: ChangeKind = kind or ("modified" if os.path.lexists(one) else "added")
            found.append((name, PathChange(relative, became)))
    if not is_inside and says_outside:
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


def plan_work_tree(workspace: Workspace) -> Plan:
    """Plan a build of the tree as it stands, against everything that is known to be cached."""
    memory = workspace.memory
    model = read_model(workspace)
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
    heavy = workspace.context_warning(model, tree)
    plan = answered.plan
    return plan if heavy is None else replace(plan, warnings=(*plan.warnings, heavy))


def weigh_layers(workspace: Workspace) -> tuple[Weights | None, str]:
    """Weigh the steps by the last image of this project; None and why where the engine cannot tell.

    The text says in any case what the weights rest on.
    """
    from devloop.engine.base import EngineRefused, EngineUnavailable
    from devloop.engine.endpoint import Engine
    from devloop.engine.images import image_facts, image_history
    from devloop.engine.runspec import LABEL_PROJECT
    from devloop.loop.builds import image_tag

    tag = image_tag(workspace.location, workspace.settings)
    try:
        engine = Engine.current(workspace.environ)
        facts, history = image_facts(engine, tag), image_history(engine, tag)
    except (EngineUnavailable, EngineRefused) as error:
        return None, f"sizes are not known: {error.message}"
    # Two projects of one name take the tag from each other.
    is_own = facts is not None and dict(facts.labels).get(LABEL_PROJECT) == workspace.location.identity
    if history is None or not is_own:
        return None, f"sizes are not known: there is no image {tag} of this project; `devloop build` makes it"
    return weigh(read_model(workspace).graph, history), tag


def layer_rows(workspace: Workspace, weights: Weights | None = None) -> list[LayerRow]:
    """Describe every step of the target, with what it adds to the image where that was weighed."""
    model = read_model(workspace)
    costs = price_steps(
        model.graph,
        workspace.memory.history,
        workspace.location.identity,
        warn_seconds=workspace.settings.warn_seconds,
        table=priors_of(workspace.settings),
    )
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
                size=None if weights is None else _size_of(step, weights),
            )
        )
    return rows


def _size_of(step: Step, weights: Weights) -> Size:
    """Return what a step adds to the image; the FROM below all others adds the base."""
    if step.number in weights.elsewhere:
        return "elsewhere"
    if step.keyword == "FROM":
        return "unknown" if weights.base is None else weights.base
    # `WORKDIR /` makes no layer.
    return 0 if step.vertex is None else weights.steps.get(step.number, "unknown")
