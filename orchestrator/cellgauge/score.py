"""Scores one output with tasks. A task that fails is a result with a reason, not an exception."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cellgauge
from cellgauge import details, outputs, perturbed, provenance
from cellgauge.data import rows, view
from cellgauge.errors import CellgaugeError, ContractViolation, StorageError
from cellgauge.specs import REUSABLE, Control, Dataset, RunRecord, ScoreValue, Scoring, State, TaskResult, View
from cellgauge.store import Store
from cellgauge_tasks import NotApplicable, Score, Scores, Space, Task, find

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from cellgauge_tasks.metrics.perturbation import Perturbed

LIBRARIES = ("numpy", "scipy", "scikit-learn", "igraph", "numba")
Obs = Callable[[], "pd.DataFrame | Perturbed"]
"""Of a prediction, the cells that it is compared with."""
Masks = Callable[[], "dict[str, NDArray[np.bool_]]"]


@dataclass(frozen=True)
class Scored:
    """A result, and the small arrays that are kept beside it."""

    result: TaskResult
    arrays: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)


def sent(task: Task) -> Task | str:
    """Give what stands for a task in another process: its name, since it may hold a function that cannot be sent."""
    return task.name if find().get(task.name) is task else task


def all_of(
    asked: Sequence[tuple[Scoring, Task | str]],
    record: RunRecord,
    dataset: Dataset,
    store: Store,
    run_id: str = "",
    caches: Sequence[Path] = (),
) -> list[TaskResult]:
    """Score one dataset of a job with several tasks, and keep each result as soon as it is there.

    All of them share one `Space`: what one has asked of it, neighbours and distances, is there for the others.

    Parameters
    ----------
    asked
        Each scoring, and its task or the name of an installed one.
    caches
        Folders that keep the cells with which predictions are compared; with none they are written each time.

    Raises
    ------
    StorageError
        If a result cannot be kept.
    """
    name = dataset.spec.name
    shown = next(one.view for one in record.job.datasets if one.name == name)
    scorings = [(scoring, find()[task] if isinstance(task, str) else task) for scoring, task in asked]
    output = store.job_folder(record.job.id) / "output"
    if record.job.verb == "predict":
        about = perturbed.item_of(record.job, dataset)
        prediction, cells, masks = perturbed.inputs(about, dataset, output, caches)

        def unchanged() -> Any:
            _same(output, record, dataset)
            return prediction()

        return [
            keep(run(scoring, record, task, unchanged, cells, masks), store, run=run_id, output=record.output_of(name))
            for scoring, task in scorings
        ]

    @functools.cache
    def embedding() -> "NDArray[np.float32]":
        cells = view.cells(dataset, shown)
        _same(output, record, dataset)
        return outputs.embedding(output, name, cells)

    @functools.cache
    def repeated() -> float:
        return details.repeated(embedding())

    @functools.cache
    def space() -> Space:
        return shared(embedding(), [(task, known[0]) for (_, task), known in zip(scorings, truths, strict=True)])

    truths = [_once(truth(scoring, dataset, shown)) for scoring, _ in scorings]
    found = []
    for (scoring, task), known in zip(scorings, truths, strict=True):
        told: dict[str, Any] = {"run": run_id, "output": record.output_of(scoring.dataset)}
        scored = run(scoring, record, task, space, *known)
        if scored.result.state == "ok":
            told["repeated"] = repeated()
        found.append(keep(scored, store, **told))
    return found


def _same(output: Path, record: RunRecord, dataset: Dataset) -> None:
    """See that an output is what it was when it was checked.

    Raises
    ------
    StorageError
        If it is not.
    """
    name = dataset.spec.name
    if outputs.digest(output, name, record.job.verb) != record.output_of(name):
        hint = "Delete the job's folder; it runs again."
        raise StorageError(f"{output / name} was changed since it was checked", hint)


def control(
    asked: Control,
    task: Task | str,
    dataset: Dataset,
    store: Store,
    run_id: str = "",
    caches: Sequence[Path] = (),
) -> list[TaskResult]:
    """Score the truth itself, or chance, as a model's output would be, and keep the result.

    Raises
    ------
    StorageError
        If the result cannot be kept.
    """
    task = find()[task] if isinstance(task, str) else task
    scoring = asked.scoring
    obs, masks = _once(truth(scoring, dataset, asked.view))
    if asked.item:
        _, obs, masks = perturbed.inputs(asked.item, dataset, Path(), caches)

    def made() -> Any:
        given: Any = obs()
        if asked.item:
            had = given.among(masks()["test"] | (given.codes == 0))
        else:
            had = given[masks()["train"]] if masks() else given
        return task.controls[scoring.control or "negative"](had, scoring.control_seed or 0)

    return [keep(attempt(scoring, task, made, obs, masks), store, run=run_id)]


def keep(scored: Scored, store: Store, **told: Any) -> TaskResult:
    """Keep a result, but never in the place of a good one if it failed."""
    result = scored.result.model_copy(update=told)
    kept = store.intact_result(result.scoring.id) if result.state not in REUSABLE else None
    if kept is None or kept.state not in REUSABLE:
        return store.keep_result(result, scored.arrays)
    return result


def shared(values: "NDArray[Any]", asked: Iterable[tuple[Task, Obs]]) -> Space:
    """Make the space that several tasks share, and let each say what it will ask of it."""
    values.setflags(write=False)  # what one task changes would be another's wrong number
    space = Space.of(values)
    for task, obs in asked:
        if task.expect is not None and task.split is None:
            with suppress(Exception), warnings.catch_warnings():  # its score will say what is wrong
                warnings.simplefilter("ignore")
                task.expect(space, obs())
    return space


def _once(known: tuple[Obs, Masks]) -> tuple[Obs, Masks]:
    """Read what a task is told only once, though it is asked for twice."""
    return functools.cache(known[0]), functools.cache(known[1])


def truth(scoring: Scoring, dataset: Dataset, shown: View) -> tuple[Obs, Masks]:
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
    output: Callable[[], Any],
    obs: Obs,
    masks: Masks = dict,
) -> Scored:
    """Score a job's output.

    Parameters
    ----------
    output
        Gives the embedding, cells x dimensions, or the prediction; called only if the dataset's item is ok.
    obs
        Gives the obs columns by role, with its rows in the order of the embedding; of a task with a split, see `truth`.
        Of a prediction the cells that it is compared with.
    masks
        Gives what such a task is told beside it.
    """
    item = next((item for item in record.items if item.name == scoring.dataset), None)
    if item is None or item.state != "ok":
        reason = item.reason if item else record.reason
        return Scored(failed(scoring, item.state if item else record.state, reason))
    return attempt(scoring, task, output, obs, masks, said=item.warnings)


def attempt(
    scoring: Scoring,
    task: Task,
    output: Callable[[], Any],
    obs: Obs,
    masks: Masks = dict,
    said: Sequence[str] = (),
) -> Scored:
    """Score an output, whatever comes of it; `said` is what its maker wants its reader to know."""
    began, cpu = time.perf_counter(), time.process_time()
    values: tuple[ScoreValue, ...] = ()
    kept: dict[str, NDArray[Any]] = {}
    state: State = "infrastructure"
    reason = ""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        try:
            given = task.score(output(), obs(), seed=scoring.seed, **masks())
            found, undefined = _defined(given)
            if undefined and not found:
                reason = f"the task gave no number for {undefined}"
            else:
                if undefined:
                    warnings.warn(f"the task gave no number for {undefined}: left out", stacklevel=2)
                values, kept, state = tuple(map(_value, found)), details.small(found), "ok"
        except NotApplicable as problem:
            state, reason = "not_applicable", str(problem)
        except ContractViolation as problem:
            state, reason = "contract_violation", problem.message
        except CellgaugeError as problem:
            reason = problem.message
        except Exception as problem:  # a task may come from elsewhere, and one failed cell must not end a run
            reason = f"the task failed: {type(problem).__name__}: {problem}"
    told = [*said, *(f"{one.category.__name__}: {one.message}" for one in heard)] if state == "ok" else []
    result = failed(scoring, state, reason).model_copy(
        update={
            "scores": values,
            "seconds": round(time.perf_counter() - began, 4),
            "cpu_seconds": round(time.process_time() - cpu, 4),
            "warnings": tuple(dict.fromkeys(told)),
        }
    )
    return Scored(result, kept)


def _defined(given: Sequence[Score]) -> tuple[Sequence[Score], str]:
    """Leave out scores that are no number, and name them: the others are as good without."""
    lacking = [one for one in given if not math.isfinite(one.value)]
    if not lacking:
        return given, ""
    found = Scores(one for one in given if math.isfinite(one.value))
    if isinstance(given, Scores):
        found.details = given.details
    told = (", ".join(f"{name}={value}" for name, value in sorted(one.params.items())) for one in lacking)
    names = (f"{one.metric} ({params})" if params else one.metric for one, params in zip(lacking, told, strict=True))
    return found, ", ".join(names)


def _value(one: Score) -> ScoreValue:
    fields: dict[str, Any] = {"metric": one.metric, "value": float(one.value), "n_cells": int(one.n_cells)}
    fields |= {"params": dict(one.params), "better": one.better}
    span = one.interval
    if span is not None and math.isfinite(span.low) and math.isfinite(span.high):
        fields |= {"low": float(span.low), "high": float(span.high), "resamples": span.resamples}
        fields |= {"unit": span.unit, "n_units": int(span.n_units)}
    return ScoreValue(**fields)


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
    """Versions of the libraries that score, found without importing them."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
