"""Restarts the process in a container without restarting the container.

A shell script runs as the container's first process, in front of the image's own command, and starts that
anew when it gets SIGPWR. It passes all other signals on and ends with its child's exit code. Where the image
has not what the script needs besides a shell it steps aside, and `generation` is None.

Whether the new process runs is told by the script without a trace in files, logs or the environment: it
catches SIGRTMAX in every other generation, which the kernel shows to everybody who may see the process.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from devloop.engine.base import EngineRefused
from devloop.engine.sync import Wire
from devloop.errors import DevloopError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from devloop.engine.containers import Containers

SHELL: Final = "/bin/sh"
MARK: Final = "devloop-supervisor"
"""The name that the script goes by, `$0`."""
RESTART: Final = 30
"""SIGPWR: the kernel sends it to no container, and no server is known to use it."""
PARITY: Final = 64
"""SIGRTMAX, caught in every other generation; the one signal that is not always passed on."""

_NAMES: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN "
    "TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
)
SIGNALS: Final = {
    **{name: number for number, name in enumerate(_NAMES.split(), start=1)},
    "IOT": 6,
    "CLD": 17,
    "POLL": 29,
}
"""Linux's signals; the machine that devloop runs on may number them differently."""
_RT_MIN, _RT_MAX = 34, 64
_NOT_FORWARDED = frozenset({9, 17, 19, RESTART, 32, 33, PARITY})
"""Those that cannot be caught, the news of a child's end, the C library's own, and ours."""

_SHELLS_OWN: Final = (
    "_ BASHOPTS BASH_ENV DIRSTACK ENV EUID FUNCNAME GROUPS IFS LINENO OLDPWD OPTARG OPTERR OPTIND PIPESTATUS "
    "PPID PS1 PS2 PS4 PWD RANDOM SECONDS SHELLOPTS SHLVL UID"
)
"""Variables that some shell does not hand down as it got them."""
_WANT_TO_BE_FIRST = frozenset({"init", "systemd", "my_init", "s6-svscan", "runit-init", "openrc-init"})
"""Programs that refuse to work unless they are the first process."""
_TINI = frozenset({"tini", "tini-static", "docker-init"})

_SCRIPT = r"""exec 3>&2 4<&0 2>/dev/null 5<<END
END
unset OLDPWD PWD SHLVL
way=
if env --default-signal=INT,QUIT true; then way=wait
elif [ -p /proc/self/fd/5 ] && exec 6>/proc/self/fd/5; then
read -r -t 1 n </dev/null
[ $? = 1 ] && way=read
fi
[ "$way" ] || exec "$@" 2>&3 3>&- 4<&- 5<&- 6>&-
child= again= got= last= odd=
pass() {
got=$1
if [ "$child" ]; then kill -"$1" "$child"
else case $1 in 1|2|3|15|@STOP@) exit $((128 + $1)) ;; esac; fi
}
for n in @FORWARDED@; do trap "pass $n" "$n"; done
trap 'got=@RESTART@
if [ "$again" ]; then kill -9 "$child"; elif [ "$child" ]; then again=1; kill -@STOP@ "$child"; fi' @RESTART@
state() {
line=
read -r line <"/proc/$1/stat"
line=${line##*') '}
}
while :; do
again= last=
if [ $way = wait ]; then
exec env -u _ -u SHLVL --default-signal=INT,QUIT "$@" <&4 2>&3 3>&- 4<&- 5<&- &
child=$!
else
(/bin/sh -c 'kill -9 "$PPID"; trap : 1 2 3 15; n=$1; shift
/bin/sh -c "$n" sh "$@"; echo "=$?=" >&6' sh \
'unset OLDPWD PWD SHLVL; echo "$$ $PPID" >&6; exec "$@" 2>&3 3>&- 5<&- 6>&-' "$@" <&4 4<&-; :)
until read -r child run <&5; do :; done
fi
if [ "$odd" ]; then odd=; trap - @PARITY@; else odd=1; trap : @PARITY@; fi
while [ $way = wait ]; do
got=
wait "$child"
code=$?
if [ -z "$got" ]; then
[ "$code" = 127 ] && [ "$last" ] && code=$last
break
fi
last=$code
done
while [ $way = read ]; do
read -r -t 1 code <&5 && break
state "$run"
case $line in [!ZX]*) ;; *) read -r -t 1 code <&5; break ;; esac
done
if [ $way = read ]; then case $code in =*=) code=${code#=} code=${code%=} ;; *) code=137 ;; esac; fi
[ "$again" ] || exit "$code"
child= n=1 turn=0
while [ "$n" ] && [ "$turn" -lt 500 ]; do
n= turn=$((turn + 1))
for f in /proc/[0-9]*; do
state "${f#/proc/}"
case $line in
[ZX]*) ;;
?' 1 '*) kill -9 "${f#/proc/}" && n=1 ;;
esac
done
done
done
"""
# Of the script's turns:
# - A shell starts a background child deaf to SIGINT and SIGQUIT, and can't undo that. `env` of coreutils can
#   (since 8.31): then the script waits for its child. Else, in a shell whose `read` knows a time limit
#   (busybox), nothing is started in the background: a shell in the foreground starts another one and is
#   killed by it at once. That one runs the command, and tells by a pipe when it ended, and how; the script
#   waits for that by `read`, which returns for a signal too. With neither the script steps aside.
# - `wait` comes back for a signal as well as for the child's end: `got` tells which. Where both happen at
#   once, the second `wait` no longer knows the child (127), and the code is the one of the first.
# - A signal that finds no child between two generations ends the container if it would have ended the child.
# - A second request while the first is still obeyed kills.
# - What the old child left behind has process 1 as its parent now and would keep its port. Whoever came by
#   `docker exec` has no parent here, and stays.
# - The script's own words go nowhere: a shell tells of children that a signal ended.


