"""Makes one dataset of several, of two organisms or more: cell below cell, over one-to-one orthologs.

What fits itself to the cells that it is shown has another space after each fit, so that two embeddings of two datasets
say nothing of each other. Such models are shown all members together, in a file that is made here and kept in the cache
among the views.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgauge.data import check, genes, joined, rows
from cellgauge.data.cache import Cache, seal
from cellgauge.data.view import panel
from cellgauge.data.view.counts import Counts
from cellgauge.disk import explained
from cellgauge.errors import DatasetError
from cellgauge.specs import Columns, Dataset, DatasetSpec, Matrix, Stack, View

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

ORGANISM = "organism"
"""The role by which cells of one member are told from those of another organism's."""
HOME = "of member"
"""The column that names each cell's member; no role has a space in its name."""
APART = ("batch", "donor")
"""Roles whose values mean something within their dataset alone: `batch 1` of two datasets is not one, nor `donor 1`."""
CHUNK = 1 << 18
"""Values that lie behind one another in the file."""


def dataset(name: str, stack: Stack, members: Mapping[str, Dataset], cache: Cache) -> Dataset:
    """Make one dataset of several, or find it made, and check it as any other.

    Parameters
    ----------
    members
        By name, all of them and perhaps more.

    Returns
    -------
    A dataset with the role `organism` and those that all members have. Its cells are called `MEMBER:CELL`, member by
    member in the order of the stack, each member's in the order of its own file.

    Raises
    ------
    DatasetError
        If the members have no gene in common, or one holds no counts or was changed.
    StorageError
        If the cache cannot be written.
    """
    several = [members[one.name] for one in stack.members]
    path = _found(stack, cache) or _made(name, stack, several, cache)
    entry = spec(name, stack, [one.spec for one in several], path.as_uri())
    found = check.check(entry, path, stack.sha256, seal.stamp(path), seals=cache.root / "checked")
    return found.model_copy(update={"stack": stack})


