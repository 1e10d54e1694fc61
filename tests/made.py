"""Made cells whose scores are known: the tests, the peers and the benchmarks all make the very same.

Needs NumPy and pandas alone, and no new ones, since it runs in the peers' environments too. Values are rounded to
multiples of 1/1024, so that no machine's last digit makes another neighbour or rank.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

CONTROL = "non-targeting"


class Cells(NamedTuple):
    """`obs` names its columns by role: cell_type, batch, time."""

    points: np.ndarray
    """Shape (cells, dimensions) float32."""
    obs: pd.DataFrame
    counts: np.ndarray
    """Shape (cells, genes) float32: what `points` might come of, for PC regression and for baselines."""


def rounded(values: np.ndarray) -> np.ndarray:
    return (np.round(values * 1024) / 1024).astype(np.float32)


def cells(seed: int = 0) -> Cells:
    """600 cells, 400 genes, 5 types, 3 batches, 16 dimensions. Two seeds are two species with the same types."""
    shared, own = np.random.default_rng(12345), np.random.default_rng(seed)
    base, programs = shared.gamma(2.0, 0.5, size=400), shared.gamma(1.0, 1.0, size=(5, 400))
    centres = shared.normal(size=(5, 16))
    kind, batch = np.arange(600) % 5, (np.arange(600) // 5) % 3
    batch_genes, batch_centres = own.normal(0, 0.15, size=(3, 400)), own.normal(size=(3, 16))
    counts = own.poisson(np.exp(np.log(base) + 0.15 * np.log1p(programs[kind]) + batch_genes[batch])).astype(np.float32)
    # Not rounded: oracle.json was made of just these.
    points = (0.6 * centres[kind] + 0.4 * batch_centres[batch] + own.normal(size=(600, 16))).astype(np.float32)
    time = np.round(kind * 10 + own.uniform(0, 10, size=600))
    columns = {"cell_type": [f"t{n}" for n in kind], "batch": [f"b{n}" for n in batch], "time": time}
    return Cells(points, pd.DataFrame(columns, index=[f"c{n}" for n in range(600)]), counts)


def mixture(n: int, width: int, *, types: int = 8, batches: int = 4, seed: int = 7) -> Cells:
    """Unbalanced types in 5 lineages, batches that shift all of them and each, a course of time within types.

    The rarest type is in the first batch alone, and the one before it in the first two. `counts` are the same cells
    before an integration, so to speak: the batches shift them twice as far, in half as many dimensions.
    """
    random = np.random.default_rng(seed)
    latent = min(30, width)
    scale = 1 / np.sqrt(1 + 0.35 * np.arange(latent))
    lineages = 2.2 * random.normal(size=(5, latent)) * scale
    centres = lineages[np.arange(types) % 5] + 1.1 * random.normal(size=(types, latent)) * scale
    shift = 0.55 * random.normal(size=(batches, latent)) * scale
    each_shift = 0.25 * random.normal(size=(types, batches, latent)) * scale
    course = random.normal(size=(types, latent)) * scale
    course /= np.linalg.norm(course, axis=1, keepdims=True)
    share = np.arange(1, types + 1) ** -0.9
    kind = random.choice(types, size=n, p=share / share.sum())
    kind[: 12 * types] = np.repeat(np.arange(types), 12)
    batch = random.choice(batches, size=n, p=np.arange(batches, 0, -1) / np.arange(batches + 1).sum())
    batch[kind == types - 1] = 0
    batch[kind == types - 2] %= 2
    time = random.integers(0, 10, size=n)
    order = random.permutation(n)
    kind, batch, time = kind[order], batch[order], time[order]
    moved = 2.5 * course[kind] * (time[:, None] / 9 - 0.5)
    places = centres[kind] + shift[batch] + each_shift[kind, batch] + moved
    places += 1.6 * random.normal(size=(n, latent)) * scale
    lift = random.normal(size=(latent, width)) / np.sqrt(latent)
    points = np.empty((n, width), dtype=np.float32)
    for first in range(0, n, 10_000):
        some = slice(first, min(n, first + 10_000))
        noise = random.normal(size=(some.stop - first, width), scale=0.18)
        points[some] = rounded(1.6 * np.tanh(0.6 * places[some] @ lift) + noise)
    obs = {"cell_type": [f"type{n:02}" for n in kind], "batch": [f"batch{n}" for n in batch]}
    obs["time"] = time.astype(float)
    raw = rounded((places + shift[batch])[:, : max(2, latent // 2)])
    return Cells(points, pd.DataFrame(obs, index=[f"c{n}" for n in range(n)]), raw)


def real(path: Path, genes: int = 50) -> Cells:
    """A file of real counts: log-normalised, its most variable genes alone as the points, twice as many as `counts`."""
    import anndata

    data = anndata.read_h5ad(path)
    counts = np.asarray(data.X.todense() if hasattr(data.X, "todense") else data.X, dtype=np.float64)
    total = counts.sum(axis=1, keepdims=True)
    values = np.log1p(1e4 * counts / total)
    order = np.argsort(-np.round(values.var(axis=0), 9), kind="stable")
    shown = rounded(values[:, order[: 2 * genes]])
    return Cells(np.ascontiguousarray(shown[:, :genes]), data.obs.astype(str), shown)


class Perturbed(NamedTuple):
    """Truth and prediction, cell by cell, of the same conditions; log-normalised."""

    truth: np.ndarray
    """Shape (cells, genes) float32."""
    predicted: np.ndarray
    """Shape (other cells, genes) float32; the control cells are the true ones."""
    conditions: np.ndarray
    """Of the true cells: the gene that was perturbed, or `CONTROL`. Of the predicted ones they are the same."""
    genes: np.ndarray


def perturbed(conditions: int = 12, each: int = 30, genes: int = 80, *, controls: int = 0, seed: int = 3) -> Perturbed:
    """Counts, log-normalised; a tenth of the genes answers. The prediction has 0.6 of each effect, and noise."""
    random = np.random.default_rng(seed)
    base = np.exp(random.normal(0.3, 1.0, genes))
    effects = np.zeros((conditions, genes))
    for number in range(conditions):
        chosen = random.choice(genes, genes // 10, replace=False)
        effects[number, chosen] = random.normal(0, 0.9, len(chosen))
        effects[number, number % genes] = -2.0
    noisy = 0.6 * effects + random.normal(0, 0.12, effects.shape)
    rest = [drawn(random, base, controls or each * 3)]
    truth, guess = (
        np.concatenate(rest + [drawn(random, base * np.exp(one), each) for one in several])
        for several in (effects, noisy)
    )
    names = np.array([f"gene{n}" for n in range(genes)])
    told = np.repeat(np.array([CONTROL, *names[np.arange(conditions) % genes]]), [len(rest[0])] + [each] * conditions)
    return Perturbed(truth, guess, told, names)


def drawn(random: np.random.Generator, mean: np.ndarray, n: int) -> np.ndarray:
    """Draw counts with the spread that cells have, and log-normalise them."""
    rates = mean * np.exp(random.normal(0, 0.35, (n, 1)))
    counts = random.poisson(random.gamma(4.0, rates / 4.0))
    return rounded(np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)))


def checksum(values: np.ndarray) -> float:
    """Tells whether two environments have made the same."""
    return float(np.abs(values.astype(np.float64)).sum())
