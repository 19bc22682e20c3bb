"""A case of the differential test: a small project, and edits of it with a build after each group of them.

A case is plain data, so that it can be made from a seed, made smaller, printed and kept as a file. The mark
`@@` in its texts stands for a salt: a case that is run again with another salt meets a cache that has never
seen it.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SALT = "@@"


@dataclass(frozen=True, slots=True)
class Node:
    """A file, a folder (`text` is None) or a symlink (`target`); another `stamp` means another mtime."""

    text: str | None = ""
    mode: int = 0o644
    target: str | None = None
    stamp: int = 0

    @property
    def is_folder(self) -> bool:
        return self.text is None and self.target is None


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of the Dockerfile: an instruction, a comment or a blank line; edits name it by its number."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the build."""

    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    no_cache: bool = False
    file: str = "ctx/Dockerfile"


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a build can see; paths are relative to the case's folder, the context is `ctx`."""

    nodes: Mapping[str, Node]
    items: tuple[Item, ...]
    options: Options = Options()
    base: str | None = None
    """The Dockerfile of the image `devloop-diff-@@`, where the case has a base image of its own."""

    def dockerfile(self, salt: str) -> str:
        """Return the text of the Dockerfile; without an item, one newline."""
        return "\n".join(item.text for item in self.items).replace(SALT, salt) + "\n"


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit; which fields count depends on its kind, see `apply`."""

    kind: str
    path: str = ""
    to: str = ""
    text: str = ""
    mode: int = 0
    item: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A project and its edits; a build follows the start and each step."""

    start: State
    steps: tuple[tuple[Edit, ...], ...]
    seed: str = ""


def apply(state: State, edit: Edit, history: list[State]) -> State:
    """Return the state after the edit; an edit that does not fit the state changes nothing."""
    nodes, options = dict(state.nodes), state.options
    node = nodes.get(edit.path)
    match edit.kind:
        case "write" | "stealth":
            was = node if node is not None and node.text is not None else Node()
            _remove(nodes, edit.path)
            _parents(nodes, edit.path)
            nodes[edit.path] = replace(was, text=edit.text)
        case "touch" if node is not None:
            nodes[edit.path] = replace(node, stamp=node.stamp + 1)
        case "chmod" if node is not None and node.target is None:
            nodes[edit.path] = replace(node, mode=edit.mode)
        case "folder":
            _remove(nodes, edit.path)
            _parents(nodes, edit.path)
            nodes[edit.path] = Node(None, edit.mode or 0o755)
        case "link":
            _remove(nodes, edit.path)
            _parents(nodes, edit.path)
            nodes[edit.path] = Node(None, 0o777, edit.to)
        case "remove":
            _remove(nodes, edit.path)
        case "rename" if (
            node is not None and edit.to not in nodes and not edit.to.startswith(f"{edit.path}/")
        ):
            moved = {
                path: one
                for path, one in nodes.items()
                if path == edit.path or path.startswith(f"{edit.path}/")
            }
            _remove(nodes, edit.path)
            _parents(nodes, edit.to)
            for path, one in moved.items():
                nodes[edit.to + path[len(edit.path) :]] = one
        case "swap" if node is not None and edit.to in nodes and not node.is_folder:
            other = nodes[edit.to]
            if not other.is_folder:
                nodes[edit.path], nodes[edit.to] = other, node
        case "item":
            items = tuple(replace(i, text=edit.text) if i.number == edit.item else i for i in state.items)
            return replace(state, items=items)
        case "insert":
            return replace(state, items=_inserted(state.items, Item(edit.item, edit.text), edit.after))
        case "delete":
            return replace(state, items=tuple(i for i in state.items if i.number != edit.item))
        case "move":
            found = next((i for i in state.items if i.number == edit.item), None)
            if found is not None and edit.after != edit.item:
                rest = tuple(i for i in state.items if i is not found)
                return replace(state, items=_inserted(rest, found, edit.after))
        case "arg":
            return replace(state, options=replace(options, args={**options.args, edit.path: edit.text}))
        case "no-arg":
            args = {name: value for name, value in options.args.items() if name != edit.path}
            return replace(state, options=replace(options, args=args))
        case "context":
            contexts = {**options.contexts, edit.path: edit.text}
            if not edit.text:
                del contexts[edit.path]
            return replace(state, options=replace(options, contexts=contexts))
        case "host":
            return replace(state, options=replace(options, hosts={**options.hosts, edit.path: edit.text}))
        case "target":
            return replace(state, options=replace(options, target=edit.text or None))
        case "network":
            return replace(state, options=replace(options, network=edit.text or None))
        case "no-cache":
            return replace(state, options=replace(options, no_cache=bool(edit.text)))
        case "file":
            return replace(state, options=replace(options, file=edit.path))
        case "base":
            return replace(state, base=edit.text)
        case "revert" if history:
            return history[min(edit.after, len(history) - 1)]
        case _:
            return state
    return replace(state, nodes=nodes)


def _inserted(items: tuple[Item, ...], item: Item, after: int) -> tuple[Item, ...]:
    at = next((place + 1 for place, one in enumerate(items) if one.number == after), 0)
    return (*items[:at], item, *items[at:])


def _remove(nodes: dict[str, Node], path: str) -> None:
    for one in [one for one in nodes if one == path or one.startswith(f"{path}/")]:
        del nodes[one]


