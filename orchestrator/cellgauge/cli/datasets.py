"""`cellgauge datasets`: what the catalogue has, and what of it lies on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellgauge.cli import cached, facts, listing, options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.data.cache import Cache
    from cellgauge.data.check.rules import Misfit
    from cellgauge.errors import CellgaugeError
    from cellgauge.specs import GroupSpec

app = typer.Typer(help="Pull, check and list datasets, and add your own.", no_args_is_help=True)
app.command("list")(listing.datasets)

Names = Annotated[
    list[str],
    typer.Argument(
        help="Datasets; `tsv2_*` for all current ones whose names fit, `all` for every current one.",
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
    from cellgauge import catalog
    from cellgauge.data import fetch
    from cellgauge.specs import GroupSpec

    chosen = setup.settings(catalog=catalogs)
    spec, cache = catalog.one("dataset", name, catalog.entries(chosen.catalogs)), setup.cache(chosen)
    if isinstance(spec, GroupSpec):
        _show_group(spec, cache, as_json=as_json)
        return
    here = fetch.here(spec, cache)
    if as_json:
        show_json({**spec.model_dump(mode="json"), "path": str(here) if here else None})
        return
    told: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=True)
    told["sha256"] = spec.sha256s or "unknown: unverified until it is pulled and recorded"
    told["here"] = here or f"no; pull it: cellgauge datasets pull {name}"
    out.print(facts.table(told))


def _show_group(spec: "GroupSpec", cache: "Cache", *, as_json: bool) -> None:
    """Show a group's members, and how many cells there are of those that lie here."""
    from cellgauge.data import fetch, h5ad

    members = []
    for one in spec.datasets:
        path, cells = fetch.here(one, cache), None
        if path:
            with h5ad.open(path) as file:
                cells = file.n_cells
        members.append({"name": one.name, "organism": one.organism, "n_cells": cells, "path": str(path or "") or None})
    told = spec.model_dump(mode="json", exclude={"datasets"}, exclude_defaults=not as_json)
    if as_json:
        show_json({**told, "members": members})
        return
    lines = (f"{one['name']}: {one['organism']}, {_cells(one['n_cells'], str(one['name']))}" for one in members)
    out.print(facts.table({**told, "members": "\n".join(lines)}))


def _cells(count: Any, name: str) -> str:
    return f"not here; pull it: cellgauge datasets pull {name}" if count is None else f"{count:,} cells"


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
    from cellgauge.errors import CellgaugeError, DatasetError, Interrupted

    chosen = setup.settings(catalog=catalogs)
    cache, found, failed = setup.cache(chosen), list[dict[str, Any]](), list[tuple[str, CellgaugeError]]()
    for name, spec in setup.single(setup.datasets(options.split(names), chosen)).items():
        try:
            with setup.bar(name) as report:
                path, sha256, stamp = fetch.fetch(spec, cache, report, refresh=refresh)
            dataset = check.check(spec, path, sha256, stamp, seals=cache.root / "checked")
        except DatasetError as problem:
            failed.append((name, problem))
            say(f"{name}: {problem.message}\n  {problem.hint}")
            continue
        except KeyboardInterrupt:
            raise Interrupted("stopped on request", "What has come is kept: the same command goes on.") from None
        size = path.stat().st_size
        told = {"name": name, "path": str(path), "sha256": sha256, "size": size, "verified": spec.verified}
        found.append({**told, "n_cells": dataset.n_cells, "n_genes": dataset.n_genes})
        if not as_json:
            out.print(f"{name}: {dataset.n_cells:,} cells, {dataset.n_genes:,} genes, {path}", soft_wrap=True)
        if not spec.verified and record:
            try:
                _recorded(name, sha256, size, chosen)
            except CellgaugeError as problem:  # the others are pulled all the same
                failed.append((name, problem))
                say(f"{name}: it is here, and could not be recorded: {problem.message}\n  {problem.hint}")
        elif not spec.verified:
            say(f"{name} is unverified: sha256: {sha256}, size: {size}; `--record` writes them into its catalogue")
    if as_json:
        show_json({"pulled": found, "failed": [_failure(*one) for one in failed]})
    if failed:
        lost = sum(isinstance(problem, DatasetError) for _, problem in failed)
        said = [f"{lost} of {lost + len(found)} datasets cannot be used"] if lost else []
        said += [f"{len(failed) - lost} could not be recorded"] if len(failed) > lost else []
        say("; ".join(said))
        raise typer.Exit(failed[0][1].exit_code)


def _failure(name: str, problem: "CellgaugeError") -> dict[str, str]:
    return {"name": name, "error": problem.message, "hint": problem.hint}


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
    from cellgauge import catalog
    from cellgauge.data.check import examine

    chosen = setup.settings(catalog=catalogs)
    spec = catalog.single(dataset, chosen.catalogs) if dataset else None
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

    latin, called = _latin(organism), name or named(source)
    _free(called, catalog_file)
    path, sha256 = _found(source)
    told = guess(path, called)
    where = source if "://" in source else catalogfile.source(path, catalog_file)
    entry = told.entry(source=where, sha256=sha256, organism=latin)
    catalogfile.validated(told.name, entry)
    if as_json:
        show_json({"name": told.name, "entry": entry, "remarks": told.remarks})
    else:
        out.print(facts.guessed(told, entry))
    misfits = check.examine(path, DatasetSpec(name=told.name, **entry))
    _misfits(misfits)
    if any(one.severity == "error" for one in misfits):
        say("not written, since every run would refuse it: mend the file, or give the right options")
        raise typer.Exit(1)
    if not yes and not _agreed(f"write this as '{told.name}' to {catalog_file}?"):
        say("not written")
        raise typer.Exit(1)
    catalogfile.append(catalog_file, told.name, entry)
    say(f"written; try: cellgauge run -m pca -d {told.name} --catalog {catalog_file}")


def _agreed(question: str) -> bool:
    from cellgauge.errors import UsageError

    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        raise UsageError("there is nobody to ask", "Say --yes to have it written.") from None


def _free(name: str, catalog_file: Path) -> None:
    """Refuse a name that would make every later command with this catalogue fail."""
    from cellgauge import catalog
    from cellgauge.errors import UsageError

    files = [*setup.settings().catalogs, *([catalog_file] if catalog_file.exists() else [])]
    if name == "all" or name in catalog.entries(files):
        raise UsageError(f"the name '{name}' is taken", "Give another one: --name.")


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


def _misfits(found: "list[Misfit]") -> None:
    from rich.markup import escape

    for one in found:
        style = "red" if one.severity == "error" else "yellow"
        out.print(f"[{style}]{one.severity}[/{style}] {one.code}: {escape(one.message)}", soft_wrap=True)
        out.print(f"  [dim]{escape(one.hint)}[/dim]", soft_wrap=True)
