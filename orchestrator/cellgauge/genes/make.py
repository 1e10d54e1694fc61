"""Makes the gene tables beside this file from the raw ones: `python make.py FOLDER_OF_RAW_TABLES [WHERE]`.

The rules are told in docs/reference/genes.md. Whoever changes one raises RULES in cellgauge/data/genes.py.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

Row = dict[str, str]
Line = tuple[str, ...]
"""What is written of one gene, or of one pair."""
Ids = dict[str, str]
"""Symbol → Ensembl id; '' where the symbol is a gene's name, but which gene's cannot be said."""

ONE_TO_ONE = "ortholog_one2one"
UNFIT = re.compile(r"[A-Z]{1,2}[0-9]{5,6}\.[0-9]+|[^A-Za-z]*|ENS[A-Z]*[0-9]{11}.*")
"""No symbol but an approved one: a clone's number, which named other genes in other releases (AC012345.1), what has no
letter in it (3635 is rather an NCBI id), an Ensembl id."""

INPUTS = {
    "human.tsv.gz": ("human_gencode_v44", "human_hgnc"),
    "mouse.tsv.gz": ("mouse_ensembl", "orthologs_human_mouse_biomart"),
    "orthologs.tsv.gz": ("orthologs_human_mouse_biomart",),
}


def read(folder: Path, name: str) -> list[Row]:
    """Read one raw table."""
    with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def names(rows: Iterable[Row]) -> dict[str, set[str]]:
    """Each symbol's Ensembl ids; a gene whose symbol is its id, or nothing, has no name."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["gene_symbol"] and not row["gene_symbol"].startswith(("ENSG0", "ENSMUSG0")):
            found[row["gene_symbol"]].add(row["ensembl_id"])
    return found


def only(choice: Iterable[str]) -> str:
    """Return the one there is, and '' where there is none or a choice."""
    one, *others = {*choice} or {""}
    return "" if others else one


def human_symbols(gencode: list[Row], hgnc: list[Row]) -> Ids:
    """Say which gene each approved symbol names, by GENCODE and HGNC together."""
    named, today = names(gencode), {row["ensembl_id"]: row["gene_symbol"] for row in gencode}
    said = {row["symbol"]: row["ensembl_gene_id"] for row in hgnc}
    claims = Counter(said.values())
    ids = {}
    for symbol in named.keys() | said.keys():
        choice, claim = named.get(symbol, set()), said.get(symbol, "")
        if claim in choice or claim not in today:
            # An id that GENCODE has given up is still the one of most references and models, if HGNC stood by it.
            ids[symbol] = claim or only(choice)
        elif choice:
            ids[symbol] = only(choice)
        else:
            # The gene bears another name today; if that is another gene of HGNC's, one of the two is mistaken.
            ids[symbol] = claim if claims[claim] == 1 and today[claim] not in said else ""
    return ids


def human_others(approved: Ids, hgnc: list[Row]) -> Ids:
    """Say which gene each previous or alias symbol means, if one alone; a previous symbol before an alias."""
    cased = {symbol.upper() for symbol in approved}
    others: Ids = {}
    for column in ("alias_symbol", "prev_symbol"):  # the later one wins
        meant: dict[str, set[str]] = defaultdict(set)
        for row in hgnc:
            for other in row[column].split("|"):
                if other and other.upper() not in cased and not UNFIT.fullmatch(other):
                    # A gene without an Ensembl id still makes the symbol ambiguous: hence its HGNC id in its place.
                    meant[other].add(approved[row["symbol"]] or row["hgnc_id"])
        others |= {other: only(choice) for other, choice in meant.items()}
    return {other: found for other, found in others.items() if found.startswith("ENSG")}


