"""Notices expression that is not on the scale that it is said to be on: logarithms handed in as counts, or the reverse.

What is certain is an error; what is only likely is a warning, since a model may be no good and yet right in its scale.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.perturbation import scale
from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed

FAR = 3.0
"""Totals that differ by this factor are not of the same scale."""
ODD = 5.0
"""Counts are scaled to the same total, so that depth may differ; but by this factor they are hardly counts."""
LOGGED = 20.0
"""No logarithm of a count is above it: e²⁰ is half a milliard."""
ROWS = 500
"""As many are looked at: the first."""
CELLS = 1_000
"""Control cells whose mean is compared."""
SAME, UNLIKE = 1e-3, 5e-3
"""Row totals that vary by less than the first part of their mean are one and the same; by more than the second, not."""
CLEAR, AHEAD = 0.9, 0.1
"""A profile is one of logarithms if it correlates so well with the control's, and by so much more than as counts."""


def refuse(given: Perturbed, whose: str) -> None:
    """Refuse values that cannot be on the scale that they are said to be on.

    Raises
    ------
    ValueError
        If counts are logarithms of counts, or logarithms are counts.
    """
    if given.scale == "counts" and (total := logged(given)):
        raise ValueError(
            f"{whose} is said to be counts, but holds logarithms: expm1 of every row adds up to the same "
            f"{total:.4g}, and the values themselves do not; take expm1 of them, or say scale='log1p'"
        )
    if given.scale == "log1p" and (why := counted(given)):
        raise ValueError(f"{whose} is said to be log1p, but {why}: these are counts; say scale='counts'")


def logged(given: Perturbed) -> float:
    """Tell whether cells that should be counts are log1p of counts scaled to one total: that total, or 0 if not.

    Means of logarithms do not show it: see `warn_of_counts`.
    """
    if given.level == "means":
        return 0.0
    rows = _rows(given)
    if not _could_be_logs(rows):
        return 0.0
    totals = np.expm1(rows, dtype=np.float64).sum(axis=1)
    plain = rows.sum(axis=1, dtype=np.float64)
    there = totals > 0
    if there.sum() < 2 or not (_spread(totals[there]) < SAME and _spread(plain[there]) > UNLIKE):
        return 0.0
    return float(totals[there].mean())


def counted(given: Perturbed) -> str:
    """Say why values that should be log1p of scaled counts are none, or nothing."""
    values = given.matrix if isinstance(given.matrix, np.ndarray) else given.matrix.data
    largest = float(values.max(initial=0))
    if largest > LOGGED:
        return f"its largest value is {largest:.6g}"
    if largest > 0 and _whole(values):  # log1p of a whole number is none
        return f"all of its values are whole numbers, up to {largest:.6g}"
    return ""


def warn_of_counts(prediction: Perturbed, truth: Perturbed) -> None:
    """Say so where rows that are said to be counts look like logarithms, or add up to far more than the control's."""
    if not prediction.scale == truth.scale == "counts":
        return
    control = _control(truth)
    mine, theirs = (_total(*both) for both in ((prediction, truth), (control, prediction)))
    told = ""
    if mine and theirs and not theirs / ODD <= mine <= theirs * ODD:
        told = f"add up to {mine:.4g} a row on average, the control's to {theirs:.4g}"
    elif _could_be_logs(_rows(prediction)) and (found := _profiles(prediction, control)):
        told = (
            f"are fractions below {LOGGED:.0f}, and their means correlate by {found[1]:.2f} with the control's mean "
            f"logarithms, by {found[0]:.2f} with its mean counts"
        )
    if told:
        warnings.warn(
            f"the predicted counts {told}: these values look like they are not counts; if they are on another scale, "
            "all that is computed of them is wrong",
            stacklevel=3,
        )


def warn_of_totals(prediction: Perturbed, means: NDArray[np.float64], control: NDArray[np.float64]) -> None:
    """Say so where a prediction's mean expression adds up to far more, or less, than the control's.

    Parameters
    ----------
    means, control
        Shape (conditions, genes) and (genes,): log1p.
    """
    with np.errstate(over="ignore"):
        totals = np.expm1(np.maximum(means, 0.0)).sum(axis=1)
    if empty := int((totals == 0).sum()):
        warnings.warn(f"{empty} of {len(totals)} conditions are predicted to have no counts at all", stacklevel=3)
    true, predicted = float(np.expm1(control).sum()), float(np.median(totals))
    if prediction.scale == "log1p" and not true / FAR <= predicted <= true * FAR:
        warnings.warn(
            f"the predicted expression adds up to {predicted:.4g} a cell, the control's to {true:.4g}: is it log1p "
            "of counts scaled to the same total, as scale='log1p' says, or are these counts?",
            stacklevel=3,
        )


def _control(truth: Perturbed) -> Perturbed:
    """Take control cells: all, or as many as will do, from all over the matrix."""
    places = np.flatnonzero(truth.codes == 0)
    some = np.zeros(len(truth), dtype=bool)
    some[places[np.linspace(0, len(places) - 1, min(len(places), CELLS)).astype(np.int64)]] = True
    return truth.among(some)


def _total(given: Perturbed, other: Perturbed) -> float:
    """Average what the rows add up to, over the genes that both have."""
    shared = np.isin(given.genes, other.genes)
    return float(scale.row_totals(given.matrix if shared.all() else given.matrix[:, np.flatnonzero(shared)]).mean())


def _profiles(prediction: Perturbed, control: Perturbed) -> tuple[float, float] | None:
    """Correlate the mean prediction with the control's counts and logarithms; None where it is like counts."""
    columns = {gene: column for column, gene in enumerate(control.genes.tolist())}
    pairs = [(place, columns[gene]) for place, gene in enumerate(prediction.genes.tolist()) if gene in columns]
    mine, theirs = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    profile = np.asarray(prediction.matrix.mean(axis=0, dtype=np.float64)).ravel()[mine]
    raw = scale.means(control)[0, theirs]
    logs = [scale.means(scale.log1p(control, total))[0, theirs] for total in (scale.common_total(control), 1e4)]
    as_counts, as_logs = _correlation(profile, raw), max(_correlation(profile, one) for one in logs)
    return (as_counts, as_logs) if as_logs > CLEAR and as_logs - as_counts > AHEAD else None


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / size if size > 0 else 0.0


def _rows(given: Perturbed) -> NDArray[np.float32]:
    some = given.matrix[np.flatnonzero(given.codes >= 0)[:ROWS]]
    return some if isinstance(some, np.ndarray) else np.asarray(some.toarray())


def _could_be_logs(values: NDArray[np.floating[Any]]) -> bool:
    return bool(values.size and 0 < values.max() <= LOGGED and values.min() >= 0 and not _whole(values))


def _whole(values: NDArray[np.floating[Any]]) -> bool:
    return bool((values == np.rint(values)).all())


def _spread(totals: NDArray[np.float64]) -> float:
    return float(totals.std() / totals.mean())
