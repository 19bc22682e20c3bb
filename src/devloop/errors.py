"""The root of everything that devloop raises on purpose."""


class DevloopError(Exception):
    """A known failure that ends the command: says what happened and what to try.

    The text is shown as it is; `hint`, where there is one, stands on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
