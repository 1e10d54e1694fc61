"""Guesses what a catalogue would say of an h5ad that nobody has described, and says for each guess why."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from cellgauge.data import h5ad
from cellgauge.data.check.geneids import kind_of
from cellgauge.data.guess import organisms, roles, slots
from cellgauge.data.h5ad import hdf5
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix, Spec, Split
from cellgauge.specs.base import GeneIds
from cellgauge.specs.datasets import Modality

if TYPE_CHECKING:
    import pandas as pd

SYMBOLS = [
    *("featurename", "genesymbol", "genesymbols", "genename", "genenames", "symbol", "symbols"),
    *("geneshortname", "gene", "genes", "name"),
]
"""Names of var columns with symbols, the surest first."""
IMAGES = re.compile(r"(Cells|Nuclei|Cytoplasm|Image)_(AreaShape|Intensity|Texture|Granularity|RadialDistribution|.*)")
PLACES = re.compile(r"visium|merfish|slide-?seq|xenium|seqfish|osmfish|stereo-?seq|cosmx|spatial", re.IGNORECASE)


class Guess(Spec):
    """What was found out about a file; what could not be told is None and stands in `unknown`."""

    name: str
    organism: str | None
    gene_ids: GeneIds
    gene_columns: dict[GeneIds, str]
    matrix: Matrix | None
    obs: dict[str, str]
    control: str | None
    splits: dict[str, Split]
    modality: Modality
    empty_cells: float
    size: int
    remarks: dict[str, str]
    """Field → why, or what is wrong."""
    unknown: tuple[str, ...]
    """What a person has to say: `organism`, `gene_ids`, `matrix`, `control`."""

    def entry(self, *, source: str, sha256: str | None = None, organism: str | None = None) -> dict[str, Any]:
        """Make a catalogue entry, of only what is not the default.

        Parameters
        ----------
        organism
            What a person says; it comes before the guess.

        Raises
        ------
        DatasetError
            If something that every entry needs is not known.
        """
        organism = organism or self.organism
        for field, hint in (
            ("organism", "Say it: --organism 'Homo sapiens'."),
            ("gene_ids", "Write the file anew, with gene symbols or Ensembl ids as adata.var_names."),
            ("matrix", "Write the file anew, with the raw counts in X, or in a layer: adata.layers['counts']."),
        ):
            if field in self.unknown and not (field == "organism" and organism):
                raise DatasetError(f"{field} cannot be told: {self.remarks[field]}", hint)
        fields: dict[str, Any] = {"source": source}
        fields |= {"sha256": sha256, "size": self.size} if sha256 else {}
        fields |= {"modality": self.modality} if self.modality != "scRNA-seq" else {}
        fields |= {"organism": organism, "gene_ids": self.gene_ids}
        matrix = self.matrix.model_dump(exclude_defaults=True) if self.matrix else {}
        splits = {name: split.model_dump(mode="json", exclude_defaults=True) for name, split in self.splits.items()}
        more = {"gene_columns": self.gene_columns, "matrix": matrix}
        fields |= {field: value for field, value in more.items() if value}
        fields["obs"] = dict(self.obs)
        last = {"control": self.control, "splits": splits, "empty_cells": self.empty_cells}
        return fields | {field: value for field, value in last.items() if value}


def guess(path: Path, name: str | None = None) -> Guess:
    """Look into an h5ad and guess what a catalogue would say of it; only the beginning of each matrix is read.

    Parameters
    ----------
    name
        What to call it; the file's name by default.

    Raises
    ------
    DatasetError
        If it is not a readable h5ad.
    """
    with h5ad.open(path) as file:
        remarks: dict[str, str] = {}
        matrix, remarks["matrix"] = slots.find(file)
        slot = matrix.slot if matrix else "X"
        ids = [str(one) for one in file.genes(slot)]
        gene_ids, columns = kind_of(ids), _gene_columns(file, slot, ids)
        numbered = bool(ids) and all(one.isdigit() for one in ids)
        remarks["gene_ids"] = f"the gene ids look like {', '.join(ids[:3])}"
        for kind, column in columns.items():
            remarks["gene_columns"] = f"var column {column} holds {kind} ids"
        # Ensembl ids tell more than symbols: those of mouse and rat are spelt alike.
        telling = _texts(file, slot, columns["ensembl"]) if "ensembl" in columns else ids
        organism, remarks["organism"] = _organism(file, path, telling)
        found = _Roles(file)
        remarks |= found.remarks
        modality, remarks["modality"] = _modality(file, path, ids, found.values)
        empty, why = _empty(file, slot)
        remarks |= {"empty_cells": why} if why else {}
        missing = {"organism": organism is None, "gene_ids": numbered, "matrix": matrix is None}
        missing["control"] = "perturbation" in found.obs and found.control is None
        return Guess(
            name=named(str(path)) if name is None else name,
            organism=organism,
            gene_ids=gene_ids,
            gene_columns=columns,
            matrix=matrix,
            obs=found.obs,
            control=found.control,
            splits=found.splits,
            modality=modality,
            empty_cells=empty,
            size=path.stat().st_size,
            remarks=remarks,
            unknown=tuple(field for field, is_missing in missing.items() if is_missing),
        )


def named(source: str) -> str:
    """Make a dataset's name of a path or an address."""
    parts = urlsplit(source)
    last = (unquote(parts.path) if "://" in source else source).rstrip("/").rpartition("/")[2] or parts.netloc
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", last.removesuffix(".h5ad")).lstrip("._-")[:64]
    return plain or "dataset"


