"""Records what BuildKit says about small builds, for `tests/cases/rawjson`.

Run by hand against a real engine: `python tests/engine/record.py CASE...`, all without arguments. `link`
and `platforms` want an engine with the containerd image store, `old-client` buildx 0.13.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).parent.parent / "cases" / "rawjson"
REGISTRY = b"".join((b"docker", b".io/library/"))
BUSYBOX = "devloop-test-busybox:latest"
MULTI = f"""\
FROM {BUSYBOX} AS base
WORKDIR /app
ENV A=1
FROM base AS build
COPY src/ src/
RUN --mount=type=cache,target=/c echo building; cat src/a > out
FROM base
COPY --from=build /app/out .
RUN <<EOR
echo hi
EOR
COPY <<EOC /x
hello
EOC
COPY --chown=1000:7 --chmod=640 main.py .
CMD ["cat", "out"]
"""
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {
    # name: Dockerfile, options, which build of an unchanged context is recorded
    "first": (MULTI, (), 1),
    "second": (MULTI, (), 2),
    "scratch-first": ("FROM scratch\nWORKDIR /NONCE\nCOPY nonce ./\n", (), 1),
    "scratch-second": ("FROM scratch\nWORKDIR /NONCE\nCOPY nonce ./\n", (), 2),
    "scratch-alone-second": ("FROM scratch\nWORKDIR /NONCE\n", (), 2),
    "twins": (
        (
            f"FROM {BUSYBOX} AS one\nCOPY src/a /x\nRUN sleep 0.2; cat /x > /y\n"
            f"FROM {BUSYBOX} AS two\nCOPY other/a /x\nRUN sleep 0.2; cat /x > /y\n"
            "FROM scratch\nCOPY --from=one /y /one\nCOPY --from=two /y /two\n"
        ),
        (),
        1,
    ),
    "merged-lines": (
        (
            f"FROM {BUSYBOX} AS one\nWORKDIR /app\nFROM {BUSYBOX} AS two\nWORKDIR /app\n"
            "COPY nonce ./\nCOPY --from=one /app /all/\n"
        ),
        (),
        1,
    ),
    "onbuild": (
        f"FROM {BUSYBOX} AS base\nONBUILD RUN echo trigger\nONBUILD WORKDIR /z\nFROM base\nCOPY nonce /\n",
        (),
        1,
    ),
    "run-fails": (
        f"FROM {BUSYBOX}\nCOPY nonce /\nRUN echo one; \\\n    echo two >&2; \\\n    exit 3\nRUN echo never\n",
        (),
        1,
    ),
    "source-missing": (
        f"FROM {BUSYBOX}\nCOPY nonce /\nRUN sleep 0.3; echo slow\nRUN exit 3\nCOPY nope /\n",
        (),
        1,
    ),
    "parse-error": (f"FROM {BUSYBOX}\n\nFRUN echo\n", (), 1),
    "no-such-target": (f"FROM {BUSYBOX}\nRUN true\n", ("--target", "nowhere"), 1),
    "warning": (f"FROM {BUSYBOX} as base\nCOPY nonce /\n", (), 1),
    "link": (f"FROM {BUSYBOX}\nWORKDIR /app\nCOPY --link nonce ./\nRUN cat nonce\n", (), 1),
    "platforms": ("FROM scratch\nCOPY nonce /\n", ("--platform", "linux/amd64,linux/arm64"), 1),
    "old-client": (MULTI, (), 1),
}


def main(names: list[str]) -> None:
    for name in names or [*CASES]:
        dockerfile, options, which = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            nonce = uuid.uuid4().hex
            for path in ("src/a", "other/a", "main.py", "nonce"):
                (context / path).parent.mkdir(exist_ok=True)
                (context / path).write_text(nonce)
            (context / "Dockerfile").write_text(dockerfile.replace("NONCE", nonce))
            for _ in range(which):
                record(name, context, options)


def record(name: str, context: Path, options: tuple[str, ...]) -> None:
    metadata = context.parent / f"{context.name}.json"
    metadata.unlink(missing_ok=True)
    result = subprocess.run(
        ["docker", "buildx", "build", "--progress=rawjson", "--metadata-file", metadata, *options, context],
        env={**os.environ, "BUILDX_METADATA_PROVENANCE": "max", "BUILDX_GIT_INFO": "false"},
        stderr=subprocess.PIPE,
        check=False,
    )
    stream = result.stderr.replace(REGISTRY, b"registry.test/")
    case = HERE / name
    case.mkdir(parents=True, exist_ok=True)
    (case / "Dockerfile").write_bytes((context / "Dockerfile").read_bytes())
    (case / "stream.jsonl").write_bytes(stream)
    (case / "metadata.json").unlink(missing_ok=True)
    if metadata.is_file():
        raw = metadata.read_bytes().replace(REGISTRY, b"registry.test/")
        text = json.dumps(trimmed(json.loads(raw)), separators=(",", ":")) + "\n"
        (case / "metadata.json").write_text(text)
        metadata.unlink()
    sys.stdout.write(f"{name}: exit {result.returncode}, {len(stream)} bytes\n")


UNREAD = {"sysUsage", "resourceUsage", "infos", "materials", "invocation", "buildx.build.ref"}


def trimmed(value: object) -> object:
    """Leave out what is long and read by nobody."""
    if isinstance(value, dict):
        return {key: trimmed(one) for key, one in value.items() if key not in UNREAD}
    return [trimmed(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(sys.argv[1:])
