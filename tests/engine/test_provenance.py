"""From vertices to Dockerfile lines, by provenance and by name."""

from __future__ import annotations

import json

import pytest

from devloop.engine.base import OpFacts
from devloop.engine.progress import Progress
from devloop.engine.provenance import ExpectedStep, match_by_name, op_facts, parse_metadata
from support.recorded import metadata, outcome, read, shown

MULTI = (
    ExpectedStep("base", 2, 2, "WORKDIR", "/app"),
    ExpectedStep("build", 1, 2, "COPY", "src/ src/"),
    ExpectedStep("build", 2, 2, "RUN", "--mount=type=cache,target=/c echo building; cat src/a > out"),
    ExpectedStep(None, 1, 4, "COPY", "--from=build /app/out ."),
    ExpectedStep(None, 2, 4, "RUN", "<<EOR (echo hi)"),
    ExpectedStep(None, 3, 4, "COPY", "<<EOC /x"),
    ExpectedStep(None, 4, 4, "COPY", "--chown=1000:7 --chmod=640 main.py ."),
)


def test_every_step_of_a_build_gets_its_lines() -> None:
    assert shown("first")[1:] == [
        "5 COPY src/ src/: run",
        "6 RUN --mount=type=cache,target=/c echo building; cat src/a > out: run",
        "8 COPY --from=build /app/out .: run",
        "9-11 RUN <<EOR (echo hi): run",
        "12-14 COPY <<EOC /x: run",
        "15 COPY --chown=1000:7 --chmod=640 main.py .: run",
    ]


def test_an_unchanged_build_is_cached_throughout() -> None:
    statuses = {step.status for step in outcome("second").steps}
    assert statuses == {"cached"}
    assert len(outcome("second").steps) == 7


def test_a_first_step_on_scratch_ran_in_the_first_build_and_not_in_the_second() -> None:
    assert [line.rpartition(": ")[2] for line in shown("scratch-first")] == ["run", "run"]
    assert [line.rpartition(": ")[2] for line in shown("scratch-second")] == ["cached", "cached"]
    assert [line.rpartition(": ")[2] for line in shown("scratch-alone-second")] == ["cached"]


def test_of_merged_twins_one_ran_and_one_is_cached_in_the_very_first_build() -> None:
    statuses = [step.status for step in outcome("twins").steps if step.keyword == "RUN"]
    assert sorted(statuses) == ["cached", "run"]


def test_equal_steps_of_two_stages_are_one_step_with_both_lines() -> None:
    workdir = outcome("merged-lines").steps[0]
    assert workdir.lines == ((2, 2), (4, 4))


def test_triggers_are_reported_at_the_line_of_the_child_stage() -> None:
    assert [line.rpartition(": ")[0] for line in shown("onbuild")] == [
        "4 RUN echo trigger",
        "4 WORKDIR /z",
        "5 COPY nonce /",
    ]
    assert [step.onbuild for step in outcome("onbuild").steps] == [True, True, False]


def test_a_linked_copy_is_two_steps_with_one_number() -> None:
    steps = [step for step in outcome("link").steps if step.index == 3]
    assert [(step.link, step.lines) for step in steps] == [(False, ((3, 3),)), (True, ((3, 3),))]
    assert [step.definition.kind for step in steps if step.definition] == ["file", "merge"]


def test_platforms_are_read_from_the_names_where_provenance_is_missing() -> None:
    (step,) = outcome("platforms").steps
    assert step.platform in {"linux/amd64", "linux/arm64"}
    assert step.lines == ()


def test_an_old_client_has_steps_without_lines() -> None:
    found = outcome("old-client")
    assert not found.has_provenance
    assert [step.lines for step in found.steps] == [()] * 7
    assert [step.text for step in found.steps] == [step.text for step in outcome("first").steps]


@pytest.mark.parametrize("name", ["first", "run-fails", "source-missing", "twins", "link"])
def test_without_lines_producers_still_stand_before_consumers(name: str) -> None:
    steps = outcome(name, with_provenance=False).steps
    places = {step.digest: place for place, step in enumerate(steps)}
    inputs = {vertex.digest: vertex.inputs for vertex in read(name)[0].vertices}
    pairs = [(one, step.digest) for step in steps for one in inputs[step.digest] if one in places]
    assert pairs
    assert all(places[producer] < places[consumer] for producer, consumer in pairs)


def test_an_exec_op_tells_what_would_be_run() -> None:
    (run,) = [step.definition for step in outcome("first").steps if step.lines == ((6, 6),)]
    assert run is not None
    assert run.kind == "exec"
    assert run.argv == ("/bin/sh", "-c", "echo building; cat src/a > out")
    assert run.env[-1] == "A=1"
    assert run.cwd == "/app"
    root, cache = run.mounts
    assert (root.kind, root.target, root.input) == ("bind", "/", run.inputs[0])
    assert (cache.kind, cache.target, cache.input) == ("cache", "/c", None)
    assert cache.options == (("cacheOpt", '{"ID": "//c"}'),)


def test_a_file_op_tells_what_would_be_copied() -> None:
    (copy,) = [step.definition for step in outcome("first").steps if step.lines == ((15, 15),)]
    assert copy is not None
    (action,) = copy.actions
    assert (action.kind, action.source, action.target) == ("copy", "/main.py", "/app/")
    assert (action.owner, action.mode) == ("1000:7", "640")
    assert (action.input, action.secondary) == copy.inputs
    assert ("followSymlink", "true") in action.options


