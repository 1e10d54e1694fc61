"""Lays out what is said of a dataset, in the words and signs with which people write it into a catalogue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from cellgauge.data.guess import Guess


def table(facts: Mapping[str, Any], remarks: Mapping[str, str] | None = None) -> "Table":
    """Lay facts out by name, one a line, and beside each what is remarked on it."""
    from rich.markup import escape
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    for _ in range(2 if remarks is None else 3):  # a path or checksum that is cut cannot be copied
        made.add_column(overflow="fold")
    for name, value in facts.items():
        told = [f"[dim]{escape(remarks.get(name, ''))}[/dim]"] if remarks is not None else []
        made.add_row(name.replace("_", " "), escape(text(value)), *told)
    return made


def guessed(told: "Guess", entry: Mapping[str, Any]) -> "Table":
    """Lay out an entry that was guessed, with the reasons, and with what is as usual and so does not stand in it."""
    fields = dict.fromkeys([*entry, *told.remarks])
    return table({field: entry.get(field, getattr(told, field, None)) for field in fields}, told.remarks)


def text(value: Any, *, inside: bool = False) -> str:
    """Write a value as it would stand in a catalogue, without quotes: `cell_type: label, batch: [donor, lane]`.

    Parameters
    ----------
    inside
        True: within another one, where lists and fields need brackets around them.
    """
    if value is None or value in ("", {}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        fields = ", ".join(f"{name}: {text(one, inside=True)}" for name, one in value.items())
        return f"{{{fields}}}" if inside else fields
    if isinstance(value, list | tuple):
        listed = ", ".join(text(one, inside=True) for one in value)
        return f"[{listed}]" if inside else listed
    return str(value)
