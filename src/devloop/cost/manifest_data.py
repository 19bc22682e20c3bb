"""Manifests and lock files in JSON, TOML, INI and XML, each read by its own parser."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from devloop.cost.manifest_parts import Parts, UnsureError, array, canonical, table, text

CHECKSUMS = "addresses or checksums"
"""What a lock file says of a package besides its version."""

_DEEPEST = 100
"""How far tables and elements may be nested."""

# JSON -----------------------------------------------------------------------------------------------------


def _json(source: str) -> dict[str, object]:
    import json

    found = json.loads(source)
    if not isinstance(found, dict):
        raise UnsureError
    return table(found)


_NPM_GROUPS = {
    "dependencies": "",
    "devDependencies": "dev",
    "optionalDependencies": "optional",
    "peerDependencies": "peer",
}
_NPM_INSTALL_SCRIPTS = frozenset(
    {
        *("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare"),
        *("prepublish", "dependencies"),
    }
)
_NPM_INSTALLING = frozenset(
    {
        *("workspaces", "packageManager", "engines", "os", "cpu", "libc", "bundledDependencies"),
        *("bundleDependencies", "dependenciesMeta", "peerDependenciesMeta", "trustedDependencies"),
        *("installConfig", "pnpm", "bin"),
    }
)


def package_json(source: str) -> Parts:
    """Read npm's, yarn's and pnpm's package.json; of the scripts only those that an install runs count."""
    parts = Parts()
    for key, value in _json(source).items():
        if key in _NPM_GROUPS:
            for name, constraint in table(value).items():
                parts.depend(name, text(constraint), _NPM_GROUPS[key])
        elif key in {"overrides", "resolutions"}:
            _overrides(parts, value)
        elif key == "pnpm":
            settings = table(value)
            _overrides(parts, settings.pop("overrides", None))
            parts.install("pnpm", settings)
        elif key == "scripts":
            _scripts(parts, table(value), lambda name: name in _NPM_INSTALL_SCRIPTS)
        elif key in _NPM_INSTALLING:
            parts.install(key, value)
        else:
            parts.other(key, value)
    return parts


def _overrides(parts: Parts, value: object, above: str = "") -> None:
    for name, inner in table(value).items():
        path = f"{above} > {name}" if above else name
        if isinstance(inner, dict):
            _overrides(parts, inner, path)
        else:
            parts.depend(path, text(inner), "override")


def _scripts(parts: Parts, scripts: Mapping[str, object], runs_at_install: Callable[[str], bool]) -> None:
    parts.install("install scripts", {name: one for name, one in scripts.items() if runs_at_install(name)})
    parts.other("scripts", {name: one for name, one in scripts.items() if not runs_at_install(name)})


def package_lock(source: str) -> Parts:
    """Read a lock file of npm, of any of its versions: the root's own entry is not a dependency."""
    parts = Parts()
    document = _json(source)
    packages = table(document.get("packages"))
    for path, entry in packages.items():
        found = table(entry)
        if not path or found.get("link") is True or "node_modules/" not in path:
            # The root and the workspaces: their constraints are in their own manifests.
            parts.other("version", [path, found.pop("version", None)])
            for key in ("name", "license"):
                found.pop(key, None)
            parts.install("the manifests' copies", [path, found])
            continue
        parts.depend(_npm_place(path), text(found.pop("version", None)))
        parts.install(CHECKSUMS, [path, found])
    if not packages:
        _nested_lock(parts, document.get("dependencies"))
    parts.other("version", [document.get("version")])
    parts.other("lock file version", [document.get("lockfileVersion")])
    return parts


def _npm_place(path: str) -> str:
    above, _, name = path.rpartition("node_modules/")
    owner = above.strip("/").removeprefix("node_modules/")
    return f"{name} (in {owner})" if owner else name


def _nested_lock(parts: Parts, value: object, owner: str = "") -> None:
    for name, entry in table(value).items():
        found = table(entry)
        parts.depend(name, text(found.pop("version", None)), f"in {owner}" if owner else "")
        _nested_lock(parts, found.pop("dependencies", None), f"{owner}/{name}" if owner else name)
        parts.install(CHECKSUMS, [owner, name, found])


def pipfile_lock(source: str) -> Parts:
    """Read Pipfile.lock; the hash of the Pipfile in it is no dependency."""
    parts = Parts()
    for section, value in _json(source).items():
        if section == "_meta":
            meta = table(value)
            parts.other("content hash", meta.pop("hash", None))
            parts.install("sources", meta)
            continue
        for name, entry in table(value).items():
            found = table(entry)
            version = found.pop("version", None)
            parts.depend(
                name, text(version) or canonical(found.get("ref")), _PIPENV_GROUPS.get(section, section)
            )
            parts.install(CHECKSUMS, [section, name, found])
    return parts


