"""A catalogue that a person wrote is added to by a program, and nothing of it is lost."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cellgauge import catalog, catalogfile
from cellgauge.errors import CatalogError, StorageError
from cellgauge.specs import DatasetEntry
from support import ROOT, as_nobody, entry

PLAIN = DatasetEntry(source="new.h5ad", organism="Homo sapiens", gene_ids="symbol", obs={"cell_type": "celltype"})
SHA = "ab" * 32
BLOCK = """# mine
datasets:

  # the first
  first: # one
    source: first.h5ad   # beside this file
    organism: Homo sapiens
    gene_ids: symbol
    obs:
      cell_type: label
    # no licence known

  # nothing below

# the end
"""
LAYOUTS = {
    "block": BLOCK,
    "no newline at the end": BLOCK.rstrip().removesuffix("# the end").rstrip(),
    "four spaces": "datasets:\n    first:\n        source: a\n        organism: Homo sapiens\n"
    "        gene_ids: symbol\n        obs: {cell_type: x}\n",
    "windows": BLOCK.replace("\n", "\r\n"),
    "folded text last": BLOCK.partition("    # no licence")[0] + "    provenance: >\n      Two lines\n      of it.\n",
    "literal text last": BLOCK.partition("    # no licence")[0]
    + "    provenance: |\n      Two lines\n\n      of it.\n\n",
    "flow entry": "datasets:\n  first: {source: ä.h5ad, organism: Homo sapiens, gene_ids: symbol, obs: {}}\n",
    "all flow": "{datasets: {first: {source: a, organism: Homo sapiens, gene_ids: symbol, obs: {}}}}\n",
    "json": json.dumps(
        {"datasets": {"first": {"source": "a", "organism": "Homo sapiens", "gene_ids": "symbol", "obs": {}}}}, indent=1
    ),
    "document marks": "---\n" + BLOCK + "...\n",
    "quoted and in several lines": 'datasets:\n  "first":\n    source: "a\n      b"\n    organism: Homo sapiens\n'
    "    gene_ids: symbol\n    obs: {cell_type: a,\n      donor: b}\n",
}


def read(path):
    return catalog.datasets([path])


def is_kept(old, new):
    """Every letter of the old text is there still, in order."""
    left = iter("".join(new.split()))
    return all(letter in left for letter in "".join(old.split()))


def test_a_catalogue_is_made_where_there_is_none_and_reads_back(tmp_path):
    path = tmp_path / "below" / "my.yaml"
    catalogfile.append(path, "new", PLAIN)
    assert path.read_text() == (
        "datasets:\n  new:\n    source: new.h5ad\n    organism: Homo sapiens\n    gene_ids: symbol\n"
        "    obs: {cell_type: celltype}\n"
    )
    assert read(path)["new"].sources == ((tmp_path / "below" / "new.h5ad").as_uri(),)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_entry_is_added_and_all_that_was_there_stays(tmp_path, layout):
    path = tmp_path / "my.yaml"
    path.write_bytes(LAYOUTS[layout].encode())
    before = read(path)
    catalogfile.append(path, "new", PLAIN)
    after = read(path)
    assert sorted(after) == ["first", "new"]
    assert after["first"] == before["first"]
    assert after["new"].obs == {"cell_type": "celltype"}
    new = path.read_bytes().decode()
    assert is_kept(LAYOUTS[layout], new)
    assert ("\r\n" in new) == (layout == "windows")
    assert new.count("\r\n") in (0, new.count("\n"))


def test_a_comment_stays_with_its_entry(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(BLOCK)
    catalogfile.append(path, "new", PLAIN)
    begins = BLOCK.removesuffix("\n# the end\n")
    assert path.read_text() == begins + catalogfile.text("new", PLAIN) + "\n# the end\n"


@pytest.mark.parametrize(
    "text", ["", "# only this\n", "datasets:\n", "datasets: {}  # none yet\n# end\n", "datasets: null\n"]
)
def test_an_empty_catalogue_can_be_added_to(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    catalogfile.append(path, "new", PLAIN)
    assert list(read(path)) == ["new"]
    assert all(comment in path.read_text() for comment in ("# only this", "# none yet", "# end") if comment in text)


def test_only_what_is_not_the_default_is_written():
    full = DatasetEntry.model_validate(
        entry("a.h5ad", matrix={"slot": "raw"}, splits={"s": {"by": "donor", "test": ["d1"]}}, sha256=SHA, size=5)
    )
    assert catalogfile.text("full", full).splitlines()[1:] == [
        "    source: a.h5ad",
        f"    sha256: {SHA}",
        "    size: 5",
        "    organism: Homo sapiens",
        "    gene_ids: symbol",
        "    gene_columns: {ensembl: ensembl}",
        "    matrix: {slot: raw}",
        "    obs: {cell_type: label, donor: donor}",
        "    splits: {s: {by: donor, test: [d1]}}",
    ]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=12) | st.sampled_from(
    [
        "no",
        "2024",
        "1e3",
        "0x1F",
        "1:30",
        "~",
        "null",
        "a: b",
        "#x",
        "- a",
        "{",
        "*a",
        "&a",
        "'",
        '"',
        "a\nb",
        " a ",
        "\x85",
        "a\u2028",
    ]
)


@settings(deadline=None, max_examples=60)
@given(title=WORDS, control=WORDS, column=WORDS, name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True))
def test_whatever_stands_in_an_entry_reads_back(tmp_path_factory, title, control, column, name):
    path = tmp_path_factory.mktemp("any") / "my.yaml"
    obs = {"perturbation": column, "batch": (f"{column}!", column)}
    wanted = PLAIN.model_copy(update={"title": title, "control": control, "obs": obs})
    path.write_text(BLOCK)
    if name != "first":
        catalogfile.append(path, name, wanted)
        found = read(path)[name]
        assert (found.title, found.control, found.obs) == (title, control, obs)


def test_an_entry_that_is_none_names_its_fields_and_nothing_is_written(tmp_path):
    path = tmp_path / "my.yaml"
    with pytest.raises(CatalogError, match=r"datasets\.new\.gene_ids: has to be 'symbol' or 'ensembl'"):
        catalogfile.append(path, "new", {**entry("a"), "gene_ids": "x"})
    with pytest.raises(CatalogError, match="'a/b' is no name"):
        catalogfile.append(path, "a/b", entry("a"))
    assert not path.exists()


def test_a_name_that_is_there_is_refused(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(BLOCK)
    with pytest.raises(CatalogError, match="'first' is there already"):
        catalogfile.append(path, "first", PLAIN)
    assert path.read_text() == BLOCK


@pytest.mark.parametrize("text", ["datasets: [", "datasets:\n  a: {source: x}\n", "other:\n", "\0", "- a"])
def test_a_malformed_catalogue_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=r"my\.yaml"):
        catalogfile.append(path, "new", PLAIN)
    assert path.read_text() == text
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogError, match=r"my\.yaml"):
        catalogfile.append(path, "new", PLAIN)
    assert [one.name for one in tmp_path.iterdir()] == ["my.yaml"]


def test_a_folder_that_may_not_be_written_says_so(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(BLOCK)
    tmp_path.chmod(0o555)
    for above in tmp_path.parents:
        if above.stat().st_uid == tmp_path.stat().st_uid and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    try:
        with as_nobody(), pytest.raises(StorageError) as caught:
            catalogfile.append(path, "new", PLAIN)
    finally:
        tmp_path.chmod(0o755)
    assert "--catalog" in caught.value.hint
    assert path.read_text() == BLOCK


def test_a_disk_that_is_full_leaves_the_old_file(small_disk):
    path = small_disk / "my.yaml"
    path.write_text(BLOCK)
    with suppress(OSError), (small_disk / "large").open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(StorageError, match="No space left"):
        catalogfile.append(path, "new", PLAIN)
    assert path.read_text() == BLOCK
    assert {one.name for one in small_disk.iterdir()} == {"my.yaml", "large"}


def test_many_at_once_lose_nothing(tmp_path):
    path = tmp_path / "my.yaml"
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda number: catalogfile.append(path, f"new{number}", PLAIN), range(10)))
    assert sorted(read(path)) == [f"new{number}" for number in range(10)]


def test_a_link_stays_one_and_rights_stay_what_they_were(tmp_path):
    real, path = tmp_path / "real.yaml", tmp_path / "my.yaml"
    real.write_text(BLOCK)
    real.chmod(0o640)
    path.symlink_to(real)
    catalogfile.append(path, "new", PLAIN)
    assert path.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "new" in read(real)


def test_a_source_is_written_as_the_catalogue_would_say_it(tmp_path):
    assert catalogfile.source(tmp_path / "data" / "a.h5ad", tmp_path / "my.yaml") == "data/a.h5ad"
    assert catalogfile.source(tmp_path / "a.h5ad", tmp_path / "below" / "my.yaml") == str(tmp_path / "a.h5ad")


class TestRecord:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_checksum_and_size_are_filled_in_and_all_else_stays(self, tmp_path, layout):
        path = tmp_path / "my.yaml"
        path.write_bytes(LAYOUTS[layout].encode())
        before = read(path)["first"]
        catalogfile.record(path, "first", SHA, 123)
        assert read(path)["first"] == before.model_copy(update={"sha256": SHA, "size": 123})
        assert is_kept(LAYOUTS[layout], path.read_bytes().decode())

    def test_they_stand_below_the_source(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text(BLOCK)
        catalogfile.record(path, "first", SHA, 123)
        source = "    source: first.h5ad   # beside this file\n"
        assert path.read_text() == BLOCK.replace(source, f"{source}    sha256: {SHA}\n    size: 123\n")

    def test_twice_is_once(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text(BLOCK)
        catalogfile.record(path, "first", SHA, 123)
        once = path.read_text()
        catalogfile.record(path, "first", SHA, 123)
        assert path.read_text() == once

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"sha256": "cd" * 32}, f"has the SHA-256 {'cd' * 32}, not {SHA}"),
            ({"size": 7}, "has 7 bytes, not 123"),
            ({"sha256": SHA, "size": 7}, "has 7 bytes, not 123"),
        ],
    )
    def test_another_checksum_or_size_is_refused(self, tmp_path, fields, words):
        path = tmp_path / "my.yaml"
        path.write_text(text := yaml.safe_dump({"datasets": {"first": entry("a", **fields)}}))
        with pytest.raises(CatalogError, match=words):
            catalogfile.record(path, "first", SHA, 123)
        assert path.read_text() == text

    def test_one_of_several_encodings_has_no_size_to_record(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text(text := yaml.safe_dump({"datasets": {"first": entry("a", sha256=["cd" * 32, SHA])}}))
        catalogfile.record(path, "first", SHA, 123)
        assert path.read_text() == text

    def test_a_name_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(CatalogError, match="there is no dataset 'first'"):
            catalogfile.record(tmp_path / "my.yaml", "first", SHA, 123)

    def test_an_entry_that_is_anothers_is_not_written_to(self, tmp_path):
        path = tmp_path / "my.yaml"
        path.write_text(text := BLOCK.replace("first: # one", "first: &one") + "  second: *one\n")
        for name in ("first", "second"):  # what is written into the one would be said of the other
            with pytest.raises(CatalogError, match="in a way that nothing can be put into"):
                catalogfile.record(path, name, SHA, 123)
        path.write_text(text.replace("*one", "\n    <<: *one"))
        with pytest.raises(CatalogError, match="in a way that nothing can be put into"):
            catalogfile.record(path, "second", SHA, 123)

    @pytest.mark.parametrize("name", ["tsv2_bladder", "tsv2_uterus", "allen_soundlife_flu_vax_response"])
    def test_the_shipped_catalogue_can_be_recorded_into(self, tmp_path, name):
        path = tmp_path / "datasets.yaml"
        path.write_text((ROOT / "datasets.yaml").read_text())
        before = read(path)
        catalogfile.record(path, name, SHA, 123)
        assert read(path) == {**before, name: before[name].model_copy(update={"sha256": SHA, "size": 123})}
        added = set(path.read_text().splitlines()) - set((ROOT / "datasets.yaml").read_text().splitlines())
        assert added == {f"    sha256: {SHA}", "    size: 123"}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [("my data", {}, "'my data' is no name"), ("mine", {"organism": "human"}, "organism"), ("mine", {"x": 1}, "x")],
)
def test_what_is_no_entry_is_told_before_anything_is_written(name, changes, words):
    with pytest.raises(CatalogError, match=words):
        catalogfile.validated(name, entry("x.h5ad", **changes))
    assert catalogfile.validated("mine", entry("x.h5ad")).organism == "Homo sapiens"
