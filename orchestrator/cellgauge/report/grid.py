"""Shows the numbers of one dataset: a row a model, a column a metric, as much of the intervals as there is room for."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from cellgauge.report import label
from cellgauge.report.document import Entry, Number
from cellgauge.report.standing import FEW_GENES, MANY_REPEATS, Flag, Standing, headline
from cellgauge_tasks import Task

Form = Literal["range", "half", "bare"]
"""Of an interval: both ends, its larger side, or none."""
FORMS: tuple[Form, ...] = ("range", "half", "bare")
STANDINGS: dict[Standing, str] = {"level": "≈", "unknown": "?"}
MARKS: dict[Flag, tuple[str, str]] = {
    "below_baseline": ("↓", "clearly below its baseline on the same cells"),
    "above_controls": ("↑", "above what the truth itself gets: an error, or a metric that does not look at types"),
    "below_controls": ("↡", "clearly below chance"),
    "few_genes": ("°", f"of a model that knows less than {FEW_GENES:.0%} of the genes"),
    "repeated_rows": (
        "=",
        f"of an output of which more than {MANY_REPEATS:.0%} of the rows repeat that of another cell",
    ),
    "caveat": ("!", "not to be read without its warning below"),
}


LEAST = 6
"""Characters of a column, at least."""
LABEL = 20
"""Characters of a line of a model's name, at least; a third of the terminal where that is more."""


class Column(NamedTuple):
    """A metric of a task."""

    task: str
    metric: str


