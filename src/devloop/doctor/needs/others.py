"""What bundler, composer, mix, rebar3, stack, cabal and swift read."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, Literal

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import entries, has_flag, json_of, members, table, while_building

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


def _bundler(command: Command, where: Where) -> Answer:
    verbs = [word for word in command.arguments if word[0] != "-"]
    if verbs[:1] not in ([], ["install"]) or has_flag(command, "--gemfile"):
        return Source("bundle")
    name = "gems.rb" if where.present("gems.rb") else "Gemfile"
    if where.at(where.environment.get("BUNDLE_GEMFILE", name)) != where.at(name):
        return Source("bundle")
    text = where.text(name)
    if text is None:
        return Source("bundle")
    text = re.sub(r"(?m)(^|\s)#.*$", "", text)
    for pattern, what in (
        (r":path\s*=>|\bpath\s*[(\"']|\bglob:", "takes gems from a path"),
        (
            r"\brequire\s*\(?\s*[\"'][./]|\b(eval_gemfile|require_relative|instance_eval|load|Dir\[|Dir\.glob|IO\.read)\b",
            "reads other files",
        ),
        (r"\bFile\.(?!join|expand_path|basename|dirname)\w+", "reads other files"),
    ):
        if re.search(pattern, text):
            raise StoppedError(f"{name} {what}")
    files = where.present(
        *("Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".ruby-version", ".tool-versions")
    )
    places = re.findall(r"\bpath:\s*[\"']([\w./-]+)[\"']", text)
    if len(places) != len(re.findall(r"\bpath:", text)):
        raise StoppedError(f"{name} takes a gem from a path that is computed")
    places += ["."] if re.search(r"(?m)^\s*gemspec\b", text) else []
    for place in places:
        files += _gemspecs(where, place)
    return Needs(files, where.folders("vendor/cache", ".bundle"), (where.at("vendor/bundle"),))


def _gemspecs(where: Where, place: str) -> tuple[str, ...]:
    """Return the gemspecs of a local gem, which bundler evaluates; its files are not read."""
    depth = where.at(place).rstrip("/").count("/") + 1
    found = [
        path
        for path in where.placed.below(where.at(place))
        if path.endswith(".gemspec") and path.count("/") == depth
    ]
    if not found:
        raise StoppedError(f"there is no gemspec at {place}")
    for path in found:
        text = where.placed.text(path) or ""
        if re.search(r"\b(require|require_relative|load|eval|File\.read|IO\.read)\b|\.extensions\b", text):
            raise StoppedError(f"{posixpath.basename(path)} reads other files of the gem")
    return tuple(found)


_COMPOSER_EXTRA = ("patches", "patches-file", "installer-paths", "drupal-scaffold", "wordpress-install-dir")
_COMPOSER_EVENTS = ("pre-install-cmd", "post-install-cmd", "pre-package-install", "post-package-install")


def _composer(command: Command, where: Where) -> Answer:
    verbs = [word for word in command.arguments if word[0] != "-"]
    is_other = where.at(where.environment.get("COMPOSER", "composer.json")) != where.at("composer.json")
    if verbs not in (["install"], ["i"]) or not where.present("composer.json") or is_other:
        return Source("composer")
    if has_flag(command, "-d", "--working-dir"):
        return Source("composer")
    document = json_of(where, "composer.json")
    for one in entries(document.get("repositories")) or list(table(document.get("repositories")).values()):
        if table(one).get("type") in {"path", "artifact"}:
            raise StoppedError("composer.json takes a package from a path")
    plugged = next((name for name in _COMPOSER_EXTRA if name in table(document.get("extra"))), None)
    if plugged is not None:
        raise StoppedError(f"composer.json has {plugged}, which its plugins read or write in the project")
    files = where.present("composer.json", "composer.lock", "symfony.lock", "auth.json")
    fills = (where.at("vendor"),)
    if has_flag(command, "--no-autoloader") and has_flag(command, "--no-scripts"):
        return Needs(files, fills=fills)
    scripts = table(document.get("scripts"))
    events = [name for name in _COMPOSER_EVENTS if name in scripts]
    if events and not has_flag(command, "--no-scripts"):
        raise StoppedError(f"composer.json runs scripts of the project: {', '.join(events)}")
    if has_flag(command, "--no-autoloader"):
        return Needs(files, fills=fills) if not scripts else Source("composer")
    dump = ["composer dump-autoload"]
    dump += [
        word
        for word in command.arguments
        if word in {"--no-dev", "-o", "--optimize", "-a", "--apcu-autoloader"}
    ]
    for given, wanted in (
        ("--optimize-autoloader", "--optimize"),
        ("--classmap-authoritative", "--classmap-authoritative"),
    ):
        dump += [wanted] if given in command.arguments else []
    if "--no-scripts" in command.arguments:
        dump.append("--no-scripts")
    flags = [flag for flag in ("--no-scripts", "--no-autoloader") if not has_flag(command, flag)]
    split = Split(f"composer {verbs[0]}", " ".join(flags), after=" ".join(dump))
    return Needs(files, fills=fills, split=split)


_LEAVES_CONFIG: Final = re.compile(
    r"import_config\s*\(?\s*\"[^\"]*(?:\.\./|\*)|\b(?:File|Code|System)\.(?:read|cmd|require|eval|stream|ls|exists)"
)


def _mix(command: Command, where: Where) -> Answer:
    tasks = {word for word in re.split(r"[\s,+]+", " ".join(command.arguments)) if re.match(r"[a-z]", word)}
    if not where.present("mix.exs") or not tasks <= {
        "do",
        "deps.get",
        "deps.compile",
        "prod",
        "only",
        "test",
        "dev",
    }:
        return Source(" ".join(command.words[:2]))
    if not tasks & {"deps.get", "deps.compile"}:
        return Source("mix")
    files = list(where.present("mix.exs", "mix.lock"))
    texts = [where.text("mix.exs") or ""]
    if "apps_path" in texts[0]:
        apps = members(where, ["apps/*"], "mix.exs")
        files += apps
        texts += [where.placed.text(path) or "" for path in apps]
    for text in texts:
        clean = re.sub(r"(?m)#.*$", "", text)
        if re.search(r"\bpath:\s*\"", clean):
            raise StoppedError("mix.exs takes a dependency from a path")
        if re.search(r"\b(File|Code|System)\.(read|cmd|require|eval|stream|ls|exists|compile)", clean):
            raise StoppedError("mix.exs reads other files of the project")
    uses_siblings = any("in_umbrella" in text for text in texts)
    if uses_siblings and "deps.compile" in tasks and not has_flag(command, "--skip-umbrella-children"):
        raise StoppedError("the applications of the umbrella are compiled as dependencies of each other")
    for path in where.placed.below(where.at("config")):
        text = re.sub(r"(?m)#(?!\{).*$", "", where.placed.text(path) or "")
        if not path.endswith("/runtime.exs") and _LEAVES_CONFIG.search(text):
            raise StoppedError("config/ reads files outside of it")
    return Needs(
        tuple(files),
        where.folders("config"),
        (where.at("deps"), where.at("_build")),
    )


def _rebar(command: Command, where: Where) -> Answer:
    if command.arguments not in {("get-deps",), ("compile", "--deps_only")} or not where.present(
        "rebar.config"
    ):
        return Source("rebar3")
    if where.present("rebar.config.script"):
        raise StoppedError("rebar.config.script may read other files")
    others = [path for path in where.placed.below(where.folder) if path.endswith("/rebar.config")]
    if len(others) > 1 or where.folders("_checkouts"):
        raise StoppedError("the applications of rebar3 have dependencies of their own")
    return Needs(where.present("rebar.config", "rebar.lock"), fills=(where.at("_build"),))


_while_building_stack = while_building(
    "stack",
    ("stack.yaml", "cabal.project", "package.yaml"),
    "stack fetches and builds in one go, and nothing here fetches alone for certain",
)


def _haskell(command: Command, where: Where) -> Answer:
    if not has_flag(command, "--only-dependencies", "--dependencies-only", "--only-dep"):
        return _while_building_stack(command, where)
    cabals = [path for path in where.placed.below(where.folder) if path.endswith((".cabal", "package.yaml"))]
    files = where.present("stack.yaml", "stack.yaml.lock", "cabal.project", "cabal.project.freeze")
    if not cabals or (not files and command.program == "stack"):
        return Source(command.program)
    return Needs((*files, *cabals), fills=(where.at(".stack-work"), where.at("dist-newstyle")))


def _swift(insert: Literal["", "swift package resolve"]) -> Reader:
    def read(command: Command, where: Where) -> Answer:
        text = where.text("Package.swift")
        if text is None or has_flag(command, "--package-path", "--skip-update"):
            return Source("swift")
        if insert and ".package(" not in text:
            return Source("swift")
        if re.search(r"\.package\(\s*(name:\s*\"[^\"]*\",\s*)?path:", text) or "Foundation" in text:
            raise StoppedError("Package.swift takes a package from a path, or runs code")
        files = where.present("Package.swift", "Package.resolved")
        split = Split(insert=(insert,), kind="swift-resolve") if insert else None
        return Needs(files, fills=(where.at(".build"),), split=split)

    return read


READERS: Final[Mapping[str, Reader]] = {
    "bundle-install": _bundler,
    "composer-install": _composer,
    "mix-deps": _mix,
    "mix-compile": _mix,
    "rebar3": _rebar,
    "haskell-build": _haskell,
    "swift-resolve": _swift(""),
    "swift-build": _swift("swift package resolve"),
}
