"""Installs and compilers that start from nothing, because no cache mount keeps what they fetched before.

The mounts are those of `plan/advice.py`. A proposal makes them useful: it takes out what empties or refuses
the cache, and puts the same mount on every step that works from it. It stays away where the layer itself has
to hold the files: a later step that must not reach the network (a cache can vanish at any time, and then only
the cached layer is left), a stage that starts from here and is not part of the target, or an image that
needs them when it runs.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from devloop.cost.priors import PRIORS
from devloop.cost.shell import commands_of, program_name
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.lines import SyntaxProblem
from devloop.doctor.graphs import (
    base_image,
    chain,
    image_name,
    is_above,
    runs,
    steps_above,
    steps_below,
    taken_from,
)
from devloop.doctor.model import Finding, Proposal
from devloop.doctor.rewrite import (
    before_command,
    edit_of,
    text_of,
    with_flags,
    without_commands,
    without_words,
)
from devloop.plan.advice import CacheMount, Surroundings, cache_mounts, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devloop.dockerfile.stages import BuildGraph, Step
    from devloop.doctor.model import LineEdit, PricedStep, Rule, Subject

LEAST_SAVED_SECONDS = 2.0
"""A mount that saves less on a run is not worth a line."""

_KINDS = frozenset(
    {"pip-install", "pip-project", "pip-tools", "pip-tool", "uv-sync", "poetry-install", "pdm-install"}
    | {"pipenv-install", "conda-install", "micromamba-install", "npm-install", "npm-global", "yarn-install"}
    | {"pnpm-install", "bun-install", "go-mod", "go-install", "go-build", "cargo-chef-cook", "cargo-fetch"}
    | {"cargo-install", "cargo-build", "maven-dependencies", "maven-build", "gradle-dependencies"}
    | {"gradle-build", "gradle-wrapper", "sbt-build", "bundle-install", "composer-install"}
    | {"dotnet-restore", "dotnet-build", "mix-deps", "rebar3", "haskell-build", "cabal-update"}
    | {"swift-resolve", "swift-build", "apt-install", "apt-update", "dnf-install", "pacman-install"}
)
_FAMILY_OF: Mapping[str, str] = {prior.kind: prior.family for prior in reversed(PRIORS)}
_WARM_OF: Mapping[str, float] = {prior.kind: prior.warm for prior in reversed(PRIORS)}

# Steps of these work from one cache: a mount on one alone takes from the others what they need.
_TOGETHER = frozenset(
    {"go", "cargo", "maven", "gradle", "sbt", "haskell", "dotnet", "swift", "pnpm", "yarn", "apt", "dnf"}
)
_SMALL = frozenset({"pip-tool", "npm-global", "go-install", "cargo-install", "gradle-wrapper"})

_OFFLINE = re.compile(
    r"(?<![\w-])--offline\b|--no-build\b|\bmvnw?\b[^&;|\n]*\s-o\b|GOPROXY=off|-mod=vendor"
    r"|--no-index\b|--immutable-cache\b"
)
_OFFLINE_VARIABLES = (
    ("CARGO_NET_OFFLINE", "true"),
    ("GOPROXY", "off"),
    ("GOFLAGS", "-mod=vendor"),
    ("UV_OFFLINE", "1"),
)

# What refuses the cache, by family: words of the install itself, and whole commands that empty it.
_REFUSING: Mapping[str, tuple[str, ...]] = {
    "pip": ("--no-cache-dir",),
    "uv": ("--no-cache",),
    "poetry": ("--no-cache",),
    "bun": ("--no-cache",),
    "composer": ("--no-cache",),
    # Not a cache refused, but one relied on: without the flag a restore that is up to date takes a moment,
    # and one whose packages were cleaned away with the cache is made again instead of failing.
    "dotnet": ("--no-restore",),
}
_EMPTYING: Mapping[str, tuple[str, ...]] = {
    "pip": (r"pip3? cache purge",),
    "uv": (r"uv cache (?:clean|prune)",),
    "poetry": (r"poetry cache clear[ \w.-]*",),
    "npm": (r"npm cache (?:clean|verify)(?: --force| -f)?",),
    "yarn": (r"yarn cache clean(?: --all| --force| --mirror)?",),
    "pnpm": (r"pnpm store prune",),
    "conda": (r"(?:conda|mamba|micromamba) clean(?: -{1,2}[\w-]+)*",),
    "go": (r"go clean(?: -(?:cache|modcache|testcache))+",),
    "composer": (r"composer clear-?cache",),
    "apt": (r"(?:apt-get|apt)(?: -[\w-]+)* (?:auto)?clean(?: -[\w-]+)*",),
    "dnf": (r"(?:dnf|yum|microdnf) clean all",),
}
# The author chose the place of a cache himself.
_PLACED = re.compile(
    r"(?<![\w-])--cache(-dir|-folder)?[= ]|--store-dir\b|-Dmaven\.repo\.local|--gradle-user-home"
    r"|\bconfig set (cache|cache-folder|store-dir|cache-dir)\b"
    r"|\b(PIP_CACHE_DIR|UV_CACHE_DIR|POETRY_CACHE_DIR|GOCACHE|GOMODCACHE|GOPATH|CARGO_HOME|GRADLE_USER_HOME"
    r"|NUGET_PACKAGES|npm_config_cache|YARN_CACHE_FOLDER|COMPOSER_CACHE_DIR|HOME)="
)
_REFUSING_VARIABLES: Mapping[str, str] = {"pip": "PIP_NO_CACHE_DIR", "uv": "UV_NO_CACHE"}

_CONDA_BASES = frozenset({"miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba"})
_KEEP_DOWNLOADS = "/etc/apt/apt.conf.d/docker-clean"
_POSIX = frozenset({"sh", "bash", "dash", "ash"})


@dataclass(slots=True)
class _Candidate:
    """A step that should get mounts: by family, and with what stands in the way of writing them."""

    priced: PricedStep
    run: ins.Run
    kinds: tuple[str, ...]
    families: tuple[str, ...]
    mounts: dict[str, CacheMount] = field(default_factory=dict)
    stops: str = ""

    @property
    def step(self) -> Step:
        return self.priced.step


def no_cache_mount(subject: Subject) -> Iterator[Finding]:
    """Find installs and compilers without a cache mount, those that share a cache together."""
    graph = subject.model.graph
    candidates: dict[int, _Candidate] = {}
    for step, run in runs(graph):
        found = _candidate(subject, step, run)
        if found is not None:
            candidates[step.number] = found
    for group in _groups(graph, candidates):
        wanted = [one for one in group if one.mounts]
        saved = sum(_saved_seconds(one) for one in wanted)
        if wanted and saved >= LEAST_SAVED_SECONDS:
            yield _finding(subject, wanted, saved)


def _finding(subject: Subject, group: Sequence[_Candidate], saved: float) -> Finding:
    first = group[0]
    stops = next((one.stops for one in group if one.stops), "")
    mounted = [] if stops else [*group, *_also_mounted(subject, group)]
    edits: list[LineEdit] = []
    for one in mounted:
        edit, problem = _edit(subject, one, mounted)
        stops = stops or problem
        if edit is not None:
            edits.append(edit)
    families = list(dict.fromkeys(family for one in group for family in one.families))
    names = " and ".join(_NAMES.get(family, family) for family in families)
    targets = list(dict.fromkeys(target for one in group for target in one.mounts))
    further = ""
    if {kind for one in group for kind in one.kinds} & {"cargo-build", "cargo-chef-cook"}:
        further = (
            "; one on the target folder, with an id of its own, would also keep what was compiled, if the "
            "same RUN copies the program out of it"
        )
    numbers = [str(one.step.span.first) for one in mounted or group]
    lines = f"line{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
    compiles = any(role_of(kind, one.priced.cost.command) == "build" for one in group for kind in one.kinds)
    verb = "fetches and compiles" if compiles else "fetches"
    return Finding(
        code="no-cache-mount",
        title=f"{names} {'start' if len(families) > 1 else 'starts'} from an empty cache each time",
        first_line=first.step.span.first,
        last_line=first.step.span.last,
        why=f"without a cache mount a run of this step {verb} everything again, also what did not change",
        way_out=f"mount a cache on {' and '.join(targets)} ({lines}){further}",
        category="speed",
        proposal=None if stops or not edits else Proposal(tuple(edits), intends=frozenset({"cache mount"})),
        wasted=tuple(one.step.vertex for one in group if one.step.vertex is not None),
        seconds=round(saved, 1),
        stops=stops,
    )


_NAMES: Mapping[str, str] = {
    "bundler": "bundle",
    "maven": "Maven",
    "gradle": "Gradle",
    "dotnet": ".NET",
    "haskell": "Haskell",
    "swift": "Swift",
    "go": "Go",
}
# With the mounts that are proposed here the compiled parts of these are still made anew.
_SAVED_SHARE: Mapping[str, float] = {
    "cargo-build": 0.1,
    "cargo-chef-cook": 0.1,
    "cargo-install": 0.1,
    "swift-build": 0.2,
    "dotnet-build": 0.3,
}


# --- which steps, and which mounts -------------------------------------------------------------------------


def _candidate(subject: Subject, step: Step, run: ins.Run) -> _Candidate | None:
    priced = subject.steps[step.number]
    one = priced.classification
    if one is None or program_name(step.shell[0] if step.shell else "") not in _POSIX:
        return None
    kinds = tuple(kind for kind in one.kinds if kind in _KINDS)
    candidate = _Candidate(priced, run, kinds, tuple(dict.fromkeys(_FAMILY_OF[kind] for kind in kinds)))
    for kind in kinds:
        family = _FAMILY_OF[kind]
        if _needs_its_layer(subject, family, step) or _is_left_alone(subject, kind, family, step):
            continue
        near = _relatives(subject, step) if family in _TOGETHER else (step,)
        is_served = _has_mounts(subject, family, near)
        for mount in _right_mounts(subject, kind, family, step):
            # Where the tool has a cache already, modules in a layer or elsewhere are the author's choice.
            if is_served and not mount.target.endswith("/go-build"):
                continue
            if not any(is_above(place, mount.target) for place in _mounted(step, run, _ANY_MOUNT)):
                candidate.mounts.setdefault(mount.target, mount)
    if any(not mount.is_owner_known for mount in candidate.mounts.values()):
        candidate.stops = f"the numbers of the user {step.user} are not known, and the cache has to be his"
    elif "dnf" in candidate.families or "pacman" in candidate.families:
        candidate.stops = "its downloads are kept only by a setting of its own (keepcache=1)"
    elif "conda" in candidate.families and image_name(base_image(subject.model.graph, step.stage)) not in (
        _CONDA_BASES
    ):
        candidate.stops = "where conda keeps its packages in this image is not known"
    return candidate if candidate.mounts else None


def _right_mounts(subject: Subject, kind: str, family: str, step: Step) -> tuple[CacheMount, ...]:
    graph = subject.model.graph
    text = subject.steps[step.number].cost.command
    above = tuple(other for other in steps_above(graph, step) if isinstance(other.instruction, ins.Run))
    earlier = tuple(subject.steps[other.number].cost.command for other in above)
    role = role_of(kind, text)
    below = [other for other in steps_below(graph, step) if isinstance(other.instruction, ins.Run)]
    where = Surroundings(
        text=text,
        line=step.span.first,
        user=step.user,
        environment=dict(step.environment),
        base=base_image(graph, step.stage),
        earlier=earlier,
        taken=taken_from(graph, step.stage),
        copied=_copied(graph, step, only_stages=False),
        copied_from=_copied(graph, step, only_stages=True),
        # Other steps of the family get the mount as well.
        is_used_later=bool(below) or family in _TOGETHER,
        is_kept=step.stage in chain(graph, graph.target),
        started=_started(graph),
    )
    mounts = cache_mounts(kind, family, role, where)
    if family == "poetry" and not _installs_beside_its_cache(where):
        # The environments themselves are kept below the cache.
        mounts = tuple(
            replace(mount, target=f"{mount.target}/{part}")
            for mount in mounts
            for part in ("cache", "artifacts")
        )
    return mounts


def _installs_beside_its_cache(where: Surroundings) -> bool:
    for name, off in (("POETRY_VIRTUALENVS_CREATE", "false"), ("POETRY_VIRTUALENVS_IN_PROJECT", "true")):
        value = where.environment.get(name, "").lower()
        if value in {off, "0" if off == "false" else "1"}:
            return True
    said = " ".join((*where.earlier, where.text))
    return re.search(r"virtualenvs\.(create\s+(false|0)|in-project\s+(true|1))", said) is not None


def _copied(graph: BuildGraph, step: Step, *, only_stages: bool) -> tuple[str, ...]:
    return tuple(
        one.destination.rstrip("/") or "/"
        for one in steps_above(graph, step)
        if isinstance(one.instruction, ins.Copy | ins.Add) and one.destination is not None
        if not only_stages or (isinstance(one.instruction, ins.Copy) and one.instruction.from_ is not None)
    )


def _started(graph: BuildGraph) -> str:
    configuration = dict(graph.configuration)
    texts = (configuration.get(part, "") for part in ("entrypoint", "cmd"))
    return " ".join(one or other for text in texts for one, other in _QUOTED.findall(text))


_ANY_MOUNT = frozenset({"cache", "bind", "tmpfs"})
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def _mounted(step: Step, run: ins.Run, types: frozenset[str] = frozenset({"cache"})) -> tuple[str, ...]:
    """Return where a step has mounts of these types; a variable is filled in as far as it is known."""
    found: list[str] = []
    for mount in run.mounts:
        target = mount.get("target", "dst", "destination") or ""
        if mount.type not in types or not target:
            continue
        for name, value in step.environment:
            target = target.replace(f"${{{name}}}", value).replace(f"${name}", value)
        found.append(posixpath.normpath(posixpath.join("/", step.workdir, target)))
    return tuple(found)


def _needs_its_layer(subject: Subject, family: str, step: Step) -> bool:
    """Tell whether a step of the family must find its files in the layer: a cache may be gone by then."""
    if family not in _TOGETHER:
        return False
    for other in _relatives(subject, step):
        priced = subject.steps[other.number]
        is_ours = priced.classification is not None and family in priced.classification.families
        environment = dict(other.environment)
        run = other.instruction
        is_cut_off = isinstance(run, ins.Run) and run.network == "none"
        if is_ours and family not in {"apt", "dnf"} and _derived_elsewhere(subject, other):
            return True
        if is_ours and (
            _OFFLINE.search(priced.cost.command)
            or is_cut_off
            or any(environment.get(name) == value for name, value in _OFFLINE_VARIABLES)
        ):
            return True
    return False


def _relatives(subject: Subject, step: Step) -> tuple[Step, ...]:
    """Return the RUN steps that share layers with one: above, itself, and below in any stage."""
    graph = subject.model.graph
    return tuple(
        one
        for one in (*steps_above(graph, step), step, *steps_below(graph, step))
        if isinstance(one.instruction, ins.Run)
    )


def _derived_elsewhere(subject: Subject, step: Step) -> bool:
    """Tell whether a stage that is not part of the target starts from the stage of a step."""
    graph = subject.model.graph
    known = {stage.span for stage in graph.stages}
    names = {graph.stage(index).name for index in _stages_on(graph, step.stage)}
    return any(
        isinstance(one, ins.From) and one.span not in known and one.image.lower() in names
        for one in subject.dockerfile.instructions
    )


def _stages_on(graph: BuildGraph, index: int) -> tuple[int, ...]:
    return tuple(stage.index for stage in graph.stages if index in chain(graph, stage.index))


def _is_left_alone(subject: Subject, kind: str, family: str, step: Step) -> bool:
    """Tell whether the author decided against a mount here, or a mount would be of no use."""
    texts = [subject.steps[other.number].cost.command for other in steps_above(subject.model.graph, step)]
    if any(_PLACED.search(text) for text in (*texts, subject.steps[step.number].cost.command)):
        return True
    if dict(step.environment).get("UV_LINK_MODE") == "symlink" and family == "uv":
        return True
    is_small = kind in _SMALL or _only_generates(subject.steps[step.number].cost.command)
    return is_small and _has_mounts(subject, family, _relatives(subject, step))


_GENERATES = re.compile(r"\bgo generate\b")
_COMPILES = re.compile(r"\bgo (?:-C \S+ )?(?:build|test|install|run|vet|mod|get|tool)\b")


def _only_generates(text: str) -> bool:
    """Tell whether the one thing that go does is to start generators, which may use no module at all."""
    return _GENERATES.search(text) is not None and _COMPILES.search(text) is None


def _has_mounts(subject: Subject, family: str, steps: Sequence[Step]) -> bool:
    """Tell whether one of these steps uses a tool with a cache mount."""
    return any(
        isinstance(step.instruction, ins.Run)
        and family in subject.steps[step.number].cost.families
        and bool(_mounted(step, step.instruction))
        for step in steps
    )


def _saved_seconds(one: _Candidate) -> float:
    seconds = one.priced.cost.seconds
    if seconds is None:
        return 0.0
    return seconds * min(_SAVED_SHARE.get(kind, 1.0 - _WARM_OF[kind]) for kind in one.kinds)


def _groups(graph: BuildGraph, candidates: Mapping[int, _Candidate]) -> list[list[_Candidate]]:
    """Put steps together that work from one cache: same family, and one stands on the other."""
    groups: list[list[_Candidate]] = []
    for number in sorted(candidates):
        one = candidates[number]
        joined = [group for group in groups if any(_belongs_together(graph, one, other) for other in group)]
        merged = [other for group in joined for other in group] + [one]
        groups = [group for group in groups if group not in joined] + [merged]
    return groups


def _belongs_together(graph: BuildGraph, one: _Candidate, other: _Candidate) -> bool:
    shared = set(one.families) & set(other.families) & _TOGETHER
    roots = {chain(graph, each.step.stage)[-1] for each in (one, other)}
    return bool(shared) and len(roots) == 1


def _also_mounted(subject: Subject, group: Sequence[_Candidate]) -> list[_Candidate]:
    """Return the steps that need a group's mounts as well: the same tool in cheap calls, and hidden work."""
    graph = subject.model.graph
    families = {family for one in group for family in one.families} & _TOGETHER - {"apt", "dnf"}
    taken = {one.step.number for one in group}
    found: list[_Candidate] = []
    for one in group:
        for step in steps_below(graph, one.step):
            classification = subject.steps[step.number].classification
            run = step.instruction
            if step.number in taken or classification is None or not isinstance(run, ins.Run):
                continue
            is_hidden = not {"opaque", "unknown"}.isdisjoint(classification.kinds)
            if not families or step.is_trigger or not (is_hidden or families & set(classification.families)):
                continue
            if _mounted(step, run):
                continue
            taken.add(step.number)
            mounts = {
                target: mount
                for each in group
                if families & set(each.families)
                for target, mount in each.mounts.items()
            }
            if is_hidden and "go" in families:
                # What builds a Go project has use for both of its caches.
                builds = _right_mounts(subject, "go-build", "go", step)
                mounts.update((mount.target, mount) for mount in builds)
            found.append(_Candidate(subject.steps[step.number], run, (), tuple(sorted(families)), mounts))
    return found


