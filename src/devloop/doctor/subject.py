"""Reads a project into what rules look at; no engine is asked."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Final

from devloop.doctor.model import ContextFile, PricedStep, Subject
from devloop.engine.compose import find_compose_file
from devloop.errors import DevloopError
from devloop.project.planner import classify_steps, price_steps, priors_of
from devloop.project.reading import ReadingProblem
from devloop.project.texts import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.context.patterns import DirectoryRules
    from devloop.project.reading import Model, Tree
    from devloop.project.workspace import Workspace


_BUILDS_THAT_TELL: Final = 20
"""Builds that are asked what the look-up of their bases took."""


class NotExaminable(DevloopError):  # noqa: N818 - it names what the user will read
    """The Dockerfile or an ignore file has an error; the message holds its place."""


def read_subject(workspace: Workspace) -> Subject:
    """Read a project as it stands, with what it is known to cost. Raises NotExaminable where it is broken."""
    model = workspace.read()
    if isinstance(model, ReadingProblem):
        raise NotExaminable(model.rendered or model.message, hint=model.hint or None)
    return subject_of(workspace, model, workspace.tree(model), context_files(model))


def with_source(
    workspace: Workspace, subject: Subject, source: bytes, files: Mapping[str, bytes] | None = None
) -> Subject | ReadingProblem:
    """Return the subject as it is with another Dockerfile and other files; nothing is walked again.

    `files` are whole contents by context path: where the ignore file is one of them, it is in force.
    """
    files = files or {}
    name = ignore_path(workspace, subject)
    ignore = files.get(name) if name is not None else None
    model = workspace.read(source=source, ignore_source=subject.ignore_source if ignore is None else ignore)
    if isinstance(model, ReadingProblem):
        return model
    paths = {one.path: one for one in subject.paths}
    paths.update({path: ContextFile(path, len(content)) for path, content in files.items()})
    has_rules = bool(model.main.rules.patterns)
    visible = tuple(
        paths[path] for path in sorted(paths) if not (has_rules and model.main.rules.excludes(path))
    )
    again = subject_of(workspace, model, workspace.tree(model), visible, files)
    return replace(
        again,
        ignore_source=again.ignore_source if ignore is None else ignore,
        digests=subject.digests,
    )


def ignore_path(workspace: Workspace, subject: Subject) -> str | None:
    """Return the context's name for the ignore file that is, or would be, in force; None for one outside."""
    location = workspace.location
    path = subject.model.ignore_file or location.context / ".dockerignore"
    try:
        return path.relative_to(location.context).as_posix()
    except ValueError:
        return None


def subject_of(
    workspace: Workspace,
    model: Model,
    tree: Tree,
    paths: tuple[ContextFile, ...],
    files: Mapping[str, bytes] | None = None,
) -> Subject:
    """Put together what was read, and price the steps; `files` stand in for what is on the disk."""
    warn_seconds = workspace.settings.warn_seconds
    table = priors_of(workspace.settings)
    classes = classify_steps(model.graph, threshold_seconds=warn_seconds, table=table)
    costs = price_steps(
        model.graph,
        workspace.memory.history,
        workspace.location.identity,
        warn_seconds=warn_seconds,
        table=table,
    )
    root = model.main.root
    visible = {one.path for one in paths}

    written = files or {}
    builds = workspace.memory.builds(_BUILDS_THAT_TELL)
    lookups = [one.metadata_seconds for one in builds if one.metadata_seconds is not None]

    def texts(path: str) -> bytes | None:
        if path not in visible:
            return None
        return written[path] if path in written else read_text(root / path)

    return Subject(
        name=model.location.shown_dockerfile,
        source=model.dockerfile.source,
        dockerfile=model.dockerfile,
        model=model,
        tree=tree,
        ignore_source=model.ignore_source if model.ignore_file is not None else None,
        steps=tuple(
            PricedStep(step, classes.get(step.number), costs[step.number]) for step in model.graph.steps
        ),
        paths=paths,
        texts=texts,
        lookup_seconds=median(lookups) if lookups else None,
        compose=_compose(model.location.folder),
    )


def _compose(folder: Path) -> bytes | None:
    file = find_compose_file(folder)
    return read_text(file) if file is not None else None


def context_files(model: Model) -> tuple[ContextFile, ...]:
    """List the files of the main context that no rule excludes, sorted; nothing is read or followed."""
    main = model.main
    found: list[ContextFile] = []
    todo: list[tuple[str, DirectoryRules]] = [("", main.rules.root())]
    has_rules = bool(main.rules.patterns)
    while todo:
        path, rules = todo.pop()
        for entry in _listed(main.root / path if path else main.root):
            here = f"{path}/{entry.name}" if path else entry.name
            is_excluded = has_rules and rules.excludes(entry.name)
            if entry.is_dir(follow_symlinks=False):
                inner = rules.enter(entry.name)
                if not is_excluded or inner.may_keep_below():
                    todo.append((here, inner))
            elif not is_excluded:
                one = _file(entry, here)
                if one is not None:
                    found.append(one)
    return tuple(sorted(found, key=lambda one: one.path))


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError:
        return []


def _file(entry: os.DirEntry[str], path: str) -> ContextFile | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISREG(status.st_mode):
        return None
    return ContextFile(path, status.st_size, is_link, bool(status.st_mode & 0o111) and not is_link)
