"""Paths inside a build context: `/`-separated, relative to its root, without `.` and `..`."""

from typing import NewType

ContextPath = NewType("ContextPath", str)
"""A cleaned path below a context's root; the root itself is the empty string."""


def context_path(text: str) -> ContextPath:
    """Clean `text` lexically as seen from the context's root.

    Leading slashes and `.` vanish and `..` stops at the root, as BuildKit treats the source of a COPY,
    so the result never leads out of the tree: `/a`, `./a`, `x/../a` and `../a` all give `a`.
    """
    kept: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if kept:
                kept.pop()
        elif part not in {"", "."}:
            kept.append(part)
    return ContextPath("/".join(kept))


def parents(path: ContextPath) -> tuple[ContextPath, ...]:
    """Return the directories above `path`, outermost first, without the root."""
    parts = path.split("/")[:-1]
    return tuple(ContextPath("/".join(parts[: n + 1])) for n in range(len(parts)))
