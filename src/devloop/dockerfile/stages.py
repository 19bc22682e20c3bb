"""Instructions to a graph of steps: scopes, stages, what each step takes in, and what its key is made of.

Follows the Dockerfile reference and BuildKit's `dockerfile2llb`: a stage starts from an image, another
stage or nothing; ARG and ENV share one ordered environment; only what the target needs is part of the
graph. Every step carries an `Operation`: the ordered parts that BuildKit's key of that step covers, and
its inputs. Two steps with equal parts and equal inputs are one step to BuildKit.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from devloop.dockerfile import instructions as ins
from devloop.dockerfile.instructions import Dockerfile, Instruction
from devloop.dockerfile.lines import Heredoc, Span, SyntaxProblem
from devloop.dockerfile.words import ExpansionError, expand, expand_heredoc, expand_words, names_in
from devloop.paths import context_path

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
MAIN_CONTEXT = ""

PROXY_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system, architecture and variant, as `linux/arm/v7` spells them."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Read `os/arch[/variant]`; a bare word is an architecture, `aarch64` and `x86_64` are known."""
        parts = text.split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        architecture = {"aarch64": "arm64", "x86_64": "amd64"}.get(parts[1], parts[1])
        return cls(parts[0], architecture, "/".join(parts[2:]))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a step can see of a base image. `key` stands for its content: the chain of its layers."""

    key: str
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    shell: tuple[str, ...] = ()
    onbuild: tuple[str, ...] = ()


Images = Callable[[str, Platform], ImageConfig | None]
"""Looks up a local base image; None where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The options of a build that reach its steps; see section "options" of docs/cache-model.md."""

    target: str | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    build_contexts: tuple[tuple[str, str], ...] = ()
    platform: Platform = Platform()
    build_platform: Platform = Platform()
    network: str | None = None
    add_hosts: tuple[str, ...] = ()
    run_options: tuple[tuple[str, str], ...] = ()
    merges: bool = False


# What a step takes in -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromVertex:
    """The result of another vertex of this graph."""

    vertex: int


@dataclass(frozen=True, slots=True)
class FromImage:
    """An image; `key` is its content where known, else its reference."""

    reference: str
    key: str
    is_known: bool


@dataclass(frozen=True, slots=True)
class FromContext:
    """A local directory: the main context (empty name) or a named one."""

    name: str


@dataclass(frozen=True, slots=True)
class FromRemote:
    """A URL or repository. Only a checksum pins what it gives."""

    reference: str
    is_pinned: bool


Producer = FromVertex | FromImage | FromContext | FromRemote


@dataclass(frozen=True, slots=True)
class Taken:
    """What one input takes: paths of the producer, with the filters of the instruction."""

    sources: tuple[str, ...]
    wildcards: bool = False
    excludes: tuple[str, ...] = ()
    parents: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether excludes or --parents put a filter in front of the paths."""
        return bool(self.excludes) or self.parents


_WHOLE = Taken(("/",))


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a vertex. Without `taken` it counts by definition only, as a base does."""

    producer: Producer
    taken: tuple[Taken, ...] = ()
    by_content: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """The parts of a vertex's own key, in a fixed order, each with a name that a person understands."""

    kind: Literal["copy", "exec", "mkdir", "merge"]
    parts: tuple[tuple[str, str], ...]

    def part(self, name: str) -> str | None:
        """Return the text of one part."""
        return next((text for key, text in self.parts if key == name), None)


@dataclass(frozen=True, slots=True)
class Vertex:
    """A node of the graph that can be cached: an operation and its inputs."""

    number: int
    operation: Operation
    inputs: tuple[Input, ...]
    step: int


@dataclass(frozen=True, slots=True)
class Step:
    """One counted instruction of a stage: FROM an image, RUN, COPY, ADD or WORKDIR.

    `vertex` decides whether the step counts as cached; None for FROM and `WORKDIR /`. `last_vertex` is
    what later steps stand on: another one only where a linked copy is merged. `text` is expanded as the
    engine's progress shows it.
    """

    number: int
    stage: int
    ordinal: int
    span: Span
    keyword: str
    text: str
    instruction: Instruction
    vertex: int | None
    last_vertex: int | None
    environment: tuple[tuple[str, str], ...] = ()
    workdir: str = "/"
    user: str = ""
    shell: tuple[str, ...] = DEFAULT_SHELL
    is_trigger: bool = False
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that the target needs. `label` is its name, or its index where it has none."""

    index: int
    name: str | None
    span: Span
    base: Literal["image", "stage", "scratch", "context", "remote"]
    base_reference: str
    base_stage: int | None
    steps: tuple[int, ...]
    total: int
    configuration: tuple[tuple[str, str], ...]
    body: tuple[Instruction, ...] = ()

    @property
    def label(self) -> str:
        """The stage's name, or its index as text."""
        return self.name if self.name is not None else str(self.index)


