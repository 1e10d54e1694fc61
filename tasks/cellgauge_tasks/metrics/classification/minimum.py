"""Finds the lowest point of several convex functions side by side, so that they can be computed together."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""Shape (functions, ...)."""
Function = Callable[[Weights], tuple[NDArray[np.float64], Weights]]
"""Gives the values, shape (functions,), and the gradients."""
Steps = Callable[[Weights], Weights]
"""Turns gradients into steps: multiplies by a guess of the inverse of the curvature."""
ROUNDS = 300
MEMORY = 10
"""Steps that are remembered."""
HALVINGS = 20


Step = tuple[Weights, Weights, NDArray[np.float64]]
"""Where it went, how the gradient changed, and the inverse of their product."""


def minimise(function: Function, start: Weights, precondition: Steps, tolerance: float) -> Weights:
    """Go downhill by L-BFGS until no entry of a function's gradient exceeds the tolerance.

    Parameters
    ----------
    start
        Where each begins.

    References
    ----------
    Nocedal and Wright 2006, Numerical Optimization, algorithms 3.1 and 7.5.
    """
    at, shape = start, start.shape
    value, slope = function(at)
    steps: list[Step] = []
    for _ in range(ROUNDS):
        open_ = np.abs(slope).reshape(len(at), -1).max(axis=1) > tolerance
        if not open_.any():
            break
        way = -_direction(slope, steps, precondition)
        way[~open_] = 0.0
        downhill = _dot(slope, way)
        size = open_.astype(float)
        for _ in range(HALVINGS):
            then = at + _times(size, way)
            new_value, new_slope = function(then)
            # In single precision, values this close to each other are equal.
            high = new_value > value + 1e-4 * size * downhill + 1e-7 * np.abs(value)
            if not high.any():
                break
            size[high] /= 2
        step, change = then - at, new_slope - slope
        curved = _dot(step, change)
        steps = [*steps, (step, change, np.where(curved > 0, 1 / np.where(curved > 0, curved, 1), 0.0))][-MEMORY:]
        at, value, slope = then, new_value, new_slope
    return at.reshape(shape)


def _direction(slope: Weights, steps: list[Step], precondition: Steps) -> Weights:
    """Multiply by the inverse of the curvature, as the last steps tell it."""
    found, shares = slope.copy(), []
    for step, change, inverse in reversed(steps):
        shares.append(inverse * _dot(step, found))
        found -= _times(shares[-1], change)
    found = precondition(found)
    if steps:
        step, change, inverse = steps[-1]
        size = _dot(change, precondition(change)) * inverse
        found = _times(np.where(size > 0, 1 / np.where(size > 0, size, 1), 1.0), found)
    for (step, change, inverse), share in zip(steps, reversed(shares), strict=True):
        found += _times(share - inverse * _dot(change, found), step)
    return found


def _dot(one: Weights, other: Weights) -> NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", one.reshape(len(one), -1), other.reshape(len(other), -1)))


def _times(factors: NDArray[np.float64], arrays: Weights) -> Weights:
    return np.asarray(arrays * factors.reshape(-1, *[1] * (arrays.ndim - 1)))
