"""Datasets as a person meets them: added, pulled from an S3 store or a web server, checked, used and pruned."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from servers import store as s3_store
from support import make_cells


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a made file, a cache of its own, and no way to Docker."""
    monkeypatch.setenv("CELLGAUGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CELLGAUGE_ENGINE", "local")
    make_cells().write_h5ad(tmp_path / "made.h5ad")
    return tmp_path


def cellgauge(*arguments, **more):
    return spoken(*arguments, **more).stdout


def spoken(folder, *words, fails=None, **environment):
    process = subprocess.run(
        [sys.executable, "-m", "cellgauge", *map(str, words)],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=200,
        env={**os.environ, **environment},
    )
    assert process.returncode == (fails or 0), process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    return process


def document(*arguments, **more):
    return json.loads(cellgauge(*arguments, "--json", **more))


def catalogue(folder, **entries):
    path = folder / "my.yaml"
    plain = {"organism": "Homo sapiens", "gene_ids": "symbol", "obs": {"cell_type": "label"}}
    path.write_text(yaml.safe_dump({"datasets": {name: {**plain, **fields} for name, fields in entries.items()}}))
    return path


def test_a_file_is_added_with_one_command_and_used_with_the_next(here):
    found = document(here, "datasets", "add", "made.h5ad", "--name", "mine", "--yes")
    assert found["entry"]["organism"] == "Homo sapiens"
    assert found["entry"]["obs"]["donor"] == "donor"
    written = (here / "datasets.yaml").read_text()
    assert 4 <= len(written.split("mine:\n")[1].splitlines()) <= 9
    ran = document(here, "run", "-m", "pca", "-d", "mine", "-t", "embedding", "--catalog", "datasets.yaml")
    assert ran["states"] == {"ok": 1}
    cellgauge(here, "datasets", "add", "made.h5ad", "--name", "mine", "--yes", fails=2)


def test_a_dataset_comes_from_s3_once_and_its_checksum_is_recorded(here):
    content = (here / "made.h5ad").read_bytes()
    with s3_store(here) as (address, client):
        client.create_bucket(Bucket="open")
        client.put_object(Bucket="open", Key="a/made.h5ad", Body=content, ACL="public-read")
        mine = catalogue(here, far={"source": "s3://open/a/made.h5ad"})
        there = {"AWS_ENDPOINT_URL": address}
        assert document(here, "datasets", "show", "far", "--catalog", mine)["path"] is None
        (pulled,) = document(here, "datasets", "pull", "far", "--record", "--catalog", mine, **there)["pulled"]
    assert (pulled["n_cells"], pulled["size"]) == (60, len(content))
    entry = yaml.safe_load(mine.read_text())["datasets"]["far"]
    assert (entry["sha256"], entry["size"]) == (pulled["sha256"], len(content))
    # The store is gone now, and nobody asks for it.
    ran = document(here, "run", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine)
    assert ran["states"] == {"ok": 1}


def test_a_dataset_that_cannot_be_had_stops_no_other(here, web):
    mine = catalogue(here, near={"source": "made.h5ad"}, far={"source": f"{web.root}/nothing.h5ad"})
    ran = document(here, "run", "-m", "pca", "-d", "near,far", "-t", "embedding", "--catalog", mine, fails=1)
    assert ran["planned"] == 2
    assert ran["states"] == {"infrastructure": 1, "ok": 1}
    (lost,) = [one for one in ran["results"] if one["dataset"] == "far"]
    assert "404" in lost["reason"]
    cellgauge(here, "run", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine, fails=4)


def test_a_plan_pulls_nothing(here, web):
    address = web.put("made.h5ad", (here / "made.h5ad").read_bytes())
    mine = catalogue(here, far={"source": address})
    told = document(here, "plan", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine)
    assert (told["planned"], told["jobs"][0]["to_pull"]) == (1, {"far": None})
    words = ["plan", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine]
    assert "far (to be pulled, size unknown)" in cellgauge(here, *words, COLUMNS="200")
    assert web.asked == []


def test_scores_of_some_of_the_cells_say_so(here):
    mine = catalogue(here, near={"source": "made.h5ad"})
    words = ["run", "-m", "pca", "-d", "near", "-t", "embedding", "--catalog", mine, "--limit-cells", "30"]
    (one,) = document(here, *words)["results"]
    assert one["limit_cells"] == 30
    assert {score["n_cells"] for score in one["scores"]} == {30}
    assert "not comparable" in cellgauge(here, "show")
    (whole,) = document(here, *words[:-2])["results"]
    assert (whole["limit_cells"], whole["job"] == one["job"]) == (None, False)


