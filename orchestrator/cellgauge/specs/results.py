"""What is kept of finished work."""

from typing import Literal

from cellgauge.specs.base import Name, Spec, State
from cellgauge.specs.plans import Job, Plan, Scoring
from cellgauge_model.contract import Param


class ItemRecord(Spec):
    """What became of one dataset in a job."""

    name: Name
    state: State
    reason: str = ""
    shape: tuple[int, ...] = ()
    sha256: str = ""
    gene_coverage: float | None = None
    timings: dict[str, float] = {}
    peak_memory: int | None = None
    versions: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class RunRecord(Spec):
    """What became of a job: written last into its folder, so a folder without one is unfinished."""

    schema_version: Literal[1] = 1
    job: Job
    state: State
    """`ok` when every item is; otherwise the state of the first item that is not."""
    reason: str = ""
    items: tuple[ItemRecord, ...]
    engine: str
    sandbox: dict[str, str] = {}
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()
    started: str
    """UTC, ISO 8601."""
    seconds: dict[str, float]
    """Wall time by phase: prepare, run, check."""
    host: str
    cellgauge: str


class ScoreValue(Spec):
    """One number."""

    metric: str
    value: float
    params: dict[str, Param] = {}
    n_cells: int
    """Cells that went into it."""


class TaskResult(Spec):
    """One cell of the results table."""

    schema_version: Literal[1] = 1
    scoring: Scoring
    state: State
    reason: str = ""
    scores: tuple[ScoreValue, ...] = ()
    seconds: float = 0.0
    versions: dict[str, str] = {}
    """Of the libraries that scored."""
    warnings: tuple[str, ...] = ()
    """What the model or the task wants its reader to know."""
    cellgauge: str


class Run(Spec):
    """What was asked for, and when. Its results are found by the ids in its plan."""

    schema_version: Literal[1] = 1
    id: str
    command: str
    started: str
    """UTC, ISO 8601."""
    engine: str
    plan: Plan
    cellgauge: str