class CannotRestart(DevloopError):  # noqa: N818 - a refusal, named as one
    """The process cannot be restarted in place, or did not come back; restart the container."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Which run of its child a supervisor is at, as far as it tells: of two in a row, one is odd."""

    is_odd: bool


def supports(
    entry: Sequence[str],
    env: Iterable[str] = (),
    *,
    has_shell: bool,
    tty: bool = False,
    init: bool = False,
    stop_signal: str | None = None,
) -> str | None:
    """Return None if the supervisor may stand in front of `entry`, else the reason why not.

    `entry` is entrypoint and command of the container, `env` the names of its variables; `has_shell` says
    that the image has /bin/sh.
    """
    if not entry:
        return "the image has no command"
    if not has_shell:
        return "the image has no /bin/sh"
    if tty:
        return "the container has a terminal"
    if init:
        return "the container has an init process"
    if "=" in entry[0]:
        return f"{entry[0]} has an equals sign in its name"
    if entry[0].rpartition("/")[2] in _WANT_TO_BE_FIRST:
        return f"{entry[0]} must be the first process"
    if signal_number(stop_signal) in {None, 9, 19, RESTART}:
        return f"the stop signal is {stop_signal}"
    lost = next(
        (
            name
            for name in env
            if name in _SHELLS_OWN.split() or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        ),
        None,
    )
    return None if lost is None else f"a shell would not hand down the variable {lost}"


