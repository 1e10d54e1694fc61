"""Decides what starts next: pure, so that a test can ask it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cellgauge.specs import Job

UNKNOWN = float("inf")


@dataclass(frozen=True)
class Start:
    """One start of a model, and the jobs that it does."""

    jobs: tuple[Job, ...]
    gpus: int = 0
    """Devices that it needs."""
    expected: float = UNKNOWN
    """Seconds, from history."""


def expected(job: Job, history: Mapping[tuple[str, str, str], float]) -> float:
    """Guess how long a job takes: as the last time, or as that model on other datasets; infinite if never seen."""
    model = f"{job.model}:{job.variant}"
    name = ",".join(one.name for one in job.datasets)
    if (model, name, job.device) in history:
        return history[model, name, job.device]
    others = [seconds for (seen, _, device), seconds in history.items() if (seen, device) == (model, job.device)]
    return sum(others) / len(others) if others else UNKNOWN


def starts(
    jobs: Sequence[Job], gpus: Mapping[str, int], history: Mapping[tuple[str, str, str], float], *, warm: bool = False
) -> list[Start]:
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
            expected=sum(expected(job, history) for job in group),
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
