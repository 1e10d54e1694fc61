"""Datasets in Python: which catalogues are read, as on the command line."""

import os
import re

import pytest
import yaml
from typer.testing import CliRunner

from cellgauge import datasets
from cellgauge.cli import app
from cellgauge.errors import CatalogError
from support import entry


@pytest.fixture
def catalogues(tmp_path, monkeypatch):
    """A catalogue each with one dataset of its name: `mine`, `ours`, `theirs`; the last two are in the variable."""
    for name in ("mine", "ours", "theirs"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"datasets": {name: entry("a.h5ad")}}))
    monkeypatch.setenv("CELLGAUGE_CATALOG", os.pathsep.join(str(tmp_path / f"{n}.yaml") for n in ("ours", "theirs")))
    return tmp_path


def own(found):
    return {name for name in found if name in ("mine", "ours", "theirs")}


@pytest.mark.parametrize(
    ("given", "known"),
    [(None, {"ours", "theirs"}), (["mine"], {"mine"}), (["mine", "theirs"], {"mine", "theirs"}), ([], set())],
)
def test_catalogues_that_are_named_stand_in_place_of_those_in_the_variable(catalogues, given, known):
    paths = None if given is None else [catalogues / f"{name}.yaml" for name in given]
    found = datasets.entries(catalogs=paths)
    assert own(found) == known
    assert "pbmc3k" in found, "the shipped one is always there"
    if given != []:  # on the command line there is no way to say that
        words = [word for path in paths or () for word in ("--catalog", str(path))]
        told = CliRunner().invoke(app, ["datasets", "list", "--json", *words])
        assert own(re.findall(r'"name": "(\w+)"', told.stdout)) == known


def test_one_may_be_named_by_itself_and_from_home(catalogues, monkeypatch):
    monkeypatch.setenv("HOME", str(catalogues))
    assert own(datasets.entries(catalogs="~/mine.yaml")) == own(datasets.entries(catalogs=catalogues / "mine.yaml"))


def test_one_in_the_variable_that_is_malformed_is_in_nobodys_way_who_names_others(catalogues):
    (catalogues / "ours.yaml").write_text("datasets: [")
    assert own(datasets.entries(catalogs=[catalogues / "mine.yaml"])) == {"mine"}
    with pytest.raises(CatalogError, match=r"ours\.yaml:2: not valid YAML"):
        datasets.entries()