@dataclass(frozen=True, slots=True)
class BuildGraph:
    """The steps that a build of the target consists of; a producer stands before what takes from it."""

    target: int
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...]
    vertices: tuple[Vertex, ...]
    images: tuple[tuple[str, Platform], ...]
    used_args: tuple[str, ...]

    def stage(self, index: int) -> Stage:
        """Return the stage with this index in the file."""
        return next(stage for stage in self.stages if stage.index == index)

    def contexts(self) -> tuple[str, ...]:
        """Return the names of the local contexts that some step reads, the main one first."""
        names = {
            entry.producer.name
            for vertex in self.vertices
            for entry in vertex.inputs
            if isinstance(entry.producer, FromContext)
        }
        return tuple(sorted(names))

    def taken_from(self, context: str) -> tuple[Taken, ...]:
        """Return everything that the graph takes from one local context."""
        return tuple(
            taken
            for vertex in self.vertices
            for entry in vertex.inputs
            if isinstance(entry.producer, FromContext) and entry.producer.name == context
            for taken in entry.taken
        )

    @property
    def configuration(self) -> tuple[tuple[str, str], ...]:
        """The image configuration of the target: what a rebuild changes although every step is cached."""
        return self.stage(self.target).configuration


class _Refused(Exception):  # noqa: N818 - it never leaves this module: it becomes a SyntaxProblem
    def __init__(self, span: Span, message: str, expected: str | None = None) -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.expected = expected


