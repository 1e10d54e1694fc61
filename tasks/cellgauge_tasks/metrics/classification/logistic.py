"""Logistic regression of all folds at once: what scikit-learn's gives once converged, for a fraction of the cost.

The folds' training cells are nearly the same, so one matrix product serves all folds, and the solution for all cells is
where each fold begins.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellgauge_tasks._threads import each_alone
from cellgauge_tasks.metrics.classification.folds import Scaled, Split, trained
from cellgauge_tasks.metrics.classification.minimum import Steps, Weights, minimise

TOLERANCE = 1e-5
"""Of the gradient of the mean loss, its largest entry; scikit-learn stops at 1e-4."""
BLOCK = 2048
"""Cells at a time: their logits stay in the processor's cache."""
EXACT = 5_000_000
"""Up to so many values (cells x dimensions) everything is computed in double precision, and to 1e-8."""
SKETCH = 10_000
"""Cells on which the solution is found roughly first."""
ROUGHLY = (1e-2, 1e-3, 1e-4)
"""Tolerances on the way, after each of which the curvature is told anew."""
CURVED = 10_000
"""Cells from which the curvature is told."""
FACTORS = 64_000_000
"""Values (0.5 GB) up to which each class has a curvature of its own."""
NEVER = -1e9
"""The intercept of a class that a split has no cell to train on."""


def predict(
    values: NDArray[np.floating], codes: NDArray[np.int64], splits: list[Split], classes: int
) -> list[NDArray[np.float64]]:
    """Fit on the training cells of each split, and give its other cells' probabilities.

    The objective is that of `LogisticRegression(C=1)` after `StandardScaler()`, each fitted on the training cells: the
    sum of cross-entropies plus half the squared weights, intercepts free; of two classes, that with one weight vector.

    Parameters
    ----------
    values
        Shape (cells, dimensions).
    codes
        Shape (cells,): the number of each cell's class.
    classes
        How many classes there are; one that is not among the training cells gets probability 0.

    Returns
    -------
    One array a split, shape (its test cells, classes).
    """
    chosen = trained(splits, len(values))
    # Cells that a split does not train on cost as much here as those that it does.
    if chosen.mean() < 0.6 or min(chosen.sum(axis=0)) < values.shape[1]:
        return [_alone(values, codes, split, classes) for split in splits]
    return _together(values, codes, chosen, splits, classes)


def _alone(values: NDArray[Any], codes: NDArray[np.int64], split: Split, classes: int) -> NDArray[np.float64]:
    both, n = np.concatenate(split), len(split.train)
    alone = Split(np.arange(n), np.arange(n, len(both)))
    chosen = trained([alone], len(both))
    return _together(values[both], codes[both], chosen, [alone], classes)[0]


def _together(
    values: NDArray[Any], codes: NDArray[np.int64], chosen: NDArray[np.bool_], splits: list[Split], classes: int
) -> list[NDArray[np.float64]]:
    exact = values.size <= EXACT
    scaled = Scaled.of(values, chosen, np.float64 if exact else np.float32)
    tolerance = 1e-8 if exact else TOLERANCE
    if len(splits) == 1 and len(splits[0].train) < values.shape[1]:
        # Of few cells the penalty alone bends the loss in many directions, so that small gradients are far from none.
        scaled, tolerance = _turned(scaled, splits[0]), tolerance / 1000
    weights = fit(scaled, codes, chosen, classes, tolerance=tolerance)
    found = []
    for number, split in enumerate(splits):
        slopes = (weights[number, :, :-1] * scaled.ratio[number]).astype(scaled.values.dtype)
        with each_alone():
            logits = scaled.values[split.test] @ slopes.T
        found.append(softmax(logits + weights[number, :, -1]))
    return found


