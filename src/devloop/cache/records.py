"""What the engine's cache is known to hold, and the rule by which a step finds its record.

BuildKit keeps records and links: a step's operation, the number of an input and a key of that input lead
to the records that were made so. A step is cached when one record is reached through every input. An
input's key is either the definition of what produced it (which record, and which paths are taken) or the
digest of the content that is taken; a local directory has only the latter, a base only the former.

Two things are not always known. Which record a step found can be open: such a set is kept as a group,
a name for "one of these". And what a step of this build writes is not known before it has run: what is
compared with it by content is answered with `maybe`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Hit = Literal["yes", "no", "maybe"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a lookup says of one vertex: `ids` are the records that it is, or may be."""

    hit: Hit
    ids: frozenset[str] = frozenset()


MISS = Result("no")


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the table: (operation, input number, key) leads to a record.

    `modes` is the digest of the directory modes under which a content key was seen; empty elsewhere.
    """

    operation: str
    number: int
    key: str
    record: str
    modes: str = ""


@dataclass(slots=True)
class Records:
    """The links known for one builder; `groups` names sets of records of which one is meant."""

    links: dict[tuple[str, int, str], dict[str, set[str]]] = field(default_factory=dict)
    by_input: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    added: list[Link] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, links: Iterable[Link], groups: Mapping[str, frozenset[str]]) -> "Records":
        """Build the table from stored links."""
        records = cls(groups=dict(groups))
        for link in links:
            records._put(link)
        return records

    def copy(self) -> "Records":
        """Return a copy that can learn without touching this one."""
        return Records(
            links={
                key: {record: set(modes) for record, modes in found.items()}
                for key, found in self.links.items()
            },
            by_input={key: set(found) for key, found in self.by_input.items()},
            groups=dict(self.groups),
        )

    def _put(self, link: Link) -> bool:
        found = self.links.setdefault((link.operation, link.number, link.key), {})
        is_new = link.record not in found or link.modes not in found[link.record]
        found.setdefault(link.record, set()).add(link.modes)
        self.by_input.setdefault((link.operation, link.number), set()).add(link.record)
        return is_new

    def add(self, link: Link) -> None:
        """Learn one link."""
        if self._put(link):
            self.added.append(link)

    def add_group(self, name: str, members: frozenset[str]) -> None:
        """Name a set of records of which one is meant, without saying which."""
        self.groups[name] = members

    def drop(self, ids: Iterable[str]) -> None:
        """Forget records that the engine was seen to have lost."""
        gone = set(ids)
        self.dropped |= gone
        for found in self.links.values():
            for record in gone & found.keys():
                del found[record]
        for known in self.by_input.values():
            known.difference_update(gone)

    def knows_operation(self, operation: str) -> bool:
        """Tell whether any step with these parameters was ever seen."""
        return any((operation, number) in self.by_input for number in (-1, 0, 1))

    def under(self, operation: str, number: int, key: str) -> frozenset[str]:
        """Return the records that one exact key leads to."""
        return frozenset(self.links.get((operation, number, key), ()))

    def under_content(
        self, operation: str, number: int, key: str, modes: str
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return the records of a content key: (surely, only if the directory modes do not matter).

        Two words in `modes` are the modes as they are and others that the engine may go by instead; which of
        them it did can differ from build to build, so that not even equal pairs are equal for sure.
        """
        found = self.links.get((operation, number, key), {})
        is_definite = " " not in modes
        sure = frozenset(record for record, seen in found.items() if is_definite and modes in seen)
        return sure, frozenset(found) - sure

    def of_input(self, operation: str, number: int) -> frozenset[str]:
        """Return every record that was ever made with some content at this input."""
        return frozenset(self.by_input.get((operation, number), ()))

    def members(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the ids with the members of every group among them."""
        found: set[str] = set()
        waiting = list(ids)
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(self.groups.get(one, ()))
        return frozenset(found)
