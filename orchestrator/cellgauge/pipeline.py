"""Prepares a run: everything on this machine and checked, images found or made, and the plan laid out."""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from cellgauge import gpus, images, plan, score
from cellgauge.data import check, fetch, weights
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import DatasetError, EngineError, ImageError
from cellgauge.machine import cpu_flags
from cellgauge.specs import Dataset, DatasetSpec, Model, Plan, Relaxation
from cellgauge.store import REUSABLE, Store
from cellgauge_model.contract import Param
from cellgauge_tasks import Task

IMAGES_AT_ONCE = 4


@dataclass(frozen=True)
class Wanted:
    """A model variant as asked for on the command line."""

    model: Model
    variant: str
    overrides: Mapping[str, Param]


@dataclass(frozen=True)
class Site:
    """What models may use here."""

    lessor: gpus.Lessor | None = None
    """Lends GPUs; None: none may be used, or there are none."""
    cpu_only: bool = False
    """True: models that can use a GPU were asked to do without."""
    no_gpu: str = ""
    """Why there are none."""
    allow: tuple[Relaxation, ...] = ()
    flags: frozenset[str] = field(default_factory=cpu_flags)

    def device(self, model: Model) -> str:
        """Say what a model computes on. One that can use a GPU does, unless it was asked not to."""
        return "cpu" if self.cpu_only or model.spec.resources.gpu == "none" else "gpu"

    def lease(
        self, model: Model, engine: Engine, cancel: Cancel, wait: float | None = None
    ) -> AbstractContextManager[tuple[gpus.Device, ...]]:
        """Hold what devices a model needs, for the time of a block; none where it runs on the CPU."""
        lessor, needs = self.lessor, model.spec.resources
        if lessor is None or self.device(model) == "cpu":
            return nullcontext(())

        def busy() -> frozenset[str]:
            try:
                return engine.gpus_in_use()
            except EngineError:  # being restarted, perhaps: nobody can tell now, so nothing is taken now
                return frozenset(one.uuid for one in lessor.devices)

        return lessor.lease(needs.gpus, needs.gpu_memory_mb, lambda: cancel.asked, wait=wait, busy=busy)

    def lacks(self, model: Model) -> str:
        """Say why a model cannot run here, or nothing."""
        needs = model.spec.resources
        if missing := [one for one in needs.cpu_features if one not in self.flags]:
            return f"it needs a processor with {', '.join(missing)}, which this one lacks"
        if self.device(model) == "cpu":
            return ""
        without = "" if needs.gpu == "required" else "; `--gpus none` runs it on the CPU"
        if self.lessor is None:
            return f"it uses a GPU, and {self.no_gpu or 'there is none'}{without}"
        reason = self.lessor.fits(needs.gpus, needs.gpu_memory_mb)
        return f"{reason}{without}" if reason else ""


@dataclass(frozen=True)
class Prepared:
    """Everything on this machine and checked, and the plan made of it."""

    plan: Plan
    models: Mapping[str, Model]
    unavailable: Mapping[str, str]
    """Model → why it cannot run here."""
    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]


def prepare(
    wanted: Sequence[Wanted],
    specs: Iterable[DatasetSpec],
    tasks: Mapping[str, Task],
    seeds: Sequence[int],
    image_of: Callable[[Model], images.Runnable],
    site: Site,
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
    used = [model for model in models.values() if _applies(model, datasets.values(), tasks.values(), site)]
    found, unavailable = _runnable(used, image_of, site)
    models |= {name: models[name].model_copy(update={"folder": one.folder}) for name, one in found.items()}
    choices = [
        plan.ModelChoice(
            spec=one.model.spec,
            variant=one.variant,
            params=values,
            changed=dict(one.overrides),
            image=found[name].digest if (name := one.model.spec.name) in found else f"{images.UNBUILT}{name}",
            weights=weights.digest(weights.of(one.model, one.variant)),
            device=site.device(one.model),
            allow=site.allow,
        )
        for one, values in zip(wanted, params, strict=True)
    ]
    data = [plan.DatasetChoice(spec=dataset.spec, sha256=dataset.sha256) for dataset in datasets.values()]
    chosen = plan.make(choices, data, tasks.values(), seeds, score.versions())
    return Prepared(chosen, models, unavailable, datasets, tasks)


def _applies(model: Model, datasets: Iterable[Dataset], tasks: Iterable[Task], site: Site) -> bool:
    """Tell whether anything of a model will run; otherwise its image need not be made."""
    why_not = functools.partial(plan.why_not, model.spec, device=site.device(model))
    return any(not why_not(one.spec, task) for one in datasets for task in tasks)


def _runnable(
    models: Sequence[Model], image_of: Callable[[Model], images.Runnable], site: Site
) -> tuple[dict[str, images.Runnable], dict[str, str]]:
    """Find or make every image, several at once; one that cannot be had does not stop the others."""

    same = {model.spec.image or model.spec.name: threading.Lock() for model in models}

    def one(model: Model) -> images.Runnable | str:
        if lacks := site.lacks(model):
            return lacks
        try:
            with same[model.spec.image or model.spec.name]:  # two models of one image pull it once
                return image_of(model)
        except ImageError as problem:
            return problem.message

    answers: dict[str, images.Runnable | str | BaseException] = {}
    seats = threading.Semaphore(IMAGES_AT_ONCE)

    def work(model: Model) -> None:
        with seats:
            try:
                answers[model.spec.name] = one(model)
            except BaseException as problem:
                answers[model.spec.name] = problem

    # Daemons, since nobody should wait for a build after Ctrl-C; the engine gives it up when the connection closes.
    threads = [threading.Thread(target=work, args=(model,), daemon=True) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for problem in answers.values():
        if isinstance(problem, BaseException):
            raise problem
    found = {name: answer for name, answer in answers.items() if isinstance(answer, images.Runnable)}
    return found, {name: answer for name, answer in answers.items() if isinstance(answer, str)}


def _checked(specs: Iterable[DatasetSpec]) -> dict[str, Dataset]:
    found, problems = {}, []
    for spec in specs:
        try:
            found[spec.name] = check.check(spec, *fetch.fetch(spec))
        except DatasetError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise DatasetError("\n".join(problem.message for problem in problems), problems[0].hint)
    return found


@dataclass(frozen=True)
class Reuse:
    """What need not be done again, by id."""

    jobs: frozenset[str] = frozenset()
    scorings: frozenset[str] = frozenset()


def reusable(chosen: Plan, store: Store) -> Reuse:
    """Find the jobs and scorings that need not be done again; what is damaged is computed again."""
    records = {job.id: store.intact(job.id) for job in chosen.jobs}
    whole = {job: record for job, record in records.items() if record is not None and store.whole(record)}
    good = set()
    for one in (one for one in chosen.scorings if one.job in whole):
        result = store.intact_result(one.id)
        # Of the output that is there now: a job that was computed again may have given another.
        if result and result.state in REUSABLE and result.output == whole[one.job].output_of(one.dataset):
            good.add(one.id)
    return Reuse(frozenset(whole), frozenset(good))
