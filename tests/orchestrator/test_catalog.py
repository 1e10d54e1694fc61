import pytest
import yaml

from cellgauge import catalog
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


def test_an_entry_of_five_lines_is_enough_and_its_path_is_relative_to_the_file(tmp_path):
    found = read(tmp_path, GOOD)
    assert found["first"].sources[0] == (tmp_path / "first.h5ad").as_uri()
    assert found["first"].name == "first"


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
