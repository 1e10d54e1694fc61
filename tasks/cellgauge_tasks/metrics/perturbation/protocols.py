"""Protocols of others under their own names: masked genes, as cz-benchmarks has it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Labels, NotApplicable, Scores
from cellgauge_tasks.metrics.perturbation import scale
from cellgauge_tasks.metrics.perturbation.effects import effect, pearson, spearman
from cellgauge_tasks.metrics.perturbation.expression import fold_change, wilcoxon
from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed
from cellgauge_tasks.metrics.perturbation.suite import Measured
from cellgauge_tasks.metrics.perturbation.summary import summary

RULE = "half of changed genes, 1"
"""Names what `choose_masked` does by default; another name as soon as it could choose others."""
PROTOCOL = "masked genes"
Masked = Mapping[str, Labels | Sequence[str]]
"""Condition → the genes that are masked in its cells."""
METRICS = ("masked_genes_spearman", "masked_genes_pearson", "masked_genes_direction")
Row = NDArray[np.float64]
"""Shape (genes,)."""
ADDED = 1e-9
"""To both means of a ratio, as scanpy does, so that a gene that one of them lacks has a fold change, too."""


def choose_masked(
    truth: Perturbed, *, seed: int = 42, share: float = 0.5, fewest: int = 5, fdr: float = 1e-4, change: float = 1.0
) -> Masked:
    """Choose which genes to mask: of the genes that a condition changes, a random share.

    Parameters
    ----------
    share
        Of the genes with a false discovery rate below `fdr` and a log2 fold change of `change` or more.
    fewest
        A condition with fewer genes to mask has none, and takes no part.

    Raises
    ------
    NotApplicable
        If that leaves no condition.
    """
    random = np.random.default_rng(seed)
    cells = scale.log1p(truth, scale.common_total(truth))
    means = scale.means(cells)
    changed = np.abs(fold_change(means[1:], means[0], added=ADDED)) >= change
    changed &= wilcoxon(cells.matrix, cells.codes).fdr < fdr
    chosen: dict[str, Labels] = {}
    for name, row in zip(truth.names.tolist(), changed, strict=True):
        genes = truth.genes[row]
        if (n := int(share * len(genes))) >= fewest:
            chosen[name] = np.sort(random.choice(genes, n, replace=False))
    if not chosen:
        raise NotApplicable(f"none of {len(truth.names)} conditions changes enough genes to mask {fewest} of them")
    return chosen


def mask(truth: Perturbed, masked: Masked) -> Perturbed:
    """Make what a model may be given: in a condition's cells its masked genes are 0, and nothing tells of them.

    cz-benchmarks chooses genes, too, but leaves their values in what the model gets.
    """
    columns = {gene: column for column, gene in enumerate(truth.genes.tolist())}
    hidden = np.zeros((len(truth.names) + 1, len(truth.genes)), dtype=bool)
    for code, name in enumerate(truth.names.tolist(), start=1):
        hidden[code, [columns[gene] for gene in masked.get(name, [])]] = True
    if isinstance(truth.matrix, np.ndarray):
        return replace(truth, matrix=np.where(hidden[truth.codes], 0.0, truth.matrix))
    matrix = truth.matrix.copy()
    rows = np.repeat(truth.codes, np.diff(matrix.indptr))
    matrix.data[hidden[rows, matrix.indices]] = 0.0
    matrix.eliminate_zeros()
    return replace(truth, matrix=matrix)


def masked_genes(prediction: Perturbed, truth: Perturbed, masked: Masked, *, seed: int = 42) -> Scores:
    """Compare predicted with true changes of the masked genes, for each condition.

    `masked_genes_spearman` correlates log2 fold changes by ranks. Both are ratios of geometric means with the same
    small addition (of means of pooled counts, where means of counts are predicted); where a mean is 0 nothing else is
    computed in its place. `masked_genes_pearson` correlates effects, differences of means of log1p from the control's;
    and `masked_genes_direction` is the share of genes whose predicted effect has the true sign. A condition whose
    prediction is constant has no correlation, which is not 0.

    Parameters
    ----------
    prediction
        Expression of the masked conditions: cells or means; its other conditions and genes take no part.
    truth
        With the control, unmasked.
    masked
        See `choose_masked`.

    Raises
    ------
    ValueError
        If a masked condition or gene is not predicted: a model may not choose the easy ones.

    References
    ----------
    cz-benchmarks 0.15 (perturbation expression prediction), the first metric.
    """
    names = np.array(sorted(masked), dtype=str)
    for what, given in (("the prediction", prediction), ("the truth", truth)):
        if lacking := sorted(set(masked) - set(given.names.tolist())):
            raise ValueError(f"{what} has no condition '{lacking[0]}' ({len(lacking)} of {len(masked)} are missing)")
    total = scale.common_total(truth)
    pooled = prediction.level == "means" and prediction.scale == "counts"  # these have no mean of logarithms
    true_means, predicted_means = (
        scale.pooled(one, total) if pooled else scale.means(scale.log1p(one, total)) for one in (truth, prediction)
    )
    values = np.full((len(METRICS), len(names)), np.nan)
    for number, name in enumerate(names.tolist()):
        there, where = (_columns(one, masked[name], name) for one in (truth, prediction))
        true = true_means[1 + int(np.searchsorted(truth.names, name)), there]
        predicted = predicted_means[1 + int(np.searchsorted(prediction.names, name)), where]
        values[:, number] = _compared(predicted, true, true_means[0, there])
    n_cells = int(np.isin(truth.conditions, names).sum())
    measured = [Measured(metric, row, {"protocol": PROTOCOL}) for metric, row in zip(METRICS, values, strict=True)]
    params = {"means_of": "pooled counts" if pooled else "log1p", "scaled_to": total, "n_genes": len(truth.genes)}
    return summary(measured, [], names, n_cells, params=params, headline=METRICS[:1], seed=seed)


def _compared(predicted: Row, true: Row, control: Row) -> tuple[float, float, float]:
    """Compute all `METRICS` of one condition, of means of its masked genes."""
    a, b = (effect(one[None], control) for one in (predicted, true))
    ranked = spearman(*(fold_change(control + one, control, added=ADDED) for one in (a, b)))
    return float(ranked[0]), float(pearson(a, b)[0]), float((np.sign(a) == np.sign(b)).mean())


def _columns(given: Perturbed, genes: Labels | Sequence[str], name: str) -> NDArray[np.int64]:
    columns = {gene: column for column, gene in enumerate(given.genes.tolist())}
    if lacking := [gene for gene in genes if gene not in columns]:
        raise ValueError(f"'{lacking[0]}' is not predicted for '{name}' ({len(lacking)} of {len(genes)} masked genes)")
    return np.array([columns[gene] for gene in genes])