# --- the edit ----------------------------------------------------------------------------------------------


def _edit(subject: Subject, one: _Candidate, group: Sequence[_Candidate]) -> tuple[LineEdit | None, str]:
    """Write the mounts into a step and take out what makes them useless; else say what stands in the way."""
    first_user = group[0].step.user
    if one.step.user != first_user:
        return None, f"line {one.step.span.first} runs as another user"
    other_use = _other_use(subject, one, group)
    if other_use is not None:
        return None, f"line {other_use} works with the files of the cache"
    escape = subject.dockerfile.escape
    text = text_of(subject, one.run)
    cleaned = _without_what_refuses(text, one, escape)
    prefix, problem = _prefix(subject, one, group)
    if problem:
        return None, problem
    for part in reversed(prefix):
        put = _before(cleaned, part, escape, one.run)
        if put is None:
            return None, "the step is no shell command that can be added to"
        cleaned = put
    flags = [_flag(mount) for mount in one.mounts.values()]
    final = with_flags(cleaned, flags, escape)
    if final is None:
        return None, "the step is not written in a way that can be changed for sure"
    problem = _still_refuses(subject, one, final)
    return (None, problem) if problem else (edit_of(subject, one.run, final), "")


def _flag(mount: CacheMount) -> str:
    sharing = f",sharing={mount.sharing}" if mount.sharing else ""
    return f"--mount=type=cache,target={mount.target}{sharing}{mount.owner}"


