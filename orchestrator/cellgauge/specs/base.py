"""What every noun is made of."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SLOT = r"^(X|raw|layers/.+)$"
LATIN = r"^[A-Z][a-z]+ [a-z]+"
Name = Annotated[str, Field(pattern=NAME)]
"""Safe as a file name, an image name and a column of a table."""

Verb = Literal["embed", "predict"]
GeneIds = Literal["symbol", "ensembl"]
MatrixKind = Literal["counts", "log1p", "corrected"]
State = Literal[
    "ok",
    "not_applicable",
    "contract_violation",
    "model_error",
    "out_of_memory",
    "gpu_out_of_memory",
    "timeout",
    "task_error",
    "infrastructure",
    "cancelled",
]
"""How a planned cell ended."""
REUSABLE: tuple[State, ...] = ("ok", "not_applicable")
"""States that another attempt would not change."""
Relaxation = Literal["network", "writable-root"]
"""What can be allowed to a model beyond the sandbox."""


def identity(fields: Any) -> str:
    """Hash a JSON-like value: 20 hexadecimal digits of SHA-256 over its canonical form."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class Spec(BaseModel):
    """A frozen value that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
