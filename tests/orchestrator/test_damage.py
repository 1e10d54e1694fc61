"""Of a damaged file the reader gives an error or a good answer: no crash, no hang, no other file."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from cellgauge.data import h5ad
from cellgauge.data.h5ad import hdf5, heaps
from cellgauge.errors import DatasetError
from oldfiles import legacy
from support import make_cells

FORMS = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}


def read_all(path):
    """Read whatever there is to read."""
    with h5ad.open(path) as file:
        file.cells()
        file.obs(file.columns())
        for slot in file.slots():
            file.var(slot)
            file.row_sizes(slot)
            for _, block in file.blocks(slot, values=50):
                block.sum()


def replaced(file, place, values, **more):
    kept = dict(file[place].attrs)
    del file[place]
    file.create_dataset(place, data=values, **more)
    file[place].attrs.update(kept)


def at(array, place, value):
    array = array[()]
    array[place] = value
    return array


def linked(file, place, link):
    del file[place]
    file[place] = link


def external(file):
    del file["X/data"]
    file["X"].create_dataset("data", (5,), "f4", external=[("/etc/passwd", 0, 20)])


def virtual(file):
    del file["X/data"]
    layout = h5py.VirtualLayout((5,), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "data", (5,))
    file["X"].create_virtual_dataset("data", layout)


def vlen(file):
    data = file["obs"].create_dataset("pickled", (60,), h5py.vlen_dtype(np.uint8))
    data[0] = np.arange(3, dtype=np.uint8)
    file["obs"].attrs["column-order"] = ["pickled"]


def huge(file):
    for name in ("_index", "label", "donor"):
        del file["obs"][name]
        file["obs"].create_dataset(name, (10**12,), "i4", chunks=(1000,))


def huge_shape(file):
    file["X"].attrs["shape"] = [10**12, 40]


def wide(file):
    del file["layers/doubled"]
    file["layers"].create_dataset("doubled", (60, 40), "f4", chunks=(1, 1), maxshape=(None, None))
    file["layers/doubled"].resize((10**9, 10**9))


DAMAGE = {
    "indptr falls": (lambda f: replaced(f, "X/indptr", at(f["X/indptr"], 5, 10**6)), "indptr"),
    "indptr below 0": (lambda f: replaced(f, "X/indptr", at(f["X/indptr"], 0, -4)), "indptr"),
    "indptr too short": (lambda f: replaced(f, "X/indptr", f["X/indptr"][:-1]), "do not go together"),
    "indptr too long": (lambda f: replaced(f, "X/indptr", at(f["X/indptr"], -1, 7)), "indptr"),
    "indices outside": (lambda f: replaced(f, "X/indices", at(f["X/indices"], 3, 40)), "points outside"),
    "indices below 0": (lambda f: replaced(f, "X/indices", at(f["X/indices"], 3, -1)), "points outside"),
    "indices are no integers": (lambda f: replaced(f, "X/indices", f["X/indices"][()] * 1.0), "no whole numbers"),
    "fewer values": (lambda f: replaced(f, "X/data", f["X/data"][:-2]), "do not go together"),
    "values are text": (lambda f: replaced(f, "X/data", f["obs/donor/codes"][()].astype("S")), "no numbers"),
    "another shape": (lambda f: f["X"].attrs.create("shape", [61, 40]), "60 cell ids"),
    "a shape of text": (lambda f: f["X"].attrs.create("shape", "60x40"), "readable"),
    "no shape": (lambda f: f["X"].attrs.__delitem__("shape"), "no shape"),
    "no data": (lambda f: f["X"].__delitem__("data"), "there is no 'data'"),
    "no obs": (lambda f: f.__delitem__("obs"), "there is no 'obs'"),
    "no var": (lambda f: f.__delitem__("var"), "there is no 'var'"),
    "no index": (lambda f: f["obs"].__delitem__("_index"), "there is no '_index'"),
    "an index of numbers": (lambda f: f["obs"].attrs.create("_index", 3), "no index"),
    "a column is missing": (lambda f: f["obs"].__delitem__("donor"), "there is no 'donor'"),
    "a column is short": (lambda f: replaced(f, "obs/donor/codes", np.zeros(3, "i1")), "3 values for 60"),
    "codes without a category": (lambda f: replaced(f, "obs/donor/codes", np.full(60, 9, "i1")), "codes need to be"),
    "a column of unknown kind": (lambda f: f["obs/donor"].attrs.modify("encoding-type", "pickle"), "is no column"),
    "columns elsewhere": (lambda f: f["obs"].attrs.create("column-order", ["/X/data"]), "there is no '/X/data'"),
    "a soft link": (lambda f: linked(f, "X/data", h5py.SoftLink("/layers/doubled/data")), "link to elsewhere"),
    "a link outside": (lambda f: linked(f, "X", h5py.ExternalLink("/etc/x.h5", "X")), "link to elsewhere"),
    "obs outside": (lambda f: linked(f, "obs", h5py.ExternalLink("/etc/x.h5", "X")), "link to elsewhere"),
    "codes outside": (lambda f: linked(f, "obs/donor/codes", h5py.ExternalLink("/x.h5", "X")), "link to elsewhere"),
    "a group in itself": (lambda f: linked(f, "X/data", f["X"]), "is a group where an array belongs"),
    "values in another file": (external, "other files"),
    "values out of other files": (virtual, "other files"),
    "objects": (vlen, "neither numbers nor text"),
    "10^12 cells": (huge, "claims the shape"),
    "a matrix of 10^12 cells": (huge_shape, "60 cell ids"),
    "a matrix without end": (wide, "claims the shape"),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGE)
    def test_damage_is_named_and_not_believed(self, tmp_path, name):
        damage, words = DAMAGE[name]
        adata, path = make_cells(), tmp_path / "bad.h5ad"
        adata.obs["donor"] = pd.Categorical(adata.obs["donor"])
        adata.write_h5ad(path)
        read_all(path)
        with h5py.File(path, "r+") as file:
            damage(file)
        with pytest.raises(DatasetError, match=words) as caught:
            read_all(path)
        assert str(path) in caught.value.message
        assert "Fetch it again" in caught.value.hint

    def test_what_is_no_file_is_refused_without_waiting_for_it(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for path, words in (
            (tmp_path / "pipe", "not a file"),
            (tmp_path, "not a file"),
            (tmp_path / "x", "not a file"),
        ):
            with pytest.raises(DatasetError, match=words):
                h5ad.open(path)

    @pytest.mark.parametrize("header", [bytes(16), bytes([1, 0]) + bytes(6) + (2**64 - 64).to_bytes(8, "little")])
    def test_a_heap_that_hdf5_would_never_leave_is_found_first(self, tmp_path, header):
        path = tmp_path / "bad.h5ad"
        make_cells().write_h5ad(path)
        assert not heaps.endless(path)
        content = bytearray(path.read_bytes())
        first = content.index(b"GCOL\x01") + heaps.HEADER
        content[first : first + heaps.HEADER] = header
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="a heap in it is damaged"):
            h5ad.open(path)

    @pytest.mark.parametrize("objects", [1, 400])
    def test_heaps_that_overlap_take_no_longer_than_the_file_is_long(self, tmp_path, objects):
        path, length = tmp_path / "bad", 2_500_000
        header = heaps.SIGNATURE + bytes(3) + (length // 3).to_bytes(8, "little")
        piece = header + (b"\1" + bytes(15)) * objects
        path.write_bytes(piece * (length // len(piece)))
        began = time.perf_counter()
        assert heaps.endless(path), "what nobody can follow to its end is damaged"
        assert time.perf_counter() - began < 3

    def test_many_good_heaps_are_no_reason_to_refuse_a_file(self, tmp_path):
        path = tmp_path / "good.h5ad"
        with h5py.File(path, "w") as file:
            for n in range(40):
                file.create_dataset(
                    f"{n}", data=[f"{n} {'word' * (m % 50)}" for m in range(2000)], dtype=h5py.string_dtype()
                )
        assert not heaps.endless(path)

    def test_texts_in_very_many_pieces_take_no_longer_than_they_are_many(self, tmp_path):
        path = tmp_path / "pieces.h5ad"
        with h5py.File(path, "w") as file:
            file.create_dataset("words", (8000,), h5py.string_dtype(), chunks=(1,), data=["a"] * 8000)
            file.create_dataset("others", (8000,), h5py.string_dtype(), chunks=(500,), data=["b"] * 8000)
        with h5py.File(path) as file:
            began = time.perf_counter()
            assert hdf5.values(file["others"]).tolist() == ["b"] * 8000
            assert hdf5._text_fits(file["words"])
            assert time.perf_counter() - began < 1  # it took four

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.sampled_from([b"G", b"GCOL", b"GCOL\x01", b"\x01", b"OL"]), max_size=60), st.integers(5, 40))
    def test_heaps_are_found_wherever_a_window_ends(self, tmp_path_factory, pieces, window):
        content, path = b"".join(pieces), tmp_path_factory.mktemp("heaps") / "file"
        path.write_bytes(content)
        before, heaps.WINDOW = heaps.WINDOW, window
        try:
            with path.open("rb", buffering=0) as file:
                found = heaps._found(file)
        finally:
            heaps.WINDOW = before
        assert found == [at for at in range(len(content)) if content.startswith(heaps.SIGNATURE, at)]


def fuzz(folder, first, count):
    """Read damaged copies in a process of its own, which a crash or a hang may end; it prints what it is at."""
    code = "import sys, test_damage; test_damage.read_damaged(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), *filter(None, sys.path)])
    words = [sys.executable, "-W", "ignore", "-c", code, str(folder), str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)


def read_damaged(folder, first, count):
    import faulthandler
    import random

    goods = [path.read_bytes() for path in sorted(Path(folder).glob("good*.h5ad"))]
    path = Path(folder, f"bad{first}.h5ad")
    seen = {"good": 0, "refused": 0}
    for seed in range(first, first + count):
        path.write_bytes(mutated(random.Random(seed), goods[seed % len(goods)]))
        print(seed, flush=True)
        faulthandler.dump_traceback_later(30, exit=True)
        try:
            read_all(path)
            seen["good"] += 1
        except DatasetError:
            seen["refused"] += 1
    print(*seen.values())


def mutated(random, content):
    """Flip, fill, copy over or cut off some bytes."""
    content, kind = bytearray(content), random.randrange(5)
    for _ in range(random.choice([1, 1, 2, 5, 20])):
        place, size = random.randrange(len(content)), random.choice([2, 4, 8, 64])
        if kind == 0:
            content[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            content[place] = random.choice([0, 255, 1, 127, 128])
        elif kind in (2, 3):
            content[place : place + size] = (b"\0" if kind == 2 else b"\xff") * len(content[place : place + size])
        else:
            start = random.randrange(len(content) - size)
            content[place : place + size] = content[start : start + len(content[place : place + size])]
    return bytes(content[: random.randrange(len(content))] if random.random() < 0.05 else content)


def made_for_fuzzing(folder):
    adata = make_cells(30, 12)
    adata.obs["donor"] = pd.Categorical(adata.obs["donor"])
    adata.obs["nullable"] = pd.array([1, None] * 15, dtype="Int64")
    adata.obs["flag"] = [True, False, False] * 10
    for number, (form, compression) in enumerate([("csr", None), ("csc", "gzip"), ("dense", None), ("csr", "lzf")]):
        adata.X = FORMS[form](adata.X if form != "dense" else adata.X.toarray())
        adata.raw = adata
        adata.write_h5ad(folder / f"good{number}.h5ad", compression=compression)
    legacy(folder / "good4.h5ad", make_cells(30, 12))


@pytest.mark.parametrize(
    ("first", "count"), [(0, 400), pytest.param(400, 4000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_no_damaged_byte_makes_more_than_an_error(tmp_path, first, count):
    made_for_fuzzing(tmp_path)
    done = fuzz(tmp_path, first, count)
    assert done.returncode == 0, f"{done.stdout.split()[-1:]}: {done.stderr[-2000:]}"
    good, refused = map(int, done.stdout.split()[-2:])
    assert good + refused == count
    assert min(good, refused) > count / 10
