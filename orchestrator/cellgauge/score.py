"""Scores one output with tasks. A task that fails is a result with a reason, not an exception."""

import functools
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cellgauge
from cellgauge import accelerator, details, faults, joint, perturbed, provenance, subject, values
from cellgauge.errors import CellgaugeError, ContractViolation
from cellgauge.provenance import versions as versions
from cellgauge.specs import REUSABLE, Control, Dataset, RunRecord, ScoreValue, Scoring, State, TaskResult
from cellgauge.store import Store
from cellgauge.subject import Masks, Obs
from cellgauge.subject import truth as truth
from cellgauge_tasks import NotApplicable, Space, Task, find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scored:
    """A result, and the small arrays that are kept beside it."""

    result: TaskResult
    arrays: "Mapping[str, NDArray[Any]]" = field(default_factory=dict)
    trace: str = ""
    """Of a task that failed: where."""


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
    scorings = [(scoring, find()[task] if isinstance(task, str) else task) for scoring, task in asked]
    output = store.job_folder(record.job.id) / "output"
    if record.job.verb == "predict":
        about = perturbed.item_of(record.job, dataset)
        prediction, cells, masks = perturbed.inputs(about, dataset, output, caches)

        def unchanged() -> Any:
            subject.unchanged(output, record, dataset)
            return prediction()

        return [
            keep(run(scoring, record, task, unchanged, cells, masks), store, run=run_id, output=record.output_of(name))
            for scoring, task in scorings
        ]

    shown = subject.shown(record, dataset)
    truths, alike = [truth(scoring, dataset, shown) for scoring, _ in scorings], details.alike([dataset], [shown])
    return _embedded(scorings, record, lambda: subject.embedding(record, dataset, store), truths, alike, store, run_id)


def all_of_group(
    asked: Sequence[tuple[Scoring, Task | str]],
    records: Sequence[RunRecord],
    datasets: Sequence[Dataset],
    store: Store,
    run_id: str = "",
) -> list[TaskResult]:
    """Score what a model gave for each member of a group as one, with several tasks; see `all_of`.

    Parameters
    ----------
    asked
        Scorings of the same parts.
    records, datasets
        Of each part, in this order.

    Raises
    ------
    StorageError
        If a result cannot be kept.
    """
    scorings = [(scoring, find()[task] if isinstance(task, str) else task) for scoring, task in asked]
    views = [subject.shown(record, dataset) for record, dataset in zip(records, datasets, strict=True)]
    truths = [subject.truth_of_group(scoring, datasets, views) for scoring, _ in scorings]
    by_job = {one.job.id: one for one in records}
    record = joint.record(scorings[0][0], by_job.get) or records[0]
    alike = details.alike(datasets, views)
    return _embedded(scorings, record, lambda: subject.stacked(records, datasets, store), truths, alike, store, run_id)


def _embedded(
    scorings: "Sequence[tuple[Scoring, Task]]",
    record: RunRecord,
    read: "Callable[[], NDArray[np.float32]]",
    truths: Sequence[tuple[Obs, Masks]],
    alike: "Callable[[NDArray[np.bool_]], NDArray[np.int64]]",
    store: Store,
    run_id: str,
) -> list[TaskResult]:
    """Score an embedding, which is read only if it is needed."""
    embedding, truths = functools.cache(read), [subject.once(known) for known in truths]

    @functools.cache
    def repeated() -> float:
        return details.repeated(embedding(), alike)

    @functools.cache
    def space() -> Space:
        return shared(embedding(), [(task, known[0]) for (_, task), known in zip(scorings, truths, strict=True)])

    found = []
    for (scoring, task), known in zip(scorings, truths, strict=True):
        told: dict[str, Any] = {"run": run_id, "output": record.output_of(scoring.dataset)}
        scored = run(scoring, record, task, space, *known)
        if scored.result.state == "ok":
            try:
                told["repeated"] = repeated()
            except Exception as problem:  # the numbers are there, and are not lost for a mark beside them
                unknown = f"whether its rows repeat is not known: {type(problem).__name__}: {problem}"
                told["warnings"] = (*scored.result.warnings, unknown)
        found.append(keep(scored, store, **told))
    return found


