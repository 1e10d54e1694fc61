"""Real cells of two species: as one file, and as a file each, the mouse's under the names of its own genes."""

import importlib.util
from types import SimpleNamespace

import anndata
import numpy as np
import yaml

from cellgauge.data import genes
from cellgauge.specs import DatasetSpec, GroupSpec
from cellgauge_model import contract
from support import ROOT, entry, make_cells

LATIN = {"human": "Homo sapiens", "mouse": "Mus musculus"}


def split(real_data, folder):
    """Write the pancreas of human and mouse three times, over the genes that have one symbol in each species.

    `both.h5ad` as it is published, `human.h5ad` and `mouse.h5ad`. Returns a catalogue with a group of the last two.
    """
    both = anndata.read_h5ad(real_data / "pancreas_baron_human_mouse.h5ad")
    pairs = genes.orthologs(*LATIN.values(), ids="symbol")
    both = both[:, [one for one in both.var_names if one in pairs]].copy()
    both.obs["organism"] = both.obs["species"].astype(str).map(LATIN)
    both = both[both.obs["organism"].argsort(kind="stable")].copy()
    both.write_h5ad(folder / "both.h5ad")
    obs = {"cell_type": "cell_type", "donor": "donor", "batch": "batch"}
    fields = {"gene_ids": "symbol", "obs": obs}
    entries = {
        "both": {**fields, "source": "both.h5ad", "organism": LATIN["human"], "obs": {**obs, "organism": "organism"}}
    }
    for name, latin in LATIN.items():
        one = both[both.obs["organism"] == latin].copy()
        one.var = one.var[[]]
        if name == "mouse":
            one.var_names = [pairs[gene] for gene in one.var_names]
        del one.obs["organism"], one.obs["species"]
        one.write_h5ad(folder / f"{name}.h5ad")
        entries[name] = {**fields, "source": f"{name}.h5ad", "organism": latin}
    entries["pancreas"] = {"members": [*LATIN], "title": "Human and mouse pancreas"}
    path = folder / "species.yaml"
    path.write_text(yaml.safe_dump({"datasets": entries}))
    return path


def pairs(count):
    """Some genes that human and mouse have one of each: human symbol → mouse symbol."""
    found = genes.orthologs(*LATIN.values(), ids="symbol")
    return {one: found[one] for one in sorted(found)[:count]}


SIZES = {"Homo sapiens": 60, "Mus musculus": 45}
"""Cells of each, unlike, so that rows that are put in the wrong order do not fit."""


def make(name, latin="Homo sapiens", *, count=40, own=5, seed=0):
    """Cells of three types over genes of one organism, `own` of which the other one lacks."""
    adata = make_cells(cells=SIZES[latin], genes=count + own, seed=seed)
    names = [*(pairs(count) if latin == LATIN["human"] else pairs(count).values())]
    order = np.random.default_rng(seed).permutation(count + own)
    adata.var_names = np.array([*names, *(f"{name}-own{n}" for n in range(own))])[order]
    del adata.var["ensembl"]
    return adata


def write(folder, name, latin, adata=None, **fields):
    """Write a made file, and give its entry."""
    path = folder / f"{name}.h5ad"
    (make(name, latin, seed=len(name)) if adata is None else adata).write_h5ad(path)
    return DatasetSpec(
        name=name, **{**entry(path), "source": path.as_uri(), "organism": latin, "gene_columns": {}, **fields}
    )


def group(*members, name="both"):
    return GroupSpec(name=name, members=[one.name for one in members], datasets=members)


def two(folder, **fields):
    """A group of a made human and a made mouse dataset."""
    return group(*(write(folder, name, latin, **fields) for name, latin in LATIN.items()))


def embed_known(launch, *, width=20):
    """A model that knows genes of both species by name: log counts of 20 genes, of the cell alone."""
    known = {other: one for one, other in pairs(width).items()} | {one: one for one in pairs(width)}
    for item in contract.read_request(launch.input).items:
        adata = anndata.read_h5ad(launch.input / item.data)
        called = [known.get(one, "") for one in adata.var["gene_symbol"]]
        columns = [called.index(one) if one in called else None for one in pairs(width)]
        counts = adata.X.toarray()
        values = [counts[:, one] if one is not None else np.zeros(len(counts)) for one in columns]
        answer(launch, item.name, np.log1p(np.stack(values, axis=1)), adata.obs_names)
    return 0


def embed_pca(launch):
    """What the shipped pca does, without a process of its own."""
    loader = importlib.util.spec_from_file_location("pca_model", ROOT / "model-images" / "pca" / "model.py")
    pca = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(pca)
    request = contract.read_request(launch.input)
    params = {"n_top_genes": 3000, "n_components": 50}
    for item in request.items:
        adata = anndata.read_h5ad(launch.input / item.data)
        context = SimpleNamespace(params=params, seed=request.seed, warn=lambda text: None)
        answer(launch, item.name, pca.embed(None, adata, context), adata.obs_names)
    return 0


def answer(launch, item, values, cells):
    place = launch.output / item
    place.mkdir()
    np.save(place / "embedding.npy", np.ascontiguousarray(values, dtype="float32"))
    (place / "cells.txt").write_text("".join(f"{cell}\n" for cell in cells))
    contract.write_atomically(place / "result.json", contract.to_json(contract.RunResult(1, "ok")))