def _parents(nodes: dict[str, Node], path: str) -> None:
    parts = path.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        above = "/".join(parts[:end])
        if above not in nodes or not nodes[above].is_folder:
            _remove(nodes, above)
            nodes[above] = Node(None, 0o755)


# On disk ---------------------------------------------------------------------------------------------------


def put(root: Path, before: State | None, after: State, edit: Edit | None, salt: str) -> None:
    """Bring the folder from one state to the next with as few changes as the edit itself makes."""
    old = before.nodes if before is not None else {}
    stealth = edit is not None and edit.kind == "stealth"
    kept_times = _times(root / edit.path) if stealth and edit is not None else None
    if edit is not None and before is not None and before.nodes != after.nodes:
        _move(root, edit)
    for path in sorted(old.keys() - after.nodes.keys(), reverse=True):
        _erase(root / path)
    for path, node in sorted(after.nodes.items()):
        was = old.get(path)
        if was != node or before is None:
            _put_node(root / path, was, node, salt)
    if kept_times is not None and edit is not None:
        os.utime(root / edit.path, ns=kept_times)
    text = after.dockerfile(salt)
    file = root / after.options.file
    if not file.is_file() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if before is not None and before.options.file != after.options.file:
        (root / before.options.file).unlink(missing_ok=True)


def _times(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_atime_ns, found.st_mtime_ns


def _move(root: Path, edit: Edit) -> None:
    source, target = root / edit.path, root / edit.to
    if edit.kind == "rename":
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif edit.kind == "swap":
        aside = root / ".aside"
        source.rename(aside)
        target.rename(source)
        aside.rename(target)


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _put_node(path: Path, was: Node | None, node: Node, salt: str) -> None:
    present = path.is_symlink() or path.exists()
    if node.is_folder:
        if path.is_symlink() or not path.is_dir():
            _erase(path)
            path.mkdir(parents=True)
        path.chmod(node.mode)
        return
    if present and path.is_dir() and not path.is_symlink():
        _erase(path)
        present = False
    path.parent.mkdir(parents=True, exist_ok=True)
    if node.target is not None:
        if not path.is_symlink() or str(path.readlink()) != node.target:
            _erase(path)
            path.symlink_to(node.target)
        return
    if path.is_symlink():
        _erase(path)
        present = False
    content = (node.text or "").replace(SALT, salt)
    if not present or path.read_text() != content:
        path.write_text(content)
    if path.stat().st_mode & 0o7777 != node.mode:
        path.chmod(node.mode)
    if was is not None and was.stamp != node.stamp:
        os.utime(path)


# As a file -------------------------------------------------------------------------------------------------


def case_to_json(case: Case) -> str:
    """Write a case so that a person can read it: one line a piece, defaults left out."""
    record = {
        "seed": case.seed,
        "start": _state_record(case.start),
        "steps": [[_without_defaults(edit) for edit in step] for step in case.steps],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _state_record(state: State) -> dict[str, Any]:
    return {
        "dockerfile": [[item.number, item.text] for item in state.items],
        "nodes": {path: _without_defaults(node) for path, node in sorted(state.nodes.items())},
        "options": _without_defaults(state.options),
        "base": state.base,
    }


def _without_defaults(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any of our dataclasses
    plain = type(value)() if not isinstance(value, Edit) else Edit(value.kind)
    found = {
        name: one
        for name, one in asdict(value).items()
        if one != getattr(plain, name) or (name == "kind" and isinstance(value, Edit))
    }
    if "mode" in found:
        found["mode"] = f"{found['mode']:o}"
    return found


def case_from_json(text: str) -> Case:
    """Read a case back."""
    record = json.loads(text)
    start = record["start"]
    return Case(
        State(
            nodes={path: Node(**_modes(node)) for path, node in start["nodes"].items()},
            items=tuple(Item(number, line) for number, line in start["dockerfile"]),
            options=Options(**start["options"]),
            base=start["base"],
        ),
        tuple(tuple(Edit(**_modes(edit)) for edit in step) for step in record["steps"]),
        record["seed"],
    )


def _modes(record: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value, 8) if name == "mode" else value for name, value in record.items()}


def smaller(case: Case) -> list[Case]:
    """Return cases with one piece less, the biggest pieces first."""
    found: list[Case] = []
    steps = case.steps
    found += [replace(case, steps=(*steps[:at], *steps[at + 1 :])) for at in reversed(range(len(steps)))]
    for at, step in enumerate(steps):
        if len(step) > 1:
            for place in range(len(step)):
                kept = (*step[:place], *step[place + 1 :])
                found.append(replace(case, steps=(*steps[:at], kept, *steps[at + 1 :])))
    start = case.start
    found += [
        replace(case, start=replace(start, items=tuple(one for one in start.items if one is not item)))
        for item in reversed(start.items)
    ]
    for path in sorted(start.nodes, reverse=True):
        nodes = dict(start.nodes)
        _remove(nodes, path)
        found.append(replace(case, start=replace(start, nodes=nodes)))
    plain = Options(file=start.options.file)
    for each in fields(Options):
        if getattr(start.options, each.name) != getattr(plain, each.name):
            options = replace(start.options, **{each.name: getattr(plain, each.name)})
            found.append(replace(case, start=replace(start, options=options)))
    return found
