"""Converts gene ids between symbols and Ensembl ids, and between human and mouse, by tables that cellgauge ships.

What cannot be said for certain is '' and never a guess; the rules are told in docs/reference/genes.md.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from cellgauge.errors import DatasetError, StorageError
from cellgauge.specs.base import GeneIds

RULES = 1
"""Raised whenever the same table would convert an id differently, or `genes/make.py` is changed to that end."""

TABLES = {"Homo sapiens": "human", "Mus musculus": "mouse"}
PREFIXES = {
    "Homo sapiens": "ENSG",
    "Mus musculus": "ENSMUSG",
    "Xenopus tropicalis": "ENSXETG",
    "Xenopus laevis": "ENSXLAG",
    "Danio rerio": "ENSDARG",
    "Microcebus murinus": "ENSMICG",
    "Sus scrofa": "ENSSSCG",
    "Macaca fascicularis": "ENSMFAG",
    "Macaca mulatta": "ENSMMUG",
    "Ornithorhynchus anatinus": "ENSOANG",
    "Monodelphis domestica": "ENSMODG",
    "Gorilla gorilla": "ENSGGOG",
    "Pan troglodytes": "ENSPTRG",
    "Callithrix jacchus": "ENSCJAG",
    "Gallus gallus": "ENSGALG",
    "Oryctolagus cuniculus": "ENSOCUG",
    "Rattus norvegicus": "ENSRNOG",
    "Heterocephalus glaber": "ENSHGLG",
    "Petromyzon marinus": "ENSPMAG",
    "Spongilla lacustris": "ENSLPGG",
    "Drosophila melanogaster": "FBgn",
    "Caenorhabditis elegans": "WBGene",
    "Plasmodium falciparum": "PF3D7_",
    "Stylophora pistillata": "LOC",
    "Saccharomyces cerevisiae": "",
    "Lytechinus variegatus": "",
}
"""How the gene ids of each organism begin in Ensembl, or in the database whose ids Ensembl keeps; '': in no one way."""

# ENSG00000141510.17; GENCODE's lifted ENSG00000223972.5_2; its copies on chromosome Y, ENSG00000002586.20_PAR_Y.
ENSEMBL = re.compile(r"(ENS(?:[A-Z]{3,4})?G[0-9]{11})(?:\.[0-9]+(?:_[0-9]+)?)?(?:_PAR_Y)?", re.ASCII)


class Table(NamedTuple):
    """One organism's genes."""

    ensembl: dict[str, str]
    """Ensembl id of each symbol, approved or other."""
    symbol: dict[str, str]
    """Approved symbol of each Ensembl id."""


def known(organism: str) -> bool:
    """Say whether there is a table for an organism (its Latin name)."""
    return organism in TABLES


def strip(ids: Sequence[str]) -> list[str]:
    """Take the version off Ensembl gene ids, and leave all else as it is: a symbol's dot belongs to it (AC012345.1).

    `ENSG00000141510.17` becomes `ENSG00000141510`. A gene's copy on chromosome Y (`ENSG00000002586.20_PAR_Y`) becomes
    the gene, so that two ids may become one.
    """
    return [found[1] if (found := ENSEMBL.fullmatch(one)) else one for one in ids]


def convert(ids: Sequence[str], organism: str, to: GeneIds) -> list[str]:
    """Convert gene ids to one kind, in order; '' where it cannot be said.

    Parameters
    ----------
    ids
        Symbols, Ensembl gene ids (with or without version), or some of each.
    organism
        Latin name.
    to
        `ensembl`: Ensembl gene ids of this organism pass through, without version. `symbol`: what is no Ensembl gene id
        passes through, be it a symbol that is known, an outdated one or none at all.

    Returns
    -------
    list of str
        As long as `ids`. Two ids may become one: a gene's old and new symbol mean the same gene.

    Raises
    ------
    DatasetError
        If there is no table for the organism.
    """
    table, bare = _table(_known(organism)), strip(ids)
    if to == "symbol":
        return [table.symbol.get(one, "") if ENSEMBL.fullmatch(one) else one for one in bare]
    prefix = PREFIXES[organism]
    own = [one if one.startswith(prefix) and ENSEMBL.fullmatch(one) else "" for one in bare]
    return [mine or table.ensembl.get(one, "") for mine, one in zip(own, bare, strict=True)]


