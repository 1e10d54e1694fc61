"""Says where all pairs of cells are compared while scores are computed: here, or by torch on a GPU."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from cellgauge.errors import GpuError, UsageError

T = TypeVar("T")
HERE = "cpu"
"""NumPy, without torch."""
BY_TORCH = "torch:"
"""May stand before a device of torch: `torch:cpu` does on the processor what a GPU would."""
_chosen: ContextVar[str] = ContextVar("device", default=HERE)


def check(device: str) -> None:
    """See that scores can be computed on a device, before anything runs.

    Raises
    ------
    UsageError
        If torch is not installed.
    GpuError
        If torch cannot use the device.
    """
    if device == HERE:
        return
    try:
        import torch
    except ImportError as problem:
        hint = "Install it beside cellgauge: pip install 'cellgauge[torch]'; or leave the setting out."
        raise UsageError(f"CELLGAUGE_SCORE_DEVICE={device} needs torch, which is not installed", hint) from problem
    try:
        torch.empty(1, device=torch.device(_name(device)))
    except (RuntimeError, AssertionError) as problem:
        known = [HERE, *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        said = f"CELLGAUGE_SCORE_DEVICE={device}: torch {torch.__version__} cannot use it"
        raise GpuError(f"{said}: {str(problem).splitlines()[0]}", f"There are: {', '.join(known)}.") from problem


def on(device: str, function: Callable[[], T]) -> T:
    """Call a function that scores, and let it use a device."""
    before = _chosen.set(device)
    try:
        return function()
    finally:
        _chosen.reset(before)


def chosen() -> str | None:
    """Give torch's device for a `Space`; None: without torch."""
    device = _chosen.get()
    return None if device == HERE else _name(device)


def described() -> str:
    """Describe what scores are computed on, for whoever wants to know later; empty without torch."""
    device = chosen()
    if device is None:
        return ""
    import torch

    card = f" ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else ""
    return f"{device}{card}, torch {torch.__version__}"


def full(problem: BaseException) -> bool:
    """Tell whether a GPU's memory ran out, without importing torch."""
    return type(problem).__name__ == "OutOfMemoryError" and type(problem).__module__.partition(".")[0] == "torch"


def _name(device: str) -> str:
    return device.removeprefix(BY_TORCH)
