"""Every rule, each with the file that breaks it, and what is said and advised then."""

import re

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellgauge.data import check
from cellgauge.data.check import rules
from cellgauge.errors import DatasetError
from support import ROOT, checked, examined, spec_of, written


def put(adata, value, place=(3, 2)):
    adata.X[place] = value


def renamed(adata, names, axis="obs"):
    setattr(adata, f"{axis}_names", names)


def with_symbols(adata, names):
    renamed(adata, names, "var")


def with_ensembl(adata, names):
    adata.var["ensembl"] = names


def with_column(adata, name, values):
    adata.obs[name] = values


def empty(adata, cells):
    adata.X.data[: adata.X.indptr[cells]] = 0
    adata.X.eliminate_zeros()


def without_a_matrix(adata):
    adata.X = None


def twice(adata):
    matrix = adata.X
    indices = matrix.indices.copy()
    indices[1] = indices[0]
    adata.X = sp.csr_matrix((matrix.data, indices, matrix.indptr), shape=matrix.shape)


TYPES = {"by": "cell_type", "test": ["type 1"], "train": ["type 9"]}
MOUSE = [f"ENSMUSG{n:011d}" for n in range(40)]
HUMAN = [f"ENSG{n:011d}" for n in range(40)]

TOTALS = {"matrix": {"kind": "log1p", "total_counts": "n"}}
NO_TOTALS = "'n' for total_counts holds values that are no totals"

