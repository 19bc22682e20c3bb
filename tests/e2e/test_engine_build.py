"""Builds on a real engine: what is cached, what ran, what failed, and what is left of a canceled one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from devloop.engine.base import BuildRequest, StepLog, StepStarted
from devloop.engine.buildx import Buildx, build, detect_builder
from devloop.engine.endpoint import Engine
from devloop.engine.images import image_facts
from devloop.engine.provenance import ExpectedStep, match_by_name
from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devloop.engine.base import BuildEvent, BuildOutcome

pytestmark = pytest.mark.docker

DOCKERFILE = """\
FROM {base} AS tools
RUN echo {name} > /name
FROM tools
WORKDIR /app
LABEL io.devloop.test={name}
COPY packages .
RUN cat packages > installed; \\
    echo installed
COPY main .
ENV GREETING="hello world"
EXPOSE 8000
CMD ["cat", "main"]
"""


@pytest.fixture
def folder(tmp_path: Path, unique_name: str) -> Iterator[Path]:
    """A context of five steps; the images that later builds took the tag from are removed as well."""
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text(DOCKERFILE.format(base=BUSYBOX, name=unique_name))
    (path / "packages").write_text("one\n")
    (path / "main").write_text("version 1\n")
    yield path
    left = ["docker", "image", "prune", "--force", "--filter", f"label=io.devloop.test={unique_name}"]
    subprocess.run(left, check=True, capture_output=True)


def built(
    folder: Path, name: str, *, cancel: threading.Event | None = None, events: list[BuildEvent] | None = None
) -> BuildOutcome:
    heard: list[BuildEvent] = [] if events is None else events
    request = BuildRequest(str(folder), tags=(name,))
    return Buildx().build(request, on_event=heard.append, cancel=cancel or threading.Event())


def statuses(outcome: BuildOutcome) -> dict[str, str]:
    return {f"{step.keyword} {step.text}".partition(" >")[0]: step.status for step in outcome.steps}


def test_an_edit_reruns_its_step_and_what_follows(folder: Path, unique_name: str) -> None:
    events: list[BuildEvent] = []
    first = built(folder, unique_name, events=events)
    assert first.status == "ok", first
    assert set(statuses(first).values()) == {"run"}
    assert "installed" in [event.line for event in events if isinstance(event, StepLog)]
    again = built(folder, unique_name)
    assert set(statuses(again).values()) == {"cached"}
    assert again.image_id == first.image_id
    assert again.image_config == first.image_config is not None
    (folder / "main").write_text("version 2\n")
    edited = built(folder, unique_name)
    assert [step.status for step in edited.steps] == ["cached", "cached", "cached", "cached", "run"]
    (folder / "packages").write_text("two\n")
    assert [step.status for step in built(folder, unique_name).steps] == [
        "cached",
        "cached",
        "run",
        "run",
        "run",
    ]


def test_steps_carry_their_lines_where_the_client_tells(folder: Path, unique_name: str) -> None:
    if not detect_builder().has_provenance:
        pytest.skip("this buildx writes no provenance")
    outcome = built(folder, unique_name)
    assert [step.lines for step in outcome.steps] == [((2, 2),), ((4, 4),), ((6, 6),), ((7, 8),), ((9, 9),)]


def test_names_alone_find_every_step(folder: Path, unique_name: str) -> None:
    expected = [
        ExpectedStep("tools", 2, 2, "RUN", f"echo {unique_name} > /name"),
        ExpectedStep(None, 1, 4, "WORKDIR", "/app"),
        ExpectedStep(None, 2, 4, "COPY", "packages ."),
        ExpectedStep(None, 3, 4, "RUN", "cat packages > installed; echo installed"),
        ExpectedStep(None, 4, 4, "COPY", "main ."),
    ]
    outcome = built(folder, unique_name)
    matched = match_by_name(outcome.vertices, expected)
    assert {matched[at].digest for at in range(5)} == {step.digest for step in outcome.steps}


def test_the_cache_and_the_context_are_those_of_the_users_own_build(folder: Path, unique_name: str) -> None:
    (folder / "packages").write_bytes(os.urandom(300_000))
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", unique_name, "."], cwd=folder, check=True, capture_output=True
    )
    ours = built(folder, unique_name)
    assert set(statuses(ours).values()) == {"cached"}
    assert ours.context_bytes is not None
    assert ours.context_bytes < 100_000


def test_the_image_is_in_the_engine_under_its_tag(folder: Path, unique_name: str) -> None:
    facts = detect_builder()
    outcome = build(
        BuildRequest(str(folder), tags=(unique_name,)),
        on_event=lambda _: None,
        cancel=threading.Event(),
        facts=facts,
    )
    engine = Engine.current()
    image = image_facts(engine, unique_name)
    assert image is not None
    assert image.id == outcome.image_id
    assert dict(image.env)["GREETING"] == "hello world"
    assert (image.workdir, image.exposed, image.cmd) == ("/app", ("8000/tcp",), ("cat", "main"))
    base = image_facts(engine, BUSYBOX)
    assert base is not None
    assert image.chain[: len(base.chain)] == base.chain
    assert image_facts(engine, unique_name, facts.platform) is not None
    assert image_facts(engine, unique_name, "linux/s390x") is None
    assert image_facts(engine, f"{unique_name}:nowhere") is None


def test_a_failing_command_is_told_with_its_line_code_and_log(folder: Path, unique_name: str) -> None:
    file = folder / "Dockerfile"
    file.write_text(file.read_text().replace("echo installed", "echo broken >&2; exit 7"))
    outcome = built(folder, unique_name)
    assert (outcome.status, outcome.error_kind, outcome.exit_code) == ("failed", "step", 7)
    assert outcome.failed_step is not None
    assert outcome.failed_step.lines == ((7, 8),)
    assert outcome.log_tail == ("broken",)
    assert [step.status for step in outcome.steps][-2:] == ["failed", "not reached"]


def test_a_missing_source_is_told(folder: Path, unique_name: str) -> None:
    (folder / "main").unlink()
    outcome = built(folder, unique_name)
    assert (outcome.error_kind, outcome.error_line) == ("source", 9)
    assert outcome.hint is not None
    assert outcome.hint.startswith("main is not in the build context")


def test_a_dockerfile_that_cannot_be_read_is_told(folder: Path, unique_name: str) -> None:
    file = folder / "Dockerfile"
    file.write_text(file.read_text().replace("EXPOSE", "EXPSE"))
    outcome = built(folder, unique_name)
    assert (outcome.error_kind, outcome.error_line) == ("dockerfile", 11)


def test_a_canceled_build_ends_at_once_and_leaves_nothing(folder: Path, unique_name: str) -> None:
    file = folder / "Dockerfile"
    file.write_text(file.read_text().replace("echo installed", "echo sleeping; sleep 300"))
    cancel = threading.Event()

    def listen(event: BuildEvent) -> None:
        if isinstance(event, StepLog) and event.line == "sleeping":
            cancel.set()

    request = BuildRequest(str(folder), tags=(unique_name,))
    outcome = build(request, on_event=listen, cancel=cancel)
    assert outcome.status == "canceled"
    assert outcome.seconds < 60
    assert [step.status for step in outcome.steps][-2:] == ["canceled", "not reached"]
    assert not processes_naming(str(folder))


def test_a_build_does_not_outlive_a_killed_devloop(folder: Path, unique_name: str) -> None:
    file = folder / "Dockerfile"
    file.write_text(file.read_text().replace("echo installed", "echo sleeping; sleep 300"))
    program = f"""\
import os, signal, threading
from devloop.engine.base import BuildRequest, StepLog
from devloop.engine.buildx import build
def listen(event):
    if isinstance(event, StepLog) and event.line == "sleeping":
        os.kill(os.getpid(), signal.SIGKILL)
build(BuildRequest({str(folder)!r}), on_event=listen, cancel=threading.Event())
"""
    ours = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert ours.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while processes_naming(str(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processes_naming(str(folder))


def processes_naming(text: str) -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if text in line and "buildx" in line]


def test_a_step_is_announced_before_it_is_done(folder: Path, unique_name: str) -> None:
    events: list[BuildEvent] = []
    built(folder, unique_name, events=events)
    names = [event.name for event in events if isinstance(event, StepStarted) and event.kind == "step"]
    assert len(names) == len(set(names)) == 5


def test_the_builder_is_known(engine: dict[str, str]) -> None:
    facts = detect_builder()
    assert facts.reachable
    assert facts.driver == "docker"
    assert facts.buildx_version is not None
    assert facts.image_store in {"classic", "containerd"}
    assert facts.supports_merge == (facts.image_store == "containerd")
    assert facts.error is None
