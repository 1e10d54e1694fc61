import json

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cellgauge import catalog
from cellgauge.data import h5ad, view
from cellgauge.data.cache import Cache
from cellgauge.data.view.counts import Counts
from cellgauge.errors import DatasetError
from cellgauge.plan import DatasetChoice
from cellgauge.plan import view as view_for
from cellgauge.specs import Matrix
from support import ROOT, checked, made_model, make_cells


def counts(path, adata, matrix, chosen=None):
    """All counts of a file, as a dense table."""
    adata.write_h5ad(path)
    with h5ad.open(path) as file:
        found = Counts(file, matrix, chosen)
        blocks = [block.toarray() for _, block in found.blocks(found.factors())]
    return np.concatenate(blocks)


class TestRefused:
    def test_values_that_are_not_whole_unless_they_are_said_to_be_corrected(self, tmp_path, made):
        made.X = sp.csr_matrix(np.log1p(made.X.toarray()))
        with pytest.raises(DatasetError, match=r"X holds values that are no counts, for instance 1\.099") as caught:
            counts(tmp_path / "d.h5ad", made, Matrix())
        assert "kind: log1p" in caught.value.hint
        assert "layers/doubled" in caught.value.hint
        assert counts(tmp_path / "d.h5ad", made, Matrix(kind="corrected")).sum() == pytest.approx(made.X.sum())

    @pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, -np.inf, 1e39])
    @pytest.mark.parametrize("kind", ["counts", "log1p", "corrected"])
    def test_values_that_are_no_counts(self, tmp_path, made, value, kind):
        made.X = made.X.astype("float64")
        made.X[3, 3] = value
        if (kind, value) != ("log1p", 1e39):
            with pytest.raises(DatasetError, match="X holds negative or non-finite values, so no counts"):
                counts(tmp_path / "d.h5ad", made, Matrix(kind=kind))

    def test_scaled_values(self, tmp_path):
        adata = make_cells()
        adata.X = sp.csr_matrix(np.random.default_rng(0).gamma(1.0, 1.0, adata.shape))
        with pytest.raises(DatasetError, match="no integer counts"):
            counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p"))

    def test_a_value_that_is_too_small_for_a_count(self, tmp_path):
        adata = make_cells()
        adata.obs["n"] = 1.0  # all were scaled alike
        values = adata.X.toarray().astype("float64")
        values[0, np.flatnonzero(values[0])[0]] = 0.015  # near 0, and yet something was there
        adata.X = sp.csr_matrix(np.log1p(values))
        with pytest.raises(DatasetError, match="no integer counts"):
            counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p", total_counts="n"))

    def test_where_there_is_no_other_matrix_none_is_proposed(self, tmp_path):
        with pytest.raises(DatasetError) as caught:
            counts(tmp_path / "d.h5ad", anndata.AnnData(np.full((2, 2), 0.5)), Matrix())
        assert "The file has no other matrix." in caught.value.hint


class TestRecovered:
    @pytest.mark.parametrize("digits", [None, 3])
    @pytest.mark.parametrize("chosen", [None, np.array([0, 7, 39])])
    def test_a_cell_without_single_counts_is_right_when_totals_are_known(self, tmp_path, digits, chosen):
        adata = make_cells()
        truth = adata.X.toarray() * 2  # no count of one anywhere
        truth[1:] = adata.X.toarray()[1:]
        total = truth.sum(axis=1)
        logged = np.log1p(truth / total[:, None] * 1e4)
        adata.X = sp.csr_matrix(logged if digits is None else logged.round(digits))
        adata.obs["n"] = total
        found = counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p", total_counts="n"), chosen)
        assert (found == (truth if chosen is None else truth[:, chosen])).all()

    @pytest.mark.parametrize("totals", [None, "n"])
    def test_a_cell_without_any_count_stays_empty(self, tmp_path, totals):
        adata = make_cells()
        truth = adata.X.toarray()
        truth[5] = 0
        adata.obs["n"] = np.maximum(truth.sum(axis=1), 1)
        adata.X = sp.csr_matrix(np.log1p(truth / np.asarray(adata.obs["n"])[:, None]))
        assert (counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p", total_counts=totals)) == truth).all()

    def test_empty_cells_have_no_say_in_the_common_target(self, tmp_path):
        adata = make_cells()
        truth = adata.X.toarray()
        truth[:31] = 0  # more than half of them
        truth[31] *= 2
        total = truth.sum(axis=1)
        total[:31] = 1
        adata.X = sp.csr_matrix(np.log1p(truth / total[:, None] * 1e4))
        adata.obs["n"] = total
        assert (counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p", total_counts="n")) == truth).all()

    def test_a_zero_that_is_stored_is_not_the_smallest_value(self, tmp_path):
        adata = make_cells()
        truth = adata.X.toarray()
        adata.X = sp.csr_matrix(np.log1p(truth))
        adata.X.data[0] = truth[0, adata.X.indices[0]] = 0
        assert (counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p")) == truth).all()

    def test_no_count_at_all_is_no_reason_to_fail(self, tmp_path):
        adata = make_cells()
        adata.X = sp.csr_matrix(adata.shape, dtype="float32")
        adata.obs["n"] = 1.0
        assert not counts(tmp_path / "d.h5ad", adata, Matrix(kind="log1p", total_counts="n")).any()

    def test_the_demo_sets_counts_are_those_that_were_counted(self, real_data, tmp_path):
        dataset = checked(catalog.datasets([ROOT / "datasets.yaml"])["pbmc68k_reduced"])
        shown = view_for(made_model().spec, DatasetChoice.of(dataset))
        found = anndata.read_h5ad(view.write(dataset, shown, Cache(tmp_path)))
        truth = anndata.read_h5ad(real_data / "pbmc68k_reduced.h5ad")
        assert json.loads((real_data / "pbmc68k_reduced.json").read_text())["x_kind"] == "raw counts"
        names = view.opaque(truth.obs_names, dataset.sha256)
        assert list(found.var_names) == list(truth.var_names)
        assert (truth.X != found[names].X).nnz == 0


def test_what_a_file_says_of_its_sizes_is_only_believed_where_every_gene_is_kept(tmp_path, made):
    made.write_h5ad(tmp_path / "d.h5ad")
    with h5ad.open(tmp_path / "d.h5ad") as file:
        assert (Counts(file, Matrix(), None).sizes_told() == np.diff(made.X.indptr)).all()
        some = Counts(file, Matrix(), np.array([1, 2]))
        assert some.sizes_told() is None
        assert (some.sizes(None) == np.diff(made.X[:, [1, 2]].indptr)).all()
