"""Scores one output with tasks. A task that fails is a result with a reason, not an exception."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import cellgauge
from cellgauge import outputs, provenance
from cellgauge.data import rows, view
from cellgauge.errors import CellgaugeError, ContractViolation, StorageError
from cellgauge.specs import REUSABLE, Dataset, RunRecord, ScoreValue, Scoring, State, TaskResult, View
from cellgauge.store import Store
from cellgauge_tasks import NotApplicable, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def all_of(
    scorings: Sequence[tuple[Scoring, Task]], record: RunRecord, dataset: Dataset, store: Store, run_id: str = ""
) -> list[TaskResult]:
    """Score one dataset of a job with several tasks, and keep each result as soon as it is there.

    Raises
    ------
    StorageError
        If a result cannot be kept.
    """
    shown = next(one.view for one in record.job.datasets if one.name == dataset.spec.name)

    @functools.cache
    def embedding() -> "NDArray[np.float32]":
        cells = view.cells(dataset, shown)
        folder, name = store.job_folder(record.job.id) / "output", dataset.spec.name
        known = next(item.sha256 for item in record.items if item.name == name)
        if outputs.digest(folder, name, record.job.verb) != known:
            hint = "Delete the job's folder; it runs again."
            raise StorageError(f"{folder / name} was changed since it was checked", hint)
        return outputs.embedding(folder, name, cells)

    found = []
    for scoring, task in scorings:
        told = {"run": run_id, "output": record.output_of(scoring.dataset)}
        found.append(run(scoring, record, task, embedding, *truth(scoring, dataset, shown)).model_copy(update=told))
        kept = store.intact_result(scoring.id) if found[-1].state not in REUSABLE else None
        if kept is None or kept.state not in REUSABLE:  # a good one is never replaced by one that failed
            store.keep_result(found[-1])
    return found


def truth(
    scoring: Scoring, dataset: Dataset, shown: View
) -> "tuple[Callable[[], pd.DataFrame], Callable[[], dict[str, NDArray[np.bool_]]]]":
    """Give what a task is told beside the output, as functions since it may not be needed: obs columns, and masks.

    Without a split, the obs columns of the cells that the model had, and no masks. With one, those of every cell of the
    dataset, with `train`, those that the model had, and `test`, those held out from it.
    """
    rules = shown.rows
    if rules is None or rules.split is None:
        return functools.partial(view.annotations, dataset, shown, scoring.roles), dict
    everything = shown.model_copy(update={"rows": None})

    def masks() -> "dict[str, NDArray[np.bool_]]":
        return {"train": rows.kept(dataset, rules), "test": rows.held_out(dataset, rules)}

    return functools.partial(view.annotations, dataset, everything, scoring.roles), masks


def run(
    scoring: Scoring,
    record: RunRecord,
    task: Task,
    embedding: Callable[[], "NDArray[np.float32]"],
    obs: Callable[[], "pd.DataFrame"],
    masks: "Callable[[], dict[str, NDArray[np.bool_]]]" = dict,
) -> TaskResult:
    """Score a job's output.

    Parameters
    ----------
    embedding
        Gives the embedding, cells x dimensions; called only if the dataset's item is ok.
    obs
        Gives the obs columns by role, with its rows in the order of the embedding; of a task with a split, see `truth`.
    masks
        Gives what such a task is told beside it.
    """
    item = next((item for item in record.items if item.name == scoring.dataset), None)
    if item is None or item.state != "ok":
        return failed(scoring, item.state if item else record.state, item.reason if item else record.reason)
    began, cpu = time.perf_counter(), time.process_time()
    scores: tuple[ScoreValue, ...] = ()
    state: State
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        try:
            found = task.score(embedding(), obs(), seed=scoring.seed, **masks())
            if undefined := [score.metric for score in found if not math.isfinite(score.value)]:
                state, reason = "infrastructure", f"the task gave no number for {', '.join(undefined)}"
            else:
                state, reason = "ok", ""
                scores = tuple(
                    ScoreValue(metric=one.metric, value=one.value, params=dict(one.params), n_cells=one.n_cells)
                    for one in found
                )
        except NotApplicable as problem:
            state, reason = "not_applicable", str(problem)
        except ContractViolation as problem:
            state, reason = "contract_violation", problem.message
        except CellgaugeError as problem:
            state, reason = "infrastructure", problem.message
        except Exception as problem:  # a task may come from elsewhere, and one failed cell must not end a run
            state, reason = "infrastructure", f"the task failed: {type(problem).__name__}: {problem}"
    told = [*item.warnings, *(f"{one.category.__name__}: {one.message}" for one in heard)] if state == "ok" else []
    return failed(scoring, state, reason).model_copy(
        update={
            "scores": scores,
            "seconds": round(time.perf_counter() - began, 4),
            "cpu_seconds": round(time.process_time() - cpu, 4),
            "warnings": tuple(dict.fromkeys(told)),
        }
    )


def failed(scoring: Scoring, state: State, reason: str) -> TaskResult:
    """Make a result without scores."""
    return TaskResult(
        scoring=scoring,
        state=state,
        reason=reason,
        versions=versions(),
        cellgauge=cellgauge.__version__,
        code=provenance.code(),
    )


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the libraries that score."""
    return {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "scanpy", "igraph")}
