"""What the installers of JavaScript read: npm, yarn, pnpm and bun."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, StoppedError, Where
from devloop.doctor.needs.reading import entries, has_flag, json_of, members, set_of, strings, table
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from devloop.cost.shell import Command


_LIFECYCLE = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
_HARMLESS = re.compile(
    r"(npx )?(husky( install)?|only-allow \w+|is-ci|patch-package|lefthook install|simple-git-hooks|true"
    r"|exit 0|prisma generate|echo [^<>$`]*|ngcc)"
)
_JS_FILES: Mapping[str, tuple[str, ...]] = {
    "npm": ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"),
    "yarn": ("package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc", ".pnp.cjs", ".pnp.loader.mjs"),
    "pnpm": ("package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"),
    "bun": ("package.json", "bun.lock", "bun.lockb", "bunfig.toml", ".npmrc"),
}
_JS_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "yarn": (".yarn/releases", ".yarn/plugins", ".yarn/patches", ".yarn/cache", ".yarn/sdks"),
}
_JS_VALUES = set_of(
    "--prefix -C --dir --cwd --cache --registry --userconfig --loglevel --omit --include --only --production"
    " --network-timeout --network-concurrency --cache-folder --modules-folder --mutex --reporter --store-dir"
    " --filter -F -w --workspace --backend"
)


def _js(tool: str) -> Reader:
    def read(command: Command, where: Where) -> Answer:
        label = " ".join(command.words[:2])
        verbs = [w for w in _without_values(command.arguments) if not w.startswith("-")]
        allowed = {
            "install",
            "i",
            "ci",
            "clean-install",
            "ic",
            "install-clean",
            "fetch",
            "workspaces",
            "focus",
        }
        if any(verb not in allowed for verb in verbs) or (tool == "pnpm" and has_flag(command, "--offline")):
            return Source(label)
        if "focus" in verbs and "install" not in verbs and len(verbs) > 2:
            return Source(label)
        if tool == "pnpm" and "fetch" in verbs:
            return _fetch(where)
        if not where.present("package.json"):
            return Source(label)
        if has_flag(command, "--filter", "-F", "-w", "--workspace", "--modules-folder"):
            raise StoppedError(f"{label} names a part of the workspace")
        manifests = [where.at("package.json"), *_workspaces(tool, where)]
        files = [*where.present(*_JS_FILES[tool]), *manifests[1:]]
        folders = [*where.folders(*_JS_FOLDERS.get(tool, ()))]
        ignores = has_flag(command, "--ignore-scripts", "--mode=skip-build") or "ignore-scripts=true" in (
            (where.text(".npmrc") or "").replace(" ", "")
        )
        for manifest in manifests:
            at = replace(where, folder=posixpath.dirname(manifest))
            for one in _package(at, tool, ignores_scripts=ignores):
                (folders if where.placed.below(one) else files).append(one)
            if manifest != manifests[0]:
                files += at.present(".npmrc")
        fills = tuple(joined(posixpath.dirname(one), "node_modules") for one in manifests)
        return Needs(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), fills)

    return read


def _without_values(words: Iterable[str]) -> list[str]:
    found: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        skip = word in _JS_VALUES
        found.append(word)
    return found


def _fetch(where: Where) -> Answer:
    files = where.present("pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs")
    if not where.present("pnpm-lock.yaml"):
        return Source("pnpm fetch")
    if where.present("package.json") and "packageManager" in (where.text("package.json") or ""):
        files = (*files, where.at("package.json"))
    return Needs(files, where.folders("patches"), (where.at("node_modules"),))


def _workspaces(tool: str, where: Where) -> list[str]:
    """Return the manifests of the members of a workspace."""
    found = json_of(where, "package.json").get("workspaces")
    patterns = [
        str(one) for one in entries(table(found).get("packages") if isinstance(found, dict) else found)
    ]
    if tool == "pnpm":
        patterns = []
        is_inside = False
        for line in (where.text("pnpm-workspace.yaml") or "").splitlines():
            if line[:1] not in {" ", "\t", "-", "#", ""}:
                is_inside = line.startswith("packages:")
                inline = line.partition("packages:")[2].strip() if is_inside else ""
                if inline and not re.fullmatch(r"\[[^\[\]{}]*\]\s*(#.*)?", inline):
                    raise StoppedError("the packages of pnpm-workspace.yaml are no plain list")
                patterns += re.findall(r"['\"]?([^'\",\[\]\s#]+)['\"]?", inline.partition("#")[0])
            elif is_inside and (entry := re.match(r"\s*-\s*['\"]?([^'\"#\s]+)", line)):
                patterns.append(entry[1])
    return members(where, patterns, "package.json")


def _package(where: Where, tool: str, *, ignores_scripts: bool) -> Iterator[str]:
    """Yield what one package.json makes an install read besides the manifests."""
    document = json_of(where, "package.json")
    for group in ("dependencies", "devDependencies", "optionalDependencies", "overrides", "resolutions"):
        for name, text in table(document.get(group)).items():
            for one in strings(text):
                if one.startswith(("file:", "link:", "portal:", "./", "../", "/")):
                    raise StoppedError(f"package.json takes {name} from {one}")
                if one.startswith("patch:") and tool != "yarn":
                    raise StoppedError(f"package.json patches {name}")
    for one in strings(table(document.get("pnpm")).get("patchedDependencies")):
        yield where.at(one)
    for one in strings(document.get("patchedDependencies")):
        yield where.at(one)
    if tool == "pnpm":
        for entry in re.finditer(r":\s*['\"]?(patches/[\w@.+/-]+)", where.text("pnpm-workspace.yaml") or ""):
            yield where.at(entry[1])
    if ignores_scripts:
        return
    if where.placed.has(where.at("binding.gyp")):
        raise StoppedError("binding.gyp makes the install compile the source")
    scripts = table(document.get("scripts"))
    for name in _LIFECYCLE:
        script = scripts.get(name)
        if not isinstance(script, str):
            continue
        for part in re.split(r"&&|\|\||;", script):
            runs = re.fullmatch(r"node ([\w./-]+\.[cm]?js)", part.strip())
            if runs and _reads_nothing(where, runs[1]):
                yield where.at(runs[1])
            elif part.strip() and not _HARMLESS.fullmatch(part.strip()):
                raise StoppedError(f"the script {name} of package.json runs `{part.strip()}`")
            if "patch-package" in part and where.folders("patches"):
                yield where.at("patches")
            if "prisma generate" in part:
                schema = table(document.get("prisma")).get("schema")
                if schema is not None:
                    raise StoppedError("the schema of prisma is at a place of its own")
                yield where.at("prisma")


def _reads_nothing(where: Where, script: str) -> bool:
    """Tell whether a script of the project that an install runs reads no other file of it."""
    text = where.text(script)
    return text is not None and not re.search(
        r"(require\(|import\b|from\s)\s*['\"]\.|readFile|readdir|glob|exec|spawn|fork|__dirname|cwd\(|import\.meta"
        r"|require\(\s*[^'\"]",
        text,
    )


READERS: Final[Mapping[str, Reader]] = {
    "npm-install": _js("npm"),
    "yarn-install": _js("yarn"),
    "pnpm-install": _js("pnpm"),
    "bun-install": _js("bun"),
}
