"""What maven, gradle and sbt read."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import has_flag, needs_mode, plain_path, values, while_building
from devloop.doctor.placed import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


_MAVEN_KEPT = re.compile(
    r"-(B|q|e|ntp|-no-transfer-progress|-batch-mode|-quiet|D[\w.-]+(=[\w./-]*)?|U|nsu)$|-P[\w,!-]+$"
)


def _poms(where: Where) -> tuple[str, ...]:
    """Return the pom here, those of its modules, and those that any of them has as a parent."""
    found: dict[str, None] = {}
    done: set[tuple[str, bool]] = set()
    waiting = [("pom.xml", True)]
    while waiting:
        path, is_built = waiting.pop(0)
        if (where.at(path), is_built) in done:
            continue
        done.add((where.at(path), is_built))
        text = where.text(path)
        if text is None:
            raise StoppedError(f"the module {path} is not copied above the install")
        text = re.sub(r"(?s)<!--.*?-->", "", text)
        found[where.at(path)] = None
        # What a parent holds together besides is not built with this one.
        modules = re.findall(r"<module>\s*([^<\s]+)\s*</module>", text) if is_built else []
        waiting += [(_pom_at(path, one), True) for one in modules]
        waiting += [(one, False) for one in _parent(where, path, text)]
        if "<systemPath>" in text:
            raise StoppedError(f"{path} takes a library from a path")
        if re.search(r"<url>\s*(?:file:|\$\{(?:project\.)?basedir\})", text):
            raise StoppedError(f"{path} names a repository in the project")
    return tuple(found)


def _parent(where: Where, path: str, text: str) -> list[str]:
    """Return the parent of a pom where it lies in the project; unless told otherwise, in the folder above."""
    named = re.search(r"<relativePath>\s*([^<\s]+)\s*</relativePath>", text)
    if named is None:
        usual = _pom_at(path, "..")
        is_usual = "<parent>" in text and "<relativePath" not in text and where.present(usual)
        return [usual] if is_usual else []
    above = _pom_at(path, named[1])
    if not where.present(above):
        raise StoppedError(f"{path} has its parent at {named[1]}, which is not copied here")
    return [above]


def _pom_at(path: str, other: str) -> str:
    """Return the pom that another one names: a file, or a folder with one in it."""
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), other))
    return found if found.endswith(".xml") else posixpath.normpath(f"{found}/pom.xml")


def _maven_files(command: Command, where: Where) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if has_flag(command, "-f", "--file", "-pl", "--projects", "-am"):
        raise StoppedError("maven builds a part of the project by name")
    files = list(_poms(where))
    for value in values(command.arguments, "-s", "--settings", "-gs"):
        path = where.at(plain_path(value))
        if where.placed.has(path):
            files.append(path)
    folders = list(where.folders(".mvn"))
    if command.words[0].endswith("mvnw"):
        files += where.present("mvnw")
        needs_mode(where, "mvnw", command)
    return tuple(dict.fromkeys(files)), tuple(folders)


def _maven_dependencies(command: Command, where: Where) -> Answer:
    if not where.present("pom.xml"):
        return Source("mvn")
    goals = [word for word in command.arguments if word[0] != "-"]
    if any(not goal.startswith("dependency:") and "maven-dependency-plugin" not in goal for goal in goals):
        return Source("mvn")
    files, folders = _maven_files(command, where)
    return Needs(files, folders, (where.at("target"),))


def _maven_build(command: Command, where: Where) -> Answer:
    if not where.present("pom.xml") or has_flag(command, "-o", "--offline"):
        return Source("mvn")
    goals = [word for word in command.arguments if word[0] != "-"]
    if any(goal not in {"clean", "package", "install", "verify", "compile"} for goal in goals) or not goals:
        raise StoppedError(
            f"maven runs {' '.join(goals) or 'without a goal'}, whose plugins are not known here"
        )
    files, folders = _maven_files(command, where)
    _refuse_siblings(where, [one for one in files if one.endswith(".xml")])
    kept = [word for word in command.arguments if word[0] == "-"]
    if any(not _MAVEN_KEPT.match(word) for word in kept):
        raise StoppedError("maven gets options that may not suit dependency:go-offline")
    kept = [word for word in kept if not word.startswith("-D") or "kip" not in word]
    insert = " ".join([command.words[0], *kept, "dependency:go-offline"])
    fills = tuple(joined(posixpath.dirname(one), "target") for one in files if one.endswith("pom.xml"))
    return Needs(files, folders, fills, Split(insert=(insert,), kind="maven-dependencies"))


def _refuse_siblings(where: Where, poms: list[str]) -> None:
    """Stop where a module uses another one: go-offline looks for it in a repository, where it is not.

    Newer versions of its plugin leave out what the same build makes, but which one runs is for the image or
    a parent to say.
    """
    texts = [re.sub(r"(?s)<!--.*?-->", "", where.placed.text(one) or "") for one in poms]
    own = [_own_name(one) for one in texts]
    if "<packaging>pom</packaging>" in texts[0] and len(texts) == 1:
        raise StoppedError("pom.xml only holds other projects together")
    for text in texts:
        used = re.sub(r"(?s)<parent>.*?</parent>", "", text)
        for block in re.findall(
            r"(?s)<(?:dependency|plugin|extension)>(.*?)</(?:dependency|plugin|extension)>", used
        ):
            for name in re.findall(r"<artifactId>\s*([^<\s]+)\s*</artifactId>", block):
                if name in own or "$" in name:
                    raise StoppedError(
                        f"a module uses {name} of the same project, which dependency:go-offline of older"
                        " versions looks for in a repository"
                    )


def _own_name(text: str) -> str:
    """Return the name of the artifact that a pom describes."""
    bare = re.sub(
        r"(?s)<(parent|dependencies|dependencyManagement|build|profiles|reporting)>.*?</\1>", "", text
    )
    found = re.search(r"<artifactId>\s*([^<\s]+)\s*</artifactId>", bare)
    return found[1] if found else ""


def _gradle_dependencies(command: Command, where: Where) -> Answer:
    names = (*_GRADLE_FILES, "gradle.properties")
    if not where.present(*names) or has_flag(command, "-p", "-b", "-I", "-c", "--include-build"):
        return Source("gradle")
    files = [*where.present(*names, "gradle.lockfile", "buildscript-gradle.lockfile")]
    for path in where.placed.below(where.folder):
        base = posixpath.basename(path)
        inside = path[len(where.folder.rstrip("/")) + 1 :]
        is_build_file = base.endswith((".gradle", ".gradle.kts")) or base in {
            "gradle.lockfile",
            "gradle.properties",
        }
        if is_build_file and not inside.startswith(("buildSrc/", "gradle/")):
            files.append(path)
    texts = [where.placed.text(path) or "" for path in dict.fromkeys(files)]
    if any(_READS_FILES.search(text) for text in texts):
        raise StoppedError("the build files of gradle read other files of the project")
    _refuse_bare_projects(where, files)
    if command.program == "gradlew":
        files += where.present("gradlew")
        needs_mode(where, "gradlew", command)
    return Needs(
        tuple(dict.fromkeys(files)),
        where.folders("gradle", "buildSrc"),
        (where.at("build"), where.at(".gradle")),
    )


def _refuse_bare_projects(where: Where, files: list[str]) -> None:
    """Stop where a project has no build file in its folder: newer versions of gradle want the folder."""
    for name in ("settings.gradle", "settings.gradle.kts"):
        text = re.sub(r"//.*|(?s:/\*.*?\*/)", "", where.text(name) or "")
        for line in re.findall(r"(?m)^\s*include\b([^\n]*(?:,\s*\n[^\n]*)*)", text):
            for project in re.findall(r"[\"']:?([\w.:/-]+)[\"']", line):
                folder = where.at(project.replace(":", "/"))
                if not any(path.startswith(f"{folder}/") for path in files):
                    raise StoppedError(f"the project {project} of {name} has no build file in its folder")


_GRADLE_FILES: Final = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
_READS_FILES: Final = re.compile(
    r"includeBuild|rootProject\.file\(|\.(?:text|readText\(\)|readLines\(\)|inputStream\(\))|new File\("
    r"|\.load\(|projectDir\s*=|fileTree\(|providers\.fileContents"
)
_while_building_gradle = while_building(
    "gradle",
    _GRADLE_FILES,
    "gradle fetches libraries only to compile with them: `gradle dependencies` brings their descriptions",
)
_while_building_sbt = while_building(
    "sbt", ("build.sbt",), "sbt fetches and builds in one go, and nothing here fetches alone for certain"
)


def _sbt(command: Command, where: Where) -> Answer:
    tasks = [word for word in command.arguments if word[0] != "-"]
    if not where.present("build.sbt") or tasks != ["update"]:
        return _while_building_sbt(command, where)
    project = [
        path
        for path in where.placed.below(where.at("project"))
        if path.count("/") == where.at("project").count("/") + 1
    ]
    builds = [
        path for path in where.placed.below(where.folder) if path.endswith(".sbt") and path not in project
    ]
    for path in (*builds, *project):
        if re.search(r"\bIO\.read|Source\.from|Files\.read|\bUsing\b", where.placed.text(path) or ""):
            raise StoppedError(f"{posixpath.basename(path)} reads other files of the project")
    return Needs(
        (*builds, *where.present(".sbtopts", ".jvmopts"), *project),
        fills=(where.at("target"), where.at("project/target"), where.at("project/project")),
    )


READERS: Final[Mapping[str, Reader]] = {
    "maven-dependencies": _maven_dependencies,
    "maven-build": _maven_build,
    "gradle-dependencies": _gradle_dependencies,
    "gradle-wrapper": _gradle_dependencies,
    "gradle-build": _while_building_gradle,
    "sbt-build": _sbt,
}
