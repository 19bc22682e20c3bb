"""A git repository made commit by commit, with authors and dates that never change."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  the dataclass is built from it
from typing import TYPE_CHECKING

from devloop.project.discover import locate
from devloop.project.memory import Memory
from devloop.project.settings import Settings
from devloop.project.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

MONDAY = 1_700_438_400
"""2023-11-20, 00:00 UTC."""
HOUR = 3600
DAY = 24 * HOUR


@dataclass(slots=True)
class Repository:
    """A repository in a folder; each commit is an hour after the one before it."""

    root: Path
    at: int = MONDAY
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, root: Path) -> Repository:
        root.mkdir(parents=True, exist_ok=True)
        made = cls(root)
        made.environ = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "file",
        }
        made.git("init", "-q", "-b", "main")
        return made

    def git(self, *arguments: str) -> str:
        date = f"{self.at} +0000"
        done = subprocess.run(
            ["git", "-C", str(self.root), "-c", "protocol.file.allow=always", *arguments],
            env={
                "GIT_AUTHOR_NAME": "Ann",
                "GIT_AUTHOR_EMAIL": "ann@example.com",
                **self.environ,
                "GIT_AUTHOR_DATE": date,
                "GIT_COMMITTER_NAME": "Ann",
                "GIT_COMMITTER_EMAIL": "ann@example.com",
                "GIT_COMMITTER_DATE": date,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, texts: Mapping[str, str | None], *, author: str | None = None, after: int = HOUR) -> str:
        """Write files (None deletes one), commit, and return the commit's name."""
        self.at += after
        for name, text in texts.items():
            path = self.root / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "-A")
        by = ["--author", author] if author else []
        self.git("commit", "-q", "--allow-empty", "-m", f"{', '.join(sorted(texts)) or 'nothing'}", *by)
        return self.git("rev-parse", "HEAD")

    def workspace(self, folder: str = ".", settings: Settings | None = None) -> Workspace:
        chosen = settings or Settings()
        location = locate(self.root / folder, chosen)
        return Workspace.remembered(location, chosen, Memory(location), self.environ)
