"""`cellgauge run` and `cellgauge plan`."""

import shlex
import sys
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellgauge.cli import options
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from pathlib import Path

    from cellgauge.engines import Engine
    from cellgauge.images import Runnable
    from cellgauge.pipeline import Prepared, Wanted
    from cellgauge.settings import Settings
    from cellgauge.specs import Model

ALL = ["all"]
SEEDS = ["42"]


def run(
    models: options.Models,
    datasets: options.Datasets,
    tasks: options.Tasks = ALL,
    seeds: options.Seeds = SEEDS,
    assignments: options.Assignments = None,
    engine: options.EngineName = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Jobs that run at once. [CELLGAUGE_JOBS]")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds that one job may take. [CELLGAUGE_TIMEOUT]")
    ] = None,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
) -> None:
    """Run models on datasets, score their outputs, and show a table.

    What is already there is used again. A job that fails does not stop the others; the exit code is 1 if any planned
    result is missing.
    """
    import cellgauge
    from cellgauge import engines, executors, pipeline, store
    from cellgauge.cli.live import follow
    from cellgauge.execute import Limits
    from cellgauge.report import document, table
    from cellgauge.specs import Run

    chosen = _settings(engine, jobs, timeout, results, catalogs, models_path)
    kept = store.Store(chosen.results)
    kept.prepare()
    isolation, why = engines.choose(chosen.engine, insist=bool(chosen.docker_host))
    say(why)
    prepared = _prepare(chosen, models, datasets, tasks, seeds, assignments, _ensured(isolation, chosen))
    given = pipeline.show(prepared, kept, chosen.cache)
    this = Run(
        id=store.new_run_id(),
        command=shlex.join(["cellgauge", *sys.argv[1:]]),
        started=store.now_utc(),
        engine=isolation.name,
        plan=prepared.plan,
        cellgauge=cellgauge.__version__,
    )
    kept.keep_run(this)
    limits = Limits(threads=max(1, executors.cpus() // chosen.jobs), time_limit=chosen.timeout)
    executor = executors.make(f"threads:{chosen.jobs}")
    follow(pipeline.evaluate(prepared, given, kept, isolation, executor, limits, Event()), this, kept)
    outcome = document.collect(this, kept)
    if as_json:
        show_json(outcome)
    else:
        out.print(table.render(outcome, prepared.tasks))
        out.print(f"results: {kept.root.absolute()}  (again: cellgauge show {this.id})", soft_wrap=True)
    raise typer.Exit(0 if outcome.complete else 1)


def plan(
    models: options.Models,
    datasets: options.Datasets,
    tasks: options.Tasks = ALL,
    seeds: options.Seeds = SEEDS,
    assignments: options.Assignments = None,
    engine: options.EngineName = None,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
) -> None:
    """Show what `run` would do: what runs, what is reused, what is skipped and why. Builds and runs nothing."""
    from cellgauge import engines, pipeline, store
    from cellgauge.report import outline

    chosen = _settings(engine, None, None, results, catalogs, models_path)
    isolation, why = engines.choose(chosen.engine, insist=bool(chosen.docker_host))
    say(why)
    prepared = _prepare(chosen, models, datasets, tasks, seeds, assignments, _present(isolation, chosen))
    reused = pipeline.reusable(prepared.plan, store.Store(chosen.results))
    found = outline.make(prepared.plan, *reused)
    if as_json:
        show_json(found)
    else:
        out.print(outline.render(found))


def _settings(engine: Any, jobs: Any, timeout: Any, results: Any, catalogs: Any, models_path: Any) -> "Settings":
    from cellgauge import settings

    return settings.read(
        engine=engine,
        jobs=jobs,
        timeout=timeout,
        results=results,
        catalog=options.paths(catalogs),
        models_path=options.paths(models_path),
    )


def _prepare(
    chosen: "Settings",
    models: list[str],
    datasets: list[str],
    tasks: list[str],
    seeds: list[str],
    assignments: list[str] | None,
    image_of: Callable[["Model"], "Runnable"],
) -> "Prepared":
    from cellgauge import catalog, pipeline, settings

    wanted = _wanted(options.split(models), [settings.shipped("model-images"), *chosen.models_path], assignments or [])
    known = catalog.datasets([settings.shipped("datasets.yaml"), *chosen.catalog])
    more = "Datasets of your own: name their catalogue with --catalog."
    specs = catalog.pick("dataset", options.split(datasets), known, more)
    picked = catalog.pick("task", options.split(tasks), catalog.tasks())
    prepared = pipeline.prepare(wanted, specs.values(), picked, options.seeds(seeds), image_of)
    for name, reason in prepared.unavailable.items():
        say(f"{name} cannot run: {reason}")
    return prepared


def _wanted(names: list[str], folders: "list[Path]", assignments: list[str]) -> "list[Wanted]":
    from cellgauge import catalog
    from cellgauge.pipeline import Wanted

    known = catalog.manifests(folders)
    pairs = [(name, variant or "default") for name, _, variant in (name.partition(":") for name in names)]
    if ("all", "default") in pairs:
        pairs = [(name, "default") for name in known] + [pair for pair in pairs if pair != ("all", "default")]
    more = "Models of your own: name their folder with --models-path."
    picked = catalog.models(folders, only=catalog.pick("model", [name for name, _ in pairs], known, more))
    overrides = _overrides(assignments, picked)
    return [Wanted(picked[name], variant, overrides.get(name, {})) for name, variant in dict.fromkeys(pairs)]


def _overrides(assignments: list[str], picked: "dict[str, Model]") -> dict[str, dict[str, Any]]:
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


def _ensured(engine: "Engine", chosen: "Settings") -> Callable[["Model"], "Runnable"]:
    from cellgauge import images

    if engine.name == "local":
        return lambda model: images.local(model, chosen.cache)
    return lambda model: images.ensure(model, base_image=chosen.base_image, network=chosen.build_network, say=say)


def _present(engine: "Engine", chosen: "Settings") -> Callable[["Model"], "Runnable"]:
    from cellgauge import images

    if engine.name == "local":
        return lambda model: images.local(model, chosen.cache)
    return lambda model: images.present(model, chosen.base_image)
