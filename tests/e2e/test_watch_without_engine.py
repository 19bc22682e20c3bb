"""`devloop watch` where no engine answers: it watches, predicts and warns, and says what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(web_api: Path, tmp_path: Path) -> Iterator[Session]:
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    with Session(web_api, environ=environ) as started:
        yield started


def test_it_says_what_is_missing_and_how_to_give_it(session: Session, tmp_path: Path) -> None:
    missing = session.wait_for("engine_missing")
    assert f"{tmp_path}/nobody.sock" in missing["message"]
    assert missing["hint"]
    session.wait_for("watching")
    assert session.stop() == 130
    assert "Traceback" not in session.stderr


def test_it_predicts_what_an_edit_would_run_and_what_that_would_cost(session: Session) -> None:
    session.wait_for("watching")
    path = "src/web_api/requirements.txt"
    session.save(path, "fastapi\n")
    planned = session.wait_for("planned", lambda event: event["saved"] == [path])
    assert planned["plan"]["changes"] == [{"path": path, "kind": "modified"}]
    ran = [step["instruction"] for step in planned["plan"]["steps"] if step["status"] == "run"]
    assert ran == ["COPY", "RUN", "COPY"]
    [warning] = planned["warnings"]
    assert warning["instruction"] == "RUN"
    assert warning["seconds_from"] == "estimate"
    assert session.since(0, "build_started", "deployed") == []
