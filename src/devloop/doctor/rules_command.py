"""How a container is started: what keeps a stop signal from the program.

PID 1 has no default action for SIGTERM. A shell in front of the program does not pass it on (Debian's sh
stays there even for one simple command), and neither do package managers reliably; each stop then takes the
whole grace period.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from devloop.cost.shell import program_name
from devloop.dockerfile import instructions as ins
from devloop.doctor import rules_reload
from devloop.doctor.graphs import base_image, image_name, last_of, resolved, start_folder
from devloop.doctor.mentions import mentioned
from devloop.doctor.model import Finding, Proposal
from devloop.doctor.npm_scripts import BUILTINS, RUNNERS, real_command, simple_words
from devloop.doctor.placed import placed_by
from devloop.doctor.rewrite import before_command, edit_of, text_of
from devloop.doctor.starting import SHELLS, Started, as_json, new_text, started_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devloop.doctor.model import Rule, Subject

GRACE_SECONDS = 10.0
"""What docker waits before it kills, and so what a stop costs where the signal does not arrive."""

_SHELL_WORDS = frozenset({"while", "until", "for", "if", "case", "{", "(", "!", "time"})


def shell_form(subject: Subject) -> Iterator[Finding]:
    """Find a shell between the stop signal and the program.

    The exec form is proposed where the shell has nothing to do, `exec` where it only fills in variables. With
    an ENTRYPOINT in exec form the CMD holds its arguments and is no program.
    """
    started = started_by(subject)
    if started is None or started.script is None:
        return
    script = started.script.strip()
    first = (script.split() or [""])[0]
    if program_name(started.shell[0] if started.shell else "") not in SHELLS or script.startswith("exec "):
        return
    if not script or program_name(first) in SHELLS or _runner_words(started) is not None:
        return
    is_json = _meant_words(script) is not None
    keyword = started.keyword
    program = "its commands" if first in _SHELL_WORDS else first
    why = (
        f"a shell runs {program}, and the signal of docker stop reaches only the shell: each stop and"
        f" restart can take the whole {GRACE_SECONDS:.0f} s until the kill"
    )
    if is_json:
        why = "only double quotes make JSON: docker takes this line for a shell command that nobody meant"
    words = _words_without_shell(subject, started)
    text = (
        new_text(subject, started.instruction, words) if words is not None else _with_exec(subject, started)
    )
    edit = edit_of(subject, started.instruction, text) if text is not None else None
    is_asked = _entry_program_asks(subject, started)
    if is_asked:
        edit = None
    if words is not None:
        way_out = f"write the exec form: {keyword} {as_json(words)}"
    elif edit is not None:
        way_out = f"let the program take the place of the shell: {keyword} exec {first} ..."
    else:
        way_out = "move the work into a script that ends in exec PROGRAM, and start that in exec form"
    yield Finding(
        code="shell-form-command",
        title=f"{keyword} is no valid JSON" if is_json else f"{keyword} starts a shell in front of {program}",
        first_line=started.instruction.span.first,
        last_line=started.instruction.span.last,
        why=why,
        way_out=way_out,
        category="restart",
        proposal=Proposal((edit,), intends=frozenset({"command"})) if edit is not None else None,
        seconds=GRACE_SECONDS,
        stops=""
        if edit is not None
        else _SAYS_WHO_STARTS
        if is_asked
        else "the command uses what only a shell can do",
    )


_SAYS_WHO_STARTS = "the entry program of the base prepares more for a program that it knows by name"
_ASKING = frozenset(
    {
        "postgres",
        "postgis",
        "timescaledb",
        "mysql",
        "mariadb",
        "mongo",
        "redis",
        "valkey",
        "nginx",
        "rabbitmq",
    }
    | {"memcached", "cassandra", "elasticsearch", "haproxy", "influxdb", "couchdb", "wordpress", "ghost"}
)


def _entry_program_asks(subject: Subject, started: Started) -> bool:
    """Tell whether the base has an entry program that does more once it sees which program it starts."""
    if last_of(subject.model.graph, ins.Entrypoint) is not None or started.keyword != "CMD":
        return False
    return image_name(base_image(subject.model.graph, subject.model.graph.target)) in _ASKING


def _words_without_shell(subject: Subject, started: Started) -> tuple[str, ...] | None:
    """Return the words of the exec form that does the same, None where the shell is needed."""
    script = (started.script or "").strip()
    meant = _meant_words(script)
    if meant is not None:
        return meant
    configuration = dict(subject.model.graph.configuration)
    if re.search(r"^BASH_ENV=", configuration.get("env", ""), re.MULTILINE):
        return None  # bash reads a file of variables first
    if isinstance(started.instruction, ins.Entrypoint) and last_of(subject.model.graph, ins.Cmd) is not None:
        return None  # the shell drops what CMD holds, the exec form would get it as arguments
    if any(flag.startswith("-") and set(flag) & set("li") for flag in started.shell[1:]):
        return None  # a login shell reads profiles that set variables
    words = simple_words(script)
    return words if words is not None and not _needs_its_shell(subject, words[0]) else None


def _needs_its_shell(subject: Subject, program: str) -> bool:
    """Tell whether a program is a script without `#!`: a shell reads it, the kernel refuses it."""
    if "/" not in program:
        return False
    path = resolved(program, start_folder(subject))
    for one in subject.steps:
        source = (placed_by(subject, one.step) or {}).get(path)
        content = subject.texts(source) if source is not None else None
        if content is not None and not content.startswith((b"#!", b"\x7fELF")):
            return True
    return False


def _meant_words(script: str) -> tuple[str, ...] | None:
    """Read a list with single quotes, which the author took for JSON."""
    try:
        found = ast.literal_eval(script)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        return None
    return tuple(found)


def _with_exec(subject: Subject, started: Started) -> str | None:
    """Put `exec` in front of one command that only needs its variables filled in."""
    script = (started.script or "").strip()
    without_braces = re.sub(r"\$\{\w+(?::?-[\w./:-]*)?\}", "", script)
    first = (script.split() or [""])[0]
    if re.search(r"[`|&;<>(){}\n\r\\#\[]", without_braces) or "$(" in script:
        return None
    if not re.fullmatch(r"[\w./+-]+", first) or first in BUILTINS:
        return None
    if started.words:
        return new_text(subject, started.instruction, (*started.words[:2], f"exec {script}"))
    text = text_of(subject, started.instruction)
    return before_command(text, "exec ", subject.dockerfile.escape)


# --- package managers -------------------------------------------------------------------------------------


def package_manager(subject: Subject) -> Iterator[Finding]:
    """Find npm, yarn or pnpm as the first process; the one program that its script starts is proposed."""
    started = started_by(subject)
    words = _runner_words(started) if started is not None else None
    if started is None or words is None:
        return
    runner = program_name(words[0])
    real, stops = real_command(subject, words, start_folder(subject))
    text = new_text(subject, started.instruction, real) if real is not None else None
    edit = edit_of(subject, started.instruction, text) if text is not None else None
    shown = f"{started.keyword} {as_json(real)}" if real is not None else 'CMD ["node", "server.js"]'
    yield Finding(
        code="package-manager-as-pid-1",
        title=f"{runner} is the first process of the container",
        first_line=started.instruction.span.first,
        last_line=started.instruction.span.last,
        why=f"{runner} starts a shell that starts the program, and does not pass the stop signal on "
        f"reliably: a stop can take the whole {GRACE_SECONDS:.0f} s, and each start loads {runner} first",
        way_out=f"start the program itself ({shown}){_own_signal(subject)}, "
        "or run the container with an init (init: true)",
        category="restart",
        proposal=Proposal((edit,), intends=frozenset({"command"})) if edit is not None else None,
        seconds=GRACE_SECONDS,
        stops="" if edit is not None else stops,
    )


def _own_signal(subject: Subject) -> str:
    """Say what a first process has to do for itself, where the source does not show that it does."""
    return "" if mentioned(subject, ("SIGTERM",)) else ", which then has to end at SIGTERM by itself"


def _runner_words(started: Started) -> tuple[str, ...] | None:
    """Return the words of a command that starts with a package manager."""
    words = started.words if started.script is None else tuple(started.script.split())
    while words and words[0] in {"exec", "env"}:
        words = words[1:]
    return words if words and program_name(words[0]) in RUNNERS else None


RULES: tuple[Rule, ...] = (shell_form, package_manager, *rules_reload.RULES)