def proper(names: Sequence[str], ids: Sequence[str], organism: str) -> list[bool]:
    """Tell which genes go by the very name that belongs to their id, and not by an alias or by an id that was given up.

    Parameters
    ----------
    names
        What a dataset calls each gene.
    ids
        The id that each was found to have, of either kind; as long as `names`.
    organism
        Latin name.

    Returns
    -------
    list of bool
        For PTPRC and its id True, for CD45 and the same id False. Without a table for the organism, True unless it is
        a gene's copy on chromosome Y.
    """
    bare = strip(names)
    original = [name == one or not name.endswith("_PAR_Y") for name, one in zip(names, bare, strict=True)]
    if organism not in TABLES:
        return original
    table = _table(organism)
    found = []
    for name, one, first in zip(bare, ids, original, strict=True):
        paired = table.symbol.get(one) == name or table.ensembl.get(one) == name
        found.append(first and (name == one or paired))
    return found


def coverage(converted: Sequence[str]) -> float:
    """Return the share of ids that could be converted, of what `convert` or `to_organism` gave; 0 where it is empty."""
    return sum(map(bool, converted)) / len(converted) if converted else 0.0


def orthologs(of: str, to: str, *, ids: GeneIds = "ensembl") -> dict[str, str]:
    """Return the one-to-one orthologs of one organism's genes in another.

    Parameters
    ----------
    of, to
        Latin names; two different ones of human and mouse.
    ids
        The kind of gene id on both sides; of symbols, the approved ones.

    Returns
    -------
    dict of str to str
        No gene occurs twice on either side. A gene without an ortholog, or with several, is not in it.

    Raises
    ------
    DatasetError
        If there is no table for the two.
    """
    pairs = _pairs(_known(of), _known(to))
    if ids == "ensembl":
        return dict(pairs)
    left, right = _table(of).symbol, _table(to).symbol
    return {left[one]: right[other] for one, other in pairs.items() if one in left and other in right}


def to_organism(ids: Sequence[str], of: str, to: str, *, ids_kind: GeneIds) -> list[str]:
    """Convert one organism's gene ids to those of another's one-to-one orthologs, in order; '' where there is none.

    `ids` may be of either kind, with outdated symbols too; `ids_kind` is the kind that comes out.

    Raises
    ------
    DatasetError
        If there is no table for the two.
    """
    pairs = _pairs(_known(of), _known(to))
    found = _settled(convert(ids, of, "ensembl"), of)
    return convert([pairs.get(one, "") for one in found], to, ids_kind)


@cache
def table_digest(organism: str) -> str:
    """Hash an organism's table and the rules by which it is used: 16 hexadecimal digits, part of a view's identity."""
    return _digest(TABLES[_known(organism)])


@cache
def orthologs_digest() -> str:
    """Hash all that `to_organism` goes by: 16 hexadecimal digits."""
    return _digest("orthologs", *TABLES.values())


def _digest(*names: str) -> str:
    said = hashlib.sha256(f"rules {RULES}\n".encode())
    for name in names:
        said.update(_content(name))
    return said.hexdigest()[:16]


def _known(organism: str) -> str:
    if organism not in TABLES:
        raise DatasetError(
            f"no gene table for {organism or 'an organism without a name'}",
            f"Gene ids can be converted for {' and '.join(TABLES)}. Otherwise the dataset needs a var column with the "
            "wanted kind of id, named under gene_columns in its catalogue entry.",
        )
    return organism


def _content(name: str) -> bytes:
    path = files("cellgauge").joinpath("genes", f"{name}.tsv.gz")
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as problem:
        raise StorageError(f"the gene table {path} cannot be read: {problem}", "Install cellgauge again.") from problem


def _rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in _content(name).decode().splitlines()]


@cache
def _table(organism: str) -> Table:
    table = Table({}, {})
    for ensembl, symbol, *others in _rows(TABLES[organism]):
        table.symbol[ensembl] = symbol
        table.ensembl.setdefault(symbol, ensembl)  # the first row is the one meant: see genes/make.py
        for other in others[0].split("|") if others else ():
            table.ensembl[other] = ensembl
    return table


@cache
def _pairs(of: str, to: str) -> dict[str, str]:
    if of == to:
        raise DatasetError(f"orthologs of {of} in itself", "Name two different organisms.")
    human, mouse = (_settled(column, organism) for column, organism in zip(_columns(), TABLES, strict=True))
    return dict(zip(human, mouse, strict=True) if of == "Homo sapiens" else zip(mouse, human, strict=True))


def _columns() -> tuple[list[str], list[str]]:
    rows = _rows("orthologs")
    return [human for human, _ in rows], [mouse for _, mouse in rows]


def _settled(ids: Sequence[str], organism: str) -> list[str]:
    """Of the several Ensembl ids that a gene has had, give the one that its symbol becomes."""
    table = _table(organism)
    return [table.ensembl[table.symbol[one]] if one in table.symbol else one for one in ids]
