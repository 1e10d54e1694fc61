"""Shows all that is known of one job: what it is, what became of it, its scores, and how it starts again."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cellgauge import joint
from cellgauge.report import label
from cellgauge.specs import Coverage, GpuUse, RunRecord, TaskResult
from cellgauge.store import Store
from cellgauge.words import printable


def render(record: RunRecord, store: Store) -> RenderableType:
    """Lay it out for a terminal."""
    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in {**_facts(record), **_runtime(record, store)}.items():
        if value not in ("", None):
            table.add_row(name, Text(str(value)))
    scores = _scores(record, store)
    tail = [Text(f"  {line}", style="dim") for line in record.log_tail]
    return Group(table, *([scores] if scores else []), *tail)


def _facts(record: RunRecord) -> dict[str, object]:
    """What a job is, and what became of it."""
    job = record.job
    return {
        "job": job.id,
        "what": label.job(job),
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
        "genes": ", ".join(f"{item.name} {_named(item.genes)}" for item in record.items if item.genes),
        "warnings": "; ".join(printable(text) for item in record.items for text in item.warnings),
        "output": ", ".join(f"{item.name} {' x '.join(map(str, item.shape))}" for item in record.items if item.shape),
    }


def _named(genes: Coverage) -> str:
    return f"{genes.kept:,} of {genes.given:,} named{', by conversion of their ids' if genes.converted else ''}"


def _runtime(record: RunRecord, store: Store) -> dict[str, object]:
    """Where a job ran, within which limits, and what it used."""
    return {
        "device": record.job.device,
        "gpus": ", ".join(f"{one.name} {one.uuid}, driver {one.driver}, {_peak(one)}" for one in record.gpus),
        "engine": f"{record.engine} ({record.engine_version})",
        "sandbox": ", ".join(f"{name}: {value}" for name, value in record.sandbox.items()),
        "allowed": ", ".join(record.job.allow),
        "limits": ", ".join(f"{name} {value:g}" for name, value in _limits(record).items()),
        "exit code": record.exit_code,
        "started": record.started,
        "seconds": ", ".join(f"{phase} {seconds:g}" for phase, seconds in record.seconds.items()),
        "used": _used(record),
        "machine": f"{record.host}, {record.machine.cpu}, {record.machine.system}" if record.machine else record.host,
        "packages": store.root / "environments" / f"{record.packages}.txt" if record.packages else "",
        "folder": store.job_folder(record.job.id).absolute(),
    }


def _scores(record: RunRecord, store: Store) -> Table | None:
    """List the scores of the output that is kept; of one scored with several versions of a task, the latest."""
    latest: dict[tuple[str, str], TaskResult] = {}
    for result in _of(record, store):
        before = latest.get(at := (result.scoring.dataset, result.scoring.task))
        if before is None or before.run <= result.run:  # ids begin with the time
            latest[at] = result
    if not any(result.scores for result in latest.values()):
        return None
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("dataset", "task", "metric", "value", "interval"):
        table.add_column(name, overflow="fold")
    for (dataset, task), result in sorted(latest.items()):
        for score in result.scores:
            params = ", ".join(f"{name}={value}" for name, value in score.params.items())
            metric = f"{score.metric} ({params})" if params else score.metric
            span = "" if score.low is None else f"{score.low:.4g} to {score.high:.4g}, {score.n_units:,} {score.unit}"
            table.add_row(dataset, task, Text(metric), f"{score.value:.6g}", span)
    return table


def _of(record: RunRecord, store: Store) -> Iterator[TaskResult]:
    """Every result of a job, whichever run scored it."""
    for one in store.results():
        of = joint.record(one.scoring, store.intact) if record.job.id in one.scoring.jobs else None
        if of and (result := store.score_of(one.scoring, of)):
            yield result


def _limits(record: RunRecord) -> dict[str, float]:
    return record.limits.model_dump() if record.limits else {}


def _used(record: RunRecord) -> str:
    used = record.used
    told = [f"{used.cpu_seconds:g} CPU seconds"] if used.cpu_seconds is not None else []
    told += [f"{used.peak_memory / 2**20:,.0f} MiB at most"] if used.peak_memory else []
    return ", ".join(told)


def _peak(one: GpuUse) -> str:
    return f"{one.peak_memory_mb:,} of {one.memory_mb:,} MiB" if one.peak_memory_mb is not None else "memory not seen"