_PIPENV_GROUPS = {"default": "", "packages": "", "develop": "dev", "dev-packages": "dev"}

_COMPOSER_GROUPS = {
    "require": "",
    "require-dev": "dev",
    "conflict": "conflict",
    "replace": "replace",
    "provide": "provide",
}
_COMPOSER_INSTALLING = frozenset(
    {
        *("repositories", "minimum-stability", "prefer-stable", "config", "autoload", "autoload-dev"),
        *("extra", "bin", "target-dir", "include-path"),
    }
)


def composer_json(source: str) -> Parts:
    """Read composer.json; scripts that follow an event (`post-install-cmd`) are run by an install."""
    parts = Parts()
    for key, value in _json(source).items():
        if key in _COMPOSER_GROUPS:
            for name, constraint in table(value).items():
                parts.depend(name, text(constraint), _COMPOSER_GROUPS[key])
        elif key == "scripts":
            _scripts(parts, table(value), lambda name: name.startswith(("pre-", "post-", "command")))
        elif key in _COMPOSER_INSTALLING:
            parts.install(key, value)
        else:
            parts.other(key, value)
    return parts


def composer_lock(source: str) -> Parts:
    """Read composer.lock: packages and packages-dev."""
    parts = Parts()
    document = _json(source)
    for section, group in (("packages", ""), ("packages-dev", "dev")):
        for entry in array(document.pop(section, None)):
            found = table(entry)
            name = text(found.pop("name", None))
            parts.depend(name, text(found.pop("version", None)), group)
            parts.install(CHECKSUMS, [name, found])
    parts.other("content hash", document.pop("content-hash", None))
    parts.other("readme", document.pop("_readme", None))
    for key, value in document.items():
        parts.install(key, value)
    return parts


# TOML -----------------------------------------------------------------------------------------------------


def _toml(source: str) -> dict[str, object]:
    import tomllib

    # tomllib's time grows with the square of a key's depth, and no key of a manifest is that deep.
    if any(word.count(".") > _DEEPEST for word in re.split(r"[\s\"'=,\[\]{}]+", source)):
        raise UnsureError
    return table(tomllib.loads(source))


_PEP508 = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)", re.DOTALL)


def requirement(parts: Parts, line: str, group: str = "") -> None:
    """Note a requirement as pip writes it; what has no name is known by its address."""
    found = _PEP508.fullmatch(line.strip())
    if found is None or "://" in found[0][: len(found[1]) + 3]:
        parts.depend(line.strip(), "", group)
        return
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    parts.depend(name, f"{found[2] or ''} {found[3].removeprefix('@').strip()}", group)


def _constraint(value: object) -> str:
    """Write a constraint of TOML: a version alone, or a version with what stands beside it."""
    found = table(value)
    if not found:
        return text(value)
    version = text(found.pop("version", None))
    return f"{version} {canonical(found)}".strip() if found else version


_BUILDERS = frozenset(
    {
        *("setuptools", "setuptools_scm", "setuptools-scm", "hatch", "flit", "scikit-build", "maturin"),
        *("pdm", "meson-python", "cibuildwheel", "uv", "distutils", "versioningit", "cython"),
    }
)
"""Tables of tools that decide what is installed or built."""

_PROJECT_INSTALLING = frozenset(
    {"requires-python", "dynamic", "scripts", "gui-scripts", "entry-points", "import-names"}
)
_POETRY_INSTALLING = frozenset(
    {"packages", "include", "exclude", "scripts", "extras", "source", "build", "package-mode", "plugins"}
)


def pyproject(source: str) -> Parts:
    """Read pyproject.toml for pip, uv, poetry and pdm; of the tools' tables only those of builders count."""
    parts = Parts()
    document = _toml(source)
    for key, value in table(document.pop("project", None)).items():
        if key == "dependencies":
            for line in array(value):
                requirement(parts, text(line))
        elif key == "optional-dependencies":
            _groups(parts, table(value))
        elif key in _PROJECT_INSTALLING:
            parts.install(key, value)
        else:
            parts.other(key, value)
    _groups(parts, table(document.pop("dependency-groups", None)))
    build = table(document.pop("build-system", None))
    for line in array(build.pop("requires", None)):
        requirement(parts, text(line), "build")
    parts.install("build-system", build)
    for name, value in table(document.pop("tool", None)).items():
        if name == "poetry":
            _poetry(parts, table(value))
        elif name in _BUILDERS:
            settings = table(value)
            _groups(parts, table(settings.pop("dev-dependencies", None)))
            for line in array(table(value).get("dev-dependencies")):
                requirement(parts, text(line), "dev")
            parts.install(f"tool.{name}", settings)
        else:
            parts.other(f"tool.{name}", value)
    for key, value in document.items():
        parts.other(key, value)
    return parts


