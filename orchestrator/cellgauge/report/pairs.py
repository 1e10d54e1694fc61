"""Compares two scores in pairs: on each resample both were computed on the same cells, so their difference is clear."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cellgauge.specs import ScoreValue, Spec, TaskResult
from cellgauge.store import REPLICATES, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
"""Of the interval of a difference."""
FEWEST = 20
"""Resamples on which both must be defined."""


@dataclass(frozen=True)
class Drawn:
    """A score, and what it is on each of its resamples."""

    score: ScoreValue
    replicates: "NDArray[Any] | None" = None
    """Shape (draws,), NaN where it is not defined."""


class Comparison(Spec):
    """A difference of two scores, and how far it would move with other cells."""

    difference: float
    """The first less the second; turned round where lower is better: positive if the first is better."""
    low: float
    high: float
    """Between these lie 95 % of the differences on the resamples."""
    draws: int

    @property
    def distinguishable(self) -> bool:
        """True if 0 is outside the interval."""
        return not self.low <= 0 <= self.high


def compare(one: Drawn, other: Drawn) -> Comparison | None:
    """Compare two scores on the resamples that they share; None where they share none.

    Neither interval of the two tells that: both move with the cells together. The differences are moved so that their
    mean is that of the scores themselves, as the intervals of scores are.

    References
    ----------
    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 16.
    """
    import numpy as np

    a, b = one.replicates, other.replicates
    if a is None or b is None or not one.score.resamples or one.score.resamples != other.score.resamples:
        return None
    if one.score.better != other.score.better or a.shape != b.shape:
        return None
    sign = 1.0 if one.score.better == "higher" else -1.0
    apart = sign * (a.astype(np.float64) - b.astype(np.float64))
    apart = apart[np.isfinite(apart)]
    if len(apart) < max(FEWEST, len(a) // 2):
        return None
    difference = sign * (one.score.value - other.score.value)
    low, high = np.quantile(apart + (difference - apart.mean()), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Comparison(difference=difference, low=float(low), high=float(high), draws=len(apart))


def drawn(result: TaskResult, numbers: list[int], store: Store) -> dict[int, Drawn]:
    """Read some scores of a result, by number, with their replicates."""
    kept = store.arrays(result, [f"{REPLICATES}{number}" for number in numbers])
    return {number: Drawn(result.scores[number], kept.get(f"{REPLICATES}{number}")) for number in numbers}
