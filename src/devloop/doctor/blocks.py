"""Instructions of a Dockerfile as blocks of lines, with the comments right above them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devloop.doctor.edits import line_end, lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.dockerfile.instructions import Dockerfile, Instruction


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of an instruction, with its comment or without; `has_gap` when a blank line stands above."""

    first: int
    last: int
    has_gap: bool


class Blocks:
    """The lines of one Dockerfile."""

    def __init__(self, source: bytes, dockerfile: Dockerfile) -> None:
        self.lines = lines_of(source)
        self.end = line_end(source)
        self._covered = {
            line for one in dockerfile.instructions for line in range(one.span.first, one.span.last + 1)
        }

    def text(self, first: int, last: int) -> bytes:
        """Return these lines; the last line of a file gets an end."""
        found = b"".join(self.lines[first - 1 : last])
        return found if not found or found.endswith(b"\n") else found + self.end

    def comment_above(self, instruction: Instruction) -> bytes:
        """Return the comment lines right above an instruction."""
        first = instruction.span.first
        return self.text(self._comment_start(first), first - 1)

    def of(self, instruction: Instruction, *, takes_comment: bool) -> Block:
        """Return the block of an instruction."""
        first = instruction.span.first
        first = self._comment_start(first) if takes_comment else first
        return Block(first, instruction.span.last, first > 1 and self._is_blank(first - 1))

    def end_of_removal(self, block: Block, *, is_replaced: bool) -> int:
        """Return the last line to take away: of two gaps around what goes, one goes with it."""
        after = block.last + 1
        if not is_replaced and block.has_gap and after <= len(self.lines) and self._is_blank(after):
            return after
        return block.last

    def joined(self, blocks: Sequence[Block], above: Instruction) -> bytes:
        """Return blocks to be put below an instruction, with a gap where they stood apart before."""
        gap = b""
        if any(self._stood_apart(block) for block in blocks):
            gap = self.end
        following = above.span.last + 1
        needs_gap_below = gap and following <= len(self.lines) and not self._is_blank(following)
        text = b"".join(self.text(block.first, block.last) for block in blocks)
        return gap + text + (self.end if needs_gap_below else b"")

    def _stood_apart(self, block: Block) -> bool:
        after = block.last + 1
        return after <= len(self.lines) and self._is_blank(after)

    def _comment_start(self, first: int) -> int:
        while first > 1 and self._is_comment(first - 1):
            first -= 1
        return first

    def _is_comment(self, number: int) -> bool:
        if number in self._covered:
            return False
        line = self.lines[number - 1].strip()
        return line.startswith(b"#") and not (number <= 3 and _is_directive(line))

    def _is_blank(self, number: int) -> bool:
        return number not in self._covered and not self.lines[number - 1].strip()


def _is_directive(line: bytes) -> bool:
    name = line[1:].partition(b"=")[0].strip().lower()
    return name in {b"syntax", b"escape", b"check"}
