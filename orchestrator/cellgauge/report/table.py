"""Shows a document as tables on a terminal: one a dataset, a row a model, with the denominator below."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cellgauge.report.document import Cell, Document
from cellgauge_tasks import Task

Row = tuple[str, str, int]
"""Model, variant, seed."""


def render(document: Document, tasks: Mapping[str, Task]) -> RenderableType:
    """Lay out a whole document."""
    datasets = dict.fromkeys(cell.dataset for cell in document.cells)
    parts: list[RenderableType] = []
    for dataset in datasets:
        cells = [cell for cell in document.cells if cell.dataset == dataset]
        parts.append(_table(dataset, cells, tasks, document.baselines))
    if document.baselines:
        parts.append(Text("† a baseline: what a claim has to beat", style="dim"))
    return Group(*parts, *_notes(document), summary(document))


def summary(document: Document) -> Text:
    """Say how many of the planned cells have a score."""
    others = {state: count for state, count in document.states.items() if state != "ok"}
    text = f"{document.states.get('ok', 0)} of {document.planned} cells scored"
    if others:
        text += ": " + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in others.items())
    return Text(text, style="bold" if document.complete else "bold red")


def _table(dataset: str, cells: list[Cell], tasks: Mapping[str, Task], baselines: Collection[str]) -> Table:
    table = Table(title=Text(dataset, style="bold"), title_justify="left", header_style="", box=box.SIMPLE_HEAD)
    table.add_column("model", vertical="bottom")
    columns = []
    for task in dict.fromkeys(cell.task for cell in cells):
        for number, (metric, short) in enumerate(_headline(task, tasks, cells).items()):
            title = Text(task.replace("_", " "), style="bold") if number == 0 else Text()
            table.add_column(title.append(f"\n{short}", style="not bold"), justify="right", vertical="bottom")
            columns.append((task, metric))
    rows: dict[Row, dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.model, cell.variant, cell.seed), {})[cell.task] = cell
    many_seeds = len({seed for _, _, seed in rows}) > 1
    for (model, variant, seed), by_task in rows.items():
        name = model if variant == "default" else f"{model}:{variant}"
        name += f" (seed {seed})" if many_seeds else ""
        name += " †" if model in baselines else ""
        table.add_row(name, *(_value(by_task.get(task), metric) for task, metric in columns))
    return table


def _headline(task: str, tasks: Mapping[str, Task], cells: Iterable[Cell]) -> Mapping[str, str]:
    if task in tasks:
        return tasks[task].headline
    return {score.metric: score.metric for cell in cells if cell.task == task for score in cell.scores}


def _value(cell: Cell | None, metric: str) -> str:
    if cell is None:
        return ""
    if cell.state == "not_applicable":
        return "[dim]n/a[/dim]"
    if cell.state != "ok":
        return f"[red]{cell.state.replace('_', ' ')}[/red]"
    found = [score for score in cell.scores if score.metric == metric]
    mean = [score for score in found if score.params.get("classifier") == "mean"] or found
    return f"{mean[0].value:.3f}" if mean else ""


def _notes(document: Document) -> Iterator[Text]:
    """Say why a cell has no score; cells with the same reason together."""
    reasons: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in document.cells:
        if cell.state != "ok":
            reasons.setdefault((cell.model, cell.dataset, cell.state, cell.reason), []).append(cell.task)
    for (model, dataset, state, reason), tasks in reasons.items():
        where = f"{model} on {dataset} ({', '.join(dict.fromkeys(tasks))})"
        yield Text.from_markup(f"{escape(where)}: [bold]{state.replace('_', ' ')}[/bold]: {escape(printable(reason))}")


def printable(text: str) -> str:
    """Drop what could move a terminal's cursor or colour it: a model may have written the text."""
    return "".join(character for character in text if character.isprintable())
