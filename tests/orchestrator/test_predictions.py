import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge import predictions
from cellgauge.errors import ContractViolation
from cellgauge_model.contract import Condition, Item

ITEM = Item("x", "x.h5ad", conditions=[Condition("c1", n_cells=2), Condition("c2", n_cells=2)])
GENES = ["G1", "G2"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x").mkdir()
    return tmp_path


def prediction(folder, conditions=("c1", "c2"), genes=GENES, value=1.0, matrix=None):
    rows = np.full((len(conditions), len(genes)), value, dtype="float32") if matrix is None else matrix
    obs = pd.DataFrame({"condition": list(conditions)}, index=[str(n) for n in range(len(conditions))])
    anndata.AnnData(X=rows, obs=obs, var=pd.DataFrame(index=list(genes))).write_h5ad(folder / "x" / "prediction.h5ad")


def test_a_good_prediction_has_a_shape(folder):
    prediction(folder, conditions=["c2", "c1", "c1"])
    assert predictions.check(folder, ITEM, GENES) == (3, 2)


def test_a_good_prediction_is_read_as_it_is(folder):
    prediction(
        folder, conditions=["c2", "c1", "c1"], genes=["G2"], matrix=np.array([[0.5], [-1], [2]], dtype="float32")
    )
    found = predictions.read(folder, ITEM, GENES)
    assert (found.conditions, found.genes, found.matrix.ravel().tolist()) == (["c2", "c1", "c1"], ["G2"], [0.5, -1, 2])


def test_fewer_cells_than_asked_for_will_do(folder):
    prediction(folder)
    assert predictions.check(folder, ITEM, GENES) == (2, 2)


def test_of_means_each_condition_has_one_row(folder):
    prediction(folder, conditions=["c2", "c1", "c1"])
    with pytest.raises(ContractViolation, match="condition 'c1' has several rows, of which one is its mean"):
        predictions.check(folder, ITEM, GENES, "means")
    prediction(folder, conditions=["c2", "c1"])
    assert predictions.check(folder, ITEM, GENES, "means") == (2, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"conditions": ["c1"]}, "condition 'c2' is missing"),
        ({"conditions": ["c1", "c2", "c3"]}, "condition 'c3' is unknown"),
        ({"conditions": ["c1"] * 3 + ["c2"]}, r"condition 'c1' has 3 rows, of which at most 2 are asked for \(1 of 2"),
        ({"genes": []}, "has 0 genes, of 2 in the input"),
        ({"genes": ["G1", "G3"]}, "genes that the input does not have"),
        ({"value": np.nan}, "NaN or infinite"),
        ({"matrix": sp.csr_matrix(np.ones((2, 2), dtype="float32"))}, "not a dense float32"),
        ({"matrix": np.ones((2, 2))}, "not a dense float32"),
    ],
)
def test_a_prediction_of_another_form_is_refused(folder, fields, words):
    prediction(folder, **fields)
    with pytest.raises(ContractViolation, match=words):
        predictions.check(folder, ITEM, GENES)


def test_a_prediction_that_leads_to_another_file_is_refused(folder):
    prediction(folder)
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["X"] = np.ones((2, 2), dtype="float32")
    with h5py.File(folder / "x" / "prediction.h5ad", "a") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(folder / "secret.h5"), "/X")
    with pytest.raises(ContractViolation, match="/X is a link"):
        predictions.check(folder, ITEM, GENES)


def test_a_prediction_stored_in_another_file_is_refused(folder):
    prediction(folder)
    (folder / "secret.bin").write_bytes(b"\0" * 16)
    with h5py.File(folder / "x" / "prediction.h5ad", "a") as file:
        del file["X"]
        file.create_dataset("X", (2, 2), "float32", external=[(str(folder / "secret.bin"), 0, 16)])
    with pytest.raises(ContractViolation, match="lies in another file"):
        predictions.check(folder, ITEM, GENES)


def test_a_damaged_prediction_is_refused(folder):
    (folder / "x" / "prediction.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    with pytest.raises(ContractViolation, match="cannot be read"):
        predictions.check(folder, ITEM, GENES)
