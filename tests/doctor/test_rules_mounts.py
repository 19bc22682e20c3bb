"""Cache mounts: which steps get which, and where the layer has to hold the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor import rules_mounts
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_mounts.RULES)


PYTHON = "FROM python:3.11-slim\nCOPY requirements.txt .\n"
REQUIREMENTS = {"requirements.txt": "flask\n"}


def test_pip_gets_its_cache_and_loses_the_flag_that_refuses_it(examine: Callable[..., Patient]) -> None:
    patient = examine(PYTHON + "RUN pip install --no-cache-dir -r requirements.txt\n", REQUIREMENTS)
    assert patient.changes("no-cache-mount") == (
        "-RUN pip install --no-cache-dir -r requirements.txt\n"
        "+RUN --mount=type=cache,target=/root/.cache/pip \\\n"
        "+    pip install -r requirements.txt"
    )
    finding = patient.only("no-cache-mount")
    assert (finding.first_line, finding.last_line, finding.category) == (3, 3, "speed")
    assert finding.seconds is not None
    assert finding.seconds >= rules_mounts.LEAST_SAVED_SECONDS


def test_a_flag_on_a_line_of_its_own_takes_the_line_with_it(examine: Callable[..., Patient]) -> None:
    text = "RUN pip install \\\n      --no-cache-dir \\\n      -r requirements.txt\n"
    assert examine(PYTHON + text, REQUIREMENTS).changes("no-cache-mount") == (
        "-RUN pip install \\\n"
        "-      --no-cache-dir \\\n"
        "+RUN --mount=type=cache,target=/root/.cache/pip \\\n"
        "+    pip install \\"
    )


def test_a_variable_that_refuses_the_cache_is_unset_for_the_step_alone(
    examine: Callable[..., Patient],
) -> None:
    # pip takes every value for a yes, and the ENV line is part of the image.
    text = PYTHON + "ENV PIP_NO_CACHE_DIR=0\nRUN pip install -r requirements.txt\n"
    assert examine(text, REQUIREMENTS).changes("no-cache-mount") == (
        "-RUN pip install -r requirements.txt\n"
        "+RUN --mount=type=cache,target=/root/.cache/pip \\\n"
        "+    unset PIP_NO_CACHE_DIR && pip install -r requirements.txt"
    )


def test_apt_keeps_what_it_fetches_and_its_lists_stay(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM debian:12\n"
        "RUN apt-get update && apt-get install -y \\\n"
        "    curl \\\n"
        " && apt-get clean && rm -rf /var/lib/apt/lists/*\n"
        "# compilers\n"
        "RUN set -eux; \\\n"
        "    apt-get update; \\\n"
        "    apt-get install -y gcc; \\\n"
        "    rm -rf /var/lib/apt/lists/* /tmp/*\n"
    )
    assert patient.changes("no-cache-mount") == (
        "-RUN apt-get update && apt-get install -y \\\n"
        "-    curl \\\n"
        "- && apt-get clean && rm -rf /var/lib/apt/lists/*\n"
        "+RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n"
        "+    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \\\n"
        "+    rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update && apt-get install -y \\\n"
        "+    curl\n"
        "-RUN set -eux; \\\n"
        "+RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n"
        "+    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \\\n"
        "+    set -eux; \\\n"
        "-    rm -rf /var/lib/apt/lists/* /tmp/*\n"
        "+    rm -rf /tmp/*"
    )


def test_the_program_apt_is_told_to_keep_its_downloads(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM debian:12\nRUN apt update && apt install -y curl\n")
    assert "Keep-Downloaded-Packages" in patient.changes("no-cache-mount")


def test_a_script_in_a_heredoc_is_changed_line_by_line(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM debian:12\nRUN <<EOF\napt-get update\napt-get install -y gcc\n"
        "rm -rf /var/lib/apt/lists/*\nEOF\n"
    )
    assert patient.changes("no-cache-mount") == (
        "-RUN <<EOF\n"
        "+RUN --mount=type=cache,target=/var/cache/apt,sharing=locked "
        "--mount=type=cache,target=/var/lib/apt/lists,sharing=locked <<EOF\n"
        "+rm -f /etc/apt/apt.conf.d/docker-clean\n"
        "-rm -rf /var/lib/apt/lists/*"
    )


def test_lists_that_a_hidden_step_may_need_stay_in_their_layer(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM debian:12\nRUN apt-get update && apt-get install -y curl\nCOPY more.sh .\nRUN ./more.sh\n",
        {"more.sh": "apt-get install -y git\n"},
    )
    assert "package lists" in patient.stops("no-cache-mount")


def test_lists_that_an_earlier_layer_holds_are_not_hidden(examine: Callable[..., Patient]) -> None:
    # The update stays cached as a layer, while its cache may have been cleaned away.
    alone = examine("FROM debian:12\nRUN apt-get update\nRUN apt-get install -y curl\n")
    assert "another layer" in alone.stops("no-cache-mount")
    assert "another layer" in examine("FROM ours\nRUN apt-get install -y curl\n").stops("no-cache-mount")


GO = "FROM golang:1.23 AS build\nWORKDIR /src\nCOPY go.mod go.sum ./\n"
GO_FILES = {"go.mod": "module a\n", "go.sum": "x\n", "main.go": "package main\n"}
GO_END = "FROM scratch\nCOPY --from=build /a /a\n"


def test_all_steps_that_work_from_the_modules_get_the_mount(examine: Callable[..., Patient]) -> None:
    patient = examine(GO + "RUN go mod download\nCOPY . .\nRUN go build -o /a .\n" + GO_END, GO_FILES)
    assert patient.changes("no-cache-mount") == (
        "-RUN go mod download\n"
        "+RUN --mount=type=cache,target=/go/pkg/mod \\\n"
        "+    go mod download\n"
        "-RUN go build -o /a .\n"
        "+RUN --mount=type=cache,target=/go/pkg/mod \\\n"
        "+    --mount=type=cache,target=/root/.cache/go-build \\\n"
        "+    go build -o /a ."
    )


def test_a_step_whose_work_is_hidden_gets_the_mounts_of_the_steps_above(
    examine: Callable[..., Patient],
) -> None:
    patient = examine(GO + "RUN go mod download\nCOPY . .\nRUN make build\n" + GO_END, GO_FILES)
    assert patient.changes("no-cache-mount").endswith(
        "-RUN make build\n"
        "+RUN --mount=type=cache,target=/go/pkg/mod \\\n"
        "+    --mount=type=cache,target=/root/.cache/go-build \\\n"
        "+    make build"
    )


def test_a_restore_that_is_relied_on_is_made_again_where_its_cache_is_gone(
    examine: Callable[..., Patient],
) -> None:
    patient = examine(
        "FROM mcr.microsoft.com/dotnet/sdk:8.0 AS build\nCOPY a.csproj ./\nRUN dotnet restore\nCOPY . .\n"
        "RUN dotnet publish --no-restore -o /out\n",
        {"a.csproj": "<Project/>"},
    )
    assert patient.changes("no-cache-mount").endswith(
        "-RUN dotnet publish --no-restore -o /out\n"
        "+RUN --mount=type=cache,target=/root/.nuget/packages,sharing=locked \\\n"
        "+    dotnet publish -o /out"
    )


def test_a_user_who_is_not_root_owns_his_cache(examine: Callable[..., Patient]) -> None:
    text = "FROM node:20\nUSER node\nCOPY package.json .\nRUN npm install && npm cache clean --force\n"
    assert examine(text, {"package.json": "{}"}).changes("no-cache-mount") == (
        "-RUN npm install && npm cache clean --force\n"
        "+RUN --mount=type=cache,target=/home/node/.npm,uid=1000,gid=1000 \\\n"
        "+    npm install"
    )
    made = "FROM python:3.11\nRUN useradd -m -u 1234 app\nUSER app\nRUN pip install flask\n"
    assert "target=/home/app/.cache/pip,uid=1234,gid=1234" in examine(made).changes("no-cache-mount")


def test_a_user_whose_numbers_are_not_known_stops_the_proposal(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM python:3.11\nUSER someone\nRUN pip install flask\n")
    assert "someone" in patient.stops("no-cache-mount")


def test_environments_below_the_cache_of_poetry_are_not_mounted_away(
    examine: Callable[..., Patient],
) -> None:
    files = {"pyproject.toml": "", "poetry.lock": ""}
    text = "FROM python:3.11\nCOPY pyproject.toml poetry.lock ./\nRUN poetry install --no-root\n"
    changes = examine(text, files).changes("no-cache-mount")
    assert "target=/root/.cache/pypoetry/cache " in changes
    assert "target=/root/.cache/pypoetry/artifacts " in changes
    beside = text.replace("RUN", "RUN poetry config virtualenvs.create false &&")
    assert "target=/root/.cache/pypoetry " in examine(beside, files).changes("no-cache-mount")


def test_removing_a_folder_above_the_cache_stops_the_proposal(examine: Callable[..., Patient]) -> None:
    # With the mount in place `rm` fails on a busy folder.
    patient = examine(PYTHON + "RUN pip install -r requirements.txt && rm -rf ~/.cache\n", REQUIREMENTS)
    assert patient.stops("no-cache-mount") == "the step removes ~/.cache, where the cache would be mounted"


def test_the_removal_of_the_cache_itself_goes(examine: Callable[..., Patient]) -> None:
    text = "RUN pip install -r requirements.txt && rm -rf $HOME/.cache/pip && echo done\n"
    patient = examine(PYTHON + text, REQUIREMENTS)
    assert patient.changes("no-cache-mount").endswith("+    pip install -r requirements.txt && echo done")


def test_flags_carriage_returns_and_the_case_of_the_keyword_stay(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM python:3.11\r\nCOPY requirements.txt .\r\n"
        "run --network=host pip install -r requirements.txt\r\n",
        REQUIREMENTS,
    )
    assert patient.changes("no-cache-mount") == (
        "-run --network=host pip install -r requirements.txt\r\n"
        "+run --mount=type=cache,target=/root/.cache/pip \\\r\n"
        "+    --network=host pip install -r requirements.txt\r"
    )


SILENT = {
    "a mount is there": PYTHON
    + "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt\n",
    "a mount above the place is there": PYTHON
    + "RUN --mount=type=cache,target=/root/.cache pip install -r requirements.txt\n",
    "the author chose another place": PYTHON
    + "RUN --mount=type=cache,target=/c pip install --cache-dir=/c -r requirements.txt\n",
    "apk has no cache to mount": "FROM alpine:3.20\nRUN apk add --no-cache build-base\n",
    "what links from a store must find it in a layer": "FROM node:20\nCOPY pnpm-lock.yaml .\nRUN pnpm fetch\n"
    "COPY . .\nRUN pnpm install --offline\n",
    "maven is told to stay offline": "FROM maven:3.9 AS b\nCOPY pom.xml .\nRUN mvn dependency:go-offline\n"
    "COPY src src\nRUN mvn -B -o package\n",
    "a later step has no network": "FROM rust:1.80\nCOPY Cargo.toml .\nRUN cargo fetch\nCOPY . .\n"
    "RUN --network=none cargo build --release\n",
    "the container compiles when it starts": "FROM golang:1.23\nCOPY . .\nRUN go mod download\n"
    'CMD ["go", "run", "."]\n',
    "another stage takes the files": "FROM maven:3.9 AS b\nCOPY pom.xml .\nRUN mvn dependency:go-offline\n"
    "FROM maven:3.9\nCOPY --from=b /root/.m2 /root/.m2\n",
    "a stage outside of the target starts here": GO + "RUN go mod download\nFROM build AS dev\n"
    'CMD ["go", "run", "."]\nFROM build\nCOPY . .\nRUN go build -o /a .\n',
    "modules lie in a layer, the compiler has its cache": GO + "RUN go mod download\nCOPY . .\n"
    "RUN --mount=type=cache,target=/root/.cache/go-build go build -o /a .\n" + GO_END,
    "links of uv would lead nowhere": "FROM python:3.11\nENV UV_LINK_MODE=symlink\n"
    "RUN uv pip install flask\n",
    "no shell that is known": 'FROM python:3.11\nSHELL ["pwsh", "-c"]\nRUN pip install flask\n',
}


@pytest.mark.parametrize("text", SILENT.values(), ids=list(SILENT))
def test_steps_that_need_no_mount_are_left_alone(examine: Callable[..., Patient], text: str) -> None:
    files = {**GO_FILES, **REQUIREMENTS, "pnpm-lock.yaml": "", "pom.xml": "", "src/a": "", "Cargo.toml": ""}
    assert examine(text, files).codes == []


def test_a_mount_that_a_later_step_forgot_is_repeated(examine: Callable[..., Patient]) -> None:
    patient = examine(
        GO + "RUN --mount=type=cache,target=/go/pkg/mod,id=mods go mod download\nCOPY . .\n"
        "RUN --mount=type=cache,target=/root/.cache/go-build go build -o /a .\n" + GO_END,
        GO_FILES,
    )
    assert patient.codes == ["cache-mount-forgotten"]
    assert patient.changes("cache-mount-forgotten") == (
        "-RUN --mount=type=cache,target=/root/.cache/go-build go build -o /a .\n"
        "+RUN --mount=type=cache,target=/go/pkg/mod,id=mods \\\n"
        "+    --mount=type=cache,target=/root/.cache/go-build go build -o /a ."
    )
