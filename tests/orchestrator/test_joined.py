"""Several columns as one role: read alike wherever a role is read, and never two combinations for one."""

import re

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgauge import catalog, catalogfile, plan
from cellgauge.data import joined, view
from cellgauge.data.cache import Cache
from cellgauge.specs import Plan, Scoring, View
from cellgauge_tasks import Score, Task
from lab import scored
from support import a_scoring, examined, made_model, make_cells, spec_of, written

BATCH = ("donor", "lane")
ROLES = {"cell_type": "label", "batch": BATCH, "donor": "donor"}


@pytest.fixture
def cells():
    adata = make_cells()
    adata.obs["lane"] = pd.Categorical([None if n < 4 else n % 3 for n in range(60)])
    return adata


def shown_of(dataset, **obs):
    spec = dataset.spec
    fields = {"gene_index": spec.gene_ids, "gene_columns": spec.gene_columns, "gene_ids": spec.gene_ids, "obs": obs}
    return View(sha256=dataset.sha256, matrix=spec.matrix, organism=spec.organism, **fields)


def words(column):
    return [None if pd.isna(one) else one for one in column]


class TestValues:
    def test_they_can_be_read(self):
        obs = pd.DataFrame({"assay": ["10x 3' v3", "10x 3' v3"], "donor": ["TSP17", "TSP18"], "age": [61, 44]})
        assert list(joined.values(obs, ("assay", "donor", "age"))) == ["10x 3' v3|TSP17|61", "10x 3' v3|TSP18|44"]

    def test_one_column_stays_as_it_is(self):
        obs = pd.DataFrame({"time": [1.5, np.nan]})
        assert joined.values(obs, "time") is obs["time"]

    @given(st.lists(st.tuples(*[st.one_of(st.none(), st.text("a|\\", max_size=3))] * 3), min_size=1))
    def test_two_cells_read_alike_only_if_all_of_it_is_alike(self, rows):
        obs = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=object)
        found = joined.values(obs, ("a", "b", "c"))
        assert found.isna().tolist() == [None in row for row in rows], "one that is missing is all that it takes"
        texts = {row: text for row, text in zip(rows, found, strict=True) if None not in row}
        assert len({*texts.values()}) == len(texts)
        again = {row: tuple(re.sub(r"\\(.)", r"\1", one) for one in split(text)) for row, text in texts.items()}
        assert all(row == parts for row, parts in again.items()), "and can be taken apart again"

    def test_columns_of_every_kind_are_joined(self):
        obs = pd.DataFrame(
            {
                "category": pd.Categorical(["x", None, "x", "y"], categories=["y", "x", "never"]),
                "nullable": pd.array([1, 2, None, 4], dtype="Int64"),
                "flag": [True, False, True, False],
                "real": [0.5, 1.0, np.nan, 0.1],
            }
        )
        found = joined.values(obs, tuple(obs))
        assert words(found) == ["x|1|True|0.5", None, None, "y|4|False|0.1"]
        assert list(found.cat.categories) == ["x|1|True|0.5", "y|4|False|0.1"]

    def test_where_nothing_is_complete_nothing_is_said(self):
        assert joined.values(pd.DataFrame({"a": ["x", None], "b": [None, "y"]}), ("a", "b")).isna().all()
        assert len(joined.values(pd.DataFrame({"a": [], "b": []}), ("a", "b"))) == 0


def split(text):
    """Take a joined text apart at each `|` that nothing escapes."""
    return ["".join(part) for part in _parts(text)]


def _parts(text):
    part, escaped = [], False
    for letter in text:
        if letter == "|" and not escaped:
            yield part
            part = []
        else:
            part.append(letter)
        escaped = letter == "\\" and not escaped
    yield part


