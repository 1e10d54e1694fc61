"""Plain predictions that a model has to beat: means of each condition, on the scale of log1p."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import NotApplicable
from cellgauge_tasks.metrics.perturbation import scale
from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed

Wanted = Mapping[str, Sequence[str]]
"""Condition → the genes, or compounds, that it targets."""
Rows = NDArray[np.float64]


def no_change(training: Perturbed, wanted: Wanted) -> Perturbed:
    """Predict the mean of the control cells for every condition."""
    control, _ = _means(training)
    return _prediction(training, wanted, np.tile(control, (len(wanted), 1)))


def mean(training: Perturbed, wanted: Wanted) -> Perturbed:
    """Predict the mean of all training conditions' means for every condition.

    References
    ----------
    Csendes et al. 2025, BMC Genomics 26:393; Viñas Torné et al. 2025, Nature Biotechnology (Systema).
    """
    _, conditions = _means(training)
    return _prediction(training, wanted, np.tile(conditions.mean(axis=0), (len(wanted), 1)))


def additive(training: Perturbed, wanted: Wanted) -> Perturbed:
    """Predict the control's mean and the sum of the effects of what a condition targets, each as seen alone.

    What was not seen alone in training has no effect here, with a warning.

    References
    ----------
    Ahlmann-Eltze et al. 2025, Nature Methods 22:1657.
    """
    control, conditions = _means(training)
    alone: dict[str, NDArray[np.float64]] = {}
    for name, row in zip(training.names.tolist(), conditions, strict=True):
        targets = training.targets.get(name, [name])
        if len(targets) == 1:
            alone[targets[0]] = row - control
    asked = {target for targets in wanted.values() for target in targets}
    if unseen := sorted(asked - alone.keys()):
        warnings.warn(
            f"{len(unseen)} of {len(asked)} targets were not seen alone and add nothing: '{unseen[0]}', …",
            stacklevel=2,
        )
    nothing = np.zeros_like(control)
    rows = [control + sum((alone.get(target, nothing) for target in targets), nothing) for targets in wanted.values()]
    return _prediction(training, wanted, np.array(rows))


def linear(training: Perturbed, wanted: Wanted, *, n_components: int = 10, ridge: float = 0.1) -> Perturbed:
    """Predict by a linear model of what a condition targets, Y ≈ G W Pᵀ + b.

    Y are the effects of the training conditions, genes x conditions, and b their mean over conditions; G, genes x
    components, are principal components of the training means; P are those rows of G that belong to the targeted genes
    (added up where there are several), and W is found by ridge regression on both sides. A condition that targets no
    measured gene is predicted b.

    Raises
    ------
    NotApplicable
        If fewer than 2 training conditions target a measured gene.

    References
    ----------
    Ahlmann-Eltze et al. 2025, Nature Methods 22:1657; n_components and ridge as in their code.
    """
    from threadpoolctl import threadpool_limits

    control, conditions = _means(training)
    columns = {gene: column for column, gene in enumerate(training.genes.tolist())}
    targets = [training.targets.get(name, [name]) for name in training.names.tolist()]
    usable = np.array([any(one in columns for one in some) for some in targets])
    if usable.sum() < 2:
        raise NotApplicable(
            f"{usable.sum()} of {len(targets)} training conditions target a measured gene; 2 at least are needed"
        )
    effects = (conditions - control).T
    center = effects.mean(axis=1, keepdims=True)
    with threadpool_limits(1, user_api="blas"):  # more would add up in another order
        embedded = _components(np.vstack([control, conditions]).T, n_components)
        seen, asked = (
            np.array([embedded[[columns[one] for one in some if one in columns]].sum(axis=0) for some in several])
            for several in (targets, wanted.values())
        )
        weights = _ridge(effects[:, usable] - center, embedded, seen[usable], ridge)
        rows = control + center[:, 0] + asked @ (embedded @ weights).T
    return _prediction(training, wanted, rows)


BASELINES: Mapping[str, Callable[[Perturbed, Wanted], Perturbed]] = {
    "no_change": no_change,
    "mean": mean,
    "additive": additive,
    "linear": linear,
}


def _means(training: Perturbed) -> tuple[NDArray[np.float64], Rows]:
    if not len(training.names) or not training.counts[0]:
        raise NotApplicable(f"training has {training.counts[0]} controls and {len(training.names)} conditions")
    found = scale.means(scale.log1p(training, scale.common_total(training)))
    return found[0], found[1:]


def _components(means: Rows, n_components: int) -> Rows:
    """Give genes their principal components over conditions, shape (genes, components)."""
    centred = means - means.mean(axis=0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    left, values = left[:, :n_components], values[:n_components]
    signs = np.sign(right[np.arange(len(values)), np.abs(right[: len(values)]).argmax(axis=1)])
    return np.asarray(left * values * np.where(signs == 0, 1, signs))


def _ridge(y: Rows, g: Rows, p: Rows, ridge: float) -> Rows:
    """Solve y ≈ g w pᵀ for w, shape (components, components)."""
    inside = np.linalg.solve(g.T @ g + ridge * np.eye(g.shape[1]), g.T @ y @ p)
    return np.asarray(np.linalg.solve(p.T @ p + ridge * np.eye(p.shape[1]), inside.T).T)


def _prediction(training: Perturbed, wanted: Wanted, rows: Rows) -> Perturbed:
    targets = {name: tuple(targets) for name, targets in wanted.items()}
    conditions = np.array(list(wanted), dtype=str)
    return replace(training, matrix=rows, conditions=conditions, targets=targets, level="means", scale="log1p")
