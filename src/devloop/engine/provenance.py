"""Which Dockerfile lines a vertex comes from, and what BuildKit's frontend made of them.

buildx writes the provenance of a build into its metadata file: the ops of the graph, a map from vertex
digest to op, and the ranges of the Dockerfile behind each op. It is there for successful builds only, and
from buildx 0.14 on; without it `match_by_name` matches steps by the names that the stream displays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from devloop.engine.base import ActionFacts, MountFacts, OpFacts
from devloop.engine.progress import step_name, step_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from devloop.engine.base import StepOutcome, Vertex

_PROVENANCE = "buildx.build.provenance"
_DETAILS = "https://mobyproject.org/buildkit@v1#metadata"
_MOUNT_KINDS = {0: "bind", 1: "secret", 2: "ssh", 3: "cache", 4: "tmpfs"}
_NETWORKS = {0: "", 1: "host", 2: "none"}
_SECURITY = {0: "", 1: "insecure"}
_META_FIELDS = frozenset(
    {"args", "env", "cwd", "user", "extraHosts", "hostname", "removeMountStubsRecursive", "proxy_env"}
)


@dataclass(frozen=True, slots=True)
class OpOrigin:
    """An op and the Dockerfile line ranges behind it: several where equal instructions were merged."""

    lines: tuple[tuple[int, int], ...]
    definition: OpFacts


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a metadata file says; `origins` is empty without provenance."""

    image_digest: str | None
    config_digest: str | None
    origins: Mapping[str, OpOrigin]
    layers: Mapping[str, tuple[str, ...]]
    """Vertex digest to the chain of layer digests of its result, where the exporter made layers of it."""


@dataclass(frozen=True, slots=True)
class ExpectedStep:
    """A step as our own reading of the Dockerfile numbers it.

    `stage` is the stage's name, or None where it has none; `ordinal` and `total` count as BuildKit does: a
    FROM that is an image, then every instruction that makes a step.
    """

    stage: str | None
    ordinal: int
    total: int
    keyword: str
    text: str


def parse_metadata(raw: bytes) -> Metadata:
    """Read the metadata file of one build; an empty or broken one gives an empty result.

    A build for several platforms has a provenance each; their ops are taken together, since a digest names
    the same op wherever it appears.
    """
    try:
        record = json.loads(raw)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return Metadata(None, None, {}, {})
    origins: dict[str, OpOrigin] = {}
    layers: dict[str, tuple[str, ...]] = {}
    for key, value in record.items():
        if key.partition("/")[0] == _PROVENANCE and isinstance(value, dict):
            _collect(value, origins, layers)
    return Metadata(
        image_digest=_text(record.get("containerimage.digest")) or None,
        config_digest=_text(record.get("containerimage.config.digest")) or None,
        origins=origins,
        layers=layers,
    )


def steps_by_origin(vertices: Iterable[Vertex], origins: Mapping[str, OpOrigin]) -> tuple[StepOutcome, ...]:
    """Return the steps among `vertices`: what the provenance traces to lines, else what is named like one.

    The provenance decides, because a vertex that another build works on at the same moment carries that
    build's name. The source behind a FROM has lines as well, and is no step. The order is the Dockerfile's
    where all lines are known; else producers come before consumers.
    """
    steps: list[StepOutcome] = []
    for vertex in producers_first(vertices):
        origin = origins.get(vertex.digest)
        if origin is None:
            if vertex.kind == "step":
                steps.append(step_outcome(vertex))
        elif origin.definition.kind == "source":
            continue
        elif origin.lines or vertex.kind == "step":
            steps.append(step_outcome(vertex, lines=origin.lines, definition=origin.definition))
    if all(step.lines for step in steps):
        steps.sort(key=lambda step: step.lines)
    return tuple(steps)


def producers_first(vertices: Iterable[Vertex]) -> list[Vertex]:
    """Order `vertices` so that each stands behind its inputs, a step's base before its other sources."""
    known = {vertex.digest: vertex for vertex in vertices}
    consumed = {digest for vertex in known.values() for digest in vertex.inputs}
    ordered: dict[str, Vertex] = {}
    stack = [(digest, False) for digest in reversed(known) if digest not in consumed]
    while stack:
        digest, is_ready = stack.pop()
        if digest in ordered or digest not in known:
            continue
        if is_ready:
            ordered[digest] = known[digest]
        else:
            stack.append((digest, True))
            stack += [(one, False) for one in reversed(known[digest].inputs)]
    return list(ordered.values())


