"""Does a model foresee what perturbations that it has not seen do to expression?"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Control, Scores, Task
from cellgauge_tasks.metrics.perturbation import Perturbed, controls
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from cellgauge_tasks.metrics.perturbation.suite import measure
from cellgauge_tasks.metrics.perturbation.summary import FACTS, summary

Mask = NDArray[np.bool_]


def score(
    prediction: Perturbed,
    truth: Perturbed,
    *,
    seed: int = 42,
    train: Mask | None = None,
    test: Mask | None = None,
    held_out_genes: Sequence[str] = (),
) -> Scores:
    """Compare predicted with true effects, differential expression and distributions, condition by condition.

    Everything is on the scale of log1p of counts, scaled to the median total of the truth's control cells, which serve
    as control for both; what says that it is `log1p` already is taken as it is.

    Parameters
    ----------
    prediction
        Cells, or means, of every condition of the truth (of `test`), and of no other.
    truth
        Cells of these conditions, and control cells.
    train, test
        Shape (rows of truth,): with a split, the cells that the model had, and those held out. The conditions of `test`
        are scored; the mean of those of `train` is what effects beside the control's are measured from (Systema).
    held_out_genes
        Genes that no model was shown; effects and errors on these alone are scored, too.

    Raises
    ------
    ValueError
        If prediction and truth do not fit.
    NotApplicable
        If there is no condition, or no control.
    """
    training = truth.among(train) if train is not None else None
    if test is not None:
        truth = truth.among(test | (truth.codes == 0))
    found = Comparison.of(prediction, truth, seed=seed, training=training)
    params = {
        "prediction": found.prediction.level,
        "means_of": "pooled counts" if found.pooled else "log1p",
        "scaled_to": found.total,
        "n_genes": len(found.truth.genes),
    }
    measured, correlated = measure(found, held_out_genes, seed=seed)
    n_cells = int(found.truth.counts[1:].sum())
    return summary(measured, correlated, found.names, n_cells, params=params, headline=TASK.headline, seed=seed)


TASK = Task(
    name="perturbation_prediction",
    version="2",
    title="Does a model foresee what perturbations that it has not seen do to expression?",
    roles=("perturbation",),
    score=score,
    headline={
        "pearson_delta": "Pearson Δ",
        "pearson_delta_perturbed": "Pearson Δ beyond the mean",
        "de_overlap": "DE overlap",
        "discrimination": "discrimination",
    },
    baseline="mean_effect",
    verb="predict",
    split="conditions",
    shown=("perturbation",),
    controls={"positive": cast(Control, controls.drawn_again), "negative": cast(Control, controls.no_change)},
    facts=FACTS,
)
