"""What a watcher tells: this path is dirty, something was missed, something is worth saying.

An event is a hint and never a fact. It says where to look; the bytes, mode and link target found there
decide whether anything changed. So no event carries "created" or "modified": a reader that trusted such a
word would be wrong after the first rename, overflow or network mount.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["settled", "open", "empty", "missing"]
"""How finished a dirty path looks.

`open`: a writer has not closed it. `empty`: a file of no bytes, as left between truncating and writing.
`missing`: nothing is there, as between the two renames of a safe write. All but `settled` deserve a second
look a moment later.
"""


@dataclass(frozen=True, slots=True)
class Dirty:
    """Compare this path, and what lies below it if it is a directory.

    `path` is relative to the watched root in `/` form, `""` for the root itself. An extra file comes by the
    absolute path it was registered under, wherever it lies.
    """

    path: str
    state: State = "settled"


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were lost or may have been: compare everything. `reason` is a phrase for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Polled:
    """These directories give no events and are looked at in turn; `""` is the root."""

    directories: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        where = ", ".join(path or "the whole tree" for path in self.directories[:3])
        more = len(self.directories) - 3
        return f"polling {where}{f' and {more} more' if more > 0 else ''}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The kernel refused more watches; what could not be watched is polled.

    `held` watches were added of the `wanted` directories. `limit` is the kernel's value where it can be
    read; it is shared by all programs of the user. `biggest` names the top directories that need most of
    the watches, since one of them is usually a candidate for the ignore file.
    """

    kind: Literal["watches", "instances"]
    held: int
    wanted: int
    limit: int | None
    biggest: tuple[tuple[str, int], ...]

    @property
    def sysctl(self) -> str:
        """The command that raises the limit, to at least twice of what is needed."""
        if self.kind == "instances":
            return "sudo sysctl fs.inotify.max_user_instances=1024"
        roomy = max(524_288, 2 * (self.wanted + (self.limit or 0)))
        return f"sudo sysctl fs.inotify.max_user_watches={roomy}"

    def __str__(self) -> str:
        limit = "unknown" if self.limit is None else f"{self.limit:,}"
        if self.kind == "instances":
            return (
                f"The system's limit of inotify instances is reached ({limit} for all programs of this "
                f"user), so devloop polls {self.wanted:,} directories.\n  To raise it: {self.sysctl}"
            )
        lines = [
            (
                f"The system's limit of file watches is reached: devloop holds {self.held:,} of "
                f"{self.wanted:,} it needs (limit {limit}, shared with editors and other tools). "
                "The rest is polled."
            )
        ]
        if self.biggest:
            lines.append(
                "  Most directories: " + ", ".join(f"{path}/ ({count:,})" for path, count in self.biggest)
            )
            lines.append(f"  If the build does not need it, add to .dockerignore: {self.biggest[0][0]}")
        lines.append(f"  To raise it: {self.sysctl}")
        return "\n".join(lines)


WatchEvent = Dirty | Gap | Polled | LimitReached
OnEvent = Callable[[WatchEvent], None]
Keep = Callable[[str], bool]
"""Says of a path relative to the root whether it, or something below it, can matter."""


def keep_all(_path: str) -> bool:
    """Keep everything: the rule of a tree without an ignore file."""
    return True


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: a root, the rules that thin it out, and single files anywhere.

    Both rules take paths relative to the root. `keep_directory` is asked before a directory is watched or
    listed; the root itself is always kept. `extra_files` are absolute paths and need not exist.
    """

    root: str
    keep_directory: Keep = keep_all
    keep_file: Keep = keep_all
    extra_files: tuple[str, ...] = ()

    def host_path(self, path: str) -> str:
        """Return the absolute form of a path relative to the root."""
        return f"{self.root}/{path}" if path else self.root


def join(directory: str, name: str) -> str:
    """Return the relative path of a name in a relative directory, where the root is `""`."""
    return f"{directory}/{name}" if directory else name


def is_within(path: str, directory: str) -> bool:
    """Say whether a relative path is a relative directory or lies below it."""
    return not directory or path == directory or path.startswith(f"{directory}/")


def biggest_directories(paths: list[str], count: int = 3) -> tuple[tuple[str, int], ...]:
    """Return the top directories with most directories in them, most first, themselves included."""
    totals: dict[str, int] = {}
    for path in paths:
        if path:
            top = path.partition("/")[0]
            totals[top] = totals.get(top, 0) + 1
    ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ranked[:count])
