"""The steps are weighed by the image that was really built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.cli import run
from support.engine import BUSYBOX

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.docker

DOCKERFILE = f"""\
FROM {BUSYBOX} AS build
RUN head -c 3000000 /dev/zero > /big
FROM {BUSYBOX}
WORKDIR /app
ARG WORDS="a b"
COPY --from=build --chown=1:1 /big ./big
RUN <<X
head -c 50000 /dev/zero > mid
echo $WORDS
X
RUN ["rm", "big"]
"""


def test_each_step_shows_what_it_adds(
    tmp_path: Path, unique_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / unique_name
    project.mkdir()
    (project / "Dockerfile").write_text(DOCKERFILE)
    assert run(["layers", "--size", str(project)]) == 0
    assert f"there is no image devloop/{unique_name}:latest of this project" in capsys.readouterr().out
    assert run(["build", str(project), "--output", "plain"]) == 0
    capsys.readouterr()
    assert run(["layers", "--size", str(project)]) == 0
    lines = capsys.readouterr().out.splitlines()
    sizes = {int(line.split()[1]): line for line in lines[1:] if line[:1] in {"b", "1"}}
    assert "not in it" in sizes[2]
    for line, size in {3: "2.0 MB", 4: "0 B", 6: "3.0 MB", 7: "50 kB", 11: "0 B"}.items():
        assert f"  {size}" in sizes[line]
    assert lines[-1].startswith(f"devloop/{unique_name}:latest: 5.0 MB in all")
