"""What went wrong with a build, told apart."""

from __future__ import annotations

import pytest

from devloop.engine.outcome import conclude
from devloop.engine.progress import Progress
from devloop.engine.provenance import parse_metadata
from support.recorded import outcome, read


def said(*lines: str) -> Progress:
    progress = Progress()
    for line in lines:
        progress.feed(line.encode())
    return progress


def test_a_build_that_went_well_has_an_image_and_no_error() -> None:
    found = outcome("first")
    assert (found.status, found.error, found.error_kind) == ("ok", None, None)
    assert found.image_id is not None
    assert found.image_id == found.image_config
    assert found.context_bytes == 155
    assert found.export_seconds is not None
    assert found.metadata_seconds is not None
    assert 0 < found.metadata_seconds < found.export_seconds


def test_with_the_containerd_store_the_image_is_named_by_its_manifest() -> None:
    told = parse_metadata(
        b'{"containerimage.digest": "sha256:m", "containerimage.config.digest": "sha256:c"}'
    )
    both = [
        conclude(Progress(), told, returncode=0, seconds=1, canceled=False, ids_are_digests=digests)
        for digests in (False, True)
    ]
    assert [one.image_id for one in both] == ["sha256:c", "sha256:m"]
    assert [one.image_config for one in both] == ["sha256:c", "sha256:c"]


def test_a_failing_command_is_shown_with_lines_exit_code_and_log() -> None:
    found = outcome("run-fails")
    assert (found.status, found.error_kind, found.exit_code, found.error_line) == ("failed", "step", 3, 3)
    assert found.failed_step is not None
    assert found.failed_step.lines == ((3, 5),)
    assert sorted(found.log_tail) == ["one", "two"]
    assert [step.status for step in found.steps] == ["run", "failed", "not reached"]
    assert found.image_id is None


def test_a_missing_source_is_named_and_what_it_claims_of_others_is_not_believed() -> None:
    found = outcome("source-missing")
    assert (found.error_kind, found.error, found.error_line) == ("source", '"/nope": not found', 5)
    assert found.hint is not None
    assert found.hint.startswith("nope is not in the build context")
    never_ran = next(step for step in found.steps if step.text == "exit 3")
    assert never_ran.status == "not reached"
    assert [step.status for step in found.steps][-1] == "failed"


def test_a_dockerfile_that_cannot_be_read_is_told_with_its_line() -> None:
    found = outcome("parse-error")
    assert (found.error_kind, found.error_line) == ("dockerfile", 3)
    assert found.error is not None
    assert found.error.startswith("dockerfile parse error on line 3: unknown instruction: FRUN")
    assert (found.steps, found.failed_step) == ((), None)


def test_a_target_that_does_not_exist_is_the_dockerfiles_error() -> None:
    assert outcome("no-such-target").error_kind == "dockerfile"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "engine"),
        (
            "ERROR: failed to build: failed to solve: rpc error: code = Unavailable desc = error reading",
            "engine",
        ),
        ('ERROR: no builder "gone" found', "engine"),
        ("docker: unknown command: docker buildx", "buildx"),
        ("ERROR: failed to solve: write /x: no space left on device", "space"),
        ("ERROR: failed to solve: x:1: failed to resolve source metadata for y", "image"),
        (
            "ERROR: failed to solve: failed to read dockerfile: open nofile: no such file or directory",
            "dockerfile",
        ),
        ("ERROR: failed to solve: something nobody has seen", "other"),
    ],
)
def test_the_clients_words_tell_the_kind_of_error(line: str, kind: str) -> None:
    found = conclude(said(line), parse_metadata(b""), returncode=1, seconds=1, canceled=False)
    assert found.error_kind == kind
    assert found.error is not None
    assert not found.error.startswith(("ERROR", "failed to solve"))


def test_a_full_disk_inside_a_step_is_a_full_disk() -> None:
    progress, _ = read("run-fails")
    failed = next(one for one in progress.vertices if one.error)
    progress.feed(
        b'{"logs":[{"vertex":"%s","stream":2,"data":"Tm8gc3BhY2UgbGVmdCBvbiBkZXZpY2UK"}]}'
        % failed.digest.encode()
    )
    found = conclude(progress, parse_metadata(b""), returncode=1, seconds=1, canceled=False)
    assert found.error_kind == "space"
    assert found.hint is not None


def test_a_canceled_build_is_no_failure() -> None:
    progress = said("ERROR: failed to solve: Canceled: context canceled")
    found = conclude(progress, parse_metadata(b""), returncode=130, seconds=1, canceled=True)
    assert (found.status, found.error_kind) == ("canceled", "canceled")


def test_a_client_that_says_nothing_has_failed_all_the_same() -> None:
    found = conclude(Progress(), parse_metadata(b""), returncode=2, seconds=1, canceled=False)
    assert (found.status, found.error_kind) == ("failed", "other")
    assert found.error


def test_overlapping_work_is_counted_once() -> None:
    progress = Progress()
    for digest, start, end in (("a", 10, 20), ("b", 15, 25), ("c", 40, 41)):
        progress.feed(
            b'{"vertexes":[{"digest":"%s","name":"[internal] load metadata for x","started":'
            b'"2023-11-14T22:13:%02dZ","completed":"2023-11-14T22:13:%02dZ"}]}'
            % (digest.encode(), start, end)
        )
    found = conclude(progress, parse_metadata(b""), returncode=0, seconds=1, canceled=False)
    assert found.metadata_seconds == 16
