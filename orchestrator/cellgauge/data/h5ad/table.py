"""Reads obs or var of a h5ad by the column, however the version of anndata that wrote it laid it out."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from cellgauge.data.h5ad.hdf5 import attribute, child, has, plain, values

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Obs or var.

    Since anndata 0.7 a group with one array a column; its categories in the column, or in `__categories` (0.7). Before
    that one compound dataset, with the categories in `uns`.
    """

    def __init__(self, node: Any, uns: Any = None) -> None:
        import h5py

        self._node = node
        self._uns = uns
        self._ids: Any = None
        self._compound = isinstance(node, h5py.Dataset)
        if self._compound:
            if not plain(node).dtype.names:
                raise ValueError(f"{node.name} is an array without columns")
            self._index = node.dtype.names[0]
            self.length: int = node.shape[0]
        else:
            self._index = attribute(node, "_index") or "_index"
            if not isinstance(self._index, str):
                raise ValueError(f"{node.name} names no index")
            self.length = _length(child(node, self._index))

    @property
    def columns(self) -> list[str]:
        """Their names, in order, without the index."""
        if self._compound:
            return list(self._node.dtype.names[1:])
        order = attribute(self._node, "column-order")
        if order is None or not isinstance(order, list):  # none at all are an empty array of floats
            order = [] if order is not None else [name for name in self._node if name != "__categories"]
        return [name for name in order if name != self._index]

    def index(self) -> Any:
        """Read the ids.

        Returns
        -------
        Object array of str.
        """
        import numpy as np

        if self._ids is None:
            found = self._column(self._index)
            self._ids = np.array([one if isinstance(one, str) else str(one) for one in found], dtype=object)
        return self._ids.copy()

    def frame(self, columns: Collection[str]) -> "pd.DataFrame":
        """Read columns, indexed by the ids."""
        import pandas as pd

        there = set(self.columns)
        if missing := [name for name in columns if name not in there]:
            raise KeyError(f"{self._node.name} has no column '{missing[0]}'")
        found = {name: self._column(name) for name in columns}
        return pd.DataFrame(found, index=pd.Index(self.index(), dtype=object), columns=list(columns))

    def _column(self, name: str) -> Any:
        found = self._field(name) if self._compound else _column(child(self._node, name))
        if len(found) != self.length:
            raise ValueError(f"{self._node.name}/{name} has {len(found)} values for {self.length} ids")
        return found

    def _field(self, name: str) -> Any:
        import numpy as np
        import pandas as pd

        column = self._node.fields(name)[()]
        if column.dtype.kind in "SO":
            return np.array([one.decode() if isinstance(one, bytes) else str(one) for one in column], dtype=object)
        kept = f"{name}_categories"
        if self._uns is not None and column.dtype.kind in "iu" and name != self._index and has(self._uns, kept):
            categories = child(self._uns, kept)
            named = values(categories) if categories.shape else [str(categories.asstr()[()])]
            if (column < len(named)).all():  # else they belong to a column of var, as anndata supposes too
                return pd.Categorical.from_codes(column, pd.Index(named))
        return column


def _length(node: Any) -> int:
    import h5py

    for name in () if isinstance(node, h5py.Dataset) else ("codes", "values"):
        if has(node, name):
            node = child(node, name)
    return int(plain(node).shape[0])


def _column(node: Any) -> Any:
    import h5py

    if isinstance(node, h5py.Dataset):
        return _categories_apart(node) if "categories" in node.attrs else values(node)
    import numpy as np
    import pandas as pd

    kind = attribute(node, "encoding-type")
    if kind == "categorical":
        ordered = bool(attribute(node, "ordered"))
        kept = pd.Index(values(child(node, "categories")))
        return pd.Categorical.from_codes(values(child(node, "codes")), kept, ordered=ordered)
    if kind not in ("nullable-integer", "nullable-boolean", "nullable-string-array"):
        raise ValueError(f"{node.name} is no column: its encoding is {kind or 'not said'}")
    given, missing = values(child(node, "values")), values(child(node, "mask")).astype(bool)
    if kind == "nullable-integer":
        return pd.arrays.IntegerArray(given, missing)
    if kind == "nullable-boolean":
        return pd.arrays.BooleanArray(given.astype(bool), missing)
    texts: Any = np.where(missing, None, given)
    return pd.array(texts, dtype="string")


def _categories_apart(node: Any) -> Any:
    """Read a column of anndata 0.7: codes here, what they stand for in `__categories`."""
    import h5py
    import pandas as pd

    where = attribute(node, "categories")
    if isinstance(where, str):
        kept = child(node.parent, where)
    elif type(where) is h5py.Reference:
        kept = node.file[where]  # a reference cannot leave its file
    else:
        raise ValueError(f"{node.name} does not say what its codes stand for")
    return pd.Categorical.from_codes(values(node), pd.Index(values(kept)), ordered=bool(attribute(kept, "ordered")))
