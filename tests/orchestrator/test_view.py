import json
import os
import signal
import subprocess
import sys
import time

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellgauge.data import rows, view
from cellgauge.data.cache import Cache, seal
from cellgauge.errors import DatasetError, StorageError
from cellgauge.specs import Dataset, DatasetSpec, Matrix, Rows, Split, View
from support import entry


def dataset_in(path, adata, how=None, **changes):
    """A dataset that nobody checked: the view has to look for itself."""
    adata.write_h5ad(path, **how or {})
    spec = DatasetSpec(name="made", **{**entry(path), "source": path.as_uri(), **changes})
    return Dataset(
        spec=spec, path=path, sha256="ab" * 32, stamp=seal.stamp(path), n_cells=adata.n_obs, n_genes=adata.n_vars
    )


def view_of(dataset, **changes):
    spec = dataset.spec
    fields = {"sha256": dataset.sha256, "matrix": spec.matrix, "organism": spec.organism, "gene_index": spec.gene_ids}
    fields |= {"gene_columns": spec.gene_columns, "gene_ids": spec.gene_ids, "obs": {}}
    return View(**{**fields, **changes})


def shown(dataset, cache, **changes):
    return anndata.read_h5ad(view.write(dataset, view_of(dataset, **changes), Cache(cache)))


def in_order(dataset, found, **changes):
    """A view's cells in the dataset's order."""
    return found[view.cells(dataset, view_of(dataset, **changes))]


class TestContent:
    def test_a_model_sees_counts_genes_and_nothing_else(self, made_dataset, tmp_path):
        found = shown(made_dataset, tmp_path)
        assert list(found.obs.columns) == []
        assert list(found.var.columns) == ["gene_symbol", "ensembl_id", "feature_name"]
        assert (dict(found.uns), dict(found.obsm), dict(found.layers), found.raw) == ({}, {}, {}, None)
        assert isinstance(found.X, sp.csr_matrix)
        assert found.X.dtype == np.float32

    def test_rows_can_be_put_back_by_id_and_are_those_cells(self, made_dataset, made, tmp_path):
        found = shown(made_dataset, tmp_path)
        original = view.cells(made_dataset, view_of(made_dataset))
        assert list(found.obs_names) == sorted(original) != original
        assert (found[original].X != made.X).nnz == 0

    def test_the_genes_of_the_raw_slot_are_raws_own(self, made, tmp_path):
        made.raw = made.copy()
        few = made[:, 10:].copy()
        few.X = sp.csr_matrix(few.shape, dtype="float32")
        dataset = dataset_in(tmp_path / "d.h5ad", few, matrix={"slot": "raw"})
        found = shown(dataset, tmp_path)
        assert list(found.var_names) == list(made.var_names)
        assert (in_order(dataset, found).X != made.X).nnz == 0

    def test_annotations_are_in_the_datasets_order(self, made_dataset, made):
        obs = view.annotations(made_dataset, view_of(made_dataset), {"cell_type": "label", "who": "donor"})
        assert list(obs["cell_type"]) == list(made.obs["label"])
        assert list(obs["who"]) == list(made.obs["donor"])
        assert list(obs.index) == view.cells(made_dataset, view_of(made_dataset))

    @pytest.mark.parametrize("column", ["words", "category", "number", "flag", "gaps", "missing", "numbered"])
    def test_granted_columns_come_under_their_role_whatever_they_hold(self, tmp_path, made, column):
        some = np.arange(60) % 4
        made.obs["words"] = [f"w{n}" for n in some]
        made.obs["category"] = pd.Categorical.from_codes(some, ["z", "y", "x", "w"], ordered=True)
        made.obs["number"], made.obs["flag"] = some / 3, some > 1
        made.obs["gaps"] = pd.array([None if n == 0 else int(n) for n in some], dtype="Int64")
        made.obs["missing"] = pd.Categorical([None if n == 0 else f"w{n}" for n in some])
        made.obs["numbered"] = pd.Categorical(some * 10)
        dataset = dataset_in(tmp_path / "d.h5ad", made)
        found = in_order(dataset, shown(dataset, tmp_path, obs={"batch": column})).obs
        assert list(found.columns) == ["batch"]
        here, there = found["batch"].reset_index(drop=True), made.obs[column].reset_index(drop=True)
        assert (here.isna() == there.isna()).all()
        assert [str(one) for one in here.dropna()] == [
            str(float(one)) if column == "gaps" else str(one) for one in there.dropna()
        ]

    def test_a_category_that_no_cell_of_the_view_has_is_not_told_nor_is_their_order(self, tmp_path, made):
        made.obs["kind"] = pd.Categorical(["b", "a"] * 30, categories=["secret one", "b", "a"], ordered=True)
        made.obs.loc[made.obs_names[3], "kind"] = "secret one"
        dataset = dataset_in(tmp_path / "d.h5ad", made)
        held_out = Rows(split=Split(by="kind", test=("secret one",)), columns={"kind": "kind"})
        found = shown(dataset, tmp_path, obs={"batch": "kind"}, rows=held_out).obs["batch"]
        assert (list(found.cat.categories), found.cat.ordered) == (["a", "b"], False)
        (path,) = (tmp_path / "views").rglob("view.h5ad")
        assert b"secret" not in path.read_bytes()

    def test_held_out_cells_are_not_in_the_view(self, made_dataset, made, tmp_path):
        split = Split(by="donor", test=("d1",))
        rules = Rows(split=split, columns={"donor": "donor"})
        found = shown(made_dataset, tmp_path, rows=rules)
        train, test = rows.split(made_dataset, split)
        every = view.cells(made_dataset, view_of(made_dataset))
        assert set(found.obs_names) == {one for one, mine in zip(every, train, strict=True) if mine}
        assert (made.X[train] != in_order(made_dataset, found, rows=rules).X).nnz == 0
        held_out = {tuple(row) for row in made.X[test].toarray().tolist()}
        assert not held_out & {tuple(row) for row in found.X.toarray().tolist()}
        assert len(view.annotations(made_dataset, view_of(made_dataset, rows=rules), {"x": "donor"})) == train.sum()

    def test_two_times_written_it_is_the_same_byte_for_byte(self, made_dataset, tmp_path):
        wanted = view_of(made_dataset, obs={"batch": "donor"})
        first = view.write(made_dataset, wanted, Cache(tmp_path / "one"))
        time.sleep(1.1)  # HDF5 notes times in seconds, where it does
        second = view.write(made_dataset, wanted, Cache(tmp_path / "two"))
        assert first.read_bytes() == second.read_bytes()


