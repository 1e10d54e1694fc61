"""What a task is, and what a score."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Embedding = NDArray[np.floating[Any]]
"""Cells x dimensions, finite."""
Labels = NDArray[np.str_]
"""One label a cell."""
LEVEL = 0.95
"""Of every interval."""


@dataclass(frozen=True)
class Interval:
    """How far a score would move with other cells (or donors, conditions, folds and seeds): `LEVEL` of resamples."""

    low: float
    high: float
    unit: str
    """What was drawn again: `cells`, `donors`, `conditions`, `folds`, `seeds`, or two of them: `cells and seeds`."""
    n_units: int
    resamples: str = ""
    """Names the draws. Of two scores with the same name, the replicates belong together, one by one."""
    replicates: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """Shape (draws,): the score on each of them; NaN where it is not defined."""


@dataclass(frozen=True)
class Score:
    """One number, and how many cells went into it."""

    metric: str
    value: float
    n_cells: int
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    interval: Interval | None = None
    better: Literal["higher", "lower"] = "higher"


class Scores(list[Score]):
    """What a task gives: its scores, and beside them what a report shows of how they came about."""

    def __init__(self, scores: Iterable[Score] = (), details: Mapping[str, Any] | None = None) -> None:
        super().__init__(scores)
        self.details: dict[str, NDArray[Any]] = {name: np.asarray(one) for name, one in (details or {}).items()}
        """Small arrays by name: `clusters`, `knn/confusion`, `classes`, `accuracy/per_fold`. Numbers or text only."""


Control = Callable[[Mapping[str, Any], int], Any]
"""`control(obs, seed)` makes an input for `score` from the truth, shape (cells, dimensions)."""


@dataclass(frozen=True)
class Task:
    """A question that an output can be scored on."""

    name: str
    version: str
    """Raised whenever the same input could give another number."""
    title: str
    roles: tuple[str, ...]
    """Roles of the obs columns that `score` reads, for instance `cell_type`. No model sees them, but for `shown`."""
    score: Callable[..., list[Score]]
    """`score(embedding, obs, *, seed)`, where `obs[role]` is a column. `embedding` may be a `Space`, of which
    `numpy.asarray` makes the array. With a split there is more: see there."""
    headline: Mapping[str, str]
    """The metrics that a summary shows, and their short names there."""
    baseline: str
    """The plain model that a claim on this task has to beat."""
    verb: Literal["embed", "predict"] = "embed"
    split: str | None = None
    """The split, by its name in the catalogue, whose held-out cells no model gets; None: models get every cell.

    With a split, `score(output, obs, *, seed, train, test)` is given every cell of the dataset in `obs`, and two masks:
    `train` are the cells that the model had, whose rows the output has in this order, and `test` those held out."""
    optional: tuple[str, ...] = ()
    """Roles that `score` reads where a dataset has them: a `donor` makes intervals over donors."""
    shown: tuple[str, ...] = ()
    """Those among `roles` and `optional` that a model may see all the same: an integration method is told the batch."""
    expect: Callable[..., None] | None = None
    """`expect(space, obs)` tells a `Space` what `score` will ask of it, so that several tasks share one pass."""
    controls: Mapping[Literal["positive", "negative"], Control] = field(default_factory=dict)
    """Inputs that no model beats, and none should stay below: the truth itself, and chance."""
    facts: tuple[str, ...] = ()
    """Those of its scores' params that only tell what a number came of (`n_conditions`), and not which metric it is."""
    masked: str = ""
    """With `predict`: the name and version of the rule by which some genes of the conditions held out are masked. A
    model that can is shown the cells held out, too, in which these genes are 0. There is one rule, `protocols.RULE`."""


class Caveat(UserWarning):
    """Without knowing this nobody should read the numbers of a result: a table marks all of them."""


class NotApplicable(Exception):
    """The task has no defined value for this input, with the reason."""
