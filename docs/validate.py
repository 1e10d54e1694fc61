"""Checks YAML files against the published JSON Schemas: `python docs/validate.py [SCHEMA FILE...]`.

Without arguments: every catalogue and manifest of the project. Exits with 1 if one does not fit.
"""

import json
import sys
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(__file__).parents[1]


def misfits(schema: str, path: Path) -> list[str]:
    """Say what of a file does not fit a schema, a line for each."""
    rules = json.loads((ROOT / "docs" / "reference" / f"{schema}.schema.json").read_text(encoding="utf-8"))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = jsonschema.validators.validator_for(rules)(rules).iter_errors(content)
    return [f"{path}: {'.'.join(map(str, one.absolute_path)) or 'the file'}: {one.message}" for one in found]


def chosen(arguments: list[str]) -> dict[str, list[Path]]:
    """Which files are to fit which schema."""
    if arguments:
        return {arguments[0]: [Path(name) for name in arguments[1:]]}
    manifests = [*ROOT.glob("model-images/*/model.yaml"), *ROOT.glob("tests/models/*/model.yaml")]
    return {
        "datasets": [ROOT / "datasets.yaml", ROOT / "tests" / "real-datasets.yaml"],
        "model": [path for path in sorted(manifests) if not path.parent.name.startswith(("_", "."))],
    }


if __name__ == "__main__":
    wanted = chosen(sys.argv[1:])
    told = [line for schema, paths in wanted.items() for path in paths for line in misfits(schema, path)]
    sys.stdout.write("".join(f"{line}\n" for line in told))
    sys.stdout.write(f"{sum(map(len, wanted.values()))} files, {len(told)} misfits\n")
    sys.exit(1 if told else 0)
