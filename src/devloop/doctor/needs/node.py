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
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
# What an install writes for the machine that it runs on.
_JS_STATE: Mapping[str, tuple[str, ...]] = {
    "yarn": (".yarn/unplugged", ".yarn/install-state.gz", ".yarn/build-state.yml"),
}
_JS_SETTINGS = (".npmrc", ".yarnrc", ".yarnrc.yml", ".pnpmfile.cjs")
_PUPPETEER = (".puppeteerrc", ".puppeteerrc.cjs", ".puppeteerrc.js", ".puppeteerrc.json", ".puppeteerrc.yaml")
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
                files += at.present(".npmrc", *_programs(at))
            _refuse_named(at, files, folders)
        fills = [joined(posixpath.dirname(one), "node_modules") for one in manifests]
        fills += [where.at(one) for one in _JS_STATE.get(tool, ())]
        return Needs(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), tuple(fills))

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
    groups = [table(document.get(group)) for group in _JS_GROUPS]
    for name, text in (pair for group in (*groups, _overrides(document)) for pair in group.items()):
        for one in strings(text):
            if one.startswith(("file:", "link:", "portal:", "./", "../", "/")):
                raise StoppedError(f"package.json takes {name} from {one}")
            if one.startswith("patch:"):
                yield _patch(where, name, one, tool)
    for one in strings(table(document.get("pnpm")).get("patchedDependencies")):
        yield where.at(one)
    for one in strings(document.get("patchedDependencies")):
        yield where.at(one)
    if tool == "pnpm":
        for entry in re.finditer(r":\s*['\"]?(patches/[\w@.+/-]+)", where.text("pnpm-workspace.yaml") or ""):
            yield where.at(entry[1])
    if ignores_scripts:
        return
    yield from _read_by_packages(where, document)
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
            if "lefthook" in part and where.folders(".git"):
                raise StoppedError(f"the script {name} of package.json writes into .git")
            if "patch-package" in part and where.folders("patches"):
                yield where.at("patches")
            if "prisma generate" in part:
                schema = _schema(where, document)
                if schema is None:
                    raise StoppedError("the schema of prisma is at a place of its own")
                yield schema


_JS_GROUPS = ("dependencies", "devDependencies", "optionalDependencies", "overrides", "resolutions")


def _overrides(document: Mapping[str, object]) -> dict[str, object]:
    return table(table(document.get("pnpm")).get("overrides"))


def _patch(where: Where, name: str, text: str, tool: str) -> str:
    """Return the file of a patch that yarn applies: behind the `#`, seen from the project or its package."""
    path = re.sub(r"^(optional!)?(~/|\./)?", "", text.rpartition("#")[2])
    if tool != "yarn" or "#" not in text or not where.placed.has(where.at(path)):
        raise StoppedError(f"package.json patches {name}")
    return where.at(path)


def _read_by_packages(where: Where, document: Mapping[str, object]) -> Iterator[str]:
    """Yield the files of the project that scripts of well-known packages read while they are installed."""
    names = {name for group in ("dependencies", "devDependencies") for name in table(document.get(group))}
    if "@prisma/client" in names:
        schema = _schema(where, document)
        if schema is not None:
            yield schema
    if "puppeteer" in names:
        yield from where.present(*_PUPPETEER, "puppeteer.config.js", "puppeteer.config.cjs")


def _schema(where: Where, document: Mapping[str, object]) -> str | None:
    """Return the file or folder that prisma generates its client from; None where there is none."""
    own = where.present("prisma.config.ts", "prisma.config.js", "prisma.config.mjs")
    if own or table(document.get("prisma")).get("schema") is not None:
        raise StoppedError("the schema of prisma is at a place of its own")
    return next(iter((*where.folders("prisma"), *where.present("schema.prisma"))), None)


def _programs(where: Where) -> list[str]:
    """Return the programs of a member: an install links those that are there, and no others later."""
    document = json_of(where, "package.json")
    if table(document.get("directories")).get("bin") is not None:
        raise StoppedError("a member of the workspace has a whole folder of programs")
    return [one.removeprefix("./") for one in strings(document.get("bin"))]


def _refuse_named(where: Where, files: Sequence[str], folders: Sequence[str]) -> None:
    """Stop where settings name files of the project that are not brought along."""
    for name in _JS_SETTINGS:
        text = re.sub(r"(?m)^\s*[#;].*$", "", where.text(name) or "")
        for word in re.findall(r"[^\s\"'=:,()]+", text):
            path = where.at(word)
            known = path in files or any(f"{path}/".startswith(f"{one}/") for one in folders)
            if (
                re.search(r"[\w-][./]|[./][\w-]", word)
                and not known
                and where.placed.touched_by(where.folder, word)
            ):
                raise StoppedError(f"{name} names {word}")


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
