"""What is decided before anything is done."""

from typing import Literal

from cellgauge.specs.base import Name, Relaxation, Spec, Verb
from cellgauge.specs.datasets import Split, View
from cellgauge_model.contract import Param


class JobDataset(Spec):
    """One item of a job."""

    name: Name
    view: View


class Job(Spec):
    """One start of one model variant; everything here can change the output, and the id is a hash over it."""

    id: str
    model: Name
    model_version: str
    variant: Name
    image: str
    """The digest of the image, or of the folder and environment with the local engine."""
    verb: Verb
    params: dict[str, Param]
    changed: dict[str, Param] = {}
    """Those among `params` that were set for this run: for people; the id has all of them."""
    seed: int
    contract: int
    weights: str = ""
    """Hash over the names and checksums of its weights; empty without any."""
    device: Literal["cpu", "gpu"] = "cpu"
    """What it was asked to compute on: the two do not give the same numbers."""
    allow: tuple[Relaxation, ...] = ()
    """What the sandbox allowed beyond its rules."""
    datasets: tuple[JobDataset, ...]


class Scoring(Spec):
    """One task applied to one dataset of one job: a cell of the results table."""

    id: str
    job: str
    model: Name
    variant: Name
    dataset: Name
    task: Name
    task_version: str
    roles: dict[str, str]
    """obs columns that the task reads, by role."""
    seed: int
    scored_with: dict[str, str] = {}
    """Versions of the libraries that score."""
    seen: bool = False
    """True if the model was trained on this dataset, as its manifest or the catalogue says."""
    limit_cells: int | None = None
    """Of so many cells, drawn from the dataset: not comparable with a score of all."""
    split: Split | None = None
    """Which cells the model was given, and which were held out from it; absent: it was given them all."""


class Skip(Spec):
    """A cell that was asked for and does not apply, with the reason."""

    model: Name
    variant: Name
    dataset: Name
    task: Name
    seed: int
    reason: str


class Plan(Spec):
    """All that will be done, decided before anything is done."""

    jobs: tuple[Job, ...]
    scorings: tuple[Scoring, ...]
    skips: tuple[Skip, ...] = ()
    models: tuple[str, ...] = ()
    """As asked for, in that order; likewise datasets and tasks."""
    datasets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    """Models that are plain baselines."""
