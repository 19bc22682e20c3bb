"""What maven and gradle may fetch before the source is there, and what keeps them from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.rules_order import RULES as ORDER
from support.doctor import subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROOT = (
    "<project><artifactId>all</artifactId><packaging>pom</packaging>"
    "<modules><module>core</module><module>web</module></modules></project>"
)
PARENT = "<parent><groupId>g</groupId><artifactId>all</artifactId><version>1</version></parent>"


def module(name: str, *uses: str) -> str:
    used = "".join(
        f"<dependency><groupId>g</groupId><artifactId>{one}</artifactId></dependency>" for one in uses
    )
    return f"<project>{PARENT}<artifactId>{name}</artifactId><dependencies>{used}</dependencies></project>"


def answer(folder: Path, files: Mapping[str, str], run: str) -> list[str] | str:
    """Return what is proposed for the lines below the first copy, or what stops it."""
    project = subject(folder, f"FROM x\nWORKDIR /app\nCOPY . .\nRUN {run}\n", {"a/A.java": "", **files})
    (finding,) = [one for rule in ORDER for one in rule(project)]
    if finding.proposal is None:
        return finding.stops
    return apply_edits(project.source, finding.proposal.edits).decode().splitlines()[2:]


def test_modules_that_do_not_use_each_other_are_fetched_for_together(tmp_path: Path) -> None:
    files = {"pom.xml": ROOT, "core/pom.xml": module("core", "guava"), "web/pom.xml": module("web")}
    assert answer(tmp_path, files | {"web/src/A.java": ""}, "mvn -B package") == [
        "COPY pom.xml ./",
        "COPY core/pom.xml ./core/",
        "COPY web/pom.xml ./web/",
        "RUN mvn -B dependency:go-offline",
        "COPY . .",
        "RUN mvn -B package",
    ]


def test_a_module_that_another_one_uses_is_in_no_repository_yet(tmp_path: Path) -> None:
    files = {"pom.xml": ROOT, "core/pom.xml": module("core"), "web/pom.xml": module("web", "core")}
    assert answer(tmp_path, files, "mvn package") == (
        "a module uses core of the same project, which dependency:go-offline of older versions looks for in a"
        " repository"
    )


def test_a_parent_beside_the_modules_or_above_them_is_read_too(tmp_path: Path) -> None:
    up = PARENT.replace("</parent>", "<relativePath>../base</relativePath></parent>")
    files = {
        "pom.xml": "<project><artifactId>a</artifactId><modules><module>web</module></modules></project>",
        "web/pom.xml": f"<project>{up}<artifactId>web</artifactId></project>",
        "base/pom.xml": "<project><artifactId>all</artifactId></project>",
    }
    assert answer(tmp_path / "beside", files, "mvn package")[:3] == [
        "COPY pom.xml ./",
        "COPY web/pom.xml ./web/",
        "COPY base/pom.xml ./base/",
    ]
    files = {"pom.xml": ROOT, "web/pom.xml": module("web"), "web/src/A.java": ""}
    assert answer(tmp_path / "above", files, "cd web && mvn package")[:3] == [
        "COPY web/pom.xml ./web/",
        "COPY pom.xml ./",
        "RUN cd web && mvn dependency:go-offline",
    ]


def test_a_module_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    text = "<project><artifactId>a</artifactId><modules><module>.</module></modules></project>"
    assert answer(tmp_path, {"pom.xml": text}, "mvn package")[0] == "COPY pom.xml ./"


GRADLE = {"settings.gradle": "include 'core', ':tools:gen'\n", "build.gradle": "plugins { id 'java' }\n"}


def test_the_build_file_of_every_project_of_gradle_is_copied(tmp_path: Path) -> None:
    files = {**GRADLE, "core/build.gradle": "", "tools/gen/build.gradle.kts": "", "core/src/A.java": ""}
    assert answer(tmp_path, files, "gradle dependencies") == [
        "COPY build.gradle settings.gradle ./",
        "COPY core/build.gradle ./core/",
        "COPY tools/gen/build.gradle.kts ./tools/gen/",
        "RUN gradle dependencies",
        "COPY . .",
    ]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"core/src/A.java": "", "tools/gen/build.gradle": ""},
            "the project core of settings.gradle has no build file in its folder",
        ),
        (
            {"core/build.gradle": "version = file('VERSION').text\n", "tools/gen/build.gradle": ""},
            "the build files of gradle read other files of the project",
        ),
    ],
)
def test_what_gradle_reads_besides_its_build_files_is_named(
    tmp_path: Path, more: Mapping[str, str], reason: str
) -> None:
    assert answer(tmp_path, {**GRADLE, **more}, "gradle dependencies") == reason


def test_a_build_of_gradle_alone_has_nothing_that_fetches_libraries(tmp_path: Path) -> None:
    assert answer(tmp_path, GRADLE, "gradle build") == (
        "gradle fetches libraries only to compile with them: `gradle dependencies` brings their descriptions"
    )
