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
