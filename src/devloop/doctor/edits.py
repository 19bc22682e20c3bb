"""Line edits carried out and shown as a unified diff: what no edit names keeps every byte."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.doctor.model import LineEdit

_CONTEXT = 3


class EditsClash(ValueError):  # noqa: N818 - it names what happened
    """Two edits touch the same line, or one names a line that is not there."""


def lines_of(source: bytes) -> list[bytes]:
    """Split into lines with their ends, as the parser counts them: only a line feed ends one."""
    return source.splitlines(keepends=True) if b"\r" not in source else _split(source)


def _split(source: bytes) -> list[bytes]:
    parts = source.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def line_end(source: bytes) -> bytes:
    """Return the end that the first line has, a line feed where there is none."""
    return b"\r\n" if source.partition(b"\n")[0].endswith(b"\r") else b"\n"


def apply_edits(source: bytes, edits: Iterable[LineEdit]) -> bytes:
    """Carry out edits that all count the lines of `source`; inserts at one line keep their order.

    A last line without an end gets one where something now follows it. Raises EditsClash.
    """
    lines = lines_of(source)
    ordered = sorted(edits, key=lambda edit: (edit.first, edit.last))
    found: list[bytes] = []
    at = 1
    for edit in ordered:
        if edit.first < at or not edit.first - 1 <= edit.last <= len(lines):
            raise EditsClash(f"an edit of lines {edit.first} to {edit.last}")
        found += [*lines[at - 1 : edit.first - 1], edit.text]
        at = edit.last + 1
    found += lines[at - 1 :]
    kept = [one for one in found if one]
    end = line_end(source)
    return b"".join(one if one.endswith(b"\n") or one is kept[-1] else one + end for one in kept)


def unified_diff(before: bytes, after: bytes, name: str) -> tuple[str, ...]:
    """Return the lines of a unified diff without their ends, empty where nothing differs."""
    old, new = lines_of(before), lines_of(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    found: list[str] = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        first, last = group[0], group[-1]
        found.append(f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@")
        for tag, one, two, three, four in group:
            if tag == "equal":
                found += _marked(" ", old[one:two])
                continue
            found += [*_marked("-", old[one:two]), *_marked("+", new[three:four])]
    if not found:
        return ()
    origin = f"--- a/{name}" if before else "--- /dev/null"
    return (origin, f"+++ b/{name}", *found)


def _range(start: int, end: int) -> str:
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _marked(mark: str, lines: Sequence[bytes]) -> list[str]:
    found: list[str] = []
    for line in lines:
        found.append(mark + line.decode("utf-8", "surrogateescape").removesuffix("\n"))
        if not line.endswith(b"\n"):
            found.append("\\ No newline at end of file")
    return found