class TestChecks:
    def test_a_good_one_has_nothing_wrong_with_it(self, tmp_path, cells):
        assert examined(tmp_path, cells, obs=ROLES) == []
        assert written(tmp_path, cells, obs=ROLES).tells["batch"] == ("donor",)

    def test_each_column_that_is_not_there_is_named(self, tmp_path, cells):
        found = examined(tmp_path, cells, obs={"batch": ("donor", "well", "chip")})
        assert [one.code for one in found] == ["D301", "D301"]
        assert ["'well' for batch" in one.message for one in found] == [True, False]

    def test_columns_that_are_nowhere_filled_together_are_empty(self, tmp_path, cells):
        cells.obs["lane"] = ["l" if one == "d0" else None for one in cells.obs["donor"]]
        cells.obs["well"] = ["w" if one == "d1" else None for one in cells.obs["donor"]]
        (found,) = examined(tmp_path, cells, obs={"batch": ("lane", "well")})
        assert (found.code, "'lane + well' for batch is empty; several joined" in found.message) == ("D302", True)

    def test_control_and_splits_name_joined_values(self, tmp_path, cells):
        obs = {"perturbation": BATCH}
        good = {"control": "d0|0", "splits": {"s": {"by": "perturbation", "test": ["d1|1"]}}}
        assert examined(tmp_path, cells, obs=obs, **good) == []
        bad = {"control": "d0", "splits": {"s": {"by": "perturbation", "test": ["d9|1"]}}}
        found = examined(tmp_path, cells, obs=obs, **bad)
        assert [one.code for one in found] == ["D305", "D306"]
        assert all("obs column 'donor + lane'" in one.message and "d1|1" in one.hint for one in found)


class TestViews:
    def test_a_model_that_is_granted_the_role_sees_one_column_of_words(self, tmp_path, cells):
        dataset = written(tmp_path, cells, obs=ROLES)
        shown = shown_of(dataset, batch=BATCH)
        found = anndata.read_h5ad(view.write(dataset, shown, Cache(tmp_path / "cache")))
        assert list(found.obs) == ["batch"]
        told = found[view.cells(dataset, shown)].obs["batch"]
        wanted = [None if n < 4 else f"d{n % 2}|{n % 3}" for n in range(60)]
        assert words(told) == wanted
        answers = view.annotations(dataset, shown, {"batch": BATCH, "donor": "donor"})
        assert words(answers["batch"]) == wanted
        assert answers["donor"].tolist() == cells.obs["donor"].tolist()

    def test_the_order_of_the_columns_is_part_of_what_a_view_is(self, tmp_path, cells):
        dataset = written(tmp_path, cells, obs=ROLES)
        ids = {shown_of(dataset, batch=columns).id for columns in (BATCH, BATCH[::-1], "donor")}
        assert len(ids) == 3


def test_a_task_reads_it_and_a_model_that_sees_a_part_of_it_is_skipped(lab, cells):
    heard = []

    def score(output, obs, *, seed):
        heard.append(obs["batch"])
        return [Score("x", 1.0, len(output))]

    cells.write_h5ad(lab.folder / "d.h5ad")
    spec = lab.dataset("d", obs=ROLES)
    task = Task("t", "1", "t", ("batch",), score, {}, "pca")
    models = (made_model(name="blind"), made_model(name="sees", obs_roles=["donor"]))
    prepared = lab.prepare(models=models, datasets=(spec,), tasks={"t": task})
    (one,) = scored(lab.run(prepared))
    assert (one.state, one.scoring.model, one.scoring.roles) == ("ok", "blind", {"batch": BATCH})
    assert sorted(heard[0].dropna().unique()) == ["d0|0", "d0|1", "d0|2", "d1|0", "d1|1", "d1|2"]
    assert [skip.reason for skip in prepared.plan.skips] == [
        "the model sees donor, and with it donor of batch, which the task scores"
    ]
    assert Plan.model_validate_json(prepared.plan.model_dump_json()) == prepared.plan
    assert plan.scoring_fields(one.scoring)["roles.batch"] == "donor, lane"


def test_what_was_kept_with_one_column_is_read_as_before_and_has_the_same_name():
    kept = a_scoring(roles={"cell_type": "label"})
    assert '"roles":{"cell_type":"label"}' in kept.model_dump_json()
    assert Scoring.model_validate_json(kept.model_dump_json()) == kept
    fields = {"sha256": "0" * 64, "gene_index": "symbol", "gene_columns": {}, "gene_ids": "symbol"}
    assert View(matrix={}, obs={"batch": "lane"}, **fields).id == "12e919f922a5d6a8ce2b"


def test_an_entry_is_written_and_its_checksum_recorded(tmp_path):
    path = tmp_path / "my.yaml"
    catalogfile.append(path, "mine", {**spec_of(tmp_path / "d.h5ad", obs=ROLES).model_dump(exclude={"name"})})
    assert "    obs: {cell_type: label, batch: [donor, lane], donor: donor}\n" in path.read_text()
    catalogfile.record(path, "mine", "a" * 64, 5)
    (spec,) = catalog.datasets([path]).values()
    assert (spec.obs, spec.sha256) == (ROLES, "a" * 64)