def control(
    asked: Control,
    task: Task | str,
    dataset: Dataset,
    store: Store,
    run_id: str = "",
    caches: Sequence[Path] = (),
    others: Sequence[Dataset] = (),
) -> list[TaskResult]:
    """Score the truth itself, or chance, as a model's output would be, and keep the result.

    Parameters
    ----------
    dataset, others
        Of a group the first member, and the further ones.

    Raises
    ------
    StorageError
        If the result cannot be kept.
    """
    task = find()[task] if isinstance(task, str) else task
    scoring = asked.scoring
    known = truth(scoring, dataset, asked.view)
    if scoring.parts:
        known = subject.truth_of_group(scoring, (dataset, *others), (asked.view, *asked.others))
    obs, masks = subject.once(known)
    if asked.item:
        _, obs, masks = perturbed.inputs(asked.item, dataset, Path(), caches)

    def made() -> Any:
        given: Any = obs()
        if asked.item:
            had = given.among(masks()["test"] | (given.codes == 0))
        else:
            had = given[masks()["train"]] if masks() else given
        with faults.of(task):
            drawn = task.controls[scoring.control or "negative"](had, scoring.control_seed or 0)
        return perturbed.alike(drawn, asked.item) if asked.item else drawn

    return [keep(attempt(scoring, task, made, obs, masks), store, run=run_id)]


def keep(scored: Scored, store: Store, **told: Any) -> TaskResult:
    """Keep a result, but never in the place of a good one if it failed."""
    where = store.keep_trace(scored.result.scoring.id, scored.trace)
    reason = f"{scored.result.reason}{faults.TRACE}{where} in the results folder)" if where else scored.result.reason
    result = scored.result.model_copy(update={**told, "reason": reason})
    kept = store.intact_result(result.scoring.id) if result.state not in REUSABLE else None
    if kept is None or kept.state not in REUSABLE:
        return store.keep_result(result, scored.arrays)
    return result


def shared(values: "NDArray[Any]", asked: Iterable[tuple[Task, Obs]]) -> Space:
    """Make the space that several tasks share, and let each say what it will ask of it."""
    values.setflags(write=False)  # what one task changes would be another's wrong number
    space = Space(values, device=accelerator.chosen())
    for task, obs in asked:
        if task.expect is not None and task.split is None:
            with suppress(Exception), warnings.catch_warnings():  # its score will say what is wrong
                warnings.simplefilter("ignore")
                task.expect(space, obs())
    return space


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
    numbers: tuple[ScoreValue, ...] = ()
    kept: dict[str, NDArray[Any]] = {}
    state: State = "infrastructure"
    reason = trace = ""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        try:
            inputs, more = (output(), obs()), masks()
            with faults.of(task):
                found, undefined = values.defined(task.score(*inputs, seed=scoring.seed, **more))
                if undefined and not found:
                    raise faults.TaskFailed(f"{faults.whose(task)} gave no number for {undefined}")
                if undefined:
                    warnings.warn(f"the task gave no number for {undefined}: left out", stacklevel=2)
                numbers, kept, state = tuple(map(values.value, found)), details.small(found), "ok"
        except NotApplicable as problem:
            state, reason = "not_applicable", str(problem)
        except faults.TaskFailed as problem:
            state, reason, trace = "task_error", str(problem), problem.trace
        except ContractViolation as problem:
            state, reason = "contract_violation", problem.message
        except CellgaugeError as problem:
            reason = problem.message
        except Exception as problem:  # one failed cell must not end a run
            reason = f"before it was scored: {type(problem).__name__}: {problem}"
    told = [*said, *(f"{one.category.__name__}: {one.message}" for one in heard)] if state == "ok" else []
    result = failed(scoring, state, reason).model_copy(
        update={
            "scores": numbers,
            "seconds": round(time.perf_counter() - began, 4),
            "device": accelerator.described() if state == "ok" else "",
            "cpu_seconds": round(time.process_time() - cpu, 4),
            "warnings": tuple(dict.fromkeys(told)),
        }
    )
    return Scored(result, kept, trace)


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
