"""`cellgauge run` and `cellgauge plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, show_json

if TYPE_CHECKING:
    from cellgauge.specs import Asked

ALL = ["all"]
SEEDS = ["42"]


def run(
    models: options.Models,
    datasets: options.Datasets,
    tasks: options.Tasks = ALL,
    seeds: options.Seeds = SEEDS,
    assignments: options.Assignments = None,
    engine: options.EngineName = None,
    jobs: options.Jobs = None,
    gpus: options.Gpus = None,
    share_gpus: Annotated[
        bool, typer.Option("--share-gpus", help="Several models on one GPU, by the memory that they declare.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds that one job may take. [CELLGAUGE_TIMEOUT]")
    ] = None,
    limits: options.Limit = None,
    limit_cells: options.LimitCells = None,
    allow: options.Allow = None,
    controls: options.Controls = False,
    retries: Annotated[
        int | None,
        typer.Option("--retries", help="Further attempts after an infrastructure fault. [CELLGAUGE_RETRIES]"),
    ] = None,
    warm: Annotated[
        bool, typer.Option("--warm", help="All datasets of a model variant in one start of its container.")
    ] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Compute again also what is there already.")] = False,
    events: Annotated[
        Path | None, typer.Option("--events", help="Append what happens to this file, as JSON lines.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on in the background, also after logging out; see `status`.")
    ] = False,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
    run_id: Annotated[str, typer.Option("--run-id", hidden=True)] = "",
) -> None:
    """Run models on datasets, score their outputs, and show a table.

    What is already there is used again. A job that fails does not stop the others; the exit code is 1 if any planned
    result is missing.
    """
    from cellgauge.cli import background, perform

    chosen = setup.settings(
        engine=engine,
        jobs=jobs,
        timeout=timeout,
        gpus=gpus,
        retries=retries,
        results=results,
        catalog=catalogs,
        models_path=models_path,
    )
    more: dict[str, Any] = {"share_gpus": share_gpus, "warm": warm, "refresh": refresh, "limit_cells": limit_cells}
    more |= {"controls": controls, "retries": chosen.retries, "jobs": chosen.jobs}
    asked = _asked(models, datasets, tasks, seeds, assignments, chosen.gpus, limits, chosen.timeout, allow, **more)
    if detach:
        raise typer.Exit(background.start(chosen, as_json=as_json))
    raise typer.Exit(perform.perform(asked, chosen, run_id=run_id, events=events, as_json=as_json))


def plan(
    models: options.Models,
    datasets: options.Datasets,
    tasks: options.Tasks = ALL,
    seeds: options.Seeds = SEEDS,
    assignments: options.Assignments = None,
    engine: options.EngineName = None,
    gpus: options.Gpus = None,
    limit_cells: options.LimitCells = None,
    allow: options.Allow = None,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
) -> None:
    """Show what `run` would do: what runs, what is reused, what is skipped and why. Builds and runs nothing."""
    from cellgauge import pipeline, store
    from cellgauge.report import outline

    chosen = setup.settings(engine=engine, gpus=gpus, results=results, catalog=catalogs, models_path=models_path)
    asked = _asked(models, datasets, tasks, seeds, assignments, chosen.gpus, None, None, allow, limit_cells=limit_cells)
    prepared, _ = setup.prepare(asked, chosen, setup.present(setup.engine(chosen), chosen), pull=False)
    reuse = pipeline.reusable(prepared.plan, store.Store(chosen.results))
    lacking = pipeline.lacking(prepared, setup.cache(chosen))
    found = outline.make(prepared.plan, reuse, lacking, prepared.unpulled)
    if as_json:
        show_json(found)
    else:
        out.print(outline.render(found))


def explain(
    model: Annotated[str, typer.Argument(help="A model, or `pca:VARIANT`.")],
    dataset: Annotated[str, typer.Argument(help="A dataset.")],
    task: Annotated[str, typer.Argument(help="A task; every one by default.")] = "all",
    seeds: options.Seeds = SEEDS,
    assignments: options.Assignments = None,
    engine: options.EngineName = None,
    gpus: options.Gpus = None,
    limit_cells: options.LimitCells = None,
    allow: options.Allow = None,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
) -> None:
    """Say why a result is or is not used again, field by field of what makes it this result and no other."""
    from cellgauge import pipeline, store
    from cellgauge.report import explanation

    chosen = setup.settings(engine=engine, gpus=gpus, results=results, catalog=catalogs, models_path=models_path)
    asked = _asked(
        [model], [dataset], [task], seeds, assignments, chosen.gpus, None, None, allow, limit_cells=limit_cells
    )
    prepared, _ = setup.prepare(asked, chosen, setup.present(setup.engine(chosen), chosen), pull=False)
    kept = store.Store(chosen.results)
    found = explanation.make(prepared.plan, kept, pipeline.reusable(prepared.plan, kept))
    if as_json:
        show_json(found)
    else:
        out.print(explanation.render(found))


def _asked(
    models: list[str],
    datasets: list[str],
    tasks: list[str],
    seeds: list[str],
    assignments: list[str] | None,
    gpus: str,
    limits: list[str] | None,
    timeout: float | None,
    allow: list[str] | None,
    **more: Any,
) -> "Asked":
    from cellgauge.specs import Asked, relaxations

    changes = options.changes(limits)
    if timeout is not None and changes.time is None:
        changes = changes.model_copy(update={"time": timeout})
    return Asked(
        models=tuple(options.split(models)),
        datasets=tuple(options.split(datasets)),
        tasks=tuple(options.split(tasks)),
        seeds=tuple(options.seeds(seeds)),
        assignments=tuple(assignments or ()),
        gpus=gpus,
        allow=relaxations(options.split(allow or [])),
        changes=changes,
        **more,
    )
