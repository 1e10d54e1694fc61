"""`cellgauge list models|datasets|tasks`."""

from typing import TYPE_CHECKING, Any

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.specs import DatasetSpec, GroupSpec

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

    found = catalog.entries(setup.settings(catalog=catalogs).catalogs)
    rows = [_row(name, spec) for name, spec in found.items()]
    roles = ("roles",) if out.width >= WIDE else ()
    _show(rows, ("name", "organism", "gene_ids", *roles, "status"), as_json)


def _row(name: str, spec: "DatasetSpec | GroupSpec") -> dict[str, Any]:
    """Tell of a dataset, or of a group what is so of its members together."""
    from cellgauge.specs import DatasetSpec

    several = (spec,) if isinstance(spec, DatasetSpec) else spec.datasets
    sizes = [one.size for one in several if one.size is not None]
    kinds = list(dict.fromkeys(one.gene_ids for one in several))
    return {
        "name": name,
        "version": spec.version,
        "status": _status(spec),
        "reason": spec.deprecated.reason if spec.deprecated else "",
        "successor": spec.deprecated.successor if spec.deprecated else None,
        "organism": ", ".join(dict.fromkeys(one.organism for one in several)),
        "modality": ", ".join(dict.fromkeys(one.modality for one in several)),
        "gene_ids": kinds[0] if len(kinds) == 1 else "mixed",
        "roles": [role for role in several[0].obs if all(role in one.obs for one in several)],
        "verified": all(one.verified for one in several),
        "size": sum(sizes) if len(sizes) == len(several) else None,
        "sources": list(spec.sources) if isinstance(spec, DatasetSpec) else [],
        "licence": spec.licence,
        "title": spec.title,
        "members": [] if isinstance(spec, DatasetSpec) else list(spec.members),
    }


def _status(spec: "DatasetSpec | GroupSpec") -> str:
    """Say in a word how far a dataset can be relied on: a deprecated one not, whether its checksum is known or not."""
    from cellgauge.specs import GroupSpec

    if spec.deprecated:
        return "deprecated"
    if isinstance(spec, GroupSpec):
        return "group"
    return "verified" if spec.verified else "unverified"


@app.command("tasks")
def tasks(as_json: options.Json = False) -> None:
    """List every task that can score an output."""
    from cellgauge import catalog
    from cellgauge_tasks import package

    rows = [
        {
            "name": name,
            "version": task.version,
            "package": package(task),
            "verb": task.verb,
            "roles": list(task.roles),
            "headline": list(task.headline),
            "baseline": task.baseline,
            "title": task.title,
        }
        for name, task in catalog.tasks().items()
    ]
    _show(rows, ("name", "verb", "roles", "baseline", "title"), as_json)
    for told in catalog.broken_tasks().values():
        say(told)


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
