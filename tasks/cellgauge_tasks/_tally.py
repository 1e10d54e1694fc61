"""Collects a task's scores; a metric that has no value here is left out, and a warning says why."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import NotApplicable, Score, Scores
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks.metrics.contributions import Contributions
from cellgauge_tasks.metrics.scib import Member

Part = TypeVar("Part")
Weighted = Callable[[NDArray[np.floating[Any]]], NDArray[np.float64]]
"""Gives a score for each of several weightings of the cells, of shape (weightings, cells)."""


class Tally:
    """Scores of the same cells, with intervals over the same draws."""

    def __init__(self, n_cells: int, draws: Resamples) -> None:
        self.n_cells, self.draws = n_cells, draws
        self.scores = Scores()
        self.members: dict[str, Member] = {}
        """Every metric that has a value, shown or not."""

    def add(self, metric: str, make: Callable[[], Contributions], **params: str | int | float) -> None:
        """Score what each cell adds; of labels, their means are kept as a detail."""
        if (part := self._made(metric, make)) is None:
            return
        if part.groups is not None:
            self.scores.details[f"{metric}/per_label"] = part.per_group()
        self._show(metric, self._member(metric, part), part.n_cells, params)

    def weigh(self, metric: str, make: Callable[[], Weighted], *, lower: bool = False) -> None:
        """Score what is more than the sum of its cells; `lower` is better, or higher."""
        if (one := self._made(metric, make)) is not None:
            self._show(metric, self._weighed(metric, one), self.n_cells, {}, lower=lower)

    def hide(self, metric: str, make: Callable[[], Contributions | Weighted]) -> None:
        """Measure what is a score of another task, and here a part of a sum, which says what went into it."""
        with suppress(NotApplicable):
            part = make()
            if isinstance(part, Contributions):
                self._member(metric, part)
            else:
                self._weighed(metric, part)

    def sum_up(self, metric: str, member: Member, **params: str | int | float) -> None:
        """Score what is made of others, over all cells."""
        self._show(metric, member, self.n_cells, params)

    def _made(self, metric: str, make: Callable[[], Part]) -> Part | None:
        try:
            return make()
        except NotApplicable as reason:
            warnings.warn(f"{metric} is left out: {reason}", stacklevel=4)
            return None

    def _member(self, metric: str, part: Contributions) -> Member:
        self.members[metric] = Member(part.value(), part.replicates(self.draws))
        return self.members[metric]

    def _weighed(self, metric: str, one: Weighted) -> Member:
        value = float(one(np.ones((1, self.n_cells), dtype=np.float32))[0])
        self.members[metric] = Member(value, np.concatenate([one(block) for block in self.draws.weights()]))
        return self.members[metric]

    def _show(
        self, metric: str, member: Member, n_cells: int, params: dict[str, str | int | float], *, lower: bool = False
    ) -> None:
        interval = self.draws.interval(member.replicates, member.value)
        self.scores.append(Score(metric, member.value, n_cells, params, interval, "lower" if lower else "higher"))