def _without_what_refuses(text: str, one: _Candidate, escape: str) -> str:
    families = set(one.families)
    if "pip-tools" in families:
        families.add("pip")
    patterns = [pattern for family in sorted(families) for pattern in _EMPTYING.get(family, ())]
    removals, words = _removals(one, escape)
    text = without_commands(text, [*patterns, *removals], escape)
    refusing = [word for family in sorted(families) for word in _REFUSING.get(family, ())]
    return without_words(text, [*(re.escape(word) for word in refusing), *words], escape)


def _removals(one: _Candidate, escape: str) -> tuple[list[str], list[str]]:
    """Return what removes the cache: whole commands, and words of commands that remove more than it."""
    gap = rf"(?:[ \t]|{re.escape(escape)}[ \t]*\r?\n)+"
    commands: list[str] = []
    words: list[str] = []
    for command in commands_of(_script(one.run)):
        if command.program != "rm":
            continue
        plain = [word for word in command.arguments if not word.startswith("-")]
        hit = [word for word in plain if any(is_above(at, _place(word, one)) for at in one.mounts)]
        if hit and len(hit) == len(plain):
            tail = "".join(f'{gap}"?{re.escape(word)}"?' for word in plain)
            commands.append(rf"(?:sudo )?rm(?:{gap}-[a-zA-Z]+)*{tail}")
        else:
            words += [rf"\"?{re.escape(word)}\"?" for word in hit]
    return commands, words


