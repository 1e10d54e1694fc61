"""`cellgauge retry` and `cellgauge reproduce`: what failed once more, and what succeeded once more to compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.pipeline import Site
    from cellgauge.report.document import Document
    from cellgauge.settings import Settings
    from cellgauge.specs import DatasetSpec, Model, Run, RunRecord
    from cellgauge.store import Store


def retry(
    run: Annotated[str, typer.Argument(help="A run's id, or its first characters; `latest` by default.")] = "latest",
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="Only what ended so: `timeout,infrastructure`; whatever failed by default."),
    ] = None,
    engine: options.EngineName = None,
    jobs: options.Jobs = None,
    limits: options.Limit = None,
    gpus: options.Gpus = None,
    results: options.Results = None,
    as_json: options.Json = False,
) -> None:
    """Run again only what failed in a run, as it was asked for then, with other limits if you like."""
    from cellgauge import named
    from cellgauge.cli import perform
    from cellgauge.errors import UsageError
    from cellgauge.report import document
    from cellgauge.store import Store

    wanted = _states(states)
    changed = options.changes(limits).model_dump(exclude_none=True)
    found = named.run(run, Store(setup.settings(results=results).results))
    if found.asked is None:
        raise UsageError(f"run {found.id} started no model, or is of an earlier cellgauge", "Give its command again.")
    chosen = setup.settings(engine=engine or found.engine, gpus=gpus, results=results, **_places(found))
    entries = document.collect(found, Store(chosen.results))
    only = _failed_jobs(found, entries, wanted, Store(chosen.results))
    if not only:
        what = f"ended as {', '.join(wanted)}" if states else "failed"
        show_json(entries) if as_json else out.print(f"nothing {what} in run {found.id}", soft_wrap=True)
        raise typer.Exit(0 if entries.complete else 1)
    say(f"{len(only)} of {len(found.plan.jobs)} jobs are tried again")
    asked = found.asked.model_copy(
        update={
            "only": only,
            "refresh": False,
            "changes": found.asked.changes.model_copy(update=changed),
            "gpus": gpus or found.asked.gpus,
            "jobs": jobs or found.asked.jobs,
        }
    )
    raise typer.Exit(perform.perform(asked, chosen, as_json=as_json))


def _states(given: list[str] | None) -> list[str]:
    """Which states are meant: every failure, unless some are named."""
    from cellgauge.errors import UsageError
    from cellgauge.specs import REUSABLE, State

    known = [state for state in get_args(State) if state not in REUSABLE]
    wanted = options.split(given or []) or known
    for state in wanted:
        if state not in known:
            raise UsageError(f"nothing that failed is in state '{state}'", f"Known: {', '.join(known)}.")
    return wanted


def _failed_jobs(run: "Run", entries: "Document", states: Sequence[str], store: "Store") -> tuple[str, ...]:
    """Name the jobs with a result in these states, by what was asked for: a mended model gives them other ids."""
    from cellgauge import plan as planning

    of = {(one.job, one.dataset): one.jobs for one in run.plan.scorings}
    several = [of[entry.job or "", entry.dataset] for entry in entries.results if entry.state in states]
    # Of a group only those that failed, if any did: the others' outputs are used again.
    failed = {job for jobs in several for job in jobs if not ((record := store.intact(job)) and store.whole(record))}
    bad = {job for jobs in several for job in (failed.intersection(jobs) if len(jobs) > 1 else ()) or jobs}
    return tuple(planning.place(job) for job in run.plan.jobs if job.id in bad)


def _places(run: "Run | None") -> dict[str, list[Path]]:
    """Where a run looked for datasets and models."""
    return {name: [Path(path) for path in paths] for name, paths in (run.places if run else {}).items()}


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
    from cellgauge import reproduce
    from cellgauge.cli.live import catch
    from cellgauge.engines import Cancel
    from cellgauge.report import difference
    from cellgauge.store import Store

    store = Store(setup.settings(results=results).results)
    record = _record(store, result)
    given = {name: paths for name, paths in (("catalog", catalogs), ("models_path", models_path)) if paths}
    places = {**_places(store.run(record.run)), **given}
    chosen = setup.settings(engine=engine or record.engine, gpus=gpus, results=results, **places)
    isolation = setup.engine(chosen)
    model, specs, site = _look_up(record, chosen)
    image_of, cache, cancel = setup.present(isolation, chosen), setup.cache(chosen), Cancel()
    catch(cancel)
    found = reproduce.reproduce(record, model, specs, store, isolation, site, cache, image_of, cancel)
    if as_json:
        show_json(found)
    else:
        out.print(difference.render(found))
    raise typer.Exit(0 if found.agrees else 1)


def _look_up(record: "RunRecord", chosen: "Settings") -> "tuple[Model, dict[str, DatasetSpec], Site]":
    """Find what a job was made from, and what it may use here."""
    from cellgauge import catalog, supplies
    from cellgauge.errors import UsageError
    from cellgauge.specs import Asked

    job, folders = record.job, chosen.model_folders
    picked = catalog.pick("model", [job.model], catalog.manifests(folders))
    model = catalog.models(folders, only=picked)[job.model]
    specs = catalog.pick("dataset", supplies.files([job]), catalog.datasets(chosen.catalogs))
    gpus = "none" if job.device == "cpu" else chosen.gpus
    site = setup.site(Asked(models=(job.model,), datasets=tuple(specs), gpus=gpus), chosen, [model])
    if lacks := site.lacks(model):
        raise UsageError(f"{job.model} cannot run: {lacks}")
    if site.device(model) != job.device:
        raise UsageError(f"it ran on the {job.device}, and --gpus says otherwise")
    return model, specs, site


def _record(store: "Store", result: str) -> "RunRecord":
    from cellgauge import named
    from cellgauge.errors import UsageError
    from cellgauge.specs import ELSEWHERE

    job = named.job_id(result, store)
    record = store.record(job) if job else None
    if record is None:
        raise named.nothing("job", result, store)
    if record.job.image.startswith(ELSEWHERE):
        raise UsageError(f"job {record.job.id} was made elsewhere", "Nothing is known of how, so it cannot run again.")
    if record.state != "ok":
        raise UsageError(f"job {record.job.id} ended as {record.state}", "Only a finished one can be compared.")
    return record
