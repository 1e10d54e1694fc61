"""Keeps finished work as plain files: one folder a job, one file a score, one file a run.

::

    jobs/<first two>/<job id>/   input/request.json  output/<item>/…  log.txt  record.json
    scores/<first two>/<scoring id>.json
    runs/<run id>.json

Everything is written beside its place and renamed into it, so a reader sees all of a thing or nothing.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from cellgauge.disk import explained
from cellgauge.errors import StorageError
from cellgauge.specs import Run, RunRecord, TaskResult
from cellgauge_model.contract import EMBEDDING, PREDICTION, write_atomically

M = TypeVar("M", bound=BaseModel)
RECORD = "record.json"
REUSABLE = ("ok", "not_applicable")
"""States that another attempt would not change."""


@dataclass(frozen=True)
class Store:
    """A results folder."""

    root: Path

    def prepare(self) -> None:
        """Make the folder and try to write into it, before any work is done.

        Raises
        ------
        StorageError
            If it cannot be written, or the disk is full.
        """
        with explained(self.root):
            for name in ("jobs", "scores", "runs"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{secrets.token_hex(4)}"
            try:
                write_atomically(probe, "x" * 4096)
            finally:
                probe.unlink(missing_ok=True)

    def job_folder(self, job_id: str) -> Path:
        return self.root / "jobs" / job_id[:2] / job_id

    @contextmanager
    def workspace(self, job_id: str) -> Iterator[Path]:
        """Make a folder to work in; what is left of it afterwards is removed."""
        folder = self.root / "jobs" / f".{job_id}-{secrets.token_hex(4)}"
        with explained(folder):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path, record: RunRecord) -> RunRecord:
        """Write a job's record and move its folder into its place, replacing an attempt that failed.

        Returns
        -------
        The record that is in that place now: another's, if somebody else finished the same job first.
        """
        place = self.job_folder(record.job.id)
        with explained(place):
            write_atomically(folder / RECORD, record.model_dump_json(indent=2))
            place.parent.mkdir(exist_ok=True)
            with FileLock(self.root / "jobs" / ".lock"):
                before = self.record(record.job.id)
                if before is not None and before.state == "ok" and self.whole(before):
                    return before
                with self._aside(place):
                    folder.rename(place)
        return record

    @contextmanager
    def _aside(self, place: Path) -> Iterator[None]:
        """Make room for a folder, since one that is not empty cannot be renamed over."""
        old = place.parents[1] / f".{place.name}-{secrets.token_hex(4)}"
        if place.exists():
            place.rename(old)
        yield
        shutil.rmtree(old, ignore_errors=True)

    def record(self, job_id: str) -> RunRecord | None:
        return _read(self.job_folder(job_id) / RECORD, RunRecord)

    def whole(self, record: RunRecord) -> bool:
        """Tell whether a job need not run again: it came to its end, and what it wrote is still there."""
        if record.state != "ok":
            return record.state in REUSABLE
        folder, name = self.job_folder(record.job.id), EMBEDDING if record.job.verb == "embed" else PREDICTION
        return all((folder / "output" / item.name / name).exists() for item in record.items)

    def _score_file(self, scoring_id: str) -> Path:
        return self.root / "scores" / scoring_id[:2] / f"{scoring_id}.json"

    def keep_result(self, result: TaskResult) -> None:
        path = self._score_file(result.scoring.id)
        with explained(path):
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, result.model_dump_json(indent=2))

    def result(self, scoring_id: str) -> TaskResult | None:
        return _read(self._score_file(scoring_id), TaskResult)

    def keep_run(self, run: Run) -> Path:
        path = self.root / "runs" / f"{run.id}.json"
        with explained(path):
            write_atomically(path, run.model_dump_json(indent=2))
        return path

    def run(self, run_id: str) -> Run | None:
        return _read(self.root / "runs" / f"{run_id}.json", Run)

    def run_ids(self) -> list[str]:
        """Every run's id, oldest first."""
        return sorted(path.stem for path in (self.root / "runs").glob("*.json"))

    def job_ids(self) -> list[str]:
        return sorted(path.parent.name for path in (self.root / "jobs").glob(f"[!.]*/[!.]*/{RECORD}"))


def _read(path: Path, kind: type[M]) -> M | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StorageError(f"{path}: {problem.strerror}", "Check the folder's permissions.") from problem
    try:
        return kind.model_validate_json(content)
    except ValidationError as problem:
        reason = problem.errors()[0]
        raise StorageError(
            f"{path} is damaged or of another version: {'.'.join(map(str, reason['loc']))}: {reason['msg']}",
            "Delete it to have it computed again.",
        ) from problem


def now_utc() -> str:
    """The time as results record it."""
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run_id() -> str:
    """A name that sorts by time and is unlike that of another process."""
    from datetime import UTC, datetime

    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
