"""Keeps finished work as plain files: one folder a job, one file a score, one file a run.

::

    jobs/<first two>/<job id>/   input/request.json  output/<item>/…  log.txt  attempts/…  record.json
    jobs/.<job id>~<owner>~…/    a job that runs
    scores/<first two>/<scoring id>.json     and its small arrays beside it: .<first of their checksum>.npz
    runs/<run id>.json           and what happened in it: .events.jsonl; what a detached one says: .log
    environments/<hash>.txt      what is installed where models ran
    history.jsonl                how long jobs took

Everything is written beside its place and renamed into it, so a reader sees all of a thing or nothing.
"""

import hashlib
import secrets
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from cellgauge import arrays, attempts, disk, environments, owner
from cellgauge.attempts import RECORD
from cellgauge.disk import explained
from cellgauge.errors import StorageError
from cellgauge.history import History, note
from cellgauge.specs import REUSABLE, Run, RunRecord, Scoring, TaskResult
from cellgauge_model.contract import CELLS, EMBEDDING, PREDICTION, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

M = TypeVar("M", bound=BaseModel)
REPLICATES = "replicates/"
"""Before a score's number among its result's: the name of its replicates among the arrays."""
ASIDE = ".aside"
HISTORY = "history.jsonl"


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
            if not self.root.exists():
                self.root.mkdir(parents=True, exist_ok=True)
            for name in ("jobs", "scores", "runs"):
                self._make(self.root / name)
            probe = self.root / f".probe-{secrets.token_hex(4)}"
            try:
                write_atomically(probe, "x" * 4096)
            finally:
                probe.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Make a folder that those may write who may write the results folder."""
        try:
            folder.mkdir()
            folder.chmod(self.root.stat().st_mode & 0o2777)
        except FileExistsError:
            pass

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

    def _locked(self, kind: str = "jobs") -> FileLock:
        return FileLock(self.root / kind / ".lock", mode=0o666)  # of a results folder that several users share

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
        return _read(self.job_folder(job_id) / RECORD, RunRecord)

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

    def _score_file(self, scoring_id: str) -> Path:
        return self.root / "scores" / scoring_id[:2] / f"{scoring_id}.json"

    def keep_result(self, result: TaskResult, small: "Mapping[str, NDArray[Any]] | None" = None) -> TaskResult:
        """Write a result, and the small arrays that belong to it beside it; give it with their checksum in it."""
        path = self._score_file(result.scoring.id)
        content = arrays.pack(small) if small else b""
        result = result.model_copy(update={"arrays": hashlib.sha256(content).hexdigest() if content else ""})
        beside = self._arrays_file(result)
        with explained(path):
            self._make(path.parent)
            with self._locked("scores"):  # or one of two writers would remove the other's arrays as old ones
                if content:
                    arrays.write(beside, content)
                write_atomically(path, result.model_dump_json(indent=2))
                for old in path.parent.glob(f"{path.stem}.*.npz"):
                    if old != beside:
                        old.unlink(missing_ok=True)
        return result

    def _arrays_file(self, result: TaskResult) -> Path:
        return self._score_file(result.scoring.id).with_suffix(f".{result.arrays[:12]}.npz")

    def arrays(self, result: TaskResult, wanted: Collection[str] | None = None) -> "dict[str, NDArray[Any]]":
        """Read the small arrays of a result, by name; nothing where they are gone, or not those that were kept."""
        try:
            content = self._arrays_file(result).read_bytes() if result.arrays else b""
            if content and hashlib.sha256(content).hexdigest() == result.arrays:
                return arrays.unpack(content, wanted)
        except (OSError, ValueError):
            pass
        return {}

    def replicates(self, result: TaskResult, number: int) -> "NDArray[Any] | None":
        """Read what a score of a result is on each of its resamples; None where that is not kept."""
        name = f"{REPLICATES}{number}"
        return self.arrays(result, [name]).get(name)

    def result(self, scoring_id: str) -> TaskResult | None:
        return _read(self._score_file(scoring_id), TaskResult)

    def intact_result(self, scoring_id: str) -> TaskResult | None:
        """Read a result; None also where it is damaged, since it is computed again then."""
        try:
            return self.result(scoring_id)
        except StorageError:
            return None

    def score_of(self, scoring: Scoring, record: RunRecord) -> TaskResult | None:
        """Read a result, if it is of the very output that a record tells of: a job that ran twice may have given two.

        One that failed before it was scored is of no output, and comes back too.
        """
        result = self.intact_result(scoring.id)
        if result is None or result.output == record.output_of(scoring.dataset):
            return result
        return None if result.output or result.state in REUSABLE else result

    def results(self) -> Iterator[TaskResult]:
        """Every result that can be read."""
        for path in sorted((self.root / "scores").glob("[!.]*/[!.]*.json")):
            result = self.intact_result(path.stem)
            if result is not None:
                yield result

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
        return _read(self.root / "runs" / f"{run_id}.json", Run)

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
