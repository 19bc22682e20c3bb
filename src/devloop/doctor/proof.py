"""Whether a proposal keeps its promise: it is tried before it is offered.

Without an engine the texts are compared: the new one reads, and its graph does the same but for the intended
moves. With an engine both texts are built in the real context, their files and configurations are compared,
and edits show that the builder re-runs what was predicted. The user's tree is only read: a text reaches the
builder from a folder of its own, with the ignore file beside it under the name that wins over all others.
Whoever needs other files, or edits, gets a copy of what the build takes.
"""

from __future__ import annotations

import random
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

from devloop.cache.predict import MissingSource, Observed, content_key, learn, predict
from devloop.cache.records import Records
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import MAIN_CONTEXT, BuildGraph, FromContext
from devloop.doctor.edits import EditsClash, apply_edits
from devloop.doctor.kits import is_for_building
from devloop.doctor.moves import commands_of, compare_graphs
from devloop.doctor.sameness import (
    Expected,
    FilesCompared,
    compare_configurations,
    compare_files,
    compare_starts,
    start_of,
)
from devloop.doctor.trial import Stopped
from devloop.engine.base import EngineRefused, EngineUnavailable
from devloop.loop.builds import build_request, match_outcome
from devloop.project.reading import Model, ReadingProblem, Tree, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from devloop.context.snapshot import Snapshot
    from devloop.doctor.model import Proposal
    from devloop.doctor.sameness import Files
    from devloop.doctor.trial import Trial
    from devloop.engine.base import BuildOutcome, Cancel
    from devloop.project.workspace import Workspace

Verdict = Literal["passed", "failed", "not verified"]
CheckName = Literal["reads", "graph", "history", "builds", "files", "configuration", "edits", "start"]

LEAST_SAVING: Final = 0.05
"""The share of the time in history that a proposal has to save."""
_MOST_DETAILS: Final = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried; `details` list what differs, no more than a screenful."""

    name: CheckName
    verdict: Verdict
    sentence: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the images before and after, as the engine counts them, bases included."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Proof:
    """What was tried of a proposal, in order. `sizes` are known when both images were built."""

    checks: tuple[Check, ...]
    sizes: Sizes | None = None

    @property
    def holds(self) -> bool:
        """Tell whether nothing failed: only then may the proposal be offered."""
        return all(check.verdict != "failed" for check in self.checks)

    @property
    def is_complete(self) -> bool:
        """Tell whether everything was verified."""
        return all(check.verdict == "passed" for check in self.checks)

    def check(self, name: CheckName) -> Check | None:
        """Return the check of that name, None where it was not come to."""
        return next((check for check in self.checks if check.name == name), None)


@dataclass(frozen=True, slots=True)
class Saving:
    """What a replay of history says: seconds that its commits would have cost, before and after."""

    commits: int
    before_seconds: float
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one build and the whole proof may take, and how much may be copied for edits."""

    build_seconds: float = 900.0
    seconds: float = 1800.0
    copied_bytes: int = 1 << 30
    edits: int = 3


class _Never:
    def is_set(self) -> bool:
        return False


class _Deadline:
    """Says stop when somebody else does, or when it is time."""

    def __init__(self, cancel: Cancel, seconds: float) -> None:
        self._cancel = cancel
        self._until = time.monotonic() + seconds

    def is_set(self) -> bool:
        return self._cancel.is_set() or self.is_late

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._until


