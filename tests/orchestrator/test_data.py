import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge import catalog
from cellgauge.data import fetch, view
from cellgauge.errors import DatasetError, FetchError, StorageError
from cellgauge.plan import DatasetChoice
from cellgauge.plan import view as view_for
from cellgauge.specs import DatasetSpec, Matrix, ModelSpec
from support import ROOT, checked, entry, make_cells

MODEL = {
    "name": "m",
    "version": "1",
    "title": "t",
    "verbs": {"embed": {"scope": "cell"}},
    "determinism": "none",
    "licence": "x",
}


def spec_of(path, **changes):
    return DatasetSpec(name="made", **{**entry(path), "source": path.as_uri(), **changes})


def written(tmp_path, adata, **changes):
    path = tmp_path / "data.h5ad"
    adata.write_h5ad(path)
    return checked(spec_of(path, **changes))


def shown(dataset, cache, **model):
    spec = ModelSpec.model_validate({**MODEL, **model})
    return anndata.read_h5ad(
        view.write(dataset, view_for(spec, DatasetChoice(spec=dataset.spec, sha256=dataset.sha256)), cache)
    )


class TestFetch:
    def test_a_file_inside_an_installed_package_is_found_without_importing_it(self):
        spec = catalog.datasets([ROOT / "datasets.yaml"])["pbmc68k_reduced"]
        path, digest, _ = fetch.fetch(spec)
        assert path.name == "10x_pbmc68k_reduced.h5ad"
        assert digest in spec.sha256s

    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("package://no_such_package/x.h5ad", "'no_such_package', which is not installed"),
            ("file:///no/such/file.h5ad", "No such file"),
            ("package://nope.nope/x.h5ad", "'nope.nope', which is not installed"),
            ("file://data/x.h5ad", "no path on this machine"),
            ("http://[bad/x", "Invalid IPv6"),
            ("gopher://x/y", "'gopher://' cannot be read"),
        ],
    )
    def test_what_cannot_be_had_says_why(self, source, words, tmp_path):
        with pytest.raises(FetchError, match=words):
            fetch.fetch(spec_of(tmp_path, source=source))

    def test_another_file_than_the_catalogue_means_is_refused(self, tmp_path, made):
        with pytest.raises(FetchError, match=r"has SHA-256 .* the catalogue says 0000"):
            written(tmp_path, made, sha256="0" * 64)


class TestCheck:
    def test_a_good_dataset_is_counted(self, tmp_path, made):
        found = written(tmp_path, made)
        assert (found.n_cells, found.n_genes) == (60, 40)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"obs": {"cell_type": "labell"}}, r"obs has no column 'labell' for cell_type \(it has: label, donor\)"),
            ({"matrix": {"slot": "raw"}}, "there is no raw slot"),
            ({"matrix": {"slot": "layers/counts"}}, r"there is no layer 'counts' \(there are: doubled\)"),
            ({"gene_columns": {"ensembl": "ens"}}, "var has no column 'ens' for ensembl ids"),
            ({"matrix": {"kind": "log1p", "total_counts": "n"}}, "obs has no column 'n' for total_counts"),
        ],
    )
    def test_what_the_entry_declares_and_the_file_lacks_is_named(self, tmp_path, made, changes, words):
        with pytest.raises(DatasetError, match=words):
            written(tmp_path, made, **changes)

    @pytest.mark.parametrize(
        ("kind", "names"), [("ensembl", "G{}"), ("symbol", "ENSG{:011d}"), ("symbol", "ENSMUSG{:011d}")]
    )
    def test_gene_ids_of_another_kind_than_declared_are_noticed(self, tmp_path, made, kind, names):
        made.var_names = [names.format(number) for number in range(40)]
        with pytest.raises(DatasetError, match=f"gene_ids says {kind}, but the gene ids look like '{names.format(0)}'"):
            written(tmp_path, made, gene_ids=kind, gene_columns={})

    @pytest.mark.parametrize("totals", [[np.nan] + [100.0] * 59, [0.0] + [100.0] * 59, ["many"] * 60])
    def test_totals_that_are_none_are_refused(self, tmp_path, made, totals):
        made.obs["n"] = totals
        with pytest.raises(DatasetError, match="'n' for total_counts holds values that are no totals"):
            written(tmp_path, made, matrix={"kind": "log1p", "total_counts": "n"})

    def test_a_file_without_a_matrix_is_refused(self, tmp_path, made):
        with pytest.raises(DatasetError, match="there is no X"):
            written(tmp_path, anndata.AnnData(obs=made.obs, var=made.var))

    def test_a_file_that_is_replaced_while_in_use_is_noticed(self, made_dataset, made, tmp_path):
        other = made.copy()
        other.obs["label"] = "changed"
        other.write_h5ad(made_dataset.path)
        with pytest.raises(DatasetError, match="was changed while it was in use"):
            view.annotations(made_dataset, {"cell_type": "label"})
        with pytest.raises(DatasetError, match="was changed while it was in use"):
            shown(made_dataset, tmp_path)

    def test_repeated_cell_ids_are_named(self, tmp_path, made):
        made.obs_names = ["twice", *made.obs_names[1:-1], "twice"]
        with pytest.raises(DatasetError, match="1 cell ids are not unique, the first is 'twice'"):
            written(tmp_path, made)

    def test_no_cells_are_no_dataset(self, tmp_path, made):
        with pytest.raises(DatasetError, match="it holds 0 cells and 40 genes"):
            written(tmp_path, made[:0].copy())

    def test_labels_that_are_all_missing_are_named(self, tmp_path, made):
        made.obs["label"] = pd.Series([np.nan] * 60, index=made.obs_names)
        with pytest.raises(DatasetError, match="obs column 'label' for cell_type is empty"):
            written(tmp_path, made)

    @pytest.mark.parametrize("keep", [0, 100, 0.5, 0.97])
    def test_a_truncated_file_is_a_clear_error(self, tmp_path, made, keep):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
        with pytest.raises(DatasetError, match=r"data\.h5ad (is empty|is not a readable h5ad)"):
            checked(spec_of(path))

    def test_an_hdf5_file_that_is_no_anndata_is_a_clear_error(self, tmp_path):
        path = tmp_path / "data.h5ad"
        with h5py.File(path, "w") as file:
            file["something"] = [1, 2, 3]
        with pytest.raises(DatasetError):
            checked(spec_of(path))


