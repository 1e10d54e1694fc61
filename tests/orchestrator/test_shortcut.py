"""What goes into a view past HDF5 is, byte for byte, what goes through it; and only what was checked goes that way."""

import os
import threading
import time

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellgauge.data import check, view
from cellgauge.data.cache import Cache, seal
from cellgauge.data.h5ad import stored as places
from cellgauge.data.view import pipe, shortcut, source
from cellgauge.data.view.sheet import laid_out
from cellgauge.errors import DatasetError
from cellgauge.specs import Dataset, DatasetSpec, Rows, Split, View


def stored(path, matrix, *, slot="X", how=None, kinds=(None, None)):
    """Write a h5ad whose matrix is stored in a given way."""
    cells, genes = matrix.shape
    obs = pd.DataFrame({"label": [f"t{n % 3}" for n in range(cells)]}, index=[f"cell {n}" for n in range(cells)])
    ensembl = [f"ENSG{n:011}" if n % 4 != 3 else None for n in range(genes)]
    var = pd.DataFrame({"ensembl": ensembl}, index=[f"G{n}" for n in range(genes)])
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        group = file.create_group(slot)
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
        group["indptr"] = matrix.indptr
        for name, kind in zip(("data", "indices"), kinds, strict=True):
            values = getattr(matrix, name)
            group.create_dataset(name, data=values, dtype=kind, **how or {})
    return path


def entry_of(path, **changes):
    fields = {"organism": "Homo sapiens", "gene_ids": "symbol", "gene_columns": {"ensembl": "ensembl"}}
    fields |= {"obs": {"cell_type": "label"}, "empty_cells": 0.99}
    return DatasetSpec(name="made", source=path.as_uri(), **{**fields, **changes})


def checked(path, **changes):
    return check.check(entry_of(path, **changes), path, "ab" * 32, seal.stamp(path))


def view_of(dataset, **changes):
    spec = dataset.spec
    fields = {"sha256": dataset.sha256, "matrix": spec.matrix, "organism": spec.organism, "gene_index": spec.gene_ids}
    fields |= {"gene_columns": spec.gene_columns, "gene_ids": spec.gene_ids, "obs": {}}
    return View(**{**fields, **changes})


def takes_it(dataset, **changes):
    with check.reopen(dataset) as file, shortcut.found(file, dataset, view_of(dataset, **changes)) as way:
        return way is not None


def both(dataset, folder, **changes):
    """Write a view of a checked dataset, and of the same that nobody vouches for."""
    wanted = view_of(dataset, **changes)
    unsure = dataset.model_copy(update={"tidy": False})
    return (view.write(one, wanted, Cache(folder / str(one.tidy))) for one in (dataset, unsure))


def random_counts(cells, genes, seed=0, density=0.3):
    random = np.random.default_rng(seed)
    counts = random.poisson(density, (cells, genes))
    counts[cells // 2, 0] = 1  # without any, no check lets it pass
    return sp.csr_matrix(counts.astype("float32"))


KINDS = st.tuples(st.sampled_from(["f4", "i4", "i8", "u1", "u2"]), st.sampled_from(["i4", "i8", "u2", "u8"]))
LAYOUTS = st.none() | st.integers(1, 40) | st.just("growing")
ROWS = st.none() | st.sampled_from(
    [
        Rows(limit=5),
        Rows(limit=1, seed=3),
        Rows(split=Split(by="cell_type", test=("t1",)), columns={"cell_type": "label"}),
    ]
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(0, 99), st.sampled_from([0.0, 0.1, 2.0])),
    KINDS,
    LAYOUTS,
    ROWS,
    st.sampled_from(["symbol", "ensembl"]),
    st.sampled_from([1, 7, 1 << 18]),
)
def test_a_view_is_the_same_byte_for_byte_however_it_is_written(
    tmp_path_factory, monkeypatch, shape, kinds, layout, rules, gene_ids, span
):
    monkeypatch.setattr(shortcut, "SPAN", span)
    folder = tmp_path_factory.mktemp("made")
    cells, genes, seed, density = shape
    matrix = random_counts(cells, genes, seed, density)
    how = {"maxshape": (None,)} if layout == "growing" else {"chunks": (min(layout, matrix.nnz),)} if layout else {}
    dataset = checked(stored(folder / "d.h5ad", matrix, how=how, kinds=kinds))
    assert dataset.tidy
    assert takes_it(dataset)
    quick, slow = both(dataset, folder, gene_ids=gene_ids, rows=rules, obs={"batch": "label"})
    assert quick.read_bytes() == slow.read_bytes()
    told = [one.with_name("seal").read_text().split()[-1] for one in (quick, slow)]
    assert told == [seal.checksum(quick)] * 2
    found = anndata.read_h5ad(quick)[view.cells(dataset, view_of(dataset, rows=rules))]
    if rules is None and gene_ids == "symbol":
        assert (matrix != found.X).nnz == 0


