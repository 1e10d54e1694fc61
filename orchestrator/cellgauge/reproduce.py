"""Runs a finished job again from what its record says, and compares output and scores."""

import functools
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge import execute, images, outputs, score
from cellgauge.data import check, fetch, view, weights
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import UsageError
from cellgauge.pantry import Pantry
from cellgauge.pipeline import Site
from cellgauge.request import Terms, Work
from cellgauge.specs import Changes, Dataset, DatasetSpec, Model, RunRecord, Spec, TaskResult
from cellgauge.store import Store
from cellgauge_tasks import find

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far two runs of a model that only promises `seeded` may be apart: other threads add floats in another order."""


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
    cache: Path,
    image_of: Callable[[Model], images.Runnable],
    cancel: Cancel,
) -> Difference:
    """Run a job again and compare. Nothing that is kept changes.

    Raises
    ------
    UsageError
        If what it was made from is no longer here: the image, the dataset's file, the weights.
    """
    job = record.job
    runnable = image_of(model)
    if runnable.digest != job.image and not (engine.name == "docker" and _there(job.image)):
        hint = (
            "An image that was pulled by its digest stays the same; a folder or an environment that changed does not."
        )
        raise UsageError(f"it ran from {job.image}, and here is {runnable.digest}", hint)
    model = model.model_copy(update={"folder": runnable.folder})
    if weights.digest(weights.of(model, job.variant)) != job.weights:
        raise UsageError(f"the weights of {model.spec.name} are others than those of the job")
    datasets = {name: _same(spec, record) for name, spec in specs.items()}
    pantry = Pantry([job], {job.model: model}, datasets, engine, store, cache, cancel)
    limits = Changes(**record.limits.model_dump()) if record.limits else Changes()
    with closing(pantry), store.workspace(job.id) as folder, site.lease(model, engine, cancel) as devices:
        uuids = tuple(one.uuid for one in devices)
        terms = Terms(cpus=limits.cpus or 1, changes=limits, weights=pantry.weights(job), gpus=uuids)
        (done,), _ = execute.run([Work(job, pantry.given(job))], model, folder, engine, terms, cancel)
        return _compare(record, done.record, model, datasets, store, folder)


def _there(image: str) -> bool:
    from cellgauge.engines.docker_images import find as find_image

    return find_image(image) is not None


def _same(spec: DatasetSpec, record: RunRecord) -> Dataset:
    path, digest, stamp = fetch.fetch(spec)
    wanted = next(one.view.sha256 for one in record.job.datasets if one.name == spec.name)
    if digest != wanted:
        hint = "Name the catalogue that has the right one with --catalog."
        raise UsageError(f"dataset '{spec.name}' is another file than that of the job: {digest}, not {wanted}", hint)
    return check.check(spec, path, digest, stamp)


def _compare(
    before: RunRecord, now: RunRecord, model: Model, datasets: Mapping[str, Dataset], store: Store, folder: Path
) -> Difference:
    import numpy as np

    declared = model.spec.determinism
    names = ", ".join(datasets)
    kept = [outputs.digest(store.job_folder(before.job.id) / "output", name, before.job.verb) for name in datasets]
    if kept != [before.output_of(name) for name in datasets]:
        raise UsageError("the output that is kept was changed since it was checked", "Run it again with --refresh.")
    fields = {"job": before.job.id, "what": f"{before.job.model} on {names}", "determinism": declared}
    if now.state != "ok":
        reason = f"this time it ended as {now.state.replace('_', ' ')}: {now.reason}"
        return Difference(**fields, identical=False, agrees=False, reason=reason)
    identical = [one.sha256 for one in before.items] == [one.sha256 for one in now.items]
    numbers = tuple(number for name in datasets for number in _scores(before, now, datasets[name], store, folder))
    if identical or before.job.verb != "embed":
        agrees = identical or declared == "none"
        reason = "the output is the same, byte for byte" if identical else "the output differs"
        return Difference(**fields, identical=identical, agrees=agrees, reason=reason, scores=numbers)
    pairs = [(_rows(store.job_folder(before.job.id), data), _rows(folder, data)) for data in datasets.values()]
    if any(one.shape != other.shape for one, other in pairs):
        return Difference(
            **fields, identical=False, agrees=False, reason="the output has another shape", scores=numbers
        )
    largest = max(float(np.abs(one - other).max()) for one, other in pairs)
    close = all(np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE) for one, other in pairs)
    agrees = declared == "none" or (declared == "seeded" and close)
    reason = f"the output differs by up to {largest:.3g}; the manifest promises determinism '{declared}'"
    return Difference(**fields, identical=False, largest=largest, agrees=agrees, reason=reason, scores=numbers)


def _rows(folder: Path, dataset: Dataset) -> "NDArray[np.float32]":
    cells = list(view.annotations(dataset, {}).index)
    return outputs.embedding(folder / "output", dataset.spec.name, cells)


def _scores(before: RunRecord, now: RunRecord, dataset: Dataset, store: Store, folder: Path) -> list[Number]:
    """Score the new output with the tasks that scored the old one."""
    run, tasks = store.run(before.run), find()
    found = []
    for scoring in run.plan.scorings if run else ():
        kept = store.intact_result(scoring.id)
        if scoring.job != before.job.id or scoring.dataset != dataset.spec.name or kept is None or kept.state != "ok":
            continue
        obs = functools.partial(view.annotations, dataset, scoring.roles)
        embedding = functools.partial(_rows, folder, dataset)
        result = score.run(scoring, now, tasks[scoring.task], embedding, obs)
        found += _numbers(dataset.spec.name, scoring.task, kept, result)
    return found


def _numbers(dataset: str, task: str, kept: TaskResult, now: TaskResult) -> list[Number]:
    fresh = {(one.metric, str(one.params)): one.value for one in now.scores}
    return [
        Number(
            dataset=dataset,
            task=task,
            metric=one.metric,
            params=", ".join(f"{name}={value}" for name, value in one.params.items()),
            kept=one.value,
            now=fresh.get((one.metric, str(one.params))),
        )
        for one in kept.scores
    ]
