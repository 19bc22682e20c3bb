"""What maven, gradle and sbt read."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import has_flag, needs_mode, plain_path, values, while_building

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


_MAVEN_KEPT = re.compile(
    r"-(B|q|e|ntp|-no-transfer-progress|-batch-mode|-quiet|D[\w.-]+(=[\w./-]*)?|U|nsu)$|-P[\w,!-]+$"
)


def _poms(where: Where, path: str = "pom.xml", depth: int = 0) -> tuple[str, ...]:
    text = where.text(path)
    if text is None:
        raise StoppedError(f"the module {path} is not copied above the install")
    text = re.sub(r"(?s)<!--.*?-->", "", text)
    found = [where.at(path)]
    folder = posixpath.dirname(path)
    parent = re.search(r"<relativePath>\s*([^<\s]+)\s*</relativePath>", text)
    if parent and depth == 0:
        above = posixpath.normpath(posixpath.join(folder, parent[1]))
        above = above if above.endswith(".xml") else f"{above}/pom.xml"
        if not where.present(above):
            raise StoppedError(f"{path} has its parent at {parent[1]}, which is not copied here")
        found.append(where.at(above))
    for module in re.findall(r"<module>\s*([^<\s]+)\s*</module>", text):
        inner = posixpath.normpath(posixpath.join(folder, module))
        found += _poms(where, inner if inner.endswith(".xml") else f"{inner}/pom.xml", depth + 1)
    if "<systemPath>" in text:
        raise StoppedError(f"{path} takes a library from a path")
    return tuple(dict.fromkeys(found))


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
    if len([one for one in files if one.endswith("pom.xml")]) > 1:
        raise StoppedError(
            "maven resolves the modules of a project from each other only while it builds them"
        )
    if "<packaging>pom</packaging>" in (where.text("pom.xml") or ""):
        raise StoppedError("pom.xml only holds other projects together")
    kept = [word for word in command.arguments if word[0] == "-"]
    if any(not _MAVEN_KEPT.match(word) for word in kept):
        raise StoppedError("maven gets options that may not suit dependency:go-offline")
    kept = [word for word in kept if not word.startswith("-D") or "kip" not in word]
    insert = " ".join([command.words[0], *kept, "dependency:go-offline"])
    return Needs(files, folders, (where.at("target"),), Split(insert=(insert,), kind="maven-dependencies"))


def _gradle_dependencies(command: Command, where: Where) -> Answer:
    names = (
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
        "gradle.properties",
    )
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
    if any("includeBuild" in text or "rootProject.file(" in text for text in texts):
        raise StoppedError("the build files of gradle read other files of the project")
    if command.program == "gradlew":
        files += where.present("gradlew")
        needs_mode(where, "gradlew", command)
    return Needs(
        tuple(dict.fromkeys(files)),
        where.folders("gradle", "buildSrc"),
        (where.at("build"), where.at(".gradle")),
    )


def _sbt(command: Command, where: Where) -> Answer:
    tasks = [word for word in command.arguments if word[0] != "-"]
    if not where.present("build.sbt") or tasks != ["update"]:
        return while_building("sbt")(command, where)
    project = [
        path
        for path in where.placed.below(where.at("project"))
        if path.count("/") == where.at("project").count("/") + 1
    ]
    return Needs(
        (*where.present("build.sbt", ".sbtopts", ".jvmopts"), *project),
        fills=(where.at("target"), where.at("project/target"), where.at("project/project")),
    )


READERS: Final[Mapping[str, Reader]] = {
    "maven-dependencies": _maven_dependencies,
    "maven-build": _maven_build,
    "gradle-dependencies": _gradle_dependencies,
    "gradle-wrapper": _gradle_dependencies,
    "gradle-build": while_building("gradle"),
    "sbt-build": _sbt,
}
