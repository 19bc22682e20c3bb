"""Reading BuildKit's progress stream."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from devloop.engine.base import BuildWarning, StepDone, StepLog, StepProgress, StepStarted
from devloop.engine.progress import (
    LOG_TAIL_LINES,
    Progress,
    step_name,
    step_outcome,
    step_seconds,
    step_status,
    vertex_kind,
)
from support.recorded import read

BASE = 1_700_000_000


def at(second: float) -> str:
    return f"2023-11-14T22:13:{20 + int(second):02}.{round(second % 1 * 1e9):09}Z"


def vertex(digest: str, name: str, *, inputs: tuple[str, ...] = (), **facts: object) -> bytes:
    record = {"digest": digest, "name": name, "inputs": list(inputs), **facts}
    return json.dumps({"vertexes": [record]}).encode()


def log(digest: str, data: bytes, stream: int = 1) -> bytes:
    entry = {"vertex": digest, "stream": stream, "data": b64encode(data).decode()}
    return json.dumps({"logs": [entry]}).encode()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[2/5] RUN make", (None, None, 2, 5, "RUN", "make", False, False)),
        ("[ 3/12] COPY a b", (None, None, 3, 12, "COPY", "a b", False, False)),
        ("[web  2/10] WORKDIR /app", (None, "web", 2, 10, "WORKDIR", "/app", False, False)),
        ("[stage-1 1/3] ONBUILD RUN x", (None, "stage-1", 1, 3, "RUN", "x", False, True)),
        ("[3/4] LINK COPY --link a .", (None, None, 3, 4, "COPY", "--link a .", True, False)),
        ("[linux/arm64 1/1] COPY a /", ("linux/arm64", None, 1, 1, "COPY", "a /", False, False)),
        ("[linux/arm/v7 web 2/3] RUN a", ("linux/arm/v7", "web", 2, 3, "RUN", "a", False, False)),
        (
            "[linux/amd64->arm64 build 2/2] RUN go build",
            ("linux/amd64->arm64", "build", 2, 2, "RUN", "go build", False, False),
        ),
        ("[2/2] RUN echo [1/2] b\nc", (None, None, 2, 2, "RUN", "echo [1/2] b\nc", False, False)),
    ],
)
def test_a_step_is_read_from_its_display_name(name: str, expected: tuple[object, ...]) -> None:
    found = step_name(name)
    assert found is not None
    assert (
        found.platform,
        found.stage,
        found.index,
        found.total,
        found.keyword,
        found.text,
        found.link,
        found.onbuild,
    ) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("[internal] load build context", "internal"),
        ("[context two] load from client", "internal"),
        ("[auth] library/x:pull token for y", "internal"),
        ("exporting to image", "export"),
        ("[web 1/5] FROM registry.test/x", "from"),
        ("[web 2/5] RUN x", "step"),
        ("resolve image config for docker-image://x", "other"),
        ("[2/x] RUN", "other"),
    ],
)
def test_what_is_no_step_is_told_apart_by_its_name(name: str, kind: str) -> None:
    assert vertex_kind(name) == kind


def test_a_step_with_inputs_that_started_once_ran() -> None:
    progress = Progress()
    progress.feed(vertex("a", "[2/2] RUN x", inputs=("base",)))
    progress.feed(vertex("a", "[2/2] RUN x", inputs=("base",), started=at(1)))
    progress.feed(vertex("a", "[2/2] RUN x", inputs=("base",), started=at(1), completed=at(3.5)))
    (only,) = progress.vertices
    assert step_status(only) == "run"
    assert step_seconds(only) == pytest.approx(2.5)
    assert (only.started, only.completed) == (BASE + 1, BASE + 3.5)


def test_a_step_without_inputs_that_started_once_only_got_its_key() -> None:
    progress = Progress()
    first = progress.feed(vertex("a", "[1/1] WORKDIR /w", started=at(1), completed=at(1.5)))
    assert first == []
    (only,) = progress.vertices
    assert (step_status(only), step_seconds(only)) == ("cached", None)
    assert progress.finish() == [
        StepDone("a", "[1/1] WORKDIR /w", "step", cached=True, seconds=0.0, error=None)
    ]


def test_a_step_without_inputs_ran_when_it_started_twice() -> None:
    progress = Progress()
    progress.feed(vertex("a", "[1/1] WORKDIR /w", started=at(1), completed=at(1.5)))
    started = progress.feed(vertex("a", "[1/1] WORKDIR /w", started=at(2)))
    progress.feed(vertex("a", "[1/1] WORKDIR /w", started=at(2), completed=at(6)))
    (only,) = progress.vertices
    assert (step_status(only), step_seconds(only)) == ("run", 4.0)
    assert started == [StepStarted("a", "[1/1] WORKDIR /w", "step", BASE + 2)]
    assert progress.finish() == []


def test_a_step_that_ran_stays_run_when_a_consumer_marks_it_cached_later() -> None:
    progress = Progress()
    progress.feed(vertex("a", "[2/3] RUN x", inputs=("b",), started=at(1), completed=at(2)))
    progress.feed(vertex("a", "[2/3] RUN x", inputs=("b",), started=at(3), completed=at(3), cached=True))
    (only,) = progress.vertices
    assert (step_status(only), step_seconds(only)) == ("run", 1.0)


def test_a_join_that_was_found_and_then_put_together_is_a_hit() -> None:
    progress = Progress()
    name = "[2/3] LINK COPY --link a /b/"
    progress.feed(vertex("sha256:j", name, inputs=("sha256:c",), started=at(1), completed=at(1), cached=True))
    progress.feed(vertex("sha256:j", name, inputs=("sha256:c",), started=at(2), completed=at(2.5)))
    (joined,) = progress.vertices
    assert step_outcome(joined).status == "cached"
    assert step_outcome(joined).seconds is None


def test_a_join_that_ran_before_a_consumer_marked_it_cached_ran() -> None:
    progress = Progress()
    name = "[2/3] LINK COPY --link a /b/"
    progress.feed(vertex("sha256:j", name, inputs=("sha256:c",), started=at(1), completed=at(1.5)))
    progress.feed(vertex("sha256:j", name, inputs=("sha256:c",), started=at(2), completed=at(2), cached=True))
    assert step_outcome(progress.vertices[0]).status == "run"


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({}, "not reached"),
        ({"started": at(1)}, "canceled"),
        ({"started": at(1), "completed": at(1), "cached": True}, "cached"),
        ({"started": at(1), "completed": at(2), "error": "exit code: 1"}, "failed"),
        (
            {"started": at(1), "completed": at(2), "error": "x: context canceled: context canceled"},
            "canceled",
        ),
        (
            {
                "started": at(1),
                "completed": at(2),
                "error": 'process "grep CANCELED log" did not complete successfully: exit code: 1',
            },
            "failed",
        ),
    ],
)
def test_the_last_state_of_a_vertex_decides(facts: dict[str, object], status: str) -> None:
    progress = Progress()
    progress.feed(vertex("a", "[2/3] RUN x", inputs=("b",), **facts))
    (only,) = progress.vertices
    assert step_status(only) == status


def test_a_completed_execution_is_not_reopened_by_a_late_record() -> None:
    progress = Progress()
    progress.feed(vertex("a", "[2/3] RUN x", inputs=("b",), started=at(1), completed=at(2)))
    assert progress.feed(vertex("a", "[2/3] RUN x", inputs=("b",), started=at(1))) == []
    assert progress.vertices[0].completed == BASE + 2


def test_inputs_and_name_survive_records_that_leave_them_out() -> None:
    progress = Progress()
    progress.feed(
        vertex("a", "[3/4] LINK COPY --link x .", inputs=("b", "c"), started=at(1), completed=at(2))
    )
    progress.feed(vertex("a", "", started=at(3), completed=at(5)))
    (only,) = progress.vertices
    assert (only.inputs, only.name) == (("b", "c"), "[3/4] LINK COPY --link x .")
    assert step_seconds(only) == 3.0


def test_log_lines_are_put_together_from_pieces_and_streams() -> None:
    progress = Progress()
    progress.feed(vertex("a", "[2/2] RUN x", inputs=("b",), started=at(1)))
    events = progress.feed(log("a", b"one\ntw"))
    events += progress.feed(log("a", b"error\n", stream=2))
    events += progress.feed(log("a", "o ✓\n10%\r100%\nlast".encode()))
    events += progress.finish()
    assert events == [
        StepLog("a", "one", 1),
        StepLog("a", "error", 2),
        StepLog("a", "two ✓", 1),
        StepLog("a", "100%", 1),
        StepLog("a", "last", 1),
    ]
    assert progress.vertices[0].log_tail == ("one", "error", "two ✓", "100%", "last")


def test_only_the_end_of_a_long_log_is_kept() -> None:
    progress = Progress()
    progress.feed(log("a", b"".join(b"%d\n" % number for number in range(1000))))
    assert progress.vertices[0].log_tail[0] == str(1000 - LOG_TAIL_LINES)
    assert progress.vertices[0].log_tail[-1] == "999"


@pytest.mark.parametrize(
    "line",
    [
        b'{"vertexes":null,"logs":7,"unknown":{"a":[1]}}',
        b'{"vertexes":[{"digest":7},{"name":"x"},"x"]}',
        b'{"vertexes":[{"digest":"a","started":"yesterday"}]}',
        b'{"statuses":[{"vertex":"nobody","name":"x"}],"warnings":[{}]}',
        b'{"logs":[{"vertex":"a","data":"%%%"}]}',
        b"{}",
        b"",
    ],
)
def test_records_of_an_unknown_shape_do_no_harm(line: bytes) -> None:
    progress = Progress()
    progress.feed(line)
    progress.finish()
    assert progress.messages == ()


@pytest.mark.parametrize("line", [b"ERROR: no", b'{"vertexes":', b"[1]", b"{not json}"])
def test_what_is_no_record_is_kept_as_the_clients_words(line: bytes) -> None:
    progress = Progress()
    assert progress.feed(line) == []
    assert progress.messages == (line.decode(),)


def test_records_spread_over_lines_are_read_as_one() -> None:
    record = {"vertexes": [{"digest": "a", "name": "[1/1] RUN x", "started": at(1)}]}
    progress = Progress()
    for line in json.dumps(record, indent=2).encode().split(b"\n"):
        progress.feed(line)
    progress.feed(b"ERROR: afterwards")
    assert progress.vertices[0].name == "[1/1] RUN x"
    assert progress.messages == ("ERROR: afterwards",)


def test_transfers_are_shown_and_the_contexts_bytes_counted() -> None:
    progress = Progress()
    progress.feed(vertex("c", "[internal] load build context", started=at(1)))
    progress.feed(vertex("d", "[internal] load build definition from Dockerfile", started=at(1)))
    shape = {"id": "transferring context:", "name": "transferring", "vertex": "c"}
    progress.feed(json.dumps({"statuses": [shape | {"current": 10}]}).encode())
    events = progress.feed(json.dumps({"statuses": [shape | {"current": 4096, "completed": at(2)}]}).encode())
    progress.feed(json.dumps({"statuses": [shape | {"vertex": "d", "current": 7}]}).encode())
    assert events == [StepProgress("c", "transferring context:", 4096, 0, done=True)]
    assert progress.context_bytes == 4096


def test_a_build_without_a_context_transferred_nothing() -> None:
    assert Progress().context_bytes is None


def test_live_events_of_a_recorded_build_tell_its_story() -> None:
    _, events = read("first")
    story = [
        f"{'start' if isinstance(event, StepStarted) else 'cached' if event.cached else 'done'} {event.name}"
        for event in events
        if isinstance(event, StepStarted | StepDone) and event.kind == "step"
    ]
    run = "[build 2/2] RUN --mount=type=cache,target=/c echo building; cat src/a > out"
    assert story.index(f"start {run}") < story.index(f"done {run}")
    assert len([line for line in story if line.startswith("done")]) == 6
    assert [event.line for event in events if isinstance(event, StepLog)] == ["building", "hi"]


def test_a_warning_of_buildkit_is_told_once_with_its_line() -> None:
    progress, events = read("warning")
    (warning,) = [event for event in events if isinstance(event, BuildWarning)]
    assert progress.warnings == (warning,)
    assert warning.text.startswith("FromAsCasing")
    assert warning.line == 1
