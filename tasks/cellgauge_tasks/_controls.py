"""Inputs that show the ends of a task's scale: the truth itself, and chance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellgauge_tasks._base import Control

NOISE = 0.01
"""Standard deviation around each label's place, whose distance to the next is 1.4: so that no two cells are equal."""
DIMENSIONS = 16


def truth(*roles: str, spare: int = 0) -> Control:
    """Make a control that puts the cells of one label in one place, one dimension a label.

    `spare` dimensions are noise alone: with many, random parts of a label are hardly apart by any silhouette.
    """

    def make(obs: Mapping[str, Any], seed: int) -> NDArray[np.float32]:
        columns = [pd.Series(np.asarray(obs[role], dtype=object)).astype(str) for role in roles]
        names, codes = np.unique(
            np.array(["\x1f".join(one) for one in zip(*columns, strict=True)]), return_inverse=True
        )
        places = np.random.default_rng(seed).normal(0, NOISE, (len(codes), len(names) + spare)).astype(np.float32)
        places[np.arange(len(codes)), codes] += 1
        return places

    return make


def chance(obs: Mapping[str, Any], seed: int) -> NDArray[np.float32]:
    """Put each cell anywhere, shape (cells, 16), normal."""
    n = len(next(iter(obs.values()))) if isinstance(obs, dict) else len(obs)
    return np.random.default_rng(seed).normal(size=(n, DIMENSIONS)).astype(np.float32)