def _place(word: str, one: _Candidate) -> str:
    """Return the path that a word of rm is about: its home filled in, and up to its first wildcard."""
    environment = dict(one.step.environment)
    home = environment.get("HOME") or ("/root" if one.step.user in {"", "root", "0"} else "")
    if not home and one.step.user:
        home = f"/home/{one.step.user.partition(':')[0]}"
    word = word.replace("${HOME}", home).replace("$HOME", home)
    if word == "~" or word.startswith("~/"):
        word = home + word[1:]
    for name, value in environment.items():
        word = word.replace(f"${{{name}}}", value)
    kept = re.split(r"[*?\[]", word)[0]
    if kept != word:
        kept = kept.rpartition("/")[0] or "/"
    return posixpath.normpath(posixpath.join("/", one.step.workdir, kept))


def _script(run: ins.Run) -> str:
    form = ins.run_script(run)
    match form:
        case ins.ExecWords(words=words):
            return " ".join(words)
        case ins.HeredocFile(body=body):
            return body
        case ins.ShellLine(text=text) | ins.HeredocBody(text=text) | ins.LineWithHeredocs(text=text):
            return text


def _still_refuses(subject: Subject, one: _Candidate, text: str) -> str:
    """Look at the new text once more: whatever would empty the cache, or fail on it, ends the proposal."""
    source = f"# escape={subject.dockerfile.escape}\nFROM scratch\n{text}"
    parsed = ins.parse(source.encode("utf-8", "surrogateescape"))
    if isinstance(parsed, SyntaxProblem) or not isinstance(parsed.instructions[-1], ins.Run):
        return "the step is not written in a way that can be changed for sure"
    run = parsed.instructions[-1]
    script = _script(run)
    for family in one.families:
        for pattern in (*(re.escape(word) for word in _REFUSING.get(family, ())), *_EMPTYING.get(family, ())):
            found = re.search(rf"{pattern}(?![\w-])", script)
            if found is not None:
                return f"the step itself empties or refuses the cache ({found[0]})"
    for command in commands_of(script):
        if command.program not in {"rm", "mv", "rmdir", "find"}:
            continue
        for word in command.arguments:
            place = _place(word, one)
            if not word.startswith("-") and any(
                is_above(place, at) or is_above(at, place) for at in one.mounts
            ):
                return f"the step removes {word}, where the cache would be mounted"
    return ""