def test_inputs_name_the_producing_vertex() -> None:
    steps = {step.lines: step for step in outcome("first").steps}
    run, copy = steps[((6, 6),)], steps[((8, 8),)]
    assert copy.definition is not None
    assert f"{run.digest}:0" in copy.definition.inputs


def test_the_layer_chain_of_a_step_extends_that_of_its_base() -> None:
    layers = metadata("first").layers
    steps = {step.lines: step.digest for step in outcome("first").steps}
    upper, lower = layers[steps[((9, 11),)]], layers[steps[((8, 8),)]]
    assert upper[:-1] == lower


def test_the_newer_format_of_the_provenance_reads_the_same() -> None:
    config = {
        "llbDefinition": [{"id": "step0", "op": {"Op": {"merge": {}}}, "inputs": ["step7:1"]}],
        "digestMapping": {"sha256:a": "step0", "sha256:b": "step7"},
    }
    details = {"source": {"locations": {"step0": {"locations": [{"ranges": [{"start": {"line": 3}}]}]}}}}
    old = {
        "buildConfig": config,
        "metadata": {"https://mobyproject.org/buildkit@v1#metadata": details},
    }
    new = {
        "buildDefinition": {"internalParameters": {"buildConfig": config}},
        "runDetails": {"metadata": {"buildkit_metadata": details}},
    }
    read_old, read_new = (
        parse_metadata(json.dumps({"buildx.build.provenance/linux/amd64": one}).encode())
        for one in (old, new)
    )
    assert read_old == read_new
    assert read_old.origins["sha256:a"].lines == ((3, 3),)
    assert read_old.origins["sha256:a"].definition == OpFacts("merge", inputs=("sha256:b:1",))


@pytest.mark.parametrize("raw", [b"", b"null", b"{", b"[]", b'{"buildx.build.provenance": 7}'])
def test_a_broken_metadata_file_tells_nothing(raw: bytes) -> None:
    found = parse_metadata(raw)
    assert (found.image_digest, dict(found.origins)) == (None, {})


def test_an_op_of_an_unknown_kind_is_other() -> None:
    assert op_facts({"Op": {"hologram": {}}}).kind == "other"


def test_owners_by_name_and_network_modes_are_read() -> None:
    owner = {"user": {"User": {"byName": {"name": "app"}}}, "group": {"User": {"byName": {"name": "web"}}}}
    action = {"input": 0, "secondaryInput": -1, "Action": {"copy": {"owner": owner, "modeStr": "u+x"}}}
    copy = op_facts({"Op": {"file": {"actions": [action]}}}, ("sha256:a:0",)).actions[0]
    assert (copy.owner, copy.mode, copy.secondary) == ("app:web", "u+x", None)
    run = op_facts({"Op": {"exec": {"meta": {"args": ["x"]}, "network": 2, "security": 1}}})
    assert (run.network, run.security) == ("none", "insecure")


def test_names_and_order_stand_in_for_the_provenance() -> None:
    matched = match_by_name(read("old-client")[0].vertices, MULTI)
    assert sorted(matched) == list(range(7))
    assert [matched[position].text for position in range(7)] == [step.text for step in MULTI]


def test_the_names_give_what_the_provenance_gives() -> None:
    by_origin = {step.digest: step.status for step in outcome("first").steps}
    by_name = {step.digest: step.status for step in match_by_name(read("first")[0].vertices, MULTI).values()}
    assert by_name == by_origin


def named(*names: str) -> Progress:
    progress = Progress()
    for name in names:
        record = {"digest": name, "name": name, "inputs": ["x"], "started": "2023-11-14T22:13:20Z"}
        if "cached" not in name:
            record["completed"] = "2023-11-14T22:13:21Z"
        progress.feed(json.dumps({"vertexes": [record]}).encode())
    return progress


def test_a_stage_that_is_not_shown_may_be_any_that_fits() -> None:
    expected = [ExpectedStep("web", 2, 3, "RUN", "a"), ExpectedStep("web", 3, 3, "RUN", "b")]
    assert sorted(match_by_name(named("[3/3] RUN b").vertices, expected)) == [1]


def test_of_several_that_fit_the_text_decides() -> None:
    expected = [ExpectedStep(None, 2, 2, "RUN", "make  a"), ExpectedStep(None, 2, 2, "RUN", "make b")]
    vertices = named("[stage-0 2/2] RUN make b", "[stage-1 2/2] RUN make a").vertices
    assert {at: step.text for at, step in match_by_name(vertices, expected).items()} == {
        0: "make a",
        1: "make b",
    }


def test_what_could_be_either_is_matched_to_neither() -> None:
    expected = [ExpectedStep(None, 2, 2, "RUN", "x"), ExpectedStep(None, 2, 2, "RUN", "x")]
    assert match_by_name(named("[stage-0 2/2] RUN x").vertices, expected) == {}


def test_a_name_of_another_build_is_matched_to_nothing() -> None:
    expected = [ExpectedStep("web", 2, 2, "RUN", "x")]
    assert (
        match_by_name(named("[api 2/2] RUN x", "[web 2/9] RUN x", "[web 2/2] COPY x y").vertices, expected)
        == {}
    )


def test_for_a_linked_copy_the_part_that_ran_speaks() -> None:
    expected = [
        ExpectedStep(None, 2, 4, "WORKDIR", "/app"),
        ExpectedStep(None, 3, 4, "COPY", "--link nonce ./"),
    ]
    assert match_by_name(read("link")[0].vertices, expected)[1].status == "run"