def prove(
    workspace: Workspace,
    before: bytes,
    proposal: Proposal,
    *,
    engine: Trial | None = None,
    edits: Sequence[str] = (),
    saving: Saving | None = None,
    limits: Limits | None = None,
    cancel: Cancel | None = None,
    on_progress: Callable[[str], None] = lambda _what: None,
) -> Proof:
    """Try a proposal for the text `before` of the project's Dockerfile.

    Without `engine` nothing is built. `edits` are context paths, those first that caused needless runs. A
    check that fails ends the proof; one that could not be made says why, and those after it are made where
    they can be. Nothing is raised for a build that fails, a time limit, or an engine that goes away.
    """
    prover = _Prover(
        workspace, before, proposal, engine, limits or Limits(), cancel or _Never(), on_progress, tuple(edits)
    )
    checks: list[Check] = []
    for check in prover.checks(saving):
        checks.append(check)
        if check.verdict == "failed":
            break
    return Proof(tuple(checks), prover.sizes)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two texts, with what it reads as; `name` is how a sentence begins that is about it."""

    name: str
    is_new: bool
    source: bytes
    model: Model
    tree: Tree


@dataclass(slots=True)
class _Prover:
    workspace: Workspace
    before: bytes
    proposal: Proposal
    engine: Trial | None
    limits: Limits
    cancel: Cancel
    say: Callable[[str], None]
    edits: tuple[str, ...]
    sizes: Sizes | None = None
    _unsteady: frozenset[str] = frozenset()
    _base: Files | None = None
    _deadline: _Deadline = field(init=False)
    _at: CheckName = "builds"

    def __post_init__(self) -> None:
        self._deadline = _Deadline(self.cancel, self.limits.seconds)

    # Texts

    def checks(self, saving: Saving | None) -> Iterator[Check]:
        """Make one check after the other, the cheap ones first."""
        sides = self._read()
        if isinstance(sides, Check):
            yield sides
            return
        old, new = sides
        yield Check("reads", "passed", "the new text parses and resolves for the target")
        yield self._graph(old, new)
        yield _history(saving)
        if self.engine is None:
            for name in ("builds", "files", "configuration", "edits"):
                yield Check(name, "not verified", "nothing was built")
            return
        try:
            yield from self._built(self.engine, old, new)
        except Stopped:
            yield Check(self._at, "not verified", self._why_stopped())
        except (EngineUnavailable, EngineRefused) as error:
            yield Check(self._at, "not verified", error.message)

    def _read(self) -> tuple[_Side, _Side] | Check:
        self.say("reads both texts")
        try:
            source = apply_edits(self.before, self.proposal.edits)
        except EditsClash as error:
            return Check("reads", "failed", f"the proposal does not fit the Dockerfile: {error}")
        if source == self.before and not self.proposal.files:
            return Check("reads", "failed", "the proposal changes nothing")
        old = self.workspace.read(source=self.before)
        if isinstance(old, ReadingProblem):
            return Check("reads", "failed", f"the Dockerfile cannot be read: {old.message}")
        new = self.workspace.read(source=source, ignore_source=self._new_ignore(old))
        if isinstance(new, ReadingProblem):
            return Check("reads", "failed", f"the new text cannot be read: {new.message}")
        before = _Side("as it stands", False, self.before, old, self.workspace.tree(old))
        after = _Side("the proposal", True, source, new, self.workspace.tree(new))
        missing = _missing(after) - _missing(before) - {path.lstrip("/") for path in self._written()}
        if missing:
            return Check("reads", "failed", f"the build context has no {', '.join(sorted(missing))}")
        return before, after

    def _new_ignore(self, model: Model) -> bytes | None:
        """Return what the proposal makes of the ignore file in force, None where it leaves it alone."""
        name = self._ignore_path(model)
        return self.proposal.files.get(name) if name is not None else None

    def _ignore_path(self, model: Model) -> str | None:
        location = model.location
        for candidate in (model.ignore_file, *location.ignore_candidates()):
            if candidate is not None and candidate.is_relative_to(location.context):
                path = candidate.relative_to(location.context).as_posix()
                if path in self.proposal.files:
                    return path
        return None

    def _written(self) -> frozenset[str]:
        """Return the files besides the ignore file that the proposal writes."""
        names = {".dockerignore"}
        return frozenset(
            path for path in self.proposal.files if path not in names and not path.endswith(".dockerignore")
        )

    def _graph(self, old: _Side, new: _Side) -> Check:
        differing = compare_graphs(old.model.graph, new.model.graph, self.proposal.intends)
        if differing:
            return Check("graph", "failed", "the new text does something else", _details(differing))
        if old.model.graph == new.model.graph:
            return Check("graph", "passed", "every step stays as it is")
        moves = ", ".join(sorted(self.proposal.intends)) or "nothing"
        return Check("graph", "passed", f"the steps are the same but for what is intended ({moves})")

    # Builds

    def _built(self, engine: Trial, old: _Side, new: _Side) -> Iterator[Check]:
        self.say("builds the Dockerfile as it stands")
        first = self._build(engine, old, "before")
        if first.status != "ok":
            yield Check("builds", "not verified", f"as it stands: {self._why(first)}", first.log_tail[-8:])
            return
        self.say("builds the proposal")
        second = self._build(engine, new, "after")
        if second.status == "canceled":
            yield Check("builds", "not verified", f"the proposal: {self._why(second)}")
            return
        if second.status != "ok":
            yield Check("builds", "failed", f"the proposal: {self._why(second)}", second.log_tail[-8:])
            return
        yield Check("builds", "passed", "both texts build in the project's own context")
        one, other = first.image_id or "", second.image_id or ""
        self.sizes = Sizes(engine.size(one), engine.size(other))
        self._at = "files"
        yield self._files(engine, old, new, (one, other))
        self._at = "configuration"
        yield self._configuration(engine, old, (one, other))
        self._at = "start"
        yield from self._start(engine, (one, other))
        self._at = "edits"
        yield self._edits(engine, old, new)

    def _build(
        self, engine: Trial, side: _Side, place: str, *, context: Path | None = None, is_fresh: bool = False
    ) -> BuildOutcome:
        """Build one text, in the real context unless another one is given or the proposal writes files."""
        folder = engine.folder / f"{place}-{secrets.token_hex(4)}"
        folder.mkdir()
        (folder / "Dockerfile").write_bytes(side.source)
        # An empty ignore file is one without patterns; a comment says so more clearly to every builder.
        (folder / "Dockerfile.dockerignore").write_bytes(side.model.ignore_source or b"#\n")
        if context is None and side.is_new and self._written():
            context = self._copy(engine, (side,), self._written_files())
        location = side.model.location
        request = replace(
            build_request(location, self.workspace.settings),
            dockerfile=str(folder / "Dockerfile"),
            context=str(context or location.context),
            no_cache=is_fresh,
            pull=False,
        )
        deadline = _Deadline(self._deadline, self.limits.build_seconds)
        outcome = engine.build(request, cancel=deadline)
        if outcome.status == "canceled" and self._deadline.is_set():
            raise Stopped
        return outcome

    def _written_files(self) -> Mapping[str, bytes]:
        return {path: self.proposal.files[path] for path in self._written()}

    def _why(self, outcome: BuildOutcome) -> str:
        if outcome.status == "canceled":
            return f"the build takes longer than {self.limits.build_seconds:.0f} seconds"
        at = f" (line {outcome.error_line})" if outcome.error_line is not None else ""
        return f"the build fails{at}: {outcome.error}"

    def _why_stopped(self) -> str:
        if self.cancel.is_set():
            return "canceled"
        return f"it takes longer than {self.limits.seconds:.0f} seconds in all"

    # Images

    def _files(self, engine: Trial, old: _Side, new: _Side, images: tuple[str, str]) -> Check:
        self.say("compares the files of both images")
        if engine.layers(images[0]) == engine.layers(images[1]):
            return Check("files", "passed", "the images have the same layers")
        before, after = (engine.files(image, cancel=self._deadline) for image in images)
        expected = self._expected(engine, old, new, images[1])
        found = compare_files(before, after, expected)
        if found.differences:
            twice = self._twice(engine, (old, new), after)
            if twice is not None:
                found = compare_files(before, after, expected, twice)
                self._unsteady = frozenset(found.unsteady)
        if found.differences:
            texts = [str(one) for one in found.differences]
            return Check("files", "failed", f"the files differ at {len(texts)} places", _details(texts))
        if found.unsteady:
            return Check("files", "not verified", _unsteady_sentence(found), _details(_paths(found.unsteady)))
        return Check(
            "files", "passed", _files_sentence(found), _details([str(one) for one in found.intended])
        )

    def _twice(
        self,
        engine: Trial,
        sides: Sequence[_Side],
        after: Files,
        contexts: Sequence[Path | None] = (None, None),
    ) -> tuple[Files, Files] | None:
        """Build both texts from nothing, and return their files; None where that does not work.

        A new cache mount may be what makes one build of the proposal differ from the next, and that is no
        excuse for it: `after` then stands for its second build.
        """
        self.say("builds both once more, to see what differs by itself")
        found: list[Files] = []
        for side, context in zip(sides, contexts, strict=True):
            if side.is_new and "cache mount" in self.proposal.intends:
                found.append(after)
                continue
            outcome = self._build(engine, side, "again", context=context, is_fresh=True)
            if outcome.status != "ok" or outcome.image_id is None:
                return None
            found.append(engine.files(outcome.image_id, cancel=self._deadline))
        return found[0], found[1]

    def _expected(self, engine: Trial, old: _Side, new: _Side, image: str) -> Expected:
        intends = self.proposal.intends
        left_out: dict[str, str] = {}
        if "fewer files" in intends:
            sent = new.tree.snapshots[MAIN_CONTEXT]
            for path, entry in old.tree.snapshots[MAIN_CONTEXT].items():
                if path not in sent:
                    left_out[path] = entry.digest if entry.kind == "file" else ""
        if "stage" in intends and self._base is None:
            self._base = self._base_files(engine, new)
        return Expected(
            intends,
            left_out,
            self._written(),
            _cache_targets(new.model.graph),
            self._base,
            " ".join(start_of(engine.configuration(image))),
        )

    def _base_files(self, engine: Trial, side: _Side) -> Files | None:
        """Return the files of the image that the final stage stands on, None where it is not an image."""
        graph = side.model.graph
        stage = graph.stage(graph.target)
        while stage.base_stage is not None:
            stage = graph.stage(stage.base_stage)
        if stage.base == "scratch":
            return {}
        if stage.base != "image":
            return None
        source = b"FROM " + stage.base_reference.encode() + b"\n"
        outcome = self._build(engine, replace(side, is_new=False, source=source), "base")
        if outcome.status != "ok" or outcome.image_id is None:
            return None
        return engine.files(outcome.image_id, cancel=self._deadline)

    def _configuration(self, engine: Trial, old: _Side, images: tuple[str, str]) -> Check:
        before, after = (engine.configuration(image) for image in images)
        found = compare_configurations(before, after, self.proposal.intends, _names_set(old.model.graph))
        wrong = [str(each) for each in found if not each.is_intended]
        if wrong:
            return Check(
                "configuration", "failed", "the configurations of the images differ", _details(wrong)
            )
        meant = [str(each) for each in found]
        sentence = "the configurations of the images are equal"
        if meant:
            sentence += " but for what is intended"
        return Check("configuration", "passed", sentence, _details(meant))

    def _start(self, engine: Trial, images: tuple[str, str]) -> Iterator[Check]:
        """Say what only a started container could show; nothing where there is no doubt."""
        if "stage" in self.proposal.intends:
            what = "whether the program finds all that it needs in the smaller image: start it once"
            yield Check("start", "not verified", what)
        before, after = (engine.configuration(image) for image in images)
        if compare_starts(before, after) == "not known":
            one, other = (" ".join(start_of(each)) for each in (before, after))
            yield Check("start", "not verified", f"whether `{other}` is all that `{one}` does: start it once")

    # Edits

    def _edits(self, engine: Trial, old: _Side, new: _Side) -> Check:
        sent = old.tree.snapshots[MAIN_CONTEXT]
        paths = [path for path in dict.fromkeys(self.edits) if _is_file(sent, path)][: self.limits.edits]
        if not paths:
            what = "no edit was given" if not self.edits else "none of the edited files is there any more"
            return Check("edits", "not verified", what)
        size = sum(entry.size for entry in sent.values())
        if size > self.limits.copied_bytes:
            return Check("edits", "not verified", f"the context is too large to copy ({size >> 20} MB)")
        tried: list[Check] = []
        for path in paths:
            self.say(f"edits a copy of {path} and builds both")
            one = self._edit(engine, old, new, path)
            if one.verdict == "failed" or one.details:
                return one
            tried.append(one)
        gains = any(one.verdict == "passed" for one in tried)
        sentence, *more = (one.sentence for one in tried)
        return Check("edits", "passed" if gains else "not verified", sentence, tuple(more))

    def _edit(self, engine: Trial, old: _Side, new: _Side, path: str) -> Check:
        """Edit one file in a copy of the context, and build both texts there.

        Details say what stands in the way of any verdict on edits.
        """
        content = (old.model.location.context / path).read_bytes()
        edit = {path: _edited(content)}
        if "cache mount" in self.proposal.intends:
            # The id of a mount is in no step's key: what was built so far may have been found in the cache
            # and the mount be empty. Another edit fills it, so that what it would hide is seen.
            other = self._copy(engine, (old, new), {**self._written_files(), path: _edited(content)})
            self._build(engine, new, "filled", context=other)
        found: list[_Rerun] = []
        images: list[str] = []
        roots = [self._copy(engine, (old, new), edit)]
        if self._written():
            roots.append(self._copy(engine, (old, new), {**self._written_files(), **edit}))
        for side in (old, new):
            root = roots[-1] if side.is_new else roots[0]
            outcome = self._build(engine, side, "edit", context=root)
            if outcome.status != "ok":
                verdict: Verdict = "failed" if side.is_new and outcome.status == "failed" else "not verified"
                return Check("edits", verdict, f"{side.name}, {path} edited: {self._why(outcome)}")
            found.append(self._rerun(side, root, outcome))
            images.append(outcome.image_id or "")
        before, after = found
        if after.surprises:
            return Check(
                "edits",
                "failed",
                f"after an edit of {path} the proposal runs what was predicted to be cached",
                _details(after.surprises),
            )
        same = self._same_after_edit(engine, (old, new), (images[0], images[1]), edit, (roots[0], roots[-1]))
        return same or self._gain(before, after, path)

    def _same_after_edit(
        self,
        engine: Trial,
        sides: tuple[_Side, _Side],
        images: tuple[str, str],
        edit: Mapping[str, bytes],
        roots: tuple[Path, Path],
    ) -> Check | None:
        """Return a failed check where the edited images differ: the fix would hide the edit.

        What every build makes anew could hide it too: then nothing is verified.
        """
        old, new = sides
        if engine.layers(images[0]) == engine.layers(images[1]):
            return None
        before, after = (engine.files(image, cancel=self._deadline) for image in images)
        expected = self._expected(engine, old, new, images[1])
        now = {path: sha256(content).hexdigest()[:32] for path, content in edit.items()}
        left_out = {path: now.get(path, digest) for path, digest in expected.left_out.items()}
        expected = replace(expected, left_out=left_out)
        found = compare_files(before, after, expected, unsteady=self._unsteady)
        if found.differences:
            twice = self._twice(engine, sides, after, roots)
            if twice is not None:
                found = compare_files(before, after, expected, twice, self._unsteady)
        if not found.differences:
            if found.unsteady:
                what = f"after an edit of {', '.join(edit)}: {_unsteady_sentence(found)}"
                return Check("edits", "not verified", what, _details(_paths(found.unsteady)))
            return None
        texts = [str(one) for one in found.differences]
        what = f"after an edit of {', '.join(edit)} the images differ"
        return Check("edits", "failed", what, _details(texts))

    def _gain(self, before: _Rerun, after: _Rerun, path: str) -> Check:
        spared = [command for command in before.ran if command not in after.ran]
        took = f"{before.seconds:.1f} s before, {after.seconds:.1f} s now"
        if spared:
            names = _shown(before.ran[spared[0]]) + (
                f" and {len(spared) - 1} more" if len(spared) > 1 else ""
            )
            return Check("edits", "passed", f"an edit of {path} ran {names} before and not now ({took})")
        if "cache mount" in self.proposal.intends and before.ran:
            return Check("edits", "passed", f"an edit of {path} runs the same steps, as predicted ({took})")
        if not before.ran:
            return Check("edits", "not verified", f"an edit of {path} ran no command before")
        return Check("edits", "not verified", f"an edit of {path} runs the same commands before and now")

    def _rerun(self, side: _Side, root: Path, outcome: BuildOutcome) -> _Rerun:
        graph = side.model.graph
        edited = read_tree(_moved(side.model, root), {}, listing=self.workspace.switches.listing)
        answers = _predicted(graph, side.tree, edited)
        seen = match_outcome(graph, outcome)
        ran: dict[str, str] = {}
        surprises: list[str] = []
        seconds = 0.0
        for step in graph.steps:
            if step.vertex is None or seen.vertices.get(step.vertex) != "ran":
                continue
            found = seen.steps.get(step.number)
            seconds += (found.seconds or 0.0) if found is not None else 0.0
            if answers[step.vertex] == "yes":
                surprises.append(f"line {step.span.first}: {_shown(step.text)}")
            if isinstance(step.instruction, ins.Run):
                ran[" && ".join(commands_of(graph, step))] = step.text
        return _Rerun(ran, tuple(surprises), seconds)

    def _copy(self, engine: Trial, sides: Sequence[_Side], written: Mapping[str, bytes]) -> Path:
        """Copy what the builds take of the context, with other contents for some paths.

        Links, modes and times come along; hard links would be quicker, and would touch the user's files.
        """
        root = engine.folder / f"context-{secrets.token_hex(4)}"
        context = sides[0].model.location.context
        root.mkdir()
        directories: list[str] = []
        taken: set[str] = {path for side in sides for path in side.tree.snapshots[MAIN_CONTEXT]}
        for path in sorted(taken):
            if self._deadline.is_set():
                raise Stopped
            source, target = context / path, root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir() and not source.is_symlink():
                target.mkdir(exist_ok=True)
                directories.append(path)
            elif source.is_symlink() or source.is_file():
                with suppress(FileNotFoundError):
                    shutil.copy2(source, target, follow_symlinks=False)
        for name, content in written.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        for path in reversed(directories):
            with suppress(FileNotFoundError):
                shutil.copystat(context / path, root / path)
        return root


@dataclass(frozen=True, slots=True)
class _Rerun:
    """What a build after an edit ran: commands with their texts, and what was not predicted."""

    ran: Mapping[str, str]
    surprises: tuple[str, ...]
    seconds: float


def _history(saving: Saving | None) -> Check:
    if saving is None or not saving.commits:
        return Check("history", "not verified", "there is no history to replay")
    took = f"{saving.before_seconds:.0f} s before, {saving.after_seconds:.0f} s after"
    commits = f"{saving.commits} commit{'s' if saving.commits != 1 else ''}"
    if saving.after_seconds <= saving.before_seconds * (1 - LEAST_SAVING):
        return Check("history", "passed", f"the last {commits} would have cost less ({took})")
    return Check("history", "failed", f"the last {commits} would not have cost less ({took})")


def _details(texts: Sequence[str]) -> tuple[str, ...]:
    if len(texts) <= _MOST_DETAILS:
        return tuple(texts)
    return (*texts[: _MOST_DETAILS - 1], f"and {len(texts) - _MOST_DETAILS + 1} more")


def _shown(text: str, longest: int = 60) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= longest else f"{folded[: longest - 3]}..."


def _missing(side: _Side) -> set[str]:
    """Return the sources that a step of this side names and the context does not have."""
    found = set()
    for vertex in side.model.graph.vertices:
        for entry in vertex.inputs:
            if isinstance(entry.producer, FromContext) and entry.by_content:
                key = content_key(entry, side.tree)
                if isinstance(key, MissingSource):
                    found.add(key.source.lstrip("/"))
    return found


def _is_file(sent: Snapshot, path: str) -> bool:
    node = sent.node(path)
    return node is not None and getattr(node, "kind", "directory") == "file"


def _cache_targets(graph: BuildGraph) -> tuple[str, ...]:
    """Return where cache mounts of the graph are mounted, without a slash in front."""
    targets = (
        mount.get("target", "dst", "destination") or ""
        for step in graph.steps
        if isinstance(step.instruction, ins.Run)
        for mount in step.instruction.mounts
        if mount.type == "cache"
    )
    return tuple(sorted({target.strip("/") for target in targets} - {""}))


def _files_sentence(found: FilesCompared) -> str:
    parts = [f"the files of both images are equal ({found.paths} paths)"]
    if found.intended:
        parts.append(f"but for {len(found.intended)} that the proposal means to change")
    told = sum(found.told_apart.values())
    if told:
        parts.append(f"leaving aside {told}: {'; '.join(found.told_apart)}")
    return ", ".join(parts)


def _unsteady_sentence(found: FilesCompared) -> str:
    count = len(found.unsteady)
    differ, them = (f"{count} files differ", "them") if count > 1 else ("one file differs", "it")
    return (
        f"{differ} in every build of the same text: whether the proposal changes {them} cannot be told;"
        " all others are equal"
    )


def _paths(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"/{path}" for path in paths)


def _names_set(graph: BuildGraph) -> frozenset[str]:
    """Return the variables and labels that the stages of the target set, without those of builds."""
    found: set[str] = set()
    stage = graph.stage(graph.target)
    while True:
        for instruction in stage.body:
            if isinstance(instruction, ins.Env | ins.Label):
                found.update(key for key, _ in instruction.pairs if not is_for_building(key))
        if stage.base_stage is None:
            return frozenset(found)
        stage = graph.stage(stage.base_stage)


def _edited(content: bytes) -> bytes:
    """Return the content with blank space after it that no earlier edit has had: no text minds that."""
    chosen = random.SystemRandom()
    blank = bytes(chosen.choice(b" \n") for _ in range(40))
    return content + b"\n" + blank + b"\n"


def _moved(model: Model, root: Path) -> Model:
    """Return the model with its main context at another place."""
    contexts = {**model.contexts, MAIN_CONTEXT: replace(model.contexts[MAIN_CONTEXT], root=root)}
    return replace(model, contexts=contexts)


def _predicted(graph: BuildGraph, before: Tree, after: Tree) -> list[str]:
    """Say for every vertex whether a build of the second tree finds it cached, when the first was built."""
    records = Records()
    everything: dict[int, Observed] = dict.fromkeys(range(len(graph.vertices)), "ran")
    learn(graph, before, records, everything, lambda: secrets.token_hex(8))
    return [answer.result.hit for answer in predict(graph, after, records).answers]
