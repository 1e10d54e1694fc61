"""Carries earlier tries at a job, and their logs, from one record to the next."""

from contextlib import suppress
from pathlib import Path

from cellgauge.specs import Attempt, RunRecord
from cellgauge_model.contract import write_atomically

RECORD = "record.json"
KEPT_ATTEMPTS = 20


def note(record: RunRecord, before: RunRecord, place: Path, folder: Path) -> None:
    """Write an attempt that failed into the record of the good one that stays, and keep its log."""
    log = f"attempts/{record.run or 'run'}.txt"
    with suppress(OSError):
        (place / "attempts").mkdir(exist_ok=True)
        (folder / "log.txt").rename(place / log)
    attempt = _attempt(record, log if (place / log).exists() else "")
    attempts = (*before.attempts, *record.attempts, attempt)[-KEPT_ATTEMPTS:]
    changed = before.model_copy(update={"attempts": attempts})
    write_atomically(place / RECORD, changed.model_dump_json(indent=2))


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


def inherit(record: RunRecord, before: RunRecord, place: Path, folder: Path) -> RunRecord:
    """Take over an earlier attempt, its logs and those before it."""
    kept = folder / "attempts"
    log = f"attempts/{before.run or 'run'}.txt"
    with suppress(OSError):  # a log that cannot be kept is no reason to lose the record
        kept.mkdir(exist_ok=True)
        for path in [*(place / "attempts").glob("*"), place / "log.txt"]:
            target = folder / log if path.name == "log.txt" else kept / path.name
            if path.exists() and not target.exists():
                path.rename(target)
    earlier = _attempt(before, log if (folder / log).exists() else "")
    return record.model_copy(update={"attempts": (*before.attempts, earlier, *record.attempts)[-KEPT_ATTEMPTS:]})
