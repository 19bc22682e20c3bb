"""Which programs take up changed files by themselves, read from the container's command.

Only what reloads on a change of its source stands here. A program that serves files anew for each request
needs no restart either, but that cannot be read from its command line.

To take a program for a reloader that is none would leave old code running. So its name counts only where a
command has its program, and not as an argument of something else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reloader:
    """A command that reloads: all `words` stand in it, none of `without`; `suffixes` are what it watches."""

    program: str
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    name: str = ""


_SCRIPTS = (".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx", ".json", ".css", ".html", ".vue", ".svelte")

RELOADERS: tuple[Reloader, ...] = (
    Reloader("uvicorn", ("--reload",), (), (".py",)),
    Reloader("fastapi", ("dev",), ("--no-reload",), (".py",)),
    Reloader("hypercorn", ("--reload",), (), (".py",)),
    Reloader("gunicorn", ("--reload",), ("--preload",), (".py",)),
    Reloader("flask", ("run", "--debug"), ("--no-reload",), (".py",)),
    Reloader("manage.py", ("runserver",), ("--noreload",), (".py", ".html")),
    Reloader("django-admin", ("runserver",), ("--noreload",), (".py", ".html")),
    Reloader("streamlit", ("run",), (), (".py",)),
    Reloader("nodemon", (), (), (".js", ".mjs", ".cjs", ".json")),
    Reloader("node", ("--watch",), (), (".js", ".mjs", ".cjs")),
    Reloader("tsx", ("watch",), (), (".ts", ".tsx", ".js", ".json")),
    Reloader("ts-node-dev", (), (), (".ts", ".tsx", ".js")),
    Reloader("vite", (), ("build", "preview"), _SCRIPTS),
    Reloader("next", ("dev",), (), _SCRIPTS),
    Reloader("nuxt", ("dev",), (), _SCRIPTS),
    Reloader("ng", ("serve",), (), _SCRIPTS),
    Reloader("astro", ("dev",), (), (*_SCRIPTS, ".astro", ".md")),
    Reloader("react-scripts", ("start",), (), _SCRIPTS),
    Reloader("webpack", ("serve",), (), _SCRIPTS),
    Reloader("bun", ("--hot",), (), _SCRIPTS),
    Reloader("bun", ("--watch",), (), _SCRIPTS),
    Reloader("deno", ("--watch",), (), _SCRIPTS),
    Reloader("nest", ("start", "--watch"), (), (".ts", ".js")),
    Reloader("air", (), (), (".go", ".tpl", ".tmpl", ".html")),
    Reloader("mkdocs", ("serve",), (), (".md", ".css", ".js")),
    Reloader("php-fpm", (), (), (".php",)),
    Reloader("apache2-foreground", (), (), (".php", ".html", ".css", ".js")),
    Reloader("watchmedo", ("auto-restart",), (), (".py",)),
    Reloader("dotnet", ("watch",), (), (".cs", ".cshtml", ".razor", ".css")),
)


def reloads_itself(
    command: Sequence[str], paths: Sequence[str], environment: Mapping[str, str] | None = None
) -> str | None:
    """Name the reloader that takes up changes of all these paths; None where the process must restart.

    A path that the reloader does not watch needs a restart, as does any command that is not known.
    """
    words = _words(command)
    for reloader in _with_environment(environment or {}):
        if not any(
            _program(word) == reloader.program and _is_program(words, at) for at, word in enumerate(words)
        ):
            continue
        if not all(word in words for word in reloader.words) or any(one in words for one in reloader.without):
            continue
        if all(path.endswith(reloader.suffixes) for path in paths):
            return " ".join((reloader.program, *reloader.words))
    return None


def _with_environment(environment: Mapping[str, str]) -> Sequence[Reloader]:
    if environment.get("FLASK_DEBUG") in {"1", "true", "True"}:
        return (*RELOADERS, Reloader("flask", ("run",), ("--no-reload", "--no-debug"), (".py",)))
    return RELOADERS


def _words(command: Sequence[str]) -> list[str]:
    """Take a command apart, also the text of `sh -c`."""
    if (
        len(command) >= 3
        and _program(command[0]) in {"sh", "bash", "dash", "ash"}
        and command[1] in {"-c", "-lc"}
    ):
        return [word.strip("'\"") for word in " ".join(command[2:]).split()]
    return list(command)


_STARTERS = frozenset(
    (
        *("exec", "env", "npx", "bunx", "yarn", "pnpm", "run", "tini", "dumb-init", "-m", "--"),
        *("python", "python3", "node", "bun", "php", "sh", "bash", "ash", "dash", "ruby"),
        *("&&", "||", ";", "|", "&", "-c", "-lc"),
    )
)
"""What stands before a program: what starts another one, an interpreter, or the end of another command."""


def _is_program(words: Sequence[str], at: int) -> bool:
    """Tell whether a word is what is run: the first one, or after what starts another program."""
    before = at - 1
    while before >= 0 and words[before].startswith("-") and words[before] not in _STARTERS:
        before -= 1
    if before < 0:
        return True
    word = words[before]
    # An entry script runs what follows it; `A=b program` sets a variable first.
    return _program(word) in _STARTERS or word.endswith((".sh", ";", "&&")) or "=" in word


def _program(word: str) -> str:
    return word.rpartition("/")[2]
