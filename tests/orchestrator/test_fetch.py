import hashlib

import pytest

from cellgauge import catalog
from cellgauge.data import fetch
from cellgauge.errors import FetchError
from cellgauge.specs import DatasetSpec
from shelf import edit
from support import ROOT, entry

CONTENT = b"\x89HDF\r\n\x1a\n" + b"cells" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def spec_of(source, **changes):
    return DatasetSpec(name="made", **{**entry("x"), "source": source, **changes})


def test_a_file_inside_an_installed_package_is_found_without_importing_it(cache):
    spec = catalog.datasets([ROOT / "datasets.yaml"])["pbmc68k_reduced"]
    path, digest, stamp = fetch.fetch(spec, cache)
    assert path.name == "10x_pbmc68k_reduced.h5ad"
    assert digest in spec.sha256s
    assert stamp == fetch.stamp(path)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("package://no_such_package/x.h5ad", "'no_such_package', which is not installed"),
        ("file:///no/such/file.h5ad", "No such file"),
        ("package://nope.nope/x.h5ad", "'nope.nope', which is not installed"),
        ("file://data/x.h5ad", "no path on this machine"),
        ("http://[bad/x", "Invalid IPv6"),
        ("gopher://x/y", "'gopher://' cannot be read"),
    ],
)
def test_what_cannot_be_had_says_why(source, words, cache):
    with pytest.raises(FetchError, match=words) as caught:
        fetch.fetch(spec_of(source), cache)
    assert "dataset 'made'" in caught.value.message
    assert caught.value.hint


def test_another_file_than_the_catalogue_means_is_refused(cache, tmp_path):
    path = tmp_path / "d.h5ad"
    path.write_bytes(CONTENT)
    with pytest.raises(FetchError, match=r"d\.h5ad has SHA-256 .* the catalogue says 0000"):
        fetch.fetch(spec_of(path.as_uri(), sha256="0" * 64), cache)
    with pytest.raises(FetchError, match=r"d\.h5ad has 5,008 bytes, the catalogue says 4,999"):
        fetch.fetch(spec_of(path.as_uri(), size=4999), cache)


def test_a_mirror_steps_in_for_a_source_with_another_file(cache, web, tmp_path):
    path = tmp_path / "d.h5ad"
    path.write_bytes(b"another version")
    sources = (path.as_uri(), web.put("bad", b"a third"), web.put("good", CONTENT))
    found, digest, _ = fetch.fetch(spec_of(sources, sha256=SHA256, size=len(CONTENT)), cache)
    assert (found.read_bytes(), digest) == (CONTENT, SHA256)
    with pytest.raises(FetchError, match=r"(?s)from none of its 2 sources:.*15 bytes.*it has 7 bytes"):
        fetch.fetch(spec_of(sources[:2], sha256="0" * 64, size=len(CONTENT)), cache)


def test_what_a_mirror_gave_is_taken_before_the_first_source_is_asked_again(cache, web):
    sources = (f"{web.root}/gone", web.put("good", CONTENT))
    first = fetch.fetch(spec_of(sources), cache)
    asked = len(web.asked)
    assert fetch.fetch(spec_of(sources), cache) == first
    assert len(web.asked) == asked


def test_where_it_lies_is_told_without_asking_anybody(cache, web, tmp_path):
    path = tmp_path / "d.h5ad"
    assert fetch.here(spec_of(path.as_uri()), cache) is None
    path.write_bytes(CONTENT)
    assert fetch.here(spec_of(path.as_uri()), cache) == path
    address = web.put("good", CONTENT)
    spec = spec_of((address, "gopher://x/y", "package://nope/x"))
    assert fetch.here(spec, cache) is None
    assert web.asked == []
    found, _, _ = fetch.fetch(spec, cache)
    assert fetch.here(spec, cache) == fetch.here(spec_of("s3://any/where", sha256=SHA256), cache) == found


class TestWithoutPulling:
    """As a plan or a dry run does."""

    def test_what_is_here_is_taken(self, cache, web, tmp_path):
        path = tmp_path / "d.h5ad"
        path.write_bytes(CONTENT)
        assert fetch.fetch(spec_of(path.as_uri()), cache, pull=False)[1] == SHA256
        spec = spec_of(web.put("good", CONTENT))
        found = fetch.fetch(spec, cache)
        web.asked.clear()
        assert fetch.fetch(spec, cache, pull=False) == found
        assert web.asked == []

    def test_what_is_not_is_not_asked_for(self, cache, web):
        spec = spec_of((web.put("good", CONTENT), web.put("mirror", CONTENT)))
        with pytest.raises(FetchError) as caught:
            fetch.fetch(spec, cache, pull=False)
        assert caught.value.message == "dataset 'made' is not here yet"
        assert "datasets pull" in caught.value.hint
        assert web.asked == []
        assert not (cache.root / "partial").exists()

    @pytest.mark.parametrize("known", [{}, {"sha256": SHA256}])
    def test_nor_is_what_is_damaged(self, cache, web, known):
        spec = spec_of(web.put("good", CONTENT), **known)
        path, _, _ = fetch.fetch(spec, cache)
        edit(path)
        web.asked.clear()
        with pytest.raises(FetchError, match="is not here yet"):
            fetch.fetch(spec, cache, pull=False)
        assert web.asked == []
        assert fetch.fetch(spec, cache)[0].read_bytes() == CONTENT

    def test_what_is_wrong_with_a_file_that_is_here_is_said(self, cache, web, tmp_path):
        (tmp_path / "d.h5ad").write_bytes(b"another version")
        sources = (web.put("good", CONTENT), (tmp_path / "d.h5ad").as_uri())
        with pytest.raises(FetchError, match=r"d\.h5ad has SHA-256"):
            fetch.fetch(spec_of(sources, sha256=SHA256), cache, pull=False)