def test_a_matrix_without_any_value_is_a_view_without_any(tmp_path):
    matrix = sp.csr_matrix((3, 4), dtype="float32")
    path = stored(tmp_path / "d.h5ad", matrix, how={"maxshape": (None,), "chunks": (5,)})
    fields = {"sha256": "ab" * 32, "stamp": seal.stamp(path), "n_cells": 3, "n_genes": 4, "tidy": True}
    dataset = Dataset(spec=entry_of(path), path=path, **fields)
    assert takes_it(dataset)
    quick, slow = both(dataset, tmp_path)
    assert quick.read_bytes() == slow.read_bytes()
    assert quick.with_name("seal").read_text().split()[-1] == seal.checksum(quick)


class TestWhoTakesIt:
    @pytest.mark.parametrize(
        ("how", "kinds"),
        [
            ({"compression": "gzip"}, (None, None)),
            ({"shuffle": True, "chunks": (5,)}, (None, None)),
            ({}, ("f8", None)),
            ({}, ("f2", None)),
            ({}, (">f4", None)),
            ({}, (None, ">i4")),
        ],
    )
    def test_a_file_that_is_stored_in_another_way_does_not(self, tmp_path, how, kinds):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9), how=how, kinds=kinds))
        assert dataset.tidy
        assert not takes_it(dataset)

    @pytest.mark.parametrize("form", [sp.csc_matrix, np.asarray])
    def test_a_matrix_that_is_not_stored_by_cells_does_not(self, tmp_path, form):
        path, counts = tmp_path / "d.h5ad", random_counts(20, 9).toarray()
        stored(tmp_path / "names.h5ad", random_counts(20, 9))
        names = anndata.read_h5ad(tmp_path / "names.h5ad")
        anndata.AnnData(form(counts), names.obs, names.var).write_h5ad(path)
        assert not takes_it(checked(path))

    def test_zeros_that_are_stored_and_genes_in_disorder_do_not(self, tmp_path):
        matrix = random_counts(20, 9)
        matrix.data[3] = 0
        zero = checked(stored(tmp_path / "zero.h5ad", matrix))
        matrix = random_counts(20, 9, density=2)
        matrix.indices[:2] = matrix.indices[:2][::-1].copy()
        matrix.data[:2] = matrix.data[:2][::-1].copy()
        disorder = checked(stored(tmp_path / "disorder.h5ad", matrix))
        for dataset in (zero, disorder):
            assert (dataset.tidy, takes_it(dataset)) == (False, False)
            assert takes_it(dataset.model_copy(update={"tidy": True})), "that alone keeps it from it"

    def test_logged_values_and_a_matrix_that_was_not_the_one_checked_do_not(self, tmp_path):
        path = stored(tmp_path / "d.h5ad", random_counts(20, 9))
        with h5py.File(path, "r+") as file:
            file.copy("X", "layers/other")
        dataset = checked(path)
        other = dataset.spec.matrix.model_copy(update={"slot": "layers/other"})
        assert takes_it(dataset)
        assert not takes_it(dataset, matrix=other)
        logged = dataset.spec.matrix.model_copy(update={"kind": "log1p"})
        spec = dataset.spec.model_copy(update={"matrix": logged})
        assert not takes_it(dataset.model_copy(update={"spec": spec}), matrix=logged)

    def test_a_matrix_too_large_to_stay_in_memory_does_not(self, tmp_path, monkeypatch):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9)))
        assert 1 << 20 < source.free() < 1 << 50
        monkeypatch.setattr(source, "free", lambda: 100)
        assert not takes_it(dataset)
        quick, slow = both(dataset, tmp_path)
        assert quick.read_bytes() == slow.read_bytes()


class TestChanges:
    def copied(self, dataset, folder, change, chosen=None):
        """Begin, have the file changed, and go on."""
        wanted, rows = view_of(dataset), np.arange(dataset.n_cells)
        obs, var = pd.DataFrame(index=[f"c{n}" for n in rows]), pd.DataFrame(index=[f"g{n}" for n in range(9)])
        with check.reopen(dataset) as file, shortcut.found(file, dataset, wanted) as way:
            if chosen is not None:
                way.choose(chosen)
            with laid_out(folder / "view", obs, var, way.sizes()) as sheet:
                change(dataset.path)
                with pytest.raises(DatasetError, match="was changed while it was in use"):
                    way.copy(rows, sheet)

    def test_a_file_that_is_cut_short_meanwhile_is_noticed(self, tmp_path):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9)))
        self.copied(dataset, tmp_path, lambda path: os.truncate(path, 100))

    @pytest.mark.parametrize("gene", [1, 100_000, -100_000])
    def test_genes_that_are_others_by_now_are_noticed(self, tmp_path, gene):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9, density=2)))
        with check.reopen(dataset) as file:
            _, genes = file.stored("X")

        def change(path):
            with path.open("r+b") as file:
                file.seek(int(genes.places[0]))
                file.write(np.full(20, gene, dtype="<i4").tobytes())

        self.copied(dataset, tmp_path, change, chosen=np.array([0, 2, 4]))

    def test_a_file_that_is_touched_while_it_is_copied_gives_no_view(self, tmp_path):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20_000, 200, density=1)))
        cache = tmp_path / "cache"

        def touch():
            while not list(cache.rglob("*.part")):
                time.sleep(0.001)
            os.utime(dataset.path)

        thread = threading.Thread(target=touch)
        thread.start()
        with pytest.raises(DatasetError, match="was changed while it was in use"):
            view.write(dataset, view_of(dataset), Cache(cache))
        thread.join()
        assert list((cache / "views").iterdir()) == []