def test_the_cache_is_listed_verified_and_pruned(here, web):
    mine = catalogue(here, far={"source": web.put("made.h5ad", (here / "made.h5ad").read_bytes())})
    (pulled,) = document(here, "datasets", "pull", "far", "--catalog", mine)["pulled"]
    (entry,) = [one for one in document(here, "datasets", "du") if one["kind"] == "files"]
    assert (entry["name"], entry["in_use"]) == (pulled["sha256"], False)
    assert f"far ({pulled['sha256'][:8]})" in cellgauge(here, "datasets", "du", CELLGAUGE_CATALOG=str(mine))
    assert all(one["good"] for one in document(here, "datasets", "verify"))
    with open(pulled["path"], "r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    assert "damaged" in cellgauge(here, "datasets", "verify", fails=1)
    assert document(here, "datasets", "show", "far", "--catalog", mine)["path"] is None
    document(here, "datasets", "pull", "far", "--catalog", mine)
    assert document(here, "datasets", "prune", "--keep", "0")["left"] == 0
    assert document(here, "datasets", "du") == []


@pytest.mark.parametrize("content", ["datasets: [", "datasets:\n  x: {}\n", None])
def test_a_catalogue_that_cannot_be_read_is_in_nobodys_way_who_looks_into_the_cache(here, web, content):
    mine = catalogue(here, far={"source": web.put("made.h5ad", (here / "made.h5ad").read_bytes())})
    (pulled,) = document(here, "datasets", "pull", "far", "--catalog", mine)["pulled"]
    broken = here / "broken.yaml"
    if content is not None:
        broken.write_text(content)
    both = os.pathsep.join(map(str, (broken, mine)))
    for words in (("du",), ("prune", "--keep", "1GB")):
        done = spoken(here, "datasets", *words, CELLGAUGE_CATALOG=both)
        (line,) = [line for line in done.stderr.splitlines() if "broken.yaml" in line]
        assert line.startswith("warning: ")
        assert line.endswith("what only it names is shown by its checksum")
    assert f"far ({pulled['sha256'][:8]})" in cellgauge(here, "datasets", "du", CELLGAUGE_CATALOG=both)
    alone = spoken(here, "datasets", "prune", "--keep", "0", CELLGAUGE_CATALOG=str(broken)).stdout
    assert pulled["sha256"][:20] in alone
    assert document(here, "datasets", "du", CELLGAUGE_CATALOG=str(broken)) == []


def test_a_file_is_checked_by_itself_and_against_an_entry(here):
    assert cellgauge(here, "datasets", "check", "made.h5ad").endswith("errors: 0, warnings: 0\n")
    mine = catalogue(here, wrong={"source": "made.h5ad", "organism": "Mus musculus", "gene_ids": "ensembl"})
    found = document(here, "datasets", "check", "made.h5ad", "--dataset", "wrong", "--catalog", mine, fails=1)
    assert any(one["severity"] == "error" and "gene" in one["message"] for one in found)
    (here / "broken.h5ad").write_bytes((here / "made.h5ad").read_bytes()[:3000])
    assert "error" in cellgauge(here, "datasets", "check", "broken.h5ad", fails=1)


def test_datasets_open_in_python(here):
    catalogue(here, near={"source": "made.h5ad"})
    script = "import cellgauge.datasets as d; a = d.load('near', catalogs=['my.yaml'], backed=True); print(a.shape)"
    assert subprocess.check_output([sys.executable, "-c", script], cwd=here, text=True) == "(60, 40)\n"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--name", "my data"], 3, "'my data' is no name"),
        (["--organism", "martian"], 2, "--organism martian: not the name of an organism"),
    ],
)
def test_what_cannot_be_added_is_said_before_anything_is_written(here, words, code, message):
    done = document(here, "datasets", "add", "made.h5ad", "--yes", *words, fails=code)
    assert message in done["error"]
    assert not (here / "datasets.yaml").exists()


@pytest.mark.parametrize("organism", ["human", "Homo sapiens", "NCBITaxon:9606"])
def test_an_organism_is_named_as_people_name_it(here, organism):
    found = document(here, "datasets", "add", "made.h5ad", "--organism", organism, "--yes")
    assert found["entry"]["organism"] == "Homo sapiens"


