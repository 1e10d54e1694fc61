"""An embedding that was made elsewhere is read without trust, and its rows are found by cell id."""

import pickle

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge import elsewhere
from cellgauge.errors import CellgaugeError, UsageError
from support import make_cells

VALUES = np.arange(120, dtype="float32").reshape(60, 2)


def h5ad(folder, **obsm):
    adata = anndata.AnnData(X=np.zeros((60, 1), dtype="float32"), obs=make_cells().obs)
    for name, value in obsm.items():
        adata.obsm[name] = value
    adata.write_h5ad(folder / "x.h5ad")
    return folder / "x.h5ad"


class TestReading:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", ">f8"])
    def test_any_numbers_become_float32(self, tmp_path, dtype):
        np.save(tmp_path / "a.npy", VALUES.astype(dtype))
        found = elsewhere.read(tmp_path / "a.npy")
        assert (found.values.dtype, found.cells) == (np.float32, None)
        assert (found.values == VALUES).all()

    def test_either_order_of_values_is_read(self, tmp_path):
        np.save(tmp_path / "a.npy", np.asfortranarray(VALUES))
        assert (elsewhere.read(tmp_path / "a.npy").values == VALUES).all()

    def test_cells_come_with_a_list_or_with_the_file(self, tmp_path, made):
        np.save(tmp_path / "a.npy", VALUES)
        (tmp_path / "cells.txt").write_text("\n".join(made.obs_names) + "\n")
        assert list(elsewhere.read(tmp_path / "a.npy", cells=tmp_path / "cells.txt").cells) == list(made.obs_names)
        found = elsewhere.read(h5ad(tmp_path, X_a=VALUES))
        assert list(found.cells) == list(made.obs_names)
        assert (found.values == VALUES).all()

    @pytest.mark.parametrize("text", ["a\u2028b\nc\x0cd\n", "a\u2028b\r\nc\x0cd", "\ufeffa\u2028b\nc\x0cd\n"])
    def test_an_id_ends_where_a_line_does_and_nowhere_else(self, tmp_path, text):
        np.save(tmp_path / "a.npy", VALUES[:2])
        (tmp_path / "cells.txt").write_bytes(text.encode())
        found = elsewhere.read(tmp_path / "a.npy", cells=tmp_path / "cells.txt")
        assert list(found.cells) == ["a\u2028b", "c\x0cd"]

    def test_one_of_several_must_be_named(self, tmp_path):
        path = h5ad(tmp_path, X_a=VALUES, X_b=VALUES + 1)
        with pytest.raises(UsageError, match=r"which one of obsm. It has: X_a, X_b"):
            elsewhere.read(path)
        assert (elsewhere.read(path, "X_b").values == VALUES + 1).all()
        with pytest.raises(UsageError, match=r"no obsm\['X_c'\]"):
            elsewhere.read(path, "X_c")

    @pytest.mark.parametrize(
        ("text", "path", "key"),
        [
            ("a.npy", "a.npy", ""),
            ("b/x.h5ad:X_scVI", "b/x.h5ad", "X_scVI"),
            ("x.h5ad", "x.h5ad", ""),
            ("odd:name.npy", "odd:name.npy", ""),
        ],
    )
    def test_what_a_person_types_is_taken_apart(self, text, path, key):
        found = elsewhere.split(text)
        assert (str(found[0]), found[1]) == (path, key)


