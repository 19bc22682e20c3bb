"""The configuration file: `devloop.toml`, or `[tool.devloop]` in a pyproject.toml.

Only read where there is one, because checking it needs pydantic, and a start without a file should not pay
for it. A key that is not known is an error that names it and the nearest one that is.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devloop.defaults import explanations
from devloop.errors import DevloopError
from devloop.project.settings import Settings

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE_NAME = "devloop.toml"


class ConfigProblem(DevloopError):  # noqa: N818 - it names what the user will read
    """The configuration file cannot be used; the message names file, key and what is expected."""


def find_config(folder: Path) -> Path | None:
    """Return the configuration file of a folder: its devloop.toml, else a pyproject.toml with our table."""
    own = folder / FILE_NAME
    if own.is_file():
        return own
    project = folder / "pyproject.toml"
    try:
        is_ours = project.is_file() and b"tool.devloop" in project.read_bytes()
    except OSError:
        return None
    return project if is_ours else None


def load_config(path: Path) -> dict[str, Any]:
    """Read and check the file; returns only the keys that it sets.

    Raises ConfigProblem for a file that is no TOML, an unknown key or a value of another type.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigProblem(f"{path.name} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigProblem(f"{path.name} is not valid TOML: {error}") from error
    if path.name == "pyproject.toml":
        tools = found.get("tool", {})
        found = tools.get("devloop", {}) if isinstance(tools, dict) else {}
        if not isinstance(found, dict):
            raise ConfigProblem("tool.devloop in pyproject.toml is not a table")
    return check_config(found, path.name)


def check_config(found: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Check the keys and types of a table against the settings."""
    from pydantic import ValidationError

    known = {field.name for field in fields(Settings)}
    for key in found:
        if key not in known:
            raise ConfigProblem(f"{file}: unknown key {key!r}", hint=_nearest(key, known))
    try:
        settings = _checker().validate_python(dict(found), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigProblem(
            f"{file}: {place}: {_expectation(first['msg'])}", hint="every key and its default: devloop config"
        ) from error
    return {key: getattr(settings, key) for key in found}


def _expectation(message: str) -> str:
    """Say what pydantic found in the words of the other messages: `must be a list`."""
    said = message[:1].lower() + message[1:]
    for theirs, ours in (("input should be a valid ", "must be a "), ("input should be ", "must be ")):
        said = said.replace(theirs, ours)
    return said.replace("must be a integer", "must be an integer").replace("dictionary", "table")


def _checker() -> "TypeAdapter[Settings]":
    from pydantic import ConfigDict, TypeAdapter, with_config

    # A port or the value of a variable is naturally written as a number.
    return TypeAdapter(with_config(ConfigDict(extra="forbid", coerce_numbers_to_str=True))(Settings))


def _nearest(key: str, known: set[str]) -> str:
    import difflib

    folded = key.replace("-", "_")
    close = [folded] if folded in known else difflib.get_close_matches(folded, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(known))}"


def merged(found: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """Put flags over the file: a flag replaces a value, adds to a table and replaces a list."""
    values: dict[str, Any] = dict(found)
    for key, value in flags.items():
        if value is None:
            continue
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = {**values[key], **value}
        else:
            values[key] = value
    return Settings(**values)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the configuration file, for editors."""
    found = _checker().json_schema()
    for key, why in explanations().items():
        found["properties"][key]["description"] = why
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **found,
        "title": "devloop.toml",
        "description": "Settings of devloop: in devloop.toml, or in [tool.devloop] of a pyproject.toml.",
    }