def _groups(parts: Parts, groups: Mapping[str, object]) -> None:
    for group, lines in groups.items():
        for line in array(lines):
            if isinstance(line, str):
                requirement(parts, line, group)
            else:
                parts.install("groups", [group, line])


def _poetry(parts: Parts, poetry: Mapping[str, object]) -> None:
    for key, value in poetry.items():
        if key == "dependencies":
            _constraints(parts, value)
        elif key == "dev-dependencies":
            _constraints(parts, value, "dev")
        elif key == "group":
            for group, entry in table(value).items():
                found = table(entry)
                _constraints(parts, found.pop("dependencies", None), group)
                parts.install("groups", [group, found])
        elif key in _POETRY_INSTALLING:
            parts.install(key, value)
        else:
            parts.other(key, value)


def _constraints(parts: Parts, value: object, group: str = "") -> None:
    for name, constraint in table(value).items():
        for one in array(constraint) or [constraint]:
            parts.depend(name, _constraint(one), group)


def pipfile(source: str) -> Parts:
    """Read a Pipfile: every table that is none of its own is a group of packages."""
    parts = Parts()
    for key, value in _toml(source).items():
        if key == "scripts":
            parts.other("scripts", value)
        elif key in {"source", "requires", "pipenv"}:
            parts.install(key, value)
        else:
            _constraints(parts, value, _PIPENV_GROUPS.get(key, key))
    return parts


def python_lock(source: str) -> Parts:
    """Read uv.lock, poetry.lock or pdm.lock; the project's own version in it is no dependency."""
    parts = Parts()
    document = _toml(source)
    for entry in array(document.pop("package", None)):
        found = table(entry)
        name, version = text(found.pop("name", None)), text(found.pop("version", None))
        origin = table(found.get("source"))
        if "virtual" in origin or "editable" in origin:
            parts.other("version", [name, version])
            parts.install("the manifest's copy", [name, found])
            continue
        parts.depend(name, version)
        parts.install(CHECKSUMS, [name, version, found])
    metadata = table(document.pop("metadata", None))
    for key in ("content-hash", "content_hash"):
        parts.other("content hash", metadata.pop(key, None))
    for key in ("lock-version", "lock_version"):
        parts.other("lock file version", metadata.pop(key, None))
    parts.install("metadata", metadata)
    parts.other("lock file version", [document.pop("version", None), document.pop("revision", None)])
    for key, value in document.items():
        parts.install(key, value)
    return parts


_CARGO_GROUPS = {"dependencies": "", "dev-dependencies": "dev", "build-dependencies": "build"}
_CARGO_ABOUT = frozenset(
    {
        *("name", "version", "authors", "description", "documentation", "readme", "homepage"),
        *("repository", "license", "license-file", "keywords", "categories", "publish", "metadata"),
        *("include", "exclude"),
    }
)


def cargo_toml(source: str) -> Parts:
    """Read Cargo.toml; profiles and features change how dependencies are compiled, so they count."""
    parts = Parts()
    document = _toml(source)
    _cargo_dependencies(parts, document)
    for platform, entry in table(document.pop("target", None)).items():
        found = table(entry)
        _cargo_dependencies(parts, found, platform)
        parts.install("target", [platform, found])
    workspace = table(document.pop("workspace", None))
    _cargo_dependencies(parts, workspace, "workspace")
    for where in ("package", "workspace"):
        about = (
            table(document.pop(where, None)) if where == "package" else table(workspace.pop("package", None))
        )
        for key, value in about.items():
            keep = parts.other if key in _CARGO_ABOUT else parts.install
            keep(key, [where, value])
    parts.other("metadata", workspace.pop("metadata", None))
    parts.other("lints", [workspace.pop("lints", None), document.pop("lints", None)])
    parts.other("badges", document.pop("badges", None))
    parts.install("workspace", workspace)
    for registry, patches in table(document.pop("patch", None)).items():
        _constraints(parts, patches, f"patch of {registry}")
    _constraints(parts, document.pop("replace", None), "replace")
    for key, value in document.items():
        parts.install(key, value)
    return parts


