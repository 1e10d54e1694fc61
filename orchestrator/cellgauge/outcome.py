"""Names how a start of a model ended: from what the engine saw, what the model says, and at last from its log."""

import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path

from cellgauge.engines import Exit
from cellgauge.specs import Limits, State
from cellgauge_model import contract
from cellgauge_model.contract import RunResult

LOG_TAIL = 20
LOG_TAIL_BYTES = 64 << 10
LOG_TAIL_LINE = 1000
"""Characters that are kept of each line."""
GPU_MEMORY = re.compile(r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED|RESOURCE_EXHAUSTED")
"""What libraries say when a GPU is full: a last resort, for models without the SDK."""

_CODES: dict[int | None, tuple[State, str]] = {
    contract.EXIT_BAD_REQUEST: ("contract_violation", "refused the request (exit code 2)"),
    contract.EXIT_INVALID_INPUT: ("model_error", "says that its input is invalid (exit code 3)"),
    contract.EXIT_WEIGHTS: ("model_error", "says that weights are missing or damaged (exit code 4)"),
    contract.EXIT_RESOURCES: ("out_of_memory", "says that it ran out of resources (exit code 5)"),
    **dict.fromkeys(contract.EXIT_CANCELLED, ("cancelled", "was told to stop from outside (SIGINT or SIGTERM)")),
    contract.EXIT_NOT_APPLICABLE: ("not_applicable", "says that it is not meant for this input (exit code 99)"),
}
_SAID: dict[str, State] = {
    "not_applicable": "not_applicable",
    "out_of_memory": "out_of_memory",
    "gpu_out_of_memory": "gpu_out_of_memory",
}
_SIGNALS = {
    "SIGILL": ": it uses CPU instructions that this machine lacks; see `cellgauge doctor`",
    "SIGXFSZ": ": a file grew beyond its limit",
}


def ended(
    exit: Exit, result: RunResult | None, fault: str, limits: Limits, tail: Sequence[str] = ()
) -> tuple[State, str]:
    """Name what happened to an item without a good result. Pure; the engine's word counts before the model's.

    Parameters
    ----------
    result
        What the model itself says, if it said anything.
    fault
        What went wrong in the engine, if anything did.
    tail
        The last lines of the model's log.
    """
    if fault:
        return "infrastructure", fault
    if exit.cancelled:
        return "cancelled", "stopped on request"
    if exit.timed_out:
        return "timeout", f"stopped after its limit of {limits.time:g} s"
    if exit.oom_killed:
        return "out_of_memory", f"killed by the kernel: it used more memory than its limit of {limits.memory_mb} MiB"
    if exit.disk_full:
        return "contract_violation", f"wrote more than its limit of {limits.disk_mb} MiB to output and scratch"
    if result is not None and result.error is not None:
        return _said(result.error)
    if exit.code in _CODES:
        return _CODES[exit.code]
    if exit.code == 0:
        return "contract_violation", "exited with 0 and wrote no result.json (does the program call `serve`?)"
    name = _signal_name(exit.code)
    reason = f"killed by {name}{_SIGNALS.get(name, '')}" if name else f"exited with {exit.code}"
    if tail:
        reason += f": {_cause(tail)[:500]}"
    if name == "SIGXFSZ":
        return "contract_violation", reason
    return ("gpu_out_of_memory" if any(GPU_MEMORY.search(line) for line in tail) else "model_error"), reason


def _said(error: contract.Problem) -> tuple[State, str]:
    state = _SAID.get(error.type, "model_error")
    if state == "model_error" and GPU_MEMORY.search(error.message):
        state = "gpu_out_of_memory"
    return state, error.message[:2000]


def _cause(tail: Sequence[str]) -> str:
    """Pick the line that says most: an exception's, or the last. stdout and stderr may be mixed up."""
    return next((line for line in reversed(tail) if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)), tail[-1])


def _signal_name(code: int | None) -> str:
    """Name the signal behind an exit code: 128 + n from a container, -n from a process."""
    number = -code if code is not None and code < 0 else code - 128 if code is not None and code > 128 else 0
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def log_tail(path: Path) -> tuple[str, ...]:
    """Read a log's last lines, without what would move a terminal's cursor."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    lines = ["".join(c for c in line if c.isprintable() or c == "\t") for line in text.splitlines()]
    return tuple(_short(line) for line in lines if line.strip())[-LOG_TAIL:]


def _short(line: str) -> str:
    """Keep the beginning and the end of a line."""
    half = LOG_TAIL_LINE // 2
    return line if len(line) <= LOG_TAIL_LINE else f"{line[:half]} … {line[-half:]}"
