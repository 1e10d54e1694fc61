"""What a `datasets.yaml` says."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from cellgauge.specs.base import LATIN, SLOT, GeneIds, MatrixKind, Name, Spec

Modality = Literal["scRNA-seq", "snRNA-seq", "spatial", "imaging", "other"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Columns = str | tuple[str, ...]
"""The obs column of a role; of several, a cell's value is theirs joined: `data.joined` says how."""


def without(dumped: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
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
        return without(dump(self), {} if self.keep else {"keep"})

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


class GroupEntry(Spec):
    """An entry that names others, of several organisms, so that tasks which compare organisms see them as one."""

    version: str = "1"
    title: str = ""
    members: tuple[Name, ...] = Field(min_length=2)
    """Datasets of the catalogue, in the order in which their cells are put one below the other."""
    licence: str = "as of its members"
    citation: str = ""
    provenance: str = ""
    deprecated: Deprecation | None = None
    """Absent: current."""

    @field_validator("members")
    @classmethod
    def _are_several(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({one for one in members if members.count(one) > 1}):
            raise ValueError(f"{', '.join(twice)}: named twice")
        return members


class GroupSpec(GroupEntry):
    """A group that the catalogue knows, and its members."""

    name: Name
    datasets: tuple[DatasetSpec, ...]
    """The members, in their order."""


GROUP, SINGLE = "tagged[group]", "tagged[dataset]"
"""What pydantic puts among the places of an error, to say which kind of entry it takes one for."""


class _ByMembers:
    """Describes in JSON Schema how the two kinds of entry are told apart, so that misfits are named, and no `oneOf`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        single, group = handler(schema)["oneOf"]
        return {"if": {"required": ["members"], "type": "object"}, "then": group, "else": single}


def _kind(entry: Any) -> str:
    grouped = isinstance(entry, GroupEntry) or (isinstance(entry, Mapping) and "members" in entry)
    return GROUP if grouped else SINGLE


Entry = Annotated[
    Annotated[DatasetEntry, Tag(SINGLE)] | Annotated[GroupEntry, Tag(GROUP)], Discriminator(_kind), _ByMembers
]
"""What stands below a name in `datasets.yaml`."""
