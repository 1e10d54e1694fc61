"""What is kept of finished work."""

from typing import Literal

from cellgauge.errors import Phase
from cellgauge.specs.asked import Asked, Limits
from cellgauge.specs.base import Name, Spec, State
from cellgauge.specs.plans import Job, Plan, Scoring
from cellgauge.specs.views import Coverage
from cellgauge_model.contract import Param


class ItemRecord(Spec):
    """What became of one dataset in a job."""

    name: Name
    state: State
    reason: str = ""
    shape: tuple[int, ...] = ()
    sha256: str = ""
    genes: Coverage | None = None
    """How many of the dataset's genes could be named to the model."""
    gene_coverage: float | None = None
    """The share of those genes that the model knows, as it says."""
    timings: dict[str, float] = {}
    """Wall seconds by the model's own phases, as it says; likewise CPU seconds and peak memory."""
    cpu_seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}
    """Bytes, resident, by the end of each phase."""
    peak_memory: int | None = None
    versions: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


class Used(Spec):
    """What a start of a model used, as the engine saw it: sampled, so a short one may show nothing."""

    cpu_seconds: float | None = None
    peak_memory: int | None = None
    """Bytes."""


class GpuUse(Spec):
    """A GPU that a job held."""

    uuid: str
    name: str
    driver: str
    memory_mb: int
    peak_memory_mb: int | None = None
    """Most memory in use on the device while the job ran, sampled."""


class Host(Spec):
    """The machine that a job ran on."""

    name: str
    system: str
    kernel: str
    python: str
    cpu: str
    cores: int
    """That this process may use."""
    memory_mb: int


class Attempt(Spec):
    """An earlier try at a job."""

    run: str = ""
    state: State
    phase: Phase | None = None
    reason: str = ""
    exit_code: int | None = None
    started: str
    seconds: dict[str, float] = {}
    log: str = ""
    """Below the job's folder; empty where it was not kept."""


class RunRecord(Spec):
    """What became of a job: written last into its folder, so a folder without one is unfinished."""

    schema_version: Literal[1, 2] = 2
    job: Job
    state: State
    """`ok` when every item is; otherwise the state of the first item that is not."""
    reason: str = ""
    phase: Phase | None = None
    """What was being done when it went wrong."""
    items: tuple[ItemRecord, ...]
    run: str = ""
    """The run that did it."""
    attempts: tuple[Attempt, ...] = ()
    """Earlier tries, oldest first."""
    together: tuple[str, ...] = ()
    """Jobs that were done in the same start of the model, where there were several."""
    engine: str
    engine_version: str = ""
    sandbox: dict[str, str] = {}
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()
    started: str
    """UTC, ISO 8601."""
    seconds: dict[str, float]
    """Wall time by phase: prepare, start, run, check."""
    limits: Limits | None = None
    used: Used = Used()
    gpus: tuple[GpuUse, ...] = ()
    replay: tuple[str, ...] = ()
    """A shell command that starts it again as it was; `{job}` stands for the job's folder."""
    packages: str = ""
    """Hash of what is installed where it ran: `environments/<hash>.txt`."""
    host: str
    machine: Host | None = None
    cellgauge: str
    code: str = ""
    """Hash over the program text of cellgauge itself."""

    def output_of(self, dataset: str) -> str:
        """The checksum of what it gave for a dataset; empty if nothing good."""
        return next((item.sha256 for item in self.items if item.name == dataset), "")


class ScoreValue(Spec):
    """One number, and how far it would move with other cells."""

    metric: str
    value: float
    params: dict[str, Param] = {}
    n_cells: int
    """Cells that went into it."""
    better: Literal["higher", "lower"] = "higher"
    low: float | None = None
    """From here to `high` lie 95 % of the resamples; absent: it has no interval."""
    high: float | None = None
    unit: str = ""
    """What was drawn again: `cells`, `donors`, `conditions`, `folds`, `seeds`."""
    n_units: int | None = None
    """How many there are of these."""
    resamples: str = ""
    """Names the draws: scores with the same name are compared in pairs, draw by draw."""


class TaskResult(Spec):
    """One cell of the results table."""

    schema_version: Literal[1, 2, 3] = 3
    scoring: Scoring
    state: State
    reason: str = ""
    run: str = ""
    """The run that scored it."""
    output: str = ""
    """SHA-256 of the output that was scored, as in the job's record: a refreshed job has another. Of a group that of
    each member's output, in their order, with `+` between them."""
    scores: tuple[ScoreValue, ...] = ()
    arrays: str = ""
    """SHA-256 of the file beside this one that holds replicates and details; empty without any."""
    repeated: float | None = None
    """Share of the output's rows that are the same as an earlier one, though their cells are not."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    versions: dict[str, str] = {}
    """Of the libraries that scored."""
    device: str = ""
    """A GPU on which all pairs of cells were compared, and the version of torch; empty: none. It is no part of what a
    score is known by: neighbours are ranked again here, and the same, and means of distances the same within 1e-5."""
    warnings: tuple[str, ...] = ()
    """What the model or the task wants its reader to know."""
    cellgauge: str
    code: str = ""
    """Hash over the program text of cellgauge itself."""


class Run(Spec):
    """What was asked for, and when. Its results are found by the ids in its plan."""

    schema_version: Literal[1, 2] = 2
    id: str
    command: str
    started: str
    """UTC, ISO 8601."""
    engine: str
    owner: str = ""
    """The process that does it, as `owner.Owner` writes it."""
    asked: Asked | None = None
    places: dict[str, list[str]] = {}
    """Where it looked: catalogues and folders of models."""
    ended: str = ""
    """UTC, ISO 8601; empty while it runs, and for ever if it was killed."""
    outcome: Literal["", "complete", "incomplete", "cancelled", "failed"] = ""
    """How it ended: with every planned result, without some, because somebody stopped it, or with an error."""
    reason: str = ""
    """Of one that failed: the error."""
    prepared: bool = True
    """False of a detached run while it gets its images and lays out its plan, and for ever if it ended there."""
    notes: dict[str, tuple[str, ...]] = {}
    """Job → what there is to know of how its output was taken in: of an embedding made elsewhere. They are this run's,
    since the same values may come of another file the next time."""
    failures: dict[str, tuple[State, str]] = {}
    """Scorings that failed in this run though a good result of an earlier run is kept: with `--refresh`."""
    plan: Plan
    cellgauge: str
