"""Names of stages: the name of the one that is started stays with it when a stage is cut in two."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devloop.dockerfile import instructions as ins
from devloop.doctor.rewrite import edit_of, text_of

if TYPE_CHECKING:
    from devloop.doctor.model import LineEdit, Subject


def stage_names(subject: Subject) -> frozenset[str]:
    """Return the names of all stages of the file, in lower case."""
    found = (one.alias for one in subject.dockerfile.instructions if isinstance(one, ins.From))
    return frozenset(alias for alias in found if alias is not None)


def renamed(subject: Subject, origin: ins.From, name: str) -> tuple[LineEdit, str] | str:
    """Return the edit that gives a stage this name, and the name that it had, empty where it had none.

    Where that is not possible the answer is why.
    """
    if name in stage_names(subject):
        return "the name of the stage is taken"
    text = text_of(subject, origin)
    body = text.rstrip("\r\n \t")
    end = text[len(text.rstrip("\r\n")) :]
    written = ""
    if origin.alias is not None:
        named = re.fullmatch(r"(.*\S)[ \t]+as[ \t]+(\S+)", body, re.IGNORECASE)
        if named is None:
            return "the stage is written in an unusual way"
        body, written = named[1], named[2]
    edit = edit_of(subject, origin, f"{body} AS {name}{end}")
    if edit is None or subject.dockerfile.escape in body or "#" in body:
        return "the stage is written in an unusual way"
    return edit, written
