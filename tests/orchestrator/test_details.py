"""Small arrays lie beside their result, belong to it, and go with it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellgauge.errors import StorageError
from cellgauge.score import failed
from cellgauge.store import Store
from support import a_scoring


class TestArrays:
    SMALL = {"clusters": np.arange(3), "replicates/0": np.ones(200, dtype=np.float32)}

    def test_they_lie_beside_their_result_and_go_with_it(self, store):
        kept = store.keep_result(failed(a_scoring(), "ok", ""), self.SMALL)
        assert store.result(kept.scoring.id) == kept
        assert store.arrays(kept)["clusters"].tolist() == [0, 1, 2]
        assert list(store.arrays(kept, ["replicates/0"])) == ["replicates/0"]
        other = store.keep_result(kept, {"clusters": np.arange(4)})
        assert store.arrays(other)["clusters"].tolist() == [0, 1, 2, 3]
        assert store.arrays(kept) == {}, "these are gone"
        assert len(list(store.root.rglob("*.npz"))) == 1
        bare = store.keep_result(other)
        assert (bare.arrays, store.arrays(bare), list(store.root.rglob("*.npz"))) == ("", {}, [])
        assert [one.scoring.id for one in store.results()] == [bare.scoring.id]

    def test_a_file_that_is_gone_or_was_changed_holds_nothing(self, store):
        kept = store.keep_result(failed(a_scoring(), "ok", ""), self.SMALL)
        (path,) = store.root.rglob("*.npz")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert store.arrays(kept) == {}
        path.unlink()
        assert store.arrays(kept) == {}

    def test_many_writers_of_one_result_leave_it_with_its_own_arrays(self, store):
        def write(number):
            store.keep_result(failed(a_scoring(), "ok", str(number)), {"clusters": np.full(3, number)})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(200)))
        kept = store.result(a_scoring().id)
        assert store.arrays(kept)["clusters"].tolist() == [int(kept.reason)] * 3
        assert len(list(store.root.rglob("*.npz"))) == 1

    def test_a_disk_that_is_full_leaves_the_result_of_before(self, small_disk):
        store = Store(small_disk)
        store.prepare()
        kept = store.keep_result(failed(a_scoring(), "ok", ""), self.SMALL)
        noise = np.random.default_rng(0).normal(size=20_000)
        with pytest.raises(StorageError, match="No space left"):
            store.keep_result(kept, {"noise": noise})
        assert store.result(kept.scoring.id) == kept
        assert set(store.arrays(kept)) == set(self.SMALL)
