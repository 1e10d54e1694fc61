"""Checks a dataset's gene ids: that each names one gene, in the declared way, of the declared organism."""

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from cellgauge.data import genes
from cellgauge.data.check.rules import Misfit, listed, misfit
from cellgauge.data.h5ad import H5ad
from cellgauge.specs import DatasetSpec
from cellgauge.specs.base import GeneIds

if TYPE_CHECKING:
    import pandas as pd

OF = {prefix: organism for organism, prefix in genes.PREFIXES.items() if prefix}
LOOKS = r"(?:ENS[A-Z]*G\d{6,}|FBgn\d+|WBGene\d+|PF3D7_\d+|Y[A-P][LR]\d{3}[WC]|Q0\d{3}$)"
"""What a gene id of Ensembl begins with; flies, worms, yeast and malaria keep those of their own databases."""
PREFIX = re.compile(r"(ENS[A-Z]*G)\d{6,}|(FBgn)\d+|(WBGene)\d+|(PF3D7_)\d+")
FOREIGN = 0.5
"""Share of Ensembl ids from which on another organism's are taken as a wrong entry, and not as an admixture."""
WRITTEN = {"Homo sapiens": "upper", "Mus musculus": "title", "Rattus norvegicus": "title"}
"""How most symbols of an organism are written: TP53, Trp53."""
CLEAR = 0.8
"""Share of symbols from which on they are taken to be written in one way."""


def check(spec: DatasetSpec, file: H5ad) -> Iterator[Misfit]:
    """Check the gene ids in the index of the slot's var, and those in the columns that the entry names."""
    slot = spec.matrix.slot
    where = "raw.var" if slot == "raw" else "var"
    there = file.var_columns(slot)
    named = {kind: column for kind, column in spec.gene_columns.items() if column in there}
    var = file.var(slot, sorted(set(named.values())))
    yield from unique([str(name) for name in var.index])
    for kind, column in spec.gene_columns.items():
        if column not in there:
            yield misfit(
                "D402",
                f"{where} has no column '{column}' for {kind} ids (it has: {listed(there)})",
                "Name one that is there in gene_columns, or none.",
            )
    if not len(var):
        return
    if (looks := kind_of(var.index, spec.organism)) != spec.gene_ids:
        yield misfit(
            "D401",
            f"gene_ids says {spec.gene_ids}, but the gene ids look like '{var.index[0]}'",
            f"Say `gene_ids: {looks}` in the entry.",
        )
    for kind, column in named.items():
        yield from _column(spec, kind, f"{where} column '{column}'", _given(var[column]))
    for kind, ids in ((spec.gene_ids, var.index), *((kind, _given(var[column])) for kind, column in named.items())):
        if kind == "ensembl":
            yield from organisms(ids, spec.organism)
        elif kind == looks or ids is not var.index:
            yield from _symbols(ids, spec.organism)


def unique(names: list[str]) -> Iterator[Misfit]:
    """Check that each gene has an id, and its own."""
    import pandas as pd

    index = pd.Index(names, dtype=object)
    repeated = index[index.duplicated() & (index != "")]
    if len(repeated):
        yield misfit(
            "D105",
            f"{len(repeated)} gene ids are not unique, the first is '{repeated[0]}'",
            "adata.var_names_make_unique() numbers repeated gene ids.",
        )
    if empty := int((index == "").sum()):
        yield misfit("D106", f"{empty} gene ids are empty", "Models do not see these genes. Name them in the file.")


def organisms(ids: "pd.Index", organism: str) -> Iterator[Misfit]:
    """Check Ensembl ids against an organism, '' for any, and look for versions."""
    prefixes = [found[0] or found[1] or found[2] or found[3] for found in (_prefix(name) for name in ids) if found]
    own = genes.PREFIXES.get(organism)
    others = [OF[prefix] for prefix in prefixes if prefix in OF and prefix != own]
    if organism and others:
        most = max(set(others), key=others.count)
        text = f"of {len(prefixes)} Ensembl ids {len(others)} are not of {organism} but, for most of them, of {most}"
        if len(others) > FOREIGN * len(prefixes):
            yield misfit("D403", text, f"Say `organism: {most}` in the entry, if these are its genes.")
        else:
            yield misfit("D404", text, "Leave these genes out of the file, if the cells are of one organism.")
    bare = dict(zip(ids, genes.strip(list(ids)), strict=True))
    versions = [name for name, one in bare.items() if name != one]
    if versions:
        lost = len(bare) - len(set(bare.values()))
        alike = f"; without it {lost} of them are the same as another" if lost else ""
        yield misfit(
            "D405",
            f"{len(versions)} Ensembl ids have a version, for instance '{versions[0]}'{alike}",
            "Models are shown the ids without. "
            + (
                "Of several genes with one id they see one alone: add up those that belong together, or leave them out."
                if lost
                else "There is nothing to do."
            ),
        )


def kind_of(ids: Collection[str], organism: str = "") -> GeneIds:
    """Tell which kind of gene id most are."""
    looks = re.compile(rf"{LOOKS}|LOC\d+" if genes.PREFIXES.get(organism) == "LOC" else LOOKS)
    return "ensembl" if 2 * sum(looks.match(one) is not None for one in ids) > len(ids) else "symbol"


def _prefix(name: str) -> tuple[str, ...]:
    found = PREFIX.match(name)
    return tuple(one or "" for one in found.groups()) if found else ()


def _given(column: "pd.Series[str]") -> "pd.Index":
    import pandas as pd

    return pd.Index([str(name) for name in column if not pd.isna(name) and str(name)], dtype=object)


def _column(spec: DatasetSpec, kind: str, what: str, ids: "pd.Index") -> Iterator[Misfit]:
    hint = "Name a column of that kind in gene_columns, or none."
    if not len(ids):
        yield misfit("D402", f"{what} for {kind} ids is empty", hint)
    elif kind_of(ids, spec.organism) != kind:
        yield misfit("D402", f"{what} is said to hold {kind} ids, but they look like '{ids[0]}'", hint)


def _symbols(ids: "pd.Index", organism: str) -> Iterator[Misfit]:
    expected = WRITTEN.get(organism)
    words = [name for name in ids if sum(letter.isalpha() for letter in name) > 1]
    if expected is None or len(words) < 10:
        return
    upper = sum(name == name.upper() for name in words)
    title = sum(name[0].isupper() and name[1:] == name[1:].lower() and name != name.upper() for name in words)
    other, share = ("title", title) if expected == "upper" else ("upper", upper)
    if share > CLEAR * len(words):
        like = "Trp53" if other == "title" else "TP53"
        example = next(name for name in words if (name == name.upper()) == (other == "upper"))
        yield misfit(
            "D406",
            f"{100 * share // len(words)} % of the symbols are written like {like} ('{example}'), which is not how "
            f"those of {organism} are",
            "Is the organism right? Or were the genes mapped to another one's, or their names changed?",
        )
