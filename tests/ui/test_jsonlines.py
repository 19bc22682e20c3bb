"""Events as JSON lines, and the page that describes them."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devloop.loop.events import BuildFinished, Event, Planned, StepFinished
from devloop.ui.jsonlines import JsonLinesDisplay, event_name, event_object
from devloop.ui.plantext import plan_target
from devloop.ui.stream import Output
from support.event_docs import EVENTS, NOTES, page
from support.made_up_session import list_plan, nothing_plan, session

NOW = datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=UTC)
DOCS = Path(__file__).parents[2] / "docs" / "events.md"


def written(event: Event) -> str:
    stream = io.StringIO()
    display = JsonLinesDisplay(Output(stream), now=lambda: NOW)
    display.show(event)
    display.close()
    return stream.getvalue()


def test_an_event_is_one_line() -> None:
    assert written(StepFinished("web 5/6", 7, "RUN a\nb", "run", 1.23456)) == (
        '{"schema": "devloop.event/1", "time": "2026-03-14T09:26:53.589+00:00", "event": "step_finished", '
        '"label": "web 5/6", "line": 7, "text": "RUN a\\nb", "status": "run", "seconds": 1.235}\n'
    )


def test_a_plan_has_the_form_of_the_contract_and_its_warnings_stand_beside_it() -> None:
    document = event_object(Planned(list_plan(), ("a",)), NOW)
    assert document["plan"] == plan_target(list_plan())
    assert [warned["code"] for warned in document["warnings"]] == ["expensive-rerun"]
    assert set(document["warnings"][0]) == {
        *("code", "line", "instruction", "text", "seconds"),
        *("seconds_from", "note", "why", "way_out", "manifest", "repeats"),
    }
    assert event_object(Planned(nothing_plan(), ("README.md",)), NOW)["ignored"] == [
        "README.md is ignored by .dockerignore:7 (*.md)"
    ]


@pytest.mark.parametrize("event", [event for _, event in session()])
def test_every_event_is_a_line_of_ascii_that_parses(event: Event) -> None:
    line = written(event)
    assert line.isascii()
    assert line.count("\n") == 1
    document = json.loads(line)
    assert list(document)[:3] == ["schema", "time", "event"]
    assert document["event"] == event_name(type(event))


def test_a_name_that_is_not_utf8_is_written_all_the_same() -> None:
    assert "\\udcff" in written(BuildFinished("failed", 1.0, 0, 0, "no \udcff here"))


def test_the_made_up_session_shows_every_event() -> None:
    assert {type(event) for _, event in session()} == set(EVENTS)


def test_the_notes_of_the_page_name_the_fields_that_exist() -> None:
    assert {name: set(notes) for name, notes in NOTES.items()} == {
        event.__name__: set(event.__dataclass_fields__) for event in EVENTS
    }


def test_the_page_about_events_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == page()
