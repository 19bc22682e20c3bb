"""Rules of the user's own: paths that are synced whatever the proof says, and paths that never are.

A `[[sync]]` rule says where files below a path go in the container; who writes one knows better than the
Dockerfile. What the Dockerfile says otherwise is reported, not obeyed.
"""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devloop.context.patterns import IgnoreRules, parse_ignore
from devloop.context.snapshot import Directory, Entry, Node, Snapshot
from devloop.plan.model import NeverRule, PathChange, SyncRule
from devloop.plan.sync import Blocked, SyncPlan, SyncWrite


@dataclass(frozen=True, slots=True)
class Ruled:
    """Changes sorted by the rules: what is forced, what is left to the proof, and the path of a never."""

    forced: tuple[tuple[SyncRule, PathChange], ...]
    rest: Mapping[str, tuple[PathChange, ...]]
    never: str | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in force, those of the settings before those of a compose file."""

    sync: tuple[SyncRule, ...] = ()
    never: tuple[NeverRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Synced:
    """What rules and proof say of a sync: the plan, the changes by rule, and the proof of all others."""

    plan: SyncPlan | Blocked | None
    ruled: Ruled | None = None
    proof: SyncPlan | Blocked | None = None

    @property
    def restarts(self) -> bool | None:
        """Whether the rules want a restart; None leaves it to the command."""
        if self.ruled is None or not self.ruled.forced:
            return None
        wanted = {rule.restart for rule, _ in self.ruled.forced}
        if True in wanted:
            return True
        return False if wanted == {False} and self.proof is None else None


def sync_by_rules(
    changes: Mapping[str, Sequence[PathChange]],
    after: Mapping[str, Snapshot],
    rules: Rules,
    context: str,
    prove: Callable[[Mapping[str, Sequence[PathChange]]], SyncPlan | Blocked],
) -> Synced:
    """Decide about a sync of these changes: a rule goes before the proof, and a never before both."""
    ruled = sort_changes(changes, rules.sync, rules.never, context)
    if ruled.never is not None:
        return Synced(Blocked(f"your rule never syncs {ruled.never}", path=ruled.never))
    proof = prove(ruled.rest) if any(ruled.rest.values()) else None
    if not ruled.forced:
        return Synced(proof, ruled, proof)
    return Synced(joined(forced_plan(ruled, after, context), proof), ruled, proof)


def sort_changes(
    changes: Mapping[str, Sequence[PathChange]],
    rules: Sequence[SyncRule],
    never: Sequence[NeverRule],
    context: str,
) -> Ruled:
    """Sort the changes; the rules speak of one context, and the longest path that matches decides."""
    forced: list[tuple[SyncRule, PathChange]] = []
    rest: dict[str, list[PathChange]] = {}
    refused: str | None = None
    for name, found in changes.items():
        for change in found:
            if name == context and any(_is_at(change.path, one.path) for one in never):
                refused = refused or change.path
            matching = [one for one in rules if name == context and _speaks_of(one, change.path)]
            if matching:
                forced.append((max(matching, key=lambda one: len(one.path)), change))
            else:
                rest.setdefault(name, []).append(change)
    return Ruled(tuple(forced), {name: tuple(found) for name, found in rest.items()}, refused)


def _speaks_of(rule: SyncRule, path: str) -> bool:
    """Tell whether a path lies below a rule, and none of the rule's own patterns leaves it out."""
    if not _is_at(path, rule.path):
        return False
    if not rule.ignore:
        return True
    left_out = parse_ignore("\n".join(rule.ignore).encode(), file="")
    return isinstance(left_out, IgnoreRules) and not left_out.excludes(_rest(rule, path))


def _is_at(path: str, rule: str) -> bool:
    cleaned = posixpath.normpath(rule)
    return cleaned in {".", path} or path.startswith(f"{cleaned}/")


def forced_plan(ruled: Ruled, after: Mapping[str, Snapshot], context: str) -> SyncPlan:
    """Return what the rules sync: each path to its place below the rule's target."""
    writes: dict[str, SyncWrite] = {}
    removals: dict[str, None] = {}
    for rule, change in ruled.forced:
        place = rule_place(rule, change.path)
        node = after[context].node(change.path) if context in after else None
        write = _write(place, context, change.path, node)
        if write is None:
            removals[place] = None
        else:
            writes[place] = write
    names = dict.fromkeys(f"{rule.path} to {rule.target}" for rule, _ in ruled.forced)
    return SyncPlan(
        tuple(writes[place] for place in sorted(writes)),
        tuple(sorted(removals)),
        f"your rule syncs {', '.join(names)}",
    )


