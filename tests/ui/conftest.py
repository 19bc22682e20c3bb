"""What the tests of the views share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

CASES = Path(__file__).parents[1] / "cases" / "ui"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a file in cases/ui; GOLDEN=write accepts what is there now."""

    def compare(name: str, text: str) -> None:
        path = CASES / name
        # Escape codes are written as a visible sign, so that a diff can be read.
        shown = text.replace("\x1b", "␛").replace("\r", "␍")
        if os.environ.get("GOLDEN") == "write":
            path.write_text(shown, encoding="utf-8")
        assert shown == path.read_text(encoding="utf-8")

    return compare
