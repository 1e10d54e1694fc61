"""Writes datasets into a catalogue file, and leaves every other character of it as it is, comments included."""

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Never

import yaml
from pydantic import ValidationError

from cellgauge import disk, yamlfile
from cellgauge.catalog import CatalogFile
from cellgauge.errors import CatalogError
from cellgauge.specs import DatasetEntry, GroupEntry


def text(name: str, entry: DatasetEntry | GroupEntry, margin: str = "  ", step: str = "  ") -> str:
    """Write an entry as it stands in a catalogue: only what is not the default, one field a line."""
    fields = entry.model_dump(mode="json", exclude_defaults=True)
    lines = [f"{margin}{_key(name)}:", *(f"{margin}{step}{_flow({key: fields[key]})}" for key in fields)]
    return "".join(f"{line}\n" for line in lines)


def source(file: Path, catalogue: Path) -> str:
    """Say where a file is, as a catalogue says it: relative to the catalogue's folder where it lies below it."""
    file, folder = file.expanduser().absolute(), catalogue.expanduser().absolute().parent
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)


def validated(name: str, entry: DatasetEntry | GroupEntry | Mapping[str, Any]) -> DatasetEntry | GroupEntry:
    """Give an entry as a catalogue would hold it.

    Raises
    ------
    CatalogError
        If name or entry are none.
    """
    fields = entry.model_dump() if isinstance(entry, DatasetEntry | GroupEntry) else dict(entry)
    try:
        return CatalogFile.model_validate({"datasets": {name: fields}}).datasets[name]
    except ValidationError as problem:
        raise CatalogError(yamlfile.told(problem, "the entry"), "Each line names a field.") from problem


def append(path: Path, name: str, entry: DatasetEntry | GroupEntry | Mapping[str, Any]) -> None:
    """Add an entry at the end of a catalogue, which is made if it is not there.

    Raises
    ------
    CatalogError
        If name or entry are none, or the file is malformed, has that name already, or cannot be added to.
    StorageError
        If it cannot be written.
    """
    new = validated(name, entry)
    with _held(path) as (path, old):
        known = _read(path, old)
        if name in known.datasets:
            raise CatalogError(f"{path}: dataset '{name}' is there already", "Give this one another name: --name.")
        meant = CatalogFile(datasets={**known.datasets, name: new})
        _replace(path, old, _with_entry(old, name, new), meant)


def record(path: Path, name: str, sha256: str, size: int) -> None:
    """Fill the checksum and the size of an unverified entry in; one that has this checksum already is left as it is.

    Raises
    ------
    CatalogError
        If the file has no such entry, says another checksum or size, or cannot be added to.
    StorageError
        If it cannot be written.
    """
    with _held(path) as (path, old):
        known = _read(path, old)
        if name not in known.datasets:
            raise CatalogError(f"{path}: there is no dataset '{name}'", "Check the name, and which catalogue it is in.")
        entry = known.datasets[name]
        if isinstance(entry, GroupEntry):
            raise CatalogError(f"{path}: '{name}' is a group, and has no file of its own", "Name its members.")
        has = (entry.sha256,) if isinstance(entry.sha256, str) else entry.sha256 or ()
        if has and sha256 not in has:
            hint = "The source has changed, or this is another file. Give it an entry of its own, or correct this one."
            raise CatalogError(f"{path}: dataset '{name}' has the SHA-256 {' or '.join(has)}, not {sha256}", hint)
        if entry.size not in (None, size):
            hint = "If this is the right file, correct the size in the catalogue."
            raise CatalogError(f"{path}: dataset '{name}' has {entry.size} bytes, not {size}", hint)
        fields: dict[str, Any] = {} if has else {"sha256": sha256}
        if entry.size is None and len(has) < 2:  # several encodings have several sizes
            fields["size"] = size
        if fields:
            meant = CatalogFile(datasets={**known.datasets, name: entry.model_copy(update=fields)})
            _replace(path, old, _with_fields(path, old, name, fields), meant)