class TestView:
    def test_a_model_sees_counts_genes_and_nothing_else(self, made_dataset, made, tmp_path):
        found = shown(made_dataset, tmp_path)
        assert list(found.obs.columns) == []
        assert list(found.var.columns) == ["gene_symbol", "ensembl_id", "feature_name"]
        assert (dict(found.uns), dict(found.obsm), dict(found.layers), found.raw) == ({}, {}, {}, None)
        assert isinstance(found.X, sp.csr_matrix)
        assert found.X.dtype == np.float32

    def test_no_barcode_no_label_and_no_order_reaches_the_file(self, made_dataset, made, tmp_path):
        path = view.write(
            made_dataset,
            view_for(
                ModelSpec.model_validate(MODEL), DatasetChoice(spec=made_dataset.spec, sha256=made_dataset.sha256)
            ),
            tmp_path,
        )
        content = path.read_bytes()
        for secret in (b"type 1", b"type1", b"barcode", b"label", b"donor", b"secret", b"colors"):
            assert secret not in content, secret
        names = list(anndata.read_h5ad(path).obs_names)
        assert names == sorted(names)

    def test_rows_can_be_put_back_by_id_and_are_those_cells(self, made_dataset, made, tmp_path):
        found = shown(made_dataset, tmp_path)
        original = list(view.annotations(made_dataset, {"cell_type": "label"}).index)
        assert list(found.obs_names) != original
        assert (found[original].X != made.X).nnz == 0

    def test_annotations_are_in_the_datasets_order(self, made_dataset, made):
        obs = view.annotations(made_dataset, {"cell_type": "label", "who": "donor"})
        assert list(obs["cell_type"]) == list(made.obs["label"])
        assert list(obs["who"]) == list(made.obs["donor"])

    def test_granted_columns_come_under_their_role(self, made_dataset, made, tmp_path):
        found = shown(made_dataset, tmp_path, obs_roles=["donor"])
        assert list(found.obs.columns) == ["donor"]
        original = list(view.annotations(made_dataset, {}).index)
        assert list(found.obs.loc[original, "donor"]) == list(made.obs["donor"])

    def test_genes_come_in_the_kind_of_id_that_the_model_wants(self, tmp_path, made):
        made.var["ensembl"] = ["ENSG1", "ENSG1", None, *made.var["ensembl"][3:]]
        dataset = written(tmp_path, made)
        found = shown(dataset, tmp_path, gene_ids="ensembl")
        assert list(found.var_names) == ["ENSG1", *made.var["ensembl"][3:]]  # one of two, and none without a name
        assert found.var["gene_symbol"].iloc[0] == "G0"
        back = list(view.annotations(dataset, {}).index)
        assert (made.X[:, [0, *range(3, 40)]] != found[back].X).nnz == 0

    def test_a_view_is_made_once_and_is_read_only(self, made_dataset, tmp_path):
        wanted = view_for(
            ModelSpec.model_validate(MODEL), DatasetChoice(spec=made_dataset.spec, sha256=made_dataset.sha256)
        )
        path = view.write(made_dataset, wanted, tmp_path)
        before = path.stat()
        assert view.write(made_dataset, wanted, tmp_path).stat().st_mtime_ns == before.st_mtime_ns
        assert before.st_mode & 0o222 == 0
        assert sorted(file.name for file in path.parent.iterdir()) == ["seal", "view.h5ad"]

    def test_a_cache_on_a_full_disk_says_so_and_keeps_no_half_view(self, made_dataset, small_disk):
        (small_disk / "fill").write_bytes(b"x" * (56 << 10))
        with pytest.raises(StorageError, match="No space left on device") as caught:
            shown(made_dataset, small_disk)
        assert "CELLGAUGE_CACHE" in caught.value.hint
        assert [path for path in small_disk.rglob("view*") if path.is_file()] == []

    @pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
    def test_any_form_of_matrix_gives_the_same_counts(self, tmp_path, made, form):
        expected = made.X.toarray()
        made.X = form(made.X.toarray()) if form is np.asarray else form(made.X)
        dataset = written(tmp_path, made)
        found = shown(dataset, tmp_path)
        assert (found[list(view.annotations(dataset, {}).index)].X.toarray() == expected).all()

    def test_a_layer_is_read_from_where_it_lies(self, tmp_path, made):
        dataset = written(tmp_path, made, matrix={"slot": "layers/doubled"})
        assert shown(dataset, tmp_path).X.sum() == 2 * made.X.sum()

    def test_values_that_are_not_whole_are_refused_unless_they_are_said_to_be_corrected(self, tmp_path, made):
        made.X = sp.csr_matrix(np.log1p(made.X.toarray()))
        with pytest.raises(DatasetError, match=r"X holds values that are no counts, for instance 1\.099") as caught:
            shown(written(tmp_path, made), tmp_path)
        assert "kind: log1p" in caught.value.hint
        assert "layers/doubled" in caught.value.hint
        found = shown(written(tmp_path, made, matrix={"kind": "corrected"}), tmp_path)
        assert found.X.sum() == pytest.approx(made.X.sum())

    @pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
    def test_values_that_are_no_counts_are_refused(self, tmp_path, made, value):
        made.X[0, 0] = value
        with pytest.raises(DatasetError, match="negative or non-finite"):
            shown(written(tmp_path, made), tmp_path)
        assert not list(tmp_path.rglob("view*"))


