"""Reads a YAML file into a pydantic model, with errors that name file, line and field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cellgauge.errors import CatalogError
from cellgauge.specs.base import LATIN, NAME, SLOT

PATTERNS = {
    NAME: "is no name: letters, digits, '.', '_' and '-' only, 64 at most",
    SLOT: "is no place for a matrix: X, raw or layers/NAME",
    LATIN: "is no Latin name: Homo sapiens, Mus musculus, …",
}
M = TypeVar("M", bound=BaseModel)
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is ten times faster, where PyYAML has it


def read(path: Path, kind: type[M]) -> M:
    """Read and validate a file.

    Raises
    ------
    CatalogError
        If it is missing, is not YAML, repeats a key, or does not fit `kind`; every misfit is listed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=Loader)
        if node is not None:
            _refuse_repeated_keys(node, path)
        content = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader, see above
    except (OSError, UnicodeDecodeError) as problem:
        raise CatalogError(f"{path}: {_reason(problem)}", "Check the path, or name another file.") from problem
    except RecursionError as problem:
        raise CatalogError(f"{path}: refers to itself without end", "Take the alias out.") from problem
    except yaml.YAMLError as problem:
        raise CatalogError(
            f"{path}{_at(problem)}: not valid YAML: {_problem(problem)}", "Check the indentation."
        ) from problem
    try:
        return kind.model_validate(content if content is not None else {})
    except ValidationError as problem:
        lines = [
            f"{path}:{_line(node, error['loc'])}: {_field(error['loc'])}: {_say(error)}" for error in problem.errors()
        ]
        raise CatalogError("\n".join(lines), "Each line names the file, the line in it and the field.") from problem


def _reason(problem: Exception) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)


def _at(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(problem: yaml.YAMLError) -> str:
    return getattr(problem, "problem", None) or str(problem)


def _refuse_repeated_keys(node: yaml.Node, path: Path) -> None:
    children: Sequence[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise CatalogError(
                    f"{path}:{key.start_mark.line + 1}: {key.value}: this key stands here twice", "Remove one."
                )
            seen.add(str(key.value))
        children = [value for _, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        _refuse_repeated_keys(child, path)


def _line(node: yaml.Node | None, loc: Sequence[str | int]) -> int:
    """Find the line of a field, or of the nearest thing around it."""
    line = 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _field(loc: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in loc) or "the file"


def _say(error: Any) -> str:
    """Turn pydantic's wording into ours where ours is clearer to a biologist."""
    match error["type"]:
        case "missing":
            return "this field is required"
        case "extra_forbidden":
            return "there is no such field"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "needs fields below it, one `name: value` a line"
        case "string_type":
            return f'needs text; put it in quotes: "{error["input"]}"'
        case "tuple_type":
            return f"needs a list: [{error['input']}]"
        case "string_pattern_mismatch" if error["ctx"]["pattern"] in PATTERNS:
            return f"'{error['input']}' {PATTERNS[error['ctx']['pattern']]}"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")
