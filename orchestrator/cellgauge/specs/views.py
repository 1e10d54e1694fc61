"""A dataset that is here, and what of it is shown to a model."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from cellgauge.specs.base import GeneIds, Name, Spec, identity
from cellgauge.specs.datasets import Columns, DatasetSpec, Matrix, Split, without


class HeldOut(Spec):
    """What a split holds out of a dataset's conditions, as far as it decides which models can predict them."""

    reason: str = ""
    """Why nobody can."""
    conditions: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    """Those among them that target something which no condition in training does."""
    combined: tuple[str, ...] = ()
    """Those that have several targets."""


class Rows(Spec):
    """Which cells of a dataset a view holds, where it does not hold all; decided on this side, never by a model."""

    split: Split | None = None
    """Only the cells that may be trained on, or those held out."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many cells, drawn with `seed`."""
    stratify: str | None = None
    """With `limit`: the role of whose values each keeps its share."""
    seed: int = 0
    columns: dict[str, Columns] = {}
    """Role → obs column or columns, of the roles that these rules read."""
    held_out: bool = False
    """With a split: the cells held out, instead of those that may be trained on. No model is shown such a view."""
    only: dict[str, tuple[str, ...]] = {}
    """Role → values: of the cells that all this leaves, only those that have one of them."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without(dump(self), {name for name in ("held_out", "only") if not getattr(self, name)})


class View(Spec):
    """What a model sees of a dataset; two equal views are one file."""

    format: int = 3
    """Raised whenever the same dataset would be written differently."""
    sha256: str
    """Of the dataset's file."""
    matrix: Matrix
    organism: str = ""
    gene_index: GeneIds
    """What the dataset's var index holds."""
    gene_columns: dict[GeneIds, str]
    gene_ids: GeneIds
    """What the view's var index holds."""
    gene_table: str = ""
    """Hash of the table by which ids are converted; empty where the dataset has the ids itself."""
    obs: dict[str, Columns]
    """The granted obs columns, by role."""
    rows: Rows | None = None
    """Absent: every cell."""

    @property
    def id(self) -> str:
        """Hash over all of it."""
        return identity(self.model_dump())


class Member(Spec):
    """One of several datasets that are made one."""

    name: Name
    view: View
    """Which of its cells, genes and columns."""


class Stack(Spec):
    """Datasets of several organisms made one, cell below cell, over the genes of which each organism has just one."""

    format: int = 1
    """Raised whenever the same members would be put together differently."""
    organism: str
    """By whose gene ids the genes go: the first member's."""
    orthologs: str
    """Hash of the table of one-to-one orthologs."""
    members: tuple[Member, ...]

    @property
    def sha256(self) -> str:
        """What stands in the place of a file's checksum: known before the file is made, and the same everywhere."""
        fields = [self.format, self.organism, self.orthologs, *([one.name, one.view.id] for one in self.members)]
        return hashlib.sha256(json.dumps(["stack", *fields]).encode()).hexdigest()

    @property
    def limit(self) -> int | None:
        """At most so many cells of each member."""
        return next((one.view.rows.limit for one in self.members if one.view.rows and one.view.rows.limit), None)


class Dataset(Spec):
    """A dataset that is on this machine and has been checked."""

    spec: DatasetSpec
    path: Path
    sha256: str
    stamp: tuple[int, ...]
    """Inode, size and time of change when the file was hashed: it must stay that very file while a run lasts."""
    n_cells: int
    n_genes: int
    tells: dict[str, tuple[str, ...]] = {}
    """Role, or two (`batch+donor`) → the other roles whose value can be told from it, so that a model that sees it
    knows them too."""
    ids: tuple[str, ...] = ()
    """Roles whose column names cells rather than groups of them, so that no model sees it."""
    tidy: bool = False
    """True: every value of the entry's matrix was looked at, and if it is stored by cells, then of each cell genes in
    order, each once, and never a zero. So nobody needs to look again."""
    stack: Stack | None = None
    """What it was made of, if it is several made one; then `sha256` is that of this, and the file one's own."""


class Coverage(Spec):
    """How many of a dataset's genes a view holds."""

    given: int
    """Genes of the dataset."""
    kept: int
    """Those that have an id of the wanted kind; of several with the same id, one."""
    converted: bool
    """True if the shipped table of gene ids was used."""

    @property
    def share(self) -> float:
        return self.kept / self.given if self.given else 0.0
