"""Keeps finished work as plain files: one folder a job, one file a score, one file a run.

::

    jobs/<first two>/<job id>/   input/request.json  output/<item>/…  log.txt  attempts/…  record.json
    jobs/.<job id>~<owner>~…/    a job that runs
    scores/<first two>/<scoring id>.json     and its small arrays beside it: .<first of their checksum>.npz
                                             or, of a task that failed, where: .txt
    runs/<run id>.json           and what happened in it: .events.jsonl; what a detached one says: .log
    environments/<hash>.txt      what is installed where models ran
    history.jsonl                how long jobs took

Everything is written beside its place and renamed into it, so a reader sees all of a thing or nothing.
"""

import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cellgauge import attempts, disk, environments, owner
from cellgauge.attempts import RECORD
from cellgauge.disk import explained
from cellgauge.errors import StorageError
from cellgauge.history import History, note
from cellgauge.scores import REPLICATES as REPLICATES
from cellgauge.scores import Scores, read
from cellgauge.specs import REUSABLE, Run, RunRecord
from cellgauge_model.contract import CELLS, EMBEDDING, PREDICTION, write_atomically

if TYPE_CHECKING:
    pass

ASIDE = ".aside"
HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Store(Scores):
    """A results folder."""

    def prepare(self) -> None:
        """Make the folder and try to write into it, before any work is done.

        Raises
        ------
        StorageError
            If it cannot be written, or the disk is full.
        """
        with explained(self.root):
            if not self.root.exists():
                self.root.mkdir(parents=True, exist_ok=True)
            for name in ("jobs", "scores", "runs"):
                self._make(self.root / name)
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
        folder = self._hidden(job_id)
        with explained(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)  # nobody else runs what a model left there, setuid perhaps, before it is looked at
        try:
            yield folder
        finally:
            disk.remove(folder)

    def _hidden(self, job_id: str, kind: str = "") -> Path:
        """Name a folder after who made it, so that another can tell whether it is left over."""
        return self.root / "jobs" / f".{job_id}{kind}~{owner.me().token}~{secrets.token_hex(4)}"

    def keep(self, folder: Path, record: RunRecord, *, refresh: bool = False) -> RunRecord:
        """Write a job's record and move its folder into its place, replacing an attempt that failed.

        Parameters
        ----------
        refresh
            True: a good one is replaced by another good one, and never by one that failed.

        Returns
        -------
        The record that is in that place now: another's, if somebody else finished the same job first. With `refresh`
        a record that failed comes back as it is, though the good one stays.
        """
        place = self.job_folder(record.job.id)
        with explained(place):
            self._make(place.parent)
            with self._locked():
                before = self.intact(record.job.id)
                if before is not None and self.whole(before):
                    if not refresh:
                        return before
                    if record.state not in REUSABLE:
                        attempts.note(record, before, place, folder)
                        return record
                elif before is not None:
                    record = attempts.inherit(record, before, place, folder)
                write_atomically(folder / RECORD, record.model_dump_json(indent=2))
                folder.chmod(self.root.stat().st_mode & 0o2777)
                if self.root.stat().st_mode & stat.S_IWGRP:
                    disk.share(folder)  # a colleague's next attempt may have to replace it
                with self._aside(place):
                    folder.rename(place)
        return record

    @contextmanager
    def _aside(self, place: Path) -> Iterator[None]:
        """Make room for a folder, since one that is not empty cannot be renamed over."""
        old = self._hidden(place.name, ASIDE)
        if place.exists():
            place.rename(old)
        try:
            yield
        except OSError:
            if old.exists():
                old.rename(place)  # the good one, which nothing has come in the place of
            raise
        if old.exists():
            disk.remove(old)

    def sweep(self) -> list[str]:
        """Remove what this user's dead processes left of jobs, and say what it was.

        A finished job that was being replaced when the process died is put back.
        """
        found = []
        for folder in (self.root / "jobs").glob(".*~*"):
            name, _, rest = folder.name[1:].partition("~")
            whose = owner.Owner.parse(rest.rpartition("~")[0])
            if whose is None or not whose.abandoned():
                continue
            place = self.job_folder(name.removesuffix(ASIDE))
            with explained(folder), self._locked():
                if name.endswith(ASIDE) and not place.exists():
                    folder.rename(place)
                else:
                    disk.remove(folder)
            found.append(f"folder {folder.name.partition('~')[0]}")
        return found

    def record(self, job_id: str) -> RunRecord | None:
        return read(self.job_folder(job_id) / RECORD, RunRecord)

    def intact(self, job_id: str) -> RunRecord | None:
        """Read a job's record; None also where it is damaged, since it is computed again then."""
        try:
            return self.record(job_id)
        except StorageError:
            return None

    def whole(self, record: RunRecord) -> bool:
        """Tell whether a job need not run again: it came to its end, and what it wrote is still there."""
        if record.state != "ok":
            return record.state in REUSABLE
        folder = self.job_folder(record.job.id) / "output"
        names = (EMBEDDING, CELLS) if record.job.verb == "embed" else (PREDICTION,)
        return all((folder / item.name / name).exists() for item in record.items for name in names)

    def packages(self, image: str, ask: Callable[[str], Sequence[str]]) -> str:
        """Keep what is installed in an image, each list once, and return the hash that names the list.

        Parameters
        ----------
        ask
            Tells what is installed in an image; called once an image.
        """
        return environments.keep(self.root / "environments", image, ask, self._make)

    def note(self, record: RunRecord) -> None:
        """Note how long a job took."""
        note(self.root / HISTORY, record)

    def history(self) -> History:
        """Tell how long jobs took."""
        return History.read(self.root / HISTORY)

    def run_file(self, run_id: str, kind: str) -> Path:
        """Name a file that belongs to a run: `events.jsonl` or `log`."""
        return self.root / "runs" / f"{run_id}.{kind}"

    def keep_run(self, run: Run) -> Path:
        path = self.root / "runs" / f"{run.id}.json"
        with explained(path):
            write_atomically(path, run.model_dump_json(indent=2))
        return path

    def run(self, run_id: str) -> Run | None:
        return read(self.root / "runs" / f"{run_id}.json", Run)

    def run_ids(self) -> list[str]:
        """Every run's id, oldest first."""
        return sorted(path.stem for path in (self.root / "runs").glob("*.json"))

    def job_logs(self, start: str) -> dict[str, Path]:
        """Find the logs of jobs, running or ended, whose ids begin so; of one that runs again, the running one."""
        folders = [*(self.root / "jobs").glob(f".{start}*~*"), *(self.root / "jobs").glob(f"[!.]*/{start}*")]
        found: dict[str, Path] = {}
        for folder in folders:
            name = folder.name.lstrip(".").partition("~")[0]
            if not name.endswith(ASIDE):
                found.setdefault(name, folder / "log.txt")
        return found

    def job_ids(self) -> list[str]:
        return sorted(path.parent.name for path in (self.root / "jobs").glob(f"[!.]*/[!.]*/{RECORD}"))


def now_utc() -> str:
    """The time as results record it."""
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run_id() -> str:
    """A name that sorts by time and is unlike that of another process."""
    from datetime import UTC, datetime

    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
