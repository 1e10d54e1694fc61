"""What a model's author imports: :func:`serve`, and the ways to say that something cannot be done."""

from cellgauge_model.contract import CONTRACT_VERSION
from cellgauge_model.entrypoint import serve
from cellgauge_model.outcomes import InvalidInput, MissingWeights, NotApplicable
from cellgauge_model.running import Context

__all__ = ["CONTRACT_VERSION", "Context", "InvalidInput", "MissingWeights", "NotApplicable", "serve"]