@dataclass(frozen=True)
class Grid:
    """The results on one dataset; where they do not fit side by side, some tasks stand below the others.

    A task that applies to no model has no column: why it does not is said below. Names are folded where there is too
    little room for them; a number never is.
    """

    title: str
    entries: Sequence[Entry]
    tasks: Mapping[str, Task]
    baselines: Collection[str]
    scaled: bool = False
    """True: as they stand between their controls."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        left = [one for one in self._columns() if self._applies(one.task)]
        forms: tuple[Form, ...] = ("bare",) if self.scaled else FORMS
        room = options.max_width

        def fits(count: int, form: Form) -> bool:
            return self._layout(left[:count], form, room).spare >= 0

        least: Form = "bare" if self.scaled or fits(len(left), "bare") else "half"
        while left:
            count = _count(left, lambda n: fits(n, least), lambda n: any(fits(n, form) for form in forms))
            form: Form = next((one for one in forms if fits(count, one)), "bare")
            yield self._table(left[:count], form, self._layout(left[:count], form, room))
            left = left[count:]

    def _columns(self) -> Iterator[Column]:
        for task in dict.fromkeys(entry.task for entry in self.entries):
            yield from (Column(task, metric) for metric in _headline(task, self.tasks, self.entries))

    def _applies(self, task: str) -> bool:
        return any(entry.task == task and entry.state != "not_applicable" for entry in self.entries)

    @functools.cached_property
    def _rows(self) -> dict[tuple[str, int], dict[str, Entry]]:
        """Group the results by model and seed."""
        rows: dict[tuple[str, int], dict[str, Entry]] = {}
        for entry in self.entries:
            rows.setdefault((self._label(entry), entry.seed), {})[entry.task] = entry
        return rows

    @functools.cached_property
    def _names(self) -> list[str]:
        rows = self._rows
        many_seeds = len({seed for _, seed in rows}) > 1
        return [f"{name} (seed {seed})" if many_seeds else name for name, seed in rows]

    @functools.cached_property
    def _values(self) -> dict[tuple[Column, Form], list[Text]]:
        """Write every number in every form: how much room each takes decides what is shown."""
        return {
            (one, form): [
                _value(by_task.get(one.task), one.metric, form, scaled=self.scaled) for by_task in self._rows.values()
            ]
            for one in self._columns()
            for form in FORMS
        }

    def _heads(self, columns: Sequence[Column]) -> list[tuple[str, str]]:
        """Give of each column its task's name, where that is not the one before's, and its metric's short name."""
        tasks = [one.task for one in columns]
        names = [one.replace("_", " ") if n == 0 or one != tasks[n - 1] else "" for n, one in enumerate(tasks)]
        shorts = [_headline(one.task, self.tasks, self.entries)[one.metric] for one in columns]
        return list(zip(names, shorts, strict=True))

    def _layout(self, columns: Sequence[Column], form: Form, room: int) -> "Layout":
        """Give every column as much as its numbers need, then names what they would like, as far as there is room."""
        numbers = [max((one.cell_len for one in self._values[column, form]), default=0) for column in columns]
        heads = self._heads(columns)
        words = [max((len(word) for word in f"{task} {short}".split()), default=0) for task, short in heads]
        least = [max(LEAST, *both) for both in zip(numbers, words, strict=True)]
        wide = max(map(cell_len, ["model", *self._names]))
        label_width = min(wide, max(LABEL, room // 3))
        spare = room - label_width - sum(least) - 3 * len(columns) - 4
        more = wide - label_width if wide - label_width <= spare else 0
        left, widths = spare - more, []
        for need, (task, short) in zip(least, heads, strict=True):
            extra = max(0, max(len(task), len(short)) - need)
            widths.append(need + (extra if extra <= left else 0))
            left -= extra if extra <= left else 0
        return Layout(label_width + more, tuple(widths), spare)

    def _table(self, columns: Sequence[Column], form: Form, layout: "Layout") -> Table:
        cells = max((score.n_cells for entry in self.entries for score in entry.scores), default=0)
        title = Text(self.title, style="bold").append(f"  {cells:,} cells" if cells else "", style="not bold dim")
        table = Table(title=title, title_justify="left", header_style="", box=box.SIMPLE_HEAD)
        table.add_column("model", vertical="bottom", overflow="fold", width=layout.label if layout.spare >= 0 else None)
        for (task, short), width in zip(self._heads(columns), layout.columns, strict=True):
            name = Text(task, style="bold").append(f"\n{short}", style="not bold")
            table.add_column(name, justify="right", vertical="bottom", overflow="fold", width=width)
        values = [self._values[column, form] for column in columns]
        for number, whose in enumerate(self._names):
            table.add_row(Text(label.folded(whose, layout.label)), *(column[number] for column in values))
        return table

    @functools.cached_property
    def _marked(self) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Collect models that were trained on the dataset, and those made elsewhere, as one result of theirs says."""
        seen = {(one.model, one.variant) for one in self.entries if one.seen}
        return seen, {(one.model, one.variant) for one in self.entries if one.elsewhere}

    def _label(self, entry: Entry) -> str:
        """Name a row: the model, its marks, its variant, and what was set for this run."""
        whose, (seen, elsewhere) = (entry.model, entry.variant), self._marked
        marks = "\u00a0†" if entry.model in self.baselines and whose not in elsewhere else ""
        marks += "\u00a0‡" if whose in seen else ""
        marks += "\u00a0§" if whose in elsewhere else ""
        return label.model(entry.model, entry.variant, entry.changed, marks)


class Layout(NamedTuple):
    """How wide the columns of a table are."""

    label: int
    columns: tuple[int, ...]
    spare: int
    """Characters of a line that are left over; less than nothing: it does not fit."""


def _count(columns: Sequence[Column], fits: Callable[[int], bool], somehow: Callable[[int], bool]) -> int:
    """Say how many columns stand side by side: those of whole tasks, or some of one that does not fit by any means."""
    ends = [n for n in range(1, len(columns) + 1) if n == len(columns) or columns[n].task != columns[n - 1].task]
    if whole := [n for n in ends if fits(n)]:
        return max(whole)
    if somehow(ends[0]):
        return ends[0]
    return max((n for n in range(1, ends[0]) if fits(n)), default=1)


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
        return f"\u00a0±{_short(max(score.high - score.value, score.value - score.low))}"
    return f"\u00a0[{_short(score.low)},\u00a0{_short(score.high)}]"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("-0.000", "0.000")
