"""Carries earlier tries at a job, and their logs, from one record to the next."""

from contextlib import suppress
from pathlib import Path

from cellgauge.specs import Attempt, RunRecord
from cellgauge_model.contract import write_atomically

RECORD = "record.json"
KEPT_ATTEMPTS = 20


def log(run: str) -> str:
    """Name the log of a run that ended at a job and gave way to another, within the job's folder."""
    return f"attempts/{run or 'run'}.txt"


def note(record: RunRecord, before: RunRecord, place: Path, folder: Path) -> None:
    """Write an attempt that failed into the record of the good one that stays, and keep its logs."""
    attempt = _attempt(record, _moved(folder, place, record.run))
    attempts = (*before.attempts, *record.attempts, attempt)[-KEPT_ATTEMPTS:]
    changed = before.model_copy(update={"attempts": attempts})
    write_atomically(place / RECORD, changed.model_dump_json(indent=2))


def inherit(record: RunRecord, before: RunRecord, place: Path, folder: Path) -> RunRecord:
    """Take over an earlier attempt, its logs and those before it."""
    earlier = _attempt(before, _moved(place, folder, before.run))
    return record.model_copy(update={"attempts": (*before.attempts, earlier, *record.attempts)[-KEPT_ATTEMPTS:]})


def _moved(source: Path, target: Path, run: str) -> str:
    """Move a run's logs from a job's folder to the earlier ones of another; name its last, if there is one."""
    name = log(run)
    with suppress(OSError):  # a log that cannot be kept is no reason to lose the record
        (target / "attempts").mkdir(exist_ok=True)
        for path in [*(source / "attempts").glob("*"), source / "log.txt"]:
            kept = target / (name if path.name == "log.txt" else f"attempts/{path.name}")
            if path.exists() and not kept.exists():
                path.rename(kept)
    return name if (target / name).exists() else ""


def _attempt(record: RunRecord, log: str) -> Attempt:
    return Attempt(
        run=record.run,
        state=record.state,
        phase=record.phase,
        reason=record.reason,
        exit_code=record.exit_code,
        started=record.started,
        seconds=record.seconds,
        log=log,
    )
