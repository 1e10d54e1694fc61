"""Commands, settings, errors, tasks, models and messages are documented because a test fails otherwise."""

import importlib.util
import json
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml

from cellgauge_model import contract
from support import MODELS, ROOT

spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)
PAGES = generate.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name):
    assert (ROOT / "docs" / "reference" / name).read_text() == PAGES[name], "run: make reference"


@pytest.mark.parametrize("manifest", sorted([*ROOT.glob("model-images/*/model.yaml"), *MODELS.glob("*/model.yaml")]))
def test_manifests_fit_the_published_schema(manifest):
    jsonschema.validate(yaml.safe_load(manifest.read_text()), json.loads(PAGES["model.schema.json"]))


def test_the_catalogue_fits_the_published_schema():
    jsonschema.validate(yaml.safe_load((ROOT / "datasets.yaml").read_text()), json.loads(PAGES["datasets.schema.json"]))


def test_messages_fit_the_published_schemas():
    item = contract.Item("a", "a.h5ad", conditions=[contract.Condition("c", ["G"], dose=1.0, unit="uM")])
    request = contract.RunRequest(1, "j", "predict", "default", [item], {"k": 1}, batch_size=4)
    jsonschema.validate(json.loads(contract.to_json(request)), json.loads(PAGES["request.schema.json"]))
    output = contract.Output("embedding.npy", [3, 2], "float32", "0" * 64)
    result = contract.RunResult(1, "ok", [output], timings={"load": 0.5}, peak_memory=10)
    jsonschema.validate(json.loads(contract.to_json(result)), json.loads(PAGES["result.schema.json"]))


@pytest.mark.parametrize(("command", "schema"), [("run", "run"), ("plan", "plan")])
def test_what_json_prints_fits_the_published_schema(command, schema, tmp_path):
    arguments = ["-m", "random,no_change", "-d", "pbmc68k_reduced", "-t", "embedding", "--engine", "local", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "cellgauge", command, *arguments], cwd=tmp_path, capture_output=True, check=True
    )
    jsonschema.validate(json.loads(done.stdout), json.loads(PAGES[f"{schema}.schema.json"]))


def test_every_page_can_be_reached_and_every_link_leads_somewhere():
    pages = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
    for page in [*pages, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {f"{name}.md" for name in re.findall(r"^([a-z-]+(?:/[a-z-]+)+)$", index, flags=re.MULTILINE)}
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in pages} - {"index.md"}


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= targets | {"and"}
    listed = set(re.findall(r"^## `cellgauge ([a-z]+)", PAGES["cli.md"], flags=re.MULTILINE))
    assert set(re.findall(r"cellgauge ([a-z]+) ", text)) <= listed


def test_files_keep_to_their_length():
    long = {
        str(path.relative_to(ROOT)): count
        for path in ROOT.glob("[!.]*/**/*.py")
        if "_build" not in path.parts and (count := len(path.read_text().splitlines())) > 330
    }
    assert long == {}
