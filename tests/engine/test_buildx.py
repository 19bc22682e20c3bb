"""Starting, reading and ending the process that builds, with a stand-in for buildx."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import pytest

from devloop.engine.base import BuildRequest, StepLog
from devloop.engine.buildx import (
    Buildx,
    build,
    build_command,
    build_environment,
    builder_name,
    detect_builder,
    find_buildx,
    listing_of,
    version_numbers,
)
from devloop.engine.endpoint import Endpoint
from support.recorded import CASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from devloop.engine.base import BuildEvent

    Plugin = Callable[[str], dict[str, str]]

NOBODY = Endpoint("default", "unix:///nobody")
CONNECT_LEASH = """\
import os, socket
leash = socket.socket(socket.AF_UNIX)
name = os.environ["DOCKER_CLI_PLUGIN_SOCKET"]
leash.connect("\\0" + name[1:] if name.startswith("@") else name)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    """Puts a Python program in the place of buildx, and returns the environment that leads to it."""

    def write(program: str) -> dict[str, str]:
        path = tmp_path / "config" / "cli-plugins" / "docker-buildx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(program)}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return {
            "DOCKER_CONFIG": str(tmp_path / "config"),
            "DOCKER_HOST": "unix:///nobody",
            "PATH": "/nowhere",
        }

    return write


def test_a_request_is_spelled_out_as_an_argument_list() -> None:
    request = BuildRequest(
        "ctx",
        dockerfile="d/Dockerfile",
        target="web",
        build_args=(("A", "1 2"), ("FROM_ENV", None)),
        build_contexts=(("lib", "../lib"),),
        platform="linux/arm64",
        no_cache=True,
        pull=True,
        network="host",
        add_hosts=("db:10.0.0.1",),
        secrets=("id=token,env=TOKEN",),
        ssh=("default",),
        labels=(("k", "v"),),
        tags=("app:dev", "app:x"),
        extra=("--shm-size=1g",),
        no_cache_filters=("build",),
    )
    command = build_command(("buildx",), request, builder="default", metadata="m.json")
    assert " ".join(command) == (
        "buildx build --progress=rawjson --metadata-file m.json --builder default --file d/Dockerfile"
        " --target web --build-arg A=1 2 --build-arg FROM_ENV --build-context lib=../lib --label k=v"
        " --platform linux/arm64 --network host --add-host db:10.0.0.1 --secret id=token,env=TOKEN"
        " --ssh default --tag app:dev --tag app:x --no-cache-filter build --no-cache --pull --load"
        " --shm-size=1g -- ctx"
    )


def test_an_image_that_is_not_wanted_is_not_loaded() -> None:
    command = build_command((), BuildRequest(".", output="type=cacheonly"), builder="b", metadata="m")
    assert "--load" not in command
    assert command[command.index("--output") + 1] == "type=cacheonly"


def test_a_context_that_looks_like_an_option_stays_a_context() -> None:
    assert build_command((), BuildRequest("-x"), builder="b", metadata="m")[-2:] == ["--", "-x"]


def test_the_users_environment_reaches_the_build_with_a_few_additions() -> None:
    result = build_environment({"A": "1", "DOCKER_BUILDKIT": "0", "BUILDX_GIT_INFO": "true"}, leash="@x")
    assert result["A"] == "1"
    assert result["BUILDX_METADATA_PROVENANCE"] == "max"
    assert result["BUILDX_GIT_INFO"] == "true"
    assert result["BUILDX_NO_DEFAULT_ATTESTATIONS"] == "true"
    assert result["DOCKER_CLI_PLUGIN_SOCKET"] == "@x"
    assert "DOCKER_BUILDKIT" not in result
    assert "DOCKER_CLI_PLUGIN_SOCKET" not in build_environment({}, leash=None)


def test_the_builder_is_the_one_that_docker_build_takes() -> None:
    assert builder_name({}, Endpoint("desktop", "unix:///x")) == "desktop"
    assert builder_name({"BUILDX_BUILDER": "mine"}, Endpoint("desktop", "unix:///x")) == "mine"


def test_the_plugin_is_looked_for_where_the_client_looks(tmp_path: Path, plugin: Plugin) -> None:
    environ = plugin("")
    own = find_buildx(environ)
    assert own is not None
    assert own.command == (str(tmp_path / "config" / "cli-plugins" / "docker-buildx"), "buildx")
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "docker-buildx").symlink_to(own.command[0])
    (tmp_path / "config" / "config.json").write_text(f'{{"cliPluginsExtraDirs": ["{extra}"]}}')
    preferred = find_buildx(environ)
    assert preferred is not None
    assert preferred.command[0] == str(extra / "docker-buildx")


def test_a_recorded_stream_becomes_events_and_an_outcome(plugin: Plugin) -> None:
    case = CASES / "first"
    environ = plugin(f"""\
        import pathlib, sys
        sys.stderr.write(pathlib.Path({str(case / "stream.jsonl")!r}).read_text())
        metadata = sys.argv[sys.argv.index("--metadata-file") + 1]
        pathlib.Path(metadata).write_bytes(pathlib.Path({str(case / "metadata.json")!r}).read_bytes())
    """)
    events: list[BuildEvent] = []
    outcome = build(BuildRequest("."), on_event=events.append, cancel=threading.Event(), environ=environ)
    assert (outcome.status, outcome.has_provenance, len(outcome.steps)) == ("ok", True, 7)
    assert [event.line for event in events if isinstance(event, StepLog)] == ["building", "hi"]
    assert outcome.seconds > 0


