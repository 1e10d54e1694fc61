"""From what a person asked for to what a run needs: the store, the engine, the GPUs, and the plan."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cellgauge.cli import options
from cellgauge.cli.output import err, say

if TYPE_CHECKING:
    from pathlib import Path

    from cellgauge.engines import Engine
    from cellgauge.images import Runnable
    from cellgauge.pipeline import Prepared, Site, Wanted
    from cellgauge.settings import Settings
    from cellgauge.specs import Asked, Model


def engine(chosen: "Settings") -> "Engine":
    """Choose the engine, and say which and why."""
    from cellgauge import engines

    found, why = engines.choose(chosen.engine, insist=bool(chosen.docker_host))
    say(why)
    return found


def catalogs(chosen: "Settings") -> "list[Path]":
    """Every dataset catalogue, the shipped one first."""
    from cellgauge import settings

    return [settings.shipped("datasets.yaml"), *chosen.catalog]


def folders(chosen: "Settings") -> "list[Path]":
    """Every folder of models, the shipped one first."""
    from cellgauge import settings

    return [settings.shipped("model-images"), *chosen.models_path]


def prepare(asked: "Asked", chosen: "Settings", image_of: Callable[["Model"], "Runnable"]) -> tuple["Prepared", "Site"]:
    """Look everything up, and lay out the plan."""
    from cellgauge import catalog, pipeline

    wanted = _wanted(asked, folders(chosen))
    more = "Datasets of your own: name their catalogue with --catalog."
    specs = catalog.pick("dataset", asked.datasets, catalog.datasets(catalogs(chosen)), more)
    picked = catalog.pick("task", asked.tasks, catalog.tasks())
    place = site(asked, chosen, [one.model for one in wanted])
    prepared = pipeline.prepare(wanted, specs.values(), picked, asked.seeds, image_of, place)
    for name, reason in prepared.unavailable.items():
        say(f"{name} cannot run: {reason}")
    return prepared, place


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


def _wanted(asked: "Asked", places: "list[Path]") -> "list[Wanted]":
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
