"""Shows a document as tables on a terminal: one a dataset, a row a model, with the denominator below."""

from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from cellgauge.report import label, reasons
from cellgauge.report.document import Document, Entry
from cellgauge.report.grid import MARKS, Grid
from cellgauge.words import printable
from cellgauge_model.contract import Param
from cellgauge_tasks import Task


def render(document: Document, tasks: Mapping[str, Task]) -> RenderableType:
    """Lay out a whole document."""
    datasets = dict.fromkeys(entry.dataset for entry in document.results)
    parts: list[RenderableType] = []
    for dataset in datasets:
        entries = [entry for entry in document.results if entry.dataset == dataset]
        parts.append(Grid(dataset, entries, tasks, document.baselines))
        if any(score.scaled is not None for entry in entries for score in entry.scores):
            parts.append(Grid(f"{dataset}, scaled", entries, tasks, document.baselines, scaled=True))
    return Group(*parts, *_legend(document), *_notes(document), summary(document))


def _legend(document: Document) -> Iterator[Text]:
    """Explain the marks that are there."""
    scores = [score for entry in document.results for score in entry.scores]
    if any(score.low is not None for score in scores):
        yield Text("[low, high]: where the score lies in 95 % of resamples; ±: the larger side of it", style="dim")
    if any(score.scaled is not None for score in scores):
        yield Text("scaled: 0 is chance, 1 the truth itself", style="dim")
    stand = {score.standing for score in scores}
    if "best" in stand:
        words = "; ≈ not to be told from it on the same resamples" if "level" in stand else ""
        among = " among models of the same cells" if _several_grounds(document) else ""
        yield Text(f"bold: the best of its column{among}{words}", style="dim")
    if "unknown" in stand:
        yield Text("? cannot be compared in pairs: whether it is better or worse than others is not known", style="dim")
    if _two_scales(document):
        words = "models that predict means, as baselines do, are not compared in pairs with models that predict cells"
        yield Text(words, style="dim")
    flagged = {flag for score in scores for flag in score.flags}
    flagged |= {flag for entry in document.results for flag in entry.flags}
    for flag, (mark, words) in MARKS.items():
        if flag in flagged:
            yield Text(f"{mark} {words}", style="dim")
    if document.baselines:
        yield Text("† a baseline: what a claim has to beat", style="dim")
    if any(entry.seen for entry in document.results):
        yield Text("‡ was trained on this dataset: these scores say little of others", style="dim")
    if any(entry.elsewhere for entry in document.results):
        yield Text("§ made elsewhere: nothing is known of what it was made from", style="dim")


def _several_grounds(document: Document) -> bool:
    """Tell whether a column has two that are best, each among scores of other cells."""
    best = Counter(
        (one.dataset, one.task, one.seed, score.metric)
        for one in document.results
        for score in one.scores
        if score.standing == "best"
    )
    return max(best.values(), default=0) > 1


def _two_scales(document: Document) -> bool:
    """Tell whether a table has both, so that to have no flag is no good sign."""
    found: dict[tuple[str, str], set[Param]] = {}
    for one in document.results:
        told = {score.params["means_of"] for score in one.scores if "means_of" in score.params}
        found.setdefault((one.dataset, one.task), set()).update(told)
    return any(len(several) > 1 for several in found.values())


def summary(document: Document) -> Text:
    """Say how many of the planned results there are."""
    others = {state: count for state, count in document.states.items() if state != "ok"}
    text = f"{document.states.get('ok', 0)} of {document.planned} results"
    if others:
        text += ": " + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in others.items())
    return Text(text, style="bold" if document.complete else "bold red")


def _notes(document: Document) -> Iterator[Text]:
    """Say why there is no score, and what there is to know; results with the same reason together."""
    limits: dict[str, dict[int | None, list[str]]] = {}
    for one in document.results:
        limits.setdefault(one.dataset, {}).setdefault(one.limit_cells, []).append(one.model)
    for dataset, by_cells in limits.items():
        for cells in filter(None, by_cells):
            whose = f" for {', '.join(dict.fromkeys(by_cells[cells]))}" if len(by_cells) > 1 else ""
            text = f"{dataset}: only {cells:,} of its cells{whose} (--limit-cells): not comparable with scores of all"
            yield Text(text, style="bold red")
    yield from _controls(document)
    models = [_model(entry) for entry in document.results]
    for where, kind, reason in reasons.grouped(_said(document), models):
        yield Text(f"{where}: ").append(kind, style="bold").append(f": {printable(reason)}")


def _controls(document: Document) -> Iterator[Text]:
    """Say which controls have no scores, and why: without them nothing is scaled, nor flagged as out of bounds."""
    lost: dict[tuple[str, str, str], list[str]] = {}
    for one in document.controls:
        if one.state != "ok":
            state = one.state.replace("_", " ")
            lost.setdefault((one.dataset, one.task, f"{one.control} control"), []).append(f"{state}: {one.reason}")
    for (dataset, task, control), why in lost.items():
        for reason, count in Counter(why).items():
            times = f" ({count} of them)" if count > 1 else ""
            told = Text(f"{control} on {dataset} ({task.replace('_', ' ')}){times}: ")
            yield told.append(printable(reason), style="bold")


def _said(document: Document) -> Iterator[reasons.Said]:
    for entry in document.results:
        whose = (_model(entry), entry.dataset, entry.task)
        if entry.state != "ok":
            yield reasons.Said(*whose, entry.state.replace("_", " "), entry.reason)
        for warning in entry.warnings:
            yield reasons.Said(*whose, "warning", warning)


def _model(entry: Entry) -> str:
    return label.model(entry.model, entry.variant, entry.changed)