def rule_place(rule: SyncRule, path: str) -> str:
    """Return where a rule puts a path: its own path becomes the target, what is below goes below."""
    return posixpath.normpath(posixpath.join("/", rule.target, _rest(rule, path)))


def _rest(rule: SyncRule, path: str) -> str:
    """Return a path as it is called below the path of a rule."""
    cleaned = posixpath.normpath(rule.path)
    return path if cleaned == "." else path[len(cleaned) :].lstrip("/")


def _write(place: str, context: str, path: str, node: Node | None) -> SyncWrite | None:
    if isinstance(node, Directory):
        return SyncWrite(place, "directory", node.mode, context, path)
    if isinstance(node, Entry) and node.kind == "link":
        return SyncWrite(place, "link", 0o777, context, path, link=node.digest)
    if isinstance(node, Entry) and node.kind == "file":
        return SyncWrite(place, "file", node.mode, context, path, digest=node.disguised or node.digest)
    return None


def joined(forced: SyncPlan, proven: SyncPlan | Blocked | None) -> SyncPlan | Blocked:
    """Put what the rules sync and what was proven into one plan; where the rest is blocked, all is."""
    if isinstance(proven, Blocked):
        return proven
    if proven is None:
        return forced
    places = {one.path: one for one in (*proven.writes, *forced.writes)}
    removals = {*proven.removals, *forced.removals} - set(places)
    return SyncPlan(
        tuple(places[place] for place in sorted(places)),
        tuple(sorted(removals)),
        f"{forced.reason}; of the rest {proven.reason}",
    )


def contradictions(
    ruled: Ruled, prove: Callable[[PathChange], SyncPlan | Blocked]
) -> tuple[tuple[SyncRule, str], ...]:
    """Return for each rule in force what the Dockerfile says otherwise, as a sentence."""
    found: dict[SyncRule, str] = {}
    for rule, change in ruled.forced:
        if rule in found:
            continue
        proof = prove(change)
        if isinstance(proof, Blocked):
            found[rule] = f"the rule syncs {change.path}, though {proof.reason}"
            continue
        places = [*(one.path for one in proof.writes), *proof.removals]
        place = rule_place(rule, change.path)
        if places and place not in places:
            found[rule] = f"the rule puts {change.path} to {place}, the Dockerfile to {places[0]}"
    return tuple(found.items())


# Rules of a compose file ------------------------------------------------------------------------------------


def compose_rules(
    services: Mapping[str, Any], *, context: str, dockerfile: str, target: str | None
) -> tuple[str, Rules] | None:
    """Return the service that builds from this context and Dockerfile, with its rules from `develop.watch`.

    `sync` restarts nothing, `sync+restart` does, `rebuild` never syncs. None where no service or more than
    one builds this. Paths outside of the context are left out. Of what a rule's `ignore` names it says
    nothing: that is left to the proof.
    """
    fitting = [
        (name, service)
        for name, service in services.items()
        if isinstance(service, dict) and _builds(service, context, dockerfile, target)
    ]
    if len(fitting) != 1:
        return None
    name, service = fitting[0]
    watch = (service.get("develop") or {}).get("watch") or []
    sync: list[SyncRule] = []
    never: list[NeverRule] = []
    for rule in watch:
        path = _below(str(rule.get("path", "")), context)
        action = rule.get("action")
        if path is None:
            continue
        if action == "rebuild":
            never.append(NeverRule(path))
        elif action in {"sync", "sync+restart", "sync+exec"} and rule.get("target"):
            command = (rule.get("exec") or {}).get("command") or ()
            words = tuple(command.split()) if isinstance(command, str) else tuple(command)
            left_out = rule.get("ignore") or ()
            ignore = (left_out,) if isinstance(left_out, str) else tuple(map(str, left_out))
            sync.append(SyncRule(path, str(rule["target"]), action == "sync+restart", words, ignore))
    return name, Rules(tuple(sync), tuple(never))


def _builds(service: Mapping[str, Any], context: str, dockerfile: str, target: str | None) -> bool:
    build = service.get("build")
    if not isinstance(build, dict) or build.get("context") != context:
        return False
    named = posixpath.join(context, str(build.get("dockerfile") or "Dockerfile"))
    return posixpath.normpath(named) == dockerfile and (build.get("target") or None) == target


def _below(path: str, context: str) -> str | None:
    cleaned = posixpath.normpath(posixpath.join(context, path))
    if cleaned == context:
        return "."
    return cleaned[len(context) + 1 :] if cleaned.startswith(f"{context}/") else None
