"""`make demo`: devloop's main job on examples/web_api.

At a terminal it hands over to `devloop watch` on the example itself, for you to edit. Without a terminal, or
with SCRIPTED=1, it makes three edits to a copy, tells what devloop said, decided and did about each, asks the
service over HTTP whether that is true, and ends with 0 only if it is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # the demo uses devloop by the same hands as the tests

from support.engine import connect, containers_of, is_stand_in, remove_all  # noqa: E402
from support.session import Session, free_port  # noqa: E402

if TYPE_CHECKING:
    from support.session import Event

EXAMPLE = REPOSITORY / "examples" / "web_api"
CODE = "src/web_api/main.py"
PACKAGES = "src/web_api/requirements.txt"
BASE = "python:3.11-slim"
ADDED_PACKAGE = "itsdangerous==2.2.0"
QUIET_SECONDS = 2.0
BUILD_TIMEOUT = 300


class Unexpected(Exception):  # noqa: N818 - it is a finding, and the demo's result
    """devloop did something else than this demo is about to show."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the closing table."""

    what: str
    action: str
    build: float | None
    total: float | None
    ran: int
    cached: int


def main() -> int:
    scripted = os.environ.get("SCRIPTED", "") not in ("", "0") or not (
        sys.stdin.isatty() and sys.stdout.isatty()
    )
    if not scripted:
        interactive()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    try:
        rows = play()
    except (Unexpected, AssertionError) as reason:
        say("", f"The demo failed: {reason}")
        return 1
    show_table(rows)
    say("", f"All as expected; no container is left. {time.monotonic() - started:.1f} s")
    return 0


def interactive() -> NoReturn:
    port = free_port(8000)
    url = f"http://127.0.0.1:{port}/"
    folder = EXAMPLE.relative_to(REPOSITORY)
    say(
        f"devloop watches {folder} and serves it at {url}",
        "",
        f"  Edit     {folder / CODE}: another MESSAGE, and save",
        f"  Look     curl {url}",
        f"  Compare  {folder / PACKAGES}: add a line, and save",
        "  End      Ctrl-C, which removes the container too",
        "",
    )
    sys.stdout.flush()
    command = [sys.executable, "-m", "devloop", "watch", str(folder), *options("demo", port)]
    os.chdir(REPOSITORY)
    os.execv(sys.executable, command)  # noqa: S606 - the demo becomes devloop


def options(name: str, port: int) -> list[str]:
    with connect(dict(os.environ)) as client:
        # The engine that came with the stand-in may have no way out for a container on its bridge.
        network = ["--network", "host"] if is_stand_in(client, BASE) else []
    return ["--name", name, "--publish", f"127.0.0.1:{port}:8000", *network]


# ---------------------------------------------------------------------- the scripted demo


def play() -> list[Row]:
    name = f"demo-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="devloop-demo-") as folder, connect(dict(os.environ)) as client:
        copy = shutil.copytree(
            EXAMPLE, Path(folder) / "web_api", ignore=shutil.ignore_patterns("__pycache__", ".venv")
        )
        # A line of its own keeps this copy out of the cache of earlier demos: its install is a real one.
        with (copy / PACKAGES).open("a") as packages:
            packages.write(f"# {name}, {time.time():.0f}\n")
        environ = {**os.environ, "DEVLOOP_STATE_DIR": str(Path(folder) / "state")}
        try:
            with Session(copy, *options(name, free_port()), environ=environ) as session:
                rows = [first_build(session), code_edit(session), dependency_edit(session)]
                idle_save(session)
                end(session)
            left = [str(found.name) for found in containers_of(client, name)]
            expect(not left, f"after Ctrl-C no container is left, but there is {', '.join(left)}")
        finally:
            remove_all(client, name)
    return rows


def first_build(session: Session) -> Row:
    say(f"devloop watch {session.project}", "")
    heading("The first build")
    row = follow(session, "first build")
    expect(
        row.ran >= 3,
        f"the first build installs the packages and copies the code, but only {row.ran} steps ran",
    )
    served(session, "Hello from version 1")
    return row


def code_edit(session: Session) -> Row:
    heading(f"An edit of the code: {CODE}, version 1 -> version 2")
    replace(session, CODE, "version 1", "version 2")
    row = follow(session, "edit of main.py")
    expect(row.ran <= 1, f"an edit of the code runs no more than the last step, but {row.ran} steps ran")
    served(session, "Hello from version 2")
    return row


