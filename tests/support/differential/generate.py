"""Makes projects and edits from a seed, over everything that the cache model speaks of."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from support.differential.case import Case, Edit, Item, Node, Options, State, apply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BASE = "devloop-test-busybox:latest"
OWN_BASE = "devloop-diff-@@"
TOP = "/@@"
"""Everything that a case writes lies below this folder: without it, cases would share their first steps."""

_FILES = (
    "a.txt", "b.txt", "c.md", "d/e.txt", "d/f.md", "d/g/h.txt", "w1/x.txt", "w2/x.txt", "w1/y.md",
    ".hidden", ".git/HEAD", ".git/index", "sp ace.txt", "[odd].txt", "src/main.py", "src/lib/u.py",
)  # fmt: skip
_PATTERNS = (
    "*.md", "d", "!d/e.txt", "d/g", "**/x.txt", ".git", "Dockerfile", ".dockerignore", "src/lib", "*.py",
    "w1", "!w1/y.md", "# a comment", "a.tx?", "**/*.md", "!**/f.md", "/b.txt", "./c.md", "*", "!src", "!d",
    "!a.txt", "nothing/here", "d/", "",
)  # fmt: skip
_ARGS = ("X", "Y", "TARGETARCH", "TARGETSTAGE", "HTTP_PROXY", "no_proxy", "BASE_ARG")
_ENVS = ("A", "B", "C", "X", "PATH2")


@dataclass(slots=True)
class _Stage:
    """What the generator remembers of a stage while it writes it."""

    index: int
    name: str | None
    has_shell: bool
    outputs: list[str] = field(default_factory=list)
    user: str = ""
    steps: int = 0


def make_case(seed: str, *, steps: int | None = None) -> Case:
    """Make the case of a seed; the same seed always gives the same case."""
    maker = _Maker(random.Random(seed))
    start = maker.project()
    return Case(start, maker.edits(start, steps), seed)


class _Maker:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.number = 0
        self.serial = 0
        self.stages: list[_Stage] = []
        self.named: dict[str, str] = {}

    # Small helpers

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def text(self, size: int = 1) -> str:
        self.serial += 1
        return f"@@ {self.serial}\n" * size

    def item(self, text: str) -> Item:
        self.number += 1
        return Item(self.number, text)

    # The tree

    def project(self) -> State:
        rng = self.rng
        nodes: dict[str, Node] = {"ctx": Node(None, 0o755)}
        state = State(nodes, ())
        for path in rng.sample(_FILES, rng.randint(6, len(_FILES))):
            state = apply(state, Edit("write", f"ctx/{path}", text=self.text()), [])
        for path in ("a.txt", "d/e.txt", "src/main.py"):
            if f"ctx/{path}" not in state.nodes:
                state = apply(state, Edit("write", f"ctx/{path}", text=self.text()), [])
        if self.chance(0.4):
            state = apply(state, Edit("folder", f"ctx/{rng.choice(['empty', 'd/empty', 'src/empty'])}"), [])
        if self.chance(0.35):
            target = rng.choice(["a.txt", "d", "/d/e.txt", "../../a.txt", "nowhere", "d/../a.txt"])
            state = apply(state, Edit("link", f"ctx/{rng.choice(['link', 'd/link'])}", to=target), [])
        if self.chance(0.3):
            path = rng.choice([path for path, node in state.nodes.items() if node.text is not None])
            state = apply(state, Edit("chmod", path, mode=rng.choice([0o600, 0o755, 0o4755, 0o640])), [])
        if self.chance(0.25):
            state = apply(state, Edit("write", "other/o.txt", text=self.text()), [])
            state = apply(state, Edit("write", "other/sub/p.txt", text=self.text()), [])
            self.named["other"] = "../other"
            if self.chance(0.5):
                state = apply(state, Edit("write", "other/.dockerignore", text="sub\n*.log\n"), [])
        if self.chance(0.5):
            state = apply(state, Edit("write", "ctx/.dockerignore", text=self._ignore()), [])
        options = Options(contexts=dict(self.named))
        if self.chance(0.1):
            options = replace(options, file="ctx/docker/App.Dockerfile")
        elif self.chance(0.05):
            options = replace(options, file="files/Dockerfile")
        if self.chance(0.12):
            state = apply(state, Edit("write", f"{options.file}.dockerignore", text=self._ignore()), [])
        base = self._own_base() if self.chance(0.15) else None
        state = replace(state, options=options, base=base)
        items = self._dockerfile(state)
        args = {name: self.rng.choice(["one", "two", ""]) for name in _ARGS[:2] if self.chance(0.2)}
        hosts = {"db": "10.0.0.1"} if self.chance(0.05) else {}
        return replace(state, items=items, options=replace(options, args=args, hosts=hosts))

    def _ignore(self) -> str:
        return "\n".join(self.rng.sample(_PATTERNS, self.rng.randint(1, 5))) + "\n"

    def _own_base(self) -> str:
        lines = [f"FROM {BASE}"]
        pool = [
            f"ENV A={self.rng.choice('12')} PATH2=/p",
            f"WORKDIR {TOP}/base",
            f"RUN mkdir -p {TOP}/o && echo {self.rng.randint(1, 3)} > {TOP}/o/base",
            f"ONBUILD RUN echo {TOP} trigger $A",
            f"ONBUILD COPY a.txt {TOP}/on/",
            "ONBUILD ENV C=base",
            f"ONBUILD WORKDIR {TOP}/w",
            'SHELL ["/bin/sh", "-ec"]',
            f"LABEL l={self.rng.randint(1, 9)}",
            "USER root",
        ]
        lines += self.rng.sample(pool, self.rng.randint(1, 5))
        return "\n".join(lines) + "\n"

    # The Dockerfile

    def _dockerfile(self, state: State) -> tuple[Item, ...]:
        rng = self.rng
        items: list[Item] = []
        if self.chance(0.1):
            items.append(self.item(rng.choice(["# escape=\\", "# check=skip=all", "# a comment", ""])))
        self.has_global = self.chance(0.3)
        if self.has_global:
            default = rng.choice([BASE, BASE, "${UNSET:-devloop-test-busybox:latest}"])
            items.append(self.item(f"ARG BASE_ARG={default}"))
            if self.chance(0.5):
                items.append(self.item("ARG X=global Y=${X}2"))
        count = rng.choices([1, 2, 3, 4], [30, 40, 20, 10])[0]
        for index in range(count):
            items += self._stage(state, index, is_last=index == count - 1)
        return tuple(items)

    def _stage(self, state: State, index: int, *, is_last: bool) -> list[Item]:
        rng = self.rng
        name = rng.choice(["one", "two", "web", "Build", "x-1"]) + str(index) if self.chance(0.75) else None
        origin, parent = BASE, None
        named = [stage for stage in self.stages if stage.name is not None]
        if named and self.chance(0.3):
            parent = rng.choice(named)
            origin = str(parent.name).lower()
        elif self.chance(0.12):
            origin = "scratch"
        elif state.base is not None and self.chance(0.7):
            origin = OWN_BASE
        elif self.has_global and self.chance(0.5):
            origin = "$BASE_ARG" if self.chance(0.5) else "${BASE_ARG}"
        stage = _Stage(index, name, has_shell=origin != "scratch")
        if parent is not None:
            stage.has_shell = parent.has_shell
            stage.outputs = list(parent.outputs)
        platform = "--platform=$BUILDPLATFORM " if parent is None and self.chance(0.06) else ""
        keyword = rng.choice(["FROM", "FROM", "from"])
        items = [self.item(f"{keyword} {platform}{origin}" + (f" AS {name}" if name else ""))]
        count = rng.randint(2, 6 if is_last else 5)
        items.extend(self.item(self._instruction(state, stage)) for _ in range(count))
        self.stages.append(stage)
        return items

    def _instruction(self, state: State, stage: _Stage) -> str:
        rng = self.rng
        makers = [(self._copy, 26), (self._metadata, 5), (self._environment, 12), (self._workdir, 6)]
        if stage.has_shell:
            makers += [(self._run, 30), (self._copy_from, 14), (self._user, 3), (self._onbuild, 4)]
        else:
            makers += [(self._copy_from, 10)]
        make = rng.choices([make for make, _ in makers], [weight for _, weight in makers])[0]
        return make(state, stage)

    def _destination(self, stage: _Stage) -> str:
        rng = self.rng
        return rng.choice(
            [
                f"{TOP}/c/",
                f"{TOP}/c{stage.steps}/",
                f"{TOP}/e/../c/",
                f"{TOP}//z/",
                f"{TOP}/c/.",
                f"{TOP}/$A/",
            ]
        )

    def _context_sources(self, state: State) -> list[str]:
        rng = self.rng
        files = [
            path[4:]
            for path, node in sorted(state.nodes.items())
            if path.startswith("ctx/") and node.text is not None and " " not in path and "[" not in path
        ]
        folders = [
            path[4:]
            for path, node in sorted(state.nodes.items())
            if path.startswith("ctx/") and node.is_folder
        ]
        links = [
            path[4:] for path, node in sorted(state.nodes.items()) if path.startswith("ctx/") and node.target
        ]
        kind = rng.choices(
            ["file", "folder", "wild", "all", "several", "link", "spelled"], [30, 18, 18, 10, 12, 6, 6]
        )[0]
        match kind:
            case "file":
                return [rng.choice(files)]
            case "folder" if folders:
                return [rng.choice(folders)]
            case "wild":
                return [
                    rng.choice(
                        [
                            "*.txt",
                            "d/*",
                            "w*",
                            "w*/x.txt",
                            "[ab].txt",
                            "?.txt",
                            "*",
                            "**/*.txt",
                            "src/*.p?",
                            "none*",
                            "[[]odd].txt",
                            "d/*.md",
                            ".g*",
                        ]
                    )
                ]
            case "all":
                return [rng.choice([".", "./", "/", "*"])]
            case "several":
                pool = files + folders[:3]
                return rng.sample(pool, min(len(pool), rng.randint(2, 3)))
            case "link" if links:
                return [rng.choice(links)]
            case _:
                path = rng.choice(files)
                return [rng.choice([f"./{path}", f"/{path}", f"x/../{path}", f"../{path}"])]

    def _flags(self) -> list[str]:
        rng = self.rng
        flags: list[str] = []
        if self.chance(0.12):
            owner = rng.choice(["0", "root", "0:0", "root:root", "1000", "1000:0", "00", ":0", "$UNSET"])
            flags.append(f"--chown={owner}")
        if self.chance(0.12):
            flags.append(f"--chmod={rng.choice(['644', '0644', '755', 'u+x', 'u=rwX,go=rX'])}")
        if self.chance(0.08):
            flags.append("--link")
        if self.chance(0.12):
            flags.append(f"--exclude={rng.choice(['*.md', '**/*.txt', 'g', 'lib', '$A', 'nothing'])}")
            if self.chance(0.2):
                flags.append("--exclude=*.py")
        rng.shuffle(flags)
        return flags

    def _copy(self, state: State, stage: _Stage) -> str:
        rng = self.rng
        stage.steps += 1
        if self.chance(0.12):
            return self._copy_heredoc(stage)
        keyword = "ADD" if self.chance(0.15) else rng.choice(["COPY", "COPY", "COPY", "copy"])
        sources = self._context_sources(state)
        flags = self._flags()
        if self.named and self.chance(0.2) and keyword.upper() == "COPY":
            flags.insert(0, "--from=other")
            sources = rng.choice([["o.txt"], ["."], ["*.txt"], ["o.txt", "/o.txt"]])
        destination = self._destination(stage)
        if self.chance(0.1):
            destination = rng.choice(["rel/", "./", f"{TOP}/c/one"]) if len(sources) == 1 else "rel/"
        if destination in {"rel/", "./"}:
            # A path below the WORKDIR, which may be the root: the salt has to be in it.
            destination = f".{TOP}/{destination.removeprefix('./')}"
        if self.chance(0.15) or any(" " in one for one in sources):
            words = ", ".join(f'"{word}"' for word in [*sources, destination])
            return " ".join([keyword, *flags, f"[{words}]"])
        return " ".join([keyword, *flags, *sources, destination])

    def _copy_heredoc(self, stage: _Stage) -> str:
        rng = self.rng
        name = rng.choice(["EOF", "conf.ini", "E2"])
        quoted = rng.choice([name, f'"{name}"', f"-{name}"])
        path = f"{TOP}/h/"
        stage.outputs.append(f"{TOP}/h/{name}")
        more = "a.txt " if self.chance(0.2) else ""
        tail = "" if self.chance(0.8) else "<<SECOND "
        second = "" if not tail else "\nsecond @@\nSECOND"
        return f"COPY {more}<<{quoted} {tail}{path}\nbody @@ $A ${{X:-none}}\n# not a comment\n{name}{second}"

    def _copy_from(self, state: State, stage: _Stage) -> str:
        rng = self.rng
        stage.steps += 1
        earlier = [one for one in self.stages if one.outputs]
        destination = f"{TOP}/f{stage.steps}/" if self.chance(0.7) else f"{TOP}/f/"
        if not earlier:
            if self.chance(0.4):
                source = rng.choice(["/etc/passwd", "/etc/group", "etc/pass*"])
                return f"COPY --from={BASE} {source} {destination}"
            return self._copy(state, stage)
        source_stage = rng.choice(earlier)
        reference = str(source_stage.index)
        if source_stage.name is not None and self.chance(0.7):
            reference = rng.choice([source_stage.name, source_stage.name.lower(), source_stage.name.upper()])
        output = rng.choice(source_stage.outputs)
        spelled = rng.choice(
            [output, output, output[1:], output.rpartition("/")[0], output[:-1] + "*", f"{TOP}/o/*"]
        )
        if spelled == TOP:
            spelled = output
        if spelled == f"{TOP}/o/*" and not output.startswith(f"{TOP}/o/"):
            spelled = output
        stage.outputs.append(destination + output.rpartition("/")[2]) if spelled in {
            output,
            output[1:],
        } else None
        flags = self._flags() if self.chance(0.4) else []
        return " ".join(["COPY", f"--from={reference}", *flags, spelled, destination])

    def _run(self, state: State, stage: _Stage) -> str:
        rng = self.rng
        stage.steps += 1
        output = f"{TOP}/o/r{rng.randint(1, 4)}"
        kind = rng.choices(["inputs", "constant", "random", "env", "none"], [30, 20, 12, 25, 13])[0]
        known = [one for one in stage.outputs if one.startswith(f"{TOP}/")]
        reads = rng.choice([f"{TOP}/c/a.txt", f"{TOP}/c/*", *known[:2]])
        make = f"mkdir -p {TOP}/o"
        command = {
            "inputs": f"{make} && cat {reads} > {output} 2>/dev/null || true",
            "constant": f"{make} && echo constant > {output}",
            "random": f"{make} && head -c 8 /dev/urandom | od -An -tx1 > {output}",
            "env": f'{make} && echo "$A $X $B" > {output}',
            "none": f": {TOP}",
        }[kind]
        if stage.user not in {"", "root", "0", "root:0"}:
            command = f": {TOP} {rng.randint(1, 3)}"
        elif kind != "none":
            stage.outputs.append(output)
        flags: list[str] = []
        for _ in range(rng.choices([0, 1, 2], [65, 25, 10])[0]):
            flags.append(self._mount(state))
            if "/mnt" in flags[-1] and "from=" not in flags[-1] and self.chance(0.5) and kind == "inputs":
                command = f"{make} && (cat /mnt/a.txt /mnt 2>/dev/null || true) > {output}"
                if stage.user not in {"", "root", "0", "root:0"}:
                    command = f": {TOP}"
        targets = [flag for flag in flags if "/mnt" in flag]
        if len(targets) > 1:
            flags.remove(targets[1])
        if self.chance(0.08):
            flags.append(f"--network={rng.choice(['none', 'default', 'none'])}")
        form = rng.choices(["shell", "json", "heredoc", "script", "line"], [70, 10, 9, 5, 6])[0]
        head = " ".join(["RUN" if self.chance(0.9) else "run", *flags])
        match form:
            case "json":
                return f'{head} ["/bin/sh", "-c", {_json(command)}]'
            case "heredoc":
                return f"{head} <<EOF\n# {TOP}\n{command}\nEOF"
            case "script":
                return f"{head} <<SCRIPT\n#!/bin/sh\n{command}\nSCRIPT"
            case "line":
                return f"{head} cat <<EOF > /dev/null; {command}\n{TOP}\nEOF"
            case _ if self.chance(0.15) and " && " in command:
                return f"{head} {command}".replace(" && ", " \\\n  && ", 1)
            case _:
                return f"{head} {command}"

    def _mount(self, state: State) -> str:
        rng = self.rng
        earlier = [one for one in self.stages if one.outputs and one.name]
        kind = rng.choices(["bind", "stage", "cache", "tmpfs", "secret"], [40, 25, 20, 8, 7])[0]
        if kind == "stage" and earlier:
            source = rng.choice(earlier)
            output = rng.choice(source.outputs)
            taken = rng.choice([output, output.rpartition("/")[0], ""])
            part = f",source={taken}" if taken else ""
            return f"--mount=type=bind,from={str(source.name).lower()}{part},target=/mnt"
        if kind == "cache":
            extra = rng.choice(
                ["", ",id=x", ",id=y", ",sharing=locked", ",sharing=private", ",mode=0755", ",uid=0"]
            )
            if earlier and self.chance(0.15):
                source = rng.choice(earlier)
                extra += (
                    f",from={str(source.name).lower()},source={rng.choice(source.outputs).rpartition('/')[0]}"
                )
            return f"--mount=type=cache,target={rng.choice(['/cc', '/cc/', '/cd'])}{extra}"
        if kind == "tmpfs":
            return f"--mount=type=tmpfs,target=/tt{rng.choice(['', ',size=1m', ',size=1048576'])}"
        if kind == "secret":
            extra = rng.choice(["", ",target=/run/t", ",env=SEC", ",mode=0444"])
            return f"--mount=type=secret,id={rng.choice(['s', 'k'])}{extra}"
        named = ",from=other" if self.named and self.chance(0.25) else ""
        files = [
            path[4:]
            for path, node in sorted(state.nodes.items())
            if path.startswith("ctx/") and (node.text is not None or node.is_folder) and " " not in path
        ]
        taken = (
            rng.choice(["o.txt", ""]) if named else rng.choice([rng.choice(files), "", ".", "/a.txt", "d"])
        )
        part = f",{rng.choice(['source', 'src'])}={taken}" if taken else ""
        mode = rng.choice(["", "", "", ",ro", ",rw", ",readonly=true"])
        key = rng.choice(["target", "dst", "destination"])
        return f"--mount={rng.choice(['type=bind,', ''])}{key}=/mnt{part}{mode}{named}"

    def _environment(self, _state: State, _stage: _Stage) -> str:
        rng = self.rng
        name, value = rng.choice(_ENVS), rng.choice(["1", "2", "$A", "${X:-d}", '"q w"', "'$A'", "${B}x"])
        kind = rng.choices(["env", "two", "old", "arg", "argd", "args"], [30, 15, 8, 20, 20, 7])[0]
        match kind:
            case "env":
                return f"ENV {name}={value}"
            case "two":
                other = rng.choice([one for one in _ENVS if one != name])
                return f"ENV {name}={value} {other}=$A"
            case "old":
                return f"ENV {name} some words $A"
            case "arg":
                return f"ARG {rng.choice(_ARGS)}"
            case "argd":
                return f"ARG {rng.choice(['X', 'Y', 'A'])}={rng.choice(['d', '', '${A}', '$Y'])}"
            case _:
                return "ARG X=1 Y=$X"

    def _workdir(self, _state: State, _stage: _Stage) -> str:
        places = ["w", "w/", "w/$A", "w/../v"]
        return f"WORKDIR {self.rng.choice(['/', f'.{TOP}/sub', *(f'{TOP}/{one}' for one in places)])}"

    def _user(self, _state: State, stage: _Stage) -> str:
        stage.user = self.rng.choice(["root", "0", "root:0", "1000", "root"])
        return f"USER {stage.user}"

    def _metadata(self, _state: State, _stage: _Stage) -> str:
        return self.rng.choice(
            [
                "LABEL a=b c=$A", "CMD echo hi", 'CMD ["echo", "hi"]', "ENTRYPOINT sleep 1",
                "EXPOSE 80 $UNSET",
                "VOLUME /vol", "STOPSIGNAL SIGINT", "HEALTHCHECK --interval=5s CMD true", "MAINTAINER me",
                'SHELL ["/bin/sh", "-ec"]', 'SHELL ["/bin/sh", "-c"]', "HEALTHCHECK NONE",
            ]
        )  # fmt: skip

    def _onbuild(self, state: State, stage: _Stage) -> str:
        aside = _Stage(stage.index, None, has_shell=True)
        make = self.rng.choice([self._copy, self._environment, self._workdir, self._run, self._metadata])
        text = make(state, aside)
        return f"ONBUILD {text}" if not text.startswith("MAINTAINER") else "ONBUILD USER 0"

    # Edits

    def edits(self, start: State, steps: int | None) -> tuple[tuple[Edit, ...], ...]:
        rng = self.rng
        count = steps if steps is not None else rng.randint(2, 5)
        history, state = [start], start
        made: list[tuple[Edit, ...]] = []
        for _ in range(count):
            group: list[Edit] = []
            for _ in range(rng.choices([1, 2, 3], [70, 20, 10])[0]):
                edit = self._edit(state, history)
                if edit is not None:
                    group.append(edit)
                    state = apply(state, edit, history)
            history.append(state)
            made.append(tuple(group))
            if state.options.no_cache:
                state = replace(state, options=replace(state.options, no_cache=False))
                made.append((Edit("no-cache", text=""),))
                history.append(state)
        return tuple(made)

    def _edit(self, state: State, history: Sequence[State]) -> Edit | None:
        makers: list[tuple[Callable[[State], Edit | None], int]] = [
            (self._edit_tree, 45),
            (self._edit_text, 35),
            (self._edit_options, 12),
            (self._edit_ignore, 6),
        ]
        if len(history) > 1:
            makers.append((lambda _state: Edit("revert", after=self.rng.randrange(len(history))), 9))
        make = self.rng.choices([make for make, _ in makers], [weight for _, weight in makers])[0]
        return make(state)

    def _edit_tree(self, state: State) -> Edit | None:
        rng = self.rng
        inside = [path for path in sorted(state.nodes) if path.count("/") and path != state.options.file]
        files = [path for path in inside if state.nodes[path].text is not None]
        folders = [path for path in inside if state.nodes[path].is_folder]
        if not files:
            return None
        path = rng.choice(files)
        kind = rng.choices(
            ["write", "same", "touch", "chmod", "chmod-folder", "add", "remove", "remove-folder", "rename",
             "to-folder", "to-link", "swap", "link", "stealth", "restart", "empty", "move-folder"],
            [22, 3, 6, 7, 5, 10, 6, 2, 7, 2, 3, 4, 3, 2, 2, 3, 2],
        )[0]  # fmt: skip
        match kind:
            case "write":
                return Edit("write", path, text=self.text(rng.randint(1, 3)))
            case "same":
                return Edit("write", path, text=str(state.nodes[path].text))
            case "touch":
                return Edit("touch", path)
            case "chmod":
                return Edit("chmod", path, mode=rng.choice([0o600, 0o644, 0o755, 0o664]))
            case "chmod-folder" if folders:
                return Edit("chmod", rng.choice(folders), mode=rng.choice([0o700, 0o755, 0o775]))
            case "add":
                place = rng.choice([*folders, "ctx"])
                return Edit(
                    "write", f"{place}/{rng.choice(['new.txt', 'new.md', 'z.py', '.n'])}", text=self.text()
                )
            case "remove":
                return Edit("remove", path)
            case "remove-folder" if folders:
                return Edit("remove", rng.choice(folders))
            case "rename":
                place = rng.choice([path.rpartition("/")[0], *folders, "ctx"])
                return Edit(
                    "rename", path, to=f"{place}/{rng.choice(['r.txt', 'r.md', path.rpartition('/')[2]])}"
                )
            case "move-folder" if folders:
                return Edit("rename", rng.choice(folders), to=f"{rng.choice(['ctx', *folders])}/moved")
            case "to-folder":
                return Edit("write", f"{path}/inner.txt", text=self.text())
            case "to-link":
                return Edit("link", path, to=rng.choice(["a.txt", "../a.txt", "d", "/d/e.txt"]))
            case "swap":
                return Edit("swap", path, to=rng.choice(files))
            case "link":
                return Edit(
                    "link",
                    f"ctx/{rng.choice(['link', 'd/link', 'l2'])}",
                    to=rng.choice(["a.txt", "d", "b.txt", "src"]),
                )
            case "stealth":
                old = str(state.nodes[path].text)
                return Edit("stealth", path, text=old[:-2] + "~\n") if len(old) > 4 else None
            case "restart":
                return Edit("restart")
            case "empty":
                return Edit("folder", f"{rng.choice([*folders, 'ctx'])}/void")
        return Edit("write", path, text=self.text())

    def _edit_ignore(self, state: State) -> Edit | None:
        rng = self.rng
        specific = f"{state.options.file}.dockerignore"
        path = specific if specific in state.nodes or self.chance(0.1) else "ctx/.dockerignore"
        if path in state.nodes and self.chance(0.2):
            return Edit("remove", path)
        lines = str(state.nodes[path].text).splitlines() if path in state.nodes else []
        if lines and self.chance(0.3):
            lines.remove(rng.choice(lines))
        elif len(lines) > 1 and self.chance(0.3):
            rng.shuffle(lines)
        else:
            lines.insert(rng.randint(0, len(lines)), rng.choice(_PATTERNS))
        return Edit("write", path, text="".join(f"{line}\n" for line in lines))

    def _edit_options(self, state: State) -> Edit | None:
        rng, options = self.rng, state.options
        kind = rng.choices(
            [
                "arg",
                "no-arg",
                "host",
                "target",
                "network",
                "no-cache",
                "context",
                "base",
                "side",
                "foreign",
                "prune",
            ],
            [30, 8, 8, 18, 6, 3, 6, 12, 6, 5, 3],
        )[0]
        match kind:
            case "arg":
                return Edit(
                    "arg", rng.choice(_ARGS[:2] + _ARGS[4:6]), text=rng.choice(["one", "two", "", "3"])
                )
            case "no-arg" if options.args:
                return Edit("no-arg", rng.choice(sorted(options.args)))
            case "host":
                return Edit("host", rng.choice(["db", "mq"]), text=rng.choice(["10.0.0.1", "10.0.0.2"]))
            case "target":
                names = [str(stage.name) for stage in self.stages if stage.name]
                return Edit("target", text=rng.choice([*names, *(name.lower() for name in names), ""]))
            case "network":
                return Edit("network", text=rng.choice(["none", "default", "host", ""]))
            case "no-cache":
                return Edit("no-cache", text="1")
            case "context" if self.named:
                return Edit("write", "other/o.txt", text=self.text())
            case "base" if state.base is not None:
                return Edit("base", text=self._own_base())
            case "side":
                return Edit("arg", "BUILDKIT_SANDBOX_HOSTNAME", text=rng.choice(["h1", "h2"]))
            case "foreign":
                return Edit("foreign")
            case "prune":
                return Edit("prune")
        return Edit("arg", "X", text=rng.choice(["one", "two"]))

    def _edit_text(self, state: State) -> Edit | None:
        rng = self.rng
        if not state.items:
            return None
        item = rng.choice(state.items)
        words = item.text.split(" ")
        kind = rng.choices(
            [
                "comment",
                "blank",
                "delete",
                "move",
                "new",
                "value",
                "wrap",
                "indent",
                "blanks",
                "case",
                "again",
                "regen",
                "path",
                "flag",
            ],
            [6, 3, 5, 8, 10, 14, 6, 4, 5, 4, 4, 10, 8, 6],
        )[0]
        is_plain = "\n" not in item.text and "<<" not in item.text and not item.text.startswith("#")
        stage = self._fresh_stage(state, item)
        match kind:
            case "comment":
                self.number += 1
                return Edit("insert", item=self.number, after=item.number, text=f"# note {self.serial}")
            case "blank":
                self.number += 1
                return Edit("insert", item=self.number, after=item.number, text="")
            case "delete" if not item.text.upper().startswith("FROM"):
                return Edit("delete", item=item.number)
            case "move" if not item.text.upper().startswith("FROM"):
                return Edit("move", item=item.number, after=rng.choice(state.items).number)
            case "new":
                self.number += 1
                return Edit(
                    "insert", item=self.number, after=item.number, text=self._instruction(state, stage)
                )
            case "wrap" if is_plain and len(words) > 2:
                at = rng.randrange(1, len(words))
                return Edit(
                    "item", item=item.number, text=" ".join(words[:at]) + " \\\n" + " ".join(words[at:])
                )
            case "indent" if is_plain and len(words) > 2:
                at = rng.randrange(1, len(words))
                return Edit(
                    "item",
                    item=item.number,
                    text=" ".join(words[:at]) + " \\\n# inside\n    " + " ".join(words[at:]),
                )
            case "blanks" if is_plain and len(words) > 1:
                at = rng.randrange(1, len(words))
                return Edit("item", item=item.number, text=" ".join(words[:at]) + "  " + " ".join(words[at:]))
            case "case" if words[0].isalpha():
                return Edit("item", item=item.number, text=" ".join([words[0].swapcase(), *words[1:]]))
            case "again" if not item.text.upper().startswith("FROM"):
                self.number += 1
                return Edit("insert", item=self.number, after=item.number, text=item.text)
            case "regen" if not item.text.upper().startswith(("FROM", "#")):
                return Edit("item", item=item.number, text=self._instruction(state, stage))
            case "value" if "=" in item.text and item.text.startswith(("ENV ", "ARG X", "ARG Y", "ARG A")):
                name, _, _rest = item.text.partition("=")
                return Edit(
                    "item", item=item.number, text=f"{name}={rng.choice(['1', '2', 'changed', '$B'])}"
                )
            case "path" if (
                item.text.upper().startswith("COPY") and "--from" not in item.text and "<<" not in item.text
            ):
                sources = self._context_sources(state)
                return Edit(
                    "item", item=item.number, text=" ".join(["COPY", *sources, self._destination(stage)])
                )
            case "flag" if item.text.upper().startswith("COPY "):
                return Edit("item", item=item.number, text=" ".join(["COPY", *self._flags(), *words[1:]]))
        envs = [one for one in state.items if one.text.startswith("ENV ") and "=" in one.text]
        if envs:
            item = rng.choice(envs)
            name, _, _rest = item.text.partition("=")
            return Edit("item", item=item.number, text=f"{name}={rng.choice(['1', '2', 'changed'])}")
        return None

    def _fresh_stage(self, state: State, item: Item) -> _Stage:
        """Return a stage to write an instruction for: the one that the item stands in."""
        index = -1
        for one in state.items:
            if one.text.upper().startswith("FROM"):
                index += 1
            if one is item:
                break
        if not 0 <= index < len(self.stages):
            return _Stage(99, None, has_shell=True, steps=50)
        known = self.stages[index]
        before = self.stages
        self.stages = before[:index]
        stage = _Stage(index, known.name, has_shell=known.has_shell, outputs=list(known.outputs), steps=50)
        self.stages = before
        return stage


def _json(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
