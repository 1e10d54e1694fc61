"""Scoring: arrays in, numbers out. Knows nothing of containers, files or settings.

::

    from cellgauge_tasks import clustering
    clustering.score(embedding, adata.obs)
"""

from cellgauge_tasks._base import Caveat, Interval, NotApplicable, Score, Scores, Task
from cellgauge_tasks._controls import chance, truth
from cellgauge_tasks._find import Broken, find, look, package
from cellgauge_tasks._input import cells, missing, several
from cellgauge_tasks._resample import Resamples
from cellgauge_tasks._space import Space

__all__ = [
    "Broken",
    "Caveat",
    "Interval",
    "NotApplicable",
    "Resamples",
    "Score",
    "Scores",
    "Space",
    "Task",
    "cells",
    "chance",
    "find",
    "look",
    "missing",
    "package",
    "several",
    "truth",
]
