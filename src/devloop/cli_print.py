"""How commands print to standard output: as wide as the terminal, in colour where that is wanted."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Style:
    """How plain text is printed here: as wide as the terminal, in colour where that is wanted."""

    def __init__(self) -> None:
        from devloop.ui.text import wants_ascii, wants_color

        is_terminal = sys.stdout.isatty()
        self.width = _width() if is_terminal else 100
        # What reads a table from a pipe wants whole names.
        self.table_width = self.width if is_terminal else 400
        self.options = {
            "ascii_only": wants_ascii(encoding=sys.stdout.encoding, environ=os.environ),
            "color": wants_color(is_terminal=is_terminal, environ=os.environ),
        }


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


def print_lines(render: "Callable[[Style], Sequence[str]]") -> None:
    """Print what a person reads, in the width and the colours of standard output."""
    style = Style()
    text = "\n".join(render(style)) + "\n"
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.flush()


def print_found(render: "Callable[[Style], Sequence[str]]", document: str | None) -> None:
    """Print a document where one was asked for, else what a person reads."""
    if document is not None:
        sys.stdout.write(document + "\n")
        return
    print_lines(render)
