"""What is guessed of a file is what a person wrote about it, and what cannot be told is asked."""

import re

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellgauge import catalog, catalogfile
from cellgauge.data.guess import guess, named
from cellgauge.errors import DatasetError
from cellgauge.specs import DatasetSpec, Matrix
from cellgauge.specs.base import NAME
from guessing import look, plain_cells
from support import ROOT, checked

FIELDS = ("organism", "gene_ids", "gene_columns", "matrix", "modality", "control")
ROLES = ("cell_type", "batch", "donor", "perturbation", "guide", "dose", "time", "tissue", "region", "dataset_id")
EXCEPTIONS = {
    # Features of images: no gene tells the organism, and a matrix with negative values holds no counts.
    ("imaging_lincs_cellpainting_a549", "organism"): None,
    ("imaging_lincs_cellpainting_a549", "matrix"): None,
    # Nothing in this file says that its cells have places.
    ("spatial_merfish_brain_zhuang", "modality"): "scRNA-seq",
    # A column cell_type that has one value, which says that the cells are not annotated.
    ("gbm_panobinostat_zhao", "cell_type"): "cell_type",
}


@pytest.fixture
def cells():
    return plain_cells()


def test_real_files_are_guessed_as_they_were_described(real_catalog):
    misses = {}
    for name, spec in catalog.datasets([real_catalog]).items():
        found = guess(real_catalog.parent / spec.sources[0].removeprefix("file://"))
        for field in FIELDS:
            if getattr(found, field) != getattr(spec, field):
                misses[name, field] = getattr(found, field)
        for role in ROLES:
            if found.obs.get(role) != spec.obs.get(role):
                misses[name, role] = found.obs.get(role)
        assert found.size == spec.size
        assert found.name == spec.sources[0].rpartition("/")[2].removesuffix(".h5ad")
    assert misses == EXCEPTIONS


def test_the_demo_set_is_guessed_as_it_is_in_the_catalogue():
    path = ROOT / "datasets.yaml"
    spec = catalog.datasets([path])["pbmc68k_reduced"]
    found = guess(checked(spec).path)
    assert (found.matrix, found.obs, found.organism) == (spec.matrix, spec.obs, spec.organism)
    assert "n_counts" in found.remarks["matrix"]


def test_a_guess_becomes_an_entry_of_few_lines_that_can_be_used(tmp_path, cells):
    cells.obs["celltype"], cells.obs["patient"] = ["a", "b"] * 30, ["p", "q", "r"] * 20
    found = look(tmp_path, cells, "my cells (new).h5ad")
    entry = found.entry(source="my cells (new).h5ad")
    assert found.name == "my_cells_new_"
    assert entry == {
        "source": "my cells (new).h5ad",
        "organism": "Homo sapiens",
        "gene_ids": "ensembl",
        "obs": {"cell_type": "celltype", "donor": "patient"},
    }
    catalogfile.append(tmp_path / "my.yaml", found.name, entry)
    assert len((tmp_path / "my.yaml").read_text().splitlines()) == 6
    dataset = checked(catalog.datasets([tmp_path / "my.yaml"])[found.name])
    assert (dataset.n_cells, dataset.n_genes) == (60, 60)
    pinned = found.entry(source="x", sha256=dataset.sha256)
    assert (pinned["sha256"], pinned["size"]) == (dataset.sha256, dataset.path.stat().st_size)
    assert DatasetSpec(name="x", **pinned).verified


class TestGeneColumns:
    def test_the_surest_name_of_symbols_wins(self, tmp_path, cells):
        cells.var["gene"] = cells.var["feature_name"] = cells.var["chromosome"] = [f"G{n}" for n in range(60)]
        assert look(tmp_path, cells).gene_columns == {"symbol": "feature_name"}

    def test_ensembl_ids_are_known_by_their_look_and_the_fullest_column_wins(self, tmp_path, cells):
        ids = cells.var_names.to_numpy()
        cells.var["some"], cells.var["all"] = [*ids[:40], *[""] * 20], [*ids[:50], *[""] * 10]
        cells.var_names = [f"G{n}" for n in range(60)]
        assert look(tmp_path, cells).gene_columns == {"ensembl": "all"}

    def test_they_are_those_of_the_slot(self, tmp_path, cells):
        whole = cells.copy()
        whole.var["symbols"] = [f"G{n}" for n in range(60)]
        cells.raw = whole
        cells.X = cells.X * np.float32(0.5) - np.float32(1) * cells.X
        found = look(tmp_path, cells)
        assert (found.matrix, found.gene_columns) == (Matrix(slot="raw"), {"symbol": "symbols"})


class TestModality:
    def test_coordinates_mean_spatial(self, tmp_path, cells):
        cells.obsm["spatial"] = np.zeros((60, 2))
        assert look(tmp_path, cells).entry(source="x")["modality"] == "spatial"

    @pytest.mark.parametrize(
        ("column", "value", "modality"),
        [
            ("assay", "Visium Spatial Gene Expression", "spatial"),
            ("assay", "10x 3' v3", "scRNA-seq"),
            ("suspension_type", "nucleus", "snRNA-seq"),
            ("suspension_type", "cell", "scRNA-seq"),
        ],
    )
    def test_columns_tell_it(self, tmp_path, cells, column, value, modality):
        cells.obs[column] = value
        assert look(tmp_path, cells).modality == modality


def test_a_damaged_file_says_so_and_odd_parts_do_no_harm(tmp_path, cells):
    (tmp_path / "bad.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(DatasetError, match=r"bad\.h5ad"):
        guess(tmp_path / "bad.h5ad")
    cells.obs["batch"] = ["a", "b"] * 30
    cells.write_h5ad(tmp_path / "odd.h5ad")
    with h5py.File(tmp_path / "odd.h5ad", "r+") as file:
        del file["obs/batch"]
        file["obs/batch"] = np.zeros((60, 2))
        file["uns/organism"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["uns/organism_ontology_term_id"] = np.zeros(3)
    assert guess(tmp_path / "odd.h5ad").obs == {}


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=80))
def test_every_source_makes_a_name(source):
    assert re.match(NAME, named(source))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/my cells.h5ad", "my_cells"),
        ("https://host/a/b%20c.h5ad?x=1", "b_c"),
        ("s3://bucket/key.h5ad", "key"),
        ("cellxgene://1234-5678", "1234-5678"),
    ],
)
def test_names_are_those_of_files(source, name):
    assert named(source) == name
