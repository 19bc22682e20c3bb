"""What git knows of the project: files as they were, and paths that changed.

git is asked without taking its optional locks, so that looking never changes `.git`, which may be part of a
build context.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devloop.errors import DevloopError
from devloop.plan.model import ChangeKind
from devloop.project.discover import Location

_KINDS: Mapping[str, ChangeKind] = {"A": "added", "D": "removed", "M": "modified", "T": "modified"}


@dataclass(frozen=True, slots=True)
class Repository:
    """A git work tree."""

    root: Path
    environ: Mapping[str, str]

    @classmethod
    def of(cls, location: Location, environ: Mapping[str, str]) -> "Repository":
        """Return the repository of a project; raises DevloopError where it is in none."""
        if location.git_root is None:
            raise DevloopError(
                f"{location.folder} is in no git repository",
                hint="devloop plan compares with the last build, devloop plan PATH prices an edit of a path",
            )
        return cls(location.git_root, environ)

    def show(self, path: Path, revision: str) -> bytes | None:
        """Return a file as it is at a revision (empty: in the index); None where it is not there."""
        try:
            inside = path.relative_to(self.root)
        except ValueError:
            return None
        done = self._git("show", f"{revision}:{inside.as_posix()}")
        return done.stdout if done.returncode == 0 else None

    def changes(self, revision: str | None) -> tuple[tuple[Path, ChangeKind], ...]:
        """Return the paths that differ between a revision and the work tree, or for None HEAD and the index.

        Raises DevloopError with what git said.
        """
        compared = ["--cached", "HEAD"] if revision is None else [revision]
        done = self._git("diff", "--no-ext-diff", "--no-renames", "--name-status", "-z", *compared, "--")
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise DevloopError(
                f"git cannot compare with {revision or 'HEAD'}: {said[0] if said else 'no reason given'}",
                hint="name a commit, branch or tag of this repository",
            )
        words = done.stdout.decode("utf-8", "surrogateescape").split("\0")
        pairs = zip(words[::2], words[1::2], strict=False)
        found = [(self.root / path, _KINDS.get(status[:1], "modified")) for status, path in pairs if path]
        if revision is not None:
            found += [(self.root / path, "added") for path in self._untracked()]
        return tuple(found)

    def _untracked(self) -> list[str]:
        done = self._git("ls-files", "--others", "--exclude-standard", "-z")
        return [path for path in done.stdout.decode("utf-8", "surrogateescape").split("\0") if path]

    def _git(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(
                ["git", "-C", str(self.root), *arguments],
                capture_output=True,
                check=False,
                env={**self.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise DevloopError("git is not installed", hint="plan without --since and --staged") from error
