"""What a catalogue says of groups, and what it may not say."""

import pytest

from cellgauge import catalog, catalogfile
from cellgauge.errors import CatalogError, UnknownNameError, UsageError
from support import ROOT


class TestGroups:
    """A name that stands for several datasets."""

    MEMBERS = """
datasets:
  human: {source: h.h5ad, organism: Homo sapiens, gene_ids: symbol, obs: {cell_type: label}}
  mouse: {source: m.h5ad, organism: Mus musculus, gene_ids: ensembl, obs: {cell_type: label}}
  mixed: {source: b.h5ad, organism: Homo sapiens, gene_ids: symbol, obs: {cell_type: label, organism: species}}
  both: {members: [human, mouse], title: Both}
"""

    def entries(self, tmp_path, more=""):
        path = tmp_path / "datasets.yaml"
        path.write_text(self.MEMBERS + more)
        return catalog.entries([path])

    def test_know_their_members_in_order_wherever_these_are_defined(self, tmp_path):
        found = self.entries(tmp_path)["both"]
        assert [one.name for one in found.datasets] == ["human", "mouse"]
        mine = tmp_path / "mine.yaml"
        mine.write_text("datasets:\n  ours: {members: [mouse, human_spermatogenesis]}\n")
        files = [mine, tmp_path / "datasets.yaml", ROOT / "datasets.yaml"]
        assert [one.organism for one in catalog.entries(files)["ours"].datasets] == ["Mus musculus", "Homo sapiens"]
        assert "ours" not in catalog.datasets(files), "which are files"

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ("{members: [human, nix]}", "datasets.a.members: no dataset named 'nix'"),
            ("{members: [human, both]}", "datasets.a.members: 'both' is a group itself"),
            ("{members: [human]}", ":7: datasets.a.members: needs 2 at least, and has 1"),
            ("{members: [human, human]}", ":7: datasets.a.members: human: named twice"),
            ("{members: human}", ":7: datasets.a.members: needs a list: [human]"),
            (
                "{members: [human, mouse], source: x}",
                ":7: datasets.a.source: does not go with members: each of",
            ),
            ("{members: [human, mouse], obs: {}}", ":7: datasets.a.obs: does not go with members"),
            ("{members: [human, mouse], matrix: {}}", ":7: datasets.a.matrix: does not go with members"),
            ("{members: [human, mouse], tytle: x}", ":7: datasets.a.tytle: there is no such field"),
            ("{members: [human, mixed]}", "datasets.a.members: 'mixed' says of each cell which organism it is of"),
        ],
    )
    def test_that_mean_nothing_are_refused_with_file_entry_and_field(self, tmp_path, entry, words):
        with pytest.raises(CatalogError) as caught:
            self.entries(tmp_path, f"  a: {entry}\n")
        assert f"{tmp_path / 'datasets.yaml'}" in caught.value.message
        assert words in caught.value.message

    def test_are_no_dataset_where_one_file_is_meant(self, tmp_path):
        self.entries(tmp_path)
        with pytest.raises(UsageError, match="'both' is a group of datasets") as caught:
            catalog.single("both", [tmp_path / "datasets.yaml"])
        assert caught.value.hint == "Name one of its members: human, mouse."
        with pytest.raises(UnknownNameError):
            catalog.single("boht", [tmp_path / "datasets.yaml"])

    def test_of_the_ancestor_are_there(self):
        found = catalog.entries([ROOT / "datasets.yaml"])
        assert len(found["spermatogenesis"].members) == 9
        organisms = [one.organism for one in found["spermatogenesis_human_mouse_rhesus"].datasets]
        assert organisms == ["Homo sapiens", "Mus musculus", "Macaca mulatta"]
        assert all("donor" in one.obs for one in found["spermatogenesis"].datasets)

    def test_are_written_and_left_alone_by_what_writes_catalogues(self, tmp_path):
        path = tmp_path / "datasets.yaml"
        self.entries(tmp_path)
        catalogfile.append(path, "turned", {"members": ["mouse", "human"]})
        assert catalog.entries([path])["turned"].members == ("mouse", "human")
        with pytest.raises(CatalogError, match="'both' is a group, and has no file of its own"):
            catalogfile.record(path, "both", "0" * 64, 5)
