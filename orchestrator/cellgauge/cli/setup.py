"""From what a person asked for to what a run needs: the store, the engine, the GPUs, and the plan."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellgauge.cli import options
from cellgauge.cli.output import err, say

if TYPE_CHECKING:
    from pathlib import Path

    from cellgauge.data.cache import Cache
    from cellgauge.data.fetch import Report
    from cellgauge.engines import Engine
    from cellgauge.images import Runnable
    from cellgauge.pipeline import Prepared, Site, Wanted
    from cellgauge.settings import Settings
    from cellgauge.specs import Asked, DatasetSpec, GroupSpec, Model


def engine(chosen: "Settings") -> "Engine":
    """Choose the engine, and say which and why."""
    from cellgauge import engines

    found, why = engines.choose(chosen.engine, insist=bool(chosen.docker_host))
    say(why)
    return found


def cache(chosen: "Settings") -> "Cache":
    """The cache of one's own, and those of others."""
    from cellgauge.data.cache import Cache

    return Cache(chosen.cache, chosen.shared_caches, cellxgene=chosen.cellxgene_api, say=say)


@contextmanager
def bar(what: str) -> "Iterator[Report]":
    """Show on a terminal how far something is that takes long: bytes done, of how many, and how long it will take."""
    from rich import progress
    from rich.filesize import decimal
    from rich.markup import escape

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        one = bars.add_task(escape(what), total=None, visible=False)
        told = False

        def report(done: int, total: int | None) -> None:
            nonlocal told
            bars.update(one, completed=done, total=total, visible=True)
            if not told and not err.is_terminal and total:  # one line for a log
                say(f"{what}: {decimal(total)}")
                told = True

        yield report


def prepare(
    asked: "Asked", chosen: "Settings", image_of: Callable[["Model"], "Runnable"], *, pull: bool = True
) -> tuple["Prepared", "Site"]:
    """Look everything up, pull what is not here, unless that is not wanted, and lay out the plan."""
    from cellgauge import catalog, pipeline

    wanted = _wanted(asked, chosen.model_folders)
    specs = datasets(asked.datasets, chosen)
    picked = catalog.pick_tasks(asked.tasks, say)
    place = site(asked, chosen, [one.model for one in wanted])
    kept, pulling = cache(chosen), bar if pull else None
    found = list(specs.values())
    prepared = pipeline.prepare(
        wanted,
        found,
        picked,
        asked.seeds,
        image_of,
        place,
        kept,
        asked.limit_cells,
        pulling,
        controls=asked.controls,
    )
    for problem in prepared.unusable.values():
        say(problem.message)
    for name, fault in prepared.unavailable.items():
        say(f"{name} cannot run: {fault.message}")
    return prepared, place


def datasets(names: Sequence[str], chosen: "Settings") -> "dict[str, DatasetSpec | GroupSpec]":
    """Look up datasets and groups by name or pattern, and say which are deprecated."""
    from cellgauge import catalog

    known = catalog.entries(chosen.catalogs)
    old = [name for name, spec in known.items() if spec.deprecated]
    more = "Datasets of your own: name their catalogue with --catalog."
    found = catalog.pick("dataset", names, known, more, hidden=old)
    for name, spec in (found | single(found)).items():
        if spec.deprecated:
            instead = f"; use {spec.deprecated.successor}" if spec.deprecated.successor else ""
            say(f"dataset {name} is deprecated: {spec.deprecated.reason}{instead}")
    return found


def single(specs: "Mapping[str, DatasetSpec | GroupSpec]") -> "dict[str, DatasetSpec]":
    """Take the datasets themselves, and of groups their members."""
    from cellgauge.specs import GroupSpec

    parts = (spec.datasets if isinstance(spec, GroupSpec) else (spec,) for spec in specs.values())
    return {one.name: one for several in parts for one in several}


