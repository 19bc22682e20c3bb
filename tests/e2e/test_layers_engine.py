"""The steps are weighed by the image that was really built."""

from __future__ import annotations

import re
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
RUN <<X
#!/bin/sh
true
X
COPY ["Dockerfile", "./two words"]
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
    # An engine counts either bytes or blocks, and with the containerd store folders too.
    for line, least in {3: 1_900_000, 4: 0, 6: 3_000_000, 7: 50_000, 11: 0, 15: 0, 16: 0}.items():
        assert least <= shown_bytes(sizes[line]) <= least + 150_000, sizes[line]
    assert re.match(rf"devloop/{unique_name}:latest: 5\.\d MB in all", lines[-1])


def shown_bytes(line: str) -> float:
    found = re.search(r"  ([\d.]+) (B|kB|MB)(?:  |$)", line)
    assert found is not None, line
    return float(found[1]) * {"B": 1, "kB": 1e3, "MB": 1e6}[found[2]]