def labels(tables: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Put obs columns one below the other: as they are where all are numbers, else as text."""
    import pandas as pd

    found = {}
    for role in tables[0].columns:
        columns = [one[role] for one in tables]
        if all(pd.api.types.is_numeric_dtype(one) and not pd.api.types.is_bool_dtype(one) for one in columns):
            found[role] = pd.concat(columns)
        else:
            found[role] = pd.Categorical(
                pd.concat([one.astype(object).map(str, na_action="ignore") for one in columns])
            )
    return pd.DataFrame(found, index=pd.Index([cell for one in tables for cell in one.index], dtype=object))


def columns(roles: Sequence[str]) -> dict[str, Columns]:
    """Name the obs columns of a stack by role, of members that all have these roles."""
    found: dict[str, Columns] = {role: (HOME, role) if role in APART else role for role in roles}
    return {**found, ORGANISM: ORGANISM}


def spec(name: str, stack: Stack, members: Sequence[DatasetSpec], source: str) -> DatasetSpec:
    """Describe a stack as a catalogue would."""
    corrected = any(one.matrix.kind == "corrected" for one in members)
    return DatasetSpec(
        name=name,
        title=f"{' and '.join(one.name for one in members)}, over one-to-one orthologs",
        source=source,
        modality=members[0].modality,
        organism=stack.organism,
        gene_ids="ensembl",
        gene_columns={"symbol": "gene_symbol"},
        matrix=Matrix(kind="corrected" if corrected else "counts"),
        obs=columns([*stack.members[0].view.obs]),
        empty_cells=max(one.empty_cells for one in members),
    )


def _place(root: Path, stack: Stack) -> Path:
    return root / "views" / stack.sha256[:20] / "view.h5ad"


def _found(stack: Stack, cache: Cache) -> Path | None:
    cache.use("views", stack.sha256[:20])
    for root in (cache.root, *cache.shared):
        path = _place(root, stack)
        with suppress(OSError):  # what cannot be read is not there
            if path.is_file() and seal.Summed(path).untouched():
                return path
    return None


def _made(name: str, stack: Stack, members: Sequence[Dataset], cache: Cache) -> Path:
    path = _place(cache.root, stack)
    with cache.lock(f"view-{path.parent.name}"), explained(path, "CELLGAUGE_CACHE"):
        if _found(stack, cache) == path:  # somebody was faster
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob("*.part"):  # of one that was killed: whoever has the lock writes alone
            left.unlink()
        partial = path.with_name(f"view.{secrets.token_hex(4)}.part")
        try:
            _write(name, stack, members, partial)
            partial.chmod(0o444)
            checksum = seal.checksum(partial)
            partial.replace(path)
            seal.Summed(path).write(checksum, stored=False)
        finally:
            partial.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # only if nothing came into it
    return path


def _write(name: str, stack: Stack, members: Sequence[Dataset], path: Path) -> None:
    import h5py
    import numpy as np
    from anndata.io import write_elem

    ids, chosen = _shared(name, stack, members)
    views = [one.view for one in stack.members]
    kept = [rows.kept(one, view.rows) for one, view in zip(members, views, strict=True)]
    obs = labels([_obs(*one) for one in zip(members, views, kept, strict=True)])
    symbols = genes.convert(ids, stack.organism, "symbol")
    try:
        with h5py.File(path, "x", locking="best-effort") as file:
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            write_elem(file, "obs", obs)
            write_elem(file, "var", _table({"gene_symbol": symbols}, ids))
            for part in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
                write_elem(file, part, {})
            _pour(file.create_group("X"), _blocks(members, views, kept, chosen), np.array([len(obs), len(ids)]))
    except RuntimeError as problem:  # what h5py makes of a write that failed when a file is closed
        raise OSError(0, str(problem).splitlines()[0], str(path)) from problem
    for one in members:
        check.same(one)


def _table(columns: Mapping[str, Sequence[str]], index: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(dict(columns), index=pd.Index([*index], dtype=object), dtype=object)


def _obs(member: Dataset, view: View, kept: "NDArray[np.bool_]") -> "pd.DataFrame":
    """Read a member's columns by role, and say of each cell whose it is."""
    import pandas as pd

    name = member.spec.name
    with check.reopen(member) as file:
        found = file.obs(joined.columns(view.obs.values()))
        index = pd.Index([f"{name}:{cell}" for cell in file.cells()[kept]], dtype=object)
        values = {role: joined.values(found, given)[kept].set_axis(index) for role, given in view.obs.items()}
    return pd.DataFrame({**values, ORGANISM: member.spec.organism, HOME: name}, index=index)


def _shared(name: str, stack: Stack, members: Sequence[Dataset]) -> "tuple[list[str], list[NDArray[np.int64]]]":
    """Find the genes that all members have, as the first one's organism calls them, and where they lie in each file."""
    import numpy as np

    places = []
    for member, one in zip(members, stack.members, strict=True):
        with check.reopen(member) as file:
            found = panel.make(file, one.view)
        names = alike([str(id) for id in found.table.index], member.spec.organism, stack.organism)
        places.append({id: int(found.chosen[at]) for id, at in names.items()})
    ids = [id for id in places[0] if all(id in there for there in places)]
    if not ids:
        hint = "Are organism and gene_ids right in their entries? `cellgauge datasets check` looks into a file."
        raise DatasetError(f"dataset '{name}': no gene of its members is known to be the same in all of them", hint)
    return ids, [np.array([there[id] for id in ids], dtype=np.int64) for there in places]


def alike(ids: Sequence[str], organism: str, to: str) -> dict[str, int]:
    """Name genes as another organism calls its one-to-one orthologs.

    Parameters
    ----------
    ids
        Ensembl gene ids of `organism`, '' for none.

    Returns
    -------
    Ensembl gene id of `to` → the gene's number among `ids`, in their order. Of several that have been given one id over
    time, the one that has it now, or the first.
    """
    now = genes.convert(genes.convert(ids, organism, "symbol"), organism, "ensembl")
    now = [new or old for new, old in zip(now, ids, strict=True)]
    names = now if organism == to else genes.to_organism(now, organism, to, ids_kind="ensembl")
    found: dict[str, int] = {}
    for number, (name, old, new) in enumerate(zip(names, ids, now, strict=True)):
        if name and (name not in found or (old == new and ids[found[name]] != now[found[name]])):
            found[name] = number
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _blocks(
    members: Sequence[Dataset],
    views: Sequence[View],
    kept: "Sequence[NDArray[np.bool_]]",
    chosen: "Sequence[NDArray[np.int64]]",
) -> Iterator[Any]:
    """Read the counts of the members one after the other, CSR float32, cells x shared genes."""
    for member, view, mask, genes_of in zip(members, views, kept, chosen, strict=True):
        with check.reopen(member) as file:
            counts = Counts(file, view.matrix, genes_of)
            for first, block in counts.blocks(counts.factors()):
                part = block[mask[first : first + block.shape[0]]]
                part.sort_indices()
                yield part


def _pour(matrix: Any, blocks: Iterator[Any], shape: "NDArray[np.int64]") -> None:
    """Write a CSR matrix as it comes, since nobody knows how large it will be."""
    import numpy as np

    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape.astype("<i8")})
    many: dict[str, Any] = {"shape": (0,), "maxshape": (None,), "chunks": (CHUNK,)}
    data, indices = (
        matrix.create_dataset(name, dtype=kind, **many) for name, kind in (("data", "<f4"), ("indices", "<i4"))
    )
    sizes = [np.zeros(1, dtype=np.int64)]
    for block in blocks:
        begin = len(data)
        for into, values in ((data, block.data), (indices, block.indices)):
            into.resize((begin + len(values),))
            into[begin:] = values
        sizes.append(np.diff(block.indptr).astype(np.int64))
    matrix["indptr"] = np.cumsum(np.concatenate(sizes)).astype("<i4" if len(data) < 2**31 else "<i8")
