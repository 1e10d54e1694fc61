"""Every metric of a comparison: a value for each condition, or one for all of them together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks.metrics.perturbation import agreement, distributions, effects
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from cellgauge_tasks.metrics.perturbation.discrimination import Distance, discrimination
from cellgauge_tasks.metrics.perturbation.effects import PerCondition
from cellgauge_tasks.metrics.perturbation.expression import Expression, fold_change
from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed

TOP = (20, 100)
"""Effects and errors are also computed on so many genes of each condition, those that truly differ most."""
STRONGEST: tuple[int | None, ...] = (None, 50, 100, 200)
"""How many of the strongest genes are compared; None: as many as are significant in truth."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric's value for each condition; NaN where it is not defined."""

    metric: str
    values: PerCondition
    params: dict[str, str | int | float] = field(default_factory=dict)
    better: Literal["higher", "lower"] = "higher"
    undefined: str = "its prediction or its truth is constant"
    """Why a condition may have no value."""


@dataclass(frozen=True, eq=False)
class Correlated:
    """A metric that correlates two values of each condition over conditions."""

    metric: str
    predicted: PerCondition
    true: PerCondition
    ranks: bool = False


def measure(
    found: Comparison, held_out_genes: Sequence[str] = (), *, seed: int = 42
) -> tuple[list[Measured], list[Correlated]]:
    """Compute every metric that the comparison allows: those of cells need cells.

    Parameters
    ----------
    held_out_genes
        Genes whose values no model was shown; there are effects and errors on these alone, too.
    seed
        Of the draw of cells where there are very many.
    """
    metrics = [*_effects(found, held_out_genes), *_discrimination(found)]
    correlated = []
    true, predicted = found.true_expression, found.predicted_expression
    if true is not None:
        metrics += _expression(found, true, predicted)
    if true is not None and predicted is not None:
        guessed, counted = (one.significant.sum(axis=1).astype(float) for one in (predicted, true))
        correlated.append(Correlated("de_counts_spearman", guessed, counted, ranks=True))
    if (cells := found.predicted_cells) is not None:
        groups, control = (_groups(found.true_cells, seed), _groups(cells, seed)), _drawn(found.true_cells, 0, seed)
        rows = np.asarray(distributions.compare(*groups, control, seed=seed), dtype=np.float64)
        few = "it has fewer than 2 true cells, or all are equal"
        metrics += [
            Measured("energy_distance", rows[:, 0], better="lower"),
            Measured("mmd", rows[:, 1], better="lower", undefined=few),
        ]
        correlated.append(Correlated("energy_distance_pearson", rows[:, 3], rows[:, 2]))
    return metrics, correlated


def _groups(cells: Perturbed, seed: int) -> Iterator[NDArray[np.float32]]:
    return (_drawn(cells, code, seed) for code in range(1, len(cells.names) + 1))


def _drawn(cells: Perturbed, code: int, seed: int) -> NDArray[np.float32]:
    """Take as many cells of a condition as are compared: drawn first, and made dense then."""
    return cells.rows(code, distributions.which(int(cells.counts[code]), seed))


def _effects(found: Comparison, held_out_genes: Sequence[str]) -> Iterator[Measured]:
    predicted, true = found.predicted_effects, found.true_effects
    shift = found.reference
    beyond = [effects.effect(one, shift) for one in (found.predicted_means, found.true_means[1:])]
    for name, columns in _genes(found, held_out_genes):
        params: dict[str, str | int | float] = {"genes": name}
        a, b, c, d = (
            np.take_along_axis(one, columns, axis=1) if columns is not None else one
            for one in (predicted, true, *beyond)
        )
        yield Measured("pearson_delta", effects.pearson(a, b), params)
        yield Measured("spearman_delta", effects.spearman(a, b), params)
        yield Measured("pearson_delta_perturbed", effects.pearson(c, d), params)
        yield Measured("spearman_delta_perturbed", effects.spearman(c, d), params)
        yield Measured("mse", effects.mean_squared_error(a, b), params, "lower")
        yield Measured("mae", effects.mean_absolute_error(a, b), params, "lower")


def _genes(found: Comparison, held_out_genes: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64] | None]]:
    """Name sets of genes, and give their columns in each condition; None is all."""
    yield "all", None
    if (true := found.true_expression) is not None:
        order = np.argsort(-np.abs(true.z), axis=1, kind="stable")
        yield from ((f"top {k}", order[:, :k]) for k in TOP if k < order.shape[1])
    if len(held_out_genes):
        columns = np.flatnonzero(np.isin(found.truth.genes, list(held_out_genes)))
        if len(columns) < len(set(held_out_genes)):
            raise ValueError(f"only {len(columns)} of {len(set(held_out_genes))} held-out genes are in the truth")
        yield "held out", np.tile(columns, (len(found.names), 1))


def _discrimination(found: Comparison) -> Iterator[Measured]:
    distances: tuple[Distance, ...] = ("l1", "l2", "cosine")
    why = "there is no other condition, or no effect at all"
    for distance in distances:
        values = discrimination(found.predicted_effects, found.true_effects, found.targeted, distance)
        yield Measured("discrimination", values, {"distance": distance}, undefined=why)


def _expression(found: Comparison, true: Expression, predicted: Expression | None) -> Iterator[Measured]:
    significant = true.significant
    n_true = significant.sum(axis=1)
    order = agreement.places(np.abs(found.true_change), true.surprise, significant)
    guess, change = (
        fold_change(found.control + one, found.control) for one in (found.predicted_effects, found.true_effects)
    )
    if predicted is not None:
        n_predicted = predicted.significant.sum(axis=1)
        places = agreement.places(np.abs(guess), predicted.surprise, predicted.significant)
        scores, ranked = predicted.surprise, "p"
    else:  # means: genes are put in order by how much they are predicted to change, if they are
        scores, ranked = np.abs(found.predicted_effects), "effect"
        n_predicted = (scores > 0).sum(axis=1)
        places = agreement.places(scores, scores)
    why = "no gene is significant in truth"
    for k in STRONGEST:
        params: dict[str, str | int | float] = {"k": k or "significant", "ranked_by": ranked}
        values = agreement.overlap(places, order, n_predicted, n_true, k)
        yield Measured("de_overlap", values, params, undefined=why)
        if predicted is not None:
            values = agreement.precision(places, order, n_predicted, n_true, k)
            yield Measured("de_precision", values, params, undefined=why)
    if predicted is not None:
        yield Measured("de_recall", agreement.recall(predicted.significant, significant), undefined=why)
    match = agreement.direction_match(found.predicted_effects, found.true_effects, significant)
    yield Measured("de_direction_match", match, undefined=why)
    spearman = effects.spearman(np.where(significant, guess, np.nan), change)
    yield Measured("de_spearman_change", spearman, undefined=f"{why}, or its prediction is constant")
    why = f"{why}, or all are"
    yield Measured("de_auroc", agreement.auroc(scores, significant), {"ranked_by": ranked}, undefined=why)
    yield Measured("de_auprc", agreement.auprc(scores, significant), {"ranked_by": ranked}, undefined=why)