def test_lines_arrive_while_the_build_still_runs(plugin: Plugin) -> None:
    environ = plugin("""\
        import sys, time
        sys.stderr.write('{"logs":[{"vertex":"a","stream":1,"data":"aGkK"}]}\\n')
        sys.stderr.flush()
        time.sleep(60)
    """)
    cancel = threading.Event()
    outcome = build(BuildRequest("."), on_event=lambda _: cancel.set(), cancel=cancel, environ=environ)
    assert outcome.status == "canceled"
    assert outcome.seconds < 30


def test_a_build_that_ignores_being_asked_is_killed(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devloop.engine.buildx._GRACE_SECONDS", (0.2, 0.2))
    environ = plugin("""\
        import os, signal, sys, time
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        sys.stderr.write('{"logs":[{"vertex":"a","stream":1,"data":"aGkK"}]}\\n')
        sys.stderr.flush()
        while True:
            time.sleep(1)
    """)
    cancel = threading.Event()
    outcome = build(BuildRequest("."), on_event=lambda _: cancel.set(), cancel=cancel, environ=environ)
    assert outcome.status == "canceled"


def test_a_cancellation_that_comes_too_late_leaves_a_good_build(plugin: Plugin) -> None:
    environ = plugin("""\
        import signal, sys, time
        signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
        sys.stderr.write('{"logs":[{"vertex":"a","stream":1,"data":"aGkK"}]}\\n')
        sys.stderr.flush()
        time.sleep(60)
    """)
    cancel = threading.Event()
    outcome = build(BuildRequest("."), on_event=lambda _: cancel.set(), cancel=cancel, environ=environ)
    assert outcome.status == "ok"


def test_the_build_is_on_a_leash_that_ends_with_us(tmp_path: Path, plugin: Plugin) -> None:
    """Our process dies by SIGKILL, and the build notices at once."""
    mark = tmp_path / "noticed"
    environ = plugin(
        CONNECT_LEASH
        + textwrap.dedent(f"""\
        import sys
        sys.stderr.write('{{"logs":[{{"vertex":"a","stream":1,"data":"aGkK"}}]}}\\n')
        sys.stderr.flush()
        assert leash.recv(1) == b""
        open({str(mark)!r}, "w").close()
    """)
    )
    program = """\
import os, signal, threading
from devloop.engine.base import BuildRequest
from devloop.engine.buildx import build
die = lambda _: os.kill(os.getpid(), signal.SIGKILL)
build(BuildRequest("."), on_event=die, cancel=threading.Event())
"""
    ours = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **environ})
    assert ours.wait(30) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert mark.exists()


def test_a_listener_that_raises_leaves_no_process_behind(tmp_path: Path, plugin: Plugin) -> None:
    pid_file = tmp_path / "pid"
    environ = plugin(f"""\
        import os, sys, time
        open({str(pid_file)!r}, "w").write(str(os.getpid()))
        sys.stderr.write('{{"logs":[{{"vertex":"a","stream":1,"data":"aGkK"}}]}}\\n')
        sys.stderr.flush()
        time.sleep(60)
    """)

    def fail(_: BuildEvent) -> None:
        raise RuntimeError("the screen is broken")

    with pytest.raises(RuntimeError, match="screen"):
        build(BuildRequest("."), on_event=fail, cancel=threading.Event(), environ=environ)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_build_is_over_when_it_ends_though_a_child_of_its_holds_the_pipe(plugin: Plugin) -> None:
    environ = plugin("""\
        import subprocess, sys
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5)"], start_new_session=False)
        sys.stderr.write("ERROR: the last words\\n")
        sys.exit(1)
    """)
    outcome = build(BuildRequest("."), on_event=lambda _: None, cancel=threading.Event(), environ=environ)
    assert outcome.error == "the last words"
    assert outcome.seconds < 4


def test_without_buildx_the_outcome_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devloop.engine.buildx._SYSTEM_PLUGINS", ())
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": "/nowhere"}
    outcome = build(BuildRequest("."), on_event=lambda _: None, cancel=threading.Event(), environ=environ)
    assert (outcome.status, outcome.error_kind) == ("failed", "buildx")
    assert outcome.hint is not None
    assert "buildx" in outcome.hint


def test_a_context_that_is_gone_is_an_error_of_the_engine(plugin: Plugin) -> None:
    environ = plugin("")
    del environ["DOCKER_HOST"]
    outcome = build(
        BuildRequest("."),
        on_event=lambda _: None,
        cancel=threading.Event(),
        environ=environ | {"DOCKER_CONTEXT": "gone"},
    )
    assert outcome.error_kind == "engine"


def test_a_dead_engine_is_detected_with_a_hint(plugin: Plugin) -> None:
    facts = detect_builder(plugin("") | {"DOCKER_BUILDKIT": "0"})
    assert not facts.reachable
    assert facts.legacy_environment
    assert facts.error == "no Docker Engine answers at unix:///nobody: there is no socket"
    assert facts.hint


def test_facts_are_asked_for_again_while_nobody_answers(plugin: Plugin) -> None:
    builder = Buildx(plugin(""))
    first = builder.facts()
    assert not first.reachable
    assert builder.facts() is not first


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("28.5.2+dfsg4", (28, 5)), ("v0.13.1", (0, 13)), ("", (0, 0)), (None, (0, 0)), ("unknown", (0, 0))],
)
def test_versions_are_compared_by_their_first_two_numbers(text: str | None, numbers: tuple[int, int]) -> None:
    assert version_numbers(text) == numbers


@pytest.mark.parametrize(
    ("buildkit", "listing"),
    [((0, 12), "nested"), ((0, 24), "nested"), ((0, 25), "names"), ((0, 26), "paths"), ((0, 0), "names")],
)
def test_the_version_of_buildkit_says_how_wildcards_are_listed(
    buildkit: tuple[int, int], listing: str
) -> None:
    assert listing_of(buildkit) == listing
