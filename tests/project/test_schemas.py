"""`make lint` holds the project's catalogues and manifests against the published schemas."""

import subprocess
import sys

import pytest
import yaml

from support import ROOT, entry


def validate(*arguments):
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "validate.py", *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_every_file_of_the_project_fits_and_lint_asks():
    code, told = validate()
    assert (code, "0 misfits" in told) == (0, True), told
    assert int(told.split()[0]) >= 6
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert ".venv/bin/python docs/validate.py\n" in f"{lint}\n"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"organsim": "x"}, "datasets.a: Additional properties are not allowed ('organsim' was unexpected)"),
        ({"gene_ids": "x"}, "datasets.a.gene_ids: 'x' is not one of ['symbol', 'ensembl']"),
        ({"sha256": "abc"}, "datasets.a.sha256: 'abc' is not valid"),
        ({"deprecated": {}}, "datasets.a.deprecated"),
    ],
)
def test_what_does_not_fit_names_file_entry_and_field(tmp_path, fields, words):
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"a": entry("a.h5ad", **fields)}}))
    code, told = validate("datasets", path)
    assert code == 1
    assert f"{path}: {words}" in told


def test_a_group_fits_and_says_what_does_not_go_with_members(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump({"datasets": {"a": {"members": ["b", "c"]}}}))
    assert validate("datasets", path)[0] == 0
    path.write_text(yaml.safe_dump({"datasets": {"a": {"members": ["b", "c"], "source": "x"}}}))
    code, told = validate("datasets", path)
    assert (code, "datasets.a: Additional properties are not allowed ('source' was unexpected)" in told) == (1, True)
