"""What a `datasets.yaml` says, and what of a dataset is shown to a model."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from cellgauge.specs.base import LATIN, SLOT, GeneIds, MatrixKind, Name, Spec, identity

Modality = Literal["scRNA-seq", "snRNA-seq", "spatial", "imaging", "other"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Columns = str | tuple[str, ...]
"""The obs column of a role; of several, a cell's value is theirs joined: `data.joined` says how."""


def _without(dumped: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Leave out what came later and says nothing here: so what a hash was a name of before keeps that name."""
    return {name: value for name, value in dumped.items() if name not in names}


class Matrix(Spec):
    """Where the expression values lie, and what they are."""

    slot: str = Field(default="X", pattern=SLOT)
    """`X`, `raw` or `layers/NAME`."""
    kind: MatrixKind = "counts"
    """`counts`: integers. `log1p`: the natural log of 1 + counts scaled to one total per cell; counts are recovered
    from it. `corrected`: counts that a correction made fractional, taken as they are."""
    total_counts: str | None = None
    """With `log1p`: the obs column of each cell's total before scaling, which makes the recovery exact."""


class Deprecation(Spec):
    """Why a dataset should not be used any more."""

    reason: str
    successor: Name | None = None
    """The dataset to use instead."""


class Split(Spec):
    """Which cells a model may be trained on, and which it is tested on: by a role's values, or drawn."""

    by: Name | None = None
    """A role. With `test`: its values decide. With `fraction`: its values are drawn, so that none is on both sides."""
    test: tuple[str, ...] = ()
    """Values of `by` whose cells are held out."""
    train: tuple[str, ...] = ()
    """Values of `by` whose cells may be trained on; empty: all others. A cell in neither is left out."""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """The share that is held out, drawn with `seed`."""
    stratify: Name | None = None
    """A role: each of its values gives the same share."""
    keep: tuple[str, ...] = ()
    """Values of `by` whose cells are never held out, and may always be trained on: the control."""
    seed: int = 0

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without(dump(self), {} if self.keep else {"keep"})

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> "Split":
        if bool(self.test) == (self.fraction is not None):
            raise ValueError("needs either test (values of a role) or fraction (a share that is drawn)")
        if self.test and self.by is None:
            raise ValueError("test needs by: the role whose values these are")
        if self.fraction is not None and self.train:
            raise ValueError("train goes with test, not with fraction")
        if both := set(self.train) & set(self.test):
            raise ValueError(f"{', '.join(sorted(both))}: in train and in test")
        if self.keep and self.by is None:
            raise ValueError("keep needs by: the role whose values these are")
        if both := set(self.keep) & set(self.test):
            raise ValueError(f"{', '.join(sorted(both))}: in keep and in test")
        if self.stratify and (self.test or self.by):
            raise ValueError("stratify goes with fraction alone: whole groups cannot be stratified")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that it reads."""
        return tuple(role for role in (self.by, self.stratify) if role)


class DatasetEntry(Spec):
    """One entry of `datasets.yaml`, without its name."""

    version: str = "1"
    title: str = ""
    source: str | tuple[str, ...]
    """`s3://BUCKET/KEY`, `https://…`, `cellxgene://DATASET_ID`, `package://PACKAGE/PATH`, `file://PATH`, or a path
    relative to the catalogue; several are mirrors, tried in order."""
    sha256: Sha256 | tuple[Sha256, ...] | None = None
    """Of the file; several where the same data was published in several encodings; absent = unverified."""
    size: int | None = Field(default=None, gt=0)
    """Of the file, in bytes."""
    modality: Modality = "scRNA-seq"
    organism: str = Field(pattern=LATIN)
    """Latin name: Homo sapiens."""
    gene_ids: GeneIds
    """What the var index holds."""
    gene_columns: dict[GeneIds, str] = {}
    """var columns that hold the other kinds of gene id."""
    matrix: Matrix = Matrix()
    obs: dict[Name, Columns]
    """Role (cell_type, batch, donor, perturbation, time, split, …) → obs column, or several whose values are joined:
    `batch: [donor_id, assay]`."""
    control: str | None = None
    """The value of the perturbation column that means: not perturbed."""
    splits: dict[Name, Split] = {}
    """Which cells models may be trained on, by the name that a task asks for."""
    empty_cells: float = Field(default=0.0, ge=0, lt=1)
    """The share of cells without a single count that is put up with."""
    licence: str = "unknown"
    citation: str = ""
    provenance: str = ""
    deprecated: Deprecation | None = None
    """Absent: current."""
    seen_by: tuple[Name, ...] = ()
    """Models that were trained on these cells, so that their scores here say little."""

    @field_validator("source")
    @classmethod
    def _is_somewhere(cls, source: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not source or (isinstance(source, tuple) and "" in source):
            raise ValueError("is empty")
        return source

    @field_validator("obs")
    @classmethod
    def _names_columns(cls, obs: dict[Name, Columns]) -> dict[Name, Columns]:
        for role, given in obs.items():
            if not given or "" in (several := (given,) if isinstance(given, str) else given):
                raise ValueError(f"{role} names no column")
            if len({*several}) < len(several):
                raise ValueError(f"{role} names a column twice")
        # A list of one is that one, so that two ways of writing a dataset are no two datasets.
        return {role: given[0] if len(given) == 1 else given for role, given in obs.items()}

    @model_validator(mode="after")
    def _roles_are_there(self) -> "DatasetEntry":
        for name, split in self.splits.items():
            for role in split.roles:
                if role not in self.obs:
                    raise ValueError(f"split '{name}' reads the role '{role}', which is not in obs")
        if self.control is not None and "perturbation" not in self.obs:
            raise ValueError("control needs the role perturbation in obs")
        return self


class DatasetSpec(DatasetEntry):
    """A dataset that the catalogue knows."""

    name: Name

    @property
    def sha256s(self) -> tuple[str, ...]:
        """The accepted checksums."""
        return (self.sha256,) if isinstance(self.sha256, str) else self.sha256 or ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where it can be had, in the order to try."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def verified(self) -> bool:
        """True if its checksum is known."""
        return bool(self.sha256s)


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
        return _without(dump(self), {name for name in ("held_out", "only") if not getattr(self, name)})


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
