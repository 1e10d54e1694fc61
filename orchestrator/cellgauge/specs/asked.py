"""What a person asks for, and what one start of a model may use."""

import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ByteSize, Field, TypeAdapter

from cellgauge.errors import UnknownNameError, UsageError
from cellgauge.specs.base import Relaxation, Spec
from cellgauge.specs.models import Resources

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Limits(Spec):
    """What one start of a model may use."""

    memory_mb: int = Field(gt=0)
    """Without swap."""
    cpus: int = Field(gt=0)
    pids: int = Field(gt=0)
    shm_mb: int = Field(gt=0)
    disk_mb: int = Field(gt=0)
    log_mb: int = Field(gt=0)
    time: float = Field(gt=0)
    """Seconds for the whole start."""
    start: float = Field(gt=0)

    @classmethod
    def of(cls, needs: Resources, cells: Iterable[int], changes: "Changes", cpus: int) -> "Limits":
        """Work out limits from a manifest, the cells of each item, and what was set for this run."""
        counts = list(cells)
        fields = {
            "memory_mb": needs.memory_mb + needs.memory_mb_per_10k_cells * max(counts, default=0) // 10_000,
            "cpus": cpus,
            "pids": needs.pids,
            "shm_mb": needs.shm_mb,
            "disk_mb": needs.disk_mb + needs.disk_mb_per_10k_cells * sum(counts) // 10_000,
            "log_mb": needs.log_mb,
            "time": needs.time_limit,
            "start": needs.start_limit,
        }
        changed = changes.model_dump(exclude_none=True, exclude={"pull"})
        found = cls(**{**fields, **changed})
        return found.model_copy(update={"time": found.time * max(1, len(counts))})


class Changes(Spec):
    """Limits set for this run, instead of the manifest's."""

    memory_mb: int | None = Field(default=None, gt=0)
    cpus: int | None = Field(default=None, gt=0)
    pids: int | None = Field(default=None, gt=0)
    shm_mb: int | None = Field(default=None, gt=0)
    disk_mb: int | None = Field(default=None, gt=0)
    log_mb: int | None = Field(default=None, gt=0)
    time: float | None = Field(default=None, gt=0)
    start: float | None = Field(default=None, gt=0)
    pull: float | None = Field(default=None, gt=0)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Changes":
        """Read `memory=16GB`, `time=2h`, `pids=4096`.

        Raises
        ------
        UsageError
            If a limit is not known, or its value no size, time or number.
        """
        names = {field.removesuffix("_mb"): field for field in cls.model_fields}
        found: dict[str, Any] = {}
        for text in texts:
            name, _, value = text.partition("=")
            if name not in names:
                raise UnknownNameError("limit", name, names)
            try:
                found[names[name]] = _value(names[name], value)
                cls(**found)
            except ValueError as problem:
                hint = "For instance: --limit memory=16GB,time=2h,cpus=4"
                raise UsageError(f"--limit {text}: '{value}' is not a value for {name}", hint) from problem
        return cls(**found)


def _value(field: str, text: str) -> float:
    if field.endswith("_mb"):
        size = int(TypeAdapter(ByteSize).validate_python(text))
        return size and max(1, size // 2**20)
    if field in ("cpus", "pids"):
        return int(text)
    found = re.fullmatch(r"([0-9.]+)([smhd]?)", text)
    if not found:
        raise ValueError(text)
    return float(found[1]) * SECONDS[found[2]]


class Asked(Spec):
    """All that `cellgauge run` was asked: enough to do it again."""

    models: tuple[str, ...]
    """As on the command line: `pca:VARIANT`, `all`."""
    datasets: tuple[str, ...]
    tasks: tuple[str, ...] = ("all",)
    seeds: tuple[int, ...] = (42,)
    assignments: tuple[str, ...] = ()
    """`pca.n_components=20`."""
    gpus: str = "all"
    """`all`, `none`, or indices and UUIDs."""
    share_gpus: bool = False
    warm: bool = False
    """True: all datasets of a model variant in one start."""
    allow: tuple[Relaxation, ...] = ()
    changes: Changes = Changes()
    jobs: int = Field(default=1, ge=1)
    """Starts of models at once."""
    retries: int = Field(default=2, ge=0)
    """Further attempts after an infrastructure fault."""
    refresh: bool = False
    """True: nothing that is there is used again."""
    limit_cells: int | None = Field(default=None, gt=0)
    """At most so many cells of each dataset: for trying things out, since the scores compare with nothing."""
    controls: bool = False
    """True: the truth itself and chance are scored, too."""
    only: tuple[str, ...] | None = None
    """Jobs, as `plan.place` names them; None: all that the plan needs."""


def relaxations(names: Iterable[str]) -> tuple[Relaxation, ...]:
    """Check names of relaxations.

    Raises
    ------
    UnknownNameError
        If one is not known.
    """
    known: tuple[Relaxation, ...] = get_args(Relaxation)
    for name in names:
        if name not in known:
            raise UnknownNameError("relaxation of the sandbox", name, known)
    return tuple(one for one in known if one in set(names))
