"""Runs a finished job again from what its record says, and compares output and scores."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge import execute, images, outputs, perturbed, score, supplies
from cellgauge.data import check, fetch, view, weights
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import Interrupted, UsageError
from cellgauge.gpus import Stopped
from cellgauge.pantry import Pantry
from cellgauge.pipeline import Site
from cellgauge.request import Terms, Work
from cellgauge.specs import Changes, Dataset, DatasetSpec, Job, Model, RunRecord, Spec, TaskResult, View
from cellgauge.store import Store
from cellgauge_tasks import Task, find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far two runs of a model that only promises `seeded` may be apart: other threads add floats in another order."""


ROUNDING = 1e-6
"""How far two scores of the same output may be apart."""


class Number(Spec):
    """One score, then and now."""

    dataset: str
    task: str
    metric: str
    params: str
    kept: float
    now: float | None


class Difference(Spec):
    """A job that was run again, against what is kept of it."""

    schema_version: int = 1
    job: str
    what: str
    determinism: str
    identical: bool
    """Byte for byte."""
    largest: float | None = None
    """Largest absolute difference between two numbers of an output."""
    agrees: bool
    """As far as the manifest says that it should."""
    reason: str
    scores: tuple[Number, ...] = ()


def reproduce(
    record: RunRecord,
    model: Model,
    specs: Mapping[str, DatasetSpec],
    store: Store,
    engine: Engine,
    site: Site,
    cache: Cache,
    image_of: Callable[[Model], images.Runnable],
    cancel: Cancel,
) -> Difference:
    """Run a job again and compare. Nothing that is kept changes.

    Raises
    ------
    UsageError
        If what it was made from is no longer here: the image, the dataset's file, the weights.
    Interrupted
        After Ctrl-C.
    """
    job = record.job
    runnable = image_of(model)
    if runnable.digest != job.image and not (engine.name == "docker" and _there(job.image)):
        hint = (
            "An image that was pulled by its digest stays the same; a folder or an environment that changed does not."
        )
        raise UsageError(f"it ran from {job.image}, and here is {runnable.digest}", hint)
    if weights.digest(weights.of(model, job.variant)) != job.weights:
        raise UsageError(f"the weights of {model.spec.name} are others than those of the job")
    files = {name: _same(spec, record, cache) for name, spec in specs.items()}
    every = {**files, **supplies.stacks([job], files, cache)}
    datasets = {one.name: every[one.name] for one in job.datasets}
    pantry = Pantry([job], {job.model: model}, datasets, engine, store, cache, cancel)
    limits = Changes(**record.limits.model_dump()) if record.limits else Changes()
    try:
        with closing(pantry), store.workspace(job.id) as folder, site.lease(model, engine, cancel) as devices:
            uuids = tuple(one.uuid for one in devices)
            terms = Terms(cpus=limits.cpus or 1, changes=limits, gpus=uuids, program=runnable.folder)
            terms = replace(terms, weights=pantry.weights(job))
            (done,), _ = execute.run([Work(job, pantry.given(job))], model, folder, engine, terms, cancel)
            if cancel.asked:
                raise Interrupted("stopped on request")
            return _compare(record, done.record, model, datasets, store, folder)
    except (Stopped, CancelledError):  # while it waited for a GPU, or for a view
        raise Interrupted("stopped on request") from None


def _there(image: str) -> bool:
    from cellgauge.engines.docker_images import find as find_image

    return find_image(image) is not None


def _same(spec: DatasetSpec, record: RunRecord, cache: Cache) -> Dataset:
    path, digest, stamp = fetch.fetch(spec, cache)
    views = {one.name: one.view for one in record.job.datasets}
    views |= {part.name: part.view for one in record.job.datasets if one.stack for part in one.stack.members}
    wanted = views[spec.name].sha256
    if digest != wanted:
        hint = "Name the catalogue that has the right one with --catalog."
        raise UsageError(f"dataset '{spec.name}' is another file than that of the job: {digest}, not {wanted}", hint)
    return check.check(spec, path, digest, stamp)


