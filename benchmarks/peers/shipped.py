"""Hands made cells to a peer's environment as plain arrays, so that none of its libraries has a part in making them."""

import numpy as np
import pandas as pd


class Shipped:
    """Stands for `made.Cells` or `made.Perturbed`: the same fields."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


def save(folder, given, near=None):
    """Write a named tuple's fields, and neighbours where there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in given._asdict().items():
        if isinstance(value, pd.DataFrame):
            for column in value:
                array = value[column].to_numpy()
                if array.dtype == object:
                    array = array.astype(str)
                np.save(folder / f"{name}.{column}.npy", array)
        else:
            np.save(folder / f"{name}.npy", value)
    if near is not None:
        np.save(folder / "near.0.npy", near[0])
        np.save(folder / "near.1.npy", near[1])


def load(folder):
    """Read it; the neighbours as `near`, None where there are none."""
    fields, frames = {"near": None}, {}
    for path in sorted(folder.glob("*.npy")):
        name, _, column = path.stem.partition(".")
        array = np.load(path)
        if not column:
            fields[name] = array
        elif name == "near":
            fields["near"] = (*(fields["near"] or ()), array)
        else:
            frames.setdefault(name, {})[column] = array
    for name, columns in frames.items():
        fields[name] = pd.DataFrame(columns, index=[f"c{n}" for n in range(len(next(iter(columns.values()))))])
    return Shipped(**fields)