def wrap(entry: Sequence[str], *, stop_signal: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return entrypoint and command of a container that runs `entry` under the supervisor.

    tini is told not to complain that it is not the first process.
    """
    number = signal_number(stop_signal)
    if number is None:
        raise ValueError(stop_signal)
    forwarded = [str(n) for n in range(1, _RT_MAX + 1) if n not in _NOT_FORWARDED]
    script = _SCRIPT.replace("@STOP@", str(number)).replace("@RESTART@", str(RESTART))
    script = script.replace("@PARITY@", str(PARITY)).replace("@FORWARDED@", " ".join(forwarded))
    command = tuple(entry)
    if command[0].rpartition("/")[2] in _TINI:
        command = (command[0], "-s", *command[1:])
    return (SHELL, "-c", script, MARK), command


def unwrap(command: Sequence[str]) -> tuple[str, ...]:
    """Return what a container's command is without the supervisor; `command` as the engine shows it."""
    return tuple(command[4:] if is_wrapped(command) else command)


def is_wrapped(command: Sequence[str]) -> bool:
    """Tell whether a container was made with the supervisor; it may have stepped aside since."""
    return len(command) > 4 and command[0] == SHELL and command[3] == MARK


def signal_number(name: str | None) -> int | None:
    """Return the number of a STOPSIGNAL; SIGTERM without one, None for one that Linux does not know."""
    text = (name or "TERM").upper().removeprefix("SIG")
    if text.isdecimal():
        return int(text) if 0 < int(text) <= _RT_MAX else None
    if text in SIGNALS:
        return SIGNALS[text]
    match = re.fullmatch(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?", text)
    if match is None:
        return None
    number = (_RT_MIN if match[1] == "MIN" else _RT_MAX) + int(f"{match[2] or '+'}{match[3] or 0}")
    return number if _RT_MIN <= number <= _RT_MAX else None


def has_shell(containers: Containers, image: str) -> bool:
    """Tell whether an image has /bin/sh, from a container that is made for the question and never runs."""
    wire = Wire(containers.engine)
    try:
        made = wire.json("POST", "/containers/create", {"Image": image, "Cmd": ["-"], "Entrypoint": None})
        try:
            status, _, _ = wire.request("HEAD", f"/containers/{made['Id']}/archive", {"path": SHELL})
            return status == 200
        finally:
            wire.json("DELETE", f"/containers/{made['Id']}", query={"v": "1", "force": "1"})
    finally:
        wire.close()


def generation(containers: Containers, ident: str, *, wire: Wire | None = None) -> Generation | None:
    """Return the generation of a container's supervisor; None where none is at work, or none can be seen."""
    own = Wire(containers.engine) if wire is None else wire
    try:
        return _Watched.find(own, ident, is_local=containers.is_local).generation()
    except CannotRestart:
        return None
    finally:
        if wire is None:
            own.close()


def restart_in_place(
    containers: Containers,
    ident: str,
    *,
    grace_seconds: float = 10.0,
    timeout_seconds: float = 5.0,
    wire: Wire | None = None,
) -> float:
    """Let the supervisor end its child and start it anew; returns the seconds until the new one exists.

    By then nothing of the old one is left, so that a port that accepts is the new one's. A child that does
    not end within `grace_seconds` is killed. A container that ends, as it does with its new child, is for the
    wait for its health to tell. Raises `CannotRestart` where no supervisor is at work, and where there is no
    new child `timeout_seconds` after the old one must be gone.
    """
    own = Wire(containers.engine) if wire is None else wire
    start = time.monotonic()
    try:
        watched = _Watched.find(own, ident, is_local=containers.is_local)
        before = watched.generation()
        if before is None:
            raise CannotRestart("no supervisor is at work in the container")
        watched.signal()
        deadline, is_killed, pause = start + grace_seconds, False, 0.0005
        while watched.generation() == before:
            if time.monotonic() > deadline:
                if is_killed:
                    raise CannotRestart("the process did not come back")
                watched.signal()
                is_killed, deadline = True, time.monotonic() + timeout_seconds
            time.sleep(pause)
            pause = min(pause * 1.3, 0.02)
        return time.monotonic() - start
    finally:
        if wire is None:
            own.close()


class _Watched:
    """A container whose supervisor is looked at: in this kernel's /proc if it is there, else by `ps`."""

    def __init__(self, wire: Wire, ident: str, pid: int, *, is_here: bool) -> None:
        self._wire = wire
        self._ident = ident
        self._pid = pid
        self._is_here = is_here

    @classmethod
    def find(cls, wire: Wire, ident: str, *, is_local: bool) -> _Watched:
        record: dict[str, Any] = wire.json("GET", f"/containers/{ident}/json")
        command = (str(record.get("Path") or ""), *(str(each) for each in record.get("Args") or ()))
        pid = int((record.get("State") or {}).get("Pid") or 0)
        if not pid:
            raise CannotRestart("the container does not run")
        if not is_wrapped(command):
            raise CannotRestart("the container was made without a supervisor")
        is_here = False
        if is_local:
            with suppress(OSError):
                is_here = str(record["Id"]) in Path(f"/proc/{pid}/cgroup").read_text()
        return cls(wire, ident, pid, is_here=is_here)

    def signal(self) -> None:
        try:
            self._wire.json("POST", f"/containers/{self._ident}/kill", query={"signal": "SIGPWR"})
        except EngineRefused as refused:
            raise CannotRestart(refused.message) from refused

    def generation(self) -> Generation | None:
        caught = self._caught_here() if self._is_here else self._caught_by_ps()
        if caught is None or not caught >> (RESTART - 1) & 1:
            return None
        return Generation(is_odd=bool(caught >> (PARITY - 1) & 1))

    def _caught_here(self) -> int | None:
        with suppress(OSError):
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8", errors="replace")
            match = re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
            return int(match[1], 16) if match else None
        return None

    def _caught_by_ps(self) -> int | None:
        try:
            listed = self._wire.json(
                "GET", f"/containers/{self._ident}/top", query={"ps_args": "-o pid,caught"}
            )
        except (EngineRefused, json.JSONDecodeError):
            return None
        for row in listed.get("Processes") or ():
            if row[0] == str(self._pid) and re.fullmatch(r"[0-9a-fA-F]{16}", row[-1]):
                return int(row[-1], 16)
        return None
