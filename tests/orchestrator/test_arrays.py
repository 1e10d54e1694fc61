"""Small arrays are kept without pickle, and read without trust."""

import io
import zipfile
from urllib.parse import unquote

import numpy as np
import pytest

from cellgauge import arrays

GIVEN = {
    "clusters": np.array([0, 1, 1], dtype=np.int32),
    "knn/confusion": np.eye(2),
    "classes": np.array(["B cell", "T–Zelle"]),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "one": np.array(0.5),
    "NCBITaxon:9606 to NCBITaxon:10090/classes": np.arange(2),
    "γδ T, 100%/50%41": np.arange(3),
    "yes": np.array([True, False]),
}


def npz(**members):
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return found.getvalue()


def npy(array, **how):
    found = io.BytesIO()
    np.lib.format.write_array(found, array, **how)
    return found.getvalue()


def header(text):
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_arrays_come_back_as_they_went_and_the_same_give_the_same_bytes():
    content = arrays.pack(GIVEN)
    assert content == arrays.pack(GIVEN)
    found = arrays.unpack(content)
    assert list(found) == list(GIVEN)
    for name, array in GIVEN.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert (found[name] == array).all()
    with np.load(io.BytesIO(content), allow_pickle=False) as read:
        assert {unquote(name) for name in read} == set(GIVEN)
        assert all(name.isascii() and ":" not in name for name in read)


def test_only_what_is_asked_for_is_read():
    assert list(arrays.unpack(arrays.pack(GIVEN), ["one", "gone"])) == ["one"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip",
        arrays.pack(GIVEN)[:-30],
        npz(a=b"no array"),
        npz(a=npy(np.array([{}], dtype=object), allow_pickle=True)),
        npz(a=header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }")),
        npz(a=header("{'descr': [('x', 'O')], 'fortran_order': False, 'shape': (1,), }") + bytes(8)),
        npz(a=header("(" * 100)),
        npz(a=bytes(2 * arrays.LIMIT + 1)),
    ],
    ids=["empty", "text", "cut", "not-npy", "pickle", "claims", "objects", "nonsense", "bomb"],
)
def test_what_is_no_such_file_is_refused(content):
    with pytest.raises(ValueError):
        arrays.unpack(content)


@pytest.mark.parametrize("name", ["", "../x", "a/../b", "a\x1b[2J", "a" * 200, "/x", "a\nb", "\ud800"])
def test_a_name_that_could_be_a_trick_is_refused(name):
    assert "its name" in arrays.plain(name, [1])


@pytest.mark.parametrize("name", ["NCBITaxon:9606 to NCBITaxon:10090/classes", "γδ T", "100%", "naïve (1)", "a_b"])
def test_a_name_that_ontologies_or_people_give_is_kept(name):
    assert arrays.plain(name, [1]).tolist() == [1]
    assert arrays.unpack(arrays.pack({name: np.arange(2)}), [name])[name].tolist() == [0, 1]


def test_text_as_pandas_has_it_is_text_and_other_objects_are_refused():
    assert arrays.plain("a", np.array(["x", "yy"], dtype=object)).dtype.kind == "U"
    assert "neither numbers nor text" in arrays.plain("a", np.array([{}], dtype=object))
    assert "neither numbers nor text" in arrays.plain("a", [1j])
    assert "neither numbers nor text" in arrays.plain("a", np.array(["2020"], dtype="datetime64[D]"))


def test_nothing_is_left_of_a_file_that_could_not_be_written(small_disk):
    with pytest.raises(OSError, match="No space"):
        arrays.write(small_disk / "a.npz", bytes(1 << 20))
    assert list(small_disk.iterdir()) == []
