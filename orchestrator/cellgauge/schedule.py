"""Decides what starts next: pure, so that a test can ask it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cellgauge.history import UNKNOWN, History
from cellgauge.specs import Job


@dataclass(frozen=True)
class Start:
    """One start of a model, and the jobs that it does."""

    jobs: tuple[Job, ...]
    gpus: int = 0
    """Devices that it needs."""
    expected: float = UNKNOWN
    """Seconds, from history."""


def starts(jobs: Sequence[Job], gpus: Mapping[str, int], history: History, *, warm: bool = False) -> list[Start]:
    """Put jobs into starts, and those into an order: on GPUs first, and the longest first.

    Parameters
    ----------
    gpus
        Model → devices that it uses at once, where it runs on GPUs.
    warm
        True: all datasets of one model variant, with the same parameters and seed, in one start.
    """
    groups: dict[object, list[Job]] = {}
    for job in jobs:
        rest = job.model_dump_json(exclude={"id", "datasets", "changed"})
        groups.setdefault(rest if warm else job.id, []).append(job)
    found = [
        Start(
            jobs=tuple(group),
            gpus=gpus.get(group[0].model, 1) if group[0].device == "gpu" else 0,
            expected=sum(history.expected(job) for job in group),
        )
        for group in groups.values()
    ]
    return sorted(found, key=lambda start: (not start.gpus, -start.expected))


def pick(waiting: Iterable[Start], running: Sequence[Start], *, slots: int, devices: int) -> Start | None:
    """Pick what can start now: the first, or a later one that needs no GPU where the first has to wait for some.

    No start on GPUs is overtaken by another, so one that needs several devices gets its turn.
    """
    if len(running) >= slots:
        return None
    free = devices - sum(start.gpus for start in running)
    for start in waiting:
        if start.gpus <= free:
            return start
        free = 0
    return None
