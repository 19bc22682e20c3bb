"""What is watched for a session: its contexts, each with its own scope, and the files beside them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devloop.dockerfile.stages import MAIN_CONTEXT
from devloop.loop.messages import BatchCame, Noticed
from devloop.loop.scope import WatchScope
from devloop.project.discover import Location, shown
from devloop.project.reading import Model
from devloop.project.settings import Settings
from devloop.watch.debounce import Batch, WatchSettings
from devloop.watch.events import LimitReached, Polled
from devloop.watch.feed import BatchFeed


@dataclass(slots=True)
class Watching:
    """One feed for each context; everything that it sees becomes a message through `put`."""

    make_feed: Callable[..., BatchFeed]
    numbers: WatchSettings
    put: Callable[[BatchCame | Noticed], None]
    feeds: dict[str, BatchFeed] = field(default_factory=dict)
    _scopes: dict[str, WatchScope] = field(default_factory=dict)
    _roots: dict[str, Path] = field(default_factory=dict)

    def follow(self, location: Location, settings: Settings, model: Model | None) -> None:
        """Watch what this model needs from now on; without one only the files that may mend the project."""
        self._roots = {MAIN_CONTEXT: location.context}
        if model is not None:
            self._roots.update({name: context.root for name, context in model.contexts.items()})
        beside = [*deciding_files(location, settings)]
        for name, root in self._roots.items():
            scope = WatchScope.of(model.contexts.get(name) if model is not None else None)
            self._scopes[name] = scope
            extra = beside if name == MAIN_CONTEXT else []
            feed = self.feeds.get(name)
            if feed is not None:
                feed.update(keep_directory=scope.keep_directory, keep_file=scope.keep_file, extra_files=extra)
                continue
            feed = self.make_feed(
                root,
                self._receiver(name),
                on_notice=self._on_notice,
                keep_directory=scope.keep_directory,
                keep_file=scope.keep_file,
                extra_files=extra,
                settings=self.numbers,
                poll=True if settings.poll else None,
            )
            feed.start()
            self.feeds[name] = feed
        for name in set(self.feeds) - set(self._roots):
            self.feeds.pop(name).stop()

    def _receiver(self, name: str) -> Callable[[Batch], None]:
        return lambda batch: self.put(BatchCame(name, batch))

    def _on_notice(self, notice: Polled | LimitReached) -> None:
        self.put(Noticed(str(notice), is_error=isinstance(notice, LimitReached)))

    def absolute(self, context: str, path: str) -> Path:
        """Return the place of a path that a batch names."""
        return Path(path) if path.startswith("/") else self._roots[context] / path

    def shown(self, context: str, path: str, folder: Path) -> str:
        """Write a path of a batch as the user knows it."""
        return shown(self.absolute(context, path), folder) if path else "."

    def holds_more_than(self, files: set[Path], message: BatchCame) -> bool:
        """Tell whether a batch has paths besides these files; a pyproject.toml may be both."""
        scope = self._scopes[message.context]
        return any(
            self.absolute(message.context, path) not in files
            or (not path.startswith("/") and scope.keep_file(path))
            for path in message.batch.paths
        )

    def counts(self) -> tuple[int, bool]:
        """Return how many directories are watched, and whether any of them is polled."""
        watchers = [feed.watcher for feed in self.feeds.values()]
        return sum(one.watched + one.polled for one in watchers), any(one.polled for one in watchers)

    def stop(self) -> None:
        """Stop watching."""
        for feed in self.feeds.values():
            feed.stop()
        self.feeds.clear()


def config_files(location: Location) -> set[Path]:
    """Return where the settings of a project may stand."""
    return {location.folder / "devloop.toml", location.folder / "pyproject.toml"}


def deciding_files(location: Location, settings: Settings) -> list[Path]:
    """Return the files beside the contexts that decide what is built and how it is run."""
    variables = [location.folder / name for name in settings.env_file]
    return [location.dockerfile, *location.ignore_candidates(), *sorted(config_files(location)), *variables]
