import hashlib
import json
import os

import pytest

from cellgauge.data import download, fetch, sources
from cellgauge.data.cache import Cache
from cellgauge.data.patience import Pace
from cellgauge.data.sources import Fault, Local
from cellgauge.data.sources.s3 import S3
from cellgauge.errors import FetchError
from servers import store

CONTENT = os.urandom(1 << 20)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Pace(chunk=64 << 10, threads=4, attempts=2, first=2, pause=0.01, longest=0.02)
DATASET = "de985818-285f-4f59-9dbd-d74968fddba3"


@pytest.fixture
def cache(tmp_path, web):
    return Cache(tmp_path / "cache", cellxgene=web.root)


def pull(address, cache, **more):
    return fetch.file("dataset 'd'", (address,), (), cache, pace=QUICK, **more)


def test_being_in_the_folder_is_being_known():
    assert set(sources.schemes()) == {"file", "package", "http", "https", "s3", "cellxgene"}
    for scheme in sources.schemes():
        assert isinstance(sources.find(scheme, ""), Local) == (scheme in ("file", "package"))
    assert sources.find("gopher", "") is None


class TestLocal:
    def test_files_are_used_where_they_lie(self, tmp_path, cache):
        path = tmp_path / "a file #1.h5ad"
        path.write_bytes(CONTENT)
        assert pull(path.as_uri(), cache) == (path, SHA256, fetch.stamp(path))
        assert not (cache.root / "files").exists()

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("package://nope.nope/x.h5ad", "'nope.nope', which is not installed"),
            ("file://data/x.h5ad", "no path on this machine"),
            ("file:///no/such/file", "No such file"),
            ("file:///", "Is a directory"),
        ],
    )
    def test_what_is_not_there_says_so(self, cache, address, words):
        with pytest.raises(FetchError, match=words):
            pull(address, cache)


class TestHttps:
    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("https://nowhere.invalid/x", "the connection failed: .*(resolve|resolution|Name|proxy)"),
            ("https://127.0.0.1:1/x", "Connection refused"),
            ("http://", "cannot be asked for: Invalid URL"),
        ],
    )
    def test_what_cannot_be_asked_says_so(self, cache, address, words):
        with pytest.raises(FetchError, match=words):
            pull(address, cache)

    def test_a_server_without_a_certificate_is_not_trusted(self, cache, web):
        with pytest.raises(FetchError, match="the connection is not safe"):
            pull(web.root.replace("http:", "https:"), cache)


