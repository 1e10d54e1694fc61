"""Raw counts are found where they lie, and what is none is not taken for them."""

import numpy as np
import pytest
import scanpy
import scipy.sparse as sp

from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix
from guessing import look, plain_cells


@pytest.fixture
def cells():
    return plain_cells()


@pytest.mark.parametrize("made", [sp.csr_matrix, sp.csc_matrix, lambda counts: counts.toarray()])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_counts_are_known_however_they_are_stored(tmp_path, cells, made, dtype):
    cells.X = made(cells.X.astype(dtype))
    assert look(tmp_path, cells).matrix == Matrix()


@pytest.mark.parametrize("slot", ["raw", "layers/counts", "layers/whatever"])
def test_they_are_found_where_they_lie(tmp_path, cells, slot):
    counts = cells.copy()
    scanpy.pp.log1p(cells)
    if slot == "raw":
        cells.raw = counts
    else:
        cells.layers[slot.removeprefix("layers/")] = counts.X
        cells.layers["ambiguous"] = counts.X
    assert look(tmp_path, cells).matrix == Matrix(slot=slot)


def test_logarithms_are_known_by_the_counts_that_come_back(tmp_path, cells):
    cells.obs["n_counts"] = np.asarray(cells.X.sum(axis=1)).ravel()
    scanpy.pp.normalize_total(cells, target_sum=1e4)
    scanpy.pp.log1p(cells)
    assert look(tmp_path, cells).matrix == Matrix(kind="log1p", total_counts="n_counts")
    cells.obs["n_counts"] *= np.linspace(1, 2, 60)  # these are not the totals
    assert look(tmp_path, cells).matrix == Matrix(kind="log1p")


def test_totals_tell_counts_of_cells_without_a_single_one(tmp_path, cells):
    few = slice(0, cells.X.indptr[10])
    cells.X.data[few] = 2 * cells.X.data[few] + 1  # 3, 5, 7: thirds, if the least of a cell is taken to be one
    cells.obs["total_counts"] = np.asarray(cells.X.sum(axis=1)).ravel()
    scanpy.pp.normalize_total(cells, target_sum=1e4)
    scanpy.pp.log1p(cells)
    assert look(tmp_path, cells).matrix == Matrix(kind="log1p", total_counts="total_counts")
    del cells.obs["total_counts"]
    assert look(tmp_path, cells).matrix is None


def test_corrected_counts_are_told_from_scaled_ones(tmp_path, cells):
    cells.X.data *= 20
    corrected, scaled, subset = cells.copy(), cells.copy(), cells.copy()
    corrected.X.data *= np.random.default_rng(0).uniform(0.7, 1, corrected.X.nnz).astype("float32")
    assert look(tmp_path, corrected).matrix == Matrix(kind="corrected")
    scanpy.pp.normalize_total(scaled, target_sum=1e4)
    scanpy.pp.normalize_total(subset, target_sum=1e4)
    for one in (scaled, subset[:, 10:].copy()):
        found = look(tmp_path, one)
        assert found.matrix is None
        assert "counts that were scaled" in found.remarks["matrix"]


def test_nothing_usable_is_said_with_what_to_do(tmp_path, cells):
    cells.X = cells.X.toarray()
    scanpy.pp.scale(cells)
    found = look(tmp_path, cells)
    assert found.unknown == ("matrix",)
    with pytest.raises(DatasetError, match="matrix cannot be told: X holds values that are negative") as caught:
        found.entry(source="x")
    assert "adata.layers['counts']" in caught.value.hint


def test_empty_cells_are_stated(tmp_path, cells):
    cells.X = sp.csr_matrix(np.vstack([np.zeros((1, 60), dtype="float32"), cells.X[1:].toarray()]))
    found = look(tmp_path, cells)
    assert found.entry(source="x")["empty_cells"] == pytest.approx(0.017)
    assert found.remarks["empty_cells"] == "1 of 60 cells are empty"