def _compare(
    before: RunRecord, now: RunRecord, model: Model, datasets: Mapping[str, Dataset], store: Store, folder: Path
) -> Difference:
    declared = model.spec.determinism
    names = ", ".join(datasets)
    kept = [outputs.digest(store.job_folder(before.job.id) / "output", name, before.job.verb) for name in datasets]
    if kept != [before.output_of(name) for name in datasets]:
        raise UsageError("the output that is kept was changed since it was checked", "Run it again with --refresh.")
    fields = {"job": before.job.id, "what": f"{before.job.model} on {names}", "determinism": declared}
    if now.state != "ok":
        reason = f"this time it ended as {now.state.replace('_', ' ')}: {now.reason}"
        return Difference(**fields, identical=False, agrees=False, reason=reason)
    numbers, lacks = _scores(before, now, datasets, store, folder)
    if [one.sha256 for one in before.items] == [one.sha256 for one in now.items]:
        other = sorted({one.task for one in numbers if not _close(one)})
        but = f", yet scores differ: {', '.join(other)}; another version of what scores, perhaps" if other else ""
        reason = f"the output is the same, byte for byte{but}{lacks}"
        return Difference(**fields, identical=True, agrees=not other, reason=reason, scores=numbers)
    told = {"identical": False, "scores": numbers}
    promised = f"the manifest promises determinism '{declared}'{lacks}"
    if before.job.verb != "embed":
        return Difference(**fields, **told, agrees=declared == "none", reason=f"the output differs; {promised}")
    largest, close = _apart(store.job_folder(before.job.id), folder, datasets.values(), before.job)
    if largest is None:
        return Difference(**fields, **told, agrees=False, reason=f"the output has another shape{lacks}")
    agrees = declared == "none" or (declared == "seeded" and close)
    reason = f"the output differs by up to {largest:.3g}; {promised}"
    return Difference(**fields, **told, largest=largest, agrees=agrees, reason=reason)


def _apart(kept: Path, now: Path, datasets: Iterable[Dataset], job: Job) -> tuple[float | None, bool]:
    """Tell the largest difference between two embeddings, None where shapes differ, and whether they are close."""
    import numpy as np

    pairs = [(_rows(kept, data, job), _rows(now, data, job)) for data in datasets]
    if any(one.shape != other.shape for one, other in pairs):
        return None, False
    largest = max(float(np.abs(one - other).max()) for one, other in pairs)
    return largest, all(np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE) for one, other in pairs)


def _scores(
    before: RunRecord, now: RunRecord, datasets: Mapping[str, Dataset], store: Store, folder: Path
) -> tuple[tuple[Number, ...], str]:
    """Score the new output with the tasks that scored the old one; say which of them are no longer here."""
    tasks = find()
    kept = [one for name in datasets for one in _kept(before, name, store)]
    gone = sorted({one.scoring.task for one in kept} - set(tasks))
    here = (one for one in kept if one.scoring.task in tasks)
    numbers = tuple(number for one in here for number in _scored(one, now, tasks, datasets, folder))
    return numbers, f"; not scored, since no such task is installed: {', '.join(gone)}" if gone else ""


def _rows(folder: Path, dataset: Dataset, job: Job) -> "NDArray[np.float32]":
    return outputs.embedding(folder / "output", dataset.spec.name, view.cells(dataset, _shown(job, dataset)))


def _shown(job: Job, dataset: Dataset) -> View:
    return next(one.view for one in job.datasets if one.name == dataset.spec.name)


def _kept(before: RunRecord, dataset: str, store: Store) -> list[TaskResult]:
    """Find the scores of the old output: of that one, and of none that was there before."""
    run = store.run(before.run)
    of_it = [one for one in (run.plan.scorings if run else ()) if (one.job, one.dataset) == (before.job.id, dataset)]
    results = [store.score_of(scoring, before) for scoring in of_it]
    return [result for result in results if result is not None and result.state == "ok"]


def _scored(
    kept: TaskResult, now: RunRecord, tasks: Mapping[str, Task], datasets: Mapping[str, Dataset], folder: Path
) -> list[Number]:
    """Score the new output with the task that scored the old one."""
    scoring, dataset = kept.scoring, datasets[kept.scoring.dataset]
    inputs: tuple[Any, Any, Any]
    if now.job.verb == "predict":
        inputs = perturbed.inputs(perturbed.item_of(now.job, dataset), dataset, folder / "output")
    else:
        embedding = functools.partial(_rows, folder, dataset, now.job)
        inputs = (embedding, *score.truth(scoring, dataset, _shown(now.job, dataset)))
    result = score.run(scoring, now, tasks[scoring.task], *inputs).result
    fresh = {(one.metric, str(one.params)): one.value for one in result.scores}
    return [
        Number(
            dataset=scoring.dataset,
            task=scoring.task,
            metric=one.metric,
            params=", ".join(f"{name}={value}" for name, value in one.params.items()),
            kept=one.value,
            now=fresh.get((one.metric, str(one.params))),
        )
        for one in kept.scores
    ]


def _close(one: Number) -> bool:
    """Tell whether two scores of the same bytes are one, but for what sums in another order lose."""
    return one.now is not None and math.isclose(one.kept, one.now, rel_tol=ROUNDING, abs_tol=ROUNDING)
