"""Prepare → plan → execute → score → store, yielding each thing the moment it is finished."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

from cellgauge import execute, images, outputs, plan, score
from cellgauge.data import check, fetch, view
from cellgauge.engines import Engine
from cellgauge.errors import DatasetError, ImageError, StorageError
from cellgauge.execute import Given, Limits
from cellgauge.specs import Dataset, DatasetSpec, Job, Model, Plan, RunRecord, Scoring, TaskResult, View
from cellgauge.store import REUSABLE, Store
from cellgauge_model.contract import Item, Param
from cellgauge_tasks import Task


@dataclass(frozen=True)
class Wanted:
    """A model variant as asked for on the command line."""

    model: Model
    variant: str
    overrides: Mapping[str, Param]


@dataclass(frozen=True)
class Prepared:
    """Everything on this machine and checked, and the plan made of it."""

    plan: Plan
    models: Mapping[str, Model]
    unavailable: Mapping[str, str]
    """Model → why its image cannot be had."""
    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]


@dataclass(frozen=True)
class Started:
    """A job has begun."""

    job: Job


@dataclass(frozen=True)
class Finished:
    """A job has ended, or a finished one is used again."""

    record: RunRecord
    reused: bool


@dataclass(frozen=True)
class Scored:
    """A place in the table is filled, or a result that was there is used again."""

    result: TaskResult
    reused: bool


Progress = Started | Finished | Scored


def prepare(
    wanted: Sequence[Wanted],
    specs: Iterable[DatasetSpec],
    tasks: Mapping[str, Task],
    seeds: Sequence[int],
    image_of: Callable[[Model], images.Runnable],
) -> Prepared:
    """Check every parameter and dataset, find every image, and lay out the plan. Nothing runs yet.

    Raises
    ------
    CellgaugeError
        The first wrong parameter, or all unusable datasets together.
    """
    params = [plan.params_for(one.model.spec, one.variant, one.overrides) for one in wanted]
    datasets = _checked(specs)
    models = {one.model.spec.name: one.model for one in wanted}
    digests, unavailable = {}, {}
    for name, model in models.items():
        digests[name] = f"{images.UNBUILT}{name}"
        if all(plan.why_not(model.spec, one.spec, task) for one in datasets.values() for task in tasks.values()):
            continue  # nothing of it will run, so its image need not be made
        try:
            runnable = image_of(model)
        except ImageError as problem:  # one model's image must not stop the others
            unavailable[name] = problem.message
        else:
            digests[name], models[name] = runnable.digest, model.model_copy(update={"folder": runnable.folder})
    choices = [
        plan.ModelChoice(
            spec=one.model.spec,
            variant=one.variant,
            params=values,
            changed=dict(one.overrides),
            image=digests[one.model.spec.name],
        )
        for one, values in zip(wanted, params, strict=True)
    ]
    data = [plan.DatasetChoice(spec=dataset.spec, sha256=dataset.sha256) for dataset in datasets.values()]
    chosen = plan.make(choices, data, tasks.values(), seeds, score.versions())
    return Prepared(chosen, models, unavailable, datasets, tasks)


def _checked(specs: Iterable[DatasetSpec]) -> dict[str, Dataset]:
    found, problems = {}, []
    for spec in specs:
        try:
            path, digest = fetch.fetch(spec)
            found[spec.name] = check.check(spec, path, digest)
        except DatasetError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise DatasetError("\n".join(problem.message for problem in problems), problems[0].hint)
    return found


def reusable(chosen: Plan, store: Store) -> tuple[set[str], set[str]]:
    """Find the jobs and scorings that need not be done again, by id."""
    records = ((job.id, store.record(job.id)) for job in chosen.jobs)
    jobs = {job_id for job_id, record in records if record is not None and store.whole(record)}
    results = ((scoring, store.result(scoring.id)) for scoring in chosen.scorings if scoring.job in jobs)
    return jobs, {scoring.id for scoring, result in results if result is not None and result.state in REUSABLE}


def show(prepared: Prepared, store: Store, cache: Path) -> dict[str, list[Given]]:
    """Write the view of every job that has to run, by job.

    Raises
    ------
    DatasetError
        If a dataset does not hold what a view needs.
    StorageError
        If the cache cannot be written.
    """
    done, _ = reusable(prepared.plan, store)
    waiting = [job for job in prepared.plan.jobs if job.id not in done]
    shown: dict[tuple[str, str], Given] = {}  # many models see one view: it is written and read once
    for one in (one for job in waiting for one in job.datasets):
        if (one.name, one.view.id) not in shown:
            shown[one.name, one.view.id] = _give(prepared.datasets[one.name], one.view, cache)
    return {job.id: [shown[one.name, one.view.id] for one in job.datasets] for job in waiting}


def evaluate(
    prepared: Prepared,
    given: Mapping[str, Sequence[Given]],
    store: Store,
    engine: Engine,
    executor: Executor,
    limits: Limits,
    cancel: Event,
) -> Iterator[Progress]:
    """Do what the plan says, keep each thing as it is finished, and yield it.

    A job that fails is a record; the others go on. Setting `cancel`, or closing the generator, stops what runs.

    Parameters
    ----------
    given
        What `show` wrote; a job that is not in it is not run again.

    Raises
    ------
    StorageError
        If results can no longer be kept; what is finished stays.
    """
    chosen = prepared.plan
    _, scored = reusable(chosen, store)
    waiting = [job for job in chosen.jobs if job.id in given]
    by_job: dict[str, list[Scoring]] = {job.id: [] for job in chosen.jobs}
    for scoring in chosen.scorings:
        by_job[scoring.job].append(scoring)
    queue: Queue[Started | RunRecord | BaseException] = Queue()

    def work(job: Job) -> None:
        try:
            queue.put(Started(job))
            with store.workspace(job.id) as folder:
                fault = prepared.unavailable.get(job.model, "")
                model = prepared.models[job.model]
                record = execute.run(job, model, given[job.id], folder, engine, limits, cancel, fault)
                kept = store.keep(folder, record)
            queue.put(kept)
        except BaseException as problem:
            queue.put(problem)

    try:
        for job in waiting:
            executor.submit(work, job)
        for job in chosen.jobs:
            if job.id not in given and (record := store.record(job.id)):
                yield Finished(record, reused=True)
                yield from _score(record, by_job[job.id], scored, prepared, store)
        left = len(waiting)
        while left:
            event = queue.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Started):
                yield event
                continue
            left -= 1
            yield Finished(event, reused=False)
            yield from _score(event, by_job[event.job.id], scored, prepared, store)
    finally:
        cancel.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _give(dataset: Dataset, shown: View, cache: Path) -> Given:
    path = view.write(dataset, shown, cache)
    cells = list(view.annotations(dataset, {}).index)
    name = f"{dataset.spec.name}.h5ad"
    return Given(item=Item(name=dataset.spec.name, data=name), files={name: path}, cells=cells)


def _score(
    record: RunRecord, scorings: Sequence[Scoring], scored: set[str], prepared: Prepared, store: Store
) -> Iterator[Scored]:
    @functools.cache
    def embedding(dataset: str) -> Any:
        cells = list(view.annotations(prepared.datasets[dataset], {}).index)
        folder = store.job_folder(record.job.id) / "output"
        known = next(item.sha256 for item in record.items if item.name == dataset)
        if outputs.digest(folder, dataset, record.job.verb) != known:
            place = folder / dataset
            raise StorageError(f"{place} was changed since it was checked", "Delete the job's folder; it runs again.")
        return outputs.embedding(folder, dataset, cells)

    for scoring in scorings:
        if scoring.id in scored and (known := store.result(scoring.id)):
            yield Scored(known, reused=True)
            continue
        obs = functools.partial(view.annotations, prepared.datasets[scoring.dataset], scoring.roles)
        result = score.run(
            scoring, record, prepared.tasks[scoring.task], functools.partial(embedding, scoring.dataset), obs
        )
        store.keep_result(result)
        yield Scored(result, reused=False)
