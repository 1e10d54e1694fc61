"""Any file can be examined; what was found is kept and not looked for again; the file stays the same one."""

import json

import h5py
import pytest

from cellgauge.data import check
from cellgauge.data.cache.seal import stamp
from cellgauge.data.check import rules
from cellgauge.errors import DatasetError
from cellgauge.specs import DatasetSpec
from cellgauge_tasks._input import MISSING
from support import checked, spec_of, written


class TestAnyFile:
    def test_a_good_file_without_an_entry(self, tmp_path, made):
        made.write_h5ad(tmp_path / "data.h5ad")
        assert check.examine(tmp_path / "data.h5ad") == []

    def test_what_is_wrong_without_an_entry(self, tmp_path, made):
        made.obs_names = ["twice", *made.obs_names[1:-1], "twice"]
        made.var_names = [f"ENSG{n:011d}.1" for n in range(40)]
        made.X = made.X * 0.5
        del made.layers["doubled"]
        made.write_h5ad(tmp_path / "data.h5ad")
        found = check.examine(tmp_path / "data.h5ad")
        assert [one.code for one in found] == ["D103", "D209", "D405"]
        assert [one.severity for one in found] == ["error", "warning", "warning"]

    @pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(900)])
    def test_what_is_no_h5ad(self, tmp_path, content):
        (tmp_path / "data.h5ad").write_bytes(content)
        for spec in (None, spec_of(tmp_path / "data.h5ad")):
            (found,) = check.examine(tmp_path / "data.h5ad", spec)
            assert (found.code, found.severity) == ("D101", "error")
            assert "Fetch it again" in found.hint

    @pytest.mark.parametrize("spec", [True, False])
    def test_a_damaged_matrix(self, tmp_path, made, spec):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            file["X/indices"][3] = 4000
        (found,) = check.examine(path, spec_of(path) if spec else None)
        assert found.code == "D202"
        assert "/X: an index points outside of the matrix" in found.message

    def test_real_files_are_as_their_makers_say(self, real_data):
        for path in sorted(real_data.glob("*.json")):
            told = json.loads(path.read_text())
            if told["bytes"] < 600_000 or not told["x_integer"]:
                found = [one.code for one in check.examine(real_data / told["file"])]
                negative = told["gene_index"] is None  # features of images
                assert found == ([] if told["x_integer"] else ["D203" if negative else "D209"]), told["name"]
            if told["gene_index"] is None:
                continue
            symbols = "symbol" in told["gene_index"]
            spec = DatasetSpec(
                name=told["name"],
                source="file:///x",
                organism=told["organism"],
                gene_ids="symbol" if symbols else "ensembl",
                gene_columns={"ensembl": "ensembl_id"} if symbols else {},
                matrix={"kind": "counts" if told["x_integer"] else "corrected"},
                obs={column: column for column in told["obs_columns"]},
                control=told.get("control_label") if "perturbation" in told["obs_columns"] else None,
            )
            single = [one for one, values in told["obs_value_counts"].items() if len(values) == 1]
            found = [one.code for one in check.examine(real_data / told["file"], spec)]
            unsaid = [one for one, values in told["obs_value_counts"].items() if {*values} & {*MISSING}]
            assert found == ["D303"] * len(single) + ["D307"] * len(unsaid), told["name"]


