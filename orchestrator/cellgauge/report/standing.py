"""Says how each number of a table stands: the best of its column, no worse than it, below a baseline, out of bounds."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cellgauge.report import pairs
from cellgauge.specs import RunRecord, ScoreValue, Scoring, TaskResult
from cellgauge.store import Store
from cellgauge_model.contract import Param
from cellgauge_tasks import Caveat, Task

Flag = Literal["below_baseline", "above_controls", "below_controls", "few_genes", "repeated_rows", "caveat"]
"""What is to be known before a number is believed."""
Standing = Literal["", "best", "level", "unknown"]
"""Among the numbers of its column: `level` cannot be told from the best in pairs on the same resamples; `unknown`
cannot be compared in pairs at all; an empty one is clearly worse, alone, with a caveat, or not shown in tables."""
FEW_GENES = 0.5
"""Share of a dataset's genes that a model has to know, below which it is said."""
DRAWN = 3.0
"""How many times the range of the draws of chance a score has to be below their mean to be called so."""
MANY_REPEATS = 0.01
"""Share of rows that are the same as another, above which it is said."""


@dataclass(frozen=True)
class Bounds:
    """What the controls of a task score."""

    positive: ScoreValue
    """The truth itself."""
    negative: float
    """Chance: the mean of several."""
    spread: float = 0.0
    """Of these: the largest less the smallest."""

    def scaled(self, value: float) -> float | None:
        """Put a value where 0 is chance and 1 the truth; None where the two do not differ."""
        width = self.positive.value - self.negative
        return (value - self.negative) / width if abs(width) > 1e-6 else None

    def flag(self, score: ScoreValue) -> Flag | None:
        """Say whether a score is clearly outside: all of its interval, where it has one."""
        sign = 1.0 if score.better == "higher" else -1.0
        ends, truth = _ends(score, sign), _ends(self.positive, sign)
        if min(ends) > max(*truth, sign * self.negative) + 1e-6:
            return "above_controls"
        # Chance itself moves by more than an interval over cells tells: of three draws, about five standard deviations.
        return "below_controls" if max(ends) < sign * self.negative - DRAWN * self.spread - 1e-6 else None


def _ends(score: ScoreValue, sign: float) -> list[float]:
    return [sign * one for one in (score.low, score.high, score.value) if one is not None]


def key(score: ScoreValue, facts: Collection[str] = ()) -> tuple[str, str]:
    """Name a score among those of its task.

    Parameters
    ----------
    facts
        Params that make no difference.
    """
    told = (f"{name}={value}" for name, value in sorted(score.params.items()) if name not in facts)
    return score.metric, ", ".join(told)


def headline(metric: str, scores: Sequence[ScoreValue]) -> int | None:
    """Find the score that a summary shows for a metric, by number: the mean over classifiers, or the first."""
    found = [number for number, one in enumerate(scores) if one.metric == metric]
    mean = [number for number in found if scores[number].params.get("classifier") == "mean"]
    return next(iter(mean or found), None)


def numbers(task: Task | None, scores: Sequence[ScoreValue]) -> list[int]:
    """Number the scores that a summary shows."""
    if task is None:
        return [number for number, one in enumerate(scores) if not one.params]
    found = (headline(metric, scores) for metric in task.headline)
    return [number for number in found if number is not None]


def ground(scoring: Scoring) -> str:
    """Name what a score is of: only those of the same cells, by the same task that reads the same, are ranked."""
    what = {"dataset", "task", "task_version", "roles", "seed", "limit_cells", "split"}
    return json.dumps(scoring.model_dump(mode="json", include=what), sort_keys=True)


@dataclass(frozen=True)
class Row:
    """A result among those that it is compared with: all of one `ground`."""

    model: str
    plain: bool
    """True of a model as it comes: no variant, nothing set, and not an embedding that was made elsewhere."""
    result: TaskResult


