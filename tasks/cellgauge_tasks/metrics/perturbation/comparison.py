"""A prediction beside the truth: the same conditions, genes in the same order, expression on the same scale."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, NotApplicable
from cellgauge_tasks.metrics.perturbation import mistaken, scale
from cellgauge_tasks.metrics.perturbation.effects import Rows, effect
from cellgauge_tasks.metrics.perturbation.expression import Expression, fold_change, wilcoxon
from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed


@dataclass(frozen=True, eq=False)
class Comparison:
    """Both as log1p of counts scaled to the same total; the truth's control cells serve for both.

    Parameters
    ----------
    prediction, truth
        As they are given: see `of`, which makes them fit.
    training
        Whose conditions' mean is the reference of effects against all perturbed; None: that of the truth.
    """

    prediction: Perturbed
    truth: Perturbed
    total: float
    pooled: bool
    """A mean is log1p of the pooled counts, since the prediction is a mean of counts; if not, the mean of log1p."""
    training: Perturbed | None = None

    @classmethod
    def of(
        cls, prediction: Perturbed, truth: Perturbed, *, seed: int = 42, training: Perturbed | None = None
    ) -> "Comparison":
        """Make both fit.

        Raises
        ------
        ValueError
            If the prediction lacks a condition, has one that the truth has not, or none of the truth's genes; or if
            either is certainly not on the scale that it is said to be on.
        NotApplicable
            If the truth has no condition, or no control.
        """
        if not len(truth.names) or not truth.counts[0]:
            what = "control rows" if len(truth.names) else f"conditions beside the control '{truth.control}'"
            raise NotApplicable(f"there are no {what} to compare with")
        prediction = prediction.among((prediction.codes > 0) & (prediction.conditions != truth.control))
        _same(set(prediction.names.tolist()), set(truth.names.tolist()))
        mistaken.refuse(prediction, "the prediction")
        mistaken.refuse(truth, "the truth")
        pooled = prediction.level == "means" and prediction.scale == "counts"
        total = scale.common_total(truth)
        if not total > 0:
            raise NotApplicable(f"half of the {truth.counts[0]} control cells have no counts")
        prediction = replace(prediction, control=truth.control)
        mistaken.warn_of_counts(prediction, truth)
        found = cls(_complete(prediction, truth, total, pooled, seed), truth, total, pooled, training)
        mistaken.warn_of_totals(found.prediction, found.predicted_means, found.control)
        return found

    @property
    def names(self) -> Labels:
        """The conditions."""
        return self.truth.names

    @cached_property
    def true_cells(self) -> Perturbed:
        """The truth, as log1p."""
        return scale.log1p(self.truth, self.total)

    @cached_property
    def predicted_cells(self) -> Perturbed | None:
        """The predicted cells, as log1p; None where there are only means."""
        if "means" in (self.prediction.level, self.truth.level):
            return None
        return scale.log1p(self.prediction, self.total)

    @cached_property
    def true_means(self) -> Rows:
        """Shape (1 + conditions, genes), the control first."""
        return scale.pooled(self.truth, self.total) if self.pooled else scale.means(self.true_cells)

    @cached_property
    def control(self) -> NDArray[np.float64]:
        """Shape (genes,)."""
        return np.asarray(self.true_means[0])

    @cached_property
    def predicted_means(self) -> Rows:
        """Shape (conditions, genes)."""
        if self.pooled:
            return scale.pooled(self.prediction, self.total)[1:]
        return scale.means(self.predicted_cells or scale.log1p(self.prediction, self.total))[1:]

    @cached_property
    def reference(self) -> NDArray[np.float64]:
        """The mean of the means of all perturbed conditions, as Systema has it, shape (genes,)."""
        if self.training is None or not len(self.training.names):
            return np.asarray(self.true_means[1:].mean(axis=0))
        if self.pooled:
            return np.asarray(scale.pooled(self.training, self.total)[1:].mean(axis=0))
        return np.asarray(scale.means(scale.log1p(self.training, self.total))[1:].mean(axis=0))

    @cached_property
    def true_effects(self) -> Rows:
        """Shape (conditions, genes), against the control."""
        return effect(self.true_means[1:], self.control)

    @cached_property
    def predicted_effects(self) -> Rows:
        """Shape (conditions, genes), against the true control."""
        return effect(self.predicted_means, self.control)

    @cached_property
    def true_change(self) -> Rows:
        """log2 fold changes by which true genes are put in order, whatever the prediction: of means of log1p."""
        means = scale.means(self.true_cells) if self.pooled else self.true_means
        return fold_change(means[1:], means[0])

    @cached_property
    def true_expression(self) -> Expression | None:
        """Which genes truly differ; None where the truth is means."""
        return wilcoxon(self.true_cells.matrix, self.true_cells.codes) if self.truth.level == "cells" else None

    @cached_property
    def predicted_expression(self) -> Expression | None:
        """Which genes are predicted to differ; None where there are no predicted cells."""
        cells = self.predicted_cells
        if cells is None:
            return None
        control = self.true_cells.matrix[np.flatnonzero(self.true_cells.codes == 0)]
        return wilcoxon(cells.matrix, cells.codes, control)

    @property
    def targeted(self) -> list[NDArray[np.int64]]:
        """For each condition the columns of the genes that it targets."""
        return [self.truth.targeted(name) for name in self.names]


def _same(predicted: Collection[str], asked: Collection[str]) -> None:
    for found, what in (
        (sorted(set(asked) - set(predicted)), "is missing from the prediction; leave it out of the truth with only()"),
        (sorted(set(predicted) - set(asked)), "is predicted, but not in the truth; leave it out with only()"),
    ):
        if found:
            raise ValueError(f"'{found[0]}' {what} ({len(found)} such, of {len(asked)} conditions)")


def _complete(prediction: Perturbed, truth: Perturbed, total: float, pooled: bool, seed: int) -> Perturbed:
    """Give a prediction the truth's genes in the truth's order; of those that it lacks, it predicts no change.

    A cell's lacking genes are those of a control cell that is drawn, a mean's those of the control's mean.
    """
    columns = {gene: column for column, gene in enumerate(prediction.genes.tolist())}
    places = np.array([columns.get(gene, -1) for gene in truth.genes.tolist()])
    there = places >= 0
    if not there.any():
        raise ValueError(f"no gene of the prediction ('{prediction.genes[:1]}', …) is among those of the truth")
    if unknown := len(prediction.genes) - int(there.sum()):
        warnings.warn(f"{unknown} predicted genes are not in the truth and take no part", stacklevel=4)
    if there.all():
        same = np.array_equal(places, np.arange(len(prediction.genes)))
        return prediction if same else replace(prediction, matrix=prediction.matrix[:, places], genes=truth.genes)
    warnings.warn(
        f"the prediction lacks {int((~there).sum())} of {len(there)} genes; no change is taken as predicted for them",
        stacklevel=4,
    )
    return _filled(prediction, truth, places, (total, pooled, seed))


def _filled(
    prediction: Perturbed, truth: Perturbed, places: NDArray[np.int64], how: tuple[float, bool, int]
) -> Perturbed:
    total, pooled, seed = how
    there = places >= 0
    control = truth.among(truth.codes == 0)
    if pooled:
        scaled = np.expm1(scale.pooled(control, total))
    elif prediction.level == "means":
        scaled = scale.means(scale.log1p(control, total))
    else:
        cells = np.random.default_rng(seed).integers(0, len(control), len(prediction))
        scaled = scale.log1p(control, total).rows(0, cells)
    filled = np.repeat(scaled, len(prediction), axis=0) if len(scaled) == 1 < len(prediction) else np.array(scaled)
    known = replace(prediction, matrix=prediction.matrix[:, places[there]], genes=truth.genes[there])
    if prediction.scale == "counts":
        # What is predicted has the share of all counts that these genes have in the control.
        share = float(np.expm1(scale.pooled(control, 1.0))[0, there].sum())
        known = scale.log1p(known, total * share)
        known = scale.counts(known) if pooled else known
    filled[:, there] = known.matrix if isinstance(known.matrix, np.ndarray) else known.matrix.toarray()
    return replace(prediction, matrix=filled, genes=truth.genes, scale="counts" if pooled else "log1p")