class TestPlaces:
    @given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8))
    def test_stretches_are_found_wherever_runs_lie(self, chunk, stretches):
        values = np.arange(80, dtype="<i4")
        runs = -(-len(values) // chunk)
        order = np.random.default_rng(chunk).permutation(runs)
        file = np.full(runs * chunk + 5, -1, dtype="<i4")
        padded = np.resize(values, runs * chunk).reshape(runs, chunk)
        file[5:].reshape(runs, chunk)[order] = padded
        lies = places.Stored(values.dtype, chunk, 20 + 4 * chunk * order.astype(np.int64), values.nbytes)
        starts = np.array([start for start, _ in stretches], dtype=np.int64)
        stops = np.array([start + size for start, size in stretches], dtype=np.int64)
        found = [file.tobytes()[at : at + size] for at, size in zip(*lies.pieces(starts, stops), strict=True)]
        expected = [values[start:stop].tobytes() for start, stop in zip(starts, stops, strict=True)]
        assert b"".join(found) == b"".join(expected)

    def test_a_file_in_which_hdf5_finds_other_values_there_is_left_to_hdf5(self, tmp_path):
        path = stored(tmp_path / "d.h5ad", random_counts(20, 9, density=2))
        with h5py.File(path) as file:
            found = places.find(file["X/data"])
            wrong = found._replace(places=found.places + 4)
            assert places._agrees(file["X/data"], found)
            assert not places._agrees(file["X/data"], wrong)


class TestPipe:
    @given(
        st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 30_000)), max_size=12),
        st.integers(0, 9000),
        st.sampled_from([1, 2, 16, 192]),
    )
    def test_pieces_arrive_one_behind_the_other(self, tmp_path_factory, pieces, at, pages):
        folder = tmp_path_factory.mktemp("pipe")
        content = np.random.default_rng(0).bytes(70_000)
        (folder / "source").write_bytes(content)
        with (folder / "source").open("rb") as source, (folder / "target").open("w+b") as target, pipe.opened() as way:
            way._pages = pages
            places = [offset for offset, _ in pieces], [length for _, length in pieces]
            come = list(way.move(source.fileno(), places, target.fileno(), at))
        expected = b"".join(content[offset : offset + length] for offset, length in pieces)
        assert sum(come) == len(expected)
        assert max(come, default=0) <= len(way.room)
        assert (folder / "target").read_bytes()[at:] == expected

    def test_where_it_is_of_no_use_values_are_read_and_written(self, tmp_path, monkeypatch):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9)))
        whole = view.write(dataset, view_of(dataset), Cache(tmp_path / "a")).read_bytes()
        write_end = []

        def useless(self, entry, exit_):  # a file in the place of the pipe: the system refuses it
            handle = os.open(tmp_path / "no pipe", os.O_CREAT | os.O_RDWR)
            write_end.append(handle)
            self._entry = self._exit = handle
            self._pages, self.room = 1, memoryview(bytearray(pipe.PAGE))

        monkeypatch.setattr(pipe.Pipe, "__init__", useless)
        assert view.write(dataset, view_of(dataset), Cache(tmp_path / "b")).read_bytes() == whole
        assert write_end
        for handle in write_end:
            os.close(handle)


class TestSeal:
    def test_a_view_that_the_disk_may_not_have_is_believed_until_the_machine_starts_again(self, tmp_path):
        dataset = checked(stored(tmp_path / "d.h5ad", random_counts(20, 9)))
        path = view.write(dataset, view_of(dataset), Cache(tmp_path / "cache"))
        told = path.with_name("seal")
        *looks, start, checksum = told.read_text().split()
        whole = path.read_bytes()
        told.write_text(" ".join([*looks, "another-start", checksum]))
        assert not seal.Summed(path).untouched()
        assert view.write(dataset, view_of(dataset), Cache(tmp_path / "cache")) == path
        assert told.read_text().split() == [*looks, start, checksum], "it was read, and is as it was"
        assert view.write(dataset, view_of(dataset), Cache(tmp_path / "cache")) == path
        assert told.read_text().split() == [*looks, checksum], "by now the disk has it"
        path.chmod(0o644)
        path.write_bytes(bytes(len(whole)))  # what a power cut may leave
        os.utime(path, ns=(0, int(looks[2])))
        told.write_text(" ".join([*looks, "another-start", checksum]))
        assert view.write(dataset, view_of(dataset), Cache(tmp_path / "cache")).read_bytes() == whole
