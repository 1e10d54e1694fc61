import hashlib
import os
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from cellgauge.data import weights
from cellgauge.data.cache import Cache
from cellgauge.engines import Cancel
from cellgauge.engines.function import FunctionEngine
from cellgauge.errors import FetchError, StorageError
from cellgauge.pantry import Pantry
from support import a_job, made_model

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


def test_a_folder_holds_each_file_where_the_model_looks_for_it(model, cache):
    place = weights.write(model, "default", cache)
    assert {name: (place / name).read_bytes() for name in names(place)} == CONTENT
    assert names(weights.write(model, "small", cache)) == ["model.bin"]


def test_a_variant_without_its_own_has_those_of_the_default(model, cache):
    assert weights.of(model, "plain") == weights.of(model, "default") == weights.of(model, "not written down")
    assert weights.write(model, "plain", cache) == weights.write(model, "default", cache)


def test_without_weights_there_is_no_folder(cache):
    assert weights.of(made_model(), "default") == ()
    assert weights.digest(()) == ""
    assert weights.write(made_model(), "default", cache) is None
    assert not (cache.root / "weights").exists()


def test_the_digest_is_of_names_and_contents_and_of_nothing_else(model):
    one, other = weights.of(model, "default")
    assert weights.digest((one, other)) == weights.digest((other, one))
    assert weights.digest((one, other)) != weights.digest((one,))
    moved = one.model_copy(update={"source": "https://elsewhere/model.bin"})
    assert weights.digest((one, other)) == weights.digest((moved, other))
    for changes in ({"sha256": "0" * 64}, {"path": "other.bin"}):
        assert weights.digest((one.model_copy(update=changes), other)) != weights.digest((one, other))


def test_they_are_put_together_once(model, cache):
    place = weights.write(model, "default", cache)
    before = {name: (place / name).stat().st_ino for name in names(place)}
    assert weights.write(model, "default", cache) == place
    assert {name: (place / name).stat().st_ino for name in names(place)} == before


def test_many_at_once_make_one_whole_folder(model, cache):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: weights.write(model, "default", cache), range(32)))
    (place,) = found
    assert names(place) == sorted(CONTENT)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_another_file_than_the_manifest_means_is_refused_and_nothing_is_kept(model, cache):
    (model.folder / "files" / "vocab" / "genes.txt").write_bytes(b"G1\n")
    with pytest.raises(FetchError, match=r"weights of m: .*genes\.txt has SHA-256"):
        weights.write(model, "default", cache)
    assert not (cache.root / "weights").exists()


def test_a_missing_file_is_named(model, cache):
    (model.folder / "files" / "model.bin").unlink()
    with pytest.raises(FetchError, match=r"weights of m: .*model\.bin: No such file"):
        weights.write(model, "default", cache)


@pytest.mark.parametrize("where", ["source", "cache"])
def test_weights_that_were_changed_since_are_not_used(model, cache, where):
    """The folder may be a link to the file that the manifest names: whoever writes into that changes both."""
    place = weights.write(model, "default", cache)
    path = model.folder / "files" / "model.bin" if where == "source" else place / "model.bin"
    if where == "cache":
        path.unlink()
    path.write_bytes(b"x" * 1000)
    if where == "source":
        with pytest.raises(FetchError, match="has SHA-256"):
            weights.write(model, "default", cache)
    else:
        assert weights.write(model, "default", cache) == place
        assert (place / "model.bin").read_bytes() == CONTENT["model.bin"]


def test_a_cache_that_cannot_be_written_says_so(model, cache):
    cache.root.write_text("in the way")
    with pytest.raises(StorageError, match="Not a directory") as caught:
        weights.write(model, "default", cache)
    assert "CELLGAUGE_CACHE" in caught.value.hint


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", ".hidden", "a//b", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(path):
    with pytest.raises(ValueError, match="String should match pattern"):
        made_model(variants={"default": {"weights": [entry("model.bin", path=path)]}})


@pytest.fixture
def published(web):
    """A model whose weights lie on a server."""
    files = [entry(name, source=web.put(name, content)) for name, content in CONTENT.items()]
    return made_model(variants={"default": {"weights": files}})


def test_published_weights_are_downloaded_once(published, web, cache):
    place = weights.write(published, "default", cache)
    assert {name: (place / name).read_bytes() for name in names(place)} == CONTENT
    web.close()
    assert weights.write(published, "default", cache) == place
    (place / "model.bin").unlink()
    (place / "model.bin").write_bytes(b"edited")
    assert weights.write(published, "default", cache) == place
    assert (place / "model.bin").read_bytes() == CONTENT["model.bin"], "the file that was downloaded is here still"


def test_an_edit_of_a_link_to_what_was_downloaded_is_noticed(published, web, cache):
    """Folder and download share one file: both are thrown away, and it is downloaded again."""
    place = weights.write(published, "default", cache)
    (place / "model.bin").chmod(0o644)
    (place / "model.bin").write_bytes(b"edited")
    asked = len(web.asked)
    assert (weights.write(published, "default", cache) / "model.bin").read_bytes() == CONTENT["model.bin"]
    assert {path for path, _ in web.asked[asked:]} == {"model.bin"}


def test_what_was_downloaded_is_good_and_not_read_again_after_it_was_linked_to(published, cache):
    """A link moves the time by which an edit is noticed."""

    def tick():
        raise LookupError("it is read")

    weights.write(published, "default", cache)
    downloaded = [one for one in cache.contents() if one.kind == "files"]
    assert [one.good for one in downloaded] == [True, True]
    assert all(cache.find(one.name, tick) for one in downloaded)
    os.link(downloaded[0].path, cache.root / "another link")
    assert [one.good for one in cache.contents()] == [True] * 3


def test_published_weights_that_are_not_there_name_model_and_address(published, web, cache):
    web.files.clear()
    with pytest.raises(FetchError, match=rf"weights of m: {web.root}/model.bin: .*404"):
        weights.write(published, "default", cache)
    assert not (cache.root / "weights").exists()


def test_those_in_a_shared_cache_are_used_there(published, web, cache, tmp_path):
    place = weights.write(published, "default", cache)
    mine = Cache(tmp_path / "mine", [cache.root])
    assert weights.write(published, "default", mine) == place
    assert not (mine.root / "weights").exists()


def test_a_download_is_not_waited_for_once_the_run_is_stopped(published, web, cache, store):
    web.faults.append(None)
    web.always = "silent"
    cancel, job = Cancel(), a_job()
    pantry = Pantry([job], {"m": published}, {}, FunctionEngine(lambda launch: 0), store, cache, cancel)
    while len(web.asked) < 2:
        time.sleep(0.01)
    cancel.ask()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        pantry.weights(job)
    pantry.close()
    while [one for one in threading.enumerate() if one.name.startswith("prepare")]:
        time.sleep(0.01)
    assert time.monotonic() - began < 2
