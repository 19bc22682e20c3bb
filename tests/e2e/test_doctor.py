"""`devloop doctor` on a real engine, as a user starts it: the two bad examples that everybody knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from support.engine import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Ask = Callable[..., str]

pytestmark = pytest.mark.docker

# Installers that take their time and leave what the real ones leave, without a network.
BASE = """\
FROM {busybox}
COPY <<'EOF' /bin/pip
#!/bin/sh
sleep 1
mkdir -p /root/.cache/pip /packages
cat requirements.txt > /packages/installed
EOF
COPY <<'EOF' /bin/go
#!/bin/sh
case $1 in
    mod) sleep 1 && mkdir -p /go/pkg/mod && cat go.sum > /go/pkg/mod/modules ;;
    build) mkdir -p /root/.cache/go-build && cat /go/pkg/mod/modules main.go > "$3" && chmod +x "$3" ;;
esac
EOF
RUN chmod +x /bin/pip /bin/go && echo {name} > /name
"""

PYTHON = """\
FROM {base}
WORKDIR /app

# Everything, and then what it needs.
COPY . .
RUN pip install -r requirements.txt

CMD ["cat", "app.py"]
"""
PYTHON_FILES = {"requirements.txt": "flask\n", "app.py": "one\n"}
PYTHON_DIFF = """\
--- a/Dockerfile
+++ b/Dockerfile
@@ -1,8 +1,9 @@
 FROM {base}
 WORKDIR /app
~
+COPY requirements.txt ./
+RUN pip install -r requirements.txt
 # Everything, and then what it needs.
 COPY . .
-RUN pip install -r requirements.txt
~
 CMD ["cat", "app.py"]
"""

GO = """\
FROM {base} AS builder
WORKDIR /src
COPY . .
RUN go mod download
RUN go build -o /main .

FROM scratch
COPY --from=builder /main /main
CMD ["/main"]
"""
GO_FILES = {
    "go.mod": "module example.test/main\n\ngo 1.23\n\nrequire golang.org/x/text v0.20.0\n",
    "go.sum": "golang.org/x/text v0.20.0 h1:x\n",
    "main.go": "package main\n\nfunc main() {}\n",
}
GO_DIFF = """\
--- a/Dockerfile
+++ b/Dockerfile
@@ -1,7 +1,8 @@
 FROM {base} AS builder
 WORKDIR /src
+COPY go.mod go.sum ./
+RUN go mod download
 COPY . .
-RUN go mod download
 RUN go build -o /main .
~
 FROM scratch
"""


@dataclass(frozen=True, slots=True)
class Example:
    """A bad example: an edit of `source` runs `install` again, until `diff` is applied.

    Building a proof takes a while: `options` say whether this example waits for it.
    """

    dockerfile: str
    files: Mapping[str, str]
    diff: str
    source: str
    install: str
    options: tuple[str, ...]
    checks: frozenset[str]


READ = frozenset({"reads", "graph", "history"})
BUILT = frozenset({"builds", "files", "configuration", "edits"})
SINGLE_STAGE = Example(PYTHON, PYTHON_FILES, PYTHON_DIFF, "app.py", "pip install", ("--no-build",), READ)
MULTI_STAGE = Example(GO, GO_FILES, GO_DIFF, "main.go", "go mod download", (), READ | BUILT)


@pytest.fixture
def base(engine: dict[str, str], unique_name: str) -> str:
    """An image whose installers need no network; it has a version, as bases should have."""
    tag = f"{unique_name}-base:1"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, "-"],
        input=BASE.format(busybox=BUSYBOX, name=unique_name),
        env=engine,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return tag


@pytest.fixture
def devloop(tmp_path: Path, engine: dict[str, str], unique_name: str, state_dir: Path) -> Ask:
    """Run a command in the project's folder and return what it prints."""

    def ask(*arguments: str) -> str:
        options = ["--name", unique_name] if arguments[0] == "build" else []
        done = subprocess.run(
            [sys.executable, "-m", "devloop", *arguments, *options],
            cwd=tmp_path / "project",
            env={**os.environ, **engine, "DEVLOOP_STATE_DIR": str(state_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return ask


def commit(project: Path, what: str) -> None:
    """Commit all there is as somebody who works there."""
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.test", "-c", "init.defaultBranch=main")
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", what)):
        subprocess.run(["git", *person, *command], cwd=project, env=environ, check=True, timeout=30)


def write(project: Path, dockerfile: str, files: Mapping[str, str]) -> None:
    project.mkdir()
    (project / "Dockerfile").write_text(dockerfile)
    (project / ".dockerignore").write_text(".git\n.dockerignore\nDockerfile\n")
    for path, text in files.items():
        (project / path).write_text(text)


def ran(devloop: Ask, what: str) -> bool:
    """Whether the step that holds this text ran in a build of the tree as it is now."""
    devloop("build")
    document: dict[str, Any] = json.loads(devloop("why", "--json"))
    (step,) = [step for step in document["build"]["steps"] if what in step["text"]]
    return bool(step["status"] == "run")


@pytest.mark.parametrize("example", [SINGLE_STAGE, MULTI_STAGE], ids=["single-stage", "multi-stage"])
def test_a_bad_order_is_found_proven_and_mended_and_then_an_edit_installs_nothing(
    example: Example, base: str, devloop: Ask, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    source = project / example.source
    write(project, example.dockerfile.format(base=base), example.files)
    commit(project, "begin")
    assert ran(devloop, example.install)
    for number in range(6):
        source.write_text(f"edit {number}\n")
        commit(project, f"edit {number}")
    assert ran(devloop, example.install), "the example is bad: an edit of the source installs again"

    # The installs were measured as short: the order matters, a cache mount does not.
    (found,) = json.loads(devloop("doctor", "--json", *example.options))["findings"]
    assert found["code"] == "source-before-install"
    passed = {check["name"] for check in found["checks"] if check["verdict"] == "passed"}
    assert passed == example.checks, found["checks"]

    diff = example.diff.format(base=base).replace("~", " ")
    assert devloop("doctor", "--no-build", "--diff") == diff
    devloop("doctor", "--no-build", "--fix")
    assert devloop("doctor", "--no-build", "--diff") == ""

    devloop("build")
    source.write_text("another edit\n")
    assert not ran(devloop, example.install), (project / "Dockerfile").read_text()
