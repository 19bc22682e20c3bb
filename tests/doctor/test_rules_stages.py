"""Kits that stay in the image: the second stage where all is certain, a finding without one elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_stages
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_stages.RULES)


GO = (
    "FROM golang:1.23\nWORKDIR /src\nENV CGO_ENABLED=0\nCOPY . .\nRUN go build -o /bin/hello .\n"
    "# how it starts\nEXPOSE 80\n"
    'CMD ["/bin/hello"]\n'
)
GO_FILES = {"go.mod": "module a\n", "main.go": "package main\n", "README.md": "x"}
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def test_go_gets_a_stage_with_the_program_alone(examine: Callable[..., Patient]) -> None:
    patient = examine(GO, GO_FILES)
    finding = patient.only("no-builder-stage")
    assert (finding.first_line, finding.last_line, finding.category) == (5, 5, "size")
    assert patient.changes("no-builder-stage") == (
        "-FROM golang:1.23\n"
        "+FROM golang:1.23 AS build\n"
        "+\n"
        "+FROM debian:bookworm-slim\n"
        "+WORKDIR /src\n"
        f"+COPY --from=build {CERTIFICATES} {CERTIFICATES}\n"
        "+COPY --from=build /bin/hello /bin/hello"
    )


def test_the_name_of_a_stage_and_the_ends_of_lines_stay(examine: Callable[..., Patient]) -> None:
    text = GO.replace("golang:1.23", "golang:1.23-alpine3.20 AS app").replace("\n", "\r\n")
    changes = examine(text, GO_FILES).changes("no-builder-stage")
    assert changes.startswith(
        "-FROM golang:1.23-alpine3.20 AS app\r\n+FROM golang:1.23-alpine3.20 AS build\r\n"
    )
    assert "+FROM alpine:3.20 AS app\r\n" in changes
    assert "+COPY --from=build /bin/hello /bin/hello\r" in changes
    builder = examine(text.replace("AS app", "AS Builder"), GO_FILES).changes("no-builder-stage")
    assert "-FROM" not in builder
    assert "+COPY --from=builder /bin/hello" in builder


def test_what_holds_for_the_program_is_said_again_and_what_only_builds_is_not(
    examine: Callable[..., Patient],
) -> None:
    text = GO.replace("ENV CGO_ENABLED=0", "ENV CGO_ENABLED=0\nENV GOMAXPROCS=2 MODE=a\nLABEL a=b\nEXPOSE 9")
    changes = examine(text, GO_FILES).changes("no-builder-stage")
    assert "+WORKDIR /src\n+ENV GOMAXPROCS=2 MODE=a\n+LABEL a=b\n+EXPOSE 9\n+COPY" in changes
    assert "CGO" not in changes


def test_a_file_that_is_copied_below_the_build_comes_along(examine: Callable[..., Patient]) -> None:
    text = GO.replace("COPY . .", "COPY go.mod main.go ./")
    text = text.replace("EXPOSE 80", "COPY --chown=0:0 words /words\nUSER nobody")
    assert examine(text, {**GO_FILES, "words": "a"}).changes("no-builder-stage") != ""


def test_a_line_that_uses_an_argument_of_the_build_stops_the_proposal(
    examine: Callable[..., Patient],
) -> None:
    text = GO.replace("EXPOSE 80", "EXPOSE $PORT").replace("ENV CGO_ENABLED=0", "ARG PORT=80")
    assert (
        examine(text, GO_FILES).stops("no-builder-stage") == "line 7 uses PORT, which the build's stage sets"
    )


def test_rust_is_taken_from_where_the_step_put_it(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM rust:1.80\nWORKDIR /src\nCOPY . .\n"
        "RUN --mount=type=cache,target=/src/target cargo build --release && "
        "cp target/release/a /usr/local/bin/\n"
        'CMD ["a"]\n',
        {"Cargo.toml": "", "Cargo.lock": 'name = "libc"\n', "src/main.rs": "fn main() {}"},
    )
    assert "+COPY --from=build /usr/local/bin/a /usr/local/bin/a" in patient.changes("no-builder-stage")


def test_a_jar_gets_the_runtime_of_the_same_version(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM maven:3.9-eclipse-temurin-21\nWORKDIR /src\nCOPY . .\nRUN mvn -B package\n"
        'ENTRYPOINT ["java", "-Xmx1g", "-jar", "target/app.jar"]\n',
        {"pom.xml": "<project/>", "src/main/java/A.java": "class A {}"},
    )
    assert patient.changes("no-builder-stage") == (
        "-FROM maven:3.9-eclipse-temurin-21\n"
        "+FROM maven:3.9-eclipse-temurin-21 AS build\n"
        "+\n"
        "+FROM eclipse-temurin:21-jre\n"
        "+WORKDIR /src\n"
        "+COPY --from=build /src/target/app.jar /src/target/app.jar"
    )


def test_dotnet_takes_the_folder_of_the_publish(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM mcr.microsoft.com/dotnet/sdk:8.0\nWORKDIR /src\nCOPY . .\n"
        "RUN dotnet restore\nRUN dotnet publish --no-restore -o /out\n"
        'CMD ["dotnet", "/out/A.dll"]\n',
        {"A.csproj": "<Project/>", "Program.cs": ""},
    )
    changes = patient.changes("no-builder-stage")
    assert "+FROM mcr.microsoft.com/dotnet/aspnet:8.0\n" in changes
    assert changes.endswith("+COPY --from=build /out /out")


def test_a_web_program_of_dotnet_keeps_its_port(examine: Callable[..., Patient]) -> None:
    text = (
        "FROM mcr.microsoft.com/dotnet/sdk:8.0\nWORKDIR /src\nCOPY . .\nRUN dotnet publish -o /out\n"
        'CMD ["dotnet", "/out/A.dll"]\n'
    )
    files = {"A.csproj": '<Project Sdk="Microsoft.NET.Sdk.Web"/>', "Program.cs": ""}
    assert "+ENV ASPNETCORE_HTTP_PORTS=\n" in examine(text, files).changes("no-builder-stage")
    older = examine(text.replace("8.0", "6.0"), files).changes("no-builder-stage")
    assert "+ENV ASPNETCORE_URLS=\n" in older
    told = text.replace("COPY . .", "ENV ASPNETCORE_URLS=http://*:80\nCOPY . .")
    assert "HTTP_PORTS" not in examine(told, files).changes("no-builder-stage")
    # The SDK for Alpine has cultures, the runtime has none.
    assert examine(text.replace("8.0", "8.0-alpine"), files).stops("no-builder-stage") != ""


JAVA = (
    "FROM maven:3.9-eclipse-temurin-21\nWORKDIR /src\nCOPY . .\nRUN mvn -B package\n"
    'ENTRYPOINT ["java", "-jar", "target/app.jar"]\n'
)
JAVA_FILES = {"pom.xml": "<project/>", "src/main/java/A.java": "class A {}"}


@pytest.mark.parametrize(
    ("old", "new", "files"),
    [
        ("target/app.jar", "target/quarkus-app/quarkus-run.jar", {}),
        ("COPY", "COPY", {"pom.xml": "<project><classpathPrefix>lib/</classpathPrefix></project>"}),
        ("COPY", "COPY", {"src/main/java/A.java": 'new File("src/main/resources/a")'}),
        ("COPY", "COPY", {"src/main/java/A.java": "ProcessBuilder"}),
        ("COPY", "COPY", {"src/main/java/A.java": 'new File("./src/main/resources/a")'}),
        ("COPY", "COPY", {"src/main/resources/application.properties": "a=file:src/main/resources/"}),
        ("COPY", "COPY", {"pom.xml": "<goal>copy-dependencies</goal>"}),
        ('"-jar"', '"-javaagent:target/agents/a.jar", "-jar"', {}),
        ("COPY", 'ENV JAVA_TOOL_OPTIONS="-javaagent:/src/target/a.jar"\nCOPY', {}),
        ("maven:3.9-eclipse-temurin-21", "maven:3.9-amazoncorretto-21", {}),
        ("maven:3.9-eclipse-temurin-21", "gradle:8-jdk21-graal", {}),
    ],
)
def test_a_jar_that_may_need_more_stops_the_proposal(
    examine: Callable[..., Patient], old: str, new: str, files: dict[str, str]
) -> None:
    assert examine(JAVA.replace(old, new), {**JAVA_FILES, **files}).stops("no-builder-stage") != ""


def test_the_runtime_of_java_is_of_the_very_build(examine: Callable[..., Patient]) -> None:
    for kit, runtime in (
        ("eclipse-temurin:21.0.5_11-jdk-alpine", "eclipse-temurin:21.0.5_11-jre-alpine"),
        ("eclipse-temurin:17", "eclipse-temurin:17-jre"),
        ("maven:3.9.9-eclipse-temurin-21-noble", "eclipse-temurin:21-jre-noble"),
        ("gradle:8.11-jdk17-jammy", "eclipse-temurin:17-jre-jammy"),
    ):
        patient = examine(JAVA.replace("maven:3.9-eclipse-temurin-21", kit), JAVA_FILES)
        assert f"+FROM {runtime}\n" in patient.changes("no-builder-stage")


UNCERTAIN = {
    "a file that the program may open": ("", {"templates/a.html": "x"}),
    "C is linked": ("", {"c.go": 'import "C"'}),
    "time zones are read": ("", {"t.go": "time.LoadLocation(x)"}),
    "other programs are called": ("", {"t.go": 'import "os/exec"'}),
    "packages are installed": ("RUN apt-get install -y git\n", {}),
    "a script does something": ("RUN ./setup.sh\n", {}),
    "a variable is set for the program from an argument": ("ARG M\nENV MODE=$M\n", {}),
    "a type of file is looked up": ("", {"t.go": "http.FileServer(x)"}),
    "another image gives a file": ("COPY --from=busybox /bin/sh /bin/tool\n", {}),
    "a file is fetched": ("ADD https://example.com/tool /bin/tool\n", {}),
    "a file stands in the Dockerfile": ("COPY <<EOF /etc/settings\na\nEOF\n", {}),
    "a folder is made": ("RUN mkdir /data\n", {}),
    "a file is written": ("RUN go version > /version\n", {}),
    "another file is carried": ("RUN cp main.go /usr/share/main.go\n", {}),
    "a health check needs a program": ("HEALTHCHECK CMD curl localhost\n", {}),
    "a user is set before": ("USER 1000\n", {}),
    "a second program is made": ("RUN go build -o /bin/worker ./worker\n", {}),
    "a tool is installed": ("RUN go install github.com/pressly/goose/v3/cmd/goose@v3\n", {}),
    "a folder is made by the way": ("WORKDIR /data\nWORKDIR /src\n", {}),
    "a file for tests is opened": ("", {"t.go": 'open("testdata/a")', "testdata/a": "x"}),
    "a variable names a path of the build": ("ENV DATA=/src/data\n", {}),
}


@pytest.mark.parametrize(("line", "files"), UNCERTAIN.values(), ids=list(UNCERTAIN))
def test_what_may_be_needed_at_run_time_stops_the_proposal(
    examine: Callable[..., Patient], line: str, files: dict[str, str]
) -> None:
    text = GO.replace("COPY", f"{line}COPY")
    assert examine(text, {**GO_FILES, **files}).stops("no-builder-stage") != ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("golang:1.23", "golang"),
        ("golang:1.23", "golang:1.25"),
        ("golang:1.23", "registry.example.com/golang:1.23"),
        ("-o /bin/hello", ""),
        ('CMD ["/bin/hello"]', 'CMD ["/bin/other"]'),
        ('CMD ["/bin/hello"]', 'RUN ["/bin/hello", "--check"]\nCMD ["/bin/hello"]'),
        ("RUN go", "RUN --mount=type=cache,target=/bin go"),
        ("WORKDIR /src\n", ""),
        ("golang:1.23", "--platform=$BUILDPLATFORM golang:1.23"),
        ("FROM golang:1.23", "ARG V=1.23\nFROM golang:$V"),
        ('CMD ["/bin/hello"]', "CMD /bin/hello | tee /log"),
        ("EXPOSE 80", "HEALTHCHECK CMD curl localhost"),
        ("EXPOSE 80", "USER gradle"),
        ("EXPOSE 80", "WORKDIR $GOPATH/run"),
        ("COPY . .", "COPY --chown=1000:1000 . ."),
        ('["/bin/hello"]', '["/bin/hello", "--dir", "/src/data"]'),
        ("EXPOSE 80", "COPY --chown=app:app README.md /"),
        ("FROM", "FROM debian:12 AS build\nFROM"),
    ],
)
def test_a_base_or_a_program_that_is_not_certain_stops_the_proposal(
    examine: Callable[..., Patient], old: str, new: str
) -> None:
    assert examine(GO.replace(old, new), GO_FILES).stops("no-builder-stage") != ""


def test_a_library_that_rust_links_stops_the_proposal(examine: Callable[..., Patient]) -> None:
    patient = examine(
        'FROM rust:1.80\nWORKDIR /src\nCOPY . .\nRUN cargo build --release\nCMD ["target/release/a"]\n',
        {"Cargo.toml": "", "Cargo.lock": 'name = "openssl-sys"\n', "src/main.rs": ""},
    )
    assert "openssl-sys" in patient.stops("no-builder-stage")


def test_compilers_that_are_installed_into_the_image_are_found(examine: Callable[..., Patient]) -> None:
    text = (
        "FROM python:3.11-slim\nRUN apt-get update && apt-get install -y gcc libpq-dev\nRUN pip install x\n"
    )
    assert examine(text).only("no-builder-stage").title == "gcc stays in the image"


def test_the_kit_of_c_is_found_and_what_its_program_links_is_not_guessed(
    examine: Callable[..., Patient],
) -> None:
    patient = examine('FROM gcc:14.2.0\nWORKDIR /c\nCOPY . .\nRUN make\nCMD ["/c/dial"]\n', {"dial.c": "x"})
    assert patient.only("no-builder-stage").first_line == 4
    assert patient.stops("no-builder-stage") == "which slim base fits is not certain"


SILENT = {
    "a second stage is there": GO.replace("\nEXPOSE", "\nFROM scratch\nCOPY --from=0 /bin/hello /\nEXPOSE"),
    "a target for development": GO.replace("golang:1.23", "golang:1.23 AS dev"),
    "it compiles when it starts": GO.replace('"/bin/hello"', '"go", "run", "."'),
    "nothing is started": GO.partition("CMD")[0],
    "nothing is compiled": 'FROM golang:1.23\nCOPY . .\nRUN go mod download\nCMD ["/x"]\n',
    "a runtime": 'FROM eclipse-temurin:21-jre\nCOPY a.jar /\nCMD ["java", "-jar", "/a.jar"]\n',
    "a kit without a build": 'FROM node:20\nCOPY . .\nRUN npm ci\nCMD ["node", "a.js"]\n',
    "the compiler goes in the same step": "FROM python:3.11-slim\n"
    "RUN apt-get install -y gcc && pip install x && apt-get purge -y gcc\n",
    "the compiler stays in a stage that builds": "FROM debian:12 AS b\nRUN apt-get install -y gcc\n"
    "RUN make\nFROM debian:12\nCOPY --from=b /x /x\n",
    "a development stage with a compiler": "FROM python:3.11-slim AS dev\nRUN apt-get install -y gcc\n",
}


@pytest.mark.parametrize("text", SILENT.values(), ids=list(SILENT))
def test_images_without_a_kit_to_lose_are_left_alone(examine: Callable[..., Patient], text: str) -> None:
    files = {**GO_FILES, "a.jar": "x", "package.json": "{}"}
    assert examine(text, files).codes == []


def test_a_zone_of_time_that_a_slim_base_has_no_rules_of_stops_the_proposal(
    examine: Callable[..., Patient],
) -> None:
    text = GO.replace("ENV", "ENV TZ=Europe/Berlin\nENV")
    alpine = text.replace("golang:1.23", "golang:1.23-alpine3.20")
    assert examine(alpine, GO_FILES).stops("no-builder-stage").startswith("TZ is set")
    assert "+ENV TZ=Europe/Berlin\n" in examine(text, GO_FILES).changes("no-builder-stage")


def test_a_folder_of_programs_comes_along_as_a_whole(examine: Callable[..., Patient]) -> None:
    text = GO.replace("-o /bin/hello .", "-o bin/ ./cmd/...").replace('"/bin/hello"', '"bin/server"')
    assert (
        examine(text, GO_FILES).changes("no-builder-stage").endswith("+COPY --from=build /src/bin /src/bin")
    )


COMPOSE = "services:\n  db:\n    image: postgres\n    command: postgres -c fsync=off\n  web:\n    build: .\n"


@pytest.mark.parametrize(
    "line",
    ["command: go run .", "healthcheck:\n      test: curl localhost", "entrypoint: sh", "target: build"],
)
def test_a_compose_file_that_starts_something_else_in_the_image_stops_the_proposal(
    examine: Callable[..., Patient], line: str
) -> None:
    ignore = {".dockerignore": "*.yaml\nDockerfile\n.dockerignore\n"}
    files = {**GO_FILES, **ignore, "compose.yaml": f"{COMPOSE}    {line}\n"}
    assert "compose" in examine(GO, files).stops("no-builder-stage")
    assert examine(GO, {**files, "compose.yaml": COMPOSE}).changes("no-builder-stage") != ""


def test_a_container_for_development_on_the_same_file_stops_the_proposal(
    examine: Callable[..., Patient],
) -> None:
    files = {".devcontainer/devcontainer.json": '{"build": {"dockerfile": "../Dockerfile"}}'}
    text = GO.replace("COPY . .", "COPY go.mod main.go ./")
    assert "devcontainer.json" in examine(text, {**GO_FILES, **files}).stops("no-builder-stage")


RUST = 'FROM rust:1.80\nWORKDIR /src\nCOPY . .\nRUN cargo build --release\nCMD ["./target/release/a"]\n'
RUST_FILES = {"Cargo.toml": "", "Cargo.lock": "", "src/main.rs": "fn main() {}"}


@pytest.mark.parametrize(
    "files",
    [
        {"src/main.rs": "use std::process::{Command, Stdio};"},
        {"build.rs": 'println!("cargo:rustc-link-lib=pq");'},
        {"src/bin/worker.rs": "fn main() {}"},
        {".cargo/config.toml": 'rustflags = ["-C", "target-feature=-crt-static"]'},
    ],
)
def test_a_program_of_rust_that_may_need_more_stops_the_proposal(
    examine: Callable[..., Patient], files: dict[str, str]
) -> None:
    assert examine(RUST, {**RUST_FILES, **files}).stops("no-builder-stage") != ""
    assert examine(RUST, RUST_FILES).changes("no-builder-stage") != ""


DOTNET = (
    "FROM mcr.microsoft.com/dotnet/sdk:8.0\nWORKDIR /src\nCOPY . .\nRUN dotnet publish -o /out\n"
    'CMD ["dotnet", "/out/A.dll"]\n'
)


def test_settings_that_dotnet_reads_where_it_starts_stop_the_proposal_unless_that_is_the_output(
    examine: Callable[..., Patient],
) -> None:
    files = {"A.csproj": "<Project/>", "Program.cs": "", "appsettings.json": "{}", "global.json": "{}"}
    assert "appsettings.json" in examine(DOTNET, files).stops("no-builder-stage")
    inside = DOTNET.replace("CMD", "WORKDIR /out\nCMD").replace("/out/A.dll", "A.dll")
    assert examine(inside, files).changes("no-builder-stage").endswith("+COPY --from=build /out /out")
    assert "line 4" in examine(inside.replace("RUN", "RUN dotnet dev-certs https\nRUN", 1), files).stops(
        "no-builder-stage"
    )