@contextmanager
def _held(path: Path) -> Iterator[tuple[Path, str]]:
    """Give the file itself, links followed, and its text, while no other process of ours writes into its folder."""
    path = path.expanduser().resolve()
    with disk.explained(path, "--catalog"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems lock no folders
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield path, _content(path)
        finally:
            os.close(handle)


def _content(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", newline="") as file:  # line ends stay what they are
        try:
            return file.read()
        except UnicodeDecodeError as problem:
            raise CatalogError(f"{path}: {problem}", "It is no text. Name another file with --catalog.") from problem


def _read(path: Path, old: str) -> CatalogFile:
    with suppress(yaml.YAMLError, RecursionError):  # `read` says what is wrong
        node = _compose(old)
        if node is None:
            return CatalogFile(datasets={})
        if isinstance(node, yaml.MappingNode) and [(key.value, value.value) for key, value in node.value] in (
            [("datasets", "")],
            [("datasets", "null")],
            [("datasets", "~")],
        ):
            return CatalogFile(datasets={})
    return yamlfile.read(path, CatalogFile)


def _compose(old: str) -> Any:
    return yaml.compose(old, Loader=yaml.SafeLoader)


def _with_entry(old: str, name: str, entry: DatasetEntry | GroupEntry) -> str:
    node = _compose(old)
    if node is None:
        return _joined(old, "datasets:\n" + text(name, entry), "")
    key, found = node.value[0]  # a catalogue has the one key `datasets`
    if found.value and isinstance(found, yaml.MappingNode) and found.flow_style:
        inner = _flow(entry.model_dump(mode="json", exclude_defaults=True))
        at = found.start_mark.index + 1
        return f"{old[:at]}{_key(name)}: {{{inner}}}, {old[at:]}"
    if not found.value or not isinstance(found, yaml.MappingNode):  # `datasets:`, `datasets: {}`, `datasets: null`
        old = f"{old[: key.end_mark.index]}:{old[found.end_mark.index :]}"
        at = _next_line(old, key.end_mark.index)
        return _joined(old[:at], text(name, entry), old[at:])
    first, inside = found.value[0]
    column = first.start_mark.column
    step = inside.start_mark.column - column
    at = _after(old, found, column)
    alike = text(name, entry, " " * column, " " * (2 if inside.flow_style or step < 1 else step))
    return _joined(old[:at], alike, old[at:])


def _with_fields(path: Path, old: str, name: str, fields: dict[str, Any]) -> str:
    inside = next(entry for key, entry in _compose(old).value[0][1].value if key.value == name)
    if inside.flow_style:
        at = inside.start_mark.index + 1
        return f"{old[:at]}{_flow(fields)}, {old[at:]}"
    for key, value in inside.value:
        if key.value == "source":
            column = key.start_mark.column
            lines = "".join(f"{' ' * column}{_flow({field: fields[field]})}\n" for field in fields)
            at = _after(old, value, column + 1)
            return _joined(old[:at], lines, old[at:])
    return _refuse(path)  # it is merged from elsewhere


def _after(old: str, node: yaml.Node, column: int) -> int:
    """Find the start of the line after a node, and after the comments below it that are set in as far as `column`."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style:  # its own end mark lies past what follows it
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    at = node.end_mark.index if block else _next_line(old, node.end_mark.index)
    comment = re.compile(rf"(?:[ \t]*\r?\n)*[ ]{{{column},}}#[^\n]*(?:\n|\Z)")
    while found := comment.match(old, at):
        at = found.end()
    return at


def _next_line(old: str, at: int) -> int:
    found = old.find("\n", at)
    return len(old) if found < 0 else found + 1


def _joined(before: str, new: str, after: str) -> str:
    """Put lines between others, with the line ends that the others have."""
    end = "\r\n" if "\r\n" in before + after else "\n"
    gap = end if before and not before.endswith("\n") else ""
    return before + gap + new.replace("\n", end) + after


def _key(name: str) -> str:
    """Write a name as a key: `2024` and `no` need quotes."""
    return _flow({name: 0}).removesuffix(": 0")


def _flow(fields: dict[str, Any]) -> str:
    """Write fields on one line, quoted where YAML would take them for something else."""
    # PyYAML breaks a line at these though it may not; escaped, they are letters like any others.
    plain = not {"\x85", "\u2028", "\u2029"} & set(json.dumps(fields, ensure_ascii=False))
    made = yaml.safe_dump(fields, default_flow_style=True, allow_unicode=plain, sort_keys=False, width=float("inf"))
    return str(made).strip()[1:-1]


def _refuse(path: Path) -> Never:
    hint = "Write it in by hand, or name another file with --catalog."
    raise CatalogError(f"{path} is written in a way that nothing can be put into by a program", hint)


def _replace(path: Path, old: str, new: str, meant: CatalogFile) -> None:
    """Put the new text in the place of the old one, whole or not at all, and only if it says what is meant."""
    try:
        says = CatalogFile.model_validate(yaml.load(new, Loader=yamlfile.Loader))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError):
        _refuse(path)
    if says != meant:
        _refuse(path)
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(new)
            file.flush()
            os.fsync(handle)
        Path(made).chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o644)
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
