"""Being a folder in model-images/ is being a test case: every model, under every engine, through the whole contract."""

import json
import subprocess
import sys

import anndata
import numpy as np
import pytest
import yaml

from cellgauge import images, outputs
from cellgauge.data import view
from cellgauge.plan import DatasetChoice
from cellgauge.plan import view as view_for
from cellgauge.request import Given
from cellgauge.specs import ModelSpec, Rows
from cellgauge_model.contract import Condition, Item
from support import MODELS, ROOT, VIEW, give

FOLDERS = sorted([*(ROOT / "model-images").glob("[!._]*/model.yaml"), MODELS / "shell" / "model.yaml"])
NAMES = [path.parent.name for path in FOLDERS]


@pytest.fixture(params=NAMES)
def model(request, models):
    return models[request.param]


def given_for(model, dataset, shown, cache):
    if "embed" in model.spec.verbs:
        return [give(dataset, shown, cache, name) for name in ("first", "second")]
    conditions = [Condition("c1", ["G1"], "knockdown"), Condition("c2", ["G2", "G3"])]
    controls = Rows(only={"cell_type": ("type 0",)}, columns={"cell_type": "label"})
    trained = shown.model_copy(update={"obs": {"condition": "label"}})
    found = []
    for name in ("first", "second"):
        control = give(dataset, shown.model_copy(update={"rows": controls}), cache, name)
        training = give(dataset, trained, cache, f"{name}+training")
        item = Item(name, control.item.data, training.item.data, conditions)
        found.append(Given(item, {**control.files, **training.files}, control.cells, control.genes, "means"))
    return found


def test_a_model_does_several_items_and_does_them_alike(model, engine, run_job, made_dataset, tmp_path):
    verb = next(iter(model.spec.verbs))
    shown = view_for(model.spec, DatasetChoice(spec=made_dataset.spec, sha256=made_dataset.sha256))
    record, folder = run_job(model, engine, verb=verb, given=given_for(model, made_dataset, shown, tmp_path))
    assert record.state == "ok", (record.reason, (folder / "log.txt").read_text())
    assert [item.name for item in record.items] == ["first", "second"]
    assert len(record.items[0].sha256) == 64
    assert record.items[0].sha256 == record.items[1].sha256, "equal items, one seed: equal bytes"
    assert not list((folder / "input").glob("*.h5ad")), "the view is kept once, in the cache"
    if verb == "predict":
        found = anndata.read_h5ad(folder / "output" / "first" / "prediction.h5ad")
        assert list(found.obs["condition"]) == ["c1", "c2"]


def test_an_image_says_the_same_in_manifest_label_and_describe(model, engine, image_of):
    told = json.loads(images.manifest(model))
    if engine.name == "docker":
        import docker

        client = docker.from_env()
        digest = image_of(model).digest
        assert json.loads(client.images.get(digest).labels[images.MANIFEST_LABEL]) == told
        described = client.containers.run(digest, ["describe"], remove=True, network_mode="none")
    else:
        program, script = model.spec.command
        command = [sys.executable if program == "python" else program, model.folder / script, "describe"]
        described = subprocess.run(command, capture_output=True, check=True).stdout
    spoken = ModelSpec.model_validate(yaml.safe_load(described))
    assert json.loads(json.dumps(spoken.model_dump(mode="json"))) == told


@pytest.mark.docker
def test_a_selftest_passes_in_the_sandbox(model, image_of):
    import docker

    docker.from_env().containers.run(
        image_of(model).digest,
        ["selftest"],
        remove=True,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": ""},
        user="12345:12345",
        environment={"HOME": "/tmp", "NUMBA_CACHE_DIR": "/tmp", "MPLCONFIGDIR": "/tmp"},
    )  # raises ContainerError on any exit code but 0


def test_rows_are_put_back_by_id(models, engine, run_job, made_dataset):
    record, folder = run_job(models["misbehave"], engine, params={"how": "reordered"})
    assert record.state == "ok", record.reason
    cells = view.cells(made_dataset, VIEW)
    in_view = sorted(cells)
    rows = outputs.embedding(folder / "output", "item0", cells)
    assert [int(row[0]) // 3 for row in rows] == [in_view.index(cell) for cell in cells]
    assert not np.array_equal(rows, np.load(folder / "output" / "item0" / "embedding.npy"))
