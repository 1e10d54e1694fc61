"""Turns two or three functions into a program that fulfils the contract.

A model is `load` (optional, runs once) and `embed` or `predict` (runs per item)::

    from cellgauge_model import serve

    def embed(model, adata, context):
        return adata.X[:, :50].toarray()

    serve(embed=embed)
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Mapping, NoReturn, Optional

from cellgauge_model import contract, running, selftest
from cellgauge_model.contract import Folders
from cellgauge_model.running import Load, Verb


def serve(*, load: Optional[Load] = None, embed: Optional[Verb] = None, predict: Optional[Verb] = None) -> NoReturn:
    """Answer the verb on the command line and exit with the contract's code.

    Parameters
    ----------
    load
        `load(weights, device, params)`, called once; what it returns is passed to the verbs. None without it.
    embed
        `embed(model, adata, context)` returns an array of shape (cells, dimensions) in the order of `adata`, or a
        pair (array, cell ids).
    predict
        `predict(model, adata, context)` gets control cells, and in `context` cells to train on and which conditions are
        asked for; it returns an AnnData of counts whose obs has `condition`.
    """
    verbs = {name: function for name, function in (("embed", embed), ("predict", predict)) if function}
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    manifest = read_manifest(Path(sys.argv[0]).resolve().parent)
    if asked == "describe":
        print(json.dumps(manifest, indent=2))
        sys.exit(contract.EXIT_OK)
    if asked == "selftest":
        sys.exit(selftest.run(load, verbs, with_defaults({}, manifest)))
    try:
        if asked not in verbs:
            raise contract.BadRequest(
                f"unknown verb {asked!r}; this model has {', '.join([*verbs, 'describe', 'selftest'])}"
            )
        folders = Folders.from_environment()
        request = contract.read_request(folders.input)
        if request.verb != asked:
            raise contract.BadRequest(f"asked to {asked}, but the request says {request.verb}")
        request = replace(request, params=with_defaults(request.params, manifest))
    except contract.BadRequest as problem:
        print(f"bad request: {problem}", file=sys.stderr)
        sys.exit(contract.EXIT_BAD_REQUEST)
    sys.exit(running.run(request, folders, load, verbs[asked]))


def read_manifest(folder: Path) -> Dict[str, Any]:
    """Read the model's manifest; a built image has it as JSON, so that YAML need not be installed there."""
    built = folder / "model.json"
    if built.exists():
        return dict(json.loads(built.read_text(encoding="utf-8")))
    import yaml

    return dict(yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8")))


def with_defaults(params: Mapping[str, contract.Param], manifest: Mapping[str, Any]) -> Dict[str, contract.Param]:
    """Fill in the manifest's defaults; an unknown parameter is refused."""
    known = {name: param["default"] for name, param in manifest.get("params", {}).items()}
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise contract.BadRequest(f"unknown parameter {unknown[0]!r}; this model has {', '.join(known) or 'none'}")
    return {**known, **params}
