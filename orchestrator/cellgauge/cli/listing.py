"""`cellgauge list models|datasets|tasks`."""

from typing import TYPE_CHECKING, Any

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, show_json

if TYPE_CHECKING:
    from cellgauge.specs import DatasetSpec

WIDE = 110
"""Columns of a terminal that has room for roles."""

app = typer.Typer(help="List what there is.", no_args_is_help=True)


@app.command("models")
def models(models_path: options.ModelFolders = None, as_json: options.Json = False) -> None:
    """List every model that can be run."""
    from cellgauge import catalog

    found = catalog.models(setup.settings(models_path=models_path).model_folders)
    rows = [
        {
            "name": name,
            "version": model.spec.version,
            "verbs": list(model.spec.verbs),
            "variants": list(model.spec.variants),
            "organisms": model.spec.organisms,
            "gpu": model.spec.resources.gpu,
            "baseline": model.spec.baseline,
            "licence": model.spec.licence,
            "title": model.spec.title,
        }
        for name, model in found.items()
    ]
    _show(rows, ("name", "verbs", "organisms", "gpu", "licence", "title"), as_json)


@app.command("datasets")
def datasets(catalogs: options.Catalogs = None, as_json: options.Json = False) -> None:
    """List every dataset of the catalogue, and whether its checksum is known; `datasets show` tells more of one."""
    from cellgauge import catalog

    found = catalog.datasets(setup.settings(catalog=catalogs).catalogs)
    rows = [
        {
            "name": name,
            "version": spec.version,
            "status": _status(spec),
            "reason": spec.deprecated.reason if spec.deprecated else "",
            "successor": spec.deprecated.successor if spec.deprecated else None,
            "organism": spec.organism,
            "modality": spec.modality,
            "gene_ids": spec.gene_ids,
            "roles": list(spec.obs),
            "verified": spec.verified,
            "size": spec.size,
            "sources": list(spec.sources),
            "licence": spec.licence,
            "title": spec.title,
        }
        for name, spec in found.items()
    ]
    roles = ("roles",) if out.width >= WIDE else ()
    _show(rows, ("name", "organism", "gene_ids", *roles, "status"), as_json)


def _status(spec: "DatasetSpec") -> str:
    """Say in a word how far a dataset can be relied on: a deprecated one not, whether its checksum is known or not."""
    if spec.deprecated:
        return "deprecated"
    return "verified" if spec.verified else "unverified"


@app.command("tasks")
def tasks(as_json: options.Json = False) -> None:
    """List every task that can score an output."""
    from cellgauge import catalog

    rows = [
        {
            "name": name,
            "version": task.version,
            "verb": task.verb,
            "roles": list(task.roles),
            "headline": list(task.headline),
            "baseline": task.baseline,
            "title": task.title,
        }
        for name, task in catalog.tasks().items()
    ]
    _show(rows, ("name", "verb", "roles", "baseline", "title"), as_json)


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:  # a name that is cut or folded cannot be copied
        table.add_column(column.replace("_", " "), no_wrap=column in ("name", "status"), overflow="fold")
    for row in rows:
        values = (row[column] for column in columns)
        table.add_row(
            *(escape(", ".join(value) if isinstance(value, list | tuple) else str(value)) for value in values)
        )
    out.print(table)
