"""What a manifest or a lock file is taken apart into, before it is compared."""

import hashlib
from dataclasses import dataclass, field


class UnsureError(ValueError):
    """The text may mean something that is not read here: nothing is to be said of it."""


@dataclass(slots=True)
class Parts:
    """The dependencies, what else an installer goes by, and what it does not look at.

    Sections are named in the user's words, since they end up in a sentence.
    """

    dependencies: dict[str, list[str]] = field(default_factory=dict)
    installing: dict[str, list[object]] = field(default_factory=dict)
    rest: dict[str, list[object]] = field(default_factory=dict)

    def depend(self, name: str, text: str, group: str = "") -> None:
        """Note a dependency; one that is named twice keeps both of its constraints."""
        shown = f"{name} ({group})" if group else name
        self.dependencies.setdefault(shown, []).append(" ".join(text.split()))

    def install(self, section: str, value: object) -> None:
        """Note something that the result of an install may depend on."""
        if value not in (None, "", [], {}):
            self.installing.setdefault(section, []).append(value)

    def other(self, section: str, value: object) -> None:
        """Note something that no installer looks at."""
        if value not in (None, "", [], {}):
            self.rest.setdefault(section, []).append(value)


def table(value: object) -> dict[str, object]:
    """Take a value for a table; anything else is an empty one."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def array(value: object) -> list[object]:
    """Take a value for an array; anything else is an empty one."""
    return list(value) if isinstance(value, list) else []


def text(value: object) -> str:
    """Return a string as it is, nothing for what is missing, and anything else as plain text."""
    if isinstance(value, str):
        return value
    return "" if value is None else canonical(value)


def canonical(value: object) -> str:
    """Write plain data so that equal data gives equal text, whatever the order of its keys."""
    match value:
        case dict():
            inner = sorted(f"{key} = {canonical(item)}" for key, item in value.items())
            return "{" + ", ".join(inner) + "}"
        case list() | tuple():
            return "[" + ", ".join(canonical(item) for item in value) + "]"
        case _:
            return str(value)


def digest(value: object) -> str:
    """Return the digest of plain data; unlike `canonical` it tells a string from a number."""
    return hashlib.blake2b(_exact(value).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _exact(value: object) -> str:
    match value:
        case dict():
            return "{" + ",".join(sorted(f"{key!r}:{_exact(item)}" for key, item in value.items())) + "}"
        case list() | tuple():
            return "[" + ",".join(_exact(item) for item in value) + "]"
        case _:
            return repr(value)
