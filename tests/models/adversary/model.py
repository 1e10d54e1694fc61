"""Does one step after another, as its parameter `do` says, and tells in `told.json` how each ended."""

import json
import os
from pathlib import Path

import floods
import forgeries
import walls

request = json.loads(Path(os.environ["CELLGAUGE_INPUT"], "request.json").read_text())
told = {}
for step in request["params"]["do"].split(","):
    name, _, argument = step.partition("=")
    action = next(getattr(place, name) for place in (walls, floods, forgeries) if hasattr(place, name))
    try:
        told[step] = action(*([argument] if argument else []))
    except OSError as problem:
        told[step] = f"refused: {problem.strerror or problem}"
    try:
        Path(os.environ["CELLGAUGE_OUTPUT"], "told.json").write_text(json.dumps(told))
    except OSError as problem:
        print(f"not told: {problem}")
