"""The texts of manifests at the last build, so that a later start can say what has changed in them.

They may hold addresses with passwords, so the file is for its owner alone.
"""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from devloop.context.snapshot import Entry, Snapshot, walk
from devloop.cost.manifests import MAXIMUM_BYTES, is_manifest

Texts = Mapping[tuple[str, str], bytes]
"""Bytes by context and path."""

_HEAD = b"devloop manifests 1\n"
_MOST_TOGETHER = 32 * MAXIMUM_BYTES
_MOST_KNOWN = 64


def read_text(path: Path) -> bytes | None:
    """Read a file that is small enough for a manifest; None for anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = file.read(MAXIMUM_BYTES + 1)
    except OSError:
        return None
    return found if len(found) <= MAXIMUM_BYTES else None


class KnownTexts:
    """Texts by the digest that a snapshot has of them.

    A file is edited while its build runs. What was read when the build was planned is still known then, and
    what is on the disk is told apart from it by its digest.
    """

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def note(self, text: bytes) -> None:
        """Keep a text for as long as not too many newer ones come."""
        self._known[hashlib.sha256(text).hexdigest()[:32]] = text
        while len(self._known) > _MOST_KNOWN:
            self._known.pop(next(iter(self._known)))

    def collect(self, roots: Mapping[str, Path], snapshots: Mapping[str, Snapshot], last: Texts) -> Texts:
        """Return the texts of the manifests as snapshots have them; `last` are those of the last build."""
        found: dict[tuple[str, str], bytes] = {}
        size = 0
        for context, path, entry in _manifests(snapshots):
            text = self._text(entry, last.get((context, path)), roots[context] / path)
            if text is not None and size + len(text) <= _MOST_TOGETHER:
                size += len(text)
                found[context, path] = text
        return found

    def _text(self, entry: Entry, last: bytes | None, path: Path) -> bytes | None:
        known = self._known.get(entry.digest)
        if known is not None:
            return known
        candidates = (last, read_text(path))
        return next((one for one in candidates if one is not None and _has_digest(one, entry)), None)


def _has_digest(text: bytes, entry: Entry) -> bool:
    return len(text) == entry.size and hashlib.sha256(text).hexdigest()[:32] == entry.digest


def _manifests(snapshots: Mapping[str, Snapshot]) -> Iterator[tuple[str, str, Entry]]:
    for context in sorted(snapshots):
        for path, node in walk(snapshots[context].root, ""):
            if isinstance(node, Entry) and node.kind == "file" and is_manifest(path):
                yield context, path, node


def save_texts(path: Path, texts: Texts) -> bool:
    """Write the texts in one step, for the owner alone; False when the disk would not take them."""
    # Every byte is a character of Latin-1, so that JSON can hold it.
    rows = [[context, name, text.decode("latin-1")] for (context, name), text in sorted(texts.items())]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEAD + zlib.compress(json.dumps(rows).encode("ascii"), 1))
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    return True


def load_texts(path: Path) -> Texts:
    """Read the texts back; nothing where they cannot be used."""
    try:
        raw = path.read_bytes()
        if not raw.startswith(_HEAD):
            return {}
        plain = zlib.decompressobj().decompress(raw[len(_HEAD) :], 8 * _MOST_TOGETHER)
        return {(context, name): text.encode("latin-1") for context, name, text in json.loads(plain)}
    except (OSError, zlib.error, ValueError, TypeError, AttributeError, RecursionError):
        return {}