def _other_use(subject: Subject, one: _Candidate, group: Sequence[_Candidate]) -> int | None:
    """Return the line of a step outside of the group that names a place of the cache."""
    ours = {other.step.number for other in group}
    names = [name for target in one.mounts for name in _spellings(target)]
    for step, _ in runs(subject.model.graph):
        if step.number in ours:
            continue
        text = subject.steps[step.number].cost.command
        if any(name in text for name in names) and not re.search(r"\brm\b", text):
            return step.span.first
    return None


def _spellings(target: str) -> tuple[str, ...]:
    found = re.fullmatch(r"(?:/root|/home/[^/]+)/(.+)", target)
    if found is not None:
        return target, *(f"{home}/{found[1]}" for home in ("~", "$HOME", "${HOME}"))
    return (target,)


def _prefix(subject: Subject, one: _Candidate, group: Sequence[_Candidate]) -> tuple[list[str], str]:
    """Return the commands that have to stand in front, so that the tool uses its cache."""
    found: list[str] = []
    environment = dict(one.step.environment)
    for family in one.families:
        variable = _REFUSING_VARIABLES.get("pip" if family == "pip-tools" else family)
        # pip takes every value for a yes, `0` and `false` included.
        if variable is not None and environment.get(variable) and any(one.kinds):
            found.append(f"unset {variable}")
    if "apt" not in one.families:
        return found, ""
    if _takes_lists_from_below(subject, one):
        return [], "it installs from package lists of another layer, which a mount would hide"
    if _keeps_lists_for_others(subject, group):
        return [], "a step whose work cannot be seen may need the package lists of an earlier layer"
    texts = [subject.steps[step.number].cost.command for step in steps_above(subject.model.graph, one.step)]
    above = {step.number for step in steps_above(subject.model.graph, one.step)}
    is_first = not any("apt" in other.families and other.step.number in above for other in group)
    if is_first and not any("docker-clean" in text for text in (*texts, one.priced.cost.command)):
        found.append(f"rm -f {_KEEP_DOWNLOADS}")
        commands = [command for other in group for command in commands_of(_script(other.run))]
        if any(command.program == "apt" and "install" in command.arguments for command in commands):
            found.append(
                "echo 'Binary::apt::APT::Keep-Downloaded-Packages \"true\";' > /etc/apt/apt.conf.d/keep-cache"
            )
    return found, ""


