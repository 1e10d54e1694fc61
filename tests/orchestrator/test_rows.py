import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellgauge.data import rows
from cellgauge.data.cache import seal
from cellgauge.errors import DatasetError
from cellgauge.specs import Dataset, DatasetSpec, Rows, Split
from support import entry, make_cells

ROLES = {"cell_type": "label", "donor": "donor", "well": "well", "fold": "fold"}


def dataset_in(path, adata):
    adata.write_h5ad(path)
    spec = DatasetSpec(name="made", **{**entry(path), "source": path.as_uri(), "obs": ROLES})
    return Dataset(
        spec=spec, path=path, sha256="ab" * 32, stamp=seal.stamp(path), n_cells=adata.n_obs, n_genes=adata.n_vars
    )


@pytest.fixture(scope="module")
def cells():
    """300 cells: three types in uneven shares, ten wells of thirty, and five cells of no donor."""
    adata = make_cells(cells=300, genes=4)
    adata.obs["label"] = ["often"] * 200 + ["seldom"] * 97 + ["rare"] * 3
    adata.obs["well"] = [f"w{n % 10}" for n in range(300)]
    adata.obs["donor"] = [None if n < 5 else f"d{n % 3}" for n in range(300)]
    adata.obs["fold"] = pd.Categorical(np.arange(300) % 4, categories=range(9))
    return adata


@pytest.fixture(scope="module")
def dataset(cells, tmp_path_factory):
    return dataset_in(tmp_path_factory.mktemp("rows") / "d.h5ad", cells)


class TestSplit:
    def test_the_values_of_a_role_decide(self, dataset, cells):
        train, test = rows.split(dataset, Split(by="donor", test=("d1",)))
        assert set(cells.obs["donor"][test]) == {"d1"}
        assert set(cells.obs["donor"][train]) == {"d0", "d2"}
        assert not (train | test)[:5].any(), "a cell of no donor is on neither side"

    def test_where_both_sides_are_named_the_others_are_left_out(self, dataset, cells):
        train, test = rows.split(dataset, Split(by="fold", test=("1",), train=("3",)))
        assert set(cells.obs["fold"][test]) == {1}
        assert set(cells.obs["fold"][train]) == {3}

    def test_a_share_is_drawn(self, dataset):
        train, test = rows.split(dataset, Split(fraction=0.2, seed=3))
        assert (test.sum(), (train ^ test).all()) == (60, True)
        other = rows.split(dataset, Split(fraction=0.2, seed=4))[1]
        assert 0 < (test & other).sum() < 60

    def test_the_values_of_joined_columns_decide_or_are_drawn(self, cells, tmp_path):
        dataset = dataset_in(tmp_path / "d.h5ad", cells)
        joined = {**ROLES, "batch": ("donor", "fold")}
        dataset = dataset.model_copy(update={"spec": dataset.spec.model_copy(update={"obs": joined})})
        train, test = rows.split(dataset, Split(by="batch", test=("d1|3", "d2|0")))
        words = cells.obs["donor"].astype(object) + "|" + cells.obs["fold"].astype(str)
        assert set(words[test]) == {"d1|3", "d2|0"}
        assert (train ^ test).tolist() == cells.obs["donor"].notna().tolist(), "what lacks a donor is on neither side"
        train, test = rows.split(dataset, Split(by="batch", fraction=0.25))
        assert not set(words[train]) & set(words[test])
        kept = rows.kept(dataset, Rows(limit=26, stratify="batch", columns={"batch": ("donor", "fold")}))
        assert words[kept].value_counts().min() == 2

    def test_whole_groups_are_drawn(self, dataset, cells):
        train, test = rows.split(dataset, Split(fraction=0.3, by="well"))
        tested, trained = set(cells.obs["well"][test]), set(cells.obs["well"][train])
        assert (len(tested), len(trained), tested & trained) == (3, 7, set())

    def test_each_value_gives_the_same_share(self, dataset, cells):
        test = rows.split(dataset, Split(fraction=0.1, stratify="cell_type"))[1]
        assert cells.obs["label"][test].value_counts().to_dict() == {"often": 20, "seldom": 10, "rare": 0}

    @pytest.mark.parametrize(
        ("split", "words"),
        [
            (Split(by="donor", test=("d9",)), "no cell has the donor 'd9'"),
            (Split(by="fold", test=("1",), train=("8",)), "no cell has the fold '8'"),
            (Split(by="donor", test=("d0", "d1", "d2")), "leaves no cell to train on"),
            (Split(by="tissue", test=("d0",)), "has no role 'tissue'"),
        ],
    )
    def test_a_split_that_cannot_be_is_told(self, dataset, split, words):
        with pytest.raises(DatasetError, match=words) as caught:
            rows.split(dataset, split)
        assert caught.value.hint

    def test_one_group_cannot_be_held_out(self, cells, tmp_path):
        one = cells.copy()
        one.obs["donor"] = "d0"
        with pytest.raises(
            DatasetError, match="donor has one value only, and holding it out leaves nothing to train on"
        ):
            rows.split(dataset_in(tmp_path / "d.h5ad", one), Split(fraction=0.5, by="donor"))