FORMS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}


@st.composite
def files(draw):
    """Made cells, stored in many ways, with what a view of them should hold."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 7)))
    seed, empty = draw(st.integers(0, 99)), draw(st.booleans())
    counts = np.random.default_rng(seed).poisson(1.2, shape)
    if empty:
        counts[0] = 0
    kind = draw(st.sampled_from(["counts", "corrected", "log1p"]))
    dtype = draw(st.sampled_from(["float32", "float64"] + (["int32", "uint8", "int64"] if kind == "counts" else [])))
    values, expected = counts.astype(dtype), counts.astype("float32")
    if kind == "corrected":
        values, expected = values * 0.37, (values * 0.37).astype("float32")
    if kind == "log1p":
        counts[:, 0] = expected[:, 0] = 1  # so that each cell tells its factor
        values = np.log1p(counts * np.linspace(0.5, 3, shape[0])[:, None]).astype(dtype)
    form = draw(st.sampled_from(sorted(FORMS)))
    matrix = FORMS[form](values)
    if form != "dense" and draw(st.booleans()):
        at = np.flatnonzero(matrix.data == matrix.data[0])[:1] if matrix.nnz and kind == "counts" else []
        line = matrix.tocoo()
        for n in at:  # a zero that is stored
            expected[line.row[n], line.col[n]] = 0
            matrix.data[n] = 0
    slot = draw(st.sampled_from(["X", "raw", "layers/some"]))
    names = draw(st.permutations([f"cell {n}" for n in range(shape[0])]))
    ensembl = [f"ENSG{n:011}.{n}" if n % 4 != 3 else None for n in range(shape[1])]
    genes = pd.DataFrame({"ensembl": ensembl}, index=[f"G{n}" for n in range(shape[1])])
    cells = pd.DataFrame({"label": ["a"] * shape[0]}, index=names)
    adata = anndata.AnnData(matrix if slot != "layers/some" else None, cells, genes, shape=None)
    if slot == "raw":
        adata.raw = adata.copy()
        adata.X = np.full(shape, 7.0)
    elif slot != "X":
        adata.layers["some"] = matrix
    how = {"compression": "gzip"} if draw(st.booleans()) else {}
    limit = draw(st.none() | st.integers(1, 12))
    return adata, how, {"slot": slot, "kind": kind}, draw(st.sampled_from(["symbol", "ensembl"])), limit, expected


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files())
def test_a_view_holds_cell_by_cell_what_was_counted_however_it_is_stored(tmp_path_factory, case):
    adata, how, matrix, gene_ids, limit, expected = case
    folder = tmp_path_factory.mktemp("made")
    dataset = dataset_in(folder / "d.h5ad", adata, how, matrix=matrix, obs={"cell_type": "label"})
    rules = Rows(limit=limit) if limit else None
    kept = rows.kept(dataset, rules)
    found = in_order(dataset, shown(dataset, folder, gene_ids=gene_ids, rows=rules), rows=rules)
    named = [n for n in range(adata.n_vars) if gene_ids == "symbol" or n % 4 != 3]
    assert list(found.var["gene_symbol"]) == [f"G{n}" for n in named]
    assert list(found.var["ensembl_id"]) == [f"ENSG{n:011}" if n % 4 != 3 else "" for n in named]
    assert found.obs_names.tolist() == view.opaque(adata.obs_names[kept], dataset.sha256)
    assert found.X.toarray().tolist() == expected[kept][:, named].tolist()
    assert found.X.data.all()


class TestReading:
    def test_genes_that_are_said_twice_or_out_of_order_add_up_as_they_do_in_a_table(self, tmp_path, made):
        dataset = dataset_in(tmp_path / "d.h5ad", made)
        with h5py.File(dataset.path, "r+") as file:
            file["X/indices"][:3] = [4, 2, 4]
        dataset = dataset.model_copy(update={"stamp": seal.stamp(dataset.path)})
        found = in_order(dataset, shown(dataset, tmp_path))
        assert (found.X.toarray() == anndata.read_h5ad(dataset.path).X.toarray()).all()
        assert found.X.has_canonical_format

    def test_a_file_that_is_replaced_while_in_use_is_noticed(self, made_dataset, made, tmp_path):
        made.obs["label"] = "changed"
        made.write_h5ad(made_dataset.path)
        for action in (
            view.cells,
            lambda *one: view.annotations(*one, {}),
            lambda *one: view.write(*one, Cache(tmp_path)),
        ):
            with pytest.raises(DatasetError, match="was changed while it was in use"):
                action(made_dataset, view_of(made_dataset))

    @pytest.mark.parametrize(
        ("matrix", "words"),
        [({"slot": "X"}, "holds values that are no counts"), ({"slot": "X", "kind": "log1p"}, "no integer counts")],
    )
    def test_a_view_that_cannot_be_made_leaves_nothing(self, tmp_path, made, matrix, words):
        made.X = made.X * 0.3
        dataset = dataset_in(tmp_path / "d.h5ad", made, matrix=matrix)
        with pytest.raises(DatasetError, match=words):
            shown(dataset, tmp_path)
        assert list((tmp_path / "views").iterdir()) == []
        assert Cache(tmp_path).contents() == []


class TestCache:
    def test_a_view_is_made_once_and_is_read_only(self, made_dataset, tmp_path):
        wanted = view_of(made_dataset)
        path = view.write(made_dataset, wanted, Cache(tmp_path))
        before = path.stat()
        assert view.write(made_dataset, wanted, Cache(tmp_path)).stat().st_mtime_ns == before.st_mtime_ns
        assert before.st_mode & 0o222 == 0
        assert sorted(file.name for file in path.parent.iterdir()) == ["genes.json", "seal", "view.h5ad"]

    def test_a_view_that_was_edited_is_made_again_and_one_that_was_copied_is_not(self, made_dataset, tmp_path):
        wanted = view_of(made_dataset)
        path = view.write(made_dataset, wanted, Cache(tmp_path))
        good = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(good[:-1] + b"x")
        assert view.write(made_dataset, wanted, Cache(tmp_path)).read_bytes() == good
        path.with_name("seal").write_text("")
        assert view.write(made_dataset, wanted, Cache(tmp_path)).with_name("seal").read_text() != ""
        path.unlink()
        path.write_bytes(good)
        inode = path.stat().st_ino
        assert view.write(made_dataset, wanted, Cache(tmp_path)).stat().st_ino == inode

    def test_a_view_in_a_shared_cache_is_used_from_there(self, made_dataset, tmp_path):
        wanted = view_of(made_dataset)
        there = view.write(made_dataset, wanted, Cache(tmp_path / "ours"))
        assert view.write(made_dataset, wanted, Cache(tmp_path / "mine", [tmp_path / "ours"])) == there

    def test_one_that_was_copied_there_is_read_once_and_nothing_is_written_into_it(self, made_dataset, tmp_path):
        wanted = view_of(made_dataset)
        there = view.write(made_dataset, wanted, Cache(tmp_path / "ours"))
        os.utime(there)  # as a copy of the whole cache leaves it
        while not seal.settled(there):
            time.sleep(0.05)
        sealed = there.with_name("seal").read_text()
        mine = Cache(tmp_path / "mine", [tmp_path / "ours"])
        assert view.write(made_dataset, wanted, mine) == there
        (known,) = (tmp_path / "mine" / "sums").iterdir()
        before = known.stat().st_mtime_ns
        os.link(there, tmp_path / "as a job does")
        assert view.write(made_dataset, wanted, mine) == there
        assert known.stat().st_mtime_ns == before, "it is taken from there"
        assert there.with_name("seal").read_text() == sealed
        known.write_text(known.read_text().replace(sealed.split()[-1], "0" * 8))
        assert view.write(made_dataset, wanted, mine) == tmp_path / "mine" / there.relative_to(tmp_path / "ours")

    def test_a_cache_on_a_full_disk_says_so_and_keeps_no_half_view(self, made_dataset, small_disk):
        (small_disk / "fill").write_bytes(b"x" * (56 << 10))
        with pytest.raises(StorageError, match="No space left on device") as caught:
            shown(made_dataset, small_disk)
        assert "CELLGAUGE_CACHE" in caught.value.hint
        assert list((small_disk / "views").iterdir()) == []

    def test_two_processes_at_once_write_it_once(self, made_dataset, tmp_path):
        both = [started(made_dataset, tmp_path) for _ in range(2)]
        inodes = {process.communicate(timeout=60)[0] for process in both}
        assert len(inodes) == 1
        assert inodes.pop().strip().isdigit()

    def test_one_that_is_killed_while_it_writes_leaves_no_view_that_is_taken_for_whole(self, tmp_path):
        counts = sp.random(20_000, 1000, 0.2, format="csr", random_state=0, dtype="float32")
        counts.data = np.ceil(counts.data * 9)
        dataset = dataset_in(
            tmp_path / "d.h5ad", anndata.AnnData(counts), {"compression": "gzip"}, obs={}, gene_columns={}
        )
        process = started(dataset, tmp_path)
        while not (parts := list((tmp_path / "views").rglob("*.part"))):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert parts[0].exists(), "it was killed too late"
        assert not list((tmp_path / "views").rglob("view.h5ad"))
        found = in_order(dataset, shown(dataset, tmp_path))
        assert (counts != found.X).nnz == 0
        assert not list((tmp_path / "views").rglob("*.part"))


PROGRAM = """
import json, sys
from pathlib import Path
from cellgauge.data import view
from cellgauge.data.cache import Cache
from cellgauge.specs import Dataset, View
told = json.loads(sys.argv[1])
path = view.write(Dataset.model_validate(told[0]), View.model_validate(told[1]), Cache(Path(sys.argv[2])))
print(path.stat().st_ino)
"""


def started(dataset, cache):
    told = json.dumps([dataset.model_dump(mode="json"), view_of(dataset).model_dump(mode="json")])
    return subprocess.Popen([sys.executable, "-c", PROGRAM, told, str(cache)], stdout=subprocess.PIPE, text=True)


def test_a_dataset_without_any_count_is_a_view_without_any(tmp_path):
    adata = anndata.AnnData(sp.csr_matrix((3, 4), dtype="float32"))
    dataset = dataset_in(tmp_path / "d.h5ad", adata, obs={}, gene_columns={})
    assert shown(dataset, tmp_path).X.nnz == 0


def test_the_same_cell_has_another_id_in_another_dataset():
    assert view.opaque(["a"], "k" * 64) != view.opaque(["a"], "l" * 64)


def test_the_share_of_genes_that_could_be_named_is_told(tmp_path, made):
    made.var["ensembl"] = ["ENSG1", "ENSG1", None, *made.var["ensembl"][3:]]
    dataset = dataset_in(tmp_path / "d.h5ad", made, matrix=Matrix())
    told = view.coverage(view.write(dataset, view_of(dataset, gene_ids="ensembl"), Cache(tmp_path)))
    assert (told.given, told.kept, told.converted, told.share) == (40, 38, False, 0.95)