class TestRecoveredCounts:
    def test_the_demo_sets_counts_are_those_that_were_counted(self, real_data):
        dataset = checked(catalog.datasets([ROOT / "datasets.yaml"])["pbmc68k_reduced"])
        spec = DatasetChoice(spec=dataset.spec, sha256=dataset.sha256)
        found = view.make(dataset, view_for(ModelSpec.model_validate(MODEL), spec))
        truth = anndata.read_h5ad(real_data / "pbmc68k_reduced.h5ad")
        assert json.loads((real_data / "pbmc68k_reduced.json").read_text())["x_kind"] == "raw counts"
        names = view.opaque(truth.obs_names, dataset.sha256)
        assert list(found.var_names) == list(truth.var_names)
        assert (found[names].X != truth.X).nnz == 0

    @pytest.mark.parametrize("digits", [None, 3])
    def test_a_cell_without_single_counts_is_right_when_totals_are_known(self, digits):
        adata = make_cells()
        counts = adata.X.toarray() * 2  # no count of one anywhere
        counts[1:] = adata.X.toarray()[1:]
        total = counts.sum(axis=1)
        logged = np.log1p(counts / total[:, None] * 1e4)
        adata.X = sp.csr_matrix(logged if digits is None else logged.round(digits))
        adata.obs["n"] = total
        matrix = Matrix(kind="log1p", total_counts="n")
        recovered = view.counts(adata, _view(matrix), ROOT)
        assert (recovered.toarray() == counts).all()

    def test_scaled_values_are_refused(self):
        adata = make_cells()
        adata.X = sp.csr_matrix(np.random.default_rng(0).gamma(1.0, 1.0, adata.shape))
        with pytest.raises(DatasetError, match="no integer counts"):
            view.counts(adata, _view(Matrix(kind="log1p")), ROOT)

    def test_a_cell_without_any_count_stays_empty(self):
        adata = make_cells()
        counts = adata.X.toarray()
        counts[5] = 0
        adata.X = sp.csr_matrix(np.log1p(counts))
        assert (view.counts(adata, _view(Matrix(kind="log1p")), ROOT).toarray() == counts).all()


def _view(matrix):
    from cellgauge.specs import View

    return View(sha256="0", matrix=matrix, gene_index="symbol", gene_columns={}, gene_ids="symbol", obs={})
