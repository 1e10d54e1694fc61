"""The organism is told by gene ids, by what the file says of itself, or asked."""

import pytest

from cellgauge.data.guess import organisms
from cellgauge.errors import DatasetError
from guessing import look, plain_cells


@pytest.fixture
def cells():
    return plain_cells()


@pytest.mark.parametrize(
    ("prefix", "latin"),
    [
        ("ENSMUSG", "Mus musculus"),
        ("ENSGGOG", "Gorilla gorilla"),
        ("ENSOANG", "Ornithorhynchus anatinus"),
        ("FBgn", "Drosophila melanogaster"),
    ],
)
def test_ensembl_ids_tell_it(tmp_path, cells, prefix, latin):
    cells.var_names = [f"{prefix}{n:011d}" for n in range(60)]
    assert look(tmp_path, cells).organism == latin


def test_symbols_tell_human_from_mouse():
    human, why = organisms.of_ids(["TP53", "CD8A", "MS4A1", "ACTB", "nothing"])
    assert (human, "80%" in why) == ("Homo sapiens", True)
    assert organisms.of_ids(["Trp53", "Cd8a", "Ms4a1", "Actb"])[0] == "Mus musculus"


def test_ensembl_ids_in_a_column_come_before_symbols(tmp_path, cells):
    cells.var["id"] = [f"ENSRNOG{n:011d}" for n in range(60)]
    cells.var_names = ["Actb", "Trp53", *(f"Gm{n}" for n in range(58))]
    found = look(tmp_path, cells)
    assert (found.organism, found.gene_ids, found.gene_columns) == (
        "Rattus norvegicus",
        "symbol",
        {"ensembl": "id"},
    )


@pytest.mark.parametrize("value", ["macaque_no", "NCBITaxon:9544", "Macaca mulatta", "rhesus macaque"])
@pytest.mark.parametrize("place", ["obs", "uns"])
def test_what_the_file_says_comes_first(tmp_path, cells, place, value):
    name = "organism_ontology_term_id" if ":" in value else "organism"
    cells.var_names = [f"G{n}" for n in range(60)]
    getattr(cells, place)[name] = value
    assert look(tmp_path, cells).organism == (None if value == "macaque_no" else "Macaca mulatta")


def test_a_mixture_is_told_by_its_genes_and_said(tmp_path, cells):
    cells.obs["species"] = ["human", "mouse"] * 30
    found = look(tmp_path, cells)
    assert found.organism == "Homo sapiens"
    assert "obs species has several: human, mouse" in found.remarks["organism"]


def test_what_cannot_be_told_is_asked(tmp_path, cells):
    cells.var_names = [f"peak{n}" for n in range(60)]
    found = look(tmp_path, cells)
    assert found.unknown == ("organism",)
    with pytest.raises(DatasetError, match="organism cannot be told: the gene names are neither") as caught:
        found.entry(source="x")
    assert "--organism 'Homo sapiens'" in caught.value.hint
    assert found.entry(source="x", organism="Danio rerio")["organism"] == "Danio rerio"


def test_numbers_are_no_gene_ids(tmp_path, cells):
    cells.var_names = [str(n) for n in range(60)]
    with pytest.raises(DatasetError, match="gene_ids cannot be told: the gene ids look like 0, 1, 2"):
        look(tmp_path, cells).entry(source="x", organism="Homo sapiens")