def dependency_edit(session: Session) -> Row:
    heading(f"An edit of the dependency list: {PACKAGES}, with {ADDED_PACKAGE} added")
    with (session.project / PACKAGES).open("a") as packages:
        packages.write(f"{ADDED_PACKAGE}\n")
    mark = session.mark()
    row = follow(session, "edit of requirements.txt", expects_warning=True)
    installed = [
        event
        for event in session.since(mark, "step_finished")
        if event["status"] == "run" and "pip install" in event["text"]
    ]
    expect(bool(installed), "an edit of the dependency list runs pip again")
    served(session, "Hello from version 2")
    return row


def idle_save(session: Session) -> None:
    heading(f"A save without a change: {CODE}")
    mark = session.mark()
    text = (session.project / CODE).read_text()
    session.save(CODE, text)
    time.sleep(QUIET_SECONDS)
    acted = session.since(mark, "build_started", "deployed", "queued")
    expect(
        not acted, f"a save without a change does nothing, but devloop reported {[e['event'] for e in acted]}"
    )
    for event in session.since(mark, "planned"):
        tell("decided", f"{event['plan']['action']}: {event['plan']['reason']}")
    tell("did", f"nothing: no build and no restart in {QUIET_SECONDS:.0f} s")
    served(session, "Hello from version 2")


def end(session: Session) -> None:
    heading("Ctrl-C")
    started = time.monotonic()
    code = session.stop()
    tell("did", f"{session.events[-1].get('message', '')} ({time.monotonic() - started:.1f} s)")
    expect(code == 130, f"Ctrl-C ends devloop with 130, but it was {code}")


def follow(session: Session, what: str, *, expects_warning: bool = False) -> Row:
    """Tell the events from a save to the container that runs it."""
    planned = session.wait_for("planned", timeout=BUILD_TIMEOUT)
    mark = session.mark()
    tell_plan(planned)
    if expects_warning:
        expect(bool(planned["warnings"]), "devloop warns of the install before it starts")
    deployed = session.wait_for("deployed", timeout=BUILD_TIMEOUT)
    build, ran, cached = None, 0, 0
    for built in session.since(mark, "build_finished"):
        build, ran, cached = built["seconds"], built["ran"], built["cached"]
        tell("did", f"build in {build:.1f} s: {steps(ran)} ran, {cached} from cache")
    since_save = deployed["since_save"]
    total = "" if since_save is None else f", {since_save:.1f} s after the save"
    tell(
        "did",
        f"{deployed['action']}: ready in {deployed['seconds']:.1f} s{total}: {' '.join(deployed['urls'])}",
    )
    return Row(what, deployed["action"], build, since_save, ran, cached)


def tell_plan(planned: Event) -> None:
    plan = planned["plan"]
    for warning in planned["warnings"]:
        cost = (
            "" if warning["seconds"] is None else f" {warning['seconds']:.1f} s ({warning['seconds_from']})"
        )
        tell("warned", f"{warning['text']} (line {warning['line']}):{cost}")
        tell("", warning["why"])
        tell("", warning["way_out"])
    if not planned["first"]:
        verb = "runs again" if plan["action"] == "rebuild" else "is out of date"
        for step in plan["steps"]:
            if step["status"] == "run":
                tell("said", f"{step['text']} (line {step['line']}) {verb}: {step['cause']}")
    expected = "" if plan["seconds"] is None else f", {plan['seconds']:.1f} s expected"
    tell("decided", f"{plan['action']}{expected}: {plan['reason']}")


def served(session: Session, message: str) -> None:
    answer = session.get("/")
    tell("served", answer)
    expect(json.loads(answer)["message"] == message, f"{message!r} is served, but the answer is {answer}")


def replace(session: Session, path: str, old: str, new: str) -> None:
    text = (session.project / path).read_text()
    expect(old in text, f"{path} contains {old!r}")
    session.save(path, text.replace(old, new))


def expect(condition: bool, claim: str) -> None:
    if not condition:
        raise Unexpected(f"expected that {claim}")


# ---------------------------------------------------------------------- the telling


def show_table(rows: list[Row]) -> None:
    heading("Summary")
    say(f"  {'':26}{'action':14}{'build':>9}{'save to running':>18}{'ran':>6}{'CACHED':>9}")
    for row in rows:
        build = "" if row.build is None else f"{row.build:.2f} s"
        total = "" if row.total is None else f"{row.total:.2f} s"
        ran, cached = (str(row.ran), str(row.cached)) if row.build is not None else ("", "")
        say(f"  {row.what:26}{row.action:14}{build:>9}{total:>18}{ran:>6}{cached:>9}")


def heading(text: str) -> None:
    say("", text)


def tell(who: str, text: str) -> None:
    for line in text.splitlines():
        say(f"  {who:<8} {line}")
        who = ""


def steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