class TestKept:
    def test_without_rules_every_cell_is_kept(self, dataset):
        assert rows.kept(dataset, None).all()

    def test_of_a_split_only_what_may_be_trained_on_is_kept(self, dataset):
        split = Split(fraction=0.25)
        assert (rows.kept(dataset, Rows(split=split)) == rows.split(dataset, split)[0]).all()

    def test_the_views_own_columns_decide_and_not_those_of_an_entry_that_was_changed(self, dataset):
        found = rows.kept(dataset, Rows(split=Split(by="who", test=("w1",)), columns={"who": "well"}))
        assert found.sum() == 270

    def test_so_many_are_drawn_as_are_asked_for_and_each_value_keeps_its_share(self, dataset, cells):
        found = rows.kept(dataset, Rows(limit=30, stratify="cell_type"))
        assert cells.obs["label"][found].value_counts().to_dict() == {"often": 20, "seldom": 9, "rare": 1}

    def test_cells_of_no_value_are_a_stratum_of_their_own(self, dataset, cells):
        found = rows.kept(dataset, Rows(limit=60, stratify="donor"))
        assert (found.sum(), found[:5].sum()) == (60, 1)

    def test_more_than_there_are_is_all(self, dataset):
        assert rows.kept(dataset, Rows(limit=301)).all()

    def test_a_limit_draws_from_what_the_split_leaves(self, dataset):
        split = Split(by="donor", test=("d1",))
        found = rows.kept(dataset, Rows(split=split, limit=40))
        assert found.sum() == 40
        assert not (found & ~rows.split(dataset, split)[0]).any()

    def test_what_has_more_values_than_cells_are_asked_for_keeps_no_shares(self, cells, tmp_path):
        other = cells.copy()
        other.obs["well"] = np.arange(300) / 7
        one = dataset_in(tmp_path / "d.h5ad", other)
        found = rows.kept(one, Rows(limit=40, stratify="well"))
        assert (found == rows.kept(one, Rows(limit=40))).all()

    def test_what_a_split_holds_out_is_told_by_the_views_own_columns(self, dataset, cells):
        held = rows.held_out(dataset, Rows(split=Split(by="who", test=("w1",)), columns={"who": "well"}))
        assert set(cells.obs["well"][held]) == {"w1"}
        assert not rows.held_out(dataset, Rows(limit=3)).any()

    def test_a_smaller_sample_lies_within_a_larger_one(self, dataset):
        small, large = (rows.kept(dataset, Rows(limit=limit, seed=1)) for limit in (20, 50))
        assert (large | ~small).all()

    def test_the_order_of_the_file_does_not_matter_nor_does_the_machine(self, cells, dataset, tmp_path):
        order = np.random.default_rng(0).permutation(300)
        other = dataset_in(tmp_path / "d.h5ad", cells[order].copy())
        for rules in (Rows(limit=9, stratify="cell_type"), Rows(split=Split(fraction=0.4, by="well"))):
            names = set(cells.obs_names[rows.kept(dataset, rules)])
            assert set(cells.obs_names[order][rows.kept(other, rules)]) == names
        drawn = sorted(cells.obs_names[rows.kept(dataset, Rows(limit=3))])
        assert drawn == ["type0_barcode66", "type2_barcode203", "type2_barcode290"]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data(), st.integers(0, 1))
def test_shares_are_kept_as_nearly_as_whole_cells_allow(sizes, data, least):
    sizes = np.array(sizes)
    count = data.draw(st.integers(0, int(sizes.sum())))
    found = rows.apportioned(sizes, count, least)
    assert found.sum() == count
    assert ((found >= 0) & (found <= sizes)).all()
    if least and count >= (sizes > 0).sum():
        assert (found[sizes > 0] >= 1).all()
    elif sizes.sum():
        assert (np.abs(found - sizes * count / sizes.sum()) < 1).all()


