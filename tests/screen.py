"""A made screen of perturbations, as raw counts, and how tests look scores up."""

import numpy as np

from cellgauge_tasks.metrics.perturbation import Perturbed


def counts(conditions=4, each=25, genes=40, controls=60, seed=0, strength=1.0, wide=4):
    """Raw counts of cells whose depth differs; condition c raises `wide` genes from c*wide on, and gene 30 always."""
    random = np.random.default_rng(seed)
    base = np.random.default_rng(99).gamma(2.0, 1.5, genes)
    rows, labels = [], []
    for number, size in enumerate([controls] + [each] * conditions):
        mean = base.copy()
        if number:
            mean[wide * (number - 1) : wide * number] *= np.exp(strength)
            mean[30] *= np.exp(strength)
        rows.append(random.poisson(mean * random.lognormal(0, 0.3, (size, 1))))
        labels += [f"g{wide * (number - 1)}" if number else "ctrl"] * size
    return Perturbed(np.concatenate(rows), labels, "ctrl", [f"g{n}" for n in range(genes)])


def value(scores, metric, over="mean", **params):
    found = [
        one.value
        for one in scores
        if one.metric == metric
        and one.params.get("over", over) == over
        and all(one.params.get(name) == given for name, given in params.items())
    ]
    return found[0] if found else None
