import anndata
import numpy as np
import pandas as pd
import pytest

from cellgauge.data import genes, h5ad
from cellgauge.data.view import panel
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix, View


def made(path, var, *, raw=False, **fields):
    adata = anndata.AnnData(np.zeros((2, len(var)), "float32"), var=var)
    if raw:
        adata.raw = adata
        adata = adata[:, :1].copy()
    adata.write_h5ad(path)
    told = {"sha256": "0", "matrix": Matrix(slot="raw" if raw else "X"), "organism": "Homo sapiens"}
    with h5ad.open(path) as file:
        return panel.make(file, View(**{**told, "gene_columns": {}, "obs": {}, **fields}))


SYMBOLS = pd.DataFrame({"ens": ["ENSG00000000001.7", None, "ENSG00000000001.2", ""]}, index=["A", "B", "C", "D"])


def test_the_datasets_own_columns_name_the_genes_and_versions_are_stripped(tmp_path):
    found = made(tmp_path / "d.h5ad", SYMBOLS, gene_index="symbol", gene_columns={"ensembl": "ens"}, gene_ids="symbol")
    assert found.table.index.tolist() == found.table["gene_symbol"].tolist() == ["A", "B", "C", "D"]
    assert found.table["ensembl_id"].tolist() == ["ENSG00000000001", "", "ENSG00000000001", ""]


def test_of_two_genes_with_one_id_the_first_stays_and_one_without_is_left_out(tmp_path):
    wanted = {"gene_index": "symbol", "gene_columns": {"ensembl": "ens"}, "gene_ids": "ensembl"}
    found = made(tmp_path / "d.h5ad", SYMBOLS, **wanted)
    assert (found.table.index.tolist(), found.chosen.tolist()) == (["ENSG00000000001"], [0])
    assert (found.coverage.given, found.coverage.kept, found.coverage.converted) == (4, 1, False)


def test_raw_has_genes_of_its_own(tmp_path):
    assert len(made(tmp_path / "d.h5ad", SYMBOLS, raw=True, gene_index="symbol", gene_ids="symbol").table) == 4


def test_what_the_dataset_does_not_say_is_looked_up_in_the_table_that_the_view_names(tmp_path):
    var = pd.DataFrame({"ens": [None, "ENSG00000999999", None]}, index=["TP53", "EGFR", "no such gene"])
    wanted = {"gene_index": "symbol", "gene_columns": {"ensembl": "ens"}, "gene_ids": "ensembl"}
    found = made(tmp_path / "d.h5ad", var, **wanted, gene_table=genes.table_digest("Homo sapiens"))
    assert found.table.index.tolist() == ["ENSG00000141510", "ENSG00000999999"], "the dataset's own word comes first"
    assert (found.coverage.kept, found.coverage.converted) == (2, True)


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
