"""Where words go: results to stdout, everything else to stderr."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from cellgauge.words import lines

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def show_json(document: Any) -> None:
    """Print one JSON document on stdout, never wrapped, and in ASCII: a model may have written what is in it."""
    raw = document.model_dump(mode="json") if hasattr(document, "model_dump") else document
    sys.stdout.write(json.dumps(raw, indent=2, allow_nan=False) + "\n")


def show_error(message: str, hint: str, *, as_json: bool) -> None:
    """Print an error and what to do next; with `--json` also as a document on stdout."""
    message, hint = lines(message), lines(hint)
    if as_json:
        show_json({"error": message, "hint": hint})
    err.print(f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True)
    if hint:
        err.print(f"[bold]hint:[/bold] {escape(hint)}", soft_wrap=True)


def say(message: str) -> None:
    """Tell what is going on, on stderr."""
    err.print(escape(lines(message)), soft_wrap=True)