_UPDATES = re.compile(
    r"\b(apt-get|apt|aptitude)\b[^&;|\n]*\supdate\b|\binstall_packages\b|\badd-apt-repository\b"
)


def _takes_lists_from_below(subject: Subject, one: _Candidate) -> bool:
    """Tell whether a step installs without an update of its own.

    A mount would not do for lists: the update stays cached when the cache is long gone.
    """
    if "apt-install" not in one.kinds:
        return bool(steps_below(subject.model.graph, one.step)) and "apt-update" in one.kinds
    return _UPDATES.search(one.priced.cost.command) is None


def _keeps_lists_for_others(subject: Subject, group: Sequence[_Candidate]) -> bool:
    """Tell whether package lists stay in a layer on which something stands that may use them."""
    ours = {one.step.number for one in group}
    for one in group:
        text = one.priced.cost.command
        if "apt" not in one.families or re.search(r"rm -\w+ .*/var/lib/apt/lists", text, re.DOTALL):
            continue
        if _derived_elsewhere(subject, one.step):
            return True
        for step in steps_below(subject.model.graph, one.step):
            classification = subject.steps[step.number].classification
            if step.number in ours or classification is None:
                continue
            if {"opaque", "unknown"} & set(classification.kinds):
                return True
    return False


def _before(text: str, command: str, escape: str, run: ins.Run) -> str | None:
    """Put a command in front of a step: as the first line of a heredoc, else with `&&`."""
    if not isinstance(run.command, str):
        return None
    if run.heredocs:
        head, end, body = text.partition("\n")
        if not re.search(r"<<-?[\"']?\w+[\"']?\s*$", head) or body.lstrip().startswith("#!"):
            return None
        if isinstance(ins.run_script(run), ins.LineWithHeredocs):
            return None
        eol = "\r\n" if head.endswith("\r") else "\n"
        return f"{head}{end}{command}{eol}{body}"
    return before_command(text, f"{command} && ", escape)


