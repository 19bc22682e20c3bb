"""A cargo project is built once of stand-ins, where every file that it begins with is known for certain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devloop.doctor.edits import apply_edits
from devloop.doctor.rules_order import RULES as ORDER
from support.doctor import subject

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from devloop.doctor.model import Finding

APP = '[package]\nname = "app"\nversion = "0.1.0"\n'
WORKSPACE = {
    "Cargo.toml": '[workspace]\nmembers = ["crates/*"]\nexclude = ["crates/scratch"]\n',
    "Cargo.lock": "",
    "crates/app/Cargo.toml": f'{APP}[dependencies]\ncore = {{ path = "../core" }}\n',
    "crates/app/src/main.rs": "fn main() {}\n",
    "crates/core/Cargo.toml": '[package]\nname = "core"\n[[bench]]\nname = "speed"\nharness = false\n',
    "crates/core/build.rs": "fn main() {}\n",
    "crates/core/src/lib.rs": "",
    "crates/core/src/deep/inner.rs": "",
    "crates/core/benches/speed.rs": "fn main() {}\n",
    "crates/scratch/Cargo.toml": '[package]\nname = "scratch"\n',
}


def found(
    folder: Path, files: Mapping[str, str], run: str = "cargo build --release", head: str = ""
) -> Finding:
    return only(folder, f"{head}COPY . .\nRUN {run}\n", files)


def only(folder: Path, lines: str, files: Mapping[str, str]) -> Finding:
    """Return the one finding about these lines."""
    dockerfile = f"FROM rust:1.80\nWORKDIR /app\n{lines}"
    (finding,) = [one for rule in ORDER for one in rule(subject(folder, dockerfile, files))]
    return finding


def proposed(folder: Path, files: Mapping[str, str], run: str = "cargo build --release") -> list[str]:
    """Return what is proposed for the lines from the first copy on."""
    dockerfile = f"FROM rust:1.80\nWORKDIR /app\nCOPY . .\nRUN {run}\n"
    project = subject(folder, dockerfile, files)
    (finding,) = [one for rule in ORDER for one in rule(project)]
    assert finding.proposal is not None, finding.stops
    return apply_edits(project.source, finding.proposal.edits).decode().splitlines()[2:]


def test_every_package_of_a_workspace_gets_stand_ins_and_its_real_files_are_touched(tmp_path: Path) -> None:
    assert proposed(tmp_path, WORKSPACE) == [
        "COPY Cargo.toml Cargo.lock ./",
        "COPY crates/app/Cargo.toml ./crates/app/",
        "COPY crates/core/Cargo.toml ./crates/core/",
        "RUN mkdir -p crates/app/src crates/core/benches crates/core/src \\",
        (
            "    && echo 'fn main() {}'"
            " | tee crates/app/src/main.rs crates/core/build.rs crates/core/benches/speed.rs > /dev/null \\"
        ),
        "    && touch crates/core/src/lib.rs \\",
        "    && cargo build --release",
        "COPY . .",
        (
            "RUN touch -c crates/app/src/main.rs crates/core/src/lib.rs crates/core/build.rs"
            " && cargo build --release"
        ),
    ]


def test_a_fetch_needs_stand_ins_and_no_touch(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n", "src/bin/tool.rs": "fn main() {}\n"}
    assert proposed(tmp_path, files, "cargo fetch --locked") == [
        "COPY Cargo.toml ./",
        (
            "RUN mkdir -p src/bin && echo 'fn main() {}' | tee src/main.rs src/bin/tool.rs > /dev/null"
            " && cargo fetch --locked"
        ),
        "COPY . .",
        "RUN cargo fetch --locked",
    ]


def test_the_folder_and_the_variables_of_the_build_hold_for_its_stand_ins(tmp_path: Path) -> None:
    files = {"api/Cargo.toml": f'{APP}[lib]\npath = "lib/x.rs"\n', "api/lib/x.rs": "", "web/a.js": ""}
    assert proposed(tmp_path, files, "cd api && RUSTFLAGS=-Copt-level=1 cargo build") == [
        "COPY api/Cargo.toml ./api/",
        "RUN cd api && mkdir -p lib && touch lib/x.rs && RUSTFLAGS=-Copt-level=1 cargo build",
        "COPY . .",
        "RUN touch -c api/lib/x.rs && cd api && RUSTFLAGS=-Copt-level=1 cargo build",
    ]


def test_a_secret_of_the_build_is_there_for_its_stand_ins_too(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n"}
    assert proposed(tmp_path, files, "--mount=type=secret,id=token cargo build") == [
        "COPY Cargo.toml ./",
        "RUN --mount=type=secret,id=token mkdir -p src && echo 'fn main() {}' > src/main.rs && cargo build",
        "COPY . .",
        "RUN --mount=type=secret,id=token touch -c src/main.rs && cargo build",
    ]


@pytest.mark.parametrize(
    ("manifest", "more", "reason"),
    [
        (
            APP + '[dependencies]\nx = { path = "../x" }\n',
            {},
            "Cargo.toml takes x from ../x, which is not copied here",
        ),
        (
            '[workspace]\nmembers = ["api", "gone"]\n',
            {"api/Cargo.toml": APP, "api/src/main.rs": ""},
            "the member gone of the workspace is not copied above the build",
        ),
        (
            '[workspace]\nmembers = ["{a,b}"]\n',
            {},
            "the members of the workspace are named by a pattern that is not followed here",
        ),
        (
            APP + '[patch.crates-io]\nserde = { path = "serde" }\n',
            {"serde/Cargo.toml": APP},
            "Cargo.toml replaces a dependency by a local one, which others are compiled with",
        ),
        (
            APP + '[[bin]]\nname = "tool"\n',
            {},
            "Cargo.toml names tool, which is not copied above",
        ),
        (
            APP + '[lints.rust]\nmissing_docs = "deny"\n',
            {},
            "an empty library may break the lint missing_docs of Cargo.toml",
        ),
        (
            APP,
            {".cargo/config.toml": '[source.vendored-sources]\ndirectory = "vendor"\n'},
            "the settings of cargo name files of the project",
        ),
        (
            APP,
            {".cargo/config.toml": '[build]\nrustflags = ["-C", "link-arg=-Tlink.x"]\n', "link.x": "1"},
            "the settings of cargo name files of the project",
        ),
        (
            APP,
            {".cargo/config.toml": '[build]\ntarget = "thumbv7em-none-eabi"\n'},
            "it builds for a target that may have no standard library",
        ),
    ],
)
def test_what_is_not_known_for_certain_is_named(
    tmp_path: Path, manifest: str, more: Mapping[str, str], reason: str
) -> None:
    finding = found(tmp_path, {"Cargo.toml": manifest, "src/main.rs": "fn main() {}\n", **more})
    assert finding.proposal is None
    assert finding.stops == reason


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (
            "rustup target add x86_64-unknown-linux-musl && cargo build --target x86_64-unknown-linux-musl",
            "`rustup target` in the same RUN may prepare what it needs",
        ),
        ("export RUSTFLAGS=-g && cargo build", "the RUN sets variables for its commands"),
        ("cargo build --features $FEATURES", "the words of cargo build hold variables or quotes"),
        ("cargo build --all-targets", "cargo builds tests and examples too"),
        ("RUSTFLAGS=$FLAGS cargo build", "its variables are set from others"),
    ],
)
def test_a_build_that_a_step_of_its_own_may_not_repeat_stays(tmp_path: Path, run: str, reason: str) -> None:
    finding = found(tmp_path, {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n"}, run)
    assert finding.proposal is None
    assert finding.stops == reason


def test_a_user_that_does_not_own_the_source_cannot_touch_it(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n"}
    finding = found(tmp_path, files, head="USER app\n")
    assert finding.proposal is None
    assert finding.stops == "app may not write where the source is copied: stand-ins have to"


def test_what_a_build_does_not_write_into_may_be_closed_to_its_user(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "Cargo.lock": "", "src/main.rs": "fn main() {}\n"}
    head = "USER app\nENV CARGO_TARGET_DIR=/tmp/target\n"
    finding = only(tmp_path, f"{head}COPY --chown=app . .\nRUN cargo build --locked\n", files)
    assert finding.proposal is None
    assert finding.stops == "app may not write where the source is copied: stand-ins have to"


def test_root_would_keep_the_folders_of_stand_ins_for_itself(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n"}
    finding = only(tmp_path, "COPY Cargo.toml ./\nCOPY --chown=app src src\nRUN cargo build\n", files)
    assert finding.proposal is None
    assert finding.stops == "root would own the folders of what stands in for the source"


def test_a_file_that_is_copied_on_its_own_is_not_replaced_for_good(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "build.rs": "fn main() {}\n", "src/main.rs": "fn main() {}\n"}
    for run in ("cargo build", "cargo fetch"):
        finding = only(tmp_path / run, f"COPY Cargo.toml build.rs ./\nCOPY src src\nRUN {run}\n", files)
        assert finding.proposal is None
        assert finding.stops == "build.rs is copied on its own, and the build needs a stand-in for it"


def test_a_build_gets_no_words_that_only_an_install_takes(tmp_path: Path) -> None:
    files = {"Cargo.toml": APP, "src/main.rs": "fn main() {}\n"}
    lines = proposed(tmp_path, files, "cargo install --locked --no-track --debug --root /out --path .")
    assert lines[1].endswith("&& cargo build --locked")


def test_a_package_below_another_workspace_needs_the_members_of_that_one(tmp_path: Path) -> None:
    files = {
        "Cargo.toml": '[workspace]\nmembers = ["api"]\n',
        "api/Cargo.toml": APP,
        "api/src/main.rs": "fn main() {}\n",
    }
    finding = found(tmp_path, files, "cd api && cargo build")
    assert finding.proposal is None
    assert finding.stops == "the workspace above has members that cargo reads too"