BROKEN = [
    # code, what is done to the file, what the entry says, what is said, what is advised
    ("D102", lambda a: a._inplace_subset_obs([]), {}, "it holds 0 cells and 40 genes", "whole file"),
    (
        "D103",
        lambda a: renamed(a, ["x", *a.obs_names[1:-1], "x"]),
        {},
        "1 cell ids are not unique, the first is 'x'",
        "",
    ),
    ("D104", lambda a: renamed(a, ["", *a.obs_names[1:]]), {}, "1 cell ids are empty", "obs_names"),
    (
        "D105",
        lambda a: with_symbols(a, ["G1", *a.var_names[1:]]),
        {},
        "1 gene ids are not unique, the first is 'G1'",
        "",
    ),
    ("D106", lambda a: with_symbols(a, ["", *a.var_names[1:]]), {}, "1 gene ids are empty", "do not see"),
    ("D201", lambda a: None, {"matrix": {"slot": "layers/x"}}, "no layer 'x'", "could be one of: X, layers/doubled"),
    ("D201", lambda a: None, {"matrix": {"slot": "raw"}}, "there is no raw slot", "X, layers/doubled"),
    ("D201", without_a_matrix, {}, "there is no X", "could be one of: layers/doubled"),
    ("D203", lambda a: put(a, -1), {}, "X holds negative or non-finite values, so no counts, for instance -1", "slot"),
    ("D203", lambda a: put(a, np.nan), {}, "for instance nan", "Whole numbers are in layers/doubled"),
    ("D203", lambda a: put(a, np.inf), {"matrix": {"kind": "corrected"}}, "for instance inf", ""),
    (
        "D204",
        lambda a: put(a, 1.5),
        {},
        "X holds values that are no counts, for instance 1.500",
        "slot: layers/doubled",
    ),
    ("D204", lambda a: put(a, 0.25, (59, 39)), {}, "for instance 0.250", "kind: log1p"),
    ("D205", twice, {}, "stores two values of one gene for cell 'type0_barcode0'", "sum_duplicates"),
    ("D206", lambda a: empty(a, 1), {}, r"1 of 60 cells \(1.7 %\) have no value other than 0", "empty_cells: 0.02"),
    ("D206", lambda a: empty(a, 8), {"empty_cells": 0.1}, "8 of 60 cells", "empty_cells: 0.14"),
    *(
        ("D207", lambda a, n=n: with_column(a, "n", n), TOTALS, NO_TOTALS, "leave total_counts out")
        for n in ([np.nan] + [100.0] * 59, [0.0] + [100.0] * 59, ["many"] * 60)
    ),
    ("D208", lambda a: None, {"matrix": {"kind": "log1p"}}, "log1p values, but all of them are whole", "kind: counts"),
    (
        "D301",
        lambda a: None,
        {"obs": {"cell_type": "labell"}},
        r"no column 'labell' for cell_type \(it has: label, donor\)",
        "leave the role out",
    ),
    ("D301", lambda a: None, TOTALS, "obs has no column 'n' for total_counts", ""),
    (
        "D302",
        lambda a: with_column(a, "label", np.full(60, np.nan)),
        {},
        "'label' for cell_type is empty",
        "holds values",
    ),
    (
        "D307",
        lambda a: with_column(a, "label", pd.Categorical(["nan", "", "x", "y"] * 15)),
        {},
        "'label' for cell_type is '' for 15 and 'nan' for 15 of 60 cells, which count as a label",
        "adata.obs.loc[adata.obs['label'].isin(['', 'nan']), 'label'] = None",
    ),
    ("D303", lambda a: with_column(a, "donor", "d"), {}, "donor has one value only: 'd'", "Leave the role out"),
    (
        "D304",
        lambda a: with_column(a, "when", ["early", "late"] * 30),
        {"obs": {"time": "when"}},
        "neither a number nor ordered, for instance 'early'",
        "ordered=True",
    ),
    (
        "D305",
        lambda a: None,
        {"obs": {"perturbation": "donor"}, "control": "ctrl"},
        "control says 'ctrl', which does not occur in obs column 'donor'",
        "It has: d0, d1",
    ),
    ("D306", lambda a: None, {"splits": {"s": TYPES}}, "split 's' names 'type 9', which does not occur", "type 0"),
    *(
        (
            "D401",
            lambda a, name=name: with_symbols(a, [name.format(n) for n in range(40)]),
            {"gene_ids": says, "gene_columns": {}},
            f"gene_ids says {says}, but the gene ids look like '{name.format(0)}'",
            "gene_ids: ",
        )
        for says, name in (("ensembl", "G{}"), ("symbol", "ENSG{:011d}"), ("symbol", "ENSMUSG{:011d}"))
    ),
    (
        "D402",
        lambda a: None,
        {"gene_columns": {"ensembl": "ens"}},
        "var has no column 'ens' for ensembl ids",
        "or none",
    ),
    ("D402", lambda a: with_ensembl(a, "TP53"), {}, "'ensembl' is said to hold ensembl ids, but they look like", ""),
    ("D402", lambda a: with_ensembl(a, ""), {}, "'ensembl' for ensembl ids is empty", "or none"),
    ("D403", lambda a: None, {"organism": "Mus musculus"}, "40 are not of Mus musculus but", "organism: Homo sapiens"),
    ("D403", lambda a: with_ensembl(a, MOUSE), {}, "40 are not of Homo sapiens", "organism: Mus musculus"),
    ("D404", lambda a: with_ensembl(a, HUMAN[:30] + MOUSE[:10]), {}, "of 40 Ensembl ids 10 are not of Homo", "Leave"),
    (
        "D405",
        lambda a: with_ensembl(a, [f"{name}.5" for name in HUMAN]),
        {},
        r"40 .* have a version, .*01\.5'|00\.5'",
        "There is nothing to do",
    ),
    (
        "D405",
        lambda a: with_ensembl(a, [f"{HUMAN[n // 2]}.{n % 2}" for n in range(40)]),
        {},
        "40 .*; without it 20 of them are the same as another",
        "add up those that belong together",
    ),
    (
        "D406",
        lambda a: with_symbols(a, [f"Trp{n}" for n in range(40)]),
        {},
        "100 % .* like Trp53 \\('Trp0'\\)",
        "right",
    ),
]


