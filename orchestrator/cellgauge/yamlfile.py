"""Reads a YAML file into a pydantic model, with errors that name file, line and field."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from cellgauge.errors import CatalogError
from cellgauge.specs.base import LATIN, NAME, SLOT
from cellgauge.specs.datasets import GROUP, SINGLE, DatasetEntry

PATTERNS = {
    NAME: "is no name: letters, digits, '.', '_' and '-' only, 64 at most",
    SLOT: "is no place for a matrix: X, raw or layers/NAME",
    LATIN: "is no Latin name: Homo sapiens, Mus musculus, …",
    "^[0-9a-f]{64}$": "is no SHA-256: 64 digits of 0-9 and a-f, as `sha256sum FILE` prints them",
}
M = TypeVar("M", bound=BaseModel)
Loc = tuple[str | int, ...]
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
        hint = "Each line names the file, the line in it and the field."
        raise CatalogError(told(problem, str(path), node or yaml.MappingNode("", [])), hint) from problem


def told(problem: ValidationError, where: str, node: yaml.Node | None = None) -> str:
    """Say each misfit in a line: where, the line in the file if its nodes are given, the field, and what is wrong."""
    lines = []
    for loc, error in _misfits(problem):
        line, written = _find(node, loc)
        at = f"{where}:{line}" if node is not None else where
        lines.append(f"{at}: {'.'.join(map(str, loc)) or 'the file'}: {_say(error, written)}")
    return "\n".join(lines)


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


def _misfits(problem: ValidationError) -> Iterator[tuple[Loc, Any]]:
    """Go through the errors and their fields; where one value or a list may stand, only through those of what does."""
    errors = problem.errors()
    lists: dict[Loc, bool] = {}  # where either may stand: was it a list?
    for error in errors:
        for place, part in enumerate(error["loc"]):
            if str(part).startswith("tuple["):
                at = error["loc"][:place]
                lists[at] = lists.get(at, False) or error["type"] != "tuple_type"
    for error in errors:
        loc = error["loc"]
        choices = {place for place in range(len(loc)) if loc[:place] in lists}
        if all(str(loc[place]).startswith("tuple[") == lists[loc[:place]] for place in choices):
            unsaid = ("[key]", GROUP, SINGLE)
            kept = (part for place, part in enumerate(loc) if place not in choices and part not in unsaid)
            yield tuple(kept), error


def _find(node: yaml.Node | None, loc: Loc) -> tuple[int, yaml.Node | None]:
    """Find the line of a field, or of the nearest thing around it, and the field itself if it is there."""
    line = 1
    for part in loc:
        found: tuple[yaml.Node, yaml.Node] | None = None
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = (node.value[part], node.value[part])
        if found is None:
            return line, None
        line, node = found[0].start_mark.line + 1, found[1]
    return line, node


def _say(error: Any, written: yaml.Node | None) -> str:
    """Turn pydantic's wording into ours where ours is clearer to a biologist."""
    match error["type"]:
        case "missing":
            return "this field is required"
        case "extra_forbidden" if GROUP in error["loc"] and error["loc"][-1] in DatasetEntry.model_fields:
            return "does not go with members: each of them says it for itself"
        case "extra_forbidden":
            return "there is no such field"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "needs fields below it, one `name: value` a line"
        case "string_type":
            as_written = written.value if isinstance(written, yaml.ScalarNode) else error["input"]
            return f'needs text; put it in quotes: "{as_written}"' if as_written not in ("", None) else "needs text"
        case "int_parsing" | "int_type" | "float_parsing":
            return "needs a number, without a unit or anything else"
        case "too_short":
            return f"needs {error['ctx']['min_length']} at least, and has {error['ctx']['actual_length']}"
        case "tuple_type":
            return f"needs a list: [{error['input']}]"
        case "string_pattern_mismatch" if error["ctx"]["pattern"] in PATTERNS:
            return f"'{error['input']}' {PATTERNS[error['ctx']['pattern']]}"
        case _:
            return str(error["msg"]).removeprefix("Value error, ").replace("Input should", "has to")
