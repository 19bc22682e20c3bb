"""A cargo workspace whose dependencies are built of stand-ins, on a real engine: the program is the real one.

Cargo goes by times of files, and a copied source is older than what was compiled of its stand-in. So what
counts is what the program says, when it is built first and after an edit of each kind of target.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.examine import Proving, examine
from devloop.doctor.rules_order import INSTALL
from devloop.doctor.trial import Trial
from devloop.plan.codes import FINDINGS
from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import DoctorSettings, Settings
from devloop.project.workspace import Workspace
from support.doctor import written
from support.engine import make_base_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from devloop.doctor.model import LineEdit

# The first test on a machine may have to make its bases.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

RUST = "rust:1.85-bookworm"
SLIM = "debian:bookworm-slim"
DOCKERFILE = f"""\
FROM {RUST} AS build
WORKDIR /src
COPY . .
RUN cargo build --locked -p shown
FROM {SLIM}
COPY --from=build /src/target/debug/shown /usr/local/bin/shown
CMD ["shown"]
"""
PACKAGE = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2021"\n'
LOCKED = '[[package]]\nname = "{}"\nversion = "0.1.0"\n'
FILES = {
    ".dockerignore": "Dockerfile\n.dockerignore\n",
    "Cargo.toml": '[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n',
    "Cargo.lock": "\n".join(
        (
            "version = 4\n",
            LOCKED.format("derived"),
            LOCKED.format("generator"),
            LOCKED.format("shown") + 'dependencies = ["generator", "texts"]\n',
            LOCKED.format("texts") + 'dependencies = ["derived"]\n',
        )
    ),
    "crates/shown/Cargo.toml": PACKAGE.format("shown")
    + '[dependencies]\ntexts = { path = "../texts" }\n'
    + '[build-dependencies]\ngenerator = { path = "../generator" }\n',
    "crates/shown/build.rs": (
        'fn main() { println!("cargo:rustc-env=GENERATED={} script", generator::text()); }\n'
    ),
    "crates/shown/src/main.rs": (
        'fn main() { println!("{} {} program", texts::text(), env!("GENERATED")); }\n'
    ),
    "crates/generator/Cargo.toml": PACKAGE.format("generator"),
    "crates/generator/src/lib.rs": 'pub fn text() -> &\'static str { "generator" }\n',
    "crates/texts/Cargo.toml": PACKAGE.format("texts")
    + '[dependencies]\nderived = { path = "../derived" }\n',
    "crates/texts/src/lib.rs": (
        "mod inner;\n#[derive(derived::Told)]\nstruct Here;\n"
        'pub fn text() -> String { format!("{} {} library", Here::told(), inner::TEXT) }\n'
    ),
    "crates/texts/src/inner.rs": 'pub const TEXT: &str = "module";\n',
    "crates/derived/Cargo.toml": PACKAGE.format("derived") + "[lib]\nproc-macro = true\n",
    "crates/derived/src/lib.rs": (
        "#[proc_macro_derive(Told)]\n"
        "pub fn told(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n"
        '    r#"impl Here { fn told() -> &\'static str { "macro" } }"#.parse().unwrap()\n}\n'
    ),
}
WORDS = {
    "macro": "crates/derived/src/lib.rs",
    "module": "crates/texts/src/inner.rs",
    "library": "crates/texts/src/lib.rs",
    "generator": "crates/generator/src/lib.rs",
    "script": "crates/shown/build.rs",
    "program": "crates/shown/src/main.rs",
}
LONG_AGO = 1_600_000_000


def test_a_workspace_that_was_built_of_stand_ins_has_the_real_program_after_each_edit(
    tmp_path: Path, engine: dict[str, str], unique_name: str
) -> None:
    for base in (RUST, SLIM):
        make_base_image(engine, base)
    folder = written(tmp_path / "project", DOCKERFILE, FILES)
    for path in FILES:
        os.utime(folder / path, (LONG_AGO, LONG_AGO))
    after = apply_edits(DOCKERFILE.encode(), _proven(folder, engine))
    assert b"echo 'fn main() {}'" in after
    (folder / "Dockerfile").write_bytes(after)
    assert _said(engine, folder, unique_name) == " ".join(WORDS)

    said = " ".join(WORDS)
    for number, (word, path) in enumerate(WORDS.items(), start=1):
        file = folder / path
        # A word of the text that is printed, and no other one of the same letters.
        text = file.read_text()
        at = max(text.rfind(f'"{word}'), text.rfind(f' {word}"'))
        file.write_text(text[:at] + text[at:].replace(word, f"{word}-anew", 1))
        os.utime(file, (LONG_AGO + number, LONG_AGO + number))
        said = said.replace(word, f"{word}-anew")
        assert _said(engine, folder, unique_name) == said


def _proven(folder: Path, engine: dict[str, str]) -> Sequence[LineEdit]:
    """Return the edits of the one finding about order; builds have shown that the image is the same."""
    ignored = Settings(doctor=DoctorSettings(ignore=sorted(FINDINGS - {INSTALL})))
    memory = Memory(locate(folder, ignored))
    try:
        workspace = Workspace.remembered(memory.location, ignored, memory, os.environ)
        with Trial.open(engine) as trial:
            (one,) = examine(workspace, Proving(engine=trial)).findings
    finally:
        memory.close()
    assert one.finding.proposal is not None, one.proof
    assert one.proof is not None
    verdicts = {check.name: check.verdict for check in one.proof.checks}
    assert [verdicts[each] for each in ("graph", "builds", "files", "configuration")] == ["passed"] * 4
    return one.finding.proposal.edits


def _said(engine: dict[str, str], folder: Path, name: str) -> str:
    """Build the image and return what its program prints."""
    _docker(engine, "build", "--quiet", "--tag", name, str(folder))
    return _docker(engine, "run", "--rm", name)


def _docker(engine: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        ("docker", *words), env=engine, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
