"""Shows the numbers of one dataset: a row a model, a column a metric, as much of the intervals as there is room for."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cellgauge.report import label
from cellgauge.report.document import Entry, Number
from cellgauge.report.standing import FEW_GENES, MANY_REPEATS, Flag, Standing, headline
from cellgauge_tasks import Task

Form = Literal["range", "half", "bare"]
"""Of an interval: both ends, half its width, or none."""
FORMS: tuple[Form, ...] = ("range", "half", "bare")
STANDINGS: dict[Standing, str] = {"level": "≈", "unknown": "?"}
MARKS: dict[Flag, tuple[str, str]] = {
    "below_baseline": ("↓", "clearly below its baseline on the same cells"),
    "above_controls": ("↑", "above what the truth itself gets: an error, or a metric that does not look at types"),
    "below_controls": ("↡", "clearly below chance"),
    "few_genes": ("°", f"of a model that knows less than {FEW_GENES:.0%} of the genes"),
    "repeated_rows": ("=", f"of an output of which more than {MANY_REPEATS:.0%} of the rows repeat another"),
}


@dataclass(frozen=True)
class Grid:
    """The results on one dataset; where they do not fit side by side, some tasks stand below the others.

    A task that applies to no model has no column: why it does not is said below.
    """

    title: str
    entries: Sequence[Entry]
    tasks: Mapping[str, Task]
    baselines: Collection[str]
    scaled: bool = False
    """True: as they stand between their controls."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        names = [one for one in dict.fromkeys(entry.task for entry in self.entries) if self._applies(one)]
        forms: tuple[Form, ...] = ("bare",) if self.scaled else FORMS

        def fits(chosen: Sequence[str], form: Form) -> bool:
            return Measurement.get(console, options, self._table(chosen, form)).maximum < options.max_width

        while names:
            least: Form = "bare" if self.scaled or fits(names, "bare") else "half"
            count = next((n for n in range(len(names), 1, -1) if fits(names[:n], least)), 1)
            form: Form | None = next((one for one in forms if fits(names[:count], one)), None)
            yield self._table(names[:count], form or "bare")
            names = names[count:]

    def _applies(self, task: str) -> bool:
        return any(entry.task == task and entry.state != "not_applicable" for entry in self.entries)

    def _table(self, names: Sequence[str], form: Form) -> Table:
        cells = max((score.n_cells for entry in self.entries for score in entry.scores), default=0)
        title = Text(self.title, style="bold").append(f"  {cells:,} cells" if cells else "", style="not bold dim")
        table = Table(title=title, title_justify="left", header_style="", box=box.SIMPLE_HEAD)
        table.add_column("model", vertical="bottom", overflow="fold")
        columns = []
        for task in names:
            for number, (metric, short) in enumerate(_headline(task, self.tasks, self.entries).items()):
                name = Text(task.replace("_", " "), style="bold") if number == 0 else Text()
                name.append(f"\n{short}", style="not bold")
                table.add_column(name, justify="right", vertical="bottom", overflow="fold", min_width=6)
                columns.append((task, metric))
        rows: dict[tuple[str, int], dict[str, Entry]] = {}
        for entry in self.entries:
            rows.setdefault((self._label(entry), entry.seed), {})[entry.task] = entry
        many_seeds = len({seed for _, seed in rows}) > 1
        for (name_of_row, seed), by_task in rows.items():
            values = (_value(by_task.get(task), metric, form, scaled=self.scaled) for task, metric in columns)
            table.add_row(Text(f"{name_of_row} (seed {seed})" if many_seeds else name_of_row), *values)
        return table

    def _label(self, entry: Entry) -> str:
        """Name a row: the model, its marks, its variant, and what was set for this run."""
        alike = [one for one in self.entries if (one.model, one.variant) == (entry.model, entry.variant)]
        marks = "\u00a0†" if entry.model in self.baselines else ""
        marks += "\u00a0‡" if any(one.seen for one in alike) else ""
        marks += "\u00a0§" if any(one.elsewhere for one in alike) else ""
        return label.model(entry.model, entry.variant, entry.changed, marks)


def _headline(task: str, tasks: Mapping[str, Task], entries: Iterable[Entry]) -> Mapping[str, str]:
    if task in tasks:
        return tasks[task].headline
    return {score.metric: score.metric for entry in entries if entry.task == task for score in entry.scores}


def _value(entry: Entry | None, metric: str, form: Form, *, scaled: bool) -> Text:
    if entry is None:
        return Text()
    if entry.state == "not_applicable":
        return Text("n/a", style="dim")
    if entry.state != "ok":
        return Text(entry.state.replace("_", " "), style="red")
    number = headline(metric, entry.scores)
    if number is None:
        return Text()
    score = entry.scores[number]
    if scaled:
        return Text("" if score.scaled is None else _short(score.scaled))
    marks = "".join(MARKS[flag][0] for flag in MARKS if flag in (*score.flags, *entry.flags))
    text = Text().append(marks, style="yellow").append(STANDINGS.get(score.standing, ""), style="dim")
    text.append(_short(score.value), style="bold" if score.standing == "best" else "")
    return text.append(_interval(score, form), style="dim")


def _interval(score: Number, form: Form) -> str:
    if score.low is None or score.high is None or form == "bare":
        return ""
    if form == "half":
        return f"\u00a0±{_short((score.high - score.low) / 2)}"
    return f"\u00a0[{_short(score.low)},\u00a0{_short(score.high)}]"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("-0.000", "0.000")
