"""Remembers how long jobs took, for the order and the estimate of the next run."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from cellgauge.specs import Job, RunRecord

UNKNOWN = float("inf")
LATEST = 4 << 20
"""Bytes that are read of the file, from its end."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class History:
    """How long each model variant took on a dataset and device the last time, in seconds."""

    last: Mapping[Key, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what was noted; a line that cannot be read is left out."""
        try:
            with path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LATEST))
                lines = file.read().splitlines()
        except OSError:  # it only advises
            return cls()
        found = {}
        for text in lines:
            with suppress(ValueError, KeyError, TypeError):  # a line cut in half
                line = json.loads(text)
                found[line["model"], line["dataset"], line["device"]] = float(line["seconds"])
        return cls(found)

    def expected(self, job: Job) -> float:
        """Guess how long a job takes: as the last time, or as that model on other datasets; infinite if never seen."""
        key = _key(job)
        model, _, device = key
        return self.last[key] if key in self.last else self._means.get((model, device), UNKNOWN)

    @cached_property
    def _means(self) -> dict[tuple[str, str], float]:
        each: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (model, _, device), seconds in self.last.items():
            each[model, device].append(seconds)
        return {key: sum(seconds) / len(seconds) for key, seconds in each.items()}


def note(path: Path, record: RunRecord) -> None:
    """Add how long a job took; of several in one start, each takes its share."""
    model, dataset, device = _key(record.job)
    seconds = round(sum(record.seconds.values()) / max(1, len(record.together)), 2)
    line = {"model": model, "dataset": dataset, "device": device, "seconds": seconds}
    with suppress(OSError), path.open("a", encoding="utf-8") as file:  # it only advises
        file.write(json.dumps(line) + "\n")  # one short write, so that lines of several writers do not mix


def _key(job: Job) -> Key:
    return f"{job.model}:{job.variant}", ",".join(one.name for one in job.datasets), job.device