# --- a later step that the mount was forgotten on ----------------------------------------------------------


def forgotten_mount(subject: Subject) -> Iterator[Finding]:
    """Find a step that works from a cache which only an earlier step mounts, and so fetches it all again."""
    graph = subject.model.graph
    for step, run in runs(graph):
        priced = subject.steps[step.number]
        one = priced.classification
        if one is None or one.seconds is None:
            continue
        for family in one.families:
            if family not in _FORGETTABLE or not any(_FAMILY_OF.get(kind) == family for kind in one.kinds):
                continue
            missing = _missing_mounts(subject, step, run, family)
            if not missing or _needs_its_layer(subject, family, step):
                continue
            if _only_generates(priced.cost.command):
                continue
            above, flags = missing
            text = with_flags(text_of(subject, run), flags, subject.dockerfile.escape)
            edit = None if text is None else edit_of(subject, run, text)
            yield Finding(
                code="cache-mount-forgotten",
                title=f"{_NAMES.get(family, family)} works without the cache that line {above} fills",
                first_line=step.span.first,
                last_line=step.span.last,
                why=f"what line {above} fetched lies in its cache mount and in no layer: without the mount "
                "this step fetches it again on each run",
                way_out=f"repeat the mount here: {' '.join(flags)}",
                category="speed",
                proposal=None if edit is None else Proposal((edit,), intends=frozenset({"cache mount"})),
                wasted=(step.vertex,) if step.vertex is not None else (),
                seconds=priced.cost.seconds,
            )
            break


_FORGETTABLE = frozenset({"go", "cargo", "maven", "gradle", "sbt", "dotnet"})
_DOWNLOADS = re.compile(r"/(pkg/mod|registry|\.cargo|\.m2|\.m2/repository|\.gradle|coursier|packages)$")


def _missing_mounts(subject: Subject, step: Step, run: ins.Run, family: str) -> tuple[int, list[str]] | None:
    """Return the line of an earlier step of the family with a mount on its downloads, and the flags."""
    mounted = _mounted(step, run)
    for other in reversed(steps_above(subject.model.graph, step)):
        earlier = other.instruction
        if not isinstance(earlier, ins.Run) or family not in subject.steps[other.number].cost.families:
            continue
        places = _mounted(other, earlier)
        caches = [mount for mount in earlier.mounts if mount.type == "cache" and mount.get("target", "dst")]
        missing = [
            f"--mount={mount.raw}"
            for mount, place in zip(caches, places, strict=False)
            if _DOWNLOADS.search(place) and not any(is_above(one, place) for one in mounted)
        ]
        return (other.span.first, missing) if missing else None
    return None


RULES: tuple[Rule, ...] = (no_cache_mount, forgotten_mount)