class _Environment:
    """The ordered environment of a RUN: assigning a name moves it to the end."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = dict(pairs)

    def assign(self, name: str, value: str) -> None:
        self._values.pop(name, None)
        self._values[name] = value

    def copy(self) -> "_Environment":
        return _Environment(self._values.items())

    @property
    def mapping(self) -> Mapping[str, str]:
        return self._values

    def pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._values.items())


@dataclass(slots=True)
class _Draft:
    """A stage while its instructions are walked."""

    index: int
    name: str | None
    origin: ins.From
    body: tuple[Instruction, ...]
    base_reference: str = ""
    base: Literal["image", "stage", "scratch", "context", "remote"] = "scratch"
    base_stage: int | None = None
    platform: Platform = field(default_factory=Platform)
    # The state that instructions change.
    environment: _Environment = field(default_factory=_Environment)
    config_env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    shell: tuple[str, ...] = DEFAULT_SHELL
    configuration: dict[str, str] = field(default_factory=dict)
    onbuild: list[ins.Onbuild] = field(default_factory=list)
    producer: Producer | None = None
    producer_is_lost: bool = False
    steps: list[int] = field(default_factory=list)
    total: int = 0
    ordinal: int = 0
    args: list[str] = field(default_factory=list)


def resolve(
    dockerfile: Dockerfile, options: BuildOptions | None = None, images: Images | None = None
) -> BuildGraph | SyntaxProblem:
    """Resolve the graph of a target.

    Unreachable stages are parsed but not resolved, as BuildKit does: a bad COPY in one does no harm. A
    problem comes back as a value with the line that it is about.
    """
    resolver = _Resolver(
        dockerfile, options or BuildOptions(), images or (lambda _reference, _platform: None)
    )
    try:
        return resolver.graph()
    except _Refused as refusal:
        return _problem(dockerfile, refusal)


def _references(instruction: Instruction) -> Iterable[tuple[str, Span]]:
    """Yield what an instruction takes from by `--from` or `from=`."""
    if isinstance(instruction, ins.Copy) and instruction.from_:
        if "$" in instruction.from_:
            raise _Refused(
                instruction.span,
                "--from cannot hold a variable",
                "a stage above whose FROM uses the variable",
            )
        yield instruction.from_, instruction.span
    if isinstance(instruction, ins.Run):
        for mount in instruction.mounts:
            source = mount.get("from")
            if source:
                yield source, instruction.span


def _no_images(_reference: str, _platform: Platform) -> ImageConfig | None:
    return None


def _problem(dockerfile: Dockerfile, refusal: _Refused) -> SyntaxProblem:
    lines = dockerfile.source.split(b"\n")
    line = refusal.span.first
    source_line = (
        lines[line - 1].decode("utf-8", "surrogateescape").rstrip("\r") if line <= len(lines) else ""
    )
    column = len(source_line) - len(source_line.lstrip()) + 1
    return SyntaxProblem(dockerfile.file, line, column, refusal.message, refusal.expected, source_line)


@dataclass(slots=True)
class _MountSources:
    """The producers that the mounts of one RUN take from, in the order in which they appear."""

    taken: dict[Producer, list[Taken]] = field(default_factory=dict)


class _Resolver:
    def __init__(self, dockerfile: Dockerfile, options: BuildOptions, images: Images) -> None:
        self.dockerfile = dockerfile
        self.escape = dockerfile.escape
        self.options = options
        self.images = images
        self.given = dict(options.build_args)
        self.named_contexts = {name.lower(): value for name, value in options.build_contexts}
        self.global_args: dict[str, str] = {}
        self.drafts: list[_Draft] = []
        self.steps: list[Step] = []
        self.vertices: list[Vertex] = []
        self.done: set[int] = set()
        self.active: set[int] = set()
        self.looked_up: dict[tuple[str, Platform], None] = {}
        self.used_args: dict[str, None] = {}

    # The file as a whole

    def graph(self) -> BuildGraph:
        self._split()
        for draft in self.drafts:
            self._base_reference(draft)
        target = self._target()
        self.target_name = self.options.target or self.drafts[-1].name or "default"
        for name, value in self._platform_args().items():
            self.global_args.setdefault(name, value)
        self._visit(target)
        stages = tuple(self._finished(self.drafts[index]) for index in sorted(self.done))
        return BuildGraph(
            target=target,
            stages=stages,
            steps=tuple(self.steps),
            vertices=tuple(self.vertices),
            images=tuple(self.looked_up),
            used_args=tuple(self.used_args),
        )

    def _split(self) -> None:
        self.target_name = self.options.target or ""
        pending_globals: list[ins.Arg] = []
        body: list[Instruction] = []
        for instruction in self.dockerfile.instructions:
            if isinstance(instruction, ins.From):
                if self.drafts:
                    self.drafts[-1].body = tuple(body)
                body = []
                self.drafts.append(_Draft(len(self.drafts), instruction.alias, instruction, ()))
            elif self.drafts:
                body.append(instruction)
            elif isinstance(instruction, ins.Arg):
                pending_globals.append(instruction)
        if not self.drafts:
            raise _Refused(Span(1, 1), "there is no FROM: nothing to build", "FROM image")
        self.drafts[-1].body = tuple(body)
        self._refuse_circles()
        if not self.options.target:
            self.target_name = self.drafts[-1].name or "default"
        platform_args = self._platform_args()
        for arg in pending_globals:
            for name, default in arg.items:
                value = self.given.get(name)
                if name in self.given:
                    self.used_args[name] = None
                if value is None and default is not None:
                    value = self._expand(default, {**platform_args, **self.global_args}, arg.span)
                if value is not None:
                    self.global_args[name] = value

    def _refuse_circles(self) -> None:
        """Refuse what the engine refuses even in a stage that nobody needs: circles, and numbers of no stage.

        A base is no part of a circle, because it is looked for above only.
        """
        deps: dict[int, list[int]] = {}
        for draft in self.drafts:
            deps[draft.index] = found = []
            for instruction in draft.body:
                for reference, span in _references(instruction):
                    if isinstance(instruction, ins.Copy) and reference.isdigit():
                        if int(reference) >= len(self.drafts):
                            raise _Refused(
                                span, f"--from={reference} is no stage", "the index of a stage above"
                            )
                        found.append(int(reference))
                    else:
                        named = [one.index for one in self.drafts if one.name == reference.lower()]
                        found.extend(named[-1:])
        for draft in self.drafts:
            waiting, seen = list(deps[draft.index]), set[int]()
            while waiting:
                one = waiting.pop()
                if one == draft.index:
                    name = draft.name or str(draft.index)
                    raise _Refused(draft.origin.span, f"stage {name} takes from itself, by way of --from")
                if one not in seen:
                    seen.add(one)
                    waiting.extend(deps[one])

    def _platform_args(self) -> dict[str, str]:
        target, build = self.options.platform, self.options.build_platform
        return {
            "TARGETPLATFORM": str(target),
            "TARGETOS": target.os,
            "TARGETARCH": target.architecture,
            "TARGETVARIANT": target.variant,
            "TARGETOSVERSION": "",
            "BUILDPLATFORM": str(build),
            "BUILDOS": build.os,
            "BUILDARCH": build.architecture,
            "BUILDVARIANT": build.variant,
            "BUILDOSVERSION": "",
            "TARGETSTAGE": self.target_name,
        }

    def _target(self) -> int:
        wanted = self.options.target
        if wanted is None or not wanted:
            return len(self.drafts) - 1
        for draft in reversed(self.drafts):
            if draft.name == wanted.lower():
                return draft.index
        known = ", ".join(draft.name for draft in self.drafts if draft.name) or "none has a name"
        raise _Refused(
            self.drafts[-1].origin.span, f"no stage is named {wanted!r}", f"one of the stages: {known}"
        )

    def _finished(self, draft: _Draft) -> Stage:
        configuration = dict(draft.configuration)
        configuration["env"] = "\n".join(f"{k}={v}" for k, v in draft.config_env.items())
        configuration["workdir"] = draft.workdir
        configuration["user"] = draft.user
        configuration["shell"] = repr(draft.shell)
        configuration["onbuild"] = "\n".join(trigger.source_text for trigger in draft.onbuild)
        return Stage(
            index=draft.index,
            name=draft.name,
            span=draft.origin.span,
            base=draft.base,
            base_reference=draft.base_reference,
            base_stage=draft.base_stage,
            steps=tuple(draft.steps),
            total=draft.total,
            configuration=tuple(sorted(configuration.items())),
            body=draft.body,
        )

    def _expand(self, word: str, env: Mapping[str, str], span: Span) -> str:
        try:
            return expand(word, env, escape=self.escape)
        except ExpansionError as error:
            raise _Refused(span, f"{error.message}: {word}") from error

    # One stage

    def _visit(self, index: int) -> _Draft:
        draft = self.drafts[index]
        if index in self.done:
            return draft
        self._start(draft)
        triggers = self._triggers(draft)
        body = [(trigger, True) for trigger in triggers] + [(one, False) for one in draft.body]
        # Producers are resolved first, so that vertices stand in an order that can be walked once.
        for instruction, _ in body:
            for producer in self._stage_references(draft, instruction):
                self._visit(producer)
        # Of the triggers the engine counts all, whether they make a step or not.
        counted = sum(
            is_trigger or isinstance(one, ins.Run | ins.Copy | ins.Add | ins.Workdir)
            for one, is_trigger in body
        )
        is_pulled = draft.base in {"image", "remote", "context"}
        draft.total = counted + is_pulled
        if is_pulled:
            draft.ordinal = 1
            self._add_step(draft, draft.origin, f"FROM {draft.base_reference}", vertex=None)
        for instruction, is_trigger in body:
            self._dispatch(draft, instruction, is_trigger=is_trigger)
        self.done.add(index)
        return draft

    def _start(self, draft: _Draft) -> None:
        origin = draft.origin
        scope = dict(self.global_args)
        reference = self._base_reference(draft)
        draft.platform = self.options.platform
        if origin.platform:
            text = self._expand(origin.platform, scope, origin.span)
            if text:
                draft.platform = Platform.parse(text)
        for name in names_in(origin.image, escape=self.escape):
            if name in self.given:
                self.used_args[name] = None
        draft.base_reference = reference
        parent = self._earlier_stage(reference, draft.index)
        override = self.named_contexts.get(reference.lower()) if reference != "scratch" else None
        if override is None and parent is not None:
            self._start_from_stage(draft, self._visit(parent))
        elif override is None and reference == "scratch":
            draft.base = "scratch"
            self._load_config(draft, ImageConfig(""))
        else:
            self._start_from_image(draft, reference, override)

    def _base_reference(self, draft: _Draft) -> str:
        origin = draft.origin
        reference = self._expand(origin.image, self.global_args, origin.span)
        if not reference:
            raise _Refused(
                origin.span,
                f"the base name {origin.image} is empty after expansion",
                "a default for the ARG above the first FROM, or --build-arg",
            )
        return reference

    def _earlier_stage(self, reference: str, before: int) -> int | None:
        # BuildKit compares with the lower-cased name, case-sensitively; the nearest earlier stage wins.
        for draft in reversed(self.drafts[:before]):
            if draft.name is not None and draft.name == reference:
                return draft.index
        return None

    def _start_from_stage(self, draft: _Draft, parent: _Draft) -> None:
        draft.base = "stage"
        draft.base_stage = parent.index
        draft.platform = parent.platform if not draft.origin.platform else draft.platform
        draft.environment = parent.environment.copy()
        draft.config_env = dict(parent.config_env)
        # The image's own variables are assigned once more, which moves them behind plain ARGs.
        for name, value in draft.config_env.items():
            draft.environment.assign(name, value)
        draft.workdir = parent.workdir
        draft.user = parent.user
        draft.shell = parent.shell
        draft.configuration = dict(parent.configuration)
        draft.producer = parent.producer
        draft.producer_is_lost = parent.producer_is_lost

    def _start_from_image(self, draft: _Draft, reference: str, override: str | None) -> None:
        draft.producer = self._outside(reference, override, draft.platform)
        match draft.producer:
            case FromImage():
                draft.base = "image"
                config = self._image(override_reference(override) or reference, draft.platform)
                self._load_config(draft, config or ImageConfig(reference))
            case FromContext():
                draft.base = "context"
                self._load_config(draft, ImageConfig(reference))
            case _:
                draft.base = "remote"
                self._load_config(draft, ImageConfig(reference))

    def _load_config(self, draft: _Draft, config: ImageConfig) -> None:
        draft.config_env = dict(config.env)
        draft.config_env.setdefault("PATH", DEFAULT_PATH)
        draft.environment = _Environment()
        for name, value in draft.config_env.items():
            draft.environment.assign(name, value)
        draft.workdir = config.workdir or "/"
        draft.user = config.user
        draft.shell = config.shell or DEFAULT_SHELL

    def _image(self, reference: str, platform: Platform) -> ImageConfig | None:
        self.looked_up[(reference, platform)] = None
        return self.images(reference, platform)

    def _outside(self, reference: str, override: str | None, platform: Platform) -> Producer:
        if override is not None:
            image = override_reference(override)
            if image is None:
                if "://" in override or override.startswith("git@"):
                    return FromRemote(override, is_pinned=False)
                return FromContext(reference.lower())
            reference = image
        config = self._image(reference, platform)
        if config is None:
            return FromImage(reference, f"reference:{reference}:{platform}", is_known=False)
        return FromImage(reference, config.key, is_known=True)

    def _triggers(self, draft: _Draft) -> tuple[Instruction, ...]:
        span = draft.origin.span
        if draft.base == "stage" and draft.base_stage is not None:
            found: list[Instruction] = [one.instruction for one in self.drafts[draft.base_stage].onbuild]
        elif draft.base == "image":
            config = self.images(draft.base_reference, draft.platform)
            found = []
            for text in config.onbuild if config else ():
                parsed = ins.parse_onbuild(text, file=draft.base_reference)
                if isinstance(parsed, SyntaxProblem):
                    raise _Refused(span, f"ONBUILD {text} of {draft.base_reference}: {parsed.message}")
                found.append(parsed)
        else:
            found = []
        return tuple(replace(one, span=span) for one in found)

    def _stage_references(self, draft: _Draft, instruction: Instruction) -> Iterable[int]:
        if isinstance(instruction, ins.Copy) and instruction.from_ is not None:
            found = self._copy_stage(draft, instruction.from_, instruction.span)
            if found is not None:
                yield found
        if isinstance(instruction, ins.Run):
            for mount in instruction.mounts:
                source = mount.get("from")
                if source:
                    found = self._named_stage(draft, source, instruction.span)
                    if found is not None:
                        yield found

    def _copy_stage(self, draft: _Draft, reference: str, span: Span) -> int | None:
        """Resolve `--from` of a COPY: an index, a stage's name in any case, else None for an image."""
        if reference.isdigit():
            index = int(reference)
            if index >= draft.index:
                raise _Refused(
                    span, f"--from={reference} is not an earlier stage", "the index of a stage above"
                )
            return index
        return self._named_stage(draft, reference, span)

    def _named_stage(self, draft: _Draft, reference: str, span: Span) -> int | None:
        wanted = reference.lower()
        if wanted in self.named_contexts:
            return None
        for other in reversed(self.drafts):
            if other.name == wanted:
                if other.index < draft.index:
                    return other.index
                earlier = [one for one in self.drafts[: draft.index] if one.name == wanted]
                if earlier:
                    # The last definition wins, and a later one cannot be read from here.
                    raise _Refused(span, f"--from={reference} names a stage that is defined again below")
                raise _Refused(
                    span, f"--from={reference} is this stage or a later one", "the name of a stage above"
                )
        return None

    def _source(self, draft: _Draft, reference: str | None, span: Span, *, numbers: bool) -> Producer | None:
        """Return what `--from` gives; None for a stage whose result is the empty file system."""
        if reference is None or reference == "":
            return FromContext(MAIN_CONTEXT)
        stage = (
            self._copy_stage(draft, reference, span) if numbers else self._named_stage(draft, reference, span)
        )
        if stage is not None:
            return self.drafts[stage].producer
        if reference == "context":
            return FromContext(MAIN_CONTEXT)
        if reference == "scratch":
            return None
        return self._outside(reference, self.named_contexts.get(reference.lower()), draft.platform)

    # Steps and vertices

    def _add_step(
        self,
        draft: _Draft,
        instruction: Instruction,
        text: str,
        *,
        vertex: int | None,
        last_vertex: int | None = None,
        is_trigger: bool = False,
        destination: str | None = None,
    ) -> None:
        step = Step(
            number=len(self.steps),
            stage=draft.index,
            ordinal=draft.ordinal,
            span=instruction.span,
            keyword=instruction.keyword,
            text=text,
            instruction=instruction,
            vertex=vertex,
            last_vertex=last_vertex if last_vertex is not None else vertex,
            environment=draft.environment.pairs(),
            workdir=draft.workdir,
            user=draft.user,
            shell=draft.shell,
            is_trigger=is_trigger,
            destination=destination,
        )
        self.steps.append(step)
        draft.steps.append(step.number)

    def _add_vertex(self, operation: Operation, inputs: Sequence[Input]) -> int:
        # The step that owns the vertex is added right after it.
        vertex = Vertex(len(self.vertices), operation, tuple(inputs), len(self.steps))
        self.vertices.append(vertex)
        return vertex.number

    def _base_inputs(self, draft: _Draft) -> list[Input]:
        return [Input(draft.producer)] if draft.producer is not None else []

    def _display(self, draft: _Draft, instruction: Instruction) -> str:
        # The engine expands the shown text more freely than the instruction itself; where that fails it
        # shows the text as written.
        if isinstance(instruction, ins.Run):
            return instruction.text
        try:
            shown = expand(_after_keyword(instruction.text), draft.environment.mapping, escape=self.escape)
        except ExpansionError:
            return instruction.text
        return f"{instruction.keyword} {shown}"

    def _dispatch(self, draft: _Draft, instruction: Instruction, *, is_trigger: bool) -> None:
        env = draft.environment.mapping
        span = instruction.span
        match instruction:
            case ins.From():
                raise _Refused(span, "FROM cannot stand inside a stage")
            case ins.Arg():
                self._arg(draft, instruction)
            case ins.Env():
                pairs = [
                    (self._expand(k, env, span), self._expand(v, env, span)) for k, v in instruction.pairs
                ]
                for name, value in pairs:
                    draft.environment.assign(name, value)
                    draft.config_env[name] = value
            case ins.Label():
                for key, value in instruction.pairs:
                    name = self._expand(key, env, span)
                    draft.configuration[f"label {name}"] = self._expand(value, env, span)
            case ins.User():
                draft.user = self._expand(instruction.user, env, span)
            case ins.Shell():
                draft.shell = instruction.words
            case ins.Cmd():
                draft.configuration["cmd"] = _command_text(instruction.command, draft.shell)
            case ins.Entrypoint():
                draft.configuration["entrypoint"] = _command_text(instruction.command, draft.shell)
            case ins.Expose():
                known = set(draft.configuration.get("expose", "").split())
                for port in instruction.ports:
                    known.update(self._words(port, env, span))
                draft.configuration["expose"] = " ".join(sorted(known))
            case ins.Volume():
                known = set(filter(None, draft.configuration.get("volumes", "").split("\n")))
                known.update(self._expand(path, env, span) for path in instruction.paths)
                draft.configuration["volumes"] = "\n".join(sorted(known))
            case ins.Healthcheck():
                draft.configuration["healthcheck"] = _after_keyword(instruction.text)
            case ins.StopSignal():
                draft.configuration["stopsignal"] = self._expand(instruction.signal, env, span)
            case ins.Maintainer():
                draft.configuration["maintainer"] = instruction.name
            case ins.Onbuild():
                draft.onbuild.append(instruction)
            case ins.Workdir():
                self._workdir(draft, instruction, is_trigger=is_trigger)
            case ins.Copy() | ins.Add():
                self._copy(draft, instruction, is_trigger=is_trigger)
            case ins.Run():
                self._run(draft, instruction, is_trigger=is_trigger)
            case _:
                assert_never(instruction)

    def _words(self, text: str, env: Mapping[str, str], span: Span) -> tuple[str, ...]:
        try:
            return expand_words(text, env, escape=self.escape)
        except ExpansionError as error:
            raise _Refused(span, f"{error.message}: {text}") from error

    def _arg(self, draft: _Draft, instruction: ins.Arg) -> None:
        platform_args = self._platform_args()
        for name, default in instruction.items:
            expanded = None
            if default is not None:
                expanded = self._expand(default, draft.environment.mapping, instruction.span)
            if name in self.given:
                self.used_args[name] = None
                value: str | None = self.given[name]
            elif expanded is not None:
                value = expanded
            else:
                value = self.global_args.get(name, platform_args.get(name))
            if value is not None:
                draft.environment.assign(name, value)
            draft.args.append(name)

    def _workdir(self, draft: _Draft, instruction: ins.Workdir, *, is_trigger: bool) -> None:
        text = self._display(draft, instruction)
        path = self._expand(instruction.path, draft.environment.mapping, instruction.span)
        # A RUN gets an absolute path as it is written, its slash at the end included; only the folder that is
        # made, and whatever is relative to it, is cleaned.
        if path:
            draft.workdir = path if path.startswith("/") else _joined(draft.workdir, path)
        made = _joined("/", draft.workdir)
        if made == "/":
            # It makes no step, and the engine counts it in the total only.
            self._add_step(draft, instruction, text, vertex=None, is_trigger=is_trigger)
            return
        draft.ordinal += 1
        parts = [("path", made), ("mode", "755"), ("owner", repr(_owner(draft.user)))]
        epoch = self.given.get("SOURCE_DATE_EPOCH")
        if epoch is not None:
            parts.append(("timestamp", epoch))
        vertex = self._add_vertex(Operation("mkdir", tuple(parts)), self._base_inputs(draft))
        self._add_step(draft, instruction, text, vertex=vertex, is_trigger=is_trigger, destination=made)
        draft.producer = FromVertex(vertex)

    def _copy(self, draft: _Draft, instruction: ins.Copy | ins.Add, *, is_trigger: bool) -> None:
        draft.ordinal += 1
        env = draft.environment.mapping
        span = instruction.span
        text = self._display(draft, instruction)
        is_add = isinstance(instruction, ins.Add)
        parents = isinstance(instruction, ins.Copy) and instruction.parents
        chown = self._expand(instruction.chown, env, span) if instruction.chown else None
        chmod = self._expand(instruction.chmod, env, span) if instruction.chmod else None
        destination = _destination(self._expand(instruction.destination, env, span), draft.workdir)
        local: list[str] = []
        actions: list[str] = []
        inputs: list[Input] = []
        shared = repr((destination, _owner(chown), _mode(chmod), instruction.excludes))
        unpacks = repr((is_add, instruction.unpack if isinstance(instruction, ins.Add) else None))
        for entry in instruction.sources:
            source = self._expand(entry, env, span)
            if is_add and _is_remote(source):
                checksum = instruction.checksum if isinstance(instruction, ins.Add) else None
                pin = self._expand(checksum, env, span) if checksum else ""
                inputs.append(Input(FromRemote(f"{source} {pin}", is_pinned=bool(pin)), by_content=True))
                actions.append(f"remote {len(inputs)} {posixpath.basename(source.rstrip('/'))}")
                continue
            local.append(source)
            if parents:
                actions.append(f"parents {_parents_pattern(source)!r} {unpacks}")
            else:
                actions.append(f"path {_base_name(source)!r} {unpacks}")
        # However they are mixed, the engine copies inline files last.
        actions += ["inline " + _inline(heredoc, env) for heredoc in instruction.heredocs]
        from_ = instruction.from_ if isinstance(instruction, ins.Copy) else None
        if local:
            producer = self._source(draft, from_, span, numbers=True)
            if producer is not None:
                taken = Taken(tuple(local), wildcards=True, excludes=instruction.excludes, parents=parents)
                inputs.insert(0, Input(producer, (taken,), by_content=True))
            else:
                actions.append("from nothing")
        # A linked copy is independent of its base only where the engine can merge, and not with --chmod.
        is_linked = instruction.link and self.options.merges and chmod is None
        base = [] if is_linked else self._base_inputs(draft)
        if base and inputs and inputs[0].producer == draft.producer:
            # One input to the engine, which counts by definition as a base does: what is taken is not looked
            # at, and not even the path of it counts.
            base = [Input(base[0].producer, inputs.pop(0).taken)]
        wiring = [type(entry.producer).__name__ == "FromRemote" for entry in inputs]
        parts = (
            ("files", "\n".join(actions)),
            ("destination", shared),
            ("wiring", repr((not base, wiring, len(base) and bool(base[0].taken)))),
            *((("timestamp", self.given["SOURCE_DATE_EPOCH"]),) if "SOURCE_DATE_EPOCH" in self.given else ()),
        )
        vertex = last = self._add_vertex(Operation("copy", parts), [*base, *inputs])
        if is_linked and draft.producer is not None:
            merged = [Input(draft.producer), Input(FromVertex(vertex))]
            last = self._add_vertex(Operation("merge", ()), merged)
        self._add_step(
            draft,
            instruction,
            text,
            vertex=vertex,
            last_vertex=last,
            is_trigger=is_trigger,
            destination=destination.removesuffix(".") if destination.endswith("/.") else destination,
        )
        draft.producer = FromVertex(last)

    def _run(self, draft: _Draft, instruction: ins.Run, *, is_trigger: bool) -> None:
        draft.ordinal += 1
        span = instruction.span
        argv = _argv(ins.run_script(instruction), draft.shell)
        mounts = [self._given_mount(draft, mount, span) for mount in instruction.mounts]
        # The engine sorts what is mounted by its target, then come secrets and ssh sockets as written.
        mounts.sort(
            key=lambda given: (
                _MOUNT_ORDER.get(given["type"], 0),
                given["target"] * (given["type"] in _SORTED),
            )
        )
        sources = _MountSources()
        covered = [self._mount(draft, given, span, sources) for given in mounts]
        inputs = [
            Input(producer, taken=tuple(sorted(set(takings), key=repr)), by_content=True)
            for producer, takings in sources.taken.items()
        ]
        if draft.producer is not None:
            own = next((entry for entry in inputs if entry.producer == draft.producer), None)
            # What is mounted from the base itself is one input with it: the engine compares the whole file
            # system of the base, and sees neither the path nor that another one is mounted now.
            base = Input(draft.producer) if own is None else Input(draft.producer, (_WHOLE,), by_content=True)
            inputs = [base, *(entry for entry in inputs if entry is not own)]
        network = instruction.network or self.options.network or "default"
        security = instruction.security or "sandbox"
        hosts = sorted(host.partition(":")[0].partition("=")[0] for host in self.options.add_hosts)
        parts: list[tuple[str, str]] = [
            ("command", argv),
            ("environment", "\0".join(f"{name}={value}" for name, value in draft.environment.pairs())),
            ("workdir", draft.workdir),
            ("user", draft.user),
            ("network", network),
            ("security", security),
            ("hosts", " ".join(hosts)),
            ("platform", str(draft.platform)),
            ("mounts", "\n".join(covered)),
            ("devices", "\n".join(instruction.devices)),
            ("options", "\n".join(f"{key}={value}" for key, value in self.options.run_options)),
            ("wiring", repr((draft.producer is None, len(inputs)))),
        ]
        hostname = self.given.get("BUILDKIT_SANDBOX_HOSTNAME")
        if hostname is not None:
            parts.append(("hostname", hostname))
        vertex = self._add_vertex(Operation("exec", tuple(parts)), inputs)
        self._add_step(draft, instruction, instruction.text, vertex=vertex, is_trigger=is_trigger)
        draft.producer = FromVertex(vertex)

    def _given_mount(self, draft: _Draft, mount: ins.Mount, span: Span) -> dict[str, str]:
        """Return the options of a mount by their proper names, the target as the engine spells it."""
        given = {
            _MOUNT_ALIASES.get(key, key): value
            if key == "from"
            else self._expand(value, draft.environment.mapping, span)
            for key, value in mount.options
        }
        kind = given.setdefault("type", "bind").lower()
        given["type"] = kind
        target = given.get("target", "")
        if kind in _SORTED and target and not target.startswith("/"):
            target = _joined(draft.workdir, target)
        if kind == "cache" and "target" in given:
            given.setdefault("id", posixpath.normpath(given["target"]))
        given["target"] = target
        _check_mount(given, span)
        return given

    def _mount(self, draft: _Draft, given: Mapping[str, str], span: Span, sources: "_MountSources") -> str:
        """Return what of one mount is in the key, and note its source as an input."""
        kind, target = given["type"], given["target"]
        readonly = _mount_readonly(given, kind)
        source = given.get("source", "")
        wired = ""
        if kind == "bind" or (kind == "cache" and given.get("from")):
            producer = self._source(draft, given.get("from"), span, numbers=False)
            if producer is not None:
                sources.taken.setdefault(producer, []).append(Taken((source or "/",)))
                others = [one for one in sources.taken if one != draft.producer]
                wired = "base" if producer == draft.producer else str(others.index(producer))
        owner: tuple[str, ...] = (
            _number(given.get("uid"), "0"),
            _number(given.get("gid"), "0"),
            _mode(given.get("mode")) or "",
        )
        is_required = given.get("required", "false") in _TRUE
        covered: tuple[object, ...]
        match kind:
            case "bind":
                covered = (target, readonly, wired)
            case "cache":
                # The engine takes a name out of its key, unless it looks like the one that a cache has by
                # default: what stands behind the namespace is the target.
                namespace = self.given.get("BUILDKIT_CACHE_MOUNT_NS", "")
                name = f"{namespace}/{given['id']}"
                is_shared = given.get("sharing", "shared") == "shared"
                is_default = is_shared and target in {name, name.partition("/")[2]}
                has_owner = any(key in given for key in ("uid", "gid", "mode"))
                covered = (
                    target,
                    readonly,
                    name if is_default else "",
                    (*owner[:2], owner[2] or "493") if has_owner else None,
                    wired,
                )
            case "tmpfs":
                covered = (target, _bytes(given.get("size", "")))
            case "secret":
                name = source or given.get("id") or posixpath.basename(target)
                place = target or ("" if "env" in given else f"/run/secrets/{posixpath.basename(name)}")
                covered = (name, place, given.get("env"), (*owner[:2], owner[2] or "256"), is_required)
            case "ssh":
                covered = (given.get("id", ""), target, (*owner[:2], owner[2] or "384"), is_required)
            case _:
                raise _Refused(span, f"unknown mount type {kind!r}", "bind, cache, tmpfs, secret or ssh")
        return repr((kind, covered))


