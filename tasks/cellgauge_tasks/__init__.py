"""Scoring: arrays in, numbers out. Knows nothing of containers, files or settings.

::

    from cellgauge_tasks import clustering
    clustering.score(embedding, adata.obs)
"""

from cellgauge_tasks._base import Interval, NotApplicable, Score, Scores, Task
from cellgauge_tasks._find import find
from cellgauge_tasks._space import Space

__all__ = ["Interval", "NotApplicable", "Score", "Scores", "Space", "Task", "find"]