def _cargo_dependencies(parts: Parts, found: dict[str, object], where: str = "") -> None:
    for section, group in _CARGO_GROUPS.items():
        for spelled in dict.fromkeys((section, section.replace("-", "_"))):
            _constraints(parts, found.pop(spelled, None), ", ".join(filter(None, (group, where))))


def cargo_lock(source: str) -> Parts:
    """Read Cargo.lock; a package without a source is of the project itself."""
    parts = Parts()
    document = _toml(source)
    for entry in array(document.pop("package", None)):
        found = table(entry)
        name, version = text(found.pop("name", None)), text(found.pop("version", None))
        if "source" not in found:
            parts.other("version", [name, version])
            parts.install("the manifests' copies", [name, found])
            continue
        parts.depend(name, version)
        parts.install(CHECKSUMS, [name, version, found])
    parts.other("lock file version", [document.pop("version", None)])
    for key, value in document.items():
        parts.install(key, value)
    return parts


def version_catalogue(source: str) -> Parts:
    """Read a version catalogue of gradle, with its references resolved."""
    parts = Parts()
    document = _toml(source)
    versions = table(document.pop("versions", None))
    used: set[str] = set()

    def resolved(value: object) -> str:
        found = table(value)
        if set(found) == {"ref"}:
            name = text(found["ref"])
            if name not in versions:
                raise UnsureError
            used.add(name)
            return _constraint(versions[name])
        return _constraint(value)

    for section, group in (("libraries", ""), ("plugins", "plugin")):
        for entry in table(document.pop(section, None)).values():
            found = table(entry)
            if not found:
                module, _, version = text(entry).rpartition(":")
                parts.depend(module, version, group)
                continue
            module = text(found.pop("module", None)) or text(found.pop("id", None))
            module = module or f"{text(found.pop('group', None))}:{text(found.pop('name', None))}"
            parts.depend(module, resolved(found.pop("version", None)), group)
    # A build script may ask for a version that no library names.
    parts.install("versions", {name: one for name, one in versions.items() if name not in used})
    for key, value in document.items():
        keep = parts.other if key == "metadata" else parts.install
        keep(key, value)
    return parts


# INI ------------------------------------------------------------------------------------------------------


def setup_cfg(source: str) -> Parts:
    """Read setup.cfg as setuptools does; sections of other tools are not looked at by an install."""
    import configparser

    parts = Parts()
    config = configparser.ConfigParser(interpolation=None, strict=False, default_section="\0")
    try:
        config.read_string(source)
    except configparser.Error as error:
        raise UnsureError from error
    for section in config.sections():
        for key, value in config.items(section):
            if section == "options" and key in {"install_requires", "setup_requires"}:
                _lines(parts, value, "build" if key == "setup_requires" else "")
            elif section == "options.extras_require":
                _lines(parts, value, key)
            elif section == "metadata":
                parts.other(key, value)
            elif section.split(".", 1)[0] in _SETUPTOOLS:
                parts.install(section, [key, value])
            else:
                parts.other(f"tool.{section.removeprefix('tool:')}", [key, value])
    return parts


_SETUPTOOLS = frozenset({"options", "build", "build_ext", "install", "bdist_wheel", "easy_install", "global"})


def _lines(parts: Parts, value: str, group: str) -> None:
    for line in value.splitlines():
        for one in line.split(";;"):
            cleaned = one.partition(" #")[0].strip()
            if cleaned and not cleaned.startswith("#"):
                requirement(parts, cleaned, group)


# XML ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Element:
    name: str
    children: list["_Element"] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "".join(self.pieces).strip()

    def find(self, *path: str) -> Iterator["_Element"]:
        if not path:
            yield self
            return
        for child in self.children:
            if child.name == path[0]:
                yield from child.find(*path[1:])

    def value(self, name: str) -> str:
        return next((one.words for one in self.find(name)), "")

    def take(self, name: str) -> list["_Element"]:
        """Return the children of a name and leave the others."""
        found = [one for one in self.children if one.name == name]
        self.children = [one for one in self.children if one.name != name]
        return found

    def plain(self) -> object:
        return [self.name, self.words, [child.plain() for child in self.children]]


_DEEPEST = 100


