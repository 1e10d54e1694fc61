import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from cellgauge.data import weights
from cellgauge.errors import FetchError, StorageError
from support import made_model

CONTENT = {"model.bin": b"w" * 1000, "vocab/genes.txt": b"G1\nG2\n"}


def entry(name, **fields):
    content = CONTENT[name]
    return {"path": name, "source": f"files/{name}", "sha256": hashlib.sha256(content).hexdigest(), **fields}


@pytest.fixture
def model(tmp_path):
    """A model whose default variant has two files of weights, `small` its own, and `plain` none of its own."""
    for name, content in CONTENT.items():
        path = tmp_path / "model" / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    variants = {
        "default": {"weights": [entry(name) for name in CONTENT]},
        "small": {"weights": [entry("model.bin")]},
        "plain": {},
    }
    return made_model(variants=variants).model_copy(update={"folder": tmp_path / "model"})


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_holds_each_file_where_the_model_looks_for_it(model, tmp_path):
    place = weights.write(model, "default", tmp_path / "cache")
    assert {name: (place / name).read_bytes() for name in names(place)} == CONTENT
    assert names(weights.write(model, "small", tmp_path / "cache")) == ["model.bin"]


def test_a_variant_without_its_own_has_those_of_the_default(model, tmp_path):
    assert weights.of(model, "plain") == weights.of(model, "default") == weights.of(model, "not written down")
    assert weights.write(model, "plain", tmp_path / "cache") == weights.write(model, "default", tmp_path / "cache")


def test_without_weights_there_is_no_folder(tmp_path):
    assert weights.of(made_model(), "default") == ()
    assert weights.digest(()) == ""
    assert weights.write(made_model(), "default", tmp_path / "cache") is None
    assert not (tmp_path / "cache").exists()


def test_the_digest_is_of_names_and_contents_and_of_nothing_else(model):
    one, other = weights.of(model, "default")
    assert weights.digest((one, other)) == weights.digest((other, one))
    assert weights.digest((one, other)) != weights.digest((one,))
    moved = one.model_copy(update={"source": "https://elsewhere/model.bin"})
    assert weights.digest((one, other)) == weights.digest((moved, other))
    for changes in ({"sha256": "0" * 64}, {"path": "other.bin"}):
        assert weights.digest((one.model_copy(update=changes), other)) != weights.digest((one, other))


def test_they_are_put_together_once(model, tmp_path):
    place = weights.write(model, "default", tmp_path / "cache")
    before = {name: (place / name).stat().st_ino for name in names(place)}
    assert weights.write(model, "default", tmp_path / "cache") == place
    assert {name: (place / name).stat().st_ino for name in names(place)} == before


def test_many_at_once_make_one_whole_folder(model, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: weights.write(model, "default", tmp_path / "cache"), range(32)))
    (place,) = found
    assert names(place) == sorted(CONTENT)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_another_file_than_the_manifest_means_is_refused_and_nothing_is_kept(model, tmp_path):
    (model.folder / "files" / "vocab" / "genes.txt").write_bytes(b"G1\n")
    with pytest.raises(FetchError, match=r"weights of m: .*genes\.txt has SHA-256"):
        weights.write(model, "default", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_missing_file_is_named(model, tmp_path):
    (model.folder / "files" / "model.bin").unlink()
    with pytest.raises(FetchError, match=r"weights of m: .*model\.bin: No such file"):
        weights.write(model, "default", tmp_path / "cache")


@pytest.mark.parametrize("where", ["source", "cache"])
def test_weights_that_were_changed_since_are_not_used(model, tmp_path, where):
    """The folder may be a link to the file that the manifest names: whoever writes into that changes both."""
    place = weights.write(model, "default", tmp_path / "cache")
    path = model.folder / "files" / "model.bin" if where == "source" else place / "model.bin"
    if where == "cache":
        path.unlink()
    path.write_bytes(b"x" * 1000)
    if where == "source":
        with pytest.raises(FetchError, match="has SHA-256"):
            weights.write(model, "default", tmp_path / "cache")
    else:
        assert weights.write(model, "default", tmp_path / "cache") == place
        assert (place / "model.bin").read_bytes() == CONTENT["model.bin"]


def test_a_cache_that_cannot_be_written_says_so(model, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(StorageError, match="Not a directory") as caught:
        weights.write(model, "default", tmp_path / "cache")
    assert "CELLGAUGE_CACHE" in caught.value.hint


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ".hidden", "a//b", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(path):
    with pytest.raises(ValueError, match="String should match pattern"):
        made_model(variants={"default": {"weights": [entry("model.bin", path=path)]}})