def _turned(scaled: Scaled, split: Split) -> Scaled:
    """Describe cells by as many dimensions as there are training cells, where features are more.

    Weights lie in the space that the training cells span, and turning it changes no penalty: the solution is the same.
    """
    with each_alone():
        own = scaled.values * scaled.ratio[0]  # in double precision, as the ratio is
        axes = np.linalg.qr(own[split.train].T)[0]
        turned = own @ axes
    return Scaled(turned, np.ones((1, turned.shape[1])), np.ones(turned.shape[1]))


def fit(
    scaled: Scaled, codes: NDArray[np.int64], chosen: NDArray[np.bool_], classes: int, *, tolerance: float
) -> Weights:
    """Find the weights for each split, in units of its own scaled features, shape (splits, classes, dimensions + 1).

    Parameters
    ----------
    chosen
        Shape (cells, splits): which cells each trains on.
    tolerance
        Largest entry of the gradient that is taken for none.
    """
    start = np.zeros((1, classes, scaled.values.shape[1] + 1))
    known = np.flatnonzero(chosen.any(axis=1))
    if len(known) > 2 * SKETCH:
        # At random, since the cells of a file often lie sorted by type.
        some = np.sort(np.random.default_rng(0).permutation(known)[:SKETCH])
        start = _search(Loss.of_all(scaled.values[some], codes[some], classes, len(known)), start, 1e-2, 1e-3)
    loss = Loss(scaled.values, codes, chosen, scaled.ratio, classes)
    if chosen.shape[1] == 1:
        return _search(loss, start, *ROUGHLY, max(tolerance, TOLERANCE), tolerance)
    start = _search(Loss.of_all(scaled.values, codes, classes), start, *ROUGHLY)
    return _search(loss, np.repeat(start, chosen.shape[1], axis=0), max(tolerance, TOLERANCE), tolerance)


def _search(loss: "Loss", start: Weights, *tolerances: float) -> Weights:
    """Go on to each tolerance in turn, every time with the curvature of where it begins."""
    start = start.copy()
    start[~loss.present] = 0.0
    start[~loss.present, -1] = NEVER
    with each_alone() as over:
        for tolerance in sorted(set(tolerances), reverse=True):
            if np.abs(loss(start, over)[1]).max() > tolerance:
                start = minimise(lambda weights: loss(weights, over), start, loss.steps(start), tolerance)
    return start


