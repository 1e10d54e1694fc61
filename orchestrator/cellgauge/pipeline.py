"""Prepares a run: everything on this machine and checked, images found or made, and the plan laid out."""

import functools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from cellgauge import gpus, groups, images, joint, plan, score, supplies
from cellgauge.data import sources, weights
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel, Engine
from cellgauge.errors import DatasetError, EngineError, ImageError, NotHereError
from cellgauge.machine import cpu_flags
from cellgauge.specs import REUSABLE, Dataset, DatasetSpec, GroupSpec, Model, Plan, Relaxation
from cellgauge.store import Store
from cellgauge.supplies import Choice, Pulling, silently
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
        self,
        model: Model,
        engine: Engine,
        cancel: Cancel,
        wait: float | None = None,
        queued: Callable[[], None] = lambda: None,
    ) -> AbstractContextManager[tuple[gpus.Device, ...]]:
        """Hold what devices a model needs, for the time of a block; none where it runs on the CPU.

        Parameters
        ----------
        wait
            Seconds after which to give up; None: never.
        queued
            Told once, where they cannot be had at once.
        """
        lessor, needs = self.lessor, model.spec.resources
        if lessor is None or self.device(model) == "cpu":
            return nullcontext(())

        def busy() -> frozenset[str]:
            try:
                return engine.gpus_in_use()
            except EngineError:  # being restarted, perhaps: nobody can tell now, so nothing is taken now
                return frozenset(one.uuid for one in lessor.devices)

        return lessor.lease(needs.gpus, needs.gpu_memory_mb, lambda: cancel.asked, wait=wait, busy=busy, queued=queued)

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
    unavailable: Mapping[str, EngineError]
    """Model → why it cannot run here."""
    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]
    unusable: Mapping[str, DatasetError] = field(default_factory=dict)
    """Dataset → why it cannot be used. Its results may still be there, where the catalogue knows its checksum."""
    programs: Mapping[str, Path] = field(default_factory=dict)
    """Model → the folder that a process runs from, where it is not the model's own."""
    unpulled: Mapping[str, int | None] = field(default_factory=dict)
    """Dataset that a run would pull first → its size in bytes, None where the catalogue does not say."""


def prepare(
    wanted: Sequence[Wanted],
    specs: Collection[DatasetSpec | GroupSpec],
    tasks: Mapping[str, Task],
    seeds: Sequence[int],
    image_of: Callable[[Model], images.Runnable],
    site: Site,
    cache: Cache,
    limit_cells: int | None = None,
    pulling: Pulling | None = silently,
    *,
    controls: bool = False,
) -> Prepared:
    """Check every parameter and dataset, find every image, and lay out the plan. Nothing runs yet.

    Parameters
    ----------
    pulling
        Shows how far the pull of a dataset is; None: nothing is pulled.
    controls
        True: the truth itself and chance are scored, too.

    Raises
    ------
    CellgaugeError
        The first wrong parameter, or why no dataset at all can be used.
    """
    params = [plan.params_for(one.model.spec, one.variant, one.overrides) for one in wanted]
    models = {one.model.spec.name: one.model for one in wanted}
    every = [*tasks.values()]
    found = supplies.get(
        specs,
        every,
        cache,
        limit_cells=limit_cells,
        pulling=pulling,
        needed=lambda choice: any(_applies(one, [choice], every, site) for one in models.values()),
        together=lambda choice: any(
            _applies(one, [choice], every, site) for one in models.values() if not groups.own_space(one.spec)
        ),
    )
    used = [model for model in models.values() if _applies(model, found.choices, every, site)]
    runnable, unavailable = _runnable(used, image_of, site)
    choices = [
        plan.ModelChoice(
            spec=one.model.spec,
            variant=one.variant,
            params=values,
            changed=dict(one.overrides),
            image=runnable[name].digest if (name := one.model.spec.name) in runnable else f"{images.UNBUILT}{name}",
            weights=weights.digest(weights.of(one.model, one.variant)),
            device=site.device(one.model),
            allow=site.allow,
        )
        for one, values in zip(wanted, params, strict=True)
    ]
    versions = score.versions()
    chosen = plan.make(choices, found.choices, every, seeds, versions, limit_cells, with_controls=controls)
    programs = {name: one.folder for name, one in runnable.items()}
    unpulled = _unpulled(specs, found.unusable)
    return Prepared(chosen, models, unavailable, found.datasets, tasks, found.unusable, programs, unpulled)


