"""The root of everything that devloop raises on purpose, and what a command ends with."""

from typing import Final

EXIT_ERROR: Final = 1
EXIT_BUG: Final = 3
EXIT_OVER: Final = 4
"""A limit that was given with --fail-over is passed; nothing went wrong."""
EXIT_INTERRUPTED: Final = 130


class DevloopError(Exception):
    """A known failure that ends the command: says what happened and what to try.

    The text is shown as it is; `hint`, where there is one, stands on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
