"""Collects a run's cells from the store into one JSON-ready document: every planned cell, whatever became of it."""

from collections import Counter
from typing import Any, Literal

from cellgauge.specs import Run, ScoreValue, Skip, Spec, State
from cellgauge.store import Store


class Cell(Spec):
    """One planned cell of the results table."""

    model: str
    variant: str
    dataset: str
    task: str
    seed: int
    state: State | Literal["missing"]
    """`missing`: planned, and never finished."""
    reason: str = ""
    job: str | None = None
    scores: tuple[ScoreValue, ...] = ()


class Document(Spec):
    """A run and all its cells."""

    schema_version: Literal[1] = 1
    run: str
    command: str
    started: str
    engine: str
    cellgauge: str
    results: str
    """The results folder."""
    planned: int
    """The denominator: every cell that was asked for."""
    states: dict[str, int]
    """How many cells are in each state; they add up to `planned`."""
    baselines: tuple[str, ...]
    """Models among them that are plain baselines."""
    complete: bool
    """True if every cell is `ok` or does not apply."""
    cells: tuple[Cell, ...]


def collect(run: Run, store: Store) -> Document:
    """Look up every cell of a run's plan."""
    cells = [_skipped(skip) for skip in run.plan.skips]
    for scoring in run.plan.scorings:
        result = store.result(scoring.id)
        cells.append(
            Cell(
                model=scoring.model,
                variant=scoring.variant,
                dataset=scoring.dataset,
                task=scoring.task,
                seed=scoring.seed,
                state=result.state if result else "missing",
                reason=result.reason if result else "the run ended before this cell was done",
                job=scoring.job,
                scores=result.scores if result else (),
            )
        )
    states = Counter(cell.state for cell in cells)
    return Document(
        run=run.id,
        command=run.command,
        started=run.started,
        engine=run.engine,
        cellgauge=run.cellgauge,
        results=str(store.root.absolute()),
        planned=len(cells),
        states=dict(sorted(states.items())),
        baselines=run.plan.baselines,
        complete=states["ok"] + states["not_applicable"] == len(cells),
        cells=tuple(cells),
    )


def _skipped(skip: Skip) -> Cell:
    return Cell(state="not_applicable", **skip.model_dump())


def as_json(document: Any) -> str:
    """Write a pydantic model as indented JSON; a NaN becomes null, since JSON has none."""
    return str(document.model_dump_json(indent=2))