def match_by_name(vertices: Iterable[Vertex], expected: Sequence[ExpectedStep]) -> dict[int, StepOutcome]:
    """Match displayed steps to `expected` ones; the result maps positions in `expected` to outcomes.

    A displayed step belongs to the expected one with the same stage, number, total and keyword. A stage that
    the display leaves out, or calls `stage-N`, may be any that fits; of several that fit, the one with equal
    text wins, and where that leaves a choice nothing is matched: no answer beats a wrong one. The merge step
    of `COPY --link` counts with its copy, for which the one that ran speaks.
    """
    matched: dict[int, StepOutcome] = {}
    for vertex in vertices:
        if vertex.kind != "step":
            continue
        outcome = step_outcome(vertex)
        position = _position(vertex.name, expected)
        if position is None:
            continue
        before = matched.get(position)
        if before is None or (before.link and not outcome.link and before.status == "cached"):
            matched[position] = outcome
        elif before.status == "cached" and outcome.status != "cached":
            matched[position] = replace(outcome, link=False)
    return matched


def _position(name: str, expected: Sequence[ExpectedStep]) -> int | None:
    shown = step_name(name)
    if shown is None:
        return None
    fitting = [
        position
        for position, step in enumerate(expected)
        if step.ordinal == shown.index
        and step.total == shown.total
        and step.keyword.upper() == shown.keyword.upper()
        and _stage_fits(step.stage, shown.stage)
    ]
    if len(fitting) > 1:
        named = [position for position in fitting if _same(expected[position].text, shown.text)]
        fitting = named or fitting
    return fitting[0] if len(fitting) == 1 else None


def _stage_fits(expected: str | None, shown: str | None) -> bool:
    if shown is None:
        return True
    if expected is None:
        return shown.startswith("stage-")
    return expected.lower() == shown.lower()


def _same(expected: str, shown: str) -> bool:
    return " ".join(expected.split()) == " ".join(shown.split())


def _collect(
    provenance: Mapping[str, Any], origins: dict[str, OpOrigin], layers: dict[str, tuple[str, ...]]
) -> None:
    """Take the ops of one provenance, of either version of its format."""
    config, details = _parts(provenance)
    mapping = {
        digest: step for digest, step in _dict(config.get("digestMapping")).items() if isinstance(step, str)
    }
    digests = {step: digest for digest, step in mapping.items()}
    locations = _dict(_dict(details.get("source")).get("locations"))
    results = _dict(details.get("layers"))
    for item in _list(config.get("llbDefinition")):
        step = _text(_dict(item).get("id"))
        digest = digests.get(step)
        if digest is None:
            continue
        inputs = tuple(_input(_text(one), digests) for one in _list(_dict(item).get("inputs")))
        definition = op_facts(_dict(_dict(item).get("op")), inputs)
        origins[digest] = OpOrigin(_lines(_dict(locations.get(step))), definition)
        chain = _list(results.get(f"{step}:0"))
        if chain:
            layers[digest] = tuple(_text(_dict(layer).get("digest")) for layer in _list(chain[0]))


