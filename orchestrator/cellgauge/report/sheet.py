"""Writes a document as a CSV table: a line a number, for R, pandas and spreadsheets."""

import csv
import io

from cellgauge.report import label
from cellgauge.report.document import Document, Entry, Number
from cellgauge.report.standing import key
from cellgauge.words import printable

COLUMNS = (
    *("run", "model", "variant", "changed", "dataset", "task", "seed", "state", "reason", "metric", "params", "value"),
    *("low", "high", "unit", "n_units", "n_cells", "better", "scaled", "standing", "flags", "seen", "elsewhere"),
    *("limit_cells", "job"),
)
FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet would compute."""


def write(document: Document) -> str:
    """Give every number a line; a result without one has a line with its state and reason."""
    out = io.StringIO()
    sheet = csv.DictWriter(out, COLUMNS, lineterminator="\n", restval="")
    sheet.writeheader()
    for entry in document.results:
        for score in entry.scores or (None,):
            sheet.writerow(_line(document.run, entry, score))
    return out.getvalue()


def _line(run: str, entry: Entry, score: Number | None) -> dict[str, object]:
    same = ("model", "variant", "dataset", "task", "seed", "state", "seen", "elsewhere", "limit_cells")
    found: dict[str, object] = {name: getattr(entry, name) for name in same}
    found |= {"run": run, "reason": _text(entry.reason), "job": entry.job or ""}
    found["changed"] = _text(label.model("", "default", entry.changed).strip())
    if score is not None:
        numbers = ("value", "low", "high", "unit", "n_units", "n_cells", "better", "scaled", "standing")
        found |= {name: getattr(score, name) for name in numbers}
        found |= {"metric": _text(score.metric), "params": _text(key(score)[1])}
        found["flags"] = " ".join((*score.flags, *entry.flags))
    return {name: "" if value is None else value for name, value in found.items()}


def _text(text: str) -> str:
    """Put a quote before what a spreadsheet would take for a formula."""
    words = printable(text)
    return f"'{words}" if words.startswith(FORMULA) else words
