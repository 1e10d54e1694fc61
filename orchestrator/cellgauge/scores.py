"""Keeps results: one file a score, and its small arrays beside it. A part of the results folder, see `store`."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from cellgauge import arrays
from cellgauge.disk import explained
from cellgauge.errors import StorageError
from cellgauge.specs import REUSABLE, RunRecord, Scoring, TaskResult
from cellgauge_model.contract import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

M = TypeVar("M", bound=BaseModel)
REPLICATES = "replicates/"
"""Before a score's number among its result's: the name of its replicates among the arrays."""


@dataclass(frozen=True)
class Scores:
    """The results of a results folder."""

    root: Path

    def _make(self, folder: Path) -> None:
        """Make a folder that those may write who may write the results folder."""
        try:
            folder.mkdir()
            folder.chmod(self.root.stat().st_mode & 0o2777)
        except FileExistsError:
            pass

    def _locked(self, kind: str = "jobs") -> FileLock:
        return FileLock(self.root / kind / ".lock", mode=0o666)  # of a results folder that several users share

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

    def keep_trace(self, scoring_id: str, text: str) -> Path | None:
        """Write where a task failed beside its result, and name that file below the folder; without any, remove it."""
        path = self._score_file(scoring_id).with_suffix(".txt")
        with explained(path):
            if not text:
                path.unlink(missing_ok=True)
                return None
            self._make(path.parent)
            write_atomically(path, text)
        return path.relative_to(self.root)

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
        return read(self._score_file(scoring_id), TaskResult)

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


def read(path: Path, kind: type[M]) -> M | None:
    """Read a file of a results folder; None where there is none.

    Raises
    ------
    StorageError
        If it cannot be read, or is not what it should be.
    """
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
