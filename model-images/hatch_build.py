"""Puts every model folder into the wheel, so that an installed cellgauge knows the models that a clone knows."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ModelFolders(BuildHookInterface[Any]):
    """Adds each folder beside this file that holds a model.yaml."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # the folders are found in the clone
        for manifest in sorted(Path(self.root, "model-images").glob("[!._]*/model.yaml")):
            build_data["force_include"][str(manifest.parent)] = f"cellgauge/model-images/{manifest.parent.name}"
