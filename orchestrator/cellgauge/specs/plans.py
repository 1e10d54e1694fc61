"""What is decided before anything is done."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from cellgauge.specs.base import Name, Relaxation, Spec, Verb
from cellgauge.specs.datasets import Columns, Split, without
from cellgauge.specs.views import Stack, View
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
    masked: str = ""
    """The rule by which genes are masked in the cells of `held_out`, which it is then shown; empty: it sees none."""
    stack: Stack | None = None
    """What the dataset is made of, if it is several made one."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without(dump(self), {name for name in ("stack", "masked") if not getattr(self, name)})

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


class Part(Spec):
    """Of a group, whose members' outputs are scored as one: that of one member."""

    job: str
    dataset: Name
    organism: str
    """Of all its cells."""
    roles: dict[str, Columns]
    """obs columns that the task reads, by role, but for `organism`."""


class Scoring(Spec):
    """One task applied to one dataset of one job, or to all of a group: a cell of the results table."""

    id: str
    job: str
    """Of a group, the first member's."""
    model: Name
    variant: Name
    dataset: Name
    task: Name
    task_version: str
    roles: dict[str, Columns]
    """obs columns that the task reads, by role; of a group, each role by its own name."""
    parts: tuple[Part, ...] = ()
    """Of a group whose members are shown one by one: their outputs are scored as one, in this order."""
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

    @property
    def jobs(self) -> tuple[str, ...]:
        """Whose outputs are scored."""
        return tuple(dict.fromkeys(one.job for one in self.parts)) or (self.job,)


class Control(Spec):
    """The truth itself, or chance, scored as a model's output would be: once a dataset, for every run and model."""

    scoring: Scoring
    view: View
    """Which cells."""
    others: tuple[View, ...] = ()
    """Of a group, which cells of the further members."""
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