class TestSeals:
    def test_a_file_is_checked_once_for_what_is_said_of_it(self, tmp_path, made):
        path, seals = tmp_path / "data.h5ad", tmp_path / "seals"
        made.write_h5ad(path)
        spec = spec_of(path)
        first = check.check(spec, path, "0" * 64, stamp(path), seals)
        path.write_bytes(b"not looked at again")
        again = check.check(spec, path, "0" * 64, stamp(path), seals)
        assert again.model_copy(update={"stamp": first.stamp}) == first
        check.check(spec.model_copy(update={"title": "other"}), path, "0" * 64, stamp(path), seals)
        for other in ({"organism": "Mus musculus"}, {"obs": {}}, {"empty_cells": 0.5}, {"matrix": {"slot": "raw"}}):
            with pytest.raises(DatasetError, match="not a readable"):
                check.check(spec_of(path, **other), path, "0" * 64, stamp(path), seals)
        with pytest.raises(DatasetError, match="not a readable"):
            check.check(spec, path, "1" * 64, stamp(path), seals)
        assert len(list(seals.iterdir())) == 1

    def test_what_was_checked_by_other_rules_is_checked_again(self, tmp_path, made, monkeypatch):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        check.check(spec_of(path), path, "0" * 64, stamp(path), tmp_path / "seals")
        monkeypatch.setattr(rules, "VERSION", rules.VERSION + 1)
        check.check(spec_of(path), path, "0" * 64, stamp(path), tmp_path / "seals")
        assert len(list((tmp_path / "seals").iterdir())) == 2

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\x00", b'{"n_cells": 3}', b"[]"])
    def test_a_seal_that_cannot_be_read_is_made_anew(self, tmp_path, made, content):
        path, seals = tmp_path / "data.h5ad", tmp_path / "seals"
        made.write_h5ad(path)
        first = check.check(spec_of(path), path, "0" * 64, stamp(path), seals)
        (seal,) = seals.iterdir()
        good = seal.read_bytes()
        seal.write_bytes(content)
        assert check.check(spec_of(path), path, "0" * 64, stamp(path), seals) == first
        assert seal.read_bytes() == good

    def test_what_was_found_before_it_was_asked_whether_it_is_tidy_is_found_anew(self, tmp_path, made):
        path, seals = tmp_path / "data.h5ad", tmp_path / "seals"
        made.write_h5ad(path)
        first = check.check(spec_of(path), path, "0" * 64, stamp(path), seals)
        (seal,) = seals.iterdir()
        seal.write_text(
            json.dumps({key: value for key, value in json.loads(seal.read_text()).items() if key != "tidy"})
        )
        assert check.check(spec_of(path), path, "0" * 64, stamp(path), seals) == first
        assert first.tidy

    def test_a_bad_file_leaves_no_seal(self, tmp_path, made):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        with pytest.raises(DatasetError):
            check.check(spec_of(path, obs={"cell_type": "x"}), path, "0" * 64, stamp(path), tmp_path / "seals")
        assert not (tmp_path / "seals").exists()

    def test_seals_that_cannot_be_kept_stop_nothing(self, tmp_path, made):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        (tmp_path / "seals").write_text("a file is in the way")
        assert check.check(spec_of(path), path, "0" * 64, stamp(path), tmp_path / "seals").n_cells == 60

    def test_a_file_that_is_another_one_by_now_is_refused(self, tmp_path, made):
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        for _ in range(2):
            with pytest.raises(DatasetError, match="was changed while it was read"):
                check.check(spec_of(path), path, "0" * 64, (1, 2, 3), tmp_path / "seals")
        assert not (tmp_path / "seals").exists()


class TestReading:
    def test_what_its_columns_tell_is_kept_with_a_dataset(self, tmp_path, made):
        made.obs["clone"] = [f"{label} {n % 2}" for n, label in enumerate(made.obs["label"])]
        roles = {"cell_type": "label", "clone": "clone"}
        assert written(tmp_path, made, obs=roles).tells == {"clone": ("cell_type",)}

    def test_a_dataset_is_opened_again_while_it_is_the_same_file(self, made_dataset, made):
        with check.reopen(made_dataset) as file:
            assert list(file.cells()) == list(made.obs_names)
        assert check.reread(made_dataset, backed=False).shape == made.shape
        made.obs["label"] = "changed"
        made.write_h5ad(made_dataset.path)
        for again in (check.reopen, lambda dataset: check.reread(dataset, backed=True)):
            with pytest.raises(DatasetError, match="was changed while it was in use"):
                again(made_dataset)


class TestFiles:
    def test_a_good_dataset_is_counted(self, tmp_path, made):
        found = written(tmp_path, made)
        assert (found.n_cells, found.n_genes) == (60, 40)

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
