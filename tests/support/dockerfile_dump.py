"""A parsed Dockerfile, or the problem in it, as text that a person can check against the source."""

from collections.abc import Iterator
from dataclasses import fields

from devloop.dockerfile.instructions import (
    Dockerfile,
    HeredocFile,
    Instruction,
    Mount,
    Onbuild,
    Run,
    ScriptForm,
    run_script,
)
from devloop.dockerfile.lines import Heredoc, SyntaxProblem


def dump(result: Dockerfile | SyntaxProblem) -> str:
    if isinstance(result, SyntaxProblem):
        return result.render() + "\n"
    lines = [
        f"# {name}: {value}"
        for name, value in (("escape", result.escape), ("syntax", result.syntax), ("check", result.check))
        if value not in {None, "\\"}
    ]
    for instruction in result.instructions:
        lines.extend(_instruction(instruction))
    lines.extend("warning: " + line for problem in result.warnings for line in problem.render().split("\n"))
    return "\n".join(lines) + "\n"


def _instruction(instruction: Instruction) -> Iterator[str]:
    span = instruction.span
    yield f"{span.first}-{span.last} {instruction.text}"
    for field in fields(instruction):
        value = getattr(instruction, field.name)
        if field.name in {"span", "text"} or (value in (None, False, ()) and field.name != "command"):
            continue
        if isinstance(instruction, Onbuild) and field.name == "instruction":
            yield from ("    | " + line for line in _instruction(instruction.instruction))
        elif field.name == "heredocs":
            for heredoc in value:
                yield from _heredoc(heredoc)
        elif field.name in {"mounts", "pairs", "items"}:
            for item in value:
                yield f"    {field.name}: {_item(item)}"
        else:
            yield f"    {field.name}: {value!r}"
    if isinstance(instruction, Run):
        yield f"    runs: {_script(run_script(instruction))}"


def _item(item: Mount | tuple[str, str | None]) -> str:
    if isinstance(item, Mount):
        return f"{item.type} {' '.join(f'{key}={value!r}' for key, value in item.options)}"
    name, value = item
    return name if value is None else f"{name} = {value!r}"


def _heredoc(heredoc: Heredoc) -> Iterator[str]:
    how = [
        "expands" if heredoc.expands else "literal",
        *(["strips tabs"] if heredoc.strips_tabs else []),
        *([f"descriptor {heredoc.file_descriptor}"] if heredoc.file_descriptor is not None else []),
    ]
    yield f"    heredoc {heredoc.name!r}, {', '.join(how)}: {heredoc.body!r}"


def _script(form: ScriptForm) -> str:
    if isinstance(form, HeredocFile):
        return f"HeredocFile at {form.path}: {form.body!r}"
    (field,) = fields(form)
    return f"{type(form).__name__}: {getattr(form, field.name)!r}"
