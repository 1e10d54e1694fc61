import re

import pytest
import yaml

from cellgauge import catalog
from cellgauge.data.genes import PREFIXES
from cellgauge.errors import CatalogError, UnknownNameError
from support import ROOT, entry

GOOD = """datasets:
  first:
    source: first.h5ad
    organism: Homo sapiens
    gene_ids: symbol
    obs: {cell_type: label}
"""
MANIFEST = """name: mine
version: "1"
title: mine
verbs:
  embed: {scope: cell}
determinism: bitwise
licence: MIT
"""


def read(tmp_path, text):
    path = tmp_path / "datasets.yaml"
    path.write_text(text)
    return catalog.datasets([path])


def test_the_shipped_catalogue_is_good():
    assert "pbmc68k_reduced" in catalog.datasets([ROOT / "datasets.yaml"])


def test_it_has_every_name_of_the_ancestor_at_its_address(real_data):
    table = real_data.parent / "reference" / "cz-benchmarks.md"
    if not table.is_file():
        pytest.skip(f"no description of the ancestor in {table}")
    text = table.read_text()
    root = re.search(r"all under `(s3://[^`]+)`", text)[1]
    short = dict(re.findall(r"`(\w+)/X` = `([^`]+X)`", text))
    rows = re.findall(r"^\| `(\w+)` \| (yes|–) \| (yes|–) \| (\w+) \| `([^`]+)` \|$", text, flags=re.MULTILINE)
    latin = dict(re.findall(r"\b([A-Z_]+) (ENS[A-Z]*G)\b", text)) | {"HUMAN": "ENSG"}
    assert len(rows) == 43
    found = catalog.datasets([ROOT / "datasets.yaml"])
    for name, _, current, organism, path in rows:
        group, _, rest = path.partition("/")
        where = root + (short[group].removesuffix("X") + rest if group in short else path)
        assert found[name].sources == (where,)
        assert PREFIXES[found[name].organism] == latin[organism]
        assert bool(found[name].deprecated) == (current == "–")
        assert not found[name].verified


def test_what_nobody_has_pulled_is_unverified_and_every_successor_is_there():
    found = catalog.datasets([ROOT / "datasets.yaml"])
    assert [name for name, spec in found.items() if spec.verified] == ["pbmc68k_reduced"]
    successors = {name: spec.deprecated.successor for name, spec in found.items() if spec.deprecated}
    assert {one for one in successors.values() if one} == {"replogle_k562_essential_perturbpredict"}
    assert successors["replogle_k562_perturb"] == "replogle_k562_essential_perturbpredict"
    assert all(spec.title and spec.citation and spec.provenance for spec in found.values())


def test_the_file_that_defines_a_dataset_can_be_told(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(GOOD)
    files = [ROOT / "datasets.yaml", path]
    assert catalog.home_of("first", files) == path
    assert catalog.home_of("tsv2_ear", files) == ROOT / "datasets.yaml"
    with pytest.raises(UnknownNameError, match="no dataset named 'fist'"):
        catalog.home_of("fist", files)


def test_a_role_of_several_columns_is_a_list_and_of_one_that_one(tmp_path):
    found = read(tmp_path, GOOD.replace("label}", "label, batch: [donor, lane], donor: [donor]}"))["first"]
    assert found.obs == {"cell_type": "label", "batch": ("donor", "lane"), "donor": "donor"}
    assert found.model_dump(mode="json")["obs"] == {"cell_type": "label", "batch": ["donor", "lane"], "donor": "donor"}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("[]", "datasets.first.obs: batch names no column"),
        ("''", "datasets.first.obs: batch names no column"),
        ("[lane, '']", "datasets.first.obs: batch names no column"),
        ("[lane, donor, lane]", "datasets.first.obs: batch names a column twice"),
        ("[lane, 3]", 'datasets.first.obs.batch.1: needs text; put it in quotes: "3"'),
        ("3", 'datasets.first.obs.batch: needs text; put it in quotes: "3"'),
    ],
)
def test_what_names_no_columns_is_refused_where_it_stands(tmp_path, columns, says):
    with pytest.raises(CatalogError) as caught:
        read(tmp_path, GOOD.replace("label}", f"label, batch: {columns}}}"))
    assert caught.value.message == f"{tmp_path / 'datasets.yaml'}:6: {says}"


def test_the_batch_of_the_ancestor_is_four_columns_joined():
    found = catalog.datasets([ROOT / "datasets.yaml"])
    joined = [name for name, spec in found.items() if not isinstance(spec.obs.get("batch", ""), str)]
    assert joined == [name for name in found if name.startswith("tsv2_") or name.endswith("_spermatogenesis")]
    assert {found[name].obs["batch"] for name in joined} == {("dataset_id", "assay", "suspension_type", "donor_id")}