def human(gencode: list[Row], hgnc: list[Row]) -> list[Line]:
    """Make the human table: Ensembl id, symbol, other symbols that mean the gene.

    The first row with a symbol has the id that the symbol becomes; rows at the end have ids that took another's place.
    """
    approved = human_symbols(gencode, hgnc)
    today = {row["ensembl_id"]: row["gene_symbol"] for row in gencode}
    symbols: dict[str, list[str]] = defaultdict(list)
    for symbol, found in sorted(approved.items()):
        symbols[found].append(symbol)
    others: dict[str, list[str]] = defaultdict(list)
    for other, found in sorted(human_others(approved, hgnc).items()):
        others[found].append(other)
    rows: list[Line] = []
    for found in sorted(symbols.keys() - {""}):
        # Two approved symbols of one gene: it was renamed since HGNC's table was made, and GENCODE has the new one.
        first = today[found] if today.get(found) in symbols[found] else symbols[found][0]
        more = {*symbols[found], *others[found]} - {first}
        rows.append((found, first, "|".join(sorted(more))))
    heirs: list[Line] = [
        (found, name, "") for name, (found, *more) in names(gencode).items() if not more and found not in symbols
    ]
    return rows + sorted(heir for heir in heirs if approved[heir[1]])


def mouse(ensembl: list[Row], pairs: list[Row]) -> list[Line]:
    """Make the mouse table; of genes with one symbol, the one alone whose human ortholog has the same is meant."""
    alike = {row["mouse_ensembl"] for row in pairs if row["human_symbol"].upper() == row["mouse_symbol"].upper() != ""}
    ids = {symbol: only(choice) or only(choice & alike) for symbol, choice in names(ensembl).items()}
    return sorted((found, symbol) for symbol, found in ids.items() if found)


def orthologs(rows: list[Row]) -> list[Line]:
    """Make the table of one-to-one orthologs of high confidence: human and mouse Ensembl id."""
    pairs = {(row["human_ensembl"], row["mouse_ensembl"]): row for row in rows if row["homology_type"] == ONE_TO_ONE}
    seen = Counter(gene for pair in pairs for gene in pair)
    return sorted(pair for pair, row in pairs.items() if row["confidence"] == "1" and all(seen[g] == 1 for g in pair))


def text(rows: list[Line]) -> bytes:
    """Write rows as tab-separated text."""
    return "".join("\t".join(row).rstrip("\t") + "\n" for row in rows).encode()


def pack(content: bytes) -> bytes:
    """Compress without a date, so that the same content is the same bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file:
        file.write(content)
    return packed.getvalue()


def make(raw: Path) -> dict[str, list[Line]]:
    """Make the rows of every table out of the raw ones in a folder."""
    pairs = read(raw, "orthologs_human_mouse_biomart")
    return {
        "human.tsv.gz": human(read(raw, "human_gencode_v44"), read(raw, "human_hgnc")),
        "mouse.tsv.gz": mouse(read(raw, "mouse_ensembl"), pairs),
        "orthologs.tsv.gz": orthologs(pairs),
    }


def describe(raw: Path, tables: dict[str, list[Line]]) -> str:
    """Say where the tables come from, and under which licences."""
    told: dict[str, object] = {"made_by": "make.py", "rules": "docs/reference/genes.md"}
    for name, rows in tables.items():
        inputs = []
        for source in INPUTS[name]:
            about = json.loads((raw / f"{source}.json").read_text())
            packed = (raw / f"{source}.tsv.gz").read_bytes()
            inputs.append(
                {
                    "file": f"{source}.tsv.gz",
                    "sha256": hashlib.sha256(packed).hexdigest(),
                    "licence": about["license"],
                    "source": about["source"],
                }
            )
        told[name] = {
            "rows": len(rows),
            "sha256": hashlib.sha256(text(rows)).hexdigest(),
            "inputs": inputs,
        }
    return json.dumps(told, indent=1) + "\n"


def main() -> None:
    """Make the tables from the raw ones in the first folder, into the second or this one."""
    raw, *where = (Path(argument) for argument in sys.argv[1:])
    target = where[0] if where else Path(__file__).parent
    tables = make(raw)
    for name, rows in tables.items():
        (target / name).write_bytes(pack(text(rows)))
    (target / "tables.json").write_text(describe(raw, tables))


if __name__ == "__main__":
    main()
