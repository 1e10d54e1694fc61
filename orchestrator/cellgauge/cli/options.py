"""Options that several commands share, and the completion of names."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cellgauge.specs import Changes

LEAST_MEMORY = 6
"""MiB, of a container."""


def complete(kind: str) -> Callable[[str], list[str]]:
    """Give what completes the names of a kind."""

    def names(incomplete: str) -> list[str]:
        from cellgauge import catalog, settings
        from cellgauge.errors import CellgaugeError

        try:
            known: Iterable[str] = found(kind, catalog, settings)
        except CellgaugeError:
            return []
        done, comma, last = incomplete.rpartition(",")
        return [f"{done}{comma}{name}" for name in known if name.startswith(last)]

    return names


def found(kind: str, catalog: Any, settings: Any) -> Any:
    """Every name of a kind that the settings make known."""
    chosen = settings.read()
    if kind == "models":
        return catalog.manifests(chosen.model_folders)
    if kind == "datasets":
        return catalog.entries(chosen.catalogs)
    return catalog.tasks()


Models = Annotated[
    list[str],
    typer.Option(
        "--models",
        "-m",
        help="Models, separated by commas; `pca:VARIANT` for a variant, `all` for every one.",
        autocompletion=complete("models"),
    ),
]
Datasets = Annotated[
    list[str],
    typer.Option(
        "--datasets",
        "-d",
        help="Datasets, separated by commas; `tsv2_*` for current ones whose names fit, `all` for every current one.",
        autocompletion=complete("datasets"),
    ),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "--tasks", "-t", help="Tasks, separated by commas; every one by default.", autocompletion=complete("tasks")
    ),
]
Seeds = Annotated[list[str], typer.Option("--seed", "-s", help="Seeds, separated by commas; 42 by default.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter of a model: `--set pca.n_components=20`.")
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="docker, local, or auto: docker where it answers. [CELLGAUGE_ENGINE]",
        autocompletion=lambda incomplete: [name for name in ("auto", "docker", "local") if name.startswith(incomplete)],
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option("--gpus", help="GPUs that may be used: `all`, `none`, or `0,2`. [CELLGAUGE_GPUS]"),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", help="Starts of models that run at once. [CELLGAUGE_JOBS]"),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="What one start of a model may use, instead of what its manifest says: `memory=16GB,time=2h`; also cpus, "
        "disk, log, pids, shm, start, pull.",
    ),
]
LimitCells = Annotated[
    int | None,
    typer.Option(
        "--limit-cells",
        help="At most so many cells of each dataset, each kind keeping its share: to try things out. Their scores "
        "compare with no others, and say so.",
        min=1,
    ),
]
Controls = Annotated[
    bool,
    typer.Option(
        "--controls", help="Score also the truth itself and chance, once a dataset, and show scores between them."
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Relax the sandbox: `network`, `writable-root`. It is part of a result's identity."),
]
Results = Annotated[
    Path | None,
    typer.Option("--results", help="Folder of the results; ./cellgauge-results by default. [CELLGAUGE_RESULTS]"),
]
Catalogs = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalog",
        help="A further dataset catalogue, instead of those in the variable; may be given several times. "
        "[CELLGAUGE_CATALOG]",
    ),
]
ModelFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--models-path",
        help="A further folder with one folder per model, instead of those in the variable; may be given several "
        "times. [CELLGAUGE_MODELS_PATH]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


def split(values: Iterable[str]) -> list[str]:
    """Take lists apart: `-m a,b -m c` is a, b, c."""
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def changes(values: list[str] | None) -> "Changes":
    """Read limits that were set for a run.

    Raises
    ------
    UsageError
        If one is not known, or not to be had on this machine.
    """
    from cellgauge import machine
    from cellgauge.errors import UsageError
    from cellgauge.specs import Changes

    found = Changes.parse(split(values or []))
    if found.cpus and found.cpus > machine.cpus():
        raise UsageError(f"--limit cpus={found.cpus}: there are {machine.cpus()}", "Name no more, or leave it out.")
    if found.memory_mb and found.memory_mb < LEAST_MEMORY:
        raise UsageError(f"--limit memory: less than the {LEAST_MEMORY} MiB that an engine takes", "Give a unit: 16GB.")
    return found


def seeds(values: Iterable[str]) -> list[int]:
    """Read seeds, each once.

    Raises
    ------
    UsageError
        If one is no integer from 0 to 4294967295, which is what numpy and torch take.
    """
    from cellgauge.errors import UsageError

    given = list(dict.fromkeys(split(values)))
    for value in given:
        if not value.isdigit() or int(value) >= 2**32:
            raise UsageError(f"--seed {value}: not an integer from 0 to {2**32 - 1}", "For instance: --seed 1,2,3")
    return [int(value) for value in given]


def paths(values: list[Path] | None) -> tuple[Path, ...] | None:
    """Leave a setting alone where no option was given."""
    return tuple(values) if values else None
