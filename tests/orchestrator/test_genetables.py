"""The shipped gene tables: how they are made, where they come from, and what other tables say."""

import csv
import gzip
import importlib.util
import json
import re
from collections import Counter

import pytest

from cellgauge.data import genes
from support import ROOT

HUMAN, MOUSE = "Homo sapiens", "Mus musculus"
SHIPPED = ROOT / "orchestrator" / "cellgauge" / "genes"


@pytest.fixture(scope="module")
def raw(real_data):
    folder = real_data.parent / "genes"
    if not folder.is_dir():
        pytest.skip(f"no raw gene tables in {folder}")
    return folder


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_gene_tables", SHIPPED / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(folder, name):
    with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


GENCODE = {
    "ENSG1": "NEW",
    "ENSG2": "TWICE",
    "ENSG3": "TWICE",
    "ENSG4": "ENSG00000000004",
    "ENSG5": "GREEK",
    "ENSG9": "MOVED",
}


def hgnc(symbol, id="", prev="", alias=""):
    return {
        "hgnc_id": f"HGNC:{symbol}",
        "symbol": symbol,
        "ensembl_gene_id": id,
        "prev_symbol": prev,
        "alias_symbol": alias,
    }


@pytest.mark.parametrize(
    ("said", "name", "id"),
    [
        ([], "NEW", "ENSG1"),
        ([], "TWICE", None),
        ([hgnc("TWICE", "ENSG3")], "TWICE", "ENSG3"),
        ([hgnc("TWICE", "ENSG1")], "TWICE", None),
        ([hgnc("OLD", "ENSG1")], "OLD", "ENSG1"),  # renamed since
        ([hgnc("OLD", "ENSG1"), hgnc("NEW")], "OLD", None),  # two genes
        ([hgnc("OLD", "ENSG4"), hgnc("ELSE", "ENSG4")], "OLD", None),
        ([hgnc("NAMED", "ENSG4")], "NAMED", "ENSG4"),
        ([hgnc("MOVED", "ENSG8")], "MOVED", "ENSG8"),  # an id that GENCODE gave up
        ([hgnc("MOVED", "ENSG1")], "MOVED", "ENSG9"),  # one that it calls otherwise
        ([hgnc("NEW", "ENSG1", prev="A"), hgnc("GREEK", "ENSG5", alias="A")], "A", "ENSG1"),
        ([hgnc("NEW", "ENSG1", prev="A"), hgnc("GREEK", "ENSG5", prev="A")], "A", None),
        ([hgnc("NEW", "ENSG1", alias="A"), hgnc("GREEK", prev="A|B", id="ENSG5")], "A", "ENSG5"),
        ([hgnc("NEW", "ENSG1", alias="A"), hgnc("NOID", alias="A")], "A", None),
        ([hgnc("NEW", "ENSG1", prev="A", alias="A")], "A", "ENSG1"),
        ([hgnc("NEW", "ENSG1", prev="GREEK")], "GREEK", "ENSG5"),
        ([hgnc("NEW", "ENSG1", alias="Greek")], "Greek", None),
        ([hgnc("NEW", "ENSG1", alias="AC104653.1|NKX2.5")], "AC104653.1", None),
        ([hgnc("NEW", "ENSG1", alias="AC104653.1|NKX2.5")], "NKX2.5", "ENSG1"),
    ],
)
def test_the_rules_of_human_symbols(maker, said, name, id):
    gencode = [{"ensembl_id": one, "gene_symbol": other} for one, other in GENCODE.items()]
    means = {}
    for found, approved, *more in maker.human(gencode, said):
        for one in (approved, *(more[0].split("|") if more and more[0] else ())):
            means.setdefault(one, found)
    assert means.get(name) == id


def test_the_rules_of_orthologs(maker):
    def row(human, mouse, kind="one2one", confidence="1"):
        kind = f"ortholog_{kind}"
        return {"human_ensembl": human, "mouse_ensembl": mouse, "homology_type": kind, "confidence": confidence}

    rows = [row("H1", "M1"), row("H2", "M2", confidence="0"), row("H3", "M3", "one2many"), row("H1", "M1")]
    rows += [row("H4", "M4"), row("H5", "M4", confidence="0"), row("H6", "M6"), row("H6", "M7")]
    assert maker.orthologs(rows) == [("H1", "M1")]


def test_the_tables_are_small():
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.tsv.gz")) < 1_200_000


# ---- against the raw tables and others


def test_the_shipped_tables_are_made_from_the_raw_ones_to_the_byte(raw, maker):
    made = maker.make(raw)
    for name, found in made.items():
        # What is inside is compared: zlib's versions compress differently.
        assert maker.text(found) == gzip.decompress((SHIPPED / name).read_bytes()), name
        assert (SHIPPED / name).read_bytes()[4:8] == bytes(4), "the date is left out"
    assert maker.describe(raw, made) == (SHIPPED / "tables.json").read_text()


def test_sources_and_licences_are_shipped():
    told = json.loads((SHIPPED / "tables.json").read_text())
    for path in SHIPPED.glob("*.tsv.gz"):
        for source in told[path.name]["inputs"]:
            assert source["licence"]
            assert re.fullmatch("[0-9a-f]{64}", source["sha256"])


def test_gencode_names_that_are_one_genes_are_kept(raw):
    found = table(raw, "human_gencode_v44")
    often = Counter(row["gene_symbol"] for row in found)
    single = [row for row in found if often[row["gene_symbol"]] == 1 and row["gene_symbol"] != row["ensembl_id"]]
    assert genes.convert([row["ensembl_id"] for row in single], HUMAN, "symbol") == [
        row["gene_symbol"] for row in single
    ]
    back = genes.convert([row["gene_symbol"] for row in single], HUMAN, "ensembl")
    assert sum(one != row["ensembl_id"] for one, row in zip(back, single, strict=True)) == 32  # replaced ids


@pytest.mark.parametrize(("name", "least"), [("mouse_human_mgi", 0.998), ("human_mouse_ensembl105", 0.999)])
def test_two_other_tables_agree_on_orthologs(raw, name, least):
    pairs = {(row["human_symbol"], row["mouse_symbol"]) for row in table(raw, f"orthologs_{name}")}
    humans, mice = (Counter(pair[side] for pair in pairs) for side in (0, 1))
    single = [pair for pair in pairs if all(pair) and humans[pair[0]] == mice[pair[1]] == 1]
    ours = genes.to_organism([pair[0] for pair in single], HUMAN, MOUSE, ids_kind="ensembl")
    theirs = genes.convert([pair[1] for pair in single], MOUSE, "ensembl")
    shared = [(one, other) for one, other in zip(ours, theirs, strict=True) if one and other]
    assert len(shared) > 14_500
    assert sum(one == other for one, other in shared) / len(shared) > least