def test_an_entry_of_five_lines_is_enough_and_its_path_is_relative_to_the_file(tmp_path):
    found = read(tmp_path, GOOD)
    assert found["first"].sources[0] == (tmp_path / "first.h5ad").as_uri()
    assert found["first"].name == "first"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("sha256: abc", r"6: datasets\.first\.sha256: 'abc' is no SHA-256: 64 digits"),
        ("sha256: [abc]", r"6: datasets\.first\.sha256\.0: 'abc' is no SHA-256: 64 digits"),
        ("sha256: 123", r'6: datasets\.first\.sha256: needs text; put it in quotes: "123"'),
        ("size: 5MB", r"6: datasets\.first\.size: needs a number, without a unit"),
        ("size: 0", r"6: datasets\.first\.size: has to be greater than 0"),
        ("control: no", r'6: datasets\.first\.control: needs text; put it in quotes: "no"'),
        ("control: ctrl", r"2: datasets\.first: control needs the role perturbation in obs"),
        ("deprecated: yes", r"6: datasets\.first\.deprecated: needs fields below it"),
        ("deprecated: {successor: b}", r"6: datasets\.first\.deprecated\.reason: this field is required"),
        ("seen_by: scgpt", r"6: datasets\.first\.seen_by: needs a list: \[scgpt\]"),
        ("modality: scrna", r"6: datasets\.first\.modality: has to be 'scRNA-seq', 'snRNA-seq'"),
        ("empty_cells: 5", r"6: datasets\.first\.empty_cells: has to be less than 1"),
        ("splits: {s: {by: cell_type}}", r"6: datasets\.first\.splits\.s: needs either test .* or fraction"),
        ("splits: {s: {test: [x]}}", r"6: datasets\.first\.splits\.s: test needs by"),
        ("splits: {s: {fraction: 2}}", r"6: datasets\.first\.splits\.s\.fraction: has to be less than 1"),
        (
            "splits: {s: {by: donor, fraction: 0.5}}",
            r"2: datasets\.first: split 's' reads the role 'donor', which is not",
        ),
    ],
)
def test_a_field_that_is_off_is_told_in_a_biologists_words(tmp_path, field, words):
    with pytest.raises(CatalogError, match=rf"datasets\.yaml:{words}") as caught:
        read(tmp_path, GOOD.replace("    obs:", f"    {field}\n    obs:"))
    assert len(caught.value.message.splitlines()) == 1  # what may be one value or a list is complained of once


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("5", r'source: needs text; put it in quotes: "5"'),
        ("[a, 5]", r'source\.1: needs text; put it in quotes: "5"'),
        ("[]", "source: is empty"),
        ("''", "source: is empty"),
        ("", "source: needs text$"),
    ],
)
def test_a_source_is_text_or_a_list_of_mirrors(tmp_path, source, words):
    with pytest.raises(CatalogError, match=rf"datasets\.yaml:3: datasets\.first\.{words}"):
        read(tmp_path, GOOD.replace("first.h5ad", source))
    found = read(tmp_path, GOOD.replace("first.h5ad", "[a.h5ad, s3://bucket/a.h5ad]"))["first"]
    assert found.sources == ((tmp_path / "a.h5ad").as_uri(), "s3://bucket/a.h5ad")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "gene_ids: symbol",
            "gene_ids: symbols",
            r"datasets\.yaml:5: datasets\.first\.gene_ids: .*'symbol' or 'ensembl'",
        ),
        ("    organism: Homo sapiens\n", "", r"datasets\.yaml:2: datasets\.first\.organism: this field is required"),
        ("organism:", "organsim:", r"datasets\.yaml:4: datasets\.first\.organsim: there is no such field"),
        ("{cell_type: label}", "label", r"datasets\.yaml:6: datasets\.first\.obs: needs fields below it"),
        ("first:", "a/b:", r"datasets\.yaml:2: datasets\.a/b.*: 'a/b' is no name: letters, digits"),
        ("Homo sapiens", "human", r"datasets\.yaml:4: .*organism: 'human' is no Latin name: Homo sapiens"),
        (
            "gene_ids: symbol",
            "gene_ids: symbol\n    version: 1",
            r"datasets\.yaml:6: .*version: needs text; put it in quotes",
        ),
        ("gene_ids: symbol", "gene_ids: symbol\n    matrix: {slot: counts}", "'counts' is no place for a matrix"),
        ("  first:", "   first:\n  second:", r"datasets\.yaml:3: not valid YAML"),
        (
            "    gene_ids: symbol",
            "    gene_ids: symbol\n    gene_ids: ensembl",
            r"datasets\.yaml:6: gene_ids: .* twice",
        ),
        (GOOD, "", r"datasets\.yaml:1: datasets: this field is required"),
        (GOOD, "- 1", r"datasets\.yaml:1: the file: needs fields below it"),
    ],
)
def test_a_malformed_catalogue_names_file_line_and_field(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(CatalogError, match=words):
        read(tmp_path, GOOD.replace(old, new))


def test_every_misfit_is_listed_at_once(tmp_path):
    with pytest.raises(CatalogError) as caught:
        read(tmp_path, GOOD.replace("symbol", "x").replace("organism", "y"))
    assert sorted(line.split(":")[1] for line in caught.value.message.splitlines()) == ["2", "4", "5"]


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(CatalogError, match=r"nowhere\.yaml: No such file"):
        catalog.datasets([tmp_path / "nowhere.yaml"])


def test_a_file_that_is_no_text_says_so(tmp_path):
    (tmp_path / "datasets.yaml").write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe")
    with pytest.raises(CatalogError, match=r"datasets\.yaml"):
        catalog.datasets([tmp_path / "datasets.yaml"])


def test_two_catalogues_may_not_define_one_name(tmp_path):
    path = tmp_path / "datasets.yaml"
    other = tmp_path / "other.yaml"
    path.write_text(GOOD)
    other.write_text(GOOD)
    assert catalog.datasets([path, path])  # the same file twice is no harm
    with pytest.raises(CatalogError, match="'first' is already defined in another catalogue"):
        catalog.datasets([path, other])


def folder(tmp_path, text, name="mine"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.yaml").write_text(text)
    return [tmp_path]


def test_being_in_a_folder_is_being_registered(tmp_path):
    assert catalog.models(folder(tmp_path, MANIFEST))["mine"].folder == tmp_path / "mine"


def test_the_folder_of_one_model_may_be_named_itself(tmp_path):
    folder(tmp_path, MANIFEST)
    assert list(catalog.models([tmp_path / "mine"])) == ["mine"]


def test_a_model_without_a_manifest_is_noticed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "Dockerfile").touch()
    with pytest.raises(CatalogError, match=r"mine has a Dockerfile and no model\.yaml"):
        catalog.models([tmp_path])


def test_a_malformed_manifest_is_in_the_way_only_of_its_own_model(tmp_path):
    folder(tmp_path, MANIFEST)
    folder(tmp_path, "name: [", "broken")
    assert list(catalog.models([tmp_path], only=["mine"])) == ["mine"]
    assert list(catalog.manifests([tmp_path])) == ["broken", "mine"]
    with pytest.raises(CatalogError, match=r"broken/model\.yaml:2: not valid YAML"):
        catalog.models([tmp_path])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("licence: MIT\n", "", r"mine/model\.yaml:1: licence: this field is required"),
        ("scope: cell", "scope: cells", r"model\.yaml:5: verbs\.embed\.scope"),
        ("licence", "organisms: Homo sapiens\nlicence", r"model\.yaml:7: organisms: needs a list: \[Homo sapiens\]"),
        ("embed: ", "train: ", r"model\.yaml:5: verbs\.train"),
        ("name: mine", "name: yours", "'yours' is not the folder's name"),
        (
            "licence",
            "params: {k: {type: integer, default: 1.5}}\nlicence",
            r"model\.yaml:7: params\.k: the default 1.5 is not",
        ),
        ("licence", "variants: {big: {params: {k: 1}}}\nlicence", "variant 'big' sets 'k', which is not in params"),
    ],
)
def test_a_malformed_manifest_names_file_line_and_field(tmp_path, old, new, words):
    assert old in MANIFEST
    with pytest.raises(CatalogError, match=words):
        catalog.models(folder(tmp_path, MANIFEST.replace(old, new)))


def test_two_models_may_not_share_a_name(tmp_path):
    folders = [*folder(tmp_path, MANIFEST), *folder(tmp_path / "mine", MANIFEST)]
    with pytest.raises(CatalogError, match="model 'mine' is also in"):
        catalog.models(folders)


def test_an_unknown_name_comes_with_the_nearest_one():
    with pytest.raises(UnknownNameError) as caught:
        catalog.pick("model", ["pcaa"], {"pca": 1, "hvg": 2})
    assert (caught.value.message, caught.value.hint) == ("no model named 'pcaa'", "Did you mean 'pca'?")


def test_picking_keeps_the_order_and_all_means_every_one():
    known = {"b": 1, "a": 2}
    assert list(catalog.pick("x", ["a", "b", "a"], known)) == ["a", "b"]
    assert catalog.pick("x", ["all"], known) == known


def test_the_made_entry_of_the_tests_is_a_good_one(tmp_path):
    assert read(tmp_path, yaml.safe_dump({"datasets": {"made": entry("made.h5ad")}}))
