"""What can be told from what: a model that sees one column must not know another by it."""

import numpy as np
import pandas as pd
import pytest

from cellgauge.data.check import labels


class TestTells:
    def obs(self, **columns):
        return pd.DataFrame(columns)

    def tells(self, obs):
        return labels.tells({name: name for name in obs}, obs)

    def test_finer_labels_tell_coarser_ones(self):
        fine = [f"{n % 6}" for n in range(120)]
        assert self.tells(self.obs(fine=fine, coarse=[one in "012" for one in fine])) == {"fine": ("coarse",)}

    def test_one_column_under_two_roles_tells_itself(self):
        obs = self.obs(a=["same"] * 10)
        assert labels.tells({"one": "a", "two": "a"}, obs) == {"one": ("two",), "two": ("one",)}

    def test_columns_that_are_joined_tell_each_of_them_and_what_they_tell_together(self):
        obs = pd.DataFrame({"a": ["x", "y"] * 100, "b": ["x", "x", "y", "y"] * 50, "c": ["same"] * 200})
        obs["kind"] = [f"{one}{other}" for one, other in zip(obs["a"], obs["b"], strict=True)]
        roles = {"all": ("a", "b", "c"), "two": ("b", "a"), "one": "a", "same": "c", "kind": "kind"}
        told = labels.tells(roles, obs)
        assert told["all"] == ("kind", "one", "same", "two"), "also a part that has one value only"
        assert told["two"] == ("all", "kind", "one")
        assert told["kind"] == ("all", "one", "two")
        assert "one" not in told

    def test_joined_columns_of_which_one_is_not_there_are_not_compared(self):
        obs = pd.DataFrame({"a": ["x", "y"] * 10})
        assert labels.tells({"one": "a", "both": ("a", "b")}, obs) == {"both": ("one",)}
        assert labels.ids({"both": ("a", "b")}, obs) == ()

    def test_an_id_tells_nothing_nor_does_what_is_nearly_constant(self):
        obs = self.obs(id=[f"c{n}" for n in range(100)], kind=["a", "b"] * 50, rare=["x"] * 97 + ["y"] * 3)
        assert self.tells(obs) == {}

    @pytest.mark.parametrize(("wrong", "told"), [(1, True), (2, True), (3, False)])
    def test_nearly_always_is_99_of_100(self, wrong, told):
        left = ["a", "b"] * 100
        right = [one if n >= wrong else "b" if one == "a" else "a" for n, one in enumerate(left)]
        assert self.tells(self.obs(left=left, right=right)) == (
            {"left": ("right",), "right": ("left",)} if told else {}
        )

    def test_numbers_tell_what_goes_with_their_size(self):
        random = np.random.default_rng(0)
        size = np.concatenate([random.normal(0, 1, 1000), random.normal(50, 1, 1000)])
        obs = self.obs(size=size, kind=["small"] * 1000 + ["large"] * 1000, other=random.integers(0, 2, 2000))
        assert self.tells(obs) == {"size": ("kind",)}

    def test_a_label_that_is_missing_tells_too_and_is_none_to_be_told(self):
        obs = self.obs(guide=[None, "g", "h", None] * 50, treated=["no", "yes", "yes", "no"] * 50)
        assert self.tells(obs) == {"guide": ("treated",)}

    def test_columns_of_every_kind_are_compared(self):
        kind = [n % 3 for n in range(90)]
        same = {
            "text": [str(n) for n in kind],
            "category": pd.Categorical(kind),
            "nullable": pd.array([n or None for n in kind], dtype="Int64"),
            "flag": pd.array([None if n == 0 else n == 1 for n in kind], dtype="boolean"),
            "real": [n / 7 for n in kind],
        }
        names = sorted(same)
        assert self.tells(pd.DataFrame(same)) == {
            name: tuple(other for other in names if other != name) for name in names
        }

    def test_two_that_tell_nothing_alone_may_tell_it_together(self):
        left, right = [n % 2 for n in range(200)], [n // 2 % 2 for n in range(200)]
        obs = self.obs(left=left, right=right, kind=[one ^ two for one, two in zip(left, right, strict=True)])
        assert self.tells(obs) == {"left+right": ("kind",), "kind+left": ("right",), "kind+right": ("left",)}
        again = self.obs(left=left, other=right, kind=[f"{one}" for one in left])
        assert self.tells(again) == {"left": ("kind",), "kind": ("left",)}, "only what neither tells alone"

    def test_two_numbers_tell_a_place(self):
        random = np.random.default_rng(0)
        x, y = random.uniform(size=4000), random.uniform(size=4000)
        obs = self.obs(x=x, y=y, layer=np.where((x < 0.5) ^ (y < 0.5), "in", "out"))
        assert self.tells(obs) == {"x+y": ("layer",)}

    def test_numbers_tell_in_a_small_dataset_too(self):
        obs = self.obs(depth=np.arange(60) / 7, kind=["a"] * 28 + ["b"] * 32)
        assert self.tells(obs) == {"depth": ("kind",)}
        noise = np.random.default_rng(0).permutation(60)
        assert self.tells(self.obs(depth=noise / 7, kind=["a"] * 28 + ["b"] * 32)) == {}

    def test_numbers_that_are_names_tell_however_many_there_are(self):
        donor = np.arange(3000) % 300
        assert self.tells(self.obs(donor=donor, tissue=[f"t{n}" for n in donor % 7]))["donor"] == ("tissue",)

    def test_what_is_not_finite_is_no_number(self):
        depth = [np.inf, np.nan, -np.inf] * 10 + list(range(60))
        assert self.tells(self.obs(depth=depth, kind=["a"] * 60 + ["b"] * 30)) == {"depth": ("kind",)}


class TestIds:
    def ids(self, **columns):
        return labels.ids({name: name for name in columns}, pd.DataFrame(columns))

    def test_words_that_are_nearly_as_many_as_cells_are_ids(self):
        many = [f"c{n}" for n in range(100)]
        assert self.ids(
            barcode=many, half=[f"c{n // 2}" for n in range(100)], clone=[f"c{n // 3}" for n in range(100)]
        ) == (
            "barcode",
            "half",
        )

    def test_numbers_are_none_nor_is_what_tells_two_kinds(self):
        assert self.ids(time=np.arange(4) / 3, kind=["a", "b", "a", None]) == ()

    def test_groups_that_are_small_enough_together_are_ids(self):
        obs = pd.DataFrame({"row": [f"r{n % 10}" for n in range(100)], "column": [f"c{n // 10}" for n in range(100)]})
        assert labels.ids({"row": "row", "column": "column", "well": ("row", "column")}, obs) == ("well",)

    def test_cells_without_a_value_do_not_count(self):
        assert self.ids(clone=[f"c{n}" if n < 9 else None for n in range(100)]) == ("clone",)