def in_turn(sizes, count, least):
    """Hamilton's method as it is told: one seat after the other."""
    total, exact = max(int(sizes.sum()), 1), sizes * count
    found = np.maximum(exact // total, np.minimum(sizes, least) if count >= least * (sizes > 0).sum() else 0)
    while (missing := count - int(found.sum())) != 0:
        rest = exact - found * total
        able = found < sizes if missing > 0 else found > np.minimum(sizes, least)
        found[np.argmax(np.where(able, np.sign(missing) * rest, np.iinfo(np.int64).min))] += np.sign(missing)
    return found


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, 5) | st.integers(0, 400), min_size=1, max_size=9), st.data(), st.integers(0, 2))
def test_seats_are_shared_out_as_if_one_after_the_other(sizes, data, least):
    sizes = np.array(sizes)
    count = data.draw(st.integers(0, int(sizes.sum())))
    assert rows.apportioned(sizes, count, least).tolist() == in_turn(sizes, count, least).tolist()


@pytest.mark.parametrize("sizes", [np.full(200_000, 7), np.array([10**6] + [1] * 200_000)], ids=["alike", "one large"])
def test_very_many_strata_take_no_time(sizes):
    began = time.perf_counter()
    assert rows.apportioned(sizes, 300_001, 1).sum() == 300_001
    assert time.perf_counter() - began < 2  # it took a minute when it went one by one


class TestConditions:
    """What is held out of a screen of perturbations, for models that predict."""

    def test_the_control_is_never_drawn(self, dataset, cells):
        for seed in range(8):
            train, test = rows.split(dataset, Split(by="well", fraction=0.5, keep=("w3",), seed=seed))
            wells = set(cells.obs["well"][test])
            assert len(wells) == 4, "half of the nine others"
            assert "w3" not in wells
            assert (cells.obs["well"] == "w3").to_numpy()[train].sum() == 30

    def test_a_value_that_is_kept_may_be_trained_on_where_training_values_are_named(self, dataset, cells):
        train, _ = rows.split(dataset, Split(by="well", test=("w1",), train=("w2",), keep=("w3",)))
        assert set(cells.obs["well"][train]) == {"w2", "w3"}

    def test_held_out_cells_can_be_asked_for_instead(self, dataset):
        split = Split(by="well", fraction=0.5, keep=("w3",))
        train, test = rows.split(dataset, split)
        assert (rows.kept(dataset, Rows(split=split)) == train).all()
        assert (rows.kept(dataset, Rows(split=split, held_out=True)) == test).all()

    def test_only_some_values_are_left_of_what_a_limit_leaves(self, dataset, cells):
        limited = Rows(limit=100, stratify="well")
        found = rows.kept(dataset, Rows(limit=100, stratify="well", only={"well": ("w3", "w4")}))
        assert set(cells.obs["well"][found]) == {"w3", "w4"}
        assert (found <= rows.kept(dataset, limited)).all()
        assert found.sum() == 20

    def test_a_value_that_no_cell_left_has_is_an_error(self, dataset):
        with pytest.raises(DatasetError, match="no cell left is well w99"):
            rows.kept(dataset, Rows(only={"well": ("w99",)}))

    def test_what_says_nothing_of_them_keeps_the_name_that_it_had(self):
        assert Rows(limit=5).model_dump() == {
            "split": None,
            "limit": 5,
            "stratify": None,
            "seed": 0,
            "columns": {},
        }
        assert "keep" not in Split(by="well", fraction=0.5).model_dump()
        held = Rows(split=Split(by="well", fraction=0.5, keep=("w3",)), held_out=True, only={"well": ("w1",)})
        assert Rows.model_validate_json(held.model_dump_json()) == held
        assert len({*held.model_dump()} - {*Rows().model_dump()}) == 2

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"fraction": 0.5, "keep": ("a",)}, "keep needs by"),
            ({"by": "x", "test": ("a",), "keep": ("a",)}, "in keep"),
        ],
    )
    def test_a_split_that_keeps_nonsense_is_refused(self, fields, words):
        with pytest.raises(ValueError, match=words):
            Split(**fields)
