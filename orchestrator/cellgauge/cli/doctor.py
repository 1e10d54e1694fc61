"""`cellgauge doctor`."""

from typing import TYPE_CHECKING

import typer

from cellgauge.cli import options
from cellgauge.cli.output import out, show_json

if TYPE_CHECKING:
    from cellgauge.doctor import Report

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


def doctor(engine: options.EngineName = None, results: options.Results = None, as_json: options.Json = False) -> None:
    """Look for what could keep a run from working, and say how to mend it.

    Exits with 1 if there is a problem; warnings do not count.
    """
    from cellgauge.cli import setup
    from cellgauge.doctor import Asked, examine

    chosen = setup.settings(engine=engine, results=results)
    report = examine(
        Asked(
            engine=chosen.engine,
            docker_host=chosen.docker_host,
            results=chosen.results,
            cache=chosen.cache,
            models=chosen.model_folders,
        )
    )
    show_json(report) if as_json else _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: "Report") -> None:
    width = max(len(finding.name) for finding in report.findings)
    for finding in report.findings:
        mark, style = MARKS[finding.state]
        out.print(f"[{style}]{mark}[/] {finding.name:<{width}}  {_line(finding.detail)}", soft_wrap=True)
        if finding.fix:
            out.print(f"  {'':<{width}}  → {_line(finding.fix)}", soft_wrap=True)
    count = {state: sum(one.state == state for one in report.findings) for state in MARKS}
    out.print(f"problems: {count['problem']}, warnings: {count['warning']}")


def _line(text: str) -> str:
    from rich.markup import escape

    from cellgauge.words import printable

    return escape(printable(text))
