"""Owners on the COPY, caches that stay, ADD, floating bases: exact changes, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from devloop.doctor import rules_hygiene
from devloop.doctor.digests import digest_of, local_digests
from support.doctor_rules import Patient, examiner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def examine(tmp_path: Path) -> Callable[..., Patient]:
    return examiner(tmp_path, rules_hygiene.RULES)


FILES = {"app.py": "print(1)\n", "sub/a.txt": "a"}


def test_the_copy_sets_the_owner_and_the_folder_of_workdir_keeps_its_change(
    examine: Callable[..., Patient],
) -> None:
    patient = examine(
        "FROM python:3.11\nRUN useradd -m app\nWORKDIR /app\nCOPY sub app.py ./\nRUN chown -R app:app /app\n",
        FILES,
    )
    assert patient.changes("chown-after-copy") == (
        "-COPY sub app.py ./\n"
        "-RUN chown -R app:app /app\n"
        "+COPY --chown=app:app sub app.py ./\n"
        "+RUN chown app:app /app"
    )
    assert patient.only("chown-after-copy").bytes == 10


def test_a_folder_that_the_copy_makes_needs_no_step_at_all(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM node:20\nCOPY . /srv/app\nRUN chown -R node:node /srv/app\nUSER node\n", FILES)
    assert patient.changes("chown-after-copy") == (
        "-COPY . /srv/app\n-RUN chown -R node:node /srv/app\n+COPY --chown=node:node . /srv/app"
    )


def test_an_owner_without_a_group_leaves_the_group_that_copies_have(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM python:3.11\nWORKDIR /app\nCOPY . .\nRUN chown -R 1000 .\n", FILES)
    assert "+COPY --chown=1000:root . ." in patient.changes("chown-after-copy")


def test_a_mode_in_digits_can_stand_on_the_copy(examine: Callable[..., Patient]) -> None:
    text = "FROM python:3.11\nWORKDIR /app\nCOPY . .\nRUN chmod -R 755 /app\n"
    assert examine(text, FILES).changes("chown-after-copy") == (
        "-COPY . .\n-RUN chmod -R 755 /app\n+COPY --chmod=755 . .\n+RUN chmod 755 /app"
    )
    relative = text.replace("755", "a+rX")
    assert "no option" in examine(relative, FILES).stops("chown-after-copy")


def test_files_that_are_copied_beside_the_folder_keep_their_owner(examine: Callable[..., Patient]) -> None:
    patient = examine(
        "FROM node:20\nWORKDIR /srv/web\nCOPY app.py .\nCOPY sub sub\nRUN chown -R node:node /srv/web/sub\n",
        FILES,
    )
    assert patient.changes("chown-after-copy") == (
        "-COPY sub sub\n-RUN chown -R node:node /srv/web/sub\n+COPY --chown=node:node sub sub"
    )


UNCERTAIN = {
    "a step made files there": "FROM node:20\nWORKDIR /app\nCOPY . .\nRUN npm install\n"
    "RUN chown -R node /app\n",
    "the user is made after the COPY": "FROM python:3.11\nWORKDIR /app\nCOPY . .\nRUN useradd app\n"
    "RUN chown -R app /app\n",
    "the step does other work": "FROM node:20\nWORKDIR /app\nCOPY . .\n"
    "RUN chown -R node /app && npm run build\n",
    "a step above named the folder": "FROM node:20\nRUN mkdir -p /app/data\nCOPY . /app\n"
    "RUN chown -R node /app\n",
    "the COPY has an owner": "FROM node:20\nCOPY --chown=1:1 . /app\nRUN chown -R node /app\n",
    "the base may have files there": "FROM nginx:1.27\nCOPY . /usr/share/nginx/html\n"
    "RUN chown -R nginx /usr/share/nginx/html\n",
    "the COPY brings more than that": "FROM node:20\nCOPY . /srv/x\nRUN chown -R node /srv/x/sub\n",
    "a group of that name is not certain": "FROM alpine:3.20\nRUN adduser -S app\nWORKDIR /app\nCOPY . .\n"
    "RUN chown -R app:app /app\n",
}


@pytest.mark.parametrize("text", UNCERTAIN.values(), ids=list(UNCERTAIN))
def test_where_the_files_might_differ_there_is_no_proposal(
    examine: Callable[..., Patient], text: str
) -> None:
    assert examine(text, FILES).stops("chown-after-copy") != ""


def test_lists_that_stay_in_the_image_are_found(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM debian:12\nRUN apt-get update && apt-get install -y curl\n")
    assert patient.only("package-cache-left").proposal is None
    assert patient.only("package-cache-left").category == "size"


def test_apk_is_told_to_keep_nothing(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM alpine:3.20\nRUN apk update && \\\n    apk add curl\n")
    assert patient.changes("package-cache-left") == (
        "-RUN apk update && \\\n-    apk add curl\n+RUN apk add --no-cache curl"
    )


def test_add_of_plain_files_becomes_copy(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM debian:12\nadd --chown=1:1 app.py sub /x/\n", FILES)
    assert patient.changes("add-for-local-files") == (
        "-add --chown=1:1 app.py sub /x/\n+copy --chown=1:1 app.py sub /x/"
    )


def test_a_base_without_a_version_is_found_once(examine: Callable[..., Patient]) -> None:
    patient = examine("FROM node AS a\nFROM node\nCOPY --from=a /x /y\n")
    finding = patient.only("floating-base")
    assert (finding.first_line, finding.seconds) == (1, rules_hygiene.LOOKUP_SECONDS)
    assert finding.proposal is None


@pytest.mark.parametrize("tag", ["slim", "alpine", "lts-alpine", "fpm", "latest", "stable-slim"])
def test_a_variant_is_no_version(examine: Callable[..., Patient], tag: str) -> None:
    assert examine(f"FROM node:{tag}\n").codes == ["floating-base"]


@pytest.mark.parametrize("tag", ["22", "3.12-slim", "bookworm-slim", "lts-jammy", "nonroot"])
def test_a_number_or_the_name_of_a_release_is_one(examine: Callable[..., Patient], tag: str) -> None:
    assert examine(f"FROM node:{tag}\n").codes == []


SILENT = {
    "nothing was copied there": "FROM node:20\nRUN mkdir /data && chown -R node /data\n",
    "one file changes": "FROM node:20\nCOPY . /app\nRUN chmod +x /app/app.py\n",
    "lists are removed": "FROM debian:12\n"
    "RUN apt-get update && apt-get install -y curl && rm -rf /var/lib/apt/lists/*\n",
    "a mount keeps them": "FROM debian:12\n"
    "RUN --mount=type=cache,target=/var/lib/apt apt-get install -y curl\n",
    "a stage that only builds": "FROM debian:12 AS b\nRUN apt-get install -y gcc\nFROM debian:12\n"
    "COPY --from=b /x /x\n",
    "a target for development": "FROM debian:12 AS dev\nRUN apt-get install -y gcc\n",
    "apk keeps nothing": "FROM alpine:3.20\nRUN apk add --no-cache curl\n",
    "ADD fetches": "FROM debian:12\nADD https://example.com/a /a\n",
    "ADD unpacks": "FROM debian:12\nADD app.tar.gz /\n",
    "ADD unpacks what has no name of an archive": "FROM debian:12\nADD packed /\n",
    "a digest": f"FROM node@sha256:{'0' * 64}\n",
    "a version": "FROM node:20-slim\n",
    "a version in the name": "FROM gcr.io/distroless/base-debian12\n",
    "nothing": "FROM scratch\nCOPY app.py /\n",
}


@pytest.mark.parametrize("text", SILENT.values(), ids=list(SILENT))
def test_good_files_are_left_alone(examine: Callable[..., Patient], text: str) -> None:
    files = {**FILES, "app.tar.gz": b"\x1f\x8b\x08", "packed": b"\x1f\x8b\x08rest"}
    assert examine(text, files).codes == []


DIGEST = "sha256:" + "ab" * 32


def with_digests(patient: Patient, **digests: str | None) -> Patient:
    known = {name.replace("__", ":"): digest for name, digest in digests.items()}
    return Patient(replace(patient.subject, digests=known), rules_hygiene.RULES)


def test_a_base_is_pinned_to_the_digest_that_the_engine_knows(examine: Callable[..., Patient]) -> None:
    text = "FROM --platform=linux/amd64  node:latest AS one\nFROM node:latest\nCOPY --from=one /a /a\n"
    patient = with_digests(examine(text), node__latest=DIGEST)
    assert patient.changes("floating-base") == (
        "-FROM --platform=linux/amd64  node:latest AS one\n"
        "-FROM node:latest\n"
        f"+FROM --platform=linux/amd64  node:latest@{DIGEST} AS one\n"
        f"+FROM node:latest@{DIGEST}"
    )
    assert (
        "local/node:VERSION@sha256"
        in examine("FROM localhost:5000/local/node\n").only("floating-base").way_out
    )
    assert with_digests(examine("from node\n"), node=DIGEST).changes("floating-base") == (
        f"-from node\n+from node@{DIGEST}"
    )


@pytest.mark.parametrize(
    ("text", "digests", "stops"),
    [
        ("FROM node\n", {}, "only a registry or an engine knows the digest"),
        (
            "FROM node\n",
            {"node": None},
            "the engine has no image of that name with the digest of a registry: pull it first",
        ),
        (
            "ARG TAG=latest\nFROM node:$TAG\n",
            {"node__latest": DIGEST},
            "the name on line 2 is made from a variable",
        ),
    ],
)
def test_a_base_that_cannot_be_pinned_says_why(
    examine: Callable[..., Patient], text: str, digests: dict[str, str | None], stops: str
) -> None:
    assert with_digests(examine(text), **digests).stops("floating-base") == stops


def test_what_the_look_up_took_here_is_said(examine: Callable[..., Patient]) -> None:
    usual = examine("FROM node\n").only("floating-base")
    assert (usual.seconds, "about 0.8 s" in usual.why) == (0.8, True)
    subject = replace(examine("FROM node\n").subject, lookup_seconds=0.04)
    measured = Patient(subject, rules_hygiene.RULES).only("floating-base")
    assert (measured.seconds, "under 0.1 s, measured here" in measured.why) == (0.04, True)


@pytest.mark.parametrize(
    ("reference", "digests", "found"),
    [
        ("node", ("node@" + DIGEST,), DIGEST),
        ("node:20", ("docker.io/library/node@" + DIGEST,), DIGEST),
        ("docker.io/library/node", ("node@" + DIGEST,), DIGEST),
        ("ghcr.io/us/node:1", ("node@sha256:00", "ghcr.io/us/node@" + DIGEST), DIGEST),
        ("localhost:5000/node", ("localhost:5000/node@" + DIGEST,), DIGEST),
        ("node", ("ghcr.io/us/node@" + DIGEST,), None),
        ("node", (), None),
    ],
)
def test_a_digest_belongs_to_the_repository_that_the_base_names(
    reference: str, digests: tuple[str, ...], found: str | None
) -> None:
    assert digest_of(reference, digests) == found


class Talking:
    """An engine with one answer a path."""

    def __init__(self, store: str, digests: list[str]) -> None:
        self.store = store
        self.digests = digests

    def get(self, _path: str) -> dict[str, object]:
        return {"DriverStatus": [["driver-type", self.store]]}

    def find(self, path: str, _query: object = None) -> dict[str, object] | None:
        return {"Id": "sha256:1", "RepoDigests": self.digests} if "node" in path else None


def test_an_engine_that_gives_every_image_a_digest_is_not_believed() -> None:
    usual: Any = Talking("overlay2", ["node@" + DIGEST])
    assert local_digests(usual, ["node", "python"]) == {"node": DIGEST, "python": None}
    every: Any = Talking("io.containerd.snapshotter.v1", ["node@" + DIGEST])
    assert local_digests(every, ["node"]) == {"node": None}
    assert local_digests(every, []) == {}