class TestRules:
    @pytest.mark.parametrize(("code", "damage", "changes", "words", "hint"), BROKEN)
    def test_a_file_that_breaks_a_rule(self, tmp_path, made, code, damage, changes, words, hint):
        damage(made)
        (found,) = [one for one in examined(tmp_path, made, **changes) if one.severity == "error" or one.code == code]
        assert found.code == code
        assert re.search(words, found.message)
        assert hint in found.hint
        spec = spec_of(tmp_path / "data.h5ad", **changes)
        if found.severity == "warning":
            assert checked(spec).n_cells == 60
        else:
            with pytest.raises(DatasetError) as caught:
                checked(spec)
            assert found.message in caught.value.message
            assert found.hint in caught.value.hint

    def test_every_rule_has_a_row_on_its_page_and_a_test(self):
        page = (ROOT / "docs" / "reference" / "dataset-checks.md").read_text()
        rows = dict(re.findall(r"^\| `(D\d+)` \| (.+) \|$", page, flags=re.MULTILINE))
        assert rows == {
            code: f"{rule.severity} | {rule.says} | {rule.why}" for code, rule in sorted(rules.RULES.items())
        }
        elsewhere = {"D101", "D202", "D209"}
        assert {code for code, *_ in BROKEN} | elsewhere == set(rules.RULES)

    def test_a_good_file_has_no_misfit(self, tmp_path, made):
        assert examined(tmp_path, made) == []

    def test_all_misfits_are_told_at_once_with_all_their_hints(self, tmp_path, made):
        put(made, 0.5)
        with pytest.raises(DatasetError, match=r"obs has no column 'x' for cell_type.*; .*no counts") as caught:
            written(tmp_path, made, obs={"cell_type": "x"})
        assert "entry's obs" in caught.value.hint
        assert "kind: log1p" in caught.value.hint

    @pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
    @pytest.mark.parametrize("dtype", ["float32", "int16", "float64"])
    def test_counts_are_counts_however_they_are_stored(self, tmp_path, made, form, dtype):
        values = made.X.toarray().astype(dtype)
        values[7] = 0
        made.X = form(values)
        assert [one.code for one in examined(tmp_path, made)] == ["D206"]
        assert examined(tmp_path, made, empty_cells=0.02) == []

    def test_zeros_that_are_stored_make_no_cell_full(self, tmp_path, made):
        made.X.data[: made.X.indptr[1]] = 0
        assert [one.code for one in examined(tmp_path, made)] == ["D206"]

    def test_values_in_disorder_are_no_values_twice(self, tmp_path, made):
        matrix = made.X
        for row in range(60):
            where = slice(matrix.indptr[row], matrix.indptr[row + 1])
            matrix.indices[where], matrix.data[where] = matrix.indices[where][::-1], matrix.data[where][::-1]
        matrix.has_sorted_indices = False
        path = tmp_path / "data.h5ad"
        made.write_h5ad(path)
        with h5py.File(path) as file:
            assert file["X/indices"][0] > file["X/indices"][1]
        assert check.examine(path, spec_of(path)) == []

    @pytest.mark.parametrize(
        "when",
        [[1.5, 2.0], ["E3.5", "E4.5"], pd.Categorical(["a", "b"], ordered=True), ["day 1", None], [True, False]],
    )
    def test_times_that_have_an_order(self, tmp_path, made, when):
        made.obs["when"] = list(when) * 30
        if isinstance(when, pd.Categorical):
            made.obs["when"] = pd.Categorical(made.obs["when"], ordered=True)
        assert not [one for one in examined(tmp_path, made, obs={"time": "when"}) if one.code == "D304"]

    def test_values_of_numbers_and_flags_are_found_as_the_entry_writes_them(self, tmp_path, made):
        made.obs["treated"], made.obs["day"] = [True, False] * 30, [1, 2, 3] * 20
        splits = {"late": {"by": "time", "test": ["3"], "train": ["1"]}}
        obs = {"perturbation": "treated", "time": "day"}
        assert examined(tmp_path, made, obs=obs, control="False", splits=splits) == []

    @pytest.mark.parametrize(
        ("organism", "names"),
        [
            ("Drosophila melanogaster", "FBgn{:07d}"),
            ("Caenorhabditis elegans", "WBGene{:08d}"),
            ("Saccharomyces cerevisiae", "YAL{:03d}W"),
            ("Plasmodium falciparum", "PF3D7_{:07d}"),
            ("Danio rerio", "ENSDARG{:011d}"),
            ("Stylophora pistillata", "LOC{}"),
            ("Felis catus", "ENSFCAG{:011d}"),
        ],
    )
    def test_other_organisms_keep_their_ids(self, tmp_path, made, organism, names):
        with_symbols(made, [names.format(n) for n in range(40)])
        said = {"organism": organism, "gene_ids": "ensembl", "gene_columns": {}}
        assert examined(tmp_path, made, **said) == []
        if organism not in ("Felis catus", "Saccharomyces cerevisiae", "Stylophora pistillata"):
            (found,) = examined(tmp_path, made, **{**said, "organism": "Homo sapiens"})
            assert (found.code, found.hint.split("`")[1]) == ("D403", f"organism: {organism}")

    def test_symbols_of_a_mouse_are_written_like_those_of_a_mouse(self, tmp_path, made):
        with_symbols(made, [f"GATA{n}" for n in range(40)])
        (found,) = examined(tmp_path, made, organism="Mus musculus", gene_columns={})
        assert found.code == "D406"
        with_symbols(made, [f"Gata{n}" for n in range(40)])
        assert examined(tmp_path, made, organism="Mus musculus", gene_columns={}) == []