def _unpulled(specs: Iterable[DatasetSpec | GroupSpec], unusable: Mapping[str, DatasetError]) -> dict[str, int | None]:
    """Name what would be pulled first, with its size; of a group that is shown as one, what is lacking of it."""
    lacking = {name for name, problem in unusable.items() if isinstance(problem, NotHereError)}
    found: dict[str, int | None] = {}
    for spec in specs:
        parts = spec.datasets if isinstance(spec, GroupSpec) else (spec,)
        sizes = {one.name: one.size for one in parts if one.name in lacking}
        found |= sizes
        if spec.name in lacking:
            known = [size for size in sizes.values() if size is not None]
            found[spec.name] = sum(known) if len(known) == len(sizes) else None
    return found


def _applies(model: Model, datasets: Iterable[Choice], tasks: Iterable[Task], site: Site) -> bool:
    """Tell whether anything of a model will run; otherwise its image need not be made."""
    why_not = functools.partial(groups.reason, model.spec, device=site.device(model))
    return any(not why_not(one, task) for one in datasets for task in tasks)


def _runnable(
    models: Sequence[Model], image_of: Callable[[Model], images.Runnable], site: Site
) -> tuple[dict[str, images.Runnable], dict[str, EngineError]]:
    """Find or make every image, several at once; one that cannot be had does not stop the others."""

    same = {model.spec.image or model.spec.name: threading.Lock() for model in models}

    def one(model: Model) -> images.Runnable | EngineError:
        if lacks := site.lacks(model):
            return EngineError(lacks, lasting=True, phase="prepare")
        try:
            with same[model.spec.image or model.spec.name]:  # two models of one image pull it once
                return image_of(model)
        except ImageError as problem:
            # A new one, since that one holds on to all that it came through: the files of a build.
            return ImageError(problem.message, problem.hint, lasting=problem.lasting, phase=problem.phase)

    answers: dict[str, images.Runnable | EngineError] = {}
    broken: list[BaseException] = []
    seats = threading.Semaphore(IMAGES_AT_ONCE)

    def work(model: Model) -> None:
        with seats:
            try:
                answers[model.spec.name] = one(model)
            except BaseException as problem:
                broken.append(problem)

    # Daemons, since nobody should wait for a build after Ctrl-C; the engine gives it up when the connection closes.
    threads = [threading.Thread(target=work, args=(model,), daemon=True) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    found = {name: answer for name, answer in answers.items() if isinstance(answer, images.Runnable)}
    return found, {name: answer for name, answer in answers.items() if isinstance(answer, EngineError)}


def lacking(prepared: Prepared, cache: Cache) -> dict[str, str]:
    """Say of each job that cannot run here why not, as a run would, without fetching anything."""
    found = {}
    for job in prepared.plan.jobs:
        model = prepared.models[job.model]
        unusable = [prepared.unusable[one.name] for one in job.datasets if one.name in prepared.unusable]
        wrong = next((one for one in unusable if not isinstance(one, NotHereError)), None)
        problem = prepared.unavailable.get(job.model) or _weightless(model, job.variant, cache) or wrong
        if problem:
            found[job.id] = str(problem)
    return found


def _weightless(model: Model, variant: str, cache: Cache) -> str:
    """Say why weights cannot be had, or nothing; whoever has them elsewhere is not asked."""
    needed = weights.of(model, variant)
    if any((root / "weights" / weights.digest(needed)).is_dir() for root in (cache.root, *cache.shared)):
        return ""
    what = f"weights of {model.spec.name}"
    for one in needed:
        scheme, _, rest = one.source.rpartition("://")
        source = sources.find(scheme or "file", cache.cellxgene)
        if source is None:
            return f"{what}: sources of the kind '{scheme}://' cannot be read"
        if isinstance(source, sources.Local):
            try:
                path = source.path(one.source) if scheme else model.folder / rest
            except sources.Fault as fault:
                return f"{what}: {one.source}: {fault.message}"
            if not path.is_file():
                return f"{what}: {path.absolute()}: No such file or directory"
    return ""


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
    for one in chosen.scorings:
        record = joint.record(one, whole.get)
        result = store.score_of(one, record) if record else None
        if result and result.state in REUSABLE:
            good.add(one.id)
    return Reuse(frozenset(whole), frozenset(good))
