import hashlib
import shutil

import pytest

from cellgauge import catalog, images
from cellgauge.errors import ImageError, StorageError
from support import embed_view


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


@pytest.fixture
def heavy(model, tmp_path):
    """A model with weights in its folder, one of them behind a link."""
    (tmp_path / "elsewhere").mkdir()
    for path in (model.folder / "w.bin", tmp_path / "elsewhere" / "big.bin"):
        path.write_bytes(b"w" * 1000)
    (model.folder / "linked").symlink_to(tmp_path / "elsewhere")
    digest = hashlib.sha256(b"w" * 1000).hexdigest()
    weights = [{"path": name, "source": name, "sha256": digest} for name in ("./w.bin", "linked/big.bin")]
    variants = {"default": {"weights": [{**one, "path": f"{n}.bin"} for n, one in enumerate(weights)]}}
    return model.model_copy(
        update={"spec": type(model.spec).model_validate({**model.spec.model_dump(mode="json"), "variants": variants})}
    )


def test_weights_in_a_models_folder_are_no_part_of_its_image(heavy, tmp_path):
    assert not [name for name in images.context(heavy) if name.endswith(".bin")]
    first = images.local(heavy, tmp_path)
    assert not list(first.folder.rglob("*.bin"))
    (heavy.folder / "w.bin").write_bytes(b"v" * 1000)
    assert images.local(heavy, tmp_path) == first, "they have a digest of their own"


def test_weights_in_a_models_folder_are_found_though_it_runs_from_a_copy(heavy, lab, tmp_path):
    seen = []

    def act(launch):
        seen.append((launch.folder, sorted(path.name for path in launch.weights.iterdir())))
        return embed_view(launch)

    prepared = lab.prepare(models=(heavy,), image_of=lambda model: images.local(model, tmp_path))
    lab.run(prepared, act)
    assert lab.document(prepared).states == {"ok": 1}, lab.reasons()
    ((folder, weights),) = seen
    assert (weights, folder.parent.name) == (["0.bin", "1.bin"], "sources")


def test_a_full_disk_leaves_no_half_of_a_copy(model, small_disk):
    (model.folder / "large.txt").write_text("x" * 100_000)
    with pytest.raises(StorageError, match="No space left"):
        images.local(model, small_disk)
    assert list((small_disk / "sources").iterdir()) == []
