"""`cellgauge show` and `compare`: a run's table, one job in full, or two models side by side."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options
from cellgauge.cli.output import out, show_json

if TYPE_CHECKING:
    from cellgauge.specs import RunRecord
    from cellgauge.store import Store


def show(
    result: Annotated[
        str, typer.Argument(help="A run's id, or the first characters of a job's; `latest` run by default.")
    ] = "latest",
    results: options.Results = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a run as a CSV table: a line a number.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the table of a run, or all that is known of one job."""
    from cellgauge import catalog, named, settings
    from cellgauge.errors import UsageError
    from cellgauge.report import document, progress, sheet, table
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    if named.run_id(result, store):
        tasks = catalog.tasks()
        found = document.collect(named.run(result, store), store, tasks)
        if as_csv:
            sys.stdout.write(sheet.write(found))
        else:
            show_json(found) if as_json else out.print(table.render(found, tasks))
        return
    if as_csv:
        raise UsageError("--csv is for the table of a run", "See: cellgauge show latest --csv")
    job = named.job_id(result, store, progress.running(store))
    record = store.record(job) if job else None
    if record is not None:
        show_json(record) if as_json else _show_job(record, store)
    elif job:
        raise UsageError(f"job {job} runs now", f"See: cellgauge logs -f {job[:8]}")
    else:
        raise named.nothing("run or job", result, store)


def compare(
    first: Annotated[str, typer.Argument(help="A model as the table names it: `pca`, `pca:VARIANT`.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    run: Annotated[str, typer.Argument(help="A run's id, or its first characters.")] = "latest",
    every: Annotated[bool, typer.Option("--all", help="Every score, and not only those that the table shows.")] = False,
    results: options.Results = None,
    as_json: options.Json = False,
) -> None:
    """Compare two models of a run in pairs, on the same resamples: which is better, and where that cannot be told."""
    from cellgauge import catalog, named, settings
    from cellgauge.report import versus
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    tasks = catalog.tasks()
    found = versus.make(named.run(run, store), first, second, store, tasks, every=every)
    show_json(found) if as_json else out.print(versus.render(found, tasks))


def _show_job(record: "RunRecord", store: "Store") -> None:
    from cellgauge.engines.launch import quote
    from cellgauge.report import job

    out.print(job.render(record, store))
    if record.replay and record.state not in ("ok", "cancelled"):
        folder = str(store.job_folder(record.job.id).absolute())
        out.print("again by hand:", style="bold")
        out.print(quote(word.replace("{job}", folder) for word in record.replay), markup=False, soft_wrap=True)