class TestCellxgene:
    def answers(self, web, *versions):
        content = json.dumps(list(versions)).encode()
        web.put(f"curation/v1/datasets/{DATASET}/versions", content)
        return f"cellxgene://{DATASET}"

    def version(self, web, name, content, filetype="H5AD"):
        asset = {"filetype": filetype, "filesize": len(content), "url": web.put(f"{name}.h5ad", content)}
        rds = {"filetype": "RDS", "filesize": 1, "url": f"{web.root}/{name}.rds"}
        return {"dataset_id": DATASET, "dataset_version_id": name, "assets": [rds, asset]}

    def test_the_newest_version_is_read_and_remembered(self, web, cache):
        address = self.answers(web, self.version(web, "v2", CONTENT), self.version(web, "v1", b"old"))
        assert pull(address, cache)[1] == SHA256
        found = cache.fetched(address)
        assert (found.version, found.sha256, found.size) == ("v2", SHA256, len(CONTENT))
        assert len(web.ranged()) == 16

    def test_a_newer_version_is_taken_only_if_it_is_asked_for(self, web, cache):
        address = self.answers(web, self.version(web, "v1", CONTENT))
        pull(address, cache)
        self.answers(web, self.version(web, "v2", b"new"), self.version(web, "v1", CONTENT))
        assert pull(address, cache)[1] == SHA256
        assert pull(address, cache, refresh=True)[0].read_bytes() == b"new"
        assert cache.fetched(address).version == "v2"

    def test_a_version_can_be_named(self, web, cache):
        address = self.answers(web, self.version(web, "v2", b"new"), self.version(web, "v1", CONTENT))
        assert pull(f"{address}/v1", cache)[1] == SHA256
        with pytest.raises(FetchError, match="has no version 'v3' with an h5ad"):
            pull(f"{address}/v3", cache)

    @pytest.mark.parametrize("answer", [b'{"detail": "?"}', b'[{"x": 1}]', b"[3]", b"null", b'[{"assets": null}]'])
    def test_an_answer_in_another_form_says_so(self, web, cache, answer):
        web.put(f"curation/v1/datasets/{DATASET}/versions", answer)
        with pytest.raises(FetchError, match="in a form that is not known"):
            pull(f"cellxgene://{DATASET}", cache)

    def test_what_is_no_json_and_what_is_not_there_say_so(self, web, cache):
        with pytest.raises(FetchError, match=r"CELLxGENE Discover was asked .*404") as caught:
            pull("cellxgene://no-such-id", cache)
        assert "Check the dataset's id" in caught.value.hint
        web.put(f"curation/v1/datasets/{DATASET}/versions", b"<html>")
        with pytest.raises(FetchError, match="does not answer in JSON"):
            pull(f"cellxgene://{DATASET}", cache)

    def test_a_dataset_without_an_h5ad_says_so(self, web, cache):
        address = self.answers(web, self.version(web, "v1", CONTENT, filetype="TXT"))
        with pytest.raises(FetchError, match="has no h5ad"):
            pull(address, cache)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """A store with one object for everybody, one for those with a key, and one for nobody."""
    with store(tmp_path_factory.mktemp("s3")) as (address, client):
        for bucket, acl in (("open", "public-read"), ("closed", "private"), ("barred", "private")):
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="some/d #1?.h5ad", Body=CONTENT, ACL=acl)
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::barred/*"}
        deny |= {"Action": ["s3:GetObject", "s3:HeadObject"]}
        client.put_bucket_policy(Bucket="barred", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
        yield address, client


@pytest.fixture
def nobody(monkeypatch, s3, tmp_path):
    """Somebody without credentials, who has named the store."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3[0])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def somebody(monkeypatch, nobody):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


class TestS3:
    def test_what_is_public_needs_no_credentials(self, cache, nobody):
        path, digest, _ = pull("s3://open/some/d #1?.h5ad", cache)
        assert (path.read_bytes() == CONTENT, digest) == (True, SHA256)

    def test_what_is_not_public_needs_them(self, cache, nobody):
        with pytest.raises(FetchError, match=r"403.*, and there are no AWS credentials") as caught:
            pull("s3://closed/some/d #1?.h5ad", cache)
        assert "AWS_PROFILE" in caught.value.hint

    def test_those_of_the_user_are_taken_where_a_stranger_is_refused(self, cache, somebody):
        assert pull("s3://closed/some/d #1?.h5ad", cache)[1] == SHA256

    def test_credentials_that_do_not_suffice_say_so(self, cache, somebody):
        with pytest.raises(FetchError, match="the store answers: 403") as caught:
            pull("s3://barred/some/d #1?.h5ad", cache)
        assert "The credentials that were found may not read it" in caught.value.hint

    @pytest.mark.parametrize("address", ["s3://open/no/such", "s3://no-such-bucket/x"])
    def test_what_is_not_there_says_so(self, cache, somebody, address):
        with pytest.raises(FetchError, match="the store answers: 404") as caught:
            pull(address, cache)
        assert "Check bucket and key" in caught.value.hint

    def test_a_bucket_alone_is_no_object(self, cache, nobody):
        with pytest.raises(FetchError, match="s3://open names no object"):
            pull("s3://open", cache)

    def test_a_store_that_is_not_there_says_so(self, cache, nobody, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(FetchError, match=r"the store cannot be reached: .*127\.0\.0\.1:1") as caught:
            pull("s3://open/x", cache)
        assert "AWS_ENDPOINT_URL" in caught.value.hint

    def test_an_object_that_is_replaced_midway_is_noticed(self, s3, nobody, tmp_path):
        client, source = s3[1], S3()
        put = lambda content: client.put_object(Bucket="open", Key="new", Body=content, ACL="public-read")  # noqa: E731
        put(CONTENT)
        head = source.head("s3://open/new")
        assert b"".join(source.read("s3://open/new", head, 10, 20)) == CONTENT[10:20]
        put(CONTENT[::-1])
        with pytest.raises(sources.Changed):
            list(source.read("s3://open/new", head, 10, 20))
        part = tmp_path / "it.part"
        download.download(source, "s3://open/new", part, pace=QUICK)
        assert part.read_bytes() == CONTENT[::-1]

    def test_what_boto_makes_nothing_of_is_no_traceback(self, cache, nobody, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
        with pytest.raises(FetchError, match="boto3 cannot be set up"):
            pull("s3://open/x", cache)
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
        with pytest.raises(FetchError, match=r"boto3 cannot be set up: .*no-such-profile"):
            pull("s3://open/x", cache)
        with pytest.raises(Fault, match="names no object"):
            S3().head("s3:///key")
