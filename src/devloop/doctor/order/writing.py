"""Writes what is moved: lines as they stand, with their comments, gaps and line ends."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from devloop.cost.shell import commands_of
from devloop.dockerfile import instructions as ins
from devloop.doctor.blocks import Blocks
from devloop.doctor.edits import line_end
from devloop.doctor.model import LineEdit
from devloop.doctor.order.items import Item, destination_of
from devloop.doctor.order.passing import UnsureError
from devloop.doctor.rewrite import command_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devloop.dockerfile.instructions import Instruction
    from devloop.doctor.blocks import Block
    from devloop.doctor.model import Subject
    from devloop.doctor.needs.answers import Split

_MOST_COPIES: Final = 12
_LONGEST_LINE: Final = 110
_PLAIN_NAME: Final = re.compile(r"[\w./@+~-]+")


class Writer:
    """Writes the edits of one stage."""

    def __init__(self, subject: Subject, items: list[Item]) -> None:
        self.items = items
        self.blocks = Blocks(subject.source, subject.dockerfile)
        self.end = line_end(subject.source)
        self._escape = subject.dockerfile.escape
        self._links = frozenset(one.path for one in subject.paths if one.is_link)

    def moved_down(
        self, moved: list[Item], installs: list[Item], until: int, mixed: tuple[bytes, bytes] | None
    ) -> tuple[list[LineEdit], tuple[int, ...]]:
        """Put copies below the step at `until`, and the manifests of each install in their place.

        `mixed` are both halves of that step where it is cut in two. Also return the lines of its parts in the
        new text, none where it stays whole.
        """
        edits: list[LineEdit] = []
        copied: set[str] = set()
        kept = [item for item in self.items if item.placed and item not in moved]
        lines: dict[int, list[bytes]] = {}
        for number, item in enumerate(installs):
            for other in kept:
                if other.at < item.at:
                    copied.update(other.taken)
            for copy in moved:
                wanted = [path for path in item.reading.files if path not in copied and path in copy.taken]
                folders = [
                    folder
                    for folder in item.reading.folders
                    if any(path.startswith(f"{folder}/") and path not in copied for path in copy.taken)
                ]
                found = self._manifest_copies(copy, wanted, folders, at=item if number else copy)
                copied.update(wanted)
                copied.update(p for p in copy.taken if p.startswith(tuple(f"{one}/" for one in folders)))
                lines.setdefault(item.at if number else copy.at, []).extend(found)
        if sum(len(found) for found in lines.values()) > _MOST_COPIES:
            raise UnsureError(f"its manifests lie in more than {_MOST_COPIES} folders")
        last = self.items[until]
        blocks = []
        for copy in moved:
            block = self.blocks.of(copy.instruction, takes_comment=self._takes_comment(copy))
            text = b"".join(lines.pop(copy.at, []))
            edits.append(
                LineEdit(block.first, self.blocks.end_of_removal(block, is_replaced=bool(text)), text)
            )
            blocks.append(block)
        for at, found in lines.items():
            block = self.blocks.of(self.items[at].instruction, takes_comment=True)
            edits.append(LineEdit(block.first, block.first - 1, b"".join(found)))
        below, second = self._below(last, blocks, mixed)
        if not second:
            return [*edits, below], ()
        first = below.first + sum(
            one.text.count(b"\n") - (one.last - one.first + 1) for one in edits if one.last < below.first
        )
        return [*edits, below], (first, first + second)

    def _takes_comment(self, copy: Item) -> bool:
        comment = self.blocks.comment_above(copy.instruction).decode("utf-8", "replace").lower()
        if re.search(r"install|dependenc|requirement|package|module|\bdeps\b", comment):
            return "ignore=" in comment
        return True

    def _below(
        self, last: Item, blocks: Sequence[Block], mixed: tuple[bytes, bytes] | None
    ) -> tuple[LineEdit, int]:
        """Put the moved copies below a step; if it is cut, also say how far below its second part is."""
        span = last.instruction.span
        moved = self.blocks.joined(blocks, last.instruction)
        parts = mixed or self._split(last, self.blocks.text(span.first, span.last))
        if parts is None:
            return LineEdit(span.last + 1, span.last, moved), 0
        above = parts[0] + moved
        return LineEdit(span.first, span.last, above + parts[1]), above.count(b"\n")

    def _split(self, item: Item, raw: bytes) -> tuple[bytes, bytes] | None:
        """Write a step as two: what stands above the source and what below it."""
        split = item.reading.split
        if split is None:
            return None
        if split.insert:
            insert = self._run_keyword(raw) + self._flags(item.instruction) + self._chain(split.inserted)
            return insert, self._touching(item, raw, split) if split.touched else raw
        first = self._with_flag(raw, split)
        return first, raw if split.again else self._run_keyword(raw) + split.followed.encode() + self.end

    def _run_keyword(self, raw: bytes) -> bytes:
        found = re.match(rb"\s*(run)\s", raw, re.IGNORECASE)
        return (found[1] if found else b"RUN") + b" "

    def _flags(self, instruction: Instruction) -> bytes:
        """Return the options of a RUN, so that what is put above it runs under the same."""
        if not isinstance(instruction, ins.Run):
            return b""
        flags = [f"--mount={mount.raw}" for mount in instruction.mounts]
        flags += [f"--network={instruction.network}"] if instruction.network else []
        return "".join(f"{flag} " for flag in flags).encode("utf-8", "surrogateescape")

    def _chain(self, commands: Sequence[str]) -> bytes:
        """Join commands, on one line where they fit."""
        line = " && ".join(commands)
        if len(line) > _LONGEST_LINE:
            line = f" {self._escape}{self.end.decode()}    && ".join(commands)
        return line.encode("utf-8", "surrogateescape") + self.end

    def _touching(self, item: Item, raw: bytes, split: Split) -> bytes:
        run = item.instruction
        text = raw.decode("utf-8", "surrogateescape")
        at = command_start(text, self._escape)
        if at is None or not isinstance(run, ins.Run) or not isinstance(run.command, str) or run.heredocs:
            raise UnsureError("the step is not written as one line for the shell")
        paths = [posixpath.join(split.entered, path) for path in split.touched]
        command = " ".join(["touch -c", *paths])
        mark = f" && {self._escape}{self.end.decode()}    " if len(command) > _LONGEST_LINE else " && "
        return (text[:at] + command + mark + text[at:]).encode("utf-8", "surrogateescape")

    def _with_flag(self, raw: bytes, split: Split) -> bytes:
        pattern = _spaced(split.behind)
        found = pattern.search(raw)
        if found is None or len(pattern.findall(raw)) != 1:
            raise UnsureError(f"`{split.behind}` is not written once in the step")
        return raw[: found.end()] + b" " + split.flag.encode() + raw[found.end() :]

    def parts(self, item: Item) -> tuple[bytes, bytes]:
        """Cut a RUN of several commands behind those that read only manifests."""
        run = item.instruction
        work = item.reading
        raw = self.blocks.text(run.span.first, run.span.last)
        refusal = f"`{work.source}` in the same RUN reads the source"
        if not isinstance(run, ins.Run) or not isinstance(run.command, str) or run.heredocs or run.mounts:
            raise UnsureError(refusal)
        text = run.command
        if any(mark in raw for mark in (b"#", b"'", b'"')):
            raise UnsureError(refusal)
        entered = re.match(r"cd\s+([\w./-]+)\s*&&\s*", text)
        rest = text[entered.end() :] if entered else text
        if re.search(r"[;|(){}`$]|(?<!&)&(?!&)|\b(cd|export|set|if|for|source|\.)\s", rest):
            raise UnsureError(refusal)
        marks = list(re.finditer(rb"&&", raw))[1 if entered else 0 :]
        if not work.parts or len(marks) < work.parts or len(rest.split("&&")) != len(marks) + 1:
            raise UnsureError(refusal)
        if len(commands_of(rest)) != len(marks) + 1:
            raise UnsureError(refusal)
        mark = marks[work.parts - 1]
        escape = re.escape(self._escape.encode())
        head = re.sub(rb"(\s|" + escape + rb"\r?\n)+$", b"", raw[: mark.start()]) + self.end
        tail = re.sub(rb"^(\s|" + escape + rb"\r?\n)+", b"", raw[mark.end() :])
        folder = f"cd {entered[1]} && ".encode() if entered else b""
        return head, self._run_keyword(raw) + folder + tail

    def _manifest_copies(self, copy: Item, wanted: list[str], folders: list[str], *, at: Item) -> list[bytes]:
        """Write the COPY lines for some of the files that a copy takes, to the same places."""
        groups: dict[tuple[str, bool], list[str]] = {}
        for path in wanted:
            groups.setdefault((posixpath.dirname(path), False), []).append(copy.taken[path])
        for folder in folders:
            inside = next(path for path in copy.taken if path.startswith(f"{folder}/"))
            source = copy.taken[inside][: len(copy.taken[inside]) - (len(inside) - len(folder))]
            groups[folder, True] = [source]
        return [self._copy_line(copy, sources, folder, at) for (folder, _), sources in groups.items()]

    def _copy_line(self, copy: Item, sources: list[str], folder: str, at: Item) -> bytes:
        instruction = copy.instruction
        if not isinstance(instruction, ins.Copy | ins.Add) or any(
            not _PLAIN_NAME.fullmatch(one) for one in sources
        ):
            raise UnsureError("a manifest has a name with signs that a COPY reads in its own way")
        link = next((one for one in sources if one in self._links), None)
        if link is not None:
            # A COPY of the link itself follows it, and fails where it leads out of the context.
            raise UnsureError(f"{link} is a link, which a copy of its own follows")
        if any("$" in one for one in instruction.sources):
            raise UnsureError("the copy names its source by a variable")
        raw = self.blocks.text(instruction.span.first, instruction.span.last)
        keyword = b"copy" if raw.lstrip()[:4].islower() else b"COPY"
        flags = [
            *([f"--chown={instruction.chown}"] if instruction.chown else []),
            *([f"--chmod={instruction.chmod}"] if instruction.chmod else []),
            *(["--link"] if instruction.link else []),
        ]
        words = [*flags, *sources, self._destination(copy, folder, at)]
        return keyword + b" " + " ".join(words).encode("utf-8", "surrogateescape") + self.end

    def _destination(self, copy: Item, folder: str, at: Item) -> str:
        base = copy.destination
        text = destination_of(copy)
        here, other = copy.step, at.step
        is_elsewhere = here and other and other.workdir != here.workdir and not text.startswith("/")
        is_below = folder == base or folder.startswith(f"{base.rstrip('/')}/")
        if is_elsewhere or not is_below or any(mark in text for mark in "\"'\\"):
            return folder.rstrip("/") + "/"
        text = "./" if text in {".", "./"} else text if text.endswith("/") else f"{text}/"
        inside = folder[len(base.rstrip("/")) :].strip("/")
        return f"{text}{inside}/" if inside else text

    def raised(self, steps: Sequence[Item], above: Item) -> list[LineEdit]:
        """Put steps above an instruction as they stand, with their comments."""
        edits: list[LineEdit] = []
        texts: list[bytes] = []
        for item in steps:
            block = self.blocks.of(item.instruction, takes_comment=True)
            edits.append(LineEdit(block.first, self.blocks.end_of_removal(block, is_replaced=False), b""))
            texts.append(self.blocks.text(block.first, block.last))
        target = self.blocks.of(above.instruction, takes_comment=True)
        gap = (
            self.end
            if any(self.blocks.of(one.instruction, takes_comment=True).has_gap for one in steps)
            else b""
        )
        edits.append(LineEdit(target.first, target.first - 1, gap.join(texts) + gap))
        return edits


def _spaced(words: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"\b" + rb"\s+".join(re.escape(word.encode()) for word in words.split()) + rb"(?![\w-])"
    )
