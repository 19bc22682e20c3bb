"""Events as JSON, one object a line: the schema `devloop.event/1`, described in docs/events.md."""

import json
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Final

from devloop.loop.events import Event, Explained, Planned
from devloop.plan.model import Plan
from devloop.ui.plantext import plan_target, rounded
from devloop.ui.stream import Output

SCHEMA: Final = "devloop.event/1"


def _local_now() -> datetime:
    return datetime.now().astimezone()


def event_name(event_type: type[Event]) -> str:
    """`BuildFinished` is `build_finished`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", event_type.__name__).lower()


def event_object(event: Event, time: datetime) -> dict[str, Any]:
    """Give `event` as a JSON object: schema, time and name first, then its own fields in their order.

    A plan is one target of `devloop.plan/1`; what that contract leaves out (the warnings, the ignored
    paths) stands beside it.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "time": time.isoformat(timespec="milliseconds"),
        "event": event_name(type(event)),
    }
    document |= {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
    if isinstance(event, Planned | Explained):
        document["warnings"] = _plain(event.plan.warnings)
        document["ignored"] = _plain(event.plan.ignored)
    return document


def _plain(value: object) -> Any:  # noqa: ANN401  a JSON value
    if isinstance(value, Plan):
        return plan_target(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return rounded(value) if isinstance(value, float) else value


class JsonLinesDisplay:
    """Writes every event as one JSON object a line, in ASCII."""

    def __init__(self, output: Output, *, now: Callable[[], datetime] = _local_now) -> None:
        self._output: Final = output
        self._now: Final = now

    def show(self, event: Event) -> None:
        """Write `event`; safe to call from any thread."""
        self._output.write(json.dumps(event_object(event, self._now())) + "\n")

    def close(self) -> None:
        """Nothing is held back, so there is nothing to do."""