def _parts(provenance: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    definition = _dict(provenance.get("buildDefinition"))
    if definition:  # SLSA 1.0
        config = _dict(_dict(definition.get("internalParameters")).get("buildConfig"))
        details = _dict(_dict(_dict(provenance.get("runDetails")).get("metadata")).get("buildkit_metadata"))
        return config, details
    return _dict(provenance.get("buildConfig")), _dict(_dict(provenance.get("metadata")).get(_DETAILS))


def _input(reference: str, digests: Mapping[str, str]) -> str:
    """Turn `step3:0` into the producing vertex's digest and the number of its output."""
    step, _, output = reference.partition(":")
    return f"{digests.get(step, step)}:{output or '0'}"


def _lines(location: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Return one range per location: BuildKit lists the lines of an instruction one by one."""
    found: set[tuple[int, int]] = set()
    for one in _list(location.get("locations")):
        numbers: list[int] = []
        for part in _list(_dict(one).get("ranges")):
            start = _number(_dict(_dict(part).get("start")).get("line"))
            end = _number(_dict(_dict(part).get("end")).get("line"))
            numbers += [number for number in (start, end) if number > 0]
        if numbers:
            found.add((min(numbers), max(numbers)))
    return tuple(sorted(found))


def op_facts(op: Mapping[str, Any], inputs: tuple[str, ...] = ()) -> OpFacts:
    """Flatten an LLB op as JSON into plain values; a kind unknown here comes out as "other"."""
    body = _dict(op.get("Op"))
    platform = _platform(_dict(op.get("platform")))
    if "exec" in body:
        return _exec(_dict(body["exec"]), inputs, platform)
    if "file" in body:
        actions = tuple(_action(_dict(one), inputs) for one in _list(_dict(body["file"]).get("actions")))
        return OpFacts("file", inputs=inputs, actions=actions, platform=platform)
    if "source" in body:
        source = _dict(body["source"])
        return OpFacts(
            "source",
            inputs=inputs,
            identifier=_text(source.get("identifier")),
            attributes=_flat(_dict(source.get("attrs"))),
            platform=platform,
        )
    if "merge" in body:
        return OpFacts("merge", inputs=inputs, platform=platform)
    if "diff" in body:
        return OpFacts("diff", inputs=inputs, platform=platform)
    if "build" in body:
        return OpFacts("build", inputs=inputs, platform=platform)
    return OpFacts("other", inputs=inputs, platform=platform)


def _exec(body: Mapping[str, Any], inputs: tuple[str, ...], platform: str) -> OpFacts:
    meta = _dict(body.get("meta"))
    rest = {key: value for key, value in meta.items() if key not in _META_FIELDS}
    for key in ("secretenv", "cdiDevices"):
        if body.get(key):
            rest[key] = body[key]
    return OpFacts(
        "exec",
        inputs=inputs,
        argv=tuple(_text(one) for one in _list(meta.get("args"))),
        env=tuple(_text(one) for one in _list(meta.get("env"))),
        cwd=_text(meta.get("cwd")),
        user=_text(meta.get("user")),
        network=_NETWORKS.get(_number(body.get("network")), "other"),
        security=_SECURITY.get(_number(body.get("security")), "other"),
        hostname=_text(meta.get("hostname")),
        extra_hosts=tuple(
            (_text(_dict(one).get("Host")), _text(_dict(one).get("IP")))
            for one in _list(meta.get("extraHosts"))
        ),
        mounts=tuple(_mount(_dict(one), inputs) for one in _list(body.get("mounts"))),
        attributes=_flat(rest),
        platform=platform,
    )


def _mount(mount: Mapping[str, Any], inputs: tuple[str, ...]) -> MountFacts:
    known = {"input", "selector", "dest", "output", "readonly", "mountType"}
    return MountFacts(
        kind=_MOUNT_KINDS.get(_number(mount.get("mountType")), "other"),
        target=_text(mount.get("dest")),
        input=_at(inputs, _number(mount.get("input"))),
        selector=_text(mount.get("selector")),
        readonly=mount.get("readonly") is True,
        options=_flat({key: value for key, value in mount.items() if key not in known}),
    )


def _action(action: Mapping[str, Any], inputs: tuple[str, ...]) -> ActionFacts:
    body = _dict(action.get("Action"))
    kind = next(iter(body), "other")
    facts = _dict(body.get(kind))
    mode = facts.get("mode")
    return ActionFacts(
        kind=kind,
        source=_text(facts.get("src") or facts.get("oldpath")),
        target=_text(facts.get("dest") or facts.get("path") or facts.get("newpath")),
        input=_at(inputs, _number(action.get("input"))),
        secondary=_at(inputs, _number(action.get("secondaryInput"))),
        owner=_owner(_dict(facts.get("owner"))),
        mode=_text(facts.get("modeStr")) or ("" if mode in {None, -1} else f"{_number(mode):o}"),
        options=_flat(
            {
                key: value
                for key, value in facts.items()
                if key not in {"src", "dest", "path", "oldpath", "newpath", "owner", "mode", "modeStr"}
            }
        ),
    )


def _owner(owner: Mapping[str, Any]) -> str:
    user, group = (_principal(_dict(owner.get(key))) for key in ("user", "group"))
    return f"{user}:{group}" if group else user


def _principal(principal: Mapping[str, Any]) -> str:
    if principal.get("User") == {}:  # a zero is left out of the JSON
        return "0"
    user = _dict(principal.get("User")) or principal
    if "byName" in user:
        return _text(_dict(user["byName"]).get("name"))
    ident = user.get("byId", user.get("byID"))  # the spelling depends on BuildKit's version
    return str(ident) if isinstance(ident, int) else ""


def _at(inputs: tuple[str, ...], index: int) -> str | None:
    return inputs[index] if 0 <= index < len(inputs) else None


def _platform(platform: Mapping[str, Any]) -> str:
    parts = (_text(platform.get(key)) for key in ("OS", "Architecture", "Variant"))
    return "/".join(part for part in parts if part)


def _flat(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted(
            (key, value if isinstance(value, str) else json.dumps(value, sort_keys=True))
            for key, value in facts.items()
        )
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
