"""Predictions made from the truth itself: what no model should beat, and what none should stay below."""

from dataclasses import replace

import numpy as np

from cellgauge_tasks.metrics.perturbation.perturbed import Perturbed


def drawn_again(truth: Perturbed, seed: int = 42) -> Perturbed:
    """Predict for each condition as many of its own cells as it has, drawn with replacement: the ceiling.

    Scored against all cells of the truth. Its means are then as far from the truth's, in expected squares, as the true
    mean of the whole population is: nobody who has not seen these cells can expect to come nearer. And there are as
    many cells: with fewer, a test would find fewer genes than in as many cells of the same population. Of a single
    cell, or mean, it is that one.
    """
    random = np.random.default_rng(seed)
    by_code = (np.flatnonzero(truth.codes == code) for code in range(1, len(truth.names) + 1))
    rows = np.concatenate([np.zeros(0, dtype=int), *(random.choice(one, len(one)) for one in by_code)])
    return replace(truth, matrix=truth.matrix[rows], conditions=truth.conditions[rows])


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
