"""`cellgauge datasets`: what the catalogue has, and what of it lies on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellgauge.cli import cached, listing, options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.data.check.rules import Misfit
    from cellgauge.data.guess import Guess
    from cellgauge.specs import DatasetSpec

app = typer.Typer(help="Pull, check and list datasets, and add your own.", no_args_is_help=True)
app.command("list")(listing.datasets)

Names = Annotated[
    list[str],
    typer.Argument(
        help="Datasets; `tsv2_*` for all whose names fit, `all` for every current one.",
        autocompletion=options.complete("datasets"),
    ),
]


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A dataset.", autocompletion=options.complete("datasets"))],
    catalogs: options.Catalogs = None,
    as_json: options.Json = False,
) -> None:
    """Show all that the catalogue says of a dataset, and whether it lies here."""
    from cellgauge.data import fetch

    chosen = setup.settings(catalog=catalogs)
    spec = _specs([name], chosen)[name]
    here = fetch.here(spec, setup.cache(chosen))
    if as_json:
        show_json({**spec.model_dump(mode="json"), "path": str(here) if here else None})
        return
    facts: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=True)
    facts["sha256"] = ", ".join(spec.sha256s) or "unknown: unverified until it is pulled and recorded"
    facts["here"] = here or f"no; pull it: cellgauge datasets pull {name}"
    _facts(facts)


@app.command("pull")
def pull(
    names: Names,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the source again, where its checksum is not in the catalogue.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Write checksum and size of unverified ones into their catalogue.")
    ] = False,
    catalogs: options.Catalogs = None,
    as_json: options.Json = False,
) -> None:
    """Fetch datasets, verify and check them. What is here already is not fetched again; a broken pull goes on."""
    from cellgauge.data import check, fetch
    from cellgauge.errors import CellgaugeError, DatasetError

    chosen = setup.settings(catalog=catalogs)
    cache, found, failed = setup.cache(chosen), list[dict[str, Any]](), list[CellgaugeError]()
    for name, spec in _specs(names, chosen).items():
        try:
            with setup.bar(name) as report:
                path, sha256, stamp = fetch.fetch(spec, cache, report, refresh=refresh)
            dataset = check.check(spec, path, sha256, stamp, seals=cache.root / "checked")
        except DatasetError as problem:
            failed.append(problem)
            say(f"{name}: {problem.message}")
            continue
        size = path.stat().st_size
        told = {"name": name, "path": str(path), "sha256": sha256, "size": size, "verified": spec.verified}
        found.append({**told, "n_cells": dataset.n_cells, "n_genes": dataset.n_genes})
        if not as_json:
            out.print(f"{name}: {dataset.n_cells:,} cells, {dataset.n_genes:,} genes, {path}", soft_wrap=True)
        if not spec.verified and record:
            try:
                _recorded(name, sha256, size, chosen)
            except CellgaugeError as problem:  # the others are pulled all the same
                failed.append(problem)
                say(f"{name}: it is here, and could not be recorded: {problem.message}")
        elif not spec.verified:
            say(f"{name} is unverified: sha256: {sha256}, size: {size}; `--record` writes them into its catalogue")
    if as_json:
        show_json({"pulled": found, "failed": [problem.message for problem in failed]})
    if failed:
        lost = sum(isinstance(problem, DatasetError) for problem in failed)
        said = [f"{lost} of {lost + len(found)} datasets could not be had"] if lost else []
        said += [f"{len(failed) - lost} could not be recorded"] if len(failed) > lost else []
        say(f"{'; '.join(said)}. {failed[0].hint}")
        raise typer.Exit(failed[0].exit_code)


def _recorded(name: str, sha256: str, size: int, chosen: Any) -> None:
    from cellgauge import catalog, catalogfile

    home = catalog.home_of(name, chosen.catalogs)
    catalogfile.record(home, name, sha256, size)
    say(f"{name}: checksum and size are written into {home}")


@app.command("check")
def check(
    path: Annotated[Path, typer.Argument(help="Any h5ad.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The entry of the catalogue that it is to be held against.")
    ] = None,
    catalogs: options.Catalogs = None,
    as_json: options.Json = False,
) -> None:
    """Check an h5ad: by itself, or against its catalogue entry. Exits with 1 if there is an error."""
    from cellgauge.data.check import examine

    chosen = setup.settings(catalog=catalogs)
    spec = _specs([dataset], chosen)[dataset] if dataset else None
    found = examine(path, spec)
    errors = sum(one.severity == "error" for one in found)
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
    else:
        _misfits(found)
        out.print(f"{path}: errors: {errors}, warnings: {len(found) - errors}", markup=False, soft_wrap=True)
    raise typer.Exit(1 if errors else 0)


app.command("verify")(cached.verify)
app.command("du")(cached.du)
app.command("prune")(cached.prune)


@app.command("add")
def add(
    source: Annotated[str, typer.Argument(help="An h5ad: a path, or an address (https://, s3://, cellxgene://).")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it; the file's name by default.")] = None,
    organism: Annotated[
        str | None, typer.Option("--organism", help="`Homo sapiens` or `human`, where it cannot be told.")
    ] = None,
    catalog_file: Annotated[
        Path, typer.Option("--catalog", help="The catalogue to write to; it is made if need be.")
    ] = Path("datasets.yaml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: options.Json = False,
) -> None:
    """Look into an h5ad, guess what it holds, show it, and write an entry for it into a catalogue of yours."""
    from cellgauge import catalogfile
    from cellgauge.data import check
    from cellgauge.data.guess import guess, named
    from cellgauge.specs import DatasetSpec

    latin = _latin(organism)
    path, sha256 = _found(source)
    told = guess(path, name or named(source))
    where = source if "://" in source else catalogfile.source(path, catalog_file)
    entry = told.entry(source=where, sha256=sha256, organism=latin)
    catalogfile.validated(told.name, entry)
    if as_json:
        show_json({"name": told.name, "entry": entry, "remarks": told.remarks})
    else:
        _guessed(told, entry)
    misfits = check.examine(path, DatasetSpec(name=told.name, **entry))
    _misfits(misfits)
    if not yes and not typer.confirm(f"write this as '{told.name}' to {catalog_file}?", err=True):
        raise typer.Exit(1)
    catalogfile.append(catalog_file, told.name, entry)
    say(f"written; try: cellgauge run -m pca -d {told.name} --catalog {catalog_file}")


def _latin(organism: str | None) -> str | None:
    """Give the Latin name of an organism that a person names."""
    from cellgauge.data.guess import organisms
    from cellgauge.errors import UsageError

    latin = organisms.named(organism) if organism else None
    if organism and latin is None:
        hint = f"The Latin name: --organism 'Homo sapiens'; or one of {', '.join(organisms.COMMON)}."
        raise UsageError(f"--organism {organism}: not the name of an organism", hint)
    return latin


def _found(source: str) -> tuple[Path, str]:
    """Find the file of a source, wherever it lies, and its checksum."""
    from cellgauge.data import fetch

    address = source if "://" in source else Path(source).expanduser().absolute().as_uri()
    with setup.bar(source) as report:
        path, sha256, _ = fetch.file("the dataset", (address,), (), setup.cache(setup.settings()), report)
    return path, sha256


def _specs(names: list[str], chosen: Any) -> "dict[str, DatasetSpec]":
    from cellgauge import catalog

    known = catalog.datasets(chosen.catalogs)
    old = [name for name, spec in known.items() if spec.deprecated]
    return catalog.pick("dataset", options.split(names), known, hidden=old)


def _facts(facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        shown = ", ".join(f"{key}: {one}" for key, one in value.items()) if isinstance(value, dict) else value
        shown = ", ".join(map(str, shown)) if isinstance(shown, list | tuple) else shown
        table.add_row(name.replace("_", " "), escape(str(shown)))
    out.print(table)


def _guessed(told: "Guess", entry: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for field in dict.fromkeys([*entry, *told.remarks]):
        value = str(entry.get(field, getattr(told, field, "")))
        table.add_row(field.replace("_", " "), escape(value), f"[dim]{escape(told.remarks.get(field, ''))}[/dim]")
    out.print(table)


def _misfits(found: "list[Misfit]") -> None:
    from rich.markup import escape

    for one in found:
        style = "red" if one.severity == "error" else "yellow"
        out.print(f"[{style}]{one.severity}[/{style}] {one.code}: {escape(one.message)}", soft_wrap=True)
        out.print(f"  [dim]{escape(one.hint)}[/dim]", soft_wrap=True)
