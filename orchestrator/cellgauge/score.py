"""Scores one output with one task. A task that fails is a result with a reason, not an exception."""

import functools
import math
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import cellgauge
from cellgauge.errors import CellgaugeError, ContractViolation
from cellgauge.specs import RunRecord, ScoreValue, Scoring, State, TaskResult
from cellgauge_tasks import NotApplicable, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def run(
    scoring: Scoring,
    record: RunRecord,
    task: Task,
    embedding: Callable[[], "NDArray[np.float32]"],
    obs: Callable[[], "pd.DataFrame"],
) -> TaskResult:
    """Score a job's output.

    Parameters
    ----------
    embedding
        Gives the embedding, cells x dimensions; called only if the job is ok.
    obs
        Gives the obs columns by role, with its rows in the order of the embedding.
    """
    if record.state != "ok":
        return _result(scoring, record.state, record.reason)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("default")
            found = task.score(embedding(), obs(), seed=scoring.seed)
    except NotApplicable as problem:
        return _result(scoring, "not_applicable", str(problem), time.perf_counter() - began)
    except ContractViolation as problem:
        return _result(scoring, "contract_violation", problem.message, time.perf_counter() - began)
    except CellgaugeError as problem:
        return _result(scoring, "infrastructure", problem.message, time.perf_counter() - began)
    except Exception as problem:  # a task may come from elsewhere, and one failed cell must not end a run
        reason = f"the task failed: {type(problem).__name__}: {problem}"
        return _result(scoring, "infrastructure", reason, time.perf_counter() - began)
    if undefined := [score.metric for score in found if not math.isfinite(score.value)]:
        reason = f"the task gave no number for {', '.join(undefined)}"
        return _result(scoring, "infrastructure", reason, time.perf_counter() - began)
    scores = tuple(ScoreValue(metric=s.metric, value=s.value, params=dict(s.params), n_cells=s.n_cells) for s in found)
    told = [warning for item in record.items if item.name == scoring.dataset for warning in item.warnings]
    told += [f"{warning.category.__name__}: {warning.message}" for warning in heard]
    return _result(scoring, "ok", "", time.perf_counter() - began, scores, tuple(dict.fromkeys(told)))


def _result(
    scoring: Scoring,
    state: State,
    reason: str,
    seconds: float = 0.0,
    scores: tuple[ScoreValue, ...] = (),
    told: tuple[str, ...] = (),
) -> TaskResult:
    return TaskResult(
        scoring=scoring,
        state=state,
        reason=reason,
        scores=scores,
        seconds=round(seconds, 4),
        versions=versions(),
        warnings=told,
        cellgauge=cellgauge.__version__,
    )


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries that score."""
    return {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "scanpy", "igraph")}
