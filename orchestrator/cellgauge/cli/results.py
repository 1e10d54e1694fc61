"""`cellgauge show`: a run's table, or one job in full."""

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
    as_json: options.Json = False,
) -> None:
    """Show the table of a run, or all that is known of one job."""
    from cellgauge import catalog, named, settings
    from cellgauge.errors import UsageError
    from cellgauge.report import document, progress, table
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    if named.run_id(result, store):
        found = document.collect(named.run(result, store), store)
        show_json(found) if as_json else out.print(table.render(found, catalog.tasks()))
        return
    job = named.job_id(result, store, progress.running(store))
    record = store.record(job) if job else None
    if record is not None:
        show_json(record) if as_json else _show_job(record, store)
    elif job:
        raise UsageError(f"job {job} runs now", f"See: cellgauge logs -f {job[:8]}")
    else:
        raise named.nothing("run or job", result, store)


def _show_job(record: "RunRecord", store: "Store") -> None:
    from cellgauge.engines.launch import quote
    from cellgauge.report import job

    out.print(job.render(record, store))
    if record.replay and record.state not in ("ok", "cancelled"):
        folder = str(store.job_folder(record.job.id).absolute())
        out.print("again by hand:", style="bold")
        out.print(quote(word.replace("{job}", folder) for word in record.replay), markup=False, soft_wrap=True)
