"""What of a context is worth watching: what the ignore rules keep and some step reads."""

from collections.abc import Callable
from dataclasses import dataclass

from devloop.context.patterns import IgnoreRules, has_wildcard
from devloop.project.reading import LocalContext


@dataclass(frozen=True, slots=True)
class WatchScope:
    """Answers for a path relative to the context's root: enter this directory, report this file."""

    keep_directory: Callable[[str], bool]
    keep_file: Callable[[str], bool]

    @classmethod
    def of(cls, context: LocalContext | None) -> "WatchScope":
        """Return the scope of a context; without one nothing but the extra files is watched."""
        if context is None:
            return cls(lambda _path: False, lambda _path: False)
        if context.wanted is None:
            return cls(_directories_kept_by(context.rules), lambda path: not context.rules.excludes(path))
        wanted = tuple(_fixed_part(path) for path in context.wanted)
        below = _directories_kept_by(context.rules)
        return cls(
            lambda path: any(_meet(path, one) for one in wanted) and below(path),
            lambda path: any(_meet(path, one) for one in wanted) and not context.rules.excludes(path),
        )


def _directories_kept_by(rules: IgnoreRules) -> Callable[[str], bool]:
    return lambda path: not rules.excludes(path) or rules.may_keep_below(path)


def _fixed_part(path: str) -> str:
    """Return the part of a wanted path before its first wildcard."""
    kept = []
    for part in path.split("/"):
        if has_wildcard(part):
            break
        kept.append(part)
    return "/".join(kept)


def _meet(path: str, wanted: str) -> bool:
    """Tell whether one of two paths lies on the way to the other."""
    if not wanted or path == wanted:
        return True
    return wanted.startswith(f"{path}/") or path.startswith(f"{wanted}/")
