"""`cellgauge datasets verify|du|prune`: what lies in the cache."""

from typing import TYPE_CHECKING, Annotated

import typer

from cellgauge.cli import options, setup
from cellgauge.cli.output import out, say, show_json

if TYPE_CHECKING:
    from cellgauge.data.cache import Cache
    from cellgauge.data.cache.stock import Entry


def verify(as_json: options.Json = False) -> None:
    """Hash every file of the cache again, and remove what is damaged. Exits with 1 if anything is not in order."""
    cache = setup.cache(setup.settings())
    with setup.bar("verifying") as report:
        found = cache.verify(report)
    damaged = [one for one in found if not one.good]
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
    else:
        for one in damaged:
            what = "removed; it is pulled again when it is needed" if one.removed else "left, since it is not yours"
            told = f"cannot be read: {one.path}: {one.reason}" if one.reason else f"damaged: {one.path}: {what}"
            out.print(told, markup=False, soft_wrap=True)
        out.print(f"{len(found) - len(damaged)} of {len(found)} files are what they should be")
    raise typer.Exit(1 if damaged else 0)


def du(as_json: options.Json = False) -> None:
    """Show what lies in the cache, how large it is, and when it was used."""
    from rich.filesize import decimal

    cache = setup.cache(setup.settings())
    found = cache.contents()
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
        return
    _entries(found, _datasets(cache))
    out.print(f"{decimal(sum(one.size for one in found))} in {cache.root}", soft_wrap=True)


def prune(
    keep: Annotated[str, typer.Option("--keep", help="What may stay, in all: `50GB`; `0` for nothing.")],
    partial: Annotated[
        bool, typer.Option("--partial", help="Also downloads that were begun and not finished.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Remove what was not used for longest, until no more than `--keep` is left; never what a running job uses."""
    from pydantic import ByteSize, TypeAdapter, ValidationError
    from rich.filesize import decimal

    from cellgauge.errors import UsageError

    try:
        most = int(TypeAdapter(ByteSize).validate_python(keep))
    except ValidationError as problem:
        raise UsageError(f"--keep {keep}: not a size", "For instance: --keep 50GB") from problem
    cache = setup.cache(setup.settings())
    names = {} if as_json else _datasets(cache)  # before what tells them is removed
    removed = cache.prune(most, partial=partial)
    there = cache.contents()
    left = sum(one.size for one in there)
    used = sum(one.size for one in there if one.in_use)
    begun = sum(one.size for one in there if one.kind == "partial" and not one.in_use)
    if as_json:
        told = {"left": left, "in_use": used, "partial": begun}
        show_json({"removed": [one.model_dump(mode="json") for one in removed], **told})
        return
    _entries(removed, names)
    out.print(f"removed: {decimal(sum(one.size for one in removed))}, left: {decimal(left)}")
    if left > most and used:
        out.print(f"in use by processes that run, or that cannot be seen from here: {decimal(used)}", soft_wrap=True)
    if left > most and begun:
        out.print(f"begun and not finished: {decimal(begun)}; --partial removes that", soft_wrap=True)


def _datasets(cache: "Cache") -> dict[str, str]:
    """Name downloaded files by their datasets, as far as the catalogues know: checksum → name.

    A catalogue that cannot be read keeps nobody from looking into the cache, or from making room in it.
    """
    from cellgauge import catalog
    from cellgauge.errors import CatalogError

    found: dict[str, str] = {}
    for path in setup.settings().catalogs:
        try:
            known = catalog.datasets([path])
        except CatalogError as problem:
            say(f"warning: {problem.message.splitlines()[0]}; what only it names is shown by its checksum")
            continue
        for name, spec in known.items():
            given = [one.sha256 for one in map(cache.fetched, spec.sources) if one]
            found |= dict.fromkeys((*spec.sha256s, *given), name)
    return found


def _entries(found: "list[Entry]", names: dict[str, str]) -> None:
    """Lay them out; a checksum or an id is told by its beginning, as with jobs."""
    from rich import box
    from rich.filesize import decimal
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for column in ("kind", "name", "size", "last used", ""):
        table.add_column(column, justify="right" if column == "size" else "left")
    for one in found:
        used = one.used[:16].replace("T", " ")
        name = f"{names[one.name]} ({one.name[:8]})" if one.name in names else one.name[:20]
        table.add_row(one.kind, escape(name), decimal(one.size), used, "in use" if one.in_use else "")
    out.print(table)
