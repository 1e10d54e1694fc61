"""What is decided before anything is done."""

from typing import Literal

from cellgauge.specs.base import Name, Relaxation, Spec, Verb
from cellgauge.specs.datasets import Columns, Split, View
from cellgauge_model.contract import Param

ELSEWHERE = "elsewhere:"
"""Stands before the checksum of an embedding that was made outside, in the place of an image."""


class JobDataset(Spec):
    """One item of a job."""

    name: Name
    view: View
    """What the model sees; of a model that predicts, the control cells."""
    training: View | None = None
    """What a model that predicts may train on: control cells, and cells of other conditions than it is asked for."""
    held_out: View | None = None
    """Cells of the conditions that it is asked for, which it never sees; the roles say what it is told of these."""
    level: Literal["cells", "means"] | None = None
    """What it predicts of each condition: many cells, or their mean."""

    @property
    def views(self) -> tuple[View, ...]:
        """Everything that its output depends on, and what it is scored against."""
        return tuple(one for one in (self.view, self.training, self.held_out) if one is not None)


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
    roles: dict[str, Columns]
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
    control: Literal["positive", "negative"] | None = None
    """Of no model's output, but of the truth itself, or of chance; then it belongs to no job."""
    control_seed: int | None = None
    """What such an input was drawn with."""


class Control(Spec):
    """The truth itself, or chance, scored as a model's output would be: once a dataset, for every run and model."""

    scoring: Scoring
    view: View
    """Which cells."""
    item: JobDataset | None = None
    """Of a task that scores predictions: what is predicted."""


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
    controls: tuple[Control, ...] = ()
    """What is scored beside, to show the ends of each scale."""
    models: tuple[str, ...] = ()
    """As asked for, in that order; likewise datasets and tasks."""
    datasets: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    """Models that are plain baselines."""
