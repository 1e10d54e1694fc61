"""Predictions made from the truth itself: what no model should beat, and what none should stay below."""

from dataclasses import replace

import numpy as np

from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed


def half(truth: Perturbed, seed: int = 42) -> Perturbed:
    """Predict a random half of each condition's own cells: the ceiling.

    Scored against all cells of the truth. Its means are then as far from the truth's, in expected squares, as the true
    mean of the whole population is: nobody who has not seen these cells can expect to come nearer. Of a single cell,
    or mean, the half is that one.
    """
    random = np.random.default_rng(seed)
    kept = np.zeros(len(truth), dtype=bool)
    for code in range(1, len(truth.names) + 1):
        rows = np.flatnonzero(truth.codes == code)
        kept[random.choice(rows, (len(rows) + 1) // 2, replace=False)] = True
    return truth.among(kept)


def no_change(truth: Perturbed, seed: int = 42) -> Perturbed:
    """Predict for each condition as many control cells as it has cells, drawn with replacement: the floor."""
    random = np.random.default_rng(seed)
    control = np.flatnonzero(truth.codes == 0)
    rows = random.choice(control, int(truth.counts[1:].sum()))
    conditions = np.repeat(truth.names, truth.counts[1:])
    return replace(truth, matrix=truth.matrix[rows], conditions=conditions)


def shuffled(truth: Perturbed, seed: int = 42) -> Perturbed:
    """Predict for each condition the cells of another one: right about what all have in common, and no more.

    With a single condition there is no other, and it keeps its own.
    """
    names = np.random.default_rng(seed).permutation(truth.names)
    other = dict(zip(names.tolist(), np.roll(names, 1).tolist(), strict=True))
    perturbed = truth.among(truth.codes > 0)
    return replace(perturbed, conditions=np.array([other[one] for one in perturbed.conditions.tolist()], dtype=str))