class Loss:
    """Mean cross-entropy and penalty of every split, and their gradient.

    Parameters
    ----------
    n
        How many cells stand behind those that are given, where these are a part.
    """

    def __init__(
        self,
        values: NDArray[Any],
        codes: NDArray[np.int64],
        chosen: NDArray[np.bool_],
        ratio: NDArray[np.float64],
        classes: int,
        n: int | None = None,
    ) -> None:
        self.values, self.codes, self.ratio, self.classes = values, codes, ratio, classes
        counts = chosen.sum(axis=0)
        self.share = np.ascontiguousarray((chosen / counts).T.astype(values.dtype))
        """Shape (splits, cells): what a cell counts in the mean."""
        # Softmax of two classes spreads one weight vector over two, whose squares add up to half.
        self.penalty = (2.0 if classes == 2 else 1.0) / (counts if n is None else np.array([n]))
        self.present = np.array([np.bincount(codes[one], minlength=classes) > 0 for one in chosen.T])

    @classmethod
    def of_all(cls, values: NDArray[Any], codes: NDArray[np.int64], classes: int, n: int | None = None) -> "Loss":
        """One split that trains on all cells."""
        return cls(values, codes, np.ones((len(codes), 1), bool), np.ones((1, values.shape[1])), classes, n)

    def __call__(self, weights: Weights, over: Callable[..., Iterator[Any]]) -> tuple[NDArray[np.float64], Weights]:
        splits, classes, _ = weights.shape
        slopes = weights[:, :, :-1] * self.ratio[:, None]
        flat = slopes.reshape(splits * classes, -1).astype(self.values.dtype)
        offsets = weights[:, :, -1:].astype(self.values.dtype)
        blocks = [slice(first, first + BLOCK) for first in range(0, len(self.codes), BLOCK)]
        total, gradient = np.zeros(splits), np.zeros_like(weights)
        for loss, slope, offset in over(lambda rows: self._part(rows, flat, offsets), blocks):
            total += loss
            gradient[:, :, :-1] += slope
            gradient[:, :, -1] += offset
        gradient[:, :, :-1] *= self.ratio[:, None]
        gradient[:, :, :-1] += self.penalty[:, None, None] * weights[:, :, :-1]
        return total + self.penalty / 2 * (weights[:, :, :-1] ** 2).sum(axis=(1, 2)), gradient

    def _part(
        self, rows: slice, slopes: NDArray[Any], offsets: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any]]:
        """Loss and gradient of some cells; one class a row and one cell a column, which is the faster way to add up."""
        values, codes, share = self.values[rows], self.codes[rows], self.share[:, rows]
        cells, splits = np.arange(len(codes)), len(share)
        logits = (slopes @ values.T).reshape(splits, self.classes, len(codes))
        logits += offsets
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[:, codes, cells]
        np.exp(logits, out=logits)
        sums = logits.sum(axis=1)
        loss = np.einsum("sn,sn->s", share, np.log(sums) - own, dtype=np.float64)
        logits *= (share / sums)[:, None]
        logits[:, codes, cells] -= share
        slope = logits.reshape(-1, len(codes)) @ values
        return loss, slope.reshape(splits, self.classes, -1), logits.sum(axis=2)

    def steps(self, weights: Weights) -> Steps:
        """Give what turns a gradient into a step: the inverse of each class's own curvature at these weights.

        Of the first split, and from some of the cells: it only has to be near. What all classes have in common is taken
        out of a step, since no probability depends on it.
        """
        from scipy.linalg import cho_factor, cho_solve, get_blas_funcs

        slopes = (weights[0, :, :-1] * self.ratio[0]).astype(self.values.dtype)
        chances = softmax(self.values @ slopes.T + weights[0, :, -1])
        ridge = np.full(len(slopes.T) + 1, self.penalty.mean())
        same = not weights[:, :, :-1].any()  # at the beginning all classes are equally likely everywhere
        bends = chances * (1 - chances)
        if not same and self.classes * len(ridge) ** 2 > FACTORS:
            same, bends = True, bends.mean(axis=1, keepdims=True)  # one for all: more steps, but they fit into memory
        factors = []
        for bend in bends.T[: 1 if same else None]:
            bend = (bend + bend.mean() / 100 + 1e-9) / len(bend)  # no direction may be without any
            rows, bend = _heaviest(bend)
            part = np.hstack([self.values[rows], np.ones((len(rows), 1), self.values.dtype)])
            part *= np.sqrt(bend)[:, None].astype(part.dtype)
            curvature = get_blas_funcs("syrk", [part])(1.0, part.T, lower=True)
            factors.append(cho_factor(curvature + np.diag(ridge), lower=True, check_finite=False))
        factors *= self.classes if same else 1
        mean = self.present[:, :, None] / self.present.sum(axis=1)[:, None, None]

        def apply(gradient: Weights) -> Weights:
            gradient = gradient - (gradient * mean).sum(axis=1, keepdims=True)
            solved = [cho_solve(one, gradient[:, number].T, check_finite=False).T for number, one in enumerate(factors)]
            step = np.stack(solved, axis=1)
            return np.where(self.present[:, :, None], step - (step * mean).sum(axis=1, keepdims=True), 0.0)

        return apply


def _heaviest(weights: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Choose the cells that weigh most, and some that stand for the others."""
    if len(weights) <= CURVED:
        return np.arange(len(weights)), weights
    order = np.argpartition(weights, -CURVED // 2)
    rest, most = order[: -CURVED // 2], order[-CURVED // 2 :]
    some = np.random.default_rng(1).permutation(rest)[: CURVED // 2]
    return np.concatenate([most, some]), np.concatenate([weights[most], weights[some] * (len(rest) / len(some))])


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Turn logits, shape (cells, classes), into probabilities."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
