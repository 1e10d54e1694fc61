"""A model that takes no time: it waits as long as its parameter says, and gives an output that lies in its image."""

import shutil
import textwrap

import numpy as np

from cellgauge.data import view
from support import VIEW

MANIFEST = """
name: {name}
version: "1"
title: An output that was ready before
verbs:
  embed: {{scope: cell}}
params:
  wait: {{type: number, default: 0}}
determinism: bitwise
command: [sh, model.sh]
resources: {{memory_mb: 64, memory_mb_per_10k_cells: 0, time_limit: 120, pids: 32, disk_mb: 64{more}}}
licence: MIT
"""
DOCKERFILE = """
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
COPY . /model/
ENTRYPOINT ["sh", "/model/model.sh"]
"""
SCRIPT = """
set -e
here=$(cd "$(dirname "$0")" && pwd)
echo "devices: ${NVIDIA_VISIBLE_DEVICES:-unset}"
sleep "$(sed -n 's/.*"wait": \\([0-9.]*\\).*/\\1/p' "$CELLGAUGE_INPUT/request.json")"
for item in $(sed -n 's/.*"name": "\\(.*\\)".*/\\1/p' "$CELLGAUGE_INPUT/request.json"); do
    mkdir "$CELLGAUGE_OUTPUT/$item"
    cp "$here/ready/$item/embedding.npy" "$here/ready/$item/cells.txt" "$CELLGAUGE_OUTPUT/$item/"
    echo '{"contract": 1, "status": "ok"}' >"$CELLGAUGE_OUTPUT/$item/.result"
    mv "$CELLGAUGE_OUTPUT/$item/.result" "$CELLGAUGE_OUTPUT/$item/result.json"
done
"""


def write(folder, *datasets, name="quick", more=""):
    """Write the model's folder for these datasets, and return it."""
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "model.yaml").write_text(MANIFEST.format(name=name, more=more))
    (place / "Dockerfile").write_text(DOCKERFILE.lstrip())
    (place / "model.sh").write_text(textwrap.dedent(SCRIPT))
    for dataset in datasets:
        ready = place / "ready" / dataset.spec.name
        ready.mkdir(parents=True)
        cells = view.cells(dataset, VIEW)
        values = np.random.default_rng(0).standard_normal((len(cells), 4), dtype="float32")
        np.save(ready / "embedding.npy", values)
        (ready / "cells.txt").write_text("".join(f"{cell}\n" for cell in cells))
    return place
