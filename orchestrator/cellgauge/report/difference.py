"""Shows what came out when a job was run again."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge.reproduce import Difference
from cellgauge.words import printable


def render(found: Difference) -> RenderableType:
    """Lay it out for a terminal."""
    mark = Text("agrees" if found.agrees else "does not agree", style="bold green" if found.agrees else "bold red")
    parts: list[RenderableType] = [Text(f"{found.what}: ").append(mark).append(f": {printable(found.reason)}")]
    differing = [one for one in found.scores if one.now != one.kept]
    if len(differing) < len(found.scores):
        parts.append(Text(f"{len(found.scores) - len(differing)} of {len(found.scores)} scores are the same"))
    if differing:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        for name in ("dataset", "task", "metric", "kept", "now", "difference"):
            table.add_column(name, overflow="fold")
        for one in differing:
            now = "–" if one.now is None else f"{one.now:.6f}"
            apart = "–" if one.now is None else f"{one.now - one.kept:+.2g}" if one.now != one.kept else "0"
            metric = f"{one.metric} ({one.params})" if one.params else one.metric
            table.add_row(one.dataset, one.task, metric, f"{one.kept:.6f}", now, apart)
        parts.append(table)
    return Group(*parts)
