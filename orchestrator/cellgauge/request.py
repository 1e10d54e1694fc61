"""Writes what one start of a model is given: its folders, its input and its request."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cellgauge.disk import copy, link
from cellgauge.engines import Engine, Launch
from cellgauge.errors import EngineError
from cellgauge.specs import Changes, Coverage, Job, Limits, Model
from cellgauge_model import contract
from cellgauge_model.contract import Item, RunRequest


@dataclass(frozen=True)
class Given:
    """One item of a request, and what the host knows of it."""

    item: Item
    files: Mapping[str, Path]
    """Path in the input folder → file on this machine."""
    cells: Sequence[str]
    """The ids of the view's cells."""
    genes: Sequence[str] = ()
    """The names of the view's genes; needed for `predict` alone, as is what follows."""
    level: Literal["cells", "means"] = "cells"
    """What is predicted of each condition: many cells, or their mean."""
    n_training: int = 0
    """Cells to train on."""
    coverage: Coverage | None = None
    """How many of the dataset's genes the view holds."""

    @property
    def n_cells(self) -> int:
        """All that is to be read or written, which is what memory and disk are needed for."""
        return len(self.cells) + self.n_training + sum(one.n_cells for one in self.item.conditions)


@dataclass(frozen=True)
class Work:
    """A job and its items."""

    job: Job
    given: Sequence[Given]


@dataclass(frozen=True)
class Terms:
    """What one start may use, and how it is done."""

    cpus: int = 1
    changes: Changes = field(default_factory=Changes)
    retries: int = 0
    """Further attempts after an infrastructure fault."""
    pause: float = 1.0
    """Seconds before the first of them; then twice as long each time, and some chance."""
    run: str = ""
    gpus: tuple[str, ...] = ()
    weights: Path | None = None
    program: Path | None = None
    """Where the program lies that a process runs; None: in the model's folder."""
    fault: EngineError | None = None
    """Why it cannot even start, if that is known already."""


def prepare(work: Sequence[Work], model: Model, folder: Path, terms: Terms, engine: Engine) -> Launch:
    """Make the folders of a start, and put its request and its data into them."""
    job = work[0].job
    given = [one for each in work for one in each.given]
    limits = Limits.of(model.spec.resources, (one.n_cells for one in given), terms.changes, terms.cpus)
    launch = Launch(
        jobs=tuple(one.job.id for one in work),
        run=terms.run,
        verb=job.verb,
        model=model.spec.name,
        image=job.image,
        command=model.spec.command,
        folder=terms.program or model.folder,
        input=folder / "input",
        output=folder / "output",
        scratch=folder / "scratch",
        weights=terms.weights,
        log=folder / "log.txt",
        limits=limits,
        gpus=terms.gpus,
        allow=job.allow,
    )
    for path in (launch.input, launch.output, launch.scratch):
        path.mkdir()
    # Where the engine cannot keep a model from writing to its input, it gets a copy: views are shared.
    place = link if engine.sandbox(launch).get("inputs") == "read-only" else copy
    for one in given:
        for name, source in one.files.items():
            place(source, launch.input / name)
    _ask(job, given, launch, launch.input)
    return launch


def _ask(job: Job, given: Sequence[Given], launch: Launch, folder: Path) -> None:
    request = RunRequest(
        contract=job.contract,
        job=job.id,
        verb=job.verb,
        variant=job.variant,
        items=[one.item for one in given],
        params=dict(job.params),
        seed=job.seed,
        device="cuda" if launch.gpus else "cpu",
        threads=launch.limits.cpus,
        time_limit=launch.limits.time,
    )
    contract.write_atomically(folder / contract.REQUEST, contract.to_json(request))


def own_folder(one: Work, launch: Launch, folder: Path) -> Path:
    """Give a job that was done with others a folder as if it had been done alone."""
    own = folder / one.job.id
    (own / "input").mkdir(parents=True)
    (own / "output").mkdir()
    _ask(one.job, one.given, launch, own / "input")
    for given in one.given:
        for name in given.files:
            if os.path.lexists(launch.input / name):  # a process may have removed its copy
                (launch.input / name).rename(own / "input" / name)
        if os.path.lexists(launch.output / given.item.name):
            (launch.output / given.item.name).rename(own / "output" / given.item.name)
    for path in _logs(folder):
        link(path, own / path.relative_to(folder))
    return own


def _logs(folder: Path) -> Iterator[Path]:
    yield from (path for path in (folder / "log.txt", *sorted((folder / "attempts").glob("*"))) if path.exists())
