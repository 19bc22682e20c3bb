"""Names that editors and tools leave for a moment beside the file they save.

Such a name is no reason to act. It is still part of the build context while it exists, unless the ignore
file says otherwise, so events on it ride along with the next batch instead of vanishing.
"""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class EphemeralName:
    """A pattern for one path component, who makes such names, and what they are for."""

    pattern: str
    maker: str
    why: str


EPHEMERAL_NAMES: tuple[EphemeralName, ...] = (
    EphemeralName(r"4913", "vim, neovim", "created and removed to probe whether the directory is writable"),
    EphemeralName(
        r"\..*\.sw[a-px]",
        "vim, neovim",
        "swap file: .swp, then .swo, .swn ... downwards; .swx probes for links",
    ),
    EphemeralName(r"\.?.*\.un~", "vim, neovim", "persistent undo beside the file"),
    EphemeralName(r".*~", "vim, emacs, kate, gedit", "the previous version, kept as a backup"),
    EphemeralName(r".*___jb_(tmp|old|bak)___", "JetBrains", "the two sides of a safe write"),
    EphemeralName(r"\.idea", "JetBrains", "the IDE's own state, written whenever the window changes focus"),
    EphemeralName(r"\.#.*", "emacs", "lock: a symbolic link that points nowhere"),
    EphemeralName(r"#.*#", "emacs", "autosave of a buffer that was not saved yet"),
    EphemeralName(r"\..*\.kate-swp", "kate, kwrite", "swap file"),
    EphemeralName(
        r"\.goutputstream-.*", "gedit and other GLib programs", "written, then renamed over the file"
    ),
    EphemeralName(r"\.~lock\..*#", "LibreOffice", "lock"),
    EphemeralName(r".*-go-tmp-umask", "go", "written and removed to learn the umask"),
    EphemeralName(
        r".*\.tmp\.\d+\.\d+",
        "coding agents, write-file-atomic",
        "name, process and time; renamed over the file",
    ),
    EphemeralName(r"\.nfs[0-9a-f]{8,}", "NFS clients", "a removed file that somebody still has open"),
    EphemeralName(r"\.fuse_hidden[0-9a-f]+", "FUSE", "a removed file that somebody still has open"),
    EphemeralName(r"\.DS_Store", "Finder", "written when somebody looks at the folder"),
)

_ANY = re.compile("|".join(f"(?:{name.pattern})" for name in EPHEMERAL_NAMES), re.DOTALL)


@lru_cache(maxsize=4096)
def is_ephemeral(name: str) -> bool:
    """Say whether a single file or directory name is an editor's or a tool's passing companion."""
    return _ANY.fullmatch(name) is not None


def is_ephemeral_path(path: str) -> bool:
    """Say whether any component of a `/`-separated path is ephemeral, so `.idea/workspace.xml` is."""
    return any(is_ephemeral(name) for name in path.split("/"))
