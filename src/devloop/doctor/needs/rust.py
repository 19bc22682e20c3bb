"""What cargo reads, and what has to stand in for the source of a package."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from devloop.doctor.needs.answers import Answer, Needs, Reader, Source, Split, StoppedError, Where
from devloop.doctor.needs.reading import has_flag, table, toml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devloop.cost.shell import Command


def _cargo_build(command: Command, where: Where) -> Answer:
    verb = next((word for word in command.arguments if word[0] not in "+-"), "")
    if verb not in {"build", "b"} or not where.present("Cargo.toml"):
        return Source(f"cargo {verb}")
    if has_flag(
        command, "--manifest-path", "-p", "--package", "--bin", "--example", "--workspace", "-C", "--lib"
    ):
        raise StoppedError("cargo builds a part of the project by name")
    document = toml(where, "Cargo.toml")
    reasons = (
        ("workspace" in document, "the members of a cargo workspace have to be there to be read"),
        ("package" not in document, "Cargo.toml describes no package"),
        (
            bool(where.present("build.rs")) or "build" in table(document.get("package")),
            "build.rs is compiled too",
        ),
        ("default-run" in table(document.get("package")), "Cargo.toml names the program that runs"),
        (
            any(name in document for name in ("bin", "lib", "bench", "example", "test")),
            "Cargo.toml names its targets",
        ),
        (not where.present("src/main.rs"), "there is no src/main.rs to stand in for"),
        ("patch" in document or "replace" in document, "Cargo.toml replaces dependencies"),
    )
    for is_so, reason in reasons:
        if is_so:
            raise StoppedError(reason)
    for group in ("dependencies", "dev-dependencies", "build-dependencies", "target"):
        if '"path"' in json.dumps(document.get(group, {})):
            raise StoppedError("Cargo.toml takes a dependency from a path")
    if any(not re.fullmatch(r"[\w@%+=:,./-]+", word) for word in command.words):
        raise StoppedError("the words of cargo build hold variables or quotes")
    files = where.present(
        *("Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"),
        *(".cargo/config.toml", ".cargo/config"),
    )
    has_library = bool(where.present("src/lib.rs"))
    stand_ins = "echo 'fn main() {}' > src/main.rs" + (" && touch src/lib.rs" if has_library else "")
    touched = "touch src/main.rs" + (" src/lib.rs" if has_library else "")
    return Needs(
        files,
        fills=(where.at("target"),),
        split=Split(
            insert=f"mkdir -p src && {stand_ins} && {' '.join(command.words)}",
            prefix=f"{touched} && ",
            kind="cargo-build",
        ),
    )


def _cargo_fetch(command: Command, where: Where) -> Answer:
    if "fetch" not in command.arguments or not where.present("Cargo.toml"):
        return Source("cargo")
    raise StoppedError(
        "cargo reads the targets of a package before it fetches, so that its source must be there"
    )


READERS: Final[Mapping[str, Reader]] = {
    "cargo-build": _cargo_build,
    "cargo-fetch": _cargo_fetch,
}