_MOUNT_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}


_SORTED = frozenset({"bind", "cache", "tmpfs"})
_MOUNT_ORDER = {"secret": 1, "ssh": 2}
_TRUE = frozenset({"", "1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)


def _number(text: str | None, default: str) -> str:
    return default if text is None else str(int(text)) if _NUMBER.fullmatch(text) else text


def _bytes(text: str) -> str:
    """Return a size as a number of bytes, so that `1m` equals `1048576`; none is like nothing given."""
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * 1024 ** " kmgtp".index(found[2].lower() or " ")) if found else text
    return str(size or "")


def _check_mount(given: Mapping[str, str], span: Span) -> None:
    """Refuse what the engine refuses of a mount."""
    kind, target = given["type"], given["target"]
    if kind in _SORTED and _joined("/", target) == "/":
        raise _Refused(
            span, f"a mount of type {kind} with the target {target or 'missing'!r}", "target=/path"
        )
    if kind == "secret" and not (target or given.get("id") or given.get("source")):
        raise _Refused(span, "a secret without a name", "id=NAME")
    if given.get("sharing", "shared") not in {"shared", "private", "locked"}:
        raise _Refused(span, f"unknown sharing {given['sharing']!r}", "shared, private or locked")
    for key in ("uid", "gid"):
        if key in given and not _NUMBER.fullmatch(given[key]):
            raise _Refused(span, f"{key}={given[key]} is no number", f"{key}=0")
    for key in ("readonly", "readwrite", "required"):
        if given.get(key, "") not in _TRUE | _FALSE:
            raise _Refused(span, f"{key}={given[key]} is neither true nor false", key)


def _mount_readonly(given: Mapping[str, str], kind: str) -> bool:
    """Tell whether a mount is read-only: a bind is by default, others only when they say so."""
    if "readwrite" in given:
        return given["readwrite"] not in _TRUE
    if "readonly" in given:
        return given["readonly"] in _TRUE
    return kind == "bind"


def override_reference(override: str | None) -> str | None:
    """Return the image that a `--build-context NAME=docker-image://REF` stands for, else None."""
    prefix = "docker-image://"
    return override[len(prefix) :] if override is not None and override.startswith(prefix) else None


def _after_keyword(text: str) -> str:
    return text.partition(" ")[2].lstrip()


def _argv(form: ins.ScriptForm, shell: tuple[str, ...]) -> str:
    """Return what is executed, as one text that is equal when the engine's argument list is."""
    match form:
        case ins.ExecWords(words=words):
            return repr(words)
        case ins.HeredocFile(name=name, body=body):
            return repr((*shell, name, body))
        case ins.ShellLine(text=text) | ins.HeredocBody(text=text) | ins.LineWithHeredocs(text=text):
            return repr((*shell, text))
        case _:
            assert_never(form)


def _command_text(command: str | tuple[str, ...], shell: tuple[str, ...]) -> str:
    return repr(command if isinstance(command, tuple) else (*shell, command))


def _joined(folder: str, path: str) -> str:
    """Return the cleaned absolute path; Python alone keeps two slashes at the start."""
    return posixpath.normpath(posixpath.join("/", folder, path)).replace("//", "/")


def _destination(path: str, workdir: str) -> str:
    """Return the cleaned absolute destination with the end that its text has.

    `x/` and `x/.` both ask for a directory, and yet are two destinations to the engine; `.` alone is `./`.
    """
    cleaned = _joined(workdir, path)
    below = cleaned if cleaned == "/" else f"{cleaned}/"
    if path.endswith("/."):
        return f"{below}."
    return below if path in {"", "."} or path.endswith("/") else cleaned


def _base_name(source: str) -> str:
    return posixpath.basename(context_path(source)) or "/"


def _parents_pattern(source: str) -> tuple[str, str]:
    """Split the source of a COPY --parents at its pivot: (base name below which it counts, pattern)."""
    pivot, found, rest = source.partition("/./")
    if not found:
        return "/", context_path(source)
    return _base_name(pivot), context_path(rest)


def _owner(chown: str | None) -> tuple[str, ...] | None:
    if not chown:
        return None
    return tuple(_principal(part) for part in chown.split(":", 1))


def _principal(name: str) -> str:
    """Return a user or group as the engine keeps it: `root` and nothing are 0, and 007 is 7."""
    return "0" if name in {"", "root"} else str(int(name)) if _NUMBER.fullmatch(name) else name


_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


def _mode(chmod: str | None) -> str | None:
    if not chmod:
        return None
    try:
        return str(int(chmod, 8))
    except ValueError:
        return chmod


def _inline(heredoc: Heredoc, env: Mapping[str, str]) -> str:
    body = expand_heredoc(heredoc.body, env) if heredoc.expands else heredoc.body
    return repr((heredoc.name, body))


def _is_remote(source: str) -> bool:
    return source.startswith(("http://", "https://", "git://", "git@", "ssh://")) or ".git#" in source
