"""What an edit of a manifest means for the install below it: a sentence in the warning, and another way out.

BuildKit goes by bytes. An install that reruns for a line of `scripts` is as slow as one for a new dependency,
but there is a way around it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from devloop.cache.predict import Prediction
from devloop.cost.manifests import (
    Manifest,
    ManifestChange,
    compare,
    format_name,
    is_manifest,
    locks_of,
    read_manifest,
    sentence,
)
from devloop.dockerfile.stages import BuildGraph, FromContext, FromVertex, Step
from devloop.plan.causes import ChangesOf
from devloop.plan.model import Cause, PathChange, Warned

WITHOUT_DEPENDENCY_CHANGE = "manifest-without-dependency-change"

TextsOf = Callable[[str, str], tuple[bytes | None, bytes | None]]
"""The bytes of a path of a context when it was built last and now; None where they are not known."""


@dataclass(frozen=True, slots=True)
class ManifestNews:
    """What changed in the manifests above a step.

    `path` is set to one of them if no dependency changed and nothing else makes the step run.
    """

    text: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Above:
    """What is known of the steps above one that is warned of."""

    graph: BuildGraph
    prediction: Prediction
    causes: Mapping[int, Cause]
    changes_of: ChangesOf
    texts: TextsOf


def manifest_news(above: Above, vertex: int) -> ManifestNews | None:
    """Tell what changed in the manifests that reach a vertex; None where nothing is known of them."""
    changes, is_all = _reaching(above, vertex)
    found = [
        (place, change, _difference(above.texts, place, change.kind))
        for place, change in changes.items()
        if is_manifest(change.path)
    ]
    said = [(change.path, words) for place, change, one in found if (words := _said(above.texts, place, one))]
    if not said:
        return None
    text = said[0][1] if len(said) == 1 else "; ".join(f"{path}: {words}" for path, words in said)
    is_idle = is_all and len(found) == len(changes)
    is_idle = is_idle and all(isinstance(one, ManifestChange) and one.only_other for _, _, one in found)
    return ManifestNews(text, said[0][0] if is_idle else None)


def _reaching(above: Above, vertex: int) -> tuple[Mapping[tuple[str, str], PathChange], bool]:
    """Return the changes that a vertex runs for, and whether it runs for nothing else."""
    changes: dict[tuple[str, str], PathChange] = {}
    is_all = True
    waiting, seen = [vertex], {vertex}
    while waiting:
        number = waiting.pop()
        cause = above.causes.get(number)
        is_all = is_all and (cause is None or cause.rule in {"content", "stage"})
        for entry in above.graph.vertices[number].inputs:
            match entry.producer:
                case FromContext(name=name):
                    for taken in entry.taken:
                        for one in above.changes_of(name, taken):
                            changes[name, one.path] = one
                case FromVertex(vertex=producer) if producer not in seen:
                    seen.add(producer)
                    if above.prediction.answers[producer].result.hit != "yes":
                        waiting.append(producer)
                case _:
                    pass
    return dict(sorted(changes.items())), is_all


def _difference(texts: TextsOf, place: tuple[str, str], kind: str) -> ManifestChange | str | None:
    """Compare a manifest with what it was; a sentence if it cannot be read, None if nothing is known."""
    path = place[1]
    if kind == "metadata":
        return ManifestChange(other=("the mode of the file",))
    before, after = texts(*place)
    nothing = b"" if kind in {"added", "removed"} else None
    before = nothing if kind == "added" else before
    after = nothing if kind == "removed" else after
    if before is None or after is None:
        return None
    old = Manifest() if kind == "added" else read_manifest(path, before)
    new = Manifest() if kind == "removed" else read_manifest(path, after)
    if new is None and old is not None and format_name(path):
        return f"{path} cannot be read as {format_name(path)}"
    if old is None or new is None:
        return "whether a dependency changed cannot be told"
    return compare(old, new)


def _said(texts: TextsOf, place: tuple[str, str], change: ManifestChange | str | None) -> str:
    """Say a difference, with the lock file beside it if that is as it was."""
    if change is None or isinstance(change, str):
        return change or ""
    words = sentence(change)
    if not words:
        return ""
    folder, slash, name = place[1].rpartition("/")
    for lock in locks_of(name):
        before, after = texts(place[0], f"{folder}{slash}{lock}")
        if before is not None and before == after:
            return f"{words}; {lock} is untouched"
    return words


# Warnings -------------------------------------------------------------------------------------------------


def with_news(warned: Warned, news: ManifestNews | None, family: str | None) -> Warned:
    """Put what is known of the manifests into a warning.

    An install that no dependency asks for is a warning of its own kind, with its own way out.
    """
    if news is None:
        return warned
    if news.path is None or warned.code != "dependency-install":
        return replace(warned, manifest=news.text)
    return replace(
        warned,
        code=WITHOUT_DEPENDENCY_CHANGE,
        manifest=f"{news.text}, and BuildKit installs all the same",
        way_out=_way_out(news.path, family),
    )


def _way_out(path: str, family: str | None) -> str:
    known = _WAYS_OUT.get(family or "")
    if known is None:
        name = path.rpartition("/")[2]
        known = f"let a small stage cut {name} down to what the installer reads, and COPY --from it"
    return f"{known}: then such an edit reruns no install"


_WAYS_OUT: Mapping[str, str] = {
    # Each makes the step stand on bytes that such an edit does not change.
    "npm": (
        "let a small stage copy package.json without its version and the scripts that no install runs,"
        " and COPY --from it, with the lock file, above npm ci"
    ),
    "pnpm": "copy only pnpm-lock.yaml first and RUN pnpm fetch, then package.json and pnpm install --offline",
    "uv": (
        "let a small stage RUN uv export --frozen --no-emit-project -o requirements.txt,"
        " and COPY --from it what uv pip sync installs"
    ),
    "poetry": (
        "let a small stage RUN poetry export -o requirements.txt, and COPY --from it what pip installs"
    ),
    "pdm": "let a small stage RUN pdm export -o requirements.txt, and COPY --from it what pip installs",
    "pip": "install the dependencies from a requirements file above the COPY of the other files",
    "cargo": "compile the dependencies with cargo chef: its recipe.json has neither version nor comments",
}
"""Family to the way around a manifest that changes where nothing is installed from."""


def tell(
    warnings: Sequence[Warned],
    above: Above,
    families: Mapping[int, str | None],
    is_silenced: Callable[[str, Step], bool],
) -> tuple[Warned, ...]:
    """Put what is known of the manifests into each warning, and leave out what is silenced then."""
    by_place = {(step.span.first, step.text): step for step in above.graph.steps if step.vertex is not None}
    told = []
    for warned in warnings:
        step = by_place.get((warned.line, warned.text))
        news = None
        if step is not None and step.vertex is not None:
            news = manifest_news(above, step.vertex)
        one = with_news(warned, news, families.get(step.number) if step is not None else None)
        if step is None or not is_silenced(one.code, step):
            told.append(one)
    return tuple(told)