class TestRefused:
    def refused(self, path, words, **how):
        with pytest.raises(CellgaugeError, match=words) as caught:
            elsewhere.read(path, **how)
        assert "Traceback" not in caught.value.message

    def test_pickles_of_any_name(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (open, (str(tmp_path / "owned"), "w"))

        (tmp_path / "a.npy").write_bytes(pickle.dumps(Evil()))
        self.refused(tmp_path / "a.npy", "is no .npy file")
        np.save(tmp_path / "b.npy", np.array([Evil()], dtype=object), allow_pickle=True)
        self.refused(tmp_path / "b.npy", "holds object")
        (tmp_path / "c.parquet").write_bytes(pickle.dumps(Evil()))
        self.refused(tmp_path / "c.parquet", "Parquet")
        assert not (tmp_path / "owned").exists()

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            (np.zeros(3), "shape .3,., not numbers of shape"),
            (np.zeros((0, 3)), r"shape \(0, 3\): it has no rows"),
            (np.zeros((3, 0)), r"shape \(3, 0\): it has no dimensions"),
            (np.zeros((1, 100_001)), r"has 100,001 dimensions; at most"),
            (np.array([["a"]]), "holds <U1"),
            (np.array([[1j]]), "holds complex128"),
            (np.array([[np.nan], [1], [np.inf]]), "infinite or too large values in 2 of 3 rows"),
            (np.array([[1e39]]), "too large values in 1 of 1 rows"),
        ],
    )
    def test_what_is_no_matrix_of_finite_numbers(self, tmp_path, values, words):
        np.save(tmp_path / "a.npy", values)
        self.refused(tmp_path / "a.npy", words)

    def test_a_folder(self, tmp_path):
        (tmp_path / "a.npy").mkdir()
        self.refused(tmp_path / "a.npy", r"a\.npy is a folder")

    def test_files_that_are_cut_or_claim_too_much(self, tmp_path):
        np.save(tmp_path / "a.npy", VALUES)
        content = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(content[:-4])
        self.refused(tmp_path / "a.npy", "its header promises")
        (tmp_path / "a.npy").write_bytes(content.replace(b"(60, 2)", b"(10**9, 9)"[:7]))
        self.refused(tmp_path / "a.npy", "is no .npy file|its header promises")
        (tmp_path / "a.npy").write_bytes(b"")
        self.refused(tmp_path / "a.npy", "is no .npy file")

    @pytest.mark.parametrize("dtype", ["Int64", "Float32", "boolean"])
    def test_nullable_columns_of_parquet_are_numbers_or_told_of(self, tmp_path, dtype):
        whole = pd.DataFrame({"a": pd.array([1, 0, 1], dtype=dtype), "b": [1.5, 2, 3]})
        assert elsewhere._columns(whole).tolist() == [[1, 1.5], [0, 2], [1, 3]]
        lacking = whole.assign(a=pd.array([1, None, 0], dtype=dtype))
        with pytest.raises(UsageError, match="holds NaN, infinite or too large values in 1 of 3 rows"):
            elsewhere._numbers(elsewhere._columns(lacking), tmp_path / "a.parquet")

    def test_columns_that_are_too_large_are_told_of(self, tmp_path):
        with pytest.raises(UsageError, match="too large values in 1 of 2 rows"):
            elsewhere._numbers(elsewhere._columns(pd.DataFrame({"a": [1e300, 1]})), tmp_path / "a.parquet")

    def test_what_is_not_there_or_of_no_kind_that_is_read(self, tmp_path):
        self.refused(tmp_path / "a.npy", "no such file")
        self.refused(tmp_path / "a.csv", "neither .npy, .h5ad nor .parquet")
        self.refused(tmp_path, "neither")

    def test_a_list_of_cells_that_does_not_fit(self, tmp_path):
        np.save(tmp_path / "a.npy", VALUES)
        (tmp_path / "cells.txt").write_text("a\nb\n")
        self.refused(tmp_path / "a.npy", "60 rows, and 2 cells are named", cells=tmp_path / "cells.txt")
        (tmp_path / "cells.txt").write_bytes(b"\xff\xfe")
        self.refused(tmp_path / "a.npy", "not UTF-8", cells=tmp_path / "cells.txt")
        self.refused(tmp_path / "a.npy", "No such file", cells=tmp_path / "gone.txt")
        self.refused(h5ad(tmp_path, X_a=VALUES), "for an .npy file", cells=tmp_path / "cells.txt")

    def test_what_is_no_dense_array_in_this_very_file(self, tmp_path):
        self.refused(h5ad(tmp_path, X_a=sp.csr_matrix(VALUES)), "X_a is a group")
        path = h5ad(tmp_path, X_a=VALUES)
        with h5py.File(path, "a") as file:
            del file["obsm/X_a"]
            file["obsm/X_a"] = h5py.ExternalLink("/etc/passwd", "/")
        self.refused(path, "link to elsewhere")
        path.write_bytes(path.read_bytes()[:1000])
        self.refused(path, "not a readable h5ad")


class TestOrder:
    def test_rows_go_to_their_cells_whatever_their_order(self, made_dataset, made):
        order = np.random.default_rng(0).permutation(60)
        found, told = elsewhere.ordered(elsewhere.Made(VALUES[order], list(made.obs_names[order])), made_dataset)
        assert (found == VALUES).all()
        assert told == ""

    def test_rows_of_other_cells_are_left_out_and_that_is_said(self, made_dataset, made):
        names = ["another", *made.obs_names]
        found, told = elsewhere.ordered(elsewhere.Made(np.vstack([VALUES[:1], VALUES]), names), made_dataset)
        assert (found == VALUES).all()
        assert told.startswith("1 rows of cells that the dataset does not have")

    def test_without_names_there_must_be_as_many_and_that_is_said(self, made_dataset):
        found, told = elsewhere.ordered(elsewhere.Made(VALUES, None), made_dataset)
        assert (found == VALUES).all()
        assert "taken to be in the order" in told
        with pytest.raises(UsageError, match="59 rows do not fit the 60 cells") as caught:
            elsewhere.ordered(elsewhere.Made(VALUES[:-1], None), made_dataset)
        assert "--cells" in caught.value.hint

    def test_a_cell_without_a_row_or_with_two_is_an_error(self, made_dataset, made):
        names = list(made.obs_names)
        with pytest.raises(UsageError, match=f"1 of 60 cells of made have no row: {names[0]}"):
            elsewhere.ordered(elsewhere.Made(VALUES[1:], names[1:]), made_dataset)
        with pytest.raises(UsageError, match="has several rows"):
            elsewhere.ordered(elsewhere.Made(VALUES, [names[0], *names[:-1]]), made_dataset)


def test_it_is_kept_as_an_output_once_and_can_be_read_again(made_dataset, store, made):
    from cellgauge import results

    first = elsewhere.keep(VALUES, "mine", made_dataset, store, seed=1, run="r1")
    again = elsewhere.keep(VALUES, "mine", made_dataset, store, seed=1, run="r2")
    assert (again.run, again.job) == ("r1", first.job)
    assert (first.engine, first.state, store.whole(first)) == ("elsewhere", "ok", True)
    other = elsewhere.keep(VALUES + 1, "mine", made_dataset, store, seed=1, run="r1")
    assert other.job.id != first.job.id
    shuffled = made[np.random.default_rng(0).permutation(60)]
    found = results.embedding(first.job.id, shuffled, folder=store.root)
    assert (found == VALUES[pd.Index(made.obs_names).get_indexer(shuffled.obs_names)]).all()
