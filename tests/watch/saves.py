"""How editors and tools save a file, call by call."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Save = Callable[[Path, str], None]


def in_place(path: Path, text: str) -> None:
    """VS Code, nano, shells: truncate, write."""
    path.write_text(text)


def in_two_opens(path: Path, text: str) -> None:
    """Truncate by one handle, write by the next."""
    os.truncate(path, 0)
    with path.open("r+") as file:
        file.write(text)


def vim(path: Path, text: str) -> None:
    """Set backupcopy=no: probe, move the file away, write a new one, sync, remove the old one."""
    probe = path.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)
    backup.unlink()


def atomic_rename(path: Path, text: str) -> None:
    """Coding agents, gedit, black: write beside it, rename over it."""
    temporary = path.with_name(f"{path.name}.tmp.4711.1760000000000")
    temporary.write_text(text)
    temporary.replace(path)


def jetbrains(path: Path, text: str) -> None:
    """Safe write: the new text beside it, the old file away, the new one in, the old one removed."""
    new = path.with_name(f"{path.name}___jb_tmp___")
    old = path.with_name(f"{path.name}___jb_old___")
    new.write_text(text)
    path.rename(old)
    new.rename(path)
    old.unlink()


def emacs(path: Path, text: str) -> None:
    """A lock that is a link to nowhere, an autosave, a backup by copy, then in place."""
    lock = path.with_name(f".#{path.name}")
    lock.symlink_to("somebody@somewhere.4711:1760000000")
    autosave = path.with_name(f"#{path.name}#")
    autosave.write_text(text)
    shutil.copy(path, path.with_name(f"{path.name}~"))
    path.write_text(text)
    autosave.unlink()
    lock.unlink()


def hard_link(path: Path, text: str) -> None:
    """Remove it, link the new text to its name."""
    new = path.with_name(".goutputstream-AB12CD")
    new.write_text(text)
    path.unlink()
    os.link(new, path)
    new.unlink()


SAVES: tuple[Save, ...] = (in_place, in_two_opens, vim, atomic_rename, jetbrains, emacs, hard_link)
