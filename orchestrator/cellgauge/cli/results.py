"""`cellgauge show`: a run's table, or one job in full."""

from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options
from cellgauge.cli.output import out, show_json

if TYPE_CHECKING:
    from cellgauge.specs import GpuUse, RunRecord
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
    from cellgauge.report import document, table
    from cellgauge.store import Store

    store = Store(settings.read(results=results).results)
    if named.run_id(result, store):
        found = document.collect(named.run(result, store), store)
        show_json(found) if as_json else out.print(table.render(found, catalog.tasks()))
        return
    job = named.job_id(result, store)
    record = store.record(job) if job else None
    if record is not None:
        show_json(record) if as_json else _show_job(record, store)
    elif job:
        raise UsageError(f"job {job} runs now", f"See: cellgauge logs -f {job[:8]}")
    else:
        raise named.nothing("run or job", result, store)


def _show_job(record: "RunRecord", store: "Store") -> None:
    from rich.markup import escape
    from rich.table import Table

    from cellgauge.cli.live import label
    from cellgauge.report.words import printable

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    job = record.job
    facts = {
        "job": job.id,
        "what": label(job),
        "state": record.state.replace("_", " "),
        "phase": record.phase,
        "reason": printable(record.reason),
        "attempts": "; ".join(
            f"{one.started[:19]} {one.state} in phase {one.phase}: {printable(one.reason)}"
            + (f" ({one.log})" if one.log else "")
            for one in record.attempts
        ),
        "params": ", ".join(f"{name} = {value}" for name, value in job.params.items()),
        "image": job.image,
        "device": record.job.device,
        "gpus": ", ".join(f"{one.name} {one.uuid}, driver {one.driver}, {_peak(one)}" for one in record.gpus),
        "engine": f"{record.engine} ({record.engine_version})",
        "sandbox": ", ".join(f"{name}: {value}" for name, value in record.sandbox.items()),
        "allowed": ", ".join(job.allow),
        "limits": ", ".join(f"{name} {value:g}" for name, value in _limits(record).items()),
        "exit code": record.exit_code,
        "started": record.started,
        "seconds": ", ".join(f"{phase} {seconds:g}" for phase, seconds in record.seconds.items()),
        "used": _used(record),
        "machine": f"{record.host}, {record.machine.cpu}, {record.machine.system}" if record.machine else record.host,
        "packages": store.root / "environments" / f"{record.packages}.txt" if record.packages else "",
        "warnings": "; ".join(printable(text) for item in record.items for text in item.warnings),
        "output": ", ".join(f"{item.name} {' x '.join(map(str, item.shape))}" for item in record.items if item.shape),
        "folder": store.job_folder(job.id).absolute(),
    }
    for name, value in facts.items():
        if value not in ("", None):
            table.add_row(name, escape(str(value)))
    out.print(table)
    for line in record.log_tail:
        out.print(f"  {escape(line)}", style="dim")
    if record.replay and record.state not in ("ok", "cancelled"):
        from cellgauge.engines.launch import quote

        folder = str(store.job_folder(job.id).absolute())
        out.print("again by hand:", style="bold")
        out.print(quote(word.replace("{job}", folder) for word in record.replay), markup=False, soft_wrap=True)


def _limits(record: "RunRecord") -> dict[str, float]:
    return record.limits.model_dump() if record.limits else {}


def _used(record: "RunRecord") -> str:
    used = record.used
    told = [f"{used.cpu_seconds:g} CPU seconds"] if used.cpu_seconds is not None else []
    told += [f"{used.peak_memory / 2**20:,.0f} MiB at most"] if used.peak_memory else []
    return ", ".join(told)


def _peak(one: "GpuUse") -> str:
    return f"{one.peak_memory_mb:,} of {one.memory_mb:,} MiB" if one.peak_memory_mb is not None else "memory not seen"
