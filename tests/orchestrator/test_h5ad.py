"""The reader gives what anndata gives, of every layout, in blocks."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellgauge.data import check, h5ad
from cellgauge.data.h5ad import matrix
from oldfiles import legacy

FORMS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}
NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=8)


def whole(file, slot, values):
    """Put blocks together again, having made sure that they are consecutive and about as large as asked for."""
    blocks, at = [], 0
    for first, block in file.blocks(slot, values=values):
        assert first == at
        assert block.shape[0] == 1 or block.nnz <= values * (4 if file.encoding(slot) == "dense" else 1)
        at += block.shape[0]
        blocks.append(block)
    assert at == file.shape(slot)[0]
    return sp.vstack(blocks, format="csr") if blocks else sp.csr_matrix(file.shape(slot))


def same(found, expected):
    """Equal value by value, missing ones included, and of one kind."""
    assert pd.api.types.is_numeric_dtype(found) == pd.api.types.is_numeric_dtype(expected)
    assert isinstance(found.dtype, pd.CategoricalDtype) == isinstance(expected.dtype, pd.CategoricalDtype)
    if isinstance(found.dtype, pd.CategoricalDtype):
        assert list(found.cat.categories) == list(expected.cat.categories)
        assert found.cat.ordered == expected.cat.ordered
    missing = found.isna().to_numpy()
    assert (missing == expected.isna().to_numpy()).all()
    assert list(found.to_numpy()[~missing]) == list(expected.to_numpy()[~missing])


@st.composite
def made_files(draw):
    """An AnnData of any of the layouts that are written today, and how to write it."""
    cells, genes = draw(st.integers(0, 12)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from(["int32", "int64", "uint16", "float32", "float64"]))
    counts = random.poisson(draw(st.sampled_from([0.1, 2])), (cells, genes)).astype(dtype)
    form = FORMS[draw(st.sampled_from(sorted(FORMS)))]
    index = draw(st.lists(NAMES, min_size=cells, max_size=cells, unique=True))
    values = pd.array(random.integers(0, 5, cells), dtype="Int64")
    values[: cells // 2] = None
    obs = pd.DataFrame(
        {
            "text": [f"ä{n % 4}" for n in range(cells)],
            "category": pd.Categorical([f"c{n % 3}" for n in range(cells)], ordered=draw(st.booleans())),
            "numbers": pd.Categorical([n % 3 for n in range(cells)]),
            "missing": pd.Categorical(["a" if n % 2 else None for n in range(cells)]),
            "flag": random.random(cells) > 0.5,
            "real": random.random(cells),
            "nullable": values,
            "maybe": pd.array([None if n % 3 else True for n in range(cells)], dtype="boolean"),
        },
        index=pd.Index(index, dtype=object),
    )
    var = pd.DataFrame({"ensembl": [f"ENSG{n}" for n in range(genes)]}, index=[f"g{n}" for n in range(genes)])
    adata = anndata.AnnData(X=form(counts), obs=obs, var=var)
    adata.layers["odd name"] = form(counts * 2)
    if draw(st.booleans()):
        adata.raw = adata
        adata = adata[:, : max(1, genes // 2)].copy()
    return adata, draw(st.sampled_from([None, "gzip", "lzf"])), draw(st.integers(1, 40))


@settings(deadline=None, max_examples=40)
@given(made_files())
def test_what_is_read_in_blocks_is_what_anndata_reads(tmp_path_factory, given):
    adata, compression, values = given
    path = tmp_path_factory.mktemp("made") / "made.h5ad"
    adata.write_h5ad(path, compression=compression)
    truth = anndata.read_h5ad(path)
    with h5ad.open(path) as file:
        assert file.n_cells == truth.n_obs
        assert list(file.cells()) == list(truth.obs_names)
        assert file.columns() == list(truth.obs)
        for column in truth.obs:
            obs = file.obs([column])
            assert list(obs.columns) == [column]
            assert list(obs.index) == list(truth.obs_names)
            same(obs[column], truth.obs[column])
        expected = {"X": truth.X, "layers/odd name": truth.layers["odd name"]}
        if truth.raw is not None:
            expected["raw"] = truth.raw.X
        assert sorted(file.slots()) == sorted(expected)
        for slot, there in expected.items():
            found = whole(file, slot, values)
            assert found.dtype == there.dtype or not len(truth)
            assert (found.toarray() == (there if isinstance(there, np.ndarray) else there.toarray())).all()
            sizes = file.row_sizes(slot)
            assert (sizes is None) == (file.encoding(slot) != "csr")
            assert sizes is None or (sizes == np.diff(there.indptr)).all()
            names = truth.raw.var if slot == "raw" else truth.var
            assert file.var(slot).equals(names)
            assert list(file.genes(slot)) == list(names.index)


class TestMatrices:
    @pytest.mark.parametrize("values", [1, 7, 10_000])
    def test_a_matrix_stored_by_genes_is_turned_round_in_several_passes(self, tmp_path, made, monkeypatch, values):
        monkeypatch.setattr(matrix, "PASS", 50)
        monkeypatch.setattr(matrix, "PIECE", 30)
        path = tmp_path / "made.h5ad"
        expected = made.X.toarray()
        made.X = sp.csc_matrix(made.X)
        made.write_h5ad(path)
        with h5ad.open(path) as file:
            found = whole(file, "X", values)
            assert found.has_sorted_indices
        assert (found.toarray() == expected).all()

    def test_a_dense_matrix_is_read_by_whole_chunks(self, tmp_path, made):
        path = tmp_path / "made.h5ad"
        made.X = made.X.toarray()
        made.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            del file["X"]
            file.create_dataset("X", data=made.X, chunks=(9, 40), compression="gzip")
        with h5ad.open(path) as file:
            assert [first for first, _ in file.blocks("X", values=20 * 40)] == [0, 18, 36, 54]

    @pytest.mark.parametrize("dtype", ["float16", ">f4", ">i8"])
    def test_numbers_that_scipy_does_not_know_are_read(self, tmp_path, made, dtype):
        path = tmp_path / "made.h5ad"
        made.X = made.X.toarray().astype(dtype)
        made.write_h5ad(path)
        with h5ad.open(path) as file:
            assert (whole(file, "X", 99).toarray() == made.X).all()

    def test_a_file_without_a_matrix_has_no_slot(self, tmp_path, made):
        anndata.AnnData(obs=made.obs, var=made.var).write_h5ad(tmp_path / "made.h5ad")
        with h5ad.open(tmp_path / "made.h5ad") as file:
            assert file.slots() == []


class TestOldFiles:
    def test_a_file_of_anndata_0_6(self, tmp_path, made):
        path = tmp_path / "old.h5ad"
        legacy(path, made)
        truth = check.read(path, backed=False)  # without anndata's warnings
        with h5ad.open(path) as file:
            assert file.columns() == ["label", "donor", "score"]
            assert list(file.cells()) == list(truth.obs_names) == list(made.obs_names)
            found = file.obs(["label", "donor", "score"])
            assert list(found["label"]) == list(truth.obs["label"]) == list(made.obs["label"])
            assert list(found["donor"]) == list(made.obs["donor"])
            assert list(found["score"]) == list(truth.obs["score"])
            assert file.slots() == ["X", "raw"]
            for slot in ("X", "raw"):
                assert (whole(file, slot, 100) != made.X).nnz == 0
                assert list(file.var(slot)["ensembl"]) == list(made.var["ensembl"])
                assert list(file.genes(slot)) == list(made.var_names)

    def test_a_file_of_anndata_0_7(self, tmp_path, made):
        path = tmp_path / "old.h5ad"
        made.write_h5ad(path)
        label = pd.Categorical(made.obs["label"], ordered=True)
        with h5py.File(path, "r+") as file:
            obs = file["obs"]
            obs.attrs["encoding-version"] = "0.1.0"
            del obs["label"]
            obs["__categories/label"] = np.array(list(label.categories), dtype=h5py.string_dtype())
            obs["__categories/label"].attrs["ordered"] = True
            obs["label"] = label.codes
            obs["label"].attrs["categories"] = obs["__categories/label"].ref
        truth = check.read(path, backed=False)  # without anndata's warnings
        with h5ad.open(path) as file:
            same(file.obs(["label"])["label"], truth.obs["label"])
            assert list(file.obs(["label"])["label"]) == list(made.obs["label"])

    def test_a_file_that_names_no_order_of_its_columns(self, tmp_path, made):
        path = tmp_path / "old.h5ad"
        made.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            del file["obs"].attrs["column-order"]
        with h5ad.open(path) as file:
            assert sorted(file.columns()) == ["donor", "label"]