def site(asked: "Asked", chosen: "Settings", models: "list[Model]") -> "Site":
    """Find the GPUs that may be used; where none are wanted nobody is asked."""
    from cellgauge import gpus
    from cellgauge.errors import GpuError
    from cellgauge.pipeline import Site

    if asked.gpus == "none":
        return Site(cpu_only=True, allow=asked.allow)
    if asked.gpus == "all" and all(model.spec.resources.gpu == "none" for model in models):
        return Site(allow=asked.allow)
    inventory = gpus.Listed(chosen.gpu_inventory) if chosen.gpu_inventory else gpus.Nvml()
    try:
        devices = gpus.choose(inventory.devices(), asked.gpus)
    except GpuError as problem:
        if asked.gpus != "all":
            raise
        return Site(no_gpu=problem.message, allow=asked.allow)
    locks = chosen.gpu_locks or gpus.default_folder()
    return Site(lessor=gpus.Lessor(tuple(devices), inventory, locks, asked.share_gpus), allow=asked.allow)


def _wanted(asked: "Asked", places: "tuple[Path, ...]") -> "list[Wanted]":
    from cellgauge import catalog
    from cellgauge.pipeline import Wanted

    known = catalog.manifests(places)
    pairs = [(name, variant or "default") for name, _, variant in (name.partition(":") for name in asked.models)]
    if ("all", "default") in pairs:
        pairs = [(name, "default") for name in known] + [pair for pair in pairs if pair != ("all", "default")]
    more = "Models of your own: name their folder with --models-path."
    picked = catalog.models(places, only=catalog.pick("model", [name for name, _ in pairs], known, more))
    overrides = _overrides(asked.assignments, picked)
    return [Wanted(picked[name], variant, overrides.get(name, {})) for name, variant in dict.fromkeys(pairs)]


def _overrides(assignments: tuple[str, ...], picked: "dict[str, Model]") -> dict[str, dict[str, Any]]:
    import yaml

    from cellgauge.errors import UnknownNameError, UsageError

    found: dict[str, dict[str, Any]] = {}
    for text in assignments:
        target, equals, value = text.partition("=")
        model, dot, name = target.partition(".")
        if not equals or not dot:
            raise UsageError(
                f"--set {text}: not of the form MODEL.PARAMETER=VALUE", "For instance: --set pca.n_components=20"
            )
        if model not in picked:
            raise UnknownNameError("model in this run", model, picked)
        try:
            found.setdefault(model, {})[name] = yaml.safe_load(value)
        except yaml.YAMLError as problem:
            raise UsageError(f"--set {text}: '{value}' is not a value", "A number, true, false or a word.") from problem
    return found


@contextmanager
def ensured(
    engine: "Engine", chosen: "Settings", pull_limit: float | None = None
) -> Iterator[Callable[["Model"], "Runnable"]]:
    """Give what pulls or builds a model's image, with a bar for each pull on a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from cellgauge import images

    if engine.name == "local":
        yield lambda model: images.local(model, chosen.cache)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:

        def ensure(model: "Model") -> "Runnable":
            bar = bars.add_task(model.spec.name, total=None, visible=False)

            def report(done: int, total: int) -> None:
                bars.update(bar, completed=done, total=total, visible=True)

            try:
                return images.ensure(
                    model,
                    base_image=chosen.base_image,
                    network=chosen.build_network,
                    say=say,
                    report=report,
                    limit=pull_limit,
                )
            finally:
                bars.remove_task(bar)

        yield ensure


def present(engine: "Engine", chosen: "Settings") -> Callable[["Model"], "Runnable"]:
    """Give what looks for a model's image, and makes none."""
    from cellgauge import images

    if engine.name == "local":
        return lambda model: images.local(model, chosen.cache)
    return lambda model: images.present(model, chosen.base_image)


def settings(**given: Any) -> "Settings":
    """Read the settings; an option that was not given leaves one alone."""
    from cellgauge import settings

    several = {name: options.paths(given.pop(name)) for name in ("catalog", "models_path") if name in given}
    return settings.read(**given, **several)
