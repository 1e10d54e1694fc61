"""Several datasets are made one: every count in its place, or an error, and never twice."""

import numpy as np
import pytest
from anndata import read_h5ad

from cellgauge import groups, supplies
from cellgauge.data import check, stack
from cellgauge.errors import DatasetError
from cellgauge.specs import Matrix
from species import LATIN, SIZES, group, make, pairs, two, write
from support import checked


def found(one, limit=None):
    """What a group is made of, and the members."""
    members = {spec.name: checked(spec) for spec in one.datasets}
    choices = {name: supplies.DatasetChoice.of(dataset) for name, dataset in members.items()}
    made = groups.choose(one, choices, limit).stacked.stack
    return made, members


def stacked(one, cache, limit=None):
    made, members = found(one, limit)
    return stack.dataset(one.name, made, members, cache)


def test_every_count_stands_where_it_belongs(tmp_path, cache):
    one = two(tmp_path)
    dataset = stacked(one, cache)
    human, mouse = (read_h5ad(tmp_path / f"{name}.h5ad") for name in LATIN)
    made = read_h5ad(dataset.path)
    whose = [("human", cell) for cell in human.obs_names] + [("mouse", cell) for cell in mouse.obs_names]
    assert list(made.obs_names) == [f"{name}:{cell}" for name, cell in whose]
    assert set(made.var["gene_symbol"]) == set(pairs(40)), "and no gene that only one has"
    assert made.var_names.str.startswith("ENSG").all()
    for part, source, names in ((made[:60], human, {one: one for one in pairs(40)}), (made[60:], mouse, pairs(40))):
        expected = source[:, [names[symbol] for symbol in made.var["gene_symbol"]]].X.toarray()
        np.testing.assert_array_equal(part.X.toarray(), expected)
        assert list(part.obs["cell_type"]) == list(source.obs["label"])
    assert list(made.obs["organism"]) == [latin for latin in LATIN.values() for _ in range(SIZES[latin])]
    assert (dataset.n_cells, dataset.n_genes, dataset.spec.organism) == (105, 40, "Homo sapiens")


def test_it_is_made_once_and_anew_where_it_was_changed(tmp_path, cache):
    one = two(tmp_path)
    first = stacked(one, cache)
    assert (stacked(one, cache).path, stacked(one, cache).stamp) == (first.path, first.stamp)
    first.path.chmod(0o644)
    with first.path.open("r+b") as file:
        file.write(b"spoilt")
    again = stacked(one, cache)
    assert again.stamp != first.stamp
    assert read_h5ad(again.path).n_obs == 105
    (entry,) = [one for one in cache.contents() if one.kind == "views"]
    assert entry.good


def test_what_it_is_made_of_names_it_before_it_is_made(tmp_path, cache):
    one = two(tmp_path)
    made, _ = found(one)
    assert stacked(one, cache).sha256 == made.sha256 == found(one)[0].sha256
    turned, _ = found(group(*reversed(one.datasets)))
    limited, _ = found(one, 30)
    assert len({made.sha256, turned.sha256, limited.sha256}) == 3


def test_logged_counts_are_recovered_and_a_limit_holds_for_each_member(tmp_path, cache):
    adata = make("human")
    whole = adata.X.copy()
    scale = 1e4 / np.asarray(adata.X.sum(axis=1))
    adata.obs["total"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.X = adata.X.multiply(scale).tocsr().log1p()
    human = write(tmp_path, "human", LATIN["human"], adata, matrix=Matrix(kind="log1p", total_counts="total"))
    one = group(human, write(tmp_path, "mouse", LATIN["mouse"]))
    dataset = stacked(one, cache, 30)
    made = read_h5ad(dataset.path)
    assert made.obs["organism"].value_counts().to_dict() == dict.fromkeys(LATIN.values(), 30)
    assert set(made.obs["cell_type"].value_counts()) == {20}
    part = made[made.obs["organism"] == LATIN["human"]]
    rows = [adata.obs_names.get_loc(name.partition(":")[2]) for name in part.obs_names]
    columns = [adata.var_names.get_loc(name) for name in part.var["gene_symbol"]]
    np.testing.assert_array_equal(part.X.toarray(), whole.toarray()[rows][:, columns])
    assert dataset.stack.limit == 30


def test_batches_of_two_members_are_two_and_a_role_that_one_lacks_is_left_out(tmp_path, cache):
    obs = {"cell_type": "label", "batch": "donor"}
    human = write(tmp_path, "human", LATIN["human"], obs={**obs, "donor": "donor"})
    one = group(human, write(tmp_path, "mouse", LATIN["mouse"], obs=obs))
    dataset = stacked(one, cache)
    assert set(dataset.spec.obs) == {"cell_type", "batch", "organism"}
    with check.reopen(dataset) as file:
        columns = file.obs([stack.HOME, "batch"])
    assert len(columns.drop_duplicates()) == 4
    assert dataset.tells["batch"] == ("organism",), "so nobody who scores organisms lets a model see batches unnoticed"


def test_members_without_a_gene_in_common_are_an_error_with_a_hint(tmp_path, cache):
    adata = make("mouse", LATIN["mouse"])
    adata.var_names = [f"Gm{n}" for n in range(90000, 90000 + adata.n_vars)]
    one = group(write(tmp_path, "human", LATIN["human"]), write(tmp_path, "mouse", LATIN["mouse"], adata))
    with pytest.raises(DatasetError, match="'both': no gene of its members is known to be the same") as caught:
        stacked(one, cache)
    assert "organism and gene_ids" in caught.value.hint
    assert not list((cache.root / "views").glob("*")), "and nothing is left behind"


class TestNamesOfOneOrganismInAnother:
    def test_outdated_ids_become_those_of_today_and_the_current_one_wins(self):
        human, mouse = "ENSG00000141510", "ENSMUSG00000059552"  # TP53 and Trp53
        assert stack.alike([human], *LATIN.values()) == {mouse: 0}
        assert stack.alike(["", mouse], LATIN["mouse"], LATIN["human"]) == {human: 1}
        assert stack.alike([human, human], LATIN["human"], LATIN["human"]) == {human: 0}

    def test_a_gene_without_one_ortholog_is_left_out(self):
        assert stack.alike(["ENSG99999999999"], *LATIN.values()) == {}
