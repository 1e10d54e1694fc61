"""What a model wrote is read without trust; here the cases that no shipped test model can easily produce."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellgauge import outputs
from cellgauge.errors import ContractViolation

CELLS = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "embedding.npy", np.arange(6, dtype="float32").reshape(3, 2))
    (tmp_path / "x" / "cells.txt").write_text("c\na\nb\n")
    return tmp_path


def test_rows_come_in_the_order_that_was_asked_for(folder):
    assert outputs.embedding(folder, "x", CELLS).tolist() == [[2, 3], [4, 5], [0, 1]]


def test_a_folder_that_is_a_link_is_refused(folder):
    (folder / "y").symlink_to(folder / "x")
    with pytest.raises(ContractViolation, match="output folder 'y'"):
        outputs.embedding(folder, "y", CELLS)


def test_a_device_is_refused(folder):
    (folder / "x" / "embedding.npy").unlink()
    if os.getuid() == 0:
        os.mknod(folder / "x" / "embedding.npy", 0o020666, os.makedev(1, 5))  # /dev/zero: endless
    else:
        (folder / "x" / "embedding.npy").mkdir()
    with pytest.raises(ContractViolation, match=r"not a plain file"):
        outputs.embedding(folder, "x", CELLS)


def test_a_file_that_is_too_large_is_refused(folder, monkeypatch):
    monkeypatch.setattr(outputs, "ARRAY_LIMIT", 10)
    with pytest.raises(ContractViolation, match="more than the 10 allowed"):
        outputs.embedding(folder, "x", CELLS)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 2), order="F", dtype="float32"), "Fortran order"),
        (np.zeros((3, 0), dtype="float32"), r"shape \(3, 0\)"),
        (np.zeros(3, dtype="float32"), r"shape \(3,\)"),
        (np.zeros((3, 2), dtype=">f4"), "holds >f4"),
        (np.zeros((3, 2), dtype="int32"), "holds int32"),
        (np.zeros((4, 2), dtype="float32"), "4 rows"),
    ],
)
def test_an_array_of_another_form_is_refused(folder, array, words):
    np.save(folder / "x" / "embedding.npy", array)
    with pytest.raises(ContractViolation, match=words):
        outputs.embedding(folder, "x", CELLS)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x09\x00v\x00{'descr'", b"\x93NUMPY\x01\x00\x0e\x00{'shape': ((    "],
)
def test_what_is_no_npy_file_is_refused(folder, content):
    (folder / "x" / "embedding.npy").write_bytes(content)
    with pytest.raises(ContractViolation, match=r"not an \.npy file"):
        outputs.embedding(folder, "x", CELLS)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b"a\nb\n", "2 lines"),
        (b"a\nb\nb\n", "repeats the cell 'b'"),
        (b"a\nb\nd\n", "1 of 3 cells have no row"),
        (b"\xff\nb\nc\n", "not UTF-8"),
    ],
)
def test_rows_without_a_known_name_each_are_refused(folder, lines, words):
    (folder / "x" / "cells.txt").write_bytes(lines)
    with pytest.raises(ContractViolation, match=words):
        outputs.embedding(folder, "x", CELLS)


def test_a_huge_array_is_refused_before_it_is_read(folder):
    with (folder / "x" / "embedding.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**8, 8)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 32 * 10**8)  # sparse on disk, 3 GB in memory
    with pytest.raises(ContractViolation, match="100000000 rows for 3 cells"):
        outputs.embedding(folder, "x", CELLS)


def test_a_digest_is_that_of_the_files(folder):
    import hashlib

    content = (folder / "x" / "embedding.npy").read_bytes() + (folder / "x" / "cells.txt").read_bytes()
    assert outputs.digest(folder, "x", "embed") == hashlib.sha256(content).hexdigest()


def test_rows_for_cells_that_nobody_asked_for_are_refused(folder):
    with pytest.raises(ContractViolation, match="3 rows for 2 cells"):
        outputs.embedding(folder, "x", CELLS[:2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ('{"contract": 1, "status": "ok", "timings": {"embed": NaN}}', "it holds NaN"),
        ("[" * 100_000, "is not JSON"),
        ('{"contract": 1}', "status"),
        ('{"contract": 2, "status": "ok"}', "contract version 2"),
        ('{"contract": 1, "status": "ok", "timings": {"a": "long"}}', "timings.a"),
    ],
)
def test_a_result_of_another_form_is_refused(folder, text, words):
    (folder / "x" / "result.json").write_text(text)
    with pytest.raises(ContractViolation, match=words):
        outputs.result(folder, "x")


def test_no_result_is_no_violation_yet(folder):
    assert outputs.result(folder, "x") is None
    assert outputs.result(folder, "y") is None


def test_many_threads_may_read_outputs_at_once(tmp_path):
    (tmp_path / "d").mkdir()
    np.save(tmp_path / "d" / "embedding.npy", np.zeros((2, 2), dtype="float32"))
    (tmp_path / "d" / "cells.txt").write_text("a\nb\n")
    with ThreadPoolExecutor(8) as pool:
        shapes = pool.map(lambda _: outputs.embedding(tmp_path, "d", ["a", "b"]).shape, range(2000))
    assert set(shapes) == {(2, 2)}
