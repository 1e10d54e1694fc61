"""Scoring: arrays in, numbers out. Knows nothing of containers, files or settings.

::

    from cellgauge_tasks import clustering
    clustering.score(embedding, adata.obs)
"""

from cellgauge_tasks._base import NotApplicable, Score, Task
from cellgauge_tasks._find import find

__all__ = ["NotApplicable", "Score", "Task", "find"]
