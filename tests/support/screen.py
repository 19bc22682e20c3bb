"""A terminal as small as the live view needs: text, carriage return, cursor up, erase, wrapped lines."""

import re

_TOKEN = re.compile(r"\x1b\[(?P<number>[0-9;]*)(?P<final>[A-Za-z])|(?P<char>.)", re.DOTALL)


class Screen:
    """Keeps every row that was ever written; a sequence it does not know is an error."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rows: list[list[str]] = [[]]
        self._joined: set[int] = set()  # rows that continue the row above them
        self._y = 0
        self._x = 0

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self._rows).rstrip("\n")

    def feed(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["char"] is None:
                self._control(token["final"], token["number"])
            elif token["char"] == "\n":
                self._down()
            elif token["char"] == "\r":
                self._x = 0
            else:
                self._put(token["char"])

    def resize(self, width: int) -> None:
        """Break the rows anew, as nearly all terminals do, with the cursor at the end as it was."""
        lines: list[list[str]] = []
        for index, row in enumerate(self._rows):
            if index in self._joined:
                lines[-1] += row
            else:
                lines.append(list(row))
        self._width, self._rows, self._joined = width, [], set()
        for line in lines:
            for start in range(0, max(len(line), 1), width):
                if start:
                    self._joined.add(len(self._rows))
                self._rows.append(line[start : start + width])
        self._y = len(self._rows) - 1
        self._x = len(self._rows[-1])

    def _down(self) -> None:
        self._y, self._x = self._y + 1, 0
        if self._y == len(self._rows):
            self._rows.append([])

    def _put(self, char: str) -> None:
        if self._x == self._width:
            self._down()
            self._joined.add(self._y)
        row = self._rows[self._y]
        row += [" "] * (self._x + 1 - len(row))
        row[self._x] = char
        self._x += 1

    def _control(self, final: str, number: str) -> None:
        match final:
            case "A":
                self._y = max(self._y - int(number or 1), 0)
            case "J":
                del self._rows[self._y + 1 :]
                del self._rows[self._y][self._x :]
                self._joined = {row for row in self._joined if row < self._y}
            case "K":
                del self._rows[self._y][self._x :]
            case "m":
                return
            case _:
                raise AssertionError(f"the screen does not know {final!r}")
