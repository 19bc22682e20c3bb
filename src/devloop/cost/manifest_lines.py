"""Manifests and lock files that are read line by line: no parser for them is at hand, or they are programs.

A Gemfile or a build.gradle can do anything. They are read only as long as every line that could name a
dependency is of a known form; otherwise the reader is unsure and nothing is said.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from devloop.cost.manifest_data import CHECKSUMS, requirement
from devloop.cost.manifest_parts import Parts, UnsureError

_LONGEST_LINE = 2000
"""Of a program; a longer line is no list of dependencies, and patterns would take their time with it."""

# pip ------------------------------------------------------------------------------------------------------


def requirements(source: str) -> Parts:
    """Read requirements and constraints as pip does: continuations, comments, options, hashes."""
    parts = Parts()
    for line in re.sub(r"\\\n", " ", source).splitlines():
        cleaned = re.sub(r"(^|\s)#.*", "", line).strip()
        if not cleaned:
            continue
        if cleaned.startswith("-"):
            _pip_option(parts, cleaned)
            continue
        constraint, *options = re.split(r"\s(?=--)", cleaned)
        requirement(parts, constraint)
        for option in options:
            section = CHECKSUMS if option.startswith("--hash") else "options of pip"
            parts.install(section, [constraint, option])
    return parts


def _pip_option(parts: Parts, line: str) -> None:
    option, _, value = line.replace("=", " ", 1).partition(" ")
    if option in {"-e", "--editable"}:
        parts.depend(value.strip(), "", "editable")
    else:
        parts.install("options of pip", line)


# go -------------------------------------------------------------------------------------------------------

_GO_GROUPS = {"require": "", "replace": "replace", "exclude": "exclude", "tool": "tool", "use": "use"}


def go_mod(source: str) -> Parts:
    """Read go.mod or go.work; `// indirect` is a comment."""
    parts = Parts()
    block = ""
    for line in source.splitlines():
        words = re.sub(r"//.*", "", line).replace("(", " ( ").replace(")", " ) ").split()
        if not words:
            continue
        if words == [")"]:
            block = ""
        elif words[1:] == ["("]:
            block = words[0]
        elif words[1:] == ["(", ")"]:
            continue
        else:
            _go_directive(parts, *((block, words) if block else (words[0], words[1:])))
    if block:
        raise UnsureError
    return parts


def _go_directive(parts: Parts, directive: str, words: list[str]) -> None:
    if directive in _GO_GROUPS and words:
        end = words.index("=>") if "=>" in words else 1
        parts.depend(" ".join(words[:end]), " ".join(words[end:]).removeprefix("=> "), _GO_GROUPS[directive])
    elif directive in {"module", "retract"}:
        parts.other(directive, words)
    else:
        parts.install(directive, words)


def go_sum(source: str) -> Parts:
    """Read go.sum; a line for a `/go.mod` alone tells of a version that is looked at and not used."""
    parts = Parts()
    for line in source.splitlines():
        words = line.split()
        if len(words) != 3:
            if words:
                raise UnsureError
            continue
        if not words[1].endswith("/go.mod"):
            parts.depend(words[0], words[1])
        parts.install(CHECKSUMS, sorted(words))
    return parts


# bundler --------------------------------------------------------------------------------------------------

_GEM = re.compile(
    r"""gem[\s(]+(?P<quote>['"])(?P<name>[\w.-]+)(?P=quote)\s*,?\s*(?P<rest>.*?)\)?""", re.DOTALL
)
_RUBY_BLOCK = re.compile(r"(group|source|platforms?|path|git|github|install_if)\b(.*?)\bdo(\s*\|\w+\|)?")
_RUBY_INSTALLING = re.compile(r"(source|ruby|gemspec|git_source|plugin)\b[^;]*")
_RUBY_LITERALS = re.compile(
    r"""(['"][^'"#]*['"]|%[wi]\[[^\]#]*\]|:?\w+:(?!\w)|:\w+|=>|,|\[|\]|true|false|nil|require|\s|[\d.])*"""
)


def gemfile(source: str) -> Parts:
    """Read a Gemfile whose lines are gems, groups and sources with literal values, and no other one."""
    parts = Parts()
    blocks: list[str] = []
    for line in _ruby_lines(source):
        gem = _GEM.fullmatch(line)
        block = _RUBY_BLOCK.fullmatch(line)
        if gem is not None and _RUBY_LITERALS.fullmatch(gem["rest"]):
            parts.depend(gem["name"], re.sub(r"['\"]", "", gem["rest"]), ", ".join(blocks))
        elif block is not None and _RUBY_LITERALS.fullmatch(block[2]):
            words = " ".join(re.sub(r"['\":,]", " ", block[2]).split())
            blocks.append(words if block[1] == "group" else f"{block[1]} {words}")
        elif line == "end" and blocks:
            blocks.pop()
        elif _RUBY_INSTALLING.fullmatch(line):
            parts.install(line.split(maxsplit=1)[0], [line, *blocks])
        else:
            raise UnsureError
    if blocks:
        raise UnsureError
    return parts


def _ruby_lines(source: str) -> Iterator[str]:
    """Yield the lines without comments, those that end in a comma joined with the next."""
    pending = ""
    for line in source.splitlines():
        cleaned = " ".join(re.sub(r"(^|\s)#(?![{]).*", "", line).split())
        if not cleaned:
            continue
        pending = f"{pending} {cleaned}".strip()
        if len(pending) > _LONGEST_LINE:
            raise UnsureError
        if not pending.endswith(","):
            yield pending
            pending = ""
    if pending:
        yield pending


def gemfile_lock(source: str) -> Parts:
    """Read Gemfile.lock: a gem of GEM or GIT stands four blanks deep, what it needs six."""
    parts = Parts()
    section = ""
    for line in source.splitlines():
        if not line.strip():
            continue
        if not line.startswith(" "):
            section = line.strip()
            continue
        gem = re.fullmatch(r" {4}([\w.-]+) \((.*)\)", line)
        if section in {"GEM", "GIT"} and gem is not None:
            parts.depend(gem[1], gem[2])
        elif section in {"CHECKSUMS", "GEM", "GIT"}:
            parts.install(CHECKSUMS, line)
        else:
            parts.install(section.capitalize(), line)
    return parts


# yarn and pnpm --------------------------------------------------------------------------------------------


def yarn_lock(source: str) -> Parts:
    """Read yarn.lock of yarn 1 and of later ones: blocks that begin at the margin with what was asked for."""
    parts = Parts()
    name = ""
    is_local = False
    for line in source.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            asked = line.rstrip().removesuffix(":").split(",")[0].strip().strip('"')
            name, _, constraint = asked[1:].partition("@")
            name = asked[:1] + name
            is_local = constraint.startswith(("workspace:", "link:", "portal:"))
            continue
        version = re.fullmatch(r'  version:? "?([^"]*)"?', line)
        if name == "__metadata":
            parts.other("lock file version", line)
        elif version is not None and is_local:
            parts.other("version", [name, version[1]])
        elif version is not None:
            parts.depend(name, version[1])
        else:
            parts.install("the manifests' copies" if is_local else CHECKSUMS, [name, line])
    return parts


def pnpm_lock(source: str) -> Parts:
    """Read pnpm-lock.yaml: the keys of `packages`, two blanks deep, are names with versions."""
    parts = Parts()
    section = package = ""
    for line in source.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise UnsureError
        if not line.startswith(" "):
            section, _, value = line.partition(":")
            keep = parts.other if section == "lockfileVersion" else parts.install
            keep("lock file version" if section == "lockfileVersion" else section, value.strip())
            continue
        key = re.fullmatch(r" {2}(\S.*?):(?: \{\})?", line)
        if section == "packages" and key is not None:
            package = key[1].strip("'\"").lstrip("/")
            parts.depend(*_pnpm_package(package))
        elif section == "packages":
            parts.install(CHECKSUMS, [package, line])
        else:
            parts.install(_PNPM_SECTIONS.get(section, section), line)
    return parts


_PNPM_SECTIONS = {
    "importers": "the manifests' copies",
    "dependencies": "the manifests' copies",
    "devDependencies": "the manifests' copies",
    "specifiers": "the manifests' copies",
    "snapshots": "what packages need of each other",
}


def _pnpm_package(key: str) -> tuple[str, str]:
    """Split `@scope/name@1.2.3(peer@1)`, or `@scope/name/1.2.3_peer@1` as older versions wrote it."""
    plain = key.partition("(")[0]
    found = re.fullmatch(r"((?:@[^/@]+/)?[^/@]+)[@/](.+)", plain)
    if found is None:
        raise UnsureError
    return found[1], found[2].partition("_")[0]


# gradle ---------------------------------------------------------------------------------------------------

_GRADLE_LINE = re.compile(
    r"""(?P<configuration>\w+)\s*\(?\s*(?P<platform>(?:enforcedP|p)latform\s*\()?\s*"""
    r"""(?:(?P<quote>['"])(?P<module>[\w.-]+:[\w.-]+)(?::(?P<version>[^'"$]*))?(?P=quote)"""
    r"""|(?P<other>project\s*\(\s*['"][\w:.-]+['"]\s*\)|libs(?:\.\w+)+|kotlin\s*\(\s*['"][\w-]+['"]\s*\)))"""
    r"""\s*\)*\s*"""
)
_GRADLE_PLUGIN = re.compile(
    r"""(?:id|kotlin)\s*\(?\s*(?P<quote>['"])(?P<name>[\w.-]+)(?P=quote)\s*\)?"""
    r"""(?:\s+version\s*\(?\s*['"](?P<version>[^'"$]*)['"]\s*\)?)?(?P<rest>\s+apply\s*\(?\s*false\s*\)?)?"""
    r"""|(?P<builtin>`?[\w-]+`?)|(?P<alias>alias\s*\(\s*libs(?:\.\w+)+\s*\))"""
)
_GRADLE_UNSURE = re.compile(
    r"\b(buildscript|apply\s+from|apply\s*\(\s*from|dependencyManagement|constraints)\b"
)


def build_gradle(source: str) -> Parts:
    """Read a build script whose dependencies and plugins are literal lines; any other one is unclear."""
    parts = Parts()
    depth, block = 0, ""
    for cleaned in _gradle_lines(source):
        if depth == 0:
            opened = re.fullmatch(r"(dependencies|plugins)\s*\{(.*?)(\}?)", cleaned)
            block = opened[1] if opened is not None else ""
            if opened is not None:
                depth = 0 if opened[3] else 1
                if opened[2].strip():
                    _gradle_entry(parts, block, opened[2].strip())
                continue
        if depth > 0 and block and cleaned != "}":
            _gradle_entry(parts, block, cleaned)
            continue
        if _GRADLE_UNSURE.search(cleaned) or (depth > 0 and re.match(r"(dependencies|plugins)\b", cleaned)):
            raise UnsureError
        depth += cleaned.count("{") - cleaned.count("}")
        if not block:
            _gradle_other(parts, cleaned)
    if depth != 0:
        raise UnsureError
    return parts


def _gradle_lines(source: str) -> Iterator[str]:
    """Yield the lines without comments; a `/*` within a line is as likely to be a pattern of files."""
    is_comment = False
    for line in source.splitlines():
        cleaned = " ".join(re.sub(r"(^|\s)//.*", "", line).split())
        if is_comment or cleaned.startswith("/*"):
            _, end, after = cleaned.partition("*/")
            is_comment = not end
            if after.strip():
                raise UnsureError
            continue
        if len(cleaned) > _LONGEST_LINE:
            raise UnsureError
        if cleaned:
            yield cleaned


def _gradle_entry(parts: Parts, block: str, line: str) -> None:
    found = (_GRADLE_LINE if block == "dependencies" else _GRADLE_PLUGIN).fullmatch(line)
    if found is None:
        raise UnsureError
    if block == "plugins":
        name = found["name"] or (found["builtin"] or found["alias"]).strip("`")
        parts.depend(name, f"{found['version'] or ''} {found['rest'] or ''}", "plugin")
    else:
        what = re.sub(r"\s", "", found["module"] or found["other"])
        kind = found["configuration"] + (" platform" if found["platform"] else "")
        parts.depend(what, found["version"] or "", kind)


def _gradle_other(parts: Parts, line: str) -> None:
    about = re.fullmatch(r"(version|group|description)\s*=?\s*(['\"][^'\"$]*['\"])", line)
    if about is not None:
        parts.other(about[1], about[2])
    else:
        parts.install("the rest of the script", line)


def gradle_lock(source: str) -> Parts:
    """Read gradle.lockfile: a module with its version, and the configurations that it is in."""
    parts = Parts()
    for line in source.splitlines():
        cleaned = line.strip()
        if not cleaned or cleaned.startswith("#"):
            continue
        module, sign, configurations = cleaned.partition("=")
        name, colon, version = module.rpartition(":")
        if not sign:
            raise UnsureError
        if colon:
            parts.depend(name, version)
        parts.install("configurations", [module, configurations])
    return parts


LINE_READERS: Mapping[str, Callable[[str], Parts]] = {
    one.__name__: one
    for one in (
        *(requirements, go_mod, go_sum, gemfile, gemfile_lock),
        *(yarn_lock, pnpm_lock, build_gradle, gradle_lock),
    )
}
