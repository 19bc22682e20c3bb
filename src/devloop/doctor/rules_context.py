"""What reaches a COPY and should not: the repository's history, what tools made on the host, prose, secrets.

A builder is sent only what some step takes, so a folder that no COPY reaches costs nothing and is not found.
Lines for the ignore file are proposed where it is certain that no step and no program needs the files: the
Dockerfile does not name them, the source does not mention them, and what tools made is made again by a step.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.context.selection import Selection, reads
from devloop.cost.estimate import critical_path
from devloop.dockerfile import instructions as ins
from devloop.dockerfile.stages import MAIN_CONTEXT, FromContext, FromVertex
from devloop.doctor.edits import line_end
from devloop.doctor.graphs import context_takings, runs, steps_below
from devloop.doctor.mentions import copied_files, mentioned, selection_of
from devloop.doctor.model import Finding, Proposal
from devloop.paths import ContextPath, context_path
from devloop.plan.advice import names_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from devloop.dockerfile.stages import Step
    from devloop.doctor.model import ContextFile, Rule, Subject

NO_FILE, NEEDLESS, SECRET = "no-ignore-file", "context-junk", "secret-in-context"
CODES = frozenset({NO_FILE, NEEDLESS, SECRET})
"""Findings whose proposal is an ignore file."""

BYTES_A_SECOND = 100_000_000
FILES_A_SECOND = 5_000
"""How fast a local context is walked, sent and copied; a first build pays all of it."""

LARGE_BYTES = 50_000_000
EXPENSIVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Junk:
    """A folder or file that tools or people keep beside the source.

    `families` are kinds of installs of which one has to be in the build, because it makes the folder anew;
    `beside` is a file that has to lie beside it, or in it where it ends in a slash. With `is_git_ignored` it
    counts only where git ignores it too, since its name alone could be source.
    """

    name: str
    what: str
    families: frozenset[str] = frozenset()
    beside: tuple[str, ...] = ()
    is_git_ignored: bool = False


_NODE = frozenset({"npm", "yarn", "pnpm", "bun"})
_PYTHON = frozenset({"pip", "uv", "poetry", "pdm", "pipenv"})

_JUNK: tuple[_Junk, ...] = (
    _Junk(".git", "the history of the repository"),
    _Junk(".hg", "the history of the repository"),
    _Junk(".svn", "the history of the repository"),
    _Junk("node_modules", "modules of the host, copied over those of the image", _NODE),
    _Junk(".venv", "an environment of the host", _PYTHON, ("/pyvenv.cfg",)),
    _Junk("venv", "an environment of the host", _PYTHON, ("/pyvenv.cfg",)),
    _Junk("env", "an environment of the host", _PYTHON, ("/pyvenv.cfg",)),
    _Junk("__pycache__", "bytecode that runs on the host write"),
    _Junk(".pytest_cache", "a cache of tests"),
    _Junk(".mypy_cache", "a cache of checks"),
    _Junk(".ruff_cache", "a cache of checks"),
    _Junk(".hypothesis", "a cache of tests"),
    _Junk(".tox", "environments of tests"),
    _Junk(".nox", "environments of tests"),
    _Junk("htmlcov", "a report of tests", beside=("/index.html",)),
    _Junk(".nyc_output", "a report of tests"),
    _Junk(".ipynb_checkpoints", "copies that an editor keeps"),
    _Junk(".idea", "settings of an editor"),
    _Junk(".vscode", "settings of an editor"),
    _Junk(".github", "settings of the repository"),
    _Junk(".terraform", "plugins of the host"),
    _Junk(".next", "what a build on the host made", frozenset({"js"})),
    _Junk(".nuxt", "what a build on the host made", frozenset({"js"})),
    _Junk(".svelte-kit", "what a build on the host made", frozenset({"js"})),
    _Junk(".angular", "a cache of builds"),
    _Junk(".turbo", "a cache of builds"),
    _Junk(".parcel-cache", "a cache of builds"),
    _Junk("target", "what a build on the host made", frozenset({"cargo"}), ("Cargo.toml",)),
    _Junk("target", "what a build on the host made", frozenset({"maven"}), ("pom.xml",)),
    _Junk("build", "what a build on the host made", frozenset({"gradle"}), ("build.gradle",)),
    _Junk("build", "what a build on the host made", frozenset({"gradle"}), ("build.gradle.kts",)),
    _Junk(".gradle", "a cache of builds", frozenset({"gradle"})),
    _Junk("obj", "what a build on the host made", frozenset({"dotnet"}), ("*.csproj",)),
    _Junk("bin", "what a build on the host made", frozenset({"dotnet"}), ("*.csproj",)),
    _Junk("_build", "what a build on the host made", frozenset({"mix"}), ("mix.exs",)),
    _Junk("dist", "what a build on the host made", frozenset({"js"}), is_git_ignored=True),
    _Junk("build", "what a build on the host made", frozenset({"js"}), is_git_ignored=True),
    _Junk("out", "what a build on the host made", frozenset({"js"}), is_git_ignored=True),
    _Junk("coverage", "a report of tests", _NODE, is_git_ignored=True),
)
_ANYWHERE = frozenset({"node_modules", "__pycache__", ".ipynb_checkpoints", ".DS_Store"})

_PROSE = re.compile(
    r"(README|CHANGELOG|CHANGES|CONTRIBUTING|CODE_OF_CONDUCT|HISTORY)(\.\w+)?"
    r"|(docker-)?compose[\w.-]*\.ya?ml|\.gitlab-ci\.yml|\.travis\.yml|Jenkinsfile|\.pre-commit-config\.yaml"
    r"|[Dd]ockerfile(\.(?!dockerignore)[\w.-]+)?|devloop\.toml"
)
"""Files at the root that people edit, and that hardly a build reads."""

_PROSE_FOLDERS = frozenset({"docs", "doc", ".circleci", ".gitlab", ".changeset"})
_PROSE_ENDS = (
    *(".md", ".mdx", ".rst", ".adoc", ".txt", ".yml", ".yaml"),
    *(".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".drawio", ".puml", ".mmd"),
)
"""Folders at the root, where nothing but text and pictures is in them."""


@dataclass(frozen=True, slots=True)
class _Found:
    line: str
    name: str
    what: str
    files: tuple[ContextFile, ...]


def needless_files(subject: Subject) -> Iterator[Finding]:
    """Find what needlessly reaches a COPY, with the lines of the ignore file that keep it out.

    Prose counts only where an expensive step stands on the COPY: there an edit of a README runs it again.
    Beside an ignore file that keeps out all the rest it is for `edited_prose` to find.
    """
    copy = _broad_copy(subject)
    copied = copied_files(subject)
    if copy is None or not copied:
        return
    junk = _junk(subject, copied)
    large = _large(copied, junk)
    is_all_prose = subject.ignore_source is not None and not junk and not large
    prose = [] if is_all_prose or not _is_dear_below(subject, copy) else _prose(subject, copied)
    if junk or large or prose:
        yield _finding(subject, copy, junk, large, prose)


def edited_prose(subject: Subject) -> Finding | None:
    """Find prose that an ignore file lets through to an expensive step, and nothing else that is needless.

    Whether anybody edits it is a question to history, so whoever asks drops the finding where nobody does.
    """
    copy = _broad_copy(subject)
    copied = copied_files(subject)
    if copy is None or subject.ignore_source is None or not _is_dear_below(subject, copy):
        return None
    junk = _junk(subject, copied)
    prose = _prose(subject, copied)
    if junk or _large(copied, junk) or not prose:
        return None
    return _finding(subject, copy, [], [], prose)


def _finding(
    subject: Subject,
    copy: Step,
    junk: Sequence[_Found],
    large: Sequence[ContextFile],
    prose: Sequence[_Found],
) -> Finding:
    found = [*junk, *prose]
    size = sum(one.size for each in found for one in each.files) + sum(one.size for one in large)
    count = sum(len(each.files) for each in found) + len(large)
    proposal, stops = _ignoring(subject, [each.line for each in found])
    has_file = subject.ignore_source is not None
    named = [each.name for each in junk] + [one.path for one in large] or [one.name for one in prose]
    names = _shown(named)
    whats = list(dict.fromkeys(f"{each.name}: {each.what}" for each in found))
    whats += [f"{one.path}: {_megabytes(one.size)}" for one in large]
    verb = "reach" if len(set(named)) > 1 else "reaches"
    sending = size / BYTES_A_SECOND + count / FILES_A_SECOND
    wasted = _rerun_by(subject, [one for each in found for one in each.files]) if proposal else ()
    return Finding(
        code=NEEDLESS if has_file else NO_FILE,
        title=f"{names} {verb} {copy.keyword} on line {copy.span.first}"
        + ("" if has_file else ", and there is no .dockerignore"),
        first_line=copy.span.first,
        last_line=copy.span.last,
        why=f"{_shown(whats, 4)}; {count} files, {_megabytes(size)}, about {sending:.1f} s to send and copy "
        "at first, and each change of one of them runs this step and all below it again",
        way_out=f"keep it out: {', '.join(each.line for each in found)}"
        if found
        else "keep large files out of what is copied: a volume, or a COPY that names what the program needs",
        category="speed",
        proposal=proposal if found else None,
        wasted=wasted,
        seconds=_chain_seconds(subject, wasted) if wasted else round(sending, 2),
        bytes=size,
        stops=stops if found else "whether a program needs them cannot be told from their names",
    )


def _shown(names: Iterable[str], most: int = 3) -> str:
    listed = list(dict.fromkeys(names))
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB" if size >= 100_000 else f"{max(size, 1) / 1000:.1f} kB"


def _broad_copy(subject: Subject) -> Step | None:
    """Return the first step that takes a folder of the context, and not files that it names."""
    folders = {folder for one in subject.paths for folder in _folders(one.path)}
    for step in subject.model.graph.steps:
        if step.is_trigger or step.keyword not in {"COPY", "ADD"}:
            continue
        for taken in context_takings(subject.model.graph, step):
            sources = [context_path(source) for source in taken.sources]
            if any(not source or source in folders or "*" in source for source in sources):
                return step
    return None


def _rerun_by(subject: Subject, files: Sequence[ContextFile]) -> tuple[int, ...]:
    """Return the vertices that a change of one of the files runs: those that take one, and what follows."""
    graph = subject.model.graph
    rerun: set[int] = set()
    for vertex in graph.vertices:
        takings = [
            taken
            for entry in vertex.inputs
            if isinstance(entry.producer, FromContext) and entry.producer.name == MAIN_CONTEXT
            for taken in entry.taken
        ]
        above = {entry.producer.vertex for entry in vertex.inputs if isinstance(entry.producer, FromVertex)}
        if above & rerun or any(
            reads(selection_of(taken), ContextPath(one.path)) for taken in takings for one in files
        ):
            rerun.add(vertex.number)
    return tuple(sorted(rerun))


def _chain_seconds(subject: Subject, vertices: Sequence[int]) -> float:
    """Return what a build takes in which these vertices run."""
    graph = subject.model.graph
    prices = {
        one.step.vertex: one.cost.seconds or 0.0 for one in subject.steps if one.step.vertex is not None
    }
    nodes = {
        number: (
            prices.get(number, 0.0),
            [
                entry.producer.vertex
                for entry in graph.vertices[number].inputs
                if isinstance(entry.producer, FromVertex)
            ],
        )
        for number in vertices
    }
    return round(critical_path(nodes), 2)


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")
    for at in range(1, len(parts)):
        yield "/".join(parts[:at])


def _is_dear_below(subject: Subject, copy: Step) -> bool:
    return any(
        isinstance(step.instruction, ins.Run)
        and (subject.steps[step.number].cost.seconds or 0.0) >= EXPENSIVE_SECONDS
        for step in steps_below(subject.model.graph, copy)
    )


# --- what tools made ---------------------------------------------------------------------------------------


def _junk(subject: Subject, copied: Sequence[ContextFile]) -> list[_Found]:
    known = {one.path for one in subject.paths}
    families = _families(subject)
    folders: dict[str, list[ContextFile]] = {}
    for one in copied:
        place = next((folder for folder in _folders(one.path) if _is_junk_name(folder)), None)
        if place is not None:
            folders.setdefault(place, []).append(one)
    ignored_by_git = _git_ignored(subject)
    found: dict[str, _Found] = {}
    for place, files in folders.items():
        junk = next((one for one in _JUNK if _fits(one, place, known, families, ignored_by_git)), None)
        if junk is None or _is_named(subject, junk.name):
            continue
        line = f"**/{junk.name}" if junk.name in _ANYWHERE else place
        earlier = found.get(line)
        found[line] = _Found(line, junk.name, junk.what, (*(earlier.files if earlier else ()), *files))
    return [found[line] for line in sorted(found)]


_NAMES = frozenset(junk.name for junk in _JUNK)


def _is_junk_name(folder: str) -> bool:
    return folder.rpartition("/")[2] in _NAMES


def _families(subject: Subject) -> frozenset[str]:
    return frozenset(
        family
        for one in subject.steps
        if one.classification is not None
        for family in one.classification.families
    )


def _fits(
    junk: _Junk,
    place: str,
    known: set[str],
    families: frozenset[str],
    ignored_by_git: frozenset[str],
) -> bool:
    parent, _, name = place.rpartition("/")
    if name != junk.name or (junk.families and not junk.families & families):
        return False
    if junk.is_git_ignored and name not in ignored_by_git:
        return False
    for wanted in junk.beside:
        if wanted.startswith("/"):
            if place + wanted not in known:
                return False
        elif wanted.startswith("*"):
            if not any(posixpath.dirname(one) == parent and one.endswith(wanted[1:]) for one in known):
                return False
        elif posixpath.join(parent, wanted) not in known:
            return False
    return True


def _git_ignored(subject: Subject) -> frozenset[str]:
    text = (subject.texts(".gitignore") or b"").decode("utf-8", "replace")
    return frozenset(line.strip().strip("/") for line in text.splitlines() if not line.startswith(("#", "!")))


_ASKS_GIT = re.compile(
    r"\bgit\b.{0,40}\b(describe|rev-parse|log|show|ls-files|status|submodule|rev-list|branch|diff|tag)\b"
    r"|setuptools[_-]scm|hatch-vcs|versioneer|poetry-dynamic-versioning|versioningit|\bpbr\b|vergen|git2?-version"
    r"|git-commit-id|jgitver|gitversion|nbgv|nerdbank|minver|reckon|axion-release|grgit|\.git/|git-rev|simple-git",
    re.IGNORECASE,
)
_ASKING_FILES = re.compile(
    r"(GNU)?[Mm]akefile|[Jj]ustfile|Taskfile\.ya?ml|build\.rs|Cargo\.toml|pyproject\.toml|setup\.(py|cfg)"
    r"|pom\.xml|.*\.gradle(\.kts)?|package\.json|.*\.csproj|Directory\.Build\.\w+|.*\.sh|mix\.exs|CMakeLists\.txt"
    r"|.*\.cmake|Rakefile|.*\.gemspec|.*\.config\.[cm]?[jt]s|version\.json|GitVersion\.yml|.goreleaser\.ya?ml"
)


def _is_named(subject: Subject, name: str) -> bool:
    """Tell whether the Dockerfile itself, or for the history a file that steps run, asks for a folder."""
    for instruction in subject.dockerfile.instructions:
        if any(name in source.split("/") for source in _sources(instruction)):
            return True
    texts = [subject.steps[step.number].cost.command for step, _ in runs(subject.model.graph)]
    if name == ".git":
        return any(_ASKS_GIT.search(text) for text in texts) or _project_asks_git(subject)
    if name in _ANYWHERE or name.startswith("."):
        return False
    # A step that works with `dist/..` may work with what the host made.
    return any(
        re.search(rf"(?:cp|mv|ls|unzip|tar|install)\b[^&;|\n]*\b{re.escape(name)}/", text) for text in texts
    ) and not _families(subject)


def _project_asks_git(subject: Subject) -> bool:
    asked = [
        one.path
        for one in subject.paths
        if _ASKING_FILES.fullmatch(one.path.rpartition("/")[2])
        and not {"node_modules", ".git", ".venv", "venv"} & set(one.path.split("/"))
    ]
    if len(asked) > 200:
        return True
    return any(
        _ASKS_GIT.search((subject.texts(path) or b"").decode("utf-8", "replace")) is not None
        for path in asked
    )


def _sources(instruction: ins.Instruction) -> tuple[str, ...]:
    if isinstance(instruction, ins.Copy | ins.Add):
        is_local = not (isinstance(instruction, ins.Copy) and instruction.from_)
        return instruction.sources if is_local else ()
    if isinstance(instruction, ins.Run):
        return tuple(
            mount.get("source", "src") or ""
            for mount in instruction.mounts
            if mount.type == "bind" and not mount.get("from")
        )
    return ()


def _large(copied: Sequence[ContextFile], junk: Sequence[_Found]) -> list[ContextFile]:
    known = {one.path for each in junk for one in each.files}
    large = [one for one in copied if one.size >= LARGE_BYTES // 5 and one.path not in known]
    return large if sum(one.size for one in large) >= LARGE_BYTES else []


# --- prose -------------------------------------------------------------------------------------------------


def _prose(subject: Subject, copied: Sequence[ContextFile]) -> list[_Found]:
    files = [one for one in copied if "/" not in one.path and _PROSE.fullmatch(one.path)]
    folders: dict[str, list[ContextFile]] = {}
    for one in copied:
        top, slash, _ = one.path.partition("/")
        if slash and top in _PROSE_FOLDERS:
            folders.setdefault(top, []).append(one)
    asked: dict[str, tuple[str, ...]] = {one.path: (one.path,) for one in files}
    asked.update({folder: (f"{folder}/", f'"{folder}"', f"'{folder}'") for folder in folders})
    named = mentioned(subject, [text for texts in asked.values() for text in texts]) if asked else frozenset()
    kept = {path for path, texts in asked.items() if named.isdisjoint(texts) and not _names(subject, path)}
    found = [
        _Found(one.path, one.path, "text that no step reads", (one,)) for one in files if one.path in kept
    ]
    return found + [
        _Found(folder, f"{folder}/", "text that no step reads", tuple(inside))
        for folder, inside in sorted(folders.items())
        if folder in kept and all(one.path.lower().endswith(_PROSE_ENDS) for one in inside)
    ]


def _names(subject: Subject, path: str) -> bool:
    """Tell whether an instruction names a file or folder."""
    name = path.rpartition("/")[2]
    for instruction in subject.dockerfile.instructions:
        if any(source.rstrip("/").rpartition("/")[2] == name for source in _sources(instruction)):
            return True
    return any(
        names_file(subject.steps[step.number].cost.command, path) for step, _ in runs(subject.model.graph)
    )


# --- secrets -----------------------------------------------------------------------------------------------

_KEY_NAMES = re.compile(r"id_(rsa|dsa|ecdsa|ed25519)|.*\.(pem|key|p8)|.*\.(p12|pfx|jks|keystore)")
_BINARY_KEYS = re.compile(r".*\.(p12|pfx|jks|keystore)")
_ENVIRONMENT = re.compile(r"\.env(\.(local|production|prod|staging|development|dev))*|\.envrc")
_SECRET_LINE = re.compile(
    rb"^[ \t]*(?:export[ \t]+)?[\w.]*(?:SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|(?:API|PRIVATE|ACCESS)_?KEY)"
    rb"[\w.]*"
    rb"[ \t]*=[ \t]*[\"']?([^\s\"'#]+)",
    re.IGNORECASE | re.MULTILINE,
)
_URL_PASSWORD = re.compile(rb"\w+://[^\s:/@$]+:[^\s@/$]+@")
_PLACEHOLDERS = re.compile(
    rb"(?i)change[_-]?me|your[_-]|<.*|\$\{?.*|x{3,}|todo|example|placeholder|null|none|true|false"
)


def secrets(subject: Subject) -> Iterator[Finding]:
    """Find keys and passwords that a COPY puts into the image, judged by name and by content.

    A certificate or a public key is none, and neither is a file of settings without a secret in it.
    """
    found = [one for one in copied_files(subject) if _is_secret(subject, one)]
    copy = _taking(subject, found[0]) if found else None
    if copy is None:
        return
    paths = [one.path for one in found]
    stops = ""
    named = mentioned(subject, [path.rpartition("/")[2] for path in paths])
    kept = [path for path in paths if path.rpartition("/")[2] not in named and not _names(subject, path)]
    if len(kept) < len(paths):
        rest = next(path for path in paths if path not in kept)
        stops = f"something reads {rest}: give it at run time (env_file, a volume) or as a secret mount first"
    proposal, problem = _ignoring(subject, kept) if kept else (None, stops)
    wasted = _rerun_by(subject, [one for one in found if one.path in kept]) if proposal else ()
    yield Finding(
        code=SECRET,
        title=f"{_shown(paths)} {'end' if len(paths) > 1 else 'ends'} in the image",
        first_line=copy.span.first,
        last_line=copy.span.last,
        why="who has the image, or its cache, has the secret; a later rm does not take it out of the layer",
        way_out="keep it out of the context, and give it at run time (env_file, a secret) or to one step "
        "with RUN --mount=type=secret; what was pushed already has to be replaced",
        category="security",
        proposal=proposal,
        wasted=wasted,
        bytes=sum(one.size for one in found),
        stops=stops or problem,
    )


def _taking(subject: Subject, file: ContextFile) -> Step | None:
    graph = subject.model.graph
    return next(
        (
            step
            for step in graph.steps
            if step.keyword in {"COPY", "ADD"}
            and any(
                reads(selection_of(taken), ContextPath(file.path)) for taken in context_takings(graph, step)
            )
        ),
        None,
    )


_NOT_OURS = frozenset(
    {"node_modules", ".git", ".venv", "venv", "testdata", "fixtures", "site-packages", "test"}
)


def _is_secret(subject: Subject, file: ContextFile) -> bool:
    *folders, name = file.path.split("/")
    if not _NOT_OURS.isdisjoint(folders) or "tests" in folders or file.size == 0:
        return False
    if _BINARY_KEYS.fullmatch(name):
        return True
    is_json = name.endswith(".json") and file.size < _LONGEST_KEY
    if not (_KEY_NAMES.fullmatch(name) or _ENVIRONMENT.fullmatch(name) or name in _KNOWN_FILES or is_json):
        return False
    content = subject.texts(file.path)
    if content is None:
        return False
    if is_json and name not in _KNOWN_FILES:
        return _KEY_IN_JSON.search(content) is not None
    if _KEY_NAMES.fullmatch(name):
        return b"PRIVATE KEY-----" in content
    if name in _KNOWN_FILES:
        return re.search(_KNOWN_FILES[name], content) is not None
    values = [value for value in _SECRET_LINE.findall(content) if not _PLACEHOLDERS.match(value)]
    return bool(values) or _URL_PASSWORD.search(content) is not None


_LONGEST_KEY = 10_000
"""Bytes of a JSON file that may be an account with its key; larger ones are data, and there may be many."""
_KEY_IN_JSON = re.compile(rb"\"private_key\"\s*:\s*\"-----BEGIN")
_KNOWN_FILES: Mapping[str, bytes] = {
    ".npmrc": rb"_auth(Token)?\s*=\s*[^\s$]",
    ".yarnrc.yml": rb"npmAuthToken:\s*[\"']?[^\s$\"']",
    ".pypirc": rb"password\s*[=:]\s*\S",
    ".netrc": rb"password\s+\S",
    ".git-credentials": rb"://\S+:\S+@",
    "credentials.json": rb"\"private_key\"|\"client_secret\"",
    "service-account.json": rb"\"private_key\"",
    "credentials": rb"aws_secret_access_key",
    "kubeconfig": rb"client-key-data|token:",
    "terraform.tfstate": rb"\"(password|secret|private_key)\w*\"",
}


# --- the ignore file ---------------------------------------------------------------------------------------


def _ignoring(subject: Subject, lines: Sequence[str]) -> tuple[Proposal | None, str]:
    """Return the ignore file with lines added behind its text; else what stands against it.

    The new rules are tried on the files: each source of each instruction still has to find something.
    """
    if not lines:
        return None, ""
    location = subject.model.location
    path = subject.model.ignore_file or location.context / ".dockerignore"
    try:
        shown = path.relative_to(location.context).as_posix()
    except ValueError:
        return None, "the ignore file in force lies outside of the context"
    old = subject.ignore_source or b""
    end = line_end(old) if old else b"\n"
    text = old if not old or old.endswith(b"\n") else old + end
    text += b"".join(line.encode("utf-8", "surrogateescape") + end for line in lines)
    rules = parse_ignore(text, file=shown)
    if not isinstance(rules, IgnoreRules):
        return None, "the ignore file cannot be read"
    if any(pattern.exception and _is_about(pattern.source, lines) for pattern in rules.patterns):
        return None, "the ignore file keeps some of it on purpose"
    missing = _starved(subject, rules)
    if missing:
        return None, f"{missing} would find nothing any more"
    return Proposal(files={shown: text}, intends=frozenset({"fewer files"})), ""


def _is_about(exception: str, lines: Sequence[str]) -> bool:
    parts = exception.lstrip("!").strip().strip("/").split("/")
    return any(line.removeprefix("**/").rpartition("/")[2] in parts for line in lines)


def _starved(subject: Subject, rules: IgnoreRules) -> str:
    """Return a source that found something before and finds nothing under the new rules."""
    kept = [one.path for one in subject.paths if not rules.excludes(one.path)]
    every = [one.path for one in subject.paths]
    for instruction in subject.dockerfile.instructions:
        for source in _sources(instruction):
            if "$" in source or not context_path(source):
                continue
            selection = Selection((source,))
            had = any(reads(selection, ContextPath(path)) for path in every)
            if had and not any(reads(selection, ContextPath(path)) for path in kept):
                return source
    return ""


RULES: tuple[Rule, ...] = (needless_files, secrets)
