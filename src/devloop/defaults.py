"""The configuration file with every key at its default, and a line on what each is for."""

from dataclasses import MISSING, fields, is_dataclass

from devloop.project.settings import Settings

_SECTIONS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The build. Everything here has the meaning that `docker build` gives it.",
        (
            ("file", 'the Dockerfile, if not "Dockerfile"'),
            ("context", "the build context, if not the folder itself"),
            ("target", "the stage to build, if not the last one"),
            ("build_arg", "build arguments; a name alone on the command line takes the environment's value"),
            ("build_context", "named build contexts: a folder, docker-image://REF or a URL"),
            ("platform", "os/arch[/variant]"),
            ("network", "network of RUN steps: default, none or host"),
            ("add_host", "NAME:ADDRESS for RUN steps"),
            ("secret", "secrets by name, as docker build --secret takes them; values never enter the state"),
            ("ssh", "ssh agents by name, as docker build --ssh takes them"),
            ("no_cache", "run every step in every build"),
            ("pull", "look for newer base images in every build"),
        ),
    ),
    (
        "The container.",
        (
            ("run", "false: only build"),
            ("name", "name of the project, its image and its container; the folder's name otherwise"),
            ("publish", "[[IP:]HOST_PORT:]PORT; without any, the ports that the image exposes"),
            ("env", "variables of the container"),
            ("env_file", "files of NAME=value lines"),
            ("volume", "volumes and bind mounts, as docker run --volume takes them"),
            ("run_network", "network of the container"),
            ("command", "a list of words instead of the image's CMD"),
            ("user", "the user to run as"),
            ("init", "a small init as PID 1, for programs that ignore SIGTERM there"),
            ("run_option", "more options of docker run by their long names"),
            ("stop_seconds", "grace between SIGTERM and SIGKILL when the container is replaced"),
            ("health_seconds", "how long a new container may take until it serves"),
            ("rollback", "put the last good container back when the new one dies at once"),
            ("remove", "remove the container at the end of the session"),
        ),
    ),
    (
        "Bringing the container up to date.",
        (
            (
                "live_sync",
                "copy files into the running container where that is proven to be the same as a rebuild",
            ),
            (
                "sync",
                "rules that go before the proof: [[sync]] with path, target and perhaps restart and exec",
            ),
            ("never", "paths whose changes are never synced: [[never]] with path"),
            ("restart", "what a sync restarts: auto, process, container, none or signal:NAME"),
            ("supervisor", "start the container's command under a small shell script that can restart it"),
            ("background_build", "build the image when the tree is quiet after syncs"),
            ("background_seconds", "how long it must be quiet for that"),
        ),
    ),
    (
        "Edits that make an expensive step run again: one that is worth a warning.",
        (
            ("on_expensive", "build at once, wait until it is quiet, or ask: then a key starts the build"),
            ("wait_share", "how long it must be quiet, as a share of what the build takes"),
            ("wait_most_seconds", "the longest that it is waited after the first of such edits"),
        ),
    ),
    (
        "The screen.",
        (
            ("output", "auto, live, plain or json"),
            ("warn_seconds", "a step that costs less is not warned about"),
            (
                "prior",
                "what RUNs of your own cost: [[prior]] with run, seconds, kind, expensive, reason, manifests",
            ),
            ("silence", "codes of warnings to leave out"),
        ),
    ),
    (
        "Watching.",
        (
            ("poll", "look for changes instead of waiting for the system to tell"),
            ("quiet_seconds", "how long a lone save must be quiet before it is acted on"),
            ("maximum_wait_seconds", "how long a busy tree may put an edit off"),
        ),
    ),
    (
        "Looking back at git's history.",
        (
            (
                "replay",
                "bots: whose commits are left out, by any part of the name or address of their author",
            ),
            ("doctor", "ignore: the codes of findings that are not wanted here"),
        ),
    ),
)


def default_config() -> str:
    """Return the text of a devloop.toml that changes nothing: unset keys stand as comments."""
    lines = [
        "# Every setting of devloop with its default. Each is also a flag of the same name where it has one.",
        "# In a pyproject.toml they stand in the table [tool.devloop].",
    ]
    tables: list[str] = []
    for title, keys in _SECTIONS:
        lines += ["", f"# {title}", ""]
        for key, why in keys:
            value = _default(key)
            if isinstance(value, dict):
                lines.append(f"# {key}: {why}; a table at the end of this file")
                tables += ["", f"[{key}]"]
            elif is_dataclass(value) and not isinstance(value, type):
                lines.append(f"# {key}: {why}; a table at the end of this file")
                tables += ["", f"[{key}]"]
                tables += [f"{one.name} = {_toml(getattr(value, one.name))}" for one in fields(value)]
            elif value is None:
                lines.append(f"# {key} = {_example(key)}  # {why}")
            else:
                lines.append(f"{key} = {_toml(value)}  # {why}")
    return "\n".join(lines + tables) + "\n"


def explanations() -> dict[str, str]:
    """Return what each key is for, in the order of the text."""
    return {key: why for _, keys in _SECTIONS for key, why in keys}


def _default(key: str) -> object:
    found = next(one for one in fields(Settings) if one.name == key)
    if found.default is not MISSING:
        return found.default
    if found.default_factory is not MISSING:
        return found.default_factory()
    raise AssertionError(f"{key} has no default")


def _example(key: str) -> str:
    examples = {"command": '["python", "main.py"]', "quiet_seconds": "0.01", "maximum_wait_seconds": "2.0"}
    return examples.get(key, '"..."')


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return _toml_list([_toml(one) for one in value])
    return f'"{value}"' if isinstance(value, str) else str(value)


def _toml_list(items: list[str]) -> str:
    line = f"[{', '.join(items)}]"
    return line if len(line) < 80 else "\n".join(["[", *(f"  {item}," for item in items), "]"])
