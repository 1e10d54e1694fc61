"""How a model says that it cannot do what was asked, and what each way means on the wire."""

from __future__ import annotations

from cellgauge_model import contract


class Outcome(Exception):
    """A way to end an item without an output; the message is shown to the user."""

    type = "model_error"
    exit_code = contract.EXIT_MODEL_ERROR


class NotApplicable(Outcome):
    """The model is not meant for this input: wrong organism, no counts, too few cells."""

    type = "not_applicable"
    exit_code = contract.EXIT_NOT_APPLICABLE


class InvalidInput(Outcome):
    """The input is broken: unreadable, empty, without what the contract promises."""

    type = "invalid_input"
    exit_code = contract.EXIT_INVALID_INPUT


class MissingWeights(Outcome):
    """Weights are absent or damaged."""

    exit_code = contract.EXIT_WEIGHTS


def describe(problem: BaseException) -> tuple[contract.Problem, int]:
    """Say on the wire what went wrong, and with which exit code."""
    if isinstance(problem, Outcome):
        return contract.Problem(problem.type, str(problem)), problem.exit_code
    # torch is not imported here, so its class is known by name.
    if type(problem).__name__ in ("OutOfMemoryError", "CudaError") and "torch" in type(problem).__module__:
        return contract.Problem("gpu_out_of_memory", str(problem)), contract.EXIT_RESOURCES
    if isinstance(problem, MemoryError):
        return contract.Problem("out_of_memory", str(problem) or "MemoryError"), contract.EXIT_RESOURCES
    return contract.Problem("model_error", f"{type(problem).__name__}: {problem}"), contract.EXIT_MODEL_ERROR
