import anndata
import numpy as np
import pandas as pd
import pytest

from cellgauge.data import genes, h5ad
from cellgauge.data.view import panel
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix, View


def made(path, var, **fields):
    adata = anndata.AnnData(np.zeros((2, len(var)), "float32"), var=var)
    adata.write_h5ad(path)
    told = {"sha256": "0", "matrix": Matrix(), "organism": "Homo sapiens"}
    with h5ad.open(path) as file:
        return panel.make(file, View(**{**told, "gene_columns": {}, "obs": {}, **fields}))


SYMBOLS = pd.DataFrame({"ens": ["ENSG00000000001.7", None, "ENSG00000000001.2", ""]}, index=["A", "B", "C", "D"])


def test_the_datasets_own_columns_name_the_genes_and_versions_are_stripped(tmp_path):
    found = made(tmp_path / "d.h5ad", SYMBOLS, gene_index="symbol", gene_columns={"ensembl": "ens"}, gene_ids="symbol")
    assert found.table.index.tolist() == found.table["gene_symbol"].tolist() == ["A", "B", "C", "D"]
    assert found.table["ensembl_id"].tolist() == ["ENSG00000000001", "", "ENSG00000000001", ""]


def test_of_two_genes_alike_with_one_id_the_first_stays_and_one_without_is_left_out(tmp_path):
    wanted = {"gene_index": "symbol", "gene_columns": {"ensembl": "ens"}, "gene_ids": "ensembl"}
    found = made(tmp_path / "d.h5ad", SYMBOLS, **wanted)
    assert (found.table.index.tolist(), found.chosen.tolist()) == (["ENSG00000000001"], [0])
    assert (found.coverage.given, found.coverage.kept, found.coverage.converted) == (4, 1, False)


def test_what_the_dataset_does_not_say_is_looked_up_in_the_table_that_the_view_names(tmp_path):
    var = pd.DataFrame({"ens": [None, "ENSG00000999999", None]}, index=["TP53", "EGFR", "no such gene"])
    wanted = {"gene_index": "symbol", "gene_columns": {"ensembl": "ens"}, "gene_ids": "ensembl"}
    found = made(tmp_path / "d.h5ad", var, **wanted, gene_table=genes.table_digest("Homo sapiens"))
    assert found.table.index.tolist() == ["ENSG00000141510", "ENSG00000999999"], "the dataset's own word comes first"
    assert (found.coverage.kept, found.coverage.converted) == (2, True)


CD45, NO_OTHER = "ENSG00000081237", {"gene_index": "symbol", "gene_ids": "ensembl"}


@pytest.mark.parametrize(
    ("names", "kept"), [(["CD45", "PTPRC"], "PTPRC"), (["PTPRC", "CD45"], "PTPRC"), (["T200", "CD45"], "T200")]
)
def test_an_alias_does_not_take_the_place_of_the_gene(tmp_path, names, kept):
    digest = genes.table_digest("Homo sapiens")
    found = made(tmp_path / "d.h5ad", pd.DataFrame(index=names), **NO_OTHER, gene_table=digest)
    assert (found.table.index.tolist(), found.table["gene_symbol"].tolist()) == ([CD45], [kept])
    assert found.chosen.tolist() == [names.index(kept)]


def test_an_id_that_was_given_up_does_not_take_the_place_of_the_one_that_its_symbol_has(tmp_path):
    digest = genes.table_digest("Homo sapiens")
    wanted = {"gene_index": "ensembl", "gene_ids": "symbol", "gene_table": digest}
    old, new = genes.convert(["SOD2"], "Homo sapiens", "ensembl")[0], "ENSG00000291237"
    assert genes.convert([new, old], "Homo sapiens", "symbol") == ["SOD2", "SOD2"]
    found = made(tmp_path / "d.h5ad", pd.DataFrame(index=[new, old]), **wanted)
    assert (found.table.index.tolist(), found.table["ensembl_id"].tolist()) == (["SOD2"], [old])


def test_a_copy_on_chromosome_y_does_not_take_the_place_of_the_gene(tmp_path):
    var = pd.DataFrame(index=["ENSG00000002586.20_PAR_Y", "ENSG00000002586.20"])
    for organism in ("Homo sapiens", ""):
        found = made(tmp_path / "d.h5ad", var, gene_index="ensembl", gene_ids="ensembl", organism=organism)
        assert (found.table.index.tolist(), found.chosen.tolist()) == (["ENSG00000002586"], [1])


def test_what_the_dataset_says_comes_before_what_is_looked_up_for_another_gene(tmp_path):
    var = pd.DataFrame({"ens": [None, CD45]}, index=["PTPRC", "mine"])
    columns = {"gene_columns": {"ensembl": "ens"}, "gene_table": genes.table_digest("Homo sapiens")}
    found = made(tmp_path / "d.h5ad", var, **NO_OTHER, **columns)
    assert (found.chosen.tolist(), found.coverage.converted) == ([1], False)


def test_a_gene_without_a_symbol_goes_by_its_ensembl_id(tmp_path):
    var = pd.DataFrame(index=["ENSG00000141510.4", "ENSG00000999999"])
    wanted = {"gene_index": "ensembl", "gene_ids": "ensembl", "gene_table": genes.table_digest("Homo sapiens")}
    found = made(tmp_path / "d.h5ad", var, **wanted).table
    assert found["feature_name"].tolist() == ["TP53", "ENSG00000999999"]
    assert found["gene_symbol"].tolist() == ["TP53", ""]


def test_an_organism_without_a_table_is_told(tmp_path):
    wanted = {"gene_index": "symbol", "gene_ids": "ensembl", "gene_table": "x", "organism": "Danio rerio"}
    with pytest.raises(DatasetError, match="no gene table for Danio rerio"):
        made(tmp_path / "d.h5ad", SYMBOLS, **wanted)