def test_a_checksum_that_cannot_be_recorded_stops_no_other_pull(here, web):
    mine = catalogue(here, near={"source": "made.h5ad"}, far={"source": "made.h5ad"})
    text = mine.read_text().replace(
        "datasets:",
        "datasets:\n  old: &old {source: made.h5ad, organism: Homo sapiens,\n"
        "    gene_ids: symbol, obs: {cell_type: label}}\n  merged:\n    <<: *old\n",
        1,
    )
    mine.write_text(text)
    told = document(here, "datasets", "pull", "merged", "near", "--record", "--catalog", mine, fails=3)
    assert [one["name"] for one in told["pulled"]] == ["merged", "near"]
    assert len(told["failed"]) == 1
    entries = yaml.safe_load(mine.read_text())["datasets"]
    assert entries["near"]["sha256"] == told["pulled"][1]["sha256"]
    assert "sha256" not in entries["merged"]


def test_what_cannot_be_read_is_said_and_left(here):
    path = here / "cache" / "files" / "ab" / ("ab" * 32)
    path.parent.mkdir(parents=True)
    path.symlink_to("/proc/self/mem")  # reading it fails, whoever does
    told = cellgauge(here, "datasets", "verify", fails=1)
    assert f"cannot be read: {path}: Input/output error" in told
    assert path.is_symlink()
    (entry,) = document(here, "datasets", "verify", fails=1)
    assert (entry["good"], entry["removed"], entry["reason"]) == (False, False, "Input/output error")


def test_what_pruning_leaves_is_said_as_it_is(here):
    part = here / "cache" / "partial" / "abc.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 2_000_000)
    told = cellgauge(here, "datasets", "prune", "--keep", "1MB")
    assert "begun and not finished: 2.0 MB; --partial removes that" in told
    assert "in use" not in told
    told = document(here, "datasets", "prune", "--keep", "1MB")
    assert (told["removed"], told["in_use"], told["partial"] == told["left"] > 1_900_000) == ([], 0, True)
    assert document(here, "datasets", "prune", "--keep", "1MB", "--partial")["left"] == 0


def test_a_plan_pulls_nothing_though_what_is_here_is_damaged(here, web):
    mine = catalogue(here, far={"source": web.put("made.h5ad", (here / "made.h5ad").read_bytes())})
    (pulled,) = document(here, "datasets", "pull", "far", "--catalog", mine)["pulled"]
    with open(pulled["path"], "r+b") as file:
        file.write(b"damaged")
    web.asked.clear()
    document(here, "plan", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine)
    assert web.asked == []


def test_what_every_run_would_refuse_is_not_added(here):
    made = make_cells()
    made.obs_names = ["twice"] * 2 + list(made.obs_names[2:])
    made.write_h5ad(here / "bad.h5ad")
    words = ["datasets", "add", "bad.h5ad", "--yes", "--catalog", "mine.yaml"]
    assert "D103" in cellgauge(here, *words, fails=1)
    assert not (here / "mine.yaml").exists()


@pytest.mark.parametrize("name", ["pbmc68k_reduced", "all"])
def test_a_name_that_is_taken_is_refused_at_once(here, name):
    cellgauge(here, "datasets", "add", "made.h5ad", "--name", name, "--yes", fails=2)
    assert not (here / "datasets.yaml").exists()


def test_what_a_server_sent_instead_of_a_dataset_is_not_kept_for_one(here, web):
    mine = catalogue(here, far={"source": web.put("made.h5ad", b'{"error": "quota exceeded"}')})
    (failed,) = document(here, "datasets", "pull", "far", "--catalog", mine, fails=4)["failed"]
    assert failed["name"] == "far"
    assert "no h5ad" in failed["error"]
    web.put("made.h5ad", (here / "made.h5ad").read_bytes())
    assert document(here, "datasets", "pull", "far", "--catalog", mine)["failed"] == []


def test_a_dataset_that_nothing_applies_to_is_not_pulled(here, web):
    mine = catalogue(here, far={"source": f"{web.root}/far.h5ad", "obs": {}})
    ran = document(here, "run", "-m", "pca", "-d", "far", "-t", "embedding", "--catalog", mine, fails=1)
    assert ran["states"] == {"not_applicable": 1}
    assert web.asked == []


@pytest.mark.parametrize("words", [("show", "pbmc*"), ("show", "pbmc3k,pbmc68k_reduced"), ("show", "all")])
def test_a_pattern_is_no_name(here, words):
    assert "no dataset named" in document(here, "datasets", *words, fails=2)["error"]
