import shutil

import pytest

from cellgauge import catalog, images
from cellgauge.errors import ImageError


@pytest.fixture
def model(tmp_path, models):
    shutil.copytree(models["random"].folder, tmp_path / "models" / "random")
    return catalog.models([tmp_path / "models"])["random"]


def test_what_runs_locally_is_a_copy_of_what_was_hashed(model, tmp_path):
    (model.folder / ".secret").write_text("not hashed, so not there")
    first = images.local(model, tmp_path)
    assert sorted(path.name for path in first.folder.iterdir()) == [
        "Dockerfile",
        "model.json",
        "model.py",
        "model.yaml",
        "requirements.txt",
        "sdk",
    ]
    before = (first.folder / "model.py").read_text()
    (model.folder / "model.py").write_text("# edited while jobs run")
    assert (first.folder / "model.py").read_text() == before
    second = images.local(model, tmp_path)
    assert second.digest != first.digest
    assert (second.folder / "model.py").read_text() == "# edited while jobs run"


def test_a_file_behind_a_link_to_a_folder_counts(model, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "helper.py").write_text("A = 1")
    (model.folder / "lib").symlink_to(tmp_path / "shared")
    first = images.local(model, tmp_path)
    (tmp_path / "shared" / "helper.py").write_text("A = 2")
    assert images.local(model, tmp_path).digest != first.digest


def test_another_package_in_the_environment_is_another_identity(model, tmp_path, monkeypatch):
    before = images.local(model, tmp_path)
    assert images.local(model, tmp_path) == before
    monkeypatch.setattr(images, "distributions", list)
    assert images.local(model, tmp_path).digest != before.digest


def test_a_model_that_cannot_be_a_process_says_so(model, tmp_path):
    (model.folder / "model.py").unlink()
    with pytest.raises(ImageError, match=r"there is no .*model\.py"):
        images.local(model, tmp_path)
    only = model.model_copy(update={"spec": model.spec.model_copy(update={"image": "lab/random:1"})})
    with pytest.raises(ImageError, match="'random' is an image alone"):
        images.local(only, tmp_path)


def test_the_context_holds_manifest_and_sdk(model):
    files = images.context(model)
    assert {"model.json", "model.yaml", "sdk/cellgauge_model/contract.py"} <= set(files)
    assert files["model.json"].decode() == images.manifest(model)
