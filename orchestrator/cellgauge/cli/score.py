"""`cellgauge score`: scores outputs that are kept, or an embedding that was made elsewhere. Starts no model."""

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cellgauge.evaluate import Progress
    from cellgauge.pipeline import Reuse
    from cellgauge.settings import Settings
    from cellgauge.specs import Dataset, Job, Plan, Run, State, TaskResult
    from cellgauge.store import Store
    from cellgauge_tasks import Task


SEED = 42
"""Of the scoring of an embedding that stands beside no run."""
SMALL = 5000
"""Cells of an output that is scored without a process of its own: Ctrl-C has to wait for it."""


def score(
    run: Annotated[
        str | None,
        typer.Argument(help="A run's id, or its first characters: its outputs; the `latest` one without --embedding."),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks",
            "--task",
            "-t",
            help="Tasks, separated by commas; those of the run by default, and every one for an embedding.",
            autocompletion=options.complete("tasks"),
        ),
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option("--embedding", help="An embedding made elsewhere: `emb.npy`, `x.h5ad:X_name`, `emb.parquet`."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Whose cells it is of.", autocompletion=options.complete("datasets")),
    ] = None,
    cells: Annotated[
        Path | None, typer.Option("--cells", help="The cell id of each row of an `.npy` file, one a line.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it; its file's name by default.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", "-s", help="Of the scoring of an embedding; 42 by default, and beside a run that run's.", min=0
        ),
    ] = None,
    controls: options.Controls = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Score again also what is scored already.")] = False,
    results: options.Results = None,
    catalogs: options.Catalogs = None,
    as_json: options.Json = False,
) -> None:
    """Score kept outputs again, with other tasks or newer ones; or an embedding that was made elsewhere.

    Nothing is started but the scoring. With a run and --embedding both are in one table.
    """
    from cellgauge import accelerator, catalog, named, supplies
    from cellgauge.errors import UsageError
    from cellgauge.store import Store, new_run_id

    if (embedding is None) != (dataset is None):
        raise UsageError("--embedding and --dataset go together", "For instance: --embedding emb.npy --dataset NAME")
    if embedding is None and (cells or name or seed is not None):
        raise UsageError("--cells, --name and --seed go with --embedding", "Outputs are scored with their own seeds.")
    store = Store(setup.settings(results=results).results)
    before = named.run(run or named.LATEST, store) if run or embedding is None else None
    given = {"catalog": catalogs or [Path(path) for path in (before.places.get("catalog", []) if before else [])]}
    chosen = setup.settings(results=results, **given)
    accelerator.check(chosen.score_device)
    store.prepare()
    names = options.split(tasks or []) or (list(before.plan.tasks) if before else ["all"])
    picked = catalog.pick_tasks(names, say)
    jobs = list(before.plan.jobs) if before else []
    data = _datasets([*supplies.files(jobs), *([dataset] if dataset else [])], chosen)
    data |= supplies.stacks(jobs, data, setup.cache(chosen))
    id = new_run_id()
    notes = dict(before.notes) if before else {}
    if embedding and dataset:
        seeds = [seed] if seed is not None else [*dict.fromkeys(job.seed for job in jobs)] or [SEED]
        made, told = _taken_in(embedding, cells, name, data[dataset], store, seeds, id, jobs)
        jobs += made
        notes |= {job.id: (told,) for job in made} if told else {}
    begun = _begun(_planned(jobs, before, data, picked, controls=controls), id, before, chosen, notes)
    raise typer.Exit(_done(begun, data, picked, store, chosen, refresh=refresh, as_json=as_json))


def _datasets(names: "Sequence[str]", chosen: "Settings") -> "dict[str, Dataset]":
    """Get and check datasets, all of which have to be there; of a group its members, and these as one."""
    from cellgauge import supplies
    from cellgauge.errors import UsageError
    from cellgauge.groups import GroupChoice

    specs = setup.datasets(names, chosen) if names else {}
    possible = lambda one: not isinstance(one, GroupChoice) or not one.unstacked  # noqa: E731
    found = supplies.get([*specs.values()], (), setup.cache(chosen), pulling=setup.bar, needed=possible)
    for problem in found.unusable.values():
        raise problem
    for one in found.choices:
        if isinstance(one, GroupChoice) and one.unstacked:
            raise UsageError(f"'{one.spec.name}' cannot be taken as one dataset: {one.unstacked}")
    return found.datasets