def stand(
    rows: Sequence[Row], task: Task | None, store: Store, *, beside: bool = False
) -> list[dict[int, tuple[Standing, tuple[Flag, ...]]]]:
    """Compare the headline scores of some results in pairs: each row's, by number, how it stands and its flags.

    Parameters
    ----------
    beside
        True: results of another ground are shown in the same columns, so that even one alone has to say how it stands.
    """
    found: list[dict[int, tuple[Standing, tuple[Flag, ...]]]] = [{} for _ in rows]
    if len(rows) < 2 and not beside:
        return found
    read = [pairs.drawn(row.result, numbers(task, row.result.scores), store) for row in rows]
    base = next((place for place, row in enumerate(rows) if task and row.plain and row.model == task.baseline), None)
    for metric in dict.fromkeys(one.score.metric for row in read for one in row.values()):
        column = {
            at: (number, one)
            for at, row in enumerate(read)
            for number, one in row.items()
            if one.score.metric == metric
        }
        if len(column) < 2 and not beside:
            continue
        # What is not to be read without its warning is the best of nothing, and nothing is measured against it.
        trusted = {at: one for at, (_, one) in column.items() if not _has_caveat(rows[at].result.warnings)}
        standings = _standings(trusted) if len(trusted) > 1 or (beside and trusted) else {}
        for at, (number, one) in column.items():
            below = base in trusted and at != base and _below(one, column[base][1])
            found[at][number] = (standings.get(at, ""), ("below_baseline",) if below else ())
    return found


def _standings(column: Mapping[int, pairs.Drawn]) -> dict[int, Standing]:
    """Say how each of a column stands; the best is so called only if it can be compared with another."""
    best = _best({at: one.score for at, one in column.items()})
    found = {at: _level(one, column[best]) for at, one in column.items() if at != best}
    found[best] = "best" if any(one != "unknown" for one in found.values()) else "unknown"
    return found


def _best(scores: Mapping[int, ScoreValue]) -> int:
    sign = 1.0 if next(iter(scores.values())).better == "higher" else -1.0
    return max(scores, key=lambda place: sign * scores[place].value)


def _level(one: pairs.Drawn, best: pairs.Drawn) -> Standing:
    apart = pairs.compare(best, one)
    if apart is None:
        return "unknown"
    return "" if apart.distinguishable else "level"


def _below(one: pairs.Drawn, baseline: pairs.Drawn) -> bool:
    apart = pairs.compare(one, baseline)
    return apart is not None and apart.high < 0


def genes_known(record: RunRecord | None, dataset: str) -> float | None:
    """Tell the share of a dataset's genes that a model was given under a name that it knows; None if nobody said."""
    item = next((one for one in record.items if one.name == dataset), None) if record else None
    if item is None or item.genes is None or not item.genes.given:
        return None
    return item.genes.kept / item.genes.given * (1.0 if item.gene_coverage is None else item.gene_coverage)


def flags(known: float | None, repeated: float | None, warnings: Sequence[str] = ()) -> tuple[Flag, ...]:
    """Flag an output as a whole."""
    found: list[Flag] = []
    if known is not None and known < FEW_GENES:
        found.append("few_genes")
    if repeated is not None and repeated > MANY_REPEATS:
        found.append("repeated_rows")
    if _has_caveat(warnings):
        found.append("caveat")
    return tuple(found)


def _has_caveat(warnings: Iterable[str]) -> bool:
    return any(one.startswith(f"{Caveat.__name__}: ") for one in warnings)


def bounds(controls: Iterable[TaskResult], task: Task | None = None) -> Callable[[ScoreValue], Bounds | None]:
    """Collect what the controls of one task score, and give what finds it for a score; None where one of both is not.

    Controls and score have to agree in what makes a metric, and not in what the task calls facts: a model may have no
    value in some conditions. Where a metric has one score alone its parameters are no matter: the resolution that was
    best, perhaps.
    """
    facts = task.facts if task else ()
    positive: dict[tuple[str, str], ScoreValue] = {}
    negative: dict[tuple[str, str], list[float]] = {}
    for result in controls:
        alone = Counter(one.metric for one in result.scores)
        for one in result.scores:
            for name in {key(one, facts), *([(one.metric, "")] if alone[one.metric] == 1 else [])}:
                if result.scoring.control == "positive":
                    positive[name] = one
                else:
                    negative.setdefault(name, []).append(one.value)
    both = {
        name: Bounds(positive[name], sum(drawn) / len(drawn), max(drawn) - min(drawn))
        for name, drawn in negative.items()
        if name in positive
    }
    return lambda score: both.get(key(score, facts)) or both.get((score.metric, ""))


def label(params: Mapping[str, Param]) -> str:
    """Write a score's parameters."""
    return ", ".join(f"{name}={value}" for name, value in params.items())
