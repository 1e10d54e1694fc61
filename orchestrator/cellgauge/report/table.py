"""Shows a document as tables on a terminal: one a dataset, a row a model, with the denominator below."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge.report.document import Document, Entry
from cellgauge.report.label import model as model_label
from cellgauge.words import printable
from cellgauge_tasks import Task


def render(document: Document, tasks: Mapping[str, Task]) -> RenderableType:
    """Lay out a whole document."""
    datasets = dict.fromkeys(entry.dataset for entry in document.results)
    parts: list[RenderableType] = []
    for dataset in datasets:
        entries = [entry for entry in document.results if entry.dataset == dataset]
        parts.append(_table(dataset, entries, tasks, document.baselines))
    if document.baselines:
        parts.append(Text("† a baseline: what a claim has to beat", style="dim"))
    if any(entry.seen for entry in document.results):
        parts.append(Text("‡ was trained on this dataset: these scores say little of others", style="dim"))
    return Group(*parts, *_notes(document), summary(document))


def summary(document: Document) -> Text:
    """Say how many of the planned results there are."""
    others = {state: count for state, count in document.states.items() if state != "ok"}
    text = f"{document.states.get('ok', 0)} of {document.planned} results"
    if others:
        text += ": " + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in others.items())
    return Text(text, style="bold" if document.complete else "bold red")


def _table(dataset: str, entries: list[Entry], tasks: Mapping[str, Task], baselines: Collection[str]) -> Table:
    cells = max((score.n_cells for entry in entries for score in entry.scores), default=0)
    title = Text(dataset, style="bold").append(f"  {cells:,} cells" if cells else "", style="not bold dim")
    table = Table(title=title, title_justify="left", header_style="", box=box.SIMPLE_HEAD)
    table.add_column("model", vertical="bottom", overflow="fold")
    columns = []
    for task in dict.fromkeys(entry.task for entry in entries):
        for number, (metric, short) in enumerate(_headline(task, tasks, entries).items()):
            name = Text(task.replace("_", " "), style="bold") if number == 0 else Text()
            name.append(f"\n{short}", style="not bold")
            table.add_column(name, justify="right", vertical="bottom", overflow="fold", min_width=6)
            columns.append((task, metric))
    rows: dict[tuple[str, int], dict[str, Entry]] = {}
    for entry in entries:
        rows.setdefault((_label(entry, baselines), entry.seed), {})[entry.task] = entry
    many_seeds = len({seed for _, seed in rows}) > 1
    for (label, seed), by_task in rows.items():
        values = (_value(by_task.get(task), metric) for task, metric in columns)
        table.add_row(Text(f"{label} (seed {seed})" if many_seeds else label), *values)
    return table


def _label(entry: Entry, baselines: Collection[str]) -> str:
    """Name a row: the model, a baseline's mark, its variant, and what was set for this run."""
    marks = ("\u00a0†" if entry.model in baselines else "") + ("\u00a0‡" if entry.seen else "")
    return model_label(entry.model, entry.variant, entry.changed, marks)


def _headline(task: str, tasks: Mapping[str, Task], entries: Iterable[Entry]) -> Mapping[str, str]:
    if task in tasks:
        return tasks[task].headline
    return {score.metric: score.metric for entry in entries if entry.task == task for score in entry.scores}


def _value(entry: Entry | None, metric: str) -> Text:
    if entry is None:
        return Text()
    if entry.state == "not_applicable":
        return Text("n/a", style="dim")
    if entry.state != "ok":
        return Text(entry.state.replace("_", " "), style="red")
    found = [score for score in entry.scores if score.metric == metric]
    mean = [score for score in found if score.params.get("classifier") == "mean"] or found
    return Text(f"{mean[0].value:.3f}".replace("-0.000", "0.000") if mean else "")


def _notes(document: Document) -> Iterator[Text]:
    """Say why there is no score, and what there is to know; results with the same reason together."""
    limited = {one.dataset: one.limit_cells for one in document.results if one.limit_cells}
    for dataset, cells in limited.items():
        text = f"{dataset}: only {cells:,} of its cells (--limit-cells): not comparable with scores of all"
        yield Text(text, style="bold red")
    reasons: dict[tuple[str, str, str, str], list[str]] = {}
    for entry in document.results:
        where = (entry.model, entry.dataset)
        if entry.state != "ok":
            reasons.setdefault((*where, entry.state.replace("_", " "), entry.reason), []).append(entry.task)
        for warning in entry.warnings:
            reasons.setdefault((*where, "warning", warning), []).append(entry.task)
    for (model, dataset, kind, reason), tasks in reasons.items():
        where_shown = f"{model} on {dataset} ({', '.join(dict.fromkeys(tasks))}): "
        yield Text(where_shown).append(kind, style="bold").append(f": {printable(reason)}")