def _taken_in(
    embedding: str,
    cells: Path | None,
    name: str | None,
    dataset: "Dataset",
    store: "Store",
    seeds: "Sequence[int]",
    run: str,
    others: "Sequence[Job]",
) -> "tuple[list[Job], str]":
    """Read an embedding, put it into the order of the dataset's cells, and keep it; say how its rows were found.

    It is kept for each seed that it is scored with, as only numbers of the same seed are compared.
    """
    from cellgauge import elsewhere
    from cellgauge.errors import UsageError
    from cellgauge.specs.base import NAME

    path, key = elsewhere.split(embedding)
    label = name or re.sub(r"[^A-Za-z0-9._-]+", "-", key or path.stem).strip("-._")[:64]
    if not re.fullmatch(NAME, label):
        raise UsageError(f"'{label}' cannot be its name", "Letters, digits, `.`, `_` and `-`, at most 64: --name NAME")
    if any(one.model == label for one in others):
        raise UsageError(f"a model of this run is called {label}, too", "Give it another name: --name NAME")
    values, told = elsewhere.ordered(elsewhere.read(path, key, cells), dataset)
    if told:
        say(told)
    return [elsewhere.keep(values, label, dataset, store, seed=one, run=run).job for one in seeds], told


def _planned(
    jobs: "Sequence[Job]",
    before: "Run | None",
    data: "dict[str, Dataset]",
    tasks: "dict[str, Task]",
    *,
    controls: bool,
) -> "Plan":
    from cellgauge import offline, plan, score

    choices = {name: plan.DatasetChoice.of(one, tasks.values()) for name, one in data.items()}
    scored = before.plan.scorings if before else ()
    names = (*(before.plan.datasets if before else ()),)
    made = offline.again(jobs, scored, choices, tasks, score.versions(), controls=controls, asked=names)
    return made.model_copy(update={"baselines": before.plan.baselines if before else ()})


def _done(
    begun: "Run",
    data: "dict[str, Dataset]",
    tasks: "dict[str, Task]",
    store: "Store",
    chosen: "Settings",
    *,
    refresh: bool,
    as_json: bool,
) -> int:
    """Score what a run's plan says, keep it, and show it; return the exit code."""
    from cellgauge import events, offline, pipeline
    from cellgauge.cli import perform
    from cellgauge.report import document, table
    from cellgauge.store import now_utc

    made, id = begun.plan, begun.id
    reuse = pipeline.reusable(made, store)
    reuse = pipeline.Reuse(reuse.jobs) if refresh else reuse
    cache = setup.cache(chosen)
    bench = offline.Bench(data, tasks, store, id, (cache.root, *cache.shared))
    todo = offline.of_jobs(made, reuse, bench) + offline.of_controls(made.controls, bench, refresh=refresh)
    store.keep_run(begun)
    failures: dict[str, tuple[State, str]] = {}
    with perform.written_down(begun, store, failures):
        small = len(todo) == 1 and all(one.n_cells <= SMALL for one in data.values())
        results = _noted(perform.fill(todo, chosen, store, id, small=small), store, failures)
        happening = _happening(made, reuse, store, results)
        for _ in events.record(happening, begun, [store.run_file(id, "events.jsonl")]):
            pass
        ended = begun.model_copy(update={"ended": now_utc(), "failures": failures})
        found = document.collect(ended, store, tasks)
        store.keep_run(ended.model_copy(update={"outcome": "complete" if found.complete else "incomplete"}))
    if as_json:
        show_json(found)
    else:
        out.print(table.render(found, tasks))
        out.print(f"results: {store.root.absolute()}  (again: cellgauge show {id})", soft_wrap=True)
    return 0 if found.complete else 1


def _noted(
    results: "Iterator[TaskResult]", store: "Store", failures: "dict[str, tuple[State, str]]"
) -> "Iterator[TaskResult]":
    """Pass on results, those of controls too, and note what failed where the number of before stays in the store."""
    from cellgauge.cli import perform

    for one in results:
        perform.note(one, store, failures)
        yield one


def _begun(
    made: "Plan", id: str, before: "Run | None", chosen: "Settings", notes: "dict[str, tuple[str, ...]]"
) -> "Run":
    import cellgauge
    from cellgauge import owner
    from cellgauge.specs import Run
    from cellgauge.store import now_utc

    return Run(
        id=id,
        command=shlex.join(["cellgauge", *sys.argv[1:]]),
        started=now_utc(),
        engine=before.engine if before else "elsewhere",
        owner=owner.me().token,
        places=before.places if before else {"catalog": [str(path.absolute()) for path in chosen.catalog]},
        plan=made,
        notes=notes,
        cellgauge=cellgauge.__version__,
    )


def _happening(made: "Plan", reuse: "Reuse", store: "Store", results: "Iterator[TaskResult]") -> "Iterator[Progress]":
    """Tell of all that is in the table as a run does, so that `status` counts it."""
    from cellgauge.evaluate import Finished, Scored

    for job in made.jobs:
        if record := store.intact(job.id):
            yield Finished(record, reused=True)
    for scoring in made.scorings:
        if scoring.id in reuse.scorings and (result := store.intact_result(scoring.id)):
            yield Scored(result, reused=True)
    yield from (Scored(one, reused=False) for one in results if one.scoring.control is None)