def _xml(source: str) -> _Element:
    """Parse XML without its doctype: entities are what makes a small text large, and no manifest has any."""
    from xml.parsers import expat

    top = _Element("")
    open_elements = [top]
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise UnsureError

    def start(name: str, _attributes: object) -> None:
        if len(open_elements) > _DEEPEST:
            raise UnsureError
        element = _Element(name.rpartition(" ")[2])
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_name: str) -> None:
        open_elements.pop()

    def words(data: str) -> None:
        open_elements[-1].pieces.append(data)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = words
    parser.buffer_text = True
    try:
        parser.Parse(_DECLARATION.sub("", source, count=1).encode("utf-8"), True)
    except expat.ExpatError as error:
        raise UnsureError from error
    return top.children[0]


_DECLARATION = re.compile(r"\A<\?xml[^>]*\?>")
"""It names the encoding of the bytes, and the text has been decoded before."""

_POM_ABOUT = frozenset(
    {
        *("modelVersion", "artifactId", "groupId", "version", "name", "description", "url"),
        *("inceptionYear", "licenses", "developers", "contributors", "organization", "scm"),
        *("issueManagement", "ciManagement", "mailingLists", "distributionManagement", "reporting"),
    }
)


def pom(source: str) -> Parts:
    """Read pom.xml; properties are put into the versions that name them, and count by themselves as well."""
    parts = Parts()
    project = _xml(source)
    if project.name != "project":
        raise UnsureError
    properties = {
        child.name: child.words
        for one in project.find("properties")
        for child in one.children
        if len(child.words) <= _LONGEST_VALUE
    }
    for parent in project.take("parent"):
        parts.depend(
            f"{parent.value('groupId')}:{parent.value('artifactId')}", parent.value("version"), "parent"
        )
    _pom_part(parts, project, properties, "")
    for profiles in project.take("profiles"):
        for profile in profiles.children:
            name = profile.value("id")
            _pom_part(parts, profile, properties, f"profile {name}")
            parts.install("profiles", [name, profile.plain()])
    for child in project.children:
        keep = parts.other if child.name in _POM_ABOUT else parts.install
        keep(child.name, child.plain())
    return parts


def _pom_part(parts: Parts, part: _Element, properties: Mapping[str, str], where: str) -> None:
    """Take dependencies and plugins out of the project or of a profile."""
    places = [("", part), *(("managed", one) for one in part.find("dependencyManagement"))]
    for group, place in places:
        for one in [found for section in place.take("dependencies") for found in section.children]:
            _pom_dependency(parts, one, properties, ", ".join(filter(None, (group, where))))
    for build in part.find("build"):
        places = [("plugin", build), *(("managed plugin", one) for one in build.find("pluginManagement"))]
        for group, place in places:
            for section in place.find("plugins"):
                for one in section.children:
                    _pom_plugin(parts, one, properties, ", ".join(filter(None, (group, where))))


def _pom_dependency(parts: Parts, one: _Element, properties: Mapping[str, str], group: str) -> None:
    name = _pom_name(one, properties)
    version = _filled(one.value("version"), properties)
    scope = one.value("scope")
    parts.depend(name, f"{version} {scope}", group)
    for taken in ("groupId", "artifactId", "version", "scope"):
        one.take(taken)
    parts.install("how dependencies are taken", [name, group, one.plain()])


def _pom_plugin(parts: Parts, one: _Element, properties: Mapping[str, str], group: str) -> None:
    parts.depend(_pom_name(one, properties), _filled(one.value("version"), properties), group)
    one.take("version")


def _pom_name(one: _Element, properties: Mapping[str, str]) -> str:
    parts = [_filled(one.value(name), properties) for name in ("groupId", "artifactId")]
    kinds = [one.value(name) for name in ("type", "classifier")]
    return ":".join(filter(None, (*parts, *kinds)))


_LONGEST_VALUE = 200
"""No version is longer; what is would only grow while it is filled in."""


def _filled(value: str, properties: Mapping[str, str]) -> str:
    """Put properties into a value, and the properties that they name in turn, a few times over."""
    for _ in range(4):
        filled = re.sub(r"\$\{([^}]*)\}", lambda found: properties.get(found[1], found[0]), value)
        if filled == value or len(filled) > _LONGEST_VALUE:
            break
        value = filled
    return value


DATA_READERS: Mapping[str, Callable[[str], Parts]] = {
    one.__name__: one
    for one in (
        *(package_json, package_lock, pipfile_lock, composer_json, composer_lock),
        *(pyproject, pipfile, python_lock, cargo_toml, cargo_lock, version_catalogue),
        *(setup_cfg, pom),
    )
}
