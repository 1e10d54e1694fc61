"""`cellgauge retry` and `cellgauge reproduce`: what failed once more, and what succeeded once more to compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.specs import RunRecord
    from cellgauge.store import Store


def retry(
    run: Annotated[str, typer.Argument(help="A run's id, or its first characters; `latest` by default.")] = "latest",
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="Only what ended so: `timeout,infrastructure`; whatever failed by default."),
    ] = None,
    engine: options.EngineName = None,
    limits: options.Limit = None,
    gpus: options.Gpus = None,
    results: options.Results = None,
    as_json: options.Json = False,
) -> None:
    """Run again only what failed in a run, as it was asked for then, with other limits if you like."""
    from cellgauge import named
    from cellgauge import plan as planning
    from cellgauge.cli import perform
    from cellgauge.errors import UsageError
    from cellgauge.report import document
    from cellgauge.specs import Changes, State
    from cellgauge.store import REUSABLE, Store

    known = [state for state in get_args(State) if state not in REUSABLE]
    wanted = options.split(states or []) or known
    for state in wanted:
        if state not in known:
            raise UsageError(f"nothing that failed is in state '{state}'", f"Known: {', '.join(known)}.")
    found = named.run(run, Store(setup.settings(results=results).results))
    if found.asked is None:
        raise UsageError(f"run {found.id} was made by an earlier cellgauge", "Give its command again.")
    places = {name: [Path(path) for path in paths] for name, paths in found.places.items()}
    chosen = setup.settings(engine=engine or found.engine, gpus=gpus, results=results, **places)
    store = Store(chosen.results)
    entries = document.collect(found, store)
    bad = {entry.job for entry in entries.results if entry.state in wanted}
    only = tuple(planning.place(job) for job in found.plan.jobs if job.id in bad)
    if not only:
        what = f"ended as {', '.join(wanted)}" if states else "failed"
        out.print(f"nothing {what} in run {found.id}", soft_wrap=True)
        raise typer.Exit(0 if entries.complete else 1)
    say(f"{len(only)} of {len(found.plan.jobs)} jobs are tried again")
    changed = Changes.parse(options.split(limits or [])).model_dump(exclude_none=True)
    changes = found.asked.changes.model_copy(update=changed)
    asked = found.asked.model_copy(
        update={"only": only, "refresh": False, "changes": changes, "gpus": gpus or found.asked.gpus}
    )
    raise typer.Exit(perform.perform(asked, chosen, as_json=as_json))


def reproduce(
    result: Annotated[str, typer.Argument(help="A job's id, or its first characters.")],
    engine: options.EngineName = None,
    gpus: options.Gpus = None,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    models_path: options.ModelFolders = None,
    as_json: options.Json = False,
) -> None:
    """Run a finished job again, from the same image, data and seed, and compare output and scores.

    The exit code is 0 if they agree as far as the model's manifest says that they should.
    """
    from cellgauge import catalog, reproduce
    from cellgauge.cli.live import catch
    from cellgauge.engines import Cancel
    from cellgauge.errors import Interrupted, UsageError
    from cellgauge.report import difference
    from cellgauge.specs import Asked
    from cellgauge.store import Store

    store = Store(setup.settings(results=results).results)
    record = _record(store, result)
    run = store.run(record.run)
    places = {name: [Path(path) for path in paths] for name, paths in (run.places if run else {}).items()}
    places |= {name: given for name, given in (("catalog", catalogs), ("models_path", models_path)) if given}
    chosen = setup.settings(engine=engine or record.engine, gpus=gpus, results=results, **places)
    isolation = setup.engine(chosen)
    name = record.job.model
    folders = setup.folders(chosen)
    models = catalog.models(folders, only=catalog.pick("model", [name], catalog.manifests(folders)))
    specs = catalog.pick("dataset", [one.name for one in record.job.datasets], catalog.datasets(setup.catalogs(chosen)))
    asked = Asked(models=(name,), datasets=tuple(specs), gpus="none" if record.job.device == "cpu" else chosen.gpus)
    site = setup.site(asked, chosen, [models[name]])
    if lacks := site.lacks(models[name]):
        raise UsageError(f"{name} cannot run: {lacks}")
    if site.device(models[name]) != record.job.device:
        raise UsageError(f"it ran on the {record.job.device}, and --gpus says otherwise")
    cancel = Cancel()
    catch(cancel)
    image_of = setup.present(isolation, chosen)
    found = reproduce.reproduce(record, models[name], specs, store, isolation, site, chosen.cache, image_of, cancel)
    if cancel.asked:
        raise Interrupted("stopped on request")
    if as_json:
        show_json(found)
    else:
        out.print(difference.render(found))
    raise typer.Exit(0 if found.agrees else 1)


def _record(store: "Store", result: str) -> "RunRecord":
    from cellgauge import named
    from cellgauge.errors import UsageError

    job = named.job_id(result, store)
    record = store.record(job) if job else None
    if record is None:
        raise named.nothing("job", result, store)
    if record.state != "ok":
        raise UsageError(f"job {record.job.id} ended as {record.state}", "Only a finished one can be compared.")
    return record