def _organism(file: h5ad.H5ad, path: Path, ids: Sequence[str]) -> tuple[str | None, str]:
    of_genes, why = organisms.of_ids(ids)
    for place, values in _told(file, path, ("organism_ontology_term_id", "organism", "species")):
        names = {organisms.named(value) for value in values}
        if len(values) > 1:
            return of_genes, f"{why} ({place} has several: {', '.join(sorted(values)[:3])})"
        if (one := names.pop()) is not None:
            against = f"; but {why}" if of_genes not in (one, None) else ""
            return one, f"{place} says {next(iter(values))}{against}"
    return of_genes, why


def _told(file: h5ad.H5ad, path: Path, names: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
    """Read what obs, and then uns, say under these names: where, and the values."""
    for name in names:
        if name in file.columns() and (values := _column(file, name)) is not None:
            yield f"obs {name}", {str(value) for value in values.dropna().unique()} or {""}
    for name in names:
        if text := _inside(path, lambda root, name=name: _text(root, f"uns/{name}")):
            yield f"uns {name}", {text}


def _inside(path: Path, look: Any) -> Any:
    """Look at a part of the file that no dataset needs, and so may be of any form."""
    import h5py

    try:
        with h5py.File(path, "r", locking="best-effort") as root:
            return look(root)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError):
        return None


def _text(root: Any, place: str) -> str | None:
    value = hdf5.plain(hdf5.child(root, place), 0)[()] if hdf5.has(root, place) else None
    return value.decode() if isinstance(value, bytes) else None


def _column(file: h5ad.H5ad, name: str) -> "pd.Series | None":
    try:
        return file.obs([name])[name]
    except DatasetError:  # of a form that cannot be read: then it plays no role
        return None


def _texts(file: h5ad.H5ad, slot: str, column: str) -> list[str]:
    """Read what is not empty of a column of var; nothing if it is of a form that cannot be read."""
    try:
        return [str(one) for one in file.var(slot, [column])[column].dropna() if str(one)]
    except DatasetError:
        return []


def _gene_columns(file: h5ad.H5ad, slot: str, ids: Sequence[str]) -> dict[GeneIds, str]:
    """Find the var column with the other kind of ids; the fullest, if several have Ensembl ids."""
    wanted: GeneIds = "symbol" if kind_of(ids) == "ensembl" else "ensembl"
    full: dict[str, float] = {}
    for column in file.var_columns(slot):
        values = _texts(file, slot, column)
        likely = roles.plain(column) in SYMBOLS if wanted == "symbol" else True
        if values and likely and kind_of(values) == wanted:
            surest = SYMBOLS.index(roles.plain(column)) if wanted == "symbol" else 0
            full[column] = len(values) - surest * len(ids)
    return {wanted: max(full, key=lambda column: full[column])} if full else {}


def _empty(file: h5ad.H5ad, slot: str) -> tuple[float, str]:
    """Measure the share of cells without a value, where that stands in the file."""
    sizes = file.row_sizes(slot) if slot in file.slots() else None
    empty = int((sizes == 0).sum()) if sizes is not None else 0
    if not empty or sizes is None or empty == len(sizes):
        return 0.0, ""
    return math.ceil(1000 * empty / len(sizes)) / 1000, f"{empty} of {len(sizes)} cells are empty"


def _modality(file: h5ad.H5ad, path: Path, ids: Sequence[str], obs: "dict[str, pd.Series]") -> tuple[Modality, str]:
    if ids and 2 * sum(IMAGES.fullmatch(one) is not None for one in ids) > len(ids):
        return "imaging", "the features are those of CellProfiler"
    if _inside(path, lambda root: hdf5.has(root, "obsm/spatial") or hdf5.has(root, "obsm/X_spatial")):
        return "spatial", "obsm has spatial coordinates"
    told = {role: " ".join(map(str, obs[role].dropna().unique()[:20])) for role in obs}
    if PLACES.search(told.get("assay", "")):
        return "spatial", f"obs assay says {told['assay']}"
    if told.get("suspension_type") == "nucleus":
        return "snRNA-seq", "obs suspension_type says nucleus"
    return "scRNA-seq", "nothing says otherwise"


class _Roles:
    """The columns that play a role, with their values."""

    def __init__(self, file: h5ad.H5ad) -> None:
        self.obs: dict[str, str] = {}
        self.values: dict[str, pd.Series] = {}
        self.control: str | None = None
        self.splits: dict[str, Split] = {}
        columns = file.columns()
        notes = []
        for role, candidates in roles.candidates(columns).items():
            for column in candidates:
                if column in self.obs.values() or (values := _column(file, column)) is None:
                    continue
                if roles.fits(role, values, file.n_cells) and self._takes(role, column, values):
                    self.obs[role], self.values[role] = column, values
                    notes.append(f"{column}: {'one value' if (many := values.nunique()) == 1 else f'{many} values'}")
                    break
        self.remarks = {"obs": "; ".join(notes) or f"no column has a familiar name (there are: {', '.join(columns)})"}
        if "cell_type" not in self.obs and (made := roles.clusters(columns)):
            self.remarks["obs"] += f"; {', '.join(made)}: a clustering's work, so no cell types"
        if "perturbation" in self.obs:
            shown = f"'{self.control}' in {self.obs['perturbation']} sounds like not perturbed"
            self.remarks["control"] = shown if self.control else "no value sounds like not perturbed: add `control:`"
        if self.splits:
            self.remarks["splits"] = f"{self.obs['split']} has cells for training and for testing"

    def _takes(self, role: str, column: str, values: "pd.Series") -> bool:
        distinct = values.dropna().unique()
        if role == "perturbation":
            self.control = roles.control(distinct)
            return self.control is not None or roles.plain(column) in roles.SURE
        if role == "split" and (sides := roles.sides(distinct)):
            self.splits = {"published": Split(by="split", train=sides[:1], test=sides[1:])}
        return True
