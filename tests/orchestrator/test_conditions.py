"""What a dataset says of its conditions, and which of them a split holds out."""

import numpy as np
import pandas as pd
import pytest

from cellgauge.data import conditions
from cellgauge.specs import Split
from knockouts import CONDITIONS, CONTROL, ROLES, make_screen, screen


def table(names, level="cells", **columns):
    return conditions.table(pd.DataFrame({"condition": names, **columns}), "ctrl", level)


class TestTable:
    def test_lists_every_condition_but_the_control_and_counts_its_cells(self):
        found = table(["B", "ctrl", "A", None, "B"])
        assert [(one.id, one.targets, one.n_cells, one.type) for one in found] == [
            ("A", ["A"], 1, "unknown"),
            ("B", ["B"], 2, "unknown"),
        ]

    def test_asks_for_one_row_where_means_are_predicted(self):
        assert [one.n_cells for one in table(["A", "A", "B"], level="means")] == [1, 1]

    def test_reads_categories_and_numbers_as_the_entry_names_them(self):
        assert [one.id for one in table(pd.Categorical(["x", "ctrl"], ["ctrl", "unused", "x"]))] == ["x"]
        assert [one.id for one in table(np.array([2, 1]))] == ["1", "2"]

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ([2, 10], ["2", "10"]),
            ([0.5, None], ["0.5", None]),
            ([True, False], ["True", "False"]),
            (pd.Categorical([1.0, None, 0.1]), ["1.0", None, "0.1"]),
            (pd.array([3, None], dtype="Int64"), ["3", None]),
            (["x", None], ["x", None]),
        ],
    )
    def test_writes_each_cells_condition_as_it_lists_them(self, values, words):
        found = conditions.words(pd.Series(values))
        assert [None if pd.isna(one) else one for one in found] == words
        assert [one.id for one in table(values)] == sorted(filter(None, words))

    def test_takes_the_role_target_before_the_name(self):
        found = table(["sg1", "sg1", "drug"], target=["TP53", "TP53", None])
        assert {one.id: one.targets for one in found} == {"sg1": ["TP53"], "drug": ["drug"]}

    @pytest.mark.parametrize(
        ("name", "targets"),
        [
            ("A+ctrl", ["A"]),
            ("ctrl+A", ["A"]),
            ("A+B", ["A", "B"]),
            ("A + B", ["A", "B"]),
            ("A+A", ["A"]),
            ("non-targeting", []),
            ("HLA-A", ["HLA-A"]),
        ],
    )
    def test_takes_a_name_apart_and_leaves_out_words_of_control(self, name, targets):
        assert table([name])[0].targets == targets

    def test_says_dose_time_and_context_only_where_all_cells_have_the_same(self):
        found = table(["A", "A", "B", "B"], dose=[0.5, 0.5, 1, 2], time=["24", "24", "24", None], context=["K562"] * 4)
        told = {one.id: (one.dose, one.time, one.context) for one in found}
        assert told == {"A": (0.5, 24.0, "K562"), "B": (None, None, "K562")}

    @pytest.mark.parametrize(
        ("dose", "read"),
        [("10 uM", (10.0, "uM")), ("1e-3mM", (0.001, "mM")), ("5", (5.0, None)), ("high", (None, None))],
    )
    def test_reads_a_dose_with_its_unit(self, dose, read):
        (one,) = table(["A"], dose=[dose])
        assert (one.dose, one.unit) == read

    @pytest.mark.parametrize(
        ("time", "hours"), [("6h", 6.0), ("6 hours", 6.0), (6, 6.0), ("6 d", None), ("E6.5", None)]
    )
    def test_reads_a_time_in_hours_and_guesses_at_no_other(self, time, hours):
        assert table(["A"], time=[time])[0].time == hours


class TestHeldOut:
    drawn = Split(by="perturbation", fraction=0.2, keep=(CONTROL,))

    def test_conditions_are_whole_and_the_control_is_not_among_them(self, tmp_path):
        found = conditions.held_out(screen(tmp_path), self.drawn)
        assert (found.reason, len(found.conditions), found.combined) == ("", 2, ())
        assert found.unseen == found.conditions
        assert set(found.conditions) < set(CONDITIONS)

    def test_targets_of_combinations_may_have_been_seen_singly(self, tmp_path):
        pairs = make_screen(conditions=("G1", "G2", "G3+control", "G1+G2", "G1+G9"))
        split = Split(by="perturbation", test=("G1+G2", "G1+G9", "G3+control"), keep=(CONTROL,))
        found = conditions.held_out(screen(tmp_path, pairs), split)
        assert (found.unseen, found.combined) == (("G1+G9", "G3+control"), ("G1+G2", "G1+G9"))

    def test_a_single_condition_cannot_be_held_out(self, tmp_path):
        found = conditions.held_out(screen(tmp_path, make_screen(conditions=("G1",))), self.drawn)
        assert "one value only beside control, and holding it out leaves nothing to train on" in found.reason

    @pytest.mark.parametrize(
        ("split", "words"),
        [
            (Split(by="batch", test=("lane1",)), "has cells of 'G1' on both sides"),
            (Split(by="perturbation", test=("G1",), train=("G2",)), "leaves no cell of the control"),
            (Split(by="perturbation", test=CONDITIONS, keep=(CONTROL,)), "leaves nothing to train on"),
            (Split(by="perturbation", test=("G77",)), "no cell has the perturbation 'G77'"),
        ],
    )
    def test_a_split_that_does_not_do_says_why(self, tmp_path, split, words):
        assert words in conditions.held_out(screen(tmp_path), split).reason

    @pytest.mark.parametrize(
        ("trained", "held", "dose", "same"),
        [
            ("A+B", "B+A", None, True),
            ("A+control", "control+A", None, True),
            ("A", "A+control", None, True),
            ("A+B", "A+C", None, False),
            ("A+B", "B+A", "1 uM", True),
            ("A+B", "B+A", "2 uM", False),
        ],
    )
    def test_a_condition_by_another_name_is_not_held_out(self, tmp_path, trained, held, dose, same):
        adata = make_screen(conditions=("G1", trained, held))
        roles = dict(ROLES)
        if dose:
            adata.obs["dose"] = np.where(adata.obs["guide_target"] == held, dose, "1 uM")
            roles["dose"] = "dose"
        found = conditions.held_out(
            screen(tmp_path, adata, obs=roles), Split(by="perturbation", test=(held,), keep=(CONTROL,))
        )
        words = f"trains on '{trained}' and holds out '{held}', which are the same condition"
        assert (words in found.reason) if same else (found.reason == "")

    def test_conditions_of_the_same_target_are_not_the_same(self, tmp_path):
        adata = make_screen(conditions=("G1", "drug1", "drug2"))
        adata.obs["protein"] = "ABL1"
        dataset = screen(tmp_path, adata, obs={**ROLES, "target": "protein"})
        assert conditions.held_out(dataset, Split(by="perturbation", test=("drug1",), keep=(CONTROL,))).reason == ""

    def test_a_published_split_may_be_a_column(self, tmp_path):
        adata = make_screen()
        adata.obs["fold"] = np.where(adata.obs["guide_target"].isin(["G4", "G5"]), "test", "train")
        dataset = screen(tmp_path, adata, obs={**ROLES, "split": "fold"})
        assert conditions.held_out(dataset, Split(by="split", test=("test",))).conditions == ("G4", "G5")
