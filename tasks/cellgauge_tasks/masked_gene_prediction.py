"""Does a model foresee how perturbations change genes that are hidden from it, where it is shown the others?"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._base import Control, Scores, Task
from cellgauge_tasks.metrics.perturbation import Perturbed, controls, protocols
from cellgauge_tasks.metrics.perturbation.comparison import Comparison
from cellgauge_tasks.metrics.perturbation.summary import FACTS

Mask = NDArray[np.bool_]


def score(
    prediction: Perturbed,
    truth: Perturbed,
    *,
    seed: int = 42,
    train: Mask | None = None,
    test: Mask | None = None,
    masked: protocols.Masked | None = None,
) -> Scores:
    """Compare predicted with true changes of the masked genes, condition by condition.

    Of the genes that a condition changes a random half is masked (`protocols.choose_masked`, with a seed of its own:
    the same genes for every model). Conditions that change too few take no part.

    Parameters
    ----------
    prediction
        Cells, or means, of every condition with masked genes; others take no part. Of genes that it lacks no change is
        taken as predicted.
    truth
        Cells of these conditions, with all genes, and control cells.
    train, test
        Shape (rows of truth,): with a split, the conditions of `test` are scored.
    masked
        Condition → its masked genes, if they were chosen otherwise.

    Raises
    ------
    ValueError
        If prediction and truth do not fit.
    NotApplicable
        If no condition changes enough genes.
    """
    if test is not None:
        truth = truth.among(test | (truth.codes == 0))
    masked = masked or protocols.choose_masked(truth)
    found = Comparison.of(prediction.only(masked), truth.only(masked), seed=seed)
    return protocols.masked_genes(found.prediction, found.truth, masked, seed=seed)


TASK = Task(
    name="masked_gene_prediction",
    version="1",
    title="Does a model foresee how perturbations change genes that are hidden from it, where it is shown the others?",
    roles=("perturbation",),
    score=score,
    headline={"masked_genes_spearman": "masked Spearman", "masked_genes_direction": "direction"},
    baseline="mean_effect",
    verb="predict",
    split="conditions",
    shown=("perturbation",),
    masked=protocols.RULE,
    controls={"positive": cast(Control, controls.drawn_again), "negative": cast(Control, controls.no_change)},
    facts=FACTS,
)
