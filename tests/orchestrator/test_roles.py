"""Columns play roles by their names, and only if their values can."""

import numpy as np
import pytest

from cellgauge.data.guess import roles
from cellgauge.specs import DatasetSpec
from guessing import look, plain_cells


@pytest.fixture
def cells():
    return plain_cells()


@pytest.mark.parametrize(
    ("column", "role"),
    [
        ("cell.type", "cell_type"),
        ("CellType", "cell_type"),
        ("bulk_labels", "cell_type"),
        ("orig.ident", "batch"),
        ("sample", "batch"),
        ("individual", "donor"),
        ("time_point", "time"),
        ("tissue_general", "tissue"),
        ("suspension_type", "suspension_type"),
        ("sgRNA", "guide"),
    ],
)
def test_names_tell_them(tmp_path, cells, column, role):
    cells.obs[column] = ["a", "b", "c"] * 20
    assert look(tmp_path, cells).obs == {role: column}


def test_the_surest_name_wins_and_no_column_plays_two(tmp_path, cells):
    for column in ("label", "cell_type", "sample", "batch", "donor_id", "tech"):
        cells.obs[column] = ["a", "b"] * 30
    assert look(tmp_path, cells).obs == {"cell_type": "cell_type", "batch": "batch", "donor": "donor_id"}


def test_clusters_are_no_cell_types(tmp_path, cells):
    cells.obs["leiden"] = cells.obs["louvain_r1"] = ["0", "1"] * 30
    found = look(tmp_path, cells)
    assert found.obs == {}
    assert "leiden, louvain_r1: a clustering's work" in found.remarks["obs"]


def test_what_groups_no_cells_or_is_empty_plays_none(tmp_path, cells):
    cells.obs["batch"] = [str(n) for n in range(60)]
    cells.obs["donor"] = [np.nan] * 60
    cells.obs["cell_type"] = np.linspace(0, 1, 60)
    assert look(tmp_path, cells).obs == {}


@pytest.mark.parametrize(
    ("column", "values", "control"),
    [
        ("condition", ["ctrl", "KLF1+ctrl"], "ctrl"),
        ("gene", ["non-targeting", "KLF1"], "non-targeting"),
        ("stim", ["Unstimulated", "stimulated"], "Unstimulated"),
        ("drug", ["vehicle (DMSO)", "panobinostat"], "vehicle (DMSO)"),
        ("treatment", ["DMSO", "Control"], "Control"),
        ("perturbation", ["NT", "STAT1"], "NT"),
        ("perturbation", ["KLF1", "STAT1"], None),
    ],
)
def test_a_perturbation_has_a_control(tmp_path, cells, column, values, control):
    cells.obs[column] = values * 30
    found = look(tmp_path, cells)
    assert (found.obs, found.control) == ({"perturbation": column}, control)
    assert found.unknown == (() if control else ("control",))
    assert DatasetSpec(name="x", **found.entry(source="x")).control == control


def test_a_condition_without_a_control_is_no_perturbation(tmp_path, cells):
    cells.obs["condition"], cells.obs["gene"] = ["healthy", "ill"] * 30, ["A", "B"] * 30
    assert look(tmp_path, cells).obs == {}


def test_two_likely_controls_are_asked():
    assert roles.control(["ctrl", "control", "A"]) is None
    assert roles.control(["A", "B"]) is None
    assert roles.control(["non-targeting", "DMSO"]) == "non-targeting"


def test_a_split_that_is_there_is_used(tmp_path, cells):
    cells.obs["split"] = ["train", "test", "val"] * 20
    entry = look(tmp_path, cells).entry(source="x")
    assert entry["splits"] == {"published": {"by": "split", "train": ["train"], "test": ["test"]}}
    assert DatasetSpec(name="x", **entry).splits["published"].test == ("test",)
