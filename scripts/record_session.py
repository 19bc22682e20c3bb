"""`python scripts/record_session.py [FILE]`: a picture of a real session, docs/session.svg, for the README.

It watches a copy of examples/web_api with a real engine, builds it, saves the code and then the list of
packages, as a developer would. Every event is kept with its time. The picture is the live view in the middle
of the second install, drawn again from those events by the view itself, so that it shows what was to be
seen then; only the folder of the copy is called ~/web_api, and the port 8000.
"""

from __future__ import annotations

import inspect
import io
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

# It lies beside this script, and makes `support`, the hands of the tests, known.
from demo import ADDED_PACKAGE, CODE, EXAMPLE, PACKAGES, REPOSITORY, options
from rich.console import Console
from rich.text import Text

from devloop.loop import events
from devloop.loop.driver import Session
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace
from devloop.ui.live import LiveDisplay
from devloop.ui.stream import Output
from support.engine import connect, remove_all
from support.session import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from devloop.loop.events import Event

WIDTH = 100
HEIGHT = 40
PATIENCE = 300.0
STEP = "RUN pip install"
FONTS = "ui-monospace, 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass
class Recorder:
    """A display that keeps every event with its time."""

    kept: list[tuple[float, datetime, Event]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def show(self, event: Event) -> None:
        if isinstance(event, events.SessionStarted):
            event = replace(event, context="~/web_api")
        if isinstance(event, events.Deployed):
            event = replace(event, urls=("http://127.0.0.1:8000",))
        with self.arrived:
            self.kept.append((time.monotonic(), datetime.now().astimezone(), event))
            self.arrived.notify_all()

    def wait_for(self, kind: type[Event], where: Callable[[Event], bool] = lambda _: True) -> None:
        """Wait until the newest event of this kind is one for which `where` holds."""

        def has_come() -> bool:
            found = [event for _, _, event in self.kept if isinstance(event, kind)]
            return bool(found) and where(found[-1])

        with self.arrived:
            if not self.arrived.wait_for(has_come, PATIENCE):
                raise TimeoutError(f"no {kind.__name__} in {PATIENCE:.0f} s: {self.kept[-3:]}")


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "session.svg"
    with tempfile.TemporaryDirectory(prefix="devloop-record-") as folder:
        os.environ["DEVLOOP_STATE_DIR"] = str(Path(folder) / "state")
        copy = shutil.copytree(
            EXAMPLE, Path(folder) / "web_api", ignore=shutil.ignore_patterns("__pycache__", ".venv")
        )
        with (copy / PACKAGES).open("a") as packages:
            packages.write(f"# {time.time():.0f}: keeps this copy out of the cache of other builds\n")
        recorder = record(copy)
    svg = picture(recorder.kept)
    target.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"{target}: {len(recorder.kept)} events, {len(svg) // 1024} KiB\n")
    return 0


def record(project: Path) -> Recorder:
    """Run a session on `project` with somebody at the keyboard."""
    port = free_port(8000)
    flags = options("web-api", port)
    network = flags[flags.index("--network") + 1] if "--network" in flags else None
    settings = Settings(name="web-api", publish=[f"127.0.0.1:{port}:8000"], network=network, warn_seconds=1.0)
    location = locate(project, settings)
    memory = Memory(location)
    recorder = Recorder()
    session = Session(
        Workspace.remembered(location, settings, memory, os.environ),
        recorder,
        reload=lambda: (location, settings),
        config=project / "devloop.toml",
        once=False,
        started=time.monotonic(),
    )
    hands = threading.Thread(target=work, args=(project, recorder, session), daemon=True)
    hands.start()
    try:
        session.run()
    finally:
        memory.close()
        with connect(dict(os.environ)) as client:
            remove_all(client, "web-api")
    return recorder


def work(project: Path, recorder: Recorder, session: Session) -> None:
    """Save what a developer would save; whatever happens, the session ends."""
    try:
        recorder.wait_for(events.Deployed)
        time.sleep(1.5)
        code = project / CODE
        code.write_text(code.read_text().replace("version 1", "version 2"))
        recorder.wait_for(events.Deployed, lambda event: "sync" in getattr(event, "action", ""))
        time.sleep(1.0)
        with (project / PACKAGES).open("a") as packages:
            packages.write(f"{ADDED_PACKAGE}\n")
        recorder.wait_for(events.Deployed, lambda event: getattr(event, "action", "") == "rebuild")
    finally:
        session.press("q")


def picture(kept: list[tuple[float, datetime, Event]]) -> str:
    """Draw the live view as it was when the last install was two thirds through."""
    starts = [at for at, _, event in kept if isinstance(event, events.StepStarted) and STEP in event.text]
    ends = [at for at, _, event in kept if isinstance(event, events.StepFinished) and STEP in event.text]
    moment = starts[-1] + (ends[-1] - starts[-1]) * 2 / 3
    clock, day = kept[0][0], kept[0][1]
    stream = io.StringIO()
    display = LiveDisplay(
        Console(
            file=io.StringIO(),
            width=WIDTH,
            height=HEIGHT,
            force_terminal=True,
            color_system="standard",
            legacy_windows=False,
            _environ={},
        ),
        Output(stream),
        ascii_only=False,
        refresh_seconds=PATIENCE,
        clock=lambda: clock,
        now=lambda: day,
    )
    display.suspend()
    for at, when, event in kept:
        if at > moment:
            break
        clock, day = at, when
        display.show(event)
    clock = moment
    display.offer_keys(are_read=True)
    display.resume()
    drawn = re.sub(r"\x1b\[[0-9]*[A-HJK]|\r", "", stream.getvalue())
    display.close()
    return svg_of(f"$ devloop watch\n{drawn}".rstrip("\n"))


def svg_of(text: str) -> str:
    """Set text with ANSI colours as a terminal window, with the fonts that the reader has."""
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False, _environ={}
    )
    for line in text.splitlines():
        console.print(Text.from_ansi(line), soft_wrap=False, highlight=False)
    form = inspect.signature(Console.export_svg).parameters["code_format"].default
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", form, flags=re.DOTALL)
    form = form.replace("Fira Code, monospace", FONTS)
    return console.export_svg(title="devloop watch", code_format=form, unique_id="devloop")


if __name__ == "__main__":
    sys.exit(main())
